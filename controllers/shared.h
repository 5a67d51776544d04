/* SPDX-License-Identifier: Apache-2.0 */
/* What the controllers of one manager share (manager_shared), and their tables. */
#ifndef CONTROLLERS_SHARED_H
#define CONTROLLERS_SHARED_H

#include "controllers/instance/lease_tracker.h"

struct scheduler_loop;
struct host_service;

struct controller_set {
    struct lease_tracker *leases;
    struct scheduler_loop *scheduler;
    bool with_instances;
    struct host_service *hosts; /* NULL: machines are not worked on over SSH */
};

extern const struct controller run_controller, job_controller, fleet_controller,
    instance_controller;

/* Indexes of jobs: by "ns/run name" and by instance uid. */
#define INDEX_JOBS_BY_RUN "run"
#define INDEX_JOBS_BY_INSTANCE "instance"
bool job_run_key(const struct object *o, struct str *key);
bool job_instance_key(const struct object *o, struct str *key);

#endif
