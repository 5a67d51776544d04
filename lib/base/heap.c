/* SPDX-License-Identifier: Apache-2.0 */
/* Binary min-heap with stable order among equal keys. */
#include "base/heap.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/mem.h"

static bool
before(const struct heap_node *a, const struct heap_node *b)
{
    return a->key != b->key ? a->key < b->key : a->seq < b->seq;
}

static void
place(struct heap *h, struct heap_node *n, size_t i)
{
    h->nodes[i] = n;
    n->index = i;
}

static void
sift_up(struct heap *h, struct heap_node *n)
{
    size_t i = n->index;

    while (i > 0) {
        size_t parent = (i - 1) / 2;
        if (!before(n, h->nodes[parent]))
            break;
        place(h, h->nodes[parent], i);
        i = parent;
    }
    place(h, n, i);
}

static void
sift_down(struct heap *h, struct heap_node *n)
{
    size_t i = n->index;

    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= h->len)
            break;
        if (child + 1 < h->len && before(h->nodes[child + 1], h->nodes[child]))
            child++;
        if (!before(h->nodes[child], n))
            break;
        place(h, h->nodes[child], i);
        i = child;
    }
    place(h, n, i);
}

void
heap_done(struct heap *h)
{
    free(h->nodes);
    *h = (struct heap){0};
}

void
heap_push(struct heap *h, struct heap_node *n, int64_t key)
{
    bug_if(heap_contains(n));
    if (h->len == h->cap) {
        h->cap = h->cap == 0 ? 16 : h->cap * 2;
        h->nodes = xreallocarray(h->nodes, h->cap, sizeof(*h->nodes));
    }
    n->key = key;
    n->seq = h->next_seq++;
    place(h, n, h->len++);
    sift_up(h, n);
}

void
heap_remove(struct heap *h, struct heap_node *n)
{
    bug_if(!heap_contains(n));
    size_t i = n->index;
    struct heap_node *last = h->nodes[--h->len];

    n->index = SIZE_MAX;
    if (last == n)
        return;
    place(h, last, i);
    sift_up(h, last);
    sift_down(h, last);
}

void
heap_set(struct heap *h, struct heap_node *n, int64_t key)
{
    if (heap_contains(n))
        heap_remove(h, n);
    heap_push(h, n, key);
}

struct heap_node *
heap_min(const struct heap *h)
{
    return h->len == 0 ? NULL : h->nodes[0];
}
