/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the store promises whatever stands beneath it, after the scenarios of Kubernetes'
 * storage tests (pkg/storage/testing) and the watch guarantees of etcd's robustness
 * suite: ordered, unique, atomic, reliable, resumable, bookmarkable.
 *
 *     test_store_conformance files | etcd
 */
#include "integration/conformance.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/id.h"
#include "base/mem.h"

static bool on_etcd;
static struct conf shared; /* the cluster; each test has a prefix of its own in it */

static int
setup(void **state)
{
    struct conf *c = xnew(struct conf);
    static unsigned n;

    *state = c;
    fx_init(&c->f, false);
    c->etcd = on_etcd;
    if (on_etcd) {
        c->endpoints = shared.endpoints;
        snprintf(c->prefix, sizeof(c->prefix), "/conf-%u", ++n);
        cf_etcd_opts(c, c->prefix);
    }
    c->f.store = c->peer = cf_open(c);
    if (on_etcd)
        c->peer = cf_open(c);
    return 0;
}

static int
teardown(void **state)
{
    struct conf *c = *state;

    if (c->peer != c->f.store)
        store_close(c->peer);
    fx_done(&c->f);
    free(c);
    return 0;
}

/* --- objects --- */

static void
test_create(void **state)
{
    struct conf *c = *state;
    uint64_t r = 0;

    assert_null(cf_get(c->f.store, "ns", "a"));
    assert_int_equal(cf_put(c, c->f.store, "ns", "a", 1, 0, &r), ERR_OK);
    const struct object *o = cf_get(c->f.store, "ns", "a");
    assert_non_null(o);
    assert_int_equal(o->revision, r);
    assert_int_equal(fx_value(o), 1);
    assert_true(store_revision(c->f.store) >= r);
    assert_int_equal(store_count(c->f.store, RUNS), 1);
    /* again: what is there stays */
    assert_int_equal(cf_put(c, c->f.store, "ns", "a", 2, 0, NULL), ERR_EXISTS);
    assert_int_equal(fx_value(cf_get(c->f.store, "ns", "a")), 1);
    /* and on the other server, whose view may be older */
    assert_int_equal(cf_put(c, c->peer, "ns", "a", 3, 0, NULL), ERR_EXISTS);
    assert_int_equal(fx_value(cf_get(c->peer, "ns", "a")), 1);
}

static void
test_get_on_the_other_server(void **state)
{
    struct conf *c = *state;

    for (int i = 1; i <= 20; i++) {
        uint64_t r = 0;
        char name[16];
        snprintf(name, sizeof(name), "o%d", i);
        assert_int_equal(cf_put(c, c->f.store, "ns", name, i, 0, &r), ERR_OK);
        assert_int_equal(cf_sync(c, c->peer), ERR_OK);
        const struct object *o = cf_get(c->peer, "ns", name);
        assert_non_null(o);
        assert_int_equal(o->revision, r);
        assert_int_equal(cf_del(c, c->peer, "ns", name, r, NULL), ERR_OK);
        assert_int_equal(cf_sync(c, c->f.store), ERR_OK);
        assert_null(cf_get(c->f.store, "ns", name));
    }
}

static void
test_update(void **state)
{
    struct conf *c = *state;
    uint64_t first = 0;
    uint64_t second = 0;

    assert_int_equal(cf_put(c, c->f.store, "ns", "a", 1, 7, NULL), ERR_NOT_FOUND);
    assert_int_equal(cf_put(c, c->f.store, "ns", "a", 1, 0, &first), ERR_OK);
    assert_int_equal(cf_put(c, c->f.store, "ns", "a", 2, first, &second), ERR_OK);
    assert_true(second > first);
    assert_int_equal(cf_put(c, c->f.store, "ns", "a", 3, first, NULL), ERR_CONFLICT);
    assert_int_equal(cf_put(c, c->peer, "ns", "a", 3, first, NULL), ERR_CONFLICT);
    assert_int_equal(cf_sync(c, c->peer), ERR_OK);
    assert_int_equal(fx_value(cf_get(c->peer, "ns", "a")), 2);
    assert_int_equal(cf_get(c->peer, "ns", "a")->revision, second);
}

