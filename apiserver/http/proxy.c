/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hands requests for streams.drover.dev to the streams program, for clients that only
 * know this port (kubectl). The caller's token goes along: drover-streams authenticates
 * and authorises by itself. The upstream is read only as fast as the client takes it: one
 * block is held, then the transfer is paused.
 */
#include <stdlib.h>

#include "apiserver/http/front.h"
#include "base/id.h"

enum { PROXY_MAX = 64, BLOCK_MAX = 256 * 1024, ERROR_BODY_MAX = 64 * 1024 };

struct proxy {
    struct http_multi *multi;
    char *unix_socket;
    size_t open;
};

struct proxied {
    struct proxy *proxy;
    struct http_request *r;         /* NULL: the client left, or was answered whole */
    struct http_transfer *transfer; /* NULL: over */
    struct http_stream *stream;     /* once the headers are through */
    struct str block;
    size_t off;
    bool paused, ended, cut; /* cut: ended before its end */
    unsigned users;          /* the HTTP side and the transfer */
    struct auth *auth;
    char ticket[ID_TOKEN_MAX]; /* "": the client's own token is passed on */
};

int
proxy_new(struct loop *l, const char *unix_socket, struct proxy **ret, struct error *e)
{
    struct proxy *p = xnew(struct proxy);

    if (http_multi_new(l, &p->multi, e) < 0) {
        free(p);
        return -(int)e->code;
    }
    p->unix_socket = xstrdup(unix_socket);
    *ret = p;
    return 0;
}

void
proxy_free(struct proxy *p)
{
    if (p == NULL)
        return;
    http_multi_free(p->multi);
    free(p->unix_socket);
    free(p);
}

static void
release(struct proxied *x, unsigned users)
{
    x->users -= users;
    if (x->users > 0)
        return;
    x->proxy->open--;
    if (*x->ticket != '\0')
        auth_ticket_drop(x->auth, x->ticket);
    str_done(&x->block);
    free(x);
}

/* --- the client's side
 * ------------------------------------------------------------------- */

static ssize_t
fill(void *arg, char *buf, size_t max)
{
    struct proxied *x = arg;
    size_t n = x->block.len - x->off < max ? x->block.len - x->off : max;

    if (n == 0)
        return !x->ended ? 0 : x->cut ? HTTP_FILL_ABORT : -1;
    memcpy(buf, x->block.ptr + x->off, n);
    x->off += n;
    if (x->off == x->block.len) {
        str_reset(&x->block);
        x->off = 0;
        if (x->paused && x->transfer != NULL) {
            x->paused = false;
            http_transfer_unpause(x->transfer);
        }
    }
    return (ssize_t)n;
}

static void
ignore(void *arg)
{
    UNUSED(arg);
}

static void
on_close(void *state, bool aborted)
{
    struct proxied *x = state;
    struct http_transfer *t = x->transfer;

    UNUSED(aborted);
    x->r = NULL;
    x->stream = NULL;
    if (t != NULL) {
        x->transfer = NULL;
        http_transfer_cancel(t);
    }
    release(x, t != NULL ? 2 : 1);
}

/* --- the upstream's side
 * ----------------------------------------------------------------- */

static void
start_stream(struct proxied *x, const struct http_reply *reply)
{
    if (x->stream == NULL && x->r != NULL)
        x->stream = http_respond_stream(
            x->r, reply->status,
            reply->content_type[0] != '\0' ? reply->content_type : "text/plain", fill,
            ignore, x);
}

static void
on_headers(void *arg, const struct http_reply *reply)
{
    /* The body of a refusal does not come in pieces: it is in the reply at the end. */
    if (reply->status / 100 == 2)
        start_stream(arg, reply);
}

static bool
on_data(void *arg, const char *bytes, size_t n)
{
    struct proxied *x = arg;

    if (x->block.len > 0 && x->block.len + n > BLOCK_MAX) {
        x->paused = true;
        return false;
    }
    str_add(&x->block, bytes, n);
    if (x->stream != NULL)
        http_stream_wake(x->stream);
    return true;
}

static void
on_done(void *arg, const struct http_reply *reply, const struct error *e)
{
    struct proxied *x = arg;

    x->transfer = NULL;
    x->ended = true;
    x->cut = e->code != ERR_OK;
    if (e->code == ERR_OK && reply->status / 100 != 2)
        str_add(&x->block, reply->body.ptr, reply->body.len);
    if (e->code == ERR_OK)
        start_stream(x, reply);
    if (x->stream != NULL)
        http_stream_wake(x->stream);
    else if (x->r != NULL)
        front_refuse(x->r, ERR_UNAVAILABLE, "the log service cannot be reached");
    release(x, 1);
}

static const struct http_transfer_cbs callbacks = {on_headers, on_data, on_done};

/* The token alone, from "Bearer x". */
static const char *
token_of(const struct http_request *r)
{
    const char *text = http_header(r, "Authorization");

    text = text == NULL ? NULL : strchr(text, ' ');
    return text == NULL ? "" : text + strspn(text, " ");
}

void
proxy_serve(struct proxy *p, struct http_request *r, struct auth *auth,
            struct api_user *as)
{
    struct span body = http_body(r);

    if (p->open == PROXY_MAX) {
        front_refuse(r, ERR_BUSY,
                     "too many log requests pass the API server; use drover logs, which "
                     "asks the log service itself");
        return;
    }
    struct proxied *x = xnew(struct proxied);
    x->auth = auth;
    if (as != NULL)
        auth_ticket_new(auth, as, x->ticket);
    struct http_target target = {.url = "http://drover-streams",
                                 .unix_socket = p->unix_socket,
                                 .bearer = as != NULL ? x->ticket : token_of(r)};
    struct http_call call = {.method = http_method(r),
                             .path = http_raw_path(r),
                             .content_type = http_header(r, "Content-Type"),
                             .accept = http_header(r, "Accept"),
                             .body = body.ptr,
                             .body_len = body.len,
                             .timeout_ms = -1};
    x->proxy = p;
    x->r = r;
    x->users = 2;
    str_init(&x->block, 2 * BLOCK_MAX);
    p->open++;
    http_set_state(r, x, on_close);
    x->transfer =
        http_multi_start(p->multi, &target, &call, ERROR_BODY_MAX, &callbacks, x);
}
