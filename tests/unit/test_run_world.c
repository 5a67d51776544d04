/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs of several nodes, arrays, schedules, dependencies, profiles and history through
 * all controllers and the scheduler, stepped over a server in memory with a fake clock.
 * Among them what has gone wrong in dstack: a lost stop, a change overwritten by a
 * worker, siblings that wait for each other, runs stuck in a full fleet, gangs that take
 * from each other.
 */
#include <stdlib.h>

#include "tests/unit/world.h"

static void
add_machine(struct world *w, int n, int cpus)
{
    char name[16], address[32];

    snprintf(name, sizeof(name), "m%d", n);
    snprintf(address, sizeof(address), "10.0.0.%d/24", n + 1);
    create(w, &resource_instances,
           json_pack("{s:s, s:s, s:{s:s}, s:{s:s}, s:{s:{s:[s], s:[{s:s, s:b}], "
                     "s:{s:i, s:i, s:i}}}}",
                     "apiVersion", "drover.dev/v1", "kind", "Instance", "metadata",
                     "name", name, "spec", "fleetName", "local", "status", "agent",
                     "addresses", address, "engines", "name", "process", "available", 1,
                     "inventory", "cpus", cpus, "memoryMiB", 65536, "diskMiB", 100000));
    create_lease(w, name, 40000000);
}

/* more: members of the spec as JSON. */
static void
add_run(struct world *w, const char *name, const char *more)
{
    json_t *spec = json_pack("{s:s, s:s, s:[s], s:{s:i}}", "type", "task", "desiredState",
                             "Running", "commands", "true", "resources", "cpu", 1);
    json_error_t je;
    json_t *given = json_loads(more, 0, &je);

    assert_non_null(given);
    json_object_update(spec, given);
    json_decref(given);
    create(w, &resource_runs,
           json_pack("{s:s, s:s, s:{s:s}, s:o}", "apiVersion", "drover.dev/v1", "kind",
                     "Run", "metadata", "name", name, "spec", spec));
}

static json_t *
get(struct world *w, const char *path)
{
    autofree char *whole = xasprintf(NS "%s", path);

    return fake_api_get(w->api, whole);
}

/* Of the object's `a`.`b`; "" when absent. malloc'd. */
static char *
text_of(struct world *w, const char *path, const char *a, const char *b)
{
    json_t *o = get(w, path);
    const json_t *v = json_object_get(json_object_get(o, a), b);
    char *copy = json_is_string(v) ? xstrdup(json_string_value(v))
                 : v != NULL       ? json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY)
                                   : xstrdup("");

    json_decref(o);
    return copy;
}

static void
is(struct world *w, const char *path, const char *a, const char *b, const char *value)
{
    autofree char *text = text_of(w, path, a, b);

    if (!streq(text, value))
        fail_msg("%s %s.%s is \"%s\", not \"%s\"", path, a, b, text, value);
}

static void
phase_is(struct world *w, const char *path, const char *phase, const char *reason)
{
    is(w, path, "status", "phase", phase);
    is(w, path, "status", "reason", reason);
}

static void
agent_says(struct world *w, const char *job, json_t *agent)
{
    json_object_set_new(agent, "claim",
                        json_pack("{s:s, s:s}", "journalID", "j", "instanceUID", "i"));
    patch(w, &resource_jobs, job, json_pack("{s:{s:o}}", "status", "agent", agent));
    settle(w);
}

static void
runs_now(struct world *w, const char *job)
{
    char now[CLOCK_RFC3339_US_LEN];

    clock_format_us(wall_ns(), now);
    agent_says(w, job, json_pack("{s:s, s:s}", "state", "Running", "startedAt", now));
}

static void
exits(struct world *w, const char *job, int code)
{
    char now[CLOCK_RFC3339_US_LEN];

    clock_format_us(wall_ns(), now);
    agent_says(w, job,
               json_pack("{s:s, s:i, s:s, s:b}", "state", "Exited", "exitCode", code,
                         "finishedAt", now, "released", 1));
}

