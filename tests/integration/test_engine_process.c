/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process engine on the real kernel: how jobs end, their output, stopping them, and
 * what is left behind. Started as `--supervise ...` this program is the supervisor.
 */
#include "tests/integration/engine_process_world.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "io/segment.h"
#include "runner/supervisor/output.h"
#include "runner/supervisor/supervisor.h"

static void
test_exit_codes(void **state)
{
    struct world w;
    struct job ok;
    struct job three;

    UNUSED(state);
    world_open(&w);
    job_init(&w, &ok, "true");
    job_init(&w, &three, "exit 3");
    job_launch(&w, &ok);
    job_launch(&w, &three);
    job_wait_exit(&w, &ok);
    job_wait_exit(&w, &three);
    job_assert_exit(&ok, 0);
    job_assert_exit(&three, 3);
    assert_int_equal(ok.n_started, 1);
    job_remove(&w, &ok);
    job_remove(&w, &three);
    world_close(&w);
}

static void
test_output_is_exact(void **state)
{
    struct world w;
    struct job j;
    auto_str out = STR_INIT(1);
    auto_str err = STR_INIT(1);

    UNUSED(state);
    world_open(&w);
    job_init(&w, &j,
             "printf 'a\\000b\\377\\r\\n\\nno newline'; printf oops >&2;"
             "echo \"$GREETING $HOME\" >/dev/stderr; pwd >&2; id -u >&2");
    j.env[1] = "GREETING=hello";
    job_run(&w, &j);
    job_assert_exit(&j, 0);
    job_output(&j, SEGMENT_STDOUT, &out);
    job_output(&j, SEGMENT_STDERR, &err);
    static const char want[] = "a\0b\377\r\n\nno newline";
    assert_int_equal(out.len, sizeof(want) - 1);
    assert_memory_equal(out.ptr, want, sizeof(want) - 1);
    assert_string_equal(err.ptr, "oopshello /job\n/job\n0\n");
    job_remove(&w, &j);
    world_close(&w);
}

static void
test_signal(void **state)
{
    struct world w;
    struct job j;

    UNUSED(state);
    world_open(&w);
    job_init(&w, &j, "kill -SEGV $$");
    job_run(&w, &j);
    assert_int_equal(j.result.reason, ENGINE_SIGNALED);
    assert_int_equal(j.result.signal, SIGSEGV);
    assert_int_equal(j.result.exit_code, -1);
    job_remove(&w, &j);
    world_close(&w);
}

static void
test_out_of_memory(void **state)
{
    struct world w;
    struct job main_killed;
    struct job child_killed;
    struct job fits;

    UNUSED(state);
    world_open(&w);
    job_init(&w, &main_killed, "x=$(head -c 100000000 /dev/zero | tr '\\0' x); echo $x");
    job_init(&w, &child_killed,
             "sh -c 'x=$(head -c 100000000 /dev/zero | tr \"\\0\" x)'");
    job_init(&w, &fits, "x=$(head -c 1000000 /dev/zero | tr '\\0' x); echo ${#x}");
    struct job *const all[] = {&main_killed, &child_killed, &fits};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        all[i]->j.memory_limit_mib = 32;
        job_run(&w, all[i]);
        job_remove(&w, all[i]);
    }
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(all[i]->result.reason, ENGINE_OOM);
        assert_non_null(strstr(all[i]->result.oom_cgroup, all[i]->uid));
        assert_int_equal(all[i]->result.signal, SIGKILL);
        assert_non_null(strstr(all[i]->result.message, "memory limit"));
    }
    job_assert_exit(&fits, 0);
    world_close(&w);
}

/* What runs besides main ends with it, and holding its output open delays nothing. */
static void
test_background_processes_end_with_main(void **state)
{
    struct world w;
    struct job j;

    UNUSED(state);
    world_open(&w);
    job_init(&w, &j, "sleep $MARK & (setsid sleep $MARK &) ; sleep 0.1; exit 5");
    job_run(&w, &j);
    job_assert_exit(&j, 5);
    assert_int_equal(count_sleepers(), 0);
    job_remove(&w, &j);
    world_close(&w);
}

