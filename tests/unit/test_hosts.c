/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Machines of SSH fleets without machines: what the plan decides, what the words of ssh
 * and of the scripts mean, the pool of steps, hosts of a spec, blocks and addresses.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the headers it needs */
#include <cmocka.h>
#include <poll.h>
#include <pthread.h>

#include "api/fleet.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "controllers/instance/host_bundle.h"
#include "controllers/instance/host_plan.h"
#include "controllers/instance/host_script.h"
#include "controllers/instance/instance_facts.h"
#include "io/proc.h"

/* --- plan -------------------------------------------------------------------------- */

static struct host_observed
observed(void)
{
    return (struct host_observed){.boot_id = "b1",
                                  .phase = INSTANCE_PHASE_PENDING,
                                  .want_program = "p",
                                  .want_settings = "s",
                                  .installed = "",
                                  .owner_name = "",
                                  .server_id = "here",
                                  .take_over = "",
                                  .now_ms = 100000};
}

static struct host_result
probe(const char *program, const char *settings, bool active)
{
    struct host_result r = {
        .step = HOST_PROBE, .ok = true, .reached = true, .ended_ms = 100000};

    snprintf(r.facts.program_id, sizeof(r.facts.program_id), "%s", program);
    snprintf(r.facts.settings_id, sizeof(r.facts.settings_id), "%s", settings);
    snprintf(r.facts.boot_id, sizeof(r.facts.boot_id), "b1");
    r.facts.active = active;
    r.facts.free_kib = 1 << 20;
    return r;
}

static struct host_plan
plan_after(struct host_observed o, struct host_result r)
{
    struct host_plan p;

    o.seen.has_result = true;
    o.seen.result = r;
    host_plan_make(&o, &p);
    return p;
}

static struct host_result
done(enum host_step step)
{
    return (struct host_result){
        .step = step, .ok = true, .reached = true, .ended_ms = 100000};
}

static void
test_installation(void **state)
{
    struct host_observed o = observed();
    struct host_plan p;

    UNUSED(state);
    host_plan_make(&o, &p);
    assert_int_equal(p.start, HOST_PROBE);
    assert_string_equal(p.installed.reason, "Connecting");
    o.pinned = true;
    p = plan_after(o, probe("", "", false));
    assert_int_equal(p.start, HOST_COPY);
    assert_true(p.take_facts);
    p = plan_after(o, probe("old", "s", true));
    assert_int_equal(p.start, HOST_COPY);
    assert_int_equal(plan_after(o, done(HOST_COPY)).start, HOST_START);
    p = plan_after(o, probe("p", "", false));
    assert_int_equal(p.start, HOST_START);
    p = plan_after(o, done(HOST_START));
    assert_true(p.mark_installed);
    assert_int_equal(p.requeue_ms, 30000);
    o.now_ms += 30000;
    assert_int_equal(plan_after(o, done(HOST_START)).start, HOST_DIAGNOSE);
    struct host_result r = done(HOST_DIAGNOSE);
    snprintf(r.last, sizeof(r.last), "no route");
    o.now_ms = 100000;
    o.seen.failures = 1;
    p = plan_after(o, r);
    assert_string_equal(p.installed.reason, "AgentSilent");
    assert_non_null(strstr(p.installed.message, "no route"));
    assert_int_equal(p.requeue_ms, 5000);
}

static void
test_nothing_to_do(void **state)
{
    struct host_observed o = observed();
    struct host_plan p;

    UNUSED(state);
    o.pinned = true;
    o.installed = "s";
    o.phase = INSTANCE_PHASE_READY;
    host_plan_make(&o, &p);
    assert_true(p.well);
    assert_int_equal(p.start, HOST_STEP_NONE);
    assert_true(p.installed.value);
    assert_true(p.connected.value);
    /* an upgrade under a live lease: the same steps */
    o.installed = "older";
    host_plan_make(&o, &p);
    assert_int_equal(p.start, HOST_PROBE);
    p = plan_after(o, done(HOST_START));
    assert_true(p.mark_installed);
    assert_null(p.installed.reason);
}

