/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Appending to job logs. Requests of all jobs that wait at one moment form a batch; the
 * writer thread appends them, syncs each touched log once, and the loop then answers them
 * all and wakes the followers. Only the writer thread touches a segment_log; the loop
 * keeps the durable length.
 */
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "apiserver/streams/streams.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/vec.h"
#include "io/segment.h"

LOG_MODULE(append);

enum { OPEN_LOGS_MAX = 2048 };

struct job_log {
    char *dir;
    struct segment_log *segments; /* writer thread only; NULL until the first append */
    uint64_t length;              /* durable; loop only */
    bool known;                   /* length is from disk */
    bool synced;                  /* writer thread, within a batch */
    struct error sync_error;      /* writer thread, within a batch */
    size_t pending;               /* items in flight */
    struct log_waiter *waiters;
};

struct append_item {
    struct streams *s;
    struct http_request *request; /* NULL: the client left */
    struct access_check *access;
    struct route route;
    char uid[64];
    uint64_t offset;
    struct str body;
    bool compressed; /* zlib */
    struct job_log *log;
    uint64_t length; /* afterwards */
    struct error error;
};

typedef vec(struct append_item *) item_list;

struct append_queue {
    struct streams *s;
    item_list waiting, writing;
    bool busy, closing;
};

static void
item_free(struct append_item *i)
{
    str_done(&i->body);
    free(i);
}

struct append_queue *
append_queue_new(struct streams *s)
{
    struct append_queue *q = xnew(struct append_queue);

    q->s = s;
    return q;
}

void
append_queue_close(struct append_queue *q)
{
    q->closing = true;
}

void
append_queue_free(struct append_queue *q)
{
    if (q == NULL)
        return;
    /* Their clients were told that we leave; they send it again. */
    vec_foreach (i, &q->waiting)
        item_free(*i);
    vec_done(&q->waiting);
    vec_done(&q->writing);
    free(q);
}

void
append_free_log(void *log)
{
    struct job_log *l = log;

    segment_close(l->segments);
    free(l->dir);
    free(l);
}

/* Closes logs that nobody uses when there are many; they reopen on demand. */
static void
close_idle(struct streams *s)
{
    struct map_cursor c = map_begin(s->logs);
    const char *uid;
    void *value;

    if (map_len(s->logs) < OPEN_LOGS_MAX)
        return;
    while (map_next(&c, &uid, &value)) {
        const struct job_log *l = value;
        if (l->pending == 0 && l->waiters == NULL)
            map_del(s->logs, uid);
    }
}

static struct job_log *
get_log(struct streams *s, const char *ns, const char *uid)
{
    struct job_log *l = map_get(s->logs, uid);

    if (l != NULL)
        return l;
    close_idle(s);
    l = xnew(struct job_log);
    l->dir = xasprintf("%s/%s/%s", s->output_dir, ns, uid);
    map_put(s->logs, uid, l);
    return l;
}

int
append_length(struct streams *s, const struct route *route, const char *uid,
              uint64_t *ret, struct error *e)
{
    const struct job_log *l = map_get(s->logs, uid);
    uint64_t first;

    if (l != NULL && l->known) {
        *ret = l->length;
        return 0;
    }
    autofree char *dir = xasprintf("%s/%s/%s", s->output_dir, route->ns, uid);
    if (segment_stat(dir, &first, ret, e) < 0) {
        if (e->code != ERR_NOT_FOUND)
            return -(int)e->code;
        *e = ERROR_INIT;
        *ret = 0;
    }
    return 0;
}

void
append_wait(struct streams *s, const char *ns, const char *uid, struct log_waiter *w)
{
    struct job_log *l = get_log(s, ns, uid);

    bug_if(w->link != NULL);
    w->next = l->waiters;
    if (w->next != NULL)
        w->next->link = &w->next;
    w->link = &l->waiters;
    l->waiters = w;
}

void
append_unwait(struct log_waiter *w)
{
    if (w->link == NULL)
        return;
    *w->link = w->next;
    if (w->next != NULL)
        w->next->link = w->link;
    w->link = NULL;
}

/* --- writer thread
 * ----------------------------------------------------------------------- */

/* Bounded: what does not fit an append is no batch of ours. */
static int
inflate_body(struct append_item *i)
{
    auto_str plain = STR_INIT(STREAMS_MAX_APPEND);
    uLongf n = STREAMS_MAX_APPEND;

    if (!str_reserve(&plain, n) ||
        uncompress((Bytef *)plain.ptr, &n, (const Bytef *)i->body.ptr, i->body.len) !=
            Z_OK)
        return error_set(&i->error, ERR_BAD_REQUEST,
                         "the body is no zlib data of at "
                         "most %u bytes",
                         STREAMS_MAX_APPEND);
    plain.len = n;
    plain.ptr[n] = '\0';
    str_done(&i->body);
    i->body = plain;
    plain = STR_INIT(0);
    return 0;
}

