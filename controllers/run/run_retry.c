/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An attempt that was refused by its machine before anything started (Rejected), or whose
 * place the scheduler took back, is repeated whatever `retry` says; a lost machine is an
 * interruption; everything else that failed is an error. The window of `retry.duration`
 * counts from the end of the last attempt that had started, else from the submission (or
 * the start by the schedule).
 */
#include "base/str.h"
#include "controllers/run/run_replica.h"

enum { GOOD_RUN_S = 600 }; /* an attempt that ran so long starts the delays over */

enum event
event_of(const struct job_view *j)
{
    static const char *const interruptions[] = {
        "AgentLost",   "JournalLost",     "Rebooted",    "EngineRestarted",
        "ProcessLost", "InstanceDrained", "ServerSilent"};

    if (streq(j->reason, REASON_PREEMPTED) || streq(j->reason, REASON_PLACEMENT_REVOKED))
        return EVENT_REFUSED; /* the scheduler took the place back */
    if (j->phase != PHASE_FAILED)
        return EVENT_NONE;
    if (streq(j->reason, "OutOfCapacity") || streq(j->reason, "EngineMissing") ||
        streq(j->reason, "NeverClaimed"))
        return EVENT_REFUSED;
    if (streq(j->reason, "SecurityDenied") || streq(j->reason, "JobDeleted"))
        return EVENT_NONE;
    for (size_t i = 0; i < ARRAY_LEN(interruptions); i++)
        if (streq(j->reason, interruptions[i]))
            return EVENT_INTERRUPTION;
    return EVENT_ERROR;
}

bool
retry_covers(const struct run_view *r, enum event ev)
{
    switch (ev) {
    case EVENT_REFUSED:
        return true;
    case EVENT_INTERRUPTION:
        return r->retry_interruption;
    case EVENT_ERROR:
        return r->retry_error;
    case EVENT_NONE:
        break;
    }
    return false;
}

static bool
in_window(const struct run_observed *o, const struct replica *r)
{
    int64_t from = o->run.created_ns;

    if (o->run.last_start_ns > from)
        from = o->run.last_start_ns;
    for (size_t i = 0; i < r->n_jobs; i++)
        if (r->jobs[i].started_ns != 0 && r->jobs[i].finished_ns > from)
            from = r->jobs[i].finished_ns;
    return o->wall_ns - from <= o->run.retry_duration_s * NS_PER_S;
}

/* The attempt whose first job is at i: did one of its nodes run for long? */
static bool
good_attempt(const struct replica *r, size_t first, size_t end)
{
    for (size_t i = first; i < end; i++) {
        const struct job_view *j = &r->jobs[i];
        if (j->started_ns != 0 && j->finished_ns - j->started_ns >= GOOD_RUN_S * NS_PER_S)
            return true;
    }
    return false;
}

/* Attempts that failed in a row without having run for long, the last one included. */
static size_t
row_of(const struct run_observed *o, const struct replica *r)
{
    size_t row = 0;

    for (size_t end = r->n_jobs; end > 0;) {
        size_t first = end - 1;
        while (first > 0 && r->jobs[first - 1].attempt == r->jobs[end - 1].attempt)
            first--;
        if (row > 0 && (good_attempt(r, first, end) ||
                        r->jobs[first].finished_ns < o->run.last_start_ns))
            break;
        row++;
        end = first;
    }
    return row;
}

/* The first refusal costs nothing. */
static int64_t
delay_s(const struct run_observed *o, const struct replica *r, enum event ev)
{
    static const int64_t delays[] = {15, 30, 60, 120, 300, 600};
    size_t row = row_of(o, r);

    if (ev == EVENT_REFUSED) {
        if (row <= 1)
            return 0;
        row--;
    }
    if (row > ARRAY_LEN(delays))
        row = ARRAY_LEN(delays);
    return row == 0 ? 0 : delays[row - 1];
}

int64_t
retry_due_ns(const struct run_observed *o, const struct replica *r, enum event ev,
             int64_t ended_ns)
{
    if (ev != EVENT_REFUSED && !in_window(o, r))
        return -1;
    return ended_ns + delay_s(o, r, ev) * NS_PER_S;
}
