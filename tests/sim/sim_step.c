/* SPDX-License-Identifier: Apache-2.0 */
/* One thing per step, chosen by the seed; and coming to rest. */
#include "base/clock.h"
#include "sim/sim.h"

enum {
    STEP_NS = 1000, /* each step has a time of its own */
    QUIET_ROUNDS_MAX = 6000,
    ROUND_MAX = 20000,
    IDLE_MS = 100000,
    PARTITION_MAX_MS = 400000,
    OUTAGE_MS = 10 * 120000,
    NOTICE_MAX_MS = 120000,
};

/* --- what happens -------------------------------------------------------------------
 */

static void
step_controllers(struct sim *s)
{
    if (s->m == NULL)
        return;
    size_t before = async_in_flight(s->async);
    manager_step(s->m);
    if (async_in_flight(s->async) > before)
        sim_check_snapshot(s);
}

static void
step_reader(struct sim *s)
{
    if (s->control_readers.len > 0)
        sim_reader_step(
            s->control_readers.items[sim_below(s, (uint32_t)s->control_readers.len)]);
}

static void
step_agent(struct sim *s)
{
    sim_agent_step(s->agents[sim_below(s, s->n_agents)]);
}

static void
step_server(struct sim *s)
{
    if (!s->up)
        return;
    store_flush(s->store);
    loop_turn(s->loop, 0);
}

static int64_t
earlier(int64_t a, int64_t b)
{
    return b >= 0 && (a < 0 || b < a) ? b : a;
}

/* The next time at which something is due; what is overdue does not count. */
static int64_t
next_due(const struct sim *s)
{
    int64_t now = sim_now_ms(), due = -1;
    struct map_cursor c = map_begin(s->procs);
    void *value;

    while (map_next(&c, NULL, &value)) {
        const struct sim_proc *p = value;
        if (p->state == PROC_RUNNING && p->exit_at_ms > now)
            due = earlier(due, p->exit_at_ms);
        if (p->state == PROC_RUNNING && p->kill_at_ms > now)
            due = earlier(due, p->kill_at_ms);
    }
    for (unsigned i = 0; i < s->n_agents; i++)
        if (sim_agent_due(s->agents[i]) > now)
            due = earlier(due, sim_agent_due(s->agents[i]));
    if (s->m != NULL && manager_next_due(s->m) > now)
        due = earlier(due, manager_next_due(s->m));
    if (!s->up && s->up_again_ms > now)
        due = earlier(due, s->up_again_ms);
    if (s->m == NULL && s->controllers_again_ms > now)
        due = earlier(due, s->controllers_again_ms);
    return due;
}

static void
step_clock(struct sim *s)
{
    int64_t due = next_due(s), now = sim_now_ms();
    int64_t ms = due < 0 ? 1000 : due - now;

    if (ms > 10000)
        ms = 10000;
    if (sim_permille(s, s->patient ? 100 : 500))
        ms = 1 + sim_below(s, (uint32_t)ms);
    sim_advance(s, ms);
}

static void
step_restart(struct sim *s)
{
    if (!s->up && s->up_again_ms <= sim_now_ms())
        sim_server_start(s);
    if (s->m == NULL && s->controllers_again_ms <= sim_now_ms())
        sim_controllers_start(s);
}

/* --- faults -------------------------------------------------------------------------
 */

static void
fault_server(struct sim *s)
{
    if (!s->up)
        return;
    switch (sim_below(s, 4)) {
    case 0:
        s->disk.torn_in = 1 + sim_below(s, 20);
        break;
    case 1:
        s->disk.sync_dies_in = 1 + sim_below(s, 20);
        break;
    default:
        sim_server_crash(s, sim_permille(s, 500));
        break;
    }
}

static void
fault_watch(struct sim *s)
{
    if (s->readers.len == 0)
        return;
    struct sim_reader *r = s->readers.items[sim_below(s, (uint32_t)s->readers.len)];
    bool expire = sim_permille(s, 300);

    sim_log(s, "fault: watch of %s %s", informer_resource(r->inf)->plural,
            expire ? "expires" : "is cut");
    if (expire)
        sim_reader_expire(r);
    else
        sim_reader_cut(r);
}

