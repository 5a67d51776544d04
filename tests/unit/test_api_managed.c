/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Field ownership. Most tests are scripts: steps by named managers on one object of a
 * kind with every sort of list and map, each with the object and the owners it must
 * leave. Results were cross-checked against structured-merge-diff.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/managed.h"
#include "tests/unit/managed_script.h"

static void
test_deduced(void **state)
{
    static const struct step steps[] = {
        {APPLY, "a", "{'spec':{'color':'red','parts':[{'name':'x'}],'m':{'k':'v'}}}",
         "{'spec':{'color':'red','parts':[{'name':'x'}],'m':{'k':'v'}}}",
         "{'a Apply':{'f:spec':{'.':{},'f:color':{},'f:m':{'.':{},'f:k':{}},'f:parts':"
         "{}}}}",
         NULL},
        {UPDATE, "ctl",
         "{'spec':{'color':'blue','parts':[{'name':'x'}],'m':{'k':'v','k2':'v2'},'n':1}}",
         NULL,
         "{'a Apply':{'f:spec':{'.':{},'f:m':{'.':{},'f:k':{}},'f:parts':{}}},"
         "'ctl Update':{'f:spec':{'f:color':{},'f:m':{'f:k2':{}},'f:n':{}}}}",
         NULL},
        {APPLY, "a", "{'spec':{'color':'red'}}", NULL, NULL,
         "Apply failed with 1 conflict: conflict with \"ctl\" using example.dev/v1 at "
         "2026-01-01T00:00:01Z: .spec.color"},
        {FORCE, "a", "{'spec':{'color':'red'}}", "{'spec':{'color':'red','n':1}}",
         "{'a Apply':{'f:spec':{'.':{},'f:color':{}}},'ctl "
         "Update':{'f:spec':{'f:n':{}}}}",
         NULL},
        {END, NULL, NULL, NULL, NULL, NULL},
    };
    UNUSED(state);
    script_run(false, steps);
}

/* The same with a schema that names m: it is a field, and stays for the other's key. */
static void
test_named_field_survives(void **state)
{
    static const struct step steps[] = {
        {APPLY, "a", "{'spec':{'color':'red','m':{'k':'v'}}}", NULL,
         "{'a Apply':{'f:spec':{'f:color':{},'f:m':{'f:k':{}}}}}", NULL},
        {UPDATE, "ctl", "{'spec':{'color':'red','m':{'k':'v','k2':'v2'}}}", NULL,
         "{'a Apply':{'f:spec':{'f:color':{},'f:m':{'f:k':{}}}},"
         "'ctl Update':{'f:spec':{'f:m':{'f:k2':{}}}}}",
         NULL},
        {APPLY, "a", "{'spec':{'color':'red'}}",
         "{'spec':{'color':'red','m':{'k2':'v2'}}}",
         "{'a Apply':{'f:spec':{'f:color':{}}},"
         "'ctl Update':{'f:spec':{'f:m':{'f:k2':{}}}}}",
         NULL},
        {END, NULL, NULL, NULL, NULL, NULL},
    };
    UNUSED(state);
    script_run(true, steps);
}

