/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many machines and jobs of random sizes in one simulated world: three namespaces of one
 * cohort, each with a fleet, a quota that it may exceed while others use less, and jobs
 * of ten shapes. Each change of a Job is accounted for as it is stored; at rest, who
 * waits within its own share waits for machines only. DROVER_LONG: 2 000 machines and
 * 20 000 jobs. Machines here only say what they have, run what is bound and end it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>

#include "api/jtok.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "sim/sim.h"

enum { SPACES = 3, SHAPES = 10, GPUS_MAX = 8, LIMITS = 3 }; /* cpu, gpu, jobs */
enum {
    RING = 1 << 17, /* no watch falls behind */
    SUBMIT = 64,    /* at once */
    STEPS = 64,
    SLICE_MS = 10000,
    WAVE_MS = 120000, /* one namespace after the other */
    DURATION_MAX_MS = 600000,
    LEASE_S = 30 * 86400,
    IDLE_SLICES = 10,
    SMALL = 45, /* each fleet has more machines than there are shapes */
    FEW = 240
};
#define TIME_MAX_MS (INT64_C(4) * 3600000)

/* What makes an invariant fail on purpose. */
enum mutation {
    NO_MUTATION,
    LESS_QUOTA,  /* borrowing is held to be nothing */
    LESS_COHORT, /* the shares together are held to be smaller */
    LESS_MACHINE,
    DEAF, /* machines do not stop what they are told to */
};

struct machine {
    char uid[SIM_UID], name[32];
    unsigned space, n_gpus;
    int64_t cpu_milli, memory_mib, free_cpu, free_memory;
    uint64_t gpu_free;
};

struct shape {
    int64_t cpus, memory_mib, gpus;
};

struct job {
    char uid[SIM_UID], name[32];
    unsigned number, space, shape, attempt;
    enum { WAITING, BOUND, RUNNING, STOPPING, ENDED } state;
    int64_t ends_ms;
    bool occupies, over, preempted;
    struct machine *on;
    int64_t used[LIMITS], memory_mib;
    uint64_t gpus;
};

struct farm {
    struct sim *s;
    enum mutation mutation;
    unsigned n_machines, n_jobs;
    struct machine *machines;
    struct map *by_uid, *jobs; /* machines; jobs: uid -> */
    vec(struct job *) todo;
    struct shape shapes[SPACES][SHAPES];
    int64_t own[SPACES][LIMITS], borrow[SPACES][LIMITS]; /* borrow -1: any */
    int64_t used[SPACES][LIMITS];
    unsigned waiting[SPACES][SHAPES];
    unsigned submitted[SPACES], n_done, n_preempted, n_borrowed, n_lender_checks;
    struct informer *inf;
    struct sim_reader *reader;
};

static const char *const spaces[SPACES] = {"team-a", "team-b", "team-c"};
static const char *const limits[LIMITS] = {"cpu", "gpu", "jobs"};

static struct kinds *kinds;

/* --- accounting --------------------------------------------------------------------- */

static void
check_machine(const struct farm *f, const struct machine *m, const char *job)
{
    int64_t spare = f->mutation == LESS_MACHINE ? m->cpu_milli / 2 : 0;

    if (m->free_cpu < spare || m->free_memory < 0)
        sim_violate(f->s, "capacity_is_kept", "%s: cpu %lld, memory %lld left after %s",
                    m->name, (long long)m->free_cpu, (long long)m->free_memory, job);
}

