/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fork and exec. Between them the child makes only async-signal-safe calls: the program
 * is looked up and all memory is prepared before. A pipe that closes at exec brings back
 * what went wrong.
 */
#include "io/proc.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

enum { SAFE_FD = 10, FIRST_FREE_FD = 4, CHILD_STACK = 64 * 1024 };

/* What the child reports when it cannot start the program. */
struct failure {
    int sys;
    char step[28];
};

struct plan {
    const struct proc_opts *opts;
    char *path;
    char **argv, **env;
    int report_fd;
    pid_t parent;
};

/* --- before the fork ------------------------------------------------------------------
 */

static int
find_program(const char *name, char **ret, struct error *e)
{
    const char *dirs = getenv("PATH");
    int sys = ENOENT;

    if (strchr(name, '/') != NULL) {
        *ret = xstrdup(name);
        return 0;
    }
    for (const char *p = dirs == NULL ? "/usr/bin:/bin" : dirs; *p != '\0';) {
        size_t n = strcspn(p, ":");
        char *path =
            n == 0 ? xasprintf("./%s", name) : xasprintf("%.*s/%s", (int)n, p, name);
        if (access(path, X_OK) == 0) {
            *ret = path;
            return 0;
        }
        if (errno == EACCES)
            sys = EACCES;
        free(path);
        p += n;
        if (*p == ':')
            p++;
    }
    return error_errno(e, sys, "run %s", name);
}

/* --- in the child ---------------------------------------------------------------------
 */

_Noreturn static void
fail(const struct plan *p, const char *step)
{
    struct failure f = {.sys = errno};
    size_t n = strlen(step);

    memcpy(f.step, step, n < sizeof(f.step) ? n : sizeof(f.step) - 1);
    ssize_t rc = write(p->report_fd, &f, sizeof(f));
    UNUSED(rc);
    _exit(127);
}

/* A copy of fd out of the way of 0-3; /dev/null for -1. */
static int
stash(const struct plan *p, int fd, int flags)
{
    int from = fd < 0 ? open("/dev/null", flags | O_CLOEXEC) : fd;
    int copy = from < 0 ? -1 : fcntl(from, F_DUPFD_CLOEXEC, SAFE_FD);

    if (copy < 0)
        fail(p, "prepare descriptors");
    return copy;
}

static void
set_descriptors(const struct plan *p)
{
    const struct proc_opts *o = p->opts;
    int in = stash(p, o->stdin_fd, O_RDONLY);
    int out = stash(p, o->stdout_fd, O_WRONLY);
    int err = stash(p, o->stderr_fd, O_WRONLY);
    int extra = o->extra_fd < 0 ? -1 : stash(p, o->extra_fd, 0);

    if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0 ||
        (extra >= 0 && dup2(extra, 3) < 0))
        fail(p, "place descriptors");
    /* Ours are close-on-exec anyhow; this also covers what a library left open. Before
     * Linux 5.11 one by one. */
    unsigned first = extra >= 0 ? FIRST_FREE_FD : FIRST_FREE_FD - 1;
    if (close_range(first, ~0U, CLOSE_RANGE_CLOEXEC) == 0)
        return;
    struct rlimit lim;
    if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
        fail(p, "close descriptors");
    for (int fd = (int)first; fd < (int)lim.rlim_cur; fd++)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static void
