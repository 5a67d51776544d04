/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a client may take: time for the head of a request, a least rate for its body, and
 * connections of one address. MHD's own time-out counts from the last byte, so a client
 * that sends one byte a minute would keep its connection for ever.
 *
 * A connection is in one phase and each phase has one fixed time, so the queue of a phase
 * is in order of deadlines and one timer for the head of each is enough. A body is looked
 * at again and again: whoever has advanced goes to the end of the queue.
 */
#include <gnutls/gnutls.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "io/http_internal.h"

LOG_MODULE(http);

static const char timeout_text[] =
    "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n"
    "Content-Type: application/json\r\nContent-Length: 139\r\n\r\n"
    "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\","
    "\"message\":\"the request came too slowly\",\"reason\":\"Timeout\",\"code\":408}\n";

static int64_t
span_ms(const struct http_server *s, enum http_phase phase)
{
    if (phase == HTTP_HEAD)
        return s->opts.head_timeout_ms;
    if (phase == HTTP_BODY)
        return s->opts.body_interval_ms;
    return (int64_t)s->opts.idle_timeout_s * 1000 + s->opts.head_timeout_ms;
}

static void
enter(struct http_conn_state *c, enum http_phase phase)
{
    struct http_server *s = c->server;

    c->phase = phase;
    if (phase == HTTP_ANSWERING)
        return;
    c->n_received = 0;
    c->check_ms = loop_now_ms(s->loop) + span_ms(s, phase);
    TAILQ_INSERT_TAIL(&s->phases[phase], c, phase_link);
    if (!loop_timer_armed(s->guard_timer))
        loop_timer_at(s->guard_timer, c->check_ms);
}

static void
leave(struct http_conn_state *c)
{
    if (c->phase != HTTP_ANSWERING)
        TAILQ_REMOVE(&c->server->phases[c->phase], c, phase_link);
    c->phase = HTTP_ANSWERING;
}

void
http_guard_phase(struct http_conn_state *c, enum http_phase phase)
{
    leave(c);
    enter(c, phase);
}

/* Past MHD, which has no answer while it reads; it finds the connection ended then. */
static void
say_timeout(struct http_conn_state *c)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(c->mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    size_t n = sizeof(timeout_text) - 1;
    ssize_t sent;

    if (info != NULL && info->tls_session != NULL)
        sent = gnutls_record_send(info->tls_session, timeout_text, n);
    else
        sent = send(c->fd, timeout_text, n, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0)
        log_debug("408 not sent", "server=%s", c->server->name);
}

/* In time; otherwise the connection is ended. */
static bool
check(struct http_conn_state *c, enum http_phase phase)
{
    struct http_server *s = c->server;
    size_t least = (size_t)HTTP_BODY_MIN_RATE * s->opts.body_interval_ms / 1000;

    if (phase == HTTP_BODY && c->n_received >= least)
        return true;
    s->stats.head_timeouts += phase == HTTP_HEAD;
    s->stats.body_timeouts += phase == HTTP_BODY;
    if (phase != HTTP_IDLE && c->request != NULL)
        say_timeout(c);
    shutdown(c->fd, SHUT_RDWR);
    return false;
}

static void
on_timer(void *arg)
{
    struct http_server *s = arg;
    int64_t now = loop_now_ms(s->loop), next = INT64_MAX;
    struct http_conn_state *c;

    for (size_t i = 0; i < HTTP_N_PHASES; i++) {
        while ((c = TAILQ_FIRST(&s->phases[i])) != NULL && c->check_ms <= now) {
            leave(c);
            if (check(c, (enum http_phase)i))
                enter(c, (enum http_phase)i);
        }
        if (c != NULL && c->check_ms < next)
            next = c->check_ms;
    }
    if (next != INT64_MAX)
        loop_timer_at(s->guard_timer, next);
}

/* --- connections of one address -------------------------------------------------------
 */

/* Its length, 0: not to be counted. IPv6 by its /64: that is what one customer has. */
static size_t
address_of(const struct http_server *s, const struct sockaddr *sa, unsigned char out[16])
{
    static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};

    if (s->opts.max_per_address == 0 || sa == NULL)
        return 0;
    if (sa->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)sa;
        memcpy(out, &in->sin_addr, 4);
        return s->opts.loopback_unlimited && out[0] == 127 ? 0 : 4;
    }
    if (sa->sa_family != AF_INET6)
        return 0;
    const struct sockaddr_in6 *in6 = (const void *)sa;
    const unsigned char *bytes = in6->sin6_addr.s6_addr;
    if (memcmp(bytes, mapped, sizeof(mapped)) == 0) {
        memcpy(out, bytes + sizeof(mapped), 4);
        return s->opts.loopback_unlimited && out[0] == 127 ? 0 : 4;
    }
    memcpy(out, bytes, 8);
    return s->opts.loopback_unlimited && IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr) ? 0 : 8;
}

bool
http_guard_admit(struct http_server *s, const struct sockaddr *sa)
{
    unsigned char key[16];
    size_t len = address_of(s, sa, key);

    if (len == 0)
        return true;
    uintptr_t n = (uintptr_t)map_getn(s->addresses, key, len);
    if (n >= s->opts.max_per_address)
        return false;
    map_putn(s->addresses, key, len, (void *)(n + 1));
    return true;
}

static void
forget(struct http_server *s, const unsigned char *key, size_t len)
{
    uintptr_t n = len == 0 ? 0 : (uintptr_t)map_getn(s->addresses, key, len);

    if (n == 1)
        map_deln(s->addresses, key, len);
    else if (n > 1)
        map_putn(s->addresses, key, len, (void *)(n - 1));
}

void
http_guard_forget(struct http_server *s, const struct sockaddr *sa)
{
    unsigned char key[16];

    forget(s, key, address_of(s, sa, key));
}

/* --- life -----------------------------------------------------------------------------
 */

void
http_guard_started(struct http_conn_state *c)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(c->mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);

    if (info != NULL && info->client_addr != NULL)
        c->address_len = address_of(c->server, info->client_addr, c->address);
    enter(c, HTTP_HEAD);
}

void
http_guard_closed(struct http_conn_state *c)
{
    leave(c);
    forget(c->server, c->address, c->address_len);
}

void
http_guard_init(struct http_server *s)
{
    for (size_t i = 0; i < HTTP_N_PHASES; i++)
        TAILQ_INIT(&s->phases[i]);
    s->addresses = map_new(NULL);
    s->guard_timer = loop_timer_new(s->loop, "http-guard", on_timer, s);
}

void
http_guard_done(struct http_server *s)
{
    map_free(s->addresses);
    loop_timer_free(s->guard_timer);
}
