/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which Revisions there are, and when they go: too many of one object, too old, too many
 * bytes in all. An index of numbers only, filled from the pump; the objects are the
 * store's. A deletion is never part of somebody's write: it comes later, from a timer.
 */
#include "apiserver/registry/history.h"

#include <stdlib.h>

#include "apiserver/registry/loops.h"
#include "apiserver/store/keyring.h"
#include "base/clock.h"
#include "base/heap.h"
#include "base/log.h"

LOG_MODULE(history);

enum {
    PER_OBJECT = 50,
    AGE_S = 30 * 24 * 3600,
    BYTES = 64 << 20,
    DELETES_PER_TURN = 64,
    FAILED_MS = 60 * 1000,
    WAIT_MAX_MS = 3600 * 1000,
    LOOKAHEAD_MAX = 10000,
};

struct object_history {
    TAILQ_HEAD(revs, rev) revs; /* by generation */
    char *ns, *uid;
    size_t n;
};
struct rev {
    struct heap_node by_time; /* key: seconds; first, so that a node is its rev */
    TAILQ_ENTRY(rev) entry;
    struct object_history *of;
    int64_t generation;
    size_t bytes;
};
struct history {
    struct api_server *s;
    struct history_limits limits;
    struct map *by_uid; /* -> struct object_history */
    struct heap by_time;
    uint64_t bytes;
    struct map *over; /* uids of objects with too many */
    struct loop_timer *timer;
    const struct keyring *keys;
    struct keyring *own_keys; /* or NULL */
    _Atomic uint64_t not_kept;
};

static const struct kind *
revisions(const struct history *h)
{
    return kinds_by_resource(h->s->kinds, HISTORY_RESOURCE);
}

/* --- the index --- */

static void
object_history_free(void *arg)
{
    struct object_history *o = arg;
    struct rev *r;

    while ((r = TAILQ_FIRST(&o->revs)) != NULL) {
        TAILQ_REMOVE(&o->revs, r, entry);
        free(r);
    }
    free(o->ns);
    free(o->uid);
    free(o);
}

static struct object_history *
of_object(struct history *h, const char *ns, const char *uid)
{
    struct object_history *o = map_get(h->by_uid, uid);

    if (o == NULL) {
        o = xnew(struct object_history);
        TAILQ_INIT(&o->revs);
        o->ns = xstrdup(ns);
        o->uid = xstrdup(uid);
        map_put(h->by_uid, uid, o);
    }
    return o;
}

static struct rev *
find(const struct object_history *o, int64_t generation)
{
    struct rev *r;

    TAILQ_FOREACH_REVERSE(r, &o->revs, revs, entry)
    {
        if (r->generation <= generation)
            return r->generation == generation ? r : NULL;
    }
    return NULL;
}

static void
forget(struct history *h, struct rev *r)
{
    struct object_history *o = r->of;

    heap_remove(&h->by_time, &r->by_time);
    h->bytes -= r->bytes;
    TAILQ_REMOVE(&o->revs, r, entry);
    free(r);
    if (--o->n == 0) {
        map_del(h->over, o->uid);
        autofree char *uid = xstrdup(o->uid);
        map_del(h->by_uid, uid);
    }
}

static void
add(struct history *h, const struct object *revision, const char *uid, int64_t generation)
{
    struct object_history *o = of_object(h, revision->ns, uid);
    struct rev *after, *r = find(o, generation);

    if (r != NULL) /* the pump looks at everything again */
        return;
    r = xnew(struct rev);
    r->by_time = HEAP_NODE_INIT;
    r->of = o;
    r->generation = generation;
    r->bytes = revision->len;
    TAILQ_FOREACH_REVERSE(after, &o->revs, revs, entry)
    {
        if (after->generation < generation)
            break;
    }
    if (after == NULL)
        TAILQ_INSERT_HEAD(&o->revs, r, entry);
    else
        TAILQ_INSERT_AFTER(&o->revs, after, r, entry);
    heap_push(&h->by_time, &r->by_time, revision->facts.created_s);
    h->bytes += r->bytes;
    if (++o->n > h->limits.per_object)
        map_put(h->over, o->uid, o);
}

/* --- what has to go --- */

static int64_t
now_s(void)
{
    return clock_wall_ns() / 1000000000;
}

static struct rev *
victim(struct history *h)
{
    struct map_cursor cursor = map_begin(h->over);
    const char *uid;
    void *value;

    while (map_next(&cursor, &uid, &value)) {
        struct object_history *o = value;
        if (o->n > h->limits.per_object)
            return TAILQ_FIRST(&o->revs);
        map_del(h->over, uid);
    }
    struct rev *oldest = (struct rev *)heap_min(&h->by_time);
    if (oldest != NULL &&
        (h->bytes > h->limits.bytes || oldest->by_time.key + h->limits.age_s <= now_s()))
        return oldest;
    return NULL;
}

/* When the next one is too old. */
static void
sleep_until_due(struct history *h)
{
    const struct heap_node *oldest = heap_min(&h->by_time);

    if (oldest == NULL)
        return;
    int64_t wait_ms = (oldest->key + h->limits.age_s - now_s()) * 1000;
    if (wait_ms < 1)
        wait_ms = 1;
    /* The wall clock may be set: looked at once an hour. */
    loop_timer_in(h->timer, wait_ms < WAIT_MAX_MS ? wait_ms : WAIT_MAX_MS);
}

