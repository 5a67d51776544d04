/* SPDX-License-Identifier: Apache-2.0 */
/* The docker engine on Podman's socket (run it by hack/with-podman). */
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "integration/docker_fixture.h"
#include "io/segment.h"

static void
outcomes(void **state)
{
    static const char *const env[] = {"GREETING=hi there", NULL};
    static const struct {
        const char *script;
        enum engine_reason reason;
        int exit_code, signal;
        const char *out;
    } cases[] = {
        {"echo $GREETING; pwd; id -u", ENGINE_EXITED, 0, 0,
         "hi there\n/home/worker\n1234\n"},
        {"exit 3", ENGINE_EXITED, 3, 0, ""},
        {"kill -9 $$", ENGINE_SIGNALED, 137, SIGKILL, ""},
        {"seq 1 5", ENGINE_EXITED, 0, 0, "1\n2\n3\n4\n5\n"},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct job *job = job_new(f, cases[i].script);
        job->j.env = env;
        job->j.user = "worker";
        job->j.working_dir = "/home/worker";
        run(f, job);
        if (job->result.reason != cases[i].reason)
            fail_msg("%s: %s", cases[i].script, job->result.message);
        assert_int_equal(job->result.exit_code, cases[i].exit_code);
        assert_int_equal(job->result.signal, cases[i].signal);
        assert_log(job, 0, cases[i].out);
        remove_job(f, job);
    }
}

static void
cannot_start(void **state)
{
    struct fixture *f = *state;
    struct job *job = job_new(f, "true");
    job->argv[0] = "/no/such/program";
    run(f, job);
    if (job->result.reason != ENGINE_START_FAILED) {
        auto_str out = STR_INIT(1 << 16);
        read_log(job, 0, &out);
        fail_msg("exit code %d, \"%s\", log \"%s\"", job->result.exit_code,
                 job->result.message, out.ptr);
    }
    assert_non_null(strstr(job->result.message, "No such file"));
    remove_job(f, job);
    job = job_new(f, "true");
    job->j.image = "127.0.0.1:1/none/such:1";
    run(f, job);
    assert_int_equal(job->result.reason, ENGINE_IMAGE_PULL);
    remove_job(f, job);
}

static void
adopt_and_stop(void **state)
{
    struct fixture *f = *state;
    struct job *job = job_new(f, "trap 'echo bye; exit 7' TERM; echo up; "
                                 "while :; do sleep 0.1; done");
    launch(f, job);
    /* Output may come before the start is told. */
    wait_for(f, job->n_started == 1 && log_length(job) > 0);
    engine_docker.close(f->en);
    engine_up(f, NULL);
    engine_docker.adopt(f->en, &job->j);
    wait_for(f, job->n_started == 2);
    engine_docker.stop(f->en, &job->j, 30000);
    wait_for(f, over(job));
    assert_int_equal(job->result.reason, ENGINE_EXITED);
    assert_int_equal(job->result.exit_code, 7);
    assert_log(job, SEGMENT_STDOUT, "up\nbye\n");
    remove_job(f, job);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(outcomes, setup, teardown),
        cmocka_unit_test_setup_teardown(cannot_start, setup, teardown),
        cmocka_unit_test_setup_teardown(adopt_and_stop, setup, teardown),
    };
    const char *wrapper = getenv("WITH_PODMAN");
    UNUSED(argc);
    if (wrapper != NULL) {
        unsetenv("WITH_PODMAN");
        execl(wrapper, wrapper, argv[0], (char *)NULL);
        perror(wrapper);
        return 1;
    }
    if (getenv("DOCKER_HOST") == NULL) {
        fprintf(stderr, "skipped: run it by hack/with-podman\n");
        return 77;
    }
    cmocka_set_test_filter(getenv("TEST_FILTER"));
    log_set_spec(getenv("TEST_LOG") != NULL ? getenv("TEST_LOG") : "warn");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