static void
test_repair(void **state)
{
    struct host_observed o = observed();
    struct host_plan p;

    UNUSED(state);
    o.pinned = true;
    o.installed = "s";
    o.phase = INSTANCE_PHASE_NOT_READY;
    o.boot_known = true;
    host_plan_make(&o, &p);
    assert_int_equal(p.start, HOST_PROBE);
    assert_int_equal(plan_after(o, probe("p", "s", false)).start, HOST_START);
    struct host_result r = probe("p", "s", true);
    p = plan_after(o, r);
    assert_int_equal(p.start, HOST_STEP_NONE);
    assert_string_equal(p.installed.reason, "WaitingForAgent");
    assert_false(p.rebooted);
    snprintf(r.facts.boot_id, sizeof(r.facts.boot_id), "b2");
    p = plan_after(o, r);
    assert_true(p.rebooted);
    assert_non_null(strstr(p.installed.message, "rebooted"));
}

static void
test_what_is_in_the_way(void **state)
{
    struct host_observed o = observed();
    struct host_result r = probe("", "", false);
    struct host_plan p;

    UNUSED(state);
    r.facts.free_kib = 10000;
    p = plan_after(o, r);
    assert_string_equal(p.installed.reason, "DiskFull");
    assert_int_equal(p.start, HOST_STEP_NONE);
    o.owner_lives = true;
    o.owner_name = "other";
    p = plan_after(o, probe("", "", false));
    assert_string_equal(p.installed.reason, "HostTaken");
    assert_non_null(strstr(p.installed.message, "other"));
    o = observed();
    o.blocked = "NoProgram there is none";
    p = plan_after(o, probe("", "", false));
    assert_string_equal(p.installed.reason, "NoProgram");
    assert_string_equal(p.installed.message, "there is none");
    r = (struct host_result){.step = HOST_PROBE, .ended_ms = 100000};
    host_result_fail(&r, HOST_PROBE, "Unreachable", "no route");
    o = observed();
    for (unsigned i = 1, delay = 5000;
         i<8; i++, delay = delay * 2> 60000 ? 60000 : delay * 2) {
        o.seen.failures = i;
        p = plan_after(o, r);
        assert_string_equal(p.connected.reason, "Unreachable");
        assert_false(p.connected.value);
        assert_null(p.installed.reason);
        assert_int_equal(p.requeue_ms, delay);
    }
    o.now_ms += 60000;
    assert_int_equal(plan_after(o, r).start, HOST_PROBE);
}

/* Marks of another server, and C libraries that the program cannot use. */
static void
test_marks_and_libc(void **state)
{
    struct host_observed o = observed();
    struct host_result r = probe("", "", false);
    struct host_plan p;

    UNUSED(state);
    snprintf(r.facts.owner, sizeof(r.facts.owner), "uid-there");
    snprintf(r.facts.owner_server, sizeof(r.facts.owner_server), "there");
    snprintf(r.facts.owner_words, sizeof(r.facts.owner_words), "the fleet a/b of c");
    p = plan_after(o, r);
    assert_string_equal(p.installed.reason, "HostTaken");
    assert_non_null(strstr(p.installed.message, "the fleet a/b of c"));
    assert_non_null(strstr(p.installed.message, "drover.dev/take-over=there"));
    assert_int_equal(p.start, HOST_STEP_NONE);
    o.take_over = "elsewhere";
    assert_int_equal(plan_after(o, r).start, HOST_STEP_NONE);
    o.take_over = "there";
    p = plan_after(o, r);
    assert_int_equal(p.start, HOST_COPY);
    assert_true(p.takes_over);
    o.take_over = "";
    o.server_id = "there"; /* ours, of an Instance that is no more */
    assert_int_equal(plan_after(o, r).start, HOST_COPY);

    static const struct {
        const char *words;
        int minor;
        const char *reason; /* against a program that needs 2.36; NULL: none */
    } libc[] = {
        {"glibc 2.36", 36, NULL},
        {"glibc 2.41", 41, NULL},
        {"glibc 2.31", 31, "GlibcTooOld"},
        {"ldd (Ubuntu GLIBC 2.35-0ubuntu3.1) 2.35", 35, "GlibcTooOld"},
        {"ldd (GNU libc) 2.5", 5, "GlibcTooOld"},
        {"musl libc (x86_64)", -1, "NoGlibc"},
        {"", 0, NULL},
        {"sh: ldd: not found", 0, NULL},
    };
    o = observed();
    o.libc_minor = 36;
    for (size_t i = 0; i < ARRAY_LEN(libc); i++) {
        r = probe("", "", false);
        snprintf(r.facts.libc, sizeof(r.facts.libc), "%s", libc[i].words);
        assert_int_equal(host_libc_minor(libc[i].words), libc[i].minor);
        p = plan_after(o, r);
        if (libc[i].reason == NULL)
            assert_int_equal(p.start, HOST_COPY);
        else
            assert_string_equal(p.installed.reason, libc[i].reason);
    }
    assert_int_equal(host_libc_needed("xGLIBC_2.4\0GLIBC_2.34\0GLIBC_2.2.5", 32), 34);
    assert_int_equal(host_libc_needed("GLIBC_2.3", 8), 0);
}

