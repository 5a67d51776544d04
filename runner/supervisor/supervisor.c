/* SPDX-License-Identifier: Apache-2.0 */
/* Entry of the supervisor: becoming independent, the claim, the failure record. */
#include "runner/supervisor/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "runner/supervisor/create.h"
#include "runner/supervisor/probe.h"
#include "runner/supervisor/spec.h"
#include "runner/supervisor/tree.h"
#include "runner/supervisor/usermap.h"
#include "runner/supervisor/watch.h"

enum { TEXT_MAX = 400 };

static void
block_signals(int *ret_signal_fd)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SUPERVISOR_STOP);
    /* Blocked for good: a stop that comes at any moment waits in the descriptor. */
    sigprocmask(SIG_BLOCK, &set, NULL);
    *ret_signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGHUP, &ignore, NULL);
    sigaction(SIGINT, &ignore, NULL);
    sigaction(SIGQUIT, &ignore, NULL);
    sigaction(SIGPIPE, &ignore, NULL);
}

/* When the machine runs out of memory, jobs go first; losing this process would cost the
 * job and its record. */
static void
protect_from_oom(void)
{
    autoclose int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

    if (fd >= 0 && write(fd, "-900", 4) != 4)
        errno = 0; /* not permitted in some containers, ignoring */
}

static void
record_failure(const char *dir, const struct error *why)
{
    struct error e = ERROR_INIT;
    struct record_exit x = {
        .end = RECORD_CREATE_FAILED, .exit_code = -1, .finished_ns = clock_wall_ns()};

    snprintf(x.message, sizeof(x.message), "%.*s", (int)sizeof(x.message) - 1, why->msg);
    int rc = record_exit_write(dir, &x, &e);
    UNUSED(rc); /* the agent finds a dead supervisor that started nothing */
}

static int
run_job(struct spec *s, const struct record_state *self, int signal_fd)
{
    struct error e = ERROR_INIT;
    struct watch w = {.launch = LAUNCH_INIT,
                      .state = *self,
                      .signal_fd = signal_fd,
                      .deadman = DEADMAN_INIT,
                      .stop_ms = s->stop_ms,
                      .memory_limit_mib = s->memory_limit_mib};

    autofree char *dir = xstrdup(s->dir);
    autofree char *renewed = s->renewed != NULL ? xstrdup(s->renewed) : NULL;
    autofree char *log_dir = fs_join(dir, "log");
    record_reserve(dir);
    int rc = output_open(log_dir, s->spool_bytes, &w.output, &e);
    if (rc == 0)
        rc = deadman_open(&w.deadman, renewed, self->boot_id, &e);
    if (rc == 0)
        rc = create_job(s, &w.cgroup, &w.launch, &e);
    if (rc != 0) {
        int64_t unused;
        output_close(w.output, &unused, &unused);
        record_failure(dir, &e);
        return 1;
    }
    diskuse_open(&w.disk, dir, s->disk_limit_mib);
    /* The children have their copy; the secrets in env are not needed here any more. */
    spec_done(s);
    w.dir = dir;
    return watch_run(&w);
}

/* The independent process. Tells through claimed_fd how the claim went. */
static int
supervise(struct spec *s, int signal_fd, int claimed_fd)
{
    struct error e = ERROR_INIT;
    struct record_state self = {.supervisor = {.pid = getpid()}};
    struct record_claim claim;
    char verdict[TEXT_MAX + 1] = {0};

    setsid();
    if (chdir("/") < 0)
        errno = 0; /* only so that no directory is kept busy */
    prctl(PR_SET_NAME, "drover-superv");
    if (geteuid() == 0) /* without root it could not give ids to its child */
        prctl(PR_SET_DUMPABLE, 0);
    protect_from_oom();
    record_boot_id(self.boot_id);
    self.supervisor.ticks = record_proc_ticks(self.supervisor.pid);
    claim.supervisor = self.supervisor;
    memcpy(claim.boot_id, self.boot_id, sizeof(claim.boot_id));
    int rc = record_prepare(s->dir, &e);
    if (rc == 0)
        rc = record_claim_make(s->dir, &claim, &e);
    verdict[0] = (char)(rc == 0 ? 0 : rc == -ERR_EXISTS ? SUPERVISOR_CLAIMED : 1);
    snprintf(verdict + 1, TEXT_MAX, "%.*s", TEXT_MAX - 1, e.msg);
    ssize_t n = write(claimed_fd, verdict, sizeof(verdict));
    UNUSED(n); /* the one that waits for it may be gone */
    close(claimed_fd);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; fd < 3; fd++)
        dup2(null, fd);
    return rc == 0 ? run_job(s, &self, signal_fd) : 1;
}

static int
say(const char *text, int status)
{
    fprintf(stderr, "%s\n", text);
    return status;
}

/* Waits for the verdict of the real supervisor and passes it on. */
static int
await_claim(int fd)
{
    char verdict[TEXT_MAX + 1];
    ssize_t n = read(fd, verdict, sizeof(verdict));

    if (n <= 0)
        return say("the supervisor was killed before it began", 1);
    verdict[TEXT_MAX] = '\0';
    return verdict[0] == 0 ? 0 : say(verdict + 1, verdict[0]);
}

static int
fork_supervisor(struct spec *s)
{
    int signal_fd;
    int pair[2];

    block_signals(&signal_fd);
    if (signal_fd < 0 || pipe2(pair, O_CLOEXEC) < 0)
        return say("no descriptors left", 1);
    pid_t pid = fork();
    if (pid < 0)
        return say("fork failed", 1);
    if (pid == 0) {
        close(pair[0]);
        _exit(supervise(s, signal_fd, pair[1]));
    }
    close(pair[1]);
    return await_claim(pair[0]);
}

static int
start(const char *dir)
{
    struct error e = ERROR_INIT;
    struct spec s;

    int rc = spec_map(SPEC_FD, &s, &e);
    if (rc != 0)
        return say(e.msg, 1);
    close(SPEC_FD);
    int status = streq(s.dir, dir) ? fork_supervisor(&s)
                                   : say("job spec: not of this directory", 1);
    spec_done(&s);
    return status;
}

static int
remove_main(const char *dir)
{
    struct error e = ERROR_INIT;
    struct usermap map;

    usermap_find(&map);
    int rc = usermap_enter(&map, &e);
    if (rc == 0)
        rc = tree_remove_job(dir, &e);
    return rc == 0 ? 0 : say(e.msg, 1);
}

int
supervisor_main(int argc, char **argv)
{
    int status = 2;

    if (argc == 3 && streq(argv[2], "--probe"))
        status = probe_main();
    else if (argc == 4 && streq(argv[2], SUPERVISOR_REMOVE) && argv[3][0] == '/')
        status = remove_main(argv[3]);
    else if (argc == 3 && argv[2][0] == '/')
        status = start(argv[2]);
    else
        say("usage: drover-runner --supervise <job directory> (internal)", 2);
    fflush(stdout);
    return status;
}
