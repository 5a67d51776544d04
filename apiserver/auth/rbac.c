/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Roles live in slots that outlast the role while a binding refers to them; a binding
 * hangs in the list of each of its subjects, once per (subject, namespace).
 */
#include "apiserver/auth/rbac.h"

#include <stdlib.h>

#include "apiserver/auth/follow.h"
#include "base/map.h"

enum { KEY_MAX = 1024, N_RESOURCES = 4 };
#define SERVICE_ACCOUNT_PREFIX "system:serviceaccount:"

static const char *const resources[N_RESOURCES] = {
    "roles.rbac.authorization.k8s.io", "clusterroles.rbac.authorization.k8s.io",
    "rolebindings.rbac.authorization.k8s.io",
    "clusterrolebindings.rbac.authorization.k8s.io"};

struct role_slot {
    char *key; /* "ns/name", "/name" */
    bool exists;
    unsigned n_bindings;
    struct rbac_rules rules;
};
struct subject {
    vec(struct binding *) bindings;
};
struct binding {
    struct role_slot *role;
    char *ns, *name, *role_kind, *role_name;
    vec(char *) subjects; /* keys into rbac.subjects */
};
struct rbac {
    struct map *roles;    /* "ns/name" -> role_slot */
    struct map *bindings; /* "ns/name" -> binding */
    struct map *subjects; /* "U|G" ns NUL name -> subject */
    struct follow *follows[N_RESOURCES];
    void (*changed)(void *arg);
    void *arg;
};

static bool
is_binding(const char *resource)
{
    return resource == resources[2] || resource == resources[3];
}

/* --- keys
 * -------------------------------------------------------------------------------- */

/* Length, or 0 when it does not fit: such a name is granted nothing. */
static size_t
subject_key(char type, const char *ns, const char *name, char key[KEY_MAX])
{
    int n = snprintf(key, KEY_MAX, "%c%s|%s", type, ns, name);

    return n > 0 && n < KEY_MAX ? (size_t)n : 0;
}

static char *
object_key(const char *ns, const char *name)
{
    return xasprintf("%s/%s", ns, name);
}

/* --- roles
 * ------------------------------------------------------------------------------- */

static void
slot_free(void *p)
{
    struct role_slot *slot = p;

    rbac_rules_done(&slot->rules);
    free(slot->key);
    free(slot);
}

static struct role_slot *
slot_get(struct rbac *r, const char *ns, const char *name)
{
    autofree char *key = object_key(ns, name);
    struct role_slot *slot = map_get(r->roles, key);

    if (slot == NULL) {
        slot = xnew(struct role_slot);
        slot->key = xstrdup(key);
        map_put(r->roles, key, slot);
    }
    return slot;
}

static void
slot_release(struct rbac *r, struct role_slot *slot)
{
    if (slot->exists || slot->n_bindings > 0)
        return;
    autofree char *key = xstrdup(slot->key);
    map_del(r->roles, key);
}

static void
role_change(struct rbac *r, const struct object *o, const struct object *prev)
{
    const struct object *any = o != NULL ? o : prev;
    struct role_slot *slot = slot_get(r, any->ns, any->name);

    rbac_rules_done(&slot->rules);
    slot->exists = o != NULL;
    if (o != NULL) {
        json_t *tree = object_json(o);
        rbac_rules_parse(json_object_get(tree, "rules"), &slot->rules);
        json_decref(tree);
    }
    slot_release(r, slot);
}

/* --- bindings
 * ---------------------------------------------------------------------------- */

static void
subject_free(void *p)
{
    struct subject *s = p;

    vec_done(&s->bindings);
    free(s);
}

static void
subject_remove(struct rbac *r, const char *key, const struct binding *b)
{
    struct subject *s = map_get(r->subjects, key);

    if (s == NULL)
        return;
    for (size_t i = 0; i < s->bindings.len; i++) {
        if (s->bindings.items[i] == b) {
            s->bindings.items[i] = s->bindings.items[--s->bindings.len];
            break;
        }
    }
    if (s->bindings.len == 0)
        map_del(r->subjects, key);
}

static void
binding_free(void *p)
{
    struct binding *b = p;

    vec_foreach (key, &b->subjects)
        free(*key);
    vec_done(&b->subjects);
    free(b->ns);
    free(b->name);
    free(b->role_kind);
    free(b->role_name);
    free(b);
}

static void
binding_remove(struct rbac *r, const char *key)
{
    struct binding *b = map_take(r->bindings, key);

    if (b == NULL)
        return;
    vec_foreach (subject, &b->subjects)
        subject_remove(r, *subject, b);
    b->role->n_bindings--;
    slot_release(r, b->role);
    binding_free(b);
}