static void
check_quotas(struct farm *f, unsigned space)
{
    for (unsigned k = 0; k < LIMITS; k++) {
        int64_t own = f->own[space][k], borrow = f->borrow[space][k];
        int64_t used = f->used[space][k], sum = 0, shares = 0;
        for (unsigned i = 0; i < SPACES; i++) {
            sum += f->used[i][k];
            shares += f->own[i][k];
        }
        if (f->mutation == LESS_QUOTA && borrow >= 0)
            borrow = 0;
        if (f->mutation == LESS_COHORT)
            shares -= shares / 4;
        f->n_borrowed += used > own;
        if (borrow >= 0 && used > own + borrow)
            sim_violate(f->s, "quotas_are_kept", "%s uses %lld of %lld+%lld %s",
                        spaces[space], (long long)used, (long long)own, (long long)borrow,
                        limits[k]);
        if (sum > shares)
            sim_violate(f->s, "cohort_is_kept", "%lld of %lld %s", (long long)sum,
                        (long long)shares, limits[k]);
    }
}

/* "GPU-<machine>-<device>" */
static void
take_gpus(struct farm *f, struct job *j, const struct object *o)
{
    struct span array, item;
    const char *cursor = NULL;

    if (!object_path(o, "spec.reservation.gpus", &array) || array.len == 0)
        return;
    while (jscan_next_item(array, &cursor, &item)) {
        unsigned machine = UINT32_MAX, device = GPUS_MAX;
        bool read = sscanf(item.ptr, "\"GPU-%u-%u\"", &machine, &device) == 2;
        uint64_t bit = UINT64_C(1) << (device & 63);
        if (!read || &f->machines[machine] != j->on || !(j->on->gpu_free & bit))
            sim_violate(f->s, "gpus_are_disjoint", "%s has " SPAN_FMT " of %s", j->name,
                        SPAN_ARG(item), j->on->name);
        j->on->gpu_free &= ~bit;
        j->gpus |= bit;
    }
}

static void
take(struct farm *f, struct job *j, const struct object *o)
{
    char uid[SIM_UID] = "";

    object_get_string(o, "spec.instanceUID", uid, sizeof(uid));
    j->on = map_get(f->by_uid, uid);
    if (j->on == NULL || j->on->space != j->space) {
        sim_violate(f->s, "own_fleet", "%s is on %s", j->name, uid);
        return;
    }
    j->occupies = true;
    take_gpus(f, j, o);
    j->used[0] = object_get_int(o, "spec.reservation.cpuMilli", 0);
    j->used[1] = __builtin_popcountll(j->gpus);
    j->used[2] = 1;
    j->memory_mib = object_get_int(o, "spec.reservation.memoryMiB", 0);
    j->on->free_cpu -= j->used[0];
    j->on->free_memory -= j->memory_mib;
    for (unsigned k = 0; k < LIMITS; k++)
        f->used[j->space][k] += j->used[k];
    if (j->used[1] != f->shapes[j->space][j->shape].gpus)
        sim_violate(f->s, "needs_are_met", "%s has %lld GPUs", j->name,
                    (long long)j->used[1]);
    check_machine(f, j->on, j->name);
    check_quotas(f, j->space);
}

static void
give(struct farm *f, struct job *j)
{
    j->occupies = false;
    j->on->free_cpu += j->used[0];
    j->on->free_memory += j->memory_mib;
    j->on->gpu_free |= j->gpus;
    j->gpus = 0;
    for (unsigned k = 0; k < LIMITS; k++)
        f->used[j->space][k] -= j->used[k];
}

static bool
is_text(const struct object *o, const char *path, const char *text)
{
    struct span raw;

    return object_path(o, path, &raw) && jscan_is(raw, text);
}

static void
ended(struct farm *f, struct job *j, const struct object *o)
{
    j->over = true;
    j->preempted = is_text(o, "status.reason", "Preempted");
    if (!j->preempted && !is_text(o, "status.phase", "Done"))
        sim_violate(f->s, "jobs_end_well", "%s", j->name);
    f->n_done += !j->preempted;
    f->n_preempted += j->preempted;
    if (j->preempted)
        vec_push(&f->todo, j);
}

