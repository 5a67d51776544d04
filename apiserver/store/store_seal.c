/* SPDX-License-Identifier: Apache-2.0 */
/* Sealing and opening of single values, and the file of keys. */
#include "apiserver/store/store_seal.h"

#include <sodium.h>

#include "api/jtok.h"
#include "api/object.h"
#include "base/fs.h"
#include "base/id.h"
#include "base/mem.h"
#include "base/vec.h"

#define PREFIX "sealed:v1:"
#define KEY_BYTES crypto_aead_xchacha20poly1305_ietf_KEYBYTES
#define NONCE_BYTES crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
#define TAG_BYTES crypto_aead_xchacha20poly1305_ietf_ABYTES
#define ANNOTATION "kubectl.kubernetes.io/last-applied-configuration"
enum { KEY_ID_LEN = 8, KEYS_MAX = 64, FILE_MAX_BYTES = 16384, FIELD_MAX = 1024 };

struct seal_key {
    char id[KEY_ID_LEN + 1];
    unsigned char bytes[KEY_BYTES];
};

struct store_seal {
    struct seal_key *keys; /* sodium_malloc */
    size_t n;
};

/* --- keys --- */

static int
parse_key(const char *line, size_t len, struct seal_key *ret)
{
    char hash[65];
    size_t n;

    if (len != 2 * KEY_BYTES ||
        sodium_hex2bin(ret->bytes, KEY_BYTES, line, len, NULL, &n, NULL) != 0 ||
        n != KEY_BYTES)
        return -1;
    id_hash_hex(ret->bytes, KEY_BYTES, hash);
    memcpy(ret->id, hash, KEY_ID_LEN);
    ret->id[KEY_ID_LEN] = '\0';
    return 0;
}

static int
parse_file(const char *path, const struct str *text, struct store_seal *s,
           struct error *e)
{
    const char *p = text->ptr;
    unsigned line = 1;

    for (; *p != '\0'; line++) {
        size_t len = strcspn(p, "\n");
        if (s->n == KEYS_MAX || parse_key(p, len, &s->keys[s->n]) < 0)
            return error_set(e, ERR_CORRUPT, "%s: line %u is not a key", path, line);
        s->n++;
        p += len + (p[len] == '\n');
    }
    return s->n > 0 ? 0 : error_set(e, ERR_CORRUPT, "%s: no key", path);
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

int
store_seal_load(const char *path, bool create, struct store_seal **ret, struct error *e)
{
    struct str text = STR_INIT(FILE_MAX_BYTES);
    struct error why = ERROR_INIT;

    bug_if(sodium_init() < 0);
    int rc = fs_read(path, &text, &why);
    if (rc == -ERR_NOT_FOUND && create) {
        add_new_key(&text);
        rc = fs_write_atomic(path, text.ptr, text.len, 0600, &why);
    }
    if (rc < 0) {
        *e = why;
        wipe(&text);
        return rc;
    }
    struct store_seal *s = xnew(struct store_seal);
    s->keys = sodium_allocarray(KEYS_MAX, sizeof(*s->keys));
    bug_if(s->keys == NULL);
    rc = parse_file(path, &text, s, e);
    wipe(&text);
    if (rc < 0) {
        store_seal_free(s);
        return rc;
    }
    sodium_mprotect_readonly(s->keys);
    *ret = s;
    return 0;
}

void
store_seal_free(struct store_seal *s)
{
    if (s == NULL)
        return;
    sodium_free(s->keys);
    free(s);
}

int
store_seal_add_key(const char *path, struct error *e)
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
store_seal_drop_old(const char *path, struct error *e)
{
    struct str text = STR_INIT(FILE_MAX_BYTES);
    int rc = fs_read(path, &text, e);

    if (rc == 0)
        rc = fs_write_atomic(path, text.ptr, strcspn(text.ptr, "\n") + 1, 0600, e);
    wipe(&text);
    return rc;
}

/* --- fields --- */

/* A string of the object: its raw content, and where it stands, which it is bound to. */
struct field {
    struct span text;
    char path[FIELD_MAX];
};
typedef vec(struct field) fields;

static void
add_field(fields *out, const char *path, struct span key, struct span raw)
{
    struct field f = {{raw.ptr + 1, raw.len - 2}, ""};
    char hash[65];

    if (raw.len < 2 || raw.ptr[0] != '"')
        return;
    /* Names of fields may be long; their hash is as good to be bound to. */
    id_hash_hex(key.ptr, key.len, hash);
    snprintf(f.path, sizeof(f.path), "%s.%s", path, hash);
    vec_push(out, f);
}

/* Of a Secret: data, then metadata, in the order of canonical bytes. */
static void
secret_fields(struct span secret, fields *out)
{
    struct span map, key, value;
    const char *c = NULL;

    if (jscan_member(secret, "data", &map) && map.ptr[0] == '{') {
        while (jscan_next_member(map, &c, &key, &value))
            add_field(out, "data", key, value);
    }
    if (jscan_member(secret, "metadata", &map) &&
        jscan_member(map, "annotations", &map) && map.ptr[0] == '{' &&
        jscan_member(map, ANNOTATION, &value))
        add_field(out, "annotation", span_of(ANNOTATION), value);
}

static struct span
uid_of(struct span bytes)
{
    struct span meta, uid;

    if (jscan_member(bytes, "metadata", &meta) && jscan_member(meta, "uid", &uid))
        return uid;
    return (struct span){"", 0};
}

/* --- values --- */

static size_t
sealed_len(size_t plain)
{
    return sizeof(PREFIX) - 1 + KEY_ID_LEN + 1 +
           (NONCE_BYTES + plain + TAG_BYTES + 2) / 3 * 4;
}

static void
bind_to(struct span uid, const struct field *f, struct str *out)
{
    str_reset(out);
    str_add(out, uid.ptr, uid.len);
    str_addc(out, '\n');
    str_adds(out, f->path);
}

static void
seal_value(const struct store_seal *s, const struct field *f, const struct str *bound,
           struct str *out)
{
    size_t n = NONCE_BYTES + f->text.len + TAG_BYTES;
    autofree unsigned char *box = xmalloc(n);

