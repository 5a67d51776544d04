/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One job of a simulated agent. What to do next is the runner's own plan; the actions
 * follow runner/job.c and runner/job_report.c with a machine of this world below them.
 */
#include <signal.h>

#include "api/jtok.h"
#include "base/clock.h"
#include "base/mem.h"
#include "sim/sim_agent_internal.h"

/* --- life ---------------------------------------------------------------------------
 */

struct sim_job *
sim_job_new(struct sim_agent *a, const char *uid, const char *name)
{
    struct sim_job *j = xnew(struct sim_job);

    j->a = a;
    snprintf(j->uid, sizeof(j->uid), "%s", uid);
    snprintf(j->name, sizeof(j->name), "%s", name);
    j->engine = JOB_ENGINE_CLEAN;
    map_put(a->jobs, uid, j);
    return j;
}

void
sim_job_free(void *job)
{
    struct sim_job *j = job;

    object_unref(j->o);
    free(j);
}

static bool
path_is(const struct object *o, const char *path, const char *text)
{
    char buf[64];

    return object_get_string(o, path, buf, sizeof(buf)) && streq(buf, text);
}

static bool
path_true(const struct object *o, const char *path)
{
    struct span raw;

    return object_path(o, path, &raw) && jscan_bool(raw);
}

static bool
agent_terminal(const struct object *o)
{
    static const char *const over[] = {"Exited", "Failed", "Rejected", "Lost",
                                       "Cancelled"};

    for (size_t i = 0; i < ARRAY_LEN(over); i++)
        if (path_is(o, "status.agent.state", over[i]))
            return true;
    return false;
}

static bool
given_up(const struct object *o)
{
    bool final = path_is(o, "status.phase", "Done") ||
                 path_is(o, "status.phase", "Failed") ||
                 path_is(o, "status.phase", "Terminated");

    return o->facts.deleting_s != 0 || (final && !agent_terminal(o));
}

void
sim_job_take(struct sim_job *j, const struct object *o)
{
    bool first = j->o == NULL;

    if (!streq(o->uid, j->uid) || (!first && o->revision < j->o->revision))
        return;
    object_unref(j->o);
    j->o = object_ref(o);
    if (first && agent_terminal(o)) {
        j->report.state = NULL;
        j->report.acked = j->report.seq;
    }
}

/* --- reporting ----------------------------------------------------------------------
 */

static void
changed(struct sim_job *j, const char *state)
{
    j->report.state = state;
    j->report.since_ns = clock_wall_ns();
    j->report.seq++;
}

static void
report_state(struct sim_job *j, const char *state)
{
    if (j->report.end_seq == 0 && (j->o == NULL || !agent_terminal(j->o)) &&
        (j->report.state == NULL || !streq(j->report.state, state)))
        changed(j, state);
}

static void
report_end(struct sim_job *j, const char *state, const char *reason)
{
    struct sim_report *r = &j->report;

    if (r->end_seq != 0)
        return;
    snprintf(r->reason, sizeof(r->reason), "%s", reason);
    if (r->finished_ns == 0)
        r->finished_ns = clock_wall_ns();
    r->end_seq = r->seq + 1;
    r->retry_ms = 0;
    changed(j, state);
}

static void
report_freed(struct sim_job *j)
{
    if (j->report.freed_seq != 0)
        return;
    j->report.released = true;
    j->report.freed_seq = ++j->report.seq;
}

static void
say(struct sim_job *j, const char *state, const char *reason)
{
    report_end(j, state, reason);
    if (map_get(j->a->journal, j->uid) == NULL)
        report_freed(j);
}

static void
put_time(json_t *o, const char *key, int64_t ns)
{
    char text[CLOCK_RFC3339_US_LEN];

    clock_format_us(ns, text);
    json_object_set_new(o, key, ns > 0 ? json_string(text) : json_null());
}

