/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each write is safe to repeat, and a crash between any two of them is found by the next
 * observation: the Job's name is deterministic, the rest is patches towards the plan. The
 * Job is created before the finalizer is set, since that is one disk write less between a
 * submission and its start; a Run deleted in between takes its Job along as its owner.
 */
#include "controllers/run/run_act.h"

#include "base/mem.h"
#include "controllers/common/status.h"
#include "controllers/run/run_derive.h"

static int
create_job(const struct reconcile_env *env, const struct run_observed *o,
           const struct run_plan *p, struct error *e)
{
    json_t *job = NULL;
    int rc = run_derive_job(&o->run, p->attempt, env->wall_ns, &job, e);

    if (rc < 0)
        return rc;
    rc = reconcile_create(env, &resource_jobs, o->run.o->ns, job, NULL, e);
    json_decref(job);
    /* EXISTS: the cache is behind. The next run sees whose it is. */
    return rc;
}

static int
stop_job(const struct reconcile_env *env, const struct run_plan *p, struct error *e)
{
    struct object_key key = {p->stop->o->ns, p->stop->o->name};
    json_t *patch =
        json_pack("{s:{s:s}, s:{s:s, s:s}}", "metadata", "uid", p->stop->o->uid, "spec",
                  "desiredState", desired_name(p->stop_to), "stopReason", p->stop_reason);
    int rc = reconcile_patch(env, &resource_jobs, &key, NULL, patch, e);

    json_decref(patch);
    return rc == -ERR_NOT_FOUND ? 0 : rc;
}

static int
patch_finalizers(const struct reconcile_env *env, const struct object_key *key,
                 json_t *patch, struct error *e)
{
    int rc = reconcile_patch(env, &resource_runs, key, NULL, patch, e);

    json_decref(patch);
    return rc == -ERR_NOT_FOUND ? 0 : rc;
}

/* --- status ------------------------------------------------------------------------ */

static void
set_job_facts(struct status_edit *s, const struct run_plan *p)
{
    const struct job_view *j = p->job;

    if (p->create_job || j == NULL) {
        if (p->create_job)
            status_set_int(s, "attempt", p->attempt);
        return; /* the new Job's own facts follow with its event */
    }
    status_set_int(s, "attempt", j->attempt);
    status_set(s, "jobName", j->o->name);
    status_set(s, "jobUID", j->o->uid);
    status_set(s, "instanceName", j->instance_name);
    if (j->exit.has_code)
        status_set_int(s, "exitCode", j->exit.code);
    else
        status_unset(s, "exitCode");
    status_set(s, "signal", j->exit.signal);
}

static void
set_conditions(struct status_edit *s, const struct run_plan *p)
{
    bool over = phase_is_final(p->phase);
    char on[NAME_MAX_LEN + 16] = "";

    status_set_condition(
        s, &(struct condition){"Accepted", p->accepted ? "Accepted" : "InvalidSpec",
                               p->accepted ? NULL : p->message, p->accepted});
    if (p->wait_reason != NULL) {
        status_set_condition(
            s, &(struct condition){"Scheduled", p->wait_reason, p->wait_message, false});
    } else if (p->job != NULL && p->job->bound) {
        snprintf(on, sizeof(on), "on %s", p->job->instance_name);
        status_set_condition(s, &(struct condition){"Scheduled", "Scheduled", on, true});
    }
    if (p->job != NULL && !p->create_job &&
        (p->job->started_ns != 0 || p->job->agent_started_ns != 0))
        status_set_condition(s, &(struct condition){"Started", "Started", NULL, true});
    else if (p->create_job && status_condition_true(s, "Started"))
        status_set_condition(s, &(struct condition){"Started", "Retrying", NULL, false});
    if (over)
        status_set_condition(
            s, &(struct condition){"Finished", p->reason, p->message, true});
}

struct before {
    bool scheduled, started, finished;
};

static void
say_end(const struct reconcile_env *env, const struct object *run,
        const struct run_plan *p)
{
    bool bad = p->phase == PHASE_FAILED;

    recorder_event(env->recorder, &resource_runs, run,
                   bad ? RECORDER_WARNING : RECORDER_NORMAL, phase_name(p->phase),
                   "%s%s%s", p->reason, p->message[0] != '\0' ? ": " : "", p->message);
}

