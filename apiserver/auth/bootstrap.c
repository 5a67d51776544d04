/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The roles and bindings that every server has. At each start what is missing in them is
 * added (rules, subjects, labels); what somebody added stays. An object annotated
 * rbac.authorization.kubernetes.io/autoupdate: "false" is left alone.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "apiserver/auth/auth_internal.h"

#define RBAC "rbac.authorization.k8s.io"
#define AUTOUPDATE "rbac.authorization.kubernetes.io/autoupdate"
#define AGGREGATE_TO RBAC "/aggregate-to-"

#define READ "get list watch"
#define WRITE "create delete deletecollection patch update"
#define ALL READ " " WRITE
#define OURS "runs fleets instances gateways volumes profiles configrepos"

static const struct boot_role {
    const char *name;
    const char *part_of;   /* aggregated into this role; NULL: none */
    const char *aggregate; /* its rules come from the roles labelled so; NULL: no */
} boot_roles[] = {
    {"cluster-admin", NULL, NULL},
    {"admin", NULL, "admin"},
    {"edit", "admin", "edit"},
    {"view", "edit", "view"},
    {"system:aggregate-to-admin", "admin", NULL},
    {"system:aggregate-to-edit", "edit", NULL},
    {"system:aggregate-to-view", "view", NULL},
    {"system:discovery", NULL, NULL},
    {"system:basic-user", NULL, NULL},
    {"system:public-info-viewer", NULL, NULL},
    {"system:service-account-issuer-discovery", NULL, NULL},
    {"system:drover:controllers", NULL, NULL},
    {"system:drover:streams", NULL, NULL},
    {"system:files", NULL, NULL},
};

/* Words separated by spaces; group "core" is "". group NULL: resources are paths. */
static const struct boot_rule {
    const char *role, *group, *resources, *verbs;
} boot_rules[] = {
    {"cluster-admin", "*", "*", "*"},
    {"cluster-admin", NULL, "*", "*"},
    {"system:aggregate-to-view", "drover.dev", "*", READ},
    {"system:aggregate-to-view", "streams.drover.dev", "jobs/log", "get"},
    {"system:aggregate-to-edit", "streams.drover.dev", "blobs", "get create"},
    {"system:aggregate-to-view", "core",
     "configmaps events services serviceaccounts resourcequotas resourcequotas/status "
     "namespaces namespaces/status",
     READ},
    {"system:aggregate-to-view", "coordination.k8s.io", "leases", READ},
    {"system:aggregate-to-edit", "drover.dev", OURS, WRITE},
    {"system:aggregate-to-edit", "core", "secrets", ALL},
    {"system:aggregate-to-edit", "core", "configmaps events serviceaccounts", WRITE},
    {"system:aggregate-to-edit", "core", "serviceaccounts", "impersonate"},
    {"system:aggregate-to-edit", "core", "serviceaccounts/token", "create"},
    {"system:aggregate-to-edit", "coordination.k8s.io", "leases", WRITE},
    {"system:aggregate-to-admin", "drover.dev", "backends quotas exports", ALL},
    {"system:aggregate-to-admin", "drover.dev", "fleets/jointoken", "create"},
    {"system:aggregate-to-admin", RBAC, "roles rolebindings", ALL},
    {"system:aggregate-to-admin", "authorization.k8s.io", "localsubjectaccessreviews",
     "create"},
    {"system:discovery", NULL,
     "/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version "
     "/version/",
     "get"},
    {"system:basic-user", "authorization.k8s.io",
     "selfsubjectaccessreviews selfsubjectrulesreviews", "create"},
    {"system:basic-user", "authentication.k8s.io", "selfsubjectreviews", "create"},
    /* Cluster-scoped, and named by everybody's runs. */
    {"system:basic-user", "scheduling.k8s.io", "priorityclasses", READ},
    {"system:public-info-viewer", NULL, "/healthz /livez /readyz /version /version/",
     "get"},
    {"system:service-account-issuer-discovery", NULL,
     "/.well-known/openid-configuration /.well-known/openid-configuration/ "
     "/openid/v1/jwks /openid/v1/jwks/",
     "get"},
    {"system:drover:controllers", "drover.dev", "*", "*"},
    {"system:drover:controllers", "coordination.k8s.io", "leases", "*"},
    {"system:drover:controllers", "core", "events", "*"},
    {"system:drover:controllers", "scheduling.k8s.io", "priorityclasses", READ},
    {"system:drover:controllers", "core", "namespaces configmaps", READ},
    /* key pairs of runs with several nodes; private keys of SSH fleets, by name */
    {"system:drover:controllers", "core", "secrets", "get create"},
    {"system:drover:streams", "drover.dev", "jobs runs fleets instances", READ},
    {"system:drover:streams", "authentication.k8s.io", "tokenreviews", "create"},
    {"system:drover:streams", "authorization.k8s.io", "subjectaccessreviews", "create"},
    {"system:drover:streams", "coordination.k8s.io", "leases", "*"},
    {"system:drover:streams", "core", "events", "create patch update get"},
    {"system:drover:streams", "core", "namespaces", READ},
    {"system:files", "drover.dev", "*", ALL},
    {"system:files", "core", "namespaces configmaps secrets resourcequotas", ALL},
    {"system:files", "core", "events", "create patch update get"},
    {"system:files", "scheduling.k8s.io", "priorityclasses", ALL},
    {"system:files", "apiextensions.k8s.io", "customresourcedefinitions", ALL},
};

