/* SPDX-License-Identifier: Apache-2.0 */
/* Client transport over HTTP: TCP, TLS, or a unix socket. One connection per client. */
#include <string.h>

#include "base/mem.h"
#include "client/client.h"
#include "client/target_copy.h"

struct client_http {
    struct target_copy target;
    struct http_conn *conn;
};

static void *
client_http_make(const struct http_target *target)
{
    struct client_http *h = xnew(struct client_http);

    target_copy_init(&h->target, target);
    h->conn = http_conn_new(&h->target.view);
    return h;
}

static void *
client_http_clone(void *self)
{
    struct client_http *h = self;

    return client_http_make(&h->target.view);
}

static void
client_http_free(void *self)
{
    struct client_http *h = self;

    http_conn_free(h->conn);
    target_copy_done(&h->target);
    free(h);
}

static int
client_http_request(void *self, const struct client_request *r, struct http_reply *reply,
                    struct error *e)
{
    struct client_http *h = self;
    struct http_call call = {
        .method = r->method,
        .path = r->path,
        .content_type = r->content_type,
        .accept = r->accept != NULL ? r->accept : "application/json",
        .body = r->body,
        .body_len = r->body_len,
        .timeout_ms = r->timeout_ms,
    };

    return http_conn_do(h->conn, &call, reply, e);
}

static const struct client_ops client_http_ops = {
    .request = client_http_request,
    .clone = client_http_clone,
    .free = client_http_free,
};

struct client *
client_http_new(const struct http_target *target)
{
    return client_new(&client_http_ops, client_http_make(target));
}
