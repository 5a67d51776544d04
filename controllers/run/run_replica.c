/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The nodes of an attempt start together: a Job of several nodes is made unreleased, and
 * released when all are bound, in the order of `startupOrder`. They end together: the
 * first that ends badly takes the others with it, and so does the master under
 * master-done; the attempt is over when all are.
 */
#include "controllers/run/run_replica.h"

#include "base/clock.h"
#include "base/str.h"

/* Reasons of our own: a Job that ended so says nothing about the attempt. */
#define MASTER_DONE "MasterDone"
#define NO_CAPACITY "NoCapacity"

static void
set_reason(struct replica_state *s, const char *reason, const char *message)
{
    snprintf(s->reason, sizeof(s->reason), "%s", reason);
    snprintf(s->message, sizeof(s->message), "%s", message);
}

static void
waits(struct replica_state *s, const char *reason, const char *message)
{
    s->wait_reason = reason;
    snprintf(s->wait_message, sizeof(s->wait_message), "%s", message);
}

const char *
user_reason(enum desired d)
{
    return d == DESIRED_ABORTED ? "AbortedByUser" : "StoppedByUser";
}

int64_t
max_duration_left_ms(const struct run_observed *o, int64_t started_ns)
{
    if (o->run.max_duration_s < 0 || started_ns == 0)
        return INT64_MAX;
    int64_t end = started_ns + o->run.max_duration_s * NS_PER_S;
    return end <= o->wall_ns ? 0 : (end - o->wall_ns + NS_PER_MS - 1) / NS_PER_MS;
}

void
plan_requeue(struct run_plan *p, int64_t ms)
{
    if (ms != INT64_MAX && (p->requeue_ms == 0 || ms < p->requeue_ms))
        p->requeue_ms = ms < 1 ? 1 : ms;
}

static bool
job_lives(const struct job_view *j)
{
    return !phase_is_final(j->phase);
}

bool
replica_lives(const struct replica *r)
{
    for (size_t i = 0; i < r->n_last; i++)
        if (job_lives(&r->last[i]))
            return true;
    return false;
}

static void
stop_job(const struct job_view *j, enum desired to, const char *reason,
         struct run_plan *p)
{
    if (job_lives(j) && j->desired < to)
        vec_push(&p->stop, ((struct job_stop){j, to, reason}));
}

void
replica_stop(const struct replica *r, enum desired to, const char *reason,
             struct run_plan *p)
{
    for (size_t i = 0; i < r->n_last; i++)
        stop_job(&r->last[i], to, reason, p);
}

/* --- starting -------------------------------------------------------------------------
 */

static bool
name_taken(const struct run_observed *o, const struct job_new *n)
{
    char name[NAME_MAX_LEN];

    snprintf(name, sizeof(name), "%s-%lld-%lld-%lld", o->run.o->name,
             (long long)n->replica, (long long)n->node, (long long)n->attempt);
    for (size_t i = 0; i < o->n_taken; i++)
        if (streq(o->taken[i], name))
            return true;
    return false;
}

void
replica_start(const struct run_observed *o, const struct replica *r, int64_t attempt,
              struct replica_state *ret, struct run_plan *p)
{
    size_t before = p->create.len;

    ret->phase = PHASE_SUBMITTED;
    for (int64_t node = 0; node < o->run.nodes; node++) {
        struct job_new n = {r->index, node, attempt};
        if (name_taken(o, &n)) { /* the event of its deletion wakes us */
            p->create.len = before;
            ret->standing = REPLICA_WAITS;
            set_reason(ret, "NameInUse",
                       "a job of an older run of this name is not gone yet");
            waits(ret, "NameInUse", ret->message);
            return;
        }
        vec_push(&p->create, n);
    }
    ret->standing = REPLICA_STARTS;
    waits(ret, "Queued", "");
}

/* Of a crash among the creations: the rest of the attempt. Not when one is bound already:
 * then what is missing was deleted. False: it was. */
static bool
complete(const struct run_observed *o, const struct replica *r, struct run_plan *p)
{
    size_t have = 0;

    for (size_t i = 0; i < r->n_last; i++)
        if (r->last[i].bound || !job_lives(&r->last[i]) ||
            r->last[i].desired != DESIRED_RUNNING)
            return false; /* a new one among those that end would wait for ever */
    for (int64_t node = 0; node < o->run.nodes; node++) {
        if (have < r->n_last && r->last[have].node == node) {
            have++;
            continue;
        }
        vec_push(&p->create, ((struct job_new){r->index, node, r->last[0].attempt}));
    }
    return true;
}

