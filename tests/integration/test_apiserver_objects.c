/* SPDX-License-Identifier: Apache-2.0 */
/* create, get, update, patch, delete and their rules for metadata and status. */
#include "integration/api_fixture.h"

#include <stdio.h>
#include <stdlib.h>

static void
create_sets_what_the_server_sets(void **state)
{
    struct api_fixture *f = *state;

    api_ok(
        f, 201, "POST", RUNS, NULL,
        "{\"apiVersion\":\"drover.dev/v1\",\"kind\":\"Run\",\"metadata\":{\"name\":"
        "\"ra\",\"uid\":\"mine\",\"generation\":9,\"creationTimestamp\":null},\"spec\":{"
        "\"type\":\"task\",\"commands\":[\"true\"]},\"status\":{\"phase\":\"Done\"}}");
    assert_int_equal(strlen(api_text(f, "metadata.uid")), 36);
    assert_int_equal(api_int(f, "metadata.generation"), 1);
    assert_string_equal(api_text(f, "metadata.namespace"), "default");
    assert_string_not_equal(api_text(f, "metadata.creationTimestamp"), "");
    assert_string_not_equal(api_text(f, "metadata.resourceVersion"), "");
    assert_string_equal(api_text(f, "spec.desiredState"), "Running");
    assert_null(api_at(f, "status"));
    api_ok(f, 200, "GET", RUNS "/ra", NULL, NULL);
    assert_string_equal(api_text(f, "metadata.name"), "ra");
    api_ok(f, 409, "POST", RUNS, NULL, api_run("ra", ""));
    assert_string_equal(api_text(f, "reason"), "AlreadyExists");
    assert_string_equal(api_text(f, "message"), "runs.drover.dev \"ra\" already exists");
    assert_string_equal(api_text(f, "details.kind"), "runs");
}

static void
create_generates_names(void **state)
{
    struct api_fixture *f = *state;
    const char *body =
        "{\"apiVersion\":\"drover.dev/v1\",\"kind\":\"Run\",\"metadata\":{"
        "\"generateName\":\"gen-\"},\"spec\":{\"type\":\"task\",\"commands\":[\"a\"]}}";

    api_ok(f, 201, "POST", RUNS, NULL, body);
    autofree char *first = xstrdup(api_text(f, "metadata.name"));
    assert_int_equal(strlen(first), 9);
    assert_true(str_starts(first, "gen-"));
    api_ok(f, 201, "POST", RUNS, NULL, body);
    assert_string_not_equal(first, api_text(f, "metadata.name"));
}

static void
create_refuses(void **state)
{
    struct api_fixture *f = *state;

    api_ok(f, 404, "POST", "/apis/drover.dev/v1/namespaces/nope/runs", NULL,
           api_run("ra", ""));
    assert_string_equal(api_text(f, "message"), "namespaces \"nope\" not found");
    api_ok(f, 422, "POST", RUNS, NULL, api_run("Not_A_Name", ""));
    assert_string_equal(api_text(f, "details.causes.0.field"), "metadata.name");
    api_ok(f, 400, "POST", RUNS, NULL, "{\"apiVersion\":\"v1\",\"kind\":\"Run\"}");
    api_ok(f, 400, "POST", RUNS, NULL, "not json {");
    api_ok(f, 400, "POST", RUNS, NULL, NULL);
    api_ok(f, 415, "POST", RUNS, "text/plain", api_run("ra", ""));
    api_ok(f, 400, "POST", SECRETS, "application/vnd.kubernetes.protobuf", "k8s");
    api_ok(f, 422, "POST", RUNS, NULL, api_run("rb", ",\"priority\":1000"));
    assert_string_equal(api_text(f, "reason"), "Invalid");
    assert_string_equal(api_text(f, "details.kind"), "Run");
    assert_string_equal(api_text(f, "details.causes.0.field"), "spec.priority");
    api_ok(f, 404, "GET", RUNS "/rb", NULL, NULL);
    assert_string_equal(api_text(f, "message"), "runs.drover.dev \"rb\" not found");
    api_ok(f, 404, "GET", "/apis/nope.dev/v1/things", NULL, NULL);
}

