/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether what is free of a machine covers a requirement, and which part of it would be
 * reserved. Allocates nothing: the scheduler asks this for every candidate.
 */
#include <strings.h>

#include "api/resources_internal.h"

static bool
gpu_is_of_kind(const struct gpu_req *q, const struct gpu_have *g)
{
    bool named = q->n_names == 0;

    if (q->vendor != GPU_VENDOR_ANY && q->vendor != g->vendor)
        return false;
    for (size_t i = 0; i < q->n_names && !named; i++)
        named = strcasecmp(q->names[i], g->name) == 0;
    if (!named || g->memory_mib < q->memory_mib.min || g->memory_mib > q->memory_mib.max)
        return false;
    if (g->compute_major != q->compute_major)
        return g->compute_major > q->compute_major;
    return g->compute_minor >= q->compute_minor;
}

uint64_t
resources_gpu_matches(const struct gpu_req *q, const struct resource_have *capacity)
{
    uint64_t mask = 0;

    for (size_t i = 0; i < capacity->n_gpus && i < RESOURCE_GPUS_MAX; i++) {
        if (gpu_is_of_kind(q, &capacity->gpus[i]))
            mask |= UINT64_C(1) << i;
    }
    return mask;
}

/*
 * The lowest devices of `from` that reach the lower ends of count and total memory
 * without passing the upper ones. False when there is no such choice.
 */
static bool
choose_gpus(const struct gpu_req *q, const struct resource_have *have, uint64_t from,
            uint64_t *ret)
{
    int64_t n = 0, total = 0;
    uint64_t chosen = 0;

    while (n < q->count.min || total < q->total_memory_mib.min) {
        if (from == 0)
            return false;
        int i = __builtin_ctzll(from);
        from &= from - 1;
        chosen |= UINT64_C(1) << i;
        total += have->gpus[i].memory_mib;
        n++;
    }
    if (n > q->count.max || total > q->total_memory_mib.max)
        return false;
    *ret = chosen;
    return true;
}

static enum resource_lack
fit_gpus(const struct gpu_req *q, const struct resource_have *capacity,
         const struct resource_have *free, uint64_t *ret)
{
    *ret = 0;
    if (!q->given || q->count.max == 0 ||
        (q->count.min == 0 && q->total_memory_mib.min == 0))
        return RESOURCE_FITS;
    uint64_t kind = resources_gpu_matches(q, capacity);
    if (kind == 0)
        return RESOURCE_LACKS_GPU_KIND;
    return choose_gpus(q, capacity, kind & free->gpu_free, ret) ? RESOURCE_FITS
                                                                : RESOURCE_LACKS_GPU;
}

enum resource_lack
resources_fit(const struct resource_req *req, const struct resource_have *capacity,
              const struct resource_have *free, struct reservation *ret)
{
    struct reservation got = {.cpu_milli = req->cpu.min * 1000,
                              .memory_mib = req->memory_mib.min,
                              .disk_mib = req->disk_mib.min};

    if (req->arch != CPU_ARCH_ANY && req->arch != capacity->arch)
        return RESOURCE_LACKS_ARCH;
    enum resource_lack gpu = fit_gpus(&req->gpu, capacity, free, &got.gpu_mask);
    if (gpu != RESOURCE_FITS)
        return gpu;
    if (got.cpu_milli > free->cpu_milli && got.cpu_milli > 0)
        return RESOURCE_LACKS_CPU;
    if (got.memory_mib > free->memory_mib && got.memory_mib > 0)
        return RESOURCE_LACKS_MEMORY;
    if (got.disk_mib > free->disk_mib && got.disk_mib > 0)
        return RESOURCE_LACKS_DISK;
    *ret = got;
    return RESOURCE_FITS;
}

/* --- blocks ------------------------------------------------------------------------ */

static int64_t
at_least(int64_t amount, int64_t per_block)
{
    if (amount <= 0)
        return 0;
    return per_block <= 0 ? INT64_MAX : (amount + per_block - 1) / per_block;
}

static int64_t
larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

enum resource_lack
resources_whole_blocks(int64_t blocks, const struct resource_have *capacity,
                       const struct resource_have *free, struct reservation *r)
{
    if (blocks <= 1)
        return RESOURCE_FITS;
    int64_t cpu = capacity->cpu_milli / 1000 / blocks * 1000;
    int64_t memory = capacity->memory_mib / blocks;
    int64_t gpus = (int64_t)capacity->n_gpus / blocks;
    int64_t k = larger(1, at_least(r->cpu_milli, cpu));
    k = larger(k, at_least(r->memory_mib, memory));
    k = larger(k, at_least(__builtin_popcountll(r->gpu_mask), gpus));
    if (k > blocks)
        return RESOURCE_LACKS_CPU;
    uint64_t rest = free->gpu_free & ~r->gpu_mask;
    while (__builtin_popcountll(r->gpu_mask) < k * gpus) {
        if (rest == 0)
            return RESOURCE_LACKS_GPU;
        r->gpu_mask |= rest & -rest;
        rest &= rest - 1;
    }
    r->cpu_milli = k * cpu;
    r->memory_mib = k * memory;
    r->blocks = k;
    if (r->cpu_milli > free->cpu_milli)
        return RESOURCE_LACKS_CPU;
    return r->memory_mib > free->memory_mib ? RESOURCE_LACKS_MEMORY : RESOURCE_FITS;
}
