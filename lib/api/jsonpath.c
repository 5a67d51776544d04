/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The JSONPath subset of printer columns, evaluated on canonical bytes, and the tree of
 * wanted members that lets one walk over an object find all columns.
 */
#include "api/kind_internal.h"
#include "base/mem.h"

#define STEPS_MAX 32

struct cursor {
    const char *text, *p;
    struct error *e;
};

static int
bad(const struct cursor *c, const char *what)
{
    return error_set(c->e, ERR_INVALID, "JSON path \"%.100s\": at character %zu: %s",
                     c->text, (size_t)(c->p - c->text) + 1, what);
}

static struct jsonpath_step *
add_step(struct jsonpath *p, enum jsonpath_op op)
{
    p->steps = xreallocarray(p->steps, p->n_steps + 1, sizeof(*p->steps));
    p->steps[p->n_steps] = (struct jsonpath_step){.op = op};
    return &p->steps[p->n_steps++];
}

static char *
canonical_key(const char *p, size_t n)
{
    auto_str s = STR_INIT(4096);

    jput_string(&s, p, n);
    return xstrndup(s.ptr + 1, s.len - 2);
}

static bool
name_char(char ch)
{
    return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') ||
           (ch >= '0' && ch <= '9') || ch == '_' || ch == '-' || ch == '/' || ch == '$';
}

/* .name, with "\." for a dot inside the name. */
static int
read_name(struct cursor *c, struct jsonpath *p)
{
    auto_str name = STR_INIT(512);

    while (name_char(*c->p) || (c->p[0] == '\\' && c->p[1] == '.')) {
        if (*c->p == '\\')
            c->p++;
        str_addc(&name, *c->p++);
    }
    if (name.len == 0 || name.toobig)
        return bad(c, "expected a member name");
    add_step(p, PATH_FIELD)->key = canonical_key(name.ptr, name.len);
    return 0;
}

/* c->p at a quote; the text between is appended to out as a JSON string. */
static int
read_quoted(struct cursor *c, struct str *out)
{
    auto_str text = STR_INIT(1024);
    char quote = *c->p++;

    while (*c->p != quote && *c->p != '\0') {
        if (*c->p == '\\' && c->p[1] != '\0')
            c->p++;
        str_addc(&text, *c->p++);
    }
    if (*c->p != quote)
        return bad(c, "quote is not closed");
    if (text.toobig)
        return bad(c, "text is too long");
    c->p++;
    jput_string(out, text.ptr, text.len);
    return 0;
}

static int read_steps(struct cursor *c, struct jsonpath *p, unsigned depth);

static void
skip_blanks(struct cursor *c)
{
    while (*c->p == ' ')
        c->p++;
}

static int
read_literal(struct cursor *c, struct jsonpath_step *s)
{
    auto_str raw = STR_INIT(4096), value = STR_INIT(4096);
    struct error ignored = ERROR_INIT;
    size_t n;
    int rc;

    if (*c->p == '"' || *c->p == '\'') {
        rc = read_quoted(c, &value);
        if (rc < 0)
            return rc;
        s->value = str_detach(&value);
        return 0;
    }
    n = strcspn(c->p, " )");
    str_add(&raw, c->p, n);
    if (jcanon(raw.ptr, raw.len, &value, &ignored) < 0 || value.ptr[0] == '{' ||
        value.ptr[0] == '[')
        return bad(c, "expected a value to compare with");
    c->p += n;
    s->value = str_detach(&value);
    return 0;
}

/* Behind "[?": (@.a.b == "x")] */
static int
read_filter(struct cursor *c, struct jsonpath *p, unsigned depth)
{
    struct jsonpath_step *s;
    int rc;

    if (depth > 0)
        return bad(c, "filter inside a filter");
    if (*c->p++ != '(')
        return bad(c, "expected '('");
    skip_blanks(c);
    if (*c->p++ != '@')
        return bad(c, "expected '@'");
    s = add_step(p, PATH_FILTER);
    s->sub = xnew(struct jsonpath);
    rc = read_steps(c, s->sub, depth + 1);
    if (rc < 0)
        return rc;
    skip_blanks(c);
    if ((c->p[0] == '=' || c->p[0] == '!') && c->p[1] == '=') {
        s->test = c->p[0] == '=' ? TEST_EQ : TEST_NE;
        c->p += 2;
        skip_blanks(c);
        rc = read_literal(c, s);
        if (rc < 0)
            return rc;
        skip_blanks(c);
    }
    if (c->p[0] != ')' || c->p[1] != ']')
        return bad(c, "expected ')]'");
    c->p += 2;
    return 0;
}

/* Behind "[". */
static int
read_bracket(struct cursor *c, struct jsonpath *p, unsigned depth)
{
    auto_str key = STR_INIT(2048);
    char *end;
    long index;

    if (*c->p == '?') {
        c->p++;
        return read_filter(c, p, depth);
    }
    if (*c->p == '*') {
        c->p++;
        add_step(p, PATH_WILDCARD);
    } else if (*c->p == '\'' || *c->p == '"') {
        int rc = read_quoted(c, &key);
        if (rc < 0)
            return rc;
        add_step(p, PATH_FIELD)->key = xstrndup(key.ptr + 1, key.len - 2);
    } else {
        index = strtol(c->p, &end, 10);
        if (end == c->p || index < -1000000 || index > 1000000)
            return bad(c, "expected an index, '*', a quoted name or a filter");
        c->p = end;
        add_step(p, PATH_INDEX)->index = index;
    }
    if (*c->p != ']')
        return bad(c, "expected ']'");
    c->p++;
    return 0;
}

