/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From an openAPIV3Schema to the compiled form. Only structural schemas, as Kubernetes
 * asks for them; a keyword that this server cannot check is refused here rather than
 * ignored later (CEL rules). Constraints are read by schema_keywords.c, allOf and the
 * like by schema_logic.c.
 */
#include "api/schema_internal.h"
#include "base/mem.h"

#define FIELDS_MAX 5000
#define DEPTH_MAX 90

static struct schema *compile(const json_t *doc, const char *path, unsigned depth,
                              struct violations *v);

static const struct {
    const char *name;
    enum schema_type type;
} types[] = {
    {"object", SCHEMA_OBJECT},   {"array", SCHEMA_ARRAY},   {"string", SCHEMA_STRING},
    {"integer", SCHEMA_INTEGER}, {"number", SCHEMA_NUMBER}, {"boolean", SCHEMA_BOOLEAN},
};

/* A node without a type, in the words for where it stands. */
static void
miss_type(const char *path, struct violations *v)
{
    autofree char *at = xasprintf("%s.type", path);
    const char *why = "must not be empty for specified object fields";

    if (str_ends(path, ".items"))
        why = "must not be empty for specified array items";
    else if (str_ends(path, ".openAPIV3Schema"))
        why = "must not be empty at the root";
    violations_add(v, VIOLATION_REQUIRED, at, NULL, "%s", why);
}

static void
read_type(struct schema *s, const json_t *doc, const char *path, struct violations *v)
{
    const char *name = json_string_value(json_object_get(doc, "type"));
    bool int_or_string = json_is_true(json_object_get(doc, "x-kubernetes-int-or-string"));

    s->preserve_unknown =
        json_is_true(json_object_get(doc, "x-kubernetes-preserve-unknown-fields"));
    if (int_or_string) {
        s->type = SCHEMA_INT_OR_STRING;
        if (name != NULL)
            violations_add(v, VIOLATION_FORBIDDEN, path, NULL,
                           "type must be absent beside x-kubernetes-int-or-string");
        return;
    }
    if (name == NULL) {
        if (!s->preserve_unknown)
            miss_type(path, v);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        if (streq(types[i].name, name)) {
            s->type = types[i].type;
            return;
        }
    }
    autofree char *at = xasprintf("%s.type", path), *shown = NULL;
    shown = json_dumps(json_object_get(doc, "type"), JSON_ENCODE_ANY);
    if (streq(name, "null"))
        violations_add(v, VIOLATION_FORBIDDEN, at, NULL,
                       "type cannot be set to null, use nullable as an alternative");
    violations_add(v, VIOLATION_NOT_SUPPORTED, at, shown,
                   "supported values: \"array\", \"boolean\", \"integer\", \"number\", "
                   "\"object\", \"string\"");
}

struct schema_field *
schema_put_field(struct schema *s, const char *key, struct schema *sub)
{
    auto_str quoted = STR_INIT(SIZE_MAX / 2);
    struct span k;
    size_t i = 0, hi = s->n_fields;

    jput_stringz(&quoted, key);
    k = (struct span){quoted.ptr + 1, quoted.len - 2};
    while (i < hi) {
        size_t mid = i + (hi - i) / 2;
        if (span_cmp((struct span){s->fields[mid].key, s->fields[mid].key_len}, k) < 0)
            i = mid + 1;
        else
            hi = mid;
    }
    if (i < s->n_fields &&
        span_same((struct span){s->fields[i].key, s->fields[i].key_len}, k)) {
        if (sub != NULL) {
            schema_free(s->fields[i].schema);
            s->fields[i].schema = sub;
        }
        return &s->fields[i];
    }
    s->fields = xreallocarray(s->fields, s->n_fields + 1, sizeof(*s->fields));
    memmove(&s->fields[i + 1], &s->fields[i], (s->n_fields - i) * sizeof(*s->fields));
    s->n_fields++;
    s->fields[i] = (struct schema_field){
        .key = xstrndup(k.ptr, k.len), .key_len = k.len, .schema = sub};
    return &s->fields[i];
}

static void
read_properties(struct schema *s, const json_t *doc, const char *path, unsigned depth,
                struct violations *v)
{
    json_t *props = json_object_get(doc, "properties"), *sub;
    const char *key;

