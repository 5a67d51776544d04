/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The assumed set lives in the scheduler (a decision holds at once); here is what came of
 * writing it. A bind whose answer is unknown is written again with the same revision
 * until the answer is definite, and stays assumed meanwhile: nothing is overcommitted by
 * a lost answer.
 */
#include "controllers/job/scheduler_loop.h"

#include <sys/queue.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "controllers/common/job_view.h"
#include "controllers/common/status.h"
#include "controllers/job/scheduler_decode.h"

LOG_MODULE(scheduler);

enum {
    BINDS_MAX = 64,
    REASONS_MAX = 32,
    RETRY_MS = 1000,
    RETRY_HOPELESS_MS = 30000,
    PATH_MAX_LEN = 2048
};

enum write_kind { WRITE_BIND, WRITE_REASON };

/* One patch, from its decision until the cache shows what came of it. */
struct write {
    TAILQ_ENTRY(write) link;
    struct scheduler_loop *l;
    enum write_kind kind;
    char *uid, *ns, *name, *instance;
    json_t *body;
    uint64_t revision; /* that the patch names */
    bool in_flight;
    bool conflict;       /* answered so; an event with a later revision decides */
    bool seen, gone;     /* the cache showed the bind / the deletion before the answer */
    int64_t retry_at_ms; /* 0: no */
};
TAILQ_HEAD(write_list, write);

struct scheduler_loop {
    struct manager *m;
    struct manager_part_ref *part;
    struct scheduler *s;
    const struct informer *jobs;
    struct map *binds; /* job uid -> struct write */
    struct write_list writes;
    size_t n_binds, n_reasons; /* in flight */
};

static const char *
reason_text(const char *code)
{
    static const struct {
        const char *code, *text;
    } texts[] = {
        {"NoInstances", "there is no ready instance in the allowed fleets"},
        {"NoEngine", "no ready instance has the engine that the job needs"},
        {"InsufficientCPU", "no instance has enough free CPU"},
        {"InsufficientMemory", "no instance has enough free memory"},
        {"InsufficientDisk", "no instance has enough free disk"},
        {"InsufficientGPU", "no instance has enough free GPUs of the kind asked for"},
        {"HeldForEarlierJob", "what would fit is kept for a job that waits longer"},
        {"QuotaExceeded", "the quota of the namespace is used up"},
        {"WaitingForMembers", "not all nodes of the run are in the queue yet"},
        {"InsufficientInstances", "not enough instances of one fleet for all nodes"},
    };

    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (streq(texts[i].code, code))
            return texts[i].text;
    return "no instance is of the kind asked for";
}

static void
write_free(struct write *w)
{
    TAILQ_REMOVE(&w->l->writes, w, link);
    if (w->kind == WRITE_BIND)
        map_del(w->l->binds, w->uid);
    json_decref(w->body);
    free(w->uid);
    free(w->ns);
    free(w->name);
    free(w->instance);
    free(w);
}

/* --- telling the scheduler --------------------------------------------------------- */

static void
tell_job(struct scheduler_loop *l, const struct object *o)
{
    struct error e = ERROR_INIT;

    switch (scheduler_standing(o)) {
    case SCHED_OUT:
        scheduler_remove_job(l->s, o->uid);
        break;
    case SCHED_OCCUPIES:
        scheduler_tell_holding(l->s, o);
        break;
    case SCHED_WAITS:
        if (scheduler_tell_waiting(l->s, o, &e) < 0)
            log_warn("job cannot be scheduled", "job=%s/%s error=\"%s\"", o->ns, o->name,
                     e.msg);
        break;
    }
    manager_wake(l->part);
}

/* What the cache knows now, after a write came to nothing. */
static void
tell_cached(struct scheduler_loop *l, const char *uid)
{
    auto_object *o = informer_find_uid(l->jobs, uid);

    if (o != NULL)
        tell_job(l, o);
    else
        scheduler_remove_job(l->s, uid);
    manager_wake(l->part);
}

static bool
is_bound(const struct object *o)
{
    struct span raw;

    return object_path(o, "spec.instanceUID", &raw) && raw.len > 2;
}

/* An event of a job whose bind is under way. False: the event is to be told as usual. */
static bool
bind_event(struct write *w, const struct object *o)
{
    if (is_bound(o)) {
        w->seen = true;
        if (!w->in_flight)
            write_free(w);
        return false;
    }
    if (w->conflict && o->revision > w->revision) {
        write_free(w);
        return false;
    }
    return true; /* from before the bind, or the answer will tell */
}

static void
job_set(void *arg, const struct object *before, const struct object *now, bool initial)
{
    struct scheduler_loop *l = arg;
    struct write *w = map_get(l->binds, now->uid);

    UNUSED(before);
    UNUSED(initial);
    if (w == NULL || !bind_event(w, now))
        tell_job(l, now);
}