static const struct boot_binding {
    const char *role; /* and the name of the binding */
    const char *kind, *subjects;
} boot_bindings[] = {
    {"cluster-admin", "Group", "system:masters"},
    {"system:discovery", "Group", "system:authenticated"},
    {"system:basic-user", "Group", "system:authenticated"},
    {"system:public-info-viewer", "Group", "system:authenticated system:unauthenticated"},
    {"system:service-account-issuer-discovery", "Group", "system:serviceaccounts"},
    {"system:drover:controllers", "Group", "system:drover:controllers"},
    {"system:drover:streams", "Group", "system:drover:streams"},
    {"system:files", "User", "system:files"},
};

/* --- documents
 * --------------------------------------------------------------------------- */

static json_t *
word_list(const char *words)
{
    json_t *list = json_array();

    while (*words != '\0') {
        size_t n = strcspn(words, " ");
        bool core = n == 4 && memcmp(words, "core", 4) == 0;
        json_array_append_new(list, json_stringn(words, core ? 0 : n));
        words += n + (words[n] == ' ');
    }
    return list;
}

static json_t *
rules_of(const char *role)
{
    json_t *rules = json_array();

    for (size_t i = 0; i < ARRAY_LEN(boot_rules); i++) {
        const struct boot_rule *r = &boot_rules[i];
        if (!streq(r->role, role))
            continue;
        json_t *rule = json_pack("{s:o}", "verbs", word_list(r->verbs));
        if (r->group != NULL)
            json_object_set_new(rule, "apiGroups", word_list(r->group));
        json_object_set_new(rule, r->group == NULL ? "nonResourceURLs" : "resources",
                            word_list(r->resources));
        json_array_append_new(rules, rule);
    }
    return rules;
}

static json_t *
metadata(const char *name, const char *part_of)
{
    json_t *labels = json_pack("{s:s}", "kubernetes.io/bootstrapping", "rbac-defaults");

    if (part_of != NULL) {
        autofree char *key = xasprintf(AGGREGATE_TO "%s", part_of);
        json_object_set_new(labels, key, json_string("true"));
    }
    return json_pack("{s:s,s:o,s:{s:s}}", "name", name, "labels", labels, "annotations",
                     AUTOUPDATE, "true");
}

static json_t *
role_document(const struct boot_role *r)
{
    json_t *doc = json_pack("{s:s,s:s,s:o}", "apiVersion", RBAC "/v1", "kind",
                            "ClusterRole", "metadata", metadata(r->name, r->part_of));

    if (r->aggregate == NULL) {
        json_object_set_new(doc, "rules", rules_of(r->name));
        return doc;
    }
    autofree char *key = xasprintf(AGGREGATE_TO "%s", r->aggregate);
    json_object_set_new(
        doc, "aggregationRule",
        json_pack("{s:[{s:{s:s}}]}", "clusterRoleSelectors", "matchLabels", key, "true"));
    return doc;
}

