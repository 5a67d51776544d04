/* SPDX-License-Identifier: Apache-2.0 */
/* The part of the instance controller that is about machines of SSH fleets. */
#ifndef CONTROLLERS_INSTANCE_HOST_H
#define CONTROLLERS_INSTANCE_HOST_H

#include "control/controller.h"
#include "controllers/common/status.h"
#include "controllers/instance/host_plan.h"
#include "controllers/instance/host_service.h"

struct instance_host {
    struct host_view view;
    struct host_seen seen;
    struct host_plan plan;
    char arch[HOST_ID_MAX];
    char settings_id[HOST_ID_MAX];
};

/* s NULL: this program was not told how to work on machines; says so in the plan. jobs:
 * bound to the Instance and not over. */
void instance_host_observe(struct instance_host *h, struct host_service *s,
                           const struct reconcile_env *env, const struct object *o,
                           enum instance_phase phase, size_t jobs);
/* Adds status.host and the conditions; Events for what is new in them. */
void instance_host_tell(const struct instance_host *h, const struct reconcile_env *env,
                        const struct object *o, struct status_edit *edit);
/* Why the machine is not ready, of the plan; NULL: nothing to add. */
const struct host_words *instance_host_trouble(const struct instance_host *h);
/* Starts the next step, unless the Instance does not say yet what the last one found. */
void instance_host_act(const struct instance_host *h, struct host_service *s,
                       const struct reconcile_env *env, const struct object *o,
                       bool told);
void instance_host_done(struct instance_host *h);

#endif
