/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Container configuration. The host's network (measured fastest, and what jobs expect),
 * an init as pid 1 (a shell as pid 1 ignores SIGTERM), no restart, the daemon's default
 * capabilities with no way to gain more, log driver `local` because json-file mangles
 * bytes. Labels name the agent and the job and never carry anything of its environment.
 */
#include "runner/engines/docker/docker_spec.h"

#include <signal.h>

#include "base/clock.h"

#define MIB (INT64_C(1024) * 1024)
#define PIDS_LIMIT 16384

static json_t *
string_array(const char *const *items)
{
    json_t *a = json_array();
    for (; items != NULL && *items != NULL; items++) {
        /* json_string refuses what is not UTF-8, which no field of a job can hold. */
        json_array_append_new(a, json_string(*items));
    }
    return a;
}

static json_t *
log_config(const struct docker_spec_env *env)
{
    if (env->podman)
        return json_pack("{s:s}", "Type", "k8s-file");
    return json_pack("{s:s, s:{s:s, s:s, s:s}}", "Type", "local", "Config", "max-size",
                     "64m", "max-file", "8", "compress", "false");
}

/* No limits for a job that has the machine for itself. */
static void
add_limits(json_t *h, const struct engine_job *j)
{
    if (j->whole_instance)
        return;
    if (j->memory_limit_mib > 0) {
        /* Without MemorySwap the daemon would allow as much swap again. */
        json_object_set_new(h, "Memory", json_integer(j->memory_limit_mib * MIB));
        json_object_set_new(h, "MemorySwap", json_integer(j->memory_limit_mib * MIB));
    }
    if (j->cpu_limit_milli > 0)
        json_object_set_new(h, "NanoCpus", json_integer(j->cpu_limit_milli * 1000000));
    if (j->cpu_request_milli > 0) {
        int64_t shares = j->cpu_request_milli * 1024 / 1000;
        shares = shares < 2 ? 2 : shares > 262144 ? 262144 : shares;
        json_object_set_new(h, "CpuShares", json_integer(shares));
    }
}

/* Sized shared memory is a tmpfs of its own, from which code may be run (the daemon's own
 * of 64 MiB forbids it). */
static void
add_shm(json_t *h, const struct engine_job *j)
{
    char text[64];
    if (j->shm_mib <= 0)
        return;
    snprintf(text, sizeof(text), "rw,nosuid,nodev,exec,mode=1777,size=%lld",
             (long long)(j->shm_mib * MIB));
    json_object_set_new(h, "Tmpfs", json_pack("{s:s}", "/dev/shm", text));
}

static void
add_mounts(json_t *h, const struct engine_job *j)
{
    for (size_t i = 0; i < j->n_mounts; i++) {
        const struct engine_mount *m = &j->mounts[i];
        auto_str source = STR_INIT(4096);
        if (m->source == NULL)
            continue; /* optional, and it cannot be had */
        if (m->volume)
            str_addf(&source, "drover-%s-", j->ns);
        str_adds(&source, m->source);
        docker_append(h, "Mounts",
                      json_pack("{s:s, s:s, s:s, s:b}", "Type",
                                m->volume ? "volume" : "bind", "Source", source.ptr,
                                "Target", m->path, "ReadOnly", (int)m->read_only));
    }
}

static void
add_ulimits(json_t *h, const struct engine_job *j)
{
    for (size_t i = 0; i < j->n_ulimits; i++) {
        const struct engine_ulimit *u = &j->ulimits[i];
        docker_append(h, "Ulimits",
                      json_pack("{s:s, s:I, s:I}", "Name", u->name, "Soft",
                                (json_int_t)u->soft, "Hard", (json_int_t)u->hard));
    }
}

/* On 127.0.0.1 only, at a port of the daemon's choice. */
static void
add_ports(json_t *config, json_t *h, const struct engine_job *j)
{
    json_t *exposed = json_object();
    json_t *bindings = json_object();
    for (size_t i = 0; j->bridge && i < j->n_ports; i++) {
        char key[16];
        snprintf(key, sizeof(key), "%u/tcp", j->ports[i].container);
        json_object_set_new(exposed, key, json_object());
        json_object_set_new(
            bindings, key,
            json_pack("[{s:s, s:s}]", "HostIp", "127.0.0.1", "HostPort", ""));
    }
    if (json_object_size(exposed) > 0) {
        json_object_set(config, "ExposedPorts", exposed);
        json_object_set(h, "PortBindings", bindings);
    }
    json_decref(exposed);
    json_decref(bindings);
}

