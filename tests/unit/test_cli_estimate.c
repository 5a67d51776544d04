/* SPDX-License-Identifier: Apache-2.0 */
/* When waiting jobs are expected to start: exact times, and why one is not known. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "cli/estimate.h"

#define NOW_NS INT64_C(1767225600000000000) /* 2026-01-01T00:00:00Z */

struct site {
    json_t *jobs, *machines; /* lists */
};

static void
open_site(struct site *s)
{
    s->jobs = json_pack("{s:[]}", "items");
    s->machines = json_pack("{s:[]}", "items");
}

static void
close_site(struct site *s)
{
    json_decref(s->jobs);
    json_decref(s->machines);
}

static json_t *
parsed(const char *text)
{
    json_error_t e;
    json_t *o = json_loads(text, 0, &e);

    if (o == NULL)
        fail_msg("%s in %s", e.text, text);
    return o;
}

static void
machine(struct site *s, const char *name, const char *fleet, int cpus, int gpus)
{
    json_t *list = json_array();

    for (int i = 0; i < gpus; i++) {
        autofree char *uuid = xasprintf("%s-%d", name, i);
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:i, s:b}", "uuid", uuid,
                                              "vendor", "nvidia", "name", "A100",
                                              "memoryMiB", 81920, "healthy", 1));
    }
    json_t *o = json_pack(
        "{s:s, s:s, s:{s:s, s:s, s:s}, s:{s:s}, s:{s:s, s:{s:[{s:s, s:b}], s:{s:s, s:i, "
        "s:i, s:i, s:o}}}}",
        "apiVersion", "drover.dev/v1", "kind", "Instance", "metadata", "name", name,
        "uid", name, "namespace", "default", "spec", "fleetName", fleet, "status",
        "phase", "Ready", "agent", "engines", "name", "process", "available", 1,
        "inventory", "arch", "x86_64", "cpus", cpus, "memoryMiB", 65536, "diskMiB",
        100000, "gpus", list);
    json_array_append_new(json_object_get(s->machines, "items"), o);
}

/* The spec as JSON; jobs wait in the order in which they are added. */
static json_t *
job(struct site *s, const char *name, const char *spec)
{
    json_t *items = json_object_get(s->jobs, "items");
    autofree char *at =
        xasprintf("2025-12-31T00:00:%02zu.000000Z", json_array_size(items));
    json_t *given = parsed(spec);

    json_object_set_new(given, "queuedAt", json_string(at));
    json_array_append_new(items, json_pack("{s:{s:s, s:s, s:s}, s:o, s:{}}", "metadata",
                                           "name", name, "uid", name, "namespace",
                                           "default", "spec", given, "status"));
    return json_array_get(items, json_array_size(items) - 1);
}

/* It runs since the time that the clock shows. seconds: maxDuration, 0: none. */
static void
runs(struct site *s, const char *name, const char *on, int cpus, int seconds)
{
    autofree char *spec =
        xasprintf("{\"instanceUID\":\"%s\",\"boundAt\":\"2026-01-01T00:00:00Z\","
                  "\"maxDurationSeconds\":%d,\"reservation\":{\"cpuMilli\":%d}}",
                  on, seconds, cpus * 1000);

    job(s, name, spec);
}

/* when: "00:10" of the day, or why not. */
static void
starts(const struct site *s, const char *name, const char *when)
{
    struct estimates *all = estimates_make(s->jobs, s->machines, NOW_NS);
    char at[CLOCK_RFC3339_LEN] = "";
    size_t i;
    const json_t *j;
    const struct estimate *x = NULL;

    json_array_foreach (json_object_get(s->jobs, "items"), i, j) {
        const json_t *meta = json_object_get(j, "metadata");
        if (streq(json_string_value(json_object_get(meta, "name")), name))
            x = estimates_of(all, j);
    }
    assert_non_null(x);
    if (x->start_ns > 0) {
        clock_format(x->start_ns, at);
        at[16] = '\0';
    }
    const char *found = x->start_ns > 0 ? at + 11 : x->why;
    if (!streq(found, when))
        fail_msg("%s: \"%s\", not \"%s\"", name, found, when);
    estimates_free(all);
}

#define CPU4 "\"resources\":{\"cpu\":4}"
#define CPU2 "\"resources\":{\"cpu\":2}"

static void
one_after_the_other(void **state)
{
    struct site s;

    UNUSED(state);
    open_site(&s);
    machine(&s, "m", "local", 4, 0);
    runs(&s, "a", "m", 4, 600);
    job(&s, "b", "{" CPU4 ",\"maxDurationSeconds\":240,\"stopDurationSeconds\":60}");
    job(&s, "c", "{" CPU4 "}");
    job(&s, "d", "{" CPU4 "}");
    job(&s, "e", "{\"resources\":{\"cpu\":5}}");
    starts(&s, "b", "00:10");
    starts(&s, "c", "00:15");
    starts(&s, "d", "job c, which is ahead of it, has no maxDuration");
    starts(&s, "e", "no usable machine is large enough, or there are too few of them");
    /* Priority first, then age. */
    job(&s, "vip", "{" CPU4 ",\"priority\":9,\"maxDurationSeconds\":1200}");
    starts(&s, "vip", "00:10");
    starts(&s, "b", "00:30");
    /* Another machine takes the next. */
    machine(&s, "n", "local", 4, 0);
    starts(&s, "vip", "00:00");
    starts(&s, "b", "00:10");
    starts(&s, "c", "00:15");
    starts(&s, "d", "00:20");
    close_site(&s);
}

