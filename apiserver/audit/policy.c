/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a policy and deciding by it. */
#include "apiserver/audit/policy.h"

#include <jansson.h>
#include <stdlib.h>

#include "api/yaml.h"
#include "base/mem.h"

enum { RULES_MAX = 1000, POLICY_MAX = 1 << 20 };

static const char *const level_names[] = {"None", "Metadata", "Request",
                                          "RequestResponse"};
static const char *const stage_names[] = {"RequestReceived", "ResponseStarted",
                                          "ResponseComplete", "Panic"};

struct rule {
    struct audit_decision decision;
    const json_t *users, *groups, *verbs, *resources, *namespaces, *paths;
};

struct audit_policy {
    json_t *doc; /* what the rules point into */
    struct rule *rules;
    size_t n;
};

const char *
audit_level_name(enum audit_level level)
{
    return level_names[level];
}

/* --- reading
 * ------------------------------------------------------------------------------ */

static int
unknown_members(const json_t *object, const char *const *known, const char *where,
                struct error *e)
{
    const char *key;
    const json_t *value;

    if (!json_is_object(object))
        return error_set(e, ERR_BAD_REQUEST, "%s must be an object", where);
    void *it = json_object_iter((json_t *)(uintptr_t)object);
    for (; it != NULL; it = json_object_iter_next((json_t *)(uintptr_t)object, it)) {
        key = json_object_iter_key(it);
        value = json_object_iter_value(it);
        size_t i = 0;
        while (known[i] != NULL && !streq(known[i], key))
            i++;
        if (known[i] == NULL && value != NULL)
            return error_set(e, ERR_BAD_REQUEST, "%s: unknown field \"%.100s\"", where,
                             key);
    }
    return 0;
}

static int
text_list(const json_t *of, const char *key, const json_t **ret, struct error *e)
{
    const json_t *list = json_object_get(of, key);
    size_t i;
    const json_t *item;

    *ret = NULL;
    if (list == NULL || json_is_null(list))
        return 0;
    if (!json_is_array(list))
        return error_set(e, ERR_BAD_REQUEST, "%s must be a list", key);
    json_array_foreach (list, i, item) {
        if (!json_is_string(item))
            return error_set(e, ERR_BAD_REQUEST, "%s[%zu] must be text", key, i);
    }
    *ret = json_array_size(list) == 0 ? NULL : list;
    return 0;
}

static int
read_stages(const json_t *of, unsigned *ret, struct error *e)
{
    const json_t *list;
    size_t i;
    const json_t *item;

    if (text_list(of, "omitStages", &list, e) < 0)
        return -(int)e->code;
    json_array_foreach (list, i, item) {
        size_t s = 0;
        while (s < ARRAY_LEN(stage_names) &&
               !streq(stage_names[s], json_string_value(item)))
            s++;
        if (s == ARRAY_LEN(stage_names))
            return error_set(e, ERR_BAD_REQUEST, "omitStages: unknown stage \"%.100s\"",
                             json_string_value(item));
        *ret |= 1u << s;
    }
    return 0;
}

static int
read_resources(const json_t *of, const json_t **ret, struct error *e)
{
    static const char *const known[] = {"group", "resources", "resourceNames", NULL};
    const json_t *list = json_object_get(of, "resources");
    const json_t *ignored;
    const json_t *item;
    size_t i;

    *ret = NULL;
    if (list == NULL || json_is_null(list))
        return 0;
    if (!json_is_array(list))
        return error_set(e, ERR_BAD_REQUEST, "resources must be a list");
    json_array_foreach (list, i, item) {
        const json_t *group = json_object_get(item, "group");
        if (unknown_members(item, known, "resources", e) < 0 ||
            text_list(item, "resources", &ignored, e) < 0 ||
            text_list(item, "resourceNames", &ignored, e) < 0)
            return -(int)e->code;
        if (group != NULL && !json_is_string(group))
            return error_set(e, ERR_BAD_REQUEST, "group must be text");
    }
    *ret = json_array_size(list) == 0 ? NULL : list;
    return 0;
}

