/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Edges of runs and fleets where another control plane of this kind has failed: a stop or
 * a change at any moment, a stop that does not get through, a gang larger than what is
 * there, machines of several fleets, a fleet that goes, blocks, times that are met
 * exactly. docs/testing.md has the table.
 */
#include <stdlib.h>

#include "tests/unit/world_agents.h"

enum { SETTLE_MS = 5000 }; /* less than a lease */

static void
is(struct world *w, const char *path, const char *a, const char *b, const char *value)
{
    autofree char *text = get_text(w, path, a, b);

    if (!streq(text, value))
        fail_msg("%s %s.%s is \"%s\", not \"%s\"", path, a, b, text, value);
}

static bool
exists(struct world *w, const char *path)
{
    autofree char *uid = get_text(w, path, "metadata", "uid");

    return uid[0] != '\0';
}

static void
want(struct world *w, const char *run, const char *desired)
{
    patch(w, &resource_runs, run,
          json_pack("{s:{s:s}}", "spec", "desiredState", desired));
}

static void
says_now(struct world *w, const char *job, const char *state, const char *when, int code)
{
    char now[CLOCK_RFC3339_US_LEN];

    clock_format_us(wall_ns(), now);
    agent_says(w, job,
               json_pack("{s:s, s:s, s:i, s:b}", "state", state, when, now, "exitCode",
                         code, "released", streq(when, "finishedAt")));
}

static void
runs_now(struct world *w, const char *job)
{
    says_now(w, job, "Running", "startedAt", 0);
    settle(w);
}

static void
exits(struct world *w, const char *job, int code)
{
    says_now(w, job, "Exited", "finishedAt", code);
    settle(w);
}

/* --- at any moment ---------------------------------------------------------------------
 */

/* What the agent of this job's machine has to do, if anything. */
static bool
agent_turn(struct world *w, const char *job)
{
    autofree char *path = xasprintf("jobs/%s", job);
    autofree char *on = get_text(w, path, "spec", "instanceName");
    autofree char *desired = get_text(w, path, "spec", "desiredState");
    autofree char *released = get_text(w, path, "spec", "released");
    autofree char *agent = get_text(w, path, "status", "agent");
    bool wanted = streq(desired, "Running");
    bool running = strstr(agent, "\"Running\"") != NULL;

    if (on[0] == '\0' || (agent[0] != '\0' && !running))
        return false;
    if (!running && !wanted)
        says_now(w, job, "Cancelled", "finishedAt", 0);
    else if (!running && streq(released, "true"))
        says_now(w, job, "Running", "startedAt", 0);
    else if (running && !wanted)
        says_now(w, job, "Exited", "finishedAt", 143);
    else
        return false;
    return true;
}

/* xorshift64*, so that a moment is the same everywhere */
static uint32_t
pick(uint64_t *state, uint32_t n)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (uint32_t)(*state * UINT64_C(0x2545F4914F6CDD1D) >> 33) % n;
}

static bool
deliver(struct world *w, uint64_t *order)
{
    switch (pick(order, 4)) {
    case 0:
        if (fake_api_deliver_only(w->api, &resource_runs))
            return true;
        break;
    case 1:
        if (fake_api_deliver_only(w->api, &resource_jobs))
            return true;
        break;
    default:
        break;
    }
    return fake_api_deliver(w->api);
}

static bool
agents(struct world *w, const char *run, int nodes)
{
    for (int i = 0; i < nodes; i++) {
        autofree char *job = xasprintf("%s-0-%d-0", run, i);
        if (agent_turn(w, job))
            return true;
    }
    return false;
}

/* One thing after the other in any order: work, news, agents. False: all rest. */
static bool
tick(struct world *w, const char *run, int nodes, uint64_t *order)
{
    uint32_t first = pick(order, 3);

    for (uint32_t i = 0; i < 3; i++) {
        uint32_t what = (first + i) % 3;
        if ((what == 0 && manager_step(w->m)) || (what == 1 && deliver(w, order)) ||
            (what == 2 && agents(w, run, nodes)))
            return true;
    }
    return false;
}

