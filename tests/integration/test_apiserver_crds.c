/* SPDX-License-Identifier: Apache-2.0 */
/*
 * User-made kinds over the API: what is refused in which words, serving without a
 * restart, versions, changes of schema, conflicts of names, deletion, restart.
 */
#include "integration/api_fixture.h"

#include "base/mem.h"

#define CRDS "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
#define V1 "/apis/example.dev/v1/namespaces/default/widgets"
#define V2 "/apis/example.dev/v2/namespaces/default/widgets"

enum { TURNS = 200 };

#define SCHEMA(spec)                                                                     \
    "{'openAPIV3Schema':{'type':'object','properties':{'spec':" spec                     \
    ",'status':{'type':'object','x-kubernetes-preserve-unknown-fields':true}}}}"
#define OPEN_SPEC "{'type':'object','x-kubernetes-preserve-unknown-fields':true}"
#define VERSION(name, storage, schema, more)                                             \
    "{'name':'" name "','served':true,'storage':" storage ",'schema':" schema more "}"
#define ONE VERSION("v1", "true", SCHEMA(OPEN_SPEC), "")

/* JSON with single quotes. */
static char *
quoted(const char *text)
{
    char *z = xstrdup(text);

    for (char *p = z; *p != '\0'; p++)
        if (*p == '\'')
            *p = '"';
    return z;
}

static char *
crd_of(const char *name, const char *group, const char *names, const char *versions)
{
    autofree char *text = xasprintf(
        "{'apiVersion':'apiextensions.k8s.io/v1','kind':'CustomResourceDefinition',"
        "'metadata':{'name':'%s'},'spec':{'group':'%s','scope':'Namespaced','names':{%s},"
        "'versions':[%s]}}",
        name, group, names, versions);

    return quoted(text);
}

static char *
widgets(const char *versions)
{
    return crd_of("widgets.example.dev", "example.dev",
                  "'plural':'widgets','kind':'Widget','shortNames':['wd']", versions);
}

static void
make(struct api_fixture *f, const char *versions)
{
    autofree char *crd = widgets(versions);

    api_ok(f, 201, "POST", CRDS, NULL, crd);
    api_settle(f, TURNS);
}

static void
change(struct api_fixture *f, const char *patch)
{
    autofree char *body = quoted(patch);

    api_ok(f, 200, "PATCH", CRDS "/widgets.example.dev", MERGE, body);
    api_settle(f, TURNS);
}

static void
put_widget(struct api_fixture *f, int status, const char *path, const char *version,
           const char *name, const char *spec)
{
    autofree char *text = xasprintf("{'apiVersion':'example.dev/%s','kind':'Widget',"
                                    "'metadata':{'name':'%s'},'spec':%s}",
                                    version, name, spec);
    autofree char *body = quoted(text);

    api_ok(f, status, "POST", path, NULL, body);
}

static const char *
condition(struct api_fixture *f, const char *crd, const char *type, const char *member)
{
    static char path[64];
    autofree char *url = xasprintf(CRDS "/%s", crd);

    api_ok(f, 200, "GET", url, NULL, NULL);
    for (int i = 0; i < 5; i++) {
        snprintf(path, sizeof(path), "status.conditions.%d.type", i);
        if (!streq(api_text(f, path), type))
            continue;
        snprintf(path, sizeof(path), "status.conditions.%d.%s", i, member);
        return api_text(f, path);
    }
    return "";
}

/* --- replaced --- */

static void
replacing_needs_a_version(void **state)
{
    struct api_fixture *f = *state;
    autofree char *crd = widgets(ONE);

    make(f, ONE);
    api_ok(f, 422, "PUT", CRDS "/widgets.example.dev", NULL, crd);
    assert_string_equal(
        api_text(f, "message"),
        "CustomResourceDefinition.apiextensions.k8s.io \"widgets.example.dev\" is "
        "invalid: "
        "metadata.resourceVersion: Invalid value: 0x0: must be specified for an update");
    api_ok(f, 200, "GET", CRDS "/widgets.example.dev", NULL, NULL);
    autofree char *same = xstrdup(f->reply.body.ptr);
    api_ok(f, 200, "PUT", CRDS "/widgets.example.dev", NULL, same);
    api_restart(f); /* its own CRDs are written without */
}

/* --- refused ------------------------------------------------------------------------ */

#define NAMES "'plural':'widgets','kind':'Widget'"

