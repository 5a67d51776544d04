/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rules for CustomResourceDefinition objects as users write them, in the words of
 * Kubernetes' validation. What stands in the schemas is checked by kind_compile.
 * Pure functions.
 */
#ifndef API_CRD_H
#define API_CRD_H

#include <jansson.h>

#include "api/violations.h"

/* Fills names.singular, names.listKind and the conversion; true when it changed spec. */
bool crd_default(json_t *spec);
/* name: of the object; annotations: NULL ok; old: the spec before, NULL on create;
 * established: it has been served, so that scope and kind cannot change. */
void crd_validate(const char *name, const json_t *annotations, const json_t *spec,
                  const json_t *old, bool established, struct violations *v);

#endif
