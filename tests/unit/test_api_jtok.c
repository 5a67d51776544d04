/* SPDX-License-Identifier: Apache-2.0 */
/* The tokenizer: what it accepts, what it says when it does not, and jscan on top. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/jtok.h"
#include "base/mem.h"

/* An exact-size copy, so that the sanitizer sees one byte too far. */
static int
scan(const char *text, size_t n, struct error *e)
{
    autofree char *copy = xmemdup(n == 0 ? "x" : text, n == 0 ? 1 : n);
    struct jtok_reader r;
    struct jtok t;
    int rc;

    if (n > 0)
        copy = xrealloc(copy, n);
    jtok_init(&r, copy, n);
    while ((rc = jtok_next(&r, &t, e)) == 0 && t.type != JTOK_END)
        ;
    return rc;
}

static void
test_accepts(void **state)
{
    static const char *const good[] = {"0",
                                       "-0",
                                       "-1.5e+10",
                                       "1E5",
                                       "true",
                                       "false",
                                       "null",
                                       "\"\"",
                                       " [ ] ",
                                       "{}",
                                       "\t{\"a\"\n:\r[1 , 2,{}],\"b\":null}",
                                       "\"\\u00e9\\ud83d\\ude00\\n\\/\"",
                                       "\"\xc3\xa9\xf0\x9f\x98\x80\"",
                                       "[[[[1]]]]",
                                       "\"\\u0000\"",
                                       "\"\x7f\"",
                                       "123456789012345678901234567890",
                                       "\"12345678901234567890\\\\\""};

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct error e = ERROR_INIT;
        if (scan(good[i], strlen(good[i]), &e) != 0)
            fail_msg("%s: %s", good[i], e.msg);
    }
}

static void
test_refuses(void **state)
{
    static const struct {
        const char *text, *error;
    } bad[] = {
        {"", "line 1, column 1: expected a value, found the end"},
        {"{", "line 1, column 2: expected a quoted member name"},
        {"[1,]", "line 1, column 4: expected a value"},
        {"{\"a\":1,}", "line 1, column 8: expected a quoted member name"},
        {"{\"a\" 1}", "line 1, column 6: expected ':' after the member name"},
        {"[1 2]", "line 1, column 4: expected ',' or ']'"},
        {"{\"a\":1 \"b\":2}", "line 1, column 8: expected ',' or '}'"},
        {"{\n\n  \"a\": tru }", "line 3, column 8: expected a value"},
        {"1 2", "line 1, column 3: unexpected text after the document"},
        {"01", "line 1, column 1: number with a leading zero"},
        {"-", "line 1, column 2: expected a digit"},
        {"1.", "line 1, column 3: expected a digit after the decimal point"},
        {"1e", "line 1, column 3: expected a digit in the exponent"},
        {"\"abc", "line 1, column 5: string is not closed"},
        {"\"a\nb\"", "line 1, column 3: control character in string"},
        {"\"\\x\"", "line 1, column 2: invalid escape in string"},
        {"\"\\u12g4\"", "line 1, column 2: invalid escape in string"},
        {"\"\\ud800\"", "line 1, column 2: invalid escape in string"},
        {"\"\\ud800\\u0041\"", "line 1, column 2: invalid escape in string"},
        {"\"\\udc00\"", "line 1, column 2: invalid escape in string"},
        {"\"\xff\"", "line 1, column 2: invalid UTF-8 in string"},
        {"\"\xc0\x80\"", "line 1, column 2: invalid UTF-8 in string"},
        {"\"\xed\xa0\x80\"", "line 1, column 2: invalid UTF-8 in string"},
        {"\"\xe2\x82\"", "line 1, column 2: invalid UTF-8 in string"},
        {"\"\xf4\x90\x80\x80\"", "line 1, column 2: invalid UTF-8 in string"},
        {"{\"a\"}", "line 1, column 5: expected ':' after the member name"},
        {"]", "line 1, column 1: expected a value"},
        {"{1:2}", "line 1, column 2: expected a quoted member name"},
    };

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct error e = ERROR_INIT;
        assert_int_equal(scan(bad[i].text, strlen(bad[i].text), &e), -ERR_BAD_REQUEST);
        assert_string_equal(e.msg, bad[i].error);
    }
}

