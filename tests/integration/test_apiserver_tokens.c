/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens of ServiceAccounts, keys, impersonation, the review kinds. */
#include "integration/api_fixture.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/id.h"

#define ACCOUNTS "/api/v1/namespaces/default/serviceaccounts"
#define TOKEN_REVIEWS "/apis/authentication.k8s.io/v1/tokenreviews"
#define AUTHORIZATION "/apis/authorization.k8s.io/v1"
#define RBAC "/apis/rbac.authorization.k8s.io/v1"
#define S_NS INT64_C(1000000000)

static struct api_user *
login(struct api_fixture *f, const char *token)
{
    struct error e = ERROR_INIT;

    return auth_token(f->auth, token, &e);
}

static bool
works(struct api_fixture *f, const char *token)
{
    struct api_user *u = login(f, token);
    bool ok = u != NULL;

    user_unref(u);
    return ok;
}

static char *
account_token(struct api_fixture *f, const char *name, const char *spec)
{
    autofree char *path = xasprintf(ACCOUNTS "/%s/token", name);
    autofree char *body = xasprintf("{\"spec\":%s}", spec);

    api_ok(f, 201, "POST", path, NULL, body);
    assert_string_equal(api_text(f, "kind"), "TokenRequest");
    return xstrdup(api_text(f, "status.token"));
}

static void
make_account(struct api_fixture *f, const char *name)
{
    autofree char *body = xasprintf("{\"metadata\":{\"name\":\"%s\"}}", name);

    api_ok(f, 201, "POST", ACCOUNTS, NULL, body);
}

static void
every_namespace_has_a_default_account(void **state)
{
    struct api_fixture *f = *state;

    api_settle(f, 10);
    api_ok(f, 200, "GET", ACCOUNTS "/default", NULL, NULL);
    autofree char *uid = xstrdup(api_text(f, "metadata.uid"));
    api_ok(f, 201, "POST", "/api/v1/namespaces", NULL,
           "{\"metadata\":{\"name\":\"n2\"}}");
    api_settle(f, 10);
    api_ok(f, 200, "GET", "/api/v1/namespaces/n2/serviceaccounts/default", NULL, NULL);
    api_ok(f, 200, "DELETE", ACCOUNTS "/default", NULL, NULL);
    api_settle(f, 10);
    api_ok(f, 200, "GET", ACCOUNTS "/default", NULL, NULL);
    assert_string_not_equal(api_text(f, "metadata.uid"), uid);
    api_ok(f, 200, "DELETE", "/api/v1/namespaces/n2", NULL, NULL);
    api_settle(f, 50);
    api_ok(f, 404, "GET", "/api/v1/namespaces/n2", NULL, NULL);
}

static void
tokens_name_their_account(void **state)
{
    struct api_fixture *f = *state;

    make_account(f, "ci");
    autofree char *token = account_token(f, "ci", "{\"expirationSeconds\":7200}");
    assert_int_equal(api_int(f, "spec.expirationSeconds"), 7200);
    assert_string_equal(api_text(f, "spec.audiences.0"), AUTH_ISSUER_DEFAULT);
    assert_string_equal(api_text(f, "metadata.name"), "ci");
    assert_non_null(strstr(api_text(f, "status.expirationTimestamp"), "T"));
    struct api_user *u = login(f, token);
    assert_non_null(u);
    assert_string_equal(u->name, "system:serviceaccount:default:ci");
    assert_true(user_in_group(u, "system:serviceaccounts"));
    assert_true(user_in_group(u, "system:serviceaccounts:default"));
    assert_true(user_in_group(u, "system:authenticated"));
    assert_int_equal(api_do_as(f, u, "POST",
                               "/apis/authentication.k8s.io/v1/selfsubjectreviews", NULL,
                               "{}"),
                     201);
    assert_string_equal(api_text(f, "status.userInfo.username"), u->name);
    assert_non_null(strstr(f->reply.body.ptr, "credential-id"));
    user_unref(u);
    for (size_t i = 0; i < strlen(token) - 1; i += 11) {
        autofree char *bad = xstrdup(token);
        bad[i] = bad[i] == 'A' ? 'B' : 'A';
        assert_false(works(f, bad));
    }
}

