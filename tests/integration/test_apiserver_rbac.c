/* SPDX-License-Identifier: Apache-2.0 */
/* Roles and bindings as the API serves and enforces them. */
#include "integration/api_fixture.h"

#include <stdio.h>
#include <stdlib.h>

#define RBAC "/apis/rbac.authorization.k8s.io/v1"
#define ROLES RBAC "/namespaces/default/roles"
#define BINDINGS RBAC "/namespaces/default/rolebindings"
#define CLUSTER_ROLES RBAC "/clusterroles"
#define CLUSTER_BINDINGS RBAC "/clusterrolebindings"

static struct api_user *
person(const char *name)
{
    return user_new(name, "system:authenticated");
}

static void
role(struct api_fixture *f, const char *path, const char *name, const char *rules)
{
    autofree char *body =
        xasprintf("{\"metadata\":{\"name\":\"%s\"},\"rules\":%s}", name, rules);

    api_ok(f, 201, "POST", path, NULL, body);
}

static void
bind(struct api_fixture *f, const char *path, const char *name, const char *role_kind,
     const char *role_name, const char *subject)
{
    autofree char *body =
        xasprintf("{\"metadata\":{\"name\":\"%s\"},\"roleRef\":{\"apiGroup\":"
                  "\"rbac.authorization.k8s.io\",\"kind\":\"%s\",\"name\":\"%s\"},"
                  "\"subjects\":[%s]}",
                  name, role_kind, role_name, subject);

    api_ok(f, 201, "POST", path, NULL, body);
}

static void
expect(struct api_fixture *f, struct api_user *u, int status, const char *method,
       const char *path, const char *body)
{
    bool patch = streq(method, "PATCH");
    int got = api_do_as(f, u, method, path, patch ? MERGE : NULL, body);

    if (got != status)
        fail_msg("%s %s: %d instead of %d: %.2000s", method, path, got, status,
                 f->reply.body.ptr);
}

/* --- enforcement
 * ------------------------------------------------------------------------- */

static void
roles_take_effect_at_once(void **state)
{
    struct api_fixture *f = *state;
    struct api_user *bob = person("bob");

    expect(f, bob, 403, "GET", RUNS, NULL);
    assert_string_equal(api_text(f, "message"),
                        "runs.drover.dev is forbidden: User \"bob\" cannot list resource "
                        "\"runs\" in API group \"drover.dev\" in the namespace "
                        "\"default\"");
    role(f, ROLES, "reader",
         "[{\"verbs\":[\"list\",\"get\"],\"apiGroups\":[\"drover.dev\"],\"resources\":["
         "\"runs\"]}]");
    expect(f, bob, 403, "GET", RUNS, NULL);
    bind(f, BINDINGS, "b", "Role", "reader", "{\"kind\":\"User\",\"name\":\"bob\"}");
    assert_string_equal(api_text(f, "subjects.0.apiGroup"), "rbac.authorization.k8s.io");
    expect(f, bob, 200, "GET", RUNS, NULL);
    expect(f, bob, 403, "POST", RUNS, api_run("one", ""));
    expect(f, bob, 403, "DELETE", RUNS, NULL); /* deletecollection */
    expect(f, bob, 403, "GET", "/apis/drover.dev/v1/runs", NULL);
    expect(f, bob, 403, "GET", "/apis/drover.dev/v1/namespaces/other/runs", NULL);
    expect(f, bob, 403, "GET", RUNS "?watch=true", NULL);
    api_ok(f, 200, "PATCH", ROLES "/reader", MERGE,
           "{\"rules\":[{\"verbs\":[\"create\"],\"apiGroups\":[\"drover.dev\"],"
           "\"resources\":[\"runs\"]}]}");
    expect(f, bob, 403, "GET", RUNS, NULL);
    expect(f, bob, 201, "POST", RUNS, api_run("one", ""));
    api_ok(f, 200, "DELETE", ROLES "/reader", NULL, NULL);
    expect(f, bob, 403, "POST", RUNS, api_run("two", ""));
    role(f, ROLES, "reader", /* the binding waits for the role to come back */
         "[{\"verbs\":[\"*\"],\"apiGroups\":[\"*\"],\"resources\":[\"*\"]}]");
    expect(f, bob, 201, "POST", RUNS, api_run("two", ""));
    expect(f, bob, 200, "PATCH", RUNS "/two/status", "{\"status\":{\"phase\":\"x\"}}");
    api_ok(f, 200, "DELETE", BINDINGS "/b", NULL, NULL);
    expect(f, bob, 403, "GET", RUNS, NULL);
    user_unref(bob);
}

