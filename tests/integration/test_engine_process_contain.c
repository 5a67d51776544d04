/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile job in the process engine. This program is copied into the job's directory
 * and started there as `--hostile`; each attempt prints its name and what came of it. The
 * kernel has to refuse every one. (Started as `--supervise ...` it is the supervisor.)
 */
#include "tests/integration/engine_process_world.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "io/segment.h"
#include "runner/supervisor/cgroup.h"
#include "runner/supervisor/record.h"
#include "runner/supervisor/supervisor.h"

/* ---- inside the job ---- */

/* What the test tells the job about the machine, in its environment. */
static const char *
told(const char *name)
{
    const char *v = getenv(name);

    return v == NULL ? "" : v;
}

static void
report(const char *what, bool breach)
{
    printf("%s: %s\n", breach ? "BREACH" : "refused", what);
}

static bool
can_open(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static bool
can_connect(const char *path, bool abstract)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    size_t n = strlen(path);

    memcpy(sa.sun_path + abstract, path, n);
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + abstract);
    bool ok = connect(fd, (struct sockaddr *)&sa, abstract ? len : sizeof(sa)) == 0;
    close(fd);
    return ok;
}

static bool
can_write(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return false;
    ssize_t n = write(fd, text, strlen(text));
    close(fd);
    return n > 0;
}

static void
try_files(void)
{
    report("read the data directory", can_open(told("SECRET"), O_RDONLY));
    report("list the data directory", can_open(told("ROOT"), O_RDONLY | O_DIRECTORY));
    report("list the agent directory", can_open(told("AGENT"), O_RDONLY | O_DIRECTORY));
    report("read another job's file", can_open(told("OTHER"), O_RDONLY));
    report("read through init's root", can_open("/proc/1/root/etc/passwd", O_RDONLY));
    report("list init's descriptors", can_open("/proc/1/fd", O_RDONLY | O_DIRECTORY));
    report("read init's environment", can_open("/proc/1/environ", O_RDONLY));
    report("read init's memory", can_open("/proc/1/mem", O_RDONLY));
    report("read /etc/shadow", can_open("/etc/shadow", O_RDONLY));
    report("write /usr", can_open("/usr/bin/drover-was-here", O_WRONLY | O_CREAT));
    report("write /etc", can_open("/etc/drover-was-here", O_WRONLY | O_CREAT));
    report("write /", can_open("/drover-was-here", O_WRONLY | O_CREAT));
    report("read /proc/kcore", can_open("/proc/kcore", O_RDONLY));
    report("see files of /root",
           can_open("/root/.bashrc", O_RDONLY) || can_open("/root/.profile", O_RDONLY));
    report("mask in a lent tree", can_open(told("LENT_SECRET"), O_RDONLY));
    report("block devices", can_open("/dev/vda", O_RDONLY) ||
                                can_open("/dev/sda", O_RDONLY) ||
                                can_open("/dev/loop0", O_RDONLY));
    report("kernel log", can_open("/dev/kmsg", O_RDONLY));
    report("cgroup files", can_open("/sys/fs/cgroup/memory/tasks", O_RDONLY) ||
                               can_open("/sys/fs/cgroup/cgroup.procs", O_RDONLY));
}

static void
try_sockets(void)
{
    report("socket in the data directory", can_connect(told("SOCKET"), false));
    report("socket in /run", can_connect(told("RUN_SOCKET"), false));
    report("docker.sock", can_connect("/run/docker.sock", false) ||
                              can_connect("/var/run/docker.sock", false));
    if (streq(told("SCOPED"), "yes"))
        report("abstract socket", can_connect(told("ABSTRACT"), true));
    report("vsock", socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0) >= 0);
    report("packet socket", socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0) >= 0);
}

