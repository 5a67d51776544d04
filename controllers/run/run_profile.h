/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Run as its Profile completes it. A Profile is looked at whenever the Run is, so a
 * change of it reaches Runs that are not over; what a Job has was decided when it was
 * made.
 */
#ifndef CONTROLLERS_RUN_PROFILE_H
#define CONTROLLERS_RUN_PROFILE_H

#include "control/controller.h"

#define INDEX_PROFILES "namespace"
bool profile_namespace_key(const struct object *o, struct str *key);

/* *ret: a reference that the caller drops, of the Run itself when no profile applies.
 * ERR_NOT_FOUND: it names one that is not there. */
int run_with_profile(const struct reconcile_env *env, const struct object *run,
                     struct object **ret, struct error *e) WARN_UNUSED;
#endif