static void
subjects_of_each_kind(void **state)
{
    struct api_fixture *f = *state;
    struct api_user *group = user_new("g", "team,system:authenticated");
    struct api_user *account =
        user_new("system:serviceaccount:default:ci",
                 "system:serviceaccounts,system:serviceaccounts:default");
    struct api_user *other = user_new("system:serviceaccount:n2:ci", "");

    bind(f, BINDINGS, "b", "ClusterRole", "view",
         "{\"kind\":\"Group\",\"name\":\"team\"},{\"kind\":\"ServiceAccount\",\"name\":"
         "\"ci\",\"namespace\":\"default\"}");
    api_settle(f, 10);
    expect(f, group, 200, "GET", RUNS, NULL);
    expect(f, account, 200, "GET", RUNS, NULL);
    expect(f, other, 403, "GET", RUNS, NULL);
    expect(f, group, 403, "GET", SECRETS, NULL);
    expect(f, group, 403, "GET", "/apis/drover.dev/v1/runs", NULL);
    bind(f, CLUSTER_BINDINGS, "c", "ClusterRole", "view",
         "{\"kind\":\"Group\",\"name\":\"team\"}");
    expect(f, group, 200, "GET", "/apis/drover.dev/v1/runs", NULL);
    user_unref(group);
    user_unref(account);
    user_unref(other);
}

static void
names_and_paths(void **state)
{
    struct api_fixture *f = *state;
    struct api_user *bob = person("bob");

    api_ok(f, 201, "POST", SECRETS, NULL, "{\"metadata\":{\"name\":\"one\"}}");
    api_ok(f, 201, "POST", SECRETS, NULL, "{\"metadata\":{\"name\":\"two\"}}");
    role(f, ROLES, "one",
         "[{\"verbs\":[\"get\",\"list\",\"update\"],\"apiGroups\":[\"\"],\"resources\":["
         "\"secrets\"],\"resourceNames\":[\"one\"]}]");
    bind(f, BINDINGS, "b", "Role", "one", "{\"kind\":\"User\",\"name\":\"bob\"}");
    expect(f, bob, 200, "GET", SECRETS "/one", NULL);
    expect(f, bob, 403, "GET", SECRETS "/two", NULL);
    expect(f, bob, 403, "GET", SECRETS, NULL);
    expect(f, bob, 200, "GET", SECRETS "?fieldSelector=metadata.name%3Done", NULL);
    assert_int_equal(json_array_size(api_at(f, "items")), 1);
    expect(f, bob, 403, "GET", SECRETS "?fieldSelector=metadata.name%3Dtwo", NULL);
    expect(f, bob, 403, "GET", SECRETS "?fieldSelector=metadata.name!%3Done", NULL);
    expect(f, bob, 403, "GET", SECRETS "?fieldSelector=metadata.name%3Done,type%3DOpaque",
           NULL);
    expect(f, bob, 200, "GET", "/version", NULL);
    expect(f, bob, 200, "GET", "/apis", NULL);
    role(f, CLUSTER_ROLES, "poster",
         "[{\"verbs\":[\"post\"],\"nonResourceURLs\":[\"/x/*\"]}]");
    bind(f, CLUSTER_BINDINGS, "poster", "ClusterRole", "poster",
         "{\"kind\":\"User\",\"name\":\"bob\"}");
    expect(f, bob, 405, "POST", "/x/y", "{}"); /* allowed, and nothing is there */
    expect(f, bob, 403, "GET", "/x/y", NULL);
    expect(f, bob, 403, "PUT", "/x/y", "{}");
    struct api_user *nobody = user_new("nobody", "");
    expect(f, nobody, 403, "GET", "/apis", NULL);
    assert_string_equal(api_text(f, "message"),
                        "forbidden: User \"nobody\" cannot get path \"/apis\"");
    user_unref(nobody);
    user_unref(bob);
}

