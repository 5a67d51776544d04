/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One packet for one small answer over TLS. MHD gives GnuTLS the head and the body of a
 * response separately; each becomes a record, a packet and a wake-up of the client. So
 * the first record after a response with a body has been queued is held back until the
 * next one goes, whatever that is, and both leave with one call.
 */
#include <errno.h>
#include <gnutls/gnutls.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "io/http_internal.h"

enum { IOV_MAX_HERE = 16, HELD_MAX = 64 << 10 };

static ssize_t
send_all(int fd, struct iovec *iov, size_t n)
{
    struct msghdr m = {.msg_iov = iov, .msg_iovlen = n};

    return sendmsg(fd, &m, MSG_NOSIGNAL);
}

/* What was held goes first; the result speaks of the new bytes only. */
static ssize_t
send_with_held(struct http_conn_state *c, struct iovec *iov, size_t n)
{
    struct str *held = &c->held;

    iov[0] = (struct iovec){held->ptr, held->len};
    ssize_t sent = send_all(c->fd, iov, n);
    if (sent < 0)
        return sent;
    if ((size_t)sent >= held->len) {
        sent -= (ssize_t)held->len;
        str_done(held);
        if (sent > 0)
            return sent;
    } else {
        memmove(held->ptr, held->ptr + sent, held->len - (size_t)sent);
        str_truncate(held, held->len - (size_t)sent);
    }
    errno = EAGAIN;
    return -1;
}

static ssize_t
push(gnutls_transport_ptr_t arg, const giovec_t *parts, int n_parts)
{
    struct http_conn_state *c = arg;
    struct iovec iov[IOV_MAX_HERE + 1];
    size_t total = 0, n = 0;

    /* A record is two parts; more than fit are sent by the next call. */
    for (; n < (size_t)n_parts && n < IOV_MAX_HERE; n++) {
        iov[n + 1] = (struct iovec){parts[n].iov_base, parts[n].iov_len};
        total += parts[n].iov_len;
    }
    if (c->hold && total <= HELD_MAX) {
        c->hold = false;
        for (size_t i = 1; i <= n; i++)
            str_add(&c->held, iov[i].iov_base, iov[i].iov_len);
        return (ssize_t)total;
    }
    return c->held.len > 0 ? send_with_held(c, iov, n + 1) : send_all(c->fd, iov + 1, n);
}

void
http_hold_init(struct http_conn_state *c)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(c->mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);

    str_init(&c->held, 2 * HELD_MAX);
    if (info == NULL || info->tls_session == NULL)
        return;
    gnutls_session_t session = info->tls_session;
    gnutls_transport_set_ptr2(session, c, c);
    gnutls_transport_set_vec_push_function(session, push);
    c->may_hold = true;
}

void
http_hold_head(struct http_request *r, size_t body)
{
    bool has_body = body > 0 && !streq(r->method, "HEAD") && r->status >= 200 &&
                    r->status != 204 && r->status != 304;

    r->conn->hold = r->conn->may_hold && has_body;
}
