/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sealing: values of Secrets are ciphertext in everything that a store keeps outside of
 * memory. The log, snapshots and etcd hold objects in which these strings are replaced by
 * "sealed:v1:<key id>:<base64>":
 *
 *     secrets    each value of data, and the annotation in which kubectl repeats them
 *                (kubectl.kubernetes.io/last-applied-configuration)
 *
 * (What the history and the mirror hold of a Secret is sealed before it comes here.) It
 * is XChaCha20-Poly1305 (libsodium) under a random nonce of 24 bytes, bound to the
 * object's uid and the field, so that a value cannot be moved to where it could be read.
 * The plaintext is the raw content of the JSON string.
 *
 * <data>/keys/secrets.keys: one key of 64 hex digits a line, the first one seals, all
 * open. Its id is the start of its hash.
 *
 * Threading: immutable after loading. Keys live in guarded memory and are wiped.
 */
#ifndef APISERVER_STORE_SEAL_H
#define APISERVER_STORE_SEAL_H

#include "base/error.h"
#include "base/str.h"

#define SEAL_FILE "secrets.keys"

struct store_seal;

/* ERR_NOT_FOUND: no file; with `create` it is made, with one new key. ERR_CORRUPT. */
int store_seal_load(const char *path, bool create, struct store_seal **ret,
                    struct error *e) WARN_UNUSED;
void store_seal_free(struct store_seal *s); /* NULL ok */
/* Puts a new key in front of those of the file. */
int store_seal_add_key(const char *path, struct error *e) WARN_UNUSED;
/* Leaves only the first key in the file. */
int store_seal_drop_old(const char *path, struct error *e) WARN_UNUSED;

/* Whether objects of the resource may have values to seal. NULL s: false. */
bool store_seal_wants(const struct store_seal *s, const char *resource);
/* What store_seal would append; bytes: a whole object as canonical JSON. */
size_t store_seal_size(struct span bytes);
/* Appends the object with its secret values sealed; out must have room. */
void store_seal(const struct store_seal *s, struct span bytes, struct str *out);
/* Appends the object with its sealed values opened; those that are not sealed stay.
 * ERR_CORRUPT: the key is missing, or it was sealed for another object or field. */
int store_unseal(const struct store_seal *s, struct span bytes, struct str *out,
                 struct error *e) WARN_UNUSED;

#endif
