/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole agent against a fake API server and a fake engine, both on the test's loop:
 * the protocol, its faults, and restarts at random moments. The fake engine's machine
 * outlives the agent, as containers do, and counts the starts.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"
#include "integration/runner_fake_api.h"
#include "integration/runner_fake_engine.h"
#include "io/segment.h"
#include "runner/agent.h"
#include "tests/turn_until.h"

#define WAIT_MS 30000
#define U_N(n) "0e6f5d2c-6f5e-4b7e-9a55-0a6de6a0c10" #n

/* --- fixture --- */

struct fixture {
    struct loop *loop;
    struct fake_api api;
    struct agent_opts opts;
    struct agent *agent;
    char dir[64];
};

#define wait_for(f, cond) TURN_UNTIL((f)->loop, WAIT_MS, cond)

static void
agent_up(struct fixture *f)
{
    struct error e = ERROR_INIT;
    if (agent_start(f->loop, &f->opts, &f->agent, &e) < 0)
        fail_msg("%s", e.msg);
}

/* Not while a connection is being made: libcurl closes such a socket before it says so.
 */
static void
agent_down(struct fixture *f)
{
    for (int i = 0; i < 100 && !server_settled(f->agent->server); i++)
        loop_turn(f->loop, 1);
    agent_stop(f->agent);
}

static void
agent_restart(struct fixture *f)
{
    agent_down(f);
    agent_up(f);
}

