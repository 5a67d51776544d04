/* SPDX-License-Identifier: Apache-2.0 */
/* The log-writer thread and its two queues. */
#include "apiserver/store/store_writer.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "base/mem.h"

struct store_writer {
    struct store_log *log; /* the writer's; the caller's when inline */
    int event_fd;
    bool threaded;
    pthread_t thread;

    pthread_mutex_t lock;
    pthread_cond_t work, idle;
    /* under lock */
    struct log_batch_list queue, finished;
    struct error failure; /* code OK: none that was not collected */
    bool busy, stop, signalled;
    struct log_counters counters;
};

/* Called with the lock held; returns with it held. */
static void
append_all(struct store_writer *w)
{
    struct log_batch_list taken = STAILQ_HEAD_INITIALIZER(taken);
    struct error e = ERROR_INIT;

    STAILQ_CONCAT(&taken, &w->queue);
    w->busy = true;
    pthread_mutex_unlock(&w->lock);
    int rc = store_log_append(w->log, &taken, &e);
    pthread_mutex_lock(&w->lock);
    w->busy = false;
    STAILQ_CONCAT(&w->finished, &taken);
    if (rc < 0)
        w->failure = e;
    store_log_counters(w->log, &w->counters);
    if (!w->signalled) {
        uint64_t one = 1;
        w->signalled = true;
        ssize_t n = write(w->event_fd, &one, sizeof(one));
        UNUSED(n); /* full means that it is readable already */
    }
}

/* Called and returns with the lock held. True: it did something, look again. */
static bool
seal(struct store_writer *w)
{
    struct error e = ERROR_INIT;

    if (!store_log_wants_seal(w->log))
        return false;
    w->busy = true;
    pthread_mutex_unlock(&w->lock);
    int rc = store_log_seal(w->log, &e);
    pthread_mutex_lock(&w->lock);
    w->busy = false;
    if (rc < 0)
        w->failure = e;
    return true;
}

static void *
run(void *arg)
{
    struct store_writer *w = arg;

    pthread_mutex_lock(&w->lock);
    for (;;) {
        if (w->failure.code == ERR_OK && !STAILQ_EMPTY(&w->queue)) {
            append_all(w);
            continue;
        }
        if (w->failure.code == ERR_OK && seal(w))
            continue;
        pthread_cond_broadcast(&w->idle);
        if (w->stop)
            break;
        pthread_cond_wait(&w->work, &w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

struct store_writer *
writer_new(struct store_log *log, int event_fd, bool threaded)
{
    struct store_writer *w = xnew(struct store_writer);
    sigset_t all;
    sigset_t old;

    w->log = log;
    w->event_fd = event_fd;
    w->threaded = threaded;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->work, NULL);
    pthread_cond_init(&w->idle, NULL);
    STAILQ_INIT(&w->queue);
    STAILQ_INIT(&w->finished);
    if (!threaded)
        return w;
    /* Signals belong to the loop. A program without this thread has no use. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    bug_if(pthread_create(&w->thread, NULL, run, w) != 0);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return w;
}

void
writer_free(struct store_writer *w)
{
    if (w == NULL)
        return;
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_signal(&w->work);
    pthread_mutex_unlock(&w->lock);
    if (w->threaded)
        pthread_join(w->thread, NULL);
    store_log_close(w->log);
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->work);
    pthread_cond_destroy(&w->idle);
    free(w);
}

void
writer_submit(struct store_writer *w, struct log_batch *b)
{
    pthread_mutex_lock(&w->lock);
    STAILQ_INSERT_TAIL(&w->queue, b, link);
    if (w->threaded) {
        pthread_cond_signal(&w->work);
    } else if (w->failure.code == ERR_OK) {
        append_all(w);
        if (w->failure.code == ERR_OK)
            seal(w);
    }
    pthread_mutex_unlock(&w->lock);
}

int
writer_collect(struct store_writer *w, struct log_batch_list *ret, struct error *e)
{
    int rc = 0;

    pthread_mutex_lock(&w->lock);
    w->signalled = false;
    STAILQ_CONCAT(ret, &w->finished);
    if (w->failure.code != ERR_OK) {
        *e = w->failure;
        rc = -(int)e->code;
        STAILQ_CONCAT(ret, &w->queue);
        if (e->code == ERR_FULL)
            w->failure = ERROR_INIT;
    }
    pthread_mutex_unlock(&w->lock);
    return rc;
}

void
writer_wait(struct store_writer *w)
{
    pthread_mutex_lock(&w->lock);
    while (w->threaded && w->failure.code == ERR_OK &&
           (w->busy || !STAILQ_EMPTY(&w->queue)))
        pthread_cond_wait(&w->idle, &w->lock);
    pthread_mutex_unlock(&w->lock);
}

void
writer_counters(struct store_writer *w, struct log_counters *ret)
{
    pthread_mutex_lock(&w->lock);
    *ret = w->counters;
    pthread_mutex_unlock(&w->lock);
}
