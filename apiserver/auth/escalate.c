/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nobody gives away more than he holds: who writes a role must hold its rules (or may
 * "escalate"), who writes a binding must hold the rules of its role (or may "bind").
 * Beside it the other refusals that depend on who asks.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "api/jtok.h"
#include "apiserver/auth/auth_internal.h"

#define RBAC_GROUP "rbac.authorization.k8s.io"
/* Judged on the loop: what has more parts than this and is not covered as a whole, or
 * lacks more than so many, is refused without looking further. */
enum { PARTS_MAX = 4000, MISSING_MAX = 64, TEXT_MAX = 16 * 1024 };

/* --- does the user hold these rules?
 * ----------------------------------------------------- */

struct missing {
    struct rbac_rule rule; /* words borrowed from the rule that is asked for */
    vec(char *) verbs;
};
struct check {
    vec(const struct rbac_rule *) own;
    vec(struct missing) missing;
};

static bool
collect(void *arg, const struct rbac_rule *rule)
{
    struct check *c = arg;

    vec_push(&c->own, rule);
    return true;
}

static bool
covered(const struct check *c, const struct rbac_rule *asked)
{
    vec_foreach (own, &c->own) {
        if (rbac_rule_covers(*own, asked))
            return true;
    }
    return false;
}

static bool
same_words(const struct rbac_words *a, const struct rbac_words *b)
{
    return a->n == b->n && (a->n == 0 || streq(a->items[0], b->items[0]));
}

/* Missing verbs on one resource are named together. */
static bool
check_part(void *arg, const struct rbac_rule *part)
{
    struct check *c = arg;

    if (covered(c, part))
        return true;
    vec_foreach (m, &c->missing) {
        if (part->urls.n == 0 && same_words(&m->rule.groups, &part->groups) &&
            same_words(&m->rule.resources, &part->resources) &&
            same_words(&m->rule.names, &part->names)) {
            vec_push(&m->verbs, part->verbs.items[0]);
            return true;
        }
    }
    struct missing m = {.rule = *part};
    vec_push(&m.verbs, part->verbs.items[0]);
    vec_push(&c->missing, m);
    return c->missing.len < MISSING_MAX;
}

static int
compare_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void
missing_text(const struct check *c, struct str *out)
{
    vec(char *) lines = {0};

    vec_foreach (m, &c->missing) {
        auto_str line = STR_INIT(TEXT_MAX);
        m->rule.verbs = (struct rbac_words){m->verbs.items, m->verbs.len, false};
        rbac_rule_text(&m->rule, &line);
        vec_push(&lines, str_detach(&line));
    }
    if (lines.len > 0)
        qsort(lines.items, lines.len, sizeof(lines.items[0]), compare_text);
    vec_foreach (line, &lines) {
        str_addf(out, "\n%s", *line);
        free(*line);
    }
    if (c->missing.len >= MISSING_MAX)
        str_adds(out, "\n...");
    vec_done(&lines);
}

static void
groups_text(const struct api_user *u, struct str *out)
{
    str_addc(out, '[');
    for (char **g = u->groups; *g != NULL; g++)
        str_addf(out, "%s\"%s\"", g == u->groups ? "" : " ", *g);
    str_addc(out, ']');
}

static int
forbid(const struct admit_request *r, struct problem *p, const char *why)
{
    auto_str text = STR_INIT(TEXT_MAX);

    str_addf(&text, "%s \"%s\" is forbidden: %s", r->kind->resource, r->next->name, why);
    return problem_text(p, ERR_FORBIDDEN, text.ptr);
}

static void
check_done(struct check *c)
{
    vec_foreach (m, &c->missing)
        vec_done(&m->verbs);
    vec_done(&c->missing);
    vec_done(&c->own);
}

static int
holds(struct auth *a, const struct admit_request *r, const struct rbac_rules *rules,
      struct problem *p)
{
    struct check c = {0};
    size_t parts = 0;
    int rc = 0;

    rbac_visit(a->rbac, r->user, r->next->ns, collect, &c);
    for (size_t i = 0; i < rules->n; i++) {
        if (covered(&c, &rules->items[i]))
            continue;
        parts += rbac_rule_parts(&rules->items[i]);
        if (parts > PARTS_MAX) {
            check_done(&c);
            return forbid(r, p, "the rules grant too many single permissions to check");
        }
        rbac_rule_each_part(&rules->items[i], check_part, &c);
    }
    if (c.missing.len > 0) {
        auto_str why = STR_INIT(TEXT_MAX);
        str_addf(&why, "user \"%s\" (groups=", r->user->name);
        groups_text(r->user, &why);
        str_adds(&why, ") is attempting to grant RBAC permissions not currently held:");
        missing_text(&c, &why);
        rc = forbid(r, p, why.ptr);
    }
    check_done(&c);
    return rc;
}

/* --- roles and bindings
 * ------------------------------------------------------------------ */

static bool
may(struct auth *a, const struct admit_request *r, const char *verb, const char *resource,
    const char *name)
{
    struct authz_attributes t = {.user = r->user,
                                 .verb = verb,
                                 .group = RBAC_GROUP,
                                 .resource = resource,
                                 .sub = "",
                                 .ns = r->next->ns,
                                 .name = name};
    auto_str reason = STR_INIT(256);

    return auth_authorize(a, &t, &reason);
}

