/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scheduler's loop over a server in memory: gangs are placed and undone whole, by
 * whoever leads; victims are told, quotas are kept and reported, the queue explains
 * itself, and at rest nothing is written. Jobs are made by the tests: no run controller.
 */
#include "tests/unit/world.h"

static void
advance(struct world *w, int64_t ms)
{
    advance_to(w, fake_ms + ms);
}

static void
add_machine_in(struct world *w, const char *ns, const char *name, int cpus)
{
    create_in(
        w, &resource_instances, ns,
        json_pack("{s:s, s:s, s:{s:s}, s:{s:s}, s:{s:s, s:{s:[{s:s, s:b}], s:{s:i, s:i, "
                  "s:i}}}}",
                  "apiVersion", "drover.dev/v1", "kind", "Instance", "metadata", "name",
                  name, "spec", "fleetName", "local", "status", "phase", "Ready", "agent",
                  "engines", "name", "process", "available", 1, "inventory", "cpus", cpus,
                  "memoryMiB", 65536, "diskMiB", 100000));
}

static void
add_machine(struct world *w, const char *name, int cpus)
{
    add_machine_in(w, "default", name, cpus);
}

static char *
add_run(struct world *w, const char *name)
{
    autofree char *path = xasprintf(NS "runs/%s", name);

    create(w, &resource_runs,
           json_pack("{s:s, s:s, s:{s:s}, s:{s:s}}", "apiVersion", "drover.dev/v1",
                     "kind", "Run", "metadata", "name", name, "spec", "type", "task"));
    json_t *o = fake_api_get(w->api, path);
    char *uid = xstrdup(
        json_string_value(json_object_get(json_object_get(o, "metadata"), "uid")));
    json_decref(o);
    return uid;
}

static void
add_job_in(struct world *w, const char *ns, const char *name, json_t *more)
{
    json_t *spec = json_pack("{s:s, s:s, s:s, s:{s:i}}", "runName", "r", "runUID", "none",
                             "desiredState", "Running", "resources", "cpu", 1);

    if (more != NULL)
        json_object_update(spec, more);
    json_decref(more);
    create_in(w, &resource_jobs, ns,
              json_pack("{s:s, s:s, s:{s:s}, s:o}", "apiVersion", "drover.dev/v1", "kind",
                        "Job", "metadata", "name", name, "spec", spec));
}

static void
add_job(struct world *w, const char *name, json_t *more)
{
    add_job_in(w, "default", name, more);
}

static void
add_gang(struct world *w, const char *run_uid, int n)
{
    for (int i = 0; i < n; i++) {
        autofree char *name = xasprintf("r-0-%d-0", i);
        add_job(w, name,
                json_pack("{s:s, s:i, s:i, s:i, s:i}", "runUID", run_uid, "nodes", n,
                          "node", i, "replica", 0, "attempt", 0));
    }
}

/* "" when absent; numbers as text. */
static char *
text_of(struct world *w, const char *object, const char *path)
{
    autofree char *whole = str_starts(object, "../other/")
                               ? xasprintf("/apis/drover.dev/v1/namespaces/other/%s",
                                           object + strlen("../other/"))
                               : xasprintf(NS "%s", object);
    autofree char *words = xstrdup(path);
    json_t *o = fake_api_get(w->api, whole);
    const json_t *at = o;
    char *save = NULL;

    for (char *p = strtok_r(words, ".", &save); p != NULL; p = strtok_r(NULL, ".", &save))
        at = json_is_array(at) ? json_array_get(at, (size_t)(p[0] - '0'))
                               : json_object_get(at, p);
    char *copy = json_is_integer(at)  ? xasprintf("%lld", json_integer_value(at))
                 : json_is_string(at) ? xstrdup(json_string_value(at))
                                      : xstrdup("");
    json_decref(o);
    return copy;
}

static void
is(struct world *w, const char *object, const char *path, const char *want)
{
    autofree char *got = text_of(w, object, path);

    if (strcmp(got, want) != 0)
        fail_msg("%s %s is \"%s\", not \"%s\"", object, path, got, want);
}

static int
bound(struct world *w, int n)
{
    int count = 0;

    for (int i = 0; i < n; i++) {
        autofree char *name = xasprintf("jobs/r-0-%d-0", i);
        autofree char *on = text_of(w, name, "spec.instanceUID");
        count += on[0] != '\0';
    }
    return count;
}

