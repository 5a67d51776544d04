/* SPDX-License-Identifier: Apache-2.0 */
/* Server-side apply over the API: create, share, conflict, force, prune, status. */
#include "integration/api_fixture.h"

#include <stdio.h>
#include <stdlib.h>

#define APPLY_AS(who) "?fieldManager=" who

static void
apply_creates_and_changes(void **state)
{
    struct api_fixture *f = *state;

    api_ok(f, 422, "PATCH", RUNS "/one", APPLY, api_run("one", ""));
    api_ok(f, 201, "PATCH", RUNS "/one" APPLY_AS("me"), APPLY, api_run("one", ""));
    assert_string_equal(api_text(f, "metadata.managedFields.0.manager"), "me");
    assert_string_equal(api_text(f, "metadata.managedFields.0.operation"), "Apply");
    assert_non_null(api_at(f, "metadata/managedFields/0/fieldsV1/f:spec/f:type"));
    assert_null(api_at(f, "metadata/managedFields/0/fieldsV1/f:spec/f:desiredState"));
    autofree char *version = xstrdup(api_text(f, "metadata.resourceVersion"));
    api_ok(f, 200, "PATCH", RUNS "/one" APPLY_AS("me"), APPLY, api_run("one", ""));
    assert_string_equal(api_text(f, "metadata.resourceVersion"), version);
    api_ok(f, 200, "PATCH", RUNS "/one" APPLY_AS("me"), APPLY,
           api_run("one", ",\"priority\":3"));
    assert_int_equal(api_int(f, "spec.priority"), 3);
    assert_int_equal(api_int(f, "metadata.generation"), 2);
    /* a field left out is given up: the default comes back */
    api_ok(f, 200, "PATCH", RUNS "/one" APPLY_AS("me"), APPLY, api_run("one", ""));
    assert_int_equal(api_int(f, "spec.priority"), -1);
}

static void
yaml_in_flow_style_is_yaml(void **state)
{
    struct api_fixture *f = *state;

    api_ok(f, 201, "PATCH", RUNS "/one" APPLY_AS("me"), APPLY,
           "{apiVersion: drover.dev/v1, kind: Run, metadata: {name: one},\n"
           " spec: {type: task, commands: [\"true\"]}}\n");
    assert_string_equal(api_text(f, "spec.commands.0"), "true");
    api_ok(f, 400, "PATCH", RUNS "/one" APPLY_AS("me"), APPLY, "{\"spec\": [}");
}

static void
conflicts_name_the_manager(void **state)
{
    struct api_fixture *f = *state;

    api_ok(f, 201, "PATCH", RUNS "/one" APPLY_AS("me"), APPLY,
           api_run("one", ",\"priority\":3"));
    api_ok(f, 409, "PATCH", RUNS "/one" APPLY_AS("you"), APPLY,
           api_run("one", ",\"priority\":4"));
    assert_string_equal(api_text(f, "reason"), "Conflict");
    assert_string_equal(api_text(f, "message"),
                        "Apply failed with 1 conflict: conflict with \"me\": "
                        ".spec.priority");
    assert_string_equal(api_text(f, "details.causes.0.reason"), "FieldManagerConflict");
    assert_string_equal(api_text(f, "details.causes.0.field"), ".spec.priority");
    assert_string_equal(api_text(f, "details.causes.0.message"), "conflict with \"me\"");
    api_ok(f, 200, "PATCH", RUNS "/one" APPLY_AS("you") "&force=true", APPLY,
           api_run("one", ",\"priority\":4"));
    assert_int_equal(api_int(f, "spec.priority"), 4);
    api_ok(f, 422, "PATCH", RUNS "/one?force=true", MERGE, "{}");
}

static void
update_managers_are_tracked(void **state)
{
    struct api_fixture *f = *state;

    api_ok(f, 201, "POST", RUNS "?fieldManager=maker", NULL, api_run("one", ""));
    assert_string_equal(api_text(f, "metadata.managedFields.0.manager"), "maker");
    assert_string_equal(api_text(f, "metadata.managedFields.0.operation"), "Update");
    api_ok(f, 200, "PATCH", RUNS "/one?fieldManager=other", MERGE,
           "{\"spec\":{\"priority\":9}}");
    api_ok(f, 409, "PATCH", RUNS "/one" APPLY_AS("me"), APPLY,
           api_run("one", ",\"priority\":4"));
    assert_non_null(
        strstr(api_text(f, "message"), "conflict with \"other\" using drover.dev/v1"));
    /* managedFields belong to the client: an empty list clears them */
    api_ok(f, 200, "PATCH", RUNS "/one?fieldManager=x", JSON_PATCH,
           "[{\"op\":\"replace\",\"path\":\"/metadata/managedFields\",\"value\":[]}]");
    assert_int_equal(json_array_size(api_at(f, "metadata.managedFields")), 0);
}