/* The message of some condition has it. */
static void
says(struct world *w, const char *path, const char *part)
{
    autofree char *text = text_of(w, path, "status", "conditions");

    if (strstr(text, part) == NULL)
        fail_msg("%s says %s, not \"%s\"", path, text, part);
}

/* At once: the server knows no finalizers. */
static void
drop(struct world *w, const struct resource *r, const char *name)
{
    struct error e = ERROR_INIT;

    assert_int_equal(client_delete(w->client, r, "default", name, NULL, NULL, &e), 0);
}

static bool
exists(struct world *w, const char *path)
{
    json_t *o = get(w, path);

    json_decref(o);
    return o != NULL;
}

/* --- several nodes --------------------------------------------------------------------
 */

static void
a_gang(void **state)
{
    struct world w;

    UNUSED(state);
    world_init(&w, 1);
    add_machine(&w, 0, 2);
    add_machine(&w, 1, 2);
    settle(&w);
    add_run(&w, "r", "{\"nodes\":2}");
    settle(&w);
    phase_is(&w, "runs/r", "Provisioning", "");
    is(&w, "jobs/r-0-0-0", "spec", "released", "true");
    is(&w, "jobs/r-0-1-0", "spec", "released", "true");
    autofree char *peers = text_of(&w, "jobs/r-0-1-0", "spec", "peers");
    assert_non_null(strstr(peers, "\"address\":\"10.0.0.1\""));
    assert_non_null(strstr(peers, "\"address\":\"10.0.0.2\""));
    json_t *secret = fake_api_get(w.api, "/api/v1/namespaces/default/secrets/r-ssh");
    assert_non_null(secret);
    json_decref(secret);
    runs_now(&w, "r-0-0-0");
    runs_now(&w, "r-0-1-0");
    phase_is(&w, "runs/r", "Running", "");
    exits(&w, "r-0-1-0", 3);
    phase_is(&w, "runs/r", "Terminating", "SiblingFailed");
    is(&w, "jobs/r-0-0-0", "spec", "stopReason", "SiblingFailed");
    exits(&w, "r-0-0-0", 143);
    phase_is(&w, "jobs/r-0-0-0", "Terminated", "SiblingFailed");
    phase_is(&w, "runs/r", "Failed", "Exited");
    is(&w, "runs/r", "status", "exitCode", "3");
    is(&w, "runs/r", "status", "jobName", "r-0-1-0");
    world_done(&w);
}

/* Neither takes a part of what the other needs, however often they are tried again. */
static void
gangs_do_not_take_from_each_other(void **state)
{
    struct world w;

    UNUSED(state);
    world_init(&w, 1);
    add_machine(&w, 0, 1);
    add_machine(&w, 1, 1);
    settle(&w);
    add_run(&w, "a", "{\"nodes\":2,\"retry\":{\"onEvents\":[\"error\"]}}");
    settle(&w);
    add_run(&w, "b", "{\"nodes\":2,\"retry\":{\"onEvents\":[\"error\"]}}");
    settle(&w);
    is(&w, "jobs/a-0-1-0", "spec", "released", "true");
    is(&w, "jobs/b-0-0-0", "spec", "instanceName", "");
    is(&w, "jobs/b-0-1-0", "spec", "instanceName", "");
    runs_now(&w, "a-0-0-0");
    runs_now(&w, "a-0-1-0");
    exits(&w, "a-0-0-0", 1);
    is(&w, "jobs/b-0-0-0", "spec", "instanceName", ""); /* one is free: not enough */
    exits(&w, "a-0-1-0", 1);
    /* While a waits for its delay both machines are b's. */
    is(&w, "jobs/b-0-0-0", "spec", "released", "true");
    is(&w, "jobs/b-0-1-0", "spec", "released", "true");
    advance_to(&w, fake_ms + 16000);
    is(&w, "jobs/a-0-0-1", "spec", "instanceName", "");
    is(&w, "jobs/a-0-1-1", "spec", "instanceName", "");
    exits(&w, "b-0-0-0", 0);
    exits(&w, "b-0-1-0", 0);
    phase_is(&w, "runs/b", "Done", "Exited");
    is(&w, "jobs/a-0-0-1", "spec", "released", "true");
    is(&w, "jobs/a-0-1-1", "spec", "released", "true");
    world_done(&w);
}

