/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP server against raw sockets: what clients send, and how they leave. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fs.h"
#include "unit/io_http_fixture.h"

#define CHUNKED "POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
#define GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"

static struct fixture *f;

static int
setup(void **state)
{
    UNUSED(state);
    f = fixture_new(&(struct http_server_opts){.name = "test", .max_body = 1000});
    return 0;
}

static int
teardown(void **state)
{
    UNUSED(state);
    fixture_free(f);
    return 0;
}

/* One request on its own connection; the caller frees the text. */
static char *
ask(const char *request)
{
    auto_str out = STR_INIT(8 << 20);
    int fd = raw_connect(f);

    raw_send(fd, request);
    raw_reply(f, fd, &out);
    close(fd);
    return str_detach(&out);
}

static void
assert_has(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("no \"%s\" in: %s", part, text);
}

/* --- requests -------------------------------------------------------------------------
 */

static void
test_target_is_decoded_once(void **state)
{
    UNUSED(state);
    autofree char *r =
        ask(GET("/a%20b/%2541/c%2fd?x=1+2&y&z=%26%3d&bad=%zz%4&x=second&=v&&%41=%00a"));

    assert_has(r, "HTTP/1.1 200 OK\r\n");
    assert_has(r, "method GET\npath [/a b/%41/c/d]\n");
    assert_has(r, "raw /a%20b/%2541/c%2fd?x=1+2&y");
    assert_has(r, "query x=[1 2]\nquery y=[]\nquery z=[&=]\nquery bad=[%zz%4]\n"
                  "query x=[second]\nquery =[v]\nquery A=[%00a]\n");
    assert_has(r, "peer 127.0.0.1:");
    assert_has(r, "X-Answer: 42\r\n");
}

static void
test_bad_targets_are_refused(void **state)
{
    static const char *const targets[] = {"/%", "/%4", "/%zz", "/a%00b", "noslash"};

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
        autofree char *request =
            xasprintf("GET %s HTTP/1.1\r\nHost: x\r\n\r\n", targets[i]);
        autofree char *r = ask(request);
        assert_has(r, "HTTP/1.1 400 ");
        assert_has(r, "\"reason\":\"BadRequest\"");
    }
    assert_int_equal(f->handled, 0);
}

static void
test_pipelined_requests(void **state)
{
    auto_str out = STR_INIT(1 << 20);
    int fd = raw_connect(f);

    UNUSED(state);
    raw_send(fd, GET("/one") GET("/later") GET("/three"));
    wait_for(f->l, f->pending.len == 1);
    assert_int_equal(f->handled, 2); /* the third waits its turn */
    fixture_answer_all(f, 200);
    int64_t until = clock_now_ms() + 20000;
    while (strstr(out.ptr, "path [/three]") == NULL && clock_now_ms() < until) {
        char buf[4096];
        ssize_t n = recv(fd, buf, sizeof(buf), 0);
        if (n > 0)
            str_add(&out, buf, (size_t)n);
        loop_turn(f->l, 5);
    }
    const char *one = strstr(out.ptr, "path [/one]");
    const char *two = strstr(out.ptr, "late\n");
    const char *three = strstr(out.ptr, "path [/three]");
    assert_true(one != NULL && two != NULL && three != NULL);
    assert_true(one < two && two < three);
    close(fd);
    wait_for(f->l, http_server_connections(f->server) == 0);
    assert_int_equal(f->closed, 3);
    assert_int_equal(f->aborted, 0);
}