static json_t *
report_json(const struct sim_report *r)
{
    json_t *o = json_object();
    char sig[16];

    if (r->released)
        json_object_set_new(o, "released", json_true());
    if (r->state == NULL)
        return o;
    json_object_set_new(o, "state", json_string(r->state));
    put_time(o, "since", r->since_ns);
    json_object_set_new(o, "reason",
                        r->reason[0] != '\0' ? json_string(r->reason) : json_null());
    json_object_set_new(
        o, "exitCode", r->has_exit && r->code >= 0 ? json_integer(r->code) : json_null());
    snprintf(sig, sizeof(sig), "SIG%s", r->signal != 0 ? sigabbrev_np(r->signal) : "");
    json_object_set_new(o, "signal", r->signal != 0 ? json_string(sig) : json_null());
    put_time(o, "startedAt", r->started_ns);
    put_time(o, "finishedAt", r->finished_ns);
    json_object_set_new(o, "logLength", r->end_seq != 0 ? json_integer(0) : json_null());
    return o;
}

/* PATCH of status.agent; takes both trees. */
static int
patch(struct sim_job *j, json_t *metadata, json_t *agent, struct error *e)
{
    json_t *body =
        json_pack("{s:o, s:{s:o}}", "metadata", metadata, "status", "agent", agent);
    auto_object *after = NULL;

    int rc = client_patch_status(j->a->client, &resource_jobs, SIM_NS, j->name, body,
                                 &after, e);
    json_decref(body);
    if (rc == 0)
        sim_job_take(j, after);
    return rc;
}

static void
look(struct sim_job *j)
{
    auto_object *o = NULL;
    struct error e = ERROR_INIT;
    int rc = client_get(j->a->client, &resource_jobs, SIM_NS, j->name, &o, &e);

    if (rc == -ERR_NOT_FOUND || (rc == 0 && !streq(o->uid, j->uid)))
        j->absent = true;
    else if (rc == 0)
        sim_job_take(j, o);
}

static void
failed(struct sim_job *j, const struct error *e)
{
    if (e->code == ERR_NOT_FOUND)
        j->absent = true;
    else if (e->code == ERR_CONFLICT)
        look(j);
    j->report.retry_ms = sim_now_ms() + REPORT_RETRY_MS;
}

static bool
report_send(struct sim_job *j)
{
    struct sim_report *r = &j->report;
    struct error e = ERROR_INIT;
    unsigned sent = r->seq;

    if (r->acked == r->seq || j->absent || j->o == NULL || r->retry_ms > sim_now_ms())
        return false;
    if (j->a->s->opts.mutation == SIM_FORGET_RELEASE)
        r->released = false;
    if (patch(j, json_pack("{s:s}", "uid", j->uid), report_json(r), &e) < 0)
        failed(j, &e);
    else
        r->acked = sent;
    return true;
}

static void
claim(struct sim_job *j)
{
    struct error e = ERROR_INIT;
    char revision[24];

    snprintf(revision, sizeof(revision), "%llu", (unsigned long long)j->o->revision);
    json_t *agent = json_pack("{s:s, s:{s:s, s:s}}", "state", "Claimed", "claim",
                              "instanceUID", j->a->uid, "journalID", j->a->journal_id);
    put_time(agent, "since", clock_wall_ns());
    j->report.state = "Claimed";
    json_t *metadata =
        json_pack("{s:s, s:s}", "uid", j->uid, "resourceVersion", revision);
    if (patch(j, metadata, agent, &e) < 0)
        failed(j, &e);
}

/* --- facts --------------------------------------------------------------------------
 */

static bool
gpu_taken(const struct sim_agent *a, const char *uuid)
{
    struct map_cursor c = map_begin(a->journal);
    void *value;

    while (map_next(&c, NULL, &value)) {
        const struct sim_entry *en = value;
        for (size_t i = 0; en->hold && i < en->n_gpus; i++)
            if (streq(en->gpus[i], uuid))
                return true;
    }
    return false;
}

static void
read_gpus(const struct object *o, struct sim_entry *en)
{
    struct span array, item;
    const char *cursor = NULL;

    if (!object_path(o, "spec.reservation.gpus", &array) || array.len == 0)
        return;
    while (en->n_gpus < GPUS_MAX && jscan_next_item(array, &cursor, &item))
        snprintf(en->gpus[en->n_gpus++], GPU_UUID, "%.*s", (int)item.len - 2,
                 item.ptr + 1);
}