static int
setup(void **state)
{
    struct error e = ERROR_INIT;
    struct fixture *f = xnew(struct fixture);
    memset(&machine, 0, sizeof(machine));
    machine.available = true;
    snprintf(f->dir, sizeof(f->dir), "/tmp/drover-agent-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    assert_int_equal(loop_new(&f->loop, &e), 0);
    fake_api_start(&f->api, f->loop);
    f->opts = (struct agent_opts){.url = f->api.url,
                                  .token = "drj_test",
                                  .dir = f->dir,
                                  .program = "/bin/false",
                                  .engines = fake_engines};
    agent_up(f);
    *state = f;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;
    struct error e = ERROR_INIT;
    agent_down(f);
    fake_api_stop(&f->api);
    for (int i = 0; i < 20; i++)
        loop_turn(f->loop, 0); /* posted frees */
    loop_free(f->loop);
    assert_int_equal(fs_remove_tree(f->dir, &e), 0);
    free(f);
    return 0;
}

#define agent_field(f, name, field) fake_api_agent(&(f)->api, name, field)
#define state_is(f, name, s) streq(agent_field(f, name, "state"), s)
#define U1 "0e6f5d2c-6f5e-4b7e-9a55-0a6de6a0c001"

static void
assert_log(struct fixture *f, const char *uid, const char *want)
{
    auto_str got = STR_INIT(1 << 20);
    fake_api_log(&f->api, uid, &got);
    assert_string_equal(got.ptr, want);
}

/* --- tests --- */

static void
whole_life(void **state)
{
    struct fixture *f = *state;
    json_object_set_new(f->api.secrets, "s1",
                        json_pack("{s:{s:s}}", "data", "TOKEN", "aHVudGVyMg=="));
    fake_api_bind(&f->api, "a", U1,
                  "{\"spec\":{\"envFrom\":[{\"secretRef\":{\"name\":\"s1\"}}]}}");
    wait_for(f, state_is(f, "a", "Running"));
    struct thing *t = thing_of(U1);
    assert_string_equal(t->secret, "hunter2");
    assert_int_equal(journal_len(f->agent->journal), 1);
    assert_string_not_equal(agent_field(f, "a", "startedAt"), "");
    thing_exit(t, 4, 0);
    wait_for(f, state_is(f, "a", "Exited"));
    assert_string_equal(agent_field(f, "a", "exitCode"), "4");
    assert_string_equal(agent_field(f, "a", "logLength"), "19");
    assert_string_equal(agent_field(f, "a", "lastOutput"), "hello\n");
    wait_for(f, streq(agent_field(f, "a", "released"), "true"));
    wait_for(f, journal_len(f->agent->journal) == 0);
    assert_log(f, U1, "hello\n");
    auto_str said = STR_INIT(1 << 20);
    fake_api_log(&f->api, U1 "/diagnostics", &said);
    if (strstr(said.ptr, "claimed") == NULL || strstr(said.ptr, "ended job=a") == NULL)
        fail_msg("%s", said.ptr);
    assert_int_equal(t->starts, 1);
    assert_int_equal(t->state, THING_REMOVED);
    wait_for(f, f->api.instance_status != NULL && f->api.lease != NULL);

    /* The identity is kept; nothing is done twice after a restart. */
    unsigned lists = f->api.n_lists;
    f->opts.token = NULL;
    agent_restart(f);
    wait_for(f, f->api.n_lists > lists);
    fake_api_patch(&f->api, "a", "{\"metadata\":{\"labels\":{\"x\":\"y\"}}}");
    fake_api_bind(&f->api, "b", "0e6f5d2c-6f5e-4b7e-9a55-0a6de6a0c002", NULL);
    wait_for(f, state_is(f, "b", "Running"));
    assert_int_equal(t->starts, 1);
    assert_int_equal(f->api.n_enrol, 1);
}

/* A state that passes at once is told with what follows, one that lasts is told. */
static void
brief_states(void **state)
{
    struct fixture *f = *state;

    machine.quick = true;
    fake_api_bind(&f->api, "a", U1, NULL);
    wait_for(f, streq(agent_field(f, "a", "released"), "true"));
    assert_string_equal(json_string_value(json_object_get(f->api.told, "a")),
                        "Claimed Exited");
    assert_string_not_equal(agent_field(f, "a", "startedAt"), "");
    machine.quick = false;
    machine.creating = true;
    fake_api_bind(&f->api, "b", U_N(1), NULL);
    wait_for(f, state_is(f, "b", "Creating"));
    thing_start(thing_of(U_N(1)));
    wait_for(f, state_is(f, "b", "Running"));
    thing_exit(thing_of(U_N(1)), 0, 0);
    wait_for(f, streq(agent_field(f, "b", "released"), "true"));
    assert_string_equal(json_string_value(json_object_get(f->api.told, "b")),
                        "Claimed Creating Running Exited");
}

/* The end is told at once, the length of the log when it is whole: by this agent, or by
 * the next. Until then nothing is removed. */
static void
log_after_the_end(void **state)
{
    struct fixture *f = *state;
    for (int restarts = 0; restarts < 2; restarts++) {
        const char *name = restarts ? "b" : "a";
        const char *uid = restarts ? "0e6f5d2c-6f5e-4b7e-9a55-0a6de6a0c002" : U1;
        fake_api_bind(&f->api, name, uid, NULL);
        wait_for(f, state_is(f, name, "Running"));
        struct thing *t = thing_of(uid);
        t->log_late = true;
        thing_exit(t, 4, 0);
        wait_for(f, state_is(f, name, "Exited"));
        assert_string_equal(agent_field(f, name, "logLength"), "");
        assert_string_equal(agent_field(f, name, "exitCode"), "4");
        assert_int_equal(journal_len(f->agent->journal), 1);
        thing_write(t, "late\n");
        t->log_late = false;
        if (restarts)
            agent_restart(f);
        else
            t->job->events->on_log_end(t->job);
        wait_for(f, streq(agent_field(f, name, "logLength"), "37"));
        wait_for(f, journal_len(f->agent->journal) == 0);
        assert_log(f, uid, "hello\nlate\n");
        assert_string_equal(agent_field(f, name, "lastOutput"),
                            restarts ? "" : "hello\nlate\n");
    }
}

static void
claims_in_doubt(void **state)
{
    struct fixture *f = *state;
    /* The job changes under the claim: read again, claim again. */
    f->api.conflict = 2;
    fake_api_bind(&f->api, "a", U1, NULL);
    wait_for(f, state_is(f, "a", "Running"));
    assert_int_equal(f->api.conflict, 0);
    /* The claim is carried out and its answer lost. */
    f->api.lose = 1;
    fake_api_bind(&f->api, "b", "0e6f5d2c-6f5e-4b7e-9a55-0a6de6a0c002", NULL);
    wait_for(f, state_is(f, "b", "Running"));
    assert_int_equal(thing_of("0e6f5d2c-6f5e-4b7e-9a55-0a6de6a0c002")->starts, 1);
    /* Another journal has it: lost, never started. */
    fake_api_bind(&f->api, "c", "0e6f5d2c-6f5e-4b7e-9a55-0a6de6a0c003",
                  "{\"status\":{\"agent\":{\"state\":\"Running\",\"claim\":"
                  "{\"journalID\":\"other\",\"instanceUID\":\"i\"}}}}");
    wait_for(f, state_is(f, "c", "Lost"));
    assert_string_equal(agent_field(f, "c", "reason"), "JournalLost");
    assert_string_equal(agent_field(f, "c", "released"), "true");
    assert_int_equal(thing_of("0e6f5d2c-6f5e-4b7e-9a55-0a6de6a0c003")->starts, 0);
}

/* An engine that is being restarted when a job arrives is waited for. */
static void
engine_comes_back(void **state)
{
    struct fixture *f = *state;
    struct engine_status s = {.available = false};

    fake_engine_tell(&s);
    fake_api_bind(&f->api, "patient", U1, "{\"spec\":{\"engine\":\"process\"}}");
    fake_api_bind(&f->api, "eng", U_N(8), "{\"spec\":{\"engine\":\"oci\"}}");
    wait_for(f, state_is(f, "eng", "Rejected")); /* both were looked at by now */
    assert_string_equal(agent_field(f, "patient", "state"), "");
    s.available = true;
    fake_engine_tell(&s);
    wait_for(f, state_is(f, "patient", "Running"));
    thing_exit(thing_of(U1), 0, 0);
    wait_for(f, state_is(f, "patient", "Exited") && journal_len(f->agent->journal) == 0);
}

static void
refusals(void **state)
{
    struct fixture *f = *state;
    fake_api_bind(&f->api, "big", U1,
                  "{\"spec\":{\"reservation\":{\"cpuMilli\":100000000}}}");
    wait_for(f, state_is(f, "big", "Rejected"));
    assert_string_equal(agent_field(f, "big", "reason"), "OutOfCapacity");
    f->opts.min_free_mib = INT32_MAX;
    fake_api_bind(&f->api, "full", U_N(9), "{}");
    wait_for(f, streq(agent_field(f, "full", "reason"), "OutOfCapacity"));
    assert_non_null(strstr(agent_field(f, "full", "message"), "kept free of new jobs"));
    f->opts.min_free_mib = 0;
    fake_api_bind(&f->api, "eng", U_N(8), "{\"spec\":{\"engine\":\"oci\"}}");
    wait_for(f, state_is(f, "eng", "Rejected"));
    assert_string_equal(agent_field(f, "eng", "reason"), "EngineMissing");
    fake_api_bind(&f->api, "sec", "0e6f5d2c-6f5e-4b7e-9a55-0a6de6a0c003",
                  "{\"spec\":{\"envFrom\":[{\"secretRef\":{\"name\":\"none\"}}]}}");
    wait_for(f, state_is(f, "sec", "Failed"));
    assert_string_equal(agent_field(f, "sec", "reason"), "SecretMissing");
    wait_for(f, streq(agent_field(f, "sec", "released"), "true"));
    fake_api_bind(&f->api, "off", "0e6f5d2c-6f5e-4b7e-9a55-0a6de6a0c004",
                  "{\"spec\":{\"desiredState\":\"Stopped\",\"stopReason\":\"X\"}}");
    wait_for(f, state_is(f, "off", "Cancelled"));
    assert_string_equal(agent_field(f, "off", "reason"), "X");
    wait_for(f, journal_len(f->agent->journal) == 0);
    for (size_t i = 0; i < machine.n; i++)
        assert_int_equal(machine.things[i].starts, 0);
}

static void
what_containers_have(void **state)
{
    struct fixture *f = *state;
    json_object_set_new(
        f->api.secrets, "reg",
        json_pack("{s:{s:s, s:s}}", "data", "username", "bWU=", "password", "cHc="));
    fake_api_bind(&f->api, "c", U_N(1),
                  "{\"spec\":{\"image\":\"r.io/app\",\"networkMode\":\"bridge\","
                  "\"ports\":[{\"containerPort\":8080}],\"ulimits\":[{\"name\":"
                  "\"nofile\",\"soft\":7}],\"registryAuth\":{\"secretRef\":{\"name\":"
                  "\"reg\"}},\"mounts\":[{\"volume\":\"v\",\"path\":\"/v\",\"readOnly\":"
                  "true}]}}");
    wait_for(f, state_is(f, "c", "Running"));
    assert_string_equal(thing_of(U_N(1))->wants,
                        "bridge auth=me:pw volume v:/v ro port 8080 nofile=7:7");
    wait_for(f, streq(agent_field(f, "c", "pid"), "4711"));
    assert_string_equal(agent_field(f, "c", "user"), "app");
    assert_string_equal(agent_field(f, "c", "workingDir"), "/w");
    const json_t *agent = json_object_get(
        json_object_get(json_object_get(f->api.jobs, "c"), "status"), "agent");
    json_t *ports = json_loads("[{\"containerPort\":8080,\"hostPort\":49153}]", 0, NULL);
    assert_true(json_equal(json_object_get(agent, "ports"), ports));
    json_decref(ports);
    thing_exit(thing_of(U_N(1)), 0, 0);
    wait_for(f, state_is(f, "c", "Exited"));
    assert_string_equal(agent_field(f, "c", "pid"), "");

    /* No Secret, or one that says nothing of this registry. */
    fake_api_bind(&f->api, "d", U_N(2),
                  "{\"spec\":{\"image\":\"r.io/app\",\"registryAuth\":{\"secretRef\":"
                  "{\"name\":\"none\"}}}}");
    wait_for(f, state_is(f, "d", "Failed"));
    assert_string_equal(agent_field(f, "d", "reason"), "SecretMissing");
    /* The process engine has no directories to mount. */
    f->api.security = "{\"hostPaths\":true}";
    fake_api_bind(&f->api, "p", U_N(3),
                  "{\"spec\":{\"engine\":\"process\",\"mounts\":[{\"instancePath\":"
                  "\"/d\",\"path\":\"/d\"}]}}");
    wait_for(f, state_is(f, "p", "Failed"));
    assert_string_equal(agent_field(f, "p", "reason"), "CreateFailed");
    assert_int_equal(thing_of(U_N(3))->starts, 0);
}

/* Only what spec.security of the fleet grants, as it is now. */
static void
security(void **state)
{
    static const struct {
        const char *fleet, *job;
        const char *wants; /* NULL: refused; "!...": failed with these words */
    } cases[] = {
        {NULL, "{\"privileged\":true}", NULL},
        {"{\"hostPaths\":true}", "{\"privileged\":true}", NULL},
        {"{\"privileged\":true}", "{\"privileged\":true}", "privileged host auth=:"},
        {NULL, "{\"mounts\":[{\"instancePath\":\"/d\",\"path\":\"/m\"}]}", NULL},
        {"{\"privileged\":false}",
         "{\"mounts\":[{\"instancePath\":\"/d\",\"path\":\"/m\",\"optional\":true}]}",
         NULL},
        {"{\"hostPaths\":true}",
         "{\"mounts\":[{\"instancePath\":\"/d\",\"path\":\"/m\"}]}", "host auth=: /d:/m"},
        {"{\"privileged\":true}",
         "{\"mounts\":[{\"instancePath\":\"/d\",\"path\":\"/m\"}]}", "host auth=: /d:/m"},
        {"{\"hostPaths\":false}", "{\"rootfs\":{\"path\":\"/srv\"}}", NULL},
        {"{\"hostPaths\":true}", "{\"rootfs\":{\"path\":\"/srv\"}}", "!image, no rootfs"},
        {NULL, "{\"rootfs\":{\"blob\":\"sha256:0\"}}", "!image, no rootfs"},
        {NULL, "{\"mounts\":[{\"volume\":\"v\",\"path\":\"/m\"}]}",
         "host auth=: volume v:/m"},
        {NULL, "{\"reservation\":{\"wholeInstance\":true}}", "host whole auth=:"},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char name[8], uid[64];
        auto_str extra = STR_INIT(1024);
        snprintf(name, sizeof(name), "s%zu", i);
        snprintf(uid, sizeof(uid), "0e6f5d2c-6f5e-4b7e-9a55-0a6de6a0c2%02zu", i);
        str_addf(&extra, "{\"spec\":%s}", cases[i].job);
        f->api.security = cases[i].fleet;
        fake_api_bind(&f->api, name, uid, extra.ptr);
        const char *w = cases[i].wants;
        const char *words = w == NULL ? "spec.security." : *w == '!' ? w + 1 : NULL;
        if (words != NULL) {
            wait_for(f, state_is(f, name, w ? "Failed" : "Rejected"));
            assert_string_equal(agent_field(f, name, "reason"),
                                w ? "CreateFailed" : "SecurityDenied");
            assert_non_null(strstr(agent_field(f, name, "message"), words));
            assert_int_equal(thing_of(uid)->starts, 0);
        } else {
            wait_for(f, state_is(f, name, "Running"));
            assert_string_equal(thing_of(uid)->wants, w);
        }
    }
}

static void
waits_for_the_release(void **state)
{
    struct fixture *f = *state;
    fake_api_bind(&f->api, "a", U1, "{\"spec\":{\"released\":false}}");
    wait_for(f, state_is(f, "a", "Claimed") && journal_len(f->agent->journal) == 1);
    agent_restart(f);
    wait_for(f, f->agent->listed);
    assert_int_equal(thing_of(U1)->starts, 0);
    fake_api_patch(&f->api, "a", "{\"spec\":{\"released\":true}}");
    wait_for(f, state_is(f, "a", "Running"));
    assert_int_equal(thing_of(U1)->starts, 1);
}

static void
stop_abort_delete(void **state)
{
    struct fixture *f = *state;
    const char *u2 = "0e6f5d2c-6f5e-4b7e-9a55-0a6de6a0c002";
    const char *u3 = "0e6f5d2c-6f5e-4b7e-9a55-0a6de6a0c003";
    fake_api_bind(&f->api, "a", U1, NULL);
    fake_api_bind(&f->api, "b", u2, NULL);
    fake_api_bind(&f->api, "c", u3, NULL);
    wait_for(f, state_is(f, "a", "Running") && state_is(f, "b", "Running") &&
                    state_is(f, "c", "Running"));
    fake_api_patch(&f->api, "a", "{\"spec\":{\"desiredState\":\"Stopped\"}}");
    wait_for(f, state_is(f, "a", "Exited"));
    assert_string_equal(agent_field(f, "a", "signal"), "SIGTERM");
    assert_int_equal(thing_of(U1)->stops, 1);
    fake_api_patch(&f->api, "b", "{\"spec\":{\"desiredState\":\"Aborted\"}}");
    wait_for(f, state_is(f, "b", "Exited"));
    assert_int_equal(thing_of(u2)->kills, 1);
    fake_api_delete(&f->api, "c");
    wait_for(f, thing_of(u3)->state == THING_REMOVED);
    assert_int_equal(thing_of(u3)->stops, 1);
    wait_for(f, journal_len(f->agent->journal) == 0);
}

/* The object vanished while nobody watched: only the whole list tells. */
static void
gone_while_away(void **state)
{
    struct fixture *f = *state;
    fake_api_bind(&f->api, "a", U1, NULL);
    wait_for(f, state_is(f, "a", "Running"));
    agent_down(f);
    fake_api_delete(&f->api, "a");
    agent_up(f);
    wait_for(f, thing_of(U1)->state == THING_REMOVED);
    wait_for(f, journal_len(f->agent->journal) == 0);
    assert_int_equal(thing_of(U1)->starts, 1);
}

static void
server_in_trouble(void **state)
{
    struct fixture *f = *state;
    fake_api_bind(&f->api, "a", U1, NULL);
    wait_for(f, state_is(f, "a", "Running"));
    /* The end waits for its acknowledgement, and the container for the end. */
    f->api.down = true;
    thing_exit(thing_of(U1), 5, 0);
    int64_t until = clock_now_ms() + 300;
    while (clock_now_ms() < until)
        loop_turn(f->loop, 20);
    assert_int_equal(thing_of(U1)->state, THING_EXITED);
    agent_restart(f); /* it is told again from what the engine knows */
    f->api.down = false;
    wait_for(f, state_is(f, "a", "Exited"));
    assert_string_equal(agent_field(f, "a", "exitCode"), "5");
    wait_for(f, journal_len(f->agent->journal) == 0);
    assert_log(f, U1, "hello\n");
    /* An expired watch is a new list. */
    unsigned lists = f->api.n_lists;
    fake_api_expire_watch(&f->api);
    wait_for(f, f->api.n_lists > lists);
    fake_api_bind(&f->api, "b", "0e6f5d2c-6f5e-4b7e-9a55-0a6de6a0c002", NULL);
    wait_for(f, state_is(f, "b", "Running"));
}

static void
dead_man(void **state)
{
    struct fixture *f = *state;
    const char *u2 = "0e6f5d2c-6f5e-4b7e-9a55-0a6de6a0c002";
    f->api.lost_after = "1s";
    agent_restart(f);
    fake_api_bind(&f->api, "a", U1, "{\"spec\":{\"interruptible\":true}}");
    fake_api_bind(&f->api, "b", u2, NULL);
    wait_for(f, state_is(f, "a", "Running") || thing_of(U1)->stops > 0);
    f->api.down = true;
    wait_for(f, thing_of(U1)->state == THING_EXITED);
    assert_int_equal(thing_of(U1)->stops, 1);
    assert_int_equal(thing_of(u2)->stops, 0); /* it may not be replaced: it goes on */
    f->api.down = false;
    wait_for(f, state_is(f, "a", "Exited"));
    assert_int_equal(thing_of(u2)->stops, 0);
}

/* The switch counts from the last renewal of any life, by the time its fleet had set. */
static void
dead_man_outlives_the_agent(void **state)
{
    struct fixture *f = *state;
    f->api.lost_after = "1s";
    agent_restart(f);
    fake_api_bind(&f->api, "a", U1, "{\"spec\":{\"interruptible\":true}}");
    wait_for(f, state_is(f, "a", "Running") || thing_of(U1)->stops > 0);
    f->api.down = true;
    agent_restart(f);
    wait_for(f, thing_of(U1)->state == THING_EXITED);
    assert_int_equal(thing_of(U1)->stops, 1);
}

static bool
all_over(struct fixture *f, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        char name[16];
        snprintf(name, sizeof(name), "j%u", i);
        if (!streq(agent_field(f, name, "released"), "true"))
            return false;
    }
    return journal_len(f->agent->journal) == 0;
}

