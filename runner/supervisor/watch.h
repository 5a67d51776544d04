/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A prepared job from its release to its exit record: the supervisor's loop. Plain
 * poll(2) over seven descriptors, so that the process stays small.
 */
#ifndef SUPERVISOR_WATCH_H
#define SUPERVISOR_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "runner/supervisor/cgroup.h"
#include "runner/supervisor/diskuse.h"
#include "runner/supervisor/launch.h"
#include "runner/supervisor/output.h"
#include "runner/supervisor/record.h"
#include "runner/supervisor/renewed.h"

struct watch { /* filled by the caller down to the blank line */
    const char *dir;
    struct launch launch;
    struct cgroup cgroup;
    struct output *output;
    struct record_state state;
    int signal_fd;
    struct deadman deadman;
    struct diskuse disk;
    int64_t stop_ms; /* grace of a stop by one of these two */
    int64_t memory_limit_mib;

    bool released;    /* the first process may execute */
    bool executed;    /* it has */
    bool failed;      /* failure holds why nothing runs */
    bool stopping;    /* SIGTERM was sent, or the job will not be released */
    bool silent;      /* stopped by the dead-man switch */
    bool over_disk;   /* stopped for what it keeps on the disk; over says it */
    bool killed;      /* init was killed by us */
    bool have_status; /* main_status is valid */
    int main_status;
    int64_t kill_at_ms; /* monotonic; 0: never */
    struct launch_msg failure;
    char over[200];
    bool ended[2]; /* stdout, stderr */
};

/* Returns the exit status of the supervisor: 0 when an exit record was written. Closes
 * and reaps everything. */
int watch_run(struct watch *w);

#endif
