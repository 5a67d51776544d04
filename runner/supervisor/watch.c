/* SPDX-License-Identifier: Apache-2.0 */
/* The supervisor's loop. */
#include "runner/supervisor/watch.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"
#include "runner/supervisor/supervisor.h"

enum { FD_SIGNAL, FD_INIT, FD_EXEC, FD_REPORT, FD_OUT, FD_ERR, FD_DEADMAN, FD_N };

static void
fail_with(struct watch *w, enum launch_kind kind, const char *text)
{
    if (w->failed)
        return; /* the first reason is the cause of the others */
    w->failed = true;
    w->failure.kind = kind;
    snprintf(w->failure.text, sizeof(w->failure.text), "%.*s",
             (int)sizeof(w->failure.text) - 1, text);
}

static void
kill_job(struct watch *w)
{
    w->killed = true;
    w->kill_at_ms = 0;
    launch_kill(&w->launch);
}

/* Main is ready. The moment after which the job counts as started. */
static void
release(struct watch *w)
{
    struct error e = ERROR_INIT;

    if (w->stopping) {
        fail_with(w, LAUNCH_START_FAILED, "stopped before the start");
        kill_job(w);
        return;
    }
    w->state.phase = RECORD_STARTING;
    w->state.started_ns = clock_wall_ns();
    int rc = record_state_write(w->dir, &w->state, true, &e);
    if (rc == 0) {
        w->released = true;
        rc = launch_release(&w->launch, &e);
    }
    if (rc != 0) {
        fail_with(w, LAUNCH_CREATE_FAILED, e.msg);
        kill_job(w);
    }
}

static void
note_executed(struct watch *w)
{
    struct error ignored = ERROR_INIT;

    if (!w->released || w->failed || w->executed)
        return;
    w->executed = true;
    w->state.phase = RECORD_RUNNING;
    int rc = record_state_write(w->dir, &w->state, false, &ignored);
    UNUSED(rc); /* news for the agent only; the exit record says it again */
}

static void
take_message(struct watch *w, const struct launch_msg *msg)
{
    switch ((enum launch_kind)msg->kind) {
    case LAUNCH_READY:
        release(w);
        break;
    case LAUNCH_CREATE_FAILED:
    case LAUNCH_START_FAILED:
        fail_with(w, (enum launch_kind)msg->kind, msg->text);
        break;
    case LAUNCH_EXITED:
        w->have_status = true;
        w->main_status = msg->value;
        break;
    }
}

/* Reads the messages that are there; closes at the end of file. */
static void
read_messages(struct watch *w, int *fd)
{
    struct launch_msg msg;

    while (*fd >= 0) {
        ssize_t n = read(*fd, &msg, sizeof(msg));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n == (ssize_t)sizeof(msg)) {
            msg.text[sizeof(msg.text) - 1] = '\0';
            take_message(w, &msg);
            continue;
        }
        if (fd == &w->launch.exec_fd)
            note_executed(w);
        close(*fd);
        *fd = -1;
    }
}

static void
begin_stop(struct watch *w, int64_t grace_ms)
{
    int64_t at = clock_now_ms() + (grace_ms > 0 ? grace_ms : 0);

    if (w->killed)
        return;
    if (!w->stopping && grace_ms > 0 && w->released) {
        if (w->cgroup.n > 0)
            cgroup_signal(&w->cgroup, SIGTERM);
        else
            launch_terminate(&w->launch);
    }
    if (!w->stopping && !w->released)
        at = clock_now_ms(); /* nothing runs that could use the time */
    w->stopping = true;
    if (w->kill_at_ms == 0 || at < w->kill_at_ms)
        w->kill_at_ms = at;
}

static void
read_signals(struct watch *w)
{
    struct signalfd_siginfo si;

    while (read(w->signal_fd, &si, sizeof(si)) == (ssize_t)sizeof(si)) {
        bool ours = (int)si.ssi_signo == SUPERVISOR_STOP && si.ssi_code == SI_QUEUE;
        begin_stop(w, ours ? si.ssi_int : SUPERVISOR_GRACE_MS);
    }
    if (w->kill_at_ms != 0 && !w->released)
        fail_with(w, LAUNCH_START_FAILED, "stopped before the start");
}