static void
job_deleted(void *arg, const struct object *last)
{
    struct scheduler_loop *l = arg;
    struct write *w = map_get(l->binds, last->uid);

    if (w != NULL) {
        w->gone = true;
        if (!w->in_flight)
            write_free(w);
    }
    scheduler_remove_job(l->s, last->uid);
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
    manager_wake(l->part);
}

static void
instance_deleted(void *arg, const struct object *last)
{
    struct scheduler_loop *l = arg;

    scheduler_remove_instance(l->s, last->uid);
    manager_wake(l->part);
}

/* --- writing ----------------------------------------------------------------------- */

static void
retry_later(struct write *w, const struct error *e)
{
    bool hopeless = e->terminal || error_retry(e->code) == ERR_RETRY_SLOW;
    int64_t delay = hopeless ? RETRY_HOPELESS_MS : RETRY_MS;

    if (e->retry_after_ms > delay)
        delay = e->retry_after_ms;
    log_warn_rl("job not written", "job=%s/%s error=\"%s\"", w->ns, w->name, e->msg);
    w->retry_at_ms = manager_now_ms(w->l->m) + delay;
}

static void
bind_failed(struct write *w, const struct error *e)
{
    struct scheduler_loop *l = w->l;

    if (e->code == ERR_NOT_FOUND) {
        scheduler_remove_job(l->s, w->uid);
        write_free(w);
        return;
    }
    if (e->code != ERR_CONFLICT) {
        retry_later(w, e);
        return;
    }
    auto_object *o = informer_find_uid(l->jobs, w->uid);
    w->conflict = true;
    if (o != NULL && o->revision > w->revision) {
        write_free(w);
        tell_job(l, o);
    }
}

static void
bound(struct write *w, struct span body)
{
    auto_object *o = NULL;
    struct error e = ERROR_INIT;

    if (object_from_json(NULL, body.ptr, body.len, &o, &e) < 0) {
        retry_later(w, &e);
        return;
    }
    recorder_event(manager_recorder(w->l->m), &resource_jobs, o, RECORDER_NORMAL,
                   "Scheduled", "placed on instance %s", w->instance);
    if (w->seen || w->gone)
        write_free(w);
}

static void
bind_answered(void *arg, struct span body, const struct error *e)
{
    struct write *w = arg;
    struct scheduler_loop *l = w->l;

    w->in_flight = false;
    l->n_binds--;
    if (e->code == ERR_OK)
        bound(w, body);
    else if (w->seen || w->gone)
        write_free(w);
    else
        bind_failed(w, e);
    manager_wake(l->part);
}

static void
reason_answered(void *arg, struct span body, const struct error *e)
{
    struct write *w = arg;
    struct scheduler_loop *l = w->l;

    UNUSED(body);
    w->in_flight = false;
    l->n_reasons--;
    /* Conflict: the event of the change tells the job again, with what it shows. */
    if (e->code == ERR_OK || e->code == ERR_NOT_FOUND || e->code == ERR_CONFLICT)
        write_free(w);
    else
        retry_later(w, e);
    manager_wake(l->part);
}

static void
send_write(struct write *w)
{
    auto_str path = STR_INIT(PATH_MAX_LEN);
    bool bind = w->kind == WRITE_BIND;

    client_path(&path, &resource_jobs, w->ns, w->name, bind ? NULL : "status");
    struct client_request q = {.method = "PATCH",
                               .path = path.ptr,
                               .content_type = "application/merge-patch+json"};
    w->in_flight = true;
    w->retry_at_ms = 0;
    if (bind)
        w->l->n_binds++;
    else
        w->l->n_reasons++;
    async_json(manager_async(w->l->m), &q, w->body,
               bind ? bind_answered : reason_answered, w);
}

/* Takes body. */
static struct write *
write_new(struct scheduler_loop *l, enum write_kind kind, const struct object *o,
          json_t *body)
{
    struct write *w = xnew(struct write);

    w->l = l;
    w->kind = kind;
    w->uid = xstrdup(o->uid);
    w->ns = xstrdup(o->ns);
    w->name = xstrdup(o->name);
    w->body = body;
    w->revision = o->revision;
    TAILQ_INSERT_TAIL(&l->writes, w, link);
    if (kind == WRITE_BIND)
        map_put(l->binds, w->uid, w);
    return w;
}

