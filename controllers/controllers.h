/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All controllers of drover, for the program and for a simulation in one process. No
 * globals, no threads, no clocks of their own: what they need comes from the manager.
 *
 *     manager_new(&opts, &m);
 *     controllers_add(m, "run,job", &set, &e);      NULL: all
 *     manager_start(m); ... manager_stop(m); manager_free(m); controllers_free(set);
 */
#ifndef CONTROLLERS_CONTROLLERS_H
#define CONTROLLERS_CONTROLLERS_H

#include "control/manager.h"

struct controller_set;

/* only: comma-separated names of run, job, fleet, instance; NULL or "" for all. "job"
 * includes the scheduler. ERR_BAD_REQUEST names an unknown one. */
int controllers_add(struct manager *m, const char *only, struct controller_set **ret,
                    struct error *e) WARN_UNUSED;
struct host_config;
/* Work on machines of SSH fleets (instance/host_service.h). After controllers_add, before
 * manager_start. */
int controllers_add_hosts(struct controller_set *s, struct manager *m,
                          const struct host_config *c, struct error *e) WARN_UNUSED;
/* Between manager_stop and manager_free. NULL ok. */
void controllers_stop(struct controller_set *s);
void controllers_free(struct controller_set *s); /* after manager_free; NULL ok */
/* "fleet,instance,job,run" sorted, for the name of the set's Lease. */
int controllers_names(const char *only, struct str *out, struct error *e) WARN_UNUSED;

#endif
