/* SPDX-License-Identifier: Apache-2.0 */
/* Set algebra of field paths. Both operands are sorted, so each operation is one merge.
 */
#include "api/fieldset.h"

#include <string.h>

struct fieldset *
fieldset_new(void)
{
    return xnew(struct fieldset);
}

void
fieldset_free(struct fieldset *s)
{
    if (s == NULL)
        return;
    for (size_t i = 0; i < s->list.len; i++) {
        free(s->list.items[i].elem);
        fieldset_free(s->list.items[i].below);
    }
    vec_done(&s->list);
    free(s);
}

/* Index of elem, or where it belongs. */
static size_t
position(const struct fieldset *s, const char *elem, bool *ret_found)
{
    size_t lo = 0, hi = s->list.len;

    if (hi > 0 && strcmp(s->list.items[hi - 1].elem, elem) < 0)
        lo = hi; /* entries mostly come in order */
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = strcmp(s->list.items[mid].elem, elem);
        if (c == 0) {
            *ret_found = true;
            return mid;
        }
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    *ret_found = false;
    return lo;
}

const struct fieldset_entry *
fieldset_find(const struct fieldset *s, const char *elem)
{
    bool found;
    size_t i = position(s, elem, &found);

    return found ? &s->list.items[i] : NULL;
}

struct fieldset_entry *
fieldset_entry(struct fieldset *s, const char *elem)
{
    bool found;
    size_t i = position(s, elem, &found);

    if (!found) {
        struct fieldset_entry new = {.elem = xstrdup(elem)};
        vec_insert(&s->list, i, new);
    }
    return &s->list.items[i];
}

void
fieldset_drop(struct fieldset *s, const char *elem)
{
    bool found;
    size_t i = position(s, elem, &found);

    if (!found)
        return;
    free(s->list.items[i].elem);
    fieldset_free(s->list.items[i].below);
    vec_remove(&s->list, i);
}

bool
fieldset_is_empty(const struct fieldset *s)
{
    return s == NULL || s->list.len == 0;
}

void
fieldset_insert(struct fieldset *s, const struct fieldset_path *path)
{
    for (size_t i = 0; i < path->n; i++) {
        struct fieldset_entry *entry = fieldset_entry(s, path->elems[i]);
        if (i + 1 == path->n) {
            entry->member = true;
            return;
        }
        if (entry->below == NULL)
            entry->below = fieldset_new();
        s = entry->below;
    }
}

bool
fieldset_equal(const struct fieldset *a, const struct fieldset *b)
{
    if (fieldset_is_empty(a) || fieldset_is_empty(b))
        return fieldset_is_empty(a) && fieldset_is_empty(b);
    if (a->list.len != b->list.len)
        return false;
    for (size_t i = 0; i < a->list.len; i++) {
        const struct fieldset_entry *x = &a->list.items[i], *y = &b->list.items[i];
        if (x->member != y->member || !streq(x->elem, y->elem) ||
            !fieldset_equal(x->below, y->below))
            return false;
    }
    return true;
}

/* Appends an entry at the end (elem sorts last); drops it when nothing is left of it. */
static void
append(struct fieldset *out, const char *elem, bool member, struct fieldset *below)
{
    if (below != NULL && below->list.len == 0) {
        fieldset_free(below);
        below = NULL;
    }
    if (!member && below == NULL)
        return;
    struct fieldset_entry new = {xstrdup(elem), member, below};
    vec_push(&out->list, new);
}

enum op { OP_UNION, OP_INTERSECT, OP_SUBTRACT };

static struct fieldset *combine(const struct fieldset *a, const struct fieldset *b,
                                enum op op);

/* x and y: the entries of one element on both sides; NULL where it is absent, not both.
 */
static void
combine_entry(struct fieldset *out, const struct fieldset_entry *x,
              const struct fieldset_entry *y, enum op op)
{
    bug_if(x == NULL && y == NULL);
    bool in_x = x != NULL && x->member, in_y = y != NULL && y->member;
    const struct fieldset *bx = x == NULL ? NULL : x->below;
    const struct fieldset *by = y == NULL ? NULL : y->below;
    const char *elem = x != NULL ? x->elem : y->elem;

    switch (op) {
    case OP_UNION:
        append(out, elem, in_x || in_y, combine(bx, by, op));
        break;
    case OP_INTERSECT:
        append(out, elem, in_x && in_y, combine(bx, by, op));
        break;
    case OP_SUBTRACT:
        append(out, elem, in_x && !in_y, combine(bx, by, op));
        break;
    }
}

