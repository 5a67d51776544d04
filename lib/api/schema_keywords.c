/* SPDX-License-Identifier: Apache-2.0 */
/* Keywords of a schema that constrain a value, and the ones that are refused. */
#include <math.h>

#include "api/schema_internal.h"
#include "base/mem.h"

#define ENUM_MAX 1000
#define PATTERN_MAX 2048
#define MAP_KEYS_MAX 8

const char schema_object_meta[] =
    "{\"type\":\"object\",\"properties\":{"
    "\"name\":{\"type\":\"string\"},\"generateName\":{\"type\":\"string\"},"
    "\"namespace\":{\"type\":\"string\"},\"selfLink\":{\"type\":\"string\"},"
    "\"uid\":{\"type\":\"string\"},\"resourceVersion\":{\"type\":\"string\"},"
    "\"generation\":{\"type\":\"integer\"},"
    "\"creationTimestamp\":{\"type\":\"string\",\"format\":\"date-time\"},"
    "\"deletionTimestamp\":{\"type\":\"string\",\"format\":\"date-time\"},"
    "\"deletionGracePeriodSeconds\":{\"type\":\"integer\"},"
    "\"labels\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"string\"}},"
    "\"annotations\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"string\"}}"
    ","
    "\"ownerReferences\":{\"type\":\"array\",\"x-kubernetes-list-type\":\"map\","
    "\"x-kubernetes-list-map-keys\":[\"uid\"],\"items\":{\"type\":\"object\","
    "\"x-kubernetes-map-type\":\"atomic\","
    "\"required\":[\"apiVersion\",\"kind\",\"name\",\"uid\"],\"properties\":{"
    "\"apiVersion\":{\"type\":\"string\"},\"kind\":{\"type\":\"string\"},"
    "\"name\":{\"type\":\"string\"},\"uid\":{\"type\":\"string\"},"
    "\"controller\":{\"type\":\"boolean\"},"
    "\"blockOwnerDeletion\":{\"type\":\"boolean\"}}}},"
    "\"finalizers\":{\"type\":\"array\",\"x-kubernetes-list-type\":\"set\","
    "\"items\":{\"type\":\"string\"}},"
    "\"managedFields\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"properties\":"
    "{"
    "\"manager\":{\"type\":\"string\"},\"operation\":{\"type\":\"string\"},"
    "\"apiVersion\":{\"type\":\"string\"},"
    "\"time\":{\"type\":\"string\",\"format\":\"date-time\"},"
    "\"fieldsType\":{\"type\":\"string\"},\"subresource\":{\"type\":\"string\"},"
    "\"fieldsV1\":{\"type\":\"object\",\"x-kubernetes-preserve-unknown-fields\":true}"
    "}}}}}";

void
schema_complain(struct violations *v, const char *path, const char *keyword,
                const json_t *value, const char *why)
{
    autofree char *at = xasprintf("%s.%s", path, keyword);
    autofree char *text = NULL;

    if (value != NULL)
        text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    violations_add(v, VIOLATION_INVALID, at, text, "%s", why);
}

static bool
listed(const char *const *list, size_t n, const char *key)
{
    for (size_t i = 0; i < n; i++)
        if (streq(list[i], key))
            return true;
    return false;
}

void
schema_check_keywords(const json_t *doc, const char *path, struct violations *v)
{
    static const char *const known[] = {"type",
                                        "properties",
                                        "required",
                                        "items",
                                        "additionalProperties",
                                        "enum",
                                        "format",
                                        "pattern",
                                        "minLength",
                                        "maxLength",
                                        "minimum",
                                        "maximum",
                                        "exclusiveMinimum",
                                        "exclusiveMaximum",
                                        "multipleOf",
                                        "minItems",
                                        "maxItems",
                                        "minProperties",
                                        "maxProperties",
                                        "nullable",
                                        "default",
                                        "description",
                                        "title",
                                        "example",
                                        "externalDocs",
                                        "allOf",
                                        "anyOf",
                                        "oneOf",
                                        "not"};
    /* Of JSON Schema, not of structural schemas. */
    static const char *const forbidden[] = {"$ref",
                                            "definitions",
                                            "dependencies",
                                            "patternProperties",
                                            "additionalItems",
                                            "discriminator",
                                            "readOnly",
                                            "writeOnly",
                                            "xml",
                                            "deprecated",
                                            "id",
                                            "$schema"};
    const char *key;
    json_t *value;

    json_object_foreach ((json_t *)(uintptr_t)doc, key, value) {
        autofree char *at = NULL;
        if (listed(known, ARRAY_LEN(known), key) || json_is_null(value))
            continue;
        at = xasprintf("%s.%s", path, key);
        if (streq(key, "uniqueItems") && json_is_true(value))
            violations_add(v, VIOLATION_FORBIDDEN, at, NULL,
                           "uniqueItems cannot be set to true since the runtime "
                           "complexity becomes quadratic");
        else if (streq(key, "x-kubernetes-validations") && json_array_size(value) > 0)
            violations_add(v, VIOLATION_FORBIDDEN, at, NULL,
                           "validation rules in CEL are not supported by this server");
        else if (listed(forbidden, ARRAY_LEN(forbidden), key))
            violations_add(v, VIOLATION_FORBIDDEN, at, NULL, "%s is not supported", key);
        else if (!str_starts(key, "x-kubernetes-") && !streq(key, "uniqueItems"))
            violations_add(v, VIOLATION_UNKNOWN, at, NULL, "%s", "");
    }
}

