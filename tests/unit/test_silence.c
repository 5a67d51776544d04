/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Machines that fall silent, on a fake clock: what is replaced, when, and what is not.
 */
#include "tests/unit/world_agents.h"

static json_t *
interruptible(void)
{
    return json_pack("{s:{s:[s]}, s:i}", "retry", "onEvents", "interruption",
                     "stopDuration", 30);
}

/* 40 s: NotReady and Unknown. 1.01 * 120 + 30 + 10 s: replaced, if interruptible. */
static void
a_silent_machine(void **state)
{
    struct world w;

    UNUSED(state);
    world_init(&w, 5);
    add_machine(&w, 0, 4);
    settle(&w);
    int64_t t0 = fake_ms;
    add_run(&w, "plain", NULL);
    add_run(&w, "spot", interruptible());
    settle(&w);
    agent_says(&w, "plain-0-0-0", json_pack("{s:s}", "state", "Running"));
    agent_says(&w, "spot-0-0-0", json_pack("{s:s}", "state", "Running"));
    advance_to(&w, t0 + 40000);
    phase_is(&w, "instances/m0", "Ready", NULL);
    phase_is(&w, "runs/spot", "Running", NULL);
    advance_to(&w, t0 + 40001);
    phase_is(&w, "instances/m0", "NotReady", "LeaseExpired");
    phase_is(&w, "runs/plain", "Unknown", "LeaseExpired");
    phase_is(&w, "runs/spot", "Unknown", "LeaseExpired");
    advance_to(&w, t0 + 161199);
    phase_is(&w, "runs/spot", "Unknown", NULL);
    advance_to(&w, t0 + 161200);
    phase_is(&w, "jobs/spot-0-0-0", "Failed", "AgentLost");
    phase_is(&w, "runs/plain", "Unknown", NULL);
    advance_to(&w, t0 + 177000);
    phase_is(&w, "jobs/spot-0-0-1", "Submitted", "NoInstances");
    renew(&w, 0); /* it is back */
    settle(&w);
    phase_is(&w, "instances/m0", "Ready", NULL);
    phase_is(&w, "runs/plain", "Running", NULL);
    phase_is(&w, "jobs/spot-0-0-0", "Failed", NULL); /* final, whatever it says now */
    phase_is(&w, "runs/spot", "Provisioning", NULL);
    world_done(&w);
}

/* Three of four at once: something else is broken; nothing is replaced. */
static void
mass_silence(void **state)
{
    struct world w;

    UNUSED(state);
    world_init(&w, 6);
    for (int m = 0; m < 4; m++)
        add_machine(&w, m, m == 0 ? 1 : 0);
    settle(&w);
    int64_t t0 = fake_ms;
    add_run(&w, "spot", interruptible());
    settle(&w);
    agent_says(&w, "spot-0-0-0", json_pack("{s:s}", "state", "Running"));
    for (int i = 1; i < 60; i++) {
        advance_to(&w, t0 + i * 10000);
        renew(&w, 3); /* the only one that still reports */
    }
    phase_is(&w, "instances/m3", "Ready", NULL);
    phase_is(&w, "runs/spot", "Unknown", "LeaseExpired");
    world_done(&w);
}

/* A restart of the controllers starts the counting anew. */
static void
silence_is_counted_from_our_start(void **state)
{
    struct world w;

    UNUSED(state);
    world_init(&w, 7);
    add_machine(&w, 0, 1);
    settle(&w);
    int64_t t0 = fake_ms;
    add_run(&w, "spot", interruptible());
    settle(&w);
    agent_says(&w, "spot-0-0-0", json_pack("{s:s}", "state", "Running"));
    advance_to(&w, t0 + 150000);
    phase_is(&w, "runs/spot", "Unknown", NULL);
    stop_controllers(&w);
    start_controllers(&w, 8);
    advance_to(&w, t0 + 170000);
    phase_is(&w, "instances/m0", "NotReady", NULL);
    phase_is(&w, "runs/spot", "Unknown", NULL);
    advance_to(&w, t0 + 150000 + 161300);
    phase_is(&w, "jobs/spot-0-0-0", "Failed", "AgentLost");
    world_done(&w);
}

/* The machine fell silent before it took the job: it is placed again at once, whether it
 * may be interrupted or not. Were the machine to claim it now, the claim would fail. */
