/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking privileges away from the calling process, just before it executes the job's
 * program. Each call is irreversible; after a failure the process must exit.
 */
#ifndef SUPERVISOR_CONFINE_H
#define SUPERVISOR_CONFINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "runner/supervisor/account.h"

/* Becomes the account, inside the user namespace; keeps the few capabilities of a
 * container's root (none for another user) and no way to gain any. */
int confine_identity(const struct account *a, struct error *e) WARN_UNUSED;
/* In place of the cgroups that an agent without root does not have; 0: none. */
struct confine_limits {
    bool without_root;
    int64_t processes; /* of the job */
};
/* Signal dispositions and mask, limits (no core files), out-of-memory score. Before
 * confine_identity(). */
int confine_process(const struct confine_limits *l, struct error *e) WARN_UNUSED;
/* Landlock scopes where the kernel has them: abstract unix sockets and signals stay
 * within the job. */
int confine_scope(struct error *e) WARN_UNUSED;
/* The system call filter. */
int confine_syscalls(struct error *e) WARN_UNUSED;
/* Private memory of each process, in place of a memory cgroup; 0: no limit. Last of all:
 * the calling program may be over it. */
int confine_memory(int64_t bytes, struct error *e) WARN_UNUSED;

#endif