static json_t *
bind_body(const struct scheduler_loop *l, const struct object *o,
          const struct sched_decision *d)
{
    json_t *gpus = json_array();
    char revision[24], now[CLOCK_RFC3339_US_LEN];

    for (size_t i = 0; i < d->n_gpus; i++)
        json_array_append_new(gpus, json_string(d->gpu_uuids[i]));
    snprintf(revision, sizeof(revision), "%llu", (unsigned long long)o->revision);
    clock_format_us(manager_wall_ns(l->m), now);
    return json_pack("{s:{s:s, s:{s:s}}, s:{s:s, s:s, s:s, s:s, s:{s:I, s:I, s:I, s:o}}}",
                     "metadata", "resourceVersion", revision, "labels", LABEL_INSTANCE,
                     d->instance_uid, "spec", "instanceName", d->instance_name,
                     "instanceUID", d->instance_uid, "engine",
                     d->engine == SCHED_DOCKER ? "docker" : "process", "boundAt", now,
                     "reservation", "cpuMilli", (json_int_t)d->reserve.cpu_milli,
                     "memoryMiB", (json_int_t)d->reserve.memory_mib, "diskMiB",
                     (json_int_t)d->reserve.disk_mib, "gpus", gpus);
}

static void
start_bind(struct scheduler_loop *l, const struct sched_decision *d)
{
    auto_object *o = informer_find_uid(l->jobs, d->uid);

    if (o == NULL) {
        scheduler_remove_job(l->s, d->uid);
        return;
    }
    struct write *w = write_new(l, WRITE_BIND, o, bind_body(l, o, d));
    w->instance = xstrdup(d->instance_name);
    send_write(w);
}

static void
start_reason(struct scheduler_loop *l, const struct sched_reason *r)
{
    auto_object *o = informer_find_uid(l->jobs, r->uid);
    auto_status_edit s;

    if (o == NULL)
        return;
    status_edit_init(&s, o, manager_wall_ns(l->m));
    status_set(&s, "phase", phase_name(PHASE_SUBMITTED));
    status_set(&s, "reason", r->code);
    status_set(&s, "message", reason_text(r->code));
    status_set_condition(
        &s, &(struct condition){"Scheduled", r->code, reason_text(r->code), false});
    json_t *body = status_edit_patch(&s, o->revision);
    if (body == NULL)
        return;
    recorder_event(manager_recorder(l->m), &resource_jobs, o, RECORDER_NORMAL, "Waiting",
                   "%s: %s", r->code, reason_text(r->code));
    send_write(write_new(l, WRITE_REASON, o, body));
}

/* Writes whose time has come again. Returns when the next one is due; -1: none. */
static int64_t
retry_writes(struct scheduler_loop *l, int64_t now)
{
    int64_t due = -1;
    struct write *w, *next;

    for (w = TAILQ_FIRST(&l->writes); w != NULL; w = next) {
        next = TAILQ_NEXT(w, link);
        if (w->retry_at_ms == 0)
            continue;
        if (w->retry_at_ms > now) {
            if (due < 0 || w->retry_at_ms < due)
                due = w->retry_at_ms;
        } else if (w->kind == WRITE_BIND) {
            send_write(w);
        } else {
            autofree char *uid = xstrdup(w->uid);
            write_free(w);
            if (map_get(l->binds, uid) == NULL)
                tell_cached(l, uid);
        }
    }
    return due;
}

static int64_t
step(void *arg, int64_t now)
{
    struct scheduler_loop *l = arg;
    struct sched_decision d;
    struct sched_reason r;
    int64_t due = retry_writes(l, now);

    scheduler_set_time(l->s, manager_wall_ns(l->m));
    while (l->n_binds < BINDS_MAX) {
        if (scheduler_next(l->s, &d)) {
            start_bind(l, &d);
            continue;
        }
        while (l->n_reasons < REASONS_MAX && scheduler_next_reason(l->s, &r))
            start_reason(l, &r);
        break;
    }
    return due;
}

struct scheduler_loop *
scheduler_loop_new(struct manager *m)
{
    struct scheduler_loop *l = xnew(struct scheduler_loop);
    struct manager_part part = {"scheduler", step, l};
    struct informer *jobs = manager_informer(m, &resource_jobs);
    struct informer_handler on_job = {job_set, job_deleted, NULL, l};
    struct informer_handler on_instance = {instance_set, instance_deleted, NULL, l};

    l->m = m;
    l->s = scheduler_new();
    l->jobs = jobs;
    l->binds = map_new(NULL);
    TAILQ_INIT(&l->writes);
    l->part = manager_add_part(m, &part);
    informer_add_handler(jobs, &on_job);
    informer_add_handler(manager_informer(m, &resource_instances), &on_instance);
    return l;
}

void
scheduler_loop_free(struct scheduler_loop *l)
{
    struct write *w;

    if (l == NULL)
        return;
    while ((w = TAILQ_FIRST(&l->writes)) != NULL)
        write_free(w);
    map_free(l->binds);
    scheduler_free(l->s);
    free(l);
}
