/* SPDX-License-Identifier: Apache-2.0 */
/* The event loop: order, ownership in callbacks, every kind of source, threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "io/loop.h"
#include "tests/turn_until.h"

#define OK(call)                                                                         \
    do {                                                                                 \
        if ((call) != 0)                                                                 \
            fail_msg("%s", err.msg);                                                     \
    } while (0)

#define WAIT_MS 10000
#define wait_for(l, cond) TURN_UNTIL(l, WAIT_MS, cond)

static struct error err;

static int
setup(void **state)
{
    struct loop *l = NULL;

    err = ERROR_INIT;
    if (loop_new(&l, &err) != 0)
        return -1;
    *state = l;
    return 0;
}

static int
teardown(void **state)
{
    loop_free(*state);
    return 0;
}

/* --- timers ---------------------------------------------------------------------------
 */

struct timed {
    struct loop_timer *t;
    int64_t due_ns;
    int id;
    int *order, *n;
};

static void
on_timed(void *arg)
{
    struct timed *x = arg;

    assert_true(clock_now_ns() >= x->due_ns);
    assert_false(loop_timer_armed(x->t));
    x->order[(*x->n)++] = x->id;
}

static void
test_timers_in_order_and_never_early(void **state)
{
    static const int delays[] = {30, 5, 17, 5, 0, 45, 1, 2, 3, 30};
    static const int expected[] = {4, 6, 7, 8, 1, 3, 2, 0, 9, 5};
    struct loop *l = *state;
    struct timed x[ARRAY_LEN(delays)];
    int order[ARRAY_LEN(delays)];
    int n = 0;

    for (int i = 0; i < (int)ARRAY_LEN(delays); i++) {
        x[i] = (struct timed){.id = i, .order = order, .n = &n};
        x[i].t = loop_timer_new(l, "timed", on_timed, &x[i]);
        x[i].due_ns = clock_now_ns() + delays[i] * 1000000LL;
        loop_timer_in(x[i].t, delays[i]);
    }
    wait_for(l, n == (int)ARRAY_LEN(delays));
    for (size_t i = 0; i < ARRAY_LEN(delays); i++) {
        assert_int_equal(order[i], expected[i]);
        loop_timer_free(x[i].t);
    }
}

static void
count_up(void *arg)
{
    ++*(int *)arg;
}

static void
test_timer_move_and_cancel(void **state)
{
    struct loop *l = *state;
    int moved = 0;
    int cancelled = 0;
    struct loop_timer *a = loop_timer_new(l, "moved", count_up, &moved);
    struct loop_timer *b = loop_timer_new(l, "cancelled", count_up, &cancelled);

    loop_timer_in(a, 100000);
    loop_timer_in(b, 1);
    loop_timer_in(a, 5);
    loop_timer_cancel(b);
    loop_timer_cancel(b);
    assert_false(loop_timer_armed(b));
    wait_for(l, moved == 1);
    assert_int_equal(cancelled, 0);
    loop_timer_in(a, INT64_MAX); /* must not overflow into the past */
    loop_turn(l, 5);
    assert_int_equal(moved, 1);
    loop_timer_free(a);
    loop_timer_free(b);
    loop_timer_free(NULL);
}

struct rearm {
    struct loop_timer *t;
    int n;
};

static void
on_rearm(void *arg)
{
    struct rearm *r = arg;

    r->n++;
    loop_timer_in(r->t, 0);
}

/* A timer that is always due runs once a turn and keeps nothing else out. */
static void
test_rearmed_timer_does_not_starve(void **state)
{
    struct loop *l = *state;
    struct rearm r = {0};
    int posted = 0;

    r.t = loop_timer_new(l, "rearm", on_rearm, &r);
    loop_timer_in(r.t, 0);
    loop_post(l, count_up, &posted);
    loop_turn(l, 0);
    assert_int_equal(posted, 1);
    assert_in_range(r.n, 0, 1);
    for (int i = 0; i < 5; i++)
        loop_turn(l, 1000);
    assert_in_range(r.n, 5, 6);
    loop_timer_free(r.t);
}

