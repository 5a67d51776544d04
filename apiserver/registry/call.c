/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a call: route, authorise, dispatch to a verb, answer once. */
#include <stdarg.h>
#include <stdlib.h>
#include <strings.h>

#include "apiserver/registry/server_internal.h"
#include "base/clock.h"
#include "base/log.h"

LOG_MODULE(api);

struct api_call *
api_call_new(struct api_server *s, const struct api_request *req,
             const struct api_responder_ops *ops, void *responder)
{
    struct api_call *c = xnew(struct api_call);

    c->server = s;
    c->ops = ops;
    c->responder = responder;
    c->req = *req;
    c->user = user_ref(req->user);
    c->verb = "";
    str_init(&c->body, 0);
    c->started_ns = clock_now_ns();
    s->open_calls++;
    return c;
}

static void
call_free(struct api_call *c)
{
    c->server->open_calls--;
    user_unref(c->user);
    kind_unref(c->kind);
    str_done(&c->body);
    free(c);
}

void
api_call_abort(struct api_call *c)
{
    c->ops = NULL;
}

void
call_header(struct api_call *c, const char *name, const char *value)
{
    c->cache_said = c->cache_said || streq(name, "Cache-Control");
    if (c->ops != NULL)
        c->ops->header(c->responder, name, value);
}

static void
say_cache(struct api_call *c)
{
    if (!c->cache_said)
        c->ops->header(c->responder, "Cache-Control", "no-cache, private");
}

void
call_respond(struct api_call *c, int status, const char *type, struct str *body)
{
    metrics_request(c->server->metrics, c, status);
    if (c->ops != NULL) {
        say_cache(c);
        c->ops->respond(c->responder, status, type, body);
    }
    str_done(body);
    call_free(c);
}

void
call_respond_reader(struct api_call *c, int status, const char *type, uint64_t length,
                    const struct api_reader *r)
{
    metrics_request(c->server->metrics, c, status);
    if (c->ops != NULL) {
        say_cache(c);
        c->ops->respond_reader(c->responder, status, type, length, r);
    } else {
        r->free_arg(r->arg);
    }
    call_free(c);
}

void *
call_respond_stream(struct api_call *c, int status, const char *type,
                    const struct api_filler *f, const struct api_responder_ops **ret_ops)
{
    void *stream = NULL;

    metrics_request(c->server->metrics, c, status);
    if (c->ops != NULL) {
        *ret_ops = c->ops;
        say_cache(c);
        stream = c->ops->respond_stream(c->responder, status, type, f);
    } else {
        f->free_arg(f->arg);
    }
    call_free(c);
    return stream;
}

void
call_json(struct api_call *c, int status, struct str *body)
{
    if (body->toobig) {
        call_error(c, ERR_INTERNAL, "the answer is too large");
        return;
    }
    call_respond(c, status, "application/json", body);
}

void
call_problem(struct api_call *c, const struct problem *p)
{
    struct str body = STR_INIT(256 * 1024);
    char seconds[16];
    int http;

    problem_write(p, &body, &http);
    if (http >= 500)
        log_debug("request failed", "verb=%s path=%.200s error=\"%s\"", c->verb,
                  c->ops == NULL ? "?" : c->req.path, p->e.msg);
    if (p->e.retry_after_ms > 0) {
        snprintf(seconds, sizeof(seconds), "%u", (p->e.retry_after_ms + 999) / 1000);
        call_header(c, "Retry-After", seconds);
    }
    call_respond(c, http, "application/json", &body);
}

void
call_error(struct api_call *c, enum err_code code, const char *fmt, ...)
{
    auto_problem p;
    char text[sizeof(p.e.msg)];
    va_list ap;

    problem_init(&p, NULL, NULL);
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    problem_set(&p, code, "%s", text);
    call_problem(c, &p);
}

/* --- dispatch
 * ---------------------------------------------------------------------------- */

struct verb {
    const char *name;
    void (*run)(struct api_call *c);
};

static struct verb
choose_verb(const struct api_call *c)
{
    const char *method = c->req.method;
    bool one = c->route.name[0] != '\0';

    if (streq(method, "GET") || streq(method, "HEAD")) {
        if (one)
            return (struct verb){"get", verb_get};
        if (call_query_bool(c, "watch"))
            return (struct verb){"watch", verb_watch};
        return (struct verb){"list", verb_list};
    }
    if (streq(method, "POST") && streq(c->route.sub, "restore"))
        return (struct verb){"get",
                             verb_get}; /* of a Revision; served by history_serve */
    if (streq(method, "POST") && !one)
        return (struct verb){"create", verb_write};
    if (streq(method, "PUT") && one)
        return (struct verb){"update", verb_write};
    if (streq(method, "PATCH") && one)
        return (struct verb){"patch", verb_write};
    if (streq(method, "DELETE"))
        return one ? (struct verb){"delete", verb_delete}
                   : (struct verb){"deletecollection", verb_deletecollection};
    return (struct verb){"", NULL};
}

