/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP server's clients in numbers, slow ones, and those that leave. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "unit/io_http_fixture.h"

#define GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"

static struct fixture *f;

static int
setup(void **state)
{
    UNUSED(state);
    f = fixture_new(NULL);
    return 0;
}

static int
teardown(void **state)
{
    UNUSED(state);
    fixture_free(f);
    return 0;
}

static void
assert_has(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("no \"%s\" in: %s", part, text);
}

static bool
heard(int fd, struct str *out, const char *text)
{
    char buf[4096];
    ssize_t n = recv(fd, buf, sizeof(buf), 0);

    if (n > 0)
        str_add(out, buf, (size_t)n);
    return out->len > 0 && strstr(out->ptr, text) != NULL;
}

/* --- leaving --------------------------------------------------------------------------
 */

/* At once, exactly once, although MHD does not look at suspended connections. */
static void
test_client_leaves_while_suspended(void **state)
{
    static const char *const requests[] = {GET("/later"), GET("/watch")};

    UNUSED(state);
    for (int how = 0; how < 2; how++) {
        for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
            int before = f->closed;
            int handled = f->handled;
            int fd = raw_connect(f);
            raw_send(fd, requests[i]);
            wait_for(f->l, f->handled == handled + 1);
            loop_turn(f->l, 10);
            int64_t start = clock_now_ms();
            if (how == 1) { /* a reset instead of an orderly end */
                struct linger now = {.l_onoff = 1};
                setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
            }
            close(fd);
            wait_for(f->l, f->closed == before + 1);
            /* Not by keep-alive or an idle time, which are 30 s and more. */
            assert_true(clock_now_ms() - start < 15000);
            wait_for(f->l, http_server_connections(f->server) == 0);
            loop_turn(f->l, 10);
            assert_int_equal(f->closed, before + 1);
            f->pending.len = 0;
        }
    }
    assert_int_equal(f->aborted, 4);
    assert_int_equal(f->freed, 2);
}

/* Answering somebody who has just left is harmless. */
static void
test_answer_races_with_leaving(void **state)
{
    int fd = raw_connect(f);

    UNUSED(state);
    raw_send(fd, GET("/later"));
    wait_for(f->l, f->pending.len == 1);
    close(fd);
    fixture_answer_all(f, 200); /* before the loop has seen the hang-up */
    wait_for(f->l, f->closed == 1);
    wait_for(f->l, http_server_connections(f->server) == 0);
}

/* A client that does not read is a cursor: once its socket is full nothing is produced.
 */
static void
test_slow_reader_is_not_filled(void **state)
{
    int fd = raw_connect(f);
    int quiet = 0;

    UNUSED(state);
    raw_send(fd, GET("/firehose"));
    wait_for(f->l, f->fills > 0);
    for (int turns = 0; quiet < 20 && turns < 100000; turns++) {
        int before = f->fills;
        loop_turn(f->l, 5);
        quiet = f->fills == before ? quiet + 1 : 0;
    }
    assert_int_equal(quiet, 20);
    int stuck = f->fills;
    auto_str buf = STR_INIT(32 << 20);
    str_reserve(&buf, 1 << 20);
    wait_for(f->l, recv(fd, buf.ptr, 1 << 20, 0) > 0 && f->fills > stuck);
    close(fd);
    wait_for(f->l, f->closed == 1);
}

/* Idle streams cost nothing: no timer or descriptor keeps the loop busy. */
static void
test_idle_streams_do_not_spin(void **state)
{
    struct loop_stats a;
    struct loop_stats b;
    int fds[20];

    UNUSED(state);
    for (int i = 0; i < 20; i++) {
        fds[i] = raw_connect(f);
        raw_send(fds[i], GET("/watch"));
    }
    wait_for(f->l, f->watchers.len == 20);
    for (int i = 0; i < 20; i++)
        loop_turn(f->l, 10);
    loop_stats(f->l, &a);
    int64_t until = clock_now_ms() + 500;
    while (clock_now_ms() < until)
        loop_turn(f->l, 500);
    loop_stats(f->l, &b);
    assert_true(b.turns - a.turns < 10);
    for (int i = 0; i < 20; i++)
        close(fds[i]);
    wait_for(f->l, f->closed == 20);
}

