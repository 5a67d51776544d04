/* SPDX-License-Identifier: Apache-2.0 */
#include "integration/etcd_proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "integration/conformance.h"

struct hop {
    struct proxy *p;
    int client;
};

static int
dial(int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (connect(fd, (struct sockaddr *)&a, sizeof(a)) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static bool
send_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t w = send(fd, p, n, MSG_NOSIGNAL);
        if (w <= 0)
            return false;
        p += w;
        n -= (size_t)w;
    }
    return true;
}

/* What becomes of a request of the client; the whole of a small one comes at once. */
static bool
pass_request(struct proxy *p, int server, const char *buf, size_t n, bool *ret_lose_reply)
{
    bool txn = n > 17 && memcmp(buf, "POST /v3/kv/txn ", 16) == 0;
    int lose = txn ? atomic_exchange(&p->lose, LOSE_NOTHING) : LOSE_NOTHING;

    if (lose != LOSE_NOTHING)
        atomic_fetch_add(&p->lost, 1);
    if (lose == LOSE_REQUEST)
        return false;
    if (lose == HOLD_REQUEST) {
        pthread_mutex_lock(&p->lock);
        memcpy(p->held, buf, n);
        p->n_held = n;
        pthread_mutex_unlock(&p->lock);
        return false;
    }
    *ret_lose_reply = lose == LOSE_REPLY;
    return send_all(server, buf, n);
}

static void *
hop_run(void *arg)
{
    struct hop *h = arg;
    char buf[65536];
    int server = dial(h->p->etcd_port);
    bool lose_reply = false;

    while (server >= 0 && !atomic_load(&h->p->stop)) {
        struct pollfd fds[2] = {{h->client, POLLIN, 0}, {server, POLLIN, 0}};
        if (poll(fds, 2, 100) <= 0)
            continue;
        if (fds[0].revents != 0) {
            ssize_t n = read(h->client, buf, sizeof(buf));
            if (n <= 0 || !pass_request(h->p, server, buf, (size_t)n, &lose_reply))
                break;
        }
        if (fds[1].revents != 0) {
            ssize_t n = read(server, buf, sizeof(buf));
            if (n <= 0 || lose_reply || !send_all(h->client, buf, (size_t)n))
                break;
        }
    }
    if (server >= 0)
        close(server);
    close(h->client);
    free(h);
    return NULL;
}

static void *
proxy_run(void *arg)
{
    struct proxy *p = arg;

    while (!atomic_load(&p->stop)) {
        struct pollfd fd = {p->listen_fd, POLLIN, 0};
        if (poll(&fd, 1, 100) <= 0)
            continue;
        struct hop *h = xnew(struct hop);
        pthread_t t;
        h->p = p;
        h->client = accept4(p->listen_fd, NULL, NULL, SOCK_CLOEXEC);
        assert_int_equal(pthread_create(&t, NULL, hop_run, h), 0);
        pthread_detach(t);
    }
    return NULL;
}

struct proxy *
proxy_start(const char *endpoint)
{
    static struct proxy p; /* its hops may outlive a test by a moment */
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(a);

    p = (struct proxy){.etcd_port = (int)strtol(strrchr(endpoint, ':') + 1, NULL, 10)};
    pthread_mutex_init(&p.lock, NULL);
    p.listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(p.listen_fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(p.listen_fd, 64), 0);
    assert_int_equal(getsockname(p.listen_fd, (struct sockaddr *)&a, &n), 0);
    p.port = ntohs(a.sin_port);
    assert_int_equal(pthread_create(&p.thread, NULL, proxy_run, &p), 0);
    return &p;
}

void
proxy_stop(struct proxy *p)
{
    atomic_store(&p->stop, true);
    pthread_join(p->thread, NULL);
    close(p->listen_fd);
}

char *
release_held(struct proxy *p)
{
    static char reply[65536];
    int fd = dial(p->etcd_port);

    pthread_mutex_lock(&p->lock);
    assert_true(p->n_held > 0);
    assert_true(send_all(fd, p->held, p->n_held));
    pthread_mutex_unlock(&p->lock);
    ssize_t n = read(fd, reply, sizeof(reply) - 1);
    assert_true(n > 0);
    reply[n] = '\0';
    close(fd);
    return reply;
}
