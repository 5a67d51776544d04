/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gangs: one compare-and-swap write of Run.status.placement, then the binds, which follow
 * from what is stored; undone whole when that cannot be completed in time. The states are
 * gang_state; docs/internals/scheduler.md has the rules. While a gang is worked on, its
 * waiting members are not told to the scheduler library: they are assumed where they were
 * placed, or, once it is broken, out.
 */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "controllers/common/job_view.h"
#include "controllers/job/scheduler_internal.h"

LOG_MODULE(gang);

enum { PATH_MAX_LEN = 2048 };
#define DEADLINE_NS INT64_C(30000000000)
#define NS_PER_MS INT64_C(1000000)

bool
scheduler_gang_index(const struct object *o, struct str *key)
{
    return scheduler_gang_key(o, key);
}

static void
gang_key(const char *run_uid, const struct placement *p, struct str *key)
{
    str_addf(key, "%s/%lld/%lld", run_uid, (long long)p->replica, (long long)p->attempt);
}

static struct gang_work *
find(struct scheduler_loop *l, const struct object *job)
{
    auto_str key = STR_INIT(GANG_KEY_MAX);

    return scheduler_gang_key(job, &key) ? map_get(l->gangs, key.ptr) : NULL;
}

static struct gang_work *
gang_new(struct scheduler_loop *l, const char *key, const struct object *job)
{
    struct gang_work *g = xnew(struct gang_work);

    g->l = l;
    g->key = xstrdup(key);
    g->run_uid = object_dup_string(job, "spec.runUID");
    g->p.replica = object_get_int(job, "spec.replica", 0);
    g->p.attempt = object_get_int(job, "spec.attempt", 0);
    g->dirty = true;
    map_put(l->gangs, key, g);
    TAILQ_INSERT_TAIL(&l->gang_list, g, link);
    return g;
}

static void
gang_free(struct gang_work *g)
{
    map_del(g->l->gangs, g->key);
    TAILQ_REMOVE(&g->l->gang_list, g, link);
    placement_done(&g->p);
    free(g->run_uid);
    free(g->key);
    free(g);
}

/* No more work on it: from here on its jobs are what the cache says. */
static void
gang_leave(struct gang_work *g)
{
    struct scheduler_loop *l = g->l;
    member_vec members = g->p.members;

    g->p.members = (member_vec){0};
    gang_free(g);
    vec_foreach (m, &members)
        if (map_get(l->binds, m->uid) == NULL)
            scheduler_loop_tell_cached(l, m->uid);
    members_done(&members);
}

/* --- members ----------------------------------------------------------------------- */

enum standing { UNKNOWN, WAITS, BOUND, AWRY };

static enum standing
standing(const struct gang_work *g, const struct member *m, struct object **ret)
{
    struct object *o = informer_find_uid(g->l->jobs, m->uid);
    char on[UID_MAX];

    *ret = o;
    if (o == NULL)
        return UNKNOWN;
    switch (scheduler_standing(o)) {
    case SCHED_WAITS:
        return WAITS;
    case SCHED_OCCUPIES:
        object_get_string(o, "spec.instanceUID", on, sizeof(on));
        return streq(on, m->instance_uid) ? BOUND : AWRY;
    case SCHED_OUT:
        break;
    }
    return AWRY;
}

/* Nothing is bound to a machine that the cache does not show (yet, or any more). */
static bool
instance_known(const struct scheduler_loop *l, const struct member *m)
{
    auto_object *o = informer_find_uid(l->instances, m->instance_uid);

    return o != NULL;
}

static void
bind_member(struct gang_work *g, const struct object *o, const struct member *m)
{
    struct bind_target t = {.instance_uid = m->instance_uid,
                            .instance_name = m->instance_name,
                            .engine = m->engine,
                            .reserve = &m->reserve,
                            .gpus = (const char *const *)m->gpus,
                            .n_gpus = m->n_gpus};

    scheduler_bind(g->l, o, &t);
}

static void
breaks(struct gang_work *g, const char *why)
{
    if (g->state == GANG_DECIDED)
        g->why = why;
    if (g->state != GANG_PLACED)
        return;
    log_warn("placement is revoked", "gang=%s reason=%s", g->key, why);
    g->state = GANG_BREAKING;
    g->dirty = true;
    g->why = why;
    g->conflict = false;
    g->retry_at_ms = 0;
}

/* --- writing the placement --------------------------------------------------------- */

