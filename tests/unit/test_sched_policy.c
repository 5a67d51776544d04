/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gangs, bookings, preemption and quotas: small scenes for each rule, and random worlds
 * in which all of them meet. After each step of a world: nothing overcommitted, gangs
 * whole on instances of their own in one fleet, quotas kept, victims only by the two
 * rules; and the exchange of decisions and evictions ends by itself.
 */
#include "controllers/job/scheduler/scheduler.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"

enum { INSTANCES = 10, JOBS = 48, GPUS = 4, STEPS = 400, SPACES = 4, ROUNDS_MAX = 400 };

static uint64_t seed_state;

static uint32_t
rnd(uint32_t n)
{
    seed_state ^= seed_state >> 12;
    seed_state ^= seed_state << 25;
    seed_state ^= seed_state >> 27;
    return (uint32_t)(seed_state * UINT64_C(0x2545F4914F6CDD1D) >> 33) % n;
}

struct m_instance {
    bool usable;
    int fleet;
    struct resource_have cap;
    char uid[16];
    char gpu_names[GPUS][24];
    const char *gpus[GPUS];
};
struct m_job {
    enum { ABSENT, WAITING, HELD } where;
    int space, gang; /* gang -1: alone */
    size_t gang_size;
    int64_t priority, queued, duration, started;
    bool preempts, preemptible;
    int64_t gpus, cpus;
    struct resource_req req;
    char uid[16], key[16];
    int on;
    struct reservation r;
};
struct world {
    struct scheduler *s;
    struct m_instance i[INSTANCES];
    struct m_job j[JOBS];
    int64_t now;
    int next_gang;
    bool quotas;
};

/* a and b lend each other; c has a hard limit; d has none. */
static const char *const spaces[SPACES] = {"a", "b", "c", "d"};
static const char *const fleets[] = {"alpha", "beta"};
static const struct sched_limit limits_a[] = {
    {SCHED_LIMIT_GPUS, GPU_VENDOR_ANY, "", 6, 4},
    {SCHED_LIMIT_CPU_MILLI, 0, "", 16000, 8000}};
static const struct sched_limit limits_b[] = {
    {SCHED_LIMIT_GPUS, GPU_VENDOR_ANY, "", 4, INT64_MAX},
    {SCHED_LIMIT_CPU_MILLI, 0, "", 12000, INT64_MAX}};
static const struct sched_limit limits_c[] = {
    {SCHED_LIMIT_JOBS, 0, "", 5, 0}, {SCHED_LIMIT_GPUS, GPU_VENDOR_NVIDIA, "A100", 3, 0}};
static const struct sched_quota quotas[] = {
    {"qa", "a", "lab", 2, limits_a, 2},
    {"qb", "b", "lab", 1, limits_b, 2},
    {"qc", "c", NULL, 1, limits_c, 2},
};

static void
make_need(struct resource_req *q, int64_t cpus, int64_t gpus)
{
    *q = (struct resource_req){
        .cpu = {cpus, INT64_MAX}, .memory_mib = {512, INT64_MAX}, .disk_mib = RANGE_ANY};
    q->gpu.given = gpus > 0;
    q->gpu.count = gpus > 0 ? (struct range){gpus, gpus} : RANGE_ANY;
    q->gpu.memory_mib = RANGE_ANY;
    q->gpu.total_memory_mib = RANGE_ANY;
}

static void
tell_instance(struct world *w, int n)
{
    struct m_instance *in = &w->i[n];
    struct sched_instance i = {.uid = in->uid,
                               .ns = "pool",
                               .name = in->uid,
                               .fleet = fleets[in->fleet],
                               .usable = in->usable,
                               .engines = SCHED_PROCESS,
                               .capacity = &in->cap,
                               .gpu_uuids = in->gpus};

    scheduler_set_instance(w->s, &i);
}

