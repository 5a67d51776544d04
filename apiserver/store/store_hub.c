/* SPDX-License-Identifier: Apache-2.0 */
/* The ring of events and its watchers. */
#include "apiserver/store/store_hub.h"

#include <inttypes.h>

#include "apiserver/store/store_back.h"
#include "apiserver/store/store_internal.h"

#include "base/mem.h"
#include "base/vec.h"

#define HUB_MAGIC 0x57415443u
#define RING_MIN 256

struct hub_bucket {
    vec(struct store_watch *) watchers;
};

struct store_watch {
    uint32_t magic;
    struct store_hub *hub;
    const char *resource; /* interned; NULL: all */
    char *ns, *name;      /* NULL: all */
    char *label_key, *label_value;
    uint64_t from;
    void (*wake)(void *arg);
    void *arg;

    struct hub_bucket *bucket;
    size_t bucket_pos;
    uint64_t cursor; /* number of the next event to look at; meaningless while idle */
    bool idle;       /* has seen everything */
    bool woken;      /* wake() was called or is due, and no store_watch_next since */
    bool due;        /* in hub->wakes */
    bool expired;    /* events are missing */
    /* Seen is all before revision `at`, and so many events of it. */
    uint64_t at;
    size_t at_n;
    struct store_back *back; /* reads the log; NULL: the ring has what it wants */
    TAILQ_ENTRY(store_watch) link;
    TAILQ_ENTRY(store_watch) entry;      /* in hub->all */
    struct object *held_obj, *held_prev; /* of the event returned last */
};

/* --- ring --- */

static struct hub_event *
event_at(const struct store_hub *h, uint64_t number)
{
    return &h->ring[number & (h->cap - 1)];
}

static size_t
event_bytes(const struct hub_event *ev)
{
    return ev->obj->len + (ev->prev == NULL ? 0 : ev->prev->len);
}

static void
evict(struct store_hub *h)
{
    struct hub_event *ev = event_at(h, h->head);

    h->bytes -= event_bytes(ev);
    h->oldest = ev->revision;
    object_unref(ev->obj);
    object_unref(ev->prev);
    h->head++;
}

static void
grow(struct store_hub *h)
{
    size_t cap = h->cap == 0 ? RING_MIN : h->cap * 2;
    struct hub_event *ring = xcalloc(cap, sizeof(*ring));

    for (uint64_t n = h->head; n < h->tail; n++)
        ring[n & (cap - 1)] = *event_at(h, n);
    free(h->ring);
    h->ring = ring;
    h->cap = cap;
}

void
hub_init(struct store_hub *h, size_t max_events, size_t max_bytes)
{
    *h = (struct store_hub){.max_events = max_events == 0 ? 100000 : max_events,
                            .max_bytes = max_bytes == 0 ? 64u << 20 : max_bytes};
    h->buckets = map_new(NULL);
    TAILQ_INIT(&h->wakes);
    TAILQ_INIT(&h->all);
}

void
hub_done(struct store_hub *h)
{
    bug_if(h->n_watchers != 0);
    while (h->head < h->tail)
        evict(h);
    free(h->ring);
    map_free(h->buckets);
    *h = (struct store_hub){0};
}

void
hub_start_at(struct store_hub *h, uint64_t revision)
{
    h->oldest = revision;
}

void
hub_compact(struct store_hub *h, uint64_t revision)
{
    while (h->head < h->tail && event_at(h, h->head)->revision <= revision)
        evict(h);
    if (h->oldest < revision)
        h->oldest = revision;
}

/* --- buckets ---
 * The key says what kind of bucket it is: "L" label, "N" name, "S" namespace, "R"
 * resource, "A" everything; NULs between the parts.
 */

static void
bucket_key(struct str *out, char kind, const char *resource, struct span a, struct span b)
{
    str_reset(out);
    str_addc(out, kind);
    if (resource != NULL)
        str_adds(out, resource);
    str_addc(out, '\0');
    str_add(out, a.ptr, a.len);
    str_addc(out, '\0');
    str_add(out, b.ptr, b.len);
}

static void
watch_bucket_key(const struct store_watch *w, struct str *out)
{
    struct span none = {"", 0};

    if (w->label_key != NULL)
        bucket_key(out, 'L', w->resource, span_of(w->label_key), span_of(w->label_value));
    else if (w->name != NULL && w->ns != NULL)
        bucket_key(out, 'N', w->resource, span_of(w->ns), span_of(w->name));
    else if (w->ns != NULL)
        bucket_key(out, 'S', w->resource, span_of(w->ns), none);
    else if (w->resource != NULL)
        bucket_key(out, 'R', w->resource, none, none);
    else
        bucket_key(out, 'A', NULL, none, none);
}

