/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The dstack resource grammar: what a run requires and what an
 * instance has, and whether one covers the other. Pure functions; plain data.
 */
#ifndef API_RESOURCES_H
#define API_RESOURCES_H

#include "api/values.h"
#include "api/violations.h"
#include "base/str.h"

#define GPU_NAMES_MAX 16
enum cpu_arch { CPU_ARCH_ANY, CPU_ARCH_X86, CPU_ARCH_ARM };
enum gpu_vendor {
    GPU_VENDOR_ANY,
    GPU_VENDOR_NVIDIA,
    GPU_VENDOR_AMD,
    GPU_VENDOR_GOOGLE,
    GPU_VENDOR_INTEL,
    GPU_VENDOR_TENSTORRENT,
};

struct gpu_req {
    bool given; /* false: GPU optional, count 0.. */
    enum gpu_vendor vendor;
    char names[GPU_NAMES_MAX][32];
    size_t n_names;
    struct range count, memory_mib, total_memory_mib;
    int compute_major, compute_minor; /* 0: any */
};

struct resource_req {
    struct range cpu;
    enum cpu_arch arch;
    struct range memory_mib;
    struct gpu_req gpu;
    struct range disk_mib; /* {0, MAX}: none asked */
    int64_t shm_mib;       /* 0: engine default */
};

/* Defaults of a native Run without `resources`: cpu 1.., memory 512MB.., no GPU, no disk
 * (a translated dstack file carries dstack's own defaults). path: prefix of violations.
 * Returns ERR_INVALID when violations were added. */
int resources_parse(const json_t *v, const char *path, struct resource_req *ret,
                    struct violations *violations, struct error *e) WARN_UNUSED;
/* "cpu=2.. mem=8GB.. gpu=A100:80GB:2" as users read it; round-trips by resources_parse.
 */
void resources_text(const struct resource_req *r, struct str *out);

struct gpu_have {
    enum gpu_vendor vendor;
    char name[32];
    int64_t memory_mib;
    int compute_major, compute_minor;
};
#define RESOURCE_GPUS_MAX 64
struct resource_have { /* what an instance has, or what of it is free */
    int64_t cpu_milli;
    enum cpu_arch arch;
    int64_t memory_mib, disk_mib;
    struct gpu_have gpus[RESOURCE_GPUS_MAX];
    uint64_t gpu_free; /* bit i: gpus[i] is free */
    size_t n_gpus;
};

struct object;
/* Capacity of an Instance as its agent reports it; healthy GPUs are free. */
void resources_of_instance(const struct object *instance, struct resource_have *ret);

/* Why not, as one code; RESOURCE_FITS otherwise. Checked in this order. */
enum resource_lack {
    RESOURCE_FITS,
    RESOURCE_LACKS_ARCH,
    RESOURCE_LACKS_GPU_KIND, /* no GPU of the vendor/name/memory */
    RESOURCE_LACKS_GPU,      /* right kind, too few (free) */
    RESOURCE_LACKS_CPU,
    RESOURCE_LACKS_MEMORY,
    RESOURCE_LACKS_DISK,
};
const char *resource_lack_name(enum resource_lack l); /* "InsufficientMemory", ... */

/*
 * On machines that exist a range is a request and a limit: its lower end is reserved out
 * of what is free, its upper end (when it has one) is the cgroup limit; a larger machine
 * is never refused. `cpu: 4` reserves 4 and limits to 4; `cpu: 4..` reserves 4 without
 * limit; `cpu: 0..` reserves nothing. GPUs: the lower end of count is reserved (gpu_mask:
 * chosen devices, lowest index first).
 */
/* GPUs: a memory size names a kind of device, so both ends of memory are compared; when
 * total memory is asked, as many devices as reach its lower end. Devices are those of
 * capacity->gpus; of `free` only gpu_free is read. */
struct reservation {
    int64_t cpu_milli, memory_mib, disk_mib;
    uint64_t gpu_mask;
    int64_t blocks; /* by resources_whole_blocks; 0: the instance is not divided */
};
enum resource_lack resources_fit(const struct resource_req *req,
                                 const struct resource_have *capacity,
                                 const struct resource_have *free,
                                 struct reservation *ret);
/* On an instance that is divided into equal blocks: *r, which fits, is raised to the
 * fewest whole blocks that cover it. Disk is not divided. */
enum resource_lack resources_whole_blocks(int64_t blocks,
                                          const struct resource_have *capacity,
                                          const struct resource_have *free,
                                          struct reservation *r);
/* Bit i: capacity->gpus[i] is of the kind asked for. */
uint64_t resources_gpu_matches(const struct gpu_req *q,
                               const struct resource_have *capacity);
/* For inventories: fills vendor and compute capability in from the name where they are
 * not set, and rounds the memory a driver reports to the size on the box (24564 -> 24
 * GB). */
void gpu_have_complete(struct gpu_have *gpu);
/* One sentence: "needs 64 GB memory, has 24 GB free of 32 GB". */
void resources_lack_text(enum resource_lack l, const struct resource_req *req,
                         const struct resource_have *capacity,
                         const struct resource_have *free, struct str *out);

#endif
