/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signed tokens of agents and ServiceAccounts: JWT with alg EdDSA (Ed25519), not stored
 * anywhere. Keys: <keys>/tokens.key, 0600. First line "<64 hex digits of seed>
 * [<made, unix seconds>]"; each further line "<public key, 64 hex digits> <until>": a
 * former key, whose tokens verify until then.
 */
#include <jansson.h>
#include <sodium.h>
#include <stdlib.h>

#include "api/jtok.h"
#include "apiserver/auth/auth_internal.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/id.h"

enum { FILE_MAX = 64 * 1024, KEYS_MAX = 64, KEY_AGE_S = 90 * 24 * 3600 };

struct sign_key {
    unsigned char public_key[crypto_sign_PUBLICKEYBYTES];
    char kid[17];
    int64_t until_s; /* former keys */
};
struct signer {
    unsigned char secret_key[crypto_sign_SECRETKEYBYTES];
    int64_t made_s;
    struct sign_key keys[KEYS_MAX]; /* the first one signs */
    size_t n;
    char *issuer;
    char *file; /* NULL: of this process alone */
};

/* --- keys
 * -------------------------------------------------------------------------------- */

static void
name_key(struct sign_key *k)
{
    char hash[65];

    id_hash_hex(k->public_key, sizeof(k->public_key), hash);
    snprintf(k->kid, sizeof(k->kid), "%.16s", hash);
}

static void
use_seed(struct signer *s, const unsigned char seed[crypto_sign_SEEDBYTES],
         int64_t made_s)
{
    crypto_sign_seed_keypair(s->keys[0].public_key, s->secret_key, seed);
    s->keys[0].until_s = INT64_MAX;
    name_key(&s->keys[0]);
    s->made_s = made_s;
    if (s->n == 0)
        s->n = 1;
}

/* 32 bytes of hex, and a number when there is one. */
static bool
parse_line(char *line, unsigned char out[32], int64_t *ret_number)
{
    char *save = NULL;
    const char *hex = strtok_r(line, " \t\r", &save);
    const char *number = hex == NULL ? NULL : strtok_r(NULL, " \t\r", &save);
    size_t n = 0;

    *ret_number = number == NULL ? 0 : strtoll(number, NULL, 10);
    return hex != NULL && strlen(hex) == 64 &&
           sodium_hex2bin(out, 32, hex, 64, NULL, &n, NULL) == 0 && n == 32;
}

static int
read_keys(struct signer *s, const char *file, struct error *e)
{
    auto_str text = STR_INIT(FILE_MAX);
    unsigned char bytes[32];
    char *save = NULL;
    int64_t number;
    int rc = fs_read(file, &text, e);

    if (rc < 0)
        return rc;
    for (char *line = strtok_r(text.ptr, "\n", &save); line != NULL && s->n < KEYS_MAX;
         line = strtok_r(NULL, "\n", &save)) {
        if (!parse_line(line, bytes, &number)) {
            rc = error_set(e, ERR_CORRUPT, "%s: not a key of 64 hex digits", file);
            break;
        }
        if (s->n == 0) {
            use_seed(s, bytes, number);
            continue;
        }
        struct sign_key *k = &s->keys[s->n++];
        memcpy(k->public_key, bytes, sizeof(bytes));
        k->until_s = number;
        name_key(k);
    }
    sodium_memzero(bytes, sizeof(bytes));
    sodium_memzero(text.ptr, text.len);
    if (rc == 0 && s->n == 0)
        return error_set(e, ERR_CORRUPT, "%s: not a key of 64 hex digits", file);
    return rc;
}

static int
write_keys(const struct signer *s, const char *file, struct error *e)
{
    unsigned char seed[crypto_sign_SEEDBYTES];
    auto_str text = STR_INIT(FILE_MAX);

    crypto_sign_ed25519_sk_to_seed(seed, s->secret_key);
    id_hex(seed, sizeof(seed), &text);
    sodium_memzero(seed, sizeof(seed));
    str_addf(&text, " %lld\n", (long long)s->made_s);
    for (size_t i = 1; i < s->n; i++) {
        id_hex(s->keys[i].public_key, sizeof(s->keys[i].public_key), &text);
        str_addf(&text, " %lld\n", (long long)s->keys[i].until_s);
    }
    int rc = fs_write_atomic(file, text.ptr, text.len, 0600, e);
    sodium_memzero(text.ptr, text.len);
    return rc;
}

