/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of served kinds, compiled at start from the embedded CRD documents. Immutable
 * afterwards. Loop thread; the kinds themselves are shared by threads (api/kind.h).
 */
#ifndef REGISTRY_KINDS_H
#define REGISTRY_KINDS_H

#include <jansson.h>

#include "api/kind.h"

struct kinds;

struct kind_entry {
    struct kind *kind;
    json_t *crd; /* the whole document */
};

int kinds_load(struct kinds **ret, struct error *e) WARN_UNUSED;
void kinds_free(struct kinds *k); /* NULL ok */
/* In discovery order: by group priority, then by name. */
size_t kinds_len(const struct kinds *k);
const struct kind_entry *kinds_at(const struct kinds *k, size_t i);
/* NULL: not served. */
const struct kind *kinds_find(const struct kinds *k, const char *group,
                              const char *version, const char *plural);
const struct kind *kinds_by_resource(const struct kinds *k, const char *resource);
/* "drover.dev/v1", "Run": how ownerReferences and events name a kind. */
const struct kind *kinds_by_gvk(const struct kinds *k, const char *api_version,
                                const char *kind);
/* For store_opts.kind_of. */
const struct kind *kinds_kind_of(void *kinds, const char *resource);

#endif
