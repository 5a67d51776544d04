/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Running MHD. The connections are spread over daemons of at most 127 each, made as they
 * are needed, whose epoll descriptors nest in our loop (ADR 0028). That bounds what MHD
 * by itself does not bound:
 *
 *  - MHD_run() serves every connection that is ready before it returns: 127 requests of
 *    some 12 us each are 1.5 ms, and the loop looks at everybody else in between (longer
 *    ones, and TLS handshakes: http_pace.c);
 *  - a resume walks all suspended connections of its daemon, so that an event for ten
 *    thousand watchers was a walk of ten thousand for each handful of them;
 *  - its epoll code stalls when exactly 128·k connections are ready at once, which cannot
 *    be where there are no 128.
 *
 * MHD is run only by MHD_run(), never by a thread of its own; its next deadline is one of
 * our timers. Resumes are collected during a turn and handed over together, at most so
 * many that the turn stays short.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/log.h"
#include "io/http_internal.h"
#include "io/http_pace.h"

LOG_MODULE(http);

enum {
    SHARD_CONNECTIONS = 127,
    SHARD_CONNECTIONS_TLS = 63, /* each costs twice as much, and so does its end */
    HANDSHAKE_MS = 2,
    RESUME_STEP = 32, /* between looks at the clock */
    RESUME_NS = 500000,
    LEAN_MEMORY = 4 << 10, /* a watch's request and one block of what it sends */
};

/* --- running
 * ------------------------------------------------------------------------------ */

static void
run(struct http_shard *sh)
{
    unsigned long long ms = 0;

    bug_if(sh->in_run);
    sh->in_run = true;
    sh->n_added = 0;
    http_pace_begin(sh);
    MHD_run(sh->daemon);
    sh->in_run = false;
    if (MHD_get_timeout(sh->daemon, &ms) != MHD_YES) {
        loop_timer_cancel(sh->run_timer);
        return;
    }
    /* 0 means that MHD has more to do at once; the timer lets the other sources in first.
     * It also says so all the while that a TLS handshake waits for the client, whose next
     * bytes are an event of its epoll anyway. */
    if (ms == 0 && sh->n_busy == 0 && sh->n_fresh > 0 && sh->pems->cert != NULL &&
        !http_pace_waiting(sh))
        ms = HANDSHAKE_MS;
    loop_timer_in(sh->run_timer, ms > INT32_MAX ? INT32_MAX : (int64_t)ms);
}

static void
on_mhd(void *arg, int fd, uint32_t events)
{
    UNUSED(fd);
    UNUSED(events);
    run(arg);
}

static void
on_run_timer(void *arg)
{
    run(arg);
}

void
http_shards_run_added(struct http_server *s)
{
    struct http_shard *sh;

    TAILQ_FOREACH (sh, &s->shards, link) {
        if (sh->n_added > 0)
            loop_timer_in(sh->run_timer, 0);
    }
}

void
http_shards_run(struct http_server *s)
{
    struct http_shard *sh;

    TAILQ_FOREACH (sh, &s->shards, link) {
        run(sh);
    }
}

/* --- resuming
 * ----------------------------------------------------------------------------- */

void
http_resume_later(struct http_request *r)
{
    struct http_shard *sh = r->conn->shard;

    if (r->in_batch || !r->suspended)
        return;
    r->in_batch = true;
    TAILQ_INSERT_TAIL(&sh->batch, r, batch_link);
    if (sh->resuming)
        return;
    sh->resuming = true;
    TAILQ_INSERT_TAIL(&sh->server->resuming, sh, resuming_link);
}

void
http_resume_never(struct http_request *r)
{
    if (r->in_batch)
        TAILQ_REMOVE(&r->conn->shard->batch, r, batch_link);
    r->in_batch = false;
}

static size_t
resume(struct http_shard *sh, size_t most)
{
    struct http_request *r;
    size_t n = 0;

    while (n < most && (r = TAILQ_FIRST(&sh->batch)) != NULL) {
        TAILQ_REMOVE(&sh->batch, r, batch_link);
        r->in_batch = false;
        r->suspended = false;
        http_idle_end(sh->server, &r->stream);
        sh->n_busy++;
        MHD_resume_connection(r->conn->mhd);
        n++;
    }
    run(sh);
    return n;
}

void
http_resume_some(struct http_server *s, size_t most)
{
    int64_t until = http_pace_ns() + RESUME_NS;
    struct http_shard *sh;

    while (most > 0 && (sh = TAILQ_FIRST(&s->resuming)) != NULL) {
        TAILQ_REMOVE(&s->resuming, sh, resuming_link);
        sh->resuming = false;
        most -= resume(sh, most < RESUME_STEP ? most : RESUME_STEP);
        if (!TAILQ_EMPTY(&sh->batch) && !sh->resuming) {
            sh->resuming = true;
            TAILQ_INSERT_TAIL(&s->resuming, sh, resuming_link);
        }
        if (most < SIZE_MAX / 2 && http_pace_ns() > until)
            break;
    }
    if (!TAILQ_EMPTY(&s->resuming))
        loop_timer_in(s->resume_timer, 0);
}