static void
a_job_that_was_never_claimed(void **state)
{
    struct world w;
    struct error e = ERROR_INIT;
    struct client_patch_opts o = {.type = CLIENT_PATCH_MERGE, .subresource = "status"};
    auto_object *bound = NULL;

    UNUSED(state);
    world_init(&w, 13);
    add_machine(&w, 0, 1);
    settle(&w);
    int64_t t0 = fake_ms;
    advance_to(&w, t0 + 30000);
    add_run(&w, "r", NULL);
    settle(&w);
    phase_is(&w, "runs/r", "Provisioning", NULL);
    assert_int_equal(
        client_get(w.client, &resource_jobs, "default", "r-0-0-0", &bound, &e), 0);
    advance_to(&w, t0 + 40001);
    phase_is(&w, "jobs/r-0-0-0", "Failed", "NeverClaimed");
    phase_is(&w, "jobs/r-0-0-1", "Submitted", "NoInstances");
    add_machine(&w, 1, 1);
    settle(&w);
    autofree char *on = get_text(&w, "jobs/r-0-0-1", "spec", "instanceName");
    assert_string_equal(on, "m1");
    autofree char *revision = xasprintf("%llu", (unsigned long long)bound->revision);
    json_t *claim = json_pack("{s:{s:s}, s:{s:{s:{s:s}}}}", "metadata", "resourceVersion",
                              revision, "status", "agent", "claim", "journalID", "j");
    assert_int_equal(
        client_patch(w.client, &resource_jobs, "default", "r-0-0-0", &o, claim, NULL, &e),
        -ERR_CONFLICT);
    json_decref(claim);
    world_done(&w);
}

/* The API server is out of reach for ten times L while jobs run: nothing is replaced, and
 * those whose machines are back simply run. Only who stays silent from then on is lost.
 */
static void
a_long_outage(void **state)
{
    struct world w;

    UNUSED(state);
    world_init(&w, 14);
    add_machine(&w, 0, 1);
    add_machine(&w, 1, 1);
    settle(&w);
    add_run(&w, "a", interruptible());
    settle(&w);
    add_run(&w, "b", interruptible());
    settle(&w);
    autofree char *on_a = get_text(&w, "jobs/a-0-0-0", "spec", "instanceName");
    agent_says(&w, "a-0-0-0", json_pack("{s:s}", "state", "Running"));
    agent_says(&w, "b-0-0-0", json_pack("{s:s}", "state", "Running"));
    settle(&w);
    informer_set_connected(manager_informer(w.m, &resource_leases), false);
    advance_to(&w, fake_ms + 10 * 120000);
    phase_is(&w, "runs/a", "Unknown", NULL);
    phase_is(&w, "runs/b", "Unknown", NULL);
    int64_t back = fake_ms;
    informer_set_connected(manager_informer(w.m, &resource_leases), true);
    settle(&w);
    phase_is(&w, "jobs/a-0-0-0", "Unknown", NULL);
    for (int ms = 0; ms < 230000; ms += 10000) {
        advance_to(&w, back + ms);
        renew(&w, on_a[1] - '0');
        settle(&w);
        phase_is(&w, "jobs/a-0-0-0", "Running", NULL);
        phase_is(&w, "jobs/b-0-0-0", ms <= 160000 ? "Unknown" : "Failed",
                 ms <= 160000 ? NULL : "AgentLost");
    }
    world_done(&w);
}

/* --stop of a drain: the job is asked to end, and its end is an interruption. */
static void
a_drained_machine(void **state)
{
    struct world w;

    UNUSED(state);
    world_init(&w, 15);
    add_machine(&w, 0, 1);
    settle(&w);
    add_run(&w, "r", interruptible());
    settle(&w);
    agent_says(&w, "r-0-0-0", json_pack("{s:s}", "state", "Running"));
    settle(&w);
    patch(&w, &resource_instances, "m0",
          json_pack("{s:{s:b}}", "spec", "unschedulable", 1));
    settle(&w);
    autofree char *still = get_text(&w, "jobs/r-0-0-0", "spec", "desiredState");
    assert_string_equal(still, "Running");
    patch(&w, &resource_instances, "m0", json_pack("{s:{s:b}}", "spec", "drain", 1));
    settle(&w);
    autofree char *desired = get_text(&w, "jobs/r-0-0-0", "spec", "desiredState");
    autofree char *reason = get_text(&w, "jobs/r-0-0-0", "spec", "stopReason");
    assert_string_equal(desired, "Stopped");
    assert_string_equal(reason, "InstanceDrained");
    agent_says(&w, "r-0-0-0",
               json_pack("{s:s, s:s, s:b}", "state", "Exited", "signal", "SIGTERM",
                         "released", 1));
    advance_to(&w, fake_ms + 60000);
    phase_is(&w, "jobs/r-0-0-0", "Failed", "InstanceDrained");
    phase_is(&w, "jobs/r-0-0-1", "Submitted", NULL); /* nothing is placed there */
    world_done(&w);
}

