/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request: its target, body and state. MHD calls on it when headers are in, for each
 * piece of the body, and when all has arrived or it was resumed.
 */
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "io/http_internal.h"
#include "io/http_pace.h"

enum {
    BODY_FIRST_RESERVE = 64 << 10,
    /* A body over the limit is read to its end up to here, so that the client gets to
     * read the 413 instead of a reset connection. */
    DISCARD_MAX = 16 << 20,
};

static int
hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* The byte that %XX at p stands for, or -1. */
static int
percent(const char *p, const char *end)
{
    if (end - p < 3)
        return -1;
    int hi = hex(p[1]);
    int lo = hex(p[2]);
    return hi < 0 || lo < 0 ? -1 : hi * 16 + lo;
}

/* Decodes [p, end) into out, which has room for as many bytes and a NUL. */
static const char *
decode_path(const char *p, const char *end, char *out)
{
    while (p < end) {
        if (*p != '%') {
            *out++ = *p++;
            continue;
        }
        int c = percent(p, end);
        if (c < 0)
            return "malformed percent-encoding in the path";
        if (c == 0)
            return "NUL byte in the path";
        *out++ = (char)c;
        p += 3;
    }
    *out = '\0';
    return NULL;
}

struct http_request *
http_request_new(struct http_conn_state *c, const char *target)
{
    size_t n = strlen(target);
    size_t path_len = strcspn(target, "?");
    struct http_request *r = xmalloc(sizeof(*r) + n + 1 + path_len + 1);

    memset(r, 0, sizeof(*r));
    r->conn = c;
    memcpy(r->raw, target, n + 1);
    r->path = r->raw + n + 1;
    r->refusal = decode_path(target, target + path_len, r->path);
    if (r->refusal != NULL)
        r->path[0] = '\0';
    else if (target[0] != '/' && target[0] != '*')
        r->refusal = "the request target must be a path";
    str_init(&r->body, 0);
    str_init(&r->headers, SIZE_MAX / 2);
    bug_if(c->request != NULL);
    c->request = r;
    return r;
}

void
http_request_free(struct http_request *r, bool aborted)
{
    const struct http_server *s = r->conn->server;

    r->conn->request = NULL;
    http_response_done(r);
    if (r->on_close != NULL)
        r->on_close(r->state, aborted || r->aborted);
    if (r->called && s->opts.on_done != NULL)
        s->opts.on_done(s->opts.arg, r, (int)r->status, aborted || r->aborted);
    str_done(&r->body);
    str_done(&r->headers);
    vec_done(&r->query);
    free(r->query_text);
    free(r);
}

/* --- receiving ------------------------------------------------------------------------
 */

static void
respond_too_large(struct http_request *r)
{
    char text[96];

    snprintf(text, sizeof(text), "Request entity too large: limit is %zu", r->body.max);
    http_respond_status(r, 413, "RequestEntityTooLarge", text);
}

/* Headers are in. May answer at once, in which case the body is not read. */
static enum MHD_Result
begin(struct http_request *r, const char *method)
{
    const struct http_server_opts *o = &r->conn->server->opts;

    r->begun = true;
    http_guard_phase(r->conn, HTTP_BODY);
    r->method = method;
    size_t limit = o->body_limit == NULL ? 0 : o->body_limit(o->arg, r);
    str_init(&r->body, limit == 0 ? o->max_body : limit);
    const char *length = http_header(r, "Content-Length");
    if (length == NULL)
        return MHD_YES;
    uint64_t n = strtoull(length, NULL, 10);
    if (n <= r->body.max) {
        str_reserve(&r->body, n < BODY_FIRST_RESERVE ? n : BODY_FIRST_RESERVE);
        return MHD_YES;
    }
    r->discarding = true;
    if (n <= r->body.max + DISCARD_MAX && http_header(r, "Expect") == NULL)
        return MHD_YES;
    r->handled = true;
    http_guard_phase(r->conn, HTTP_ANSWERING);
    http_add_header(r, "Connection", "close");
    respond_too_large(r);
    return http_response_queue(r);
}

static enum MHD_Result
receive(struct http_request *r, const char *data, size_t *size)
{
    r->conn->n_received += *size;
    if (!r->discarding && *size > r->body.max - r->body.len) {
        r->discarding = true;
        r->discarded = r->body.len;
        str_done(&r->body);
    }
    if (r->discarding)
        r->discarded += *size;
    else
        str_add(&r->body, data, *size);
    *size = 0;
    return r->discarded > r->body.max + (uint64_t)DISCARD_MAX ? MHD_NO : MHD_YES;
}

static void
handle(struct http_request *r)
{
    const struct http_server *s = r->conn->server;

    r->handled = true;
    http_guard_phase(r->conn, HTTP_ANSWERING);
    if (r->refusal != NULL)
        http_respond_status(r, 400, "BadRequest", r->refusal);
    else if (r->discarding)
        respond_too_large(r);
    else if (!s->closing) {
        r->called = true;
        s->opts.handler(s->opts.arg, r);
    }
}

enum MHD_Result
http_request_advance(struct http_request *r, const char *method, const char *data,
                     size_t *size)
{
    if (r->aborted)
        return MHD_NO;
    if (!r->begun)
        return begin(r, method);
    if (*size > 0)
        return receive(r, data, size);
    if (!r->handled && http_pace_defer(r))
        return MHD_YES;
    if (!r->handled)
        handle(r);
    if (r->response == NULL && r->conn->server->closing) {
        r->aborted = true;
        http_add_header(r, "Connection", "close");
        http_respond_status(r, 503, "ServiceUnavailable", "the server is shutting down");
    }
    if (r->response != NULL)
        return http_response_queue(r);
    http_suspend(r);
    return MHD_YES;
}

