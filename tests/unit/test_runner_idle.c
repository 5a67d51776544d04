/* SPDX-License-Identifier: Apache-2.0 */
/* When a GPU counts as idle: a table of edges, and random samples against the rule as it
 * is written, applied to all samples there were. */
#include "runner/idle_window.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"

#define S 1000
#define MIN_5 300

struct step {
    int at_s, busy;
};
#define STEPS 8
static const struct {
    const char *name;
    int min;
    struct step steps[STEPS]; /* up to the first at 0 */
    enum idle_verdict last;
    int max;
} cases[] = {
    {"watched for a second too short",
     10,
     {{60, 1}, {120, 1}, {180, 2}, {240, 1}, {299, 1}},
     IDLE_NOT,
     2},
    {"the whole window, first sample a minute in",
     10,
     {{60, 1}, {120, 3}, {180, 2}, {240, 1}, {300, 1}},
     IDLE_YES,
     3},
    {"first sample later than a minute in",
     10,
     {{61, 1}, {120, 1}, {180, 1}, {240, 1}, {300, 1}},
     IDLE_NOT,
     1},
    {"that one is enough a second later",
     10,
     {{61, 1}, {120, 1}, {180, 1}, {240, 1}, {301, 1}},
     IDLE_NOT,
     1},
    {"one sample at the minimum",
     10,
     {{60, 1}, {120, 1}, {180, 10}, {240, 1}, {300, 1}},
     IDLE_NOT,
     1},
    {"the last sample at the minimum",
     10,
     {{60, 1}, {120, 1}, {180, 1}, {240, 1}, {300, 10}},
     IDLE_NOT,
     -1},
    {"busy at the window's very start",
     10,
     {{10, 50}, {70, 1}, {130, 1}, {190, 1}, {250, 1}, {310, 1}},
     IDLE_NOT,
     1},
    {"busy just before it",
     10,
     {{10, 50}, {70, 1}, {130, 1}, {190, 1}, {250, 1}, {310, 1}, {311, 1}},
     IDLE_YES,
     1},
    {"samples a minute apart are no gap",
     10,
     {{60, 0}, {120, 0}, {180, 0}, {240, 0}, {300, 0}},
     IDLE_YES,
     0},
    {"a gap of a second more",
     10,
     {{60, 0}, {120, 0}, {181, 0}, {240, 0}, {300, 0}},
     IDLE_NOT,
     0},
    {"nothing is below 0",
     0,
     {{60, 0}, {120, 0}, {180, 0}, {240, 0}, {300, 0}},
     IDLE_NOT,
     -1},
    {"a missing figure is no sample",
     10,
     {{60, 0}, {120, -1}, {180, 0}, {240, 0}, {300, 0}},
     IDLE_NOT,
     0},
    {"never a figure, for a minute", 10, {{60, -1}}, IDLE_NOT, -1},
    {"never a figure, for longer", 10, {{61, -1}}, IDLE_UNKNOWN, -1},
    {"figures stopped, for a window", 10, {{60, 0}, {360, -1}}, IDLE_NOT, 0},
    {"figures stopped, for longer", 10, {{60, 0}, {361, -1}}, IDLE_UNKNOWN, 0},
    {"figures are back", 10, {{60, 0}, {400, -1}, {410, 0}}, IDLE_NOT, 0},
    {"a clock that went back begins anew",
     10,
     {{60, 0}, {120, 0}, {180, 0}, {240, 0}, {100, 0}, {300, 0}},
     IDLE_NOT,
     0},
};

static void
table(void **state)
{
    const struct idle_rule base = {.window_ms = MIN_5 * S};

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct idle_rule rule = base;
        struct idle_window w;
        enum idle_verdict v = IDLE_NOT;
        rule.min_busy = cases[i].min;
        idle_window_begin(&w, 0);
        for (size_t k = 0; k < STEPS && cases[i].steps[k].at_s != 0; k++)
            v = idle_window_take(&w, &rule, (int64_t)cases[i].steps[k].at_s * S,
                                 cases[i].steps[k].busy);
        if (v != cases[i].last || w.max != cases[i].max)
            fail_msg("%s: verdict %d, max %d", cases[i].name, (int)v, w.max);
    }
}

static void
intervals(void **state)
{
    UNUSED(state);
    assert_int_equal(idle_interval_ms(&(struct idle_rule){1, MIN_5 * S}), 10 * S);
    assert_int_equal(idle_interval_ms(&(struct idle_rule){1, 24 * 3600 * S}), 10 * S);
    assert_int_equal(idle_interval_ms(&(struct idle_rule){1, 3 * S}), 100);
    assert_true(idle_interval_ms(&(struct idle_rule){1, 1}) > 0);
}

/* --- the rule over all samples --------------------------------------------------------
 */

#define SAMPLES 400

/* xorshift64*, so that a seed is the same everywhere */
static uint32_t
pick(uint64_t *state, uint32_t n)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (uint32_t)(*state * UINT64_C(0x2545F4914F6CDD1D) >> 33) % n;
}

/* at[n - 1] is now. */
static bool
idle_by_rule(const int64_t *at, const int *busy, size_t n, const struct idle_rule *r)
{
    int64_t start = at[n - 1] - r->window_ms;
    int64_t first = -1, before = 0; /* watched since 0 */

    if (start < 0)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (busy[i] < 0)
            continue;
        if (at[i] >= start && busy[i] >= r->min_busy)
            return false;
        /* Behind a gap samples reach back no further than this one. */
        if (i == 0 || first < 0 || at[i] - before > IDLE_GAP_MS)
            first = at[i];
        before = at[i];
    }
    return busy[n - 1] >= 0 && first >= 0 && first <= start + IDLE_GAP_MS;
}

/* Returns how many samples found the GPU idle. */
static unsigned
random_samples(uint64_t seed)
{
    uint64_t r = seed * 7919 + 1;
    const struct idle_rule rule = {.min_busy = 10,
                                   .window_ms = (MIN_5 + (int64_t)pick(&r, 600)) * S};
    uint32_t slow = pick(&r, 8), busy_one_in = 20 + pick(&r, 400);
    int64_t at[SAMPLES];
    int busy[SAMPLES];
    struct idle_window w;
    int64_t now = 0;
    unsigned found = 0;

    idle_window_begin(&w, 0);
    for (size_t i = 0; i < SAMPLES; i++) {
        /* Near the longest distance there may be, or as usual. */
        now += pick(&r, 200) < slow ? 55 * S + pick(&r, 8 * S) : pick(&r, 12 * S);
        at[i] = now;
        busy[i] = (int)(pick(&r, busy_one_in) == 0 ? 10 + pick(&r, 90) : pick(&r, 10));
        if (pick(&r, 50) == 0)
            busy[i] = -1;
        bool got = idle_window_take(&w, &rule, now, busy[i]) == IDLE_YES;
        if (got != idle_by_rule(at, busy, i + 1, &rule))
            fail_msg("seed %llu, sample %zu: %d", (unsigned long long)seed, i, (int)got);
        found += got;
    }
    return found;
}

static void
property(void **state)
{
    uint64_t seeds = getenv("DROVER_LONG") != NULL ? 5000 : 100;
    unsigned some = 0, none = 0;

    UNUSED(state);
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        unsigned found = random_samples(seed);
        some += found > 0;
        none += found == 0;
    }
    assert_true(some > seeds / 10 && none > seeds / 10); /* both sides are looked at */
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table),
        cmocka_unit_test(intervals),
        cmocka_unit_test(property),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
