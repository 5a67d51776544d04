/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Segment frames from untrusted bytes (an agent's append): never a read outside, every
 * decoded frame encodes back to the same bytes, and what is accepted as whole frames is
 * exactly what decodes.
 */
#include <stdint.h>
#include <string.h>

#include "base/error.h"
#include "io/segment.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *buf = (const char *)data;
    struct error e = ERROR_INIT;
    struct segment_frame f;
    size_t whole = 0;
    size_t pos = 0;
    int rc;

    int all = segment_whole(buf, size, 7, &whole, &e);
    while ((rc = segment_frame_get(buf + pos, size - pos, pos, &f, &e)) == 1) {
        auto_str again = STR_INIT(SEGMENT_HEADER + SEGMENT_FRAME_MAX);
        bug_if(f.offset != pos || f.bytes.len > SEGMENT_FRAME_MAX);
        segment_frame_put(&again, f.unix_ns, f.stream, f.bytes.ptr, f.bytes.len);
        bug_if(again.toobig || again.len > size - pos);
        bug_if(memcmp(again.ptr, buf + pos, again.len) != 0);
        pos += again.len;
    }
    bug_if(whole != pos || all != rc);
    return 0;
}
