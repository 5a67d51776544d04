/* SPDX-License-Identifier: Apache-2.0 */
/*
 * YAML <-> JSON over libyaml's event API, with bounds: input bytes, depth, nodes, alias
 * expansion. Scalars resolve as kubectl's parser does (YAML 1.1 booleans, octal, hex,
 * base 60 kept as text, !!binary decoded); duplicate keys, tabs for indentation, invalid
 * UTF-8, anchors that expand past the bound are errors with line and column. JSON input
 * is accepted (it is YAML). JSON text of all documents together is bounded by twice
 * YAML_MAX_BYTES, alias copies included. `<<` merges; keys that are numbers or booleans
 * become text, as in kubectl.
 */
#ifndef API_YAML_H
#define API_YAML_H

#include "base/error.h"
#include "base/map.h"
#include "base/str.h"
#include "base/vec.h"

#define YAML_MAX_BYTES (3u << 20)
#define YAML_MAX_NODES 200000
#define YAML_MAX_DOCS 10000

struct yaml_doc {
    struct str json;   /* member order as written */
    unsigned line;     /* 1-based line where the document starts */
    struct map *lines; /* field path ("spec.env[2]") -> (void *)(uintptr_t)line */
};
struct yaml_docs {
    vec(struct yaml_doc) list;
};
void yaml_docs_done(struct yaml_docs *d);
/* All documents of a stream; empty ones are left out. Error text: "line 3, column 5:
 * ...". On error nothing is returned. */
int yaml_read(const char *bytes, size_t n, bool want_lines, struct yaml_docs *ret,
              struct error *e) WARN_UNUSED;
/* The line of the path or of its nearest recorded parent; 0 when unknown. */
unsigned yaml_line(const struct yaml_doc *d, const char *path);
/* One JSON value as YAML in block style, as `kubectl get -o yaml` lays it out. */
int yaml_write(struct span json, struct str *out, struct error *e) WARN_UNUSED;

#endif