/* The siblings of a node that died before they had a place are not waited for. */
static void
a_sibling_dies_first(void **state)
{
    struct world w;

    UNUSED(state);
    world_init(&w, 1);
    add_machine(&w, 0, 2);
    add_machine(&w, 1, 2);
    settle(&w);
    add_run(&w, "r", "{\"nodes\":2,\"startupOrder\":\"master-first\"}");
    settle(&w);
    is(&w, "jobs/r-0-0-0", "spec", "released", "true");
    is(&w, "jobs/r-0-1-0", "spec", "released", "false");
    agent_says(&w, "r-0-0-0",
               json_pack("{s:s, s:s, s:b}", "state", "Failed", "reason", "CreateFailed",
                         "released", 1));
    is(&w, "jobs/r-0-1-0", "spec", "desiredState", "Stopped");
    agent_says(&w, "r-0-1-0",
               json_pack("{s:s, s:b}", "state", "Cancelled", "released", 1));
    phase_is(&w, "runs/r", "Failed", "CreateFailed");
    world_done(&w);
}

/* --- a fleet without room --------------------------------------------------------------
 */

static void
a_full_fleet(void **state)
{
    struct world w;

    UNUSED(state);
    world_init(&w, 1);
    add_machine(&w, 0, 1);
    settle(&w);
    add_run(&w, "first", "{}");
    settle(&w);
    add_run(&w, "gives-up", "{\"whenNoCapacity\":\"fail\"}");
    add_run(&w, "waits", "{}");
    settle(&w);
    phase_is(&w, "runs/gives-up", "Failed", "NoCapacity");
    phase_is(&w, "runs/waits", "Submitted", "InsufficientCPU");
    /* a stop of what only waits needs nobody */
    patch(&w, &resource_runs, "waits",
          json_pack("{s:{s:s}}", "spec", "desiredState", "Stopped"));
    settle(&w);
    phase_is(&w, "runs/waits", "Terminated", "StoppedByUser");
    world_done(&w);
}

/* One of two jobs of a machine ends: its room is free, and no more than that. */
static void
room_is_freed_once(void **state)
{
    struct world w;

    UNUSED(state);
    world_init(&w, 1);
    add_machine(&w, 0, 2);
    settle(&w);
    add_run(&w, "aa", "{}");
    add_run(&w, "bb", "{}");
    settle(&w);
    add_run(&w, "cc", "{}");
    settle(&w);
    add_run(&w, "dd", "{}");
    settle(&w);
    patch(&w, &resource_runs, "aa",
          json_pack("{s:{s:s}}", "spec", "desiredState", "Stopped"));
    patch(&w, &resource_runs, "aa",
          json_pack("{s:{s:s}}", "spec", "desiredState", "Aborted"));
    settle(&w);
    is(&w, "jobs/cc-0-0-0", "spec", "instanceName", "");
    exits(&w, "aa-0-0-0", 0);
    is(&w, "jobs/cc-0-0-0", "spec", "instanceName", "m0");
    is(&w, "jobs/dd-0-0-0", "spec", "instanceName", "");
    world_done(&w);
}

/* --- changes by users
 * -------------------------------------------------------------------
 */

/* The controllers act on a copy from before the change: they write their status, and the
 * change stays. */
