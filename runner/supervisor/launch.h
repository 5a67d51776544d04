/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a spec to a process that waits, fully confined, for permission to execute the
 * job's program:
 *
 *   supervisor        real root, the machine's namespaces; outlives nothing
 *    └─ init          pid 1 of new pid, mount, ipc and uts namespaces; real root without
 *       │             a part in the job: builds its file system, reaps, reports its end
 *       └─ main       in the cgroups, a new user and cgroup namespace, without rights;
 *                     waits for the release byte, then executes the program
 *
 * Without root (usermap.h) init lives in a user namespace between the machine's and the
 * job's: the same walls, one level down. Where there is no cgroup the job is what is in
 * its pid namespace, and init passes SIGTERM on to all of it.
 *
 * When the supervisor dies, the kernel kills init (parent death signal), and with init
 * everything in the pid namespace: nothing can be left behind. Before the release main
 * sees the pipe close instead and exits without having executed anything.
 */
#ifndef SUPERVISOR_LAUNCH_H
#define SUPERVISOR_LAUNCH_H

#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "runner/supervisor/account.h"
#include "runner/supervisor/cgroup.h"
#include "runner/supervisor/spec.h"
#include "runner/supervisor/usermap.h"

enum launch_kind {
    LAUNCH_READY,         /* main waits for the release */
    LAUNCH_CREATE_FAILED, /* text says why; it never ran */
    LAUNCH_START_FAILED,  /* the program could not be executed */
    LAUNCH_EXITED,        /* value: status of main as from waitpid(2) */
};

/* One write, one message; shorter than PIPE_BUF. */
struct launch_msg {
    uint32_t kind;
    int32_t value;
    char text[400];
};

struct launch_opts {
    const struct spec *spec;
    const struct account *account;
    const struct cgroup *cgroup; /* exists */
    const struct usermap *map;
    uid_t base; /* the job's root: a uid of the machine, or of the outer namespace */
    int64_t pids_max;
    int lower_fd; /* lower.h; -1: no root of its own */
};

/* All descriptors are the supervisor's ends, non-blocking. */
struct launch {
    pid_t init_pid;
    int init_pidfd;
    int report_fd;      /* messages of init; it ends when init does */
    int exec_fd;        /* messages of main; ends without one when the program executes */
    int release_fd;     /* write end */
    int out_fd, err_fd; /* with a terminal: its master from the release on, and -1 */
    int tty_fd, slave_fd; /* tty.h; -1 without a terminal */
};
#define LAUNCH_INIT                                                                      \
    ((struct launch){.init_pid = -1,                                                     \
                     .init_pidfd = -1,                                                   \
                     .report_fd = -1,                                                    \
                     .exec_fd = -1,                                                      \
                     .release_fd = -1,                                                   \
                     .out_fd = -1,                                                       \
                     .err_fd = -1,                                                       \
                     .tty_fd = -1,                                                       \
                     .slave_fd = -1})

/* Signals that the caller blocks stay blocked in init and are unblocked in main. */
int launch_start(const struct launch_opts *o, struct launch *ret,
                 struct error *e) WARN_UNUSED;
int launch_release(struct launch *l, struct error *e) WARN_UNUSED;
/* SIGTERM to every process of a job without cgroups. */
void launch_terminate(const struct launch *l);
/* Kills the whole job; init is to be reaped by the caller. */
void launch_kill(const struct launch *l);
/* Is "K=V" a function that a bash exported? No program but that bash has a use for it, so
 * jobs do not get it. */
bool launch_is_shell_function(const char *text);
/* Checks that this machine can do what launch_start() needs, in a child. */
int launch_probe(struct error *e) WARN_UNUSED;

#endif