static bool
has_label(const struct object *o, const struct store_watch *w)
{
    struct span value;

    return o != NULL && object_label(o, w->label_key, &value) &&
           span_eq(value, w->label_value);
}

/* An event in which the label appears or disappears is wanted too: selector transitions.
 */
static bool
wants(const struct store_watch *w, const struct hub_event *ev)
{
    if (w->resource != NULL && w->resource != ev->resource)
        return false;
    if (ev->revision <= w->from)
        return false;
    if (w->ns != NULL && !streq(w->ns, ev->obj->ns))
        return false;
    if (w->name != NULL && !streq(w->name, ev->obj->name))
        return false;
    return w->label_key == NULL || has_label(ev->obj, w) || has_label(ev->prev, w);
}

static void
make_due(struct store_watch *w)
{
    if (w->woken)
        return;
    w->woken = w->due = true;
    TAILQ_INSERT_TAIL(&w->hub->wakes, w, link);
    w->hub->n_due++;
}

static void
not_due(struct store_watch *w)
{
    if (!w->due)
        return;
    w->due = false;
    TAILQ_REMOVE(&w->hub->wakes, w, link);
    w->hub->n_due--;
}

static void
notify_bucket(struct store_hub *h, const struct str *key, uint64_t number)
{
    struct hub_bucket *b = map_getn(h->buckets, key->ptr, key->len);

    if (b == NULL)
        return;
    for (size_t i = 0; i < b->watchers.len; i++) {
        struct store_watch *w = b->watchers.items[i];
        if (w->back != NULL || !wants(w, event_at(h, number)))
            continue;
        if (w->idle) {
            w->idle = false;
            w->cursor = number;
            w->at = event_at(h, number)->revision;
            w->at_n = 0;
        }
        make_due(w);
    }
}

/* A watcher of "any resource" stands in a bucket without a resource, so each narrow kind
 * is looked up under both. */
static void
notify_both(struct store_hub *h, struct str *key, char kind, const char *resource,
            const struct span parts[2], uint64_t number)
{
    bucket_key(key, kind, resource, parts[0], parts[1]);
    notify_bucket(h, key, number);
    bucket_key(key, kind, NULL, parts[0], parts[1]);
    notify_bucket(h, key, number);
}

static void
notify_labels(struct store_hub *h, struct str *key, const struct object *o,
              uint64_t number)
{
    const char *resource = event_at(h, number)->resource;

    for (uint16_t i = 0; o != NULL && i < o->facts.n_labels; i++) {
        const struct fact_label *l = &o->facts.labels[i];
        struct span parts[2] = {object_fact(o, l->key), object_fact(o, l->value)};
        notify_both(h, key, 'L', resource, parts, number);
    }
}

void
hub_publish(struct store_hub *h, const struct store_event *event)
{
    struct hub_event ev = {.revision = event->revision,
                           .type = event->type,
                           .resource = event->resource,
                           .obj = object_ref(event->obj)};

    if (event->prev != NULL)
        ev.prev = object_ref(event->prev);
    if (h->tail - h->head == h->cap && h->cap < h->max_events)
        grow(h);
    while (h->tail - h->head >= h->max_events || h->tail - h->head == h->cap ||
           (h->head < h->tail && h->bytes + event_bytes(&ev) > h->max_bytes))
        evict(h);
    uint64_t number = h->tail++;
    *event_at(h, number) = ev;
    h->bytes += event_bytes(&ev);
    if (h->n_watchers == 0)
        return;
    auto_str key = STR_INIT(OBJECT_MAX_BYTES);
    struct span name[2] = {span_of(ev.obj->ns), span_of(ev.obj->name)};
    struct span ns[2] = {name[0], {"", 0}};
    struct span none[2] = {{"", 0}, {"", 0}};
    notify_both(h, &key, 'N', ev.resource, name, number);
    notify_both(h, &key, 'S', ev.resource, ns, number);
    bucket_key(&key, 'R', ev.resource, none[0], none[1]);
    notify_bucket(h, &key, number);
    bucket_key(&key, 'A', NULL, none[0], none[1]);
    notify_bucket(h, &key, number);
    if (h->n_label_watchers == 0)
        return;
    notify_labels(h, &key, ev.obj, number);
    notify_labels(h, &key, ev.prev, number);
}