/* This program as if it were the agent. */
static void
test_bundle(void **state)
{
    char dir[] = "/tmp/test-bundle-XXXXXX", self[4096];
    struct host_bundle one, two;
    struct error e = ERROR_INIT;
    auto_str list = STR_INIT(65536);
    int status;

    UNUSED(state);
    assert_non_null(mkdtemp(dir));
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    assert_true(n > 0);
    self[n] = '\0';
    struct host_bundles *b = host_bundles_new(dir);
    assert_int_equal(host_bundle_get(b, self, true, &one, &e), 0);
    assert_true(one.libc_minor > 0 && one.kib > 0);
    struct proc_opts o = PROC_OPTS_INIT;
    o.argv = (const char *const[]){"tar", "-tf", one.path, NULL};
    assert_int_equal(proc_run(&o, 30000, &list, &status, &e), 0);
    assert_non_null(strstr(list.ptr, "bin/drover-runner\n"));
    assert_non_null(strstr(list.ptr, "lib/libcmocka.so.0\n"));
    assert_null(strstr(list.ptr, "libc.so"));
    assert_string_equal(list.ptr + list.len - 3, "id\n"); /* complete when it is there */
    assert_int_equal(host_bundle_get(b, self, true, &two, &e), 0);
    assert_string_equal(one.id, two.id);
    /* One that we cannot run: what lies beside it. */
    autofree char *foreign = fs_join(dir, "drover-runner-x"), *lib = NULL, *so = NULL;
    lib = xasprintf("%s.lib", foreign);
    so = fs_join(lib, "libx.so.1");
    assert_int_equal(fs_write_atomic(foreign, "GLIBC_2.17", 10, 0755, &e), 0);
    assert_int_equal(host_bundle_get(b, foreign, false, &one, &e), 0);
    assert_int_equal(one.libc_minor, 17);
    assert_int_equal(fs_mkdirs(lib, 0755, &e), 0);
    assert_int_equal(fs_write_atomic(so, "GLIBC_2.28", 10, 0644, &e), 0);
    assert_int_equal(fs_write_atomic(foreign, "GLIBC_2.18", 10, 0755, &e), 0);
    assert_int_equal(host_bundle_get(b, foreign, false, &two, &e), 0);
    assert_string_not_equal(one.id, two.id);
    assert_int_equal(two.libc_minor, 28);
    host_bundles_free(b);
    assert_int_equal(fs_remove_tree(dir, &e), 0);
}

static void
test_removal(void **state)
{
    struct host_observed o = observed();
    struct host_plan p;
    struct host_result r = done(HOST_REMOVE);

    UNUSED(state);
    o.deleting = true;
    host_plan_make(&o, &p);
    assert_true(p.drop_finalizer); /* never been there */
    o.pinned = true;
    o.jobs = 2;
    host_plan_make(&o, &p);
    assert_string_equal(p.removed.reason, "JobsRunning");
    assert_false(p.drop_finalizer);
    assert_int_equal(p.start, HOST_STEP_NONE);
    o.jobs = 0;
    host_plan_make(&o, &p);
    assert_int_equal(p.start, HOST_REMOVE);
    assert_true(plan_after(o, r).drop_finalizer);
    host_result_fail(&r, HOST_REMOVE, "Unreachable", "no route");
    p = plan_after(o, r);
    assert_false(p.drop_finalizer);
    assert_string_equal(p.removed.reason, "Unreachable");
    assert_non_null(strstr(p.removed.message, "forget"));
    o.seen.running = HOST_COPY; /* what runs is waited for */
    host_plan_make(&o, &p);
    assert_int_equal(p.start, HOST_STEP_NONE);
    o.forgotten = true;
    o.jobs = 5;
    host_plan_make(&o, &p);
    assert_true(p.drop_finalizer);
}

