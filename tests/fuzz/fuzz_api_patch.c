/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON patch and merge patch: line 1 the target, the rest the patch. Neither changes its
 * inputs; what comes out is within the bounds of an object; a merge patch applied twice
 * gives what it gave once.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "api/managed.h"
#include "api/object.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_size(const json_t *v)
{
    /* As text it may be a little longer: escapes. */
    char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);

    if (text == NULL || strlen(text) > 2 * (size_t)OBJECT_MAX_BYTES)
        abort();
    free(text);
}

static void
check_json_patch(const json_t *target, const json_t *patch)
{
    json_t *before = json_deep_copy(target), *result = NULL;
    struct error e = ERROR_INIT;

    if (patch_json(target, patch, &result, &e) == 0)
        check_size(result);
    if (!json_equal(before, target))
        abort();
    json_decref(result);
    json_decref(before);
}

static void
check_merge_patch(const json_t *target, const json_t *patch)
{
    json_t *before = json_deep_copy(target), *once = NULL, *twice = NULL;
    struct error e = ERROR_INIT;

    if (patch_merge(target, patch, &once, &e) == 0) {
        check_size(once);
        if (patch_merge(once, patch, &twice, &e) < 0 || !json_equal(once, twice))
            abort();
    }
    if (!json_equal(before, target))
        abort();
    json_decref(once);
    json_decref(twice);
    json_decref(before);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    const char *end = size == 0 ? NULL : memchr(text, '\n', size);

    if (end == NULL)
        return 0;
    json_t *target = json_loadb(text, (size_t)(end - text), JSON_DECODE_ANY, NULL);
    json_t *patch =
        json_loadb(end + 1, size - (size_t)(end + 1 - text), JSON_DECODE_ANY, NULL);
    if (target != NULL && patch != NULL) {
        check_json_patch(target, patch);
        check_merge_patch(target, patch);
    }
    json_decref(patch);
    json_decref(target);
    return 0;
}
