/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which waiting job goes to which instance. A pure library: it knows what its owner tells
 * it (instances, jobs that occupy them, jobs that wait), keeps an index of what is free,
 * and answers with decisions. No I/O, no clock, no threads.
 *
 * Rules:
 *  - order: priority (higher first), then queuedAt, then name, then uid. A decision is
 *    always the first job of that order that fits anywhere now; jobs behind one that does
 *    not fit may go before it.
 *  - never more than an instance has: what is free is its capacity minus what bound jobs
 *    and decisions not yet answered take.
 *  - same state, same decisions, however the state was reached. Free GPUs are spared:
 *    instances with the fewest free GPUs that suffice come first, then the tightest class
 *    of free CPU and memory, then names.
 *
 * Cost: jobs of one shape (same requirements) share one heap and one search; a shape that
 * does not fit is asked again only about instances on which something became free.
 */
#ifndef CONTROLLERS_JOB_SCHEDULER_H
#define CONTROLLERS_JOB_SCHEDULER_H

#include "api/resources.h"

struct scheduler;

enum { SCHED_PROCESS = 1, SCHED_DOCKER = 2 }; /* engines, as bits */

/* Strings are copied. */
struct sched_instance {
    const char *uid, *ns, *name, *fleet;
    bool usable; /* ready, not cordoned, not being deleted */
    unsigned engines;
    const struct resource_have *capacity; /* gpu_free: the healthy devices */
    const char *const *gpu_uuids;         /* one per device of capacity */
};

struct sched_job {
    const char *uid, *ns, *name;
    int64_t priority, queued_ns;
    const struct resource_req *req;
    bool has_image;
    const char *const *fleets; /* any of these; none: all fleets */
    size_t n_fleets;
    const char *reason; /* code that its condition shows now, or "" */
};

/* A bound job that is not over: it occupies. */
struct sched_hold {
    const char *uid, *instance_uid;
    int64_t cpu_milli, memory_mib, disk_mib;
    const char *const *gpu_uuids;
    size_t n_gpus;
};

/* Borrowed until the next call. */
struct sched_decision {
    const char *uid, *ns, *name; /* of the job */
    const char *instance_uid, *instance_name;
    unsigned engine; /* one bit */
    struct reservation reserve;
    const char *gpu_uuids[RESOURCE_GPUS_MAX];
    size_t n_gpus;
};
struct sched_reason {
    const char *uid, *ns, *name;
    const char *code; /* "InsufficientMemory", "NoInstances", "NoEngine", ... */
};

struct scheduler *scheduler_new(void);
void scheduler_free(struct scheduler *s);

/* Adds or changes. */
void scheduler_set_instance(struct scheduler *s, const struct sched_instance *i);
void scheduler_remove_instance(struct scheduler *s, const char *uid);
/* The job waits. Replaces what was known of it, an assumed decision too. */
void scheduler_queue(struct scheduler *s, const struct sched_job *from);
void scheduler_hold(struct scheduler *s, const struct sched_hold *h);
/* Neither waits nor occupies any more. Unknown uids are ignored. */
void scheduler_remove_job(struct scheduler *s, const char *uid);

/* The next placement; from here on it is assumed to hold. False: nothing fits. */
bool scheduler_next(struct scheduler *s, struct sched_decision *ret);
/* A waiting job whose reason code is another one than its condition shows; counts as
 * shown from here on. Meaningful after scheduler_next returned false. */
bool scheduler_next_reason(struct scheduler *s, struct sched_reason *ret);

size_t scheduler_waiting(const struct scheduler *s);
/* What is free of an instance; false: unknown. */
bool scheduler_free_of(const struct scheduler *s, const char *instance_uid,
                       int64_t *ret_cpu_milli, int64_t *ret_memory_mib,
                       uint64_t *ret_gpus);

#endif
