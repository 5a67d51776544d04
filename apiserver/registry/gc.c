/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Garbage collection by ownerReferences, from facts. Ownership is by
 * uid: an object of the same name with another uid is no owner. The index maps an owner's
 * uid to its dependents; entries that went stale are found out when they are looked at,
 * because every decision reads the store again.
 *
 *  - all owners gone                    -> the dependent is deleted (background)
 *  - some gone, some there              -> the dangling references are removed
 *  - owner waits (foregroundDeletion)   -> dependents are deleted first
 *  - owner orphans (orphan)             -> its reference is removed from the dependents
 */
#include <stdlib.h>

#include "api/jtok.h"
#include "apiserver/registry/loops.h"
#include "base/log.h"

LOG_MODULE(gc);

enum {
    ITEMS_PER_TURN = 64,
    ORPHANS_PER_ITEM = 200,
    RETRY_MS = 1000,
    REFS_MAX = 64 * 1024
};

struct gc_item {
    TAILQ_ENTRY(gc_item) entry;
    char *resource, *ns, *name;
};
TAILQ_HEAD(gc_items, gc_item);

struct gc {
    struct api_server *s;
    struct map *owners; /* owner uid -> struct map: dependent uid -> struct gc_item */
    struct gc_items queue, retry;
    struct map *queued; /* "resource|ns|name" of what is in queue */
    struct loop_timer *timer, *retry_timer;
};

static void
item_free(void *p)
{
    struct gc_item *i = p;

    if (i == NULL)
        return;
    free(i->resource);
    free(i->ns);
    free(i->name);
    free(i);
}

static struct gc_item *
item_new(const char *resource, const char *ns, const char *name)
{
    struct gc_item *i = xnew(struct gc_item);

    i->resource = xstrdup(resource);
    i->ns = xstrdup(ns);
    i->name = xstrdup(name);
    return i;
}

static char *
key_of(const struct gc_item *i)
{
    return xasprintf("%s|%s|%s", i->resource, i->ns, i->name);
}

static void
enqueue(struct gc *g, const char *resource, const char *ns, const char *name)
{
    struct gc_item *i = item_new(resource, ns, name);
    autofree char *key = key_of(i);

    if (map_get(g->queued, key) != NULL) {
        item_free(i);
        return;
    }
    map_put(g->queued, key, i);
    TAILQ_INSERT_TAIL(&g->queue, i, entry);
    if (!loop_timer_armed(g->timer))
        loop_timer_in(g->timer, 0);
}

static void
retry_later(struct gc *g, const struct gc_item *i)
{
    struct gc_item *copy = item_new(i->resource, i->ns, i->name);

    TAILQ_INSERT_TAIL(&g->retry, copy, entry);
    if (!loop_timer_armed(g->retry_timer))
        loop_timer_in(g->retry_timer, RETRY_MS);
}

/* --- index
 * ------------------------------------------------------------------------------- */

static void
free_dependents(void *p)
{
    map_free(p);
}

static void
index_add(struct gc *g, struct span owner, const char *resource, const struct object *o)
{
    struct map *deps = map_getn(g->owners, owner.ptr, owner.len);

    if (deps == NULL) {
        deps = map_new(item_free);
        map_putn(g->owners, owner.ptr, owner.len, deps);
    }
    if (map_get(deps, o->uid) == NULL)
        map_put(deps, o->uid, item_new(resource, o->ns, o->name));
}

static void
index_del(struct gc *g, struct span owner, const char *dependent_uid)
{
    struct map *deps = map_getn(g->owners, owner.ptr, owner.len);

    if (deps == NULL)
        return;
    map_del(deps, dependent_uid);
    if (map_len(deps) == 0)
        map_deln(g->owners, owner.ptr, owner.len);
}

/* --- who owns what
 * ----------------------------------------------------------------------- */

enum owner_state { OWNER_THERE, OWNER_GONE, OWNER_WAITING };

static bool
copy(struct span s, char *out, size_t size)
{
    if (s.len >= size)
        return false;
    memcpy(out, s.ptr, s.len);
    out[s.len] = '\0';
    return true;
}

/* The owner's kind and key; false when the kind is not served here. */
static const struct kind *
owner_kind(const struct gc *g, const struct object *o, const struct fact_owner *ref,
           char name[256])
{
    char api_version[256], kind[128];

    if (!copy(object_fact(o, ref->api_version), api_version, sizeof(api_version)) ||
        !copy(object_fact(o, ref->kind), kind, sizeof(kind)) ||
        !copy(object_fact(o, ref->name), name, 256))
        return NULL;
    return kinds_by_gvk(g->s->kinds, api_version, kind);
}

