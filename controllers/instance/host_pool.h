/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Carries out host tasks beside the reconciles: each in a thread of its own, so that a
 * slow machine delays nobody else; past a bound they queue. Keeps the last result of each
 * Instance until it is forgotten, and makes its key ready when one is there.
 *
 * Threading: any thread.
 */
#ifndef CONTROLLERS_HOST_POOL_H
#define CONTROLLERS_HOST_POOL_H

#include "controllers/instance/host_task.h"

struct host_pool;

struct host_pool_opts {
    /* Blocks. cancel_fd becomes readable when it should give up. */
    void (*run)(void *arg, const struct host_task *t, int cancel_fd,
                struct host_result *ret);
    void *run_arg;
    /* From a thread of the pool, or from host_pool_fail. */
    void (*done)(void *arg, const char *ns, const char *name);
    int64_t (*now_ms)(void *arg);
    void *arg; /* of both */
    unsigned parallel;
};
int host_pool_new(const struct host_pool_opts *o, struct host_pool **ret,
                  struct error *e) WARN_UNUSED;
/* Ends what runs, waits for it; nothing is done() afterwards. Before the free. */
void host_pool_stop(struct host_pool *p);
void host_pool_free(struct host_pool *p); /* NULL ok */

struct host_pool_key {
    const char *uid, *ns, *name;
    int64_t generation; /* of the spec: results of an older one count no more */
};

struct host_seen {
    enum host_step running; /* HOST_STEP_NONE: idle */
    bool has_result;
    struct host_result result;
    unsigned failures; /* in a row */
};
void host_pool_ask(struct host_pool *p, const struct host_pool_key *k,
                   struct host_seen *ret);
/* Takes t. Dropped when one is running for the Instance. */
void host_pool_start(struct host_pool *p, const struct host_pool_key *k,
                     struct host_task *t);
/* A result without a task: what it needed was not there. */
void host_pool_fail(struct host_pool *p, const struct host_pool_key *k,
                    const struct host_result *r);
/* All is well: no result, no failures. */
void host_pool_clear(struct host_pool *p, const char *uid);
/* The Instance is gone. */
void host_pool_forget(struct host_pool *p, const char *uid);

#endif
