/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is audited: a Policy of audit.k8s.io/v1 (rules with level, users, userGroups,
 * verbs, resources, namespaces, nonResourceURLs, omitStages, omitManagedFields). The
 * first rule that fits decides; without one nothing is written. Immutable once read.
 *
 * Whatever the rules say: requests whose bodies hold keys or tokens (Secrets,
 * TokenReview, TokenRequest, join tokens, enrolment) are never written above Metadata.
 */
#ifndef AUDIT_POLICY_H
#define AUDIT_POLICY_H

#include "base/error.h"
#include "base/str.h"

enum audit_level { AUDIT_NONE, AUDIT_METADATA, AUDIT_REQUEST, AUDIT_REQUEST_RESPONSE };
enum audit_stage { /* bits */
                   AUDIT_RECEIVED = 1,
                   AUDIT_STARTED = 2,
                   AUDIT_COMPLETE = 4,
                   AUDIT_PANIC = 8
};

struct audit_subject {
    const char *user;
    char *const *groups; /* NULL-terminated */
    const char *verb;
    /* a request for resources: */
    bool resource;
    const char *group, *plural, *sub, *ns, *name; /* "" when not given */
    const char *path;                             /* always */
};
struct audit_decision {
    enum audit_level level;
    unsigned omit; /* stages */
    bool omit_managed_fields;
};

struct audit_policy;
/* text: YAML or JSON. Unknown fields and values are errors. */
int audit_policy_read(const char *text, size_t n, struct audit_policy **ret,
                      struct error *e) WARN_UNUSED;
void audit_policy_free(struct audit_policy *p); /* NULL ok */
struct audit_decision audit_policy_decide(const struct audit_policy *p,
                                          const struct audit_subject *s);
/* Its bodies hold keys or tokens. */
bool audit_is_sensitive(const struct audit_subject *s);
const char *audit_level_name(enum audit_level level);

#endif