static json_t *
host_config(const struct engine_job *j, const struct docker_spec_env *env)
{
    json_t *h =
        json_pack("{s:s, s:b, s:{s:s}, s:o, s:i}", "NetworkMode",
                  j->bridge ? "bridge" : "host", "Init", 1, "RestartPolicy", "Name", "no",
                  "LogConfig", log_config(env), "PidsLimit", PIDS_LIMIT);
    if (j->privileged)
        json_object_set_new(h, "Privileged", json_true());
    else
        docker_append(h, "SecurityOpt", json_string("no-new-privileges"));
    add_limits(h, j);
    add_shm(h, j);
    if (j->binds != NULL)
        json_object_set_new(h, "Binds", string_array(j->binds));
    add_mounts(h, j);
    add_ulimits(h, j);
    if (j->tty_columns >
        0) /* from API 1.42 on; before, the size is set after the start */
        json_object_set_new(h, "ConsoleSize",
                            json_pack("[i,i]", j->tty_rows, j->tty_columns));
    return h;
}

static bool
env_has(const json_t *list, const char *assignment)
{
    size_t name = strcspn(assignment, "=") + 1;
    size_t i;
    const json_t *v;
    json_array_foreach (list, i, v) {
        if (strncmp(json_string_value(v), assignment, name) == 0)
            return true;
    }
    return false;
}

/* What the machine needs to get out, unless the job says otherwise. */
static void
add_proxies(json_t *config, const struct docker_spec_env *env)
{
    json_t *list = json_object_get(config, "Env");
    for (const char *const *p = env->proxies; p != NULL && *p != NULL; p++) {
        if (!env_has(list, *p))
            json_array_append_new(list, json_string(*p));
    }
}

json_t *
docker_spec_create(const struct engine_job *j, const struct docker_spec_env *env)
{
    json_t *h = host_config(j, env);
    json_t *c = json_pack("{s:s, s:b, s:b, s:o, s:{s:[s]}, s:{s:s, s:s, s:s}, s:o}",
                          "Image", j->image, "Tty", (int)(j->tty_columns > 0),
                          "OpenStdin", 0, "Env", string_array(j->env), "Healthcheck",
                          "Test", "NONE", "Labels", DOCKER_LABEL_AGENT, env->agent_id,
                          DOCKER_LABEL_JOB, j->uid, DOCKER_LABEL_RUN,
                          j->run_name != NULL ? j->run_name : "", "HostConfig", h);
    add_ports(c, h, j);
    add_proxies(c, env);
    docker_accel_apply(c, j, env);
    if (j->argv != NULL && j->argv[0] != NULL) {
        /* An entrypoint of its own also keeps the image's Cmd out. */
        json_object_set_new(c, "Entrypoint", json_pack("[s]", j->argv[0]));
        json_object_set_new(c, "Cmd", string_array(j->argv + 1));
    }
    if (j->user != NULL && *j->user != '\0')
        json_object_set_new(c, "User", json_string(j->user));
    if (j->working_dir != NULL && *j->working_dir != '\0')
        json_object_set_new(c, "WorkingDir", json_string(j->working_dir));
    return c;
}

static void
copy_string(const json_t *object, const char *key, char *out, size_t size)
{
    const char *s = json_string_value(json_object_get(object, key));
    snprintf(out, size, "%s", s != NULL ? s : "");
}

static int64_t
parse_time(const json_t *state, const char *key)
{
    const json_t *v = json_object_get(state, key);
    int64_t ns;
    if (!json_is_string(v) ||
        !clock_parse(json_string_value(v), json_string_length(v), &ns))
        return 0;
    return ns > 0 ? ns : 0; /* "0001-01-01T00:00:00Z" */
}