/* A new key signs; the old one verifies for as long as its tokens may live. */
static void
rotate(struct signer *s, int64_t now_s)
{
    unsigned char seed[crypto_sign_SEEDBYTES];
    size_t kept = s->n == 0 ? 0 : 1;

    if (s->n > 0)
        s->keys[0].until_s = now_s + ACCOUNT_TOKEN_MAX_S;
    for (size_t i = 1; i < s->n; i++) {
        if (s->keys[i].until_s > now_s)
            s->keys[kept++] = s->keys[i];
    }
    if (kept == KEYS_MAX)
        kept--;
    memmove(&s->keys[1], &s->keys[0], kept * sizeof(s->keys[0]));
    s->n = kept + 1;
    randombytes_buf(seed, sizeof(seed));
    use_seed(s, seed, now_s);
    sodium_memzero(seed, sizeof(seed));
}

static bool
is_old(const struct signer *s, int64_t now_s)
{
    return s->made_s != 0 && now_s - s->made_s >= KEY_AGE_S;
}

static int
load(struct signer *s, const struct signer_opts *o, struct error *e)
{
    int64_t now_s = clock_wall_ns() / 1000000000;
    int rc = s->file == NULL ? 0 : read_keys(s, s->file, e);

    if (rc < 0 && e->code != ERR_NOT_FOUND)
        return rc;
    *e = ERROR_INIT;
    if (rc == 0 && s->n > 0 && !o->rotate && (o->keep || !is_old(s, now_s)))
        return 0;
    rotate(s, now_s);
    return s->file == NULL ? 0 : write_keys(s, s->file, e);
}

int
signer_new(const struct signer_opts *o, struct signer **ret, struct error *e)
{
    struct signer *s = xnew(struct signer);

    s->issuer = xstrdup(o->issuer);
    s->file = o->dir == NULL ? NULL : fs_join(o->dir, "tokens.key");
    int rc = load(s, o, e);
    if (rc < 0) {
        signer_free(s);
        return rc;
    }
    *ret = s;
    return 0;
}

static struct signer *
copy_names(const struct signer *s)
{
    struct signer *next = xnew(struct signer);

    next->issuer = xstrdup(s->issuer);
    next->file = s->file == NULL ? NULL : xstrdup(s->file);
    return next;
}

struct signer *
signer_rotated(const struct signer *s, int64_t now_s)
{
    struct signer *next = copy_names(s);

    memcpy(next->secret_key, s->secret_key, sizeof(s->secret_key));
    memcpy(next->keys, s->keys, sizeof(s->keys));
    next->made_s = s->made_s;
    next->n = s->n;
    rotate(next, now_s);
    return next;
}

int
signer_write(const struct signer *s, struct error *e)
{
    return s->file == NULL ? 0 : write_keys(s, s->file, e);
}

int
signer_read(const struct signer *s, struct signer **ret, struct error *e)
{
    if (s->file == NULL)
        return error_set(e, ERR_UNSUPPORTED, "the keys of this server are in no file");
    struct signer *next = copy_names(s);
    int rc = read_keys(next, next->file, e);
    if (rc < 0)
        signer_free(next);
    else
        *ret = next;
    return rc;
}

bool
signer_is_old(const struct signer *s)
{
    return is_old(s, clock_wall_ns() / 1000000000);
}

void
signer_list(const struct signer *s, struct str *out)
{
    int64_t now_s = clock_wall_ns() / 1000000000;
    char when[CLOCK_RFC3339_LEN];

    for (size_t i = 0; i < s->n; i++) {
        if (i > 0 && s->keys[i].until_s <= now_s)
            continue;
        int64_t at_s = i == 0 ? s->made_s : s->keys[i].until_s;
        clock_format(at_s * 1000000000, when);
        str_addf(out, "%s %s %s\n", s->keys[i].kid,
                 i == 0 ? "signs, made" : "verifies until", at_s == 0 ? "unknown" : when);
    }
}

const char *
signer_kid(const struct signer *s)
{
    return s->keys[0].kid;
}

bool
signer_knows(const struct signer *s, const char *kid)
{
    for (size_t i = 0; i < s->n; i++) {
        if (streq(s->keys[i].kid, kid))
            return true;
    }
    return false;
}