/* --- validation
 * -------------------------------------------------------------------------- */

static void
invalid_documents(void **state)
{
    struct api_fixture *f = *state;
    static const struct {
        const char *path, *body, *message;
    } table[] = {
        {ROLES, "{\"metadata\":{\"name\":\"r\"},\"rules\":[{}]}",
         "Role.rbac.authorization.k8s.io \"r\" is invalid: [rules[0].verbs: Required "
         "value: verbs must contain at least one value, rules[0].apiGroups: Required "
         "value: resource rules must supply at least one api group, rules[0].resources: "
         "Required value: resource rules must supply at least one resource]"},
        {ROLES,
         "{\"metadata\":{\"name\":\"r\"},\"rules\":[{\"verbs\":[\"get\"],"
         "\"nonResourceURLs\":[\"/x\"]}]}",
         "Role.rbac.authorization.k8s.io \"r\" is invalid: rules[0].nonResourceURLs: "
         "Invalid value: [\"/x\"]: namespaced rules cannot apply to non-resource URLs"},
        {CLUSTER_ROLES,
         "{\"metadata\":{\"name\":\"r\"},\"rules\":[{\"verbs\":[\"get\"],\"apiGroups\":["
         "\"\"],\"nonResourceURLs\":[\"/x\"]}]}",
         "ClusterRole.rbac.authorization.k8s.io \"r\" is invalid: "
         "rules[0].nonResourceURLs: Invalid value: [\"/x\"]: rules cannot apply to both "
         "regular resources and non-resource URLs"},
        {CLUSTER_BINDINGS,
         "{\"metadata\":{\"name\":\"r\"},\"roleRef\":{\"kind\":\"Role\",\"name\":\"x\"}}",
         "ClusterRoleBinding.rbac.authorization.k8s.io \"r\" is invalid: roleRef.kind: "
         "Unsupported value: \"Role\": supported values: \"ClusterRole\""},
        {BINDINGS,
         "{\"metadata\":{\"name\":\"r\"},\"roleRef\":{\"kind\":\"Role\",\"name\":\"x\"},"
         "\"subjects\":[{\"kind\":\"ServiceAccount\",\"name\":\"a\"}]}",
         "RoleBinding.rbac.authorization.k8s.io \"r\" is invalid: "
         "subjects[0].namespace: Required value"},
        {BINDINGS,
         "{\"metadata\":{\"name\":\"r\"},\"roleRef\":{\"kind\":\"Role\",\"name\":\"x\"},"
         "\"subjects\":[{\"kind\":\"Robot\",\"name\":\"a\"}]}",
         "RoleBinding.rbac.authorization.k8s.io \"r\" is invalid: subjects[0].kind: "
         "Unsupported value: \"Robot\": supported values: \"ServiceAccount\", \"User\", "
         "\"Group\""},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        api_ok(f, 422, "POST", table[i].path, NULL, table[i].body);
        assert_string_equal(api_text(f, "message"), table[i].message);
    }
    bind(f, BINDINGS, "b", "ClusterRole", "view", "");
    api_ok(f, 422, "PATCH", BINDINGS "/b", MERGE, "{\"roleRef\":{\"name\":\"edit\"}}");
    assert_string_equal(api_text(f, "details.causes.0.field"), "roleRef");
    assert_non_null(strstr(api_text(f, "message"), "cannot change roleRef"));
    api_ok(f, 200, "PATCH", BINDINGS "/b", MERGE,
           "{\"subjects\":[{\"kind\":\"User\",\"name\":\"x\"}]}");
}

