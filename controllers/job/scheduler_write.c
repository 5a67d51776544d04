/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Patches of Jobs. A bind whose answer is unknown is written again with the same revision
 * until the answer is definite, and stays assumed meanwhile: nothing is overcommitted by
 * a lost answer. A stop is written again with each new revision of its Job until the Job
 * is told, whoever told it.
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "controllers/common/job_view.h"
#include "controllers/common/status.h"
#include "controllers/job/scheduler_internal.h"

LOG_MODULE(scheduler);

enum { PATH_MAX_LEN = 2048 };

static const char *
reason_text(const char *code)
{
    static const struct {
        const char *code, *text;
    } texts[] = {
        {"NoInstances", "there is no ready instance in the allowed fleets"},
        {"NoEngine", "no ready instance has the engine that the job needs"},
        {"NoRootFileSystem", "no ready instance gives jobs a root file system of their "
                             "own: that needs an agent that runs as root"},
        {"InsufficientCPU", "no instance has enough free CPU"},
        {"InsufficientMemory", "no instance has enough free memory"},
        {"InsufficientDisk", "no instance has enough free disk"},
        {"InsufficientGPU", "no instance has enough free GPUs of the kind asked for"},
        {"HeldForEarlierJob", "what would fit is kept for a job that waits longer"},
        {"QuotaExceeded", "the quota of the namespace is used up"},
        {"NoCommonNetwork", "the instances of the cluster fleet share no network, and "
                            "nodes of one job need one"},
        {"InsufficientInstances", "not enough instances of one fleet for all nodes"},
    };

    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (streq(texts[i].code, code))
            return texts[i].text;
    return "no instance is of the kind asked for";
}

static struct map *
map_of(struct scheduler_loop *l, enum write_kind kind)
{
    switch (kind) {
    case WRITE_BIND:
        return l->binds;
    case WRITE_STOP:
        return l->stops;
    case WRITE_REASON:
        break;
    }
    return NULL;
}

static void
write_free(struct write *w)
{
    struct map *m = map_of(w->l, w->kind);

    TAILQ_REMOVE(&w->l->writes, w, link);
    if (m != NULL)
        map_del(m, w->uid);
    json_decref(w->body);
    free(w->uid);
    free(w->ns);
    free(w->name);
    free(w->instance);
    free(w);
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
    struct map *m = map_of(l, kind);
    if (m != NULL)
        map_put(m, w->uid, w);
    return w;
}

int64_t
scheduler_retry_at(struct scheduler_loop *l, const struct error *e)
{
    bool hopeless = e->terminal || error_retry(e->code) == ERR_RETRY_SLOW;
    int64_t delay = hopeless ? RETRY_HOPELESS_MS : RETRY_MS;

    if (e->retry_after_ms > delay)
        delay = e->retry_after_ms;
    return manager_now_ms(l->m) + delay;
}

/* The server has looked at the request and did not carry it out. */
static bool
was_refused(enum err_code code)
{
    return code == ERR_FORBIDDEN || code == ERR_INVALID || code == ERR_BAD_REQUEST ||
           code == ERR_UNAUTHORIZED || code == ERR_TOO_LARGE || code == ERR_BUSY;
}

static void
retry_later(struct write *w, const struct error *e)
{
    log_warn_rl("job not written", "job=%s/%s error=\"%s\"", w->ns, w->name, e->msg);
    w->retry_at_ms = scheduler_retry_at(w->l, e);
    w->refused = was_refused(e->code);
    w->uncertain = w->uncertain || !w->refused;
}

static bool
is_bound(const struct object *o)
{
    struct span raw;

    return object_path(o, "spec.instanceUID", &raw) && raw.len > 2;
}

/* --- answers ----------------------------------------------------------------------- */

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
        scheduler_loop_tell(l, o);
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

static void send_stop(struct write *w, const struct object *o);

static void
stop_answered(void *arg, struct span body, const struct error *e)
{
    struct write *w = arg;
    struct scheduler_loop *l = w->l;
    auto_object *o = informer_find_uid(l->jobs, w->uid);

    UNUSED(body);
    w->in_flight = false;
    l->n_reasons--;
    if (e->code == ERR_OK || e->code == ERR_NOT_FOUND || o == NULL) {
        write_free(w);
    } else if (e->code != ERR_CONFLICT) {
        retry_later(w, e);
    } else {
        w->conflict = true;
        if (o->revision > w->revision)
            send_stop(w, o);
    }
    manager_wake(l->part);
}

static void
send_write(struct write *w)
{
    static async_done_fn *const answered[] = {[WRITE_BIND] = bind_answered,
                                              [WRITE_REASON] = reason_answered,
                                              [WRITE_STOP] = stop_answered};
    auto_str path = STR_INIT(PATH_MAX_LEN);

    client_path(&path, &resource_jobs, w->ns, w->name,
                w->kind == WRITE_REASON ? "status" : NULL);
    struct client_request q = {.method = "PATCH",
                               .path = path.ptr,
                               .content_type = "application/merge-patch+json"};
    w->in_flight = true;
    w->conflict = false;
    w->retry_at_ms = 0;
    if (w->kind == WRITE_BIND)
        w->l->n_binds++;
    else
        w->l->n_reasons++;
    async_json(manager_async(w->l->m), &q, w->body, answered[w->kind], w);
}

/* --- binds ------------------------------------------------------------------------- */

