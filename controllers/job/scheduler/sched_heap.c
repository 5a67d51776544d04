/* SPDX-License-Identifier: Apache-2.0 */
/* Binary heap of embedded nodes under a comparison that is a total order. */
#include "controllers/job/scheduler/sched_internal.h"

static void
place(struct pq *q, size_t i, struct pq_node *n)
{
    q->nodes.items[i] = n;
    n->index = i;
}

static void
up(struct pq *q, struct pq_node *n)
{
    size_t i = n->index;

    while (i > 0) {
        size_t parent = (i - 1) / 2;
        if (!q->before(n, q->nodes.items[parent]))
            break;
        place(q, i, q->nodes.items[parent]);
        i = parent;
    }
    place(q, i, n);
}

static void
down(struct pq *q, struct pq_node *n)
{
    size_t i = n->index;

    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= q->nodes.len)
            break;
        if (child + 1 < q->nodes.len &&
            q->before(q->nodes.items[child + 1], q->nodes.items[child]))
            child++;
        if (!q->before(q->nodes.items[child], n))
            break;
        place(q, i, q->nodes.items[child]);
        i = child;
    }
    place(q, i, n);
}

void
pq_push(struct pq *q, struct pq_node *n)
{
    vec_push(&q->nodes, n);
    n->index = q->nodes.len - 1;
    up(q, n);
}

void
pq_fix(struct pq *q, struct pq_node *n)
{
    up(q, n);
    down(q, n);
}

void
pq_remove(struct pq *q, struct pq_node *n)
{
    size_t i = n->index;
    struct pq_node *last = q->nodes.items[--q->nodes.len];

    n->index = SIZE_MAX;
    if (last == n)
        return;
    place(q, i, last);
    pq_fix(q, last);
}

void
pq_done(struct pq *q)
{
    vec_done(&q->nodes);
}