static struct fieldset *
combine(const struct fieldset *a, const struct fieldset *b, enum op op)
{
    static const struct fieldset none;
    struct fieldset *out = fieldset_new();
    size_t i = 0, j = 0;

    if (a == NULL)
        a = &none;
    if (b == NULL)
        b = &none;
    while (i < a->list.len || j < b->list.len) {
        const struct fieldset_entry *x = i < a->list.len ? &a->list.items[i] : NULL;
        const struct fieldset_entry *y = j < b->list.len ? &b->list.items[j] : NULL;
        int c = x == NULL ? 1 : y == NULL ? -1 : strcmp(x->elem, y->elem);
        i += c <= 0;
        j += c >= 0;
        combine_entry(out, c <= 0 ? x : NULL, c >= 0 ? y : NULL, op);
    }
    return out;
}

struct fieldset *
fieldset_copy(const struct fieldset *s)
{
    return combine(s, NULL, OP_UNION);
}

struct fieldset *
fieldset_union(const struct fieldset *a, const struct fieldset *b)
{
    return combine(a, b, OP_UNION);
}

struct fieldset *
fieldset_intersect(const struct fieldset *a, const struct fieldset *b)
{
    return combine(a, b, OP_INTERSECT);
}

struct fieldset *
fieldset_subtract(const struct fieldset *a, const struct fieldset *b)
{
    return combine(a, b, OP_SUBTRACT);
}

bool
fieldset_overlaps(const struct fieldset *a, const struct fieldset *b)
{
    size_t i = 0, j = 0;

    if (fieldset_is_empty(a) || fieldset_is_empty(b))
        return false;
    while (i < a->list.len && j < b->list.len) {
        const struct fieldset_entry *x = &a->list.items[i], *y = &b->list.items[j];
        int c = strcmp(x->elem, y->elem);
        if (c == 0 && ((x->member && y->member) || fieldset_overlaps(x->below, y->below)))
            return true;
        i += c <= 0;
        j += c >= 0;
    }
    return false;
}

void
fieldset_clear(struct fieldset *s, const struct fieldset_path *path, size_t from)
{
    bool found;

    if (s == NULL || from == path->n)
        return;
    size_t i = position(s, path->elems[from], &found);
    if (!found)
        return;
    struct fieldset_entry *entry = &s->list.items[i];
    if (from + 1 == path->n)
        entry->member = false;
    else
        fieldset_clear(entry->below, path, from + 1);
    if (!entry->member && fieldset_is_empty(entry->below))
        fieldset_drop(s, path->elems[from]);
}

void
fieldset_add_all(struct fieldset **s, const struct fieldset *other)
{
    if (fieldset_is_empty(other))
        return;
    struct fieldset *sum = fieldset_union(*s, other);

    fieldset_free(*s);
    *s = sum;
}

void
fieldset_remove_all(struct fieldset **s, const struct fieldset *other)
{
    if (!fieldset_overlaps(*s, other))
        return;
    struct fieldset *rest = fieldset_subtract(*s, other);

    fieldset_free(*s);
    *s = rest;
}

static void
each(const struct fieldset *s, struct fieldset_path *path,
     void (*fn)(const struct fieldset_path *path, void *arg), void *arg)
{
    for (size_t i = 0; s != NULL && i < s->list.len; i++) {
        const struct fieldset_entry *entry = &s->list.items[i];
        bug_if(path->n == FIELDSET_MAX_DEPTH);
        path->elems[path->n++] = entry->elem;
        if (entry->member)
            fn(path, arg);
        each(entry->below, path, fn, arg);
        path->n--;
    }
}

void
fieldset_each(const struct fieldset *s,
              void (*fn)(const struct fieldset_path *path, void *arg), void *arg)
{
    struct fieldset_path path = {.n = 0};

    each(s, &path, fn, arg);
}
