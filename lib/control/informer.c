/* SPDX-License-Identifier: Apache-2.0 */
/* The informer's store: entries in a map by namespace/name, buckets per index key. */
#include "control/informer.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"

enum { KEY_MAX = 1024, INDEXES_MAX = 8, HANDLERS_MAX = 8 };

struct entry {
    struct object *o; /* reference */
    uint64_t seen;    /* number of the last list that contained it */
};

/* Entries of one index key, ordered by namespace and name. */
struct bucket {
    vec(struct object *) list; /* borrowed from the entries */
};

struct index {
    const struct informer_index *def;
    struct map *buckets;
};

struct informer {
    const struct resource *resource;
    pthread_rwlock_t
        *lock;           /* apart, so that readers may take it through a const informer */
    struct map *entries; /* "ns/name" -> struct entry */
    struct map *by_uid;  /* uid -> struct entry, borrowed */
    struct index indexes[INDEXES_MAX];
    size_t n_indexes;
    struct informer_handler handlers[HANDLERS_MAX];
    size_t n_handlers;
    uint64_t lists; /* lists begun */
    bool listing;
    atomic_bool synced, connected;
    _Atomic uint64_t revision;
    _Atomic uint32_t epoch;
};

static void
bucket_free(void *p)
{
    struct bucket *b = p;

    vec_done(&b->list);
    free(b);
}

static void
entry_free(void *p)
{
    struct entry *en = p;

    object_unref(en->o);
    free(en);
}

struct informer *
informer_new(const struct resource *r)
{
    struct informer *inf = xnew(struct informer);

    inf->resource = r;
    inf->lock = xnew(pthread_rwlock_t);
    pthread_rwlock_init(inf->lock, NULL);
    inf->entries = map_new(entry_free);
    inf->by_uid = map_new(NULL);
    atomic_init(&inf->connected, true);
    return inf;
}

void
informer_free(struct informer *inf)
{
    if (inf == NULL)
        return;
    for (size_t i = 0; i < inf->n_indexes; i++)
        map_free(inf->indexes[i].buckets);
    map_free(inf->by_uid);
    map_free(inf->entries);
    pthread_rwlock_destroy(inf->lock);
    free(inf->lock);
    free(inf);
}

const struct resource *
informer_resource(const struct informer *inf)
{
    return inf->resource;
}

void
informer_add_index(struct informer *inf, const struct informer_index *index)
{
    for (size_t i = 0; i < inf->n_indexes; i++)
        if (streq(inf->indexes[i].def->name, index->name))
            return;
    bug_if(inf->n_indexes == INDEXES_MAX || inf->lists > 0);
    inf->indexes[inf->n_indexes++] = (struct index){index, map_new(bucket_free)};
}

void
informer_add_handler(struct informer *inf, const struct informer_handler *h)
{
    bug_if(inf->n_handlers == HANDLERS_MAX || inf->lists > 0);
    inf->handlers[inf->n_handlers++] = *h;
}

/* --- store ------------------------------------------------------------------------- */

static int
object_order(const struct object *a, const struct object *b)
{
    int d = strcmp(a->ns, b->ns);

    return d != 0 ? d : strcmp(a->name, b->name);
}

