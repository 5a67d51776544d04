/* SPDX-License-Identifier: Apache-2.0 */
/* Gangs, bookings, preemption and quotas: a small scene for each rule. */
#include "unit/sched_world.h"

static void
expect_reason(struct world *w, const char *uid, const char *code)
{
    struct sched_reason why;
    struct sched_decision d;

    assert_false(scheduler_next(w->s, &d));
    while (scheduler_next_reason(w->s, &why)) {
        if (!streq(why.uid, uid))
            continue;
        assert_string_equal(why.code, code);
        return;
    }
    fail_msg("no reason for %s", uid);
}

static void
expect_place(struct world *w, const char *uid)
{
    struct sched_decision d;

    assert_true(scheduler_next(w->s, &d));
    assert_string_equal(d.uid, uid);
    take(w, &d);
}

/* One CPU and one GPU each. */
static void
queue_jobs(struct world *w, int from, int end, int space)
{
    for (int k = from; k < end; k++) {
        struct m_job *j = add_job(w, k, 1, 1);
        j->space = space;
        queue(w, j);
    }
}

static void
backfill(void **state)
{
    struct world *w = world_new();
    const char *on;
    int64_t start;

    UNUSED(state);
    add_instance(w, 0, 0, 4, 0);
    struct m_job *j = add_job(w, 0, 2, 0);
    j->duration = 100;
    queue(w, j);
    expect_place(w, "j00");
    queue(w, add_job(w, 1, 4, 0));
    expect_reason(w, "j01", "InsufficientCPU");
    assert_true(scheduler_booking_of(w->s, "j01", 0, &on, &start));
    assert_string_equal(on, "i00");
    assert_int_equal(start, 100);
    queue(w, add_job(w, 2, 2, 0)); /* would be in the way, for how long nobody knows */
    expect_reason(w, "j02", "HeldForEarlierJob");
    j = add_job(w, 3, 2, 0); /* would end too late */
    j->duration = 101;
    queue(w, j);
    expect_reason(w, "j03", "HeldForEarlierJob");
    j = add_job(w, 4, 2, 0); /* is out of the way in time */
    j->duration = 100;
    queue(w, j);
    expect_place(w, "j04");
    j = add_job(w, 5, 1, 0); /* more urgent */
    j->priority = 5;
    queue(w, j);
    finish(w, &w->j[4]);
    expect_place(w, "j05");
    finish(w, &w->j[1]);
    queue(w, add_job(w, 6, 1, 0));
    expect_place(w, "j06");
    world_free(w);
}

static void
gangs(void **state)
{
    struct world *w = world_new();

    UNUSED(state);
    add_instance(w, 0, 0, 4, 0);
    add_instance(w, 1, 1, 4, 0);
    for (int k = 0; k < 3; k++) {
        struct m_job *j = add_job(w, k, 1 + k, 0);
        j->gang = 0;
        j->gang_size = 3;
        snprintf(j->key, sizeof(j->key), "g");
        if (k < 2)
            queue(w, j);
    }
    expect_reason(w, "j00", "WaitingForMembers");
    queue(w, &w->j[2]);
    expect_reason(w, "j00", "InsufficientInstances");
    add_instance(w, 2, 0, 2, 0);
    assert_int_equal(settle(w), 0);
    assert_int_equal(w->j[0].where, WAITING);
    add_instance(w, 3, 0, 1, 0); /* three in one fleet now, just large enough */
    assert_int_equal(settle(w), 0);
    assert_int_equal(w->j[0].on, 3);
    assert_int_equal(w->j[1].on, 2);
    assert_int_equal(w->j[2].on, 0);
    world_free(w);
}

static void
preemption(void **state)
{
    struct world *w = world_new();
    struct sched_preemption p;
    struct sched_decision d;

    UNUSED(state);
    add_instance(w, 0, 0, 4, 0);
    for (int k = 0; k < 4; k++) {
        struct m_job *j = add_job(w, k, 1, 0);
        j->priority = k;
        j->preemptible = k != 0;
        queue(w, j);
    }
    assert_int_equal(settle(w), 0);
    struct m_job *j = add_job(w, 5, 2, 0);
    j->priority = 3;
    queue(w, j); /* is not one that preempts */
    assert_int_equal(settle(w), 0);
    scheduler_remove_job(w->s, j->uid);
    j->preempts = true;
    queue(w, j);
    assert_false(scheduler_next(w->s, &d));
    assert_true(scheduler_next_preemption(w->s, &p));
    assert_string_equal(p.uid, "j01"); /* j00 may not be preempted, j03 is no lower */
    assert_string_equal(p.for_uid, "j05");
    evict(w, &p);
    assert_false(scheduler_next(w->s, &d)); /* nobody takes what was made free */
    assert_true(scheduler_next_preemption(w->s, &p));
    assert_string_equal(p.uid, "j02");
    evict(w, &p);
    expect_place(w, "j05");
    assert_int_equal(settle(w), 0);
    world_free(w);
}

