/* SPDX-License-Identifier: Apache-2.0 */
/*
 * allOf, anyOf, oneOf and not of a structural schema: they may say what values are right,
 * never what fields there are. Each becomes a schema of its own that takes any type and
 * keeps everything.
 */
#include "api/schema_internal.h"
#include "base/mem.h"

#define NEST_MAX 8
#define GROUP_MAX 64

static struct schema *compile_value(const struct schema *outer, const json_t *doc,
                                    const char *path, unsigned nest,
                                    struct violations *v);

static void
group_free(struct schema_group *g)
{
    for (size_t i = 0; i < g->n; i++)
        schema_free(g->items[i]);
    free(g->items);
}

void
schema_logic_free(struct schema_logic *l)
{
    if (l == NULL)
        return;
    group_free(&l->all);
    group_free(&l->any);
    group_free(&l->one);
    schema_free(l->not );
    free(l);
}

static bool
is_type_only(const json_t *doc, const char *type)
{
    const char *z = json_string_value(json_object_get(doc, "type"));

    return json_object_size(doc) == 1 && z != NULL && streq(z, type);
}

/* anyOf [{type: integer}, {type: string}] beside int-or-string says nothing new, also as
 * the first of allOf. */
static bool
is_int_or_string(const json_t *list)
{
    return json_array_size(list) == 2 &&
           is_type_only(json_array_get(list, 0), "integer") &&
           is_type_only(json_array_get(list, 1), "string");
}

static bool
says_nothing(const struct schema *outer, const json_t *doc, const char *keyword)
{
    return outer != NULL && outer->type == SCHEMA_INT_OR_STRING &&
           streq(keyword, "anyOf") && is_int_or_string(json_object_get(doc, "anyOf"));
}

static void
read_group(struct schema_group *g, const struct schema *outer, const json_t *doc,
           const char *path, const char *keyword, unsigned nest, struct violations *v)
{
    const json_t *list = json_object_get(doc, keyword), *item;
    size_t i;

    if (list == NULL || says_nothing(outer, doc, keyword))
        return;
    if (!json_is_array(list) || json_array_size(list) > GROUP_MAX) {
        schema_complain(v, path, keyword, NULL, "must be a list of at most 64 schemas");
        return;
    }
    g->items = xcalloc(json_array_size(list) + 1,
                       sizeof(*g->items)); /* NOLINT(bugprone-sizeof-expression) */
    json_array_foreach (list, i, item) {
        autofree char *at = xasprintf("%s.%s[%zu]", path, keyword, i);
        struct schema *s = compile_value(outer, item, at, nest + 1, v);
        if (s != NULL)
            g->items[g->n++] = s;
    }
}

static void
read_logic(struct schema *s, const struct schema *outer, const json_t *doc,
           const char *path, unsigned nest, struct violations *v)
{
    const json_t *not = json_object_get(doc, "not");
    struct schema_logic *l = xnew(struct schema_logic);

    read_group(&l->all, outer, doc, path, "allOf", nest, v);
    read_group(&l->any, outer, doc, path, "anyOf", nest, v);
    read_group(&l->one, outer, doc, path, "oneOf", nest, v);
    if (not != NULL) {
        autofree char *at = xasprintf("%s.not", path);
        l->not = compile_value(outer, not, at, nest + 1, v);
    }
    if (l->all.n > 0 || l->any.n > 0 || l->one.n > 0 || l->not != NULL)
        s->logic = l;
    else
        schema_logic_free(l);
}

void
schema_read_logic(struct schema *s, const json_t *doc, const char *path,
                  struct violations *v)
{
    read_logic(s, s, doc, path, 0, v);
}

/* --- a schema of values ------------------------------------------------------------- */

/* Empty, false or absent. */
static bool
says_anything(const json_t *value)
{
    return value != NULL && !json_is_false(value) && !json_is_null(value) &&
           !(json_is_string(value) && json_string_length(value) == 0) &&
           !(json_is_array(value) && json_array_size(value) == 0);
}

