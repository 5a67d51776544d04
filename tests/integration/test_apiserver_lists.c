/* SPDX-License-Identifier: Apache-2.0 */
/* list: order, selectors, pages over one snapshot, revisions, Tables, metadata only. */
#include "integration/api_fixture.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/id.h"

#define TABLE "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
#define PARTIAL                                                                          \
    "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"

static void
make_runs(struct api_fixture *f, int n)
{
    char name[16];

    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof(name), "run%02d", i);
        api_ok(f, 201, "POST", RUNS, NULL, api_run(name, ""));
    }
}

static size_t
n_items(struct api_fixture *f)
{
    return json_array_size(api_at(f, "items"));
}

static void
lists_are_ordered_and_complete(void **state)
{
    struct api_fixture *f = *state;

    api_ok(f, 200, "GET", RUNS, NULL, NULL);
    assert_string_equal(api_text(f, "kind"), "RunList");
    assert_true(json_is_array(api_at(f, "items")));
    assert_int_equal(n_items(f), 0);
    api_ok(f, 201, "POST", "/api/v1/namespaces", NULL,
           "{\"metadata\":{\"name\":\"aa\"}}");
    make_runs(f, 3);
    api_ok(f, 201, "POST", "/apis/drover.dev/v1/namespaces/aa/runs", NULL,
           api_run("zz", ""));
    api_ok(f, 200, "GET", "/apis/drover.dev/v1/runs", NULL, NULL);
    assert_int_equal(n_items(f), 4);
    assert_string_equal(api_text(f, "items.0.metadata.name"), "zz");
    assert_string_equal(api_text(f, "items.3.metadata.name"), "run02");
    assert_string_equal(api_text(f, "items.3.kind"), "Run");
    assert_string_not_equal(api_text(f, "items.3.metadata.resourceVersion"), "");
    assert_true(strtoull(api_text(f, "metadata.resourceVersion"), NULL, 10) >=
                strtoull(api_text(f, "items.0.metadata.resourceVersion"), NULL, 10));
    api_ok(f, 200, "GET", RUNS, NULL, NULL);
    assert_int_equal(n_items(f), 3);
}

static void
selectors_choose(void **state)
{
    struct api_fixture *f = *state;

    make_runs(f, 4);
    api_ok(f, 200, "PATCH", RUNS "/run01", MERGE,
           "{\"metadata\":{\"labels\":{\"team\":\"x\"}}}");
    api_ok(f, 200, "PATCH", RUNS "/run02/status", MERGE,
           "{\"status\":{\"phase\":\"Done\"}}");
    api_ok(f, 200, "GET", RUNS "?labelSelector=team%3Dx", NULL, NULL);
    assert_int_equal(n_items(f), 1);
    api_ok(f, 200, "GET", RUNS "?labelSelector=team+in+(x,y)", NULL, NULL);
    assert_int_equal(n_items(f), 1);
    api_ok(f, 200, "GET", RUNS "?labelSelector=!team", NULL, NULL);
    assert_int_equal(n_items(f), 3);
    api_ok(f, 200, "GET", RUNS "?fieldSelector=status.phase%3DDone", NULL, NULL);
    assert_int_equal(n_items(f), 1);
    assert_string_equal(api_text(f, "items.0.metadata.name"), "run02");
    api_ok(f, 200, "GET", RUNS "?fieldSelector=metadata.name%3Drun03", NULL, NULL);
    assert_int_equal(n_items(f), 1);
    api_ok(f, 200, "GET", RUNS "?fieldSelector=metadata.name%3Dnone", NULL, NULL);
    assert_int_equal(n_items(f), 0);
    api_ok(f, 400, "GET", RUNS "?fieldSelector=spec.image%3Dx", NULL, NULL);
    api_ok(f, 400, "GET", RUNS "?labelSelector=a+b+c", NULL, NULL);
}

static char *
next_path(struct api_fixture *f)
{
    return xasprintf(RUNS "?limit=4&continue=%s", api_text(f, "metadata.continue"));
}

