/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a user may do. A chain of authorizers, each says yes or has no opinion; RBAC will
 * be one more of them.
 *
 *   masters   group system:masters: everything
 *   basic     everybody authenticated: discovery, version, own reviews
 *   parts     the programs of the server, by a table
 *   agent     an agent: its Instance, its Lease, the jobs bound to it, the Secrets that
 *             jobs it has claimed refer to, Events
 */
#include <string.h>

#include "api/jtok.h"
#include "api/selector.h"
#include "apiserver/auth/auth_internal.h"
#include "apiserver/registry/answer.h"

/* --- masters, basic
 * ---------------------------------------------------------------------- */

static bool
masters_allow(struct auth *a, const struct authz_attributes *t)
{
    UNUSED(a);
    return user_in_group(t->user, "system:masters");
}

static bool
public_path(const char *path)
{
    static const char *const exact[] = {"/api",   "/api/",    "/apis",
                                        "/apis/", "/version", "/version/"};

    for (size_t i = 0; i < ARRAY_LEN(exact); i++) {
        if (streq(path, exact[i]))
            return true;
    }
    return str_starts(path, "/api/") || str_starts(path, "/apis/") ||
           str_starts(path, "/openapi/");
}

static bool
basic_allow(struct auth *a, const struct authz_attributes *t)
{
    UNUSED(a);
    if (!user_in_group(t->user, "system:authenticated"))
        return false;
    if (t->path != NULL)
        return streq(t->verb, "get") && public_path(t->path);
    return streq(t->verb, "create") && str_starts(t->resource, "selfsubject");
}

/* --- parts
 * ------------------------------------------------------------------------------- */

/* Space separated words, "*" is all. */
static const struct part_rule {
    const char *user_group, *verbs, *group, *resources;
} part_rules[] = {
    {"system:drover:controllers", "*", "drover.dev", "*"},
    {"system:drover:controllers", "*", "coordination.k8s.io", "leases"},
    {"system:drover:controllers", "*", "", "events"},
    {"system:drover:controllers", "get list watch", "", "namespaces configmaps"},
    {"system:drover:streams", "get list watch", "drover.dev",
     "jobs runs fleets instances"},
    {"system:drover:streams", "create", "authentication.k8s.io", "tokenreviews"},
    {"system:drover:streams", "create", "authorization.k8s.io", "subjectaccessreviews"},
    {"system:drover:streams", "*", "coordination.k8s.io", "leases"},
    {"system:drover:streams", "create patch update get", "", "events"},
    {"system:drover:streams", "get list watch", "", "namespaces"},
};

static bool
has_word(const char *words, const char *word)
{
    size_t n = strlen(word);

    if (streq(words, "*"))
        return true;
    while (*words != '\0') {
        size_t len = strcspn(words, " ");
        if (len == n && memcmp(words, word, n) == 0)
            return true;
        words += len + (words[len] == ' ');
    }
    return false;
}

static bool
parts_allow(struct auth *a, const struct authz_attributes *t)
{
    UNUSED(a);
    if (t->path != NULL)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(part_rules); i++) {
        const struct part_rule *r = &part_rules[i];
        if (user_in_group(t->user, r->user_group) && streq(r->group, t->group) &&
            has_word(r->verbs, t->verb) && has_word(r->resources, t->resource))
            return true;
    }
    return false;
}

/* --- agents
 * ------------------------------------------------------------------------------ */

static bool
bound_to(const struct object *job, const char *instance_uid)
{
    struct span label;

    return job != NULL && object_label(job, LABEL_INSTANCE, &label) &&
           span_eq(label, instance_uid);
}

static const struct object *
job_of(struct auth *a, const struct authz_attributes *t)
{
    struct store_key key = {"jobs.drover.dev", t->ns, t->name};

    return store_get(api_server_store(a->server), &key);
}

static bool
names_secret(struct span env_from, const char *secret)
{
    const char *cursor = NULL;
    struct span item, name;

    while (jscan_next_item(env_from, &cursor, &item)) {
        if (jscan_path(item, "secretRef.name", &name) && jscan_is(name, secret))
            return true;
    }
    return false;
}

static bool
is_final(const struct object *job)
{
    static const char *const final[] = {"Done", "Failed", "Terminated"};
    struct span phase;

    for (size_t i = 0; i < ARRAY_LEN(final); i++) {
        if (object_path(job, "status.phase", &phase) && jscan_is(phase, final[i]))
            return true;
    }
    return false;
}

/* A job that is bound to this instance, claimed by it, not over, and refers to it. */
static bool
needs_secret(const struct object *job, const char *instance_uid, const char *secret)
{
    struct span claim, env_from;

    return bound_to(job, instance_uid) && !is_final(job) &&
           object_path(job, "status.agent.claim.instanceUID", &claim) &&
           jscan_is(claim, instance_uid) && object_path(job, "spec.envFrom", &env_from) &&
           names_secret(env_from, secret);
}

