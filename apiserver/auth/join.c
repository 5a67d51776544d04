/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Join tokens: 256 random bits that let a machine enrol into one fleet for some time.
 * Only the hash is stored, in a Secret named after its first digits, so that a token is
 * found by name and compared once.
 */
#include <jansson.h>
#include <sodium.h>
#include <stdlib.h>

#include "api/jtok.h"
#include "apiserver/auth/auth_internal.h"
#include "apiserver/registry/answer.h"
#include "base/clock.h"
#include "base/id.h"

enum { TTL_DEFAULT_S = 3600, TTL_MAX_S = 30 * 24 * 3600, HASH_DIGITS = 8 };

static void
secret_name(const char hash[65], char out[32])
{
    snprintf(out, 32, "join-%.*s", HASH_DIGITS, hash);
}

static bool
annotation(const struct object *o, const char *key, char *out, size_t size)
{
    struct span metadata = object_fact(o, o->facts.metadata), annotations, raw;
    auto_str text = STR_INIT(size - 1);

    if (!jscan_member(metadata, "annotations", &annotations) ||
        !jscan_member(annotations, key, &raw) || !jscan_string(raw, &text) || text.toobig)
        return false;
    snprintf(out, size, "%s", text.ptr);
    return true;
}

static bool
is_join_secret(const struct object *o)
{
    struct span type;

    return object_path(o, "type", &type) && jscan_is(type, JOIN_TYPE);
}

static bool
expired(const struct object *o)
{
    char until[64];
    int64_t ns;

    return !annotation(o, ANNOTATION_EXPIRES, until, sizeof(until)) ||
           !clock_parse(until, strlen(until), &ns) || ns <= clock_wall_ns();
}

static bool
hash_matches(const struct object *o, const char hash[65])
{
    auto_str base64 = STR_INIT(256), stored = STR_INIT(256);
    struct error e = ERROR_INIT;
    struct span raw;

    return object_path(o, "data.hash", &raw) && jscan_string(raw, &base64) &&
           id_base64_decode(base64.ptr, base64.len, false, &stored, &e) == 0 &&
           stored.len == 64 && sodium_memcmp(stored.ptr, hash, 64) == 0;
}

int
join_find(struct auth *a, const char *token, struct join_token *ret, struct error *e)
{
    struct store *s = api_server_store(a->server);
    struct store_list *namespaces = store_list(s, "namespaces", NULL, NULL);
    const struct object *ns;
    char hash[65], name[32];
    bool found = false;

    id_hash_hex(token, strlen(token), hash);
    secret_name(hash, name);
    while (!found && (ns = store_list_next(namespaces)) != NULL) {
        struct store_key key = {"secrets", ns->name, name};
        const struct object *o = store_get(s, &key);
        if (o == NULL || !is_join_secret(o) || !hash_matches(o, hash) || expired(o) ||
            !annotation(o, ANNOTATION_FLEET, ret->fleet, sizeof(ret->fleet)))
            continue;
        snprintf(ret->ns, sizeof(ret->ns), "%s", ns->name);
        ret->instance[0] = '\0';
        annotation(o, ANNOTATION_INSTANCE, ret->instance, sizeof(ret->instance));
        found = true;
    }
    store_list_free(namespaces);
    if (!found)
        return error_set(e, ERR_UNAUTHORIZED,
                         "the join token is unknown or has expired; make a new one with "
                         "`drover token create --join <fleet>`");
    return 0;
}

static void
ignore_result(void *arg, const struct write_result *r)
{
    UNUSED(arg);
    UNUSED(r);
}

/* Expired tokens of the namespace go when a new one is made. */
static void
sweep(struct auth *a, const char *ns)
{
    const struct kind *k = kinds_by_resource(api_server_kinds(a->server), "secrets");
    struct store_list *list =
        store_list(api_server_store(a->server), "secrets", ns, NULL);
    const struct object *o;

    while ((o = store_list_next(list)) != NULL) {
        if (!is_join_secret(o) || !expired(o))
            continue;
        struct delete_req d = {.kind = k, .ns = o->ns, .name = o->name, .internal = true};
        registry_delete(a->server, &d, ignore_result, NULL);
    }
    store_list_free(list);
}

