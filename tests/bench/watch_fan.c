/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opens N watches of an HTTP server, each on a connection of its own, then lets one
 * request at a time make an event and times its arrival at every watcher, from the moment
 * in which the request was sent. Prints one JSON line: time to connect, latencies, the
 * server's memory per watcher and CPU per event.
 *
 * watch_fan --port P [--tls] --watchers N --rounds R [--expect M] --path /watch?x=%d
 *           --fire "POST /fire" --body FILE [--token T] [--server-pid PID]
 * %d in the path is the watcher's number; @@ in the body (which may be several requests'
 * worth: lines) is the round. --expect: how many watchers get the event (all).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <gnutls/gnutls.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"

enum { CONNECTING_MAX = 64, WAIT_MS = 20000, SETTLE_MS = 1500 };

struct options {
    int port, watchers, rounds, expect, pid;
    bool tls;
    const char *path, *fire, *body, *token;
};

struct conn {
    int fd;
    gnutls_session_t tls;
    enum { HANDSHAKE, ASKED, OPEN } state;
    unsigned seen; /* the round of the last event */
};

struct fan {
    struct options o;
    int epoll;
    gnutls_certificate_credentials_t cred;
    struct conn *conns;
    int n_started, n_open;
    unsigned round;
    int arrived;
    int64_t sent_ns;
    int64_t *latency;
    size_t n_latency;
    struct conn writer;
    struct str body;
};

static void
die(const char *what)
{
    fprintf(stderr, "watch_fan: %s: %s\n", what, strerrordesc_np(errno));
    exit(1);
}

/* --- connections
 * -------------------------------------------------------------------------- */

static void
open_conn(struct fan *f, struct conn *c)
{
    struct sockaddr_in sa = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)f->o.port)};
    int on = 1;

    inet_pton(AF_INET, "127.0.0.1", &sa.sin_addr);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
        die("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (!f->o.tls)
        return;
    if (fcntl(c->fd, F_SETFL, O_NONBLOCK) < 0)
        die("fcntl");
    gnutls_init(&c->tls, GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_NO_TICKETS);
    gnutls_set_default_priority(c->tls);
    gnutls_credentials_set(c->tls, GNUTLS_CRD_CERTIFICATE, f->cred);
    gnutls_transport_set_int(c->tls, c->fd);
}

static ssize_t
conn_recv(struct conn *c, char *buf, size_t size)
{
    if (c->tls == NULL)
        return recv(c->fd, buf, size, MSG_DONTWAIT);
    ssize_t n = gnutls_record_recv(c->tls, buf, size);
    if (n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED)
        errno = EAGAIN;
    return n < 0 ? -1 : n;
}

static void
conn_send(struct conn *c, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t k =
            c->tls != NULL ? gnutls_record_send(c->tls, p, n) : send(c->fd, p, n, 0);
        if (k == GNUTLS_E_AGAIN)
            continue;
        if (k <= 0)
            die("send");
        p += k;
        n -= (size_t)k;
    }
}

static void
ask(struct fan *f, struct conn *c)
{
    auto_str req = STR_INIT(1 << 20);
    char path[512];

    snprintf(path, sizeof(path), "%s", f->o.path);
    char *d = strstr(path, "%d");
    str_adds(&req, "GET ");
    if (d != NULL)
        str_addf(&req, "%.*s%d%s", (int)(d - path), path, (int)(c - f->conns), d + 2);
    else
        str_adds(&req, path);
    str_addf(&req, " HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n\r\n",
             f->o.token);
    c->state = ASKED;
    conn_send(c, req.ptr, req.len);
}

static void start_some(struct fan *f);

static void
handshake(struct fan *f, struct conn *c)
{
    int rc = gnutls_handshake(c->tls);

    if (rc == GNUTLS_E_AGAIN || rc == GNUTLS_E_INTERRUPTED)
        return;
    if (rc < 0) {
        fprintf(stderr, "watch_fan: handshake: %s\n", gnutls_strerror(rc));
        exit(1);
    }
    ask(f, c);
}

static void
start_some(struct fan *f)
{
    while (f->n_started < f->o.watchers && f->n_started - f->n_open < CONNECTING_MAX) {
        struct conn *c = &f->conns[f->n_started++];
        struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};
        open_conn(f, c);
        if (epoll_ctl(f->epoll, EPOLL_CTL_ADD, c->fd, &ev) < 0)
            die("epoll");
        if (f->o.tls)
            handshake(f, c);
        else
            ask(f, c);
    }
}

