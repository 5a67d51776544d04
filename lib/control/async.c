/* SPDX-License-Identifier: Apache-2.0 */
/* Both transports of async.h; a call in flight is one record in a list. */
#include "control/async.h"

#include <string.h>
#include <sys/queue.h>

#include "base/mem.h"
#include "client/target_copy.h"

enum { REPLY_MAX = 4 << 20 };

struct call {
    TAILQ_ENTRY(call) link;
    struct async_client *a;
    async_done_fn *done;
    void *arg;
    struct http_transfer *transfer;            /* http */
    char *method, *path, *content_type, *body; /* local */
    size_t body_len;
};
TAILQ_HEAD(call_list, call);

struct async_client {
    struct http_multi *multi; /* NULL: local */
    struct target_copy target;
    struct client *client;
    struct call_list calls;
    size_t n_calls;
};

struct async_client *
async_http_new(struct http_multi *m, const struct http_target *target)
{
    struct async_client *a = xnew(struct async_client);

    a->multi = m;
    target_copy_init(&a->target, target);
    TAILQ_INIT(&a->calls);
    return a;
}

struct async_client *
async_local_new(struct client *c)
{
    struct async_client *a = xnew(struct async_client);

    a->client = c;
    TAILQ_INIT(&a->calls);
    return a;
}

static void
call_free(struct call *c)
{
    TAILQ_REMOVE(&c->a->calls, c, link);
    c->a->n_calls--;
    free(c->method);
    free(c->path);
    free(c->content_type);
    free(c->body);
    free(c);
}

void
async_free(struct async_client *a)
{
    struct call *c;

    if (a == NULL)
        return;
    while ((c = TAILQ_FIRST(&a->calls)) != NULL) {
        http_transfer_cancel(c->transfer);
        call_free(c);
    }
    if (a->multi != NULL)
        target_copy_done(&a->target);
    free(a);
}

static void
finish(struct call *c, struct span body, const struct error *e)
{
    async_done_fn *done = c->done;
    void *arg = c->arg;

    call_free(c);
    done(arg, body, e);
}

static void
http_done(void *arg, const struct http_reply *reply, const struct error *result)
{
    struct error e = *result;
    struct span body = {NULL, 0};

    if (e.code == ERR_OK) {
        body = (struct span){reply->body.ptr, reply->body.len};
        if (reply->status < 200 || reply->status > 299) {
            client_reply_error(reply->status, body, &e);
            if (e.retry_after_ms == 0)
                e.retry_after_ms = reply->retry_after_ms;
        }
    }
    finish(arg, body, &e);
}

static char *
dup_or_null(const char *s)
{
    return s == NULL ? NULL : xstrdup(s);
}

void
async_start(struct async_client *a, const struct client_request *r, async_done_fn *done,
            void *arg)
{
    static const struct http_transfer_cbs cbs = {.on_done = http_done};
    struct call *c = xnew(struct call);

    c->a = a;
    c->done = done;
    c->arg = arg;
    TAILQ_INSERT_TAIL(&a->calls, c, link);
    a->n_calls++;
    if (a->multi == NULL) {
        c->method = xstrdup(r->method);
        c->path = xstrdup(r->path);
        c->content_type = dup_or_null(r->content_type);
        if (r->body != NULL)
            c->body = xmemdup(r->body, r->body_len);
        c->body_len = r->body_len;
        return;
    }
    struct http_call call = {
        .method = r->method,
        .path = r->path,
        .content_type = r->content_type,
        .accept = "application/json",
        .body = r->body,
        .body_len = r->body_len,
        .timeout_ms = r->timeout_ms,
    };
    c->transfer = http_multi_start(a->multi, &a->target.view, &call, REPLY_MAX, &cbs, c);
}

void
async_json(struct async_client *a, const struct client_request *r, const json_t *body,
           async_done_fn *done, void *arg)
{
    autofree char *text = json_dumps(body, JSON_COMPACT);
    struct client_request with_body = *r;

    bug_if(text == NULL);
    with_body.body = text;
    with_body.body_len = strlen(text);
    async_start(a, &with_body, done, arg);
}

size_t
async_in_flight(const struct async_client *a)
{
    return a->n_calls;
}

bool
async_step(struct async_client *a)
{
    struct call *c = TAILQ_FIRST(&a->calls);
    auto_str body = STR_INIT(REPLY_MAX);
    struct error e = ERROR_INIT;

    if (c == NULL || a->multi != NULL)
        return false;
    struct client_request r = {
        .method = c->method,
        .path = c->path,
        .content_type = c->content_type,
        .body = c->body,
        .body_len = c->body_len,
    };
    if (client_do(a->client, &r, &body, &e) < 0)
        finish(c, (struct span){NULL, 0}, &e);
    else
        finish(c, (struct span){body.ptr, body.len}, &e);
    return true;
}
