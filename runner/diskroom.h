/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The room that the agent keeps free on the disk of its jobs. A job need not name an
 * upper end of `disk`, so whoever writes can fill the machine; below the floor no new job
 * is taken, and the Instance says DiskPressure. The kernel tells nobody of free space, so
 * it is looked at: when a job comes, and every half minute while there are jobs or too
 * little room (one statvfs). Loop thread only.
 */
#ifndef RUNNER_DISKROOM_H
#define RUNNER_DISKROOM_H

#include <stdbool.h>
#include <stdint.h>

struct agent;
struct diskroom;
struct diskroom *diskroom_start(struct agent *a);
void diskroom_free(struct diskroom *d); /* NULL ok */
/* Looks now. NULL: there is room; else words for people, valid until the next call. */
const char *diskroom_low(struct diskroom *d);
/* Looks now, and tells all jobs when the answer is another one. NULL ok. */
void diskroom_look(struct diskroom *d);
/* What is kept free. NULL ok. */
int64_t diskroom_floor(const struct diskroom *d);
/* As last seen. NULL ok. */
const char *diskroom_last(const struct diskroom *d);

/* What is kept free: what is wanted (>= 0), or the smaller of 5 % and 1 GiB. */
int64_t diskroom_floor_mib(int64_t total_mib, int64_t wanted_mib);
/* was: it was low before. Room counts again a quarter above the floor, so that the answer
 * does not flutter. */
bool diskroom_is_low(bool was, int64_t free_mib, int64_t floor_mib);

#endif