/* The same, and what is due by the clock until then. */
static bool
go_on(struct world *w, const char *run, int nodes, uint64_t *order, int64_t until)
{
    if (tick(w, run, nodes, order))
        return true;
    int64_t due = manager_next_due(w->m);
    if (due < 0 || due > until)
        return false;
    if (due > fake_ms)
        fake_ms = due;
    return true;
}

static void
rest(struct world *w, const char *run, int nodes, uint64_t *order)
{
    int64_t until = fake_ms + SETTLE_MS;

    while (go_on(w, run, nodes, order, until))
        ;
}

/* Its jobs took its reason, and their room is free. */
static void
is_stopped(struct world *w, int nodes, int moment, uint64_t *order)
{
    autofree char *phase = get_text(w, "runs/r", "status", "phase");

    if (!streq(phase, "Terminated"))
        fail_msg("%d nodes, stopped at moment %d: the run is %s", nodes, moment, phase);
    phase_is(w, "runs/r", "Terminated", "StoppedByUser");
    is(w, "runs/r", "spec", "desiredState", "Stopped");
    assert_false(exists(w, "jobs/r-0-0-1"));
    for (int i = 0; i < nodes; i++) {
        autofree char *job = xasprintf("jobs/r-0-%d-0", i);
        autofree char *ended = get_text(w, job, "status", "phase");
        if (exists(w, job) && !streq(ended, "Terminated"))
            fail_msg("%d nodes, stopped at moment %d: %s is %s", nodes, moment, job,
                     ended);
        if (exists(w, job))
            is(w, job, "status", "reason", "StoppedByUser");
    }
    add_run(w, "next", json_pack("{s:i}", "nodes", nodes));
    rest(w, "next", nodes, order);
    phase_is(w, "runs/next", "Running", "");
}

/* The next request of this kind has no good answer. Only the controllers make them. */
static void
disturb(struct world *w, uint64_t *order)
{
    static const struct {
        const char *method, *prefix;
        int status; /* 0: carried out, and the answer is lost */
    } ways[] = {
        {"POST", NS "jobs", 0},
        {"POST", NS "jobs", 503},
        {"PATCH", NS "runs/r/status", 0},
        {"PATCH", NS "runs/r/status", 409},
        {"PATCH", NS "runs/r/status", 503},
    };
    uint32_t i = pick(order, ARRAY_LEN(ways) + 1);

    if (i >= ARRAY_LEN(ways))
        return;
    if (ways[i].status == 0)
        fake_api_lose(w->api, ways[i].method, ways[i].prefix, 1);
    else
        fake_api_fail(w->api, ways[i].method, ways[i].prefix, ways[i].status, 1);
}

/* True: all rested before the moment had come. */
static bool
stop_at(int nodes, int moment, uint64_t seed)
{
    uint64_t order = seed;
    bool resting = false;
    struct world w;

    world_init(&w, 1);
    for (int i = 0; i < nodes; i++)
        add_machine(&w, i, 1);
    settle(&w);
    disturb(&w, &order);
    add_run(&w, "r", json_pack("{s:i}", "nodes", nodes));
    for (int i = 0; i < moment && !resting; i++)
        resting = !go_on(&w, "r", nodes, &order, fake_ms + 500);
    want(&w, "r", "Stopped");
    rest(&w, "r", nodes, &order);
    is_stopped(&w, nodes, moment, &order);
    world_done(&w);
    return resting;
}

/* Whatever copy the controllers act on when the user says so, and though they do not know
 * what became of a write: a stop is never lost, holds no node back, and leaves nothing
 * taken. */
