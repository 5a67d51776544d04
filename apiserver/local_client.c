/* SPDX-License-Identifier: Apache-2.0 */
/* Requests and watches without a socket. */
#include "apiserver/local_client.h"

#include <stdlib.h>
#include <strings.h>

enum { TURNS_MAX = 10000, BLOCK = 64 * 1024 };

struct pair {
    char *key, *value;
};

/* One request and what came of it. */
struct local_request {
    char *path;
    vec(struct pair) query;
    const char *content_type, *accept;
    struct api_call *call; /* until answered */
    bool answered;
    int status;
    struct str body;
    bool want_stream;
    struct api_filler filler; /* a stream that stays open; want_stream only */
    void (*wake)(void *arg);
    void *wake_arg;
    char content_type_out[96], warning[256];
};

/* --- path and query
 * ---------------------------------------------------------------------- */

static int
hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static char *
decode(const char *text, size_t n, bool plus)
{
    auto_str out = STR_INIT(1 << 20);

    for (size_t i = 0; i < n; i++) {
        int high = i + 2 < n && text[i] == '%' ? hex_digit(text[i + 1]) : -1;
        int low = high >= 0 ? hex_digit(text[i + 2]) : -1;
        if (low >= 0) {
            str_addc(&out, (char)(high << 4 | low));
            i += 2;
        } else {
            str_addc(&out, plus && text[i] == '+' ? ' ' : text[i]);
        }
    }
    return str_detach(&out);
}

static void
parse_target(struct local_request *q, const char *target)
{
    size_t n = strcspn(target, "?");

    q->path = decode(target, n, false);
    target += n + (target[n] == '?');
    while (*target != '\0') {
        n = strcspn(target, "&");
        const char *equals = memchr(target, '=', n);
        size_t key = equals == NULL ? n : (size_t)(equals - target);
        struct pair p = {decode(target, key, true),
                         equals == NULL ? xstrdup("")
                                        : decode(equals + 1, n - key - 1, true)};
        vec_push(&q->query, p);
        target += n + (target[n] == '&');
    }
}

static const char *
get_query(const void *src, const char *key)
{
    const struct local_request *q = src;

    for (size_t i = 0; i < q->query.len; i++) {
        if (streq(q->query.items[i].key, key))
            return q->query.items[i].value;
    }
    return NULL;
}

static const char *
get_header(const void *src, const char *name)
{
    const struct local_request *q = src;

    if (strcasecmp(name, "Content-Type") == 0)
        return q->content_type;
    if (strcasecmp(name, "Accept") == 0)
        return q->accept;
    if (strcasecmp(name, "User-Agent") == 0)
        return "drover-local/1";
    return NULL;
}

static void
request_done(struct local_request *q)
{
    if (q->call != NULL)
        api_call_abort(q->call);
    vec_foreach (p, &q->query) {
        free(p->key);
        free(p->value);
    }
    vec_done(&q->query);
    free(q->path);
    str_done(&q->body);
    if (q->filler.free_arg != NULL)
        q->filler.free_arg(q->filler.arg);
}

/* --- the responder
 * ----------------------------------------------------------------------- */

static void
answered(struct local_request *q, int status, const char *type)
{
    q->call = NULL;
    q->answered = true;
    q->status = status;
    snprintf(q->content_type_out, sizeof(q->content_type_out), "%s", type);
}

static void
on_header(void *arg, const char *name, const char *value)
{
    struct local_request *q = arg;

    if (strcasecmp(name, "Warning") == 0 && q->warning[0] == '\0')
        snprintf(q->warning, sizeof(q->warning), "%s", value);
}

static void
on_respond(void *arg, int status, const char *type, struct str *body)
{
    struct local_request *q = arg;

    answered(q, status, type);
    str_add(&q->body, body->ptr, body->len);
}

/* Reads a filler or reader to its end. */
static void
drain(struct local_request *q, http_fill_fn *fill, void *arg)
{
    ssize_t n;

    autofree char *block = xmalloc(BLOCK);
    while ((n = fill(arg, block, BLOCK)) > 0)
        str_add(&q->body, block, (size_t)n);
}

static void
on_respond_reader(void *arg, int status, const char *type, uint64_t length,
                  const struct api_reader *reader)
{
    struct local_request *q = arg;

    UNUSED(length);
    answered(q, status, type);
    drain(q, reader->read, reader->arg);
    reader->free_arg(reader->arg);
}

static void *
on_respond_stream(void *arg, int status, const char *type,
                  const struct api_filler *filler)
{
    struct local_request *q = arg;

    answered(q, status, type);
    if (q->want_stream) {
        q->filler = *filler;
        return q;
    }
    drain(q, filler->fill, filler->arg);
    filler->free_arg(filler->arg);
    return NULL;
}

static void
on_wake(void *stream)
{
    struct local_request *q = stream;

    if (q->wake != NULL)
        q->wake(q->wake_arg);
}