    randombytes_buf(box, NONCE_BYTES);
    crypto_aead_xchacha20poly1305_ietf_encrypt(
        box + NONCE_BYTES, NULL, (const unsigned char *)f->text.ptr, f->text.len,
        (const unsigned char *)bound->ptr, bound->len, NULL, box, s->keys[0].bytes);
    str_adds(out, PREFIX);
    str_adds(out, s->keys[0].id);
    str_addc(out, ':');
    id_base64(box, n, out);
}

static const struct seal_key *
find_key(const struct store_seal *s, const char *id)
{
    for (size_t i = 0; i < s->n; i++) {
        if (memcmp(s->keys[i].id, id, KEY_ID_LEN) == 0)
            return &s->keys[i];
    }
    return NULL;
}

static bool
is_sealed(const struct field *f)
{
    size_t n = sizeof(PREFIX) - 1;

    return f->text.len >= sealed_len(0) && memcmp(f->text.ptr, PREFIX, n) == 0 &&
           f->text.ptr[n + KEY_ID_LEN] == ':';
}

static int
open_value(const struct store_seal *s, const struct field *f, const struct str *bound,
           struct str *out, struct error *e)
{
    const char *id = f->text.ptr + sizeof(PREFIX) - 1;
    const char *text = id + KEY_ID_LEN + 1;
    const struct seal_key *key = find_key(s, id);
    auto_str box = STR_INIT(OBJECT_MAX_BYTES);
    struct error ignored = ERROR_INIT;

    if (key == NULL)
        return error_set(
            e, ERR_CORRUPT,
            "a value is sealed with the key %.*s, which is not in " SEAL_FILE, KEY_ID_LEN,
            id);
    if (id_base64_decode(text, (size_t)(f->text.ptr + f->text.len - text), false, &box,
                         &ignored) < 0 ||
        box.len < NONCE_BYTES + TAG_BYTES)
        return error_set(e, ERR_CORRUPT, "a sealed value is damaged");
    size_t n = box.len - NONCE_BYTES - TAG_BYTES;
    const unsigned char *nonce = (const unsigned char *)box.ptr;
    if (!str_reserve(out, n))
        return error_set(e, ERR_TOO_LARGE, "object too large");
    if (crypto_aead_xchacha20poly1305_ietf_decrypt(
            (unsigned char *)out->ptr + out->len, NULL, NULL, nonce + NONCE_BYTES,
            box.len - NONCE_BYTES, (const unsigned char *)bound->ptr, bound->len, nonce,
            key->bytes) != 0)
        return error_set(e, ERR_CORRUPT,
                         "a sealed value is damaged, or belongs to another object");
    out->len += n;
    out->ptr[out->len] = '\0';
    return 0;
}

/* --- objects --- */

bool
store_seal_wants(const struct store_seal *s, const char *resource)
{
    return s != NULL && streq(resource, "secrets");
}

size_t
store_seal_size(struct span bytes)
{
    fields found = {0};
    size_t n = bytes.len;

    secret_fields(bytes, &found);
    vec_foreach (f, &found)
        n += sealed_len(f->text.len) - f->text.len;
    vec_done(&found);
    return n;
}

void
store_seal(const struct store_seal *s, struct span bytes, struct str *out)
{
    auto_str bound = STR_INIT(2 * FIELD_MAX);
    struct span uid = uid_of(bytes);
    fields found = {0};
    const char *at = bytes.ptr;

    secret_fields(bytes, &found);
    vec_foreach (f, &found) {
        str_add(out, at, (size_t)(f->text.ptr - at));
        bind_to(uid, f, &bound);
        seal_value(s, f, &bound, out);
        at = f->text.ptr + f->text.len;
    }
    str_add(out, at, (size_t)(bytes.ptr + bytes.len - at));
    vec_done(&found);
}

int
store_unseal(const struct store_seal *s, struct span bytes, struct str *out,
             struct error *e)
{
    auto_str bound = STR_INIT(2 * FIELD_MAX);
    struct span uid = uid_of(bytes);
    fields found = {0};
    const char *at = bytes.ptr;
    int rc = 0;

    secret_fields(bytes, &found);
    vec_foreach (f, &found) {
        if (rc < 0 || !is_sealed(f))
            continue;
        str_add(out, at, (size_t)(f->text.ptr - at));
        bind_to(uid, f, &bound);
        rc = open_value(s, f, &bound, out, e);
        at = f->text.ptr + f->text.len;
    }
    str_add(out, at, (size_t)(bytes.ptr + bytes.len - at));
    vec_done(&found);
    if (rc == 0 && out->toobig)
        rc = error_set(e, ERR_TOO_LARGE, "object too large");
    return rc;
}
