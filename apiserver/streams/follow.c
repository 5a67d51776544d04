/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading a log. A reader is an offset. Without follow it reads up to the length of this
 * moment. With follow it also watches the Job (one watch per follower, on the unix
 * socket) to learn when the log is complete: the Job's phase is final and the offset has
 * reached status.agent.logLength, or the machine is lost and the rest will never come.
 */
#include <stdlib.h>
#include <string.h>

#include "api/jtok.h"
#include "apiserver/streams/streams.h"
#include "base/clock.h"
#include "base/mem.h"
#include "io/segment.h"

enum { READ_BLOCK = 256 * 1024, EVENT_MAX = 4 << 20, TAIL_MAX = 1000000 };
/* Without a byte more. */
#define REST_PATIENCE_MS 10000
#define LOST_MARK "\n[drover: truncated: node lost]\n"

struct follower {
    struct streams *s;
    struct http_request *request;
    struct access_check *access;
    struct route route;
    const char *kind; /* of the log; NULL: the output */
    char log[STREAMS_LOG_MAX];
    char *dir;
    bool follow, previous_end, position;
    struct log_format format;
    uint64_t offset;
    size_t skip;      /* payload bytes of the first frame to leave out */
    uint64_t stop_at; /* without follow */
    uint64_t limit;   /* bytes left to send */
    struct job_facts job;
    struct str out; /* rendered, not yet sent; at most one read block */
    size_t sent;    /* bytes of out that are gone */
    struct http_stream *stream;
    struct log_waiter waiter;
    struct http_transfer *watch;
    struct loop_timer *patience; /* of a reader who does not follow; NULL: none */
    struct str line;             /* of the watch */
};

static void
follower_free(void *arg)
{
    struct follower *f = arg;

    append_unwait(&f->waiter);
    http_transfer_cancel(f->watch);
    loop_timer_free(f->patience);
    access_cancel(f->access);
    str_done(&f->out);
    str_done(&f->line);
    free(f->dir);
    free(f);
}

/* --- the Job
 * ------------------------------------------------------------------------------ */

/* Only of the output the Job tells how long it will be. */
static void
facts_of_kind(struct follower *f)
{
    if (f->kind == NULL)
        return;
    f->job.log_length = -1;
    f->job.log_open = f->job.lost = false;
}

static void
on_event_line(struct follower *f)
{
    auto_str canonical = STR_INIT(EVENT_MAX);
    struct error e = ERROR_INIT;
    struct span object;
    struct span type;
    struct job_facts facts;

    if (jcanon(f->line.ptr, f->line.len, &canonical, &e) < 0)
        return;
    struct span event = {canonical.ptr, canonical.len};
    if (!jscan_member(event, "object", &object) || !jscan_member(event, "type", &type) ||
        !job_facts_read(object, &facts) || !streq(facts.uid, f->job.uid))
        return;
    f->job = facts;
    facts_of_kind(f);
    if (jscan_is(type, "DELETED")) {
        f->job.finished = true;
        f->job.log_open = false;
        if (f->job.log_length < 0)
            f->job.lost = true;
    }
    http_stream_wake(f->stream);
}

static bool
on_watch_data(void *arg, const char *bytes, size_t n)
{
    struct follower *f = arg;

    while (n > 0) {
        const char *nl = memchr(bytes, '\n', n);
        size_t part = nl == NULL ? n : (size_t)(nl - bytes);
        str_add(&f->line, bytes, part);
        if (nl == NULL)
            return true;
        if (!f->line.toobig)
            on_event_line(f);
        str_reset(&f->line);
        bytes = nl + 1;
        n -= part + 1;
    }
    return true;
}

/* The Job has nothing more to tell about its log. */
static bool
settled(const struct follower *f)
{
    return f->job.finished && !f->job.log_open;
}

static void watch_job(struct follower *f);

static void
on_watch_done(void *arg, const struct http_reply *r, const struct error *e)
{
    struct follower *f = arg;

    f->watch = NULL;
    /* A watch ends by itself after some time; a failed one ends the follower, whose
     * client asks again with its offset or time. */
    if (e->code == ERR_OK && r->status == 200 && !settled(f)) {
        watch_job(f);
        return;
    }
    if (!settled(f)) {
        f->follow = false;
        f->stop_at = f->offset;
        http_stream_wake(f->stream);
    }
}

static void
watch_job(struct follower *f)
{
    static const struct http_transfer_cbs cbs = {.on_data = on_watch_data,
                                                 .on_done = on_watch_done};
    auto_str path = STR_INIT(2048);

    str_addf(&path,
             "/apis/drover.dev/v1/namespaces/%s/jobs?watch=true&fieldSelector="
             "metadata.name%%3D%s",
             f->route.ns, f->route.job);
    struct http_call call = {.method = "GET",
                             .path = path.ptr,
                             .accept = "application/json",
                             .timeout_ms = -1};
    f->watch = http_multi_start(f->s->multi, &f->s->api, &call, EVENT_MAX, &cbs, f);
}

