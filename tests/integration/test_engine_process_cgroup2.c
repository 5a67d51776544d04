/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cgroup version 2 as the kernel really has it, mounted for this process alone. On a
 * machine whose controllers are taken by version 1 there is no limit to test here (the
 * values written are in test_runner_cgroup), but making, entering, freezing, signalling,
 * waiting and removing are the same. Skipped where version 2 cannot be mounted.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "runner/supervisor/cgroup.h"

enum { CHILDREN = 40 };

/* A process in the cgroup with children that ignore SIGTERM, and with one that goes on
 * making more. */
static pid_t
start_crowd(const struct cgroup *c)
{
    struct error e = ERROR_INIT;
    int fds[CGROUP_N];
    int ready[2];
    char byte;

    assert_int_equal(pipe(ready), 0);
    int n = cgroup_open_procs(c, fds, &e);
    assert_int_equal(n, 1);
    pid_t pid = fork();
    if (pid == 0) {
        if (write(fds[0], "0", 1) != 1)
            _exit(1);
        signal(SIGTERM, SIG_IGN);
        for (int i = 0; i < CHILDREN; i++) {
            if (fork() == 0)
                for (;;)
                    pause();
        }
        if (write(ready[1], "r", 1) != 1)
            _exit(1);
        for (;;) {
            pid_t child = fork();
            if (child == 0)
                _exit(0);
            waitpid(child, NULL, 0);
        }
    }
    close(fds[0]);
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return pid;
}

static void
test_version_2(void **state)
{
    struct error e = ERROR_INIT;
    struct cgroup_host h = {0};
    struct cgroup c;
    char mnt[] = "/tmp/drover-cgroup2-XXXXXX";
    char id[32];
    int status;

    UNUSED(state);
    assert_non_null(mkdtemp(mnt));
    if (unshare(CLONE_NEWNS) < 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("cgroup2", mnt, "cgroup2", 0, NULL) < 0) {
        rmdir(mnt);
        skip();
    }
    enum cgroup_ctl used[] = {CGROUP_PIDS, CGROUP_FREEZER};
    for (size_t i = 0; i < ARRAY_LEN(used); i++) {
        snprintf(h.mount[used[i]], sizeof(h.mount[0]), "%s", mnt);
        h.v2[used[i]] = true;
    }
    snprintf(id, sizeof(id), "v2test-%d", (int)getpid());
    assert_int_equal(cgroup_paths(&h, id, "job", &c, &e), 0);
    assert_int_equal(c.n, 1);
    assert_int_equal(fs_mkdirs(c.dir[0], 0755, &e), 0);
    pid_t pid = start_crowd(&c);
    assert_int_equal(cgroup_remove(&c, &e), -ERR_BUSY);
    cgroup_signal(&c, SIGTERM); /* ignored; must leave it thawed */
    autofree char *freeze = fs_join(c.dir[0], "cgroup.freeze");
    auto_str text = STR_INIT(64);
    assert_int_equal(fs_read(freeze, &text, &e), 0);
    assert_string_equal(text.ptr, "0\n");
    cgroup_signal(&c, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WTERMSIG(status), SIGKILL);
    int rc = -1;
    for (int i = 0; i < 200 && rc != 0; i++) {
        rc = cgroup_remove(&c, &e);
        if (rc != 0)
            cgroup_wait(&c, 50);
    }
    if (rc != 0)
        fail_msg("%s", e.msg);
    umount2(mnt, MNT_DETACH);
    rmdir(mnt);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_version_2)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