static void
tokens_end(void **state)
{
    struct api_fixture *f = *state;

    make_account(f, "ci");
    autofree char *shorter = account_token(f, "ci", "{\"expirationSeconds\":600}");
    autofree char *longer = account_token(f, "ci", "{}");
    clock_fake_advance(599 * S_NS);
    assert_true(works(f, shorter));
    clock_fake_advance(2 * S_NS);
    assert_false(works(f, shorter));
    assert_true(works(f, longer));
    clock_fake_advance(3000 * S_NS);
    assert_false(works(f, longer));
    autofree char *again = account_token(f, "ci", "{}");
    assert_true(works(f, again));
    api_ok(f, 200, "DELETE", ACCOUNTS "/ci", NULL, NULL);
    assert_false(works(f, again));
    make_account(f, "ci"); /* the name again, another uid */
    assert_false(works(f, again));
}

static void
requests_out_of_bounds(void **state)
{
    struct api_fixture *f = *state;
    static const struct {
        int status;
        const char *body, *message;
    } table[] = {
        {422, "{\"spec\":{\"expirationSeconds\":599}}",
         "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: "
         "Invalid value: 599: may not specify a duration less than 10 minutes"},
        {422, "{\"spec\":{\"expirationSeconds\":-1}}",
         "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: "
         "Invalid value: -1: may not specify a duration less than 10 minutes"},
        {422, "{\"spec\":{\"expirationSeconds\":4294967297}}",
         "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: "
         "Invalid value: 4294967297: may not specify a duration larger than 2^32 "
         "seconds"},
        {400, "{\"spec\":{\"audiences\":[1]}}", NULL},
        {400,
         "{\"spec\":{\"boundObjectRef\":{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"name\":"
         "\"x\"}}}",
         "cannot bind token to object of type v1, Kind=Pod"},
        {404,
         "{\"spec\":{\"boundObjectRef\":{\"kind\":\"Secret\",\"apiVersion\":\"v1\","
         "\"name\":\"none\"}}}",
         "secrets \"none\" not found"},
        {400, "[]", NULL},
        {400, "{\"spec\"", NULL},
    };

    make_account(f, "ci");
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        api_ok(f, table[i].status, "POST", ACCOUNTS "/ci/token", NULL, table[i].body);
        if (table[i].message != NULL)
            assert_string_equal(api_text(f, "message"), table[i].message);
    }
    api_ok(f, 404, "POST", ACCOUNTS "/none/token", NULL, "{}");
    assert_string_equal(api_text(f, "message"), "serviceaccounts \"none\" not found");
    free(account_token(f, "ci", "{\"expirationSeconds\":4294967296}"));
    assert_int_equal(api_int(f, "spec.expirationSeconds"), 365 * 24 * 3600);
    struct api_user *bob = user_new("bob", "system:authenticated");
    assert_int_equal(api_do_as(f, bob, "POST", ACCOUNTS "/ci/token", NULL, "{}"), 403);
    assert_string_equal(api_text(f, "message"),
                        "serviceaccounts \"ci\" is forbidden: User \"bob\" cannot create "
                        "resource \"serviceaccounts/token\" in API group \"\" in the "
                        "namespace \"default\"");
    user_unref(bob);
    /* no token lies in a Secret */
    api_ok(f, 422, "POST", SECRETS, NULL,
           "{\"metadata\":{\"name\":\"t\"},\"type\":"
           "\"kubernetes.io/service-account-token\"}");
}

static void
bound_to_a_secret(void **state)
{
    struct api_fixture *f = *state;
    const char *spec = "{\"boundObjectRef\":{\"kind\":\"Secret\",\"apiVersion\":\"v1\","
                       "\"name\":\"leash\"}}";

    make_account(f, "ci");
    api_ok(f, 201, "POST", SECRETS, NULL, "{\"metadata\":{\"name\":\"leash\"}}");
    autofree char *token = account_token(f, "ci", spec);
    assert_string_equal(api_text(f, "spec.boundObjectRef.name"), "leash");
    assert_true(works(f, token));
    api_ok(f, 409, "POST", ACCOUNTS "/ci/token", NULL,
           "{\"spec\":{\"boundObjectRef\":{\"kind\":\"Secret\",\"apiVersion\":\"v1\","
           "\"name\":\"leash\",\"uid\":\"other\"}}}");
    api_ok(f, 200, "DELETE", SECRETS "/leash", NULL, NULL);
    assert_false(works(f, token));
    api_ok(f, 201, "POST", SECRETS, NULL, "{\"metadata\":{\"name\":\"leash\"}}");
    assert_false(works(f, token));
}

