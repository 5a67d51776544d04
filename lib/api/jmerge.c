/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RFC 7386 on canonical bytes: both sides are sorted, so one merge walk per object. Depth
 * is bounded by what jcanon and kind_decode let through.
 */
#include "api/jtok_internal.h"

static void merge(struct span target, struct span patch, struct str *out);

static bool
is_null(struct span v)
{
    return v.len == 4 && v.ptr[0] == 'n';
}

static void
put_member(struct str *out, struct span key, struct span target, struct span patch)
{
    jput_item(out);
    put_char(out, '"');
    put(out, key.ptr, key.len);
    put(out, "\":", 2);
    if (patch.ptr == NULL)
        put(out, target.ptr, target.len);
    else
        merge(target, patch, out);
}

static void
merge(struct span target, struct span patch, struct str *out)
{
    static const struct span empty = {"{}", 2};
    const char *tc = NULL, *pc = NULL;
    struct span tk = {0}, tv = {0}, pk = {0}, pv = {0};
    bool t_more, p_more;

    if (patch.ptr[0] != '{') {
        put(out, patch.ptr, patch.len);
        return;
    }
    if (target.len == 0 || target.ptr[0] != '{')
        target = empty;
    put_char(out, '{');
    t_more = jscan_next_member(target, &tc, &tk, &tv);
    p_more = jscan_next_member(patch, &pc, &pk, &pv);
    while (t_more || p_more) {
        int c = !t_more ? 1 : !p_more ? -1 : span_cmp(tk, pk);
        if (c < 0)
            put_member(out, tk, tv, (struct span){0});
        else if (!is_null(pv))
            put_member(out, pk, c == 0 ? tv : (struct span){0}, pv);
        if (c <= 0)
            t_more = jscan_next_member(target, &tc, &tk, &tv);
        if (c >= 0)
            p_more = jscan_next_member(patch, &pc, &pk, &pv);
    }
    put_char(out, '}');
}

int
jmerge(struct span target, struct span patch, struct str *out, struct error *e)
{
    size_t before = out->len;

    if (patch.len == 0)
        return error_set(e, ERR_BAD_REQUEST, "empty patch");
    merge(target, patch, out);
    if (out->toobig) {
        str_truncate(out, before);
        return error_set(e, ERR_TOO_LARGE, "merged object larger than %zu bytes",
                         out->max);
    }
    return 0;
}
