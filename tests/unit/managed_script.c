/* SPDX-License-Identifier: Apache-2.0 */
/* Runs the scripts of test_api_managed.c. */
#include "tests/unit/managed_script.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

json_t *
script_parse(const char *text)
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

#define PART                                                                             \
    "{'type':'object','required':['name'],'properties':{'name':{'type':'string'},"       \
    "'qty':{'type':'integer'},'sub':{'type':'object','properties':{'a':{'type':"         \
    "'string'},'b':{'type':'string'}}}}}"

static const char crd_text[] =
    "{'apiVersion':'apiextensions.k8s.io/v1','kind':'CustomResourceDefinition',"
    "'metadata':{'name':'widgets.example.dev'},'spec':{'group':'example.dev',"
    "'scope':'Namespaced','names':{'plural':'widgets','singular':'widget','kind':"
    "'Widget','listKind':'WidgetList'},'versions':[{'name':'v1','served':true,'storage':"
    "true,'subresources':{'status':{}},'schema':{'openAPIV3Schema':{'type':'object',"
    "'properties':{'status':{'type':'object','x-kubernetes-preserve-unknown-fields':"
    "true},'spec':{'type':'object','properties':{"
    "'color':{'type':'string'},"
    "'replicas':{'type':'integer'},"
    "'words':{'type':'array','items':{'type':'string'}},"
    "'tags':{'type':'array','x-kubernetes-list-type':'set','items':{'type':'string'}},"
    "'parts':{'type':'array','x-kubernetes-list-type':'map','x-kubernetes-list-map-keys':"
    "['name'],'items':" PART "},"
    "'ports':{'type':'array','x-kubernetes-list-type':'map','x-kubernetes-list-map-keys':"
    "['port','protocol'],'items':{'type':'object','required':['port'],'properties':{"
    "'port':{'type':'integer'},'protocol':{'type':'string','default':'TCP'},'note':"
    "{'type':'string'}}}},"
    "'at':{'type':'object','x-kubernetes-map-type':'atomic','additionalProperties':"
    "{'type':'string'}},"
    "'m':{'type':'object','additionalProperties':{'type':'string'}},"
    "'free':{'type':'object','x-kubernetes-preserve-unknown-fields':true}"
    "}}}}}}]}}";

struct kind *
script_kind(bool typed)
{
    auto_violations v = {0};
    struct error e = ERROR_INIT;
    struct kind *k = NULL;
    json_t *crd = script_parse(crd_text);

    if (!typed) {
        json_t *version =
            json_array_get(json_object_get(json_object_get(crd, "spec"), "versions"), 0);
        json_object_set_new(
            json_object_get(version, "schema"), "openAPIV3Schema",
            script_parse(
                "{'type':'object','x-kubernetes-preserve-unknown-fields':true}"));
    }
    if (kind_compile(crd, NULL, &k, &v, &e) < 0)
        fail_msg("%s", e.msg);
    json_decref(crd);
    return k;
}

/* --- scripts ---------------------------------------------------------------------------
 */

/* Puts the head on an object, in place. */
json_t *
script_head(json_t *v)
{
    json_t *meta = json_object_get(v, "metadata");

    json_object_set_new(v, "apiVersion", json_string("example.dev/v1"));
    json_object_set_new(v, "kind", json_string("Widget"));
    if (meta == NULL) {
        meta = json_object();
        json_object_set_new(v, "metadata", meta);
    }
    json_object_set_new(meta, "name", json_string("w"));
    return v;
}

json_t *
script_owners(const json_t *object)
{
    const json_t *fields =
        json_object_get(json_object_get(object, "metadata"), "managedFields");
    json_t *out = json_object();

    for (size_t i = 0; i < json_array_size(fields); i++) {
        const json_t *m = json_array_get(fields, i);
        const char *sub = json_string_value(json_object_get(m, "subresource"));
        autofree char *key =
            xasprintf("%s%s%s %s", json_string_value(json_object_get(m, "manager")),
                      sub != NULL ? "/" : "", sub != NULL ? sub : "",
                      json_string_value(json_object_get(m, "operation")));
        json_object_set(out, key, json_object_get(m, "fieldsV1"));
        assert_string_equal(json_string_value(json_object_get(m, "fieldsType")),
                            "FieldsV1");
        assert_string_equal(json_string_value(json_object_get(m, "apiVersion")),
                            "example.dev/v1");
    }
    return out;
}

/* Without head and owners. */
static json_t *
body_of(const json_t *object)
{
    json_t *out = json_deep_copy(object), *meta = json_object_get(out, "metadata");

    json_object_del(out, "apiVersion");
    json_object_del(out, "kind");
    json_object_del(meta, "name");
    json_object_del(meta, "managedFields");
    if (json_object_size(meta) == 0)
        json_object_del(out, "metadata");
    return out;
}

void
script_must_equal(const char *what, const json_t *got, const char *want)
{
    json_t *v = script_parse(want);

    if (!json_equal(got, v)) {
        autofree char *text = json_dumps(got, JSON_SORT_KEYS | JSON_COMPACT);
        fail_msg("%s is %s\nnot %s", what, text, want);
    }
    json_decref(v);
}

static int
run_step(const struct kind *k, const struct step *s, int n, json_t **live)
{
    autofree char *who = xstrdup(s->who);
    char *slash = strchr(who, '/'), now[32];
    struct error e = ERROR_INIT;
    struct managed_conflicts conflicts = {0};
    auto_str text = STR_INIT(4096);
    json_t *object = script_head(script_parse(s->object)), *ret = NULL;
    bool changed;

    if (slash != NULL)
        *slash = '\0';
    snprintf(now, sizeof(now), "2026-01-01T00:00:%02dZ", n);
    struct managed_opts o = {.kind = k,
                             .manager = who,
                             .subresource = slash == NULL ? "" : slash + 1,
                             .now = now,
                             .force = s->what == FORCE};
    int r = s->what == UPDATE
                ? managed_update(&o, *live, object, &ret, &e)
                : managed_apply(&o, *live, object, &ret, &changed, &conflicts, &e);
    json_decref(object);
    if (r == 0) {
        json_decref(*live);
        *live = ret;
        assert_null(s->refused);
    } else {
        if (conflicts.list.len > 0)
            managed_conflicts_text(&conflicts, &text);
        else
            str_adds(&text, e.msg);
        print_message("step %d: %s\n", n, text.ptr);
        assert_non_null(s->refused);
        assert_string_equal(text.ptr, s->refused);
    }
    managed_conflicts_done(&conflicts);
    return r;
}

void
script_run(bool typed, const struct step *steps)
{
    struct kind *k = script_kind(typed);
    json_t *live = NULL;

    for (int n = 0; steps[n].what != END; n++) {
        run_step(k, &steps[n], n, &live);
        json_t *body = body_of(live), *owners = script_owners(live);
        print_message("step %d\n", n);
        if (steps[n].want != NULL)
            script_must_equal("the object", body, steps[n].want);
        if (steps[n].owners != NULL)
            script_must_equal("the list of owners", owners, steps[n].owners);
        json_decref(body);
        json_decref(owners);
    }
    json_decref(live);
    kind_unref(k);
}