static void
borrowing(void **state)
{
    struct world *w = world_new();

    UNUSED(state);
    for (int i = 0; i < 5; i++)
        add_instance(w, i, 1, 8, GPUS);
    add_quotas(w);
    queue_jobs(w, 0, 12, 1);
    assert_int_equal(settle(w), 0); /* b takes all ten of the cohort, though it owns 4 */
    assert_int_equal(used(w, 1, &limits_b[0]), 10);
    queue_jobs(w, 12, 20, 0);
    assert_int_equal(settle(w), 6); /* a gets its own six back, and not more */
    assert_int_equal(used(w, 0, &limits_a[0]), 6);
    assert_int_equal(used(w, 1, &limits_b[0]), 4);
    /* b ends: what is free goes to a, up to what it may borrow. */
    for (int k = 0; k < 12; k++)
        finish(w, &w->j[k]);
    assert_int_equal(settle(w), 0);
    assert_int_equal(used(w, 0, &limits_a[0]), 8);
    world_free(w);
}

/* Both borrow what a third does not use: who has the smaller share by weight is next. */
static void
fair_share(void **state)
{
    static const struct sched_limit none = {SCHED_LIMIT_GPUS, 0, "", 1, INT64_MAX};
    static const struct sched_limit big = {SCHED_LIMIT_GPUS, 0, "", 10, 0};
    struct world *w = world_new();
    int64_t a, b;

    UNUSED(state);
    for (int i = 0; i < 3; i++)
        add_instance(w, i, 0, 8, GPUS);
    scheduler_set_quota(w->s, &(struct sched_quota){"x", "a", "lab", 3, &none, 1});
    scheduler_set_quota(w->s, &(struct sched_quota){"y", "b", "lab", 1, &none, 1});
    scheduler_set_quota(w->s, &(struct sched_quota){"z", "c", "lab", 1, &big, 1});
    for (int k = 0; k < 40; k++) {
        struct m_job *j = add_job(w, k, 1, 1);
        j->space = k < 20; /* b queued first */
        j->queued = k < 20 ? 1 : 2;
        queue(w, j);
    }
    assert_int_equal(settle(w), 0);
    assert_true(scheduler_quota_used(w->s, "x", 0, &a));
    assert_true(scheduler_quota_used(w->s, "y", 0, &b));
    assert_int_equal(a, 9);
    assert_int_equal(b, 3);
    world_free(w);
}

static void
hard_limit(void **state)
{
    struct world *w = world_new();

    UNUSED(state);
    add_instance(w, 0, 1, 8, GPUS);
    add_instance(w, 1, 0, 8, GPUS);
    add_quotas(w);
    for (int k = 0; k < 6; k++) {
        struct m_job *j = add_job(w, k, 1, k < 5 ? 1 : 0);
        j->space = 2;
        queue(w, j);
    }
    assert_int_equal(settle(w), 0); /* three A100s at most, five jobs at most */
    assert_int_equal(used(w, 2, &limits_c[1]), 3);
    queue(w, &w->j[5]);
    expect_reason(w, "j05", "QuotaExceeded");
    finish(w, &w->j[0]);
    expect_place(w, "j05");
    world_free(w);
}

/* First there was no machine for it, then no room in the quota. */
static void
one_lack_after_the_other(void **state)
{
    struct world *w = world_new();

    UNUSED(state);
    add_instance(w, 0, 0, 8, 0);
    add_quotas(w);
    queue_jobs(w, 10, 11, 2);
    expect_reason(w, "j10", "NoMatchingGPU");
    for (int k = 0; k < 5; k++) {
        struct m_job *j = add_job(w, k, 1, 0);
        j->space = 2;
        queue(w, j);
    }
    assert_int_equal(settle(w), 0);
    add_instance(w, 1, 1, 8, 1);
    expect_reason(w, "j10", "QuotaExceeded");
    finish(w, &w->j[0]);
    expect_place(w, "j10");
    world_free(w);
}

