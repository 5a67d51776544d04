/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names in the mirror's tree:
 *
 *     <namespace>/<plural>.<group>/<name>.yaml     (core group: <namespace>/<plural>/...)
 *     _cluster/<plural>.<group>/<name>.yaml        cluster-scoped
 *
 * and which names in it are nobody's business: hidden ones, those of editors and of git,
 * our own temporary files, everything that is not *.yaml. Paths are relative to the root,
 * with single slashes. Pure; thread-safe.
 */
#ifndef MIRROR_PATH_H
#define MIRROR_PATH_H

#include <stdbool.h>

#include "base/str.h"

#define MIRROR_CLUSTER_DIR "_cluster"
#define MIRROR_SUFFIX ".yaml"
#define MIRROR_ERROR_SUFFIX ".error"
/* ".yaml.error" must fit into NAME_MAX beside it. */
#define MIRROR_NAME_MAX 240
#define MIRROR_SEGMENT_MAX 256
/* Prefix of temporary files; hidden, so that everybody ignores them. */
#define MIRROR_TEMP_PREFIX ".drover-"

struct mirror_key {
    char ns[MIRROR_SEGMENT_MAX]; /* "" when cluster-scoped */
    char resource[MIRROR_SEGMENT_MAX], name[MIRROR_SEGMENT_MAX];
};

enum mirror_name {
    MIRROR_NAME_IGNORED,
    MIRROR_NAME_OBJECT, /* <name>.yaml */
    MIRROR_NAME_ERROR,  /* <name>.yaml.error: ours */
    MIRROR_NAME_WEIRD,  /* meant for us, but its name cannot be an object's */
};

/* The path of an object; NULL when its name has no place in a file system. */
char *mirror_path(const char *resource, const char *ns, const char *name);
/* False: not the path of an object file. */
bool mirror_path_split(const char *path, struct mirror_key *ret);
enum mirror_name mirror_name_class(const char *name);
/* Whether a directory of the root may be a namespace's (or _cluster). */
bool mirror_dir_is_namespace(const char *name);
/* Why a visible file with this name is refused: one sentence. */
const char *mirror_name_problem(const char *name);

#endif
