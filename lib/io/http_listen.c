/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listening sockets and accepting. We accept ourselves and hand the connections to MHD:
 * that paces TLS handshakes (each costs about a millisecond), holds the connection limit
 * without refusing anyone, and leaves the socket options to us.
 */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "io/http_internal.h"

LOG_MODULE(http);

enum {
    BACKLOG = 4096,
    ACCEPTS_A_TURN = 32, /* some 10 us each */
    TLS_ACCEPTS_A_TURN = 8,
    ACCEPT_RETRY_MS = 250, /* after running out of descriptors or memory */
    USER_TIMEOUT_MS = 60000,
    KEEPALIVE_IDLE_S = 30,
    KEEPALIVE_INTERVAL_S = 10,
};

static int
bind_tcp(struct http_server *s, int fd, const struct addrinfo *ai, struct error *e)
{
    int on = 1;
    union {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } got = {0};
    socklen_t len = sizeof(got);

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0) {
        if (errno == EADDRINUSE)
            return error_set(e, ERR_BUSY,
                             "listen on %s port %u: the port is taken by another program",
                             s->opts.address, s->opts.port);
        return error_errno(e, errno, "listen on %s port %u", s->opts.address,
                           s->opts.port);
    }
    if (getsockname(fd, &got.sa, &len) < 0)
        return error_errno(e, errno, "listen on %s", s->opts.address);
    s->port = ntohs(got.sa.sa_family == AF_INET6 ? got.in6.sin6_port : got.in.sin_port);
    return 0;
}

int
http_split_listen(const char *text, char *address, size_t size, uint16_t *ret_port,
                  struct error *e)
{
    const char *colon = text == NULL ? NULL : strrchr(text, ':');
    char *end = NULL;
    long port = colon == NULL ? -1 : strtol(colon + 1, &end, 10);
    size_t n = colon == NULL ? 0 : (size_t)(colon - text);

    if (n == 0 || n >= size || *end != '\0' || end == colon + 1 || port < 0 ||
        port > 65535)
        return error_set(e, ERR_BAD_REQUEST,
                         "\"%s\" is not ADDRESS:PORT, e.g. 127.0.0.1:6440",
                         text == NULL ? "" : text);
    memcpy(address, text, n);
    address[n] = '\0';
    *ret_port = (uint16_t)port;
    return 0;
}

static int
listen_tcp(struct http_server *s, struct error *e)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE};
    struct addrinfo *ai = NULL;
    char port[8];

    /* Never an unsaid "every interface". */
    if (s->opts.address == NULL || s->opts.address[0] == '\0')
        return error_set(e, ERR_BAD_REQUEST, "a listen address is required");
    snprintf(port, sizeof(port), "%u", s->opts.port);
    if (getaddrinfo(s->opts.address, port, &hints, &ai) != 0)
        return error_set(e, ERR_BAD_REQUEST, "listen address \"%s\" is not an IP address",
                         s->opts.address);
    s->listen_fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int rc = s->listen_fd < 0 ? error_errno(e, errno, "create socket")
                              : bind_tcp(s, s->listen_fd, ai, e);
    freeaddrinfo(ai);
    return rc;
}

/* 1: nobody answers behind the file; 0: somebody does, or it is not a socket. */
static int
is_stale(const struct sockaddr_un *sa)
{
    struct stat st;

    if (lstat(sa->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
        return 0;
    autoclose int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return fd >= 0 && connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) < 0 &&
           errno == ECONNREFUSED;
}

static int
bind_unix(int fd, const struct sockaddr_un *sa, struct error *e)
{
    const struct sockaddr *addr = (const struct sockaddr *)sa;
    int rc = bind(fd, addr, sizeof(*sa));

    if (rc < 0 && errno == EADDRINUSE && is_stale(sa)) {
        unlink(sa->sun_path);
        rc = bind(fd, addr, sizeof(*sa));
    }
    if (rc < 0 && errno == EADDRINUSE)
        return error_set(e, ERR_BUSY, "listen on %s: in use by another program",
                         sa->sun_path);
    if (rc < 0)
        return error_errno(e, errno, "listen on %s", sa->sun_path);
    return 0;
}

/* The mode set on the socket before bind() becomes the mode of the file, so there is no
 * moment in which others could connect, and the process-wide umask stays alone. */
static int
listen_unix(struct http_server *s, struct error *e)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    struct stat st;
    size_t n = strlen(s->unix_path);

    if (n >= sizeof(sa.sun_path))
        return error_set(e, ERR_BAD_REQUEST, "socket path longer than %zu bytes: %s",
                         sizeof(sa.sun_path) - 1, s->unix_path);
    memcpy(sa.sun_path, s->unix_path, n + 1);
    s->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->listen_fd < 0 || fchmod(s->listen_fd, 0600) < 0)
        return error_errno(e, errno, "create socket");
    int rc = bind_unix(s->listen_fd, &sa, e);
    if (rc != 0)
        return rc;
    if (chmod(s->unix_path, 0600) < 0 || lstat(s->unix_path, &st) < 0 ||
        listen(s->listen_fd, BACKLOG) < 0)
        return error_errno(e, errno, "listen on %s", s->unix_path);
    s->unix_dev = st.st_dev;
    s->unix_ino = st.st_ino;
    return 0;
}