static void
a_stop_at_any_moment(void **state)
{
    uint64_t orders = getenv("DROVER_LONG") != NULL ? 20 : 1;

    UNUSED(state);
    for (int nodes = 1; nodes <= 2; nodes++) {
        bool resting = false;
        int moment = 0;
        for (; !resting; moment += nodes)
            for (uint64_t k = 0; k < orders; k++)
                resting = stop_at(nodes, moment, (uint64_t)moment * 7919 + k * 31 + 1);
        assert_true(moment > 10);
    }
}

/* A change in place reaches the job, and no worker that had an older copy undoes it. */
static void
a_change_at_any_moment(void **state)
{
    struct world w;
    bool resting = false;
    int moment = 0;

    UNUSED(state);
    for (; !resting; moment++) {
        uint64_t order = (uint64_t)moment * 7919 + 1;
        world_init(&w, 1);
        settle(&w);
        add_run(&w, "r", json_pack("{s:i}", "jobHistoryLimit", 3));
        for (int i = 0; i < moment && !resting; i++)
            resting = !go_on(&w, "r", 1, &order, fake_ms + 500);
        patch(&w, &resource_runs, "r",
              json_pack("{s:{s:i, s:i}}", "spec", "priority", 9, "jobHistoryLimit", 4));
        rest(&w, "r", 1, &order);
        is(&w, "runs/r", "spec", "priority", "9");
        is(&w, "runs/r", "spec", "jobHistoryLimit", "4");
        is(&w, "jobs/r-0-0-0", "spec", "priority", "9");
        world_done(&w);
    }
    assert_true(moment > 3);
}

/* --- room ------------------------------------------------------------------------------
 */

/* The stop does not reach the job for a while: what the job holds stays taken, and the
 * stop gets there in the end. */
static void
a_stop_that_does_not_get_through(void **state)
{
    struct world w;

    UNUSED(state);
    world_init(&w, 1);
    add_machine(&w, 0, 1);
    settle(&w);
    add_run(&w, "r", NULL);
    settle(&w);
    runs_now(&w, "r-0-0-0");
    add_run(&w, "waits", NULL);
    settle(&w);
    fake_api_fail(w.api, "PATCH", NS "jobs/r-0-0-0", 503, 1000);
    want(&w, "r", "Stopped");
    advance_to(&w, fake_ms + SETTLE_MS);
    is(&w, "jobs/r-0-0-0", "spec", "desiredState", "Running");
    is(&w, "jobs/waits-0-0-0", "spec", "instanceName", "");
    fake_api_fail(w.api, "", "", 0, 0);
    advance_to(&w, fake_ms + SETTLE_MS * 3);
    is(&w, "jobs/r-0-0-0", "spec", "desiredState", "Stopped");
    /* Stopped is not gone: its agent has not said that it is free. */
    agent_says(&w, "r-0-0-0", json_pack("{s:s, s:i}", "state", "Exited", "exitCode", 0));
    settle(&w);
    phase_is(&w, "runs/r", "Terminated", "StoppedByUser");
    is(&w, "jobs/waits-0-0-0", "spec", "instanceName", "");
    exits(&w, "r-0-0-0", 0);
    is(&w, "jobs/waits-0-0-0", "spec", "instanceName", "m0");
    world_done(&w);
}

/* The end of one job of a shared machine frees its blocks and no others. */
static void
blocks_of_one_job(void **state)
{
    struct world w;

    UNUSED(state);
    world_init(&w, 1);
    add_machine(&w, 0, 4);
    patch(&w, &resource_instances, "m0", json_pack("{s:{s:i}}", "spec", "blocks", 2));
    settle(&w);
    add_run(&w, "aa", NULL);
    add_run(&w, "bb", NULL);
    settle(&w);
    is(&w, "jobs/aa-0-0-0", "spec", "instanceName", "m0");
    is(&w, "jobs/bb-0-0-0", "spec", "instanceName", "m0");
    add_run(&w, "both", json_pack("{s:{s:i}}", "resources", "cpu", 3));
    settle(&w);
    exits(&w, "aa-0-0-0", 0);
    is(&w, "jobs/both-0-0-0", "spec", "instanceName", "");
    phase_is(&w, "runs/bb", "Provisioning", "");
    exits(&w, "bb-0-0-0", 0);
    is(&w, "jobs/both-0-0-0", "spec", "instanceName", "m0");
    world_done(&w);
}

