/* SPDX-License-Identifier: Apache-2.0 */
/* Both HTTP clients against our server; the blocking one runs on a thread of its own. */
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fs.h"
#include "unit/io_http_fixture.h"

static struct fixture *f;
static char url[64];

static int
setup(void **state)
{
    UNUSED(state);
    f = fixture_new(NULL);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u", http_server_port(f->server));
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

/* --- blocking -------------------------------------------------------------------------
 */

struct job {
    struct http_conn *c;
    const struct http_call *call;
    struct http_reply *reply;
    bool (*on_data)(void *arg, const char *bytes, size_t n);
    void *arg;
    const volatile bool *cancel;
    struct error e;
    int rc;
    bool done;
};

static void *
run_job(void *arg)
{
    struct job *j = arg;

    if (j->on_data == NULL)
        j->rc = http_conn_do(j->c, j->call, j->reply, &j->e);
    else
        j->rc = http_conn_stream(j->c, j->call, j->on_data, j->arg, j->cancel, j->reply,
                                 &j->e);
    __atomic_store_n(&j->done, true, __ATOMIC_RELEASE);
    return NULL;
}

static bool
is_done(const struct job *j)
{
    return __atomic_load_n(&j->done, __ATOMIC_ACQUIRE);
}

/* The call on another thread, while this one serves it. */
static int
call_blocking(struct http_conn *c, const struct http_call *call, struct http_reply *reply)
{
    struct job j = {.c = c, .call = call, .reply = reply};
    pthread_t t;

    assert_int_equal(pthread_create(&t, NULL, run_job, &j), 0);
    wait_for(f->l, is_done(&j));
    pthread_join(t, NULL);
    err = j.e;
    return j.rc;
}

static void
test_methods_headers_and_reuse(void **state)
{
    static const char *const methods[] = {"GET", "POST", "PUT", "PATCH", "DELETE"};
    const char *const extra[] = {"X-Test: yes", NULL};
    struct http_target t = {.url = url, .bearer = "s3cret\n"};
    struct http_conn *c = http_conn_new(&t);
    auto_http_reply r;

    UNUSED(state);
    http_reply_init(&r, 1 << 20);
    for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
        struct http_call call = {.method = methods[i],
                                 .path = "/a%20b?x=1",
                                 .headers = extra,
                                 .content_type = "application/json",
                                 .body = i == 0 ? NULL : "{\"k\":1}",
                                 .body_len = i == 0 ? 0 : 7};
        OK(call_blocking(c, &call, &r));
        autofree char *line = xasprintf("method %s\npath [/a b]\n", methods[i]);
        assert_int_equal(r.status, 200);
        assert_has(r.body.ptr, line);
        assert_has(r.body.ptr, "x-test yes\nauthorization Bearer s3cret\n");
        assert_has(r.body.ptr, i == 0 ? "body " : "body {\"k\":1}");
        assert_string_equal(r.content_type, "text/plain");
        assert_string_equal(r.warning, "299 - \"careful\"");
        assert_int_equal(r.retry_after_ms, 7000);
    }
    OK(call_blocking(c, &(struct http_call){.method = "HEAD", .path = "/big?n=77"}, &r));
    assert_int_equal(r.status, 200);
    assert_int_equal(r.body.len, 0);
    OK(call_blocking(c, &(struct http_call){.method = "POST", .path = "/empty"}, &r));
    assert_has(r.body.ptr, "method POST");
    OK(call_blocking(c, &(struct http_call){.method = "GET", .path = "/missing"}, &r));
    assert_int_equal(r.status, 404); /* a reply, not an error */
    assert_string_equal(r.body.ptr, "{\"reason\":\"NotFound\"}");
    assert_string_equal(r.warning, ""); /* nothing of the call before */
    assert_int_equal(http_server_connections(f->server), 1);
    http_conn_free(c);
}

