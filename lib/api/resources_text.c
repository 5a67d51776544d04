/* SPDX-License-Identifier: Apache-2.0 */
/* Requirements and shortages as text for people. */
#include "api/resources_internal.h"

#include <inttypes.h>
#include <string.h>

static const char *
arch_word(enum cpu_arch a)
{
    switch (a) {
    case CPU_ARCH_X86:
        return "x86";
    case CPU_ARCH_ARM:
        return "arm";
    case CPU_ARCH_ANY:
        break;
    }
    return "any";
}

static void
add_size(struct str *out, int64_t mib, const char *gap)
{
    if (mib != 0 && mib % (1 << 20) == 0)
        str_addf(out, "%" PRId64 "%sTB", mib >> 20, gap);
    else if (mib % 1024 == 0)
        str_addf(out, "%" PRId64 "%sGB", mib >> 10, gap);
    else
        str_addf(out, "%" PRId64 "%sMB", mib, gap);
}

static void
add_int_range(struct str *out, struct range r)
{
    str_addf(out, "%" PRId64, r.min);
    if (r.min == r.max)
        return;
    str_adds(out, "..");
    if (r.max != INT64_MAX)
        str_addf(out, "%" PRId64, r.max);
}

static void
add_size_range(struct str *out, struct range r)
{
    add_size(out, r.min, "");
    if (r.min == r.max)
        return;
    str_adds(out, "..");
    if (r.max != INT64_MAX)
        add_size(out, r.max, "");
}

static bool
is_any(struct range r)
{
    return r.min == 0 && r.max == INT64_MAX;
}

/* The kind of GPU: "nvidia:A100,H100:80GB"; nothing when any will do. */
static void
add_gpu_kind(struct str *out, const struct gpu_req *g)
{
    size_t start = out->len;
    enum gpu_vendor implied = gpu_vendor_of_names(g);

    if (implied == GPU_VENDOR_ANY && g->compute_major > 0)
        implied = GPU_VENDOR_NVIDIA;
    if (g->vendor != GPU_VENDOR_ANY && g->vendor != implied)
        str_adds(out, gpu_vendor_word(g->vendor));
    for (size_t i = 0; i < g->n_names; i++) {
        const char *sep = i > 0 ? "," : out->len > start ? ":" : "";
        str_addf(out, "%s%s", sep, g->names[i]);
    }
    if (!is_any(g->memory_mib)) {
        if (out->len > start)
            str_addc(out, ':');
        add_size_range(out, g->memory_mib);
    }
}

static void
add_gpu(struct str *out, const struct gpu_req *g)
{
    str_adds(out, " gpu=");
    size_t start = out->len;
    add_gpu_kind(out, g);
    bool kind = out->len > start;
    if (!kind || g->count.min != 1 || g->count.max != INT64_MAX) {
        if (kind)
            str_addc(out, ':');
        add_int_range(out, g->count);
    }
    if (!is_any(g->total_memory_mib)) {
        str_adds(out, " gpu.totalMemory=");
        add_size_range(out, g->total_memory_mib);
    }
    if (g->compute_major > 0)
        str_addf(out, " gpu.computeCapability=%d.%d", g->compute_major, g->compute_minor);
}

void
resources_text(const struct resource_req *r, struct str *out)
{
    str_adds(out, "cpu=");
    if (r->arch != CPU_ARCH_ANY)
        str_addf(out, "%s:", arch_word(r->arch));
    add_int_range(out, r->cpu);
    str_adds(out, " mem=");
    add_size_range(out, r->memory_mib);
    if (r->gpu.given)
        add_gpu(out, &r->gpu);
    if (!is_any(r->disk_mib)) {
        str_adds(out, " disk=");
        add_size_range(out, r->disk_mib);
    }
    if (r->shm_mib > 0) {
        str_adds(out, " shm=");
        add_size(out, r->shm_mib, "");
    }
}

