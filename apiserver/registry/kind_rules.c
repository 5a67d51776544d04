/* SPDX-License-Identifier: Apache-2.0 */
/* What the built-in kinds do beyond their schema. One table: resource -> function. */
#include "api/jtok.h"
#include "apiserver/registry/compute_internal.h"

/* Every namespace carries its name as a label, and goes through termination. */
static int
namespace_rules(struct compute *c)
{
    struct error *e = &compute_problem(c)->e;
    struct str *patch = &c->scratch[0], *labels = &c->scratch[1];
    struct span old = c->doc.meta.labels;
    int rc;

    if (*c->in->sub != '\0')
        return 0;
    str_addf(patch, "{\"kubernetes.io/metadata.name\":\"%.*s\"}",
             SPAN_ARG(c->doc.meta.name));
    rc = jmerge(old.len > 0 ? old : span_of("{}"), (struct span){patch->ptr, patch->len},
                labels, e);
    if (rc < 0)
        return rc;
    c->doc.meta.labels = (struct span){labels->ptr, labels->len};
    if (c->in->live != NULL)
        return doc_set(&c->doc, "spec", doc_get(&c->live_doc, "spec"), e);
    if ((rc = doc_set(&c->doc, "spec", span_of("{\"finalizers\":[\"kubernetes\"]}"), e)) <
        0)
        return rc;
    return doc_set(&c->doc, "status", span_of("{\"phase\":\"Active\"}"), e);
}

static const struct kind_rule {
    const char *resource;
    int (*apply)(struct compute *c);
} kind_rules[] = {
    {"secrets", secret_rules},
    {"configmaps", configmap_rules},
    {"namespaces", namespace_rules},
    {"resourcequotas", quota_rules},
    {"roles.rbac.authorization.k8s.io", role_rules},
    {"clusterroles.rbac.authorization.k8s.io", role_rules},
    {"rolebindings.rbac.authorization.k8s.io", binding_rules},
    {"clusterrolebindings.rbac.authorization.k8s.io", binding_rules},
    {"customresourcedefinitions.apiextensions.k8s.io", crd_rules},
};

int
kind_rules_apply(struct compute *c)
{
    for (size_t i = 0; i < ARRAY_LEN(kind_rules); i++) {
        if (streq(kind_rules[i].resource, c->in->kind->resource))
            return kind_rules[i].apply(c);
    }
    return 0;
}