static void
a_change_is_not_overwritten(void **state)
{
    struct world w;

    UNUSED(state);
    world_init(&w, 1);
    add_machine(&w, 0, 1);
    settle(&w);
    add_run(&w, "r", "{}");
    add_run(&w, "other", "{}");
    settle(&w);
    patch(&w, &resource_runs, "r",
          json_pack("{s:{s:s}}", "spec", "desiredState", "Stopped"));
    patch(&w, &resource_runs, "other", json_pack("{s:{s:i}}", "spec", "priority", 9));
    patch(&w, &resource_jobs, "r-0-0-0",
          json_pack("{s:{s:{s:s, s:s, s:{s:s}}}}", "status", "agent", "state", "Running",
                    "startedAt", "2026-01-01T00:00:02Z", "claim", "journalID", "j"));
    do { /* of the Run only the old copy is there */
        while (manager_step(w.m))
            ;
    } while (fake_api_deliver_only(w.api, &resource_jobs));
    is(&w, "runs/r", "status", "phase", "Running");
    is(&w, "runs/r", "spec", "desiredState", "Stopped");
    settle(&w);
    is(&w, "jobs/r-0-0-0", "spec", "desiredState", "Stopped");
    is(&w, "runs/other", "spec", "priority", "9");
    is(&w, "jobs/other-0-0-0", "spec", "priority", "9");
    exits(&w, "r-0-0-0", 0);
    phase_is(&w, "runs/r", "Terminated", "StoppedByUser");
    world_done(&w);
}

/* --- arrays, dependencies, schedules
 * ----------------------------------------------------
 */

static void
an_array(void **state)
{
    struct world w;

    UNUSED(state);
    world_init(&w, 1);
    add_machine(&w, 0, 8);
    settle(&w);
    add_run(&w, "r", "{\"array\":\"1-4%2\"}");
    settle(&w);
    assert_true(exists(&w, "jobs/r-1-0-0") && exists(&w, "jobs/r-2-0-0"));
    assert_false(exists(&w, "jobs/r-3-0-0"));
    exits(&w, "r-2-0-0", 1); /* the others go on */
    assert_true(exists(&w, "jobs/r-3-0-0"));
    assert_false(exists(&w, "jobs/r-4-0-0"));
    exits(&w, "r-1-0-0", 0);
    exits(&w, "r-3-0-0", 0);
    is(&w, "runs/r", "status", "phase", "Provisioning");
    exits(&w, "r-4-0-0", 0);
    phase_is(&w, "runs/r", "Failed", "ElementsFailed");
    is(&w, "runs/r", "status", "message", "1 of 4 elements failed: 2");
    world_done(&w);
}

static void
dependencies(void **state)
{
    struct world w;

    UNUSED(state);
    world_init(&w, 1);
    add_machine(&w, 0, 8);
    settle(&w);
    add_run(&w, "last",
            "{\"dependsOn\":[{\"run\":\"first\"},{\"run\":\"second\","
            "\"condition\":\"failed\"}]}");
    add_run(&w, "never", "{\"dependsOn\":[{\"run\":\"second\"}]}");
    settle(&w);
    phase_is(&w, "runs/last", "Submitted", "");
    is(&w, "runs/last", "status", "jobName", "");
    add_run(&w, "first", "{}");
    add_run(&w, "second", "{}");
    settle(&w);
    exits(&w, "first-0-0-0", 0);
    assert_false(exists(&w, "jobs/last-0-0-0"));
    exits(&w, "second-0-0-0", 1);
    assert_true(exists(&w, "jobs/last-0-0-0"));
    phase_is(&w, "runs/never", "Failed", "DependencyFailed");
    add_run(&w, "x1", "{\"dependsOn\":[{\"run\":\"x2\"}]}");
    settle(&w);
    add_run(&w, "x2", "{\"dependsOn\":[{\"run\":\"x1\"}]}");
    settle(&w);
    phase_is(&w, "runs/x1", "Failed", "DependencyFailed");
    phase_is(&w, "runs/x2", "Failed", "DependencyFailed");
    world_done(&w);
}