static void
unknown_fields_by_validation(void **state)
{
    struct api_fixture *f = *state;

    api_ok(f, 400, "POST", RUNS "?fieldValidation=Strict", NULL,
           api_run("ra", ",\"bogus\":1"));
    assert_string_equal(api_text(f, "message"),
                        "Run in version \"v1\" cannot be handled as a Run: strict "
                        "decoding error: unknown field \"spec.bogus\"");
    api_ok(f, 201, "POST", RUNS, NULL, api_run("ra", ",\"bogus\":1"));
    assert_string_equal(f->reply.warning, "299 - \"unknown field \\\"spec.bogus\\\"\"");
    assert_null(api_at(f, "spec.bogus"));
    api_ok(f, 201, "POST", RUNS "?fieldValidation=Ignore", NULL,
           api_run("rb", ",\"bogus\":1"));
    assert_string_equal(f->reply.warning, "");
}

static char *
with_version(struct api_fixture *f, const char *spec, const char *version)
{
    UNUSED(f);
    return xasprintf("{\"apiVersion\":\"drover.dev/v1\",\"kind\":\"Run\",\"metadata\":{"
                     "\"name\":\"ra\"%s%s%s},\"spec\":%s,\"status\":{\"phase\":\"X\"}}",
                     version == NULL ? "" : ",\"resourceVersion\":\"",
                     version == NULL ? "" : version, version == NULL ? "" : "\"", spec);
}

static void
update_rules(void **state)
{
    struct api_fixture *f = *state;
    const char *spec = "{\"type\":\"task\",\"commands\":[\"true\"],\"priority\":4}";

    api_ok(f, 201, "POST", RUNS, NULL, api_run("ra", ""));
    autofree char *uid = xstrdup(api_text(f, "metadata.uid"));
    autofree char *version = xstrdup(api_text(f, "metadata.resourceVersion"));
    autofree char *plain = with_version(f, spec, NULL);
    autofree char *fresh = with_version(f, spec, version);
    api_ok(f, 422, "PUT", RUNS "/ra", NULL, plain);
    assert_string_equal(api_text(f, "details.causes.0.field"),
                        "metadata.resourceVersion");
    api_ok(f, 200, "PUT", RUNS "/ra", NULL, fresh);
    assert_string_equal(api_text(f, "metadata.uid"), uid);
    assert_int_equal(api_int(f, "metadata.generation"), 2);
    assert_int_equal(api_int(f, "spec.priority"), 4);
    assert_null(api_at(f, "status"));
    api_ok(f, 409, "PUT", RUNS "/ra", NULL, fresh);
    assert_string_equal(api_text(f, "reason"), "Conflict");
    assert_non_null(strstr(api_text(f, "message"),
                           "the object has been modified; please apply your changes"));
    api_ok(f, 404, "PUT", RUNS "/rb", NULL, fresh);
}

static void
a_write_without_change_is_none(void **state)
{
    struct api_fixture *f = *state;

    api_ok(f, 201, "POST", RUNS, NULL, api_run("ra", ""));
    autofree char *version = xstrdup(api_text(f, "metadata.resourceVersion"));
    api_ok(f, 200, "PATCH", RUNS "/ra", MERGE,
           "{\"spec\":{\"desiredState\":\"Running\"}}");
    assert_string_equal(api_text(f, "metadata.resourceVersion"), version);
    api_ok(f, 200, "PATCH", RUNS "/ra", MERGE, "{\"spec\":{\"priority\":1}}");
    assert_string_not_equal(api_text(f, "metadata.resourceVersion"), version);
}

