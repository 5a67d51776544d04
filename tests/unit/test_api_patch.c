/* SPDX-License-Identifier: Apache-2.0 */
/* JSON patch and merge patch: tables of target, patch and result, and the bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/jtok.h"
#include "api/managed.h"
#include "api/object.h"
#include "base/mem.h"
#include "base/str.h"

/* Tables are written with ' for " to stay readable. */
static json_t *
parse(const char *text)
{
    autofree char *copy = xstrdup(text);

    for (char *p = copy; *p != '\0'; p++) {
        if (*p == '\'')
            *p = '"';
    }
    json_t *v = json_loads(copy, JSON_DECODE_ANY, NULL);
    if (v == NULL)
        fail_msg("bad JSON in the table: %s", text);
    return v;
}

static const struct {
    const char *target, *patch;
    const char *result; /* NULL: refused */
    const char *message;
    enum err_code code;
} json_cases[] = {
    {"{'foo':'bar'}", "[]", "{'foo':'bar'}", NULL, 0},
    {"{'foo':'bar'}", "[{'op':'add','path':'/baz','value':'qux'}]",
     "{'baz':'qux','foo':'bar'}", NULL, 0},
    {"{'foo':['bar','baz']}", "[{'op':'add','path':'/foo/1','value':'qux'}]",
     "{'foo':['bar','qux','baz']}", NULL, 0},
    {"{'foo':['bar']}", "[{'op':'add','path':'/foo/1','value':1}]", "{'foo':['bar',1]}",
     NULL, 0},
    {"{'foo':['bar']}", "[{'op':'add','path':'/foo/-','value':['abc','def']}]",
     "{'foo':['bar',['abc','def']]}", NULL, 0},
    {"{'foo':1}", "[{'op':'add','path':'/foo','value':2}]", "{'foo':2}", NULL, 0},
    {"{'foo':1}", "[{'op':'add','path':'','value':[1]}]", "[1]", NULL, 0},
    {"{'foo':1}", "[{'op':'add','path':'/','value':2}]", "{'foo':1,'':2}", NULL, 0},
    {"{'foo':null}", "[{'op':'add','path':'/bar','value':null}]",
     "{'foo':null,'bar':null}", NULL, 0},
    {"{'baz':'qux','foo':'bar'}", "[{'op':'remove','path':'/baz'}]", "{'foo':'bar'}",
     NULL, 0},
    {"{'foo':['bar','qux','baz']}", "[{'op':'remove','path':'/foo/1'}]",
     "{'foo':['bar','baz']}", NULL, 0},
    {"{'baz':'qux'}", "[{'op':'replace','path':'/baz','value':'boo'}]", "{'baz':'boo'}",
     NULL, 0},
    {"{'a':[1,2]}", "[{'op':'replace','path':'/a/0','value':{'x':1}}]",
     "{'a':[{'x':1},2]}", NULL, 0},
    {"{'a':1}", "[{'op':'replace','path':'','value':{'b':2}}]", "{'b':2}", NULL, 0},
    {"{'foo':{'bar':'baz','waldo':'fred'},'qux':{'corge':'grault'}}",
     "[{'op':'move','from':'/foo/waldo','path':'/qux/thud'}]",
     "{'foo':{'bar':'baz'},'qux':{'corge':'grault','thud':'fred'}}", NULL, 0},
    {"{'foo':['all','grass','cows','eat']}",
     "[{'op':'move','from':'/foo/1','path':'/foo/3'}]",
     "{'foo':['all','cows','eat','grass']}", NULL, 0},
    {"{'a':1}", "[{'op':'move','from':'/a','path':'/a'}]", "{'a':1}", NULL, 0},
    {"{'a':{'b':1}}", "[{'op':'copy','from':'/a','path':'/a/c'}]",
     "{'a':{'b':1,'c':{'b':1}}}", NULL, 0},
    {"{'a':{'b':1}}", "[{'op':'copy','from':'','path':'/c'}]",
     "{'a':{'b':1},'c':{'a':{'b':1}}}", NULL, 0},
    {"{'baz':'qux','foo':['a',2,'c']}",
     "[{'op':'test','path':'/baz','value':'qux'},{'op':'test','path':'/foo/"
     "1','value':2}]",
     "{'baz':'qux','foo':['a',2,'c']}", NULL, 0},
    {"{'a':{'x':[1]}}", "[{'op':'test','path':'/a','value':{'x':[1.0]}}]",
     "{'a':{'x':[1]}}", NULL, 0},
    {"{'/':9,'~1':10}", "[{'op':'test','path':'/~01','value':10}]", "{'/':9,'~1':10}",
     NULL, 0},
    {"{'a/b':1,'m~n':2}",
     "[{'op':'replace','path':'/a~1b','value':3},{'op':'remove','path':'/m~0n'}]",
     "{'a/b':3}", NULL, 0},

    {"{'baz':'qux'}", "[{'op':'test','path':'/baz','value':'bar'}]", NULL,
     "the server rejected our request due to an error in our request: operation 0: test "
     "failed: /baz has another value",
     ERR_INVALID},
    {"{'a':1}", "[{'op':'test','path':'/a','value':'1'}]", NULL, "test failed",
     ERR_INVALID},
    {"{'a':1}", "[{'op':'test','path':'/b','value':null}]", NULL, "path not found: /b",
     ERR_INVALID},
    {"{'a':1}", "[{'op':'add','path':'/b','value':1},{'op':'remove','path':'/c'}]", NULL,
     "operation 1: path not found: /c", ERR_INVALID},
    {"{'a':1}", "[{'op':'replace','path':'/b','value':1}]", NULL, "path not found",
     ERR_INVALID},
    {"{'a':1}", "[{'op':'add','path':'/b/c','value':1}]", NULL, "path not found",
     ERR_INVALID},
    {"{'a':1}", "[{'op':'add','path':'/a/c','value':1}]", NULL, "path not found",
     ERR_INVALID},
    {"{'a':[1]}", "[{'op':'add','path':'/a/2','value':1}]", NULL, "path not found",
     ERR_INVALID},
    {"{'a':[1]}", "[{'op':'add','path':'/a/01','value':1}]", NULL, "path not found",
     ERR_INVALID},
    {"{'a':[1]}", "[{'op':'add','path':'/a/-1','value':1}]", NULL, "path not found",
     ERR_INVALID},
    {"{'a':[1]}", "[{'op':'add','path':'/a/1e0','value':1}]", NULL, "path not found",
     ERR_INVALID},
    {"{'a':[1]}", "[{'op':'remove','path':'/a/-'}]", NULL, "path not found", ERR_INVALID},
    {"{'a':[1]}", "[{'op':'replace','path':'/a/-','value':1}]", NULL, "path not found",
     ERR_INVALID},
    {"{'a':[1]}", "[{'op':'remove','path':'/a/99999999999999999999999999'}]", NULL,
     "path not found", ERR_INVALID},
    {"{'a':1}", "[{'op':'remove','path':''}]", NULL, "whole document", ERR_INVALID},
    {"{'a':{'b':1}}", "[{'op':'move','from':'/a','path':'/a/b'}]", NULL, "into itself",
     ERR_INVALID},
    {"{'a':1}", "[{'op':'move','from':'/x','path':'/y'}]", NULL, "path not found: /x",
     ERR_INVALID},
    {"{'a':1}", "[{'op':'copy','from':'/a','path':'/y/z'}]", NULL, "path not found: /y/z",
     ERR_INVALID},

    {"{'a':1}", "{'op':'remove','path':'/a'}", NULL, "array of operations",
     ERR_BAD_REQUEST},
    {"{'a':1}", "[1]", NULL, "\"op\" must be", ERR_BAD_REQUEST},
    {"{'a':1}", "[{'op':'frobnicate','path':'/a'}]", NULL, "\"op\" must be",
     ERR_BAD_REQUEST},
    {"{'a':1}", "[{'op':'add','path':'/b'}]", NULL, "\"value\" is missing in add",
     ERR_BAD_REQUEST},
    {"{'a':1}", "[{'op':'add','value':1}]", NULL, "\"path\" must be", ERR_BAD_REQUEST},
    {"{'a':1}", "[{'op':'add','path':'b','value':1}]", NULL, "start with a slash",
     ERR_BAD_REQUEST},
    {"{'a':1}", "[{'op':'add','path':'/~2','value':1}]", NULL, "tilde", ERR_BAD_REQUEST},
    {"{'a':1}", "[{'op':'add','path':'/~','value':1}]", NULL, "tilde", ERR_BAD_REQUEST},
    {"{'a':1}", "[{'op':'move','path':'/b'}]", NULL, "\"from\" must be", ERR_BAD_REQUEST},
};