static const char *
text_of(const json_t *tree, const char *key)
{
    const char *text = json_string_value(json_object_get(tree, key));

    return text == NULL ? "" : text;
}

static bool
has_subject(const struct binding *b, const char *key)
{
    vec_foreach (k, &b->subjects) {
        if (streq(*k, key))
            return true;
    }
    return false;
}

static void
add_subject(struct rbac *r, struct binding *b, const json_t *subject)
{
    const char *kind = text_of(subject, "kind");
    const char *name = text_of(subject, "name");
    autofree char *account = NULL;
    char key[KEY_MAX];

    if (streq(kind, "ServiceAccount")) {
        const char *ns = text_of(subject, "namespace");
        account = xasprintf(SERVICE_ACCOUNT_PREFIX "%s:%s", ns, name);
        name = account;
    } else if (!streq(kind, "User") && !streq(kind, "Group")) {
        return;
    }
    if (subject_key(streq(kind, "Group") ? 'G' : 'U', b->ns, name, key) == 0 ||
        has_subject(b, key))
        return;
    struct subject *s = map_get(r->subjects, key);
    if (s == NULL) {
        s = xnew(struct subject);
        map_put(r->subjects, key, s);
    }
    vec_push(&s->bindings, b);
    vec_push(&b->subjects, xstrdup(key));
}

static void
binding_change(struct rbac *r, const struct object *o, const struct object *prev)
{
    const struct object *any = o != NULL ? o : prev;
    autofree char *key = object_key(any->ns, any->name);
    const json_t *subject;
    size_t i;

    binding_remove(r, key);
    if (o == NULL)
        return;
    json_t *tree = object_json(o);
    const json_t *ref = json_object_get(tree, "roleRef");
    struct binding *b = xnew(struct binding);
    b->ns = xstrdup(o->ns);
    b->name = xstrdup(o->name);
    b->role_kind = xstrdup(text_of(ref, "kind"));
    b->role_name = xstrdup(text_of(ref, "name"));
    b->role = slot_get(r, streq(b->role_kind, "Role") ? o->ns : "", b->role_name);
    b->role->n_bindings++;
    json_array_foreach (json_object_get(tree, "subjects"), i, subject)
        add_subject(r, b, subject);
    json_decref(tree);
    map_put(r->bindings, key, b);
}

static void
on_change(void *arg, const char *resource, const struct object *o,
          const struct object *prev)
{
    struct rbac *r = arg;

    if (is_binding(resource)) {
        binding_change(r, o, prev);
        return;
    }
    role_change(r, o, prev);
    if (resource == resources[1] && r->changed != NULL)
        r->changed(r->arg);
}

/* --- starting over
 * ----------------------------------------------------------------------- */

static bool
next_of_scope(const struct map *m, bool cluster, char **ret)
{
    struct map_cursor cursor = map_begin(m);
    const char *key;
    void *value;

    while (map_next(&cursor, &key, &value)) {
        if ((key[0] == '/') == cluster) {
            *ret = xstrdup(key);
            return true;
        }
    }
    return false;
}

static void
reset_roles(struct rbac *r, bool cluster)
{
    struct map_cursor cursor = map_begin(r->roles);
    const char *key;
    void *value;

    while (map_next(&cursor, &key, &value)) {
        struct role_slot *slot = value;
        if ((key[0] == '/') != cluster)
            continue;
        rbac_rules_done(&slot->rules);
        slot->exists = false;
        slot_release(r, slot);
    }
}

static void
on_reset(void *arg, const char *resource)
{
    struct rbac *r = arg;
    bool cluster = resource == resources[1] || resource == resources[3];
    char *key;

    if (!is_binding(resource)) {
        reset_roles(r, cluster);
        return;
    }
    while (next_of_scope(r->bindings, cluster, &key)) {
        binding_remove(r, key);
        free(key);
    }
}

int
rbac_new(struct loop *l, struct store *s, void (*changed)(void *arg), void *arg,
         struct rbac **ret, struct error *e)
{
    struct rbac *r = xnew(struct rbac);

    r->roles = map_new(slot_free);
    r->bindings = map_new(binding_free);
    r->subjects = map_new(subject_free);
    r->changed = changed;
    r->arg = arg;
    for (size_t i = 0; i < N_RESOURCES; i++) {
        struct follow_opts o = {l, s, resources[i], on_change, on_reset, r};
        int rc = follow_new(&o, &r->follows[i], e);
        if (rc < 0) {
            rbac_free(r);
            return rc;
        }
    }
    *ret = r;
    return 0;
}

