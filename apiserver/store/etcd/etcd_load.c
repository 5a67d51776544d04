/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads everything below the prefix at one revision, page by page, beside what
 * is there, then puts it in its place at once. At the start, and when history
 * was lost on the way (compacted before we came to it, or an event that is
 * missing): then every watcher is told that its history has a hole.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "apiserver/store/etcd/etcd.h"
#include "apiserver/store/store_seal.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

LOG_MODULE(etcd);

enum {
    PAGE_FIRST = 500, /* nothing is served yet */
    PAGE_LATER = 50,  /* reading one must not hold up the loop */
    PAGE_BYTES = 64 << 20,
    RETRY_MS = 500,
    FENCE_KEPT_S = 24 * 3600,
};

struct etcd_load {
    struct store_etcd *x;
    struct map *resources; /* name -> struct store_index */
    uint64_t revision;     /* of the first page */
    uint64_t last_version;
    uint64_t fences[ETCD_SLOTS];
    struct str from; /* the key to go on at */
    unsigned page;
    struct etcd_call *call;
    struct loop_timer *retry;
};

static void next_page(struct etcd_load *l);

static void
index_free(void *arg)
{
    store_index_done(arg);
    free(arg);
}

static void
restart(struct etcd_load *l)
{
    map_clear(l->resources);
    l->revision = l->last_version = 0;
    memset(l->fences, 0, sizeof(l->fences));
    str_reset(&l->from);
    str_addf(&l->from, "%s/", l->x->prefix);
}

void
etcd_load_stop(struct store_etcd *x)
{
    struct etcd_load *l = x->load;

    if (l == NULL)
        return;
    x->load = NULL;
    etcd_call_cancel(l->call);
    loop_timer_free(l->retry);
    map_free(l->resources);
    str_done(&l->from);
    free(l);
}

/* --- what a page has --- */

static void
on_forgotten(void *arg, enum etcd_outcome outcome, struct span reply,
             const struct error *e)
{
    UNUSED(arg);
    UNUSED(outcome);
    UNUSED(reply);
    UNUSED(e); /* another start will see it again */
}

/* Fences of starts long past. Should their server still be there, it puts its
 * own again when it misses it. */
static void
forget_old_fence(struct etcd_load *l, const struct etcd_kv *kv)
{
    struct store_etcd *x = l->x;
    autofree char *start = xasprintf("%s/_meta/fence/", x->prefix);
    struct str body = STR_INIT(64 << 10);
    int64_t now = clock_wall_ns() / 1000000000;

    if (!str_starts(kv->key, start) || kv->value == NULL ||
        now - strtoll(kv->value, NULL, 10) < FENCE_KEPT_S)
        return;
    str_addc(&body, '{');
    etcd_put_bytes(&body, "key", kv->key, kv->key_len);
    str_addc(&body, '}');
    etcd_call(x, "/v3/kv/deleterange", &body, true, 64 << 10,
              loop_now_ms(x->s->loop) + x->opts.deadline_ms, on_forgotten, x);
}

static void
take_meta(struct etcd_load *l, const struct etcd_kv *kv)
{
    int slot = etcd_slot_of(l->x, kv->key);

    if (streq(kv->key, l->x->last_key))
        l->last_version = kv->version;
    else if (slot >= 0)
        l->fences[slot] = kv->mod;
    else if (!l->x->loaded_once)
        forget_old_fence(l, kv);
}

int
etcd_object(const struct store *s, const struct etcd_kv *kv, const struct etcd_key *k,
            uint64_t revision, struct object **ret, struct error *e)
{
    const struct keyring *seal = s->opts.seal;
    struct span bytes = {kv->value == NULL ? "" : kv->value, kv->value_len};
    auto_str open = STR_INIT(OBJECT_MAX_BYTES);
    auto_object *o = NULL;
    int rc = 0;

    if (store_seal_wants(seal, k->resource)) {
        rc = store_unseal(seal, bytes, &open, e);
        bytes = (struct span){open.ptr, open.len};
    }
    if (rc == 0)
        rc =
            object_new(store_kind(s, k->resource), bytes.ptr, bytes.len, revision, &o, e);
    if (rc < 0)
        return rc;
    bug_if(o == NULL);
    if (!streq(o->name, k->name) || !streq(o->ns, k->ns))
        return error_set(e, ERR_INVALID, "its name is %s/%s", o->ns, o->name);
    *ret = move_ptr(o);
    return 0;
}

/* The object that is here already, unless it is another state. */
static struct object *
known(const struct store *s, const struct etcd_key *k, uint64_t revision)
{
    struct store_key key = {k->resource, k->ns, k->name};
    struct object *have = store_get(s, &key);

    return have != NULL && have->revision == revision ? object_ref(have) : NULL;
}

static void
take_object(struct etcd_load *l, const struct etcd_kv *kv, const struct etcd_key *k)
{
    struct store *s = l->x->s;
    struct error e = ERROR_INIT;
    auto_object *o = known(s, k, kv->mod);

    if (o == NULL && etcd_object(s, kv, k, kv->mod, &o, &e) < 0) {
        log_err("not an object of ours in etcd; it is not served", "key=%s error=\"%s\"",
                kv->key, e.msg);
        return;
    }
    struct store_index *x = map_get(l->resources, k->resource);
    if (x == NULL) {
        x = xnew(struct store_index);
        map_put(l->resources, k->resource, x);
    }
    object_unref(store_index_put(x, o));
}