static void
status_is_its_own_door(void **state)
{
    struct api_fixture *f = *state;

    api_ok(f, 201, "POST", RUNS, NULL, api_run("ra", ""));
    api_ok(f, 200, "PATCH", RUNS "/ra/status", MERGE,
           "{\"status\":{\"phase\":\"Running\"},\"spec\":{\"priority\":9},\"metadata\":{"
           "\"labels\":{\"x\":\"y\"}}}");
    assert_string_equal(api_text(f, "status.phase"), "Running");
    assert_int_equal(api_int(f, "spec.priority"), -1);
    assert_null(api_at(f, "metadata.labels"));
    assert_int_equal(api_int(f, "metadata.generation"), 1);
    api_ok(f, 200, "PATCH", RUNS "/ra", MERGE,
           "{\"status\":{\"phase\":\"Done\"},\"spec\":{\"priority\":9}}");
    assert_string_equal(api_text(f, "status.phase"), "Running");
    assert_int_equal(api_int(f, "metadata.generation"), 2);
    api_ok(f, 200, "GET", RUNS "/ra/status", NULL, NULL);
    api_ok(f, 404, "PATCH", SECRETS "/a/status", MERGE, "{}");
    api_ok(f, 405, "DELETE", RUNS "/ra/status", NULL, NULL);
}

static void
patch_checks_the_version_in_it(void **state)
{
    struct api_fixture *f = *state;

    api_ok(f, 201, "POST", RUNS, NULL, api_run("ra", ""));
    autofree char *good =
        xasprintf("{\"metadata\":{\"resourceVersion\":\"%s\"},\"spec\":{\"priority\":1}}",
                  api_text(f, "metadata.resourceVersion"));
    api_ok(f, 200, "PATCH", RUNS "/ra", MERGE, good);
    api_ok(f, 409, "PATCH", RUNS "/ra", MERGE, good);
    api_ok(f, 409, "PATCH", RUNS "/ra", MERGE,
           "{\"metadata\":{\"uid\":\"5c10df34-a9dc-48c4-ba2a-1fb07a104027\"}}");
    api_ok(f, 400, "PATCH", RUNS "/ra", MERGE, "{\"metadata\":{\"name\":\"rb\"}}");
    api_ok(f, 400, "PATCH", RUNS "/ra", MERGE, "[1]");
    api_ok(f, 404, "PATCH", RUNS "/none", MERGE, "{}");
    api_ok(f, 415, "PATCH", RUNS "/ra", "application/strategic-merge-patch+json", "{}");
    api_ok(f, 415, "PATCH", RUNS "/ra", NULL, "{}");
}

static void
json_patch(void **state)
{
    struct api_fixture *f = *state;

    api_ok(f, 201, "POST", RUNS, NULL, api_run("ra", ""));
    api_ok(f, 200, "PATCH", RUNS "/ra", JSON_PATCH,
           "[{\"op\":\"test\",\"path\":\"/spec/type\",\"value\":\"task\"},"
           "{\"op\":\"add\",\"path\":\"/spec/priority\",\"value\":3}]");
    assert_int_equal(api_int(f, "spec.priority"), 3);
    api_ok(f, 422, "PATCH", RUNS "/ra", JSON_PATCH,
           "[{\"op\":\"test\",\"path\":\"/spec/priority\",\"value\":0}]");
    api_ok(
        f, 409, "PATCH", RUNS "/ra", JSON_PATCH,
        "[{\"op\":\"replace\",\"path\":\"/metadata/resourceVersion\",\"value\":\"1\"}]");
    api_ok(f, 400, "PATCH", RUNS "/ra", JSON_PATCH, "{");
}

static void
dry_run_changes_nothing(void **state)
{
    struct api_fixture *f = *state;

    api_ok(f, 201, "POST", RUNS "?dryRun=All", NULL, api_run("ra", ""));
    assert_int_equal(strlen(api_text(f, "metadata.uid")), 36);
    assert_null(api_at(f, "metadata.resourceVersion"));
    api_ok(f, 404, "GET", RUNS "/ra", NULL, NULL);
    api_ok(f, 201, "POST", RUNS, NULL, api_run("ra", ""));
    autofree char *version = xstrdup(api_text(f, "metadata.resourceVersion"));
    api_ok(f, 200, "PATCH", RUNS "/ra?dryRun=All", MERGE, "{\"spec\":{\"priority\":1}}");
    assert_int_equal(api_int(f, "spec.priority"), 1);
    assert_string_equal(api_text(f, "metadata.resourceVersion"), version);
    api_ok(f, 200, "DELETE", RUNS "/ra", NULL, "{\"dryRun\":[\"All\"]}");
    api_ok(f, 200, "GET", RUNS "/ra", NULL, NULL);
    assert_int_equal(api_int(f, "spec.priority"), -1);
    api_ok(f, 422, "POST", RUNS "?dryRun=Some", NULL, api_run("rb", ""));
}

