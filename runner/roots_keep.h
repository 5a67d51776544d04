/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's care for the root file systems that jobs have unpacked (place/roots.h):
 * what the dead have left goes at the start, and those that no job uses go, the least
 * recently used one first, as soon as the disk has less than twice what is kept free of
 * jobs. On the thread that removes directories. Loop thread only.
 */
#ifndef RUNNER_ROOTS_KEEP_H
#define RUNNER_ROOTS_KEEP_H

#include <stdint.h>

struct agent;
struct roots_keep;
struct roots_keep *roots_keep_start(struct agent *a); /* needs a->trash */
void roots_keep_stop(struct roots_keep *k); /* before a->trash is freed; NULL ok */
void roots_keep_free(struct roots_keep *k); /* after it; NULL ok */
/* So much is free now, and so much is to be kept free. NULL ok. */
void roots_keep_look(struct roots_keep *k, int64_t free_mib, int64_t floor_mib);
/* Somebody was killed at work. NULL ok. */
void roots_keep_sweep(struct roots_keep *k);

#endif