static void
on_set(void *arg, const struct object *before, const struct object *now, bool initial)
{
    struct farm *f = arg;
    struct job *j = map_get(f->jobs, now->uid);
    struct span raw;

    UNUSED(before);
    UNUSED(initial);
    if (j == NULL)
        return;
    bool occupies = sim_job_occupies(now);
    if (occupies && !j->occupies)
        take(f, j, now);
    else if (!occupies && j->occupies)
        give(f, j);
    if (j->state == WAITING && object_path(now, "spec.instanceUID", &raw) &&
        raw.len > 2) {
        j->state = BOUND;
        f->waiting[j->space][j->shape]--;
        vec_push(&f->todo, j);
    }
    if (j->state == RUNNING && f->mutation != DEAF &&
        !is_text(now, "spec.desiredState", "Running")) {
        j->state = STOPPING;
        vec_push(&f->todo, j);
    }
    if (!j->over &&
        (is_text(now, "status.phase", "Done") || is_text(now, "status.phase", "Failed") ||
         is_text(now, "status.phase", "Terminated")))
        ended(f, j, now);
}

static void
on_delete(void *arg, const struct object *last)
{
    struct farm *f = arg;

    if (map_get(f->jobs, last->uid) != NULL)
        sim_violate(f->s, "no_job_vanishes", "%s", last->name);
}

/* --- machines and users ------------------------------------------------------------- */

static void
must(struct farm *f, int rc, const char *what, const struct error *e)
{
    if (rc < 0)
        sim_violate(f->s, "set_up", "%s: %s", what, e->msg);
}

static char *
now_text(char text[CLOCK_RFC3339_US_LEN])
{
    clock_format_us(clock_wall_ns(), text);
    return text;
}

static void
create(struct farm *f, const struct resource *r, const char *ns, json_t *body,
       char uid[SIM_UID])
{
    struct error e = ERROR_INIT;
    auto_object *o = NULL;
    int rc = client_create(f->s->user_client, r, ns, body, &o, &e);

    json_decref(body);
    must(f, rc, r->plural, &e);
    if (rc == 0 && uid != NULL)
        snprintf(uid, SIM_UID, "%s", o->uid);
}

static json_t *
object(const char *version, const char *kind, const char *name, json_t *spec)
{
    return json_pack("{s:s, s:s, s:{s:s}, s:o}", "apiVersion", version, "kind", kind,
                     "metadata", "name", name, "spec", spec);
}

static void
say_inventory(struct farm *f, const struct machine *m, unsigned index)
{
    struct error e = ERROR_INIT;
    json_t *gpus = json_array();

    for (unsigned i = 0; i < m->n_gpus; i++) {
        char uuid[32];
        snprintf(uuid, sizeof(uuid), "GPU-%u-%u", index, i);
        json_array_append_new(gpus,
                              json_pack("{s:s, s:i, s:s, s:s, s:i, s:b}", "uuid", uuid,
                                        "index", (int)i, "vendor", "nvidia", "name",
                                        "A100", "memoryMiB", 81920, "healthy", 1));
    }
    json_t *body = json_pack(
        "{s:{s:{s:s, s:[{s:s, s:b}], s:{s:s, s:I, s:I, s:I, s:i, s:o}}}}", "status",
        "agent", "journalID", m->name, "engines", "name", "process", "available", 1,
        "inventory", "arch", "x86_64", "cpus", (json_int_t)(m->cpu_milli / 1000),
        "memoryMiB", (json_int_t)m->memory_mib, "diskMiB", (json_int_t)1000000,
        "gpuCount", (int)m->n_gpus, "gpus", gpus);
    int rc = client_patch_status(f->s->user_client, &resource_instances, spaces[m->space],
                                 m->name, body, NULL, &e);
    json_decref(body);
    must(f, rc, m->name, &e);
}

