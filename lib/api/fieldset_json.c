/* SPDX-License-Identifier: Apache-2.0 */
/* Field sets as FieldsV1 JSON and single paths as text for people. */
#include <string.h>

#include "api/fieldset.h"

#define ELEMENT_FLAGS (JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY)

static int
bad_element(const char *elem, struct error *e)
{
    return error_set(e, ERR_INVALID, "fieldsV1: \"%.100s\" is not a path element", elem);
}

/* One spelling for each element: JSON without blanks, keys sorted. */
static int
normalise(const char *elem, char **ret, struct error *e)
{
    if (strnlen(elem, 2) < 2 || elem[1] != ':')
        return bad_element(elem, e);
    if (elem[0] == 'f') {
        *ret = xstrdup(elem);
        return 0;
    }
    if (elem[0] == 'i') {
        size_t digits = strspn(elem + 2, "0123456789");
        if (digits == 0 || elem[2 + digits] != '\0')
            return bad_element(elem, e);
        *ret = xstrdup(elem);
        return 0;
    }
    if (elem[0] != 'k' && elem[0] != 'v')
        return bad_element(elem, e);
    json_t *v = json_loads(elem + 2, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    if (v == NULL || (elem[0] == 'k' && json_object_size(v) == 0)) {
        json_decref(v);
        return bad_element(elem, e);
    }
    autofree char *text = json_dumps(v, ELEMENT_FLAGS);
    json_decref(v);
    *ret = xasprintf("%c:%s", elem[0], text);
    return 0;
}

char *
fieldset_field_elem(const char *key)
{
    size_t n = strlen(key) + 1;
    char *elem = xmalloc(n + 2);

    elem[0] = 'f';
    elem[1] = ':';
    memcpy(elem + 2, key, n);
    return elem;
}

static int
by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

const char **
fieldset_sorted_keys(const json_t *object)
{
    size_t n = json_object_size(object), i = 0;
    const char *key, **keys;
    json_t *item;

    if (n == 0)
        return NULL;
    keys = xreallocarray(NULL, n, sizeof(keys[0]));
    json_object_foreach ((json_t *)(uintptr_t)object, key, item)
        keys[i++] = key;
    qsort(keys, n, sizeof(keys[0]), by_text);
    return keys;
}

static int from_json(const json_t *v, size_t depth, struct fieldset *out,
                     struct error *e) WARN_UNUSED;

static int
entry_from_json(const char *key, const json_t *below, size_t depth, struct fieldset *out,
                struct error *e)
{
    autofree char *elem = NULL;
    int r = normalise(key, &elem, e);

    if (r < 0)
        return r;
    if (!json_is_object(below))
        return error_set(e, ERR_INVALID, "fieldsV1: \"%.100s\" must be an object", key);
    struct fieldset_entry *entry = fieldset_entry(out, elem);
    size_t self = json_object_get(below, ".") != NULL;
    if (self || json_object_size(below) == 0)
        entry->member = true;
    if (json_object_size(below) == self)
        return 0;
    if (entry->below == NULL)
        entry->below = fieldset_new();
    return from_json(below, depth + 1, entry->below, e);
}

static int
from_json(const json_t *v, size_t depth, struct fieldset *out, struct error *e)
{
    autofree const char **keys = fieldset_sorted_keys(v);
    int r = 0;

    if (depth >= FIELDSET_MAX_DEPTH)
        return error_set(e, ERR_INVALID, "fieldsV1: more than %d levels",
                         FIELDSET_MAX_DEPTH);
    for (size_t i = 0; i < json_object_size(v) && r == 0; i++) {
        if (!streq(keys[i], "."))
            r = entry_from_json(keys[i], json_object_get(v, keys[i]), depth, out, e);
    }
    return r;
}

int
fieldset_from_json(const json_t *v, struct fieldset **ret, struct error *e)
{
    auto_fieldset *s = fieldset_new();

    if (!json_is_object(v))
        return error_set(e, ERR_INVALID, "fieldsV1 must be an object");
    int r = from_json(v, 0, s, e);
    if (r == 0)
        *ret = move_ptr(s);
    return r;
}

json_t *
fieldset_to_json(const struct fieldset *s)
{
    json_t *out = json_object();

    for (size_t i = 0; s != NULL && i < s->list.len; i++) {
        const struct fieldset_entry *entry = &s->list.items[i];
        json_t *below = fieldset_to_json(entry->below);
        if (entry->member && entry->below != NULL)
            json_object_set_new(below, ".", json_object());
        json_object_set_new(out, entry->elem, below);
    }
    return out;
}

/* {"name":"x","port":1} -> name="x",port=1 */
static void
key_text(const char *json, struct str *out)
{
    json_t *v = json_loads(json, JSON_ALLOW_NUL, NULL), *item;
    const char *key, *sep = "";

    json_object_foreach (v, key, item) {
        autofree char *text = json_dumps(item, ELEMENT_FLAGS);
        str_addf(out, "%s%s=%s", sep, key, text);
        sep = ",";
    }
    json_decref(v);
}

void
fieldset_path_text(const struct fieldset_path *path, struct str *out)
{
    for (size_t i = 0; i < path->n; i++) {
        const char *elem = path->elems[i];
        switch (elem[0]) {
        case 'f':
            str_addf(out, ".%s", elem + 2);
            break;
        case 'k':
            str_addc(out, '[');
            key_text(elem + 2, out);
            str_addc(out, ']');
            break;
        case 'v':
            str_addf(out, "[=%s]", elem + 2);
            break;
        default:
            str_addf(out, "[%s]", elem + 2);
        }
    }
}
