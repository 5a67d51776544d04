/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The etcd driver when etcd is not well: killed and restarted, a node of three stopped,
 * away for long, compacted behind our back, with TLS, users and tokens that end. Two
 * stores (API servers) write all the while, and at the end everything is accounted for:
 *
 *   acknowledged   is in the history, once, and its object is what was written last
 *   "not made"     is not in the history
 *   "not known"    is there or is not, but not twice
 *
 * and both servers' watchers saw the same events in the same order.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/id.h"
#include "base/mem.h"
#include "base/vec.h"
#include "integration/conformance.h"
#include "integration/etcd_proxy.h"

#define WRITERS 16

/* --- the load --- */

enum verdict { UNSETTLED, MADE, NOT_MADE, NOT_KNOWN };

struct load;
struct writer {
    struct load *l;
    struct store *s;
    char name[16];
    int64_t value; /* of the write that is under way */
    bool busy;
};

struct load {
    struct conf *c;
    struct writer w[WRITERS];
    vec(unsigned char) verdicts; /* by value */
    bool stop;
    size_t made, not_made, not_known, conflicts, unanswered;
    struct cf_watch here, there;
};

static void write_next(struct writer *w);

static void
on_written(void *arg, uint64_t revision, const struct error *e)
{
    struct writer *w = arg;
    struct load *l = w->l;
    unsigned char *v = &l->verdicts.items[w->value];

    UNUSED(revision);
    w->busy = false;
    if (e == NULL) {
        *v = MADE;
        l->made++;
    } else if (e->code == ERR_TIMEOUT) {
        *v = NOT_KNOWN;
        l->not_known++;
    } else if (e->code == ERR_CONFLICT || e->code == ERR_EXISTS ||
               e->code == ERR_NOT_FOUND) {
        *v = NOT_MADE;
        l->conflicts++;
    } else {
        assert_int_equal(e->code, ERR_UNAVAILABLE);
        *v = NOT_MADE;
        l->not_made++;
    }
    write_next(w);
}

/* Each object has two writers, one on each server, so that they also collide. Every
 * eighth write is a delete. */
static void
write_next(struct writer *w)
{
    struct load *l = w->l;
    struct store_key k = {RUNS, "ns", w->name};
    struct error e = ERROR_INIT;

    while (!l->stop && !w->busy) {
        const struct object *have = store_peek(w->s, &k);
        w->value = (int64_t)l->verdicts.len;
        vec_push(&l->verdicts, UNSETTLED);
        auto_object *o = fx_object("ns", w->name, NULL, w->value, 100);
        bool del = have != NULL && w->value % 8 == 0;
        struct store_op op = {.type = del ? STORE_DELETE : STORE_PUT,
                              .key = k,
                              .expect = have == NULL ? 0 : have->revision,
                              .obj = del ? NULL : o};
        int rc = store_commit(w->s, &op, 1, STORE_DURABLE, on_written, w, NULL, &e);
        w->busy = rc == 0;
        if (rc < 0)
            l->verdicts.items[w->value] = NOT_MADE;
        if (del) /* a delete leaves no value behind to look for */
            l->verdicts.items[w->value] = UNSETTLED;
    }
}

static void
load_start(struct load *l, struct conf *c)
{
    *l = (struct load){.c = c};
    uint64_t from = store_revision(c->f.store);

    assert_int_equal(cf_sync(c, c->peer), ERR_OK);
    cf_watch_from(c, c->f.store, &l->here, from);
    cf_watch_from(c, c->peer, &l->there, from);
    for (size_t i = 0; i < WRITERS; i++) {
        l->w[i].l = l;
        l->w[i].s = i % 2 == 0 ? c->f.store : c->peer;
        snprintf(l->w[i].name, sizeof(l->w[i].name), "o%zu", i / 2);
        write_next(&l->w[i]);
    }
}

static void
turn_for(struct conf *c, int ms)
{
    int64_t end = clock_now_ns() + (int64_t)ms * 1000000;

    while (clock_now_ns() < end)
        loop_turn(c->f.loop, 10);
}

struct more {
    struct load *l;
    size_t made;
};

static bool
has_more(void *arg)
{
    const struct more *m = arg;

    return m->l->made >= m->made;
}

