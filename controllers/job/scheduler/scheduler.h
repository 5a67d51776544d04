/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which waiting job goes to which instance. A pure library: it knows what its owner tells
 * it (instances, jobs that occupy them, jobs that wait, quotas, the time), keeps an index
 * of what is free, and answers with decisions. No I/O, no clock, no threads.
 * docs/internals/scheduler.md says why.
 *
 * Rules:
 *  - order: priority (higher first), then queuedAt, then name, then uid. The first job
 *    that fits goes first.
 *  - backfill: the first waiting job of each shape (same requirements) that could run on
 *    an instance were it empty books the instance where it is expected to start first
 *    (at most one booking per instance; the earlier job wins). A later job is placed
 *    there only if it ends before that start, or if both fit side by side.
 *  - a gang is placed whole or not at all: every member on an instance of its own, all in
 *    one fleet. Exact for equal members; unequal ones are placed largest first.
 *  - preemption: a waiting job that may preempt names victims of strictly lower priority
 *    in its namespace, the cheapest set on the instances where they are cheapest.
 *  - quotas: per namespace; unused shares can be borrowed within a cohort, go first to
 *    who has the smallest share of its own, and are reclaimed from borrowers for jobs
 *    and gangs within their namespace's own share. Who would borrow preempts nobody.
 *  - preemption ends: a job makes others go a few times at most until something happens
 *    that is no consequence of it.
 *  - never more than an instance has: what is free is its capacity minus what bound jobs
 *    and decisions not yet answered take.
 *  - while nothing is booked: same state, same decisions, however the state was reached.
 *    Bookings stay where they were made first. Free GPUs are spared: instances with the
 *    fewest free GPUs that suffice come first, then the tightest class of free CPU and
 *    memory, then names.
 *
 * Cost: jobs of one shape (same requirements) share one heap and one search; a shape that
 * does not fit is asked again only about instances on which something became free.
 */
#ifndef CONTROLLERS_JOB_SCHEDULER_H
#define CONTROLLERS_JOB_SCHEDULER_H

#include "api/resources.h"

struct scheduler;

/* Engines, as bits; ROOT: the process engine, for a job with a root file system. */
enum { SCHED_PROCESS = 1, SCHED_DOCKER = 2, SCHED_ROOT = 4 };

/* Strings are copied. */
struct sched_instance {
    const char *uid, *ns, *name, *fleet;
    bool usable; /* ready, not cordoned, not being deleted, has room on its disk */
    bool apart;  /* not in one network with the others: for no gang */
    unsigned engines;
    int64_t blocks; /* equal parts that jobs take whole; 0 or 1: not divided */
    const struct resource_have *capacity; /* gpu_free: the healthy devices */
    const char *const *gpu_uuids;         /* one per device of capacity */
};

struct sched_job {
    const char *uid, *ns, *name;
    int64_t priority, queued_ns;
    const struct resource_req *req;
    bool has_image, has_rootfs;
    const char *const *fleets; /* any of these; none: all fleets */
    size_t n_fleets;
    const char *const *instances; /* names; any of these; none: all */
    size_t n_instances;
    int64_t max_duration_ns; /* 0: unknown */
    bool preempts;
    bool preemptible;   /* once it is placed */
    const char *origin; /* equal for the attempts of one job; NULL: its uid */
    const char *gang;   /* key shared by its members; NULL: alone */
    size_t gang_size;   /* members; placed when all wait or occupy */
    const char *reason; /* code that its condition shows now, or "" */
};

/* A bound job that is not over: it occupies. */
struct sched_hold {
    const char *uid, *instance_uid;
    int64_t cpu_milli, memory_mib, disk_mib;
    const char *const *gpu_uuids;
    size_t n_gpus;
    const char *ns, *name; /* NULL: as told when it waited */
    int64_t priority;
    int64_t ends_ns; /* at the latest, by maxDuration; 0: unknown */
    bool preemptible;
    bool leaving;       /* told to stop: its place is going to be free */
    bool over;          /* ended, but its machine has not said that all of it is gone */
    const char *origin; /* as above */
    const char *gang;   /* NULL: none */
};

