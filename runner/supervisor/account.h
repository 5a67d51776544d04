/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "user[:group]" of a job to numbers, by the /etc/passwd and /etc/group that the job
 * itself sees: the machine's (files only), or those of its root file system. The rules
 * are Docker's: no user is root; a number needs no entry; with a group, only that group;
 * without one, the user's primary and supplementary groups.
 */
#ifndef SUPERVISOR_ACCOUNT_H
#define SUPERVISOR_ACCOUNT_H

#include <sys/types.h>

#include "base/error.h"
#include "runner/supervisor/usermap.h"

#define ACCOUNT_GROUPS 64
#define ACCOUNT_PATH 256

struct account { /* ids as the job sees them: below 65536 */
    uid_t uid;
    gid_t gid;
    gid_t groups[ACCOUNT_GROUPS];
    size_t n_groups;
    bool fixed_groups; /* setgroups(2) is not allowed; n_groups is 0 */
    char home[ACCOUNT_PATH], shell[ACCOUNT_PATH]; /* "": not known */
};
/* root_fd: of the root file system (O_PATH will do), -1: the machine's. text NULL or "":
 * root. ERR_NOT_FOUND / ERR_INVALID name the user or group. */
int account_find(int root_fd, const char *text, struct account *ret,
                 struct error *e) WARN_UNUSED;
/* Of an agent that is not root: ERR_UNSUPPORTED in words when the job cannot have these
 * ids. Supplementary groups that it cannot have are left out. */
int account_fit(struct account *a, const struct usermap *m, struct error *e) WARN_UNUSED;

#endif