static const struct api_responder_ops local_ops = {
    .header = on_header,
    .respond = on_respond,
    .respond_reader = on_respond_reader,
    .respond_stream = on_respond_stream,
    .wake = on_wake,
};

static int
run(struct api_server *s, struct api_user *user, struct local_request *q,
    const char *method, struct span body, struct error *e)
{
    struct api_request req = {.method = method,
                              .path = q->path,
                              .query = get_query,
                              .header = get_header,
                              .src = q,
                              .body = body,
                              .user = user};

    q->call = api_call_new(s, &req, &local_ops, q);
    api_call_run(q->call);
    for (unsigned i = 0; !q->answered && i < TURNS_MAX; i++) {
        store_flush(api_server_store(s));
        if (!q->answered)
            loop_turn(api_server_loop(s), 0);
    }
    return q->answered ? 0 : error_set(e, ERR_TIMEOUT, "the registry gave no answer");
}

/* --- client_ops
 * -------------------------------------------------------------------------- */

struct local_client {
    struct api_server *server;
    struct api_user *user;
};

static int
client_request(void *self, const struct client_request *r, struct http_reply *reply,
               struct error *e)
{
    struct local_client *c = self;
    struct local_request q = {.content_type = r->content_type, .accept = r->accept};

    str_init(&q.body, reply->body.max);
    parse_target(&q, r->path);
    int rc =
        run(c->server, c->user, &q, r->method, (struct span){r->body, r->body_len}, e);
    if (rc == 0 && q.body.toobig)
        rc = error_set(e, ERR_TOO_LARGE, "the reply is larger than %zu bytes",
                       reply->body.max);
    if (rc == 0) {
        reply->status = q.status;
        snprintf(reply->content_type, sizeof(reply->content_type), "%s",
                 q.content_type_out);
        snprintf(reply->warning, sizeof(reply->warning), "%s", q.warning);
        str_reset(&reply->body);
        str_add(&reply->body, q.body.ptr, q.body.len);
    }
    request_done(&q);
    return rc;
}

static void *
client_dup(void *self)
{
    const struct local_client *c = self;
    struct local_client *copy = xnew(struct local_client);

    copy->server = c->server;
    copy->user = user_ref(c->user);
    return copy;
}

static void
client_drop(void *self)
{
    struct local_client *c = self;

    user_unref(c->user);
    free(c);
}

static const struct client_ops client_ops_local = {
    .request = client_request, .clone = client_dup, .free = client_drop};

struct client *
local_client_new(struct api_server *s, struct api_user *user)
{
    struct local_client *c = xnew(struct local_client);

    c->server = s;
    c->user = user_ref(user);
    return client_new(&client_ops_local, c);
}

/* --- watches
 * ----------------------------------------------------------------------------- */

struct local_watch {
    struct local_request q;
    struct str pending; /* read, not yet handed out */
    size_t off;
    bool ended;
};

int
local_watch_open(struct api_server *s, struct api_user *user, const char *path,
                 void (*wake)(void *arg), void *arg, struct local_watch **ret,
                 struct error *e)
{
    struct local_watch *w = xnew(struct local_watch);

    w->q.want_stream = true;
    w->q.wake = wake;
    w->q.wake_arg = arg;
    str_init(&w->q.body, OBJECT_MAX_BYTES);
    str_init(&w->pending, 4 * OBJECT_MAX_BYTES);
    parse_target(&w->q, path);
    int rc = run(s, user, &w->q, "GET", (struct span){NULL, 0}, e);
    if (rc == 0 && w->q.filler.fill == NULL)
        rc = error_set(e, error_from_http(w->q.status, NULL), "%.400s", w->q.body.ptr);
    if (rc < 0) {
        local_watch_close(w);
        return rc;
    }
    *ret = w;
    return 0;
}

static bool
take_line(struct local_watch *w, struct str *ret_line)
{
    char *start = w->pending.ptr + w->off;
    char *end = memchr(start, '\n', w->pending.len - w->off);

    if (end == NULL)
        return false;
    str_reset(ret_line);
    str_add(ret_line, start, (size_t)(end - start));
    w->off += (size_t)(end - start) + 1;
    if (w->off == w->pending.len) {
        str_reset(&w->pending);
        w->off = 0;
    }
    return true;
}

int
local_watch_next(struct local_watch *w, struct str *ret_line)
{
    autofree char *block = NULL;

    while (!take_line(w, ret_line)) {
        if (w->ended)
            return -1;
        if (block == NULL)
            block = xmalloc(BLOCK);
        ssize_t n = w->q.filler.fill(w->q.filler.arg, block, BLOCK);
        if (n == 0)
            return 0;
        if (n < 0)
            w->ended = true;
        else
            str_add(&w->pending, block, (size_t)n);
    }
    return 1;
}

void
local_watch_close(struct local_watch *w)
{
    if (w == NULL)
        return;
    request_done(&w->q);
    str_done(&w->pending);
    free(w);
}
