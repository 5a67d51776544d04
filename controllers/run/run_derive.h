/* SPDX-License-Identifier: Apache-2.0 */
/* From a Run to the Jobs of one attempt. Pure. */
#ifndef CONTROLLERS_RUN_DERIVE_H
#define CONTROLLERS_RUN_DERIVE_H

#include "controllers/run/run_plan.h"

/* The whole Job object; the caller decrefs. ERR_INVALID: the Run cannot be carried out,
 * with the field in the message. A Job that has to know its peers (of several nodes, or
 * with an address in its commands) is not released. */
int run_derive_job(const struct run_view *run, const struct job_new *n, int64_t wall_ns,
                   json_t **ret, struct error *e) WARN_UNUSED;
/* "<run>-<replica>-<node>-<attempt>"; malloc'd. */
char *run_job_name(const char *run, const struct job_new *n);
/* "<run>-ssh": the Secret with the key pair of a Run of several nodes; malloc'd. */
char *run_ssh_secret_name(const char *run);

/* One node as the others see it. */
struct peer {
    const char *job, *address; /* address "": not known */
    int64_t gpus;
};
/* Addresses by which the nodes reach each other: in a network that all of them have (and
 * where no two have the same), else each one's first. lists[i]: a NULL-terminated list of
 * "address/prefix length". Fills ret[i] with malloc'd texts. */
void run_choose_addresses(char *const *const *lists, size_t n, char **ret);
/* The merge patch of a Job's spec that releases the node; the caller decrefs. */
int run_derive_release(const struct run_view *run, const struct job_view *job,
                       const struct peer *peers, size_t n, json_t **ret,
                       struct error *e) WARN_UNUSED;

#endif
