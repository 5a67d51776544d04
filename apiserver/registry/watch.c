/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch: a stream pulled by the client. A watcher is a cursor over the store's ring plus
 * the one event that is being sent; nothing is queued for a slow one, which gets an ERROR
 * event with 410 when the ring has moved past it.
 */
#include <stdlib.h>

#include "api/jtok.h"
#include "api/selector.h"
#include "apiserver/registry/server_internal.h"
#include "apiserver/registry/watch_piece.h"
#include "base/clock.h"
#include "base/id.h"

enum {
    SKIP_MAX = 2000, /* unwanted events looked at before others get their turn */
    BOOKMARK_MS = 60 * 1000,
    TIMEOUT_MIN_MS = 30 * 60 * 1000,
    TIMEOUT_MAX_S = 24 * 3600,
};
/* The hub wakes by one label: of several, by one that few objects share. */
static const char *const narrow_labels[] = {"drover.dev/instance", "drover.dev/run",
                                            "drover.dev/run-uid"};

struct watch_stream {
    TAILQ_ENTRY(watch_stream) entry;
    struct api_server *s;
    struct kind *kind;
    char *ns;
    struct selector *labels, *fields;
    struct accept accept;
    enum include_object include;
    struct store_watch *watch;
    struct store_list *initial; /* what is there at the start, as ADDED */
    struct object *single;      /* instead of initial when the name is known */
    uint64_t initial_revision;
    bool initial_end;  /* a bookmark marks the end of the initial events */
    bool bookmarks;    /* the client asked for them */
    bool columns_sent; /* Tables: only the first event has the columns */
    bool bookmark_due, closing, done;
    struct watch_piece *shared; /* what is being sent: one of these, or nothing */
    struct str piece;
    size_t off; /* of it has gone */
    int64_t deadline_ms, bookmark_ms;
    struct loop_timer *timer;
    void *stream;
    const struct api_responder_ops *ops;
};

static void
watch_free(void *arg)
{
    struct watch_stream *w = arg;

    TAILQ_REMOVE(&w->s->watches, w, entry);
    w->s->n_watches--;
    loop_timer_free(w->timer);
    if (w->watch != NULL)
        store_watch_free(w->watch);
    if (w->initial != NULL)
        store_list_free(w->initial);
    object_unref(w->single);
    selector_free(w->labels);
    selector_free(w->fields);
    watch_piece_unref(w->shared);
    str_done(&w->piece);
    kind_unref(w->kind);
    free(w->ns);
    free(w);
}

static void
wake(void *arg)
{
    struct watch_stream *w = arg;

    if (w->stream != NULL)
        w->ops->wake(w->stream);
}

/* --- events
 * ------------------------------------------------------------------------------ */

static void
put_table(struct watch_stream *w, const struct object *o, struct str *out)
{
    char meta[64];
    struct table_opts t = {.kind = w->kind,
                           .version = w->accept.version,
                           .include = w->include,
                           .now_ns = clock_wall_ns()};
    snprintf(meta, sizeof(meta), "\"resourceVersion\":\"%llu\"",
             (unsigned long long)o->revision);
    table_head(&t, meta, !w->columns_sent, out);
    table_row(&t, o, out);
    str_adds(out, "]}");
    w->columns_sent = true;
}

static void
event(struct watch_stream *w, const char *type, const struct object *o)
{
    metrics_watch_event(w->s->metrics);
    if (w->accept.form != ACCEPT_TABLE) {
        w->shared = watch_pieces_get(w->s->pieces, type, o, &w->accept);
        return;
    }
    str_addf(&w->piece, "{\"type\":\"%s\",\"object\":", type);
    put_table(w, o, &w->piece);
    str_adds(&w->piece, "}\n");
}

static void
bookmark(struct watch_stream *w, uint64_t revision, bool end_of_initial)
{
    bool json = w->accept.form == ACCEPT_JSON;
    struct str *out = &w->piece;

    str_adds(out, "{\"type\":\"BOOKMARK\",\"object\":{");
    if (w->accept.form == ACCEPT_TABLE)
        str_addf(out,
                 "\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/%s\","
                 "\"columnDefinitions\":null,\"rows\":[],\"metadata\":{",
                 w->accept.version);
    else
        str_addf(out, "\"kind\":\"%s\",\"apiVersion\":\"%s%s\",\"metadata\":{",
                 json ? w->kind->kind : "PartialObjectMetadata",
                 json ? w->kind->api_version : "meta.k8s.io/",
                 json ? "" : w->accept.version);
    str_addf(out, "\"resourceVersion\":\"%llu\"", (unsigned long long)revision);
    if (w->accept.form != ACCEPT_TABLE)
        str_adds(out, ",\"creationTimestamp\":null");
    if (end_of_initial)
        str_adds(out, ",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}");
    str_adds(out, "}}}\n");
    w->bookmark_due = false;
    w->bookmark_ms = loop_now_ms(w->s->loop) + BOOKMARK_MS;
}