static void
fault_partition(struct sim *s)
{
    struct sim_link *l = sim_permille(s, 200)
                             ? &s->control
                             : sim_agent_link(s->agents[sim_below(s, s->n_agents)]);

    if (l->cut)
        return;
    l->cut = true;
    l->cut_until_ms = sim_now_ms() + sim_below(s, PARTITION_MAX_MS);
    sim_log(s, "fault: %s is cut off for %lld ms", l->name,
            (long long)(l->cut_until_ms - sim_now_ms()));
}

static void
step_fault(struct sim *s)
{
    bool no_claims = s->opts.mutation == SIM_IGNORE_CLAIM;
    unsigned fault = 1u << sim_below(s, s->faults & FAULT_RECLAIM ? 12 : 11);
    struct sim_agent *a = s->agents[sim_below(s, s->n_agents)];

    /* What brings these mutations to light is rare otherwise. */
    if (no_claims && sim_permille(s, 700))
        fault = FAULT_JOURNAL;
    if (s->opts.mutation == SIM_START_TWICE && sim_permille(s, 700))
        fault = FAULT_AGENT;

    if (!(s->faults & fault))
        return;
    switch ((enum sim_fault)fault) {
    case FAULT_SERVER:
        fault_server(s);
        break;
    case FAULT_CONTROLLERS:
        sim_controllers_stop(s);
        break;
    case FAULT_WATCH:
        fault_watch(s);
        break;
    case FAULT_PARTITION:
        fault_partition(s);
        break;
    case FAULT_FULL:
        s->disk.full = 1;
        break;
    case FAULT_AGENT:
        sim_agent_crash(a, false);
        break;
    case FAULT_JOURNAL:
        if (no_claims || sim_permille(s, 300))
            sim_agent_crash(a, true);
        break;
    case FAULT_REBOOT:
        if (sim_permille(s, 200))
            sim_agent_reboot(a);
        if (s->opts.mutation == SIM_OVERCOMMIT)
            sim_agent_shrink(a);
        break;
    case FAULT_RECLAIM:
        if (sim_permille(s, 200))
            sim_agent_reclaim(a, 1 + sim_below(s, NOTICE_MAX_MS));
        break;
    case FAULT_TOUCH:
    case FAULT_NET:
    case FAULT_CORDON:
        break;
    }
}

/* --- steps --------------------------------------------------------------------------
 */

static void
choose(struct sim *s)
{
    uint32_t what = sim_below(s, 1000);

    if (what < 300)
        step_controllers(s);
    else if (what < 540)
        step_reader(s);
    else if (what < 780)
        step_agent(s);
    else if (what < (s->patient ? 800 : 850))
        step_server(s);
    else if (what < 955)
        step_clock(s);
    else if (what < 970)
        sim_user_step(s);
    else if (what < 980)
        step_restart(s);
    else if (what < 990 && (s->faults & FAULT_TOUCH))
        sim_user_touch(s);
    else if (what < 992 && (s->faults & FAULT_PARTITION))
        fault_partition(s);
    else
        step_fault(s);
}

static void
after_step(struct sim *s)
{
    if (s->up && (s->disk.dead || s->fatal)) {
        s->in_doubt = true;
        sim_server_crash(s, sim_permille(s, 500));
    }
    if (!s->up)
        return;
    store_flush(s->store);
    sim_monitor_drain(s);
    sim_check_step(s);
}

static void
one(struct sim *s)
{
    clock_fake_advance(STEP_NS);
    s->step++;
    choose(s);
    after_step(s);
}

void
sim_run(struct sim *s)
{
    while (s->step < s->opts.steps && !s->failed)
        one(s);
    if (!s->failed)
        sim_quiesce(s);
}

/* --- rest ---------------------------------------------------------------------------
 */

