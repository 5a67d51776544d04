/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All controllers and the scheduler, stepped over a server in memory with a fake clock:
 * lost answers, conflicts and late watches must neither overcommit a machine nor lose or
 * double a run; silent machines follow the partition rule.
 */
#include "tests/unit/world_agents.h"

static void
from_submission_to_done(void **state)
{
    struct world w;

    UNUSED(state);
    world_init(&w, 1);
    add_machine(&w, 0, 2);
    settle(&w);
    phase_is(&w, "instances/m0", "Ready", "");
    add_run(&w, "r", NULL);
    settle(&w);
    phase_is(&w, "runs/r", "Provisioning", "");
    agent_says(
        &w, "r-0-0-0",
        json_pack("{s:s, s:s}", "state", "Running", "startedAt", "2026-01-01T00:00:02Z"));
    settle(&w);
    phase_is(&w, "runs/r", "Running", "");
    agent_says(&w, "r-0-0-0", json_pack("{s:s, s:i}", "state", "Exited", "exitCode", 0));
    settle(&w);
    phase_is(&w, "runs/r", "Done", "Exited");
    /* Settled: another pass writes nothing. */
    uint64_t revision = fake_api_revision(w.api);
    manager_enqueue(w.m, "run", "default", "r");
    manager_enqueue(w.m, "job", "default", "r-0-0-0");
    manager_enqueue(w.m, "instance", "default", "m0");
    settle(&w);
    assert_int_equal(fake_api_revision(w.api), revision);
    world_done(&w);
}

static void
reasons_are_written_once(void **state)
{
    struct world w;

    UNUSED(state);
    world_init(&w, 2);
    add_run(&w, "big", json_pack("{s:{s:i}}", "resources", "cpu", 64));
    settle(&w);
    phase_is(&w, "runs/big", "Submitted", "NoInstances");
    add_machine(&w, 0, 2);
    settle(&w);
    phase_is(&w, "runs/big", "Submitted", "InsufficientCPU");
    uint64_t revision = fake_api_revision(w.api);
    settle(&w);
    assert_int_equal(fake_api_revision(w.api), revision);
    add_machine(&w, 1, 64);
    settle(&w);
    phase_is(&w, "runs/big", "Provisioning", "");
    world_done(&w);
}

/* The next job starts when the agent says that what the last one held is free. */
static void
freed_capacity_wakes_the_queue(void **state)
{
    struct world w;

    UNUSED(state);
    world_init(&w, 3);
    add_machine(&w, 0, 1);
    settle(&w);
    add_run(&w, "a", NULL);
    settle(&w);
    add_run(&w, "low", NULL);
    settle(&w);
    add_run(&w, "high", json_pack("{s:i}", "priority", 9));
    settle(&w);
    phase_is(&w, "runs/low", "Submitted", "InsufficientCPU");
    agent_says(&w, "a-0-0-0", json_pack("{s:s, s:i}", "state", "Exited", "exitCode", 0));
    settle(&w);
    phase_is(&w, "runs/a", "Done", NULL);
    phase_is(&w, "runs/high", "Submitted", "InsufficientCPU");
    agent_says(&w, "a-0-0-0", json_pack("{s:b}", "released", 1));
    settle(&w);
    phase_is(&w, "runs/high", "Provisioning", NULL);
    phase_is(&w, "runs/low", "Submitted", NULL);
    world_done(&w);
}

/* --- chaos ------------------------------------------------------------------------- */

enum { MACHINES = 3, RUNS = 25, CPUS = 2, ROUNDS = 4000 };

/* Bound and not released jobs per machine never need more than it has. Counts Jobs. */
static size_t
check_capacity(struct world *w)
{
    int used[MACHINES] = {0};
    size_t jobs = 0;

    for (int r = 0; r < RUNS; r++) {
        autofree char *path = xasprintf(NS "jobs/run%d-0-0-0", r);
        json_t *job = fake_api_get(w->api, path);
        const json_t *agent = json_object_get(json_object_get(job, "status"), "agent");
        const char *on = json_string_value(
            json_object_get(json_object_get(job, "spec"), "instanceName"));
        jobs += job != NULL;
        if (on != NULL && !json_is_true(json_object_get(agent, "released")))
            used[on[1] - '0']++;
        json_decref(job);
    }
    for (int m = 0; m < MACHINES; m++)
        assert_true(used[m] <= CPUS);
    return jobs;
}