static void
add_machine(struct farm *f, unsigned index)
{
    struct machine *m = &f->machines[index];
    char now[CLOCK_RFC3339_US_LEN];

    *m = (struct machine){.space = index % SPACES,
                          .n_gpus = sim_below(f->s, GPUS_MAX + 1),
                          .cpu_milli = 1000 * (int64_t)(8 + sim_below(f->s, 57)),
                          .memory_mib = 1024 * (int64_t)(64 + sim_below(f->s, 449))};
    m->free_cpu = m->cpu_milli;
    m->free_memory = m->memory_mib;
    m->gpu_free = (UINT64_C(1) << m->n_gpus) - 1;
    snprintf(m->name, sizeof(m->name), "node-%u", index);
    create(f, &resource_instances, spaces[m->space],
           object("drover.dev/v1", "Instance", m->name,
                  json_pack("{s:s}", "fleetName", "local")),
           m->uid);
    map_put(f->by_uid, m->uid, m);
    json_t *lease =
        object("coordination.k8s.io/v1", "Lease", m->name,
               json_pack("{s:s, s:i, s:s}", "holderIdentity", m->name,
                         "leaseDurationSeconds", LEASE_S, "renewTime", now_text(now)));
    json_object_set_new(json_object_get(lease, "metadata"), "labels",
                        json_pack("{s:s}", "drover.dev/instance", m->uid));
    create(f, &resource_leases, spaces[m->space], lease, NULL);
    say_inventory(f, m, index);
}

/* Some 40 % of what there is, so that machines are not what lacks. */
static void
add_quota(struct farm *f, unsigned space)
{
    int64_t *own = f->own[space], *borrow = f->borrow[space];
    json_t *list = json_array();

    memset(own, 0, sizeof(f->own[0]));
    for (unsigned i = space; i < f->n_machines; i += SPACES) {
        own[0] += f->machines[i].cpu_milli;
        own[1] += f->machines[i].n_gpus;
    }
    own[0] = own[0] / 1000 * 2 / 5 * 1000;
    own[1] = own[1] * 2 / 5;
    own[2] = 3 * (f->n_machines / SPACES);
    for (unsigned k = 0; k < LIMITS; k++) {
        int64_t unit = k == 0 ? 1000 : 1;
        borrow[k] = space == 0 ? own[k] / unit / 4 * unit : -1;
        json_t *l = json_pack("{s:s, s:I}", "resource", limits[k], "hard",
                              (json_int_t)(own[k] / unit));
        if (borrow[k] >= 0)
            json_object_set_new(l, "borrow",
                                json_integer((json_int_t)(borrow[k] / unit)));
        json_array_append_new(list, l);
    }
    create(f, &resource_quotas, spaces[space],
           object("drover.dev/v1", "Quota", "q",
                  json_pack("{s:s, s:o}", "cohort", "lab", "limits", list)),
           NULL);
}

static void
submit(struct farm *f, unsigned number, unsigned space, unsigned shape, unsigned attempt)
{
    const struct shape *sh = &f->shapes[space][shape];
    struct job *j = xnew(struct job);
    char cpu[32], memory[32], queued[CLOCK_RFC3339_US_LEN];

    *j = (struct job){
        .number = number, .space = space, .shape = shape, .attempt = attempt};
    snprintf(j->name, sizeof(j->name), "j%u-%u", number, attempt);
    snprintf(cpu, sizeof(cpu), "%lld..", (long long)sh->cpus);
    snprintf(memory, sizeof(memory), "%lldMB..", (long long)sh->memory_mib);
    json_t *resources = json_pack("{s:s, s:s}", "cpu", cpu, "memory", memory);
    if (sh->gpus > 0)
        json_object_set_new(resources, "gpu", json_integer((json_int_t)sh->gpus));
    create(f, &resource_jobs, spaces[space],
           object("drover.dev/v1", "Job", j->name,
                  json_pack("{s:s, s:s, s:[s], s:o, s:b, s:s}", "runName", j->name,
                            "runUID", "", "argv", "true", "resources", resources,
                            "released", 1, "queuedAt", now_text(queued))),
           j->uid);
    f->waiting[space][shape]++;
    map_put(f->jobs, j->uid, j);
}