static void
heal(struct sim *s)
{
    s->calm = true;
    s->disk.torn_in = s->disk.sync_dies_in = s->disk.full = 0;
    s->control.cut = false;
    for (unsigned i = 0; i < s->n_agents; i++) {
        sim_agent_link(s->agents[i])->cut = false;
        sim_agent_reclaim_now(s->agents[i]);
        sim_agent_hurry(s->agents[i]);
    }
    s->up_again_ms = s->controllers_again_ms = sim_now_ms();
    step_restart(s);
    sim_log(s, "calm: everything is healed");
    if (!s->failed)
        sim_user_calm(s);
}

/* Everything that can happen without the clock moving. */
static bool
round_once(struct sim *s)
{
    bool any = false;

    clock_fake_advance(STEP_NS);
    while (s->m != NULL && manager_step(s->m))
        any = true;
    for (size_t i = 0; i < s->control_readers.len; i++)
        any |= sim_reader_step(s->control_readers.items[i]);
    for (unsigned i = 0; i < s->n_agents; i++)
        any |= sim_agent_step(s->agents[i]);
    uint64_t events = s->n_events;
    step_server(s);
    after_step(s);
    return any || s->n_events != events;
}

static void
settle(struct sim *s)
{
    unsigned n = 0;

    while (!s->failed && round_once(s))
        if (++n > ROUND_MAX)
            sim_violate(s, "comes_to_rest", "no end without the clock moving");
}

static void
pass_time(struct sim *s, int64_t max_ms)
{
    int64_t due = next_due(s), ms = due < 0 ? max_ms : due - sim_now_ms();

    sim_advance(s, ms < max_ms ? ms : max_ms);
}

static bool
unfinished(struct sim *s)
{
    struct map_cursor c = map_begin(s->shadow);
    const char *key;
    void *value;

    while (map_next(&c, &key, &value)) {
        const struct object *o = value;
        char phase[32] = "";
        if (!str_starts(key, RES_RUNS "/"))
            continue;
        object_get_string(o, "status.phase", phase, sizeof(phase));
        bool over =
            streq(phase, "Done") || streq(phase, "Failed") || streq(phase, "Terminated");
        if ((!over && !sim_too_big(s, o)) || o->facts.deleting_s != 0)
            return true;
    }
    return false;
}

static uint64_t
writes(struct sim *s)
{
    uint64_t n = s->control.writes + s->user.writes;

    for (unsigned i = 0; i < s->n_agents; i++)
        n += sim_agent_link(s->agents[i])->writes;
    return n;
}

static void
idle(struct sim *s, int64_t ms)
{
    int64_t until = sim_now_ms() + ms;

    while (!s->failed && sim_now_ms() < until) {
        pass_time(s, until - sim_now_ms());
        settle(s);
    }
}

/* No run left: then nothing at all is left. */
static void
check_empty(struct sim *s)
{
    struct map_cursor c = map_begin(s->procs);
    auto_object *run = sim_pick(s, RES_RUNS), *job = sim_pick(s, RES_JOBS);
    void *value;

    if (run != NULL)
        sim_violate(s, "all_runs_are_gone", "%s", run->name);
    if (job != NULL)
        sim_violate(s, "all_jobs_are_gone", "%s", job->name);
    while (map_next(&c, NULL, &value)) {
        const struct sim_proc *p = value;
        if (p->state == PROC_RUNNING)
            sim_violate(s, "no_process_is_left", "job %s on node-%u", p->uid, p->machine);
    }
    for (unsigned i = 0; i < s->n_agents; i++)
        if (sim_agent_entries(s->agents[i]) > 0)
            sim_violate(s, "no_entry_is_left", "node-%u has %zu", i,
                        sim_agent_entries(s->agents[i]));
}