static void
error_event(struct watch_stream *w, const struct error *e)
{
    auto_problem p;
    int http;

    problem_init(&p, NULL, NULL);
    p.e = *e;
    str_adds(&w->piece, "{\"type\":\"ERROR\",\"object\":");
    problem_write(&p, &w->piece, &http);
    str_adds(&w->piece, "}\n");
    w->done = true;
}

static bool
matches(const struct watch_stream *w, const struct object *o)
{
    return o != NULL && selector_match(w->labels, o) && selector_match(w->fields, o);
}

/* The event as this watcher sees it: entering the selection is ADDED, leaving DELETED. */
static bool
translate_views(struct watch_stream *w, const struct store_event *ev)
{
    bool now = ev->type != STORE_DELETED && matches(w, ev->obj);
    bool before = ev->type != STORE_ADDED && matches(w, ev->prev);

    if (ev->type == STORE_DELETED && ev->prev == NULL)
        before = matches(w, ev->obj);
    if (now) {
        event(w, before ? "MODIFIED" : "ADDED", ev->obj);
    } else if (before && ev->type == STORE_DELETED) {
        event(w, "DELETED", ev->obj);
    } else if (before) { /* the last state that matched, at this revision */
        struct object *last = object_with_revision(ev->prev, ev->revision);
        event(w, "DELETED", last);
        object_unref(last);
    }
    return now || before;
}

static bool
translate(struct watch_stream *w, const struct store_event *stored)
{
    auto_object *obj = view_object(w->kind, stored->obj);
    auto_object *prev = stored->prev == NULL ? NULL : view_object(w->kind, stored->prev);
    struct store_event ev = *stored;

    ev.obj = obj;
    ev.prev = prev;
    return translate_views(w, &ev);
}

/* --- producing
 * --------------------------------------------------------------------------- */

static bool
next_initial(struct watch_stream *w, size_t *skipped)
{
    struct object *o;

    if (w->single != NULL) {
        event(w, "ADDED", w->single);
        object_unref(w->single);
        w->single = NULL;
        return true;
    }
    while (w->initial != NULL && (*skipped)++ < SKIP_MAX) {
        o = store_list_next(w->initial);
        if (o == NULL) {
            store_list_free(w->initial);
            w->initial = NULL;
        } else {
            auto_object *view = view_object(w->kind, o);
            if (!matches(w, view))
                continue;
            event(w, "ADDED", view);
            return true;
        }
    }
    if (w->initial == NULL && w->initial_end) {
        w->initial_end = false;
        bookmark(w, w->initial_revision, true);
        return true;
    }
    return false;
}

/* Something is in piece; false: nothing now. */
static bool
next_event(struct watch_stream *w, size_t *skipped)
{
    struct store_event ev;
    struct error e = ERROR_INIT;

    if (next_initial(w, skipped))
        return true;
    if (w->initial != NULL)
        return false;
    while (!w->closing && (*skipped)++ < SKIP_MAX) {
        int rc = store_watch_next(w->watch, &ev, &e);
        if (rc < 0) {
            error_event(w, &e);
            return true;
        }
        if (rc == 0)
            break;
        if (translate(w, &ev))
            return true;
    }
    if (w->bookmark_due || (w->closing && w->bookmarks && !w->done)) {
        bookmark(w, store_watch_position(w->watch), false);
        w->done = w->closing;
        return true;
    }
    w->done = w->closing;
    return false;
}

static void
arm(struct watch_stream *w, bool soon)
{
    int64_t when = w->deadline_ms;

    if (w->bookmarks && w->bookmark_ms < when)
        when = w->bookmark_ms;
    if (soon)
        when = loop_now_ms(w->s->loop);
    loop_timer_at(w->timer, when);
}

static void
on_timer(void *arg)
{
    struct watch_stream *w = arg;
    int64_t now = loop_now_ms(w->s->loop);

    if (now >= w->deadline_ms) {
        w->closing = true;
        wake(w);
        return;
    }
    if (w->bookmarks && now >= w->bookmark_ms) {
        w->bookmark_due = true;
        w->bookmark_ms = now + BOOKMARK_MS;
    }
    arm(w, false);
    wake(w);
}

