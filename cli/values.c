/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ${{ run.args }} in commands, ${{ env.X }} and ${{ secrets.X }} in registryAuth,
 * ${{ secrets.X }} in env; a null in env is the caller's own value.
 */
#include "cli/values.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "api/interpolate.h"
#include "base/id.h"
#include "base/mem.h"

enum { VALUE_MAX_BYTES = 256 * 1024, NAME_MAX_BYTES = 256 };

void
run_values_done(struct run_values *v)
{
    json_decref(v->env);
    json_decref(v->settings);
    free(v->args);
    *v = (struct run_values){0};
}

void
run_secrets_done(struct run_secrets *s)
{
    json_decref(s->env);
    json_decref(s->registry);
    *s = (struct run_secrets){0};
}

int
run_values_env(struct run_values *v, const char *text, struct error *e)
{
    size_t n = strcspn(text, "=");

    for (size_t i = 0; i < n; i++) {
        if (!isalnum((unsigned char)text[i]) && text[i] != '_')
            n = 0;
    }
    if (n == 0 || n > NAME_MAX_BYTES || isdigit((unsigned char)text[0]))
        return error_set(e, ERR_BAD_REQUEST, "-e \"%.100s\": use NAME or NAME=value",
                         text);
    if (v->env == NULL)
        v->env = json_object();
    autofree char *name = xstrndup(text, n);
    json_t *value = text[n] == '=' ? json_string(text + n + 1) : json_null();
    if (value == NULL)
        return error_set(e, ERR_BAD_REQUEST, "-e %s: the value is not UTF-8", name);
    json_object_set_new(v->env, name, value);
    return 0;
}

void
run_values_args(struct run_values *v, char *const *words, int n)
{
    auto_str out = STR_INIT(VALUE_MAX_BYTES);

    for (int i = 0; i < n; i++) {
        const char *w = words[i];
        bool plain = w[0] != '\0';
        for (const char *p = w; *p != '\0'; p++)
            plain &= isalnum((unsigned char)*p) || strchr("-_./:=,@%+", *p) != NULL;
        if (i > 0)
            str_addc(&out, ' ');
        if (plain) {
            str_adds(&out, w);
            continue;
        }
        str_addc(&out, '\'');
        for (const char *p = w; *p != '\0'; p++) {
            if (*p == '\'')
                str_adds(&out, "'\\''");
            else
                str_addc(&out, *p);
        }
        str_addc(&out, '\'');
    }
    free(v->args);
    v->args = str_detach(&out);
}

/* --- one Run ------------------------------------------------------------------------ */

struct fill {
    struct session *s;
    const struct manifest *m;
    const struct run_values *v;
    struct run_secrets *out;
    json_t *spec;
    json_t *known; /* all values of env, for ${{ env.X }} */
    bool used_args;
    size_t problems;
};

static bool
looks_secret(const char *name)
{
    return str_ends(name, "TOKEN") || str_ends(name, "KEY") ||
           str_ends(name, "PASSWORD") || str_ends(name, "SECRET");
}

static void
keep_secret(struct fill *f, const char *name, const char *value)
{
    if (f->out->env == NULL)
        f->out->env = json_object();
    json_object_set_new(f->out->env, name, json_string(value));
}

/* The value of the caller's environment, or a problem. */
static const char *
callers(struct fill *f, const char *name)
{
    const char *value = getenv(name);
    autofree char *path = xasprintf("spec.env.%s", name);
    json_t *text = value == NULL ? NULL : json_string(value);

    if (value == NULL)
        manifest_problem(f->m, path,
                         "%s is not set in your environment; set it there or with -e "
                         "%s=value",
                         name, name);
    else if (text == NULL)
        manifest_problem(f->m, path, "the value in your environment is not UTF-8");
    f->problems += text == NULL;
    bool good = text != NULL;
    json_decref(text);
    return good ? value : NULL;
}

/* --- secrets ------------------------------------------------------------------------ */