static void
refused(void **state)
{
    static const struct {
        const char *name, *group, *names, *versions, *field, *message;
    } cases[] = {
        {"other.example.dev", "example.dev", NAMES, ONE, "metadata.name",
         "Invalid value: \"other.example.dev\": must be "
         "spec.names.plural+\".\"+spec.group"},
        {"widgets.example", "example", NAMES, ONE, "spec.group",
         "Invalid value: \"example\": should be a domain with at least one dot"},
        {"widgets.x.k8s.io", "x.k8s.io", NAMES, ONE,
         "metadata.annotations[api-approved.kubernetes.io]",
         "Required value: protected groups must have approval annotation "
         "\"api-approved.kubernetes.io\", see "
         "https://github.com/kubernetes/enhancements/pull/1111"},
        {"widgets.example.dev", "example.dev",
         "'plural':'widgets','kind':'Widget','listKind':'Widget'", ONE,
         "spec.names.listKind",
         "Invalid value: \"Widget\": kind and listKind may not be the same"},
        {"widgets.example.dev", "example.dev", NAMES,
         VERSION("v1", "false", SCHEMA(OPEN_SPEC), ""), "spec.versions",
         "Invalid value: [\"v1\"]: must have exactly one version marked as storage "
         "version"},
        {"widgets.example.dev", "example.dev", NAMES,
         ONE "," VERSION("v1", "false", SCHEMA(OPEN_SPEC), ""), "spec.versions",
         "Invalid value: [\"v1\",\"v1\"]: must contain unique version names"},
        {"widgets.example.dev", "example.dev", NAMES, VERSION("v1", "true", "{}", ""),
         "spec.versions[0].schema.openAPIV3Schema",
         "Required value: schemas are required"},
        {"widgets.example.dev", "example.dev", NAMES,
         VERSION("v1", "true",
                 SCHEMA("{'type':'object','x-kubernetes-validations':[{"
                        "'rule':'self.a'}]}"),
                 ""),
         "spec.versions[0].schema.openAPIV3Schema.properties[spec].x-kubernetes-"
         "validations",
         "Forbidden: validation rules in CEL are not supported by this server"},
        {"widgets.example.dev", "example.dev", NAMES,
         VERSION("v1", "true",
                 SCHEMA("{'type':'object','properties':{'a':{'type':"
                        "'integer','default':'x'}}}"),
                 ""),
         "spec.versions[0].schema.openAPIV3Schema.properties[spec].properties[a].default",
         "Invalid value: \"string\": spec.versions[0].schema.openAPIV3Schema.properties["
         "spec].properties[a].default in body must be of type integer: \"string\""},
        {"widgets.example.dev", "example.dev", NAMES,
         VERSION("v1", "true",
                 SCHEMA("{'type':'array','x-kubernetes-list-type':'map',"
                        "'x-kubernetes-list-map-keys':['k'],'items':{'type':'object',"
                        "'properties':{'k':{'type':'string'}}}}"),
                 ""),
         "spec.versions[0].schema.openAPIV3Schema.properties[spec].items.properties[k]"
         ".default",
         "Required value: this property is in x-kubernetes-list-map-keys, so it must "
         "have "
         "a default or be a required property"},
        {"widgets.example.dev", "example.dev", NAMES,
         VERSION("v1", "true", SCHEMA(OPEN_SPEC),
                 ",'selectableFields':[{'jsonPath':'.spec.color'}]"),
         "spec.versions[0].selectableFields[0].jsonPath",
         "Invalid value: \".spec.color\": is an invalid path: does not refer to a valid "
         "field"},
        {"widgets.example.dev", "example.dev", NAMES,
         VERSION("v1", "true", SCHEMA(OPEN_SPEC),
                 ",'subresources':{'scale':{'specReplicasPath':'.status.n',"
                 "'statusReplicasPath':'.status.n'}}"),
         "spec.versions[0].subresources.scale.specReplicasPath",
         "Invalid value: \".status.n\": should be a json path under .spec"},
    };
    struct api_fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        autofree char *crd =
            crd_of(cases[i].name, cases[i].group, cases[i].names, cases[i].versions);
        api_ok(f, 422, "POST", CRDS, NULL, crd);
        assert_string_equal(api_text(f, "details.causes.0.field"), cases[i].field);
        assert_string_equal(api_text(f, "details.causes.0.message"), cases[i].message);
    }
}

