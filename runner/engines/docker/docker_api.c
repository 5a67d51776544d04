/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request to the daemon: path with the negotiated version, JSON in and out, the
 * daemon's error text kept. Built on the loop's HTTP client over the unix socket.
 */
#include "runner/engines/docker/docker.h"

#include <ctype.h>
#include <errno.h>
#include <sodium.h>

#include "base/mem.h"

#define REPLY_MAX (4 * 1024 * 1024)

struct docker_call {
    struct docker_call **slot;
    struct http_transfer *transfer;
    void (*on_data)(void *arg, const char *bytes, size_t n);
    docker_reply_fn *on_reply;
    void *arg;
};

void
docker_escape(struct str *out, const char *text)
{
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (isalnum(c) || strchr("-._~", c) != NULL)
            str_addc(out, (char)c);
        else
            str_addf(out, "%%%02X", c);
    }
}

/* Only for a 2xx reply; the body of any other is collected. */
static bool
on_data(void *arg, const char *bytes, size_t n)
{
    struct docker_call *c = arg;
    c->on_data(c->arg, bytes, n);
    return true;
}

/* Docker: {"message"}; Podman adds "cause" and "response". Plain text otherwise. */
static void
find_message(const json_t *doc, const struct str *body, char *out, size_t size)
{
    const char *m = json_string_value(json_object_get(doc, "message"));
    if (m == NULL && !json_is_object(doc))
        m = body->ptr;
    snprintf(out, size, "%s", m != NULL ? m : "");
    for (size_t n = strlen(out); n > 0 && isspace((unsigned char)out[n - 1]); n--)
        out[n - 1] = '\0';
}

static void
on_done(void *arg, const struct http_reply *r, const struct error *e)
{
    struct docker_call *c = arg;
    docker_reply_fn *fn = c->on_reply;
    void *fn_arg = c->arg;
    char message[480] = "";
    struct docker_reply reply = {.message = message};
    json_t *doc = NULL;

    if (c->slot != NULL)
        *c->slot = NULL;
    if (e->code != ERR_OK) {
        snprintf(message, sizeof(message), "%s", e->msg);
        reply.refused = e->sys == ECONNREFUSED;
    } else {
        const struct str *body = &r->body;
        reply.reached = true;
        reply.status = r->status;
        if (body->len > 0)
            doc = json_loadb(body->ptr, body->len, 0, NULL);
        if (r->status >= 400)
            find_message(doc, body, message, sizeof(message));
    }
    reply.doc = doc;
    free(c);
    fn(fn_arg, &reply);
    json_decref(doc);
}

void
docker_call_start(struct engine *en, struct docker_call **slot,
                  const struct docker_request *r)
{
    static const struct http_transfer_cbs collect = {.on_done = on_done};
    static const struct http_transfer_cbs stream = {.on_data = on_data,
                                                    .on_done = on_done};
    struct docker_call *c = xnew(struct docker_call);
    auto_str path = STR_INIT(8192);
    autofree char *body =
        r->body != NULL ? json_dumps(r->body, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;

    str_addf(&path, "%s%s", r->unversioned ? "" : en->prefix, r->path);
    c->on_data = r->on_data;
    c->on_reply = r->on_reply;
    c->arg = r->arg;
    bug_if(slot == NULL || *slot != NULL);
    c->slot = slot;
    *slot = c;
    autofree char *auth = r->registry_auth != NULL
                              ? xasprintf("X-Registry-Auth: %s", r->registry_auth)
                              : NULL;
    const char *headers[] = {auth, NULL};
    struct http_target target = {
        .url = "http://docker", .unix_socket = en->socket, .user_agent = "drover"};
    struct http_call call = {
        .method = r->method,
        .path = path.ptr,
        .content_type = body != NULL ? "application/json" : NULL,
        .headers = headers,
        .body = body,
        .body_len = body != NULL ? strlen(body) : 0,
        .timeout_ms = r->timeout_ms == 0 ? 60000 : r->timeout_ms,
        .connect_timeout_ms = 5000,
        .once = streq(r->method, "POST"),
    };
    struct http_transfer *t = http_multi_start(
        en->http, &target, &call, REPLY_MAX, r->on_data != NULL ? &stream : &collect, c);
    c->transfer = t;
    if (auth != NULL)
        sodium_memzero(auth, strlen(auth));
}

void
docker_call_cancel(struct docker_call **slot)
{
    struct docker_call *c = *slot;
    if (c == NULL)
        return;
    *slot = NULL;
    http_transfer_cancel(c->transfer);
    free(c);
}
