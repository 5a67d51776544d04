/* SPDX-License-Identifier: Apache-2.0 */
/* Observes a Run and its Jobs, plans, acts. */
#include "base/mem.h"
#include "control/controller.h"
#include "control/manager.h"
#include "controllers/run/run_act.h"
#include "controllers/run/run_depends.h"
#include "controllers/run/run_derive.h"
#include "controllers/run/run_history.h"
#include "controllers/run/run_priority.h"
#include "controllers/run/run_profile.h"
#include "controllers/run/run_replica.h"
#include "controllers/shared.h"

struct job_views {
    vec(struct job_view) list;
    vec(const char *) taken; /* names of jobs of older Runs of the name */
};

static int
compare(int64_t x, int64_t y)
{
    return (x > y) - (x < y);
}

static int
by_place(const void *a, const void *b)
{
    const struct job_view *x = a, *y = b;
    int c = compare(x->replica, y->replica);

    if (c == 0)
        c = compare(x->attempt, y->attempt);
    return c != 0 ? c : compare(x->node, y->node);
}

/* Jobs of this Run into views. */
static void
observe_jobs(const struct object *run, const struct object_list *jobs,
             struct job_views *ret)
{
    vec_foreach (o, &jobs->list) {
        struct job_view v;
        job_view_read(*o, &v);
        if (streq(v.run_uid, run->uid))
            vec_push(&ret->list, v);
        else
            vec_push(&ret->taken, (*o)->name);
    }
    if (ret->list.len > 1)
        qsort(ret->list.items, ret->list.len, sizeof(*ret->list.items), by_place);
}

/* The status names a Job that the cache does not have: only the server's answer proves
 * that it was deleted. */
static int
confirm_deleted(const struct reconcile_env *env, const struct run_view *r,
                struct error *e)
{
    char name[NAME_MAX_LEN];
    auto_object *job = NULL;

    object_get_string(r->o, "status.jobName", name, sizeof(name));
    int rc = client_get(env->client, &resource_jobs, r->o->ns, name, &job, e);
    if (rc == -ERR_NOT_FOUND)
        return 0;
    if (rc < 0)
        return rc;
    if (streq(job->uid, r->job_uid))
        return error_set(e, ERR_CONFLICT, "the cache does not have job %s yet", name);
    return 0;
}

static int
confirm_absent(const struct reconcile_env *env, const struct object *run,
               const struct job_new *n, struct error *e)
{
    autofree char *name = run_job_name(run->name, n);
    auto_object *job = NULL;
    char run_uid[UID_MAX];

    int rc = client_get(env->client, &resource_jobs, run->ns, name, &job, e);
    if (rc == -ERR_NOT_FOUND)
        return 0;
    if (rc < 0)
        return rc;
    object_get_string(job, "spec.runUID", run_uid, sizeof(run_uid));
    if (streq(run_uid, run->uid))
        return error_set(e, ERR_CONFLICT, "the cache does not have job %s yet", name);
    return 0;
}

/* May another attempt have been made after the one whose last node is jobs[last]? Not
 * after success, nor where neither retry nor schedule asks for one. */
static bool
has_next(const struct run_observed *seen, size_t last)
{
    const struct job_view *end = &seen->jobs[last];

    if (end->phase == PHASE_DONE)
        return false;
    for (const struct job_view *j = end; j >= seen->jobs; j--) {
        if (j->replica != end->replica || j->attempt != end->attempt)
            break;
        if (retry_covers(&seen->run, event_of(j)))
            return true;
    }
    return seen->run.n_crons > 0;
}

/* A Run is not over while an attempt may exist that the cache does not have: the answer
 * to its creation may have got lost. Nodes are created in order, so the first tells. */
static int
confirm_no_next(const struct reconcile_env *env, const struct run_observed *seen,
                struct error *e)
{
    const struct run_view *r = &seen->run;
    int rc = 0;

    if (seen->n_jobs == 0)
        return confirm_absent(env, r->o, &(struct job_new){r->array.first, 0, 0}, e);
    for (size_t i = 0; i < seen->n_jobs && rc == 0; i++) {
        const struct job_view *j = &seen->jobs[i];
        bool last = i + 1 == seen->n_jobs || seen->jobs[i + 1].replica != j->replica;
        if (last && has_next(seen, i))
            rc = confirm_absent(env, r->o,
                                &(struct job_new){j->replica, 0, j->attempt + 1}, e);
    }
    return rc;
}

