/* SPDX-License-Identifier: Apache-2.0 */
/* What must hold of the world as it is: after each step, and when it has come to rest. */
#include <stdarg.h>

#include "api/jtok.h"
#include "base/mem.h"
#include "sim/sim.h"

enum { WRITES_AT_REST_MAX = 0 };

void
sim_violate(struct sim *s, const char *invariant, const char *fmt, ...)
{
    va_list ap;

    if (s->failed)
        return;
    s->failed = true;
    snprintf(s->invariant, sizeof(s->invariant), "%s", invariant);
    va_start(ap, fmt);
    vsnprintf(s->detail, sizeof(s->detail), fmt, ap);
    va_end(ap);
}

/* --- reading ------------------------------------------------------------------------
 */

static bool
text_is(const struct object *o, const char *path, const char *text)
{
    struct span raw;

    return object_path(o, path, &raw) && jscan_is(raw, text);
}

static bool
is_true(const struct object *o, const char *path)
{
    struct span raw;

    return object_path(o, path, &raw) && jscan_bool(raw);
}

static bool
over(const struct object *o)
{
    return text_is(o, "status.phase", "Done") || text_is(o, "status.phase", "Failed") ||
           text_is(o, "status.phase", "Terminated");
}

static bool
claimed(const struct object *o)
{
    struct span raw;

    return object_path(o, "status.agent.claim.journalID", &raw) && raw.len > 2;
}

/* Calls fn for each object of the resource in the copy. */
static void
each(struct sim *s, const char *resource, void (*fn)(void *arg, struct object *o),
     void *arg)
{
    struct map_cursor c = map_begin(s->shadow);
    size_t n = strlen(resource);
    const char *key;
    void *value;

    while (map_next(&c, &key, &value))
        if (strncmp(key, resource, n) == 0 && key[n] == '/')
            fn(arg, value);
}

/* node -1: of any. */
static unsigned
live_processes(const struct sim *s, const char *run_uid, int node)
{
    struct map_cursor c = map_begin(s->procs);
    unsigned n = 0;
    void *value;

    while (map_next(&c, NULL, &value)) {
        const struct sim_proc *p = value;
        n += p->state == PROC_RUNNING && streq(p->run_uid, run_uid) &&
             (node < 0 || p->node == (unsigned)node);
    }
    return n;
}

/* --- starts -------------------------------------------------------------------------
 */

static void
attempt_key(const struct object *o, struct str *key)
{
    char run_uid[SIM_UID] = "";

    object_get_string(o, "spec.runUID", run_uid, sizeof(run_uid));
    str_addf(key, "%s/%lld", run_uid, (long long)object_get_int(o, "spec.attempt", 0));
}

void
sim_check_bound(struct sim *s, const struct object *job)
{
    auto_str key = STR_INIT(128);

    attempt_key(job, &key);
    uintptr_t n = (uintptr_t)map_get(s->bound, key.ptr) + 1;
    map_put(s->bound, key.ptr, (void *)n);
}

struct started {
    struct sim *s;
    const struct sim_proc *p;
};

/* Nothing of a gang starts before all of it has a place. */
static void
check_whole(void *arg, struct object *o)
{
    const struct started *st = arg;
    auto_str key = STR_INIT(128);

    if (!streq(o->uid, st->p->uid))
        return;
    attempt_key(o, &key);
    uintptr_t n = (uintptr_t)map_get(st->s->bound, key.ptr);
    st->s->n_gangs += st->p->nodes > 1 && st->p->node == 0;
    if (!is_true(o, "spec.released"))
        sim_violate(st->s, "gangs_start_whole", "%s starts unreleased", o->name);
    if (n < st->p->nodes)
        sim_violate(st->s, "gangs_start_whole", "%s starts, %u of %u are bound", o->name,
                    (unsigned)n, st->p->nodes);
}

void
sim_check_start(struct sim *s, const struct sim_proc *p)
{
    if (p->starts > 1)
        sim_violate(s, "one_start_per_job", "job %s started %u times", p->uid, p->starts);
    else if (live_processes(s, p->run_uid, (int)p->node) > 1)
        sim_violate(s, "one_process_per_run", "run %s: job %s is not the only one",
                    p->run_uid, p->uid);
    struct started st = {s, p};
    each(s, RES_JOBS, check_whole, &st);
}

struct siblings {
    struct sim *s;
    const struct object *job;
    char run_uid[SIM_UID];
};

static void
check_sibling(void *arg, struct object *o)
{
    const struct siblings *b = arg;
    char run_uid[SIM_UID] = "";

    object_get_string(o, "spec.runUID", run_uid, sizeof(run_uid));
    if (streq(o->uid, b->job->uid) || !streq(run_uid, b->run_uid) ||
        object_get_int(o, "spec.attempt", 0) ==
            object_get_int(b->job, "spec.attempt", 0)) /* another node */
        return;
    b->s->n_replaced++;
    if (!over(o))
        sim_violate(b->s, "one_attempt_at_a_time", "%s is created while %s is not over",
                    b->job->name, o->name);
}

