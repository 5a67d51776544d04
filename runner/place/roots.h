/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Root file systems out of archives: unpacked once per content, shared by the jobs of a
 * machine, which lay their own layer over it and never change it.
 *
 *   <agent dir>/roots/       0700: whatever lies in it is for nobody else
 *     <hex>                  the file system, whole
 *     <hex>.tmp              being unpacked by who holds the lock; else left by the dead
 *     <hex>.lock             flock; its time is the last use
 *     <hex>.<pid>.gone       being removed
 *   <agent dir>/jobs/<uid>/rootfs   a link that says <hex>: the job uses it. It goes with
 *                                   the job's directory, so nothing has to be counted.
 *
 * A root is written to the disk (syncfs) before it has its name. Who looks at or changes
 * one holds its lock, so that it is unpacked once however many jobs ask, and is never
 * taken away from one that has just found it. Blocking; any process of the agent's user.
 */
#ifndef RUNNER_ROOTS_H
#define RUNNER_ROOTS_H

#include "runner/place/place.h"

#define ROOTS_DIR "roots"
#define ROOTS_LINK "rootfs" /* in the job's directory */
#define ROOTS_MAX_BYTES (INT64_C(64) << 30)

struct roots_take {
    const char *agent_dir, *job_dir, *blob;
    const struct fetch *fetch;
    int64_t floor_bytes; /* of the disk, left free */
    int64_t max_bytes;   /* that one may have unpacked; 0: ROOTS_MAX_BYTES */
};
/* Where the root of a blob ("sha256:<hex>") is. malloc'd. */
char *roots_path(const char *agent_dir, const char *blob);
/* It is there, and the job uses it from now on. Roots that nobody uses go when the room
 * is needed. ERR_FULL, ERR_TOO_LARGE, or what the archive is. */
int roots_take(const struct roots_take *t, struct error *e) WARN_UNUSED;
/* Removes the least recently used one that no job uses. *ret: there was one. */
int roots_collect(const char *agent_dir, bool *ret, struct error *e) WARN_UNUSED;
/* Removes what the dead have left: half unpacked, half removed. */
void roots_sweep(const char *agent_dir);

#endif