static void
test_stop_lets_finish(void **state)
{
    struct world w;
    struct job j;
    auto_str out = STR_INIT(1);

    UNUSED(state);
    world_open(&w);
    job_init(
        &w, &j,
        "trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 60 & wait; done");
    job_launch(&w, &j);
    job_wait_output(&w, &j, "ready");
    int64_t before = clock_now_ms();
    job_stop(&w, &j, 30000);
    job_wait_exit(&w, &j);
    job_assert_exit(&j, 7);
    assert_true(clock_now_ms() - before < 10000);
    job_output(&j, SEGMENT_STDOUT, &out);
    assert_string_equal(out.ptr, "ready\nbye\n");
    job_remove(&w, &j);
    world_close(&w);
}

static bool
four_sleep(void *arg)
{
    UNUSED(arg);
    return count_sleepers() >= 4;
}

static void
test_stop_kills_what_ignores_it(void **state)
{
    struct world w;
    struct job j;

    UNUSED(state);
    world_open(&w);
    job_init(&w, &j,
             "trap '' TERM; sleep $MARK & (setsid sh -c 'sleep $MARK & sleep "
             "$MARK' &) ; sleep 0.2; echo ready; while :; do sleep $MARK; done");
    job_launch(&w, &j);
    job_wait_output(&w, &j, "ready");
    world_until(&w, four_sleep, NULL, 20000);
    int64_t before = clock_now_ms();
    job_stop(&w, &j, 60000);
    job_stop(&w, &j, 400); /* only shortens */
    job_stop(&w, &j, 50000);
    job_wait_exit(&w, &j);
    assert_int_equal(j.result.reason, ENGINE_SIGNALED);
    assert_int_equal(j.result.signal, SIGKILL);
    int64_t took = clock_now_ms() - before;
    assert_true(took >= 400 && took < 10000);
    assert_int_equal(count_sleepers(), 0);
    job_remove(&w, &j);
    world_close(&w);
}

static void
test_stop_at_once(void **state)
{
    struct world w;
    struct job j;

    UNUSED(state);
    world_open(&w);
    job_init(&w, &j, "trap 'exit 1' TERM; echo ready; while :; do sleep 60; done");
    job_launch(&w, &j);
    job_wait_output(&w, &j, "ready");
    job_stop(&w, &j, 0);
    job_wait_exit(&w, &j);
    assert_int_equal(j.result.signal, SIGKILL);
    job_remove(&w, &j);
    world_close(&w);
}

/* At every moment of the start: either it never ran, or it was killed. */
static void
test_stop_while_starting(void **state)
{
    struct world w;

    UNUSED(state);
    world_open(&w);
    for (int ms = 0; ms < 30; ms += 3) {
        struct job j;
        int64_t until = clock_now_ms() + ms;
        job_init(&w, &j, "while :; do sleep 60; done");
        job_launch(&w, &j);
        while (clock_now_ms() < until)
            loop_turn(w.loop, 1);
        job_stop(&w, &j, 0);
        job_wait_exit(&w, &j);
        if (j.result.started)
            assert_int_equal(j.result.signal, SIGKILL);
        else
            assert_int_equal(j.result.reason, ENGINE_START_FAILED);
        assert_int_equal(j.n_started, j.result.started);
        job_remove(&w, &j);
    }
    world_close(&w);
}

static void
assert_never_ran(const struct job *j, enum engine_reason reason, const char *text)
{
    assert_int_equal(j->result.reason, reason);
    assert_false(j->result.started);
    assert_int_equal(j->n_started, 0);
    if (strstr(j->result.message, text) == NULL)
        fail_msg("\"%s\" is not in: %s", text, j->result.message);
}

static void
test_start_failures(void **state)
{
    static const char *const missing[] = {"no-such-program", "x", NULL};
    static const char *const directory[] = {"/usr", NULL};
    static const char *const nothing[] = {NULL};
    struct world w;
    struct job j[6];

    UNUSED(state);
    world_open(&w);
    for (size_t i = 0; i < ARRAY_LEN(j); i++)
        job_init(&w, &j[i], "echo ran");
    job_argv(&j[0], missing);
    job_argv(&j[1], directory);
    job_argv(&j[2], nothing);
    j[3].j.working_dir = "/no/such/directory";
    j[4].j.user = "nobody-knows-me";
    j[5].j.user = "0:no-such-group";
    for (size_t i = 0; i < ARRAY_LEN(j); i++)
        job_run(&w, &j[i]);
    assert_never_ran(&j[0], ENGINE_START_FAILED, "command not found: no-such-program");
    assert_never_ran(&j[1], ENGINE_START_FAILED, "/usr: Permission denied");
    assert_never_ran(&j[2], ENGINE_CREATE_FAILED, "no command");
    assert_never_ran(&j[3], ENGINE_CREATE_FAILED, "working directory /no/such/directory");
    assert_never_ran(&j[4], ENGINE_CREATE_FAILED, "\"nobody-knows-me\"");
    assert_never_ran(&j[5], ENGINE_CREATE_FAILED, "\"no-such-group\"");
    for (size_t i = 0; i < ARRAY_LEN(j); i++)
        job_remove(&w, &j[i]);
    world_close(&w);
}

