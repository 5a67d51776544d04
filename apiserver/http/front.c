/* SPDX-License-Identifier: Apache-2.0 */
/* Bridges HTTP requests and calls of the registry. */
#include "apiserver/http/front.h"

#include <stdlib.h>

#include "apiserver/registry/answer.h"
#include "base/mem.h"

#define STREAMS_PREFIX "/apis/streams.drover.dev/v1/"

struct front {
    struct api_server *server;
    struct auth *auth;
    struct proxy *proxy;
    bool ready, anonymous;
    size_t open;
};

/* One request; lives until its connection is through with it. */
struct exchange {
    struct front *front;
    struct http_request *r;
    struct api_call *call; /* until it is answered */
};

struct front *
front_new(const struct front_opts *o)
{
    struct front *f = xnew(struct front);

    f->server = o->server;
    f->auth = o->auth;
    f->proxy = o->proxy;
    f->anonymous = o->anonymous;
    return f;
}

void
front_free(struct front *f)
{
    free(f);
}

void
front_set_ready(struct front *f, bool ready)
{
    f->ready = ready;
}

size_t
front_open_requests(const struct front *f)
{
    return f->open;
}

/* --- the responder
 * ----------------------------------------------------------------------- */

static void
on_header(void *arg, const char *name, const char *value)
{
    struct exchange *x = arg;

    http_add_header(x->r, name, value);
}

static void
on_respond(void *arg, int status, const char *type, struct str *body)
{
    struct exchange *x = arg;

    x->call = NULL;
    http_respond_str(x->r, status, type, body);
}

static void
on_respond_reader(void *arg, int status, const char *type, uint64_t length,
                  const struct api_reader *reader)
{
    struct exchange *x = arg;

    x->call = NULL;
    http_respond_reader(x->r, status, type, length, reader->read, reader->free_arg,
                        reader->arg);
}

static void *
on_respond_stream(void *arg, int status, const char *type,
                  const struct api_filler *filler)
{
    struct exchange *x = arg;

    x->call = NULL;
    return http_respond_stream(x->r, status, type, filler->fill, filler->free_arg,
                               filler->arg);
}

static void
on_wake(void *stream)
{
    http_stream_wake(stream);
}

static const struct api_responder_ops responder_ops = {
    .header = on_header,
    .respond = on_respond,
    .respond_reader = on_respond_reader,
    .respond_stream = on_respond_stream,
    .wake = on_wake,
};

static const char *
get_query(const void *src, const char *key)
{
    return http_query(src, key);
}

static const char *
get_header(const void *src, const char *name)
{
    return http_header(src, name);
}

static void
on_close(void *state, bool aborted)
{
    struct exchange *x = state;

    UNUSED(aborted);
    if (x->call != NULL)
        api_call_abort(x->call);
    x->front->open--;
    free(x);
}

static void
serve_call(struct front *f, struct http_request *r, struct api_user *user)
{
    struct exchange *x = xnew(struct exchange);
    struct api_request req = {.method = http_method(r),
                              .path = http_path(r),
                              .query = get_query,
                              .header = get_header,
                              .src = r,
                              .body = http_body(r),
                              .user = user};

    x->front = f;
    x->r = r;
    f->open++;
    http_set_state(r, x, on_close);
    struct api_call *call = api_call_new(f->server, &req, &responder_ops, x);
    x->call = call;
    api_call_run(call);
}

/* --- answers without a call
 * -------------------------------------------------------------- */

static bool
is_health(const char *path)
{
    return str_starts(path, "/livez") || str_starts(path, "/readyz") ||
           str_starts(path, "/healthz");
}

static void
serve_health(struct front *f, struct http_request *r)
{
    const char *path = http_path(r);
    bool readyz = str_starts(path, "/readyz");
    bool ok = f->ready || !readyz;
    char name[16];
    struct str body = STR_INIT(1024);

    snprintf(name, sizeof(name), "%.*s", (int)strcspn(path + 1, "/"), path + 1);
    if (http_query(r, "verbose") != NULL || !ok) {
        str_addf(&body, "[+]ping ok\n[%c]ready %s\n%s check %s\n", f->ready ? '+' : '-',
                 f->ready ? "ok" : "failed: starting or shutting down", name,
                 ok ? "passed" : "failed");
    } else {
        str_adds(&body, "ok");
    }
    http_respond_str(r, ok ? 200 : 500, "text/plain; charset=utf-8", &body);
}

static void
serve_metrics(struct front *f, struct http_request *r, const struct api_user *user)
{
    struct authz_attributes a = {.user = user, .verb = "get", .path = "/metrics"};
    auto_str reason = STR_INIT(256);
    struct str body = STR_INIT(4 << 20);

    if (!auth_authorize(f->auth, &a, &reason)) {
        front_refuse(r, ERR_FORBIDDEN,
                     "forbidden: this user cannot get path \"/metrics\"");
        return;
    }
    api_server_metrics(f->server, &body);
    str_addf(&body,
             "# TYPE drover_http_open_requests gauge\ndrover_http_open_requests %zu\n",
             f->open);
    http_respond_str(r, 200, "text/plain; version=0.0.4; charset=utf-8", &body);
}

void
front_handle(void *front, struct http_request *r)
{
    struct front *f = front;
    const char *path = http_path(r);
    bool acting = false;

    if (is_health(path)) {
        serve_health(f, r);
        return;
    }
    struct api_user *user = front_user(f->auth, r, f->anonymous, &acting);
    if (user == NULL)
        return;
    bool streams = f->proxy != NULL && str_starts(path, STREAMS_PREFIX) &&
                   path[sizeof(STREAMS_PREFIX) - 1] != '\0';
    if (streams && acting) /* the other side sees the token only */
        front_refuse(r, ERR_FORBIDDEN, "impersonation is not supported for streams");
    else if (streq(path, "/metrics"))
        serve_metrics(f, r, user);
    else if (streams)
        proxy_serve(f->proxy, r);
    else
        serve_call(f, r, user);
    user_unref(user);
}
