/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a controller is: a const table with one reconciled kind, the watches that make a
 * key of it ready, and reconcile(). The manager decides what an outcome means:
 *
 *   0, requeue_after_ms 0     wait for an event
 *   0, requeue_after_ms > 0   look again then, unless an event comes first
 *   error, retryable          back off, at least the peer's retry_after_ms
 *   error, conflict           again from a fresher cache
 *   error, terminal           logged, an Event on the object; wait for a change of it
 *
 * reconcile() is straight-line blocking code on a worker thread: observe from the lister,
 * plan by a pure function, act by the reconcile_* calls below, which remember the
 * revision written: the key's next run waits until the cache has reached it. It reads the
 * time from env and nowhere else.
 */
#ifndef CONTROL_CONTROLLER_H
#define CONTROL_CONTROLLER_H

#include "control/lister.h"
#include "control/recorder.h"

struct manager;

struct object_key {
    const char *ns, *name; /* ns "" when cluster-scoped */
};

struct reconcile_writes; /* the manager's */

struct reconcile_env {
    const struct lister *lister;
    struct client *client;
    struct recorder *recorder;
    int64_t now_ms;      /* monotonic, at the start of this reconcile */
    int64_t wall_ns;     /* the same moment */
    int64_t deadline_ms; /* reconcile_* calls fail with ERR_TIMEOUT past it */
    int64_t (*clock_ms)(void);
    void *state; /* from controller.init */
    struct reconcile_writes *writes;
};

struct reconcile_result {
    int64_t requeue_after_ms; /* 0: wait for an event */
};

/* Collects keys made ready by an event. */
struct key_sink {
    void (*add)(struct key_sink *s, const char *ns, const char *name);
};

struct watch_spec {
    const struct resource *resource;
    enum watch_how {
        WATCH_SELF,
        WATCH_OWNED, /* the key is the controller owner, of the controller's kind */
        WATCH_MAPPED
    } how;
    /* MAPPED: on the loop thread. before or now may be NULL (added, deleted). */
    void (*map)(const struct lister *l, const struct object *before,
                const struct object *now, void *state, struct key_sink *keys);
};

struct controller {
    const char *name;
    const struct resource *resource;
    const struct watch_spec *watches; /* ended by a NULL resource */
    const struct informer_index_of {
        const struct resource *resource;
        struct informer_index index;
    } * indexes; /* ended by a NULL resource, or NULL */
    unsigned workers;
    uint32_t deadline_ms, backoff_min_ms, backoff_max_ms;
    /* Before the informers start; may add informers and handlers. Optional. */
    int (*init)(struct manager *m, void **state, struct error *e);
    void (*fini)(void *state);
    int (*reconcile)(const struct reconcile_env *env, const struct object_key *key,
                     struct reconcile_result *result, struct error *e);
};

/* --- writes of a reconcile ------------------------------------------------------------
 */
int reconcile_create(const struct reconcile_env *env, const struct resource *r,
                     const char *ns, const json_t *body, struct object **ret,
                     struct error *e) WARN_UNUSED;
/* Merge patch of the object (subresource NULL) or of a subresource. */
int reconcile_patch(const struct reconcile_env *env, const struct resource *r,
                    const struct object_key *key, const char *subresource,
                    const json_t *patch, struct error *e) WARN_UNUSED;
/* one(arg, env, i, e) for each i below n, up to eight at once when they are many; ends at
 * the first that fails. one() uses the env that it is given. */
typedef int reconcile_one_fn(void *arg, const struct reconcile_env *env, size_t i,
                             struct error *e);
int reconcile_each(const struct reconcile_env *env, size_t n, reconcile_one_fn *one,
                   void *arg, struct error *e) WARN_UNUSED;
int reconcile_delete(const struct reconcile_env *env, const struct resource *r,
                     const struct object_key *key, const char *uid,
                     struct error *e) WARN_UNUSED;

#endif
