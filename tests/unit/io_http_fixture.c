/* SPDX-License-Identifier: Apache-2.0 */
/* See io_http_fixture.h. */
#include "unit/io_http_fixture.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct error err;

static void
on_close(void *state, bool aborted)
{
    struct fixture *f = state;

    f->closed++;
    f->aborted += aborted;
}

static void
on_done(void *arg, struct http_request *r, int status, bool aborted)
{
    struct fixture *f = arg;

    UNUSED(r);
    f->done++;
    f->done_status = status;
    f->done_aborted = aborted;
}

static ssize_t
fill_watch(void *arg, char *buf, size_t max)
{
    struct watcher *w = arg;

    if (w->available == 0) {
        memset(buf, 'x', max);
        w->f->unused = (struct span){buf, max};
        return 0;
    }
    w->available--;
    return snprintf(buf, max, "event %d\n", ++w->sent);
}

static void
free_watch(void *arg)
{
    struct watcher *w = arg;
    struct fixture *f = w->f;

    f->freed++;
    for (size_t i = 0; i < f->watchers.len; i++) {
        if (f->watchers.items[i] == w) {
            f->watchers.items[i] = f->watchers.items[--f->watchers.len];
            break;
        }
    }
    free(w);
}

static ssize_t
fill_firehose(void *arg, char *buf, size_t max)
{
    struct fixture *f = arg;

    f->fills++;
    memset(buf, 'f', max);
    return (ssize_t)max;
}

/* One piece, then it cannot be gone on with. */
static ssize_t
fill_cut(void *arg, char *buf, size_t max)
{
    struct fixture *f = arg;

    return f->fills++ == 0 ? snprintf(buf, max, "half") : HTTP_FILL_ABORT;
}

struct big {
    struct fixture *f;
    uint64_t pos;
    bool give_up;
};

static ssize_t
read_big(void *arg, char *buf, size_t max)
{
    struct big *b = arg;

    if (b->give_up && b->pos > 0)
        return -1;
    for (size_t i = 0; i < max; i++)
        buf[i] = (char)('a' + (b->pos + i) % 23);
    b->pos += max;
    return (ssize_t)max;
}

static void
free_big(void *arg)
{
    ((struct big *)arg)->f->freed++;
    free(arg);
}

static bool
add_pair(void *arg, const char *key, const char *value)
{
    str_addf(arg, "query %s=[%s]\n", key, value);
    return true;
}

static void
echo(struct http_request *r)
{
    auto_str s = STR_INIT(16 << 20);

    str_addf(&s, "method %s\npath [%s]\nraw %s\npeer %s\nunix %d\n", http_method(r),
             http_path(r), http_raw_path(r), http_peer(r), http_is_unix(r));
    if (http_client_name(r) != NULL)
        str_addf(&s, "client %s\n", http_client_name(r));
    http_query_each(r, add_pair, &s);
    if (http_header(r, "x-test") != NULL)
        str_addf(&s, "x-test %s\n", http_header(r, "x-test"));
    if (http_header(r, "authorization") != NULL)
        str_addf(&s, "authorization %s\n", http_header(r, "authorization"));
    str_adds(&s, "body ");
    str_add(&s, http_body(r).ptr, http_body(r).len);
    http_add_header(r, "X-Answer", "42");
    http_add_header(r, "Warning", "299 - \"careful\"");
    http_add_header(r, "Retry-After", "7");
    http_respond_str(r, 200, "text/plain", &s);
}

static void
start_watch(struct fixture *f, struct http_request *r)
{
    struct watcher *w = xnew(struct watcher);

    w->f = f;
    vec_push(&f->watchers, w);
    w->stream = http_respond_stream(r, 200, "text/plain", fill_watch, free_watch, w);
}

static void
start_big(struct fixture *f, struct http_request *r, bool give_up)
{
    const char *n = http_query(r, "n");
    struct big *b = xnew(struct big);

    b->f = f;
    b->give_up = give_up;
    http_respond_reader(r, 200, "application/octet-stream",
                        n == NULL ? 1 << 20 : strtoull(n, NULL, 10), read_big, free_big,
                        b);
}

