/* SPDX-License-Identifier: Apache-2.0 */
/* Between the controller of CRDs (crds.c) and what it computes (crds_status.c). */
#ifndef REGISTRY_CRDS_INTERNAL_H
#define REGISTRY_CRDS_INTERNAL_H

#include "api/jtok.h"
#include "apiserver/registry/loops.h"

/* All versions of a CRD. n == 0 after crd_compile: e says why. */
struct crd_compiled {
    struct object *o; /* the CRD; a reference */
    struct kind *kinds[KIND_VERSIONS_MAX];
    size_t n;
    struct error e;
};
void crd_compile(struct crd_compiled *x); /* any thread */
void crd_compiled_done(struct crd_compiled *x);

/* crds_refresh.c: brings the facts of a resource's objects to the shape of its kind. Free
 * it before the store is closed. */
struct refresher;
struct refresher *refresher_new(struct api_server *s);
void refresher_free(struct refresher *r);
void refresher_start(struct refresher *r, const char *resource);

/* What came of looking at a CRD. */
struct crd_verdict {
    const struct kind *names;        /* as asked for; NULL: leave alone */
    char conflict[32], message[300]; /* "PluralConflict"; "" without */
    char broken[480];                /* why the schema cannot be served */
    bool terminating;
};
/* Fills conflict and message when a name is in use by another kind of the group. */
bool crd_names_conflict(const struct kinds *kinds, const struct kind *k,
                        struct crd_verdict *v);
/* A merge patch for the status; false when the status says so already. */
bool crd_status_patch(const struct object *o, const struct crd_verdict *v,
                      struct str *out);
bool crd_was_established(const struct object *o);

#endif
