/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the HTTP server share. A request belongs to its connection and dies
 * in MHD's "completed" notification; a connection dies in the "closed" one.
 */
#ifndef IO_HTTP_INTERNAL_H
#define IO_HTTP_INTERNAL_H

#include <microhttpd.h>
#include <sys/queue.h>

#include "base/vec.h"
#include "io/http_server.h"

struct http_conn_state {
    struct http_server *server;
    struct MHD_Connection *mhd;
    int fd;
    bool is_unix;
    bool gone;             /* the client has closed its side */
    struct loop_io *watch; /* EPOLLRDHUP */
    bool leaving;          /* on the server's list of that name */
    TAILQ_ENTRY(http_conn_state) leaving_link;
    struct http_request *request;
    char peer[80];         /* "" until asked for */
    char client_name[128]; /* of a verified certificate, or "" */
    bool client_checked;
    LIST_ENTRY(http_conn_state) link;
};

struct http_pair {
    const char *key, *value;
};

struct http_stream {
    http_fill_fn *fill;
    void (*free_arg)(void *);
    void *arg;
    bool woken; /* since the last fill() began */
};

struct http_reader {
    http_read_fn *read;
    void (*free_arg)(void *);
    void *arg;
};

struct http_request {
    struct http_conn_state *conn;
    const char *method;  /* MHD's, for the life of the request */
    char *path;          /* decoded; points into the allocation of the request */
    const char *refusal; /* why the target is malformed, or NULL */

    vec(struct http_pair) query; /* parsed when first asked for */
    char *query_text;
    bool query_parsed;

    struct str body;
    uint64_t discarded; /* bytes of a body that is over the limit */
    bool begun, handled, responded, queued, suspended, aborted, discarding;

    struct str headers;            /* name NUL value NUL ... */
    struct MHD_Response *response; /* made and not yet queued */
    unsigned status;
    struct http_stream stream;
    struct http_reader reader;

    void *state;
    void (*on_close)(void *state, bool aborted);

    bool in_batch;
    TAILQ_ENTRY(http_request) batch_link;
    char raw[]; /* request target as sent, NUL, then the bytes of path */
};

struct http_server {
    struct loop *loop;
    struct http_server_opts opts;
    char *unix_path, *cert, *key, *client_ca, *name;
    struct MHD_Daemon *daemon;
    int listen_fd;
    uint16_t port;
    dev_t unix_dev; /* identity of our socket file */
    ino_t unix_ino;
    struct loop_io *accept_io, *mhd_io;
    struct loop_timer *accept_timer, *run_timer, *resume_timer;
    struct loop_hook *hook;
    bool closing, accept_paused, in_run;
    size_t n_conns, n_suspended;
    int64_t last_resume_ns;
    LIST_HEAD(, http_conn_state) conns;
    TAILQ_HEAD(, http_conn_state) leaving;
    TAILQ_HEAD(, http_request) batch; /* to be resumed together */
};

/* http_listen.c */
int http_listen_open(struct http_server *s, struct error *e) WARN_UNUSED;
void http_listen_close(struct http_server *s);
/* A connection went away: there may be room for another. */
void http_listen_unpause(struct http_server *s);

/* http_server.c */
void http_server_run(struct http_server *s);
void http_suspend(struct http_request *r);
void http_resume_later(struct http_request *r);

/* http_request.c */
struct http_request *http_request_new(struct http_conn_state *c, const char *target);
void http_request_free(struct http_request *r, bool aborted);
/* Called by MHD when the request has advanced. */
enum MHD_Result http_request_advance(struct http_request *r, const char *method,
                                     const char *data, size_t *size);

/* http_response.c */
void http_respond_status(struct http_request *r, int status, const char *reason,
                         const char *message);
enum MHD_Result http_response_queue(struct http_request *r);
/* Releases what a response holds, sent or not. */
void http_response_done(struct http_request *r);

#endif
