/* SPDX-License-Identifier: Apache-2.0 */
/* Random identifiers from libsodium's generator, and hex / base64 text. Thread-safe. */
#ifndef BASE_ID_H
#define BASE_ID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/str.h"

#define ID_UUID_LEN 37
void id_uuid4(char out[ID_UUID_LEN]);
bool id_is_uuid(const char *text, size_t len);
/* n random characters of Kubernetes' generateName alphabet, then NUL. */
void id_suffix(char *out, size_t n);
/* "<prefix>" + 43 base64url characters (256 random bits); for bearer tokens. */
#define ID_TOKEN_MAX 80
void id_token(const char *prefix, char out[ID_TOKEN_MAX]);
/* Same numbers on every run of a seeded test; NULL seed returns to real randomness. Tests
 * only. */
void id_seed(const unsigned char seed[32]);
/* Uniform in [0, n), from the same source. */
uint32_t id_uniform(uint32_t n);

void id_hex(const void *bytes, size_t n, struct str *out);
/* 64 hex digits and NUL: BLAKE2b-256 (libsodium crypto_generichash) of the bytes. */
void id_hash_hex(const void *bytes, size_t n, char out[65]);
void id_base64(const void *bytes, size_t n, struct str *out);    /* standard, padded */
void id_base64url(const void *bytes, size_t n, struct str *out); /* no padding */
/* Accept standard or url alphabet by `url`; ERR_BAD_REQUEST otherwise. */
int id_base64_decode(const char *text, size_t n, bool url, struct str *out,
                     struct error *e) WARN_UNUSED;

#endif