static void
shorter_ones_pass(void **state)
{
    struct site s;

    UNUSED(state);
    open_site(&s);
    machine(&s, "m", "local", 4, 0);
    runs(&s, "a", "m", 2, 600);
    job(&s, "b", "{" CPU4 ",\"maxDurationSeconds\":300}");
    job(&s, "fits", "{" CPU2 ",\"maxDurationSeconds\":600}");
    job(&s, "late", "{" CPU2 ",\"maxDurationSeconds\":601}");
    starts(&s, "b", "00:10");
    starts(&s, "fits", "00:00");
    starts(&s, "late", "00:15");
    close_site(&s);
}

static void
what_is_not_known(void **state)
{
    struct site s;

    UNUSED(state);
    open_site(&s);
    machine(&s, "m", "local", 4, 0);
    runs(&s, "a", "m", 2, 0);
    job(&s, "b", "{" CPU4 "}");
    job(&s, "short", "{" CPU2 ",\"maxDurationSeconds\":60}");
    job(&s, "endless", "{" CPU2 "}");
    json_t *held = job(&s, "held", "{" CPU2 ",\"maxDurationSeconds\":60}");
    json_object_set_new(json_object_get(held, "status"), "conditions",
                        parsed("[{\"type\":\"Scheduled\",\"status\":\"False\","
                               "\"reason\":\"QuotaExceeded\"}]"));
    starts(&s, "b", "job a, which runs, has no maxDuration");
    starts(&s, "short", "00:00");
    /* b may start at any time, and it would be in its way. */
    starts(&s, "endless", "job a, which runs, has no maxDuration");
    starts(&s, "held", "a quota decides");
    machine(&s, "n", "local", 1, 0);
    job(&s, "lone", "{\"resources\":{\"cpu\":1},\"nodes\":2,\"runUID\":\"l\"}");
    starts(&s, "lone", "it waits for its other nodes");
    close_site(&s);
    open_site(&s);
    machine(&s, "m", "local", 4, 0);
    job(&s, "old",
        "{\"instanceUID\":\"m\",\"boundAt\":\"2025-12-31T00:00:00Z\","
        "\"maxDurationSeconds\":60,\"reservation\":{\"cpuMilli\":4000}}");
    job(&s, "b", "{" CPU4 "}");
    starts(&s, "b", "job old, which runs, is past its maxDuration");
    close_site(&s);
}

/* All at once, on machines of one fleet; and devices by name. */
static void
nodes_and_devices(void **state)
{
    struct site s;

    UNUSED(state);
    open_site(&s);
    machine(&s, "m0", "a", 4, 0);
    machine(&s, "m1", "a", 4, 2);
    machine(&s, "m2", "b", 4, 0);
    runs(&s, "x", "m0", 4, 600);
    runs(&s, "y", "m1", 4, 1200);
    job(&s, "g0", "{" CPU2 ",\"nodes\":2,\"runUID\":\"g\",\"maxDurationSeconds\":60}");
    job(&s, "g1", "{" CPU4 ",\"nodes\":2,\"runUID\":\"g\",\"maxDurationSeconds\":60}");
    job(&s, "next", "{" CPU4 ",\"fleets\":[\"a\"],\"maxDurationSeconds\":660}");
    starts(&s, "g0", "00:20");
    starts(&s, "g1", "00:20");
    starts(&s, "next", "00:21"); /* not before: it would not be over in time */
    close_site(&s);
    open_site(&s);
    machine(&s, "m", "a", 8, 2);
    job(&s, "x",
        "{\"instanceUID\":\"m\",\"boundAt\":\"2026-01-01T00:00:00Z\","
        "\"maxDurationSeconds\":600,\"reservation\":{\"gpus\":[\"m-1\"]}}");
    job(&s, "two", "{\"resources\":{\"cpu\":1,\"gpu\":2},\"maxDurationSeconds\":60}");
    job(&s, "one", "{\"resources\":{\"cpu\":1,\"gpu\":1},\"maxDurationSeconds\":60}");
    starts(&s, "two", "00:10");
    starts(&s, "one", "00:00");
    close_site(&s);
}

/* Five rounds of twenty machines. */
static void
a_long_queue(void **state)
{
    struct site s;

    UNUSED(state);
    open_site(&s);
    for (int i = 0; i < 20; i++) {
        autofree char *name = xasprintf("m%d", i);
        machine(&s, name, "a", 4, 0);
    }
    for (int i = 0; i < 100; i++) {
        autofree char *name = xasprintf("j%d", i);
        job(&s, name, "{" CPU4 ",\"priority\":1,\"maxDurationSeconds\":60}");
    }
    job(&s, "last", "{" CPU4 "}");
    starts(&s, "last", "00:05");
    close_site(&s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_after_the_other), cmocka_unit_test(shorter_ones_pass),
        cmocka_unit_test(what_is_not_known),   cmocka_unit_test(nodes_and_devices),
        cmocka_unit_test(a_long_queue),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