static void
what_cannot_change(void **state)
{
    struct api_fixture *f = *state;
    autofree char *scope = quoted("{'spec':{'scope':'Cluster'}}");
    autofree char *kind = quoted("{'spec':{'names':{'kind':'Gadget'}}}");
    autofree char *gone = quoted(
        "{'spec':{'versions':[" VERSION("v2", "true", SCHEMA(OPEN_SPEC), "") "]}}");

    make(f, ONE);
    api_ok(f, 422, "PATCH", CRDS "/widgets.example.dev", MERGE, scope);
    assert_string_equal(api_text(f, "details.causes.0.message"),
                        "Invalid value: \"Cluster\": field is immutable");
    api_ok(f, 422, "PATCH", CRDS "/widgets.example.dev", MERGE, kind);
    assert_string_equal(api_text(f, "details.causes.0.field"), "spec.names.kind");
    api_ok(f, 422, "PATCH", CRDS "/widgets.example.dev", MERGE, gone);
    assert_string_equal(api_text(f, "details.causes.0.field"),
                        "status.storedVersions[0]");
    api_ok(f, 403, "DELETE", CRDS "/runs.drover.dev", NULL, NULL);
    api_ok(f, 403, "PATCH", CRDS "/runs.drover.dev", MERGE, scope);
}

/* --- served ------------------------------------------------------------------------- */

static void
served_at_once(void **state)
{
    struct api_fixture *f = *state;

    api_ok(f, 404, "GET", V1, NULL, NULL);
    make(f, ONE);
    assert_string_equal(condition(f, "widgets.example.dev", "Established", "status"),
                        "True");
    assert_string_equal(condition(f, "widgets.example.dev", "NamesAccepted", "reason"),
                        "NoConflicts");
    assert_string_equal(api_text(f, "status.acceptedNames.singular"), "widget");
    assert_string_equal(api_text(f, "status.acceptedNames.listKind"), "WidgetList");
    assert_string_equal(api_text(f, "status.storedVersions.0"), "v1");
    assert_string_equal(api_text(f, "spec.conversion.strategy"), "None");
    put_widget(f, 201, V1, "v1", "a", "{'x':1}");
    api_ok(f, 200, "GET", V1, NULL, NULL);
    assert_string_equal(api_text(f, "kind"), "WidgetList");
    api_ok(f, 200, "GET", "/apis/example.dev/v1", NULL, NULL);
    assert_string_equal(api_text(f, "resources.0.name"), "widgets");
    assert_string_equal(api_text(f, "resources.0.shortNames.0"), "wd");
    api_ok(f, 200, "GET", "/openapi/v3/apis/example.dev/v1", NULL, NULL);
    assert_non_null(api_at(f, "components/schemas/dev.example.v1.Widget"));
}

static void
versions_without_conversion(void **state)
{
    struct api_fixture *f = *state;

    make(f, ONE "," VERSION("v2", "false",
                            SCHEMA("{'type':'object','properties':{'color':{'type':"
                                   "'string'}}}"),
                            ",'selectableFields':[{'jsonPath':'.spec.color'}],"
                            "'additionalPrinterColumns':[{'name':'Color','type':'string',"
                            "'jsonPath':'.spec.color'}]"));
    put_widget(f, 201, V1, "v1", "a", "{'color':'red'}");
    api_ok(f, 200, "GET", V2 "/a", NULL, NULL);
    assert_string_equal(api_text(f, "apiVersion"), "example.dev/v2");
    put_widget(f, 201, V2, "v2", "b", "{'color':'blue'}");
    assert_string_equal(api_text(f, "apiVersion"), "example.dev/v2");
    assert_string_not_equal(api_text(f, "metadata.resourceVersion"), "");
    api_ok(f, 200, "GET", V1 "/b", NULL, NULL);
    assert_string_equal(api_text(f, "apiVersion"), "example.dev/v1");
    api_ok(f, 200, "GET", V2 "?fieldSelector=spec.color%3Dblue", NULL, NULL);
    assert_string_equal(api_text(f, "items.0.metadata.name"), "b");
    assert_null(api_at(f, "items.1"));
    f->accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
    api_ok(f, 200, "GET", V2, NULL, NULL);
    f->accept = NULL;
    assert_string_equal(api_text(f, "columnDefinitions.1.name"), "Color");
    assert_string_equal(api_text(f, "rows.0.cells.1"), "red");
    api_ok(f, 200, "GET", "/apis/example.dev", NULL, NULL);
    assert_string_equal(api_text(f, "preferredVersion.version"), "v2");

    /* v2 becomes the storage version; v1 is not served any more */
    change(f, "{'spec':{'versions':[{'name':'v1','served':false,'storage':false,"
              "'schema':" SCHEMA(OPEN_SPEC) "}," VERSION(
                  "v2", "true",
                  SCHEMA("{'type':'object','properties':{'color':{'type':'string'}}}"),
                  "") "]}}");
    api_ok(f, 404, "GET", V1 "/a", NULL, NULL);
    api_ok(f, 200, "GET", V2 "/a", NULL, NULL);
    assert_string_equal(api_text(f, "spec.color"), "red");
    api_ok(f, 200, "GET", CRDS "/widgets.example.dev", NULL, NULL);
    assert_string_equal(api_text(f, "status.storedVersions.1"), "v2");
    autofree char *version = NULL;
    api_ok(f, 200, "GET", V2 "/a", NULL, NULL);
    version = xstrdup(api_text(f, "metadata.resourceVersion"));
    api_ok(f, 200, "PATCH", V2 "/a", MERGE, "{}"); /* stores it in the new version */
    assert_string_not_equal(api_text(f, "metadata.resourceVersion"), version);
}