static void
rests(struct world *w)
{
    advance(w, 5000); /* agents do not claim here: the job controller says so */
    uint64_t revision = fake_api_revision(w->api);
    advance(w, 120000);
    assert_int_equal(fake_api_revision(w->api), revision);
}

/* --- gangs ------------------------------------------------------------------------- */

static void
gang_is_placed_by_one_write(void **state)
{
    struct world w;

    UNUSED(state);
    world_init_only(&w, 1, "job");
    add_machine(&w, "m0", 2);
    add_machine(&w, "m1", 2);
    autofree char *run = add_run(&w, "r");
    add_job(&w, "r-0-0-0",
            json_pack("{s:s, s:i, s:i}", "runUID", run, "nodes", 3, "node", 0));
    settle(&w);
    is(&w, "jobs/r-0-0-0", "status.reason", ""); /* members are still being made */
    for (int i = 1; i < 3; i++) {
        autofree char *name = xasprintf("r-0-%d-0", i);
        add_job(&w, name,
                json_pack("{s:s, s:i, s:i}", "runUID", run, "nodes", 3, "node", i));
    }
    settle(&w);
    assert_int_equal(bound(&w, 3), 0);
    is(&w, "jobs/r-0-0-0", "status.reason", "InsufficientInstances");
    is(&w, "runs/r", "status.placement.attempt", "");
    add_machine(&w, "m2", 2);
    settle(&w);
    assert_int_equal(bound(&w, 3), 3);
    is(&w, "runs/r", "status.placement.attempt", "0");
    is(&w, "runs/r", "status.placement.members.1.job", "r-0-1-0");
    is(&w, "runs/r", "status.placement.members.1.engine", "process");
    autofree char *placed =
        text_of(&w, "runs/r", "status.placement.members.1.instanceUID");
    is(&w, "jobs/r-0-1-0", "spec.instanceUID", placed);
    is(&w, "jobs/r-0-1-0", "spec.reservation.cpuMilli", "1000");
    assert_int_equal(fake_api_count(w.api, "PATCH", NS "runs/r/status"), 1);
    rests(&w);
    world_done(&w);
}

/* Somebody else changes the Run at the same time, or the answer is lost. */
static void
gang_survives_conflicts(void **state)
{
    static const int statuses[] = {409, 504, 503};
    struct world w;

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(statuses); i++)
        for (int lost = 0; lost < 2; lost++) {
            world_init_only(&w, 1, "job");
            autofree char *run = add_run(&w, "r");
            add_gang(&w, run, 2);
            settle(&w);
            if (lost)
                fake_api_lose(w.api, "PATCH", NS "runs/r", 1);
            else
                fake_api_fail(w.api, "PATCH", NS "runs/r", statuses[i], 1);
            add_machine(&w, "m0", 1);
            add_machine(&w, "m1", 1);
            settle(&w);
            patch(&w, &resource_runs, "r",
                  json_pack("{s:{s:s}}", "status", "message", "touched"));
            advance(&w, 5000);
            assert_int_equal(bound(&w, 2), 2);
            rests(&w);
            world_done(&w);
        }
}

/* The run was deleted, and the cache does not show it yet: its gang is not placed over
 * and over, and what it was to have is free when its jobs have followed. */
static void
gang_of_a_deleted_run(void **state)
{
    struct error e = ERROR_INIT;
    struct world w;

    UNUSED(state);
    world_init_only(&w, 1, "job");
    autofree char *run = add_run(&w, "r");
    fake_api_fail(w.api, "PATCH", NS "runs/r", 404, 1000);
    add_gang(&w, run, 2);
    add_machine(&w, "m0", 1);
    add_machine(&w, "m1", 1);
    settle(&w);
    assert_int_equal(fake_api_count(w.api, "PATCH", NS "runs/r/status"), 1);
    add_job(&w, "next", json_object());
    settle(&w);
    assert_int_equal(
        client_delete(w.client, &resource_runs, "default", "r", NULL, NULL, &e), 0);
    for (int i = 0; i < 2; i++) {
        autofree char *name = xasprintf("r-0-%d-0", i);
        assert_int_equal(
            client_delete(w.client, &resource_jobs, "default", name, NULL, NULL, &e), 0);
    }
    advance(&w, 5000);
    is(&w, "jobs/next", "spec.engine", "process");
    rests(&w);
    world_done(&w);
}