struct join_call {
    struct api_call *call;
    char *ca_hash;
    char token[ID_TOKEN_MAX];
    char expires[CLOCK_RFC3339_LEN];
};

static void
on_stored(void *arg, const struct write_result *r)
{
    struct join_call *j = arg;
    struct str body = STR_INIT(4096);

    if (r->obj == NULL) {
        call_problem(j->call, r->problem);
    } else {
        str_addc(&body, '{');
        jput_member(&body, "token", j->token);
        jput_member(&body, "caHash", j->ca_hash);
        jput_member(&body, "expiresAt", j->expires);
        str_addc(&body, '}');
        call_json(j->call, 201, &body);
    }
    sodium_memzero(j->token, sizeof(j->token));
    free(j->ca_hash);
    free(j);
}

static void
store_token(struct auth *a, struct api_call *c, int64_t ttl_s, const char *instance)
{
    struct join_call *j = xnew(struct join_call);
    auto_str json = STR_INIT(4096);
    char hash[65], name[32];

    j->call = c;
    j->ca_hash = xstrdup(a->ca_hash);
    id_token(JOIN_PREFIX, j->token);
    id_hash_hex(j->token, strlen(j->token), hash);
    secret_name(hash, name);
    clock_format(clock_wall_ns() + ttl_s * 1000000000, j->expires);
    str_adds(&json, "{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"metadata\":{");
    jput_member(&json, "name", name);
    jput_key(&json, "annotations");
    str_addc(&json, '{');
    jput_member(&json, ANNOTATION_FLEET, c->route.name);
    jput_member(&json, ANNOTATION_EXPIRES, j->expires);
    if (instance[0] != '\0')
        jput_member(&json, ANNOTATION_INSTANCE, instance);
    str_addf(&json, "}},\"type\":\"" JOIN_TYPE "\",\"stringData\":{\"hash\":\"%s\"}}",
             hash);
    struct write_req w = {.kind =
                              kinds_by_resource(api_server_kinds(a->server), "secrets"),
                          .type = WRITE_CREATE,
                          .ns = c->route.ns,
                          .name = "",
                          .sub = "",
                          .body = {json.ptr, json.len}};
    snprintf(w.opt.manager, sizeof(w.opt.manager), "drover-apiserver");
    registry_write(a->server, &w, on_stored, j);
}

static bool
of_fleet(const struct auth *a, const struct api_call *c, const char *instance)
{
    struct store_key key = {"instances.drover.dev", c->route.ns, instance};
    const struct object *o = store_get(api_server_store(a->server), &key);
    char fleet[254];

    return o != NULL && o->facts.deleting_s == 0 &&
           object_get_string(o, "spec.fleetName", fleet, sizeof(fleet)) &&
           streq(fleet, c->route.name);
}

/* Body {"ttlSeconds": N, "instance": NAME}: with a name the token gives the identity of
 * that Instance, which must exist, and makes no new one. */
void
join_create(struct auth *a, struct api_call *c)
{
    struct store_key key = {"fleets.drover.dev", c->route.ns, c->route.name};

    if (!auth_allowed(a, c))
        return;
    if (store_get(api_server_store(a->server), &key) == NULL) {
        call_error(c, ERR_NOT_FOUND, "fleets.drover.dev \"%s\" not found", c->route.name);
        return;
    }
    json_t *body = body_tree(c);
    if (body == NULL)
        return;
    const json_t *given = json_object_get(body, "ttlSeconds");
    int64_t ttl = given == NULL ? TTL_DEFAULT_S : json_integer_value(given);
    autofree char *instance = xstrdup(body_text(body, "instance"));
    json_decref(body);
    if (ttl <= 0 || ttl > TTL_MAX_S) {
        call_error(c, ERR_BAD_REQUEST,
                   "ttlSeconds must be a whole number from 1 to %d (30 days)", TTL_MAX_S);
        return;
    }
    if (instance[0] != '\0' && !of_fleet(a, c, instance)) {
        call_error(c, ERR_NOT_FOUND,
                   "instances.drover.dev \"%s\" of the fleet \"%s\" not found", instance,
                   c->route.name);
        return;
    }
    sweep(a, c->route.ns);
    store_token(a, c, ttl, instance);
}
