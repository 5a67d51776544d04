/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process engine under an agent that is not root, three times: with one id, with a
 * range of sub-ids, and with cgroups that somebody handed over. Started as root the
 * program arranges each in a process of its own that then becomes an ordinary user;
 * started as an ordinary user it tests what that one has. What a machine forbids is
 * skipped with a word. (Started as `--supervise ...` this program is the supervisor.)
 */
#include "tests/integration/engine_process_world.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "io/segment.h"
#include "runner/supervisor/cgroup.h"
#include "runner/supervisor/supervisor.h"
#include "runner/supervisor/usermap.h"

#define SKIPPED 77
#define SUB_FIRST 3000000u

enum { TESTER = 61235 };
enum mode { ONE_ID, SUB_IDS, CGROUPS };

static enum mode
mode_of(void **state)
{
    return *(const enum mode *)*state;
}

struct answer {
    bool told;
    struct engine_status status;
};

static void
on_probed(void *arg, const struct engine_status *s)
{
    struct answer *a = arg;

    a->told = true;
    a->status = *s;
}

static bool
is_told(void *arg)
{
    return ((const struct answer *)arg)->told;
}

static void
test_probe(void **state)
{
    struct world w;
    struct answer a = {0};

    world_open(&w);
    engine_process.probe(w.en, on_probed, &a);
    world_until(&w, is_told, &a, 30000);
    if (!a.status.available)
        fail_msg("%s: %s", a.status.reason, a.status.message);
    const char *text = a.status.limitations;
    assert_true((strstr(text, "OneUser: ") != NULL) == (mode_of(state) != SUB_IDS));
    assert_non_null(strstr(text, "RootFileSystem: "));
    assert_true((strstr(text, "SharedIDs: ") != NULL) == (mode_of(state) == SUB_IDS));
    assert_true((strstr(text, "CPULimit: ") != NULL) == (mode_of(state) != CGROUPS));
    assert_true((strstr(text, "MemoryLimit: ") != NULL) == (mode_of(state) != CGROUPS));
    assert_non_null(strstr(text, "Devices: "));
    world_close(&w);
}

/* Runs the script and compares what it writes. */
static void
run_and_compare(struct world *w, struct job *j, int code, const char *want)
{
    auto_str out = STR_INIT(1);

    job_run(w, j);
    job_output(j, SEGMENT_STDOUT, &out);
    assert_string_equal(out.ptr, want);
    job_assert_exit(j, code);
    job_remove(w, j);
}

static void
test_ids(void **state)
{
    struct world w;
    struct job j;

    world_open(&w);
    job_init(&w, &j,
             "id -u; id -G; stat -Lc %u:%g /job /dev/stdout; umask; echo x > f; mkdir d; "
             "chmod 0 f d; cat /proc/self/setgroups; exit 3");
    run_and_compare(&w, &j, 3,
                    mode_of(state) == SUB_IDS ? "0\n0\n0:0\n0:0\n0022\nallow\n"
                                              : "0\n0\n0:0\n0:0\n0022\ndeny\n");
    job_init(&w, &j, "tty; stat -c %u $(tty)");
    j.j.tty_columns = 80;
    j.j.tty_rows = 24;
    run_and_compare(&w, &j, 0, "/dev/pts/0\r\n0\r\n");
    job_init(&w, &j, "id -u; id -G; stat -c %u:%g /job; : > x; : > /tmp/y");
    j.j.user = "1000:1001";
    if (mode_of(state) == SUB_IDS) {
        run_and_compare(&w, &j, 0, "1000\n1001\n1000:1000\n");
    } else {
        job_run(&w, &j);
        assert_int_equal(j.result.reason, ENGINE_CREATE_FAILED);
        assert_non_null(strstr(j.result.message, "does not run as root"));
        job_remove(&w, &j);
    }
    world_close(&w);
}