void
sim_check_new_job(struct sim *s, const struct object *job)
{
    struct siblings b = {.s = s, .job = job};

    object_get_string(job, "spec.runUID", b.run_uid, sizeof(b.run_uid));
    if (b.run_uid[0] == '\0') /* of no run */
        return;
    each(s, RES_JOBS, check_sibling, &b);
    if (live_processes(s, b.run_uid, -1) > 0)
        sim_violate(s, "partition_rule", "%s is created while a process of its run lives",
                    job->name);
}

/* --- ends ---------------------------------------------------------------------------
 */

void
sim_check_job_gone(struct sim *s, const struct object *job)
{
    const struct sim_proc *p = sim_proc_find(s, job->uid);
    char instance[SIM_UID] = "";

    if (p != NULL && p->state == PROC_RUNNING)
        sim_violate(s, "no_job_vanishes_running", "%s", job->name);
    object_get_string(job, "spec.instanceUID", instance, sizeof(instance));
    for (unsigned i = 0; i < s->n_agents; i++)
        if (streq(sim_agent_instance(s->agents[i]), instance) &&
            sim_agent_holds(s->agents[i], job->uid))
            sim_violate(s, "no_job_vanishes_held", "%s is held by node-%u", job->name, i);
}

static void
check_orphan(void *arg, struct object *o)
{
    const struct siblings *b = arg;
    char run_uid[SIM_UID] = "";

    object_get_string(o, "spec.runUID", run_uid, sizeof(run_uid));
    if (streq(run_uid, b->run_uid) && !over(o))
        sim_violate(b->s, "no_run_vanishes_before_its_jobs", "%s leaves %s", b->job->name,
                    o->name);
}

/* A Run has its finalizer from when its first Job exists; one that is deleted between
 * these two writes takes the Job along as its owner. */
void
sim_check_run_gone(struct sim *s, const struct object *run)
{
    struct siblings b = {.s = s, .job = run};
    struct span raw;

    if (!object_path(run, "status.jobUID", &raw) || raw.len <= 2)
        return;
    snprintf(b.run_uid, sizeof(b.run_uid), "%s", run->uid);
    each(s, RES_JOBS, check_orphan, &b);
}

/* --- capacity -----------------------------------------------------------------------
 */

struct use {
    struct sim *s;
    const struct object *instance;
    int64_t cpu_milli, memory_mib;
    char gpus[16][40];
    size_t n_gpus;
};

static void
add_gpus(struct use *u, const struct object *o)
{
    struct span array, item;
    const char *cursor = NULL;

    if (!object_path(o, "spec.reservation.gpus", &array) || array.len == 0)
        return;
    while (u->n_gpus < ARRAY_LEN(u->gpus) && jscan_next_item(array, &cursor, &item)) {
        char *uuid = u->gpus[u->n_gpus];
        snprintf(uuid, sizeof(u->gpus[0]), SPAN_FMT, SPAN_ARG(item));
        for (size_t i = 0; i < u->n_gpus; i++)
            if (streq(u->gpus[i], uuid))
                sim_violate(u->s, "gpus_are_disjoint", "%s on %s is given twice, to %s",
                            uuid, u->instance->name, o->name);
        u->n_gpus++;
    }
}

static bool
agent_over(const struct object *o)
{
    static const char *const states[] = {"Exited", "Failed", "Rejected", "Lost",
                                         "Cancelled"};

    for (size_t i = 0; i < ARRAY_LEN(states); i++)
        if (text_is(o, "status.agent.state", states[i]))
            return true;
    return false;
}

static void
add_use(void *arg, struct object *o)
{
    struct use *u = arg;

    if (!text_is(o, "spec.instanceUID", u->instance->uid) || !sim_job_occupies(o))
        return;
    u->cpu_milli += object_get_int(o, "spec.reservation.cpuMilli", 0);
    u->memory_mib += object_get_int(o, "spec.reservation.memoryMiB", 0);
    add_gpus(u, o);
}

static void
check_capacity(void *arg, struct object *o)
{
    struct use u = {.s = arg, .instance = o};
    int64_t cpu = 1000 * object_get_int(o, "status.agent.inventory.cpus", 0);
    int64_t memory = object_get_int(o, "status.agent.inventory.memoryMiB", 0);

    each(u.s, RES_JOBS, add_use, &u);
    if (u.cpu_milli > cpu || u.memory_mib > memory)
        sim_violate(u.s, "capacity_is_kept", "%s: cpu %lld of %lld, memory %lld of %lld",
                    o->name, (long long)u.cpu_milli, (long long)cpu,
                    (long long)u.memory_mib, (long long)memory);
}

