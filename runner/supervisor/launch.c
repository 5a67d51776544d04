/* SPDX-License-Identifier: Apache-2.0 */
/* Namespaces, the init of a job, and the way of its first process to execve(2). */
#include "runner/supervisor/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "runner/supervisor/confine.h"
#include "runner/supervisor/idmap.h"
#include "runner/supervisor/rootfs.h"
#include "runner/supervisor/tty.h"

#define DEFAULT_TERM "xterm"
#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

#define NAMESPACES (CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS)

enum { STDIO_PIPE_BYTES = 256 * 1024, FAILED_STATUS = 127 };

/* Both ends of every pipe, as the three processes share them. */
struct wires {
    int report[2], exec[2], release[2], out[2], err[2];
    int maps_wanted[2], maps_done[2]; /* main <-> init */
    int tty[2];                       /* supervisor <-> init; only with a terminal */
    int slave;                        /* in init and main */
    int mapped[2];                    /* supervisor -> init, without root */
    int procs[CGROUP_N];
    size_t n_procs;
};

static void
tell(int fd, enum launch_kind kind, int value, const char *text)
{
    struct launch_msg msg = {.kind = kind, .value = value};

    snprintf(msg.text, sizeof(msg.text), "%.*s", (int)sizeof(msg.text) - 1, text);
    ssize_t n = write(fd, &msg, sizeof(msg));
    UNUSED(n); /* without a supervisor nobody is left to be told */
}

static _Noreturn void
give_up(int fd, enum launch_kind kind, const struct error *e)
{
    tell(fd, kind, e->sys, e->msg);
    _exit(FAILED_STATUS);
}

static void
close_pair(int pair[2])
{
    for (int i = 0; i < 2; i++) {
        if (pair[i] >= 0)
            close(pair[i]);
        pair[i] = -1;
    }
}

static void
wires_done(struct wires *w)
{
    close_pair(w->report);
    close_pair(w->exec);
    close_pair(w->release);
    close_pair(w->out);
    close_pair(w->err);
    close_pair(w->maps_wanted);
    close_pair(w->maps_done);
    close_pair(w->tty);
    close_pair(w->mapped);
    while (w->n_procs > 0)
        close(w->procs[--w->n_procs]);
}

/* A job has either a terminal or two pipes for its output. */
static int
wires_make_output(struct wires *w, const struct launch_opts *o, struct error *e)
{
    uid_t uid = o->base + o->account->uid;

    if (o->spec->tty_columns > 0)
        return tty_socket(w->tty, e);
    if (pipe2(w->out, O_CLOEXEC) < 0 || pipe2(w->err, O_CLOEXEC) < 0)
        return error_errno(e, errno, "create pipe");
    /* A bigger pipe only saves wake-ups; past the user's quota the default does. */
    if (fcntl(w->out[1], F_SETPIPE_SZ, STDIO_PIPE_BYTES) < 0 ||
        fcntl(w->err[1], F_SETPIPE_SZ, STDIO_PIPE_BYTES) < 0)
        errno = 0;
    /* So that the job can open /dev/stdout, which asks for rights on the pipe itself. */
    if (!o->map->needed &&
        (fchown(w->out[1], uid, uid) < 0 || fchown(w->err[1], uid, uid) < 0))
        return error_errno(e, errno, "hand over the output pipes");
    return 0;
}

static int
wires_make(struct wires *w, const struct launch_opts *o, struct error *e)
{
    int *const pairs[] = {w->report, w->exec, w->release, w->maps_wanted, w->maps_done,
                          w->mapped, w->out,  w->err,     w->tty};
    const size_t n_always = 6;

    for (size_t i = 0; i < ARRAY_LEN(pairs); i++)
        pairs[i][0] = pairs[i][1] = -1;
    for (size_t i = 0; i < CGROUP_N; i++)
        w->procs[i] = -1;
    w->n_procs = 0;
    w->slave = -1;
    for (size_t i = 0; i < n_always; i++) {
        if (pipe2(pairs[i], O_CLOEXEC) < 0)
            return error_errno(e, errno, "create pipe");
    }
    int rc = wires_make_output(w, o, e);
    if (rc != 0)
        return rc;
    int n = cgroup_open_procs(o->cgroup, w->procs, e);
    if (n < 0)
        return n;
    w->n_procs = (size_t)n;
    return 0;
}

