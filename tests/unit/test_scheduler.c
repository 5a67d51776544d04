/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Properties of the scheduler against a slow model that looks at everything: it never
 * overcommits, never passes over an earlier job that fits, leaves nothing that fits where
 * no earlier job waits, and decides the same however the state was reached.
 */
#include "controllers/job/scheduler/scheduler.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"

enum { INSTANCES = 12, JOBS = 60, GPUS = 4, STEPS = 1500 };

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
    bool exists, usable;
    unsigned engines;
    int fleet;
    struct resource_have cap;
    char uid[16], name[16];
    char gpu_names[GPUS][24];
    const char *gpus[GPUS];
};
struct m_job {
    enum { ABSENT, WAITING, HELD } where;
    int64_t priority, queued;
    struct resource_req req;
    bool image;
    int fleet; /* -1: any */
    char uid[16], name[16];
    int on;
    struct reservation r;
};
struct model {
    struct m_instance i[INSTANCES];
    struct m_job j[JOBS];
};

static const char *const fleets[] = {"alpha", "beta"};

static void
free_of(const struct model *m, int i, struct resource_have *f)
{
    *f = m->i[i].cap;
    for (int k = 0; k < JOBS; k++) {
        const struct m_job *j = &m->j[k];
        if (j->where != HELD || j->on != i)
            continue;
        f->cpu_milli -= j->r.cpu_milli;
        f->memory_mib -= j->r.memory_mib;
        f->disk_mib -= j->r.disk_mib;
        f->gpu_free &= ~j->r.gpu_mask;
    }
}

static bool
fits_on(const struct model *m, const struct m_job *j, int i, struct reservation *r)
{
    const struct m_instance *in = &m->i[i];
    struct resource_have f;

    if (!in->exists || !in->usable || (j->fleet >= 0 && j->fleet != in->fleet) ||
        (in->engines & (j->image ? SCHED_DOCKER : SCHED_PROCESS)) == 0)
        return false;
    free_of(m, i, &f);
    return resources_fit(&j->req, &in->cap, &f, r) == RESOURCE_FITS;
}

static bool
before(const struct m_job *a, const struct m_job *b)
{
    if (a->priority != b->priority)
        return a->priority > b->priority;
    if (a->queued != b->queued)
        return a->queued < b->queued;
    return strcmp(a->name, b->name) < 0;
}

/* An earlier job than j waits for this instance. */
static bool
is_booked(const struct scheduler *s, const struct model *m, const struct m_job *j, int i)
{
    const char *on;
    int64_t start;

    for (int k = 0; k < JOBS; k++)
        if (m->j[k].where == WAITING && before(&m->j[k], j) &&
            scheduler_booking_of(s, m->j[k].uid, 0, &on, &start) &&
            streq(on, m->i[i].uid))
            return true;
    return false;
}

/* On an instance that no earlier job waits for. */
static bool
fits_anywhere(const struct scheduler *s, const struct model *m, const struct m_job *j)
{
    struct reservation r;

    for (int i = 0; i < INSTANCES; i++)
        if (fits_on(m, j, i, &r) && !is_booked(s, m, j, i))
            return true;
    return false;
}

static void
tell_instance(struct scheduler *s, const struct m_instance *in)
{
    struct sched_instance i = {
        .uid = in->uid,
        .ns = "default",
        .name = in->name,
        .fleet = fleets[in->fleet],
        .usable = in->usable,
        .engines = in->engines,
        .capacity = &in->cap,
        .gpu_uuids = in->gpus,
    };

    if (in->exists)
        scheduler_set_instance(s, &i);
    else
        scheduler_remove_instance(s, in->uid);
}

