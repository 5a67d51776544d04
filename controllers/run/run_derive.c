/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Job is final: program and arguments as they are executed, the whole environment but
 * for secrets (the agent reads those), seconds instead of durations. An agent never reads
 * a Run.
 */
#include "controllers/run/run_derive.h"

#include <ctype.h>

#include "api/admit.h"
#include "api/values.h"
#include "base/clock.h"
#include "base/mem.h"

enum { COMMAND_LINE_MAX = 1 << 20, STOP_DURATION_S = 300 };

char *
run_job_name(const char *run, int64_t attempt)
{
    return xasprintf("%s-0-0-%lld", run, (long long)attempt);
}

/* --- argv -------------------------------------------------------------------------- */

static const char *
shell_path(const char *shell)
{
    if (shell == NULL || streq(shell, "sh"))
        return "/bin/sh";
    return streq(shell, "bash") ? "/bin/bash" : shell;
}

/* Lines joined with &&; one that ends in & is put in braces, since "a & && b" is none. */
static void
join_commands(const json_t *commands, struct str *line)
{
    size_t i;
    const json_t *c;

    json_array_foreach (commands, i, c) {
        const char *text = json_string_value(c);
        size_t n = text == NULL ? 0 : strlen(text);
        while (n > 0 && isspace((unsigned char)*text)) {
            text++;
            n--;
        }
        while (n > 0 && isspace((unsigned char)text[n - 1]))
            n--;
        if (n == 0)
            continue;
        if (line->len > 0)
            str_adds(line, " && ");
        bool background = text[n - 1] == '&' && (n < 2 || text[n - 2] != '&');
        if (background)
            str_adds(line, "{ ");
        str_add(line, text, n);
        if (background)
            str_adds(line, " }");
    }
}

static int
argv_of_entrypoint(const char *entrypoint, const json_t *commands, json_t *argv,
                   struct error *e)
{
    char **words = NULL;
    size_t i;
    json_t *c;
    int rc = shell_words(entrypoint, &words, e);

    if (rc < 0)
        return error_prepend(e, "spec.entrypoint");
    for (char **w = words; *w != NULL; w++)
        json_array_append_new(argv, json_string(*w));
    shell_words_free(words);
    json_array_foreach (commands, i, c) {
        json_array_append(argv, c);
    }
    return 0;
}

static int
make_argv(const json_t *spec, json_t *argv, struct error *e)
{
    const char *entrypoint = json_string_value(json_object_get(spec, "entrypoint"));
    const char *shell = json_string_value(json_object_get(spec, "shell"));
    const json_t *commands = json_object_get(spec, "commands");
    auto_str line = STR_INIT(COMMAND_LINE_MAX);

    if (entrypoint != NULL && entrypoint[0] != '\0')
        return argv_of_entrypoint(entrypoint, commands, argv, e);
    join_commands(commands, &line);
    if (line.toobig)
        return error_set(e, ERR_INVALID, "spec.commands: longer than %d bytes together",
                         COMMAND_LINE_MAX);
    if (line.len > 0) {
        json_array_append_new(argv, json_string(shell_path(shell)));
        json_array_append_new(argv, json_string("-c"));
        json_array_append_new(argv, json_string(line.ptr));
    } else if (json_object_get(spec, "image") == NULL) {
        return error_set(
            e, ERR_INVALID,
            "spec.commands: needed, since there is no image that has its own");
    }
    return 0;
}

/* --- environment ------------------------------------------------------------------- */

static void
set(json_t *map, const char *key, const char *value)
{
    json_object_set_new(map, key, json_string(value));
}

static json_t *
make_env(const struct object *run, const json_t *user)
{
    json_t *env = json_object();
    const char *key;
    json_t *value;

    set(env, "DROVER_RUN_NAME", run->name);
    set(env, "DROVER_RUN_ID", run->uid);
    set(env, "DROVER_NODE_RANK", "0");
    set(env, "DROVER_NODES_NUM", "1");
    set(env, "DSTACK_RUN_NAME", run->name);
    set(env, "DSTACK_RUN_ID", run->uid);
    set(env, "DSTACK_NODE_RANK", "0");
    set(env, "DSTACK_NODES_NUM", "1");
    set(env, "DSTACK_MASTER_NODE_IP", "127.0.0.1");
    json_object_foreach ((json_t *)(uintptr_t)user, key, value) {
        if (json_is_integer(value)) {
            autofree char *text = xasprintf("%lld", (long long)json_integer_value(value));
            set(env, key, text);
        } else if (json_is_string(value)) {
            json_object_set(env, key, value);
        }
    }
    return env;
}

