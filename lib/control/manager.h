/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs controllers: owns their informers, queues and workers. Two ways:
 *  - with a loop: watches and timers on the loop thread, reconciles on worker threads,
 *    each with its own blocking client;
 *  - without (loop NULL): nothing runs by itself; manager_step does one thing and says
 *    whether there was one. For simulations and tests.
 * Workers and parts start once every informer has its first list; an empty cache never
 * reads as "delete all".
 *
 *     manager_new(&opts, &m);
 *     manager_add(m, &run_controller, &e);
 *     manager_start(m);          ... loop_run ...
 *     manager_stop(m); manager_free(m);
 */
#ifndef CONTROL_MANAGER_H
#define CONTROL_MANAGER_H

#include "control/controller.h"
#include "io/loop.h"

struct manager;

struct manager_opts {
    struct loop *loop;          /* NULL: stepped */
    struct client *client;      /* borrowed; cloned for each worker */
    struct async_client *async; /* borrowed */
    struct watch_source source; /* borrowed */
    int64_t (*now_ms)(void);    /* NULL: base/clock.h */
    int64_t (*wall_ns)(void);
    const char *component, *instance; /* of Events; borrowed */
    uint64_t seed;                    /* retry jitter; in stepped mode also the order */
};

void manager_new(const struct manager_opts *o, struct manager **ret);
/* After manager_stop. NULL ok. */
void manager_free(struct manager *m);

/* Before manager_start. */
int manager_add(struct manager *m, const struct controller *c,
                struct error *e) WARN_UNUSED;
/* The informer of a resource, made on first use. Before manager_start. */
struct informer *manager_informer(struct manager *m, const struct resource *r);

/* Something that is no reconcile(key): a batch loop on the owner's thread. step runs when
 * woken or due, after all caches have synced; returns when it is due next (monotonic ms),
 * or -1. Before manager_start. */
struct manager_part {
    const char *name;
    int64_t (*step)(void *arg, int64_t now_ms);
    void *arg;
};
struct manager_part_ref;
struct manager_part_ref *manager_add_part(struct manager *m,
                                          const struct manager_part *p);
void manager_wake(struct manager_part_ref *p); /* owner's thread */

void manager_start(struct manager *m);
/* No more reconciles are started; waits for running ones; stops the watches. */
void manager_stop(struct manager *m);
bool manager_synced(const struct manager *m);

/* Makes a key ready. Any thread. */
void manager_enqueue(struct manager *m, const char *controller, const char *ns,
                     const char *name);

const struct lister *manager_lister(const struct manager *m);
struct recorder *manager_recorder(const struct manager *m);
struct async_client *manager_async(const struct manager *m);
int64_t manager_now_ms(const struct manager *m);
int64_t manager_wall_ns(const struct manager *m);
/* Something that several controllers' init() want; the program's, borrowed. */
void manager_set_shared(struct manager *m, void *shared);
void *manager_shared(const struct manager *m);

/* Stepped: runs one part, one reconcile, or one answer of a local async client. False:
 * nothing is ready now. */
bool manager_step(struct manager *m);
/* When the earliest delayed work is due; -1: there is none. */
int64_t manager_next_due(const struct manager *m);

/* Counters and queue lengths as text, for the debug socket and tests. */
void manager_dump(const struct manager *m, struct str *out);

#endif
