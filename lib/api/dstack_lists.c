/* SPDX-License-Identifier: Apache-2.0 */
/* Lists, and the short forms of their items. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/dstack_internal.h"

enum { PORT_MAX = 65535 };

static void
put(json_t *to, const struct dstack_field *f, json_t *value)
{
    json_object_set_new(to, f->to, value);
}

/* Calls one per item; what is no list is a problem with the words in form. */
static json_t *
each(struct dstack_result *r, const char *path, const json_t *v, const char *form,
     json_t *(*one)(struct dstack_result *r, const char *path, const json_t *item))
{
    char at[DSTACK_PATH_MAX];
    json_t *list = json_array();
    size_t i;
    const json_t *item;

    if (!json_is_array(v))
        dstack_problem(r, path, "must be a list of %s", form);
    json_array_foreach (v, i, item) {
        dstack_at(at, path, i);
        json_t *made = one(r, at, item);
        if (made != NULL)
            json_array_append_new(list, made);
    }
    return list;
}

static json_t *
one_text(struct dstack_result *r, const char *path, const json_t *item)
{
    autofree char *text = dstack_text(item);

    if (text != NULL)
        return json_string(text);
    dstack_problem(r, path,
                   "must be text; quote it if it holds \": \" or is a word "
                   "such as yes");
    return NULL;
}

void
dstack_put_texts(struct dstack_result *r, const struct dstack_field *f, const char *path,
                 const json_t *v, json_t *to)
{
    put(to, f, each(r, path, v, "texts", one_text));
}

/* --- env ---------------------------------------------------------------------------- */

static bool
is_variable(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bool letter = (s[i] | 32) >= 'a' && (s[i] | 32) <= 'z';
        if (!letter && s[i] != '_' && !(i > 0 && s[i] >= '0' && s[i] <= '9'))
            return false;
    }
    return n > 0 && n <= 256;
}

/* K=V, K=, or K alone, whose value the caller's environment has. */
static void
env_item(struct dstack_result *r, const char *path, const json_t *item, json_t *env)
{
    const char *text = json_string_value(item);
    const char *eq = text == NULL ? NULL : strchr(text, '=');
    size_t n = text == NULL ? 0 : eq == NULL ? strlen(text) : (size_t)(eq - text);

    if (text == NULL || !is_variable(text, n)) {
        dstack_problem(r, path,
                       "must be NAME=value, or NAME for the value in your own "
                       "environment");
        return;
    }
    autofree char *name = xstrndup(text, n);
    if (json_object_get(env, name) != NULL)
        dstack_problem(r, path, "%.100s is given twice", name);
    else
        json_object_set_new(env, name, eq == NULL ? json_null() : json_string(eq + 1));
}

void
dstack_put_env(struct dstack_result *r, const struct dstack_field *f, const char *path,
               const json_t *v, json_t *to)
{
    char at[DSTACK_PATH_MAX];
    json_t *env = json_object();
    const char *key;
    json_t *value;
    size_t i;

    if (!json_is_array(v) && !json_is_object(v))
        dstack_problem(r, path, "must be a list of NAME=value or a mapping");
    json_array_foreach (v, i, value) {
        dstack_at(at, path, i);
        env_item(r, at, value, env);
    }
    json_object_foreach ((json_t *)(uintptr_t)v, key, value) {
        autofree char *text = dstack_text(value);
        dstack_join(at, path, key);
        if (text == NULL)
            dstack_problem(r, at, "must be text or a number; quote true, false and null");
        else if (!is_variable(key, strlen(key)))
            dstack_problem(r, at,
                           "a variable name is letters, digits and underscores, "
                           "and does not start with a digit");
        else
            json_object_set_new(env, key, json_string(text));
    }
    put(to, f, env);
}

/* --- ports -------------------------------------------------------------------------- */

/* 1..65535 in the n bytes of text; 0: it is none. */
static int
port_of(const char *text, size_t n)
{
    int port = 0;

    for (size_t i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9' || port > PORT_MAX)
            return 0;
        port = port * 10 + (text[i] - '0');
    }
    return port > PORT_MAX ? 0 : port;
}

