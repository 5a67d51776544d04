/* SPDX-License-Identifier: Apache-2.0 */
/* The one pass, by a table: schema of spec, spec in, spec out, violations. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/jtok.h"
#include "api/kind.h"
#include "base/mem.h"

static struct kind *
kind_of(const char *spec_schema, const char *annotations)
{
    autofree char *text = xasprintf(
        "{\"metadata\":{\"name\":\"widgets.example.dev\",\"annotations\":{%s}},\"spec\":{"
        "\"group\":\"example.dev\",\"scope\":\"Namespaced\",\"names\":{\"plural\":"
        "\"widgets\","
        "\"kind\":\"Widget\"},\"versions\":[{\"name\":\"v1\",\"served\":true,\"storage\":"
        "true,"
        "\"schema\":{\"openAPIV3Schema\":{\"type\":\"object\",\"properties\":{\"spec\":%"
        "s}}}}]}}",
        annotations, spec_schema);
    json_error_t je;
    json_t *crd = json_loads(text, 0, &je);
    auto_violations v = {0};
    struct error e = ERROR_INIT;
    struct kind *k = NULL;

    if (crd == NULL)
        fail_msg("%s: %s", je.text, text);
    if (kind_compile(crd, NULL, &k, &v, &e) < 0)
        fail_msg("%s", e.msg);
    json_decref(crd);
    return k;
}

struct decoded {
    struct str out;
    struct violations v;
    struct error e;
    int rc;
};

static struct decoded
run(const struct kind *k, const char *text)
{
    struct decoded d = {.out = STR_INIT(1u << 20), .e = ERROR_INIT};
    autofree char *copy = xmemdup(text, strlen(text));

    d.rc = kind_decode(k, (struct span){copy, strlen(text)}, &d.out, &d.v, &d.e);
    return d;
}

static void
decoded_done(struct decoded *d)
{
    str_done(&d->out);
    violations_done(&d->v);
}

struct spec_case {
    const char *schema, *in;
    const char *out;  /* canonical spec; NULL: ERR_INVALID */
    const char *says; /* "path|message" of each violation, joined by newlines */
};

static void
check_case(const struct spec_case *c)
{
    struct kind *k = kind_of(c->schema, "");
    autofree char *in =
        xasprintf("{\"apiVersion\":\"example.dev/v1\",\"kind\":\"Widget\","
                  "\"metadata\":{\"name\":\"a\"},\"spec\":%s}",
                  c->in);
    autofree char *want =
        xasprintf("{\"apiVersion\":\"example.dev/v1\",\"kind\":\"Widget\","
                  "\"metadata\":{\"name\":\"a\"},\"spec\":%s}",
                  c->out != NULL ? c->out : "");
    struct decoded d = run(k, in);
    auto_str says = STR_INIT(10000);

    vec_foreach (x, &d.v.list)
        str_addf(&says, "%s%s|%s", says.len > 0 ? "\n" : "", x->path, x->message);
    assert_string_equal(says.ptr, c->says == NULL ? "" : c->says);
    if (c->out == NULL) {
        assert_int_equal(d.rc, -ERR_INVALID);
        assert_int_equal(d.out.len, 0);
    } else {
        if (d.rc < 0)
            fail_msg("%s", d.e.msg);
        assert_string_equal(d.out.ptr, want);
    }
    decoded_done(&d);
    kind_unref(k);
}

#define OBJ(props) "{\"type\":\"object\",\"properties\":{" props "}}"
#define STRINGS OBJ("\"a\":{\"type\":\"string\"},\"b\":{\"type\":\"string\"}")