static int
read_rule(const json_t *of, unsigned omit, struct rule *r, struct error *e)
{
    static const char *const known[] = {"level",
                                        "users",
                                        "userGroups",
                                        "verbs",
                                        "resources",
                                        "namespaces",
                                        "nonResourceURLs",
                                        "omitStages",
                                        "omitManagedFields",
                                        NULL};
    size_t level = 0;

    if (unknown_members(of, known, "rule", e) < 0)
        return -(int)e->code;
    const char *name = json_string_value(json_object_get(of, "level"));
    while (level < ARRAY_LEN(level_names) &&
           (name == NULL || !streq(name, level_names[level])))
        level++;
    if (level == ARRAY_LEN(level_names))
        return error_set(e, ERR_BAD_REQUEST,
                         "level must be None, Metadata, Request or RequestResponse");
    r->decision.level = (enum audit_level)level;
    r->decision.omit = omit;
    r->decision.omit_managed_fields =
        json_is_true(json_object_get(of, "omitManagedFields"));
    if (text_list(of, "users", &r->users, e) < 0 ||
        text_list(of, "userGroups", &r->groups, e) < 0 ||
        text_list(of, "verbs", &r->verbs, e) < 0 ||
        text_list(of, "namespaces", &r->namespaces, e) < 0 ||
        text_list(of, "nonResourceURLs", &r->paths, e) < 0 ||
        read_resources(of, &r->resources, e) < 0 ||
        read_stages(of, &r->decision.omit, e) < 0)
        return -(int)e->code;
    if (r->paths != NULL && (r->resources != NULL || r->namespaces != NULL))
        return error_set(e, ERR_BAD_REQUEST,
                         "a rule is for nonResourceURLs or for resources, not for both");
    return 0;
}

static int
read_document(struct audit_policy *p, struct error *e)
{
    static const char *const known[] = {"apiVersion", "kind",       "metadata",
                                        "rules",      "omitStages", "omitManagedFields",
                                        NULL};
    const char *version = json_string_value(json_object_get(p->doc, "apiVersion"));
    const char *kind = json_string_value(json_object_get(p->doc, "kind"));
    const json_t *rules = json_object_get(p->doc, "rules");
    unsigned omit = 0;

    if (version == NULL || kind == NULL || !streq(version, "audit.k8s.io/v1") ||
        !streq(kind, "Policy"))
        return error_set(e, ERR_BAD_REQUEST,
                         "it must be of apiVersion audit.k8s.io/v1 and kind Policy");
    if (unknown_members(p->doc, known, "Policy", e) < 0 ||
        read_stages(p->doc, &omit, e) < 0)
        return -(int)e->code;
    if (!json_is_array(rules) || json_array_size(rules) == 0 ||
        json_array_size(rules) > RULES_MAX)
        return error_set(e, ERR_BAD_REQUEST, "rules must be a list of 1 to %d rules",
                         RULES_MAX);
    bool no_managed = json_is_true(json_object_get(p->doc, "omitManagedFields"));
    p->rules = xcalloc(json_array_size(rules), sizeof(*p->rules));
    for (p->n = 0; p->n < json_array_size(rules); p->n++) {
        struct rule *r = &p->rules[p->n];
        const json_t *of = json_array_get(rules, p->n);
        if (read_rule(of, omit, r, e) < 0)
            return error_prepend(e, "rules[%zu]", p->n);
        if (json_object_get(of, "omitManagedFields") == NULL)
            r->decision.omit_managed_fields = no_managed;
    }
    return 0;
}

int
audit_policy_read(const char *text, size_t n, struct audit_policy **ret, struct error *e)
{
    struct yaml_docs docs = {0};
    struct audit_policy *p = xnew(struct audit_policy);
    int rc = n > POLICY_MAX ? error_set(e, ERR_TOO_LARGE, "larger than %d", POLICY_MAX)
                            : yaml_read(text, n, false, &docs, e);

    if (rc == 0 && docs.list.len != 1)
        rc = error_set(e, ERR_BAD_REQUEST, "it must hold one document");
    if (rc == 0 && docs.list.items != NULL) {
        const struct str *json = &docs.list.items[0].json;
        p->doc = json_loadb(json->ptr, json->len, 0, NULL);
        rc = p->doc == NULL ? error_set(e, ERR_BAD_REQUEST, "it is not an object")
                            : read_document(p, e);
    }
    yaml_docs_done(&docs);
    if (rc < 0) {
        audit_policy_free(p);
        return error_prepend(e, "audit policy");
    }
    *ret = p;
    return 0;
}