void
rbac_free(struct rbac *r)
{
    if (r == NULL)
        return;
    for (size_t i = 0; i < N_RESOURCES; i++)
        follow_free(r->follows[i]);
    map_free(r->subjects);
    map_free(r->bindings);
    map_free(r->roles);
    free(r);
}

static void
sync_all(struct rbac *r)
{
    for (size_t i = 0; i < N_RESOURCES; i++)
        follow_sync(r->follows[i]);
}

/* --- questions
 * --------------------------------------------------------------------------- */

/* Calls fn for the bindings of one subject in one scope; false: stopped. */
typedef bool binding_fn(void *arg, const struct binding *b, char type, const char *name);

static bool
each_binding(const struct rbac *r, char type, const char *ns, const char *name,
             binding_fn *fn, void *arg)
{
    char key[KEY_MAX];
    size_t n = subject_key(type, ns, name, key);
    const struct subject *s = n == 0 ? NULL : map_getn(r->subjects, key, n);

    if (s == NULL)
        return true;
    vec_foreach (b, &s->bindings) {
        if (!fn(arg, *b, type, name))
            return false;
    }
    return true;
}

static bool
each_scope(const struct rbac *r, char type, const char *ns, const char *name,
           binding_fn *fn, void *arg)
{
    return each_binding(r, type, "", name, fn, arg) &&
           (*ns == '\0' || each_binding(r, type, ns, name, fn, arg));
}

static void
each_of_user(const struct rbac *r, const struct api_user *u, const char *ns,
             binding_fn *fn, void *arg)
{
    if (!each_scope(r, 'U', ns, u->name, fn, arg))
        return;
    for (char **g = u->groups; *g != NULL; g++) {
        if (!each_scope(r, 'G', ns, *g, fn, arg))
            return;
    }
}

struct question {
    const struct authz_attributes *t;
    struct str *reason;
    bool allowed;
};

static void
explain(struct str *out, const struct binding *b, char type, const char *name)
{
    str_addf(out, "RBAC: allowed by %sRoleBinding \"%s%s%s\" of %s \"%s\" to ",
             *b->ns == '\0' ? "Cluster" : "", b->name, *b->ns == '\0' ? "" : "/", b->ns,
             b->role_kind, b->role_name);
    if (type == 'U' && str_starts(name, SERVICE_ACCOUNT_PREFIX)) {
        const char *ns = name + sizeof(SERVICE_ACCOUNT_PREFIX) - 1;
        size_t n = strcspn(ns, ":");
        str_addf(out, "ServiceAccount \"%s/%.*s\"", ns[n] == ':' ? ns + n + 1 : "",
                 (int)n, ns);
        return;
    }
    str_addf(out, "%s \"%s\"", type == 'U' ? "User" : "Group", name);
}

static bool
ask_binding(void *arg, const struct binding *b, char type, const char *name)
{
    struct question *q = arg;
    const struct rbac_rules *rules = &b->role->rules;

    for (size_t i = 0; i < rules->n; i++) {
        if (!rbac_rule_allows(&rules->items[i], q->t))
            continue;
        q->allowed = true;
        if (q->t->explain)
            explain(q->reason, b, type, name);
        return false;
    }
    return true;
}

bool
rbac_authorize(struct rbac *r, const struct authz_attributes *t, struct str *reason)
{
    struct question q = {.t = t, .reason = reason};

    sync_all(r);
    each_of_user(r, t->user, t->path != NULL ? "" : t->ns, ask_binding, &q);
    return q.allowed;
}

struct visit {
    rbac_visit_fn *fn;
    void *arg;
};

static bool
visit_binding(void *arg, const struct binding *b, char type, const char *name)
{
    const struct visit *v = arg;
    const struct rbac_rules *rules = &b->role->rules;

    UNUSED(type);
    UNUSED(name);
    for (size_t i = 0; i < rules->n; i++) {
        if (!v->fn(v->arg, &rules->items[i]))
            return false;
    }
    return true;
}

void
rbac_visit(struct rbac *r, const struct api_user *u, const char *ns, rbac_visit_fn *fn,
           void *arg)
{
    struct visit v = {fn, arg};

    sync_all(r);
    each_of_user(r, u, ns, visit_binding, &v);
}

const struct rbac_rules *
rbac_role(struct rbac *r, const char *ns, const char *name)
{
    autofree char *key = object_key(ns, name);

    sync_all(r);
    const struct role_slot *slot = map_get(r->roles, key);
    return slot != NULL && slot->exists ? &slot->rules : NULL;
}
