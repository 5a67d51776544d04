/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ranges of user and group ids for jobs. Every job of the machine has 65536 ids of its
 * own, which no account and no other job has: what it owns nobody else can touch, and
 * root inside is nobody outside.
 *
 * A range is taken by making the symbolic link /run/drover/ids/<slot> -> <job dir>
 * (exclusive by nature, gone after a reboot like the jobs themselves). Taking it again
 * for the same job finds the same range.
 */
#ifndef SUPERVISOR_IDMAP_H
#define SUPERVISOR_IDMAP_H

#include <sys/types.h>

#include "base/error.h"

#define IDMAP_SIZE 65536u

/* *ret_base: first uid and gid of the range. ERR_FULL when no range is left. */
int idmap_take(const char *job_dir, uid_t *ret_base, struct error *e) WARN_UNUSED;
/* Absent is success. */
void idmap_release(const char *job_dir);

/* Writes one of the files that map ids: /proc/<pid>/<file>. */
int idmap_put(pid_t pid, const char *file, const char *text, struct error *e) WARN_UNUSED;
/* Maps ids 0 to size - 1 of the process's new user namespace to the range. */
int idmap_write(pid_t pid, uid_t base, unsigned size, struct error *e) WARN_UNUSED;

#endif