static void
targets(void **state)
{
    static const char *const wanted[] = {"i01"}, *const ours[] = {"d"};
    struct world *w = world_new();
    struct m_job *j = add_job(w, 0, 1, 0);
    struct sched_job q = {.uid = j->uid,
                          .ns = "d",
                          .name = j->uid,
                          .req = &j->req,
                          .instances = wanted,
                          .n_instances = 1,
                          .reason = ""};

    UNUSED(state);
    j->where = WAITING;
    scheduler_share_fleet(w->s, "pool", "alpha", NULL, 0);
    add_instance(w, 0, 0, 4, 0);
    scheduler_queue(w->s, &q);
    expect_reason(w, "j00", "NoInstances");
    add_instance(w, 1, 0, 4, 0); /* the name that is wanted, in a fleet of others */
    assert_int_equal(settle(w), 0);
    scheduler_share_fleet(w->s, "pool", "alpha", ours, 1);
    expect_place(w, "j00");
    assert_int_equal(j->on, 1);
    world_free(w);
}

/* --- many at once ------------------------------------------------------------------- */

/* What was set in motion is enough, also for a scheduler that only sees it. */
static void
no_more_are_told(struct world *w)
{
    assert_int_equal(tell_all(w), 0);
    events(w);
    assert_int_equal(tell_all(w), 0);
    restart(w);
    assert_int_equal(tell_all(w), 0);
}

/* First what can be placed. */
static size_t
tell_all_placed(struct world *w)
{
    struct sched_decision d;

    while (scheduler_next(w->s, &d))
        take(w, &d);
    return tell_all(w);
}

/* Who takes long to stop holds up one job, not all that wait for their share. */
static void
shares_come_back_together(void **state)
{
    struct world *w = world_new();

    UNUSED(state);
    w->slow = true;
    for (int i = 0; i < 5; i++)
        add_instance(w, i, 1, 8, GPUS);
    add_quotas(w);
    queue_jobs(w, 0, 10, 1);
    assert_int_equal(settle(w), 0);
    for (int k = 12; k < 21; k++) {
        struct m_job *j = add_job(w, k, 1, 1);
        j->space = k == 20;
        j->priority = k == 20 ? 9 : 0; /* it would borrow */
        queue(w, j);
        if (k == 14)
            assert_int_equal(tell_all(w), 3);
    }
    assert_int_equal(tell_all(w), 3); /* all that a owns, and not more */
    no_more_are_told(w);
    for (int k = 9, n = 0; k >= 0; k--) {
        if (!w->j[k].told)
            continue;
        goes(w, k);
        assert_int_equal(settle(w), 0);
        assert_int_equal(used(w, 0, &limits_a[0]), ++n);
        assert_int_equal(w->j[k].where, WAITING); /* nobody borrows meanwhile */
        assert_int_equal(w->j[20].where, WAITING);
    }
    assert_int_equal(used(w, 1, &limits_b[0]), 4);
    world_free(w);
}

/* The quotas have room, the machines have none. */
static void
machines_come_back_together(void **state)
{
    struct world *w = world_new();

    UNUSED(state);
    w->slow = true;
    for (int i = 0; i < 2; i++)
        add_instance(w, i, 1, 8, GPUS);
    add_quotas(w);
    queue_jobs(w, 0, 8, 1);
    assert_int_equal(settle(w), 0);
    queue_jobs(w, 10, 13, 0);
    assert_int_equal(tell_all(w), 3); /* two on one of them */
    no_more_are_told(w);
    all_go(w);
    assert_int_equal(tell_all_placed(w), 0);
    assert_int_equal(used(w, 0, &limits_a[0]), 3);
    world_free(w);
}

