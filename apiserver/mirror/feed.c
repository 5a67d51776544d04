/* SPDX-License-Identifier: Apache-2.0 */
/* The store's changes, collected for the mirror. */
#include "apiserver/mirror/feed.h"

#include <pthread.h>
#include <stdlib.h>

#include "api/jtok.h"
#include "apiserver/mirror/path.h"
#include "base/log.h"
#include "base/map.h"
#include "base/vec.h"

LOG_MODULE(mirror);

#define CRDS "customresourcedefinitions.apiextensions.k8s.io"
enum { EVENTS_PER_TURN = 200, OBJECTS_PER_TURN = 500 };

struct mirror_feed {
    struct api_server *s;
    struct store_watch *watch;
    struct loop_timer *timer;
    void (*wake)(void *arg);
    void *arg;
    /* resources to be listed, before the watch goes on */
    vec(char *) pending;
    struct store_list *list;
    struct kind *list_kind;
    bool listing_all;
    pthread_mutex_t lock; /* guards next */
    struct mirror_changes next;
};

/* --- kinds
 * ------------------------------------------------------------------------------- */

struct mirror_kinds *
mirror_kinds_ref(struct mirror_kinds *k)
{
    k->refs++;
    return k;
}

void
mirror_kinds_unref(struct mirror_kinds *k)
{
    if (k == NULL || --k->refs > 0)
        return;
    for (size_t i = 0; i < k->n; i++)
        kind_unref(k->list[i]);
    free(k->list);
    free(k);
}

const struct kind *
mirror_kinds_find(const struct mirror_kinds *k, const char *resource)
{
    for (size_t i = 0; k != NULL && i < k->n; i++) {
        if (streq(k->list[i]->resource, resource))
            return k->list[i];
    }
    return NULL;
}

static struct mirror_kinds *
current_kinds(const struct api_server *s)
{
    const struct kinds *all = api_server_kinds(s);
    struct mirror_kinds *k = xnew(struct mirror_kinds);

    k->refs = 1;
    k->n = kinds_len(all);
    k->list = xcalloc(k->n == 0 ? 1 : k->n, sizeof(struct kind *));
    k->n = 0; /* files are of the version that is stored */
    for (size_t i = 0; i < kinds_len(all); i++) {
        const struct kind *kind = kinds_at(all, i)->kind;
        if (kind->storage)
            k->list[k->n++] = kind_ref(kind);
    }
    return k;
}

static void
item_free(void *p)
{
    struct mirror_item *i = p;

    object_unref(i->obj);
    kind_unref(i->kind);
    free(i);
}

void
mirror_changes_done(struct mirror_changes *c)
{
    map_free(c->items);
    mirror_kinds_unref(c->kinds);
    *c = (struct mirror_changes){0};
}

void
mirror_feed_take(struct mirror_feed *f, struct mirror_changes *ret)
{
    pthread_mutex_lock(&f->lock);
    *ret = f->next;
    f->next = (struct mirror_changes){0};
    pthread_mutex_unlock(&f->lock);
}

/* --- what counts
 * ------------------------------------------------------------------------- */

static bool
member_same(const struct object *a, const struct object *b, const char *member)
{
    struct span x = {0}, y = {0};
    bool in_a = jscan_member(object_fact(a, a->facts.metadata), member, &x);
    bool in_b = jscan_member(object_fact(b, b->facts.metadata), member, &y);

    return in_a == in_b && x.len == y.len &&
           (x.len == 0 || memcmp(x.ptr, y.ptr, x.len) == 0);
}

bool
mirror_declared_same(const struct object *a, const struct object *b)
{
    const struct fact_owner *x = object_controller(a), *y = object_controller(b);

    return streq(a->uid, b->uid) && a->facts.generation > 0 &&
           a->facts.generation == b->facts.generation &&
           a->facts.deleting_s == b->facts.deleting_s && (x == NULL) == (y == NULL) &&
           member_same(a, b, "labels") && member_same(a, b, "annotations");
}

/* obj NULL: deleted at the revision. */
static void
offer(struct mirror_feed *f, const struct kind *kind, const struct object *o,
      uint64_t revision, bool deleted)
{
    autofree char *path = mirror_path(kind->resource, o->ns, o->name);
    struct mirror_item *item;

    if (path == NULL) {
        log_warn_rl("an object's name has no place in a file system; not mirrored",
                    "object=%s/%s/%s", kind->resource, o->ns, o->name);
        return;
    }
    item = xnew(struct mirror_item);
    item->obj = deleted ? NULL : object_ref(o);
    item->kind = kind_ref(kind);
    item->revision = revision;
    pthread_mutex_lock(&f->lock);
    if (f->next.items == NULL)
        f->next.items = map_new(item_free);
    map_put(f->next.items, path, item);
    pthread_mutex_unlock(&f->lock);
}

static void
offer_kinds(struct mirror_feed *f)
{
    struct mirror_kinds *k = current_kinds(f->s);

    pthread_mutex_lock(&f->lock);
    mirror_kinds_unref(f->next.kinds);
    f->next.kinds = k;
    f->next.kinds_changed = true;
    pthread_mutex_unlock(&f->lock);
}

/* --- listing, then following
 * ------------------------------------------------------------- */

