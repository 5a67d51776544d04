/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One watch of the whole prefix. Lines become events, events become revisions:
 * one is applied when all of it is here, in slices, so that a long catching-up
 * does not hold up the loop.
 *
 * Nothing is taken on trust. Each commit counts up the version of the key
 * "last" and says there how many changes it has; one that is missing or
 * incomplete (etcd 3.4 leaves out the deletions of a revision that was just
 * compacted) means reading everything again. An empty frame that etcd sends by
 * itself is a bookmark: it stands in the order of the events. The answer to our
 * opening the watch is none.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "apiserver/store/etcd/etcd.h"
#include "base/log.h"
#include "base/mem.h"

LOG_MODULE(etcd);

enum {
    SLICE = 64,
    REOPEN_MS = 50,
    REOPEN_MAX_MS = 1000,
    BEHIND_MOVED_MS = 500,
    BEHIND_MS = 2000, /* a stream that has nothing to say about what is there */
};

static void
lost(struct store_etcd *x, const char *why)
{
    etcd_load_start(x, why);
}

/* --- applying --- */

struct revision {
    uint64_t number;
    const struct etcd_kv *kvs;
    size_t n, n_changes;
    struct etcd_commit *own;
    int slot; /* whose fence was put; -1: none */
};

/* "<server>.<number>.<changes>"; *ret_number: 0 when it is another server's. */
static bool
read_last(const struct store_etcd *x, const struct etcd_kv *kv, uint64_t *ret_number,
          uint64_t *ret_changes)
{
    size_t id = strlen(x->id);
    char *end;

    if (kv->value == NULL || kv->value_len <= id + 1 || kv->value[id] != '.')
        return false;
    unsigned long long number = strtoull(kv->value + id + 1, &end, 10);
    if (*end != '.' || number == 0)
        return false;
    *ret_number = memcmp(kv->value, x->id, id) == 0 ? number : 0;
    *ret_changes = strtoull(end + 1, &end, 10);
    return *end == '\0';
}

/* False: something is missing. */
static bool
check(struct store_etcd *x, struct revision *r)
{
    const struct etcd_kv *last = NULL;
    size_t meta = strlen(x->prefix) + 1;
    uint64_t number = 0;
    uint64_t changes = 0;

    for (size_t i = 0; i < r->n; i++) {
        const struct etcd_kv *kv = &r->kvs[i];
        if (streq(kv->key, x->last_key))
            last = kv;
        else if (!kv->deleted && etcd_slot_of(x, kv->key) >= 0)
            r->slot = etcd_slot_of(x, kv->key);
        else if (kv->key_len <= meta || !str_starts(kv->key + meta, "_meta/"))
            r->n_changes++;
    }
    if (last == NULL)
        return true; /* not a commit of a server */
    if (last->deleted || last->version != x->last_version + 1 ||
        !read_last(x, last, &number, &changes) || changes != r->n_changes)
        return false;
    x->last_version = last->version;
    if (number != 0)
        r->own = etcd_commit_find(x, number);
    return true;
}

static void
apply_put(struct store *s, const struct revision *r, const struct etcd_kv *kv,
          const struct etcd_key *k)
{
    struct error e = ERROR_INIT;
    auto_object *o = NULL;

    if (r->own != NULL)
        o = etcd_commit_object(r->own, k->resource, k->ns, k->name);
    if (o != NULL) {
        o = object_ref(o);
        o->revision = r->number;
    } else if (etcd_object(s, kv, k, r->number, &o, &e) < 0) {
        log_err("not an object of ours in etcd; what was there before is shown",
                "key=%s error=\"%s\"", kv->key, e.msg);
        return;
    }
    struct store_change ch = {
        .type = STORE_PUT, .resource = store_resource_get(s, k->resource), .obj = o};
    store_apply(s, r->number, &ch);
}

static void
apply_delete(struct store *s, const struct revision *r, const struct etcd_key *k)
{
    struct store_resource *res = store_resource_get(s, k->resource);
    const struct object *old = store_index_get(&res->index, k->ns, k->name);

    if (old == NULL)
        return;
    auto_object *last = object_with_revision(old, r->number);
    struct store_change ch = {.type = STORE_DELETE, .resource = res, .obj = last};
    store_apply(s, r->number, &ch);
}

static void
advance(struct store_etcd *x, uint64_t revision)
{
    store_set_visible(x->s, revision);
    x->reopens = 0;
    x->behind_since_ms = x->wanted > revision ? loop_now_ms(x->s->loop) : 0;
    etcd_commit_visible(x);
    etcd_sync_visible(x);
    store_kick(x->s);
}