struct texts {
    char invalid[MESSAGE_MAX_LEN], depends[MESSAGE_MAX_LEN];
};

/* Why the Run cannot be carried out, or "". A foreign API server has not checked it. */
static void
check_spec(const struct reconcile_env *env, const struct run_view *r,
           char why[MESSAGE_MAX_LEN])
{
    struct error e = ERROR_INIT;
    json_t *job = NULL;

    why[0] = '\0';
    for (int64_t node = 0; node < r->nodes && why[0] == '\0'; node++) {
        struct job_new n = {r->array.first, node, 0};
        if (run_derive_job(r, &n, env->wall_ns, &job, &e) < 0)
            snprintf(why, MESSAGE_MAX_LEN, "%s", e.msg);
        else
            json_decref(job);
    }
}

/* The Run is what its Profile makes of it: that is to be named where the Run alone would
 * do. */
static void
blame_profile(const struct object *o, char why[MESSAGE_MAX_LEN])
{
    struct error ignored = ERROR_INIT;
    struct run_view alone;
    char name[64];
    size_t len = strlen(why);

    if (run_view_read(o, &alone, &ignored) < 0)
        return;
    if (object_get_string(o, "status.profile", name, sizeof(name)) ||
        object_get_string(o, "spec.profile", name, sizeof(name)))
        snprintf(why + len, MESSAGE_MAX_LEN - len, " (profile \"%s\" is applied)", name);
    else
        snprintf(why + len, MESSAGE_MAX_LEN - len, " (the default profile is applied)");
}

/* The Run as it is to be carried out: *ret is to be dropped. What is wrong with it goes
 * into why; only a server that cannot be asked is an error. */
static int
read_run(const struct reconcile_env *env, const struct object *o, bool begun,
         struct object **ret, struct run_view *view, char why[MESSAGE_MAX_LEN],
         struct error *e)
{
    struct error bad = ERROR_INIT;
    auto_object *profiled = NULL;
    int rc = run_with_profile(env, o, begun, &profiled, &bad);

    if (rc == 0)
        rc = run_with_priority(env, profiled, begun, ret, &bad);
    if (rc < 0 && rc != -ERR_NOT_FOUND && rc != -ERR_INVALID) {
        *e = bad;
        return rc;
    }
    if (rc < 0) {
        snprintf(why, MESSAGE_MAX_LEN, "%s", bad.msg);
        *ret = object_ref(o);
    }
    if (run_view_read(*ret, view, &bad) < 0 && why[0] == '\0') {
        snprintf(why, MESSAGE_MAX_LEN, "%s", bad.msg);
        blame_profile(o, why);
    }
    return 0;
}

/* What a Run without Jobs looks at before it starts. */
static int
before_jobs(const struct reconcile_env *env, const struct object *o,
            struct run_observed *seen, struct texts *t, struct error *e)
{
    if (seen->run.job_uid[0] != '\0') {
        int rc = confirm_deleted(env, &seen->run, e);
        if (rc < 0)
            return rc;
    }
    if (t->invalid[0] == '\0')
        check_spec(env, &seen->run, t->invalid);
    seen->depends = run_depends(env->lister, o, t->depends, &seen->dependencies);
    return 0;
}

static int
plan_and_act(const struct reconcile_env *env, const struct object_key *key,
             const struct object *o, const struct run_observed *seen, int64_t *requeue_ms,
             struct error *e)
{
    auto_run_plan plan = {0};
    bool over = phase_is_final(seen->run.phase);

    run_plan_make(seen, &plan);
    if (over && (plan.drop_finalizer || plan.delete_run) &&
        run_depends_unseen(env->lister, o))
        return 0; /* they wake it */
    bool ends = plan.drop_finalizer || (phase_is_final(plan.phase) && !over);
    if (ends && plan.phase != PHASE_DONE) {
        int rc = confirm_no_next(env, seen, e);
        if (rc < 0)
            return rc;
    }
    *requeue_ms = plan.requeue_ms;
    return run_act(env, key, seen, &plan, e);
}

