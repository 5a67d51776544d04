/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What bounds the time of one MHD_run(), which serves all that is ready.
 *
 * Handlers and content readers: after RUN_NS the request is suspended instead, and
 * resumed in the next turn.
 *
 * TLS handshakes: one costs some 0.2 ms of processor time, so a hundred clients that come
 * back at once were 23 ms in one callback. Until a handshake is over its bytes are read
 * by us, and after so many steps or so much time of a run the others are told that
 * nothing has come yet. MHD keeps those on its list of ready connections, and the next
 * run follows at once.
 *
 * At least one of each is done in a run, however late it is.
 */
#include <errno.h>
#include <gnutls/gnutls.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>

#include "io/http_pace.h"

enum { STEPS_A_RUN = 8, RUN_NS = 600000 };

int64_t
http_pace_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

void
http_pace_begin(struct http_shard *sh)
{
    sh->run_ns = http_pace_ns();
    sh->n_steps = sh->n_paced = sh->n_work = 0;
}

bool
http_pace_waiting(const struct http_shard *sh)
{
    return sh->n_paced > 0;
}

bool
http_pace_defer(struct http_request *r)
{
    struct http_shard *sh = r->conn->shard;

    if (sh->n_work++ == 0 || sh->server->closing || http_pace_ns() - sh->run_ns < RUN_NS)
        return false;
    http_suspend(r);
    http_resume_later(r);
    return true;
}

static bool
may_step(const struct http_shard *sh)
{
    return sh->n_steps == 0 ||
           (sh->n_steps < STEPS_A_RUN && http_pace_ns() - sh->run_ns < RUN_NS);
}

/* A step is a flight of the client: a call of gnutls_handshake() reads it in parts. */
static ssize_t
pull(gnutls_transport_ptr_t arg, void *out, size_t size)
{
    struct http_conn_state *c = arg;
    struct http_shard *sh = c->shard;

    if (c->shaken)
        return recv(c->fd, out, size, 0);
    bool same = c->step_run == sh->run_ns;
    if (!same && !may_step(sh)) {
        sh->n_paced++;
        errno = EAGAIN;
        return -1;
    }
    ssize_t n = recv(c->fd, out, size, 0);
    if (n > 0 && !same) {
        c->step_run = sh->run_ns;
        sh->n_steps++;
    }
    return n;
}

/* GnuTLS asks for it together with a pull of one's own; ours never waits. */
static int
pull_timeout(gnutls_transport_ptr_t arg, unsigned ms)
{
    const struct http_conn_state *c = arg;
    struct pollfd p = {.fd = c->fd, .events = POLLIN};

    UNUSED(ms);
    return poll(&p, 1, 0);
}

static int
on_finished(gnutls_session_t session, unsigned type, unsigned when, unsigned incoming,
            const gnutls_datum_t *message)
{
    struct http_conn_state *c = gnutls_transport_get_ptr(session);

    UNUSED(type);
    UNUSED(when);
    UNUSED(message);
    c->shaken |= incoming != 0; /* the client's: the last that is read */
    return 0;
}

void
http_pace_init(struct http_conn_state *c)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(c->mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);

    c->shaken = info == NULL || info->tls_session == NULL;
    if (c->shaken)
        return;
    gnutls_session_t session = info->tls_session;
    gnutls_transport_set_pull_function(session, pull);
    gnutls_transport_set_pull_timeout_function(session, pull_timeout);
    gnutls_handshake_set_hook_function(session, GNUTLS_HANDSHAKE_FINISHED,
                                       GNUTLS_HOOK_POST, on_finished);
}
