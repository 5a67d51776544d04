/* SPDX-License-Identifier: Apache-2.0 */
/* One walk over both values; what it finds goes to a callback. */
#include "cli/jdiff.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define RED "\033[31m"
#define GREEN "\033[32m"
#define PLAIN "\033[0m"

struct walk {
    struct str path;
    struct str *out;
    const struct jdiff_opts *o; /* NULL: paths only */
    size_t found;
};

static void walk(struct walk *w, const json_t *a, const json_t *b);

/* --- what is found --- */

static bool
is_hidden(const struct walk *w)
{
    return w->o->hide_data &&
           (str_starts(w->path.ptr, "data") || str_starts(w->path.ptr, "stringData"));
}

static void
print_side(struct walk *w, char sign, const json_t *v)
{
    if (v == NULL)
        return;
    autofree char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS);
    str_addf(w->out, "%s%c%s: %s%s\n",
             !w->o->colour ? ""
             : sign == '-' ? RED
                           : GREEN,
             sign, w->path.ptr, is_hidden(w) ? "(hidden)" : text,
             w->o->colour ? PLAIN : "");
}

static void
report(struct walk *w, const json_t *a, const json_t *b)
{
    w->found++;
    if (w->o == NULL) {
        str_addf(w->out, "%s%s", w->out->len > 0 ? ", " : "", w->path.ptr);
        return;
    }
    print_side(w, '-', a);
    print_side(w, '+', b);
}

/* --- the walk --- */

static size_t
push_key(struct walk *w, const char *key)
{
    size_t len = w->path.len;

    if (strpbrk(key, "./[]' ") != NULL)
        str_addf(&w->path, "['%s']", key);
    else
        str_addf(&w->path, "%s%s", len > 0 ? "." : "", key);
    return len;
}

static int
by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The keys of both, sorted, each once. Malloc'd array of borrowed keys. */
static const char **
keys_of(const json_t *a, const json_t *b, size_t *ret_n)
{
    const char **keys =
        xcalloc(json_object_size(a) + json_object_size(b) + 1, sizeof(*keys));
    const char *key;
    const json_t *value;
    size_t n = 0;

    json_object_foreach ((json_t *)(uintptr_t)a, key, value)
        keys[n++] = key;
    json_object_foreach ((json_t *)(uintptr_t)b, key, value)
        if (json_object_get(a, key) == NULL)
            keys[n++] = key;
    qsort(keys, n, sizeof(*keys), by_name);
    *ret_n = n;
    return keys;
}

static void
walk_objects(struct walk *w, const json_t *a, const json_t *b)
{
    size_t n;
    autofree const char **keys = keys_of(a, b, &n);

    for (size_t i = 0; i < n; i++) {
        size_t len = push_key(w, keys[i]);
        walk(w, json_object_get(a, keys[i]), json_object_get(b, keys[i]));
        str_truncate(&w->path, len);
    }
}

/* Equal items at both ends are passed over; what is between is compared in pairs when
 * there are as many, and otherwise shown as gone and come. */
static void
walk_arrays(struct walk *w, const json_t *a, const json_t *b)
{
    size_t na = json_array_size(a), nb = json_array_size(b), from = 0;

    while (from < na && from < nb &&
           json_equal(json_array_get(a, from), json_array_get(b, from)))
        from++;
    while (na > from && nb > from &&
           json_equal(json_array_get(a, na - 1), json_array_get(b, nb - 1))) {
        na--;
        nb--;
    }
    for (size_t i = from; i < na || i < nb; i++) {
        const json_t *x = i < na ? json_array_get(a, i) : NULL;
        const json_t *y = i < nb ? json_array_get(b, i) : NULL;
        size_t len = w->path.len;
        str_addf(&w->path, "[%zu]", i);
        walk(w, x, y);
        str_truncate(&w->path, len);
    }
}

static void
walk(struct walk *w, const json_t *a, const json_t *b)
{
    if (a == b || (a != NULL && b != NULL && json_equal(a, b)))
        return;
    if (json_is_object(a) && json_is_object(b))
        walk_objects(w, a, b);
    else if (json_is_array(a) && json_is_array(b))
        walk_arrays(w, a, b);
    else
        report(w, a, b);
}

static size_t
run(const json_t *before, const json_t *after, const struct jdiff_opts *o,
    struct str *out)
{
    struct walk w = {.path = STR_INIT(64 * 1024), .out = out, .o = o};

    walk(&w, before, after);
    str_done(&w.path);
    return w.found;
}

size_t
jdiff_print(const json_t *before, const json_t *after, const struct jdiff_opts *o,
            struct str *out)
{
    return run(before, after, o, out);
}

size_t
jdiff_paths(const json_t *before, const json_t *after, struct str *out)
{
    return run(before, after, NULL, out);
}

json_t *
jdiff_merge_patch(const json_t *before, const json_t *after)
{
    json_t *patch = json_object();
    size_t n;
    autofree const char **keys = keys_of(before, after, &n);

    for (size_t i = 0; i < n; i++) {
        const json_t *a = json_object_get(before, keys[i]);
        json_t *b = json_object_get(after, keys[i]);
        if (b == NULL)
            json_object_set_new(patch, keys[i], json_null());
        else if (json_is_object(a) && json_is_object(b) && !json_equal(a, b))
            json_object_set_new(patch, keys[i], jdiff_merge_patch(a, b));
        else if (a == NULL || !json_equal(a, b))
            json_object_set(patch, keys[i], b);
    }
    return patch;
}
