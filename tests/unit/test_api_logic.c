/* SPDX-License-Identifier: Apache-2.0 */
/* allOf, anyOf, oneOf, not; what ratcheting tolerates on an update. JSON in tables is
 * written with single quotes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/jtok.h"
#include "api/kind.h"
#include "base/mem.h"

static char *
quoted(const char *text)
{
    char *z = xstrdup(text);

    for (char *p = z; *p != '\0'; p++)
        if (*p == '\'')
            *p = '"';
    return z;
}

static struct kind *
kind_of(const char *spec_schema)
{
    autofree char *plain = xasprintf(
        "{'spec':{'group':'example.dev','scope':'Namespaced','names':{'plural':'widgets',"
        "'kind':'Widget'},'versions':[{'name':'v1','served':true,'storage':true,'schema':"
        "{'openAPIV3Schema':{'type':'object','properties':{'spec':%s}}}}]}}",
        spec_schema);
    autofree char *text = quoted(plain);
    json_t *crd = json_loads(text, 0, NULL);
    auto_violations v = {0};
    struct error e = ERROR_INIT;
    struct kind *k = NULL;

    assert_non_null(crd);
    if (kind_compile(crd, NULL, &k, &v, &e) < 0)
        fail_msg("%s", e.msg);
    json_decref(crd);
    return k;
}

static char *
object_of(const char *spec)
{
    autofree char *plain = xasprintf("{'apiVersion':'example.dev/v1','kind':'Widget',"
                                     "'metadata':{'name':'a'},'spec':%s}",
                                     spec);

    return quoted(plain);
}

/* "path|message" of each problem, joined by newlines. */
static void
check(const struct kind *k, const char *spec, const char *old, const char *says)
{
    autofree char *in = object_of(spec), *before = NULL, *want = quoted(says);
    auto_str out = STR_INIT(1u << 20), got = STR_INIT(10000), canon = STR_INIT(1u << 20);
    auto_violations v = {0};
    struct error e = ERROR_INIT;
    int rc;

    if (old == NULL) {
        rc = kind_decode(k, span_of(in), &out, &v, &e);
    } else {
        before = object_of(old);
        assert_int_equal(jcanon(before, strlen(before), &canon, &e), 0);
        rc = kind_decode_changed(k, span_of(in), (struct span){canon.ptr, canon.len},
                                 &out, &v, &e);
    }
    vec_foreach (x, &v.list)
        str_addf(&got, "%s%s|%s", got.len > 0 ? "\n" : "", x->path, x->message);
    assert_string_equal(got.ptr, want);
    assert_int_equal(rc, *says == '\0' ? 0 : -ERR_INVALID);
}

#define PORT                                                                             \
    "{'type':'object','properties':{'a':{'type':'integer'},'b':{'type':'string'},'c':{"  \
    "'type':'array','items':{'type':'integer'}},'n':{'x-kubernetes-int-or-string':true"  \
    "}},"

static void
test_logic(void **state)
{
    static const struct {
        const char *schema, *spec, *says;
    } cases[] = {
        {PORT "'oneOf':[{'required':['a']},{'required':['b']}]}", "{'a':1}", ""},
        {PORT "'oneOf':[{'required':['a']},{'required':['b']}]}", "{'b':'x'}", ""},
        {PORT "'oneOf':[{'required':['a']},{'required':['b']}]}", "{}",
         "spec.a|Required value\nspec|Invalid value: 'spec' must validate one and only "
         "one "
         "schema (oneOf). Found none valid"},
        {PORT "'oneOf':[{'required':['a']},{'required':['b']}]}", "{'a':1,'b':'x'}",
         "spec|Invalid value: 'spec' must validate one and only one schema (oneOf). "
         "Found "
         "2 valid alternatives"},
        {PORT "'anyOf':[{'required':['a']},{'required':['b']}]}", "{'a':1,'b':'x'}", ""},
        {PORT "'anyOf':[{'properties':{'a':{'minimum':5}}},{'properties':{'a':{'enum':[1"
              "]}}}]}",
         "{'a':1}", ""},
        {PORT "'anyOf':[{'properties':{'a':{'minimum':5}}},{'properties':{'a':{'enum':[1"
              "]}}}]}",
         "{'a':2}",
         "spec.a|Invalid value: 2: spec.a in body should be greater than or equal to 5\n"
         "spec|Invalid value: 'spec' must validate at least one schema (anyOf)"},
        {PORT "'allOf':[{'properties':{'a':{'minimum':5}}},{'properties':{'b':{"
              "'maxLength':1}}}]}",
         "{'a':1,'b':'xy'}",
         "spec.a|Invalid value: 1: spec.a in body should be greater than or equal to 5\n"
         "spec.b|Too long: may not be more than 1 characters\n"
         "spec|Invalid value: 'spec' must validate all the schemas (allOf)"},
        {PORT "'not':{'required':['a','b']}}", "{'a':1}", ""},
        {PORT "'not':{'required':['a','b']}}", "{'a':1,'b':'x'}",
         "spec|Invalid value: 'spec' must not validate the schema (not)"},
        /* on items and inside */
        {PORT "'allOf':[{'properties':{'c':{'minItems':2,'items':{'maximum':3}}}}]}",
         "{'c':[1,5]}",
         "spec.c[1]|Invalid value: 5: spec.c[1] in body should be less than or equal to 3"
         "\nspec|Invalid value: 'spec' must validate all the schemas (allOf)"},
        {PORT "'allOf':[{'properties':{'c':{'minItems':2}}}]}", "{'c':[1]}",
         "spec.c|Invalid value: 1: spec.c in body should have at least 2 items\nspec|"
         "Invalid value: 'spec' must validate all the schemas (allOf)"},
        {"{'type':'object','properties':{'n':{'x-kubernetes-int-or-string':true,'anyOf':["
         "{"
         "'type':'integer'},{'type':'string'}],'allOf':[{'maximum':9}]}}}",
         "{'n':'x'}", ""},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct kind *k = kind_of(cases[i].schema);
        check(k, cases[i].spec, NULL, cases[i].says);
        kind_unref(k);
    }
}

