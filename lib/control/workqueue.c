/* SPDX-License-Identifier: Apache-2.0 */
/* The queue's data: one item per key in a map, two ready lists, one heap of delays. */
#include "control/workqueue.h"

#include <sys/queue.h>

#include "base/error.h"
#include "base/heap.h"
#include "base/map.h"
#include "base/mem.h"

enum { MAX_DOUBLINGS = 20 };

struct item {
    TAILQ_ENTRY(item) link; /* in ready[level] while `queued` */
    struct heap_node delay; /* inside the heap while a delay runs */
    enum workqueue_level level;
    bool dirty, processing, queued;
    uint32_t failures;
    char key[];
};
TAILQ_HEAD(item_list, item);

struct workqueue {
    struct workqueue_opts opts;
    struct map *items;
    struct item_list ready[WORKQUEUE_LEVELS];
    size_t n_ready;
    struct heap delays;
    uint64_t random;
    int64_t bucket_at; /* when the next retry may run, by the rate alone */
};

struct workqueue *
workqueue_new(const struct workqueue_opts *o)
{
    struct workqueue *q = xnew(struct workqueue);

    q->opts = *o;
    q->items = map_new(free);
    q->random = o->seed | 1;
    for (int i = 0; i < WORKQUEUE_LEVELS; i++)
        TAILQ_INIT(&q->ready[i]);
    return q;
}

void
workqueue_free(struct workqueue *q)
{
    if (q == NULL)
        return;
    heap_done(&q->delays);
    map_free(q->items);
    free(q);
}

static struct item *
item_of(struct workqueue *q, const char *key)
{
    struct item *i = map_get(q->items, key);

    if (i != NULL)
        return i;
    size_t n = strlen(key) + 1;
    i = xcalloc(1, sizeof(*i) + n);
    memcpy(i->key, key, n);
    i->delay = HEAP_NODE_INIT;
    map_put(q->items, key, i);
    return i;
}

/* Forgets a key that nothing is known about any more. */
static void
reap(struct workqueue *q, struct item *i)
{
    if (!i->dirty && !i->processing && i->failures == 0 && !heap_contains(&i->delay))
        map_del(q->items, i->key);
}

static void
enqueue(struct workqueue *q, struct item *i)
{
    TAILQ_INSERT_TAIL(&q->ready[i->level], i, link);
    i->queued = true;
    q->n_ready++;
}

static void
dequeue(struct workqueue *q, struct item *i)
{
    TAILQ_REMOVE(&q->ready[i->level], i, link);
    i->queued = false;
    q->n_ready--;
}

static void
mark(struct workqueue *q, struct item *i, enum workqueue_level level)
{
    if (i->dirty) {
        if (level < i->level && i->queued) { /* a live event overtakes a resync */
            dequeue(q, i);
            i->level = level;
            enqueue(q, i);
        }
        return;
    }
    i->dirty = true;
    i->level = level;
    if (!i->processing)
        enqueue(q, i);
}

void
workqueue_add(struct workqueue *q, const char *key, enum workqueue_level level)
{
    mark(q, item_of(q, key), level);
}

void
workqueue_add_after(struct workqueue *q, const char *key, int64_t delay_ms, int64_t now)
{
    struct item *i = item_of(q, key);
    int64_t due = now + (delay_ms < 0 ? 0 : delay_ms);

    if (!heap_contains(&i->delay) || due < i->delay.key)
        heap_set(&q->delays, &i->delay, due);
}

/* xorshift64*: only spreads retries; seeded, so that a simulation repeats. */
static uint64_t
next_random(struct workqueue *q)
{
    q->random ^= q->random >> 12;
    q->random ^= q->random << 25;
    q->random ^= q->random >> 27;
    return q->random * UINT64_C(0x2545F4914F6CDD1D);
}

/* Reserves the next retry of the bucket; its delay from now. */
static int64_t
bucket_delay(struct workqueue *q, int64_t now)
{
    if (q->opts.retry_rate == 0)
        return 0;
    int64_t step = 1000 / q->opts.retry_rate;
    int64_t earliest = now - (int64_t)q->opts.retry_burst * step;
    if (q->bucket_at < earliest)
        q->bucket_at = earliest;
    q->bucket_at += step;
    return q->bucket_at > now ? q->bucket_at - now : 0;
}

int64_t
workqueue_add_backoff(struct workqueue *q, const char *key, int64_t floor_ms, int64_t now)
{
    struct item *i = item_of(q, key);
    uint32_t doublings = i->failures < MAX_DOUBLINGS ? i->failures : MAX_DOUBLINGS;
    int64_t delay = (int64_t)q->opts.backoff_min_ms << doublings;

    if (delay > q->opts.backoff_max_ms)
        delay = q->opts.backoff_max_ms;
    delay += (int64_t)(next_random(q) % (uint64_t)(delay / 4 + 1));
    int64_t bucket = bucket_delay(q, now);
    if (delay < bucket)
        delay = bucket;
    if (delay < floor_ms)
        delay = floor_ms;
    i->failures++;
    workqueue_add_after(q, key, delay, now);
    return delay;
}

void
workqueue_forget(struct workqueue *q, const char *key)
{
    struct item *i = map_get(q->items, key);

    if (i == NULL)
        return;
    i->failures = 0;
    reap(q, i);
}

uint32_t
workqueue_failures(const struct workqueue *q, const char *key)
{
    const struct item *i = map_get(q->items, key);

    return i == NULL ? 0 : i->failures;
}

const char *
workqueue_get(struct workqueue *q, int64_t now)
{
    struct heap_node *n;

    while ((n = heap_min(&q->delays)) != NULL && n->key <= now) {
        struct item *due = CONTAINER_OF(n, struct item, delay);
        heap_remove(&q->delays, n);
        mark(q, due, WORKQUEUE_LIVE);
    }
    for (int level = 0; level < WORKQUEUE_LEVELS; level++) {
        struct item *i = TAILQ_FIRST(&q->ready[level]);
        if (i == NULL)
            continue;
        dequeue(q, i);
        i->dirty = false;
        i->processing = true;
        return i->key;
    }
    return NULL;
}

void
workqueue_done(struct workqueue *q, const char *key)
{
    struct item *i = map_get(q->items, key);

    bug_if(i == NULL || !i->processing);
    i->processing = false;
    if (i->dirty)
        enqueue(q, i);
    else
        reap(q, i);
}

int64_t
workqueue_next_due(const struct workqueue *q)
{
    const struct heap_node *n = heap_min(&q->delays);

    return n == NULL ? -1 : n->key;
}

size_t
workqueue_ready(const struct workqueue *q)
{
    return q->n_ready;
}

size_t
workqueue_size(const struct workqueue *q)
{
    return map_len(q->items);
}
