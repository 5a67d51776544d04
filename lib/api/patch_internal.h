/* SPDX-License-Identifier: Apache-2.0 */
/* What JSON patch and merge patch share: bounds on trees. */
#ifndef API_PATCH_INTERNAL_H
#define API_PATCH_INTERNAL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

#define PATCH_MAX_OPS 10000

/*
 * Adds an estimate of the JSON text of v to *bytes. False as soon as it passes max or v
 * is nested deeper than depth levels; the walk never goes beyond either.
 */
bool patch_measure(const json_t *v, size_t depth, size_t max, size_t *bytes);
/* ERR_TOO_LARGE unless v is within OBJECT_MAX_BYTES and JTOK_MAX_DEPTH. */
int patch_check_result(const json_t *v, struct error *e) WARN_UNUSED;

#endif
