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
#include "controllers/run/run_ssh.h"

struct creation {
    const struct run_observed *o;
    const struct run_plan *p;
};

static int
create_job(void *arg, const struct reconcile_env *env, size_t i, struct error *e)
{
    const struct creation *c = arg;
    const struct run_view *run = &c->o->run;
    json_t *job = NULL;
    int rc = run_derive_job(run, &c->p->create.items[i], env->wall_ns, &job, e);

    if (rc < 0)
        return rc;
    rc = reconcile_create(env, &resource_jobs, run->o->ns, job, NULL, e);
    json_decref(job);
    /* EXISTS: the cache is behind. The next run sees whose it is. */
    return rc;
}

/* The pair outlives attempts; it goes with the Run. */
static int
create_ssh_key(const struct reconcile_env *env, const struct object *run, struct error *e)
{
    autofree char *name = run_ssh_secret_name(run->name);
    auto_object *have = NULL;
    int rc = client_get(env->client, &resource_secrets, run->ns, name, &have, e);

    if (rc != -ERR_NOT_FOUND) {
        if (rc == 0 && !object_owned_by(have, run->uid))
            return error_set(e, ERR_CONFLICT,
                             "secret %s is another's: delete it, or name the run anew",
                             name);
        return rc;
    }
    json_t *secret = run_ssh_secret(run, name);
    rc = reconcile_create(env, &resource_secrets, run->ns, secret, NULL, e);
    json_decref(secret);
    return rc;
}

static int
patch_job(const struct reconcile_env *env, const struct job_view *j, json_t *patch,
          struct error *e)
{
    struct object_key key = {j->o->ns, j->o->name};
    int rc = reconcile_patch(env, &resource_jobs, &key, NULL, patch, e);

    json_decref(patch);
    return rc == -ERR_NOT_FOUND ? 0 : rc;
}

static int
stop_job(void *arg, const struct reconcile_env *env, size_t i, struct error *e)
{
    const struct run_plan *p = arg;
    const struct job_stop *s = &p->stop.items[i];

    return patch_job(env, s->job,
                     json_pack("{s:{s:s}, s:{s:s, s:s}}", "metadata", "uid",
                               s->job->o->uid, "spec", "desiredState",
                               desired_name(s->to), "stopReason", s->reason),
                     e);
}

/* A Job that waits follows the Run's priority. */
static int
set_priorities(const struct reconcile_env *env, const struct run_observed *o,
               const struct run_plan *p, struct error *e)
{
    int rc = 0;

    vec_foreach (j, &p->requeue.list) {
        rc = patch_job(env, *j,
                       json_pack("{s:{s:s}, s:{s:I}}", "metadata", "uid", (*j)->o->uid,
                                 "spec", "priority", (json_int_t)o->run.priority),
                       e);
        if (rc < 0)
            break;
    }
    return rc;
}

