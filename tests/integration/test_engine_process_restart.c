/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process engine when parts of it die: the agent (restart, kill -9 at any moment),
 * the supervisor, the machine. No job starts twice, and each ends with a true report.
 * Started as `--supervise ...` this program is the supervisor, as `--agent <root> <uid>`
 * an agent that brings one job to its end.
 */
#include "tests/integration/engine_process_world.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/id.h"
#include "base/mem.h"
#include "io/proc.h"
#include "io/segment.h"
#include "runner/supervisor/record.h"
#include "runner/supervisor/renewed.h"
#include "runner/supervisor/supervisor.h"

enum { ROUNDS = 20 };

#define SIDE_EFFECT "echo start >> /job/starts; "

static int
count_starts(const struct job *j)
{
    struct error e = ERROR_INIT;
    auto_str text = STR_INIT(4096);
    autofree char *path = fs_join(j->dir, "work/starts");
    int n = 0;

    if (fs_read(path, &text, &e) != 0)
        return 0;
    for (const char *p = text.ptr; (p = strchr(p, '\n')) != NULL; p++)
        n++;
    return n;
}

static void
restart_agent(struct world *w)
{
    world_engine_close(w);
    world_engine_open(w);
}

static void
test_adopt_running(void **state)
{
    struct world w;
    struct job j;
    struct job again;

    UNUSED(state);
    world_open(&w);
    job_init(&w, &j,
             SIDE_EFFECT "trap 'echo end; exit 4' TERM; echo ready; while :; do sleep "
                         "60 & wait; done");
    job_launch(&w, &j);
    job_wait_started(&w, &j);
    job_wait_output(&w, &j, "ready");
    job_again(&again, &j);
    restart_agent(&w);
    job_adopt(&w, &again);
    job_wait_started(&w, &again);
    assert_int_equal(again.started_ns, j.started_ns);
    assert_int_equal(again.n_exited, 0);
    job_stop(&w, &again, 30000);
    job_wait_exit(&w, &again);
    job_assert_exit(&again, 4);
    assert_int_equal(count_starts(&again), 1);
    job_remove(&w, &again);
    world_close(&w);
}

static void
test_adopt_before_the_start(void **state)
{
    struct world w;
    struct job j;
    struct job again;

    UNUSED(state);
    world_open(&w);
    job_init(&w, &j, SIDE_EFFECT "exit 0");
    job_adopt(&w, &j);
    job_wait_exit(&w, &j);
    assert_true(j.result.never_started);
    assert_false(j.result.started);
    /* Now it may be launched, by this agent or the next one. */
    job_again(&again, &j);
    restart_agent(&w);
    job_adopt(&w, &again);
    job_wait_exit(&w, &again);
    assert_true(again.result.never_started);
    again.n_exited = 0;
    job_run(&w, &again);
    job_assert_exit(&again, 0);
    assert_int_equal(count_starts(&again), 1);
    job_remove(&w, &again);
    world_close(&w);
}

static void
test_adopt_after_the_exit(void **state)
{
    struct world w;
    struct job j;
    struct job again;

    UNUSED(state);
    world_open(&w);
    job_init(&w, &j, SIDE_EFFECT "echo out; exit 9");
    job_launch(&w, &j);
    job_wait_started(&w, &j);
    pid_t supervisor = job_supervisor_pid(&j);
    job_again(&again, &j);
    world_engine_close(&w);
    pid_wait_gone(supervisor, 10000);
    world_engine_open(&w);
    job_adopt(&w, &again);
    job_wait_exit(&w, &again);
    job_assert_exit(&again, 9);
    assert_int_equal(again.n_started, 1);
    /* Launching what has ended reports the end, again without a start. */
    again.n_exited = again.n_started = 0;
    job_run(&w, &again);
    job_assert_exit(&again, 9);
    assert_int_equal(count_starts(&again), 1);
    job_remove(&w, &again);
    /* So does an agent that had forgotten that it removed it. */
    struct job late;
    job_again(&late, &j);
    job_adopt(&w, &late);
    job_wait_exit(&w, &late);
    job_assert_exit(&late, 9);
    job_remove(&w, &late);
    world_close(&w);
}

static void
test_supervisor_killed(void **state)
{
    struct world w;
    struct job j;

    UNUSED(state);
    world_open(&w);
    job_init(&w, &j,
             SIDE_EFFECT "setsid sleep $MARK & echo ready; while :; do sleep $MARK; "
                         "done");
    job_launch(&w, &j);
    job_wait_output(&w, &j, "ready");
    pid_t init = job_init_pid(&j);
    kill(job_supervisor_pid(&j), SIGKILL);
    job_wait_exit(&w, &j);
    assert_int_equal(j.result.reason, ENGINE_LOST);
    assert_true(j.result.started);
    assert_false(pid_exists(init));
    assert_int_equal(count_sleepers(), 0);
    job_remove(&w, &j);
    world_close(&w);
}