static void
jobs_are_tracked_once_applied(void **state)
{
    struct api_fixture *f = *state;
    const char *job =
        "{\"apiVersion\":\"drover.dev/v1\",\"kind\":\"Job\",\"metadata\":{\"name\":"
        "\"j1\"},\"spec\":{\"runName\":\"one\",\"runUID\":\"u\"}}";

    api_ok(f, 201, "POST", JOBS, NULL, job);
    assert_null(api_at(f, "metadata.managedFields"));
    api_ok(f, 200, "PATCH", JOBS "/j1/status", MERGE,
           "{\"status\":{\"phase\":\"Done\"}}");
    assert_null(api_at(f, "metadata.managedFields"));
    api_ok(f, 200, "PATCH", JOBS "/j1" APPLY_AS("me"), APPLY, job);
    assert_non_null(api_at(f, "metadata.managedFields"));
}

static void
apply_checks_its_config(void **state)
{
    struct api_fixture *f = *state;

    api_ok(f, 400, "PATCH", RUNS "/one" APPLY_AS("me"), APPLY,
           "{\"apiVersion\":\"drover.dev/v9\",\"kind\":\"Run\"}");
    assert_non_null(strstr(api_text(f, "message"), "Incorrect version specified"));
    api_ok(f, 400, "PATCH", RUNS "/one" APPLY_AS("me"), APPLY,
           "{\"apiVersion\":\"drover.dev/v1\",\"kind\":\"Run\",\"metadata\":{"
           "\"managedFields\":[{\"manager\":\"x\"}]}}");
    api_ok(f, 400, "PATCH", RUNS "/one" APPLY_AS("me") "&fieldValidation=Strict", APPLY,
           api_run("one", ",\"bogus\":1"));
    assert_non_null(strstr(api_text(f, "message"), "unknown field \"spec.bogus\""));
    api_ok(f, 201, "PATCH", RUNS "/one" APPLY_AS("me"), APPLY,
           api_run("one", ",\"bogus\":1"));
    assert_non_null(strstr(f->reply.warning, "spec.bogus"));
    assert_null(api_at(f, "metadata/managedFields/0/fieldsV1/f:spec/f:bogus"));
    api_ok(f, 422, "PATCH", RUNS "/two" APPLY_AS("me"), APPLY,
           api_run("two", ",\"priority\":\"high\""));
    api_ok(f, 400, "PATCH", RUNS "/two" APPLY_AS("me"), APPLY, api_run("three", ""));
    api_ok(f, 404, "PATCH", RUNS "/two/status" APPLY_AS("me"), APPLY, api_run("two", ""));
    api_ok(f, 404, "PATCH", "/apis/drover.dev/v1/namespaces/no/runs/two" APPLY_AS("me"),
           APPLY, api_run("two", ""));
}

static void
apply_reads_yaml(void **state)
{
    struct api_fixture *f = *state;

    api_ok(f, 201, "PATCH", RUNS "/why" APPLY_AS("me"), APPLY,
           "apiVersion: drover.dev/v1\nkind: Run\nmetadata:\n  labels: {key: \"off\"}\n"
           "spec:\n  type: task\n  commands: [\"true\"]\n");
    assert_string_equal(api_text(f, "metadata.name"), "why");
    assert_string_equal(api_text(f, "metadata.labels.key"), "off");
}

static void
status_has_its_own_owners(void **state)
{
    struct api_fixture *f = *state;

    api_ok(f, 201, "PATCH", RUNS "/one" APPLY_AS("me"), APPLY, api_run("one", ""));
    api_ok(f, 200, "PATCH", RUNS "/one/status" APPLY_AS("ctl"), APPLY,
           "{\"apiVersion\":\"drover.dev/v1\",\"kind\":\"Run\",\"spec\":{\"priority\":8},"
           "\"status\":{\"phase\":\"Running\"}}");
    assert_string_equal(api_text(f, "status.phase"), "Running");
    assert_int_equal(api_int(f, "spec.priority"), -1);
    api_ok(f, 200, "PATCH", RUNS "/one" APPLY_AS("me"), APPLY, api_run("one", ""));
    assert_string_equal(api_text(f, "status.phase"), "Running");
}

int
main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, api_setup, api_teardown)
    const struct CMUnitTest tests[] = {
        CASE(apply_creates_and_changes),   CASE(conflicts_name_the_manager),
        CASE(update_managers_are_tracked), CASE(jobs_are_tracked_once_applied),
        CASE(apply_checks_its_config),     CASE(apply_reads_yaml),
        CASE(status_has_its_own_owners),   CASE(yaml_in_flow_style_is_yaml),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