static void
test_users_and_directories(void **state)
{
    static const struct {
        const char *user, *dir, *want;
    } cases[] = {
        {NULL, NULL, "0:0:/job\n"},
        {"nobody", "/tmp", "65534:65534:/tmp\n"},
        {"1234:5678", NULL, "1234:5678:/job\n"},
        {"12", "/job/a/b", "12:"},
        {NULL, "~", "0:0:/job\n"},
        {"7", "~/x/y", "7:7:/job/x/y\n"},
    };
    struct world w;

    UNUSED(state);
    world_open(&w);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct job j;
        auto_str out = STR_INIT(1);
        job_init(&w, &j, "echo $(id -u):$(id -g):$(pwd); touch /job/mine /tmp/mine");
        j.j.user = cases[i].user;
        j.j.working_dir = cases[i].dir;
        job_run(&w, &j);
        job_assert_exit(&j, 0);
        job_output(&j, SEGMENT_STDOUT, &out);
        if (!str_starts(out.ptr, cases[i].want))
            fail_msg("user %s: %s", cases[i].user, out.ptr);
        job_remove(&w, &j);
    }
    world_close(&w);
}

static void
test_much_output(void **state)
{
    struct world w;
    struct job j;
    auto_str out = STR_INIT(1);
    auto_str err = STR_INIT(1);
    enum { N = 50 * 1000 * 1000 };

    UNUSED(state);
    world_open(&w);
    job_init(&w, &j, "seq 1 1000000 >&2 & head -c 50000000 /dev/zero | tr '\\0' x; wait");
    int64_t before = clock_now_ms();
    job_run(&w, &j);
    print_message("50 MB of output in %lld ms\n", (long long)(clock_now_ms() - before));
    job_assert_exit(&j, 0);
    job_output(&j, SEGMENT_STDOUT, &out);
    assert_int_equal(out.len, N);
    assert_int_equal(strspn(out.ptr, "x"), N);
    job_output(&j, SEGMENT_STDERR, &err);
    char *p = err.ptr;
    for (long i = 1; i <= 1000000; i++)
        assert_int_equal(strtol(p, &p, 10), i);
    assert_string_equal(p, "\n");
    job_remove(&w, &j);
    world_close(&w);
}

/* Far past the depth that a recursive removal survives. */
static void
test_removal_of_a_deep_tree(void **state)
{
    struct world w;
    struct job j;

    UNUSED(state);
    world_open(&w);
    job_init(&w, &j,
             "i=0; while [ $i -lt 200 ]; do mkdir d .removed-$((i % 7)) && touch f && "
             "cd ./d || exit 1; i=$((i+1)); done; mkdir -m 000 /tmp/locked; "
             "ln -s /etc /tmp/link");
    job_run(&w, &j);
    job_assert_exit(&j, 0);
    job_remove(&w, &j);
    job_remove(&w, &j); /* idempotent */
    world_close(&w);
}

static void
test_dropped_output_is_marked(void **state)
{
    struct world w;
    struct error e = ERROR_INIT;
    struct output *o;
    bool end = false;
    int pair[2];
    int64_t length = 0;
    int64_t dropped = 0;
    struct job j;
    char chunk[1000];

    UNUSED(state);
    world_open(&w);
    job_init(&w, &j, "true");
    autofree char *log = xasprintf("%s/log", j.dir);
    assert_int_equal(output_open(log, 5000, &o, &e), 0);
    assert_int_equal(pipe(pair), 0);
    memset(chunk, 'x', sizeof(chunk));
    for (int i = 0; i < 20; i++) {
        assert_int_equal(write(pair[1], chunk, sizeof(chunk)), sizeof(chunk));
        assert_true(output_pump(o, pair[0], SEGMENT_STDOUT, &end));
    }
    close(pair[1]);
    assert_false(output_pump(o, pair[0], SEGMENT_STDOUT, &end));
    assert_true(end);
    output_close(o, &length, &dropped);
    close(pair[0]);
    auto_str out = STR_INIT(1);
    auto_str marks = STR_INIT(1);
    job_output(&j, SEGMENT_STDOUT, &out);
    job_output(&j, SEGMENT_MARK, &marks);
    assert_true(out.len >= 4000 && out.len <= 6000);
    assert_int_equal(out.len + (size_t)dropped, 20000);
    assert_int_equal(strtol(marks.ptr, NULL, 10), dropped);
    assert_non_null(strstr(marks.ptr, "bytes dropped"));
    world_close(&w);
}