/* One random agent moves one random job of it one state on. */
static void
agent_turn(struct world *w)
{
    autofree char *name = xasprintf("run%u-0-0-0", id_uniform(RUNS));
    autofree char *path = xasprintf(NS "jobs/%s", name);
    json_t *job = fake_api_get(w->api, path);
    const json_t *spec = json_object_get(job, "spec");
    const json_t *agent = json_object_get(json_object_get(job, "status"), "agent");
    const char *state = json_string_value(json_object_get(agent, "state"));

    if (json_object_get(spec, "instanceUID") == NULL)
        ;
    else if (state == NULL)
        agent_says(w, name, json_pack("{s:s}", "state", "Claimed"));
    else if (streq(state, "Claimed"))
        agent_says(w, name,
                   json_pack("{s:s, s:s}", "state", "Running", "startedAt",
                             "2026-01-01T00:00:01Z"));
    else if (streq(state, "Running"))
        agent_says(w, name, json_pack("{s:s, s:i}", "state", "Exited", "exitCode", 0));
    else if (!json_is_true(json_object_get(agent, "released")))
        agent_says(w, name, json_pack("{s:b}", "released", 1));
    json_decref(job);
}

static void
disturb(struct world *w)
{
    static const char *const methods[] = {"PATCH", "POST", "GET"};
    static const int statuses[] = {409, 429, 500, 503, 504};
    static const char *const prefixes[] = {NS "jobs", NS "runs", NS};
    const char *method = methods[id_uniform(3)];
    const char *prefix = prefixes[id_uniform(3)];

    if (id_uniform(2) == 0)
        fake_api_lose(w->api, method, prefix, 1 + (int)id_uniform(3));
    else
        fake_api_fail(w->api, method, prefix, statuses[id_uniform(5)],
                      1 + (int)id_uniform(3));
}

static bool
all_done(struct world *w)
{
    for (int r = 0; r < RUNS; r++) {
        autofree char *path = xasprintf("runs/run%d", r);
        autofree char *phase = get_text(w, path, "status", "phase");
        if (!streq(phase, "Done"))
            return false;
    }
    return true;
}

static void
chaos_turn(struct world *w, int *runs, uint64_t seed)
{
    char name[16];

    switch (id_uniform(12)) {
    case 0:
        disturb(w);
        break;
    case 1:
        if (*runs < RUNS) {
            fake_api_fail(w->api, "", "", 0, 0);
            snprintf(name, sizeof(name), "run%d", (*runs)++);
            add_run(w, name, NULL);
        }
        break;
    case 2:
    case 3:
        fake_api_fail(w->api, "", "", 0, 0); /* not the agents' requests */
        agent_turn(w);
        break;
    case 4:
    case 5:
        fake_api_deliver(w->api);
        break;
    case 6:
        fake_ms += id_uniform(200);
        break;
    case 7:
        if (id_uniform(40) == 0) {
            stop_controllers(w);
            start_controllers(w, seed + (uint64_t)fake_ms);
        }
        break;
    default:
        manager_step(w->m);
        break;
    }
}

static void
chaos_seed(uint64_t seed)
{
    unsigned char bytes[32] = {(unsigned char)seed, 77};
    struct world w;
    int runs = 0;

    id_seed(bytes);
    world_init(&w, seed);
    for (int m = 0; m < MACHINES; m++)
        add_machine(&w, m, CPUS);
    settle(&w);
    for (int round = 0; round < ROUNDS; round++) {
        chaos_turn(&w, &runs, seed);
        if (round % 5 == 0)
            check_capacity(&w);
    }
    /* Quiet again: everything comes to its end. */
    fake_api_fail(w.api, "", "", 0, 0);
    char name[16];
    while (runs < RUNS) {
        snprintf(name, sizeof(name), "run%d", runs++);
        add_run(&w, name, NULL);
    }
    for (int i = 0; i < 3000 && !all_done(&w); i++) {
        if (i % 10 == 0) {
            for (int m = 0; m < MACHINES; m++)
                renew(&w, m);
            advance_to(&w, fake_ms + 1000);
        }
        agent_turn(&w);
        settle(&w);
        check_capacity(&w);
    }
    if (!all_done(&w))
        fail_msg("seed %llu: not all runs are done", (unsigned long long)seed);
    assert_int_equal(check_capacity(&w), RUNS); /* one Job each, the first attempt */
    for (int r = 0; r < RUNS; r++) {
        autofree char *second = xasprintf(NS "jobs/run%d-0-0-1", r);
        assert_null(fake_api_get(w.api, second));
    }
    world_done(&w);
}