static int
port_value(const json_t *v)
{
    autofree char *text = json_is_real(v) ? NULL : dstack_text(v);

    return text == NULL ? 0 : port_of(text, strlen(text));
}

static json_t *
one_port(struct dstack_result *r, const char *path, const json_t *item)
{
    const char *text = json_string_value(item);
    const char *colon = text == NULL ? NULL : strchr(text, ':');
    bool any = text != NULL && colon == text + 1 && text[0] == '*';
    int local = 0, container = 0;

    if (json_is_object(item)) {
        container = port_value(json_object_get(item, "container_port"));
        local = port_value(json_object_get(item, "local_port"));
        if (json_object_size(item) != 1u + (json_object_get(item, "local_port") != NULL))
            container = 0;
        any = json_is_null(json_object_get(item, "local_port"));
    } else if (colon == NULL) {
        container = local = port_value(item);
    } else {
        container = port_of(colon + 1, strlen(colon + 1));
        local = port_of(text, (size_t)(colon - text));
    }
    if (container == 0 || (local == 0 && !any)) {
        dstack_problem(r, path,
                       "must be a port, \"local:container\", \"*:container\" or "
                       "{local_port, container_port}, each 1 to 65535");
        return NULL;
    }
    if (any)
        dstack_warning(r, path,
                       "no local port is chosen by itself: the same number is "
                       "used");
    json_t *port = json_pack("{s:i}", "containerPort", container);
    if (!any && local != container)
        json_object_set_new(port, "localPort", json_integer(local));
    return port;
}

void
dstack_put_ports(struct dstack_result *r, const struct dstack_field *f, const char *path,
                 const json_t *v, json_t *to)
{
    put(to, f, each(r, path, v, "ports", one_port));
}

/* --- volumes ------------------------------------------------------------------------ */

static const char no_volumes[] =
    "network volumes are not served yet; a directory of the machine is \"/host:/path\"";

static bool
is_mount_path(const char *s)
{
    size_t n = strlen(s);

    return s[0] == '/' && (n == 1 || s[n - 1] != '/') && strstr(s, "/../") == NULL &&
           !str_ends(s, "/..");
}

static json_t *
make_mount(struct dstack_result *r, const char *path, const char *from, const char *to,
           bool optional)
{
    if (!is_mount_path(to) || from[0] != '/' || strstr(from, "/../") != NULL ||
        str_ends(from, "/..")) {
        dstack_problem(r, path,
                       "both paths must be absolute and without \"..\", and the "
                       "one in the job must not end in /");
        return NULL;
    }
    json_t *mount = json_pack("{s:s, s:s}", "instancePath", from, "path", to);
    if (optional)
        json_object_set_new(mount, "optional", json_true());
    return mount;
}

static json_t *
mount_of_object(struct dstack_result *r, const char *path, const json_t *item)
{
    const char *from = json_string_value(json_object_get(item, "instance_path"));
    const char *to = json_string_value(json_object_get(item, "path"));
    const json_t *optional = json_object_get(item, "optional");
    size_t known = 2u + (optional != NULL);

    if (json_object_get(item, "name") != NULL) {
        dstack_problem(r, path, "%s", no_volumes);
        return NULL;
    }
    if (from == NULL || to == NULL || json_object_size(item) != known ||
        (optional != NULL && !json_is_boolean(optional))) {
        dstack_problem(r, path,
                       "must be {instance_path, path} or {instance_path, path, "
                       "optional: true}");
        return NULL;
    }
    return make_mount(r, path, from, to, json_is_true(optional));
}

static json_t *
one_volume(struct dstack_result *r, const char *path, const json_t *item)
{
    const char *text = json_string_value(item);
    const char *colon = text == NULL ? NULL : strchr(text, ':');

    if (json_is_object(item))
        return mount_of_object(r, path, item);
    if (colon == NULL || strchr(colon + 1, ':') != NULL) {
        dstack_problem(r, path, "must be \"/host:/path\" with one colon, or a mapping");
        return NULL;
    }
    autofree char *from = xstrndup(text, (size_t)(colon - text));
    if (strchr(from, '/') == NULL) {
        dstack_problem(r, path, "%s", no_volumes);
        return NULL;
    }
    return make_mount(r, path, from, colon + 1, false);
}

