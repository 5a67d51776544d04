/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Translation of dstack's files: cases in tests/unit/cases/dstack/, each with the file
 * and either what becomes of it (spec) or what is wrong with it (problems: "path:
 * words"). warnings likewise. What every task gets (type, default resources, shell,
 * whenNoCapacity) is compared only where a case names it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/dstack.h"
#include "api/dstack_internal.h"
#include "api/interpolate.h"
#include "api/profile.h"
#include "api/yaml.h"
#include "base/fs.h"
#include "base/mem.h"

enum { CASES_MAX = 1 << 20 };

static json_t *
get(const json_t *o, const char *key)
{
    return json_object_get(o, key);
}

/* Each expected "path: words" is one note of its kind, in order; words is a part. */
static void
check_notes(const char *title, const struct dstack_result *r, bool warnings,
            const json_t *expected)
{
    size_t n = 0;

    vec_foreach (note, &r->notes) {
        autofree char *all = xasprintf("%s: %s", note->path, note->text);
        const char *want = json_string_value(json_array_get(expected, n));
        if (note->warning != warnings)
            continue;
        n++;
        const char *words = want == NULL ? NULL : strstr(want, ": ");
        bool good = words != NULL && strlen(note->path) == (size_t)(words - want) &&
                    str_starts(all, note->path) &&
                    strncmp(want, note->path, strlen(note->path)) == 0 &&
                    strstr(note->text, words + 2) != NULL;
        if (!good)
            fail_msg("%s: \"%s\" where \"%s\" is expected", title, all,
                     want == NULL ? "nothing" : want);
    }
    if (n != json_array_size(expected))
        fail_msg("%s: %zu notes of %zu", title, n, json_array_size(expected));
}

static void
check_spec(const char *title, const json_t *object, const json_t *expected)
{
    static const char *const common[] = {"type", "resources", "shell", "whenNoCapacity"};
    json_t *spec = json_deep_copy(get(object, "spec"));

    for (size_t i = 0; i < ARRAY_LEN(common); i++) {
        if (get(expected, common[i]) == NULL)
            json_object_del(spec, common[i]);
    }
    if (!json_equal(spec, expected)) {
        autofree char *have = json_dumps(spec, JSON_SORT_KEYS | JSON_INDENT(2));
        autofree char *want = json_dumps(expected, JSON_SORT_KEYS | JSON_INDENT(2));
        fail_msg("%s: %s\nexpected %s", title, have, want);
    }
    json_decref(spec);
}

static void
check_case(const json_t *c)
{
    const char *title = json_string_value(get(c, "case"));
    const char *name = json_string_value(get(c, "name"));
    auto_dstack_result r = {0};

    assert_non_null(title);
    assert_true(dstack_is_document(get(c, "file")));
    dstack_translate(get(c, "file"), get(c, "profile"), &r);
    check_notes(title, &r, false, get(c, "problems"));
    check_notes(title, &r, true, get(c, "warnings"));
    assert_int_equal(r.problems, json_array_size(get(c, "problems")));
    if (r.problems > 0) {
        assert_null(r.object);
        return;
    }
    check_spec(title, r.object, get(c, "spec"));
    const char *kind = json_string_value(get(c, "kind"));
    assert_string_equal(json_string_value(get(r.object, "kind")),
                        kind == NULL ? "Run" : kind);
    if (name != NULL)
        assert_string_equal(json_string_value(get(get(r.object, "metadata"), "name")),
                            name);
}

static void
run_file(const char *file)
{
    autofree char *path =
        xasprintf("%s/tests/unit/cases/dstack/%s", DROVER_SOURCE_DIR, file);
    auto_str bytes = STR_INIT(CASES_MAX);
    struct yaml_docs docs = {0};
    struct error e = ERROR_INIT;

    if (fs_read(path, &bytes, &e) < 0 ||
        yaml_read(bytes.ptr, bytes.len, false, &docs, &e) < 0)
        fail_msg("%s: %s", path, e.msg);
    assert_true(docs.list.len > 5);
    vec_foreach (d, &docs.list) {
        json_t *c = json_loadb(d->json.ptr, d->json.len, 0, NULL);
        assert_non_null(c);
        check_case(c);
        json_decref(c);
    }
    print_message("%zu cases in %s\n", docs.list.len, file);
    yaml_docs_done(&docs);
}

static void
test_tasks(void **state)
{
    UNUSED(state);
    run_file("tasks.yaml");
}

static void
test_resources(void **state)
{
    UNUSED(state);
    run_file("resources.yaml");
}

static void
test_parameters(void **state)
{
    UNUSED(state);
    run_file("parameters.yaml");
}

