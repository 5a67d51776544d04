/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ServiceAccounts: their tokens (the token subresource, as TokenRequest of
 * authentication.k8s.io/v1) and who bears one. A token is bound to the uid of the
 * ServiceAccount, and to that of a Secret when it was asked for so; it is void when
 * either is gone.
 */
#include <jansson.h>
#include <stdlib.h>

#include "apiserver/auth/auth_internal.h"
#include "apiserver/registry/answer.h"
#include "base/clock.h"
#include "base/id.h"

enum {
    EXPIRES_DEFAULT_S = 3600,
    EXPIRES_MIN_S = 600,
    AUDIENCES_MAX = 32,
    AUDIENCE_MAX_BYTES = 256,
};

/* --- who bears a token
 * ------------------------------------------------------------------- */

static bool
has_uid(struct auth *a, const char *resource, const char *ns, const char *name,
        const char *uid)
{
    struct store_key key = {resource, ns, name};
    const struct object *o = store_get(api_server_store(a->server), &key);

    return o != NULL && streq(o->uid, uid);
}

struct api_user *
account_user(const char *ns, const char *name, const char *uid)
{
    autofree char *user_name = xasprintf("system:serviceaccount:%s:%s", ns, name);
    autofree char *group = xasprintf("system:serviceaccounts:%s", ns);
    struct api_user *u = user_new(user_name, "system:serviceaccounts");

    user_add_group(u, group);
    user_add_group(u, "system:authenticated");
    user_set_uid(u, uid);
    return u;
}

struct api_user *
account_of_token(struct auth *a, const struct token_claims *c, struct error *e)
{
    if (!has_uid(a, "serviceaccounts", c->ns, c->name, c->uid)) {
        error_set(e, ERR_UNAUTHORIZED, "the service account of this token is gone");
        return NULL;
    }
    if (*c->secret_name != '\0' &&
        !has_uid(a, "secrets", c->ns, c->secret_name, c->secret_uid)) {
        error_set(e, ERR_UNAUTHORIZED, "the Secret that this token is bound to is gone");
        return NULL;
    }
    struct api_user *u = account_user(c->ns, c->name, c->uid);
    autofree char *id = xasprintf("JTI=%s", c->jti);
    user_add_extra(u, "authentication.kubernetes.io/credential-id", id);
    return u;
}

/* --- TokenRequest
 * ------------------------------------------------------------------------ */

/* 422 in the words of a TokenRequest. */
static void
answer_invalid(struct api_call *c, const char *path, json_int_t value, const char *text)
{
    char group[] = "authentication.k8s.io", name[] = "TokenRequest", version[] = "v1";
    struct kind kind = {.group = group, .kind = name, .version = version, .plural = name};
    char json[32];
    auto_problem p;

    problem_init(&p, &kind, "");
    snprintf(json, sizeof(json), "%lld", (long long)value);
    problem_field(&p, VIOLATION_INVALID, path, json, text);
    call_problem(c, &p);
}

static bool
check_expiry(struct api_call *c, const json_t *spec, int64_t *ret)
{
    const json_t *given = json_object_get(spec, "expirationSeconds");
    json_int_t s = given == NULL || json_is_null(given) ? EXPIRES_DEFAULT_S
                                                        : json_integer_value(given);

    if (s < EXPIRES_MIN_S)
        answer_invalid(c, "spec.expirationSeconds", s,
                       "may not specify a duration less than 10 minutes");
    else if (s > (INT64_C(1) << 32))
        answer_invalid(c, "spec.expirationSeconds", s,
                       "may not specify a duration larger than 2^32 seconds");
    else {
        *ret = s < ACCOUNT_TOKEN_MAX_S ? s : ACCOUNT_TOKEN_MAX_S;
        return true;
    }
    return false;
}

/* The audiences asked for, or this server's. A new reference; NULL: answered. */
static json_t *
check_audiences(struct auth *a, struct api_call *c, const json_t *spec)
{
    json_t *list = json_object_get(spec, "audiences"), *item;
    size_t i;

    if (json_array_size(list) == 0)
        return json_pack("[s]", signer_issuer(a->signer));
    bool ok = json_array_size(list) <= AUDIENCES_MAX;
    json_array_foreach (list, i, item)
        ok = ok && json_is_string(item) && json_string_length(item) <= AUDIENCE_MAX_BYTES;
    if (ok)
        return json_incref(list);
    call_error(c, ERR_BAD_REQUEST,
               "spec.audiences: at most %d strings of at most %d bytes", AUDIENCES_MAX,
               AUDIENCE_MAX_BYTES);
    return NULL;
}

/* Only a Secret of the same namespace can carry a token's life. */
static bool
check_bound(struct auth *a, struct api_call *c, const json_t *spec,
            struct token_claims *t)
{
    const json_t *ref = json_object_get(spec, "boundObjectRef");
    const char *kind = body_text(ref, "kind"), *name = body_text(ref, "name");
    const char *uid = body_text(ref, "uid"), *version = body_text(ref, "apiVersion");

