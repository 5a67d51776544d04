/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of a Run may change once it is under way. A task's attempt is made from the spec
 * that was there when it started, so only what does not reach into it changes in place:
 * anything else needs a new run. Used at admission and by `drover apply`. Pure.
 */
#ifndef API_RUN_UPDATE_H
#define API_RUN_UPDATE_H

#include <jansson.h>

#include "base/str.h"

bool run_update_in_place(const char *field); /* a field of spec */

/* Calls fn for each field of spec that differs and is fixed; returns how many. */
size_t run_update_fixed(const json_t *before, const json_t *after,
                        void (*fn)(void *arg, const char *field), void *arg);

#endif
