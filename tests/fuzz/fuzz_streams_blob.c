/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths of blob requests and references in objects: what is taken for a blob is exactly a
 * name that is safe as a file's.
 */
#include <stdlib.h>
#include <string.h>

#include "apiserver/streams/blobs.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

int
LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    char ns[STREAMS_NAME_MAX];
    char hex[BLOB_HEX + 1];
    autofree char *text = xstrndup((const char *)data, size);
    auto_map *refs = map_new(NULL);

    if (blobs_parse_route(text, ns, hex) &&
        (ns[0] == '.' || strchr(ns, '/') != NULL || strlen(hex) != BLOB_HEX ||
         strspn(hex, "0123456789abcdef") != BLOB_HEX))
        abort();
    blob_scan_refs((struct span){(const char *)data, size}, refs);
    struct map_cursor c = map_begin(refs);
    const char *key;
    while (map_next(&c, &key, NULL)) {
        if (strlen(key) > BLOB_HEX)
            abort();
    }
    return 0;
}