/* Nobody renewed the machine's lease for L, with or without an agent alive: the control
 * plane may put the job elsewhere from now on. */
static void
check_deadman(struct watch *w)
{
    if (!deadman_over(&w->deadman))
        return;
    deadman_close(&w->deadman);
    w->silent = !w->stopping;
    begin_stop(w, w->stop_ms);
}

/* Stops a job that keeps more than it may. One that goes on writing instead of ending
 * does not get the whole grace for it. */
static void
check_disk(struct watch *w)
{
    if (!w->released || w->killed)
        return;
    enum diskuse_verdict v = diskuse_turn(&w->disk);
    if (v == DISKUSE_WITHIN)
        return;
    if (w->over_disk && w->disk.used / 2 > w->disk.limit)
        kill_job(w);
    if (w->stopping)
        return;
    w->over_disk = true;
    if (v == DISKUSE_TOO_DEEP)
        snprintf(w->over, sizeof(w->over),
                 "directories nested more than %d deep cannot be measured against the "
                 "limit of the disk",
                 DISKUSE_DEPTH_MAX);
    else
        snprintf(w->over, sizeof(w->over),
                 "the files of the job took %" PRId64 " MiB of the disk, more than its "
                 "limit of %" PRId64 " MiB",
                 w->disk.used / (1024 * 1024), w->disk.limit / (1024 * 1024));
    begin_stop(w, w->stop_ms);
}

/* What is due by the clock. Called in every turn: output must not put off a kill. */
static void
check_times(struct watch *w)
{
    check_disk(w);
    if (w->kill_at_ms != 0 && clock_now_ms() >= w->kill_at_ms)
        kill_job(w);
}

static int
poll_timeout(const struct watch *w)
{
    int64_t at = w->kill_at_ms;

    if (w->released && !w->killed && w->disk.next_ms != 0 &&
        (at == 0 || w->disk.next_ms < at))
        at = w->disk.next_ms;
    if (at == 0)
        return -1;
    int64_t left = at - clock_now_ms();
    return left < 0 ? 0 : left > 3600000 ? 3600000 : (int)left;
}

static void
pump(struct watch *w, int which, bool until_empty)
{
    int fd = which == 0 ? w->launch.out_fd : w->launch.err_fd;
    enum segment_stream stream = which == 0 ? SEGMENT_STDOUT : SEGMENT_STDERR;

    while (!w->ended[which] && output_pump(w->output, fd, stream, &w->ended[which]) &&
           until_empty)
        ;
}

/* One turn; false when init is gone. */
static bool
turn(struct watch *w)
{
    struct pollfd p[FD_N] = {
        [FD_SIGNAL] = {.fd = w->signal_fd, .events = POLLIN},
        [FD_INIT] = {.fd = w->launch.init_pidfd, .events = POLLIN},
        [FD_EXEC] = {.fd = w->launch.exec_fd, .events = POLLIN},
        [FD_REPORT] = {.fd = w->launch.report_fd, .events = POLLIN},
        [FD_OUT] = {.fd = w->ended[0] ? -1 : w->launch.out_fd, .events = POLLIN},
        [FD_ERR] = {.fd = w->ended[1] ? -1 : w->launch.err_fd, .events = POLLIN},
        [FD_DEADMAN] = {.fd = w->deadman.fd, .events = POLLIN},
    };

    int n = poll(p, FD_N, poll_timeout(w));
    if (n < 0 && errno != EINTR)
        kill_job(w);
    if (n <= 0) {
        check_times(w);
        return true;
    }
    if (p[FD_SIGNAL].revents != 0)
        read_signals(w);
    if (p[FD_DEADMAN].revents != 0)
        check_deadman(w);
    if (p[FD_EXEC].revents != 0)
        read_messages(w, &w->launch.exec_fd);
    if (p[FD_REPORT].revents != 0)
        read_messages(w, &w->launch.report_fd);
    if (p[FD_OUT].revents != 0)
        pump(w, 0, false);
    if (p[FD_ERR].revents != 0)
        pump(w, 1, false);
    check_times(w);
    return p[FD_INIT].revents == 0;
}

