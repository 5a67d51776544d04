/* SPDX-License-Identifier: Apache-2.0 */
/* Slow and greedy clients, answers that are cut, and certificates that change. */
#include "unit/io_http_fixture.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fs.h"
#include "io/pki.h"
#include "io/tls_files.h"

#define GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"
#define PAIR_INIT ((struct pki_pair){STR_INIT(64 << 10), STR_INIT(64 << 10)})

static struct fixture *f;

static void
has(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("\"%s\" is not in: %s", part, text);
}

static void
no_handler(void *arg, struct http_request *r)
{
    UNUSED(arg);
    http_respond(r, 200, "text/plain", "", 0);
}

static int
teardown(void **state)
{
    UNUSED(state);
    fixture_free(f);
    f = NULL;
    return 0;
}

/* A head that does not come, and one that comes byte by byte. */
static void
test_slow_heads(void **state)
{
    auto_str out = STR_INIT(1 << 16);

    UNUSED(state);
    f = fixture_new(&(struct http_server_opts){.head_timeout_ms = 150});
    int silent = raw_connect(f), slow = raw_connect(f);
    raw_send(slow, "GET /hello HTTP/1.1\r\nHost: x\r\n");
    int64_t start = clock_now_ms();
    while (http_server_stats(f->server).head_timeouts < 2) {
        loop_turn(f->l, 20);
        if (send(slow, "x", 1, MSG_NOSIGNAL) < 0 || clock_now_ms() > start + 20000)
            break;
    }
    assert_true(raw_reply(f, slow, &out));
    has(out.ptr, "HTTP/1.1 408 ");
    has(out.ptr, "\"code\":408}\n");
    raw_closed(f, slow);
    raw_closed(f, silent);
    wait_for(f->l, http_server_connections(f->server) == 0);
    assert_int_equal(http_server_stats(f->server).head_timeouts, 2);
    assert_int_equal(f->handled, 0);
    close(silent);
    close(slow);
}

/* A connection that has been used may wait longer than a head may take. */
static void
test_idle_is_not_slow(void **state)
{
    auto_str out = STR_INIT(1 << 16);

    UNUSED(state);
    f = fixture_new(&(struct http_server_opts){.head_timeout_ms = 50});
    int fd = raw_connect(f);
    raw_send(fd, GET("/hello"));
    assert_true(raw_reply(f, fd, &out));
    int64_t until = clock_now_ms() + 200;
    while (clock_now_ms() < until)
        loop_turn(f->l, 20);
    str_reset(&out);
    raw_send(fd, GET("/hello"));
    assert_true(raw_reply(f, fd, &out));
    has(out.ptr, " 200 ");
    assert_int_equal(http_server_stats(f->server).head_timeouts, 0);
    close(fd);
}

