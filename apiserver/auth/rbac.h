/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The RBAC index: roles compiled, bindings by subject and namespace. A question costs
 * O(bindings of the user and its groups that count in this namespace) and allocates
 * nothing; the index follows the store by itself.
 */
#ifndef AUTH_RBAC_H
#define AUTH_RBAC_H

#include "apiserver/auth/rbac_rule.h"

struct rbac;

/* changed (may be NULL) is called when a ClusterRole changed, for aggregation. */
int rbac_new(struct loop *l, struct store *s, void (*changed)(void *arg), void *arg,
             struct rbac **ret, struct error *e) WARN_UNUSED;
void rbac_free(struct rbac *r); /* NULL ok; before store_close */

/* With t->explain, reason says by which binding. */
bool rbac_authorize(struct rbac *r, const struct authz_attributes *t, struct str *reason);

/* Every rule that the user holds in the namespace ("" : in the whole cluster). Stops when
 * fn returns false. fn must not change the store. */
typedef bool rbac_visit_fn(void *arg, const struct rbac_rule *rule);
void rbac_visit(struct rbac *r, const struct api_user *u, const char *ns,
                rbac_visit_fn *fn, void *arg);
/* The rules of a Role (ns "": of a ClusterRole); NULL when there is none. Borrowed until
 * the next call. */
const struct rbac_rules *rbac_role(struct rbac *r, const char *ns, const char *name);

#endif
