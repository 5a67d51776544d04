/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The core of the event loop: descriptors, timers, posts, hooks and the turn itself.
 * Signals, children and inotify stand on top of it in loop_sources.c, threads in
 * loop_pool.c.
 *
 * A turn: wait; take the events; due timers; posts; hooks. A source freed in a callback
 * is wiped from the events still to be dispatched, so memory is released at once. Timers
 * need no descriptor: the earliest deadline bounds the wait (epoll_pwait2, in
 * nanoseconds).
 */
#include "io/loop.h"

#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "io/loop_internal.h"

LOG_MODULE(loop);

enum { CPU_STEP_US = 200 };

static const uint32_t lag_bounds_us[LOOP_LAG_BUCKETS] = {
    20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 100000, UINT32_MAX,
};

/* The lag is real time also when the clock is a fake one. */
static int64_t
real_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static int64_t
cpu_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void
note_long(struct loop *l, const char *name, uint32_t us)
{
    size_t i = 0;

    l->stats.n_long++;
    while (i < LOOP_LONG_NAMES - 1 && l->stats.longs[i].name != NULL &&
           strcmp(l->stats.longs[i].name, name) != 0)
        i++;
    struct loop_long *x = &l->stats.longs[i];
    if (x->name == NULL)
        x->name = i < LOOP_LONG_NAMES - 1 ? name : "others";
    x->n++;
    if (us > x->max_us)
        x->max_us = us;
}

/* Processor time costs a system call to read, so it is read only after CPU_STEP_US of
 * callbacks: a long one is charged at most that much for those before it. */
static void
measure_cpu(struct loop *l, const char *name, uint64_t us)
{
    l->since_cpu_us += us < UINT32_MAX / 2 ? (uint32_t)us : UINT32_MAX / 2;
    if (l->since_cpu_us < CPU_STEP_US)
        return;
    int64_t now = cpu_ns();
    uint64_t used = (uint64_t)(now - l->cpu_mark_ns) / 1000;
    if (us > LOOP_RULE_US && used > LOOP_RULE_US)
        note_long(l, name, (uint32_t)(used < us ? used : us));
    l->cpu_mark_ns = now;
    l->since_cpu_us = 0;
}

/* Charges the time since the last mark to the callback that has just returned. */
static void
measured(struct loop *l, const char *name)
{
    int64_t now = real_ns();
    uint64_t us = (uint64_t)(now - l->mark_ns) / 1000;
    size_t b = 0;

    l->mark_ns = now;
    while (us > lag_bounds_us[b])
        b++;
    l->stats.lag[b]++;
    l->stats.callbacks++;
    if (us > l->stats.lag_max_us) {
        l->stats.lag_max_us = us;
        l->stats.lag_max_name = name;
    }
    measure_cpu(l, name, us);
}

/* --- life -----------------------------------------------------------------------------
 */

static void
on_wake(void *arg, int fd, uint32_t events)
{
    uint64_t n;

    UNUSED(arg);
    UNUSED(events);
    /* Only resets the counter; the posts themselves are run by the turn. */
    ssize_t rc = read(fd, &n, sizeof(n));
    UNUSED(rc);
}

int
loop_new(struct loop **ret, struct error *e)
{
    struct loop *l = xnew(struct loop);

    LIST_INIT(&l->ios);
    LIST_INIT(&l->all_timers);
    TAILQ_INIT(&l->hooks);
    pthread_mutex_init(&l->lock, NULL);
    l->now_ns = clock_now_ns();
    memcpy(l->stats.lag_bound_us, lag_bounds_us, sizeof(lag_bounds_us));
    l->wake_fd = -1;
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    int rc = l->epoll_fd < 0 ? error_errno(e, errno, "create epoll") : 0;
    if (rc == 0) {
        l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (l->wake_fd < 0)
            rc = error_errno(e, errno, "create eventfd");
    }
    if (rc == 0)
        rc = loop_io_add_internal(l, "wake", l->wake_fd, on_wake, l, &l->wake_io, e);
    if (rc != 0) {
        loop_free(l);
        return rc;
    }
    *ret = l;
    return 0;
}

