/* SPDX-License-Identifier: Apache-2.0 */
/* Magic numbers: RFC 1952 (gzip), RFC 8878 (zstd), the formats' own pages for the rest.
 */
#include "base/archive.h"

#include <string.h>

#include "base/mem.h"

enum { TAR_MAGIC_AT = 257 };
#define ACCEPTED "a tar archive, plain or gzip, is accepted"

int
archive_kind(const void *head, size_t n, enum archive_kind *ret, struct error *e)
{
    static const struct {
        const char *magic;
        size_t len;
        const char *name;
    } others[] = {
        {"\x28\xb5\x2f\xfd", 4, "compressed by zstd"},
        {"\xfd"
         "7zXZ",
         5, "compressed by xz"},
        {"BZh", 3, "compressed by bzip2"},
        {"\x04\x22\x4d\x18", 4, "compressed by lz4"},
        {"PK\x03\x04", 4, "a zip archive"},
        {"hsqs", 4, "a squashfs image"},
        {"\x89LZO", 4, "compressed by lzop"},
    };
    const char *bytes = head;

    if (n >= 2 && memcmp(bytes, "\x1f\x8b", 2) == 0) {
        *ret = ARCHIVE_TAR_GZ;
        return 0;
    }
    if (n >= ARCHIVE_HEAD && memcmp(bytes + TAR_MAGIC_AT, "ustar", 5) == 0) {
        *ret = ARCHIVE_TAR;
        return 0;
    }
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        if (n >= others[i].len && memcmp(bytes, others[i].magic, others[i].len) == 0)
            return error_set(e, ERR_UNSUPPORTED, "it is %s; " ACCEPTED, others[i].name);
    }
    return error_set(e, ERR_UNSUPPORTED, "it is %s; " ACCEPTED,
                     n == 0 ? "empty" : "no tar archive");
}
