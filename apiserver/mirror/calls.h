/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the mirror to the registry: requests of the user system:files, on the path that
 * every client's requests take (authorization, admission, audit). The mirror's thread
 * hands over a batch and waits; the loop submits a few per turn and keeps a bounded
 * number in flight, so that a checkout of thousands of files shares fsyncs and does not
 * stall anybody.
 */
#ifndef MIRROR_CALLS_H
#define MIRROR_CALLS_H

#include "apiserver/registry/server.h"

#define MIRROR_USER "system:files"

struct mirror_op {
    /* the request; strings owned */
    const char *method; /* static */
    char *path;
    bool merge_patch;
    /* The body; with `planned` it is head + resourceVersion + tail, and the op is only
     * done if the object still looks in a file as it did in `planned`. */
    char *head, *tail;       /* tail NULL: no resourceVersion */
    struct object *planned;  /* a reference, or NULL */
    const struct kind *kind; /* borrowed */
    /* the answer */
    int status; /* 0: none came */
    struct str reply;
    void *tag;                  /* the caller's */
    struct mirror_calls *calls; /* private from here */
    struct api_call *call;
    bool answered;
};
void mirror_op_done(struct mirror_op *op);

struct mirror_calls;
/* groups: what the user is a member of, beside its own name. */
int mirror_calls_new(struct api_server *s, const char *groups, struct mirror_calls **ret,
                     struct error *e) WARN_UNUSED; /* loop */
/* Any thread but the loop's: returns when all are answered; false when cancelled. */
bool mirror_calls_run(struct mirror_calls *c, struct mirror_op *ops, size_t n);
void mirror_calls_cancel(struct mirror_calls *c); /* loop: ends run() for good */
void mirror_calls_free(struct mirror_calls *c);   /* loop; no run() may be under way */

#endif