void
call_forbidden(struct api_call *c, const char *reason)
{
    const struct route *r = &c->route;
    auto_str text = STR_INIT(400);
    auto_problem p;

    problem_init(&p, r->kind, r->name);
    if (r->resource) {
        str_adds(&text, r->plural);
        if (*r->group != '\0')
            str_addf(&text, ".%s", r->group);
        if (*r->name != '\0')
            str_addf(&text, " \"%s\"", r->name);
        str_addf(&text,
                 " is forbidden: User \"%s\" cannot %s resource \"%s%s%s\" in API "
                 "group \"%s\"",
                 c->user->name, c->verb, r->plural, *r->sub != '\0' ? "/" : "", r->sub,
                 r->group);
        if (*r->ns != '\0')
            str_addf(&text, " in the namespace \"%s\"", r->ns);
        else
            str_adds(&text, " at the cluster scope");
    } else {
        str_addf(&text, "forbidden: User \"%s\" cannot %s path \"%.200s\"", c->user->name,
                 c->verb, c->req.path);
    }
    if (*reason != '\0')
        str_addf(&text, ": %s", reason);
    problem_set(&p, ERR_FORBIDDEN, "%s", text.ptr);
    call_problem(c, &p);
}

/* "metadata.name=x" alone asks for one object: rules by name see it. */
static bool
selects_name(const char *selector, char out[ROUTE_SEGMENT_MAX])
{
    static const char prefix[] = "metadata.name=";

    if (selector == NULL || !str_starts(selector, prefix))
        return false;
    const char *name = selector + sizeof(prefix) - 1;
    name += *name == '=';
    if (*name == '\0' || strpbrk(name, ",!=\\") != NULL)
        return false;
    return snprintf(out, ROUTE_SEGMENT_MAX, "%s", name) < ROUTE_SEGMENT_MAX;
}

static bool
authorized(struct api_call *c, struct str *reason)
{
    const struct api_hooks *h = &c->server->hooks;
    const struct route *r = &c->route;
    autofree char *name = NULL;
    struct history_attributes of = {0};

    if (h->authorize == NULL)
        return true;
    struct authz_attributes a = {.user = c->user, .verb = c->verb};
    char selected[ROUTE_SEGMENT_MAX];
    if (r->resource) {
        a.group = r->group;
        a.resource = r->plural;
        a.sub = r->sub;
        a.ns = r->ns;
        a.name = r->name;
        a.label_selector = call_query(c, "labelSelector");
        a.field_selector = call_query(c, "fieldSelector");
        if (*r->name == '\0' && selects_name(a.field_selector, selected))
            a.name = selected;
        if (streq(c->verb, "create") && *c->user->instance_uid != '\0') {
            name = body_name(c->req.body, NULL);
            a.body_name = name;
        }
        if (!history_authz(c, &a, &of))
            return false;
    } else {
        a.path = c->req.path;
    }
    return h->authorize(h->arg, &a, reason);
}

/* There are no Services, and the past cannot be written. */
static bool
is_read_only(const struct api_call *c)
{
    const struct route *r = &c->route;

    if (*r->group == '\0' && streq(r->plural, "services"))
        return !streq(c->verb, "get") && !streq(c->verb, "list") &&
               !streq(c->verb, "watch");
    return streq(r->kind->resource, HISTORY_RESOURCE) &&
           (streq(c->verb, "create") || streq(c->verb, "update") ||
            streq(c->verb, "patch"));
}

/* The CRDs of kinds that are part of this program say what is served: nobody writes them.
 */
static bool
is_embedded_crd(const struct api_call *c)
{
    const struct route *r = &c->route;

    return streq(r->kind->resource, CRD_RESOURCE) && !streq(c->verb, "get") &&
           !streq(c->verb, "create") && kinds_is_embedded(c->server->kinds, r->name);
}

/* True when that was answered. */
static bool
timeout_is_bad(struct api_call *c)
{
    struct problem p;

    problem_init(&p, NULL, NULL);
    if (timeout_check(c, &p) == 0)
        return false;
    call_problem(c, &p);
    problem_done(&p);
    return true;
}

