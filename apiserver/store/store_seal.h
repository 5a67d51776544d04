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
 * The keys are those of keyring.h. Pure functions; any thread.
 */
#ifndef APISERVER_STORE_SEAL_H
#define APISERVER_STORE_SEAL_H

#include "apiserver/store/keyring.h"

/* Whether objects of the resource may have values to seal. NULL s: false. */
bool store_seal_wants(const struct keyring *s, const char *resource);
/* What store_seal would append; bytes: a whole object as canonical JSON. */
size_t store_seal_size(struct span bytes);
/* Appends the object with its secret values sealed; out must have room. */
void store_seal(const struct keyring *s, struct span bytes, struct str *out);
/* Appends the object with its sealed values opened; those that are not sealed stay.
 * ERR_CORRUPT: the key is missing, or it was sealed for another object or field. */
int store_unseal(const struct keyring *s, struct span bytes, struct str *out,
                 struct error *e) WARN_UNUSED;

#endif
