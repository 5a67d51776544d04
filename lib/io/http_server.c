/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server around MHD: its epoll descriptor nests in our loop, it is run only by
 * MHD_run() (its internal thread stalls when exactly 128·k connections are ready), and
 * its next deadline is one of our timers.
 *
 * Resumes are collected during a turn and handed over together before the loop sleeps,
 * because MHD walks all suspended connections for each handful of resumes. The pause
 * between two such hand-overs grows with that number up to a millisecond, so that the
 * walk never takes more than a small share of the time and a lone writer does not wait at
 * all.
 *
 * MHD does not look at suspended connections. So each has its descriptor in our own epoll
 * for EPOLLRDHUP; when the client leaves, the request is aborted and resumed, and MHD
 * ends it.
 */
#include "io/http_server.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"
#include "io/http_internal.h"

LOG_MODULE(http);

enum {
    DEFAULT_MAX_BODY = 3 << 20,
    DEFAULT_CONNECTIONS = 16384,
    DEFAULT_IDLE_S = 120,
    DEFAULT_MEMORY = 16 << 10,
    RESUME_GAP_MAX_NS = 1000000,
    RESUME_GAP_PER_SUSPENDED_NS = 500,
    /* Resumes in one go: each costs a send(), about 12 us, and MHD takes all it has in
     * one run; more are spread over turns, so that a fan-out does not hold up the others.
     */
    RESUMES_A_TURN = 128,
    RESUMES_A_TURN_SHARE = 32, /* or this part of the suspended, if it is more */
    SHUTDOWN_RUNS = 16, /* for last bytes to leave; they mostly fit the socket buffer */
};

/* --- running MHD ----------------------------------------------------------------------
 */

void
http_server_run(struct http_server *s)
{
    unsigned long long ms = 0;

    bug_if(s->in_run);
    s->in_run = true;
    MHD_run(s->daemon);
    s->in_run = false;
    /* 0 means that MHD has more to do at once; the timer lets the other sources in first.
     */
    if (MHD_get_timeout(s->daemon, &ms) != MHD_YES)
        loop_timer_cancel(s->run_timer);
    else
        loop_timer_in(s->run_timer, ms > INT32_MAX ? INT32_MAX : (int64_t)ms);
}

static void
on_mhd(void *arg, int fd, uint32_t events)
{
    UNUSED(fd);
    UNUSED(events);
    http_server_run(arg);
}

static void
on_run_timer(void *arg)
{
    http_server_run(arg);
}

/* --- suspending and resuming ----------------------------------------------------------
 */

void
http_resume_later(struct http_request *r)
{
    struct http_server *s = r->conn->server;

    if (r->in_batch || !r->suspended)
        return;
    r->in_batch = true;
    TAILQ_INSERT_TAIL(&s->batch, r, batch_link);
}

static void
flush_resumes(struct http_server *s, size_t most)
{
    struct http_request *r;

    for (; most > 0 && (r = TAILQ_FIRST(&s->batch)) != NULL; most--) {
        TAILQ_REMOVE(&s->batch, r, batch_link);
        r->in_batch = false;
        r->suspended = false;
        s->n_suspended--;
        MHD_resume_connection(r->conn->mhd);
    }
    s->last_resume_ns = clock_now_ns();
    http_server_run(s);
}

/* --- clients that leave ------------------------------------------------------------- */

static void
client_left(struct http_request *r)
{
    r->aborted = true;
    http_resume_later(r);
}

/* To be looked at when MHD has had its turn. */
static void
leave(struct http_conn_state *c)
{
    if (c->leaving)
        return;
    c->leaving = true;
    TAILQ_INSERT_TAIL(&c->server->leaving, c, leaving_link);
}

static void
stay(struct http_conn_state *c)
{
    if (c->leaving)
        TAILQ_REMOVE(&c->server->leaving, c, leaving_link);
    c->leaving = false;
}

static void
on_hangup(void *arg, int fd, uint32_t events)
{
    struct http_conn_state *c = arg;
    struct error e = ERROR_INIT;

    UNUSED(fd);
    UNUSED(events);
    c->gone = true;
    /* It stays true and would be reported in every turn. */
    bug_if(loop_io_set(c->watch, 0, &e) < 0);
    if (c->request != NULL && c->request->suspended)
        client_left(c->request);
    else
        leave(c);
}

/* Ends connections of which nothing more can come. One whose request is being answered is
 * left alone; it comes back here when that is over. */
static void
end_leaving(struct http_server *s)
{
    struct http_conn_state *c;
    struct http_conn_state *next;

    http_server_run(s);
    for (c = TAILQ_FIRST(&s->leaving); c != NULL; c = next) {
        int unread = 0;
        next = TAILQ_NEXT(c, leaving_link);
        bool receiving = c->request == NULL || !c->request->handled;
        if (receiving && ioctl(c->fd, FIONREAD, &unread) == 0 && unread > 0)
            continue;
        stay(c);
        if (receiving)
            shutdown(c->fd, SHUT_RDWR);
    }
}

