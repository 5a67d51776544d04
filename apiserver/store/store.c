/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store's front and its core, which all drivers share: opening and closing, reading,
 * watching, and what happens at the end of a turn. The files driver is
 * store_driver_files.c: commits in store_commit.c, the log in store_log.c and
 * store_writer.c, starting in store_replay.c, snapshots in store_snapshot.c.
 */
#include "apiserver/store/store.h"

#include <inttypes.h>
#include <sodium.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "apiserver/store/store_internal.h"
#include "base/log.h"
#include "base/mem.h"

LOG_MODULE(store);

struct store_list {
    uint64_t revision;
    struct store_range range;
};

/* --- end of the turn --- */

int
store_check_expect(const struct store_key *k, enum store_op_type type, uint64_t expect,
                   const struct object *have, struct error *e)
{
    if (have == NULL && (expect != 0 || type == STORE_DELETE))
        return error_set(e, ERR_NOT_FOUND, "%s \"%s\" not found", k->resource, k->name);
    if (have != NULL && expect == 0)
        return error_set(e, ERR_EXISTS, "%s \"%s\" already exists", k->resource, k->name);
    if (have != NULL && have->revision != expect)
        return error_set(e, ERR_CONFLICT,
                         "%s \"%s\": the object has been modified; it is at revision "
                         "%" PRIu64 ", not %" PRIu64,
                         k->resource, k->name, have->revision, expect);
    return 0;
}

void
store_kick(struct store *s)
{
    uint64_t one = 1;

    if (s->kicked)
        return;
    s->kicked = true;
    ssize_t n = write(s->kick_fd, &one, sizeof(one));
    UNUSED(n); /* full means that the loop will wake up anyway */
}

void
store_finish_later(struct store *s, store_done_fn *done, void *arg, uint64_t revision,
                   const struct error *e)
{
    struct store_finish f = {.done = done, .arg = arg, .revision = revision};

    if (done == NULL)
        return;
    if (e != NULL)
        f.e = xmemdup(e, sizeof(*e));
    vec_push(&s->finished, f);
}

/* Callbacks may commit; what that makes due comes later. */
void
store_run_finished(struct store *s, size_t limit)
{
    size_t end = s->finished.len;

    if (end - s->n_called > limit)
        end = s->n_called + limit;
    while (s->n_called < end) {
        struct store_finish f = s->finished.items[s->n_called++];
        f.done(f.arg, f.revision, f.e);
        free(f.e);
    }
    if (s->n_called == s->finished.len) {
        s->finished.len = s->n_called = 0;
    } else if (s->n_called > s->finished.len / 2) {
        s->finished.len -= s->n_called;
        memmove(s->finished.items, s->finished.items + s->n_called,
                s->finished.len * sizeof(s->finished.items[0]));
        s->n_called = 0;
    }
}

void
store_bury(struct store *s, struct object *o)
{
    if (o != NULL)
        vec_push(&s->graveyard, o);
}

/* A borrower of this turn may be a hook that runs after ours, so the dead stay for one
 * more turn. */
static void
clear_graveyard(struct store *s)
{
    size_t rest = s->graveyard.len - s->n_old_graves;

    for (size_t i = 0; i < s->n_old_graves; i++)
        object_unref(s->graveyard.items[i]);
    if (rest > 0)
        memmove(s->graveyard.items, s->graveyard.items + s->n_old_graves,
                rest * sizeof(s->graveyard.items[0]));
    s->graveyard.len = s->n_old_graves = rest;
}

static void
end_of_turn(void *arg)
{
    struct store *s = arg;

    store_run_finished(s, STORE_CALLBACKS);
    hub_wake(&s->hub, STORE_CALLBACKS);
    if (s->driver->end_of_turn != NULL)
        s->driver->end_of_turn(s);
    clear_graveyard(s);
    if (s->finished.len > 0 || hub_wants_wake(&s->hub))
        store_kick(s);
}