static json_t *
binding_document(const struct boot_binding *b)
{
    json_t *names = word_list(b->subjects), *subjects = json_array(), *name;
    size_t i;

    json_array_foreach (names, i, name)
        json_array_append_new(subjects, json_pack("{s:s,s:s,s:O}", "apiGroup", RBAC,
                                                  "kind", b->kind, "name", name));
    json_decref(names);
    return json_pack("{s:s,s:s,s:o,s:{s:s,s:s,s:s},s:o}", "apiVersion", RBAC "/v1",
                     "kind", "ClusterRoleBinding", "metadata", metadata(b->role, NULL),
                     "roleRef", "apiGroup", RBAC, "kind", "ClusterRole", "name", b->role,
                     "subjects", subjects);
}

/* --- reconciling
 * ------------------------------------------------------------------------- */

struct boot {
    struct auth *a;
    size_t open;
    struct error e;
    void (*done)(void *arg, const struct error *e);
    void *arg;
};

static void
step_done(struct boot *b)
{
    if (--b->open > 0)
        return;
    b->done(b->arg, b->e.code == ERR_OK ? NULL : &b->e);
    free(b);
}

static void
on_written(void *arg, const struct write_result *r)
{
    struct boot *b = arg;

    if (r->obj == NULL && b->e.code == ERR_OK) {
        b->e = r->problem->e;
        if (r->problem->v.list.len > 0)
            error_prepend(&b->e, "%s: %s", r->problem->v.list.items[0].path,
                          r->problem->v.list.items[0].message);
        error_prepend(&b->e, "bootstrap roles: %s", r->problem->name);
    }
    step_done(b);
}

static void
put(struct boot *b, const char *resource, enum write_type type, const char *name,
    const json_t *doc)
{
    autofree char *json = json_dumps(doc, JSON_COMPACT);

    b->open++;
    registry_write_own(b->a->server,
                       kinds_by_resource(api_server_kinds(b->a->server), resource), type,
                       name, json, on_written, b);
}

/* live with every item of `want` that it lacks; NULL when it lacks none. */
static json_t *
completed(json_t *live, const json_t *want)
{
    json_t *out = live == NULL ? json_array() : json_copy(live), *item, *known;
    bool added = false;
    size_t i, k;

    json_array_foreach (want, i, item) {
        bool found = false;
        json_array_foreach (out, k, known)
            found = found || json_equal(known, item);
        if (!found)
            json_array_append(out, item);
        added = added || !found;
    }
    if (added)
        return out;
    json_decref(out);
    return NULL;
}

/* A merge patch that completes the list and the labels. */
static void
complete(struct boot *b, const char *resource, const struct object *live, json_t *doc,
         const char *list)
{
    json_t *tree = object_json(live), *meta = json_object_get(tree, "metadata");
    json_t *notes = json_object_get(meta, "annotations");
    const char *update = json_string_value(json_object_get(notes, AUTOUPDATE));
    json_t *patch = json_object();

    if (update == NULL || !streq(update, "false")) {
        json_t *items =
            completed(json_object_get(tree, list), json_object_get(doc, list));
        if (items != NULL)
            json_object_set_new(patch, list, items);
        json_object_set(patch, "metadata", json_object_get(doc, "metadata"));
        json_t *rule = json_object_get(doc, "aggregationRule");
        if (rule != NULL)
            json_object_set(patch, "aggregationRule", rule);
        put(b, resource, WRITE_MERGE, live->name, patch);
    }
    json_decref(patch);
    json_decref(tree);
}

/* Takes doc. */
static void
reconcile(struct boot *b, const char *resource, const char *name, json_t *doc,
          const char *list)
{
    struct store_key key = {resource, "", name};
    const struct object *live = store_peek(api_server_store(b->a->server), &key);

    if (live == NULL)
        put(b, resource, WRITE_CREATE, name, doc);
    else
        complete(b, resource, live, doc, list);
    json_decref(doc);
}

void
auth_bootstrap(struct auth *a, void (*done)(void *arg, const struct error *e), void *arg)
{
    struct boot *b = xnew(struct boot);

    b->a = a;
    b->e = ERROR_INIT;
    b->done = done;
    b->arg = arg;
    b->open = 1;
    for (size_t i = 0; i < ARRAY_LEN(boot_roles); i++)
        reconcile(b, "clusterroles." RBAC, boot_roles[i].name,
                  role_document(&boot_roles[i]), "rules");
    for (size_t i = 0; i < ARRAY_LEN(boot_bindings); i++)
        reconcile(b, "clusterrolebindings." RBAC, boot_bindings[i].role,
                  binding_document(&boot_bindings[i]), "subjects");
    step_done(b);
}
