/* SPDX-License-Identifier: Apache-2.0 */
/* From a bearer token to a user. Secrets are compared as hashes, in constant time. */
#include <sodium.h>
#include <stdlib.h>
#include <strings.h>

#include "apiserver/auth/auth_internal.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/id.h"
#include "base/map.h"

enum { FILE_MAX = 1 << 20 };

static bool
hash_equal(const char a[65], const char b[65])
{
    return a[0] != '\0' && b[0] != '\0' && sodium_memcmp(a, b, 64) == 0;
}

static int
load_admin(struct auth *a, const char *dir, struct error *e)
{
    autofree char *file = fs_join(dir, "admin.token");
    auto_str text = STR_INIT(FILE_MAX);
    char token[ID_TOKEN_MAX];

    int rc = fs_read(file, &text, e);
    if (rc < 0 && e->code == ERR_NOT_FOUND) {
        *e = ERROR_INIT;
        id_token("dra_", token);
        str_adds(&text, token);
        rc = fs_write_atomic(file, token, strlen(token), 0600, e);
    }
    if (rc < 0)
        return rc;
    while (text.len > 0 && (unsigned char)text.ptr[text.len - 1] <= ' ')
        str_truncate(&text, text.len - 1);
    if (text.len < 16)
        return error_set(e, ERR_CORRUPT,
                         "%s: a token of at least 16 characters is needed", file);
    id_hash_hex(text.ptr, text.len, a->admin_hash);
    a->admin_token = str_detach(&text);
    return 0;
}

/* "<hash> <user> <groups>" */
static int
parse_part(struct auth *a, char *line, struct error *e)
{
    struct part_token part = {0};
    char *save = NULL;
    const char *hash = strtok_r(line, " \t", &save);
    const char *user = strtok_r(NULL, " \t", &save);
    const char *groups = strtok_r(NULL, " \t", &save);

    if (hash == NULL || *hash == '#')
        return 0;
    if (strlen(hash) != 64 || user == NULL)
        return error_set(e, ERR_BAD_REQUEST,
                         "a line is \"<64 hex digits> <user> <group,group>\"");
    memcpy(part.hash, hash, 64);
    autofree char *all =
        xasprintf("%s%ssystem:authenticated", groups == NULL ? "" : groups,
                  groups == NULL ? "" : ",");
    part.user = user_new(user, all);
    vec_push(&a->parts, part);
    return 0;
}

