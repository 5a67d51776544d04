/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PriorityClasses of scheduling.k8s.io/v1: what one makes of a Run. Used by the run
 * controller, which decides, and by the API server and the CLI's plan, which only say
 * earlier what it would. Pure.
 */
#ifndef API_PRIORITY_H
#define API_PRIORITY_H

#include <jansson.h>

#include "api/kind.h"
#include "api/violations.h"

/* Kubernetes' bound for classes that people make. */
#define PRIORITY_CLASS_MAX 1000000000
#define PRIORITY_SYSTEM_PREFIX "system-"

/* classes: PriorityClass objects, an array in any order. *ret: a new object {name, value,
 * preemptionPolicy}, as in status.priorityClass; NULL when no class applies. A Run that
 * says neither priority nor priorityClassName takes the class with globalDefault; of
 * several, that of the lowest value, then the first by name. Its own preemptionPolicy
 * counts beside a default one. ERR_NOT_FOUND: there is no
 * class of the name; ERR_INVALID: the Run's own priority or preemptionPolicy is another.
 * The message begins with the field's path. */
int priority_choose(const json_t *run_spec, const json_t *classes, json_t **ret,
                    struct error *e) WARN_UNUSED;
/* A new spec: with the priority and preemptionPolicy of the class (as of
 * priority_choose), whatever it says itself. */
json_t *priority_merge(const json_t *run_spec, const json_t *chosen);

/* A PriorityClass by itself, and what may become of it. */
void priority_class_admit(struct span object, struct violations *v);
void priority_class_update(struct span before, struct span after, struct violations *v);
/* A Run that took a class keeps its priority. */
void priority_run_update(struct span before, struct span after, struct violations *v);

#endif
