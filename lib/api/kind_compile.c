/* SPDX-License-Identifier: Apache-2.0 */
/* From a CustomResourceDefinition to a served kind. */
#include <stdatomic.h>

#include "api/schema_internal.h"
#include "base/mem.h"

#define KIND_MAGIC 0x6b696e64u
#define COLUMNS_MAX 64
#define NAMES_MAX 64

static void
kind_free(struct kind *k)
{
    for (char **p = k->short_names; p != NULL && *p != NULL; p++)
        free(*p);
    for (char **p = k->categories; p != NULL && *p != NULL; p++)
        free(*p);
    for (char **p = k->selectable; p != NULL && *p != NULL; p++)
        free(*p);
    for (size_t i = 0; i < k->n_columns; i++) {
        free(k->columns[i].name);
        free(k->columns[i].type);
        free(k->columns[i].format);
        free(k->columns[i].description);
        jsonpath_free(k->columns[i].path);
    }
    free(k->short_names);
    free(k->categories);
    free(k->selectable);
    free(k->columns);
    free(k->group);
    free(k->version);
    free(k->plural);
    free(k->singular);
    free(k->kind);
    free(k->list_kind);
    free(k->resource);
    free(k->api_version);
    free(k->head);
    free(k->scale_spec);
    free(k->scale_status);
    free(k->scale_selector);
    free(k->deprecation_warning);
    schema_free(k->schema);
    if (k->wants != NULL)
        want_done(k->wants);
    free(k->wants);
    json_decref(k->openapi);
    k->magic = 0;
    free(k);
}

struct kind *
kind_ref(const struct kind *k)
{
    union {
        const struct kind *c;
        struct kind *m;
    } u = {.c = k}; /* the count is the only mutable part */

    bug_if(k->magic != KIND_MAGIC);
    atomic_fetch_add_explicit(&u.m->refs, 1, memory_order_relaxed);
    return u.m;
}

void
kind_unref(struct kind *k)
{
    if (k == NULL)
        return;
    bug_if(k->magic != KIND_MAGIC);
    if (atomic_fetch_sub_explicit(&k->refs, 1, memory_order_acq_rel) == 1)
        kind_free(k);
}

static char *
take_string(const json_t *from, const char *key, const char *fallback)
{
    const char *z = json_string_value(json_object_get(from, key));

    return xstrdup(z != NULL ? z : fallback);
}

static char *
need_string(const json_t *from, const char *key, const char *path, struct violations *v)
{
    const char *z = json_string_value(json_object_get(from, key));

    if (z == NULL || *z == '\0')
        violations_add(v, VIOLATION_REQUIRED, path, NULL, "%s", "");
    return xstrdup(z != NULL ? z : "");
}

static char **
take_strings(const json_t *list, const char *path, struct violations *v)
{
    size_t n = json_array_size(list), kept = 0;
    char **out;

    if (n > NAMES_MAX) {
        violations_add(v, VIOLATION_TOO_MANY, path, NULL, "must have at most %d items",
                       NAMES_MAX);
        n = 0;
    }
    out = xcalloc(n + 1, sizeof(*out));
    for (size_t i = 0; i < n; i++) {
        const char *z = json_string_value(json_array_get(list, i));
        if (z != NULL)
            out[kept++] = xstrdup(z);
    }
    return out;
}

static bool
annotation_is(const json_t *crd, const char *key, const char *value)
{
    const json_t *a = json_object_get(json_object_get(crd, "metadata"), "annotations");
    const char *z = json_string_value(json_object_get(a, key));

    return z != NULL && streq(z, value);
}

