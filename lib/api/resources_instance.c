/* SPDX-License-Identifier: Apache-2.0 */
/* What an Instance has, from the inventory that its agent reports. */
#include <stdlib.h>
#include <string.h>

#include "api/jtok.h"
#include "api/object.h"
#include "api/resources.h"

static enum gpu_vendor
vendor_of(const char *word)
{
    static const struct {
        const char *word;
        enum gpu_vendor vendor;
    } vendors[] = {
        {"nvidia", GPU_VENDOR_NVIDIA}, {"amd", GPU_VENDOR_AMD},
        {"intel", GPU_VENDOR_INTEL},   {"tenstorrent", GPU_VENDOR_TENSTORRENT},
        {"google", GPU_VENDOR_GOOGLE}, {"tpu", GPU_VENDOR_GOOGLE},
    };

    for (size_t i = 0; i < ARRAY_LEN(vendors); i++)
        if (strcasecmp(vendors[i].word, word) == 0)
            return vendors[i].vendor;
    return GPU_VENDOR_ANY;
}

static void
member_text(struct span item, const char *key, char *buf, size_t size)
{
    auto_str text = STR_INIT(size - 1);
    struct span raw;

    buf[0] = '\0';
    if (jscan_member(item, key, &raw) && jscan_string(raw, &text) && !text.toobig)
        snprintf(buf, size, "%s", text.ptr);
}

static void
read_gpu(struct span item, struct gpu_have *ret, bool *ret_healthy)
{
    char word[32];
    struct span raw;
    char *end;

    member_text(item, "vendor", word, sizeof(word));
    ret->vendor = vendor_of(word);
    member_text(item, "name", ret->name, sizeof(ret->name));
    if (jscan_member(item, "memoryMiB", &raw))
        jscan_int64(raw, &ret->memory_mib);
    member_text(item, "computeCapability", word, sizeof(word));
    ret->compute_major = (int)strtol(word, &end, 10);
    if (*end == '.')
        ret->compute_minor = (int)strtol(end + 1, NULL, 10);
    gpu_have_complete(ret);
    *ret_healthy = !jscan_member(item, "healthy", &raw) || jscan_bool(raw);
}

void
resources_of_instance(const struct object *instance, struct resource_have *ret)
{
    struct span array, item;
    const char *cursor = NULL;
    char arch[32];

    memset(ret, 0, sizeof(*ret));
    ret->cpu_milli = object_get_int(instance, "status.agent.inventory.cpus", 0) * 1000;
    ret->memory_mib = object_get_int(instance, "status.agent.inventory.memoryMiB", 0);
    ret->disk_mib = object_get_int(instance, "status.agent.inventory.diskMiB", 0);
    object_get_string(instance, "status.agent.inventory.arch", arch, sizeof(arch));
    ret->arch = str_starts(arch, "aarch64") || str_starts(arch, "arm") ? CPU_ARCH_ARM
                                                                       : CPU_ARCH_X86;
    if (!object_path(instance, "status.agent.inventory.gpus", &array) || array.len == 0 ||
        array.ptr[0] != '[')
        return;
    while (ret->n_gpus < RESOURCE_GPUS_MAX && jscan_next_item(array, &cursor, &item)) {
        bool healthy;
        read_gpu(item, &ret->gpus[ret->n_gpus], &healthy);
        if (healthy)
            ret->gpu_free |= UINT64_C(1) << ret->n_gpus;
        ret->n_gpus++;
    }
}
