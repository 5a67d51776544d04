/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Run that others complete (its Profile, its PriorityClass): what they said is kept in
 * its status, and what is carried out is the Run with another spec.
 */
#ifndef CONTROLLERS_RUN_COMPLETE_H
#define CONTROLLERS_RUN_COMPLETE_H

#include "control/controller.h"

/* Takes spec. *ret: a new reference. ERR_INVALID: it cannot be written as JSON. */
int run_with_spec(const struct object *run, json_t *spec, struct object **ret,
                  struct error *e) WARN_UNUSED;
/* Takes status, members to merge. ERR_CONFLICT: the Run is gone. */
int run_keep(const struct reconcile_env *env, const struct object *run, json_t *status,
             struct error *e) WARN_UNUSED;

#endif