static void
test_supervisor_killed_without_an_agent(void **state)
{
    struct world w;
    struct job j;
    struct job again;

    UNUSED(state);
    world_open(&w);
    job_init(&w, &j, SIDE_EFFECT "echo ready; while :; do sleep $MARK; done");
    job_launch(&w, &j);
    job_wait_output(&w, &j, "ready");
    job_again(&again, &j);
    pid_t supervisor = job_supervisor_pid(&j);
    world_engine_close(&w);
    kill(supervisor, SIGKILL);
    world_engine_open(&w);
    job_adopt(&w, &again);
    job_wait_exit(&w, &again);
    assert_int_equal(again.result.reason, ENGINE_LOST);
    assert_int_equal(count_sleepers(), 0);
    again.n_exited = 0;
    job_run(&w, &again); /* not started again */
    assert_int_equal(again.result.reason, ENGINE_LOST);
    assert_int_equal(count_starts(&again), 1);
    job_remove(&w, &again);
    world_close(&w);
}

/* What the agent writes at each acknowledged renewal. */
static void
write_renewed(const struct world *w, int64_t ago_ms, int64_t lost_after_ms)
{
    struct error e = ERROR_INIT;
    char boot_id[RECORD_BOOT_ID];
    autofree char *path = fs_join(w->agent, RENEWED_FILE);
    struct renewed r = {.sent_boot_ms = clock_boot_ms() - ago_ms,
                        .lost_after_ms = lost_after_ms};

    record_boot_id(boot_id);
    assert_int_equal(renewed_write(path, boot_id, &r, &e), 0);
}

/* No agent lives, nobody renews: the supervisor ends the job that may be replaced, with
 * the grace that it was promised, and no other. */
