/* SPDX-License-Identifier: Apache-2.0 */
/* YAML in: scalars, structure, refusals with their place. YAML out: kubectl's layout. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/jtok.h"
#include "api/yaml.h"
#include "base/mem.h"

static int
read_text(const char *text, size_t n, bool lines, struct yaml_docs *ret, struct error *e)
{
    autofree char *copy = xmemdup(text, n + 1);

    return yaml_read(copy, n, lines, ret, e);
}

static void
check_reads(const char *yaml, const char *json)
{
    struct yaml_docs docs = {0};
    struct error e = ERROR_INIT;

    if (read_text(yaml, strlen(yaml), true, &docs, &e) < 0)
        fail_msg("%s: %s", yaml, e.msg);
    assert_int_equal(docs.list.len, 1);
    assert_string_equal(docs.list.items[0].json.ptr, json);
    yaml_docs_done(&docs);
}

static void
test_scalars(void **state)
{
    static const char *const cases[][2] = {
        {"y", "true"},
        {"yes", "true"},
        {"On", "true"},
        {"true", "true"},
        {"n", "false"},
        {"NO", "false"},
        {"off", "false"},
        {"False", "false"},
        {"yEs", "\"yEs\""},
        {"~", "null"},
        {"Null", "null"},
        {"", "null"},
        {"nULL", "\"nULL\""},
        {"017", "15"},
        {"0o17", "15"},
        {"0x1F", "31"},
        {"0b101", "5"},
        {"-0x1F", "-31"},
        {"0", "0"},
        {"-0", "0"},
        {"+5", "5"},
        {"08", "8"},
        {"1_000", "1000"},
        {"0x", "\"0x\""},
        {"1e3", "1000"},
        {".5", "0.5"},
        {"-.5", "-0.5"},
        {"1.", "1"},
        {"1.50", "1.5"},
        {"1e", "\"1e\""},
        {"1e400", "\"1e400\""},
        {"12e-1", "1.2"},
        {".", "\".\""},
        {"9223372036854775807", "9223372036854775807"},
        {"-9223372036854775808", "-9223372036854775808"},
        {"18446744073709551615", "18446744073709551615"},
        {"18446744073709551616", "1.8446744073709552e+19"},
        {"2020-01-01", "\"2020-01-01\""},
        {"12:30:45", "\"12:30:45\""},
        {"1:30", "\"1:30\""},
        {"\"y\"", "\"y\""},
        {"'5'", "\"5\""},
        {"\"a\\u00e9\\n\"", "\"a\xc3\xa9\\n\""},
        {"!!binary aGk=", "\"hi\""},
        {"!!str 5", "\"5\""},
        {"!!int \"5\"", "5"},
        {"!!float 5", "5"},
        {"!!bool \"yes\"", "true"},
        {"! 5", "\"5\""},
        {"!!timestamp 2020-01-01", "\"2020-01-01\""},
        {"1.2.3", "\"1.2.3\""},
        {"-", "[null]"},
        {"a b", "\"a b\""},
        {"_1", "\"_1\""},
        {"64GB", "\"64GB\""},
        {"4..", "\"4..\""},
        {"0.0.0.0", "\"0.0.0.0\""},
        {"=", "\"=\""},
        {"1__0", "10"},
    };

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        autofree char *yaml = xasprintf("v: %s\n", cases[i][0]);
        autofree char *json = xasprintf("{\"v\":%s}", cases[i][1]);
        if (streq(cases[i][0], "-"))
            check_reads("v:\n-\n", json);
        else
            check_reads(yaml, json);
    }
}

static void
test_structure(void **state)
{
    UNUSED(state);
    check_reads("a:\n  b: [1, x]\n  c:\n  - d: 1\n    e: 2\n",
                "{\"a\":{\"b\":[1,\"x\"],\"c\":[{\"d\":1,\"e\":2}]}}");
    check_reads("a: |\n  x\n  y\nb: >-\n  x\n  y\n",
                "{\"a\":\"x\\ny\\n\",\"b\":\"x y\"}");
    check_reads("1: a\n1.5: b\ny: c\n", "{\"1\":\"a\",\"1.5\":\"b\",\"true\":\"c\"}");
    check_reads("a: &x {p: 1}\nb: *x\nc: [*x]\n",
                "{\"a\":{\"p\":1},\"b\":{\"p\":1},\"c\":[{\"p\":1}]}");
    check_reads("a: &x {p: 1, q: 2}\nb:\n  <<: *x\n  p: 3\n",
                "{\"a\":{\"p\":1,\"q\":2},\"b\":{\"p\":3,\"q\":2}}");
    check_reads("a: &x {p: 1}\nb: &y {p: 2, r: 3}\nc:\n  <<: [*x, *y]\n",
                "{\"a\":{\"p\":1},\"b\":{\"p\":2,\"r\":3},\"c\":{\"p\":1,\"r\":3}}");
    check_reads("a: &x 1\nb: &x 2\nc: *x\n", "{\"a\":1,\"b\":2,\"c\":2}");
    check_reads("&k a: 1\nb: {*k : 2}\n", "{\"a\":1,\"b\":{\"a\":2}}");
    check_reads(" {\"b\": [1, \"\\ud83d\\ude00\"],\n\t\"a\": 2}\n",
                "{\"b\":[1,\"\\ud83d\\ude00\"],\"a\":2}");
    check_reads("{a: 1, 'b': [x]}", "{\"a\":1,\"b\":[\"x\"]}");
    check_reads("\xef\xbb\xbf"
                "a: 1\n",
                "{\"a\":1}");
    check_reads("%YAML 1.1\n---\na: 1\n...\n", "{\"a\":1}");
}

static void
test_documents(void **state)
{
    static const char text[] =
        "# nothing\n---\na: 1\n---\n---\n# still nothing\n---\nb: 2\n";
    struct yaml_docs docs = {0};
    struct error e = ERROR_INIT;

    UNUSED(state);
    assert_int_equal(read_text(text, sizeof(text) - 1, false, &docs, &e), 0);
    assert_int_equal(docs.list.len, 2);
    assert_string_equal(docs.list.items[1].json.ptr, "{\"b\":2}");
    assert_int_equal(docs.list.items[0].line, 3);
    assert_int_equal(docs.list.items[1].line, 8);
    assert_null(docs.list.items[0].lines);
    yaml_docs_done(&docs);
    assert_int_equal(read_text("", 0, false, &docs, &e), 0);
    assert_int_equal(docs.list.len, 0);
    yaml_docs_done(&docs);
}

static void
test_lines(void **state)
{
    static const char yaml[] =
        "kind: Run\nspec:\n  env:\n  - a\n  - b: 1\n    c:\n      d: 2\n";
    static const char json[] =
        "{\n \"kind\": \"Run\",\n \"spec\": {\"env\": [\n  \"a\",\n  {}]}}";
    struct yaml_docs docs = {0};
    struct error e = ERROR_INIT;

    UNUSED(state);
    assert_int_equal(read_text(yaml, sizeof(yaml) - 1, true, &docs, &e), 0);
    assert_int_equal(yaml_line(&docs.list.items[0], "kind"), 1);
    assert_int_equal(yaml_line(&docs.list.items[0], "spec.env"), 3);
    assert_int_equal(yaml_line(&docs.list.items[0], "spec.env[1]"), 5);
    assert_int_equal(yaml_line(&docs.list.items[0], "spec.env[1].c.d"), 7);
    assert_int_equal(yaml_line(&docs.list.items[0], "spec.env[1].c.zz[3].x"), 6);
    assert_int_equal(yaml_line(&docs.list.items[0], "metadata.name"), 1);
    yaml_docs_done(&docs);
    assert_int_equal(read_text(json, sizeof(json) - 1, true, &docs, &e), 0);
    assert_int_equal(yaml_line(&docs.list.items[0], "spec.env[1]"), 5);
    assert_int_equal(yaml_line(&docs.list.items[0], "spec"), 3);
    yaml_docs_done(&docs);
}

static void
test_refuses(void **state)
{
    static const struct {
        const char *yaml, *error;
    } bad[] = {
        {"a:\n\t- b\n", "line 2, column 1: a tab cannot indent YAML, use spaces"},
        {"a: 1\nb: 2\na: 3\n", "line 3, column 1: key \"a\" is already set at line 1"},
        {"a: *nope\n", "line 1, column 4: unknown alias \"nope\""},
        {"a: &x [*x]\n", "line 1, column 8: an alias inside the node that it stands for"},
        {"a: .inf\n", "line 1, column 4: infinity and NaN are not allowed"},
        {"a: !foo 1\n", "line 1, column 4: unsupported tag \"!foo\""},
        {"a: !!int x\n", "line 1, column 4: the value is not a !!int"},
        {"a: !!set {x}\n", "line 1, column 4: unsupported tag \"tag:yaml.org,2002:set\""},
        {"a: !!binary '*'\n", "line 1, column 4: !!binary is not base64"},
        {"a: !!binary /w==\n", "line 1, column 4: !!binary does not hold UTF-8 text"},
        {"[a]: 1\n", "line 1, column 1: a mapping key must be a scalar"},
        {"~: 1\n", "line 1, column 1: a mapping key must be text"},
        {"<<: 5\n", "line 1, column 5: << needs a mapping"},
        {"a: 1\n  b: 2\n",
         "line 2, column 4: mapping values are not allowed in this context"},
        {"a: \"x\n",
         "line 2, column 1: found unexpected end of stream while scanning a quoted "
         "scalar"},
        {"a: b\n\xff\n", "line 2, column 1: invalid leading UTF-8 octet"},
        {"a: b\x01\n", "line 1, column 5: control characters are not allowed"},
    };

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct yaml_docs docs = {0};
        struct error e = ERROR_INIT;
        assert_int_equal(read_text(bad[i].yaml, strlen(bad[i].yaml), true, &docs, &e),
                         -ERR_BAD_REQUEST);
        assert_string_equal(e.msg, bad[i].error);
        assert_int_equal(docs.list.len, 0);
    }
}

static void
test_bounds(void **state)
{
    auto_str s = STR_INIT(4u << 20);
    struct yaml_docs docs = {0};
    struct error e = ERROR_INIT;

    UNUSED(state);
    /* a billion laughs */
    str_adds(&s, "a0: &a0 [lol,lol,lol,lol,lol,lol,lol,lol,lol,lol]\n");
    for (int i = 1; i < 12; i++) {
        str_addf(&s, "a%d: &a%d [", i, i);
        for (int k = 0; k < 10; k++)
            str_addf(&s, "%s*a%d", k == 0 ? "" : ",", i - 1);
        str_adds(&s, "]\n");
    }
    assert_int_equal(read_text(s.ptr, s.len, true, &docs, &e), -ERR_BAD_REQUEST);
    assert_non_null(strstr(e.msg, "aliases expand too far"));
    /* the same by documents */
    str_reset(&s);
    for (int i = 0; i < 200; i++) {
        str_adds(&s, "---\na: &a [");
        for (int k = 0; k < 300; k++)
            str_adds(&s, "x,");
        str_adds(&s, "]\nb: [");
        for (int k = 0; k < 300; k++)
            str_adds(&s, "*a,");
        str_adds(&s, "]\n");
    }
    assert_int_equal(read_text(s.ptr, s.len, true, &docs, &e), -ERR_BAD_REQUEST);
    /* depth */
    str_reset(&s);
    for (int i = 0; i < 200; i++)
        str_adds(&s, "[x, ");
    assert_int_equal(read_text(s.ptr, s.len, true, &docs, &e), -ERR_BAD_REQUEST);
    assert_non_null(strstr(e.msg, "nested too deeply"));
    /* nodes */
    str_reset(&s);
    for (int i = 0; i < YAML_MAX_NODES + 1; i++)
        str_adds(&s, "- 1\n");
    assert_int_equal(read_text(s.ptr, s.len, true, &docs, &e), -ERR_BAD_REQUEST);
    assert_non_null(strstr(e.msg, "too many nodes"));
    /* bytes */
    str_reset(&s);
    while (s.len <= YAML_MAX_BYTES)
        str_adds(
            &s, "# 456789012345678901234567890123456789012345678901234567890123456789\n");
    assert_int_equal(read_text(s.ptr, s.len, true, &docs, &e), -ERR_TOO_LARGE);
}