static void
schema_changes(void **state)
{
    struct api_fixture *f = *state;

    make(f, ONE);
    put_widget(f, 201, V1, "v1", "a", "{'x':1}");
    change(f, "{'spec':{'versions':[" VERSION(
                  "v1", "true",
                  SCHEMA("{'type':'object','properties':{'x':{'type':'integer'},'mode':{"
                         "'type':'string','default':'fast'}}}"),
                  ",'additionalPrinterColumns':[{'name':'X','type':'integer','jsonPath':"
                  "'.spec.x'}]") "]}}");
    api_ok(f, 200, "GET", V1 "/a", NULL, NULL); /* stored before the default was there */
    assert_string_equal(api_text(f, "spec.mode"), "fast");
    f->accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
    api_ok(f, 200, "GET", V1, NULL, NULL);
    f->accept = NULL;
    assert_int_equal(api_int(f, "rows.0.cells.1"), 1);
    put_widget(f, 422, V1, "v1", "b", "{'x':'y'}");
    api_restart(f);
    api_settle(f, TURNS);
    api_ok(f, 200, "GET", V1 "/a", NULL, NULL);
    assert_string_equal(api_text(f, "spec.mode"), "fast");
    put_widget(f, 422, V1, "v1", "b", "{'x':'y'}");
}

static void
names_conflict(void **state)
{
    struct api_fixture *f = *state;
    autofree char *other =
        crd_of("others.example.dev", "example.dev",
               "'plural':'others','kind':'Other','shortNames':['wd']", ONE);

    make(f, ONE);
    api_ok(f, 201, "POST", CRDS, NULL, other);
    api_settle(f, TURNS);
    assert_string_equal(condition(f, "others.example.dev", "NamesAccepted", "reason"),
                        "ShortNamesConflict");
    assert_string_equal(condition(f, "others.example.dev", "NamesAccepted", "message"),
                        "\"wd\" is already in use");
    assert_string_equal(condition(f, "others.example.dev", "Established", "reason"),
                        "NotAccepted");
    api_ok(f, 404, "GET", "/apis/example.dev/v1/others", NULL, NULL);
    api_ok(f, 200, "DELETE", CRDS "/widgets.example.dev", NULL, NULL);
    api_settle(f, TURNS);
    assert_string_equal(condition(f, "others.example.dev", "Established", "status"),
                        "True");
    api_ok(f, 200, "GET", "/apis/example.dev/v1/others", NULL, NULL);
}

#define SCALED                                                                           \
    VERSION("v1", "true", SCHEMA(OPEN_SPEC),                                             \
            ",'deprecated':true,'subresources':{'status':{},'scale':{"                   \
            "'specReplicasPath':'.spec.size.replicas','statusReplicasPath':"             \
            "'.status.now','labelSelectorPath':'.status.selector'}}")

static void
scale(struct api_fixture *f, int status, const char *method, const char *type,
      const char *text)
{
    autofree char *body = quoted(text);

    api_ok(f, status, method, V1 "/a/scale", type, body);
}