static void
urgent_jobs_are_served_together(void **state)
{
    struct world *w = world_new();

    UNUSED(state);
    w->slow = true;
    for (int k = 0; k < 4; k++) {
        add_instance(w, k, k / 2, 4, 0);
        for (int half = 0; half < 2; half++) {
            struct m_job *j = add_job(w, 2 * k + half, 2, 0);
            j->preemptible = true;
            queue(w, j);
        }
    }
    assert_int_equal(settle(w), 0);
    for (int k = 10; k < 13; k++) {
        struct m_job *j = add_job(w, k, 4, 0);
        j->priority = 5;
        j->preempts = true;
        queue(w, j);
        if (k > 10) /* two instances, of two victims each; one for who comes late */
            assert_int_equal(tell_all(w), k == 11 ? 4 : 2);
    }
    no_more_are_told(w);
    for (int k = 0; k < 8; k++) {
        if (!w->j[k].told)
            continue;
        goes(w, k); /* half an instance: nobody takes it */
        assert_int_equal(settle(w), 0);
        assert_int_equal(w->j[k].where, WAITING);
    }
    assert_int_equal(w->j[10].where, HELD);
    assert_int_equal(w->j[11].where, HELD);
    assert_int_equal(w->j[12].where, HELD);
    world_free(w);
}

/* Its namespace has a hard limit, which those that are less urgent use up. */
static void
urgent_job_within_a_limit(void **state)
{
    struct world *w = world_new();

    UNUSED(state);
    add_instance(w, 0, 1, 8, 0);
    add_quotas(w);
    for (int k = 0; k < 5; k++) {
        struct m_job *j = add_job(w, k, 1, 0);
        j->space = 2;
        j->priority = k;
        j->preemptible = k != 0;
        queue(w, j);
    }
    assert_int_equal(settle(w), 0);
    struct m_job *j = add_job(w, 5, 1, 0);
    j->space = 2;
    j->priority = 3;
    j->preempts = true;
    queue(w, j);
    assert_int_equal(settle(w), 1);
    assert_int_equal(j->where, HELD);
    assert_int_equal(w->j[1].where, WAITING); /* the least urgent that may be */
    world_free(w);
}

static void
urgent_jobs_within_a_limit_together(void **state)
{
    struct world *w = world_new();

    UNUSED(state);
    w->slow = true;
    add_instance(w, 0, 1, 8, 0);
    add_quotas(w);
    for (int k = 0; k < 8; k++) {
        struct m_job *j = add_job(w, k, 1, 0);
        j->space = 2;
        j->priority = k < 5 ? 0 : 5;
        j->preempts = k >= 5;
        j->preemptible = k < 5;
        if (k < 7)
            queue(w, j);
        if (k == 4)
            assert_int_equal(settle(w), 0);
    }
    assert_int_equal(tell_all(w), 2);
    no_more_are_told(w);
    queue(w, &w->j[7]);
    assert_int_equal(tell_all(w), 1);
    no_more_are_told(w);
    for (int k = 0; k < 3; k++) {
        goes(w, k);
        assert_int_equal(tell_all_placed(w), 0); /* the others are still going */
        assert_int_equal(w->j[5 + k].where, HELD);
    }
    world_free(w);
}

/* What a borrower has where the owner may not go is no place for it. */
static void
shares_come_back_where_they_are_of_use(void **state)
{
    static const char *const only_b[] = {"b"};
    struct world *w = world_new();

    UNUSED(state);
    scheduler_share_fleet(w->s, "pool", "alpha", only_b, 1);
    add_instance(w, 0, 0, 8, GPUS);
    add_instance(w, 1, 0, 2, 2);
    add_instance(w, 2, 1, 4, GPUS);
    add_quotas(w);
    for (int k = 0; k < 10; k++) { /* the last, which are more urgent, in beta */
        struct m_job *j = add_job(w, k, 1, 1);
        j->space = 1;
        j->priority = 10 - k;
        queue(w, j);
        assert_int_equal(settle(w), 0);
    }
    struct m_job *j = add_job(w, 20, 2, 2);
    j->space = 0;
    queue(w, j);
    assert_int_equal(settle(w), 2);
    assert_int_equal(j->where, HELD);
    assert_int_equal(j->on, 2);
    world_free(w);
}

static int
told(const struct world *w)
{
    int n = 0;

    for (int k = 0; k < JOBS; k++)
        n += w->j[k].where == HELD && w->j[k].told;
    return n;
}

static int
first_told(const struct world *w, int but)
{
    for (int k = 0; k < JOBS; k++)
        if (k != but && w->j[k].where == HELD && w->j[k].told)
            return k;
    return -1;
}

