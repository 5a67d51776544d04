/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one pass: tokens along a compiled schema, canonical bytes out. An object's members
 * are written as they come and noted; when it closes they are sorted if need be, checked
 * against what must be there, and defaults are added. Nothing is looked at twice unless a
 * constraint asks for it. Recursion is bounded by the tokenizer's depth.
 */
#include <stdarg.h>

#include "api/kind_internal.h"

void
decode_path(const struct decode *d, const struct decode_frame *f, struct str *out)
{
    const struct decode_frame *chain[JTOK_MAX_DEPTH + 2];
    size_t n = 0;

    for (; f != NULL && n < ARRAY_LEN(chain); f = f->up)
        chain[n++] = f;
    str_adds(out, d->base);
    while (n-- > 0) {
        struct jtok key = {.type = JTOK_KEY, .text = chain[n]->key};
        if (chain[n]->up == NULL)
            continue; /* the root */
        if (chain[n]->key.ptr == NULL) {
            str_addf(out, "[%zu]", chain[n]->index);
            continue;
        }
        if (out->len > 0)
            str_addc(out, '.');
        key.escaped =
            key.text.len > 0 && memchr(key.text.ptr, '\\', key.text.len) != NULL;
        jtok_unescape(&key, out);
    }
}

#define PATH_MAX_LEN 2048

/* What an unchanged value may go on being, as in Kubernetes: not what is missing or
 * double. */
static bool
is_ratcheted(enum violation_reason reason)
{
    return reason == VIOLATION_INVALID || reason == VIOLATION_NOT_SUPPORTED ||
           reason == VIOLATION_TOO_LONG || reason == VIOLATION_TOO_MANY ||
           reason == VIOLATION_TYPE;
}

void
decode_violation(struct decode *d, const struct decode_frame *f,
                 enum violation_reason reason, const char *value, const char *fmt, ...)
{
    auto_str path = STR_INIT(PATH_MAX_LEN);
    char text[1024];
    va_list ap;

    if ((d->quiet && is_ratcheted(reason)) ||
        (d->doubles_ok && reason == VIOLATION_DUPLICATE))
        return;
    decode_path(d, f, &path);
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (reason != VIOLATION_UNKNOWN && reason != VIOLATION_DUPLICATE_KEY)
        d->errors++;
    violations_add(d->v, reason, path.ptr, value, "%s", text);
}

static const char *
token_name(const struct jtok *t)
{
    switch (t->type) {
    case JTOK_OBJECT:
        return "object";
    case JTOK_ARRAY:
        return "array";
    case JTOK_STRING:
        return "string";
    case JTOK_NUMBER:
        return t->integer ? "integer" : "number";
    case JTOK_TRUE:
    case JTOK_FALSE:
        return "boolean";
    case JTOK_NULL:
        return "null";
    case JTOK_END:
    case JTOK_OBJECT_END:
    case JTOK_ARRAY_END:
    case JTOK_KEY:
        break;
    }
    return "nothing";
}

static const char *
schema_type_name(enum schema_type t)
{
    static const char *const names[] = {
        [SCHEMA_ANY] = "any",         [SCHEMA_OBJECT] = "object",
        [SCHEMA_ARRAY] = "array",     [SCHEMA_STRING] = "string",
        [SCHEMA_INTEGER] = "integer", [SCHEMA_NUMBER] = "number",
        [SCHEMA_BOOLEAN] = "boolean", [SCHEMA_INT_OR_STRING] = "integer or string",
    };
    return names[t];
}

/* The value is kept as it is: objects that are stored already are not thrown away for it.
 */
static int
mismatch(struct decode *d, const struct schema *s, const struct decode_frame *f,
         const struct jtok *t)
{
    auto_str path = STR_INIT(PATH_MAX_LEN);
    char value[16];

    decode_path(d, f, &path);
    snprintf(value, sizeof(value), "\"%s\"", token_name(t));
    decode_violation(d, f, VIOLATION_TYPE, value, "%s in body must be of type %s: %s",
                     path.ptr, schema_type_name(s->type), value);
    return decode_value(d, &schema_any, f, t);
}

static int
skip_value(struct decode *d, const struct jtok *t)
{
    if (t->type == JTOK_OBJECT || t->type == JTOK_ARRAY)
        return jtok_skip(&d->r, d->e);
    return 0;
}

static int
nul_error(struct decode *d, const struct decode_frame *f)
{
    auto_str path = STR_INIT(200);

    decode_path(d, f, &path);
    return error_set(d->e, ERR_BAD_REQUEST, "%s: a NUL character is not allowed",
                     path.ptr);
}