/* A source that is still there belongs to someone who will free it later: say which. */
static void
report_leftovers(const struct loop *l)
{
    const struct loop_io *io;
    const struct loop_timer *t;
    const struct loop_hook *h;

    LIST_FOREACH(io, &l->ios, link)
    log_err("source outlives the loop", "kind=io name=%s fd=%d", io->name, io->fd);
    LIST_FOREACH(t, &l->all_timers, link)
    log_err("source outlives the loop", "kind=timer name=%s", t->name);
    TAILQ_FOREACH (h, &l->hooks, link)
        log_err("source outlives the loop", "kind=hook name=%s", h->name);
}

void
loop_free(struct loop *l)
{
    if (l == NULL)
        return;
    loop_sources_done(l);
    loop_io_free(l->wake_io);
    report_leftovers(l);
    if (l->wake_fd >= 0)
        close(l->wake_fd);
    if (l->epoll_fd >= 0)
        close(l->epoll_fd);
    heap_done(&l->timers);
    vec_done(&l->posts);
    vec_done(&l->running_posts);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

int64_t
loop_now_ms(const struct loop *l)
{
    return l->now_ns / 1000000;
}

/* --- descriptors ----------------------------------------------------------------------
 */

static int
io_add(struct loop_io proto, struct loop_io **ret, struct error *e)
{
    struct loop *l = proto.loop;
    struct loop_io *io = xmemdup(&proto, sizeof(proto));
    struct epoll_event ev = {.events = io->events, .data.ptr = io};

    if (io->events != 0 && epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, io->fd, &ev) < 0) {
        int sys = errno;
        free(io);
        return error_errno(e, sys, "watch descriptor %d (%s)", proto.fd, proto.name);
    }
    LIST_INSERT_HEAD(&l->ios, io, link);
    *ret = io;
    return 0;
}

int
loop_io_add(struct loop *l, const char *name, int fd, uint32_t events, loop_io_fn *fn,
            void *arg, struct loop_io **ret, struct error *e)
{
    return io_add(
        (struct loop_io){
            .loop = l, .name = name, .fd = fd, .events = events, .fn = fn, .arg = arg},
        ret, e);
}

int
loop_io_add_internal(struct loop *l, const char *name, int fd, loop_io_fn *fn, void *arg,
                     struct loop_io **ret, struct error *e)
{
    return io_add((struct loop_io){.loop = l,
                                   .name = name,
                                   .fd = fd,
                                   .events = EPOLLIN,
                                   .fn = fn,
                                   .arg = arg,
                                   .internal = true},
                  ret, e);
}

/* With no events wanted the descriptor leaves epoll altogether: epoll reports errors and
 * hang-ups even to a mask of 0, and would do so in every turn. */
int
loop_io_set(struct loop_io *io, uint32_t events, struct error *e)
{
    struct epoll_event ev = {.events = events, .data.ptr = io};
    int op = EPOLL_CTL_MOD;

    if (events == io->events)
        return 0;
    if (events == 0)
        op = EPOLL_CTL_DEL;
    else if (io->events == 0)
        op = EPOLL_CTL_ADD;
    if (epoll_ctl(io->loop->epoll_fd, op, io->fd, &ev) < 0)
        return error_errno(e, errno, "watch descriptor %d (%s)", io->fd, io->name);
    io->events = events;
    return 0;
}

/* Events already collected for it are dropped. */
static void
io_release(struct loop_io *io)
{
    struct loop *l = io->loop;

    for (int i = l->event_pos; i < l->n_events; i++) {
        if (l->events[i].data.ptr == io)
            l->events[i].data.ptr = NULL;
    }
    LIST_REMOVE(io, link);
    free(io);
}

