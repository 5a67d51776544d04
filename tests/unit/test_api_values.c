/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of the scalar grammars: what is accepted with its meaning, and what is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/values.h"
#include "base/str.h"

#define NONE INT64_MIN /* refused */

/* 1,2,3,...: a JSON text into a value; fails the test when the table itself is wrong. */
static json_t *
parse(const char *text)
{
    json_error_t err;
    json_t *v = json_loads(text, JSON_DECODE_ANY, &err);
    assert_non_null(v);
    return v;
}

static void
test_names(void **state)
{
    static const struct {
        const char *text;
        bool subdomain, label, key, value, run;
    } cases[] = {
        {"a", true, true, true, true, false},
        {"ab", true, true, true, true, true},
        {"hello-1", true, true, true, true, true},
        {"1a", true, true, true, true, false},
        {"a-", false, false, false, false, false},
        {"-a", false, false, false, false, false},
        {"a.b", true, false, true, true, false},
        {"a..b", false, false, true, true, false},
        {".a", false, false, false, false, false},
        {"a.", false, false, false, false, false},
        {"A", false, false, true, true, false},
        {"a_b", false, false, true, true, false},
        {"drover.dev/run", false, false, true, false, false},
        {"drover.dev/", false, false, false, false, false},
        {"/run", false, false, false, false, false},
        {"Drover.dev/run", false, false, false, false, false},
        {"a/b/c", false, false, false, false, false},
        {"", false, false, false, true, false},
        {"a b", false, false, false, false, false},
        {"\xc3\xa9", false, false, false, false, false},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *s = cases[i].text;
        size_t n = strlen(s);
        print_message("%s\n", s);
        assert_int_equal(value_is_dns_subdomain(s, n), cases[i].subdomain);
        assert_int_equal(value_is_dns_label(s, n), cases[i].label);
        assert_int_equal(value_is_label_key(s, n), cases[i].key);
        assert_int_equal(value_is_qualified_name(s, n), cases[i].key);
        assert_int_equal(value_is_label_value(s, n), cases[i].value);
        assert_int_equal(value_is_run_name(s, n), cases[i].run);
    }
}

static void
test_name_lengths(void **state)
{
    char s[300];
    UNUSED(state);
    memset(s, 'a', sizeof(s));
    assert_true(value_is_dns_subdomain(s, 253));
    assert_false(value_is_dns_subdomain(s, 254));
    assert_true(value_is_dns_label(s, 63));
    assert_false(value_is_dns_label(s, 64));
    assert_true(value_is_label_value(s, 63));
    assert_false(value_is_label_value(s, 64));
    assert_true(value_is_run_name(s, 41));
    assert_false(value_is_run_name(s, 42));
    s[100] = '/';
    assert_true(value_is_label_key(s, 164));
    assert_false(value_is_label_key(s, 165));
}