/* --- objects
 * ---------------------------------------------------------------------------- */

struct object_pass {
    const struct schema *s;
    const struct decode_frame *frame;
    size_t start, first; /* of the bytes, of the members */
    size_t hint;         /* the field that probably comes next */
    bool sorted;
    struct ratchet_walk walk;
};

/* Clients mostly send members in order, so the next field is mostly the one after. */
static const struct schema_field *
find_field(struct object_pass *p, struct span key)
{
    const struct schema *s = p->s;
    const struct schema_field *f;

    for (size_t i = p->hint; i < s->n_fields && i < p->hint + 2; i++) {
        f = &s->fields[i];
        if (f->key_len == key.len && memcmp(f->key, key.ptr, key.len) == 0) {
            p->hint = i + 1;
            return f;
        }
    }
    f = schema_find(s, key);
    if (f != NULL)
        p->hint = (size_t)(f - s->fields) + 1;
    return f;
}

static const struct schema *
sub_schema(struct object_pass *p, struct span key)
{
    const struct schema *s = p->s;

    if (s->n_fields > 0) {
        const struct schema_field *f = find_field(p, key);
        if (f != NULL && f->schema != NULL)
            return f->schema;
    }
    if (s->additional != NULL)
        return s->additional;
    return s->preserve_unknown || s->additional_any ? &schema_any : NULL;
}

static int
decode_member(struct decode *d, struct object_pass *p, const struct jtok *key)
{
    struct decode_frame frame = {.up = p->frame, .key = key->text};
    struct canon_member m = {.seq = d->c->members.len};
    size_t before = d->out->len;
    const struct schema *sub;
    struct span name;
    struct jtok t;
    int rc;

    if (d->c->members.len > p->first)
        put_char(d->out, ',');
    m.off = d->out->len;
    put_char(d->out, '"');
    if (!canon_text(d->out, key))
        return nul_error(d, p->frame);
    m.key_len = d->out->len - m.off - 1;
    put(d->out, "\":", 2);
    if (d->out->toobig)
        return error_set(d->e, ERR_TOO_LARGE, "object larger than %zu bytes",
                         d->out->max);
    name = canon_key(d->out, &m);
    sub = sub_schema(p, name);
    if (p->sorted && d->c->members.len > p->first) {
        const struct canon_member *last = &d->c->members.items[d->c->members.len - 1];
        p->sorted = span_cmp(canon_key(d->out, last), name) < 0;
    }
    rc = jtok_next(&d->r, &t, d->e);
    if (rc < 0)
        return rc;
    if (sub == NULL)
        decode_violation(d, &frame, VIOLATION_UNKNOWN, NULL, "%s", "");
    bool missing = sub != NULL && t.type == JTOK_NULL && !sub->nullable;
    /* The default of a field comes when the object is complete. */
    bool filled = missing && sub == p->s->additional && sub->default_json != NULL;
    if (sub == NULL || (missing && !filled)) {
        str_truncate(d->out, before);
        return skip_value(d, &t);
    }
    struct span old = d->old;
    if (d->ratchet)
        d->old = p->frame->up == NULL && span_eq(key->text, "metadata")
                     ? (struct span){0}
                     : ratchet_member(old, &p->walk, key->text);
    rc = decode_value(d, sub, &frame, &t);
    d->old = old;
    if (rc < 0)
        return rc;
    m.len = d->out->len - m.off;
    vec_push(&d->c->members, m);
    return 0;
}

struct dup_arg {
    struct decode *d;
    const struct decode_frame *up;
};

static void
report_dup(void *arg, struct span key)
{
    struct dup_arg *a = arg;
    struct decode_frame f = {.up = a->up, .key = key};

    decode_violation(a->d, &f, VIOLATION_DUPLICATE_KEY, NULL, "%s", "");
}

static void
add_default(struct decode *d, struct object_pass *p, const struct schema_field *field)
{
    struct canon_member m = {.seq = d->c->members.len, .key_len = field->key_len};

    if (d->c->members.len > p->first)
        put_char(d->out, ',');
    m.off = d->out->len;
    put_char(d->out, '"');
    put(d->out, field->key, field->key_len);
    put(d->out, "\":", 2);
    put(d->out, field->schema->default_json, field->schema->default_len);
    m.len = d->out->len - m.off;
    if (d->out->toobig)
        return; /* the caller sees it; the key could not be compared */
    if (p->sorted && d->c->members.len > p->first) {
        const struct canon_member *last = &d->c->members.items[d->c->members.len - 1];
        p->sorted = span_cmp(canon_key(d->out, last), canon_key(d->out, &m)) < 0;
    }
    vec_push(&d->c->members, m);
}