static void
say(const struct reconcile_env *env, const struct run_observed *o,
    const struct run_plan *p, const struct before *b)
{
    const struct object *run = o->run.o;
    bool changed = p->phase != o->run.phase;

    if (p->create_job)
        recorder_event(env->recorder, &resource_runs, run, RECORDER_NORMAL, "Submitted",
                       "created job %s-0-0-%lld", run->name, (long long)p->attempt);
    else if (p->wait_reason != NULL && streq(p->wait_reason, "RetryBackoff") && changed)
        recorder_event(env->recorder, &resource_runs, run, RECORDER_WARNING, "Retrying",
                       "%s", p->wait_message);
    if (p->job != NULL && !b->scheduled && p->wait_reason == NULL && p->job->bound)
        recorder_event(env->recorder, &resource_runs, run, RECORDER_NORMAL, "Scheduled",
                       "job %s is placed on instance %s (engine %s)", p->job->o->name,
                       p->job->instance_name, p->job->engine);
    if (changed && p->phase == PHASE_PULLING)
        recorder_event(env->recorder, &resource_runs, run, RECORDER_NORMAL, "Pulling",
                       "the image is being pulled");
    if (p->job != NULL && !b->started && !p->create_job &&
        (p->job->started_ns != 0 || p->job->agent_started_ns != 0))
        recorder_event(env->recorder, &resource_runs, run, RECORDER_NORMAL, "Started",
                       "job %s has started", p->job->o->name);
    if (changed && p->phase == PHASE_TERMINATING)
        recorder_event(env->recorder, &resource_runs, run, RECORDER_NORMAL, "Stopping",
                       "%s", p->reason);
    if (changed && p->phase == PHASE_UNKNOWN)
        recorder_event(env->recorder, &resource_runs, run, RECORDER_WARNING, "Unknown",
                       "%s: %s", p->reason, p->message);
    if (!b->finished && phase_is_final(p->phase))
        say_end(env, run, p);
}

static int
write_status(const struct reconcile_env *env, const struct object_key *key,
             const struct run_observed *o, const struct run_plan *p, struct error *e)
{
    auto_status_edit s = {0};

    status_edit_init(&s, o->run.o, env->wall_ns);
    struct before b = {status_condition_true(&s, "Scheduled"),
                       status_condition_true(&s, "Started"),
                       status_condition_true(&s, "Finished")};
    status_set(&s, "phase", phase_name(p->phase));
    status_set(&s, "reason", p->reason);
    status_set(&s, "message", p->message);
    if (json_object_get(s.current, "submittedAt") == NULL)
        status_set_time(&s, "submittedAt", o->run.created_ns);
    if (p->started_ns != 0 && o->run.started_ns == 0)
        status_set_time(&s, "startedAt", p->started_ns);
    if (phase_is_final(p->phase) && o->run.finished_ns == 0)
        status_set_time(&s, "finishedAt", p->finished_ns);
    set_job_facts(&s, p);
    set_conditions(&s, p);
    /* An end is written once, whatever the cache does not show yet. */
    json_t *patch =
        status_edit_patch(&s, phase_is_final(p->phase) ? o->run.o->revision : 0);
    if (patch == NULL)
        return 0;
    int rc = reconcile_patch(env, &resource_runs, key, "status", patch, e);
    json_decref(patch);
    if (rc == -ERR_NOT_FOUND)
        return 0;
    if (rc == 0)
        say(env, o, p, &b);
    return rc;
}

int
run_act(const struct reconcile_env *env, const struct object_key *key,
        const struct run_observed *o, const struct run_plan *p, struct error *e)
{
    const struct object *run = o->run.o;
    int rc = 0;

    if (p->drop_finalizer)
        return patch_finalizers(env, key, finalizers_without(run, FINALIZER_RUN), e);
    if (p->create_job)
        rc = create_job(env, o, p, e);
    if (rc == 0 && p->stop != NULL)
        rc = stop_job(env, p, e);
    if (rc == 0 && p->add_finalizer)
        rc = patch_finalizers(env, key, finalizers_with(run, FINALIZER_RUN), e);
    if (rc == 0 && p->write)
        rc = write_status(env, key, o, p, e);
    return rc;
}
