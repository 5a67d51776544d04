/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Event loop of one thread: epoll, a timer heap whose earliest deadline bounds the wait,
 * signalfd, pidfds, inotify, an eventfd for posts from other threads.
 *
 * Threading: everything but loop_post() and loop_quit() is for the loop's own thread.
 * Ownership: a source is owned by the caller until its *_free/_remove; a callback may
 * free its own source or any other (events already collected for it are dropped). The
 * callback argument is borrowed. Every source has a name (borrowed, static) for the debug
 * dump. Loop rule: no callback runs longer than 2 ms on the API loop; the
 * loop measures each callback and keeps a lag histogram.
 */
#ifndef IO_LOOP_H
#define IO_LOOP_H

#include <signal.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/str.h"

struct loop;
struct loop_io;
struct loop_timer;
struct loop_child;
struct loop_signal;
struct loop_watch;
struct loop_hook;

int loop_new(struct loop **ret, struct error *e) WARN_UNUSED;
void loop_free(struct loop *l); /* all sources must have been freed */
/* Runs until loop_quit(). Returns the quit code. */
int loop_run(struct loop *l);
/* One turn: waits at most max_wait_ms (-1: until something happens). For tests and the
 * sim. */
void loop_turn(struct loop *l, int max_wait_ms);
void loop_quit(struct loop *l, int code); /* any thread */
/* Milliseconds (monotonic) read once at the start of this turn. */
int64_t loop_now_ms(const struct loop *l);

/* events: EPOLLIN | EPOLLOUT | EPOLLRDHUP; level-triggered. fd is borrowed, not closed.
 * With events 0 the source is silent: not even hang-ups are reported. */
typedef void loop_io_fn(void *arg, int fd, uint32_t events);
int loop_io_add(struct loop *l, const char *name, int fd, uint32_t events, loop_io_fn *fn,
                void *arg, struct loop_io **ret, struct error *e) WARN_UNUSED;
int loop_io_set(struct loop_io *io, uint32_t events, struct error *e) WARN_UNUSED;
void loop_io_free(struct loop_io *io); /* NULL ok; before closing the fd */
/* The same for an owner that closes first and tells later (libcurl, for a connection that
 * is still being made). The descriptor must have had no duplicate. */
void loop_io_forget(struct loop_io *io);

/* One-shot; re-arm from the callback for periodic work. Starts disarmed. */
typedef void loop_timer_fn(void *arg);
struct loop_timer *loop_timer_new(struct loop *l, const char *name, loop_timer_fn *fn,
                                  void *arg);
void loop_timer_at(struct loop_timer *t, int64_t when_ms); /* monotonic; moves if armed */
void loop_timer_in(struct loop_timer *t, int64_t delay_ms);
void loop_timer_at_ns(struct loop_timer *t, int64_t when_ns);
void loop_timer_cancel(struct loop_timer *t);
bool loop_timer_armed(const struct loop_timer *t);
void loop_timer_free(struct loop_timer *t); /* NULL ok */

/* Fires once when the child is reaped. status as from waitpid(2). Uses pidfd_open. Also
 * for a process that is not a child (an adopted one): then the status is
 * LOOP_CHILD_UNKNOWN. */
#define LOOP_CHILD_UNKNOWN (-1)
typedef void loop_child_fn(void *arg, pid_t pid, int wait_status);
int loop_child_add(struct loop *l, const char *name, pid_t pid, loop_child_fn *fn,
                   void *arg, struct loop_child **ret, struct error *e) WARN_UNUSED;
void loop_child_free(struct loop_child *c); /* does not kill or reap */

/* Blocks the signal in the calling thread and delivers it on the loop. */
typedef void loop_signal_fn(void *arg, int signo);
int loop_signal_add(struct loop *l, int signo, loop_signal_fn *fn, void *arg,
                    struct loop_signal **ret, struct error *e) WARN_UNUSED;
void loop_signal_free(struct loop_signal *s); /* unblocks what it had blocked */

/* inotify on one path. A hint only: re-read and compare. name is "" for the path itself.
 */
typedef void loop_watch_fn(void *arg, uint32_t mask, const char *name);
int loop_watch_add(struct loop *l, const char *path, uint32_t mask, loop_watch_fn *fn,
                   void *arg, struct loop_watch **ret, struct error *e) WARN_UNUSED;
void loop_watch_free(struct loop_watch *w);

/* Runs fn(arg) on the loop thread, in post order; from any thread, also the loop's own.
 */
typedef void loop_post_fn(void *arg);
void loop_post(struct loop *l, loop_post_fn *fn, void *arg);

/* Called at the end of each turn before sleeping, e.g. to hand a batch to the log writer.
 */
struct loop_hook *loop_before_sleep(struct loop *l, const char *name, loop_timer_fn *fn,
                                    void *arg);
void loop_hook_free(struct loop_hook *h);

/* Compute pool: work(arg) on a pool thread, then done(arg) on the loop thread. */
struct loop_pool;
struct loop_pool *loop_pool_new(struct loop *l, const char *name, unsigned threads);
void loop_pool_run(struct loop_pool *p, loop_post_fn *work, loop_post_fn *done,
                   void *arg);
size_t loop_pool_pending(const struct loop_pool *p);
/* Waits for all accepted work and calls the remaining done()s before it returns. Not from
 * a done(). */
void loop_pool_free(struct loop_pool *p);

/* Lag: how long callbacks ran. Buckets in microseconds (upper bounds), the last
 * unbounded. */
#define LOOP_LAG_BUCKETS 12
#define LOOP_LONG_NAMES 8
#define LOOP_RULE_US 2000 /* no callback runs longer */
struct loop_stats {
    uint64_t turns, callbacks;
    uint64_t lag[LOOP_LAG_BUCKETS];
    uint32_t lag_bound_us[LOOP_LAG_BUCKETS];
    uint64_t lag_max_us;
    const char *lag_max_name; /* source of the longest callback */
    /* Callbacks that used more than LOOP_RULE_US of processor time, which neighbours on
     * the machine do not change; to within 0.2 ms. By source, the first few. */
    uint64_t n_long;
    struct loop_long {
        const char *name; /* NULL: end of the list */
        uint64_t n;
        uint32_t max_us;
    } longs[LOOP_LONG_NAMES];
};
void loop_stats(const struct loop *l, struct loop_stats *ret);
/* Human-readable list of sources and counters, for the control socket. */
void loop_dump(const struct loop *l, struct str *out);

#endif