/* Members are sorted: one walk beside the fields that must be there. */
static void
fill_needed(struct decode *d, struct object_pass *p)
{
    size_t i = p->first, n = d->c->members.len;

    for (size_t k = 0; k < p->s->n_needed && !d->out->toobig; k++) {
        const struct schema_field *field = p->s->needed[k];
        struct span want = {field->key, field->key_len};
        int c = 1;
        while (i < n &&
               (c = span_cmp(canon_key(d->out, &d->c->members.items[i]), want)) < 0)
            i++;
        if (i < n && c == 0)
            continue;
        if (field->schema != NULL && field->schema->default_json != NULL) {
            add_default(d, p, field);
        } else {
            struct decode_frame f = {.up = p->frame, .key = want};
            decode_violation(d, &f, VIOLATION_REQUIRED, NULL, "%s", "");
        }
    }
}

static int
decode_object(struct decode *d, const struct schema *s, const struct decode_frame *f)
{
    struct object_pass p = {.s = s,
                            .frame = f,
                            .start = d->out->len,
                            .first = d->c->members.len,
                            .sorted = true};
    bool arrived_sorted;
    struct jtok t;
    int rc;

    put_char(d->out, '{');
    while ((rc = jtok_next(&d->r, &t, d->e)) == 0 && t.type != JTOK_OBJECT_END) {
        rc = decode_member(d, &p, &t);
        if (rc < 0)
            return rc;
    }
    if (rc < 0)
        return rc;
    arrived_sorted = p.sorted;
    if (!arrived_sorted) {
        struct dup_arg arg = {d, f};
        canon_sort(d->c, d->out, p.first);
        canon_dedupe(d->c, d->out, p.first, report_dup, &arg);
        p.sorted = true;
    }
    if (s->n_needed > 0)
        fill_needed(d, &p);
    if (d->out->toobig)
        return error_set(d->e, ERR_TOO_LARGE, "object larger than %zu bytes",
                         d->out->max);
    if (!p.sorted)
        canon_sort(d->c, d->out, p.first);
    if (!p.sorted || !arrived_sorted)
        canon_assemble(d->c, d->out, p.start, p.first);
    put_char(d->out, '}');
    if (s->checked)
        decode_check_count(d, s, f, false, d->c->members.len - p.first);
    d->c->members.len = p.first;
    return 0;
}

/* --- arrays and scalars
 * ------------------------------------------------------------------ */

/* The value that begins with the token; only of canonical input. */
static struct span
span_at(const struct decode *d, const struct jtok *t)
{
    const char *p = d->r.start + t->offset;

    return (struct span){p, (size_t)(jscan_skip(p) - p)};
}

static int
decode_item(struct decode *d, const struct schema *s, const struct decode_frame *f,
            const struct jtok *t, bool keep)
{
    struct canon_member m = {.seq = f->index};
    int rc;

    if (f->index > 0)
        put_char(d->out, ',');
    m.off = d->out->len;
    rc = decode_value(d, s, f, t);
    if (rc < 0)
        return rc;
    m.len = d->out->len - m.off;
    if (keep)
        vec_push(&d->c->members, m);
    return 0;
}

static int
decode_array(struct decode *d, const struct schema *s, const struct decode_frame *f)
{
    const struct schema *items = s->items != NULL ? s->items : &schema_any;
    struct decode_frame frame = {.up = f};
    size_t first = d->c->members.len;
    bool keep = s->list_type != SCHEMA_LIST_ATOMIC;
    struct span old = d->old;
    struct jtok t;
    int rc;

    put_char(d->out, '[');
    while ((rc = jtok_next(&d->r, &t, d->e)) == 0 && t.type != JTOK_ARRAY_END) {
        if (d->ratchet)
            d->old = ratchet_item(d, s, old, span_at(d, &t));
        rc = decode_item(d, items, &frame, &t, keep);
        d->old = old;
        if (rc < 0)
            return rc;
        frame.index++;
    }
    if (rc < 0)
        return rc;
    put_char(d->out, ']');
    if (s->checked)
        decode_check_count(d, s, f, true, frame.index);
    if (keep && !d->out->toobig)
        decode_check_unique(d, s, f, first);
    d->c->members.len = first;
    return 0;
}

static int
decode_string(struct decode *d, const struct decode_frame *f, const struct jtok *t)
{
    put_char(d->out, '"');
    if (!canon_text(d->out, t))
        return nul_error(d, f);
    put_char(d->out, '"');
    return 0;
}

