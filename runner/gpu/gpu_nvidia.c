/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVIDIA by nvidia-smi, in the machine or in WSL2. The library under it (NVML) could be
 * loaded instead; a child process is bounded in time and cannot hang or crash the agent.
 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "runner/gpu/gpu_internal.h"

#define WSL_TOOL "/usr/lib/wsl/lib/nvidia-smi"

enum { TOOL_OUTPUT_MAX = 256 * 1024, FIELDS = 6 };

static bool
in_wsl(const struct gpu_config *c)
{
    return gpu_exists(c, "/dev/dxg") && gpu_exists(c, WSL_TOOL);
}

static bool
present(const struct gpu_config *c)
{
    return gpu_exists(c, "/dev/nvidiactl") || in_wsl(c);
}

static int
query(const struct gpu_config *c, const char *fields, struct str *out, struct error *e)
{
    autofree char *arg = xasprintf("--query-gpu=%s", fields);
    const char *tool = c->nvidia_smi != NULL ? c->nvidia_smi
                       : in_wsl(c)           ? WSL_TOOL
                                             : "nvidia-smi";
    const char *argv[] = {tool, arg, "--format=csv,noheader,nounits", NULL};

    return gpu_tool(argv, out, e);
}

/* "00000000:3B:00.0" as nvidia-smi writes it, "0000:3b:00.0" as the kernel does. */
static void
add_paths(const struct gpu_config *c, struct gpu_device *d, const char *bus)
{
    char path[128];
    char line[64];
    char lower[32];
    size_t n = strlen(bus);

    if (in_wsl(c)) {
        gpu_add_path(d, "/dev/dxg");
        return;
    }
    snprintf(lower, sizeof(lower), "%s", n > 12 ? bus + n - 12 : bus);
    for (char *p = lower; *p != '\0'; p++)
        *p = *p >= 'A' && *p <= 'Z' ? (char)(*p - 'A' + 'a') : *p;
    snprintf(path, sizeof(path), "/proc/driver/nvidia/gpus/%s/information", lower);
    gpu_read_field(c, path, "Device Minor:", line, sizeof(line));
    unsigned minor = d->index;
    if (line[0] != '\0')
        minor = (unsigned)strtoul(line, NULL, 10);
    gpu_add_node(d, "/dev/nvidia", minor);
    gpu_add_path(d, "/dev/nvidiactl");
    if (gpu_exists(c, "/dev/nvidia-uvm"))
        gpu_add_path(d, "/dev/nvidia-uvm");
    if (gpu_exists(c, "/dev/nvidia-uvm-tools"))
        gpu_add_path(d, "/dev/nvidia-uvm-tools");
    if (gpu_exists(c, "/dev/nvidia-modeset"))
        gpu_add_path(d, "/dev/nvidia-modeset");
}

/* name, memory, uuid, driver, bus id[, compute capability] */
static int
take_line(const struct gpu_config *c, struct gpu_list *l, const char *line, size_t n,
          struct error *e)
{
    char field[FIELDS][96] = {{0}};
    size_t count = 0;

    while (count < FIELDS) {
        const char *comma = memchr(line, ',', n);
        size_t len = comma == NULL ? n : (size_t)(comma - line);
        gpu_text(field[count], sizeof(field[0]), line, len);
        count++;
        if (comma == NULL)
            break;
        line += len + 1;
        n -= len + 1;
    }
    if (count < FIELDS - 1 || field[2][0] == '\0')
        return error_set(e, ERR_PROVIDER, "nvidia-smi: a line that is not of a GPU");
    struct gpu_device *d = gpu_add(l, "nvidia");
    if (d == NULL)
        return 0;
    snprintf(d->name, sizeof(d->name), "%s", field[0]);
    d->memory_mib = strtoll(field[1], NULL, 10); /* 0 when it is not a number */
    snprintf(d->uuid, sizeof(d->uuid), "%.79s", field[2]);
    snprintf(d->driver_version, sizeof(d->driver_version), "%.31s", field[3]);
    snprintf(d->compute_capability, sizeof(d->compute_capability), "%.15s", field[5]);
    add_paths(c, d, field[4]);
    return 0;
}

static int
probe(const struct gpu_config *c, struct gpu_list *l, struct error *e)
{
    static const char base[] = "name,memory.total,uuid,driver_version,pci.bus_id";
    auto_str out = STR_INIT(TOOL_OUTPUT_MAX);
    struct error ignored = ERROR_INIT;
    autofree char *with_cap = xasprintf("%s,compute_cap", base);

    /* Drivers before 470 do not know the last field. */
    int rc = query(c, with_cap, &out, &ignored);
    if (rc != 0 && rc != -ERR_TIMEOUT) {
        str_reset(&out);
        rc = query(c, base, &out, e);
    } else if (rc != 0) {
        *e = ignored;
    }
    for (const char *p = out.ptr; rc == 0 && *p != '\0';) {
        size_t n = strcspn(p, "\n");
        if (n > 0)
            rc = take_line(c, l, p, n, e);
        p += n + (p[n] == '\n');
    }
    return rc;
}

/* Divided GPUs (MIG) answer "[N/A]": that is not told. */
static int
load(const struct gpu_config *c, struct gpu_loads *l, struct error *e)
{
    auto_str out = STR_INIT(TOOL_OUTPUT_MAX);
    int rc = query(c, "uuid,utilization.gpu,memory.used", &out, e);

    if (rc == 0 && gpu_loads_parse(out.ptr, l) == 0)
        rc = error_set(e, ERR_PROVIDER, "nvidia-smi: no line of a GPU");
    return rc;
}

const struct gpu_ops gpu_nvidia = {
    .vendor = "nvidia", .present = present, .probe = probe, .load = load};