static void
entry_of(const struct object *o, struct sim_entry *en)
{
    *en = (struct sim_entry){.hold = true};
    snprintf(en->uid, sizeof(en->uid), "%s", o->uid);
    snprintf(en->name, sizeof(en->name), "%s", o->name);
    object_get_string(o, "spec.runUID", en->run_uid, sizeof(en->run_uid));
    en->node = (unsigned)object_get_int(o, "spec.node", 0);
    en->nodes = (unsigned)object_get_int(o, "spec.nodes", 1);
    en->cpu_milli = object_get_int(o, "spec.reservation.cpuMilli", 0);
    en->memory_mib = object_get_int(o, "spec.reservation.memoryMiB", 0);
    en->stop_s = object_get_int(o, "spec.stopDurationSeconds", 300);
    en->interruptible = path_true(o, "spec.interruptible");
    read_gpus(o, en);
}

static bool
fits(const struct sim_job *j)
{
    const struct sim_agent *a = j->a;
    struct map_cursor c = map_begin(a->journal);
    int64_t cpu = a->cpus * 1000, memory = a->memory_mib;
    struct sim_entry want;
    void *value;

    entry_of(j->o, &want);
    while (map_next(&c, NULL, &value)) {
        const struct sim_entry *en = value;
        cpu -= en->hold ? en->cpu_milli : 0;
        memory -= en->hold ? en->memory_mib : 0;
    }
    for (size_t i = 0; i < want.n_gpus; i++)
        if (gpu_taken(a, want.gpus[i]))
            return false;
    return want.cpu_milli <= cpu && want.memory_mib <= memory;
}

static enum job_desired
desired(const struct object *o)
{
    if (o == NULL || path_is(o, "spec.desiredState", "Running"))
        return JOB_RUN;
    return path_is(o, "spec.desiredState", "Aborted") ? JOB_ABORT : JOB_STOP;
}

static enum job_claim
claim_of(const struct sim_job *j)
{
    char journal[64] = "";

    if (j->o != NULL)
        object_get_string(j->o, "status.agent.claim.journalID", journal, sizeof(journal));
    if (journal[0] == '\0')
        return JOB_CLAIM_NONE;
    if (streq(journal, j->a->journal_id) || j->a->s->opts.mutation == SIM_IGNORE_CLAIM)
        return JOB_CLAIM_OURS;
    return JOB_CLAIM_OTHER;
}

static void
gather(struct sim_job *j, struct job_facts *f)
{
    const struct sim_report *r = &j->report;
    const struct sim_entry *en = map_get(j->a->journal, j->uid);

    *f = (struct job_facts){
        .seen = j->o != NULL,
        .absent = j->absent,
        .deleting = j->o != NULL && given_up(j->o),
        .go = j->o != NULL && (path_true(j->o, "spec.released") ||
                               j->a->s->opts.mutation == SIM_EARLY_START),
        .desired = desired(j->o),
        .claim = claim_of(j),
        .server_terminal = j->o != NULL && agent_terminal(j->o),
        .server_freed = j->o != NULL && path_true(j->o, "status.agent.released"),
        .entry = en != NULL,
        .engine_use = JOB_ENGINE_USABLE,
        .engine = j->engine,
        .verdict = r->end_seq != 0,
        .end_acked = r->end_seq != 0 && r->acked >= r->end_seq,
        .freed_acked = r->freed_seq != 0 && r->acked >= r->freed_seq,
        .logs_acked = true,
        .dead_man = en != NULL && en->interruptible && sim_agent_dead_man(j->a),
        .stop_sent = j->stop_sent,
    };
    f->fits = en != NULL || j->o == NULL || fits(j);
}

/* --- the engine ---------------------------------------------------------------------
 */

static void
report_result(struct sim_job *j, const struct sim_proc *p)
{
    struct sim_report *r = &j->report;

    j->engine = JOB_ENGINE_ENDED;
    if (j->o != NULL && agent_terminal(j->o))
        return;
    r->started_ns = p->started_ns;
    r->finished_ns = p->finished_ns;
    r->has_exit = !p->rebooted;
    r->code = p->signal != 0 ? 128 + p->signal : p->code;
    r->signal = p->rebooted ? 0 : p->signal;
    if (p->rebooted)
        report_end(j, "Lost", "Rebooted");
    else
        report_end(j, "Exited",
                   j->silenced      ? "ServerSilent"
                   : p->signal != 0 ? "Signaled"
                                    : "Exited");
}

