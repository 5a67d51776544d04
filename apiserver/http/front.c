/* SPDX-License-Identifier: Apache-2.0 */
/* Bridges HTTP requests and calls of the registry. */
#include "apiserver/http/front.h"

#include <stdlib.h>
#include <strings.h>

#include "api/jtok.h"
#include "apiserver/http/visit.h"
#include "apiserver/registry/answer.h"
#include "base/clock.h"
#include "base/mem.h"

#define STREAMS_PREFIX "/apis/streams.drover.dev/v1/"

struct front {
    struct api_server *server;
    struct auth *auth;
    struct proxy *proxy;
    struct health *health;
    struct limits *limits;
    struct audit *audit;
    void (*metrics)(void *arg, struct str *out);
    void *metrics_arg;
    bool anonymous, stopping;
    size_t open;
    uint64_t authenticated, unauthenticated;
};

struct front *
front_new(const struct front_opts *o)
{
    struct front *f = xnew(struct front);

    f->server = o->server;
    f->auth = o->auth;
    f->proxy = o->proxy;
    f->anonymous = o->anonymous;
    f->health = health_new(o->server);
    f->limits = limits_new(&o->limits);
    f->audit = o->audit;
    f->metrics = o->metrics;
    f->metrics_arg = o->arg;
    return f;
}

void
front_free(struct front *f)
{
    if (f == NULL)
        return;
    health_free(f->health);
    limits_free(f->limits);
    free(f);
}

void
front_set_ready(struct front *f)
{
    health_set(f->health, true, f->stopping);
}

void
front_set_stopping(struct front *f)
{
    f->stopping = true;
    health_set(f->health, true, true);
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
    struct visit *v = arg;

    http_add_header(v->r, name, value);
}

static void
on_respond(void *arg, int status, const char *type, struct str *body)
{
    struct visit *v = arg;

    v->call = NULL;
    if (status >= 400)
        front_note_status(v->r, body);
    audit_response(v->audit, body->ptr, body->len);
    http_respond_str(v->r, status, type, body);
}

static void
on_respond_reader(void *arg, int status, const char *type, uint64_t length,
                  const struct api_reader *reader)
{
    struct visit *v = arg;

    v->call = NULL;
    if (audit_wants_response(v->audit)) /* lists come in slices, too large for a line */
        audit_annotate(v->audit, "audit.drover.dev/response-object", "omitted: a list");
    http_respond_reader(v->r, status, type, length, reader->read, reader->free_arg,
                        reader->arg);
}

