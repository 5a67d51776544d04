/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Selectors are lists of requirements that all must hold. A label's or field's raw bytes
 * are compared; grammar rules keep label values free of escapes.
 */
#include "api/selector.h"

#include "api/jtok_internal.h"
#include "api/values.h"
#include "base/mem.h"

#define TEXT_MAX 16384
#define REQUIREMENTS_MAX 256
#define VALUES_MAX 1024

enum selector_op {
    OP_EXISTS,
    OP_ABSENT,
    OP_IN,     /* = and == too */
    OP_NOT_IN, /* != too; holds without the key */
    OP_GREATER,
    OP_LESS,
};
enum selector_source { FROM_LABEL, FROM_NAME, FROM_NAMESPACE, FROM_FIELD };

struct requirement {
    enum selector_op op;
    enum selector_source source;
    size_t field; /* index of kind->selectable */
    char *key;
    vec(char *) values;
    int64_t number;
};
struct selector {
    vec(struct requirement) list;
};

void
selector_free(struct selector *s)
{
    if (s == NULL)
        return;
    vec_foreach (r, &s->list) {
        free(r->key);
        vec_foreach (v, &r->values)
            free(*v);
        vec_done(&r->values);
    }
    vec_done(&s->list);
    free(s);
}

/* --- parsing
 * -------------------------------------------------------------------------------- */

struct parse {
    const char *text, *p;
    struct error *e;
};

static int
bad(const struct parse *x, const char *what)
{
    return error_set(x->e, ERR_BAD_REQUEST,
                     "unable to parse requirement: %s at character %zu of \"%.200s\"",
                     what, (size_t)(x->p - x->text) + 1, x->text);
}

static void
blanks(struct parse *x)
{
    while (*x->p == ' ' || *x->p == '\t' || *x->p == '\n' || *x->p == '\r')
        x->p++;
}

static struct span
word(struct parse *x)
{
    size_t n = strcspn(x->p, " \t\r\n!=<>,()");
    struct span w = {x->p, n};

    x->p += n;
    return w;
}

static int
add_value(struct parse *x, struct requirement *r, struct span v)
{
    if (r->values.len == VALUES_MAX)
        return bad(x, "too many values");
    if (!value_is_label_value(v.ptr, v.len))
        return bad(x, "a value must be 63 characters or less of [A-Za-z0-9._-]");
    vec_push(&r->values, xstrndup(v.ptr, v.len));
    return 0;
}

/* (a, b) */
static int
value_list(struct parse *x, struct requirement *r)
{
    int rc;

    blanks(x);
    if (*x->p++ != '(') {
        x->p--;
        return bad(x, "expected '('");
    }
    for (;;) {
        blanks(x);
        rc = add_value(x, r, word(x));
        if (rc < 0)
            return rc;
        blanks(x);
        if (*x->p == ')')
            break;
        if (*x->p != ',')
            return bad(x, "expected ',' or ')'");
        x->p++;
    }
    x->p++;
    return 0;
}

static int
number_value(struct parse *x, struct requirement *r)
{
    struct span w;

    blanks(x);
    w = word(x);
    if (!jscan_int64(w, &r->number))
        return bad(x, "'>' and '<' compare with a whole number");
    return 0;
}

static int
single_value(struct parse *x, struct requirement *r)
{
    blanks(x);
    return add_value(x, r, word(x));
}

/* Behind the key. */
static int
operator(struct parse *x, struct requirement *r)
{
    struct span w;

    blanks(x);
    if (*x->p == '\0' || *x->p == ',')
        return 0; /* the key alone */
    if (*x->p == '=') {
        x->p += x->p[1] == '=' ? 2 : 1;
        r->op = OP_IN;
        return single_value(x, r);
    }
    if (x->p[0] == '!' && x->p[1] == '=') {
        x->p += 2;
        r->op = OP_NOT_IN;
        return single_value(x, r);
    }
    if (*x->p == '>' || *x->p == '<') {
        r->op = *x->p++ == '>' ? OP_GREATER : OP_LESS;
        return number_value(x, r);
    }
    w = word(x);
    if (span_eq(w, "in"))
        r->op = OP_IN;
    else if (span_eq(w, "notin"))
        r->op = OP_NOT_IN;
    else
        return bad(x, "expected =, ==, !=, in, notin, < or >");
    return value_list(x, r);
}