static void
test_lists(void **state)
{
    static const struct step steps[] = {
        {APPLY, "a",
         "{'spec':{'at':{'x':'1'},'tags':['t1','t2'],'parts':[{'name':'x','qty':1}]}}",
         NULL,
         "{'a Apply':{'f:spec':{'f:at':{},'f:parts':{'k:{\\'name\\':\\'x\\'}':{'.':{},"
         "'f:name':{},'f:qty':{}}},'f:tags':{'v:\\'t1\\'':{},'v:\\'t2\\'':{}}}}}",
         NULL},
        {APPLY, "b", "{'spec':{'tags':['t2','t3'],'parts':[{'name':'y','qty':2}]}}",
         "{'spec':{'at':{'x':'1'},'tags':['t1','t2','t3'],'parts':[{'name':'x','qty':1},"
         "{'name':'y','qty':2}]}}",
         NULL, NULL},
        {APPLY, "a", "{'spec':{'tags':['t2']}}",
         "{'spec':{'tags':['t2','t3'],'parts':[{'name':'y','qty':2}]}}",
         "{'a Apply':{'f:spec':{'f:tags':{'v:\\'t2\\'':{}}}},"
         "'b Apply':{'f:spec':{'f:parts':{'k:{\\'name\\':\\'y\\'}':{'.':{},'f:name':{},"
         "'f:qty':{}}},'f:tags':{'v:\\'t2\\'':{},'v:\\'t3\\'':{}}}}}",
         NULL},
        /* One field of the other's item is a conflict, another field is not. */
        {APPLY, "a", "{'spec':{'parts':[{'name':'y','qty':3}]}}", NULL, NULL,
         "Apply failed with 1 conflict: conflict with \"b\": "
         ".spec.parts[name=\"y\"].qty"},
        {APPLY, "a", "{'spec':{'parts':[{'name':'y','sub':{'a':'1'}}]}}",
         "{'spec':{'tags':['t2','t3'],'parts':[{'name':'y','qty':2,'sub':{'a':'1'}}]}}",
         NULL, NULL},
        /* b lets go: the item stays for a, without b's field. */
        {APPLY, "b", "{'spec':{}}", "{'spec':{'parts':[{'name':'y','sub':{'a':'1'}}]}}",
         "{'a Apply':{'f:spec':{'f:parts':{'k:{\\'name\\':\\'y\\'}':{'.':{},'f:name':{},"
         "'f:sub':{'f:a':{}}}}}},'b Apply':{'f:spec':{}}}",
         NULL},
        {END, NULL, NULL, NULL, NULL, NULL},
    };
    UNUSED(state);
    script_run(true, steps);
}

static void
test_list_order(void **state)
{
    static const struct step steps[] = {
        {APPLY, "a", "{'spec':{'tags':['a','b','c']}}", NULL, NULL, NULL},
        {APPLY, "b", "{'spec':{'tags':['c','x','a']}}",
         "{'spec':{'tags':['b','c','x','a']}}", NULL, NULL},
        /* Another order alone is no change. */
        {APPLY, "b", "{'spec':{'tags':['a','x','c']}}",
         "{'spec':{'tags':['b','c','x','a']}}", NULL, NULL},
        {APPLY, "c", "{'spec':{'tags':['y','x']}}",
         "{'spec':{'tags':['b','c','y','x','a']}}", NULL, NULL},
        {END, NULL, NULL, NULL, NULL, NULL},
    };
    UNUSED(state);
    script_run(true, steps);
}

static void
test_default_keys(void **state)
{
    static const struct step steps[] = {
        {APPLY, "a", "{'spec':{'ports':[{'port':80},{'port':80,'protocol':'UDP'}]}}",
         NULL,
         "{'a Apply':{'f:spec':{'f:ports':{"
         "'k:{\\'port\\':80,\\'protocol\\':\\'TCP\\'}':{'.':{},'f:port':{}},"
         "'k:{\\'port\\':80,\\'protocol\\':\\'UDP\\'}':{'.':{},'f:port':{},'f:protocol':"
         "{}}}}}}",
         NULL},
        {APPLY, "b", "{'spec':{'ports':[{'port':80,'protocol':'TCP','note':'n'}]}}",
         "{'spec':{'ports':[{'port':80,'protocol':'TCP','note':'n'},{'port':80,"
         "'protocol':'UDP'}]}}",
         NULL, NULL},
        {END, NULL, NULL, NULL, NULL, NULL},
    };
    UNUSED(state);
    script_run(true, steps);
}

static void
test_bad_items(void **state)
{
    static const struct step steps[] = {
        {UPDATE, "u", "{'spec':{}}", NULL, NULL, NULL},
        {APPLY, "a", "{'spec':{'tags':['t','t']}}", NULL, NULL,
         "spec: tags: duplicate entries for key \"t\""},
        {APPLY, "a", "{'spec':{'parts':[{'name':'x'},{'name':'x'}]}}", NULL, NULL,
         "spec: parts: duplicate entries for key {\"name\":\"x\"}"},
        {APPLY, "a", "{'spec':{'parts':[{'qty':1}]}}", NULL, NULL,
         "spec: parts: item 0 lacks a key of the list"},
        {APPLY, "a", "{'spec':{'tags':[null]}}", NULL, NULL,
         "spec: tags: item 0 must be a scalar: the list is a set"},
        /* What is stored already is lived with. */
        {UPDATE, "u", "{'spec':{'tags':['t','t'],'parts':[{'qty':1}]}}",
         "{'spec':{'tags':['t','t'],'parts':[{'qty':1}]}}", NULL, NULL},
        {APPLY, "a", "{'spec':{'tags':['s'],'color':'red'}}",
         "{'spec':{'tags':['t','t','s'],'parts':[{'qty':1}],'color':'red'}}", NULL, NULL},
        {END, NULL, NULL, NULL, NULL, NULL},
    };
    UNUSED(state);
    script_run(true, steps);
}