static void
test_write(void **state)
{
    static const char *const cases[][2] = {
        {"{\"apiVersion\":\"v1\",\"spec\":{\"commands\":[\"echo hi\",\"exit "
         "1\"],\"n\":5}}",
         "apiVersion: v1\nspec:\n  commands:\n  - echo hi\n  - exit 1\n  \"n\": 5\n"},
        {"{\"a\":{},\"b\":[],\"c\":null,\"d\":true}", "a: {}\nb: []\nc: null\nd: true\n"},
        {"{\"a\":\"true\",\"b\":\"5\",\"c\":\"\",\"d\":\"null\",\"e\":\"y\",\"f\":"
         "\"0x1F\"}",
         "a: \"true\"\nb: \"5\"\nc: \"\"\nd: \"null\"\ne: \"y\"\nf: \"0x1F\"\n"},
        {"{\"a\":\"x\\ny\\n\",\"b\":\"x\\ny\",\"c\":\"x\\n\\n\"}",
         "a: |\n  x\n  y\nb: |-\n  x\n  y\nc: |+\n  x\n\n"},
        {"{\"a\":\"x: y\",\"b\":\"- z\",\"c\":\"#c\",\"d\":\"it's\",\"e\":\" pad \"}",
         "a: 'x: y'\nb: '- z'\nc: '#c'\nd: it's\ne: ' pad '\n"},
        {"{\"l\":[[1,2],[],{\"a\":1,\"b\":[{\"c\":2}]}]}",
         "l:\n- - 1\n  - 2\n- []\n- a: 1\n  b:\n  - c: 2\n"},
        {"{\"t\":\"2020-01-01T00:00:00Z\",\"u\":\"\xc3\xa9\",\"1\":\"a\\tb\"}",
         "t: 2020-01-01T00:00:00Z\nu: \xc3\xa9\n\"1\": \"a\\tb\"\n"},
        {"\"x\"", "x\n"},
        {"[1]", "- 1\n"},
    };

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        auto_str out = STR_INIT(10000);
        struct error e = ERROR_INIT;
        assert_int_equal(yaml_write(span_of(cases[i][0]), &out, &e), 0);
        assert_string_equal(out.ptr, cases[i][1]);
        if (cases[i][0][0] == '{' || cases[i][0][0] == '[') /* and back */
            check_reads(out.ptr, cases[i][0]);
    }
}

static void
test_write_refuses(void **state)
{
    auto_str out = STR_INIT(10);
    struct error e = ERROR_INIT;

    UNUSED(state);
    assert_int_equal(yaml_write(span_of("{"), &out, &e), -ERR_BAD_REQUEST);
    assert_int_equal(yaml_write(span_of("{\"a\":\"01234567890123456789\"}"), &out, &e),
                     -ERR_TOO_LARGE);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scalars),   cmocka_unit_test(test_structure),
        cmocka_unit_test(test_documents), cmocka_unit_test(test_lines),
        cmocka_unit_test(test_refuses),   cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_write),     cmocka_unit_test(test_write_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