static const struct spec_case cases[] = {
    /* order, pruning, duplicates */
    {STRINGS, "{\"b\":\"2\",\"a\":\"1\"}", "{\"a\":\"1\",\"b\":\"2\"}", NULL},
    {STRINGS, "{\"a\":\"1\",\"x\":{\"y\":[1]},\"b\":\"2\"}", "{\"a\":\"1\",\"b\":\"2\"}",
     "spec.x|unknown field \"spec.x\""},
    {STRINGS, "{\"a\":\"1\",\"b\":\"2\",\"a\":\"3\"}", "{\"a\":\"3\",\"b\":\"2\"}",
     "spec.a|duplicate field \"spec.a\""},
    {STRINGS, "{\"\\u0061\":\"1\\u00e9\\/\"}", "{\"a\":\"1\xc3\xa9/\"}", NULL},
    {OBJ("\"l\":{\"type\":\"array\",\"items\":" STRINGS "}"),
     "{\"l\":[{\"a\":\"\"},{\"c\":1,\"b\":\"\"}]}", "{\"l\":[{\"a\":\"\"},{\"b\":\"\"}]}",
     "spec.l[1].c|unknown field \"spec.l[1].c\""},
    {"{\"type\":\"object\",\"x-kubernetes-preserve-unknown-fields\":true,\"properties\":{"
     "\"a\":{\"type\":\"string\"}}}",
     "{\"z\":{\"c\":null,\"b\":1.0},\"a\":5}", NULL,
     "spec.a|Invalid value: \"integer\": spec.a in body must be of type string: "
     "\"integer\""},
    {"{\"x-kubernetes-preserve-unknown-fields\":true}", "[{\"b\":1,\"a\":null}, 1e2]",
     "[{\"a\":null,\"b\":1},100]", NULL},
    {OBJ("\"m\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"integer\"}}"),
     "{\"m\":{\"z.y\":2,\"a\":\"x\"}}", NULL,
     "spec.m.a|Invalid value: \"string\": spec.m.a in body must be of type integer: "
     "\"string\""},
    {OBJ("\"m\":{\"type\":\"object\",\"additionalProperties\":true}"),
     "{\"m\":{\"z\":[2,{}],\"a\":\"x\"}}", "{\"m\":{\"a\":\"x\",\"z\":[2,{}]}}", NULL},
    /* nulls and defaults */
    {OBJ("\"a\":{\"type\":\"string\",\"nullable\":true},\"b\":{\"type\":\"string\"}"),
     "{\"a\":null,\"b\":null}", "{\"a\":null}", NULL},
    {OBJ("\"a\":{\"type\":\"string\",\"default\":\"d\"},\"c\":{\"type\":\"integer\","
         "\"default\":0},\"b\":{\"type\":\"string\"}"),
     "{\"b\":\"x\",\"c\":null}", "{\"a\":\"d\",\"b\":\"x\",\"c\":0}", NULL},
    {OBJ("\"o\":{\"type\":\"object\",\"default\":{},\"properties\":{\"p\":{\"type\":"
         "\"boolean\",\"default\":true}}},\"q\":{\"type\":\"object\",\"properties\":{"
         "\"p\":"
         "{\"type\":\"boolean\",\"default\":true}}}"),
     "{}", "{\"o\":{\"p\":true}}", NULL},
    {OBJ("\"l\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}}"), "{\"l\":[null]}",
     NULL,
     "spec.l[0]|Invalid value: \"null\": spec.l[0] in body must be of type string: "
     "\"null\""},
    /* required */
    {"{\"type\":\"object\",\"required\":[\"b\",\"a\"],\"properties\":{\"a\":{\"type\":"
     "\"string\"},\"b\":{\"type\":\"string\",\"default\":\"x\"}}}",
     "{}", NULL, "spec.a|Required value"},
    /* types */
    {OBJ("\"i\":{\"type\":\"integer\"},\"n\":{\"type\":\"number\"}"),
     "{\"i\":1.0,\"n\":2.50}", "{\"i\":1,\"n\":2.5}", NULL},
    {OBJ("\"i\":{\"type\":\"integer\"}"), "{\"i\":1.5}", NULL,
     "spec.i|Invalid value: \"number\": spec.i in body must be of type integer: "
     "\"number\""},
    {OBJ("\"i\":{\"type\":\"integer\"}"), "{\"i\":9223372036854775808}", NULL,
     "spec.i|Invalid value: \"number\": spec.i in body must be of type integer: "
     "\"number\""},
    {OBJ("\"i\":{\"type\":\"integer\",\"format\":\"int32\"}"), "{\"i\":2147483648}", NULL,
     "spec.i|Invalid value: 2147483648: Checked value must be of type integer with "
     "format int32 in spec.i"},
    {OBJ("\"b\":{\"type\":\"boolean\"}"), "{\"b\":\"true\"}", NULL,
     "spec.b|Invalid value: \"string\": spec.b in body must be of type boolean: "
     "\"string\""},
    {OBJ("\"v\":{\"x-kubernetes-int-or-string\":true,\"anyOf\":[{\"type\":\"integer\"},"
         "{\"type\":\"string\"}]},\"w\":{\"x-kubernetes-int-or-string\":true}"),
     "{\"v\":5,\"w\":\"5m\"}", "{\"v\":5,\"w\":\"5m\"}", NULL},
    {OBJ("\"v\":{\"x-kubernetes-int-or-string\":true}"), "{\"v\":true}", NULL,
     "spec.v|Invalid value: \"boolean\": spec.v in body must be of type integer or "
     "string: "
     "\"boolean\""},
    {STRINGS, "[]", NULL,
     "spec|Invalid value: \"array\": spec in body must be of type object: \"array\""},
    /* strings */
    {OBJ("\"s\":{\"type\":\"string\",\"enum\":[\"x\",\"y\"]}"), "{\"s\":\"z\"}", NULL,
     "spec.s|Unsupported value: \"z\": supported values: \"x\", \"y\""},
    {OBJ("\"s\":{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}"),
     "{\"s\":\"\xc3\xa9\\n\\u0001\"}", "{\"s\":\"\xc3\xa9\\n\\u0001\"}", NULL},
    {OBJ("\"s\":{\"type\":\"string\",\"maxLength\":3}"), "{\"s\":\"abcd\"}", NULL,
     "spec.s|Too long: may not be more than 3 characters"},
    {OBJ("\"s\":{\"type\":\"string\",\"minLength\":2}"), "{\"s\":\"\xc3\xa9\"}", NULL,
     "spec.s|Invalid value: \"\xc3\xa9\": spec.s in body should be at least 2 chars "
     "long"},
    {OBJ("\"s\":{\"type\":\"string\",\"pattern\":\"^[a-z]+$\"}"), "{\"s\":\"abc\"}",
     "{\"s\":\"abc\"}", NULL},
    {OBJ("\"s\":{\"type\":\"string\",\"pattern\":\"^[a-z]+$\"}"), "{\"s\":\"abc\\n\"}",
     NULL, "spec.s|Invalid value: \"abc\\n\": spec.s in body should match '^[a-z]+$'"},
    {OBJ("\"s\":{\"type\":\"string\",\"pattern\":\"^(a+)+$\"}"),
     "{\"s\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab\"}", NULL,
     "spec.s|Invalid value: \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab\": spec.s in body "
     "takes "
     "too long to match against ^(a+)+$"},
    {OBJ("\"s\":{\"type\":\"string\",\"format\":\"date-time\"}"), "{\"s\":\"yesterday\"}",
     NULL,
     "spec.s|Invalid value: \"yesterday\": spec.s in body must be of type date-time: "
     "\"yesterday\""},
    {OBJ("\"s\":{\"type\":\"string\",\"format\":\"made-up\"},\"t\":{\"type\":\"string\","
         "\"format\":\"byte\"}"),
     "{\"s\":\"x\",\"t\":\"aGk=\"}", "{\"s\":\"x\",\"t\":\"aGk=\"}", NULL},
    {OBJ("\"t\":{\"type\":\"string\",\"format\":\"byte\"}"), "{\"t\":\"aGk\"}", NULL,
     "spec.t|Invalid value: \"aGk\": spec.t in body must be of type byte: \"aGk\""},
    /* numbers */
    {OBJ("\"i\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":100}"), "{\"i\":-1}",
     NULL,
     "spec.i|Invalid value: -1: spec.i in body should be greater than or equal to 0"},
    {OBJ("\"i\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":100}"), "{\"i\":101}",
     NULL,
     "spec.i|Invalid value: 101: spec.i in body should be less than or equal to 100"},
    {OBJ("\"n\":{\"type\":\"number\",\"minimum\":0,\"exclusiveMinimum\":true}"),
     "{\"n\":0}", NULL,
     "spec.n|Invalid value: 0: spec.n in body should be greater than 0"},
    {OBJ("\"i\":{\"type\":\"integer\",\"multipleOf\":5}"), "{\"i\":12}", NULL,
     "spec.i|Invalid value: 12: spec.i in body should be a multiple of 5"},
    {OBJ("\"n\":{\"type\":\"number\",\"multipleOf\":0.1}"), "{\"n\":0.3}", "{\"n\":0.3}",
     NULL},
    /* counts and uniqueness */
    {OBJ("\"l\":{\"type\":\"array\",\"maxItems\":1,\"items\":{\"type\":\"integer\"}}"),
     "{\"l\":[1,2]}", NULL, "spec.l|Too many: 2: must have at most 1 items"},
    {OBJ("\"l\":{\"type\":\"array\",\"minItems\":1,\"items\":{\"type\":\"integer\"}}"),
     "{\"l\":[]}", NULL,
     "spec.l|Invalid value: 0: spec.l in body should have at least 1 items"},
    {OBJ("\"m\":{\"type\":\"object\",\"maxProperties\":1,\"additionalProperties\":{"
         "\"type\":\"integer\"}}"),
     "{\"m\":{\"a\":1,\"b\":2}}", NULL,
     "spec.m|Too many: 2: must have at most 1 properties"},
    {OBJ("\"l\":{\"type\":\"array\",\"x-kubernetes-list-type\":\"set\",\"items\":{"
         "\"type\":\"string\"}}"),
     "{\"l\":[\"b\",\"a\",\"b\"]}", NULL, "spec.l[2]|Duplicate value: \"b\""},
    {OBJ("\"l\":{\"type\":\"array\",\"x-kubernetes-list-type\":\"map\","
         "\"x-kubernetes-list-map-keys\":[\"a\"],\"items\":" STRINGS "}"),
     "{\"l\":[{\"a\":\"1\"},{\"a\":\"2\",\"b\":\"1\"},{\"b\":\"\",\"a\":\"1\"}]}", NULL,
     "spec.l[2]|Duplicate value: {\"a\":\"1\"}"},
    {OBJ("\"l\":{\"type\":\"array\",\"x-kubernetes-list-type\":\"map\","
         "\"x-kubernetes-list-map-keys\":[\"a\"],\"items\":" STRINGS "}"),
     "{\"l\":[{\"b\":\"1\",\"a\":\"2\"},{\"a\":\"1\"}]}",
     "{\"l\":[{\"a\":\"2\",\"b\":\"1\"},{\"a\":\"1\"}]}", NULL},
    /* a null that may not be one, of a member or item with a default */
    {OBJ("\"l\":{\"type\":\"array\",\"items\":{\"type\":\"string\",\"default\":\"D\"}}"),
     "{\"l\":[null,\"x\"]}", "{\"l\":[\"D\",\"x\"]}", NULL},
    {OBJ("\"m\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"string\","
         "\"default\":\"D\"}}"),
     "{\"m\":{\"b\":null,\"a\":null}}", "{\"m\":{\"a\":\"D\",\"b\":\"D\"}}", NULL},
    {OBJ("\"m\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"string\","
         "\"default\":\"D\",\"nullable\":true}}"),
     "{\"m\":{\"a\":null}}", "{\"m\":{\"a\":null}}", NULL},
    {OBJ("\"l\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}}"), "{\"l\":[null]}",
     NULL,
     "spec.l[0]|Invalid value: \"null\": spec.l[0] in body must be of type string: "
     "\"null\""},
    /* embedded resources */
    {OBJ("\"t\":{\"type\":\"object\",\"x-kubernetes-embedded-resource\":true,"
         "\"x-kubernetes-preserve-unknown-fields\":true}"),
     "{\"t\":{\"kind\":\"K\",\"metadata\":{\"name\":1,\"creationTimestamp\":null},\"x\":"
     "1}}",
     NULL,
     "spec.t.metadata.name|Invalid value: \"integer\": spec.t.metadata.name in body must "
     "be of "
     "type string: \"integer\"\nspec.t.apiVersion|Required value"},
};

static void
test_table(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        check_case(&cases[i]);
    }
}

static void
test_metadata(void **state)
{
    struct kind *k = kind_of(STRINGS, "");
    struct decoded d = run(
        k,
        "{\"kind\":\"Widget\",\"apiVersion\":\"example.dev/v1\",\"metadata\":{"
        "\"name\":\"a\",\"creationTimestamp\":null,\"labels\":{\"b\":\"1\",\"a\":\"2\"},"
        "\"managedFields\":[{\"manager\":\"m\",\"fieldsV1\":{\"f:x\":{\".\":{}}}}],"
        "\"clusterName\":\"x\",\"resourceVersion\":\"5\"}}");

    UNUSED(state);
    assert_int_equal(d.rc, 0);
    assert_string_equal(
        d.out.ptr,
        "{\"apiVersion\":\"example.dev/"
        "v1\",\"kind\":\"Widget\",\"metadata\":{\"labels\":{"
        "\"a\":\"2\",\"b\":\"1\"},\"managedFields\":[{\"fieldsV1\":{\"f:x\":{\".\":{}}},"
        "\"manager\":\"m\"}],\"name\":\"a\",\"resourceVersion\":\"5\"}}");
    assert_int_equal(d.v.list.len, 1);
    assert_string_equal(d.v.list.items[0].message,
                        "unknown field \"metadata.clusterName\"");
    decoded_done(&d);
    d = run(k, "{\"kind\":\"Widget\",\"apiVersion\":\"example.dev/v1\",\"metadata\":{"
               "\"labels\":{\"a\":true},\"finalizers\":[\"x\",\"x\"],\"ownerReferences\":"
               "[{}]}}");
    assert_int_equal(d.rc, -ERR_INVALID);
    assert_int_equal(d.v.list.len, 6);
    decoded_done(&d);
    kind_unref(k);
}

static void
test_bad_request(void **state)
{
    static const struct {
        const char *in, *error;
    } bad[] = {
        {"", "line 1, column 1: expected a value, found the end"},
        {"[]", "the body is not a JSON object but array"},
        {"\"x\"", "the body is not a JSON object but string"},
        {"{\"apiVersion\":\"example.dev/v1\"}",
         "Object 'Kind' is missing in '{\"apiVersion\":\"example.dev/v1\"}'"},
        {"{\"kind\":\"Widget\"}",
         "Object 'apiVersion' is missing in '{\"kind\":\"Widget\"}'"},
        {"{\"kind\":\"Gadget\",\"apiVersion\":\"example.dev/v1\"}",
         "the kind in the data (\"Gadget\") does not match the expected kind (Widget)"},
        {"{\"kind\":\"Widget\",\"apiVersion\":\"example.dev/v2\"}",
         "the API version in the data (\"example.dev/v2\") does not match the expected "
         "API "
         "version (example.dev/v1)"},
        {"{\"kind\":\"Widget\",\"apiVersion\":\"example.dev/"
         "v1\",\"spec\":{\"a\":\"x\\u0000\"}}",
         "spec.a: a NUL character is not allowed"},
        {"{\"kind\":\"Widget\",\"apiVersion\":\"example.dev/v1\"}}",
         "line 1, column 48: unexpected text after the document"},
        {"{\"kind\":\"Widget\",\"apiVersion\":\"example.dev/v1\",\"spec\":{\"zz\":[1,}}",
         "line 1, column 64: expected a value"},
    };
    struct kind *k = kind_of(STRINGS, "");

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct decoded d = run(k, bad[i].in);
        assert_int_equal(d.rc, -ERR_BAD_REQUEST);
        assert_string_equal(d.e.msg, bad[i].error);
        assert_int_equal(d.out.len, 0);
        decoded_done(&d);
    }
    kind_unref(k);
}

