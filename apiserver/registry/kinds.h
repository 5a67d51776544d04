/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of served kinds: those of the embedded CRD documents from the start, and
 * those of users' CRDs as they come and go (crds.c). One entry per version; a kind itself
 * is immutable and refcounted, so whoever keeps one past a callback takes a reference,
 * and works with it to the end of what it began even when the table has moved on.
 *
 * Loop thread; the kinds themselves are shared by threads (api/kind.h).
 */
#ifndef REGISTRY_KINDS_H
#define REGISTRY_KINDS_H

#include <jansson.h>

#include "api/kind.h"

#define KIND_VERSIONS_MAX 32
#define CRD_RESOURCE "customresourcedefinitions.apiextensions.k8s.io"
/* Held while the instances of a deleted CRD are deleted. */
#define CRD_FINALIZER "customresourcecleanup.apiextensions.k8s.io"

struct kinds;

struct kind_entry {
    struct kind *kind;
    json_t *crd;      /* the whole document of an embedded kind; NULL: a user's */
    bool terminating; /* its CRD is being deleted: nothing new is created */
};

int kinds_load(struct kinds **ret, struct error *e) WARN_UNUSED;
void kinds_free(struct kinds *k); /* NULL ok */
/* In discovery order: by group, then by version (newest first), then by name. A resource
 * with several versions stands there as often; exactly one of them has kind->storage. */
size_t kinds_len(const struct kinds *k);
const struct kind_entry *kinds_at(const struct kinds *k, size_t i);
/* NULL: not served. */
const struct kind *kinds_find(const struct kinds *k, const char *group,
                              const char *version, const char *plural);
/* The storage version, which the facts of stored objects are of. */
const struct kind *kinds_by_resource(const struct kinds *k, const char *resource);
/* "drover.dev/v1", "Run": how ownerReferences and events name a kind. */
const struct kind *kinds_by_gvk(const struct kinds *k, const char *api_version,
                                const char *kind);
/* For store_opts.kind_of. */
const struct kind *kinds_kind_of(void *kinds, const char *resource);
const struct kind_entry *kinds_entry(const struct kinds *k, const struct kind *kind);
size_t kinds_versions(const struct kinds *k, const char *resource);
/* Part of the program: its CRD cannot be changed. */
bool kinds_is_embedded(const struct kinds *k, const char *resource);

/* Puts all versions of a user's resource in place of the older ones; takes the
 * references. */
void kinds_put(struct kinds *k, struct kind *const *versions, size_t n);
void kinds_drop(struct kinds *k, const char *resource);
void kinds_set_terminating(struct kinds *k, const char *resource);

#endif
