/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server as it runs in production: computations on pool threads, commits by the log
 * writer, many writes to one object in flight. None may be lost, and none may see half of
 * another.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "apiserver/registry/server.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"

enum { WRITERS = 40, PATIENCE_MS = 30000 };

struct world {
    char *dir;
    struct loop *loop;
    struct loop_pool *pool;
    struct kinds *kinds;
    struct store *store;
    struct api_server *server;
    struct api_user *user;
    bool booted;
};

/* One request in flight. */
struct flight {
    char path[128], query[64];
    const char *content_type;
    struct str answer;
    int status; /* 0: not yet */
};

static const char *
get_query(const void *src, const char *key)
{
    const struct flight *x = src;

    return streq(key, "fieldManager") && x->query[0] != '\0' ? x->query : NULL;
}

static const char *
get_header(const void *src, const char *name)
{
    const struct flight *x = src;

    return streq(name, "Content-Type") ? x->content_type : NULL;
}

static void
on_header(void *arg, const char *name, const char *value)
{
    UNUSED(arg);
    UNUSED(name);
    UNUSED(value);
}

static void
on_respond(void *arg, int status, const char *type, struct str *body)
{
    struct flight *x = arg;

    UNUSED(type);
    x->status = status;
    str_add(&x->answer, body->ptr, body->len);
}

static const struct api_responder_ops ops = {.header = on_header, .respond = on_respond};

static void
send(struct world *w, struct flight *x, const char *method, const char *body)
{
    struct api_request req = {.method = method,
                              .path = x->path,
                              .query = get_query,
                              .header = get_header,
                              .src = x,
                              .body = span_of(body == NULL ? "" : body),
                              .user = w->user};

    str_init(&x->answer, 4 << 20);
    x->status = 0;
    api_call_run(api_call_new(w->server, &req, &ops, x));
}

static void
wait_for(struct world *w, const struct flight *x, size_t n)
{
    int64_t until = clock_now_ms() + PATIENCE_MS;
    size_t done = 0;

    while (done < n) {
        if (x[done].status != 0) {
            done++;
            continue;
        }
        assert_true(clock_now_ms() < until);
        loop_turn(w->loop, 100);
    }
}

static void
on_booted(void *arg, const struct error *e)
{
    struct world *w = arg;

    assert_null(e);
    w->booted = true;
}

static int
setup(void **state)
{
    struct world *w = xnew(struct world);
    char template[] = "/tmp/drover-pool-XXXXXX";
    struct error e = ERROR_INIT;

    log_set_level(LOG_LV_ERR);
    w->dir = xstrdup(mkdtemp(template));
    w->user = user_new("admin", "system:masters");
    if (loop_new(&w->loop, &e) < 0 || kinds_load(&w->kinds, &e) < 0)
        fail_msg("%s", e.msg);
    struct store_opts so = {.dir = w->dir, .kind_of = kinds_kind_of, .arg = w->kinds};
    w->pool = loop_pool_new(w->loop, "compute", 3);
    if (store_open(w->loop, &so, &w->store, &e) < 0)
        fail_msg("%s", e.msg);
    struct api_server_opts ao = {
        .loop = w->loop, .store = w->store, .kinds = w->kinds, .pool = w->pool};
    if (api_server_new(&ao, &w->server, &e) < 0 ||
        api_server_start_loops(w->server, &e) < 0)
        fail_msg("%s", e.msg);
    api_server_bootstrap(w->server, on_booted, w);
    while (!w->booted)
        loop_turn(w->loop, 100);
    *state = w;
    return 0;
}

static int
teardown(void **state)
{
    struct world *w = *state;
    struct error e = ERROR_INIT;

    api_server_leave_pool(w->server);
    loop_pool_free(w->pool);
    api_server_prepare_close(w->server);
    store_close(w->store);
    api_server_free(w->server);
    kinds_free(w->kinds);
    loop_free(w->loop);
    user_unref(w->user);
    int rc = fs_remove_tree(w->dir, &e);
    free(w->dir);
    free(w);
    return rc;
}