static struct span
rest(const struct watch_stream *w)
{
    if (w->shared != NULL)
        return (struct span){w->shared->bytes + w->off, w->shared->len - w->off};
    return (struct span){w->piece.ptr + w->off, w->piece.len - w->off};
}

/* An idle watcher holds no bytes. */
static void
drop_sent(struct watch_stream *w)
{
    watch_piece_unref(w->shared);
    w->shared = NULL;
    str_done(&w->piece);
    w->off = 0;
}

static ssize_t
watch_fill(void *arg, char *buf, size_t max)
{
    struct watch_stream *w = arg;
    size_t n = 0, skipped = 0;

    while (n < max) {
        if (rest(w).len == 0) {
            drop_sent(w);
            if (w->done || !next_event(w, &skipped))
                break;
        }
        struct span left = rest(w);
        size_t part = left.len < max - n ? left.len : max - n;
        memcpy(buf + n, left.ptr, part);
        w->off += part;
        n += part;
    }
    if (n > 0)
        return (ssize_t)n;
    if (w->done)
        return -1;
    if (skipped >= SKIP_MAX)
        arm(w, true); /* more to look at, after others had their turn */
    return 0;
}

/* --- starting
 * ---------------------------------------------------------------------------- */

static const char *
required_label(const struct watch_stream *w, const char **ret_key)
{
    for (size_t i = 0; w->labels != NULL && i < ARRAY_LEN(narrow_labels); i++) {
        const char *value = selector_requires(w->labels, narrow_labels[i]);
        if (value != NULL) {
            *ret_key = narrow_labels[i];
            return value;
        }
    }
    return selector_exact(w->labels, ret_key);
}

static int
open_watch(struct watch_stream *w, const struct list_options *o, struct problem *p)
{
    struct store *s = w->s->store;
    const char *ns = *w->ns == '\0' ? NULL : w->ns;
    const char *name =
        w->fields == NULL ? NULL : selector_requires(w->fields, "metadata.name");
    bool from_now = !o->rv_given || o->rv == 0;
    bool initial = o->send_initial_given ? o->send_initial : from_now;
    bool known = name != NULL && (ns != NULL || !w->kind->namespaced);
    struct store_watch_opts opts = {.resource = w->kind->resource,
                                    .ns = ns,
                                    .name = known ? name : NULL,
                                    .from = o->rv,
                                    .wake = wake,
                                    .arg = w};

    if (initial && known) {
        struct store_key key = {w->kind->resource, w->ns, name};
        const struct object *stored = store_get(s, &key);
        auto_object *obj = stored == NULL ? NULL : view_object(w->kind, stored);
        if (obj != NULL && matches(w, obj))
            w->single = move_ptr(obj);
        w->initial_revision = store_revision(s);
    } else if (initial) {
        w->initial = store_list(s, w->kind->resource, ns, NULL);
        w->initial_revision = store_list_revision(w->initial);
    }
    w->initial_end = initial && o->send_initial_given && w->bookmarks;
    if (initial)
        opts.from = w->initial_revision;
    else if (from_now)
        opts.from = store_revision(s);
    opts.label_value = required_label(w, &opts.label_key);
    return store_watch(s, &opts, &w->watch, &p->e);
}

/* A watch whose view is not there yet. */
struct watch_op {
    struct watch_stream *w;
    struct api_call *call;
    struct list_options o;
};

static int
prepare(struct watch_stream *w, struct api_call *c, struct list_options *o,
        struct problem *p)
{
    int rc;

    if (w->s->stopping) {
        problem_set(p, ERR_UNAVAILABLE, "the server is shutting down");
        p->e.retry_after_ms = 1000; /* without it client-go gives up */
        return -(int)p->e.code;
    }
    if ((rc = accept_parse(call_header_in(c, "Accept"), &w->accept, p)) < 0 ||
        (rc = list_options_parse(c, o, p)) < 0 ||
        (rc = include_parse(c, &w->include, p)) < 0 ||
        (rc = selector_parse_labels(o->label, &w->labels, &p->e)) < 0 ||
        (rc = selector_parse_fields(w->kind, o->field, &w->fields, &p->e)) < 0)
        return rc;
    w->bookmarks = o->bookmarks;
    int64_t now = loop_now_ms(w->s->loop);
    if (o->timeout_s > TIMEOUT_MAX_S)
        o->timeout_s = TIMEOUT_MAX_S;
    int64_t span = o->timeout_s > 0
                       ? o->timeout_s * 1000
                       : TIMEOUT_MIN_MS + (int64_t)id_uniform(TIMEOUT_MIN_MS);
    w->deadline_ms = now + span;
    w->bookmark_ms = now + BOOKMARK_MS;
    return 0;
}