/* A number of the right type; 1.0 is an integer, as in Kubernetes. */
static int
decode_number(struct decode *d, const struct schema *s, const struct decode_frame *f,
              const struct jtok *t)
{
    size_t start = d->out->len;
    int rc = canon_number(d->out, t, d->e);
    int64_t i;

    if (rc < 0)
        return rc;
    if (s->type != SCHEMA_INTEGER && s->type != SCHEMA_INT_OR_STRING)
        return 0;
    if (d->out->toobig ||
        jscan_int64((struct span){d->out->ptr + start, d->out->len - start}, &i))
        return 0;
    str_truncate(d->out, start);
    struct jtok number = *t; /* also what is whole but beyond int64 */
    number.integer = false;
    return mismatch(d, s, f, &number);
}

/* One bit per schema type: what each token may be. */
#define BIT(t) (1u << (t))
static const unsigned char fits[] = {
    [JTOK_OBJECT] = BIT(SCHEMA_ANY) | BIT(SCHEMA_OBJECT),
    [JTOK_ARRAY] = BIT(SCHEMA_ANY) | BIT(SCHEMA_ARRAY),
    [JTOK_STRING] = BIT(SCHEMA_ANY) | BIT(SCHEMA_STRING) | BIT(SCHEMA_INT_OR_STRING),
    [JTOK_NUMBER] = BIT(SCHEMA_ANY) | BIT(SCHEMA_INTEGER) | BIT(SCHEMA_NUMBER) |
                    BIT(SCHEMA_INT_OR_STRING),
    [JTOK_TRUE] = BIT(SCHEMA_ANY) | BIT(SCHEMA_BOOLEAN),
    [JTOK_FALSE] = BIT(SCHEMA_ANY) | BIT(SCHEMA_BOOLEAN),
    [JTOK_NULL] = 0,
};

static int
decode_one(struct decode *d, const struct schema *s, const struct decode_frame *f,
           const struct jtok *t)
{
    size_t start = d->out->len;
    int rc = 0;

    if (d->out->toobig)
        return error_set(d->e, ERR_TOO_LARGE, "object larger than %zu bytes",
                         d->out->max);
    if (t->type == JTOK_NULL && s->nullable) {
        put(d->out, "null", 4);
        return 0;
    }
    if (t->type == JTOK_NULL && s->default_json != NULL) {
        put(d->out, s->default_json, s->default_len);
        return 0;
    }
    if ((fits[t->type] & BIT(s->type)) == 0)
        return mismatch(d, s, f, t);
    if (t->type == JTOK_OBJECT)
        rc = decode_object(d, s, f);
    else if (t->type == JTOK_ARRAY)
        rc = decode_array(d, s, f);
    else if (t->type == JTOK_STRING)
        rc = decode_string(d, f, t);
    else if (t->type == JTOK_NUMBER)
        rc = decode_number(d, s, f, t);
    else
        put(d->out, t->text.ptr, t->text.len);
    if (rc == 0 && s->checked && !d->out->toobig) {
        if (t->type != JTOK_OBJECT && t->type != JTOK_ARRAY)
            decode_check_scalar(d, s, f, start, t->type);
        if (s->n_enums > 0)
            decode_check_enum(d, s, f, start);
    }
    if (rc == 0 && s->logic != NULL && !d->out->toobig)
        rc = decode_check_logic(d, s, f, start);
    return rc;
}

int
decode_value(struct decode *d, const struct schema *s, const struct decode_frame *f,
             const struct jtok *t)
{
    bool quiet = d->quiet;
    int rc;

    if (!d->ratchet)
        return decode_one(d, s, f, t);
    if (d->old.len > 0 && span_same(d->old, span_at(d, t)))
        d->quiet = true;
    rc = decode_one(d, s, f, t);
    d->quiet = quiet;
    return rc;
}

/* --- whole texts
 * -------------------------------------------------------------------------- */

static int
decode_whole(struct decode *d, const struct schema *s, bool want_object)
{
    struct decode_frame root = {0};
    struct jtok t;
    int rc = jtok_next(&d->r, &t, d->e);

    if (rc < 0)
        return rc;
    if (want_object && t.type != JTOK_OBJECT)
        return error_set(d->e, ERR_BAD_REQUEST, "the body is not a JSON object but %s",
                         token_name(&t));
    rc = decode_value(d, s, &root, &t);
    if (rc == 0)
        rc = jtok_next(&d->r, &t, d->e);
    if (rc == 0 && d->out->toobig)
        rc = error_set(d->e, ERR_TOO_LARGE, "object larger than %zu bytes", d->out->max);
    return rc;
}

