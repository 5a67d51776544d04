/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Work queue of one controller by the two-set rule: a key is never handled twice at the
 * same time and never lost. A key is *dirty* when it must be handled, *processing* while
 * it is; adding a dirty key does nothing, adding a key that is processing makes it ready
 * again when it is done. Delays live in a heap (the earlier deadline of a key wins),
 * failures are counted per key. Two levels: live events before start-up and resync items.
 *
 * Pure over `now` (monotonic milliseconds): no clock, no thread, no lock inside; the
 * manager guards one queue with its mutex. Keys are copied.
 */
#ifndef CONTROL_WORKQUEUE_H
#define CONTROL_WORKQUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct workqueue;

enum workqueue_level { WORKQUEUE_LIVE, WORKQUEUE_RESYNC, WORKQUEUE_LEVELS };

struct workqueue_opts {
    uint32_t backoff_min_ms, backoff_max_ms; /* per key: min * 2^failures, plus jitter */
    uint32_t retry_rate, retry_burst; /* retries per second of all keys; 0: no limit */
    uint64_t seed;                    /* of the jitter */
};

struct workqueue *workqueue_new(const struct workqueue_opts *o);
void workqueue_free(struct workqueue *q); /* NULL ok */

void workqueue_add(struct workqueue *q, const char *key, enum workqueue_level level);
void workqueue_add_after(struct workqueue *q, const char *key, int64_t delay_ms,
                         int64_t now);
/* Counts a failure and delays; at least floor_ms (a peer's hint). Returns the delay. */
int64_t workqueue_add_backoff(struct workqueue *q, const char *key, int64_t floor_ms,
                              int64_t now);
void workqueue_forget(struct workqueue *q, const char *key); /* failures = 0 */
uint32_t workqueue_failures(const struct workqueue *q, const char *key);

/* Moves due keys to the ready list, takes one and marks it processing. NULL: none ready.
 * The key is borrowed until workqueue_done. */
const char *workqueue_get(struct workqueue *q, int64_t now);
void workqueue_done(struct workqueue *q, const char *key);

/* When the earliest delayed key is due; -1: there is none. */
int64_t workqueue_next_due(const struct workqueue *q);
size_t workqueue_ready(const struct workqueue *q); /* keys that workqueue_get has */
/* Keys known: ready, delayed, processing, or with counted failures. */
size_t workqueue_size(const struct workqueue *q);

#endif
