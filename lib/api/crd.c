/* SPDX-License-Identifier: Apache-2.0 */
/* Names, versions, scope, columns and conversion of a CustomResourceDefinition. */
#include "api/crd.h"

#include <ctype.h>

#include "api/jtok.h"
#include "api/kind.h"
#include "api/values.h"
#include "base/mem.h"

#define NOT_SUBDOMAIN                                                                    \
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric "            \
    "characters, "                                                                       \
    "'-' or '.', and must start and end with an alphanumeric character (e.g. "           \
    "'example.com', regex used for validation is "                                       \
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
#define NOT_LABEL                                                                        \
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start " \
    "with an alphabetic character, and end with an alphanumeric character (e.g. "        \
    "'my-name',  or 'abc-123', regex used for validation is "                            \
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"

enum {
    VERSIONS_MAX = 32,
    COLUMNS_MAX = 64,
    SELECTABLE_MAX = 8,
    SHOWN_MAX = 400,
    SCHEMA_DEPTH_MAX = 90
};

static const char *
text_at(const json_t *o, const char *key)
{
    const char *z = json_string_value(json_object_get(o, key));

    return z == NULL ? "" : z;
}

static void
invalid(struct violations *v, const char *path, const char *value, const char *why)
{
    auto_str shown = STR_INIT(4096);

    jput_stringz(&shown, value);
    violations_add(v, VIOLATION_INVALID, path, shown.ptr, "%s", why);
}

static void
required(struct violations *v, const char *path, const char *why)
{
    violations_add(v, VIOLATION_REQUIRED, path, NULL, "%s", why);
}

/* `"x": supported values: "a", "b"` */
static void
not_supported(struct violations *v, const char *path, const char *value,
              const char *supported)
{
    auto_str shown = STR_INIT(4096);

    jput_stringz(&shown, value);
    violations_add(v, VIOLATION_NOT_SUPPORTED, path, shown.ptr, "supported values: %s",
                   supported);
}

static bool
is_label(const char *text)
{
    return value_is_dns_label(text, strlen(text)) && text[0] >= 'a' && text[0] <= 'z';
}

static char *
lower(const char *text)
{
    char *z = xstrdup(text);

    for (char *p = z; *p != '\0'; p++)
        *p = (char)tolower((unsigned char)*p);
    return z;
}

bool
crd_default(json_t *spec)
{
    json_t *names = json_object_get(spec, "names");
    const char *kind = text_at(names, "kind");
    bool changed = false;

    if (*kind != '\0' && *text_at(names, "singular") == '\0') {
        autofree char *singular = lower(kind);
        json_object_set_new(names, "singular", json_string(singular));
        changed = true;
    }
    if (*kind != '\0' && *text_at(names, "listKind") == '\0') {
        autofree char *list = xasprintf("%sList", kind);
        json_object_set_new(names, "listKind", json_string(list));
        changed = true;
    }
    if (json_object_get(spec, "conversion") == NULL) {
        json_object_set_new(spec, "conversion", json_pack("{s:s}", "strategy", "None"));
        changed = true;
    }
    return changed;
}

/* --- names -------------------------------------------------------------------------- */

static void
check_label(struct violations *v, const char *path, const char *value)
{
    if (*value == '\0')
        required(v, path, "");
    else if (!is_label(value))
        invalid(v, path, value, NOT_LABEL);
}

static void
check_kind_name(struct violations *v, const char *path, const char *value)
{
    autofree char *small = lower(value);

    if (*value == '\0')
        required(v, path, "");
    else if (!is_label(small))
        invalid(v, path, value,
                "may have mixed case, but should otherwise match: " NOT_LABEL);
}

static void
check_labels(struct violations *v, const char *path, const json_t *list)
{
    const json_t *item;
    size_t i;

    json_array_foreach (list, i, item) {
        autofree char *at = xasprintf("%s[%zu]", path, i);
        check_label(v, at,
                    json_string_value(item) == NULL ? "" : json_string_value(item));
    }
}

static void
check_names(struct violations *v, const json_t *names)
{
    check_label(v, "spec.names.plural", text_at(names, "plural"));
    check_label(v, "spec.names.singular", text_at(names, "singular"));
    check_kind_name(v, "spec.names.kind", text_at(names, "kind"));
    check_kind_name(v, "spec.names.listKind", text_at(names, "listKind"));
    check_labels(v, "spec.names.shortNames", json_object_get(names, "shortNames"));
    check_labels(v, "spec.names.categories", json_object_get(names, "categories"));
    if (*text_at(names, "kind") != '\0' &&
        streq(text_at(names, "kind"), text_at(names, "listKind")))
        invalid(v, "spec.names.listKind", text_at(names, "listKind"),
                "kind and listKind may not be the same");
}

static void
check_group(struct violations *v, const char *group, const json_t *annotations)
{
    bool guarded = streq(group, "k8s.io") || str_ends(group, ".k8s.io") ||
                   streq(group, "kubernetes.io") || str_ends(group, ".kubernetes.io");

    if (*group == '\0')
        required(v, "spec.group", "");
    else if (!value_is_dns_subdomain(group, strlen(group)))
        invalid(v, "spec.group", group, NOT_SUBDOMAIN);
    else if (strchr(group, '.') == NULL)
        invalid(v, "spec.group", group, "should be a domain with at least one dot");
    if (guarded && *text_at(annotations, "api-approved.kubernetes.io") == '\0')
        required(v, "metadata.annotations[api-approved.kubernetes.io]",
                 "protected groups must have approval annotation "
                 "\"api-approved.kubernetes.io\", see "
                 "https://github.com/kubernetes/enhancements/pull/1111");
}

static void
check_name(struct violations *v, const char *name, const json_t *spec)
{
    autofree char *want =
        xasprintf("%s.%s", text_at(json_object_get(spec, "names"), "plural"),
                  text_at(spec, "group"));

    if (!streq(name, want))
        invalid(v, "metadata.name", name, "must be spec.names.plural+\".\"+spec.group");
}

/* --- versions ----------------------------------------------------------------------- */

static void
check_column(struct violations *v, const char *at, const json_t *column)
{
    static const char *const types[] = {"integer", "number", "string", "boolean", "date"};
    static const char *const formats[] = {
        "int32", "int64", "float", "double", "byte", "date", "date-time", "password", ""};
    const char *type = text_at(column, "type"), *format = text_at(column, "format");
    autofree char *name_at = xasprintf("%s.name", at),
                  *type_at = xasprintf("%s.type", at);
    autofree char *format_at = xasprintf("%s.format", at);
    autofree char *path_at = xasprintf("%s.jsonPath", at);
    bool known_type = false, known_format = false;

    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        known_type = known_type || streq(types[i], type);
    for (size_t i = 0; i < ARRAY_LEN(formats); i++)
        known_format = known_format || streq(formats[i], format);
    if (*text_at(column, "name") == '\0')
        required(v, name_at, "");
    if (*type == '\0')
        required(v, type_at, "must be one of boolean,date,integer,number,string");
    else if (!known_type)
        invalid(v, type_at, type, "must be one of boolean,date,integer,number,string");
    if (!known_format)
        invalid(v, format_at, format,
                "must be one of byte,date,date-time,double,float,int32,int64,password");
    if (*text_at(column, "jsonPath") == '\0')
        required(v, path_at, "");
}

static const json_t *
schema_of(const json_t *version)
{
    return json_object_get(json_object_get(version, "schema"), "openAPIV3Schema");
}

/* The schema at ".spec.a.b", or NULL. */
static const json_t *
schema_at(const json_t *schema, const char *path)
{
    while (*path == '.' && schema != NULL) {
        size_t n = strcspn(++path, ".");
        autofree char *key = xstrndup(path, n);
        schema = json_object_get(json_object_get(schema, "properties"), key);
        path += n;
    }
    return *path == '\0' ? schema : NULL;
}

static void
check_selectable(struct violations *v, const char *at, const json_t *version)
{
    const json_t *list = json_object_get(version, "selectableFields"), *item;
    size_t i;

    if (json_array_size(list) > SELECTABLE_MAX)
        violations_add(v, VIOLATION_TOO_MANY, at, NULL, "must have at most %d items",
                       SELECTABLE_MAX);
    json_array_foreach (list, i, item) {
        autofree char *path_at = xasprintf("%s[%zu].jsonPath", at, i);
        const char *path = text_at(item, "jsonPath");
        const char *type = text_at(schema_at(schema_of(version), path), "type");
        if (*path == '\0')
            required(v, path_at, "");
        else if (str_starts(path, ".metadata"))
            invalid(v, path_at, path, "must not point to fields in metadata");
        else if (schema_at(schema_of(version), path) == NULL)
            invalid(v, path_at, path,
                    "is an invalid path: does not refer to a valid field");
        else if (!streq(type, "string") && !streq(type, "integer") &&
                 !streq(type, "boolean"))
            invalid(v, path_at, path,
                    "must point to a field of type string, boolean or integer. Enum "
                    "string fields and strings with formats are allowed.");
    }
}

/* A JSON path without arrays below one of the roots. */
static void
check_scale_path(struct violations *v, const char *at, const char *path,
                 const char *const *roots, const char *why)
{
    for (; *roots != NULL && !str_starts(path, *roots); roots++)
        ;
    if (strpbrk(path, "[]*") != NULL || *path != '.' || path[1] == '\0')
        invalid(v, at, path,
                "should be a json path under .spec or .status without arrays");
    else if (*roots == NULL)
        invalid(v, at, path, why);
}

static void
check_subresources(struct violations *v, const char *at, const json_t *version)
{
    static const char *const spec[] = {".spec.", NULL},
                             *const status[] = {".status.", NULL},
                             *const both[] = {".spec.", ".status.", NULL};
    const json_t *scale =
        json_object_get(json_object_get(version, "subresources"), "scale");
    const char *selector = text_at(scale, "labelSelectorPath");
    autofree char *spec_at = xasprintf("%s.subresources.scale.specReplicasPath", at);
    autofree char *status_at = xasprintf("%s.subresources.scale.statusReplicasPath", at);
    autofree char *selector_at = xasprintf("%s.subresources.scale.labelSelectorPath", at);

    if (scale == NULL)
        return;
    if (*text_at(scale, "specReplicasPath") == '\0')
        required(v, spec_at, "");
    else
        check_scale_path(v, spec_at, text_at(scale, "specReplicasPath"), spec,
                         "should be a json path under .spec");
    if (*text_at(scale, "statusReplicasPath") == '\0')
        required(v, status_at, "");
    else
        check_scale_path(v, status_at, text_at(scale, "statusReplicasPath"), status,
                         "should be a json path under .status");
    if (*selector != '\0')
        check_scale_path(v, selector_at, selector, both,
                         "should be a json path under either .spec or .status");
}

static bool
lists(const json_t *names, const char *name)
{
    const json_t *item;
    size_t i;

    json_array_foreach (names, i, item) {
        if (json_is_string(item) && streq(json_string_value(item), name))
            return true;
    }
    return false;
}

/* What tells the items of a list map apart must be there. */
static void
check_map_keys(struct violations *v, const char *at, const json_t *list)
{
    const json_t *items = json_object_get(list, "items"), *key;
    size_t i;

    json_array_foreach (json_object_get(list, "x-kubernetes-list-map-keys"), i, key) {
        const char *name = json_string_value(key) == NULL ? "" : json_string_value(key);
        const json_t *field = json_object_get(json_object_get(items, "properties"), name);
        if (field == NULL || json_object_get(field, "default") != NULL ||
            lists(json_object_get(items, "required"), name))
            continue;
        autofree char *path = xasprintf("%s.items.properties[%s].default", at, name);
        required(v, path,
                 "this property is in x-kubernetes-list-map-keys, so it must have a "
                 "default or be a required property");
    }
}

static void
check_schema(struct violations *v, const char *at, const json_t *schema, unsigned depth)
{
    const json_t *more = json_object_get(schema, "additionalProperties");
    const json_t *items = json_object_get(schema, "items");
    autofree char *more_at = xasprintf("%s.additionalProperties", at);
    autofree char *items_at = xasprintf("%s.items", at);
    const char *key;
    json_t *sub;

    if (!json_is_object(schema) || depth > SCHEMA_DEPTH_MAX)
        return; /* said by kind_compile */
    check_map_keys(v, at, schema);
    json_object_foreach (json_object_get(schema, "properties"), key, sub) {
        autofree char *sub_at = xasprintf("%s.properties[%s]", at, key);
        check_schema(v, sub_at, sub, depth + 1);
    }
    check_schema(v, more_at, more, depth + 1);
    check_schema(v, items_at, items, depth + 1);
}

static void
check_version(struct violations *v, const char *at, const json_t *version)
{
    const json_t *columns = json_object_get(version, "additionalPrinterColumns"), *column;
    autofree char *schema = xasprintf("%s.schema.openAPIV3Schema", at);
    autofree char *name = xasprintf("%s.name", at);
    autofree char *selectable = xasprintf("%s.selectableFields", at);
    autofree char *warning = xasprintf("%s.deprecationWarning", at);
    size_t i;

    if (!is_label(text_at(version, "name")))
        invalid(v, name, text_at(version, "name"), NOT_LABEL);
    if (*text_at(version, "deprecationWarning") != '\0' &&
        !json_is_true(json_object_get(version, "deprecated")))
        invalid(v, warning, text_at(version, "deprecationWarning"),
                "can only be set for deprecated versions");
    if (!json_is_object(schema_of(version)))
        required(v, schema, "schemas are required");
    check_schema(v, schema, schema_of(version), 0);
    json_array_foreach (columns, i, column) {
        autofree char *one = xasprintf("%s.additionalPrinterColumns[%zu]", at, i);
        check_column(v, one, column);
    }
    check_selectable(v, selectable, version);
    check_subresources(v, at, version);
}

static bool
names_twice(const json_t *versions, size_t at)
{
    const char *name = text_at(json_array_get(versions, at), "name");

    for (size_t i = 0; i < at; i++)
        if (streq(text_at(json_array_get(versions, i), "name"), name))
            return true;
    return false;
}

static void
check_versions(struct violations *v, const json_t *versions)
{
    auto_str shown = STR_INIT(SHOWN_MAX);
    size_t i, storage = 0;
    const json_t *version;
    bool twice = false;

    if (json_array_size(versions) > VERSIONS_MAX) {
        violations_add(v, VIOLATION_TOO_MANY, "spec.versions", NULL,
                       "must have at most %d items", VERSIONS_MAX);
        return;
    }
    str_addc(&shown, '[');
    json_array_foreach (versions, i, version) {
        autofree char *at = xasprintf("spec.versions[%zu]", i);
        storage += json_is_true(json_object_get(version, "storage"));
        twice = twice || names_twice(versions, i);
        jput_item(&shown);
        jput_stringz(&shown, text_at(version, "name"));
        check_version(v, at, version);
    }
    str_addc(&shown, ']');
    if (twice)
        violations_add(v, VIOLATION_INVALID, "spec.versions", shown.ptr,
                       "must contain unique version names");
    if (storage != 1)
        violations_add(v, VIOLATION_INVALID, "spec.versions", shown.ptr,
                       "must have exactly one version marked as storage version");
}

/* --- the rest ----------------------------------------------------------------------- */

static void
check_scope(struct violations *v, const char *scope)
{
    if (*scope == '\0')
        required(v, "spec.scope", "");
    else if (!streq(scope, "Namespaced") && !streq(scope, "Cluster"))
        not_supported(v, "spec.scope", scope, "\"Cluster\", \"Namespaced\"");
}

static void
check_conversion(struct violations *v, const json_t *spec)
{
    const json_t *conversion = json_object_get(spec, "conversion");
    const char *strategy = text_at(conversion, "strategy");

    if (*strategy == '\0')
        required(v, "spec.conversion.strategy", "");
    else if (streq(strategy, "Webhook"))
        violations_add(v, VIOLATION_FORBIDDEN, "spec.conversion.strategy", NULL,
                       "conversion by webhook is not supported by this server; versions "
                       "may differ in what they serve and check, with strategy None");
    else if (!streq(strategy, "None"))
        not_supported(v, "spec.conversion.strategy", strategy, "\"None\", \"Webhook\"");
    if (json_is_true(json_object_get(spec, "preserveUnknownFields")))
        violations_add(v, VIOLATION_INVALID, "spec.preserveUnknownFields", "true",
                       "cannot set to true, set x-kubernetes-preserve-unknown-fields to "
                       "true in spec.versions[*].schema instead");
}

static void
check_same(struct violations *v, const char *path, const char *now, const char *before)
{
    if (!streq(now, before))
        invalid(v, path, now, "field is immutable");
}

static void
check_change(struct violations *v, const json_t *spec, const json_t *old,
             bool established)
{
    const json_t *names = json_object_get(spec, "names");
    const json_t *before = json_object_get(old, "names");

    if (established) {
        check_same(v, "spec.scope", text_at(spec, "scope"), text_at(old, "scope"));
        check_same(v, "spec.names.kind", text_at(names, "kind"), text_at(before, "kind"));
    }
    check_same(v, "spec.group", text_at(spec, "group"), text_at(old, "group"));
    check_same(v, "spec.names.plural", text_at(names, "plural"),
               text_at(before, "plural"));
}

void
crd_validate(const char *name, const json_t *annotations, const json_t *spec,
             const json_t *old, bool established, struct violations *v)
{
    check_name(v, name, spec);
    check_group(v, text_at(spec, "group"), annotations);
    check_names(v, json_object_get(spec, "names"));
    check_scope(v, text_at(spec, "scope"));
    check_versions(v, json_object_get(spec, "versions"));
    check_conversion(v, spec);
    if (old != NULL)
        check_change(v, spec, old, established);
}