static json_t *
bind_body(const struct scheduler_loop *l, const struct object *o,
          const struct bind_target *t)
{
    json_t *gpus = json_array();
    char revision[24], now[CLOCK_RFC3339_US_LEN];

    for (size_t i = 0; i < t->n_gpus; i++)
        json_array_append_new(gpus, json_string(t->gpus[i]));
    snprintf(revision, sizeof(revision), "%llu", (unsigned long long)o->revision);
    clock_format_us(manager_wall_ns(l->m), now);
    json_t *blocks =
        t->reserve->blocks > 0 ? json_integer((json_int_t)t->reserve->blocks) : NULL;
    return json_pack(
        "{s:{s:s, s:{s:s}}, s:{s:s, s:s, s:s, s:s, s:{s:I, s:I, s:I, s:o, s:o*}}}",
        "metadata", "resourceVersion", revision, "labels", LABEL_INSTANCE,
        t->instance_uid, "spec", "instanceName", t->instance_name, "instanceUID",
        t->instance_uid, "engine", t->engine == SCHED_DOCKER ? "docker" : "process",
        "boundAt", now, "reservation", "cpuMilli", (json_int_t)t->reserve->cpu_milli,
        "memoryMiB", (json_int_t)t->reserve->memory_mib, "diskMiB",
        (json_int_t)t->reserve->disk_mib, "gpus", gpus, "blocks", blocks);
}

void
scheduler_bind(struct scheduler_loop *l, const struct object *job,
               const struct bind_target *t)
{
    struct write *w = write_new(l, WRITE_BIND, job, bind_body(l, job, t));

    w->instance = xstrdup(t->instance_name);
    send_write(w);
}

bool
scheduler_bind_forget(struct scheduler_loop *l, const char *uid)
{
    struct write *w = map_get(l->binds, uid);

    if (w == NULL)
        return true;
    if (w->in_flight || w->uncertain || !(w->conflict || w->refused))
        return false;
    write_free(w);
    return true;
}

/* --- reasons ----------------------------------------------------------------------- */

void
scheduler_write_reason(struct scheduler_loop *l, const struct sched_reason *r)
{
    auto_object *o = informer_find_uid(l->jobs, r->uid);
    auto_status_edit s = {0};

    /* Members come one after the other: what holds until the last of them is there is not
     * worth a write of each, which their binds would run into. */
    if (o == NULL || streq(r->code, "WaitingForMembers"))
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

/* --- stops ------------------------------------------------------------------------- */

/* On this revision; or not at all, when there is nothing to stop any more. */
static void
send_stop(struct write *w, const struct object *o)
{
    char revision[24], desired[32];

    object_get_string(o, "spec.desiredState", desired, sizeof(desired));
    if (scheduler_standing(o) == SCHED_OUT || desired_parse(desired) != DESIRED_RUNNING) {
        write_free(w);
        return;
    }
    snprintf(revision, sizeof(revision), "%llu", (unsigned long long)o->revision);
    json_decref(w->body);
    w->revision = o->revision;
    w->body = json_pack("{s:{s:s, s:s}, s:{s:s, s:s}}", "metadata", "uid", o->uid,
                        "resourceVersion", revision, "spec", "desiredState", w->state,
                        "stopReason", w->why);
    send_write(w);
}

void
scheduler_stop_job(struct scheduler_loop *l, const struct object *job, const char *state,
                   const char *why)
{
    if (map_get(l->stops, job->uid) != NULL)
        return;
    struct write *w = write_new(l, WRITE_STOP, job, NULL);
    w->state = state;
    w->why = why;
    send_stop(w, job);
}

/* --- events ------------------------------------------------------------------------ */

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

bool
scheduler_write_event(struct scheduler_loop *l, const struct object *job)
{
    struct write *bind = map_get(l->binds, job->uid);
    struct write *stop = map_get(l->stops, job->uid);

    if (stop != NULL && stop->conflict && job->revision > stop->revision)
        send_stop(stop, job);
    return bind != NULL && bind_event(bind, job);
}

void
scheduler_write_gone(struct scheduler_loop *l, const char *uid)
{
    struct write *both[] = {map_get(l->binds, uid), map_get(l->stops, uid)};

    for (size_t i = 0; i < ARRAY_LEN(both); i++) {
        if (both[i] == NULL)
            continue;
        both[i]->gone = true;
        if (!both[i]->in_flight)
            write_free(both[i]);
    }
}

static void
retry(struct write *w)
{
    struct scheduler_loop *l = w->l;
    autofree char *uid = xstrdup(w->uid);

    if (w->kind == WRITE_BIND) {
        send_write(w);
        return;
    }
    if (w->kind == WRITE_STOP) {
        auto_object *o = informer_find_uid(l->jobs, uid);
        if (o != NULL)
            send_stop(w, o);
        else
            write_free(w);
        return;
    }
    write_free(w);
    if (map_get(l->binds, uid) == NULL)
        scheduler_loop_tell_cached(l, uid);
}

int64_t
scheduler_retry_writes(struct scheduler_loop *l, int64_t now)
{
    int64_t due = -1;
    struct write *w, *next;

    for (w = TAILQ_FIRST(&l->writes); w != NULL; w = next) {
        next = TAILQ_NEXT(w, link);
        if (w->retry_at_ms == 0)
            continue;
        if (w->retry_at_ms <= now)
            retry(w);
        else if (due < 0 || w->retry_at_ms < due)
            due = w->retry_at_ms;
    }
    return due;
}

void
scheduler_writes_free(struct scheduler_loop *l)
{
    struct write *w;

    while ((w = TAILQ_FIRST(&l->writes)) != NULL)
        write_free(w);
    map_free(l->binds);
    map_free(l->stops);
}
