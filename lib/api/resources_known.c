/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Accelerators that are known by name: vendor (so that users need not write it), CUDA
 * compute capability, and the memory sizes that drivers report with a little missing.
 */
#include "api/resources_internal.h"

#include <string.h>
#include <strings.h>

#define NV GPU_VENDOR_NVIDIA
#define AMD GPU_VENDOR_AMD
#define INTEL GPU_VENDOR_INTEL
#define TT GPU_VENDOR_TENSTORRENT

static const struct gpu_known known[] = {
    {"A10", NV, 8, 6, {24}},         {"A10G", NV, 8, 6, {24}},
    {"A16", NV, 8, 6, {16}},         {"A40", NV, 8, 6, {48}},
    {"A100", NV, 8, 0, {40, 80}},    {"A4000", NV, 8, 6, {16}},
    {"A4500", NV, 8, 6, {20}},       {"A5000", NV, 8, 6, {24}},
    {"A6000", NV, 8, 6, {48}},       {"H100", NV, 9, 0, {80}},
    {"H100NVL", NV, 9, 0, {94}},     {"H200", NV, 9, 0, {141}},
    {"H200NVL", NV, 9, 0, {141}},    {"GH200", NV, 9, 0, {96, 144}},
    {"B200", NV, 10, 0, {180}},      {"GB200", NV, 10, 0, {186}},
    {"B300", NV, 10, 0, {288}},      {"L4", NV, 8, 9, {24}},
    {"L40", NV, 8, 9, {48}},         {"L40S", NV, 8, 9, {48}},
    {"P100", NV, 6, 0, {16}},        {"V100", NV, 7, 0, {16, 32}},
    {"T4", NV, 7, 5, {16}},          {"RTX6000", NV, 7, 5, {24}},
    {"RTX2060", NV, 7, 5, {6, 12}},  {"RTX2070", NV, 7, 5, {8}},
    {"RTX2080", NV, 7, 5, {8}},      {"RTX2080Ti", NV, 7, 5, {11}},
    {"RTX3060", NV, 8, 6, {8, 12}},  {"RTX3060Ti", NV, 8, 6, {8}},
    {"RTX3070", NV, 8, 6, {8}},      {"RTX3070Ti", NV, 8, 6, {8}},
    {"RTX3080", NV, 8, 6, {10, 12}}, {"RTX3080Ti", NV, 8, 6, {12}},
    {"RTX3090", NV, 8, 6, {24}},     {"RTX3090Ti", NV, 8, 6, {24}},
    {"RTX4060", NV, 8, 9, {8}},      {"RTX4060Ti", NV, 8, 9, {8, 16}},
    {"RTX4070", NV, 8, 9, {12}},     {"RTX4070Ti", NV, 8, 9, {12}},
    {"RTX4080", NV, 8, 9, {16}},     {"RTX4090", NV, 8, 9, {24}},
    {"RTX5060", NV, 12, 0, {8}},     {"RTX5060Ti", NV, 12, 0, {8, 16}},
    {"RTX5070", NV, 12, 0, {12}},    {"RTX5070Ti", NV, 12, 0, {16}},
    {"RTX5080", NV, 12, 0, {16}},    {"RTX5090", NV, 12, 0, {32}},
    {"RTX2000Ada", NV, 8, 9, {16}},  {"RTX4000Ada", NV, 8, 9, {20}},
    {"RTX6000Ada", NV, 8, 9, {48}},  {"RTXPRO4500", NV, 12, 0, {32}},
    {"RTXPRO6000", NV, 12, 0, {96}}, {"MI100", AMD, 0, 0, {32}},
    {"MI210", AMD, 0, 0, {64}},      {"MI250", AMD, 0, 0, {128}},
    {"MI250X", AMD, 0, 0, {128}},    {"MI300A", AMD, 0, 0, {128}},
    {"MI300X", AMD, 0, 0, {192}},    {"MI308X", AMD, 0, 0, {128, 192}},
    {"MI325X", AMD, 0, 0, {256}},    {"MI350X", AMD, 0, 0, {288}},
    {"MI355X", AMD, 0, 0, {288}},    {"Gaudi", INTEL, 0, 0, {32}},
    {"Gaudi2", INTEL, 0, 0, {96}},   {"Gaudi3", INTEL, 0, 0, {128}},
    {"n150", TT, 0, 0, {12}},        {"n300", TT, 0, 0, {24}},
    {"p100a", TT, 0, 0, {28}},       {"p150", TT, 0, 0, {32}},
    {"p300", TT, 0, 0, {64}},        {"galaxy-wh", TT, 0, 0, {0}},
    {"galaxy-bh", TT, 0, 0, {0}},
};