/* First position whose object is not before o. */
static size_t
bucket_position(const struct bucket *b, const struct object *o)
{
    size_t lo = 0, hi = b->list.len;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (object_order(b->list.items[mid], o) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static void
index_add(struct index *ix, struct object *o)
{
    auto_str key = STR_INIT(KEY_MAX);

    if (!ix->def->key(o, &key) || key.toobig)
        return;
    struct bucket *b = map_getn(ix->buckets, key.ptr, key.len);
    if (b == NULL) {
        b = xnew(struct bucket);
        map_putn(ix->buckets, key.ptr, key.len, b);
    }
    vec_insert(&b->list, bucket_position(b, o), o);
}

static void
index_remove(struct index *ix, struct object *o)
{
    auto_str key = STR_INIT(KEY_MAX);

    if (!ix->def->key(o, &key) || key.toobig)
        return;
    struct bucket *b = map_getn(ix->buckets, key.ptr, key.len);
    bug_if(b == NULL);
    size_t i = bucket_position(b, o);
    bug_if(i == b->list.len || b->list.items[i] != o);
    vec_remove(&b->list, i);
    if (b->list.len == 0)
        map_deln(ix->buckets, key.ptr, key.len);
}

static void
entry_key(struct str *key, const char *ns, const char *name)
{
    str_addf(key, "%s/%s", ns, name);
}

static struct entry *
entry_of(const struct informer *inf, const char *ns, const char *name)
{
    auto_str key = STR_INIT(KEY_MAX);

    entry_key(&key, ns, name);
    return key.toobig ? NULL : map_getn(inf->entries, key.ptr, key.len);
}

/* Takes a reference to o. Returns what was there before (a reference), or NULL. */
static struct object *
store_put(struct informer *inf, struct object *o)
{
    struct object *before = NULL;
    struct entry *en = entry_of(inf, o->ns, o->name);

    pthread_rwlock_wrlock(inf->lock);
    if (en == NULL) {
        auto_str key = STR_INIT(KEY_MAX);
        en = xnew(struct entry);
        entry_key(&key, o->ns, o->name);
        map_putn(inf->entries, key.ptr, key.len, en);
    } else {
        before = en->o;
        for (size_t i = 0; i < inf->n_indexes; i++)
            index_remove(&inf->indexes[i], before);
        map_del(inf->by_uid, before->uid);
    }
    en->o = object_ref(o);
    en->seen = inf->lists;
    map_put(inf->by_uid, o->uid, en);
    for (size_t i = 0; i < inf->n_indexes; i++)
        index_add(&inf->indexes[i], o);
    pthread_rwlock_unlock(inf->lock);
    return before;
}

/* Returns the removed object (a reference), or NULL. */
static struct object *
store_remove(struct informer *inf, const char *ns, const char *name)
{
    struct entry *en = entry_of(inf, ns, name);
    auto_str key = STR_INIT(KEY_MAX);

    if (en == NULL)
        return NULL;
    entry_key(&key, ns, name);
    pthread_rwlock_wrlock(inf->lock);
    struct object *o = object_ref(en->o);
    for (size_t i = 0; i < inf->n_indexes; i++)
        index_remove(&inf->indexes[i], o);
    map_del(inf->by_uid, o->uid);
    map_deln(inf->entries, key.ptr, key.len);
    pthread_rwlock_unlock(inf->lock);
    return o;
}

/* --- feeding ----------------------------------------------------------------------- */

static void
tell_set(struct informer *inf, const struct object *before, const struct object *now)
{
    bool initial = !atomic_load(&inf->synced);

    for (size_t i = 0; i < inf->n_handlers; i++)
        inf->handlers[i].on_set(inf->handlers[i].arg, before, now, initial);
}

static void
tell_delete(struct informer *inf, const struct object *last)
{
    for (size_t i = 0; i < inf->n_handlers; i++)
        inf->handlers[i].on_delete(inf->handlers[i].arg, last);
}

static void
tell_progress(struct informer *inf)
{
    for (size_t i = 0; i < inf->n_handlers; i++)
        if (inf->handlers[i].on_progress != NULL)
            inf->handlers[i].on_progress(inf->handlers[i].arg);
}

static void
apply_set(struct informer *inf, struct object *o)
{
    struct entry *en = entry_of(inf, o->ns, o->name);

    if (en != NULL && !streq(en->o->uid, o->uid)) {
        auto_object *gone = store_remove(inf, o->ns, o->name);
        tell_delete(inf, gone);
    } else if (en != NULL && en->o->revision == o->revision) {
        en->seen = inf->lists;
        return;
    }
    auto_object *before = store_put(inf, o);
    tell_set(inf, before, o);
}

void
informer_list_begin(struct informer *inf)
{
    inf->lists++;
    inf->listing = true;
}

void
informer_list_item(struct informer *inf, struct object *o)
{
    bug_if(!inf->listing);
    apply_set(inf, o);
}

void
informer_list_end(struct informer *inf, uint64_t revision)
{
    auto_object_list gone = {0};
    struct map_cursor c = map_begin(inf->entries);
    void *value;

    bug_if(!inf->listing);
    inf->listing = false;
    while (map_next(&c, NULL, &value)) {
        struct entry *en = value;
        if (en->seen != inf->lists)
            vec_push(&gone.list, object_ref(en->o));
    }
    vec_foreach (o, &gone.list) {
        auto_object *last = store_remove(inf, (*o)->ns, (*o)->name);
        tell_delete(inf, last);
    }
    if (revision < atomic_load(&inf->revision))
        atomic_fetch_add(&inf->epoch, 1);
    atomic_store(&inf->revision, revision);
    atomic_store(&inf->synced, true);
    tell_progress(inf);
}

void
informer_list_abort(struct informer *inf)
{
    inf->listing = false;
}

void
informer_event(struct informer *inf, enum informer_event_type type, struct object *o,
               uint64_t revision)
{
    if (type == INFORMER_DELETED) {
        auto_object *last = store_remove(inf, o->ns, o->name);
        if (last != NULL)
            tell_delete(inf, o);
    } else if (type != INFORMER_BOOKMARK) {
        apply_set(inf, o);
    }
    if (revision > atomic_load(&inf->revision)) {
        atomic_store(&inf->revision, revision);
        tell_progress(inf);
    }
}

void
informer_set_connected(struct informer *inf, bool connected)
{
    if (atomic_exchange(&inf->connected, connected) != connected)
        tell_progress(inf);
}

/* --- reading ----------------------------------------------------------------------- */

bool
informer_synced(const struct informer *inf)
{
    return atomic_load(&inf->synced);
}

bool
informer_connected(const struct informer *inf)
{
    return atomic_load(&inf->connected);
}

uint64_t
informer_revision(const struct informer *inf)
{
    return atomic_load(&inf->revision);
}

uint32_t
informer_epoch(const struct informer *inf)
{
    return atomic_load(&inf->epoch);
}

size_t
informer_len(const struct informer *inf)
{
    pthread_rwlock_rdlock(inf->lock);
    size_t n = map_len(inf->entries);
    pthread_rwlock_unlock(inf->lock);
    return n;
}

void
object_list_done(struct object_list *l)
{
    vec_foreach (o, &l->list)
        object_unref(*o);
    vec_done(&l->list);
}

struct object *
informer_find(const struct informer *inf, const char *ns, const char *name)
{
    pthread_rwlock_rdlock(inf->lock);
    struct entry *en = entry_of(inf, ns, name);
    struct object *o = en == NULL ? NULL : object_ref(en->o);
    pthread_rwlock_unlock(inf->lock);
    return o;
}

struct object *
informer_find_uid(const struct informer *inf, const char *uid)
{
    pthread_rwlock_rdlock(inf->lock);
    struct entry *en = map_get(inf->by_uid, uid);
    struct object *o = en == NULL ? NULL : object_ref(en->o);
    pthread_rwlock_unlock(inf->lock);
    return o;
}

void
informer_index(const struct informer *inf, const char *index, const char *key,
               struct object_list *ret)
{
    const struct index *ix = NULL;

    for (size_t i = 0; i < inf->n_indexes; i++)
        if (streq(inf->indexes[i].def->name, index))
            ix = &inf->indexes[i];
    bug_if(ix == NULL);
    pthread_rwlock_rdlock(inf->lock);
    struct bucket *b = map_get(ix->buckets, key);
    if (b != NULL)
        vec_foreach (o, &b->list)
            vec_push(&ret->list, object_ref(*o));
    pthread_rwlock_unlock(inf->lock);
}

void
informer_all(const struct informer *inf, struct object_list *ret)
{
    void *value;

    pthread_rwlock_rdlock(inf->lock);
    struct map_cursor c = map_begin(inf->entries);
    while (map_next(&c, NULL, &value)) {
        struct entry *en = value;
        vec_push(&ret->list, object_ref(en->o));
    }
    pthread_rwlock_unlock(inf->lock);
}