static void
write_item(struct append_item *i)
{
    struct job_log *l = i->log;

    if (l->segments == NULL && segment_open(l->dir, &l->segments, &i->error) < 0)
        return;
    if (i->compressed && inflate_body(i) < 0)
        return;
    if (segment_append(l->segments, i->offset, i->body.ptr, i->body.len, &i->length,
                       &i->error) == 0)
        l->synced = false;
    uint64_t max = i->s->log_max_bytes;
    uint64_t length = segment_length(l->segments);
    struct error e = ERROR_INIT;
    if (length - segment_first(l->segments) > max + SEGMENT_BYTES &&
        segment_trim(l->segments, length - max, &e) < 0)
        log_warn_rl("log not trimmed", "dir=%s error=\"%s\"", l->dir, e.msg);
}

static void
sync_item(struct append_item *i)
{
    struct job_log *l = i->log;

    if (i->error.code != ERR_OK)
        return;
    if (!l->synced) {
        l->synced = true;
        l->sync_error = ERROR_INIT;
        int rc = segment_sync(l->segments, &l->sync_error);
        UNUSED(rc); /* kept for every item of this log */
    }
    i->error = l->sync_error;
}

static void
write_batch(void *arg)
{
    struct append_queue *q = arg;

    vec_foreach (i, &q->writing)
        write_item(*i);
    vec_foreach (i, &q->writing)
        sync_item(*i);
}

/* --- loop
 * ---------------------------------------------------------------------------------- */

static void
answer(struct append_item *i)
{
    auto_str body = STR_INIT(128);

    if (i->request == NULL)
        return;
    if (i->error.code == ERR_OK || i->error.code == ERR_CONFLICT) {
        str_addf(&body, "{\"length\":%llu}\n", (unsigned long long)i->length);
        http_respond_str(i->request, i->error.code == ERR_OK ? 200 : 409,
                         "application/json", &body);
    } else {
        streams_error(i->request, &i->error);
    }
}

static void submit(struct append_queue *q);

static void
batch_done(void *arg)
{
    struct append_queue *q = arg;

    vec_foreach (p, &q->writing) {
        struct append_item *i = *p;
        struct job_log *l = i->log;
        l->pending--;
        bool grown = i->error.code == ERR_OK && (!l->known || i->length > l->length);
        if (i->error.code == ERR_OK) {
            l->length = i->length;
            l->known = true;
        }
        if (i->request != NULL)
            http_set_state(i->request, NULL, NULL);
        answer(i);
        for (struct log_waiter *w = l->waiters; grown && w != NULL; w = w->next)
            http_stream_wake(w->stream);
        item_free(i);
    }
    q->writing.len = 0;
    q->busy = false;
    submit(q);
}

static void
submit(struct append_queue *q)
{
    if (q->busy || q->closing || q->waiting.len == 0)
        return;
    item_list empty = q->writing;
    q->writing = q->waiting;
    q->waiting = empty;
    q->busy = true;
    loop_pool_run(q->s->writer, write_batch, batch_done, q);
}

static void
on_access(void *arg, const struct job_facts *facts, const struct error *e)
{
    struct append_item *i = arg;

    i->access = NULL;
    if (facts == NULL) {
        http_set_state(i->request, NULL, NULL);
        streams_error(i->request, e);
        item_free(i);
        return;
    }
    i->log = get_log(i->s, i->route.ns, i->uid);
    i->log->pending++;
    vec_push(&i->s->queue->waiting, i);
    submit(i->s->queue);
}

/* The client left. What is queued is still written: it is the job's output. */
static void
on_close(void *state, bool aborted)
{
    struct append_item *i = state;

    UNUSED(aborted);
    i->request = NULL;
    if (i->access != NULL) {
        access_cancel(i->access);
        item_free(i);
    }
}

static bool
number(const char *text, uint64_t *ret)
{
    char *end;

    if (text == NULL || *text < '0' || *text > '9')
        return false;
    errno = 0;
    *ret = strtoull(text, &end, 10);
    return errno == 0 && *end == '\0';
}

static bool
is_uid(const char *text)
{
    size_t n = strspn(text, "0123456789abcdef-");

    return n > 0 && n < 64 && text[n] == '\0';
}

void
append_handle(struct streams *s, struct http_request *r, const struct route *route)
{
    struct error e = ERROR_INIT;
    const char *uid = http_query(r, "uid");
    uint64_t offset;

    if (uid == NULL || !is_uid(uid) || !number(http_query(r, "offset"), &offset)) {
        error_set(&e, ERR_BAD_REQUEST, "query parameters uid and offset are required");
        streams_error(r, &e);
        return;
    }
    struct append_item *i = xnew(struct append_item);
    struct span body = http_body(r);
    i->s = s;
    i->request = r;
    i->route = *route;
    i->offset = offset;
    snprintf(i->uid, sizeof(i->uid), "%s", uid);
    str_init(&i->body, STREAMS_MAX_APPEND);
    str_add(&i->body, body.ptr, body.len);
    const char *type = http_header(r, "Content-Type");
    i->compressed = type != NULL && streq(type, "application/vnd.drover.frames+zlib");
    http_set_state(r, i, on_close);
    i->access = access_agent(s, r, route, uid, on_access, i);
}
