/* SPDX-License-Identifier: Apache-2.0 */
/* What a structural schema must hold, in the words of Kubernetes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/schema_internal.h"
#include "base/mem.h"

#define FIELD(schema) "{'type':'object','properties':{'a':" schema "}}"
#define LIST(type, items)                                                                \
    FIELD("{'type':'array','x-kubernetes-list-type':'" type "','items':" items "}")
#define MAP(keys, items)                                                                 \
    FIELD("{'type':'array','x-kubernetes-list-type':'map','x-kubernetes-list-map-keys'"  \
          ":" keys ",'items':" items "}")
#define META(schema) "{'type':'object','properties':{'metadata':" schema "}}"
#define EMBEDDED "'x-kubernetes-embedded-resource':true"
#define PRESERVE "'x-kubernetes-preserve-unknown-fields':true"
#define IS_SET "must be atomic as item of a list with x-kubernetes-list-type=set"
static const struct rule {
    const char *schema; /* with ' for " */
    const char *says;   /* joined by newlines, with P. for the path; "": it is right */
} rules[] = {
    /* items of sets */
    {LIST("set", "{'type':'string'}"), ""},
    {LIST("set", "{'type':'object','x-kubernetes-map-type':'atomic'}"), ""},
    {LIST("set", "{'type':'object'}"),
     "P[a].items.x-kubernetes-map-type: Invalid value: null: " IS_SET},
    {LIST("set", "{'type':'object','x-kubernetes-map-type':'granular'}"),
     "P[a].items.x-kubernetes-map-type: Invalid value: 'granular': " IS_SET},
    {LIST("set", "{'type':'array','items':{'type':'string'}}"), ""},
    {LIST("set", "{'type':'array','x-kubernetes-list-type':'set','items':{'type':"
                 "'string'}}"),
     "P[a].items.x-kubernetes-list-type: Invalid value: 'set': " IS_SET},
    {LIST("set", "{'type':'string','nullable':true}"),
     "P[a].items.nullable: Forbidden: cannot be nullable when x-kubernetes-list-type is "
     "set"},
    {LIST("atomic", "{'type':'string','nullable':true}"), ""},
    /* list maps */
    {MAP("['k']", "{'type':'object','required':['k'],'properties':{'k':{'type':"
                  "'string'}}}"),
     ""},
    {MAP("['k','k']", "{'type':'object','properties':{'k':{'type':'string'}}}"),
     "P[a].x-kubernetes-list-map-keys: Invalid value: ['k','k']: must not contain "
     "duplicate entries"},
    {MAP("['k']", "{'type':'object','properties':{'k':{'type':'object'}}}"),
     "P[a].items.properties[k].type: Invalid value: 'object': must be a scalar type if "
     "parent array's x-kubernetes-list-type is map"},
    {MAP("['k']",
         "{'type':'object','properties':{'k':{'type':'string','nullable':true}}}"),
     "P[a].items.properties[k].nullable: Forbidden: this property is in "
     "x-kubernetes-list-map-keys, so it cannot be nullable"},
    {FIELD("{'type':'array','items':{'type':'string'},'x-kubernetes-list-map-keys':['k']"
           "}"),
     "P[a].x-kubernetes-list-type: Required value: must be map if "
     "x-kubernetes-list-map-keys is non-empty"},
    /* embedded resources */
    {FIELD("{'type':'object'," EMBEDDED "," PRESERVE "}"), ""},
    {FIELD("{" EMBEDDED "," PRESERVE "}"),
     "P[a].type: Required value: must be object if x-kubernetes-embedded-resource is "
     "true"},
    {FIELD("{'type':'string'," EMBEDDED "," PRESERVE "}"),
     "P[a].type: Invalid value: 'string': must be object if "
     "x-kubernetes-embedded-resource is true"},
    {FIELD("{'type':'object'," EMBEDDED "}"),
     "P[a].properties: Required value: must not be empty if "
     "x-kubernetes-embedded-resource is true without "
     "x-kubernetes-preserve-unknown-fields"},
    {FIELD("{'type':'object'," EMBEDDED ",'properties':{'kind':{'type':'integer'}}}"),
     "P[a].properties[kind].type: Invalid value: 'integer': must be string"},
    {FIELD("{'type':'object'," EMBEDDED ",'properties':{'metadata':{'type':'object'},"
           "'spec':{'type':'object'}}}"),
     ""},
    {FIELD("{'type':'object'," EMBEDDED "," PRESERVE
           ",'additionalProperties':{'type':'string'}}"),
     "P[a].additionalProperties: Forbidden: must not be used if "
     "x-kubernetes-embedded-resource is set"},
    /* extensions */
    {FIELD("{'type':'object','x-kubernetes-preserve-unknown-fields':false}"),
     "P[a].x-kubernetes-preserve-unknown-fields: Invalid value: false: must be true or "
     "undefined"},
    {FIELD("{'x-kubernetes-int-or-string':true," PRESERVE "}"),
     "P[a].x-kubernetes-preserve-unknown-fields: Invalid value: true: must be false if "
     "x-kubernetes-int-or-string is true"},
    {FIELD("{'type':'null'}"), "P[a].type: Forbidden: type cannot be set to null, use "
                               "nullable as an alternative\n"
                               "P[a].type: Unsupported value: 'null': supported values: "
                               "'array', 'boolean', 'integer', 'number', 'object', "
                               "'string'"},
    /* the root */
    {META("{'type':'object'}"), ""},
    {META("{'type':'object','properties':{'name':{'type':'string','pattern':'^a'},"
          "'generateName':{'type':'string'}}}"),
     ""},
    {META("{'type':'string'}"),
     "P[metadata].type: Invalid value: 'string': must be object"},
    {META("{'type':'object','properties':{'labels':{'type':'object'}}}"),
     "ROOT.properties["
     "metadata]: Forbidden: must not specify anything other than name "
     "and generateName, but metadata is implicitly specified"},
    {META("{'type':'object','minProperties':1}"),
     "ROOT.properties["
     "metadata]: Forbidden: must not specify anything other than name "
     "and generateName, but metadata is implicitly specified"},
    {META("{'type':'object','properties':{'name':{'type':'string','default':'x'}}}"),
     "P[metadata].properties[name].default: Forbidden: must not be set in top-level "
     "metadata"},
    {"{'type':'object','properties':{'kind':{'type':'object'}}}",
     "P[kind].type: Invalid value: 'object': must be string"},
    {"{'type':'object','nullable':true}",
     "ROOT.nullable: Forbidden: nullable cannot be true at the root"},
    {"{'type':'object','properties':{'metadata':{'type':'object'}},'allOf':[{'properties'"
     ":{'metadata':{'required':['name']}}}]}",
     "ROOT.allOf[0].properties[metadata]: Forbidden: must not be specified in a nested "
     "context"},
    /* defaults */
    {FIELD("{'type':'object','properties':{'b':{'type':'string'}},'default':{'b':'x'}}"),
     ""},
    {FIELD("{'type':'object','properties':{'b':{'type':'string'}},'default':{'c':'x'}}"),
     "P[a].default: Invalid value: {'c':'x'}: must not have unknown fields"},
    {FIELD("{'type':'object'," PRESERVE ",'default':{'c':'x'}}"), ""},
    {FIELD("{'type':'integer','format':'int32','default':2147483648}"),
     "P[a].default: Invalid value: 2147483648: Checked value must be of type integer "
     "with format int32 in P[a].default"},
    /* what quantifiers may not say */
    {FIELD("{'type':'string','anyOf':[{'default':'x'},{'nullable':true}]}"),
     "P[a].anyOf[0].default: Forbidden: must be undefined to be structural\n"
     "P[a].anyOf[1].nullable: Forbidden: must be false to be structural"},
    {FIELD("{'type':'string','anyOf':[{'nullable':false,'title':'','minLength':1}]}"),
     ""},
};