static json_t *
fetch(struct world *w, const char *path)
{
    struct flight x = {0};

    snprintf(x.path, sizeof(x.path), "%s", path);
    send(w, &x, "GET", NULL);
    wait_for(w, &x, 1);
    assert_int_equal(x.status, 200);
    json_t *tree = json_loadb(x.answer.ptr, x.answer.len, 0, NULL);
    str_done(&x.answer);
    return tree;
}

#define SETTINGS "/api/v1/namespaces/default/configmaps/settings"

/* Everybody applies a key of their own at once: all keys are there, each with its owner.
 * Every tenth writer merges instead, between them. */
static void
applies_at_once_are_all_kept(void **state)
{
    struct world *w = *state;
    struct flight flights[WRITERS] = {0};
    char body[256];

    for (int i = 0; i < WRITERS; i++) {
        bool merge = i % 10 == 9;
        snprintf(flights[i].path, sizeof(flights[i].path), SETTINGS);
        snprintf(flights[i].query, sizeof(flights[i].query), "writer%d", i);
        flights[i].content_type =
            merge ? "application/merge-patch+json" : "application/apply-patch+yaml";
        snprintf(body, sizeof(body),
                 "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":"
                 "\"settings\"},\"data\":{\"key%d\":\"%d\"}}",
                 i, i);
        send(w, &flights[i], "PATCH", body);
        /* The first must exist before anybody can merge into it. */
        if (i == 0)
            wait_for(w, flights, 1);
    }
    wait_for(w, flights, WRITERS);
    json_t *tree = fetch(w, SETTINGS);
    const json_t *data = json_object_get(tree, "data");
    for (int i = 0; i < WRITERS; i++) {
        char key[16];
        snprintf(key, sizeof(key), "key%d", i);
        if (flights[i].status != 200 && flights[i].status != 201)
            fail_msg("writer %d: %d %s", i, flights[i].status, flights[i].answer.ptr);
        assert_non_null(json_object_get(data, key));
        str_done(&flights[i].answer);
    }
    assert_int_equal(json_object_size(data), WRITERS);
    json_decref(tree);
}

/* A body over the inline bound goes to the pool; requests meanwhile are answered. */
static void
a_large_body_does_not_block(void **state)
{
    struct world *w = *state;
    struct flight large = {.path = "/api/v1/namespaces/default/configmaps"};
    auto_str body = STR_INIT(4 << 20);

    str_adds(&body, "{\"metadata\":{\"name\":\"large\"},\"data\":{\"k\":\"");
    for (int i = 0; i < 100000; i++) /* 1 MiB is the most a ConfigMap holds */
        str_adds(&body, "0123456789");
    str_adds(&body, "\"}}");
    send(w, &large, "POST", body.ptr);
    assert_int_equal(large.status, 0); /* not computed here */
    json_t *ns = fetch(w, "/api/v1/namespaces/default");
    json_decref(ns);
    wait_for(w, &large, 1);
    assert_int_equal(large.status, 201);
    str_done(&large.answer);
}

/* The peer leaves while its write is computed: the write goes on, nobody is answered. */
static void
a_departed_client_is_not_answered(void **state)
{
    struct world *w = *state;
    struct flight x = {.path = SETTINGS, .query = "gone"};
    struct api_request req = {
        .method = "PATCH",
        .path = x.path,
        .query = get_query,
        .header = get_header,
        .src = &x,
        .body = span_of("{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"data\":{}}"),
        .user = w->user};

    x.content_type = "application/apply-patch+yaml";
    struct api_call *call = api_call_new(w->server, &req, &ops, &x);
    api_call_run(call);
    assert_int_equal(x.status, 0);
    api_call_abort(call);
    struct store_key key = {"configmaps", "default", "settings"};
    int64_t until = clock_now_ms() + PATIENCE_MS;
    while (store_get(w->store, &key) == NULL) {
        assert_true(clock_now_ms() < until);
        loop_turn(w->loop, 100);
    }
    assert_int_equal(x.status, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(applies_at_once_are_all_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(a_large_body_does_not_block, setup, teardown),
        cmocka_unit_test_setup_teardown(a_departed_client_is_not_answered, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