static void
test_paths(void **state)
{
    static const char *const cases[][2] = {
        {"metadata.name", "name"},
        {"spec.maxDuration", "max_duration"},
        {"spec.resources.shmSize", "resources.shm_size"},
        {"spec.resources.gpu.computeCapability", "resources.gpu.compute_capability"},
        {"spec.mounts[0].path", "volumes[0].path"},
        {"spec.groups[1].commands[0]", "groups[1].commands[0]"},
        {"spec.env.MyVar", "env.MyVar"},
        {"spec.tags.MyTag", "tags.MyTag"},
        {"spec.envFrom[0]", "env[0]"},
        {"spec", ""},
        {"tags.MyTag", "tags.MyTag"},
        {"", ""},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        auto_str out = STR_INIT(512);
        dstack_path(cases[i][0], &out);
        assert_string_equal(out.ptr, cases[i][1]);
    }
}

static void
test_distance(void **state)
{
    UNUSED(state);
    assert_int_equal(dstack_distance("commands", "commands", 2), 0);
    assert_int_equal(dstack_distance("comands", "commands", 2), 1);
    assert_int_equal(dstack_distance("conmands", "commands", 2), 1);
    assert_int_equal(dstack_distance("ocmmands", "commands", 2), 1);
    assert_int_equal(dstack_distance("commandss", "commands", 2), 1);
    assert_int_equal(dstack_distance("", "ab", 2), 2);
    assert_true(dstack_distance("env", "resources", 2) > 2);
    assert_true(dstack_distance("image", "groups", 2) > 2);
}

/* --- profiles ----------------------------------------------------------------------- */

static json_t *
parse(const char *text)
{
    json_t *v = json_loads(text, 0, NULL);

    if (v == NULL)
        fail_msg("bad JSON: %s", text);
    return v;
}

static void
test_profiles_file(void **state)
{
    static const struct {
        const char *doc, *name, *found, *problem;
    } cases[] = {
        {"{'profiles': []}", NULL, NULL, NULL},
        {"{'profiles': [{'name': 'a'}, {'name': 'b', 'default': true}]}", NULL, "b",
         NULL},
        {"{'profiles': [{'name': 'a'}, {'name': 'b', 'default': true}]}", "a", "a", NULL},
        {"{'profiles': [{'name': 'a'}]}", NULL, NULL, NULL},
        {"{'profiles': [{'name': 'a'}]}", "c", NULL, NULL},
        {"{'profiles': [{'default': true, 'max_price': 2}]}", NULL, "", NULL},
        {"{'profiles': [{'name': 'a', 'max_duraton': 1}]}", NULL, NULL,
         "did you mean \"max_duration\""},
        {"{'profiles': [{'name': 'a', 'commands': ['x']}]}", NULL, NULL, "no such key"},
        {"{'profiles': {'a': 1}}", NULL, NULL, "a list of them"},
        {"{'profils': []}", NULL, NULL, "a list of them"},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        autofree char *text = xstrdup(cases[i].doc);
        auto_dstack_result r = {0};
        const json_t *entry;
        for (char *p = text; *p != '\0'; p++)
            *p = *p == '\'' ? '"' : *p;
        json_t *doc = parse(text);
        dstack_profile_find(doc, cases[i].name, &entry, &r);
        assert_int_equal(r.problems, cases[i].problem != NULL);
        if (cases[i].problem != NULL)
            assert_non_null(strstr(r.notes.items[0].text, cases[i].problem));
        assert_int_equal(entry != NULL, cases[i].found != NULL);
        const char *name = json_string_value(get(entry, "name"));
        if (cases[i].found != NULL)
            assert_string_equal(name == NULL ? "" : name, cases[i].found);
        json_decref(doc);
    }
}

static void
test_profile_choose(void **state)
{
    json_t *all = parse("[{\"metadata\":{\"name\":\"z\"},\"spec\":{\"default\":true}},"
                        "{\"metadata\":{\"name\":\"b\"},\"spec\":{\"default\":true}},"
                        "{\"metadata\":{\"name\":\"a\"},\"spec\":{}}]");
    static const char *const cases[][2] = {
        {"{}", "b"},
        {"{\"profile\":\"a\"}", "a"},
        {"{\"profile\":\"z\"}", "z"},
        {"{\"profile\":\"none\"}", NULL},
    };
    struct error e = ERROR_INIT;
    const json_t *found = NULL;
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        json_t *spec = parse(cases[i][0]);
        assert_int_equal(profile_choose(spec, all, &found, &e), 0);
        assert_int_equal(found != NULL, cases[i][1] != NULL);
        if (found != NULL)
            assert_string_equal(json_string_value(get(get(found, "metadata"), "name")),
                                cases[i][1]);
        json_decref(spec);
    }
    json_t *spec = parse("{\"profile\":\"gone\"}");
    assert_int_equal(profile_choose(spec, all, &found, &e), -ERR_NOT_FOUND);
    assert_string_equal(e.msg, "there is no profile \"gone\"");
    assert_int_equal(profile_choose(json_null(), NULL, &found, &e), 0);
    assert_null(found);
    json_decref(spec);
    json_decref(all);
}

