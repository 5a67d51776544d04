/* SPDX-License-Identifier: Apache-2.0 */
/* Walks over spec.ssh for identityFile; looks whether a file is a key that can be used.
 */
#include "cli/identity.h"

#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/id.h"
#include "base/mem.h"
#include "cli/code.h"

enum { KEY_MAX_BYTES = 64 * 1024, HASH_DIGITS = 8 };

struct filling {
    const struct manifest *m;
    struct fleet_keys *out;
    size_t problems;
};

void
fleet_keys_done(struct fleet_keys *k)
{
    const char *name;
    json_t *pem;

    json_object_foreach (k->secrets, name, pem)
        explicit_bzero((char *)(uintptr_t)json_string_value(pem),
                       json_string_length(pem));
    json_decref(k->secrets);
    *k = (struct fleet_keys){0};
}

/* --- keys -------------------------------------------------------------------------- */

/* OpenSSH's own format says in the clear whether the rest is encrypted. */
static bool
openssh_encrypted(const char *pem)
{
    static const char magic[] = "openssh-key-v1"; /* and its NUL */
    const char *from = strstr(pem, "-----BEGIN OPENSSH PRIVATE KEY-----");
    auto_str base64 = STR_INIT(KEY_MAX_BYTES), bytes = STR_INIT(KEY_MAX_BYTES);
    struct error e = ERROR_INIT;

    if (from == NULL)
        return false;
    for (from = strchr(from, '\n'); from != NULL && *from != '\0' && *from != '-'; from++)
        if (*from != '\n' && *from != '\r')
            str_addc(&base64, *from);
    if (id_base64_decode(base64.ptr, base64.len, false, &bytes, &e) < 0 ||
        bytes.len < sizeof(magic) + 8 || memcmp(bytes.ptr, magic, sizeof(magic)) != 0)
        return false; /* ssh will say what is wrong with it */
    return memcmp(bytes.ptr + sizeof(magic), "\0\0\0\4none", 8) != 0;
}

static int
check_key(const char *pem, struct error *e)
{
    if (strstr(pem, "PRIVATE KEY-----") == NULL)
        return error_set(e, ERR_INVALID, "%s",
                         strstr(pem, "ssh-") == pem
                             ? "is a public key; name the private one beside it"
                             : "is no private key");
    if (strstr(pem, "ENCRYPTED") != NULL || openssh_encrypted(pem))
        return error_set(e, ERR_INVALID,
                         "has a passphrase, which nobody can type at the server; use a "
                         "key without one");
    return 0;
}

/* --- the spec ---------------------------------------------------------------------- */

static void
refuse(struct filling *f, const char *path, const char *file, const char *why)
{
    manifest_problem(f->m, path, "%.200s %s", file, why);
    f->problems++;
}

/* o: a mapping that may have identityFile; path: where it stands. */
static void
fill_one(struct filling *f, json_t *o, const char *path)
{
    const json_t *value = json_object_get(o, "identityFile");
    autofree char *at = xasprintf("%s.identityFile", path);
    auto_str pem = STR_INIT(KEY_MAX_BYTES);
    autofree char *file = NULL;
    struct error e = ERROR_INIT;
    char hash[65];

    if (value == NULL)
        return;
    if (!json_is_string(value)) {
        refuse(f, at, "", "must be the path of a private key");
        return;
    }
    if (code_local_path(f->m, json_string_value(value), &file, &e) < 0 ||
        fs_read(file, &pem, &e) < 0) {
        refuse(f, at, "cannot be read:", e.msg);
        return;
    }
    if (check_key(pem.ptr, &e) < 0) {
        refuse(f, at, file, e.msg);
        return;
    }
    id_hash_hex(pem.ptr, pem.len, hash);
    autofree char *secret = xasprintf("%s-ssh-%.*s", f->m->name, HASH_DIGITS, hash);
    json_object_del(o, "identityFile");
    json_object_set_new(o, "identity",
                        json_pack("{s:s, s:s}", "secretName", secret, "key", "identity"));
    if (f->out->secrets == NULL)
        f->out->secrets = json_object();
    json_object_set_new(f->out->secrets, secret, json_string(pem.ptr));
    explicit_bzero(pem.ptr, pem.len);
}

static void
fill_both(struct filling *f, json_t *o, const char *path)
{
    autofree char *jump = xasprintf("%s.proxyJump", path);

    fill_one(f, o, path);
    fill_one(f, json_object_get(o, "proxyJump"), jump);
}

size_t
fleet_keys_fill(const struct manifest *m, struct fleet_keys *ret)
{
    json_t *ssh = json_object_get(json_object_get(m->object, "spec"), "ssh");
    struct filling f = {.m = m, .out = ret};
    size_t i;
    json_t *host;

    if (m->resource->resource != &resource_fleets)
        return 0;
    fill_both(&f, ssh, "spec.ssh");
    json_array_foreach (json_object_get(ssh, "hosts"), i, host) {
        autofree char *path = xasprintf("spec.ssh.hosts[%zu]", i);
        fill_both(&f, host, path);
    }
    return f.problems;
}

int
fleet_keys_write(struct session *s, const char *ns, const char *fleet,
                 const struct fleet_keys *k, const char *owner_uid, bool dry,
                 struct error *e)
{
    struct client_patch_opts o = {
        .type = CLIENT_PATCH_APPLY, .manager = "drover", .force = true, .dry_run = dry};
    const char *name;
    json_t *pem;
    int rc = 0;

    json_object_foreach (k->secrets, name, pem) {
        auto_str text = STR_INIT(2 * KEY_MAX_BYTES);
        json_t *meta = json_pack("{s:s, s:s}", "name", name, "namespace", ns);
        if (owner_uid != NULL)
            json_object_set_new(meta, "ownerReferences",
                                json_pack("[{s:s, s:s, s:s, s:s}]", "apiVersion",
                                          "drover.dev/v1", "kind", "Fleet", "name", fleet,
                                          "uid", owner_uid));
        id_base64(json_string_value(pem), json_string_length(pem), &text);
        json_t *secret = json_pack("{s:s, s:s, s:o, s:s, s:{s:s}}", "apiVersion", "v1",
                                   "kind", "Secret", "metadata", meta, "type", "Opaque",
                                   "data", "identity", text.ptr);
        rc = client_patch(s->client, &resource_secrets, ns, name, &o, secret, NULL, e);
        json_decref(secret);
        explicit_bzero(text.ptr, text.len);
        if (rc < 0)
            return error_prepend(e, "Secret %s", name);
    }
    return rc;
}