static void
test_shared_and_conflicts(void **state)
{
    static const struct step steps[] = {
        {APPLY, "a", "{'spec':{'color':'red','replicas':1,'words':['x']}}", NULL, NULL,
         NULL},
        /* The same value is shared, not a conflict. */
        {APPLY, "b", "{'spec':{'color':'red','replicas':1}}", NULL,
         "{'a Apply':{'f:spec':{'f:color':{},'f:replicas':{},'f:words':{}}},"
         "'b Apply':{'f:spec':{'f:color':{},'f:replicas':{}}}}",
         NULL},
        {APPLY, "c", "{'spec':{'color':'blue','replicas':2,'words':['y']}}", NULL, NULL,
         "Apply failed with 5 conflicts: conflicts with \"a\":\n- .spec.color\n- "
         ".spec.replicas\n- .spec.words\nconflicts with \"b\":\n- .spec.color\n- "
         ".spec.replicas"},
        /* a lets go of what b holds too: the value stays. */
        {APPLY, "a", "{'spec':{'words':['x']}}",
         "{'spec':{'color':'red','replicas':1,'words':['x']}}",
         "{'a Apply':{'f:spec':{'f:words':{}}},"
         "'b Apply':{'f:spec':{'f:color':{},'f:replicas':{}}}}",
         NULL},
        {FORCE, "c", "{'spec':{'color':'blue'}}",
         "{'spec':{'color':'blue','replicas':1,'words':['x']}}",
         "{'a Apply':{'f:spec':{'f:words':{}}},'b Apply':{'f:spec':{'f:replicas':{}}},"
         "'c Apply':{'f:spec':{'f:color':{}}}}",
         NULL},
        {END, NULL, NULL, NULL, NULL, NULL},
    };
    UNUSED(state);
    script_run(true, steps);
}

static void
test_emptied(void **state)
{
    static const struct step steps[] = {
        {UPDATE, "u", "{'spec':{'tags':[],'m':{}}}", NULL,
         "{'u Update':{'f:spec':{'.':{},'f:m':{},'f:tags':{}}}}", NULL},
        {APPLY, "a", "{'spec':{'tags':['t'],'m':{'k':'v'}}}", NULL, NULL, NULL},
        /* Others own the list and the map themselves: both stay, empty. */
        {APPLY, "a", "{'spec':{'color':'red'}}",
         "{'spec':{'tags':[],'m':{},'color':'red'}}", NULL, NULL},
        /* An empty map over one with members takes nothing from others. */
        {UPDATE, "u", "{'spec':{'tags':['t'],'m':{'k':'v'},'color':'red'}}", NULL, NULL,
         NULL},
        {APPLY, "a", "{'spec':{'color':'red','m':{},'tags':[]}}",
         "{'spec':{'tags':['t'],'m':{'k':'v'},'color':'red'}}", NULL, NULL},
        {END, NULL, NULL, NULL, NULL, NULL},
    };
    UNUSED(state);
    script_run(true, steps);
}

static void
test_metadata(void **state)
{
    static const struct step steps[] = {
        {UPDATE, "u",
         "{'metadata':{'uid':'1','labels':{'x':'1'},'finalizers':['a/f']},'spec':{}}",
         NULL,
         "{'u Update':{'f:metadata':{'f:finalizers':{'.':{},'v:\\'a/f\\'':{}},'f:labels':"
         "{'.':{},'f:x':{}}},'f:spec':{}}}",
         NULL},
        {APPLY, "a",
         "{'metadata':{'labels':{'y':'2'},'finalizers':['b/f'],'ownerReferences':[{'uid':"
         "'o','name':'o'}]}}",
         "{'metadata':{'uid':'1','labels':{'x':'1','y':'2'},'finalizers':['a/f','b/f'],"
         "'ownerReferences':[{'uid':'o','name':'o'}]},'spec':{}}",
         "{'a Apply':{'f:metadata':{'f:finalizers':{'v:\\'b/f\\'':{}},'f:labels':{'f:y':"
         "{}},'f:ownerReferences':{'k:{\\'uid\\':\\'o\\'}':{'.':{},'f:name':{},'f:uid':"
         "{}}}}},"
         "'u Update':{'f:metadata':{'f:finalizers':{'.':{},'v:\\'a/f\\'':{}},'f:labels':"
         "{'.':{},'f:x':{}}},'f:spec':{}}}",
         NULL},
        /* Letting go of all of it never takes uid and the like with it. */
        {APPLY, "a", "{}",
         "{'metadata':{'uid':'1','labels':{'x':'1'},'finalizers':['a/f']},'spec':{}}",
         "{'u Update':{'f:metadata':{'f:finalizers':{'.':{},'v:\\'a/f\\'':{}},'f:labels':"
         "{'.':{},'f:x':{}}},'f:spec':{}}}",
         NULL},
        {END, NULL, NULL, NULL, NULL, NULL},
    };
    UNUSED(state);
    script_run(true, steps);
}

