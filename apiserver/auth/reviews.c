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
#include "apiserver/registry/options.h"

static void
answer_tree(struct api_call *c, json_t *tree)
{
    struct str body = STR_INIT(4 << 20);
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
string_list(char *const *list)
{
    json_t *out = json_array();

    for (; *list != NULL; list++)
        json_array_append_new(out, json_string(*list));
    return out;
}

static json_t *
user_tree(const struct api_user *u)
{
    json_t *tree = json_pack("{s:s}", "username", u->name);
    json_t *extra = json_object();

    if (*u->uid != '\0')
        json_object_set_new(tree, "uid", json_string(u->uid));
    json_object_set_new(tree, "groups", string_list(u->groups));
    for (size_t i = 0; i < u->n_extra; i++)
        json_object_set_new(extra, u->extra[i].key, string_list(u->extra[i].values));
    if (*u->instance_name != '\0') {
        json_object_set_new(extra, "drover.dev/instance-namespace",
                            json_pack("[s]", u->instance_ns));
        json_object_set_new(extra, "drover.dev/instance-name",
                            json_pack("[s]", u->instance_name));
    }
    if (json_object_size(extra) > 0)
        json_object_set(tree, "extra", extra);
    json_decref(extra);
    return tree;
}

/* --- who is it?
 * -------------------------------------------------------------------------- */

static void
token_review(struct auth *a, struct api_call *c, json_t *body)
{
    json_t *spec = json_object_get(body, "spec"), *audiences = NULL, *status;
    const char *token = body_text(spec, "token");
    struct error e = ERROR_INIT;
    struct api_user *u = NULL;

    if (*token == '\0') {
        call_error(c, ERR_BAD_REQUEST,
                   "token is required for TokenReview in authentication");
        return;
    }
    u = ticket_user(a, c->user, token);
    if (u != NULL)
        audiences = json_pack("[s]", signer_issuer(a->signer));
    else
        u = auth_token_for(a, token, json_object_get(spec, "audiences"), &audiences, &e);
    if (u != NULL)
        status = json_pack("{s:b,s:o,s:o*}", "authenticated", 1, "user", user_tree(u),
                           "audiences", audiences);
    else
        status = json_pack("{s:b,s:s}", "authenticated", 0, "error", e.msg);
    user_unref(u);
    /* the answer does not repeat the secret */
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

/* --- may he?
 * ----------------------------------------------------------------------------- */

/* The status of an access review for the user. */
static json_t *
access_status(struct auth *a, const struct api_user *u, const json_t *spec)
{
    const json_t *resource = json_object_get(spec, "resourceAttributes");
    const json_t *other = json_object_get(spec, "nonResourceAttributes");
    const char *labels =
        body_text(json_object_get(resource, "labelSelector"), "rawSelector");
    const char *fields =
        body_text(json_object_get(resource, "fieldSelector"), "rawSelector");
    auto_str reason = STR_INIT(4096);
    struct authz_attributes t = {.user = u, .explain = true};

    if (json_is_object(resource)) {
        t.verb = body_text(resource, "verb");
        t.group = body_text(resource, "group");
        t.resource = body_text(resource, "resource");
        t.sub = body_text(resource, "subresource");
        t.ns = body_text(resource, "namespace");
        t.name = body_text(resource, "name");
        t.body_name = t.name;
        t.label_selector = *labels == '\0' ? NULL : labels;
        t.field_selector = *fields == '\0' ? NULL : fields;
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

/* 422 with one cause, as typed kinds have it. */
static void
answer_invalid(struct api_call *c, const char *kind, const char *path,
               const char *value_json, const char *why)
{
    autofree char *name = xstrdup(kind), *group = xstrdup(c->route.group);
    const struct kind k = {.kind = name, .group = group};
    auto_problem p;

    problem_init(&p, &k, "");
    problem_field(&p, VIOLATION_INVALID, path, value_json, why);
    call_problem(c, &p);
}

/* Exactly one question; or the call was answered. */
static bool
check_spec(struct api_call *c, const json_t *spec, const char *kind)
{
    bool resource = json_is_object(json_object_get(spec, "resourceAttributes"));
    bool other = json_is_object(json_object_get(spec, "nonResourceAttributes"));

    if (resource != other)
        return true;
    if (resource)
        answer_invalid(c, kind, "spec.nonResourceAttributes", "{}",
                       "cannot be specified in combination with resourceAttributes");
    else
        answer_invalid(c, kind, "spec.resourceAttributes", "null",
                       "exactly one of nonResourceAttributes or resourceAttributes must "
                       "be specified");
    return false;
}

static void
self_access_review(struct auth *a, struct api_call *c, json_t *body)
{
    const json_t *spec = json_object_get(body, "spec");

    if (check_spec(c, spec, "SelfSubjectAccessReview"))
        answer_review(c, body, "SelfSubjectAccessReview",
                      access_status(a, c->user, spec));
}

static struct api_user *
user_of_spec(const json_t *spec)
{
    struct api_user *u = user_new(body_text(spec, "user"), "");
    const json_t *group, *values, *value;
    json_t *extra = json_object_get(spec, "extra");
    const char *key;
    size_t i;

    json_array_foreach (json_object_get(spec, "groups"), i, group) {
        if (json_is_string(group))
            user_add_group(u, json_string_value(group));
    }
    json_object_foreach (extra, key, values) {
        json_array_foreach (values, i, value) {
            if (json_is_string(value))
                user_add_extra(u, key, json_string_value(value));
        }
    }
    user_set_uid(u, body_text(spec, "uid"));
    return u;
}

static void
review_of_other(struct auth *a, struct api_call *c, json_t *body, const char *kind)
{
    const json_t *spec = json_object_get(body, "spec");
    json_t *status;

    if (!check_spec(c, spec, kind))
        return;
    struct api_user *u = user_of_spec(spec);
    if (*u->name == '\0' && *u->groups == NULL) {
        user_unref(u);
        answer_invalid(c, kind, "spec.user", "\"\"",
                       "at least one of user or group must be specified");
        return;
    }
    if (user_in_group(u, "system:agents") && !auth_resolve_agent(a, u))
        status = json_pack("{s:b,s:s}", "allowed", 0, "reason",
                           "the instance of this agent is gone");
    else
        status = access_status(a, u, spec);
    user_unref(u);
    streams_note_access(a, c->user, spec,
                        json_is_true(json_object_get(status, "allowed")));
    answer_review(c, body, kind, status);
}

static void
access_review(struct auth *a, struct api_call *c, json_t *body)
{
    review_of_other(a, c, body, "SubjectAccessReview");
}

static void
local_access_review(struct auth *a, struct api_call *c, json_t *body)
{
    const json_t *spec = json_object_get(body, "spec");
    const json_t *resource = json_object_get(spec, "resourceAttributes");

    if (!streq(body_text(resource, "namespace"), c->route.ns))
        call_error(c, ERR_BAD_REQUEST,
                   "spec.resourceAttributes.namespace must match namespace: %s",
                   c->route.ns);
    else
        review_of_other(a, c, body, "LocalSubjectAccessReview");
}

/* --- what may I?
 * ------------------------------------------------------------------------- */

struct rule_lists {
    json_t *resources, *paths;
};

static bool
list_rule(void *arg, const struct rbac_rule *rule)
{
    struct rule_lists *l = arg;
    json_t *tree = rbac_rule_json(rule);

    json_array_append_new(rule->urls.n > 0 ? l->paths : l->resources, tree);
    return true;
}

static void
rules_review(struct auth *a, struct api_call *c, json_t *body)
{
    const char *ns = body_text(json_object_get(body, "spec"), "namespace");
    struct rule_lists l = {json_array(), json_array()};
    bool agent = *c->user->instance_uid != '\0';

    if (*ns == '\0') {
        json_decref(l.resources);
        json_decref(l.paths);
        call_error(c, ERR_BAD_REQUEST, "no namespace on request");
        return;
    }
    if (a->rbac != NULL)
        rbac_visit(a->rbac, c->user, ns, list_rule, &l);
    json_t *status = json_pack("{s:o,s:o,s:b}", "resourceRules", l.resources,
                               "nonResourceRules", l.paths, "incomplete", agent);
    if (agent) /* the node authorizer has no rules to list */
        json_object_set_new(
            status, "evaluationError",
            json_string("what an agent may do follows from the jobs bound "
                        "to it and is not listed"));
    answer_review(c, body, "SelfSubjectRulesReview", status);
}

static const struct review {
    const char *group, *plural;
    bool namespaced;
    void (*run)(struct auth *a, struct api_call *c, json_t *body);
} reviews[] = {
    {"authentication.k8s.io", "tokenreviews", false, token_review},
    {"authentication.k8s.io", "selfsubjectreviews", false, self_review},
    {"authorization.k8s.io", "selfsubjectaccessreviews", false, self_access_review},
    {"authorization.k8s.io", "subjectaccessreviews", false, access_review},
    {"authorization.k8s.io", "localsubjectaccessreviews", true, local_access_review},
    {"authorization.k8s.io", "selfsubjectrulesreviews", false, rules_review},
};

static bool
is_review(const struct review *v, const struct route *r)
{
    return streq(v->group, r->group) && streq(v->plural, r->plural) &&
           streq(r->version, "v1") && *r->name == '\0' &&
           (*r->ns != '\0') == v->namespaced;
}

bool
reviews_serve(struct auth *a, struct api_call *c)
{
    for (size_t i = 0; i < ARRAY_LEN(reviews); i++) {
        if (!is_review(&reviews[i], &c->route))
            continue;
        if (!auth_allowed(a, c))
            return true;
        if (!accept_plain_json(call_header_in(c, "Accept"))) {
            call_error(c, ERR_NOT_ACCEPTABLE,
                       "only the following media types are accepted: application/json");
            return true;
        }
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
    const char *group, *plural, *sub;
    void (*run)(struct auth *a, struct api_call *c);
} endpoints[] = {
    {"drover.dev", "fleets", "jointoken", join_create},
    {"drover.dev", "fleets", "enroll", enroll},
    {"drover.dev", "instances", "token", renew_token},
    {"", "serviceaccounts", "token", account_token},
};

bool
auth_serve(void *auth, struct api_call *c)
{
    struct auth *a = auth;
    struct route r;

    if (issuer_serve(a, c))
        return true;
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
        if (streq(endpoints[i].group, r.group) && streq(endpoints[i].plural, r.plural) &&
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
