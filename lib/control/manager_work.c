/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One controller at work: its queue under a mutex, worker threads that take keys, what an
 * outcome means, and the rule that a key's next run sees what its last run wrote.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "control/manager_internal.h"

LOG_MODULE(manager);

enum {
    SLOW_RETRY_MS = 30000,
    RETRY_RATE = 100,
    RETRY_BURST = 500,
    WORKER_STACK = 256 * 1024
};

void
running_init(struct running *r, struct manager *m, const struct controller *c)
{
    pthread_condattr_t attr;
    struct workqueue_opts o = {
        .backoff_min_ms = c->backoff_min_ms,
        .backoff_max_ms = c->backoff_max_ms,
        .retry_rate = RETRY_RATE,
        .retry_burst = RETRY_BURST,
        .seed = m->opts.seed,
    };

    r->self = r;
    r->m = m;
    r->c = c;
    r->queue = workqueue_new(&o);
    r->waits = map_new(free);
    pthread_mutex_init(&r->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&r->ready, &attr);
    pthread_condattr_destroy(&attr);
}

void
running_done(struct running *r)
{
    if (r->c->fini != NULL)
        r->c->fini(r->state);
    for (size_t i = 0; i < r->n_watches; i++)
        free(r->watches[i]);
    client_free(r->client);
    workqueue_free(r->queue);
    map_free(r->waits);
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->ready);
}

void
running_add(struct running *r, const char *ns, const char *name,
            enum workqueue_level level)
{
    char key[MANAGER_KEY_MAX];

    if ((size_t)snprintf(key, sizeof(key), "%s/%s", ns, name) >= sizeof(key))
        return; /* no server admits such names */
    pthread_mutex_lock(&r->lock);
    workqueue_add(r->queue, key, level);
    pthread_cond_signal(&r->ready);
    pthread_mutex_unlock(&r->lock);
}

/* --- read your writes -------------------------------------------------------------- */

static bool
writes_seen(const struct reconcile_writes *w)
{
    for (size_t i = 0; i < w->n; i++)
        if (informer_revision(w->list[i].inf) < w->list[i].revision &&
            informer_epoch(w->list[i].inf) == w->list[i].epoch)
            return false;
    return true;
}

/* Remembers what the last run of the key wrote. Locked. */
static void
note_writes(struct running *r, const char *key, const struct reconcile_writes *w)
{
    if (w->n > 0 && !writes_seen(w))
        map_put(r->waits, key, xmemdup(w, sizeof(*w)));
}

/* True when the key may run; else it is parked until a cache moves. Locked. */
static bool
may_run(struct running *r, const char *key)
{
    struct reconcile_writes *w = map_get(r->waits, key);

    if (w == NULL)
        return true;
    if (writes_seen(w)) {
        map_del(r->waits, key);
        return true;
    }
    w->parked = true;
    r->n_parked++;
    return false;
}

void
running_progress(struct running *r)
{
    const char *key;
    void *value;
    bool any = false;

    pthread_mutex_lock(&r->lock);
    struct map_cursor c = map_begin(r->waits);
    while (map_next(&c, &key, &value)) {
        struct reconcile_writes *w = value;
        if (!writes_seen(w))
            continue;
        if (w->parked) {
            workqueue_add(r->queue, key, WORKQUEUE_LIVE);
            any = true;
        }
        map_del(r->waits, key);
    }
    if (any)
        pthread_cond_broadcast(&r->ready);
    pthread_mutex_unlock(&r->lock);
}

/* --- outcomes ---------------------------------------------------------------------- */

static void
report_terminal(struct running *r, const struct object_key *key, const struct error *e)
{
    auto_object *o = lister_find(&r->m->lister, r->c->resource, key->ns, key->name);

    log_warn("reconcile failed for good", "controller=%s key=%s/%s error=\"%s\"",
             r->c->name, key->ns, key->name, e->msg);
    if (o != NULL)
        recorder_event(r->m->recorder, r->c->resource, o, RECORDER_WARNING,
                       "ReconcileFailed", "%s", e->msg);
}