void
loop_io_free(struct loop_io *io)
{
    if (io == NULL)
        return;
    /* Failure means that the descriptor was closed first, and that epoll may still hold a
     * pointer to this source through a duplicate. */
    if (io->events != 0)
        bug_if(epoll_ctl(io->loop->epoll_fd, EPOLL_CTL_DEL, io->fd, NULL) < 0);
    io_release(io);
}

void
loop_io_forget(struct loop_io *io)
{
    if (io == NULL)
        return;
    /* Closing the only descriptor of a socket has taken it out of the epoll set. */
    if (io->events != 0 && epoll_ctl(io->loop->epoll_fd, EPOLL_CTL_DEL, io->fd, NULL) < 0)
        bug_if(errno != EBADF && errno != ENOENT && errno != EPERM);
    io_release(io);
}

/* --- timers ---------------------------------------------------------------------------
 */

struct loop_timer *
loop_timer_new(struct loop *l, const char *name, loop_timer_fn *fn, void *arg)
{
    struct loop_timer *t = xnew(struct loop_timer);

    *t = (struct loop_timer){
        .loop = l, .name = name, .fn = fn, .arg = arg, .node = HEAP_NODE_INIT};
    LIST_INSERT_HEAD(&l->all_timers, t, link);
    return t;
}

void
loop_timer_at_ns(struct loop_timer *t, int64_t when_ns)
{
    heap_set(&t->loop->timers, &t->node, when_ns);
}

void
loop_timer_at(struct loop_timer *t, int64_t when_ms)
{
    if (when_ms > INT64_MAX / 1000000)
        when_ms = INT64_MAX / 1000000;
    loop_timer_at_ns(t, when_ms * 1000000);
}

/* Counts from this moment, not from the start of the turn, and in nanoseconds: otherwise
 * a delay asked for late in a turn or a millisecond would end early. */
void
loop_timer_in(struct loop_timer *t, int64_t delay_ms)
{
    int64_t now = clock_now_ns();

    if (delay_ms < 0)
        delay_ms = 0;
    if (delay_ms > (INT64_MAX - now) / 1000000)
        delay_ms = (INT64_MAX - now) / 1000000;
    loop_timer_at_ns(t, now + delay_ms * 1000000);
}

void
loop_timer_cancel(struct loop_timer *t)
{
    if (heap_contains(&t->node))
        heap_remove(&t->loop->timers, &t->node);
}

bool
loop_timer_armed(const struct loop_timer *t)
{
    return heap_contains(&t->node);
}

void
loop_timer_free(struct loop_timer *t)
{
    if (t == NULL)
        return;
    loop_timer_cancel(t);
    LIST_REMOVE(t, link);
    free(t);
}

/* Runs what was due when the pass began; a timer armed meanwhile waits for the next turn,
 * so that one that re-arms itself for "now" does not keep the others out. */
static void
run_timers(struct loop *l)
{
    uint64_t limit = l->timers.next_seq;
    struct heap_node *n;

    while ((n = heap_min(&l->timers)) != NULL) {
        if (n->key > l->now_ns || n->seq >= limit)
            break;
        struct loop_timer *t = CONTAINER_OF(n, struct loop_timer, node);
        const char *name = t->name;
        heap_remove(&l->timers, n);
        t->calls++;
        t->fn(t->arg);
        measured(l, name);
    }
}

/* --- posts ----------------------------------------------------------------------------
 */

static void
wake(struct loop *l)
{
    uint64_t one = 1;
    /* Fails only when the counter is full, that is, when a wake-up is pending anyway. */
    ssize_t rc = write(l->wake_fd, &one, sizeof(one));

    UNUSED(rc);
}

void
loop_post(struct loop *l, loop_post_fn *fn, void *arg)
{
    pthread_mutex_lock(&l->lock);
    vec_push(&l->posts, ((struct loop_posted){fn, arg}));
    if (l->sleeping) {
        l->sleeping = false;
        wake(l);
    }
    pthread_mutex_unlock(&l->lock);
}

