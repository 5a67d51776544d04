/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a structural schema must hold beside its grammar, in the words of Kubernetes:
 * embedded resources, items of sets and list maps, and what the root may say of metadata.
 */
#include "api/schema_internal.h"
#include "base/mem.h"

#define NODES_MAX 50000 /* of one version: each takes some 300 bytes compiled */

static const json_t *
get(const json_t *doc, const char *key)
{
    return json_object_get(doc, key);
}

static bool
flag(const json_t *doc, const char *key)
{
    return json_is_true(get(doc, key));
}

static const char *
text(const json_t *doc, const char *key)
{
    const char *z = json_string_value(get(doc, key));

    return z == NULL ? "" : z;
}

static const json_t *
property(const json_t *doc, const char *name)
{
    return get(get(doc, "properties"), name);
}

static void
forbid(struct violations *v, const char *path, const char *below, const char *why)
{
    autofree char *at = xasprintf("%s%s", path, below);

    violations_add(v, VIOLATION_FORBIDDEN, at, NULL, "%s", why);
}

static void
require(struct violations *v, const char *path, const char *below, const char *why)
{
    autofree char *at = xasprintf("%s%s", path, below);

    violations_add(v, VIOLATION_REQUIRED, at, NULL, "%s", why);
}

static void
need_type(struct violations *v, const char *path, const json_t *doc, const char *type,
          const char *why)
{
    const json_t *have = get(doc, "type");

    if (streq(text(doc, "type"), type))
        return;
    json_t *none = json_string("");
    schema_complain(v, path, "type", have == NULL ? none : have, why);
    json_decref(none);
}

/* apiVersion, kind and metadata of what is a whole object. */
static void
check_identity(const json_t *doc, const char *path, struct violations *v)
{
    static const char *const names[] = {"kind", "apiVersion", "metadata"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        autofree char *at = xasprintf("%s.properties[%s]", path, names[i]);
        bool meta = streq(names[i], "metadata");
        if (property(doc, names[i]) != NULL)
            need_type(v, at, property(doc, names[i]), meta ? "object" : "string",
                      meta ? "must be object" : "must be string");
    }
}

static void
check_embedded(const json_t *doc, const char *path, struct violations *v)
{
    static const char need[] = "must be object if x-kubernetes-embedded-resource is true";

    if (!flag(doc, "x-kubernetes-embedded-resource"))
        return;
    if (get(doc, "type") == NULL)
        require(v, path, ".type", need);
    else
        need_type(v, path, doc, "object", need);
    if (get(doc, "additionalProperties") != NULL)
        forbid(v, path, ".additionalProperties",
               "must not be used if x-kubernetes-embedded-resource is set");
    if (!flag(doc, "x-kubernetes-preserve-unknown-fields") &&
        json_object_size(get(doc, "properties")) == 0)
        require(v, path, ".properties",
                "must not be empty if x-kubernetes-embedded-resource is true without "
                "x-kubernetes-preserve-unknown-fields");
    if (flag(doc, "x-kubernetes-int-or-string"))
        schema_complain(v, path, "x-kubernetes-embedded-resource", json_true(),
                        "must be false if x-kubernetes-int-or-string is true");
    check_identity(doc, path, v);
}

/* --- lists --- */

static void
check_set_items(const json_t *items, const char *at, struct violations *v)
{
    static const char why[] =
        "must be atomic as item of a list with x-kubernetes-list-type=set";
    const json_t *list = get(items, "x-kubernetes-list-type");
    const json_t *map = get(items, "x-kubernetes-map-type");
    json_t *none = json_null();

    if (streq(text(items, "type"), "array") && list != NULL &&
        !streq(text(items, "x-kubernetes-list-type"), "atomic"))
        schema_complain(v, at, "x-kubernetes-list-type", list, why);
    if (streq(text(items, "type"), "object") &&
        !streq(text(items, "x-kubernetes-map-type"), "atomic"))
        schema_complain(v, at, "x-kubernetes-map-type", map == NULL ? none : map, why);
}

static bool
is_listed_before(const json_t *keys, size_t at)
{
    for (size_t i = 0; i < at; i++)
        if (json_equal(json_array_get(keys, i), json_array_get(keys, at)))
            return true;
    return false;
}

static void
check_map_key(const json_t *items, const char *at, const char *name, struct violations *v)
{
    const json_t *field = property(items, name);
    autofree char *below = xasprintf("%s.properties[%s]", at, name);

    if (streq(text(field, "type"), "array") || streq(text(field, "type"), "object"))
        schema_complain(v, below, "type", get(field, "type"),
                        "must be a scalar type if parent array's "
                        "x-kubernetes-list-type is map");
    if (flag(field, "nullable"))
        forbid(v, below, ".nullable",
               "this property is in x-kubernetes-list-map-keys, so it cannot be "
               "nullable");
}

