/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the scheduler tells people: Quota.status and one QueueState per namespace. Each is
 * written when it says something new, and at most once a second.
 */
#include <string.h>

#include "api/quota.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "controllers/job/scheduler_internal.h"

LOG_MODULE(scheduler);

#define QUEUE_NAME "queue"
enum { PACE_MS = 1000, SHAPES_MAX = 64, EFFORT = 20000, PATH_MAX_LEN = 2048 };

/* An object of which the status is written. */
struct report {
    const struct resource *resource;
    struct scheduler_loop *l;
    char *ns, *name;
    char *written; /* what was acknowledged last, or the cache showed; NULL: not known */
    char *sending;
    bool in_flight, create;
    int64_t not_before_ms;
};

static void
report_free(void *arg)
{
    struct report *r = arg;

    free(r->ns);
    free(r->name);
    free(r->written);
    free(r->sending);
    free(r);
}

struct map *
scheduler_reports_new(void)
{
    return map_new(report_free);
}

static struct report *
report_of(struct scheduler_loop *l, const struct resource *resource, const char *ns,
          const char *name)
{
    autofree char *key = xasprintf("%s/%s/%s", resource->plural, ns, name);
    struct report *r = map_get(l->reports, key);

    if (r != NULL)
        return r;
    r = xnew(struct report);
    r->resource = resource;
    r->l = l;
    r->ns = xstrdup(ns);
    r->name = xstrdup(name);
    map_put(l->reports, key, r);
    return r;
}

/* --- writing ----------------------------------------------------------------------- */

static void
answered(void *arg, struct span body, const struct error *e)
{
    struct report *r = arg;
    int64_t now = manager_now_ms(r->l->m);
    bool created = r->create;

    UNUSED(body);
    r->in_flight = r->create = false;
    if (e->code == ERR_OK && !created) {
        free(r->written);
        r->written = r->sending;
        r->sending = NULL;
        r->not_before_ms = now + PACE_MS;
    } else if (e->code == ERR_OK || e->code == ERR_EXISTS) {
        r->not_before_ms = now; /* the status follows */
    } else if (e->code == ERR_NOT_FOUND && r->resource == &resource_queuestates) {
        r->create = true;
        r->not_before_ms = created ? now + RETRY_HOPELESS_MS : now; /* no namespace */
    } else {
        log_warn_rl("report not written", "%s=%s/%s error=\"%s\"", r->resource->plural,
                    r->ns, r->name, e->msg);
        r->not_before_ms = scheduler_retry_at(r->l, e);
    }
    r->l->queue_changed = r->l->quotas_changed = true;
    manager_wake(r->l->part);
}

static void
send_report(struct report *r, const json_t *status)
{
    auto_str path = STR_INIT(PATH_MAX_LEN);
    json_t *body;

    if (r->create)
        body = json_pack("{s:s, s:s, s:{s:s}}", "apiVersion", "drover.dev/v1", "kind",
                         r->resource->kind, "metadata", "name", r->name);
    else
        body = json_pack("{s:O}", "status", status);
    client_path(&path, r->resource, r->ns, r->create ? NULL : r->name,
                r->create ? NULL : "status");
    struct client_request q = {
        .method = r->create ? "POST" : "PATCH",
        .path = path.ptr,
        .content_type = r->create ? "application/json" : "application/merge-patch+json"};
    r->in_flight = true;
    async_json(manager_async(r->l->m), &q, body, answered, r);
    json_decref(body);
}

/* All members of status stand in the object as it is cached. */
static bool
is_cached(const struct report *r, const struct informer *inf, json_t *status)
{
    auto_object *o = informer_find(inf, r->ns, r->name);
    const char *key;
    json_t *value;
    bool same = o != NULL;

    json_object_foreach (status, key, value) {
        autofree char *path = xasprintf("status.%s", key);
        struct span raw;
        json_t *stored = NULL;
        if (same && object_path(o, path, &raw))
            stored = json_loadb(raw.ptr, raw.len, JSON_DECODE_ANY, NULL);
        same = same && stored != NULL && json_equal(stored, value);
        json_decref(stored);
    }
    return same;
}

/* Takes status. Returns when it is to be tried again; -1: no need. */
static int64_t
report(struct report *r, const struct informer *inf, json_t *status, int64_t now)
{
    autofree char *text = json_dumps(status, JSON_COMPACT | JSON_SORT_KEYS);
    int64_t due = -1;

    if (r->written == NULL && is_cached(r, inf, status))
        r->written = xstrdup(text);
    if (r->in_flight || (r->written != NULL && streq(r->written, text))) {
        ; /* the answer wakes us; or there is nothing new */
    } else if (now < r->not_before_ms) {
        due = r->not_before_ms;
    } else {
        free(r->sending);
        r->sending = xstrdup(text);
        send_report(r, status);
    }
    json_decref(status);
    return due;
}