static void
test_dead_man_without_an_agent(void **state)
{
    struct world w;
    struct job j[2];
    struct job again[2];

    UNUSED(state);
    world_open(&w);
    write_renewed(&w, 0, 2500);
    for (size_t i = 0; i < ARRAY_LEN(j); i++) {
        job_init(&w, &j[i],
                 "trap 'echo end; exit 6' TERM; echo ready; while :; do sleep 60 & wait; "
                 "done");
        j[i].j.interruptible = i == 0;
        j[i].j.stop_ms = 20000;
        job_launch(&w, &j[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(j); i++) {
        job_wait_started(&w, &j[i]);
        job_wait_output(&w, &j[i], "ready");
        job_again(&again[i], &j[i]);
    }
    world_engine_close(&w);
    pid_wait_gone(job_supervisor_pid(&j[0]), 20000);
    assert_true(pid_exists(job_supervisor_pid(&j[1])));
    world_engine_open(&w);
    for (size_t i = 0; i < ARRAY_LEN(j); i++)
        job_adopt(&w, &again[i]);
    job_wait_exit(&w, &again[0]);
    job_assert_exit(&again[0], 6);
    assert_non_null(strstr(again[0].result.message, "had not been reached for 2 s"));
    job_wait_started(&w, &again[1]);
    assert_int_equal(again[1].n_exited, 0);
    job_stop(&w, &again[1], 20000);
    job_wait_exit(&w, &again[1]);
    assert_string_equal(again[1].result.message, "");
    for (size_t i = 0; i < ARRAY_LEN(j); i++)
        job_remove(&w, &again[i]);
    world_close(&w);
}

/* Renewed in time, however short L is, it lives. */
static void
test_dead_man_renewed(void **state)
{
    struct world w;
    struct job j;

    UNUSED(state);
    world_open(&w);
    write_renewed(&w, 0, 1500);
    job_init(&w, &j, "echo ready; sleep 2.5; echo alive; exit 3");
    j.j.interruptible = true;
    job_launch(&w, &j);
    job_wait_output(&w, &j, "ready");
    write_renewed(&w, 0, 60000);
    job_wait_exit(&w, &j);
    job_assert_exit(&j, 3);
    job_remove(&w, &j);
    world_close(&w);
}

static void
test_reboot(void **state)
{
    static const char other_boot[] = "00000000-0000-0000-0000-000000000000";
    struct world w;
    struct job j;
    struct error e = ERROR_INIT;
    struct record_state s = {.supervisor = {1, 1},
                             .init = {1, 1},
                             .phase = RECORD_RUNNING,
                             .started_ns = 1700000000000000000};

    UNUSED(state);
    world_open(&w);
    memcpy(s.boot_id, other_boot, sizeof(other_boot));
    job_init(&w, &j, SIDE_EFFECT);
    /* The claim is not forced to disk, so power may have cut it away. */
    assert_int_equal(record_prepare(j.dir, &e), 0);
    assert_int_equal(record_state_write(j.dir, &s, true, &e), 0);
    job_adopt(&w, &j);
    job_wait_exit(&w, &j);
    assert_int_equal(j.result.reason, ENGINE_REBOOTED);
    assert_true(j.result.started);
    assert_true(j.result.started_ns == s.started_ns);
    job_remove(&w, &j);
    world_close(&w);
}

/* A power failure can leave files without their bytes. */
static void
test_records_cut_by_power_failure(void **state)
{
    struct world w;
    struct job claimed;
    struct job started;
    struct error e = ERROR_INIT;

    UNUSED(state);
    world_open(&w);
    job_init(&w, &claimed, SIDE_EFFECT "exit 0");
    job_init(&w, &started, SIDE_EFFECT "exit 0");
    assert_int_equal(record_prepare(claimed.dir, &e), 0);
    assert_int_equal(record_prepare(started.dir, &e), 0);
    autofree char *claim = fs_join(claimed.dir, "sup/claim");
    autofree char *claim2 = fs_join(started.dir, "sup/claim");
    autofree char *state2 = fs_join(started.dir, "sup/state.json");
    assert_int_equal(fs_write_atomic(claim, "", 0, 0600, &e), 0);
    assert_int_equal(fs_write_atomic(claim2, "", 0, 0600, &e), 0);
    assert_int_equal(fs_write_atomic(state2, "", 0, 0600, &e), 0);
    /* `starting` is forced to disk: without a state nothing was started. */
    job_adopt(&w, &claimed);
    job_wait_exit(&w, &claimed);
    assert_true(claimed.result.never_started);
    claimed.n_exited = 0;
    job_run(&w, &claimed);
    job_assert_exit(&claimed, 0);
    assert_int_equal(count_starts(&claimed), 1);
    job_adopt(&w, &started);
    job_wait_exit(&w, &started);
    assert_int_equal(started.result.reason, ENGINE_REBOOTED);
    assert_true(started.result.started);
    job_remove(&w, &claimed);
    job_remove(&w, &started);
    world_close(&w);
}

static void
test_sweep(void **state)
{
    struct world w;
    struct job known;
    struct job lost;
    struct job ended;
    struct stat st;

    UNUSED(state);
    world_open(&w);
    job_init(&w, &known, "echo ready; sleep $MARK");
    job_init(&w, &lost, "echo ready; sleep $MARK");
    job_init(&w, &ended, "echo over");
    job_run(&w, &ended);
    job_launch(&w, &known);
    job_launch(&w, &lost);
    job_wait_output(&w, &known, "ready");
    job_wait_output(&w, &lost, "ready");
    pid_t init = job_init_pid(&lost);
    restart_agent(&w);
    struct job again;
    job_again(&again, &known);
    const char *const uids[] = {known.uid, NULL};
    engine_process.sweep(w.en, uids);
    int64_t until = clock_now_ms() + 10000;
    while ((stat(lost.dir, &st) == 0 || stat(ended.dir, &st) == 0) &&
           clock_now_ms() < until)
        loop_turn(w.loop, 50);
    assert_int_equal(stat(lost.dir, &st), -1);
    assert_int_equal(stat(ended.dir, &st), -1);
    assert_false(pid_exists(init));
    job_adopt(&w, &again);
    job_wait_started(&w, &again);
    assert_true(pid_exists(job_init_pid(&again)));
    job_stop(&w, &again, 0);
    job_wait_exit(&w, &again);
    job_remove(&w, &again);
    world_close(&w);
}

/* ---- kill -9 at random moments ---- */

/* An agent as the runner is one: adopt; launch what provably never started. */
static int
agent_main(const char *root, const char *uid)
{
    struct error e = ERROR_INIT;
    struct world w = {0};
    struct job j;

    snprintf(w.root, sizeof(w.root), "%s", root);
    snprintf(w.agent, sizeof(w.agent), "%s/agent", root);
    w.masks[0] = w.root;
    if (loop_new(&w.loop, &e) != 0)
        return 1;
    world_engine_open(&w);
    job_init(&w, &j, SIDE_EFFECT "echo out; exit 6");
    rmdir(j.dir);
    snprintf(j.uid, sizeof(j.uid), "%s", uid);
    snprintf(j.dir, sizeof(j.dir), "%s/jobs/%s", w.agent, uid);
    job_adopt(&w, &j);
    job_wait_exit(&w, &j);
    if (j.result.never_started) {
        j.n_exited = 0;
        job_run(&w, &j);
    }
    return 0;
}

static pid_t
spawn_agent(const struct world *w, const struct job *j)
{
    const char *argv[] = {"/proc/self/exe", "--agent", w->root, j->uid, NULL};
    struct proc_opts opts = PROC_OPTS_INIT;
    struct error e = ERROR_INIT;
    pid_t pid;

    opts.argv = argv;
    opts.stderr_fd = 2;
    if (proc_spawn(&opts, &pid, &e) != 0)
        fail_msg("%s", e.msg);
    return pid;
}

/* Waits until the process ends or the time is over; then kills it. */
static void
let_live(pid_t pid, int64_t us)
{
    autoclose int fd = pidfd_open(pid, 0);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    struct timespec ts = {us / 1000000, us % 1000000 * 1000};

    ppoll(&p, 1, &ts, NULL);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static void
finish_after_kills(struct world *w, struct job *j)
{
    job_adopt(w, j);
    job_wait_exit(w, j);
    if (j->result.never_started) {
        j->n_exited = 0;
        job_run(w, j);
    }
}

static void
test_agent_killed_at_random(void **state)
{
    struct world w;
    int survived[2] = {0};

    UNUSED(state);
    world_open(&w);
    for (int round = 0; round < ROUNDS; round++) {
        struct job j;
        auto_str out = STR_INIT(1);
        job_init(&w, &j, SIDE_EFFECT "echo out; exit 6");
        int kills = 1 + (int)id_uniform(4);
        for (int i = 0; i < kills; i++)
            let_live(spawn_agent(&w, &j), id_uniform(1 + id_uniform(60000)));
        bool begun =
            record_claim_read(j.dir, &(struct record_claim){0}, &(struct error){0}) == 0;
        survived[begun]++;
        finish_after_kills(&w, &j);
        job_assert_exit(&j, 6);
        assert_int_equal(count_starts(&j), 1);
        job_output(&j, SEGMENT_STDOUT, &out);
        assert_string_equal(out.ptr, "out\n");
        job_remove(&w, &j);
    }
    print_message("killed before the claim: %d, after: %d\n", survived[0], survived[1]);
    world_close(&w);
}

static void
test_supervisor_killed_at_random(void **state)
{
    struct world w;
    int ends[3] = {0};
    struct job first;

    UNUSED(state);
    world_open(&w);
    /* How long it takes on this machine today decides when to kill. */
    int64_t begun = clock_now_ns();
    job_init(&w, &first, "exit 6");
    job_run(&w, &first);
    int64_t whole_ns = clock_now_ns() - begun;
    job_remove(&w, &first);
    for (int round = 0; round < ROUNDS * 2; round++) {
        struct job j;
        struct record_claim c;
        struct error e = ERROR_INIT;
        job_init(&w, &j, SIDE_EFFECT "exit 6");
        job_launch(&w, &j);
        int64_t until =
            clock_now_ns() +
            id_uniform((uint32_t)(whole_ns < 1000000000 ? whole_ns * 3 / 2 : 1500000000));
        while (clock_now_ns() < until || record_claim_read(j.dir, &c, &e) != 0)
            loop_turn(w.loop, 1);
        autoclose int fd = record_proc_open(&c.supervisor);
        if (fd >= 0)
            pidfd_send_signal(fd, SIGKILL, NULL, 0);
        job_wait_exit(&w, &j);
        int starts = count_starts(&j);
        if (j.result.reason == ENGINE_EXITED) {
            assert_int_equal(starts, 1);
            ends[0]++;
        } else if (j.result.reason == ENGINE_LOST) {
            assert_true(starts <= 1 && j.result.started);
            ends[1]++;
        } else {
            assert_int_equal(j.result.reason, ENGINE_START_FAILED);
            assert_int_equal(starts, 0);
            ends[2]++;
        }
        job_remove(&w, &j);
    }
    print_message("exited %d, lost %d, never started %d\n", ends[0], ends[1], ends[2]);
    world_close(&w);
}

int
main(int argc, char **argv)
{
    if (argc > 1 && streq(argv[1], SUPERVISOR_FLAG))
        return supervisor_main(argc, argv);
    if (argc == 4 && streq(argv[1], "--agent"))
        return agent_main(argv[2], argv[3]);
    if (geteuid() != 0) {
        puts("SKIP: needs root");
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_adopt_running),
        cmocka_unit_test(test_adopt_before_the_start),
        cmocka_unit_test(test_adopt_after_the_exit),
        cmocka_unit_test(test_supervisor_killed),
        cmocka_unit_test(test_supervisor_killed_without_an_agent),
        cmocka_unit_test(test_dead_man_without_an_agent),
        cmocka_unit_test(test_dead_man_renewed),
        cmocka_unit_test(test_reboot),
        cmocka_unit_test(test_records_cut_by_power_failure),
        cmocka_unit_test(test_sweep),
        cmocka_unit_test(test_agent_killed_at_random),
        cmocka_unit_test(test_supervisor_killed_at_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
