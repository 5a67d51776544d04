/* SPDX-License-Identifier: Apache-2.0 */
/* Compiling CustomResourceDefinitions: names, refusals, columns, facts of a kind's
 * objects. */
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/jtok.h"
#include "api/kind.h"
#include "api/object.h"
#include "api/yaml.h"
#include "base/fs.h"
#include "base/mem.h"

#define VERSION_HEAD "{\"name\":\"v1\",\"served\":true,\"storage\":true,"
#define CRD(versions)                                                                    \
    "{\"metadata\":{\"name\":\"widgets.example.dev\",\"annotations\":{"                  \
    "\"drover.dev/declared\":\"false\",\"drover.dev/durability\":\"lazy\"}},\"spec\":{"  \
    "\"group\":\"example.dev\",\"scope\":\"Cluster\",\"names\":{\"plural\":\"widgets\"," \
    "\"kind\":\"Widget\",\"shortNames\":[\"wd\"],\"categories\":[\"all\"]},"             \
    "\"versions\":[" versions "]}}"
#define SCHEMA(s) "\"schema\":{\"openAPIV3Schema\":" s "}"

static int
compile(const char *text, const char *version, struct kind **ret, struct violations *v,
        struct error *e)
{
    json_error_t je;
    json_t *crd = json_loads(text, 0, &je);
    int rc;

    if (crd == NULL)
        fail_msg("%s", je.text);
    rc = kind_compile(crd, version, ret, v, e);
    json_decref(crd);
    return rc;
}

static void
test_names(void **state)
{
    auto_violations v = {0};
    struct error e = ERROR_INIT;
    struct kind *k = NULL;

    UNUSED(state);
    assert_int_equal(
        compile(CRD(VERSION_HEAD "\"subresources\":{\"status\":{}}," SCHEMA(
                    "{\"type\":\"object\"}") "},{\"name\":\"v2\"," SCHEMA("{\"type\":"
                                                                          "\"object\""
                                                                          ",\"propert"
                                                                          "ies\":{"
                                                                          "\"spec\":{"
                                                                          "\"type\":"
                                                                          "\"object\""
                                                                          "}}}") "}"),
                NULL, &k, &v, &e),
        0);
    assert_string_equal(k->group, "example.dev");
    assert_string_equal(k->version, "v1");
    assert_string_equal(k->api_version, "example.dev/v1");
    assert_string_equal(k->resource, "widgets.example.dev");
    assert_string_equal(k->singular, "widget");
    assert_string_equal(k->list_kind, "WidgetList");
    assert_string_equal(k->short_names[0], "wd");
    assert_null(k->short_names[1]);
    assert_string_equal(k->categories[0], "all");
    assert_false(k->namespaced);
    assert_true(k->has_status);
    assert_false(k->declared);
    assert_true(k->lazy);
    assert_false(k->lazy_lease);
    assert_false(k->builtin);
    assert_true(k->generation_from_all);
    kind_unref(k);
    assert_int_equal(
        compile(CRD("{\"name\":\"v2\"," SCHEMA(
                    "{\"type\":\"object\",\"properties\":{\"spec\":{\"type\":"
                    "\"object\"}}}") "}"),
                "v2", &k, &v, &e),
        0);
    assert_false(k->generation_from_all);
    assert_false(k->has_status);
    kind_unref(k);
    assert_int_equal(compile(CRD(""), NULL, &k, &v, &e), -ERR_NOT_FOUND);
}

