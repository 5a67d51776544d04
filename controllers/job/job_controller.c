/* SPDX-License-Identifier: Apache-2.0 */
/* Observes a Job and its instance, plans, writes what the plan says. */
#include <string.h>

#include "api/jtok.h"
#include "api/values.h"
#include "base/mem.h"
#include "control/controller.h"
#include "controllers/common/status.h"
#include "controllers/job/job_plan.h"
#include "controllers/shared.h"

enum { LOST_AFTER_S = 120 };

bool
job_run_key(const struct object *o, struct str *key)
{
    char run[NAME_MAX_LEN];

    if (!object_get_string(o, "spec.runName", run, sizeof(run)))
        return false;
    str_addf(key, "%s/%s", o->ns, run);
    return true;
}

bool
job_instance_key(const struct object *o, struct str *key)
{
    char uid[UID_MAX];

    if (!object_get_string(o, "spec.instanceUID", uid, sizeof(uid)))
        return false;
    str_adds(key, uid);
    return true;
}

/* --- observe ----------------------------------------------------------------------- */

static int64_t
lost_after_ms(const struct lister *l, const char *ns, const char *fleet)
{
    auto_object *f = lister_find(l, &resource_fleets, ns, fleet);
    struct span raw;
    struct error e = ERROR_INIT;
    int64_t seconds = LOST_AFTER_S;

    if (f == NULL || !object_path(f, "spec.lostAfter", &raw))
        return seconds * 1000;
    json_t *value = json_loadb(raw.ptr, raw.len, JSON_DECODE_ANY, NULL);
    if (value == NULL || value_duration(value, false, &seconds, &e) < 0)
        seconds = LOST_AFTER_S;
    json_decref(value);
    return seconds * 1000;
}

/* The cache may be behind the bind: only the server's answer proves that it is gone. */
static int
really_gone(const struct reconcile_env *env, const struct job_view *j, bool *ret,
            struct error *e)
{
    auto_object *o = NULL;
    int rc =
        client_get(env->client, &resource_instances, j->o->ns, j->instance_name, &o, e);

    if (rc < 0 && rc != -ERR_NOT_FOUND)
        return rc;
    *ret = rc == -ERR_NOT_FOUND || !streq(o->uid, j->instance_uid);
    return 0;
}

static bool
instance_draining(const struct object *inst)
{
    struct span drain, cordon;

    return object_path(inst, "spec.drain", &drain) && jscan_bool(drain) &&
           object_path(inst, "spec.unschedulable", &cordon) && jscan_bool(cordon);
}

/* The cache of leases may be behind: only the server's answer proves that there was no
 * renewal since. */
static int
really_silent(const struct reconcile_env *env, const struct object *inst, bool *ret,
              struct error *e)
{
    auto_object *seen = lister_find(env->lister, &resource_leases, inst->ns, inst->name);
    auto_object *is = NULL;
    int rc = client_get(env->client, &resource_leases, inst->ns, inst->name, &is, e);

    if (rc < 0 && rc != -ERR_NOT_FOUND)
        return rc;
    *ret = rc == -ERR_NOT_FOUND || (seen != NULL && seen->revision == is->revision);
    return 0;
}

static int
observe_instance(const struct reconcile_env *env, struct job_observed *o, struct error *e)
{
    const struct controller_set *set = env->state;
    auto_object *inst =
        lister_find_uid(env->lister, &resource_instances, o->job.instance_uid);
    char phase[32], fleet[NAME_MAX_LEN];
    struct lease_seen seen;

    if (inst == NULL) {
        bool gone;
        int rc = really_gone(env, &o->job, &gone, e);
        if (rc == 0 && gone)
            o->instance = INSTANCE_GONE;
        return rc;
    }
    o->draining = instance_draining(inst);
    object_get_string(inst, "status.phase", phase, sizeof(phase));
    if (!streq(phase, "NotReady"))
        return 0;
    o->instance = INSTANCE_SILENT;
    object_get_string(inst, "spec.fleetName", fleet, sizeof(fleet));
    lease_tracker_ask(set->leases, inst->uid, &seen);
    o->lost_after_ms = lost_after_ms(env->lister, inst->ns, fleet);
    o->last_renewal_ms = seen.known ? seen.changed_ms : env->now_ms;
    struct fleet_ref ref = {inst->ns, fleet};
    o->mass_silence = !seen.known || lease_tracker_mass_silence(set->leases, env->lister,
                                                                &ref, &seen, env->now_ms);
    bool silent = true;
    int rc = 0;
    if (o->job.interruptible && !o->mass_silence && o->now_ms >= job_replace_at_ms(o))
        rc = really_silent(env, inst, &silent, e);
    o->mass_silence |= !silent; /* it is our watch that is broken */
    return rc;
}

/* --- act --------------------------------------------------------------------------- */

static int
ask_stop(const struct reconcile_env *env, const struct object_key *key, const char *uid,
         const char *reason, struct error *e)
{
    json_t *patch = json_pack("{s:{s:s}, s:{s:s, s:s}}", "metadata", "uid", uid, "spec",
                              "desiredState", "Stopped", "stopReason", reason);
    int rc = reconcile_patch(env, &resource_jobs, key, NULL, patch, e);

    json_decref(patch);
    return rc;
}