void
sim_quiesce(struct sim *s)
{
    heal(s);
    settle(s);
    for (unsigned i = 0; !s->failed && unfinished(s) && i < QUIET_ROUNDS_MAX; i++) {
        pass_time(s, 60000);
        settle(s);
    }
    idle(s, IDLE_MS);
    if (s->failed)
        return;
    sim_check_end(s);
    uint64_t before = writes(s);
    idle(s, IDLE_MS);
    if (writes(s) - before > 0)
        sim_violate(s, "no_hot_loop", "%llu writes while nothing happens",
                    (unsigned long long)(writes(s) - before));
    if (s->failed)
        return;
    sim_user_delete_all(s);
    idle(s, IDLE_MS);
    if (!s->failed)
        check_empty(s);
}

/* --- one story, told on purpose: chance seldom brings it about -------------------------
 */

static struct sim_proc *
running(const struct sim *s)
{
    struct map_cursor c = map_begin(s->procs);
    void *value;

    while (map_next(&c, NULL, &value)) {
        struct sim_proc *p = value;
        if (p->state == PROC_RUNNING)
            return p;
    }
    return NULL;
}

/* One interruptible job, which runs; NULL: it does not, and nothing is left to tell. */
static struct sim_proc *
begin_story(struct sim *s)
{
    heal(s);
    sim_user_submit_interruptible(s);
    idle(s, 5000);
    struct sim_proc *p = running(s);
    if (p == NULL)
        sim_violate(s, "story_begins", "nothing runs");
    return s->failed ? NULL : p;
}

/* An interruptible job's machine is cut off, its agent dies and comes back meanwhile, and
 * the job, which does not obey SIGTERM, is replaced elsewhere. */
void
sim_partition_story(struct sim *s)
{
    struct sim_proc *p = begin_story(s);

    if (p == NULL)
        return;
    struct sim_agent *a = s->agents[p->machine];
    p->exit_at_ms = p->term_ms = INT64_MAX / 2;
    sim_agent_link(a)->cut = true;
    sim_agent_link(a)->cut_until_ms = sim_now_ms() + PARTITION_MAX_MS;
    idle(s, 60000);
    sim_agent_crash(a, false);
    idle(s, PARTITION_MAX_MS);
    if (!s->failed && (s->n_agent_lost != 1 || s->n_replaced != 1))
        sim_violate(s, "story_ends", "the job was not replaced");
}

/* A cloud takes the machine back while a job runs there, too soon for its drain: it is
 * started again elsewhere, when the machine is gone and not before. */
void
sim_reclaim_story(struct sim *s)
{
    struct sim_proc *p = begin_story(s);

    if (p == NULL)
        return;
    p->exit_at_ms = p->term_ms = INT64_MAX / 2;
    sim_agent_reclaim(s->agents[p->machine], 1);
    idle(s, PARTITION_MAX_MS);
    if (!s->failed && (s->n_reclaimed != 1 || s->n_replaced != 1))
        sim_violate(s, "story_ends", "the job was started %llu times again",
                    (unsigned long long)s->n_replaced);
}

/* Nobody reaches the server for ten times L while a job runs that may be replaced. The
 * dead-man switch ends it on its machine; the controllers, when they are back, call no
 * machine lost. */
void
sim_outage_story(struct sim *s)
{
    struct sim_proc *p = begin_story(s);
    int64_t until;

    if (p == NULL)
        return;
    p->exit_at_ms = INT64_MAX / 2;
    until = sim_now_ms() + OUTAGE_MS;
    s->control.cut = true;
    s->control.cut_until_ms = until;
    for (unsigned i = 0; i < s->n_agents; i++) {
        sim_agent_link(s->agents[i])->cut = true;
        sim_agent_link(s->agents[i])->cut_until_ms = until;
    }
    idle(s, OUTAGE_MS);
    if (!s->failed && p->state == PROC_RUNNING)
        sim_violate(s, "dead_man", "the job lives on");
    idle(s, OUTAGE_MS);
    if (!s->failed && s->n_agent_lost > 0)
        sim_violate(s, "outage_is_no_loss", "a machine was called lost");
    if (!s->failed && s->n_replaced != 1)
        sim_violate(s, "story_ends", "the job was started %llu times again",
                    (unsigned long long)s->n_replaced);
}