/* --- words ------------------------------------------------------------------------- */

static const struct {
    const char *output;
    int code;
    const char *reason, *word;
    bool reached;
} answers[] = {
    {"root@h: Permission denied (publickey).\r\n", 255, "AuthenticationFailed",
     "(root@h: Permission denied (publickey).)", false},
    {"@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification "
     "failed.\n",
     255, "HostKeyChanged", "forget", false},
    {"ssh: connect to host h port 22: Connection refused\n", 255, "Unreachable",
     "no SSH server", false},
    {"ssh: connect to host h port 22: No route to host\n", 255, "Unreachable", "", false},
    {"ssh: Could not resolve hostname h: Name or service not known\n", 255, "UnknownHost",
     "", false},
    {"something new\n", 255, "ConnectionFailed", "something new", false},
    {"", 255, "ConnectionFailed", "no reason", false},
    {"", -1, "Timeout", "login", false},
    {"drover:arch=x\n", -1, "Timeout", "in time", true},
    {"drover:arch=x\nclient_loop: send disconnect: Broken pipe\n", 255, "ConnectionLost",
     "", true},
    {"sudo: a password is required\n", 1, "NoSudo", "without one", true},
    {"cat: write error: No space left on device\ndrover:fail=CopyFailed cannot write x\n",
     1, "DiskFull", "full", true},
    {"drover:fail=ProgramDoesNotRun it does not run: libx.so\n", 1, "ProgramDoesNotRun",
     "libx.so", true},
    {"drover:done=yes\n", 1, "CommandFailed", "", true},
    {"oops\n", 127, "CommandFailed", "oops", true},
};

static void
test_answers(void **state)
{
    struct host_task t = {.step = HOST_PROBE};

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        struct host_result r = {0};
        host_script_read(&t, answers[i].output, answers[i].code, &r);
        assert_false(r.ok);
        if (!streq(r.reason, answers[i].reason) ||
            strstr(r.message, answers[i].word) == NULL || r.reached != answers[i].reached)
            fail_msg("%s: %s: %s", answers[i].output, r.reason, r.message);
    }
    struct host_result jump = {.step = HOST_PROBE};
    host_script_read(&t, "Connection closed by remote host\n", 255, &jump);
    host_script_read_jump("", &jump);
    assert_string_equal(jump.reason, "Unreachable");
    host_script_read_jump("root@gate: Permission denied (publickey).\n", &jump);
    assert_string_equal(jump.reason, "ProxyFailed");
    assert_non_null(strstr(jump.message, "gate: Permission denied"));
    struct host_result r = {0};
    host_script_read(&t,
                     "Welcome!\ndrover:arch=x86_64\ndrover:boot=b\ndrover:systemd=yes\n"
                     "drover:active=no\ndrover:free=1234\ndrover:owner=o\n"
                     "drover:program=\ndrover:settings=s\ndrover:done=yes\n",
                     0, &r);
    assert_true(r.ok);
    assert_string_equal(r.facts.arch, "x86_64");
    assert_true(r.facts.systemd);
    assert_false(r.facts.active);
    assert_int_equal(r.facts.free_kib, 1234);
    assert_string_equal(r.facts.program_id, "");
    assert_string_equal(r.facts.settings_id, "s");
}

/* Whatever is put in, the shell gets it as it is, and ssh's line has no newline of ours
 * outside of quotes. */
static void
test_quoting(void **state)
{
    struct host_task t = {.step = HOST_START};
    auto_str input = STR_INIT(65536);

    UNUSED(state);
    t.agent_url = t.ca_hash = t.name = t.settings_id = t.instance_uid = t.job_env =
        (char[]){""};
    t.token = (char[]){"it's; $(reboot)"};
    host_script_input(&t, &input);
    assert_non_null(strstr(input.ptr, "TOKEN='it'\\''s; $(reboot)'\n"));
}

/* --- pool -------------------------------------------------------------------------- */

struct bench {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned running, done, most;
    bool hold;
};

