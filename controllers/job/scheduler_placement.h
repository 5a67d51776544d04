/* SPDX-License-Identifier: Apache-2.0 */
/* Run.status.placement: where the jobs of a gang go. docs/internals/scheduler.md. */
#ifndef CONTROLLERS_JOB_SCHEDULER_PLACEMENT_H
#define CONTROLLERS_JOB_SCHEDULER_PLACEMENT_H

#include "base/vec.h"
#include "controllers/job/scheduler_decode.h"

struct member {
    char *uid, *job;
    int64_t node; /* rank; not read back, members stand in order of rank */
    char *instance_uid, *instance_name;
    unsigned engine;
    struct reservation reserve; /* gpu_mask is not used */
    char **gpus;
    size_t n_gpus;
};
typedef vec(struct member) member_vec;
void members_done(member_vec *v);

struct placement {
    int64_t replica, attempt, deadline_ns;
    bool revoked;
    member_vec members;
};
/* False: there is none that can be read. */
bool placement_read(const struct object *run, struct placement *ret);
void placement_done(struct placement *p);

/* The merge patch of the Run's status, which names its revision. Sorts the members.
 * revoked: the reason; NULL: it holds. The caller decrefs. */
json_t *placement_patch(struct placement *p, const char *revoked,
                        const struct object *run);

#endif
