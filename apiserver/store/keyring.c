/* SPDX-License-Identifier: Apache-2.0 */
/* The file of keys, and sealing and opening of single values. */
#include "apiserver/store/keyring.h"

#include <sodium.h>

#include "base/fs.h"
#include "base/id.h"
#include "base/mem.h"
#include "base/vec.h"

#define KEY_BYTES crypto_aead_xchacha20poly1305_ietf_KEYBYTES
#define NONCE_BYTES crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
#define TAG_BYTES crypto_aead_xchacha20poly1305_ietf_ABYTES
#define KDF_CONTEXT "drvrseal"
enum { FILE_MAX_BYTES = 16384, SEALED_MAX = 16 << 20 };
_Static_assert(KEY_BYTES == crypto_kdf_KEYBYTES, "a key of the file derives others");

struct ring_key {
    char id[KEYRING_ID_LEN + 1];
    unsigned char seal[KEYRING_USES][KEY_BYTES], nonce[KEYRING_USES][KEY_BYTES];
};
struct keyring {
    struct ring_key *keys; /* sodium_malloc */
    size_t n;
};

/* --- keys --- */

static void
derive(const unsigned char master[KEY_BYTES], struct ring_key *ret)
{
    char hash[65];

    id_hash_hex(master, KEY_BYTES, hash);
    memcpy(ret->id, hash, KEYRING_ID_LEN);
    ret->id[KEYRING_ID_LEN] = '\0';
    for (uint64_t use = 0; use < KEYRING_USES; use++) {
        crypto_kdf_derive_from_key(ret->seal[use], KEY_BYTES, 2 * use + 1, KDF_CONTEXT,
                                   master);
        crypto_kdf_derive_from_key(ret->nonce[use], KEY_BYTES, 2 * use + 2, KDF_CONTEXT,
                                   master);
    }
}

static int
parse_key(const char *line, size_t len, struct ring_key *ret)
{
    unsigned char master[KEY_BYTES];
    size_t n = 0;

    if (len != 2 * KEY_BYTES ||
        sodium_hex2bin(master, KEY_BYTES, line, len, NULL, &n, NULL) != 0 ||
        n != KEY_BYTES)
        return -1;
    derive(master, ret);
    sodium_memzero(master, sizeof(master));
    return 0;
}

static int
parse_file(const char *path, const struct str *text, struct keyring *k, struct error *e)
{
    const char *p = text->ptr;
    unsigned line = 1;

    for (; *p != '\0'; line++) {
        size_t len = strcspn(p, "\n");
        if (k->n == KEYRING_MAX || parse_key(p, len, &k->keys[k->n]) < 0)
            return error_set(e, ERR_CORRUPT, "%s: line %u is not a key", path, line);
        k->n++;
        p += len + (p[len] == '\n');
    }
    return k->n > 0 ? 0 : error_set(e, ERR_CORRUPT, "%s: no key", path);
}

static void
add_new_key(struct str *out)
{
    unsigned char key[KEY_BYTES];

    randombytes_buf(key, sizeof(key));
    id_hex(key, sizeof(key), out);
    str_addc(out, '\n');
    sodium_memzero(key, sizeof(key));
}

static void
wipe(struct str *text)
{
    if (text->len > 0)
        sodium_memzero(text->ptr, text->len);
    str_done(text);
}

static int
read_file(const char *path, bool create, struct str *text, struct error *e)
{
    struct error why = ERROR_INIT;
    int rc = 0;

    if (path != NULL)
        rc = fs_read(path, text, &why);
    if (path == NULL || (rc == -ERR_NOT_FOUND && create))
        add_new_key(text);
    if (rc == -ERR_NOT_FOUND && create)
        rc = fs_write_atomic(path, text->ptr, text->len, 0600, &why);
    if (rc < 0)
        *e = why;
    return rc;
}

int
keyring_load(const char *path, bool create, struct keyring **ret, struct error *e)
{
    struct str text = STR_INIT(FILE_MAX_BYTES);

    bug_if(sodium_init() < 0);
    int rc = read_file(path, create, &text, e);
    if (rc < 0) {
        wipe(&text);
        return rc;
    }
    struct keyring *k = xnew(struct keyring);
    k->keys = sodium_allocarray(KEYRING_MAX, sizeof(*k->keys));
    bug_if(k->keys == NULL);
    rc = parse_file(path, &text, k, e);
    wipe(&text);
    if (rc < 0) {
        keyring_free(k);
        return rc;
    }
    sodium_mprotect_readonly(k->keys);
    *ret = k;
    return 0;
}

void
keyring_free(struct keyring *k)
{
    if (k == NULL)
        return;
    sodium_free(k->keys);
    free(k);
}