void
loop_quit(struct loop *l, int code)
{
    pthread_mutex_lock(&l->lock);
    l->quit = true;
    l->quit_code = code;
    if (l->sleeping) {
        l->sleeping = false;
        wake(l);
    }
    pthread_mutex_unlock(&l->lock);
}

/* Runs what was posted up to now; what these post comes in the next turn. */
static void
run_posts(struct loop *l)
{
    pthread_mutex_lock(&l->lock);
    loop_posted_vec batch = l->posts;
    l->posts = l->running_posts;
    l->posts.len = 0;
    l->running_posts = batch;
    pthread_mutex_unlock(&l->lock);
    for (size_t i = 0; i < l->running_posts.len; i++) {
        struct loop_posted *p = &l->running_posts.items[i];
        p->fn(p->arg);
        measured(l, "post");
    }
    l->running_posts.len = 0;
}

/* --- hooks ----------------------------------------------------------------------------
 */

struct loop_hook *
loop_before_sleep(struct loop *l, const char *name, loop_timer_fn *fn, void *arg)
{
    struct loop_hook *h = xnew(struct loop_hook);

    *h = (struct loop_hook){.loop = l, .name = name, .fn = fn, .arg = arg};
    TAILQ_INSERT_TAIL(&l->hooks, h, link);
    return h;
}

void
loop_hook_free(struct loop_hook *h)
{
    if (h == NULL)
        return;
    if (h->loop->hook_next == h)
        h->loop->hook_next = TAILQ_NEXT(h, link);
    TAILQ_REMOVE(&h->loop->hooks, h, link);
    free(h);
}

static void
run_hooks(struct loop *l)
{
    l->hook_next = TAILQ_FIRST(&l->hooks);
    while (l->hook_next != NULL) {
        const struct loop_hook *h = l->hook_next;
        const char *name = h->name;
        l->hook_next = TAILQ_NEXT(h, link);
        h->fn(h->arg);
        measured(l, name);
    }
}

/* --- the turn -------------------------------------------------------------------------
 */

/* How long the next wait may take; -1 for no limit. */
static int64_t
wait_ns(const struct loop *l, int max_wait_ms)
{
    int64_t ns = max_wait_ms < 0 ? -1 : (int64_t)max_wait_ms * 1000000;
    const struct heap_node *first = heap_min(&l->timers);

    if (first == NULL)
        return ns;
    int64_t left = first->key - clock_now_ns();
    if (left < 0)
        left = 0;
    return ns < 0 || left < ns ? left : ns;
}

static int
wait_events(struct loop *l, int64_t ns)
{
#ifdef SYS_epoll_pwait2
    if (ns > 0 && !l->no_pwait2) {
        struct timespec ts = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
        int n = epoll_pwait2(l->epoll_fd, l->events, LOOP_BATCH, &ts, NULL);
        if (n >= 0 || errno != ENOSYS)
            return n;
        l->no_pwait2 = true;
    }
#endif
    int ms = -1;
    if (ns >= 0) {
        int64_t up = (ns + 999999) / 1000000;
        ms = up > INT32_MAX ? INT32_MAX : (int)up;
    }
    return epoll_wait(l->epoll_fd, l->events, LOOP_BATCH, ms);
}

/* Whether nothing is posted and the loop may sleep; from then on a post wakes it. */
static bool
may_sleep(struct loop *l)
{
    pthread_mutex_lock(&l->lock);
    l->sleeping = l->posts.len == 0 && !l->quit;
    bool ok = l->sleeping;
    pthread_mutex_unlock(&l->lock);
    return ok;
}

static void
dispatch(struct loop *l)
{
    for (l->event_pos = 0; l->event_pos < l->n_events;) {
        const struct epoll_event *ev = &l->events[l->event_pos++];
        struct loop_io *io = ev->data.ptr;
        if (io == NULL || io->events == 0)
            continue;
        const char *name = io->name;
        io->calls++;
        io->fn(io->arg, io->fd, ev->events);
        measured(l, name);
    }
    l->n_events = 0;
}