static void
next_list(struct mirror_feed *f)
{
    autofree char *resource = f->pending.items[0];
    const struct kind *kind = kinds_by_resource(api_server_kinds(f->s), resource);

    vec_remove(&f->pending, 0);
    if (kind == NULL || !kind->declared)
        return;
    f->list_kind = kind_ref(kind);
    f->list = store_list(api_server_store(f->s), resource, NULL, NULL);
}

static void
end_list(struct mirror_feed *f)
{
    if (f->list != NULL)
        store_list_free(f->list);
    kind_unref(f->list_kind);
    f->list = NULL;
    f->list_kind = NULL;
}

/* False: nothing to list. */
static bool
list_slice(struct mirror_feed *f)
{
    const struct object *o = NULL;

    if (f->list == NULL && f->pending.len > 0)
        next_list(f);
    if (f->list != NULL) {
        for (size_t i = 0; i < OBJECTS_PER_TURN; i++) {
            o = store_list_next(f->list);
            if (o == NULL)
                break;
            offer(f, f->list_kind, o, o->revision, false);
        }
        if (o == NULL)
            end_list(f);
        return true;
    }
    if (f->pending.len > 0)
        return true;
    if (!f->listing_all)
        return false;
    f->listing_all = false;
    pthread_mutex_lock(&f->lock);
    f->next.complete = true;
    pthread_mutex_unlock(&f->lock);
    return true;
}

static void
on_watch(void *arg)
{
    struct mirror_feed *f = arg;

    if (!loop_timer_armed(f->timer))
        loop_timer_in(f->timer, 0);
}

/* The watch begins before the lists do: nothing is missed between them. */
static int
attach(struct mirror_feed *f, struct error *e)
{
    struct store *store = api_server_store(f->s);
    const struct kinds *kinds = api_server_kinds(f->s);
    struct store_watch_opts o = {
        .from = store_revision(store), .wake = on_watch, .arg = f};

    if (store_watch(store, &o, &f->watch, e) < 0)
        return -(int)e->code;
    for (size_t i = 0; i < kinds_len(kinds); i++) {
        if (kinds_at(kinds, i)->kind->storage)
            vec_push(&f->pending, xstrdup(kinds_at(kinds, i)->kind->resource));
    }
    f->listing_all = true;
    pthread_mutex_lock(&f->lock);
    f->next.begins = true;
    f->next.complete = false;
    pthread_mutex_unlock(&f->lock);
    offer_kinds(f);
    loop_timer_in(f->timer, 0);
    return 0;
}

static void
on_event(struct mirror_feed *f, const struct store_event *ev)
{
    const struct kind *kind = kinds_by_resource(api_server_kinds(f->s), ev->resource);

    if (streq(ev->resource, CRDS)) {
        offer_kinds(f);
        /* Its objects may have become mirrored. */
        vec_push(&f->pending, xstrdup(ev->obj->name));
    }
    if (kind == NULL || !kind->declared)
        return;
    if (ev->type == STORE_MODIFIED && ev->prev != NULL &&
        mirror_declared_same(ev->prev, ev->obj))
        return;
    offer(f, kind, ev->obj, ev->revision, ev->type == STORE_DELETED);
}

/* Fell behind the store's ring. */
static void
reattach(struct mirror_feed *f)
{
    struct error e = ERROR_INIT;

    log_warn("the mirror fell behind the store", "action=\"reading everything again\"");
    store_watch_free(f->watch);
    f->watch = NULL;
    end_list(f);
    if (attach(f, &e) < 0)
        log_err("the mirror cannot follow the store", "error=\"%s\"", e.msg);
}

static void
on_timer(void *arg)
{
    struct mirror_feed *f = arg;
    struct store_event ev;
    struct error e = ERROR_INIT;

    if (list_slice(f)) {
        loop_timer_in(f->timer, 0);
        f->wake(f->arg);
        return;
    }
    for (size_t n = 0; f->watch != NULL; n++) {
        if (n == EVENTS_PER_TURN || f->pending.len > 0) {
            loop_timer_in(f->timer, 0);
            break;
        }
        int rc = store_watch_next(f->watch, &ev, &e);
        if (rc < 0)
            reattach(f);
        if (rc <= 0)
            break;
        on_event(f, &ev);
    }
    f->wake(f->arg);
}

int
mirror_feed_new(struct api_server *s, void (*wake)(void *arg), void *arg,
                struct mirror_feed **ret, struct error *e)
{
    struct mirror_feed *f = xnew(struct mirror_feed);

    f->s = s;
    f->wake = wake;
    f->arg = arg;
    pthread_mutex_init(&f->lock, NULL);
    f->timer = loop_timer_new(api_server_loop(s), "mirror-feed", on_timer, f);
    if (attach(f, e) < 0) {
        mirror_feed_free(f);
        return -(int)e->code;
    }
    *ret = f;
    return 0;
}

void
mirror_feed_free(struct mirror_feed *f)
{
    if (f == NULL)
        return;
    end_list(f);
    if (f->watch != NULL)
        store_watch_free(f->watch);
    loop_timer_free(f->timer);
    vec_foreach (p, &f->pending)
        free(*p);
    vec_done(&f->pending);
    mirror_changes_done(&f->next);
    pthread_mutex_destroy(&f->lock);
    free(f);
}