/* The first one that is seen under a name is the one meant. */
static void
a_dependency_that_goes(void **state)
{
    struct world w;

    UNUSED(state);
    world_init(&w, 1);
    add_machine(&w, 0, 8);
    settle(&w);
    add_run(&w, "after", "{\"dependsOn\":[{\"run\":\"first\",\"condition\":\"any\"}]}");
    settle(&w);
    says(&w, "runs/after", "waits for run first, which does not exist");
    add_run(&w, "first", "{}");
    settle(&w);
    says(&w, "runs/after", "run first is not over yet");
    drop(&w, &resource_runs, "first");
    settle(&w);
    phase_is(&w, "runs/after", "Failed", "DependencyMissing");
    is(&w, "runs/after", "status", "message",
       "run first was deleted before its end was seen");
    assert_false(exists(&w, "jobs/after-0-0-0"));

    /* Its name used anew while nobody looked. */
    add_run(&w, "second", "{}");
    add_run(&w, "later", "{\"dependsOn\":[{\"run\":\"second\",\"condition\":\"any\"}]}");
    settle(&w);
    stop_controllers(&w);
    drop(&w, &resource_runs, "second");
    add_run(&w, "second", "{}");
    start_controllers(&w, 2);
    settle(&w);
    phase_is(&w, "runs/later", "Failed", "DependencyMissing");
    says(&w, "runs/later", "another run");
    world_done(&w);
}

/* An end that was seen counts, whatever becomes of the run and its name. It is not
 * cleaned up before all that wait have seen it. */
static void
an_end_is_kept(void **state)
{
    static const char spec[] =
        "{\"dependsOn\":[{\"run\":\"first\"},{\"run\":\"second\"}]}";
    struct world w;

    UNUSED(state);
    world_init(&w, 1);
    add_machine(&w, 0, 8);
    settle(&w);
    add_run(&w, "first", "{\"ttlAfterFinished\":1}");
    add_run(&w, "second", "{}");
    add_run(&w, "after", spec);
    settle(&w);
    fake_api_fail(w.api, "PATCH", NS "runs/after", 503, 1000);
    exits(&w, "first-0-0-0", 0);
    advance_to(&w, fake_ms + 60000);
    assert_true(exists(&w, "runs/first")); /* past its time */
    fake_api_fail(w.api, "", "", 0, 0);
    advance_to(&w, fake_ms + 600000);
    assert_false(exists(&w, "runs/first"));
    phase_is(&w, "runs/after", "Submitted", "");
    says(&w, "runs/after", "run second is not over yet");
    add_run(&w, "first", "{}"); /* another one */
    settle(&w);
    exits(&w, "first-0-0-0", 1);
    exits(&w, "second-0-0-0", 0);
    assert_true(exists(&w, "jobs/after-0-0-0"));

    /* One that is stopped before it starts holds nothing. */
    add_run(&w, "third", "{\"ttlAfterFinished\":1}");
    add_run(&w, "idle", "{\"dependsOn\":[{\"run\":\"third\"},{\"run\":\"none\"}]}");
    settle(&w);
    fake_api_fail(w.api, "PATCH", NS "runs/idle/status", 503, 1000);
    exits(&w, "third-0-0-0", 0);
    advance_to(&w, fake_ms + 60000);
    assert_true(exists(&w, "runs/third"));
    patch(&w, &resource_runs, "idle",
          json_pack("{s:{s:s}}", "spec", "desiredState", "Stopped"));
    settle(&w);
    assert_false(exists(&w, "runs/third"));
    world_done(&w);
}