static void
test_fake_clock_drives_timers(void **state)
{
    struct loop *l = *state;
    int n = 0;
    struct loop_timer *t = loop_timer_new(l, "fake", count_up, &n);

    clock_fake_set(1000000000, 0);
    loop_timer_in(t, 3600 * 1000);
    loop_turn(l, 0);
    assert_int_equal(n, 0);
    clock_fake_advance(3599LL * 1000000000);
    loop_turn(l, 0);
    assert_int_equal(n, 0);
    clock_fake_advance(1000000000);
    loop_turn(l, -1); /* due: does not wait */
    assert_int_equal(n, 1);
    clock_fake_stop();
    loop_timer_free(t);
}

/* --- ownership ------------------------------------------------------------------------
 */

struct group {
    struct loop_io *io[8];
    int fds[8][2];
    int calls;
};

static void
free_all(void *arg, int fd, uint32_t events)
{
    struct group *g = arg;

    UNUSED(fd);
    assert_true(events & EPOLLIN);
    g->calls++;
    for (int i = 0; i < 8; i++) {
        loop_io_free(g->io[i]);
        g->io[i] = NULL;
    }
}

/* All are ready in one turn; the first one called frees all, itself included. */
static void
test_callback_frees_every_source(void **state)
{
    struct loop *l = *state;
    struct group g = {0};

    for (int i = 0; i < 8; i++) {
        assert_int_equal(pipe2(g.fds[i], O_CLOEXEC), 0);
        OK(loop_io_add(l, "pipe", g.fds[i][0], EPOLLIN, free_all, &g, &g.io[i], &err));
        assert_int_equal(write(g.fds[i][1], "x", 1), 1);
    }
    loop_turn(l, 1000);
    assert_int_equal(g.calls, 1);
    loop_turn(l, 0);
    assert_int_equal(g.calls, 1);
    for (int i = 0; i < 8; i++) {
        close(g.fds[i][0]);
        close(g.fds[i][1]);
    }
}

struct self {
    struct loop_timer *t, *other;
    struct loop_hook *hook, *other_hook;
    int calls;
};

static void
free_self_and_other(void *arg)
{
    struct self *s = arg;

    s->calls++;
    loop_timer_free(s->t);
    loop_timer_free(s->other);
}

static void
free_hooks(void *arg)
{
    struct self *s = arg;

    s->calls++;
    loop_hook_free(s->hook);
    loop_hook_free(s->other_hook);
}

static void
test_timer_and_hook_free_themselves(void **state)
{
    struct loop *l = *state;
    struct self s = {0};

    s.t = loop_timer_new(l, "self", free_self_and_other, &s);
    s.other = loop_timer_new(l, "other", free_self_and_other, &s);
    loop_timer_in(s.t, 0);
    loop_timer_in(s.other, 0);
    wait_for(l, s.calls > 0);
    loop_turn(l, 0);
    assert_int_equal(s.calls, 1);
    s.hook = loop_before_sleep(l, "self", free_hooks, &s);
    s.other_hook = loop_before_sleep(l, "other", free_hooks, &s);
    loop_turn(l, 0);
    loop_turn(l, 0);
    assert_int_equal(s.calls, 2);
}

static void
note_events(void *arg, int fd, uint32_t events)
{
    UNUSED(fd);
    *(uint32_t *)arg = events;
}

/* Without wanted events not even a hang-up is reported: that would spin. */
static void
test_io_without_events_is_silent(void **state)
{
    struct loop *l = *state;
    uint32_t seen = 0;
    struct loop_io *io = NULL;
    int fds[2];

    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    OK(loop_io_add(l, "pipe", fds[0], EPOLLIN, note_events, &seen, &io, &err));
    OK(loop_io_set(io, 0, &err));
    close(fds[1]);
    loop_turn(l, 0);
    assert_int_equal(seen, 0);
    OK(loop_io_set(io, EPOLLIN, &err));
    loop_turn(l, 1000);
    assert_true(seen & EPOLLHUP);
    loop_io_free(io);
    close(fds[0]);
    /* A descriptor that epoll cannot take is an error, not a crash. */
    int file = open("/etc/hostname", O_RDONLY | O_CLOEXEC);
    assert_true(file >= 0);
    assert_int_not_equal(
        loop_io_add(l, "file", file, EPOLLIN, note_events, &seen, &io, &err), 0);
    close(file);
}