/* Jobs of b, of four cpus each, on as many instances. */
static struct world *
lent_instances(int n)
{
    struct world *w = world_new();

    w->slow = true;
    for (int i = 0; i < n; i++)
        add_instance(w, i, 1, 4, 0);
    add_quotas(w);
    for (int k = 0; k < n; k++) {
        struct m_job *j = add_job(w, k, 4, 0);
        j->space = 1;
        queue(w, j);
    }
    assert_int_equal(settle(w), 0);
    return w;
}

static struct m_job *
own_job(struct world *w, int n, int64_t cpus)
{
    struct m_job *j = add_job(w, n, cpus, 0);

    j->space = 0;
    queue(w, j);
    return j;
}

/* A gang too, where only the quota is in the way. */
static void
urgent_gang_within_a_limit(void **state)
{
    struct world *w = world_new();

    UNUSED(state);
    w->slow = true;
    for (int i = 0; i < 2; i++)
        add_instance(w, i, 0, 8, GPUS);
    add_quotas(w);
    for (int k = 0; k < 3; k++) {
        struct m_job *j = add_job(w, k, 1, 1);
        j->space = 2;
        j->preemptible = true;
        queue(w, j);
    }
    assert_int_equal(settle(w), 0);
    for (int k = 10; k < 12; k++) {
        struct m_job *j = add_job(w, k, 1, 1);
        j->space = 2;
        j->priority = 5;
        j->preempts = true;
        j->gang = 0;
        j->gang_size = 2;
        snprintf(j->key, sizeof(j->key), "g");
        queue(w, j);
    }
    assert_int_equal(tell_all(w), 2);
    no_more_are_told(w);
    goes(w, first_told(w, -1));
    assert_int_equal(tell_all_placed(w), 0);
    assert_int_equal(w->j[10].where, WAITING);
    goes(w, first_told(w, -1));
    assert_int_equal(tell_all_placed(w), 0);
    assert_int_equal(w->j[10].where, HELD);
    assert_int_equal(w->j[11].where, HELD);
    world_free(w);
}

/* One for j20, then one for j21, which needs something else; who was told first. */
static int
two_are_told(struct world *w)
{
    own_job(w, 20, 4);
    assert_int_equal(tell_all(w), 1);
    int first = first_told(w, -1);
    own_job(w, 21, 3);
    assert_int_equal(tell_all(w), 1);
    return first;
}

/* Who needs something else does not wait for the victims of others, nor count on them. */
static void
shares_come_back_for_each(void **state)
{
    struct world *w = lent_instances(6);

    UNUSED(state);
    struct m_job *one = &w->j[20], *two = &w->j[21];
    int first = two_are_told(w);
    struct m_job *late = own_job(w, 22, 4);
    assert_int_equal(tell_all(w), 1);
    own_job(w, 23, 4); /* nobody has more than its own, when all these are gone */
    no_more_are_told(w);
    goes(w, first_told(w, first));
    assert_int_equal(tell_all_placed(w), 0);
    assert_int_equal((one->where == HELD) + (two->where == HELD), 1);
    while (told(w) > 0) {
        goes(w, first_told(w, -1));
        assert_int_equal(tell_all_placed(w), 0);
    }
    assert_int_equal(one->where, HELD);
    assert_int_equal(two->where, HELD);
    assert_int_equal(late->where, HELD);
    world_free(w);
}

/* What was made free went to a more urgent job: others are told, although the victims of
 * somebody else still go. */
static void
share_that_was_lost_is_taken_back_again(void **state)
{
    struct world *w = lent_instances(6);

    UNUSED(state);
    struct m_job *one = &w->j[20];
    int first = two_are_told(w);
    struct m_job *urgent = add_job(w, 22, 4, 0);
    urgent->priority = 30;
    queue(w, urgent);
    assert_int_equal(tell_all(w), 0);
    goes(w, first);
    assert_int_equal(tell_all_placed(w), 1);
    assert_int_equal(urgent->where, HELD);
    assert_int_equal(one->where, WAITING);
    assert_int_equal(told(w), 2);
    world_free(w);
}

static void
own_gang(struct world *w, int n, size_t size, int gang)
{
    for (int k = n; k < n + (int)size; k++) {
        struct m_job *j = add_job(w, k, 4, 0);
        j->space = 0;
        j->gang = gang;
        j->gang_size = size;
        snprintf(j->key, sizeof(j->key), "g%d", gang);
        queue(w, j);
    }
}

