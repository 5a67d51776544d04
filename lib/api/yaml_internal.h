/* SPDX-License-Identifier: Apache-2.0 */
/* How scalars resolve; shared by reader and writer. Private to lib/api and its tests. */
#ifndef API_YAML_INTERNAL_H
#define API_YAML_INTERNAL_H

#include "api/yaml.h"

/* Bytes of field paths that are remembered with their lines. */
#define YAML_LINES_BUDGET (16u << 20)

enum scalar_kind {
    SCALAR_NULL,
    SCALAR_BOOL,
    SCALAR_INT,
    SCALAR_FLOAT,
    SCALAR_STRING,
    SCALAR_NOT_JSON, /* .nan, .inf */
};
/* What a plain scalar without a tag means. For anything but a string and NOT_JSON its
 * JSON is appended to out. */
enum scalar_kind scalar_resolve(const char *p, size_t n, struct str *out);
/* When the bytes are one JSON object or array: true and *ret. */
bool yaml_from_json(const char *bytes, size_t n, bool want_lines, struct yaml_docs *ret);

#endif
