/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ordered index of one resource: objects sorted by (namespace, name) bytewise, in
 * leaves of at most 256 references under one sorted array of leaves.
 *
 * A leaf is refcounted and copied on write: a range holds references to the leaves that
 * it covers, so taking one costs O(leaves), it sees one moment for ever, and writes go
 * on.
 *
 * Threading: the index belongs to one thread. A range may be walked and released on any
 * thread. Cost: find O(log n), put and delete O(log n) plus a leaf (amortised).
 */
#ifndef APISERVER_STORE_INDEX_H
#define APISERVER_STORE_INDEX_H

#include "api/object.h"

#define STORE_LEAF_MAX 256

struct store_leaf;
struct store_index {
    struct store_leaf **leaves; /* none is empty */
    size_t n, cap;
    size_t len; /* objects */
};

void store_index_done(struct store_index *x);
/* Borrowed; NULL: absent. */
struct object *store_index_get(const struct store_index *x, const char *ns,
                               const char *name);
/* Takes its own reference on o. Returns the object that was there, whose reference passes
 * to the caller; NULL: none. */
struct object *store_index_put(struct store_index *x, struct object *o) WARN_UNUSED;
/* The reference passes to the caller; NULL: absent. */
struct object *store_index_remove(struct store_index *x, const char *ns,
                                  const char *name) WARN_UNUSED;

struct store_range {
    struct store_leaf **leaves; /* each with a reference */
    size_t n_leaves;
    size_t leaf, pos; /* the next object */
    size_t left;      /* objects still to come; exact */
};
/* ns NULL: all. after_name NULL: from the beginning, else only keys past (after_ns,
 * after_name). */
void store_range_init(const struct store_index *x, const char *ns, const char *after_ns,
                      const char *after_name, struct store_range *ret);
/* At the same place in the same objects. */
void store_range_copy(const struct store_range *r, struct store_range *ret);
/* Skips to the first object past (ns, name), never backwards. O(leaves). */
void store_range_seek(struct store_range *r, const char *ns, const char *name);
/* Borrowed until store_range_done; NULL: end. */
struct object *store_range_next(struct store_range *r);
void store_range_done(struct store_range *r);

#endif
