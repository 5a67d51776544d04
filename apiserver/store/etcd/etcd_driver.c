/* SPDX-License-Identifier: Apache-2.0 */
/* The etcd driver: opening, closing, and its table of functions. */
#include <stdlib.h>

#include "apiserver/store/etcd/etcd.h"
#include "base/id.h"
#include "base/mem.h"

static char *
dup_or_null(const char *s)
{
    return s == NULL || *s == '\0' ? NULL : xstrdup(s);
}

static int64_t
or_default(int64_t v, int64_t otherwise)
{
    return v == 0 ? otherwise : v;
}

static int
check_prefix(const char *prefix, struct error *e)
{
    size_t n = strlen(prefix);

    if (n < 2 || n > 256 || prefix[0] != '/' || prefix[n - 1] == '/')
        return error_set(e, ERR_BAD_REQUEST,
                         "etcd prefix \"%.300s\": not of the form /name", prefix);
    return 0;
}

static int
take_options(struct store_etcd *x, struct error *e)
{
    struct store_etcd_opts *o = &x->opts;
    const char *prefix = o->prefix == NULL ? "/drover" : o->prefix;
    const char *endpoints = o->endpoints == NULL ? "" : o->endpoints;

    if (check_prefix(prefix, e) < 0)
        return -(int)e->code;
    x->prefix = xstrdup(prefix);
    x->last_key = xasprintf("%s/_meta/last", prefix);
    x->fence_prefix = xasprintf("%s/_meta/fence/%s/", prefix, x->id);
    etcd_commit_init(x);
    x->compact_key = xasprintf("%s/_meta/compact", prefix);
    x->ca_file = dup_or_null(o->ca_file);
    x->cert_file = dup_or_null(o->cert_file);
    x->key_file = dup_or_null(o->key_file);
    x->user = dup_or_null(o->user);
    x->password_file = dup_or_null(o->password_file);
    o->attempt_ms = or_default(o->attempt_ms, 3000);
    o->deadline_ms = or_default(o->deadline_ms, 10000);
    o->load_ms = or_default(o->load_ms, 60000);
    o->compact_ms = or_default(o->compact_ms, 5 * 60 * 1000);
    o->beat_ms = or_default(o->beat_ms, 5000);
    if ((x->cert_file == NULL) != (x->key_file == NULL))
        return error_set(e, ERR_BAD_REQUEST,
                         "a client certificate for etcd needs its key, and a key its "
                         "certificate");
    if ((x->user == NULL) != (x->password_file == NULL))
        return error_set(e, ERR_BAD_REQUEST,
                         "an etcd user needs a password file, and a password file a "
                         "user");
    return etcd_call_init(x, endpoints, e);
}

static int
driver_open(struct store *s, struct error *e)
{
    struct store_etcd *x = s->etcd = xnew(struct store_etcd);
    unsigned char id[8];

    x->s = s;
    x->opts = *s->opts.etcd;
    x->number = 0;
    for (size_t i = 0; i < sizeof(id); i++)
        id[i] = (unsigned char)id_uniform(256);
    auto_str hex = STR_INIT(32);
    id_hex(id, sizeof(id), &hex);
    snprintf(x->id, sizeof(x->id), "%s", hex.ptr);
    x->busy = map_new(NULL);
    TAILQ_INIT(&x->queue);
    TAILQ_INIT(&x->flying);
    TAILQ_INIT(&x->applied);
    TAILQ_INIT(&x->calls);
    str_init(&x->in, ETCD_LINE_MAX);
    loop_turn(s->loop, 0); /* so that its clock is not an old one */
    etcd_sync_start(x);
    int rc = take_options(x, e);
    if (rc < 0)
        return rc;
    s->opts.etcd = &x->opts;
    etcd_load_start(x, "start");
    int64_t until = loop_now_ms(s->loop) + x->opts.load_ms;
    while (x->load != NULL && loop_now_ms(s->loop) < until)
        loop_turn(s->loop, 100);
    if (x->load == NULL)
        return 0;
    return error_set(
        e, ERR_UNAVAILABLE, "etcd at %s: cannot load: %s", s->opts.etcd->endpoints,
        x->last_failure.code == ERR_OK ? "no reply in time" : x->last_failure.msg);
}

/* The loop does not turn any more for us: what has no answer yet gets none. */
static void
driver_drain(struct store *s)
{
    etcd_commit_stop(s->etcd);
    etcd_sync_stop(s->etcd);
}

static void
driver_close(struct store *s)
{
    struct store_etcd *x = s->etcd;

    if (x == NULL)
        return;
    etcd_load_stop(x);
    etcd_watch_stop(x);
    etcd_call_done(x);
    loop_timer_free(x->reopen_timer);
    loop_timer_free(x->tick);
    loop_timer_free(x->compact_timer);
    str_done(&x->in);
    map_free(x->busy);
    free(x->prefix);
    free(x->last_key);
    free(x->fence_prefix);
    for (size_t i = 0; i < ETCD_SLOTS; i++)
        free(x->slots[i].key);
    free(x->compact_key);
    free(x->ca_file);
    free(x->cert_file);
    free(x->key_file);
    free(x->user);
    free(x->password_file);
    free(x);
    s->etcd = NULL;
}

static void
driver_collect(struct store *s)
{
    etcd_watch_work(s->etcd);
}

static void
driver_stats(const struct store *s, struct store_stats *ret)
{
    const struct store_etcd *x = s->etcd;

    ret->pending = x->n_queued + x->n_flying;
    ret->lost_races = x->lost_races;
    ret->unknown_outcomes = x->unknown_outcomes;
    ret->reloads = x->reloads;
}

const struct store_driver store_driver_etcd = {
    .name = "etcd",
    .shared = true,
    .open = driver_open,
    .drain = driver_drain,
    .close = driver_close,
    .commit = etcd_commit,
    .sync = etcd_sync,
    .collect = driver_collect,
    .compact = etcd_compact,
    .stats = driver_stats,
};
