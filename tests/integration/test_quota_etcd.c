/* SPDX-License-Identifier: Apache-2.0 */
/* A quota with two API servers on one etcd: the last place is taken once. */
#include "integration/conformance.h"

#include <stdio.h>
#include <stdlib.h>

#include "api/jtok.h"
#include "apiserver/registry/server.h"
#include "base/log.h"
#include "base/mem.h"

enum { CREATES = 40, PLACES = 7, WAIT_MS = 30000 };

struct side {
    struct store *store;
    struct api_server *server;
};
struct world {
    struct conf c;
    struct kinds *kinds;
    struct side side[2];
    char prefix[32];
    const char *used; /* what is waited for */
    size_t open, made, refused;
};

static void
on_fatal(void *arg, const struct error *e)
{
    UNUSED(arg);
    fail_msg("the store failed: %s", e->msg);
}

static void
start_side(struct world *w, struct side *s)
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
                                 .advertise_address = "127.0.0.1:1"};
    if (api_server_new(&ao, &s->server, &e) < 0 ||
        api_server_start_loops(s->server, &e) < 0)
        fail_msg("%s", e.msg);
}

static void
on_done(void *arg, const struct write_result *r)
{
    struct world *w = arg;

    w->open--;
    if (r->obj != NULL)
        w->made++;
    else if (r->problem->e.code == ERR_FORBIDDEN || r->problem->e.code == ERR_CONFLICT)
        w->refused++;
    else
        fail_msg("%s", r->problem->e.msg);
}

static bool
is_done(void *arg)
{
    return ((struct world *)arg)->open == 0;
}

static void
create(struct world *w, size_t side, const char *resource, const char *json)
{
    struct write_req r = {.kind = kinds_by_resource(w->kinds, resource),
                          .type = WRITE_CREATE,
                          .ns = streq(resource, "namespaces") ? "" : "default",
                          .name = "",
                          .sub = "",
                          .body = span_of(json)};

    w->open++;
    registry_write(w->side[side].server, &r, on_done, w);
}

static bool
used_is(const struct side *s, const char *want)
{
    struct store_key key = {"resourcequotas", "default", "q"};
    const struct object *o = store_get(s->store, &key);
    struct span used;

    return o != NULL && object_path(o, "status.used.configmaps", &used) &&
           jscan_is(used, want);
}

static bool
both_say(void *arg)
{
    const struct world *w = arg;

    return used_is(&w->side[0], w->used) && used_is(&w->side[1], w->used);
}

static size_t
count(struct store *s)
{
    struct store_list *l = store_list(s, "configmaps", "default", NULL);
    size_t n = 0;

    while (store_list_next(l) != NULL)
        n++;
    store_list_free(l);
    return n;
}

static void
the_last_place_is_taken_once(void **state)
{
    struct conf *etcd = *state;
    struct world w = {.used = "0"};
    struct error e = ERROR_INIT;

    log_set_level(LOG_LV_ERR);
    if (loop_new(&w.c.f.loop, &e) < 0 || kinds_load(&w.kinds, &e) < 0)
        fail_msg("%s", e.msg);
    w.c.endpoints = etcd->endpoints;
    snprintf(w.prefix, sizeof(w.prefix), "/quota");
    cf_etcd_opts(&w.c, w.prefix);
    start_side(&w, &w.side[0]);
    start_side(&w, &w.side[1]);
    create(&w, 0, "namespaces", "{\"metadata\":{\"name\":\"default\"}}");
    cf_until(&w.c, is_done, &w, WAIT_MS);
    create(&w, 0, "resourcequotas",
           "{\"metadata\":{\"name\":\"q\"},\"spec\":{\"hard\":{\"configmaps\":\"7\"}}}");
    cf_until(&w.c, both_say, &w, WAIT_MS);
    w.made = 0;
    for (size_t i = 0; i < CREATES; i++) {
        char json[128];
        snprintf(json, sizeof(json), "{\"metadata\":{\"name\":\"c%zu\"}}", i);
        create(&w, i % 2, "configmaps", json);
    }
    cf_until(&w.c, is_done, &w, WAIT_MS);
    assert_int_equal(w.made, PLACES);
    assert_int_equal(w.refused, CREATES - PLACES);
    w.used = "7";
    cf_until(&w.c, both_say, &w, WAIT_MS);
    for (size_t i = 0; i < ARRAY_LEN(w.side); i++) {
        cf_sync(&w.c, w.side[i].store);
        assert_int_equal(count(w.side[i].store), PLACES);
    }
    for (size_t i = 0; i < ARRAY_LEN(w.side); i++) {
        api_server_prepare_close(w.side[i].server);
        store_close(w.side[i].store);
        api_server_free(w.side[i].server);
    }
    kinds_free(w.kinds);
    loop_free(w.c.f.loop);
}

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
        cmocka_unit_test(the_last_place_is_taken_once),
    };
    return cmocka_run_group_tests(tests, etcd_up, etcd_down);
}