static void
on_data(struct fan *f, struct conn *c, const char *buf, size_t n)
{
    if (c->state == ASKED) {
        if (memcmp(buf, "HTTP/1.1 200", n < 12 ? n : 12) != 0) {
            fprintf(stderr, "watch_fan: %.*s\n", (int)n, buf);
            exit(1);
        }
        c->state = OPEN;
        f->n_open++;
        start_some(f);
        return;
    }
    if (c->seen == f->round || memmem(buf, n, "\n\r\n", 3) == NULL)
        return;
    c->seen = f->round;
    f->arrived++;
    f->latency[f->n_latency++] = clock_now_ns() - f->sent_ns;
}

static void
on_ready(struct fan *f, struct conn *c)
{
    char buf[32 << 10];

    if (f->o.tls && c->state == HANDSHAKE) {
        handshake(f, c);
        return;
    }
    for (;;) {
        ssize_t n = conn_recv(c, buf, sizeof(buf));
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0)
            die("a watch ended");
        on_data(f, c, buf, (size_t)n);
        if (c->tls == NULL && n < (ssize_t)sizeof(buf))
            return;
    }
}

static bool
turn(struct fan *f, int ms)
{
    struct epoll_event ev[256];
    int n = epoll_wait(f->epoll, ev, ARRAY_LEN(ev), ms);

    for (int i = 0; i < n; i++)
        on_ready(f, ev[i].data.ptr);
    return n > 0;
}

/* --- rounds
 * ------------------------------------------------------------------------------- */

static void
fire(struct fan *f)
{
    auto_str body = STR_INIT(1 << 20), req = STR_INIT(1 << 20);
    char buf[64 << 10];
    const char *p = f->body.ptr, *at;

    while ((at = strstr(p, "@@")) != NULL) {
        str_add(&body, p, (size_t)(at - p));
        str_addf(&body, "%u", f->round);
        p = at + 2;
    }
    str_adds(&body, p);
    str_addf(
        &req,
        "%s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n"
        "Content-Type: application/merge-patch+json\r\nContent-Length: %zu\r\n\r\n%s",
        f->o.fire, f->o.token, body.len, body.ptr);
    f->sent_ns = clock_now_ns();
    conn_send(&f->writer, req.ptr, req.len);
    int64_t until = f->sent_ns + WAIT_MS * 1000000LL;
    while (f->arrived < f->o.expect && clock_now_ns() < until)
        turn(f, 1000);
    if (f->arrived < f->o.expect) {
        fprintf(stderr, "watch_fan: %d of %d events came\n", f->arrived, f->o.expect);
        exit(1);
    }
    ssize_t n = 0;
    while ((n = conn_recv(&f->writer, buf, sizeof(buf))) < 0 && errno == EAGAIN)
        turn(f, 1);
    if (n <= 0 || memcmp(buf, "HTTP/1.1 2", 10) != 0) {
        fprintf(stderr, "watch_fan: %.*s\n", (int)(n > 0 ? n : 0), buf);
        exit(1);
    }
    while (turn(f, 2) || conn_recv(&f->writer, buf, sizeof(buf)) > 0) /* what is left */
        ;
}

struct usage {
    long pss_kb, rss_kb;
    double cpu_us;
};

static struct usage
usage_of(int pid)
{
    struct usage u = {0};
    char path[64], line[256];
    unsigned long long ut = 0, st = 0;

    if (pid == 0)
        return u;
    snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", pid);
    FILE *file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        sscanf(line, "Private_Dirty: %ld", &u.pss_kb);
        sscanf(line, "Rss: %ld", &u.rss_kb);
    }
    if (file != NULL)
        fclose(file);
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    file = fopen(path, "re");
    if (file != NULL &&
        fscanf(file, "%*d %*s %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &ut,
               &st) == 2)
        u.cpu_us = (double)(ut + st) * 1e6 / (double)sysconf(_SC_CLK_TCK);
    if (file != NULL)
        fclose(file);
    return u;
}

static int
by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

static double
percentile(const struct fan *f, double p)
{
    size_t i = (size_t)((double)f->n_latency * p);

    return (double)f->latency[i < f->n_latency ? i : f->n_latency - 1] / 1e6;
}