/* What the job prints beyond "done" is a wall that it came through. */
static void
test_walls(void **state)
{
    struct world w;
    struct job j;
    struct job other;
    autofree char *script = NULL;

    UNUSED(state);
    world_open(&w);
    autofree char *secret = fs_join(w.agent, "secret");
    struct error e = ERROR_INIT;
    assert_int_equal(fs_write_atomic(secret, "bait", 4, 0644, &e), 0);
    job_init(&w, &other, "echo there; sleep $MARK");
    job_launch(&w, &other);
    job_wait_output(&w, &other, "there");
    script = xasprintf(
        "exec 2>/dev/null; cat %s; cat %s/jobs/*/log/*; ls %s; "
        "mount -t tmpfs x /tmp && echo mount; unshare -U true && echo unshare; "
        "(: > /etc/drover-was-here) && echo etc; (echo 1 > /proc/sys/vm/drop_caches) && "
        "echo sysctl; cat /proc/1/environ && echo environ; ls /proc/1/root && echo root; "
        "ls /proc/1/fd && echo fds; kill -9 1; kill -9 %d && echo agent; kill -9 %d && "
        "echo supervisor; mknod /tmp/n c 1 3 && echo mknod; "
        "ls /sys/fs/cgroup/* && echo cgroup; echo done",
        secret, w.agent, w.root, (int)getpid(), (int)job_supervisor_pid(&other));
    job_init(&w, &j, script);
    job_run(&w, &j);
    auto_str out = STR_INIT(1);
    job_output(&j, SEGMENT_STDOUT, &out);
    assert_string_equal(out.ptr, "done\n");
    assert_true(access("/etc/drover-was-here", F_OK) < 0);
    job_remove(&w, &j);
    assert_int_equal(other.n_exited, 0);
    job_stop(&w, &other, 0);
    job_wait_exit(&w, &other);
    job_remove(&w, &other);
    world_close(&w);
}

/* SIGTERM reaches everybody, a daemon in a session of its own included; who does not
 * listen is killed. */
/* A root of its own needs mounts that only root can map. */
static void
test_no_root(void **state)
{
    struct world w;
    struct job j;

    UNUSED(state);
    world_open(&w);
    for (int kept = 0; kept < 2; kept++) {
        job_init(&w, &j, "true");
        j.j.rootfs = "/usr";
        j.j.rootfs_kept = kept == 1;
        job_run(&w, &j);
        assert_false(j.result.started);
        assert_int_equal(j.result.reason, ENGINE_CREATE_FAILED);
        if (strstr(j.result.message, "only an agent that runs as root") == NULL)
            fail_msg("%s", j.result.message);
        job_remove(&w, &j);
    }
    world_close(&w);
}

static void
test_stop(void **state)
{
    struct world w;
    struct job j;

    UNUSED(state);
    world_open(&w);
    job_init(&w, &j,
             "setsid sh -c 'trap \"echo heard; exit\" TERM; echo up; while :; do sleep "
             "0.05; done' & setsid sh -c 'trap \"\" TERM HUP; sleep $MARK & sleep $MARK' "
             "& trap 'sleep 0.2; exit 7' TERM; echo ready; while :; do sleep 0.05; done");
    job_launch(&w, &j);
    job_wait_output(&w, &j, "up");
    job_wait_output(&w, &j, "ready");
    job_stop(&w, &j, 30000);
    job_wait_exit(&w, &j);
    auto_str out = STR_INIT(1);
    job_output(&j, SEGMENT_STDOUT, &out);
    assert_non_null(strstr(out.ptr, "heard"));
    job_assert_exit(&j, 7);
    assert_int_equal(count_sleepers(), 0);
    job_remove(&w, &j);
    world_close(&w);
}

/* One that multiplies and does not listen ends after its grace, all of it. */
static void
test_fork_bomb(void **state)
{
    struct world w;
    struct job j;

    UNUSED(state);
    world_open(&w);
    job_init(
        &w, &j,
        "ulimit -u 60 2>/dev/null || ulimit -p 60; trap '' TERM; echo ready; "
        "b() { b 2>/dev/null & b 2>/dev/null & sleep $MARK; }; mkfifo f; exec 3<>f; b "
        "2>/dev/null & read x <&3");
    job_launch(&w, &j);
    job_wait_output(&w, &j, "ready");
    job_stop(&w, &j, 100);
    job_wait_exit(&w, &j);
    assert_int_equal(j.result.signal, SIGKILL);
    assert_int_equal(count_sleepers(), 0);
    job_remove(&w, &j);
    world_close(&w);
}

