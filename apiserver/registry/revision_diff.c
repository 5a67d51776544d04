/* SPDX-License-Identifier: Apache-2.0 */
/* Which paths differ between two canonical objects: one walk over both, no tree. */
#include "api/jtok.h"
#include "apiserver/registry/history.h"

enum { SHOWN_MAX = 6, PATH_MAX_BYTES = 200, DEPTH_MAX = 32 };

struct walk {
    struct str path;
    struct str *out;
    size_t found;
};

static void walk_values(struct walk *w, struct span a, struct span b, unsigned depth);

static bool
equal(struct span a, struct span b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static int
compare_keys(struct span a, struct span b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int d = memcmp(a.ptr, b.ptr, n);

    if (d != 0 || a.len == b.len)
        return d;
    return a.len < b.len ? -1 : 1;
}

static void
report(struct walk *w)
{
    if (w->found++ >= SHOWN_MAX)
        return;
    if (w->found > 1)
        str_adds(w->out, ", ");
    size_t n = w->path.len < PATH_MAX_BYTES ? w->path.len : PATH_MAX_BYTES;
    str_add(w->out, w->path.ptr, n);
}

/* "a.b", or a['b.c'] for a key that a path cannot spell. */
static void
push_key(struct walk *w, struct span key)
{
    if (memchr(key.ptr, '.', key.len) != NULL || memchr(key.ptr, '/', key.len) != NULL)
        str_addf(&w->path, "['%.*s']", SPAN_ARG(key));
    else
        str_addf(&w->path, "%s%.*s", w->path.len > 0 ? "." : "", SPAN_ARG(key));
}

static void
enter(struct walk *w, struct span key, struct span a, struct span b, unsigned depth)
{
    size_t len = w->path.len;

    push_key(w, key);
    walk_values(w, a, b, depth + 1);
    str_truncate(&w->path, len);
}

static bool
left_out(struct span key, unsigned depth)
{
    return depth == 0 && (span_eq(key, "apiVersion") || span_eq(key, "kind") ||
                          span_eq(key, "metadata") || span_eq(key, "status"));
}

/* Members are sorted in both. */
static void
walk_objects(struct walk *w, struct span a, struct span b, unsigned depth)
{
    const char *at = NULL, *bt = NULL;
    struct span ak, av, bk, bv;
    bool more_a = jscan_next_member(a, &at, &ak, &av);
    bool more_b = jscan_next_member(b, &bt, &bk, &bv);

    while (more_a || more_b) {
        int d = !more_a ? 1 : !more_b ? -1 : compare_keys(ak, bk);
        struct span key = d <= 0 ? ak : bk;
        struct span from = d <= 0 ? av : (struct span){0};
        struct span to = d >= 0 ? bv : (struct span){0};
        if (!left_out(key, depth) && !equal(from, to))
            enter(w, key, from, to, depth);
        if (d <= 0)
            more_a = jscan_next_member(a, &at, &ak, &av);
        if (d >= 0)
            more_b = jscan_next_member(b, &bt, &bk, &bv);
    }
}

static size_t
count_items(struct span a)
{
    const char *at = NULL;
    struct span item;
    size_t n = 0;

    while (jscan_next_item(a, &at, &item))
        n++;
    return n;
}

static void
walk_arrays(struct walk *w, struct span a, struct span b, unsigned depth)
{
    const char *at = NULL, *bt = NULL;
    struct span ai, bi;

    if (count_items(a) != count_items(b)) {
        report(w);
        return;
    }
    for (size_t i = 0; jscan_next_item(a, &at, &ai) && jscan_next_item(b, &bt, &bi);
         i++) {
        size_t len = w->path.len;
        if (equal(ai, bi))
            continue;
        str_addf(&w->path, "[%zu]", i);
        walk_values(w, ai, bi, depth + 1);
        str_truncate(&w->path, len);
    }
}

static void
walk_values(struct walk *w, struct span a, struct span b, unsigned depth)
{
    bool alike = a.len > 0 && b.len > 0 && a.ptr[0] == b.ptr[0] && depth < DEPTH_MAX;

    if (alike && a.ptr[0] == '{')
        walk_objects(w, a, b, depth);
    else if (alike && a.ptr[0] == '[')
        walk_arrays(w, a, b, depth);
    else
        report(w);
}

void
revision_diff(struct span before, struct span after, struct str *out)
{
    struct walk w = {.path = STR_INIT(64 * 1024), .out = out};

    walk_objects(&w, before, after, 0);
    if (w.found > SHOWN_MAX)
        str_addf(out, ", and %zu more", w.found - SHOWN_MAX);
    str_done(&w.path);
}
