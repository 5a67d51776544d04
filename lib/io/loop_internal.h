/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the loop share. Everything is owned by the loop's thread, except the
 * part marked "any thread", which stands under `lock`.
 */
#ifndef IO_LOOP_INTERNAL_H
#define IO_LOOP_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/queue.h>

#include "base/heap.h"
#include "base/map.h"
#include "base/vec.h"
#include "io/loop.h"

/* Events taken from the kernel in one turn. */
enum { LOOP_BATCH = 256 };

struct loop_io {
    struct loop *loop;
    const char *name;
    loop_io_fn *fn;
    void *arg;
    int fd;
    uint32_t events; /* registered with epoll; 0: not registered */
    bool internal;   /* part of the loop itself; not the caller's to free */
    uint64_t calls;
    LIST_ENTRY(loop_io) link;
};

struct loop_timer {
    struct loop *loop;
    const char *name;
    loop_timer_fn *fn;
    void *arg;
    struct heap_node node; /* key: monotonic nanoseconds */
    uint64_t calls;
    LIST_ENTRY(loop_timer) link;
};

struct loop_hook {
    struct loop *loop;
    const char *name;
    loop_timer_fn *fn;
    void *arg;
    TAILQ_ENTRY(loop_hook) link;
};

struct loop_posted {
    loop_post_fn *fn;
    void *arg;
};
typedef vec(struct loop_posted) loop_posted_vec;

struct loop {
    int epoll_fd;
    int64_t now_ns;
    bool running;
    bool no_pwait2;
    struct heap timers;
    LIST_HEAD(, loop_io) ios;
    LIST_HEAD(, loop_timer) all_timers;
    TAILQ_HEAD(, loop_hook) hooks;
    struct loop_hook *hook_next; /* where run_hooks() goes on */
    struct epoll_event events[LOOP_BATCH];
    int n_events, event_pos; /* collected and not yet dispatched: [event_pos, n_events) */
    struct loop_stats stats;
    int64_t mark_ns;       /* end of the last measured callback */
    int64_t cpu_mark_ns;   /* the thread's processor time when it was last read */
    uint32_t since_cpu_us; /* real time that callbacks took since then */

    struct loop_io *wake_io;
    int wake_fd;
    loop_posted_vec running_posts;

    struct loop_signals *signals; /* loop_sources.c; NULL until first used */
    struct loop_inotify *inotify;

    /* any thread */
    pthread_mutex_t lock;
    loop_posted_vec posts;
    bool sleeping; /* the loop waits, or is about to: a post must wake it */
    bool quit;
    int quit_code;
};

int loop_io_add_internal(struct loop *l, const char *name, int fd, loop_io_fn *fn,
                         void *arg, struct loop_io **ret, struct error *e) WARN_UNUSED;
/* Releases what loop_sources.c keeps for the loop. */
void loop_sources_done(struct loop *l);

#endif
