/* SPDX-License-Identifier: Apache-2.0 */
/* watch: what comes, in which order, what starts and ends it. */
#include "integration/api_fixture.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"

struct watcher {
    struct api_fixture *f;
    struct local_watch *w;
    unsigned wakes;
    json_t *event; /* the last one */
};

static void
on_wake(void *arg)
{
    struct watcher *w = arg;

    w->wakes++;
}

static int
try_open(struct api_fixture *f, struct watcher *w, const char *path, struct error *e)
{
    *w = (struct watcher){.f = f};
    return local_watch_open(f->server, f->admin, path, on_wake, w, &w->w, e);
}

static void
open_watch(struct api_fixture *f, struct watcher *w, const char *path)
{
    struct error e = ERROR_INIT;

    if (try_open(f, w, path, &e) < 0)
        fail_msg("%s: %s", path, e.msg);
}

static void
close_watch(struct watcher *w)
{
    local_watch_close(w->w);
    json_decref(w->event);
}

static int
next_raw(struct watcher *w)
{
    auto_str line = STR_INIT(4 << 20);

    store_flush(w->f->store);
    int rc = local_watch_next(w->w, &line);
    if (rc == 1) {
        json_decref(w->event);
        w->event = json_loadb(line.ptr, line.len, 0, NULL);
        assert_non_null(w->event);
    }
    return rc;
}

/* "ADDED run1", "" when there is nothing, "END" at the end. */
static const char *
next(struct watcher *w)
{
    static char text[128];
    int rc = next_raw(w);

    if (rc == 0)
        return "";
    if (rc < 0)
        return "END";
    const json_t *object = json_object_get(w->event, "object");
    const json_t *meta = json_object_get(object, "metadata");
    const char *name = json_string_value(json_object_get(meta, "name"));
    snprintf(text, sizeof(text), "%s%s%s",
             json_string_value(json_object_get(w->event, "type")),
             name == NULL ? "" : " ", name == NULL ? "" : name);
    return text;
}

static uint64_t
event_revision(const struct watcher *w)
{
    const json_t *meta = json_object_get(json_object_get(w->event, "object"), "metadata");
    const char *text = json_string_value(json_object_get(meta, "resourceVersion"));

    return text == NULL ? 0 : strtoull(text, NULL, 10);
}

static void
current_state_then_changes(void **state)
{
    struct api_fixture *f = *state;
    struct watcher w;

    api_ok(f, 201, "POST", RUNS, NULL, api_run("one", ""));
    open_watch(f, &w, RUNS "?watch=true");
    assert_string_equal(next(&w), "ADDED one");
    assert_string_equal(next(&w), "");
    api_ok(f, 201, "POST", RUNS, NULL, api_run("two", ""));
    assert_int_equal(w.wakes, 1);
    assert_string_equal(next(&w), "ADDED two");
    uint64_t added = event_revision(&w);
    api_ok(f, 200, "PATCH", RUNS "/two", MERGE, "{\"spec\":{\"priority\":1}}");
    api_ok(f, 200, "DELETE", RUNS "/one", NULL, NULL);
    assert_string_equal(next(&w), "MODIFIED two");
    assert_true(event_revision(&w) > added);
    uint64_t modified = event_revision(&w);
    assert_string_equal(next(&w), "DELETED one");
    assert_true(event_revision(&w) > modified); /* the deletion's own */
    assert_string_equal(next(&w), "");
    close_watch(&w);
}

static void
from_a_list_nothing_is_lost(void **state)
{
    struct api_fixture *f = *state;
    struct watcher w;
    char name[16], path[128], expected[32];

    api_ok(f, 200, "GET", RUNS, NULL, NULL);
    snprintf(path, sizeof(path), RUNS "?watch=1&resourceVersion=%s",
             api_text(f, "metadata.resourceVersion"));
    for (int i = 0; i < 50; i++) {
        snprintf(name, sizeof(name), "run%d", i);
        api_ok(f, 201, "POST", RUNS, NULL, api_run(name, ""));
    }
    open_watch(f, &w, path);
    uint64_t last = 0;
    for (int i = 0; i < 50; i++) {
        snprintf(expected, sizeof(expected), "ADDED run%d", i);
        assert_string_equal(next(&w), expected);
        assert_true(event_revision(&w) > last);
        last = event_revision(&w);
    }
    assert_string_equal(next(&w), "");
    close_watch(&w);
}

