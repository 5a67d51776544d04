/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Revisions over HTTP: the generic verbs serve them; here is who may read them, and
 * restoring. Who may read an object may read its earlier generations, nobody else: the
 * history of a Secret is as secret as the Secret.
 */
#include <sodium.h>
#include <stdlib.h>

#include "api/jtok.h"
#include "api/selector.h"
#include "apiserver/registry/history.h"
#include "apiserver/registry/server_internal.h"

static bool
is_revisions(const struct route *r)
{
    return r->kind != NULL && streq(r->kind->resource, HISTORY_RESOURCE);
}

static const struct object *
named(const struct api_call *c)
{
    struct store_key key = {HISTORY_RESOURCE, c->route.ns, c->route.name};

    return *c->route.name == '\0' ? NULL : store_get(c->server->store, &key);
}

/* "runs.drover.dev" -> resource "runs", group "drover.dev". */
static void
split_resource(const struct api_call *c, struct authz_attributes *a,
               struct history_attributes *buf)
{
    const struct kind *k = kinds_by_resource(c->server->kinds, buf->resource);
    char *dot = strchr(buf->resource, '.');

    if (k != NULL && !k->namespaced)
        a->ns = "";
    a->group = "";
    if (dot != NULL) {
        *dot = '\0';
        a->group = dot + 1;
    }
    a->resource = buf->resource;
    a->name = buf->name;
}

/* A list that does not say of which kind needs the right to all kinds. */
static void
from_selector(const struct api_call *c, struct authz_attributes *a,
              struct history_attributes *buf)
{
    struct selector *fields = NULL;
    struct error e = ERROR_INIT;
    const char *value = NULL;

    a->group = a->resource = "*";
    a->name = "";
    a->label_selector = a->field_selector = NULL;
    if (selector_parse_fields(c->route.kind, call_query(c, "fieldSelector"), &fields,
                              &e) < 0 ||
        fields == NULL)
        return;
    value = selector_requires(fields, "of.resource");
    if (value != NULL && *value != '\0' && strlen(value) < sizeof(buf->resource)) {
        snprintf(buf->resource, sizeof(buf->resource), "%s", value);
        value = selector_requires(fields, "of.name");
        snprintf(buf->name, sizeof(buf->name), "%.253s", value == NULL ? "" : value);
        split_resource(c, a, buf);
    }
    selector_free(fields);
}

bool
history_authz(const struct api_call *c, struct authz_attributes *a,
              struct history_attributes *buf)
{
    const struct object *o;

    if (!is_revisions(&c->route))
        return true;
    /* An agent reads what its jobs use now, never what was. */
    if (*c->user->instance_uid != '\0')
        return false;
    a->sub = "";
    if (streq(c->verb, "delete") || streq(c->verb, "deletecollection"))
        return true; /* the right to Revisions themselves */
    if ((o = named(c)) == NULL) {
        from_selector(c, a, buf);
        return true;
    }
    if (!object_get_string(o, "of.resource", buf->resource, sizeof(buf->resource)) ||
        !object_get_string(o, "of.name", buf->name, sizeof(buf->name)))
        return false;
    split_resource(c, a, buf);
    return true;
}

/* --- restoring --- */

struct restore {
    struct api_call *call;
    struct object *revision;
};

static void
on_restored(void *arg, const struct write_result *r)
{
    struct api_call *c = arg;
    struct str body = STR_INIT(2 * OBJECT_MAX_BYTES);

    if (r->obj == NULL) {
        call_problem(c, r->problem);
        return;
    }
    object_write(r->obj, &body);
    call_json(c, 201, &body);
}

static int
prepare(struct api_call *c, const struct object *revision, struct write_req *w,
        struct str *body, struct problem *p)
{
    char resource[ROUTE_SEGMENT_MAX] = "";

    if (revision == NULL)
        return problem_not_found(p);
    if (!object_get_string(revision, "of.resource", resource, sizeof(resource)) ||
        (w->kind = kinds_by_resource(c->server->kinds, resource)) == NULL)
        return problem_set(p, ERR_NOT_FOUND, "the kind \"%s\" is not served any more",
                           resource);
    int rc = revision_object(revision, history_keys(c->server->history), body, &p->e);
    if (rc < 0)
        return rc;
    w->body = (struct span){body->ptr, body->len};
    return write_options_parse(c, &w->opt, p);
}

/* Creating needs that right too; reading it was asked for in call.c. */
static bool
may_create(const struct api_call *c, const struct kind *k, struct str *reason)
{
    const struct api_hooks *h = &c->server->hooks;
    struct authz_attributes a = {.user = c->user,
                                 .verb = "create",
                                 .group = k->group,
                                 .resource = k->plural,
                                 .sub = "",
                                 .ns = k->namespaced ? c->route.ns : "",
                                 .name = ""};

    return h->authorize == NULL || h->authorize(h->arg, &a, reason);
}

static void
restore(struct api_call *c)
{
    const struct object *revision = named(c);
    auto_str body = STR_INIT(2 * OBJECT_MAX_BYTES);
    struct write_req w = {.type = WRITE_CREATE, .ns = c->route.ns, .name = "", .sub = ""};
    auto_str reason = STR_INIT(256);
    auto_problem p;

    problem_init(&p, c->route.kind, c->route.name);
    int rc = prepare(c, revision, &w, &body, &p);
    if (rc < 0 || w.kind == NULL) {
        call_problem(c, &p);
    } else if (!may_create(c, w.kind, &reason)) {
        c->verb = "create";
        call_forbidden(c, reason.ptr);
    } else {
        w.user = c->user;
        if (!w.kind->namespaced)
            w.ns = "";
        registry_write(c->server, &w, on_restored, c);
    }
    sodium_memzero(body.ptr, body.len);
}

/* The object as it was declared, of a Secret too. */
static void
show(struct api_call *c)
{
    const struct object *revision = named(c);
    struct str body = STR_INIT(2 * OBJECT_MAX_BYTES);
    auto_problem p;

    problem_init(&p, c->route.kind, c->route.name);
    if (revision == NULL)
        problem_not_found(&p);
    else if (revision_object(revision, history_keys(c->server->history), &body, &p.e) ==
             0) {
        call_json(c, 200, &body);
        return;
    }
    str_done(&body);
    call_problem(c, &p);
}

bool
history_serve(struct api_call *c)
{
    const struct route *r = &c->route;
    bool post = streq(c->req.method, "POST");

    if (!is_revisions(r) || *r->name == '\0' ||
        !(streq(r->sub, "restore") || streq(r->sub, "object")))
        return false;
    if (streq(r->sub, "restore") && post)
        restore(c);
    else if (streq(r->sub, "object") && streq(c->req.method, "GET"))
        show(c);
    else
        call_error(c, ERR_UNSUPPORTED,
                   "the server does not allow this method on the requested resource");
    return true;
}