static void
test_malformed_requests(void **state)
{
    static const char *const requests[] = {
        "\r\n\r\n\r\n",
        "GET\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        CHUNKED "ZZ\r\n",
        CHUNKED "ffffffffffffffffff\r\n",
        "GET / HTTP/1.1\r\nHost x\r\n: : :\r\n\r\n",
        "GET / HTTP/1.1\r\n folded\r\n\r\n",
        "\xff\xfe\xfd / \x01\x02\r\n\r\n",
        "GET /%s%n%x?%s=%n HTTP/1.1\r\nHost: %s\r\n\r\n",
    };

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        int fd = raw_connect(f);
        raw_send(fd, requests[i]);
        shutdown(fd, SHUT_WR); /* nothing follows */
        raw_closed(f, fd);
        close(fd);
    }
    wait_for(f->l, http_server_connections(f->server) == 0);
    autofree char *r = ask(GET("/hello"));
    assert_has(r, "HTTP/1.1 200 OK");
}

/* The end of the connection comes in one piece with the bytes before it, or after a part
 * of a request: nothing lingers until the idle time-out, and a whole request is answered.
 */
static void
test_half_closed_clients(void **state)
{
    static const char *const parts[] = {
        "",
        "G",
        "GET /hello HT",
        "GET /hello HTTP/1.1\r\nHo",
        "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\nabc",
    };
    auto_str out = STR_INIT(1 << 16);

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        int fd = raw_connect(f);
        int64_t start = clock_now_ms();
        raw_send(fd, parts[i]);
        shutdown(fd, SHUT_WR);
        raw_closed(f, fd);
        assert_true(clock_now_ms() - start < 1000);
        close(fd);
    }
    int fd = raw_connect(f);
    raw_send(fd, GET("/hello") GET("/hello"));
    shutdown(fd, SHUT_WR);
    assert_true(raw_reply(f, fd, &out));
    assert_has(out.ptr, "hello\n");
    raw_closed(f, fd);
    close(fd);
    wait_for(f->l, http_server_connections(f->server) == 0);
    assert_int_equal(f->handled, 2);
}

static void
test_headers_over_the_bound(void **state)
{
    auto_str request = STR_INIT(1 << 20);
    auto_str out = STR_INIT(1 << 20);
    int fd = raw_connect(f);

    UNUSED(state);
    str_adds(&request, "GET /hello HTTP/1.1\r\nHost: x\r\nX: ");
    for (int i = 0; i < 40000; i++)
        str_addc(&request, 'h');
    str_adds(&request, "\r\n\r\n");
    ssize_t sent = send(fd, request.ptr, request.len, MSG_NOSIGNAL);
    assert_true(sent > 0);
    if (raw_reply(f, fd, &out)) /* or the connection was just cut */
        assert_has(out.ptr, "HTTP/1.1 4");
    close(fd);
    assert_int_equal(f->handled, 0);
}

/* --- bodies ---------------------------------------------------------------------------
 */

static char *
post(const char *head, size_t n)
{
    auto_str request = STR_INIT(32 << 20);
    auto_str out = STR_INIT(32 << 20);
    int fd = raw_connect(f);
    size_t pos = 0;

    str_adds(&request, head);
    for (size_t i = 0; i < n; i++)
        str_addc(&request, 'b');
    while (pos < request.len) {
        ssize_t w = send(fd, request.ptr + pos, request.len - pos, MSG_NOSIGNAL);
        if (w > 0)
            pos += (size_t)w;
        else
            loop_turn(f->l, 5);
    }
    raw_reply(f, fd, &out);
    /* The connection is still good. */
    if (strstr(out.ptr, "Connection: close") == NULL) {
        auto_str again = STR_INIT(1 << 20);
        raw_send(fd, GET("/hello"));
        raw_reply(f, fd, &again);
        assert_has(again.ptr, "hello");
    }
    close(fd);
    return str_detach(&out);
}

