/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of a Job that only a container has (mounts, ports, limits of its processes,
 * privileges, the registry), and whether the Fleet allows them. Pure.
 */
#include "runner/job_container.h"

#include <sodium.h>
#include <string.h>

#include "base/id.h"
#include "base/mem.h"
#include "runner/engines/docker/docker_image.h"

#define DOCUMENT_MAX (1024 * 1024)

static json_t *
spec_get(const json_t *job, const char *key)
{
    return json_object_get(json_object_get(job, "spec"), key);
}

static const char *
text(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s != NULL && *s != '\0' ? s : NULL;
}

static void
read_mounts(const json_t *job, struct job_run *r)
{
    const json_t *list = spec_get(job, "mounts");
    size_t i;
    const json_t *m;
    r->mounts = xcalloc(json_array_size(list) + 1, sizeof(*r->mounts));
    json_array_foreach (list, i, m) {
        const char *host = text(m, "instancePath");
        r->mounts[r->n_mounts++] = (struct engine_mount){
            .source = host != NULL ? host : text(m, "volume"),
            .volume = host == NULL,
            .read_only = json_is_true(json_object_get(m, "readOnly")),
            .optional = json_is_true(json_object_get(m, "optional")),
            .path = text(m, "path")};
    }
}

static int64_t
limit_of(const json_t *u, const char *key, const char *other)
{
    const json_t *v = json_object_get(u, key);
    if (!json_is_integer(v))
        v = json_object_get(u, other);
    return json_is_integer(v) ? json_integer_value(v) : -1;
}

static void
read_ulimits(const json_t *job, struct job_run *r)
{
    const json_t *list = spec_get(job, "ulimits");
    size_t i;
    const json_t *u;
    r->ulimits = xcalloc(json_array_size(list) + 1, sizeof(*r->ulimits));
    json_array_foreach (list, i, u) {
        if (text(u, "name") != NULL)
            r->ulimits[r->n_ulimits++] =
                (struct engine_ulimit){.name = text(u, "name"),
                                       .soft = limit_of(u, "soft", "hard"),
                                       .hard = limit_of(u, "hard", "soft")};
    }
}

static void
read_ports(const json_t *job, struct job_run *r)
{
    const json_t *list = spec_get(job, "ports");
    size_t i;
    const json_t *p;
    r->ports = xcalloc(json_array_size(list) + 1, sizeof(*r->ports));
    json_array_foreach (list, i, p) {
        json_int_t n = json_integer_value(json_object_get(p, "containerPort"));
        if (n > 0 && n < 65536 && r->n_ports < ENGINE_PORTS_MAX)
            r->ports[r->n_ports++].container = (uint16_t)n;
    }
}

void
job_container_read(const json_t *job, struct job_run *r)
{
    const json_t *held = spec_get(job, "reservation");
    const char *mode = text(json_object_get(job, "spec"), "networkMode");
    r->whole_instance = json_is_true(json_object_get(held, "wholeInstance"));
    r->privileged = json_is_true(spec_get(job, "privileged"));
    r->bridge = mode != NULL && streq(mode, "bridge");
    read_mounts(job, r);
    read_ulimits(job, r);
    read_ports(job, r);
}

void
job_container_done(struct job_run *r)
{
    free(r->mounts);
    free(r->ulimits);
    free(r->ports);
}

const char *
job_container_only(const struct job_run *r)
{
    for (size_t i = 0; i < r->n_mounts; i++) {
        if (!r->mounts[i].optional)
            return "mounts";
    }
    return r->privileged ? "privileged" : NULL;
}

const char *
job_denied(const json_t *job, const json_t *fleet)
{
    const json_t *security = json_object_get(json_object_get(fleet, "spec"), "security");
    bool privileged = json_is_true(json_object_get(security, "privileged"));
    bool paths = privileged || json_is_true(json_object_get(security, "hostPaths"));
    size_t i;
    const json_t *m;
    if (json_is_true(spec_get(job, "privileged")) && !privileged)
        return "privileged";
    json_array_foreach (spec_get(job, "mounts"), i, m) {
        if (text(m, "instancePath") != NULL && !paths)
            return "hostPaths";
    }
    if (text(spec_get(job, "rootfs"), "path") != NULL && !paths)
        return "hostPaths";
    return NULL;
}

/* --- the registry --------------------------------------------------------------------
 */

const char *
job_registry_secret(const json_t *job)
{
    return text(json_object_get(spec_get(job, "registryAuth"), "secretRef"), "name");
}