static void
add_instance(struct world *w, int n, int fleet, int64_t cpus, size_t gpus)
{
    struct m_instance *in = &w->i[n];

    *in = (struct m_instance){.usable = true, .fleet = fleet};
    in->cap.cpu_milli = cpus * 1000;
    in->cap.memory_mib = 65536;
    in->cap.disk_mib = 65536;
    in->cap.n_gpus = gpus;
    snprintf(in->uid, sizeof(in->uid), "i%02d", n);
    for (size_t g = 0; g < GPUS; g++) {
        snprintf(in->gpu_names[g], sizeof(in->gpu_names[g]), "GPU-%d-%zu", n, g);
        in->gpus[g] = in->gpu_names[g];
    }
    for (size_t g = 0; g < gpus; g++) {
        in->cap.gpus[g] =
            (struct gpu_have){.vendor = GPU_VENDOR_NVIDIA, .memory_mib = 81920};
        snprintf(in->cap.gpus[g].name, sizeof(in->cap.gpus[g].name), "%s",
                 fleet == 0 ? "A100" : "H100");
        in->cap.gpu_free |= UINT64_C(1) << g;
    }
    tell_instance(w, n);
}

static void
queue(struct world *w, struct m_job *j)
{
    struct sched_job q = {.uid = j->uid,
                          .ns = spaces[j->space],
                          .name = j->uid,
                          .priority = j->priority,
                          .queued_ns = j->queued,
                          .req = &j->req,
                          .max_duration_ns = j->duration,
                          .preempts = j->preempts,
                          .preemptible = j->preemptible,
                          .gang = j->gang < 0 ? NULL : j->key,
                          .gang_size = j->gang_size,
                          .reason = ""};

    j->where = WAITING;
    scheduler_queue(w->s, &q);
}

static struct m_job *
add_job(struct world *w, int n, int64_t cpus, int64_t gpus)
{
    struct m_job *j = &w->j[n];

    *j = (struct m_job){.gang = -1, .queued = n, .cpus = cpus, .gpus = gpus, .on = -1};
    j->space = 3;
    make_need(&j->req, cpus, gpus);
    snprintf(j->uid, sizeof(j->uid), "j%02d", n);
    return j;
}

static struct world *
world_new(void)
{
    static const char *const all[] = {"*"};
    struct world *w = xnew(struct world);

    w->s = scheduler_new();
    for (int f = 0; f < 2; f++)
        scheduler_share_fleet(w->s, "pool", fleets[f], all, 1);
    return w;
}

static void
world_free(struct world *w)
{
    scheduler_free(w->s);
    free(w);
}

static void
add_quotas(struct world *w)
{
    for (size_t i = 0; i < ARRAY_LEN(quotas); i++)
        scheduler_set_quota(w->s, &quotas[i]);
    w->quotas = true;
}

static struct m_job *
job_of(struct world *w, const char *uid)
{
    int k = 0;

    while (!streq(w->j[k].uid, uid))
        assert_true(++k < JOBS);
    return &w->j[k];
}

static int
instance_of(const struct world *w, const char *uid)
{
    int i = 0;

    while (!streq(w->i[i].uid, uid))
        assert_true(++i < INSTANCES);
    return i;
}

/* --- what must hold ---------------------------------------------------------------- */

static void
check_room(const struct world *w)
{
    for (int i = 0; i < INSTANCES; i++) {
        int64_t cpu = w->i[i].cap.cpu_milli, free_cpu, free_memory;
        uint64_t gpus = w->i[i].cap.gpu_free, free_gpus;
        for (int k = 0; k < JOBS; k++) {
            const struct m_job *j = &w->j[k];
            if (j->where != HELD || j->on != i)
                continue;
            cpu -= j->r.cpu_milli;
            assert_int_equal(gpus & j->r.gpu_mask, j->r.gpu_mask);
            gpus &= ~j->r.gpu_mask;
        }
        assert_true(cpu >= 0);
        if (w->i[i].uid[0] == '\0')
            continue;
        assert_true(
            scheduler_free_of(w->s, w->i[i].uid, &free_cpu, &free_memory, &free_gpus));
        assert_int_equal(cpu, free_cpu);
        assert_int_equal(gpus, free_gpus);
    }
}

