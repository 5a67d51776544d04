/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A record per Instance under one mutex; a detached thread per running task. Threads are
 * counted, so that the end can wait for them.
 */
#include "controllers/instance/host_pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/queue.h>

#include "base/map.h"
#include "base/mem.h"

enum { TASK_STACK = 256 * 1024 };

struct record {
    char *ns, *name;
    int64_t generation, running_generation;
    enum host_step running;
    bool has_result, forgotten;
    struct host_result result;
    unsigned failures;
};

struct work {
    STAILQ_ENTRY(work) next;
    struct host_pool *pool;
    struct host_task *task;
    char uid[HOST_ID_MAX];
};

struct host_pool {
    struct host_pool_opts o;
    pthread_mutex_t lock;
    pthread_cond_t idle;
    struct map *records; /* uid -> struct record */
    STAILQ_HEAD(, work) waiting;
    unsigned threads;
    bool stopping;
    int cancel_fd;
};

static void
record_free(void *arg)
{
    struct record *r = arg;

    free(r->ns);
    free(r->name);
    free(r);
}

int
host_pool_new(const struct host_pool_opts *o, struct host_pool **ret, struct error *e)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    if (fd < 0)
        return error_errno(e, errno, "make an eventfd");
    struct host_pool *p = xnew(struct host_pool);
    p->o = *o;
    p->cancel_fd = fd;
    p->records = map_new(record_free);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->idle, NULL);
    STAILQ_INIT(&p->waiting);
    *ret = p;
    return 0;
}

/* --- tasks and results ------------------------------------------------------------- */

static void
free_secret(char *s)
{
    if (s != NULL)
        explicit_bzero(s, strlen(s));
    free(s);
}

void
host_task_free(struct host_task *t)
{
    if (t == NULL)
        return;
    free_secret(t->identity);
    free_secret(t->jump_identity);
    free_secret(t->token);
    free(t->keys);
    free(t->jump_keys);
    free(t->instance_uid);
    free(t->program);
    free(t->program_id);
    free(t->mark);
    free(t->prior);
    free(t->agent_url);
    free(t->ca_hash);
    free(t->name);
    free(t->settings_id);
    free(t->job_env);
    free(t);
}

void
host_result_fail(struct host_result *r, enum host_step step, const char *reason,
                 const char *fmt, ...)
{
    va_list ap;

    r->step = step;
    r->ok = false;
    snprintf(r->reason, sizeof(r->reason), "%s", reason);
    va_start(ap, fmt);
    vsnprintf(r->message, sizeof(r->message), fmt, ap);
    va_end(ap);
}

/* --- records ----------------------------------------------------------------------- */

static void
renew(struct record *r, int64_t generation)
{
    if (r->generation == generation)
        return;
    r->generation = generation;
    r->has_result = false;
    r->failures = 0;
}

/* Locked. */
static struct record *
record_of(struct host_pool *p, const struct host_pool_key *k)
{
    struct record *r = map_get(p->records, k->uid);

    if (r == NULL) {
        r = xnew(struct record);
        r->ns = xstrdup(k->ns);
        r->name = xstrdup(k->name);
        r->generation = k->generation;
        map_put(p->records, k->uid, r);
    }
    renew(r, k->generation);
    return r;
}

static void
take_result(struct host_pool *p, struct record *r, const struct host_result *result)
{
    r->result = *result;
    r->result.ended_ms = p->o.now_ms(p->o.arg);
    r->has_result = true;
    if (!result->ok || result->step == HOST_DIAGNOSE)
        r->failures++;
    else if (result->step != HOST_PROBE) /* to log in is no success yet */
        r->failures = 0;
}

void
host_pool_ask(struct host_pool *p, const struct host_pool_key *k, struct host_seen *ret)
{
    pthread_mutex_lock(&p->lock);
    const struct record *r = record_of(p, k);
    *ret = (struct host_seen){.running = r->running,
                              .has_result = r->has_result,
                              .result = r->result,
                              .failures = r->failures};
    pthread_mutex_unlock(&p->lock);
}

void
host_pool_clear(struct host_pool *p, const char *uid)
{
    pthread_mutex_lock(&p->lock);
    struct record *r = map_get(p->records, uid);
    if (r != NULL) {
        r->has_result = false;
        r->failures = 0;
    }
    pthread_mutex_unlock(&p->lock);
}

