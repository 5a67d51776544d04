/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which Jobs are bound to this machine: one list, then a watch from its revision, on a
 * connection of its own. A broken watch is taken up again where it was; 410 or an error
 * event means a new list. Only a whole list can say that a job is gone without a word.
 */
#include <inttypes.h>
#include <string.h>

#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"
#include "client/client.h"
#include "runner/job.h"

LOG_MODULE(watch);

#define RETRY_MIN_MS 100
#define RETRY_MAX_MS 15000
#define LINE_MAX_BYTES (4 * 1024 * 1024)
#define PAGE 500

struct watch {
    struct agent *a;
    struct server_call *list;
    struct http_transfer *stream;
    struct loop_timer *retry;
    struct backoff backoff;
    uint64_t revision;
    bool relist, talked; /* talked: this watch has brought something */
    struct map *present; /* uids of the list being read */
    char *cont;          /* of the list's next page */
    struct str line;
};

static void list_start(struct watch *w);
static void watch_open(struct watch *w);

static void
retry_later(struct watch *w)
{
    loop_timer_in(w->retry, backoff_next_ms(&w->backoff, RETRY_MIN_MS, RETRY_MAX_MS));
}

static void
on_retry(void *arg)
{
    struct watch *w = arg;
    if (w->relist)
        list_start(w);
    else
        watch_open(w);
}

static void
take_job(struct watch *w, json_t *object)
{
    struct job_view v;
    struct error e = ERROR_INIT;
    if (job_view_parse(object, &v, &e) < 0) {
        log_warn_rl("job not understood", "error=\"%s\"", e.msg);
        return;
    }
    if (!streq(v.instance_uid, w->a->identity.uid))
        return;
    if (w->present != NULL)
        map_put(w->present, v.uid, w);
    job_seen(w->a, object, &v);
}

/* --- list ----------------------------------------------------------------------------
 */

static void
query_selector(const struct watch *w, struct str *path)
{
    server_path(path, &resource_jobs, w->a->identity.ns, NULL, NULL);
    str_addf(path, "?labelSelector=drover.dev%%2Finstance%%3D%s", w->a->identity.uid);
}

/* Jobs we know and the whole list does not have. */
static void
drop_absent(struct watch *w)
{
    struct map_cursor c = map_begin(w->a->jobs);
    const char *uid;
    void *job;
    while (map_next(&c, &uid, &job)) {
        if (map_get(w->present, uid) == NULL)
            job_gone(w->a, uid);
    }
    c = map_begin(w->a->over);
    while (map_next(&c, &uid, &job)) {
        if (map_get(w->present, uid) == NULL)
            job_gone(w->a, uid);
    }
}

static void
list_failed(struct watch *w, const char *why)
{
    log_warn_rl("jobs not listed", "error=\"%s\"", why);
    map_free(w->present);
    w->present = NULL;
    free(w->cont);
    w->cont = NULL;
    retry_later(w);
}

static void
list_complete(struct watch *w)
{
    drop_absent(w);
    log_info("jobs listed", "n=%zu revision=%" PRIu64, map_len(w->present), w->revision);
    map_free(w->present);
    w->present = NULL;
    w->relist = false;
    w->backoff.failures = 0;
    w->a->listed = true;
    if (w->a->healed) {
        w->a->healed = false;
        w->a->dead_man = false;
        agent_step_all(w->a);
    }
    agent_kick_all(w->a);
    watch_open(w);
}

static void
on_page(void *arg, const struct server_reply *r)
{
    struct watch *w = arg;
    const json_t *meta = json_object_get(r->doc, "metadata");
    const json_t *items = json_object_get(r->doc, "items");
    const char *revision = json_string_value(json_object_get(meta, "resourceVersion"));
    const char *cont = json_string_value(json_object_get(meta, "continue"));

    if (!server_ok(r) || revision == NULL || !json_is_array(items)) {
        list_failed(w, server_ok(r) ? "the answer is no list" : r->error.msg);
        return;
    }
    w->revision = strtoull(revision, NULL, 10);
    for (size_t i = 0; i < json_array_size(items); i++)
        take_job(w, json_array_get(items, i));
    free(w->cont);
    w->cont = cont != NULL && *cont != '\0' ? xstrdup(cont) : NULL;
    if (w->cont != NULL)
        list_start(w);
    else
        list_complete(w);
}

static void
list_start(struct watch *w)
{
    auto_str path = STR_INIT(16384);
    if (w->present == NULL)
        w->present = map_new(NULL);
    query_selector(w, &path);
    str_addf(&path, "&limit=%d", PAGE);
    if (w->cont != NULL)
        str_addf(&path, "&continue=%s", w->cont);
    struct server_request r = {
        .method = "GET", .path = path.ptr, .urgent = true, .on_reply = on_page, .arg = w};
    server_call(w->a->server, &w->list, &r);
}