enum sched_limit_kind {
    SCHED_LIMIT_CPU_MILLI,
    SCHED_LIMIT_MEMORY_MIB,
    SCHED_LIMIT_GPUS,
    SCHED_LIMIT_JOBS
};
struct sched_limit {
    enum sched_limit_kind kind;
    enum gpu_vendor vendor; /* GPUS only; ANY: all */
    char gpu_name[32];      /* GPUS only; "": all */
    int64_t own;            /* the namespace's own share */
    int64_t borrow;         /* at most this much more, from the cohort */
};
enum { SCHED_LIMITS_MAX = 32 };
struct sched_quota {
    const char *uid, *ns;
    const char *cohort; /* namespaces that lend each other; NULL: none */
    int64_t weight;     /* >= 1; a larger one means a larger fair share */
    const struct sched_limit *limits;
    size_t n_limits; /* <= SCHED_LIMITS_MAX */
};

/* Borrowed until the next call. */
struct sched_decision {
    const char *uid, *ns, *name; /* of the job */
    const char *instance_uid, *instance_name;
    unsigned engine; /* one bit */
    struct reservation reserve;
    const char *gpu_uuids[RESOURCE_GPUS_MAX];
    size_t n_gpus;
    const char *gang; /* NULL: alone */
    size_t gang_left; /* decisions of the gang that the next calls return */
};
struct sched_preemption {
    const char *uid, *ns, *name; /* of the job that is to stop and wait again */
    const char *for_uid, *for_name;
    bool reclaimed; /* it ran on a borrowed share */
};
struct sched_reason {
    const char *uid, *ns, *name;
    const char *code; /* "InsufficientMemory", "NoInstances", "NoEngine", ... */
};

struct scheduler *scheduler_new(void);
void scheduler_free(struct scheduler *s);

/* The time that durations count from; never goes back. */
void scheduler_set_time(struct scheduler *s, int64_t now_ns);
/* When it wants to be told the time and asked again, though nothing happens; 0: not. */
int64_t scheduler_due_ns(const struct scheduler *s);
/* Namespaces that may use a fleet of ns beside ns itself; "*": all. Replaces. */
void scheduler_share_fleet(struct scheduler *s, const char *ns, const char *fleet,
                           const char *const *with, size_t n_with);
/* Adds or changes. */
void scheduler_set_quota(struct scheduler *s, const struct sched_quota *from);
void scheduler_remove_quota(struct scheduler *s, const char *uid);
/* What the namespace uses of one limit; false: unknown. */
bool scheduler_quota_used(struct scheduler *s, const char *uid, size_t limit,
                          int64_t *ret);
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

/* A job that is to give way. Told once; its place stays occupied until the owner says
 * otherwise. Meaningful right after scheduler_next returned false. */
bool scheduler_next_preemption(struct scheduler *s, struct sched_preemption *ret);

/* The instance that a waiting job (first of its shape) has booked, and when it is
 * expected to be free for it (INT64_MAX: not known). i counts a gang's bookings. False:
 * no such booking. */
bool scheduler_booking_of(const struct scheduler *s, const char *job_uid, size_t i,
                          const char **ret_instance_uid, int64_t *ret_start_ns);
/* One shape of waiting jobs, for people. Borrowed during the call. */
enum { SCHED_CANDIDATES_MAX = 16 };
struct sched_candidate {
    const char *fleet;                 /* "<namespace>/<fleet>" */
    size_t instances;                  /* usable ones, of those that were looked at */
    size_t fits;                       /* of these */
    const char *nearest, *nearest_uid; /* NULL: none is usable */
    enum resource_lack lack;           /* of the nearest */
    const struct resource_have *capacity, *free;
};
struct sched_shape {
    const char *ns;
    const struct resource_req *req; /* of the first job */
    unsigned engine;
    size_t jobs, nodes;     /* nodes: of a gang; 0: single jobs */
    const char *uid, *name; /* of the job that leaves first */
    const char *reason;     /* NULL: not looked at yet */
    int64_t starts_ns;      /* when the first is expected to start; 0: not known */
    const struct sched_candidate *candidates;
    size_t n_candidates;
};
typedef void sched_shape_fn(void *arg, const struct sched_shape *sh);
/* Shapes in the order in which their first jobs leave, at most max; looks at some
 * `effort` instances in all. */
void scheduler_each_shape(struct scheduler *s, size_t max, size_t effort,
                          sched_shape_fn *fn, void *arg);
size_t scheduler_waiting(const struct scheduler *s);
/* What is free of an instance; false: unknown. */
bool scheduler_free_of(const struct scheduler *s, const char *instance_uid,
                       int64_t *ret_cpu_milli, int64_t *ret_memory_mib,
                       uint64_t *ret_gpus);

#endif
