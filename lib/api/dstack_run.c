/* SPDX-License-Identifier: Apache-2.0 */
/* Tasks: the keys of a run, and what its parts have to do with each other. */
#include <string.h>

#include "api/dstack_internal.h"
#include "api/values.h"

enum { NODES_MAX = 1024, TASK_PRIORITY_MAX = 100 };

static const struct dstack_field fields[] = {
    {.key = "type", .put = dstack_put_nothing},
    {.key = "name", .put = dstack_put_nothing},
    {.key = "image", .put = dstack_put_text, .to = "image"},
    {.key = "user", .put = dstack_put_user, .to = "user"},
    {.key = "privileged", .put = dstack_put_flag, .to = "privileged"},
    {.key = "entrypoint", .put = dstack_put_text, .to = "entrypoint"},
    {.key = "working_dir", .put = dstack_put_absolute_path, .to = "workingDir"},
    {.key = "home_dir", .put = dstack_put_ignored, .text = "has no effect any more"},
    {.key = "registry_auth", .put = dstack_put_registry_auth, .to = "registryAuth"},
    {.key = "python", .put = dstack_put_nothing},
    {.key = "nvcc",
     .put = dstack_put_refused_if_true,
     .text = "needs dstack's own base image; name an image with the CUDA compiler, e.g. "
             "image: nvidia/cuda:12.4.1-devel-ubuntu22.04"},
    {.key = "docker",
     .put = dstack_put_refused_if_true,
     .text = "needs dstack's own image; write image: docker:dind and privileged: true, "
             "and start dockerd in commands"},
    {.key = "dstack",
     .put = dstack_put_refused_if_true,
     .text = "the server is not handed to jobs; give the job a token and the server's "
             "address in env"},
    {.key = "single_branch", .put = dstack_put_flag, .to = "singleBranch"},
    {.key = "env", .put = dstack_put_env, .to = "env"},
    {.key = "shell", .put = dstack_put_text, .to = "shell"},
    {.key = "resources", .put = dstack_put_nothing},
    {.key = "priority",
     .put = dstack_put_integer,
     .to = "priority",
     .max = TASK_PRIORITY_MAX},
    {.key = "volumes", .put = dstack_put_volumes, .to = "mounts"},
    {.key = "repos", .put = dstack_put_repos, .to = "repos"},
    {.key = "files", .put = dstack_put_files, .to = "files"},
    {.key = "setup",
     .put = dstack_put_ignored,
     .text = "has no effect in a task (it had none in dstack); put it into commands"},
    {.key = "ports", .put = dstack_put_ports, .to = "ports"},
    {.key = "commands", .put = dstack_put_texts, .to = "commands"},
    {.key = "nodes",
     .put = dstack_put_integer,
     .to = "nodes",
     .min = 1,
     .max = NODES_MAX},
    {.key = "groups", .put = dstack_put_groups, .to = "groups"},
};
static const struct dstack_table table = {"a task", fields, ARRAY_LEN(fields),
                                          &dstack_profile_params};

/* --- groups of nodes ---------------------------------------------------------------- */

static const struct dstack_field group_fields[] = {
    {.key = "name", .put = dstack_put_text, .to = "name"},
    {.key = "nodes",
     .put = dstack_put_integer,
     .to = "nodes",
     .min = 1,
     .max = NODES_MAX},
    {.key = "resources", .put = dstack_put_nothing},
    {.key = "commands", .put = dstack_put_texts, .to = "commands"},
    {.key = "ports", .put = dstack_put_ports, .to = "ports"},
};
static const struct dstack_table group_table = {"a group", group_fields,
                                                ARRAY_LEN(group_fields), NULL};

static bool
is_group_name(const char *s)
{
    size_t n = strlen(s);

    return n > 0 && n <= 40 && s[0] != '-' &&
           strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
}

static void
check_group_name(struct dstack_result *r, const char *path, const json_t *group,
                 json_t *seen, size_t index)
{
    const char *name = json_string_value(json_object_get(group, "name"));
    char number[32];

    snprintf(number, sizeof(number), "%zu", index);
    if (name == NULL)
        name = number;
    if (!is_group_name(name))
        dstack_problem(r, path,
                       "a group's name is 1 to 40 lower-case letters, digits "
                       "and dashes, and does not start with a dash");
    else if (json_object_get(seen, name) != NULL)
        dstack_problem(r, path, "two groups have the name \"%s\"", name);
    json_object_set_new(seen, name, json_true());
}