static void
audiences(void **state)
{
    struct api_fixture *f = *state;

    make_account(f, "ci");
    autofree char *vault = account_token(f, "ci", "{\"audiences\":[\"vault\",\"b\"]}");
    assert_false(works(f, vault)); /* not for this server */
    autofree char *ask = xasprintf("{\"spec\":{\"token\":\"%s\"}}", vault);
    api_ok(f, 201, "POST", TOKEN_REVIEWS, NULL, ask);
    assert_true(json_is_false(api_at(f, "status.authenticated")));
    autofree char *right =
        xasprintf("{\"spec\":{\"token\":\"%s\",\"audiences\":[\"x\",\"vault\"]}}", vault);
    api_ok(f, 201, "POST", TOKEN_REVIEWS, NULL, right);
    assert_true(json_is_true(api_at(f, "status.authenticated")));
    assert_int_equal(json_array_size(api_at(f, "status.audiences")), 1);
    assert_string_equal(api_text(f, "status.audiences.0"), "vault");
    assert_string_equal(api_text(f, "status.user.username"),
                        "system:serviceaccount:default:ci");
    assert_string_equal(api_text(f, "spec.token"), "");
    autofree char *own = account_token(f, "ci", "{}");
    autofree char *wrong =
        xasprintf("{\"spec\":{\"token\":\"%s\",\"audiences\":[\"vault\"]}}", own);
    api_ok(f, 201, "POST", TOKEN_REVIEWS, NULL, wrong);
    assert_true(json_is_false(api_at(f, "status.authenticated")));
    api_ok(f, 400, "POST", TOKEN_REVIEWS, NULL, "{\"spec\":{}}");
}

/* --- keys
 * -------------------------------------------------------------------------------- */

/* The bytes of part n of a token. */
static void
part(const char *token, int n, struct str *out)
{
    struct error e = ERROR_INIT;

    for (; n > 0; n--)
        token = strchr(token, '.') + 1;
    assert_int_equal(id_base64_decode(token, strcspn(token, "."), true, out, &e), 0);
}

static void
keys_are_published(void **state)
{
    struct api_fixture *f = *state;
    auto_str key = STR_INIT(256), signature = STR_INIT(256), header = STR_INIT(1024);
    struct error e = ERROR_INIT;

    make_account(f, "ci");
    autofree char *token = account_token(f, "ci", "{}");
    api_ok(f, 200, "GET", "/.well-known/openid-configuration", NULL, NULL);
    assert_string_equal(api_text(f, "issuer"), AUTH_ISSUER_DEFAULT);
    assert_string_equal(api_text(f, "jwks_uri"), AUTH_ISSUER_DEFAULT "/openid/v1/jwks");
    api_ok(f, 200, "GET", "/openid/v1/jwks", NULL, NULL);
    assert_string_equal(api_text(f, "keys.0.crv"), "Ed25519");
    /* a stranger can verify the token with nothing but that */
    const char *x = api_text(f, "keys.0.x");
    assert_int_equal(id_base64_decode(x, strlen(x), true, &key, &e), 0);
    part(token, 0, &header);
    assert_non_null(strstr(header.ptr, api_text(f, "keys.0.kid")));
    part(token, 2, &signature);
    size_t signed_len = (size_t)(strrchr(token, '.') - token);
    assert_int_equal(crypto_sign_verify_detached((const unsigned char *)signature.ptr,
                                                 (const unsigned char *)token, signed_len,
                                                 (const unsigned char *)key.ptr),
                     0);
    struct api_user *u = login(f, token);
    assert_int_equal(api_do_as(f, u, "GET", "/openid/v1/jwks", NULL, NULL), 200);
    user_unref(u);
    struct api_user *bob = user_new("bob", "system:authenticated");
    assert_int_equal(api_do_as(f, bob, "GET", "/openid/v1/jwks", NULL, NULL), 403);
    user_unref(bob);
}

static struct auth *
start_auth(struct api_fixture *f, bool rotate)
{
    struct auth_opts o = {.server = f->server, .data_dir = f->dir, .rotate_key = rotate};
    struct error e = ERROR_INIT;
    struct auth *a = NULL;

    if (auth_new(&o, &a, &e) < 0)
        fail_msg("%s", e.msg);
    return a;
}

