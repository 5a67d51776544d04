/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Children, signals and inotify as sources of the loop. One signalfd and one inotify
 * descriptor serve all; both are made when first used.
 */
#include <signal.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "io/loop_internal.h"

/* --- children -------------------------------------------------------------------------
 */

struct loop_child {
    struct loop_io *io;
    int pidfd;
    pid_t pid;
    loop_child_fn *fn;
    void *arg;
};

static void
child_disarm(struct loop_child *c)
{
    loop_io_free(c->io);
    c->io = NULL;
    if (c->pidfd >= 0)
        close(c->pidfd);
    c->pidfd = -1;
}

static void
on_child(void *arg, int fd, uint32_t events)
{
    struct loop_child *c = arg;
    int status = LOOP_CHILD_UNKNOWN;
    pid_t got;

    UNUSED(fd);
    UNUSED(events);
    do
        got = waitpid(c->pid, &status, WNOHANG);
    while (got < 0 && errno == EINTR);
    if (got == 0)
        return;
    /* Not ours to reap (an adopted process): its end is known, its status is not. */
    if (got < 0)
        status = LOOP_CHILD_UNKNOWN;
    child_disarm(c);
    c->fn(c->arg, c->pid, status);
}

int
loop_child_add(struct loop *l, const char *name, pid_t pid, loop_child_fn *fn, void *arg,
               struct loop_child **ret, struct error *e)
{
    struct loop_child *c = xnew(struct loop_child);

    *c = (struct loop_child){.pid = pid, .fn = fn, .arg = arg};
    c->pidfd = pidfd_open(pid, 0); /* CLOEXEC by definition */
    int rc = 0;
    if (c->pidfd < 0)
        rc = error_errno(e, errno, "watch process %d", (int)pid);
    else
        rc = loop_io_add(l, name, c->pidfd, EPOLLIN, on_child, c, &c->io, e);
    if (rc != 0) {
        loop_child_free(c);
        return rc;
    }
    *ret = c;
    return 0;
}

void
loop_child_free(struct loop_child *c)
{
    if (c == NULL)
        return;
    child_disarm(c);
    free(c);
}

/* --- signals --------------------------------------------------------------------------
 */

struct loop_signal {
    struct loop *loop;
    int signo;
    bool was_blocked;
    loop_signal_fn *fn;
    void *arg;
    LIST_ENTRY(loop_signal) link;
};

struct loop_signals {
    int fd;
    sigset_t set;
    struct loop_io *io;
    struct loop_signal *next; /* where the walk goes on */
    LIST_HEAD(, loop_signal) list;
};

static void
deliver_signal(struct loop_signals *s, int signo)
{
    s->next = LIST_FIRST(&s->list);
    while (s->next != NULL) {
        struct loop_signal *sig = s->next;
        s->next = LIST_NEXT(sig, link);
        if (sig->signo == signo)
            sig->fn(sig->arg, signo);
    }
}