static void
check_structural(const json_t *doc, const char *path, struct violations *v)
{
    static const struct {
        const char *keyword, *must;
    } outside[] = {
        {"type", "empty"},
        {"additionalProperties", "undefined"},
        {"default", "undefined"},
        {"title", "empty"},
        {"description", "empty"},
        {"nullable", "false"},
        {"externalDocs", "undefined"},
        {"x-kubernetes-preserve-unknown-fields", "false"},
        {"x-kubernetes-embedded-resource", "false"},
        {"x-kubernetes-int-or-string", "false"},
        {"x-kubernetes-list-map-keys", "empty"},
        {"x-kubernetes-list-type", "undefined"},
        {"x-kubernetes-map-type", "undefined"},
        {"x-kubernetes-validations", "empty"},
    };

    for (size_t i = 0; i < ARRAY_LEN(outside); i++) {
        const json_t *value = json_object_get(doc, outside[i].keyword);
        bool undefined = streq(outside[i].must, "undefined");
        if (undefined ? value == NULL : !says_anything(value))
            continue;
        autofree char *at = xasprintf("%s.%s", path, outside[i].keyword);
        violations_add(v, VIOLATION_FORBIDDEN, at, NULL, "must be %s to be structural",
                       outside[i].must);
    }
    if (json_object_get(json_object_get(doc, "properties"), "metadata") != NULL) {
        autofree char *at = xasprintf("%s.properties[metadata]", path);
        violations_add(v, VIOLATION_FORBIDDEN, at, NULL,
                       "must not be specified in a nested context");
    }
}

/* What is said about a field or item must be about one that is there. */
static void
missing_outside(const char *at, struct violations *v)
{
    violations_add(v, VIOLATION_REQUIRED, at, NULL,
                   "must be declared outside of allOf, anyOf, oneOf and not, too");
}

static void
read_value_properties(struct schema *s, const struct schema *outer, const json_t *doc,
                      const char *path, unsigned nest, struct violations *v)
{
    const char *key;
    json_t *sub;

    json_object_foreach (json_object_get(doc, "properties"), key, sub) {
        autofree char *at = xasprintf("%s.properties[%s]", path, key);
        const struct schema *same = schema_member(outer, key);
        if (outer != NULL && same == NULL && !schema_preserves_unknown(outer))
            missing_outside(at, v);
        struct schema *c = compile_value(same, sub, at, nest, v);
        if (c != NULL)
            schema_put_field(s, key, c);
    }
}

static struct schema *
compile_value(const struct schema *outer, const json_t *doc, const char *path,
              unsigned nest, struct violations *v)
{
    const json_t *items = json_object_get(doc, "items");
    struct schema *s;

    if (!json_is_object(doc)) {
        violations_add(v, VIOLATION_INVALID, path, NULL, "must be a schema object");
        return NULL;
    }
    if (nest > NEST_MAX) {
        violations_add(v, VIOLATION_INVALID, path, NULL,
                       "allOf, anyOf, oneOf and not are nested too deeply");
        return NULL;
    }
    s = schema_new();
    s->type = SCHEMA_ANY;
    s->preserve_unknown = true;
    schema_check_keywords(doc, path, v);
    check_structural(doc, path, v);
    read_value_properties(s, outer, doc, path, nest, v);
    if (items != NULL) {
        autofree char *at = xasprintf("%s.items", path);
        if (outer != NULL && outer->items == NULL && !schema_preserves_unknown(outer))
            missing_outside(at, v);
        s->items = compile_value(schema_items(outer), items, at, nest, v);
    }
    schema_read_required(s, doc, path, v);
    schema_read_constraints(s, doc, path, v);
    s->nullable = true;
    read_logic(s, outer, doc, path, nest, v);
    schema_set_needed(s);
    return s;
}