static void
never_started(struct sim_job *j, const char *state, const char *reason)
{
    j->engine = JOB_ENGINE_ENDED;
    if (j->o == NULL || !agent_terminal(j->o))
        report_end(j, state, reason);
}

static void
start(struct sim_job *j, struct sim_proc *p)
{
    sim_machine_start(j->a->s, p);
    j->stage = STAGE_RUN;
    j->report.started_ns = p->started_ns;
    report_state(j, "Running");
}

static void
machine_stop(struct sim_job *j)
{
    struct sim_proc *p = sim_proc_find(j->a->s, j->uid);
    const struct sim_entry *en = map_get(j->a->journal, j->uid);

    if (p != NULL)
        sim_machine_kill(j->a->s, p, j->stop_sent == JOB_ABORT ? 0 : en->stop_s * 1000);
}

/* What the machine says of a job of an earlier life; a stop may have come meanwhile. */
static void
adopted(struct sim_job *j, struct sim_proc *p)
{
    if (p == NULL) {
        j->engine = JOB_ENGINE_CLEAN;
    } else if (p->state == PROC_CREATED || j->a->s->opts.mutation == SIM_START_TWICE) {
        if (j->stop_sent == JOB_RUN) {
            start(j, p);
            return;
        }
        never_started(j, "Cancelled", "StoppedByUser");
    } else if (p->state == PROC_RUNNING) {
        j->stage = STAGE_RUN;
        j->report.started_ns = p->started_ns;
        if (j->stop_sent == JOB_RUN)
            report_state(j, "Running");
        else
            machine_stop(j);
    } else {
        report_result(j, p);
    }
}

static void
create(struct sim_job *j)
{
    const struct sim_entry *en = map_get(j->a->journal, j->uid);
    struct sim_proc *p = map_get(j->a->s->procs, j->uid);

    if (p == NULL) {
        p = xnew(struct sim_proc);
        map_put(j->a->s->procs, j->uid, p);
    }
    p->state = PROC_CREATED;
    p->removed = p->rebooted = false;
    p->machine = j->a->index;
    memcpy(p->uid, en->uid, sizeof(p->uid));
    memcpy(p->run_uid, en->run_uid, sizeof(p->run_uid));
    p->node = en->node;
    p->nodes = en->nodes;
    j->stage = STAGE_START;
}

/* The engine goes on with what it was told. False: it waits. */
static bool
engine_step(struct sim_job *j)
{
    struct sim_proc *p = sim_proc_find(j->a->s, j->uid);

    if (j->stage < STAGE_RUN && j->stop_sent != JOB_RUN) {
        never_started(j, "Cancelled", "StoppedByUser");
        return true;
    }
    switch (j->stage) {
    case STAGE_PULL:
        report_state(j, "Creating");
        j->stage = STAGE_CREATE;
        if (sim_permille(j->a->s, 20))
            never_started(j, "Failed", "ImagePullFailed");
        return true;
    case STAGE_CREATE:
        create(j);
        return true;
    case STAGE_START:
        start(j, p);
        return true;
    case STAGE_ADOPT:
        adopted(j, p);
        return true;
    case STAGE_RUN:
        break;
    }
    if (p == NULL || p->state != PROC_EXITED)
        return false;
    report_result(j, p);
    return true;
}

static void
stop(struct sim_job *j, enum job_desired how)
{
    j->stop_sent = how;
    j->silenced = how == JOB_STOP && sim_agent_dead_man(j->a) &&
                  (j->o == NULL || desired(j->o) == JOB_RUN);
    report_state(j, "Stopping");
    sim_log(j->a->s, "%s: stops %s (%.8s)%s", j->a->name, j->name, j->uid,
            sim_agent_dead_man(j->a) ? ", silent for too long" : "");
    if (j->stage == STAGE_RUN)
        machine_stop(j);
}

