/* SPDX-License-Identifier: Apache-2.0 */
/* What the built-in kinds do beyond their schema. One table: resource -> function. */
#include "api/jtok.h"
#include "apiserver/registry/compute_internal.h"
#include "base/id.h"

static int
check_base64(struct compute *c, const char *member)
{
    struct problem *p = compute_problem(c);
    struct span map = doc_get(&c->doc, member), key, value;
    const char *cursor = NULL;

    while (map.len > 0 && jscan_next_member(map, &cursor, &key, &value)) {
        auto_str bytes = STR_INIT(OBJECT_MAX_BYTES);
        struct error e = ERROR_INIT;
        if (value.len >= 2 &&
            id_base64_decode(value.ptr + 1, value.len - 2, false, &bytes, &e) == 0)
            continue;
        autofree char *path = xasprintf("%s[%.*s]", member, SPAN_ARG(key));
        violations_add(&p->v, VIOLATION_INVALID, path, NULL, "not base64");
    }
    return violations_errors(&p->v) > 0 ? problem_invalid(p) : 0;
}

static bool
same_member(const struct compute *c, const char *key)
{
    struct span a = doc_get(&c->doc, key), b = doc_get(&c->live_doc, key);

    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* immutable: true freezes the named members and itself. */
static int
check_immutable(struct compute *c, const char *const *members)
{
    struct problem *p = compute_problem(c);

    if (c->in->live == NULL || !jscan_bool(doc_get(&c->live_doc, "immutable")))
        return 0;
    if (!jscan_bool(doc_get(&c->doc, "immutable")))
        return problem_field(p, VIOLATION_FORBIDDEN, "immutable", NULL,
                             "field is immutable when `immutable` is set");
    for (; *members != NULL; members++) {
        if (!same_member(c, *members))
            return problem_field(p, VIOLATION_FORBIDDEN, *members, NULL,
                                 "field is immutable when `immutable` is set");
    }
    return 0;
}

/* stringData is moved into data, as base64. */
static int
merge_string_data(struct compute *c)
{
    struct span text = doc_get(&c->doc, "stringData");
    struct span data = doc_get(&c->doc, "data"), key, value;
    struct str *patch = &c->scratch[0], *merged = &c->scratch[1];
    struct error *e = &compute_problem(c)->e;
    const char *cursor = NULL;
    int rc;

    if (text.len == 0)
        return 0;
    str_addc(patch, '{');
    while (jscan_next_member(text, &cursor, &key, &value)) {
        auto_str plain = STR_INIT(OBJECT_MAX_BYTES);
        jput_item(patch);
        str_addc(patch, '"');
        str_add(patch, key.ptr, key.len);
        str_adds(patch, "\":\"");
        jscan_string(value, &plain);
        id_base64(plain.ptr, plain.len, patch);
        str_addc(patch, '"');
    }
    str_addc(patch, '}');
    if (data.len == 0)
        data = span_of("{}");
    rc = jmerge(data, (struct span){patch->ptr, patch->len}, merged, e);
    if (rc < 0)
        return rc;
    if ((rc = doc_set(&c->doc, "stringData", (struct span){0}, e)) < 0)
        return rc;
    return doc_set(&c->doc, "data", (struct span){merged->ptr, merged->len}, e);
}

static int
secret_rules(struct compute *c)
{
    static const char *const frozen[] = {"data", NULL};
    int rc;

    if ((rc = merge_string_data(c)) < 0 || (rc = check_base64(c, "data")) < 0)
        return rc;
    if (c->in->live != NULL && !same_member(c, "type"))
        return problem_field(compute_problem(c), VIOLATION_INVALID, "type", NULL,
                             "field is immutable");
    return check_immutable(c, frozen);
}

static int
configmap_rules(struct compute *c)
{
    static const char *const frozen[] = {"data", "binaryData", NULL};
    int rc = check_base64(c, "binaryData");

    return rc < 0 ? rc : check_immutable(c, frozen);
}

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
    {"roles.rbac.authorization.k8s.io", role_rules},
    {"clusterroles.rbac.authorization.k8s.io", role_rules},
    {"rolebindings.rbac.authorization.k8s.io", binding_rules},
    {"clusterrolebindings.rbac.authorization.k8s.io", binding_rules},
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