static int
forget_jobs(const struct reconcile_env *env, const struct run_plan *p, struct error *e)
{
    int rc = 0;

    vec_foreach (j, &p->forget.list) {
        struct object_key key = {(*j)->o->ns, (*j)->o->name};
        rc = reconcile_delete(env, &resource_jobs, &key, (*j)->o->uid, e);
        if (rc < 0 && rc != -ERR_NOT_FOUND)
            return rc;
    }
    return 0;
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

    if (p->create.len > 0 || j == NULL) {
        if (p->create.len > 0)
            status_set_int(s, "attempt", p->create.items[0].attempt);
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
set_times(struct status_edit *s, const struct run_observed *o, const struct run_plan *p)
{
    if (json_object_get(s->current, "submittedAt") == NULL)
        status_set_time(s, "submittedAt", o->run.created_ns);
    if (p->began) {
        status_set_time(s, "lastStartAt",
                        o->run.next_start_ns != 0 ? o->run.next_start_ns : o->wall_ns);
        status_set_time(s, "startedAt", 0);
        status_unset(s, "exitCode");
        status_unset(s, "signal");
    } else if (p->started_ns != 0 && o->run.started_ns == 0) {
        status_set_time(s, "startedAt", p->started_ns);
    }
    if (o->run.n_crons > 0)
        status_set_time(s, "nextStartAt",
                        phase_is_final(p->phase) ? 0 : p->next_start_ns);
    if (phase_is_final(p->phase) && o->run.finished_ns == 0)
        status_set_time(s, "finishedAt", p->finished_ns);
}

static void
set_elements(struct status_edit *s, const struct run_observed *o,
             const struct run_plan *p)
{
    const struct run_array *a = &o->run.array;

    if (o->run.has_array)
        status_set_json(s, "replicas",
                        json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "total",
                                  (json_int_t)(a->last - a->first + 1), "started",
                                  (json_int_t)p->elements_started, "waiting",
                                  (json_int_t)p->counts.waiting, "active",
                                  (json_int_t)p->counts.active, "done",
                                  (json_int_t)p->counts.done, "failed",
                                  (json_int_t)p->counts.failed));
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
    if (p->job != NULL && p->create.len == 0 &&
        (p->job->started_ns != 0 || p->job->agent_started_ns != 0))
        status_set_condition(s, &(struct condition){"Started", "Started", NULL, true});
    else if (p->create.len > 0 && status_condition_true(s, "Started"))
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
say_created(const struct reconcile_env *env, const struct object *run,
            const struct run_plan *p)
{
    autofree char *name = run_job_name(run->name, &p->create.items[0]);

    if (p->create.len == 1)
        recorder_event(env->recorder, &resource_runs, run, RECORDER_NORMAL, "Submitted",
                       "created job %s", name);
    else
        recorder_event(env->recorder, &resource_runs, run, RECORDER_NORMAL, "Submitted",
                       "created %zu jobs from %s on", p->create.len, name);
}

static void
say(const struct reconcile_env *env, const struct run_observed *o,
    const struct run_plan *p, const struct before *b)
{
    const struct object *run = o->run.o;
    bool changed = p->phase != o->run.phase;

    if (p->create.len > 0)
        say_created(env, run, p);
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
    if (p->job != NULL && !b->started && p->create.len == 0 &&
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
    set_job_facts(&s, p);
    set_times(&s, o, p);
    set_elements(&s, o, p);
    if (o->dependencies != NULL)
        status_set_json(&s, "dependencies", json_incref(o->dependencies));
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

static int
act_on_jobs(const struct reconcile_env *env, const struct run_observed *o,
            const struct run_plan *p, struct error *e)
{
    int rc = 0;

    if (p->create.len > 0 && o->run.nodes > 1)
        rc = create_ssh_key(env, o->run.o, e);
    if (rc == 0)
        rc = reconcile_each(env, p->create.len, create_job, &(struct creation){o, p}, e);
    if (rc == 0)
        rc = reconcile_each(env, p->stop.len, stop_job, (void *)(uintptr_t)p, e);
    if (rc == 0)
        rc = run_release(env, o, p, e);
    if (rc == 0)
        rc = set_priorities(env, o, p, e);
    return rc;
}

int
run_act(const struct reconcile_env *env, const struct object_key *key,
        const struct run_observed *o, const struct run_plan *p, struct error *e)
{
    const struct object *run = o->run.o;

    if (p->drop_finalizer)
        return patch_finalizers(env, key, finalizers_without(run, FINALIZER_RUN), e);
    if (p->delete_run)
        return reconcile_delete(env, &resource_runs, key, run->uid, e);
    int rc = act_on_jobs(env, o, p, e);
    if (rc == 0 && p->add_finalizer)
        rc = patch_finalizers(env, key, finalizers_with(run, FINALIZER_RUN), e);
    if (rc == 0 && p->write)
        rc = write_status(env, key, o, p, e);
    if (rc == 0)
        rc = forget_jobs(env, p, e);
    return rc;
}