static void
test_profile_merge(void **state)
{
    static const char *const cases[][3] = {
        {"{\"a\":1}", "{}", "{\"a\":1}"},
        {"{}", "{\"maxDuration\":\"1h\",\"default\":true}", "{\"maxDuration\":\"1h\"}"},
        {"{\"maxDuration\":\"off\"}", "{\"maxDuration\":\"1h\"}",
         "{\"maxDuration\":\"off\"}"},
        {"{\"maxDuration\":null}", "{\"maxDuration\":60}", "{\"maxDuration\":60}"},
        /* whole fields: nothing of the profile's retry is left */
        {"{\"retry\":{\"onEvents\":[\"error\"]}}", "{\"retry\":{\"duration\":\"5m\"}}",
         "{\"retry\":{\"onEvents\":[\"error\"]}}"},
        {"{\"fleets\":[]}", "{\"fleets\":[\"a\"]}", "{\"fleets\":[]}"},
        {"{}", "{\"commands\":[\"x\"],\"env\":{\"A\":\"b\"},\"priority\":5}", "{}"},
        {"{}", "{\"tags\":null,\"spotPolicy\":\"auto\"}", "{\"spotPolicy\":\"auto\"}"},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        json_t *run = parse(cases[i][0]), *profile = parse(cases[i][1]);
        json_t *want = parse(cases[i][2]), *have = profile_merge(run, profile);
        assert_true(json_equal(have, want));
        json_decref(run);
        json_decref(profile);
        json_decref(want);
        json_decref(have);
    }
    json_t *run = parse("{\"a\":1}"), *have = profile_merge(run, NULL);
    assert_true(json_equal(run, have));
    json_decref(run);
    json_decref(have);
}

/* --- ${{ }} for those who know a part only ------------------------------------------ */

static int
known(void *arg, struct span name, struct str *out, struct error *e)
{
    UNUSED(arg);
    if (span_eq(name, "bad"))
        return error_set(e, ERR_INVALID, "bad name");
    if (!span_eq(name, "run.args"))
        return 0;
    str_adds(out, "<args>");
    return 1;
}

static void
test_interpolate_some(void **state)
{
    static const char *const cases[][2] = {
        {"", ""},
        {"echo $HOME $$ $", "echo $HOME $$ $"},
        {"${{ run.args }}", "<args>"},
        {"a ${{run.args}} b ${{ other }} c", "a <args> b ${{ other }} c"},
        {"$${{ run.args }}", "$${{ run.args }}"},
        {"$${{ run.args }} ${{ run.args }}", "$${{ run.args }} <args>"},
        {"x ${{ run.args", NULL},
        {"x ${{ bad }}", NULL},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        auto_str out = STR_INIT(256);
        struct error e = ERROR_INIT;
        int rc = interpolate_some(cases[i][0], known, NULL, &out, &e);
        assert_int_equal(rc, cases[i][1] == NULL ? -ERR_INVALID : 0);
        if (cases[i][1] != NULL)
            assert_string_equal(out.ptr, cases[i][1]);
    }
    auto_str small = STR_INIT(3);
    struct error e = ERROR_INIT;
    assert_int_equal(interpolate_some("${{ run.args }}", known, NULL, &small, &e),
                     -ERR_TOO_LARGE);
    struct span m;
    assert_true(interpolate_member(span_of("secrets.HF_TOKEN-1"), "secrets", &m));
    assert_true(span_eq(m, "HF_TOKEN-1"));
    assert_false(interpolate_member(span_of("secrets."), "secrets", &m));
    assert_false(interpolate_member(span_of("secrets.a.b"), "secrets", &m));
    assert_false(interpolate_member(span_of("secretsXa"), "secrets", &m));
    assert_false(interpolate_member(span_of("env.a"), "secrets", &m));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tasks),
        cmocka_unit_test(test_resources),
        cmocka_unit_test(test_parameters),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_distance),
        cmocka_unit_test(test_profiles_file),
        cmocka_unit_test(test_profile_choose),
        cmocka_unit_test(test_profile_merge),
        cmocka_unit_test(test_interpolate_some),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