static bool
secret_allowed(struct auth *a, const struct authz_attributes *t)
{
    struct store_list *list =
        store_list(api_server_store(a->server), "jobs.drover.dev", t->ns, NULL);
    const struct object *job;
    bool found = false;

    while (!found && (job = store_list_next(list)) != NULL)
        found = needs_secret(job, t->user->instance_uid, t->name);
    store_list_free(list);
    return found;
}

static bool
selects_own_jobs(const struct authz_attributes *t)
{
    struct selector *s = NULL;
    struct error e = ERROR_INIT;

    if (t->label_selector == NULL || selector_parse_labels(t->label_selector, &s, &e) < 0)
        return false;
    const char *value = selector_requires(s, LABEL_INSTANCE);
    bool own = value != NULL && streq(value, t->user->instance_uid);
    selector_free(s);
    return own;
}

static bool
agent_jobs(struct auth *a, const struct authz_attributes *t)
{
    if (has_word("list watch", t->verb))
        return *t->sub == '\0' && selects_own_jobs(t);
    if (streq(t->verb, "get"))
        return bound_to(job_of(a, t), t->user->instance_uid);
    return streq(t->sub, "status") && has_word("patch update", t->verb) &&
           bound_to(job_of(a, t), t->user->instance_uid);
}

static bool
agent_instances(struct auth *a, const struct authz_attributes *t)
{
    UNUSED(a);
    if (streq(t->verb, "watch") || streq(t->verb, "list")) {
        autofree char *own = xasprintf("metadata.name=%s", t->user->instance_name);
        return t->field_selector != NULL && streq(t->field_selector, own);
    }
    if (!streq(t->name, t->user->instance_name))
        return false;
    if (streq(t->sub, "token"))
        return streq(t->verb, "create");
    return has_word("get patch update", t->verb);
}

static bool
agent_leases(struct auth *a, const struct authz_attributes *t)
{
    const char *name = streq(t->verb, "create") ? t->body_name : t->name;

    UNUSED(a);
    return has_word("get create update patch", t->verb) && name != NULL &&
           streq(name, t->user->instance_name);
}

static bool
agent_secrets(struct auth *a, const struct authz_attributes *t)
{
    return streq(t->verb, "get") && secret_allowed(a, t);
}

static bool
agent_events(struct auth *a, const struct authz_attributes *t)
{
    UNUSED(a);
    return has_word("create patch update", t->verb);
}

static bool
agent_fleets(struct auth *a, const struct authz_attributes *t)
{
    UNUSED(a);
    return *t->sub == '\0' && has_word("get list watch", t->verb);
}

static bool
agent_streams(struct auth *a, const struct authz_attributes *t)
{
    return streq(t->sub, "log") && has_word("create get", t->verb) &&
           bound_to(job_of(a, t), t->user->instance_uid);
}

static const struct agent_rule {
    const char *group, *resource;
    bool (*allow)(struct auth *a, const struct authz_attributes *t);
} agent_rules[] = {
    {"drover.dev", "jobs", agent_jobs},
    {"drover.dev", "instances", agent_instances},
    {"drover.dev", "fleets", agent_fleets},
    {"coordination.k8s.io", "leases", agent_leases},
    {"", "secrets", agent_secrets},
    {"", "events", agent_events},
    {"streams.drover.dev", "jobs", agent_streams},
};

static bool
agent_allow(struct auth *a, const struct authz_attributes *t)
{
    if (*t->user->instance_uid == '\0' || t->path != NULL ||
        !streq(t->ns, t->user->instance_ns))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(agent_rules); i++) {
        if (streq(agent_rules[i].group, t->group) &&
            streq(agent_rules[i].resource, t->resource))
            return agent_rules[i].allow(a, t);
    }
    return false;
}

/* --- the chain
 * --------------------------------------------------------------------------- */

static bool (*const authorizers[])(struct auth *a, const struct authz_attributes *t) = {
    masters_allow, basic_allow, parts_allow, agent_allow};

bool
auth_authorize(void *auth, const struct authz_attributes *t, struct str *reason)
{
    UNUSED(reason);
    for (size_t i = 0; i < ARRAY_LEN(authorizers); i++) {
        if (authorizers[i](auth, t))
            return true;
    }
    return false;
}

bool
auth_allowed(struct auth *a, struct api_call *c)
{
    const struct route *r = &c->route;
    struct authz_attributes t = {.user = c->user,
                                 .verb = c->verb,
                                 .group = r->group,
                                 .resource = r->plural,
                                 .sub = r->sub,
                                 .ns = r->ns,
                                 .name = r->name};
    auto_str reason = STR_INIT(256);

    if (auth_authorize(a, &t, &reason))
        return true;
    call_forbidden(c, reason.ptr);
    return false;
}
