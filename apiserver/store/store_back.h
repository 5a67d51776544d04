/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events for one watcher that is behind the ring, read from the log by a pool thread a
 * batch at a time: nothing but a batch is held, and the loop never waits for the disk.
 *
 * Threading: loop thread; one pool thread reads for all.
 */
#ifndef APISERVER_STORE_BACK_H
#define APISERVER_STORE_BACK_H

#include "apiserver/store/store.h"

struct store_back;

struct store_back_opts {
    const char *resource, *ns, *name; /* resource interned; ns, name NULL: all */
    uint64_t from;                    /* events after this revision ... */
    size_t skip;                      /* ... but for the first ones of the next */
    void (*ready)(void *arg);         /* there may be something */
    void *arg;
};

/* Whether the log has all that such a watcher wants after the revision: it is retained,
 * and the kind has no commits that are not logged. resource NULL: false. */
bool store_back_can(const struct store *s, const char *resource, uint64_t from);
struct store_back *store_back_new(struct store *s, const struct store_back_opts *o);
void store_back_free(struct store_back *b); /* NULL ok; also while it reads */
/* 1: *ret is filled, with references that the caller takes over. 0: not yet, ready()
 * comes. 2: everything up to *ret_position has been returned. ERR_EXPIRED. */
int store_back_next(struct store_back *b, struct store_event *ret, uint64_t *ret_position,
                    struct error *e);

#endif
