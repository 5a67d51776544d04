/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A simulated agent: enrols (by a plain create: tokens are not simulated), says what its
 * machine has, renews its Lease, watches the Jobs of its label, and survives its own
 * death by its journal.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "sim/sim_agent_internal.h"

enum {
    RENEW_MS = 10000,
    LEASE_S = 40,
    RESTART_MAX_MS = 5000,
    RENEW_RETRY_MS = 1000,
    BOOT_MAX_MS = 300000
};

/* --- life ---------------------------------------------------------------------------
 */

static void
on_set(void *arg, const struct object *before, const struct object *now, bool initial)
{
    struct sim_agent *a = arg;
    struct sim_job *j = map_get(a->jobs, now->uid);

    UNUSED(before);
    UNUSED(initial);
    if (j == NULL)
        j = sim_job_new(a, now->uid, now->name);
    sim_job_take(j, now);
}

static void
on_delete(void *arg, const struct object *last)
{
    const struct sim_agent *a = arg;
    struct sim_job *j = map_get(a->jobs, last->uid);

    if (j != NULL)
        j->absent = true;
}

/* What the first list does not have is not there any more. */
static void
on_progress(void *arg)
{
    struct sim_agent *a = arg;
    struct map_cursor c = map_begin(a->journal);
    const char *uid;

    if (a->synced || !informer_synced(a->inf))
        return;
    a->synced = true;
    while (map_next(&c, &uid, NULL)) {
        struct sim_job *j = map_get(a->jobs, uid);
        auto_object *o = informer_find_uid(a->inf, uid);
        if (j != NULL && o == NULL)
            j->absent = true;
    }
}

static void
sweep(struct sim_agent *a)
{
    struct map_cursor c = map_begin(a->s->procs);
    void *value;

    while (map_next(&c, NULL, &value)) {
        struct sim_proc *p = value;
        if (p->machine != a->index || p->removed || map_get(a->journal, p->uid) != NULL)
            continue;
        sim_machine_kill(a->s, p, 0);
        p->removed = true;
    }
}

static void
start_life(struct sim_agent *a)
{
    struct informer_handler h = {on_set, on_delete, on_progress, a};
    struct map_cursor c = map_begin(a->journal);
    autofree char *query =
        xasprintf("labelSelector=drover.dev%%2Finstance%%3D%s", a->uid);
    void *value;

    sim_log(a->s, "%s: starts, %zu in its journal", a->name, map_len(a->journal));
    a->alive = true;
    a->synced = a->said_inventory = false;
    a->renew_ms = sim_now_ms();
    if (a->s->opts.mutation == SIM_DEADMAN_FORGETS)
        a->acked_sent_ms = sim_now_ms();
    a->jobs = map_new(sim_job_free);
    a->inf = informer_new(&resource_jobs);
    informer_add_handler(a->inf, &h);
    a->reader = sim_reader_new(&a->link, a->inf, query);
    while (map_next(&c, NULL, &value)) {
        const struct sim_entry *en = value;
        struct sim_job *j = sim_job_new(a, en->uid, en->name);
        j->engine = JOB_ENGINE_UNASKED;
    }
    if (a->s->opts.mutation != SIM_IGNORE_CLAIM)
        sweep(a);
}

static void
end_life(struct sim_agent *a)
{
    if (!a->alive)
        return;
    a->alive = false;
    sim_reader_free(a->reader);
    informer_free(a->inf);
    map_free(a->jobs);
    a->reader = NULL;
    a->inf = NULL;
    a->jobs = NULL;
}