static int
delete_revision(struct history *h, const struct rev *r, struct error *e)
{
    char name[REVISION_NAME_MAX];

    revision_name(r->of->uid, r->generation, name);
    struct store_key key = {HISTORY_RESOURCE, r->of->ns, name};
    const struct object *o = store_peek(h->s->store, &key);
    if (o == NULL)
        return 0;
    int rc = registry_replace(h->s, revisions(h), o, NULL, true, e);
    return e->code == ERR_CONFLICT || e->code == ERR_NOT_FOUND ? 0 : rc;
}

static void
on_timer(void *arg)
{
    struct history *h = arg;
    struct rev *r;

    for (size_t n = 0; n < DELETES_PER_TURN; n++) {
        struct error e = ERROR_INIT;
        if ((r = victim(h)) == NULL) {
            sleep_until_due(h);
            return;
        }
        if (delete_revision(h, r, &e) < 0) {
            log_warn_rl("cannot delete a revision", "error=\"%s\"", e.msg);
            loop_timer_in(h->timer, FAILED_MS);
            return;
        }
        forget(h, r);
    }
    loop_timer_in(h->timer, 1);
}

void
history_object(struct history *h, const char *resource, const struct object *o,
               bool deleted)
{
    char uid[64];

    if (h == NULL || !streq(resource, HISTORY_RESOURCE))
        return;
    int64_t generation = revision_generation(o);
    if (!object_get_string(o, "of.uid", uid, sizeof(uid)) || generation < 1)
        return;
    if (!deleted) {
        add(h, o, uid, generation);
    } else {
        const struct object_history *of = map_get(h->by_uid, uid);
        struct rev *r = of == NULL ? NULL : find(of, generation);
        if (r != NULL)
            forget(h, r);
    }
    if (!loop_timer_armed(h->timer) || map_len(h->over) > 0 || h->bytes > h->limits.bytes)
        loop_timer_in(h->timer, 1);
}

/* --- for writes --- */

bool
history_wants(const struct history *h, const struct kind *k, const struct object *live)
{
    return h != NULL && !h->limits.off && live != NULL && object_declared(k, live);
}

void
history_not_kept(struct history *h, const struct kind *k, const struct object *o,
                 const struct error *e)
{
    h->not_kept++;
    log_warn_rl("a generation was not kept", "resource=%s ns=%s name=%s error=\"%s\"",
                k->resource, o->ns, o->name, e->msg);
}

void
history_metrics(const struct history *h, struct str *out)
{
    if (h == NULL)
        return;
    str_addf(out,
             "# TYPE drover_history_bytes gauge\ndrover_history_bytes %llu\n"
             "# TYPE drover_history_not_kept_total counter\n"
             "drover_history_not_kept_total %llu\n",
             (unsigned long long)h->bytes, (unsigned long long)h->not_kept);
}

static struct object *
peek(const struct history *h, const struct object *live, int64_t generation)
{
    char name[REVISION_NAME_MAX];

    revision_name(live->uid, generation, name);
    struct store_key key = {HISTORY_RESOURCE, revision_ns(live), name};
    return generation < 1 ? NULL : store_peek(h->s->store, &key);
}

struct object *
history_previous(struct history *h, const struct object *live)
{
    const struct object_history *o = map_get(h->by_uid, live->uid);
    int64_t last = o == NULL ? 0 : TAILQ_LAST(&o->revs, revs)->generation;
    struct object *found = peek(h, live, last), *next;

    /* What the index does not know yet: commits that are not visible. */
    if (live->facts.generation - 1 > last &&
        (next = peek(h, live, live->facts.generation - 1)) != NULL) {
        last = live->facts.generation - 1;
        found = next;
    }
    for (size_t n = 0; n < LOOKAHEAD_MAX; n++) {
        if ((next = peek(h, live, last + 1)) == NULL)
            break;
        found = next;
        last++;
    }
    return found == NULL ? NULL : object_ref(found);
}

const struct keyring *
history_keys(const struct history *h)
{
    return h->keys;
}

int
history_new(struct api_server *s, const struct history_limits *limits,
            const struct keyring *keys, struct history **ret, struct error *e)
{
    struct keyring *own = NULL;

    if (keys == NULL && keyring_load(NULL, false, &own, e) < 0)
        return -(int)e->code;
    struct history *h = xnew(struct history);
    h->s = s;
    h->own_keys = own;
    h->keys = keys == NULL ? own : keys;
    h->limits = *limits;
    if (h->limits.per_object == 0)
        h->limits.per_object = PER_OBJECT;
    if (h->limits.age_s == 0)
        h->limits.age_s = AGE_S;
    if (h->limits.bytes == 0)
        h->limits.bytes = BYTES;
    h->by_uid = map_new(object_history_free);
    h->over = map_new(NULL);
    h->timer = loop_timer_new(s->loop, "history", on_timer, h);
    *ret = h;
    return 0;
}

void
history_free(struct history *h)
{
    if (h == NULL)
        return;
    loop_timer_free(h->timer);
    map_free(h->over);
    map_free(h->by_uid);
    heap_done(&h->by_time);
    keyring_free(h->own_keys);
    free(h);
}