int
decode_text(const struct schema *s, const char *path, struct span in, struct str *out,
            struct violations *v, size_t *ret_errors, struct error *e)
{
    auto_canon *c = canon_take();
    struct decode d = {.c = c, .out = out, .v = v, .e = e, .base = path};
    int rc;

    jtok_init(&d.r, in.ptr, in.len);
    rc = decode_whole(&d, s, false);
    *ret_errors = d.errors;
    return rc;
}

/* "Object 'Kind' is missing in '...'", and other kinds than the one asked for. */
static int
check_identity(const struct kind *k, struct span object, struct span in, struct error *e)
{
    struct span version, kind;

    if (!jscan_member(object, "kind", &kind) || kind.len <= 2)
        return error_set(e, ERR_BAD_REQUEST, "Object 'Kind' is missing in '%.*s'",
                         (int)(in.len > 200 ? 200 : in.len), in.ptr);
    if (!jscan_member(object, "apiVersion", &version) || version.len <= 2)
        return error_set(e, ERR_BAD_REQUEST, "Object 'apiVersion' is missing in '%.*s'",
                         (int)(in.len > 200 ? 200 : in.len), in.ptr);
    if (!jscan_is(version, k->api_version))
        return error_set(e, ERR_BAD_REQUEST,
                         "the API version in the data (%.*s) does not match the expected "
                         "API version (%s)",
                         (int)(version.len > 100 ? 100 : version.len), version.ptr,
                         k->api_version);
    if (!jscan_is(kind, k->kind))
        return error_set(
            e, ERR_BAD_REQUEST,
            "the kind in the data (%.*s) does not match the expected kind (%s)",
            (int)(kind.len > 100 ? 100 : kind.len), kind.ptr, k->kind);
    return 0;
}

static int
decode_kind(struct decode *d, const struct kind *k, struct span in, struct str *out)
{
    size_t start = out->len;
    int rc;

    jtok_init(&d->r, in.ptr, in.len);
    rc = decode_whole(d, k->schema, true);
    if (rc == 0)
        rc = check_identity(k, (struct span){out->ptr + start, out->len - start}, in,
                            d->e);
    if (rc == 0 && d->errors > 0) {
        auto_str text = STR_INIT(400);
        violations_join(d->v, false, &text);
        rc = error_set(d->e, ERR_INVALID, "%s", text.ptr);
    }
    if (rc < 0)
        str_truncate(out, start);
    return rc;
}

int
kind_decode(const struct kind *k, struct span in, struct str *out, struct violations *v,
            struct error *e)
{
    auto_canon *c = canon_take();
    struct decode d = {.c = c, .out = out, .v = v, .e = e, .base = ""};

    if (in.len < out->max && out->len < out->max - in.len)
        str_reserve(out, in.len);
    return decode_kind(&d, k, in, out);
}

/* Items of sets and keys of list maps that are there twice. */
static bool
has_doubles(const struct kind *k, struct span object, size_t max)
{
    auto_str out = STR_INIT(max);
    auto_violations v = {0};
    struct error ignored = ERROR_INIT;
    size_t errors;

    if (decode_text(k->schema, "", object, &out, &v, &errors, &ignored) < 0)
        return false;
    vec_foreach (x, &v.list) {
        if (x->reason == VIOLATION_DUPLICATE)
            return true;
    }
    return false;
}

int
kind_decode_changed(const struct kind *k, struct span in, struct span old,
                    struct str *out, struct violations *v, struct error *e)
{
    auto_str full = STR_INIT(out->max);
    auto_violations first = {0};
    size_t errors;
    bool doubles = false;
    int rc = decode_text(k->schema, "", in, &full, &first, &errors, e);

    if (rc < 0)
        return rc;
    vec_foreach (x, &first.list) { /* what was pruned cannot be seen in the next pass */
        if (x->reason == VIOLATION_UNKNOWN || x->reason == VIOLATION_DUPLICATE_KEY)
            violations_add(v, x->reason, x->path, NULL, "%s", "");
        doubles = doubles || x->reason == VIOLATION_DUPLICATE;
    }
    auto_canon *c = canon_take();
    struct decode d = {.c = c,
                       .out = out,
                       .v = v,
                       .e = e,
                       .base = "",
                       .ratchet = true,
                       .doubles_ok = doubles && has_doubles(k, old, out->max),
                       .old = old};
    return decode_kind(&d, k, (struct span){full.ptr, full.len}, out);
}

int
kind_normalize(const struct kind *k, struct span in, struct str *out, struct error *e)
{
    auto_violations ignored = {0};
    size_t errors;

    return decode_text(k->schema, "", in, out, &ignored, &errors, e);
}
