/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transport-independent half of a client: one request, its reply, and the error that
 * a Status reply stands for. client_objects.c builds the typed calls on top.
 */
#include "client/client.h"

#include <string.h>

#include "base/mem.h"

enum { CLIENT_MAGIC = 0x434c4e54, REPLY_MIN = 64 * 1024, REPLY_MAX = 64 << 20 };

struct client {
    uint32_t magic;
    const struct client_ops *ops;
    void *self;
    json_t *last_status; /* of the last call when it failed with a Status, or NULL */
};

struct client *
client_new(const struct client_ops *ops, void *self)
{
    struct client *c = xnew(struct client);

    c->magic = CLIENT_MAGIC;
    c->ops = ops;
    c->self = self;
    return c;
}

struct client *
client_clone(const struct client *c)
{
    bug_if(c->magic != CLIENT_MAGIC);
    return client_new(c->ops, c->ops->clone(c->self));
}

void
client_free(struct client *c)
{
    if (c == NULL)
        return;
    bug_if(c->magic != CLIENT_MAGIC);
    c->ops->free(c->self);
    json_decref(c->last_status);
    free(c);
}

const json_t *
client_last_status(const struct client *c)
{
    return c->last_status;
}

int
client_raw(struct client *c, const struct client_request *r, struct http_reply *ret,
           struct error *e)
{
    bug_if(c->magic != CLIENT_MAGIC);
    json_decref(c->last_status);
    c->last_status = NULL;
    return c->ops->request(c->self, r, ret, e);
}

/* A Status document from the body, or NULL. Owned by the caller. */
static json_t *
parse_status(struct span body)
{
    json_t *doc = json_loadb(body.ptr, body.len, 0, NULL);
    const char *kind = json_string_value(json_object_get(doc, "kind"));

    if (kind != NULL && streq(kind, "Status"))
        return doc;
    json_decref(doc);
    return NULL;
}

static int
status_error(int http, const json_t *status, struct span body, struct error *e)
{
    const char *reason = json_string_value(json_object_get(status, "reason"));
    const char *message = json_string_value(json_object_get(status, "message"));
    const json_t *details = json_object_get(status, "details");
    const json_t *retry = json_object_get(details, "retryAfterSeconds");
    int rc;

    if (message != NULL) {
        rc = error_set(e, error_from_http(http, reason), "%s", message);
    } else {
        struct span text = {body.ptr, body.len < 200 ? body.len : 200};
        while (text.len > 0 && strchr("\r\n\t ", text.ptr[text.len - 1]) != NULL)
            text.len--;
        rc = error_set(e, error_from_http(http, NULL),
                       "the server answered %d: " SPAN_FMT, http, SPAN_ARG(text));
    }
    if (json_is_integer(retry) && json_integer_value(retry) > 0 &&
        json_integer_value(retry) < 86400)
        e->retry_after_ms = (uint32_t)json_integer_value(retry) * 1000;
    return rc;
}

int
client_reply_error(int status, struct span body, struct error *e)
{
    json_t *doc = parse_status(body);
    int rc = status_error(status, doc, body, e);

    json_decref(doc);
    return rc;
}

int
client_do(struct client *c, const struct client_request *r, struct str *ret_body,
          struct error *e)
{
    size_t max = ret_body == NULL ? REPLY_MAX : ret_body->max;
    auto_http_reply reply;

    http_reply_init(&reply, max < REPLY_MIN ? REPLY_MIN : max);
    int rc = client_raw(c, r, &reply, e);
    if (rc < 0)
        return rc;
    struct span body = {reply.body.ptr, reply.body.len};
    if (reply.status < 200 || reply.status > 299) {
        c->last_status = parse_status(body);
        rc = status_error(reply.status, c->last_status, body, e);
        if (e->retry_after_ms == 0)
            e->retry_after_ms = reply.retry_after_ms;
        return rc;
    }
    if (ret_body == NULL)
        return 0;
    if (ret_body->len > 0) {
        str_add(ret_body, body.ptr, body.len);
    } else { /* takes the buffer over instead of copying it */
        str_done(ret_body);
        *ret_body = reply.body;
        ret_body->max = max;
        str_init(&reply.body, 0);
    }
    if (ret_body->toobig || ret_body->len > max)
        return error_set(e, ERR_TOO_LARGE, "the reply is larger than %zu bytes", max);
    return 0;
}