static void
entering_and_leaving_a_selection(void **state)
{
    struct api_fixture *f = *state;
    struct watcher labels, fields, one;

    open_watch(f, &labels, RUNS "?watch=1&labelSelector=team%3Dx");
    open_watch(f, &fields, RUNS "?watch=1&fieldSelector=status.phase%3DDone");
    open_watch(f, &one, RUNS "?watch=1&fieldSelector=metadata.name%3Done");
    api_ok(f, 201, "POST", RUNS, NULL, api_run("one", ""));
    api_ok(f, 201, "POST", RUNS, NULL, api_run("two", ""));
    assert_string_equal(next(&labels), "");
    assert_string_equal(next(&one), "ADDED one");
    assert_string_equal(next(&one), "");
    api_ok(f, 200, "PATCH", RUNS "/two", MERGE,
           "{\"metadata\":{\"labels\":{\"team\":\"x\"}}}");
    assert_string_equal(next(&labels), "ADDED two");
    api_ok(f, 200, "PATCH", RUNS "/two", MERGE, "{\"spec\":{\"priority\":2}}");
    assert_string_equal(next(&labels), "MODIFIED two");
    api_ok(f, 200, "PATCH", RUNS "/two", MERGE,
           "{\"metadata\":{\"labels\":{\"team\":\"y\"}}}");
    uint64_t before = event_revision(&labels);
    assert_string_equal(next(&labels), "DELETED two");
    assert_true(event_revision(&labels) > before);
    assert_string_equal(
        json_string_value(json_object_get(
            json_object_get(
                json_object_get(json_object_get(labels.event, "object"), "metadata"),
                "labels"),
            "team")),
        "x");
    api_ok(f, 200, "DELETE", RUNS "/two", NULL, NULL);
    assert_string_equal(next(&labels), "");
    assert_string_equal(next(&fields), "");
    api_ok(f, 200, "PATCH", RUNS "/one/status", MERGE,
           "{\"status\":{\"phase\":\"Done\"}}");
    assert_string_equal(next(&fields), "ADDED one");
    api_ok(f, 200, "PATCH", RUNS "/one/status", MERGE,
           "{\"status\":{\"phase\":\"Failed\"}}");
    assert_string_equal(next(&fields), "DELETED one");
    close_watch(&labels);
    close_watch(&fields);
    close_watch(&one);
}

static void
too_old_is_410(void **state)
{
    struct api_fixture *f = *state;
    struct watcher w, slow;
    struct error e = ERROR_INIT;
    char body[64];

    api_ok(f, 201, "POST", RUNS, NULL, api_run("one", ""));
    open_watch(f, &slow, RUNS "?watch=1");
    assert_string_equal(next(&slow), "ADDED one");
    for (int i = 0; i < 2200; i++) { /* more than the ring keeps */
        snprintf(body, sizeof(body), "{\"spec\":{\"priority\":%d}}", i % 100);
        api_ok(f, 200, "PATCH", RUNS "/one", MERGE, body);
    }
    assert_int_equal(try_open(f, &w, RUNS "?watch=1&resourceVersion=1", &e), 0);
    assert_string_equal(next(&w), "ADDED one"); /* from the log */
    assert_string_equal(next(&w), "MODIFIED one");
    close_watch(&w);
    assert_int_equal(store_compact(f->store, store_revision(f->store), NULL, NULL, &e),
                     0);
    assert_true(try_open(f, &w, RUNS "?watch=1&resourceVersion=1", &e) < 0);
    assert_int_equal(e.code, ERR_EXPIRED);
    assert_non_null(strstr(e.msg, "too old resource version"));
    assert_int_equal(next_raw(&slow), 1);
    assert_string_equal(next(&slow), "END");
    assert_string_equal(json_string_value(json_object_get(slow.event, "type")), "ERROR");
    assert_int_equal(json_integer_value(
                         json_object_get(json_object_get(slow.event, "object"), "code")),
                     410);
    close_watch(&slow);
}

