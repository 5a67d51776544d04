/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/sched_world.h"

#include "base/mem.h"

static uint64_t seed_state;

void
seed(uint64_t value)
{
    seed_state = value;
}

uint32_t
rnd(uint32_t n)
{
    seed_state ^= seed_state >> 12;
    seed_state ^= seed_state << 25;
    seed_state ^= seed_state >> 27;
    return (uint32_t)(seed_state * UINT64_C(0x2545F4914F6CDD1D) >> 33) % n;
}

const char *const spaces[SPACES] = {"a", "b", "c", "d"};
static const char *const fleets[] = {"alpha", "beta"};
const struct sched_limit limits_a[2] = {{SCHED_LIMIT_GPUS, GPU_VENDOR_ANY, "", 6, 4},
                                        {SCHED_LIMIT_CPU_MILLI, 0, "", 16000, 8000}};
const struct sched_limit limits_b[2] = {
    {SCHED_LIMIT_GPUS, GPU_VENDOR_ANY, "", 4, INT64_MAX},
    {SCHED_LIMIT_CPU_MILLI, 0, "", 12000, INT64_MAX}};
const struct sched_limit limits_c[2] = {
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

void
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

void
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

void
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
                          .origin = j->origin,
                          .gang = j->gang < 0 ? NULL : j->key,
                          .gang_size = j->gang_size,
                          .reason = ""};

    j->where = WAITING;
    j->told = false;
    scheduler_queue(w->s, &q);
}

void
queue_again(struct world *w, struct m_job *j)
{
    if (w->anew) {
        scheduler_remove_job(w->s, j->uid);
        snprintf(j->uid, sizeof(j->uid), "%.8s-%d", j->origin, ++j->attempt % 1000);
    }
    queue(w, j);
}

struct m_job *
add_job(struct world *w, int n, int64_t cpus, int64_t gpus)
{
    struct m_job *j = &w->j[n];

    *j = (struct m_job){.gang = -1, .queued = n, .cpus = cpus, .gpus = gpus, .on = -1};
    j->space = 3;
    make_need(&j->req, cpus, gpus);
    snprintf(j->uid, sizeof(j->uid), "j%02d", n);
    snprintf(j->origin, sizeof(j->origin), "j%02d", n);
    return j;
}

static void
world_start(struct world *w)
{
    static const char *const all[] = {"*"};

    w->s = scheduler_new();
    for (int f = 0; f < 2; f++)
        scheduler_share_fleet(w->s, "pool", fleets[f], all, 1);
}

struct world *
world_new(void)
{
    struct world *w = xnew(struct world);

    world_start(w);
    return w;
}

void
world_free(struct world *w)
{
    scheduler_free(w->s);
    free(w);
}

void
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

