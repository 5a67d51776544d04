/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process engine on the real kernel: how jobs end, their output, stopping them, and
 * what is left behind. Started as `--supervise ...` this program is the supervisor.
 */
#include "engine_process_world.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "io/segment.h"
#include "supervisor/record.h"
#include "supervisor/supervisor.h"

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
    j.env[0] = "GREETING=hello";
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
