/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Appending to job logs. Requests of all jobs that wait at one moment form a batch, which
 * the writer thread appends. What is written and not yet synced is synced by another
 * thread, all of it at once, again and again as long as there is any; then the loop
 * answers and wakes the followers. A busy agent is answered before the sync (early=true),
 * so that its next batch travels meanwhile; not when too much is unsynced. Only the
 * writer thread touches a segment_log; the loop keeps the durable length.
 *
 * A failed sync is not tried again: what is not known to be on the disk is cut off, and
 * the agent, which still has it, sends it again.
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

enum { OPEN_LOGS_MAX = 2048, UNSYNCED_MAX = 32 << 20 };
/* Of a log opened anew: files that a process before us may have left unsynced. */
#define RESYNC_FILES (UNSYNCED_MAX / SEGMENT_BYTES + 2)

struct job_log {
    char *dir;
    struct segment_log *segments; /* writer thread only; NULL until the first append */
    uint64_t length;              /* durable; loop only */
    uint64_t written;             /* loop only */
    bool known;                   /* length is from disk */
    bool cut;                     /* a sync failed; the writer cuts at the length */
    size_t pending;               /* items in flight, and one while it is to be synced */
    struct log_waiter *waiters;
    /* The loop's, but for the syncer while it is at it. */
    bool unsynced, in_sync;       /* in the queue's lists */
    struct segment_dirty dirty;   /* written, not yet with the syncer */
    struct segment_dirty syncing; /* syncer thread */
    uint64_t sync_to;
    struct error sync_error;
};

struct append_item {
    struct streams *s;
    struct http_request *request; /* NULL: the client left */
    struct access_check *access;
    struct route route;
    char uid[64], name[STREAMS_LOG_MAX]; /* of the Job; of the log */
    uint64_t offset;
    struct str body;
    bool compressed; /* zlib */
    bool early;      /* may be answered before it is synced */
    struct job_log *log;
    struct segment_dirty dirty;
    uint64_t opened, cut_at; /* durable length at the time; of a log that is opened */
    uint64_t length;         /* afterwards */
    struct error error;
};

typedef vec(struct append_item *) item_list;

struct append_queue {
    struct streams *s;
    item_list waiting, writing;
    item_list unanswered; /* written, to be synced first */
    vec(struct job_log *) unsynced, syncing;
    bool busy, closing;
};

static void
item_free(struct append_item *i)
{
    str_done(&i->body);
    segment_dirty_done(&i->dirty);
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
    vec_foreach (i, &q->unanswered)
        item_free(*i);
    vec_done(&q->waiting);
    vec_done(&q->writing);
    vec_done(&q->unanswered);
    vec_done(&q->unsynced);
    vec_done(&q->syncing);
    free(q);
}

