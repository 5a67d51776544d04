/* SPDX-License-Identifier: Apache-2.0 */
/* Watches: from every revision, filters and wake-ups, falling behind, 410, restarts. */
#include "unit/store_fixture.h"

#include <inttypes.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/mem.h"
#include "base/vec.h"

struct seen {
    uint64_t revision;
    enum store_event_type type;
    char *key;           /* "resource ns/name" */
    int64_t value, prev; /* spec.n; -1: none */
};

struct watcher {
    struct store_watch *w;
    unsigned wakes;
    vec(struct seen) seen;
};

static void
on_wake(void *arg)
{
    struct watcher *w = arg;

    w->wakes++;
}

static int
watch(struct fixture *f, struct watcher *w, struct store_watch_opts opts, struct error *e)
{
    *w = (struct watcher){0};
    opts.wake = on_wake;
    opts.arg = w;
    return store_watch(f->store, &opts, &w->w, e);
}

static void
watch_ok(struct fixture *f, struct watcher *w, struct store_watch_opts opts)
{
    struct error e = ERROR_INIT;

    if (watch(f, w, opts, &e) != 0)
        fail_msg("watch: %s", e.msg);
}

/* Takes everything there is; returns how many. */
static size_t
drain(struct watcher *w)
{
    struct store_event ev;
    struct error e = ERROR_INIT;
    size_t n = 0;
    int rc;

    while ((rc = store_watch_next(w->w, &ev, &e)) == 1) {
        struct seen s = {
            .revision = ev.revision,
            .type = ev.type,
            .key = xasprintf("%s %s/%s", ev.resource, ev.obj->ns, ev.obj->name),
            .value = fx_value(ev.obj),
            .prev = ev.prev == NULL ? -1 : fx_value(ev.prev),
        };
        assert_int_equal(ev.obj->revision, ev.revision);
        assert_true((ev.prev == NULL) == (ev.type == STORE_ADDED));
        vec_push(&w->seen, s);
        n++;
    }
    if (rc < 0)
        fail_msg("next: %s", e.msg);
    return n;
}

static void
unwatch(struct watcher *w)
{
    store_watch_free(w->w);
    vec_foreach (s, &w->seen)
        free(s->key);
    vec_done(&w->seen);
}

static int
setup(void **state)
{
    return fx_setup(state, "watch");
}

static int
setup_threaded(void **state)
{
    setup(state);
    return fx_go_threaded(state);
}

/* 60 random changes of a few objects, one revision each. */
static void
history(struct fixture *f)
{
    for (int64_t i = 0; i < 60; i++) {
        char name[8];
        snprintf(name, sizeof(name), "n%u", id_uniform(5));
        if (fx_get(f, "default", name) != NULL && id_uniform(3) == 0)
            fx_delete(f, RUNS, "default", name);
        else
            fx_put(f, RUNS, "default", name, NULL, i);
    }
}

static void
assert_suffix(const struct watcher *all, const struct watcher *w, uint64_t from)
{
    size_t skip = 0;

    while (skip < all->seen.len && all->seen.items[skip].revision <= from)
        skip++;
    assert_int_equal(w->seen.len, all->seen.len - skip);
    for (size_t i = 0; i < w->seen.len; i++) {
        const struct seen *a = &all->seen.items[skip + i];
        const struct seen *b = &w->seen.items[i];
        assert_int_equal(a->revision, b->revision);
        assert_int_equal(a->type, b->type);
        assert_int_equal(a->value, b->value);
        assert_int_equal(a->prev, b->prev);
        assert_string_equal(a->key, b->key);
    }
}

static void
check_every_revision(struct fixture *f, const struct watcher *all)
{
    for (size_t i = 0; i < all->seen.len; i++) {
        for (uint64_t d = 0; d < 2; d++) {
            struct watcher w;
            uint64_t from = all->seen.items[i].revision - d;
            watch_ok(f, &w, (struct store_watch_opts){.resource = RUNS, .from = from});
            drain(&w);
            assert_suffix(all, &w, from);
            assert_int_equal(store_watch_position(w.w), store_revision(f->store));
            unwatch(&w);
        }
    }
}

/* Every start sees exactly the events after it, before and after a restart. */
static void
test_from_every_revision(void **state)
{
    struct fixture *f = *state;
    struct watcher all;

    watch_ok(f, &all, (struct store_watch_opts){.resource = RUNS});
    history(f);
    assert_int_equal(drain(&all), 60);
    for (size_t i = 1; i < all.seen.len; i++)
        assert_true(all.seen.items[i].revision > all.seen.items[i - 1].revision);
    check_every_revision(f, &all);
    store_watch_free(all.w);
    all.w = NULL;
    fx_reopen(f);
    assert_int_equal(store_oldest(f->store), 0);
    check_every_revision(f, &all);
    unwatch(&all);
}

