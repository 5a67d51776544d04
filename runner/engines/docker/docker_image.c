/* SPDX-License-Identifier: Apache-2.0 */
/* Image references, and what opens a registry. */
#include "runner/engines/docker/docker_image.h"

#include <ctype.h>
#include <jansson.h>
#include <sodium.h>

#include "base/id.h"
#include "base/mem.h"

#define NAME_MAX_LEN 255
#define TAG_MAX_LEN 128

static int
invalid(const char *reference, const char *why, struct error *e)
{
    return error_set(e, ERR_INVALID, "image \"%.200s\": %s", reference, why);
}

static bool
is_low(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* Lower-case letters and digits, joined by ".", "_", "__" or any number of "-". */
static bool
good_component(const char *s, size_t n)
{
    if (n == 0 || !is_low(s[0]) || !is_low(s[n - 1]))
        return false;
    for (size_t i = 0; i < n;) {
        size_t run = 0;
        if (is_low(s[i])) {
            i++;
            continue;
        }
        while (i + run < n && s[i + run] == s[i])
            run++;
        bool good = s[i] == '-' || (s[i] == '.' && run == 1) || (s[i] == '_' && run <= 2);
        if (!good || !is_low(s[i + run]))
            return false;
        i += run;
    }
    return true;
}

static bool
good_path(const char *s, size_t n)
{
    for (;;) {
        const char *slash = memchr(s, '/', n);
        size_t part = slash != NULL ? (size_t)(slash - s) : n;
        if (!good_component(s, part))
            return false;
        if (slash == NULL)
            return true;
        s += part + 1;
        n -= part + 1;
    }
}

static bool
good_port(const char *s, size_t n)
{
    if (n == 0 || n > 5)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!isdigit((unsigned char)s[i]))
            return false;
    }
    return true;
}

/* Name, IPv4 or bracketed IPv6 address, with or without a port. */
static bool
good_host(const char *s, size_t n)
{
    const char *end = s + n;
    if (n > 0 && *s == '[') {
        const char *close = memchr(s, ']', n);
        if (close == NULL || close == s + 1 ||
            strspn(s + 1, "0123456789abcdefABCDEF:") < (size_t)(close - s - 1))
            return false;
        return close + 1 == end ||
               (close[1] == ':' && good_port(close + 2, (size_t)(end - close - 2)));
    }
    const char *colon = memchr(s, ':', n);
    size_t host = colon != NULL ? (size_t)(colon - s) : n;
    if (colon != NULL && !good_port(colon + 1, n - host - 1))
        return false;
    for (size_t i = 0; i < host; i++) {
        bool edge = i == 0 || i + 1 == host || s[i - 1] == '.' || s[i + 1] == '.';
        if (!isalnum((unsigned char)s[i]) && (edge || (s[i] != '-' && s[i] != '.')))
            return false;
    }
    return host > 0;
}

static bool
good_tag(const char *s, size_t n)
{
    if (n == 0 || n > TAG_MAX_LEN || *s == '.' || *s == '-')
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!isalnum((unsigned char)s[i]) && strchr("_.-", s[i]) == NULL)
            return false;
    }
    return true;
}

/* "sha256:" and its 64 digits, or another algorithm and at least 32. */
static bool
good_digest(const char *s)
{
    const char *colon = strchr(s, ':');
    if (colon == NULL || !islower((unsigned char)*s))
        return false;
    for (const char *p = s; p < colon; p++) {
        if (!isalnum((unsigned char)*p) && strchr("+._-", *p) == NULL)
            return false;
    }
    size_t n = strlen(colon + 1);
    if (strspn(colon + 1, "0123456789abcdef") != n)
        return false;
    return str_starts(s, "sha256:") ? n == 64 : n >= 32 && n <= 128;
}

/* Is the part before the first slash a registry? "localhost", or what only a host has. */
static bool
names_host(const char *s, size_t n)
{
    if (n == strlen("localhost") && strncmp(s, "localhost", n) == 0)
        return true;
    for (size_t i = 0; i < n; i++) {
        if (strchr(".:[", s[i]) != NULL || isupper((unsigned char)s[i]))
            return true;
    }
    return false;
}