static int
load_parts(struct auth *a, const char *file, struct error *e)
{
    auto_str text = STR_INIT(FILE_MAX);
    char *save = NULL;

    int rc = fs_read(file, &text, e);
    if (rc < 0)
        return rc;
    for (char *line = strtok_r(text.ptr, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        if (parse_part(a, line, e) < 0)
            return error_prepend(e, "%s", file);
    }
    return 0;
}

static int
load(struct auth *a, const struct auth_opts *o, struct error *e)
{
    autofree char *keys = o->data_dir == NULL ? NULL : fs_join(o->data_dir, "keys");
    int rc;

    if (o->data_dir != NULL &&
        ((rc = fs_mkdirs(keys, 0700, e)) < 0 || (rc = load_admin(a, o->data_dir, e)) < 0))
        return rc;
    struct signer_opts so = {.dir = keys,
                             .issuer =
                                 o->issuer == NULL ? AUTH_ISSUER_DEFAULT : o->issuer,
                             .rotate = o->rotate_key,
                             .keep = store_is_shared(api_server_store(a->server))};
    if ((rc = signer_new(&so, &a->signer, e)) < 0)
        return rc;
    if (o->parts_tokens != NULL && (rc = load_parts(a, o->parts_tokens, e)) < 0)
        return rc;
    return o->user_tokens == NULL ? 0 : load_parts(a, o->user_tokens, e);
}

static int
start_indexes(struct auth *a, struct error *e)
{
    struct loop *l = api_server_loop(a->server);
    struct store *s = api_server_store(a->server);

    a->aggregation = aggregation_new(a);
    if (node_index_new(l, s, &a->nodes, e) < 0 ||
        rbac_new(l, s, aggregation_wake, a->aggregation, &a->rbac, e) < 0)
        return -(int)e->code;
    return 0;
}

int
auth_new(const struct auth_opts *o, struct auth **ret, struct error *e)
{
    struct auth *a = xnew(struct auth);

    a->server = o->server;
    a->ca_hash = xstrdup(o->ca_hash == NULL ? "" : o->ca_hash);
    a->admin = user_new("admin", "system:masters,system:authenticated");
    int rc = load(a, o, e);
    if (rc == 0)
        rc = start_indexes(a, e);
    if (rc < 0) {
        auth_free(a);
        return rc;
    }
    rotation_start(a);
    *ret = a;
    return 0;
}

void
auth_stop(void *auth)
{
    struct auth *a = auth;

    loop_timer_free(a->key_age);
    aggregation_free(a->aggregation);
    rbac_free(a->rbac);
    node_index_free(a->nodes);
    a->key_age = NULL;
    a->aggregation = NULL;
    a->rbac = NULL;
    a->nodes = NULL;
}

void
auth_forget_admin(struct auth *a)
{
    if (a->admin_token == NULL)
        return;
    sodium_memzero(a->admin_token, strlen(a->admin_token));
    free(a->admin_token);
    a->admin_token = NULL;
}

void
auth_free(struct auth *a)
{
    if (a == NULL)
        return;
    auth_stop(a);
    auth_forget_admin(a);
    user_unref(a->admin);
    vec_foreach (p, &a->parts)
        user_unref(p->user);
    vec_done(&a->parts);
    map_free(a->tickets);
    signer_free(a->signer);
    free(a->ca_hash);
    free(a);
}

const char *
auth_admin_token(const struct auth *a)
{
    return a->admin_token;
}

/* --- users
 * ------------------------------------------------------------------------------- */

static void
set_text(char **field, const char *text)
{
    free(*field);
    *field = xstrdup(text);
}

static struct api_user *
agent_user(struct auth *a, const struct token_claims *c, struct error *e)
{
    struct store_key key = {"instances.drover.dev", c->ns, c->name};
    const struct object *o = store_get(api_server_store(a->server), &key);

    if (o == NULL || !streq(o->uid, c->uid)) {
        error_set(e, ERR_UNAUTHORIZED, "the instance of this token is gone");
        return NULL;
    }
    autofree char *name = xasprintf("system:agent:%s", c->uid);
    struct api_user *u = user_new(name, "system:agents,system:authenticated");
    set_text(&u->uid, c->uid);
    set_text(&u->instance_ns, c->ns);
    set_text(&u->instance_name, c->name);
    set_text(&u->instance_uid, c->uid);
    return u;
}

static struct api_user *
joining_user(struct auth *a, const char *token, struct error *e)
{
    struct join_token j;

    if (join_find(a, token, &j, e) < 0)
        return NULL;
    autofree char *name = xasprintf("system:join:%s:%s", j.ns, j.fleet);
    struct api_user *u = user_new(name, "system:joining");
    set_text(&u->join_ns, j.ns);
    set_text(&u->join_fleet, j.fleet);
    set_text(&u->join_instance, j.instance);
    return u;
}

/* What both lists have. A new reference. */
static json_t *
common_audiences(const json_t *asked, const json_t *has)
{
    json_t *out = json_array(), *a, *h;
    size_t i, k;

    json_array_foreach (asked, i, a) {
        json_array_foreach (has, k, h) {
            if (json_equal(a, h)) {
                json_array_append(out, a);
                break;
            }
        }
    }
    return out;
}

/* Not signed: compared by hash. NULL without an error: none of them. */
static struct api_user *
stored_token(struct auth *a, const char *token, struct error *e)
{
    char hash[65];

    if (str_starts(token, JOIN_PREFIX))
        return joining_user(a, token, e);
    id_hash_hex(token, strlen(token), hash);
    if (hash_equal(hash, a->admin_hash))
        return user_ref(a->admin);
    vec_foreach (p, &a->parts) {
        if (hash_equal(hash, p->hash))
            return user_ref(p->user);
    }
    return NULL;
}

static struct api_user *
bearer_of(struct auth *a, const char *token, json_t **ret_audiences, struct error *e)
{
    struct token_claims claims;

    *ret_audiences = json_pack("[s]", signer_issuer(a->signer));
    struct api_user *u = stored_token(a, token, e);
    if (u != NULL || e->code != ERR_OK)
        return u;
    if (signer_verify(a->signer, token, clock_wall_ns() / 1000000000, &claims, e) < 0)
        return NULL;
    if (claims.kind == TOKEN_AGENT) {
        u = agent_user(a, &claims, e);
    } else {
        json_decref(*ret_audiences);
        *ret_audiences = json_incref(claims.audiences);
        u = account_of_token(a, &claims, e);
    }
    token_claims_done(&claims);
    return u;
}

struct api_user *
auth_token_for(struct auth *a, const char *token, const json_t *audiences, json_t **ret,
               struct error *e)
{
    json_t *has = NULL;

    *e = ERROR_INIT;
    if (strlen(token) > TOKEN_MAX_BYTES) {
        error_set(e, ERR_UNAUTHORIZED, "the token is too long");
        return NULL;
    }
    struct api_user *u = bearer_of(a, token, &has, e);
    json_t *own = json_pack("[s]", signer_issuer(a->signer));
    json_t *common =
        common_audiences(json_array_size(audiences) > 0 ? audiences : own, has);
    json_decref(own);
    json_decref(has);
    if (u != NULL && json_array_size(common) == 0) {
        user_unref(u);
        u = NULL;
        error_set(e, ERR_UNAUTHORIZED, "the token is for other audiences");
    }
    if (u == NULL)
        json_decref(common);
    else
        *ret = common;
    return u;
}

struct api_user *
auth_token(struct auth *a, const char *token, struct error *e)
{
    json_t *audiences = NULL;
    struct api_user *u = auth_token_for(a, token, NULL, &audiences, e);

    json_decref(audiences);
    return u;
}

struct api_user *
auth_bearer(struct auth *a, const char *authorization, struct error *e)
{
    if (authorization == NULL || strncasecmp(authorization, "Bearer ", 7) != 0) {
        error_set(e, ERR_UNAUTHORIZED, "no bearer token");
        return NULL;
    }
    authorization += 7;
    authorization += strspn(authorization, " ");
    return auth_token(a, authorization, e);
}

bool
auth_resolve_agent(struct auth *a, struct api_user *u)
{
    static const char prefix[] = "system:agent:";

    if (!str_starts(u->name, prefix))
        return true;
    const char *uid = u->name + sizeof(prefix) - 1;
    const char *found = a->nodes == NULL ? NULL : node_index_instance(a->nodes, uid);
    if (found == NULL)
        return false;
    const char *slash = strchr(found, '/');
    free(u->instance_ns);
    u->instance_ns = xstrndup(found, (size_t)(slash - found));
    set_text(&u->instance_name, slash + 1);
    set_text(&u->instance_uid, uid);
    return true;
}