/* Closes everything but the given descriptors (and 0-2). */
static void
close_others(const int *keep, size_t n)
{
    unsigned from = 3;

    for (;;) {
        unsigned next = ~0u; /* the lowest kept descriptor from here on */
        for (size_t i = 0; i < n; i++) {
            if ((unsigned)keep[i] >= from && (unsigned)keep[i] < next)
                next = (unsigned)keep[i];
        }
        if (next > from)
            close_range(from, next == ~0u ? ~0u : next - 1, 0);
        if (next == ~0u)
            return;
        from = next + 1;
    }
}

static bool
read_byte(int fd)
{
    char c;
    ssize_t n;

    do
        n = read(fd, &c, 1);
    while (n < 0 && errno == EINTR);
    return n == 1;
}

/* ---- main ---- */

static int
join_cgroups(const struct wires *w, struct error *e)
{
    for (size_t i = 0; i < w->n_procs; i++) {
        if (write(w->procs[i], "0", 1) != 1)
            return error_errno(e, errno, "enter cgroup");
    }
    if (unshare(CLONE_NEWCGROUP) < 0)
        return error_errno(e, errno, "new cgroup namespace");
    return 0;
}

static int
enter_user_namespace(const struct wires *w, struct error *e)
{
    if (unshare(CLONE_NEWUSER) < 0)
        return error_errno(e, errno, "new user namespace");
    if (write(w->maps_wanted[1], "m", 1) != 1 || !read_byte(w->maps_done[0]))
        return error_set(e, ERR_INTERNAL, "user ids could not be mapped");
    return 0;
}

static int
take_stdio(const struct wires *w, struct error *e)
{
    if (w->slave >= 0) {
        for (int fd = 0; fd < 3; fd++) {
            if (dup2(w->slave, fd) < 0)
                return error_errno(e, errno, "set up the terminal");
        }
        return tty_control(w->slave, e);
    }
    autoclose int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (null < 0 || dup2(null, 0) < 0 || dup2(w->out[1], 1) < 0 || dup2(w->err[1], 2) < 0)
        return error_errno(e, errno, "set up standard input and output");
    return 0;
}

/* Of a root of its own: what its passwd says, where that is a directory. */
static const char *
home_of(const struct launch_opts *o)
{
    struct stat st;

    if (o->spec->rootfs != NULL && o->account->home[0] == '/' &&
        stat(o->account->home, &st) == 0 && S_ISDIR(st.st_mode))
        return o->account->home;
    return ROOTFS_HOME;
}

/* "~" and "~/x" are below the job's home; "~user" is nobody's business. */
static char *
expand_home(const char *dir, const struct spec_list *env, const char *home)
{
    if (dir == NULL || dir[0] == '\0')
        return xstrdup(ROOTFS_HOME);
    if (dir[0] != '~' || (dir[1] != '\0' && dir[1] != '/'))
        return xstrdup(dir);
    for (size_t i = 0; i < env->len; i++) {
        if (str_starts(env->items[i], "HOME=/"))
            home = env->items[i] + strlen("HOME=");
    }
    return xasprintf("%s%s", home, dir + 1);
}

/* As the job's user: what it may not enter, drover does not enter for it. */
static int
enter_directory(const struct launch_opts *o, struct error *e)
{
    struct error ignored = ERROR_INIT;
    autofree char *dir = expand_home(o->spec->working_dir, &o->spec->env, home_of(o));

    if (dir[0] != '/')
        return error_set(e, ERR_INVALID, "working directory %s is not absolute", dir);
    if (chdir(dir) == 0)
        return 0;
    int sys = errno;
    if (sys == ENOENT && fs_mkdirs(dir, 0755, &ignored) == 0 && chdir(dir) == 0)
        return 0;
    return error_errno(e, sys, "working directory %s", dir);
}