static void
read_names(struct kind *k, const json_t *crd, struct violations *v)
{
    const json_t *spec = json_object_get(crd, "spec");
    const json_t *names = json_object_get(spec, "names");
    const char *scope = json_string_value(json_object_get(spec, "scope"));
    const char *own =
        json_string_value(json_object_get(json_object_get(crd, "metadata"), "name"));
    autofree char *list = NULL;

    k->group = take_string(spec, "group", "");
    k->plural = need_string(names, "plural", "spec.names.plural", v);
    k->kind = need_string(names, "kind", "spec.names.kind", v);
    k->singular = take_string(names, "singular", "");
    if (k->singular[0] == '\0') {
        free(k->singular);
        k->singular = xstrdup(k->kind);
        for (char *p = k->singular; *p != '\0'; p++)
            if (*p >= 'A' && *p <= 'Z')
                *p = (char)(*p | 0x20);
    }
    list = xasprintf("%sList", k->kind);
    k->list_kind = take_string(names, "listKind", list);
    k->short_names =
        take_strings(json_object_get(names, "shortNames"), "spec.names.shortNames", v);
    k->categories =
        take_strings(json_object_get(names, "categories"), "spec.names.categories", v);
    k->resource = k->group[0] == '\0' ? xstrdup(k->plural)
                                      : xasprintf("%s.%s", k->plural, k->group);
    if (scope == NULL || (!streq(scope, "Namespaced") && !streq(scope, "Cluster")))
        violations_add(v, VIOLATION_NOT_SUPPORTED, "spec.scope", NULL,
                       "supported values: \"Cluster\", \"Namespaced\"");
    k->namespaced = scope != NULL && streq(scope, "Namespaced");
    if (own != NULL && !streq(own, k->resource)) {
        autofree char *shown = xasprintf("\"%.200s\"", own);
        violations_add(v, VIOLATION_INVALID, "metadata.name", shown,
                       "must be spec.names.plural+\".\"+spec.group");
    }
    k->builtin = annotation_is(crd, "drover.dev/builtin", "true");
    k->has_generation =
        !k->builtin || annotation_is(crd, "drover.dev/generation", "true");
    k->declared = !annotation_is(crd, "drover.dev/declared", "false");
    k->lazy = annotation_is(crd, "drover.dev/durability", "lazy");
    k->lazy_lease = annotation_is(crd, "drover.dev/durability", "lease");
    k->managed_on_apply = annotation_is(crd, "drover.dev/managed-fields", "on-apply");
}

static void
read_column(struct kind *k, const json_t *c, const char *path, struct violations *v)
{
    static const char *const types[] = {"integer", "number", "string", "boolean", "date"};
    const char *text = json_string_value(json_object_get(c, "jsonPath"));
    autofree char *name_at = xasprintf("%s.name", path);
    autofree char *type_at = xasprintf("%s.type", path);
    autofree char *path_at = xasprintf("%s.jsonPath", path);
    struct kind_column *col = &k->columns[k->n_columns++];
    struct error e = ERROR_INIT;
    bool known = false;

    col->name = need_string(c, "name", name_at, v);
    col->type = need_string(c, "type", type_at, v);
    col->format = take_string(c, "format", "");
    col->description = take_string(c, "description", "");
    col->priority = (int)json_integer_value(json_object_get(c, "priority"));
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        known = known || streq(types[i], col->type);
    if (!known)
        violations_add(v, VIOLATION_NOT_SUPPORTED, type_at, NULL,
                       "supported values: integer, number, string, boolean, date");
    if (text == NULL)
        violations_add(v, VIOLATION_REQUIRED, path_at, NULL, "%s", "");
    else if (jsonpath_compile(text, &col->path, &e) < 0)
        violations_add(v, VIOLATION_INVALID, path_at, NULL, "%s", e.msg);
    else
        want_add(k->wants, col->path, (uint16_t)(k->n_columns - 1), true);
}

static void
read_columns(struct kind *k, const json_t *version, const char *path,
             struct violations *v)
{
    const json_t *list = json_object_get(version, "additionalPrinterColumns");
    size_t n = json_array_size(list);
    autofree char *at = xasprintf("%s.additionalPrinterColumns", path);