static void
test_status(void **state)
{
    static const struct step steps[] = {
        /* The main endpoint does not write status, so nobody owns it from there. */
        {UPDATE, "u", "{'spec':{'color':'red'},'status':{'x':1}}", NULL,
         "{'u Update':{'f:spec':{'.':{},'f:color':{}}}}", NULL},
        {UPDATE, "ctl/status", "{'spec':{'color':'red'},'status':{'x':2}}", NULL,
         "{'u Update':{'f:spec':{'.':{},'f:color':{}}},"
         "'ctl/status Update':{'f:status':{'f:x':{}}}}",
         NULL},
        /* On /status only status of the configuration counts. */
        {APPLY, "a/status", "{'spec':{'color':'blue'},'status':{'y':1}}",
         "{'spec':{'color':'red'},'status':{'x':2,'y':1}}",
         "{'u Update':{'f:spec':{'.':{},'f:color':{}}},"
         "'ctl/status Update':{'f:status':{'f:x':{}}},"
         "'a/status Apply':{'f:status':{'f:y':{}}}}",
         NULL},
        {APPLY, "b/status", "{'status':{'x':3,'y':2}}", NULL, NULL,
         "Apply failed with 2 conflicts: conflicts with \"a\" with subresource "
         "\"status\":\n- .status.y\nconflicts with \"ctl\" with subresource \"status\" "
         "using example.dev/v1 at 2026-01-01T00:00:01Z:\n- .status.x"},
        {APPLY, "c", "{'spec':{'replicas':1},'status':{'x':9}}",
         "{'spec':{'color':'red','replicas':1},'status':{'x':2,'y':1}}", NULL, NULL},
        {END, NULL, NULL, NULL, NULL, NULL},
    };
    UNUSED(state);
    script_run(true, steps);
}

/* A client wrote the list of owners itself. */
static void
test_owners_written(void **state)
{
    static const struct step steps[] = {
        {UPDATE, "u", "{'spec':{'color':'red'}}", NULL, NULL, NULL},
        {UPDATE, "x",
         "{'metadata':{'managedFields':[{'manager':'k','operation':'Apply','apiVersion':"
         "'example.dev/v1','fieldsType':'FieldsV1','fieldsV1':{'f:spec':{'f:color':{}}}}]"
         "},'spec':{'color':'red'}}",
         NULL, "{'k Apply':{'f:spec':{'f:color':{}}}}", NULL},
        /* Garbled: not meant. */
        {UPDATE, "x",
         "{'metadata':{'managedFields':[{'manager':'k','operation':'Smile'}]},'spec':"
         "{'color':'red'}}",
         NULL, "{'k Apply':{'f:spec':{'f:color':{}}}}", NULL},
        {UPDATE, "x",
         "{'metadata':{'managedFields':[{'manager':'k','operation':'Apply','fieldsType':"
         "'FieldsV1','fieldsV1':{'q:spec':{}}}]},'spec':{'color':'red'}}",
         NULL, "{'k Apply':{'f:spec':{'f:color':{}}}}", NULL},
        /* A subresource cannot clear it, nor can leaving it out. */
        {UPDATE, "x/status", "{'metadata':{'managedFields':[]},'spec':{'color':'red'}}",
         NULL, "{'k Apply':{'f:spec':{'f:color':{}}}}", NULL},
        {UPDATE, "x", "{'spec':{'color':'red'}}", NULL,
         "{'k Apply':{'f:spec':{'f:color':{}}}}", NULL},
        {UPDATE, "x", "{'metadata':{'managedFields':[{}]},'spec':{'color':'red'}}", NULL,
         "{}", NULL},
        /* Forgotten: updates do not start it again, an apply does. */
        {UPDATE, "x", "{'spec':{'color':'blue'}}", NULL, "{}", NULL},
        {APPLY, "a", "{'spec':{'color':'red'}}", NULL, "{}",
         "Apply failed with 1 conflict: conflict with \"before-first-apply\" using "
         "example.dev/v1 at 2026-01-01T00:00:08Z: .spec.color"},
        {APPLY, "a", "{'spec':{'replicas':1}}", "{'spec':{'color':'blue','replicas':1}}",
         "{'a Apply':{'f:spec':{'f:replicas':{}}},"
         "'before-first-apply Update':{'f:spec':{'.':{},'f:color':{}}}}",
         NULL},
        {UPDATE, "x",
         "{'metadata':{'managedFields':[]},'spec':{'color':'blue','replicas':1}}", NULL,
         "{}", NULL},
        {END, NULL, NULL, NULL, NULL, NULL},
    };
    UNUSED(state);
    script_run(true, steps);
}

