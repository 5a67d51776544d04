/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the HTTP server share. A request belongs to its connection and dies
 * in MHD's "completed" notification; a connection dies in the "closed" one.
 */
#ifndef IO_HTTP_INTERNAL_H
#define IO_HTTP_INTERNAL_H

#include <microhttpd.h>
#include <sys/queue.h>

#include "base/map.h"
#include "base/vec.h"
#include "io/http_server.h"

/* It aborts over 1 024 elements. */
#pragma GCC poison MHD_create_response_from_iovec

/* What http_guard.c waits for, each for a fixed time. */
enum http_phase { HTTP_ANSWERING, HTTP_HEAD, HTTP_BODY, HTTP_IDLE, HTTP_N_PHASES };

/* Refcounted: shards made with it outlive its replacement. */
struct http_pems {
    unsigned refs;
    char *cert, *key, *client_ca;
};

struct http_conn_state {
    struct http_server *server;
    struct http_shard *shard;
    struct MHD_Connection *mhd;
    int fd;
    bool is_unix;
    bool gone;             /* the client has closed its side */
    bool asked;            /* it has made a request */
    bool may_hold, hold;   /* http_hold.c; hold: the next record waits for one more */
    bool shaken;           /* the TLS handshake is over, or there is none */
    int64_t step_run;      /* http_pace.c: run_ns of the run that last advanced it */
    struct str held;       /* it */
    struct loop_io *watch; /* EPOLLRDHUP */
    bool leaving;          /* on the server's list of that name */
    TAILQ_ENTRY(http_conn_state) leaving_link;
    struct http_request *request;
    char peer[80];         /* "" until asked for */
    char client_name[128]; /* of a verified certificate, or "" */
    char *client_groups;   /* its organizations, a line each; NULL without a name */
    bool client_checked;
    LIST_ENTRY(http_conn_state) link;
    enum http_phase phase;
    int64_t check_ms;  /* when the phase must be over, or the body have advanced */
    size_t n_received; /* of the body since the last look */
    TAILQ_ENTRY(http_conn_state) phase_link; /* unless HTTP_ANSWERING */
    unsigned char address[16];
    size_t address_len; /* 0: not counted */
};

struct http_pair {
    const char *key, *value;
};

struct http_stream {
    http_fill_fn *fill;
    void (*free_arg)(void *);
    void *arg;
    bool woken; /* since the last fill() began */
    /* http_idle.c; buf NULL: not on its list */
    char *idle_buf;
    size_t idle_max;
    int64_t idle_ms;
    TAILQ_ENTRY(http_stream) idle_link;
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
    bool begun, handled, called, responded, queued, suspended, aborted, discarding;

    struct str headers;            /* name NUL value NUL ... */
    struct MHD_Response *response; /* made and not yet queued */
    size_t in_memory;              /* length of its body, if that is in memory */
    unsigned status;
    struct http_stream stream;
    struct http_reader reader;

    void *state, *tag;
    void (*on_close)(void *state, bool aborted);

    bool in_batch;
    TAILQ_ENTRY(http_request) batch_link;
    char raw[]; /* request target as sent, NUL, then the bytes of path */
};

/* One MHD daemon with some of the connections (http_shard.c). */
struct http_shard {
    struct http_server *server;
    struct MHD_Daemon *daemon;
    struct loop_io *mhd_io;
    struct loop_timer *run_timer;
    unsigned room;           /* connections that it takes */
    size_t n_conns, n_added; /* n_added: those that it will see in its next run */
    size_t n_fresh;          /* connections that have not made a request */
    size_t n_busy;           /* requests that are neither complete nor suspended */
    struct http_pems *pems;
    bool retired; /* an older certificate: no new connections */
    bool lean;    /* small pools, for watches */
    bool in_run;
    int64_t run_ns;                   /* when the last run began */
    size_t n_steps, n_paced, n_work;  /* http_pace.c, of the last run */
    bool resuming;                    /* on the server's list of that name */
    TAILQ_HEAD(, http_request) batch; /* to be resumed together */
    TAILQ_ENTRY(http_shard) link, resuming_link;
};
TAILQ_HEAD(http_shards, http_shard);