static void
test_token_file_is_read_each_time(void **state)
{
    char path[] = "/tmp/drover-token-XXXXXX";
    auto_http_reply r;
    int fd = mkstemp(path);

    UNUSED(state);
    close(fd);
    struct http_target t = {.url = url, .bearer_file = path};
    struct http_conn *c = http_conn_new(&t);
    struct http_call call = {.method = "GET", .path = "/x"};
    http_reply_init(&r, 1 << 20);
    OK(fs_write_atomic(path, "first\n", 6, 0600, &err));
    OK(call_blocking(c, &call, &r));
    assert_has(r.body.ptr, "authorization Bearer first\n");
    OK(fs_write_atomic(path, "second", 6, 0600, &err));
    OK(call_blocking(c, &call, &r));
    assert_has(r.body.ptr, "authorization Bearer second\n");
    OK(fs_write_atomic(path, "a\r\nX-Evil: 1", 12, 0600, &err));
    assert_int_equal(call_blocking(c, &call, &r), -ERR_BAD_REQUEST);
    unlink(path);
    assert_int_equal(call_blocking(c, &call, &r), -ERR_NOT_FOUND);
    http_conn_free(c);
}

static void
test_bounds_and_time_outs(void **state)
{
    struct http_target t = {.url = url};
    struct http_conn *c = http_conn_new(&t);
    auto_http_reply r;

    UNUSED(state);
    http_reply_init(&r, 1000);
    OK(call_blocking(c, &(struct http_call){.method = "GET", .path = "/big?n=1000"}, &r));
    assert_int_equal(r.body.len, 1000);
    assert_int_equal(
        call_blocking(c, &(struct http_call){.method = "GET", .path = "/big?n=1001"}, &r),
        -ERR_TOO_LARGE);
    /* Nobody answers: the call ends by its own limit, and the server notices. */
    struct http_call late = {.method = "GET", .path = "/later", .timeout_ms = 100};
    int64_t start = clock_now_ms();
    assert_int_equal(call_blocking(c, &late, &r), -ERR_TIMEOUT);
    assert_in_range(clock_now_ms() - start, 100, 5000);
    assert_has(err.msg, "GET http://127.0.0.1:");
    wait_for(f->l, f->closed == 3);
    assert_true(f->aborted >= 1);
    f->pending.len = 0;
    /* A connection that breaks off is not a reply. */
    assert_int_equal(
        call_blocking(c, &(struct http_call){.method = "GET", .path = "/abort"}, &r),
        -ERR_TOO_LARGE);
    r.body.max = 8 << 20;
    assert_int_equal(
        call_blocking(c, &(struct http_call){.method = "GET", .path = "/abort"}, &r),
        -ERR_UNAVAILABLE);
    http_conn_free(c);
    struct http_target nobody = {.url = "http://127.0.0.1:1"};
    c = http_conn_new(&nobody);
    assert_int_equal(
        call_blocking(c, &(struct http_call){.method = "GET", .path = "/x"}, &r),
        -ERR_UNAVAILABLE);
    http_conn_free(c);
    struct http_target no_socket = {.unix_socket = "/nonexistent/sock"};
    c = http_conn_new(&no_socket);
    assert_int_equal(
        call_blocking(c, &(struct http_call){.method = "GET", .path = "/x"}, &r),
        -ERR_UNAVAILABLE);
    http_conn_free(c);
}

struct lines {
    struct str text;
    int stop_after, n;
};

static bool
take_line(void *arg, const char *bytes, size_t n)
{
    struct lines *x = arg;

    str_add(&x->text, bytes, n);
    return __atomic_add_fetch(&x->n, 1, __ATOMIC_RELEASE) < x->stop_after;
}

static void
test_blocking_stream(void **state)
{
    struct http_target t = {.url = url};
    struct http_call call = {.method = "GET", .path = "/watch", .timeout_ms = -1};
    struct lines x = {.text = STR_INIT(1 << 16), .stop_after = 3};
    auto_http_reply r;
    pthread_t th;

    UNUSED(state);
    http_reply_init(&r, 1 << 16);
    struct job j = {.c = http_conn_new(&t),
                    .call = &call,
                    .reply = &r,
                    .on_data = take_line,
                    .arg = &x};
    assert_int_equal(pthread_create(&th, NULL, run_job, &j), 0);
    wait_for(f->l, f->watchers.len == 1);
    for (int i = 1; i <= 3; i++) {
        fixture_fire(f);
        wait_for(f->l, __atomic_load_n(&x.n, __ATOMIC_ACQUIRE) == i);
    }
    wait_for(f->l, is_done(&j)); /* its callback said stop: success */
    pthread_join(th, NULL);
    assert_int_equal(j.rc, 0);
    assert_string_equal(x.text.ptr, "event 1\nevent 2\nevent 3\n");
    /* The body of a refusal is in the reply. */
    struct http_call missing = {.method = "GET", .path = "/missing"};
    j.call = &missing;
    j.done = false;
    assert_int_equal(pthread_create(&th, NULL, run_job, &j), 0);
    wait_for(f->l, is_done(&j));
    pthread_join(th, NULL);
    assert_int_equal(j.rc, 0);
    assert_int_equal(r.status, 404);
    assert_string_equal(r.body.ptr, "{\"reason\":\"NotFound\"}");
    http_conn_free(j.c);
    str_done(&x.text);
}