static void
handler(void *arg, struct http_request *r)
{
    struct fixture *f = arg;
    const char *path = http_path(r);

    f->handled++;
    http_set_state(r, f, on_close);
    if (streq(path, "/hello"))
        http_respond(r, 200, "text/plain", "hello\n", 6);
    else if (streq(path, "/later"))
        vec_push(&f->pending, r);
    else if (streq(path, "/watch"))
        start_watch(f, r);
    else if (streq(path, "/firehose"))
        http_respond_stream(r, 200, "text/plain", fill_firehose, NULL, f);
    else if (streq(path, "/cut"))
        http_respond_stream(r, 200, "text/plain", fill_cut, NULL, f);
    else if (streq(path, "/big"))
        start_big(f, r, false);
    else if (streq(path, "/abort"))
        start_big(f, r, true);
    else if (streq(path, "/missing"))
        http_respond(r, 404, "application/json", "{\"reason\":\"NotFound\"}", 21);
    else
        echo(r);
}

struct fixture *
fixture_new(const struct http_server_opts *opts)
{
    struct fixture *f = xnew(struct fixture);
    struct http_server_opts o = {0};

    err = ERROR_INIT;
    if (opts != NULL)
        o = *opts;
    o.handler = handler;
    o.on_done = on_done;
    o.arg = f;
    if (o.unix_path == NULL)
        o.address = "127.0.0.1";
    OK(loop_new(&f->l, &err));
    OK(http_server_start(f->l, &o, &f->server, &err));
    return f;
}

void
fixture_free(struct fixture *f)
{
    http_server_free(f->server);
    loop_free(f->l);
    vec_done(&f->pending);
    vec_done(&f->watchers);
    free(f);
}

void
fixture_answer_all(struct fixture *f, int status)
{
    for (size_t i = 0; i < f->pending.len; i++)
        http_respond(f->pending.items[i], status, "text/plain", "late\n", 5);
    f->pending.len = 0;
}

void
fixture_fire(struct fixture *f)
{
    for (size_t i = 0; i < f->watchers.len; i++) {
        f->watchers.items[i]->available++;
        http_stream_wake(f->watchers.items[i]->stream);
    }
}

int
raw_connect(const struct fixture *f)
{
    struct sockaddr_in sa = {.sin_family = AF_INET,
                             .sin_port = htons(http_server_port(f->server)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

void
raw_send(int fd, const char *text)
{
    size_t n = strlen(text);

    assert_int_equal(send(fd, text, n, MSG_NOSIGNAL), n);
}

/* Whether buf holds a whole reply. */
static bool
is_whole(const char *buf, size_t n)
{
    const char *end = strstr(buf, "\r\n\r\n");
    const char *length = strcasestr(buf, "\r\nContent-Length:");

    if (end == NULL || length == NULL || length > end)
        return false;
    return n >= (size_t)(end + 4 - buf) + strtoul(length + 17, NULL, 10);
}

bool
raw_reply(struct fixture *f, int fd, struct str *out)
{
    int64_t until = clock_now_ms() + 20000;

    while (!is_whole(out->ptr, out->len)) {
        char buf[4096];
        ssize_t n = recv(fd, buf, sizeof(buf), 0);
        if (n > 0)
            str_add(out, buf, (size_t)n);
        else if (n == 0 || errno != EAGAIN)
            return out->len > 0;
        else
            loop_turn(f->l, 5);
        if (clock_now_ms() > until)
            fail_msg("no whole reply: %s", out->ptr);
    }
    return true;
}

void
raw_closed(struct fixture *f, int fd)
{
    int64_t until = clock_now_ms() + 20000;
    char buf[4096];

    for (;;) {
        ssize_t n = recv(fd, buf, sizeof(buf), 0);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            return;
        if (clock_now_ms() > until)
            fail_msg("never closed");
        loop_turn(f->l, 5);
    }
}