struct http_newcomer;
TAILQ_HEAD(http_newcomers, http_newcomer);

struct http_server {
    struct loop *loop;
    struct http_server_opts opts;
    char *unix_path, *name, *lean_query;
    struct http_pems *pems;
    struct http_shards shards, resuming;
    struct http_newcomers newcomers; /* accepted, of no daemon yet */
    size_t n_newcomers;
    struct loop_timer *silence_timer;
    int listen_fd;
    uint16_t port;
    dev_t unix_dev; /* identity of our socket file */
    ino_t unix_ino;
    struct loop_io *accept_io;
    struct loop_timer *accept_timer, *resume_timer;
    struct loop_hook *hook;
    bool closing, accept_paused;
    size_t n_conns;
    LIST_HEAD(, http_conn_state) conns;
    TAILQ_HEAD(, http_conn_state) leaving;
    TAILQ_HEAD(, http_conn_state) phases[HTTP_N_PHASES];
    struct loop_timer *guard_timer;
    TAILQ_HEAD(, http_stream) idle; /* waiting, since when in order */
    struct loop_timer *idle_timer;
    size_t page_size;
    struct map *addresses; /* -> number of connections */
    struct http_server_stats stats;
    size_t n_retired;
};

/* http_listen.c */
int http_listen_open(struct http_server *s, struct error *e) WARN_UNUSED;
void http_listen_close(struct http_server *s);
/* A connection went away: there may be room for another. */
void http_listen_unpause(struct http_server *s);

/* http_server.c */
void http_suspend(struct http_request *r);
/* MHD's callbacks; cls: the shard. */
void http_on_connection(void *cls, struct MHD_Connection *mhd, void **socket_context,
                        enum MHD_ConnectionNotificationCode code);
void *http_on_target(void *cls, const char *target, struct MHD_Connection *mhd);
enum MHD_Result http_on_request(void *cls, struct MHD_Connection *mhd, const char *url,
                                const char *method, const char *version, const char *data,
                                size_t *size, void **context);
void http_on_completed(void *cls, struct MHD_Connection *mhd, void **context,
                       enum MHD_RequestTerminationCode code);

/* http_tls.c */
struct http_pems *http_pems_new(const char *cert, const char *key, const char *client_ca);
void http_pems_unref(struct http_pems *p); /* NULL ok */

/* http_shard.c */
int http_shard_new(struct http_server *s, bool lean, struct error *e) WARN_UNUSED;
/* Its connections must be finished. */
void http_shard_free(struct http_shard *sh);
/* Hands an accepted descriptor to a shard with room; it is closed when that fails. */
bool http_shard_add(struct http_server *s, bool lean, int fd, const struct sockaddr *sa,
                    socklen_t len);
/* Lets the shards see what was added, each in a callback of its own. */
void http_shards_run_added(struct http_server *s);
void http_shards_run(struct http_server *s);
void http_resume_later(struct http_request *r);
/* It is over: it will not be resumed. */
void http_resume_never(struct http_request *r);
/* Resumes what was asked for until `most` or a millisecond is over; what is left comes in
 * the next turn. */
void http_resume_some(struct http_server *s, size_t most);

/* http_sort.c */
void http_sort_init(struct http_server *s);
void http_sort_done(struct http_server *s);
/* Takes an accepted descriptor. */
void http_sort(struct http_server *s, int fd, const struct sockaddr_storage *sa,
               socklen_t len);

/* Those with an older certificate and no connections go. */
void http_shards_free_retired(struct http_server *s);

/* http_guard.c */
void http_guard_init(struct http_server *s);
void http_guard_done(struct http_server *s);
void http_guard_phase(struct http_conn_state *c, enum http_phase phase);
/* False: the address has all the connections it may have. Otherwise it is counted. */
bool http_guard_admit(struct http_server *s, const struct sockaddr *sa);
void http_guard_forget(struct http_server *s, const struct sockaddr *sa);
void http_guard_started(struct http_conn_state *c);
void http_guard_closed(struct http_conn_state *c);

/* http_hold.c */
void http_hold_init(struct http_conn_state *c);
/* The response that is being queued has a body of so many bytes in memory. */
void http_hold_head(struct http_request *r, size_t body);

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