/* Whose memory ran out: the job's own limit, or somebody's above it. */
static void
describe_oom(const struct watch *w, struct record_exit *x)
{
    char by[160];
    int64_t peak_mib = x->memory_peak / (1024 * 1024);

    bool own = cgroup_hit_own_limit(&w->cgroup);
    snprintf(x->oom_cgroup, sizeof(x->oom_cgroup), "%.199s",
             own ? w->cgroup.dir[w->cgroup.of[CGROUP_MEMORY]] : "/");
    if (own)
        snprintf(by, sizeof(by),
                 "by the memory limit of the job (limit %" PRId64 " MiB, peak %" PRId64
                 " MiB)",
                 w->memory_limit_mib, peak_mib);
    else
        snprintf(by, sizeof(by),
                 "because the machine ran out of memory (the job's peak: %" PRId64
                 " MiB)",
                 peak_mib);
    /* A shell gives 128 + 9 when what it ran was killed. */
    if (x->signal == SIGKILL || x->exit_code == 128 + SIGKILL) {
        x->end = RECORD_OOM;
        x->signal = SIGKILL;
        x->exit_code = -1;
        snprintf(x->message, sizeof(x->message), "killed %s", by);
    } else {
        snprintf(x->message, sizeof(x->message),
                 "%" PRId64 " process(es) of the job were killed %s", x->oom_kills, by);
    }
}

static void
describe_end(const struct watch *w, struct record_exit *x)
{
    int status = w->main_status;

    if (!w->have_status) /* init died with main: SIGKILL to all, by us or by somebody */
        status = SIGKILL;
    if (WIFSIGNALED(status)) {
        x->end = RECORD_SIGNALED;
        x->signal = WTERMSIG(status);
        if (!w->have_status && !w->killed)
            snprintf(x->message, sizeof(x->message), "%s",
                     "the init process of the job was killed from outside");
    } else {
        x->end = RECORD_EXITED;
        x->exit_code = WEXITSTATUS(status);
    }
    if (w->silent)
        snprintf(x->message, sizeof(x->message),
                 "stopped: the control plane had not been reached for %" PRId64 " s",
                 w->deadman.last.lost_after_ms / 1000);
    if (w->over_disk) {
        x->end = RECORD_DISK_QUOTA;
        snprintf(x->message, sizeof(x->message), "%s", w->over);
    } else if (x->oom_kills > 0 && !w->killed) {
        describe_oom(w, x);
    }
}

static int
finish(struct watch *w)
{
    struct error e = ERROR_INIT;
    struct record_exit x = {.exit_code = -1};

    while (waitpid(w->launch.init_pid, NULL, 0) < 0 && errno == EINTR)
        ;
    /* Every process is gone, so all that was written is in the pipes; an end of file may
     * still be missing when somebody outside was handed a descriptor. */
    read_messages(w, &w->launch.exec_fd);
    read_messages(w, &w->launch.report_fd);
    pump(w, 0, true);
    pump(w, 1, true);
    output_close(w->output, &x.log_length, &x.dropped_bytes);
    x.finished_ns = clock_wall_ns();
    x.started = w->executed && !w->failed;
    x.oom_kills = cgroup_oom_kills(&w->cgroup);
    x.memory_peak = cgroup_memory_peak(&w->cgroup);
    deadman_close(&w->deadman);
    diskuse_close(&w->disk);
    if (x.started) {
        x.started_ns = w->state.started_ns;
        describe_end(w, &x);
    } else {
        x.end = w->failed && w->failure.kind == LAUNCH_CREATE_FAILED
                    ? RECORD_CREATE_FAILED
                    : RECORD_START_FAILED;
        snprintf(x.message, sizeof(x.message), "%.*s", (int)sizeof(x.message) - 1,
                 w->failed ? w->failure.text : "killed before the start");
    }
    return record_exit_write(w->dir, &x, &e) == 0 ? 0 : 1;
}

int
watch_run(struct watch *w)
{
    struct error ignored = ERROR_INIT;

    w->state.phase = RECORD_PREPARING;
    w->state.init.pid = w->launch.init_pid;
    w->state.init.ticks = record_proc_ticks(w->launch.init_pid);
    /* Tells an agent whom to wait for when this process is killed now. */
    int rc = record_state_write(w->dir, &w->state, false, &ignored);
    UNUSED(rc);
    while (turn(w))
        ;
    return finish(w);
}
