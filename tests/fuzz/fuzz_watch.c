/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a server sends to a controller: a page of a list and a line of a watch. Whatever
 * the bytes are, the informer's store stays consistent and nothing is read out of bounds.
 */
#include <stddef.h>
#include <stdint.h>

#include "control/informer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
feed(void *arg, struct object *o)
{
    informer_list_item(arg, o);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct informer *inf = informer_new(&resource_jobs);
    struct span bytes = {(const char *)data, size};
    struct error e = ERROR_INIT;
    auto_str cont = STR_INIT(1024);
    uint64_t revision = 0;
    size_t start = 0;

    informer_list_begin(inf);
    if (client_parse_list(bytes, feed, inf, &cont, &revision, &e) < 0)
        informer_list_abort(inf);
    else
        informer_list_end(inf, revision);
    for (size_t i = 0; i <= size; i++) {
        if (i < size && data[i] != '\n')
            continue;
        struct span line = {bytes.ptr + start, i - start};
        if (informer_apply_line(inf, line, &e) < 0)
            e = ERROR_INIT;
        start = i + 1;
    }
    informer_free(inf);
    return 0;
}