/* False: history is missing, reading again has begun. */
static bool
apply(struct store_etcd *x, struct revision *r)
{
    struct store *s = x->s;
    size_t skip = strlen(x->prefix) + 1;
    struct etcd_key k;

    if (r->number <= s->visible)
        return true; /* the same again, after a new start of the stream */
    if (!check(x, r)) {
        lost(x, "events are missing");
        return false;
    }
    for (size_t i = 0; i < r->n; i++) {
        const struct etcd_kv *kv = &r->kvs[i];
        if (kv->key_len <= skip ||
            !etcd_key_read((struct span){kv->key + skip, kv->key_len - skip}, &k))
            continue;
        if (kv->deleted)
            apply_delete(s, r, &k);
        else
            apply_put(s, r, kv, &k);
    }
    s->commits++;
    if (r->own != NULL)
        etcd_commit_seen(x, r->own, r->number);
    advance(x, r->number);
    if (r->slot >= 0)
        etcd_commit_fenced(x, r->slot, r->number);
    return true;
}

static void
drop_applied(struct store_etcd *x)
{
    for (size_t i = 0; i < x->n_applied; i++)
        etcd_kv_done(&x->events.items[i]);
    x->events.len -= x->n_applied;
    memmove(x->events.items, x->events.items + x->n_applied,
            x->events.len * sizeof(x->events.items[0]));
    x->n_complete -= x->n_applied;
    x->n_applied = 0;
}

/* Applies complete revisions, about SLICE events. False: stopped on the way. */
static bool
apply_slice(struct store_etcd *x)
{
    size_t end = x->n_applied + SLICE;

    while (x->n_applied < x->n_complete && x->n_applied < end) {
        struct revision r = {.kvs = &x->events.items[x->n_applied], .slot = -1};
        r.number = r.kvs[0].mod;
        while (x->n_applied + r.n < x->n_complete && r.kvs[r.n].mod == r.number)
            r.n++;
        if (!apply(x, &r))
            return false;
        x->n_applied += r.n;
    }
    if (x->n_applied == x->n_complete && x->n_applied > 0)
        drop_applied(x);
    return true;
}

/* --- frames --- */

/* What is complete: everything, or when more of the last revision follows, all
 * before. */
static void
set_complete(struct store_etcd *x, bool fragment)
{
    x->n_complete = x->events.len;
    while (fragment && x->n_complete > x->n_applied &&
           x->events.items[x->n_complete - 1].mod ==
               x->events.items[x->events.len - 1].mod)
        x->n_complete--;
}

/* Events come in the order of revisions; a reply that mixes them up is no
 * etcd's. */
static bool
in_order(const struct store_etcd *x, const struct etcd_frame *f)
{
    uint64_t last = x->events.len > 0 ? x->events.items[x->events.len - 1].mod : 0;

    vec_foreach (ev, &f->events) {
        if (ev->mod < last)
            return false;
        last = ev->mod;
    }
    return true;
}

/* A token that is no longer valid ends the watch so; the next call gets a new
 * one. */
static void
not_permitted(struct store_etcd *x)
{
    etcd_forget_token(x);
    x->stream_over = true;
}

static bool
take_frame(struct store_etcd *x, struct etcd_frame *f)
{
    if (f->canceled) {
        if (f->compact_revision != 0)
            lost(x, "the history after our revision was compacted");
        else
            not_permitted(x);
        return false;
    }
    if (f->header.cluster != 0 && !etcd_check_header(x, &f->header))
        return false;
    if (f->created)
        return true;
    if (!in_order(x, f)) {
        log_warn("etcd sent events out of order", "endpoint=%s",
                 x->endpoints.items[x->stream_endpoint]);
        x->stream_over = true;
        return false;
    }
    if (f->events.len == 0 && x->events.len == 0 && f->header.revision > x->s->visible)
        advance(x, f->header.revision); /* a bookmark */
    vec_foreach (ev, &f->events) {
        vec_push(&x->events, *ev);
        *ev = (struct etcd_kv){0};
    }
    if (f->events.len > 0)
        set_complete(x, f->fragment);
    return true;
}

/* The next whole line. False: none, or it ended the stream. */
static bool
take_line(struct store_etcd *x)
{
    const char *start = x->in.ptr + x->in_off;
    const char *end = memchr(start, '\n', x->in.len - x->in_off);
    struct etcd_frame f;
    struct error e = ERROR_INIT;

    if (end == NULL)
        return false;
    x->in_off += (size_t)(end - start) + 1;
    if (end == start)
        return true;
    if (etcd_read_frame((struct span){start, (size_t)(end - start)}, &f, &e) < 0) {
        log_warn_rl("the watch of etcd failed", "error=\"%s\"", e.msg);
        x->stream_over = true;
        return false;
    }
    bool ok = take_frame(x, &f);
    etcd_frame_done(&f);
    return ok;
}

static void
compact_input(struct store_etcd *x)
{
    size_t rest = x->in.len - x->in_off;

    if (x->in_off == 0)
        return;
    memmove(x->in.ptr, x->in.ptr + x->in_off, rest);
    str_truncate(&x->in, rest);
    x->in_off = 0;
}

static void
reopen_later(struct store_etcd *x)
{
    int64_t delay = REOPEN_MS << (x->reopens < 5 ? x->reopens : 5);

    x->reopens++;
    loop_timer_in(x->reopen_timer, delay < REOPEN_MAX_MS ? delay : REOPEN_MAX_MS);
}