/* The placement is stored, the leader dies before the binds: the next one completes it
 * with the same instances. */
static void
next_leader_completes(void **state)
{
    struct world w;

    UNUSED(state);
    world_init_only(&w, 1, "job");
    for (int i = 0; i < 4; i++) {
        autofree char *name = xasprintf("m%d", i);
        add_machine(&w, name, 1);
    }
    autofree char *run = add_run(&w, "r");
    fake_api_fail(w.api, "PATCH", NS "jobs/r-0-2-0", 503, 100000);
    add_gang(&w, run, 3);
    settle(&w);
    assert_int_equal(bound(&w, 3), 2);
    stop_controllers(&w);
    autofree char *on = text_of(&w, "runs/r", "status.placement.members.2.instanceName");
    fake_api_fail(w.api, "", "", 0, 0);
    /* One that comes first in the queue wants the same place. */
    add_job(&w, "z", json_pack("{s:i}", "priority", 9));
    start_controllers(&w, 1);
    advance(&w, 2000);
    is(&w, "jobs/r-0-2-0", "spec.instanceName", on);
    assert_int_equal(bound(&w, 3), 3);
    is(&w, "jobs/z", "spec.engine", "process");
    assert_int_equal(fake_api_count(w.api, "PATCH", NS "runs/r/status"), 1);
    world_done(&w);
}

/* One bind is refused until the deadline has passed: all end, those that wait too. */
static void
deadline_undoes_it_whole(void **state)
{
    struct world w;

    UNUSED(state);
    for (int restart = 0; restart < 2; restart++) {
        world_init_only(&w, 1, "job");
        add_machine(&w, "m0", 1);
        add_machine(&w, "m1", 1);
        autofree char *run = add_run(&w, "r");
        fake_api_fail(w.api, "PATCH", NS "jobs/r-0-1-0", 403, 100000);
        add_gang(&w, run, 2);
        advance(&w, 25000);
        assert_int_equal(bound(&w, 2), 1);
        is(&w, "runs/r", "status.placement.revoked", "");
        if (restart) {
            stop_controllers(&w);
            start_controllers(&w, 1);
        }
        advance(&w, 30000);
        is(&w, "runs/r", "status.placement.revoked", "DeadlinePassed");
        fake_api_fail(w.api, "", "", 0, 0);
        if (restart) {
            stop_controllers(&w);
            start_controllers(&w, 1);
        }
        advance(&w, 60000);
        assert_int_equal(bound(&w, 2), 1);
        for (int i = 0; i < 2; i++) {
            autofree char *name = xasprintf("jobs/r-0-%d-0", i);
            is(&w, name, "spec.desiredState", "Aborted");
            is(&w, name, "spec.stopReason", "PlacementRevoked");
        }
        world_done(&w);
    }
}

/* None is bound yet: the same jobs are placed again. */
static void
unbound_gang_is_placed_again(void **state)
{
    struct world w;

    UNUSED(state);
    world_init_only(&w, 1, "job");
    add_machine(&w, "m0", 1);
    add_machine(&w, "m1", 1);
    autofree char *run = add_run(&w, "r");
    fake_api_fail(w.api, "PATCH", NS "jobs", 429, 100000);
    add_gang(&w, run, 2);
    advance(&w, 31500);
    assert_int_equal(fake_api_count(w.api, "PATCH", NS "runs/r/status"), 3);
    assert_int_equal(bound(&w, 2), 0);
    fake_api_fail(w.api, "", "", 0, 0);
    advance(&w, 60000);
    assert_int_equal(bound(&w, 2), 2);
    is(&w, "runs/r", "status.placement.revoked", "");
    is(&w, "jobs/r-0-0-0", "spec.desiredState", "Running");
    rests(&w);
    world_done(&w);
}

