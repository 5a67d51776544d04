/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Patches and field ownership on jansson trees: JSON patch (RFC 6902), merge patch
 * (RFC 7386), and server-side apply with managedFields (the
 * algorithm is structured-merge-diff's merge/update). Pure: inputs are not changed,
 * results are new trees owned by the caller. Runs on the compute pool.
 */
#ifndef API_MANAGED_H
#define API_MANAGED_H

#include <jansson.h>

#include "api/kind.h"

/* Bounds: 10 000 operations, result within OBJECT_MAX_BYTES. */
int patch_json(const json_t *target, const json_t *ops, json_t **ret,
               struct error *e) WARN_UNUSED;
int patch_merge(const json_t *target, const json_t *patch, json_t **ret,
                struct error *e) WARN_UNUSED;

struct managed_conflict {
    char *manager; /* as in the message: "mgr" using drover.dev/v1 at ... */
    char *field;   /* ".spec.color" */
};
struct managed_conflicts {
    vec(struct managed_conflict) list;
};
void managed_conflicts_done(struct managed_conflicts *c);
/* "Apply failed with 1 conflict: ..." */
void managed_conflicts_text(const struct managed_conflicts *c, struct str *out);

struct managed_opts {
    const struct kind *kind;
    const char *manager;     /* fieldManager */
    const char *subresource; /* "" or "status" */
    const char *now;         /* RFC 3339 seconds */
    bool force;
    /* All served versions of the kind: owners' paths are typed by the version that they
     * were written in, and owners in other versions are dropped. n_versions 0: everything
     * is typed by `kind`. Borrowed. */
    const struct kind *const *versions;
    size_t n_versions;
};

/* live NULL: the object is created. On success *ret is the new object including
 * metadata.managedFields; *ret_changed false when nothing but ownership order changed.
 * ERR_CONFLICT fills conflicts. */
int managed_apply(const struct managed_opts *o, const json_t *live, const json_t *config,
                  json_t **ret, bool *ret_changed, struct managed_conflicts *conflicts,
                  struct error *e) WARN_UNUSED;
/* After a create/update/patch: computes managedFields of `next` from live's (or from the
 * ones the client put into next when they differ; [] or [{}] clears). live NULL: create.
 */
int managed_update(const struct managed_opts *o, const json_t *live, const json_t *next,
                   json_t **ret, struct error *e) WARN_UNUSED;

/* Canonical bytes of the object before (len 0: created) and after, and the raw values of
 * their metadata.managedFields (len 0: none). */
struct managed_bytes {
    struct span live, next, live_fields, next_fields;
};
/* managed_update() without trees where that is possible, some 2 us for 2 KB: true, and
 * the new value of metadata.managedFields is appended to out. False: out may hold
 * anything, and managed_update() has to do it. */
bool managed_update_fast(const struct managed_opts *o, const struct managed_bytes *b,
                         struct str *out) WARN_UNUSED;

#endif
