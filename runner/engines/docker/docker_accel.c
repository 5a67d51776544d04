/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What accelerators add to a create request, by vendor, and the machine's RDMA fabric:
 *
 *   nvidia       a device request by UUIDs; no runtime is named
 *   amd          device nodes; host IPC, ptrace and no seccomp, which ROCm's tools need
 *   intel        Gaudi: the habana runtime, devices by number in its variable, host IPC
 *   tenstorrent  device nodes; 1 GiB pages when the machine has them
 *   google       TPU: device nodes, PJRT_DEVICE, locked memory
 *
 * The groups that own the device nodes are added, so that a user other than root can open
 * them. Any other vendor (a pretended device) gets its nodes and nothing else.
 */
#include <jansson.h>

#include "base/mem.h"
#include "runner/engines/docker/docker_spec.h"

void
docker_append(json_t *o, const char *key, json_t *item)
{
    json_t *a = json_object_get(o, key);
    if (a == NULL) {
        a = json_array();
        json_object_set_new(o, key, a);
    }
    json_array_append_new(a, item);
}

bool
docker_accel_has(const struct engine_job *j, const char *vendor)
{
    for (size_t i = 0; i < j->n_devices; i++) {
        if (streq(j->devices[i].vendor, vendor))
            return true;
    }
    return false;
}

static void
add_device(json_t *h, const char *path)
{
    size_t i;
    const json_t *d;
    json_array_foreach (json_object_get(h, "Devices"), i, d) {
        if (streq(json_string_value(json_object_get(d, "PathOnHost")), path))
            return; /* /dev/kfd of a second GPU */
    }
    docker_append(h, "Devices",
                  json_pack("{s:s, s:s, s:s}", "PathOnHost", path, "PathInContainer",
                            path, "CgroupPermissions", "rwm"));
}

static void
add_nodes(json_t *h, const struct engine_job *j)
{
    for (size_t i = 0; i < j->n_devices; i++) {
        const struct engine_device *d = &j->devices[i];
        if (streq(d->vendor, "nvidia") || streq(d->vendor, "intel"))
            continue;
        for (const char *const *p = d->paths; p != NULL && *p != NULL; p++)
            add_device(h, *p);
    }
}

static void
add_env(json_t *config, const char *text)
{
    docker_append(config, "Env", json_string(text));
}

static void
apply_nvidia(json_t *config, json_t *h, const struct engine_job *j,
             const struct docker_spec_env *env)
{
    json_t *uuids = json_array();
    json_t *caps =
        json_pack("[s,s,s,s,s]", "gpu", "utility", "compute", "graphics", "video");
    UNUSED(config);
    for (size_t i = 0; i < j->n_devices; i++) {
        if (streq(j->devices[i].vendor, "nvidia"))
            json_array_append_new(uuids, json_string(j->devices[i].uuid));
    }
    if (!env->no_display)
        json_array_append_new(caps, json_string("display"));
    json_array_append_new(caps, json_string("compat32"));
    docker_append(h, "DeviceRequests",
                  json_pack("{s:s, s:i, s:o, s:[o]}", "Driver", "", "Count", 0,
                            "DeviceIDs", uuids, "Capabilities", caps));
}

static void
apply_amd(json_t *config, json_t *h, const struct engine_job *j,
          const struct docker_spec_env *env)
{
    UNUSED(config);
    UNUSED(j);
    UNUSED(env);
    json_object_set_new(h, "IpcMode", json_string("host"));
    docker_append(h, "CapAdd", json_string("SYS_PTRACE"));
    docker_append(h, "SecurityOpt", json_string("seccomp=unconfined"));
}