    if (n > COLUMNS_MAX) {
        violations_add(v, VIOLATION_TOO_MANY, at, NULL, "must have at most %d items",
                       COLUMNS_MAX);
        return;
    }
    k->columns = xcalloc(n + 1, sizeof(*k->columns));
    if (n == 0 && !k->builtin) { /* as in Kubernetes */
        json_t *age = json_pack("{s:s,s:s,s:s}", "name", "Age", "type", "date",
                                "jsonPath", ".metadata.creationTimestamp");
        read_column(k, age, at, v);
        json_decref(age);
    }
    for (size_t i = 0; i < n; i++) {
        autofree char *item = xasprintf("%s[%zu]", at, i);
        read_column(k, json_array_get(list, i), item, v);
    }
}

/* ".spec.x" without indexes and filters: what a field selector can name. */
static void
read_selectable_one(struct kind *k, const json_t *field, const char *path,
                    struct violations *v)
{
    const char *text = json_string_value(json_object_get(field, "jsonPath"));
    struct jsonpath *p = NULL;
    struct error e = ERROR_INIT;
    bool plain = text != NULL && text[0] == '.' && strpbrk(text, "[*\\") == NULL;

    if (!plain || jsonpath_compile(text, &p, &e) < 0) {
        violations_add(v, VIOLATION_INVALID, path, NULL,
                       "jsonPath must be a simple path such as .spec.x");
        return;
    }
    want_add(k->wants, p, (uint16_t)k->n_selectable, false);
    k->selectable[k->n_selectable++] = xstrdup(text + 1);
    jsonpath_free(p);
}

static void
read_selectable(struct kind *k, const json_t *version, const char *path,
                struct violations *v)
{
    const json_t *list = json_object_get(version, "selectableFields");
    size_t n = json_array_size(list);
    autofree char *at = xasprintf("%s.selectableFields", path);

    if (n > COLUMNS_MAX) {
        violations_add(v, VIOLATION_TOO_MANY, at, NULL, "must have at most %d items",
                       COLUMNS_MAX);
        n = 0;
    }
    k->selectable = xcalloc(n + 1, sizeof(*k->selectable));
    for (size_t i = 0; i < n; i++) {
        autofree char *item = xasprintf("%s[%zu]", at, i);
        read_selectable_one(k, json_array_get(list, i), item, v);
    }
}

static void
put_constant(struct schema *root, const char *key, const char *value)
{
    auto_str json = STR_INIT(1024);
    struct schema *s = schema_put_field(root, key, NULL)->schema;

    jput_stringz(&json, value);
    s->default_len = json.len;
    s->default_json = str_detach(&json);
}

static char *
scale_path(const json_t *scale, const char *key)
{
    const char *text = json_string_value(json_object_get(scale, key));

    return text == NULL || *text == '\0' ? NULL : xstrdup(text + (*text == '.'));
}

static void
read_subresources(struct kind *k, const json_t *version)
{
    const json_t *sub = json_object_get(version, "subresources");
    const json_t *scale = json_object_get(sub, "scale");

    k->has_status = json_object_get(sub, "status") != NULL;
    k->scale_spec = scale_path(scale, "specReplicasPath");
    k->scale_status = scale_path(scale, "statusReplicasPath");
    k->scale_selector = scale_path(scale, "labelSelectorPath");
}

static void
read_deprecation(struct kind *k, const json_t *version)
{
    const char *text = json_string_value(json_object_get(version, "deprecationWarning"));

    if (!json_is_true(json_object_get(version, "deprecated")))
        return;
    k->deprecation_warning =
        text != NULL ? xstrdup(text)
                     : xasprintf("%s %s is deprecated", k->api_version, k->kind);
}

#define FNV_START 2166136261u
#define FNV_PRIME 16777619u

static uint32_t
hash_text(uint32_t h, const char *text)
{
    for (; *text != '\0'; text++)
        h = (h ^ (unsigned char)*text) * FNV_PRIME;
    return (h ^ 0xff) * FNV_PRIME;
}

