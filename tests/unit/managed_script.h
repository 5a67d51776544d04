/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scripts for tests of field ownership: steps by named managers on one object of the kind
 * Widget, which has every sort of list and map, each step with what it must leave. In
 * JSON of tables ' stands for ".
 */
#ifndef TESTS_UNIT_MANAGED_SCRIPT_H
#define TESTS_UNIT_MANAGED_SCRIPT_H

#include "api/managed.h"
#include "base/mem.h"
#include "base/str.h"

enum what { END, APPLY, FORCE, UPDATE };
struct step {
    enum what what;
    const char *who;     /* "ctl", or "ctl/status" for the subresource */
    const char *object;  /* without apiVersion, kind and metadata.name */
    const char *want;    /* object afterwards, likewise; NULL: not compared */
    const char *owners;  /* {"a Apply": fieldsV1, ...}; NULL: not compared */
    const char *refused; /* the conflict's text; NULL: accepted */
};
/* Up to the step END. Untyped: the kind has no schema. */
void script_run(bool typed, const struct step *steps);

json_t *script_parse(const char *text);
struct kind *script_kind(bool typed);
/* Puts apiVersion, kind and name on an object, in place. */
json_t *script_head(json_t *v);
/* {"a Apply": fieldsV1, "b/status Update": ...} of an object's managedFields. */
json_t *script_owners(const json_t *object);
void script_must_equal(const char *what, const json_t *got, const char *want);

#endif