static void
test_memory(void **state)
{
    struct world w;
    struct job j;

    world_open(&w);
    job_init(&w, &j, "(head -c 200M /dev/zero | tail -c 200M | wc -c) 2>&1");
    j.j.memory_limit_mib = 64;
    job_run(&w, &j);
    auto_str out = STR_INIT(1);
    job_output(&j, SEGMENT_STDOUT, &out);
    if (mode_of(state) == CGROUPS) {
        /* The shell that waits for the pipe survives; the kill is told. */
        assert_non_null(strstr(j.result.message, "killed by the memory limit"));
        assert_true(j.result.memory_peak_bytes > 32 * 1024 * 1024);
    } else {
        if (strstr(out.ptr, "memory exhausted") == NULL)
            fail_msg("%s", out.ptr);
    }
    job_remove(&w, &j);
    world_close(&w);
}

/* In a directory that only the job may enter. */
static void
test_disk(void **state)
{
    struct world w;
    struct job j;

    UNUSED(state);
    world_open(&w);
    job_init(&w, &j,
             "trap 'exit 12' TERM; chmod 700 /job; head -c 9M /dev/zero > /job/x; "
             "while :; do sleep 0.05; done");
    j.j.disk_limit_mib = 4;
    j.j.stop_ms = 20000;
    job_run(&w, &j);
    assert_int_equal(j.result.reason, ENGINE_DISK_QUOTA);
    assert_int_equal(j.result.exit_code, 12);
    job_remove(&w, &j);
    world_close(&w);
}

/* The agent goes and comes back; a supervisor is killed. */
static void
test_restart(void **state)
{
    struct world w;
    struct job j;
    struct job again;
    struct job lost;

    UNUSED(state);
    world_open(&w);
    job_init(&w, &j, "echo ready; trap 'exit 9' TERM; while :; do sleep 0.05; done");
    job_launch(&w, &j);
    job_wait_started(&w, &j);
    job_wait_output(&w, &j, "ready");
    world_engine_close(&w);
    world_engine_open(&w);
    job_again(&again, &j);
    job_adopt(&w, &again);
    job_wait_started(&w, &again);
    job_stop(&w, &again, 20000);
    job_wait_exit(&w, &again);
    job_assert_exit(&again, 9);
    job_remove(&w, &again);

    job_init(&w, &lost, "echo ready; setsid sleep $MARK & sleep $MARK");
    job_launch(&w, &lost);
    job_wait_started(&w, &lost);
    job_wait_output(&w, &lost, "ready");
    assert_int_equal(kill(job_supervisor_pid(&lost), SIGKILL), 0);
    job_wait_exit(&w, &lost);
    assert_int_equal(lost.result.reason, ENGINE_LOST);
    assert_int_equal(count_sleepers(), 0);
    job_remove(&w, &lost);
    world_close(&w);
}

/* A leftover of a lost journal is removed by a sweep. */
static bool
is_gone(void *arg)
{
    return access(((const struct job *)arg)->dir, F_OK) < 0;
}

static void
test_sweep(void **state)
{
    struct world w;
    struct job j;
    const char *none[] = {NULL};

    UNUSED(state);
    world_open(&w);
    job_init(&w, &j, "mkdir x; : > x/y; chmod 0 x; echo ready; sleep $MARK");
    job_launch(&w, &j);
    job_wait_started(&w, &j);
    job_wait_output(&w, &j, "ready");
    world_engine_close(&w);
    world_engine_open(&w);
    engine_process.sweep(w.en, none);
    world_until(&w, is_gone, &j, 30000);
    assert_int_equal(count_sleepers(), 0);
    world_close(&w);
}

