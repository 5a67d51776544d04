/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The OpenAPI v2 document as JSON, and what v2 cannot say taken out of schemas: kubectl's
 * and Argo CD's models know neither nullable nor anyOf.
 */
#include <jansson.h>
#include <stdlib.h>

#include "apiserver/registry/openapi_internal.h"
#include "base/mem.h"

static void
clean_members(json_t *map)
{
    const char *key;
    json_t *value;

    json_object_foreach (map, key, value)
        openapi_v2_clean(value);
}

void
openapi_v2_clean(json_t *s)
{
    static const char *const unknown[] = {"nullable", "anyOf", "oneOf", "not"};
    const json_t *ref =
        json_object_get(json_array_get(json_object_get(s, "allOf"), 0), "$ref");

    if (!json_is_object(s))
        return;
    for (size_t i = 0; i < ARRAY_LEN(unknown); i++)
        json_object_del(s, unknown[i]);
    if (!json_is_string(ref)) /* else it stands for a type of its own, as metadata's */
        json_object_del(s, "allOf");
    if (json_is_true(json_object_get(s, "x-kubernetes-preserve-unknown-fields")) &&
        json_object_get(s, "properties") == NULL)
        json_object_del(s, "type");
    clean_members(json_object_get(s, "properties"));
    openapi_v2_clean(json_object_get(s, "items"));
    openapi_v2_clean(json_object_get(s, "additionalProperties"));
}

static json_t *
parameter(const char *name)
{
    return json_pack("{s:s,s:s,s:s,s:b}", "name", name, "in", "query", "type", "string",
                     "uniqueItems", 1);
}

static json_t *
path_parameter(const char *name)
{
    return json_pack("{s:s,s:s,s:s,s:b,s:b}", "name", name, "in", "path", "type",
                     "string", "uniqueItems", 1, "required", 1);
}

static json_t *
operation(const struct kind *k, const char *action, const char *method)
{
    bool reads = streq(action, "get") || streq(action, "list");
    auto_str name = STR_INIT(1024), ref = STR_INIT(1100), id = STR_INIT(1200);

    openapi_name(k, &name);
    str_addf(&ref, "#/definitions/%s", name.ptr);
    str_addf(&id, "%s_%s", action, name.ptr);
    json_t *o = json_pack(
        "{s:s,s:[s,s,s],s:[s],s:[s],s:{s:{s:s,s:{s:s}}},s:s,s:o,s:[]}", "operationId",
        id.ptr, "consumes", "application/json", "application/yaml",
        "application/vnd.kubernetes.protobuf", "produces", "application/json", "schemes",
        "https", "responses", "200", "description", "OK", "schema", "$ref", ref.ptr,
        "x-kubernetes-action", action, "x-kubernetes-group-version-kind", openapi_gvk(k),
        "parameters");
    json_t *list = json_object_get(o, "parameters");
    if (streq(method, "post") || streq(method, "put"))
        json_array_append_new(list, json_pack("{s:s,s:s,s:b,s:{s:s}}", "name", "body",
                                              "in", "body", "required", 1, "schema",
                                              "$ref", ref.ptr));
    if (!reads) {
        json_array_append_new(list, parameter("dryRun"));
        json_array_append_new(list, parameter("fieldManager"));
        json_array_append_new(list, parameter("fieldValidation"));
    }
    return o;
}

static void
add_paths(json_t *paths, const struct kind *k)
{
    auto_str one = STR_INIT(1024), all = STR_INIT(1024);

    openapi_path(k, &one);
    str_add(&all, one.ptr, one.len - strlen("/{name}"));
    json_t *named = json_pack(
        "{s:o,s:o,s:o,s:o,s:[o]}", "get", operation(k, "get", "get"), "put",
        operation(k, "put", "put"), "patch", operation(k, "patch", "patch"), "delete",
        operation(k, "delete", "delete"), "parameters", path_parameter("name"));
    json_t *list = json_pack("{s:o,s:o,s:[]}", "get", operation(k, "list", "get"), "post",
                             operation(k, "post", "post"), "parameters");
    if (k->namespaced) {
        json_array_append_new(json_object_get(named, "parameters"),
                              path_parameter("namespace"));
        json_array_append_new(json_object_get(list, "parameters"),
                              path_parameter("namespace"));
    }
    json_object_set_new(paths, one.ptr, named);
    json_object_set_new(paths, all.ptr, list);
}

json_t *
openapi_v2_definition(const struct kind *k)
{
    json_t *schema = openapi_schema(k, "#/definitions/");

    openapi_v2_clean(schema);
    return schema;
}

/* Here metadata is a plain reference. */
static json_t *
json_definition(const struct kind *k)
{
    json_t *schema = openapi_v2_definition(k);
    json_t *meta = json_object_get(json_object_get(schema, "properties"), "metadata");
    json_t *ref = json_incref(
        json_object_get(json_array_get(json_object_get(meta, "allOf"), 0), "$ref"));

    json_object_del(meta, "allOf");
    json_object_del(meta, "default");
    json_object_set_new(meta, "$ref", ref);
    return schema;
}

json_t *
openapi_v2_tree(const struct openapi_kinds *kinds)
{
    json_t *paths = json_object(), *definitions = json_object();

    json_object_set_new(definitions, OBJECT_META_NAME, openapi_object_meta());
    for (size_t i = 0; i < kinds->list.len; i++) {
        const struct kind *k = kinds->list.items[i];
        auto_str name = STR_INIT(1024);
        openapi_name(k, &name);
        add_paths(paths, k);
        json_object_set_new(definitions, name.ptr, json_definition(k));
    }
    return json_pack("{s:s,s:{s:s,s:s},s:o,s:o}", "swagger", "2.0", "info", "title",
                     "drover", "version", "v1", "paths", paths, "definitions",
                     definitions);
}