void
append_free_log(void *log)
{
    struct job_log *l = log;

    segment_close(l->segments);
    segment_dirty_done(&l->dirty);
    segment_dirty_done(&l->syncing);
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
get_log(struct streams *s, const char *ns, const char *log)
{
    struct job_log *l = map_get(s->logs, log);

    if (l != NULL)
        return l;
    close_idle(s);
    l = xnew(struct job_log);
    l->dirty = l->syncing = SEGMENT_DIRTY_INIT;
    l->dir = xasprintf("%s/%s/%s", s->output_dir, ns, log);
    map_put(s->logs, log, l);
    return l;
}

int
append_length(struct streams *s, const struct route *route, const char *log,
              uint64_t *ret, struct error *e)
{
    const struct job_log *l = map_get(s->logs, log);
    uint64_t first;

    if (l != NULL && l->known) {
        *ret = l->length;
        return 0;
    }
    autofree char *dir = xasprintf("%s/%s/%s", s->output_dir, route->ns, log);
    if (segment_stat(dir, &first, ret, e) < 0) {
        if (e->code != ERR_NOT_FOUND)
            return -(int)e->code;
        *e = ERROR_INIT;
        *ret = 0;
    }
    return 0;
}

void
append_wait(struct streams *s, const char *ns, const char *log, struct log_waiter *w)
{
    struct job_log *l = get_log(s, ns, log);

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

/* What is there may be in the page cache only, when a process before us was killed. */
static int
open_log(struct append_item *i)
{
    struct job_log *l = i->log;

    if (segment_open(l->dir, &l->segments, &i->error) < 0)
        return -1;
    if (segment_sync_newest(l->dir, RESYNC_FILES, &i->error) < 0) {
        segment_close(l->segments);
        l->segments = NULL;
        return -1;
    }
    i->opened = segment_length(l->segments);
    return 0;
}

/* After a failed sync. */
static int
cut_log(struct append_item *i)
{
    struct job_log *l = i->log;

    segment_close(l->segments);
    l->segments = NULL;
    return segment_cut(l->dir, i->cut_at, &i->error);
}

static void
write_item(struct append_item *i)
{
    struct job_log *l = i->log;

    if (i->cut_at != UINT64_MAX && cut_log(i) < 0)
        return;
    if (l->segments == NULL && open_log(i) < 0)
        return;
    if (i->compressed && inflate_body(i) < 0)
        return;
    int rc = segment_append(l->segments, i->offset, i->body.ptr, i->body.len, &i->length,
                            &i->error);
    UNUSED(rc); /* kept; what was written before it failed is synced like any other */
    struct error why = ERROR_INIT;
    if (segment_take_dirty(l->segments, &i->dirty, &why) < 0 && i->error.code == ERR_OK)
        i->error = why;
    uint64_t max = i->s->log_max_bytes;
    uint64_t length = segment_length(l->segments);
    struct error e = ERROR_INIT;
    if (length - segment_first(l->segments) > max + SEGMENT_BYTES &&
        segment_trim(l->segments, length - max, &e) < 0)
        log_warn_rl("log not trimmed", "dir=%s error=\"%s\"", l->dir, e.msg);
}

static void
write_batch(void *arg)
{
    struct append_queue *q = arg;

    vec_foreach (i, &q->writing)
        write_item(*i);
}

/* --- syncer thread
 * ----------------------------------------------------------------------- */

static void
sync_logs(void *arg)
{
    struct append_queue *q = arg;

    vec_foreach (p, &q->syncing) {
        struct job_log *l = *p;
        l->sync_error = ERROR_INIT;
        int rc = segment_dirty_sync(&l->syncing, &l->sync_error);
        UNUSED(rc); /* kept for all that wait for it */
        segment_dirty_done(&l->syncing);
    }
}

/* --- loop
 * ---------------------------------------------------------------------------------- */

static void
answer(const struct append_item *i)
{
    auto_str body = STR_INIT(128);

    if (i->request == NULL)
        return;
    http_set_state(i->request, NULL, NULL);
    if (i->error.code == ERR_OK || i->error.code == ERR_CONFLICT) {
        uint64_t durable = i->log->length < i->length ? i->log->length : i->length;
        str_addf(&body, "{\"length\":%llu,\"durable\":%llu}\n",
                 (unsigned long long)i->length, (unsigned long long)durable);
        http_respond_str(i->request, i->error.code == ERR_OK ? 200 : 409,
                         "application/json", &body);
    } else {
        streams_error(i->request, &i->error);
    }
}

static void submit(struct append_queue *q);
static void sync_done(void *arg);

static void
start_sync(struct append_queue *q)
{
    if (q->syncing.len > 0 || q->unsynced.len == 0 || q->closing)
        return;
    vec_foreach (p, &q->unsynced) {
        struct job_log *l = *p;
        l->unsynced = false;
        l->in_sync = true;
        segment_dirty_join(&l->syncing, &l->dirty);
        l->sync_to = l->written;
        vec_push(&q->syncing, l);
    }
    q->unsynced.len = 0;
    loop_pool_run(q->s->syncer, sync_logs, sync_done, q);
}

static void
note_synced(struct job_log *l)
{
    if (l->sync_error.code != ERR_OK) {
        log_err("log not synced", "dir=%s error=\"%s\"", l->dir, l->sync_error.msg);
        l->cut = true;
        return;
    }
    if (l->length >= l->sync_to || l->cut)
        return;
    l->length = l->sync_to;
    for (struct log_waiter *w = l->waiters; w != NULL; w = w->next)
        http_stream_wake(w->stream);
}

/* Of those that were written, the ones that are durable, or that came to nothing. */
static void
answer_synced(struct append_queue *q)
{
    size_t kept = 0;

    vec_foreach (p, &q->unanswered) {
        struct append_item *i = *p;
        struct job_log *l = i->log;
        if (l->cut && i->length > l->length)
            error_set(&i->error, ERR_UNAVAILABLE, "the log could not be synced");
        else if (i->length > l->length) {
            q->unanswered.items[kept++] = i;
            continue;
        }
        answer(i);
        l->pending--;
        item_free(i);
    }
    q->unanswered.len = kept;
}

static void
sync_done(void *arg)
{
    struct append_queue *q = arg;

    vec_foreach (p, &q->syncing)
        note_synced(*p);
    answer_synced(q);
    vec_foreach (p, &q->syncing) {
        (*p)->in_sync = false;
        (*p)->pending--;
    }
    q->syncing.len = 0;
    start_sync(q);
}

/* The writer is done with it. */
static void
note_written(struct append_queue *q, struct append_item *i)
{
    struct job_log *l = i->log;
    bool appended = i->error.code == ERR_OK;

    if (!l->known && i->opened != UINT64_MAX) {
        l->length = i->opened;
        l->known = true;
    }
    if (appended || i->error.code == ERR_CONFLICT)
        l->written = i->length;
    else if (i->cut_at != UINT64_MAX)
        l->cut = true;
    if (i->dirty.files.len > 0 || i->dirty.dir_fd >= 0) {
        segment_dirty_join(&l->dirty, &i->dirty);
        if (!l->unsynced) {
            l->unsynced = true;
            l->pending++;
            vec_push(&q->unsynced, l);
        }
    }
    bool early = i->early && l->written - l->length < UNSYNCED_MAX;
    if (appended && !early && i->length > l->length) {
        vec_push(&q->unanswered, i);
        return;
    }
    answer(i);
    l->pending--;
    item_free(i);
}

static void
batch_done(void *arg)
{
    struct append_queue *q = arg;

    vec_foreach (p, &q->writing)
        note_written(q, *p);
    q->writing.len = 0;
    q->busy = false;
    start_sync(q);
    submit(q);
}

static void
reject(struct append_item *i)
{
    error_set(&i->error, ERR_UNAVAILABLE, "the log could not be synced");
    answer(i);
    i->log->pending--;
    item_free(i);
}

/* A log that is to be cut is left alone until all that was under way has come back. */
static void
take_waiting(struct append_queue *q)
{
    vec_foreach (p, &q->waiting) {
        struct append_item *i = *p;
        struct job_log *l = i->log;
        if (l->cut && (l->unsynced || l->in_sync)) {
            reject(i);
            continue;
        }
        i->opened = i->cut_at = UINT64_MAX;
        if (l->cut)
            i->cut_at = l->written = l->length;
        l->cut = false;
        vec_push(&q->writing, i);
    }
    q->waiting.len = 0;
}

static void
submit(struct append_queue *q)
{
    if (q->busy || q->closing || q->waiting.len == 0)
        return;
    take_waiting(q);
    if (q->writing.len == 0)
        return;
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
    i->log = get_log(i->s, i->route.ns, i->name);
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
    uint64_t offset = 0;

    const char *kind = NULL;

    if (uid == NULL || !is_uid(uid) || !number(http_query(r, "offset"), &offset))
        error_set(&e, ERR_BAD_REQUEST, "query parameters uid and offset are required");
    if (e.code != ERR_OK || streams_log_kind(r, &kind, &e) < 0) {
        streams_error(r, &e);
        return;
    }
    struct append_item *i = xnew(struct append_item);
    const char *early = http_query(r, "early");
    i->s = s;
    i->request = r;
    i->route = *route;
    i->offset = offset;
    snprintf(i->uid, sizeof(i->uid), "%s", uid);
    snprintf(i->name, sizeof(i->name), "%s%s%s", uid, kind != NULL ? "/" : "",
             kind != NULL ? kind : "");
    i->body = http_body_take(r);
    i->dirty = SEGMENT_DIRTY_INIT;
    i->early = early != NULL && streq(early, "true");
    const char *type = http_header(r, "Content-Type");
    i->compressed = type != NULL && streq(type, "application/vnd.drover.frames+zlib");
    http_set_state(r, i, on_close);
    i->access = access_agent(s, r, route, uid, on_access, i);
}
