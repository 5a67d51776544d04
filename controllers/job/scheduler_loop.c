/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Watches and the batch. The assumed set lives in the scheduler library (a decision holds
 * at once); scheduler_write.c and scheduler_gang.c have what came of writing it.
 */
#include "controllers/job/scheduler_loop.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "controllers/common/phase.h"
#include "controllers/job/scheduler_internal.h"

LOG_MODULE(scheduler);

/* --- telling the scheduler --------------------------------------------------------- */

void
scheduler_loop_tell(struct scheduler_loop *l, const struct object *o)
{
    struct error e = ERROR_INIT;
    bool placed = scheduler_gang_event(l, o);

    switch (scheduler_standing(o)) {
    case SCHED_OUT:
        scheduler_remove_job(l->s, o->uid);
        break;
    case SCHED_OCCUPIES:
        scheduler_tell_holding(l->s, o);
        break;
    case SCHED_WAITS:
        if (!placed && scheduler_tell_waiting(l->s, o, &e) < 0)
            log_warn("job cannot be scheduled", "job=%s/%s error=\"%s\"", o->ns, o->name,
                     e.msg);
        break;
    }
    l->queue_changed = l->quotas_changed = true;
    manager_wake(l->part);
}

void
scheduler_loop_tell_cached(struct scheduler_loop *l, const char *uid)
{
    auto_object *o = informer_find_uid(l->jobs, uid);

    if (o != NULL)
        scheduler_loop_tell(l, o);
    else
        scheduler_remove_job(l->s, uid);
    manager_wake(l->part);
}

static void
job_set(void *arg, const struct object *before, const struct object *now, bool initial)
{
    struct scheduler_loop *l = arg;

    UNUSED(before);
    UNUSED(initial);
    if (scheduler_write_event(l, now))
        scheduler_gang_event(l, now);
    else
        scheduler_loop_tell(l, now);
}

static void
job_deleted(void *arg, const struct object *last)
{
    struct scheduler_loop *l = arg;

    scheduler_write_gone(l, last->uid);
    scheduler_remove_job(l->s, last->uid);
    scheduler_gang_job_gone(l, last);
    l->queue_changed = l->quotas_changed = true;
    manager_wake(l->part);
}

static void
instance_set(void *arg, const struct object *before, const struct object *now,
             bool initial)
{
    struct scheduler_loop *l = arg;

    UNUSED(before);
    UNUSED(initial);
    scheduler_tell_instance(l->s, now);
    l->queue_changed = true;
    manager_wake(l->part);
}

static void
instance_deleted(void *arg, const struct object *last)
{
    struct scheduler_loop *l = arg;

    scheduler_remove_instance(l->s, last->uid);
    scheduler_gang_instance_gone(l, last->uid);
    l->queue_changed = true;
    manager_wake(l->part);
}

static void
quota_set(void *arg, const struct object *before, const struct object *now, bool initial)
{
    struct scheduler_loop *l = arg;
    struct span was, is;

    UNUSED(initial);
    if (before != NULL && before->facts.deleting_s == now->facts.deleting_s &&
        object_path(before, "spec", &was) && object_path(now, "spec", &is) &&
        was.len == is.len && memcmp(was.ptr, is.ptr, is.len) == 0)
        return; /* its status */
    scheduler_quota_set(l, now);
    manager_wake(l->part);
}

static void
quota_deleted(void *arg, const struct object *last)
{
    struct scheduler_loop *l = arg;

    scheduler_remove_quota(l->s, last->uid);
    manager_wake(l->part);
}

/* Only the placement matters. */
static void
run_set(void *arg, const struct object *before, const struct object *now, bool initial)
{
    struct scheduler_loop *l = arg;
    struct span raw;

    UNUSED(before);
    UNUSED(initial);
    if (TAILQ_EMPTY(&l->gang_list) && !object_path(now, "status.placement", &raw))
        return;
    map_put(l->dirty_runs, now->uid, l);
    manager_wake(l->part);
}

static void
run_deleted(void *arg, const struct object *last)
{
    struct scheduler_loop *l = arg;

    scheduler_gang_run_gone(l, last->uid);
    manager_wake(l->part);
}

/* --- the batch --------------------------------------------------------------------- */

