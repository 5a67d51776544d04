/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as the mirror's own memory: opens or is refused, and works afterwards. The
 * checksums of the records are made right first, so that their contents are reached. */
#include <endian.h>
#include <stdint.h>
#include <stdlib.h>
#include <zlib.h>

#include "apiserver/mirror/state.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
repair(unsigned char *bytes, size_t n)
{
    size_t at = strlen("drover mirror state 1\n");

    while (n >= at + 8) {
        uint32_t len;
        memcpy(&len, bytes + at, 4);
        len = le32toh(len);
        if (len > n - at - 8)
            return;
        uint32_t crc = htole32((uint32_t)crc32_z(0, bytes + at + 8, len));
        memcpy(bytes + at + 4, &crc, 4);
        at += 8 + (size_t)len;
    }
}

static void
read_base(void *arg, const char *path, const struct mirror_base *b)
{
    auto_str store = STR_INIT(1 << 24), form = STR_INIT(1 << 24);
    struct error e = ERROR_INIT;

    bug_if(path == NULL);
    if (b->now.set)
        bug_if(mirror_state_read(arg, b, &store, &form, &e) < 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char dir[] = "/tmp/drover-fuzz-XXXXXX";
    struct error e = ERROR_INIT;
    struct mirror_state *s = NULL;
    struct mirror_new n = {.uid = "u", .store = span_of("{}")};
    autofree unsigned char *bytes = xmemdup(data, size);

    log_set_level(LOG_LV_ERR);
    repair(bytes, size);
    bug_if(mkdtemp(dir) == NULL);
    autofree char *path = fs_join(dir, "state");
    bug_if(fs_write_atomic(path, bytes, size, 0600, &e) < 0);
    if (mirror_state_open(dir, &s, &e) == 0) {
        mirror_state_each(s, read_base, s);
        bug_if(mirror_state_record(s, "p", &n, &e) < 0);
        size_t len = mirror_state_len(s);
        mirror_state_close(s);
        bug_if(mirror_state_open(dir, &s, &e) < 0 || mirror_state_len(s) != len ||
               mirror_state_get(s, "p") == NULL);
        mirror_state_close(s);
    } else {
        bug_if(e.code != ERR_CORRUPT);
    }
    bug_if(fs_remove_tree(dir, &e) < 0);
    return 0;
}