/* A token of the agent kind is the shortest way to one signed by this auth. */
static char *
token_by(struct api_fixture *f, struct auth *a)
{
    struct api_hooks hooks = auth_hooks(a);

    api_server_set_hooks(f->server, &hooks);
    return account_token(f, "ci", "{\"expirationSeconds\":100000000}");
}

static bool
accepts(struct auth *a, const char *token)
{
    struct error e = ERROR_INIT;
    struct api_user *u = auth_token(a, token, &e);
    bool ok = u != NULL;

    user_unref(u);
    return ok;
}

static void
keys_rotate(void **state)
{
    struct api_fixture *f = *state;

    make_account(f, "ci");
    struct auth *one = start_auth(f, false);
    autofree char *first = token_by(f, one);
    struct auth *two = start_auth(f, false); /* an ordinary start keeps the key */
    autofree char *same = token_by(f, two);
    auth_free(one);
    assert_true(strncmp(first, same, strcspn(first, ".")) == 0);
    struct auth *three = start_auth(f, true);
    autofree char *second = token_by(f, three);
    auth_free(two);
    assert_false(strncmp(first, second, strcspn(first, ".")) == 0);
    assert_true(accepts(three, first));
    assert_true(accepts(three, second));
    api_ok(f, 200, "GET", "/openid/v1/jwks", NULL, NULL);
    assert_int_equal(json_array_size(api_at(f, "keys")), 2);
    clock_fake_advance(INT64_C(91) * 24 * 3600 *
                       S_NS); /* old enough to rotate by itself */
    struct auth *four = start_auth(f, false);
    autofree char *third = token_by(f, four);
    auth_free(three);
    assert_false(strncmp(second, third, strcspn(second, ".")) == 0);
    assert_true(accepts(four, first));
    assert_true(accepts(four, second));
    struct api_hooks hooks = {0};
    api_server_set_hooks(f->server, &hooks);
    auth_free(four);
    autofree char *file = xasprintf("%s/keys/tokens.key", f->dir);
    struct error e = ERROR_INIT;
    assert_int_equal(fs_write_atomic(file, "not a key\n", 10, 0600, &e), 0);
    struct auth_opts o = {.server = f->server, .data_dir = f->dir};
    struct auth *none = NULL;
    assert_true(auth_new(&o, &none, &e) < 0);
    assert_int_equal(e.code, ERR_CORRUPT);
}

/* --- impersonation
 * ----------------------------------------------------------------------- */

struct acting {
    int code; /* ERR_OK: allowed */
    const char *by, *headers[8];
    const char *name, *groups; /* what comes out; groups joined by commas */
};

static char *
joined(const struct api_user *u)
{
    auto_str out = STR_INIT(1024);

    for (char **g = u->groups; *g != NULL; g++)
        str_addf(&out, "%s%s", g == u->groups ? "" : ",", *g);
    return str_detach(&out);
}

static void
act(struct api_fixture *f, const struct acting *t)
{
    struct api_user *by = user_new(t->by, streq(t->by, "admin") ? "system:masters" : "");
    struct api_user *u = NULL;
    struct auth_header list[4];
    size_t n = 0;
    auto_problem p;

    problem_init(&p, NULL, NULL);
    for (; n < 4 && t->headers[2 * n] != NULL; n++)
        list[n] = (struct auth_header){t->headers[2 * n], t->headers[2 * n + 1]};
    int rc = auth_impersonate(f->auth, by, list, n, &u, &p);
    user_unref(by);
    assert_int_equal(-rc, t->code);
    if (rc < 0) {
        if (t->name != NULL)
            assert_string_equal(p.text, t->name);
        return;
    }
    assert_string_equal(u->name, t->name);
    autofree char *groups = joined(u);
    assert_string_equal(groups, t->groups);
    user_unref(u);
}

