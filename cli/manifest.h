/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects from files, directories and stdin, for apply and delete -f: every document with
 * the file and line it came from, and problems reported as "file:line: path: message".
 */
#ifndef CLI_MANIFEST_H
#define CLI_MANIFEST_H

#include <jansson.h>

#include "api/yaml.h"
#include "base/vec.h"
#include "cli/session.h"

struct manifest {
    char *file;          /* as the user named it; "-" is stdin */
    struct yaml_doc doc; /* for lines */
    json_t *object;
    const struct named_resource *resource;
    const char *name, *ns; /* borrowed from object; ns NULL: none given */
};

struct manifests {
    vec(struct manifest) list;
    vec(struct yaml_docs) docs; /* own the yaml_doc contents */
    size_t problems;            /* printed already */
};

void manifests_done(struct manifests *m);
/* path: a file, a directory (*.yaml *.yml *.json in it, in order of name), or "-".
 * Problems are printed to stderr and counted; only failures that are not about input are
 * errors. */
void manifests_read(struct manifests *m, const char *path);
/* stderr: "hello.yaml:12: spec.priority: message". path may be NULL. */
void manifest_problem(const struct manifest *m, const char *path, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
/* Prints the causes of a failed request, one line each; returns how many. */
size_t manifest_status_problems(const struct manifest *m, const json_t *status);

#endif
