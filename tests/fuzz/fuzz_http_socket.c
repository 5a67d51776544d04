/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Raw bytes on a connection: whatever comes, the server answers or closes, and a request
 * that is well is served afterwards. The first byte says how many bytes go at a time.
 */
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/http_server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct loop *l;
static struct http_server *server;
static char path[64];

static bool
add_text(void *arg, const char *key, const char *value)
{
    str_addf(arg, "%s=%s\n", key, value);
    return true;
}

static void
handle(void *arg, struct http_request *r)
{
    struct str out = STR_INIT(8 << 20);

    UNUSED(arg);
    str_addf(&out, "%s %s %s\n", http_method(r), http_path(r), http_raw_path(r));
    http_query_each(r, add_text, &out);
    http_headers_each(r, add_text, &out);
    str_add(&out, http_body(r).ptr, http_body(r).len);
    http_add_header(r, "X-Path", http_path(r)); /* may hold line breaks */
    http_respond_str(r, 200, "text/plain", &out);
}

static void
clean(void)
{
    http_server_free(server);
    loop_free(l);
}

static void
start(void)
{
    struct error e = ERROR_INIT;
    struct http_server_opts o = {
        .name = "fuzz", .unix_path = path, .max_body = 64 << 10, .handler = handle};

    log_set_level(LOG_LV_ERR);
    snprintf(path, sizeof(path), "/tmp/drover-fuzz-http-%d", (int)getpid());
    unlink(path);
    if (loop_new(&l, &e) < 0 || http_server_start(l, &o, &server, &e) < 0)
        abort();
    atexit(clean);
}

static int
dial(void)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    memcpy(sa.sun_path, path, sizeof(path));
    if (fd < 0 || connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0)
        abort();
    return fd;
}

/* Until the server has closed; all it says goes to out. */
static void
drain(int fd, struct str *out)
{
    int64_t until = clock_now_ms() + 10000;
    char buf[16384];

    for (;;) {
        ssize_t n = recv(fd, buf, sizeof(buf), 0);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            return;
        if (n > 0)
            str_add(out, buf, (size_t)n);
        else
            loop_turn(l, 1);
        if (clock_now_ms() > until) /* half a request, and the client has left */
            abort();
    }
}

static void
exchange(const uint8_t *data, size_t size, size_t step, struct str *out)
{
    int fd = dial();

    while (size > 0) {
        size_t n = size < step ? size : step;
        ssize_t sent = send(fd, data, n, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN)
            break;
        if (sent > 0) {
            data += sent;
            size -= (size_t)sent;
        }
        loop_turn(l, 0);
    }
    shutdown(fd, SHUT_WR);
    drain(fd, out);
    close(fd);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char good[] =
        "GET /good HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    auto_str out = STR_INIT(16 << 20);

    if (size < 1 || size > 64 << 10)
        return 0;
    if (server == NULL)
        start();
    exchange(data + 1, size - 1, data[0] == 0 ? 4096 : data[0], &out);
    str_reset(&out);
    exchange((const uint8_t *)good, sizeof(good) - 1, sizeof(good), &out);
    if (strstr(out.ptr, "GET /good /good\n") == NULL)
        abort();
    return 0;
}
