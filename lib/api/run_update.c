/* SPDX-License-Identifier: Apache-2.0 */
/* The table of fields that change in place; the rest is fixed. */
#include "api/run_update.h"

#include <stdint.h>

static const char *const in_place[] = {
    "desiredState",
    "priority",
    "ttlAfterFinished",
    "jobHistoryLimit",
};

bool
run_update_in_place(const char *field)
{
    for (size_t i = 0; i < ARRAY_LEN(in_place); i++) {
        if (streq(in_place[i], field))
            return true;
    }
    return false;
}

size_t
run_update_fixed(const json_t *before, const json_t *after,
                 void (*fn)(void *arg, const char *field), void *arg)
{
    const json_t *const sides[] = {after, before};
    size_t n = 0;

    for (size_t i = 0; i < ARRAY_LEN(sides); i++) {
        const json_t *other = sides[1 - i];
        const char *key;
        json_t *value;
        json_object_foreach ((json_t *)(uintptr_t)sides[i], key, value) {
            const json_t *there = json_object_get(other, key);
            /* What is on both sides was told the first time. */
            if (run_update_in_place(key) || (i == 1 && there != NULL) ||
                (there != NULL && json_equal(value, there)))
                continue;
            fn(arg, key);
            n++;
        }
    }
    return n;
}
