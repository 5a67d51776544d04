/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Job is final: program and arguments as they are executed, the whole environment but
 * for secrets (the agent reads those), seconds instead of durations. An agent never reads
 * a Run.
 */
#include "controllers/run/run_derive.h"

#include <ctype.h>

#include "api/admit.h"
#include "api/interpolate.h"
#include "api/run_instances.h"
#include "api/values.h"
#include "base/clock.h"
#include "base/mem.h"

enum {
    COMMAND_LINE_MAX = 1 << 20,
    STOP_DURATION_S = 300,
    STOP_DURATION_MAX_S = 24 * 86400, /* an agent counts it in 31 bits of milliseconds */
};

char *
run_job_name(const char *run, const struct job_new *n)
{
    return xasprintf("%s-%lld-%lld-%lld", run, (long long)n->replica, (long long)n->node,
                     (long long)n->attempt);
}

/* --- groups ------------------------------------------------------------------------ */

/* The group of a node: its index and the node's number in it. NULL: there are none. */
static const json_t *
group_of(const json_t *spec, int64_t node, size_t *ret_index)
{
    size_t i;
    const json_t *g;

    json_array_foreach (json_object_get(spec, "groups"), i, g) {
        const json_t *n = json_object_get(g, "nodes");
        int64_t nodes = json_is_integer(n) ? json_integer_value(n) : 1;
        if (node < nodes) {
            *ret_index = i;
            return g;
        }
        node -= nodes;
    }
    return NULL;
}

