/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Profiles: values for fields that a Run leaves out. A Run takes the Profile that
 * spec.profile names, or the default one of its namespace; what the Run says itself
 * always wins. Used by the run controller and by the CLI's plan. Pure.
 */
#ifndef API_PROFILE_H
#define API_PROFILE_H

#include <jansson.h>

#include "base/error.h"

/* As spec.profile: not even the default one. */
#define PROFILE_NONE "none"

/* Fields of a Run's spec that a Profile may fill in; ended by a NULL. */
extern const char *const profile_fields[];

/* profiles: the Profile objects of the Run's namespace, an array in any order. *ret is
 * borrowed from it; NULL: none applies. Of several default ones it is the first by name.
 * ERR_NOT_FOUND: the Run names one that is not there. */
int profile_choose(const json_t *run_spec, const json_t *profiles, const json_t **ret,
                   struct error *e) WARN_UNUSED;

/* A new object: what the Profile's spec fills in. */
json_t *profile_values(const json_t *profile_spec);

/* A new spec: run_spec with what it leaves out (absent or null) from profile_spec, which
 * may be NULL. */
json_t *profile_merge(const json_t *run_spec, const json_t *profile_spec);

#endif