static int
run_as(enum mode mode)
{
    const struct CMUnitTest every[] = {
        cmocka_unit_test_prestate(test_probe, &mode),
        cmocka_unit_test_prestate(test_stop, &mode),
    };
    const struct CMUnitTest of_ids[] = {
        cmocka_unit_test_prestate(test_ids, &mode),
        cmocka_unit_test_prestate(test_walls, &mode),
        cmocka_unit_test_prestate(test_no_root, &mode),
        cmocka_unit_test_prestate(test_sweep, &mode),
    };
    const struct CMUnitTest with_ids[] = {cmocka_unit_test_prestate(test_disk, &mode)};
    const struct CMUnitTest others[] = {
        cmocka_unit_test_prestate(test_fork_bomb, &mode),
        cmocka_unit_test_prestate(test_memory, &mode),
        cmocka_unit_test_prestate(test_restart, &mode),
    };
    static const char *const names[] = {"one id", "sub-ids", "cgroups"};

    int failed = cmocka_run_group_tests_name(names[mode], every, NULL, NULL);
    if (mode != CGROUPS)
        failed += cmocka_run_group_tests(of_ids, NULL, NULL);
    failed += mode == SUB_IDS ? cmocka_run_group_tests(with_ids, NULL, NULL)
                              : cmocka_run_group_tests(others, NULL, NULL);
    return failed == 0 ? 0 : 1;
}

/* ---- arrangements, as root ---- */

static int
become_tester(void)
{
    if (setgroups(0, NULL) < 0 || setresgid(TESTER, TESTER, TESTER) < 0 ||
        setresuid(TESTER, TESTER, TESTER) < 0 || prctl(PR_SET_DUMPABLE, 1) < 0) {
        perror("become an ordinary user");
        return 1;
    }
    return 0;
}

static int
skip_all(const char *why)
{
    printf("SKIP: %s\n", why);
    return SKIPPED;
}

/* Appends a line to a copy of the file and puts that in its place, for this process. */
static bool
extend(const char *dir, const char *file, const char *line)
{
    struct error e = ERROR_INIT;
    auto_str text = STR_INIT(4 * 1024 * 1024);
    autofree char *copy = xasprintf("%s/%s", dir, strrchr(file, '/') + 1);

    if (fs_read(file, &text, &e) != 0)
        return false;
    str_addf(&text, "%s\n", line);
    return fs_write_atomic(copy, text.ptr, text.len, 0644, &e) == 0 &&
           mount(copy, file, NULL, MS_BIND, NULL) == 0;
}