/* --- escalation
 * -------------------------------------------------------------------------- */

static const char bob_subject[] = "{\"kind\":\"User\",\"name\":\"bob\"}";

static void
nobody_gives_what_he_lacks(void **state)
{
    struct api_fixture *f = *state;
    struct api_user *bob = person("bob");
    const char *wants =
        "{\"metadata\":{\"name\":\"more\"},\"rules\":[{\"verbs\":[\"get\","
        "\"delete\",\"list\"],\"apiGroups\":[\"drover.dev\"],"
        "\"resources\":[\"runs\",\"jobs\"]}]}";

    role(
        f, ROLES, "base",
        "[{\"verbs\":[\"*\"],\"apiGroups\":[\"rbac.authorization.k8s.io\"],\"resources\":"
        "[\"rolebindings\"]},"
        "{\"verbs\":[\"get\",\"list\",\"create\",\"update\",\"patch\"],\"apiGroups\":["
        "\"rbac.authorization.k8s.io\"],\"resources\":[\"roles\"]},"
        "{\"verbs\":[\"get\",\"list\"],\"apiGroups\":[\"drover.dev\"],\"resources\":["
        "\"runs\"]}]");
    bind(f, BINDINGS, "base", "Role", "base", bob_subject);
    expect(f, bob, 403, "POST", ROLES, wants);
    assert_string_equal(
        api_text(f, "message"),
        "roles.rbac.authorization.k8s.io \"more\" is forbidden: user \"bob\" (groups=["
        "\"system:authenticated\"]) is attempting to grant RBAC permissions not "
        "currently held:\n{APIGroups:[\"drover.dev\"], Resources:[\"jobs\"], "
        "Verbs:[\"get\" \"delete\" \"list\"]}\n{APIGroups:[\"drover.dev\"], "
        "Resources:[\"runs\"], Verbs:[\"delete\"]}");
    expect(f, bob, 403, "POST", ROLES "?dryRun=All", wants);
    expect(f, bob, 201, "POST", ROLES,
           "{\"metadata\":{\"name\":\"less\"},\"rules\":[{\"verbs\":[\"get\"],"
           "\"apiGroups\":[\"drover.dev\"],\"resources\":[\"runs\"]}]}");
    expect(
        f, bob, 403, "PATCH", ROLES "/less",
        "{\"rules\":[{\"verbs\":[\"*\"],\"apiGroups\":[\"*\"],\"resources\":[\"*\"]}]}");
    /* what does not touch the rules is free */
    expect(f, bob, 200, "PATCH", ROLES "/less",
           "{\"metadata\":{\"labels\":{\"a\":\"b\"}}}");
    expect(f, bob, 200, "PATCH", ROLES "/base",
           "{\"metadata\":{\"labels\":{\"a\":\"b\"}}}");
    /* another namespace's rights do not count */
    struct api_user *far = person("far");
    bind(f, CLUSTER_BINDINGS, "far", "ClusterRole", "edit",
         "{\"kind\":\"User\",\"name\":\"far\"}");
    expect(f, far, 403, "POST", ROLES, wants);
    user_unref(far);
    user_unref(bob);
}

