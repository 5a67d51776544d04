/* SPDX-License-Identifier: Apache-2.0 */
/* Garbage collection, termination of namespaces, expiry of Events. */
#include "integration/api_fixture.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"

enum { TURNS = 60 };

static void
make_run(struct api_fixture *f, const char *name, char uid[64])
{
    api_ok(f, 201, "POST", RUNS, NULL, api_run(name, ""));
    snprintf(uid, 64, "%s", api_text(f, "metadata.uid"));
}

static void
make_job(struct api_fixture *f, const char *name, const char *owner, const char *uid)
{
    autofree char *body = xasprintf(
        "{\"apiVersion\":\"drover.dev/"
        "v1\",\"kind\":\"Job\",\"metadata\":{\"name\":\"%s\","
        "\"ownerReferences\":[{\"apiVersion\":\"drover.dev/"
        "v1\",\"kind\":\"Run\",\"name\":"
        "\"%s\",\"uid\":\"%s\",\"controller\":true,\"blockOwnerDeletion\":true}]},"
        "\"spec\":{\"runName\":\"%s\",\"runUID\":\"%s\"}}",
        name, owner, uid, owner, uid);

    api_ok(f, 201, "POST", JOBS, NULL, body);
}

static bool
exists(struct api_fixture *f, const char *path)
{
    return api_do(f, "GET", path, NULL, NULL) == 200;
}

static void
background_deletes_dependents(void **state)
{
    struct api_fixture *f = *state;
    char uid[64];

    make_run(f, "one", uid);
    make_job(f, "j1", "one", uid);
    make_job(f, "j2", "one", uid);
    api_settle(f, TURNS);
    assert_true(exists(f, JOBS "/j1"));
    api_ok(f, 200, "DELETE", RUNS "/one", NULL, NULL);
    assert_false(exists(f, RUNS "/one"));
    api_settle(f, TURNS);
    assert_false(exists(f, JOBS "/j1"));
    assert_false(exists(f, JOBS "/j2"));
}

static void
ownership_is_by_uid(void **state)
{
    struct api_fixture *f = *state;
    char old[64], new[64];

    make_run(f, "one", old);
    make_job(f, "j1", "one", old);
    api_ok(f, 200, "DELETE", RUNS "/one", NULL, NULL);
    make_run(f, "one", new); /* the same name, another object */
    make_job(f, "j2", "one", new);
    api_settle(f, TURNS);
    assert_false(exists(f, JOBS "/j1"));
    assert_true(exists(f, JOBS "/j2"));
    /* born with an owner that never was */
    make_job(f, "j3", "one", "5c10df34-a9dc-48c4-ba2a-1fb07a104027");
    api_settle(f, TURNS);
    assert_false(exists(f, JOBS "/j3"));
}

static void
one_living_owner_is_enough(void **state)
{
    struct api_fixture *f = *state;
    char one[64], two[64];

    make_run(f, "one", one);
    make_run(f, "two", two);
    make_job(f, "j1", "one", one);
    autofree char *both = xasprintf(
        "[{\"op\":\"add\",\"path\":\"/metadata/ownerReferences/-\",\"value\":{"
        "\"apiVersion\":\"drover.dev/v1\",\"kind\":\"Run\",\"name\":\"two\",\"uid\":"
        "\"%s\"}}]",
        two);
    api_ok(f, 200, "PATCH", JOBS "/j1", JSON_PATCH, both);
    api_ok(f, 200, "DELETE", RUNS "/one", NULL, NULL);
    api_settle(f, TURNS);
    api_ok(f, 200, "GET", JOBS "/j1", NULL, NULL);
    assert_int_equal(json_array_size(api_at(f, "metadata.ownerReferences")), 1);
    assert_string_equal(api_text(f, "metadata.ownerReferences.0.uid"), two);
    api_ok(f, 200, "DELETE", RUNS "/two", NULL, NULL);
    api_settle(f, TURNS);
    assert_false(exists(f, JOBS "/j1"));
}

static void
foreground_waits_for_dependents(void **state)
{
    struct api_fixture *f = *state;
    char uid[64];

    make_run(f, "one", uid);
    make_job(f, "j1", "one", uid);
    api_ok(f, 200, "PATCH", JOBS "/j1", MERGE,
           "{\"metadata\":{\"finalizers\":[\"drover.dev/agent\"]}}");
    api_ok(f, 200, "DELETE", RUNS "/one?propagationPolicy=Foreground", NULL, NULL);
    assert_string_equal(api_text(f, "metadata.finalizers.0"), "foregroundDeletion");
    api_settle(f, TURNS);
    api_ok(f, 200, "GET", JOBS "/j1", NULL, NULL);
    assert_string_not_equal(api_text(f, "metadata.deletionTimestamp"), "");
    assert_true(exists(f, RUNS "/one"));
    api_ok(f, 200, "PATCH", JOBS "/j1", MERGE, "{\"metadata\":{\"finalizers\":null}}");
    api_settle(f, TURNS);
    assert_false(exists(f, JOBS "/j1"));
    assert_false(exists(f, RUNS "/one"));
    make_run(f, "alone", uid); /* nothing to wait for */
    api_ok(f, 200, "DELETE", RUNS "/alone?propagationPolicy=Foreground", NULL, NULL);
    api_settle(f, TURNS);
    assert_false(exists(f, RUNS "/alone"));
}

