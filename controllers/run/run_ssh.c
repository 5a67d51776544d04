/* SPDX-License-Identifier: Apache-2.0 */
/* SSH strings: a big-endian length and the bytes. */
#include "controllers/run/run_ssh.h"

#include <sodium.h>

#include "api/jtok.h"
#include "base/id.h"
#include "base/mem.h"

enum { KEY_MAX = 4096, LINE = 70, BLOCK = 8, CHECK_BYTES = 4 };

static void
put_u32(struct str *s, size_t n)
{
    unsigned char b[4] = {(unsigned char)(n >> 24), (unsigned char)(n >> 16),
                          (unsigned char)(n >> 8), (unsigned char)n};

    str_add(s, b, sizeof(b));
}

static void
put_bytes(struct str *s, const void *bytes, size_t n)
{
    put_u32(s, n);
    str_add(s, bytes, n);
}

static void
put_text(struct str *s, const char *text)
{
    put_bytes(s, text, strlen(text));
}

static void
wipe(struct str *s)
{
    if (s->len > 0)
        sodium_memzero(s->ptr, s->len);
    str_done(s);
}

void
ssh_key_make(const char *comment, struct str *private_text, struct str *public_text)
{
    static const char magic[] = "openssh-key-v1"; /* with its NUL */
    unsigned char pk[crypto_sign_PUBLICKEYBYTES], sk[crypto_sign_SECRETKEYBYTES];
    unsigned char check[CHECK_BYTES];
    struct str public_blob = STR_INIT(KEY_MAX), secret = STR_INIT(KEY_MAX);
    struct str file = STR_INIT(KEY_MAX), text = STR_INIT(KEY_MAX);

    str_reserve(&secret, KEY_MAX / 2); /* so that nothing is copied while it grows */
    str_reserve(&file, KEY_MAX / 2);
    str_reserve(&text, KEY_MAX / 2);
    crypto_sign_keypair(pk, sk);
    randombytes_buf(check, sizeof(check));
    put_text(&public_blob, "ssh-ed25519");
    put_bytes(&public_blob, pk, sizeof(pk));
    str_add(&secret, check, sizeof(check));
    str_add(&secret, check, sizeof(check));
    put_text(&secret, "ssh-ed25519");
    put_bytes(&secret, pk, sizeof(pk));
    put_bytes(&secret, sk, sizeof(sk));
    put_text(&secret, comment);
    for (char pad = 1; secret.len % BLOCK != 0; pad++)
        str_addc(&secret, pad);
    str_add(&file, magic, sizeof(magic));
    put_text(&file, "none"); /* cipher */
    put_text(&file, "none"); /* key derivation */
    put_text(&file, "");
    put_u32(&file, 1);
    put_bytes(&file, public_blob.ptr, public_blob.len);
    put_bytes(&file, secret.ptr, secret.len);
    id_base64(file.ptr, file.len, &text);
    str_adds(private_text, "-----BEGIN OPENSSH PRIVATE KEY-----\n");
    for (size_t i = 0; i < text.len; i += LINE)
        str_addf(private_text, "%.*s\n", (int)(text.len - i < LINE ? text.len - i : LINE),
                 text.ptr + i);
    str_adds(private_text, "-----END OPENSSH PRIVATE KEY-----\n");
    str_adds(public_text, "ssh-ed25519 ");
    id_base64(public_blob.ptr, public_blob.len, public_text);
    str_addf(public_text, " %s", comment);
    sodium_memzero(sk, sizeof(sk));
    str_done(&public_blob);
    wipe(&secret);
    wipe(&file);
    wipe(&text);
}

json_t *
run_ssh_secret(const struct object *run, const char *name)
{
    struct str private_text = STR_INIT(KEY_MAX), data = STR_INIT(KEY_MAX);
    struct str public_text = STR_INIT(KEY_MAX), public_data = STR_INIT(KEY_MAX);

    str_reserve(&private_text, KEY_MAX / 2);
    str_reserve(&data, KEY_MAX / 2);
    ssh_key_make(run->name, &private_text, &public_text);
    id_base64(private_text.ptr, private_text.len, &data);
    id_base64(public_text.ptr, public_text.len, &public_data);
    json_t *secret = json_pack(
        "{s:s, s:s, s:s, s:{s:s, s:s, s:[{s:s, s:s, s:s, s:s, s:b}]}, s:{s:s, s:s}}",
        "apiVersion", "v1", "kind", "Secret", "type", "drover.dev/ssh-key", "metadata",
        "name", name, "namespace", run->ns, "ownerReferences", "apiVersion",
        "drover.dev/v1", "kind", "Run", "name", run->name, "uid", run->uid, "controller",
        1, "data", "private-key", data.ptr, "public-key", public_data.ptr);
    wipe(&private_text);
    wipe(&data);
    str_done(&public_text);
    str_done(&public_data);
    return secret;
}

bool
object_owned_by(const struct object *o, const char *uid)
{
    struct span list, item, raw;
    const char *cursor = NULL;

    if (!object_path(o, "metadata.ownerReferences", &list) || list.len == 0 ||
        list.ptr[0] != '[')
        return false;
    while (jscan_next_item(list, &cursor, &item))
        if (jscan_member(item, "uid", &raw) && jscan_is(raw, uid))
            return true;
    return false;
}