static void
set_conditions(struct status_edit *s, const struct job_observed *o,
               const struct job_plan *p)
{
    char text[NAME_MAX_LEN + 64];

    if (o->job.bound) {
        snprintf(text, sizeof(text), "on %s", o->job.instance_name);
        status_set_condition(s,
                             &(struct condition){"Scheduled", "Scheduled", text, true});
    }
    if (p->started_ns != 0)
        status_set_condition(s, &(struct condition){"Started", "Started", NULL, true});
    if (phase_is_final(p->phase))
        status_set_condition(
            s, &(struct condition){"Finished", p->reason, p->message, true});
}

static int
write_status(const struct reconcile_env *env, const struct object_key *key,
             const struct job_observed *o, const struct job_plan *p, struct error *e)
{
    auto_status_edit s;

    status_edit_init(&s, o->job.o, o->wall_ns);
    status_set(&s, "phase", phase_name(p->phase));
    status_set(&s, "reason", p->reason);
    status_set(&s, "message", p->message);
    status_set_time(&s, "startedAt", p->started_ns);
    if (phase_is_final(p->phase))
        status_set_time(&s, "finishedAt", p->finished_ns);
    if (p->exit.has_code)
        status_set_int(&s, "exitCode", p->exit.code);
    status_set(&s, "signal", p->exit.signal);
    if (p->log_length >= 0)
        status_set_int(&s, "logLength", p->log_length);
    set_conditions(&s, o, p);
    /* An end is written once, and stays: when the answer to an earlier write was lost,
     * the cache may not show yet that there is one. */
    json_t *patch = status_edit_patch(&s, o->job.o->revision);
    if (patch == NULL)
        return 0;
    int rc = reconcile_patch(env, &resource_jobs, key, "status", patch, e);
    json_decref(patch);
    return rc;
}

static int
drop_finalizer(const struct reconcile_env *env, const struct object_key *key,
               const struct object *o, struct error *e)
{
    json_t *patch = finalizers_without(o, FINALIZER_AGENT);
    int rc = reconcile_patch(env, &resource_jobs, key, NULL, patch, e);

    json_decref(patch);
    return rc == -ERR_NOT_FOUND ? 0 : rc;
}

static int
act(const struct reconcile_env *env, const struct object_key *key,
    const struct job_observed *o, const struct job_plan *p, struct error *e)
{
    int rc = 0;

    if (p->ask_stop != NULL)
        rc = ask_stop(env, key, o->job.o->uid, p->ask_stop, e);
    if (rc == 0 && p->write)
        rc = write_status(env, key, o, p, e);
    /* A status write changes the revision that the finalizer patch names; the event of
     * the write brings us back. */
    if (rc == 0 && p->drop_finalizer && !p->write)
        rc = drop_finalizer(env, key, o->job.o, e);
    return rc;
}

static int
reconcile(const struct reconcile_env *env, const struct object_key *key,
          struct reconcile_result *result, struct error *e)
{
    auto_object *o = lister_find(env->lister, &resource_jobs, key->ns, key->name);
    struct job_observed seen = {.now_ms = env->now_ms, .wall_ns = env->wall_ns};
    struct job_plan plan;
    int rc = 0;

    if (o == NULL)
        return 0;
    job_view_read(o, &seen.job);
    bool judged = !phase_is_final(seen.job.phase) || seen.job.deleting;
    if (seen.job.bound && judged)
        rc = observe_instance(env, &seen, e);
    if (rc < 0)
        return rc;
    job_plan_make(&seen, &plan);
    result->requeue_after_ms = plan.requeue_ms;
    return act(env, key, &seen, &plan, e);
}

/* --- watches ----------------------------------------------------------------------- */

/* Jobs of an instance whose phase changed, or that came or went. */
static void
map_instance(const struct lister *l, const struct object *before,
             const struct object *now, void *state, struct key_sink *keys)
{
    auto_object_list jobs = {0};
    char old_phase[32] = "", phase[32] = "";

    UNUSED(state);
    const struct object *o = now != NULL ? now : before;
    bug_if(o == NULL);
    if (before != NULL && now != NULL) {
        object_get_string(before, "status.phase", old_phase, sizeof(old_phase));
        object_get_string(now, "status.phase", phase, sizeof(phase));
        if (streq(old_phase, phase) &&
            instance_draining(before) == instance_draining(now))
            return;
    }
    lister_index(l, &resource_jobs, INDEX_JOBS_BY_INSTANCE, o->uid, &jobs);
    vec_foreach (j, &jobs.list)
        keys->add(keys, (*j)->ns, (*j)->name);
}

static int
init(struct manager *m, void **state, struct error *e)
{
    UNUSED(e);
    manager_informer(m, &resource_fleets);
    *state = manager_shared(m);
    return 0;
}

static const struct watch_spec watches[] = {
    {.resource = &resource_jobs, .how = WATCH_SELF},
    {.resource = &resource_instances, .how = WATCH_MAPPED, .map = map_instance},
    {.resource = NULL},
};

static const struct informer_index_of indexes[] = {
    {&resource_jobs, {INDEX_JOBS_BY_INSTANCE, job_instance_key}},
    {&resource_instances, {INDEX_INSTANCES_BY_FLEET, instance_fleet_key}},
    {NULL, {NULL, NULL}},
};

const struct controller job_controller = {
    .name = "job",
    .resource = &resource_jobs,
    .watches = watches,
    .indexes = indexes,
    .workers = 4, /* each write waits for a disk */
    .deadline_ms = 60000,
    .backoff_min_ms = 20,
    .backoff_max_ms = 60000,
    .init = init,
    .reconcile = reconcile,
};