/* Until so many more writes were acknowledged: it works again. */
static void
made_more(struct load *l, size_t n)
{
    struct more m = {l, l->made + n};

    cf_until(l->c, has_more, &m, 20000);
}

static bool
all_idle(void *arg)
{
    const struct load *l = arg;

    for (size_t i = 0; i < WRITERS; i++) {
        if (l->w[i].busy)
            return false;
    }
    return true;
}

/* How often each value was put, by the watcher's record. */
static unsigned char *
count_values(const struct load *l, const char *seen)
{
    unsigned char *n = xcalloc(l->verdicts.len + 1, 1);

    for (const char *p = seen; *p != '\0';) {
        const char *end = strchr(p, ' ');
        const char *eq = memchr(p, '=', (size_t)(end - p));
        size_t value = (size_t)strtoull(eq + 1, NULL, 10);
        assert_true(value < l->verdicts.len);
        if (*p != '-')
            n[value]++;
        p = end + 1;
    }
    return n;
}

static bool
same_sight(void *arg)
{
    const struct load *l = arg;

    return l->here.seen.len == l->there.seen.len;
}

static void
load_end(struct load *l)
{
    struct conf *c = l->c;

    l->stop = true;
    cf_until(c, all_idle, l, 30000);
    assert_int_equal(cf_sync(c, c->f.store), ERR_OK);
    assert_int_equal(cf_sync(c, c->peer), ERR_OK);
    cf_until(c, same_sight, l, 10000);
    assert_int_equal(c->f.fatal, 0);
    assert_int_equal(l->here.expired, 0);
    assert_int_equal(l->there.expired, 0);
    assert_string_equal(l->here.seen.ptr, l->there.seen.ptr);
    autofree unsigned char *n = count_values(l, l->here.seen.ptr);
    for (size_t i = 0; i < l->verdicts.len; i++) {
        if (n[i] > 1)
            fail_msg("value %zu was written %d times", i, n[i]);
        if (l->verdicts.items[i] == MADE && n[i] != 1 && i % 8 != 0)
            fail_msg("value %zu was acknowledged and is not in the history", i);
        if (l->verdicts.items[i] == NOT_MADE && n[i] != 0)
            fail_msg("value %zu was said not to be made, but is in the history", i);
    }
    /* A server that starts now sees what these two have. */
    struct store *fresh = cf_open(c);
    autofree char *a = fx_dump(c->f.store);
    autofree char *b = fx_dump(c->peer);
    autofree char *d = fx_dump(fresh);
    assert_string_equal(a, b);
    assert_string_equal(a, d);
    store_close(fresh);
    struct store_stats st;
    struct store_stats sp;
    store_stats(c->f.store, &st);
    store_stats(c->peer, &sp);
    l->unanswered = st.unknown_outcomes + sp.unknown_outcomes;
    print_message("made %zu, not made %zu, not known %zu, conflicts %zu, events %zu, "
                  "without an answer at first %zu\n",
                  l->made, l->not_made, l->not_known, l->conflicts, l->here.n,
                  l->unanswered);
    cf_watch_done(&l->here);
    cf_watch_done(&l->there);
    vec_done(&l->verdicts);
}

/* --- setup --- */

static int
setup(void **state, const char *args)
{
    struct conf *c = xnew(struct conf);

    *state = c;
    fx_init(&c->f, false);
    c->etcd = true;
    cf_etcd_up(c, args);
    snprintf(c->prefix, sizeof(c->prefix), "/registry/x");
    cf_etcd_opts(c, c->prefix);
    return 0;
}

static void
open_both(struct conf *c)
{
    c->f.store = cf_open(c);
    c->peer = cf_open(c);
}

static int
setup_one(void **state)
{
    setup(state, "");
    open_both(*state);
    return 0;
}

/* The cluster only; the test opens the stores. */
static int
setup_none(void **state)
{
    return setup(state, "");
}

static int
setup_three(void **state)
{
    setup(state, "--nodes 3");
    open_both(*state);
    return 0;
}

static int
teardown(void **state)
{
    struct conf *c = *state;

    store_close(c->peer);
    fx_done(&c->f);
    cf_etcd_down(c);
    cf_etcd_opts_done(c);
    free(c);
    return 0;
}

