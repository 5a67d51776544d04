/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signed tokens of agents: JWT with alg EdDSA (Ed25519), not stored anywhere. The key is
 * <keys>/tokens.key: 32 bytes of seed in hex, 0600. One key, one kid; a token under
 * another kid is refused.
 */
#include <jansson.h>
#include <sodium.h>
#include <stdlib.h>

#include "api/jtok.h"
#include "apiserver/auth/auth_internal.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/id.h"

enum { TOKEN_MAX = 4096 };

struct signer {
    unsigned char public_key[crypto_sign_PUBLICKEYBYTES];
    unsigned char secret_key[crypto_sign_SECRETKEYBYTES];
    char kid[17];
};

static int
read_seed(const char *file, unsigned char seed[crypto_sign_SEEDBYTES], struct error *e)
{
    auto_str text = STR_INIT(256);
    size_t n = 0;

    if (fs_read(file, &text, e) < 0)
        return -(int)e->code;
    int rc =
        sodium_hex2bin(seed, crypto_sign_SEEDBYTES, text.ptr, text.len, "\n ", &n, NULL);
    sodium_memzero(text.ptr, text.len);
    if (rc != 0 || n != crypto_sign_SEEDBYTES)
        return error_set(e, ERR_CORRUPT, "%s: not a key of 64 hex digits", file);
    return 0;
}

static int
make_seed(const char *file, unsigned char seed[crypto_sign_SEEDBYTES], struct error *e)
{
    auto_str text = STR_INIT(256);

    randombytes_buf(seed, crypto_sign_SEEDBYTES);
    id_hex(seed, crypto_sign_SEEDBYTES, &text);
    str_addc(&text, '\n');
    int rc = fs_write_atomic(file, text.ptr, text.len, 0600, e);
    sodium_memzero(text.ptr, text.len);
    return rc;
}

static int
load_seed(const char *dir, unsigned char seed[crypto_sign_SEEDBYTES], struct error *e)
{
    if (dir == NULL) {
        randombytes_buf(seed, crypto_sign_SEEDBYTES);
        return 0;
    }
    autofree char *file = fs_join(dir, "tokens.key");
    int rc = read_seed(file, seed, e);
    if (rc < 0 && e->code == ERR_NOT_FOUND) {
        *e = ERROR_INIT;
        rc = make_seed(file, seed, e);
    }
    return rc;
}

int
signer_new(const char *dir, struct signer **ret, struct error *e)
{
    unsigned char seed[crypto_sign_SEEDBYTES];
    char hash[65];

    int rc = load_seed(dir, seed, e);
    if (rc < 0)
        return rc;
    struct signer *s = xnew(struct signer);
    crypto_sign_seed_keypair(s->public_key, s->secret_key, seed);
    sodium_memzero(seed, sizeof(seed));
    id_hash_hex(s->public_key, sizeof(s->public_key), hash);
    snprintf(s->kid, sizeof(s->kid), "%.16s", hash);
    *ret = s;
    return 0;
}

void
signer_free(struct signer *s)
{
    if (s == NULL)
        return;
    sodium_memzero(s, sizeof(*s));
    free(s);
}

void
signer_sign(const struct signer *s, const struct agent_claims *c, struct str *out)
{
    auto_str header = STR_INIT(256), payload = STR_INIT(TOKEN_MAX);
    unsigned char signature[crypto_sign_BYTES];
    size_t start = out->len;

    str_addf(&header, "{\"alg\":\"EdDSA\",\"typ\":\"JWT\",\"kid\":\"%s\"}", s->kid);
    str_addf(&payload, "{\"iss\":\"drover\",\"sub\":\"system:agent:%s\"", c->uid);
    jput_member(&payload, "ns", c->ns);
    jput_member(&payload, "instance", c->name);
    jput_member(&payload, "uid", c->uid);
    jput_member_int(&payload, "iat", c->issued_s);
    jput_member_int(&payload, "exp", c->expires_s);
    str_addc(&payload, '}');
    id_base64url(header.ptr, header.len, out);
    str_addc(out, '.');
    id_base64url(payload.ptr, payload.len, out);
    crypto_sign_detached(signature, NULL, (const unsigned char *)out->ptr + start,
                         out->len - start, s->secret_key);
    str_addc(out, '.');
    id_base64url(signature, sizeof(signature), out);
}

static int
refuse(struct error *e, const char *why)
{
    return error_set(e, ERR_UNAUTHORIZED, "%s", why);
}

static json_t *
decode_part(const char *text, size_t n)
{
    auto_str bytes = STR_INIT(TOKEN_MAX);
    struct error e = ERROR_INIT;

    if (id_base64_decode(text, n, true, &bytes, &e) < 0)
        return NULL;
    return json_loadb(bytes.ptr, bytes.len, 0, NULL);
}

static bool
header_ok(const struct signer *s, const char *text, size_t n)
{
    json_t *header = decode_part(text, n);
    const char *alg = json_string_value(json_object_get(header, "alg"));
    const char *kid = json_string_value(json_object_get(header, "kid"));
    bool ok = alg != NULL && kid != NULL && streq(alg, "EdDSA") && streq(kid, s->kid);

    json_decref(header);
    return ok;
}

static bool
signature_ok(const struct signer *s, const char *token, const char *dot)
{
    auto_str signature = STR_INIT(256);
    struct error e = ERROR_INIT;

    return id_base64_decode(dot + 1, strlen(dot + 1), true, &signature, &e) == 0 &&
           signature.len == crypto_sign_BYTES &&
           crypto_sign_verify_detached((const unsigned char *)signature.ptr,
                                       (const unsigned char *)token,
                                       (size_t)(dot - token), s->public_key) == 0;
}

static bool
copy_claim(const json_t *claims, const char *key, char *out, size_t size)
{
    const char *text = json_string_value(json_object_get(claims, key));

    return text != NULL && (size_t)snprintf(out, size, "%s", text) < size;
}

int
signer_verify(const struct signer *s, const char *token, int64_t now_s,
              struct agent_claims *ret, struct error *e)
{
    struct agent_claims c = {0};

    if (strlen(token) > TOKEN_MAX)
        return refuse(e, "the token is too long");
    const char *first = strchr(token, '.');
    const char *second = first == NULL ? NULL : strchr(first + 1, '.');
    if (second == NULL)
        return refuse(e, "not a known token");
    if (!header_ok(s, token, (size_t)(first - token)) || !signature_ok(s, token, second))
        return refuse(e, "the token was not made by this server");
    json_t *claims = decode_part(first + 1, (size_t)(second - first) - 1);
    const char *issuer = json_string_value(json_object_get(claims, "iss"));
    bool ok = issuer != NULL && streq(issuer, "drover") &&
              copy_claim(claims, "ns", c.ns, sizeof(c.ns)) &&
              copy_claim(claims, "instance", c.name, sizeof(c.name)) &&
              copy_claim(claims, "uid", c.uid, sizeof(c.uid));
    c.issued_s = json_integer_value(json_object_get(claims, "iat"));
    c.expires_s = json_integer_value(json_object_get(claims, "exp"));
    json_decref(claims);
    if (!ok)
        return refuse(e, "the token lacks claims");
    if (c.expires_s <= now_s)
        return refuse(e, "the token has expired");
    *ret = c;
    return 0;
}