static void
test_body_bound(void **state)
{
    static const char too_large[] =
        "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},"
        "\"status\":\"Failure\",\"message\":\"Request entity too large: limit is 1000\","
        "\"reason\":\"RequestEntityTooLarge\",\"code\":413}";

    UNUSED(state);
    autofree char *fits =
        post("POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", 1000);
    assert_has(fits, " 200 OK");
    assert_has(fits, "body bbbb");
    assert_int_equal(f->handled, 2);
    autofree char *over =
        post("POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n", 1001);
    assert_has(over, " 413 ");
    assert_has(over, too_large);
    assert_has(over, "application/json");
    autofree char *far =
        post("POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\n", 5000000);
    assert_has(far, too_large);
    /* Not read at all: answered before the body, then closed. */
    autofree char *absurd =
        post("POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 500000000000\r\n\r\n", 0);
    assert_has(absurd, too_large);
    assert_has(absurd, "Connection: close");
    autofree char *expecting =
        post("POST /x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
             "Content-Length: 2000\r\n\r\n",
             0);
    assert_has(expecting, too_large);
    assert_int_equal(f->handled, 4); /* with the /hello after two of them */
}

static void
test_chunked_body_bound(void **state)
{
    UNUSED(state);
    autofree char *small = ask("POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: "
                               "chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n");
    assert_has(small, "body abcdefg");
    auto_str request = STR_INIT(1 << 20);
    str_adds(&request,
             "POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 300; i++)
        str_adds(&request, "4\r\nabcd\r\n");
    str_adds(&request, "0\r\n\r\n");
    autofree char *large = ask(request.ptr);
    assert_has(large, " 413 ");
    assert_int_equal(f->handled, 1);
}

static size_t
limit_by_path(void *arg, struct http_request *r)
{
    UNUSED(arg);
    assert_non_null(http_header(r, "Host"));
    return streq(http_path(r), "/upload") ? 100000 : 0;
}

static void
test_body_limit_callback(void **state)
{
    UNUSED(state);
    fixture_free(f);
    f = fixture_new(
        &(struct http_server_opts){.max_body = 10, .body_limit = limit_by_path});
    autofree char *a =
        post("PUT /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", 100000);
    assert_has(a, " 200 OK");
    autofree char *b =
        post("PUT /other HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n", 11);
    assert_has(b, " 413 ");
    assert_has(b, "limit is 10\"");
}

/* --- responses ------------------------------------------------------------------------
 */

static void
test_reader_response(void **state)
{
    UNUSED(state);
    autofree char *r = ask(GET("/big?n=300000"));
    assert_has(r, "Content-Length: 300000\r\n");
    const char *body = strstr(r, "\r\n\r\n") + 4;
    assert_int_equal(strlen(body), 300000);
    for (int i = 0; i < 300000; i++)
        assert_int_equal(body[i], 'a' + i % 23);
    autofree char *none = ask(GET("/big?n=0"));
    assert_has(none, "Content-Length: 0\r\n");
    /* The reader gives up: the connection is cut, so that nobody takes it for whole. */
    auto_str out = STR_INIT(8 << 20);
    int fd = raw_connect(f);
    raw_send(fd, GET("/abort"));
    raw_reply(f, fd, &out);
    assert_true(out.len < (1 << 20));
    close(fd);
    wait_for(f->l, f->closed == 3);
    assert_int_equal(f->freed, 3);
    assert_int_equal(f->aborted, 1);
}

/* HEAD never reads a body, on any kind of response, and the connection goes on. */
static void
test_head(void **state)
{
    static const char *const paths[] = {"/hello", "/big?n=500", "/watch"};
    int fd = raw_connect(f);

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        auto_str out = STR_INIT(1 << 20);
        autofree char *request =
            xasprintf("HEAD %s HTTP/1.1\r\nHost: x\r\n\r\n", paths[i]);
        raw_send(fd, request);
        wait_for(f->l, f->closed == (int)i + 1);
        char buf[1024];
        ssize_t n = recv(fd, buf, sizeof(buf), 0);
        assert_true(n > 0);
        str_add(&out, buf, (size_t)n);
        assert_has(out.ptr, "HTTP/1.1 200 OK");
        assert_true(str_ends(out.ptr, "\r\n\r\n"));
    }
    assert_int_equal(f->aborted, 0);
    assert_int_equal(f->freed, 2);
    close(fd);
}

