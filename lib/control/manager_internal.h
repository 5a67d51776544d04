/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by manager.c (set-up, informers, parts) and manager_work.c (queues, workers). */
#ifndef CONTROL_MANAGER_INTERNAL_H
#define CONTROL_MANAGER_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/map.h"
#include "control/manager.h"
#include "control/workqueue.h"

enum {
    MANAGER_CONTROLLERS_MAX = 16,
    MANAGER_PARTS_MAX = 8,
    RECONCILE_WRITES_MAX = 16,
    MANAGER_KEY_MAX = 512
};

/* What a reconcile wrote: its key waits until the caches show it. */
struct reconcile_writes {
    struct {
        const struct informer *inf;
        uint64_t revision;
        uint32_t epoch;
    } list[RECONCILE_WRITES_MAX];
    size_t n;
    bool parked; /* the key was ready and is not in the queue now */
};

/* The key's next run waits until the cache of inf has this revision. */
void reconcile_note(struct reconcile_writes *w, const struct informer *inf,
                    uint64_t revision);

/* A controller that was added. */
struct running {
    struct running *self; /* reached through a const manager; the lock is inside */
    struct manager *m;
    const struct controller *c;
    void *state;
    pthread_mutex_t lock; /* of queue, waits and the counters */
    pthread_cond_t ready;
    struct workqueue *queue;
    struct map *waits;        /* key -> struct reconcile_writes */
    struct watch *watches[8]; /* arguments of this controller's informer handlers */
    size_t n_watches;
    pthread_t *threads;
    size_t n_threads;
    struct client *client; /* stepped mode */
    uint64_t n_ok, n_retried, n_terminal, n_conflicts, n_parked;
};

struct manager_part_ref {
    struct manager *m;
    struct manager_part part;
    bool woken;
    int64_t due; /* -1: none */
};

struct manager {
    struct manager_opts opts;
    struct lister lister;
    void *watches[LISTER_MAX];
    struct running controllers[MANAGER_CONTROLLERS_MAX];
    size_t n_controllers;
    struct manager_part_ref parts[MANAGER_PARTS_MAX];
    size_t n_parts;
    struct recorder *recorder;
    void *shared;
    struct loop_hook *hook;
    struct loop_timer *timer;
    atomic_bool stopping;
    bool started, running; /* running: all synced, workers started */
    uint64_t random;
};

/* manager_work.c */
void running_init(struct running *r, struct manager *m, const struct controller *c);
void running_done(struct running *r);
void running_start(struct running *r); /* threads */
void running_join(struct running *r);
void running_add(struct running *r, const char *ns, const char *name,
                 enum workqueue_level level);
void running_progress(struct running *r); /* a cache moved: unparks */
bool running_step(struct running *r);     /* stepped mode: one reconcile */

#endif