static void
acting_as_others(void **state)
{
    struct api_fixture *f = *state;
    static const struct acting table[] = {
        {ERR_OK, "admin", {"Impersonate-User", "bob"}, "bob", "system:authenticated"},
        {ERR_OK,
         "admin",
         {"impersonate-user", "bob", "Impersonate-Group", "a,system:masters", "X", "y",
          "Impersonate-Group", "b"},
         "bob",
         "a,system:masters,b,system:authenticated"}, /* three groups, the first odd */
        {ERR_OK,
         "admin",
         {"Impersonate-User", "system:serviceaccount:n:s"},
         "system:serviceaccount:n:s",
         "system:serviceaccounts,system:serviceaccounts:n,system:authenticated"},
        {ERR_OK,
         "admin",
         {"Impersonate-User", "system:anonymous"},
         "system:anonymous",
         "system:unauthenticated"},
        {ERR_BAD_REQUEST, "admin", {"Impersonate-Group", "a"}, NULL, NULL},
        {ERR_BAD_REQUEST, "admin", {"Impersonate-Uid", "7"}, NULL, NULL},
        {ERR_FORBIDDEN,
         "eve",
         {"Impersonate-User", "bob"},
         "users \"bob\" is forbidden: User \"eve\" cannot impersonate resource \"users\" "
         "in API group \"\" at the cluster scope",
         NULL},
        {ERR_FORBIDDEN,
         "eve",
         {"Impersonate-User", "system:serviceaccount:n:s"},
         "serviceaccounts \"s\" is forbidden: User \"eve\" cannot impersonate resource "
         "\"serviceaccounts\" in API group \"\" in the namespace \"n\"",
         NULL},
        {ERR_OK, "sub", {"Impersonate-User", "bob"}, "bob", "system:authenticated"},
        {ERR_FORBIDDEN,
         "sub",
         {"Impersonate-User", "bob", "Impersonate-Group", "system:masters"},
         "groups \"system:masters\" is forbidden: User \"sub\" cannot impersonate "
         "resource \"groups\" in API group \"\" at the cluster scope",
         NULL},
        {ERR_FORBIDDEN,
         "sub",
         {"Impersonate-User", "bob", "Impersonate-Uid", "7"},
         "uids.authentication.k8s.io \"7\" is forbidden: User \"sub\" cannot impersonate "
         "resource \"uids\" in API group \"authentication.k8s.io\" at the cluster scope",
         NULL},
        {ERR_OK,
         "sub",
         {"Impersonate-User", "bob", "Impersonate-Extra-Sc%6Fpes", "view"},
         "bob",
         "system:authenticated"},
        {ERR_FORBIDDEN,
         "sub",
         {"Impersonate-User", "bob", "Impersonate-Extra-Scopes", "all"},
         "userextras.authentication.k8s.io \"all\" is forbidden: User \"sub\" cannot "
         "impersonate resource \"userextras/scopes\" in API group "
         "\"authentication.k8s.io\" at the cluster scope",
         NULL},
    };

    api_ok(f, 201, "POST", RBAC "/clusterroles", NULL,
           "{\"metadata\":{\"name\":\"su\"},\"rules\":[{\"verbs\":[\"impersonate\"],"
           "\"apiGroups\":[\"\"],\"resources\":[\"users\"],\"resourceNames\":[\"bob\"]},"
           "{\"verbs\":[\"impersonate\"],\"apiGroups\":[\"authentication.k8s.io\"],"
           "\"resources\":[\"userextras/scopes\"],\"resourceNames\":[\"view\"]}]}");
    api_ok(
        f, 201, "POST", RBAC "/clusterrolebindings", NULL,
        "{\"metadata\":{\"name\":\"su\"},\"roleRef\":{\"kind\":\"ClusterRole\",\"name\":"
        "\"su\"},\"subjects\":[{\"kind\":\"User\",\"name\":\"sub\"}]}");
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        act(f, &table[i]);
}

/* A group with a comma inside is one group. */
static void
commas_make_no_groups(void **state)
{
    struct api_fixture *f = *state;
    struct api_user *by = user_new("admin", "system:masters"), *u = NULL;
    const struct auth_header list[] = {{"Impersonate-User", "bob"},
                                       {"Impersonate-Group", "a,system:masters"}};
    auto_problem p;

    problem_init(&p, NULL, NULL);
    assert_int_equal(auth_impersonate(f->auth, by, list, 2, &u, &p), 0);
    assert_false(user_in_group(u, "system:masters"));
    user_unref(u);
    user_unref(by);
    api_ok(f, 201, "POST", AUTHORIZATION "/subjectaccessreviews", NULL,
           "{\"spec\":{\"user\":\"x\",\"groups\":[\"a,system:masters\"],"
           "\"resourceAttributes\":{\"verb\":\"get\",\"resource\":\"secrets\"}}}");
    assert_true(json_is_false(api_at(f, "status.allowed")));
}

/* --- reviews
 * ----------------------------------------------------------------------------- */

