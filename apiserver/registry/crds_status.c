/* SPDX-License-Identifier: Apache-2.0 */
/* Compiling a CRD, the conflict of names, and the words of its status. */
#include "apiserver/registry/crds_internal.h"

#include <stdlib.h>

#include "base/clock.h"

/* --- compiling ---------------------------------------------------------------------- */

void
crd_compiled_done(struct crd_compiled *x)
{
    for (size_t i = 0; i < x->n; i++)
        kind_unref(x->kinds[i]);
    x->n = 0;
    object_unref(x->o);
    x->o = NULL;
}

static int
compile_version(struct crd_compiled *x, const json_t *crd, const json_t *version)
{
    const char *name = json_string_value(json_object_get(version, "name"));
    auto_violations v = {0};
    struct kind *k = NULL;

    if (x->n == KIND_VERSIONS_MAX)
        return error_set(&x->e, ERR_INVALID, "more than %d versions", KIND_VERSIONS_MAX);
    if (kind_compile(crd, name == NULL ? "" : name, &k, &v, &x->e) < 0) {
        if (v.list.len > 0)
            error_set(&x->e, ERR_INVALID, "%s: %s", v.list.items[0].path,
                      v.list.items[0].message);
        return -ERR_INVALID;
    }
    k->pruned_on_read = x->o->facts.generation > 1;
    x->kinds[x->n++] = k;
    return 0;
}

void
crd_compile(struct crd_compiled *x)
{
    json_t *crd = object_json(x->o), *version;
    json_t *versions = json_object_get(json_object_get(crd, "spec"), "versions");
    json_t *annotations =
        json_object_get(json_object_get(crd, "metadata"), "annotations");
    size_t i, storage = 0;
    int rc = 0;

    json_object_del(annotations, "drover.dev/builtin"); /* only what is embedded is */
    json_array_foreach (versions, i, version) {
        storage += json_is_true(json_object_get(version, "storage"));
        if (rc == 0)
            rc = compile_version(x, crd, version);
    }
    if (rc == 0 && storage != 1)
        rc = error_set(&x->e, ERR_INVALID, "not exactly one storage version");
    json_decref(crd);
    for (i = 0; rc < 0 && i < x->n; i++)
        kind_unref(x->kinds[i]);
    if (rc < 0)
        x->n = 0;
}

/* --- names -------------------------------------------------------------------------- */

static bool
is_resource_name(const struct kind *k, const char *name)
{
    if (streq(k->plural, name) || streq(k->singular, name))
        return true;
    for (char **p = k->short_names; *p != NULL; p++)
        if (streq(*p, name))
            return true;
    return false;
}

static bool
taken(const struct kinds *kinds, const struct kind *k, const char *name, bool of_resource)
{
    for (size_t i = 0; i < kinds_len(kinds); i++) {
        const struct kind *other = kinds_at(kinds, i)->kind;
        if (!streq(other->group, k->group) || streq(other->resource, k->resource))
            continue;
        if (of_resource ? is_resource_name(other, name)
                        : streq(other->kind, name) || streq(other->list_kind, name))
            return true;
    }
    return false;
}

static bool
conflict(struct crd_verdict *v, const char *reason, const char *name)
{
    snprintf(v->conflict, sizeof(v->conflict), "%s", reason);
    snprintf(v->message, sizeof(v->message), "\"%.200s\" is already in use", name);
    return true;
}

bool
crd_names_conflict(const struct kinds *kinds, const struct kind *k, struct crd_verdict *v)
{
    if (taken(kinds, k, k->plural, true))
        return conflict(v, "PluralConflict", k->plural);
    if (taken(kinds, k, k->singular, true))
        return conflict(v, "SingularConflict", k->singular);
    for (char **p = k->short_names; *p != NULL; p++)
        if (taken(kinds, k, *p, true))
            return conflict(v, "ShortNamesConflict", *p);
    if (taken(kinds, k, k->kind, false))
        return conflict(v, "KindConflict", k->kind);
    if (taken(kinds, k, k->list_kind, false))
        return conflict(v, "ListKindConflict", k->list_kind);
    return false;
}

/* --- status ------------------------------------------------------------------------- */

static json_t *
find_condition(json_t *conditions, const char *type)
{
    json_t *c;
    size_t i;

    json_array_foreach (conditions, i, c) {
        const char *z = json_string_value(json_object_get(c, "type"));
        if (z != NULL && streq(z, type))
            return c;
    }
    return NULL;
}

