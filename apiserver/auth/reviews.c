/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The review kinds: a question posted, answered in its status, stored nowhere. And the
 * table of the endpoints of this module.
 */
#include <jansson.h>
#include <stdlib.h>

#include "api/jtok.h"
#include "apiserver/auth/auth_internal.h"
#include "apiserver/registry/answer.h"

static void
answer_tree(struct api_call *c, json_t *tree)
{
    struct str body = STR_INIT(1 << 20);
    autofree char *text = json_dumps(tree, JSON_COMPACT);

    str_adds(&body, text == NULL ? "{}" : text);
    json_decref(tree);
    call_json(c, 201, &body);
}

/* The body with its own apiVersion, kind and the status. Takes status. */
static void
answer_review(struct api_call *c, json_t *body, const char *kind, json_t *status)
{
    autofree char *version = xasprintf("%s/v1", c->route.group);

    json_object_set_new(body, "apiVersion", json_string(version));
    json_object_set_new(body, "kind", json_string(kind));
    if (!json_is_object(json_object_get(body, "metadata")))
        json_object_set_new(body, "metadata", json_object());
    json_object_set_new(body, "status", status);
    answer_tree(c, json_incref(body));
}

static json_t *
user_tree(const struct api_user *u)
{
    json_t *groups = json_array();
    json_t *tree = json_pack("{s:s}", "username", u->name);

    for (char **g = u->groups; *g != NULL; g++)
        json_array_append_new(groups, json_string(*g));
    if (*u->uid != '\0')
        json_object_set_new(tree, "uid", json_string(u->uid));
    json_object_set_new(tree, "groups", groups);
    if (*u->instance_name != '\0')
        json_object_set_new(tree, "extra",
                            json_pack("{s:[s],s:[s]}", "drover.dev/instance-namespace",
                                      u->instance_ns, "drover.dev/instance-name",
                                      u->instance_name));
    return tree;
}

static void
token_review(struct auth *a, struct api_call *c, json_t *body)
{
    const char *token = body_text(json_object_get(body, "spec"), "token");
    struct error e = ERROR_INIT;
    struct api_user *u = NULL;
    json_t *status;

    if (*token != '\0')
        u = auth_token(a, token, &e);
    if (u != NULL)
        status = json_pack("{s:b,s:o}", "authenticated", 1, "user", user_tree(u));
    else
        status = json_pack("{s:b,s:s}", "authenticated", 0, "error",
                           *token == '\0' ? "spec.token is empty" : e.msg);
    user_unref(u);
    json_t *spec = json_object_get(body, "spec");
    if (json_is_object(spec)) /* the answer does not repeat the secret */
        json_object_set_new(spec, "token", json_string(""));
    answer_review(c, body, "TokenReview", status);
}

static void
self_review(struct auth *a, struct api_call *c, json_t *body)
{
    UNUSED(a);
    answer_review(c, body, "SelfSubjectReview",
                  json_pack("{s:o}", "userInfo", user_tree(c->user)));
}

/* The status of an access review for the user. */
static json_t *
access_status(struct auth *a, const struct api_user *u, const json_t *spec)
{
    const json_t *resource = json_object_get(spec, "resourceAttributes");
    const json_t *other = json_object_get(spec, "nonResourceAttributes");
    auto_str reason = STR_INIT(256);
    struct authz_attributes t = {.user = u, .explain = true};

    if (json_is_object(resource)) {
        t.verb = body_text(resource, "verb");
        t.group = body_text(resource, "group");
        t.resource = body_text(resource, "resource");
        t.sub = body_text(resource, "subresource");
        t.ns = body_text(resource, "namespace");
        t.name = body_text(resource, "name");
    } else {
        t.verb = body_text(other, "verb");
        t.path = body_text(other, "path");
    }
    bool allowed = auth_authorize(a, &t, &reason);
    json_t *status = json_pack("{s:b}", "allowed", allowed);
    if (reason.len > 0)
        json_object_set_new(status, "reason", json_string(reason.ptr));
    return status;
}

static void
self_access_review(struct auth *a, struct api_call *c, json_t *body)
{
    json_t *status = access_status(a, c->user, json_object_get(body, "spec"));

    answer_review(c, body, "SelfSubjectAccessReview", status);
}

static void
access_review(struct auth *a, struct api_call *c, json_t *body)
{
    const json_t *spec = json_object_get(body, "spec");
    auto_str groups = STR_INIT(64 * 1024);
    json_t *group, *status;
    size_t i;

    json_array_foreach (json_object_get(spec, "groups"), i, group) {
        const char *text = json_string_value(group);
        if (text != NULL)
            str_addf(&groups, "%s%s", groups.len > 0 ? "," : "", text);
    }
    struct api_user *u = user_new(body_text(spec, "user"), groups.ptr);
    if (user_in_group(u, "system:agents") && !auth_resolve_agent(a, u))
        status = json_pack("{s:b,s:s}", "allowed", 0, "reason",
                           "the instance of this agent is gone");
    else
        status = access_status(a, u, spec);
    user_unref(u);
    answer_review(c, body, "SubjectAccessReview", status);
}

static const struct review {
    const char *group, *plural;
    void (*run)(struct auth *a, struct api_call *c, json_t *body);
} reviews[] = {
    {"authentication.k8s.io", "tokenreviews", token_review},
    {"authentication.k8s.io", "selfsubjectreviews", self_review},
    {"authorization.k8s.io", "selfsubjectaccessreviews", self_access_review},
    {"authorization.k8s.io", "subjectaccessreviews", access_review},
};

bool
reviews_serve(struct auth *a, struct api_call *c)
{
    const struct route *r = &c->route;

    for (size_t i = 0; i < ARRAY_LEN(reviews); i++) {
        if (!streq(reviews[i].group, r->group) || !streq(reviews[i].plural, r->plural))
            continue;
        if (!auth_allowed(a, c))
            return true;
        json_t *body = body_tree(c);
        if (body != NULL) {
            reviews[i].run(a, c, body);
            json_decref(body);
        }
        return true;
    }
    return false;
}

/* --- the endpoints
 * ----------------------------------------------------------------------- */

static const struct endpoint {
    const char *plural, *sub;
    void (*run)(struct auth *a, struct api_call *c);
} endpoints[] = {
    {"fleets", "jointoken", join_create},
    {"fleets", "enroll", enroll},
    {"instances", "token", renew_token},
};

bool
auth_serve(void *auth, struct api_call *c)
{
    struct auth *a = auth;
    struct route r;

    if (!streq(c->req.method, "POST"))
        return false;
    if (streq(c->req.path, "/enroll")) {
        enroll(a, c);
        return true;
    }
    if (!route_parse(api_server_kinds(a->server), c->req.path, &r))
        return false;
    const char *verb = c->verb;
    c->route = r;
    c->verb = "create";
    if (reviews_serve(a, c))
        return true;
    for (size_t i = 0; i < ARRAY_LEN(endpoints); i++) {
        if (streq(r.group, "drover.dev") && streq(endpoints[i].plural, r.plural) &&
            streq(endpoints[i].sub, r.sub)) {
            endpoints[i].run(a, c);
            return true;
        }
    }
    c->verb = verb;
    return false;
}

struct api_hooks
auth_hooks(struct auth *a)
{
    return (struct api_hooks){.authorize = auth_authorize,
                              .serve = auth_serve,
                              .admit = auth_admit,
                              .stop = auth_stop,
                              .arg = a};
}
