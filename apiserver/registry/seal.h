/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Seals what may never be on a disk in clear, with XChaCha20-Poly1305 of libsodium. What
 * is sealed is bound to a context (whose it is, which part): moved elsewhere it does not
 * open. A ring of keys: the first seals, all open.
 *
 * Threading: immutable after opening; any thread.
 */
#ifndef REGISTRY_SEAL_H
#define REGISTRY_SEAL_H

#include "base/error.h"
#include "base/str.h"

struct seal_ring;

/* path: one key a line, 64 hex digits, 0600; made with one key when it is not there.
 * NULL: a key for this process only. */
int seal_ring_open(const char *path, struct seal_ring **ret, struct error *e) WARN_UNUSED;
void seal_ring_free(struct seal_ring *r); /* NULL ok; wipes the keys */
#define SEAL_KEY_ID 17
/* Appends base64 text; ret_key names the key. */
void seal_shut(const struct seal_ring *r, const char *context, struct span plain,
               char ret_key[SEAL_KEY_ID], struct str *out);
/* Appends what was sealed; the caller wipes it. ERR_NOT_FOUND: the key is not in the
 * ring; ERR_CORRUPT: not what was sealed, or not in this context. */
int seal_open(const struct seal_ring *r, const char *context, const char *key,
              struct span sealed, struct str *out, struct error *e) WARN_UNUSED;

#endif