/* --- looking at it --------------------------------------------------------------------
 */

const char *
http_method(const struct http_request *r)
{
    return r->method;
}

const char *
http_path(const struct http_request *r)
{
    return r->path;
}

const char *
http_raw_path(const struct http_request *r)
{
    return r->raw;
}

const char *
http_header(const struct http_request *r, const char *name)
{
    return MHD_lookup_connection_value(r->conn->mhd, MHD_HEADER_KIND, name);
}

struct header_visit {
    bool (*fn)(void *arg, const char *name, const char *value);
    void *arg;
};

static enum MHD_Result
visit_header(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
    const struct header_visit *v = cls;

    UNUSED(kind);
    return v->fn(v->arg, name, value == NULL ? "" : value) ? MHD_YES : MHD_NO;
}

void
http_headers_each(const struct http_request *r,
                  bool (*fn)(void *arg, const char *name, const char *value), void *arg)
{
    struct header_visit v = {fn, arg};

    MHD_get_connection_values(r->conn->mhd, MHD_HEADER_KIND, visit_header, &v);
}

struct str
http_body_take(struct http_request *r)
{
    struct str body = r->body;

    str_init(&r->body, 0);
    return body;
}

struct span
http_body(const struct http_request *r)
{
    return (struct span){r->body.ptr, r->body.len};
}

bool
http_is_unix(const struct http_request *r)
{
    return r->conn->is_unix;
}

void
http_peer_address(const struct http_request *r, char *out, size_t size)
{
    const char *peer = http_is_unix(r) ? "" : http_peer(r);
    const char *colon = strrchr(peer, ':');
    int n = colon == NULL ? 0 : (int)(colon - peer);

    if (*peer == '[' && n > 2)
        snprintf(out, size, "%.*s", n - 2, peer + 1);
    else
        snprintf(out, size, "%.*s", n, peer);
}

void
http_set_state(struct http_request *r, void *state,
               void (*on_close)(void *state, bool aborted))
{
    r->state = state;
    r->on_close = on_close;
}

void
http_set_tag(struct http_request *r, void *tag)
{
    r->tag = tag;
}

void *
http_tag(const struct http_request *r)
{
    return r->tag;
}

void *
http_state(const struct http_request *r)
{
    return r->state;
}

static void
name_tcp_peer(struct http_conn_state *c)
{
    struct sockaddr_storage sa = {0};
    socklen_t len = sizeof(sa);
    char host[64];
    char port[8];

    if (getpeername(c->fd, (struct sockaddr *)&sa, &len) < 0 ||
        getnameinfo((struct sockaddr *)&sa, len, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        snprintf(c->peer, sizeof(c->peer), "unknown");
    else if (sa.ss_family == AF_INET6)
        snprintf(c->peer, sizeof(c->peer), "[%s]:%s", host, port);
    else
        snprintf(c->peer, sizeof(c->peer), "%s:%s", host, port);
}

const char *
http_peer(const struct http_request *r)
{
    struct http_conn_state *c = r->conn;
    struct ucred cred;
    socklen_t len = sizeof(cred);

    if (c->peer[0] != '\0')
        return c->peer;
    if (!c->is_unix)
        name_tcp_peer(c);
    else if (getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
        snprintf(c->peer, sizeof(c->peer), "unix:unknown");
    else
        snprintf(c->peer, sizeof(c->peer), "unix:pid=%d,uid=%u", (int)cred.pid,
                 (unsigned)cred.uid);
    return c->peer;
}

/* --- query ----------------------------------------------------------------------------
 */

/* In place, as a form does: '+' is a space; what is not a valid escape stays as it is. */
static void
decode_query(char *text)
{
    char *out = text;
    const char *end = text + strlen(text);

    for (const char *p = text; p < end;) {
        int c = *p == '%' ? percent(p, end) : -1;
        if (c > 0) {
            *out++ = (char)c;
            p += 3;
        } else {
            *out++ = *p == '+' ? ' ' : *p;
            p++;
        }
    }
    *out = '\0';
}

static void
parse_query(struct http_request *r)
{
    const char *q = strchr(r->raw, '?');

    r->query_parsed = true;
    if (q == NULL)
        return;
    r->query_text = xstrdup(q + 1);
    for (char *p = r->query_text; p != NULL;) {
        char *next = strchr(p, '&');
        if (next != NULL)
            *next++ = '\0';
        char *value = strchr(p, '=');
        if (value != NULL)
            *value++ = '\0';
        if (*p != '\0' || value != NULL) {
            decode_query(p);
            if (value != NULL)
                decode_query(value);
            vec_push(&r->query, ((struct http_pair){p, value == NULL ? "" : value}));
        }
        p = next;
    }
}

/* The parsed query is a cache: to the caller the request is unchanged. */
static const struct http_request *
with_query(const struct http_request *r)
{
    if (!r->query_parsed)
        parse_query(r->conn->request);
    return r;
}

const char *
http_query(const struct http_request *r, const char *key)
{
    vec_foreach (p, &with_query(r)->query) {
        if (streq(p->key, key))
            return p->value;
    }
    return NULL;
}

void
http_query_each(const struct http_request *r,
                bool (*fn)(void *arg, const char *key, const char *value), void *arg)
{
    vec_foreach (p, &with_query(r)->query) {
        if (!fn(arg, p->key, p->value))
            return;
    }
}
