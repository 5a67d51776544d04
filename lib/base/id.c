/* SPDX-License-Identifier: Apache-2.0 */
/* Identifiers and encodings over libsodium. */
#include "base/id.h"

#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

static bool seeded;
static unsigned char seed_key[randombytes_SEEDBYTES];
static uint64_t seed_count;
static pthread_mutex_t seed_lock = PTHREAD_MUTEX_INITIALIZER;

static void
random_bytes(void *out, size_t n)
{
    if (!seeded) {
        bug_if(sodium_init() < 0);
        randombytes_buf(out, n);
        return;
    }
    unsigned char key[randombytes_SEEDBYTES];
    pthread_mutex_lock(&seed_lock);
    uint64_t count = ++seed_count;
    memcpy(key, seed_key, sizeof(key));
    pthread_mutex_unlock(&seed_lock);
    for (size_t i = 0; i < sizeof(count); i++)
        key[i] ^= (unsigned char)(count >> (8 * i));
    randombytes_buf_deterministic(out, n, key);
}

void
id_seed(const unsigned char seed[32])
{
    pthread_mutex_lock(&seed_lock);
    seeded = seed != NULL;
    seed_count = 0;
    if (seed != NULL)
        memcpy(seed_key, seed, sizeof(seed_key));
    pthread_mutex_unlock(&seed_lock);
}

uint32_t
id_uniform(uint32_t n)
{
    uint64_t wide;

    if (n < 2)
        return 0;
    random_bytes(&wide, sizeof(wide));
    return (uint32_t)(wide % n);
}

void
id_uuid4(char out[ID_UUID_LEN])
{
    unsigned char b[16];

    random_bytes(b, sizeof(b));
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    snprintf(out, ID_UUID_LEN,
             "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
             b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12],
             b[13], b[14], b[15]);
}

bool
id_is_uuid(const char *text, size_t len)
{
    if (len != ID_UUID_LEN - 1)
        return false;
    for (size_t i = 0; i < len; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        char c = text[i];
        bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
        if (dash ? c != '-' : !hex)
            return false;
    }
    return true;
}

void
id_suffix(char *out, size_t n)
{
    static const char alphabet[] = "bcdfghjklmnpqrstvwxz2456789";

    for (size_t i = 0; i < n; i++)
        out[i] = alphabet[id_uniform(sizeof(alphabet) - 1)];
    out[n] = '\0';
}

void
id_token(const char *prefix, char out[ID_TOKEN_MAX])
{
    unsigned char b[32];
    char text[48];

    random_bytes(b, sizeof(b));
    sodium_bin2base64(text, sizeof(text), b, sizeof(b),
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    snprintf(out, ID_TOKEN_MAX, "%s%s", prefix, text);
    sodium_memzero(b, sizeof(b));
}

void
id_hex(const void *bytes, size_t n, struct str *out)
{
    static const char hex[] = "0123456789abcdef";
    const unsigned char *b = bytes;

    for (size_t i = 0; i < n; i++) {
        str_addc(out, hex[b[i] >> 4]);
        str_addc(out, hex[b[i] & 15]);
    }
}

void
id_hash_hex(const void *bytes, size_t n, char out[65])
{
    unsigned char h[32];

    bug_if(sodium_init() < 0);
    crypto_generichash(h, sizeof(h), bytes, n, NULL, 0);
    sodium_bin2hex(out, 65, h, sizeof(h));
}

static void
encode(const void *bytes, size_t n, int variant, struct str *out)
{
    size_t size = sodium_base64_encoded_len(n, variant);

    if (!str_reserve(out, size - 1)) /* the NUL has its place already */
        return;
    sodium_bin2base64(out->ptr + out->len, size, bytes, n, variant);
    out->len += strlen(out->ptr + out->len);
}

void
id_base64(const void *bytes, size_t n, struct str *out)
{
    encode(bytes, n, sodium_base64_VARIANT_ORIGINAL, out);
}

void
id_base64url(const void *bytes, size_t n, struct str *out)
{
    encode(bytes, n, sodium_base64_VARIANT_URLSAFE_NO_PADDING, out);
}

int
id_base64_decode(const char *text, size_t n, bool url, struct str *out, struct error *e)
{
    int variant =
        url ? sodium_base64_VARIANT_URLSAFE_NO_PADDING : sodium_base64_VARIANT_ORIGINAL;
    size_t got = 0;

    if (!str_reserve(out, n / 4 * 3 + 3))
        return error_set(e, ERR_TOO_LARGE, "base64 text of %zu bytes is too large", n);
    if (sodium_base642bin((unsigned char *)out->ptr + out->len, n / 4 * 3 + 3, text, n,
                          "\n\r", &got, NULL, variant) != 0)
        return error_set(e, ERR_BAD_REQUEST, "not valid base64");
    out->len += got;
    out->ptr[out->len] = '\0';
    return 0;
}