static void
initial_events_end_with_a_bookmark(void **state)
{
    struct api_fixture *f = *state;
    struct watcher w;
    struct error e = ERROR_INIT;

    api_ok(f, 201, "POST", RUNS, NULL, api_run("one", ""));
    open_watch(f, &w,
               RUNS "?watch=true&sendInitialEvents=true&resourceVersionMatch="
                    "NotOlderThan&allowWatchBookmarks=true");
    assert_string_equal(next(&w), "ADDED one");
    assert_string_equal(next(&w), "BOOKMARK");
    const json_t *object = json_object_get(w.event, "object");
    const json_t *notes =
        json_object_get(json_object_get(object, "metadata"), "annotations");
    assert_string_equal(json_string_value(json_object_get(object, "kind")), "Run");
    assert_string_equal(
        json_string_value(json_object_get(notes, "k8s.io/initial-events-end")), "true");
    assert_string_equal(next(&w), "");
    close_watch(&w);
    assert_true(try_open(f, &w, RUNS "?watch=1&sendInitialEvents=true", &e) < 0);
    assert_int_equal(e.code, ERR_INVALID);
}

/* Time is ours here: the loop's clock is moved by hand. */
static void
bookmarks_and_the_end(void **state)
{
    struct api_fixture *f = *state;
    struct watcher marked, plain;

    open_watch(f, &marked, RUNS "?watch=1&allowWatchBookmarks=true&timeoutSeconds=100");
    open_watch(f, &plain, RUNS "?watch=1&timeoutSeconds=100");
    api_ok(f, 201, "POST", RUNS, NULL, api_run("one", ""));
    assert_string_equal(next(&marked), "ADDED one");
    uint64_t seen = event_revision(&marked);
    assert_string_equal(next(&plain), "ADDED one");
    clock_fake_advance(INT64_C(61) * 1000000000);
    api_settle(f, 3);
    assert_string_equal(next(&marked), "BOOKMARK");
    assert_true(event_revision(&marked) >= seen);
    assert_string_equal(next(&marked), "");
    assert_string_equal(next(&plain), "");
    clock_fake_advance(INT64_C(40) * 1000000000);
    api_settle(f, 3);
    assert_string_equal(next(&marked), "BOOKMARK");
    assert_string_equal(next(&marked), "END");
    assert_string_equal(next(&plain), "END");
    close_watch(&marked);
    close_watch(&plain);
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

static void
a_stopping_server_ends_watches(void **state)
{
    struct api_fixture *f = *state;
    struct watcher w;
    struct error e = ERROR_INIT;

    open_watch(f, &w, RUNS "?watch=1");
    assert_string_equal(next(&w), "");
    api_server_stop_watches(f->server);
    assert_int_equal(w.wakes, 1);
    assert_string_equal(next(&w), "END");
    close_watch(&w);
    assert_true(try_open(f, &w, RUNS "?watch=1", &e) < 0);
    assert_int_equal(e.code, ERR_UNAVAILABLE);
}

int
main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, api_setup, api_teardown)
    const struct CMUnitTest tests[] = {
        CASE(current_state_then_changes),
        CASE(from_a_list_nothing_is_lost),
        CASE(entering_and_leaving_a_selection),
        CASE(too_old_is_410),
        CASE(initial_events_end_with_a_bookmark),
        cmocka_unit_test_setup_teardown(bookmarks_and_the_end, fake_setup, fake_teardown),
        CASE(a_stopping_server_ends_watches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
