/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values of Secrets as they stand in the mirror: "sealed:v1:<uid>:<base64url>", where the
 * bytes are nonce and XChaCha20-Poly1305 (libsodium) with uid, namespace, name and field
 * as associated data: a sealed value opens only in the field of the object name that it
 * was made for. The nonce is a keyed hash of all that goes in, so the same value of the
 * same object gives the same text: files do not change without cause, and equal texts
 * mean equal values (that, and nothing else, is what the text tells).
 *
 * Key: <keys>/mirror.key, 32 random bytes in hex, 0600, made when missing. Without it the
 * mirror's Secrets cannot be read; it is not in the tree. Immutable after opening;
 * thread-safe.
 */
#ifndef MIRROR_SEAL_H
#define MIRROR_SEAL_H

#include "base/error.h"
#include "base/str.h"

#define MIRROR_SEALED_PREFIX "sealed:"

struct mirror_seal;
int mirror_seal_load(const char *keys_dir, struct mirror_seal **ret,
                     struct error *e) WARN_UNUSED;
void mirror_seal_free(struct mirror_seal *s); /* NULL ok; wipes */

struct mirror_field {
    const char *uid, *ns, *name, *field; /* uid "" for an object that is not stored yet */
};
/* Appends the text. */
void mirror_seal_value(const struct mirror_seal *s, const struct mirror_field *f,
                       const void *bytes, size_t n, struct str *out);
/* Appends the bytes. f->uid is not looked at: the text says it. ERR_INVALID. */
int mirror_seal_open(const struct mirror_seal *s, const struct mirror_field *f,
                     const char *text, struct str *out, struct error *e) WARN_UNUSED;

#endif