/* registry and path out of [s, s + n). */
static int
split_name(const char *reference, const char *s, size_t n, struct docker_image *im,
           struct error *e)
{
    const char *slash = memchr(s, '/', n);
    size_t host = slash != NULL ? (size_t)(slash - s) : 0;
    const char *registry = "docker.io";
    size_t registry_len = strlen(registry);

    if (host > 0 && names_host(s, host)) {
        if (!good_host(s, host))
            return invalid(reference, "the registry is not host[:port]", e);
        registry = s;
        registry_len = host;
        s += host + 1;
        n -= host + 1;
    }
    if (registry_len == strlen("index.docker.io") &&
        strncmp(registry, "index.docker.io", registry_len) == 0) {
        registry = "docker.io";
        registry_len = strlen(registry);
    }
    if (!good_path(s, n))
        return invalid(reference,
                       "a name is lower-case letters and digits, with '.', '_', '-' and "
                       "'/' between them",
                       e);
    snprintf(im->registry, sizeof(im->registry), "%.*s", (int)registry_len, registry);
    bool hub = streq(im->registry, "docker.io") && memchr(s, '/', n) == NULL;
    snprintf(im->path, sizeof(im->path), "%s%.*s", hub ? "library/" : "", (int)n, s);
    snprintf(im->name, sizeof(im->name), "%s/%s", im->registry, im->path);
    return 0;
}

int
docker_image_parse(const char *reference, struct docker_image *ret, struct error *e)
{
    struct docker_image im = {0};
    size_t n = strlen(reference);
    const char *at = strchr(reference, '@');
    const char *end = at != NULL ? at : reference + n;
    const char *slash = memrchr(reference, '/', (size_t)(end - reference));
    const char *last = slash != NULL ? slash + 1 : reference;
    const char *colon = memchr(last, ':', (size_t)(end - last));

    if (n == 0)
        return error_set(e, ERR_INVALID, "the image has no name");
    if (colon != NULL && !good_tag(colon + 1, (size_t)(end - colon - 1)))
        return invalid(reference, "the tag is not one", e);
    if (at != NULL && !good_digest(at + 1))
        return invalid(reference, "the digest is not algorithm:hex", e);
    size_t name_len = (size_t)((colon != NULL ? colon : end) - reference);
    if (name_len > NAME_MAX_LEN - strlen("library/"))
        return invalid(reference, "the name is too long", e);
    int r = split_name(reference, reference, name_len, &im, e);
    if (r < 0)
        return r;
    if (at != NULL)
        snprintf(im.tag, sizeof(im.tag), "%s", at + 1);
    else if (colon != NULL)
        snprintf(im.tag, sizeof(im.tag), "%.*s", (int)(end - colon - 1), colon + 1);
    else
        snprintf(im.tag, sizeof(im.tag), "latest");
    im.digest = at != NULL;
    im.refresh = !im.digest && streq(im.tag, "latest");
    *ret = im;
    return 0;
}

static void
put(json_t *o, const char *key, const char *value)
{
    if (value != NULL && *value != '\0')
        json_object_set_new(o, key, json_string(value));
}

void
docker_image_auth(const struct docker_image *im, const struct engine_registry_auth *auth,
                  struct str *out)
{
    json_t *o = json_object();
    put(o, "username", auth->username);
    put(o, "password", auth->password);
    put(o, "identitytoken", auth->identity_token);
    put(o, "serveraddress",
        streq(im->registry, "docker.io") ? "https://index.docker.io/v1/" : im->registry);
    autofree char *text = json_dumps(o, JSON_COMPACT);
    json_decref(o);
    size_t before = out->len;
    id_base64url(text, strlen(text), out);
    /* The daemon's decoder wants it padded. */
    while ((out->len - before) % 4 != 0)
        str_addc(out, '=');
    sodium_memzero(text, strlen(text));
}
