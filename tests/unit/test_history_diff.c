/* SPDX-License-Identifier: Apache-2.0 */
/* The two diffs of the history: the server's list of paths, the command's values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "api/jtok.h"
#include "apiserver/registry/history.h"
#include "cli/jdiff.h"

static void
expect_paths(const char *before, const char *after, const char *want)
{
    auto_str out = STR_INIT(4096);

    revision_diff(span_of(before), span_of(after), &out);
    assert_string_equal(out.ptr, want);
}

static void
paths_of_canonical_bytes(void **state)
{
    UNUSED(state);
    expect_paths("{}", "{}", "");
    expect_paths("{\"apiVersion\":\"a\",\"kind\":\"b\",\"metadata\":{\"name\":\"c\"},"
                 "\"status\":{\"d\":1}}",
                 "{\"apiVersion\":\"A\",\"kind\":\"B\",\"metadata\":{},\"spec\":{}}",
                 "spec");
    expect_paths("{\"spec\":{\"a\":1,\"b\":{\"c\":[1,2]}}}",
                 "{\"spec\":{\"a\":2,\"b\":{\"c\":[1,3],\"d\":null}}}",
                 "spec.a, spec.b.c[1], spec.b.d");
    expect_paths("{\"spec\":{\"l\":[1,2]}}", "{\"spec\":{\"l\":[1]}}", "spec.l");
    expect_paths("{\"data\":{\"a.b\":\"x\"}}", "{\"data\":{\"a.b\":\"y\"}}",
                 "data['a.b']");
    expect_paths("{\"spec\":{\"status\":1}}", "{\"spec\":{\"status\":2}}", "spec.status");
    expect_paths("{\"spec\":{\"a\":\"1\"}}", "{\"spec\":{\"a\":1}}", "spec.a");
    expect_paths("{\"spec\":{\"a\":1,\"b\":1,\"c\":1,\"d\":1,\"e\":1,\"f\":1,\"g\":1,"
                 "\"h\":1}}",
                 "{\"spec\":{}}",
                 "spec.a, spec.b, spec.c, spec.d, spec.e, spec.f, and 2 more");
}

static void
depth_is_bounded(void **state)
{
    auto_str a = STR_INIT(4096), b = STR_INIT(4096), out = STR_INIT(4096);

    UNUSED(state);
    for (int i = 0; i < 90; i++) {
        str_adds(&a, "{\"k\":");
        str_adds(&b, "{\"k\":");
    }
    str_adds(&a, "1");
    str_adds(&b, "2");
    for (int i = 0; i < 90; i++) {
        str_adds(&a, "}");
        str_adds(&b, "}");
    }
    revision_diff((struct span){a.ptr, a.len}, (struct span){b.ptr, b.len}, &out);
    assert_true(str_starts(out.ptr, "k.k.k"));
}

static json_t *
load(const char *text)
{
    json_t *v = json_loads(text, JSON_DECODE_ANY, NULL);

    assert_non_null(v);
    return v;
}

static void
expect_lines(const char *before, const char *after, bool hide, size_t n, const char *want)
{
    struct jdiff_opts o = {.hide_data = hide};
    auto_str out = STR_INIT(4096);
    json_t *a = load(before), *b = load(after);

    assert_int_equal(jdiff_print(a, b, &o, &out), n);
    assert_string_equal(out.ptr, want);
    json_decref(a);
    json_decref(b);
}

static void
values_line_by_line(void **state)
{
    UNUSED(state);
    expect_lines("{\"a\":1}", "{\"a\":1}", false, 0, "");
    expect_lines("{\"spec\":{\"a\":1,\"b\":{\"x\":true}}}",
                 "{\"spec\":{\"a\":2,\"c\":\"new\"}}", false, 3,
                 "-spec.a: 1\n+spec.a: 2\n-spec.b: {\"x\":true}\n+spec.c: \"new\"\n");
    /* one item in the middle of a list went away */
    expect_lines("{\"l\":[\"a\",\"b\",\"c\"]}", "{\"l\":[\"a\",\"c\"]}", false, 1,
                 "-l[1]: \"b\"\n");
    expect_lines("{\"l\":[{\"n\":1},{\"n\":2}]}", "{\"l\":[{\"n\":1},{\"n\":3}]}", false,
                 1, "-l[1].n: 2\n+l[1].n: 3\n");
    expect_lines("{\"data\":{\"k\":\"b2xk\"},\"type\":\"a\"}",
                 "{\"data\":{\"k\":\"bmV3\"},\"type\":\"b\"}", true, 2,
                 "-data.k: (hidden)\n+data.k: (hidden)\n-type: \"a\"\n+type: \"b\"\n");
    /* a whole map of them */
    expect_lines("{}", "{\"data\":{\"k\":\"bmV3\"}}", true, 1, "+data: (hidden)\n");
}

/* --- the merge patch turns one into the other, whatever they are --- */

static json_t *
random_value(unsigned *seed, int depth)
{
    switch (rand_r(seed) % (depth > 0 ? 6 : 4)) {
    case 0:
        return json_integer(rand_r(seed) % 3);
    case 1:
        return json_string(rand_r(seed) % 2 ? "x" : "y");
    case 2:
        return json_boolean(rand_r(seed) % 2);
    case 3: {
        json_t *a = json_array();
        for (int i = rand_r(seed) % 3; i > 0; i--)
            json_array_append_new(a, json_integer(rand_r(seed) % 3));
        return a;
    }
    default: {
        json_t *o = json_object();
        for (int i = rand_r(seed) % 4; i > 0; i--) {
            char key[2] = {(char)('a' + rand_r(seed) % 4), '\0'};
            json_object_set_new(o, key, random_value(seed, depth - 1));
        }
        return o;
    }
    }
}

static json_t *
random_object(unsigned *seed)
{
    for (;;) {
        json_t *o = random_value(seed, 4);
        if (json_is_object(o))
            return o;
        json_decref(o);
    }
}

static void
canonical(const json_t *v, struct str *out)
{
    struct error e = ERROR_INIT;
    autofree char *text = json_dumps(v, JSON_COMPACT);

    assert_int_equal(jcanon(text, strlen(text), out, &e), 0);
}

static void
merge_patch_reaches_the_other(void **state)
{
    unsigned seed = 1;

    UNUSED(state);
    for (int i = 0; i < 3000; i++) {
        json_t *a = random_object(&seed), *b = random_object(&seed);
        json_t *p = jdiff_merge_patch(a, b);
        auto_str ac = STR_INIT(65536), bc = STR_INIT(65536), pc = STR_INIT(65536),
                 got = STR_INIT(65536), paths = STR_INIT(65536), shown = STR_INIT(65536);
        struct error e = ERROR_INIT;
        canonical(a, &ac);
        canonical(b, &bc);
        canonical(p, &pc);
        assert_int_equal(jmerge((struct span){ac.ptr, ac.len},
                                (struct span){pc.ptr, pc.len}, &got, &e),
                         0);
        assert_string_equal(got.ptr, bc.ptr);
        /* both diffs see a difference exactly when there is one */
        bool same = streq(ac.ptr, bc.ptr);
        assert_int_equal(jdiff_paths(a, b, &shown) == 0, same);
        revision_diff((struct span){ac.ptr, ac.len}, (struct span){bc.ptr, bc.len},
                      &paths);
        assert_int_equal(paths.len == 0, same);
        assert_int_equal(json_object_size(p) == 0, same);
        json_decref(a);
        json_decref(b);
        json_decref(p);
    }
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_of_canonical_bytes),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(values_line_by_line),
        cmocka_unit_test(merge_patch_reaches_the_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
