/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's requests to the API server: how many connections they take, in which order
 * they go, and that what is idle does not stay.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "io/http_server.h"
#include "runner/server.h"
#include "tests/turn_until.h"

#define WAIT_MS 60000
#define MANY 100

struct fixture {
    struct loop *loop;
    struct http_server *api;
    struct http_multi *multi;
    struct server *server;
    struct server_call *calls[MANY];
    char url[64];
    size_t most;       /* connections at once */
    unsigned n_served; /* requests */
    unsigned n_replies, order[MANY];
    struct http_request *held; /* not answered yet */
    bool hold;
};

#define wait_for(f, cond) TURN_UNTIL((f)->loop, WAIT_MS, cond)

static void
answer(struct http_request *r)
{
    http_respond(r, 200, "application/json", "{}", 2);
}

static void
handle(void *arg, struct http_request *r)
{
    struct fixture *f = arg;
    size_t now = http_server_connections(f->api);
    if (now > f->most)
        f->most = now;
    f->n_served++;
    if (f->hold) {
        f->hold = false;
        f->held = r;
        return;
    }
    answer(r);
}

static int
setup(void **state)
{
    struct fixture *f = xnew(struct fixture);
    struct error e = ERROR_INIT;
    struct http_server_opts o = {
        .name = "api", .address = "127.0.0.1", .handler = handle, .arg = f};
    assert_int_equal(loop_new(&f->loop, &e), 0);
    assert_int_equal(http_server_start(f->loop, &o, &f->api, &e), 0);
    assert_int_equal(http_multi_new(f->loop, &f->multi, &e), 0);
    f->server = server_new(f->loop, f->multi);
    snprintf(f->url, sizeof(f->url), "http://127.0.0.1:%u", http_server_port(f->api));
    server_set(f->server, f->url, NULL, "token");
    *state = f;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;
    server_free(f->server);
    http_multi_free(f->multi);
    http_server_free(f->api);
    for (int i = 0; i < 20; i++)
        loop_turn(f->loop, 0);
    loop_free(f->loop);
    free(f);
    return 0;
}

struct asked {
    struct fixture *f;
    unsigned i;
};

static void
on_reply(void *arg, const struct server_reply *r)
{
    struct asked *a = arg;
    assert_true(server_ok(r));
    a->f->order[a->f->n_replies++] = a->i;
    free(a);
}

static void
ask(struct fixture *f, unsigned i, bool urgent)
{
    struct asked *a = xnew(struct asked);
    *a = (struct asked){f, i};
    server_call(f->server, &f->calls[i],
                &(struct server_request){.method = "GET",
                                         .path = "/x",
                                         .urgent = urgent,
                                         .on_reply = on_reply,
                                         .arg = a});
}

/* What one job, or a few, ask for goes over one connection, in order. */
static void
few_requests_share_one(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 4; i++)
        ask(f, i, false);
    wait_for(f, f->n_replies == 4);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(f->order[i], i);
        ask(f, 10 + i, false);
        wait_for(f, f->n_replies == 5 + i);
    }
    assert_int_equal(f->most, 1);
}

/* A crowd gets more, up to the bound; what it leaves idle is closed later on. */
static void
a_crowd_gets_more(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < MANY; i++)
        ask(f, i, false);
    wait_for(f, f->n_replies == MANY);
    assert_int_equal(f->n_served, MANY);
    assert_in_range(f->most, 2, SERVER_IN_FLIGHT);

    server_set_idle(f->server, 1);
    int64_t until = clock_now_ms() + WAIT_MS;
    while (http_server_connections(f->api) > 1) {
        assert_true(clock_now_ms() < until);
        f->n_replies = 0;
        ask(f, 0, false);
        wait_for(f, f->n_replies == 1);
        loop_turn(f->loop, 100);
    }
    assert_in_range(f->most, 2, SERVER_IN_FLIGHT);
}

/* A renewal does not wait behind a request that hangs. */
static void
urgent_ones_do_not_wait(void **state)
{
    struct fixture *f = *state;
    f->hold = true;
    ask(f, 0, false);
    ask(f, 1, false);
    wait_for(f, f->held != NULL);
    ask(f, 2, true);
    wait_for(f, f->n_replies == 1);
    assert_int_equal(f->order[0], 2);
    assert_int_equal(f->most, 2);
    answer(f->held);
    wait_for(f, f->n_replies == 3);
    assert_int_equal(f->most, 2);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(few_requests_share_one),
        T(a_crowd_gets_more),
        T(urgent_ones_do_not_wait),
    };
    cmocka_set_test_filter(getenv("TEST_FILTER"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