static void
test_builtin_may_omit_identity(void **state)
{
    struct kind *k = kind_of(STRINGS, "\"drover.dev/builtin\":\"true\"");
    struct decoded d = run(k, "{\"metadata\":{\"name\":\"a\"}}");

    UNUSED(state);
    assert_int_equal(d.rc, 0);
    assert_string_equal(d.out.ptr,
                        "{\"apiVersion\":\"example.dev/v1\",\"kind\":\"Widget\","
                        "\"metadata\":{\"name\":\"a\"}}");
    decoded_done(&d);
    kind_unref(k);
}

static void
test_out_is_bounded(void **state)
{
    struct kind *k =
        kind_of(OBJ("\"a\":{\"type\":\"string\",\"default\":\"0123456789\"}"), "");
    static const char in[] =
        "{\"apiVersion\":\"example.dev/v1\",\"kind\":\"Widget\",\"spec\":{}}";

    UNUSED(state);
    for (size_t max = 0; max < sizeof(in) + 40; max++) {
        auto_str out = STR_INIT(max);
        auto_violations v = {0};
        struct error e = ERROR_INIT;
        int rc = kind_decode(k, (struct span){in, sizeof(in) - 1}, &out, &v, &e);
        size_t need = sizeof(in) - 1 + strlen("\"a\":\"0123456789\"");
        assert_int_equal(rc, max < need ? -ERR_TOO_LARGE : 0);
    }
    kind_unref(k);
}

