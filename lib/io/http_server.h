/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1.1 server on libmicrohttpd, nested in a loop (external epoll, MHD_run only, never
 * an internal thread; daemons of at most 127 connections, so that no run takes long;
 * resumes collected per turn; departed clients of suspended connections noticed through
 * EPOLLRDHUP).
 *
 * Cost: a connection that waits takes 20 KB (its pool and 4 KB of state), a lean one or a
 * stream that has waited for a second 8 KB, with TLS 11 KB more; waking a stream about 8
 * us, nearly all of it send().
 *
 * Life of a request: the handler is called on the loop once the whole body (bounded) has
 * arrived. The request object lives until its response is complete or the client is gone;
 * it is then freed by the server after on_close. The handler answers at once or later
 * (keeping the pointer), exactly once, with one of the http_respond_* calls; while it has
 * not, the connection is suspended. After on_close(aborted=true) the pointer is dead.
 *
 * Threading: loop thread only. Bounds, in http_server_opts: header bytes (431, 414), body
 * bytes (413), connections in all and of one address, the time for a request's head and
 * the rate of its body (408), idle time.
 */
#ifndef IO_HTTP_SERVER_H
#define IO_HTTP_SERVER_H

#include "base/error.h"
#include "base/str.h"
#include "io/loop.h"

struct http_server;
struct http_request;
struct http_stream;

typedef void http_handler_fn(void *arg, struct http_request *r);

#define HTTP_BODY_MIN_RATE 500u

struct http_server_opts {
    const char *name;
    /* TCP: explicit address and port (0 chooses one); or a unix socket path, mode 0600.
     */
    const char *address;
    uint16_t port;
    const char *unix_path;
    /* PEM, both or neither; copied. Plain HTTP without. */
    const char *tls_cert_pem, *tls_key_pem;
    /* Optional CA (PEM) for client certificates; a client without one is still served. */
    const char *client_ca_pem;
    size_t max_body;          /* bytes; beyond is 413 with a Status body. 0: 3 MiB */
    unsigned max_connections; /* 0: 16384 */
    unsigned idle_timeout_s;  /* keep-alive; 0: 120 */
    size_t connection_memory; /* per-connection pool; 0: 16 KiB */
    /* Optional, without TLS only: a connection whose first request has this text in its
     * query ("watch=") and a head of at most 2 KB gets a pool of 4 KB, and is closed
     * after its answer. */
    const char *lean_query;
    /* Until the head of a request is in, from its connection or its first line on, the
     * TLS handshake included. 0: 15 s */
    unsigned head_timeout_ms;
    /* A body has to advance by HTTP_BODY_MIN_RATE bytes per second over each of these. 0:
     * 20 s */
    unsigned body_interval_ms;
    unsigned max_per_address; /* connections; 0: no limit. Not for unix sockets */
    bool loopback_unlimited;  /* ... nor for those of this machine */
    http_handler_fn *handler;
    /* Optional: decides before the body is read (method, path, headers are there). Return
     * the body limit for this request, or 0 for the default. */
    size_t (*body_limit)(void *arg, struct http_request *r);
    /* Optional: the request is over, all of its response sent or the client gone. Called
     * after on_close, once for each request that the handler was called for. status is
     * what was answered, 0: nothing. */
    void (*on_done)(void *arg, struct http_request *r, int status, bool aborted);
    void *arg;
};

/* "ADDRESS:PORT" taken apart, for the address and port above. */
int http_split_listen(const char *text, char *address, size_t size, uint16_t *ret_port,
                      struct error *e) WARN_UNUSED;
int http_server_start(struct loop *l, const struct http_server_opts *opts,
                      struct http_server **ret, struct error *e) WARN_UNUSED;
uint16_t http_server_port(const struct http_server *s);
/* Stops accepting; open requests go on. */
void http_server_quiesce(struct http_server *s);
/* Ends streams with their last chunk and requests without an answer with 503 (their
 * on_close sees aborted=true), then frees. Not from a handler. NULL ok. */
void http_server_free(struct http_server *s);
size_t http_server_connections(const struct http_server *s);
/* From here on new connections get this certificate and are vouched for by this CA (NULL:
 * none); those that are there go on as they are. Only for a server that was started with
 * TLS. On failure nothing changes. */
