/* SPDX-License-Identifier: Apache-2.0 */
/* Canonical bytes, RFC 7386 merge on them, and the words of violations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/jtok.h"
#include "api/violations.h"

static void
test_canon(void **state)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {" { \"b\" : 1 , \"a\" : [ true , null ] } ", "{\"a\":[true,null],\"b\":1}"},
        {"{\"a\":1,\"ab\":2,\"B\":3,\"\":4}", "{\"\":4,\"B\":3,\"a\":1,\"ab\":2}"},
        {"{\"a\":1,\"a\":2,\"b\":0,\"a\":3}", "{\"a\":3,\"b\":0}"},
        {"{\"\\u0061\":1,\"a\":{\"z\":1,\"y\":2}}", "{\"a\":{\"y\":2,\"z\":1}}"},
        {"\"\\u00e9\\/\\u0041\\u001f\\u000a\"", "\"\xc3\xa9/A\\u001f\\n\""},
        {"\"\\ud83d\\ude00\"", "\"\xf0\x9f\x98\x80\""},
        {"-0", "0"},
        {"-0.0", "0"},
        {"1.0", "1"},
        {"1e3", "1000"},
        {"0.1", "0.1"},
        {"1.10", "1.1"},
        {"1e-7", "1e-07"},
        {"9223372036854775807", "9223372036854775807"},
        {"9223372036854775808", "9.223372036854776e+18"},
        {"0.30000000000000004", "0.30000000000000004"},
        {"[]", "[]"},
        {"{\"x\":{}}", "{\"x\":{}}"},
    };

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        auto_str once = STR_INIT(1000), twice = STR_INIT(1000);
        struct error e = ERROR_INIT;
        assert_int_equal(jcanon(cases[i].in, strlen(cases[i].in), &once, &e), 0);
        assert_string_equal(once.ptr, cases[i].out);
        assert_int_equal(jcanon(once.ptr, once.len, &twice, &e), 0);
        assert_string_equal(twice.ptr, once.ptr);
    }
}

static void
test_canon_many_members(void **state)
{
    auto_str in = STR_INIT(100000), out = STR_INIT(100000), want = STR_INIT(100000);
    struct error e = ERROR_INIT;

    UNUSED(state);
    str_addc(&in, '{');
    for (int i = 999; i >= 0; i--)
        str_addf(&in, "%s\"k%03d\":%d", i == 999 ? "" : ",", i, i);
    str_addc(&in, '}');
    str_addc(&want, '{');
    for (int i = 0; i < 1000; i++)
        str_addf(&want, "%s\"k%03d\":%d", i == 0 ? "" : ",", i, i);
    str_addc(&want, '}');
    assert_int_equal(jcanon(in.ptr, in.len, &out, &e), 0);
    assert_string_equal(out.ptr, want.ptr);
}

static void
test_canon_refuses(void **state)
{
    auto_str out = STR_INIT(8);
    struct error e = ERROR_INIT;

    UNUSED(state);
    assert_int_equal(jcanon("[1,", 3, &out, &e), -ERR_BAD_REQUEST);
    assert_int_equal(out.len, 0);
    assert_int_equal(jcanon("1e999", 5, &out, &e), -ERR_BAD_REQUEST);
    assert_int_equal(jcanon("[1] 2", 5, &out, &e), -ERR_BAD_REQUEST);
    assert_int_equal(jcanon("\"123456789\"", 11, &out, &e), -ERR_TOO_LARGE);
    str_reset(&out);
    assert_int_equal(jcanon("{\"b\":1,\"a\":2}", 13, &out, &e), -ERR_TOO_LARGE);
    assert_int_equal(out.len, 0);
}

static void
test_merge(void **state)
{
    /* The cases of RFC 7386, appendix A, and ours. */
    static const char *const cases[][3] = {
        {"{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}"},
        {"{\"a\":\"b\"}", "{\"a\":null}", "{}"},
        {"{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}"},
        {"{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}"},
        {"{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}",
         "{\"a\":{\"b\":\"d\"}}"},
        {"{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}"},
        {"[\"a\",\"b\"]", "[\"c\",\"d\"]", "[\"c\",\"d\"]"},
        {"{\"a\":\"b\"}", "[\"c\"]", "[\"c\"]"},
        {"{\"a\":\"foo\"}", "null", "null"},
        {"{\"a\":\"foo\"}", "\"bar\"", "\"bar\""},
        {"{\"e\":null}", "{\"a\":1}", "{\"a\":1,\"e\":null}"},
        {"[1,2]", "{\"a\":\"b\",\"c\":null}", "{\"a\":\"b\"}"},
        {"{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}"},
        {"{\"a\":1,\"z\":2}", "{\"m\":{\"x\":null,\"y\":[null]}}",
         "{\"a\":1,\"m\":{\"y\":[null]},\"z\":2}"},
    };

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        auto_str out = STR_INIT(1000);
        struct error e = ERROR_INIT;
        assert_int_equal(jmerge(span_of(cases[i][0]), span_of(cases[i][1]), &out, &e), 0);
        assert_string_equal(out.ptr, cases[i][2]);
    }
}

static void
test_violation_words(void **state)
{
    auto_violations v = {0};
    auto_str s = STR_INIT(4096);

    UNUSED(state);
    violations_add(&v, VIOLATION_UNKNOWN, "spec.bogus", NULL, "%s", "");
    violations_add(&v, VIOLATION_REQUIRED, "spec.a", NULL, "%s", "");
    assert_int_equal(violations_errors(&v), 1);
    violations_join(&v, false, &s);
    assert_string_equal(s.ptr, "spec.a: Required value");
    str_reset(&s);
    violations_add(&v, VIOLATION_NOT_SUPPORTED, "spec.b", "\"x\"", "supported values: %s",
                   "\"y\"");
    violations_add(&v, VIOLATION_DUPLICATE_KEY, "spec.x", NULL, "%s", "");
    violations_join(&v, false, &s);
    assert_string_equal(s.ptr,
                        "[spec.a: Required value, spec.b: Unsupported value: \"x\": "
                        "supported values: \"y\"]");
    str_reset(&s);
    violations_join(&v, true, &s);
    assert_string_equal(s.ptr,
                        "unknown field \"spec.bogus\", duplicate field \"spec.x\"");
    assert_string_equal(violation_reason_name(v.list.items[1].reason),
                        "FieldValueRequired");
}

static void
test_violations_are_bounded(void **state)
{
    auto_violations v = {0};
    char value[1000];

    UNUSED(state);
    for (int i = 0; i < VIOLATIONS_MAX + 10; i++)
        violations_add(&v, VIOLATION_UNKNOWN, "x", NULL, "%s", "");
    assert_int_equal(v.list.len, VIOLATIONS_MAX);
    assert_int_equal(v.dropped, 10);
    memset(value, 0xc3, sizeof(value));
    for (size_t i = 1; i < sizeof(value); i += 2)
        value[i] = (char)0xa9;
    value[sizeof(value) - 1] = '\0';
    value[0] = '"';
    violations_add(&v, VIOLATION_INVALID, "y", value, "bad");
    assert_int_equal(violations_errors(&v), 1);
    assert_int_equal(v.list.len, VIOLATIONS_MAX);
    assert_true(strlen(v.list.items[VIOLATIONS_MAX - 1].message) < 200);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_canon),
        cmocka_unit_test(test_canon_many_members),
        cmocka_unit_test(test_canon_refuses),
        cmocka_unit_test(test_merge),
        cmocka_unit_test(test_violation_words),
        cmocka_unit_test(test_violations_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