/* Secret HF_TOKEN of dstack is the key HF_TOKEN in our Secret hf-token. */
static char *
secret_object_name(struct span name)
{
    char *text = xstrndup(name.ptr, name.len);
    size_t n = 0;

    for (char *p = text; *p != '\0'; p++) {
        char c = *p == '_' ? '-' : (char)tolower((unsigned char)*p);
        if (n > 0 || c != '-')
            text[n++] = c;
    }
    while (n > 0 && text[n - 1] == '-')
        n--;
    text[n] = '\0';
    return text;
}

/* Appends the value of the key, read with the caller's rights. */
static int
read_secret(struct fill *f, struct span name, struct str *out, struct error *e)
{
    autofree char *object = secret_object_name(name);
    autofree char *key = xstrndup(name.ptr, name.len);
    const char *ns = f->m->ns != NULL ? f->m->ns : f->s->ns;
    auto_str path = STR_INIT(4096);
    json_t *secret = NULL;

    client_path(&path, &resource_secrets, ns, object, NULL);
    if (session_get_json(f->s, path.ptr, NULL, &secret, e) < 0)
        return error_prepend(e, "secrets.%s is key %s of Secret %s", key, key, object);
    const char *text =
        json_string_value(json_object_get(json_object_get(secret, "data"), key));
    int rc = text == NULL
                 ? error_set(e, ERR_NOT_FOUND, "Secret %s has no key %s", object, key)
                 : id_base64_decode(text, strlen(text), false, out, e);
    json_decref(secret);
    return rc;
}

static int
secret_value(void *arg, struct span name, struct str *out, struct error *e)
{
    struct span member;

    if (!interpolate_member(name, "secrets", &member))
        return error_set(e, ERR_INVALID,
                         "${{ %.*s }} is not known here; env has ${{ secrets.NAME }}",
                         (int)(name.len < 64 ? name.len : 64), name.ptr);
    int rc = read_secret(arg, member, out, e);
    return rc < 0 ? rc : 1;
}

/* The text is one ${{ secrets.X }} and nothing else: the machine reads it by itself. */
static bool
is_reference(const char *text, struct span *ret)
{
    const char *end = strstr(text, "}}");

    if (!str_starts(text, "${{") || end == NULL || end[2] != '\0')
        return false;
    const char *from = text + 3;
    while (from < end && *from == ' ')
        from++;
    while (end > from && end[-1] == ' ')
        end--;
    return interpolate_member((struct span){from, (size_t)(end - from)}, "secrets", ret);
}

static void
add_env_from(struct fill *f, json_t *item)
{
    json_t *list = json_object_get(f->spec, "envFrom");

    if (list == NULL) {
        list = json_array();
        json_object_set_new(f->spec, "envFrom", list);
    }
    json_array_append_new(list, item);
}

/* Keeps the text, or moves what is secret of it away; true: env loses it. */
static bool
fill_text(struct fill *f, const char *name, const char *text)
{
    auto_str out = STR_INIT(VALUE_MAX_BYTES);
    autofree char *path = xasprintf("spec.env.%s", name);
    struct error e = ERROR_INIT;
    struct span secret;

    if (strstr(text, "${{") == NULL) {
        if (looks_secret(name) && json_object_get(f->v->env, name) == NULL)
            manifest_problem(f->m, path,
                             "warning: a literal secret; leave the value out to take it "
                             "from your environment, or write ${{ secrets.%s }}",
                             name);
        return false;
    }
    if (is_reference(text, &secret)) {
        autofree char *object = secret_object_name(secret);
        autofree char *key = xstrndup(secret.ptr, secret.len);
        add_env_from(f, json_pack("{s:s, s:{s:s, s:s}}", "name", name, "secretRef",
                                  "name", object, "key", key));
        return true;
    }
    if (interpolate_some(text, secret_value, f, &out, &e) < 0) {
        manifest_problem(f->m, path, "%s", e.msg);
        f->problems++;
        return false;
    }
    keep_secret(f, name, out.ptr);
    return true;
}