static void
test_many_problems_are_bounded(void **state)
{
    struct kind *k = kind_of(STRINGS, "");
    auto_str in = STR_INIT(1u << 20);
    struct decoded d;

    UNUSED(state);
    str_adds(&in, "{\"apiVersion\":\"example.dev/v1\",\"kind\":\"Widget\",\"spec\":{");
    for (int i = 0; i < 500; i++)
        str_addf(&in, "\"u%d\":1,", i);
    str_adds(&in, "\"a\":5}}");
    d = run(k, in.ptr);
    assert_int_equal(d.rc, -ERR_INVALID);
    assert_int_equal(d.v.list.len, VIOLATIONS_MAX);
    assert_int_equal(violations_errors(&d.v), 1);
    decoded_done(&d);
    kind_unref(k);
}

static void *
decode_often(void *arg)
{
    for (int i = 0; i < 200; i++) {
        struct decoded d =
            run(arg, "{\"apiVersion\":\"example.dev/v1\",\"kind\":\"Widget\","
                     "\"spec\":{\"b\":\"2\",\"a\":\"1\"}}");
        if (d.rc < 0)
            return arg;
        decoded_done(&d);
    }
    return NULL;
}

static void
test_threads_share_a_kind(void **state)
{
    struct kind *k =
        kind_of(OBJ("\"a\":{\"type\":\"string\",\"pattern\":\"^[0-9]$\"},\"b\":{"
                    "\"type\":\"string\"}"),
                "");
    pthread_t t[4];
    void *failed;

    UNUSED(state);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&t[i], NULL, decode_often, k), 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(t[i], &failed), 0);
        assert_null(failed);
    }
    kind_unref(k);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_bad_request),
        cmocka_unit_test(test_builtin_may_omit_identity),
        cmocka_unit_test(test_out_is_bounded),
        cmocka_unit_test(test_many_problems_are_bounded),
        cmocka_unit_test(test_threads_share_a_kind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
