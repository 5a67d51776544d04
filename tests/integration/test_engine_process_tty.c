/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs of the process engine with a terminal. */
#include "tests/integration/engine_process_world.h"

#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "io/segment.h"
#include "runner/supervisor/supervisor.h"

static void
tty_init(struct world *w, struct job *j, const char *script)
{
    job_init(w, j, script);
    j->j.tty_columns = 80;
    j->j.tty_rows = 24;
}

/* Its stdout is exactly this; on a terminal there is no other stream. */
static void
expect(struct world *w, struct job *j, const char *want)
{
    auto_str out = STR_INIT(1);
    auto_str err = STR_INIT(1);

    job_run(w, j);
    job_output(j, SEGMENT_STDOUT, &out);
    job_output(j, SEGMENT_STDERR, &err);
    assert_string_equal(out.ptr, want);
    assert_int_equal(err.len, 0);
    job_assert_exit(j, 0);
    job_remove(w, j);
}

/* The slave is the user's, has a name inside and is what /dev/tty means; the process
 * leads the session and its group is in the foreground. */
static void
test_controlling_terminal(void **state)
{
    struct world w;
    struct job j;

    UNUSED(state);
    world_open(&w);
    tty_init(&w, &j,
             "tty; test -t 0 && test -t 1 && test -t 2 && echo three; echo err >&2;"
             "printf 'a\\tb\\n'; stty size; echo $TERM; echo by name >/dev/tty;"
             "stat -c '%u %g %a' $(tty);"
             "read pid comm st ppid pgrp sid nr tpgid rest </proc/$$/stat;"
             "test $sid = $pid && test $tpgid = $pid && echo leads");
    j.j.user = "1234";
    expect(&w, &j,
           "/dev/pts/0\r\nthree\r\nerr\r\na\tb\r\n24 80\r\nxterm\r\nby name\r\n"
           "1234 5 620\r\nleads\r\n");
    world_close(&w);
}

static void
test_size_and_type(void **state)
{
    struct world w;
    struct job j;

    UNUSED(state);
    world_open(&w);
    tty_init(&w, &j, "stty size; echo $TERM; stty -opost; printf 'raw\\n'");
    j.j.tty_columns = 132;
    j.j.tty_rows = 50;
    j.env[1] = "TERM=vt100";
    expect(&w, &j, "50 132\r\nvt100\r\nraw\n");
    /* Without one there is none. */
    job_init(&w, &j, "tty; echo ${TERM-unset}; (: </dev/tty) 2>/dev/null || echo none");
    job_run(&w, &j);
    auto_str out = STR_INIT(1);
    job_output(&j, SEGMENT_STDOUT, &out);
    assert_string_equal(out.ptr, "not a tty\nunset\nnone\n");
    job_remove(&w, &j);
    world_close(&w);
}

/* Everything that was written is in the log, whatever the job does with its end. */
static void
test_all_of_the_output(void **state)
{
    struct world w;
    struct job j;
    auto_str want = STR_INIT(1 << 20);

    UNUSED(state);
    world_open(&w);
    for (int i = 1; i <= 30000; i++)
        str_addf(&want, "%d\r\n", i);
    tty_init(&w, &j, "seq 1 30000");
    expect(&w, &j, want.ptr);
    tty_init(&w, &j,
             "echo one; exec </dev/null >/dev/null 2>&1; sleep 0.2; echo two >/dev/tty");
    expect(&w, &j, "one\r\ntwo\r\n");
    world_close(&w);
}

/* A process that stays on the terminal delays nothing and ends with the job. */
static void
test_left_open(void **state)
{
    struct world w;
    struct job j;

    UNUSED(state);
    world_open(&w);
    tty_init(&w, &j,
             "(trap '' HUP; exec sleep $MARK) & setsid sleep $MARK </dev/null &"
             "sleep 0.1; echo gone");
    expect(&w, &j, "gone\r\n");
    assert_int_equal(count_sleepers(), 0);
    world_close(&w);
}

static void
test_agent_restart(void **state)
{
    struct world w;
    struct job j;
    struct job again;
    auto_str out = STR_INIT(1);

    UNUSED(state);
    world_open(&w);
    tty_init(&w, &j,
             "trap 'echo end; exit 4' TERM; echo ready; while :; do sleep 60 & wait; "
             "done");
    job_launch(&w, &j);
    job_wait_started(&w, &j);
    job_wait_output(&w, &j, "ready");
    job_again(&again, &j);
    world_engine_close(&w);
    world_engine_open(&w);
    job_adopt(&w, &again);
    job_wait_started(&w, &again);
    job_stop(&w, &again, 30000);
    job_wait_exit(&w, &again);
    job_assert_exit(&again, 4);
    job_output(&again, SEGMENT_STDOUT, &out);
    assert_string_equal(out.ptr, "ready\r\nend\r\n");
    job_remove(&w, &again);
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
        cmocka_unit_test(test_controlling_terminal), cmocka_unit_test(test_size_and_type),
        cmocka_unit_test(test_all_of_the_output),    cmocka_unit_test(test_left_open),
        cmocka_unit_test(test_agent_restart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