reset_signals(void)
{
    struct sigaction dfl = {.sa_handler = SIG_DFL};
    sigset_t none;

    for (int sig = 1; sig < NSIG; sig++)
        sigaction(sig, &dfl, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

_Noreturn static void
child(const struct plan *p)
{
    const struct proc_opts *o = p->opts;

    reset_signals();
    if (o->new_session && setsid() < 0)
        fail(p, "start a session");
    if (o->parent_death_signal != 0) {
        if (prctl(PR_SET_PDEATHSIG, o->parent_death_signal) < 0)
            fail(p, "set parent death signal");
        if (getppid() != p->parent) /* it died before we asked */
            _exit(127);
    }
    set_descriptors(p);
    if (o->cwd != NULL && chdir(o->cwd) < 0)
        fail(p, "enter the directory");
    execve(p->path, p->argv, p->env);
    fail(p, "execute");
}

static int
child_main(void *arg)
{
    child(arg);
}

/* The child borrows the parent's memory until it executes the program, on a stack of its
 * own (the parent waits for that anyhow): no page tables are copied, which for a process
 * of some libraries is most of the cost of a start. The sanitizers do not follow this. */
static pid_t
begin_child(struct plan *p)
{
#ifdef DROVER_SANITIZED
    pid_t pid = fork();
    if (pid == 0)
        child_main(p);
    return pid;
#else
    _Alignas(16) char stack[CHILD_STACK];
    return clone(child_main, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD, p);
#endif
}

/* Signals are held back, so that no handler of the parent's runs in the child. */
static pid_t
start_child(struct plan *p)
{
    sigset_t all;
    sigset_t before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t pid = begin_child(p);
    int sys = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = sys;
    return pid;
}

/* --- in the parent --------------------------------------------------------------------
 */

/* Waits until the child has become the program, or has said why not. */
static int
await_exec(const struct plan *p, int fd, pid_t pid, struct error *e)
{
    struct failure f;
    ssize_t n;

    do
        n = read(fd, &f, sizeof(f));
    while (n < 0 && errno == EINTR);
    if (n == 0)
        return 0;
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    if (n != (ssize_t)sizeof(f))
        return error_set(e, ERR_INTERNAL, "run %s: the child gave no reason", p->path);
    f.step[sizeof(f.step) - 1] = '\0';
    if (p->opts->cwd != NULL && streq(f.step, "enter the directory"))
        return error_errno(e, f.sys, "run %s: enter %s", p->path, p->opts->cwd);
    return error_errno(e, f.sys, "run %s: %s", p->path, f.step);
}

int
proc_spawn(const struct proc_opts *opts, pid_t *ret_pid, struct error *e)
{
    autofree char *path = NULL;
    int ends[2];
    int rc = find_program(opts->argv[0], &path, e);

    if (rc != 0)
        return rc;
    bug_if(path == NULL);
    if (pipe2(ends, O_CLOEXEC) < 0)
        return error_errno(e, errno, "run %s: create pipe", path);
    autoclose int read_end = ends[0];
    int high = fcntl(ends[1], F_DUPFD_CLOEXEC, SAFE_FD);
    close(ends[1]);
    if (high < 0)
        return error_errno(e, errno, "run %s: create pipe", path);
    /* exec's prototype lacks const for historical reasons; it writes to neither. */
    struct plan p = {.opts = opts,
                     .path = path,
                     .argv = (char **)(uintptr_t)opts->argv,
                     .env = opts->env == NULL ? environ : (char **)(uintptr_t)opts->env,
                     .report_fd = high,
                     .parent = getpid()};
    pid_t pid = start_child(&p);
    int sys = errno;
    close(high);
    if (pid < 0)
        return error_errno(e, sys, "run %s: fork", path);
    rc = await_exec(&p, read_end, pid, e);
    if (rc == 0)
        *ret_pid = pid;
    return rc;
}

/* Takes what is in the pipe now; false at its end. What does not fit is dropped. */
static bool
drain(int fd, struct str *out)
{
    char buf[8192];

    for (;;) {
        ssize_t n = read(fd, buf, sizeof(buf));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 && errno == EAGAIN;
        size_t room = out->max - out->len;
        str_add(out, buf, (size_t)n < room ? (size_t)n : room);
    }
}

/* Until the program has ended (children it left behind may hold the pipe open): 1, or 0
 * when the deadline passed first. */
static int
collect(int pidfd, int out_fd, int64_t deadline, struct str *out)
{
    struct pollfd fds[2] = {{.fd = pidfd, .events = POLLIN},
                            {.fd = out_fd, .events = POLLIN}};

    for (;;) {
        int64_t left = deadline - clock_now_ms();
        if (left <= 0)
            return 0;
        if (poll(fds, 2, left > INT32_MAX ? INT32_MAX : (int)left) < 0 && errno != EINTR)
            return 0;
        if (fds[1].revents != 0 && !drain(out_fd, out))
            fds[1].fd = -1;
        if (fds[0].revents != 0) {
            if (fds[1].fd >= 0)
                drain(out_fd, out);
            return 1;
        }
    }
}

int
proc_run(const struct proc_opts *opts, int timeout_ms, struct str *out, int *ret_status,
         struct error *e)
{
    struct proc_opts own = *opts;
    int64_t deadline = clock_now_ms() + timeout_ms;
    int ends[2];
    pid_t pid = -1;
    int status = 0;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return error_errno(e, errno, "run %s: create pipe", opts->argv[0]);
    autoclose int read_end = ends[0];
    autoclose int write_end = ends[1];
    own.stdout_fd = own.stderr_fd = write_end;
    own.new_session = true; /* so that the time-out reaches its children too */
    if (fcntl(read_end, F_SETFL, O_NONBLOCK) < 0)
        return error_errno(e, errno, "run %s", opts->argv[0]);
    int rc = proc_spawn(&own, &pid, e);
    if (rc != 0)
        return rc;
    close(move_fd(write_end));
    autoclose int pidfd = pidfd_open(pid, 0);
    bool ended = pidfd >= 0 && collect(pidfd, read_end, deadline, out) == 1;
    if (!ended)
        kill(-pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (!ended)
        return error_set(e, ERR_TIMEOUT, "run %s: not finished after %d ms",
                         opts->argv[0], timeout_ms);
    *ret_status = status;
    return 0;
}

void
proc_status_text(int wait_status, char *out, size_t size)
{
    if (wait_status != -1 && WIFEXITED(wait_status)) {
        snprintf(out, size, "exited with %d", WEXITSTATUS(wait_status));
    } else if (wait_status != -1 && WIFSIGNALED(wait_status)) {
        const char *name = sigabbrev_np(WTERMSIG(wait_status));
        snprintf(out, size, "killed by %s%s%s", name == NULL ? "signal" : "SIG",
                 name == NULL ? "" : name,
                 WCOREDUMP(wait_status) ? " (core dumped)" : "");
    } else {
        snprintf(out, size, "ended with unknown status");
    }
}
