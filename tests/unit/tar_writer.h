/* SPDX-License-Identifier: Apache-2.0 */
/* Archives for tests: ustar (POSIX.1-1988), entry by entry, right and wrong ones. */
#ifndef TESTS_UNIT_TAR_WRITER_H
#define TESTS_UNIT_TAR_WRITER_H

#include "base/str.h"

struct tar_entry {
    const char *name;
    char type;
    const char *link, *content;
    unsigned mode, uid, gid, mtime;
    const char *size; /* octal, as it says, whatever the content; NULL: the truth */
};

/* mode 0: 0644. */
void tar_add(struct str *tar, const struct tar_entry *en);
void tar_finish(struct str *tar); /* the two empty blocks */

#endif
