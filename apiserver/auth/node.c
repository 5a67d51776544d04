/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The node authorizer: what an agent may do, decided by what is bound to its Instance.
 * Code and not roles, because RBAC cannot say "the Secrets of the jobs it has claimed".
 */
#include <string.h>

#include "api/jtok.h"
#include "api/selector.h"
#include "apiserver/auth/auth_internal.h"

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
    if (*t->sub == '\0')
        return streq(t->verb, "get");
    return streq(t->sub, "status") && has_word("get patch update", t->verb);
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
    return streq(t->verb, "get") && *t->sub == '\0' &&
           node_index_reads(a->nodes, t->user->instance_uid, t->ns, t->name);
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

static bool
agent_blobs(struct auth *a, const struct authz_attributes *t)
{
    return streq(t->verb, "get") && *t->sub == '\0' &&
           node_index_reads(a->nodes, t->user->instance_uid, t->ns, t->name);
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
    {"streams.drover.dev", "blobs", agent_blobs},
};

bool
node_allow(struct auth *a, const struct authz_attributes *t, struct str *reason)
{
    UNUSED(reason);
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
