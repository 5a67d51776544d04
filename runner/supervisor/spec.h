/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the agent hands to a job's supervisor: everything that is needed to run the job
 * without the agent. It travels in a sealed memfd (descriptor 3 of the supervisor), never
 * in a file or in argv, because env holds secrets.
 *
 * Ownership: after spec_map() the strings point into the mapping and live until
 * spec_done(), which unmaps it. Not thread-safe.
 */
#ifndef SUPERVISOR_SPEC_H
#define SUPERVISOR_SPEC_H

#include <stdint.h>

#include "base/error.h"

#define SPEC_FD 3 /* where the supervisor finds the memfd */
#define SPEC_MAX_BYTES (8 * 1024 * 1024)

struct spec_list {
    const char **items; /* NULL-terminated */
    size_t len;
};

struct spec {
    const char *dir;                /* the job's directory, absolute */
    const char *uid;                /* of the job: a plain file name */
    const char *agent_id;           /* names the cgroups of this agent */
    const char *working_dir, *user; /* NULL: default */
    const char *renewed;            /* renewed.h; NULL: not interruptible */
    const char *rootfs;             /* directory of its own root; NULL: lent programs */
    int64_t rootfs_kept;            /* 1: the agent's own, so it may lie in a mask */
    struct spec_list argv, env, masks, devices;
    struct spec_list binds; /* "<path of the machine>:<path inside>", with rootfs only */
    int64_t cpu_request_milli, cpu_limit_milli; /* 0: none */
    int64_t memory_limit_mib, shm_mib;
    int64_t tty_columns, tty_rows; /* columns 0: no terminal */
    int64_t disk_limit_mib;        /* of its own directories; 0: none */
    int64_t stop_ms;               /* grace when the supervisor itself stops the job */
    int64_t spool_bytes; /* output kept on disk before bytes are dropped; 0: default */

    void *map; /* spec_map() only */
    size_t map_len;
};

/* A CLOEXEC memfd with the encoded spec, sealed. */
int spec_memfd(const struct spec *s, int *ret_fd, struct error *e) WARN_UNUSED;
/* Decodes what spec_memfd() wrote; fd is borrowed. */
int spec_map(int fd, struct spec *ret, struct error *e) WARN_UNUSED;
void spec_done(struct spec *s);

#endif