void
audit_policy_free(struct audit_policy *p)
{
    if (p == NULL)
        return;
    json_decref(p->doc);
    free(p->rules);
    free(p);
}

/* --- deciding
 * ----------------------------------------------------------------------------- */

/* The list has it, or "*". A list that is not there has everything. */
static bool
has(const json_t *list, const char *text)
{
    size_t i;
    const json_t *item;

    if (list == NULL)
        return true;
    json_array_foreach (list, i, item) {
        const char *s = json_string_value(item);
        if (streq(s, text) || streq(s, "*"))
            return true;
    }
    return false;
}

static bool
has_one(const json_t *list, char *const *texts)
{
    if (list == NULL)
        return true;
    for (; *texts != NULL; texts++) {
        if (has(list, *texts))
            return true;
    }
    return false;
}

/* "pods", "pods/log", a star for either side of the slash, or one for everything. */
static bool
names_resource(const char *want, const struct audit_subject *s)
{
    const char *slash = strchr(want, '/');
    size_t n = slash == NULL ? strlen(want) : (size_t)(slash - want);
    bool all = n == 1 && want[0] == '*';

    if (all && slash == NULL)
        return true;
    if (!all && (strlen(s->plural) != n || memcmp(want, s->plural, n) != 0))
        return false;
    if (slash == NULL)
        return *s->sub == '\0';
    return *s->sub != '\0' && (streq(slash + 1, "*") || streq(slash + 1, s->sub));
}

static bool
fits_resource(const json_t *one, const struct audit_subject *s)
{
    const char *group = json_string_value(json_object_get(one, "group"));
    const json_t *list = json_object_get(one, "resources");
    const json_t *names = json_object_get(one, "resourceNames");
    size_t i;
    const json_t *item;
    bool fits = json_array_size(list) == 0;

    if (!streq(group == NULL ? "" : group, s->group) &&
        (group == NULL || !streq(group, "*")))
        return false;
    json_array_foreach (list, i, item) {
        fits = fits || names_resource(json_string_value(item), s);
    }
    return fits && (json_array_size(names) == 0 || has(names, s->name));
}

static bool
fits_path(const json_t *list, const char *path)
{
    size_t i;
    const json_t *item;

    json_array_foreach (list, i, item) {
        const char *want = json_string_value(item);
        size_t n = strlen(want);
        if (streq(want, path) ||
            (n > 0 && want[n - 1] == '*' && strncmp(want, path, n - 1) == 0))
            return true;
    }
    return false;
}

static bool
fits(const struct rule *r, const struct audit_subject *s)
{
    size_t i;
    const json_t *item;

    if (!has(r->users, s->user) || !has_one(r->groups, s->groups) ||
        !has(r->verbs, s->verb))
        return false;
    if (r->paths != NULL)
        return !s->resource && fits_path(r->paths, s->path);
    if (r->resources == NULL && r->namespaces == NULL)
        return true;
    if (!s->resource || !has(r->namespaces, s->ns))
        return false;
    json_array_foreach (r->resources, i, item) {
        if (fits_resource(item, s))
            return true;
    }
    return r->resources == NULL;
}

bool
audit_is_sensitive(const struct audit_subject *s)
{
    static const char *const subs[] = {"token", "jointoken", "enroll"};
    static const char *const plurals[] = {"secrets", "tokenreviews", "revisions"};

    if (!s->resource)
        return strstr(s->path, "enroll") != NULL;
    for (size_t i = 0; i < ARRAY_LEN(plurals); i++) {
        if (streq(s->plural, plurals[i]))
            return true;
    }
    for (size_t i = 0; i < ARRAY_LEN(subs); i++) {
        if (streq(s->sub, subs[i]))
            return true;
    }
    return false;
}

struct audit_decision
audit_policy_decide(const struct audit_policy *p, const struct audit_subject *s)
{
    for (size_t i = 0; i < p->n; i++) {
        if (!fits(&p->rules[i], s))
            continue;
        struct audit_decision d = p->rules[i].decision;
        if (d.level > AUDIT_METADATA && audit_is_sensitive(s))
            d.level = AUDIT_METADATA;
        return d;
    }
    return (struct audit_decision){AUDIT_NONE, 0, false};
}
