/* SPDX-License-Identifier: Apache-2.0 */
/* Sealed bytes: 24 bytes of nonce, then the ciphertext with its tag; base64 as text. */
#include "apiserver/registry/seal.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/id.h"
#include "base/mem.h"
#include "base/vec.h"

enum {
    KEY = crypto_aead_xchacha20poly1305_ietf_KEYBYTES,
    NONCE = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES,
    TAG = crypto_aead_xchacha20poly1305_ietf_ABYTES,
    KEYS_MAX = 16,
    FILE_MAX = 4096,
    SEALED_MAX = 16 << 20,
};

struct key {
    unsigned char bytes[KEY];
    char id[SEAL_KEY_ID];
};
struct seal_ring {
    struct key keys[KEYS_MAX]; /* the first seals */
    size_t n;
};

static void
name_key(struct key *k)
{
    char hash[65];

    id_hash_hex(k->bytes, sizeof(k->bytes), hash);
    memcpy(k->id, hash, SEAL_KEY_ID - 1);
    k->id[SEAL_KEY_ID - 1] = '\0';
}

static int
parse(struct seal_ring *r, const char *path, const char *text, struct error *e)
{
    while (*text != '\0') {
        size_t n = strcspn(text, "\n"), got = 0;
        struct key *k = &r->keys[r->n];
        if (r->n == KEYS_MAX)
            return error_set(e, ERR_BAD_REQUEST, "%s: more than %d keys", path, KEYS_MAX);
        if (n != (size_t)2 * KEY ||
            sodium_hex2bin(k->bytes, KEY, text, n, NULL, &got, NULL) != 0 || got != KEY)
            return error_set(e, ERR_CORRUPT, "%s: line %zu is not 64 hex digits", path,
                             r->n + 1);
        name_key(k);
        r->n++;
        text += n + (text[n] == '\n');
    }
    if (r->n == 0)
        return error_set(e, ERR_CORRUPT, "%s holds no key", path);
    return 0;
}

static int
make(const char *path, struct error *e)
{
    unsigned char bytes[KEY];
    char line[2 * KEY + 2];

    randombytes_buf(bytes, sizeof(bytes));
    sodium_bin2hex(line, sizeof(line), bytes, sizeof(bytes));
    line[2 * KEY] = '\n';
    int rc = fs_write_atomic(path, line, 2 * KEY + 1, 0600, e);
    sodium_memzero(bytes, sizeof(bytes));
    sodium_memzero(line, sizeof(line));
    return rc;
}

static int
load(struct seal_ring *r, const char *path, struct error *e)
{
    auto_str text = STR_INIT(FILE_MAX);
    int rc = fs_read(path, &text, e);

    if (rc < 0 && e->code == ERR_NOT_FOUND) {
        *e = ERROR_INIT;
        rc = make(path, e);
        if (rc == 0)
            rc = fs_read(path, &text, e);
    }
    if (rc == 0)
        rc = parse(r, path, text.ptr, e);
    if (text.len > 0)
        sodium_memzero(text.ptr, text.len);
    return rc;
}

int
seal_ring_open(const char *path, struct seal_ring **ret, struct error *e)
{
    struct seal_ring *r = xnew(struct seal_ring);

    bug_if(sodium_init() < 0);
    if (path == NULL) {
        randombytes_buf(r->keys[0].bytes, KEY);
        name_key(&r->keys[0]);
        r->n = 1;
    } else if (load(r, path, e) < 0) {
        seal_ring_free(r);
        return -(int)e->code;
    }
    *ret = r;
    return 0;
}

void
seal_ring_free(struct seal_ring *r)
{
    if (r == NULL)
        return;
    sodium_memzero(r, sizeof(*r));
    free(r);
}

void
seal_shut(const struct seal_ring *r, const char *context, struct span plain,
          char ret_key[SEAL_KEY_ID], struct str *out)
{
    const struct key *k = &r->keys[0];
    size_t n = NONCE + plain.len + TAG;
    autofree unsigned char *bytes = xmalloc(n);

    randombytes_buf(bytes, NONCE);
    crypto_aead_xchacha20poly1305_ietf_encrypt(
        bytes + NONCE, NULL, (const unsigned char *)plain.ptr, plain.len,
        (const unsigned char *)context, strlen(context), NULL, bytes, k->bytes);
    id_base64(bytes, n, out);
    memcpy(ret_key, k->id, SEAL_KEY_ID);
}

static const struct key *
find(const struct seal_ring *r, const char *id)
{
    for (size_t i = 0; i < r->n; i++)
        if (streq(r->keys[i].id, id))
            return &r->keys[i];
    return NULL;
}

int
seal_open(const struct seal_ring *r, const char *context, const char *key,
          struct span sealed, struct str *out, struct error *e)
{
    const struct key *k = find(r, key);
    auto_str bytes = STR_INIT(SEALED_MAX);

    if (k == NULL)
        return error_set(e, ERR_NOT_FOUND,
                         "it is sealed with key %.16s, which is not here", key);
    if (id_base64_decode(sealed.ptr, sealed.len, false, &bytes, e) < 0 ||
        bytes.len < NONCE + TAG)
        return error_set(e, ERR_CORRUPT, "what is sealed is damaged");
    size_t n = bytes.len - NONCE - TAG;
    autofree unsigned char *plain = xmalloc(n + 1);
    const unsigned char *raw = (const unsigned char *)bytes.ptr;
    if (crypto_aead_xchacha20poly1305_ietf_decrypt(
            plain, NULL, NULL, raw + NONCE, bytes.len - NONCE,
            (const unsigned char *)context, strlen(context), raw, k->bytes) != 0)
        return error_set(e, ERR_CORRUPT, "what is sealed is damaged, or not of here");
    str_add(out, (const char *)plain, n);
    sodium_memzero(plain, n);
    return 0;
}