/* Restarts, lost answers, failing requests and expired watches at random moments. */
static void
random_trouble(void **state)
{
    struct fixture *f = *state;
    enum { N = 12 };
    char uids[N][ID_UUID_LEN];
    unsigned char seed[32] = {0};
    machine.quick = true;
    snprintf((char *)seed, sizeof(seed), "%lld", (long long)clock_now_ns());
    print_message("seed %s\n", (char *)seed);
    id_seed(seed);
    for (unsigned i = 0; i < N; i++) {
        char name[16];
        snprintf(name, sizeof(name), "j%u", i);
        id_uuid4(uids[i]);
        fake_api_bind(&f->api, name, uids[i], NULL);
    }
    for (int round = 0; round < 60 && !all_over(f, N); round++) {
        f->api.fail = id_uniform(3);
        f->api.lose = id_uniform(3);
        f->api.conflict = id_uniform(2);
        if (id_uniform(4) == 0)
            fake_api_expire_watch(&f->api);
        unsigned turns = id_uniform(40);
        while (turns-- > 0)
            loop_turn(f->loop, 2);
        agent_restart(f);
    }
    f->api.fail = f->api.lose = f->api.conflict = 0;
    wait_for(f, all_over(f, N));
    for (unsigned i = 0; i < N; i++) {
        char name[16];
        snprintf(name, sizeof(name), "j%u", i);
        assert_int_equal(thing_of(uids[i])->starts, 1);
        assert_string_equal(agent_field(f, name, "state"), "Exited");
        assert_string_equal(agent_field(f, name, "exitCode"), "0");
        assert_log(f, uids[i], "hello\n");
    }
    id_seed(NULL);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(whole_life),
        T(brief_states),
        T(log_after_the_end),
        T(claims_in_doubt),
        T(refusals),
        T(what_containers_have),
        T(security),
        T(engine_comes_back),
        T(waits_for_the_release),
        T(stop_abort_delete),
        T(gone_while_away),
        T(server_in_trouble),
        T(dead_man),
        T(dead_man_outlives_the_agent),
        T(random_trouble),
    };
    cmocka_set_test_filter(getenv("TEST_FILTER"));
    log_set_spec(getenv("TEST_LOG") != NULL ? getenv("TEST_LOG") : "error");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