static void
written(void *arg, struct span body, const struct error *e)
{
    struct gang_work *g = arg;
    struct scheduler_loop *l = g->l;

    UNUSED(body);
    g->writing = false;
    g->dirty = true;
    /* The Run is gone, and the cache does not know yet: left now, its jobs would be
     * placed again at once. They go with it. */
    bool ahead = e->code == ERR_NOT_FOUND && g->state == GANG_DECIDED;
    if (g->dropped || (e->code == ERR_NOT_FOUND && !ahead)) {
        gang_leave(g);
    } else if (e->code == ERR_OK) {
        g->state = g->state == GANG_DECIDED ? GANG_PLACED : GANG_BROKEN;
        if (g->why != NULL)
            breaks(g, g->why);
    } else if (e->code == ERR_CONFLICT || ahead) {
        g->conflict = true;
    } else {
        log_warn_rl("placement not written", "gang=%s error=\"%s\"", g->key, e->msg);
        g->retry_at_ms = scheduler_retry_at(l, e);
    }
    manager_wake(l->part);
}

static void
send_placement(struct gang_work *g, const struct object *run)
{
    auto_str path = STR_INIT(PATH_MAX_LEN);

    if (g->state == GANG_DECIDED)
        g->p.deadline_ns = manager_wall_ns(g->l->m) + DEADLINE_NS;
    json_t *body = placement_patch(&g->p, g->state == GANG_DECIDED ? NULL : g->why, run);
    client_path(&path, &resource_runs, run->ns, run->name, "status");
    struct client_request q = {.method = "PATCH",
                               .path = path.ptr,
                               .content_type = "application/merge-patch+json"};
    g->writing = true;
    g->conflict = false;
    g->retry_at_ms = 0;
    g->wrote_on = run->revision;
    async_json(manager_async(g->l->m), &q, body, written, g);
    json_decref(body);
}

/* False: not now. */
static bool
may_send(const struct gang_work *g, const struct object *run, int64_t now)
{
    return !g->writing && run != NULL && g->retry_at_ms <= now &&
           (!g->conflict || run->revision > g->wrote_on);
}

/* --- states ------------------------------------------------------------------------ */

static bool
same_attempt(const struct placement *a, const struct placement *b)
{
    return a->replica == b->replica && a->attempt == b->attempt;
}

static void
decided(struct gang_work *g, const struct object *run, int64_t now)
{
    struct placement p = {0};

    if (g->writing)
        return;
    if (g->why != NULL) {
        gang_leave(g);
        return;
    }
    vec_foreach (m, &g->p.members) {
        auto_object *o = NULL;
        enum standing st = standing(g, m, &o);
        if (st != AWRY && st != UNKNOWN)
            continue;
        gang_leave(g);
        return;
    }
    if (!may_send(g, run, now))
        return;
    bool stored = placement_read(run, &p) && same_attempt(&p, &g->p) && !p.revoked;
    if (stored) { /* an earlier write of ours, or another leader was first */
        placement_done(&g->p);
        g->p = p;
        p = (struct placement){0};
        g->state = GANG_PLACED;
        g->dirty = true;
    } else {
        send_placement(g, run);
    }
    placement_done(&p);
}

/* Binds, as many as may be under way. */
static void
placed(struct gang_work *g)
{
    struct scheduler_loop *l = g->l;
    size_t n_bound = 0;

    vec_foreach (m, &g->p.members) {
        auto_object *o = NULL;
        switch (standing(g, m, &o)) {
        case UNKNOWN: /* the cache may be behind; its deletion would be told */
            break;
        case AWRY:
            breaks(g, "MemberEnded");
            return;
        case BOUND:
            n_bound += map_get(l->binds, m->uid) == NULL;
            break;
        case WAITS:
            if (map_get(l->binds, m->uid) != NULL || !instance_known(l, m))
                break;
            scheduler_tell_assumed(l->s, o, m);
            if (l->n_binds < BINDS_MAX)
                bind_member(g, o, m);
            else
                g->starved = true;
            break;
        }
    }
    if (n_bound == g->p.members.len)
        gang_leave(g);
    else if (manager_wall_ns(l->m) >= g->p.deadline_ns)
        breaks(g, "DeadlinePassed");
}

static void
breaking(struct gang_work *g, const struct object *run, int64_t now)
{
    struct placement p = {0};

    vec_foreach (m, &g->p.members)
        if (!scheduler_bind_forget(g->l, m->uid))
            return; /* it may be bound; the answer or the event brings us back */
    if (!may_send(g, run, now))
        return;
    if (placement_read(run, &p) && same_attempt(&p, &g->p) && !p.revoked)
        send_placement(g, run);
    else
        g->state = GANG_BROKEN;
    g->dirty = true;
    placement_done(&p);
}

