/* SPDX-License-Identifier: Apache-2.0 */
/* ResourceQuota by object count. */
#include "integration/api_fixture.h"

#include <stdio.h>
#include <stdlib.h>

#define QUOTAS "/api/v1/namespaces/default/resourcequotas"
#define MAPS "/api/v1/namespaces/default/configmaps"

static void
quota(struct api_fixture *f, const char *hard)
{
    autofree char *body =
        xasprintf("{\"metadata\":{\"name\":\"q\"},\"spec\":{\"hard\":{%s}}}", hard);

    api_ok(f, 201, "POST", QUOTAS, NULL, body);
    api_settle(f, 10);
}

static int
create(struct api_fixture *f, const char *path, const char *name)
{
    autofree char *body = xasprintf("{\"metadata\":{\"name\":\"%s\"}}", name);

    return api_do(f, "POST", path, NULL, body);
}

static void
used_is(struct api_fixture *f, const char *key, const char *want)
{
    api_settle(f, 10);
    api_ok(f, 200, "GET", QUOTAS "/q", NULL, NULL);
    json_t *used = json_object_get(json_object_get(f->json, "status"), "used");
    assert_string_equal(json_string_value(json_object_get(used, key)), want);
}

static void
the_last_place(void **state)
{
    struct api_fixture *f = *state;

    assert_int_equal(create(f, MAPS, "a"), 201);
    quota(f, "\"configmaps\":\"3\",\"count/runs.drover.dev\":1");
    used_is(f, "configmaps", "1");
    assert_int_equal(create(f, MAPS, "b"), 201);
    assert_int_equal(create(f, MAPS, "c"), 201);
    assert_int_equal(create(f, MAPS, "d"), 403);
    assert_string_equal(api_text(f, "message"),
                        "configmaps \"d\" is forbidden: exceeded quota: q, requested: "
                        "configmaps=1, used: configmaps=3, limited: configmaps=3");
    assert_string_equal(api_text(f, "reason"), "Forbidden");
    used_is(f, "configmaps", "3");
    api_ok(f, 200, "PATCH", MAPS "/c", MERGE, "{\"data\":{\"a\":\"b\"}}");
    api_ok(f, 200, "DELETE", MAPS "/c", NULL, NULL);
    used_is(f, "configmaps", "2");
    assert_int_equal(create(f, MAPS, "d"), 201);
    api_ok(f, 201, "POST", RUNS, NULL, api_run("one", ""));
    api_ok(f, 403, "POST", RUNS, NULL, api_run("two", ""));
    assert_int_equal(
        api_do(f, "PATCH", RUNS "/two?fieldManager=x", APPLY, api_run("two", "")), 403);
    assert_int_equal(api_do(f, "POST", RUNS "?dryRun=All", NULL, api_run("two", "")),
                     403);
    used_is(f, "count/runs.drover.dev", "1");
    api_ok(f, 200, "PATCH", QUOTAS "/q", MERGE,
           "{\"spec\":{\"hard\":{\"count/runs.drover.dev\":\"2\"}}}");
    api_settle(f, 10);
    api_ok(f, 201, "POST", RUNS, NULL, api_run("two", ""));
    api_ok(f, 200, "DELETE", QUOTAS "/q", NULL, NULL);
    api_ok(f, 201, "POST", RUNS, NULL, api_run("three", ""));
}

/* A dry run and a refused create take no place. */
static void
what_is_not_made_is_not_counted(void **state)
{
    struct api_fixture *f = *state;

    quota(f, "\"configmaps\":\"2\"");
    assert_int_equal(create(f, MAPS "?dryRun=All", "a"), 201);
    assert_int_equal(create(f, MAPS, "UPPER"), 422);
    assert_int_equal(create(f, MAPS, "a"), 201);
    assert_int_equal(create(f, MAPS, "a"), 409);
    used_is(f, "configmaps", "1");
}

struct racer {
    int status;
    bool done;
};

static void
on_written(void *arg, const struct write_result *r)
{
    struct racer *x = arg;

    x->done = true;
    x->status = r->obj != NULL ? 201 : r->problem->e.code == ERR_FORBIDDEN ? 403 : 500;
}

/* All are on their way before one of them is durable. */
static void
concurrent_creates_never_exceed(void **state)
{
    struct api_fixture *f = *state;
    struct racer racers[40] = {0};
    int won = 0;

    quota(f, "\"configmaps\":\"7\",\"count/configmaps\":\"9\"");
    for (size_t i = 0; i < ARRAY_LEN(racers); i++) {
        char body[128];
        snprintf(body, sizeof(body), "{\"metadata\":{\"name\":\"c%zu\"}}", i);
        struct write_req w = {.kind = kinds_by_resource(f->kinds, "configmaps"),
                              .type = WRITE_CREATE,
                              .ns = "default",
                              .name = "",
                              .sub = "",
                              .body = span_of(body)};
        registry_write(f->server, &w, on_written, &racers[i]);
    }
    api_settle(f, 50);
    for (size_t i = 0; i < ARRAY_LEN(racers); i++) {
        assert_true(racers[i].done);
        assert_int_not_equal(racers[i].status, 500);
        won += racers[i].status == 201;
    }
    assert_int_equal(won, 7);
    used_is(f, "configmaps", "7");
    used_is(f, "count/configmaps", "7");
}

static void
out_of_bounds(void **state)
{
    struct api_fixture *f = *state;
    static const char *const bad[] = {"\"cpu\":\"1\"",
                                      "\"pods\":1",
                                      "\"configmaps\":\"-1\"",
                                      "\"configmaps\":\"x\"",
                                      "\"configmaps\":\"1500m\"",
                                      "\"configmaps\":true"};

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        autofree char *body =
            xasprintf("{\"metadata\":{\"name\":\"q\"},\"spec\":{\"hard\":{%s}}}", bad[i]);
        api_ok(f, 422, "POST", QUOTAS, NULL, body);
    }
    api_ok(f, 422, "POST", QUOTAS, NULL,
           "{\"metadata\":{\"name\":\"q\"},\"spec\":{\"hard\":{\"configmaps\":1},"
           "\"scopes\":[\"BestEffort\"]}}");
    assert_string_equal(api_text(f, "message"),
                        "ResourceQuota \"q\" is invalid: spec.scopes: Invalid value: "
                        "[\"BestEffort\"]: unsupported scope applied to resource");
    api_ok(f, 422, "POST", QUOTAS, NULL,
           "{\"metadata\":{\"name\":\"q\"},\"spec\":{\"scopes\":[\"Some\"]}}");
    assert_string_equal(api_text(f, "details.causes.0.message"),
                        "Invalid value: [\"Some\"]: unsupported scope");
    api_ok(f, 422, "POST", QUOTAS, NULL,
           "{\"metadata\":{\"name\":\"q\"},\"spec\":{\"scopeSelector\":{"
           "\"matchExpressions\":[{\"scopeName\":\"PriorityClass\"}]}}}");
    api_ok(f, 200, "GET", "/api/v1/services", NULL, NULL);
    assert_int_equal(json_array_size(api_at(f, "items")), 0);
    api_ok(f, 405, "POST", "/api/v1/namespaces/default/services", NULL,
           "{\"metadata\":{\"name\":\"s\"}}");
}

int
main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, api_setup, api_teardown)
    const struct CMUnitTest tests[] = {
        CASE(the_last_place),
        CASE(what_is_not_made_is_not_counted),
        CASE(concurrent_creates_never_exceed),
        CASE(out_of_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