/* What decides which fact stands at which place. */
static void
set_shape(struct kind *k, const json_t *version)
{
    const json_t *columns = json_object_get(version, "additionalPrinterColumns");
    uint32_t h = FNV_START;

    if (k->n_columns == 0 && k->n_selectable == 0)
        return; /* 0, as objects of no kind */
    for (size_t i = 0; i < k->n_columns; i++) {
        const char *path =
            json_string_value(json_object_get(json_array_get(columns, i), "jsonPath"));
        h = hash_text(h, path == NULL ? "" : path);
    }
    h = hash_text(h, "|");
    for (size_t i = 0; i < k->n_selectable; i++)
        h = hash_text(h, k->selectable[i]);
    k->shape = h == 0 ? 1 : h;
}

static void
read_version(struct kind *k, const json_t *version, const char *path,
             struct violations *v)
{
    json_t *schema =
        json_object_get(json_object_get(version, "schema"), "openAPIV3Schema");
    autofree char *at = xasprintf("%s.schema.openAPIV3Schema", path);

    k->version = take_string(version, "name", "");
    k->api_version = k->group[0] == '\0' ? xstrdup(k->version)
                                         : xasprintf("%s/%s", k->group, k->version);
    k->head = xasprintf("{\"apiVersion\":\"%s\",", k->api_version);
    k->served = json_is_true(json_object_get(version, "served"));
    k->storage = json_is_true(json_object_get(version, "storage"));
    read_subresources(k, version);
    read_deprecation(k, version);
    k->wants = xnew(struct want);
    read_columns(k, version, path, v);
    read_selectable(k, version, path, v);
    set_shape(k, version);
    if (schema == NULL) {
        violations_add(v, VIOLATION_REQUIRED, at, NULL, "schemas are required");
        return;
    }
    k->schema = schema_compile_root(schema, at, v);
    if (k->builtin)
        schema_allow_no_bytes(k->schema);
    if (k->schema == NULL)
        return;
    k->openapi = json_deep_copy(schema);
    k->generation_from_all = schema_member(k->schema, "spec") == NULL;
    if (k->builtin) { /* typed clients leave them out; the URL says it */
        put_constant(k->schema, "apiVersion", k->api_version);
        put_constant(k->schema, "kind", k->kind);
        schema_set_needed(k->schema);
    }
}

static const json_t *
find_version(const json_t *crd, const char *name, size_t *ret_index)
{
    const json_t *list = json_object_get(json_object_get(crd, "spec"), "versions");

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *x = json_array_get(list, i);
        const char *z = json_string_value(json_object_get(x, "name"));
        if (z == NULL)
            continue;
        if (name != NULL ? streq(z, name) : json_is_true(json_object_get(x, "storage"))) {
            *ret_index = i;
            return x;
        }
    }
    return NULL;
}

int
kind_compile(const json_t *crd, const char *version, struct kind **ret,
             struct violations *v, struct error *e)
{
    size_t before = violations_errors(v), index;
    const json_t *doc;
    struct kind *k;
    char path[64];

    if (!json_is_object(json_object_get(crd, "spec")))
        return error_set(e, ERR_INVALID, "CustomResourceDefinition without spec");
    doc = find_version(crd, version, &index);
    if (doc == NULL)
        return error_set(
            e, ERR_NOT_FOUND, "CustomResourceDefinition without %s version %s",
            version == NULL ? "a storage" : "the", version == NULL ? "" : version);
    k = xnew(struct kind);
    k->magic = KIND_MAGIC;
    k->refs = 1;
    snprintf(path, sizeof(path), "spec.versions[%zu]", index);
    read_names(k, crd, v);
    read_version(k, doc, path, v);
    if (violations_errors(v) > before) {
        auto_str text = STR_INIT(400);
        violations_join(v, false, &text);
        kind_unref(k);
        return error_set(e, ERR_INVALID, "%s", text.ptr);
    }
    *ret = k;
    return 0;
}
