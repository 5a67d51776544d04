/* SPDX-License-Identifier: Apache-2.0 */
/* Starting programs: what they inherit, what is reported when it fails. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "io/proc.h"

#define OK(call)                                                                         \
    do {                                                                                 \
        if ((call) != 0)                                                                 \
            fail_msg("%s", err.msg);                                                     \
    } while (0)

static struct error err;

static int
run_shell(const char *script, struct str *out)
{
    const char *argv[] = {"sh", "-c", script, NULL};
    struct proc_opts o = PROC_OPTS_INIT;
    int status = -1;

    o.argv = argv;
    OK(proc_run(&o, 20000, out, &status, &err));
    return status;
}

static void
test_output_and_status(void **state)
{
    auto_str out = STR_INIT(1024);
    char text[64];

    UNUSED(state);
    int status = run_shell("echo out; echo err >&2; exit 3", &out);
    assert_string_equal(out.ptr, "out\nerr\n");
    proc_status_text(status, text, sizeof(text));
    assert_string_equal(text, "exited with 3");
    status = run_shell("kill -KILL $$", &out);
    proc_status_text(status, text, sizeof(text));
    assert_string_equal(text, "killed by SIGKILL");
    proc_status_text(-1, text, sizeof(text));
    assert_string_equal(text, "ended with unknown status");
}

static void
test_output_is_bounded(void **state)
{
    auto_str out = STR_INIT(1000);

    UNUSED(state);
    assert_int_equal(run_shell("head -c 500000 /dev/zero | tr '\\0' x", &out), 0);
    assert_int_equal(out.len, 1000);
    assert_false(out.toobig);
}

/* The time-out reaches grandchildren; one that outlives the program does not hold us. */
static void
test_time_out_and_stragglers(void **state)
{
    const char *argv[] = {"sh", "-c", "echo $$; sleep 1000 & sleep 1000", NULL};
    auto_str out = STR_INIT(1000);
    struct proc_opts o = PROC_OPTS_INIT;
    int status = 0;
    long pid = 0;

    UNUSED(state);
    o.argv = argv;
    int64_t start = clock_now_ms();
    assert_int_equal(proc_run(&o, 300, &out, &status, &err), -ERR_TIMEOUT);
    assert_in_range(clock_now_ms() - start, 300, 10000);
    pid = strtol(out.ptr, NULL, 10);
    assert_true(pid > 1);
    /* Orphans come to us (subreaper): both sleeps were killed, long before their time. */
    while (waitpid((pid_t)-pid, &status, 0) > 0)
        assert_int_equal(WTERMSIG(status), SIGKILL);
    assert_true(clock_now_ms() - start < 20000);
    start = clock_now_ms();
    str_reset(&out);
    assert_int_equal(run_shell("echo $$; sleep 30 & exit 0", &out), 0);
    assert_true(clock_now_ms() - start < 20000);
    pid = strtol(out.ptr, NULL, 10);
    assert_true(pid > 1);
    kill((pid_t)-pid, SIGKILL);
    assert_true(waitpid((pid_t)-pid, NULL, 0) > 0);
}

static void
test_failures_to_start(void **state)
{
    const char *missing[] = {"no-such-program-here", NULL};
    const char *missing_path[] = {"/nonexistent/program", NULL};
    const char *not_executable[] = {"/etc/passwd", NULL};
    const char *ok[] = {"true", NULL};
    struct proc_opts o = PROC_OPTS_INIT;
    pid_t pid = -1;

    UNUSED(state);
    o.argv = missing;
    assert_int_equal(proc_spawn(&o, &pid, &err), -ERR_NOT_FOUND);
    assert_non_null(strstr(err.msg, "no-such-program-here"));
    o.argv = missing_path;
    assert_int_equal(proc_spawn(&o, &pid, &err), -ERR_NOT_FOUND);
    o.argv = not_executable;
    assert_int_equal(proc_spawn(&o, &pid, &err), -ERR_FORBIDDEN);
    o.argv = ok;
    o.cwd = "/nonexistent";
    assert_int_equal(proc_spawn(&o, &pid, &err), -ERR_NOT_FOUND);
    assert_non_null(strstr(err.msg, "enter /nonexistent"));
    assert_int_equal(pid, -1);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child is left over */
}

