/* SPDX-License-Identifier: Apache-2.0 */
/* The decision table of a Run, above that of a replica. */
#include "controllers/run/run_plan.h"

#include "base/clock.h"
#include "base/str.h"
#include "controllers/run/run_replica.h"

enum { FAILED_SHOWN = 10 };

void
run_plan_done(struct run_plan *p)
{
    vec_done(&p->create);
    vec_done(&p->stop);
    vec_done(&p->release.list);
    vec_done(&p->requeue.list);
    vec_done(&p->forget.list);
}

static void
set_reason(struct run_plan *p, const char *reason, const char *message)
{
    snprintf(p->reason, sizeof(p->reason), "%s", reason);
    snprintf(p->message, sizeof(p->message), "%s", message);
}

static void
waits(struct run_plan *p, const char *reason, const char *message)
{
    p->write = true;
    p->phase = PHASE_SUBMITTED;
    p->wait_reason = reason;
    snprintf(p->wait_message, sizeof(p->wait_message), "%s", message);
}

static void
finish(struct run_plan *p, int64_t at_ns, enum phase phase)
{
    p->write = true;
    p->phase = phase;
    p->finished_ns = at_ns;
}

/* Ends a Run that has no live Job and is not wanted any more. */
static void
finish_unwanted(struct run_plan *p, const struct run_observed *o)
{
    set_reason(p, user_reason(o->run.desired), "");
    finish(p, o->wall_ns, PHASE_TERMINATED);
}

/* --- replicas -------------------------------------------------------------------------
 */

/* Since when the replica runs; what an earlier start of the schedule did does not count.
 */
static int64_t
started_of(const struct run_observed *o, const struct job_view *jobs, size_t n)
{
    int64_t first = 0;

    for (size_t i = 0; i < n; i++) {
        const struct job_view *j = &jobs[i];
        int64_t at = j->started_ns != 0 ? j->started_ns : j->agent_started_ns;
        if (at != 0 && j->created_ns >= o->run.last_start_ns &&
            (first == 0 || at < first))
            first = at;
    }
    return first;
}

/* The jobs of the element, from *from on; *from behind them. */
static struct replica
replica_of(const struct run_observed *o, int64_t index, size_t *from)
{
    struct replica r = {.index = index};
    size_t end;

    while (*from < o->n_jobs && o->jobs[*from].replica < index)
        (*from)++;
    for (end = *from; end < o->n_jobs && o->jobs[end].replica == index; end++)
        ;
    r.jobs = o->jobs + *from;
    r.n_jobs = end - *from;
    r.last = r.jobs;
    r.n_last = r.n_jobs;
    while (r.n_last > 0 && r.last[0].attempt != r.last[r.n_last - 1].attempt) {
        r.last++;
        r.n_last--;
    }
    *from = end;
    r.started_ns = o->run.has_array || o->run.started_ns == 0
                       ? started_of(o, r.jobs, r.n_jobs)
                       : o->run.started_ns;
    return r;
}

static void
take_state(struct run_plan *p, const struct replica_state *s)
{
    p->write = true;
    p->phase = s->phase;
    p->job = s->job;
    set_reason(p, s->reason, s->message);
    p->wait_reason = s->wait_reason;
    snprintf(p->wait_message, sizeof(p->wait_message), "%s", s->wait_message);
    p->finished_ns = s->finished_ns;
}

/* --- arrays ---------------------------------------------------------------------------
 */

struct elements {
    struct replica_state best; /* of those that are not over: the furthest */
    int best_rank;
    const struct job_view *failed; /* the first */
    int64_t finished_ns;
    struct str which; /* that failed */
};

static int
rank_of(const struct replica_state *s)
{
    static const int ranks[] = {
        [PHASE_RUNNING] = 6,   [PHASE_PULLING] = 5, [PHASE_PROVISIONING] = 4,
        [PHASE_SUBMITTED] = 3, [PHASE_UNKNOWN] = 2, [PHASE_TERMINATING] = 1,
    };

    return s->phase < ARRAY_LEN(ranks) ? ranks[s->phase] : 0;
}

static void
count(struct elements *all, struct run_plan *p, const struct replica_state *s,
      int64_t index)
{
    if (s->standing != REPLICA_OVER) {
        p->counts.active++;
        if (rank_of(s) > all->best_rank) {
            all->best = *s;
            all->best_rank = rank_of(s);
        }
        return;
    }
    if (s->finished_ns > all->finished_ns)
        all->finished_ns = s->finished_ns;
    if (s->phase == PHASE_DONE) {
        p->counts.done++;
        return;
    }
    if (p->counts.failed++ == 0)
        all->failed = s->job;
    if (p->counts.failed <= FAILED_SHOWN)
        str_addf(&all->which, "%s%lld", p->counts.failed == 1 ? "" : ", ",
                 (long long)index);
    else if (p->counts.failed == FAILED_SHOWN + 1)
        str_adds(&all->which, ", ...");
}