static void
test_slow_body(void **state)
{
    auto_str out = STR_INIT(1 << 16);

    UNUSED(state);
    f = fixture_new(&(struct http_server_opts){.body_interval_ms = 100});
    int fd = raw_connect(f), quick = raw_connect(f);
    raw_send(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nab");
    raw_send(quick, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n");
    for (int i = 0; i < 10; i++) { /* 50 bytes are due in each interval */
        char piece[101] = {0};
        memset(piece, 'x', 100);
        raw_send(quick, piece);
        int64_t until = clock_now_ms() + 30;
        while (clock_now_ms() < until)
            loop_turn(f->l, 10);
    }
    assert_true(raw_reply(f, quick, &out));
    has(out.ptr, " 200 ");
    str_reset(&out);
    assert_true(raw_reply(f, fd, &out));
    has(out.ptr, " 408 ");
    raw_closed(f, fd);
    assert_int_equal(http_server_stats(f->server).body_timeouts, 1);
    assert_int_equal(f->handled, 1);
    close(fd);
    close(quick);
}

static void
test_connections_of_one_address(void **state)
{
    auto_str out = STR_INIT(1 << 16);
    int fds[6];

    UNUSED(state);
    f = fixture_new(&(struct http_server_opts){.max_per_address = 4});
    for (int i = 0; i < 6; i++)
        fds[i] = raw_connect(f);
    wait_for(f->l, http_server_stats(f->server).accepted == 6);
    assert_int_equal(http_server_stats(f->server).refused_address, 2);
    raw_closed(f, fds[4]);
    raw_closed(f, fds[5]);
    raw_send(fds[0], GET("/hello"));
    assert_true(raw_reply(f, fds[0], &out));
    close(fds[0]);
    wait_for(f->l, http_server_connections(f->server) == 3);
    int again = raw_connect(f);
    str_reset(&out);
    raw_send(again, GET("/hello"));
    assert_true(raw_reply(f, again, &out));
    has(out.ptr, " 200 ");
    close(again);
    for (int i = 1; i < 6; i++)
        close(fds[i]);
}

static void
test_this_machine_is_exempt(void **state)
{
    UNUSED(state);
    f = fixture_new(
        &(struct http_server_opts){.max_per_address = 1, .loopback_unlimited = true});
    int a = raw_connect(f), b = raw_connect(f);
    wait_for(f->l, http_server_connections(f->server) == 2);
    assert_int_equal(http_server_stats(f->server).refused_address, 0);
    close(a);
    close(b);
}

/* What is too long has its own status, and nothing of it reaches the handler. */
static void
test_long_heads(void **state)
{
    auto_str head = STR_INIT(1 << 20);
    auto_str out = STR_INIT(1 << 16);

    UNUSED(state);
    f = fixture_new(NULL);
    str_adds(&head, "GET /hello HTTP/1.1\r\nHost: x\r\nX-Long: ");
    for (int i = 0; i < 40000; i++)
        str_addc(&head, 'h');
    str_adds(&head, "\r\n\r\n");
    int fd = raw_connect(f);
    raw_send(fd, head.ptr);
    assert_true(raw_reply(f, fd, &out));
    has(out.ptr, " 431 ");
    close(fd);
    str_reset(&head);
    str_reset(&out);
    str_adds(&head, "GET /");
    for (int i = 0; i < 40000; i++)
        str_addc(&head, 'u');
    str_adds(&head, " HTTP/1.1\r\nHost: x\r\n\r\n");
    fd = raw_connect(f);
    raw_send(fd, head.ptr);
    assert_true(raw_reply(f, fd, &out));
    has(out.ptr, " 414 ");
    close(fd);
    assert_int_equal(f->handled, 0);
}

/* The client can tell a cut stream from a whole one: the last chunk is missing. */
static void
test_a_stream_is_cut(void **state)
{
    auto_str out = STR_INIT(1 << 16);
    char buf[4096];
    ssize_t n;

    UNUSED(state);
    f = fixture_new(NULL);
    int fd = raw_connect(f);
    raw_send(fd, GET("/cut"));
    wait_for(f->l, f->closed == 1);
    while ((n = recv(fd, buf, sizeof(buf), 0)) > 0)
        str_add(&out, buf, (size_t)n);
    has(out.ptr, "half");
    assert_null(strstr(out.ptr, "\r\n0\r\n"));
    assert_int_equal(f->done, 1);
    assert_int_equal(f->done_status, 200);
    assert_true(f->done_aborted);
    close(fd);
}

static void
test_on_done(void **state)
{
    auto_str out = STR_INIT(1 << 16);

    UNUSED(state);
    f = fixture_new(NULL);
    int fd = raw_connect(f);
    raw_send(fd, GET("/missing"));
    assert_true(raw_reply(f, fd, &out));
    wait_for(f->l, f->done == 1);
    assert_int_equal(f->done_status, 404);
    assert_false(f->done_aborted);
    raw_send(fd, GET("/later"));
    wait_for(f->l, f->pending.len == 1);
    close(fd);
    wait_for(f->l, f->done == 2);
    assert_int_equal(f->done_status, 0);
    assert_true(f->done_aborted);
    f->pending.len = 0;
}

/* --- certificates
 * ------------------------------------------------------------------------- */

struct answer {
    bool over;
    struct error e;
    struct str data;
};

static bool
on_data(void *arg, const char *bytes, size_t n)
{
    struct answer *a = arg;

    str_add(&a->data, bytes, n);
    return true;
}

static void
on_answered(void *arg, const struct http_reply *r, const struct error *e)
{
    struct answer *a = arg;

    UNUSED(r);
    a->over = true;
    a->e = *e;
}

static const struct http_transfer_cbs callbacks = {.on_data = on_data,
                                                   .on_done = on_answered};

static struct http_transfer *
get(struct http_multi *m, const char *path, const struct pki_pair *ca, struct answer *a)
{
    char url[64];
    struct http_target t = {.url = url, .ca_pem = ca->cert.ptr};
    struct http_call call = {.method = "GET", .path = path, .timeout_ms = 20000};

    *a = (struct answer){.data = STR_INIT(4096)};
    snprintf(url, sizeof(url), "https://127.0.0.1:%u", http_server_port(f->server));
    return http_multi_start(m, &t, &call, 4096, &callbacks, a);
}

/* Whether somebody new who trusts this CA gets an answer. */
static bool
trusted(const struct pki_pair *ca)
{
    struct http_multi *m = NULL;
    struct answer a;

    OK(http_multi_new(f->l, &m, &err));
    get(m, "/hello", ca, &a);
    wait_for(f->l, a.over);
    bool yes = a.e.code == ERR_OK && streq(a.data.ptr, "hello\n");
    str_done(&a.data);
    http_multi_free(m);
    return yes;
}

static void
pair_done(struct pki_pair *p)
{
    str_done(&p->cert);
    str_done(&p->key);
}

static void
make(struct pki_pair *ca, struct pki_pair *ret)
{
    const char *names[] = {"127.0.0.1", NULL};

    *ca = *ret = PAIR_INIT;
    OK(pki_make_ca("test-ca", 30, ca, &err));
    OK(pki_make_server(ca, "server", names, 10, ret, &err));
}

static void
put(const char *path, const struct str *text)
{
    OK(fs_write_atomic(path, text->ptr, text->len, 0600, &err));
}

/* A TLS handshake that never comes is a head that does not come. */
static void
test_silent_handshake(void **state)
{
    struct pki_pair ca, a;

    UNUSED(state);
    make(&ca, &a);
    f = fixture_new(&(struct http_server_opts){
        .tls_cert_pem = a.cert.ptr, .tls_key_pem = a.key.ptr, .head_timeout_ms = 100});
    int silent = raw_connect(f), half = raw_connect(f);
    raw_send(half, "\x16\x03\x01\x02");
    raw_closed(f, silent);
    raw_closed(f, half);
    assert_int_equal(http_server_stats(f->server).head_timeouts, 2);
    assert_true(trusted(&ca));
    close(silent);
    close(half);
    pair_done(&a);
    pair_done(&ca);
}

/* New connections get the new certificate; a watch that is open goes on. */
static void
test_certificate_in_files(void **state)
{
    char dir[] = "/tmp/drover-tls-XXXXXX";
    struct pki_pair ca_a, ca_b, a, b;
    struct tls_files *t = NULL;
    struct http_multi *m = NULL;
    struct answer watch;

    UNUSED(state);
    make(&ca_a, &a);
    make(&ca_b, &b);
    assert_non_null(mkdtemp(dir));
    autofree char *cert = fs_join(dir, "tls.crt");
    autofree char *key = fs_join(dir, "tls.key");
    put(cert, &a.cert);
    put(key, &a.key);
    f = fixture_new(
        &(struct http_server_opts){.tls_cert_pem = a.cert.ptr, .tls_key_pem = a.key.ptr});
    struct tls_files_opts o = {.loop = f->l, .cert = cert, .key = key};
    OK(tls_files_open(&o, &t, &err));
    tls_files_serve(t, f->server);
    assert_true(trusted(&ca_a));
    assert_false(trusted(&ca_b));
    OK(http_multi_new(f->l, &m, &err));
    get(m, "/watch", &ca_a, &watch);
    wait_for(f->l, f->watchers.len == 1);

    /* Half of a new pair is not used. */
    put(key, &b.key);
    wait_for(f->l, tls_files_refusals(t) == 1);
    assert_true(trusted(&ca_a));
    put(cert, &b.cert);
    wait_for(f->l, tls_files_reloads(t) == 1);
    assert_true(trusted(&ca_b));
    assert_false(trusted(&ca_a));

    fixture_fire(f);
    wait_for(f->l, watch.data.len > 0);
    assert_string_equal(watch.data.ptr, "event 1\n");
    assert_false(watch.over);

    http_multi_free(m);
    str_done(&watch.data);
    tls_files_free(t);
    fixture_free(f);
    OK(fs_remove_tree(dir, &err));
    pair_done(&a);
    pair_done(&b);
    pair_done(&ca_a);
    pair_done(&ca_b);
}

/* Our end of the client's connection, in this process. */
static int
server_end(int client)
{
    struct sockaddr_in want = {0}, got;
    socklen_t len = sizeof(want);

    assert_int_equal(getsockname(client, (struct sockaddr *)&want, &len), 0);
    for (int fd = 3; fd < 1024; fd++) {
        len = sizeof(got);
        if (getpeername(fd, (struct sockaddr *)&got, &len) == 0 &&
            got.sin_family == AF_INET && got.sin_port == want.sin_port)
            return fd;
    }
    fail_msg("no descriptor is connected to the client");
    return -1;
}

static int
option(int fd, int level, int name)
{
    int v = 0;
    socklen_t len = sizeof(v);

    assert_int_equal(getsockopt(fd, level, name, &v, &len), 0);
    return v;
}

/* A peer that vanished without a word is noticed. */
static void
test_socket_options(void **state)
{
    auto_str out = STR_INIT(1 << 16);

    UNUSED(state);
    f = fixture_new(NULL);
    int fd = raw_connect(f);
    raw_send(fd, GET("/hello"));
    assert_true(raw_reply(f, fd, &out));
    int ours = server_end(fd);
    assert_int_equal(option(ours, IPPROTO_TCP, TCP_USER_TIMEOUT), 60000);
    assert_true(option(ours, SOL_SOCKET, SO_KEEPALIVE) != 0);
    assert_true(option(ours, IPPROTO_TCP, TCP_NODELAY) != 0);
    assert_true(fcntl(ours, F_GETFD) & FD_CLOEXEC);
    close(fd);
}

/* Never "every interface" because nothing was said. */
static void
test_address_is_explicit(void **state)
{
    struct http_server_opts o = {.handler = no_handler};
    struct http_server *s = NULL;
    struct loop *l = NULL;
    struct error e = ERROR_INIT;

    UNUSED(state);
    OK(loop_new(&l, &err));
    assert_true(http_server_start(l, &o, &s, &e) < 0);
    has(e.msg, "a listen address is required");
    loop_free(l);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_slow_heads, teardown),
        cmocka_unit_test_teardown(test_idle_is_not_slow, teardown),
        cmocka_unit_test_teardown(test_slow_body, teardown),
        cmocka_unit_test_teardown(test_connections_of_one_address, teardown),
        cmocka_unit_test_teardown(test_this_machine_is_exempt, teardown),
        cmocka_unit_test_teardown(test_long_heads, teardown),
        cmocka_unit_test_teardown(test_a_stream_is_cut, teardown),
        cmocka_unit_test_teardown(test_on_done, teardown),
        cmocka_unit_test_teardown(test_silent_handshake, teardown),
        cmocka_unit_test_teardown(test_socket_options, teardown),
        cmocka_unit_test(test_address_is_explicit),
        cmocka_unit_test(test_certificate_in_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