static void *
on_respond_stream(void *arg, int status, const char *type,
                  const struct api_filler *filler)
{
    struct visit *v = arg;

    v->call = NULL;
    audit_started(v->audit, status);
    return http_respond_stream(v->r, status, type, filler->fill, filler->free_arg,
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
    struct visit *v = state;

    UNUSED(aborted);
    if (v->call != NULL)
        api_call_abort(v->call);
    v->call = NULL;
}

static void
serve_call(struct visit *v, struct http_request *r)
{
    struct api_request req = {.method = http_method(r),
                              .path = http_path(r),
                              .query = get_query,
                              .header = get_header,
                              .src = r,
                              .body = http_body(r),
                              .user = v->user};

    v->called = true;
    http_set_state(r, v, on_close);
    v->call = api_call_new(v->front->server, &req, &responder_ops, v);
    api_call_run(v->call);
}

/* --- metrics
 * ------------------------------------------------------------------------------ */

static void
write_metrics(const struct front *f, struct str *out)
{
    api_server_metrics(f->server, out);
    limits_metrics(f->limits, out);
    audit_metrics(f->audit, out);
    health_metrics(f->health, out);
    str_addf(out,
             "# TYPE authentication_attempts counter\n"
             "authentication_attempts{result=\"success\"} %llu\n"
             "authentication_attempts{result=\"failure\"} %llu\n"
             "# TYPE drover_http_open_requests gauge\n"
             "drover_http_open_requests %zu\n",
             (unsigned long long)f->authenticated, (unsigned long long)f->unauthenticated,
             f->open);
    if (f->metrics != NULL)
        f->metrics(f->metrics_arg, out);
}

static void
serve_metrics(struct front *f, struct http_request *r, const struct api_user *user)
{
    struct authz_attributes a = {.user = user, .verb = "get", .path = "/metrics"};
    auto_str reason = STR_INIT(256);
    struct str body = STR_INIT(8 << 20);

    if (!auth_authorize(f->auth, &a, &reason)) {
        front_refuse(r, ERR_FORBIDDEN,
                     "forbidden: this user cannot get path \"/metrics\"");
        return;
    }
    write_metrics(f, &body);
    http_respond_str(r, 200, "text/plain; version=0.0.4; charset=utf-8", &body);
}

/* --- one request
 * --------------------------------------------------------------------------- */

static bool
is_watch(const struct http_request *r)
{
    const char *v = http_query(r, "watch");

    return v != NULL && strcasecmp(v, "false") != 0 && !streq(v, "0") &&
           (streq(http_method(r), "GET") || streq(http_method(r), "HEAD"));
}

static void
begin_audit(struct visit *v, struct http_request *r, bool watch)
{
    struct front *f = v->front;
    struct route route = {0};
    char source[80];

    if (f->audit == NULL)
        return;
    route_parse(api_server_kinds(f->server), http_path(r), &route);
    http_peer_address(r, source, sizeof(source));
    struct audit_request a = {.id = v->id,
                              .verb = call_verb_of(http_method(r), &route, watch),
                              .route = &route,
                              .path = http_path(r),
                              .uri = http_raw_path(r),
                              .user_agent = http_header(r, "User-Agent"),
                              .source = source,
                              .user = v->by != NULL ? v->by : v->user,
                              .as = v->by != NULL ? v->user : NULL,
                              .body = http_body(r)};
    v->audit = audit_begin(f->audit, &a);
}

/* False: answered. */
static bool
enter(struct visit *v, struct http_request *r, bool long_running)
{
    const struct api_user *u = v->by != NULL ? v->by : v->user;
    const char *method = http_method(r);
    bool reads = streq(method, "GET") || streq(method, "HEAD");
    enum limits_class class = long_running ? LIMITS_LONG
                              : reads      ? LIMITS_READ
                                           : LIMITS_WRITE;
    char name[128];
    const char *key = u->name;
    unsigned retry_s = 1;

    /* Nobody in particular: by where he comes from. */
    if (streq(u->name, "system:anonymous")) {
        http_peer_address(r, name, sizeof(name));
        key = name;
    }
    const char *why = limits_enter(v->front->limits, key, visit_lane(u), class,
                                   clock_now_ms(), &v->slot, &retry_s);
    if (why != NULL)
        front_refuse_busy(r, retry_s, why);
    return why == NULL;
}

/* The other side sees the token only: not a certificate, nor as whom somebody acts. */
static bool
proxy_needs_ticket(const struct visit *v, const struct http_request *r)
{
    return v->by != NULL || http_client_name(r) != NULL ||
           http_header(r, "Authorization") == NULL;
}

void
front_handle(void *front, struct http_request *r)
{
    struct front *f = front;
    const char *path = http_path(r);

    if (health_is(path)) {
        health_serve(f->health, r);
        return;
    }
    struct visit *v = visit_new(f, r);
    f->open++;
    if (f->stopping)
        http_add_header(r, "Connection", "close");
    v->user = front_user(f->auth, r, f->anonymous, &v->by);
    *(v->user == NULL ? &f->unauthenticated : &f->authenticated) += 1;
    bool watch = is_watch(r);
    bool streams = f->proxy != NULL && str_starts(path, STREAMS_PREFIX) &&
                   path[sizeof(STREAMS_PREFIX) - 1] != '\0';
    v->watch = watch;
    v->long_running = watch || streams;
    begin_audit(v, r, watch);
    if (v->user == NULL || !enter(v, r, v->long_running))
        return;
    if (streq(path, "/metrics"))
        serve_metrics(f, r, v->user);
    else if (streams)
        proxy_serve(f->proxy, r, f->auth, proxy_needs_ticket(v, r) ? v->user : NULL);
    else
        serve_call(v, r);
}

void
front_done(void *front, struct http_request *r, int status, bool aborted)
{
    struct front *f = front;
    struct visit *v = http_tag(r);

    if (v == NULL)
        return;
    visit_log(v, status, aborted);
    if (!v->called && status > 0)
        api_server_count(f->server, http_method(r), http_path(r), v->watch, v->started_ns,
                         status);
    audit_complete(v->audit, status, v->reason);
    limits_leave(f->limits, &v->slot);
    visit_free(v);
    f->open--;
}