/* --- the Job ----------------------------------------------------------------------- */

static void
copy(json_t *to, const json_t *from, const char *key)
{
    json_t *value = json_object_get(from, key);

    if (value != NULL)
        json_object_set_new(to, key, json_deep_copy(value));
}

/* Files and code; where they came from is the submitter's affair. */
static void
copy_code(json_t *to, const json_t *spec)
{
    static const char *const lists[] = {"files", "repos"};

    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        size_t k;
        json_t *item;
        copy(to, spec, lists[i]);
        json_array_foreach (json_object_get(to, lists[i]), k, item)
            json_object_del(item, "localPath");
    }
}

static int
copy_limits(const struct run_view *run, const json_t *spec, json_t *to, struct error *e)
{
    const json_t *stop = json_object_get(spec, "stopDuration");
    int64_t seconds = STOP_DURATION_S;

    if (stop != NULL && value_duration(stop, false, &seconds, e) < 0)
        return error_prepend(e, "spec.stopDuration");
    json_object_set_new(to, "stopDurationSeconds", json_integer(seconds));
    if (run->max_duration_s >= 0)
        json_object_set_new(to, "maxDurationSeconds", json_integer(run->max_duration_s));
    json_object_set_new(to, "interruptible", json_boolean(run->retry_interruption));
    return 0;
}

static int
make_spec(const struct run_view *run, const json_t *spec, json_t *to, struct error *e)
{
    static const char *const copied[] = {
        "image",    "user",   "workingDir",    "envFrom",     "resources",
        "priority", "fleets", "logQuotaBytes", "preemptible", "preemptionPolicy"};
    json_t *argv = json_array();

    json_object_set_new(to, "argv", argv);
    int rc = make_argv(spec, argv, e);
    if (rc == 0)
        rc = copy_limits(run, spec, to, e);
    if (rc < 0)
        return rc;
    json_object_set_new(to, "env", make_env(run->o, json_object_get(spec, "env")));
    for (size_t i = 0; i < ARRAY_LEN(copied); i++)
        copy(to, spec, copied[i]);
    copy_code(to, spec);
    return 0;
}

static json_t *
make_metadata(const struct object *run, const char *name)
{
    return json_pack(
        "{s:s, s:s, s:{s:s, s:s}, s:[s], s:[{s:s, s:s, s:s, s:s, s:b, s:b}]}", "name",
        name, "namespace", run->ns, "labels", LABEL_RUN, run->name, LABEL_RUN_UID,
        run->uid, "finalizers", FINALIZER_AGENT, "ownerReferences", "apiVersion",
        "drover.dev/v1", "kind", "Run", "name", run->name, "uid", run->uid, "controller",
        1, "blockOwnerDeletion", 1);
}

int
run_derive_job(const struct run_view *run, int64_t attempt, int64_t wall_ns, json_t **ret,
               struct error *e)
{
    autofree char *name = run_job_name(run->o->name, attempt);
    json_t *object = object_json(run->o);
    json_t *spec = json_object();
    char queued[CLOCK_RFC3339_US_LEN];
    int rc = make_spec(run, json_object_get(object, "spec"), spec, e);

    json_decref(object);
    if (rc < 0) {
        json_decref(spec);
        return rc;
    }
    /* A run that waited for us (a backlog) keeps the place of its submission. */
    int64_t age = wall_ns - run->created_ns;
    bool fresh = age >= 0 && age < INT64_C(2000000000) && attempt == 0;
    clock_format_us(fresh ? wall_ns : run->created_ns, queued);
    set(spec, "runName", run->o->name);
    set(spec, "runUID", run->o->uid);
    json_object_set_new(spec, "replica", json_integer(0));
    json_object_set_new(spec, "node", json_integer(0));
    json_object_set_new(spec, "attempt", json_integer(attempt));
    set(spec, "desiredState", "Running");
    set(spec, "queuedAt", queued);
    json_object_set_new(spec, "released",
                        json_true()); /* one node: nothing to wait for */
    *ret = json_pack("{s:s, s:s, s:o, s:o}", "apiVersion", "drover.dev/v1", "kind", "Job",
                     "metadata", make_metadata(run->o, name), "spec", spec);
    return 0;
}