static bool
has_env(const struct spec_list *env, const char *prefix)
{
    for (size_t i = 0; i < env->len; i++) {
        if (str_starts(env->items[i], prefix))
            return true;
    }
    return false;
}

bool
launch_is_shell_function(const char *text)
{
    const char *eq = strchr(text, '=');

    return eq != NULL && eq - text > 12 && str_starts(text, "BASH_FUNC_") &&
           (memcmp(eq - 2, "%%", 2) == 0 || memcmp(eq - 2, "()", 2) == 0);
}

static char **
job_environment(const struct launch_opts *o)
{
    const struct spec *s = o->spec;
    const struct spec_list *env = &s->env;
    char **out = xcalloc(env->len + 5, sizeof(char *));
    size_t n = 0;

    if (!has_env(env, "PATH="))
        out[n++] = xstrdup("PATH=" DEFAULT_PATH);
    if (!has_env(env, "HOME="))
        out[n++] = xasprintf("HOME=%s", home_of(o));
    if (s->rootfs != NULL && o->account->shell[0] != '\0' && !has_env(env, "SHELL="))
        out[n++] = xasprintf("SHELL=%s", o->account->shell);
    if (s->tty_columns > 0 && !has_env(env, "TERM="))
        out[n++] = xstrdup("TERM=" DEFAULT_TERM);
    for (size_t i = 0; i < env->len; i++) {
        if (!launch_is_shell_function(env->items[i]))
            out[n++] = xstrdup(env->items[i]);
    }
    return out;
}

static char **
job_arguments(const struct spec_list *argv)
{
    char **out = xcalloc(argv->len + 1, sizeof(char *));

    for (size_t i = 0; i < argv->len; i++)
        out[i] = xstrdup(argv->items[i]);
    return out;
}

static int
prepare_main(const struct launch_opts *o, const struct wires *w, struct error *e)
{
    struct confine_limits limits = {.without_root = o->map->needed};
    int rc = 0;

    if (!cgroup_has(o->cgroup, CGROUP_PIDS))
        limits.processes = o->pids_max;

    if (setsid() < 0)
        rc = error_errno(e, errno, "new session");
    if (rc == 0)
        rc = take_stdio(w, e);
    if (rc == 0)
        rc = confine_process(&limits, e);
    if (rc == 0)
        rc = join_cgroups(w, e);
    if (rc == 0)
        rc = enter_user_namespace(w, e);
    if (rc == 0)
        rc = confine_identity(o->account, e);
    if (rc == 0)
        rc = confine_scope(e);
    if (rc == 0)
        rc = enter_directory(o, e);
    return rc;
}

/* execve(2) has one number for a missing program and for one whose loader is missing. */
static void
say_why_not(const struct spec *s, int sys, const char *program, struct error *e)
{
    const char *in = s->rootfs != NULL ? " in the root file system " : "";
    const char *root = s->rootfs != NULL ? s->rootfs : "";

    if (sys == ENOENT && strchr(program, '/') != NULL && access(program, F_OK) == 0)
        error_set(e, ERR_NOT_FOUND,
                  "execute %.200s: its interpreter or loader is missing%s%.100s", program,
                  in, root);
    else if (sys == ENOENT)
        error_set(e, ERR_NOT_FOUND, "command not found: %.200s%s%.100s", program, in,
                  root);
    else if (sys == ENOEXEC)
        error_set(e, ERR_UNSUPPORTED,
                  "execute %.200s%s%.100s: its format or architecture is not this "
                  "machine's",
                  program, in, root);
    else
        error_errno(e, sys, "execute %s", program);
}