/* For all its members, or for none. */
static void
gang_takes_its_share_back(void **state)
{
    struct world *w = lent_instances(6);

    UNUSED(state);
    own_gang(w, 20, 4, 0); /* but b owns three of the six */
    assert_int_equal(tell_all(w), 0);
    finish(w, &w->j[20]);
    own_gang(w, 30, 3, 1);
    assert_int_equal(tell_all(w), 3);
    no_more_are_told(w);
    while (told(w) > 1) {
        goes(w, first_told(w, -1));
        assert_int_equal(tell_all_placed(w), 0);
        assert_int_equal(used(w, 0, &limits_a[1]), 0); /* nobody takes what is free */
        assert_int_equal(w->j[30].where, WAITING);
    }
    goes(w, first_told(w, -1));
    assert_int_equal(tell_all_placed(w), 0);
    for (int k = 30; k < 33; k++)
        assert_int_equal(w->j[k].where, HELD);
    assert_int_equal(used(w, 1, &limits_b[1]), 12000);
    world_free(w);
}

/* A look in vain is not repeated at once, whatever ends. */
static void
gang_looks_again_later(void **state)
{
    struct world *w = lent_instances(6);
    const int64_t second = 1000000000;

    UNUSED(state);
    own_gang(w, 20, 4, 0);
    assert_int_equal(tell_all(w), 0);
    assert_int_equal(scheduler_due_ns(w->s), second);
    add_instance(w, 6, 1, 4, 0);
    assert_int_equal(tell_all(w), 0);
    scheduler_set_time(w->s, second - 1);
    assert_int_equal(tell_all(w), 0);
    scheduler_set_time(w->s, second);
    assert_int_equal(tell_all(w), 3);
    assert_int_equal(scheduler_due_ns(w->s), 0);
    world_free(w);
}

/* Where machines are free, anybody's share will do. */
static void
gang_takes_back_quota_only(void **state)
{
    struct world *w = lent_instances(7); /* all that the cohort has */

    UNUSED(state);
    for (int i = 7; i < 9; i++)
        add_instance(w, i, 0, 4, 0);
    own_gang(w, 20, 2, 0);
    assert_int_equal(tell_all(w), 2);
    no_more_are_told(w);
    all_go(w);
    assert_int_equal(tell_all_placed(w), 0);
    for (int k = 20; k < 22; k++)
        assert_int_equal(w->j[k].where, HELD);
    world_free(w);
}

/* A gang goes whole, and counts as that. */
static void
gang_gives_back_what_it_has(void **state)
{
    struct world *w = world_new();

    UNUSED(state);
    for (int i = 0; i < 5; i++)
        add_instance(w, i, 1, 4, GPUS);
    add_quotas(w);
    for (int k = 0; k < 10; k++) {
        struct m_job *j = add_job(w, k, 1, 1);
        j->space = 1;
        j->gang = k < 4 ? 0 : -1;
        j->gang_size = 4;
        snprintf(j->key, sizeof(j->key), "g0");
        queue(w, j);
    }
    assert_int_equal(settle(w), 0);
    queue_jobs(w, 20, 23, 0);
    w->slow = true;
    assert_true(tell_all(w) <= 4);
    for (int k = 0; k < 10; k++)
        assert_int_equal(w->j[k].told, k < 4);
    world_free(w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(backfill),
        cmocka_unit_test(gangs),
        cmocka_unit_test(preemption),
        cmocka_unit_test(borrowing),
        cmocka_unit_test(fair_share),
        cmocka_unit_test(hard_limit),
        cmocka_unit_test(one_lack_after_the_other),
        cmocka_unit_test(targets),
        cmocka_unit_test(shares_come_back_together),
        cmocka_unit_test(machines_come_back_together),
        cmocka_unit_test(urgent_jobs_are_served_together),
        cmocka_unit_test(urgent_job_within_a_limit),
        cmocka_unit_test(urgent_jobs_within_a_limit_together),
        cmocka_unit_test(shares_come_back_where_they_are_of_use),
        cmocka_unit_test(shares_come_back_for_each),
        cmocka_unit_test(share_that_was_lost_is_taken_back_again),
        cmocka_unit_test(gang_takes_its_share_back),
        cmocka_unit_test(gang_looks_again_later),
        cmocka_unit_test(gang_takes_back_quota_only),
        cmocka_unit_test(urgent_gang_within_a_limit),
        cmocka_unit_test(gang_gives_back_what_it_has),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