static void
scale_subresource(void **state)
{
    struct api_fixture *f = *state;

    make(f, SCALED);
    put_widget(f, 201, V1, "v1", "a", "{'size':{'replicas':3}}");
    assert_string_equal(f->reply.warning,
                        "299 - \"example.dev/v1 Widget is deprecated\"");
    autofree char *status = quoted("{'status':{'now':2,'selector':'a=b'}}");
    api_ok(f, 200, "PATCH", V1 "/a/status", MERGE, status);
    api_ok(f, 200, "GET", V1 "/a/scale", NULL, NULL);
    assert_string_equal(api_text(f, "kind"), "Scale");
    assert_int_equal(api_int(f, "spec.replicas"), 3);
    assert_int_equal(api_int(f, "status.replicas"), 2);
    assert_string_equal(api_text(f, "status.selector"), "a=b");
    scale(f, 200, "PATCH", MERGE, "{'spec':{'replicas':7}}");
    assert_int_equal(api_int(f, "spec.replicas"), 7);
    scale(f, 200, "PATCH", JSON_PATCH,
          "[{'op':'replace','path':'/spec/replicas','value':8}]");
    api_ok(f, 200, "GET", V1 "/a", NULL, NULL);
    assert_int_equal(api_int(f, "spec.size.replicas"), 8);
    assert_int_equal(api_int(f, "metadata.generation"), 3);
    scale(f, 200, "PUT", NULL, "{'spec':{'replicas':1}}");
    scale(f, 409, "PUT", NULL,
          "{'metadata':{'resourceVersion':'1'},'spec':{'replicas':2}}");
    scale(f, 422, "PUT", NULL, "{'spec':{'replicas':-1}}");
    assert_string_equal(api_text(f, "details.causes.0.message"),
                        "Invalid value: -1: should be a non-negative integer");
    api_ok(f, 404, "GET", V1 "/none/scale", NULL, NULL);
    api_ok(f, 200, "GET", "/apis/example.dev/v1", NULL, NULL);
    assert_string_equal(api_text(f, "resources.2.name"), "widgets/scale");
}

/* --- deleted ------------------------------------------------------------------------ */

static void
deletion_takes_the_instances(void **state)
{
    struct api_fixture *f = *state;

    make(f, ONE);
    put_widget(f, 201, V1, "v1", "a", "{}");
    put_widget(f, 201, V1, "v1", "b", "{}");
    api_ok(f, 200, "PATCH", V1 "/b", MERGE,
           "{\"metadata\":{\"finalizers\":[\"example.dev/hold\"]}}");
    api_ok(f, 200, "DELETE", CRDS "/widgets.example.dev", NULL, NULL);
    assert_string_equal(api_text(f, "metadata.finalizers.0"),
                        "customresourcecleanup.apiextensions.k8s.io");
    api_settle(f, TURNS);
    assert_string_equal(condition(f, "widgets.example.dev", "Terminating", "status"),
                        "True");
    api_ok(f, 404, "GET", V1 "/a", NULL, NULL);
    api_ok(f, 200, "GET", V1 "/b", NULL, NULL);
    put_widget(f, 405, V1, "v1", "c", "{}");
    assert_string_equal(api_text(f, "message"),
                        "create not allowed while custom resource definition is "
                        "terminating");
    api_restart(f); /* goes on where it was */
    api_settle(f, TURNS);
    api_ok(f, 200, "PATCH", V1 "/b", MERGE, "{\"metadata\":{\"finalizers\":null}}");
    api_settle(f, TURNS);
    api_ok(f, 404, "GET", V1, NULL, NULL);
    api_ok(f, 404, "GET", CRDS "/widgets.example.dev", NULL, NULL);
    api_ok(f, 404, "GET", "/apis/example.dev", NULL, NULL);
    make(f, ONE); /* and again, empty */
    api_ok(f, 200, "GET", V1, NULL, NULL);
    assert_null(api_at(f, "items.0"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(replacing_needs_a_version, api_setup,
                                        api_teardown),
        cmocka_unit_test_setup_teardown(refused, api_setup, api_teardown),
        cmocka_unit_test_setup_teardown(what_cannot_change, api_setup, api_teardown),
        cmocka_unit_test_setup_teardown(served_at_once, api_setup, api_teardown),
        cmocka_unit_test_setup_teardown(versions_without_conversion, api_setup,
                                        api_teardown),
        cmocka_unit_test_setup_teardown(schema_changes, api_setup, api_teardown),
        cmocka_unit_test_setup_teardown(names_conflict, api_setup, api_teardown),
        cmocka_unit_test_setup_teardown(scale_subresource, api_setup, api_teardown),
        cmocka_unit_test_setup_teardown(deletion_takes_the_instances, api_setup,
                                        api_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
