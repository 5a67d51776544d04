/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Strategic merge patch, which kubectl sends for the kinds it was compiled with: a merge
 * patch with directives, where some lists are merged by a key. Pure.
 */
#ifndef REGISTRY_STRATEGIC_H
#define REGISTRY_STRATEGIC_H

#include <jansson.h>

#include "base/error.h"

/* *ret is a new tree; inputs are not changed. ERR_BAD_REQUEST for a malformed patch. */
int strategic_merge(const json_t *target, const json_t *patch, json_t **ret,
                    struct error *e) WARN_UNUSED;

#endif
