/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scale subresource: three places of an object seen as an autoscaling/v1 Scale. A
 * write becomes a merge patch of the one place that it may change.
 */
#include <jansson.h>
#include <stdlib.h>

#include "api/jtok.h"
#include "api/managed.h"
#include "apiserver/registry/server_internal.h"
#include "base/clock.h"

enum { SCALE_MAX = 64 * 1024 };

static void
put_number(struct str *out, const char *key, const struct object *o, const char *path)
{
    struct span v;
    int64_t n = 0;

    if (path != NULL && object_path(o, path, &v))
        jscan_int64(v, &n);
    jput_member_int(out, key, n);
}

/* The object's labelSelectorPath holds the selector as text. */
static void
scale_write(const struct kind *k, const struct object *o, struct str *out)
{
    char created[CLOCK_RFC3339_LEN];
    struct span selector;

    clock_format(o->facts.created_s * 1000000000, created);
    str_adds(out, "{\"kind\":\"Scale\",\"apiVersion\":\"autoscaling/v1\",\"metadata\":{");
    jput_member(out, "name", o->name);
    if (*o->ns != '\0')
        jput_member(out, "namespace", o->ns);
    jput_member(out, "uid", o->uid);
    str_addf(out, ",\"resourceVersion\":\"%llu\"", (unsigned long long)o->revision);
    jput_member(out, "creationTimestamp", created);
    str_adds(out, "},\"spec\":{");
    put_number(out, "replicas", o, k->scale_spec);
    str_adds(out, "},\"status\":{");
    put_number(out, "replicas", o, k->scale_status);
    if (k->scale_selector != NULL && object_path(o, k->scale_selector, &selector) &&
        selector.len > 2 && selector.ptr[0] == '"') {
        jput_key(out, "selector");
        str_add(out, selector.ptr, selector.len);
    }
    str_adds(out, "}}");
}

static struct object *
current(const struct api_call *c)
{
    const struct route *r = &c->route;
    struct store_key key = {r->kind->resource, r->ns, r->name};
    const struct object *o = store_peek(c->server->store, &key);

    return o == NULL ? NULL : view_object(r->kind, o);
}

static void
answer(struct api_call *c, const struct object *o)
{
    struct str body = STR_INIT(SCALE_MAX);

    scale_write(c->route.kind, o, &body);
    call_json(c, 200, &body);
}

static void
on_written(void *arg, const struct write_result *r)
{
    struct api_call *c = arg;

    if (r->obj == NULL) {
        call_problem(c, r->problem);
        return;
    }
    auto_object *o = view_object(c->route.kind, r->obj);
    answer(c, o);
}

/* --- from the request to a Scale ---------------------------------------------------- */

static bool
is_type(const char *type, const char *want)
{
    return str_starts(type, want);
}

static int
patched(const struct api_call *c, const char *type, const json_t *live,
        const json_t *request, json_t **ret, struct problem *p)
{
    UNUSED(c);
    if (is_type(type, "application/json-patch+json"))
        return patch_json(live, request, ret, &p->e);
    if (is_type(type, "application/merge-patch+json") ||
        is_type(type, "application/strategic-merge-patch+json"))
        return patch_merge(live, request, ret, &p->e);
    return problem_set(p, ERR_MEDIA_TYPE,
                       "the body of the request was in an unknown format - accepted "
                       "media types include: application/json-patch+json, "
                       "application/merge-patch+json");
}

/* The Scale that the request asks for. */
static int
wanted(const struct api_call *c, const struct object *o, json_t **ret, struct problem *p)
{
    const char *type = call_header_in(c, "Content-Type");
    auto_str text = STR_INIT(SCALE_MAX), clean = STR_INIT(SCALE_MAX);
    json_t *live, *request;
    int rc = jcanon(c->req.body.ptr, c->req.body.len, &clean, &p->e);

    if (rc < 0)
        return rc;
    request = json_loadb(clean.ptr, clean.len, 0, NULL);
    if (!streq(c->verb, "patch")) {
        *ret = request;
        return request == NULL ? problem_set(p, ERR_BAD_REQUEST, "not a Scale") : 0;
    }
    scale_write(c->route.kind, o, &text);
    live = json_loadb(text.ptr, text.len, 0, NULL);
    bug_if(live == NULL);
    rc = patched(c, type == NULL ? "" : type, live, request, ret, p);
    json_decref(live);
    json_decref(request);
    return rc;
}

/* {"metadata":{"resourceVersion":"N"},"spec":{"replicas":n}} at the kind's own path. */
static void
write_patch(const char *path, int64_t replicas, const char *version, struct str *out)
{
    size_t depth = 0;

    str_addc(out, '{');
    if (version != NULL && *version != '\0') {
        str_adds(out, "\"metadata\":{");
        jput_member(out, "resourceVersion", version);
        str_addc(out, '}');
    }
    for (const char *p = path; *p != '\0'; depth++) {
        size_t n = strcspn(p, ".");
        jput_item(out);
        jput_string(out, p, n);
        str_addc(out, ':');
        p += n;
        if (*p == '.') {
            p++;
            str_addc(out, '{');
        }
    }
    str_addf(out, "%lld", (long long)replicas);
    while (depth-- > 0)
        str_addc(out, '}');
}

static int
check_replicas(const json_t *scale, int64_t *ret, struct problem *p)
{
    const json_t *n = json_object_get(json_object_get(scale, "spec"), "replicas");
    char shown[32];

    *ret = n == NULL ? 0 : json_integer_value(n);
    if (n != NULL && (!json_is_integer(n) || *ret > INT32_MAX))
        return problem_field(p, VIOLATION_INVALID, "spec.replicas", NULL,
                             "must be a number of 32 bits");
    snprintf(shown, sizeof(shown), "%lld", (long long)*ret);
    if (*ret < 0)
        return problem_field(p, VIOLATION_INVALID, "spec.replicas", shown,
                             "should be a non-negative integer");
    return 0;
}

static int
prepare(const struct api_call *c, struct write_req *w, struct str *body,
        struct problem *p)
{
    auto_object *o = current(c);
    json_t *scale = NULL;
    int64_t replicas;

    if (o == NULL)
        return problem_not_found(p);
    int rc = write_options_parse(c, &w->opt, p);
    if (rc == 0)
        rc = wanted(c, o, &scale, p);
    if (rc == 0)
        rc = check_replicas(scale, &replicas, p);
    if (rc == 0) {
        const char *version = json_string_value(
            json_object_get(json_object_get(scale, "metadata"), "resourceVersion"));
        write_patch(c->route.kind->scale_spec, replicas, version, body);
    }
    json_decref(scale);
    return rc;
}

void
verb_scale(struct api_call *c)
{
    const struct route *r = &c->route;
    auto_str body = STR_INIT(SCALE_MAX);
    auto_problem p;
    struct write_req w = {.kind = r->kind,
                          .type = WRITE_MERGE,
                          .ns = r->ns,
                          .name = r->name,
                          .sub = "",
                          .user = c->user};

    problem_init(&p, r->kind, r->name);
    if (streq(c->verb, "get")) {
        auto_object *o = current(c);
        if (o != NULL) {
            answer(c, o);
            return;
        }
        problem_not_found(&p);
    } else if (!streq(c->verb, "update") && !streq(c->verb, "patch")) {
        problem_set(&p, ERR_UNSUPPORTED,
                    "the server does not allow this method on the requested resource");
    } else if (prepare(c, &w, &body, &p) == 0) {
        w.body = (struct span){body.ptr, body.len};
        registry_write(c->server, &w, on_written, c);
        return;
    }
    call_problem(c, &p);
}
