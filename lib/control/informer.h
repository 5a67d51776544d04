/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The read cache of one resource: objects as bytes, kept current by list and watch,
 * indexed by namespace/name, uid and whatever the controllers ask for.
 *
 * The core does no I/O: a watch source feeds it with informer_list_* and informer_event
 * (informer_http.c from an API server, a simulation from its own store) on the owner's
 * thread. Handlers run there too, after the store has changed. A relist replaces: objects
 * that are no longer there are reported deleted; an object that came back under another
 * uid is a delete and an add.
 *
 * Threading: feeding and handlers on one thread; informer_find, _index, _each and
 * _revision from any thread. Objects are returned as references the caller drops.
 */
#ifndef CONTROL_INFORMER_H
#define CONTROL_INFORMER_H

#include "api/object.h"
#include "base/str.h"
#include "base/vec.h"
#include "client/client.h"

struct informer;

/* Appends the key under which o is found; false: o is not in this index. */
typedef bool informer_key_fn(const struct object *o, struct str *key);
struct informer_index {
    const char *name;
    informer_key_fn *key;
};

struct informer_handler {
    /* before: NULL on add. initial: from the first list. All are borrowed. */
    void (*on_set)(void *arg, const struct object *before, const struct object *now,
                   bool initial);
    void (*on_delete)(void *arg, const struct object *last);
    /* The revision moved or a list was completed. Optional. */
    void (*on_progress)(void *arg);
    void *arg;
};

struct informer *informer_new(const struct resource *r);
void informer_free(struct informer *inf);
const struct resource *informer_resource(const struct informer *inf);
/* Before the first list. The index and its name are borrowed. Same name twice: once. */
void informer_add_index(struct informer *inf, const struct informer_index *index);
void informer_add_handler(struct informer *inf, const struct informer_handler *h);

/* --- feeding --------------------------------------------------------------------------
 */
void informer_list_begin(struct informer *inf);
void informer_list_item(struct informer *inf, struct object *o); /* borrowed */
void informer_list_end(struct informer *inf, uint64_t revision);
void informer_list_abort(struct informer *inf); /* the list failed: nothing is deleted */
enum informer_event_type {
    INFORMER_ADDED,
    INFORMER_MODIFIED,
    INFORMER_DELETED,
    INFORMER_BOOKMARK /* o may be NULL */
};
void informer_event(struct informer *inf, enum informer_event_type type, struct object *o,
                    uint64_t revision);
/* The source lost or regained its server. For rules that depend on it. */
void informer_set_connected(struct informer *inf, bool connected);

/* --- reading --------------------------------------------------------------------------
 */
bool informer_synced(const struct informer *inf); /* one list was completed */
bool informer_connected(const struct informer *inf);
/* Every change up to here has been applied. */
uint64_t informer_revision(const struct informer *inf);
/* Grows when a list was older than what was known (the store was restored). */
uint32_t informer_epoch(const struct informer *inf);
size_t informer_len(const struct informer *inf);

struct object_list {
    vec(struct object *) list; /* references */
};
void object_list_done(struct object_list *l);
static inline void
object_list_done_ptr(struct object_list *l)
{
    object_list_done(l);
}
#define auto_object_list CLEANUP(object_list_done_ptr) struct object_list

struct object *informer_find(const struct informer *inf, const char *ns,
                             const char *name); /* NULL: absent */
struct object *informer_find_uid(const struct informer *inf, const char *uid);
/* Appends those under key, ordered by namespace and name. */
void informer_index(const struct informer *inf, const char *index, const char *key,
                    struct object_list *ret);
void informer_all(const struct informer *inf, struct object_list *ret); /* no order */

/* --- sources --------------------------------------------------------------------------
 */
struct watch_source_ops {
    /* Lists and watches until stop. Calls the feeding functions later, not from here. */
    void *(*start)(void *self, struct informer *inf);
    void (*stop)(void *self, void *handle);
};
struct watch_source {
    const struct watch_source_ops *ops;
    void *self;
};

/* One watch line {"type":..., "object":...} applied. ERR_EXPIRED: list again. */
int informer_apply_line(struct informer *inf, struct span line,
                        struct error *e) WARN_UNUSED;

struct http_multi;
struct informer_http; /* a watch source over HTTP; loop thread */
/* target is copied, the rest borrowed. */
struct informer_http *informer_http_new(struct loop *l, struct http_multi *m,
                                        const struct http_target *target);
void informer_http_free(struct informer_http *h); /* after the informers' stop */
struct watch_source informer_http_source(struct informer_http *h);

#endif
