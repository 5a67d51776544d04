/* SPDX-License-Identifier: Apache-2.0 */
/* Between rootfs.c and rootfs_own.c. */
#ifndef SUPERVISOR_ROOTFS_INTERNAL_H
#define SUPERVISOR_ROOTFS_INTERNAL_H

#include "runner/supervisor/rootfs.h"

/* Where the new root is put together: a directory that every machine has, that is never
 * lent, and that nothing here needs once it is covered. */
#define ROOTFS_NEW "/proc"

/* The overlay, its mount points, and the machine's names. Then the rest may be mounted.
 */
int rootfs_build_own(const struct rootfs *r, struct error *e) WARN_UNUSED;
/* Files and code, at their places. */
int rootfs_bind_own(const struct rootfs *r, struct error *e) WARN_UNUSED;

#endif
