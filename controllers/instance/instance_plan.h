/* SPDX-License-Identifier: Apache-2.0 */
/* Whether an instance is ready: a pure function of its lease as seen and the time. */
#ifndef CONTROLLERS_INSTANCE_PLAN_H
#define CONTROLLERS_INSTANCE_PLAN_H

#include "controllers/instance/lease_tracker.h"

enum instance_phase {
    INSTANCE_PHASE_NONE,
    INSTANCE_PHASE_PENDING,
    INSTANCE_PHASE_READY,
    INSTANCE_PHASE_NOT_READY,
    /* Only written, of machines that the controllers work on: */
    INSTANCE_PHASE_PROVISIONING,
    INSTANCE_PHASE_TERMINATING,
};
const char *instance_phase_name(enum instance_phase p);
enum instance_phase instance_phase_parse(const char *name);

struct instance_observed {
    enum instance_phase phase; /* as written */
    struct lease_seen lease;
    int64_t now_ms;
};

struct instance_plan {
    enum instance_phase phase;
    const char *reason, *message; /* static */
    int64_t requeue_ms;           /* 0: wait for an event */
};

void instance_plan_make(const struct instance_observed *o, struct instance_plan *ret);

#endif