    if (!json_is_object(ref))
        return true;
    if (!streq(kind, "Secret") || !streq(version, "v1")) {
        call_error(c, ERR_BAD_REQUEST,
                   "cannot bind token to object of type %.100s, Kind=%.100s", version,
                   kind);
        return false;
    }
    struct store_key key = {"secrets", t->ns, name};
    const struct object *o = store_get(api_server_store(a->server), &key);
    if (o == NULL) {
        auto_problem p;
        problem_init(&p, kinds_by_resource(api_server_kinds(a->server), "secrets"), name);
        problem_not_found(&p);
        call_problem(c, &p);
        return false;
    }
    if (*uid != '\0' && !streq(uid, o->uid)) {
        call_error(
            c, ERR_CONFLICT,
            "Operation cannot be fulfilled on Secret \"%s\": the UID in the bound "
            "object reference (%.64s) does not match the UID in record. The object "
            "might have been deleted and then recreated",
            name, uid);
        return false;
    }
    snprintf(t->secret_name, sizeof(t->secret_name), "%s", o->name);
    snprintf(t->secret_uid, sizeof(t->secret_uid), "%s", o->uid);
    return true;
}

static void
answer_token(struct auth *a, struct api_call *c, const json_t *spec,
             const struct token_claims *t)
{
    auto_str token = STR_INIT(2 * TOKEN_MAX_BYTES);
    struct str body = STR_INIT(64 * 1024);
    char until[CLOCK_RFC3339_LEN], now[CLOCK_RFC3339_LEN];
    json_t *ref = json_object_get(spec, "boundObjectRef");

    signer_sign(a->signer, t, &token);
    if (token.len > TOKEN_MAX_BYTES) {
        call_error(c, ERR_BAD_REQUEST, "the token would be longer than %d bytes",
                   TOKEN_MAX_BYTES);
        return;
    }
    clock_format(t->expires_s * 1000000000, until);
    clock_format(t->issued_s * 1000000000, now);
    json_t *tree = json_pack(
        "{s:s,s:s,s:{s:s,s:s,s:s},s:{s:O,s:I,s:O*},s:{s:s,s:s}}", "kind", "TokenRequest",
        "apiVersion", "authentication.k8s.io/v1", "metadata", "name", t->name,
        "namespace", t->ns, "creationTimestamp", now, "spec", "audiences", t->audiences,
        "expirationSeconds", (json_int_t)(t->expires_s - t->issued_s), "boundObjectRef",
        ref, "status", "token", token.ptr, "expirationTimestamp", until);
    autofree char *text = json_dumps(tree, JSON_COMPACT);
    json_decref(tree);
    str_adds(&body, text);
    call_json(c, 201, &body);
}

void
account_token(struct auth *a, struct api_call *c)
{
    const struct route *r = &c->route;
    struct store_key key = {"serviceaccounts", r->ns, r->name};
    int64_t now_s = clock_wall_ns() / 1000000000, life_s = 0;
    struct token_claims t = {.kind = TOKEN_ACCOUNT, .issued_s = now_s};

    if (!auth_allowed(a, c))
        return;
    const struct object *o = store_get(api_server_store(a->server), &key);
    if (o == NULL) {
        auto_problem p;
        problem_init(&p,
                     kinds_by_resource(api_server_kinds(a->server), "serviceaccounts"),
                     r->name);
        problem_not_found(&p);
        call_problem(c, &p);
        return;
    }
    snprintf(t.ns, sizeof(t.ns), "%s", o->ns);
    snprintf(t.name, sizeof(t.name), "%s", o->name);
    snprintf(t.uid, sizeof(t.uid), "%s", o->uid);
    id_uuid4(t.jti);
    json_t *body = body_tree(c);
    if (body == NULL)
        return;
    const json_t *spec = json_object_get(body, "spec");
    if (check_expiry(c, spec, &life_s) &&
        (t.audiences = check_audiences(a, c, spec)) != NULL &&
        check_bound(a, c, spec, &t)) {
        t.expires_s = now_s + life_s;
        answer_token(a, c, spec, &t);
    }
    token_claims_done(&t);
    json_decref(body);
}

/* --- what others need to check tokens
 * ---------------------------------------------------- */

static bool
path_is(const char *path, const char *want)
{
    size_t n = strlen(want);

    return strncmp(path, want, n) == 0 && (path[n] == '\0' || streq(path + n, "/"));
}

bool
issuer_serve(struct auth *a, struct api_call *c)
{
    bool keys = path_is(c->req.path, "/openid/v1/jwks");
    struct authz_attributes t = {.user = c->user, .verb = "get", .path = c->req.path};
    const char *issuer = signer_issuer(a->signer);
    auto_str reason = STR_INIT(256);
    struct str body = STR_INIT(64 * 1024);

    if (!streq(c->req.method, "GET") ||
        (!keys && !path_is(c->req.path, "/.well-known/openid-configuration")))
        return false;
    c->verb = "get";
    if (!auth_authorize(a, &t, &reason)) {
        call_forbidden(c, "");
        return true;
    }
    if (keys) {
        signer_jwks(a->signer, &body);
    } else {
        json_t *tree =
            json_pack("{s:s,s:s+,s:[s],s:[s],s:[s]}", "issuer", issuer, "jwks_uri",
                      issuer, "/openid/v1/jwks", "response_types_supported", "id_token",
                      "subject_types_supported", "public",
                      "id_token_signing_alg_values_supported", "EdDSA");
        autofree char *text = json_dumps(tree, JSON_COMPACT);
        json_decref(tree);
        str_adds(&body, text);
    }
    call_respond(c, 200, keys ? "application/jwk-set+json" : "application/json", &body);
    return true;
}
