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
    json_t *dstack;        /* as written, when it is in dstack's format; name may be "" */
};

struct manifests {
    vec(struct manifest) list;
    vec(struct yaml_docs) docs; /* own the yaml_doc contents */
    size_t problems;            /* printed already */
    /* Of dstack's files, set before reading: --profile, --no-profile. */
    const char *profile;
    bool no_profile;
    bool may_lack_name; /* the caller makes one */
};

void manifests_done(struct manifests *m);
/* path: a file, a directory (*.yaml *.yml *.json in it, in order of name), or "-".
 * Problems are printed to stderr and counted; only failures that are not about input are
 * errors. */
void manifests_read(struct manifests *m, const char *path);
/* Makes a Run or Fleet of a document in dstack's own format, with the profile that the
 * files beside it or at home say. Notes are printed, problems counted. */
void manifest_from_dstack(struct manifests *ms, struct manifest *m);
/* Where a field of the object stands in such a document. */
void manifest_dstack_path(const struct manifest *m, const char *field, struct str *out);
/* stderr: "hello.yaml:12: spec.priority: message". path may be NULL; of our object also
 * when the file is dstack's. */
void manifest_problem(const struct manifest *m, const char *path, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
/* Prints the causes of a failed request, one line each; returns how many. */
size_t manifest_status_problems(const struct manifest *m, const json_t *status);

#endif
