/* SPDX-License-Identifier: Apache-2.0 */
/* From Jobs and Instances to what the scheduler wants to know of them. */
#ifndef CONTROLLERS_JOB_SCHEDULER_DECODE_H
#define CONTROLLERS_JOB_SCHEDULER_DECODE_H

#include "api/object.h"
#include "controllers/job/scheduler/scheduler.h"

enum sched_standing {
    SCHED_OUT,     /* neither waits nor occupies */
    SCHED_WAITS,   /* to be placed */
    SCHED_OCCUPIES /* bound, and what it took is not free yet */
};
enum sched_standing scheduler_standing(const struct object *job);

/* Jobs of one attempt of a replica of several nodes are a gang; appends its key,
 * "<run uid>/<replica>/<attempt>". False: the job is alone. */
enum { GANG_KEY_MAX = 256 };
bool scheduler_gang_key(const struct object *job, struct str *key);

/* Tells the scheduler; ERR_INVALID when spec.resources cannot be read (then it is told
 * that the job is out). */
int scheduler_tell_waiting(struct scheduler *s, const struct object *job,
                           struct error *e) WARN_UNUSED;
void scheduler_tell_holding(struct scheduler *s, const struct object *job);
/* A waiting job that is placed, and not bound yet. */
struct member;
void scheduler_tell_assumed(struct scheduler *s, const struct object *job,
                            const struct member *m);
void scheduler_tell_instance(struct scheduler *s, const struct object *o);

#endif