#define RATCHET                                                                          \
    "{'type':'object','required':['must'],'properties':{'must':{'type':'string'},"       \
    "'size':{'type':'integer','minimum':5},'other':{'type':'string','maxLength':3},"     \
    "'ports':{'type':'array','x-kubernetes-list-type':'map','x-kubernetes-list-map-keys" \
    "':['name'],'items':{'type':'object','required':['name'],'properties':{'name':{"     \
    "'type':'string'},'port':{'type':'integer','maximum':10}}}},'list':{'type':'array'," \
    "'items':{'type':'integer','maximum':10}},'set':{'type':'array',"                    \
    "'x-kubernetes-list-type':'set','items':{'type':'string'}},'deep':{'type':'object'," \
    "'properties':{'a':{'type':'integer','maximum':1},'b':{'type':'integer'}}},'mode':{" \
    "'type':'string','default':'x'}}}"

static void
test_ratcheting(void **state)
{
    static const struct {
        const char *old, *spec, *says;
    } cases[] = {
        /* what was wrong may stay as it was */
        {"{'must':'a','size':1,'mode':'x'}", "{'must':'b','size':1}", ""},
        {"{'must':'a','size':1,'mode':'x'}", "{'must':'b','size':2}",
         "spec.size|Invalid value: 2: spec.size in body should be greater than or equal "
         "to "
         "5"},
        {"{'must':'a','size':1,'mode':'x'}", "{'must':'a','size':1,'other':'long'}",
         "spec.other|Too long: may not be more than 3 characters"},
        {"{'must':'a','size':'text','mode':'x'}", "{'must':'b','size':'text'}", ""},
        {"{'must':'a','deep':{'a':9,'b':1},'mode':'x'}",
         "{'must':'a','deep':{'a':9,'b':2}}", ""},
        {"{'must':'a','deep':{'a':9,'b':1},'mode':'x'}", "{'must':'a','deep':{'a':8}}",
         "spec.deep.a|Invalid value: 8: spec.deep.a in body should be less than or equal "
         "to 1"},
        /* items of list maps are known by their keys, in any order; of others not */
        {"{'must':'a','ports':[{'name':'x','port':99}],'mode':'x'}",
         "{'must':'a','ports':[{'name':'y','port':1},{'name':'x','port':99}]}", ""},
        {"{'must':'a','ports':[{'name':'x','port':99}],'mode':'x'}",
         "{'must':'a','ports':[{'name':'y','port':99}]}",
         "spec.ports[0].port|Invalid value: 99: spec.ports[0].port in body should be "
         "less "
         "than or equal to 10"},
        {"{'must':'a','list':[99],'mode':'x'}", "{'must':'b','list':[99]}", ""},
        {"{'must':'a','list':[99],'mode':'x'}", "{'must':'a','list':[99,1]}",
         "spec.list[0]|Invalid value: 99: spec.list[0] in body should be less than or "
         "equal to 10"},
        /* never: what is required */
        {"{'size':7,'mode':'x'}", "{'size':7}", "spec.must|Required value"},
        /* doubles, as long as there were some, wherever */
        {"{'must':'a','set':['x','x'],'mode':'x'}", "{'must':'b','set':['x','x']}", ""},
        {"{'must':'a','set':['x','x'],'mode':'x'}", "{'must':'b','set':['y','z','y']}",
         ""},
        {"{'must':'a','set':['x','x'],'mode':'x'}",
         "{'must':'a','ports':[{'name':'x','port':1},{'name':'x','port':2}]}", ""},
        {"{'must':'a','set':['x','x'],'mode':'x'}",
         "{'must':'b','set':['y','y'],"
         "'size':2}",
         "spec.size|Invalid value: 2: spec.size in body should be greater than or equal "
         "to "
         "5"},
        {"{'must':'a','set':['x'],'mode':'x'}", "{'must':'b','set':['x','x']}",
         "spec.set[1]|Duplicate value: 'x'"},
    };
    struct kind *k = kind_of(RATCHET);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        check(k, cases[i].spec, cases[i].old, cases[i].says);
    kind_unref(k);
}

/* Each level looks at the whole value again: the bound ends it. */
static void
test_bounded(void **state)
{
    auto_str schema = STR_INIT(1u << 20), spec = STR_INIT(4u << 20);
    auto_str out = STR_INIT(4u << 20);
    auto_violations v = {0};
    struct error e = ERROR_INIT;

    (void)state;
    str_adds(&schema,
             "{'type':'object','x-kubernetes-preserve-unknown-fields':true,'allOf':[");
    for (int i = 0; i < 60; i++)
        str_adds(&schema, i == 0 ? "{'maxProperties':5}" : ",{'maxProperties':5}");
    str_adds(&schema, "]}");
    struct kind *k = kind_of(schema.ptr);
    str_adds(&spec, "{'x':'");
    for (int i = 0; i < 2000000; i++)
        str_addc(&spec, 'y');
    str_adds(&spec, "'}");
    autofree char *in = object_of(spec.ptr);
    assert_int_equal(kind_decode(k, span_of(in), &out, &v, &e), -ERR_BAD_REQUEST);
    assert_non_null(strstr(e.msg, "too much work"));
    kind_unref(k);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logic),
        cmocka_unit_test(test_ratcheting),
        cmocka_unit_test(test_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