void
dstack_put_groups(struct dstack_result *r, const struct dstack_field *f, const char *path,
                  const json_t *v, json_t *to)
{
    char at[DSTACK_PATH_MAX], below[DSTACK_PATH_MAX];
    json_t *list = json_array(), *seen = json_object();
    size_t i;
    const json_t *item;

    if (json_array_size(v) == 0)
        dstack_problem(r, path, "must be a list of groups with nodes and commands");
    json_array_foreach (v, i, item) {
        json_t *group = json_object();
        dstack_at(at, path, i);
        dstack_walk(r, &group_table, at, item, group);
        dstack_join(below, at, "name");
        check_group_name(r, below, group, seen, i);
        dstack_join(below, at, "resources");
        json_object_set_new(
            group, "resources",
            dstack_resources(r, below, json_object_get(item, "resources")));
        json_array_append_new(list, group);
    }
    json_decref(seen);
    json_object_set_new(to, f->to, list);
}

/* --- what belongs together ---------------------------------------------------------- */

static bool
has(const json_t *doc, const char *key)
{
    const json_t *v = json_object_get(doc, key);

    return v != NULL && !json_is_null(v);
}

static void
check_groups(struct dstack_result *r, const json_t *doc, const json_t *spec)
{
    static const char *const excluded[] = {"nodes", "commands", "ports", "entrypoint"};
    char at[DSTACK_PATH_MAX];
    size_t i;
    const json_t *group;

    for (i = 0; i < ARRAY_LEN(excluded); i++) {
        if (has(doc, excluded[i]))
            dstack_problem(r, excluded[i],
                           "is said per group; leave it out beside groups");
    }
    if (has(doc, "resources"))
        dstack_warning(r, "resources",
                       "has no effect beside groups: each group has its "
                       "own");
    json_array_foreach (json_object_get(spec, "groups"), i, group) {
        dstack_at(at, "groups", i);
        if (json_array_size(json_object_get(group, "commands")) == 0 &&
            !has(spec, "image"))
            dstack_problem(r, at, "needs commands, or the task an image");
    }
}

/* dstack would make an environment in its own image; ours is Python's. */
static void
put_python(struct dstack_result *r, const json_t *doc, json_t *spec)
{
    static const char *const versions[] = {"3.9", "3.10", "3.11", "3.12", "3.13", "3.14"};
    autofree char *version = dstack_text(json_object_get(doc, "python"));

    if (has(doc, "image")) {
        dstack_problem(r, "python", "does not go with image; leave one of them out");
        return;
    }
    if (version != NULL && streq(version, "3.1")) { /* YAML's reading of 3.10 */
        free(version);
        version = xstrdup("3.10");
    }
    for (size_t i = 0; version != NULL && i < ARRAY_LEN(versions); i++) {
        if (!streq(versions[i], version))
            continue;
        json_object_set_new(spec, "image", json_sprintf("python:%s", version));
        dstack_warning(r, "python",
                       "becomes image: python:%s, which has pip and neither uv nor CUDA "
                       "(dstack's own base image is not used)",
                       version);
        return;
    }
    dstack_problem(r, "python", "must be 3.9, 3.10, 3.11, 3.12, 3.13 or 3.14");
}

static void
finish(struct dstack_result *r, const json_t *doc, json_t *spec)
{
    if (has(doc, "groups"))
        check_groups(r, doc, spec);
    else if (!has(doc, "commands") && !has(doc, "image"))
        dstack_problem(r, "commands", "a task needs commands, or an image with its own");
    if (!has(doc, "groups"))
        json_object_set_new(
            spec, "resources",
            dstack_resources(r, "resources", json_object_get(doc, "resources")));
    const char *image = json_string_value(json_object_get(spec, "image"));
    if (image != NULL && streq(image, "scratch"))
        dstack_problem(r, "image", "scratch is for listing offers and cannot be run");
    if (!has(doc, "image") && !has(doc, "shell"))
        json_object_set_new(spec, "shell", json_string("bash"));
    if (has(doc, "python"))
        put_python(r, doc, spec);
    /* Without room a run of dstack fails, after retry.duration at the latest. */
    json_object_set_new(spec, "whenNoCapacity", json_string("fail"));
}

void
dstack_run(struct dstack_result *r, const json_t *doc)
{
    const char *name = json_string_value(json_object_get(doc, "name"));
    json_t *spec = json_pack("{s:s}", "type", "task");
    json_t *meta = json_object();

    dstack_walk(r, &table, "", doc, spec);
    finish(r, doc, spec);
    if (name != NULL && value_is_run_name(name, strlen(name)))
        json_object_set_new(meta, "name", json_string(name));
    else if (has(doc, "name"))
        dstack_problem(r, "name",
                       "a name is 2 to 41 lower-case letters, digits and dashes, starts "
                       "with a letter and does not end with a dash");
    r->object = json_pack("{s:s, s:s, s:o, s:o}", "apiVersion", "drover.dev/v1", "kind",
                          "Run", "metadata", meta, "spec", spec);
}