static void
remove_now(struct sim_job *j)
{
    struct sim_entry *en = map_get(j->a->journal, j->uid);
    struct sim_proc *p = sim_proc_find(j->a->s, j->uid);

    if (p != NULL) {
        sim_machine_kill(j->a->s, p, 0);
        p->removed = true;
    }
    if (en != NULL)
        en->hold = false;
    j->engine = JOB_ENGINE_REMOVED;
}

/* --- acting -------------------------------------------------------------------------
 */

static void
write_entry(struct sim_job *j)
{
    struct sim_entry *en = xnew(struct sim_entry);

    entry_of(j->o, en);
    map_put(j->a->journal, j->uid, en);
}

static void
forget(struct sim_job *j)
{
    if (!j->absent) {
        j->stub = true;
        return;
    }
    struct sim_job *gone = map_take(j->a->jobs, j->uid);
    sim_job_free(gone);
}

static void
say_cancelled(struct sim_job *j)
{
    char reason[64] = "";

    if (j->o != NULL)
        object_get_string(j->o, "spec.stopReason", reason, sizeof(reason));
    say(j, "Cancelled", reason[0] != '\0' ? reason : "Stopped");
}

static bool
act(struct sim_job *j, enum job_action action)
{
    switch (action) {
    case JOB_WAIT:
    case JOB_FETCH_SECRETS:
    case JOB_PLACE:
    case JOB_SAY_NOT_PLACED:
    case JOB_SAY_NO_ENGINE:
    case JOB_SAY_NO_SECRET:
    case JOB_N_ACTIONS:
        return false;
    case JOB_FORGET:
        forget(j);
        return true;
    case JOB_CLAIM:
        if (j->report.retry_ms > sim_now_ms())
            return false;
        claim(j);
        return true;
    case JOB_WRITE_ENTRY:
        write_entry(j);
        return true;
    case JOB_ADOPT:
        j->engine = JOB_ENGINE_BUSY;
        j->stage = STAGE_ADOPT;
        return true;
    case JOB_LAUNCH:
        j->engine = JOB_ENGINE_BUSY;
        j->stage = STAGE_PULL;
        report_state(j, "Pulling");
        return true;
    case JOB_STOP_ENGINE:
        stop(j, JOB_STOP);
        return true;
    case JOB_KILL_ENGINE:
        stop(j, JOB_ABORT);
        return true;
    case JOB_SAY_LOST:
        say(j, "Lost", "JournalLost");
        return true;
    case JOB_SAY_MISFIT:
        say(j, "Rejected", "OutOfCapacity");
        return true;
    case JOB_SAY_CANCELLED:
        say_cancelled(j);
        return true;
    case JOB_REMOVE:
        remove_now(j);
        return true;
    case JOB_SAY_FREED:
        if (j->report.freed_seq != 0)
            return false;
        report_freed(j);
        return true;
    case JOB_FINISH:
        map_del(j->a->journal, j->uid);
        j->stub = true;
        return true;
    }
    return false;
}

bool
sim_job_step(struct sim_job *j)
{
    struct job_facts f;

    if (j->stub && j->absent) {
        forget(j);
        return true;
    }
    if (j->stub)
        return report_send(j);
    if (sim_permille(j->a->s, 500) && report_send(j))
        return true;
    gather(j, &f);
    enum job_action action = job_plan(&f);
    if (action != JOB_WAIT && j->a->s->opts.verbose)
        sim_log(j->a->s, "%s: %s %.8s: %s", j->a->name, j->name, j->uid,
                job_action_name(action));
    if (act(j, action))
        return true;
    if (report_send(j))
        return true;
    return j->engine == JOB_ENGINE_BUSY && engine_step(j);
}

void
sim_job_urgent(struct sim_job *j)
{
    struct job_facts f;

    if (j->stub || j->engine != JOB_ENGINE_BUSY)
        return;
    gather(j, &f);
    enum job_action action = job_plan(&f);
    if (f.dead_man && (action == JOB_STOP_ENGINE || action == JOB_KILL_ENGINE))
        act(j, action);
}
