/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON patch (RFC 6902) on trees. Works on a copy of the target, so a failing operation
 * leaves nothing behind. What copies may add in sum, and how deep anything may get, is
 * bounded before it is done: a chain of copies would double the document each time.
 */
#include <string.h>

#include "api/jtok.h"
#include "api/managed.h"
#include "api/managed_internal.h"
#include "api/object.h"
#include "api/patch_internal.h"

enum op { OP_ADD, OP_REMOVE, OP_REPLACE, OP_MOVE, OP_COPY, OP_TEST };

/* A JSON pointer, taken apart. */
struct pointer {
    const char *text;
    char *tokens[JTOK_MAX_DEPTH];
    size_t n;
};

struct operation {
    enum op op;
    struct pointer path, from;
    json_t *value; /* borrowed */
};

struct patch {
    json_t *doc;
    size_t grown; /* bytes that operations have put in */
};

static void
pointer_done(struct pointer *p)
{
    for (size_t i = 0; i < p->n; i++)
        free(p->tokens[i]);
    p->n = 0;
}

static void
operation_done(struct operation *o)
{
    pointer_done(&o->path);
    pointer_done(&o->from);
}

/* In place: ~1 is '/', ~0 is '~'. */
static bool
unescape(char *s)
{
    char *out = s;

    for (; *s != '\0'; s++) {
        if (*s != '~') {
            *out++ = *s;
            continue;
        }
        s++;
        if (*s != '0' && *s != '1')
            return false;
        *out++ = *s == '0' ? '~' : '/';
    }
    *out = '\0';
    return true;
}

static int
pointer_parse(const json_t *v, const char *key, struct pointer *ret, struct error *e)
{
    const char *s = json_string_value(v);

    if (s == NULL || strlen(s) != json_string_length(v))
        return error_set(e, ERR_BAD_REQUEST, "\"%s\" must be a JSON pointer", key);
    ret->text = s;
    if (*s != '\0' && *s != '/')
        return error_set(e, ERR_BAD_REQUEST, "\"%s\" must start with a slash: %.100s",
                         key, s);
    while (*s == '/') {
        size_t n = strcspn(s + 1, "/");
        if (ret->n == JTOK_MAX_DEPTH)
            return error_set(e, ERR_BAD_REQUEST, "\"%s\" has more than %d parts", key,
                             JTOK_MAX_DEPTH);
        ret->tokens[ret->n++] = xstrndup(s + 1, n);
        if (!unescape(ret->tokens[ret->n - 1]))
            return error_set(e, ERR_BAD_REQUEST,
                             "\"%s\": a tilde is written ~0 and a slash ~1: %.100s", key,
                             ret->text);
        s += n + 1;
    }
    return 0;
}

static int
operation_parse(const json_t *v, struct operation *ret, struct error *e)
{
    static const char *const names[] = {"add",  "remove", "replace",
                                        "move", "copy",   "test"};
    const char *name = json_string_value(json_object_get(v, "op"));
    size_t i = 0;

    while (name != NULL && i < ARRAY_LEN(names) && !streq(name, names[i]))
        i++;
    if (name == NULL || i == ARRAY_LEN(names))
        return error_set(e, ERR_BAD_REQUEST,
                         "\"op\" must be add, remove, replace, move, copy or test");
    ret->op = (enum op)i;
    int r = pointer_parse(json_object_get(v, "path"), "path", &ret->path, e);
    if (r == 0 && (ret->op == OP_MOVE || ret->op == OP_COPY))
        r = pointer_parse(json_object_get(v, "from"), "from", &ret->from, e);
    ret->value = json_object_get(v, "value");
    if (r == 0 && ret->value == NULL &&
        (ret->op == OP_ADD || ret->op == OP_REPLACE || ret->op == OP_TEST))
        return error_set(e, ERR_BAD_REQUEST, "\"value\" is missing in %s", name);
    return r;
}

static int
not_found(const struct pointer *p, struct error *e)
{
    return error_set(e, ERR_INVALID, "path not found: %.200s", p->text);
}

/* Index of an array's item: digits without leading zeros, below limit. */
static bool
array_index(const char *token, size_t limit, size_t *ret)
{
    size_t n = 0;

    if (*token == '\0' || (token[0] == '0' && token[1] != '\0'))
        return false;
    for (const char *p = token; *p != '\0'; p++) {
        if (*p < '0' || *p > '9' || n > limit)
            return false;
        n = n * 10 + (size_t)(*p - '0');
    }
    *ret = n;
    return n < limit;
}

/* NULL when there is no such child. Borrowed. */
static json_t *
child(const json_t *v, const char *token)
{
    size_t i;

    if (json_is_object(v))
        return json_object_get(v, token);
    if (json_is_array(v) && array_index(token, json_array_size(v), &i))
        return json_array_get(v, i);
    return NULL;
}

/* The value at the first n tokens. */
static json_t *
walk(json_t *doc, const struct pointer *p, size_t n)
{
    for (size_t i = 0; i < n && doc != NULL; i++)
        doc = child(doc, p->tokens[i]);
    return doc;
}

/* Takes v, on failure too. */
static int
put(struct patch *patch, const struct pointer *p, json_t *v, struct error *e)
{
    size_t i;
    int r = -1;

    if (p->n == 0) {
        json_decref(patch->doc);
        patch->doc = v;
        return 0;
    }
    json_t *parent = walk(patch->doc, p, p->n - 1);
    const char *last = p->tokens[p->n - 1];
    if (json_is_object(parent))
        r = json_object_set_new(parent, last, v);
    else if (json_is_array(parent) && streq(last, "-"))
        r = json_array_append_new(parent, v);
    else if (json_is_array(parent) && array_index(last, json_array_size(parent) + 1, &i))
        r = json_array_insert_new(parent, i, v);
    else
        json_decref(v);
    return r < 0 ? not_found(p, e) : 0;
}

