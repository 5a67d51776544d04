/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What to do about one Run: a pure function of the Run, its Jobs and the time. A Run of
 * one node has one Job at a time; an attempt that failed and may be repeated is followed
 * by another Job with the next number.
 */
#ifndef CONTROLLERS_RUN_PLAN_H
#define CONTROLLERS_RUN_PLAN_H

#include "controllers/common/job_view.h"

struct run_view {
    const struct object *o; /* borrowed */
    bool deleting, has_finalizer;
    enum desired desired;
    int64_t created_ns;
    int64_t max_duration_s; /* -1: no limit */
    bool retry_error, retry_interruption;
    int64_t retry_duration_s;

    enum phase phase; /* as written */
    char reason[CODE_MAX];
    int64_t started_ns, finished_ns;
    char job_uid[UID_MAX];
    int64_t attempt;
};
/* ERR_INVALID when the spec cannot be understood. */
int run_view_read(const struct object *o, struct run_view *ret, struct error *e);

struct run_observed {
    struct run_view run;
    const struct job_view *jobs; /* of this Run's uid, by attempt */
    size_t n_jobs;
    bool name_taken;     /* the next Job's name is another, older Run's */
    const char *invalid; /* why the spec cannot be carried out; NULL: it can */
    int64_t wall_ns;
};

struct run_plan {
    /* Writes, in this order. */
    bool create_job;
    int64_t attempt;             /* of the Job to create */
    const struct job_view *stop; /* this Job is told stop_to, NULL: none */
    enum desired stop_to;
    const char *stop_reason; /* static */
    bool add_finalizer;
    bool write; /* the status below */
    enum phase phase;
    char reason[CODE_MAX], message[MESSAGE_MAX_LEN];
    const struct job_view *job; /* the attempt the status is about, NULL: none */
    bool accepted;
    const char *wait_reason; /* condition Scheduled=False, NULL: it is scheduled */
    char wait_message[MESSAGE_MAX_LEN];
    int64_t started_ns, finished_ns; /* 0: leave what is there */
    bool drop_finalizer;
    int64_t requeue_ms; /* 0: wait for an event */
};

void run_plan_make(const struct run_observed *o, struct run_plan *ret);

#endif
