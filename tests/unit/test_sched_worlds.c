/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random worlds in which gangs, bookings, preemption and quotas all meet: the exchange of
 * decisions and evictions ends by itself, also where victims take long to stop; and the
 * job that waits first is not delayed by later ones.
 */
#include <stdlib.h>

#include "unit/sched_world.h"

enum { STEPS = 400 };

static void
submit(struct world *w)
{
    size_t size = rnd(4) == 0 ? 2 + rnd(3) : 1, made = 0;
    int64_t priority = rnd(4) * 10, cpus = 1 + rnd(5), gpus = rnd(2) ? rnd(4) : 0;
    int space = (int)rnd(SPACES), gang = size > 1 ? w->next_gang++ : -1;
    int64_t duration = rnd(2) ? 1 + rnd(40) : 0;
    bool preempts = rnd(3) == 0, preemptible = rnd(2) == 0;

    for (int k = 0; k < JOBS && made < size; k++) {
        if (w->j[k].where != ABSENT)
            continue;
        struct m_job *j = add_job(w, k, cpus, gpus);
        j->space = space;
        j->gang = gang;
        j->gang_size = size;
        j->priority = priority;
        j->queued = w->now;
        j->duration = duration;
        j->preempts = preempts;
        j->preemptible = preemptible;
        snprintf(j->key, sizeof(j->key), "g%d", gang);
        queue(w, j);
        made++;
        if (rnd(8) == 0) /* members come one by one */
            (void)settle(w);
    }
}

static void
change(struct world *w)
{
    struct m_job *j = &w->j[rnd(JOBS)];
    int i = (int)rnd(INSTANCES);

    switch (rnd(8)) {
    case 0:
        w->i[i].usable = !w->i[i].usable;
        tell_instance(w, i);
        break;
    case 1:
    case 2:
        if (j->where != ABSENT)
            finish(w, j);
        break;
    default:
        submit(w);
        break;
    }
}

static void
advance(struct world *w)
{
    w->now += 1 + rnd(5);
    scheduler_set_time(w->s, w->now);
    for (int k = 0; k < JOBS; k++) {
        struct m_job *j = &w->j[k];
        if (j->where == HELD && j->duration > 0 && j->started + j->duration <= w->now)
            finish(w, j);
    }
}

/* Some of those that were told have stopped; members of a gang together. */
static size_t
some_go(struct world *w, uint32_t one_in)
{
    size_t left = 0;

    for (int k = 0; k < JOBS; k++) {
        struct m_job *j = &w->j[k];
        if (j->where != HELD || !j->told)
            continue;
        if (rnd(one_in) != 0) {
            left++;
            continue;
        }
        for (int o = 0; o < JOBS; o++)
            if (w->j[o].where == HELD &&
                (o == k || (j->gang >= 0 && w->j[o].gang == j->gang)))
                queue_again(w, &w->j[o]);
    }
    return left;
}

/* When nothing else happens, nobody is told to go for ever. */
static void
come_to_rest(struct world *w)
{
    int rounds = 0;

    while (some_go(w, 3) + (size_t)settle(w) > 0)
        assert_true(++rounds < ROUNDS_MAX);
}

static int
run_seed(uint64_t number)
{
    bool with_quotas = number % 2 == 0, slow = number % 3 == 0;
    struct world *w = world_new();
    int evictions = 0;

    w->slow = slow;
    w->anew = number % 5 < 2;
    w->shared = !slow;
    seed(number * 7919 + 1);
    for (int i = 0; i < INSTANCES; i++)
        add_instance(w, i, (int)rnd(2), 2 + rnd(7), rnd(2) ? GPUS : 0);
    if (with_quotas)
        add_quotas(w);
    for (int step = 0; step < STEPS; step++) {
        advance(w);
        for (uint32_t k = rnd(5); k > 0; k--)
            change(w);
        if (rnd(8) == 0)
            events(w);
        if (rnd(30) == 0)
            restart(w);
        evictions += settle(w);
        if (slow)
            (void)some_go(w, 4);
    }
    come_to_rest(w);
    world_free(w);
    return evictions;
}

static void
worlds(void **state)
{
    const char *more = getenv("DROVER_WORLDS");
    uint64_t seeds = more != NULL                    ? strtoull(more, NULL, 10)
                     : getenv("DROVER_LONG") != NULL ? 2000
                                                     : 100;
    int evictions = 0;

    UNUSED(state);
    for (uint64_t n = 1; n <= seeds; n++)
        evictions += run_seed(n);
    assert_true(evictions > 100); /* the worlds do get there */
}

/* A job that waits first of all starts no later than it was told first, when running
 * jobs keep to their durations. */
static void
no_delay(void **state)
{
    UNUSED(state);
    for (uint64_t number = 1; number <= 20; number++) {
        struct world *w = world_new();
        struct m_job *first = NULL;
        int64_t promised = 0;
        int kept = 0;
        seed(number * 104729 + 1);
        for (int i = 0; i < 4; i++)
            add_instance(w, i, 0, 4, i % 2 ? GPUS : 0);
        for (int k = 0; k < JOBS; k++) {
            struct m_job *j = add_job(w, k, 1 + rnd(4), rnd(3) ? 0 : 1 + rnd(4));
            j->duration = 1 + rnd(50);
            queue(w, j);
        }
        for (int64_t t = 0; t < 3000; t++) {
            const char *on;
            w->now = t;
            scheduler_set_time(w->s, t);
            for (int k = 0; k < JOBS; k++)
                if (w->j[k].where == HELD && w->j[k].started + w->j[k].duration <= t)
                    finish(w, &w->j[k]);
            (void)settle(w);
            if (first != NULL && first->where != WAITING) {
                assert_true(first->started <= promised);
                first = NULL;
                kept++;
            }
            bool known = first != NULL;
            for (int k = 0; k < JOBS && first == NULL; k++)
                if (w->j[k].where == WAITING)
                    first = &w->j[k];
            if (first != NULL && !known) {
                assert_true(scheduler_booking_of(w->s, first->uid, 0, &on, &promised));
                assert_true(promised > t);
            }
        }
        assert_int_equal(scheduler_waiting(w->s), 0);
        assert_true(kept > 3);
        world_free(w);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_delay),
        cmocka_unit_test(worlds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