int http_server_set_tls(struct http_server *s, const char *cert_pem, const char *key_pem,
                        const char *client_ca_pem, struct error *e) WARN_UNUSED;
struct http_server_stats {
    uint64_t accepted, refused_address; /* refused: more than one address may have */
    uint64_t head_timeouts, body_timeouts;
};
struct http_server_stats http_server_stats(const struct http_server *s);

/* --- request ------------------------------------------------------------------------ */
const char *http_method(const struct http_request *r);   /* "GET" */
const char *http_path(const struct http_request *r);     /* decoded once; no query */
const char *http_raw_path(const struct http_request *r); /* as sent, with the query */
/* First value or NULL; "" for a key without value. Borrowed for the request's life. */
const char *http_query(const struct http_request *r, const char *key);
/* Calls fn for each pair in order; stops when fn returns false. */
void http_query_each(const struct http_request *r,
                     bool (*fn)(void *arg, const char *key, const char *value),
                     void *arg);
const char *http_header(const struct http_request *r, const char *name);
/* Calls fn for each header in order, repeated ones too; stops when fn returns false. */
void http_headers_each(const struct http_request *r,
                       bool (*fn)(void *arg, const char *name, const char *value),
                       void *arg);
struct span http_body(const struct http_request *r);
/* The body's buffer for oneself (str_done); the request has none afterwards. */
struct str http_body_take(struct http_request *r);
const char *
http_peer(const struct http_request *r); /* "127.0.0.1:4242" or "unix:pid=9,uid=0" */
bool http_is_unix(const struct http_request *r);
/* The peer's address without its port; "" on a unix socket. */
void http_peer_address(const struct http_request *r, char *out, size_t size);
/* Common name of the certificate that the client proved to hold, when client_ca_pem
 * vouches for it; NULL otherwise. */
const char *http_client_name(const struct http_request *r);
/* Its organizations, each on a line; NULL as above. */
const char *http_client_groups(const struct http_request *r);
/* For the handler's own state; freed by its on_close. */
void http_set_state(struct http_request *r, void *state,
                    void (*on_close)(void *state, bool aborted));
void *http_state(const struct http_request *r);
/* A second pointer, for who wraps the handler; on_done finds it. */
void http_set_tag(struct http_request *r, void *tag);
void *http_tag(const struct http_request *r);

/* --- response ----------------------------------------------------------------------- */
/* Adds a header to the response that will be sent. Copied. */
void http_add_header(struct http_request *r, const char *name, const char *value);
/* Whole body, copied. */
void http_respond(struct http_request *r, int status, const char *content_type,
                  const void *body, size_t len);
/* Takes the string's buffer. */
void http_respond_str(struct http_request *r, int status, const char *content_type,
                      struct str *body);
/* Known length, produced in slices: read() fills at most `max` bytes and returns how many
 * (> 0), or < 0 to abort the connection. free_arg runs when done, also on abort. */
typedef ssize_t http_read_fn(void *arg, char *buf, size_t max);
void http_respond_reader(struct http_request *r, int status, const char *content_type,
                         uint64_t length, http_read_fn *read, void (*free_arg)(void *),
                         void *arg);
/* Chunked stream of unknown length, pulled: fill() is called when the client can take
 * more. It returns bytes written (> 0), 0 for "nothing now" (the stream suspends until
 * http_stream_wake), -1 for the end, or HTTP_FILL_ABORT when the rest cannot be had: the
 * connection is cut, so that the client does not take what came for the whole. max
 * depends on the connection's memory and may be a few hundred bytes: be able to go on
 * inside an item. Headers are sent at once. A slow client is a cursor: nothing is
 * buffered for it beyond one block. */
#define HTTP_FILL_ABORT (-2)
typedef ssize_t http_fill_fn(void *arg, char *buf, size_t max);
struct http_stream *http_respond_stream(struct http_request *r, int status,
                                        const char *content_type, http_fill_fn *fill,
                                        void (*free_arg)(void *), void *arg);
/* There may be something to send now. Cheap and idempotent; resumes are batched. The
 * stream is dead once its free_arg has been called. */
void http_stream_wake(struct http_stream *s);

#endif