static int64_t
earlier(int64_t a, int64_t b)
{
    return b >= 0 && (a < 0 || b < a) ? b : a;
}

/* --- quotas ------------------------------------------------------------------------ */

static int
parse(const struct object *o, struct quota_limit *limits, size_t *n, struct error *e)
{
    struct span raw;
    auto_violations v = {0};
    json_t *tree = NULL;

    if (object_path(o, "spec.limits", &raw))
        tree = json_loadb(raw.ptr, raw.len, 0, NULL);
    int rc = quota_parse(tree, "spec.limits", limits, n, &v, e);
    json_decref(tree);
    return rc;
}

void
scheduler_quota_set(struct scheduler_loop *l, const struct object *o)
{
    static const enum sched_limit_kind kinds[] = {[QUOTA_GPU] = SCHED_LIMIT_GPUS,
                                                  [QUOTA_CPU] = SCHED_LIMIT_CPU_MILLI,
                                                  [QUOTA_MEMORY] = SCHED_LIMIT_MEMORY_MIB,
                                                  [QUOTA_JOBS] = SCHED_LIMIT_JOBS};
    struct quota_limit limits[QUOTA_LIMITS_MAX];
    struct sched_limit own[QUOTA_LIMITS_MAX];
    struct error e = ERROR_INIT;
    char cohort[64];
    size_t n;

    l->quotas_changed = true;
    if (o->facts.deleting_s != 0 || parse(o, limits, &n, &e) < 0) {
        scheduler_remove_quota(l->s, o->uid);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        own[i] = (struct sched_limit){.kind = kinds[limits[i].resource],
                                      .vendor = limits[i].vendor,
                                      .own = limits[i].hard,
                                      .borrow = limits[i].borrow};
        memcpy(own[i].gpu_name, limits[i].name, sizeof(own[i].gpu_name));
    }
    object_get_string(o, "spec.cohort", cohort, sizeof(cohort));
    struct sched_quota q = {.uid = o->uid,
                            .ns = o->ns,
                            .cohort = cohort[0] != '\0' ? cohort : NULL,
                            .weight = object_get_int(o, "spec.weight", 1),
                            .limits = own,
                            .n_limits = n};
    scheduler_set_quota(l->s, &q);
}

static void
add_used(struct scheduler_loop *l, const struct object *o, size_t i,
         const struct quota_limit *q, json_t *list, struct str *summary)
{
    auto_str hard = STR_INIT(64), used = STR_INIT(64), borrowed = STR_INIT(64);
    int64_t amount = 0;

    scheduler_quota_used(l->s, o->uid, i, &amount);
    quota_amount_text(q->resource, q->hard, &hard);
    quota_amount_text(q->resource, amount, &used);
    json_t *item =
        json_pack("{s:s, s:s, s:s}", "resource", quota_resource_name(q->resource), "hard",
                  hard.ptr, "used", used.ptr);
    if (q->vendor != GPU_VENDOR_ANY)
        json_object_set_new(item, "vendor", json_string(quota_vendor_name(q->vendor)));
    if (q->name[0] != '\0')
        json_object_set_new(item, "name", json_string(q->name));
    if (amount > q->hard) {
        quota_amount_text(q->resource, amount - q->hard, &borrowed);
        json_object_set_new(item, "borrowed", json_string(borrowed.ptr));
    }
    json_array_append_new(list, item);
    str_addf(summary, "%s%s%s%s %s/%s", i > 0 ? ", " : "",
             quota_resource_name(q->resource), q->name[0] != '\0' ? ":" : "", q->name,
             used.ptr, hard.ptr);
}

static json_t *
quota_status(struct scheduler_loop *l, const struct object *o)
{
    struct quota_limit limits[QUOTA_LIMITS_MAX];
    struct error e = ERROR_INIT;
    auto_str summary = STR_INIT(2048);
    json_t *list = json_array();
    size_t n = 0;

    if (parse(o, limits, &n, &e) < 0)
        str_addf(&summary, "not kept: %s", e.msg);
    for (size_t i = 0; i < n; i++)
        add_used(l, o, i, &limits[i], list, &summary);
    return json_pack("{s:I, s:s, s:o}", "observedGeneration",
                     (json_int_t)o->facts.generation, "summary", summary.ptr, "used",
                     list);
}

static int64_t
report_quotas(struct scheduler_loop *l, int64_t now)
{
    auto_object_list all = {0};
    int64_t due = -1;

    informer_all(l->quotas, &all);
    vec_foreach (o, &all.list) {
        if ((*o)->facts.deleting_s != 0)
            continue;
        struct report *r = report_of(l, &resource_quotas, (*o)->ns, (*o)->name);
        due = earlier(due, report(r, l->quotas, quota_status(l, *o), now));
    }
    return due;
}

