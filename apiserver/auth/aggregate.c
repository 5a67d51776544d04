/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ClusterRoles with an aggregationRule: their rules are the union of the rules of the
 * ClusterRoles that the rule selects, in order of name. Looked at again after every
 * change of any ClusterRole; writing what is there already changes nothing.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "apiserver/auth/auth_internal.h"
#include "base/log.h"

LOG_MODULE(auth);

#define CLUSTER_ROLES "clusterroles.rbac.authorization.k8s.io"
enum { RETRY_MS = 1000 };

struct aggregation {
    struct auth *auth;
    struct loop_timer *timer;
};

static bool
value_in(const json_t *values, struct span label)
{
    const json_t *value;
    size_t i;

    json_array_foreach (values, i, value) {
        if (span_eq(label, json_string_value(value)))
            return true;
    }
    return false;
}

static bool
expression_matches(const json_t *expression, const struct object *o)
{
    const char *op = body_text(expression, "operator");
    const json_t *values = json_object_get(expression, "values");
    struct span label;
    bool there = object_label(o, body_text(expression, "key"), &label);

    if (streq(op, "In"))
        return there && value_in(values, label);
    if (streq(op, "NotIn"))
        return !there || !value_in(values, label);
    if (streq(op, "Exists"))
        return there;
    return streq(op, "DoesNotExist") && !there;
}

static bool
selector_matches(const json_t *selector, const struct object *o)
{
    const json_t *expression, *want;
    json_t *match = json_object_get(selector, "matchLabels");
    struct span label;
    const char *key;
    size_t i;

    json_object_foreach (match, key, want) {
        if (!object_label(o, key, &label) || !span_eq(label, json_string_value(want)))
            return false;
    }
    json_array_foreach (json_object_get(selector, "matchExpressions"), i, expression) {
        if (!expression_matches(expression, o))
            return false;
    }
    return true;
}

static bool
is_selected(const json_t *role, const struct object *o)
{
    const json_t *selectors =
        json_object_get(json_object_get(role, "aggregationRule"), "clusterRoleSelectors");
    const json_t *selector;
    size_t i;

    json_array_foreach (selectors, i, selector) {
        if (selector_matches(selector, o))
            return true;
    }
    return false;
}

static void
add_rules(json_t *out, const struct object *o)
{
    json_t *tree = object_json(o), *rule, *known;
    size_t i, k;

    json_array_foreach (json_object_get(tree, "rules"), i, rule) {
        bool found = false;
        json_array_foreach (out, k, known)
            found = found || json_equal(known, rule);
        if (!found)
            json_array_append(out, rule);
    }
    json_decref(tree);
}

static struct store_list *
all_roles(const struct aggregation *g)
{
    return store_list(api_server_store(g->auth->server), CLUSTER_ROLES, NULL, NULL);
}

/* Trees only of what is selected; the others are judged by their facts. */
static json_t *
union_of(const struct aggregation *g, const char *name, const json_t *role)
{
    struct store_list *list = all_roles(g);
    json_t *out = json_array();
    const struct object *o;

    while ((o = store_list_next(list)) != NULL) {
        if (!streq(o->name, name) && is_selected(role, o))
            add_rules(out, o);
    }
    store_list_free(list);
    return out;
}

static void
on_written(void *arg, const struct write_result *r)
{
    struct aggregation *g = arg;

    if (r->obj != NULL || r->problem->e.code == ERR_NOT_FOUND || g->auth->rbac == NULL)
        return;
    log_warn_rl("cannot write an aggregated role", "error=\"%s\"", r->problem->e.msg);
    loop_timer_in(g->timer, RETRY_MS);
}

static void
write_rules(struct aggregation *g, const char *name, json_t *rules)
{
    struct api_server *s = g->auth->server;
    json_t *patch = json_pack("{s:O}", "rules", rules);
    autofree char *json = json_dumps(patch, JSON_COMPACT);
    struct write_req w = {.kind = kinds_by_resource(api_server_kinds(s), CLUSTER_ROLES),
                          .type = WRITE_MERGE,
                          .ns = "",
                          .name = name,
                          .sub = "",
                          .body = span_of(json),
                          .internal = true};

    json_decref(patch);
    snprintf(w.opt.manager, sizeof(w.opt.manager), "clusterrole-aggregation-controller");
    w.opt.manager_given = true;
    registry_write(s, &w, on_written, g);
}

static void
aggregate(struct aggregation *g, const struct object *o)
{
    json_t *role = object_json(o);
    json_t *rules = union_of(g, o->name, role), *now = json_object_get(role, "rules");

    if (!json_equal(rules, now) && (now != NULL || json_array_size(rules) > 0))
        write_rules(g, o->name, rules);
    json_decref(rules);
    json_decref(role);
}

static void
on_timer(void *arg)
{
    struct aggregation *g = arg;
    struct store_list *list = all_roles(g);
    const struct object *o;
    struct span raw;

    while ((o = store_list_next(list)) != NULL) {
        if (object_path(o, "aggregationRule", &raw))
            aggregate(g, o);
    }
    store_list_free(list);
}

struct aggregation *
aggregation_new(struct auth *a)
{
    struct aggregation *g = xnew(struct aggregation);

    g->auth = a;
    g->timer = loop_timer_new(api_server_loop(a->server), "aggregate-roles", on_timer, g);
    return g;
}

void
aggregation_free(struct aggregation *g)
{
    if (g == NULL)
        return;
    loop_timer_free(g->timer);
    free(g);
}

void
aggregation_wake(void *aggregation)
{
    struct aggregation *g = aggregation;

    if (!loop_timer_armed(g->timer))
        loop_timer_in(g->timer, 0);
}