static void
test_delete_with_precondition(void **state)
{
    struct conf *c = *state;
    uint64_t first = 0;
    uint64_t second = 0;
    uint64_t gone = 0;

    assert_int_equal(cf_del(c, c->f.store, "ns", "a", 5, NULL), ERR_NOT_FOUND);
    assert_int_equal(cf_put(c, c->f.store, "ns", "a", 1, 0, &first), ERR_OK);
    assert_int_equal(cf_put(c, c->f.store, "ns", "a", 2, first, &second), ERR_OK);
    assert_int_equal(cf_del(c, c->f.store, "ns", "a", first, NULL), ERR_CONFLICT);
    assert_int_equal(cf_del(c, c->peer, "ns", "a", first, NULL), ERR_CONFLICT);
    assert_int_equal(cf_del(c, c->peer, "ns", "a", second, &gone), ERR_OK);
    assert_true(gone > second);
    assert_null(cf_get(c->peer, "ns", "a"));
    assert_int_equal(cf_del(c, c->f.store, "ns", "a", second, NULL), ERR_NOT_FOUND);
    assert_int_equal(store_count(c->f.store, RUNS), 0);
}

/* Read, change, write if nothing came between, else again: none is lost. */
struct increments {
    struct conf *c;
    struct store *s;
    unsigned left, retries;
    bool busy;
};

static void increment(struct increments *x);

static void
on_increment(void *arg, uint64_t revision, const struct error *e)
{
    struct increments *x = arg;

    UNUSED(revision);
    x->busy = false;
    if (e == NULL) {
        x->left--;
    } else {
        assert_int_equal(e->code, ERR_CONFLICT);
        x->retries++;
    }
    increment(x);
}

static void
increment(struct increments *x)
{
    struct store_key k = {RUNS, "ns", "counter"};

    while (x->left > 0 && !x->busy) {
        const struct object *have = store_peek(x->s, &k);
        struct error e = ERROR_INIT;
        auto_object *o = fx_object("ns", "counter", NULL, fx_value(have) + 1, 0);
        struct store_op op = {STORE_PUT, k, have->revision, o};
        int rc = store_commit(x->s, &op, 1, STORE_DURABLE, on_increment, x, NULL, &e);
        x->busy = rc == 0;
        if (rc < 0)
            x->retries++;
    }
}

static bool
increments_done(void *arg)
{
    const struct increments *x = arg;

    for (size_t i = 0; i < 8; i++) {
        if (x[i].left > 0)
            return false;
    }
    return true;
}

static void
test_guaranteed_update(void **state)
{
    struct conf *c = *state;
    struct increments x[8];

    assert_int_equal(cf_put(c, c->f.store, "ns", "counter", 0, 0, NULL), ERR_OK);
    assert_int_equal(cf_sync(c, c->peer), ERR_OK);
    for (size_t i = 0; i < ARRAY_LEN(x); i++) {
        x[i] = (struct increments){
            .c = c, .s = i % 2 == 0 ? c->f.store : c->peer, .left = 25};
        increment(&x[i]);
    }
    cf_until(c, increments_done, x, 30000);
    assert_int_equal(cf_sync(c, c->f.store), ERR_OK);
    assert_int_equal(fx_value(cf_get(c->f.store, "ns", "counter")), 200);
    assert_int_equal(cf_sync(c, c->peer), ERR_OK);
    assert_int_equal(fx_value(cf_get(c->peer, "ns", "counter")), 200);
}