/* --- children, signals, inotify -------------------------------------------------------
 */

struct ended {
    pid_t pid;
    int status, calls;
    struct loop_child *child;
    bool free_it;
};

static void
on_ended(void *arg, pid_t pid, int status)
{
    struct ended *x = arg;

    x->pid = pid;
    x->status = status;
    x->calls++;
    if (x->free_it)
        loop_child_free(x->child);
}

static void
test_child_exit_and_signal(void **state)
{
    struct loop *l = *state;
    struct ended a = {0};
    struct ended b = {.free_it = true};
    pid_t p = fork();

    if (p == 0)
        _exit(7);
    pid_t q = fork();
    if (q == 0) {
        pause();
        _exit(0);
    }
    OK(loop_child_add(l, "exits", p, on_ended, &a, &a.child, &err));
    OK(loop_child_add(l, "killed", q, on_ended, &b, &b.child, &err));
    wait_for(l, a.calls == 1);
    assert_int_equal(a.pid, p);
    assert_true(WIFEXITED(a.status));
    assert_int_equal(WEXITSTATUS(a.status), 7);
    assert_int_equal(b.calls, 0);
    kill(q, SIGTERM);
    wait_for(l, b.calls == 1);
    assert_true(WIFSIGNALED(b.status));
    assert_int_equal(WTERMSIG(b.status), SIGTERM);
    loop_turn(l, 0);
    assert_int_equal(a.calls, 1);
    loop_child_free(a.child);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* both reaped */
    assert_int_not_equal(loop_child_add(l, "none", p, on_ended, &a, &a.child, &err), 0);
}

/* An adopted process: its end is reported although somebody else reaps it. */
static void
test_foreign_process(void **state)
{
    struct loop *l = *state;
    struct ended x = {0};
    int fds[2];
    pid_t grandchild = 0;

    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    pid_t p = fork();
    if (p == 0) {
        pid_t g = fork();
        if (g == 0) {
            pause();
            _exit(0);
        }
        ssize_t rc = write(fds[1], &g, sizeof(g));
        waitpid(g, NULL, 0);
        _exit(rc == (ssize_t)sizeof(g) ? 0 : 1);
    }
    assert_int_equal(read(fds[0], &grandchild, sizeof(grandchild)), sizeof(grandchild));
    OK(loop_child_add(l, "foreign", grandchild, on_ended, &x, &x.child, &err));
    kill(grandchild, SIGKILL);
    wait_for(l, x.calls == 1);
    assert_int_equal(x.status, LOOP_CHILD_UNKNOWN);
    loop_child_free(x.child);
    waitpid(p, NULL, 0);
    close(fds[0]);
    close(fds[1]);
}

static void
count_signal(void *arg, int signo)
{
    assert_int_equal(signo, SIGUSR1);
    ++*(int *)arg;
}

static void
test_signals(void **state)
{
    struct loop *l = *state;
    struct loop_signal *a = NULL;
    struct loop_signal *b = NULL;
    int first = 0;
    int second = 0;
    sigset_t now;

    OK(loop_signal_add(l, SIGUSR1, count_signal, &first, &a, &err));
    OK(loop_signal_add(l, SIGUSR1, count_signal, &second, &b, &err));
    kill(getpid(), SIGUSR1);
    wait_for(l, first == 1 && second == 1);
    loop_signal_free(a);
    kill(getpid(), SIGUSR1);
    wait_for(l, second == 2);
    assert_int_equal(first, 1);
    loop_signal_free(b);
    pthread_sigmask(SIG_SETMASK, NULL, &now);
    assert_int_equal(sigismember(&now, SIGUSR1), 0); /* as before */
}

struct seen {
    int n, gone;
    uint32_t mask;
    char name[64];
};

static void
on_change(void *arg, uint32_t mask, const char *name)
{
    struct seen *s = arg;

    s->n++;
    s->mask |= mask;
    if (mask & IN_IGNORED)
        s->gone++;
    snprintf(s->name, sizeof(s->name), "%s", name);
}