static void
a_schedule(void **state)
{
    struct world w;

    UNUSED(state);
    world_init(&w, 1);
    add_machine(&w, 0, 8);
    settle(&w);
    add_run(&w, "r", "{\"schedule\":{\"cron\":[\"*/10 * * * *\"]}}");
    settle(&w);
    assert_false(exists(&w, "jobs/r-0-0-0"));
    is(&w, "runs/r", "status", "nextStartAt", "2026-01-01T00:10:00.000000Z");
    advance_to(&w, 601000);
    assert_true(exists(&w, "jobs/r-0-0-0"));
    is(&w, "runs/r", "status", "nextStartAt", "");
    runs_now(&w, "r-0-0-0");
    advance_to(&w, 1300000); /* 00:20 passes while it runs */
    exits(&w, "r-0-0-0", 1);
    is(&w, "runs/r", "status", "phase", "Submitted");
    is(&w, "runs/r", "status", "nextStartAt", "2026-01-01T00:30:00.000000Z");
    assert_false(exists(&w, "jobs/r-0-0-1"));
    advance_to(&w, 1801000);
    runs_now(&w, "r-0-0-1");
    exits(&w, "r-0-0-1", 0);
    is(&w, "runs/r", "status", "nextStartAt", "2026-01-01T00:40:00.000000Z");
    patch(&w, &resource_runs, "r",
          json_pack("{s:{s:s}}", "spec", "desiredState", "Stopped"));
    settle(&w);
    phase_is(&w, "runs/r", "Terminated", "StoppedByUser");
    world_done(&w);
}

/* --- profiles and what is kept
 * ----------------------------------------------------------
 */

static void
add_profile(struct world *w, const char *name, json_t *spec)
{
    create(w, &resource_profiles,
           json_pack("{s:s, s:s, s:{s:s}, s:o}", "apiVersion", "drover.dev/v1", "kind",
                     "Profile", "metadata", "name", name, "spec", spec));
}

static void
profiles(void **state)
{
    struct world w;

    UNUSED(state);
    world_init(&w, 1);
    add_machine(&w, 0, 8);
    add_profile(&w, "base", json_pack("{s:b, s:s}", "default", 1, "maxDuration", "1h"));
    add_profile(&w, "long", json_pack("{s:s}", "maxDuration", "2h"));
    settle(&w);
    add_run(&w, "by-default", "{}");
    add_run(&w, "named", "{\"profile\":\"long\"}");
    add_run(&w, "own", "{\"profile\":\"long\",\"maxDuration\":60}");
    add_run(&w, "none", "{\"profile\":\"none\"}");
    add_run(&w, "missing", "{\"profile\":\"other\"}");
    add_profile(&w, "nightly", json_pack("{s:{s:[s]}}", "schedule", "cron", "0 2 * * *"));
    add_run(&w, "clash", "{\"profile\":\"nightly\",\"array\":\"0-3\"}");
    settle(&w);
    is(&w, "jobs/by-default-0-0-0", "spec", "maxDurationSeconds", "3600");
    is(&w, "jobs/named-0-0-0", "spec", "maxDurationSeconds", "7200");
    is(&w, "jobs/own-0-0-0", "spec", "maxDurationSeconds", "60");
    is(&w, "jobs/none-0-0-0", "spec", "maxDurationSeconds", "");
    phase_is(&w, "runs/missing", "Failed", "InvalidSpec");
    phase_is(&w, "runs/clash", "Failed", "InvalidSpec");
    is(&w, "runs/clash", "status", "message",
       "spec.schedule: not together with spec.array (profile \"nightly\" is applied)");
    is(&w, "runs/by-default", "spec", "maxDuration", ""); /* the Run stays as it is */
    world_done(&w);
}

/* What a profile said when the run was accepted is what it said, for its retries and
 * elements too; so it is for a new default, or one that goes. */