static void
gang_ends_with_a_member(void **state)
{
    struct world w;
    struct error e = ERROR_INIT;

    UNUSED(state);
    world_init_only(&w, 1, "job");
    add_machine(&w, "m0", 1);
    add_machine(&w, "m1", 1);
    autofree char *run = add_run(&w, "r");
    fake_api_fail(w.api, "PATCH", NS "jobs/r-0-1-0", 403, 100000);
    add_gang(&w, run, 2);
    advance(&w, 100);
    assert_int_equal(bound(&w, 2), 1);
    assert_int_equal(
        client_delete(w.client, &resource_jobs, "default", "r-0-1-0", NULL, NULL, &e), 0);
    settle(&w);
    is(&w, "runs/r", "status.placement.revoked", "MemberEnded");
    is(&w, "jobs/r-0-0-0", "spec.desiredState", "Aborted");
    world_done(&w);
}

/* --- preemption -------------------------------------------------------------------- */

static void
release_in(struct world *w, const char *ns, const char *job)
{
    patch_in(w, &resource_jobs, ns, job,
             json_pack("{s:{s:{s:s, s:i, s:b, s:{s:s}}}}", "status", "agent", "state",
                       "Exited", "exitCode", 143, "released", 1, "claim", "journalID",
                       "j"));
}

static void
release(struct world *w, const char *job)
{
    release_in(w, "default", job);
}

static void
victims_are_told(void **state)
{
    struct world w;

    UNUSED(state);
    world_init_only(&w, 1, "job");
    add_machine(&w, "m0", 2);
    add_job(&w, "kept", json_pack("{s:i}", "priority", 1));
    add_job(&w, "low", json_pack("{s:i, s:b}", "priority", 2, "preemptible", 1));
    settle(&w);
    add_job(&w, "waits", json_pack("{s:i}", "priority", 9));
    settle(&w);
    is(&w, "jobs/low", "spec.desiredState", "Running");
    /* Meanwhile its agent writes: the first write of the scheduler may conflict. */
    fake_api_fail(w.api, "PATCH", NS "jobs/low", 409, 1);
    add_job(&w, "high",
            json_pack("{s:i, s:s}", "priority", 10, "preemptionPolicy",
                      "PreemptLowerPriority"));
    settle(&w);
    patch(&w, &resource_jobs, "low",
          json_pack("{s:{s:{s:s}}}", "status", "agent", "state", "Running"));
    settle(&w);
    is(&w, "jobs/low", "spec.desiredState", "Stopped");
    is(&w, "jobs/low", "spec.stopReason", "Preempted");
    is(&w, "jobs/kept", "spec.desiredState", "Running");
    is(&w, "jobs/high", "spec.instanceUID", "");
    /* A new leader does not choose another victim. */
    stop_controllers(&w);
    start_controllers(&w, 1);
    advance(&w, 10000);
    is(&w, "jobs/kept", "spec.desiredState", "Running");
    release(&w, "low");
    settle(&w);
    is(&w, "jobs/high", "spec.engine", "process");
    is(&w, "jobs/waits", "spec.engine", "");
    rests(&w);
    world_done(&w);
}

/* Those that were told stop, and their Runs try again; how many. */
static int
next_attempts(struct world *w, int jobs)
{
    int n = 0;

    for (int i = 0; i < jobs; i++) {
        autofree char *name = xasprintf("low-%d", i), *next = xasprintf("l%d-1", i);
        autofree char *path = xasprintf("jobs/%s", name), *run = xasprintf("l%d", i);
        autofree char *reason = text_of(w, path, "spec.stopReason");
        autofree char *state = text_of(w, path, "status.agent.state");
        if (!streq(reason, "Preempted") || state[0] != '\0')
            continue;
        release(w, name);
        settle(w);
        add_job(w, next, json_pack("{s:s, s:i}", "runUID", run, "attempt", 1));
        settle(w);
        n++;
    }
    return n;
}

/* What others leave goes to jobs whose turn is earlier. Another attempt of who left is
 * nothing new; see test_sched_ends.c. */
static void
making_others_go_ends(void **state)
{
    struct world w;
    int n = 0;

    UNUSED(state);
    world_init_only(&w, 1, "job");
    for (int i = 0; i < 12; i++) {
        autofree char *machine = xasprintf("m%d", i), *low = xasprintf("low-%d", i);
        autofree char *run = xasprintf("l%d", i);
        add_machine(&w, machine, 1);
        add_job(&w, low, json_pack("{s:s, s:b}", "runUID", run, "preemptible", 1));
    }
    settle(&w);
    for (int i = 0; i < 13; i++) {
        autofree char *name = xasprintf("first-%d", i);
        add_job(&w, name, json_pack("{s:s, s:i}", "runUID", name, "priority", 20));
    }
    add_job(&w, "urgent",
            json_pack("{s:s, s:i, s:s}", "runUID", "u", "priority", 10,
                      "preemptionPolicy", "PreemptLowerPriority"));
    settle(&w);
    for (int told; (told = next_attempts(&w, 12)) > 0;)
        n += told;
    assert_int_equal(n, 8);
    is(&w, "jobs/urgent", "spec.engine", "");
    add_job(&w, "new", json_pack("{s:s}", "runUID", "n"));
    settle(&w);
    assert_true(next_attempts(&w, 12) > 0);
    world_done(&w);
}