/* --- life
 * --------------------------------------------------------------------------------- */

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
    const struct http_shard *sh = cls;
    char text[256];

    vsnprintf(text, sizeof(text), fmt, ap);
    text[strcspn(text, "\n")] = '\0';
    log_debug("libmicrohttpd", "server=%s text=\"%s\"", sh->server->name, text);
}

static struct MHD_Daemon *
start_daemon(struct http_shard *sh)
{
    const struct http_server *s = sh->server;
    unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_NO_LISTEN_SOCKET |
                     MHD_USE_ERROR_LOG;
    size_t memory = sh->lean ? LEAN_MEMORY : s->opts.connection_memory;
    struct MHD_OptionItem tls[8];
    size_t n = 0;

    if (sh->pems->cert != NULL) {
        flags |= MHD_USE_TLS;
        tls[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_CERT, 0, sh->pems->cert};
        tls[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_KEY, 0, sh->pems->key};
        tls[n++] = (struct MHD_OptionItem){
            MHD_OPTION_HTTPS_PRIORITIES, 0,
            (void *)(uintptr_t) "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"};
    }
    if (sh->pems->client_ca != NULL)
        tls[n++] =
            (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_TRUST, 0, sh->pems->client_ca};
    tls[n] = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL};
    return MHD_start_daemon(
        flags, 0, NULL, NULL, http_on_request, sh, MHD_OPTION_EXTERNAL_LOGGER, on_mhd_log,
        sh, MHD_OPTION_NOTIFY_CONNECTION, http_on_connection, sh,
        MHD_OPTION_NOTIFY_COMPLETED, http_on_completed, sh, MHD_OPTION_URI_LOG_CALLBACK,
        http_on_target, sh, MHD_OPTION_UNESCAPE_CALLBACK, no_unescape, sh,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, memory, MHD_OPTION_CONNECTION_LIMIT,
        sh->room + 1u, MHD_OPTION_CONNECTION_TIMEOUT, s->opts.idle_timeout_s,
        MHD_OPTION_ARRAY, tls, MHD_OPTION_END);
}

void
http_shard_free(struct http_shard *sh)
{
    loop_io_free(sh->mhd_io);
    if (sh->daemon != NULL)
        MHD_stop_daemon(sh->daemon);
    loop_timer_free(sh->run_timer);
    if (sh->resuming)
        TAILQ_REMOVE(&sh->server->resuming, sh, resuming_link);
    TAILQ_REMOVE(&sh->server->shards, sh, link);
    sh->server->n_retired -= sh->retired;
    http_pems_unref(sh->pems);
    free(sh);
}

int
http_shard_new(struct http_server *s, bool lean, struct error *e)
{
    struct http_shard *sh = xnew(struct http_shard);

    sh->server = s;
    sh->lean = lean;
    sh->pems = s->pems;
    sh->pems->refs++;
    sh->room = sh->pems->cert != NULL ? SHARD_CONNECTIONS_TLS : SHARD_CONNECTIONS;
    TAILQ_INIT(&sh->batch);
    TAILQ_INSERT_TAIL(&s->shards, sh, link);
    sh->run_timer = loop_timer_new(s->loop, "http-run", on_run_timer, sh);
    sh->daemon = start_daemon(sh);
    int rc = 0;
    if (sh->daemon == NULL) {
        rc = error_set(e, ERR_INTERNAL, "start HTTP server %s%s", s->name,
                       sh->pems->cert != NULL ? " (is the certificate valid?)" : "");
    } else {
        const union MHD_DaemonInfo *info =
            MHD_get_daemon_info(sh->daemon, MHD_DAEMON_INFO_EPOLL_FD);
        bug_if(info == NULL || info->epoll_fd < 0);
        rc = loop_io_add(s->loop, "http", info->epoll_fd, EPOLLIN, on_mhd, sh,
                         &sh->mhd_io, e);
    }
    if (rc < 0)
        http_shard_free(sh);
    return rc;
}

void
http_shards_free_retired(struct http_server *s)
{
    struct http_shard *sh, *next;

    for (sh = TAILQ_FIRST(&s->shards); sh != NULL; sh = next) {
        next = TAILQ_NEXT(sh, link);
        if (sh->retired && sh->n_conns + sh->n_added == 0 && !sh->in_run)
            http_shard_free(sh);
    }
}

/* MHD counts a connection only when it runs. */
static struct http_shard *
with_room(struct http_server *s, bool lean)
{
    struct http_shard *sh;

    TAILQ_FOREACH (sh, &s->shards, link) {
        if (sh->lean == lean && !sh->retired && sh->n_conns + sh->n_added < sh->room)
            return sh;
    }
    return NULL;
}

bool
http_shard_add(struct http_server *s, bool lean, int fd, const struct sockaddr *sa,
               socklen_t len)
{
    struct error e = ERROR_INIT;
    struct http_shard *sh = with_room(s, lean);

    if (sh == NULL && http_shard_new(s, lean, &e) == 0)
        sh = with_room(s, lean);
    if (sh == NULL) {
        close(fd);
        return false;
    }
    sh->n_added++;
    return MHD_add_connection(sh->daemon, fd, sa, len) == MHD_YES;
}