static void
read_bound(struct schema_bound *b, const json_t *value, const json_t *exclusive,
           const char *path, const char *keyword, struct violations *v)
{
    if (value == NULL)
        return;
    if (!json_is_number(value)) {
        schema_complain(v, path, keyword, value, "must be a number");
        return;
    }
    b->set = true;
    b->exclusive = json_is_true(exclusive);
    b->d = json_number_value(value);
    b->whole = json_is_integer(value);
    b->i = b->whole ? json_integer_value(value) : 0;
    if (!b->whole && b->d == floor(b->d) && fabs(b->d) < 0x1p53) {
        b->whole = true;
        b->i = (int64_t)b->d;
    }
}

static void
read_size(size_t *ret, const json_t *doc, const char *path, const char *keyword,
          struct violations *v)
{
    const json_t *value = json_object_get(doc, keyword);

    if (value == NULL)
        return;
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        schema_complain(v, path, keyword, value, "must be a whole number, 0 or greater");
    else
        *ret = (size_t)json_integer_value(value);
}

static void
read_enum(struct schema *s, const json_t *doc, const char *path, struct violations *v)
{
    json_t *list = json_object_get(doc, "enum"), *item;
    size_t i;

    if (list == NULL)
        return;
    if (!json_is_array(list) || json_array_size(list) == 0 ||
        json_array_size(list) > ENUM_MAX) {
        schema_complain(v, path, "enum", NULL, "must be a list of 1 to 1000 values");
        return;
    }
    s->enums = xcalloc(json_array_size(list) + 1, sizeof(*s->enums));
    json_array_foreach (list, i, item) {
        autofree char *text = json_dumps(item, JSON_ENCODE_ANY | JSON_COMPACT);
        auto_str out = STR_INIT(1u << 20);
        struct error e = ERROR_INIT;
        if (text == NULL || jcanon(text, strlen(text), &out, &e) < 0) {
            schema_complain(v, path, "enum", NULL,
                            "holds a value that cannot be compared");
            return;
        }
        s->enums[s->n_enums++] = str_detach(&out);
    }
}

static void
read_pattern(struct schema *s, const json_t *doc, const char *path, struct violations *v)
{
    const json_t *value = json_object_get(doc, "pattern");
    const char *text = json_string_value(value);
    PCRE2_UCHAR why[200];
    PCRE2_SIZE offset;
    int code;

    if (value == NULL)
        return;
    if (text == NULL || strlen(text) > PATTERN_MAX) {
        schema_complain(v, path, "pattern", NULL,
                        "must be a string of at most 2048 bytes");
        return;
    }
    s->pattern = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED,
                               PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_BACKSLASH_C,
                               &code, &offset, NULL);
    if (s->pattern == NULL) {
        pcre2_get_error_message(code, why, sizeof(why));
        schema_complain(v, path, "pattern", value, (const char *)why);
        return;
    }
    s->pattern_text = xstrdup(text);
}

static void
need_type(const json_t *doc, const char *path, const char *type, const char *keyword,
          struct violations *v)
{
    autofree char *why = xasprintf("must be %s if %s is specified", type, keyword);
    const json_t *have = json_object_get(doc, "type");
    autofree char *at = xasprintf("%s.type", path);

    if (have == NULL)
        violations_add(v, VIOLATION_REQUIRED, at, NULL, "%s", why);
    else
        schema_complain(v, path, "type", have, why);
}

static void
read_map_keys(struct schema *s, const json_t *doc, const char *path, struct violations *v)
{
    json_t *list = json_object_get(doc, "x-kubernetes-list-map-keys"), *item;
    autofree char *at = xasprintf("%s.x-kubernetes-list-map-keys", path);
    size_t i, n = json_array_size(list);

    if (n == 0) {
        violations_add(v, VIOLATION_REQUIRED, at, NULL,
                       "must not be empty if x-kubernetes-list-type is map");
        return;
    }
    if (n > MAP_KEYS_MAX) {
        violations_add(v, VIOLATION_TOO_MANY, at, NULL, "must have at most %d items",
                       MAP_KEYS_MAX);
        return;
    }
    s->map_keys = xcalloc(n + 1, sizeof(*s->map_keys));
    json_array_foreach (list, i, item) {
        const char *key = json_string_value(item);
        s->map_keys[i] = xstrdup(key == NULL ? "" : key);
        if (key == NULL || s->items == NULL || schema_member(s->items, key) == NULL)
            schema_complain(v, path, "x-kubernetes-list-map-keys", list,
                            "entries must all be names of item properties");
    }
}