    if (props == NULL)
        return;
    if (!json_is_object(props) || json_object_size(props) > FIELDS_MAX) {
        schema_complain(v, path, "properties", NULL,
                        "must be a map of at most 5000 schemas");
        return;
    }
    if (s->type != SCHEMA_OBJECT && s->type != SCHEMA_ANY)
        schema_complain(v, path, "properties", NULL, "needs type object");
    json_object_foreach (props, key, sub) {
        autofree char *at = xasprintf("%s.properties[%s]", path, key);
        struct schema *c = compile(sub, at, depth + 1, v);
        if (c != NULL)
            schema_put_field(s, key, c);
    }
}

static void
read_additional(struct schema *s, const json_t *doc, const char *path, unsigned depth,
                struct violations *v)
{
    json_t *more = json_object_get(doc, "additionalProperties");
    autofree char *at = xasprintf("%s.additionalProperties", path);

    if (more == NULL)
        return;
    if (json_is_false(more)) {
        violations_add(v, VIOLATION_FORBIDDEN, at, NULL,
                       "additionalProperties cannot be set to false");
    } else if (json_object_size(json_object_get(doc, "properties")) > 0) {
        violations_add(v, VIOLATION_FORBIDDEN, at, NULL,
                       "additionalProperties and properties are mutual exclusive");
    } else if (s->type != SCHEMA_OBJECT) {
        violations_add(v, VIOLATION_FORBIDDEN, at, NULL, "needs type object");
    } else if (json_is_true(more)) {
        s->additional_any = true;
    } else {
        s->additional = compile(more, at, depth + 1, v);
    }
}

static void
read_items(struct schema *s, const json_t *doc, const char *path, unsigned depth,
           struct violations *v)
{
    json_t *items = json_object_get(doc, "items");
    autofree char *at = xasprintf("%s.items", path);

    if (items == NULL) {
        if (s->type == SCHEMA_ARRAY)
            violations_add(v, VIOLATION_REQUIRED, at, NULL, "must be specified");
        return;
    }
    if (s->type != SCHEMA_ARRAY)
        violations_add(v, VIOLATION_FORBIDDEN, at, NULL, "needs type array");
    s->items = compile(items, at, depth + 1, v);
}

void
schema_read_required(struct schema *s, const json_t *doc, const char *path,
                     struct violations *v)
{
    json_t *list = json_object_get(doc, "required"), *item;
    size_t i;

    if (list == NULL)
        return;
    if (!json_is_array(list) || json_array_size(list) > FIELDS_MAX) {
        schema_complain(v, path, "required", NULL,
                        "must be a list of at most 5000 names");
        return;
    }
    json_array_foreach (list, i, item) {
        const char *key = json_string_value(item);
        if (key == NULL)
            schema_complain(v, path, "required", item, "must be a list of strings");
        else
            schema_put_field(s, key, NULL)->required = true;
    }
}

void
schema_set_needed(struct schema *s)
{
    free(s->needed);
    s->needed = xcalloc(s->n_fields + 1,
                        sizeof(*s->needed)); /* NOLINT(bugprone-sizeof-expression) */
    s->n_needed = 0;
    for (size_t i = 0; i < s->n_fields; i++) {
        struct schema_field *f = &s->fields[i];
        if (f->required || (f->schema != NULL && f->schema->default_json != NULL))
            s->needed[s->n_needed++] = f;
    }
}

/* The default must satisfy its own schema, and gets the defaults inside it. */
static void
read_default(struct schema *s, const json_t *doc, const char *path, struct violations *v)
{
    const json_t *value = json_object_get(doc, "default");
    autofree char *at = xasprintf("%s.default", path);
    autofree char *text = NULL;
    auto_str out = STR_INIT(1u << 20);
    struct error e = ERROR_INIT;
    auto_violations found = {0};
    size_t before = violations_errors(v), errors, unknown = 0;

    if (value == NULL)
        return;
    text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    if (text == NULL || before > 0) /* the schema around it is already refused */
        return;
    if (decode_text(s, at, span_of(text), &out, &found, &errors, &e) < 0) {
        violations_add(v, VIOLATION_INVALID, at, NULL, "%s", e.msg);
        return;
    }
    vec_foreach (x, &found.list) {
        if (x->reason != VIOLATION_UNKNOWN && x->reason != VIOLATION_DUPLICATE_KEY)
            violations_take(v, x);
        else if (++unknown == 1)
            violations_add(v, VIOLATION_INVALID, at, text,
                           "must not have unknown fields");
    }
    if (errors > 0 || unknown > 0)
        return;
    s->default_len = out.len;
    s->default_json = str_detach(&out);
}