static void
try_processes(void)
{
    int others = 0;
    DIR *d = opendir("/proc");
    const struct dirent *de;
    struct stat st;

    while (d != NULL && (de = readdir(d)) != NULL)
        others += de->d_name[0] >= '1' && de->d_name[0] <= '9';
    report("see the machine's processes", d == NULL || others > 3);
    if (d != NULL)
        closedir(d);
    report("signal the agent", kill((pid_t)strtol(told("AGENT_PID"), NULL, 10), 0) == 0);
    report("signal the supervisor's pid",
           kill(getppid() == 0 ? 1 : getppid(), 0) == 0 && getppid() != 1);
    report("kill init", kill(1, SIGKILL) == 0);
    report("trace init", ptrace(PTRACE_ATTACH, 1, NULL, NULL) == 0);
    report("join init's namespaces", stat("/proc/1/ns/mnt", &st) == 0);
}

static int
nothing(void *arg)
{
    UNUSED(arg);
    return 0;
}

static void
try_kernel(void)
{
    static char stack[64 * 1024] __attribute__((aligned(16)));
    union bpf_attr bpf = {.map_type = BPF_MAP_TYPE_ARRAY};
    struct perf_event_attr perf = {.size = sizeof(perf)};

    report("mount", mount("none", "/tmp", "tmpfs", 0, NULL) == 0);
    report("remount /usr", mount(NULL, "/usr", NULL, MS_REMOUNT | MS_BIND, NULL) == 0);
    report("unmount /proc/sys", umount2("/proc/sys", MNT_DETACH) == 0);
    report("fsopen", syscall(SYS_fsopen, "tmpfs", 0) >= 0);
    report("unshare user", unshare(CLONE_NEWUSER) == 0);
    report("unshare mount", unshare(CLONE_NEWNS) == 0);
    report("clone into a new user namespace",
           clone(nothing, stack + sizeof(stack), CLONE_NEWUSER | SIGCHLD, NULL) >= 0);
    report("clone3", syscall(SYS_clone3, NULL, 0) >= 0 || errno != ENOSYS);
    report("mknod", mknod("/job/disk", S_IFBLK | 0666, makedev(254, 0)) == 0);
    report("bpf", syscall(SYS_bpf, BPF_MAP_CREATE, &bpf, sizeof(bpf)) >= 0);
    report("perf", syscall(SYS_perf_event_open, &perf, 0, -1, -1, 0) >= 0);
    report("keyctl", syscall(SYS_keyctl, 0, -3, 0, 0, 0) >= 0 || errno != EPERM);
    report("io_uring", syscall(SYS_io_uring_setup, 1, NULL) >= 0 || errno != EPERM);
    report("init_module", syscall(SYS_init_module, "", 0, "") >= 0 || errno != EPERM);
    report("reboot", syscall(SYS_reboot, 0, 0, 0, NULL) >= 0 || errno != EPERM);
    report("sethostname", sethostname("drover", 6) == 0);
    report("write /proc/sys", can_write("/proc/sys/kernel/hostname", "drover"));
    report("write core_pattern", can_write("/proc/sys/kernel/core_pattern", "|/bin/sh"));
    report("sysrq", can_write("/proc/sysrq-trigger", "h"));
    report("raise the memory score", can_write("/proc/self/oom_score_adj", "-900"));
    report("foreign id", setresuid(70000, 70000, 70000) == 0);
}

/* The old way out of a chroot. */
static void
try_chroot(void)
{
    struct stat st;
    struct stat top;

    stat("/", &top);
    int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (mkdir("/tmp/jail", 0700) == 0 && chroot("/tmp/jail") == 0 && fchdir(fd) == 0) {
        for (int i = 0; i < 32; i++) {
            if (chdir("..") < 0)
                break;
        }
        report("leave by chroot", stat(".", &st) == 0 && (st.st_dev != top.st_dev ||
                                                          st.st_ino != top.st_ino));
        return;
    }
    report("leave by chroot", false);
}