static void
set_options(const struct http_server *s, int fd)
{
    int on = 1;
    int user_timeout = USER_TIMEOUT_MS;
    int idle = KEEPALIVE_IDLE_S;
    int interval = KEEPALIVE_INTERVAL_S;

    if (s->unix_path != NULL)
        return;
    /* A peer that vanished without a word is noticed whether data is under way or not. */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout, sizeof(user_timeout));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
}

static void
pause_accept(struct http_server *s)
{
    struct error e = ERROR_INIT;

    s->accept_paused = true;
    bug_if(loop_io_set(s->accept_io, 0, &e) < 0);
}

void
http_listen_unpause(struct http_server *s)
{
    struct error e = ERROR_INIT;

    if (!s->accept_paused || s->accept_io == NULL ||
        s->n_conns >= s->opts.max_connections)
        return;
    if (loop_io_set(s->accept_io, EPOLLIN, &e) < 0) {
        loop_timer_in(s->accept_timer, ACCEPT_RETRY_MS);
        return;
    }
    s->accept_paused = false;
}

static void
on_accept_timer(void *arg)
{
    http_listen_unpause(arg);
}

static bool
accept_one(struct http_server *s)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);
    int fd =
        accept4(s->listen_fd, (struct sockaddr *)&sa, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
                   errno == ENOMEM || errno == ENOSPC)) {
        log_warn_rl("cannot accept", "server=%s error=\"%s\"", s->name,
                    strerrordesc_np(errno));
        pause_accept(s);
        loop_timer_in(s->accept_timer, ACCEPT_RETRY_MS);
        return false;
    }
    if (fd < 0) /* none left, or one that went away in the queue */
        return errno == ECONNABORTED || errno == EINTR;
    s->stats.accepted++;
    if (!http_guard_admit(s, (struct sockaddr *)&sa)) {
        s->stats.refused_address++;
        log_warn_rl("too many connections from one address", "server=%s limit=%u",
                    s->name, s->opts.max_per_address);
        close(fd);
        return true;
    }
    set_options(s, fd);
    http_sort(s, fd, &sa, len);
    return true;
}

static void
on_accept(void *arg, int fd, uint32_t events)
{
    struct http_server *s = arg;
    unsigned most = s->pems->cert != NULL ? TLS_ACCEPTS_A_TURN : ACCEPTS_A_TURN;
    unsigned n = 0;

    UNUSED(fd);
    UNUSED(events);
    /* MHD counts a connection only when it runs, so those of this pass are added. */
    while (n < most && s->n_conns + s->n_newcomers + n < s->opts.max_connections &&
           accept_one(s))
        n++;
    if (n > 0)
        http_shards_run_added(s);
    /* A handler that was just called may have stopped the listening. */
    if (s->accept_io != NULL && s->n_conns >= s->opts.max_connections &&
        !s->accept_paused) {
        log_warn_rl("connection limit reached", "server=%s limit=%u", s->name,
                    s->opts.max_connections);
        pause_accept(s);
    }
}

int
http_listen_open(struct http_server *s, struct error *e)
{
    int rc = s->unix_path != NULL ? listen_unix(s, e) : listen_tcp(s, e);

    if (rc != 0)
        return rc;
    s->accept_timer = loop_timer_new(s->loop, "http-accept", on_accept_timer, s);
    return loop_io_add(s->loop, "http-accept", s->listen_fd, EPOLLIN, on_accept, s,
                       &s->accept_io, e);
}

void
http_listen_close(struct http_server *s)
{
    struct stat st;

    loop_timer_free(s->accept_timer);
    s->accept_timer = NULL;
    loop_io_free(s->accept_io);
    s->accept_io = NULL;
    if (s->listen_fd < 0)
        return;
    close(s->listen_fd);
    s->listen_fd = -1;
    /* Not when another server has put its own socket there meanwhile. */
    if (s->unix_path != NULL && s->unix_ino != 0 && lstat(s->unix_path, &st) == 0 &&
        st.st_dev == s->unix_dev && st.st_ino == s->unix_ino)
        unlink(s->unix_path);
}
