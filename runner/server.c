/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests to the API server over the loop's HTTP client: queueing, authentication, and
 * Status replies turned into errors.
 */
#include "runner/server.h"

#include <sys/queue.h>

#include "base/id.h"
#include "base/mem.h"
#include "client/client.h"

#define REPLY_MAX (8 * 1024 * 1024)
#define TIMEOUT_MS 15000
#define LANES 2
/* With so many waiting for each running request, one more connection is worth it. */
#define BACKLOG 4
/* A connection that was idle for longer is closed at the next request: more than the time
 * between two renewals of the lease, so that one stays. */
#define IDLE_SECONDS 15

int64_t
backoff_next_ms(struct backoff *b, int64_t min_ms, int64_t max_ms)
{
    unsigned shift = b->failures < 16 ? b->failures : 16;
    int64_t delay = min_ms << shift;
    if (delay > max_ms)
        delay = max_ms;
    b->failures++;
    return delay + id_uniform((uint32_t)(delay / 4) + 1);
}

struct server_call {
    struct server *server;
    struct server_call **slot;
    struct http_transfer *transfer; /* NULL while waiting */
    server_reply_fn *on_reply;
    void *arg;
    bool counted, own_bearer;
    unsigned lane; /* 0: the API server, 1: another one */
    TAILQ_ENTRY(server_call) link;
    /* what to send */
    char *method, *path, *content_type, *bearer, *url, *ca_pem;
    void *body;
    size_t body_len;
    int timeout_ms;
};
TAILQ_HEAD(call_list, server_call);

struct server {
    struct loop *loop;
    struct http_multi *multi;
    char *url, *ca_pem, *bearer;
    struct call_list waiting[LANES], running;
    unsigned in_flight[LANES], n_waiting[LANES];
    int idle_seconds;
    uint64_t started_turn; /* of the newest request */
    void (*unauthorized)(void *arg);
    void *unauthorized_arg;
};

struct server *
server_new(struct loop *l, struct http_multi *m)
{
    struct server *s = xnew(struct server);
    s->loop = l;
    s->multi = m;
    s->idle_seconds = IDLE_SECONDS;
    for (unsigned lane = 0; lane < LANES; lane++)
        TAILQ_INIT(&s->waiting[lane]);
    TAILQ_INIT(&s->running);
    return s;
}

static void leave(struct server_call *c);

static void
call_free(struct server_call *c)
{
    free(c->method);
    free(c->path);
    free(c->content_type);
    free(c->bearer);
    free(c->url);
    free(c->ca_pem);
    free(c->body);
    free(c);
}

void
server_free(struct server *s)
{
    if (s == NULL)
        return;
    struct server_call *c;
    for (unsigned lane = 0; lane < LANES; lane++) {
        while ((c = TAILQ_FIRST(&s->waiting[lane])) != NULL) {
            leave(c);
            call_free(c);
        }
    }
    while ((c = TAILQ_FIRST(&s->running)) != NULL) {
        struct http_transfer *t = c->transfer;
        leave(c);
        http_transfer_cancel(t);
        call_free(c);
    }
    free(s->url);
    free(s->ca_pem);
    free(s->bearer);
    free(s);
}

static void
replace(char **field, const char *value)
{
    if (value == NULL || (*field != NULL && streq(*field, value)))
        return;
    free(*field);
    *field = xstrdup(value);
}

void
server_set(struct server *s, const char *url, const char *ca_pem, const char *bearer)
{
    replace(&s->url, url);
    replace(&s->ca_pem, ca_pem);
    replace(&s->bearer, bearer);
}

void
server_target(const struct server *s, struct http_target *ret)
{
    *ret = (struct http_target){.url = s->url,
                                .ca_pem = s->ca_pem,
                                .bearer = s->bearer,
                                .idle_seconds = s->idle_seconds,
                                .user_agent = "drover-runner/" DROVER_VERSION};
}

struct http_multi *
server_multi(struct server *s)
{
    return s->multi;
}

void
server_set_idle(struct server *s, int seconds)
{
    s->idle_seconds = seconds;
}

bool
server_settled(const struct server *s)
{
    struct loop_stats stats;
    loop_stats(s->loop, &stats);
    return stats.turns > s->started_turn + 2;
}

void
server_on_unauthorized(struct server *s, void (*fn)(void *arg), void *arg)
{
    s->unauthorized = fn;
    s->unauthorized_arg = arg;
}

/* --- calls ---------------------------------------------------------------------------
 */

static void
status_error(const json_t *doc, int status, struct error *e)
{
    const char *reason = json_string_value(json_object_get(doc, "reason"));
    const char *message = json_string_value(json_object_get(doc, "message"));
    error_set(e, error_from_http(status, reason), "%s",
              message != NULL ? message : "the server answered without an explanation");
}

static void start_next(struct server *s);

static void
unqueue(struct server_call *c)
{
    TAILQ_REMOVE(&c->server->waiting[c->lane], c, link);
    c->server->n_waiting[c->lane]--;
}

static void
leave(struct server_call *c)
{
    struct server *s = c->server;
    if (c->transfer != NULL)
        TAILQ_REMOVE(&s->running, c, link);
    else
        unqueue(c);
    if (c->counted)
        s->in_flight[c->lane]--;
    if (c->slot != NULL)
        *c->slot = NULL;
}