/* Whole pages in the memory that are there. */
static size_t
pages_there(struct span s)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t begin = ((uintptr_t)s.ptr + page - 1) & ~(page - 1);
    uintptr_t end = ((uintptr_t)s.ptr + s.len) & ~(page - 1);
    unsigned char there[64];
    size_t n = 0;

    assert_in_range(end - begin, page, sizeof(there) * page);
    assert_int_equal(mincore((void *)begin, end - begin, there), 0);
    for (size_t i = 0; i < (end - begin) / page; i++)
        n += there[i] & 1;
    return n;
}

/* A stream that waits gives back what its pool holds for nothing, and is filled again. */
static void
test_waiting_stream_gives_pages_back(void **state)
{
    auto_str out = STR_INIT(64 << 10);
    int fd = raw_connect(f);

    UNUSED(state);
    raw_send(fd, GET("/watch"));
    wait_for(f->l, f->watchers.len == 1 && f->unused.len > 0);
    assert_true(pages_there(f->unused) >= 2);
    for (int i = 1; i <= 2; i++) {
        wait_for(f->l, pages_there(f->unused) == 0);
        char event[32];
        snprintf(event, sizeof(event), "event %d\n", i);
        fixture_fire(f);
        wait_for(f->l, heard(fd, &out, event));
    }
    close(fd);
    wait_for(f->l, f->closed == 1);
}

/* --- many connections -----------------------------------------------------------------
 */

/* All n ask before the loop turns, so that all are ready in one epoll batch, again and
 * again: the population on which MHD's own epoll loop stalls at n = 128·k. */
static void
lock_step(int n)
{
    int *fds = xcalloc((size_t)n, sizeof(*fds));
    struct str *out = xcalloc((size_t)n, sizeof(*out));

    for (int i = 0; i < n; i++) {
        fds[i] = raw_connect(f);
        str_init(&out[i], 1 << 16);
        if (i % 32 == 0)
            loop_turn(f->l, 0);
    }
    wait_for(f->l, http_server_connections(f->server) == (size_t)n);
    int64_t start = clock_now_ms();
    for (int round = 0; round < 5; round++) {
        int left = n;
        for (int i = 0; i < n; i++) {
            raw_send(fds[i], GET("/hello"));
            str_reset(&out[i]);
        }
        while (left > 0) {
            if (clock_now_ms() > start + 20000)
                fail_msg("stalled: %d of %d are waiting in round %d", left, n, round);
            loop_turn(f->l, 5);
            left = 0;
            for (int i = 0; i < n; i++)
                left += !heard(fds[i], &out[i], "hello\n");
        }
    }
    for (int i = 0; i < n; i++) {
        close(fds[i]);
        str_done(&out[i]);
    }
    wait_for(f->l, http_server_connections(f->server) == 0);
    free(fds);
    free(out);
}

static void
test_lock_step_populations(void **state)
{
    UNUSED(state);
    lock_step(128);
    lock_step(130);
    lock_step(256);
    assert_int_equal(f->handled, 5 * (128 + 130 + 256));
    assert_int_equal(f->aborted, 0);
}

/* Beyond the limit connections wait in the backlog and are served when there is room. */
static void
test_connection_limit(void **state)
{
    auto_str out = STR_INIT(1 << 16);
    int fds[5];

    UNUSED(state);
    fixture_free(f);
    f = fixture_new(&(struct http_server_opts){.max_connections = 4});
    for (int i = 0; i < 5; i++) {
        fds[i] = raw_connect(f);
        loop_turn(f->l, 10);
        loop_turn(f->l, 10);
    }
    raw_send(fds[4], GET("/hello"));
    for (int i = 0; i < 10; i++)
        loop_turn(f->l, 10);
    assert_int_equal(http_server_connections(f->server), 4);
    assert_int_equal(f->handled, 0);
    close(fds[0]);
    assert_true(raw_reply(f, fds[4], &out));
    assert_has(out.ptr, "hello");
    for (int i = 1; i < 5; i++)
        close(fds[i]);
}

static struct http_server *stopping;

static void
stop_listening(void *arg, struct http_request *r)
{
    UNUSED(arg);
    http_server_quiesce(stopping);
    http_respond(r, 200, NULL, "", 0);
}

/* A handler, called in the very pass that accepted its connection, stops the listening.
 */
