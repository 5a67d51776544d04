/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The watch source of an API server: per informer one transfer at a time, first the pages
 * of a list, then a watch from the list's revision. A watch that ends is resumed from the
 * last revision; 410 starts over with a list. Failures back off with jitter; a watch that
 * ended well resumes at once. Nothing here polls.
 */
#include <string.h>

#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"
#include "client/target_copy.h"
#include "control/informer.h"
#include "io/http_client.h"

LOG_MODULE(informer);

enum {
    PATH_MAX_LEN = 16 * 1024,
    PAGE = 500,
    PAGE_MAX = 128 << 20,
    LINE_MAX_LEN = 8 << 20,
    BACKOFF_MIN_MS = 100,
    BACKOFF_MAX_MS = 10000,
    WATCH_MIN_S = 1800, /* the server ends a watch after this plus up to as much */
};

struct informer_http {
    struct loop *loop;
    struct http_multi *multi;
    struct target_copy target;
};

enum reflector_phase { REFLECTOR_LIST, REFLECTOR_WATCH };

/* One informer's reader. */
struct reflector {
    struct informer_http *h;
    struct informer *inf;
    enum reflector_phase next; /* what runs or is to run */
    struct http_transfer *transfer;
    struct loop_timer *retry;
    struct str cont;    /* list: token of the next page */
    uint64_t revision;  /* watch from here */
    struct str line;    /* watch: the part of a line that has come */
    int status;         /* watch: HTTP status, 0 before the headers */
    bool failed;        /* watch: a line could not be applied */
    struct error error; /* why */
    unsigned failures;
};

static void begin(void *arg);

static void
schedule(struct reflector *r, bool at_once)
{
    int64_t delay = 0;

    if (!at_once) {
        unsigned shift = r->failures < 8 ? r->failures : 8;
        delay = (int64_t)BACKOFF_MIN_MS << shift;
        if (delay > BACKOFF_MAX_MS)
            delay = BACKOFF_MAX_MS;
        delay = delay / 2 + id_uniform((uint32_t)delay);
        r->failures++;
    }
    loop_timer_in(r->retry, delay);
}

static void
fail(struct reflector *r, const struct error *e)
{
    const char *plural = informer_resource(r->inf)->plural;

    if (e->code == ERR_EXPIRED) {
        log_debug("revision too old, listing again", "resource=%s", plural);
        r->next = REFLECTOR_LIST;
        schedule(r, r->failures == 0);
        if (r->failures == 0)
            r->failures = 1;
        return;
    }
    if (informer_connected(r->inf))
        log_warn("no watch", "resource=%s error=\"%s\"", plural, e->msg);
    informer_set_connected(r->inf, false);
    schedule(r, false);
}

static void
feed_item(void *arg, struct object *o)
{
    struct reflector *r = arg;

    informer_list_item(r->inf, o);
}

static int
apply_page(struct reflector *r, const struct http_reply *reply, bool *ret_last,
           struct error *e)
{
    struct span body = {reply->body.ptr, reply->body.len};
    auto_str cont = STR_INIT(PATH_MAX_LEN);
    uint64_t revision;

    if (reply->status != 200)
        return client_reply_error(reply->status, body, e);
    int rc = client_parse_list(body, feed_item, r, &cont, &revision, e);
    if (rc < 0)
        return rc;
    str_reset(&r->cont);
    str_add(&r->cont, cont.ptr, cont.len);
    *ret_last = cont.len == 0;
    if (*ret_last)
        r->revision = revision;
    return 0;
}

static void
list_done(void *arg, const struct http_reply *reply, const struct error *result)
{
    struct reflector *r = arg;
    struct error e = *result;
    bool last = false;

    r->transfer = NULL;
    int rc = e.code != ERR_OK ? -1 : apply_page(r, reply, &last, &e);
    if (rc < 0) {
        informer_list_abort(r->inf);
        str_reset(&r->cont);
        fail(r, &e);
        return;
    }
    if (last) {
        r->next = REFLECTOR_WATCH;
        informer_set_connected(r->inf, true);
        informer_list_end(r->inf, r->revision);
    }
    begin(r);
}

static void
start_list(struct reflector *r)
{
    static const struct http_transfer_cbs cbs = {.on_done = list_done};
    auto_str path = STR_INIT(PATH_MAX_LEN);

    client_path(&path, informer_resource(r->inf), NULL, NULL, NULL);
    str_addf(&path, "?limit=%d", PAGE);
    if (r->cont.len > 0) {
        str_adds(&path, "&continue=");
        client_escape(&path, r->cont.ptr);
    } else {
        informer_list_begin(r->inf);
    }
    struct http_call call = {
        .method = "GET", .path = path.ptr, .accept = "application/json"};
    r->transfer =
        http_multi_start(r->h->multi, &r->h->target.view, &call, PAGE_MAX, &cbs, r);
}

static void
watch_headers(void *arg, const struct http_reply *reply)
{
    struct reflector *r = arg;

    r->status = reply->status;
    if (r->status == 200)
        informer_set_connected(r->inf, true);
}