/* --- quotas and the queue ---------------------------------------------------------- */

static void
add_quota(struct world *w, const char *ns, json_t *spec)
{
    create_in(w, &resource_quotas, ns,
              json_pack("{s:s, s:s, s:{s:s}, s:o}", "apiVersion", "drover.dev/v1", "kind",
                        "Quota", "metadata", "name", "q", "spec", spec));
}

static void
quota_is_kept_and_reported(void **state)
{
    struct world w;

    UNUSED(state);
    world_init_only(&w, 1, "job");
    add_machine(&w, "m0", 8);
    add_quota(&w, "default",
              json_pack("{s:[{s:s, s:s}, {s:s, s:s}]}", "limits", "resource", "cpu",
                        "hard", "2500m", "resource", "memory", "hard", "64GB"));
    settle(&w);
    add_job(&w, "a", json_pack("{s:{s:i, s:s}}", "resources", "cpu", 1, "memory", "2GB"));
    add_job(&w, "b", json_pack("{s:{s:i, s:s}}", "resources", "cpu", 1, "memory", "2GB"));
    add_job(&w, "c", json_pack("{s:{s:i, s:s}}", "resources", "cpu", 1, "memory", "2GB"));
    advance(&w, 3000);
    is(&w, "jobs/a", "spec.engine", "process");
    is(&w, "jobs/b", "spec.engine", "process");
    is(&w, "jobs/c", "status.reason", "QuotaExceeded");
    is(&w, "quotas/q", "status.summary", "cpu 2/2.500, memory 4GB/64GB");
    is(&w, "quotas/q", "status.used.1.used", "4GB");
    rests(&w);
    release(&w, "a");
    settle(&w);
    is(&w, "jobs/c", "spec.engine", "process");
    patch(&w, &resource_quotas, "q",
          json_pack("{s:{s:[{s:s, s:i}]}}", "spec", "limits", "resource", "jobs", "hard",
                    9));
    advance(&w, 3000);
    is(&w, "quotas/q", "status.summary", "jobs 2/9");
    rests(&w);
    world_done(&w);
}

/* Its agent cannot say any more that nothing is left. */
static void
lost_job_uses_no_quota(void **state)
{
    struct world w;
    struct error e = ERROR_INIT;

    UNUSED(state);
    world_init_only(&w, 1, "job");
    for (int i = 0; i < 2; i++)
        add_machine(&w, i == 0 ? "m0" : "m1", 1);
    add_quota(&w, "default",
              json_pack("{s:[{s:s, s:i}]}", "limits", "resource", "jobs", "hard", 1));
    settle(&w);
    add_job(&w, "lost", NULL);
    settle(&w);
    patch(&w, &resource_jobs, "lost",
          json_pack("{s:{s:{s:s, s:{s:s}}}}", "status", "agent", "state", "Running",
                    "claim", "journalID", "j"));
    add_job(&w, "next", NULL);
    settle(&w);
    autofree char *machine = text_of(&w, "jobs/lost", "spec.instanceName");
    patch(
        &w, &resource_jobs, "lost",
        json_pack("{s:{s:s, s:s}}", "status", "phase", "Failed", "reason", "AgentLost"));
    settle(&w);
    is(&w, "jobs/next", "spec.engine",
       ""); /* the machine is there: something may be left */
    assert_int_equal(
        client_delete(w.client, &resource_instances, "default", machine, NULL, NULL, &e),
        0);
    settle(&w);
    is(&w, "jobs/next", "spec.engine", "process");
    rests(&w);
    world_done(&w);
}

