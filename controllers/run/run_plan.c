/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The decision table of a Run. Retry rules: an attempt that was refused by its machine
 * before anything started (Rejected), or whose place the scheduler took back, is repeated
 * whatever `retry` says; a lost machine is
 * an interruption; everything else that failed is an error. The window of
 * `retry.duration` counts from the end of the last attempt that had started, else from
 * the submission.
 */
#include "controllers/run/run_plan.h"

#include "base/clock.h"
#include "base/str.h"

enum { GOOD_RUN_S = 600 }; /* an attempt that ran so long starts the delays over */
#define NS_PER_S INT64_C(1000000000)
#define NS_PER_MS INT64_C(1000000)

enum event { EVENT_NONE, EVENT_REFUSED, EVENT_INTERRUPTION, EVENT_ERROR };

static void
set_reason(struct run_plan *p, const char *reason, const char *message)
{
    snprintf(p->reason, sizeof(p->reason), "%s", reason);
    snprintf(p->message, sizeof(p->message), "%s", message);
}

static void
waits(struct run_plan *p, const char *reason, const char *message)
{
    p->wait_reason = reason;
    snprintf(p->wait_message, sizeof(p->wait_message), "%s", message);
}

static void
finish(struct run_plan *p, const struct run_observed *o, enum phase phase)
{
    p->write = true;
    p->phase = phase;
    p->finished_ns =
        p->job != NULL && p->job->finished_ns != 0 ? p->job->finished_ns : o->wall_ns;
}

static const char *
user_reason(enum desired d)
{
    return d == DESIRED_ABORTED ? "AbortedByUser" : "StoppedByUser";
}

/* Ends a Run that has no live Job and is not wanted any more. */
static void
finish_unwanted(struct run_plan *p, const struct run_observed *o)
{
    set_reason(p, user_reason(o->run.desired), "");
    finish(p, o, PHASE_TERMINATED);
}

static int64_t
max_duration_left_ms(const struct run_observed *o, int64_t started_ns)
{
    if (o->run.max_duration_s < 0 || started_ns == 0)
        return INT64_MAX;
    int64_t end = started_ns + o->run.max_duration_s * NS_PER_S;
    return end <= o->wall_ns ? 0 : (end - o->wall_ns + NS_PER_MS - 1) / NS_PER_MS;
}

static void
requeue(struct run_plan *p, int64_t ms)
{
    if (ms != INT64_MAX && (p->requeue_ms == 0 || ms < p->requeue_ms))
        p->requeue_ms = ms < 1 ? 1 : ms;
}

/* --- retry ------------------------------------------------------------------------- */

static enum event
event_of(const struct job_view *j)
{
    if (streq(j->reason, "Preempted") || streq(j->reason, "PlacementRevoked"))
        return EVENT_REFUSED; /* the scheduler took the place back */
    if (j->phase != PHASE_FAILED)
        return EVENT_NONE;
    if (streq(j->reason, "OutOfCapacity") || streq(j->reason, "EngineMissing"))
        return EVENT_REFUSED;
    if (streq(j->reason, "SecurityDenied") || streq(j->reason, "JobDeleted"))
        return EVENT_NONE; /* the next attempt would end the same way, or is not wanted */
    if (streq(j->reason, "AgentLost") || streq(j->reason, "JournalLost") ||
        streq(j->reason, "Rebooted") || streq(j->reason, "EngineRestarted") ||
        streq(j->reason, "ProcessLost"))
        return EVENT_INTERRUPTION;
    return EVENT_ERROR;
}

static bool
covered(const struct run_observed *o, enum event ev)
{
    switch (ev) {
    case EVENT_REFUSED:
        return true;
    case EVENT_INTERRUPTION:
        return o->run.retry_interruption;
    case EVENT_ERROR:
        return o->run.retry_error;
    case EVENT_NONE:
        break;
    }
    return false;
}

static bool
in_window(const struct run_observed *o)
{
    int64_t from = o->run.created_ns;

    for (size_t i = 0; i < o->n_jobs; i++)
        if (o->jobs[i].started_ns != 0 && o->jobs[i].finished_ns > from)
            from = o->jobs[i].finished_ns;
    return o->wall_ns - from <= o->run.retry_duration_s * NS_PER_S;
}