/* --- output
 * ------------------------------------------------------------------------------- */

static bool
complete(const struct follower *f)
{
    if (!f->follow)
        return f->offset >= f->stop_at;
    if (!settled(f))
        return false;
    return f->job.lost || f->job.log_length < 0 ||
           f->offset >= (uint64_t)f->job.log_length;
}

/* Renders the next block into f->out. False when there is nothing new on disk. */
static bool
read_more(struct follower *f, bool *ret_failed)
{
    auto_str buf = STR_INIT(READ_BLOCK);
    struct error e = ERROR_INIT;
    uint64_t length;

    if (append_length(f->s, &f->route, f->log, &length, &e) < 0) {
        *ret_failed = true;
        return false;
    }
    /* What is written but not yet synced is not for readers, and nobody would wake a
     * reader that does not follow. */
    if (!f->follow && length > f->stop_at)
        length = f->stop_at;
    else if (!f->follow)
        f->stop_at = length;
    if (f->offset >= length)
        return false;
    if (f->patience != NULL && f->follow)
        loop_timer_in(f->patience, REST_PATIENCE_MS);
    size_t want =
        length - f->offset < READ_BLOCK ? (size_t)(length - f->offset) : READ_BLOCK;
    if (segment_read(f->dir, f->offset, &buf, want, &e) < 0 || buf.len == 0) {
        *ret_failed = e.code != ERR_OK;
        return false;
    }
    str_reset(&f->out);
    f->sent = 0;
    if (f->format.frames) {
        str_add(&f->out, buf.ptr, buf.len);
        f->offset += buf.len;
        return true;
    }
    ssize_t used =
        text_render(&f->format, (struct span){buf.ptr, buf.len}, f->offset, &f->out);
    if (used <= 0) {
        *ret_failed = used < 0;
        return false;
    }
    f->offset += (uint64_t)used;
    if (f->skip > 0) {
        f->sent = f->skip < f->out.len ? f->skip : f->out.len;
        f->skip = 0;
    }
    return true;
}

static ssize_t
send_out(struct follower *f, char *to, size_t max)
{
    size_t n = f->out.len - f->sent;

    if (n > max)
        n = max;
    if (n > f->limit)
        n = (size_t)f->limit;
    memcpy(to, f->out.ptr + f->sent, n);
    f->sent += n;
    f->limit -= n;
    return (ssize_t)n;
}

static ssize_t
fill(void *arg, char *buf, size_t max)
{
    struct follower *f = arg;
    bool failed = false;

    for (;;) {
        if (f->limit == 0)
            return -1;
        if (f->sent < f->out.len)
            return send_out(f, buf, max);
        if (read_more(f, &failed))
            continue;
        if (failed)
            return HTTP_FILL_ABORT;
        if (!complete(f))
            return 0;
        if (!f->job.lost || f->previous_end || f->format.frames || !f->follow)
            return -1;
        f->previous_end = true;
        str_reset(&f->out);
        str_adds(&f->out, LOST_MARK);
        f->sent = 0;
    }
}

/* --- request
 * ------------------------------------------------------------------------------ */

static bool
query_flag(const struct http_request *r, const char *key)
{
    const char *v = http_query(r, key);

    return v != NULL && !streq(v, "0") && strcasecmp(v, "false") != 0;
}

static int
query_number(const struct http_request *r, const char *key, uint64_t max, bool *ret_given,
             uint64_t *ret, struct error *e)
{
    const char *v = http_query(r, key);
    char *end;

    *ret_given = v != NULL && *v != '\0';
    if (!*ret_given)
        return 0;
    errno = 0;
    *ret = strtoull(v, &end, 10);
    if (errno != 0 || *end != '\0' || *v < '0' || *v > '9' || *ret > max)
        return error_set(e, ERR_BAD_REQUEST,
                         "query parameter %s: \"%.40s\" is not a number up to %llu", key,
                         v, (unsigned long long)max);
    return 0;
}

/* Time bounds, formats and the byte limit. */
static int
read_query(struct follower *f, struct error *e)
{
    const struct http_request *r = f->request;
    const char *since = http_query(r, "sinceTime");
    const char *format = http_query(r, "format");
    uint64_t n;
    bool given;

    f->follow = query_flag(r, "follow");
    f->format.timestamps = query_flag(r, "timestamps");
    f->format.at_line_start = true;
    f->format.frames = format != NULL && streq(format, "frames");
    f->position = format != NULL && streq(format, "position");
    if (format != NULL && !f->format.frames && !f->position && !streq(format, "text"))
        return error_set(e, ERR_BAD_REQUEST,
                         "query parameter format: use text, frames or position");
    if (streams_log_kind(r, &f->kind, e) < 0 ||
        query_number(r, "sinceSeconds", UINT32_MAX, &given, &n, e) < 0)
        return -(int)e->code;
    if (given)
        f->format.since_ns = clock_wall_ns() - (int64_t)n * 1000000000;
    if (since != NULL && !clock_parse(since, strlen(since), &f->format.since_ns))
        return error_set(e, ERR_BAD_REQUEST,
                         "query parameter sinceTime: not an RFC 3339 time");
    f->limit = UINT64_MAX;
    if (query_number(r, "limitBytes", INT64_MAX, &given, &n, e) < 0)
        return -(int)e->code;
    if (given)
        f->limit = n;
    return 0;
}