static int
rounds(int few, int many)
{
    return getenv("DROVER_LONG") != NULL ? many : few;
}

/* --- tests --- */

static void
test_killed_and_restarted(void **state)
{
    struct conf *c = *state;
    struct load l;

    load_start(&l, c);
    made_more(&l, 100);
    for (int i = 0, n = rounds(4, 40); i < n; i++) {
        turn_for(c, (int)id_uniform(300));
        cf_etcd(c, "--kill", 0);
        turn_for(c, (int)id_uniform(200));
        cf_etcd(c, "--start", 0);
        made_more(&l, 50);
    }
    load_end(&l);
    assert_true(l.unanswered > 0); /* else nothing was put to the test */
}

static int
node_of(const struct conf *c, bool leader)
{
    autofree char *command =
        xasprintf("ETCDCTL_API=3 etcdctl --endpoints %s endpoint status | "
                  "awk -F', ' '{print NR-1, $5}' | grep %s | head -1 | cut -d' ' -f1",
                  c->endpoints, leader ? "true" : "false");
    autofree char *out = cf_run(command);

    return (int)strtol(out, NULL, 10);
}

/* The node that our stores talk to (the first) is cut off and comes back. */
static void
test_node_cut_off(void **state)
{
    struct conf *c = *state;
    struct load l;

    load_start(&l, c);
    made_more(&l, 100);
    for (int i = 0, n = rounds(2, 20); i < n; i++) {
        pid_t pid = cf_etcd_pid(c, i % 3);
        kill(pid, SIGSTOP);
        made_more(&l, 100);
        kill(pid, SIGCONT);
        made_more(&l, 50);
    }
    load_end(&l);
}

static void
test_leader_stopped_and_killed(void **state)
{
    struct conf *c = *state;
    struct load l;

    load_start(&l, c);
    made_more(&l, 100);
    int leader = node_of(c, true);
    pid_t pid = cf_etcd_pid(c, leader);
    kill(pid, SIGSTOP);
    made_more(&l, 100);
    kill(pid, SIGCONT);
    made_more(&l, 50);
    leader = node_of(c, true);
    cf_etcd(c, "--kill", leader);
    made_more(&l, 100);
    cf_etcd(c, "--start", leader);
    made_more(&l, 50);
    load_end(&l);
}

/* Without etcd: what is here can be read and watched, the rest fails in bounded time and
 * says so, and all is well again afterwards. */
static void
test_away(void **state)
{
    struct conf *c = *state;
    struct cf_watch w;
    uint64_t r = 0;

    c->eo.attempt_ms = 500;
    c->eo.deadline_ms = 1500;
    fx_reopen(&c->f);
    assert_int_equal(cf_put(c, c->f.store, "ns", "a", 1, 0, &r), ERR_OK);
    cf_watch_from(c, c->f.store, &w, 0 + store_revision(c->f.store));
    cf_etcd(c, "--kill", 0);
    int64_t start = clock_now_ns();
    int rc = cf_put(c, c->f.store, "ns", "a", 2, r, NULL);
    assert_true(rc == ERR_UNAVAILABLE || rc == ERR_TIMEOUT);
    rc = cf_sync(c, c->f.store);
    assert_true(rc == ERR_UNAVAILABLE || rc == ERR_TIMEOUT);
    assert_true(clock_now_ns() - start < 6000000000);
    assert_int_equal(fx_value(cf_get(c->f.store, "ns", "a")), 1);
    struct store *s = NULL;
    struct error e = ERROR_INIT;
    c->eo.load_ms = 500;
    assert_int_equal(store_open(c->f.loop, &c->f.opts, &s, &e), -ERR_UNAVAILABLE);
    assert_non_null(strstr(e.msg, c->endpoints));
    cf_etcd(c, "--start", 0);
    while (cf_sync(c, c->f.store) != ERR_OK)
        turn_for(c, 50);
    r = cf_get(c->f.store, "ns", "a")->revision;
    assert_int_equal(cf_put(c, c->f.store, "ns", "a", 3, r, &r), ERR_OK);
    cf_events(&w, w.n > 1 ? w.n : 1);
    assert_int_equal(w.last, r);
    cf_watch_done(&w);
}

