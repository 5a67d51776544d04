/* SPDX-License-Identifier: Apache-2.0 */
/* Phase derivation. A final phase is never left again, whatever is reported later. */
#include "controllers/job/job_plan.h"

#include <string.h>

#include "base/clock.h"
#include "base/str.h"

enum {
    CLAIM_GRACE_MS =
        1000, /* an agent claims with a revision: no write before, if quick */
    MARGIN_MS = 10000,
    MASS_AGAIN_MS = 60000,
    NS_PER_MS = 1000000
};

#define DRAINED "InstanceDrained"

static void
set_text(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from);
}

static void
set_reason(struct job_plan *p, const char *reason, const char *message)
{
    set_text(p->reason, sizeof(p->reason), reason);
    set_text(p->message, sizeof(p->message), message);
}

static const char *
stop_reason(const struct job_view *j)
{
    if (j->stop_reason[0] != '\0')
        return j->stop_reason;
    if (j->desired == DESIRED_RUNNING)
        return "JobDeleted"; /* the only other way to an end */
    return j->desired == DESIRED_ABORTED ? "AbortedByUser" : "StoppedByUser";
}

static void
finish(struct job_plan *p, enum phase phase, const struct job_observed *o)
{
    p->write = true;
    p->phase = phase;
    if (p->finished_ns == 0)
        p->finished_ns = o->wall_ns;
}

/* Why it was stopped, in words; "": the reason says it all. */
static void
say_stopped(const struct job_view *j, char *text, size_t size)
{
    char since[CLOCK_RFC3339_LEN];

    text[0] = '\0';
    if (streq(j->stop_reason, DRAINED)) {
        snprintf(text, size, "its machine was drained");
    } else if (streq(j->stop_reason, UTILIZATION_TOO_LOW) && j->idle.told) {
        clock_format(j->idle.since_ns, since);
        snprintf(text, size, "GPU %lld of %.100s was at most %lld%% busy since %s",
                 (long long)j->idle.index, j->instance_name, (long long)j->idle.max,
                 since);
    }
}

/* The job was told to stop (or is being deleted) and is over now. */
static void
finish_stopped(struct job_plan *p, const struct job_observed *o)
{
    bool drained = streq(o->job.stop_reason, DRAINED);
    char why[256];

    say_stopped(&o->job, why, sizeof(why));
    /* Nobody wanted it to end: that is a failure, which a retry may cover. */
    set_reason(p, stop_reason(&o->job), why);
    finish(p, drained ? PHASE_FAILED : PHASE_TERMINATED, o);
}

static void
take_facts(struct job_plan *p, const struct job_view *j)
{
    p->started_ns = j->agent_started_ns;
    p->finished_ns = agent_is_over(j->agent) ? j->agent_finished_ns : 0;
    p->exit = j->agent_exit;
    p->log_length = j->log_length;
    if (!agent_is_over(j->agent))
        p->exit = (struct exit_facts){0};
}

static void
exited(struct job_plan *p, const struct job_observed *o)
{
    const struct job_view *j = &o->job;
    char text[96];
    bool silenced = /* by the dead-man switch */
        j->desired == DESIRED_RUNNING && streq(j->agent_reason, "ServerSilent");

    if (j->agent_exit.oom) {
        set_reason(p, "OutOfMemory", "killed: out of memory");
        finish(p, PHASE_FAILED, o);
    } else if (streq(j->agent_reason, "LogQuotaExceeded") ||
               streq(j->agent_reason, "DiskQuotaExceeded") || silenced) {
        set_reason(p, j->agent_reason, j->agent_message);
        finish(p, PHASE_FAILED, o);
    } else if (j->desired != DESIRED_RUNNING) {
        finish_stopped(p, o);
    } else if (j->agent_exit.signal[0] != '\0') {
        snprintf(text, sizeof(text), "ended by %s", j->agent_exit.signal);
        set_reason(p, "Signaled", text);
        finish(p, PHASE_FAILED, o);
    } else if (j->agent_exit.has_code && j->agent_exit.code == 0) {
        set_reason(p, "Exited", "");
        finish(p, PHASE_DONE, o);
    } else {
        snprintf(text, sizeof(text), "exited with code %lld",
                 j->agent_exit.has_code ? (long long)j->agent_exit.code : -1LL);
        set_reason(p, "Exited", text);
        finish(p, PHASE_FAILED, o);
    }
}

