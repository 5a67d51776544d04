/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Jobs that behave as badly as they can inside their walls. Each ends as specified,
 * leaves nothing behind, and a neighbour that ran all the while is unharmed. (Started as
 * `--supervise ...` this program is the supervisor.)
 */
#include "tests/integration/engine_process_world.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "io/segment.h"
#include "runner/supervisor/record.h"
#include "runner/supervisor/supervisor.h"

struct street {
    struct world w;
    struct job neighbour;
};

static void
street_open(struct street *s)
{
    world_open(&s->w);
    job_init(&s->w, &s->neighbour,
             "echo mine > /job/file; trap 'cat /job/file; exit 21' TERM; echo ready; "
             "while :; do sleep 0.05; done");
    s->neighbour.j.memory_limit_mib = 64;
    job_launch(&s->w, &s->neighbour);
    job_wait_output(&s->w, &s->neighbour, "ready");
}

/* The neighbour still answers, and nothing of anybody is left. */
static void
street_close(struct street *s)
{
    auto_str out = STR_INIT(1);

    assert_int_equal(s->neighbour.n_exited, 0);
    job_stop(&s->w, &s->neighbour, 20000);
    job_wait_exit(&s->w, &s->neighbour);
    job_assert_exit(&s->neighbour, 21);
    job_output(&s->neighbour, SEGMENT_STDOUT, &out);
    assert_string_equal(out.ptr, "ready\nmine\n");
    job_remove(&s->w, &s->neighbour);
    assert_int_equal(count_sleepers(), 0);
    world_close(&s->w);
}

static void
test_daemon(void **state)
{
    struct street s;
    struct job j;

    UNUSED(state);
    street_open(&s);
    job_init(
        &s.w, &j,
        "(setsid sh -c 'trap \"\" TERM HUP INT; exec >/dev/null 2>&1 </dev/null; cd /; "
        "(sleep $MARK & sleep $MARK &) & sleep $MARK' &) & sleep 0.3; exit 8");
    job_run(&s.w, &j);
    job_assert_exit(&j, 8);
    assert_int_equal(count_sleepers(), 0);
    job_remove(&s.w, &j);
    street_close(&s);
}

static void
test_fork_bomb(void **state)
{
    struct street s;
    struct job j;

    UNUSED(state);
    street_open(&s);
    job_init(&s.w, &j,
             "echo ready; trap '' TERM; b() { b 2>/dev/null & b 2>/dev/null & "
             "sleep $MARK; }; b; sleep $MARK");
    j.j.memory_limit_mib = 48;
    j.j.cpu_limit_milli = 300;
    job_launch(&s.w, &j);
    job_wait_output(&s.w, &j, "ready");
    /* The neighbour answers while it burns: a job may start and end beside it. */
    struct job quick;
    job_init(&s.w, &quick, "exit 4");
    job_run(&s.w, &quick);
    job_assert_exit(&quick, 4);
    job_remove(&s.w, &quick);
    job_stop(&s.w, &j, 300);
    job_wait_exit(&s.w, &j);
    assert_int_equal(j.result.signal, SIGKILL);
    job_remove(&s.w, &j);
    street_close(&s);
}

/* The disk on which jobs, logs and records lie is full to the last byte: the end is told
 * all the same. */
static void
test_full_disk(void **state)
{
    struct street s;
    struct job j;
    auto_str out = STR_INIT(1);

    UNUSED(state);
    world_open(&s.w);
    autofree char *jobs = fs_join(s.w.agent, "jobs");
    assert_int_equal(mount("tmpfs", jobs, "tmpfs", 0, "size=8m"), 0);
    job_init(&s.w, &j,
             "head -c 100000000 /dev/zero > /job/full; head -c 100000 /dev/zero > "
             "/job/rest; : > /job/inode; head -c 65536 /dev/zero; exit 9");
    job_run(&s.w, &j);
    job_assert_exit(&j, 9);
    job_output(&j, SEGMENT_STDERR, &out);
    job_remove(&s.w, &j);
    /* Its room is free again. */
    struct job next;
    job_init(&s.w, &next, "head -c 1000000 /dev/zero > /job/fits && echo fits");
    job_run(&s.w, &next);
    job_assert_exit(&next, 0);
    job_remove(&s.w, &next);
    assert_int_equal(umount2(jobs, MNT_DETACH), 0);
    world_close(&s.w);
}