static void
test_cancel(void **state)
{
    struct http_target t = {.url = url};
    struct http_call call = {.method = "GET", .path = "/watch", .timeout_ms = -1};
    struct lines x = {.text = STR_INIT(1 << 16), .stop_after = 3};
    volatile bool cancel = false;
    auto_http_reply r;
    pthread_t th;

    UNUSED(state);
    http_reply_init(&r, 1 << 16);
    struct job j = {.c = http_conn_new(&t),
                    .call = &call,
                    .reply = &r,
                    .on_data = take_line,
                    .arg = &x,
                    .cancel = &cancel};
    assert_int_equal(pthread_create(&th, NULL, run_job, &j), 0);
    wait_for(f->l, f->watchers.len == 1);
    int64_t start = clock_now_ms();
    __atomic_store_n(&cancel, true, __ATOMIC_RELEASE);
    wait_for(f->l, is_done(&j));
    pthread_join(th, NULL);
    assert_int_equal(j.rc, -ERR_TIMEOUT);
    assert_true(clock_now_ms() - start < 2000);
    http_conn_free(j.c);
    wait_for(f->l, f->aborted == 1); /* its connection is closed, not kept */
    str_done(&x.text);
}

/* --- asynchronous ---------------------------------------------------------------------
 */

struct client {
    struct http_multi *m;
    struct http_transfer *t;
    struct str text;
    int headers, done, status;
    bool paused, cancel_on_data, cancel_on_headers, restart;
    struct client *victim; /* cancelled by our on_done */
    enum err_code code;
};

static void
on_headers(void *arg, const struct http_reply *r)
{
    struct client *c = arg;

    assert_int_equal(c->headers++, 0);
    c->status = r->status;
    if (c->cancel_on_headers)
        http_transfer_cancel(c->t);
}

static bool
on_data(void *arg, const char *bytes, size_t n)
{
    struct client *c = arg;

    assert_int_equal(c->headers, 1);
    if (c->cancel_on_data)
        http_transfer_cancel(c->t);
    if (c->paused)
        return false;
    str_add(&c->text, bytes, n);
    return true;
}

static void client_start(struct client *c, const char *path);

static void
on_done(void *arg, const struct http_reply *r, const struct error *e)
{
    struct client *c = arg;

    c->done++;
    c->code = e->code;
    c->status = r->status;
    str_add(&c->text, r->body.ptr, r->body.len);
    http_transfer_cancel(c->t); /* too late, and harmless */
    if (c->victim != NULL)
        http_transfer_cancel(c->victim->t);
    if (c->restart) {
        c->restart = false;
        c->headers = 0;
        client_start(c, "/hello");
    }
}

static const struct http_transfer_cbs streaming = {on_headers, on_data, on_done};
static const struct http_transfer_cbs collecting = {NULL, NULL, on_done};

static void
client_start(struct client *c, const char *path)
{
    struct http_target t = {.url = url};
    struct http_call call = {.method = "GET", .path = path, .timeout_ms = -1};

    c->t = http_multi_start(c->m, &t, &call, 1 << 20, &streaming, c);
}

static void
client_init(struct client *c, struct http_multi *m)
{
    *c = (struct client){.m = m};
    str_init(&c->text, 8 << 20);
}

enum { WATCHERS = 200 };

