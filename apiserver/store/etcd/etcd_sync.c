/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The barrier: a linearizable read of "last" says which revision the view must
 * reach. Who asks while one is on its way takes part in the next: that one may
 * have been answered before the question. Idle, one is sent now and then: so a
 * watch that died without saying so is noticed.
 *
 * Compaction, like kube-apiserver's: every compact_ms each server tries to move
 * the key "compact" on by a transaction; the one that does compacts to the
 * revision that was current one round earlier. So history is kept for one round
 * at least.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "apiserver/store/etcd/etcd.h"
#include "base/log.h"
#include "base/mem.h"

LOG_MODULE(etcd);

enum { TICK_MS = 500, REPLY_MAX = 64 << 10 };

struct etcd_sync_wait {
    TAILQ_ENTRY(etcd_sync_wait) entry;
    uint64_t revision; /* once known */
    int64_t deadline_ms;
    store_done_fn *done;
    void *arg;
};

static void send_sync(struct store_etcd *x);

static void
end(struct store_etcd *x, struct etcd_sync_waits *list, struct etcd_sync_wait *w,
    const struct error *e)
{
    TAILQ_REMOVE(list, w, entry);
    store_finish_later(x->s, w->done, w->arg, x->s->visible, e);
    store_kick(x->s);
    free(w);
}

static void
fail_all(struct store_etcd *x, struct etcd_sync_waits *list, const struct error *e)
{
    struct error full = *e;

    if (full.code != ERR_TIMEOUT)
        full.code = ERR_UNAVAILABLE;
    full.retry_after_ms = 1000;
    while (!TAILQ_EMPTY(list))
        end(x, list, TAILQ_FIRST(list), &full);
}

void
etcd_sync_visible(struct store_etcd *x)
{
    struct etcd_sync_wait *w;
    struct etcd_sync_wait *next;

    for (w = TAILQ_FIRST(&x->sync_known); w != NULL; w = next) {
        next = TAILQ_NEXT(w, entry);
        if (w->revision <= x->s->visible)
            end(x, &x->sync_known, w, NULL);
    }
}

/* The newest state cannot be older than what was seen before it was asked for, unless
 * etcd was set back. */
static bool
check_order(struct store_etcd *x, uint64_t revision)
{
    struct error e = ERROR_INIT;

    if (revision >= x->sync_from)
        return true;
    error_set(&e, ERR_CORRUPT,
              "etcd is at revision %" PRIu64 ", but %" PRIu64
              " was seen: it was set back; start again to take what it has for "
              "the truth",
              revision, x->sync_from);
    etcd_fatal(x, &e);
    return false;
}

static void
on_last(void *arg, enum etcd_outcome outcome, struct span reply, const struct error *e)
{
    struct store_etcd *x = arg;
    struct etcd_range range = {0};
    struct error bad = ERROR_INIT;
    struct etcd_sync_wait *w;

    x->syncing = false;
    if (outcome == ETCD_OK && etcd_read_range(reply, &range, &bad) < 0)
        e = &bad;
    if (e != NULL) {
        fail_all(x, &x->sync_sent, e);
    } else {
        uint64_t revision = range.kvs.len == 0 ? 0 : range.kvs.items[0].mod;
        if (etcd_check_header(x, &range.header) && check_order(x, range.header.revision))
            etcd_watch_want(x, revision);
        TAILQ_FOREACH (w, &x->sync_sent, entry)
            w->revision = revision;
        TAILQ_CONCAT(&x->sync_known, &x->sync_sent, entry);
        etcd_range_done(&range);
        etcd_sync_visible(x);
    }
    x->last_sync_ms = loop_now_ms(x->s->loop);
    if (!TAILQ_EMPTY(&x->sync_next))
        send_sync(x);
}

static void
send_sync(struct store_etcd *x)
{
    struct str body = STR_INIT(64 << 10);
    struct etcd_range_req r = {.key = span_of(x->last_key), .keys_only = true};

    x->syncing = true;
    x->sync_from = x->s->visible;
    TAILQ_CONCAT(&x->sync_sent, &x->sync_next, entry);
    etcd_write_range(&body, &r);
    etcd_call(x, "/v3/kv/range", &body, true, REPLY_MAX,
              loop_now_ms(x->s->loop) + x->opts.deadline_ms, on_last, x);
}

bool
etcd_sync(struct store *s, store_done_fn *done, void *arg)
{
    struct store_etcd *x = s->etcd;
    struct etcd_sync_wait *w = xnew(struct etcd_sync_wait);

    w->deadline_ms = loop_now_ms(s->loop) + x->opts.deadline_ms;
    w->done = done;
    w->arg = arg;
    TAILQ_INSERT_TAIL(&x->sync_next, w, entry);
    if (!x->syncing)
        send_sync(x);
    return false;
}

static void
expire(struct store_etcd *x, struct etcd_sync_waits *list, int64_t now_ms)
{
    struct etcd_sync_wait *w;
    struct etcd_sync_wait *next;
    struct error e = ERROR_INIT;

    error_set(&e, ERR_TIMEOUT, "etcd did not answer, or not with what is newest: %s",
              x->last_failure.code == ERR_OK ? "no reply" : x->last_failure.msg);
    e.retry_after_ms = 1000;
    for (w = TAILQ_FIRST(list); w != NULL; w = next) {
        next = TAILQ_NEXT(w, entry);
        if (w->deadline_ms <= now_ms)
            end(x, list, w, &e);
    }
}