static void
take_kv(struct etcd_load *l, const struct etcd_kv *kv)
{
    size_t skip = strlen(l->x->prefix) + 1;
    struct etcd_key k;

    if (kv->key_len <= skip)
        return;
    if (etcd_key_read((struct span){kv->key + skip, kv->key_len - skip}, &k))
        take_object(l, kv, &k);
    else if (str_starts(kv->key + skip, "_meta/"))
        take_meta(l, kv);
    else
        log_warn_rl("a key in etcd that is no object", "key=%s", kv->key);
}

/* --- the end --- */

static void
bury_old(struct store *s, struct store_resource *r)
{
    struct store_range range;
    struct object *o;

    store_range_init(&r->index, NULL, NULL, NULL, &range);
    while ((o = store_range_next(&range)) != NULL)
        store_bury(s, object_ref(o));
    store_range_done(&range);
    store_index_done(&r->index);
}

static void
put_in_place(struct etcd_load *l)
{
    struct store *s = l->x->s;
    struct map_cursor c = map_begin(s->resources);
    struct store_range range;
    const struct object *o;
    const char *name;
    void *value;

    while (map_next(&c, NULL, &value))
        bury_old(s, value);
    s->n_objects = s->object_bytes = 0;
    c = map_begin(l->resources);
    while (map_next(&c, &name, &value)) {
        struct store_index *x = value;
        struct store_resource *r = store_resource_get(s, name);
        r->index = *x;
        *x = (struct store_index){0};
        s->n_objects += r->index.len;
        store_range_init(&r->index, NULL, NULL, NULL, &range);
        while ((o = store_range_next(&range)) != NULL)
            s->object_bytes += o->len;
        store_range_done(&range);
    }
}

static void
finish(struct etcd_load *l)
{
    struct store_etcd *x = l->x;
    uint64_t revision = l->revision;
    uint64_t fences[ETCD_SLOTS];

    memcpy(fences, l->fences, sizeof(fences));
    put_in_place(l);
    x->last_version = l->last_version;
    if (x->loaded_once)
        etcd_commit_gap(x);
    x->loaded_once = true;
    etcd_load_stop(x);
    log_info("loaded from etcd", "revision=%" PRIu64 " objects=%zu", revision,
             x->s->n_objects);
    store_reset(x->s, revision);
    if (x->wanted < revision)
        x->wanted = revision;
    for (int i = 0; i < ETCD_SLOTS; i++) {
        if (fences[i] != 0)
            etcd_commit_fenced(x, i, fences[i]);
    }
    etcd_commit_visible(x);
    etcd_sync_visible(x);
    etcd_watch_start(x);
    etcd_commit_pump(x);
}

/* --- pages --- */

static void
retry_later(struct etcd_load *l)
{
    restart(l);
    loop_timer_in(l->retry, RETRY_MS);
}

static void
on_retry(void *arg)
{
    next_page(arg);
}

static void
on_page(void *arg, enum etcd_outcome outcome, struct span reply, const struct error *e)
{
    struct etcd_load *l = arg;
    struct etcd_range range = {0};
    struct error bad = ERROR_INIT;

    l->call = NULL;
    if (e != NULL && e->code == ERR_TOO_LARGE && l->page > 1) {
        l->page /= 2;
        next_page(l);
        return;
    }
    if (outcome == ETCD_OK && etcd_read_range(reply, &range, &bad) < 0)
        e = &bad;
    if (e != NULL) {
        log_warn_rl("cannot load from etcd", "error=\"%s\"", e->msg);
        l->x->last_failure = *e;
        retry_later(l);
        return;
    }
    if (!etcd_check_header(l->x, &range.header)) {
        etcd_range_done(&range);
        return;
    }
    if (l->revision == 0)
        l->revision = range.header.revision;
    vec_foreach (kv, &range.kvs)
        take_kv(l, kv);
    bool more = range.more && range.kvs.len > 0;
    if (more) { /* the first key after the last one */
        const struct etcd_kv *end = &range.kvs.items[range.kvs.len - 1];
        str_reset(&l->from);
        str_add(&l->from, end->key, end->key_len);
        str_addc(&l->from, '\0');
    }
    etcd_range_done(&range);
    if (more)
        next_page(l);
    else
        finish(l);
}

static void
next_page(struct etcd_load *l)
{
    struct store_etcd *x = l->x;
    struct str body = STR_INIT(64 << 10);
    autofree char *end = xasprintf("%s0", x->prefix); /* '0' follows '/' */
    struct etcd_range_req r = {.key = {l->from.ptr, l->from.len},
                               .end = span_of(end),
                               .revision = l->revision,
                               .limit = l->page};

    etcd_write_range(&body, &r);
    l->call = etcd_call(x, "/v3/kv/range", &body, true, PAGE_BYTES,
                        loop_now_ms(x->s->loop) + x->opts.deadline_ms, on_page, l);
}

void
etcd_load_start(struct store_etcd *x, const char *why)
{
    struct etcd_load *l;

    if (x->load != NULL)
        return;
    if (x->loaded_once) {
        x->reloads++;
        log_warn("reading everything from etcd again", "reason=\"%s\"", why);
    }
    etcd_watch_stop(x);
    l = x->load = xnew(struct etcd_load);
    l->x = x;
    l->resources = map_new(index_free);
    l->page = x->loaded_once ? PAGE_LATER : PAGE_FIRST;
    l->retry = loop_timer_new(x->s->loop, "etcd-load", on_retry, l);
    str_init(&l->from, 2 * ETCD_KEY_MAX);
    restart(l);
    next_page(l);
}