/* It takes nothing while it waits, and one that does not wait fails as a whole. */
static void
a_gang_larger_than_the_fleet(void **state)
{
    struct world w;

    UNUSED(state);
    world_init(&w, 1);
    add_machine(&w, 0, 1);
    add_machine(&w, 1, 1);
    settle(&w);
    add_run(&w, "gives-up",
            json_pack("{s:i, s:s}", "nodes", 3, "whenNoCapacity", "fail"));
    add_run(&w, "waits", json_pack("{s:i}", "nodes", 3));
    settle(&w);
    phase_is(&w, "runs/gives-up", "Failed", "NoCapacity");
    phase_is(&w, "runs/waits", "Submitted", "InsufficientInstances");
    for (int i = 0; i < 3; i++) {
        autofree char *mine = xasprintf("jobs/gives-up-0-%d-0", i);
        autofree char *other = xasprintf("jobs/waits-0-%d-0", i);
        is(&w, mine, "spec", "instanceName", "");
        phase_is(&w, mine, "Terminated", "NoCapacity");
        is(&w, other, "spec", "instanceName", "");
    }
    want(&w, "waits", "Stopped");
    settle(&w);
    phase_is(&w, "runs/waits", "Terminated", "StoppedByUser");
    world_done(&w);
}

/* --- fleets ----------------------------------------------------------------------------
 */

/* Of the machines that a run of several nodes names, one fleet must have enough. */
static void
named_machines_of_one_fleet(void **state)
{
    struct world w;

    UNUSED(state);
    world_init(&w, 1);
    add_machine_of(&w, "a", 0, 1);
    add_machine_of(&w, "b", 1, 1);
    add_machine_of(&w, "b", 2, 1);
    settle(&w);
    add_run(&w, "r",
            json_pack("{s:i, s:[{s:s}, {s:s}, {s:s}]}", "nodes", 2, "instances", "name",
                      "m0", "name", "m1", "name", "m3"));
    settle(&w);
    phase_is(&w, "runs/r", "Submitted", "InsufficientInstances");
    add_machine_of(&w, "b", 3, 1);
    settle(&w);
    autofree char *first = get_text(&w, "jobs/r-0-0-0", "spec", "instanceName");
    autofree char *second = get_text(&w, "jobs/r-0-1-0", "spec", "instanceName");
    assert_true((streq(first, "m1") && streq(second, "m3")) ||
                (streq(first, "m3") && streq(second, "m1")));
    world_done(&w);
}

/* A fleet that is being deleted gets no job, and neither do machines that come late. */
static void
a_fleet_that_goes(void **state)
{
    struct world w;

    UNUSED(state);
    world_init(&w, 1);
    create(&w, &resource_fleets,
           json_pack("{s:s, s:s, s:{s:s, s:[s]}, s:{}}", "apiVersion", "drover.dev/v1",
                     "kind", "Fleet", "metadata", "name", "a", "finalizers", "x.dev/y",
                     "spec"));
    add_machine_of(&w, "a", 0, 2);
    settle(&w);
    add_run(&w, "before", NULL);
    settle(&w);
    runs_now(&w, "before-0-0-0");
    patch(
        &w, &resource_fleets, "a",
        json_pack("{s:{s:s}}", "metadata", "deletionTimestamp", "2026-01-01T00:00:01Z"));
    settle(&w);
    is(&w, "fleets/a", "status", "phase", "Terminating");
    add_run(&w, "after", NULL);
    settle(&w);
    add_machine_of(&w, "a", 1, 2);
    settle(&w);
    is(&w, "jobs/after-0-0-0", "spec", "instanceName", "");
    phase_is(&w, "runs/after", "Submitted", "NoInstances");
    add_machine_of(&w, "b", 2, 1);
    settle(&w);
    is(&w, "jobs/after-0-0-0", "spec", "instanceName", "m2");
    world_done(&w);
}

