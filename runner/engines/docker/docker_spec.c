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
devices(const struct engine_job *j)
{
    json_t *a = json_array();
    for (size_t i = 0; i < j->n_devices; i++) {
        const struct engine_device *d = &j->devices[i];
        if (streq(d->vendor, "nvidia"))
            continue;
        for (const char *const *p = d->paths; p != NULL && *p != NULL; p++) {
            json_array_append_new(a, json_pack("{s:s, s:s, s:s}", "PathOnHost", *p,
                                               "PathInContainer", *p, "CgroupPermissions",
                                               "rwm"));
        }
    }
    return a;
}

/* "display" is left out on purpose: it needs a kernel module that servers lack. */
static json_t *
device_requests(const struct engine_job *j)
{
    json_t *uuids = json_array();
    for (size_t i = 0; i < j->n_devices; i++) {
        if (streq(j->devices[i].vendor, "nvidia"))
            json_array_append_new(uuids, json_string(j->devices[i].uuid));
    }
    if (json_array_size(uuids) == 0) {
        json_decref(uuids);
        return json_array();
    }
    return json_pack("[{s:s, s:i, s:o, s:[[s,s,s,s,s,s]]}]", "Driver", "", "Count", 0,
                     "DeviceIDs", uuids, "Capabilities", "gpu", "utility", "compute",
                     "graphics", "video", "compat32");
}

static bool
wants_nvidia(const struct engine_job *j)
{
    for (size_t i = 0; i < j->n_devices; i++) {
        if (streq(j->devices[i].vendor, "nvidia"))
            return true;
    }
    return false;
}

static json_t *
log_config(const struct docker_spec_env *env)
{
    if (env->podman)
        return json_pack("{s:s}", "Type", "k8s-file");
    return json_pack("{s:s, s:{s:s, s:s, s:s}}", "Type", "local", "Config", "max-size",
                     "64m", "max-file", "8", "compress", "false");
}

static json_t *
host_config(const struct engine_job *j, const struct docker_spec_env *env)
{
    json_t *h =
        json_pack("{s:s, s:b, s:{s:s}, s:o, s:[s], s:i, s:o, s:o}", "NetworkMode", "host",
                  "Init", 1, "RestartPolicy", "Name", "no", "LogConfig", log_config(env),
                  "SecurityOpt", "no-new-privileges", "PidsLimit", PIDS_LIMIT, "Devices",
                  devices(j), "DeviceRequests", device_requests(j));
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
    if (j->binds != NULL)
        json_object_set_new(h, "Binds", string_array(j->binds));
    if (j->shm_mib > 0)
        json_object_set_new(h, "ShmSize", json_integer(j->shm_mib * MIB));
    return h;
}

json_t *
docker_spec_create(const struct engine_job *j, const struct docker_spec_env *env)
{
    json_t *c = json_pack("{s:s, s:b, s:b, s:o, s:{s:[s]}, s:{s:s, s:s, s:s}, s:o}",
                          "Image", j->image, "Tty", 0, "OpenStdin", 0, "Env",
                          string_array(j->env), "Healthcheck", "Test", "NONE", "Labels",
                          DOCKER_LABEL_AGENT, env->agent_id, DOCKER_LABEL_JOB, j->uid,
                          DOCKER_LABEL_RUN, j->run_name != NULL ? j->run_name : "",
                          "HostConfig", host_config(j, env));
    if (env->nvidia && !wants_nvidia(j)) {
        /* An image may ask for all GPUs by itself; this job was given none. */
        json_array_append_new(json_object_get(c, "Env"),
                              json_string("NVIDIA_VISIBLE_DEVICES=void"));
    }
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