static _Noreturn void
main_process(const struct launch_opts *o, const struct wires *w)
{
    struct error e = ERROR_INIT;
    int report = w->exec[1];
    int keep[] = {report,      w->release[0], w->maps_wanted[1], w->maps_done[0],
                  w->procs[0], w->procs[1],   w->procs[2],       w->procs[3],
                  w->procs[4], w->procs[5],   w->out[1],         w->err[1],
                  w->slave};

    close_others(keep, ARRAY_LEN(keep));
    if (prepare_main(o, w, &e) != 0)
        give_up(report, LAUNCH_CREATE_FAILED, &e);
    /* Before the filter and before the release: nothing is left to fail but execve. */
    char **argv = job_arguments(&o->spec->argv);
    environ = job_environment(o);
    int last[] = {report, w->release[0]};
    close_others(last, ARRAY_LEN(last));
    tell(report, LAUNCH_READY, 0, "");
    if (!read_byte(w->release[0]))
        _exit(FAILED_STATUS); /* the supervisor is gone, or does not want it any more */
    int64_t memory = cgroup_has(o->cgroup, CGROUP_MEMORY)
                         ? 0
                         : o->spec->memory_limit_mib * 1024 * 1024;
    if (confine_syscalls(&e) != 0 || confine_memory(memory, &e) != 0)
        give_up(report, LAUNCH_CREATE_FAILED, &e);
    execvp(argv[0], argv);
    say_why_not(o->spec, errno, argv[0], &e);
    give_up(report, LAUNCH_START_FAILED, &e);
}

/* ---- init ---- */

/* Reaps everything in the namespace until main is gone; the rest dies with init. */
static int
reap_until(pid_t main_pid)
{
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, 0);
        if (pid == main_pid)
            return status;
        if (pid < 0 && errno != EINTR)
            return FAILED_STATUS << 8;
    }
}

/* The first process of the outer namespace becomes its root, once it has ids. */
static int
enter_outer(const struct launch_opts *o, const struct wires *w, struct error *e)
{
    uid_t uid = o->base + o->account->uid;

    close(w->mapped[1]);
    if (!read_byte(w->mapped[0]))
        _exit(FAILED_STATUS); /* the supervisor has the reason */
    if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
        return error_errno(e, errno, "become root of the user namespace");
    if (w->out[1] >= 0 &&
        (fchown(w->out[1], uid, uid) < 0 || fchown(w->err[1], uid, uid) < 0))
        return error_errno(e, errno, "hand over the output pipes");
    return 0;
}

static void
on_sigterm(int signo)
{
    kill(-1, signo);
}

/* kill(2) of -1 is one cut through a pid namespace: a process that is being forked
 * meanwhile gets the signal too. SIGTERM was blocked until now. */