static void
test_http_1_0_stream_ends_by_close(void **state)
{
    auto_str out = STR_INIT(1 << 20);
    int fd = raw_connect(f);

    UNUSED(state);
    raw_send(fd, "GET /watch HTTP/1.0\r\n\r\n");
    wait_for(f->l, f->watchers.len == 1);
    fixture_fire(f);
    int64_t until = clock_now_ms() + 20000;
    while (strstr(out.ptr, "event 1\n") == NULL && clock_now_ms() < until) {
        char buf[1024];
        ssize_t n = recv(fd, buf, sizeof(buf), 0);
        if (n > 0)
            str_add(&out, buf, (size_t)n);
        loop_turn(f->l, 5);
    }
    assert_has(out.ptr, "\r\n\r\nevent 1\n"); /* no chunk framing */
    close(fd);
    wait_for(f->l, f->closed == 1);
}

/* A stream's headers come before its first event, and an event without waiting for more.
 */
static void
test_stream_headers_and_events_at_once(void **state)
{
    auto_str out = STR_INIT(1 << 20);
    int fd = raw_connect(f);
    char buf[4096];
    ssize_t n;

    UNUSED(state);
    raw_send(fd, GET("/watch"));
    int64_t start = clock_now_ms();
    while ((n = recv(fd, buf, sizeof(buf), 0)) < 0)
        loop_turn(f->l, 5);
    str_add(&out, buf, (size_t)n);
    assert_has(out.ptr, "Transfer-Encoding: chunked");
    for (int i = 1; i <= 5; i++) {
        autofree char *event = xasprintf("event %d\n", i);
        fixture_fire(f);
        fixture_fire(f); /* idempotent wake-ups, two events */
        f->watchers.items[0]->available--;
        while (strstr(out.ptr, event) == NULL && clock_now_ms() < start + 20000) {
            n = recv(fd, buf, sizeof(buf), 0);
            if (n > 0)
                str_add(&out, buf, (size_t)n);
            loop_turn(f->l, 5);
        }
        assert_has(out.ptr, event);
    }
    /* Delayed acknowledgements or corking would make it 40 or 200 ms for each. */
    assert_true(clock_now_ms() - start < 1500);
    close(fd);
    wait_for(f->l, f->closed == 1);
    assert_int_equal(f->freed, 1);
}

/* --- start and stop -------------------------------------------------------------------
 */

static void
read_all(int fd, struct str *out)
{
    char buf[4096];
    ssize_t n;

    while ((n = recv(fd, buf, sizeof(buf), 0)) > 0)
        str_add(out, buf, (size_t)n);
    assert_int_equal(n, 0);
}

/* A stream gets its last chunk, a waiting request a 503; both count as closed, once. */
static void
test_stop_with_open_requests(void **state)
{
    auto_str stream = STR_INIT(1 << 16);
    auto_str late = STR_INIT(1 << 16);
    int a = raw_connect(f);
    int b = raw_connect(f);
    int idle = raw_connect(f);

    UNUSED(state);
    raw_send(a, GET("/watch"));
    raw_send(b, GET("/later"));
    wait_for(f->l, f->watchers.len == 1 && f->pending.len == 1);
    wait_for(f->l, http_server_connections(f->server) == 3);
    http_server_free(f->server);
    f->server = NULL;
    assert_int_equal(f->closed, 2);
    assert_int_equal(f->aborted, 1);
    assert_int_equal(f->freed, 1);
    read_all(a, &stream);
    assert_true(str_ends(stream.ptr, "0\r\n\r\n"));
    read_all(b, &late);
    assert_has(late.ptr, " 503 ");
    close(a);
    close(b);
    close(idle);
}