static struct object *
owner_object(const struct gc *g, const struct object *o, const struct fact_owner *ref,
             const struct kind **ret_kind)
{
    char name[256];
    const struct kind *k = owner_kind(g, o, ref, name);

    *ret_kind = k;
    if (k == NULL)
        return NULL;
    struct store_key key = {k->resource, k->namespaced ? o->ns : "", name};
    struct object *owner = store_peek(g->s->store, &key);
    if (owner == NULL || !span_eq(object_fact(o, ref->uid), owner->uid))
        return NULL;
    return owner;
}

static enum owner_state
owner_state(const struct gc *g, const struct object *o, const struct fact_owner *ref)
{
    const struct kind *k;
    struct object *owner = owner_object(g, o, ref, &k);

    if (k == NULL)
        return OWNER_THERE; /* cannot be judged here: nothing is deleted for it */
    if (owner == NULL)
        return OWNER_GONE;
    if (owner->facts.deleting_s != 0 && object_has_finalizer(owner, "foregroundDeletion"))
        return OWNER_WAITING;
    return OWNER_THERE;
}

/* --- acting
 * ------------------------------------------------------------------------------ */

struct gc_delete {
    struct gc *g;
    struct gc_item *item;
};

static void
on_deleted(void *arg, const struct write_result *r)
{
    struct gc_delete *d = arg;
    enum err_code code = r->obj == NULL ? r->problem->e.code : ERR_OK;

    /* Gone, or another object by now: nothing is left to do. */
    if (code != ERR_OK && code != ERR_NOT_FOUND && code != ERR_CONFLICT) {
        log_warn_rl("delete failed", "resource=%s name=%s error=\"%s\"",
                    d->item->resource, d->item->name, r->problem->e.msg);
        retry_later(d->g, d->item);
    }
    item_free(d->item);
    free(d);
}

static void
delete_dependent(struct gc *g, const struct kind *k, const struct object *o,
                 enum delete_policy policy)
{
    struct gc_delete *d = xnew(struct gc_delete);
    struct delete_req r = {.kind = k,
                           .ns = o->ns,
                           .name = o->name,
                           .opt = {.policy = policy},
                           .internal = true};

    snprintf(r.opt.uid, sizeof(r.opt.uid), "%s", o->uid);
    d->g = g;
    d->item = item_new(k->resource, o->ns, o->name);
    log_debug("delete dependent", "resource=%s ns=%s name=%s", k->resource, o->ns,
              o->name);
    registry_delete(g->s, &r, on_deleted, d);
}

/* Writes o with the owner references for which drop() is false. */
static int
drop_refs(struct gc *g, const struct kind *k, const struct object *o,
          bool (*drop)(const struct gc *g, const struct object *o,
                       const struct fact_owner *ref, const char *uid),
          const char *uid)
{
    auto_str refs = STR_INIT(REFS_MAX);
    struct error e = ERROR_INIT;
    struct object *next = NULL;
    const char *cursor = NULL;
    struct span raw, list = {0};
    struct doc d;
    size_t i = 0;

    if (doc_parse(o->bytes, o->len, &d, &e) < 0)
        return -(int)e.code;
    str_addc(&refs, '[');
    while (d.meta.owners.len > 0 && i < o->facts.n_owners &&
           jscan_next_item(d.meta.owners, &cursor, &raw)) {
        if (!drop(g, o, &o->facts.owners[i++], uid)) {
            jput_item(&refs);
            str_add(&refs, raw.ptr, raw.len);
        }
    }
    str_addc(&refs, ']');
    if (refs.len > 2)
        list = (struct span){refs.ptr, refs.len};
    int rc = compute_replace_meta(k, o, NULL, &list, &next, &e);
    if (rc == 0)
        rc = registry_replace(g->s, k, o, next, false, &e);
    object_unref(next);
    if (rc < 0)
        log_debug("cannot change owners", "name=%s error=\"%s\"", o->name, e.msg);
    return rc;
}

static bool
drop_not_there(const struct gc *g, const struct object *o, const struct fact_owner *ref,
               const char *uid)
{
    UNUSED(uid);
    return owner_state(g, o, ref) != OWNER_THERE;
}

