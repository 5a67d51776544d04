/* SPDX-License-Identifier: Apache-2.0 */
/* Read access to all informers of a manager, by resource. Any thread. */
#ifndef CONTROL_LISTER_H
#define CONTROL_LISTER_H

#include "control/informer.h"

enum { LISTER_MAX = 16 };
struct lister {
    struct informer *informers[LISTER_MAX];
    size_t n;
};

/* NULL when nobody asked the manager for this resource. */
struct informer *lister_informer(const struct lister *l, const struct resource *r);
/* Asking for a resource without an informer is a bug. NULL: no such object. */
struct object *lister_find(const struct lister *l, const struct resource *r,
                           const char *ns, const char *name);
struct object *lister_find_uid(const struct lister *l, const struct resource *r,
                               const char *uid);
void lister_index(const struct lister *l, const struct resource *r, const char *index,
                  const char *key, struct object_list *ret);

#endif
