/* SPDX-License-Identifier: Apache-2.0 */
/* Reading of Job and Secret objects. */
#include "runner/job_view.h"
#include "runner/job_nodes.h"

#include <ctype.h>
#include <inttypes.h>
#include <sodium.h>

#include "api/resources.h"
#include "base/clock.h"
#include "base/mem.h"
#include "runner/job_container.h"

#define ENV_MAX 4096
#define ENV_VALUE_MAX (1024 * 1024)
#define TTY_COLUMNS 80
#define TTY_ROWS 24

static const json_t *
path_get(const json_t *o, const char *path)
{
    while (o != NULL && *path != '\0') {
        char key[64];
        size_t n = strcspn(path, ".");
        snprintf(key, sizeof(key), "%.*s", (int)n, path);
        o = json_object_get(o, key);
        path += n + (path[n] == '.');
    }
    return o;
}

static void
copy(const json_t *o, const char *path, char *out, size_t size)
{
    const char *s = json_string_value(path_get(o, path));
    snprintf(out, size, "%s", s != NULL ? s : "");
}

static int64_t
integer(const json_t *o, const char *path, int64_t fallback)
{
    const json_t *v = path_get(o, path);
    return json_is_integer(v) ? json_integer_value(v) : fallback;
}

bool
job_state_terminal(const char *state)
{
    static const char *const terminal[] = {"Exited", "Failed", "Rejected", "Lost",
                                           "Cancelled"};
    for (size_t i = 0; i < ARRAY_LEN(terminal); i++) {
        if (streq(state, terminal[i]))
            return true;
    }
    return false;
}

static bool
phase_final(const json_t *job)
{
    char phase[24];
    copy(job, "status.phase", phase, sizeof(phase));
    return streq(phase, "Done") || streq(phase, "Failed") || streq(phase, "Terminated");
}

static int
parse_hold(const json_t *job, struct journal_hold *h, struct error *e)
{
    size_t i;
    const json_t *v;
    h->cpu_milli = integer(job, "spec.reservation.cpuMilli", 0);
    h->memory_mib = integer(job, "spec.reservation.memoryMiB", 0);
    h->disk_mib = integer(job, "spec.reservation.diskMiB", 0);
    json_array_foreach (path_get(job, "spec.reservation.gpus"), i, v) {
        if (!json_is_string(v) || json_string_length(v) >= sizeof(h->gpus[0]))
            return error_set(e, ERR_INVALID, "a reserved GPU is not a UUID");
        if (h->n_gpus == JOURNAL_GPUS_MAX)
            return error_set(e, ERR_INVALID, "more than %d GPUs", JOURNAL_GPUS_MAX);
        snprintf(h->gpus[h->n_gpus++], sizeof(h->gpus[0]), "%s", json_string_value(v));
    }
    return 0;
}

static void
parse_agent(const json_t *job, struct job_view *v)
{
    const json_t *since = path_get(job, "status.agent.since");
    copy(job, "status.agent.claim.journalID", v->claim_journal, sizeof(v->claim_journal));
    copy(job, "status.agent.state", v->agent_state, sizeof(v->agent_state));
    v->agent_terminal = job_state_terminal(v->agent_state);
    v->agent_freed = json_is_true(path_get(job, "status.agent.released"));
    v->idle_told = json_is_object(path_get(job, "status.agent.idleGPU"));
    if (!json_is_string(since) ||
        !clock_parse(json_string_value(since), json_string_length(since),
                     &v->agent_since_ns))
        v->agent_since_ns = 0;
}

/* Out of range: no rule. */
static void
parse_idle(const json_t *job, struct idle_rule *r)
{
    int64_t min = integer(job, "spec.utilizationPolicy.minGpuUtilization", -1);
    int64_t seconds = integer(job, "spec.utilizationPolicy.timeWindowSeconds", 0);

    if (min < 0 || min > 100 || seconds < 1 || seconds > INT64_MAX / 1000000)
        return;
    r->min_busy = (int)min;
    r->window_ms = seconds * 1000;
}

int
job_view_parse(const json_t *job, struct job_view *ret, struct error *e)
{
    struct job_view v = {0};
    char text[64];

    copy(job, "metadata.resourceVersion", text, sizeof(text));
    v.revision = strtoull(text, NULL, 10);
    copy(job, "metadata.uid", v.uid, sizeof(v.uid));
    copy(job, "metadata.namespace", v.ns, sizeof(v.ns));
    copy(job, "metadata.name", v.name, sizeof(v.name));
    copy(job, "spec.runName", v.run, sizeof(v.run));
    copy(job, "spec.engine", v.engine, sizeof(v.engine));
    copy(job, "spec.instanceUID", v.instance_uid, sizeof(v.instance_uid));
    copy(job, "spec.stopReason", v.stop_reason, sizeof(v.stop_reason));
    if (!id_is_uuid(v.uid, strlen(v.uid)) || v.name[0] == '\0' ||
        v.instance_uid[0] == '\0')
        return error_set(e, ERR_INVALID, "not a Job bound to an instance");
    parse_agent(job, &v);
    v.deleting = path_get(job, "metadata.deletionTimestamp") != NULL ||
                 (phase_final(job) && !v.agent_terminal);
    v.released = json_is_true(path_get(job, "spec.released"));
    copy(job, "spec.desiredState", text, sizeof(text));
    v.desired = streq(text, "Stopped")   ? JOB_STOP
                : streq(text, "Aborted") ? JOB_ABORT
                                         : JOB_RUN;
    v.stop_seconds = integer(job, "spec.stopDurationSeconds", 300);
    v.log_quota = integer(job, "spec.logQuotaBytes", 0);
    v.interruptible = json_is_true(path_get(job, "spec.interruptible"));
    parse_idle(job, &v.idle);
    int r = parse_hold(job, &v.hold, e);
    if (r < 0)
        return r;
    *ret = v;
    return 0;
}

