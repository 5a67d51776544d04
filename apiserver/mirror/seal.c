/* SPDX-License-Identifier: Apache-2.0 */
/* Sealed values of Secrets. */
#include "apiserver/mirror/seal.h"

#include <sodium.h>
#include <stdlib.h>

#include "base/fs.h"
#include "base/id.h"
#include "base/mem.h"

#define SEALED_V1 MIRROR_SEALED_PREFIX "v1:"

enum {
    KEY = crypto_aead_xchacha20poly1305_ietf_KEYBYTES,
    NONCE = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES,
    TAG = crypto_aead_xchacha20poly1305_ietf_ABYTES,
    VALUE_MAX = 3 << 20,
};

struct mirror_seal {
    unsigned char key[KEY], nonce_key[KEY];
};

static int
read_key(const char *path, unsigned char key[KEY], struct error *e)
{
    auto_str hex = STR_INIT(256);
    size_t n = 0;

    if (fs_read(path, &hex, e) < 0)
        return -(int)e->code;
    int bad = sodium_hex2bin(key, KEY, hex.ptr, hex.len, "\n", &n, NULL);
    sodium_memzero(hex.ptr, hex.len);
    if (bad != 0 || n != KEY)
        return error_set(e, ERR_CORRUPT, "%s: not 64 hex digits", path);
    return 0;
}

static int
make_key(const char *path, unsigned char key[KEY], struct error *e)
{
    char hex[2 * KEY + 2];

    randombytes_buf(key, KEY);
    sodium_bin2hex(hex, sizeof(hex), key, KEY);
    hex[sizeof(hex) - 2] = '\n';
    int rc = fs_write_atomic(path, hex, sizeof(hex) - 1, 0600, e);
    sodium_memzero(hex, sizeof(hex));
    return rc;
}

int
mirror_seal_load(const char *keys_dir, struct mirror_seal **ret, struct error *e)
{
    autofree char *path = fs_join(keys_dir, "mirror.key");
    unsigned char master[KEY];
    struct error missing = ERROR_INIT;

    if (sodium_init() < 0)
        return error_set(e, ERR_INTERNAL, "libsodium does not start");
    int rc = read_key(path, master, &missing);
    if (rc == -ERR_NOT_FOUND) {
        if (fs_mkdirs(keys_dir, 0700, e) < 0)
            return -(int)e->code;
        rc = make_key(path, master, e);
    } else if (rc < 0) {
        *e = missing;
    }
    if (rc < 0)
        return rc;
    struct mirror_seal *s = xnew(struct mirror_seal);
    crypto_kdf_derive_from_key(s->key, KEY, 1, "mirrseal", master);
    crypto_kdf_derive_from_key(s->nonce_key, KEY, 2, "mirrseal", master);
    sodium_memzero(master, sizeof(master));
    *ret = s;
    return 0;
}

void
mirror_seal_free(struct mirror_seal *s)
{
    if (s == NULL)
        return;
    sodium_memzero(s, sizeof(*s));
    free(s);
}

/* The parts with their terminators: no two different sets give the same bytes. */
static void
associated(const struct mirror_field *f, struct str *out)
{
    str_add(out, f->uid, strlen(f->uid) + 1);
    str_add(out, f->ns, strlen(f->ns) + 1);
    str_add(out, f->name, strlen(f->name) + 1);
    str_add(out, f->field, strlen(f->field) + 1);
}

void
mirror_seal_value(const struct mirror_seal *s, const struct mirror_field *f,
                  const void *bytes, size_t n, struct str *out)
{
    auto_str ad = STR_INIT(4096);
    unsigned long long sealed = 0;
    crypto_generichash_state hash;
    autofree unsigned char *buf = xmalloc(NONCE + n + TAG);

    associated(f, &ad);
    crypto_generichash_init(&hash, s->nonce_key, KEY, NONCE);
    crypto_generichash_update(&hash, (const unsigned char *)ad.ptr, ad.len);
    crypto_generichash_update(&hash, bytes, n);
    crypto_generichash_final(&hash, buf, NONCE);
    crypto_aead_xchacha20poly1305_ietf_encrypt(buf + NONCE, &sealed, bytes, n,
                                               (const unsigned char *)ad.ptr, ad.len,
                                               NULL, buf, s->key);
    str_addf(out, SEALED_V1 "%s:", f->uid);
    id_base64url(buf, NONCE + sealed, out);
}

int
mirror_seal_open(const struct mirror_seal *s, const struct mirror_field *f,
                 const char *text, struct str *out, struct error *e)
{
    auto_str raw = STR_INIT(VALUE_MAX + NONCE + TAG), ad = STR_INIT(4096);
    struct error bad = ERROR_INIT;
    char uid[ID_UUID_LEN];

    if (!str_starts(text, SEALED_V1))
        return error_set(e, ERR_INVALID, "is not in a known sealed form");
    text += strlen(SEALED_V1);
    const char *colon = strchr(text, ':');
    if (colon == NULL || colon - text >= ID_UUID_LEN ||
        id_base64_decode(colon + 1, strlen(colon + 1), true, &raw, &bad) < 0 ||
        raw.len < NONCE + TAG)
        return error_set(e, ERR_INVALID, "is a damaged sealed value");
    memcpy(uid, text, (size_t)(colon - text));
    uid[colon - text] = '\0';
    struct mirror_field own = {uid, f->ns, f->name, f->field};
    associated(&own, &ad);
    size_t n = raw.len - NONCE - TAG;
    autofree unsigned char *plain = xmalloc(n + 1);
    const unsigned char *bytes = (const unsigned char *)raw.ptr;
    if (crypto_aead_xchacha20poly1305_ietf_decrypt(plain, NULL, NULL, bytes + NONCE,
                                                   n + TAG, (const unsigned char *)ad.ptr,
                                                   ad.len, bytes, s->key) != 0)
        return error_set(e, ERR_INVALID,
                         "was sealed for another field or object, or with another key");
    str_add(out, plain, n);
    sodium_memzero(plain, n);
    return 0;
}
