/* SPDX-License-Identifier: Apache-2.0 */
/* One replica of a Run, for run_plan.c. */
#ifndef CONTROLLERS_RUN_REPLICA_H
#define CONTROLLERS_RUN_REPLICA_H

#include "controllers/run/run_plan.h"

#define NS_PER_S INT64_C(1000000000)
#define NS_PER_MS INT64_C(1000000)

enum event {
    EVENT_NONE,    /* the next attempt would end the same way, or is not wanted */
    EVENT_REFUSED, /* nothing had started; costs no retry */
    EVENT_INTERRUPTION,
    EVENT_ERROR
};

struct replica {
    int64_t index;
    const struct job_view *jobs; /* all attempts, by attempt and node */
    size_t n_jobs;
    const struct job_view *last; /* the last attempt, by node */
    size_t n_last;
    int64_t started_ns; /* since when maxDuration counts; 0: not yet */
};

enum standing {
    REPLICA_STARTS, /* an attempt is created now */
    REPLICA_WAITS,  /* for a time or a name */
    REPLICA_LIVE,
    REPLICA_OVER
};

struct replica_state {
    enum standing standing;
    enum phase phase;
    char reason[CODE_MAX], message[MESSAGE_MAX_LEN];
    const struct job_view *job; /* whom the above is about */
    const char *wait_reason;
    char wait_message[MESSAGE_MAX_LEN];
    int64_t started_ns, finished_ns;
};

/* Decides about a replica that has jobs; adds its writes to p. */
void replica_decide(const struct run_observed *o, const struct replica *r,
                    struct replica_state *ret, struct run_plan *p);
/* Its next attempt, `attempt`, unless a name is taken. */
void replica_start(const struct run_observed *o, const struct replica *r, int64_t attempt,
                   struct replica_state *ret, struct run_plan *p);
/* All its jobs that live are told. */
void replica_stop(const struct replica *r, enum desired to, const char *reason,
                  struct run_plan *p);
bool replica_lives(const struct replica *r);
const char *user_reason(enum desired d);
void plan_requeue(struct run_plan *p, int64_t ms);
int64_t max_duration_left_ms(const struct run_observed *o, int64_t started_ns);

/* --- run_retry.c -------------------------------------------------------------------- */
enum event event_of(const struct job_view *j);
bool retry_covers(const struct run_view *r, enum event ev);
/* The time of the next attempt; -1: the window has passed. */
int64_t retry_due_ns(const struct run_observed *o, const struct replica *r, enum event ev,
                     int64_t ended_ns);

#endif