/* --- an attempt that lives ------------------------------------------------------------
 */

/* The phase as far as it can be told without waiting for the job controller's write. */
static enum phase
live_phase(const struct job_view *j)
{
    if (j->phase == PHASE_UNKNOWN || j->phase > PHASE_PROVISIONING)
        return j->phase;
    return j->bound ? phase_of_agent(j->agent) : PHASE_SUBMITTED;
}

/* Which of two nodes the phase of the attempt follows: the silent one, else the one that
 * got further; before that the one that still waits. */
static int
rank_of(enum phase p)
{
    switch (p) {
    case PHASE_UNKNOWN:
        return 6;
    case PHASE_TERMINATING:
        return 5;
    case PHASE_RUNNING:
        return 4;
    case PHASE_PULLING:
        return 3;
    case PHASE_NONE:
    case PHASE_SUBMITTED:
        return 2; /* a node without a place holds all of them back */
    case PHASE_PROVISIONING:
        return 1;
    case PHASE_DONE:
    case PHASE_FAILED:
    case PHASE_TERMINATED:
        break;
    }
    return 0;
}

static const struct job_view *
speaker(const struct replica *r)
{
    const struct job_view *best = &r->last[0];
    int best_rank = 0;

    for (size_t i = 0; i < r->n_last; i++) {
        int rank = job_lives(&r->last[i]) ? rank_of(live_phase(&r->last[i])) : 0;
        if (rank <= best_rank)
            continue;
        best = &r->last[i];
        best_rank = rank;
    }
    return best;
}

/* It ended, and neither well nor because we had ended the attempt. */
static bool
ended_badly(const struct job_view *j)
{
    return phase_is_final(j->phase) && j->phase != PHASE_DONE &&
           !streq(j->reason, REASON_SIBLING_FAILED) && !streq(j->reason, MASTER_DONE);
}

static bool
master_is_done(const struct run_observed *o, const struct replica *r)
{
    return o->run.master_done && r->last[0].node == 0 && r->last[0].phase == PHASE_DONE;
}

static void
release(const struct run_observed *o, const struct replica *r, struct run_plan *p)
{
    bool master_runs = r->last[0].started_ns != 0 || r->last[0].agent_started_ns != 0;
    bool workers_run = true;

    for (size_t i = 0; i < r->n_last; i++) {
        const struct job_view *j = &r->last[i];
        if (!j->bound)
            return;
        if (i > 0)
            workers_run &= j->started_ns != 0 || j->agent_started_ns != 0;
    }
    for (size_t i = 0; i < r->n_last; i++) {
        const struct job_view *j = &r->last[i];
        bool turn = o->run.startup == STARTUP_ANY ||
                    (o->run.startup == STARTUP_MASTER_FIRST && (i == 0 || master_runs)) ||
                    (o->run.startup == STARTUP_WORKERS_FIRST && (i > 0 || workers_run));
        if (turn && !j->go && job_lives(j) && j->desired == DESIRED_RUNNING)
            vec_push(&p->release.list, j);
    }
}

/* A dstack file without `retry` does not wait for room: the scheduler's first answer
 * decides, or the end of retry.duration where retry covers no-capacity. */
static bool
gave_up(const struct run_observed *o, const struct replica *r, const struct job_view *j,
        struct run_plan *p)
{
    static const char *const patient[] = {"", "Queued", "WaitingForMembers",
                                          "HeldForEarlierJob"};
    int64_t from = o->run.created_ns;

    if (!o->run.fail_without_capacity || j->bound)
        return false;
    if (o->run.last_start_ns > from)
        from = o->run.last_start_ns;
    for (size_t i = 0; i < r->n_jobs; i++)
        if (r->jobs[i].started_ns != 0 && r->jobs[i].finished_ns > from)
            from = r->jobs[i].finished_ns;
    if (o->run.retry_no_capacity) {
        int64_t until = from + o->run.retry_duration_s * NS_PER_S;
        if (o->wall_ns < until)
            plan_requeue(p, (until - o->wall_ns) / NS_PER_MS + 1);
        return o->wall_ns >= until;
    }
    for (size_t i = 0; i < ARRAY_LEN(patient); i++)
        if (streq(j->wait_reason, patient[i]))
            return false;
    return true;
}

