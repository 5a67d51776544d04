/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP front: request ids, health and metrics, authentication, limits, the audit log,
 * and the bridge from an HTTP request to a call of the registry. Requests for
 * streams.drover.dev are handed to the streams proxy. One front serves several listeners.
 *
 * Every request but those for health is a visit: it gets an id (the client's Audit-ID, or
 * one of ours), which is in the answer, the log and the audit log; it ends when its
 * response has been sent. Loop thread only.
 */
#ifndef HTTP_FRONT_H
#define HTTP_FRONT_H

#include "apiserver/audit/audit.h"
#include "apiserver/auth/auth.h"
#include "apiserver/http/limits.h"
#include "apiserver/registry/server.h"
#include "io/http_client.h"
#include "io/http_server.h"

struct front;
struct proxy;

struct front_opts {
    struct api_server *server;
    struct auth *auth;
    struct proxy *proxy; /* NULL: no streams here */
    bool anonymous;      /* without credentials one is system:anonymous, not refused */
    struct limits_opts limits;
    struct audit *audit; /* NULL: none */
    /* Adds what the program knows to /metrics; or NULL. */
    void (*metrics)(void *arg, struct str *out);
    void *arg;
};
struct front *front_new(const struct front_opts *o);
void front_free(struct front *f);
/* /readyz answers 500 until this is called. */
void front_set_ready(struct front *f);
/* ... and from here on again; answers ask the clients to close their connections. */
void front_set_stopping(struct front *f);
size_t front_open_requests(const struct front *f);
/* http_server_opts.handler and on_done; arg is the front. */
void front_handle(void *front, struct http_request *r);
void front_done(void *front, struct http_request *r, int status, bool aborted);
/* Answers with a Status of the code; BUSY says when to come again. */
void front_refuse(struct http_request *r, enum err_code code, const char *message);
void front_refuse_busy(struct http_request *r, unsigned retry_s, const char *message);
/* Why the request was refused, for the log and the audit log; of a visit only. */
void front_note(struct http_request *r, const char *reason, const char *message);
/* An error's Status as it is sent. */
void front_note_status(struct http_request *r, const struct str *body);

/* --- health.c: /livez, /readyz, /healthz and their parts, in the field's words. */
struct health;
struct health *health_new(struct api_server *s);
void health_free(struct health *h);
void health_set(struct health *h, bool ready, bool stopping);
bool health_is(const char *path);
void health_serve(struct health *h, struct http_request *r);
void health_metrics(struct health *h, struct str *out);

/* --- identity.c: who sends the request, or as whom he acts by Impersonate-* headers. A
 * reference; NULL: the request was answered. ret_by: who he is, when he acts (a
 * reference), else NULL. */
struct api_user *front_user(struct auth *a, struct http_request *r, bool anonymous,
                            struct api_user **ret_by);

/* --- proxy.c: /apis/streams.drover.dev/v1/... to the streams program's unix socket,
 * streaming both ways it matters, at most PROXY_MAX at a time. */
int proxy_new(struct loop *l, const char *unix_socket, struct proxy **ret,
              struct error *e) WARN_UNUSED;
void proxy_free(struct proxy *p); /* NULL ok */
/* as: whom the other side is told by a ticket; NULL: the client's own token goes there.
 */
void proxy_serve(struct proxy *p, struct http_request *r, struct auth *auth,
                 struct api_user *as);

#endif