static void
on_kick(void *arg, int fd, uint32_t events)
{
    struct store *s = arg;
    uint64_t n;

    UNUSED(events);
    ssize_t rc = read(fd, &n, sizeof(n));
    UNUSED(rc);
    s->kicked = false;
    if (s->driver->collect != NULL)
        s->driver->collect(s);
    store_run_finished(s, STORE_CALLBACKS);
    hub_wake(&s->hub, STORE_CALLBACKS);
}

void
store_flush(struct store *s)
{
    if (s->driver->flush != NULL)
        s->driver->flush(s);
    store_run_finished(s, SIZE_MAX);
    hub_wake(&s->hub, SIZE_MAX);
}

/* --- to the driver --- */

int
store_commit(struct store *s, const struct store_op *ops, size_t n,
             enum store_durability durability, store_done_fn *done, void *arg,
             uint64_t *ret_revision, struct error *e)
{
    bug_if(s->magic != STORE_MAGIC);
    return s->driver->commit(s, ops, n, durability, done, arg, ret_revision, e);
}

struct object *
store_peek(const struct store *s, const struct store_key *k)
{
    return s->driver->peek == NULL ? store_get(s, k) : s->driver->peek(s, k);
}

bool
store_is_shared(const struct store *s)
{
    return s->driver->shared;
}

bool
store_sync(struct store *s, store_done_fn *done, void *arg)
{
    return s->driver->sync == NULL || s->driver->sync(s, done, arg);
}

void
store_snapshot(struct store *s, store_done_fn *done, void *arg)
{
    struct error e = ERROR_INIT;

    if (s->driver->snapshot != NULL) {
        s->driver->snapshot(s, done, arg);
        return;
    }
    error_set(&e, ERR_UNSUPPORTED, "a store on %s has no snapshots", s->driver->name);
    store_finish_later(s, done, arg, 0, &e);
    store_kick(s);
}

/* --- resources and objects --- */

static void
resource_free(void *arg)
{
    struct store_resource *r = arg;

    store_index_done(&r->index);
    free(r->name);
    free(r);
}

struct store_resource *
store_resource_get(struct store *s, const char *name)
{
    struct store_resource *r = map_get(s->resources, name);

    if (r == NULL) {
        r = xnew(struct store_resource);
        r->name = xstrdup(name);
        map_put(s->resources, name, r);
    }
    return r;
}

const struct kind *
store_kind(const struct store *s, const char *resource)
{
    return s->opts.kind_of == NULL ? NULL : s->opts.kind_of(s->opts.arg, resource);
}

void
store_set_visible(struct store *s, uint64_t revision)
{
    s->visible = s->hub.visible = revision;
    if (!TAILQ_EMPTY(&s->waits))
        store_wait_check(s);
}

void
store_reset(struct store *s, uint64_t revision)
{
    hub_reset(&s->hub, revision);
    store_set_visible(s, revision);
    store_kick(s);
}

void
store_apply(struct store *s, uint64_t revision, const struct store_change *ch)
{
    struct store_resource *r = ch->resource;
    struct object *old;

    if (ch->type == STORE_PUT) {
        old = store_index_put(&r->index, ch->obj);
        s->n_objects += old == NULL;
        s->object_bytes += ch->obj->len;
    } else {
        old = store_index_remove(&r->index, ch->obj->ns, ch->obj->name);
        s->n_objects -= old != NULL;
    }
    s->object_bytes -= old == NULL ? 0 : old->len;
    struct store_event ev = {
        .revision = revision,
        .type = STORE_DELETED,
        .resource = r->name,
        .obj = ch->obj,
        .prev = old,
    };
    if (ch->type == STORE_PUT)
        ev.type = old == NULL ? STORE_ADDED : STORE_MODIFIED;
    /* Only a replay can delete what is not there: a lazy commit that was lost. */
    if (ch->type == STORE_PUT || old != NULL)
        hub_publish(&s->hub, &ev);
    store_bury(s, old);
}

struct object *
store_get(const struct store *s, const struct store_key *k)
{
    const struct store_resource *r = map_get(s->resources, k->resource);

    return r == NULL ? NULL : store_index_get(&r->index, k->ns, k->name);
}

size_t
store_count(const struct store *s, const char *resource)
{
    const struct store_resource *r = map_get(s->resources, resource);

    return r == NULL ? 0 : r->index.len;
}