static void
a_profile_is_read_once(void **state)
{
    struct world w;

    UNUSED(state);
    world_init(&w, 1);
    add_machine(&w, 0, 8);
    add_profile(&w, "p",
                json_pack("{s:s, s:{s:[s], s:s}}", "maxDuration", "1h", "retry",
                          "onEvents", "error", "duration", "1h"));
    settle(&w);
    add_run(&w, "r", "{\"profile\":\"p\",\"array\":\"0-1%1\"}");
    add_run(&w, "bare", "{\"array\":\"0-1%1\"}");
    settle(&w);
    is(&w, "runs/r", "status", "profile", "p");
    patch(&w, &resource_profiles, "p",
          json_pack("{s:{s:s, s:n}}", "spec", "maxDuration", "2h", "retry"));
    add_profile(&w, "new", json_pack("{s:b, s:s}", "default", 1, "maxDuration", "3h"));
    settle(&w);
    exits(&w, "bare-0-0-0", 0);
    is(&w, "jobs/bare-1-0-0", "spec", "maxDurationSeconds", "");
    exits(&w, "r-0-0-0", 1);
    advance_to(&w, fake_ms + 30000);
    is(&w, "jobs/r-0-0-1", "spec", "maxDurationSeconds", "3600");
    drop(&w, &resource_profiles, "p");
    settle(&w);
    exits(&w, "r-0-0-1", 0);
    is(&w, "jobs/r-1-0-0", "spec", "maxDurationSeconds", "3600");
    /* Those that come now have what is there now. */
    add_run(&w, "later", "{}");
    settle(&w);
    is(&w, "jobs/later-0-0-0", "spec", "maxDurationSeconds", "10800");
    world_done(&w);
}

/* --- priority classes
 * ----------------------------------------------------------
 */

static void
add_class(struct world *w, const char *name, int value, bool everybody, bool preempts)
{
    create_in(w, &resource_priorityclasses, "",
              json_pack("{s:s, s:s, s:{s:s}, s:i, s:b, s:s}", "apiVersion",
                        "scheduling.k8s.io/v1", "kind", "PriorityClass", "metadata",
                        "name", name, "value", value, "globalDefault", everybody,
                        "preemptionPolicy", preempts ? "PreemptLowerPriority" : "Never"));
}

static void
priority_classes(void **state)
{
    struct world w;

    UNUSED(state);
    world_init(&w, 1);
    add_machine(&w, 0, 16);
    add_class(&w, "low", -5, false, false);
    add_class(&w, "urgent", 100000, false, true);
    add_class(&w, "system-node-critical", 2000001000, false, true);
    settle(&w);
    add_run(&w, "bare", "{}");
    add_run(&w, "urgent", "{\"priorityClassName\":\"urgent\"}");
    add_run(&w, "low", "{\"priorityClassName\":\"low\",\"priority\":-5}");
    add_run(&w, "other", "{\"priorityClassName\":\"urgent\",\"priority\":0}");
    add_run(&w, "meek",
            "{\"priorityClassName\":\"urgent\","
            "\"preemptionPolicy\":\"Never\"}");
    add_run(&w, "system", "{\"priorityClassName\":\"system-node-critical\"}");
    add_run(&w, "missing", "{\"priorityClassName\":\"none\"}");
    settle(&w);
    is(&w, "jobs/bare-0-0-0", "spec", "priority", "");
    is(&w, "jobs/urgent-0-0-0", "spec", "priority", "100000");
    is(&w, "jobs/urgent-0-0-0", "spec", "preemptionPolicy", "PreemptLowerPriority");
    is(&w, "jobs/low-0-0-0", "spec", "priority", "-5");
    is(&w, "jobs/low-0-0-0", "spec", "preemptionPolicy", "Never");
    is(&w, "runs/urgent", "spec", "priority", ""); /* the Run stays as it is */
    phase_is(&w, "runs/other", "Failed", "InvalidSpec");
    is(&w, "runs/other", "status", "message",
       "spec.priority: 0 is not the 100000 of PriorityClass \"urgent\"; leave it out");
    phase_is(&w, "runs/meek", "Failed", "InvalidSpec");
    phase_is(&w, "runs/system", "Failed", "InvalidSpec");
    phase_is(&w, "runs/missing", "Failed", "InvalidSpec");
    is(&w, "runs/missing", "status", "message",
       "spec.priorityClassName: there is no PriorityClass \"none\"; there are low, "
       "urgent");
    world_done(&w);
}

/* Of several defaults the lowest; none for one that says its priority; and what was taken
 * stays through retries, whatever becomes of the class. A class that the cache does not
 * have yet is asked for. */