static void
deletion_waits_for_finalizers(void **state)
{
    struct api_fixture *f = *state;

    api_ok(f, 201, "POST", RUNS, NULL, api_run("ra", ""));
    api_ok(f, 200, "PATCH", RUNS "/ra", MERGE,
           "{\"metadata\":{\"finalizers\":[\"x.dev/one\",\"x.dev/two\"]}}");
    api_ok(f, 200, "DELETE", RUNS "/ra", NULL, NULL);
    assert_string_equal(api_text(f, "kind"), "Run");
    assert_string_not_equal(api_text(f, "metadata.deletionTimestamp"), "");
    assert_int_equal(api_int(f, "metadata.deletionGracePeriodSeconds"), 0);
    assert_int_equal(api_int(f, "metadata.generation"), 2);
    autofree char *version = xstrdup(api_text(f, "metadata.resourceVersion"));
    api_ok(f, 200, "DELETE", RUNS "/ra", NULL, NULL); /* again: nothing new */
    assert_string_equal(api_text(f, "metadata.resourceVersion"), version);
    api_ok(f, 422, "PATCH", RUNS "/ra", MERGE,
           "{\"metadata\":{\"finalizers\":[\"x.dev/one\",\"x.dev/two\",\"x.dev/new\"]}}");
    api_ok(f, 200, "PATCH", RUNS "/ra", MERGE,
           "{\"metadata\":{\"finalizers\":[\"x.dev/two\"]}}");
    api_ok(f, 200, "GET", RUNS "/ra", NULL, NULL);
    api_ok(f, 200, "PATCH", RUNS "/ra", MERGE, "{\"metadata\":{\"finalizers\":null}}");
    api_ok(f, 404, "GET", RUNS "/ra", NULL, NULL);
}

static void
deletion_preconditions(void **state)
{
    struct api_fixture *f = *state;

    api_ok(f, 201, "POST", RUNS, NULL, api_run("ra", ""));
    autofree char *uid = xstrdup(api_text(f, "metadata.uid"));
    autofree char *good = xasprintf("{\"preconditions\":{\"uid\":\"%s\"}}", uid);
    api_ok(f, 409, "DELETE", RUNS "/ra", NULL,
           "{\"preconditions\":{\"uid\":\"5c10df34-a9dc-48c4-ba2a-1fb07a104027\"}}");
    api_ok(f, 409, "DELETE", RUNS "/ra", NULL,
           "{\"preconditions\":{\"resourceVersion\":\"1\"}}");
    api_ok(f, 200, "DELETE", RUNS "/ra", NULL, good);
    assert_string_equal(api_text(f, "status"), "Success");
    assert_string_equal(api_text(f, "details.uid"), uid);
    api_ok(f, 404, "DELETE", RUNS "/ra", NULL, NULL);
    api_ok(f, 422, "DELETE", RUNS "/ra?propagationPolicy=Sideways", NULL, NULL);
}

static void
delete_collection_deletes_what_is_selected(void **state)
{
    struct api_fixture *f = *state;
    char name[16];

    for (int i = 0; i < 150; i++) {
        snprintf(name, sizeof(name), "r%d", i);
        api_ok(f, 201, "POST", RUNS, NULL, api_run(name, ""));
    }
    api_ok(f, 200, "PATCH", RUNS "/r7", MERGE,
           "{\"metadata\":{\"labels\":{\"k\":\"v\"}}}");
    api_ok(f, 200, "DELETE", RUNS "?labelSelector=k!%3Dv", NULL, NULL);
    assert_int_equal(json_array_size(api_at(f, "items")), 149);
    api_ok(f, 200, "GET", RUNS, NULL, NULL);
    assert_int_equal(json_array_size(api_at(f, "items")), 1);
    assert_string_equal(api_text(f, "items.0.metadata.name"), "r7");
}