/* Two hundred streams suspended at once, woken together, over and over. */
static void
test_many_watchers(void **state)
{
    struct http_multi *m = NULL;
    struct client *c = xcalloc(WATCHERS, sizeof(*c));
    auto_str expected = STR_INIT(1 << 16);

    UNUSED(state);
    OK(http_multi_new(f->l, &m, &err));
    for (int i = 0; i < WATCHERS; i++) {
        client_init(&c[i], m);
        client_start(&c[i], "/watch");
    }
    wait_for(f->l, f->watchers.len == WATCHERS);
    for (int event = 1; event <= 10; event++) {
        str_addf(&expected, "event %d\n", event);
        fixture_fire(f);
        for (int i = 0; i < WATCHERS; i++)
            wait_for(f->l, c[i].text.len >= expected.len);
    }
    for (int i = 0; i < WATCHERS; i++) {
        assert_int_equal(c[i].status, 200);
        assert_string_equal(c[i].text.ptr, expected.ptr);
        assert_int_equal(c[i].done, 0);
        http_transfer_cancel(c[i].t);
    }
    wait_for(f->l, f->aborted == WATCHERS);
    assert_int_equal(f->freed, WATCHERS);
    for (int i = 0; i < WATCHERS; i++) {
        assert_int_equal(c[i].done, 0); /* not after a cancel */
        str_done(&c[i].text);
    }
    http_multi_free(m);
    free(c);
}

static void
test_collect_and_errors(void **state)
{
    struct http_multi *m = NULL;
    struct client c[5];
    struct http_target t = {.url = url};
    struct http_target nobody = {.url = "http://127.0.0.1:1"};
    struct http_target no_token = {.url = url, .bearer_file = "/nonexistent/token"};
    struct http_call hello = {.method = "GET", .path = "/hello"};
    struct http_call big = {.method = "GET", .path = "/big?n=5000"};
    char body[] = "posted";
    struct http_call post = {.method = "POST", .path = "/x", .body = body, .body_len = 6};

    UNUSED(state);
    OK(http_multi_new(f->l, &m, &err));
    for (int i = 0; i < 5; i++)
        client_init(&c[i], m);
    c[0].t = http_multi_start(m, &t, &hello, 1000, &collecting, &c[0]);
    c[1].t = http_multi_start(m, &t, &big, 1000, &collecting, &c[1]);
    c[2].t = http_multi_start(m, &nobody, &hello, 1000, &collecting, &c[2]);
    c[3].t = http_multi_start(m, &no_token, &hello, 1000, &collecting, &c[3]);
    c[4].t = http_multi_start(m, &t, &post, 1000, &collecting, &c[4]);
    memset(body, '!', sizeof(body)); /* it was copied */
    assert_int_equal(c[3].done, 0);  /* never from within the start */
    for (int i = 0; i < 5; i++)
        wait_for(f->l, c[i].done == 1);
    assert_int_equal(c[0].code, ERR_OK);
    assert_string_equal(c[0].text.ptr, "hello\n");
    assert_int_equal(c[1].code, ERR_TOO_LARGE);
    assert_int_equal(c[2].code, ERR_UNAVAILABLE);
    assert_int_equal(c[3].code, ERR_NOT_FOUND);
    assert_has(c[4].text.ptr, "body posted");
    for (int i = 0; i < 5; i++)
        str_done(&c[i].text);
    http_multi_free(m);
}

/* Paused, the client takes nothing and the server in the end produces nothing; the same
 * bytes come again. */
static void
test_pause(void **state)
{
    struct http_multi *m = NULL;
    struct client c;

    UNUSED(state);
    OK(http_multi_new(f->l, &m, &err));
    client_init(&c, m);
    c.paused = true;
    client_start(&c, "/big?n=3000000");
    wait_for(f->l, c.headers == 1);
    for (int i = 0; i < 20; i++)
        loop_turn(f->l, 5);
    assert_int_equal(c.text.len, 0);
    http_transfer_unpause(c.t); /* still not taken: pauses again */
    loop_turn(f->l, 5);
    loop_turn(f->l, 5);
    assert_int_equal(c.text.len, 0);
    c.paused = false;
    http_transfer_unpause(c.t);
    wait_for(f->l, c.done == 1);
    assert_int_equal(c.text.len, 3000000);
    for (int i = 0; i < 3000000; i++) {
        if (c.text.ptr[i] != 'a' + i % 23)
            fail_msg("wrong byte at %d", i);
    }
    str_done(&c.text);
    http_multi_free(m);
}