static void
run_resource(struct api_call *c)
{
    struct route *r = &c->route;
    struct verb verb = choose_verb(c);
    auto_str reason = STR_INIT(256);

    if (verb.run == NULL) {
        call_error(c, ERR_UNSUPPORTED,
                   "the server does not allow this method on the requested resource");
        return;
    }
    c->verb = verb.name;
    if (!authorized(c, &reason)) {
        call_forbidden(c, reason.ptr);
        return;
    }
    if (timeout_is_bad(c))
        return;
    if (history_serve(c))
        return;
    bool finalize = streq(r->sub, "finalize") && r->kind != NULL &&
                    streq(r->kind->resource, "namespaces");
    bool status =
        finalize || (streq(r->sub, "status") && r->kind != NULL && r->kind->has_status);
    /* Only a list or watch may leave the namespace out. */
    bool ns_wrong = r->kind != NULL &&
                    (!r->kind->namespaced ? *r->ns != '\0'
                                          : *r->ns == '\0' && (*r->name != '\0' ||
                                                               verb.run == verb_write ||
                                                               verb.run == verb_delete));
    bool scale = streq(r->sub, "scale") && r->kind != NULL && r->kind->scale_spec != NULL;
    if (r->kind == NULL || ns_wrong || (*r->sub != '\0' && !status && !scale)) {
        call_error(c, ERR_NOT_FOUND, "the server could not find the requested resource");
        return;
    }
    if (is_read_only(c)) {
        call_error(c, ERR_UNSUPPORTED, "%s is not supported on resources of kind \"%s\"",
                   verb.name, r->kind->resource);
        return;
    }
    if (is_embedded_crd(c)) {
        call_error(c, ERR_FORBIDDEN,
                   "%s \"%s\" is forbidden: this kind is part of the server and changes "
                   "with its program only",
                   r->kind->resource, r->name);
        return;
    }
    if ((finalize && !streq(verb.name, "update")) ||
        (status && (verb.run == verb_delete || verb.run == verb_list))) {
        call_error(c, ERR_UNSUPPORTED,
                   "the server does not allow this method on the requested resource");
        return;
    }
    if (r->kind->deprecation_warning != NULL)
        call_warning(c, r->kind->deprecation_warning);
    if (scale)
        verb_scale(c);
    else
        verb.run(c);
}

/* The verb of a request for a path is its method in lower case. */
static const char *
path_verb(const char *method)
{
    static const char *const verbs[] = {"get", "head", "post", "put", "patch", "delete"};

    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        if (strcasecmp(verbs[i], method) == 0)
            return verbs[i];
    }
    return "other";
}

const char *
call_verb_of(const char *method, const struct route *r, bool watch)
{
    bool one = r->name[0] != '\0';

    if (!r->resource)
        return path_verb(method);
    if (streq(method, "GET") || streq(method, "HEAD"))
        return one ? "get" : watch ? "watch" : "list";
    if (streq(method, "POST"))
        return "create";
    if (streq(method, "PUT"))
        return "update";
    if (streq(method, "PATCH"))
        return "patch";
    if (streq(method, "DELETE"))
        return one ? "delete" : "deletecollection";
    return path_verb(method);
}

static void
run_call(struct api_call *c)
{
    struct api_server *s = c->server;
    auto_str reason = STR_INIT(256);

    if (c->ops == NULL) { /* left while its body was converted */
        call_error(c, ERR_UNAVAILABLE, "the client left");
        return;
    }
    if (s->hooks.serve != NULL && s->hooks.serve(s->hooks.arg, c))
        return;
    if (route_parse(s->kinds, c->req.path, &c->route)) {
        c->kind = c->route.kind == NULL ? NULL : kind_ref(c->route.kind);
        run_resource(c);
        return;
    }
    c->verb = path_verb(c->req.method);
    if (!authorized(c, &reason)) {
        call_forbidden(c, reason.ptr);
        return;
    }
    if (!streq(c->req.method, "GET") && !streq(c->req.method, "HEAD")) {
        call_error(c, ERR_UNSUPPORTED,
                   "the server does not allow this method on the requested resource");
        return;
    }
    if (discovery_serve(c) || openapi_serve(c))
        return;
    call_error(c, ERR_NOT_FOUND, "the server could not find the requested resource");
}

void
api_call_run(struct api_call *c)
{
    body_convert_fn *fn = body_conversion(c);

    if (fn != NULL)
        body_convert(c, fn, run_call);
    else
        run_call(c);
}