/* ' becomes ", P[ becomes the path of properties. */
static char *
expand(const char *text)
{
    auto_str out = STR_INIT(1 << 16);

    for (; *text != '\0'; text++) {
        if (str_starts(text, "P["))
            str_adds(&out, "ROOT.properties");
        else if (str_starts(text, "array's"))
            str_adds(&out, "array'");
        else
            str_addc(&out, *text == '\'' ? '"' : *text);
        if (str_starts(text, "array's"))
            text += strlen("array'") - 1;
    }
    return str_detach(&out);
}

static void
rules_are_those_of_kubernetes(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        autofree char *schema = expand(rules[i].schema), *want = expand(rules[i].says);
        auto_violations v = {0};
        auto_str said = STR_INIT(1 << 16);
        json_error_t why;
        json_t *doc = json_loads(schema, 0, &why);
        assert_non_null(doc);
        struct schema *s = schema_compile_root(doc, "ROOT", &v);
        vec_foreach (x, &v.list)
            str_addf(&said, "%s%s: %s", said.len == 0 ? "" : "\n", x->path, x->message);
        assert_string_equal(said.ptr == NULL ? "" : said.ptr, want);
        assert_true((s == NULL) == (*want != '\0'));
        schema_free(s);
        json_decref(doc);
    }
}

static void
names_can_be_restricted(void **state)
{
    autofree char *schema =
        expand(META("{'type':'object','properties':{'name':{'type':'string','pattern':"
                    "'^a'}}}"));
    static const struct {
        const char *object;
        size_t errors;
    } objects[] = {{"{\"metadata\":{\"labels\":{\"x\":\"y\"},\"name\":\"abc\"}}", 0},
                   {"{\"metadata\":{\"name\":\"bc\"}}", 1},
                   {"{\"metadata\":{}}", 0}};
    auto_violations v = {0};
    json_t *doc = json_loads(schema, 0, NULL);

    UNUSED(state);
    struct schema *s = schema_compile_root(doc, "ROOT", &v);
    assert_non_null(s);
    for (size_t i = 0; i < ARRAY_LEN(objects); i++) {
        auto_str out = STR_INIT(4096);
        struct error e = ERROR_INIT;
        size_t errors;
        assert_int_equal(
            decode_text(s, "", span_of(objects[i].object), &out, &v, &errors, &e), 0);
        assert_int_equal(errors, objects[i].errors);
        if (errors == 0)
            assert_string_equal(out.ptr, objects[i].object);
    }
    schema_free(s);
    json_decref(doc);
}

static void
schemas_are_bounded(void **state)
{
    auto_violations v = {0};
    json_t *doc = json_pack("{s:s,s:{}}", "type", "object", "properties");
    json_t *properties = json_object_get(doc, "properties");
    char key[24];

    UNUSED(state);
    for (int i = 0; i < 5000; i++) { /* 11 objects each */
        json_t *one = json_pack("{s:s,s:[]}", "type", "string", "anyOf");
        for (int j = 0; j < 10; j++)
            json_array_append_new(json_object_get(one, "anyOf"),
                                  json_pack("{s:i}", "minLength", j));
        snprintf(key, sizeof(key), "p%d", i);
        json_object_set_new(properties, key, one);
    }
    assert_null(schema_compile_root(doc, "ROOT", &v));
    assert_int_equal(v.list.items[0].reason, VIOLATION_TOO_MANY);
    json_decref(doc);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_are_those_of_kubernetes),
        cmocka_unit_test(names_can_be_restricted),
        cmocka_unit_test(schemas_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