static void
bindings_need_the_rules_or_bind(void **state)
{
    struct api_fixture *f = *state;
    struct api_user *bob = person("bob");
    const char *admin = "{\"metadata\":{\"name\":\"own\"},\"roleRef\":{\"kind\":"
                        "\"ClusterRole\",\"name\":\"cluster-admin\"},\"subjects\":[{"
                        "\"kind\":\"User\",\"name\":\"bob\"}]}";
    const char *none = "{\"metadata\":{\"name\":\"own\"},\"roleRef\":{\"kind\":\"Role\","
                       "\"name\":\"none\"}}";

    role(
        f, ROLES, "binder",
        "[{\"verbs\":[\"*\"],\"apiGroups\":[\"rbac.authorization.k8s.io\"],\"resources\":"
        "[\"rolebindings\"]}]");
    bind(f, BINDINGS, "binder", "Role", "binder", bob_subject);
    expect(f, bob, 403, "POST", BINDINGS, admin);
    assert_string_equal(
        api_text(f, "message"),
        "rolebindings.rbac.authorization.k8s.io \"own\" is forbidden: user \"bob\" "
        "(groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions "
        "not currently held:\n{APIGroups:[\"*\"], Resources:[\"*\"], Verbs:[\"*\"]}\n"
        "{NonResourceURLs:[\"*\"], Verbs:[\"*\"]}");
    expect(f, bob, 404, "POST", BINDINGS, none);
    assert_string_equal(api_text(f, "message"),
                        "roles.rbac.authorization.k8s.io \"none\" not found");
    role(f, CLUSTER_ROLES, "may-bind",
         "[{\"verbs\":[\"bind\"],\"apiGroups\":[\"rbac.authorization.k8s.io\"],"
         "\"resources\":[\"clusterroles\"],\"resourceNames\":[\"cluster-admin\"]}]");
    bind(f, BINDINGS, "may-bind", "ClusterRole", "may-bind", bob_subject);
    expect(f, bob, 201, "POST", BINDINGS, admin);
    expect(f, bob, 200, "GET", SECRETS, NULL);
    user_unref(bob);
}

static void
escalate_lifts_it(void **state)
{
    struct api_fixture *f = *state;
    struct api_user *bob = person("bob");

    role(f, CLUSTER_ROLES, "writer",
         "[{\"verbs\":[\"create\",\"update\",\"patch\",\"escalate\"],\"apiGroups\":["
         "\"rbac.authorization.k8s.io\"],\"resources\":[\"clusterroles\"]}]");
    bind(f, CLUSTER_BINDINGS, "writer", "ClusterRole", "writer", bob_subject);
    expect(
        f, bob, 201, "POST", CLUSTER_ROLES,
        "{\"metadata\":{\"name\":\"all\"},\"rules\":[{\"verbs\":[\"*\"],\"apiGroups\":["
        "\"*\"],\"resources\":[\"*\"]}]}");
    api_ok(f, 200, "PATCH", CLUSTER_ROLES "/writer", MERGE,
           "{\"rules\":[{\"verbs\":[\"create\",\"update\",\"patch\"],\"apiGroups\":["
           "\"rbac.authorization.k8s.io\"],\"resources\":[\"clusterroles\"]}]}");
    expect(f, bob, 403, "POST", CLUSTER_ROLES,
           "{\"metadata\":{\"name\":\"sum\"},\"aggregationRule\":{"
           "\"clusterRoleSelectors\":[{}]}}");
    assert_non_null(strstr(api_text(f, "message"),
                           "must have cluster-admin privileges to use the "
                           "aggregationRule"));
    user_unref(bob);
}

static void
an_apply_that_creates_needs_create(void **state)
{
    struct api_fixture *f = *state;
    struct api_user *bob = person("bob");
    const char *config = "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{"
                         "\"name\":\"c\"},\"data\":{\"a\":\"b\"}}";
    const char *path = "/api/v1/namespaces/default/configmaps/c?fieldManager=x";

    role(f, ROLES, "patcher",
         "[{\"verbs\":[\"patch\"],\"apiGroups\":[\"\"],\"resources\":[\"configmaps\"]}]");
    bind(f, BINDINGS, "b", "Role", "patcher", bob_subject);
    assert_int_equal(api_do_as(f, bob, "PATCH", path, APPLY, config), 403);
    assert_non_null(strstr(api_text(f, "message"),
                           "User \"bob\" cannot create resource \"configmaps\""));
    api_ok(f, 201, "PATCH", path, APPLY, config);
    assert_int_equal(api_do_as(f, bob, "PATCH", path, APPLY, config), 200);
    user_unref(bob);
}

/* --- what every server has
 * --------------------------------------------------------------- */