static void
log_retry(const struct running *r, const char *key, const struct error *e, int64_t delay,
          uint32_t failures)
{
    bool loud = error_retry(e->code) != ERR_RETRY_FRESH && failures == 0;

    log_write(&log_this_module, loud ? LOG_LV_WARN : LOG_LV_DEBUG, "reconcile failed",
              "controller=%s key=%s code=%s retry_ms=%lld error=\"%s\"", r->c->name, key,
              error_code_name(e->code), (long long)delay, e->msg);
}

static int64_t
retry_floor(const struct error *e)
{
    int64_t floor = e->retry_after_ms;

    if (error_retry(e->code) == ERR_RETRY_SLOW && floor < SLOW_RETRY_MS)
        floor = SLOW_RETRY_MS;
    return floor;
}

/* Locked. */
static void
settle(struct running *r, const char *key, int rc, const struct error *e,
       const struct reconcile_result *result)
{
    int64_t now = r->m->opts.now_ms();

    if (rc == 0) {
        r->n_ok++;
        workqueue_forget(r->queue, key);
        if (result->requeue_after_ms > 0)
            workqueue_add_after(r->queue, key, result->requeue_after_ms, now);
    } else if (e->terminal) {
        r->n_terminal++;
        workqueue_forget(r->queue, key);
    } else {
        uint32_t failures = workqueue_failures(r->queue, key);
        int64_t delay = workqueue_add_backoff(r->queue, key, retry_floor(e), now);
        if (error_retry(e->code) == ERR_RETRY_FRESH)
            r->n_conflicts++;
        else
            r->n_retried++;
        log_retry(r, key, e, delay, failures);
    }
}

/* Runs one key, unlocked. */
static int
run_key(struct running *r, struct client *client, const char *key,
        struct reconcile_writes *writes, struct reconcile_result *result, struct error *e)
{
    struct manager *m = r->m;
    const char *slash = strchr(key, '/');
    autofree char *ns = xstrndup(key, (size_t)(slash - key));
    struct object_key k = {ns, slash + 1};
    struct reconcile_env env = {
        .lister = &m->lister,
        .client = client,
        .recorder = m->recorder,
        .now_ms = m->opts.now_ms(),
        .wall_ns = m->opts.wall_ns(),
        .clock_ms = m->opts.now_ms,
        .state = r->state,
        .writes = writes,
    };

    env.deadline_ms = env.now_ms + r->c->deadline_ms;
    int rc = r->c->reconcile(&env, &k, result, e);
    if (rc < 0 && e->terminal)
        report_terminal(r, &k, e);
    return rc;
}

/* Takes a ready key and runs it. Locked on entry and exit. False: none was ready. */
static bool
work_once(struct running *r, struct client *client)
{
    const char *key = workqueue_get(r->queue, r->m->opts.now_ms());
    struct reconcile_writes writes = {.n = 0};
    struct reconcile_result result = {0};
    struct error e = ERROR_INIT;

    if (key == NULL)
        return false;
    if (!may_run(r, key)) {
        workqueue_done(r->queue, key);
        return true;
    }
    pthread_mutex_unlock(&r->lock);
    int rc = run_key(r, client, key, &writes, &result, &e);
    pthread_mutex_lock(&r->lock);
    note_writes(r, key, &writes);
    settle(r, key, rc, &e, &result);
    workqueue_done(r->queue, key);
    return true;
}

/* --- threads ----------------------------------------------------------------------- */

static void
wait_ready(struct running *r)
{
    int64_t due = workqueue_next_due(r->queue);

    if (due < 0) {
        pthread_cond_wait(&r->ready, &r->lock);
        return;
    }
    struct timespec ts = {.tv_sec = due / 1000, .tv_nsec = due % 1000 * 1000000};
    pthread_cond_timedwait(&r->ready, &r->lock, &ts);
}