static void
test_names_and_sizes(void **state)
{
    struct conf *c = *state;
    static const char *const names[] = {"system:masters", "a.b-c", "x%2f", "~", "0"};
    struct store_key k = {RUNS, "ns", "big"};
    struct error e = ERROR_INIT;
    struct fx_result r = {0};

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        assert_int_equal(cf_put(c, c->f.store, "", names[i], (int)i, 0, NULL), ERR_OK);
    assert_int_equal(cf_sync(c, c->peer), ERR_OK);
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        assert_int_equal(fx_value(cf_get(c->peer, "", names[i])), i);
    auto_object *fits = fx_object("ns", "big", NULL, 1, 1400000);
    auto_object *toobig = fx_object("ns", "big2", NULL, 1, 1700000);
    struct store_op op = {STORE_PUT, k, 0, fits};
    assert_int_equal(
        store_commit(c->f.store, &op, 1, STORE_DURABLE, fx_on_done, &r, NULL, &e), 0);
    fx_wait(&c->f, &r);
    assert_int_equal(r.e.code, ERR_OK);
    assert_int_equal(cf_sync(c, c->peer), ERR_OK);
    assert_int_equal(store_get(c->peer, &k)->len, fits->len);
    if (!c->etcd)
        return; /* files takes up to OBJECT_MAX_BYTES */
    op = (struct store_op){STORE_PUT, {RUNS, "ns", "big2"}, 0, toobig};
    assert_int_equal(
        store_commit(c->f.store, &op, 1, STORE_DURABLE, NULL, NULL, NULL, &e),
        -ERR_TOO_LARGE);
    assert_non_null(strstr(e.msg, "etcd takes"));
}

/* --- lists --- */

static size_t
count_list(struct store *s, const char *ns, const char *after, size_t limit,
           char *ret_last)
{
    struct store_list *l = store_list(s, RUNS, ns, after);
    const struct object *o;
    size_t n = 0;

    while (n < limit && (o = store_list_next(l)) != NULL) {
        n++;
        snprintf(ret_last, 64, "%s/%s", o->ns, o->name);
    }
    store_list_free(l);
    return n;
}

static void
fill(struct conf *c)
{
    static const char *const where[][2] = {{"b", "1"}, {"a", "2"},  {"a", "1"},
                                           {"b", "2"}, {"a", "10"}, {"c", "1"}};

    for (size_t i = 0; i < ARRAY_LEN(where); i++)
        assert_int_equal(cf_put(c, c->f.store, where[i][0], where[i][1], (int)i, 0, NULL),
                         ERR_OK);
    assert_int_equal(cf_sync(c, c->peer), ERR_OK);
}

static void
test_list(void **state)
{
    struct conf *c = *state;
    char last[64] = "";

    fill(c);
    autofree char *here = fx_dump(c->f.store);
    autofree char *there = fx_dump(c->peer);
    assert_string_equal(here, there);
    assert_int_equal(count_list(c->peer, NULL, NULL, 100, last), 6);
    assert_string_equal(last, "c/1");
    assert_int_equal(count_list(c->peer, "a", NULL, 100, last), 3);
    assert_string_equal(last, "a/2");
    assert_int_equal(count_list(c->peer, "x", NULL, 100, last), 0);
    /* pages */
    assert_int_equal(count_list(c->peer, NULL, NULL, 4, last), 4);
    assert_string_equal(last, "b/1");
    assert_int_equal(count_list(c->peer, NULL, last, 4, last), 2);
    struct store_list *l = store_list(c->peer, RUNS, NULL, NULL);
    assert_int_equal(store_list_revision(l), store_revision(c->peer));
    assert_int_equal(store_list_remaining(l), 6);
    store_list_free(l);
}

static void
test_list_stays_at_its_revision(void **state)
{
    struct conf *c = *state;
    char last[64] = "";

    fill(c);
    struct store_list *l = store_list(c->f.store, RUNS, NULL, NULL);
    uint64_t revision = store_list_revision(l);
    assert_non_null(store_list_next(l));
    uint64_t b1 = cf_get(c->peer, "b", "1")->revision;
    assert_int_equal(cf_del(c, c->peer, "b", "1", b1, NULL), ERR_OK);
    assert_int_equal(cf_put(c, c->peer, "bb", "new", 1, 0, NULL), ERR_OK);
    assert_int_equal(cf_sync(c, c->f.store), ERR_OK);
    size_t n = 1;
    const struct object *o;
    while ((o = store_list_next(l)) != NULL) {
        n++;
        assert_true(o->revision <= revision);
        assert_string_not_equal(o->ns, "bb");
    }
    assert_int_equal(n, 6);
    assert_int_equal(store_list_revision(l), revision);
    store_list_free(l);
    /* going on at the newest state instead: what is past the position is seen */
    assert_int_equal(count_list(c->f.store, NULL, "a/2", 100, last), 3);
}

