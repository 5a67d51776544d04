/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared by the files of drover apply.
 *
 *   apply.c   options, the order of what is done, the writes
 *   values.c  the caller's values     name.c  names for what has none
 */
#ifndef CLI_APPLY_H
#define CLI_APPLY_H

#include "cli/manifest.h"
#include "cli/session.h"
#include "cli/values.h"

struct apply_item {
    struct manifest *m; /* one of apply.files */
    char *ns;
    struct run_secrets secrets;
};

struct apply {
    struct session s;
    struct manifests files;
    vec(struct apply_item) items;
    vec(const char *) paths;
    struct run_values values;
    bool force, dry_run;
    const char *manager, *name;
};

/* One server-side apply of the item as it is. */
int apply_send(struct apply *a, const struct apply_item *i, bool dry, struct object **ret,
               struct error *e) WARN_UNUSED;
/* Prints why a request failed, with file and line; the exit status. */
int apply_report(struct apply *a, const struct apply_item *i, const struct error *e);

#endif
