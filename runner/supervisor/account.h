/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "user[:group]" of a job to numbers, by the machine's /etc/passwd and /etc/group (files
 * only: what the job itself sees). The rules are Docker's: no user is root; a number
 * needs no entry; with a group, only that group; without one, the user's primary and
 * supplementary groups.
 */
#ifndef SUPERVISOR_ACCOUNT_H
#define SUPERVISOR_ACCOUNT_H

#include <sys/types.h>

#include "base/error.h"

#define ACCOUNT_GROUPS 64

struct account { /* ids as the job sees them: below 65536 */
    uid_t uid;
    gid_t gid;
    gid_t groups[ACCOUNT_GROUPS];
    size_t n_groups;
};
/* text NULL or "": root. ERR_NOT_FOUND / ERR_INVALID name the user or group. */
int account_find(const char *text, struct account *ret, struct error *e) WARN_UNUSED;

#endif
