/* SPDX-License-Identifier: Apache-2.0 */
/* Any text as a JSON path, evaluated on one document; a match lies inside the document.
 */
#include <stdint.h>

#include "api/kind.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char doc[] =
        "{\"a\":{\"b\":[{\"k\":\"x\",\"v\":1},{\"k\":\"y\",\"v\":[2,3]},[],"
        "{}]},\"a.b\":true,\"c\":[[1,2],[3]],\"d\":null}";
    autofree char *text = xstrndup((const char *)data, size);
    struct jsonpath *p = NULL;
    struct error e = ERROR_INIT;
    struct span v;

    if (jsonpath_compile(text, &p, &e) < 0)
        return 0;
    if (jsonpath_first(p, (struct span){doc, sizeof(doc) - 1}, &v))
        bug_if(v.len == 0 || v.ptr < doc || v.ptr + v.len > doc + sizeof(doc) - 1);
    jsonpath_free(p);
    return 0;
}
