/* SPDX-License-Identifier: Apache-2.0 */
/* From a Run to its Job: arguments, environment, limits, names. */
#include "controllers/run/run_derive.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"

static struct object *
run_of(const char *spec)
{
    autofree char *json = xasprintf(
        "{\"apiVersion\":\"drover.dev/v1\",\"kind\":\"Run\",\"metadata\":{\"name\":\"r\","
        "\"namespace\":\"ns\",\"uid\":\"u\",\"resourceVersion\":\"3\","
        "\"creationTimestamp\":\"2026-01-01T00:00:00Z\"},\"spec\":%s}",
        spec);
    struct object *o = NULL;
    struct error e = ERROR_INIT;

    if (object_from_json(NULL, json, strlen(json), &o, &e) < 0)
        fail_msg("%s", e.msg);
    return o;
}

/* The Job of the spec, its attempt and age as given; the caller decrefs. */
static json_t *
derive(const char *spec, int64_t attempt, int64_t age_s)
{
    auto_object *o = run_of(spec);
    struct run_view v;
    struct error e = ERROR_INIT;
    json_t *job = NULL;

    if (run_view_read(o, &v, &e) < 0 ||
        run_derive_job(&v, &(struct job_new){0, 0, attempt},
                       v.created_ns + age_s * 1000000000, &job, &e) < 0)
        fail_msg("%s", e.msg);
    return job;
}

static void
argv_is(const char *spec, const char *expected)
{
    json_t *job = derive(spec, 0, 0);
    autofree char *argv =
        json_dumps(json_object_get(json_object_get(job, "spec"), "argv"), JSON_COMPACT);

    assert_string_equal(argv, expected);
    json_decref(job);
}

static void
arguments(void **state)
{
    UNUSED(state);
    argv_is("{\"commands\":[\"echo a\",\"echo b\"]}",
            "[\"/bin/sh\",\"-c\",\"echo a && echo b\"]");
    argv_is("{\"commands\":[\"server &\",\"  client\\n\"],\"shell\":\"bash\"}",
            "[\"/bin/bash\",\"-c\",\"{ server & } && client\"]");
    argv_is("{\"commands\":[\"true &&\",\"\",\"x\"],\"shell\":\"/bin/zsh\"}",
            "[\"/bin/zsh\",\"-c\",\"true && && x\"]");
    argv_is("{\"entrypoint\":\"python3 -m 'my app'\",\"commands\":[\"--a b\",\"c\"]}",
            "[\"python3\",\"-m\",\"my app\",\"--a b\",\"c\"]");
    argv_is("{\"image\":\"alpine\"}", "[]");
}

static void
refused(void **state)
{
    static const struct {
        const char *spec, *words;
    } cases[] = {
        {"{}", "spec.commands"},
        {"{\"entrypoint\":\"a 'b\"}", "spec.entrypoint"},
        {"{\"commands\":[\"x\"],\"stopDuration\":\"soon\"}", "spec.stopDuration"},
        {"{\"commands\":[\"x\"],\"resources\":{\"gpu\":1},\"utilizationPolicy\":"
         "{\"minGpuUtilization\":7,\"timeWindow\":\"4m\"}}",
         "spec.utilizationPolicy: must be 5m"},
    };

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        auto_object *o = run_of(cases[i].spec);
        struct run_view v;
        struct error e = ERROR_INIT;
        json_t *job = NULL;
        assert_int_equal(run_view_read(o, &v, &e), 0);
        assert_true(run_derive_job(&v, &(struct job_new){0}, 0, &job, &e) < 0);
        assert_non_null(strstr(e.msg, cases[i].words));
    }
    auto_object *o = run_of("{\"maxDuration\":\"long\"}");
    struct run_view v;
    struct error e = ERROR_INIT;
    assert_true(run_view_read(o, &v, &e) < 0);
    assert_non_null(strstr(e.msg, "spec.maxDuration"));
}

static const char *
text(const json_t *o, const char *a, const char *b)
{
    return json_string_value(json_object_get(json_object_get(o, a), b));
}

static void
policies(void **state)
{
#define POLICY "\"utilizationPolicy\":{\"minGpuUtilization\":7,\"timeWindow\":\"10m\"}"
    json_t *job =
        derive("{\"commands\":[\"x\"],\"resources\":{\"gpu\":1}," POLICY "}", 0, 0);
    const json_t *policy =
        json_object_get(json_object_get(job, "spec"), "utilizationPolicy");

    UNUSED(state);
    assert_int_equal(json_integer_value(json_object_get(policy, "minGpuUtilization")), 7);
    assert_int_equal(json_integer_value(json_object_get(policy, "timeWindowSeconds")),
                     600);
    json_decref(job);
    /* A profile's, on a job without GPUs. */
    job = derive("{\"commands\":[\"x\"]," POLICY "}", 0, 0);
    assert_null(json_object_get(json_object_get(job, "spec"), "utilizationPolicy"));
    json_decref(job);
}

