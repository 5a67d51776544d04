/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Run as its Profile completes it. What the Profile said when the Run was first
 * looked at stays in status.profileValues, written before anything is made of it: a later
 * change of the Profile, or a new default one, reaches no Run that is there already.
 */
#ifndef CONTROLLERS_RUN_PROFILE_H
#define CONTROLLERS_RUN_PROFILE_H

#include "control/controller.h"

#define INDEX_PROFILES "namespace"
bool profile_namespace_key(const struct object *o, struct str *key);

/* begun: it has Jobs. *ret: a reference that the caller drops, of the Run itself when no
 * profile applies. ERR_NOT_FOUND: it names one that is not there. */
int run_with_profile(const struct reconcile_env *env, const struct object *run,
                     bool begun, struct object **ret, struct error *e) WARN_UNUSED;
#endif
