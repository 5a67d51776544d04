/* SPDX-License-Identifier: Apache-2.0 */
/* Whole-file helpers. All descriptors are CLOEXEC; all sizes are bounded. Thread-safe. */
#ifndef BASE_FS_H
#define BASE_FS_H

#include <sys/types.h>

#include "base/error.h"
#include "base/str.h"

/* Appends the file to out; ERR_TOO_LARGE past out->max, ERR_NOT_FOUND when absent. */
int fs_read(const char *path, struct str *out, struct error *e) WARN_UNUSED;
/* New contents appear whole or not at all: temp file, fsync, rename, fsync of the
 * directory. */
int fs_write_atomic(const char *path, const void *bytes, size_t n, mode_t mode,
                    struct error *e) WARN_UNUSED;
int fs_mkdirs(const char *path, mode_t mode, struct error *e) WARN_UNUSED;
/* Removes a tree without following links; absent is success. */
int fs_remove_tree(const char *path, struct error *e) WARN_UNUSED;
/* A new empty file (0600) in $TMPDIR, else /tmp; its name is malloc'd. */
int fs_temp(const char *prefix, char **ret_path, int *ret_fd,
            struct error *e) WARN_UNUSED;
/* Writes all bytes, retrying short writes and EINTR. */
int fs_write_all(int fd, const void *bytes, size_t n, struct error *e) WARN_UNUSED;
/* Exclusive advisory lock on path (created 0600), held while the descriptor is open. The
 * holder's pid is written into the file. ERR_BUSY names the holder: "held by pid 42". */
int fs_lock(const char *path, int *ret_fd, struct error *e) WARN_UNUSED;
/* a/b with exactly one slash; just b when a is empty; malloc'd. */
char *fs_join(const char *dir, const char *name) __attribute__((malloc));

#endif