static void
test_not_older_than(void **state)
{
    struct conf *c = *state;
    struct fx_result r = {0};
    struct fx_result late = {0};
    uint64_t rev = 0;

    assert_int_equal(cf_put(c, c->f.store, "ns", "a", 1, 0, &rev), ERR_OK);
    assert_true(store_reach(c->f.store, rev, 100, fx_on_done, &r));
    assert_false(store_reach(c->f.store, rev + 1000000000, 100, fx_on_done, &late));
    fx_wait(&c->f, &late);
    assert_int_equal(late.e.code, ERR_TIMEOUT);
    /* one that comes */
    uint64_t want = store_revision(c->f.store) + 1;
    assert_false(store_reach(c->f.store, want, 10000, fx_on_done, &r));
    assert_int_equal(cf_put(c, c->peer, "ns", "b", 1, 0, NULL), ERR_OK);
    fx_wait(&c->f, &r);
    assert_int_equal(r.e.code, ERR_OK);
    assert_true(store_revision(c->f.store) >= want);
}

/* --- watches --- */

static void
test_watch(void **state)
{
    struct conf *c = *state;
    struct cf_watch here, there;
    uint64_t r[4] = {0};
    uint64_t from = store_revision(c->f.store);

    cf_watch_from(c, c->f.store, &here, from);
    cf_watch_from(c, c->peer, &there, from);
    assert_int_equal(cf_put(c, c->f.store, "ns", "a", 1, 0, &r[0]), ERR_OK);
    assert_int_equal(cf_put(c, c->f.store, "ns", "a", 2, r[0], &r[1]), ERR_OK);
    assert_int_equal(cf_sync(c, c->peer), ERR_OK);
    assert_int_equal(cf_del(c, c->peer, "ns", "a", r[1], &r[2]), ERR_OK);
    assert_int_equal(cf_put(c, c->peer, "ns", "a", 3, 0, &r[3]), ERR_OK);
    cf_events(&here, 4);
    cf_events(&there, 4);
    autofree char *want = xasprintf("+ns/a@%" PRIu64 "=1 ~ns/a@%" PRIu64
                                    "=2 -ns/a@%" PRIu64 "=2 +ns/a@%" PRIu64 "=3 ",
                                    r[0], r[1], r[2], r[3]);
    assert_string_equal(here.seen.ptr, want);
    assert_string_equal(there.seen.ptr, want);
    cf_watch_done(&here);
    cf_watch_done(&there);
    /* resumed in the middle: strictly after, nothing twice */
    cf_watch_from(c, c->peer, &there, r[1]);
    cf_events(&there, 2);
    assert_non_null(strstr(want, there.seen.ptr));
    cf_watch_done(&there);
}

