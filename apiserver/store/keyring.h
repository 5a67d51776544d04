/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one ring of keys under which values of Secrets are ciphertext wherever they are
 * kept: in the store (store_seal.h), in the history, in the mirror. XChaCha20-Poly1305 of
 * libsodium; what is sealed is bound to its place (whose value, which field): moved
 * elsewhere it does not open. Each use has keys of its own, derived from those of the
 * ring, so that one use cannot open what another has sealed.
 *
 * <data>/keys/secrets.keys, 0600: one key of 64 hex digits a line, the first one seals,
 * all open. Its id is the start of its hash. API servers that share an etcd need the same
 * file; `drover store rekey` changes the key.
 *
 * Threading: immutable after loading; any thread. Keys live in guarded memory and are
 * wiped.
 */
#ifndef APISERVER_STORE_KEYRING_H
#define APISERVER_STORE_KEYRING_H

#include "base/error.h"
#include "base/str.h"

#define KEYRING_FILE "secrets.keys"
enum { KEYRING_ID_LEN = 8, KEYRING_MAX = 64 };
enum keyring_use { KEYRING_STORE, KEYRING_HISTORY, KEYRING_MIRROR, KEYRING_USES };

struct keyring;

/* ERR_NOT_FOUND: no file; with `create` it is made, with one new key. ERR_CORRUPT. path
 * NULL: a key for this process only. */
int keyring_load(const char *path, bool create, struct keyring **ret,
                 struct error *e) WARN_UNUSED;
void keyring_free(struct keyring *k); /* NULL ok */
/* Puts a new key in front of those of the file. */
int keyring_add_key(const char *path, struct error *e) WARN_UNUSED;
/* Leaves only the first key in the file. */
int keyring_drop_old(const char *path, struct error *e) WARN_UNUSED;
size_t keyring_len(const struct keyring *k);
/* "0a1b2c3d"; the first one is 0. */
const char *keyring_id(const struct keyring *k, size_t i);

struct keyring_place {
    enum keyring_use use;
    struct span bound; /* where the value stands; told apart by the caller */
    /* The nonce follows from key, place and value: the same value in the same place gives
     * the same text, which therefore tells that and nothing else. Otherwise random. */
    bool same;
};
/* Appends "<key id>:<base64>"; keyring_sealed_len is its length. */
void keyring_seal(const struct keyring *k, const struct keyring_place *p,
                  struct span plain, struct str *out);
size_t keyring_sealed_len(size_t plain);
/* Appends what was sealed; the caller wipes it. ERR_NOT_FOUND: the key is not in the
 * ring; ERR_CORRUPT: not what was sealed, or not in this place; ERR_TOO_LARGE. */
int keyring_open(const struct keyring *k, const struct keyring_place *p,
                 struct span sealed, struct str *out, struct error *e) WARN_UNUSED;

#endif