/* False: not now. */
static bool
enrol(struct sim_agent *a)
{
    struct error e = ERROR_INIT;
    auto_object *o = NULL;
    json_t *body =
        json_pack("{s:s, s:s, s:{s:s}, s:{s:s}}", "apiVersion", "drover.dev/v1", "kind",
                  "Instance", "metadata", "name", a->name, "spec", "fleetName", "local");
    int rc = client_create(a->client, &resource_instances, SIM_NS, body, &o, &e);

    json_decref(body);
    if (rc == -ERR_EXISTS) /* the answer was lost */
        rc = client_get(a->client, &resource_instances, SIM_NS, a->name, &o, &e);
    if (rc < 0)
        return false;
    snprintf(a->uid, sizeof(a->uid), "%s", o->uid);
    a->acked_sent_ms = sim_now_ms();
    start_life(a);
    return true;
}

/* It enrols as soon as it can. */
static struct sim_agent *
new_machine(struct sim *s, unsigned index)
{
    struct sim_agent *a = xnew(struct sim_agent);

    a->s = s;
    a->index = index;
    snprintf(a->name, sizeof(a->name), "node-%u", index);
    sim_link_init(s, &a->link, a->name);
    a->client = sim_client_new(&a->link);
    a->cpus = 2 + sim_below(s, 7);
    a->memory_mib = 2048 << sim_below(s, 4);
    a->n_gpus = sim_permille(s, 500) ? 1 + sim_below(s, GPUS_MAX) : 0;
    a->docker = sim_permille(s, 600);
    id_uuid4(a->journal_id);
    a->journal = map_new(free);
    return a;
}

struct sim_agent *
sim_agent_new(struct sim *s, unsigned index)
{
    struct sim_agent *a = new_machine(s, index);

    if (!enrol(a))
        sim_violate(s, "set_up", "%s cannot enrol", a->name);
    return a;
}

void
sim_agent_free(struct sim_agent *a)
{
    if (a == NULL)
        return;
    end_life(a);
    client_free(a->client);
    sim_link_done(&a->link);
    map_free(a->journal);
    free(a);
}

void
sim_agent_crash(struct sim_agent *a, bool lose_journal)
{
    if (!a->alive)
        return;
    sim_log(a->s, "%s: crashes%s", a->name, lose_journal ? ", its journal is lost" : "");
    a->s->n_agent_crashes++;
    end_life(a);
    a->restart_ms = sim_now_ms() + sim_below(a->s, RESTART_MAX_MS);
    if (lose_journal) {
        map_clear(a->journal);
        id_uuid4(a->journal_id);
    }
}

void
sim_agent_reboot(struct sim_agent *a)
{
    struct map_cursor c = map_begin(a->s->procs);
    void *value;

    if (a->gone || a->uid[0] == '\0')
        return;
    sim_log(a->s, "%s: the machine reboots", a->name);
    a->s->n_reboots++;
    while (map_next(&c, NULL, &value)) {
        struct sim_proc *p = value;
        if (p->machine != a->index || p->state != PROC_RUNNING)
            continue;
        sim_machine_kill(a->s, p, 0);
        p->rebooted = true;
    }
    sim_agent_crash(a, false);
    a->restart_ms = sim_now_ms() + sim_below(a->s, 300000);
}

/* --- spot machines ------------------------------------------------------------------
 */

static void
set_instance(struct sim_agent *a, json_t *spec)
{
    struct client_patch_opts o = {.type = CLIENT_PATCH_MERGE};
    struct error e = ERROR_INIT;
    json_t *body = json_pack("{s:o}", "spec", spec);
    int rc = client_patch(a->s->user_client, &resource_instances, SIM_NS, a->name, &o,
                          body, NULL, &e);

    json_decref(body);
    UNUSED(rc); /* then there was no notice */
}

void
sim_agent_reclaim(struct sim_agent *a, int64_t notice_ms)
{
    struct sim *s = a->s;

    if (a->gone || a->reclaim_ms != 0 || a->uid[0] == '\0' ||
        s->n_agents == SIM_AGENTS_MAX)
        return;
    a->reclaim_ms = sim_now_ms() + notice_ms;
    sim_log(s, "%s: will be taken away in %lld ms", a->name,
            (long long)(a->reclaim_ms - sim_now_ms()));
    set_instance(a, json_pack("{s:b, s:b}", "unschedulable", 1, "drain", 1));
    struct sim_agent *next = new_machine(s, s->n_agents);
    next->restart_ms = a->reclaim_ms + sim_below(s, BOOT_MAX_MS);
    s->agents[s->n_agents++] = next;
}