static unsigned long
status_field(const char *name, int base)
{
    struct error e = ERROR_INIT;
    auto_str text = STR_INIT(65536);

    if (fs_read("/proc/self/status", &text, &e) != 0)
        return 12345;
    const char *p = strstr(text.ptr, name);
    return p == NULL ? 12345 : strtoul(p + strlen(name), NULL, base);
}

static void
check_limits(void)
{
    unsigned long bounding = status_field("CapBnd:", 16);
    struct rlimit core;
    int fds = 0;
    DIR *d = opendir("/proc/self/fd");

    report("no no_new_privs", status_field("NoNewPrivs:", 10) != 1);
    report("no filter", status_field("Seccomp:", 10) != 2);
    report("CAP_SYS_ADMIN", (bounding >> 21 & 1) != 0);
    report("CAP_SYS_PTRACE", (bounding >> 19 & 1) != 0);
    report("core files", getrlimit(RLIMIT_CORE, &core) < 0 || core.rlim_max != 0);
    while (d != NULL && readdir(d) != NULL)
        fds++;
    report("inherited descriptors", fds != 2 + 3 + 1); /* dots, 0-2, this one */
    if (d != NULL)
        closedir(d);
}

static int
hostile_main(void)
{
    setvbuf(stdout, NULL, _IONBF, 0);
    check_limits();
    try_files();
    try_sockets();
    try_processes();
    try_kernel();
    try_chroot();
    puts("done");
    return 0;
}

/* ---- outside ---- */

static int
listen_at(const char *path, bool abstract)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    size_t n = strlen(path);

    assert_true(n < sizeof(sa.sun_path) - 1);
    memcpy(sa.sun_path + abstract, path, n);
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + abstract);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, abstract ? len : sizeof(sa)), 0);
    if (!abstract)
        assert_int_equal(chmod(path, 0777), 0);
    assert_int_equal(listen(fd, 8), 0);
    return fd;
}

static void
write_file(const char *path)
{
    struct error e = ERROR_INIT;

    if (fs_write_atomic(path, "secret\n", 7, 0666, &e) != 0)
        fail_msg("%s", e.msg);
    /* Readable by all: only the job's own walls may be in the way. */
    assert_int_equal(chmod(path, 0666), 0);
}

/* The job's work directory, made early, with this program in it. */
static void
install_program(const struct job *j)
{
    struct error e = ERROR_INIT;
    auto_str bytes = STR_INIT(256 * 1024 * 1024);
    autofree char *work = fs_join(j->dir, "work");
    autofree char *path = fs_join(work, "hostile");

    assert_int_equal(mkdir(work, 0700), 0);
    assert_int_equal(fs_read("/proc/self/exe", &bytes, &e), 0);
    assert_int_equal(fs_write_atomic(path, bytes.ptr, bytes.len, 0755, &e), 0);
}

/* Whether the kernel has landlock scopes (ABI 6). */
static bool
have_scopes(void)
{
    return syscall(SYS_landlock_create_ruleset, NULL, 0, 1) >= 6;
}

/* A name in the machine's abstract namespace. */
static void
abstract_name(char out[64])
{
    snprintf(out, 64, "drover-test-%d", (int)getpid());
}

struct bait {
    char abstract[64], secret[300], socket[300], lent[64], env[16][400];
    int fds[3];
    size_t n_env;
};

static void
tell(struct bait *b, struct job *j, const char *name, const char *value)
{
    snprintf(b->env[b->n_env], sizeof(b->env[0]), "%s=%s", name, value);
    j->env[b->n_env + 1] = b->env[b->n_env];
    b->n_env++;
}

