/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The root file system that a job brings (spec.rootfs): checked, and made ready to lie
 * under the job's own writable layer.
 *
 *   <job dir>/root/lower   where the job's init mounts it, in its own namespace
 *   <job dir>/root/upper   what the job changes; work: the kernel's
 *
 * The files of the directory belong to ids of the machine. An id-mapped mount shows them
 * under the job's range, so that root of the file system is root of the job.
 */
#ifndef SUPERVISOR_LOWER_H
#define SUPERVISOR_LOWER_H

#include <sys/types.h>

#include "base/error.h"
#include "runner/supervisor/spec.h"

#define LOWER_DIR "root" /* in the job's directory */

/* O_PATH of the directory. Refused: what is none, and what is, holds or lies in one of
 * s->masks, unless the agent keeps it there itself. */
int lower_open(const struct spec *s, int *ret_fd, struct error *e) WARN_UNUSED;
/* The directories above, and a detached read-only mount of it, mapped where its file
 * system can be; where not, all of it belongs to nobody inside. */
int lower_prepare(const struct spec *s, int root_fd, uid_t base, int *ret_fd,
                  struct error *e) WARN_UNUSED;

#endif
