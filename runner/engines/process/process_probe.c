/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is this machine able to contain a job? The supervisor program tries, in a process of
 * its own (`--supervise --probe`). Where it cannot, the engine is not available, with the
 * reason; it never runs anything uncontained.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "io/proc.h"
#include "runner/engines/process/process_internal.h"
#include "runner/supervisor/supervisor.h"

struct process_probe {
    struct engine *en;
    void (*done)(void *arg, const struct engine_status *s);
    void *arg;
    struct loop_child *child;
    struct loop_timer *failed; /* answers from the loop when nothing could be started */
    char error[240];
    int stdout_fd;
    LIST_ENTRY(process_probe) link;
};

static void
probe_free(struct process_probe *p)
{
    LIST_REMOVE(p, link);
    loop_child_free(p->child);
    loop_timer_free(p->failed);
    cleanup_close_ptr(&p->stdout_fd);
    free(p);
}

/* message: why not, or the limitations. */
static void
answer(struct process_probe *p, const char *reason, const char *message)
{
    struct engine_status s = {.available = reason == NULL};
    struct utsname u;

    if (uname(&u) == 0)
        snprintf(s.version, sizeof(s.version), "linux %.50s", u.release);
    if (reason != NULL) {
        snprintf(s.reason, sizeof(s.reason), "%s", reason);
        snprintf(s.message, sizeof(s.message), "%.239s", message);
    } else {
        snprintf(s.limitations, sizeof(s.limitations), "%s", message);
    }
    p->done(p->arg, &s);
    probe_free(p);
}

static void
on_probed(void *arg, pid_t pid, int status)
{
    struct process_probe *p = arg;
    char text[ENGINE_LIMITATIONS] = "";
    const char *reason = "SupervisorFailed";

    UNUSED(pid);
    ssize_t n = read(p->stdout_fd, text, sizeof(text) - 1);
    text[n > 0 ? n : 0] = '\0';
    if (WIFEXITED(status)) {
        switch (WEXITSTATUS(status)) {
        case SUPERVISOR_PROBE_OK:
            reason = NULL;
            break;
        case SUPERVISOR_PROBE_NAMESPACES:
            reason = "NoNamespaces";
            break;
        case SUPERVISOR_PROBE_CGROUPS:
            reason = "NoCgroups";
            break;
        case SUPERVISOR_PROBE_TRIAL:
            reason = "CannotContain";
            break;
        default:
            break;
        }
    }
    if (reason != NULL)
        text[strcspn(text, "\n")] = '\0';
    if (reason != NULL && text[0] == '\0')
        proc_status_text(status, text, sizeof(text));
    answer(p, reason, text);
}

static void
on_failed(void *arg)
{
    struct process_probe *p = arg;

    answer(p, "SupervisorMissing", p->error);
}

static int
spawn_probe(struct process_probe *p, struct error *e)
{
    const char *argv[] = {p->en->supervisor, SUPERVISOR_FLAG, "--probe", NULL};
    struct proc_opts opts = PROC_OPTS_INIT;
    int pair[2];
    pid_t pid;

    if (pipe2(pair, O_CLOEXEC | O_NONBLOCK) < 0)
        return error_errno(e, errno, "create pipe");
    p->stdout_fd = pair[0];
    opts.argv = argv;
    opts.stdout_fd = pair[1];
    int rc = proc_spawn(&opts, &pid, e);
    close(pair[1]);
    if (rc == 0)
        rc =
            loop_child_add(p->en->loop, "process probe", pid, on_probed, p, &p->child, e);
    return rc;
}

void
process_probe(struct engine *en, void (*done)(void *arg, const struct engine_status *s),
              void *arg)
{
    struct process_probe *p = xnew(struct process_probe);
    struct error e = ERROR_INIT;

    p->en = en;
    p->done = done;
    p->arg = arg;
    p->stdout_fd = -1;
    LIST_INSERT_HEAD(&en->probes, p, link);
    if (spawn_probe(p, &e) == 0)
        return;
    snprintf(p->error, sizeof(p->error), "%.*s", (int)sizeof(p->error) - 1, e.msg);
    p->failed = loop_timer_new(en->loop, "process probe", on_failed, p);
    loop_timer_in(p->failed, 0);
}

void
process_probes_cancel(struct engine *en)
{
    for (struct process_probe *p = LIST_FIRST(&en->probes), *next; p != NULL; p = next) {
        next = LIST_NEXT(p, link);
        probe_free(p);
    }
}