void
dstack_put_volumes(struct dstack_result *r, const struct dstack_field *f,
                   const char *path, const json_t *v, json_t *to)
{
    put(to, f, each(r, path, v, "mounts", one_volume));
}

/* --- files and code ----------------------------------------------------------------- */

static const struct dstack_field file_fields[] = {
    {.key = "local_path", .put = dstack_put_text, .to = "localPath"},
    {.key = "path", .put = dstack_put_text, .to = "path"},
};
static const struct dstack_table file_table = {"a file", file_fields,
                                               ARRAY_LEN(file_fields), NULL};

static const struct dstack_field repo_fields[] = {
    {.key = "local_path", .put = dstack_put_text, .to = "localPath"},
    {.key = "url", .put = dstack_put_text, .to = "url"},
    {.key = "branch", .put = dstack_put_text, .to = "branch"},
    {.key = "hash", .put = dstack_put_text, .to = "hash"},
    {.key = "path", .put = dstack_put_text, .to = "path"},
    {.key = "if_exists", .put = dstack_put_word, .to = "ifExists", .text = "error|skip"},
};
static const struct dstack_table repo_table = {"a repo", repo_fields,
                                               ARRAY_LEN(repo_fields), NULL};

static json_t *
one_file(struct dstack_result *r, const char *path, const json_t *item)
{
    if (json_is_string(item) && json_string_length(item) > 0)
        return json_deep_copy(item);
    json_t *file = json_object();
    dstack_walk(r, &file_table, path, item, file);
    if (json_is_object(item) && json_object_get(item, "local_path") == NULL)
        dstack_problem(r, path, "needs local_path");
    return file;
}

static json_t *
one_repo(struct dstack_result *r, const char *path, const json_t *item)
{
    if (json_is_string(item) && json_string_length(item) > 0)
        return json_deep_copy(item);
    json_t *repo = json_object();
    dstack_walk(r, &repo_table, path, item, repo);
    if (json_is_object(item) && (json_object_get(item, "local_path") != NULL) ==
                                    (json_object_get(item, "url") != NULL))
        dstack_problem(r, path, "needs either local_path or url");
    return repo;
}

void
dstack_put_files(struct dstack_result *r, const struct dstack_field *f, const char *path,
                 const json_t *v, json_t *to)
{
    put(to, f, each(r, path, v, "local paths", one_file));
}

void
dstack_put_repos(struct dstack_result *r, const struct dstack_field *f, const char *path,
                 const json_t *v, json_t *to)
{
    json_t *list =
        json_is_array(v) ? json_incref((json_t *)(uintptr_t)v) : json_pack("[O]", v);

    if (json_array_size(list) > 1)
        dstack_problem(r, path, "must not name more than one repository");
    else
        put(to, f, each(r, path, list, "repositories", one_repo));
    json_decref(list);
}

static const struct dstack_field auth_fields[] = {
    {.key = "username", .put = dstack_put_text, .to = "username"},
    {.key = "password", .put = dstack_put_text, .to = "password"},
};
static const struct dstack_table auth_table = {"registry_auth", auth_fields,
                                               ARRAY_LEN(auth_fields), NULL};

void
dstack_put_registry_auth(struct dstack_result *r, const struct dstack_field *f,
                         const char *path, const json_t *v, json_t *to)
{
    json_t *auth = json_object();
    size_t before = r->problems;

    dstack_walk(r, &auth_table, path, v, auth);
    if (r->problems == before && json_object_size(auth) != 2)
        dstack_problem(r, path, "needs username and password");
    put(to, f, auth);
}

/* --- where to run ------------------------------------------------------------------- */