static void
test_json_patch(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(json_cases); i++) {
        struct error e = ERROR_INIT;
        json_t *target = parse(json_cases[i].target), *patch = parse(json_cases[i].patch);
        json_t *before = json_deep_copy(target), *got = NULL;
        int r = patch_json(target, patch, &got, &e);

        print_message("%s: %s\n", json_cases[i].patch, e.msg);
        assert_true(json_equal(target, before));
        if (json_cases[i].result != NULL) {
            json_t *want = parse(json_cases[i].result);
            assert_int_equal(r, 0);
            assert_true(json_equal(got, want));
            json_decref(want);
        } else {
            assert_int_equal(r, -(int)json_cases[i].code);
            assert_non_null(strstr(e.msg, json_cases[i].message));
            assert_null(got);
        }
        json_decref(got);
        json_decref(before);
        json_decref(patch);
        json_decref(target);
    }
}

/* RFC 7386, appendix A, as far as patches are objects; and nulls in nested new values. */
static const struct {
    const char *target, *patch, *result;
} merge_cases[] = {
    {"{'a':'b'}", "{'a':'c'}", "{'a':'c'}"},
    {"{'a':'b'}", "{'b':'c'}", "{'a':'b','b':'c'}"},
    {"{'a':'b'}", "{'a':null}", "{}"},
    {"{'a':'b','b':'c'}", "{'a':null}", "{'b':'c'}"},
    {"{'a':['b']}", "{'a':'c'}", "{'a':'c'}"},
    {"{'a':'c'}", "{'a':['b']}", "{'a':['b']}"},
    {"{'a':{'b':'c'}}", "{'a':{'b':'d','c':null}}", "{'a':{'b':'d'}}"},
    {"{'a':[{'b':'c'}]}", "{'a':[1]}", "{'a':[1]}"},
    {"{'e':null}", "{'a':1}", "{'e':null,'a':1}"},
    {"[1,2]", "{'a':'b','c':null}", "{'a':'b'}"},
    {"{}", "{'a':{'bb':{'ccc':null}}}", "{'a':{'bb':{}}}"},
    {"{'a':1}", "{'a':{'b':null,'c':[null,{'d':null}]}}",
     "{'a':{'c':[null,{'d':null}]}}"},
};