/* Nothing but 0-2 and the named one, not even a descriptor that lacks close-on-exec. */
static void
test_descriptors(void **state)
{
    const char *argv[] = {"sh", "-c", "ls /proc/self/fd | tr '\\n' ' '; cat <&3", NULL};
    struct proc_opts o = PROC_OPTS_INIT;
    char buf[256] = "";
    int out[2];
    int extra[2];
    int status;
    pid_t pid;

    UNUSED(state);
    int leaky = open("/dev/null", O_RDONLY); /* NOLINT(android-cloexec-open) */
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    assert_int_equal(pipe2(extra, O_CLOEXEC), 0);
    assert_int_equal(write(extra[1], "through 3", 9), 9);
    close(extra[1]);
    o.argv = argv;
    o.stdout_fd = out[1];
    o.extra_fd = extra[0];
    OK(proc_spawn(&o, &pid, &err));
    close(out[1]);
    size_t len = 0;
    ssize_t n;
    while ((n = read(out[0], buf + len, sizeof(buf) - 1 - len)) > 0)
        len += (size_t)n;
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    assert_string_equal(buf, "0 1 2 3 4 through 3"); /* 4 is ls's own directory */
    close(out[0]);
    close(extra[0]);
    close(leaky);
}

static void
test_environment_and_place(void **state)
{
    const char *argv[] = {"/bin/sh", "-c", "echo $A $B; pwd; kill -TERM $$; echo no",
                          NULL};
    const char *env[] = {"A=1", "B=two", NULL};
    auto_str out = STR_INIT(1000);
    struct proc_opts o = PROC_OPTS_INIT;
    sigset_t block;
    sigset_t old;
    int status = 0;

    UNUSED(state);
    /* Our blocked and ignored signals are not the program's. */
    sigfillset(&block);
    sigprocmask(SIG_SETMASK, &block, &old);
    signal(SIGTERM, SIG_IGN);
    o.argv = argv;
    o.env = env;
    o.cwd = "/";
    OK(proc_run(&o, 20000, &out, &status, &err));
    signal(SIGTERM, SIG_DFL);
    sigprocmask(SIG_SETMASK, &old, NULL);
    assert_string_equal(out.ptr, "1 two\n/\n");
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGTERM);
}

static void
test_parent_death_signal(void **state)
{
    const char *argv[] = {"sleep", "1000", NULL};
    int report[2];
    pid_t sleeper = 0;

    UNUSED(state);
    assert_int_equal(pipe2(report, O_CLOEXEC), 0);
    pid_t middle = fork();
    if (middle == 0) {
        struct proc_opts o = PROC_OPTS_INIT;
        struct error e = ERROR_INIT;
        o.argv = argv;
        o.parent_death_signal = SIGKILL;
        if (proc_spawn(&o, &sleeper, &e) != 0)
            _exit(1);
        _exit(write(report[1], &sleeper, sizeof(sleeper)) == sizeof(sleeper) ? 0 : 1);
    }
    assert_int_equal(read(report[0], &sleeper, sizeof(sleeper)), sizeof(sleeper));
    waitpid(middle, NULL, 0);
    int status = 0;
    assert_int_equal(waitpid(sleeper, &status, 0), sleeper); /* an orphan: ours to reap */
    assert_int_equal(WTERMSIG(status), SIGKILL);
    close(report[0]);
    close(report[1]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_output_and_status),
        cmocka_unit_test(test_output_is_bounded),
        cmocka_unit_test(test_time_out_and_stragglers),
        cmocka_unit_test(test_failures_to_start),
        cmocka_unit_test(test_descriptors),
        cmocka_unit_test(test_environment_and_place),
        cmocka_unit_test(test_parent_death_signal),
    };

    prctl(PR_SET_CHILD_SUBREAPER, 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