/* A new one at the end of the list; NULL when there are too many. */
static struct requirement *
add_requirement(struct selector *s)
{
    struct requirement r = {0};

    if (s->list.len == REQUIREMENTS_MAX)
        return NULL;
    vec_push(&s->list, r);
    return &s->list.items[s->list.len - 1];
}

static int
label_requirement(struct parse *x, struct selector *s)
{
    struct requirement *r = add_requirement(s);
    struct span key;

    if (r == NULL)
        return bad(x, "too many requirements");
    blanks(x);
    if (*x->p == '!') {
        x->p++;
        r->op = OP_ABSENT;
        blanks(x);
    }
    key = word(x);
    if (!value_is_label_key(key.ptr, key.len))
        return bad(x, "not a label key");
    r->key = xstrndup(key.ptr, key.len);
    if (r->op == OP_ABSENT)
        return 0;
    return operator(x, r);
}

static int
label_requirements(struct parse *x, struct selector *s)
{
    for (;;) {
        int rc = label_requirement(x, s);
        if (rc < 0)
            return rc;
        blanks(x);
        if (*x->p == '\0')
            return 0;
        if (*x->p != ',')
            return bad(x, "expected ','");
        x->p++;
    }
}

int
selector_parse_labels(const char *text, struct selector **ret, struct error *e)
{
    struct parse x = {.text = text, .p = text, .e = e};
    struct selector *s;
    int rc;

    if (text == NULL || *text == '\0') {
        *ret = NULL;
        return 0;
    }
    if (strlen(text) > TEXT_MAX)
        return error_set(e, ERR_BAD_REQUEST, "label selector is too long");
    s = xnew(struct selector);
    rc = label_requirements(&x, s);
    if (rc < 0) {
        selector_free(s);
        return rc;
    }
    *ret = s;
    return 0;
}

/* Labels of the field's own that are no paths: "source" of an Event. */
static const char *
path_of(const struct kind *k, const char *key)
{
    bool event = k != NULL && streq(k->resource, "events");

    return event && streq(key, "source") ? "source.component" : key;
}

static int
find_field(const struct kind *k, struct requirement *r, struct error *e)
{
    const char *path = path_of(k, r->key);

    if (streq(r->key, "metadata.name")) {
        r->source = FROM_NAME;
        return 0;
    }
    if (streq(r->key, "metadata.namespace")) {
        r->source = FROM_NAMESPACE;
        return 0;
    }
    r->source = FROM_FIELD;
    for (r->field = 0; k != NULL && r->field < k->n_selectable; r->field++)
        if (streq(k->selectable[r->field], path))
            return 0;
    return error_set(e, ERR_BAD_REQUEST, "field label not supported: %.200s", r->key);
}

/* Up to the next comma that is not escaped; backslash escapes backslash, comma, equals.
 */
static int
field_value(struct parse *x, struct requirement *r)
{
    auto_str v = STR_INIT(TEXT_MAX);

    for (; *x->p != '\0' && *x->p != ','; x->p++) {
        if (*x->p == '=')
            return bad(x, "'=' in a value must be escaped");
        if (*x->p == '\\') {
            x->p++;
            if (*x->p != '\\' && *x->p != ',' && *x->p != '=')
                return bad(x, "only \\\\, \\, and \\= are escapes");
        }
        str_addc(&v, *x->p);
    }
    vec_push(&r->values, str_detach(&v));
    return 0;
}

static int
field_requirement(const struct kind *k, struct parse *x, struct selector *s)
{
    struct requirement *r = add_requirement(s);
    size_t n = strcspn(x->p, "=!,");
    int rc;

    if (r == NULL)
        return bad(x, "too many requirements");
    r->key = xstrndup(x->p, n);
    x->p += n;
    r->op = OP_IN;
    if (*x->p == '!') {
        x->p++;
        r->op = OP_NOT_IN;
    }
    if (*x->p != '=')
        return bad(x, "expected =, == or !=");
    x->p += x->p[1] == '=' && r->op == OP_IN ? 2 : 1;
    rc = find_field(k, r, x->e);
    return rc < 0 ? rc : field_value(x, r);
}