static bool
drop_uid(const struct gc *g, const struct object *o, const struct fact_owner *ref,
         const char *uid)
{
    UNUSED(g);
    return span_eq(object_fact(o, ref->uid), uid);
}

static int
remove_finalizer(struct gc *g, const struct kind *k, const struct object *o,
                 const char *name)
{
    auto_str list = STR_INIT(REFS_MAX);
    struct error e = ERROR_INIT;
    struct object *next = NULL;
    struct span span = {0};

    str_addc(&list, '[');
    for (size_t i = 0; i < o->facts.n_finalizers; i++) {
        struct span f = object_fact(o, o->facts.finalizers[i]);
        if (span_eq(f, name))
            continue;
        jput_item(&list);
        str_addf(&list, "\"%.*s\"", SPAN_ARG(f));
    }
    str_addc(&list, ']');
    bool gone = list.len == 2;
    if (!gone)
        span = (struct span){list.ptr, list.len};
    int rc = compute_replace_meta(k, o, &span, NULL, &next, &e);
    if (rc == 0)
        rc = registry_replace(g->s, k, o, next, gone, &e);
    object_unref(next);
    return rc;
}

/* The reference of `o` to the owner; NULL when there is none (any more). */
static const struct fact_owner *
ref_to(const struct object *o, const char *owner_uid)
{
    for (size_t i = 0; o != NULL && i < o->facts.n_owners; i++) {
        if (span_eq(object_fact(o, o->facts.owners[i].uid), owner_uid))
            return &o->facts.owners[i];
    }
    return NULL;
}

static struct object *
load(const struct gc *g, const struct gc_item *i)
{
    struct store_key key = {i->resource, i->ns, i->name};

    return store_peek(g->s->store, &key);
}

/* Dependents delete themselves when they see that the owner waits. */
static int
process_foreground(struct gc *g, const struct kind *k, const struct object *owner)
{
    struct map *deps = map_get(g->owners, owner->uid);
    struct map_cursor cursor;
    void *value;
    bool blocked = false;

    if (deps != NULL) {
        cursor = map_begin(deps);
        while (map_next(&cursor, NULL, &value)) {
            const struct gc_item *item = value;
            const struct object *dep = load(g, item);
            const struct fact_owner *ref = ref_to(dep, owner->uid);
            if (ref == NULL)
                continue;
            blocked = blocked || ref->block_deletion;
            if (dep->facts.deleting_s == 0)
                enqueue(g, item->resource, item->ns, item->name);
        }
    }
    return blocked ? 0 : remove_finalizer(g, k, owner, "foregroundDeletion");
}

static int
process_orphan(struct gc *g, const struct kind *k, const struct object *owner)
{
    struct map *deps = map_get(g->owners, owner->uid);
    struct map_cursor cursor;
    void *value;
    size_t n = 0;

    if (deps != NULL) {
        cursor = map_begin(deps);
        while (map_next(&cursor, NULL, &value)) {
            const struct gc_item *item = value;
            const struct object *dep = load(g, item);
            const struct kind *dk = kinds_by_resource(g->s->kinds, item->resource);
            if (dk == NULL || ref_to(dep, owner->uid) == NULL)
                continue;
            if (drop_refs(g, dk, dep, drop_uid, owner->uid) < 0 ||
                ++n == ORPHANS_PER_ITEM)
                return -1;
        }
    }
    /* Another server may have changed one of them in the meantime: not before all are
     * seen without the reference. */
    if (n > 0 && store_is_shared(g->s->store))
        return -1;
    return remove_finalizer(g, k, owner, "orphan");
}

static int
process_dependent(struct gc *g, const struct kind *k, const struct object *o)
{
    size_t there = 0, gone = 0, waiting = 0;

    for (size_t i = 0; i < o->facts.n_owners; i++) {
        switch (owner_state(g, o, &o->facts.owners[i])) {
        case OWNER_THERE:
            there++;
            break;
        case OWNER_GONE:
            gone++;
            break;
        case OWNER_WAITING:
            waiting++;
            break;
        }
    }
    if (gone + waiting == 0)
        return 0;
    if (there > 0)
        return drop_refs(g, k, o, drop_not_there, NULL);
    bool has_dependents = map_get(g->owners, o->uid) != NULL;
    delete_dependent(
        g, k, o, waiting > 0 && has_dependents ? DELETE_FOREGROUND : DELETE_BACKGROUND);
    return 0;
}

