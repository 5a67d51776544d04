/* SPDX-License-Identifier: Apache-2.0 */
/* Rules of our kinds beyond their schemas. One table: resource -> function. */
#include "api/admit.h"

#include <jansson.h>
#include <string.h>

#include "api/jtok.h"
#include "api/resources.h"
#include "api/values.h"
#include "base/mem.h"

enum { SHOWN_VALUE_MAX = 200, ENV_NAME_MAX = 256, FIELD_TEXT_MAX = 64 * 1024 };

struct admission {
    struct span object; /* whole canonical object */
    struct span spec;
    struct violations *v;
};

/* The value as JSON text for a message, bounded. */
static void
shown(struct span raw, char out[SHOWN_VALUE_MAX])
{
    size_t n = raw.len < SHOWN_VALUE_MAX - 1 ? raw.len : SHOWN_VALUE_MAX - 1;

    memcpy(out, raw.ptr, n);
    out[n] = '\0';
}

/* A small private tree of one field; NULL when absent. */
static json_t *
field(const struct admission *a, const char *key)
{
    struct span raw;

    if (!jscan_member(a->spec, key, &raw))
        return NULL;
    return json_loadb(raw.ptr, raw.len, JSON_DECODE_ANY, NULL);
}

static void
check_duration(const struct admission *a, const char *key, bool allow_off)
{
    json_t *value = field(a, key);
    struct error e = ERROR_INIT;
    struct span raw;
    int64_t seconds;
    char text[SHOWN_VALUE_MAX];

    if (value == NULL)
        return;
    if (value_duration(value, allow_off, &seconds, &e) < 0) {
        autofree char *path = xasprintf("spec.%s", key);
        jscan_member(a->spec, key, &raw);
        shown(raw, text);
        violations_add(a->v, VIOLATION_INVALID, path, text, "%s", e.msg);
    }
    json_decref(value);
}

static void
check_string(const struct admission *a, const char *key,
             int (*check)(const char *text, struct error *e))
{
    struct span raw;
    auto_str text = STR_INIT(FIELD_TEXT_MAX);
    struct error e = ERROR_INIT;
    char show[SHOWN_VALUE_MAX];

    if (!jscan_member(a->spec, key, &raw) || !jscan_string(raw, &text))
        return;
    if (check(text.ptr, &e) == 0)
        return;
    autofree char *path = xasprintf("spec.%s", key);
    shown(raw, show);
    violations_add(a->v, VIOLATION_INVALID, path, show, "%s", e.msg);
}

static int
absolute_path(const char *text, struct error *e)
{
    if (text[0] == '/' || streq(text, "~") || str_starts(text, "~/"))
        return 0;
    return error_set(e, ERR_INVALID, "must be an absolute path, e.g. /app");
}

static int
unix_user(const char *text, struct error *e)
{
    struct unix_user u;

    return value_unix_user(text, &u, e);
}

static int
image_reference(const char *text, struct error *e)
{
    for (const char *p = text; *p != '\0'; p++) {
        if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 0x7f)
            return error_set(e, ERR_INVALID,
                             "must be an image reference without spaces, e.g. "
                             "ubuntu:24.04 or registry:5000/team/image@sha256:...");
    }
    return 0;
}

static int
shell_program(const char *text, struct error *e)
{
    if (text[0] == '/' || streq(text, "sh") || streq(text, "bash"))
        return 0;
    return error_set(e, ERR_INVALID, "must be sh, bash or an absolute path");
}

static int
entrypoint_words(const char *text, struct error *e)
{
    char **words = NULL;

    if (shell_words(text, &words, e) < 0)
        return -(int)e->code;
    bool empty = words[0] == NULL;
    shell_words_free(words);
    if (empty)
        return error_set(e, ERR_INVALID, "must name a program");
    return 0;
}

static bool
env_name(const char *s, size_t n)
{
    if (n == 0 || n > ENV_NAME_MAX || (s[0] >= '0' && s[0] <= '9'))
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = s[i];
        if (c != '_' && !(c >= '0' && c <= '9') && !((c | 32) >= 'a' && (c | 32) <= 'z'))
            return false;
    }
    return true;
}

static void
check_env(const struct admission *a)
{
    struct span env;
    struct span key;
    struct span value;
    const char *cursor = NULL;

    if (!jscan_member(a->spec, "env", &env))
        return;
    while (jscan_next_member(env, &cursor, &key, &value)) {
        if (env_name(key.ptr, key.len))
            continue;
        autofree char *path = xasprintf("spec.env.%.*s", (int)(key.len & 0xff), key.ptr);
        violations_add(a->v, VIOLATION_INVALID, path, NULL,
                       "a variable name is letters, digits and underscores, and does not "
                       "start with a digit");
    }
}

static void
check_resources(const struct admission *a)
{
    json_t *value = field(a, "resources");
    struct resource_req req;
    struct error e = ERROR_INIT;

    if (value == NULL)
        return;
    int rc = resources_parse(value, "spec.resources", &req, a->v, &e);
    UNUSED(rc); /* its violations are in the list */
    json_decref(value);
}

static bool
non_empty(const struct admission *a, const char *key)
{
    struct span raw;

    return jscan_member(a->spec, key, &raw) && raw.len > 2;
}

static void
admit_run(const struct admission *a)
{
    struct span raw;
    auto_str name = STR_INIT(512);

    if (jscan_path(a->object, "metadata.name", &raw) && jscan_string(raw, &name) &&
        !value_is_run_name(name.ptr, name.len)) {
        char show[SHOWN_VALUE_MAX];
        shown(raw, show);
        violations_add(a->v, VIOLATION_INVALID, "metadata.name", show,
                       "a run name is 2 to 41 lower-case letters, digits and dashes, "
                       "starts with a letter and does not end with a dash");
    }
    if (!non_empty(a, "commands") && !non_empty(a, "image") &&
        !non_empty(a, "entrypoint"))
        violations_add(
            a->v, VIOLATION_REQUIRED, "spec.commands", NULL,
            "a task needs commands, an entrypoint, or an image that has its own");
    check_string(a, "image", image_reference);
    check_string(a, "user", unix_user);
    check_string(a, "workingDir", absolute_path);
    check_string(a, "shell", shell_program);
    check_string(a, "entrypoint", entrypoint_words);
    check_duration(a, "maxDuration", true);
    check_duration(a, "stopDuration", true);
    check_env(a);
    check_resources(a);
}

static void
admit_fleet(const struct admission *a)
{
    check_duration(a, "lostAfter", false);
}

static const struct {
    const char *resource;
    void (*admit)(const struct admission *a);
} rules[] = {
    {"runs.drover.dev", admit_run},
    {"fleets.drover.dev", admit_fleet},
};

int
admit_object(const struct kind *k, struct span canonical, struct violations *v,
             struct error *e)
{
    size_t before = violations_errors(v);

    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        struct admission a = {.object = canonical, .v = v};
        if (!streq(rules[i].resource, k->resource))
            continue;
        if (!jscan_member(canonical, "spec", &a.spec))
            a.spec = span_of("{}");
        rules[i].admit(&a);
    }
    if (violations_errors(v) > before)
        return error_set(e, ERR_INVALID, "the object is invalid");
    return 0;
}