static void
secrets(void **state)
{
    struct api_fixture *f = *state;

    /* typed clients leave apiVersion and kind out */
    api_ok(f, 201, "POST", SECRETS, NULL,
           "{\"metadata\":{\"name\":\"s\"},\"stringData\":{\"a\":\"b\"},\"data\":{\"c\":"
           "\"ZA==\"}}");
    assert_string_equal(api_text(f, "kind"), "Secret");
    assert_string_equal(api_text(f, "type"), "Opaque");
    assert_string_equal(api_text(f, "data.a"), "Yg==");
    assert_string_equal(api_text(f, "data.c"), "ZA==");
    assert_null(api_at(f, "stringData"));
    assert_null(api_at(f, "metadata.generation"));
    api_ok(f, 422, "PATCH", SECRETS "/s", MERGE, "{\"type\":\"other\"}");
    api_ok(f, 422, "PATCH", SECRETS "/s", MERGE, "{\"data\":{\"x\":\"not base64!\"}}");
    api_ok(f, 200, "PATCH", SECRETS "/s", MERGE, "{\"immutable\":true}");
    api_ok(f, 422, "PATCH", SECRETS "/s", MERGE, "{\"data\":{\"a\":\"eA==\"}}");
    api_ok(f, 422, "PATCH", SECRETS "/s", MERGE, "{\"immutable\":false}");
    api_ok(f, 200, "PUT", SECRETS "/s", NULL, /* no version: unconditional */
           "{\"metadata\":{\"name\":\"s\",\"labels\":{\"l\":\"m\"}},\"immutable\":true,"
           "\"data\":{\"a\":\"Yg==\",\"c\":\"ZA==\"}}");
}

#define STRATEGIC "application/strategic-merge-patch+json"

static void
strategic_merge_for_builtins(void **state)
{
    struct api_fixture *f = *state;
    const char *ns = "/api/v1/namespaces/default";

    api_ok(f, 201, "POST", SECRETS, NULL,
           "{\"metadata\":{\"name\":\"s\",\"finalizers\":[\"a.dev/x\",\"a.dev/y\"]},"
           "\"stringData\":{\"a\":\"b\",\"c\":\"d\"}}");
    api_ok(f, 200, "PATCH", SECRETS "/s", STRATEGIC,
           "{\"stringData\":{\"a\":\"z\"},\"data\":{\"c\":null}}");
    assert_string_equal(api_text(f, "data.a"), "eg==");
    assert_null(api_at(f, "data.c"));
    api_ok(f, 200, "PATCH", SECRETS "/s", STRATEGIC,
           "{\"metadata\":{\"finalizers\":[\"a.dev/z\"]}}");
    assert_int_equal(json_array_size(api_at(f, "metadata.finalizers")), 3);
    api_ok(f, 200, "PATCH", SECRETS "/s", STRATEGIC,
           "{\"metadata\":{\"$deleteFromPrimitiveList/finalizers\":[\"a.dev/x\"],"
           "\"$setElementOrder/finalizers\":[\"a.dev/z\",\"a.dev/y\"]}}");
    assert_int_equal(json_array_size(api_at(f, "metadata.finalizers")), 2);
    assert_string_equal(api_text(f, "metadata.finalizers.0"), "a.dev/z");
    api_ok(f, 200, "PATCH", SECRETS "/s", STRATEGIC,
           "{\"data\":{\"$patch\":\"replace\",\"only\":\"eA==\"}}");
    assert_int_equal(json_object_size(api_at(f, "data")), 1);
    api_ok(f, 200, "PATCH", "/api/v1/namespaces/default/status", STRATEGIC,
           "{\"status\":{\"conditions\":[{\"type\":\"A\",\"status\":\"True\"},{"
           "\"type\":\"B\",\"status\":\"True\"}]}}");
    api_ok(f, 200, "PATCH", "/api/v1/namespaces/default/status", STRATEGIC,
           "{\"status\":{\"conditions\":[{\"type\":\"B\",\"status\":\"False\"},{"
           "\"type\":\"A\",\"$patch\":\"delete\"}]}}");
    assert_int_equal(json_array_size(api_at(f, "status.conditions")), 1);
    assert_string_equal(api_text(f, "status.conditions.0.status"), "False");
    api_ok(f, 400, "PATCH", ns, STRATEGIC, "{\"metadata\":{\"$patch\":\"spin\"}}");
    api_ok(f, 400, "PATCH", ns, STRATEGIC, "[]");
}

