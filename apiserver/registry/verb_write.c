/* SPDX-License-Identifier: Apache-2.0 */
/* create, update, patch and delete requests: options in, answer out. */
#include <ctype.h>
#include <stdlib.h>
#include <strings.h>

#include "api/protobuf.h"
#include "apiserver/registry/server_internal.h"
#include "base/clock.h"

enum { WARNING_MAX = 256 };

/* Warning: 299 - "text" with the quotes and backslashes of text escaped. */
void
call_warning(struct api_call *c, const char *text)
{
    auto_str value = STR_INIT(4 * WARNING_MAX);
    size_t n = 0;

    str_adds(&value, "299 - \"");
    for (; *text != '\0' && n < WARNING_MAX; text++, n++) {
        if (*text == '"' || *text == '\\')
            str_addc(&value, '\\');
        str_addc(&value, (unsigned char)*text < 0x20 ? ' ' : *text);
    }
    str_addc(&value, '"');
    call_header(c, "Warning", value.ptr);
}

static void
add_warnings(struct api_call *c, const struct violations *v)
{
    vec_foreach (p, &v->list) {
        if (p->reason == VIOLATION_UNKNOWN || p->reason == VIOLATION_DUPLICATE_KEY)
            call_warning(c, p->message);
    }
}

struct write_call {
    struct api_call *call;
    enum field_validation validation;
    struct accept accept;
};

static void
respond_object(struct api_call *c, int status, const struct object *written,
               const struct accept *accept)
{
    auto_object *o = view_object(c->route.kind, written);
    struct str body = STR_INIT(2 * OBJECT_MAX_BYTES);

    if (accept->form == ACCEPT_TABLE) {
        struct table_opts t = {.kind = c->route.kind,
                               .version = accept->version,
                               .include = INCLUDE_METADATA,
                               .now_ns = clock_wall_ns()};
        char meta[64];
        snprintf(meta, sizeof(meta), "\"resourceVersion\":\"%llu\"",
                 (unsigned long long)o->revision);
        table_head(&t, meta, true, &body);
        table_row(&t, o, &body);
        str_adds(&body, "]}");
    } else {
        represent_object(o, accept->form, accept->version, &body);
    }
    call_json(c, status, &body);
}

static void
on_written(void *arg, const struct write_result *r)
{
    struct write_call *w = arg;
    struct api_call *c = w->call;

    if (r->obj == NULL) {
        call_problem(c, r->problem);
    } else {
        if (w->validation == FIELD_WARN)
            add_warnings(c, &r->problem->v);
        respond_object(c, r->created ? 201 : 200, r->obj, &w->accept);
    }
    free(w);
}

static bool
media_is(const char *type, const char *want)
{
    size_t n = strlen(want);

    return strncasecmp(type, want, n) == 0 &&
           (type[n] == '\0' || type[n] == ';' || isspace((unsigned char)type[n]));
}

static int
unsupported(struct problem *p, const char *accepted)
{
    return problem_set(
        p, ERR_MEDIA_TYPE,
        "the body of the request was in an unknown format - accepted media "
        "types include: %s",
        accepted);
}

static int
patch_type(const struct kind *k, const char *type, enum write_type *ret,
           struct problem *p)
{
    if (media_is(type, "application/merge-patch+json"))
        *ret = WRITE_MERGE;
    else if (media_is(type, "application/json-patch+json"))
        *ret = WRITE_JSON_PATCH;
    else if (media_is(type, "application/apply-patch+yaml"))
        *ret = WRITE_APPLY;
    else if (k->builtin && media_is(type, "application/strategic-merge-patch+json"))
        *ret = WRITE_STRATEGIC;
    else
        return unsupported(p,
                           "application/json-patch+json, application/merge-patch+json, "
                           "application/apply-patch+yaml");
    return 0;
}

/* YAML and protobuf are JSON by now (body_convert.c). */
static int
body_type(const char *type, struct problem *p)
{
    if (*type == '\0' || media_is(type, "application/json") ||
        media_is(type, "application/yaml") || media_is(type, PROTOBUF_MEDIA_TYPE))
        return 0;
    return unsupported(
        p, "application/json, application/yaml, application/vnd.kubernetes.protobuf");
}

static int
parse_write(struct api_call *c, struct write_req *w, struct accept *accept,
            struct problem *p)
{
    const char *type = call_header_in(c, "Content-Type");
    int rc;

    if (type == NULL)
        type = "";
    type += strspn(type, " ");
    if (streq(c->verb, "patch"))
        rc = patch_type(w->kind, type, &w->type, p);
    else
        rc = body_type(type, p);
    if (rc < 0 || (rc = write_options_parse(c, &w->opt, p)) < 0 ||
        (rc = accept_parse(call_header_in(c, "Accept"), accept, p)) < 0)
        return rc;
    if (w->type == WRITE_APPLY && !w->opt.manager_given)
        return problem_set(p, ERR_INVALID,
                           "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: "
                           "Required value: is required for apply patch");
    if (w->type != WRITE_APPLY && streq(c->verb, "patch") &&
        call_query(c, "force") != NULL)
        return problem_set(p, ERR_INVALID,
                           "PatchOptions.meta.k8s.io \"\" is invalid: force: Forbidden: "
                           "may not be specified for non-apply patch");
    return 0;
}

void
verb_write(struct api_call *c)
{
    const struct route *r = &c->route;
    struct accept accept;
    auto_problem p;
    struct write_req w = {.kind = r->kind,
                          .type = streq(c->verb, "create") ? WRITE_CREATE : WRITE_UPDATE,
                          .ns = r->ns,
                          .name = r->name,
                          .sub = r->sub,
                          .body = c->req.body,
                          .user = c->user};

    problem_init(&p, NULL, NULL);
    if (parse_write(c, &w, &accept, &p) < 0) {
        call_problem(c, &p);
        return;
    }
    struct write_call *call = xnew(struct write_call);
    call->call = c;
    call->validation = w.opt.validation;
    call->accept = accept;
    registry_write(c->server, &w, on_written, call);
}

static void
on_deleted(void *arg, const struct write_result *r)
{
    struct api_call *c = arg;
    struct str body = STR_INIT(2 * OBJECT_MAX_BYTES);

    if (r->obj == NULL) {
        call_problem(c, r->problem);
        return;
    }
    if (r->gone)
        status_success(c->route.kind, r->obj->name, r->obj->uid, &body);
    else
        object_write(r->obj, &body);
    call_json(c, 200, &body);
}

/* default and the server's own namespace are never deleted. */
static bool
is_protected(const struct route *r)
{
    return streq(r->kind->resource, "namespaces") &&
           (streq(r->name, "default") || streq(r->name, "drover-system"));
}

void
verb_delete(struct api_call *c)
{
    const struct route *r = &c->route;
    struct delete_req d = {
        .kind = r->kind, .ns = r->ns, .name = r->name, .user = c->user->name};
    auto_problem p;

    problem_init(&p, r->kind, r->name);
    if (is_protected(r))
        problem_set(&p, ERR_FORBIDDEN,
                    "namespaces \"%s\" is forbidden: this namespace may not be deleted",
                    r->name);
    else if (delete_options_parse(c, &d.opt, &p) == 0) {
        registry_delete(c->server, &d, on_deleted, c);
        return;
    }
    call_problem(c, &p);
}
