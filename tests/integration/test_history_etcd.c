/* SPDX-License-Identifier: Apache-2.0 */
/* The history with two API servers on one etcd: both end generations of one object. */
#include "integration/conformance.h"

#include <stdio.h>
#include <stdlib.h>

#include "apiserver/registry/history.h"
#include "apiserver/registry/server.h"
#include "base/log.h"
#include "base/mem.h"

enum { WRITES = 24, KEPT = 4, WAIT_MS = 30000 };

struct side {
    struct store *store;
    struct api_server *server;
};
struct world {
    struct conf c;
    struct kinds *kinds;
    struct side side[2];
    char prefix[32];
    size_t open, done_ok, failed;
};

static void
on_fatal(void *arg, const struct error *e)
{
    UNUSED(arg);
    fail_msg("the store failed: %s", e->msg);
}

static void
start_side(struct world *w, struct side *s, const struct history_limits *limits)
{
    struct error e = ERROR_INIT;
    struct store_opts so = {.etcd = &w->c.eo,
                            .on_fatal = on_fatal,
                            .kind_of = kinds_kind_of,
                            .arg = w->kinds};

    if (store_open(w->c.f.loop, &so, &s->store, &e) < 0)
        fail_msg("%s", e.msg);
    struct api_server_opts ao = {.loop = w->c.f.loop,
                                 .store = s->store,
                                 .kinds = w->kinds,
                                 .history = *limits,
                                 .advertise_address = "127.0.0.1:1"};
    if (api_server_new(&ao, &s->server, &e) < 0 ||
        api_server_start_loops(s->server, &e) < 0)
        fail_msg("%s", e.msg);
}

static void
start_world(struct world *w, const struct conf *etcd, const char *name,
            const struct history_limits *limits)
{
    struct error e = ERROR_INIT;

    log_set_level(LOG_LV_ERR);
    if (loop_new(&w->c.f.loop, &e) < 0 || kinds_load(&w->kinds, &e) < 0)
        fail_msg("%s", e.msg);
    w->c.endpoints = etcd->endpoints;
    snprintf(w->prefix, sizeof(w->prefix), "/%s", name);
    cf_etcd_opts(&w->c, w->prefix);
    for (size_t i = 0; i < ARRAY_LEN(w->side); i++)
        start_side(w, &w->side[i], limits);
}

static void
stop_world(struct world *w)
{
    for (size_t i = 0; i < ARRAY_LEN(w->side); i++) {
        api_server_prepare_close(w->side[i].server);
        store_close(w->side[i].store);
        api_server_free(w->side[i].server);
    }
    kinds_free(w->kinds);
    loop_free(w->c.f.loop);
}

/* --- requests --- */

static void
on_done(void *arg, const struct write_result *r)
{
    struct world *w = arg;

    w->open--;
    if (r->obj != NULL)
        w->done_ok++;
    else if (r->problem->e.code == ERR_CONFLICT)
        w->failed++; /* lost too often against the other server */
    else
        fail_msg("%s", r->problem->e.msg);
}

static bool
is_done(void *arg)
{
    return ((struct world *)arg)->open == 0;
}

static void
send_write(struct world *w, size_t side, enum write_type type, const char *resource,
           const char *json)
{
    bool run = streq(resource, RUNS);
    struct write_req r = {.kind = kinds_by_resource(w->kinds, resource),
                          .type = type,
                          .ns = run ? "default" : "",
                          .name = run ? "ra" : "default",
                          .sub = "",
                          .body = span_of(json)};

    snprintf(r.opt.manager, sizeof(r.opt.manager), "test");
    w->open++;
    registry_write(w->side[side].server, &r, on_done, w);
}

static void
update_from_both(struct world *w)
{
    for (int n = 0; n < WRITES; n++) {
        autofree char *json = xasprintf("{\"spec\":{\"env\":{\"N\":\"%d\"}}}", n);
        send_write(w, (size_t)n % 2, WRITE_MERGE, RUNS, json);
    }
    cf_until(&w->c, is_done, w, WAIT_MS);
}

static void
create(struct world *w)
{
    send_write(w, 0, WRITE_CREATE, "namespaces",
               "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":"
               "\"default\"}}");
    cf_until(&w->c, is_done, w, WAIT_MS);
    send_write(
        w, 0, WRITE_CREATE, RUNS,
        "{\"apiVersion\":\"drover.dev/v1\",\"kind\":\"Run\",\"metadata\":{\"name\":"
        "\"ra\"},\"spec\":{\"type\":\"task\",\"commands\":[\"true\"]}}");
    cf_until(&w->c, is_done, w, WAIT_MS);
    assert_int_equal(w->done_ok, 2);
    w->done_ok = 0;
}

/* Revisions in a store's view; checks that they follow each other up to `last`. */
static size_t
count_revisions(struct store *s, int64_t last)
{
    struct store_list *l = store_list(s, HISTORY_RESOURCE, "default", NULL);
    const struct object *o;
    int64_t before = 0;
    size_t n = 0;

    while ((o = store_list_next(l)) != NULL) {
        int64_t generation = revision_generation(o);
        if (before != 0 && last != 0)
            assert_int_equal(generation, before + 1);
        before = generation;
        n++;
    }
    store_list_free(l);
    if (last != 0)
        assert_int_equal(before, last);
    return n;
}

static bool
few_enough(void *arg)
{
    struct world *w = arg;

    return count_revisions(w->side[0].store, 0) <= KEPT &&
           count_revisions(w->side[1].store, 0) <= KEPT;
}

static void
both_servers_keep_one_history(void **state)
{
    struct history_limits limits = {0};
    struct store_key key = {RUNS, "default", "ra"};
    struct world w = {0};

    start_world(&w, *state, "one", &limits);
    create(&w);
    update_from_both(&w);
    assert_int_equal(w.done_ok + w.failed, WRITES);
    assert_true(w.done_ok >= WRITES / 2);
    cf_sync(&w.c, w.side[0].store);
    cf_sync(&w.c, w.side[1].store);
    /* each write that was acknowledged ended exactly one generation */
    for (size_t i = 0; i < ARRAY_LEN(w.side); i++) {
        assert_int_equal(store_get(w.side[i].store, &key)->facts.generation,
                         1 + w.done_ok);
        assert_int_equal(count_revisions(w.side[i].store, (int64_t)w.done_ok), w.done_ok);
    }
    stop_world(&w);
}

static void
both_servers_bound_it(void **state)
{
    struct history_limits limits = {.per_object = KEPT};
    struct world w = {0};

    start_world(&w, *state, "two", &limits);
    create(&w);
    update_from_both(&w);
    cf_until(&w.c, few_enough, &w, WAIT_MS);
    cf_sync(&w.c, w.side[0].store);
    assert_int_equal(count_revisions(w.side[0].store, (int64_t)w.done_ok), KEPT);
    stop_world(&w);
}

/* One etcd for all cases; it ends when one fails too. */
static int
etcd_up(void **state)
{
    struct conf *etcd = xnew(struct conf);

    cf_etcd_up(etcd, "");
    *state = etcd;
    return 0;
}

static int
etcd_down(void **state)
{
    cf_etcd_down(*state);
    free(*state);
    return 0;
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_servers_keep_one_history),
        cmocka_unit_test(both_servers_bound_it),
    };
    return cmocka_run_group_tests(tests, etcd_up, etcd_down);
}
