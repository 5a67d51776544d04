/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Jobs of an agent that is not root. What the kernel lets an ordinary user do is make a
 * user namespace in which it is root, and with that all the others. This namespace stands
 * between the machine and the job:
 *
 *   machine      the caller's id        a range of sub-ids, when /etc/subuid and
 *                     |                 /etc/subgid give it one (newuidmap, newgidmap)
 *   outer                0                 1, 2, ...        owns the job's mounts
 *   of the job        -- or --          0, 1, ...           owns nothing but itself
 *
 * With a range the job's root is a sub-id, and every id below the size of the range can
 * be used. Without one the job has one id: its root is the caller to everybody outside,
 * so that only the namespaces keep it from the caller's files and processes.
 */
#ifndef SUPERVISOR_USERMAP_H
#define SUPERVISOR_USERMAP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

struct usermap {
    bool needed; /* false: the caller is root, and nothing below counts */
    uid_t uid;   /* the caller */
    gid_t gid;
    uint32_t sub_uid, sub_gid;
    uint32_t count; /* 0: no range */
    char why[240];  /* there is none */
};

/* Reads /etc/subuid and /etc/subgid. */
void usermap_find(struct usermap *ret);
/* The same for another caller and other files. ret->why names what is missing. */
void usermap_read(const char *subuid_file, const char *subgid_file, const char *user,
                  struct usermap *ret);
/* The job's root as the outer namespace numbers it, and how many ids a job has. */
uid_t usermap_base(const struct usermap *m);
uint32_t usermap_size(const struct usermap *m);
/* Gives the new user namespace of a process its ids. The process was made by the caller,
 * waits meanwhile, and is dumpable. Blocking: runs two programs when there is a range. */
int usermap_write(const struct usermap *m, pid_t pid, struct error *e) WARN_UNUSED;
/* The calling process, which has one thread, moves into an outer namespace of its own,
 * for work on the files of a job. No-op for root. */
int usermap_enter(const struct usermap *m, struct error *e) WARN_UNUSED;

#endif