static void
test_depth_is_bounded(void **state)
{
    struct error e = ERROR_INIT;
    auto_str s = STR_INIT(4096);

    UNUSED(state);
    for (int i = 0; i < JTOK_MAX_DEPTH; i++)
        str_addc(&s, '[');
    for (int i = 0; i < JTOK_MAX_DEPTH; i++)
        str_addc(&s, ']');
    assert_int_equal(scan(s.ptr, s.len, &e), 0);
    str_reset(&s);
    for (int i = 0; i < JTOK_MAX_DEPTH + 1; i++)
        str_addc(&s, '[');
    assert_int_equal(scan(s.ptr, s.len, &e), -ERR_BAD_REQUEST);
    assert_string_equal(e.msg, "line 1, column 101: nested too deeply");
}

static void
test_tokens(void **state)
{
    static const char text[] = "{\"a\\n\": [1, -2.5, \"x\"], \"b\": {\"c\": true}}";
    static const enum jtok_type types[] = {
        JTOK_OBJECT, JTOK_KEY,        JTOK_ARRAY,      JTOK_NUMBER, JTOK_NUMBER,
        JTOK_STRING, JTOK_ARRAY_END,  JTOK_KEY,        JTOK_OBJECT, JTOK_KEY,
        JTOK_TRUE,   JTOK_OBJECT_END, JTOK_OBJECT_END, JTOK_END};
    struct error e = ERROR_INIT;
    struct jtok_reader r;
    struct jtok t;
    int64_t i;
    double d;

    UNUSED(state);
    jtok_init(&r, text, sizeof(text) - 1);
    for (size_t k = 0; k < ARRAY_LEN(types); k++) {
        assert_int_equal(jtok_next(&r, &t, &e), 0);
        assert_int_equal(t.type, types[k]);
        if (k == 1) {
            assert_true(t.escaped);
            assert_true(jtok_eq(&t, "a\n"));
            assert_false(jtok_eq(&t, "a\\n"));
        } else if (k == 3) {
            assert_true(t.integer);
            assert_int_equal(jtok_int64(&t, &i, &e), 0);
            assert_int_equal(i, 1);
        } else if (k == 4) {
            assert_false(t.integer);
            assert_int_equal(jtok_double(&t, &d, &e), 0);
            assert_true(d == -2.5);
            assert_int_equal(jtok_int64(&t, &i, &e), -ERR_INVALID);
        } else if (k == 7) {
            assert_int_equal(t.offset, 24);
        }
    }
}

static void
test_skip(void **state)
{
    static const char text[] = "{\"a\": {\"x\": [1, {\"}\": 2}]}, \"b\": 3}";
    struct error e = ERROR_INIT;
    struct jtok_reader r;
    struct jtok t;

    UNUSED(state);
    jtok_init(&r, text, sizeof(text) - 1);
    for (int i = 0; i < 3; i++)
        assert_int_equal(jtok_next(&r, &t, &e), 0);
    assert_int_equal(jtok_skip(&r, &e), 0);
    assert_int_equal(jtok_next(&r, &t, &e), 0);
    assert_true(jtok_eq(&t, "b"));
}

static void
test_int_bounds(void **state)
{
    int64_t v;

    UNUSED(state);
    assert_true(jscan_int64(span_of("9223372036854775807"), &v));
    assert_true(v == INT64_MAX);
    assert_true(jscan_int64(span_of("-9223372036854775808"), &v));
    assert_true(v == INT64_MIN);
    assert_false(jscan_int64(span_of("9223372036854775808"), &v));
    assert_false(jscan_int64(span_of("-9223372036854775809"), &v));
    assert_false(jscan_int64(span_of("1.5"), &v));
    assert_false(jscan_int64(span_of("-"), &v));
    assert_false(jscan_int64(span_of(""), &v));
}