static void
etcdctl(struct conf *c, const char *args)
{
    autofree char *command =
        xasprintf("ETCDCTL_API=3 etcdctl --endpoints %s %s", c->endpoints, args);
    free(cf_run(command));
}

/* While a server does not see the changes, they are made and compacted: it reads all
 * again, and watchers that would have missed something are told. */
static void
test_compacted_behind_our_back(void **state)
{
    struct conf *c = *state;
    struct cf_watch w;
    uint64_t r[3] = {0};

    assert_int_equal(cf_put(c, c->f.store, "ns", "kept", 1, 0, &r[0]), ERR_OK);
    assert_int_equal(cf_put(c, c->f.store, "ns", "goes", 1, 0, &r[1]), ERR_OK);
    assert_int_equal(cf_sync(c, c->peer), ERR_OK);
    cf_watch_from(c, c->f.store, &w, store_revision(c->f.store));
    /* by a process of its own: our loop does not turn meanwhile */
    const char *goes = "/registry/x/drover.dev/runs/ns/goes";
    autofree char *del = xasprintf("del %s", goes);
    etcdctl(c, del);
    cf_etcd(c, "--kill", 0);
    cf_etcd(c, "--start", 0);
    autofree char *status =
        xasprintf("ETCDCTL_API=3 etcdctl --endpoints %s get %s/_meta/last -w fields | "
                  "grep '\"Revision\"' | tr -dc 0-9",
                  c->endpoints, c->prefix);
    autofree char *revision = cf_run(status);
    autofree char *compact = xasprintf("put /elsewhere 1");
    etcdctl(c, compact);
    uint64_t to = strtoull(revision, NULL, 10) + 1;
    autofree char *command = xasprintf("compact %" PRIu64, to);
    etcdctl(c, command);
    while (w.expired == 0)
        loop_turn(c->f.loop, 100);
    assert_int_equal(w.expired, ERR_EXPIRED);
    assert_int_equal(w.n, 0);
    cf_watch_done(&w);
    assert_int_equal(cf_sync(c, c->f.store), ERR_OK);
    assert_null(cf_get(c->f.store, "ns", "goes"));
    assert_int_equal(cf_get(c->f.store, "ns", "kept")->revision, r[0]);
    assert_true(store_oldest(c->f.store) >= to - 1);
    cf_watch_from(c, c->f.store, &w, store_revision(c->f.store));
    assert_int_equal(cf_put(c, c->f.store, "ns", "new", 1, 0, &r[2]), ERR_OK);
    cf_events(&w, 1);
    cf_watch_done(&w);
}

/* What others put below the prefix is not served as something it is not. */
static void
test_rubbish(void **state)
{
    struct conf *c = *state;

    assert_int_equal(cf_put(c, c->f.store, "ns", "a", 1, 0, NULL), ERR_OK);
    etcdctl(c, "put /registry/x/drover.dev/runs/ns/bad '{not json'");
    etcdctl(c, "put /registry/x/drover.dev/runs/ns/lie "
               "'{\"metadata\":{\"name\":\"other\",\"uid\":\"u\"}}'");
    etcdctl(c, "put /registry/x/a/b/c/d/e/f x");
    etcdctl(c, "put /registry/x/_meta/unknown x");
    assert_int_equal(cf_put(c, c->f.store, "ns", "b", 1, 0, NULL), ERR_OK);
    assert_int_equal(store_count(c->f.store, RUNS), 2);
    struct store *fresh = cf_open(c);
    assert_int_equal(store_count(fresh, RUNS), 2);
    store_close(fresh);
    /* its name is taken, and that is said */
    assert_int_equal(cf_put(c, c->f.store, "ns", "bad", 1, 0, NULL), ERR_EXISTS);
}

/* A server's fence disappears: it puts it again and goes on. */
static void
test_fence_removed(void **state)
{
    struct conf *c = *state;

    assert_int_equal(cf_put(c, c->f.store, "ns", "a", 1, 0, NULL), ERR_OK);
    etcdctl(c, "del --prefix /registry/x/_meta/fence/");
    assert_int_equal(cf_put(c, c->f.store, "ns", "b", 1, 0, NULL), ERR_OK);
    assert_int_equal(cf_sync(c, c->peer), ERR_OK);
    assert_non_null(cf_get(c->peer, "ns", "b"));
}

