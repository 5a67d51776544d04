/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The output is printed by `drover logs -f` as a child, which does not see Ctrl-C: while
 * the question stands on the terminal it is paused.
 */
#include "cli/attach.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/follow.h"

enum { END_MS = 30 * 1000, EXEC_FAILED = 127 };

static volatile sig_atomic_t interrupted;

static void
on_interrupt(int sig)
{
    UNUSED(sig);
    interrupted = 1;
}

static void
exec_logs(const struct session *s, const char *ns, const char *name, const sigset_t *mask)
{
    const char *argv[12] = {"drover", "logs", "-f", name, "-n", ns};
    size_t n = 6;

    if (s->kubeconfig != NULL) {
        argv[n++] = "--kubeconfig";
        argv[n++] = s->kubeconfig;
    }
    if (s->context != NULL) {
        argv[n++] = "--context";
        argv[n++] = s->context;
    }
    signal(SIGINT, SIG_IGN);
    sigprocmask(SIG_SETMASK, mask, NULL);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    execv("/proc/self/exe", (char *const *)(uintptr_t)argv);
    _exit(EXEC_FAILED);
}

enum answer { ANSWER_STOP, ANSWER_DETACH, ANSWER_GO_ON };

/* Another Ctrl-C ends the reading, and is as good as d. */
static enum answer
ask(const char *name, const sigset_t *open_mask)
{
    char text[16] = "";
    sigset_t closed;

    interrupted = 0;
    fprintf(stderr,
            "\nStop run/%s (s), leave it running and detach (d), or go on (Enter)? ",
            name);
    sigprocmask(SIG_SETMASK, open_mask, &closed);
    const char *got = fgets(text, sizeof(text), stdin);
    sigprocmask(SIG_SETMASK, &closed, NULL);
    if (got == NULL)
        return ANSWER_DETACH;
    if (text[0] == 's' || text[0] == 'S' || text[0] == 'y' || text[0] == 'Y')
        return ANSWER_STOP;
    return text[0] == 'd' || text[0] == 'D' || text[0] == 'n' || text[0] == 'N'
               ? ANSWER_DETACH
               : ANSWER_GO_ON;
}

static void
stop(struct session *s, const char *ns, const char *name)
{
    struct client_patch_opts o = {.type = CLIENT_PATCH_MERGE, .manager = "drover-stop"};
    json_t *patch = json_pack("{s:{s:s}}", "spec", "desiredState", "Stopped");
    struct error e = ERROR_INIT;

    if (client_patch(s->client, &resource_runs, ns, name, &o, patch, NULL, &e) < 0)
        fprintf(stderr, "drover apply: %s\n", e.msg);
    else
        fprintf(stderr, "run/%s is being stopped\n", name);
    json_decref(patch);
}

/* Until the child ends (true) or Ctrl-C comes, which is let in here only. */
static bool
has_ended(pid_t child, int pidfd, const sigset_t *open_mask)
{
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    int status;

    while (!interrupted) {
        if (ppoll(&p, 1, NULL, open_mask) == 1)
            return waitpid(child, &status, 0) == child;
    }
    return false;
}

/* False: the user left. */
static bool
wait_for_logs(struct session *s, const char *ns, const char *name, pid_t child,
              const sigset_t *open_mask)
{
    autoclose int pidfd = (int)syscall(SYS_pidfd_open, child, 0);
    bool stopping = false;
    int status;

    while (!has_ended(child, pidfd, open_mask)) {
        kill(child, SIGSTOP);
        enum answer answer = stopping ? ANSWER_DETACH : ask(name, open_mask);
        if (answer == ANSWER_DETACH) {
            kill(child, SIGKILL);
            waitpid(child, &status, 0);
            return false;
        }
        interrupted = 0;
        if (answer == ANSWER_STOP) {
            stop(s, ns, name);
            stopping = true;
        } else {
            fputs("going on\n", stderr);
        }
        kill(child, SIGCONT);
    }
    return true;
}

struct end {
    char phase[32], reason[64];
    int64_t code;
};

static bool
on_run(void *arg, const json_t *o)
{
    struct end *end = arg;

    snprintf(end->phase, sizeof(end->phase), "%s",
             o == NULL ? "gone" : js(o, "status.phase"));
    snprintf(end->reason, sizeof(end->reason), "%s", js(o, "status.reason"));
    end->code = js_int(o, "status.exitCode", 0);
    return o == NULL || cli_final_phase(end->phase);
}

/* Its output is complete; the phase comes at once, unless the server went away. */
static int
tell_end(struct session *s, const char *name)
{
    struct end end = {.phase = ""};
    struct error e = ERROR_INIT;

    if (follow_object(s, &resource_runs, name, END_MS, on_run, &end, &e) < 0)
        return cli_fail(s->verb, &e);
    fflush(stdout);
    fprintf(stderr, "run/%s %s%s%s\n", name, end.phase, end.reason[0] != '\0' ? ": " : "",
            end.reason);
    if (streq(end.phase, "Done"))
        return 0;
    return end.code > 0 && end.code < 256 ? (int)end.code : 1;
}

int
attach_run(struct session *s, const char *ns, const char *name)
{
    struct sigaction on = {.sa_handler = on_interrupt}, before;
    sigset_t interrupt, open_mask;
    const char *own = s->ns;
    int code = 0;

    fflush(stdout);
    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    sigprocmask(SIG_BLOCK, &interrupt, &open_mask);
    sigaction(SIGINT, &on, &before);
    pid_t child = fork();
    if (child == 0)
        exec_logs(s, ns, name, &open_mask);
    bool stayed = child > 0 && wait_for_logs(s, ns, name, child, &open_mask);
    sigaction(SIGINT, &before, NULL);
    sigprocmask(SIG_SETMASK, &open_mask, NULL);
    s->ns = ns;
    if (stayed)
        code = tell_end(s, name);
    else
        fprintf(stderr,
                "\nrun/%s goes on without you; drover logs -f %s shows it again\n", name,
                name);
    s->ns = own;
    return code;
}