static void
run_step(void *arg, const struct host_task *t, int cancel_fd, struct host_result *ret)
{
    struct bench *b = arg;
    struct pollfd p = {.fd = cancel_fd, .events = POLLIN};

    pthread_mutex_lock(&b->lock);
    b->running++;
    if (b->running > b->most)
        b->most = b->running;
    pthread_cond_broadcast(&b->changed);
    bool slow = streq(t->instance_uid, "slow");
    pthread_mutex_unlock(&b->lock);
    if (slow)
        poll(&p, 1, 60000);
    pthread_mutex_lock(&b->lock);
    b->running--;
    pthread_mutex_unlock(&b->lock);
    ret->ok = true;
}

static void
step_done(void *arg, const char *ns, const char *name)
{
    struct bench *b = arg;

    UNUSED(ns);
    UNUSED(name);
    pthread_mutex_lock(&b->lock);
    b->done++;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
}

static int64_t
now(void *arg)
{
    UNUSED(arg);
    return clock_now_ms();
}

static struct host_task *
task_for(const char *uid)
{
    struct host_task *t = xnew(struct host_task);

    t->step = HOST_PROBE;
    t->instance_uid = xstrdup(uid);
    return t;
}

/* A machine that does not answer delays its own step only, also when the pool ends. */
static void
test_pool(void **state)
{
    struct bench b = {.lock = PTHREAD_MUTEX_INITIALIZER,
                      .changed = PTHREAD_COND_INITIALIZER};
    struct host_pool_opts o = {.run = run_step,
                               .run_arg = &b,
                               .done = step_done,
                               .now_ms = now,
                               .arg = &b,
                               .parallel = 4};
    struct host_pool_key slow = {"slow", "d", "slow", 1};
    struct host_pool *p;
    struct host_seen seen;
    struct error e = ERROR_INIT;

    UNUSED(state);
    assert_int_equal(host_pool_new(&o, &p, &e), 0);
    host_pool_start(p, &slow, task_for("slow"));
    for (int i = 0; i < 50; i++) {
        autofree char *uid = xasprintf("u%d", i);
        struct host_pool_key k = {uid, "d", uid, 1};
        host_pool_start(p, &k, task_for(uid));
    }
    pthread_mutex_lock(&b.lock);
    while (b.done < 50)
        pthread_cond_wait(&b.changed, &b.lock);
    assert_in_range(b.most, 1, 4);
    pthread_mutex_unlock(&b.lock);
    host_pool_ask(p, &slow, &seen);
    assert_int_equal(seen.running, HOST_PROBE);
    assert_false(seen.has_result);
    struct host_pool_key u7 = {"u7", "d", "u7", 1};
    host_pool_ask(p, &u7, &seen);
    assert_int_equal(seen.running, HOST_STEP_NONE);
    assert_true(seen.has_result && seen.result.ok);
    u7.generation = 2; /* another spec: the result counts no more */
    host_pool_ask(p, &u7, &seen);
    assert_false(seen.has_result);
    host_pool_free(p);
    assert_int_equal(b.done, 50);
}

/* --- specs ------------------------------------------------------------------------- */

#define SSH(hosts)                                                                       \
    "{\"ssh\":{\"user\":\"u\",\"identity\":{\"secretName\":\"k\"},\"hosts\":" hosts "}}"