static void
apply_gaudi(json_t *config, json_t *h, const struct engine_job *j,
            const struct docker_spec_env *env)
{
    static const char node[] = "/dev/accel/accel";
    auto_str list = STR_INIT(1024);
    UNUSED(env);
    str_adds(&list, "HABANA_VISIBLE_DEVICES=");
    size_t empty = list.len;
    for (size_t i = 0; i < j->n_devices; i++) {
        const char *const *p = j->devices[i].paths;
        for (; p != NULL && *p != NULL; p++) {
            const char *number = *p + sizeof(node) - 1;
            if (str_starts(*p, node) && *number >= '0' && *number <= '9')
                str_addf(&list, "%s%s", list.len > empty ? "," : "", number);
        }
    }
    json_object_set_new(h, "Runtime", json_string("habana"));
    json_object_set_new(h, "IpcMode", json_string("host"));
    docker_append(h, "CapAdd", json_string("SYS_NICE"));
    add_env(config, list.ptr);
}

static void
apply_tenstorrent(json_t *config, json_t *h, const struct engine_job *j,
                  const struct docker_spec_env *env)
{
    UNUSED(config);
    UNUSED(j);
    if (env->hugepages_1g)
        docker_append(h, "Mounts",
                      json_pack("{s:s, s:s, s:s, s:b}", "Type", "bind", "Source",
                                "/dev/hugepages-1G", "Target", "/dev/hugepages-1G",
                                "ReadOnly", 0));
}

static void
unlimited_memlock(json_t *h, const struct engine_job *j,
                  const struct docker_spec_env *env)
{
    for (size_t i = 0; i < j->n_ulimits; i++) {
        if (streq(j->ulimits[i].name, "memlock"))
            return; /* the job says it itself */
    }
    if (!env->no_memlock)
        docker_append(
            h, "Ulimits",
            json_pack("{s:s, s:i, s:i}", "Name", "memlock", "Soft", -1, "Hard", -1));
}

static void
apply_tpu(json_t *config, json_t *h, const struct engine_job *j,
          const struct docker_spec_env *env)
{
    add_env(config, "PJRT_DEVICE=TPU");
    if (!env->infiniband)
        unlimited_memlock(h, j, env);
}

static const struct {
    const char *vendor;
    void (*apply)(json_t *config, json_t *host_config, const struct engine_job *j,
                  const struct docker_spec_env *env);
} vendors[] = {
    {"nvidia", apply_nvidia},           {"amd", apply_amd},    {"intel", apply_gaudi},
    {"tenstorrent", apply_tenstorrent}, {"google", apply_tpu},
};

void
docker_accel_apply(json_t *config, const struct engine_job *j,
                   const struct docker_spec_env *env)
{
    json_t *h = json_object_get(config, "HostConfig");
    add_nodes(h, j);
    for (size_t i = 0; i < ARRAY_LEN(vendors); i++) {
        if (docker_accel_has(j, vendors[i].vendor))
            vendors[i].apply(config, h, j, env);
    }
    if (env->nvidia && !docker_accel_has(j, "nvidia")) {
        /* An image may ask for all GPUs by itself; this job was given none. */
        add_env(config, "NVIDIA_VISIBLE_DEVICES=void");
    }
    for (size_t i = 0; i < env->n_groups; i++) {
        char gid[16];
        snprintf(gid, sizeof(gid), "%u", env->groups[i]);
        docker_append(h, "GroupAdd", json_string(gid));
    }
    if (env->infiniband) {
        add_device(h, "/dev/infiniband");
        unlimited_memlock(h, j, env);
    }
}

bool
docker_accel_retry(const char *error, const struct engine_job *j,
                   struct docker_spec_env *env)
{
    bool locks = env->infiniband || docker_accel_has(j, "google");
    if (strstr(error, "nvidia-modeset") != NULL && docker_accel_has(j, "nvidia") &&
        !env->no_display) {
        env->no_display = true; /* its kernel module is not loaded */
        return true;
    }
    if (strstr(error, "rlimit") != NULL && locks && !env->no_memlock) {
        env->no_memlock = true; /* the daemon itself may not */
        return true;
    }
    return false;
}
