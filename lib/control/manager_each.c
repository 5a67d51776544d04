/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many writes of one reconcile at once: each waits for a disk, and the server makes
 * writes that wait together durable together. Threads live for this call only; a few
 * writes are done by the caller alone, in order.
 */
#include <pthread.h>

#include "base/mem.h"
#include "control/manager_internal.h"

enum { THREADS_MAX = 8, FEW = 8 };

struct each {
    const struct reconcile_env *env;
    reconcile_one_fn *one;
    void *arg;
    size_t n;
    pthread_mutex_t lock;
    size_t next; /* under the lock, as below */
    int rc;
    struct error error; /* the first */
};

/* The next number; false: none, or one has failed. */
static bool
take(struct each *x, size_t *ret)
{
    pthread_mutex_lock(&x->lock);
    bool more = x->rc == 0 && x->next < x->n;
    *ret = x->next;
    x->next += more;
    pthread_mutex_unlock(&x->lock);
    return more;
}

static void
failed(struct each *x, int rc, const struct error *e)
{
    pthread_mutex_lock(&x->lock);
    if (x->rc == 0) {
        x->rc = rc;
        x->error = *e;
    }
    pthread_mutex_unlock(&x->lock);
}

/* What this thread wrote is for the caller to wait for, too. */
static void
pass_on(struct each *x, const struct reconcile_writes *mine)
{
    pthread_mutex_lock(&x->lock);
    for (size_t i = 0; i < mine->n; i++)
        reconcile_note(x->env->writes, mine->list[i].inf, mine->list[i].revision);
    pthread_mutex_unlock(&x->lock);
}

static void
work(struct each *x, struct client *client)
{
    struct reconcile_writes mine = {0};
    struct reconcile_env env = *x->env;
    size_t i;

    env.client = client;
    env.writes = &mine;
    while (take(x, &i)) {
        struct error e = ERROR_INIT;
        int rc = x->one(x->arg, &env, i, &e);
        if (rc < 0)
            failed(x, rc, &e);
    }
    pass_on(x, &mine);
}

/* A client is one thread's: it owns a connection. */
struct helper {
    struct each *x;
    struct client *client;
    pthread_t thread;
};

static void *
help(void *arg)
{
    struct helper *h = arg;

    work(h->x, h->client);
    return NULL;
}

int
reconcile_each(const struct reconcile_env *env, size_t n, reconcile_one_fn *one,
               void *arg, struct error *e)
{
    struct each x = {
        .env = env, .one = one, .arg = arg, .n = n, .lock = PTHREAD_MUTEX_INITIALIZER};
    struct helper helpers[THREADS_MAX - 1];
    size_t started = 0;

    while (n > FEW && started < ARRAY_LEN(helpers)) {
        struct helper *h = &helpers[started];
        *h = (struct helper){.x = &x, .client = client_clone(env->client)};
        if (pthread_create(&h->thread, NULL, help, h) != 0) {
            client_free(h->client);
            break;
        }
        started++;
    }
    work(&x, env->client);
    for (size_t i = 0; i < started; i++) {
        pthread_join(helpers[i].thread, NULL);
        client_free(helpers[i].client);
    }
    if (x.rc < 0)
        *e = x.error;
    return x.rc;
}
