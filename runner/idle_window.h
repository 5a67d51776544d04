/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Was one GPU idle for a whole window? Pure; time is monotonic and given. No samples are
 * kept: the first of the unbroken row of low ones, and the last busy one, decide.
 *
 * Idle at a sample that is below `min_busy` when
 *   - it is watched for a window already,
 *   - every sample of the window [now - window, now] is below min_busy,
 *   - samples reach back to within IDLE_GAP_MS of the window's start, and no two of them
 *     are further apart than that: what was not seen is not held against a job.
 */
#ifndef RUNNER_IDLE_WINDOW_H
#define RUNNER_IDLE_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#define IDLE_GAP_MS INT64_C(60000)
#define IDLE_INTERVAL_MS INT64_C(10000)

struct idle_rule {
    int min_busy;      /* percent */
    int64_t window_ms; /* 0: no rule */
};

struct idle_window {
    int64_t began_ms; /* watched since */
    int64_t last_ms;  /* of the last sample; began_ms before the first */
    int64_t low_ms;   /* first sample of the row of low ones; -1: none */
    int64_t busy_ms;  /* last sample that was not low; -1: none */
    int max;          /* of the row; -1: none */
};

enum idle_verdict {
    IDLE_NOT,     /* busy, or not watched for long enough */
    IDLE_UNKNOWN, /* there has been no figure for too long to tell */
    IDLE_YES
};

void idle_window_begin(struct idle_window *w, int64_t now_ms);
/* A sample; busy -1: there was no figure. */
enum idle_verdict idle_window_take(struct idle_window *w, const struct idle_rule *rule,
                                   int64_t now_ms, int busy);
/* How far apart samples are taken: thirty in a window, but not more than one each
 * IDLE_INTERVAL_MS. */
int64_t idle_interval_ms(const struct idle_rule *rule);

#endif