const char *
resource_lack_name(enum resource_lack l)
{
    switch (l) {
    case RESOURCE_FITS:
        return "Fits";
    case RESOURCE_LACKS_ARCH:
        return "WrongArchitecture";
    case RESOURCE_LACKS_GPU_KIND:
        return "NoMatchingGPU";
    case RESOURCE_LACKS_GPU:
        return "InsufficientGPU";
    case RESOURCE_LACKS_CPU:
        return "InsufficientCPU";
    case RESOURCE_LACKS_MEMORY:
        return "InsufficientMemory";
    case RESOURCE_LACKS_DISK:
        return "InsufficientDisk";
    }
    return "Unknown";
}

static void
add_amounts(struct str *out, const char *what, int64_t need, int64_t have, int64_t of)
{
    str_adds(out, "needs ");
    add_size(out, need, " ");
    str_addf(out, " %s, has ", what);
    add_size(out, have, " ");
    str_adds(out, " free of ");
    add_size(out, of, " ");
}

static void
add_cpus(struct str *out, int64_t milli)
{
    if (milli % 1000 == 0)
        str_addf(out, "%" PRId64, milli / 1000);
    else
        str_addf(out, "%g", (double)milli / 1000);
}

/* "2 x T4 16 GB, 1 x A100 80 GB": runs of equal GPUs. */
static void
add_gpus_had(struct str *out, const struct resource_have *h)
{
    for (size_t i = 0, n; i < h->n_gpus; i += n) {
        const struct gpu_have *g = &h->gpus[i];
        for (n = 1; i + n < h->n_gpus; n++) {
            if (!streq(h->gpus[i + n].name, g->name) ||
                h->gpus[i + n].memory_mib != g->memory_mib)
                break;
        }
        str_addf(out, "%s%zu x %s", i > 0 ? ", " : "", n,
                 g->name[0] != '\0' ? g->name : "GPU");
        if (g->memory_mib > 0) {
            str_addc(out, ' ');
            add_size(out, g->memory_mib, " ");
        }
    }
    if (h->n_gpus == 0)
        str_adds(out, "no GPU");
}

static void
add_gpu_need(struct str *out, const struct gpu_req *g)
{
    str_adds(out, "needs GPU");
    size_t before = out->len;
    str_addc(out, ' ');
    add_gpu_kind(out, g);
    if (out->len == before + 1)
        str_truncate(out, before);
    if (!is_any(g->total_memory_mib)) {
        str_adds(out, " with ");
        add_size_range(out, g->total_memory_mib);
        str_adds(out, " in total");
    }
    if (g->compute_major > 0)
        str_addf(out, " of compute capability %d.%d", g->compute_major, g->compute_minor);
}

void
resources_lack_text(enum resource_lack l, const struct resource_req *req,
                    const struct resource_have *capacity,
                    const struct resource_have *free, struct str *out)
{
    switch (l) {
    case RESOURCE_FITS:
        str_adds(out, "fits");
        break;
    case RESOURCE_LACKS_ARCH:
        str_addf(out, "needs CPU architecture %s, is %s", arch_word(req->arch),
                 capacity->arch == CPU_ARCH_ANY ? "unknown" : arch_word(capacity->arch));
        break;
    case RESOURCE_LACKS_GPU_KIND:
        add_gpu_need(out, &req->gpu);
        str_adds(out, ", has ");
        add_gpus_had(out, capacity);
        break;
    case RESOURCE_LACKS_GPU: {
        uint64_t kind = resources_gpu_matches(&req->gpu, capacity);
        if (req->gpu.total_memory_mib.min > 0)
            add_gpu_need(out, &req->gpu);
        else
            str_addf(out, "needs %" PRId64 " GPUs", req->gpu.count.min);
        str_addf(out, ", has %d free of %d matching",
                 __builtin_popcountll(kind & free->gpu_free), __builtin_popcountll(kind));
        break;
    }
    case RESOURCE_LACKS_CPU:
        str_addf(out, "needs %" PRId64 " CPUs, has ", req->cpu.min);
        add_cpus(out, free->cpu_milli);
        str_adds(out, " free of ");
        add_cpus(out, capacity->cpu_milli);
        break;
    case RESOURCE_LACKS_MEMORY:
        add_amounts(out, "memory", req->memory_mib.min, free->memory_mib,
                    capacity->memory_mib);
        break;
    case RESOURCE_LACKS_DISK:
        add_amounts(out, "disk", req->disk_mib.min, free->disk_mib, capacity->disk_mib);
        break;
    }
}
