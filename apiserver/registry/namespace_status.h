/* SPDX-License-Identifier: Apache-2.0 */
/* What is left in a terminating Namespace, and how its status says so. Loop thread. */
#ifndef REGISTRY_NAMESPACE_STATUS_H
#define REGISTRY_NAMESPACE_STATUS_H

#include "api/object.h"
#include "base/str.h"
#include "base/vec.h"

struct namespace_count {
    char *name;
    size_t n;
};
struct namespace_tally {
    vec(struct namespace_count) list;
};
void namespace_tally_add(struct namespace_tally *t, const char *name, size_t len,
                         size_t n);
void namespace_tally_done(struct namespace_tally *t);

struct namespace_remains {
    struct namespace_tally resources, finalizers;
    char failure[480]; /* why a deletion failed; "" */
};
/* Appends a merge patch of live's status. Equal remains give an equal patch. */
void namespace_status_patch(const struct object *live, struct namespace_remains *r,
                            struct str *out);

#endif