void
host_pool_forget(struct host_pool *p, const char *uid)
{
    pthread_mutex_lock(&p->lock);
    struct record *r = map_get(p->records, uid);
    if (r != NULL && r->running != HOST_STEP_NONE)
        r->forgotten = true;
    else
        map_del(p->records, uid);
    pthread_mutex_unlock(&p->lock);
}

/* --- work -------------------------------------------------------------------------- */

static void launch(struct host_pool *p);

static void
work_free(struct work *w)
{
    host_task_free(w->task);
    free(w);
}

/* Locked. */
static void
finish(struct host_pool *p, const char *uid, const struct host_result *result)
{
    struct record *r = map_get(p->records, uid);

    bug_if(r == NULL);
    r->running = HOST_STEP_NONE;
    if (r->forgotten) {
        map_del(p->records, uid);
        return;
    }
    if (r->running_generation == r->generation)
        take_result(p, r, result);
    if (!p->stopping)
        p->o.done(p->o.arg, r->ns, r->name);
}

static void *
run_task(void *arg)
{
    struct work *w = arg;
    struct host_pool *p = w->pool;
    struct host_result result = {.step = w->task->step};

    p->o.run(p->o.run_arg, w->task, p->cancel_fd, &result);
    pthread_mutex_lock(&p->lock);
    finish(p, w->uid, &result);
    work_free(w);
    p->threads--;
    launch(p);
    if (p->threads == 0)
        pthread_cond_broadcast(&p->idle);
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

static int
start_thread(struct work *w)
{
    sigset_t all, before;
    pthread_attr_t attr;
    pthread_t thread;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the loop's */
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
#ifndef DROVER_SANITIZED
    pthread_attr_setstacksize(&attr, TASK_STACK);
#endif
    int rc = pthread_create(&thread, &attr, run_task, w);
    pthread_attr_destroy(&attr);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

/* Locked. */
static void
launch(struct host_pool *p)
{
    struct work *w;

    while (!p->stopping && p->threads < p->o.parallel &&
           (w = STAILQ_FIRST(&p->waiting)) != NULL) {
        STAILQ_REMOVE_HEAD(&p->waiting, next);
        p->threads++;
        int rc = start_thread(w);
        if (rc == 0)
            continue;
        struct host_result failed = {0};
        host_result_fail(&failed, w->task->step, "NoThread", "no thread for it: %s",
                         strerrordesc_np(rc));
        p->threads--;
        finish(p, w->uid, &failed);
        work_free(w);
    }
}

void
host_pool_start(struct host_pool *p, const struct host_pool_key *k, struct host_task *t)
{
    pthread_mutex_lock(&p->lock);
    struct record *r = record_of(p, k);
    if (r->running != HOST_STEP_NONE || p->stopping) {
        host_task_free(t);
    } else {
        struct work *w = xnew(struct work);
        r->running = t->step;
        r->running_generation = k->generation;
        r->forgotten = false;
        w->pool = p;
        w->task = t;
        snprintf(w->uid, sizeof(w->uid), "%s", k->uid);
        STAILQ_INSERT_TAIL(&p->waiting, w, next);
        launch(p);
    }
    pthread_mutex_unlock(&p->lock);
}

void
host_pool_fail(struct host_pool *p, const struct host_pool_key *k,
               const struct host_result *result)
{
    pthread_mutex_lock(&p->lock);
    struct record *r = record_of(p, k);
    take_result(p, r, result);
    p->o.done(p->o.arg, r->ns, r->name);
    pthread_mutex_unlock(&p->lock);
}

void
host_pool_stop(struct host_pool *p)
{
    struct work *w;
    uint64_t one = 1;

    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    while ((w = STAILQ_FIRST(&p->waiting)) != NULL) {
        STAILQ_REMOVE_HEAD(&p->waiting, next);
        work_free(w);
    }
    ssize_t n = write(p->cancel_fd, &one, sizeof(one));
    bug_if(n != (ssize_t)sizeof(one));
    while (p->threads > 0)
        pthread_cond_wait(&p->idle, &p->lock);
    pthread_mutex_unlock(&p->lock);
}

void
host_pool_free(struct host_pool *p)
{
    if (p == NULL)
        return;
    host_pool_stop(p);
    map_free(p->records);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->idle);
    close(p->cancel_fd);
    free(p);
}