static void
tell_job(struct scheduler *s, const struct model *m, const struct m_job *j)
{
    const char *gpus[GPUS];
    struct sched_hold h = {.uid = j->uid, .gpu_uuids = gpus};
    struct sched_job q = {
        .uid = j->uid,
        .ns = "default",
        .name = j->name,
        .priority = j->priority,
        .queued_ns = j->queued,
        .req = &j->req,
        .has_image = j->image,
        .fleets = j->fleet < 0 ? NULL : &fleets[j->fleet],
        .n_fleets = j->fleet < 0 ? 0 : 1,
        .reason = "",
    };

    if (j->where == ABSENT) {
        scheduler_remove_job(s, j->uid);
    } else if (j->where == WAITING) {
        scheduler_queue(s, &q);
    } else {
        const struct m_instance *in = &m->i[j->on];
        h.instance_uid = in->uid;
        h.cpu_milli = j->r.cpu_milli;
        h.memory_mib = j->r.memory_mib;
        h.disk_mib = j->r.disk_mib;
        for (int g = 0; g < GPUS; g++)
            if (j->r.gpu_mask >> g & 1)
                gpus[h.n_gpus++] = in->gpus[g];
        scheduler_hold(s, &h);
    }
}

static void
make_instance(struct m_instance *in, int n)
{
    memset(&in->cap, 0, sizeof(in->cap));
    in->exists = rnd(8) != 0;
    in->usable = rnd(6) != 0;
    in->engines = 1 + rnd(3);
    in->fleet = (int)rnd(2);
    in->cap.cpu_milli = 1000 * (1 + rnd(16));
    in->cap.memory_mib = 1024 * (1 + rnd(32));
    in->cap.disk_mib = 10240;
    in->cap.arch = CPU_ARCH_X86;
    in->cap.n_gpus = rnd(3) == 0 ? GPUS : 0;
    for (size_t g = 0; g < in->cap.n_gpus; g++) {
        in->cap.gpus[g] = (struct gpu_have){
            .vendor = GPU_VENDOR_NVIDIA, .memory_mib = 81920, .compute_major = 8};
        snprintf(in->cap.gpus[g].name, 32, "A100");
        if (rnd(10) != 0) /* an unhealthy one now and then */
            in->cap.gpu_free |= UINT64_C(1) << g;
    }
    snprintf(in->uid, sizeof(in->uid), "i%d", n);
    snprintf(in->name, sizeof(in->name), "host%02d", (n * 7) % INSTANCES);
    for (int g = 0; g < GPUS; g++) {
        snprintf(in->gpu_names[g], sizeof(in->gpu_names[g]), "GPU-%d-%d", n, g);
        in->gpus[g] = in->gpu_names[g];
    }
}

static void
make_job(struct m_job *j, int n)
{
    memset(j, 0, sizeof(*j));
    j->where = WAITING;
    j->priority = rnd(3) * 10;
    j->queued = rnd(5);
    j->req.cpu = (struct range){1 + rnd(4), INT64_MAX};
    j->req.memory_mib = (struct range){512 << rnd(6), INT64_MAX};
    j->req.disk_mib = RANGE_ANY;
    j->req.gpu.count = RANGE_ANY;
    j->req.gpu.memory_mib = RANGE_ANY;
    j->req.gpu.total_memory_mib = RANGE_ANY;
    if (rnd(4) == 0) {
        j->req.gpu.given = true;
        j->req.gpu.count = (struct range){1 + rnd(3), 4};
    }
    j->image = rnd(2) == 0;
    j->fleet = (int)rnd(3) - 1;
    snprintf(j->uid, sizeof(j->uid), "j%d", n);
    snprintf(j->name, sizeof(j->name), "job%02d", (n * 31) % JOBS);
}

/* A random change, told to the scheduler and the model alike. */
static void
change(struct scheduler *s, struct model *m)
{
    int n = (int)rnd(JOBS), i = (int)rnd(INSTANCES);

    switch (rnd(8)) {
    case 0:
        for (int k = 0; k < JOBS; k++) /* a machine does not change under its jobs */
            if (m->j[k].where == HELD && m->j[k].on == i)
                return;
        make_instance(&m->i[i], i);
        tell_instance(s, &m->i[i]);
        break;
    case 1:
        if (m->i[i].exists) {
            m->i[i].usable = !m->i[i].usable;
            tell_instance(s, &m->i[i]);
        }
        break;
    case 2:
    case 3:
        m->j[n].where = ABSENT;
        tell_job(s, m, &m->j[n]);
        break;
    default:
        if (m->j[n].where == ABSENT) {
            make_job(&m->j[n], n);
            tell_job(s, m, &m->j[n]);
        }
        break;
    }
}

