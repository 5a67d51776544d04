/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Typing of positions in an object, and names of items of lists that are owned by item.
 * ObjectMeta is the same for all kinds, so its few types are fixed here.
 */
#include <string.h>

#include "api/kind_internal.h"
#include "api/managed_internal.h"
#include "base/map.h"

/* No field has this name, so what a schema says about it holds for items of a map. */
#define NO_FIELD "\x01"

static const struct managed_type deduced = {NULL, META_NONE};

struct managed_type
managed_type_root(const struct kind *k)
{
    return (struct managed_type){k->schema, META_ROOT};
}

static struct managed_type
metadata_member(const char *key, bool *named)
{
    static const char *const fields[] = {
        "annotations",
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "generateName",
        "generation",
        "labels",
        "managedFields",
        "name",
        "namespace",
        "resourceVersion",
        "selfLink",
        "uid",
    };

    *named = true;
    if (streq(key, "finalizers"))
        return (struct managed_type){NULL, META_SET};
    if (streq(key, "ownerReferences"))
        return (struct managed_type){NULL, META_OWNERS};
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        if (streq(key, fields[i]))
            return deduced;
    }
    *named = false;
    return deduced;
}

struct managed_type
managed_type_member(struct managed_type t, const char *key, bool *ret_named)
{
    bool unused, *named = ret_named != NULL ? ret_named : &unused;

    *named = false;
    if (t.meta == META_METADATA)
        return metadata_member(key, named);
    if (t.meta == META_ROOT) {
        if (streq(key, "metadata")) {
            *named = true;
            return (struct managed_type){NULL, META_METADATA};
        }
        if (streq(key, "apiVersion") || streq(key, "kind")) {
            *named = true;
            return deduced;
        }
    }
    if (t.schema == NULL)
        return deduced;
    const struct schema *s = schema_member(t.schema, key);
    *named = s != NULL && s != schema_member(t.schema, NO_FIELD);
    return (struct managed_type){s, META_NONE};
}

struct managed_type
managed_type_items(struct managed_type t)
{
    if (t.schema == NULL)
        return deduced;
    return (struct managed_type){schema_items(t.schema), META_NONE};
}

struct managed_type
managed_type_below(struct managed_type t, const char *elem, bool *ret_named)
{
    if (elem[0] == 'f')
        return managed_type_member(t, elem + 2, ret_named);
    *ret_named = false;
    return managed_type_items(t);
}

static enum schema_list_type
list_type(struct managed_type t)
{
    if (t.meta == META_SET)
        return SCHEMA_LIST_SET;
    if (t.meta == META_OWNERS)
        return SCHEMA_LIST_MAP;
    return t.schema == NULL ? SCHEMA_LIST_ATOMIC : schema_list_type(t.schema);
}

enum managed_shape
managed_shape(struct managed_type t, const json_t *v)
{
    if (v == NULL)
        return SHAPE_ABSENT;
    if (json_is_object(v) && json_object_size(v) > 0 &&
        (t.schema == NULL || !schema_map_atomic(t.schema)))
        return SHAPE_MAP;
    if (json_is_array(v) && json_array_size(v) > 0 && list_type(t) != SCHEMA_LIST_ATOMIC)
        return SHAPE_LIST;
    return SHAPE_LEAF;
}

bool
managed_is_empty_parts(struct managed_type t, const json_t *v)
{
    if (json_is_object(v) && json_object_size(v) == 0)
        return t.schema == NULL || !schema_map_atomic(t.schema);
    if (json_is_array(v) && json_array_size(v) == 0)
        return list_type(t) != SCHEMA_LIST_ATOMIC;
    return false;
}

