/* SPDX-License-Identifier: Apache-2.0 */
/* Child processes of `drover server`. */
#include "cli/supervise.h"

#include <signal.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/vec.h"
#include "io/proc.h"

LOG_MODULE(supervise);

enum { RESTART_MIN_MS = 100, RESTART_MAX_MS = 5000, HEALTHY_MS = 10000 };

struct part {
    struct supervisor *s;
    const char *name;
    char **argv;
    pid_t pid;
    struct loop_child *child;
    struct loop_timer *restart;
    int64_t started_ms;
    int64_t delay_ms;
};

struct supervisor {
    struct loop *loop;
    part_exit_fn *on_exit;
    void *exit_arg;
    vec(struct part *) parts;
    bool stopping;
    void (*stopped)(void *arg);
    void *stopped_arg;
};

static void on_restart(void *arg);

struct supervisor *
supervisor_new(struct loop *l, part_exit_fn *on_exit, void *arg)
{
    struct supervisor *s = xnew(struct supervisor);

    s->loop = l;
    s->on_exit = on_exit;
    s->exit_arg = arg;
    return s;
}

struct part *
supervisor_add(struct supervisor *s, const struct part_opts *o)
{
    struct part *p = xnew(struct part);
    size_t n = 0;

    while (o->argv[n] != NULL)
        n++;
    p->s = s;
    p->name = o->name;
    p->argv = xcalloc(n + 1, sizeof(*p->argv));
    for (size_t i = 0; i < n; i++)
        p->argv[i] = xstrdup(o->argv[i]);
    p->delay_ms = RESTART_MIN_MS;
    p->restart = loop_timer_new(s->loop, "restart", on_restart, p);
    vec_push(&s->parts, p);
    return p;
}

const char *
part_name(const struct part *p)
{
    return p->name;
}

pid_t
part_pid(const struct part *p)
{
    return p->pid;
}

/* Ends the last part that still runs; reports when there is none. */
static void
stop_next(struct supervisor *s)
{
    for (size_t i = s->parts.len; i-- > 0;) {
        if (s->parts.items[i]->pid != 0) {
            kill(s->parts.items[i]->pid, SIGTERM);
            return;
        }
    }
    if (s->stopped != NULL)
        s->stopped(s->stopped_arg);
}

static void
on_child(void *arg, pid_t pid, int wait_status)
{
    struct part *p = arg;
    struct supervisor *s = p->s;
    char text[64];

    UNUSED(pid);
    p->pid = 0;
    loop_child_free(p->child);
    p->child = NULL;
    if (s->stopping) {
        stop_next(s);
        return;
    }
    proc_status_text(wait_status, text, sizeof(text));
    log_warn("part ended", "part=%s how=\"%s\"", p->name, text);
    if (s->on_exit != NULL && !s->on_exit(s->exit_arg, p, wait_status))
        return;
    if (loop_now_ms(s->loop) - p->started_ms >= HEALTHY_MS)
        p->delay_ms = RESTART_MIN_MS;
    loop_timer_in(p->restart, p->delay_ms);
    p->delay_ms = p->delay_ms * 2 > RESTART_MAX_MS ? RESTART_MAX_MS : p->delay_ms * 2;
}

int
supervisor_start(struct part *p, struct error *e)
{
    struct proc_opts o = PROC_OPTS_INIT;

    o.argv = (const char *const *)p->argv;
    o.stdout_fd = 1;
    o.stderr_fd = 2;
    /* A part must not outlive us unnoticed: the next server would find its sockets taken.
     * Jobs are not parts; they do outlive us. */
    o.parent_death_signal = SIGTERM;
    /* Ctrl-C goes to the foreground process group; we end the parts in order ourselves.
     */
    o.new_session = true;
    if (proc_spawn(&o, &p->pid, e) < 0) {
        p->pid = 0;
        return error_prepend(e, "start %s", p->name);
    }
    p->started_ms = loop_now_ms(p->s->loop);
    return loop_child_add(p->s->loop, p->name, p->pid, on_child, p, &p->child, e);
}

static void
on_restart(void *arg)
{
    struct part *p = arg;
    struct error e = ERROR_INIT;

    if (p->s->stopping)
        return;
    if (supervisor_start(p, &e) < 0) {
        log_err("cannot restart", "part=%s error=\"%s\"", p->name, e.msg);
        loop_timer_in(p->restart, RESTART_MAX_MS);
    }
}

void
supervisor_stop(struct supervisor *s, void (*done)(void *arg), void *arg)
{
    if (s->stopping) {
        vec_foreach (p, &s->parts) {
            if ((*p)->pid != 0)
                kill((*p)->pid, SIGKILL);
        }
        return;
    }
    s->stopping = true;
    s->stopped = done;
    s->stopped_arg = arg;
    stop_next(s);
}

void
supervisor_free(struct supervisor *s)
{
    if (s == NULL)
        return;
    vec_foreach (p, &s->parts) {
        loop_child_free((*p)->child);
        loop_timer_free((*p)->restart);
        for (char **a = (*p)->argv; *a != NULL; a++)
            free(*a);
        free((*p)->argv);
        free(*p);
    }
    vec_done(&s->parts);
    free(s);
}