static void
turn(struct loop *l, int max_wait_ms)
{
    int64_t ns = wait_ns(l, max_wait_ms);

    if (ns != 0 && !may_sleep(l))
        ns = 0;
    int n = wait_events(l, ns);
    bug_if(n < 0 && errno != EINTR);
    pthread_mutex_lock(&l->lock);
    l->sleeping = false;
    pthread_mutex_unlock(&l->lock);
    l->n_events = n < 0 ? 0 : n;
    l->now_ns = clock_now_ns();
    l->mark_ns = real_ns();
    l->stats.turns++;
    dispatch(l);
    run_timers(l);
    run_posts(l);
    run_hooks(l);
}

void
loop_turn(struct loop *l, int max_wait_ms)
{
    l->mark_ns = real_ns();
    run_hooks(l);
    turn(l, max_wait_ms);
}

static bool
take_quit(struct loop *l, int *ret_code)
{
    pthread_mutex_lock(&l->lock);
    bool quit = l->quit;
    if (quit)
        *ret_code = l->quit_code;
    l->quit = false;
    pthread_mutex_unlock(&l->lock);
    return quit;
}

int
loop_run(struct loop *l)
{
    int code = 0;

    bug_if(l->running);
    l->running = true;
    l->mark_ns = real_ns();
    l->cpu_mark_ns = cpu_ns(); /* the start is nobody's callback */
    run_hooks(l);
    while (!take_quit(l, &code))
        turn(l, -1);
    l->running = false;
    return code;
}

/* --- looking in -----------------------------------------------------------------------
 */

void
loop_stats(const struct loop *l, struct loop_stats *ret)
{
    *ret = l->stats;
}

void
loop_dump(const struct loop *l, struct str *out)
{
    const struct loop_io *io;
    const struct loop_timer *t;
    const struct loop_hook *h;
    int64_t now = clock_now_ns();

    str_addf(out, "turns %llu\ncallbacks %llu\n", (unsigned long long)l->stats.turns,
             (unsigned long long)l->stats.callbacks);
    str_addf(out, "longest callback %llu us (%s)\n",
             (unsigned long long)l->stats.lag_max_us,
             l->stats.lag_max_name == NULL ? "none" : l->stats.lag_max_name);
    for (size_t i = 0; i < LOOP_LONG_NAMES && l->stats.longs[i].name != NULL; i++)
        str_addf(out, "over %d us of processor time: %s, %llu times, longest %u us\n",
                 LOOP_RULE_US, l->stats.longs[i].name,
                 (unsigned long long)l->stats.longs[i].n, l->stats.longs[i].max_us);
    for (size_t i = 0; i < LOOP_LAG_BUCKETS; i++) {
        if (i + 1 < LOOP_LAG_BUCKETS)
            str_addf(out, "lag <= %6u us: %llu\n", lag_bounds_us[i],
                     (unsigned long long)l->stats.lag[i]);
        else
            str_addf(out, "lag larger:       %llu\n",
                     (unsigned long long)l->stats.lag[i]);
    }
    LIST_FOREACH(io, &l->ios, link)
    str_addf(out, "io %s fd %d events 0x%x calls %llu%s\n", io->name, io->fd, io->events,
             (unsigned long long)io->calls, io->internal ? " (internal)" : "");
    LIST_FOREACH(t, &l->all_timers, link)
    {
        str_addf(out, "timer %s calls %llu ", t->name, (unsigned long long)t->calls);
        if (heap_contains(&t->node))
            str_addf(out, "in %lld ms\n", (long long)((t->node.key - now) / 1000000));
        else
            str_adds(out, "not armed\n");
    }
    TAILQ_FOREACH (h, &l->hooks, link)
        str_addf(out, "hook %s\n", h->name);
}