static void
report(struct farm *f, const struct job *j, json_t *agent)
{
    struct error e = ERROR_INIT;
    char now[CLOCK_RFC3339_US_LEN];

    json_object_set_new(agent, "since", json_string(now_text(now)));
    json_t *body = json_pack("{s:{s:s}, s:{s:o}}", "metadata", "uid", j->uid, "status",
                             "agent", agent);
    int rc = client_patch_status(f->s->user_client, &resource_jobs, spaces[j->space],
                                 j->name, body, NULL, &e);
    json_decref(body);
    must(f, rc, j->name, &e);
}

static void
end(struct farm *f, struct job *j)
{
    bool stopped = j->state == STOPPING;
    char now[CLOCK_RFC3339_US_LEN];
    json_t *agent =
        json_pack("{s:s, s:s, s:i, s:s, s:b}", "state", "Exited", "reason",
                  stopped ? "Signaled" : "Exited", "exitCode", stopped ? 143 : 0,
                  "finishedAt", now_text(now), "released", 1);

    j->state = ENDED;
    if (stopped)
        json_object_set_new(agent, "signal", json_string("SIGTERM"));
    report(f, j, agent);
}

static void
start(struct farm *f, struct job *j)
{
    char now[CLOCK_RFC3339_US_LEN];

    j->state = RUNNING;
    j->ends_ms = sim_now_ms() + 1 + sim_below(f->s, DURATION_MAX_MS);
    report(f, j,
           json_pack("{s:s, s:s, s:{s:s, s:s}}", "state", "Running", "startedAt",
                     now_text(now), "claim", "instanceUID", j->on->uid, "journalID",
                     j->on->name));
}

static bool
act(struct farm *f)
{
    unsigned n = 0;

    for (; f->todo.len > 0 && n < SUBMIT && !f->s->failed; n++) {
        struct job *j = f->todo.items[--f->todo.len];
        if (j->over) /* its user sends it again */
            submit(f, j->number, j->space, j->shape, j->attempt + 1);
        else if (j->state == BOUND)
            start(f, j);
        else if (j->state == STOPPING)
            end(f, j);
    }
    return n > 0;
}

/* --- time ----------------------------------------------------------------------------
 */

static bool
turn(struct farm *f)
{
    struct sim *s = f->s;
    uint64_t events = s->n_events;
    bool any = false;

    clock_fake_advance(1000);
    for (unsigned i = 0; i < STEPS && manager_step(s->m); i++)
        any = true;
    for (size_t i = 0; i < s->control_readers.len; i++)
        while (sim_reader_step(s->control_readers.items[i]))
            any = true;
    while (sim_reader_step(f->reader))
        any = true;
    any |= act(f);
    store_flush(s->store);
    loop_turn(s->loop, 0);
    sim_monitor_drain(s);
    return any || s->n_events != events;
}

/* What is due without the clock moving: so it ends in bounded steps. */
static void
settle(struct farm *f)
{
    uint64_t most = 1000 + 10 * (uint64_t)(f->n_machines + f->n_jobs);

    while (!f->s->failed && turn(f))
        if (most-- == 0)
            sim_violate(f->s, "comes_to_rest", "no end without the clock moving");
}

static unsigned
machines_for(const struct farm *f, unsigned space, const struct shape *sh)
{
    unsigned n = 0;

    for (unsigned i = space; i < f->n_machines; i += SPACES) {
        const struct machine *m = &f->machines[i];
        n += m->free_cpu >= 1000 * sh->cpus && m->free_memory >= sh->memory_mib &&
             __builtin_popcountll(m->gpu_free) >= sh->gpus;
    }
    return n;
}

/* At rest nobody waits for what is its own, but for a machine: each shape may have booked
 * one. So what was lent is back. */