static int
read_steps(struct cursor *c, struct jsonpath *p, unsigned depth)
{
    while (*c->p == '.' || *c->p == '[') {
        int rc;
        if (p->n_steps == STEPS_MAX)
            return bad(c, "too many steps");
        if (*c->p++ == '[')
            rc = read_bracket(c, p, depth);
        else if (*c->p == '.')
            rc = bad(c, "'..' is not supported");
        else if (*c->p == '[') /* ".[0]" */
            continue;
        else if (*c->p == '*') {
            c->p++;
            add_step(p, PATH_WILDCARD);
            rc = 0;
        } else
            rc = read_name(c, p);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int
jsonpath_compile(const char *text, struct jsonpath **ret, struct error *e)
{
    struct cursor c = {.text = text, .p = text, .e = e};
    struct jsonpath *p = xnew(struct jsonpath);
    bool braces = *c.p == '{';
    int rc;

    if (braces)
        c.p++;
    if (*c.p == '$')
        c.p++;
    rc = read_steps(&c, p, 0);
    if (rc == 0 && braces && *c.p++ != '}')
        rc = bad(&c, "expected '}'");
    if (rc == 0 && *c.p != '\0')
        rc = bad(&c, "expected '.' or '['");
    if (rc == 0 && p->n_steps == 0)
        rc = bad(&c, "empty path");
    if (rc < 0) {
        jsonpath_free(p);
        return rc;
    }
    *ret = p;
    return 0;
}

void
jsonpath_free(struct jsonpath *p)
{
    if (p == NULL)
        return;
    for (size_t i = 0; i < p->n_steps; i++) {
        free(p->steps[i].key);
        free(p->steps[i].value);
        jsonpath_free(p->steps[i].sub);
    }
    free(p->steps);
    free(p);
}

static bool
passes(const struct jsonpath_step *s, struct span v)
{
    struct span found;

    if (!jsonpath_from(s->sub, 0, v, &found))
        return false;
    switch (s->test) {
    case TEST_EXISTS:
        return true;
    case TEST_EQ:
        return span_eq(found, s->value);
    case TEST_NE:
        return !span_eq(found, s->value);
    }
    return false;
}

/* Items of an array, values of an object. */
static bool
next_child(struct span v, const char **cursor, struct span *ret)
{
    struct span key;

    return v.ptr[0] == '[' ? jscan_next_item(v, cursor, ret)
                           : jscan_next_member(v, cursor, &key, ret);
}

static bool
at_index(struct span v, long index, struct span *ret)
{
    const char *c = NULL;
    long n = 0;

    if (index < 0) {
        struct span x;
        while (jscan_next_item(v, &c, &x))
            n++;
        index += n;
        c = NULL;
        n = 0;
    }
    for (; index >= 0 && jscan_next_item(v, &c, ret); n++)
        if (n == index)
            return true;
    return false;
}

bool
jsonpath_from(const struct jsonpath *p, size_t from, struct span v, struct span *ret)
{
    const char *cursor = NULL;
    struct span child;

    for (; from < p->n_steps; from++) {
        const struct jsonpath_step *s = &p->steps[from];
        if (s->op == PATH_FIELD) {
            if (!jscan_member(v, s->key, &v))
                return false;
        } else if (s->op == PATH_INDEX) {
            if (!at_index(v, s->index, &v))
                return false;
        } else {
            while (v.len > 0 && next_child(v, &cursor, &child))
                if ((s->op == PATH_WILDCARD || passes(s, child)) &&
                    jsonpath_from(p, from + 1, child, ret))
                    return true;
            return false;
        }
    }
    *ret = v;
    return true;
}

bool
jsonpath_first(const struct jsonpath *p, struct span object, struct span *ret)
{
    return jsonpath_from(p, 0, object, ret);
}

static struct want *
want_child(struct want *w, const char *key)
{
    size_t i = 0, n = strlen(key);
    int d = 1;

    while (i < w->n_children &&
           (d = span_cmp((struct span){w->children[i].key, w->children[i].key_len},
                         (struct span){key, n})) < 0)
        i++;
    if (i < w->n_children && d == 0)
        return &w->children[i];
    w->children = xreallocarray(w->children, w->n_children + 1, sizeof(*w->children));
    memmove(&w->children[i + 1], &w->children[i],
            (w->n_children - i) * sizeof(*w->children));
    w->children[i] = (struct want){.key = xstrdup(key), .key_len = n};
    w->n_children++;
    return &w->children[i];
}

void
want_add(struct want *root, const struct jsonpath *p, uint16_t index, bool cell)
{
    struct want *w = root;
    uint16_t from = 0;

    while (from < p->n_steps && p->steps[from].op == PATH_FIELD)
        w = want_child(w, p->steps[from++].key);
    w->targets = xreallocarray(w->targets, w->n_targets + 1, sizeof(*w->targets));
    w->targets[w->n_targets++] = (struct want_target){
        .index = index, .cell = cell, .path = from < p->n_steps ? p : NULL, .from = from};
}

void
want_done(struct want *w)
{
    for (size_t i = 0; i < w->n_children; i++)
        want_done(&w->children[i]);
    free(w->children);
    free(w->targets);
    free(w->key);
    *w = (struct want){0};
}