void
http_suspend(struct http_request *r)
{
    struct http_server *s = r->conn->server;

    MHD_suspend_connection(r->conn->mhd);
    r->suspended = true;
    s->n_suspended++;
    if (r->conn->gone)
        client_left(r);
}

/* --- between turns ------------------------------------------------------------------ */

static void
resume_batch(struct http_server *s)
{
    size_t share = s->n_suspended / RESUMES_A_TURN_SHARE;

    if (TAILQ_EMPTY(&s->batch) || loop_timer_armed(s->resume_timer))
        return;
    int64_t gap = (int64_t)s->n_suspended * RESUME_GAP_PER_SUSPENDED_NS;
    if (gap > RESUME_GAP_MAX_NS)
        gap = RESUME_GAP_MAX_NS;
    int64_t since = clock_now_ns() - s->last_resume_ns;
    if (since >= gap || since < 0) /* a test may have set the clock back */
        flush_resumes(s, share > RESUMES_A_TURN ? share : RESUMES_A_TURN);
    if (!TAILQ_EMPTY(&s->batch))
        loop_timer_at_ns(s->resume_timer, s->last_resume_ns + gap);
}

static void
before_sleep(void *arg)
{
    struct http_server *s = arg;

    if (!TAILQ_EMPTY(&s->leaving))
        end_leaving(s);
    resume_batch(s);
}

/* Only ends the wait: the hook resumes, after the other sources have had their turn. */
static void
on_resume_timer(void *arg)
{
    UNUSED(arg);
}

/* --- MHD's callbacks ------------------------------------------------------------------
 */

static struct http_conn_state *
conn_of(struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    return info == NULL ? NULL : info->socket_context;
}

static struct http_conn_state *
conn_new(struct http_server *s, struct MHD_Connection *mhd)
{
    struct http_conn_state *c = xnew(struct http_conn_state);
    struct error e = ERROR_INIT;

    c->server = s;
    c->mhd = mhd;
    c->fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    c->is_unix = s->unix_path != NULL;
    LIST_INSERT_HEAD(&s->conns, c, link);
    s->n_conns++;
    /* Out of kernel memory: served, but its leaving is noticed late. */
    if (loop_io_add(s->loop, "http-client", c->fd, EPOLLRDHUP, on_hangup, c, &c->watch,
                    &e) < 0)
        log_warn_rl("cannot watch a client", "server=%s error=\"%s\"", s->name, e.msg);
    return c;
}

static void
on_connection(void *cls, struct MHD_Connection *mhd, void **socket_context,
              enum MHD_ConnectionNotificationCode code)
{
    struct http_server *s = cls;
    struct http_conn_state *c = *socket_context;

    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        *socket_context = conn_new(s, mhd);
        return;
    }
    bug_if(c == NULL || c->request != NULL);
    stay(c);
    loop_io_free(c->watch);
    LIST_REMOVE(c, link);
    free(c);
    *socket_context = NULL;
    s->n_conns--;
    http_listen_unpause(s);
}

/* First sign of a request; what it returns is the request's context from then on. */
static void *
on_target(void *cls, const char *target, struct MHD_Connection *mhd)
{
    UNUSED(cls);
    return http_request_new(conn_of(mhd), target);
}

static enum MHD_Result
on_request(void *cls, struct MHD_Connection *mhd, const char *url, const char *method,
           const char *version, const char *data, size_t *size, void **context)
{
    UNUSED(cls);
    UNUSED(mhd);
    UNUSED(url);
    UNUSED(version);
    bug_if(*context == NULL);
    return http_request_advance(*context, method, data, size);
}

static void
on_completed(void *cls, struct MHD_Connection *mhd, void **context,
             enum MHD_RequestTerminationCode code)
{
    struct http_server *s = cls;
    struct http_request *r = *context;

    UNUSED(mhd);
    if (r == NULL)
        return;
    *context = NULL;
    if (r->conn->gone)
        leave(r->conn);
    if (r->in_batch)
        TAILQ_REMOVE(&s->batch, r, batch_link);
    if (r->suspended)
        s->n_suspended--;
    http_request_free(r, code != MHD_REQUEST_TERMINATED_COMPLETED_OK);
}

/* The target is decoded by us, once, from its raw form. */
static size_t
no_unescape(void *cls, struct MHD_Connection *mhd, char *text)
{
    UNUSED(cls);
    UNUSED(mhd);
    return strlen(text);
}

static void PRINTF_LIKE(2, 0) on_mhd_log(void *cls, const char *fmt, va_list ap)
{
    const struct http_server *s = cls;
    char text[256];

    vsnprintf(text, sizeof(text), fmt, ap);
    text[strcspn(text, "\n")] = '\0';
    log_debug("libmicrohttpd", "server=%s text=\"%s\"", s->name, text);
}

/* --- life -----------------------------------------------------------------------------
 */