static void
test_refusals(void **state)
{
    static const struct {
        const char *schema, *says;
    } bad[] = {
        {"{\"type\":\"array\",\"items\":{\"type\":\"string\"}}",
         ".type: Invalid value: \"array\": must be object at the root"},
        {"{\"properties\":{}}", ".type: Required value: must not be empty at the root"},
        {"{\"type\":\"object\",\"properties\":{\"a\":{}}}",
         ".properties[a].type: Required value: must not be empty for specified object "
         "fields"},
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"array\"}}}",
         ".properties[a].items: Required value: must be specified"},
        {"{\"type\":\"object\",\"oneOf\":[{\"type\":\"object\"}]}",
         ".oneOf[0].type: Forbidden: must be empty to be structural"},
        {"{\"type\":\"object\",\"not\":{\"properties\":{\"a\":{\"minimum\":1}}}}",
         ".not.properties[a]: Required value: must be declared outside of allOf, anyOf, "
         "oneOf and not, too"},
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"array\",\"items\":{"
         "\"type\":\"string\"},\"uniqueItems\":true}}}",
         ".properties[a].uniqueItems: Forbidden: uniqueItems cannot be set to true since "
         "the runtime complexity becomes quadratic"},
        {"{\"type\":\"object\",\"x-kubernetes-validations\":[{\"rule\":\"true\"}]}",
         ".x-kubernetes-validations: Forbidden: validation rules in CEL are not "
         "supported by "
         "this server"},
        {"{\"type\":\"object\",\"$ref\":\"x\"}",
         ".$ref: Forbidden: $ref is not supported"},
        {"{\"type\":\"text\"}",
         ".type: Unsupported value: \"text\": supported values: \"array\", \"boolean\", "
         "\"integer\", \"number\", \"object\", \"string\""},
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\",\"pattern\":\"("
         "\"}}}",
         ".properties[a].pattern: Invalid value: \"(\": missing closing parenthesis"},
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\",\"default\":5}}"
         "}",
         ".properties[a].default: Invalid value: \"integer\": "
         "SCHEMA.properties[a].default in "
         "body must be of type string: \"integer\""},
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"object\","
         "\"additionalProperties\":false}}}",
         ".properties[a].additionalProperties: Forbidden: additionalProperties cannot be "
         "set to false"},
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"array\",\"items\":{"
         "\"type\":"
         "\"object\"},\"x-kubernetes-list-type\":\"map\",\"x-kubernetes-list-map-keys\":["
         "\"k\"]"
         "}}}",
         ".properties[a].x-kubernetes-list-map-keys: Invalid value: [\"k\"]: entries "
         "must all be names of item properties"},
    };

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        autofree char *text =
            xasprintf(CRD(VERSION_HEAD SCHEMA("%s") "}"), bad[i].schema);
        auto_violations v = {0};
        struct error e = ERROR_INIT;
        struct kind *k = NULL;
        auto_str want = STR_INIT(1000);
        const char *root = "spec.versions[0].schema.openAPIV3Schema", *hole;

        assert_int_equal(compile(text, NULL, &k, &v, &e), -ERR_INVALID);
        str_adds(&want, root);
        hole = strstr(bad[i].says, "SCHEMA");
        if (hole == NULL)
            str_adds(&want, bad[i].says);
        else
            str_addf(&want, "%.*s%s%s", (int)(hole - bad[i].says), bad[i].says, root,
                     hole + 6);
        assert_string_equal(e.msg, want.ptr);
    }
}

#define COLUMNS                                                                          \
    "\"selectableFields\":[{\"jsonPath\":\".spec.color\"},{\"jsonPath\":\".status.n\"}]" \
    ","                                                                                  \
    "\"additionalPrinterColumns\":["                                                     \
    "{\"name\":\"Color\",\"type\":\"string\",\"jsonPath\":\".spec.color\"},"             \
    "{\"name\":\"Ready\",\"type\":\"string\",\"jsonPath\":"                              \
    "\".status.conditions[?(@.type==\\\"Ready\\\")].status\"},"                          \
    "{\"name\":\"Age\",\"type\":\"date\",\"jsonPath\":\".metadata.creationTimestamp\"}," \
    "{\"name\":\"App\",\"type\":\"string\",\"jsonPath\":"                                \
    "\".metadata.labels.app\\\\.kubernetes\\\\.io/name\"},"                              \
    "{\"name\":\"None\",\"type\":\"string\",\"jsonPath\":\".spec.none.x\"},"             \
    "{\"name\":\"Spec\",\"type\":\"string\",\"jsonPath\":\".spec\",\"priority\":1}],"

