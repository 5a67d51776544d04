/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drives the scheduler library: tells it every change of jobs and instances, and writes
 * its decisions, up to 64 binds in flight, each one merge patch of the Job that names the
 * revision it was decided on. A manager part; owner's thread only.
 */
#ifndef CONTROLLERS_JOB_SCHEDULER_LOOP_H
#define CONTROLLERS_JOB_SCHEDULER_LOOP_H

#include "control/manager.h"

struct scheduler_loop;
/* Before manager_start. */
struct scheduler_loop *scheduler_loop_new(struct manager *m);
void scheduler_loop_free(struct scheduler_loop *l); /* after the async client; NULL ok */

#endif