static int
take_away(struct patch *patch, const struct pointer *p, struct error *e)
{
    size_t i;

    if (p->n == 0)
        return error_set(e, ERR_INVALID, "the whole document cannot be removed");
    json_t *parent = walk(patch->doc, p, p->n - 1);
    const char *last = p->tokens[p->n - 1];
    if (json_is_object(parent) && json_object_del(parent, last) == 0)
        return 0;
    if (json_is_array(parent) && array_index(last, json_array_size(parent), &i) &&
        json_array_remove(parent, i) == 0)
        return 0;
    return not_found(p, e);
}

static int
replace(struct patch *patch, const struct pointer *p, json_t *v, struct error *e)
{
    size_t i;
    int r = -1;

    if (walk(patch->doc, p, p->n) == NULL) {
        json_decref(v);
        return not_found(p, e);
    }
    if (p->n == 0)
        return put(patch, p, v, e);
    json_t *parent = walk(patch->doc, p, p->n - 1);
    const char *last = p->tokens[p->n - 1];
    if (json_is_object(parent))
        r = json_object_set_new(parent, last, v);
    else if (array_index(last, json_array_size(parent), &i))
        r = json_array_set_new(parent, i, v);
    else
        json_decref(v);
    return r < 0 ? not_found(p, e) : 0;
}

/* Refuses what would make the document too large or too deep. */
static int
charge(struct patch *patch, const struct pointer *p, const json_t *v, struct error *e)
{
    if (!patch_measure(v, JTOK_MAX_DEPTH - p->n, OBJECT_MAX_BYTES, &patch->grown))
        return error_set(e, ERR_TOO_LARGE,
                         "the patch would put in more than %u bytes or nest deeper than "
                         "%d levels",
                         OBJECT_MAX_BYTES, JTOK_MAX_DEPTH);
    return 0;
}

static bool
is_inside(const struct pointer *p, const struct pointer *of)
{
    if (p->n <= of->n)
        return false;
    for (size_t i = 0; i < of->n; i++) {
        if (!streq(p->tokens[i], of->tokens[i]))
            return false;
    }
    return true;
}

static int
transfer(struct patch *patch, const struct operation *o, struct error *e)
{
    json_t *v = walk(patch->doc, &o->from, o->from.n);

    if (v == NULL)
        return not_found(&o->from, e);
    int r = charge(patch, &o->path, v, e);
    if (r < 0)
        return r;
    if (o->op == OP_COPY)
        return put(patch, &o->path, json_deep_copy(v), e);
    if (is_inside(&o->path, &o->from))
        return error_set(e, ERR_INVALID, "a value cannot be moved into itself: %.200s",
                         o->path.text);
    if (streq(o->path.text, o->from.text))
        return 0;
    json_incref(v);
    r = take_away(patch, &o->from, e);
    if (r < 0) {
        json_decref(v);
        return r;
    }
    return put(patch, &o->path, v, e);
}

static int
test(struct patch *patch, const struct operation *o, struct error *e)
{
    const json_t *v = walk(patch->doc, &o->path, o->path.n);

    if (v == NULL)
        return not_found(&o->path, e);
    if (!managed_values_equal(v, o->value))
        return error_set(e, ERR_INVALID, "test failed: %.200s has another value",
                         o->path.text);
    return 0;
}

static int
run(struct patch *patch, const struct operation *o, struct error *e)
{
    int r;

    switch (o->op) {
    case OP_ADD:
    case OP_REPLACE:
        r = charge(patch, &o->path, o->value, e);
        if (r < 0)
            return r;
        return (o->op == OP_ADD ? put : replace)(patch, &o->path,
                                                 json_deep_copy(o->value), e);
    case OP_REMOVE:
        return take_away(patch, &o->path, e);
    case OP_MOVE:
    case OP_COPY:
        return transfer(patch, o, e);
    case OP_TEST:
        return test(patch, o, e);
    }
    return error_set(e, ERR_BAD_REQUEST, "unknown operation");
}

static int
run_all(struct patch *patch, const json_t *ops, struct error *e)
{
    for (size_t i = 0; i < json_array_size(ops); i++) {
        struct operation o = {.value = NULL};
        int r = operation_parse(json_array_get(ops, i), &o, e);
        if (r == 0)
            r = run(patch, &o, e);
        operation_done(&o);
        if (r < 0) {
            error_prepend(e, "operation %zu", i);
            if (e->code == ERR_INVALID)
                error_prepend(
                    e, "the server rejected our request due to an error in our request");
            return r;
        }
    }
    return patch_check_result(patch->doc, e);
}

int
patch_json(const json_t *target, const json_t *ops, json_t **ret, struct error *e)
{
    if (!json_is_array(ops))
        return error_set(e, ERR_BAD_REQUEST,
                         "a JSON patch must be an array of operations");
    if (json_array_size(ops) > PATCH_MAX_OPS)
        return error_set(e, ERR_TOO_LARGE,
                         "The allowed maximum operations in a JSON patch is %d, got %zu",
                         PATCH_MAX_OPS, json_array_size(ops));
    struct patch patch = {.doc = json_deep_copy(target)};
    int r = run_all(&patch, ops, e);
    if (r < 0)
        json_decref(patch.doc);
    else
        *ret = patch.doc;
    return r;
}