/* Two namespaces, each with a machine and with so many jobs of its own. */
static void
cohort_init(struct world *w, int jobs)
{
    static const char *const spaces[] = {"default", "other"};

    world_init_only(w, 1, "job");
    for (int i = 0; i < 2; i++) {
        autofree char *machine = xasprintf("m%d", i);
        add_machine_in(w, spaces[i], machine, 8);
        add_quota(w, spaces[i],
                  json_pack("{s:s, s:[{s:s, s:i}]}", "cohort", "lab", "limits",
                            "resource", "jobs", "hard", jobs));
    }
}

/* Not before there is a machine for each node; then a share goes for the gang. */
static void
gang_takes_its_share_back(void **state)
{
    struct world w;

    UNUSED(state);
    cohort_init(&w, 2);
    for (int i = 0; i < 3; i++) {
        autofree char *name = xasprintf("lent-%d", i);
        add_job_in(&w, "other", name, json_pack("{s:i}", "priority", i));
    }
    settle(&w);
    autofree char *uid = add_run(&w, "r");
    add_gang(&w, uid, 2);
    advance(&w, 20000);
    is(&w, "../other/jobs/lent-0", "spec.stopReason", "");
    add_machine(&w, "m2", 8);
    settle(&w);
    is(&w, "../other/jobs/lent-0", "spec.stopReason", ""); /* it has just looked */
    advance(&w, 20000);
    is(&w, "../other/jobs/lent-0", "spec.stopReason", "Preempted");
    is(&w, "../other/jobs/lent-1", "spec.stopReason", "");
    assert_int_equal(bound(&w, 2), 0);
    release_in(&w, "other", "lent-0");
    settle(&w);
    assert_int_equal(bound(&w, 2), 2);
    world_done(&w);
}

static void
share_is_taken_back(void **state)
{
    struct world w;

    UNUSED(state);
    cohort_init(&w, 1);
    add_job(&w, "a", json_pack("{s:i}", "priority", 2));
    add_job(&w, "b", json_pack("{s:i}", "priority", 1));
    advance(&w, 2000);
    is(&w, "jobs/b", "spec.engine", "process");
    is(&w, "quotas/q", "status.used.0.borrowed", "1");
    add_job_in(&w, "other", "own", json_object());
    settle(&w);
    is(&w, "jobs/a", "spec.desiredState", "Running");
    is(&w, "jobs/b", "spec.stopReason", "Preempted");
    release(&w, "b");
    settle(&w);
    is(&w, "../other/jobs/own", "spec.engine", "process");
    world_done(&w);
}

static void
queue_explains_itself(void **state)
{
    struct world w;

    UNUSED(state);
    world_init_only(&w, 1, "job");
    add_machine(&w, "m0", 2);
    add_job(&w, "first",
            json_pack("{s:{s:i}, s:i, s:i}", "resources", "cpu", 2, "maxDurationSeconds",
                      600, "stopDurationSeconds", 0));
    settle(&w);
    add_job(&w, "a", NULL);
    for (int i = 0; i < 20; i++) {
        autofree char *name = xasprintf("b%d", i);
        add_job(&w, name, json_pack("{s:{s:i}}", "resources", "cpu", 64));
        advance(&w, 50);
    }
    advance(&w, 3000);
    is(&w, "queuestates/queue", "status.waiting", "21");
    is(&w, "queuestates/queue", "status.shapes.0.first", "a");
    is(&w, "queuestates/queue", "status.shapes.0.reason", "InsufficientCPU");
    is(&w, "queuestates/queue", "status.shapes.0.candidates.0.fleet", "default/local");
    is(&w, "queuestates/queue", "status.shapes.0.candidates.0.nearest", "m0");
    is(&w, "queuestates/queue", "status.shapes.0.startsAt", "2026-01-01T00:10:01Z");
    is(&w, "queuestates/queue", "status.shapes.1.jobs", "20");
    unsigned writes = fake_api_count(w.api, "PATCH", NS "queuestates");
    assert_true(writes >= 2 && writes <= 6); /* some four seconds */
    rests(&w);
    stop_controllers(&w);
    start_controllers(&w, 1);
    rests(&w);
    release(&w, "first");
    advance(&w, 3000);
    is(&w, "queuestates/queue", "status.waiting", "20");
    world_done(&w);
}

/* --- blocks and named instances ----------------------------------------------------- */

