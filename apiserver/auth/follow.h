/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeps an index in step with one resource of the store. follow_sync reads what has
 * become visible since, so that whoever calls it before looking sees every acknowledged
 * write; the loop calls it too, so that changes do not pile up. Loop thread only.
 */
#ifndef AUTH_FOLLOW_H
#define AUTH_FOLLOW_H

#include "apiserver/store/store.h"

struct follow;

struct follow_opts {
    struct loop *loop;
    struct store *store;
    const char *resource; /* static */
    /* obj: the new state, NULL when deleted; prev: the state before, NULL when new. */
    void (*change)(void *arg, const char *resource, const struct object *obj,
                   const struct object *prev);
    /* Forget everything of the resource: all of it comes again. */
    void (*reset)(void *arg, const char *resource);
    void *arg;
};

/* Offers all that is there before it returns. */
int follow_new(const struct follow_opts *o, struct follow **ret,
               struct error *e) WARN_UNUSED;
void follow_free(struct follow *f); /* NULL ok; before store_close */
/* O(1) when nothing has changed. */
void follow_sync(struct follow *f);

#endif