static void
check_lenders(struct farm *f)
{
    for (unsigned i = 0; i < SPACES * SHAPES; i++) {
        unsigned space = i / SHAPES;
        const struct shape *sh = &f->shapes[space][i % SHAPES];
        const int64_t *used = f->used[space], *own = f->own[space];
        if (f->waiting[space][i % SHAPES] == 0 || used[0] + 1000 * sh->cpus > own[0] ||
            used[1] + sh->gpus > own[1] || used[2] + 1 > own[2])
            continue;
        f->n_lender_checks++;
        if (machines_for(f, space, sh) > SHAPES)
            sim_violate(f->s, "lenders_get_theirs_back",
                        "%s waits for %lld cpus and %lld GPUs; of its own it uses %lld "
                        "of %lld and %lld of %lld",
                        spaces[space], (long long)sh->cpus, (long long)sh->gpus,
                        (long long)used[0], (long long)own[0], (long long)used[1],
                        (long long)own[1]);
    }
}

static void
pass_time(struct farm *f)
{
    struct map_cursor c = map_begin(f->jobs);
    unsigned n = 0;
    void *value;

    clock_fake_advance(INT64_C(1000000) * SLICE_MS);
    while (!f->s->failed && map_next(&c, NULL, &value)) {
        struct job *j = value;
        if (j->state != RUNNING || j->ends_ms > sim_now_ms())
            continue;
        end(f, j);
        if (++n % SUBMIT == 0) {
            settle(f); /* which may add jobs */
            c = map_begin(f->jobs);
        }
    }
    settle(f);
    check_lenders(f);
}

static void
submit_all(struct farm *f, unsigned space)
{
    for (unsigned i = space; i < f->n_jobs && !f->s->failed; i += SPACES) {
        submit(f, i, space, sim_below(f->s, SHAPES), 0);
        if (++f->submitted[space] % SUBMIT == 0)
            turn(f);
    }
    settle(f);
    check_lenders(f);
}

/* --- the world -----------------------------------------------------------------------
 */

/* As sim_new has it, but that no watch falls behind. */
static void
restart(struct farm *f)
{
    struct sim *s = f->s;

    s->calm = true;
    sim_controllers_stop(s);
    sim_server_crash(s, false);
    s->ring = RING;
    s->snapshot_after = UINT64_C(1) << 30;
    sim_server_start(s);
    sim_controllers_start(s);
}

static void
set_up(struct farm *f)
{
    static const struct informer_handler handler = {.on_set = on_set,
                                                    .on_delete = on_delete};
    struct informer_handler h = handler;

    restart(f);
    f->by_uid = map_new(NULL);
    f->jobs = map_new(free);
    f->machines = xcalloc(f->n_machines, sizeof(*f->machines));
    f->inf = informer_new(&resource_jobs);
    h.arg = f;
    informer_add_handler(f->inf, &h);
    f->reader = sim_reader_new(&f->s->user, f->inf, "");
    for (unsigned i = 0; i < SPACES; i++) {
        create(f, &resource_namespaces, NULL,
               object("v1", "Namespace", spaces[i], json_object()), NULL);
        create(f, &resource_fleets, spaces[i],
               object("drover.dev/v1", "Fleet", "local", json_object()), NULL);
    }
    settle(f);
    for (unsigned i = 0; i < f->n_machines && !f->s->failed; i++) {
        add_machine(f, i);
        if (i % SUBMIT == 0)
            turn(f);
    }
    for (unsigned i = 0; i < SPACES * SHAPES; i++)
        f->shapes[i / SHAPES][i % SHAPES] = (struct shape){
            1 + sim_below(f->s, 8), 512 * (1 + (int64_t)sim_below(f->s, 32)),
            sim_permille(f->s, 500) ? 1 + sim_below(f->s, 3) : 0};
    for (unsigned i = 0; i < SPACES; i++)
        add_quota(f, i);
    settle(f);
}

