/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What kind of archive a file is, by its first bytes: `file` for the few kinds that can
 * hold a root file system, so that the one who uploads it and the machine that unpacks it
 * agree and say the same. Pure.
 */
#ifndef BASE_ARCHIVE_H
#define BASE_ARCHIVE_H

#include <stddef.h>

#include "base/error.h"

#define ARCHIVE_HEAD 512 /* bytes that are enough */

enum archive_kind { ARCHIVE_TAR, ARCHIVE_TAR_GZ };
/* head: the first bytes, fewer than ARCHIVE_HEAD only where the file ends.
 * ERR_UNSUPPORTED says what it is instead, and what is accepted. */
int archive_kind(const void *head, size_t n, enum archive_kind *ret,
                 struct error *e) WARN_UNUSED;

#endif