void
store_resources(struct store *s, void (*fn)(void *arg, const char *resource), void *arg)
{
    struct map_cursor c = map_begin(s->resources);
    void *value;

    while (map_next(&c, NULL, &value)) {
        const struct store_resource *r = value;
        if (r->index.len > 0)
            fn(arg, r->name);
    }
}

uint64_t
store_revision(const struct store *s)
{
    return s->visible;
}

uint64_t
store_oldest(const struct store *s)
{
    return s->hub.oldest;
}

uint64_t
store_retained(const struct store *s)
{
    const struct store_files *f = s->files;

    if (f == NULL)
        return s->hub.oldest;
    return f->retained > f->compacted ? f->retained : f->compacted;
}

int
store_compact(struct store *s, uint64_t revision, store_done_fn *done, void *arg,
              struct error *e)
{
    if (revision > s->visible)
        return error_set(e, ERR_BAD_REQUEST,
                         "revision %" PRIu64
                         " is in the future; the store is at %" PRIu64,
                         revision, s->visible);
    if (s->driver->compact == NULL)
        return error_set(e, ERR_UNSUPPORTED, "the %s store compacts by itself",
                         s->driver->name);
    return s->driver->compact(s, revision, done, arg, e);
}

/* --- lists --- */

struct store_list *
store_list(struct store *s, const char *resource, const char *ns, const char *start_after)
{
    const struct store_resource *r = map_get(s->resources, resource);
    struct store_list *l = xnew(struct store_list);
    autofree char *after_ns = NULL;
    const char *after_name = NULL;

    l->revision = s->visible;
    if (start_after != NULL) {
        after_name = strchr(start_after, '/');
        after_ns = xstrndup(start_after,
                            after_name == NULL ? 0 : (size_t)(after_name - start_after));
        after_name = after_name == NULL ? start_after : after_name + 1;
    }
    if (r != NULL)
        store_range_init(&r->index, ns, after_ns, after_name, &l->range);
    return l;
}

struct store_list *
store_list_copy(const struct store_list *l)
{
    struct store_list *copy = xnew(struct store_list);

    copy->revision = l->revision;
    store_range_copy(&l->range, &copy->range);
    return copy;
}

void
store_list_seek(struct store_list *l, const char *start_after)
{
    const char *slash = strchr(start_after, '/');
    size_t n = slash == NULL ? 0 : (size_t)(slash - start_after);
    autofree char *ns = xstrndup(start_after, n);

    store_range_seek(&l->range, ns, slash == NULL ? start_after : slash + 1);
}

uint64_t
store_list_revision(const struct store_list *l)
{
    return l->revision;
}

struct object *
store_list_next(struct store_list *l)
{
    return store_range_next(&l->range);
}

size_t
store_list_remaining(const struct store_list *l)
{
    return l->range.left;
}

void
store_list_free(struct store_list *l)
{
    if (l == NULL)
        return;
    store_range_done(&l->range);
    free(l);
}

int
store_refresh_some(struct store *s, const char *resource, struct store_list *l,
                   size_t max, struct error *e)
{
    struct store_resource *r = map_get(s->resources, resource);
    const struct kind *k = store_kind(s, resource);
    const struct object *o;

    if (r == NULL)
        return 0;
    for (; max > 0; max--) {
        auto_object *fresh = NULL;
        if ((o = store_list_next(l)) == NULL)
            return 0;
        if ((k != NULL && o->facts.shape == k->shape) ||
            store_index_get(&r->index, o->ns, o->name) != o)
            continue;
        if (object_new(k, o->bytes, o->len, o->revision, &fresh, e) < 0)
            return error_prepend(e, "facts of %s", resource);
        store_bury(s, store_index_put(&r->index, fresh));
    }
    return 1;
}

int
store_refresh(struct store *s, const char *resource, struct error *e)
{
    struct store_list *l = store_list(s, resource, NULL, NULL);
    int rc;

    while ((rc = store_refresh_some(s, resource, l, SIZE_MAX, e)) > 0)
        ;
    store_list_free(l);
    return rc;
}