/* --- what it is given ----------------------------------------------------------------
 */

static char *
dup_string(const json_t *job, const char *path)
{
    const char *s = json_string_value(path_get(job, path));
    return s != NULL && *s != '\0' ? xstrdup(s) : NULL;
}

/* The upper end of a range is the limit; an open end is none. */
static int
limits(const json_t *job, struct job_run *r, struct error *e)
{
    auto_violations bad = {0};
    struct resource_req req;
    const json_t *resources = path_get(job, "spec.resources");
    int rc = resources_parse(resources, "spec.resources", &req, &bad, e);
    if (rc < 0)
        return rc;
    if (req.cpu.max > 0 && req.cpu.max < 1000000)
        r->cpu_limit_milli = req.cpu.max * 1000;
    if (req.memory_mib.max > 0 && req.memory_mib.max < INT64_MAX / (1024 * 1024))
        r->memory_limit_mib = req.memory_mib.max;
    if (req.disk_mib.max > 0 && req.disk_mib.max < INT64_MAX / (1024 * 1024))
        r->disk_limit_mib = req.disk_mib.max;
    r->shm_mib = req.shm_mib;
    /* A part of a divided machine is no more than that part. */
    if (integer(job, "spec.reservation.blocks", 0) > 0) {
        if (r->cpu_limit_milli == 0)
            r->cpu_limit_milli = integer(job, "spec.reservation.cpuMilli", 0);
        if (r->memory_limit_mib == 0)
            r->memory_limit_mib = integer(job, "spec.reservation.memoryMiB", 0);
    }
    return 0;
}

static char **
build_argv(const json_t *job)
{
    const json_t *a = path_get(job, "spec.argv");
    char **argv = xcalloc(json_array_size(a) + 1, sizeof(char *));
    size_t i;
    const json_t *v;
    json_array_foreach (a, i, v) {
        const char *s = json_string_value(v);
        argv[i] = xstrdup(s != NULL ? s : "");
    }
    return argv;
}

static char **
build_env(const json_t *job, const char *const *secrets, size_t *ret_n)
{
    json_t *env = json_object_get(json_object_get(job, "spec"), "env");
    size_t n = 0;
    size_t max = json_object_size(env) + 2 + JOB_NODES_ENV_MAX;
    const char *uid = json_string_value(path_get(job, "metadata.uid"));
    const char *key;
    json_t *value;

    for (size_t i = 0; secrets != NULL && secrets[i] != NULL; i++)
        max++;
    char **list = xcalloc(max + 1, sizeof(char *));
    list[n++] = xasprintf("DROVER_JOB_ID=%s", uid != NULL ? uid : "");
    job_nodes_env(job, list, &n);
    for (size_t i = 0; secrets != NULL && secrets[i] != NULL; i++)
        list[n++] = xstrdup(secrets[i]);
    json_object_foreach (env, key, value)
        list[n++] = xasprintf("%s=%s", key,
                              json_is_string(value) ? json_string_value(value) : "");
    *ret_n = n;
    return list;
}

static bool
has_variable(const struct job_run *r, const char *name)
{
    size_t n = strlen(name);

    for (size_t i = 0; i < r->n_env; i++)
        if (strncmp(r->env[i], name, n) == 0 && r->env[i][n] == '=')
            return true;
    return false;
}

void
job_run_add_env(struct job_run *r, const json_t *env)
{
    const char *key;
    json_t *value;

    r->env = xreallocarray(r->env, r->n_env + json_object_size(env) + 1, sizeof(char *));
    json_object_foreach ((json_t *)(uintptr_t)env, key, value) {
        if (has_variable(r, key))
            continue;
        if (json_is_integer(value))
            r->env[r->n_env++] =
                xasprintf("%s=%lld", key, (long long)json_integer_value(value));
        else if (json_is_string(value))
            r->env[r->n_env++] = xasprintf("%s=%s", key, json_string_value(value));
    }
    r->env[r->n_env] = NULL;
}

