/* SPDX-License-Identifier: Apache-2.0 */
/* The rule of the header, kept up sample by sample. */
#include "runner/idle_window.h"

enum { SAMPLES = 30, INTERVAL_MIN_MS = 20 };

void
idle_window_begin(struct idle_window *w, int64_t now_ms)
{
    *w = (struct idle_window){
        .began_ms = now_ms, .last_ms = now_ms, .low_ms = -1, .busy_ms = -1, .max = -1};
}

static enum idle_verdict
unknown(const struct idle_window *w, const struct idle_rule *rule, int64_t now_ms)
{
    bool seen = w->low_ms >= 0 || w->busy_ms >= 0;
    int64_t patience = rule->window_ms;

    if (!seen && patience > IDLE_GAP_MS)
        patience = IDLE_GAP_MS;
    return now_ms - w->last_ms > patience ? IDLE_UNKNOWN : IDLE_NOT;
}

enum idle_verdict
idle_window_take(struct idle_window *w, const struct idle_rule *rule, int64_t now_ms,
                 int busy)
{
    if (now_ms < w->last_ms) /* not by a monotonic clock */
        idle_window_begin(w, now_ms);
    if (busy < 0)
        return unknown(w, rule, now_ms);
    bool gap = now_ms - w->last_ms > IDLE_GAP_MS;
    w->last_ms = now_ms;
    if (busy >= rule->min_busy) {
        w->busy_ms = now_ms;
        w->low_ms = w->max = -1;
        return IDLE_NOT;
    }
    if (gap || w->low_ms < 0) {
        w->low_ms = now_ms;
        w->max = busy;
    }
    if (busy > w->max)
        w->max = busy;
    int64_t start = now_ms - rule->window_ms;
    bool whole = w->began_ms <= start && w->low_ms <= start + IDLE_GAP_MS &&
                 (w->busy_ms < 0 || w->busy_ms < start);
    return whole ? IDLE_YES : IDLE_NOT;
}

int64_t
idle_interval_ms(const struct idle_rule *rule)
{
    int64_t ms = rule->window_ms / SAMPLES;

    if (ms > IDLE_INTERVAL_MS)
        return IDLE_INTERVAL_MS;
    return ms < INTERVAL_MIN_MS ? INTERVAL_MIN_MS : ms;
}
