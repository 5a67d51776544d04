/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jtok accepts what jansson accepts (but for what the two document differently), jcanon
 * is idempotent and keeps the value, and jmerge does what RFC 7386 says a tree merge
 * does.
 */
#include <jansson.h>
#include <math.h>
#include <stdint.h>

#include "api/jtok.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool
tokens(const char *p, size_t n, bool *ret_odd)
{
    struct jtok_reader r;
    struct jtok t;
    struct error e = ERROR_INIT;

    *ret_odd = false;
    jtok_init(&r, p, n);
    do {
        if (jtok_next(&r, &t, &e) < 0)
            return false;
        if (t.type == JTOK_NUMBER) { /* jansson bounds integers and doubles */
            int64_t i;
            double d;
            struct error ignored = ERROR_INIT;
            if (t.integer ? jtok_int64(&t, &i, &ignored) < 0
                          : jtok_double(&t, &d, &ignored) < 0)
                *ret_odd = true;
        }
        if (t.type == JTOK_KEY && t.escaped) { /* jansson has no NUL in keys */
            auto_str key = STR_INIT(n);
            jtok_unescape(&t, &key);
            if (memchr(key.ptr, '\0', key.len) != NULL)
                *ret_odd = true;
        }
    } while (t.type != JTOK_END);
    return true;
}

static json_t *
load(const char *p, size_t n)
{
    json_error_t je;

    return json_loadb(p, n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &je);
}

static unsigned
depth_of(const char *p, size_t n)
{
    unsigned depth = 0, max = 0;
    bool text = false;

    for (size_t i = 0; i < n; i++) {
        if (text && p[i] == '\\')
            i++;
        else if (p[i] == '"')
            text = !text;
        else if (!text && (p[i] == '[' || p[i] == '{'))
            max = ++depth > max ? depth : max;
        else if (!text && (p[i] == ']' || p[i] == '}'))
            depth -= depth > 0;
    }
    return max;
}

/* Numbers are compared as doubles: jcanon writes 1.0 as 1. */
static bool
same(const json_t *a, const json_t *b)
{
    const char *key;
    json_t *x;
    size_t i;

    if (json_is_number(a) && json_is_number(b)) {
        if (json_is_integer(a) && json_is_integer(b))
            return json_integer_value(a) == json_integer_value(b);
        return json_number_value(a) == json_number_value(b);
    }
    if (json_typeof(a) != json_typeof(b))
        return false;
    if (json_is_object(a)) {
        if (json_object_size(a) != json_object_size(b))
            return false;
        json_object_foreach ((json_t *)(uintptr_t)a, key, x) {
            const json_t *y = json_object_get(b, key);
            if (y == NULL || !same(x, y))
                return false;
        }
        return true;
    }
    if (json_is_array(a)) {
        if (json_array_size(a) != json_array_size(b))
            return false;
        json_array_foreach (a, i, x)
            if (!same(x, json_array_get(b, i)))
                return false;
        return true;
    }
    return json_equal(a, b);
}

static json_t *
merge_trees(json_t *target, const json_t *patch)
{
    json_t *out, *value;
    const char *key;

    if (!json_is_object(patch))
        return json_deep_copy(patch);
    out = json_is_object(target) ? json_copy(target) : json_object();
    json_object_foreach ((json_t *)(uintptr_t)patch, key, value) {
        if (json_is_null(value))
            json_object_del(out, key);
        else
            json_object_set_new(out, key, merge_trees(json_object_get(out, key), value));
    }
    return out;
}

static void
check_merge(const json_t *tree, struct span canon)
{
    /* The first two items of an array are target and patch. */
    const char *c = NULL;
    struct span target, patch;
    auto_str out = STR_INIT(1u << 22), again = STR_INIT(1u << 22);
    struct error e = ERROR_INIT;
    json_t *want, *got;

    if (!jscan_next_item(canon, &c, &target) || !jscan_next_item(canon, &c, &patch))
        return;
    bug_if(jmerge(target, patch, &out, &e) < 0);
    bug_if(jcanon(out.ptr, out.len, &again, &e) < 0);
    bug_if(again.len != out.len || memcmp(again.ptr, out.ptr, out.len) != 0);
    got = load(out.ptr, out.len);
    want = merge_trees(json_array_get(tree, 0), json_array_get(tree, 1));
    bug_if(got == NULL || !same(want, got));
    json_decref(got);
    json_decref(want);
}

static void
check_scan(struct span canon)
{
    struct span key, value;
    const char *c = NULL;
    auto_str text = STR_INIT(1u << 22);
    int64_t i;

    bug_if(jscan_skip(canon.ptr) != canon.ptr + canon.len);
    json_t *ours = jtree(canon);
    json_t *theirs =
        json_loadb(canon.ptr, canon.len, JSON_ALLOW_NUL | JSON_DECODE_ANY, NULL);
    bug_if(ours == NULL ? theirs != NULL : !json_equal(ours, theirs));
    if (ours != NULL) { /* sorted as it came: the same bytes */
        auto_str back = STR_INIT(1u << 22);
        jtree_write(ours, &back);
        bug_if(back.len != canon.len || memcmp(back.ptr, canon.ptr, canon.len) != 0);
    }
    json_decref(ours);
    json_decref(theirs);
    while (jscan_next_member(canon, &c, &key, &value))
        check_scan(value);
    c = NULL;
    while (jscan_next_item(canon, &c, &value))
        check_scan(value);
    jscan_string(canon, &text);
    jscan_int64(canon, &i);
}

static void
check_canon(const json_t *tree, const char *p, size_t n)
{
    auto_str once = STR_INIT(1u << 22), twice = STR_INIT(1u << 22);
    struct error e = ERROR_INIT;
    json_t *back;

    if (jcanon(p, n, &once, &e) < 0) {
        bug_if(e.code != ERR_BAD_REQUEST);
        return;
    }
    bug_if(jcanon(once.ptr, once.len, &twice, &e) < 0);
    bug_if(once.len != twice.len || memcmp(once.ptr, twice.ptr, once.len) != 0);
    check_scan((struct span){once.ptr, once.len});
    if (tree == NULL)
        return;
    back = load(once.ptr, once.len);
    bug_if(back == NULL || !same(tree, back));
    json_decref(back);
    check_merge(tree, (struct span){once.ptr, once.len});
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *p = (const char *)data;
    bool odd, ours = tokens(p, size, &odd);
    json_t *tree = load(p, size);

    if (ours && !odd)
        bug_if(tree == NULL);
    /* jansson takes a NUL byte for the end of the text. */
    if (tree != NULL && memchr(p, '\0', size) == NULL &&
        depth_of(p, size) <= JTOK_MAX_DEPTH)
        bug_if(!ours);
    if (ours)
        check_canon(tree, p, size);
    json_decref(tree);
    return 0;
}