static void
test_quiesce_from_a_handler(void **state)
{
    struct http_server_opts o = {
        .address = "127.0.0.1", .handler = stop_listening, .max_connections = 1};
    auto_str out = STR_INIT(1 << 16);

    UNUSED(state);
    OK(http_server_start(f->l, &o, &stopping, &err));
    struct fixture view = {.l = f->l, .server = stopping};
    int fd = raw_connect(&view);
    raw_send(fd, GET("/"));
    assert_true(raw_reply(&view, fd, &out));
    assert_has(out.ptr, " 200 ");
    close(fd);
    wait_for(f->l, http_server_connections(stopping) == 0);
    http_server_free(stopping);
}

static void
test_keep_alive(void **state)
{
    int fd = raw_connect(f);

    UNUSED(state);
    for (int i = 0; i < 500; i++) {
        auto_str out = STR_INIT(1 << 16);
        raw_send(fd, i % 3 == 0 ? GET("/later") : GET("/hello"));
        if (i % 3 == 0) {
            wait_for(f->l, f->pending.len == 1);
            fixture_answer_all(f, 202);
        }
        assert_true(raw_reply(f, fd, &out));
    }
    assert_int_equal(http_server_connections(f->server), 1);
    close(fd);
    wait_for(f->l, http_server_connections(f->server) == 0);
    assert_int_equal(f->closed, 500);
    assert_int_equal(f->aborted, 0);
}

/* --- small pools ----------------------------------------------------------------------
 */

static int
setup_lean(void **state)
{
    struct http_server_opts o = {.lean_query = "watch="};

    UNUSED(state);
    f = fixture_new(&o);
    return 0;
}

static int
ask_in_parts(const char *first, const char *rest)
{
    int fd = raw_connect(f);

    for (int i = 0; i < 5; i++) /* accepted, and silent */
        loop_turn(f->l, 2);
    raw_send(fd, first);
    for (int i = 0; i < 5; i++)
        loop_turn(f->l, 2);
    raw_send(fd, rest);
    return fd;
}

/* A watch gets a small pool and a connection of its own; everything else does not. */
static void
test_lean_connections(void **state)
{
    auto_str big = STR_INIT(1 << 20);
    auto_str out = STR_INIT(1 << 20);

    UNUSED(state);
    int watch = ask_in_parts("", GET("/watch?watch=true"));
    wait_for(f->l, f->watchers.len == 1);
    fixture_fire(f);
    char text[512] = "";
    wait_for(f->l, recv(watch, text, sizeof(text) - 1, MSG_PEEK | MSG_DONTWAIT) > 0);
    assert_has(text, "Connection: close");
    close(watch);
    /* In two pieces: nobody waits for the second, and the pool is a whole one. */
    watch = ask_in_parts("GET /watch?watch=true HTTP/1.1\r\n", "Host: x\r\n\r\n");
    wait_for(f->l, f->handled == 2);
    close(watch);
    /* With headers that a small pool does not hold. */
    str_addf(&big, "GET /hello?watch=1 HTTP/1.1\r\nHost: x\r\nX: %0*d\r\n\r\n", 12000, 7);
    int fd = raw_connect(f);
    raw_send(fd, big.ptr);
    assert_true(raw_reply(f, fd, &out));
    assert_has(out.ptr, "200 OK");
    assert_null(strstr(out.ptr, "Connection: close"));
    raw_send(fd, big.ptr); /* and goes on */
    str_reset(&out);
    assert_true(raw_reply(f, fd, &out));
    assert_has(out.ptr, "200 OK");
    close(fd);
    wait_for(f->l, http_server_connections(f->server) == 0);
}

/* Open and silent when the server goes. */
static void
test_silent_connections(void **state)
{
    UNUSED(state);
    int fd = raw_connect(f);
    for (int i = 0; i < 5; i++)
        loop_turn(f->l, 2);
    http_server_free(f->server);
    f->server = NULL;
    raw_closed(f, fd);
}

int
main(void)
{
#define LEAN(fn) cmocka_unit_test_setup_teardown(fn, setup_lean, teardown)
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_client_leaves_while_suspended),   T(test_answer_races_with_leaving),
        T(test_slow_reader_is_not_filled),       T(test_idle_streams_do_not_spin),
        T(test_lock_step_populations),           T(test_connection_limit),
        T(test_quiesce_from_a_handler),          T(test_keep_alive),
        T(test_waiting_stream_gives_pages_back), LEAN(test_lean_connections),
        LEAN(test_silent_connections),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