/* A revision of the future: nothing older than it is shown later. */
static void
test_future(void **state)
{
    struct fixture *f = *state;
    struct watcher w;
    uint64_t now = fx_put(f, RUNS, "default", "a", NULL, 1);

    watch_ok(f, &w, (struct store_watch_opts){.resource = RUNS, .from = now + 200});
    uint64_t next = fx_put(f, RUNS, "default", "a", NULL, 2);
    assert_true(next < now + 200);
    assert_int_equal(drain(&w), 0);
    assert_int_equal(w.wakes, 0);
    assert_int_equal(store_watch_position(w.w), now + 200);
    while (next <= now + 200)
        next = fx_put(f, RUNS, "default", "a", NULL, 3);
    assert_int_equal(w.wakes, 1);
    assert_int_equal(drain(&w), 1);
    unwatch(&w);
}

static void
test_filters_wake_only_who_wants(void **state)
{
    struct fixture *f = *state;
    struct watcher w[9];
    static const struct store_watch_opts opts[9] = {
        {.resource = NULL},
        {.resource = RUNS},
        {.resource = RUNS, .ns = "a"},
        {.resource = RUNS, .ns = "a", .name = "x"},
        {.resource = RUNS, .name = "x"},
        {.resource = RUNS, .label_key = "app", .label_value = "web"},
        {.resource = "jobs.drover.dev"},
        {.ns = "b"},
        {.resource = RUNS, .ns = "b", .label_key = "app", .label_value = "web"},
    };
    static const struct {
        const char *resource, *ns, *name, *app;
        const char *want; /* which watchers */
    } steps[] = {
        {RUNS, "a", "x", NULL, "111110000"},
        {RUNS, "a", "y", "web", "111001000"},
        {RUNS, "b", "x", "db", "110010010"},
        {RUNS, "b", "x", "web", "110011011"},
        {RUNS, "b", "x", "db", "110011011"}, /* loses the label: still told */
        {RUNS, "b", "x", NULL, "110010010"},
        {"jobs.drover.dev", "a", "x", "web", "100000100"},
        {"fleets.drover.dev", "b", "x", "web", "100000010"},
    };

    for (size_t i = 0; i < 9; i++)
        watch_ok(f, &w[i], opts[i]);
    for (size_t s = 0; s < ARRAY_LEN(steps); s++) {
        for (size_t i = 0; i < 9; i++)
            w[i].wakes = 0;
        fx_put(f, steps[s].resource, steps[s].ns, steps[s].name, steps[s].app, 1);
        for (size_t i = 0; i < 9; i++) {
            unsigned want = steps[s].want[i] == '1';
            if (w[i].wakes != want)
                fail_msg("step %zu watcher %zu: %u wake-ups", s, i, w[i].wakes);
            assert_int_equal(drain(&w[i]), want);
        }
    }
    for (size_t i = 0; i < 9; i++)
        unwatch(&w[i]);
}

/* wake() comes once until the watcher looks. */
static void
test_one_wake(void **state)
{
    struct fixture *f = *state;
    struct watcher w;

    watch_ok(f, &w, (struct store_watch_opts){.resource = RUNS});
    for (int i = 0; i < 5; i++)
        fx_put(f, RUNS, "default", "a", NULL, i);
    assert_int_equal(w.wakes, 1);
    assert_int_equal(drain(&w), 5);
    fx_put(f, RUNS, "default", "a", NULL, 9);
    assert_int_equal(w.wakes, 2);
    /* One that starts behind is woken too. */
    struct watcher late;
    watch_ok(f, &late, (struct store_watch_opts){.resource = RUNS});
    assert_int_equal(late.wakes, 0);
    loop_turn(f->loop, -1);
    assert_int_equal(late.wakes, 1);
    assert_int_equal(drain(&late), 6);
    unwatch(&w);
    unwatch(&late);
}

struct suicide {
    struct watcher *victims[3];
};

static void
free_all(void *arg)
{
    struct suicide *s = arg;

    for (size_t i = 0; i < 3; i++) {
        if (s->victims[i] != NULL)
            store_watch_free(s->victims[i]->w);
        s->victims[i] = NULL;
    }
}

/* A wake-up may free its own watcher and those whose turn would have been next. */
static void
test_free_in_wake(void **state)
{
    struct fixture *f = *state;
    struct watcher w[3] = {0};
    struct suicide s = {{&w[0], &w[1], &w[2]}};
    struct error e = ERROR_INIT;

    for (size_t i = 0; i < 3; i++) {
        struct store_watch_opts opts = {.resource = RUNS, .wake = free_all, .arg = &s};
        assert_int_equal(store_watch(f->store, &opts, &w[i].w, &e), 0);
    }
    fx_put(f, RUNS, "default", "a", NULL, 1);
    assert_null(s.victims[0]);
    struct store_stats st;
    store_stats(f->store, &st);
    assert_int_equal(st.watchers, 0);
}

