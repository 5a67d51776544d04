/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a new connection goes. A pool has to hold 16 KB of headers for anybody, but a
 * watch needs 4 KB, and there may be ten thousand of them. So without TLS the first bytes
 * are looked at before MHD gets the descriptor: a connection that begins with a watch
 * whose whole head fits goes to a daemon with small pools, and is closed after its
 * answer, so that nothing larger comes over it later. With TLS nothing can be seen.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/log.h"
#include "io/http_internal.h"

LOG_MODULE(http);

enum {
    LEAN_HEAD_MAX = 2048,
    SILENT_MS = 5000, /* then MHD's own bounds are for it */
};

struct http_newcomer {
    struct http_server *server;
    int fd;
    struct sockaddr_storage sa;
    socklen_t len;
    struct loop_io *io;
    int64_t until_ms;
    TAILQ_ENTRY(http_newcomer) link;
};

static bool
is_lean(const struct http_server *s, const char *p, size_t n)
{
    const char *line = memmem(p, n, "\r\n", 2);
    const char *query = line == NULL ? NULL : memchr(p, '?', (size_t)(line - p));

    return query != NULL && memmem(p, n, "\r\n\r\n", 4) != NULL &&
           memmem(query, (size_t)(line - query), s->opts.lean_query,
                  strlen(s->opts.lean_query)) != NULL;
}

static void
hand_over(struct http_server *s, bool lean, int fd, const struct sockaddr_storage *sa,
          socklen_t len)
{
    if (http_shard_add(s, lean, fd, (const struct sockaddr *)sa, len))
        return;
    http_guard_forget(s, (const struct sockaddr *)sa);
    log_warn_rl("connection refused", "server=%s connections=%zu", s->name, s->n_conns);
}

static void
newcomer_free(struct http_newcomer *n)
{
    loop_io_free(n->io);
    TAILQ_REMOVE(&n->server->newcomers, n, link);
    n->server->n_newcomers--;
    free(n);
}

/* 1 lean, 0 not, -EAGAIN: it has said nothing. */
static int
look(const struct http_server *s, int fd)
{
    char head[LEAN_HEAD_MAX + 1];
    ssize_t n = recv(fd, head, sizeof(head), MSG_PEEK | MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return -EAGAIN;
    return n > 0 && n <= LEAN_HEAD_MAX && is_lean(s, head, (size_t)n);
}

static void
on_first_bytes(void *arg, int fd, uint32_t events)
{
    struct http_newcomer *n = arg;
    struct http_server *s = n->server;
    struct http_newcomer copy = *n;
    int lean = look(s, fd);

    UNUSED(events);
    if (lean == -EAGAIN)
        return;
    newcomer_free(n);
    hand_over(s, lean == 1, fd, &copy.sa, copy.len);
    http_shards_run_added(s);
}

/* The silent ones, oldest first. */
static void
on_silence(void *arg)
{
    struct http_server *s = arg;
    struct http_newcomer *n;

    while ((n = TAILQ_FIRST(&s->newcomers)) != NULL &&
           n->until_ms <= loop_now_ms(s->loop)) {
        struct http_newcomer copy = *n;
        newcomer_free(n);
        hand_over(s, false, copy.fd, &copy.sa, copy.len);
    }
    if (n != NULL)
        loop_timer_at(s->silence_timer, n->until_ms);
    http_shards_run_added(s);
}

void
http_sort(struct http_server *s, int fd, const struct sockaddr_storage *sa, socklen_t len)
{
    struct error e = ERROR_INIT;
    bool can_see = s->pems->cert == NULL && s->opts.lean_query != NULL;
    int lean = can_see ? look(s, fd) : 0;

    if (lean != -EAGAIN) {
        hand_over(s, lean == 1, fd, sa, len);
        return;
    }
    struct http_newcomer *n = xnew(struct http_newcomer);
    n->server = s;
    n->fd = fd;
    n->sa = *sa;
    n->len = len;
    n->until_ms = loop_now_ms(s->loop) + SILENT_MS;
    TAILQ_INSERT_TAIL(&s->newcomers, n, link);
    s->n_newcomers++;
    if (loop_io_add(s->loop, "http-newcomer", fd, EPOLLIN | EPOLLRDHUP, on_first_bytes, n,
                    &n->io, &e) < 0) {
        newcomer_free(n);
        hand_over(s, false, fd, sa, len);
    } else if (!loop_timer_armed(s->silence_timer)) {
        loop_timer_at(s->silence_timer, n->until_ms);
    }
}

void
http_sort_init(struct http_server *s)
{
    TAILQ_INIT(&s->newcomers);
    s->silence_timer = loop_timer_new(s->loop, "http-newcomer", on_silence, s);
}

void
http_sort_done(struct http_server *s)
{
    struct http_newcomer *n;

    while ((n = TAILQ_FIRST(&s->newcomers)) != NULL) {
        int fd = n->fd;
        newcomer_free(n);
        close(fd);
    }
    loop_timer_free(s->silence_timer);
}