static void
chaos(void **state)
{
    UNUSED(state);
    for (uint64_t seed = 1; seed <= 6; seed++) {
        print_message("seed %llu\n", (unsigned long long)seed);
        chaos_seed(seed);
    }
}

/* The status names a Job that the cache does not have yet (another leader made both): it
 * is not taken for deleted. When it really is, the run fails and says so. */
static void
a_job_unknown_to_the_cache(void **state)
{
    struct world w;
    struct error e = ERROR_INIT;
    auto_object *job = NULL;

    UNUSED(state);
    world_init(&w, 10);
    settle(&w);
    add_run(&w, "r", NULL);
    create(&w, &resource_jobs,
           json_pack("{s:s, s:s, s:{s:s}, s:{s:s, s:s}}", "apiVersion", "drover.dev/v1",
                     "kind", "Job", "metadata", "name", "r-0-0-0", "spec", "runName", "r",
                     "runUID", "x"));
    assert_int_equal(client_get(w.client, &resource_jobs, "default", "r-0-0-0", &job, &e),
                     0);
    patch(&w, &resource_runs, "r",
          json_pack("{s:{s:s, s:s, s:s}}", "status", "phase", "Submitted", "jobName",
                    "r-0-0-0", "jobUID", job->uid));
    while (fake_api_deliver_only(w.api, &resource_runs))
        ;
    while (manager_step(w.m))
        ;
    phase_is(&w, "runs/r", "Submitted", NULL);
    assert_int_equal(
        client_delete(w.client, &resource_jobs, "default", "r-0-0-0", NULL, NULL, &e), 0);
    advance_to(&w, fake_ms + 60000);
    phase_is(&w, "runs/r", "Failed", "JobDeleted");
    world_done(&w);
}

/* The answer to the creation of the Job was lost, its event is late, and the user stops
 * the Run: it is not over before its Job is. */
static void
a_lost_creation(void **state)
{
    struct world w;

    UNUSED(state);
    world_init(&w, 12);
    settle(&w);
    fake_api_lose(w.api, "POST", NS "jobs", 1);
    add_run(&w, "r", NULL);
    fake_api_deliver_only(w.api, &resource_runs);
    while (manager_step(w.m))
        ;
    patch(&w, &resource_runs, "r",
          json_pack("{s:{s:s}}", "spec", "desiredState", "Stopped"));
    fake_ms += 10000;
    while (fake_api_deliver_only(w.api, &resource_runs) || manager_step(w.m))
        ;
    phase_is(&w, "runs/r", "", NULL);
    phase_is(&w, "jobs/r-0-0-0", "", NULL);
    advance_to(&w, fake_ms + 10000);
    phase_is(&w, "jobs/r-0-0-0", "Terminated", "StoppedByUser");
    phase_is(&w, "runs/r", "Terminated", "StoppedByUser");
    world_done(&w);
}

/* A reason that was decided before the bind does not overwrite what came after. */
static void
a_late_reason(void **state)
{
    struct world w;

    UNUSED(state);
    world_init(&w, 11);
    settle(&w);
    add_run(&w, "r", NULL);
    for (int i = 0; i < 3; i++) { /* the Job is there; its reason is being written */
        while (fake_api_deliver(w.api))
            ;
        while (async_in_flight(w.async) == 0 && manager_step(w.m))
            ;
    }
    patch(&w, &resource_jobs, "r-0-0-0",
          json_pack("{s:{s:s}}", "spec", "desiredState", "Stopped"));
    settle(&w);
    phase_is(&w, "jobs/r-0-0-0", "Terminated", "StoppedByUser");
    world_done(&w);
}

static void
names(void **state)
{
    auto_str out = STR_INIT(100);
    struct error e = ERROR_INIT;

    UNUSED(state);
    assert_int_equal(controllers_names("run,job", &out, &e), 0);
    assert_string_equal(out.ptr, "job,run");
    assert_int_equal(controllers_names("run,jobs", &out, &e), -ERR_BAD_REQUEST);
    assert_non_null(strstr(e.msg, "\"jobs\""));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(from_submission_to_done),
        cmocka_unit_test(reasons_are_written_once),
        cmocka_unit_test(freed_capacity_wakes_the_queue),
        cmocka_unit_test(chaos),
        cmocka_unit_test(a_job_unknown_to_the_cache),
        cmocka_unit_test(a_lost_creation),
        cmocka_unit_test(a_late_reason),
        cmocka_unit_test(names),
    };

    log_set_level(LOG_LV_ERR);
    json_object_seed(0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