static void
test_merge_patch(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(merge_cases); i++) {
        struct error e = ERROR_INIT;
        json_t *target = parse(merge_cases[i].target);
        json_t *patch = parse(merge_cases[i].patch), *want = parse(merge_cases[i].result);
        json_t *before = json_deep_copy(target), *got = NULL;

        print_message("%s\n", merge_cases[i].patch);
        assert_int_equal(patch_merge(target, patch, &got, &e), 0);
        assert_true(json_equal(got, want));
        assert_true(json_equal(target, before));
        json_decref(got);
        json_decref(before);
        json_decref(want);
        json_decref(patch);
        json_decref(target);
    }
}

static void
test_merge_patch_must_be_object(void **state)
{
    struct error e = ERROR_INIT;
    json_t *patch = parse("['c']"), *got = NULL;
    UNUSED(state);
    assert_int_equal(patch_merge(patch, patch, &got, &e), -ERR_BAD_REQUEST);
    json_decref(patch);
}

static json_t *
repeat_op(size_t n, const char *op)
{
    json_t *ops = json_array(), *one = parse(op);
    for (size_t i = 0; i < n; i++)
        json_array_append(ops, one);
    json_decref(one);
    return ops;
}

static int
run_ops(const char *target_text, json_t *ops, struct error *e)
{
    json_t *target = parse(target_text), *got = NULL;
    int r = patch_json(target, ops, &got, e);
    json_decref(got);
    json_decref(target);
    json_decref(ops);
    return r;
}

static void
test_bounds(void **state)
{
    struct error e = ERROR_INIT;
    UNUSED(state);
    json_t *ops = repeat_op(10000, "{'op':'test','path':'/a','value':1}");
    assert_int_equal(run_ops("{'a':1}", ops, &e), 0);

    ops = repeat_op(10001, "{'op':'test','path':'/a','value':1}");
    assert_int_equal(run_ops("{'a':1}", ops, &e), -ERR_TOO_LARGE);
    assert_string_equal(
        e.msg, "The allowed maximum operations in a JSON patch is 10000, got 10001");

    /* Each copy doubles the document. */
    ops = repeat_op(60, "{'op':'copy','from':'/a','path':'/a/-'}");
    assert_int_equal(run_ops("{'a':['0123456789']}", ops, &e), -ERR_TOO_LARGE);

    /* Each copy nests one level deeper. */
    ops = repeat_op(10000, "{'op':'copy','from':'/a','path':'/a/a'}");
    assert_int_equal(run_ops("{'a':{}}", ops, &e), -ERR_TOO_LARGE);
}

static void
test_deep_and_large_merge(void **state)
{
    struct error e = ERROR_INIT;
    json_t *deep = json_object(), *got = NULL, *empty = json_object();
    UNUSED(state);
    for (int i = 0; i < 2 * JTOK_MAX_DEPTH; i++) {
        json_t *up = json_object();
        json_object_set_new(up, "a", deep);
        deep = up;
    }
    assert_int_equal(patch_merge(empty, deep, &got, &e), -ERR_TOO_LARGE);
    json_decref(deep);

    autofree char *text = xmalloc(OBJECT_MAX_BYTES);
    memset(text, 'x', OBJECT_MAX_BYTES);
    json_t *half = json_object(), *other = json_object();
    json_object_set_new(half, "a", json_stringn(text, OBJECT_MAX_BYTES / 2));
    json_object_set_new(other, "b", json_stringn(text, OBJECT_MAX_BYTES / 2));
    assert_int_equal(patch_merge(half, other, &got, &e), -ERR_TOO_LARGE);
    json_decref(half);
    json_decref(other);
    json_decref(empty);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_patch),
        cmocka_unit_test(test_merge_patch),
        cmocka_unit_test(test_merge_patch_must_be_object),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_deep_and_large_merge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