/* Over its bound: SIGTERM, a moment of grace, and the reason; the truth of the exit
 * stays. The neighbour's files are nobody's business. */
static void
test_disk_quota(void **state)
{
    struct street s;
    struct job j;
    struct job small;

    UNUSED(state);
    street_open(&s);
    job_init(&s.w, &j,
             "trap 'exit 12' TERM; mkdir -p /job/a/b; head -c 5M /dev/zero > /job/a/b/x; "
             "head -c 5M /dev/zero > /tmp/y; echo full; while :; do sleep 0.05; done");
    j.j.disk_limit_mib = 8; /* more than either directory holds */
    j.j.stop_ms = 20000;
    /* Holes, names of the same file, and what lies elsewhere cost nothing. */
    job_init(&s.w, &small,
             "trap 'exit 13' TERM; truncate -s 1G /job/hole; head -c 5M /dev/zero > "
             "/job/x; for i in 1 2 3 4; do ln /job/x /job/x$i; done; ln -s / /job/root; "
             "head -c 5M /dev/zero > /dev/shm/z; echo full; while :; do sleep 0.05; "
             "done");
    small.j.disk_limit_mib = 8;
    job_launch(&s.w, &small);
    job_wait_output(&s.w, &small, "full");
    job_run(&s.w, &j);
    assert_int_equal(j.result.reason, ENGINE_DISK_QUOTA);
    assert_true(j.result.started);
    assert_int_equal(j.result.exit_code, 12);
    assert_int_equal(j.result.signal, 0);
    assert_non_null(strstr(j.result.message, "more than its limit of 8 MiB"));
    job_remove(&s.w, &j);
    assert_int_equal(small.n_exited, 0);
    job_stop(&s.w, &small, 20000);
    job_wait_exit(&s.w, &small);
    job_assert_exit(&small, 13);
    job_remove(&s.w, &small);
    street_close(&s);
}

/* One that ignores SIGTERM and goes on writing does not get its whole grace; one that
 * hides its files where nothing measures them is stopped as well. */
static void
test_disk_quota_hostile(void **state)
{
    struct street s;
    struct job j;
    struct job deep;

    UNUSED(state);
    street_open(&s);
    job_init(&s.w, &j,
             "trap '' TERM; i=0; while :; do i=$((i+1)); head -c 1M /dev/zero > "
             "/job/x$i; done");
    j.j.disk_limit_mib = 4;
    j.j.stop_ms = 600000;
    job_init(&s.w, &deep,
             "i=0; while [ $i -lt 200 ]; do mkdir d; cd d; i=$((i+1)); done; echo ready; "
             "sleep $MARK");
    deep.j.disk_limit_mib = 1024;
    job_launch(&s.w, &deep);
    job_run(&s.w, &j);
    assert_int_equal(j.result.reason, ENGINE_DISK_QUOTA);
    assert_int_equal(j.result.signal, SIGKILL);
    job_remove(&s.w, &j);
    job_wait_exit(&s.w, &deep);
    assert_int_equal(deep.result.reason, ENGINE_DISK_QUOTA);
    assert_non_null(strstr(deep.result.message, "nested more than 128 deep"));
    job_remove(&s.w, &deep);
    street_close(&s);
}