#define LAST "'kubectl.kubernetes.io/last-applied-configuration'"

/* From kubectl's client-side apply to server-side apply without a conflict. */
static void
test_kubectl_migration(void **state)
{
    static const struct step steps[] = {
        {UPDATE, "kubectl-client-side-apply",
         "{'metadata':{'annotations':{" LAST
         ":'{\\'apiVersion\\':\\'example.dev/v1\\',\\'kind\\':\\'Widget\\',\\'metadata\\'"
         ":{\\'name\\':\\'w\\'},\\'spec\\':{\\'color\\':\\'red\\',\\'replicas\\':1}}'}},"
         "'spec':{'color':'red','replicas':1}}",
         NULL, NULL, NULL},
        {APPLY, "other", "{'spec':{'color':'blue'}}", NULL, NULL,
         "Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" "
         "using "
         "example.dev/v1 at 2026-01-01T00:00:00Z: .spec.color"},
        {APPLY, "kubectl", "{'spec':{'color':'blue'}}",
         "{'metadata':{'annotations':{" LAST
         ":'{\\'apiVersion\\':\\'example.dev/v1\\',\\'kind\\':\\'Widget\\',\\'metadata\\'"
         ":{\\'name\\':\\'w\\'},\\'spec\\':{\\'color\\':\\'blue\\'}}'}},"
         "'spec':{'color':'blue','replicas':1}}",
         NULL, NULL},
        /* What moved since is not its own to take. */
        {UPDATE, "ctl",
         "{'metadata':{'annotations':{" LAST
         ":'{\\'spec\\':{\\'color\\':\\'blue\\',\\'replicas\\':1}}'}},'spec':{'color':"
         "'blue','replicas':5}}",
         NULL, NULL, NULL},
        {APPLY, "kubectl", "{'spec':{'color':'green','replicas':2}}", NULL, NULL,
         "Apply failed with 1 conflict: conflict with \"ctl\" using example.dev/v1 at "
         "2026-01-01T00:00:03Z: .spec.replicas"},
        {END, NULL, NULL, NULL, NULL, NULL},
    };
    UNUSED(state);
    script_run(true, steps);
}

/* --- single properties
 * -------------------------------------------------------------------- */

static const char *
time_of(const json_t *object, const char *manager)
{
    const json_t *fields =
        json_object_get(json_object_get(object, "metadata"), "managedFields");

    for (size_t i = 0; i < json_array_size(fields); i++) {
        const json_t *m = json_array_get(fields, i);
        if (streq(json_string_value(json_object_get(m, "manager")), manager))
            return json_string_value(json_object_get(m, "time"));
    }
    return "none";
}

/* One call that must succeed; *live is replaced. */
static bool
call(const struct kind *k, enum what what, const char *who, const char *now,
     const char *object, json_t **live)
{
    struct managed_opts o = {
        .kind = k, .manager = who, .subresource = "", .now = now, .force = what == FORCE};
    struct managed_conflicts c = {0};
    struct error e = ERROR_INIT;
    json_t *v = script_head(script_parse(object)), *ret = NULL;
    bool changed = true;
    int r = what == UPDATE ? managed_update(&o, *live, v, &ret, &e)
                           : managed_apply(&o, *live, v, &ret, &changed, &c, &e);

    if (r < 0)
        fail_msg("%s", e.msg);
    json_decref(v);
    json_decref(*live);
    *live = ret;
    managed_conflicts_done(&c);
    return changed;
}