static void
pages_show_one_state(void **state)
{
    struct api_fixture *f = *state;

    make_runs(f, 10);
    api_ok(f, 200, "GET", RUNS "?limit=4", NULL, NULL);
    assert_int_equal(n_items(f), 4);
    assert_int_equal(api_int(f, "metadata.remainingItemCount"), 6);
    autofree char *revision = xstrdup(api_text(f, "metadata.resourceVersion"));
    autofree char *second = next_path(f);
    /* What happens now is not seen by the pages to come. */
    api_ok(f, 200, "DELETE", RUNS "/run05", NULL, NULL);
    api_ok(f, 201, "POST", RUNS, NULL, api_run("run055", ""));
    api_ok(f, 200, "GET", second, NULL, NULL);
    assert_int_equal(n_items(f), 4);
    assert_string_equal(api_text(f, "items.1.metadata.name"), "run05");
    assert_string_equal(api_text(f, "metadata.resourceVersion"), revision);
    autofree char *third = next_path(f);
    api_ok(f, 200, "GET", third, NULL, NULL);
    assert_int_equal(n_items(f), 2);
    assert_string_equal(api_text(f, "items.1.metadata.name"), "run09");
    assert_string_equal(api_text(f, "metadata.continue"), "");
    /* A page may be asked for again, and the whole list of that revision. */
    api_ok(f, 200, "GET", second, NULL, NULL);
    assert_int_equal(n_items(f), 4);
    assert_string_equal(api_text(f, "items.1.metadata.name"), "run05");
    autofree char *exact =
        xasprintf(RUNS "?resourceVersion=%s&resourceVersionMatch=Exact", revision);
    api_ok(f, 200, "GET", exact, NULL, NULL);
    assert_int_equal(n_items(f), 10);
    assert_string_equal(api_text(f, "metadata.resourceVersion"), revision);
    assert_string_equal(api_text(f, "items.5.metadata.name"), "run05");
    /* So does a limit without a match; NotOlderThan shows the latest. */
    autofree char *legacy = xasprintf(RUNS "?resourceVersion=%s&limit=2", revision);
    api_ok(f, 200, "GET", legacy, NULL, NULL);
    assert_string_equal(api_text(f, "metadata.resourceVersion"), revision);
    autofree char *newer = xasprintf(
        RUNS "?resourceVersion=%s&resourceVersionMatch=NotOlderThan&limit=6", revision);
    api_ok(f, 200, "GET", newer, NULL, NULL);
    assert_string_equal(api_text(f, "items.5.metadata.name"), "run055");
    /* Another namespace has no snapshot of that revision. */
    autofree char *elsewhere =
        xasprintf("/apis/drover.dev/v1/runs?resourceVersion=%s&limit=2", revision);
    api_ok(f, 410, "GET", elsewhere, NULL, NULL);
}

/* {"v":"meta.k8s.io/v1","rv":<rv>,"start":"default/run03\0"} */
static char *
token(long long rv)
{
    autofree char *json = xasprintf(
        "{\"v\":\"meta.k8s.io/v1\",\"rv\":%lld,\"start\":\"default/run03\\u0000\"}", rv);
    struct str out = STR_INIT(1024);

    id_base64url(json, strlen(json), &out);
    return str_detach(&out);
}

/* The 410 of a page whose snapshot is gone says how to go on at the latest state. */
static void
expired_pages_go_on(void **state)
{
    struct api_fixture *f = *state;

    make_runs(f, 10);
    autofree char *gone = token(1);
    autofree char *path = xasprintf(RUNS "?limit=4&continue=%s", gone);
    api_ok(f, 410, "GET", path, NULL, NULL);
    assert_string_equal(api_text(f, "reason"), "Expired");
    autofree char *resumed = next_path(f);
    api_ok(f, 200, "DELETE", RUNS "/run05", NULL, NULL);
    api_ok(f, 200, "GET", resumed, NULL, NULL);
    assert_string_equal(api_text(f, "items.0.metadata.name"), "run04");
    assert_string_equal(api_text(f, "items.1.metadata.name"), "run06");
    assert_int_equal(api_int(f, "metadata.remainingItemCount"), 1);
    autofree char *last = next_path(f);
    api_ok(f, 200, "GET", last, NULL, NULL);
    assert_int_equal(n_items(f), 1);
    api_ok(f, 400, "GET", RUNS "?limit=4&continue=nonsense", NULL, NULL);
}