/* What a group has of its own: nothing of it is inherited. */
static const json_t *
of_node(const json_t *spec, const json_t *group, const char *key)
{
    return json_object_get(group != NULL ? group : spec, key);
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

/* Addresses of the nodes; NULL while they are not known. */
struct addresses {
    const json_t *spec;
    const struct peer *peers;
    size_t n;
};

static int
address_of(void *arg, struct span name, struct str *out, struct error *e)
{
    const struct addresses *a = arg;
    int64_t group, node, first = 0;

    if (!interpolate_node(name, &group, &node))
        return error_set(e, ERR_INVALID, "${{ %.*s }} is not known here",
                         (int)(name.len < 64 ? name.len : 64), name.ptr);
    const json_t *groups = json_object_get(a->spec, "groups");
    for (int64_t i = 0; i < group; i++) {
        const json_t *n = json_object_get(json_array_get(groups, (size_t)i), "nodes");
        first += json_is_integer(n) ? json_integer_value(n) : 1;
    }
    if (first + node >= (int64_t)a->n)
        return error_set(e, ERR_INVALID, "there is no groups[%lld].nodes[%lld]",
                         (long long)group, (long long)node);
    str_adds(out, a->peers[first + node].address);
    return 0;
}

static bool
needs_addresses(const json_t *commands)
{
    size_t i;
    const json_t *c;

    json_array_foreach (commands, i, c) {
        const char *text = json_string_value(c);
        if (text != NULL && interpolate_needed(text))
            return true;
    }
    return false;
}

/* A copy with every ${{ }} filled in. */
static int
fill_in(const json_t *commands, const struct addresses *a, json_t *ret, struct error *e)
{
    size_t i;
    const json_t *c;

    json_array_foreach (commands, i, c) {
        auto_str text = STR_INIT(COMMAND_LINE_MAX);
        const char *from = json_string_value(c);
        int rc = interpolate(from == NULL ? "" : from, address_of, (void *)(uintptr_t)a,
                             &text, e);
        if (rc < 0)
            return error_prepend(e, "spec.commands");
        if (text.toobig)
            return error_set(e, ERR_INVALID, "spec.commands: longer than %d bytes",
                             COMMAND_LINE_MAX);
        json_array_append_new(ret, json_string(text.ptr));
    }
    return 0;
}

static int
make_argv(const json_t *spec, const json_t *commands, json_t *argv, struct error *e)
{
    const char *entrypoint = json_string_value(json_object_get(spec, "entrypoint"));
    const char *shell = json_string_value(json_object_get(spec, "shell"));
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

/* Under both names: ours, and the one that programs written for dstack look for. */
static void
set_both(json_t *env, const char *name, const char *value)
{
    autofree char *ours = xasprintf("DROVER_%s", name);
    autofree char *theirs = xasprintf("DSTACK_%s", name);

    set(env, ours, value);
    set(env, theirs, value);
}

static void
set_number(json_t *env, const char *name, int64_t value)
{
    autofree char *text = xasprintf("%lld", (long long)value);

    set_both(env, name, text);
}

/* What the binding decides (addresses, devices) the agent adds below this. */
static json_t *
make_env(const struct run_view *run, const struct job_new *n, const json_t *user)
{
    json_t *env = json_object();
    const char *key;
    json_t *value;

    set_both(env, "RUN_NAME", run->o->name);
    set_both(env, "RUN_ID", run->o->uid);
    set_number(env, "NODE_RANK", n->node);
    set_number(env, "NODES_NUM", run->nodes);
    if (run->nodes == 1)
        set_both(env, "MASTER_NODE_IP", "127.0.0.1");
    if (run->has_array) {
        set_number(env, "ARRAY_INDEX", n->replica);
        set_number(env, "ARRAY_FIRST", run->array.first);
        set_number(env, "ARRAY_LAST", run->array.last);
    }
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
    json_t *single = json_object_get(spec, "singleBranch");

    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        size_t k;
        json_t *item;
        copy(to, spec, lists[i]);
        json_array_foreach (json_object_get(to, lists[i]), k, item) {
            json_object_del(item, "localPath");
            if (single != NULL && i == 1 && json_object_get(item, "singleBranch") == NULL)
                json_object_set(item, "singleBranch", single);
        }
    }
}

/* localPort is the client's affair. */
static void
copy_ports(json_t *to, const json_t *ports)
{
    json_t *list = json_array();
    size_t i;
    const json_t *p;

    json_array_foreach (ports, i, p) {
        json_array_append_new(list, json_pack("{s:O}", "containerPort",
                                              json_object_get(p, "containerPort")));
    }
    if (json_array_size(list) > 0)
        json_object_set(to, "ports", list);
    json_decref(list);
}

static void
copy_instances(json_t *to, const json_t *from)
{
    json_t *list = run_instance_names(from);

    if (json_array_size(list) > 0)
        json_object_set(to, "instances", list);
    json_decref(list);
}

static void
copy_nodes(const struct run_view *run, const struct job_new *n, const json_t *group,
           size_t index, json_t *to)
{
    const char *name = json_string_value(json_object_get(group, "name"));
    char number[24];

    snprintf(number, sizeof(number), "%zu", index);
    if (group != NULL)
        set(to, "group", name != NULL ? name : number);
    if (run->nodes > 1) {
        autofree char *secret = run_ssh_secret_name(run->o->name);
        set(to, "networkMode", "host");
        json_object_set_new(to, "sshSecretRef", json_pack("{s:s}", "name", secret));
    }
    json_object_set_new(to, "nodes", json_integer(run->nodes));
    json_object_set_new(to, "replica", json_integer(n->replica));
    json_object_set_new(to, "node", json_integer(n->node));
    json_object_set_new(to, "attempt", json_integer(n->attempt));
}

static int
copy_limits(const struct run_view *run, const json_t *spec, json_t *to, struct error *e)
{
    const json_t *stop = json_object_get(spec, "stopDuration");
    int64_t seconds = STOP_DURATION_S;

    if (stop != NULL && value_duration(stop, true, &seconds, e) < 0)
        return error_prepend(e, "spec.stopDuration");
    if (seconds == DURATION_OFF || seconds > STOP_DURATION_MAX_S)
        seconds = STOP_DURATION_MAX_S;
    json_object_set_new(to, "stopDurationSeconds", json_integer(seconds));
    if (run->max_duration_s >= 0)
        json_object_set_new(to, "maxDurationSeconds", json_integer(run->max_duration_s));
    json_object_set_new(to, "interruptible", json_boolean(run->retry_interruption));
    return 0;
}

/* Where there is no GPU to watch (a profile's policy) there is none. */
static int
copy_policy(const json_t *spec, const json_t *resources, json_t *to, struct error *e)
{
    const json_t *policy = json_object_get(spec, "utilizationPolicy");
    const json_t *min = json_object_get(policy, "minGpuUtilization");
    int64_t window_s;

    if (!json_is_object(policy) || !admit_wants_gpu(resources))
        return 0;
    int rc = admit_idle_window(json_object_get(policy, "timeWindow"), &window_s, e);
    if (rc == 0 && !json_is_integer(min))
        rc = error_set(e, ERR_INVALID, "minGpuUtilization is missing");
    if (rc < 0)
        return error_prepend(e, "spec.utilizationPolicy");
    json_object_set_new(to, "utilizationPolicy",
                        json_pack("{s:I, s:I}", "minGpuUtilization",
                                  json_integer_value(min), "timeWindowSeconds",
                                  (json_int_t)window_s));
    return 0;
}

static int
make_spec(const struct run_view *run, const struct job_new *n, const json_t *spec,
          json_t *to, struct error *e)
{
    static const char *const copied[] = {
        "image",        "user",          "workingDir",  "envFrom",          "priority",
        "fleets",       "logQuotaBytes", "preemptible", "preemptionPolicy", "privileged",
        "registryAuth", "mounts",        "ulimits",     "networkMode",      "tty",
        "ttySize",      "rootfs"};
    size_t index = 0;
    const json_t *group = group_of(spec, n->node, &index);
    const json_t *resources = of_node(spec, group, "resources");
    json_t *argv = json_array();

    json_object_set_new(to, "argv", argv);
    int rc = make_argv(spec, of_node(spec, group, "commands"), argv, e);
    if (rc == 0)
        rc = copy_limits(run, spec, to, e);
    if (rc == 0)
        rc = copy_policy(spec, resources, to, e);
    if (rc < 0)
        return rc;
    json_object_set_new(to, "env", make_env(run, n, json_object_get(spec, "env")));
    for (size_t i = 0; i < ARRAY_LEN(copied); i++)
        copy(to, spec, copied[i]);
    if (resources != NULL)
        json_object_set_new(to, "resources", json_deep_copy(resources));
    copy_ports(to, of_node(spec, group, "ports"));
    copy_code(to, spec);
    copy_nodes(run, n, group, index, to);
    copy_instances(to, json_object_get(spec, "instances"));
    json_object_set_new(to, "released",
                        json_boolean(run->nodes == 1 &&
                                     !needs_addresses(of_node(spec, group, "commands"))));
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

/* A Run that waited for us (a backlog) keeps the place of its submission, and so does one
 * that is tried again. */
static void
set_queued(const struct run_view *run, const struct job_new *n, int64_t wall_ns,
           json_t *spec)
{
    char text[CLOCK_RFC3339_US_LEN];
    int64_t age = wall_ns - run->created_ns;
    bool fresh = age >= 0 && age < INT64_C(2000000000) && n->attempt == 0;
    int64_t since =
        run->last_start_ns > run->created_ns ? run->last_start_ns : run->created_ns;

    clock_format_us(fresh ? wall_ns : since, text);
    set(spec, "queuedAt", text);
}

int
run_derive_job(const struct run_view *run, const struct job_new *n, int64_t wall_ns,
               json_t **ret, struct error *e)
{
    autofree char *name = run_job_name(run->o->name, n);
    json_t *object = object_json(run->o);
    json_t *spec = json_object();
    int rc = make_spec(run, n, json_object_get(object, "spec"), spec, e);

    json_decref(object);
    if (rc < 0) {
        json_decref(spec);
        return rc;
    }
    set_queued(run, n, wall_ns, spec);
    set(spec, "runName", run->o->name);
    set(spec, "runUID", run->o->uid);
    set(spec, "desiredState", "Running");
    *ret = json_pack("{s:s, s:s, s:o, s:o}", "apiVersion", "drover.dev/v1", "kind", "Job",
                     "metadata", make_metadata(run->o, name), "spec", spec);
    return 0;
}

char *
run_ssh_secret_name(const char *run)
{
    return xasprintf("%s-ssh", run);
}

/* --- the release ------------------------------------------------------------------- */

/* The node's program with the addresses in it; NULL: it stays what it is. */
static int
final_argv(const struct addresses *a, int64_t node, json_t **ret, struct error *e)
{
    size_t index = 0;
    const json_t *group = group_of(a->spec, node, &index);
    const json_t *commands = of_node(a->spec, group, "commands");

    *ret = NULL;
    if (!needs_addresses(commands))
        return 0;
    json_t *filled = json_array(), *argv = json_array();
    int rc = fill_in(commands, a, filled, e);
    if (rc == 0)
        rc = make_argv(a->spec, filled, argv, e);
    json_decref(filled);
    if (rc < 0)
        json_decref(argv);
    else
        *ret = argv;
    return rc;
}

int
run_derive_release(const struct run_view *run, const struct job_view *job,
                   const struct peer *peers, size_t n, json_t **ret, struct error *e)
{
    json_t *object = object_json(run->o);
    struct addresses a = {json_object_get(object, "spec"), peers, n};
    json_t *argv;
    int rc = final_argv(&a, job->node, &argv, e);

    json_decref(object);
    if (rc < 0)
        return rc;
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_pack("{s:s, s:s, s:I}", "job", peers[i].job,
                                              "address", peers[i].address, "gpus",
                                              (json_int_t)peers[i].gpus));
    json_t *spec = json_pack("{s:b, s:o}", "released", 1, "peers", list);
    if (argv != NULL)
        json_object_set_new(spec, "argv", argv);
    *ret = json_pack("{s:{s:s}, s:o}", "metadata", "uid", job->o->uid, "spec", spec);
    return 0;
}
