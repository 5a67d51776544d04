/* SPDX-License-Identifier: Apache-2.0 */
/* The identity file: one JSON object, replaced as a whole. */
#include "runner/identity.h"

#include <jansson.h>
#include <sodium.h>

#include "base/fs.h"
#include "base/mem.h"

#define IDENTITY_MAX (256 * 1024)

void
identity_done(struct identity *id)
{
    free(id->url);
    free(id->ca_pem);
    free(id->ns);
    free(id->name);
    free(id->uid);
    free(id->fleet);
    if (id->token != NULL)
        sodium_memzero(id->token, strlen(id->token));
    free(id->token);
    *id = (struct identity){0};
}

static char *
take_string(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s != NULL ? xstrdup(s) : NULL;
}

int
identity_load(const char *dir, struct identity *ret, struct error *e)
{
    autofree char *path = fs_join(dir, "identity.json");
    auto_str text = STR_INIT(IDENTITY_MAX);
    int r = fs_read(path, &text, e);
    if (r < 0)
        return r;
    json_t *o = json_loadb(text.ptr, text.len, 0, NULL);
    struct identity id = {
        .url = take_string(o, "server"),
        .ca_pem = take_string(o, "ca"),
        .ns = take_string(o, "namespace"),
        .name = take_string(o, "name"),
        .uid = take_string(o, "uid"),
        .fleet = take_string(o, "fleet"),
        .token = take_string(o, "token"),
        .token_issued_ns = json_integer_value(json_object_get(o, "tokenIssuedNs")),
        .token_expires_ns = json_integer_value(json_object_get(o, "tokenExpiresNs")),
    };
    json_decref(o);
    if (id.url == NULL || id.ns == NULL || id.name == NULL || id.uid == NULL ||
        id.token == NULL) {
        identity_done(&id);
        return error_set(e, ERR_CORRUPT, "%s is not an identity file", path);
    }
    *ret = id;
    return 0;
}

static void
put_string(json_t *o, const char *key, const char *value)
{
    if (value != NULL)
        json_object_set_new(o, key, json_string(value));
}

int
identity_save(const char *dir, const struct identity *id, struct error *e)
{
    autofree char *path = fs_join(dir, "identity.json");
    json_t *o = json_object();
    put_string(o, "server", id->url);
    put_string(o, "ca", id->ca_pem);
    put_string(o, "namespace", id->ns);
    put_string(o, "name", id->name);
    put_string(o, "uid", id->uid);
    put_string(o, "fleet", id->fleet);
    put_string(o, "token", id->token);
    json_object_set_new(o, "tokenIssuedNs", json_integer(id->token_issued_ns));
    json_object_set_new(o, "tokenExpiresNs", json_integer(id->token_expires_ns));
    char *text = json_dumps(o, JSON_INDENT(1));
    json_decref(o);
    int r = fs_write_atomic(path, text, strlen(text), 0600, e);
    sodium_memzero(text, strlen(text));
    free(text);
    return r;
}
