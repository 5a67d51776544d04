/* SPDX-License-Identifier: Apache-2.0 */
/* Ready, NotReady or Pending. */
#include "controllers/instance/instance_plan.h"

static const char *const names[] = {
    [INSTANCE_PHASE_NONE] = "",
    [INSTANCE_PHASE_PENDING] = "Pending",
    [INSTANCE_PHASE_READY] = "Ready",
    [INSTANCE_PHASE_NOT_READY] = "NotReady",
    [INSTANCE_PHASE_PROVISIONING] = "Provisioning",
    [INSTANCE_PHASE_TERMINATING] = "Terminating",
};

const char *
instance_phase_name(enum instance_phase p)
{
    return names[p];
}

enum instance_phase
instance_phase_parse(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (streq(names[i], name))
            return (enum instance_phase)i;
    return INSTANCE_PHASE_NONE;
}

/* A lease that has not changed since we look says nothing yet: who was silent stays so
 * until a renewal is seen, who was ready stays so until the lease's time is over. */
void
instance_plan_make(const struct instance_observed *o, struct instance_plan *ret)
{
    const struct lease_seen *l = &o->lease;

    *ret = (struct instance_plan){INSTANCE_PHASE_PENDING, "NoLease",
                                  "the agent has not reported yet", 0};
    if (!l->known && o->phase != INSTANCE_PHASE_READY &&
        o->phase != INSTANCE_PHASE_NOT_READY)
        return;
    if (!l->known || lease_seen_expired(l, o->now_ms) ||
        (o->phase == INSTANCE_PHASE_NOT_READY && !l->live)) {
        ret->phase = INSTANCE_PHASE_NOT_READY;
        ret->reason = "LeaseExpired";
        ret->message = "the agent does not renew its lease";
        return;
    }
    ret->phase = INSTANCE_PHASE_READY;
    ret->reason = "";
    ret->message = "";
    ret->requeue_ms = l->changed_ms + l->duration_ms + 1 - o->now_ms;
    if (ret->requeue_ms < 1)
        ret->requeue_ms = 1;
}
