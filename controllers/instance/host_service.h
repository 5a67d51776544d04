/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the instance controller needs to work on machines over SSH: the pool, where the
 * agent's programs are, how machines reach the API server, and tasks made of an Instance
 * (its Secret and a join token come from the API).
 *
 * Threading: ask, start and forget from any thread.
 */
#ifndef CONTROLLERS_HOST_SERVICE_H
#define CONTROLLERS_HOST_SERVICE_H

#include "control/manager.h"
#include "controllers/instance/host_pool.h"

struct host_service;

struct host_config {
    const char *agent_url;    /* how machines reach the API server; NULL: not known */
    const char *programs_dir; /* drover-runner-<arch>; NULL: only the one beside us */
    const char *work_dir;     /* for keys while they are in use; made 0700 and emptied */
    /* NULL: over ssh. For tests. */
    void (*run)(void *arg, const struct host_task *t, int cancel_fd,
                struct host_result *ret);
    void *run_arg;
    unsigned parallel; /* 0: 64 */
};
/* Strings are copied. Before manager_start. */
int host_service_new(struct manager *m, const struct host_config *c,
                     struct host_service **ret, struct error *e) WARN_UNUSED;
/* Between the manager's stop and its end: steps under way are given up. NULL ok. */
void host_service_stop(struct host_service *s);
void host_service_free(struct host_service *s); /* NULL ok */

struct host_want {
    char program_id[HOST_ID_MAX], settings_id[HOST_ID_MAX];
    char server_id[HOST_ID_MAX]; /* of the API server, as in the mark on a machine */
    int libc_minor;              /* the program needs glibc 2.<this> */
    int64_t program_kib;
    char blocked[HOST_MESSAGE_MAX]; /* "Reason words", "": nothing is in the way */
};
/* For a machine of this architecture ("": not known yet, all is empty). */
void host_service_want(struct host_service *s, const struct reconcile_env *env,
                       const struct object *o, const struct host_view *v,
                       const char *arch, struct host_want *ret);

void host_service_ask(struct host_service *s, const struct object *o,
                      struct host_seen *ret);
/* Fetches what the step needs and starts it; what is missing becomes its result. Only
 * what a later try may mend is an error here: there is none. prior: the uid in the mark
 * on the machine that may be replaced; "": none but ours. */
void host_service_start(struct host_service *s, const struct reconcile_env *env,
                        const struct object *o, const struct host_view *v,
                        enum host_step step, const char *arch, const char *prior);
void host_service_clear(struct host_service *s, const char *uid);

#endif