static void
test_watch_selection(void **state)
{
    struct conf *c = *state;
    uint64_t from = store_revision(c->peer);
    struct store_watch_opts ns = {.resource = RUNS, .ns = "x", .from = from};
    struct store_watch_opts one = {
        .resource = RUNS, .ns = "x", .name = "a", .from = from};
    struct store_watch_opts label = {
        .resource = RUNS, .label_key = "app", .label_value = "x", .from = from};
    struct store_watch_opts all = {.from = from};
    struct store_watch_opts other = {.resource = "jobs.drover.dev", .from = from};
    struct cf_watch w[5];

    assert_int_equal(cf_watch(c, c->peer, &w[0], &ns), 0);
    assert_int_equal(cf_watch(c, c->peer, &w[1], &one), 0);
    assert_int_equal(cf_watch(c, c->peer, &w[2], &label), 0);
    assert_int_equal(cf_watch(c, c->peer, &w[3], &all), 0);
    assert_int_equal(cf_watch(c, c->peer, &w[4], &other), 0);
    assert_int_equal(cf_put(c, c->f.store, "x", "a", 1, 0, NULL), ERR_OK);
    assert_int_equal(cf_put(c, c->f.store, "x", "b", 1, 0, NULL), ERR_OK);
    fx_put(&c->f, RUNS, "y", "a", NULL, 1); /* without the label */
    cf_events(&w[3], 3);
    cf_events(&w[0], 2);
    cf_events(&w[1], 1);
    cf_events(&w[2], 2);
    assert_int_equal(w[4].n, 0);
    for (size_t i = 0; i < ARRAY_LEN(w); i++)
        cf_watch_done(&w[i]);
}

static void
test_atomic(void **state)
{
    struct conf *c = *state;
    struct cf_watch w;
    uint64_t a = 0;
    uint64_t r = 0;
    uint64_t from = store_revision(c->peer);

    cf_watch_from(c, c->peer, &w, from);
    assert_int_equal(cf_put(c, c->f.store, "ns", "a", 1, 0, &a), ERR_OK);
    struct cf_op ops[] = {{STORE_PUT, "ns", "a", 2, a},
                          {STORE_PUT, "ns", "b", 2, 0},
                          {STORE_PUT, "ns", "c", 2, 0}};
    assert_int_equal(cf_commit(c, c->f.store, ops, 3, &r), ERR_OK);
    cf_events(&w, 4);
    autofree char *want = xasprintf(
        "~ns/a@%" PRIu64 "=2 +ns/b@%" PRIu64 "=2 +ns/c@%" PRIu64 "=2 ", r, r, r);
    assert_non_null(strstr(w.seen.ptr, want));
    /* one that cannot be: none is */
    struct cf_op bad[] = {{STORE_PUT, "ns", "d", 3, 0},
                          {STORE_PUT, "ns", "a", 3, a},
                          {STORE_DELETE, "ns", "b", 0, r}};
    assert_int_equal(cf_commit(c, c->peer, bad, 3, NULL), ERR_CONFLICT);
    assert_null(cf_get(c->peer, "ns", "d"));
    assert_int_equal(fx_value(cf_get(c->peer, "ns", "b")), 2);
    struct cf_op dels[] = {{STORE_DELETE, "ns", "a", 0, r},
                           {STORE_DELETE, "ns", "c", 0, r}};
    assert_int_equal(cf_commit(c, c->peer, dels, 2, &r), ERR_OK);
    cf_events(&w, 6);
    assert_int_equal(w.last, r);
    cf_watch_done(&w);
    struct cf_op twice[] = {{STORE_PUT, "ns", "e", 3, 0}, {STORE_PUT, "ns", "e", 4, 0}};
    assert_int_equal(cf_commit(c, c->f.store, twice, 2, NULL), ERR_BAD_REQUEST);
}

static void
test_bookmark(void **state)
{
    struct conf *c = *state;
    struct cf_watch w;
    struct store_watch_opts other = {.resource = "jobs.drover.dev",
                                     .from = store_revision(c->peer)};
    uint64_t r = 0;

    assert_int_equal(cf_watch(c, c->peer, &w, &other), 0);
    for (int i = 0; i < 5; i++) {
        char name[8];
        snprintf(name, sizeof(name), "n%d", i);
        assert_int_equal(cf_put(c, c->f.store, "ns", name, i, 0, &r), ERR_OK);
    }
    assert_int_equal(cf_sync(c, c->peer), ERR_OK);
    /* nothing of its own, but it has seen everything up to here */
    uint64_t at = store_watch_position(w.w);
    assert_true(at >= r && at <= store_revision(c->peer));
    cf_watch_done(&w);
    /* a resume from the bookmark misses nothing */
    cf_watch_from(c, c->peer, &w, at);
    assert_int_equal(cf_put(c, c->f.store, "ns", "after", 9, 0, NULL), ERR_OK);
    cf_events(&w, 1);
    cf_watch_done(&w);
}