/* Applies the whole lines of r->line and keeps the rest. */
static int
apply_lines(struct reflector *r, struct error *e)
{
    size_t start = 0;
    const char *nl;
    int rc = 0;

    while (rc == 0 && (nl = memchr(r->line.ptr + start, '\n', r->line.len - start))) {
        size_t end = (size_t)(nl - r->line.ptr);
        struct span line = {r->line.ptr + start, end - start};
        start = end + 1;
        if (line.len > 0)
            rc = informer_apply_line(r->inf, line, e);
    }
    if (start > 0) {
        memmove(r->line.ptr, r->line.ptr + start, r->line.len - start);
        str_truncate(&r->line, r->line.len - start);
    }
    if (r->line.len == 0 && r->line.cap > 64 * 1024)
        str_done(&r->line); /* one large object does not stay forever */
    return rc;
}

static bool
watch_data(void *arg, const char *bytes, size_t n)
{
    struct reflector *r = arg;

    if (r->failed)
        return true; /* drained; the transfer is ended below */
    str_add(&r->line, bytes, n);
    if (r->line.toobig) {
        r->failed = true;
        error_set(&r->error, ERR_TOO_LARGE, "a watch event is larger than %d bytes",
                  LINE_MAX_LEN);
    } else if (r->status == 200 && apply_lines(r, &r->error) < 0) {
        r->failed = true;
    }
    if (r->failed)
        loop_timer_in(r->retry, 0); /* cannot cancel from inside its own callback */
    return true;
}

static void
watch_done(void *arg, const struct http_reply *reply, const struct error *result)
{
    struct reflector *r = arg;
    struct error e = *result;

    UNUSED(reply);
    r->transfer = NULL;
    if (r->failed)
        return; /* the timer is armed and deals with it */
    if (e.code == ERR_OK && r->status != 200)
        client_reply_error(r->status, (struct span){r->line.ptr, r->line.len}, &e);
    if (e.code != ERR_OK) {
        fail(r, &e);
        return;
    }
    schedule(r, r->failures == 0); /* a normal end; a server that ends at once waits */
    if (r->failures == 0)
        r->failures = 1; /* reset by the next event */
}

static void
start_watch(struct reflector *r)
{
    static const struct http_transfer_cbs cbs = {
        .on_headers = watch_headers, .on_data = watch_data, .on_done = watch_done};
    auto_str path = STR_INIT(PATH_MAX_LEN);

    r->status = 0;
    r->failed = false;
    str_reset(&r->line);
    client_path(&path, informer_resource(r->inf), NULL, NULL, NULL);
    str_addf(&path,
             "?watch=true&allowWatchBookmarks=true&resourceVersion=%llu"
             "&timeoutSeconds=%u",
             (unsigned long long)r->revision, WATCH_MIN_S + id_uniform(WATCH_MIN_S));
    struct http_call call = {.method = "GET",
                             .path = path.ptr,
                             .accept = "application/json",
                             .timeout_ms = -1};
    r->transfer =
        http_multi_start(r->h->multi, &r->h->target.view, &call, LINE_MAX_LEN, &cbs, r);
}

/* The retry timer, or the direct continuation of a list. */
static void
begin(void *arg)
{
    struct reflector *r = arg;

    if (r->failed) {
        struct error e = r->error;
        http_transfer_cancel(r->transfer);
        r->transfer = NULL;
        r->failed = false;
        if (e.code != ERR_EXPIRED) /* not understood: a fresh list is the only cure */
            r->next = REFLECTOR_LIST;
        fail(r, &e);
        return;
    }
    if (r->next == REFLECTOR_LIST) {
        start_list(r);
        return;
    }
    if (informer_revision(r->inf) > r->revision) {
        r->revision = informer_revision(r->inf);
        r->failures = 0;
    }
    start_watch(r);
}

static void *
source_start(void *self, struct informer *inf)
{
    struct reflector *r = xnew(struct reflector);

    r->h = self;
    r->inf = inf;
    r->cont = STR_INIT(PATH_MAX_LEN);
    r->line = STR_INIT(LINE_MAX_LEN);
    r->retry = loop_timer_new(r->h->loop, "informer", begin, r);
    loop_timer_in(r->retry, 0);
    return r;
}

static void
source_stop(void *self, void *handle)
{
    struct reflector *r = handle;

    UNUSED(self);
    http_transfer_cancel(r->transfer);
    loop_timer_free(r->retry);
    str_done(&r->cont);
    str_done(&r->line);
    free(r);
}

struct informer_http *
informer_http_new(struct loop *l, struct http_multi *m, const struct http_target *target)
{
    struct informer_http *h = xnew(struct informer_http);

    h->loop = l;
    h->multi = m;
    target_copy_init(&h->target, target);
    return h;
}

void
informer_http_free(struct informer_http *h)
{
    if (h == NULL)
        return;
    target_copy_done(&h->target);
    free(h);
}

struct watch_source
informer_http_source(struct informer_http *h)
{
    static const struct watch_source_ops ops = {.start = source_start,
                                                .stop = source_stop};

    return (struct watch_source){&ops, h};
}