static void
fill_env(struct fill *f)
{
    json_t *env = json_object_get(f->spec, "env");
    const char *name;
    json_t *value;
    void *next;

    if (json_object_size(f->v->env) > 0 && env == NULL) {
        env = json_object();
        json_object_set_new(f->spec, "env", env);
    }
    if (json_is_object(env))
        json_object_update(env, f->v->env);
    json_object_foreach_safe(env, next, name, value)
    {
        const char *text = json_string_value(value);
        bool given = json_object_get(f->v->env, name) != NULL;
        bool move = json_is_null(value) || (given && looks_secret(name));
        if (json_is_null(value))
            text = callers(f, name);
        if (text == NULL)
            continue;
        json_object_set_new(f->known, name, json_string(text));
        if (move)
            keep_secret(f, name, text);
        if (move || fill_text(f, name, text))
            json_object_del(env, name);
    }
    if (json_is_object(env) && json_object_size(env) == 0)
        json_object_del(f->spec, "env");
    if (f->out->env != NULL)
        add_env_from(f, json_pack("{s:{s:o}}", "secretRef", "name",
                                  json_sprintf("%s-env", f->m->name)));
}

/* --- registryAuth and commands ------------------------------------------------------ */

static int
registry_value(void *arg, struct span name, struct str *out, struct error *e)
{
    struct fill *f = arg;
    struct span member;

    if (interpolate_member(name, "secrets", &member)) {
        int rc = read_secret(f, member, out, e);
        return rc < 0 ? rc : 1;
    }
    if (!interpolate_member(name, "env", &member))
        return error_set(e, ERR_INVALID,
                         "${{ %.*s }} is not known here; there are ${{ env.NAME }} and "
                         "${{ secrets.NAME }}",
                         (int)(name.len < 64 ? name.len : 64), name.ptr);
    autofree char *key = xstrndup(member.ptr, member.len);
    const char *value = json_string_value(json_object_get(f->known, key));
    if (value == NULL)
        return error_set(e, ERR_INVALID, "env has no %s", key);
    str_adds(out, value);
    return 1;
}

static void
fill_registry(struct fill *f)
{
    static const char *const keys[] = {"username", "password"};
    const json_t *auth = json_object_get(f->spec, "registryAuth");
    json_t *data = json_object();

    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        const char *text = json_string_value(json_object_get(auth, keys[i]));
        auto_str out = STR_INIT(VALUE_MAX_BYTES);
        struct error e = ERROR_INIT;
        autofree char *path = xasprintf("spec.registryAuth.%s", keys[i]);
        if (text == NULL)
            continue;
        if (interpolate_some(text, registry_value, f, &out, &e) < 0) {
            manifest_problem(f->m, path, "%s", e.msg);
            f->problems++;
        } else {
            json_object_set_new(data, keys[i], json_string(out.ptr));
        }
    }
    if (json_object_size(data) == ARRAY_LEN(keys)) {
        json_object_set_new(f->spec, "registryAuth",
                            json_pack("{s:{s:o}}", "secretRef", "name",
                                      json_sprintf("%s-registry", f->m->name)));
        f->out->registry = json_incref(data);
    }
    json_decref(data);
}

static int
command_value(void *arg, struct span name, struct str *out, struct error *e)
{
    struct fill *f = arg;

    UNUSED(e);
    if (name.len != strlen("run.args") || memcmp(name.ptr, "run.args", name.len) != 0)
        return 0;
    f->used_args = true;
    if (f->v->args != NULL)
        str_adds(out, f->v->args);
    return 1;
}

static void
fill_commands(struct fill *f, json_t *commands, const char *where)
{
    size_t i;
    const json_t *item;

    json_array_foreach (commands, i, item) {
        const char *text = json_string_value(item);
        auto_str out = STR_INIT(VALUE_MAX_BYTES);
        struct error e = ERROR_INIT;
        if (text == NULL || !interpolate_needed(text))
            continue;
        if (interpolate_some(text, command_value, f, &out, &e) == 0) {
            json_array_set_new(commands, i, json_string(out.ptr));
            continue;
        }
        autofree char *path = xasprintf("%s[%zu]", where, i);
        manifest_problem(f->m, path, "%s", e.msg);
        f->problems++;
    }
}

