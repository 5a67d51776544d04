/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From values to values: putting an applied configuration over the live object, and
 * taking a set of paths out of an object.
 */
#include <string.h>

#include "api/managed_internal.h"
#include "base/map.h"

static json_t *
merge_members(struct managed_type t, const json_t *live, const json_t *config)
{
    json_t *out = json_object(), *item;
    const char *key;

    json_object_foreach ((json_t *)(uintptr_t)live, key, item) {
        json_object_set_new_nocheck(out, key,
                                    managed_merge(managed_type_member(t, key, NULL), item,
                                                  json_object_get(config, key)));
    }
    json_object_foreach ((json_t *)(uintptr_t)config, key, item) {
        if (json_object_get(live, key) == NULL)
            json_object_set_new_nocheck(out, key, json_deep_copy(item));
    }
    return out;
}

/*
 * Items of the configuration keep its order; items of others keep their place before the
 * item that follows them. The walk takes from the live list what the configuration does
 * not name, as far as the next item both have.
 */
static json_t *
merge_items(struct managed_type t, const json_t *live, const json_t *config)
{
    auto_managed_items a, b;
    json_t *out = json_array();
    size_t i = 0, j = 0;

    managed_items_init(&a, t, live);
    managed_items_init(&b, t, config);
    while (i < a.list.len || j < b.list.len) {
        const struct managed_item *x = i < a.list.len ? &a.list.items[i] : NULL;
        const struct managed_item *y = j < b.list.len ? &b.list.items[j] : NULL;
        json_t *mine = x == NULL ? NULL : managed_items_find(&b, x->elem);
        if (x != NULL && mine == NULL) {
            json_array_append_new(out, json_deep_copy(x->v));
            i++;
            continue;
        }
        const json_t *theirs = y == NULL ? NULL : managed_items_find(&a, y->elem);
        /* The live list is at an item of both that the configuration has elsewhere. */
        if (x != NULL && (y == NULL || (theirs != NULL && !streq(x->elem, y->elem)))) {
            i++;
            continue;
        }
        if (y != NULL) {
            json_array_append_new(out,
                                  managed_merge(managed_type_items(t), theirs, y->v));
            if (x != NULL && streq(x->elem, y->elem))
                i++;
            j++;
        }
    }
    return out;
}

json_t *
managed_merge(struct managed_type t, const json_t *live, const json_t *config)
{
    enum managed_shape a = managed_shape(t, live), b = managed_shape(t, config);

    if (config == NULL)
        return json_deep_copy(live);
    if (a == SHAPE_MAP && b == SHAPE_MAP)
        return merge_members(t, live, config);
    if (a == SHAPE_LIST && b == SHAPE_LIST)
        return merge_items(t, live, config);
    /* Nothing to put over: null or an empty map or list leaves the parts of others. */
    if (live != NULL && (a == SHAPE_MAP || a == SHAPE_LIST) && b == SHAPE_LEAF &&
        (json_is_null(config) || json_typeof(config) == json_typeof(live)))
        return json_deep_copy(live);
    return json_deep_copy(config);
}

static json_t *
remove_items(struct managed_type t, const json_t *v, const struct fieldset *set,
             enum managed_emptied emptied)
{
    json_t *out = json_array();
    auto_managed_items items;

    managed_items_init(&items, t, v);
    for (size_t i = 0; i < items.list.len; i++) {
        const struct managed_item *item = &items.list.items[i];
        const struct fieldset_entry *entry = fieldset_find(set, item->elem);
        if (entry != NULL && entry->member)
            continue;
        json_array_append_new(out, managed_remove(managed_type_items(t), item->v,
                                                  entry == NULL ? NULL : entry->below,
                                                  emptied));
    }
    if (json_array_size(out) == 0 && emptied == EMPTIED_NULL) {
        json_decref(out);
        return json_null();
    }
    return out;
}

json_t *
managed_remove(struct managed_type t, const json_t *v, const struct fieldset *set,
               enum managed_emptied emptied)
{
    enum managed_shape shape = managed_shape(t, v);
    const char *key;
    json_t *item;

    if (fieldset_is_empty(set) || (shape != SHAPE_MAP && shape != SHAPE_LIST))
        return json_deep_copy(v);
    if (shape == SHAPE_LIST)
        return remove_items(t, v, set, emptied);
    json_t *out = json_object();
    json_object_foreach ((json_t *)(uintptr_t)v, key, item) {
        autofree char *elem = fieldset_field_elem(key);
        const struct fieldset_entry *entry = fieldset_find(set, elem);
        if (entry != NULL && entry->member)
            continue;
        json_object_set_new_nocheck(
            out, key,
            managed_remove(managed_type_member(t, key, NULL), item,
                           entry == NULL ? NULL : entry->below, emptied));
    }
    return out;
}

struct fieldset *
managed_with_named(struct managed_type t, const struct fieldset *s)
{
    struct fieldset *out = fieldset_new();

    for (size_t i = 0; s != NULL && i < s->list.len; i++) {
        const struct fieldset_entry *from = &s->list.items[i];
        bool named;
        struct managed_type below = managed_type_below(t, from->elem, &named);
        struct fieldset_entry *to = fieldset_entry(out, from->elem);
        to->member = from->member || named;
        if (from->below != NULL)
            to->below = managed_with_named(below, from->below);
    }
    return out;
}
