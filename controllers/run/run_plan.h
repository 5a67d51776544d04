/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What to do about one Run: a pure function of the Run, its Jobs and the time.
 *
 * A Run has one replica, or one for each element of its array. A replica has one attempt
 * at a time: the Jobs of all its nodes, which start together and end together. An attempt
 * that failed and may be repeated is followed by another with the next number, of all
 * nodes again. Jobs are `<run>-<replica>-<node>-<attempt>`.
 *
 *   run_plan.c      the Run: what is wanted, elements, schedule, the end
 *   run_replica.c   one replica: from the states of its nodes to what happens next
 *   run_retry.c     which event a failure is, and when it is repeated
 */
#ifndef CONTROLLERS_RUN_PLAN_H
#define CONTROLLERS_RUN_PLAN_H

#include "api/cron.h"
#include "api/values.h"
#include "base/vec.h"
#include "controllers/common/job_view.h"

enum startup_order { STARTUP_ANY, STARTUP_MASTER_FIRST, STARTUP_WORKERS_FIRST };
enum { RUN_CRONS_MAX = 16, RUN_NODES_MAX = 1024, RUN_GROUPS_MAX = 64 };

struct run_view {
    const struct object *o; /* borrowed */
    bool deleting, has_finalizer;
    enum desired desired;
    int64_t created_ns, priority;
    int64_t max_duration_s; /* -1: no limit */
    bool retry_error, retry_interruption, retry_no_capacity;
    int64_t retry_duration_s;
    bool fail_without_capacity;
    int64_t ttl_s; /* -1: kept */
    int64_t history;

    int64_t nodes; /* of a replica, all groups together */
    enum startup_order startup;
    bool master_done;
    bool has_array;
    struct run_array array; /* 0-0%1 without one */
    struct cron crons[RUN_CRONS_MAX];
    size_t n_crons;

    enum phase phase; /* as written */
    char reason[CODE_MAX], message[MESSAGE_MAX_LEN];
    int64_t started_ns, finished_ns;
    int64_t next_start_ns, last_start_ns; /* of the schedule */
    char job_uid[UID_MAX];
    int64_t attempt;
    int64_t elements_started; /* of the array, in order */
};
/* ERR_INVALID when the spec cannot be understood. */
int run_view_read(const struct object *o, struct run_view *ret, struct error *e);

/* What spec.dependsOn says today, the better before the worse. */
enum depends {
    DEPENDS_MET,
    DEPENDS_WAITS,
    DEPENDS_FAILED, /* it ended otherwise than asked for */
    DEPENDS_MISSING /* it is gone, and nobody knows how it ended */
};

struct run_observed {
    struct run_view run;
    const struct job_view *jobs; /* of this Run's uid, by replica, attempt and node */
    size_t n_jobs;
    const char *const *taken; /* names of jobs of older Runs of this name */
    size_t n_taken;
    const char *invalid; /* why the spec cannot be carried out; NULL: it can */
    enum depends depends;
    const char *depends_message;
    json_t *dependencies; /* what status.dependencies is to be; NULL: nothing */
    int64_t wall_ns;
};

struct job_new {
    int64_t replica, node, attempt;
};
struct job_stop {
    const struct job_view *job;
    enum desired to;
    const char *reason; /* static */
};
struct job_list {
    vec(const struct job_view *) list;
};

struct run_counts { /* elements of an array */
    int64_t waiting, active, done, failed;
};

struct run_plan {
    /* Writes, in this order. */
    vec(struct job_new) create;
    vec(struct job_stop) stop;
    struct job_list release; /* told who their peers are, and to start */
    struct job_list requeue; /* waiting Jobs of another priority than the Run's */
    struct job_list forget;  /* ended attempts beyond the history */
    bool add_finalizer;
    bool write; /* the status below */
    enum phase phase;
    char reason[CODE_MAX], message[MESSAGE_MAX_LEN];
    const struct job_view *job; /* the node the status is about, NULL: none */
    bool accepted;
    const char *wait_reason; /* condition Scheduled=False, NULL: it is scheduled */
    char wait_message[MESSAGE_MAX_LEN];
    bool began; /* the schedule's next start is this one: the status starts over */
    int64_t started_ns, finished_ns; /* 0: leave what is there */
    int64_t next_start_ns;           /* 0: none */
    struct run_counts counts;
    int64_t elements_started;
    bool drop_finalizer;
    bool delete_run;    /* its time after the end is over */
    int64_t requeue_ms; /* 0: wait for an event */
};

void run_plan_make(const struct run_observed *o, struct run_plan *ret);
void run_plan_done(struct run_plan *p);
static inline void
run_plan_done_ptr(struct run_plan *p)
{
    run_plan_done(p);
}
#define auto_run_plan CLEANUP(run_plan_done_ptr) struct run_plan

#endif