/* The ring turns over: a watcher with unread events goes on in the log, and misses and
 * repeats nothing; so does one that starts there. What the log does not have, or has
 * forgotten, is 410. */
static void
test_falling_behind(void **state)
{
    struct fixture *f = *state;
    struct watcher slow;
    struct watcher idle;
    struct error e = ERROR_INIT;
    uint64_t first;

    fx_close(f);
    f->opts.ring_events = 50;
    fx_open(f);
    watch_ok(f, &slow, (struct store_watch_opts){.resource = RUNS});
    watch_ok(f, &idle, (struct store_watch_opts){.resource = "jobs.drover.dev"});
    first = fx_put(f, RUNS, "default", "a", NULL, 0);
    for (int i = 0; i < 60; i++)
        fx_put(f, RUNS, "default", "a", NULL, i);
    assert_true(store_oldest(f->store) > first);
    assert_int_equal(drain(&slow), 61);
    for (size_t i = 1; i < slow.seen.len; i++) {
        assert_int_equal(slow.seen.items[i].value, i - 1);
        assert_int_equal(slow.seen.items[i].prev, i == 1 ? 0 : i - 2);
        assert_true(slow.seen.items[i].revision > slow.seen.items[i - 1].revision);
    }
    fx_put(f, RUNS, "default", "a", NULL, 99); /* and of the ring again */
    assert_int_equal(drain(&slow), 1);
    fx_put(f, "jobs.drover.dev", "default", "j", NULL, 7);
    assert_int_equal(drain(&idle), 1);
    unwatch(&slow);
    unwatch(&idle);

    struct watcher w;
    uint64_t oldest = store_oldest(f->store);
    e = ERROR_INIT;
    assert_int_equal(watch(f, &w, (struct store_watch_opts){.from = oldest - 1}, &e),
                     -ERR_EXPIRED);
    assert_non_null(strstr(e.msg, "too old resource version: "));
    watch_ok(f, &w, (struct store_watch_opts){.from = oldest});
    assert_int_equal(drain(&w), 50);
    unwatch(&w);
    watch_ok(f, &w, (struct store_watch_opts){.resource = RUNS, .from = first - 1});
    assert_int_equal(drain(&w), 62);
    unwatch(&w);
    watch_ok(f, &w,
             (struct store_watch_opts){.resource = RUNS,
                                       .from = first - 1,
                                       .label_key = "app",
                                       .label_value = "nobody"});
    assert_int_equal(drain(&w), 0);
    unwatch(&w);
    assert_int_equal(store_compact(f->store, oldest, NULL, NULL, &e), 0);
    assert_int_equal(
        watch(f, &w, (struct store_watch_opts){.resource = RUNS, .from = first - 1}, &e),
        -ERR_EXPIRED);
    assert_int_equal(fx_start_put(f, "default", "m", 1, STORE_MEMORY, NULL), 0);
    store_flush(f->store);
    for (int i = 0; i < 60; i++)
        fx_put(f, "jobs.drover.dev", "default", "j", NULL, i);
    assert_int_equal(
        watch(f, &w, (struct store_watch_opts){.resource = RUNS, .from = oldest}, &e),
        -ERR_EXPIRED);
}

/* With the thread that reads, and watchers that leave while it does. */
static void
test_falling_behind_threaded(void **state)
{
    struct fixture *f = *state;
    struct watcher w, leaver;
    size_t n = 0;
    int64_t until = clock_now_ms() + 20000;

    fx_close(f);
    f->opts.ring_events = 50;
    fx_open(f);
    watch_ok(f, &w, (struct store_watch_opts){.resource = RUNS});
    watch_ok(f, &leaver, (struct store_watch_opts){.resource = RUNS});
    for (int i = 0; i < 300; i++)
        fx_put(f, RUNS, "default", "a", NULL, i);
    drain(&leaver);
    unwatch(&leaver);
    while (n < 300 && clock_now_ms() < until) {
        n += drain(&w);
        loop_turn(f->loop, 50);
    }
    assert_int_equal(n, 300);
    for (size_t i = 1; i < n; i++)
        assert_int_equal(w.seen.items[i].value, i);
    unwatch(&w);
}