static void
blocks_are_taken_whole(void **state)
{
    struct world w;

    UNUSED(state);
    world_init_only(&w, 1, "job");
    add_machine(&w, "m0", 8);
    patch(&w, &resource_instances, "m0", json_pack("{s:{s:i}}", "status", "blocks", 4));
    settle(&w);
    for (int i = 0; i < 3; i++) {
        autofree char *name = xasprintf("j%d", i);
        add_job(&w, name,
                json_pack("{s:{s:i, s:s}}", "resources", "cpu", i == 0 ? 3 : 1, "memory",
                          "1GB"));
    }
    settle(&w);
    is(&w, "jobs/j0", "spec.reservation.blocks", "2"); /* of 2 cores each */
    is(&w, "jobs/j0", "spec.reservation.cpuMilli", "4000");
    is(&w, "jobs/j0", "spec.reservation.memoryMiB", "32768");
    is(&w, "jobs/j2", "spec.reservation.blocks", "1");
    add_job(&w, "late", NULL);
    settle(&w);
    is(&w, "jobs/late", "status.reason", "InsufficientCPU");
    release(&w, "j1");
    settle(&w);
    is(&w, "jobs/late", "spec.reservation.cpuMilli", "2000");
    world_done(&w);
}

static void
named_instances_only(void **state)
{
    struct world w;

    UNUSED(state);
    world_init_only(&w, 1, "job");
    add_machine(&w, "m0", 2);
    add_machine(&w, "m1", 2);
    settle(&w);
    add_job(&w, "a", json_pack("{s:[s, s]}", "instances", "m1", "m7"));
    add_job(&w, "b", json_pack("{s:[s]}", "instances", "m7"));
    settle(&w);
    is(&w, "jobs/a", "spec.instanceName", "m1");
    is(&w, "jobs/b", "status.reason", "NoInstances");
    add_machine(&w, "m7", 1);
    settle(&w);
    is(&w, "jobs/b", "spec.instanceName", "m7");
    world_done(&w);
}

/* An agent that is not root says that it gives none; one that says nothing does. */
static void
root_file_system_finds_its_machine(void **state)
{
    struct world w;

    UNUSED(state);
    world_init_only(&w, 1, "job");
    create(&w, &resource_instances,
           json_pack("{s:s, s:s, s:{s:s}, s:{s:s}, s:{s:s, s:{s:[{s:s, s:b, s:[s, s]}], "
                     "s:{s:i, s:i, s:i}}}}",
                     "apiVersion", "drover.dev/v1", "kind", "Instance", "metadata",
                     "name", "m0", "spec", "fleetName", "local", "status", "phase",
                     "Ready", "agent", "engines", "name", "process", "available", 1,
                     "limitations", "OneUser: jobs have one user",
                     "RootFileSystem: jobs have none", "inventory", "cpus", 8,
                     "memoryMiB", 65536, "diskMiB", 100000));
    settle(&w);
    add_job(&w, "root", json_pack("{s:{s:s}}", "rootfs", "path", "/srv/rootfs/debian"));
    add_job(&w, "plain", NULL);
    settle(&w);
    is(&w, "jobs/plain", "spec.instanceName", "m0");
    is(&w, "jobs/root", "status.reason", "NoRootFileSystem");
    add_machine(&w, "m1", 1);
    settle(&w);
    is(&w, "jobs/root", "spec.instanceName", "m1");
    is(&w, "jobs/root", "spec.engine", "process");
    world_done(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gang_is_placed_by_one_write),
        cmocka_unit_test(gang_survives_conflicts),
        cmocka_unit_test(gang_of_a_deleted_run),
        cmocka_unit_test(next_leader_completes),
        cmocka_unit_test(deadline_undoes_it_whole),
        cmocka_unit_test(unbound_gang_is_placed_again),
        cmocka_unit_test(gang_ends_with_a_member),
        cmocka_unit_test(victims_are_told),
        cmocka_unit_test(making_others_go_ends),
        cmocka_unit_test(quota_is_kept_and_reported),
        cmocka_unit_test(lost_job_uses_no_quota),
        cmocka_unit_test(share_is_taken_back),
        cmocka_unit_test(gang_takes_its_share_back),
        cmocka_unit_test(queue_explains_itself),
        cmocka_unit_test(blocks_are_taken_whole),
        cmocka_unit_test(named_instances_only),
        cmocka_unit_test(root_file_system_finds_its_machine),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