static void
test_jscan(void **state)
{
    struct span o =
        span_of("{\"a\":[],\"b\":{\"c\":\"x\\\"}\",\"d\":[1,{\"e\":2},\"]\"]},\"f\":-7}");
    struct span v, key;
    const char *cursor = NULL;
    int n = 0;
    int64_t i;
    auto_str s = STR_INIT(100);

    UNUSED(state);
    assert_true(jscan_path(o, "b.c", &v));
    assert_true(jscan_string(v, &s));
    assert_string_equal(s.ptr, "x\"}");
    assert_true(jscan_member(o, "f", &v));
    assert_true(jscan_int64(v, &i));
    assert_int_equal(i, -7);
    assert_false(jscan_path(o, "b.x", &v));
    assert_false(jscan_path(o, "f.x", &v));
    assert_false(jscan_path(o, "a.x", &v));
    assert_true(jscan_path(o, "b.d", &v));
    while (jscan_next_item(v, &cursor, &key))
        n++;
    assert_int_equal(n, 3);
    assert_true(jscan_is(key, "]"));
    assert_false(jscan_is(key, "]x"));
    cursor = NULL;
    n = 0;
    while (jscan_next_member(o, &cursor, &key, &v))
        n++;
    assert_int_equal(n, 3);
    cursor = NULL;
    assert_false(jscan_next_member(span_of("{}"), &cursor, &key, &v));
    cursor = NULL;
    assert_false(jscan_next_item(span_of("[]"), &cursor, &v));
    cursor = NULL;
    assert_false(jscan_next_member(span_of("[1]"), &cursor, &key, &v));
    assert_true(jscan_bool(span_of("true")));
    assert_false(jscan_bool(span_of("false")));
}

static void
test_jput(void **state)
{
    auto_str s = STR_INIT(1000);

    UNUSED(state);
    str_addc(&s, '{');
    jput_member(&s, "a", "x\"\\\n\t\x01\xc3\xa9");
    jput_member_int(&s, "b", INT64_MIN);
    jput_key(&s, "c");
    str_addc(&s, '[');
    jput_item(&s);
    str_adds(&s, "1");
    jput_item(&s);
    jput_string(&s, "\xff!", 2);
    str_adds(&s, "]}");
    assert_string_equal(
        s.ptr, "{\"a\":\"x\\\"\\\\\\n\\t\\u0001\xc3\xa9\",\"b\":-9223372036854775808,"
               "\"c\":[1,\"\xef\xbf\xbd!\"]}");
}

/* The same tree as jansson's own reader makes, and the same bytes back. */
static void
test_jtree(void **state)
{
    static const char *const texts[] = {
        "{}",
        "[]",
        "{\"a\":[],\"b\":{},\"c\":\"\"}",
        "{\"a\\\"b\":{\"c\\\\\":\"x\\ny\\u0000z\"},\"e\":[\"\\u0001\"]}",
        "[0,-1,123456789012345678,1234567890123456789,9223372036854775807,"
        "-9223372036854775808,1.5,-2.5e-7,1e+300,true,false,null]",
        "[[[[{\"a\":[[1,2],{\"b\":null}]}]]]]",
        "{\"a long text that is longer than what is looked at byte by byte\":\"and "
        "another "
        "one, with a quote behind the thirty-second byte: \\\" and more\"}",
        "-7",
        "\"x\"",
    };

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        auto_str canon = STR_INIT(1024), back = STR_INIT(1024);
        struct error e = ERROR_INIT;
        if (jcanon(texts[i], strlen(texts[i]), &canon, &e) < 0)
            fail_msg("%s: %s", texts[i], e.msg);
        json_t *ours = jtree((struct span){canon.ptr, canon.len});
        json_t *theirs =
            json_loadb(canon.ptr, canon.len, JSON_ALLOW_NUL | JSON_DECODE_ANY, NULL);
        assert_non_null(ours);
        assert_true(json_equal(ours, theirs));
        jtree_write(ours, &back);
        assert_string_equal(back.ptr, canon.ptr);
        json_decref(ours);
        json_decref(theirs);
    }
    assert_null(jtree(span_of("{\"a\\u0000b\":1}")));
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepts),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_depth_is_bounded),
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_skip),
        cmocka_unit_test(test_int_bounds),
        cmocka_unit_test(test_jscan),
        cmocka_unit_test(test_jput),
        cmocka_unit_test(test_jtree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
