/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why jobs do not push each other out for ever: a scene for each way in which they did,
 * found by test_sched_worlds.c, and the bound that holds whatever the rules are.
 */
#include "unit/sched_world.h"

enum { A, B, C, D }; /* namespaces */

static struct m_job *
job(struct world *w, int n, int space, int64_t priority, int64_t cpus, int64_t gpus)
{
    struct m_job *j = add_job(w, n, cpus, gpus);

    j->space = space;
    j->priority = priority;
    return j;
}

static struct m_job *
queue_job(struct world *w, int n, int space, int64_t priority, int64_t cpus)
{
    struct m_job *j = job(w, n, space, priority, cpus, 0);

    queue(w, j);
    return j;
}

/* Of namespace d, with this many cpus for each of two. */
static void
queue_pair(struct world *w, int n, int64_t priority, int64_t cpus)
{
    for (int k = n; k < n + 2; k++) {
        struct m_job *j = job(w, k, D, priority, cpus, 0);
        j->gang = 0;
        j->gang_size = 2;
        snprintf(j->key, sizeof(j->key), "g");
        queue(w, j);
    }
}

/* Its place would be its own share again, and its turn comes first. */
static void
victim_that_would_be_back_first_is_none(void **state)
{
    UNUSED(state);
    for (int64_t priority = 10; priority <= 30; priority += 20) {
        struct world *w = world_new();
        add_instance(w, 0, 0, 16, 0);
        add_quotas(w);
        queue_job(w, 0, B, 20, 3);
        queue_job(w, 1, B, 20, 13);
        assert_int_equal(settle(w), 0);
        struct m_job *j = queue_job(w, 2, A, priority, 14);
        assert_int_equal(settle(w), priority == 10 ? 0 : 2);
        assert_int_equal(j->where, priority == 10 ? WAITING : HELD);
        world_free(w);
    }
    struct world *w = world_new(); /* one of them is enough, and stays out */
    add_instance(w, 0, 0, 16, 0);
    add_quotas(w);
    queue_job(w, 0, B, 20, 8);
    queue_job(w, 1, B, 20, 8);
    assert_int_equal(settle(w), 0);
    struct m_job *j = queue_job(w, 2, A, 10, 8);
    assert_int_equal(settle(w), 1);
    assert_int_equal(j->where, HELD);
    world_free(w);
}

/* A gang that comes first in the queue would wait with it for other instances. */
static void
place_that_was_made_is_not_booked_by_others(void **state)
{
    UNUSED(state);
    for (int full = 0; full < 2; full++) { /* the cohort's quota; or only the machines */
        struct world *w = world_new();
        int n = full ? 7 : 5;
        w->slow = true;
        for (int i = 0; i < n; i++)
            add_instance(w, i, 0, 4, 0);
        add_quotas(w);
        for (int k = 0; k < n; k++)
            queue_job(w, k, B, 20, 4);
        assert_int_equal(settle(w), 0);
        struct m_job *j = queue_job(w, 10, A, 0, 4);
        assert_int_equal(settle(w), 1);
        queue_pair(w, 11, 10, 4);
        assert_int_equal(settle(w), 0);
        all_go(w);
        assert_int_equal(settle(w), 0);
        assert_int_equal(j->where, HELD);
        world_free(w);
    }
}

/* Nor does a later job of the namespace take the quota. */
static void
quota_that_was_made_is_not_for_later_jobs(void **state)
{
    struct world *w = world_new();

    w->slow = true;
    add_instance(w, 0, 0, 8, GPUS);
    if (*state != NULL) /* another machine has room: only the quota is in the way */
        add_instance(w, 1, 0, 8, GPUS);
    add_quotas(w);
    for (int k = 0; k < 2; k++) {
        struct m_job *j = job(w, k, C, 0, 1, 1);
        j->preemptible = true;
        queue(w, j);
    }
    assert_int_equal(settle(w), 0);
    struct m_job *urgent = job(w, 2, C, 30, 1, 3);
    urgent->preempts = true;
    queue(w, urgent);
    assert_int_equal(tell_all(w), 2);
    struct m_job *later = job(w, 3, C, 20, 1, 1);
    queue(w, later);
    assert_int_equal(settle(w), 0);
    assert_int_equal(later->where, WAITING);
    goes(w, 0);
    assert_int_equal(settle(w), 0);
    assert_int_equal(later->where, WAITING);
    goes(w, 1);
    assert_int_equal(settle(w), 0);
    assert_int_equal(urgent->where, HELD);
    assert_int_equal(later->where, WAITING);
    world_free(w);
}

/* Each place that is taken back goes to a job whose turn is earlier. That could go on as
 * long as there are such jobs; it does for a while, and again when something happens. */
static void
looks_are_bounded(void **state)
{
    UNUSED(state);
    for (int anew = 0; anew < 2; anew++) {
        struct world *w = world_new();
        w->anew = anew;
        for (int i = 0; i < 7; i++)
            add_instance(w, i, 0, 4, 0);
        add_quotas(w);
        for (int k = 0; k < 28; k++)
            queue_job(w, k, B, 20, 1);
        assert_int_equal(settle(w), 0);
        for (int k = 30; k < 40; k++)
            queue_job(w, k, D, 20, 1);
        struct m_job *j = queue_job(w, 40, A, 10, 1);
        assert_int_equal(settle(w), 8);
        assert_int_equal(j->where, WAITING);
        events(w); /* nothing new */
        assert_int_equal(settle(w), 0);
        struct m_job *other = queue_job(w, 41, D, 0, 2);
        assert_int_equal(settle(w), 3); /* two more before it */
        assert_int_equal(j->where, HELD);
        assert_int_equal(other->where, WAITING);
        world_free(w);
    }
}

int
main(void)
{
    static int two;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(victim_that_would_be_back_first_is_none),
        cmocka_unit_test(place_that_was_made_is_not_booked_by_others),
        cmocka_unit_test(quota_that_was_made_is_not_for_later_jobs),
        cmocka_unit_test_prestate(quota_that_was_made_is_not_for_later_jobs, &two),
        cmocka_unit_test(looks_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