static bool
same_member(const struct admit_request *r, const char *key)
{
    struct span next = {0}, live = {0};

    if (r->live == NULL)
        return false;
    object_path(r->next, key, &next);
    object_path(r->live, key, &live);
    return next.len == live.len &&
           (next.len == 0 || memcmp(next.ptr, live.ptr, next.len) == 0);
}

static int
admit_role(struct auth *a, const struct admit_request *r, struct problem *p)
{
    struct rbac_rules rules;
    struct span raw;
    int rc = 0;

    if ((same_member(r, "rules") && same_member(r, "aggregationRule")) ||
        may(a, r, "escalate", r->kind->plural, r->next->name))
        return 0;
    json_t *tree = object_json(r->next);
    rbac_rules_parse(json_object_get(tree, "rules"), &rules);
    if (object_path(r->next, "aggregationRule", &raw) &&
        !same_member(r, "aggregationRule")) {
        struct rbac_rules all;
        json_t *everything =
            json_pack("[{s:[s],s:[s],s:[s]},{s:[s],s:[s]}]", "verbs", "*", "apiGroups",
                      "*", "resources", "*", "verbs", "*", "nonResourceURLs", "*");
        rbac_rules_parse(everything, &all);
        json_decref(everything);
        rc = holds(a, r, &all, p);
        rbac_rules_done(&all);
        if (rc < 0)
            rc = forbid(r, p,
                        "must have cluster-admin privileges to use the "
                        "aggregationRule");
    }
    if (rc == 0)
        rc = holds(a, r, &rules, p);
    rbac_rules_done(&rules);
    json_decref(tree);
    return rc;
}

static int
admit_binding(struct auth *a, const struct admit_request *r, struct problem *p)
{
    char kind[64], name[254];

    object_get_string(r->next, "roleRef.kind", kind, sizeof(kind));
    object_get_string(r->next, "roleRef.name", name, sizeof(name));
    bool role = streq(kind, "Role");
    if ((same_member(r, "subjects") && same_member(r, "roleRef")) ||
        may(a, r, "bind", role ? "roles" : "clusterroles", name))
        return 0;
    const struct rbac_rules *rules = rbac_role(a->rbac, role ? r->next->ns : "", name);
    if (rules != NULL)
        return holds(a, r, rules, p);
    p->kind = kinds_by_resource(api_server_kinds(a->server),
                                role ? "roles." RBAC_GROUP : "clusterroles." RBAC_GROUP);
    snprintf(p->name, sizeof(p->name), "%s", name);
    return problem_not_found(p);
}

/* --- others
 * ------------------------------------------------------------------------------ */

/* An apply that creates needs the verb create too. */
static int
admit_apply_create(struct auth *a, const struct admit_request *r, struct problem *p)
{
    struct authz_attributes t = {.user = r->user,
                                 .verb = "create",
                                 .group = r->kind->group,
                                 .resource = r->kind->plural,
                                 .sub = "",
                                 .ns = r->next->ns,
                                 .name = r->next->name,
                                 .body_name = r->next->name};
    auto_str reason = STR_INIT(256);
    auto_str why = STR_INIT(1024);

    if (r->live != NULL || r->type != WRITE_APPLY || auth_authorize(a, &t, &reason))
        return 0;
    str_addf(&why, "User \"%s\" cannot create resource \"%s\" in API group \"%s\" %s%s%s",
             r->user->name, r->kind->plural, r->kind->group,
             *t.ns == '\0' ? "at the cluster scope" : "in the namespace \"", t.ns,
             *t.ns == '\0' ? "" : "\"");
    return forbid(r, p, why.ptr);
}

/* Tokens of ServiceAccounts are asked for and expire; none lies in a Secret (ADR 0025).
 */
static int
admit_secret(const struct admit_request *r, struct problem *p)
{
    struct span type;

    if (r->live != NULL || !object_path(r->next, "type", &type) ||
        !jscan_is(type, "kubernetes.io/service-account-token"))
        return 0;
    return problem_field(p, VIOLATION_NOT_SUPPORTED, "type",
                         "\"kubernetes.io/service-account-token\"",
                         "this server writes no tokens into Secrets; ask for one with "
                         "`kubectl create token`");
}

int
auth_admit(void *auth, const struct admit_request *r, struct problem *p)
{
    struct auth *a = auth;
    bool rbac = streq(r->kind->group, RBAC_GROUP);
    int rc;

    if (r->user == NULL)
        return 0;
    if ((rc = admit_apply_create(a, r, p)) < 0 || (rc = agent_admit(r, p)) < 0)
        return rc;
    if (streq(r->kind->resource, "secrets"))
        return admit_secret(r, p);
    if (!rbac || user_in_group(r->user, "system:masters"))
        return 0;
    if (a->rbac == NULL)
        return problem_set(p, ERR_BUSY, "the server is stopping");
    return str_ends(r->kind->plural, "bindings") ? admit_binding(a, r, p)
                                                 : admit_role(a, r, p);
}