static void *
worker(void *arg)
{
    struct running *r = arg;
    struct client *client = client_clone(r->m->opts.client);

    pthread_mutex_lock(&r->lock);
    while (!atomic_load(&r->m->stopping))
        if (!work_once(r, client))
            wait_ready(r);
    pthread_mutex_unlock(&r->lock);
    client_free(client);
    return NULL;
}

void
running_start(struct running *r)
{
    sigset_t all, before;
    pthread_attr_t attr;

    r->threads = xcalloc(r->c->workers, sizeof(*r->threads));
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals belong to the loop thread */
    pthread_attr_init(&attr);
#ifndef DROVER_SANITIZED
    pthread_attr_setstacksize(&attr, WORKER_STACK);
#endif
    for (unsigned i = 0; i < r->c->workers; i++) {
        int rc = pthread_create(&r->threads[i], &attr, worker, r);
        bug_if(rc != 0);
        r->n_threads++;
    }
    pthread_attr_destroy(&attr);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void
running_join(struct running *r)
{
    pthread_mutex_lock(&r->lock);
    pthread_cond_broadcast(&r->ready);
    pthread_mutex_unlock(&r->lock);
    for (size_t i = 0; i < r->n_threads; i++)
        pthread_join(r->threads[i], NULL);
    free(r->threads);
    r->threads = NULL;
    r->n_threads = 0;
}

bool
running_step(struct running *r)
{
    if (r->client == NULL)
        r->client = client_clone(r->m->opts.client);
    pthread_mutex_lock(&r->lock);
    bool did = work_once(r, r->client);
    pthread_mutex_unlock(&r->lock);
    return did;
}

/* --- writes of a reconcile --------------------------------------------------------- */

void
reconcile_note(struct reconcile_writes *w, const struct informer *inf, uint64_t revision)
{
    for (size_t i = 0; i < w->n; i++) {
        if (w->list[i].inf == inf) {
            if (w->list[i].revision < revision)
                w->list[i].revision = revision;
            return;
        }
    }
    bug_if(w->n == RECONCILE_WRITES_MAX);
    w->list[w->n].inf = inf;
    w->list[w->n].epoch = informer_epoch(inf);
    w->list[w->n++].revision = revision;
}

static void
wrote(const struct reconcile_env *env, const struct resource *r, uint64_t revision)
{
    const struct informer *inf = lister_informer(env->lister, r);

    if (inf != NULL)
        reconcile_note(env->writes, inf, revision);
}

static int
check_deadline(const struct reconcile_env *env, struct error *e)
{
    if (env->clock_ms() < env->deadline_ms)
        return 0;
    return error_set(e, ERR_TIMEOUT, "the deadline of this reconcile has passed");
}

int
reconcile_create(const struct reconcile_env *env, const struct resource *r,
                 const char *ns, const json_t *body, struct object **ret, struct error *e)
{
    auto_object *o = NULL;
    int rc = check_deadline(env, e);

    if (rc == 0)
        rc = client_create(env->client, r, ns, body, &o, e);
    if (rc < 0)
        return rc;
    bug_if(o == NULL);
    wrote(env, r, o->revision);
    if (ret != NULL)
        *ret = move_ptr(o);
    return 0;
}

int
reconcile_patch(const struct reconcile_env *env, const struct resource *r,
                const struct object_key *key, const char *subresource,
                const json_t *patch, struct error *e)
{
    struct client_patch_opts o = {.type = CLIENT_PATCH_MERGE, .subresource = subresource};
    auto_object *after = NULL;
    int rc = check_deadline(env, e);

    if (rc == 0)
        rc = client_patch(env->client, r, key->ns, key->name, &o, patch, &after, e);
    if (rc < 0)
        return rc;
    bug_if(after == NULL);
    wrote(env, r, after->revision);
    return 0;
}

int
reconcile_delete(const struct reconcile_env *env, const struct resource *r,
                 const struct object_key *key, const char *uid, struct error *e)
{
    int rc = check_deadline(env, e);

    if (rc == 0)
        rc = client_delete(env->client, r, key->ns, key->name, uid, NULL, e);
    return rc == -ERR_NOT_FOUND ? 0 : rc;
}