static void
start(struct watch_op *op)
{
    struct watch_stream *w = op->w;
    struct api_filler filler = {watch_fill, watch_free, w};
    const struct api_responder_ops *ops = NULL;
    auto_problem p;

    problem_init(&p, NULL, NULL);
    if (open_watch(w, &op->o, &p) < 0) {
        watch_free(w);
        call_problem(op->call, &p);
        return;
    }
    arm(w, w->closing);
    void *stream = call_respond_stream(op->call, 200, "application/json", &filler, &ops);
    if (stream == NULL)
        return; /* the client has left; w is gone */
    w->ops = ops;
    w->stream = stream;
}

static void
on_ready(void *arg, uint64_t revision, const struct error *e)
{
    struct watch_op *op = arg;
    auto_problem p;

    UNUSED(revision);
    problem_init(&p, NULL, NULL);
    if (e == NULL) {
        start(op);
    } else {
        read_problem(op->w->s, &op->o, e, &p);
        watch_free(op->w);
        call_problem(op->call, &p);
    }
    free(op);
}

/* One that starts with what is there needs a view to show; one that only follows does
 * not wait. */
static bool
wants_view(const struct list_options *o)
{
    bool from_now = !o->rv_given || o->rv == 0;

    return from_now || (o->send_initial_given && o->send_initial);
}

void
verb_watch(struct api_call *c)
{
    struct watch_stream *w = xnew(struct watch_stream);
    struct watch_op op = {w, c, {0}};
    auto_problem p;

    problem_init(&p, NULL, NULL);
    w->s = c->server;
    w->kind = kind_ref(c->route.kind);
    w->ns = xstrdup(c->route.ns);
    str_init(&w->piece, 2 * OBJECT_MAX_BYTES);
    w->timer = loop_timer_new(w->s->loop, "watch", on_timer, w);
    TAILQ_INSERT_TAIL(&w->s->watches, w, entry);
    w->s->n_watches++;
    if (prepare(w, c, &op.o, &p) < 0) {
        watch_free(w);
        call_problem(c, &p);
        return;
    }
    op.o.cont = NULL;
    if (wants_view(&op.o) && read_may_wait(c->server, &op.o)) {
        struct watch_op *later = xmemdup(&op, sizeof(op));
        if (!read_ready(c->server, &op.o, on_ready, later))
            return;
        free(later);
    }
    start(&op);
}

void
watches_end_stale(struct api_server *s)
{
    struct watch_stream *w, *next;

    for (w = TAILQ_FIRST(&s->watches); w != NULL; w = next) {
        next = TAILQ_NEXT(w, entry);
        if (kinds_entry(s->kinds, w->kind) != NULL)
            continue;
        w->closing = true;
        wake(w);
    }
}

void
api_server_stop_watches(struct api_server *s)
{
    struct watch_stream *w, *next;

    s->stopping = true;
    for (w = TAILQ_FIRST(&s->watches); w != NULL; w = next) {
        next = TAILQ_NEXT(w, entry);
        w->closing = true;
        wake(w);
    }
}

/* How many there are of each kind; of kinds beyond the table, none. */
void
watches_write(const struct api_server *s, struct str *out)
{
    struct {
        const struct kind *kind;
        size_t n;
    } counts[128] = {0};
    const struct watch_stream *w;
    size_t used = 0;

    TAILQ_FOREACH (w, &s->watches, entry) {
        size_t i = 0;
        while (i < used && counts[i].kind != w->kind)
            i++;
        if (i == ARRAY_LEN(counts))
            continue;
        counts[i].kind = w->kind;
        counts[i].n++;
        used += i == used;
    }
    str_adds(out, "# TYPE apiserver_registered_watchers gauge\n");
    for (size_t i = 0; i < used; i++)
        str_addf(out,
                 "apiserver_registered_watchers{group=\"%s\",version=\"%s\",kind=\"%s\"} "
                 "%zu\n",
                 counts[i].kind->group, counts[i].kind->version, counts[i].kind->kind,
                 counts[i].n);
}