void
signer_free(struct signer *s)
{
    if (s == NULL)
        return;
    free(s->issuer);
    free(s->file);
    sodium_memzero(s, sizeof(*s));
    free(s);
}

const char *
signer_issuer(const struct signer *s)
{
    return s->issuer;
}

void
signer_jwks(const struct signer *s, struct str *out)
{
    str_adds(out, "{\"keys\":[");
    for (size_t i = 0; i < s->n; i++) {
        jput_item(out);
        str_addf(out,
                 "{\"use\":\"sig\",\"kty\":\"OKP\",\"kid\":\"%s\",\"crv\":\"Ed25519\","
                 "\"alg\":\"EdDSA\",\"x\":\"",
                 s->keys[i].kid);
        id_base64url(s->keys[i].public_key, sizeof(s->keys[i].public_key), out);
        str_adds(out, "\"}");
    }
    str_adds(out, "]}");
}

/* --- signing
 * ----------------------------------------------------------------------------- */

void
token_claims_done(struct token_claims *c)
{
    json_decref(c->audiences);
    c->audiences = NULL;
}

static json_t *
account_payload(const struct signer *s, const struct token_claims *c)
{
    autofree char *sub = xasprintf("system:serviceaccount:%s:%s", c->ns, c->name);
    json_t *bound = json_pack("{s:s,s:{s:s,s:s}}", "namespace", c->ns, "serviceaccount",
                              "name", c->name, "uid", c->uid);

    if (*c->secret_name != '\0')
        json_object_set_new(
            bound, "secret",
            json_pack("{s:s,s:s}", "name", c->secret_name, "uid", c->secret_uid));
    return json_pack("{s:s,s:s,s:O,s:s,s:I,s:I,s:I,s:o}", "iss", s->issuer, "sub", sub,
                     "aud", c->audiences, "jti", c->jti, "iat", (json_int_t)c->issued_s,
                     "nbf", (json_int_t)c->issued_s, "exp", (json_int_t)c->expires_s,
                     "kubernetes.io", bound);
}

static json_t *
agent_payload(const struct token_claims *c)
{
    autofree char *sub = xasprintf("system:agent:%s", c->uid);

    return json_pack("{s:s,s:s,s:s,s:s,s:s,s:I,s:I}", "iss", AGENT_ISSUER, "sub", sub,
                     "ns", c->ns, "instance", c->name, "uid", c->uid, "iat",
                     (json_int_t)c->issued_s, "exp", (json_int_t)c->expires_s);
}

void
signer_sign(const struct signer *s, const struct token_claims *c, struct str *out)
{
    json_t *tree = c->kind == TOKEN_AGENT ? agent_payload(c) : account_payload(s, c);
    autofree char *payload = json_dumps(tree, JSON_COMPACT);

    json_decref(tree);
    signer_sign_payload(s, payload, strlen(payload), out);
}

void
signer_sign_payload(const struct signer *s, const char *payload, size_t n,
                    struct str *out)
{
    auto_str header = STR_INIT(256);
    unsigned char signature[crypto_sign_BYTES];
    size_t start = out->len;

    str_addf(&header, "{\"alg\":\"EdDSA\",\"typ\":\"JWT\",\"kid\":\"%s\"}",
             s->keys[0].kid);
    id_base64url(header.ptr, header.len, out);
    str_addc(out, '.');
    id_base64url(payload, n, out);
    crypto_sign_detached(signature, NULL, (const unsigned char *)out->ptr + start,
                         out->len - start, s->secret_key);
    str_addc(out, '.');
    id_base64url(signature, sizeof(signature), out);
}

/* --- verifying
 * --------------------------------------------------------------------------- */

static int
refuse(struct error *e, const char *why)
{
    return error_set(e, ERR_UNAUTHORIZED, "%s", why);
}

static json_t *
decode_part(const char *text, size_t n)
{
    auto_str bytes = STR_INIT(TOKEN_MAX_BYTES);
    struct error e = ERROR_INIT;

    if (id_base64_decode(text, n, true, &bytes, &e) < 0)
        return NULL;
    return json_loadb(bytes.ptr, bytes.len, JSON_REJECT_DUPLICATES, NULL);
}