static const struct {
    const char *spec, *path, *word;
} bad_specs[] = {
    {SSH("[\"a\",\"a\"]"), "spec.ssh.hosts[1]", ""},
    {SSH("[\"-oProxyCommand=x\"]"), "spec.ssh.hosts[0].hostname", "host name"},
    {SSH("[\"a b\"]"), "spec.ssh.hosts[0].hostname", "host name"},
    {SSH("[7]"), "spec.ssh.hosts[0]", "mapping"},
    {SSH("[{\"hostname\":\"a\",\"identityFile\":\"x\"}]"),
     "spec.ssh.hosts[0].identityFile", "drover apply"},
    {SSH("[{\"hostname\":\"a\",\"port\":70000}]"), "spec.ssh.hosts[0].port", "65535"},
    {SSH("[{\"hostname\":\"a\",\"user\":\"-x\"}]"), "spec.ssh.hosts[0].user", ""},
    {SSH("[{\"hostname\":\"a\",\"internalIP\":\"8.8.8.8\"}]"),
     "spec.ssh.hosts[0].internalIP", "private"},
    {SSH("[{\"hostname\":\"a\",\"internalIP\":\"10.0.0.1\"},\"b\"]"), "spec.ssh.hosts",
     "all hosts or for none"},
    {SSH("[{\"hostname\":\"a\",\"blocks\":0}]"), "spec.ssh.hosts[0].blocks", "auto"},
    {SSH("[{\"hostname\":\"a\",\"proxyJump\":{\"hostname\":\"-x\"}}]"),
     "spec.ssh.hosts[0].proxyJump.hostname", ""},
    {"{\"ssh\":{\"hosts\":[\"a\"]}}", "spec.ssh.hosts[0].user", ""},
    {"{\"ssh\":{\"user\":\"u\",\"hosts\":[\"a\"]}}", "spec.ssh.hosts[0].identity",
     "identityFile"},
    {"{\"ssh\":{\"network\":\"10.0.0.0/33\",\"hosts\":[]}}", "spec.ssh.network", ""},
    {"{\"blocks\":\"many\"}", "spec.blocks", "auto"},
};

static void
test_bad_specs(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(bad_specs); i++) {
        auto_violations v = {0};
        json_t *spec = json_loads(bad_specs[i].spec, 0, NULL);
        assert_non_null(spec);
        fleet_check("f", spec, &v);
        json_decref(spec);
        if (v.list.len != 1 || !streq(v.list.items[0].path, bad_specs[i].path) ||
            strstr(v.list.items[0].message, bad_specs[i].word) == NULL)
            fail_msg("%s: %zu, %s", bad_specs[i].spec, v.list.len,
                     v.list.len > 0 ? v.list.items[0].message : "");
    }
}

static void
test_hosts(void **state)
{
    auto_fleet_hosts h = {0};
    auto_violations v = {0};
    json_t *spec = json_loads(
        "{\"blocks\":4,\"ssh\":{\"user\":\"u\",\"port\":2222,\"identity\":{"
        "\"secretName\":"
        "\"k\"},\"proxyJump\":{\"hostname\":\"gate\"},\"hosts\":[\"fd00::1\",{"
        "\"hostname\":"
        "\"a-rather-long-name-of-a-machine-somewhere.in.a.data.centre.example.org\","
        "\"port\":22,\"blocks\":\"auto\",\"internalIP\":\"10.0.0.1\"}]}}",
        0, NULL);

    UNUSED(state);
    assert_non_null(spec);
    json_object_del(
        json_array_get(json_object_get(json_object_get(spec, "ssh"), "hosts"), 1),
        "internalIP");
    fleet_read_hosts("lab", spec, &h, &v);
    assert_int_equal(v.list.len, 0);
    assert_int_equal(h.list.len, 2);
    assert_string_equal(h.list.items[0].name, "lab-fd00--1-p2222");
    assert_int_equal(strlen(h.list.items[1].name), FLEET_NAME_MAX - 1);
    json_t *want = json_loads(
        "{\"blocks\":4,\"ssh\":{\"hostname\":\"fd00::1\",\"port\":2222,\"user\":\"u\","
        "\"identity\":{\"secretName\":\"k\",\"key\":\"identity\"},\"proxyJump\":{"
        "\"hostname\":\"gate\",\"port\":22,\"user\":\"u\",\"identity\":{\"secretName\":"
        "\"k\",\"key\":\"identity\"}}}}",
        0, NULL);
    assert_true(json_equal(h.list.items[0].spec, want));
    json_decref(want);
    json_decref(spec);
}

static void
test_blocks(void **state)
{
    enum { NOT_GIVEN = -1, AUTO = 0 };
    static const struct {
        int blocks, cpus, gpus, want; /* want 0: refused */
    } cases[] = {
        {NOT_GIVEN, 8, 0, 1}, {4, 8, 0, 4},     {4, 8, 8, 4},     {4, 6, 0, 0},
        {4, 8, 6, 0},         {2, 32, 8, 2},    {4, 32, 8, 4},    {3, 32, 8, 0},
        {16, 32, 8, 0},       {AUTO, 6, 0, 6},  {AUTO, 64, 8, 8}, {AUTO, 32, 8, 8},
        {AUTO, 4, 8, 4},      {AUTO, 12, 8, 4}, {AUTO, 7, 8, 1},
    };

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        json_t *blocks = cases[i].blocks == NOT_GIVEN ? NULL
                         : cases[i].blocks == AUTO    ? json_string("auto")
                                                      : json_integer(cases[i].blocks);
        struct error e = ERROR_INIT;
        int64_t n = 0;
        int rc = fleet_blocks(blocks, cases[i].cpus, cases[i].gpus, &n, &e);
        json_decref(blocks);
        assert_int_equal(rc == 0, cases[i].want != 0);
        assert_int_equal(n, cases[i].want);
    }
}

