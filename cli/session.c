/* SPDX-License-Identifier: Apache-2.0 */
/* Context, client, streamed GETs. */
#include "cli/session.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

enum { REPLY_MAX = 256 << 20, LINE_MAX = 8 << 20 };

bool
session_option(struct session *s, int c, const char *value)
{
    switch (c) {
    case 'n':
        s->ns_option = value;
        return true;
    case 'A':
        s->all_namespaces = true;
        return true;
    case OPT_KUBECONFIG:
        s->kubeconfig = value;
        return true;
    case OPT_CONTEXT:
        s->context = value;
        return true;
    default:
        return false;
    }
}

int
session_open(struct session *s, struct error *e)
{
    if (client_context_load(s->kubeconfig, s->context, &s->ctx, e) < 0)
        return -(int)e->code;
    s->open = true;
    client_context_target(&s->ctx, &s->target);
    s->target.user_agent = "drover/" DROVER_VERSION;
    s->client = client_http_new(&s->target);
    s->ns = s->ns_option != NULL                        ? s->ns_option
            : s->ctx.ns != NULL && s->ctx.ns[0] != '\0' ? s->ctx.ns
                                                        : "default";
    return 0;
}

void
session_close(struct session *s)
{
    if (!s->open)
        return;
    client_free(s->client);
    client_context_done(&s->ctx);
    s->open = false;
}

int
session_get_json(struct session *s, const char *path, const char *accept, json_t **ret,
                 struct error *e)
{
    auto_str body = STR_INIT(REPLY_MAX);
    struct client_request r = {
        .method = "GET", .path = path, .accept = accept, .timeout_ms = 60000};
    json_error_t je;

    if (client_do(s->client, &r, &body, e) < 0)
        return -(int)e->code;
    *ret = json_loadb(body.ptr, body.len, 0, &je);
    if (*ret == NULL)
        return error_set(e, ERR_PROVIDER, "the server sent no JSON for %s: %s", path,
                         je.text);
    return 0;
}

void
session_warn_idle(struct session *s)
{
    struct client_request r = {.method = "GET", .path = "/healthz/controllers"};
    struct error e = ERROR_INIT;
    auto_http_reply reply = {0};
    static const char before[] = "internal server error: ";

    http_reply_init(&reply, 4096);
    if (client_raw(s->client, &r, &reply, &e) < 0 || reply.status != 500)
        return;
    const char *why = strstr(reply.body.ptr, before);
    why = why == NULL ? reply.body.ptr : why + strlen(before);
    fprintf(stderr, "warning: %.*s; nothing is placed, started or ended meanwhile\n",
            (int)strcspn(why, "\n"), why);
}

/* --- streams
 * ------------------------------------------------------------------------------- */

struct line_reader {
    struct str line;
    bool (*fn)(void *arg, struct span line);
    void *arg;
    bool stopped;
};

static bool
on_bytes(void *arg, const char *bytes, size_t n)
{
    struct line_reader *lr = arg;

    while (n > 0) {
        const char *nl = memchr(bytes, '\n', n);
        size_t part = nl == NULL ? n : (size_t)(nl - bytes);
        str_add(&lr->line, bytes, part);
        if (nl == NULL)
            return true;
        if (lr->line.len > 0 &&
            !lr->fn(lr->arg, (struct span){lr->line.ptr, lr->line.len})) {
            lr->stopped = true;
            return false;
        }
        str_reset(&lr->line);
        bytes += part + 1;
        n -= part + 1;
    }
    return true;
}

/* The body of a refusal was collected, not streamed. */
static int
reply_error(const struct http_reply *reply, struct error *e)
{
    return client_reply_error(reply->status,
                              (struct span){reply->body.ptr, reply->body.len}, e);
}

int
session_stream_lines(struct session *s, const char *path, const char *accept,
                     int timeout_ms, bool (*fn)(void *arg, struct span line), void *arg,
                     struct error *e)
{
    struct http_call call = {
        .method = "GET", .path = path, .accept = accept, .timeout_ms = timeout_ms};
    struct line_reader lr = {.line = STR_INIT(LINE_MAX), .fn = fn, .arg = arg};
    auto_http_reply reply = {0};
    struct http_conn *c = http_conn_new(&s->target);

    http_reply_init(&reply, 65536);
    int rc = http_conn_stream(c, &call, on_bytes, &lr, NULL, &reply, e);
    http_conn_free(c);
    if (rc == 0 && !lr.stopped && reply.status / 100 != 2)
        rc = reply_error(&reply, e);
    str_done(&lr.line);
    return rc;
}

int
session_stream_bytes(const struct http_target *t, const char *path, int timeout_ms,
                     bool (*fn)(void *arg, const char *bytes, size_t n), void *arg,
                     struct error *e)
{
    struct http_call call = {.method = "GET", .path = path, .timeout_ms = timeout_ms};
    auto_http_reply reply = {0};
    struct http_conn *c = http_conn_new(t);

    http_reply_init(&reply, 65536);
    int rc = http_conn_stream(c, &call, fn, arg, NULL, &reply, e);
    http_conn_free(c);
    if (rc == 0 && reply.status != 0 && reply.status / 100 != 2)
        rc = reply_error(&reply, e);
    return rc;
}

char *
session_streams_url(struct session *s)
{
    json_t *group = NULL;
    struct error e = ERROR_INIT;
    char *url = NULL;

    if (s->ctx.unix_socket != NULL ||
        session_get_json(s, "/apis/streams.drover.dev", NULL, &group, &e) < 0)
        return NULL;
    const json_t *first = json_array_get(js_get(group, "serverAddressByClientCIDRs"), 0);
    const char *address = js(first, "serverAddress");
    if (address[0] != '\0')
        url = xasprintf("https://%s", address);
    json_decref(group);
    return url;
}

/* --- JSON
 * ------------------------------------------------------------------------------------ */

const json_t *
js_get(const json_t *o, const char *path)
{
    char key[64];

    while (o != NULL) {
        size_t n = strcspn(path, ".");
        if (n >= sizeof(key))
            return NULL;
        memcpy(key, path, n);
        key[n] = '\0';
        o = json_object_get(o, key);
        if (path[n] == '\0')
            return o;
        path += n + 1;
    }
    return NULL;
}

const char *
js(const json_t *o, const char *path)
{
    const char *s = json_string_value(js_get(o, path));

    return s == NULL ? "" : s;
}

int64_t
js_int(const json_t *o, const char *path, int64_t fallback)
{
    const json_t *v = js_get(o, path);

    return json_is_integer(v) ? json_integer_value(v) : fallback;
}

void
cli_age(const char *rfc3339, char *out, size_t size)
{
    int64_t then;

    out[0] = '\0';
    if (clock_parse(rfc3339, strlen(rfc3339), &then))
        clock_human((clock_wall_ns() - then) / 1000000000, out, size);
}

bool
cli_final_phase(const char *phase)
{
    return streq(phase, "Done") || streq(phase, "Failed") || streq(phase, "Terminated");
}