static char *
dump(const json_t *v)
{
    return json_dumps(v, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
}

/* The default of a key that an item leaves out; NULL without. New reference. */
static json_t *
key_default(struct managed_type t, const char *key)
{
    const struct schema *s = schema_member(schema_items(t.schema), key);

    if (s == NULL || s->default_json == NULL)
        return NULL;
    return json_loadb(s->default_json, s->default_len, JSON_DECODE_ANY, NULL);
}

/* "k:{...}" of an item, or NULL when a key is missing. */
static char *
map_item_name(struct managed_type t, const json_t *item)
{
    static const char *const owner_keys[] = {"uid", NULL};
    const char *const *keys =
        t.meta == META_OWNERS ? owner_keys : schema_list_map_keys(t.schema);

    if (!json_is_object(item) || keys == NULL || keys[0] == NULL)
        return NULL;
    json_t *name = json_object();
    for (; *keys != NULL; keys++) {
        json_t *v = json_incref(json_object_get(item, *keys));
        if (v == NULL)
            v = key_default(t, *keys);
        if (v == NULL) {
            json_decref(name);
            return NULL;
        }
        json_object_set_new_nocheck(name, *keys, v);
    }
    autofree char *text = dump(name);
    json_decref(name);
    return xasprintf("k:%s", text);
}

/* The item's element, or NULL when it cannot be named. */
static char *
item_name(struct managed_type t, const json_t *item)
{
    if (list_type(t) == SCHEMA_LIST_MAP)
        return map_item_name(t, item);
    if (json_is_object(item) || json_is_array(item) || json_is_null(item))
        return NULL;
    autofree char *text = dump(item);
    return xasprintf("v:%s", text);
}

void
managed_items_init(struct managed_items *items, struct managed_type t, const json_t *list)
{
    *items = (struct managed_items){.by_elem = map_new(NULL)};
    for (size_t i = 0; i < json_array_size(list); i++) {
        struct managed_item item = {.v = json_array_get(list, i)};
        item.elem = item_name(t, item.v);
        if (item.elem == NULL)
            item.elem = xasprintf("i:%zu", i);
        item.repeated = map_get(items->by_elem, item.elem) != NULL;
        if (!item.repeated)
            map_put(items->by_elem, item.elem, item.v);
        vec_push(&items->list, item);
    }
}

void
managed_items_done(struct managed_items *items)
{
    for (size_t i = 0; i < items->list.len; i++)
        free(items->list.items[i].elem);
    vec_done(&items->list);
    map_free(items->by_elem);
    items->by_elem = NULL;
}

json_t *
managed_items_find(const struct managed_items *items, const char *elem)
{
    return map_get(items->by_elem, elem);
}

static int
by_elem(const void *a, const void *b)
{
    const struct managed_item *x = a, *y = b;
    int c = strcmp(x->elem, y->elem);

    return c != 0 ? c : x->repeated - y->repeated;
}

void
managed_items_sort(struct managed_items *items)
{
    if (items->list.len > 1)
        qsort(items->list.items, items->list.len, sizeof(items->list.items[0]), by_elem);
}

static int
bad_item(struct managed_type t, const struct managed_item *item, struct error *e)
{
    if (item->repeated)
        return error_set(e, ERR_INVALID, "duplicate entries for key %.200s",
                         item->elem + 2);
    if (list_type(t) == SCHEMA_LIST_MAP)
        return error_set(e, ERR_INVALID, "item %.20s lacks a key of the list",
                         item->elem + 2);
    return error_set(e, ERR_INVALID, "item %.20s must be a scalar: the list is a set",
                     item->elem + 2);
}

static int
check_list(struct managed_type t, const json_t *v, struct error *e)
{
    auto_managed_items items;
    int r = 0;

    managed_items_init(&items, t, v);
    for (size_t i = 0; i < items.list.len && r == 0; i++) {
        const struct managed_item *item = &items.list.items[i];
        if (item->repeated || item->elem[0] == 'i')
            return bad_item(t, item, e);
        r = managed_check_items(managed_type_items(t), item->v, e);
        if (r < 0)
            error_prepend(e, "[%zu]", i);
    }
    return r;
}

int
managed_check_items(struct managed_type t, const json_t *v, struct error *e)
{
    const char *key;
    json_t *item;

    switch (managed_shape(t, v)) {
    case SHAPE_ABSENT:
    case SHAPE_LEAF:
        return 0;
    case SHAPE_LIST:
        return check_list(t, v, e);
    case SHAPE_MAP:
        break;
    }
    json_object_foreach ((json_t *)(uintptr_t)v, key, item) {
        int r = managed_check_items(managed_type_member(t, key, NULL), item, e);
        if (r < 0)
            return error_prepend(e, "%.60s", key);
    }
    return 0;
}
