/* SPDX-License-Identifier: Apache-2.0 */
/* What roles and bindings must satisfy beyond their schema, in Kubernetes' words. */
#include <jansson.h>
#include <stdlib.h>

#include "api/jtok.h"
#include "apiserver/registry/compute_internal.h"

#define RBAC "rbac.authorization.k8s.io"
enum { PATH_MAX_BYTES = 128 };

static json_t *
member_tree(const struct compute *c, const char *key)
{
    struct span raw = doc_get(&c->doc, key);

    return raw.len == 0 ? NULL : json_loadb(raw.ptr, raw.len, JSON_DECODE_ANY, NULL);
}

static void
require(struct compute *c, const json_t *rule, size_t i, const char *key,
        const char *text)
{
    char path[PATH_MAX_BYTES];

    if (json_array_size(json_object_get(rule, key)) > 0)
        return;
    snprintf(path, sizeof(path), "rules[%zu].%s", i, key);
    violations_add(&compute_problem(c)->v, VIOLATION_REQUIRED, path, NULL, "%s", text);
}

static void
check_urls(struct compute *c, const json_t *rule, size_t i)
{
    const json_t *urls = json_object_get(rule, "nonResourceURLs");
    autofree char *value = json_dumps(urls, JSON_COMPACT);
    char path[PATH_MAX_BYTES];
    const char *why = NULL;

    if (c->in->kind->namespaced)
        why = "namespaced rules cannot apply to non-resource URLs";
    else if (json_array_size(json_object_get(rule, "apiGroups")) > 0 ||
             json_array_size(json_object_get(rule, "resources")) > 0 ||
             json_array_size(json_object_get(rule, "resourceNames")) > 0)
        why = "rules cannot apply to both regular resources and non-resource URLs";
    if (why == NULL)
        return;
    snprintf(path, sizeof(path), "rules[%zu].nonResourceURLs", i);
    violations_add(&compute_problem(c)->v, VIOLATION_INVALID, path, value, "%s", why);
}

int
role_rules(struct compute *c)
{
    json_t *rules = member_tree(c, "rules"), *rule;
    struct problem *p = compute_problem(c);
    size_t i;

    json_array_foreach (rules, i, rule) {
        require(c, rule, i, "verbs", "verbs must contain at least one value");
        if (json_array_size(json_object_get(rule, "nonResourceURLs")) > 0) {
            check_urls(c, rule, i);
            continue;
        }
        require(c, rule, i, "apiGroups",
                "resource rules must supply at least one api group");
        require(c, rule, i, "resources",
                "resource rules must supply at least one resource");
    }
    json_decref(rules);
    return violations_errors(&p->v) > 0 ? problem_invalid(p) : 0;
}

/* --- bindings
 * ---------------------------------------------------------------------------- */

static const char *
text_of(const json_t *tree, const char *key)
{
    const char *text = json_string_value(json_object_get(tree, key));

    return text == NULL ? "" : text;
}

static void
unsupported(struct compute *c, const char *path, const char *value, const char *supported)
{
    auto_str quoted = STR_INIT(1024);

    jput_stringz(&quoted, value);
    violations_add(&compute_problem(c)->v, VIOLATION_NOT_SUPPORTED, path, quoted.ptr,
                   "supported values: %s", supported);
}

static void
check_role_ref(struct compute *c, const json_t *ref)
{
    const char *kind = text_of(ref, "kind");
    bool ok =
        streq(kind, "ClusterRole") || (c->in->kind->namespaced && streq(kind, "Role"));

    if (!streq(text_of(ref, "apiGroup"), RBAC))
        unsupported(c, "roleRef.apiGroup", text_of(ref, "apiGroup"), "\"" RBAC "\"");
    if (!ok)
        unsupported(c, "roleRef.kind", kind,
                    c->in->kind->namespaced ? "\"Role\", \"ClusterRole\""
                                            : "\"ClusterRole\"");
    if (*text_of(ref, "name") == '\0')
        violations_add(&compute_problem(c)->v, VIOLATION_REQUIRED, "roleRef.name", NULL,
                       "%s", "");
}

static void
check_subject(struct compute *c, json_t *subject, size_t i)
{
    struct violations *v = &compute_problem(c)->v;
    const char *kind = text_of(subject, "kind"), *group = text_of(subject, "apiGroup");
    bool account = streq(kind, "ServiceAccount");
    char path[PATH_MAX_BYTES];

    if (*text_of(subject, "name") == '\0') {
        snprintf(path, sizeof(path), "subjects[%zu].name", i);
        violations_add(v, VIOLATION_REQUIRED, path, NULL, "%s", "");
    }
    if (!account && !streq(kind, "User") && !streq(kind, "Group")) {
        snprintf(path, sizeof(path), "subjects[%zu].kind", i);
        unsupported(c, path, kind, "\"ServiceAccount\", \"User\", \"Group\"");
        return;
    }
    if (!account && *group == '\0') {
        json_object_set_new(subject, "apiGroup", json_string(RBAC));
    } else if (!streq(group, account ? "" : RBAC)) {
        snprintf(path, sizeof(path), "subjects[%zu].apiGroup", i);
        unsupported(c, path, group, account ? "\"\"" : "\"" RBAC "\"");
    }
    if (account && *text_of(subject, "namespace") == '\0') {
        snprintf(path, sizeof(path), "subjects[%zu].namespace", i);
        violations_add(v, VIOLATION_REQUIRED, path, NULL, "%s", "");
    }
}

static void
check_immutable_ref(struct compute *c)
{
    struct span next = doc_get(&c->doc, "roleRef");
    struct span live = doc_get(&c->live_doc, "roleRef");

    if (c->in->live == NULL ||
        (next.len == live.len && memcmp(next.ptr, live.ptr, live.len) == 0))
        return;
    autofree char *value = xstrndup(next.ptr, next.len);
    violations_add(&compute_problem(c)->v, VIOLATION_INVALID, "roleRef", value,
                   "cannot change roleRef");
}

int
binding_rules(struct compute *c)
{
    json_t *ref = member_tree(c, "roleRef"), *subjects = member_tree(c, "subjects");
    struct problem *p = compute_problem(c);
    json_t *subject;
    size_t i;
    int rc = 0;

    check_role_ref(c, ref);
    json_array_foreach (subjects, i, subject)
        check_subject(c, subject, i);
    check_immutable_ref(c);
    if (violations_errors(&p->v) > 0) {
        rc = problem_invalid(p);
    } else if (subjects != NULL) { /* with the API groups that were left out */
        autofree char *text = json_dumps(subjects, JSON_COMPACT);
        rc = jcanon(text, strlen(text), &c->scratch[0], &p->e);
        if (rc == 0)
            rc = doc_set(&c->doc, "subjects",
                         (struct span){c->scratch[0].ptr, c->scratch[0].len}, &p->e);
    }
    json_decref(ref);
    json_decref(subjects);
    return rc;
}