static void
test_times_and_noop(void **state)
{
    struct kind *k = script_kind(true);
    json_t *live = NULL;
    UNUSED(state);

    assert_true(call(k, APPLY, "a", "1", "{'spec':{'color':'red'}}", &live));
    assert_false(call(k, APPLY, "a", "2", "{'spec':{'color':'red'}}", &live));
    assert_string_equal(time_of(live, "a"), "1");
    /* The set is the same: only the value moves. */
    assert_true(call(k, APPLY, "a", "3", "{'spec':{'color':'blue'}}", &live));
    assert_string_equal(time_of(live, "a"), "1");
    assert_true(
        call(k, APPLY, "a", "4", "{'spec':{'color':'blue','replicas':1}}", &live));
    assert_string_equal(time_of(live, "a"), "4");
    /* A new owner of the same values changes the object's owners. */
    assert_true(call(k, APPLY, "b", "5", "{'spec':{'color':'blue'}}", &live));
    assert_string_equal(time_of(live, "b"), "5");
    assert_string_equal(time_of(live, "a"), "4");

    call(k, UPDATE, "u", "6", "{'spec':{'color':'blue','replicas':2}}", &live);
    json_t *before = json_incref(live);
    call(k, UPDATE, "u", "7", "{'spec':{'color':'blue','replicas':3}}", &live);
    assert_true(
        json_equal(json_object_get(json_object_get(before, "metadata"), "managedFields"),
                   json_object_get(json_object_get(live, "metadata"), "managedFields")));
    json_decref(before);
    json_decref(live);
    kind_unref(k);
}

static void
test_stored_order(void **state)
{
    struct kind *k = script_kind(true);
    json_t *live = NULL;
    const char *const want[] = {"z", "a", "m", "b"};
    UNUSED(state);

    call(k, UPDATE, "m", "1", "{'spec':{'color':'red'}}", &live);
    call(k, APPLY, "z", "2", "{'spec':{'tags':['t']}}", &live);
    call(k, UPDATE, "b", "3", "{'spec':{'color':'red','tags':['t'],'replicas':1}}",
         &live);
    call(k, APPLY, "a", "4", "{'spec':{'words':['t']}}", &live);
    const json_t *fields =
        json_object_get(json_object_get(live, "metadata"), "managedFields");
    assert_int_equal(json_array_size(fields), ARRAY_LEN(want));
    for (size_t i = 0; i < ARRAY_LEN(want); i++)
        assert_string_equal(
            json_string_value(json_object_get(json_array_get(fields, i), "manager")),
            want[i]);
    json_decref(live);
    kind_unref(k);
}

static void
test_cap(void **state)
{
    struct kind *k = script_kind(true);
    auto_str object = STR_INIT(4096);
    json_t *live = NULL;
    UNUSED(state);

    str_adds(&object, "{'spec':{'m':{'k00':''");
    for (int i = 0; i < 14; i++) {
        char who[8], now[32];
        snprintf(who, sizeof(who), "u%02d", i);
        snprintf(now, sizeof(now), "2026-01-01T00:00:%02dZ", i);
        str_addf(&object, ",'k%02d':''", i + 1);
        autofree char *text = xasprintf("%s}}}", object.ptr);
        call(k, UPDATE, who, now, text, &live);
    }
    json_t *owners = script_owners(live);
    assert_int_equal(json_object_size(owners), 10);
    script_must_equal(
        "ancient-changes", json_object_get(owners, "ancient-changes Update"),
        "{'f:spec':{'.':{},'f:m':{'.':{},'f:k00':{},'f:k01':{},'f:k02':{},'f:k03':"
        "{},'f:k04':{},'f:k05':{}}}}");
    assert_string_equal(time_of(live, "ancient-changes"), "2026-01-01T00:00:04Z");
    assert_non_null(json_object_get(owners, "u05 Update"));
    assert_non_null(json_object_get(owners, "u13 Update"));
    json_decref(owners);
    json_decref(live);
    kind_unref(k);
}

static bool
has_owners(const json_t *object)
{
    return json_object_get(json_object_get(object, "metadata"), "managedFields") != NULL;
}

