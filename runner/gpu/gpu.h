/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which accelerators this machine has. One table per vendor (gpu.c lists them) plus a
 * fake one driven by a file, which replaces all others and lets every layer above be
 * tested without hardware.
 *
 * Probing runs tools and reads sysfs; it blocks for at most GPU_TOOL_MS per tool, so the
 * agent calls it from a pool thread. A machine whose tool is missing or fails has no
 * usable GPUs of that vendor: that is not an error, the note says why.
 *
 * Fake file (YAML or JSON):
 *   delay_ms: 0                  how long a probe takes
 *   fail: "driver not loaded"    probes fail with this note, no GPU is listed
 *   gpus:                        or the whole document is this list
 *   - {uuid: GPU-0, vendor: nvidia, name: H100, memoryMiB: 81920, healthy: true,
 *      computeCapability: "9.0", driverVersion: "550", devicePaths: [/dev/null],
 *      utilization: 40, memoryUsedMiB: 1024}     absent: not told
 *
 * How busy they are is sampled apart from that (gpu_sample): NVIDIA and Gaudi by their
 * tools, AMD by sysfs; the drivers of Tenstorrent and Google do not tell it.
 */
#ifndef GPU_GPU_H
#define GPU_GPU_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#define GPU_MAX 64
#define GPU_PATHS 8
#define GPU_TOOL_MS 20000

struct gpu_device {
    char uuid[80]; /* stable on this machine; what reservations name */
    unsigned index;
    char vendor[16]; /* "nvidia", "amd", "intel", "tenstorrent" */
    char name[96];
    char driver_version[32];
    char compute_capability[16]; /* "" when there is no such thing */
    int64_t memory_mib;          /* 0: unknown */
    bool healthy;
    char paths[GPU_PATHS][64]; /* device nodes that a job needs for it */
    size_t n_paths;
};

struct gpu_list { /* plain data */
    struct gpu_device items[GPU_MAX];
    size_t len;
    char note[240]; /* why something that seems to be there is not listed */
};

struct gpu_config {
    const char *fake_file; /* NULL: the real machine */
    const char *root;      /* prefix of /sys, /dev and /proc for tests; NULL: "" */
    const char *nvidia_smi, *hl_smi; /* NULL: found in PATH */
};

struct gpu_load {
    char uuid[80];
    int busy;           /* percent of the last moments; -1: not told */
    int64_t memory_mib; /* in use; -1: not told */
};

struct gpu_loads { /* plain data */
    struct gpu_load items[GPU_MAX];
    size_t len;
    char note[240]; /* why figures are missing */
};

struct gpu_ops {
    const char *vendor;
    /* True when the machine seems to have such a device at all (cheap). */
    bool (*present)(const struct gpu_config *c);
    /* Appends to the list. */
    int (*probe)(const struct gpu_config *c, struct gpu_list *l, struct error *e);
    /* Appends to the list. NULL: the driver has no such figures. */
    int (*load)(const struct gpu_config *c, struct gpu_loads *l, struct error *e);
};
extern const struct gpu_ops gpu_nvidia, gpu_amd, gpu_intel, gpu_tenstorrent, gpu_google;

/* Fails only for a fake file that cannot be read. Thread-safe. */
int gpu_probe(const struct gpu_config *c, struct gpu_list *ret,
              struct error *e) WARN_UNUSED;
/* How busy they are now; a GPU without figures may be absent. Blocks like gpu_probe and
 * fails like it. Thread-safe. */
int gpu_sample(const struct gpu_config *c, struct gpu_loads *ret,
               struct error *e) WARN_UNUSED;
/* NULL when absent. */
const struct gpu_load *gpu_load_find(const struct gpu_loads *l, const char *uuid);
/* The items of Instance.status.agent.inventory.gpus. */
json_t *gpu_list_json(const struct gpu_list *l);
/* NULL when absent. */
const struct gpu_device *gpu_find(const struct gpu_list *l, const char *uuid);

#endif
