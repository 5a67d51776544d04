/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bound on what a job may keep in its own directories. There is no event for "a tree
 * has grown", and project quotas exist on few file systems, so the tree is measured: at
 * most once a second, only when the file system's free room has changed meanwhile, and so
 * seldom that measuring takes less than a twentieth of the time. One call looks at a
 * bounded number of entries, so that a large tree does not hold up the supervisor's loop.
 *
 * Counted are blocks, as du(1) does: holes cost nothing, hard links count once. Not
 * counted: files that are deleted and still open. A bound that is found exceeded is
 * measured again before it counts, because a file that moves during the walk may be seen
 * twice.
 *
 * Not thread-safe.
 */
#ifndef SUPERVISOR_DISKUSE_H
#define SUPERVISOR_DISKUSE_H

#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Deeper trees are not measured: each level costs a descriptor. */
#define DISKUSE_DEPTH_MAX 128

enum diskuse_verdict {
    DISKUSE_WITHIN, /* or not known yet */
    DISKUSE_OVER,
    DISKUSE_TOO_DEEP,
};

struct diskuse {
    const char *dir;   /* borrowed: the job's directory */
    int64_t limit;     /* bytes; 0: no bound, and nothing is ever looked at */
    int64_t used;      /* of the last complete walk, or where it went over the limit */
    int64_t next_ms;   /* monotonic: when diskuse_turn() has work; 0: never */
    int64_t walked_ms; /* start of the last or current walk */
    uint64_t free_blocks, free_nodes; /* before that */
    int64_t sum;
    bool suspect; /* the last walk went over the limit */
    unsigned next_part, depth;
    dev_t dev;
    DIR *stack[DISKUSE_DEPTH_MAX];
};

void diskuse_open(struct diskuse *d, const char *dir, int64_t limit_mib);
/* Does what is due, at most some hundred entries of it. After a verdict it goes on. */
enum diskuse_verdict diskuse_turn(struct diskuse *d);
void diskuse_close(struct diskuse *d);

#endif