static void
run(struct fan *f)
{
    struct usage before = usage_of(f->o.pid);
    int64_t t0 = clock_now_ns();

    start_some(f);
    while (f->n_open < f->o.watchers)
        turn(f, WAIT_MS);
    int64_t connected = clock_now_ns() - t0;
    int64_t until = clock_now_ns() + SETTLE_MS * 1000000LL;
    while (clock_now_ns() < until)
        turn(f, 50);
    struct usage idle = usage_of(f->o.pid);
    open_conn(f, &f->writer);
    while (f->o.tls && gnutls_handshake(f->writer.tls) < 0)
        ;
    for (int i = 0; i < f->o.rounds; i++) {
        f->round++;
        f->arrived = 0;
        fire(f);
    }
    struct usage after = usage_of(f->o.pid);
    qsort(f->latency, f->n_latency, sizeof(f->latency[0]), by_value);
    printf("{\"watchers\":%d,\"connect_ms\":%.0f,\"p50\":%.2f,\"p99\":%.2f,\"max\":%.2f,"
           "\"private_kb\":%.2f,\"rss_kb\":%.2f,\"grown_kb\":%.2f,\"cpu_us\":%.1f}\n",
           f->o.watchers, (double)connected / 1e6, percentile(f, 0.5),
           percentile(f, 0.99), percentile(f, 1),
           (double)(idle.pss_kb - before.pss_kb) / f->o.watchers,
           (double)(idle.rss_kb - before.rss_kb) / f->o.watchers,
           (double)(after.pss_kb - before.pss_kb) / f->o.watchers,
           (after.cpu_us - idle.cpu_us) / f->o.rounds / f->o.expect);
}

/* --- options
 * ------------------------------------------------------------------------------ */

static const struct option long_options[] = {
    {"port", required_argument, NULL, 'p'},
    {"tls", no_argument, NULL, 's'},
    {"watchers", required_argument, NULL, 'n'},
    {"rounds", required_argument, NULL, 'r'},
    {"expect", required_argument, NULL, 'e'},
    {"path", required_argument, NULL, 'P'},
    {"fire", required_argument, NULL, 'f'},
    {"body", required_argument, NULL, 'b'},
    {"token", required_argument, NULL, 't'},
    {"server-pid", required_argument, NULL, 'i'},
    {0},
};

static int
number(const char *text)
{
    return (int)strtol(text, NULL, 10);
}

static void
parse(struct options *o, int argc, char **argv)
{
    int id;

    *o = (struct options){.rounds = 10, .token = "none", .path = "/watch"};
    while ((id = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        switch (id) {
        case 'p':
            o->port = number(optarg);
            break;
        case 's':
            o->tls = true;
            break;
        case 'n':
            o->watchers = number(optarg);
            break;
        case 'r':
            o->rounds = number(optarg);
            break;
        case 'e':
            o->expect = number(optarg);
            break;
        case 'P':
            o->path = optarg;
            break;
        case 'f':
            o->fire = optarg;
            break;
        case 'b':
            o->body = optarg;
            break;
        case 't':
            o->token = optarg;
            break;
        case 'i':
            o->pid = number(optarg);
            break;
        default:
            exit(2);
        }
    }
    if (o->port == 0 || o->watchers < 1 || o->rounds < 1 || o->fire == NULL ||
        o->body == NULL) {
        fprintf(stderr, "watch_fan: see its source for the options\n");
        exit(2);
    }
    if (o->expect == 0)
        o->expect = o->watchers;
}

int
main(int argc, char **argv)
{
    struct fan f = {.epoll = epoll_create1(EPOLL_CLOEXEC), .body = STR_INIT(1 << 20)};
    struct error e = ERROR_INIT;
    struct rlimit lim;

    parse(&f.o, argc, argv);
    if (getrlimit(RLIMIT_NOFILE, &lim) == 0) {
        lim.rlim_cur = lim.rlim_max;
        setrlimit(RLIMIT_NOFILE, &lim);
    }
    if (fs_read(f.o.body, &f.body, &e) < 0) {
        fprintf(stderr, "watch_fan: %s\n", e.msg);
        return 1;
    }
    f.conns = xcalloc((size_t)f.o.watchers, sizeof(f.conns[0]));
    f.latency = xcalloc((size_t)f.o.watchers * (size_t)f.o.rounds, sizeof(f.latency[0]));
    gnutls_certificate_allocate_credentials(&f.cred);
    run(&f);
    return 0;
}