static struct schema *
object_meta(void)
{
    json_error_t err;
    json_t *doc = json_loads(schema_object_meta, 0, &err);
    struct violations v = {0};
    struct schema *s;

    bug_if(doc == NULL);
    s = compile(doc, "metadata", 0, &v);
    bug_if(s == NULL || v.list.len > 0);
    violations_done(&v);
    json_decref(doc);
    return s;
}

static struct schema *
plain_string(void)
{
    struct schema *s = schema_new();

    s->type = SCHEMA_STRING;
    return s;
}

/* What the schema says of the field, taken from it; NULL when it says nothing. */
static struct schema *
take_field(struct schema *s, const char *key)
{
    struct schema_field *f =
        (struct schema_field *)(uintptr_t)schema_find(s, span_of(key));

    if (f == NULL)
        return NULL;
    struct schema *sub = f->schema;
    f->schema = NULL;
    return sub;
}

/* Schemas may restrict name and generateName; all else of metadata is as it is. */
static void
put_identity(struct schema *s)
{
    static const char *const names[] = {"name", "generateName"};
    struct schema *own = take_field(s, "metadata"), *meta = object_meta();

    for (size_t i = 0; own != NULL && i < ARRAY_LEN(names); i++) {
        struct schema *sub = take_field(own, names[i]);
        if (sub != NULL)
            schema_put_field(meta, names[i], sub);
    }
    schema_free(own);
    schema_set_needed(meta);
    schema_put_field(s, "apiVersion", plain_string());
    schema_put_field(s, "kind", plain_string());
    schema_put_field(s, "metadata", meta);
}

static void
read_embedded(struct schema *s, const json_t *doc)
{
    if (!json_is_true(json_object_get(doc, "x-kubernetes-embedded-resource")))
        return;
    if (s->type != SCHEMA_OBJECT)
        return; /* said by schema_check_node */
    put_identity(s);
    schema_put_field(s, "apiVersion", NULL)->required = true;
    schema_put_field(s, "kind", NULL)->required = true;
}

struct schema *
schema_new(void)
{
    struct schema *s = xnew(struct schema);

    s->max_len = s->max_items = s->max_members = SCHEMA_NO_LIMIT;
    return s;
}

static struct schema *
compile(const json_t *doc, const char *path, unsigned depth, struct violations *v)
{
    struct schema *s;

    if (!json_is_object(doc)) {
        violations_add(v, VIOLATION_INVALID, path, NULL, "must be a schema object");
        return NULL;
    }
    if (depth > DEPTH_MAX) {
        violations_add(v, VIOLATION_INVALID, path, NULL, "nested too deeply");
        return NULL;
    }
    s = schema_new();
    schema_check_keywords(doc, path, v);
    schema_check_node(doc, path, v);
    read_type(s, doc, path, v);
    read_properties(s, doc, path, depth, v);
    read_additional(s, doc, path, depth, v);
    read_items(s, doc, path, depth, v);
    schema_read_required(s, doc, path, v);
    read_embedded(s, doc);
    schema_read_constraints(s, doc, path, v);
    schema_read_logic(s, doc, path, v);
    schema_set_needed(s);
    read_default(s, doc, path, v);
    return s;
}

struct schema *
schema_compile(const json_t *doc, const char *path, struct violations *v)
{
    size_t before = violations_errors(v);
    struct schema *s = compile(doc, path, 0, v);

    if (violations_errors(v) > before) {
        schema_free(s);
        return NULL;
    }
    return s;
}

struct schema *
schema_compile_root(const json_t *doc, const char *path, struct violations *v)
{
    bool sound = schema_check_root(doc, path, v);
    struct schema *s = schema_compile(doc, path, v);

    if (s == NULL)
        return NULL;
    if (!sound) {
        schema_free(s);
        return NULL;
    }
    if (s->type != SCHEMA_OBJECT)
        schema_complain(v, path, "type", json_object_get(doc, "type"),
                        "must be object at the root");
    if (s->additional != NULL || s->additional_any) {
        autofree char *at = xasprintf("%s.additionalProperties", path);
        violations_add(v, VIOLATION_FORBIDDEN, at, NULL, "must not be used at the root");
    }
    if (s->type != SCHEMA_OBJECT || s->additional != NULL || s->additional_any) {
        schema_free(s);
        return NULL;
    }
    put_identity(s);
    schema_set_needed(s);
    return s;
}