static void
test_devices(void **state)
{
    /* Several GPUs share a control node, and a test may name a basic one. */
    static const char *const first[] = {"/dev/null", "/dev/cpu_dma_latency", NULL};
    static const char *const second[] = {"/dev/cpu_dma_latency", NULL};
    static const char *const missing[] = {"/dev/no-such-gpu0", NULL};
    static const char *const outside[] = {"/dev/../etc/passwd", NULL};
    struct engine_device two[] = {{"nvidia", "GPU-0", first},
                                  {"nvidia", "GPU-1", second}};
    struct engine_device bad[] = {{"nvidia", "GPU-2", missing}};
    struct engine_device worse[] = {{"nvidia", "GPU-3", outside}};
    struct world w;
    struct job j[3];
    auto_str out = STR_INIT(1);

    UNUSED(state);
    world_open(&w);
    for (size_t i = 0; i < ARRAY_LEN(j); i++)
        job_init(&w, &j[i],
                 "cd /dev; for f in *; do test -c $f -a ! -L $f && echo $f; "
                 "done; : < cpu_dma_latency");
    j[0].j.devices = two;
    j[0].j.n_devices = access("/dev/cpu_dma_latency", F_OK) == 0 ? 2 : 0;
    j[1].j.devices = bad;
    j[2].j.devices = worse;
    j[1].j.n_devices = j[2].j.n_devices = 1;
    for (size_t i = 0; i < ARRAY_LEN(j); i++)
        job_run(&w, &j[i]);
    job_output(&j[0], SEGMENT_STDOUT, &out);
    if (j[0].j.n_devices > 0) {
        job_assert_exit(&j[0], 0);
        assert_string_equal(out.ptr, "cpu_dma_latency\nfull\nnull\nrandom\ntty\nurandom"
                                     "\nzero\n");
    }
    assert_never_ran(&j[1], ENGINE_CREATE_FAILED, "/dev/no-such-gpu0");
    assert_never_ran(&j[2], ENGINE_CREATE_FAILED, "/dev/../etc/passwd");
    for (size_t i = 0; i < ARRAY_LEN(j); i++)
        job_remove(&w, &j[i]);
    world_close(&w);
}

static void
on_probe(void *arg, const struct engine_status *s)
{
    *(struct engine_status *)arg = *s;
}

static bool
was_probed(void *arg)
{
    return ((struct engine_status *)arg)->version[0] != '\0';
}

static void
test_probe(void **state)
{
    struct world w;
    struct engine_status s = {0};

    UNUSED(state);
    world_open(&w);
    engine_process.probe(w.en, on_probe, &s);
    world_until(&w, was_probed, &s, 10000);
    if (!s.available)
        fail_msg("%s: %s", s.reason, s.message);
    assert_string_equal(s.limitations, ""); /* as root there are none */
    assert_true(str_starts(s.version, "linux "));
    world_close(&w);
}

int
main(int argc, char **argv)
{
    if (argc > 1 && streq(argv[1], SUPERVISOR_FLAG))
        return supervisor_main(argc, argv);
    if (geteuid() != 0) {
        puts("SKIP: needs root");
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exit_codes),
        cmocka_unit_test(test_output_is_exact),
        cmocka_unit_test(test_signal),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_background_processes_end_with_main),
        cmocka_unit_test(test_stop_lets_finish),
        cmocka_unit_test(test_stop_kills_what_ignores_it),
        cmocka_unit_test(test_stop_at_once),
        cmocka_unit_test(test_stop_while_starting),
        cmocka_unit_test(test_start_failures),
        cmocka_unit_test(test_users_and_directories),
        cmocka_unit_test(test_much_output),
        cmocka_unit_test(test_removal_of_a_deep_tree),
        cmocka_unit_test(test_dropped_output_is_marked),
        cmocka_unit_test(test_devices),
        cmocka_unit_test(test_probe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
