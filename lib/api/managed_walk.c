/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From values to sets of paths: what one value sets, and what lies between two. Whether a
 * position is one leaf or is owned in parts follows from its type and its value.
 */
#include <string.h>

#include "api/managed_internal.h"
#include "base/map.h"

static bool
objects_equal(const json_t *a, const json_t *b)
{
    const char *key;
    json_t *item;

    if (json_object_size(a) != json_object_size(b))
        return false;
    json_object_foreach ((json_t *)(uintptr_t)a, key, item) {
        const json_t *other = json_object_get(b, key);
        if (other == NULL || !managed_values_equal(item, other))
            return false;
    }
    return true;
}

bool
managed_values_equal(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b)) {
        if (json_is_integer(a) && json_is_integer(b))
            return json_integer_value(a) == json_integer_value(b);
        return json_number_value(a) == json_number_value(b);
    }
    if (json_typeof(a) != json_typeof(b))
        return false;
    if (json_is_object(a))
        return objects_equal(a, b);
    if (!json_is_array(a))
        return json_equal(a, b);
    if (json_array_size(a) != json_array_size(b))
        return false;
    for (size_t i = 0; i < json_array_size(a); i++) {
        if (!managed_values_equal(json_array_get(a, i), json_array_get(b, i)))
            return false;
    }
    return true;
}

/* Descends by one element; false when that would be too deep (then it is a leaf). */
static bool
push(struct fieldset_path *path, const char *elem)
{
    if (path->n == FIELDSET_MAX_DEPTH)
        return false;
    path->elems[path->n++] = elem;
    return true;
}

/* --- what a value sets
 * ------------------------------------------------------------------- */

static void add_value(struct managed_type t, const json_t *v, struct fieldset_path *path,
                      struct fieldset *out);

static void
add_items(struct managed_type t, const json_t *v, struct fieldset_path *path,
          struct fieldset *out)
{
    auto_managed_items items;

    managed_items_init(&items, t, v);
    managed_items_sort(&items);
    for (size_t i = 0; i < items.list.len; i++) {
        const struct managed_item *item = &items.list.items[i];
        if (item->repeated || !push(path, item->elem))
            continue;
        add_value(managed_type_items(t), item->v, path, out);
        fieldset_insert(out, path);
        path->n--;
    }
}

static void
add_members(struct managed_type t, const json_t *v, struct fieldset_path *path,
            struct fieldset *out)
{
    autofree const char **keys = fieldset_sorted_keys(v);

    for (size_t i = 0; i < json_object_size(v); i++) {
        const json_t *item = json_object_get(v, keys[i]);
        bool named;
        struct managed_type mt = managed_type_member(t, keys[i], &named);
        autofree char *elem = fieldset_field_elem(keys[i]);
        if (!push(path, elem))
            continue;
        add_value(mt, item, path, out);
        if (!named || json_is_null(item) ||
            (json_is_object(item) && json_object_size(item) == 0))
            fieldset_insert(out, path);
        path->n--;
    }
}

static void
add_value(struct managed_type t, const json_t *v, struct fieldset_path *path,
          struct fieldset *out)
{
    switch (managed_shape(t, v)) {
    case SHAPE_ABSENT:
        break;
    case SHAPE_LEAF:
        /* An empty list that is owned by item sets nothing. */
        if (!managed_is_empty_parts(t, v))
            fieldset_insert(out, path);
        break;
    case SHAPE_MAP:
        add_members(t, v, path, out);
        break;
    case SHAPE_LIST:
        add_items(t, v, path, out);
        break;
    }
}

struct fieldset *
managed_fieldset(struct managed_type t, const json_t *v)
{
    struct fieldset_path path = {.n = 0};
    struct fieldset *out = fieldset_new();

    add_value(t, v, &path, out);
    return out;
}

/* --- what lies between two values
 * --------------------------------------------------------- */

struct compare {
    struct fieldset_path path;
    struct managed_diff *diff;
};

static void compare(struct compare *c, struct managed_type t, const json_t *old,
                    const json_t *new);

static void
compare_leaf(struct compare *c, const json_t *old, const json_t *new)
{
    if (old == NULL)
        fieldset_insert(c->diff->added, &c->path);
    else if (new == NULL)
        fieldset_insert(c->diff->removed, &c->path);
    else if (!managed_values_equal(old, new))
        fieldset_insert(c->diff->modified, &c->path);
}

