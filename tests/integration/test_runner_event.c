/* SPDX-License-Identifier: Apache-2.0 */
/* Events that an agent posts: their form, what is said of a pull and of an end, bounds.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "integration/runner_fake_api.h"
#include "runner/event.h"
#include "runner/job.h"

#define WAIT_MS 30000

struct world {
    struct loop *loop;
    struct http_multi *http;
    struct fake_api api;
    struct agent agent;
    struct job job;
    char ns[8], name[4], uid[40];
};

static int
setup(void **state)
{
    struct error e = ERROR_INIT;
    struct world *w = xnew(struct world);
    assert_int_equal(loop_new(&w->loop, &e), 0);
    assert_int_equal(http_multi_new(w->loop, &w->http, &e), 0);
    fake_api_start(&w->api, w->loop);
    snprintf(w->ns, sizeof(w->ns), "default");
    snprintf(w->name, sizeof(w->name), "m1");
    snprintf(w->uid, sizeof(w->uid), "%s", FAKE_INSTANCE_UID);
    w->agent = (struct agent){.loop = w->loop,
                              .server = server_new(w->loop, w->http),
                              .identity = {.ns = w->ns, .name = w->name, .uid = w->uid}};
    server_set(w->agent.server, w->api.url, NULL, "token");
    w->agent.events = events_new(&w->agent);
    w->job.a = &w->agent;
    snprintf(w->job.view.name, sizeof(w->job.view.name), "%s", w->name);
    snprintf(w->job.uid, sizeof(w->job.uid), "%s", w->uid);
    *state = w;
    return 0;
}

static int
teardown(void **state)
{
    struct world *w = *state;
    events_free(w->agent.events);
    server_free(w->agent.server);
    fake_api_stop(&w->api);
    http_multi_free(w->http);
    loop_free(w->loop);
    free(w);
    return 0;
}

static void
wait_posted(struct world *w, size_t n)
{
    int64_t until = clock_now_ms() + WAIT_MS;
    while (json_array_size(w->api.posted) < n) {
        if (clock_now_ms() > until)
            fail_msg("%zu of %zu events came", json_array_size(w->api.posted), n);
        loop_turn(w->loop, 100);
    }
}

static const char *
text(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s != NULL ? s : "";
}

static void
form(void **state)
{
    struct world *w = *state;
    event_say(&w->job, true, "OutOfMemory", "killed by the %s limit", "memory");
    wait_posted(w, 1);
    const json_t *o = json_array_get(w->api.posted, 0);
    const json_t *about = json_object_get(o, "involvedObject");
    const json_t *meta = json_object_get(o, "metadata");
    assert_string_equal(text(o, "kind"), "Event");
    assert_string_equal(text(o, "type"), "Warning");
    assert_string_equal(text(o, "reason"), "OutOfMemory");
    assert_string_equal(text(o, "message"), "killed by the memory limit");
    assert_string_equal(text(o, "reportingComponent"), "drover-runner");
    assert_string_equal(text(meta, "namespace"), "default");
    assert_true(strncmp(text(meta, "name"), "m1.", 3) == 0);
    assert_string_equal(text(about, "apiVersion"), "drover.dev/v1");
    assert_string_equal(text(about, "kind"), "Job");
    assert_string_equal(text(about, "uid"), FAKE_INSTANCE_UID);
    event_say(&w->job, false, "Pulled", "bytes that are no text: \xff");
    wait_posted(w, 2);
    o = json_array_get(w->api.posted, 1);
    assert_string_equal(text(o, "type"), "Normal");
    assert_string_equal(text(o, "message"), "(the message is not UTF-8)");
}

static bool
posted(const struct world *w, const char *message)
{
    size_t i;
    const json_t *o;
    json_array_foreach (w->api.posted, i, o) {
        if (streq(text(o, "message"), message))
            return true;
    }
    return false;
}

/* A burst is cut, a server that refuses is not asked again, and later ones go. */
static void
bounds(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < 100; i++)
        event_say(&w->job, false, "Pulling", "image %d", i);
    wait_posted(w, 8);
    assert_int_equal(json_array_size(w->api.posted), 8);
    w->api.fail = 1;
    int64_t until = clock_now_ms() + WAIT_MS;
    while (w->api.fail > 0 && clock_now_ms() < until) {
        event_say(&w->job, false, "Pulling", "refused");
        loop_turn(w->loop, 100);
    }
    assert_int_equal(w->api.fail, 0);
    while (!posted(w, "last") && clock_now_ms() < until) {
        event_say(&w->job, false, "Pulling", "last");
        loop_turn(w->loop, 100);
    }
    assert_true(posted(w, "last"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(form, setup, teardown),
        cmocka_unit_test_setup_teardown(bounds, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