static void
read_list_type(struct schema *s, const json_t *doc, const char *path,
               struct violations *v)
{
    const json_t *list = json_object_get(doc, "x-kubernetes-list-type");
    const json_t *keys = json_object_get(doc, "x-kubernetes-list-map-keys");
    autofree char *at = xasprintf("%s.x-kubernetes-list-type", path);
    const char *name = json_string_value(list);

    if (json_array_size(keys) > 0 && list == NULL)
        violations_add(v, VIOLATION_REQUIRED, at, NULL,
                       "must be map if x-kubernetes-list-map-keys is non-empty");
    else if (json_array_size(keys) > 0 && (name == NULL || !streq(name, "map")))
        schema_complain(v, path, "x-kubernetes-list-type", list,
                        "must be map if x-kubernetes-list-map-keys is non-empty");
    if (list == NULL)
        return;
    if (name == NULL ||
        (!streq(name, "atomic") && !streq(name, "set") && !streq(name, "map"))) {
        autofree char *shown = json_dumps(list, JSON_ENCODE_ANY);
        violations_add(v, VIOLATION_NOT_SUPPORTED, at, shown,
                       "supported values: \"atomic\", \"set\", \"map\"");
        return;
    }
    if (s->type != SCHEMA_ARRAY)
        need_type(doc, path, "array", "x-kubernetes-list-type", v);
    else if (streq(name, "map")) {
        s->list_type = SCHEMA_LIST_MAP;
        read_map_keys(s, doc, path, v);
    } else if (streq(name, "set")) {
        s->list_type = SCHEMA_LIST_SET;
    }
}

static void
read_map_type(struct schema *s, const json_t *doc, const char *path, struct violations *v)
{
    const json_t *map = json_object_get(doc, "x-kubernetes-map-type");
    autofree char *at = xasprintf("%s.x-kubernetes-map-type", path);
    const char *name = json_string_value(map);

    if (map == NULL)
        return;
    if (name == NULL || (!streq(name, "atomic") && !streq(name, "granular"))) {
        autofree char *shown = json_dumps(map, JSON_ENCODE_ANY);
        violations_add(v, VIOLATION_NOT_SUPPORTED, at, shown,
                       "supported values: \"atomic\", \"granular\"");
        return;
    }
    if (s->type != SCHEMA_OBJECT && !s->preserve_unknown)
        need_type(doc, path, "object", "x-kubernetes-map-type", v);
    s->map_atomic = streq(name, "atomic");
}

void
schema_read_constraints(struct schema *s, const json_t *doc, const char *path,
                        struct violations *v)
{
    const char *format = json_string_value(json_object_get(doc, "format"));

    s->nullable = json_is_true(json_object_get(doc, "nullable"));
    if (format != NULL)
        s->format = format_named(s->type, format);
    if (s->format != FORMAT_NONE)
        s->format_text = xstrdup(format);
    read_bound(&s->minimum, json_object_get(doc, "minimum"),
               json_object_get(doc, "exclusiveMinimum"), path, "minimum", v);
    read_bound(&s->maximum, json_object_get(doc, "maximum"),
               json_object_get(doc, "exclusiveMaximum"), path, "maximum", v);
    read_bound(&s->multiple, json_object_get(doc, "multipleOf"), NULL, path, "multipleOf",
               v);
    if (s->multiple.set && s->multiple.d <= 0) {
        schema_complain(v, path, "multipleOf", NULL, "must be greater than 0");
        s->multiple.set = false;
    }
    read_size(&s->min_len, doc, path, "minLength", v);
    read_size(&s->max_len, doc, path, "maxLength", v);
    read_size(&s->min_items, doc, path, "minItems", v);
    read_size(&s->max_items, doc, path, "maxItems", v);
    read_size(&s->min_members, doc, path, "minProperties", v);
    read_size(&s->max_members, doc, path, "maxProperties", v);
    read_enum(s, doc, path, v);
    read_pattern(s, doc, path, v);
    read_list_type(s, doc, path, v);
    read_map_type(s, doc, path, v);
    s->checked = s->format != FORMAT_NONE || s->minimum.set || s->maximum.set ||
                 s->multiple.set || s->min_len > 0 || s->max_len != SCHEMA_NO_LIMIT ||
                 s->min_items > 0 || s->max_items != SCHEMA_NO_LIMIT ||
                 s->min_members > 0 || s->max_members != SCHEMA_NO_LIMIT ||
                 s->n_enums > 0 || s->pattern != NULL;
}