/* --- watch ---------------------------------------------------------------------------
 */

static void
note_revision(struct watch *w, const json_t *object)
{
    const char *rv = json_string_value(
        json_object_get(json_object_get(object, "metadata"), "resourceVersion"));
    uint64_t v = rv != NULL ? strtoull(rv, NULL, 10) : 0;
    if (v > w->revision)
        w->revision = v;
}

static void
deleted(struct watch *w, const json_t *object)
{
    const char *uid =
        json_string_value(json_object_get(json_object_get(object, "metadata"), "uid"));
    if (uid != NULL)
        job_gone(w->a, uid);
}

static void
take_line(struct watch *w)
{
    json_t *event = json_loadb(w->line.ptr, w->line.len, 0, NULL);
    const char *type = json_string_value(json_object_get(event, "type"));
    json_t *object = json_object_get(event, "object");
    if (type == NULL || object == NULL) {
        log_warn_rl("watch line not understood", "bytes=%zu", w->line.len);
        w->relist = true;
    } else if (streq(type, "ERROR")) {
        log_info("watch expired", "revision=%" PRIu64, w->revision);
        w->relist = true;
    } else {
        note_revision(w, object);
        w->backoff.failures = 0;
        if (!w->talked) {
            w->talked = true;
            agent_kick_all(w->a);
        }
        if (streq(type, "ADDED") || streq(type, "MODIFIED"))
            take_job(w, object);
        else if (streq(type, "DELETED"))
            deleted(w, object);
    }
    json_decref(event);
}

static bool
on_data(void *arg, const char *bytes, size_t n)
{
    struct watch *w = arg;
    while (n > 0) {
        const char *nl = memchr(bytes, '\n', n);
        size_t part = nl != NULL ? (size_t)(nl - bytes) : n;
        str_add(&w->line, bytes, part);
        if (nl != NULL) {
            if (w->line.toobig)
                w->relist = true;
            else if (w->line.len > 0)
                take_line(w);
            str_reset(&w->line);
            part++;
        }
        bytes += part;
        n -= part;
    }
    return true;
}

static void
on_headers(void *arg, const struct http_reply *r)
{
    struct watch *w = arg;
    if (r->status == 200)
        agent_kick_all(w->a);
}

static void
on_end(void *arg, const struct http_reply *r, const struct error *e)
{
    struct watch *w = arg;
    w->stream = NULL;
    if (e->code == ERR_OK && r->status == 410)
        w->relist = true;
    bool clean = e->code == ERR_OK && r->status == 200;
    if (!clean && !w->relist)
        log_info("watch broken", "status=%d error=\"%s\"", r->status, e->msg);
    if (r->status == 401 || r->status == 403) {
        /* The list says it to whoever renews tokens. */
        w->relist = true;
    }
    if (clean && !w->relist)
        loop_timer_in(w->retry, id_uniform(50));
    else
        retry_later(w);
}

static void
watch_open(struct watch *w)
{
    static const struct http_transfer_cbs cbs = {
        .on_headers = on_headers, .on_data = on_data, .on_done = on_end};
    auto_str path = STR_INIT(4096);
    struct http_target target;
    query_selector(w, &path);
    str_addf(
        &path,
        "&watch=1&allowWatchBookmarks=true&timeoutSeconds=%u&resourceVersion=%" PRIu64,
        300 + id_uniform(300), w->revision);
    server_target(w->a->server, &target);
    struct http_call call = {.method = "GET",
                             .path = path.ptr,
                             .accept = "application/json",
                             .timeout_ms = -1};
    str_reset(&w->line);
    w->talked = false;
    w->stream =
        http_multi_start(server_multi(w->a->server), &target, &call, 64 * 1024, &cbs, w);
}

struct watch *
watch_start(struct agent *a)
{
    struct watch *w = xnew(struct watch);
    w->a = a;
    w->relist = true;
    str_init(&w->line, LINE_MAX_BYTES);
    w->retry = loop_timer_new(a->loop, "job watch", on_retry, w);
    list_start(w);
    return w;
}

void
watch_relist(struct watch *w)
{
    if (w == NULL)
        return;
    server_call_cancel(&w->list);
    http_transfer_cancel(w->stream);
    w->stream = NULL;
    loop_timer_cancel(w->retry);
    map_free(w->present);
    w->present = NULL;
    free(w->cont);
    w->cont = NULL;
    w->relist = true;
    list_start(w);
}

void
watch_free(struct watch *w)
{
    if (w == NULL)
        return;
    server_call_cancel(&w->list);
    http_transfer_cancel(w->stream);
    loop_timer_free(w->retry);
    map_free(w->present);
    free(w->cont);
    str_done(&w->line);
    free(w);
}