/* "last" is set back: a hole in the count is noticed and everything is read again. */
static void
test_count_broken(void **state)
{
    struct conf *c = *state;
    struct cf_watch w;

    assert_int_equal(cf_put(c, c->f.store, "ns", "a", 1, 0, NULL), ERR_OK);
    assert_int_equal(cf_sync(c, c->peer), ERR_OK);
    cf_watch_from(c, c->peer, &w, store_revision(c->peer));
    etcdctl(c, "del /registry/x/_meta/last");
    while (w.expired == 0)
        loop_turn(c->f.loop, 100);
    cf_watch_done(&w);
    assert_int_equal(cf_put(c, c->f.store, "ns", "b", 1, 0, NULL), ERR_OK);
    assert_int_equal(cf_sync(c, c->peer), ERR_OK);
    assert_non_null(cf_get(c->peer, "ns", "b"));
}

/* TLS with client certificates, a user, and tokens that are void after a restart. */
static void
test_tls_and_users(void **state)
{
    struct conf *c = NULL;
    struct error e = ERROR_INIT;
    struct store *s = NULL;
    uint64_t r = 0;

    setup(state, "--tls --auth drover:secret");
    c = *state;
    c->eo.load_ms = 1500;
    assert_int_equal(store_open(c->f.loop, &c->f.opts, &s, &e), -ERR_UNAVAILABLE);
    assert_non_null(strstr(e.msg, "user name is empty"));
    c->eo.load_ms = 20000;
    autofree char *password = xasprintf("%s/password", c->f.root);
    assert_int_equal(fs_write_atomic(password, "secret\n", 7, 0600, &e), 0);
    c->eo.user = "drover";
    c->eo.password_file = password;
    open_both(c);
    assert_int_equal(cf_put(c, c->f.store, "ns", "a", 1, 0, &r), ERR_OK);
    cf_etcd(c, "--kill", 0);
    cf_etcd(c, "--start", 0);
    while (cf_sync(c, c->peer) != ERR_OK)
        turn_for(c, 50);
    assert_int_equal(cf_put(c, c->f.store, "ns", "a", 2, r, &r), ERR_OK);
    assert_int_equal(cf_sync(c, c->peer), ERR_OK);
    assert_int_equal(cf_get(c->peer, "ns", "a")->revision, r);
    /* the wrong password, and another authority */
    c->eo.load_ms = 1500;
    assert_int_equal(fs_write_atomic(password, "wrong\n", 6, 0600, &e), 0);
    assert_int_equal(store_open(c->f.loop, &c->f.opts, &s, &e), -ERR_UNAVAILABLE);
    assert_non_null(strstr(e.msg, "invalid user ID or password"));
    const char *ca = c->eo.ca_file;
    c->eo.ca_file = NULL;
    assert_int_equal(store_open(c->f.loop, &c->f.opts, &s, &e), -ERR_UNAVAILABLE);
    c->eo.ca_file = ca;
}

static void
test_bad_options(void **state)
{
    struct conf *c = NULL;
    struct error e = ERROR_INIT;
    struct store *s = NULL;

    UNUSED(state);
    c = xnew(struct conf);
    fx_init(&c->f, false);
    c->f.opts.etcd = &c->eo;
    c->eo = (struct store_etcd_opts){.endpoints = ""};
    assert_int_equal(store_open(c->f.loop, &c->f.opts, &s, &e), -ERR_BAD_REQUEST);
    c->eo = (struct store_etcd_opts){.endpoints = "localhost:2379"};
    assert_int_equal(store_open(c->f.loop, &c->f.opts, &s, &e), -ERR_BAD_REQUEST);
    c->eo = (struct store_etcd_opts){.endpoints = "http://127.0.0.1:1", .prefix = "x/"};
    assert_int_equal(store_open(c->f.loop, &c->f.opts, &s, &e), -ERR_BAD_REQUEST);
    c->eo = (struct store_etcd_opts){.endpoints = "http://127.0.0.1:1", .user = "u"};
    assert_int_equal(store_open(c->f.loop, &c->f.opts, &s, &e), -ERR_BAD_REQUEST);
    fx_done(&c->f);
    free(c);
}

/* A reply that is lost, a request that is lost, and one that comes later than its repeat:
 * each write is made exactly once, and said to be. */