/* The node whose GPU does nothing says why all of them are stopped. */
static bool
stop_idle(const struct replica *r, struct run_plan *p)
{
    bool any = false;

    for (size_t i = 0; i < r->n_last; i++) {
        if (r->last[i].idle.told && job_lives(&r->last[i])) {
            stop_job(&r->last[i], DESIRED_STOPPED, UTILIZATION_TOO_LOW, p);
            any = true;
        }
    }
    for (size_t i = 0; i < r->n_last && any; i++)
        if (!r->last[i].idle.told)
            stop_job(&r->last[i], DESIRED_STOPPED, REASON_SIBLING_FAILED, p);
    return any;
}

/* What ends the attempt now, if anything does. */
static void
end_attempt(const struct run_observed *o, const struct replica *r,
            const struct job_view *said, struct run_plan *p)
{
    if (o->run.deleting) {
        replica_stop(r, DESIRED_STOPPED, "StoppedByUser", p);
        return;
    }
    if (o->run.desired != DESIRED_RUNNING) {
        replica_stop(r, o->run.desired, user_reason(o->run.desired), p);
        return;
    }
    if (master_is_done(o, r)) {
        replica_stop(r, DESIRED_STOPPED, MASTER_DONE, p);
        return;
    }
    if (stop_idle(r, p))
        return;
    bool bad = (int64_t)r->n_last < o->run.nodes && !complete(o, r, p);
    for (size_t i = 0; i < r->n_last; i++)
        bad |=
            ended_badly(&r->last[i]) || streq(r->last[i].reason, REASON_SIBLING_FAILED);
    if (bad) {
        replica_stop(r, DESIRED_STOPPED, REASON_SIBLING_FAILED, p);
        return;
    }
    if (gave_up(o, r, said, p)) {
        replica_stop(r, DESIRED_STOPPED, NO_CAPACITY, p);
        return;
    }
    int64_t left = max_duration_left_ms(o, r->started_ns);
    if (left == 0)
        replica_stop(r, DESIRED_STOPPED, "MaxDurationExceeded", p);
    else if (said->desired == DESIRED_RUNNING)
        plan_requeue(p, left);
}

static void
live(const struct run_observed *o, const struct replica *r, struct replica_state *s,
     struct run_plan *p)
{
    const struct job_view *j = speaker(r);
    size_t stops = p->stop.len;

    s->standing = REPLICA_LIVE;
    s->job = j;
    s->phase = live_phase(j);
    if (j->bound && j->phase <= PHASE_SUBMITTED) {
        set_reason(s, "", ""); /* what it says is why it had waited */
    } else if (j->bound) {
        set_reason(s, j->reason, j->message);
    } else {
        const char *code = j->wait_reason[0] != '\0' ? j->wait_reason : "Queued";
        set_reason(s, j->wait_reason, j->wait_message);
        waits(s, code, j->wait_message);
    }
    end_attempt(o, r, j, p);
    if (p->stop.len == stops && j->desired == DESIRED_RUNNING) {
        if ((int64_t)r->n_last == o->run.nodes)
            release(o, r, p);
        for (size_t i = 0; i < r->n_last; i++)
            if (!r->last[i].bound && r->last[i].priority != o->run.priority)
                vec_push(&p->requeue.list, &r->last[i]);
        return;
    }
    if (s->phase != PHASE_UNKNOWN)
        s->phase = PHASE_TERMINATING;
    set_reason(s, p->stop.len > stops ? p->stop.items[stops].reason : j->stop_reason, "");
}

/* --- an attempt that is over ----------------------------------------------------------
 */

/* The node that decides how the attempt ended: one that was stopped for doing nothing, a
 * lost one before others that failed because of it, else the first that failed. */
static const struct job_view *
cause_of(const struct replica *r)
{
    const struct job_view *cause = NULL;

    for (size_t i = 0; i < r->n_last; i++)
        if (phase_is_final(r->last[i].phase) &&
            streq(r->last[i].reason, UTILIZATION_TOO_LOW))
            return &r->last[i];

    for (size_t i = 0; i < r->n_last; i++) {
        const struct job_view *j = &r->last[i];
        if (!ended_badly(j))
            continue;
        bool lost = event_of(j) == EVENT_INTERRUPTION;
        bool was_lost = cause != NULL && event_of(cause) == EVENT_INTERRUPTION;
        if (cause == NULL || lost > was_lost ||
            (lost == was_lost && j->finished_ns < cause->finished_ns))
            cause = j;
    }
    return cause;
}

static int64_t
ended_ns(const struct replica *r)
{
    int64_t last = 0;

    for (size_t i = 0; i < r->n_last; i++)
        if (r->last[i].finished_ns > last)
            last = r->last[i].finished_ns;
    return last;
}