static void
read_terminal(const json_t *job, struct job_run *r)
{
    if (!json_is_true(path_get(job, "spec.tty")))
        return;
    int64_t columns = integer(job, "spec.ttySize.columns", TTY_COLUMNS);
    int64_t rows = integer(job, "spec.ttySize.rows", TTY_ROWS);
    r->tty_columns =
        columns > 0 && columns <= UINT16_MAX ? (uint16_t)columns : TTY_COLUMNS;
    r->tty_rows = rows > 0 && rows <= UINT16_MAX ? (uint16_t)rows : TTY_ROWS;
}

int
job_run_build(const json_t *job, const char *const *secrets, struct job_run *ret,
              struct error *e)
{
    struct job_run r = {0};
    int rc = limits(job, &r, e);
    if (rc < 0)
        return rc;
    r.image = dup_string(job, "spec.image");
    r.working_dir = dup_string(job, "spec.workingDir");
    r.user = dup_string(job, "spec.user");
    r.rootfs = path_get(job, "spec.rootfs") != NULL;
    r.rootfs_kept = r.rootfs && path_get(job, "spec.rootfs.path") == NULL;
    r.argv = build_argv(job);
    if (job_nodes_wrapped(job))
        r.argv = job_nodes_wrap(r.argv);
    job_container_read(job, &r);
    read_terminal(job, &r);
    r.env = build_env(job, secrets, &r.n_env);
    *ret = r;
    return 0;
}

void
job_env_free(char **list)
{
    for (char **p = list; p != NULL && *p != NULL; p++) {
        sodium_memzero(*p, strlen(*p));
        free(*p);
    }
    free(list);
}

void
job_run_done(struct job_run *r)
{
    free(r->image);
    free(r->working_dir);
    free(r->user);
    for (char **p = r->argv; p != NULL && *p != NULL; p++)
        free(*p);
    free(r->argv);
    job_env_free(r->env);
    job_container_done(r);
    *r = (struct job_run){0};
}

/* --- secrets -------------------------------------------------------------------------
 */

size_t
job_each_secret(const json_t *job,
                void (*fn)(void *arg, const struct job_secret_ref *ref), void *arg)
{
    size_t i;
    size_t n = 0;
    const json_t *item;
    json_array_foreach (path_get(job, "spec.envFrom"), i, item) {
        const json_t *ref = json_object_get(item, "secretRef");
        struct job_secret_ref found = {
            .name = json_string_value(json_object_get(ref, "name")),
            .key = json_string_value(json_object_get(ref, "key")),
            .variable = json_string_value(json_object_get(item, "name")),
            .optional = json_is_true(json_object_get(ref, "optional")),
        };
        if (found.name == NULL)
            continue;
        n++;
        if (fn != NULL)
            fn(arg, &found);
    }
    return n;
}

static bool
is_env_name(const char *s)
{
    if (*s == '\0' || isdigit((unsigned char)*s))
        return false;
    for (; *s != '\0'; s++) {
        if (!isalnum((unsigned char)*s) && strchr("_.-", *s) == NULL)
            return false;
    }
    return true;
}

static int
add_secret(const char *key, const json_t *value, char ***list, size_t *n, struct error *e)
{
    auto_str bytes = STR_INIT(ENV_VALUE_MAX);
    if (!is_env_name(key))
        return error_set(e, ERR_INVALID, "key \"%.100s\" is not a variable's name", key);
    if (*n >= ENV_MAX)
        return error_set(e, ERR_INVALID, "more than %d variables", ENV_MAX);
    if (!json_is_string(value))
        return error_set(e, ERR_INVALID, "the value of \"%.100s\" is not text", key);
    int r = id_base64_decode(json_string_value(value), json_string_length(value), false,
                             &bytes, e);
    if (r < 0)
        return error_prepend(e, "value of \"%.100s\"", key);
    json_t *text = json_stringn(bytes.ptr, bytes.len);
    bool good = text != NULL && memchr(bytes.ptr, '\0', bytes.len) == NULL;
    json_decref(text);
    if (good) {
        *list = xreallocarray(*list, *n + 2, sizeof(char *));
        (*list)[(*n)++] = xasprintf("%s=%s", key, bytes.ptr);
        (*list)[*n] = NULL;
    }
    sodium_memzero(bytes.ptr, bytes.len);
    return good ? 0
                : error_set(e, ERR_INVALID,
                            "the value of \"%.100s\" is binary: no variable can hold it",
                            key);
}

int
job_secret_env(const json_t *secret, const struct job_secret_ref *ref, char ***list,
               size_t *n, struct error *e)
{
    json_t *data = json_object_get(secret, "data");
    const char *key;
    json_t *value;
    int r = 0;
    if (ref->key != NULL) {
        const json_t *one = json_object_get(data, ref->key);
        if (one == NULL)
            return ref->optional ? 0
                                 : error_set(e, ERR_INVALID, "there is no key \"%.100s\"",
                                             ref->key);
        return add_secret(ref->variable != NULL ? ref->variable : ref->key, one, list, n,
                          e);
    }
    json_object_foreach (data, key, value) {
        r = add_secret(key, value, list, n, e);
        if (r < 0)
            break;
    }
    return r;
}