static void
process(struct gc *g, const struct gc_item *i)
{
    const struct kind *k = kinds_by_resource(g->s->kinds, i->resource);
    struct object *live = load(g, i);
    int rc = 0;

    if (k == NULL || live == NULL)
        return;
    auto_object *o = object_ref(live);
    if (o->facts.deleting_s != 0 && object_has_finalizer(o, "orphan"))
        rc = process_orphan(g, k, o);
    else if (o->facts.deleting_s != 0 && object_has_finalizer(o, "foregroundDeletion"))
        rc = process_foreground(g, k, o);
    else if (o->facts.deleting_s == 0)
        rc = process_dependent(g, k, o);
    if (rc < 0)
        retry_later(g, i);
}

static void
on_timer(void *arg)
{
    struct gc *g = arg;

    for (size_t n = 0; n < ITEMS_PER_TURN && !TAILQ_EMPTY(&g->queue); n++) {
        struct gc_item *i = TAILQ_FIRST(&g->queue);
        autofree char *key = key_of(i);
        TAILQ_REMOVE(&g->queue, i, entry);
        map_del(g->queued, key);
        process(g, i);
        item_free(i);
    }
    if (!TAILQ_EMPTY(&g->queue))
        loop_timer_in(g->timer, 0);
}

static void
on_retry(void *arg)
{
    struct gc *g = arg;

    while (!TAILQ_EMPTY(&g->retry)) {
        struct gc_item *i = TAILQ_FIRST(&g->retry);
        TAILQ_REMOVE(&g->retry, i, entry);
        enqueue(g, i->resource, i->ns, i->name);
        item_free(i);
    }
}

/* --- events
 * ------------------------------------------------------------------------------ */

/* A dependent of a waiting owner went away: the owner may be next. */
static void
nudge_owner(struct gc *g, const struct object *o, const struct fact_owner *ref)
{
    const struct kind *k;
    const struct object *owner = owner_object(g, o, ref, &k);

    if (owner != NULL && owner->facts.deleting_s != 0)
        enqueue(g, k->resource, owner->ns, owner->name);
}

static void
on_gone(struct gc *g, const struct object *o)
{
    struct map *deps = map_get(g->owners, o->uid);
    void *value;

    for (size_t i = 0; i < o->facts.n_owners; i++) {
        index_del(g, object_fact(o, o->facts.owners[i].uid), o->uid);
        nudge_owner(g, o, &o->facts.owners[i]);
    }
    if (deps == NULL)
        return;
    struct map_cursor cursor = map_begin(deps);
    while (map_next(&cursor, NULL, &value)) {
        const struct gc_item *i = value;
        enqueue(g, i->resource, i->ns, i->name);
    }
    map_del(g->owners, o->uid);
}

void
gc_object(struct gc *g, const char *resource, const struct object *o, bool deleted)
{
    bool look = false;

    if (deleted) {
        on_gone(g, o);
        return;
    }
    for (size_t i = 0; i < o->facts.n_owners; i++) {
        index_add(g, object_fact(o, o->facts.owners[i].uid), resource, o);
        look = look || owner_state(g, o, &o->facts.owners[i]) != OWNER_THERE;
    }
    if (o->facts.deleting_s != 0)
        look = object_has_finalizer(o, "foregroundDeletion") ||
               object_has_finalizer(o, "orphan");
    if (look)
        enqueue(g, resource, o->ns, o->name);
}

struct gc *
gc_new(struct api_server *s)
{
    struct gc *g = xnew(struct gc);

    g->s = s;
    g->owners = map_new(free_dependents);
    g->queued = map_new(NULL);
    TAILQ_INIT(&g->queue);
    TAILQ_INIT(&g->retry);
    g->timer = loop_timer_new(s->loop, "gc", on_timer, g);
    g->retry_timer = loop_timer_new(s->loop, "gc-retry", on_retry, g);
    return g;
}

static void
free_items(struct gc_items *list)
{
    while (!TAILQ_EMPTY(list)) {
        struct gc_item *i = TAILQ_FIRST(list);
        TAILQ_REMOVE(list, i, entry);
        item_free(i);
    }
}

void
gc_free(struct gc *g)
{
    if (g == NULL)
        return;
    loop_timer_free(g->timer);
    loop_timer_free(g->retry_timer);
    free_items(&g->queue);
    free_items(&g->retry);
    map_free(g->queued);
    map_free(g->owners);
    free(g);
}
