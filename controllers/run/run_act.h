/* SPDX-License-Identifier: Apache-2.0 */
/* Carries out a run_plan: its writes in order, then the Events of what changed. */
#ifndef CONTROLLERS_RUN_ACT_H
#define CONTROLLERS_RUN_ACT_H

#include "control/controller.h"
#include "controllers/run/run_plan.h"

int run_act(const struct reconcile_env *env, const struct object_key *key,
            const struct run_observed *o, const struct run_plan *p,
            struct error *e) WARN_UNUSED;

/* Tells the nodes of p->release who their peers are, and to start (run_release.c). */
int run_release(const struct reconcile_env *env, const struct run_observed *o,
                const struct run_plan *p, struct error *e) WARN_UNUSED;

#endif