static void
agent_over(struct job_plan *p, const struct job_observed *o)
{
    const struct job_view *j = &o->job;

    if (j->agent == AGENT_EXITED) {
        exited(p, o);
    } else if (j->desired != DESIRED_RUNNING || j->agent == AGENT_CANCELLED) {
        finish_stopped(p, o);
    } else {
        set_reason(p, j->agent_reason[0] != '\0' ? j->agent_reason : "AgentFailed",
                   j->agent_message);
        finish(p, PHASE_FAILED, o);
    }
}

static void
unbound(struct job_plan *p, const struct job_observed *o)
{
    if (o->job.desired == DESIRED_RUNNING && !o->job.deleting)
        return;      /* the scheduler writes why it waits */
    p->guard = true; /* the scheduler may bind it in this moment */
    finish_stopped(p, o);
}

static void
lost(struct job_plan *p, const struct job_observed *o, const char *message)
{
    /* Nodes that are stopped because one failed: the lost one was likely the cause. */
    if (o->job.desired != DESIRED_RUNNING &&
        !streq(o->job.stop_reason, REASON_SIBLING_FAILED)) {
        finish_stopped(p, o);
        return;
    }
    set_reason(p, o->job.claimed ? "AgentLost" : "NeverClaimed", message);
    finish(p, PHASE_FAILED, o);
}

int64_t
job_replace_at_ms(const struct job_observed *o)
{
    return o->last_renewal_ms + o->lost_after_ms + o->lost_after_ms / 100 +
           o->job.stop_duration_s * 1000 + MARGIN_MS;
}

/* A claim and our write of an end both name the revision: one of them fails, and an agent
 * starts nothing that is not claimed. So what was never claimed can go elsewhere at once,
 * whether it is interruptible or not. */
static bool
surely_not_started(const struct job_view *j)
{
    return !j->claimed && j->agent == AGENT_NONE;
}

static void
silent(struct job_plan *p, const struct job_observed *o)
{
    if (surely_not_started(&o->job) && !o->mass_silence) {
        lost(p, o, "the machine fell silent before it took the job");
        return;
    }
    if (o->job.interruptible && !o->mass_silence) {
        int64_t at = job_replace_at_ms(o);
        if (o->now_ms >= at) {
            lost(p, o, "the machine has been silent for too long");
            return;
        }
        p->requeue_ms = at - o->now_ms;
    }
    if (o->mass_silence)
        p->requeue_ms = MASS_AGAIN_MS; /* who is back then is not told to each job */
    p->write = true;
    p->phase = PHASE_UNKNOWN;
    set_reason(p, "LeaseExpired", "the machine's agent does not report");
}

static void
alive(struct job_plan *p, const struct job_observed *o)
{
    const struct job_view *j = &o->job;

    p->write = true;
    set_reason(p, j->agent_reason, j->agent_message);
    if (j->desired != DESIRED_RUNNING) {
        p->phase = PHASE_TERMINATING;
        set_reason(p, stop_reason(j), "");
        return;
    }
    p->phase = phase_of_agent(j->agent);
    if (j->agent != AGENT_NONE || j->claimed)
        return;
    int64_t waited_ms = (o->wall_ns - j->bound_ns) / NS_PER_MS;
    if (waited_ms >= 0 && waited_ms < CLAIM_GRACE_MS && j->phase != PHASE_UNKNOWN) {
        p->write = false;
        p->requeue_ms = CLAIM_GRACE_MS - waited_ms;
    }
}

static bool
nothing_left(const struct job_observed *o)
{
    const struct job_view *j = &o->job;

    return !j->bound || !j->claimed || j->released || o->instance == INSTANCE_GONE;
}

void
job_plan_make(const struct job_observed *o, struct job_plan *ret)
{
    const struct job_view *j = &o->job;

    *ret = (struct job_plan){.log_length = -1};
    if (phase_is_final(j->phase)) {
        ret->drop_finalizer = j->deleting && j->has_finalizer && nothing_left(o);
        return;
    }
    if ((j->deleting || o->draining) && j->desired == DESIRED_RUNNING && j->bound &&
        !agent_is_over(j->agent))
        ret->ask_stop = j->deleting ? "JobDeleted" : DRAINED;
    take_facts(ret, j);
    if (agent_is_over(j->agent))
        agent_over(ret, o);
    else if (!j->bound)
        unbound(ret, o);
    else if (o->instance == INSTANCE_GONE)
        lost(ret, o, "the machine was forgotten");
    else if (o->instance == INSTANCE_SILENT)
        silent(ret, o);
    else
        alive(ret, o);
    if (phase_is_final(ret->phase) && j->deleting && j->has_finalizer)
        ret->drop_finalizer = nothing_left(o) && !ret->guard;
}
