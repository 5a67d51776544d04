/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as what nvidia-smi and hl-smi print about how busy their devices are: figures
 * in their bounds, or none. */
#include <stdint.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "runner/gpu/gpu_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gpu_loads l = {0};
    char *text = xmalloc(size + 1);

    memcpy(text, data, size);
    text[size] = '\0';
    size_t taken = gpu_loads_parse(text, &l);
    bug_if(taken != l.len || l.len > GPU_MAX);
    for (size_t i = 0; i < l.len; i++) {
        const struct gpu_load *g = &l.items[i];
        bug_if(memchr(g->uuid, '\0', sizeof(g->uuid)) == NULL || g->uuid[0] == '\0');
        bug_if(g->busy < -1 || g->busy > 100 || g->memory_mib < -1);
        bug_if(gpu_load_find(&l, g->uuid) == NULL);
    }
    free(text);
    return 0;
}