static void
access_reviews(void **state)
{
    struct api_fixture *f = *state;
    struct api_user *bob = user_new("bob", "system:authenticated");
    const char *ask =
        "{\"spec\":{\"resourceAttributes\":{\"namespace\":\"default\","
        "\"verb\":\"list\",\"group\":\"drover.dev\",\"resource\":\"runs\"}}}";
    const char *other = "{\"spec\":{\"user\":\"bob\",\"resourceAttributes\":{"
                        "\"namespace\":\"default\",\"verb\":\"list\",\"group\":"
                        "\"drover.dev\",\"resource\":\"runs\"}}}";
    const char *local = AUTHORIZATION "/namespaces/default/localsubjectaccessreviews";

    assert_int_equal(
        api_do_as(f, bob, "POST", AUTHORIZATION "/selfsubjectaccessreviews", NULL, ask),
        201);
    assert_true(json_is_false(api_at(f, "status.allowed")));
    api_settle(f, 10);
    api_ok(
        f, 201, "POST", RBAC "/namespaces/default/rolebindings", NULL,
        "{\"metadata\":{\"name\":\"b\"},\"roleRef\":{\"kind\":\"ClusterRole\",\"name\":"
        "\"view\"},\"subjects\":[{\"kind\":\"User\",\"name\":\"bob\"}]}");
    assert_int_equal(
        api_do_as(f, bob, "POST", AUTHORIZATION "/selfsubjectaccessreviews", NULL, ask),
        201);
    assert_true(json_is_true(api_at(f, "status.allowed")));
    assert_string_equal(api_text(f, "status.reason"),
                        "RBAC: allowed by RoleBinding \"b/default\" of ClusterRole "
                        "\"view\" to User \"bob\"");
    api_ok(f, 201, "POST", AUTHORIZATION "/subjectaccessreviews", NULL, other);
    assert_true(json_is_true(api_at(f, "status.allowed")));
    api_ok(f, 201, "POST", local, NULL, other);
    assert_string_equal(api_text(f, "kind"), "LocalSubjectAccessReview");
    assert_true(json_is_true(api_at(f, "status.allowed")));
    api_ok(f, 400, "POST", AUTHORIZATION "/namespaces/n2/localsubjectaccessreviews", NULL,
           other);
    api_ok(f, 422, "POST", AUTHORIZATION "/subjectaccessreviews", NULL, ask);
    api_ok(f, 422, "POST", AUTHORIZATION "/selfsubjectaccessreviews", NULL,
           "{\"spec\":{}}");
    assert_int_equal(
        api_do_as(f, bob, "POST", AUTHORIZATION "/subjectaccessreviews", NULL, other),
        403);
    assert_int_equal(api_do_as(f, bob, "POST", AUTHORIZATION "/selfsubjectaccessreviews",
                               NULL,
                               "{\"spec\":{\"nonResourceAttributes\":{\"verb\":\"get\","
                               "\"path\":\"/version\"}}}"),
                     201);
    assert_true(json_is_true(api_at(f, "status.allowed")));
    assert_int_equal(api_do_as(f, bob, "POST", AUTHORIZATION "/selfsubjectrulesreviews",
                               NULL, "{\"spec\":{\"namespace\":\"default\"}}"),
                     201);
    assert_true(json_array_size(api_at(f, "status.resourceRules")) > 3);
    assert_true(json_array_size(api_at(f, "status.nonResourceRules")) > 0);
    assert_true(json_is_false(api_at(f, "status.incomplete")));
    assert_int_equal(
        api_do_as(f, bob, "POST", AUTHORIZATION "/selfsubjectrulesreviews", NULL, "{}"),
        400);
    user_unref(bob);
}

static int
fake_setup(void **state)
{
    clock_fake_set(1000 * S_NS, 1800000000 * S_NS);
    return api_setup(state);
}

static int
fake_teardown(void **state)
{
    int rc = api_teardown(state);

    clock_fake_stop();
    return rc;
}

int
main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, fake_setup, fake_teardown)
    const struct CMUnitTest tests[] = {
        CASE(every_namespace_has_a_default_account),
        CASE(tokens_name_their_account),
        CASE(tokens_end),
        CASE(requests_out_of_bounds),
        CASE(bound_to_a_secret),
        CASE(audiences),
        CASE(keys_are_published),
        CASE(keys_rotate),
        CASE(acting_as_others),
        CASE(commas_make_no_groups),
        CASE(access_reviews),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
