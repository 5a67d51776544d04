/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One rule of a role, compiled: does it allow a request, does it cover another rule. Pure
 * and free of the store; semantics are those of Kubernetes' RBAC (reference: its
 * documentation, and plugin/pkg/auth/authorizer/rbac).
 */
#ifndef AUTH_RBAC_RULE_H
#define AUTH_RBAC_RULE_H

#include <jansson.h>

#include "apiserver/registry/server.h"

/* Strings of one member; all: "*" is among them. */
struct rbac_words {
    char **items;
    size_t n;
    bool all;
};
struct rbac_rule {
    struct rbac_words verbs, groups, resources, names, urls;
};
struct rbac_rules {
    struct rbac_rule *items;
    size_t n;
};

/* From the JSON of `rules`; anything that is not an array of rules gives none. */
void rbac_rules_parse(const json_t *rules, struct rbac_rules *ret);
void rbac_rules_done(struct rbac_rules *r);
json_t *rbac_rule_json(const struct rbac_rule *r); /* caller decrefs */

/* No allocation; O(words of the rule). */
bool rbac_rule_allows(const struct rbac_rule *r, const struct authz_attributes *t);
/* Every request that `asked` allows is allowed by `own` alone. */
bool rbac_rule_covers(const struct rbac_rule *own, const struct rbac_rule *asked);

/* Takes `asked` apart into rules of one verb on one resource or path and calls fn for
 * each; the rule is borrowed and valid during the call. Stops when fn returns false. */
typedef bool rbac_part_fn(void *arg, const struct rbac_rule *part);
bool rbac_rule_each_part(const struct rbac_rule *asked, rbac_part_fn *fn, void *arg);
/* How many that would be. */
size_t rbac_rule_parts(const struct rbac_rule *r);
/* {APIGroups:["x"], Resources:["y"], Verbs:["get" "list"]} */
void rbac_rule_text(const struct rbac_rule *r, struct str *out);

#endif