static void
test_lost_and_late(void **state)
{
    struct conf *c = *state;
    struct proxy *p = proxy_start(c->endpoints);
    autofree char *url = xasprintf("http://127.0.0.1:%d", p->port);
    struct cf_watch w;
    uint64_t r = 0;

    c->eo.endpoints = url;
    c->f.store = cf_open(c);
    c->eo.endpoints = c->endpoints;
    c->peer = cf_open(c);
    assert_int_equal(cf_put(c, c->f.store, "ns", "warm", 1, 0, NULL), ERR_OK);
    cf_watch_from(c, c->f.store, &w, store_revision(c->f.store));
    atomic_store(&p->lose, LOSE_REPLY);
    assert_int_equal(cf_put(c, c->f.store, "ns", "reply", 1, 0, &r), ERR_OK);
    assert_int_equal(cf_get(c->f.store, "ns", "reply")->revision, r);
    atomic_store(&p->lose, LOSE_REQUEST);
    assert_int_equal(cf_put(c, c->f.store, "ns", "request", 1, 0, &r), ERR_OK);
    atomic_store(&p->lose, HOLD_REQUEST);
    assert_int_equal(cf_put(c, c->f.store, "ns", "late", 1, 0, &r), ERR_OK);
    assert_int_equal(p->lost, 3);
    /* gone by now; the transaction that comes late must not bring it back */
    assert_int_equal(cf_sync(c, c->peer), ERR_OK);
    assert_int_equal(cf_del(c, c->peer, "ns", "late", r, NULL), ERR_OK);
    const char *answer = release_held(p);
    assert_non_null(strstr(answer, "200 OK"));
    assert_null(strstr(answer, "\"succeeded\":true"));
    assert_int_equal(cf_sync(c, c->peer), ERR_OK);
    assert_null(cf_get(c->peer, "ns", "late"));
    cf_events(&w, 4); /* three made once each, and the deletion */
    cf_watch_done(&w);
    store_close(c->f.store);
    c->f.store = NULL;
    proxy_stop(p);
}

/* By itself, every round, and only what is older than one round. */
static void
test_compacts_by_itself(void **state)
{
    struct conf *c = *state;
    uint64_t r = 0;
    uint64_t first = 0;
    bool expired = false;

    c->eo.compact_ms = 300;
    c->f.store = cf_open(c);
    c->peer = cf_open(c); /* takes part, and one of the two does it */
    assert_int_equal(cf_put(c, c->f.store, "ns", "a", 0, 0, &first), ERR_OK);
    r = first;
    for (int i = 1; !expired && i < 500; i++) {
        autofree char *command = xasprintf(
            "ETCDCTL_API=3 etcdctl --endpoints %s get /x --rev %" PRIu64 " 2>&1 || true",
            c->endpoints, first);
        autofree char *out = cf_run(command);
        assert_int_equal(cf_put(c, c->f.store, "ns", "a", i, r, &r), ERR_OK);
        expired = strstr(out, "compacted") != NULL;
    }
    assert_true(expired);
    autofree char *latest = xasprintf(
        "ETCDCTL_API=3 etcdctl --endpoints %s get /x --rev %" PRIu64, c->endpoints, r);
    free(cf_run(latest)); /* what is newest can still be had */
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_options),
        cmocka_unit_test_setup_teardown(test_away, setup_one, teardown),
        cmocka_unit_test_setup_teardown(test_compacted_behind_our_back, setup_one,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_rubbish, setup_one, teardown),
        cmocka_unit_test_setup_teardown(test_fence_removed, setup_one, teardown),
        cmocka_unit_test_setup_teardown(test_count_broken, setup_one, teardown),
        cmocka_unit_test_teardown(test_tls_and_users, teardown),
        cmocka_unit_test_setup_teardown(test_lost_and_late, setup_none, teardown),
        cmocka_unit_test_setup_teardown(test_compacts_by_itself, setup_none, teardown),
        cmocka_unit_test_setup_teardown(test_killed_and_restarted, setup_one, teardown),
        cmocka_unit_test_setup_teardown(test_node_cut_off, setup_three, teardown),
        cmocka_unit_test_setup_teardown(test_leader_stopped_and_killed, setup_three,
                                        teardown),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