static void
test_cells_and_fields(void **state)
{
    static const char bytes[] =
        "{\"apiVersion\":\"example.dev/v1\",\"kind\":\"Widget\",\"metadata\":{"
        "\"creationTimestamp\":\"2026-01-02T03:04:05Z\",\"labels\":{"
        "\"app.kubernetes.io/name\":\"web\"},\"name\":\"a\",\"uid\":\"u\"},\"spec\":{"
        "\"color\":\"red\"},\"status\":{\"conditions\":[{\"status\":\"False\",\"type\":"
        "\"X\"},"
        "{\"status\":\"True\",\"type\":\"Ready\"}],\"n\":5}}";
    static const char *const cells[] = {"\"red\"", "\"True\"", "\"2026-01-02T03:04:05Z\"",
                                        "\"web\"", "",         "{\"color\":\"red\"}"};
    auto_violations v = {0};
    struct error e = ERROR_INIT;
    struct kind *k = NULL;
    struct object *o = NULL;

    UNUSED(state);
    assert_int_equal(
        compile(CRD(VERSION_HEAD COLUMNS SCHEMA("{\"type\":\"object\"}") "}"), NULL, &k,
                &v, &e),
        0);
    assert_int_equal(k->n_columns, ARRAY_LEN(cells));
    assert_int_equal(k->columns[5].priority, 1);
    assert_int_equal(k->n_selectable, 2);
    assert_string_equal(k->selectable[0], "spec.color");
    assert_int_equal(object_new(k, bytes, sizeof(bytes) - 1, 1, &o, &e), 0);
    assert_int_equal(o->facts.n_cells, ARRAY_LEN(cells));
    for (size_t i = 0; i < ARRAY_LEN(cells); i++) {
        struct span c = object_fact(o, o->facts.cells[i]);
        autofree char *text = xstrndup(c.ptr, c.len);
        assert_string_equal(text, cells[i]);
    }
    assert_true(span_eq(object_fact(o, o->facts.fields[0]), "\"red\""));
    assert_true(span_eq(object_fact(o, o->facts.fields[1]), "5"));
    object_unref(o);
    kind_unref(k);
}

static void
test_jsonpath(void **state)
{
    static const char doc[] =
        "{\"a\":{\"b "
        "c\":[{\"k\":\"x\",\"v\":1},{\"k\":\"y\",\"v\":2},{\"v\":3}],\"d.e\":true}}";
    static const struct {
        const char *path, *value; /* value NULL: none */
    } cases[] = {
        {".a['b c'][0].v", "1"},
        {"{.a['b c'][1].k}", "\"y\""},
        {"$.a[\"b c\"][-1].v", "3"},
        {".a['b c'][7].v", NULL},
        {".a['b c'][-4].v", NULL},
        {".a['b c'][*].k", "\"x\""},
        {".a['b c'][?(@.k==\"y\")].v", "2"},
        {".a['b c'][?(@.k == 'z')].v", NULL},
        {".a['b c'][?(@.v==3)].v", "3"},
        {".a['b c'][?(@.k!='x')].v", "2"},
        {".a['b c'][?(@.k)].v", "1"},
        {".a.d\\.e", "true"},
        {".a['d.e']", "true"},
        {".a.*", "[{\"k\":\"x\",\"v\":1},{\"k\":\"y\",\"v\":2},{\"v\":3}]"},
        {".a.x.y", NULL},
    };
    static const char *const bad[] = {
        "",         "a",    ".",    ".a[", ".a[x]",     "..a",           ".a['x",
        ".a[?(@.x", ".a b", ".a[0", "{.a", ".a[?(.x)]", ".a[?(@.x=={})]"};

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct jsonpath *p = NULL;
        struct error e = ERROR_INIT;
        struct span v;
        if (jsonpath_compile(cases[i].path, &p, &e) < 0)
            fail_msg("%s", e.msg);
        if (cases[i].value == NULL) {
            assert_false(jsonpath_first(p, span_of(doc), &v));
        } else {
            autofree char *text = NULL;
            assert_true(jsonpath_first(p, span_of(doc), &v));
            text = xstrndup(v.ptr, v.len);
            assert_string_equal(text, cases[i].value);
        }
        jsonpath_free(p);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct jsonpath *p = NULL;
        struct error e = ERROR_INIT;
        assert_int_equal(jsonpath_compile(bad[i], &p, &e), -ERR_INVALID);
    }
}

