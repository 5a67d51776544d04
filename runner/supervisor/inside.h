/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths in a root file system that nobody vouches for. The kernel resolves them with that
 * root as the end of the world (openat2(2), RESOLVE_IN_ROOT): absolute links start there
 * and ".." stays in it.
 */
#ifndef SUPERVISOR_INSIDE_H
#define SUPERVISOR_INSIDE_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

#include "base/error.h"

/* A descriptor (CLOEXEC is added to flags), or -1 with errno. */
int inside_open(int root_fd, const char *path, int flags);
/* A regular file to read; NULL with errno when it is none. root_fd -1: the machine's, of
 * which `path` is absolute. */
FILE *inside_read(int root_fd, const char *path);
/* Where something may be mounted, as O_PATH: a directory or a file, which is made, with
 * its parents, when nothing is there. What is made belongs to `owner` (uid and gid). */
int inside_point(int root_fd, const char *path, bool directory, uid_t owner, int *ret_fd,
                 struct error *e) WARN_UNUSED;

#endif
