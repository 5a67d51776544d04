/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a write of a CustomResourceDefinition must obey beyond its schema: defaults, the
 * rules of lib/api/crd.h, schemas that this server can serve, and the versions that are
 * stored. Runs on the compute pool.
 */
#include <jansson.h>

#include "api/crd.h"
#include "api/jtok.h"
#include "apiserver/registry/compute_internal.h"

/* The numbers stay as written; NULL when the span is empty. */
static json_t *
tree_of(struct span raw)
{
    return raw.len == 0 ? NULL : json_loadb(raw.ptr, raw.len, 0, NULL);
}

/* scratch[i] holds the member's bytes while doc borrows them. */
static int
put_member(struct compute *c, const char *key, const json_t *value, struct str *scratch)
{
    struct error *e = &compute_problem(c)->e;
    autofree char *text = json_dumps(value, JSON_COMPACT);

    str_reset(scratch);
    if (text == NULL || jcanon(text, strlen(text), scratch, e) < 0)
        return error_set(e, ERR_INTERNAL, "cannot write %s", key);
    return doc_set(&c->doc, key, (struct span){scratch->ptr, scratch->len}, e);
}

static bool
is_established(const json_t *status)
{
    const json_t *list = json_object_get(status, "conditions"), *c;
    size_t i;

    json_array_foreach (list, i, c) {
        const char *type = json_string_value(json_object_get(c, "type"));
        const char *is = json_string_value(json_object_get(c, "status"));
        if (type != NULL && is != NULL && streq(type, "Established"))
            return streq(is, "True");
    }
    return false;
}

/* Every version is compiled as it will be when it is served. */
static void
check_schemas(const struct compute *c, json_t *spec, struct violations *v)
{
    json_t *crd = json_pack("{s:O}", "spec", spec), *version;
    size_t i;

    UNUSED(c);
    json_array_foreach (json_object_get(spec, "versions"), i, version) {
        const char *name = json_string_value(json_object_get(version, "name"));
        struct kind *k = NULL;
        struct error e = ERROR_INIT;
        if (kind_compile(crd, name, &k, v, &e) == 0)
            kind_unref(k);
        else if (violations_errors(v) == 0)
            violations_add(v, VIOLATION_INVALID, "spec.versions", NULL, "%s", e.msg);
    }
    json_decref(crd);
}

static const char *
storage_version(const json_t *spec)
{
    const json_t *version;
    size_t i;

    json_array_foreach (json_object_get(spec, "versions"), i, version) {
        if (json_is_true(json_object_get(version, "storage")))
            return json_string_value(json_object_get(version, "name"));
    }
    return NULL;
}

static bool
has_version(const json_t *spec, const char *name)
{
    const json_t *version;
    size_t i;

    json_array_foreach (json_object_get(spec, "versions"), i, version) {
        const char *z = json_string_value(json_object_get(version, "name"));
        if (z != NULL && streq(z, name))
            return true;
    }
    return false;
}

/* status.storedVersions: what may be in the store stays served by a version here. */
static void
check_stored(const json_t *spec, const json_t *status, struct violations *v)
{
    const json_t *item;
    size_t i;

    json_array_foreach (json_object_get(status, "storedVersions"), i, item) {
        const char *name = json_string_value(item);
        if (name == NULL || has_version(spec, name))
            continue;
        autofree char *at = xasprintf("status.storedVersions[%zu]", i);
        autofree char *shown = xasprintf("\"%.63s\"", name);
        violations_add(v, VIOLATION_INVALID, at, shown,
                       "missing from spec.versions; %.63s was previously a storage "
                       "version, and must remain in spec.versions until a storage "
                       "migration ensures no data remains persisted in %.63s and removes "
                       "%.63s from status.storedVersions",
                       name, name, name);
    }
}

static void
add_stored(const json_t *spec, json_t *status)
{
    const char *name = storage_version(spec);
    json_t *list = json_object_get(status, "storedVersions"), *item;
    size_t i;

    if (!json_is_array(list)) {
        list = json_array();
        json_object_set_new(status, "storedVersions", list);
    }
    json_array_foreach (list, i, item) {
        const char *z = json_string_value(item);
        if (z != NULL && name != NULL && streq(z, name))
            return;
    }
    json_array_append_new(list, json_string(name));
}

/* Keywords of schemas that nobody knows are fields that nobody knows. */
static int
refuse_unknown(struct problem *p)
{
    vec_foreach (x, &p->v.list) {
        if (x->reason != VIOLATION_UNKNOWN)
            continue;
        problem_set(p, ERR_BAD_REQUEST, "unknown fields");
        p->form = PROBLEM_STRICT;
        return -ERR_BAD_REQUEST;
    }
    return 0;
}

static int
check_spec(struct compute *c, json_t *spec, const json_t *status)
{
    struct problem *p = compute_problem(c);
    autofree char *name =
        xasprintf("%.*s", (int)c->doc.meta.name.len, c->doc.meta.name.ptr);
    json_t *annotations = tree_of(c->doc.meta.annotations);
    json_t *old = c->in->live == NULL ? NULL : tree_of(doc_get(&c->live_doc, "spec"));

    crd_validate(name, annotations, spec, old, is_established(status), &p->v);
    if (violations_errors(&p->v) == 0 && !json_equal(spec, old))
        check_schemas(c, spec, &p->v);
    check_stored(spec, status, &p->v);
    json_decref(annotations);
    json_decref(old);
    if (violations_errors(&p->v) > 0)
        return problem_invalid(p);
    return c->in->opt.validation == FIELD_STRICT ? refuse_unknown(p) : 0;
}

int
crd_rules(struct compute *c)
{
    struct problem *p = compute_problem(c);
    json_t *spec, *status;
    int rc;

    if (*c->in->sub != '\0' || c->doc.meta.deleted.len > 0)
        return 0;
    spec = tree_of(doc_get(&c->doc, "spec"));
    if (!json_is_object(spec)) {
        json_decref(spec);
        return problem_field(p, VIOLATION_REQUIRED, "spec", NULL, "");
    }
    status = c->in->live == NULL ? NULL : tree_of(doc_get(&c->live_doc, "status"));
    if (!json_is_object(status)) {
        json_decref(status);
        status = json_pack("{s:[],s:{s:s,s:s}}", "conditions", "acceptedNames", "plural",
                           "", "kind", "");
    }
    bool changed = crd_default(spec);
    rc = check_spec(c, spec, status);
    if (rc == 0 && changed)
        rc = put_member(c, "spec", spec, &c->scratch[0]);
    if (rc == 0) {
        add_stored(spec, status);
        rc = put_member(c, "status", status, &c->scratch[1]);
    }
    json_decref(spec);
    json_decref(status);
    return rc;
}
