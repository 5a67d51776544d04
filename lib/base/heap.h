/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Intrusive binary min-heap ordered by (key, sequence): equal keys leave in the order in
 * which they entered. A node is embedded in its owner; index is SIZE_MAX while outside.
 */
#ifndef BASE_HEAP_H
#define BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_node {
    int64_t key;
    uint64_t seq;
    size_t index;
};
#define HEAP_NODE_INIT ((struct heap_node){.index = SIZE_MAX})

struct heap {
    struct heap_node **nodes;
    size_t len, cap;
    uint64_t next_seq;
};

void heap_done(struct heap *h); /* releases the array, not the nodes */
static inline bool
heap_contains(const struct heap_node *n)
{
    return n->index != SIZE_MAX;
}
/* n must be outside. */
void heap_push(struct heap *h, struct heap_node *n, int64_t key);
/* n must be inside. */
void heap_remove(struct heap *h, struct heap_node *n);
/* Inserts or moves. */
void heap_set(struct heap *h, struct heap_node *n, int64_t key);
/* NULL when empty. */
struct heap_node *heap_min(const struct heap *h);

#endif