static void
compare_below(struct compare *c, struct managed_type t, const char *elem,
              const json_t *old, const json_t *new)
{
    if (!push(&c->path, elem))
        return;
    compare(c, t, old, new);
    c->path.n--;
}

/* Members that are in v; with `only_new`, those that are not in `other`. */
static void
compare_one_side(struct compare *c, struct managed_type t, const json_t *v,
                 const json_t *other, bool only_new)
{
    autofree const char **keys = fieldset_sorted_keys(v);

    for (size_t i = 0; i < json_object_size(v); i++) {
        const json_t *mine = json_object_get(v, keys[i]);
        const json_t *theirs = json_object_get(other, keys[i]);
        if (only_new && theirs != NULL)
            continue;
        autofree char *elem = fieldset_field_elem(keys[i]);
        compare_below(c, managed_type_member(t, keys[i], NULL), elem,
                      only_new ? NULL : mine, only_new ? mine : theirs);
    }
}

/* Either may be NULL: it then has no members. */
static void
compare_members(struct compare *c, struct managed_type t, const json_t *old,
                const json_t *new)
{
    compare_one_side(c, t, old, new, false);
    compare_one_side(c, t, new, old, true);
}

static void
compare_items(struct compare *c, struct managed_type t, const json_t *old,
              const json_t *new)
{
    auto_managed_items a, b;

    managed_items_init(&a, t, old);
    managed_items_init(&b, t, new);
    managed_items_sort(&a);
    managed_items_sort(&b);
    for (size_t i = 0; i < a.list.len; i++) {
        const struct managed_item *item = &a.list.items[i];
        if (!item->repeated)
            compare_below(c, managed_type_items(t), item->elem, item->v,
                          managed_items_find(&b, item->elem));
    }
    for (size_t i = 0; i < b.list.len; i++) {
        const struct managed_item *item = &b.list.items[i];
        if (!item->repeated && managed_items_find(&a, item->elem) == NULL)
            compare_below(c, managed_type_items(t), item->elem, NULL, item->v);
    }
}

/* The other side of a map or list: null and an empty one of the same kind stand for no
 * members; anything else is another value at the same path. */
static bool
is_other_kind(const json_t *parts, const json_t *leaf)
{
    if (leaf == NULL || parts == NULL || json_is_null(leaf))
        return false;
    return json_typeof(parts) != json_typeof(leaf);
}

static void
compare(struct compare *c, struct managed_type t, const json_t *old, const json_t *new)
{
    enum managed_shape a = managed_shape(t, old), b = managed_shape(t, new);
    bool a_parts = a == SHAPE_MAP || a == SHAPE_LIST;
    bool b_parts = b == SHAPE_MAP || b == SHAPE_LIST;

    if (!a_parts && !b_parts) {
        compare_leaf(c, old, new);
        return;
    }
    if (a == SHAPE_MAP || b == SHAPE_MAP)
        compare_members(c, t, a == SHAPE_MAP ? old : NULL, b == SHAPE_MAP ? new : NULL);
    if (a == SHAPE_LIST || b == SHAPE_LIST)
        compare_items(c, t, a == SHAPE_LIST ? old : NULL, b == SHAPE_LIST ? new : NULL);
    if (a == SHAPE_ABSENT || b == SHAPE_ABSENT) {
        if (c->path.n > 0)
            compare_leaf(c, old, new);
    } else if (a_parts != b_parts &&
               is_other_kind(a_parts ? old : new, a_parts ? new : old)) {
        fieldset_insert(c->diff->modified, &c->path);
    }
}

void
managed_compare(struct managed_type t, const json_t *old, const json_t *new,
                struct managed_diff *ret)
{
    struct compare c = {.diff = ret};

    *ret = (struct managed_diff){fieldset_new(), fieldset_new(), fieldset_new()};
    compare(&c, t, old, new);
}

void
managed_diff_done(struct managed_diff *d)
{
    fieldset_free(d->added);
    fieldset_free(d->modified);
    fieldset_free(d->removed);
    *d = (struct managed_diff){NULL, NULL, NULL};
}

bool
managed_diff_is_empty(const struct managed_diff *d)
{
    return fieldset_is_empty(d->added) && fieldset_is_empty(d->modified) &&
           fieldset_is_empty(d->removed);
}