struct lag {
    struct cf_watch *w;
    bool woken;
};

static void
on_lag(void *arg)
{
    ((struct lag *)arg)->woken = true;
}

/* A slow watcher's position never runs ahead of what it was given. */
static void
test_bookmark_behind_events(void **state)
{
    struct conf *c = *state;
    struct lag lag = {0};
    struct store_watch_opts o = {
        .resource = RUNS, .from = store_revision(c->peer), .wake = on_lag, .arg = &lag};
    struct store_watch *w = NULL;
    struct error e = ERROR_INIT;
    struct store_event ev;
    uint64_t r[3];

    assert_int_equal(store_watch(c->peer, &o, &w, &e), 0);
    for (int i = 0; i < 3; i++) {
        char name[8];
        snprintf(name, sizeof(name), "n%d", i);
        assert_int_equal(cf_put(c, c->f.store, "ns", name, i, 0, &r[i]), ERR_OK);
    }
    assert_int_equal(cf_sync(c, c->peer), ERR_OK);
    for (int i = 0; i < 3; i++) {
        assert_true(store_watch_position(w) < r[i]);
        assert_int_equal(store_watch_next(w, &ev, &e), 1);
        assert_int_equal(ev.revision, r[i]);
    }
    assert_int_equal(store_watch_next(w, &ev, &e), 0);
    assert_true(store_watch_position(w) >= r[2]);
    store_watch_free(w);
}

static void
test_compaction(void **state)
{
    struct conf *c = *state;
    struct fx_result r = {0};
    struct error e = ERROR_INIT;
    struct cf_watch w;
    uint64_t rev[6] = {0};

    for (int i = 0; i < 6; i++)
        assert_int_equal(
            cf_put(c, c->f.store, "ns", "a", i, i == 0 ? 0 : rev[i - 1], &rev[i]),
            ERR_OK);
    assert_int_equal(store_compact(c->f.store, rev[5] + 1000, NULL, NULL, &e),
                     -ERR_BAD_REQUEST);
    assert_int_equal(store_compact(c->f.store, rev[3], fx_on_done, &r, &e), 0);
    fx_wait(&c->f, &r);
    assert_int_equal(r.e.code, ERR_OK);
    struct store_watch_opts old = {.resource = RUNS, .from = rev[1]};
    assert_int_equal(cf_watch(c, c->f.store, &w, &old), ERR_EXPIRED);
    str_done(&w.seen);
    cf_watch_from(c, c->f.store, &w, rev[3]);
    cf_events(&w, 2);
    cf_watch_done(&w);
    assert_int_equal(fx_value(cf_get(c->f.store, "ns", "a")), 5);
}

/* Deleted, compacted at that revision, watched from before (a bug that etcd had): a
 * server that starts or resumes there must not miss the deletion. */
static void
test_delete_at_compaction(void **state)
{
    struct conf *c = *state;
    struct fx_result r = {0};
    struct error e = ERROR_INIT;
    uint64_t a = 0;
    uint64_t gone = 0;
    struct cf_watch w;

    assert_int_equal(cf_put(c, c->f.store, "ns", "a", 1, 0, &a), ERR_OK);
    assert_int_equal(cf_del(c, c->f.store, "ns", "a", a, &gone), ERR_OK);
    assert_int_equal(store_compact(c->f.store, gone, fx_on_done, &r, &e), 0);
    fx_wait(&c->f, &r);
    assert_int_equal(cf_sync(c, c->peer), ERR_OK);
    assert_null(cf_get(c->peer, "ns", "a"));
    struct store_watch_opts at = {.resource = RUNS, .from = a};
    assert_int_equal(cf_watch(c, c->f.store, &w, &at), ERR_EXPIRED);
    str_done(&w.seen);
    fx_reopen(&c->f);
    if (!c->etcd)
        c->peer = c->f.store;
    assert_null(cf_get(c->f.store, "ns", "a"));
}