/* name, project/name or {project, name}; malloc'd, NULL with a note. */
static char *
reference(struct dstack_result *r, const char *path, const json_t *v)
{
    const char *text = json_string_value(v);
    const char *slash = text == NULL ? NULL : strchr(text, '/');
    const char *project = json_string_value(json_object_get(v, "project"));
    const char *name = json_string_value(json_object_get(v, "name"));

    if (json_is_object(v) && name != NULL && name[0] != '\0' &&
        json_object_size(v) == 1u + (project != NULL))
        return project == NULL ? xstrdup(name) : xasprintf("%s/%s", project, name);
    if (text != NULL && text[0] != '\0' && text[0] != '/' &&
        (slash == NULL || (slash[1] != '\0' && strchr(slash + 1, '/') == NULL)))
        return xstrdup(text);
    dstack_problem(r, path, "must be a name, \"project/name\" or {project, name}");
    return NULL;
}

static json_t *
one_fleet(struct dstack_result *r, const char *path, const json_t *item)
{
    autofree char *name = reference(r, path, item);

    return name == NULL ? NULL : json_string(name);
}

void
dstack_put_fleets(struct dstack_result *r, const struct dstack_field *f, const char *path,
                  const json_t *v, json_t *to)
{
    put(to, f, each(r, path, v, "fleets", one_fleet));
}

static json_t *
instance_of_fleet(struct dstack_result *r, const char *path, const json_t *item)
{
    const json_t *number = json_object_get(item, "instance");
    char at[DSTACK_PATH_MAX];

    dstack_join(at, path, "fleet");
    autofree char *fleet = reference(r, at, json_object_get(item, "fleet"));
    if (fleet == NULL)
        return NULL;
    if (json_object_size(item) != 2 ||
        (!json_is_integer(number) && !json_is_string(number))) {
        dstack_problem(r, path, "must be {fleet, instance} with the instance's number");
        return NULL;
    }
    return json_pack("{s:s, s:O}", "fleet", fleet, "instance", number);
}

static json_t *
one_instance(struct dstack_result *r, const char *path, const json_t *item)
{
    static const char *const keys[] = {"name", "hostname"};

    if (json_is_string(item) && json_string_length(item) > 0)
        return json_pack("{s:O}", "name", item);
    if (json_object_get(item, "fleet") != NULL)
        return instance_of_fleet(r, path, item);
    for (size_t i = 0; json_object_size(item) == 1 && i < ARRAY_LEN(keys); i++) {
        const json_t *v = json_object_get(item, keys[i]);
        if (json_is_string(v) && json_string_length(v) > 0)
            return json_deep_copy(item);
    }
    dstack_problem(r, path, "must be a name, {name}, {hostname} or {fleet, instance}");
    return NULL;
}

void
dstack_put_instances(struct dstack_result *r, const struct dstack_field *f,
                     const char *path, const json_t *v, json_t *to)
{
    json_t *list = each(r, path, v, "instances", one_instance);

    if (json_is_array(v) && json_array_size(v) == 0)
        dstack_problem(r, path, "must name at least one instance");
    put(to, f, list);
}

static bool
is_tag(const char *s, size_t min, size_t max, const char *more)
{
    size_t n = strlen(s);

    for (const char *p = s; *p != '\0'; p++) {
        bool plain = ((*p | 32) >= 'a' && (*p | 32) <= 'z') || (*p >= '0' && *p <= '9');
        if (!plain && strchr(more, *p) == NULL)
            return false;
    }
    return n >= min && n <= max;
}

void
dstack_put_tags(struct dstack_result *r, const struct dstack_field *f, const char *path,
                const json_t *v, json_t *to)
{
    char at[DSTACK_PATH_MAX];
    json_t *tags = json_object();
    const char *key;
    json_t *value;

    if (!json_is_object(v))
        dstack_problem(r, path, "must be a mapping");
    json_object_foreach ((json_t *)(uintptr_t)v, key, value) {
        autofree char *text = dstack_text(value);
        dstack_join(at, path, key);
        if (!is_tag(key, 1, 60, "_-"))
            dstack_problem(r, at, "a tag's name is 1 to 60 letters, digits, _ and -");
        else if (text == NULL || !is_tag(text, 0, 256, " .:/=_-+@"))
            dstack_problem(r, at,
                           "a tag's value is up to 256 letters, digits, spaces "
                           "and . : / = _ - + @");
        else
            json_object_set_new(tags, key, json_string(text));
    }
    put(to, f, tags);
}