static void
test_managed_on_apply(void **state)
{
    struct kind *k = script_kind(true);
    json_t *live = NULL;
    UNUSED(state);

    k->managed_on_apply = true;
    call(k, UPDATE, "u", "1", "{'spec':{'color':'red'}}", &live);
    assert_false(has_owners(live));
    call(k, UPDATE, "u", "2", "{'spec':{'color':'blue'}}", &live);
    assert_false(has_owners(live));
    call(k, APPLY, "a", "3", "{'spec':{'replicas':1}}", &live);
    call(k, UPDATE, "u", "4", "{'spec':{'color':'red','replicas':1}}", &live);
    json_t *owners = script_owners(live);
    script_must_equal(
        "the list of owners", owners,
        "{'a Apply':{'f:spec':{'f:replicas':{}}},'before-first-apply Update':"
        "{'f:spec':{}},'u Update':{'f:spec':{'f:color':{}}}}");
    json_decref(owners);
    json_decref(live);
    kind_unref(k);
}

static void
test_refused_configurations(void **state)
{
    static const struct {
        const char *json, *part;
    } cases[] = {
        {"[]", "must be an object"},
        {"{'kind':'Widget'}", "Incorrect version specified in apply patch"},
        {"{'apiVersion':'v1','kind':'Widget'}", "expected: example.dev/v1, Kind=Widget"},
        {"{'apiVersion':'example.dev/v1','kind':'Gadget'}", "Incorrect version"},
        {"{'apiVersion':'example.dev/v1','kind':'Widget','metadata':1}",
         "metadata must be"},
        {"{'apiVersion':'example.dev/"
         "v1','kind':'Widget','metadata':{'managedFields':[]}}",
         "metadata.managedFields must be nil"},
    };
    struct kind *k = script_kind(true);
    struct managed_opts o = {.kind = k, .manager = "a", .subresource = "", .now = "1"};
    UNUSED(state);

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct managed_conflicts c = {0};
        struct error e = ERROR_INIT;
        json_t *v = script_parse(cases[i].json), *ret = NULL;
        bool changed;
        print_message("%s\n", cases[i].json);
        assert_int_equal(managed_apply(&o, NULL, v, &ret, &changed, &c, &e),
                         -ERR_BAD_REQUEST);
        assert_non_null(strstr(e.msg, cases[i].part));
        json_decref(v);
    }
    kind_unref(k);
}

static void
test_inputs_unchanged(void **state)
{
    struct kind *k = script_kind(true);
    struct managed_opts o = {
        .kind = k, .manager = "kubectl", .subresource = "", .now = "2", .force = true};
    struct managed_conflicts c = {0};
    struct error e = ERROR_INIT;
    json_t *live = NULL, *ret = NULL;
    bool changed;
    UNUSED(state);

    call(k, UPDATE, "u", "1",
         "{'metadata':{'annotations':{" LAST
         ":'{}'}},'spec':{'tags':['a'],'m':{'k':'v'}}}",
         &live);
    json_t *config = script_head(script_parse("{'spec':{'tags':['b'],'m':{'k':'w'}}}"));
    json_t *live_was = json_deep_copy(live), *config_was = json_deep_copy(config);
    assert_int_equal(managed_apply(&o, live, config, &ret, &changed, &c, &e), 0);
    json_decref(ret);
    assert_int_equal(managed_update(&o, live, config, &ret, &e), 0);
    json_decref(ret);
    assert_true(json_equal(live, live_was));
    assert_true(json_equal(config, config_was));
    json_decref(live_was);
    json_decref(config_was);
    json_decref(config);
    json_decref(live);
    kind_unref(k);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deduced),
        cmocka_unit_test(test_named_field_survives),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_list_order),
        cmocka_unit_test(test_default_keys),
        cmocka_unit_test(test_bad_items),
        cmocka_unit_test(test_shared_and_conflicts),
        cmocka_unit_test(test_emptied),
        cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_owners_written),
        cmocka_unit_test(test_kubectl_migration),
        cmocka_unit_test(test_times_and_noop),
        cmocka_unit_test(test_stored_order),
        cmocka_unit_test(test_cap),
        cmocka_unit_test(test_managed_on_apply),
        cmocka_unit_test(test_refused_configurations),
        cmocka_unit_test(test_inputs_unchanged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