static void
aggregated_roles(void **state)
{
    struct api_fixture *f = *state;
    struct api_user *bob = person("bob");

    api_settle(f, 10);
    api_ok(f, 200, "GET", CLUSTER_ROLES "/view", NULL, NULL);
    size_t n_view = json_array_size(api_at(f, "rules"));
    assert_true(n_view > 0);
    api_ok(f, 200, "GET", CLUSTER_ROLES "/edit", NULL, NULL);
    assert_true(json_array_size(api_at(f, "rules")) > n_view);
    bind(f, BINDINGS, "b", "ClusterRole", "view", bob_subject);
    expect(f, bob, 200, "GET", RUNS, NULL);
    expect(f, bob, 403, "GET", SECRETS, NULL);
    api_ok(f, 201, "POST", CLUSTER_ROLES, NULL,
           "{\"metadata\":{\"name\":\"widgets\",\"labels\":{"
           "\"rbac.authorization.k8s.io/aggregate-to-view\":\"true\"}},\"rules\":[{"
           "\"verbs\":[\"get\"],\"apiGroups\":[\"x\"],\"resources\":[\"widgets\"]}]}");
    api_settle(f, 10);
    for (int i = 0; i < 2; i++) {
        api_ok(f, 200, "GET", i == 0 ? CLUSTER_ROLES "/view" : CLUSTER_ROLES "/admin",
               NULL, NULL);
        assert_non_null(strstr(f->reply.body.ptr, "widgets"));
    }
    api_ok(f, 200, "DELETE", CLUSTER_ROLES "/widgets", NULL, NULL);
    api_settle(f, 10);
    api_ok(f, 200, "GET", CLUSTER_ROLES "/admin", NULL, NULL);
    assert_null(strstr(f->reply.body.ptr, "widgets"));
    user_unref(bob);
}

static void
on_done(void *arg, const struct error *e)
{
    assert_null(e);
    *(bool *)arg = true;
}

static void
start_again(struct api_fixture *f)
{
    bool done = false;

    auth_bootstrap(f->auth, on_done, &done);
    for (int i = 0; i < 100 && !done; i++)
        store_flush(f->store);
    assert_true(done);
}

static void
bootstrap_completes_but_does_not_take_away(void **state)
{
    struct api_fixture *f = *state;
    const char *path = CLUSTER_ROLES "/system:basic-user";

    api_settle(f, 10);
    uint64_t before = store_revision(f->store);
    start_again(f);
    assert_int_equal(store_revision(f->store),
                     before); /* nothing to do, nothing written */
    api_ok(f, 200, "PATCH", path, MERGE,
           "{\"rules\":[{\"verbs\":[\"get\"],\"apiGroups\":[\"x\"],\"resources\":[\"y\"]}"
           "]}");
    start_again(f);
    api_ok(f, 200, "GET", path, NULL, NULL);
    assert_int_equal(json_array_size(api_at(f, "rules")), 4);
    api_ok(f, 200, "PATCH", path, MERGE,
           "{\"rules\":[],\"metadata\":{\"annotations\":{"
           "\"rbac.authorization.kubernetes.io/autoupdate\":\"false\"}}}");
    start_again(f);
    api_ok(f, 200, "GET", path, NULL, NULL);
    assert_int_equal(json_array_size(api_at(f, "rules")), 0);
    api_ok(f, 200, "DELETE", CLUSTER_BINDINGS "/system:discovery", NULL, NULL);
    start_again(f);
    api_ok(f, 200, "GET", CLUSTER_BINDINGS "/system:discovery", NULL, NULL);
}

int
main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, api_setup, api_teardown)
    const struct CMUnitTest tests[] = {
        CASE(roles_take_effect_at_once),
        CASE(subjects_of_each_kind),
        CASE(names_and_paths),
        CASE(invalid_documents),
        CASE(nobody_gives_what_he_lacks),
        CASE(bindings_need_the_rules_or_bind),
        CASE(escalate_lifts_it),
        CASE(an_apply_that_creates_needs_create),
        CASE(aggregated_roles),
        CASE(bootstrap_completes_but_does_not_take_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