static void
on_tick(void *arg)
{
    struct store_etcd *x = arg;
    int64_t now = loop_now_ms(x->s->loop);

    loop_timer_in(x->tick, TICK_MS);
    expire(x, &x->sync_next, now);
    expire(x, &x->sync_sent, now);
    expire(x, &x->sync_known, now);
    etcd_commit_tick(x, now);
    etcd_watch_check(x, now);
    if (!x->syncing && x->load == NULL && now - x->last_sync_ms >= x->opts.beat_ms)
        send_sync(x);
}

/* --- compaction --- */

static void
on_compacted(void *arg, enum etcd_outcome outcome, struct span reply,
             const struct error *e)
{
    UNUSED(arg);
    UNUSED(reply);
    if (outcome != ETCD_OK && e->code != ERR_EXPIRED) /* expired: it was already */
        log_warn_rl("cannot compact etcd", "error=\"%s\"", e->msg);
}

/* --- on demand --- */

struct compaction {
    struct store_etcd *x;
    uint64_t revision;
    store_done_fn *done;
    void *arg;
};

static void
on_demanded(void *arg, enum etcd_outcome outcome, struct span reply,
            const struct error *e)
{
    struct compaction *c = arg;
    struct store *s = c->x->s;

    UNUSED(reply);
    if (outcome == ETCD_OK)
        hub_compact(&s->hub, c->revision);
    store_finish_later(s, c->done, c->arg, c->revision, e);
    store_kick(s);
    free(c);
}

int
etcd_compact(struct store *s, uint64_t revision, store_done_fn *done, void *arg,
             struct error *e)
{
    struct store_etcd *x = s->etcd;
    struct compaction *c = xnew(struct compaction);
    struct str body = STR_INIT(4096);

    UNUSED(e);
    *c = (struct compaction){x, revision, done, arg};
    str_addc(&body, '{');
    etcd_put_number(&body, "revision", revision);
    str_addc(&body, '}');
    etcd_call(x, "/v3/kv/compaction", &body, true, REPLY_MAX,
              loop_now_ms(s->loop) + x->opts.deadline_ms, on_demanded, c);
    return 0;
}

/* --- by time --- */

static void
on_compact_txn(void *arg, enum etcd_outcome outcome, struct span reply,
               const struct error *e)
{
    struct store_etcd *x = arg;
    struct str body = STR_INIT(4096);
    struct error bad = ERROR_INIT;
    struct etcd_txn t = {0};

    if (outcome != ETCD_OK || etcd_read_txn(reply, &t, &bad) < 0) {
        log_debug("no compaction", "error=\"%s\"", e != NULL ? e->msg : bad.msg);
        return;
    }
    uint64_t to = t.succeeded ? x->compact_at : 0;
    if (t.succeeded)
        x->compact_seen = t.header.revision;
    else if (t.mods.len > 0)
        x->compact_seen = t.mods.items[0]; /* another server's turn */
    x->compact_at = x->s->visible;
    etcd_txn_done(&t);
    if (to == 0)
        return;
    str_addc(&body, '{');
    etcd_put_number(&body, "revision", to);
    str_addc(&body, '}');
    log_debug("compacting etcd", "revision=%" PRIu64, to);
    etcd_call(x, "/v3/kv/compaction", &body, true, REPLY_MAX,
              loop_now_ms(x->s->loop) + x->opts.deadline_ms, on_compacted, x);
}

static void
on_compact(void *arg)
{
    struct store_etcd *x = arg;
    struct str body = STR_INIT(64 << 10);
    struct etcd_range_req r = {.key = span_of(x->compact_key), .keys_only = true};

    loop_timer_in(x->compact_timer, x->opts.compact_ms);
    if (x->load != NULL)
        return;
    str_adds(&body, "{\"compare\":[");
    etcd_write_compare(&body, span_of(x->compact_key), x->compact_seen);
    str_adds(&body, "],\"success\":[{\"request_put\":{");
    etcd_put_bytes(&body, "key", x->compact_key, strlen(x->compact_key));
    etcd_put_bytes(&body, "value", x->id, strlen(x->id));
    str_adds(&body, "}}],\"failure\":[{\"request_range\":");
    etcd_write_range(&body, &r);
    str_adds(&body, "}]}");
    etcd_call(x, "/v3/kv/txn", &body, false, REPLY_MAX,
              loop_now_ms(x->s->loop) + x->opts.deadline_ms, on_compact_txn, x);
}

/* --- starting and stopping --- */

void
etcd_sync_start(struct store_etcd *x)
{
    TAILQ_INIT(&x->sync_next);
    TAILQ_INIT(&x->sync_sent);
    TAILQ_INIT(&x->sync_known);
    x->tick = loop_timer_new(x->s->loop, "etcd-tick", on_tick, x);
    loop_timer_in(x->tick, TICK_MS);
    x->compact_timer = loop_timer_new(x->s->loop, "etcd-compact", on_compact, x);
    if (x->opts.compact_ms > 0)
        loop_timer_in(x->compact_timer, x->opts.compact_ms);
}

void
etcd_sync_stop(struct store_etcd *x)
{
    struct error e = ERROR_INIT;

    error_set(&e, ERR_UNAVAILABLE, "the store is closing");
    fail_all(x, &x->sync_next, &e);
    fail_all(x, &x->sync_sent, &e);
    fail_all(x, &x->sync_known, &e);
    loop_timer_cancel(x->tick);
    loop_timer_cancel(x->compact_timer);
}