void
sim_agent_reclaim_now(struct sim_agent *a)
{
    struct map_cursor c = map_begin(a->s->procs);
    void *value;

    if (a->gone || a->reclaim_ms == 0)
        return;
    sim_log(a->s, "%s: the machine is gone", a->name);
    a->s->n_reclaimed++;
    a->gone = true;
    end_life(a);
    map_clear(a->journal);
    while (a->s->opts.mutation != SIM_HALF_GONE && map_next(&c, NULL, &value)) {
        struct sim_proc *p = value;
        if (p->machine != a->index || p->removed)
            continue;
        sim_machine_kill(a->s, p, 0);
        p->removed = true;
    }
}

/* Whoever rents the machines says that this one does not come back. */
static bool
forget(struct sim_agent *a)
{
    struct error e = ERROR_INIT;
    int rc = client_delete(a->s->user_client, &resource_instances, SIM_NS, a->name,
                           a->uid, NULL, &e);

    a->forgotten = rc == 0 || rc == -ERR_NOT_FOUND;
    return a->forgotten;
}

/* --- lease and inventory ------------------------------------------------------------
 */

static int
create_lease(struct sim_agent *a, json_t *spec, struct error *e)
{
    json_t *body = json_pack(
        "{s:s, s:s, s:{s:s, s:{s:s}, s:[{s:s, s:s, s:s, s:s}]}, s:O}", "apiVersion",
        "coordination.k8s.io/v1", "kind", "Lease", "metadata", "name", a->name, "labels",
        "drover.dev/instance", a->uid, "ownerReferences", "apiVersion", "drover.dev/v1",
        "kind", "Instance", "name", a->name, "uid", a->uid, "spec", spec);
    auto_object *o = NULL;
    int rc = client_create(a->client, &resource_leases, SIM_NS, body, &o, e);

    json_decref(body);
    return rc;
}

static void
renew(struct sim_agent *a)
{
    struct client_patch_opts o = {.type = CLIENT_PATCH_MERGE};
    struct error e = ERROR_INIT;
    char now[CLOCK_RFC3339_US_LEN];
    int64_t sent = sim_now_ms();
    auto_object *after = NULL;

    clock_format_us(clock_wall_ns(), now);
    json_t *spec = json_pack("{s:s, s:i, s:s}", "holderIdentity", a->journal_id,
                             "leaseDurationSeconds", LEASE_S, "renewTime", now);
    json_t *body = json_pack("{s:O}", "spec", spec);
    int rc =
        client_patch(a->client, &resource_leases, SIM_NS, a->name, &o, body, &after, &e);
    if (rc == -ERR_NOT_FOUND)
        rc = create_lease(a, spec, &e);
    json_decref(body);
    json_decref(spec);
    if (rc == 0)
        a->acked_sent_ms = sent;
    a->renew_ms = sim_now_ms() + (rc == 0 ? RENEW_MS : RENEW_RETRY_MS);
}

static json_t *
gpus_json(const struct sim_agent *a)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < a->n_gpus; i++) {
        char uuid[GPU_UUID];
        snprintf(uuid, sizeof(uuid), "GPU-%u-%u", a->index, i);
        json_array_append_new(list,
                              json_pack("{s:s, s:i, s:s, s:s, s:i, s:b}", "uuid", uuid,
                                        "index", (int)i, "vendor", "nvidia", "name",
                                        "A100", "memoryMiB", 81920, "healthy", 1));
    }
    return list;
}