/* Where to start: from=, tailLines=, or the oldest retained byte. */
static int
find_start(struct follower *f, struct error *e)
{
    uint64_t first = 0;
    uint64_t length = 0;
    uint64_t n;
    bool given;

    if (segment_stat(f->dir, &first, &length, e) < 0) {
        if (e->code != ERR_NOT_FOUND)
            return -(int)e->code;
        *e = ERROR_INIT;
        return 0;
    }
    /* Not the length on disk: the last of it may not be durable yet. */
    if (append_length(f->s, &f->route, f->log, &f->stop_at, e) < 0)
        return -(int)e->code;
    f->offset = first;
    if (query_number(f->request, "from", INT64_MAX, &given, &n, e) < 0)
        return -(int)e->code;
    if (given && n < first)
        return error_set(e, ERR_EXPIRED, "log bytes before offset %llu are gone",
                         (unsigned long long)first);
    if (given)
        f->offset = n;
    else if (f->format.since_ns > 0 &&
             text_since(f->dir, f->format.since_ns, &f->offset, e) < 0)
        return -(int)e->code;
    if (query_number(f->request, "tailLines", TAIL_MAX, &given, &n, e) < 0)
        return -(int)e->code;
    if (given && text_tail(f->dir, n, &f->offset, &f->skip, e) < 0)
        return -(int)e->code;
    return 0;
}

/* Where tailLines and since* begin, for a reader that then takes frames from there and
 * can go on after a cut. */
static void
answer_position(struct follower *f)
{
    auto_str body = STR_INIT(256);

    str_addf(&body, "{\"offset\":%llu,\"skip\":%zu,\"sinceNs\":%lld}\n",
             (unsigned long long)f->offset, f->skip, (long long)f->format.since_ns);
    http_respond_str(f->request, 200, "application/json", &body);
    follower_free(f);
}

static void
on_patience(void *arg)
{
    struct follower *f = arg;

    f->follow = false;
    f->stop_at = f->offset;
    http_stream_wake(f->stream);
}

/* The Job was over before all of its output was here. A reader who asks for what there is
 * gets the rest too, if it comes soon. */
static void
await_rest(struct follower *f)
{
    const struct job_facts *j = &f->job;

    if (!j->finished || j->lost ||
        (!j->log_open && (j->log_length < 0 || f->stop_at >= (uint64_t)j->log_length)))
        return;
    f->follow = true;
    f->patience = loop_timer_new(f->s->loop, "rest of a log", on_patience, f);
    loop_timer_in(f->patience, REST_PATIENCE_MS);
}

static void
on_access(void *arg, const struct job_facts *facts, const struct error *why)
{
    struct follower *f = arg;
    struct error e = *why;

    f->access = NULL;
    http_set_state(f->request, NULL, NULL);
    if (facts != NULL) {
        f->job = *facts;
        facts_of_kind(f);
        snprintf(f->log, sizeof(f->log), "%s%s%s", facts->uid, f->kind != NULL ? "/" : "",
                 f->kind != NULL ? f->kind : "");
        f->dir = xasprintf("%s/%s/%s", f->s->output_dir, f->route.ns, f->log);
        e = ERROR_INIT;
    }
    if (e.code != ERR_OK || find_start(f, &e) < 0) {
        streams_error(f->request, &e);
        follower_free(f);
        return;
    }
    if (f->position) {
        answer_position(f);
        return;
    }
    f->stream = http_respond_stream(f->request, 200,
                                    f->format.frames ? "application/vnd.drover.frames"
                                                     : "text/plain; charset=utf-8",
                                    fill, follower_free, f);
    f->waiter.stream = f->stream;
    if (!f->follow)
        await_rest(f);
    if (f->follow) {
        append_wait(f->s, f->route.ns, f->log, &f->waiter);
        if (!settled(f))
            watch_job(f);
    }
}

static void
on_close(void *state, bool aborted)
{
    UNUSED(aborted);
    follower_free(state);
}

void
follow_handle(struct streams *s, struct http_request *r, const struct route *route)
{
    struct follower *f = xnew(struct follower);
    struct error e = ERROR_INIT;

    f->s = s;
    f->request = r;
    f->route = *route;
    str_init(&f->out, 4 * READ_BLOCK);
    str_init(&f->line, EVENT_MAX);
    if (read_query(f, &e) < 0) {
        streams_error(r, &e);
        follower_free(f);
        return;
    }
    http_set_state(r, f, on_close);
    f->access = access_reader(s, r, route, on_access, f);
}
