/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP client on libcurl. Two faces over one request description:
 *  - blocking, for workers and the CLI: a http_conn keeps one reusable easy handle (one
 *    thread at a time);
 *  - asynchronous on a loop: a http_multi drives curl multi by its socket callbacks.
 * All responses are bounded; no signals are used; redirects are not followed.
 */
#ifndef IO_HTTP_CLIENT_H
#define IO_HTTP_CLIENT_H

#include "base/error.h"
#include "base/str.h"
#include "io/loop.h"

struct http_target {
    const char *url;         /* "https://host:port" base; borrowed */
    const char *unix_socket; /* connect here instead; URL host is then only a name */
    const char *ca_file;     /* PEM file; NULL: system store */
    const char *ca_pem;      /* PEM text instead of a file */
    const char *cert_file, *key_file; /* client certificate, or NULL */
    const char *bearer;               /* token, or NULL */
    const char *bearer_file;          /* re-read for each request; or NULL */
    bool insecure;                    /* do not verify; only when the user asked */
    const char *user_agent;
    int idle_seconds; /* connections idle for longer are not used again; 0: 118 s */
};

struct http_call {
    const char *method;
    const char *path;         /* with query, starts with '/' */
    const char *content_type; /* of the body */
    const char *accept;
    const char *const *headers; /* extra "Name: value", NULL-terminated, or NULL */
    const void *body;
    void
        *owned_body; /* instead: malloc'd, freed by the transfer; http_multi_start only */
    size_t body_len;
    int timeout_ms;         /* whole call; 0: 30 s; -1: none */
    int connect_timeout_ms; /* 0: 5 s */
    /* On a connection of its own. libcurl sends a request again, without saying so, when
     * a connection that it reuses turns out to be closed: by then another server may be
     * there. */
    bool once;
};

struct http_reply {
    int status;
    struct str body; /* set body.max before the call; past it ERR_TOO_LARGE */
    char content_type[96];
    uint32_t retry_after_ms;
    char warning[256]; /* first Warning header, or "" */
};
void http_reply_init(struct http_reply *r, size_t max_body);
void http_reply_done(struct http_reply *r);
static inline void
http_reply_done_ptr(struct http_reply *r)
{
    http_reply_done(r);
}
#define auto_http_reply CLEANUP(http_reply_done_ptr) struct http_reply

/* Blocking. An error is a failure to get a reply at all; a reply of any status is
 * success. In both faces e->sys is ECONNREFUSED when there was no connection, so that
 * certainly nothing was sent. */
struct http_conn;
struct http_conn *http_conn_new(const struct http_target *t); /* copies the target */
void http_conn_free(struct http_conn *c);
int http_conn_do(struct http_conn *c, const struct http_call *call,
                 struct http_reply *ret, struct error *e) WARN_UNUSED;
/* Body bytes of a 2xx reply go to on_data as they come (of any other they are collected,
 * so that a Status can be read); false from it ends the transfer with success. *cancel
 * (may be NULL) is polled at least every 200 ms; true ends with ERR_TIMEOUT. */
int http_conn_stream(struct http_conn *c, const struct http_call *call,
                     bool (*on_data)(void *arg, const char *bytes, size_t n), void *arg,
                     const volatile bool *cancel, struct http_reply *ret,
                     struct error *e) WARN_UNUSED;

/* Asynchronous. Callbacks on the loop thread. */
struct http_multi;
struct http_transfer;
struct http_transfer_cbs {
    /* Status and headers are known. Optional. */
    void (*on_headers)(void *arg, const struct http_reply *r);
    /* Streaming body of a 2xx reply; when NULL, and for other statuses, the body is
     * collected into the reply. False pauses until http_transfer_unpause (the same bytes
     * come again). */
    bool (*on_data)(void *arg, const char *bytes, size_t n);
    /* Exactly once, last; the transfer is freed afterwards. e->code is ERR_OK when a
     * whole reply arrived (any status). Not called after http_transfer_cancel. */
    void (*on_done)(void *arg, const struct http_reply *r, const struct error *e);
};
int http_multi_new(struct loop *l, struct http_multi **ret, struct error *e) WARN_UNUSED;
void http_multi_free(struct http_multi *m); /* cancels what runs; not from a callback */
/* Never NULL; a failure to start is reported by on_done in the next turn. Everything in t
 * and call is copied. max_body bounds a collected body. */
struct http_transfer *http_multi_start(struct http_multi *m, const struct http_target *t,
                                       const struct http_call *call, size_t max_body,
                                       const struct http_transfer_cbs *cbs, void *arg);
void http_transfer_unpause(struct http_transfer *t);
void http_transfer_cancel(struct http_transfer *t); /* NULL ok */

#endif
