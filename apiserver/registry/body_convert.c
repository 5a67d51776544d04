/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bodies in protobuf and YAML become JSON before anything looks at them, large ones on
 * the compute pool.
 */
#include <stdlib.h>
#include <strings.h>

#include "api/protobuf.h"
#include "api/yaml.h"
#include "apiserver/registry/server_internal.h"

enum { POOL_BYTES = 64 * 1024 };

struct conversion {
    struct api_call *call;
    void (*then)(struct api_call *c);
    body_convert_fn *fn;
    struct str in; /* a copy: the peer may leave meanwhile */
    struct str out;
    struct error e;
};

static bool
is_media(const char *type, const char *name)
{
    size_t n = strlen(name);

    return strncasecmp(type, name, n) == 0 &&
           (type[n] == '\0' || type[n] == ';' || type[n] == ' ');
}

static int
yaml_to_json(struct span body, struct str *out, struct error *e)
{
    struct yaml_docs docs = {0};
    int rc = yaml_read(body.ptr, body.len, false, &docs, e);

    if (rc < 0) {
        e->code = ERR_BAD_REQUEST;
        return -ERR_BAD_REQUEST;
    }
    return body_one_document(&docs, out, e);
}

body_convert_fn *
body_conversion(const struct api_call *c)
{
    const char *type = call_header_in(c, "Content-Type");

    if (type == NULL || c->req.body.len == 0)
        return NULL;
    type += strspn(type, " ");
    if (is_media(type, PROTOBUF_MEDIA_TYPE))
        return protobuf_to_json;
    /* A patch is of its own type, which may be YAML too. */
    if (is_media(type, "application/yaml") && !streq(c->req.method, "PATCH"))
        return yaml_to_json;
    return NULL;
}

/* A path that nothing is served at, reviews included: when the kind of the body is
 * unknown too, it is the path that is wrong. */
static bool
is_nowhere(const struct api_call *c)
{
    struct route r;

    if (!route_parse(c->server->kinds, c->req.path, &r))
        return true;
    return r.kind == NULL && !streq(r.group, "authentication.k8s.io") &&
           !streq(r.group, "authorization.k8s.io");
}

/* Takes out. */
static void
converted(struct api_call *c, struct str *out, const struct error *e,
          void (*then)(struct api_call *c))
{
    str_done(&c->body);
    c->body = *out;
    bool nowhere = e->code == ERR_MEDIA_TYPE && is_nowhere(c);
    if (e->code != ERR_OK && !nowhere) {
        call_error(c, e->code, "%s", e->msg);
        return;
    }
    c->req.body = (struct span){c->body.ptr, c->body.len};
    then(c);
}

static void
convert(void *arg)
{
    struct conversion *v = arg;
    int rc = v->fn((struct span){v->in.ptr, v->in.len}, &v->out, &v->e);

    bug_if(rc < 0 && v->e.code == ERR_OK);
}

static void
on_converted(void *arg)
{
    struct conversion *v = arg;

    converted(v->call, &v->out, &v->e, v->then);
    str_done(&v->in);
    free(v);
}

void
body_convert(struct api_call *c, body_convert_fn *fn, void (*then)(struct api_call *c))
{
    struct str out = STR_INIT(2 * OBJECT_MAX_BYTES);
    struct error e = ERROR_INIT;

    if (c->req.body.len <= POOL_BYTES || c->server->pool == NULL) {
        if (fn(c->req.body, &out, &e) < 0)
            str_done(&out);
        converted(c, &out, &e, then);
        return;
    }
    struct conversion *v = xnew(struct conversion);
    v->call = c;
    v->then = then;
    v->fn = fn;
    v->out = out;
    v->e = e;
    str_init(&v->in, c->req.body.len);
    str_add(&v->in, c->req.body.ptr, c->req.body.len);
    loop_pool_run(c->server->pool, convert, on_converted, v);
}