static int
with_sub_ids(void)
{
    char dir[] = "/tmp/drover-subids-XXXXXX";
    struct error e = ERROR_INIT;

    if (access("/usr/bin/newuidmap", X_OK) < 0 ||
        access("/usr/bin/newgidmap", X_OK) < 0 || access("/etc/subuid", F_OK) < 0 ||
        access("/etc/subgid", F_OK) < 0)
        return skip_all("sub-ids: the package uidmap is not installed");
    if (mkdtemp(dir) == NULL || unshare(CLONE_NEWNS) < 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return skip_all("sub-ids: no mount namespace of one's own");
    bool good = extend(dir, "/etc/passwd", "drover-tester:x:61235:61235::/:/bin/sh") &&
                extend(dir, "/etc/subuid", "drover-tester:3000000:65536") &&
                extend(dir, "/etc/subgid", "61235:4000000:65536");
    if (fs_remove_tree(dir, &e) != 0 || !good)
        return skip_all("sub-ids: /etc/subuid cannot be covered");
    return become_tester() != 0 ? 1 : run_as(SUB_IDS);
}

static bool
hand_over(const char *dir, const char *file)
{
    autofree char *path = fs_join(dir, file);

    return chown(path, TESTER, TESTER) == 0 || errno == ENOENT;
}

/* A cgroup in each hierarchy that we use, with this process inside. */
static bool
make_own_cgroups(struct cgroup_host *own)
{
    struct error e = ERROR_INIT;

    if (cgroup_host_find(own, &e) != 0)
        return false;
    for (int c = 0; c <= CGROUP_FREEZER; c++) {
        if (own->mount[c][0] == '\0' || own->v2[c])
            return false;
        autofree char *dir =
            xasprintf("%s/drover-given-%d", own->mount[c], (int)getpid());
        autofree char *procs = fs_join(dir, "cgroup.procs");
        bool made = mkdir(dir, 0755) == 0 || errno == EEXIST;
        autoclose int fd = open(procs, O_WRONLY | O_CLOEXEC);
        if (!made || fd < 0 || write(fd, "0", 1) != 1 || !hand_over(dir, "") ||
            !hand_over(dir, "cgroup.procs") || !hand_over(dir, "tasks"))
            return false;
    }
    return true;
}

static int
with_cgroups(void)
{
    struct cgroup_host own;

    if (!make_own_cgroups(&own))
        return skip_all("cgroups: only version 1 can be handed over by this test");
    return become_tester() != 0 ? 1 : run_as(CGROUPS);
}

/* The cgroups of a child that has ended. */
static void
remove_own_cgroups(pid_t pid)
{
    struct error e = ERROR_INIT;
    struct cgroup_host h;

    for (int c = 0; cgroup_host_find(&h, &e) == 0 && c <= CGROUP_FREEZER; c++) {
        autofree char *dir = xasprintf("%s/drover-given-%d", h.mount[c], (int)pid);
        if (rmdir(dir) < 0 && errno != ENOENT)
            printf("left: %s\n", dir);
    }
}

static int
with_one_id(void)
{
    return become_tester() != 0 ? 1 : run_as(ONE_ID);
}

static bool
write_file(const char *path, const char *text)
{
    autoclose int fd = open(path, O_WRONLY | O_CLOEXEC);

    return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

/* In a user namespace where everybody exists and nobody may make another: the probe says
 * so, and the engine is not available. */
static int
without_namespaces(void)
{
    char text[600] = "";
    int out[2];
    int go[2];
    int status = 1;

    if (pipe(out) < 0 || pipe(go) < 0)
        return 1;
    pid_t pid = fork();
    if (pid == 0) {
        char byte;
        if (unshare(CLONE_NEWUSER) < 0 || write(out[1], "u", 1) != 1 ||
            read(go[0], &byte, 1) != 1 ||
            !write_file("/proc/sys/user/max_user_namespaces", "0") ||
            become_tester() != 0)
            _exit(SKIPPED);
        dup2(out[1], 1);
        execl("/proc/self/exe", "test", SUPERVISOR_FLAG, "--probe", (char *)NULL);
        _exit(1);
    }
    char path[64];
    ssize_t n = read(out[0], text, 1);
    snprintf(path, sizeof(path), "/proc/%d/uid_map", (int)pid);
    bool mapped = n == 1 && write_file(path, "0 0 100000\n");
    snprintf(path, sizeof(path), "/proc/%d/gid_map", (int)pid);
    mapped = mapped && write_file(path, "0 0 100000\n");
    if (write(go[1], "g", mapped ? 1 : 0) < 0)
        return 1;
    close(go[1]);
    close(out[1]);
    waitpid(pid, &status, 0);
    n = read(out[0], text, sizeof(text) - 1);
    text[n > 0 ? n : 0] = '\0';
    if (!mapped || (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED))
        return skip_all("no user namespace to switch off others in");
    const char *want = "not running as root, and user namespaces are switched off for "
                       "others: user.max_user_namespaces is 0\n";
    if (WIFEXITED(status) && WEXITSTATUS(status) == SUPERVISOR_PROBE_NAMESPACES &&
        streq(text, want))
        return 0;
    printf("FAILED: without user namespaces: status %d, said: %s\n", status, text);
    return 1;
}

static int
in_child(int (*part)(void))
{
    int status = 1;

    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        int rc = part();
        fflush(stdout);
        exit(rc); /* NOLINT(concurrency-mt-unsafe): one thread */
    }
    waitpid(pid, &status, 0);
    if (part == with_cgroups)
        remove_own_cgroups(pid);
    bool good =
        WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == SKIPPED);
    return good ? 0 : 1;
}

int
main(int argc, char **argv)
{
    if (argc > 1 && streq(argv[1], SUPERVISOR_FLAG))
        return supervisor_main(argc, argv);
    if (geteuid() != 0) {
        struct usermap m;
        usermap_find(&m);
        return run_as(m.count > 0 ? SUB_IDS : ONE_ID);
    }
    int rc = in_child(without_namespaces);
    rc |= in_child(with_one_id);
    rc |= in_child(with_sub_ids);
    rc |= in_child(with_cgroups);
    return rc;
}
