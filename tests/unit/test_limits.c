/* SPDX-License-Identifier: Apache-2.0 */
/* Limits per user, over a clock that the tests move. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "apiserver/http/limits.h"
#include "base/mem.h"

static unsigned retry;

static const char *
enter(struct limits *l, const char *user, enum limits_class class, int64_t now,
      struct limits_slot *slot)
{
    retry = 0;
    return limits_enter(l, user, LANE_USERS, class, now, slot, &retry);
}

static void
test_rate(void **state)
{
    struct limits *l = limits_new(&(struct limits_opts){.rate = 10, .burst = 5});
    struct limits_slot slot;

    UNUSED(state);
    for (int i = 0; i < 5; i++) {
        assert_null(enter(l, "a", LIMITS_READ, 1000, &slot));
        limits_leave(l, &slot);
    }
    assert_non_null(enter(l, "a", LIMITS_READ, 1000, &slot));
    assert_int_equal(retry, 1);
    assert_null(enter(l, "b", LIMITS_READ, 1000, &slot)); /* another user's own bucket */
    limits_leave(l, &slot);
    assert_non_null(enter(l, "a", LIMITS_READ, 1099, &slot));
    assert_null(enter(l, "a", LIMITS_READ, 1100, &slot));
    limits_leave(l, &slot);
    assert_non_null(enter(l, "a", LIMITS_READ, 1100, &slot));
    /* However long it was quiet, no more than the burst. */
    for (int i = 0; i < 5; i++) {
        assert_null(enter(l, "a", LIMITS_READ, 900000, &slot));
        limits_leave(l, &slot);
    }
    assert_non_null(enter(l, "a", LIMITS_READ, 900000, &slot));
    limits_free(l);
}

static void
test_in_flight(void **state)
{
    struct limits *l = limits_new(
        &(struct limits_opts){.inflight = 2, .watches = 1, .reads = 3, .writes = 1});
    struct limits_slot s[6] = {0};

    UNUSED(state);
    assert_null(enter(l, "a", LIMITS_READ, 0, &s[0]));
    assert_null(enter(l, "a", LIMITS_READ, 0, &s[1]));
    assert_non_null(enter(l, "a", LIMITS_WRITE, 0, &s[2])); /* his two */
    assert_null(enter(l, "b", LIMITS_READ, 0, &s[2]));
    assert_non_null(enter(l, "c", LIMITS_READ, 0, &s[3])); /* three of all */
    assert_null(enter(l, "c", LIMITS_WRITE, 0, &s[3]));
    assert_non_null(enter(l, "d", LIMITS_WRITE, 0, &s[4]));
    /* Watches are neither. */
    assert_null(enter(l, "a", LIMITS_LONG, 0, &s[4]));
    assert_non_null(enter(l, "a", LIMITS_LONG, 0, &s[5]));
    assert_int_equal(retry, 5);
    /* Administrators and our parts come in however full it is, and take nobody's place.
     */
    assert_null(limits_enter(l, "admin", LANE_EXEMPT, LIMITS_READ, 0, &s[5], &retry));
    limits_leave(l, &s[0]);
    assert_null(enter(l, "c", LIMITS_READ, 0, &s[0]));
    for (int i = 0; i < 6; i++)
        limits_leave(l, &s[i]);
    limits_leave(l, &s[0]); /* a second time is nothing */
    auto_str text = STR_INIT(8192);
    limits_metrics(l, &text);
    assert_non_null(strstr(
        text.ptr, "apiserver_current_inflight_requests{request_kind=\"readOnly\"} 0\n"));
    assert_non_null(strstr(
        text.ptr, "apiserver_dropped_requests_total{request_kind=\"mutating\"} 2\n"));
    limits_free(l);
}

/* Made-up names do not fill the memory. */
/* One user does not take the last places, users do not take those of agents. */
static void
test_lanes(void **state)
{
    struct limits *l = limits_new(&(struct limits_opts){.writes = 16});
    struct limits_slot s[40] = {0};
    size_t n = 0;

    UNUSED(state);
    while (n < ARRAY_LEN(s) && enter(l, "greedy", LIMITS_WRITE, 0, &s[n]) == NULL)
        n++;
    assert_int_equal(n, 14); /* all but an eighth */
    assert_null(enter(l, "modest", LIMITS_WRITE, 0, &s[n++]));
    assert_null(enter(l, "modest", LIMITS_WRITE, 0, &s[n++]));
    assert_non_null(enter(l, "modest", LIMITS_WRITE, 0, &s[n]));
    assert_int_equal(retry, 1);
    assert_null(
        limits_enter(l, "system:agent:x", LANE_AGENTS, LIMITS_WRITE, 0, &s[n++], &retry));
    assert_null(limits_enter(l, "admin", LANE_EXEMPT, LIMITS_WRITE, 0, &s[n++], &retry));
    limits_leave(l, &s[0]);
    assert_non_null(enter(l, "greedy", LIMITS_WRITE, 0, &s[0]));
    assert_null(enter(l, "third", LIMITS_WRITE, 0, &s[0]));
    for (size_t i = 0; i < n; i++)
        limits_leave(l, &s[i]);
    assert_null(enter(l, "greedy", LIMITS_WRITE, 0, &s[0]));
    limits_leave(l, &s[0]);
    limits_free(l);
}

static void
test_many_users(void **state)
{
    struct limits *l = limits_new(&LIMITS_DEFAULT);
    struct limits_slot slot, held;
    char name[32];

    UNUSED(state);
    assert_null(enter(l, "held", LIMITS_LONG, 0, &held));
    for (int i = 0; i < 100000; i++) {
        snprintf(name, sizeof(name), "user-%d", i);
        assert_null(enter(l, name, LIMITS_READ, 10 + i, &slot));
        limits_leave(l, &slot);
    }
    assert_true(limits_users(l) <= 8192);
    limits_leave(l, &held);
    /* All at one moment: nobody has earned anything back; then they share one entry. */
    for (int i = 0; i < 70000; i++) {
        snprintf(name, sizeof(name), "other-%d", i);
        if (enter(l, name, LIMITS_READ, 200000, &slot) == NULL)
            limits_leave(l, &slot);
    }
    assert_true(limits_users(l) <= 65536);
    limits_free(l);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rate), cmocka_unit_test(test_in_flight),
        cmocka_unit_test(test_lanes), cmocka_unit_test(test_many_users)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