static void
test_ring_bytes(void **state)
{
    struct fixture *f = *state;
    struct error e = ERROR_INIT;

    fx_close(f);
    f->opts.ring_bytes = 100000;
    fx_open(f);
    for (int i = 0; i < 50; i++) {
        auto_object *o = fx_object("default", "a", NULL, i, 10000);
        const struct object *have = fx_get(f, "default", "a");
        struct store_op op = {
            STORE_PUT, {RUNS, "default", "a"}, have == NULL ? 0 : have->revision, o};
        assert_int_equal(
            store_commit(f->store, &op, 1, STORE_DURABLE, NULL, NULL, NULL, &e), 0);
        store_flush(f->store);
    }
    struct watcher w;
    watch_ok(f, &w, (struct store_watch_opts){.from = store_oldest(f->store)});
    size_t n = drain(&w);
    assert_true(n >= 3 && n <= 10);
    unwatch(&w);
}

/* Events of one commit share its revision; a watch from just before sees them all. */
static void
test_shared_revision(void **state)
{
    struct fixture *f = *state;
    struct error e = ERROR_INIT;
    auto_object *a = fx_object("default", "a", NULL, 1, 0);
    auto_object *b = fx_object("default", "b", NULL, 2, 0);
    struct store_op ops[] = {{STORE_PUT, {RUNS, "default", "a"}, 0, a},
                             {STORE_PUT, {RUNS, "default", "b"}, 0, b}};
    uint64_t rev;
    struct watcher w;
    struct store_event ev;

    assert_int_equal(store_commit(f->store, ops, 2, STORE_DURABLE, NULL, NULL, &rev, &e),
                     0);
    store_flush(f->store);
    watch_ok(f, &w, (struct store_watch_opts){.from = rev - 1});
    assert_int_equal(store_watch_next(w.w, &ev, &e), 1);
    assert_true(store_watch_position(w.w) < rev); /* half of it is not seen yet */
    assert_int_equal(store_watch_next(w.w, &ev, &e), 1);
    assert_int_equal(store_watch_position(w.w), rev);
    assert_int_equal(drain(&w), 0);
    unwatch(&w);
    watch_ok(f, &w, (struct store_watch_opts){.from = rev});
    assert_int_equal(drain(&w), 0);
    unwatch(&w);
}

/* A deletion shows the state that the caller gives, at the deletion's revision. */
static void
test_deleted_state(void **state)
{
    struct fixture *f = *state;
    struct error e = ERROR_INIT;
    struct watcher w;
    uint64_t rev = fx_put(f, RUNS, "default", "a", NULL, 1);
    auto_object *last = fx_object("default", "a", NULL, 2, 0);
    struct store_op op = {STORE_DELETE, {RUNS, "default", "a"}, rev, last};
    uint64_t deleted;

    watch_ok(f, &w, (struct store_watch_opts){.from = rev});
    assert_int_equal(
        store_commit(f->store, &op, 1, STORE_DURABLE, NULL, NULL, &deleted, &e), 0);
    store_flush(f->store);
    assert_int_equal(drain(&w), 1);
    assert_int_equal(w.seen.items[0].type, STORE_DELETED);
    assert_int_equal(w.seen.items[0].revision, deleted);
    assert_int_equal(w.seen.items[0].value, 2);
    assert_int_equal(w.seen.items[0].prev, 1);
    unwatch(&w);
}

/* What a lazy kind lost with the process cannot be told: its watchers list again. Others
 * resume. */
static void
test_lazy_after_restart(void **state)
{
    struct fixture *f = *state;
    struct watcher w;
    struct error e = ERROR_INIT;
    uint64_t rev = fx_put(f, "jobs.drover.dev", "default", "j", NULL, 1);

    assert_int_equal(fx_start_put(f, "default", "l", 1, STORE_LAZY, NULL), 0);
    store_flush(f->store);
    fx_reopen(f);
    assert_int_equal(
        watch(f, &w, (struct store_watch_opts){.resource = RUNS, .from = rev}, &e),
        -ERR_EXPIRED);
    assert_int_equal(watch(f, &w, (struct store_watch_opts){.from = rev}, &e),
                     -ERR_EXPIRED);
    watch_ok(f, &w,
             (struct store_watch_opts){.resource = "jobs.drover.dev", .from = rev});
    unwatch(&w);
    watch_ok(
        f, &w,
        (struct store_watch_opts){.resource = RUNS, .from = store_revision(f->store)});
    unwatch(&w);
}

int
main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, fx_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_from_every_revision),
        TEST(test_future),
        TEST(test_filters_wake_only_who_wants),
        TEST(test_one_wake),
        TEST(test_free_in_wake),
        TEST(test_falling_behind),
        cmocka_unit_test_setup_teardown(test_falling_behind_threaded, setup_threaded,
                                        fx_teardown),
        TEST(test_ring_bytes),
        TEST(test_shared_revision),
        TEST(test_deleted_state),
        TEST(test_lazy_after_restart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