/* --- the queue --------------------------------------------------------------------- */

struct namespace_queue {
    json_t *shapes;
    size_t waiting, n_shapes;
};

static void
namespace_queue_free(void *arg)
{
    struct namespace_queue *q = arg;

    json_decref(q->shapes);
    free(q);
}

static json_t *
candidate_json(const struct sched_candidate *c, const struct resource_req *req)
{
    auto_str lacks = STR_INIT(512);
    json_t *o = json_pack("{s:s, s:I, s:I}", "fleet", c->fleet, "instances",
                          (json_int_t)c->instances, "free", (json_int_t)c->fits);

    if (c->nearest == NULL)
        return o;
    json_object_set_new(o, "nearest", json_string(c->nearest));
    if (c->lack != RESOURCE_FITS) {
        resources_lack_text(c->lack, req, c->capacity, c->free, &lacks);
        json_object_set_new(o, "lacks", json_string(lacks.ptr));
    }
    return o;
}

static void
add_shape(void *arg, const struct sched_shape *sh)
{
    struct map *by_ns = arg;
    struct namespace_queue *q = map_get(by_ns, sh->ns);
    auto_str needs = STR_INIT(2048);
    char at[CLOCK_RFC3339_LEN];

    if (q == NULL) {
        q = xnew(struct namespace_queue);
        q->shapes = json_array();
        map_put(by_ns, sh->ns, q);
    }
    q->waiting += sh->jobs;
    if (q->n_shapes++ >= SHAPES_MAX)
        return;
    resources_text(sh->req, &needs);
    json_t *list = json_array();
    for (size_t i = 0; i < sh->n_candidates; i++)
        json_array_append_new(list, candidate_json(&sh->candidates[i], sh->req));
    json_t *o =
        json_pack("{s:s, s:s, s:I, s:s, s:s, s:s, s:o}", "needs", needs.ptr, "engine",
                  sh->engine == SCHED_DOCKER ? "docker" : "process", "jobs",
                  (json_int_t)sh->jobs, "first", sh->name, "uid", sh->uid, "reason",
                  sh->reason == NULL ? "" : sh->reason, "candidates", list);
    if (sh->nodes > 0)
        json_object_set_new(o, "nodes", json_integer((json_int_t)sh->nodes));
    if (sh->starts_ns > 0) {
        clock_format(sh->starts_ns, at);
        json_object_set_new(o, "startsAt", json_string(at));
    }
    json_array_append_new(q->shapes, o);
}

static json_t *
queue_status(const struct namespace_queue *q)
{
    if (q == NULL)
        return json_pack("{s:i, s:i, s:[]}", "waiting", 0, "shapeCount", 0, "shapes");
    return json_pack("{s:I, s:I, s:O}", "waiting", (json_int_t)q->waiting, "shapeCount",
                     (json_int_t)q->n_shapes, "shapes", q->shapes);
}

/* Namespaces of which nothing waits any more have a record, and say so. */
static int64_t
report_queues(struct scheduler_loop *l, int64_t now)
{
    struct map *by_ns = map_new(namespace_queue_free);
    struct map_cursor c;
    auto_object_list stored = {0};
    const char *ns;
    void *value;
    int64_t due = -1;

    scheduler_each_shape(l->s, SIZE_MAX, EFFORT, add_shape, by_ns);
    c = map_begin(by_ns);
    while (map_next(&c, &ns, NULL))
        report_of(l, &resource_queuestates, ns, QUEUE_NAME);
    informer_all(l->states, &stored);
    vec_foreach (o, &stored.list)
        if (streq((*o)->name, QUEUE_NAME))
            report_of(l, &resource_queuestates, (*o)->ns, QUEUE_NAME);
    c = map_begin(l->reports);
    while (map_next(&c, NULL, &value)) {
        struct report *r = value;
        const struct namespace_queue *q = map_get(by_ns, r->ns);
        if (r->resource != &resource_queuestates || (q == NULL && r->create))
            continue; /* nothing waits, and there is nobody to say it to */
        due = earlier(due, report(r, l->states, queue_status(q), now));
    }
    map_free(by_ns);
    return due;
}

/* --- rounds ------------------------------------------------------------------------ */

int64_t
scheduler_reports_step(struct scheduler_loop *l, int64_t now)
{
    if (!l->quotas_changed && !l->queue_changed)
        return -1;
    if (now < l->report_at_ms)
        return l->report_at_ms;
    l->quotas_changed = l->queue_changed = false;
    l->report_at_ms = now + PACE_MS;
    int64_t due = earlier(report_quotas(l, now), report_queues(l, now));
    if (due >= 0) { /* something is left to be said */
        l->quotas_changed = l->queue_changed = true;
        due = due < l->report_at_ms ? l->report_at_ms : due;
    }
    return due;
}
