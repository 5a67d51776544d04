/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values of Secrets as they stand in the mirror: "sealed:v1:<uid>:<key id>:<base64>",
 * sealed by the ring (keyring.h) and bound to uid, namespace, name and field: a sealed
 * value opens only in the field of the object name that it was made for. The nonce is a
 * keyed hash of all that goes in, so the same value of the same object gives the same
 * text: files do not change without cause, and equal texts mean equal values (that, and
 * nothing else, is what the text tells). A new key in the ring is a cause: the server
 * writes such files anew. Pure; thread-safe.
 */
#ifndef MIRROR_SEAL_H
#define MIRROR_SEAL_H

#include "apiserver/store/keyring.h"
#include "base/id.h"

#define MIRROR_SEALED_PREFIX "sealed:"

struct mirror_field {
    const char *uid, *ns, *name, *field; /* uid "" for an object that is not stored yet */
};
/* Appends the text. */
void mirror_seal_value(const struct keyring *k, const struct mirror_field *f,
                       const void *bytes, size_t n, struct str *out);
/* Appends the bytes. f->uid is not looked at: the text says it. ERR_INVALID. */
int mirror_seal_open(const struct keyring *k, const struct mirror_field *f,
                     const char *text, struct str *out, struct error *e) WARN_UNUSED;

/* The uid that the text says it is sealed for. */
bool mirror_sealed_uid(const char *text, char ret[ID_UUID_LEN]);

#endif