static struct m_job *
job_by_uid(struct model *m, const char *uid)
{
    for (int k = 0; k < JOBS; k++)
        if (streq(m->j[k].uid, uid))
            return &m->j[k];
    fail();
    return NULL;
}

static int
instance_by_uid(const struct model *m, const char *uid)
{
    for (int i = 0; i < INSTANCES; i++)
        if (streq(m->i[i].uid, uid))
            return i;
    fail();
    return -1;
}

static void
take_decision(const struct scheduler *s, struct model *m, const struct sched_decision *d)
{
    struct m_job *j = job_by_uid(m, d->uid);
    int i = instance_by_uid(m, d->instance_uid);
    struct reservation r;

    assert_int_equal(j->where, WAITING);
    assert_true(fits_on(m, j, i, &r));
    for (int k = 0; k < JOBS; k++)
        if (m->j[k].where == WAITING && before(&m->j[k], j))
            assert_false(fits_anywhere(s, m, &m->j[k]));
    assert_int_equal(d->n_gpus, __builtin_popcountll(d->reserve.gpu_mask));
    for (size_t g = 0, bit = 0; g < d->n_gpus; g++, bit++) {
        while ((d->reserve.gpu_mask >> bit & 1) == 0)
            bit++;
        assert_string_equal(d->gpu_uuids[g], m->i[i].gpus[bit]);
    }
    j->where = HELD;
    j->on = i;
    j->r = d->reserve;
}

static void
check_free(const struct scheduler *s, const struct model *m)
{
    for (int i = 0; i < INSTANCES; i++) {
        struct resource_have f;
        int64_t cpu, memory;
        uint64_t gpus;
        if (!m->i[i].exists)
            continue;
        free_of(m, i, &f);
        assert_true(f.cpu_milli >= 0 && f.memory_mib >= 0);
        assert_true(scheduler_free_of(s, m->i[i].uid, &cpu, &memory, &gpus));
        assert_int_equal(cpu, f.cpu_milli);
        assert_int_equal(memory, f.memory_mib);
        assert_int_equal(gpus, f.gpu_free);
    }
}

static bool
any_booking(const struct scheduler *s, const struct model *m)
{
    const char *on;
    int64_t start;

    for (int k = 0; k < JOBS; k++)
        if (m->j[k].where == WAITING &&
            scheduler_booking_of(s, m->j[k].uid, 0, &on, &start))
            return true;
    return false;
}

/* The same state told to a new scheduler in another order decides the same. */
static void
check_same_decisions(struct scheduler *s, const struct model *m)
{
    struct scheduler *other = scheduler_new();
    struct sched_decision a, b;

    for (int k = JOBS - 1; k >= 0; k--)
        if (m->j[k].where != ABSENT)
            tell_job(other, m, &m->j[k]);
    for (int i = INSTANCES - 1; i >= 0; i--)
        tell_instance(other, &m->i[i]);
    bool more = scheduler_next(s, &a), more_b = scheduler_next(other, &b);
    if (!any_booking(s, m) && !any_booking(other, m)) {
        assert_int_equal(more, more_b);
        if (more) {
            assert_string_equal(a.uid, b.uid);
            assert_string_equal(a.instance_uid, b.instance_uid);
            assert_int_equal(a.reserve.gpu_mask, b.reserve.gpu_mask);
        }
    }
    if (more) { /* taken back: it waits again */
        struct m_job *j = job_by_uid((struct model *)(uintptr_t)m, a.uid);
        tell_job(s, m, j);
    }
    scheduler_free(other);
}

static void
run_seed(uint64_t seed)
{
    struct scheduler *s = scheduler_new();
    struct model *m = xnew(struct model);
    struct sched_decision d;
    struct sched_reason why;

    seed_state = seed * 7919 + 1;
    for (int i = 0; i < INSTANCES; i++) {
        make_instance(&m->i[i], i);
        tell_instance(s, &m->i[i]);
    }
    for (int step = 0; step < STEPS; step++) {
        for (uint32_t k = rnd(6); k > 0; k--)
            change(s, m);
        if (rnd(5) == 0 && !any_booking(s, m))
            check_same_decisions(s, m);
        while (scheduler_next(s, &d))
            take_decision(s, m, &d);
        check_free(s, m);
        size_t waiting = 0;
        for (int k = 0; k < JOBS; k++) {
            waiting += m->j[k].where == WAITING;
            if (m->j[k].where == WAITING)
                assert_false(fits_anywhere(s, m, &m->j[k]));
        }
        assert_int_equal(scheduler_waiting(s), waiting);
        while (scheduler_next_reason(s, &why))
            assert_int_equal(job_by_uid(m, why.uid)->where, WAITING);
    }
    scheduler_free(s);
    free(m);
}