int
keyring_add_key(const char *path, struct error *e)
{
    struct str old = STR_INIT(FILE_MAX_BYTES);
    struct str text = STR_INIT(FILE_MAX_BYTES);
    int rc = fs_read(path, &old, e);

    if (rc == 0) {
        add_new_key(&text);
        str_add(&text, old.ptr, old.len);
        rc = text.toobig ? error_set(e, ERR_TOO_LARGE, "%s: too many keys", path)
                         : fs_write_atomic(path, text.ptr, text.len, 0600, e);
    }
    wipe(&old);
    wipe(&text);
    return rc;
}

int
keyring_drop_old(const char *path, struct error *e)
{
    struct str text = STR_INIT(FILE_MAX_BYTES);
    int rc = fs_read(path, &text, e);

    if (rc == 0)
        rc = fs_write_atomic(path, text.ptr, strcspn(text.ptr, "\n") + 1, 0600, e);
    wipe(&text);
    return rc;
}

size_t
keyring_len(const struct keyring *k)
{
    return k->n;
}

const char *
keyring_id(const struct keyring *k, size_t i)
{
    return k->keys[i].id;
}

/* --- values --- */

size_t
keyring_sealed_len(size_t plain)
{
    return KEYRING_ID_LEN + 1 + (NONCE_BYTES + plain + TAG_BYTES + 2) / 3 * 4;
}

void
keyring_seal(const struct keyring *k, const struct keyring_place *p, struct span plain,
             struct str *out)
{
    const struct ring_key *key = &k->keys[0];
    const unsigned char *bound = (const unsigned char *)p->bound.ptr;
    const unsigned char *bytes = (const unsigned char *)plain.ptr;
    size_t n = NONCE_BYTES + plain.len + TAG_BYTES;
    autofree unsigned char *box = xmalloc(n);

    if (p->same) {
        crypto_generichash_state hash;
        uint64_t len = p->bound.len; /* so that no other split gives the same bytes */
        crypto_generichash_init(&hash, key->nonce[p->use], KEY_BYTES, NONCE_BYTES);
        crypto_generichash_update(&hash, (const unsigned char *)&len, sizeof(len));
        crypto_generichash_update(&hash, bound, p->bound.len);
        crypto_generichash_update(&hash, bytes, plain.len);
        crypto_generichash_final(&hash, box, NONCE_BYTES);
    } else {
        randombytes_buf(box, NONCE_BYTES);
    }
    crypto_aead_xchacha20poly1305_ietf_encrypt(box + NONCE_BYTES, NULL, bytes, plain.len,
                                               bound, p->bound.len, NULL, box,
                                               key->seal[p->use]);
    str_adds(out, key->id);
    str_addc(out, ':');
    id_base64(box, n, out);
}

static const struct ring_key *
find_key(const struct keyring *k, struct span sealed)
{
    if (sealed.len <= KEYRING_ID_LEN || sealed.ptr[KEYRING_ID_LEN] != ':')
        return NULL;
    for (size_t i = 0; i < k->n; i++) {
        if (memcmp(k->keys[i].id, sealed.ptr, KEYRING_ID_LEN) == 0)
            return &k->keys[i];
    }
    return NULL;
}

int
keyring_open(const struct keyring *k, const struct keyring_place *p, struct span sealed,
             struct str *out, struct error *e)
{
    const struct ring_key *key = find_key(k, sealed);
    auto_str box = STR_INIT(SEALED_MAX);
    struct error ignored = ERROR_INIT;
    size_t skip = KEYRING_ID_LEN + 1;

    if (key == NULL)
        return error_set(
            e, ERR_NOT_FOUND,
            "a value is sealed with the key %.*s, which is not in " KEYRING_FILE,
            (int)(sealed.len < KEYRING_ID_LEN ? sealed.len : KEYRING_ID_LEN), sealed.ptr);
    if (id_base64_decode(sealed.ptr + skip, sealed.len - skip, false, &box, &ignored) <
            0 ||
        box.len < NONCE_BYTES + TAG_BYTES)
        return error_set(e, ERR_CORRUPT, "a sealed value is damaged");
    size_t n = box.len - NONCE_BYTES - TAG_BYTES;
    const unsigned char *nonce = (const unsigned char *)box.ptr;
    if (!str_reserve(out, n))
        return error_set(e, ERR_TOO_LARGE, "object too large");
    if (crypto_aead_xchacha20poly1305_ietf_decrypt(
            (unsigned char *)out->ptr + out->len, NULL, NULL, nonce + NONCE_BYTES,
            box.len - NONCE_BYTES, (const unsigned char *)p->bound.ptr, p->bound.len,
            nonce, key->seal[p->use]) != 0)
        return error_set(e, ERR_CORRUPT,
                         "a sealed value is damaged, or belongs to another object");
    out->len += n;
    out->ptr[out->len] = '\0';
    return 0;
}
