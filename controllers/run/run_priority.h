/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Run with the priority of its PriorityClass. What the class said when the Run was
 * first looked at stays in status.priorityClass, written before anything is made of it:
 * a class that goes, or a new default one, reaches no Run that is there already.
 */
#ifndef CONTROLLERS_RUN_PRIORITY_H
#define CONTROLLERS_RUN_PRIORITY_H

#include "control/controller.h"

/* begun: it has Jobs. *ret: a reference that the caller drops, of the Run itself when no
 * class applies. ERR_NOT_FOUND: it names one that is not there; ERR_INVALID: what it says
 * itself is another. */
int run_with_priority(const struct reconcile_env *env, const struct object *run,
                      bool begun, struct object **ret, struct error *e) WARN_UNUSED;
#endif