/* Two watches of one directory share the kernel's; each sees what it asked for. */
static void
test_inotify(void **state)
{
    struct loop *l = *state;
    char dir[] = "/tmp/drover-loop-XXXXXX";
    struct seen creates = {0};
    struct seen deletes = {0};
    struct loop_watch *a = NULL;
    struct loop_watch *b = NULL;

    assert_non_null(mkdtemp(dir));
    OK(loop_watch_add(l, dir, IN_CREATE, on_change, &creates, &a, &err));
    OK(loop_watch_add(l, dir, IN_DELETE, on_change, &deletes, &b, &err));
    autofree char *path = fs_join(dir, "file");
    int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    close(fd);
    wait_for(l, creates.n == 1);
    assert_string_equal(creates.name, "file");
    assert_int_equal(deletes.n, 0);
    unlink(path);
    wait_for(l, deletes.n == 1);
    loop_watch_free(a);
    OK(fs_remove_tree(dir, &err));
    wait_for(l, deletes.gone == 1);
    loop_watch_free(b);
    assert_int_not_equal(
        loop_watch_add(l, "/nonexistent/x", IN_CREATE, on_change, &creates, &a, &err), 0);
    assert_int_equal(err.code, ERR_NOT_FOUND);
}

/* --- posts, hooks, quit, pool ---------------------------------------------------------
 */

enum { POSTERS = 4, POSTS_EACH = 20000 };

struct poster {
    struct loop *l;
    struct posted *items;
    int *received;
};
struct posted {
    struct poster *from;
    int number;
    int *last; /* of this poster */
};

static void
on_post(void *arg)
{
    struct posted *p = arg;

    /* In post order for each thread. */
    assert_int_equal(p->number, *p->last + 1);
    *p->last = p->number;
    if (++*p->from->received == POSTERS * POSTS_EACH)
        loop_quit(p->from->l, 42);
}

static void *
post_many(void *arg)
{
    struct poster *p = arg;

    for (int i = 0; i < POSTS_EACH; i++)
        loop_post(p->l, on_post, &p->items[i]);
    return NULL;
}

static void
test_posts_from_four_threads(void **state)
{
    struct loop *l = *state;
    struct poster posters[POSTERS];
    pthread_t threads[POSTERS];
    int last[POSTERS];
    int received = 0;

    for (int i = 0; i < POSTERS; i++) {
        last[i] = -1;
        posters[i] = (struct poster){.l = l, .received = &received};
        posters[i].items = xcalloc(POSTS_EACH, sizeof(*posters[i].items));
        for (int k = 0; k < POSTS_EACH; k++)
            posters[i].items[k] = (struct posted){&posters[i], k, &last[i]};
    }
    for (int i = 0; i < POSTERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, post_many, &posters[i]), 0);
    assert_int_equal(loop_run(l), 42);
    assert_int_equal(received, POSTERS * POSTS_EACH);
    for (int i = 0; i < POSTERS; i++) {
        pthread_join(threads[i], NULL);
        free(posters[i].items);
    }
}

struct chain {
    struct loop *l;
    int posts, hooks;
};

static void
post_again(void *arg)
{
    struct chain *c = arg;

    if (++c->posts < 3)
        loop_post(c->l, post_again, c);
}

static void
post_from_hook(void *arg)
{
    struct chain *c = arg;

    if (c->hooks++ == 0)
        loop_post(c->l, post_again, c);
}

/* What a hook posts is run without waiting; a post made by a post comes a turn later. */
static void
test_hooks_and_posts_do_not_sleep(void **state)
{
    struct loop *l = *state;
    struct chain c = {.l = l};
    struct loop_hook *h = loop_before_sleep(l, "chain", post_from_hook, &c);

    loop_turn(l, -1);
    assert_int_equal(c.posts, 1);
    loop_turn(l, -1);
    assert_int_equal(c.posts, 2);
    loop_turn(l, -1);
    assert_int_equal(c.posts, 3);
    loop_hook_free(h);
}

struct sum {
    struct loop *l;
    uint64_t in[64], out[64];
    int worked, done;
    pthread_t loop_thread;
};
struct sum_job {
    struct sum *s;
    int i;
};

