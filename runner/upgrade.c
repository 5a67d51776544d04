/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A new agent in place of the running one, under the jobs: on SIGHUP the program file is
 * asked for its version and, when it answers, executed in this very process. Every
 * descriptor is close-on-exec, so the lock passes on; the jobs' supervisors are other
 * processes and notice nothing. A program that cannot run leaves everything as it is.
 */
#include "runner/upgrade.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "io/proc.h"

LOG_MODULE(upgrade);

struct upgrade {
    struct loop *loop;
    const char *program;
    char **argv;
    struct loop_signal *hup;
    struct loop_child *check;
};

static void
on_checked(void *arg, pid_t pid, int status)
{
    struct upgrade *u = arg;
    char how[64];

    UNUSED(pid);
    loop_child_free(move_ptr(u->check));
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        proc_status_text(status, how, sizeof(how));
        log_err("not upgraded: the new program does not run", "program=%s status=\"%s\"",
                u->program, how);
        return;
    }
    log_info("the program is executed anew", "program=%s", u->program);
    fflush(NULL);
    execv(u->program, u->argv);
    log_err("not upgraded", "program=%s error=\"%s\"", u->program,
            strerrordesc_np(errno));
}

static void
on_hup(void *arg, int signo)
{
    struct upgrade *u = arg;
    const char *argv[] = {u->program, "--version", NULL};
    struct proc_opts opts = PROC_OPTS_INIT;
    struct error e = ERROR_INIT;
    pid_t pid;

    UNUSED(signo);
    if (u->check != NULL)
        return;
    opts.argv = argv;
    int rc = proc_spawn(&opts, &pid, &e);
    if (rc == 0)
        rc = loop_child_add(u->loop, "upgrade", pid, on_checked, u, &u->check, &e);
    if (rc != 0)
        log_err("not upgraded: the new program does not start", "error=\"%s\"", e.msg);
}

int
upgrade_new(struct loop *l, const char *program, char **argv, struct upgrade **ret,
            struct error *e)
{
    struct upgrade *u = xnew(struct upgrade);

    u->loop = l;
    u->program = program;
    u->argv = argv;
    int rc = loop_signal_add(l, SIGHUP, on_hup, u, &u->hup, e);
    if (rc != 0) {
        free(u);
        return rc;
    }
    *ret = u;
    return 0;
}

void
upgrade_free(struct upgrade *u)
{
    if (u == NULL)
        return;
    loop_signal_free(u->hup);
    loop_child_free(u->check);
    free(u);
}