static void
orphans_live_on(void **state)
{
    struct api_fixture *f = *state;
    char uid[64];

    make_run(f, "one", uid);
    make_job(f, "j1", "one", uid);
    api_settle(f, TURNS);
    api_ok(f, 200, "DELETE", RUNS "/one", NULL, "{\"propagationPolicy\":\"Orphan\"}");
    api_settle(f, TURNS);
    assert_false(exists(f, RUNS "/one"));
    api_ok(f, 200, "GET", JOBS "/j1", NULL, NULL);
    assert_null(api_at(f, "metadata.ownerReferences"));
}

static void
many_dependents(void **state)
{
    struct api_fixture *f = *state;
    char uid[64], name[32];

    make_run(f, "one", uid);
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof(name), "j%d", i);
        make_job(f, name, "one", uid);
    }
    api_ok(f, 200, "DELETE", RUNS "/one", NULL, NULL);
    api_settle(f, TURNS);
    assert_int_equal(store_count(f->store, "jobs.drover.dev"), 0);
}

static void
namespaces_terminate(void **state)
{
    struct api_fixture *f = *state;
    const char *runs = "/apis/drover.dev/v1/namespaces/team/runs";

    api_ok(f, 201, "POST", "/api/v1/namespaces", NULL,
           "{\"metadata\":{\"name\":\"team\"}}");
    assert_string_equal(api_text(f, "status.phase"), "Active");
    assert_string_equal(json_string_value(json_object_get(api_at(f, "metadata.labels"),
                                                          "kubernetes.io/metadata.name")),
                        "team");
    api_ok(f, 201, "POST", runs, NULL, api_run("one", ""));
    api_ok(f, 201, "POST", runs, NULL, api_run("two", ""));
    api_ok(f, 200, "PATCH", "/apis/drover.dev/v1/namespaces/team/runs/two", MERGE,
           "{\"metadata\":{\"finalizers\":[\"x.dev/f\"]}}");
    api_ok(f, 200, "DELETE", "/api/v1/namespaces/team", NULL, NULL);
    assert_string_equal(api_text(f, "status.phase"), "Terminating");
    api_ok(f, 403, "POST", runs, NULL, api_run("three", ""));
    assert_string_equal(api_text(f, "details.causes.0.reason"), "NamespaceTerminating");
    api_settle(f, TURNS);
    assert_true(exists(f, "/api/v1/namespaces/team"));
    assert_false(exists(f, "/apis/drover.dev/v1/namespaces/team/runs/one"));
    api_ok(f, 200, "PATCH", "/apis/drover.dev/v1/namespaces/team/runs/two", MERGE,
           "{\"metadata\":{\"finalizers\":null}}");
    api_settle(f, TURNS);
    assert_false(exists(f, "/api/v1/namespaces/team"));
    api_ok(f, 403, "DELETE", "/api/v1/namespaces/default", NULL, NULL);
}

static void
events_expire(void **state)
{
    struct api_fixture *f = *state;
    const char *events = "/api/v1/namespaces/default/events";

    api_ok(f, 201, "POST", events, NULL,
           "{\"metadata\":{\"name\":\"old\"},\"involvedObject\":{\"kind\":\"Run\","
           "\"name\":\"one\"},\"reason\":\"R\"}");
    api_ok(f, 201, "POST", events, NULL,
           "{\"metadata\":{\"name\":\"seen\"},\"involvedObject\":{\"kind\":\"Run\","
           "\"name\":\"one\"},\"reason\":\"R\"}");
    api_ok(f, 200, "GET",
           "/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Done,"
           "involvedObject.namespace%3D,involvedObject.kind%3DRun",
           NULL, NULL);
    assert_int_equal(json_array_size(api_at(f, "items")), 2);
    clock_fake_advance(INT64_C(3000) * 1000000000);
    char now[CLOCK_RFC3339_LEN];
    clock_format(clock_wall_ns(), now);
    autofree char *touch = xasprintf("{\"lastTimestamp\":\"%s\",\"count\":2}", now);
    api_ok(f, 200, "PATCH", "/api/v1/namespaces/default/events/seen", MERGE, touch);
    api_settle(f, TURNS);
    assert_true(exists(f, "/api/v1/namespaces/default/events/old"));
    for (int i = 0; i < 3; i++) {
        clock_fake_advance(INT64_C(300) * 1000000000);
        api_settle(f, TURNS);
    }
    assert_false(exists(f, "/api/v1/namespaces/default/events/old"));
    assert_true(exists(f, "/api/v1/namespaces/default/events/seen"));
}

static int
fake_setup(void **state)
{
    clock_fake_set(INT64_C(1000) * 1000000000, INT64_C(1800000000) * 1000000000);
    return api_setup(state);
}

static int
fake_teardown(void **state)
{
    int rc = api_teardown(state);

    clock_fake_stop();
    return rc;
}

int
main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, api_setup, api_teardown)
    const struct CMUnitTest tests[] = {
        CASE(background_deletes_dependents),
        CASE(ownership_is_by_uid),
        CASE(one_living_owner_is_enough),
        CASE(foreground_waits_for_dependents),
        CASE(orphans_live_on),
        CASE(many_dependents),
        CASE(namespaces_terminate),
        cmocka_unit_test_setup_teardown(events_expire, fake_setup, fake_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