static const struct sign_key *
header_key(const struct signer *s, const char *text, size_t n, int64_t now_s)
{
    json_t *header = decode_part(text, n);
    const char *alg = json_string_value(json_object_get(header, "alg"));
    const char *kid = json_string_value(json_object_get(header, "kid"));
    const struct sign_key *found = NULL;

    for (size_t i = 0; i < s->n && alg != NULL && kid != NULL; i++) {
        if (streq(alg, "EdDSA") && streq(kid, s->keys[i].kid) &&
            s->keys[i].until_s > now_s)
            found = &s->keys[i];
    }
    json_decref(header);
    return found;
}

static bool
signature_ok(const struct sign_key *k, const char *token, const char *dot)
{
    auto_str signature = STR_INIT(256);
    struct error e = ERROR_INIT;

    return id_base64_decode(dot + 1, strlen(dot + 1), true, &signature, &e) == 0 &&
           signature.len == crypto_sign_BYTES &&
           crypto_sign_verify_detached((const unsigned char *)signature.ptr,
                                       (const unsigned char *)token,
                                       (size_t)(dot - token), k->public_key) == 0;
}

static bool
copy_claim(const json_t *claims, const char *key, char *out, size_t size)
{
    const char *text = json_string_value(json_object_get(claims, key));

    return text != NULL && (size_t)snprintf(out, size, "%s", text) < size;
}

static bool
agent_claims(const json_t *tree, struct token_claims *c)
{
    c->kind = TOKEN_AGENT;
    return copy_claim(tree, "ns", c->ns, sizeof(c->ns)) &&
           copy_claim(tree, "instance", c->name, sizeof(c->name)) &&
           copy_claim(tree, "uid", c->uid, sizeof(c->uid));
}

static bool
account_claims(const json_t *tree, struct token_claims *c)
{
    const json_t *bound = json_object_get(tree, "kubernetes.io");
    const json_t *account = json_object_get(bound, "serviceaccount");
    const json_t *secret = json_object_get(bound, "secret");
    json_t *audiences = json_object_get(tree, "aud");

    c->kind = TOKEN_ACCOUNT;
    if (!json_is_array(audiences) ||
        !copy_claim(bound, "namespace", c->ns, sizeof(c->ns)) ||
        !copy_claim(account, "name", c->name, sizeof(c->name)) ||
        !copy_claim(account, "uid", c->uid, sizeof(c->uid)) ||
        !copy_claim(tree, "jti", c->jti, sizeof(c->jti)) ||
        (secret != NULL &&
         (!copy_claim(secret, "name", c->secret_name, sizeof(c->secret_name)) ||
          !copy_claim(secret, "uid", c->secret_uid, sizeof(c->secret_uid)))))
        return false;
    c->audiences = json_incref(audiences);
    return true;
}

static int
read_claims(const struct signer *s, const json_t *tree, int64_t now_s,
            struct token_claims *c, struct error *e)
{
    const char *issuer = json_string_value(json_object_get(tree, "iss"));
    bool ok = false;

    c->issued_s = json_integer_value(json_object_get(tree, "iat"));
    c->expires_s = json_integer_value(json_object_get(tree, "exp"));
    if (issuer != NULL && streq(issuer, AGENT_ISSUER))
        ok = agent_claims(tree, c);
    else if (issuer != NULL && streq(issuer, s->issuer))
        ok = account_claims(tree, c);
    if (!ok)
        return refuse(e, "the token lacks claims");
    if (c->expires_s <= now_s)
        return refuse(e, "the token has expired");
    return 0;
}

int
signer_verify(const struct signer *s, const char *token, int64_t now_s,
              struct token_claims *ret, struct error *e)
{
    struct token_claims c = {0};

    if (strlen(token) > TOKEN_MAX_BYTES)
        return refuse(e, "the token is too long");
    const char *first = strchr(token, '.');
    const char *second = first == NULL ? NULL : strchr(first + 1, '.');
    if (second == NULL)
        return refuse(e, "not a known token");
    const struct sign_key *key = header_key(s, token, (size_t)(first - token), now_s);
    if (key == NULL || !signature_ok(key, token, second))
        return refuse(e, "the token was not made by this server");
    json_t *tree = decode_part(first + 1, (size_t)(second - first) - 1);
    int rc = read_claims(s, tree, now_s, &c, e);
    json_decref(tree);
    if (rc < 0) {
        token_claims_done(&c);
        return rc;
    }
    *ret = c;
    return 0;
}
