/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The OpenAPI v2 document in gnostic's protobuf encoding (openapi.v2.Document), which old
 * kubectl versions validate and explain with.
 */
#include <jansson.h>
#include <stdlib.h>

#include "apiserver/registry/openapi_internal.h"
#include "base/mem.h"

enum { DOCUMENT_MAX = 16 << 20, DEPTH_MAX = 64 };

static void
varint(struct str *out, uint64_t v)
{
    while (v >= 0x80) {
        str_addc(out, (char)(v | 0x80));
        v >>= 7;
    }
    str_addc(out, (char)v);
}

static void
put_bytes(struct str *out, unsigned field, const void *bytes, size_t n)
{
    varint(out, (uint64_t)field << 3 | 2);
    varint(out, n);
    str_add(out, bytes, n);
}

static void
put_text(struct str *out, unsigned field, const char *text)
{
    put_bytes(out, field, text, strlen(text));
}

static void
put_message(struct str *out, unsigned field, const struct str *message)
{
    put_bytes(out, field, message->ptr, message->len);
}

/* NamedAny{1 name, 2 Any{2 yaml}}; JSON is YAML. */
static void
put_extension(struct str *out, unsigned field, const char *name, const json_t *value)
{
    auto_str named = STR_INIT(DOCUMENT_MAX), any = STR_INIT(DOCUMENT_MAX);
    autofree char *yaml = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);

    put_text(&any, 2, yaml);
    put_text(&named, 1, name);
    put_message(&named, 2, &any);
    put_message(out, field, &named);
}

static void schema_write(const json_t *s, struct str *out, unsigned depth);

static void
put_schema(struct str *out, unsigned field, const json_t *s, unsigned depth)
{
    auto_str message = STR_INIT(DOCUMENT_MAX);

    if (depth < DEPTH_MAX)
        schema_write(s, &message, depth + 1);
    put_message(out, field, &message);
}

/* {1: schema}: the wrapper of items and additionalProperties */
static void
put_wrapped(struct str *out, unsigned field, const json_t *s, unsigned depth)
{
    auto_str wrapper = STR_INIT(DOCUMENT_MAX);

    put_schema(&wrapper, 1, s, depth);
    put_message(out, field, &wrapper);
}

static void
properties_write(const json_t *properties, struct str *out, unsigned depth)
{
    auto_str all = STR_INIT(DOCUMENT_MAX);
    const char *key;
    json_t *value;

    json_object_foreach ((json_t *)(uintptr_t)properties, key, value) {
        auto_str named = STR_INIT(DOCUMENT_MAX);
        put_text(&named, 1, key);
        put_schema(&named, 2, value, depth);
        put_message(&all, 1, &named);
    }
    put_message(out, 25, &all);
}

static void
scalars_write(const json_t *s, struct str *out)
{
    const char *format = json_string_value(json_object_get(s, "format"));
    const char *description = json_string_value(json_object_get(s, "description"));
    const char *type = json_string_value(json_object_get(s, "type"));
    const json_t *required = json_object_get(s, "required");
    size_t i;
    json_t *item;

    if (format != NULL)
        put_text(out, 2, format);
    if (description != NULL)
        put_text(out, 4, description);
    json_array_foreach (required, i, item) {
        if (json_is_string(item))
            put_text(out, 19, json_string_value(item));
    }
    if (type != NULL) {
        auto_str value = STR_INIT(256);
        put_text(&value, 1, type);
        put_message(out, 22, &value);
    }
}

static void
schema_write(const json_t *s, struct str *out, unsigned depth)
{
    const json_t *all_of = json_object_get(s, "allOf");
    const json_t *properties = json_object_get(s, "properties");
    const json_t *items = json_object_get(s, "items");
    const json_t *more = json_object_get(s, "additionalProperties");
    const char *key;
    json_t *value;

    const char *ref =
        json_string_value(json_object_get(json_array_get(all_of, 0), "$ref"));
    if (ref != NULL) { /* only metadata: a plain reference in v2 */
        put_text(out, 1, ref);
        return;
    }
    scalars_write(s, out);
    if (json_is_object(more))
        put_wrapped(out, 21, more, depth);
    if (json_is_object(items))
        put_wrapped(out, 23, items, depth);
    if (json_object_size(properties) > 0)
        properties_write(properties, out, depth);
    json_object_foreach ((json_t *)(uintptr_t)s, key, value) {
        if (str_starts(key, "x-kubernetes-"))
            put_extension(out, 31, key, value);
    }
}

static void
query_parameter(struct str *operation, const char *name)
{
    auto_str query = STR_INIT(512), non_body = STR_INIT(512), parameter = STR_INIT(512),
             item = STR_INIT(512);

    put_text(&query, 2, "query");
    put_text(&query, 4, name);
    put_text(&query, 6, "string");
    put_message(&non_body, 3, &query);
    put_message(&parameter, 2, &non_body);
    put_message(&item, 1, &parameter);
    put_message(operation, 8, &item);
}

static void
operation_write(const struct kind *k, struct str *item, unsigned field, bool write)
{
    auto_str operation = STR_INIT(DOCUMENT_MAX);
    json_t *gvk = openapi_gvk(k);

    if (write) {
        query_parameter(&operation, "dryRun");
        query_parameter(&operation, "fieldManager");
        query_parameter(&operation, "fieldValidation");
    }
    put_extension(&operation, 13, "x-kubernetes-group-version-kind", gvk);
    put_message(item, field, &operation);
    json_decref(gvk);
}

static void
path_write(const struct kind *k, struct str *paths)
{
    auto_str named = STR_INIT(DOCUMENT_MAX), item = STR_INIT(DOCUMENT_MAX),
             path = STR_INIT(1024);

    openapi_path(k, &path);
    operation_write(k, &item, 2, false);
    operation_write(k, &item, 3, true);
    operation_write(k, &item, 5, true);
    operation_write(k, &item, 8, true);
    put_text(&named, 1, path.ptr);
    put_message(&named, 2, &item);
    put_message(paths, 2, &named);
}

static void
definition_write(const char *name, json_t *schema, struct str *definitions)
{
    auto_str named = STR_INIT(DOCUMENT_MAX);

    put_text(&named, 1, name);
    put_schema(&named, 2, schema, 0);
    put_message(definitions, 1, &named);
    json_decref(schema);
}

void
openapi_v2_write(const struct openapi_kinds *kinds, struct str *out)
{
    auto_str paths = STR_INIT(DOCUMENT_MAX), definitions = STR_INIT(DOCUMENT_MAX),
             info = STR_INIT(256);

    put_text(&info, 1, "drover");
    put_text(&info, 2, "v1");
    put_text(out, 1, "2.0");
    put_message(out, 2, &info);
    definition_write(OBJECT_META_NAME, openapi_object_meta(), &definitions);
    for (size_t i = 0; i < kinds->list.len; i++) {
        const struct kind *k = kinds->list.items[i];
        auto_str name = STR_INIT(1024);
        openapi_name(k, &name);
        path_write(k, &paths);
        definition_write(name.ptr, openapi_v2_definition(k), &definitions);
    }
    put_message(out, 8, &paths);
    put_message(out, 9, &definitions);
}
