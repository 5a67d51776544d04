/* SPDX-License-Identifier: Apache-2.0 */
/* Cron: fields, refusals, and the next time against a search minute by minute. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
/* after the headers it needs */
#include <cmocka.h>

#include "api/cron.h"
#include "base/clock.h"
#include "base/mem.h"

static int64_t
time_of(const char *text)
{
    int64_t ns = 0;

    assert_true(clock_parse(text, strlen(text), &ns));
    return ns / 1000000000;
}

static void
test_next(void **state)
{
    static const struct {
        const char *cron, *after, *next;
    } cases[] = {
        {"* * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"},
        {"* * * * *", "2026-01-01T00:00:59Z", "2026-01-01T00:01:00Z"},
        {"0 0 * * *", "2026-12-31T12:00:00Z", "2027-01-01T00:00:00Z"},
        {"0 0 * * 0", "2026-01-01T00:00:00Z", "2026-01-05T00:00:00Z"}, /* a Monday */
        {"30 9 * * mon-fri", "2026-01-02T09:30:00Z", "2026-01-05T09:30:00Z"},
        {"0 12 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T12:00:00Z"},
        {"0 0 29 feb MON", "2026-01-01T00:00:00Z", "2044-02-29T00:00:00Z"},
        {"*/15 8-10/2 1,15 * *", "2026-03-01T08:46:00Z", "2026-03-01T10:00:00Z"},
        {"50/5 * * * *", "2026-03-01T08:56:00Z", "2026-03-01T09:50:00Z"},
        {"  5   4 * jan *  ", "2026-01-31T04:05:00Z", "2027-01-01T04:05:00Z"},
    };

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct cron c;
        struct error e = ERROR_INIT;
        char text[CLOCK_RFC3339_LEN];
        if (cron_parse(cases[i].cron, &c, &e) < 0)
            fail_msg("%s: %s", cases[i].cron, e.msg);
        clock_format(cron_next(&c, time_of(cases[i].after)) * 1000000000, text);
        assert_string_equal(text, cases[i].next);
    }
}

static void
test_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "* * * *",
        "* * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * 32 * *",
        "* * * 13 *",
        "* * * * 7",
        "* * * * sunday",
        "5-3 * * * *",
        "*/0 * * * *",
        "a * * * *",
        "1, * * * *",
        "1- * * * *",
        "0 0 30 2 *",
        "0 0 31 4,6 *",
        "1.5 * * * *",
        "@daily",
        "-1 * * * *",
        "99999999999999999999 * * * *",
        "* * * * mon#1",
        "1/ * * * *",
        "1-5/x * * * *",
    };

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct cron c;
        struct error e = ERROR_INIT;
        if (cron_parse(bad[i], &c, &e) == 0)
            fail_msg("accepted: %s", bad[i]);
        assert_true(e.msg[0] != '\0');
    }
}

/* The same by asking the C library about each minute. */
static int64_t
slow_next(const struct cron *c, int64_t after)
{
    for (int64_t t = after - after % 60 + 60;; t += 60) {
        time_t at = (time_t)t;
        struct tm tm;
        gmtime_r(&at, &tm);
        if ((c->months >> (tm.tm_mon + 1) & 1) && (c->days >> tm.tm_mday & 1) &&
            (c->weekdays >> ((tm.tm_wday + 6) % 7) & 1) && (c->hours >> tm.tm_hour & 1) &&
            (c->minutes >> tm.tm_min & 1))
            return t;
    }
}

static uint32_t
next_random(uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*seed >> 33);
}

/* Random sets, dense enough that the search by minutes ends soon. */
static void
test_as_by_minutes(void **state)
{
    uint64_t seed = 7;

    UNUSED(state);
    for (int i = 0; i < 300; i++) {
        struct cron c = {
            .minutes = UINT64_C(1) << (next_random(&seed) % 60) |
                       UINT64_C(1) << (next_random(&seed) % 60),
            .hours =
                (1u << (next_random(&seed) % 24)) | (1u << (next_random(&seed) % 24)),
            .days = next_random(&seed) | (1u << (1 + next_random(&seed) % 28)),
            .months =
                (next_random(&seed) & 0x1ffe) | (1u << (1 + next_random(&seed) % 12)),
            .weekdays = (next_random(&seed) & 0x7f) | 1u << (next_random(&seed) % 7),
        };
        int64_t after = (int64_t)(next_random(&seed) % UINT32_C(2000000000)) * 2;
        int64_t fast = cron_next(&c, after);
        assert_true(fast > after);
        assert_true(fast % 60 == 0);
        if (fast - after < INT64_C(40) * 86400)
            assert_int_equal(fast, slow_next(&c, after));
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_next),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_as_by_minutes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