static void
test_duration(void **state)
{
    static const struct {
        const char *json;
        int64_t plain, offable;
    } cases[] = {
        {"90", 90, 90},
        {"90.9", 90, 90},
        {"0", 0, 0},
        {"\"90\"", 90, 90},
        {"\"0\"", 0, 0},
        {"\"90s\"", 90, 90},
        {"\"30m\"", 1800, 1800},
        {"\"1h\"", 3600, 3600},
        {"\"1  h\"", 3600, 3600},
        {"\"2d\"", 172800, 172800},
        {"\"1w\"", 604800, 604800},
        {"\"off\"", NONE, DURATION_OFF},
        {"false", NONE, DURATION_OFF},
        {"true", NONE, NONE},
        {"null", NONE, NONE},
        {"-1", NONE, NONE},
        {"-0.5", NONE, NONE},
        {"\"-1\"", NONE, NONE},
        {"\"\"", NONE, NONE},
        {"\"h\"", NONE, NONE},
        {"\"1h30m\"", NONE, NONE},
        {"\"1.5h\"", NONE, NONE},
        {"\"90 min\"", NONE, NONE},
        {"\"1H\"", NONE, NONE},
        {"\"1h \"", NONE, NONE},
        {"\" 1h\"", NONE, NONE},
        {"\"1h\\u0000\"", NONE, NONE},
        {"\"9223372036\"", INT64_C(9223372036), INT64_C(9223372036)},
        {"\"9223372037\"", NONE, NONE},
        {"\"99999999999999999999\"", NONE, NONE},
        {"\"9000000000w\"", NONE, NONE},
        {"1e300", NONE, NONE},
        {"9223372036854775807", NONE, NONE},
        {"[]", NONE, NONE},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        json_t *v = json_loads(cases[i].json, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        assert_non_null(v);
        print_message("%s\n", cases[i].json);
        for (int off = 0; off < 2; off++) {
            struct error e = ERROR_INIT;
            int64_t want = off ? cases[i].offable : cases[i].plain, got = NONE;
            int r = value_duration(v, off, &got, &e);
            assert_int_equal(r, want == NONE ? -ERR_INVALID : 0);
            assert_true(got == want);
            assert_int_equal(e.msg[0] != '\0', r != 0);
        }
        json_decref(v);
    }
}

static void
test_memory(void **state)
{
    static const struct {
        const char *json;
        int64_t mib;
    } cases[] = {
        {"16", 16384},          {"0.5", 512},           {"\"16\"", 16384},
        {"\"16GB\"", 16384},    {"\"16 gb\"", 16384},   {"\"512MB\"", 512},
        {"\"1TB\"", 1048576},   {"\"1.5tb\"", 1572864}, {"\"0GB\"", 0},
        {"\"0.25MB\"", 1},      {"\"8G\"", NONE},       {"\"100KB\"", NONE},
        {"\"\"", NONE},         {"\"GB\"", NONE},       {"\"-1GB\"", NONE},
        {"-1", NONE},           {"true", NONE},         {"\"1e3GB\"", NONE},
        {"\"0x10GB\"", NONE},   {"\"nan\"", NONE},      {"\"16GBx\"", NONE},
        {"\"1.GB\"", NONE},     {"\".5GB\"", NONE},     {"\"16GB..\"", NONE},
        {"\"9e9TB\"", NONE},    {"1e300", NONE},        {"\"9999999999TB\"", NONE},
        {"{\"min\": 1}", NONE},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct error e = ERROR_INIT;
        json_t *v = parse(cases[i].json);
        int64_t got = NONE;
        print_message("%s\n", cases[i].json);
        int r = value_memory(v, &got, &e);
        assert_int_equal(r, cases[i].mib == NONE ? -ERR_INVALID : 0);
        assert_true(got == cases[i].mib);
        json_decref(v);
    }
}

#define OPEN INT64_MAX

static void
test_ranges(void **state)
{
    static const struct {
        const char *json;
        bool memory;
        int64_t min, max;
    } cases[] = {
        {"4", false, 4, 4},
        {"0", false, 0, 0},
        {"\"4\"", false, 4, 4},
        {"\"4..\"", false, 4, OPEN},
        {"\"..8\"", false, 0, 8},
        {"\" 2 .. 8 \"", false, 2, 8},
        {"\"2..2\"", false, 2, 2},
        {"{\"min\": 4, \"max\": 8}", false, 4, 8},
        {"{\"min\": 4}", false, 4, OPEN},
        {"{\"max\": \"8\", \"min\": null}", false, 0, 8},
        {"\"..\"", false, NONE, 0},
        {"\"\"", false, NONE, 0},
        {"\"1..2..3\"", false, NONE, 0},
        {"\"1...3\"", false, NONE, 0},
        {"\"8..4\"", false, NONE, 0},
        {"{\"min\": 8, \"max\": 4}", false, NONE, 0},
        {"{}", false, NONE, 0},
        {"{\"min\": null}", false, NONE, 0},
        {"{\"min\": 1, \"step\": 2}", false, NONE, 0},
        {"{\"min\": {\"min\": 1}}", false, NONE, 0},
        {"2.5", false, NONE, 0},
        {"\"2.5\"", false, NONE, 0},
        {"-1", false, NONE, 0},
        {"\"-1..\"", false, NONE, 0},
        {"true", false, NONE, 0},
        {"[]", false, NONE, 0},
        {"\"99999999999999999999..\"", false, NONE, 0},
        {"16", true, 16384, 16384},
        {"\"16GB..\"", true, 16384, OPEN},
        {"\"512MB..1TB\"", true, 512, 1048576},
        {"{\"min\": \"24GB\", \"max\": 80}", true, 24576, 81920},
        {"\"..80GB\"", true, 0, 81920},
        {"\"..\"", true, NONE, 0},
        {"\"32GB..16GB\"", true, NONE, 0},
        {"\"8G\"", true, NONE, 0},
        {"{\"max\": \"8G\"}", true, NONE, 0},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct error e = ERROR_INIT;
        json_t *v = parse(cases[i].json);
        struct range got = {NONE, 0};
        print_message("%s\n", cases[i].json);
        int r = cases[i].memory ? value_memory_range(v, &got, &e)
                                : value_int_range(v, &got, &e);
        assert_int_equal(r, cases[i].min == NONE ? -ERR_INVALID : 0);
        assert_true(got.min == cases[i].min && got.max == cases[i].max);
        json_decref(v);
    }
}

static void
test_unix_user(void **state)
{
    static const struct {
        const char *text;
        bool ok;
        int64_t uid, gid;
        const char *user, *group;
    } cases[] = {
        {"root", true, -1, -1, "root", ""},
        {"1000", true, 1000, -1, "", ""},
        {"0:0", true, 0, 0, "", ""},
        {"alice:staff", true, -1, -1, "alice", "staff"},
        {"alice:100", true, -1, 100, "alice", ""},
        {"1000:staff", true, 1000, -1, "", "staff"},
        {"4294967294", true, 4294967294, -1, "", ""},
        {"4294967295", false, 0, 0, "", ""},
        {"99999999999999999999999", false, 0, 0, "", ""},
        {"-1", false, 0, 0, "", ""},
        {"1:-1", false, 0, 0, "", ""},
        {"", false, 0, 0, "", ""},
        {":", false, 0, 0, "", ""},
        {"a:", false, 0, 0, "", ""},
        {":b", false, 0, 0, "", ""},
        {"a:b:c", false, 0, 0, "", ""},
        {"a b", false, 0, 0, "", ""},
        {"a\n", false, 0, 0, "", ""},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false, 0, 0,
         "", ""},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct error e = ERROR_INIT;
        struct unix_user u = {0};
        print_message("%s\n", cases[i].text);
        int r = value_unix_user(cases[i].text, &u, &e);
        assert_int_equal(r, cases[i].ok ? 0 : -ERR_INVALID);
        if (!cases[i].ok)
            continue;
        assert_true(u.uid == cases[i].uid && u.gid == cases[i].gid);
        assert_string_equal(u.user, cases[i].user);
        assert_string_equal(u.group, cases[i].group);
    }
}

