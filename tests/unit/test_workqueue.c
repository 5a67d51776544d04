/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two-set rule held against random sequences: a key is never handled twice at once,
 * and whatever was added after a key's last start is handled again.
 */
#include "control/workqueue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/id.h"
#include "base/mem.h"

static struct workqueue *
queue(void)
{
    struct workqueue_opts o = {.backoff_min_ms = 100, .backoff_max_ms = 5000, .seed = 9};

    return workqueue_new(&o);
}

static void
adds_merge_and_requeue(void **state)
{
    struct workqueue *q = queue();

    UNUSED(state);
    workqueue_add(q, "a", WORKQUEUE_LIVE);
    workqueue_add(q, "a", WORKQUEUE_LIVE);
    assert_int_equal(workqueue_ready(q), 1);
    assert_string_equal(workqueue_get(q, 0), "a");
    assert_null(workqueue_get(q, 0));
    workqueue_add(q, "a", WORKQUEUE_LIVE); /* while it is processed */
    assert_null(workqueue_get(q, 0));
    workqueue_done(q, "a");
    assert_string_equal(workqueue_get(q, 0), "a");
    workqueue_done(q, "a");
    assert_null(workqueue_get(q, 0));
    assert_int_equal(workqueue_size(q), 0);
    workqueue_free(q);
}

static void
live_before_resync(void **state)
{
    struct workqueue *q = queue();

    UNUSED(state);
    workqueue_add(q, "r1", WORKQUEUE_RESYNC);
    workqueue_add(q, "r2", WORKQUEUE_RESYNC);
    workqueue_add(q, "l1", WORKQUEUE_LIVE);
    workqueue_add(q, "r2", WORKQUEUE_LIVE); /* promoted */
    assert_string_equal(workqueue_get(q, 0), "l1");
    assert_string_equal(workqueue_get(q, 0), "r2");
    assert_string_equal(workqueue_get(q, 0), "r1");
    workqueue_free(q);
}

static void
delays(void **state)
{
    struct workqueue *q = queue();

    UNUSED(state);
    assert_int_equal(workqueue_next_due(q), -1);
    workqueue_add_after(q, "a", 100, 1000);
    workqueue_add_after(q, "a", 500, 1000); /* the earlier one wins */
    assert_int_equal(workqueue_next_due(q), 1100);
    assert_null(workqueue_get(q, 1099));
    assert_string_equal(workqueue_get(q, 1100), "a");
    assert_int_equal(workqueue_next_due(q), -1);
    workqueue_done(q, "a");
    workqueue_add_after(q, "a", 500, 2000);
    workqueue_add_after(q, "a", 100, 2000);
    assert_int_equal(workqueue_next_due(q), 2100);
    workqueue_free(q);
}

static void
backoff_grows_and_is_forgotten(void **state)
{
    struct workqueue *q = queue();
    int64_t last = 0;

    UNUSED(state);
    for (int i = 0; i < 40; i++) {
        int64_t d = workqueue_add_backoff(q, "a", 0, 0);
        int64_t base = i < 6 ? INT64_C(100) << i : 5000;
        if (base > 5000)
            base = 5000;
        assert_true(d >= base && d <= base + base / 4);
        assert_true(d >= last || base == 5000);
        last = d;
    }
    assert_int_equal(workqueue_failures(q, "a"), 40);
    assert_true(workqueue_add_backoff(q, "a", 60000, 0) >= 60000); /* the peer's hint */
    workqueue_forget(q, "a");
    assert_int_equal(workqueue_failures(q, "a"), 0);
    assert_true(workqueue_add_backoff(q, "a", 0, 0) <= 125);
    workqueue_free(q);
}

static void
retry_rate_is_shared(void **state)
{
    struct workqueue_opts o = {.backoff_min_ms = 1,
                               .backoff_max_ms = 1,
                               .retry_rate = 10,
                               .retry_burst = 5,
                               .seed = 1};
    struct workqueue *q = workqueue_new(&o);
    int64_t last = 0;

    UNUSED(state);
    for (int i = 0; i < 25; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", i);
        last = workqueue_add_backoff(q, key, 0, 10000);
        if (i < 4)
            assert_true(last <= 2);
    }
    assert_true(last >= 1900 && last <= 2100); /* 20 above the burst, 10 per second */
    workqueue_free(q);
}

enum { KEYS = 20, STEPS = 200000 };

static void
random_sequences(void **state)
{
    struct workqueue *q = queue();
    bool pending[KEYS] = {0}; /* added and not started since */
    bool processing[KEYS] = {0};
    int64_t due[KEYS];
    int64_t now = 0;

    UNUSED(state);
    for (int k = 0; k < KEYS; k++)
        due[k] = -1;
    for (int step = 0; step < STEPS; step++) {
        int k = (int)id_uniform(KEYS);
        char key[16];
        snprintf(key, sizeof(key), "key-%d", k);
        switch (id_uniform(6)) {
        case 0:
            workqueue_add(q, key, (enum workqueue_level)id_uniform(2));
            pending[k] = true;
            break;
        case 1: {
            int64_t at = now + (int64_t)id_uniform(50);
            workqueue_add_after(q, key, at - now, now);
            if (due[k] < 0 || at < due[k])
                due[k] = at;
            break;
        }
        case 2:
            if (processing[k]) {
                workqueue_done(q, key);
                processing[k] = false;
            }
            break;
        case 3:
            workqueue_forget(q, key);
            break;
        case 4:
            now += (int64_t)id_uniform(20);
            break;
        default: {
            const char *got = workqueue_get(q, now);
            bool any = false;
            for (int i = 0; i < KEYS; i++) {
                if (due[i] >= 0 && due[i] <= now) {
                    due[i] = -1;
                    pending[i] = true;
                }
                any |= pending[i] && !processing[i];
            }
            assert_int_equal(got != NULL, any);
            if (got != NULL) {
                int g = (int)strtol(got + 4, NULL, 10);
                assert_true(pending[g]);
                assert_false(processing[g]);
                pending[g] = false;
                processing[g] = true;
            }
            break;
        }
        }
    }
    workqueue_free(q);
}

int
main(void)
{
    const unsigned char seed[32] = {1, 2, 3};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adds_merge_and_requeue),
        cmocka_unit_test(live_before_resync),
        cmocka_unit_test(delays),
        cmocka_unit_test(backoff_grows_and_is_forgotten),
        cmocka_unit_test(retry_rate_is_shared),
        cmocka_unit_test(random_sequences),
    };

    id_seed(seed);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