static void
properties(void **state)
{
    UNUSED(state);
    for (uint64_t seed = 1; seed <= 8; seed++) {
        print_message("seed %llu\n", (unsigned long long)seed);
        run_seed(seed);
    }
}

static void
reason_of(struct scheduler *s, const char *uid, const char *code)
{
    struct sched_reason why;
    struct sched_decision d;

    assert_false(scheduler_next(s, &d));
    assert_true(scheduler_next_reason(s, &why));
    assert_string_equal(why.uid, uid);
    assert_string_equal(why.code, code);
    assert_false(scheduler_next_reason(s, &why));
}

/* The code follows the nearest instance and is told once per change. */
static void
reasons(void **state)
{
    struct scheduler *s = scheduler_new();
    struct model *m = xnew(struct model);
    struct sched_reason why;
    struct sched_decision d;

    UNUSED(state);
    seed_state = 5;
    make_job(&m->j[0], 0);
    m->j[0].req.cpu.min = 8;
    m->j[0].req.memory_mib.min = 4096;
    m->j[0].req.gpu.given = false;
    m->j[0].image = true;
    m->j[0].fleet = -1;
    tell_job(s, m, &m->j[0]);
    reason_of(s, "j0", "NoInstances");

    make_instance(&m->i[0], 0);
    m->i[0].exists = m->i[0].usable = true;
    m->i[0].engines = SCHED_PROCESS;
    m->i[0].cap.cpu_milli = 4000;
    m->i[0].cap.memory_mib = 8192;
    tell_instance(s, &m->i[0]);
    reason_of(s, "j0", "NoEngine");

    m->i[0].engines = SCHED_DOCKER;
    tell_instance(s, &m->i[0]);
    reason_of(s, "j0", "InsufficientCPU");
    assert_false(scheduler_next_reason(s, &why));

    m->i[0].cap.cpu_milli = 8000;
    m->i[0].cap.memory_mib = 1024;
    tell_instance(s, &m->i[0]);
    reason_of(s, "j0", "InsufficientMemory");

    m->i[0].cap.memory_mib = 4096;
    tell_instance(s, &m->i[0]);
    assert_true(scheduler_next(s, &d));
    assert_string_equal(d.uid, "j0");
    assert_int_equal(d.engine, SCHED_DOCKER);
    scheduler_free(s);
    free(m);
}

/* 10 000 instances, 20 000 jobs: placements per second, printed; a floor that only a
 * quadratic search would miss. */
static void
speed(void **state)
{
    enum { N = 10000, M = 20000 };
    struct scheduler *s = scheduler_new();
    struct m_instance in;
    struct m_job j;
    struct sched_decision d;
    struct model *m = xnew(struct model);
    int placed = 0;

    UNUSED(state);
    seed_state = 77;
    for (int i = 0; i < N; i++) {
        make_instance(&in, i);
        in.exists = in.usable = true;
        in.engines = 3;
        snprintf(in.name, sizeof(in.name), "host%05d", i);
        tell_instance(s, &in);
    }
    for (int i = 0; i < M; i++) {
        make_job(&j, i);
        tell_job(s, m, &j);
    }
    int64_t start = clock_now_ms();
    while (scheduler_next(s, &d))
        placed++;
    int64_t ms = clock_now_ms() - start + 1;
    print_message("%d placements in %lld ms: %lld/s, %zu waiting\n", placed,
                  (long long)ms, (long long)placed * 1000 / ms, scheduler_waiting(s));
    assert_true(placed > M / 2);
    assert_true((int64_t)placed * 1000 / ms > 500); /* also with sanitizers, when busy */
    scheduler_free(s);
    free(m);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(properties),
        cmocka_unit_test(reasons),
        cmocka_unit_test(speed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