static void
check_gangs(const struct world *w)
{
    for (int k = 0; k < JOBS; k++) {
        const struct m_job *j = &w->j[k];
        size_t held = 0, members = 0;
        if (j->where == ABSENT || j->gang < 0)
            continue;
        for (int o = 0; o < JOBS; o++) {
            const struct m_job *b = &w->j[o];
            if (b->where == ABSENT || b->gang != j->gang)
                continue;
            members++;
            held += b->where == HELD;
            if (b != j && b->where == HELD && j->where == HELD) {
                assert_int_not_equal(b->on, j->on);
                assert_int_equal(w->i[b->on].fleet, w->i[j->on].fleet);
            }
        }
        assert_true(held == 0 || held == members);
        assert_true(held == 0 || members == j->gang_size);
    }
}

static int64_t
used(const struct world *w, int space, const struct sched_limit *l)
{
    int64_t n = 0;

    for (int k = 0; k < JOBS; k++) {
        const struct m_job *j = &w->j[k];
        if (j->where != HELD || j->space != space)
            continue;
        if (l->kind == SCHED_LIMIT_CPU_MILLI)
            n += j->r.cpu_milli;
        else if (l->kind == SCHED_LIMIT_JOBS)
            n++;
        else if (l->gpu_name[0] == '\0' ||
                 streq(w->i[j->on].cap.gpus[0].name, l->gpu_name))
            n += __builtin_popcountll(j->r.gpu_mask);
    }
    return n;
}

static void
check_quotas(const struct world *w)
{
    if (!w->quotas)
        return;
    for (size_t k = 0; k < 2; k++) {
        int64_t a = used(w, 0, &limits_a[k]), b = used(w, 1, &limits_b[k]), told;
        assert_true(a <= limits_a[k].own + limits_a[k].borrow);
        assert_true(a + b <= limits_a[k].own + limits_b[k].own);
        assert_true(used(w, 2, &limits_c[k]) <= limits_c[k].own);
        assert_true(scheduler_quota_used(w->s, "qa", k, &told));
        assert_int_equal(told, a);
        assert_true(scheduler_quota_used(w->s, "qc", k, &told));
        assert_int_equal(told, used(w, 2, &limits_c[k]));
    }
}

/* --- one exchange until nothing more comes ------------------------------------------ */

static void
take(struct world *w, const struct sched_decision *d)
{
    struct m_job *j = job_of(w, d->uid);

    assert_int_equal(j->where, WAITING);
    assert_int_equal(d->gang != NULL, j->gang >= 0);
    j->on = instance_of(w, d->instance_uid);
    assert_true(w->i[j->on].usable);
    assert_true(d->reserve.cpu_milli == j->cpus * 1000);
    assert_int_equal(__builtin_popcountll(d->reserve.gpu_mask), j->gpus);
    j->where = HELD;
    j->r = d->reserve;
    j->started = w->now;
}

static bool
borrows(const struct world *w, int space)
{
    const struct sched_limit *l = space == 0 ? limits_a : limits_b;

    return w->quotas && space < 2 &&
           (used(w, space, &l[0]) > l[0].own || used(w, space, &l[1]) > l[1].own);
}

/* The victim, with its gang, stops and waits again. */
static void
evict(struct world *w, const struct sched_preemption *p)
{
    struct m_job *v = job_of(w, p->uid);
    const struct m_job *f = job_of(w, p->for_uid);
    int gang = v->gang;

    if (v->where != HELD) /* went with a gang that another victim was of */
        return;
    assert_int_equal(f->where, WAITING);
    if (p->reclaimed) {
        assert_int_not_equal(v->space, f->space);
        assert_true(v->space < 2 && f->space < 2);
        assert_true(borrows(w, v->space));
    } else {
        assert_true(v->preemptible && f->preempts);
        assert_int_equal(v->space, f->space);
        assert_true(v->priority < f->priority);
    }
    for (int k = 0; k < JOBS; k++) {
        struct m_job *j = &w->j[k];
        if (j->where == HELD && (j == v || (gang >= 0 && j->gang == gang)))
            queue(w, j);
    }
}