static int
field_requirements(const struct kind *k, struct parse *x, struct selector *s)
{
    int rc = 0;

    while (rc == 0 && *x->p != '\0') {
        if (*x->p == ',') { /* empty terms are passed over */
            x->p++;
            continue;
        }
        rc = field_requirement(k, x, s);
    }
    return rc;
}

int
selector_parse_fields(const struct kind *k, const char *text, struct selector **ret,
                      struct error *e)
{
    struct parse x = {.text = text, .p = text, .e = e};
    struct selector *s;
    int rc;

    if (text == NULL || *text == '\0') {
        *ret = NULL;
        return 0;
    }
    if (strlen(text) > TEXT_MAX)
        return error_set(e, ERR_BAD_REQUEST, "field selector is too long");
    s = xnew(struct selector);
    rc = field_requirements(k, &x, s);
    if (rc < 0 || s->list.len == 0) {
        selector_free(s);
        s = NULL;
    }
    if (rc == 0)
        *ret = s;
    return rc;
}

/* --- matching
 * -------------------------------------------------------------------------------- */

/* Raw value; false when absent. Fields are never absent: without a value they are "". */
static bool
value_of(const struct requirement *r, const struct object *o, struct span *ret)
{
    struct span raw;

    switch (r->source) {
    case FROM_LABEL:
        return object_label(o, r->key, ret);
    case FROM_NAME:
        *ret = span_of(o->name);
        return true;
    case FROM_NAMESPACE:
        *ret = span_of(o->ns);
        return true;
    case FROM_FIELD:
        break;
    }
    *ret = (struct span){"", 0};
    if (r->field >= o->facts.n_fields)
        return true;
    raw = object_fact(o, o->facts.fields[r->field]);
    if (raw.len >= 2 && raw.ptr[0] == '"')
        *ret = (struct span){raw.ptr + 1, raw.len - 2};
    else if (raw.len > 0 &&
             raw.ptr[0] != 'n') /* numbers and booleans as they are written */
        *ret = raw;
    return true;
}

static bool
same(const struct requirement *r, struct span v, const char *want)
{
    if (r->source == FROM_FIELD && v.len > 0 && memchr(v.ptr, '\\', v.len) != NULL) {
        struct jtok t = {.type = JTOK_STRING, .text = v, .escaped = true};
        return jtok_eq(&t, want);
    }
    return span_eq(v, want);
}

static bool
one_of(const struct requirement *r, struct span v)
{
    for (size_t i = 0; i < r->values.len; i++)
        if (same(r, v, r->values.items[i]))
            return true;
    return false;
}

static bool
holds(const struct requirement *r, const struct object *o)
{
    struct span v = {"", 0};
    bool present = value_of(r, o, &v);
    int64_t n;

    switch (r->op) {
    case OP_EXISTS:
        return present;
    case OP_ABSENT:
        return !present;
    case OP_IN:
        return present && one_of(r, v);
    case OP_NOT_IN:
        return !present || !one_of(r, v);
    case OP_GREATER:
        return present && jscan_int64(v, &n) && n > r->number;
    case OP_LESS:
        return present && jscan_int64(v, &n) && n < r->number;
    }
    return false;
}

bool
selector_match(const struct selector *s, const struct object *o)
{
    if (s == NULL)
        return true;
    for (size_t i = 0; i < s->list.len; i++)
        if (!holds(&s->list.items[i], o))
            return false;
    return true;
}

const char *
selector_requires(const struct selector *s, const char *key)
{
    for (size_t i = 0; s != NULL && i < s->list.len; i++) {
        const struct requirement *r = &s->list.items[i];
        if (r->op == OP_IN && r->values.len == 1 && streq(r->key, key))
            return r->values.items[0];
    }
    return NULL;
}

const char *
selector_exact(const struct selector *s, const char **ret_key)
{
    for (size_t i = 0; s != NULL && i < s->list.len; i++) {
        const struct requirement *r = &s->list.items[i];
        if (r->op == OP_IN && r->values.len == 1) {
            *ret_key = r->key;
            return r->values.items[0];
        }
    }
    return NULL;
}