static void
copy_opts(struct http_server *s, const struct http_server_opts *o)
{
    s->opts = *o;
    s->name = xstrdup(o->name == NULL ? "http" : o->name);
    s->unix_path = o->unix_path == NULL ? NULL : xstrdup(o->unix_path);
    s->cert = o->tls_cert_pem == NULL ? NULL : xstrdup(o->tls_cert_pem);
    s->key = o->tls_key_pem == NULL ? NULL : xstrdup(o->tls_key_pem);
    s->client_ca = o->client_ca_pem == NULL ? NULL : xstrdup(o->client_ca_pem);
    if (s->opts.max_body == 0)
        s->opts.max_body = DEFAULT_MAX_BODY;
    if (s->opts.max_connections == 0)
        s->opts.max_connections = DEFAULT_CONNECTIONS;
    if (s->opts.idle_timeout_s == 0)
        s->opts.idle_timeout_s = DEFAULT_IDLE_S;
    if (s->opts.connection_memory == 0)
        s->opts.connection_memory = DEFAULT_MEMORY;
}

static int
start_daemon(struct http_server *s, struct error *e)
{
    unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_NO_LISTEN_SOCKET |
                     MHD_USE_ERROR_LOG;
    struct MHD_OptionItem tls[8];
    size_t n = 0;

    if (s->cert != NULL) {
        flags |= MHD_USE_TLS;
        tls[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_CERT, 0, s->cert};
        tls[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_KEY, 0, s->key};
        tls[n++] = (struct MHD_OptionItem){
            MHD_OPTION_HTTPS_PRIORITIES, 0,
            (void *)(uintptr_t) "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"};
    }
    if (s->client_ca != NULL)
        tls[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_TRUST, 0, s->client_ca};
    tls[n] = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL};
    s->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, on_request, s, MHD_OPTION_EXTERNAL_LOGGER, on_mhd_log, s,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, s, MHD_OPTION_NOTIFY_COMPLETED,
        on_completed, s, MHD_OPTION_URI_LOG_CALLBACK, on_target, s,
        MHD_OPTION_UNESCAPE_CALLBACK, no_unescape, s, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        s->opts.connection_memory, MHD_OPTION_CONNECTION_LIMIT,
        s->opts.max_connections + 1u, MHD_OPTION_CONNECTION_TIMEOUT,
        s->opts.idle_timeout_s, MHD_OPTION_ARRAY, tls, MHD_OPTION_END);
    if (s->daemon == NULL)
        return error_set(e, ERR_INTERNAL, "start HTTP server %s%s", s->name,
                         s->cert != NULL ? " (is the certificate valid?)" : "");
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    bug_if(info == NULL || info->epoll_fd < 0);
    return loop_io_add(s->loop, "http", info->epoll_fd, EPOLLIN, on_mhd, s, &s->mhd_io,
                       e);
}

int
http_server_start(struct loop *l, const struct http_server_opts *opts,
                  struct http_server **ret, struct error *e)
{
    struct http_server *s = xnew(struct http_server);

    bug_if(opts->handler == NULL);
    bug_if((opts->tls_cert_pem == NULL) != (opts->tls_key_pem == NULL));
    s->loop = l;
    s->listen_fd = -1;
    LIST_INIT(&s->conns);
    TAILQ_INIT(&s->batch);
    TAILQ_INIT(&s->leaving);
    copy_opts(s, opts);
    s->run_timer = loop_timer_new(l, "http-run", on_run_timer, s);
    s->resume_timer = loop_timer_new(l, "http-resume", on_resume_timer, s);
    s->hook = loop_before_sleep(l, "http-resume", before_sleep, s);
    int rc = start_daemon(s, e);
    if (rc == 0)
        rc = http_listen_open(s, e);
    if (rc != 0) {
        http_server_free(s);
        return rc;
    }
    *ret = s;
    return 0;
}

uint16_t
http_server_port(const struct http_server *s)
{
    return s->port;
}

size_t
http_server_connections(const struct http_server *s)
{
    return s->n_conns;
}

void
http_server_quiesce(struct http_server *s)
{
    http_listen_close(s);
}

/* Streams get their last chunk and pending requests a 503, as far as the sockets take
 * them at once; MHD_stop_daemon() must find nothing suspended. */
static void
finish_connections(struct http_server *s)
{
    struct http_conn_state *c;

    s->closing = true;
    LIST_FOREACH(c, &s->conns, link)
    {
        if (c->request != NULL)
            http_resume_later(c->request);
    }
    for (int i = 0; i < SHUTDOWN_RUNS && !LIST_EMPTY(&s->conns); i++)
        flush_resumes(s, SIZE_MAX);
}

void
http_server_free(struct http_server *s)
{
    if (s == NULL)
        return;
    bug_if(s->in_run);
    http_listen_close(s);
    if (s->daemon != NULL) {
        finish_connections(s);
        loop_io_free(s->mhd_io);
        MHD_stop_daemon(s->daemon);
    }
    bug_if(!LIST_EMPTY(&s->conns));
    loop_timer_free(s->run_timer);
    loop_timer_free(s->resume_timer);
    loop_hook_free(s->hook);
    free(s->name);
    free(s->unix_path);
    free(s->cert);
    free(s->key);
    free(s->client_ca);
    free(s);
}