static void
elements_over(struct run_plan *p, const struct run_observed *o,
              const struct elements *all)
{
    int64_t total = o->run.array.last - o->run.array.first + 1;
    char message[MESSAGE_MAX_LEN];

    p->job = all->failed;
    if (o->run.desired != DESIRED_RUNNING && p->counts.done < total) {
        set_reason(p, user_reason(o->run.desired), "");
        finish(p, all->finished_ns != 0 ? all->finished_ns : o->wall_ns,
               PHASE_TERMINATED);
        return;
    }
    if (p->counts.failed == 0) {
        set_reason(p, "Exited", "");
        finish(p, all->finished_ns, PHASE_DONE);
        return;
    }
    snprintf(message, sizeof(message), "%lld of %lld elements failed: %.200s",
             (long long)p->counts.failed, (long long)total, all->which.ptr);
    set_reason(p, "ElementsFailed", message);
    finish(p, all->finished_ns, PHASE_FAILED);
}

/* What is over stays over: an element whose jobs are gone is not started again. */
static void
element_without_jobs(const struct run_observed *o, const struct replica *r,
                     struct elements *all, struct run_plan *p)
{
    struct replica_state s = {0};
    int64_t ordinal = r->index - o->run.array.first;

    if (ordinal < o->run.elements_started) {
        s = (struct replica_state){.standing = REPLICA_OVER, .phase = PHASE_FAILED};
        count(all, p, &s, r->index);
    } else if (o->run.desired != DESIRED_RUNNING || o->run.deleting ||
               p->counts.active >= o->run.array.at_once) {
        p->counts.waiting++;
    } else {
        replica_start(o, r, 0, &s, p);
        if (s.standing == REPLICA_STARTS)
            p->elements_started = ordinal + 1;
        count(all, p, &s, r->index);
    }
}

static void
plan_array(struct run_plan *p, const struct run_observed *o)
{
    struct elements all = {.which = STR_INIT(MESSAGE_MAX_LEN)};
    bool wanted = o->run.desired == DESIRED_RUNNING && !o->run.deleting;
    size_t at = 0, first_new = 0;

    p->elements_started = o->run.elements_started;
    /* First those that have jobs: how many are active says how many may start. */
    for (int64_t i = o->run.array.first; i <= o->run.array.last; i++) {
        struct replica r = replica_of(o, i, &at);
        struct replica_state s;
        if (r.n_jobs == 0)
            continue;
        replica_decide(o, &r, &s, p);
        count(&all, p, &s, i);
        if (i - o->run.array.first >= p->elements_started)
            p->elements_started = i - o->run.array.first + 1;
    }
    for (int64_t i = o->run.array.first; i <= o->run.array.last; i++) {
        struct replica r = replica_of(o, i, &first_new);
        if (r.n_jobs == 0)
            element_without_jobs(o, &r, &all, p);
    }
    if (p->counts.active == 0 && (p->counts.waiting == 0 || !wanted)) {
        elements_over(p, o, &all);
    } else {
        take_state(p, &all.best);
        p->finished_ns = 0;
        if (!wanted && p->phase != PHASE_UNKNOWN)
            p->phase = PHASE_TERMINATING;
    }
    str_done(&all.which);
}

/* --- one replica ----------------------------------------------------------------------
 */

static int64_t
next_by_schedule(const struct run_observed *o)
{
    int64_t next = -1;

    for (size_t i = 0; i < o->run.n_crons; i++) {
        int64_t at = cron_next(&o->run.crons[i], o->wall_ns / NS_PER_S);
        if (at >= 0 && (next < 0 || at < next))
            next = at;
    }
    return next < 0 ? 0 : next * NS_PER_S;
}

/* Waits for the next start of the schedule, or starts. */
static void
by_schedule(struct run_plan *p, const struct run_observed *o, const struct replica *r,
            int64_t next)
{
    int64_t attempt = r->n_last == 0 ? 0 : r->last[0].attempt + 1;
    struct replica_state s = {0};
    char at[CLOCK_RFC3339_LEN], message[64];

    if (next == 0)
        next = next_by_schedule(o);
    p->next_start_ns = next;
    if (o->wall_ns < next) {
        clock_format(next, at);
        snprintf(message, sizeof(message), "the next start is at %s", at);
        waits(p, "WaitingForSchedule", message);
        plan_requeue(p, (next - o->wall_ns) / NS_PER_MS + 1);
        return;
    }
    replica_start(o, r, attempt, &s, p);
    take_state(p, &s);
    if (s.standing == REPLICA_STARTS) {
        p->began = true;
        p->next_start_ns = 0;
    }
}

/* The schedule's next start is ahead: the last Job is of an earlier one. */
static bool
armed(const struct run_observed *o, const struct replica *r)
{
    return o->run.next_start_ns != 0 &&
           (r->n_last == 0 || r->last[0].created_ns < o->run.next_start_ns);
}