static void
fill_all_commands(struct fill *f)
{
    size_t i;
    const json_t *group;

    fill_commands(f, json_object_get(f->spec, "commands"), "spec.commands");
    json_array_foreach (json_object_get(f->spec, "groups"), i, group) {
        autofree char *where = xasprintf("spec.groups[%zu].commands", i);
        fill_commands(f, json_object_get(group, "commands"), where);
    }
    if (f->v->args == NULL)
        return;
    if (f->used_args)
        json_object_set_new(f->spec, "runArgs", json_string(f->v->args));
    else
        manifest_problem(f->m, NULL,
                         "warning: the arguments after -- are not used: no command has "
                         "${{ run.args }}");
}

/* What the command line says wins over the file; a null takes a field away. */
static void
apply_settings(struct fill *f)
{
    const char *key;
    json_t *value;

    json_object_foreach (f->v->settings, key, value) {
        if (json_is_null(value))
            json_object_del(f->spec, key);
        else if (json_is_object(value) && json_is_object(json_object_get(f->spec, key)))
            json_object_update(json_object_get(f->spec, key), value);
        else
            json_object_set(f->spec, key, value);
    }
}

size_t
run_values_fill(struct session *s, const struct manifest *m, const struct run_values *v,
                struct run_secrets *ret)
{
    struct fill f = {
        .s = s, .m = m, .v = v, .out = ret, .spec = json_object_get(m->object, "spec")};

    if (m->resource->resource != &resource_runs || !json_is_object(f.spec))
        return 0;
    f.known = json_object();
    apply_settings(&f);
    fill_env(&f);
    fill_registry(&f);
    fill_all_commands(&f);
    json_decref(f.known);
    return f.problems;
}

/* --- the Secrets -------------------------------------------------------------------- */

static json_t *
encoded(const json_t *values)
{
    json_t *data = json_object();
    const char *key;
    json_t *value;

    json_object_foreach ((json_t *)(uintptr_t)values, key, value) {
        auto_str text = STR_INIT(2 * VALUE_MAX_BYTES);
        id_base64(json_string_value(value), json_string_length(value), &text);
        json_object_set_new(data, key, json_string(text.ptr));
    }
    return data;
}

static int
write_one(struct session *s, const char *ns, const char *run, const char *suffix,
          const json_t *values, const char *owner_uid, bool dry, struct error *e)
{
    autofree char *name = xasprintf("%s-%s", run, suffix);
    struct client_patch_opts o = {
        .type = CLIENT_PATCH_APPLY, .manager = "drover", .force = true, .dry_run = dry};
    json_t *meta = json_pack("{s:s, s:s}", "name", name, "namespace", ns);

    if (values == NULL) {
        json_decref(meta);
        return 0;
    }
    if (owner_uid != NULL)
        json_object_set_new(meta, "ownerReferences",
                            json_pack("[{s:s, s:s, s:s, s:s}]", "apiVersion",
                                      "drover.dev/v1", "kind", "Run", "name", run, "uid",
                                      owner_uid));
    json_t *secret =
        json_pack("{s:s, s:s, s:o, s:s, s:o}", "apiVersion", "v1", "kind", "Secret",
                  "metadata", meta, "type", "Opaque", "data", encoded(values));
    int rc = client_patch(s->client, &resource_secrets, ns, name, &o, secret, NULL, e);
    json_decref(secret);
    return rc < 0 ? error_prepend(e, "Secret %s", name) : 0;
}

int
run_secrets_write(struct session *s, const char *ns, const char *run,
                  const struct run_secrets *secrets, const char *owner_uid, bool dry,
                  struct error *e)
{
    int rc = write_one(s, ns, run, "env", secrets->env, owner_uid, dry, e);

    if (rc == 0)
        rc = write_one(s, ns, run, "registry", secrets->registry, owner_uid, dry, e);
    return rc;
}