static void
work(void *arg)
{
    struct sum_job *j = arg;

    for (uint64_t k = 0; k <= j->s->in[j->i]; k++)
        j->s->out[j->i] += k;
    __atomic_fetch_add(&j->s->worked, 1, __ATOMIC_RELAXED);
}

static void
work_done(void *arg)
{
    struct sum_job *j = arg;

    assert_true(pthread_equal(pthread_self(), j->s->loop_thread));
    assert_int_equal(j->s->out[j->i], j->s->in[j->i] * (j->s->in[j->i] + 1) / 2);
    j->s->done++;
}

static void
test_pool(void **state)
{
    struct loop *l = *state;
    struct sum s = {.l = l, .loop_thread = pthread_self()};
    struct sum_job jobs[64];
    struct loop_pool *p = loop_pool_new(l, "pool", 3);

    for (int round = 0; round < 2; round++) {
        memset(s.out, 0, sizeof(s.out));
        s.done = s.worked = 0;
        for (int i = 0; i < 64; i++) {
            s.in[i] = (uint64_t)i * 100;
            jobs[i] = (struct sum_job){&s, i};
            loop_pool_run(p, work, work_done, &jobs[i]);
        }
        assert_int_equal(loop_pool_pending(p), 64);
        if (round == 0)
            wait_for(l, s.done == 64);
    }
    /* The second round is still under way: freeing waits for it and delivers it. */
    loop_pool_free(p);
    assert_int_equal(s.worked, 64);
    assert_int_equal(s.done, 64);
}

static void *
quit_later(void *arg)
{
    loop_quit(arg, 5);
    return NULL;
}

static void
test_quit_from_another_thread(void **state)
{
    struct loop *l = *state;
    pthread_t t;

    assert_int_equal(pthread_create(&t, NULL, quit_later, l), 0);
    assert_int_equal(loop_run(l), 5);
    pthread_join(t, NULL);
    loop_quit(l, 6); /* before it runs: it returns at once */
    assert_int_equal(loop_run(l), 6);
}

static void
be_slow(void *arg)
{
    struct timespec ts;
    int64_t end = 0;
    int64_t now = 0;

    UNUSED(arg);
    do { /* 3 ms of processor time, whatever else the machine does */
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
        now = (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
        end = end == 0 ? now + 3000000 : end;
    } while (now < end);
}

static void
test_lag_and_dump(void **state)
{
    struct loop *l = *state;
    struct loop_timer *t = loop_timer_new(l, "slow one", be_slow, NULL);
    struct loop_stats st;
    auto_str out = STR_INIT(64 * 1024);
    uint64_t slow = 0;

    loop_timer_in(t, 0);
    loop_turn(l, 100);
    loop_stats(l, &st);
    assert_string_equal(st.lag_max_name, "slow one");
    assert_true(st.lag_max_us >= 3000);
    for (int i = 0; i < LOOP_LAG_BUCKETS; i++)
        slow += i > 0 && st.lag_bound_us[i - 1] >= 2000 ? st.lag[i] : 0;
    assert_int_equal(slow, 1);
    assert_int_equal(st.n_long, 1);
    assert_string_equal(st.longs[0].name, "slow one");
    assert_in_range(st.longs[0].max_us, 2990, UINT32_MAX);
    assert_null(st.longs[1].name);
    loop_dump(l, &out);
    assert_non_null(strstr(out.ptr, "slow one, 1 times"));
    assert_non_null(strstr(out.ptr, "timer slow one calls 1 not armed"));
    assert_non_null(strstr(out.ptr, "io wake"));
    loop_timer_free(t);
}

int
main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_timers_in_order_and_never_early),
        T(test_timer_move_and_cancel),
        T(test_rearmed_timer_does_not_starve),
        T(test_fake_clock_drives_timers),
        T(test_callback_frees_every_source),
        T(test_timer_and_hook_free_themselves),
        T(test_io_without_events_is_silent),
        T(test_child_exit_and_signal),
        T(test_foreign_process),
        T(test_signals),
        T(test_inotify),
        T(test_posts_from_four_threads),
        T(test_hooks_and_posts_do_not_sleep),
        T(test_pool),
        T(test_quit_from_another_thread),
        T(test_lag_and_dump),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