static void
on_done(void *arg, const struct http_reply *r, const struct error *e)
{
    struct server_call *c = arg;
    struct server *s = c->server;
    struct server_reply reply = {.error = *e};
    json_t *doc = NULL;

    if (e->code == ERR_OK) {
        reply.status = r->status;
        if (r->body.len > 0)
            doc = json_loadb(r->body.ptr, r->body.len, 0, NULL);
        if (r->status < 200 || r->status > 299) {
            status_error(doc, r->status, &reply.error);
            reply.error.retry_after_ms = r->retry_after_ms;
        }
    }
    reply.doc = doc;
    bool ours = !c->own_bearer;
    leave(c);
    c->on_reply(c->arg, &reply);
    call_free(c);
    json_decref(doc);
    if (reply.status == 401 && ours && s->unauthorized != NULL)
        s->unauthorized(s->unauthorized_arg);
    start_next(s);
}

static void
send_call(struct server_call *c)
{
    static const struct http_transfer_cbs cbs = {.on_done = on_done};
    struct server *s = c->server;
    struct http_target target;

    server_target(s, &target);
    if (c->lane != 0) {
        target.url = c->url;
        target.ca_pem = c->ca_pem;
    }
    if (c->own_bearer)
        target.bearer = c->bearer;
    struct http_call call = {.method = c->method,
                             .path = c->path,
                             .content_type = c->content_type,
                             .accept = "application/json",
                             .owned_body = c->body,
                             .body_len = c->body_len,
                             .timeout_ms = c->timeout_ms};
    c->body = NULL;
    struct loop_stats stats;
    loop_stats(s->loop, &stats);
    s->started_turn = stats.turns;
    c->transfer = http_multi_start(s->multi, &target, &call, REPLY_MAX, &cbs, c);
    TAILQ_INSERT_TAIL(&s->running, c, link);
}

/* One at a time is what a few jobs need; a crowd shares commits of the server. */
static bool
has_room(const struct server *s, unsigned lane)
{
    static const unsigned most[LANES] = {SERVER_IN_FLIGHT, STREAMS_IN_FLIGHT};
    unsigned n = lane == 0 ? 1 + s->n_waiting[lane] / BACKLOG : most[lane];
    return s->in_flight[lane] < (n < most[lane] ? n : most[lane]);
}

static void
start_next(struct server *s)
{
    for (unsigned lane = 0; lane < LANES; lane++) {
        struct server_call *c;
        while (has_room(s, lane) && (c = TAILQ_FIRST(&s->waiting[lane])) != NULL) {
            unqueue(c);
            c->counted = true;
            s->in_flight[lane]++;
            send_call(c);
        }
    }
}

static void
set_body(struct server_call *c, const struct server_request *r)
{
    if (r->body != NULL) {
        c->body = json_dumps(r->body, JSON_COMPACT | JSON_ENCODE_ANY);
        bug_if(c->body == NULL);
        c->body_len = strlen(c->body);
    } else if (r->owned_bytes != NULL) {
        c->body = r->owned_bytes;
        c->body_len = r->n_bytes;
    } else if (r->n_bytes > 0) {
        c->body = xmemdup(r->bytes, r->n_bytes);
        c->body_len = r->n_bytes;
    }
    if (c->body != NULL)
        c->content_type =
            xstrdup(r->content_type != NULL ? r->content_type : "application/json");
}

void
server_call(struct server *s, struct server_call **slot, const struct server_request *r)
{
    bug_if(slot == NULL || *slot != NULL);
    struct server_call *c = xnew(struct server_call);
    c->server = s;
    c->slot = slot;
    *slot = c;
    c->on_reply = r->on_reply;
    c->arg = r->arg;
    c->method = xstrdup(r->method);
    c->path = xstrdup(r->path);
    c->timeout_ms = r->timeout_ms != 0 ? r->timeout_ms : TIMEOUT_MS;
    set_body(c, r);
    if (r->bearer != NULL) {
        c->own_bearer = true;
        c->bearer = xstrdup(r->bearer);
    }
    if (r->target != NULL) {
        c->lane = 1;
        c->url = xstrdup(r->target->url);
        c->ca_pem = r->target->ca_pem != NULL ? xstrdup(r->target->ca_pem) : NULL;
    }
    if (r->urgent) {
        send_call(c);
        return;
    }
    TAILQ_INSERT_TAIL(&s->waiting[c->lane], c, link);
    s->n_waiting[c->lane]++;
    start_next(s);
}

static void
no_reply(void *arg, const struct server_reply *r)
{
    UNUSED(arg);
    UNUSED(r);
}

/* A running request ends by itself, unheard: it keeps its connection for the next one. */
void
server_call_cancel(struct server_call **slot)
{
    struct server_call *c = *slot;
    if (c == NULL)
        return;
    *slot = NULL;
    c->slot = NULL;
    c->on_reply = no_reply;
    if (c->transfer == NULL) {
        leave(c);
        call_free(c);
    }
}

void
server_path(struct str *out, const struct resource *r, const char *ns, const char *name,
            const char *sub)
{
    client_path(out, r, ns, name, sub);
}