/* Delay before the next attempt: by the number of attempts that failed in a row without
 * having run for long. The first refusal costs nothing. */
static int64_t
delay_s(const struct run_observed *o, enum event ev)
{
    static const int64_t delays[] = {15, 30, 60, 120, 300, 600};
    size_t row = 0;

    for (size_t i = o->n_jobs; i > 0; i--) {
        const struct job_view *j = &o->jobs[i - 1];
        bool good =
            j->started_ns != 0 && j->finished_ns - j->started_ns >= GOOD_RUN_S * NS_PER_S;
        if (row > 0 && good)
            break;
        row++;
    }
    if (ev == EVENT_REFUSED) {
        if (row == 1)
            return 0;
        row--;
    }
    if (row > ARRAY_LEN(delays))
        row = ARRAY_LEN(delays);
    return delays[row - 1];
}

static void
start_attempt(struct run_plan *p, const struct run_observed *o, int64_t attempt)
{
    p->write = true;
    p->phase = PHASE_SUBMITTED;
    if (o->name_taken) {
        set_reason(p, "NameInUse", "a job of an older run of this name is not gone yet");
        waits(p, "NameInUse", p->message);
        return; /* the event of its deletion wakes us */
    }
    p->create_job = true;
    p->attempt = attempt;
    waits(p, "Queued", "");
}

static void
retry(struct run_plan *p, const struct run_observed *o, enum event ev)
{
    const struct job_view *last = p->job;
    char at[CLOCK_RFC3339_LEN];
    int64_t due = last->finished_ns + delay_s(o, ev) * NS_PER_S;

    if (o->wall_ns >= due) {
        start_attempt(p, o, last->attempt + 1);
        return;
    }
    clock_format(due, at);
    set_reason(p, last->reason, last->message);
    p->write = true;
    p->phase = PHASE_SUBMITTED;
    p->wait_reason = "RetryBackoff";
    snprintf(p->wait_message, sizeof(p->wait_message),
             "attempt %lld failed (%s); the next one starts at %s",
             (long long)last->attempt, last->reason, at);
    requeue(p, (due - o->wall_ns) / NS_PER_MS + 1);
}

/* --- the states of the last attempt ------------------------------------------------ */

static void
job_over(struct run_plan *p, const struct run_observed *o)
{
    const struct job_view *j = p->job;
    enum event ev = event_of(j);

    set_reason(p, j->reason, j->message);
    if (j->phase != PHASE_FAILED && ev == EVENT_NONE) {
        finish(p, o, j->phase);
        return;
    }
    if (o->run.desired != DESIRED_RUNNING || o->run.deleting) {
        if (ev != EVENT_REFUSED && ev != EVENT_INTERRUPTION)
            finish(p, o, PHASE_FAILED);
        else
            finish_unwanted(p, o);
        return;
    }
    if (!covered(o, ev)) {
        finish(p, o, PHASE_FAILED);
        return;
    }
    if (ev != EVENT_REFUSED && !in_window(o)) {
        char message[MESSAGE_MAX_LEN];
        snprintf(message, sizeof(message), "retry.duration has passed; last: %.400s",
                 j->message);
        set_reason(p, j->reason, message);
        finish(p, o, PHASE_FAILED);
        return;
    }
    int64_t left = max_duration_left_ms(o, o->run.started_ns);
    if (left == 0) {
        set_reason(p, "MaxDurationExceeded", "");
        finish(p, o, PHASE_TERMINATED);
        return;
    }
    retry(p, o, ev);
    requeue(p, left);
}

static void
stop_job(struct run_plan *p, enum desired to, const char *reason)
{
    if (p->job->desired >= to)
        return;
    p->stop = p->job;
    p->stop_to = to;
    p->stop_reason = reason;
}

