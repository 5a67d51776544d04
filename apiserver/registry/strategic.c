/* SPDX-License-Identifier: Apache-2.0 */
/* Merging with directives; which lists are merged is a table. */
#include "apiserver/registry/strategic.h"

#include <stdbool.h>

#include "base/mem.h"
#include "base/str.h"

enum { DEPTH_MAX = 100 };

/* Lists that are merged instead of replaced, by the member that holds them; key NULL: a
 * set of scalars. Everything else is atomic, as in Kubernetes' own types. */
static const struct merged_list {
    const char *member, *key;
} merged_lists[] = {
    {"finalizers", NULL},
    {"ownerReferences", "uid"},
    {"conditions", "type"},
};

#define ORDER "$setElementOrder/"
#define DELETE_ITEMS "$deleteFromPrimitiveList/"

static int merge_object(json_t *target, const json_t *patch, unsigned depth,
                        struct error *e);

static const struct merged_list *
find_list(const char *member)
{
    for (size_t i = 0; i < ARRAY_LEN(merged_lists); i++) {
        if (streq(merged_lists[i].member, member))
            return &merged_lists[i];
    }
    return NULL;
}

static const char *
directive(const json_t *patch)
{
    const char *text = json_string_value(json_object_get(patch, "$patch"));

    return text == NULL ? "" : text;
}

/* Index of the item with the same key (or the same scalar); the size when there is none.
 */
static size_t
find_item(const json_t *list, const json_t *wanted, const char *key)
{
    const json_t *value = key == NULL ? wanted : json_object_get(wanted, key);
    size_t i;
    json_t *item;

    json_array_foreach (list, i, item) {
        if (json_equal(key == NULL ? item : json_object_get(item, key), value))
            return i;
    }
    return json_array_size(list);
}

/* A value of the patch as it is stored: without directives. */
static json_t *
plain(const json_t *patch, unsigned depth, struct error *e)
{
    if (!json_is_object(patch))
        return json_deep_copy(patch);
    json_t *out = json_object();
    if (merge_object(out, patch, depth, e) == 0)
        return out;
    json_decref(out);
    return NULL;
}

static int
merge_item(json_t *list, const json_t *item, const char *key, unsigned depth,
           struct error *e)
{
    size_t at = find_item(list, item, key);
    bool there = at < json_array_size(list);

    if (key != NULL && json_object_get(item, key) == NULL)
        return error_set(e, ERR_BAD_REQUEST,
                         "an item of a merged list lacks its key \"%s\"", key);
    if (streq(directive(item), "delete")) {
        if (there)
            json_array_remove(list, at);
        return 0;
    }
    if (there && json_is_object(item))
        return merge_object(json_array_get(list, at), item, depth, e);
    if (there)
        return 0;
    json_t *new = plain(item, depth, e);
    if (new == NULL)
        return -(int)e->code;
    json_array_append_new(list, new);
    return 0;
}

static bool
replaces_list(const json_t *items)
{
    size_t i;
    json_t *item;

    json_array_foreach (items, i, item) {
        if (streq(directive(item), "replace"))
            return true;
    }
    return false;
}

static int
merge_list(json_t *target, const struct merged_list *l, const json_t *items,
           unsigned depth, struct error *e)
{
    json_t *list = json_object_get(target, l->member), *item;
    size_t i;

    if (!json_is_array(list) || replaces_list(items)) {
        list = json_array();
        json_object_set_new(target, l->member, list);
    }
    json_array_foreach (items, i, item) {
        if (streq(directive(item), "replace"))
            continue;
        int rc = merge_item(list, item, l->key, depth, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* The named items in the order asked for, then the others as they were. */
static void
order_list(json_t *target, const char *member, const json_t *order)
{
    const struct merged_list *l = find_list(member);
    json_t *list = json_object_get(target, member), *wanted;
    json_t *sorted = json_array();
    size_t i;

    if (l == NULL || !json_is_array(list)) {
        json_decref(sorted);
        return;
    }
    json_array_foreach (order, i, wanted) {
        size_t at = find_item(list, wanted, l->key);
        if (at == json_array_size(list))
            continue;
        json_array_append(sorted, json_array_get(list, at));
        json_array_remove(list, at);
    }
    json_array_extend(sorted, list);
    json_object_set_new(target, member, sorted);
}

static void
delete_items(json_t *target, const char *member, const json_t *items)
{
    json_t *list = json_object_get(target, member), *item;
    size_t i;

    json_array_foreach (items, i, item) {
        size_t at = find_item(list, item, NULL);
        if (at < json_array_size(list))
            json_array_remove(list, at);
    }
}

static void
retain_keys(json_t *target, const json_t *keys)
{
    json_t *value, *name;
    const char *key;
    void *next;
    size_t i;

    json_object_foreach_safe(target, next, key, value)
    {
        bool keep = false;
        json_array_foreach (keys, i, name) {
            const char *text = json_string_value(name);
            keep = keep || (text != NULL && streq(text, key));
        }
        if (!keep)
            json_object_del(target, key);
    }
}

static int
merge_member(json_t *target, const char *key, const json_t *value, unsigned depth,
             struct error *e)
{
    const struct merged_list *l = find_list(key);
    json_t *old = json_object_get(target, key);

    if (json_is_null(value) || streq(directive(value), "delete")) {
        json_object_del(target, key);
        return 0;
    }
    if (json_is_array(value) && l != NULL)
        return merge_list(target, l, value, depth, e);
    if (json_is_object(value) && json_is_object(old))
        return merge_object(old, value, depth, e);
    json_t *new = plain(value, depth, e);
    if (new == NULL)
        return -(int)e->code;
    json_object_set_new(target, key, new);
    return 0;
}

/* Directives that work on the merged members. */
static void
apply_directives(json_t *target, const json_t *patch)
{
    const char *key;
    json_t *value;

    json_object_foreach ((json_t *)(uintptr_t)patch, key, value) {
        if (str_starts(key, DELETE_ITEMS))
            delete_items(target, key + strlen(DELETE_ITEMS), value);
        else if (str_starts(key, ORDER))
            order_list(target, key + strlen(ORDER), value);
    }
    const json_t *retained = json_object_get(patch, "$retainKeys");
    if (retained != NULL)
        retain_keys(target, retained);
}

static int
merge_object(json_t *target, const json_t *patch, unsigned depth, struct error *e)
{
    const char *what = directive(patch), *key;
    json_t *value;

    if (depth >= DEPTH_MAX)
        return error_set(e, ERR_BAD_REQUEST, "the patch is nested too deeply");
    if (streq(what, "replace"))
        json_object_clear(target);
    else if (*what != '\0' && !streq(what, "merge"))
        return error_set(e, ERR_BAD_REQUEST, "unknown directive $patch: %.40s", what);
    json_object_foreach ((json_t *)(uintptr_t)patch, key, value) {
        if (*key == '$')
            continue;
        int rc = merge_member(target, key, value, depth + 1, e);
        if (rc < 0)
            return rc;
    }
    apply_directives(target, patch);
    return 0;
}

int
strategic_merge(const json_t *target, const json_t *patch, json_t **ret, struct error *e)
{
    if (!json_is_object(patch))
        return error_set(e, ERR_BAD_REQUEST, "a strategic merge patch is an object");
    json_t *out = json_deep_copy(target);
    int rc = merge_object(out, patch, 0, e);
    if (rc < 0) {
        json_decref(out);
        return rc;
    }
    *ret = out;
    return 0;
}