void
hub_reset(struct store_hub *h, uint64_t revision)
{
    struct store_watch *w;

    while (h->head < h->tail)
        evict(h);
    h->oldest = revision;
    TAILQ_FOREACH (w, &h->all, entry) {
        w->expired = true;
        w->idle = false;
        make_due(w);
    }
}

bool
hub_wants_wake(const struct store_hub *h)
{
    return !TAILQ_EMPTY(&h->wakes);
}

void
hub_wake(struct store_hub *h, size_t limit)
{
    struct store_watch *w;

    if (limit > h->n_due)
        limit = h->n_due;
    while (limit-- > 0 && (w = TAILQ_FIRST(&h->wakes)) != NULL) {
        not_due(w);
        w->wake(w->arg);
    }
}

/* --- watchers --- */

static uint64_t
first_after(const struct store_hub *h, uint64_t revision)
{
    uint64_t lo = h->head;
    uint64_t hi = h->tail;

    while (lo < hi) {
        uint64_t mid = lo + (hi - lo) / 2;
        if (event_at(h, mid)->revision <= revision)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static char *
dup_or_null(const char *s)
{
    return s == NULL ? NULL : xstrdup(s);
}

/* --- behind the ring --- */

static void
on_read(void *arg)
{
    struct store_watch *w = arg;

    make_due(w);
    store_kick(w->hub->store);
}

static bool
fall_back(struct store_watch *w)
{
    struct store_hub *h = w->hub;
    struct store_back_opts o = {.resource = w->resource,
                                .ns = w->ns,
                                .name = w->name,
                                .from = w->at - 1,
                                .skip = w->at_n,
                                .ready = on_read,
                                .arg = w};

    if (h->store == NULL || !store_back_can(h->store, w->resource, w->at - 1))
        return false;
    w->back = store_back_new(h->store, &o);
    w->idle = false;
    return true;
}

static void
passed(struct store_watch *w, uint64_t revision)
{
    w->at_n = w->at == revision ? w->at_n + 1 : 1;
    w->at = revision;
}

/* As store_watch_next; 2: it has caught up with the ring. */
static int
next_of_log(struct store_watch *w, struct store_event *ret, struct error *e)
{
    struct store_hub *h = w->hub;
    uint64_t position = 0;
    int rc;

    while ((rc = store_back_next(w->back, ret, &position, e)) == 1) {
        struct hub_event ev = {.revision = ret->revision,
                               .type = ret->type,
                               .resource = ret->resource,
                               .obj = (struct object *)(uintptr_t)ret->obj,
                               .prev = (struct object *)(uintptr_t)ret->prev};
        passed(w, ev.revision);
        if (wants(w, &ev)) {
            w->held_obj = ev.obj;
            w->held_prev = ev.prev;
            return 1;
        }
        object_unref(ev.obj);
        object_unref(ev.prev);
    }
    if (rc != 2)
        return rc;
    if (position < h->oldest) {
        if (position + 1 <= w->at) /* nothing gained: it would turn for ever */
            return error_set(e, ERR_EXPIRED,
                             "too old resource version: the watch fell behind %" PRIu64,
                             h->oldest);
        w->at = position + 1;
        w->at_n = 0;
        return next_of_log(w, ret, e);
    }
    store_back_free(move_ptr(w->back));
    w->at = position + 1;
    w->at_n = 0;
    w->cursor = first_after(h, position);
    return 2;
}

int
hub_watch(struct store_hub *h, const struct store_watch_opts *opts, const char *resource,
          struct store_watch **ret, struct error *e)
{
    bool behind = opts->from < h->oldest;

    if (behind && (h->store == NULL || !store_back_can(h->store, resource, opts->from)))
        return error_set(e, ERR_EXPIRED,
                         "too old resource version: %" PRIu64 " (%" PRIu64 ")",
                         opts->from, h->oldest);
    struct store_watch *w = xnew(struct store_watch);
    w->magic = HUB_MAGIC;
    w->hub = h;
    w->resource = resource;
    w->ns = dup_or_null(opts->ns);
    w->name = dup_or_null(opts->name);
    if (opts->label_key != NULL) {
        w->label_key = xstrdup(opts->label_key);
        w->label_value = xstrdup(opts->label_value == NULL ? "" : opts->label_value);
    }
    w->from = opts->from;
    w->wake = opts->wake;
    w->arg = opts->arg;
    w->cursor = first_after(h, opts->from);
    while (w->cursor < h->tail && !wants(w, event_at(h, w->cursor)))
        w->cursor++;
    w->idle = w->cursor == h->tail;
    w->at = opts->from + 1;
    if (behind)
        bug_if(!fall_back(w));

    auto_str key = STR_INIT(OBJECT_MAX_BYTES);
    watch_bucket_key(w, &key);
    w->bucket = map_getn(h->buckets, key.ptr, key.len);
    if (w->bucket == NULL) {
        w->bucket = xnew(struct hub_bucket);
        map_putn(h->buckets, key.ptr, key.len, w->bucket);
    }
    w->bucket_pos = w->bucket->watchers.len;
    vec_push(&w->bucket->watchers, w);
    TAILQ_INSERT_TAIL(&h->all, w, entry);
    h->n_watchers++;
    h->n_label_watchers += w->label_key != NULL;
    if (!w->idle)
        make_due(w);
    *ret = w;
    return 0;
}

static void
drop_held(struct store_watch *w)
{
    object_unref(w->held_obj);
    object_unref(w->held_prev);
    w->held_obj = w->held_prev = NULL;
}

static void
leave_bucket(struct store_watch *w)
{
    struct hub_bucket *b = w->bucket;
    struct store_watch *last = b->watchers.items[b->watchers.len - 1];

    b->watchers.items[w->bucket_pos] = last;
    last->bucket_pos = w->bucket_pos;
    b->watchers.len--;
    if (b->watchers.len > 0)
        return;
    auto_str key = STR_INIT(OBJECT_MAX_BYTES);
    watch_bucket_key(w, &key);
    map_deln(w->hub->buckets, key.ptr, key.len);
    vec_done(&b->watchers);
    free(b);
}

void
store_watch_free(struct store_watch *w)
{
    if (w == NULL)
        return;
    bug_if(w->magic != HUB_MAGIC);
    leave_bucket(w);
    not_due(w);
    TAILQ_REMOVE(&w->hub->all, w, entry);
    w->hub->n_watchers--;
    w->hub->n_label_watchers -= w->label_key != NULL;
    drop_held(w);
    store_back_free(w->back);
    free(w->ns);
    free(w->name);
    free(w->label_key);
    free(w->label_value);
    w->magic = 0;
    free(w);
}

int
store_watch_next(struct store_watch *w, struct store_event *ret, struct error *e)
{
    struct store_hub *h = w->hub;

    bug_if(w->magic != HUB_MAGIC);
    drop_held(w);
    w->woken = false;
    not_due(w);
    if (w->idle)
        return 0;
    if (w->expired)
        return error_set(e, ERR_EXPIRED,
                         "too old resource version: events up to %" PRIu64
                         " are no longer known",
                         h->oldest);
    if (w->back == NULL && w->cursor < h->head && !fall_back(w))
        return error_set(e, ERR_EXPIRED,
                         "too old resource version: the watch fell behind %" PRIu64,
                         h->oldest);
    if (w->back != NULL) {
        int rc = next_of_log(w, ret, e);
        if (rc != 2)
            return rc;
    }
    while (w->cursor < h->tail && !wants(w, event_at(h, w->cursor)))
        passed(w, event_at(h, w->cursor++)->revision);
    if (w->cursor == h->tail) {
        w->idle = true;
        return 0;
    }
    const struct hub_event *ev = event_at(h, w->cursor++);
    passed(w, ev->revision);
    w->idle = w->cursor == h->tail;
    w->held_obj = object_ref(ev->obj);
    w->held_prev = ev->prev == NULL ? NULL : object_ref(ev->prev);
    *ret = (struct store_event){.revision = ev->revision,
                                .type = ev->type,
                                .resource = ev->resource,
                                .obj = w->held_obj,
                                .prev = w->held_prev};
    return 1;
}

uint64_t
store_watch_position(const struct store_watch *w)
{
    const struct store_hub *h = w->hub;

    if (w->idle)
        return h->visible > w->from ? h->visible : w->from;
    /* Not the event's own revision: it may have more events than this one. While the log
     * is read, the place in the ring says nothing. */
    if (w->back != NULL)
        return w->at - 1 > w->from ? w->at - 1 : w->from;
    if (w->expired || w->cursor < h->head)
        return w->from;
    uint64_t before = event_at(h, w->cursor)->revision - 1;
    return before > w->from ? before : w->from;
}