static void
plan_one(struct run_plan *p, const struct run_observed *o, const struct replica *r)
{
    bool wanted = o->run.desired == DESIRED_RUNNING && !o->run.deleting;
    bool scheduled = o->run.n_crons > 0;
    struct replica_state s = {0};

    if (scheduled && !replica_lives(r) && armed(o, r)) {
        if (wanted)
            by_schedule(p, o, r, o->run.next_start_ns);
        else if (!o->run.deleting)
            finish_unwanted(p, o);
        return;
    }
    if (r->n_jobs == 0) {
        replica_start(o, r, 0, &s, p);
        take_state(p, &s);
        return;
    }
    replica_decide(o, r, &s, p);
    take_state(p, &s);
    /* Its agent says that it is over: what it came to is said by the job controller at
     * once, and written then. */
    if (s.standing == REPLICA_LIVE && s.job->bound && agent_is_over(s.job->agent) &&
        p->stop.len == 0 && s.phase != PHASE_TERMINATING)
        p->write = false;
    if (s.standing != REPLICA_OVER || !scheduled || !wanted)
        return;
    /* What came of it stays to be seen while the next start is awaited. */
    p->finished_ns = 0;
    by_schedule(p, o, r, 0);
}

/* --- before there are jobs, and after the end -----------------------------------------
 */

/* True: it is decided without a replica. */
static bool
before_start(struct run_plan *p, const struct run_observed *o)
{
    const struct run_view *r = &o->run;

    if (r->deleting) {
        p->phase = r->phase;
    } else if (r->job_uid[0] != '\0' && !r->has_array && r->next_start_ns == 0) {
        set_reason(p, "JobDeleted", "its job was deleted"); /* there was one */
        finish(p, o->wall_ns, PHASE_FAILED);
    } else if (r->desired != DESIRED_RUNNING) {
        finish_unwanted(p, o);
    } else if (o->invalid != NULL) {
        p->accepted = false;
        set_reason(p, "InvalidSpec", o->invalid);
        finish(p, o->wall_ns, PHASE_FAILED);
    } else if (o->depends == DEPENDS_FAILED) {
        set_reason(p, "DependencyFailed", o->depends_message);
        finish(p, o->wall_ns, PHASE_FAILED);
    } else if (o->depends == DEPENDS_MISSING) {
        set_reason(p, "DependencyMissing", o->depends_message);
        finish(p, o->wall_ns, PHASE_FAILED);
    } else if (o->depends == DEPENDS_WAITS) {
        waits(p, "WaitingForDependency", o->depends_message);
    } else if (r->n_crons > 0) {
        struct replica none = {.index = r->array.first};
        by_schedule(p, o, &none, r->next_start_ns);
    } else {
        return false;
    }
    return true;
}

/* For ever; Jobs that are left over are ended. */
static void
after_end(struct run_plan *p, const struct run_observed *o, bool live)
{
    const struct run_view *r = &o->run;

    for (size_t i = 0; i < o->n_jobs; i++) {
        const struct job_view *j = &o->jobs[i];
        if (!phase_is_final(j->phase) && !agent_is_over(j->agent) &&
            j->desired < DESIRED_STOPPED)
            vec_push(&p->stop, ((struct job_stop){j, DESIRED_STOPPED, "RunFailed"}));
    }
    p->drop_finalizer = r->deleting && r->has_finalizer && !live;
    if (r->deleting || r->ttl_s < 0 || r->finished_ns == 0)
        return;
    int64_t due = r->finished_ns + r->ttl_s * NS_PER_S;
    p->delete_run = o->wall_ns >= due;
    if (!p->delete_run)
        plan_requeue(p, (due - o->wall_ns) / NS_PER_MS + 1);
}

void
run_plan_make(const struct run_observed *o, struct run_plan *ret)
{
    const struct run_view *r = &o->run;
    bool live = false;
    size_t at = 0;

    *ret = (struct run_plan){.accepted = true, .phase = PHASE_NONE};
    ret->elements_started = r->elements_started;
    for (size_t i = 0; i < o->n_jobs; i++)
        live |= !phase_is_final(o->jobs[i].phase);
    if (phase_is_final(r->phase)) {
        after_end(ret, o, live);
        return;
    }
    if (o->n_jobs > 0 || !before_start(ret, o)) {
        if (r->has_array) {
            plan_array(ret, o);
        } else {
            struct replica one = replica_of(o, r->array.first, &at);
            plan_one(ret, o, &one);
        }
    }
    if (r->started_ns == 0 && !ret->began)
        ret->started_ns = started_of(o, o->jobs, o->n_jobs);
    bool creates = ret->create.len > 0;
    ret->drop_finalizer = r->deleting && r->has_finalizer && !live && !creates;
    ret->add_finalizer = !r->deleting && !r->has_finalizer && (live || creates);
    if (r->deleting && !live)
        ret->create.len = 0;
}