static void
test_addresses(void **state)
{
    static const struct {
        const char *spec, *fleet, *ip, *problem;
    } cases[] = {
        {"{}", "{}", "192.168.7.2", ""},
        {"{\"ssh\":{\"hostname\":\"10.0.0.5\"}}", "{}", "10.0.0.5", ""},
        {"{\"ssh\":{\"hostname\":\"m\"}}", "{\"ssh\":{\"network\":\"10.0.0.0/24\"}}",
         "10.0.0.5", ""},
        {"{}", "{\"ssh\":{\"network\":\"fd00::/16\"}}", "fd00::9", ""},
        {"{}", "{\"ssh\":{\"network\":\"10.9.0.0/24\"}}", "", "in 10.9.0.0/24"},
        {"{\"internalIP\":\"10.0.0.5\"}", "{}", "10.0.0.5", ""},
        {"{\"internalIP\":\"10.0.0.6\"}", "{}", "", "no address 10.0.0.6"},
    };

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        autofree char *text = xasprintf(
            "{\"spec\":%s,\"status\":{\"agent\":{\"inventory\":{\"cpus\":4},"
            "\"addresses\":["
            "\"127.0.0.1/8\",\"169.254.1.1/16\",\"192.168.7.2/24\",\"10.0.0.5/24\","
            "\"fd00::9/64\",\"nonsense\"]}}}",
            cases[i].spec);
        json_t *instance = json_loads(text, 0, NULL);
        json_t *fleet = json_loads(cases[i].fleet, 0, NULL);
        struct instance_facts f;
        instance_facts_make(instance, fleet, NULL, &f);
        assert_true(f.known);
        assert_string_equal(f.ip, cases[i].ip);
        assert_non_null(strstr(f.ip_problem, cases[i].problem));
        assert_int_equal(f.ip_problem[0] == '\0', cases[i].problem[0] == '\0');
        json_decref(instance);
        json_decref(fleet);
    }
    json_t *instance =
        json_loads("{\"status\":{\"agent\":{\"inventory\":{},\"addresses\":["
                   "\"192.168.7.2/24\",\"10.0.0.5/24\"]}}}",
                   0, NULL);
    json_t *fleet = json_pack("{s:s}", "placement", "cluster");
    struct instance_facts f;
    instance_facts_make(instance, fleet, "10.0.0.0/24", &f);
    assert_string_equal(f.ip, "10.0.0.5");
    assert_false(f.apart);
    instance_facts_make(instance, fleet, "10.1.0.0/24", &f);
    assert_true(f.apart);
    instance_facts_make(instance, fleet, NULL, &f); /* not told yet */
    assert_true(f.apart);
    json_decref(instance);
    json_decref(fleet);
    assert_true(fleet_in_network("10.0.0.255", "10.0.0.128/25"));
    assert_false(fleet_in_network("10.0.0.127", "10.0.0.128/25"));
    assert_false(fleet_in_network("10.0.0.1", "fd00::/8"));
    assert_false(fleet_in_network("10.0.0.1", "10.0.0.0/x"));
    assert_true(fleet_in_network("10.0.0.1/24", "0.0.0.0/0"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_installation),   cmocka_unit_test(test_nothing_to_do),
        cmocka_unit_test(test_repair),         cmocka_unit_test(test_what_is_in_the_way),
        cmocka_unit_test(test_marks_and_libc), cmocka_unit_test(test_bundle),
        cmocka_unit_test(test_removal),        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_quoting),        cmocka_unit_test(test_pool),
        cmocka_unit_test(test_bad_specs),      cmocka_unit_test(test_hosts),
        cmocka_unit_test(test_blocks),         cmocka_unit_test(test_addresses),
    };

    json_object_seed(0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