void
registry_auth_done(struct registry_auth *a)
{
    char *const all[] = {a->username, a->password, a->identity_token};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        if (all[i] != NULL)
            sodium_memzero(all[i], strlen(all[i]));
        free(all[i]);
    }
    *a = (struct registry_auth){0};
}

/* Decoded value of data.<key>; NULL when absent or not text. */
static char *
secret_text(const json_t *secret, const char *key)
{
    const json_t *v = json_object_get(json_object_get(secret, "data"), key);
    auto_str bytes = STR_INIT(DOCUMENT_MAX);
    struct error e = ERROR_INIT;
    char *out = NULL;
    if (!json_is_string(v) ||
        id_base64_decode(json_string_value(v), json_string_length(v), false, &bytes, &e) <
            0)
        return NULL;
    if (memchr(bytes.ptr, '\0', bytes.len) == NULL)
        out = xstrdup(bytes.ptr);
    if (bytes.len > 0)
        sodium_memzero(bytes.ptr, bytes.len);
    return out;
}

/* "https://index.docker.io/v1/" and "host:5000/path" name the same as "docker.io" and
 * "host:5000". */
static bool
same_registry(const char *key, const char *registry)
{
    static const char *const hub[] = {"index.docker.io", "registry-1.docker.io"};
    key = str_starts(key, "https://")  ? key + strlen("https://")
          : str_starts(key, "http://") ? key + strlen("http://")
                                       : key;
    size_t n = strcspn(key, "/");
    if (n == strlen(registry) && strncmp(key, registry, n) == 0)
        return true;
    for (size_t i = 0; streq(registry, "docker.io") && i < ARRAY_LEN(hub); i++) {
        if (n == strlen(hub[i]) && strncmp(key, hub[i], n) == 0)
            return true;
    }
    return false;
}

static char *
dup_member(const json_t *o, const char *key)
{
    const char *s = text(o, key);
    return s != NULL ? xstrdup(s) : NULL;
}

/* An entry of "auths": username and password, or both in "auth", or a token. */
static int
take_entry(const json_t *entry, struct registry_auth *ret, struct error *e)
{
    struct registry_auth a = {.username = dup_member(entry, "username"),
                              .password = dup_member(entry, "password"),
                              .identity_token = dup_member(entry, "identitytoken")};
    const char *both = text(entry, "auth");
    if (both != NULL && a.username == NULL) {
        auto_str plain = STR_INIT(DOCUMENT_MAX);
        char *colon = NULL;
        if (id_base64_decode(both, strlen(both), false, &plain, e) == 0)
            colon = strchr(plain.ptr, ':');
        if (colon == NULL) {
            registry_auth_done(&a);
            return error_set(e, ERR_INVALID, "auth is not base64 of user:password");
        }
        a.username = xstrndup(plain.ptr, (size_t)(colon - plain.ptr));
        a.password = xstrdup(colon + 1);
        sodium_memzero(plain.ptr, plain.len);
    }
    *ret = a;
    return 0;
}

static int
from_config(const char *config, const char *registry, struct registry_auth *ret,
            struct error *e)
{
    json_t *doc = json_loads(config, 0, NULL);
    json_t *auths = json_object_get(doc, "auths");
    const char *key;
    json_t *entry;
    int r = error_set(e, ERR_NOT_FOUND, "it has no entry for %.200s", registry);
    if (!json_is_object(auths)) {
        json_decref(doc);
        return error_set(e, ERR_INVALID, ".dockerconfigjson has no auths");
    }
    json_object_foreach (auths, key, entry) {
        if (same_registry(key, registry)) {
            *e = ERROR_INIT;
            r = take_entry(entry, ret, e);
            break;
        }
    }
    json_decref(doc);
    return r;
}

int
registry_auth_read(const json_t *secret, const char *image, struct registry_auth *ret,
                   struct error *e)
{
    struct docker_image im;
    int r = docker_image_parse(image, &im, e);
    if (r < 0)
        return r;
    char *config = secret_text(secret, ".dockerconfigjson");
    if (config != NULL) {
        r = from_config(config, im.registry, ret, e);
        sodium_memzero(config, strlen(config));
        free(config);
        return r;
    }
    struct registry_auth a = {.username = secret_text(secret, "username"),
                              .password = secret_text(secret, "password")};
    if (a.username == NULL || a.password == NULL) {
        registry_auth_done(&a);
        return error_set(e, ERR_INVALID,
                         "neither username and password nor .dockerconfigjson in it");
    }
    *ret = a;
    return 0;
}