/* The phase as far as it can be told without waiting for the job controller's write. */
static enum phase
live_phase(const struct job_view *j)
{
    if (j->phase == PHASE_UNKNOWN || j->phase > PHASE_PROVISIONING)
        return j->phase;
    if (!j->bound)
        return PHASE_SUBMITTED;
    switch (j->agent) {
    case AGENT_PULLING:
        return PHASE_PULLING;
    case AGENT_RUNNING:
        return PHASE_RUNNING;
    case AGENT_NONE:
    case AGENT_CLAIMED:
    case AGENT_PREPARING:
    case AGENT_CREATING:
    case AGENT_STOPPING:
    case AGENT_EXITED:
    case AGENT_FAILED:
    case AGENT_REJECTED:
    case AGENT_LOST:
    case AGENT_CANCELLED:
        break;
    }
    return PHASE_PROVISIONING;
}

static void
job_live(struct run_plan *p, const struct run_observed *o)
{
    const struct job_view *j = p->job;

    p->write = true;
    p->phase = live_phase(j);
    if (j->bound && j->phase <= PHASE_SUBMITTED) {
        set_reason(p, "", ""); /* what it says is why it had waited */
    } else if (j->bound) {
        set_reason(p, j->reason, j->message);
    } else {
        const char *code = j->wait_reason[0] != '\0' ? j->wait_reason : "Queued";
        set_reason(p, j->wait_reason, j->wait_message);
        waits(p, code, j->wait_message);
    }
    if (o->run.deleting)
        stop_job(p, DESIRED_STOPPED, "StoppedByUser");
    else if (o->run.desired != DESIRED_RUNNING)
        stop_job(p, o->run.desired, user_reason(o->run.desired));
    if (p->stop == NULL && j->desired == DESIRED_RUNNING) {
        int64_t started = o->run.started_ns != 0 ? o->run.started_ns : p->started_ns;
        int64_t left = max_duration_left_ms(o, started);
        if (left == 0)
            stop_job(p, DESIRED_STOPPED, "MaxDurationExceeded");
        else
            requeue(p, left);
    }
    if (p->stop != NULL || j->desired != DESIRED_RUNNING) {
        if (p->phase != PHASE_UNKNOWN)
            p->phase = PHASE_TERMINATING;
        set_reason(p, p->stop != NULL ? p->stop_reason : j->stop_reason, "");
    }
}

static void
no_job(struct run_plan *p, const struct run_observed *o)
{
    const struct run_view *r = &o->run;

    if (r->deleting) {
        p->phase = r->phase;
        return;
    }
    if (r->job_uid[0] != '\0') { /* there was one */
        set_reason(p, "JobDeleted", "its job was deleted");
        finish(p, o, PHASE_FAILED);
    } else if (r->desired != DESIRED_RUNNING) {
        finish_unwanted(p, o);
    } else if (o->invalid != NULL) {
        p->accepted = false;
        set_reason(p, "InvalidSpec", o->invalid);
        finish(p, o, PHASE_FAILED);
    } else {
        start_attempt(p, o, 0);
    }
}

void
run_plan_make(const struct run_observed *o, struct run_plan *ret)
{
    const struct run_view *r = &o->run;

    *ret = (struct run_plan){.accepted = true, .phase = PHASE_NONE};
    ret->job = o->n_jobs == 0 ? NULL : &o->jobs[o->n_jobs - 1];
    if (ret->job != NULL && r->started_ns == 0)
        ret->started_ns =
            ret->job->started_ns != 0 ? ret->job->started_ns : ret->job->agent_started_ns;
    bool live = ret->job != NULL && !phase_is_final(ret->job->phase);
    if (phase_is_final(r->phase)) { /* for ever; a Job that is left over is ended */
        if (live && !agent_is_over(ret->job->agent))
            stop_job(ret, DESIRED_STOPPED, "RunFailed");
        ret->drop_finalizer = r->deleting && r->has_finalizer && !live;
        return;
    }
    if (ret->job == NULL)
        no_job(ret, o);
    else if (live)
        job_live(ret, o);
    else
        job_over(ret, o);
    bool over = !live && !ret->create_job;
    ret->drop_finalizer = r->deleting && r->has_finalizer && over;
    ret->add_finalizer = !r->deleting && !r->has_finalizer && (live || ret->create_job);
    if (r->deleting && !live)
        ret->create_job = false;
}
