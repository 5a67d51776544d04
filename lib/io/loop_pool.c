/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compute pool: jobs go to threads through one queue and come back through another, which
 * an eventfd announces to the loop. done() is called in the order in which jobs finished.
 */
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "io/loop_internal.h"

struct job {
    loop_post_fn *work, *done;
    void *arg;
};
typedef vec(struct job) job_vec;

struct loop_pool {
    struct loop *loop;
    const char *name;
    struct loop_io *io;
    int event_fd;
    size_t pending; /* loop thread: accepted, done() not yet called */
    bool in_done;
    job_vec finished; /* loop thread: being delivered */
    pthread_t *threads;
    unsigned n_threads;

    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t cond;
    job_vec queue; /* taken from head */
    size_t head;
    job_vec ready;
    bool closing;
};

static bool
take_job(struct loop_pool *p, struct job *ret)
{
    pthread_mutex_lock(&p->lock);
    while (p->head == p->queue.len && !p->closing)
        pthread_cond_wait(&p->cond, &p->lock);
    bool have = p->head < p->queue.len;
    if (have)
        *ret = p->queue.items[p->head++];
    if (p->head == p->queue.len)
        p->head = p->queue.len = 0;
    pthread_mutex_unlock(&p->lock);
    return have;
}

static void *
pool_thread(void *arg)
{
    struct loop_pool *p = arg;
    struct job job;
    uint64_t one = 1;

    while (take_job(p, &job)) {
        job.work(job.arg);
        pthread_mutex_lock(&p->lock);
        bool first = p->ready.len == 0;
        vec_push(&p->ready, job);
        pthread_mutex_unlock(&p->lock);
        if (first) {
            ssize_t rc = write(p->event_fd, &one, sizeof(one));
            UNUSED(rc); /* cannot fill: it is read before the next "first" */
        }
    }
    return NULL;
}

static void
deliver(struct loop_pool *p)
{
    pthread_mutex_lock(&p->lock);
    job_vec batch = p->ready;
    p->ready = p->finished;
    p->ready.len = 0;
    p->finished = batch;
    pthread_mutex_unlock(&p->lock);
    p->in_done = true;
    for (size_t i = 0; i < p->finished.len; i++) {
        struct job job = p->finished.items[i];
        p->pending--;
        if (job.done != NULL)
            job.done(job.arg);
    }
    p->finished.len = 0;
    p->in_done = false;
}

static void
on_ready(void *arg, int fd, uint32_t events)
{
    uint64_t n;
    ssize_t rc = read(fd, &n, sizeof(n));

    UNUSED(rc);
    UNUSED(events);
    deliver(arg);
}

/* Threads take no signals: those belong to the loop's signalfd. */
static void
start_threads(struct loop_pool *p)
{
    sigset_t all;
    sigset_t old;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    for (unsigned i = 0; i < p->n_threads; i++)
        bug_if(pthread_create(&p->threads[i], NULL, pool_thread, p) != 0);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

struct loop_pool *
loop_pool_new(struct loop *l, const char *name, unsigned threads)
{
    struct loop_pool *p = xnew(struct loop_pool);
    struct error e = ERROR_INIT;

    p->loop = l;
    p->name = name;
    p->n_threads = threads == 0 ? 1 : threads;
    p->threads = xcalloc(p->n_threads, sizeof(*p->threads));
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->cond, NULL);
    /* A program that cannot have one descriptor and its threads at start has no use. */
    p->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    bug_if(p->event_fd < 0);
    bug_if(loop_io_add_internal(l, name, p->event_fd, on_ready, p, &p->io, &e) < 0);
    start_threads(p);
    return p;
}

void
loop_pool_run(struct loop_pool *p, loop_post_fn *work, loop_post_fn *done, void *arg)
{
    p->pending++;
    pthread_mutex_lock(&p->lock);
    bug_if(p->closing);
    if (p->head > 64 && p->head > p->queue.len / 2) {
        memmove(p->queue.items, p->queue.items + p->head,
                (p->queue.len - p->head) * sizeof(p->queue.items[0]));
        p->queue.len -= p->head;
        p->head = 0;
    }
    vec_push(&p->queue, ((struct job){work, done, arg}));
    pthread_cond_signal(&p->cond);
    pthread_mutex_unlock(&p->lock);
}

size_t
loop_pool_pending(const struct loop_pool *p)
{
    return p->pending;
}

void
loop_pool_free(struct loop_pool *p)
{
    if (p == NULL)
        return;
    bug_if(p->in_done);
    pthread_mutex_lock(&p->lock);
    p->closing = true;
    pthread_cond_broadcast(&p->cond);
    pthread_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < p->n_threads; i++)
        pthread_join(p->threads[i], NULL);
    deliver(p);
    loop_io_free(p->io);
    close(p->event_fd);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->cond);
    vec_done(&p->queue);
    vec_done(&p->ready);
    vec_done(&p->finished);
    free(p->threads);
    free(p);
}