static void
finish(struct replica_state *s, const struct run_observed *o, const struct replica *r,
       enum phase phase)
{
    int64_t ended = ended_ns(r);

    s->standing = REPLICA_OVER;
    s->phase = phase;
    s->finished_ns = ended != 0 ? ended : o->wall_ns;
}

static void
retry(struct replica_state *s, const struct run_observed *o, const struct replica *r,
      struct run_plan *p, enum event ev)
{
    const struct job_view *j = s->job;
    char at[CLOCK_RFC3339_LEN];
    int64_t due = retry_due_ns(o, r, ev, ended_ns(r));

    if (due < 0) {
        char message[MESSAGE_MAX_LEN];
        snprintf(message, sizeof(message), "retry.duration has passed; last: %.400s",
                 j->message);
        set_reason(s, j->reason, message);
        finish(s, o, r, PHASE_FAILED);
        return;
    }
    int64_t left = max_duration_left_ms(o, r->started_ns);
    if (left == 0) {
        set_reason(s, "MaxDurationExceeded", "");
        finish(s, o, r, PHASE_TERMINATED);
        return;
    }
    plan_requeue(p, left);
    if (o->wall_ns >= due) {
        replica_start(o, r, j->attempt + 1, s, p);
        return;
    }
    clock_format(due, at);
    s->standing = REPLICA_WAITS;
    s->phase = PHASE_SUBMITTED;
    s->wait_reason = "RetryBackoff";
    snprintf(s->wait_message, sizeof(s->wait_message),
             "attempt %lld failed (%s); the next one starts at %s", (long long)j->attempt,
             j->reason, at);
    plan_requeue(p, (due - o->wall_ns) / NS_PER_MS + 1);
}

static void
ended(const struct run_observed *o, const struct replica *r, struct replica_state *s,
      struct run_plan *p)
{
    const struct job_view *j = cause_of(r);

    s->job = j != NULL ? j : &r->last[0];
    set_reason(s, s->job->reason, s->job->message);
    if (master_is_done(o, r) || (j == NULL && s->job->phase == PHASE_DONE)) {
        s->job = &r->last[0];
        set_reason(s, s->job->reason, s->job->message);
        finish(s, o, r, PHASE_DONE);
        return;
    }
    if (j == NULL) { /* a node is missing: somebody deleted its job */
        set_reason(s, "JobDeleted", "the job of a node was deleted");
        finish(s, o, r, PHASE_FAILED);
        return;
    }
    enum event ev = event_of(j);
    if (j->phase == PHASE_TERMINATED && streq(j->reason, NO_CAPACITY)) {
        set_reason(s, NO_CAPACITY, j->wait_message);
        finish(s, o, r, PHASE_FAILED);
    } else if (j->phase != PHASE_FAILED && ev == EVENT_NONE) {
        finish(s, o, r, j->phase);
    } else if (o->run.desired != DESIRED_RUNNING || o->run.deleting) {
        bool own = ev != EVENT_REFUSED && ev != EVENT_INTERRUPTION;
        if (!own)
            set_reason(s, user_reason(o->run.desired), "");
        finish(s, o, r, own ? PHASE_FAILED : PHASE_TERMINATED);
    } else if (!retry_covers(&o->run, ev)) {
        finish(s, o, r, PHASE_FAILED);
    } else {
        retry(s, o, r, p, ev);
    }
}

/* Ended attempts beyond the history, oldest first; the last one always stays. */
static void
forget(const struct run_observed *o, const struct replica *r, struct run_plan *p)
{
    int64_t attempts = 0, dropped = 0;

    for (size_t i = 0; i < r->n_jobs; i++)
        attempts += i == 0 || r->jobs[i].attempt != r->jobs[i - 1].attempt;
    int64_t over = attempts - 1 - o->run.history;
    for (size_t i = 0; i < r->n_jobs && over > 0; i++) {
        dropped += i > 0 && r->jobs[i].attempt != r->jobs[i - 1].attempt;
        if (dropped >= over)
            return;
        if (phase_is_final(r->jobs[i].phase) && !r->jobs[i].deleting)
            vec_push(&p->forget.list, &r->jobs[i]);
    }
}

void
replica_decide(const struct run_observed *o, const struct replica *r,
               struct replica_state *ret, struct run_plan *p)
{
    *ret = (struct replica_state){0};
    if (replica_lives(r))
        live(o, r, ret, p);
    else
        ended(o, r, ret, p);
    forget(o, r, p);
}
