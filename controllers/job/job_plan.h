/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What to do about one Job: a pure function of the Job, its instance and the time. The
 * job controller derives status.phase and everything beside status.agent from what the
 * agent reports; it never starts or stops anything itself.
 */
#ifndef CONTROLLERS_JOB_PLAN_H
#define CONTROLLERS_JOB_PLAN_H

#include "controllers/common/job_view.h"

enum instance_seen {
    INSTANCE_OK,     /* or not judged yet */
    INSTANCE_SILENT, /* NotReady: its lease expired */
    INSTANCE_GONE,   /* no such object: forgotten */
};

struct job_observed {
    struct job_view job;
    enum instance_seen instance;
    /* While silent: when its lease was last seen to change by our monotonic clock, the
     * fleet's lostAfter, and whether the rule against mass silence applies. */
    int64_t last_renewal_ms;
    int64_t lost_after_ms;
    bool mass_silence;
    bool draining; /* the instance is cordoned and wants its jobs to stop */
    int64_t now_ms, wall_ns;
};

struct job_plan {
    /* Order of the writes: as listed. */
    const char *ask_stop; /* spec.desiredState Stopped, for this reason; NULL: no */
    bool write;           /* the status below */
    enum phase phase;
    char reason[CODE_MAX], message[MESSAGE_MAX_LEN];
    int64_t started_ns, finished_ns;
    struct exit_facts exit;
    int64_t log_length;
    bool guard; /* somebody else may be about to change the Job: one write at a time */
    bool drop_finalizer;
    int64_t requeue_ms; /* 0: wait for an event */
};

void job_plan_make(const struct job_observed *o, struct job_plan *ret);

/* 1.01 * lostAfter + stopDuration + 10 s behind the last renewal (partition rule). */
int64_t job_replace_at_ms(const struct job_observed *o);

#endif