static void
test_reopen(void **state)
{
    struct conf *c = *state;
    struct cf_watch w;

    fill(c);
    autofree char *before = fx_dump(c->f.store);
    uint64_t revision = store_revision(c->f.store);
    fx_reopen(&c->f);
    if (!c->etcd)
        c->peer = c->f.store;
    autofree char *after = fx_dump(c->f.store);
    assert_string_equal(before, after);
    assert_true(store_revision(c->f.store) >= revision);
    /* a watch resumes over the restart, and its first event is the next one */
    cf_watch_from(c, c->f.store, &w, store_revision(c->f.store));
    uint64_t r = 0;
    assert_int_equal(cf_put(c, c->peer, "ns", "next", 1, 0, &r), ERR_OK);
    cf_events(&w, 1);
    assert_int_equal(w.last, r);
    assert_true(r > revision);
    cf_watch_done(&w);
}

/* Many writers on both servers; both watchers see the same, once, in the same order. */
static void
test_one_order(void **state)
{
    struct conf *c = *state;
    struct cf_watch here, there;
    struct fx_result r[200] = {{0}};
    uint64_t from = store_revision(c->f.store);
    size_t made = 0;

    cf_watch_from(c, c->f.store, &here, from);
    cf_watch_from(c, c->peer, &there, from);
    for (size_t i = 0; i < ARRAY_LEN(r); i++) {
        struct store *s = i % 2 == 0 ? c->f.store : c->peer;
        char name[16];
        struct error e = ERROR_INIT;
        snprintf(name, sizeof(name), "n%zu", i);
        auto_object *o = fx_object("ns", name, NULL, (int)i, 500);
        struct store_op op = {STORE_PUT, {RUNS, "ns", name}, 0, o};
        assert_int_equal(
            store_commit(s, &op, 1, STORE_DURABLE, fx_on_done, &r[i], NULL, &e), 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(r); i++) {
        fx_wait(&c->f, &r[i]);
        made += r[i].e.code == ERR_OK;
    }
    assert_int_equal(made, ARRAY_LEN(r));
    cf_events(&here, made);
    cf_events(&there, made);
    assert_string_equal(here.seen.ptr, there.seen.ptr);
    cf_watch_done(&here);
    cf_watch_done(&there);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_create, setup, teardown),
        cmocka_unit_test_setup_teardown(test_get_on_the_other_server, setup, teardown),
        cmocka_unit_test_setup_teardown(test_update, setup, teardown),
        cmocka_unit_test_setup_teardown(test_delete_with_precondition, setup, teardown),
        cmocka_unit_test_setup_teardown(test_guaranteed_update, setup, teardown),
        cmocka_unit_test_setup_teardown(test_names_and_sizes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_list, setup, teardown),
        cmocka_unit_test_setup_teardown(test_list_stays_at_its_revision, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_older_than, setup, teardown),
        cmocka_unit_test_setup_teardown(test_watch, setup, teardown),
        cmocka_unit_test_setup_teardown(test_watch_selection, setup, teardown),
        cmocka_unit_test_setup_teardown(test_atomic, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bookmark, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bookmark_behind_events, setup, teardown),
        cmocka_unit_test_setup_teardown(test_compaction, setup, teardown),
        cmocka_unit_test_setup_teardown(test_delete_at_compaction, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reopen, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_order, setup, teardown),
    };

    if (argc < 2 || (strcmp(argv[1], "files") != 0 && strcmp(argv[1], "etcd") != 0)) {
        fprintf(stderr, "usage: test_store_conformance files | etcd\n");
        return 2;
    }
    on_etcd = strcmp(argv[1], "etcd") == 0;
    if (on_etcd)
        cf_etcd_up(&shared, "");
    if (argc > 2)
        cmocka_set_test_filter(argv[2]);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    cf_etcd_down(&shared);
    return rc;
}
