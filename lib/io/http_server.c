/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server around MHD: its callbacks, connections and their end. How MHD is run stands
 * in http_shard.c.
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
#include "io/http_pace.h"

LOG_MODULE(http);

enum {
    DEFAULT_MAX_BODY = 3 << 20,
    DEFAULT_CONNECTIONS = 16384,
    DEFAULT_IDLE_S = 120,
    DEFAULT_MEMORY = 16 << 10,
    DEFAULT_HEAD_MS = 15000,
    DEFAULT_BODY_MS = 20000,
    RESUMES_A_TURN = 128,
    SHUTDOWN_RUNS = 16, /* for last bytes to leave; they mostly fit the socket buffer */
};

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

    TAILQ_FOREACH (c, &s->leaving, leaving_link) {
        c->shard->n_added++; /* MHD may have something to read from it */
    }
    http_shards_run_added(s);
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
    MHD_suspend_connection(r->conn->mhd);
    r->suspended = true;
    r->conn->shard->n_busy--;
    if (r->conn->gone)
        client_left(r);
}

/* --- between turns ------------------------------------------------------------------ */

static void
before_sleep(void *arg)
{
    struct http_server *s = arg;

    if (!TAILQ_EMPTY(&s->leaving))
        end_leaving(s);
    /* Each costs a send(), about 12 us; more are spread over turns, so that a fan-out
     * does not hold up the others. */
    http_resume_some(s, RESUMES_A_TURN);
    if (s->n_retired > 0)
        http_shards_free_retired(s);
}

/* Only ends the wait: the hook resumes, after the others have had their turn. */
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
conn_new(struct http_shard *sh, struct MHD_Connection *mhd)
{
    struct http_server *s = sh->server;
    struct http_conn_state *c = xnew(struct http_conn_state);
    struct error e = ERROR_INIT;

    c->server = s;
    c->shard = sh;
    c->mhd = mhd;
    c->fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    c->is_unix = s->unix_path != NULL;
    http_hold_init(c);
    http_pace_init(c);
    http_guard_started(c);
    LIST_INSERT_HEAD(&s->conns, c, link);
    s->n_conns++;
    sh->n_conns++;
    sh->n_fresh++;
    /* Out of kernel memory: served, but its leaving is noticed late. */
    if (loop_io_add(s->loop, "http-client", c->fd, EPOLLRDHUP, on_hangup, c, &c->watch,
                    &e) < 0)
        log_warn_rl("cannot watch a client", "server=%s error=\"%s\"", s->name, e.msg);
    return c;
}

void
http_on_connection(void *cls, struct MHD_Connection *mhd, void **socket_context,
                   enum MHD_ConnectionNotificationCode code)
{
    struct http_shard *sh = cls;
    struct http_server *s = sh->server;
    struct http_conn_state *c = *socket_context;

    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        *socket_context = conn_new(sh, mhd);
        return;
    }
    bug_if(c == NULL || c->request != NULL);
    bool asked = c->asked;
    stay(c);
    http_guard_closed(c);
    loop_io_free(c->watch);
    LIST_REMOVE(c, link);
    str_done(&c->held);
    free(c->client_groups);
    free(c);
    *socket_context = NULL;
    s->n_conns--;
    sh->n_conns--;
    sh->n_fresh -= !asked;
    http_listen_unpause(s);
}

/* First sign of a request; what it returns is the request's context from then on. */
void *
http_on_target(void *cls, const char *target, struct MHD_Connection *mhd)
{
    struct http_shard *sh = cls;
    struct http_conn_state *c = conn_of(mhd);

    sh->n_fresh -= !c->asked;
    sh->n_busy++;
    c->asked = true;
    http_guard_phase(c, HTTP_HEAD);
    return http_request_new(c, target);
}

enum MHD_Result
http_on_request(void *cls, struct MHD_Connection *mhd, const char *url,
                const char *method, const char *version, const char *data, size_t *size,
                void **context)
{
    UNUSED(cls);
    UNUSED(mhd);
    UNUSED(url);
    UNUSED(version);
    bug_if(*context == NULL);
    return http_request_advance(*context, method, data, size);
}

void
http_on_completed(void *cls, struct MHD_Connection *mhd, void **context,
                  enum MHD_RequestTerminationCode code)
{
    struct http_request *r = *context;

    struct http_shard *sh = cls;

    UNUSED(mhd);
    if (r == NULL)
        return;
    sh->n_busy -= !r->suspended;
    *context = NULL;
    if (r->conn->gone)
        leave(r->conn);
    http_guard_phase(r->conn, HTTP_IDLE);
    http_resume_never(r);
    http_request_free(r, code != MHD_REQUEST_TERMINATED_COMPLETED_OK);
}

/* --- life -----------------------------------------------------------------------------
 */

static void
copy_opts(struct http_server *s, const struct http_server_opts *o)
{
    s->opts = *o;
    s->name = xstrdup(o->name == NULL ? "http" : o->name);
    s->lean_query = o->lean_query == NULL ? NULL : xstrdup(o->lean_query);
    s->opts.lean_query = s->lean_query;
    s->unix_path = o->unix_path == NULL ? NULL : xstrdup(o->unix_path);
    s->pems = http_pems_new(o->tls_cert_pem, o->tls_key_pem, o->client_ca_pem);
    if (s->opts.max_body == 0)
        s->opts.max_body = DEFAULT_MAX_BODY;
    if (s->opts.max_connections == 0)
        s->opts.max_connections = DEFAULT_CONNECTIONS;
    if (s->opts.idle_timeout_s == 0)
        s->opts.idle_timeout_s = DEFAULT_IDLE_S;
    if (s->opts.connection_memory == 0)
        s->opts.connection_memory = DEFAULT_MEMORY;
    if (s->opts.head_timeout_ms == 0)
        s->opts.head_timeout_ms = DEFAULT_HEAD_MS;
    if (s->opts.body_interval_ms == 0)
        s->opts.body_interval_ms = DEFAULT_BODY_MS;
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
    TAILQ_INIT(&s->shards);
    TAILQ_INIT(&s->resuming);
    http_sort_init(s);
    TAILQ_INIT(&s->leaving);
    copy_opts(s, opts);
    http_guard_init(s);
    http_idle_init(s);
    s->resume_timer = loop_timer_new(l, "http-resume", on_resume_timer, s);
    s->hook = loop_before_sleep(l, "http-resume", before_sleep, s);
    int rc = http_shard_new(s, false, e);
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

struct http_server_stats
http_server_stats(const struct http_server *s)
{
    return s->stats;
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
    for (int i = 0; i < SHUTDOWN_RUNS && !LIST_EMPTY(&s->conns); i++) {
        http_resume_some(s, SIZE_MAX);
        http_shards_run(s);
    }
}

void
http_server_free(struct http_server *s)
{
    struct http_shard *sh;

    if (s == NULL)
        return;
    http_listen_close(s);
    http_sort_done(s);
    if (!TAILQ_EMPTY(&s->shards))
        finish_connections(s);
    while ((sh = TAILQ_FIRST(&s->shards)) != NULL)
        http_shard_free(sh);
    bug_if(!LIST_EMPTY(&s->conns));
    loop_timer_free(s->resume_timer);
    loop_hook_free(s->hook);
    free(s->name);
    free(s->lean_query);
    free(s->unix_path);
    http_guard_done(s);
    http_idle_done(s);
    http_pems_unref(s->pems);
    free(s);
}
