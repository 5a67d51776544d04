/* SPDX-License-Identifier: Apache-2.0 */
/* Which values of an object are sealed, and to what they are bound. */
#include "apiserver/store/store_seal.h"

#include "api/jtok.h"
#include "api/object.h"
#include "base/id.h"
#include "base/mem.h"
#include "base/vec.h"

#define PREFIX "sealed:v1:"
#define ANNOTATION "kubectl.kubernetes.io/last-applied-configuration"
enum { FIELD_MAX = 1024 };

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
    return sizeof(PREFIX) - 1 + keyring_sealed_len(plain);
}

static void
bind_to(struct span uid, const struct field *f, struct str *out)
{
    str_reset(out);
    str_add(out, uid.ptr, uid.len);
    str_addc(out, '\n');
    str_adds(out, f->path);
}

static struct keyring_place
place_of(const struct str *bound)
{
    return (struct keyring_place){.use = KEYRING_STORE,
                                  .bound = {bound->ptr, bound->len}};
}

static void
seal_value(const struct keyring *k, const struct field *f, const struct str *bound,
           struct str *out)
{
    struct keyring_place p = place_of(bound);

    str_adds(out, PREFIX);
    keyring_seal(k, &p, f->text, out);
}

static bool
is_sealed(const struct field *f)
{
    size_t n = sizeof(PREFIX) - 1;

    return f->text.len >= sealed_len(0) && memcmp(f->text.ptr, PREFIX, n) == 0 &&
           f->text.ptr[n + KEYRING_ID_LEN] == ':';
}

static int
open_value(const struct keyring *k, const struct field *f, const struct str *bound,
           struct str *out, struct error *e)
{
    size_t n = sizeof(PREFIX) - 1;
    struct keyring_place p = place_of(bound);
    int rc = keyring_open(k, &p, (struct span){f->text.ptr + n, f->text.len - n}, out, e);

    if (rc == -ERR_NOT_FOUND)
        e->code = ERR_CORRUPT; /* of the store, without its key */
    return rc == -ERR_NOT_FOUND ? -ERR_CORRUPT : rc;
}

/* --- objects --- */

bool
store_seal_wants(const struct keyring *s, const char *resource)
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
store_seal(const struct keyring *s, struct span bytes, struct str *out)
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
store_unseal(const struct keyring *s, struct span bytes, struct str *out, struct error *e)
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