/* One that is bound cannot be placed again: then all end, and the next attempt follows.
 */
static void
broken(struct gang_work *g, const struct object *run)
{
    size_t n_bound = 0, n_waiting = 0;
    struct placement p = {0};

    bool stale =
        run != NULL && placement_read(run, &p) && same_attempt(&p, &g->p) && !p.revoked;
    placement_done(&p);
    if (stale) /* the cache is behind: it would be taken up again */
        return;
    vec_foreach (m, &g->p.members) {
        auto_object *o = informer_find_uid(g->l->jobs, m->uid);
        if (o == NULL)
            continue;
        switch (scheduler_standing(o)) {
        case SCHED_OCCUPIES:
            n_bound++;
            break;
        case SCHED_WAITS:
            n_waiting++;
            scheduler_remove_job(g->l->s, m->uid);
            break;
        case SCHED_OUT:
            n_bound++; /* ended; its siblings are to follow */
            break;
        }
    }
    if (n_bound > 0)
        vec_foreach (m, &g->p.members) {
            auto_object *o = informer_find_uid(g->l->jobs, m->uid);
            if (o != NULL)
                scheduler_stop_job(g->l, o, "Aborted", REASON_PLACEMENT_REVOKED);
        }
    if (n_bound == 0 || n_waiting == 0)
        gang_leave(g);
}

static int64_t
due_of(const struct gang_work *g, int64_t now)
{
    int64_t wall = manager_wall_ns(g->l->m);

    bool writes = g->state == GANG_DECIDED || g->state == GANG_BREAKING;
    if (writes && g->retry_at_ms != 0 && !g->writing)
        return g->retry_at_ms;
    if (g->state != GANG_PLACED)
        return -1;
    if (g->p.deadline_ns <= wall)
        return now;
    return now + (g->p.deadline_ns - wall) / NS_PER_MS + 1;
}

static void
step(struct gang_work *g, int64_t now)
{
    auto_object *run = informer_find_uid(g->l->runs, g->run_uid);

    g->dirty = g->starved = false;
    if (g->dropped)
        return;
    switch (g->state) {
    case GANG_DECIDED:
        decided(g, run, now);
        break;
    case GANG_PLACED:
        placed(g);
        break;
    case GANG_BREAKING:
        breaking(g, run, now);
        break;
    case GANG_BROKEN:
        broken(g, run);
        break;
    case GANG_STATES:
        break;
    }
}

/* --- what is stored ---------------------------------------------------------------- */

/* Binds that an earlier leader left. */
static void
adopt_placed(struct scheduler_loop *l, const struct object *run, struct placement *p)
{
    auto_object *first = NULL;
    bool waiting = false;
    auto_str key = STR_INIT(GANG_KEY_MAX);

    vec_foreach (m, &p->members) {
        auto_object *o = informer_find_uid(l->jobs, m->uid);
        if (o == NULL)
            continue;
        waiting = waiting || scheduler_standing(o) == SCHED_WAITS;
        if (first == NULL)
            first = object_ref(o);
    }
    if (!waiting || !scheduler_gang_key(first, &key))
        return;
    struct gang_work *g = gang_new(l, key.ptr, first);
    g->state = GANG_PLACED;
    g->p = *p;
    *p = (struct placement){0};
    log_info("placement is completed", "run=%s/%s", run->ns, run->name);
}

/* Ends that an earlier leader left: of a revoked attempt a member is bound. */
static void
adopt_broken(struct scheduler_loop *l, const struct object *run,
             const struct placement *p)
{
    auto_object_list jobs = {0};
    auto_str key = STR_INIT(GANG_KEY_MAX);
    bool any_bound = false;

    gang_key(run->uid, p, &key);
    informer_index(l->jobs, INDEX_JOBS_BY_GANG, key.ptr, &jobs);
    vec_foreach (o, &jobs.list)
        any_bound = any_bound || scheduler_standing(*o) == SCHED_OCCUPIES;
    if (!any_bound)
        return;
    struct gang_work *g = gang_new(l, key.ptr, jobs.list.items[0]);
    g->state = GANG_BROKEN;
    vec_foreach (o, &jobs.list) {
        struct member m = {.uid = xstrdup((*o)->uid)};
        vec_push(&g->p.members, m);
    }
}

static void
look_at_run(struct scheduler_loop *l, const char *uid)
{
    auto_object *run = informer_find_uid(l->runs, uid);
    auto_str key = STR_INIT(GANG_KEY_MAX);
    struct placement p = {0};
    struct gang_work *g;

    TAILQ_FOREACH (g, &l->gang_list, link)
        g->dirty = g->dirty || streq(g->run_uid, uid);
    if (run == NULL || !placement_read(run, &p))
        return;
    gang_key(run->uid, &p, &key);
    if (map_get(l->gangs, key.ptr) != NULL)
        ; /* it knows */
    else if (p.revoked)
        adopt_broken(l, run, &p);
    else
        adopt_placed(l, run, &p);
    placement_done(&p);
}

