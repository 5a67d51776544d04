/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a job of the process engine sees as its file system. There is no image, so the
 * machine's own programs are lent read-only; everything else is new and private:
 *
 *   /usr /bin /sbin /lib* /etc /opt /nix   the machine's, read-only, no setuid, no
 * devices /job                                   <job dir>/work: home and default
 * directory /tmp (/var/tmp is a link to it)        <job dir>/tmp /run empty tmpfs, so no
 * socket of the machine /dev                                   null zero full random
 * urandom tty ptmx pts shm and the devices that the job was given /proc of the job's own
 * pid namespace /sys                                   read-only, without cgroups and
 * firmware anything else (/home /var /srv) absent or empty; /root is a link to /job
 *
 * A job with a root file system of its own has that instead of the lent trees, under a
 * writable layer; /job, /tmp, /dev, /proc and /sys are as above.
 *
 * It is an allow list: a data directory, socket or kubeconfig outside the lent trees does
 * not exist inside; the masks cover those that lie within them. The mount namespace
 * belongs to the machine's user namespace, so the job has no right over its mounts.
 */
#ifndef SUPERVISOR_ROOTFS_H
#define SUPERVISOR_ROOTFS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

#define ROOTFS_WORK "work" /* in the job's directory */
#define ROOTFS_TMP "tmp"
#define ROOTFS_CODE "code" /* files for other places of a root of its own */
#define ROOTFS_HOME "/job"

struct rootfs {
    const char *job_dir;
    uid_t base;                 /* the job's root */
    uid_t user;                 /* owner of its home */
    uint32_t ids;               /* how many the job has */
    bool own_namespace;         /* a user namespace that is not the machine's */
    int64_t shm_mib;            /* 0: 64 */
    const char *const *masks;   /* absolute directories or files of the machine */
    const char *const *devices; /* paths below /dev */
    size_t n_masks, n_devices;
    /* A root of its own (lower.h), or -1. binds: "<path of the machine>:<path inside>".
     */
    int lower_fd;
    const char *const *binds;
    size_t n_binds;
};
/* Replaces the root of the calling process, which is alone in a new mount namespace and
 * pid 1 of a new pid namespace, with all privileges in the user namespace that owns them.
 * In one that is not the machine's, device nodes are the machine's, bound instead of made
 * anew, and the job's directories get their owner here. On failure it must exit. */
int rootfs_enter(const struct rootfs *r, struct error *e) WARN_UNUSED;

#endif
