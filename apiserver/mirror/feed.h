/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the store to the mirror: a watch of everything, filtered to mirrored kinds and to
 * what a file can show, collected per path (the last version only) until the mirror's
 * thread takes it. Costs the loop about a microsecond per write; the backlog is bounded
 * by the number of objects.
 *
 * Threading: mirror_feed_take from any thread, all else on the loop. Objects and kinds
 * are references.
 */
#ifndef MIRROR_FEED_H
#define MIRROR_FEED_H

#include "apiserver/registry/server.h"

struct mirror_item {
    struct object *obj; /* NULL: deleted */
    struct kind *kind;
    uint64_t revision;
};
/* What is served, at some moment; immutable. */
struct mirror_kinds {
    _Atomic unsigned refs;
    size_t n;
    struct kind **list;
};
struct mirror_kinds *mirror_kinds_ref(struct mirror_kinds *k);
void mirror_kinds_unref(struct mirror_kinds *k); /* NULL ok */
/* NULL: not served. */
const struct kind *mirror_kinds_find(const struct mirror_kinds *k, const char *resource);

struct mirror_changes {
    struct map *items; /* path -> struct mirror_item; NULL: none */
    struct mirror_kinds *kinds;
    bool kinds_changed;
    /* All objects that exist are in the items taken up to now since `begins` was set. */
    bool begins, complete;
};
void mirror_changes_done(struct mirror_changes *c);

struct mirror_feed;
/* wake(arg), on the loop: there is something to take. */
int mirror_feed_new(struct api_server *s, void (*wake)(void *arg), void *arg,
                    struct mirror_feed **ret, struct error *e) WARN_UNUSED;
void mirror_feed_free(struct mirror_feed *f); /* NULL ok */
void mirror_feed_take(struct mirror_feed *f, struct mirror_changes *ret);

/* Whether both states of one object look the same in a file. */
bool mirror_declared_same(const struct object *a, const struct object *b);

#endif
