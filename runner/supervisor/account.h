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
#include "runner/supervisor/usermap.h"

#define ACCOUNT_GROUPS 64

struct account { /* ids as the job sees them: below 65536 */
    uid_t uid;
    gid_t gid;
    gid_t groups[ACCOUNT_GROUPS];
    size_t n_groups;
    bool fixed_groups; /* setgroups(2) is not allowed; n_groups is 0 */
};
/* text NULL or "": root. ERR_NOT_FOUND / ERR_INVALID name the user or group. */
int account_find(const char *text, struct account *ret, struct error *e) WARN_UNUSED;
/* Of an agent that is not root: ERR_UNSUPPORTED in words when the job cannot have these
 * ids. Supplementary groups that it cannot have are left out. */
int account_fit(struct account *a, const struct usermap *m, struct error *e) WARN_UNUSED;

#endif