/* "8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "49153"}] */
static void
parse_ports(const json_t *inspect, struct engine_facts *f)
{
    json_t *ports = json_object_get(json_object_get(inspect, "NetworkSettings"), "Ports");
    const char *key;
    json_t *bindings;
    json_object_foreach (ports, key, bindings) {
        size_t i;
        const json_t *b;
        json_array_foreach (bindings, i, b) {
            const char *ip = json_string_value(json_object_get(b, "HostIp"));
            const char *host = json_string_value(json_object_get(b, "HostPort"));
            unsigned long container = strtoul(key, NULL, 10);
            unsigned long port = host != NULL ? strtoul(host, NULL, 10) : 0;
            bool v4 = ip == NULL || strchr(ip, ':') == NULL;
            if (str_ends(key, "/tcp") && v4 && container - 1 < 65535 &&
                port - 1 < 65535 && f->n_ports < ENGINE_PORTS_MAX)
                f->ports[f->n_ports++] =
                    (struct engine_port){(uint16_t)container, (uint16_t)port};
        }
    }
}

int
docker_facts_parse(const json_t *inspect, struct docker_facts *ret, struct error *e)
{
    const json_t *state = json_object_get(inspect, "State");
    if (!json_is_object(state))
        return error_set(e, ERR_PROVIDER, "the daemon's inspect reply has no State");
    struct docker_facts f = {0};
    const json_t *labels = json_object_get(json_object_get(inspect, "Config"), "Labels");
    copy_string(labels, DOCKER_LABEL_JOB, f.job_uid, sizeof(f.job_uid));
    copy_string(labels, DOCKER_LABEL_AGENT, f.agent, sizeof(f.agent));
    copy_string(state, "Status", f.status, sizeof(f.status));
    copy_string(state, "Error", f.error, sizeof(f.error));
    f.running = json_is_true(json_object_get(state, "Running"));
    f.oom = json_is_true(json_object_get(state, "OOMKilled"));
    f.exit_code = (int)json_integer_value(json_object_get(state, "ExitCode"));
    f.pid = (int64_t)json_integer_value(json_object_get(state, "Pid"));
    const json_t *config = json_object_get(inspect, "Config");
    copy_string(inspect, "Id", f.id, sizeof(f.id));
    copy_string(config, "User", f.job.user, sizeof(f.job.user));
    copy_string(config, "WorkingDir", f.job.working_dir, sizeof(f.job.working_dir));
    f.job.pid = f.pid;
    parse_ports(inspect, &f.job);
    f.started_ns = parse_time(state, "StartedAt");
    f.finished_ns = parse_time(state, "FinishedAt");
    f.started = f.running || f.started_ns > 0;
    *ret = f;
    return 0;
}

/* A signal that killed the process, by the shells' and docker-init's convention. */
static int
signal_of(int exit_code)
{
    int sig = exit_code - 128;
    return sig >= 1 && sig < SIGRTMIN ? sig : 0;
}

void
docker_facts_result(const struct docker_facts *f, int64_t boot_wall_ns,
                    struct engine_result *ret)
{
    struct engine_result r = {.exit_code = -1,
                              .started = f->started,
                              .started_ns = f->started_ns,
                              .finished_ns = f->finished_ns};
    if (!f->started) {
        r.reason = ENGINE_START_FAILED;
        snprintf(r.message, sizeof(r.message), "%s",
                 f->error[0] != '\0' ? f->error : "the container was never started");
        *ret = r;
        return;
    }
    if (f->started_ns < boot_wall_ns &&
        (f->finished_ns == 0 || f->finished_ns >= boot_wall_ns)) {
        /* The daemon noticed the end only after the machine was up again. */
        r.reason = ENGINE_REBOOTED;
        snprintf(r.message, sizeof(r.message), "the machine was restarted");
        *ret = r;
        return;
    }
    /* The daemon takes both times by itself, and of a very short job in either order. */
    if (r.finished_ns < r.started_ns)
        r.finished_ns = r.started_ns;
    r.exit_code = f->exit_code;
    r.signal = signal_of(f->exit_code);
    r.reason = r.signal != 0 ? ENGINE_SIGNALED : ENGINE_EXITED;
    /* A child killed by the limit while the job itself ended well is not a failure. */
    if (f->oom && f->exit_code != 0) {
        r.reason = ENGINE_OOM;
        if (r.signal == 0)
            r.signal = SIGKILL;
        snprintf(r.message, sizeof(r.message), "killed by the memory limit");
    }
    if (f->error[0] != '\0')
        snprintf(r.message, sizeof(r.message), "%s", f->error);
    *ret = r;
}