static bool
is_bound(const struct object *o)
{
    struct span raw;

    return object_path(o, "spec.instanceUID", &raw) && raw.len > 2;
}

/* What is bound occupies until it is over; what was claimed until it is free again. */
bool
sim_job_occupies(const struct object *o)
{
    return is_bound(o) && ((!over(o) && !agent_over(o)) ||
                           (claimed(o) && !is_true(o, "status.agent.released")));
}

struct occupying {
    struct sim *s;
    const struct object *job;
    bool has_machine;
    unsigned n;
};

static void
is_its_machine(void *arg, struct object *o)
{
    struct occupying *c = arg;

    c->has_machine = c->has_machine || text_is(c->job, "spec.instanceUID", o->uid);
}

/* Of what is over, nothing is left when its machine is gone for good. */
static void
count_occupying(void *arg, struct object *o)
{
    struct occupying *c = arg;

    if (!sim_job_occupies(o))
        return;
    c->job = o;
    c->has_machine = !over(o);
    each(c->s, RES_INSTANCES, is_its_machine, c);
    c->n += c->has_machine;
}

static void
check_quota(struct sim *s)
{
    unsigned most = s->quota_jobs - (s->opts.mutation == SIM_QUOTA);
    struct occupying c = {.s = s};

    if (s->quota_jobs == 0)
        return;
    each(s, RES_JOBS, count_occupying, &c);
    if (c.n > most)
        sim_violate(s, "quotas_are_kept", "%u jobs run at once, %u may", c.n, most);
}

void
sim_check_step(struct sim *s)
{
    if (!s->jobs_changed)
        return;
    s->jobs_changed = false;
    each(s, RES_INSTANCES, check_capacity, s);
    check_quota(s);
}

/* --- at rest ------------------------------------------------------------------------
 */

static void
check_cache(struct sim *s, const struct informer *inf)
{
    const struct resource *r = informer_resource(inf);
    autofree char *resource =
        *r->group == '\0' ? xstrdup(r->plural) : xasprintf("%s.%s", r->plural, r->group);
    struct store_list *l = store_list(s->store, resource, NULL, NULL);
    const struct object *o;
    size_t n = 0;

    while ((o = store_list_next(l)) != NULL) {
        auto_object *have = informer_find(inf, o->ns, o->name);
        n++;
        if (have == NULL || have->revision != o->revision || !streq(have->uid, o->uid))
            sim_violate(s, "caches_equal_the_store", "%s %s: store %llu, cache %llu",
                        resource, o->name, (unsigned long long)o->revision,
                        have == NULL ? 0ULL : (unsigned long long)have->revision);
    }
    store_list_free(l);
    if (n != informer_len(inf))
        sim_violate(s, "caches_equal_the_store", "%s: store has %zu, cache %zu", resource,
                    n, informer_len(inf));
}

void
sim_check_caches(struct sim *s)
{
    for (size_t i = 0; i < s->control_readers.len; i++)
        check_cache(s, s->control_readers.items[i]->inf);
}

/* Only what no machine could ever take may still wait, and says so. */
static void
check_run_end(void *arg, struct object *o)
{
    struct sim *s = arg;
    char phase[32] = "", reason[64] = "";

    if (over(o))
        return;
    object_get_string(o, "status.phase", phase, sizeof(phase));
    object_get_string(o, "status.reason", reason, sizeof(reason));
    if (!sim_too_big(s, o) || !streq(phase, "Submitted") ||
        (!str_starts(reason, "Insufficient") && !streq(reason, "NoEngine") &&
         !str_starts(reason, "No")))
        sim_violate(s, "every_run_ends", "%s: phase %s reason %s", o->name, phase,
                    reason);
}

static void
check_job_end(void *arg, struct object *o)
{
    struct sim *s = arg;
    char run_uid[SIM_UID] = "", instance[SIM_UID] = "";
    struct span raw;

    object_get_string(o, "spec.runUID", run_uid, sizeof(run_uid));
    object_get_string(o, "spec.instanceUID", instance, sizeof(instance));
    if (map_get(s->gone, run_uid) != NULL)
        sim_violate(s, "no_job_is_orphaned", "%s", o->name);
    if (over(o) && claimed(o) && !is_true(o, "status.agent.released") &&
        map_get(s->gone, instance) == NULL)
        sim_violate(s, "everything_is_released", "%s", o->name);
    if (!over(o) && object_path(o, "spec.instanceUID", &raw) && raw.len > 2)
        sim_violate(s, "every_bound_job_ends", "%s", o->name);
}

void
sim_check_end(struct sim *s)
{
    each(s, RES_RUNS, check_run_end, s);
    each(s, RES_JOBS, check_job_end, s);
    sim_check_caches(s);
}