static void
a_class_is_read_once(void **state)
{
    struct world w;

    UNUSED(state);
    world_init(&w, 1);
    add_machine(&w, 0, 16);
    settle(&w);
    add_run(&w, "before", "{\"array\":\"0-1%1\"}");
    settle(&w);
    add_class(&w, "high", 70, true, false);
    add_class(&w, "base", 30, true, true);
    settle(&w);
    add_run(&w, "r", "{\"retry\":{\"onEvents\":[\"error\"],\"duration\":\"1h\"}}");
    add_run(&w, "zero", "{\"priority\":0}");
    add_run(&w, "calm", "{\"preemptionPolicy\":\"Never\"}");
    add_class(&w, "fresh", 9, false, false);
    add_run(&w, "fresh", "{\"priorityClassName\":\"fresh\"}");
    while (fake_api_deliver_only(w.api, &resource_runs) || manager_step(w.m))
        ;
    settle(&w);
    is(&w, "jobs/r-0-0-0", "spec", "priority", "30");
    is(&w, "jobs/r-0-0-0", "spec", "preemptionPolicy", "PreemptLowerPriority");
    is(&w, "jobs/zero-0-0-0", "spec", "priority", "0");
    is(&w, "jobs/calm-0-0-0", "spec", "preemptionPolicy", "Never");
    is(&w, "jobs/fresh-0-0-0", "spec", "priority", "9");
    drop(&w, &resource_priorityclasses, "base");
    settle(&w);
    patch(&w, &resource_runs, "r", json_pack("{s:{s:i}}", "spec", "priority", 1));
    exits(&w, "r-0-0-0", 1);
    advance_to(&w, fake_ms + 30000);
    is(&w, "jobs/r-0-0-1", "spec", "priority", "30");
    exits(&w, "before-0-0-0", 0);
    is(&w, "jobs/before-1-0-0", "spec", "priority", "");
    world_done(&w);
}

static void
what_is_kept(void **state)
{
    struct world w;

    UNUSED(state);
    world_init(&w, 1);
    create_in(&w, &resource_namespaces, "",
              json_pack("{s:s, s:s, s:{s:s, s:{s:s}}}", "apiVersion", "v1", "kind",
                        "Namespace", "metadata", "name", "default", "annotations",
                        "drover.dev/keep-finished-runs", "2"));
    add_machine(&w, 0, 8);
    settle(&w);
    for (int i = 0; i < 4; i++) {
        autofree char *run = xasprintf("r%d", i);
        autofree char *job = xasprintf("r%d-0-0-0", i);
        add_run(&w, run, "{}");
        settle(&w);
        advance_to(&w, fake_ms + 1000);
        exits(&w, job, 0);
    }
    assert_false(exists(&w, "runs/r0") || exists(&w, "runs/r1"));
    assert_true(exists(&w, "runs/r2") && exists(&w, "runs/r3"));
    add_run(&w, "short", "{\"ttlAfterFinished\":\"1m\"}");
    settle(&w);
    exits(&w, "short-0-0-0", 0);
    advance_to(&w, fake_ms + 59000);
    assert_true(exists(&w, "runs/short"));
    advance_to(&w, fake_ms + 2000);
    assert_false(exists(&w, "runs/short"));
    world_done(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_gang),
        cmocka_unit_test(gangs_do_not_take_from_each_other),
        cmocka_unit_test(a_sibling_dies_first),
        cmocka_unit_test(a_full_fleet),
        cmocka_unit_test(room_is_freed_once),
        cmocka_unit_test(a_change_is_not_overwritten),
        cmocka_unit_test(an_array),
        cmocka_unit_test(dependencies),
        cmocka_unit_test(a_dependency_that_goes),
        cmocka_unit_test(an_end_is_kept),
        cmocka_unit_test(a_schedule),
        cmocka_unit_test(profiles),
        cmocka_unit_test(a_profile_is_read_once),
        cmocka_unit_test(priority_classes),
        cmocka_unit_test(a_class_is_read_once),
        cmocka_unit_test(what_is_kept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