void
etcd_watch_work(struct store_etcd *x)
{
    if (x->load != NULL)
        return;
    /* One slice per turn; the next line only when the one before is applied. */
    if (!apply_slice(x))
        return;
    while (x->n_applied == x->n_complete && !x->stream_over && take_line(x)) {
        if (!apply_slice(x))
            return;
    }
    if (x->load != NULL)
        return;
    if (x->n_applied < x->n_complete) {
        store_kick(x->s);
        return;
    }
    compact_input(x);
    if (x->stream_over) {
        etcd_next_endpoint(x, x->stream_endpoint);
        etcd_watch_stop(x);
        reopen_later(x);
    } else if (x->paused) {
        x->paused = false;
        http_transfer_unpause(x->stream);
    }
}

/* --- the stream --- */

static bool
on_data(void *arg, const char *bytes, size_t n)
{
    struct store_etcd *x = arg;

    if (x->n_applied < x->n_complete) { /* it comes again when we have caught up */
        x->paused = true;
        return false;
    }
    str_add(&x->in, bytes, n);
    if (x->in.toobig) {
        log_warn("a line of the watch is too long", "limit=%u", ETCD_LINE_MAX);
        x->stream_over = true;
    }
    store_kick(x->s);
    return true;
}

static void
on_stream_done(void *arg, const struct http_reply *r, const struct error *e)
{
    struct store_etcd *x = arg;

    x->stream = NULL;
    if (e->code != ERR_OK)
        x->last_failure = *e;
    log_debug("the watch ended", "status=%d error=\"%s\"", r->status, e->msg);
    if (r->status >= 400 && r->status < 500)
        etcd_forget_token(x);
    x->stream_over = true;
    store_kick(x->s);
}

static const struct http_transfer_cbs stream_cbs = {.on_data = on_data,
                                                    .on_done = on_stream_done};

static void
open_stream(struct store_etcd *x)
{
    auto_str body = STR_INIT(64 << 10);
    autofree char *key = xasprintf("%s/", x->prefix);
    autofree char *end = xasprintf("%s0", x->prefix);
    const char *headers[2] = {x->token_header, NULL};
    struct http_target target;

    str_adds(&body, "{\"create_request\":{");
    etcd_put_bytes(&body, "key", key, strlen(key));
    etcd_put_bytes(&body, "range_end", end, strlen(end));
    etcd_put_number(&body, "start_revision", x->s->visible + 1);
    str_adds(&body, ",\"progress_notify\":true,\"fragment\":true}}");
    struct http_call call = {.method = "POST",
                             .path = "/v3/watch",
                             .content_type = "application/json",
                             .headers = headers,
                             .body = body.ptr,
                             .body_len = body.len,
                             .timeout_ms = -1,
                             .connect_timeout_ms = (int)x->opts.attempt_ms};
    x->stream_endpoint = x->endpoint;
    etcd_target(x, x->stream_endpoint, &target);
    x->stream = http_multi_start(x->http, &target, &call, 64 << 10, &stream_cbs, x);
}

static void
on_reopen(void *arg)
{
    struct store_etcd *x = arg;

    if (x->stream != NULL || x->load != NULL)
        return;
    if (etcd_has_token(x))
        open_stream(x);
    else
        reopen_later(x);
}

void
etcd_watch_start(struct store_etcd *x)
{
    if (x->reopen_timer == NULL)
        x->reopen_timer = loop_timer_new(x->s->loop, "etcd-watch", on_reopen, x);
    etcd_watch_stop(x);
    open_stream(x);
}

void
etcd_watch_stop(struct store_etcd *x)
{
    http_transfer_cancel(x->stream);
    x->stream = NULL;
    etcd_kvs_done(&x->events);
    x->events = (__typeof__(x->events)){0};
    x->n_applied = x->n_complete = x->in_off = 0;
    x->paused = x->stream_over = false;
    str_reset(&x->in);
    if (x->reopen_timer != NULL)
        loop_timer_cancel(x->reopen_timer);
}

void
etcd_watch_want(struct store_etcd *x, uint64_t revision)
{
    if (revision > x->wanted)
        x->wanted = revision;
    if (x->wanted > x->s->visible && x->behind_since_ms == 0)
        x->behind_since_ms = loop_now_ms(x->s->loop);
}

void
etcd_watch_check(struct store_etcd *x, int64_t now_ms)
{
    bool moved = x->endpoint != x->stream_endpoint; /* a call had no answer there */
    int64_t limit = moved ? BEHIND_MOVED_MS : BEHIND_MS;

    if (x->stream == NULL || x->behind_since_ms == 0 ||
        now_ms - x->behind_since_ms < limit || x->n_applied < x->n_complete)
        return;
    log_warn_rl("the watch of etcd is silent; another endpoint is asked", "endpoint=%s",
                x->endpoints.items[x->stream_endpoint]);
    x->behind_since_ms = now_ms;
    etcd_next_endpoint(x, x->stream_endpoint);
    etcd_watch_stop(x);
    open_stream(x);
}
