/* SPDX-License-Identifier: Apache-2.0 */
/* Strategic merge of line 2 into line 1: whatever the patch, no directive is left behind
 * at the top and the target is as it was. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "apiserver/registry/strategic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    const char *end = size == 0 ? NULL : memchr(text, '\n', size);
    struct error e = ERROR_INIT;
    json_t *result = NULL;

    if (end == NULL)
        return 0;
    size_t n = (size_t)(end - text);
    json_t *target = json_loadb(text, n, 0, NULL);
    json_t *patch = json_loadb(end + 1, size - n - 1, 0, NULL);
    json_t *before = json_deep_copy(target);
    if (json_is_object(target) && strategic_merge(target, patch, &result, &e) == 0) {
        if (!json_is_object(result))
            abort();
        if (json_object_get(target, "$patch") == NULL &&
            json_object_get(result, "$patch") != NULL)
            abort();
    }
    if (target != NULL && !json_equal(target, before))
        abort();
    json_decref(result);
    json_decref(before);
    json_decref(patch);
    json_decref(target);
    return 0;
}