/* lastTransitionTime moves with the status only. */
static void
set_condition(json_t *conditions, const char *type, bool status, const char *reason,
              const char *message)
{
    const char *text = status ? "True" : "False", *old;
    json_t *c = find_condition(conditions, type);
    char now[CLOCK_RFC3339_LEN];

    if (c == NULL) {
        c = json_pack("{s:s}", "type", type);
        json_array_append_new(conditions, c);
    }
    old = json_string_value(json_object_get(c, "status"));
    if (old == NULL || !streq(old, text)) {
        clock_format(clock_wall_ns(), now);
        json_object_set_new(c, "lastTransitionTime", json_string(now));
    }
    json_object_set_new(c, "status", json_string(text));
    json_object_set_new(c, "reason", json_string(reason));
    json_object_set_new(c, "message", json_string(message));
}

static void
drop_condition(json_t *conditions, const char *type)
{
    const json_t *c = find_condition(conditions, type);

    for (size_t i = 0; c != NULL && i < json_array_size(conditions); i++) {
        if (json_array_get(conditions, i) == c) {
            json_array_remove(conditions, i);
            return;
        }
    }
}

static json_t *
strings(char *const *list)
{
    json_t *array = json_array();

    for (; list != NULL && *list != NULL; list++)
        json_array_append_new(array, json_string(*list));
    return array;
}

static json_t *
names_of(const struct kind *k)
{
    json_t *names = json_pack("{s:s,s:s,s:s,s:s}", "plural", k->plural, "singular",
                              k->singular, "kind", k->kind, "listKind", k->list_kind);

    if (*k->short_names != NULL)
        json_object_set_new(names, "shortNames", strings(k->short_names));
    if (*k->categories != NULL)
        json_object_set_new(names, "categories", strings(k->categories));
    return names;
}

static void
judge(json_t *status, json_t *conditions, const struct crd_verdict *v)
{
    if (v->terminating) {
        set_condition(conditions, "Terminating", true, "InstanceDeletionInProgress",
                      "CustomResource deletion is in progress");
        return;
    }
    if (v->broken[0] != '\0') {
        set_condition(conditions, "NonStructuralSchema", true, "Violations", v->broken);
        set_condition(conditions, "Established", false, "NotAccepted",
                      "the schema cannot be served");
        return;
    }
    drop_condition(conditions, "NonStructuralSchema");
    if (v->conflict[0] != '\0') {
        set_condition(conditions, "NamesAccepted", false, v->conflict, v->message);
        set_condition(conditions, "Established", false, "NotAccepted",
                      "not all names are accepted");
        return;
    }
    json_object_set_new(status, "acceptedNames", names_of(v->names));
    set_condition(conditions, "NamesAccepted", true, "NoConflicts", "no conflicts found");
    set_condition(conditions, "Established", true, "InitialNamesAccepted",
                  "the initial names have been accepted");
}

bool
crd_status_patch(const struct object *o, const struct crd_verdict *v, struct str *out)
{
    struct span raw = object_fact(o, o->facts.status);
    json_t *old =
        json_loadb(raw.len > 0 ? raw.ptr : "{}", raw.len > 0 ? raw.len : 2, 0, NULL);
    json_t *status = old == NULL ? json_object() : json_deep_copy(old);
    json_t *conditions = json_object_get(status, "conditions");

    if (!json_is_array(conditions)) {
        conditions = json_array();
        json_object_set_new(status, "conditions", conditions);
    }
    judge(status, conditions, v);
    bool differs = old == NULL || !json_equal(old, status);
    if (differs) {
        autofree char *text = json_dumps(status, JSON_COMPACT);
        str_addf(out, "{\"status\":%s}", text);
    }
    json_decref(status);
    json_decref(old);
    return differs;
}

bool
crd_was_established(const struct object *o)
{
    struct span raw = object_fact(o, o->facts.status);
    json_t *status = raw.len == 0 ? NULL : json_loadb(raw.ptr, raw.len, 0, NULL);
    const json_t *c =
        find_condition(json_object_get(status, "conditions"), "Established");
    const char *text = json_string_value(json_object_get(c, "status"));
    bool yes = text != NULL && streq(text, "True");

    json_decref(status);
    return yes;
}
