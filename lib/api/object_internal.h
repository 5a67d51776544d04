/* SPDX-License-Identifier: Apache-2.0 */
/* The scan of ObjectMeta that objects and docs share. Private to lib/api. */
#ifndef API_OBJECT_INTERNAL_H
#define API_OBJECT_INTERNAL_H

#include "api/jtok_internal.h"
#include "api/object.h"

#define OBJECT_MAGIC 0x6f626a31u

/* In the order of canonical bytes. */
enum meta_key {
    META_ANNOTATIONS,
    META_CREATED,
    META_GRACE,
    META_DELETED,
    META_FINALIZERS,
    META_GENERATE_NAME,
    META_GENERATION,
    META_LABELS,
    META_MANAGED_FIELDS,
    META_NAME,
    META_NAMESPACE,
    META_OWNERS,
    META_RESOURCE_VERSION,
    META_UID,
    META_N,
};
extern const char *const meta_keys[META_N];

struct meta_scan {
    struct span value[META_N]; /* raw; len 0 absent */
    const char *rv_at;         /* where resourceVersion belongs; NULL: at the end */
};
/* p at the '{' of metadata; returns behind its '}'. */
const char *meta_scan(const char *p, struct meta_scan *ret);
/* object_names.c: whether objects of this kind have other names in another group, and o
 * with the names of k. */
bool object_is_renamed(const struct kind *k);
int object_rename(const struct kind *k, const struct object *o, struct str *out,
                  struct error *e) WARN_UNUSED;
/* The contents of a raw string; a zero span for anything else. */
struct span raw_text(struct span raw);

#endif