static void
say_inventory(struct sim_agent *a)
{
    struct error e = ERROR_INIT;
    json_t *engines = json_array();

    json_array_append_new(engines,
                          json_pack("{s:s, s:b}", "name", "process", "available", 1));
    json_array_append_new(
        engines, json_pack("{s:s, s:b}", "name", "docker", "available", a->docker));
    json_t *body = json_pack(
        "{s:{s:{s:s, s:o, s:{s:s, s:I, s:I, s:I, s:i, s:o}}}}", "status", "agent",
        "journalID", a->journal_id, "engines", engines, "inventory", "arch", "x86_64",
        "cpus", (json_int_t)a->cpus, "memoryMiB", (json_int_t)a->memory_mib, "diskMiB",
        (json_int_t)100000, "gpuCount", (int)a->n_gpus, "gpus", gpus_json(a));
    a->said_inventory = client_patch_status(a->client, &resource_instances, SIM_NS,
                                            a->name, body, NULL, &e) == 0;
    json_decref(body);
}

/* --- steps --------------------------------------------------------------------------
 */

static bool
jobs_step(struct sim_agent *a)
{
    size_t n = map_len(a->jobs), skip = n > 0 ? sim_below(a->s, (uint32_t)n) : 0;

    for (size_t i = 0; i < n; i++) {
        struct map_cursor c = map_begin(a->jobs);
        size_t at = (skip + i) % n;
        void *value = NULL;
        for (size_t k = 0; k <= at; k++)
            map_next(&c, NULL, &value);
        if (value != NULL && sim_job_step(value))
            return true;
    }
    return false;
}

bool
sim_agent_step(struct sim_agent *a)
{
    if (a->gone)
        return !a->forgotten && forget(a);
    if (a->uid[0] == '\0')
        return a->restart_ms <= sim_now_ms() && enrol(a);
    if (!a->alive)
        return false;
    if (a->renew_ms <= sim_now_ms()) {
        renew(a);
        return true;
    }
    if (!a->said_inventory && a->s->up && !a->link.cut) {
        say_inventory(a);
        return true;
    }
    if (sim_permille(a->s, 400) && sim_reader_step(a->reader))
        return true;
    return jobs_step(a) || sim_reader_step(a->reader);
}

void
sim_agent_tick(struct sim_agent *a)
{
    if (a->reclaim_ms != 0 && a->reclaim_ms <= sim_now_ms())
        sim_agent_reclaim_now(a);
    if (a->gone || a->uid[0] == '\0')
        return;
    if (!a->alive && a->restart_ms <= sim_now_ms())
        start_life(a);
    if (!a->alive || !sim_agent_dead_man(a))
        return;
    struct map_cursor c = map_begin(a->jobs);
    void *value;
    while (map_next(&c, NULL, &value))
        sim_job_urgent(value);
}

int64_t
sim_agent_due(const struct sim_agent *a)
{
    int64_t due = a->alive ? a->renew_ms : a->restart_ms;

    if (a->gone)
        return -1;
    return a->reclaim_ms != 0 && a->reclaim_ms < due ? a->reclaim_ms : due;
}

struct sim_link *
sim_agent_link(struct sim_agent *a)
{
    return &a->link;
}

const char *
sim_agent_instance(const struct sim_agent *a)
{
    return a->uid;
}

bool
sim_agent_holds(const struct sim_agent *a, const char *job_uid)
{
    const struct sim_entry *en = map_get(a->journal, job_uid);

    return en != NULL && en->hold;
}

size_t
sim_agent_entries(const struct sim_agent *a)
{
    return map_len(a->journal);
}

void
sim_agent_shrink(struct sim_agent *a)
{
    a->cpus = 1;
    a->said_inventory = false;
}

bool
sim_agent_could_take(const struct sim_agent *a, const struct resource_req *req,
                     bool image)
{
    return !a->gone && req->cpu.min <= a->cpus && req->memory_mib.min <= a->memory_mib &&
           (!req->gpu.given || req->gpu.count.min <= (int64_t)a->n_gpus) &&
           (!image || a->docker);
}

void
sim_agent_hurry(struct sim_agent *a)
{
    if (!a->alive)
        a->restart_ms = sim_now_ms();
    sim_agent_tick(a);
}
