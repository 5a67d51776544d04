/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a protobuf body; what is accepted must be JSON. */
#include <stdint.h>

#include "api/jtok.h"
#include "api/protobuf.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    auto_str out = STR_INIT(1u << 20);
    auto_str again = STR_INIT(2u << 20);
    autofree char *copy = xmemdup(data, size);
    struct error e = ERROR_INIT;

    if (protobuf_to_json((struct span){copy, size}, &out, &e) == 0)
        bug_if(jcanon(out.ptr, out.len, &again, &e) < 0 && e.code != ERR_TOO_LARGE);
    else
        bug_if(out.len != 0);
    return 0;
}
