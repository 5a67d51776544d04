/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What admission can say of PriorityClasses early. The run controller decides what a
 * class makes of a Run (docs/adr/0047-priority-classes.md); here a new Run that it would
 * refuse is refused at once, and so is a second class that would be everybody's default.
 */
#ifndef REGISTRY_PRIORITY_H
#define REGISTRY_PRIORITY_H

#include "apiserver/registry/problem.h"
#include "apiserver/registry/server.h"

/* live: NULL on a create. Of other kinds, and of Runs without a class, O(1). */
int priority_admit(struct api_server *s, const struct kind *kind,
                   const struct object *live, const struct object *next,
                   struct problem *p) WARN_UNUSED;

#endif