static void
yaml_bodies(void **state)
{
    struct api_fixture *f = *state;

    api_ok(f, 201, "POST", RUNS, "application/yaml",
           "apiVersion: drover.dev/v1\nkind: Run\nmetadata:\n  name: yy\nspec:\n  type: "
           "task\n  commands:\n  - echo 1\n");
    assert_string_equal(api_text(f, "metadata.name"), "yy");
    api_ok(f, 400, "POST", RUNS, "application/yaml", "a: 1\n---\nb: 2\n");
    api_ok(f, 400, "POST", RUNS, "application/yaml", "a: [\n");
}

static void
labels_and_owners_are_checked(void **state)
{
    struct api_fixture *f = *state;

    api_ok(f, 201, "POST", RUNS, NULL, api_run("ra", ""));
    api_ok(f, 422, "PATCH", RUNS "/ra", MERGE,
           "{\"metadata\":{\"labels\":{\"bad key\":\"v\"}}}");
    api_ok(f, 422, "PATCH", RUNS "/ra", MERGE,
           "{\"metadata\":{\"labels\":{\"k\":\"bad value\"}}}");
    api_ok(f, 422, "PATCH", RUNS "/ra", MERGE,
           "{\"metadata\":{\"ownerReferences\":[{\"apiVersion\":\"v1\",\"kind\":\"X\","
           "\"name\":\"n\",\"uid\":\"\"}]}}");
    api_ok(f, 422, "PATCH", RUNS "/ra", MERGE,
           "{\"metadata\":{\"finalizers\":[\"a b\"]}}");
}

static void
lease_renewals_are_not_logged(void **state)
{
    struct api_fixture *f = *state;
    const char *leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    struct store_stats before, after;

    api_ok(f, 201, "POST", leases, NULL,
           "{\"metadata\":{\"name\":\"l\"},\"spec\":{\"holderIdentity\":\"a\","
           "\"leaseDurationSeconds\":40,\"renewTime\":\"2026-01-01T00:00:00.000000Z\"}}");
    assert_string_equal(api_text(f, "spec.renewTime"), "2026-01-01T00:00:00.000000Z");
    store_stats(f->store, &before);
    api_ok(f, 200, "PATCH", "/apis/coordination.k8s.io/v1/namespaces/default/leases/l",
           MERGE, "{\"spec\":{\"renewTime\":\"2026-01-01T00:00:10.000000Z\"}}");
    store_stats(f->store, &after);
    assert_int_equal(after.log_bytes, before.log_bytes);
    api_ok(f, 200, "PATCH", "/apis/coordination.k8s.io/v1/namespaces/default/leases/l",
           MERGE, "{\"spec\":{\"holderIdentity\":\"b\"}}");
    store_stats(f->store, &after);
    assert_true(after.log_bytes > before.log_bytes);
}

int
main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, api_setup, api_teardown)
    const struct CMUnitTest tests[] = {
        CASE(create_sets_what_the_server_sets),
        CASE(create_generates_names),
        CASE(create_refuses),
        CASE(unknown_fields_by_validation),
        CASE(update_rules),
        CASE(a_write_without_change_is_none),
        CASE(status_is_its_own_door),
        CASE(patch_checks_the_version_in_it),
        CASE(json_patch),
        CASE(dry_run_changes_nothing),
        CASE(deletion_waits_for_finalizers),
        CASE(deletion_preconditions),
        CASE(delete_collection_deletes_what_is_selected),
        CASE(secrets),
        CASE(strategic_merge_for_builtins),
        CASE(yaml_bodies),
        CASE(labels_and_owners_are_checked),
        CASE(lease_renewals_are_not_logged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