static void
revisions_are_honoured(void **state)
{
    struct api_fixture *f = *state;
    char path[256];

    make_runs(f, 2);
    api_ok(f, 200, "GET", RUNS "?resourceVersion=0", NULL, NULL);
    uint64_t now = strtoull(api_text(f, "metadata.resourceVersion"), NULL, 10);
    snprintf(path, sizeof(path), RUNS "?resourceVersion=%llu",
             (unsigned long long)now + 100);
    api_ok(f, 504, "GET", path, NULL, NULL);
    assert_string_equal(api_text(f, "details.causes.0.reason"),
                        "ResourceVersionTooLarge");
    snprintf(path, sizeof(path), RUNS "?resourceVersion=%llu&resourceVersionMatch=Exact",
             (unsigned long long)now);
    api_ok(f, 200, "GET", path, NULL, NULL);
    snprintf(path, sizeof(path), RUNS "?resourceVersion=%llu&resourceVersionMatch=Exact",
             (unsigned long long)now - 1);
    api_ok(f, 410, "GET", path, NULL, NULL);
    api_ok(f, 400, "GET", RUNS "?resourceVersion=abc", NULL, NULL);
    api_ok(f, 422, "GET", RUNS "?resourceVersionMatch=Exact", NULL, NULL);
    api_ok(f, 422, "GET", RUNS "?sendInitialEvents=true", NULL, NULL);
}

static void
tables_have_cells(void **state)
{
    struct api_fixture *f = *state;

    make_runs(f, 2);
    api_ok(f, 200, "PATCH", RUNS "/run00/status", MERGE,
           "{\"status\":{\"phase\":\"Failed\",\"exitCode\":3}}");
    f->accept = TABLE;
    api_ok(f, 200, "GET", RUNS, NULL, NULL);
    assert_string_equal(api_text(f, "kind"), "Table");
    assert_string_equal(api_text(f, "columnDefinitions.0.name"), "Name");
    assert_string_equal(api_text(f, "columnDefinitions.1.name"), "Phase");
    assert_int_equal(json_array_size(api_at(f, "rows")), 2);
    assert_string_equal(api_text(f, "rows.0.cells.0"), "run00");
    assert_string_equal(api_text(f, "rows.0.cells.1"), "Failed");
    assert_int_equal(api_int(f, "rows.0.cells.3"), 3);
    assert_true(json_is_null(api_at(f, "rows.1.cells.1")));
    assert_int_equal(json_array_size(api_at(f, "rows.0.cells")),
                     json_array_size(api_at(f, "columnDefinitions")));
    assert_string_equal(api_text(f, "rows.0.object.kind"), "PartialObjectMetadata");
    assert_string_equal(api_text(f, "rows.0.object.metadata.name"), "run00");
    api_ok(f, 200, "GET", RUNS "/run00?includeObject=Object", NULL, NULL);
    assert_string_equal(api_text(f, "rows.0.object.spec.type"), "task");
    /* A definition's column is a time, not an age, as of a Kubernetes API server. */
    api_ok(f, 200, "GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", NULL,
           NULL);
    assert_string_equal(api_text(f, "columnDefinitions.1.name"), "Created At");
    assert_string_equal(api_text(f, "rows.0.cells.1"),
                        api_text(f, "rows.0.object.metadata.creationTimestamp"));
    api_ok(f, 200, "GET", RUNS "?includeObject=None", NULL, NULL);
    assert_null(api_at(f, "rows.0.object"));
    api_ok(f, 400, "GET", RUNS "?includeObject=Some", NULL, NULL);
    f->accept = "application/json;as=Table;v=v9;g=meta.k8s.io";
    api_ok(f, 406, "GET", RUNS, NULL, NULL);
}

static void
metadata_lists(void **state)
{
    struct api_fixture *f = *state;

    make_runs(f, 2);
    f->accept = PARTIAL;
    api_ok(f, 200, "GET", RUNS, NULL, NULL);
    assert_string_equal(api_text(f, "kind"), "PartialObjectMetadataList");
    assert_int_equal(n_items(f), 2);
    assert_string_equal(api_text(f, "items.1.metadata.name"), "run01");
    assert_null(api_at(f, "items.1.spec"));
}

static void
timeouts_are_durations(void **state)
{
    static const char *const bad[] = {"x", "5", "1p", "-", "3s4", "s", ".", ".s"};
    static const char *const good[] = {"", "0", "1s", "1m30s", "1.5h", "200ms"};
    struct api_fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        autofree char *path = xasprintf("/api/v1/configmaps?timeout=%s", bad[i]);
        api_ok(f, 400, "GET", path, NULL, NULL);
    }
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        autofree char *path = xasprintf("/api/v1/configmaps?timeout=%s", good[i]);
        api_ok(f, 200, "GET", path, NULL, NULL);
    }
}

int
main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, api_setup, api_teardown)
    const struct CMUnitTest tests[] = {
        CASE(timeouts_are_durations), CASE(lists_are_ordered_and_complete),
        CASE(selectors_choose),       CASE(pages_show_one_state),
        CASE(expired_pages_go_on),    CASE(revisions_are_honoured),
        CASE(tables_have_cells),      CASE(metadata_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