static void
carry_out(struct scheduler_loop *l, const struct sched_decision *d)
{
    auto_object *o = informer_find_uid(l->jobs, d->uid);

    if (o == NULL) {
        scheduler_remove_job(l->s, d->uid);
        return;
    }
    if (d->gang != NULL) {
        scheduler_gang_decided(l, o, d);
        return;
    }
    struct bind_target t = {.instance_uid = d->instance_uid,
                            .instance_name = d->instance_name,
                            .engine = d->engine,
                            .reserve = &d->reserve,
                            .gpus = d->gpu_uuids,
                            .n_gpus = d->n_gpus};
    scheduler_bind(l, o, &t);
}

static void
preempt(struct scheduler_loop *l, const struct sched_preemption *p)
{
    auto_object *o = informer_find_uid(l->jobs, p->uid);

    if (o == NULL)
        return;
    recorder_event(manager_recorder(l->m), &resource_jobs, o, RECORDER_WARNING,
                   REASON_PREEMPTED, "gives way to job %s%s", p->for_name,
                   p->reclaimed ? ", whose namespace takes its own share back" : "");
    scheduler_stop_gang(l, o, "Stopped", REASON_PREEMPTED);
}

static int64_t
earlier(int64_t a, int64_t b)
{
    return b >= 0 && (a < 0 || b < a) ? b : a;
}

static int64_t
look_due(const struct scheduler_loop *l, int64_t now)
{
    int64_t at = scheduler_due_ns(l->s), wall = manager_wall_ns(l->m);

    if (at == 0)
        return -1;
    return at <= wall ? now : now + (at - wall) / 1000000 + 1;
}

static int64_t
step(void *arg, int64_t now)
{
    struct scheduler_loop *l = arg;
    struct sched_decision d;
    struct sched_preemption p;
    struct sched_reason r;
    int64_t due = scheduler_retry_writes(l, now);

    scheduler_set_time(l->s, manager_wall_ns(l->m));
    due = earlier(due, scheduler_gangs_step(l, now));
    while (l->n_binds < BINDS_MAX) {
        if (scheduler_next(l->s, &d)) {
            carry_out(l, &d);
            continue;
        }
        while (scheduler_next_preemption(l->s, &p))
            preempt(l, &p);
        while (l->n_reasons < REASONS_MAX && scheduler_next_reason(l->s, &r))
            scheduler_write_reason(l, &r);
        break;
    }
    due = earlier(due, scheduler_gangs_step(l, now));
    due = earlier(due, look_due(l, now));
    return earlier(due, scheduler_reports_step(l, now));
}

/* --- life -------------------------------------------------------------------------- */

static void
watch(struct scheduler_loop *l, struct manager *m)
{
    static const struct informer_index by_gang = {INDEX_JOBS_BY_GANG,
                                                  scheduler_gang_index};
    struct informer *jobs = manager_informer(m, &resource_jobs);
    struct informer *runs = manager_informer(m, &resource_runs);
    struct informer *instances = manager_informer(m, &resource_instances);
    struct informer *quotas = manager_informer(m, &resource_quotas);
    struct informer_handler on_quota = {quota_set, quota_deleted, NULL, l};
    struct informer_handler on_job = {job_set, job_deleted, NULL, l};
    struct informer_handler on_run = {run_set, run_deleted, NULL, l};
    struct informer_handler on_instance = {instance_set, instance_deleted, NULL, l};

    l->jobs = jobs;
    l->runs = runs;
    l->instances = instances;
    l->quotas = quotas;
    l->states = manager_informer(m, &resource_queuestates);
    informer_add_index(jobs, &by_gang);
    informer_add_handler(jobs, &on_job);
    informer_add_handler(runs, &on_run);
    informer_add_handler(quotas, &on_quota);
    informer_add_handler(instances, &on_instance);
}

struct scheduler_loop *
scheduler_loop_new(struct manager *m)
{
    struct scheduler_loop *l = xnew(struct scheduler_loop);
    struct manager_part part = {"scheduler", step, l};

    l->m = m;
    l->s = scheduler_new();
    l->binds = map_new(NULL);
    l->stops = map_new(NULL);
    l->gangs = map_new(NULL);
    l->dirty_runs = map_new(NULL);
    l->reports = scheduler_reports_new();
    TAILQ_INIT(&l->writes);
    TAILQ_INIT(&l->gang_list);
    l->part = manager_add_part(m, &part);
    watch(l, m);
    return l;
}

void
scheduler_loop_free(struct scheduler_loop *l)
{
    if (l == NULL)
        return;
    scheduler_writes_free(l);
    scheduler_gangs_free(l);
    map_free(l->reports);
    scheduler_free(l->s);
    free(l);
}