static void
test_hostile_job(void **state)
{
    static const char *const argv[] = {"/job/hostile", "--hostile", NULL};
    struct world w;
    struct job victim;
    struct job j;
    struct bait b = {0};
    auto_str out = STR_INIT(1);
    char text[64];

    UNUSED(state);
    world_open(&w);
    /* Open to everybody, so that nothing but the containment protects them. */
    assert_int_equal(chmod(w.root, 0777), 0);
    assert_int_equal(chmod(w.agent, 0777), 0);
    snprintf(b.secret, sizeof(b.secret), "%s/secret", w.root);
    snprintf(b.socket, sizeof(b.socket), "%s/api.sock", w.root);
    snprintf(b.lent, sizeof(b.lent), "/opt/drover-test-XXXXXX");
    write_file(b.secret);
    assert_non_null(mkdtemp(b.lent));
    assert_int_equal(chmod(b.lent, 0755), 0);
    autofree char *lent_secret = fs_join(b.lent, "secret");
    write_file(lent_secret);
    w.masks[2] = b.lent;
    world_engine_close(&w);
    world_engine_open(&w);
    snprintf(text, sizeof(text), "/run/drover-test-%d.sock", (int)getpid());
    b.fds[0] = listen_at(b.socket, false);
    b.fds[1] = listen_at(text, false);
    abstract_name(b.abstract);
    b.fds[2] = listen_at(b.abstract, true);

    job_init(&w, &victim,
             "umask 0; echo secret > /job/file; chmod 777 /job; echo ready; "
             "sleep $MARK");
    job_launch(&w, &victim);
    job_wait_output(&w, &victim, "ready");
    job_init(&w, &j, "");
    job_argv(&j, argv);
    install_program(&j);
    autofree char *other = fs_join(victim.dir, "work/file");
    char pid[16];
    snprintf(pid, sizeof(pid), "%d", (int)getpid());
    tell(&b, &j, "ROOT", w.root);
    tell(&b, &j, "AGENT", w.agent);
    tell(&b, &j, "SECRET", b.secret);
    tell(&b, &j, "OTHER", other);
    tell(&b, &j, "SOCKET", b.socket);
    tell(&b, &j, "RUN_SOCKET", text);
    tell(&b, &j, "LENT_SECRET", lent_secret);
    tell(&b, &j, "AGENT_PID", pid);
    tell(&b, &j, "ABSTRACT", b.abstract);
    tell(&b, &j, "SCOPED", have_scopes() ? "yes" : "no");
    tell(&b, &j, "ASAN_OPTIONS", "detect_leaks=0");
    job_run(&w, &j);
    job_output(&j, SEGMENT_STDOUT, &out);
    if (strstr(out.ptr, "BREACH") != NULL || strstr(out.ptr, "done") == NULL) {
        auto_str err = STR_INIT(1);
        job_output(&j, SEGMENT_STDERR, &err);
        fail_msg("\n%s%s%s", out.ptr, err.ptr, j.result.message);
    }
    job_assert_exit(&j, 0);
    assert_int_equal(victim.n_exited, 0);
    job_stop(&w, &victim, 0);
    job_wait_exit(&w, &victim);
    job_remove(&w, &victim);
    job_remove(&w, &j);
    for (size_t i = 0; i < ARRAY_LEN(b.fds); i++)
        close(b.fds[i]);
    unlink(text);
    unlink(lent_secret);
    rmdir(b.lent);
    world_close(&w);
}

/* The same paths are there for somebody who is not contained: the bait is real. */
static void
test_the_bait_is_real(void **state)
{
    struct world w;

    UNUSED(state);
    world_open(&w);
    char path[300];
    snprintf(path, sizeof(path), "%s/api.sock", w.root);
    int fd = listen_at(path, false);
    char name[64];
    abstract_name(name);
    int abstract = listen_at(name, true);
    assert_true(can_connect(path, false));
    assert_true(can_connect(name, true));
    close(fd);
    close(abstract);
    world_close(&w);
}