/* `drover instance forget`: the object goes, its jobs end. */
static void
a_forgotten_machine(void **state)
{
    struct world w;
    struct error e = ERROR_INIT;

    UNUSED(state);
    world_init(&w, 9);
    add_machine(&w, 0, 1);
    settle(&w);
    add_run(&w, "r", NULL);
    settle(&w);
    agent_says(&w, "r-0-0-0", json_pack("{s:s}", "state", "Running"));
    settle(&w);
    assert_int_equal(
        client_delete(w.client, &resource_instances, "default", "m0", NULL, NULL, &e), 0);
    settle(&w);
    phase_is(&w, "runs/r", "Failed", "AgentLost");
    world_done(&w);
}

/* Everything but the watches of the two resources is up to date. */
static void
lag_until(struct world *w, int64_t ms, const struct resource *a, const struct resource *b)
{
    static const struct resource *const all[] = {&resource_instances, &resource_leases,
                                                 &resource_runs, &resource_jobs};

    for (bool more = true; more; fake_ms += more ? 100 : 0) {
        more = fake_ms < ms;
        while (manager_step(w->m))
            ;
        for (size_t i = 0; i < ARRAY_LEN(all); i++)
            while (all[i] != a && all[i] != b && fake_api_deliver_only(w->api, all[i]))
                ;
        while (manager_step(w->m))
            ;
    }
}

/* The machine renews; only the controllers do not see it. */
static void
a_watch_that_is_late(void **state)
{
    struct world w;

    UNUSED(state);
    world_init(&w, 16);
    add_machine(&w, 0, 1);
    settle(&w);
    int64_t t0 = fake_ms;
    add_run(&w, "spot", interruptible());
    settle(&w);
    agent_says(&w, "spot-0-0-0", json_pack("{s:s}", "state", "Running"));
    settle(&w);
    lag_until(&w, t0 + 100000, &resource_leases, NULL);
    phase_is(&w, "jobs/spot-0-0-0", "Unknown", NULL);
    renew(&w, 0);
    lag_until(&w, t0 + 400000, &resource_leases, NULL);
    phase_is(&w, "jobs/spot-0-0-0", "Unknown", NULL);
    settle(&w);
    phase_is(&w, "jobs/spot-0-0-0", "Running", NULL);
    advance_to(&w, fake_ms + 161300); /* now it is silent */
    phase_is(&w, "jobs/spot-0-0-0", "Failed", "AgentLost");
    world_done(&w);
}

/* The answer to the verdict is lost and its event late, when the machine is back. */
static void
a_verdict_that_nobody_saw(void **state)
{
    struct world w;

    UNUSED(state);
    world_init(&w, 17);
    add_machine(&w, 0, 1);
    settle(&w);
    int64_t t0 = fake_ms;
    add_run(&w, "spot", interruptible());
    settle(&w);
    agent_says(&w, "spot-0-0-0", json_pack("{s:s}", "state", "Running"));
    advance_to(&w, t0 + 161199);
    phase_is(&w, "jobs/spot-0-0-0", "Unknown", NULL);
    fake_api_lose(w.api, "PATCH", NS "jobs/spot-0-0-0/status", 1);
    fake_ms++;
    while (manager_step(w.m))
        ;
    phase_is(&w, "jobs/spot-0-0-0", "Failed", "AgentLost");
    renew(&w, 0);
    lag_until(&w, fake_ms + 10000, &resource_jobs, &resource_runs);
    phase_is(&w, "instances/m0", "Ready", NULL);
    phase_is(&w, "jobs/spot-0-0-0", "Failed", "AgentLost");
    settle(&w);
    phase_is(&w, "jobs/spot-0-0-0", "Failed", "AgentLost");
    world_done(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_silent_machine),
        cmocka_unit_test(mass_silence),
        cmocka_unit_test(silence_is_counted_from_our_start),
        cmocka_unit_test(a_job_that_was_never_claimed),
        cmocka_unit_test(a_long_outage),
        cmocka_unit_test(a_drained_machine),
        cmocka_unit_test(a_forgotten_machine),
        cmocka_unit_test(a_watch_that_is_late),
        cmocka_unit_test(a_verdict_that_nobody_saw),
    };

    log_set_level(LOG_LV_ERR);
    json_object_seed(0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