/* A slice is "<version>-<cores>"; its memory is not part of the catalogue. */
static const char *const tpu_versions[] = {"v2", "v3", "v4", "v5p", "v5litepod", "v6e"};
static const struct gpu_known known_tpu = {"tpu", GPU_VENDOR_GOOGLE, 0, 0, {0}};

static const struct {
    const char *word;
    enum gpu_vendor vendor;
} vendor_words[] = {
    /* The first word of a vendor is the one written back. */
    {"nvidia", GPU_VENDOR_NVIDIA}, {"amd", GPU_VENDOR_AMD},
    {"google", GPU_VENDOR_GOOGLE}, {"intel", GPU_VENDOR_INTEL},
    {"tpu", GPU_VENDOR_GOOGLE},    {"tenstorrent", GPU_VENDOR_TENSTORRENT},
    {"tt", GPU_VENDOR_TENSTORRENT}};

static bool
is_tpu_slice(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(tpu_versions); i++) {
        size_t n = strlen(tpu_versions[i]);
        if (strncasecmp(name, tpu_versions[i], n) != 0 || name[n] != '-')
            continue;
        const char *cores = name + n + 1;
        return *cores != '\0' && cores[strspn(cores, "0123456789")] == '\0';
    }
    return false;
}

const struct gpu_known *
gpu_known_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (strcasecmp(known[i].name, name) == 0)
            return &known[i];
    }
    return is_tpu_slice(name) ? &known_tpu : NULL;
}

bool
gpu_vendor_from_word(struct span word, enum gpu_vendor *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(vendor_words); i++) {
        if (word.len == strlen(vendor_words[i].word) &&
            strncasecmp(word.ptr, vendor_words[i].word, word.len) == 0) {
            *ret = vendor_words[i].vendor;
            return true;
        }
    }
    return false;
}

const char *
gpu_vendor_word(enum gpu_vendor v)
{
    for (size_t i = 0; i < ARRAY_LEN(vendor_words); i++) {
        if (vendor_words[i].vendor == v)
            return vendor_words[i].word;
    }
    return "";
}

enum gpu_vendor
gpu_vendor_of_names(const struct gpu_req *g)
{
    enum gpu_vendor vendor = GPU_VENDOR_ANY;

    for (size_t i = 0; i < g->n_names; i++) {
        const struct gpu_known *k = gpu_known_find(g->names[i]);
        if (k == NULL || (i > 0 && k->vendor != vendor))
            return GPU_VENDOR_ANY;
        vendor = k->vendor;
    }
    return vendor;
}

void
gpu_have_complete(struct gpu_have *gpu)
{
    const struct gpu_known *k = gpu_known_find(gpu->name);
    int64_t mib = gpu->memory_mib;

    if (k != NULL) {
        if (gpu->vendor == GPU_VENDOR_ANY)
            gpu->vendor = k->vendor;
        if (gpu->compute_major == 0) {
            gpu->compute_major = k->compute_major;
            gpu->compute_minor = k->compute_minor;
        }
        for (int i = 0; i < GPU_MEMORY_SIZES && k->memory_gib[i] != 0; i++) {
            int64_t size = INT64_C(1024) * k->memory_gib[i];
            if (llabs(mib - size) * 100 <= size * 7) {
                gpu->memory_mib = size;
                return;
            }
        }
    }
    gpu->memory_mib = (mib + 512) / 1024 * 1024;
}