static void
pass_on_sigterm(void)
{
    struct sigaction sa = {.sa_handler = on_sigterm, .sa_flags = SA_RESTART};
    sigset_t set;

    sigaction(SIGTERM, &sa, NULL);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static _Noreturn void
init_process(const struct launch_opts *o, struct wires *w)
{
    struct error e = ERROR_INIT;
    struct rootfs root = {.job_dir = o->spec->dir,
                          .base = o->base,
                          .user = o->base + o->account->uid,
                          .ids = usermap_size(o->map),
                          .own_namespace = o->map->needed,
                          .shm_mib = o->spec->shm_mib,
                          .masks = o->spec->masks.items,
                          .n_masks = o->spec->masks.len,
                          .devices = o->spec->devices.items,
                          .n_devices = o->spec->devices.len,
                          .lower_fd = o->lower_fd,
                          .binds = o->spec->binds.items,
                          .n_binds = o->spec->binds.len};
    int report = w->report[1];

    /* A supervisor that died before this line shows as end of the release pipe. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        _exit(FAILED_STATUS);
    prctl(PR_SET_NAME, "drover-init");
    if (o->map->needed && enter_outer(o, w, &e) != 0)
        give_up(report, LAUNCH_CREATE_FAILED, &e);
    if (rootfs_enter(&root, &e) != 0)
        give_up(report, LAUNCH_CREATE_FAILED, &e);
    if (o->spec->tty_columns > 0 &&
        tty_make(o->spec->tty_columns, o->spec->tty_rows, o->base + o->account->uid,
                 w->tty[1], &w->slave, &e) != 0)
        give_up(report, LAUNCH_CREATE_FAILED, &e);
    pid_t pid = fork();
    if (pid < 0) {
        error_errno(&e, errno, "start the job's first process");
        give_up(report, LAUNCH_CREATE_FAILED, &e);
    }
    if (pid == 0)
        main_process(o, w);
    if (w->n_procs == 0)
        pass_on_sigterm();
    int keep[] = {report, w->maps_wanted[0], w->maps_done[1]};
    close_others(keep, ARRAY_LEN(keep));
    /* Ends without a byte when main failed earlier; it has told why. */
    if (read_byte(w->maps_wanted[0])) {
        if (idmap_write(pid, o->base, usermap_size(o->map), &e) != 0 ||
            write(w->maps_done[1], "m", 1) != 1)
            give_up(report, LAUNCH_CREATE_FAILED, &e);
    }
    if (o->map->needed) /* the job may have the same id */
        prctl(PR_SET_DUMPABLE, 0);
    close_others(&report, 1);
    tell(report, LAUNCH_EXITED, reap_until(pid), "");
    _exit(0);
}

/* ---- supervisor's side ---- */

/* fork(2) into new namespaces. The caller has one thread. */
static pid_t
fork_into(unsigned long flags)
{
#if defined(__s390x__)
    return (pid_t)syscall(SYS_clone, NULL, flags | SIGCHLD, NULL, NULL, NULL);
#else
    return (pid_t)syscall(SYS_clone, flags | SIGCHLD, NULL, NULL, NULL, NULL);
#endif
}

static int
keep_end(int pair[2], int end)
{
    int fd = pair[end];

    pair[end] = -1;
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

/* Ids for init's namespace; the caller follows it there, to have the rights over the
 * job's files that init has. */
static int
open_outer(const struct launch_opts *o, const struct launch *l, const struct wires *w,
           struct error *e)
{
    int rc = usermap_write(o->map, l->init_pid, e);

    if (rc == 0 && setns(l->init_pidfd, CLONE_NEWUSER) < 0)
        rc = error_errno(e, errno, "enter the job's user namespace");
    if (rc == 0 && write(w->mapped[1], "m", 1) != 1)
        rc = error_errno(e, errno, "start the job's init process");
    return rc;
}

int
launch_start(const struct launch_opts *o, struct launch *ret, struct error *e)
{
    struct launch l = LAUNCH_INIT;
    struct wires w;

    int rc = wires_make(&w, o, e);
    if (rc != 0) {
        wires_done(&w);
        return rc;
    }
    l.init_pid = fork_into(NAMESPACES | (o->map->needed ? CLONE_NEWUSER : 0));
    if (l.init_pid == 0)
        init_process(o, &w);
    if (l.init_pid < 0) {
        rc = error_errno(e, errno, "create namespaces");
        wires_done(&w);
        return rc;
    }
    l.init_pidfd = pidfd_open(l.init_pid, 0);
    if (l.init_pidfd < 0)
        rc = error_errno(e, errno, "watch the job");
    if (rc == 0 && o->map->needed)
        rc = open_outer(o, &l, &w, e);
    if (rc != 0) {
        cleanup_close_ptr(&l.init_pidfd);
        kill(l.init_pid, SIGKILL);
        waitpid(l.init_pid, NULL, 0);
        wires_done(&w);
        return rc;
    }
    l.report_fd = keep_end(w.report, 0);
    l.exec_fd = keep_end(w.exec, 0);
    l.release_fd = keep_end(w.release, 1);
    if (o->spec->tty_columns > 0) {
        l.tty_fd = keep_end(w.tty, 0);
    } else {
        l.out_fd = keep_end(w.out, 0);
        l.err_fd = keep_end(w.err, 0);
    }
    wires_done(&w);
    *ret = l;
    return 0;
}

int
launch_release(struct launch *l, struct error *e)
{
    /* Sent before main began, so it is there. */
    if (l->tty_fd >= 0) {
        int rc = tty_take(l->tty_fd, &l->out_fd, &l->slave_fd, e);
        if (rc != 0)
            return rc;
        close(move_fd(l->tty_fd));
    }
    if (write(l->release_fd, "g", 1) != 1)
        return error_errno(e, errno, "release the job's first process");
    close(move_fd(l->release_fd));
    return 0;
}

void
launch_terminate(const struct launch *l)
{
    if (l->init_pidfd >= 0)
        pidfd_send_signal(l->init_pidfd, SIGTERM, NULL, 0);
}

void
launch_kill(const struct launch *l)
{
    if (l->init_pidfd >= 0)
        pidfd_send_signal(l->init_pidfd, SIGKILL, NULL, 0);
}

static _Noreturn void
probe_process(bool root)
{
    struct mount_attr_probe {
        uint64_t set, clr, propagation, userns;
    } attr = {0};

    /* An empty change of a bad descriptor: EBADF where the call exists. */
    if (syscall(SYS_mount_setattr, -1, "", 0x1000, &attr, sizeof(attr)) < 0 &&
        errno == ENOSYS)
        _exit(2);
    if (unshare(CLONE_NEWCGROUP) < 0)
        _exit(3);
    /* Without root it is in one already, which has no ids yet. */
    if (root && unshare(CLONE_NEWUSER) < 0)
        _exit(4);
    _exit(0);
}

static bool
sysctl_is(const char *name, const char *value)
{
    struct error ignored = ERROR_INIT;
    autofree char *path = fs_join("/proc/sys", name);
    auto_str text = STR_INIT(64);

    return fs_read(path, &text, &ignored) == 0 && streq(text.ptr, value);
}

/* Why an ordinary user gets no user namespace. */
static int
explain_refusal(int sys, struct error *e)
{
    const char *knob = NULL;

    if (sysctl_is("user/max_user_namespaces", "0\n"))
        knob = "user.max_user_namespaces is 0";
    else if (sysctl_is("kernel/unprivileged_userns_clone", "0\n"))
        knob = "kernel.unprivileged_userns_clone is 0";
    else if (sysctl_is("kernel/apparmor_restrict_unprivileged_userns", "1\n"))
        knob = "kernel.apparmor_restrict_unprivileged_userns is 1";
    if (knob != NULL)
        return error_set(e, ERR_UNSUPPORTED,
                         "not running as root, and user namespaces are switched off for "
                         "others: %s",
                         knob);
    return error_errno(e, sys, "not running as root, and no user namespace to be had");
}

int
launch_probe(struct error *e)
{
    static const char *const lacks[] = {
        [2] = "the kernel has no mount_setattr (older than 5.12)",
        [3] = "the kernel has no cgroup namespaces",
        [4] = "user namespaces are switched off (user.max_user_namespaces)",
    };
    int status;
    bool root = geteuid() == 0;
    pid_t pid = fork_into(NAMESPACES | (root ? 0 : CLONE_NEWUSER));

    if (pid == 0)
        probe_process(root);
    if (pid < 0)
        return root ? error_errno(e, errno, "create namespaces")
                    : explain_refusal(errno, e);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (status == 0)
        return 0;
    size_t code = WIFEXITED(status) ? (size_t)WEXITSTATUS(status) : 0;
    bool known = code < ARRAY_LEN(lacks) && lacks[code] != NULL;
    return error_set(e, ERR_UNSUPPORTED, "%s",
                     known ? lacks[code] : "namespaces cannot be created");
}