/* Cancels and starts from within callbacks, of oneself and of others. */
static void
test_reentrance(void **state)
{
    struct http_multi *m = NULL;
    struct client c[5];

    UNUSED(state);
    OK(http_multi_new(f->l, &m, &err));
    for (int i = 0; i < 5; i++)
        client_init(&c[i], m);
    c[0].cancel_on_data = true;
    c[1].cancel_on_headers = true;
    c[2].restart = true;
    c[3].victim = &c[4];
    client_start(&c[0], "/big");
    client_start(&c[1], "/big");
    client_start(&c[2], "/hello");
    client_start(&c[3], "/hello");
    client_start(&c[4], "/watch");
    wait_for(f->l, c[2].done == 2 && c[3].done == 1 && c[0].headers == 1);
    wait_for(f->l, c[1].headers == 1);
    for (int i = 0; i < 10; i++)
        loop_turn(f->l, 5);
    assert_int_equal(c[0].done, 0);
    assert_int_equal(c[1].done, 0);
    assert_int_equal(c[4].done, 0);
    assert_string_equal(c[2].text.ptr, "hello\nhello\n");
    client_start(&c[0], "/watch"); /* freed while it runs */
    loop_turn(f->l, 5);
    http_multi_free(m);
    for (int i = 0; i < 5; i++)
        str_done(&c[i].text);
}

static void
test_unix_socket(void **state)
{
    char dir[] = "/tmp/drover-client-XXXXXX";
    struct http_multi *m = NULL;
    struct client c;

    UNUSED(state);
    fixture_free(f);
    assert_non_null(mkdtemp(dir));
    autofree char *path = fs_join(dir, "sock");
    f = fixture_new(&(struct http_server_opts){.unix_path = path});
    struct http_target t = {.url = "http://localhost", .unix_socket = path};
    struct http_call call = {.method = "GET", .path = "/x"};
    OK(http_multi_new(f->l, &m, &err));
    client_init(&c, m);
    c.t = http_multi_start(m, &t, &call, 10000, &collecting, &c);
    wait_for(f->l, c.done == 1);
    assert_int_equal(c.code, ERR_OK);
    assert_has(c.text.ptr, "unix 1\n");
    str_done(&c.text);
    http_multi_free(m);
    struct http_conn *conn = http_conn_new(&t);
    auto_http_reply r;
    http_reply_init(&r, 10000);
    OK(call_blocking(conn, &call, &r));
    assert_has(r.body.ptr, "unix 1\n");
    http_conn_free(conn);
    OK(fs_remove_tree(dir, &err));
}

/* A listener that never accepts, its queue full: the connection stays half made. */
static int
full_listener(struct sockaddr_in *addr, int fill[4])
{
    socklen_t len = sizeof(*addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    *addr = (struct sockaddr_in){.sin_family = AF_INET,
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(bind(fd, (struct sockaddr *)addr, sizeof(*addr)), 0);
    assert_int_equal(listen(fd, 0), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)addr, &len), 0);
    for (int i = 0; i < 4; i++) {
        fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (connect(fill[i], (struct sockaddr *)addr, sizeof(*addr)) < 0)
            assert_int_equal(errno, EINPROGRESS);
    }
    return fd;
}

static void
test_cancel_while_connecting(void **state)
{
    struct http_multi *m = NULL;
    struct http_call call = {.method = "GET", .path = "/x"};
    struct sockaddr_in addr;
    struct client c[2];
    int fill[4];
    char target_url[64];

    UNUSED(state);
    int fd = full_listener(&addr, fill);
    snprintf(target_url, sizeof(target_url), "http://127.0.0.1:%u", ntohs(addr.sin_port));
    struct http_target t = {.url = target_url};
    OK(http_multi_new(f->l, &m, &err));
    for (int i = 0; i < 2; i++) {
        client_init(&c[i], m);
        c[i].t = http_multi_start(m, &t, &call, 10000, &collecting, &c[i]);
    }
    for (int i = 0; i < 5; i++)
        loop_turn(f->l, 5);
    assert_int_equal(c[0].done, 0);
    http_transfer_cancel(c[0].t);
    loop_turn(f->l, 5);
    http_multi_free(m); /* with the other one half made */
    for (int i = 0; i < 2; i++)
        str_done(&c[i].text);
    for (int i = 0; i < 4; i++)
        close(fill[i]);
    close(fd);
}

int
main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_methods_headers_and_reuse),
        T(test_token_file_is_read_each_time),
        T(test_bounds_and_time_outs),
        T(test_blocking_stream),
        T(test_cancel),
        T(test_many_watchers),
        T(test_collect_and_errors),
        T(test_pause),
        T(test_reentrance),
        T(test_unix_socket),
        T(test_cancel_while_connecting),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