/* --- watches --- */

/* Commits of a lazy kind may have been seen and then lost with the process: a watcher
 * from before this start cannot be told what became of them. */
static bool
may_have_lost(struct store *s, const char *resource)
{
    if (resource == NULL) {
        struct map_cursor c = map_begin(s->resources);
        const char *name;
        void *value;
        while (map_next(&c, &name, &value)) {
            if (may_have_lost(s, name))
                return true;
        }
        return false;
    }
    const struct kind *k = store_kind(s, resource);
    return store_resource_get(s, resource)->lazy ||
           (k != NULL && (k->lazy || k->lazy_lease));
}

int
store_watch(struct store *s, const struct store_watch_opts *opts,
            struct store_watch **ret, struct error *e)
{
    const char *resource = NULL;

    bug_if(s->magic != STORE_MAGIC);
    if (opts->from < s->start_floor && may_have_lost(s, opts->resource))
        return error_set(e, ERR_EXPIRED,
                         "too old resource version: %" PRIu64 " (%" PRIu64 ")",
                         opts->from, s->start_floor);
    if (opts->resource != NULL)
        resource = store_resource_get(s, opts->resource)->name;
    int rc = hub_watch(&s->hub, opts, resource, ret, e);
    if (rc == 0 && hub_wants_wake(&s->hub))
        store_kick(s);
    return rc;
}

/* --- opening and closing --- */

static void
free_parts(struct store *s)
{
    s->driver->close(s);
    for (size_t i = s->n_called; i < s->finished.len; i++)
        free(s->finished.items[i].e);
    vec_done(&s->finished);
    vec_foreach (o, &s->graveyard)
        object_unref(*o);
    vec_done(&s->graveyard);
    loop_timer_free(s->wait_timer);
    loop_hook_free(s->hook);
    loop_io_free(s->kick_io);
    if (s->kick_fd >= 0)
        close(s->kick_fd);
    hub_done(&s->hub);
    map_free(s->resources);
    s->magic = 0;
    free(s);
}

static int
start(struct store *s, struct error *e)
{
    int rc = 0;

    s->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->kick_fd < 0)
        rc = error_errno(e, errno, "create eventfd");
    if (rc == 0)
        rc = s->driver->open(s, e);
    if (rc < 0)
        return rc;
    s->hook = loop_before_sleep(s->loop, "store", end_of_turn, s);
    return loop_io_add(s->loop, "store", s->kick_fd, EPOLLIN, on_kick, s, &s->kick_io, e);
}

int
store_open(struct loop *l, const struct store_opts *opts, struct store **ret,
           struct error *e)
{
    struct store *s = xnew(struct store);

    bug_if(sodium_init() < 0);
    s->magic = STORE_MAGIC;
    s->loop = l;
    s->opts = *opts;
    s->driver = opts->etcd != NULL ? &store_driver_etcd : &store_driver_files;
    s->resources = map_new(resource_free);
    TAILQ_INIT(&s->waits);
    hub_init(&s->hub, opts->ring_events, opts->ring_bytes);
    s->hub.store = s;
    int rc = start(s, e);
    if (rc < 0) {
        free_parts(s);
        return error_prepend(e, "open store %s",
                             opts->etcd != NULL ? "on etcd" : opts->dir);
    }
    log_debug("opened", "driver=%s revision=%" PRIu64 " objects=%zu", s->driver->name,
              s->visible, s->n_objects);
    *ret = s;
    return 0;
}

void
store_close(struct store *s)
{
    if (s == NULL)
        return;
    bug_if(s->magic != STORE_MAGIC);
    s->driver->drain(s);
    store_run_finished(s, SIZE_MAX);
    store_wait_stop(s);
    free_parts(s);
}

void
store_stats(const struct store *s, struct store_stats *ret)
{
    *ret = (struct store_stats){
        .revision = s->visible,
        .oldest = s->hub.oldest,
        .commits = s->commits,
        .objects = s->n_objects,
        .object_bytes = s->object_bytes,
        .watchers = s->hub.n_watchers,
    };
    s->driver->stats(s, ret);
}