static void
test_quantity(void **state)
{
    static const struct {
        const char *text;
        int64_t milli;
    } cases[] = {
        {"1", 1000},
        {"0", 0},
        {"500m", 500},
        {"0.5", 500},
        {".5", 500},
        {"5.", 5000},
        {"+2", 2000},
        {"-2", -2000},
        {"1k", 1000000},
        {"1Ki", 1024000},
        {"1.5Gi", INT64_C(1610612736000)},
        {"1Gi", INT64_C(1073741824000)},
        {"1M", 1000000000},
        {"1e3", 1000000},
        {"1E3", 1000000},
        {"1e-3", 1},
        {"1u", 1},
        {"1n", 1},
        {"1500u", 2},
        {"2000000n", 2},
        {"-1u", -1},
        {"0.0001", 1},
        {"0.0000000000000001", 1},
        {"1.0000000000000000", 1000},
        {"9223372036854775", INT64_C(9223372036854775000)},
        {"9223372036854776", NONE},
        {"1E", NONE},
        {"8Pi", INT64_C(9007199254740992000)},
        {"9Pi", NONE},
        {"99999999999999999999999", NONE},
        {"0.000000000000001E", 1000000},
        {"0.0000000000000001E", NONE},
        {"", NONE},
        {".", NONE},
        {"-", NONE},
        {"m", NONE},
        {"1 Gi", NONE},
        {"1gi", NONE},
        {"1K", NONE},
        {"1Gib", NONE},
        {"1e", NONE},
        {"1e+", NONE},
        {"1e3k", NONE},
        {"1e99", NONE},
        {"1.2.3", NONE},
        {"0x1", NONE},
        {"1mi", NONE},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct error e = ERROR_INIT;
        int64_t got = NONE;
        print_message("%s\n", cases[i].text);
        int r = value_quantity(cases[i].text, &got, &e);
        assert_int_equal(r, cases[i].milli == NONE ? -ERR_INVALID : 0);
        assert_true(got == cases[i].milli);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),    cmocka_unit_test(test_name_lengths),
        cmocka_unit_test(test_duration), cmocka_unit_test(test_memory),
        cmocka_unit_test(test_ranges),   cmocka_unit_test(test_unix_user),
        cmocka_unit_test(test_quantity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