static void
environment(void **state)
{
    json_t *job = derive("{\"commands\":[\"x\"],\"rootfs\":{\"path\":\"/srv\"},"
                         "\"env\":{\"A\":\"1\",\"N\":7,"
                         "\"DSTACK_NODES_NUM\":\"9\"}}",
                         0, 0);
    const json_t *spec = json_object_get(job, "spec");

    UNUSED(state);
    assert_string_equal(text(spec, "rootfs", "path"), "/srv");
    assert_string_equal(text(spec, "env", "A"), "1");
    assert_string_equal(text(spec, "env", "N"), "7");
    assert_string_equal(text(spec, "env", "DROVER_RUN_NAME"), "r");
    assert_string_equal(text(spec, "env", "DSTACK_RUN_ID"), "u");
    assert_string_equal(text(spec, "env", "DSTACK_NODES_NUM"), "9"); /* users win */
    json_decref(job);
}

static void
stop_durations(void **state)
{
    static const struct {
        const char *given;
        int seconds;
    } cases[] = {{"\"90s\"", 90}, {"\"off\"", 24 * 86400}, {"\"100d\"", 24 * 86400}};

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        autofree char *spec =
            xasprintf("{\"commands\":[\"x\"],\"stopDuration\":%s}", cases[i].given);
        json_t *job = derive(spec, 0, 0);
        assert_int_equal(json_integer_value(json_object_get(json_object_get(job, "spec"),
                                                            "stopDurationSeconds")),
                         cases[i].seconds);
        json_decref(job);
    }
}

static void
the_rest(void **state)
{
    json_t *job = derive("{\"image\":\"i\",\"user\":\"1\",\"workingDir\":\"/w\","
                         "\"tty\":true,\"ttySize\":{\"rows\":9},\"priority\":5,"
                         "\"fleets\":[\"f\"],\"resources\":{\"cpu\":2},"
                         "\"maxDuration\":\"1h\",\"stopDuration\":7,"
                         "\"retry\":{\"onEvents\":[\"interruption\"]}}",
                         3, 0);
    const json_t *spec = json_object_get(job, "spec");
    const json_t *meta = json_object_get(job, "metadata");
    const json_t *owner = json_array_get(json_object_get(meta, "ownerReferences"), 0);

    UNUSED(state);
    assert_string_equal(text(job, "metadata", "name"), "r-0-0-3");
    assert_string_equal(text(job, "metadata", "namespace"), "ns");
    assert_string_equal(text(meta, "labels", "drover.dev/run-uid"), "u");
    assert_string_equal(json_string_value(json_object_get(owner, "uid")), "u");
    assert_true(json_is_true(json_object_get(owner, "controller")));
    assert_string_equal(
        json_string_value(json_array_get(json_object_get(meta, "finalizers"), 0)),
        "drover.dev/agent");
    assert_int_equal(json_integer_value(json_object_get(spec, "attempt")), 3);
    assert_int_equal(json_integer_value(json_object_get(spec, "priority")), 5);
    assert_int_equal(json_integer_value(json_object_get(spec, "maxDurationSeconds")),
                     3600);
    assert_int_equal(json_integer_value(json_object_get(spec, "stopDurationSeconds")), 7);
    assert_true(json_is_true(json_object_get(spec, "interruptible")));
    assert_true(json_is_true(json_object_get(spec, "tty")));
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(spec, "ttySize"), "rows")), 9);
    assert_true(json_is_true(json_object_get(spec, "released")));
    assert_string_equal(text(job, "spec", "image"), "i");
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(spec, "resources"), "cpu")),
        2);
    json_decref(job);
}

/* The place in the queue: now for what has just been submitted, the submission for a
 * backlog and for later attempts. */
static void
queued_at(void **state)
{
    static const struct {
        int64_t attempt, age_s;
        const char *queued;
    } cases[] = {
        {0, 1, "2026-01-01T00:00:01.000000Z"},
        {0, 600, "2026-01-01T00:00:00.000000Z"},
        {1, 1, "2026-01-01T00:00:00.000000Z"},
    };

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        json_t *job = derive("{\"commands\":[\"x\"]}", cases[i].attempt, cases[i].age_s);
        assert_string_equal(text(job, "spec", "queuedAt"), cases[i].queued);
        json_decref(job);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arguments),      cmocka_unit_test(refused),
        cmocka_unit_test(policies),       cmocka_unit_test(environment),
        cmocka_unit_test(stop_durations), cmocka_unit_test(the_rest),
        cmocka_unit_test(queued_at),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
