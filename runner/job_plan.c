/* SPDX-License-Identifier: Apache-2.0 */
/* The plan for one job; see the header for why it is safe. */
#include "runner/job_plan.h"

static bool
wanted(const struct job_facts *f)
{
    return f->desired == JOB_RUN && !f->deleting && !f->absent;
}

/* Nothing of it is in the journal: it holds nothing here. */
static enum job_action
plan_without_entry(const struct job_facts *f)
{
    if (f->absent || (f->end_acked && !f->claiming))
        return JOB_FORGET;
    if (!f->seen || f->claiming || f->verdict)
        return JOB_WAIT;
    if (f->server_terminal) {
        /* The journal was lost between the end and its release: nothing is held any
         * more, and only we can say so. */
        bool told = f->server_freed || f->freed_acked || f->claim == JOB_CLAIM_NONE;
        return told ? JOB_FORGET : JOB_SAY_FREED;
    }
    if (f->claim == JOB_CLAIM_OTHER)
        return JOB_SAY_LOST;
    if (!wanted(f))
        return JOB_SAY_CANCELLED;
    if (f->engine_use == JOB_ENGINE_UNKNOWN)
        return JOB_WAIT;
    if (f->engine_use == JOB_ENGINE_MISSING)
        return f->engine_coming ? JOB_WAIT : JOB_SAY_NO_ENGINE;
    if (!f->fits)
        return JOB_SAY_MISFIT;
    return f->claim == JOB_CLAIM_OURS ? JOB_WRITE_ENTRY : JOB_CLAIM;
}

/* Nothing was started and, without a launch, nothing will be. */
static enum job_action
plan_clean(const struct job_facts *f)
{
    if (f->absent || f->server_terminal || f->end_acked)
        return JOB_REMOVE;
    if (!f->seen || f->verdict || f->claiming)
        return JOB_WAIT;
    if (f->claim == JOB_CLAIM_OTHER)
        return JOB_SAY_LOST;
    if (!wanted(f))
        return JOB_SAY_CANCELLED;
    if (f->claim == JOB_CLAIM_NONE)
        return JOB_CLAIM;
    if (f->engine_use == JOB_ENGINE_UNKNOWN)
        return JOB_WAIT;
    if (f->engine_use == JOB_ENGINE_MISSING)
        return f->engine_coming ? JOB_WAIT : JOB_SAY_NO_ENGINE;
    if (!f->go || f->dead_man)
        return JOB_WAIT;
    if (f->secrets_failed)
        return JOB_SAY_NO_SECRET;
    if (f->needs_secrets && !f->secrets)
        return JOB_FETCH_SECRETS;
    if (f->place_failed)
        return JOB_SAY_NOT_PLACED;
    if (f->needs_place && !f->placed)
        return JOB_PLACE;
    return JOB_LAUNCH;
}

static enum job_action
plan_busy(const struct job_facts *f)
{
    if (f->desired == JOB_ABORT || f->over_quota)
        return f->stop_sent == JOB_ABORT ? JOB_WAIT : JOB_KILL_ENGINE;
    if ((!wanted(f) || f->dead_man) && f->stop_sent == JOB_RUN)
        return JOB_STOP_ENGINE;
    return JOB_WAIT;
}

static enum job_action
plan_removed(const struct job_facts *f)
{
    bool told = f->absent || f->server_freed || f->freed_acked;
    if (!told)
        return JOB_SAY_FREED;
    return f->logs_acked || f->absent ? JOB_FINISH : JOB_WAIT;
}

enum job_action
job_plan(const struct job_facts *f)
{
    if (!f->entry)
        return plan_without_entry(f);
    switch (f->engine) {
    case JOB_ENGINE_UNASKED:
        return f->engine_use == JOB_ENGINE_UNKNOWN ? JOB_WAIT : JOB_ADOPT;
    case JOB_ENGINE_CLEAN:
        return plan_clean(f);
    case JOB_ENGINE_BUSY:
        return plan_busy(f);
    case JOB_ENGINE_ENDED:
        if (f->absent)
            return JOB_REMOVE;
        /* The engine still reads its log. */
        return (f->end_acked || f->server_terminal) && !f->log_open ? JOB_REMOVE
                                                                    : JOB_WAIT;
    case JOB_ENGINE_REMOVING:
        return JOB_WAIT;
    case JOB_ENGINE_REMOVED:
        return plan_removed(f);
    }
    return JOB_WAIT;
}

const char *
job_action_name(enum job_action a)
{
    static const char *const names[JOB_N_ACTIONS] = {
        [JOB_WAIT] = "wait",
        [JOB_FORGET] = "forget",
        [JOB_CLAIM] = "claim",
        [JOB_WRITE_ENTRY] = "write entry",
        [JOB_ADOPT] = "adopt",
        [JOB_FETCH_SECRETS] = "fetch secrets",
        [JOB_PLACE] = "place files",
        [JOB_LAUNCH] = "launch",
        [JOB_STOP_ENGINE] = "stop",
        [JOB_KILL_ENGINE] = "kill",
        [JOB_SAY_LOST] = "say lost",
        [JOB_SAY_MISFIT] = "say misfit",
        [JOB_SAY_NO_ENGINE] = "say no engine",
        [JOB_SAY_CANCELLED] = "say cancelled",
        [JOB_SAY_NO_SECRET] = "say no secret",
        [JOB_SAY_NOT_PLACED] = "say files not placed",
        [JOB_REMOVE] = "remove",
        [JOB_SAY_FREED] = "say freed",
        [JOB_FINISH] = "finish",
    };
    return a < JOB_N_ACTIONS ? names[a] : "?";
}