/* Root of one job is not even the same number as root of another. */
static void
test_jobs_have_own_ids(void **state)
{
    struct world w;
    struct job a;
    struct job b;
    struct stat sa;
    struct stat sb;

    UNUSED(state);
    world_open(&w);
    job_init(&w, &a, "touch /job/f; echo ready; sleep 60");
    job_init(&w, &b, "touch /job/f; echo ready; sleep 60");
    job_launch(&w, &a);
    job_launch(&w, &b);
    job_wait_output(&w, &a, "ready");
    job_wait_output(&w, &b, "ready");
    autofree char *fa = fs_join(a.dir, "work/f");
    autofree char *fb = fs_join(b.dir, "work/f");
    assert_int_equal(stat(fa, &sa), 0);
    assert_int_equal(stat(fb, &sb), 0);
    assert_true(sa.st_uid >= 0x70000000 && sb.st_uid >= 0x70000000);
    assert_true(sa.st_uid / 65536 != sb.st_uid / 65536);
    struct job *const both[] = {&a, &b};
    for (int i = 0; i < 2; i++) {
        job_stop(&w, both[i], 0);
        job_wait_exit(&w, both[i]);
        job_remove(&w, both[i]);
    }
    world_close(&w);
}

static int64_t
cgroup_number(const struct cgroup *c, enum cgroup_ctl ctl, const char *v1, const char *v2)
{
    struct error e = ERROR_INIT;
    auto_str text = STR_INIT(4096);
    autofree char *path = fs_join(c->dir[c->of[ctl]], c->v2[ctl] ? v2 : v1);

    if (fs_read(path, &text, &e) != 0)
        fail_msg("%s", e.msg);
    return strtoll(text.ptr, NULL, 10);
}

static void
test_resources_are_set(void **state)
{
    struct world w;
    struct job j;
    struct cgroup_host host;
    struct cgroup c;
    struct error e = ERROR_INIT;

    UNUSED(state);
    world_open(&w);
    job_init(&w, &j,
             "echo ready; cat /proc/self/cgroup; df -k /dev/shm | tail -1; sleep 60");
    j.j.cpu_request_milli = 2000;
    j.j.cpu_limit_milli = 1500;
    j.j.memory_limit_mib = 64;
    j.j.shm_mib = 8;
    job_launch(&w, &j);
    job_wait_output(&w, &j, "ready");
    assert_int_equal(cgroup_host_find(&host, &e), 0);
    char id[WORLD_AGENT_ID];
    world_agent_id(&w, id);
    assert_int_equal(cgroup_paths(&host, id, j.uid, &c, &e), 0);
    assert_int_equal(
        cgroup_number(&c, CGROUP_MEMORY, "memory.limit_in_bytes", "memory.max"),
        64 * 1024 * 1024);
    assert_int_equal(cgroup_number(&c, CGROUP_CPU, "cpu.cfs_quota_us", "cpu.max"),
                     150000);
    if (!c.v2[CGROUP_CPU])
        assert_int_equal(cgroup_number(&c, CGROUP_CPU, "cpu.shares", ""), 2048);
    assert_true(cgroup_number(&c, CGROUP_PIDS, "pids.max", "pids.max") > 0);
    job_wait_output(&w, &j, " 8192 ");
    auto_str out = STR_INIT(1);
    job_output(&j, SEGMENT_STDOUT, &out);
    assert_null(strstr(out.ptr, j.uid)); /* its own cgroup is the root, as it sees it */
    job_stop(&w, &j, 0);
    job_wait_exit(&w, &j);
    job_remove(&w, &j);
    world_close(&w);
}

int
main(int argc, char **argv)
{
    if (argc > 1 && streq(argv[1], SUPERVISOR_FLAG))
        return supervisor_main(argc, argv);
    if (argc > 1 && streq(argv[1], "--hostile"))
        return hostile_main();
    if (geteuid() != 0) {
        puts("SKIP: needs root");
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_bait_is_real),
        cmocka_unit_test(test_hostile_job),
        cmocka_unit_test(test_jobs_have_own_ids),
        cmocka_unit_test(test_resources_are_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
