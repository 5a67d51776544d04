/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Differences between two JSON values: for people, path by path, and as the merge patch
 * (RFC 7386) that turns one into the other. Pure.
 */
#ifndef CLI_JDIFF_H
#define CLI_JDIFF_H

#include <jansson.h>

#include "base/str.h"

struct jdiff_opts {
    bool colour;
    /* Of a Secret: values below data and stringData are not printed. */
    bool hide_data;
};
/* Appends "-path: value" and "+path: value" lines; returns how many paths differ. */
size_t jdiff_print(const json_t *before, const json_t *after, const struct jdiff_opts *o,
                   struct str *out);
/* Appends "spec.a, spec.b[1]"; returns how many. */
size_t jdiff_paths(const json_t *before, const json_t *after, struct str *out);
/* A new reference: {} when they are equal. Both must be objects. */
json_t *jdiff_merge_patch(const json_t *before, const json_t *after);

#endif