/* --- times -----------------------------------------------------------------------------
 */

/* A time that is met has passed, not one a millisecond ahead; off never passes. */
static void
times_met_exactly(void **state)
{
    struct world w;

    UNUSED(state);
    world_init(&w, 1);
    add_machine(&w, 0, 4);
    patch(&w, &resource_leases, "m0",
          json_pack("{s:{s:i}}", "spec", "leaseDurationSeconds", 40000000));
    settle(&w);
    add_run(&w, "r", json_pack("{s:i, s:i}", "maxDuration", 10, "ttlAfterFinished", 10));
    add_run(&w, "off",
            json_pack("{s:s, s:s}", "maxDuration", "off", "ttlAfterFinished", "off"));
    settle(&w);
    runs_now(&w, "r-0-0-0");
    runs_now(&w, "off-0-0-0");
    int64_t start = fake_ms;
    advance_to(&w, start + 9999);
    is(&w, "jobs/r-0-0-0", "spec", "desiredState", "Running");
    advance_to(&w, start + 10000);
    is(&w, "jobs/r-0-0-0", "spec", "stopReason", "MaxDurationExceeded");
    exits(&w, "r-0-0-0", 143);
    phase_is(&w, "runs/r", "Terminated", "MaxDurationExceeded");
    advance_to(&w, start + 19999);
    assert_true(exists(&w, "runs/r"));
    advance_to(&w, start + 20001); /* timers are late by a millisecond at most */
    assert_false(exists(&w, "runs/r"));
    advance_to(&w, start + 86400000);
    is(&w, "jobs/off-0-0-0", "spec", "desiredState", "Running");
    exits(&w, "off-0-0-0", 0);
    advance_to(&w, fake_ms + 86400000);
    phase_is(&w, "runs/off", "Done", "Exited");
    world_done(&w);
}

/* --- questions -------------------------------------------------------------------------
 */

/* Whether an attempt follows that the cache does not have is asked only where one may. */
static void
the_server_is_asked_where_it_must_be(void **state)
{
    struct world w;

    UNUSED(state);
    world_init(&w, 1);
    add_machine(&w, 0, 4);
    settle(&w);
    add_run(&w, "plain", json_pack("{s:s}", "array", "0-2"));
    settle(&w);
    for (int i = 0; i < 3; i++) {
        autofree char *job = xasprintf("plain-%d-0-0", i);
        exits(&w, job, 1);
    }
    phase_is(&w, "runs/plain", "Failed", "ElementsFailed");
    assert_int_equal(fake_api_count(w.api, "GET", NS "jobs/"), 0);
    add_run(&w, "again",
            json_pack("{s:{s:[s], s:i}}", "retry", "onEvents", "error", "duration", 1));
    settle(&w);
    runs_now(&w, "again-0-0-0");
    exits(&w, "again-0-0-0", 1);
    want(&w, "again", "Stopped");
    settle(&w);
    phase_is(&w, "runs/again", "Failed", "Exited");
    assert_int_equal(fake_api_count(w.api, "GET", NS "jobs/again-0-0-1"), 1);
    world_done(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stop_at_any_moment),
        cmocka_unit_test(a_change_at_any_moment),
        cmocka_unit_test(a_stop_that_does_not_get_through),
        cmocka_unit_test(blocks_of_one_job),
        cmocka_unit_test(a_gang_larger_than_the_fleet),
        cmocka_unit_test(named_machines_of_one_fleet),
        cmocka_unit_test(a_fleet_that_goes),
        cmocka_unit_test(times_met_exactly),
        cmocka_unit_test(the_server_is_asked_where_it_must_be),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