/* going: with those that were told to go. */
static int64_t
amount_used(const struct world *w, int space, const struct sched_limit *l, bool going)
{
    int64_t n = 0;

    for (int k = 0; k < JOBS; k++) {
        const struct m_job *j = &w->j[k];
        if (j->where != HELD || j->space != space || (j->told && !going))
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

int64_t
used(const struct world *w, int space, const struct sched_limit *l)
{
    return amount_used(w, space, l, true);
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

static bool
is_booked(const struct world *w, int n)
{
    const char *on;
    int64_t start;

    for (int k = 0; k < JOBS; k++)
        for (size_t i = 0; w->j[k].where == WAITING &&
                           scheduler_booking_of(w->s, w->j[k].uid, i, &on, &start);
             i++)
            if (streq(on, w->i[n].uid))
                return true;
    return false;
}

/* Within the namespace's own share, if it has one. */
static bool
quota_has_room(const struct world *w, const struct m_job *j, int n)
{
    const struct sched_limit *const limits[] = {limits_a, limits_b, limits_c};

    for (size_t k = 0; w->quotas && j->space < 3 && k < 2; k++) {
        const struct sched_limit *l = &limits[j->space][k];
        int64_t more = l->kind == SCHED_LIMIT_CPU_MILLI               ? j->cpus * 1000
                       : l->kind == SCHED_LIMIT_JOBS                  ? 1
                       : l->gpu_name[0] == '\0' || w->i[n].fleet == 0 ? j->gpus
                                                                      : 0;
        if (more > 0 && (used(w, j->space, l) + more > l->own ||
                         (j->space < 2 && used(w, 0, l) + used(w, 1, l) + more >
                                              limits_a[k].own + limits_b[k].own)))
            return false;
    }
    return true;
}

/* Nobody waits for what is there for it: no wake-up was lost. */
static void
check_idle(const struct world *w)
{
    for (int k = 0; k < JOBS; k++) {
        const struct m_job *j = &w->j[k];
        int64_t cpu, memory;
        uint64_t gpus;
        for (int i = 0; i < INSTANCES && j->where == WAITING && j->gang < 0; i++) {
            if (w->i[i].uid[0] == '\0' || !w->i[i].usable || is_booked(w, i) ||
                !quota_has_room(w, j, i) ||
                !scheduler_free_of(w->s, w->i[i].uid, &cpu, &memory, &gpus))
                continue;
            if (cpu >= j->cpus * 1000 && __builtin_popcountll(gpus) >= j->gpus)
                fail_msg("%s waits, but %s has room for it", j->uid, w->i[i].uid);
        }
    }
}

/* --- one exchange until nothing more comes ------------------------------------------ */

void
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

/* Also when all that were told are gone: nobody is told in vain. */
static bool
borrows(const struct world *w, int space)
{
    const struct sched_limit *l = space == 0 ? limits_a : limits_b;

    return w->quotas && space < 2 &&
           (amount_used(w, space, &l[0], false) > l[0].own ||
            amount_used(w, space, &l[1], false) > l[1].own);
}

static void
hold(struct world *w, const struct m_job *j)
{
    const char *gpus[GPUS];
    struct sched_hold h = {.uid = j->uid,
                           .instance_uid = w->i[j->on].uid,
                           .cpu_milli = j->r.cpu_milli,
                           .memory_mib = j->r.memory_mib,
                           .disk_mib = j->r.disk_mib,
                           .gpu_uuids = gpus,
                           .ns = spaces[j->space],
                           .name = j->uid,
                           .priority = j->priority,
                           .ends_ns = j->duration > 0 ? j->started + j->duration : 0,
                           .preemptible = j->preemptible,
                           .leaving = j->told,
                           .origin = j->origin,
                           .gang = j->gang < 0 ? NULL : j->key};

    for (size_t g = 0; g < GPUS; g++)
        if (j->r.gpu_mask >> g & 1)
            gpus[h.n_gpus++] = w->i[j->on].gpus[g];
    scheduler_hold(w->s, &h);
}

/* It still occupies, but was told to go. */
static void
leave(struct world *w, struct m_job *j)
{
    j->told = true;
    hold(w, j);
}

/* The victim, with its gang, stops and waits again. */
void
evict(struct world *w, const struct sched_preemption *p)
{
    struct m_job *v = job_of(w, p->uid);
    const struct m_job *f = job_of(w, p->for_uid);
    int gang = v->gang;

    /* It went with a gang that another victim was of. */
    if (v->where != HELD || (v->told && gang >= 0))
        return;
    assert_int_equal(f->where, WAITING);
    assert_false(v->told);
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
        if (j->where != HELD || (j != v && (gang < 0 || j->gang != gang)))
            continue;
        if (w->slow)
            leave(w, j);
        else
            queue_again(w, j);
    }
}

size_t
tell_all(struct world *w)
{
    struct sched_decision d;
    struct sched_preemption p;
    size_t n = 0;

    assert_false(scheduler_next(w->s, &d));
    for (; scheduler_next_preemption(w->s, &p); n++)
        evict(w, &p);
    return n;
}

void
goes(struct world *w, int n)
{
    assert_true(w->j[n].told);
    queue_again(w, &w->j[n]);
}

void
all_go(struct world *w)
{
    for (int k = 0; k < JOBS; k++)
        if (w->j[k].where == HELD && w->j[k].told)
            goes(w, k);
}

int
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
    if (w->shared)
        check_idle(w);
    return evictions;
}

void
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

void
events(struct world *w)
{
    for (int k = 0; k < JOBS; k++)
        if (w->j[k].where == WAITING)
            queue(w, &w->j[k]);
        else if (w->j[k].where == HELD)
            hold(w, &w->j[k]);
}

void
restart(struct world *w)
{
    scheduler_free(w->s);
    world_start(w);
    for (int i = 0; i < INSTANCES; i++)
        if (w->i[i].uid[0] != '\0')
            tell_instance(w, i);
    if (w->quotas)
        add_quotas(w);
    scheduler_set_time(w->s, w->now);
    events(w);
}