static void
on_signal(void *arg, int fd, uint32_t events)
{
    struct loop_signals *s = arg;
    struct signalfd_siginfo info;

    UNUSED(events);
    while (read(fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
        deliver_signal(s, (int)info.ssi_signo);
}

static int
signals_need(struct loop *l, struct error *e)
{
    if (l->signals != NULL)
        return 0;
    struct loop_signals *s = xnew(struct loop_signals);
    LIST_INIT(&s->list);
    sigemptyset(&s->set);
    s->fd = signalfd(-1, &s->set, SFD_CLOEXEC | SFD_NONBLOCK);
    int rc = 0;
    if (s->fd < 0)
        rc = error_errno(e, errno, "create signalfd");
    else
        rc = loop_io_add_internal(l, "signals", s->fd, on_signal, s, &s->io, e);
    if (rc != 0) {
        if (s->fd >= 0)
            close(s->fd);
        free(s);
        return rc;
    }
    l->signals = s;
    return 0;
}

int
loop_signal_add(struct loop *l, int signo, loop_signal_fn *fn, void *arg,
                struct loop_signal **ret, struct error *e)
{
    const struct loop_signal *other;
    sigset_t one;
    sigset_t old;
    int rc = signals_need(l, e);

    if (rc != 0)
        return rc;
    sigemptyset(&one);
    if (sigaddset(&one, signo) < 0)
        return error_errno(e, errno, "signal %d", signo);
    pthread_sigmask(SIG_BLOCK, &one, &old);
    sigaddset(&l->signals->set, signo);
    if (signalfd(l->signals->fd, &l->signals->set, 0) < 0)
        return error_errno(e, errno, "signal %d", signo);
    struct loop_signal *s = xnew(struct loop_signal);
    *s = (struct loop_signal){.loop = l, .signo = signo, .fn = fn, .arg = arg};
    s->was_blocked = sigismember(&old, signo) == 1;
    /* Blocked by an earlier source of the same signal: what was before that one counts.
     */
    LIST_FOREACH(other, &l->signals->list, link)
    {
        if (other->signo == signo)
            s->was_blocked = other->was_blocked;
    }
    LIST_INSERT_HEAD(&l->signals->list, s, link);
    *ret = s;
    return 0;
}

void
loop_signal_free(struct loop_signal *s)
{
    if (s == NULL)
        return;
    struct loop_signals *all = s->loop->signals;
    const struct loop_signal *other;
    bool last = true;

    if (all->next == s)
        all->next = LIST_NEXT(s, link);
    LIST_REMOVE(s, link);
    LIST_FOREACH(other, &all->list, link)
    last = last && other->signo != s->signo;
    if (last) {
        sigdelset(&all->set, s->signo);
        /* Cannot fail on a valid descriptor and set. */
        bug_if(signalfd(all->fd, &all->set, 0) < 0);
    }
    if (last && !s->was_blocked) {
        sigset_t one;
        sigemptyset(&one);
        sigaddset(&one, s->signo);
        pthread_sigmask(SIG_UNBLOCK, &one, NULL);
    }
    free(s);
}

/* --- inotify --------------------------------------------------------------------------
 */

/* The kernel has one watch per inode, with the union of the masks; ours may be several.
 */
struct loop_watch {
    struct loop *loop;
    int wd; /* -1 once the kernel has dropped it */
    uint32_t mask;
    loop_watch_fn *fn;
    void *arg;
    LIST_ENTRY(loop_watch) link;
};

struct loop_inotify {
    int fd;
    struct loop_io *io;
    struct loop_watch *next; /* where the walk goes on */
    LIST_HEAD(, loop_watch) list;
};

static bool
watch_wants(const struct loop_watch *w, const struct inotify_event *ev)
{
    if (ev->wd == -1) /* the queue overflowed: everyone must look */
        return true;
    return w->wd == ev->wd && (ev->mask & (w->mask | IN_IGNORED | IN_UNMOUNT)) != 0;
}

static void
deliver_inotify(struct loop_inotify *in, const struct inotify_event *ev)
{
    in->next = LIST_FIRST(&in->list);
    while (in->next != NULL) {
        struct loop_watch *w = in->next;
        in->next = LIST_NEXT(w, link);
        if (!watch_wants(w, ev))
            continue;
        if (ev->mask & IN_IGNORED)
            w->wd = -1;
        w->fn(w->arg, ev->mask, ev->len > 0 ? ev->name : "");
    }
}

static void
on_inotify(void *arg, int fd, uint32_t events)
{
    struct loop_inotify *in = arg;
    _Alignas(struct inotify_event) char buf[8192];
    ssize_t n =
        read(fd, buf, sizeof(buf)); /* level-triggered: the rest comes next turn */

    UNUSED(events);
    for (ssize_t pos = 0; n > 0 && pos < n;) {
        const struct inotify_event *ev = (const void *)(buf + pos);
        pos += (ssize_t)(sizeof(*ev) + ev->len);
        deliver_inotify(in, ev);
    }
}

static int
inotify_need(struct loop *l, struct error *e)
{
    if (l->inotify != NULL)
        return 0;
    struct loop_inotify *in = xnew(struct loop_inotify);
    LIST_INIT(&in->list);
    in->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    int rc = 0;
    if (in->fd < 0)
        rc = error_errno(e, errno, "create inotify");
    else
        rc = loop_io_add_internal(l, "inotify", in->fd, on_inotify, in, &in->io, e);
    if (rc != 0) {
        if (in->fd >= 0)
            close(in->fd);
        free(in);
        return rc;
    }
    l->inotify = in;
    return 0;
}

int
loop_watch_add(struct loop *l, const char *path, uint32_t mask, loop_watch_fn *fn,
               void *arg, struct loop_watch **ret, struct error *e)
{
    int rc = inotify_need(l, e);

    if (rc != 0)
        return rc;
    int wd = inotify_add_watch(l->inotify->fd, path, mask | IN_MASK_ADD);
    if (wd < 0)
        return error_errno(e, errno, "watch %s", path);
    struct loop_watch *w = xnew(struct loop_watch);
    *w = (struct loop_watch){.loop = l, .wd = wd, .mask = mask, .fn = fn, .arg = arg};
    LIST_INSERT_HEAD(&l->inotify->list, w, link);
    *ret = w;
    return 0;
}

void
loop_watch_free(struct loop_watch *w)
{
    if (w == NULL)
        return;
    struct loop_inotify *in = w->loop->inotify;
    const struct loop_watch *other;
    bool last = w->wd >= 0;

    if (in->next == w)
        in->next = LIST_NEXT(w, link);
    LIST_REMOVE(w, link);
    LIST_FOREACH(other, &in->list, link)
    last = last && other->wd != w->wd;
    if (last)
        inotify_rm_watch(in->fd, w->wd);
    free(w);
}

void
loop_sources_done(struct loop *l)
{
    if (l->signals != NULL) {
        bug_if(!LIST_EMPTY(&l->signals->list));
        loop_io_free(l->signals->io);
        close(l->signals->fd);
        free(l->signals);
    }
    if (l->inotify != NULL) {
        bug_if(!LIST_EMPTY(&l->inotify->list));
        loop_io_free(l->inotify->io);
        close(l->inotify->fd);
        free(l->inotify);
    }
}
