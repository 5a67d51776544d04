/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP front: health and metrics, authentication, and the bridge from an HTTP request
 * to a call of the registry. Requests for streams.drover.dev are handed to the streams
 * proxy. One front serves several listeners. Loop thread only.
 */
#ifndef HTTP_FRONT_H
#define HTTP_FRONT_H

#include "apiserver/auth/auth.h"
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
};
struct front *front_new(const struct front_opts *o);
void front_free(struct front *f);
/* /readyz answers 500 until this says true, and again when it says false. */
void front_set_ready(struct front *f, bool ready);
size_t front_open_requests(const struct front *f);
/* http_server_opts.handler; arg is the front. */
void front_handle(void *front, struct http_request *r);
/* Answers with a Status of the code; BUSY says when to come again. */
void front_refuse(struct http_request *r, enum err_code code, const char *message);

/* --- identity.c: who sends the request, or as whom he acts by Impersonate-* headers. A
 * reference; NULL: the request was answered. */
struct api_user *front_user(struct auth *a, struct http_request *r, bool anonymous,
                            bool *ret_acting);

/* --- proxy.c: /apis/streams.drover.dev/v1/... to the streams program's unix socket,
 * streaming both ways it matters, at most PROXY_MAX at a time. */
int proxy_new(struct loop *l, const char *unix_socket, struct proxy **ret,
              struct error *e) WARN_UNUSED;
void proxy_free(struct proxy *p); /* NULL ok */
void proxy_serve(struct proxy *p, struct http_request *r);

#endif