static void
step_all(struct scheduler_loop *l, int64_t now, bool first)
{
    struct gang_work *g, *next;

    for (g = TAILQ_FIRST(&l->gang_list); g != NULL; g = next) {
        next = TAILQ_NEXT(g, link);
        int64_t at = due_of(g, now);
        bool look = g->starved || g->state == GANG_BREAKING || (at >= 0 && at <= now);
        if (g->dirty || (first && look))
            step(g, now);
    }
}

int64_t
scheduler_gangs_step(struct scheduler_loop *l, int64_t now)
{
    struct map_cursor c = map_begin(l->dirty_runs);
    struct gang_work *g;
    const char *uid;
    int64_t due = -1;

    while (map_next(&c, &uid, NULL))
        look_at_run(l, uid);
    map_clear(l->dirty_runs);
    for (int pass = 0; pass < GANG_STATES; pass++) /* as many as it can go through */
        step_all(l, now, pass == 0);
    TAILQ_FOREACH (g, &l->gang_list, link) {
        int64_t at = due_of(g, now);
        if (at >= 0 && (due < 0 || at < due))
            due = at;
    }
    return due;
}

/* --- events ------------------------------------------------------------------------ */

void
scheduler_gang_decided(struct scheduler_loop *l, const struct object *job,
                       const struct sched_decision *d)
{
    struct gang_work *g = map_get(l->gangs, d->gang);

    if (g == NULL)
        g = gang_new(l, d->gang, job);
    struct member m = {.uid = xstrdup(d->uid),
                       .job = xstrdup(job->name),
                       .node = object_get_int(job, "spec.node", 0),
                       .instance_uid = xstrdup(d->instance_uid),
                       .instance_name = xstrdup(d->instance_name),
                       .engine = d->engine,
                       .reserve = d->reserve};
    m.gpus = xcalloc(d->n_gpus + 1, sizeof(*m.gpus));
    for (size_t i = 0; i < d->n_gpus; i++)
        m.gpus[m.n_gpus++] = xstrdup(d->gpu_uuids[i]);
    vec_push(&g->p.members, m);
    g->dirty = true;
}

bool
scheduler_gang_event(struct scheduler_loop *l, const struct object *job)
{
    struct gang_work *g = find(l, job);

    if (g == NULL)
        return false;
    g->dirty = true;
    manager_wake(l->part);
    return true;
}

void
scheduler_gang_job_gone(struct scheduler_loop *l, const struct object *last)
{
    struct gang_work *g = find(l, last);

    if (g == NULL)
        return;
    g->dirty = true;
    breaks(g, "MemberEnded");
}

void
scheduler_gang_instance_gone(struct scheduler_loop *l, const char *uid)
{
    struct gang_work *g;

    TAILQ_FOREACH (g, &l->gang_list, link) {
        vec_foreach (m, &g->p.members) {
            if (m->instance_uid == NULL || !streq(m->instance_uid, uid))
                continue;
            g->dirty = true;
            breaks(g, "InstanceGone");
        }
    }
}

void
scheduler_gang_run_gone(struct scheduler_loop *l, const char *run_uid)
{
    struct gang_work *g, *next;

    for (g = TAILQ_FIRST(&l->gang_list); g != NULL; g = next) {
        next = TAILQ_NEXT(g, link);
        if (!streq(g->run_uid, run_uid))
            continue;
        g->dropped = true;
        if (!g->writing)
            gang_leave(g);
    }
}

void
scheduler_stop_gang(struct scheduler_loop *l, const struct object *job, const char *state,
                    const char *why)
{
    auto_str key = STR_INIT(GANG_KEY_MAX);
    auto_object_list jobs = {0};

    if (!scheduler_gang_key(job, &key)) {
        scheduler_stop_job(l, job, state, why);
        return;
    }
    informer_index(l->jobs, INDEX_JOBS_BY_GANG, key.ptr, &jobs);
    vec_foreach (o, &jobs.list)
        scheduler_stop_job(l, *o, state, why);
}

void
scheduler_gangs_free(struct scheduler_loop *l)
{
    struct gang_work *g;

    while ((g = TAILQ_FIRST(&l->gang_list)) != NULL)
        gang_free(g);
    map_free(l->gangs);
    map_free(l->dirty_runs);
}