static void
check_map_items(const json_t *doc, const json_t *items, const char *path,
                struct violations *v)
{
    const json_t *keys = get(doc, "x-kubernetes-list-map-keys"), *key;
    autofree char *at = xasprintf("%s.items", path);
    size_t i;

    need_type(v, at, items, "object",
              "must be object if parent array's x-kubernetes-list-type is map");
    json_array_foreach (keys, i, key) {
        if (is_listed_before(keys, i))
            schema_complain(v, path, "x-kubernetes-list-map-keys", keys,
                            "must not contain duplicate entries");
        else if (json_is_string(key))
            check_map_key(items, at, json_string_value(key), v);
    }
}

static void
check_items(const json_t *doc, const char *path, struct violations *v)
{
    const json_t *items = get(doc, "items");
    const char *type = text(doc, "x-kubernetes-list-type");
    autofree char *at = xasprintf("%s.items", path);

    if (!json_is_object(items) || (!streq(type, "set") && !streq(type, "map")))
        return;
    if (flag(items, "nullable")) {
        autofree char *why =
            xasprintf("cannot be nullable when x-kubernetes-list-type is %s", type);
        forbid(v, at, ".nullable", why);
    }
    if (streq(type, "set"))
        check_set_items(items, at, v);
    else
        check_map_items(doc, items, path, v);
}

void
schema_check_node(const json_t *doc, const char *path, struct violations *v)
{
    const json_t *preserve = get(doc, "x-kubernetes-preserve-unknown-fields");

    check_embedded(doc, path, v);
    check_items(doc, path, v);
    if (json_is_false(preserve))
        schema_complain(v, path, "x-kubernetes-preserve-unknown-fields", preserve,
                        "must be true or undefined");
    if (json_is_true(preserve) && flag(doc, "x-kubernetes-int-or-string"))
        schema_complain(v, path, "x-kubernetes-preserve-unknown-fields", preserve,
                        "must be false if x-kubernetes-int-or-string is true");
}

/* --- the root --- */

/* Nothing but the type, and properties name and generateName. */
static bool
says_too_much(const json_t *meta)
{
    const char *key;
    json_t *value;

    json_object_foreach ((json_t *)(uintptr_t)meta, key, value) {
        if (!streq(key, "type") && !streq(key, "properties") && !streq(key, "default"))
            return true;
    }
    json_object_foreach ((json_t *)(uintptr_t)get(meta, "properties"), key, value) {
        if (!streq(key, "name") && !streq(key, "generateName"))
            return true;
    }
    return false;
}

static void
check_metadata(const json_t *meta, const char *path, struct violations *v)
{
    static const char none[] = "must not be set in top-level metadata";
    autofree char *at = xasprintf("%s.properties[metadata]", path);
    const char *key;
    json_t *value;

    if (says_too_much(meta))
        forbid(v, at, "",
               "must not specify anything other than name and generateName, but metadata "
               "is implicitly specified");
    if (get(meta, "default") != NULL)
        forbid(v, at, ".default", none);
    json_object_foreach ((json_t *)(uintptr_t)get(meta, "properties"), key, value) {
        autofree char *below = xasprintf(".properties[%s].default", key);
        if (get(value, "default") != NULL)
            forbid(v, at, below, none);
    }
}

/* Objects of any kind in the document; stops a little above the bound. */
static size_t
count_objects(const json_t *doc, size_t so_far)
{
    const char *key;
    json_t *value;
    size_t i;

    if (json_is_object(doc)) {
        so_far++;
        json_object_foreach ((json_t *)(uintptr_t)doc, key, value) {
            if (so_far <= NODES_MAX)
                so_far = count_objects(value, so_far);
        }
    }
    json_array_foreach (doc, i, value) {
        if (so_far <= NODES_MAX)
            so_far = count_objects(value, so_far);
    }
    return so_far;
}

bool
schema_check_root(const json_t *doc, const char *path, struct violations *v)
{
    size_t before = violations_errors(v);

    if (count_objects(doc, 0) > NODES_MAX) {
        violations_add(v, VIOLATION_TOO_MANY, path, NULL,
                       "must consist of at most %d schemas and maps", NODES_MAX);
        return false;
    }
    if (flag(doc, "nullable"))
        forbid(v, path, ".nullable", "nullable cannot be true at the root");
    check_identity(doc, path, v);
    if (json_is_object(property(doc, "metadata")))
        check_metadata(property(doc, "metadata"), path, v);
    return violations_errors(v) == before;
}