static int
settle(struct world *w)
{
    struct sched_decision d;
    struct sched_preemption p;
    struct sched_reason why;
    int rounds = 0, evictions = 0;

    for (bool more = true; more; rounds++) {
        assert_true(rounds < ROUNDS_MAX);
        while (scheduler_next(w->s, &d)) {
            take(w, &d);
            while (d.gang_left > 0) {
                size_t left = d.gang_left;
                assert_true(scheduler_next(w->s, &d));
                assert_int_equal(d.gang_left, left - 1);
                take(w, &d);
            }
        }
        check_room(w);
        check_gangs(w);
        check_quotas(w);
        more = scheduler_next_preemption(w->s, &p);
        if (more) {
            evictions++;
            evict(w, &p);
        }
    }
    while (scheduler_next_reason(w->s, &why))
        assert_int_equal(job_of(w, why.uid)->where, WAITING);
    assert_false(scheduler_next(w->s, &d));
    return evictions;
}

/* --- random worlds ----------------------------------------------------------------- */

static void
finish(struct world *w, struct m_job *j)
{
    int gang = j->gang;

    for (int k = 0; k < JOBS; k++) {
        struct m_job *o = &w->j[k];
        if (o->where == ABSENT || (o != j && (gang < 0 || o->gang != gang)))
            continue;
        o->where = ABSENT;
        scheduler_remove_job(w->s, o->uid);
    }
}

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

static int
run_seed(uint64_t seed, bool with_quotas)
{
    struct world *w = world_new();
    int evictions = 0;

    seed_state = seed * 7919 + 1;
    for (int i = 0; i < INSTANCES; i++)
        add_instance(w, i, (int)rnd(2), 2 + rnd(7), rnd(2) ? GPUS : 0);
    if (with_quotas)
        add_quotas(w);
    for (int step = 0; step < STEPS; step++) {
        advance(w);
        for (uint32_t k = rnd(5); k > 0; k--)
            change(w);
        evictions += settle(w);
    }
    world_free(w);
    return evictions;
}

static void
worlds(void **state)
{
    uint64_t seeds = getenv("DROVER_LONG") != NULL ? 2000 : 60;
    int evictions = 0;

    UNUSED(state);
    for (uint64_t seed = 1; seed <= seeds; seed++)
        evictions += run_seed(seed, seed % 2 == 0);
    assert_true(evictions > 100); /* the worlds do get there */
}

/* A job that waits first of all starts no later than it was told first, when running
 * jobs keep to their durations. */
static void
no_delay(void **state)
{
    UNUSED(state);
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct world *w = world_new();
        struct m_job *first = NULL;
        int64_t promised = 0;
        int kept = 0;
        seed_state = seed * 104729 + 1;
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

/* --- scenes ------------------------------------------------------------------------ */

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
    for (int k = 0; k < 12; k++) {
        struct m_job *j = add_job(w, k, 1, 1);
        j->space = 1;
        queue(w, j);
    }
    assert_int_equal(settle(w), 0); /* b takes all ten of the cohort, though it owns 4 */
    assert_int_equal(used(w, 1, &limits_b[0]), 10);
    for (int k = 12; k < 20; k++) {
        struct m_job *j = add_job(w, k, 1, 1);
        j->space = 0;
        queue(w, j);
    }
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

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(backfill),   cmocka_unit_test(gangs),
        cmocka_unit_test(preemption), cmocka_unit_test(borrowing),
        cmocka_unit_test(fair_share), cmocka_unit_test(hard_limit),
        cmocka_unit_test(targets),    cmocka_unit_test(no_delay),
        cmocka_unit_test(worlds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
