/* SPDX-License-Identifier: Apache-2.0 */
/* Sealed values of Secrets. */
#include "apiserver/mirror/seal.h"

#include "base/id.h"

#define SEALED_V1 MIRROR_SEALED_PREFIX "v1:"

enum { PLACE_MAX = 4096 };

/* The parts with their terminators: no two different sets give the same bytes. */
static struct keyring_place
place_of(const struct mirror_field *f, struct str *bound)
{
    str_add(bound, f->uid, strlen(f->uid) + 1);
    str_add(bound, f->ns, strlen(f->ns) + 1);
    str_add(bound, f->name, strlen(f->name) + 1);
    str_add(bound, f->field, strlen(f->field) + 1);
    return (struct keyring_place){
        .use = KEYRING_MIRROR, .bound = {bound->ptr, bound->len}, .same = true};
}

void
mirror_seal_value(const struct keyring *k, const struct mirror_field *f,
                  const void *bytes, size_t n, struct str *out)
{
    auto_str bound = STR_INIT(PLACE_MAX);
    struct keyring_place p = place_of(f, &bound);

    str_addf(out, SEALED_V1 "%s:", f->uid);
    keyring_seal(k, &p, (struct span){bytes, n}, out);
}

bool
mirror_sealed_uid(const char *text, char ret[ID_UUID_LEN])
{
    if (!str_starts(text, SEALED_V1))
        return false;
    text += strlen(SEALED_V1);
    const char *colon = strchr(text, ':');
    if (colon == NULL || colon - text >= ID_UUID_LEN)
        return false;
    memcpy(ret, text, (size_t)(colon - text));
    ret[colon - text] = '\0';
    return true;
}

int
mirror_seal_open(const struct keyring *k, const struct mirror_field *f, const char *text,
                 struct str *out, struct error *e)
{
    auto_str bound = STR_INIT(PLACE_MAX);
    struct error why = ERROR_INIT;
    char uid[ID_UUID_LEN];

    if (!str_starts(text, SEALED_V1))
        return error_set(e, ERR_INVALID, "is not in a known sealed form");
    if (!mirror_sealed_uid(text, uid))
        return error_set(e, ERR_INVALID, "is a damaged sealed value");
    struct mirror_field own = {uid, f->ns, f->name, f->field};
    struct keyring_place p = place_of(&own, &bound);
    int rc = keyring_open(k, &p, span_of(text + strlen(SEALED_V1) + strlen(uid) + 1), out,
                          &why);
    if (rc == -ERR_NOT_FOUND)
        return error_set(e, ERR_INVALID,
                         "was sealed with a key that is not in " KEYRING_FILE);
    if (rc < 0)
        return error_set(e, ERR_INVALID,
                         "is damaged, or was sealed for another field or object");
    return 0;
}