static void
test_schema_view(void **state)
{
    auto_violations v = {0};
    struct error e = ERROR_INIT;
    struct kind *k = NULL;
    const struct schema *meta, *l;

    UNUSED(state);
    assert_int_equal(
        compile(CRD(VERSION_HEAD SCHEMA(
                    "{\"type\":\"object\",\"properties\":{\"l\":{\"type\":\"array\","
                    "\"x-kubernetes-list-type\":\"map\",\"x-kubernetes-list-map-keys\":["
                    "\"k\"],"
                    "\"items\":{\"type\":\"object\",\"x-kubernetes-map-type\":\"atomic\","
                    "\"properties\":{\"k\":{\"type\":\"string\"}}}}}}") "}"),
                NULL, &k, &v, &e),
        0);
    meta = schema_member(k->schema, "metadata");
    assert_int_equal(schema_list_type(schema_member(meta, "finalizers")),
                     SCHEMA_LIST_SET);
    assert_non_null(schema_member(schema_member(meta, "labels"), "anything"));
    l = schema_member(k->schema, "l");
    assert_int_equal(schema_list_type(l), SCHEMA_LIST_MAP);
    assert_string_equal(schema_list_map_keys(l)[0], "k");
    assert_null(schema_list_map_keys(l)[1]);
    assert_true(schema_map_atomic(schema_items(l)));
    assert_false(schema_preserves_unknown(l));
    assert_null(schema_member(k->schema, "nope"));
    assert_null(schema_items(k->schema));
    kind_unref(k);
}

/* Every document that the server ships compiles, and its own defaults hold. */
static void
test_shipped_documents(void **state)
{
    static const char *const patterns[] = {DROVER_SOURCE_DIR "/crds/*.yaml",
                                           DROVER_SOURCE_DIR "/crds/builtin/*.yaml"};
    size_t compiled = 0;

    UNUSED(state);
    for (size_t p = 0; p < ARRAY_LEN(patterns); p++) {
        glob_t files;
        assert_int_equal(glob(patterns[p], 0, NULL, &files), 0);
        for (size_t i = 0; i < files.gl_pathc; i++) {
            auto_str text = STR_INIT(1u << 20);
            struct yaml_docs docs = {0};
            struct error e = ERROR_INIT;
            if (fs_read(files.gl_pathv[i], &text, &e) < 0 ||
                yaml_read(text.ptr, text.len, false, &docs, &e) < 0)
                fail_msg("%s: %s", files.gl_pathv[i], e.msg);
            vec_foreach (d, &docs.list) {
                auto_violations v = {0};
                struct kind *k = NULL;
                if (compile(d->json.ptr, NULL, &k, &v, &e) < 0)
                    fail_msg("%s: %s", files.gl_pathv[i], e.msg);
                if (strstr(d->json.ptr, "\"drover.dev/declared\":") == NULL)
                    fail_msg("%s does not say whether it is declared", files.gl_pathv[i]);
                kind_unref(k);
                compiled++;
            }
            yaml_docs_done(&docs);
        }
        globfree(&files);
    }
    assert_true(compiled >= 4);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),       cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_jsonpath),    cmocka_unit_test(test_cells_and_fields),
        cmocka_unit_test(test_schema_view), cmocka_unit_test(test_shipped_documents),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
