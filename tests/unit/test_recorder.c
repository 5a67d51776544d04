/* SPDX-License-Identifier: Apache-2.0 */
/* Events: one object per thing said, counts for repetitions, bounds, foreign bytes. */
#include "control/recorder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "tests/unit/fake_api.h"

#define EVENTS "/api/v1/namespaces/default/events"

struct world {
    struct fake_api *api;
    struct client *client;
    struct async_client *async;
    struct recorder *r;
    struct object *run;
};

static int64_t
wall(void)
{
    return INT64_C(1700000000000000000);
}

static void
init(struct world *w)
{
    static const char run[] =
        "{\"apiVersion\":\"drover.dev/v1\",\"kind\":\"Run\",\"metadata\":{\"name\":\"r\","
        "\"namespace\":\"default\",\"uid\":\"u\",\"resourceVersion\":\"3\"},\"spec\":{}}";
    struct error e = ERROR_INIT;

    w->api = fake_api_new();
    w->client = fake_api_client(w->api);
    w->async = async_local_new(w->client);
    struct recorder_opts o = {
        .async = w->async, .wall_ns = wall, .component = "test", .instance = "host"};
    w->r = recorder_new(&o);
    assert_int_equal(object_from_json(NULL, run, strlen(run), &w->run, &e), 0);
}

static void
done(struct world *w)
{
    async_free(w->async);
    recorder_free(w->r);
    object_unref(w->run);
    client_free(w->client);
    fake_api_free(w->api);
}

static void
settle(struct world *w)
{
    while (recorder_step(w->r) || async_step(w->async))
        ;
}

static void
repetitions_count(void **state)
{
    struct world w;

    UNUSED(state);
    init(&w);
    for (int i = 0; i < 3; i++)
        recorder_event(w.r, &resource_runs, w.run, RECORDER_WARNING, "Bad", "x %d", 1);
    recorder_event(w.r, &resource_runs, w.run, RECORDER_WARNING, "Bad", "x %d", 2);
    settle(&w);
    recorder_event(w.r, &resource_runs, w.run, RECORDER_WARNING, "Bad", "x %d", 1);
    settle(&w);
    assert_int_equal(fake_api_count(w.api, "POST", EVENTS), 2);
    assert_int_equal(fake_api_count(w.api, "PATCH", EVENTS), 1);
    autofree char *path = xasprintf(EVENTS "/r.%016llx", (unsigned long long)wall());
    json_t *ev = fake_api_get(w.api, path);
    assert_int_equal(json_integer_value(json_object_get(ev, "count")), 4);
    assert_string_equal(json_string_value(json_object_get(ev, "type")), "Warning");
    const json_t *about = json_object_get(ev, "involvedObject");
    assert_string_equal(json_string_value(json_object_get(about, "uid")), "u");
    assert_string_equal(json_string_value(json_object_get(about, "apiVersion")),
                        "drover.dev/v1");
    json_decref(ev);
    done(&w);
}

/* The server forgot the Event (they expire): it is made anew. */
static void
expired_events(void **state)
{
    struct world w;
    struct error e = ERROR_INIT;

    UNUSED(state);
    init(&w);
    recorder_event(w.r, &resource_runs, w.run, RECORDER_NORMAL, "Good", "x");
    settle(&w);
    autofree char *name = xasprintf("r.%016llx", (unsigned long long)wall());
    assert_int_equal(
        client_delete(w.client, &resource_events, "default", name, NULL, NULL, &e), 0);
    recorder_event(w.r, &resource_runs, w.run, RECORDER_NORMAL, "Good", "x");
    settle(&w);
    assert_int_equal(fake_api_count(w.api, "POST", EVENTS), 2);
    done(&w);
}

static void
foreign_bytes_and_bounds(void **state)
{
    struct world w;

    UNUSED(state);
    init(&w);
    recorder_event(w.r, &resource_runs, w.run, RECORDER_NORMAL, "Good", "\xff\xfe x");
    recorder_event(w.r, &resource_runs, w.run, RECORDER_NORMAL, "Good", "%05000d", 1);
    settle(&w);
    assert_int_equal(fake_api_count(w.api, "POST", EVENTS), 2);
    for (int i = 0; i < 5000; i++)
        recorder_event(w.r, &resource_runs, w.run, RECORDER_NORMAL, "Good", "%d", i);
    assert_true(recorder_dropped(w.r) > 0);
    for (int round = 0; round < 3; round++) { /* more Events than are remembered */
        for (int i = 0; i < 2000; i++)
            recorder_event(w.r, &resource_runs, w.run, RECORDER_NORMAL, "Many", "%d.%d",
                           round, i);
        settle(&w);
    }
    recorder_event(w.r, &resource_runs, w.run, RECORDER_NORMAL, "Good", "left over");
    recorder_step(w.r); /* in flight at the end */
    done(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(repetitions_count),
        cmocka_unit_test(expired_events),
        cmocka_unit_test(foreign_bytes_and_bounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