static void
test_quiesce(void **state)
{
    auto_str out = STR_INIT(1 << 16);
    uint16_t port = http_server_port(f->server);
    int fd = raw_connect(f);

    UNUSED(state);
    raw_send(fd, GET("/later"));
    wait_for(f->l, f->pending.len == 1);
    http_server_quiesce(f->server);
    struct sockaddr_in sa = {.sin_family = AF_INET,
                             .sin_port = htons(port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int refused = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(refused, (struct sockaddr *)&sa, sizeof(sa)), -1);
    assert_int_equal(errno, ECONNREFUSED);
    close(refused);
    fixture_answer_all(f, 200);
    assert_true(raw_reply(f, fd, &out));
    assert_has(out.ptr, "late");
    close(fd);
}

static void
ignore(void *arg, struct http_request *r)
{
    UNUSED(arg);
    http_respond(r, 200, NULL, "", 0);
}

static void
test_addresses(void **state)
{
    struct http_server *s = NULL;
    struct http_server_opts o = {
        .handler = ignore, .address = "127.0.0.1", .port = http_server_port(f->server)};

    UNUSED(state);
    assert_int_equal(http_server_start(f->l, &o, &s, &err), -ERR_BUSY);
    assert_has(err.msg, "taken");
    o.address = NULL;
    assert_int_equal(http_server_start(f->l, &o, &s, &err), -ERR_BAD_REQUEST);
    o.address = "example.com";
    assert_int_equal(http_server_start(f->l, &o, &s, &err), -ERR_BAD_REQUEST);
    o.address = "127.0.0.1";
    o.tls_cert_pem = "nonsense";
    o.tls_key_pem = "nonsense";
    o.port = 0;
    assert_true(http_server_start(f->l, &o, &s, &err) < 0);
    assert_has(err.msg, "certificate");
}

static int
unix_connect(const char *path)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    return fd;
}

static void
test_unix_socket(void **state)
{
    char dir[] = "/tmp/drover-http-XXXXXX";
    struct stat st;
    auto_str out = STR_INIT(1 << 16);
    struct http_server *second = NULL;

    UNUSED(state);
    fixture_free(f);
    assert_non_null(mkdtemp(dir));
    autofree char *path = fs_join(dir, "api.sock");
    /* A socket file that a killed server left behind is replaced. */
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
    int stale = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(stale, (struct sockaddr *)&sa, sizeof(sa)), 0);
    close(stale);
    f = fixture_new(&(struct http_server_opts){.unix_path = path});
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    int fd = unix_connect(path);
    raw_send(fd, GET("/x"));
    assert_true(raw_reply(f, fd, &out));
    autofree char *peer =
        xasprintf("peer unix:pid=%d,uid=%u\nunix 1\n", (int)getpid(), (unsigned)getuid());
    assert_has(out.ptr, peer);
    /* A live one is not. */
    struct http_server_opts o = {.handler = ignore, .unix_path = path};
    assert_int_equal(http_server_start(f->l, &o, &second, &err), -ERR_BUSY);
    /* Leaving is noticed here too. */
    raw_send(fd, GET("/watch"));
    wait_for(f->l, f->watchers.len == 1);
    loop_turn(f->l, 10);
    close(fd);
    wait_for(f->l, f->closed == 2);
    http_server_free(f->server);
    f->server = NULL;
    assert_int_equal(stat(path, &st), -1); /* our file is gone */
    /* What is not a socket is never removed. */
    OK(fs_write_atomic(path, "precious", 8, 0600, &err));
    assert_int_equal(http_server_start(f->l, &o, &second, &err), -ERR_BUSY);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 8);
    OK(fs_remove_tree(dir, &err));
}

int
main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_target_is_decoded_once),
        T(test_bad_targets_are_refused),
        T(test_pipelined_requests),
        T(test_malformed_requests),
        T(test_half_closed_clients),
        T(test_headers_over_the_bound),
        T(test_body_bound),
        T(test_chunked_body_bound),
        T(test_body_limit_callback),
        T(test_reader_response),
        T(test_head),
        T(test_http_1_0_stream_ends_by_close),
        T(test_stream_headers_and_events_at_once),
        T(test_stop_with_open_requests),
        T(test_quiesce),
        T(test_addresses),
        T(test_unix_socket),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