static void
test_no_newline(void **state)
{
    struct street s;
    struct job j;
    struct error e = ERROR_INIT;
    struct record_exit x;
    bool all = getenv("DROVER_LONG") != NULL;
    int64_t mib = all ? 1024 : 96;
    char script[128];

    UNUSED(state);
    street_open(&s);
    snprintf(script, sizeof(script), "head -c %lldM /dev/zero; exit 2", (long long)mib);
    job_init(&s.w, &j, script);
    job_run(&s.w, &j);
    job_assert_exit(&j, 2);
    assert_int_equal(record_exit_read(j.dir, &x, &e), 0);
    assert_true(x.log_length + x.dropped_bytes >= mib * 1024 * 1024);
    /* Frames cost little; what was dropped (the spool's bound) is counted exactly. */
    assert_true(x.log_length < mib * 1024 * 1024 * 101 / 100);
    job_remove(&s.w, &j);
    street_close(&s);
}

/* Processor time of a process so far, in ticks. */
static long
cpu_ticks(pid_t pid)
{
    struct error e = ERROR_INIT;
    auto_str text = STR_INIT(4096);
    char path[64];
    long user;
    long sys;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    assert_int_equal(fs_read(path, &text, &e), 0);
    const char *p = strrchr(text.ptr, ')');
    for (int field = 2; field < 14; field++)
        p = strchr(p + 1, ' ');
    char *end;
    user = strtol(p, &end, 10);
    sys = strtol(end, NULL, 10);
    return user + sys;
}

static void
test_closes_its_output(void **state)
{
    struct street s;
    struct job j;

    UNUSED(state);
    street_open(&s);
    job_init(&s.w, &j,
             "echo ready; exec >&- 2>&- <&-; trap 'exit 6' TERM; while :; do sleep 0.1; "
             "done");
    job_launch(&s.w, &j);
    job_wait_output(&s.w, &j, "ready");
    pid_t supervisor = job_supervisor_pid(&j);
    long before = cpu_ticks(supervisor);
    struct job slow;
    job_init(&s.w, &slow, "sleep 1");
    job_run(&s.w, &slow);
    job_remove(&s.w, &slow);
    assert_true(cpu_ticks(supervisor) - before < 20); /* it does not spin */
    job_stop(&s.w, &j, 20000);
    job_wait_exit(&s.w, &j);
    job_assert_exit(&j, 6);
    job_remove(&s.w, &j);
    street_close(&s);
}

static void
test_zombies(void **state)
{
    struct street s;
    struct job j;

    UNUSED(state);
    street_open(&s);
    /* A parent that never waits, and orphans that end: init reaps those. */
    job_init(&s.w, &j,
             "for i in 1 2 3 4 5 6 7 8; do true & done; (sh -c 'true & true & exec sleep "
             "$MARK' &) ; echo ready; exec sleep 0.5");
    job_run(&s.w, &j);
    job_assert_exit(&j, 0);
    assert_int_equal(count_sleepers(), 0);
    job_remove(&s.w, &j);
    street_close(&s);
}

static void
test_eats_memory(void **state)
{
    struct street s;
    struct job j;

    UNUSED(state);
    street_open(&s);
    job_init(&s.w, &j,
             "(x=x; while :; do x=$x$x; done) & head -c 500000000 /dev/zero > "
             "/dev/shm/full; wait; exit 1");
    j.j.memory_limit_mib = 32;
    j.j.shm_mib = 1024;
    job_run(&s.w, &j);
    assert_true(j.result.started);
    if (j.result.reason != ENGINE_OOM)
        job_assert_exit(&j, 1);
    assert_non_null(
        strstr(j.result.message, "by the memory limit of the job (limit 32 MiB"));
    job_remove(&s.w, &j);
    street_close(&s);
}

int
main(int argc, char **argv)
{
    if (argc > 1 && streq(argv[1], SUPERVISOR_FLAG))
        return supervisor_main(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_daemon),
        cmocka_unit_test(test_fork_bomb),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_disk_quota),
        cmocka_unit_test(test_disk_quota_hostile),
        cmocka_unit_test(test_no_newline),
        cmocka_unit_test(test_closes_its_output),
        cmocka_unit_test(test_zombies),
        cmocka_unit_test(test_eats_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
