/* SPDX-License-Identifier: Apache-2.0 */
/* JSON merge patch (RFC 7386) on trees. */
#include <string.h>

#include "api/jtok.h"
#include "api/managed.h"
#include "api/object.h"
#include "api/patch_internal.h"

static bool
measure_members(const json_t *v, size_t depth, size_t max, size_t *bytes)
{
    const char *key;
    json_t *item;

    json_object_foreach ((json_t *)(uintptr_t)v, key, item) {
        *bytes += strlen(key) + 4;
        if (!patch_measure(item, depth - 1, max, bytes))
            return false;
    }
    return true;
}

bool
patch_measure(const json_t *v, size_t depth, size_t max, size_t *bytes)
{
    size_t i;
    json_t *item;

    *bytes += 2;
    if (depth == 0 || *bytes > max)
        return false;
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        return measure_members(v, depth, max, bytes);
    case JSON_ARRAY:
        json_array_foreach ((json_t *)(uintptr_t)v, i, item) {
            if (!patch_measure(item, depth - 1, max, bytes))
                return false;
        }
        return true;
    case JSON_STRING:
        *bytes += json_string_length(v);
        return *bytes <= max;
    case JSON_INTEGER:
    case JSON_REAL:
    case JSON_TRUE:
    case JSON_FALSE:
    case JSON_NULL:
        break;
    }
    return true;
}

int
patch_check_result(const json_t *v, struct error *e)
{
    size_t bytes = 0;

    if (!patch_measure(v, JTOK_MAX_DEPTH, OBJECT_MAX_BYTES, &bytes))
        return error_set(e, ERR_TOO_LARGE,
                         "the patched object would be larger than %u bytes or nested "
                         "deeper than %d levels",
                         OBJECT_MAX_BYTES, JTOK_MAX_DEPTH);
    return 0;
}

/* Null members of a patch take away; they are never values. */
static json_t *
without_nulls(const json_t *patch)
{
    const char *key;
    json_t *item, *out;

    if (!json_is_object(patch))
        return json_deep_copy(patch);
    out = json_object();
    json_object_foreach ((json_t *)(uintptr_t)patch, key, item) {
        if (!json_is_null(item))
            json_object_set_new_nocheck(out, key, without_nulls(item));
    }
    return out;
}

static json_t *
merge(const json_t *target, const json_t *patch)
{
    const char *key;
    json_t *item, *out;

    if (!json_is_object(patch) || !json_is_object(target))
        return without_nulls(patch);
    out = json_object();
    json_object_foreach ((json_t *)(uintptr_t)target, key, item) {
        const json_t *change = json_object_get(patch, key);
        if (change == NULL)
            json_object_set_new_nocheck(out, key, json_deep_copy(item));
        else if (!json_is_null(change))
            json_object_set_new_nocheck(out, key, merge(item, change));
    }
    json_object_foreach ((json_t *)(uintptr_t)patch, key, item) {
        if (!json_is_null(item) && json_object_get(target, key) == NULL)
            json_object_set_new_nocheck(out, key, without_nulls(item));
    }
    return out;
}

int
patch_merge(const json_t *target, const json_t *patch, json_t **ret, struct error *e)
{
    if (!json_is_object(patch))
        return error_set(e, ERR_BAD_REQUEST, "a merge patch must be a JSON object");
    /* Bounds the recursion below. */
    int r = patch_check_result(patch, e);
    if (r < 0)
        return r;
    json_t *out = merge(target, patch);
    r = patch_check_result(out, e);
    if (r < 0)
        json_decref(out);
    else
        *ret = out;
    return r;
}