static int
reconcile_run(const struct reconcile_env *env, const struct object_key *key,
              const struct object *o, struct job_views *views,
              struct reconcile_result *result, struct error *e)
{
    auto_object *merged = NULL;
    struct texts t = {"", ""};
    struct run_observed seen = {.wall_ns = env->wall_ns, .depends_message = t.depends};
    autofree char *run_key = xasprintf("%s/%s", key->ns, key->name);
    auto_object_list jobs = {0};

    lister_index(env->lister, &resource_jobs, INDEX_JOBS_BY_RUN, run_key, &jobs);
    observe_jobs(o, &jobs, views);
    seen.jobs = views->list.items;
    seen.n_jobs = views->list.len;
    seen.taken = views->taken.items;
    seen.n_taken = views->taken.len;
    int rc = read_run(env, o, seen.n_jobs > 0, &merged, &seen.run, t.invalid, e);
    if (rc < 0)
        return rc;
    bool over = phase_is_final(seen.run.phase);
    if (seen.n_jobs == 0 && !over)
        rc = before_jobs(env, o, &seen, &t, e);
    seen.invalid = t.invalid[0] == '\0' ? NULL : t.invalid;
    if (rc == 0)
        rc = plan_and_act(env, key, o, &seen, &result->requeue_after_ms, e);
    json_decref(seen.dependencies);
    if (rc == 0 && over && !seen.run.deleting)
        rc = run_history_prune(env, o, e);
    return rc;
}

static int
reconcile(const struct reconcile_env *env, const struct object_key *key,
          struct reconcile_result *result, struct error *e)
{
    auto_object *o = lister_find(env->lister, &resource_runs, key->ns, key->name);
    struct job_views views = {0};

    if (o == NULL)
        return 0;
    int rc = reconcile_run(env, key, o, &views, result, e);
    vec_done(&views.list);
    vec_done(&views.taken);
    return rc;
}

/* By name, not by owner: a Run also waits for the last Job of an older one of its name.
 */
static void
map_job(const struct lister *l, const struct object *before, const struct object *now,
        void *state, struct key_sink *keys)
{
    const struct object *o = now != NULL ? now : before;
    char run[NAME_MAX_LEN];

    UNUSED(l);
    UNUSED(state);
    if (object_get_string(o, "spec.runName", run, sizeof(run)))
        keys->add(keys, o->ns, run);
}

static void
map_run(const struct lister *l, const struct object *before, const struct object *now,
        void *state, struct key_sink *keys)
{
    UNUSED(state);
    run_depends_map(l, before, now, keys);
}

static void
map_namespace(const struct lister *l, const struct object *before,
              const struct object *now, void *state, struct key_sink *keys)
{
    UNUSED(before);
    UNUSED(state);
    if (now != NULL)
        run_history_map(l, now, keys);
}

static int
init(struct manager *m, void **state, struct error *e)
{
    UNUSED(e);
    manager_informer(m, &resource_profiles);
    manager_informer(m, &resource_priorityclasses);
    manager_informer(m, &resource_instances); /* addresses of nodes */
    *state = manager_shared(m);
    return 0;
}

static const struct watch_spec watches[] = {
    {.resource = &resource_runs, .how = WATCH_SELF},
    {.resource = &resource_runs, .how = WATCH_MAPPED, .map = map_run},
    {.resource = &resource_jobs, .how = WATCH_MAPPED, .map = map_job},
    {.resource = &resource_namespaces, .how = WATCH_MAPPED, .map = map_namespace},
    {.resource = NULL},
};

static const struct informer_index_of indexes[] = {
    {&resource_jobs, {INDEX_JOBS_BY_RUN, job_run_key}},
    {&resource_runs, {INDEX_RUNS_WAITING, run_waiting_key}},
    {&resource_runs, {INDEX_RUNS_FINISHED, run_finished_key}},
    {&resource_profiles, {INDEX_PROFILES, profile_namespace_key}},
    {NULL, {NULL, NULL}},
};

const struct controller run_controller = {
    .name = "run",
    .resource = &resource_runs,
    .watches = watches,
    .indexes = indexes,
    .workers = 4, /* each write waits for a disk */
    .deadline_ms = 60000,
    .backoff_min_ms = 20,
    .backoff_max_ms = 60000,
    .init = init,
    .reconcile = reconcile,
};