static void
at_rest(struct farm *f)
{
    struct sim *s = f->s;

    for (unsigned i = 0; i < IDLE_SLICES; i++)
        pass_time(f);
    uint64_t before = s->control.writes + s->user.writes;
    for (unsigned i = 0; i < IDLE_SLICES; i++)
        pass_time(f);
    uint64_t writes = s->control.writes + s->user.writes - before;
    if (writes > 0)
        sim_violate(s, "no_hot_loop", "%llu writes while nothing happens",
                    (unsigned long long)writes);
    for (unsigned i = 0; i < SPACES * LIMITS; i++)
        if (f->used[i / LIMITS][i % LIMITS] != 0)
            sim_violate(s, "everything_is_released", "%s", spaces[i / LIMITS]);
    sim_check_caches(s);
}

static void
run(struct farm *f)
{
    int64_t until;

    set_up(f);
    for (unsigned i = 0; i < SPACES; i++) {
        submit_all(f, i);
        for (int64_t ms = 0; ms < WAVE_MS && !f->s->failed; ms += SLICE_MS)
            pass_time(f);
    }
    until = sim_now_ms() + TIME_MAX_MS;
    while (!f->s->failed && f->n_done < f->n_jobs && sim_now_ms() < until)
        pass_time(f);
    if (!f->s->failed && f->n_done < f->n_jobs)
        sim_violate(f->s, "every_job_ends", "%u of %u", f->n_done, f->n_jobs);
    if (!f->s->failed)
        at_rest(f);
}

static void
farm_done(struct farm *f)
{
    sim_controllers_stop(f->s);
    sim_reader_free(f->reader);
    informer_free(f->inf);
    map_free(f->by_uid);
    map_free(f->jobs);
    vec_done(&f->todo);
    free(f->machines);
    sim_free(f->s);
}

/* The name of the invariant that does not hold, or "". */
static void
world(unsigned machines, unsigned jobs, enum mutation m, char invariant[64])
{
    struct sim_opts o = {.seed = 2};
    struct farm f = {.n_machines = machines, .n_jobs = jobs, .mutation = m};
    struct timespec from, to;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
    assert_int_equal(sim_new(&o, kinds, &f.s), 0);
    run(&f);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
    if (f.s->failed && m == NO_MUTATION)
        fprintf(stderr, "%s: %s\n", f.s->invariant, f.s->detail);
    if (m == NO_MUTATION) {
        printf("%u machines, %u jobs: %u done, %u preempted, %u events, %.0f s\n",
               machines, jobs, f.n_done, f.n_preempted, (unsigned)f.s->n_events,
               difftime(to.tv_sec, from.tv_sec));
        assert_true(f.s->failed || (f.n_preempted > 0 && f.n_borrowed > 0));
    }
    snprintf(invariant, 64, "%s", f.s->invariant);
    farm_done(&f);
}

/* --- tests ---------------------------------------------------------------------------
 */

static void
test_scale(void **state)
{
    /* The environment is read before any thread is. */
    bool many = getenv("DROVER_LONG") != NULL; /* NOLINT(concurrency-mt-unsafe) */
    char invariant[64];

    UNUSED(state);
    world(many ? 2000 : SMALL, many ? 20000 : FEW, NO_MUTATION, invariant);
    assert_string_equal(invariant, "");
}

static void
test_mutations(void **state)
{
    static const struct {
        enum mutation m;
        const char *found;
    } rows[] = {{LESS_QUOTA, "quotas_are_kept"},
                {LESS_COHORT, "cohort_is_kept"},
                {LESS_MACHINE, "capacity_is_kept"},
                {DEAF, "lenders_get_theirs_back"}};

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char invariant[64];
        world(SMALL, FEW, rows[i].m, invariant);
        assert_string_equal(invariant, rows[i].found);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scale),
        cmocka_unit_test(test_mutations),
    };
    struct error e = ERROR_INIT;

    autoclose int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    log_set_fd(null);
    if (kinds_load(&kinds, &e) < 0) {
        fprintf(stderr, "kinds: %s\n", e.msg);
        return 1;
    }
    int rc = cmocka_run_group_tests_name("scale", tests, NULL, NULL);
    kinds_free(kinds);
    return rc;
}
