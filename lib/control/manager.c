/* SPDX-License-Identifier: Apache-2.0 */
/* Set-up of informers and controllers, the mapping of events to keys, parts, stepping. */
#include "control/manager.h"

#include <string.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/mem.h"
#include "control/manager_internal.h"

void
manager_new(const struct manager_opts *o, struct manager **ret)
{
    struct manager *m = xnew(struct manager);

    m->opts = *o;
    if (m->opts.now_ms == NULL)
        m->opts.now_ms = clock_now_ms;
    if (m->opts.wall_ns == NULL)
        m->opts.wall_ns = clock_wall_ns;
    if (m->opts.seed == 0)
        m->opts.seed = (uint64_t)id_uniform(UINT32_MAX) + 1;
    m->random = m->opts.seed | 1;
    struct recorder_opts r = {
        .async = o->async,
        .loop = o->loop,
        .wall_ns = m->opts.wall_ns,
        .component = o->component,
        .instance = o->instance,
    };
    m->recorder = recorder_new(&r);
    *ret = m;
}

void
manager_free(struct manager *m)
{
    if (m == NULL)
        return;
    bug_if(m->started && !atomic_load(&m->stopping));
    for (size_t i = 0; i < m->n_controllers; i++)
        running_done(&m->controllers[i]);
    for (size_t i = 0; i < m->lister.n; i++)
        informer_free(m->lister.informers[i]);
    recorder_free(m->recorder);
    free(m);
}

/* --- progress of the caches -------------------------------------------------------- */

static void
go(struct manager *m)
{
    m->running = true;
    for (size_t i = 0; i < m->n_controllers; i++)
        if (m->opts.loop != NULL)
            running_start(&m->controllers[i]);
    for (size_t i = 0; i < m->n_parts; i++)
        m->parts[i].woken = true;
}

static void
progress(void *arg)
{
    struct manager *m = arg;

    if (!m->running && m->started && manager_synced(m) && !atomic_load(&m->stopping))
        go(m);
    for (size_t i = 0; i < m->n_controllers; i++)
        running_progress(&m->controllers[i]);
}

static void
ignore_set(void *arg, const struct object *before, const struct object *now, bool initial)
{
    UNUSED(arg);
    UNUSED(before);
    UNUSED(now);
    UNUSED(initial);
}

static void
ignore_delete(void *arg, const struct object *last)
{
    UNUSED(arg);
    UNUSED(last);
}

struct informer *
manager_informer(struct manager *m, const struct resource *r)
{
    struct informer *inf = lister_informer(&m->lister, r);
    struct informer_handler h = {ignore_set, ignore_delete, progress, m};

    if (inf != NULL)
        return inf;
    bug_if(m->started || m->lister.n == LISTER_MAX);
    inf = informer_new(r);
    informer_add_handler(inf, &h);
    m->lister.informers[m->lister.n++] = inf;
    return inf;
}

bool
manager_synced(const struct manager *m)
{
    for (size_t i = 0; i < m->lister.n; i++)
        if (!informer_synced(m->lister.informers[i]))
            return false;
    return true;
}

/* --- events to keys ---------------------------------------------------------------- */

struct watch {
    struct running *r;
    const struct watch_spec *spec;
};

struct running_sink {
    struct key_sink sink;
    struct running *r;
    enum workqueue_level level;
};

static void
sink_add(struct key_sink *s, const char *ns, const char *name)
{
    struct running_sink *rs = CONTAINER_OF(s, struct running_sink, sink);

    running_add(rs->r, ns, name, rs->level);
}

static void
add_owner(const struct object *o, struct running_sink *rs)
{
    const struct fact_owner *owner = o == NULL ? NULL : object_controller(o);
    char name[MANAGER_KEY_MAX];

    if (owner == NULL || !span_eq(object_fact(o, owner->kind), rs->r->c->resource->kind))
        return;
    struct span n = object_fact(o, owner->name);
    snprintf(name, sizeof(name), SPAN_FMT, SPAN_ARG(n));
    sink_add(&rs->sink, o->ns, name);
}

static void
watch_event(const struct watch *w, const struct object *before, const struct object *now,
            bool initial)
{
    /* What is new waits behind what is under way: a burst of submissions does not delay
     * the end of a running job. */
    bool fresh = initial || (w->spec->how == WATCH_SELF && before == NULL);
    struct running_sink rs = {
        {sink_add}, w->r, fresh ? WORKQUEUE_RESYNC : WORKQUEUE_LIVE};
    const struct object *o = now != NULL ? now : before;

    bug_if(o == NULL);
    switch (w->spec->how) {
    case WATCH_SELF:
        sink_add(&rs.sink, o->ns, o->name);
        break;
    case WATCH_OWNED:
        add_owner(o, &rs);
        break;
    case WATCH_MAPPED:
        w->spec->map(&w->r->m->lister, before, now, w->r->state, &rs.sink);
        break;
    }
}

static void
watch_set(void *arg, const struct object *before, const struct object *now, bool initial)
{
    watch_event(arg, before, now, initial);
}

static void
watch_delete(void *arg, const struct object *last)
{
    watch_event(arg, last, NULL, false);
}

int
manager_add(struct manager *m, const struct controller *c, struct error *e)
{
    bug_if(m->started || m->n_controllers == MANAGER_CONTROLLERS_MAX);
    struct running *r = &m->controllers[m->n_controllers];
    running_init(r, m, c);
    if (c->init != NULL && c->init(m, &r->state, e) < 0) {
        r->state = NULL;
        running_done(r);
        return error_prepend(e, "controller %s", c->name);
    }
    m->n_controllers++;
    manager_informer(m, c->resource);
    for (const struct informer_index_of *ix = c->indexes;
         ix != NULL && ix->resource != NULL; ix++)
        informer_add_index(manager_informer(m, ix->resource), &ix->index);
    return 0;
}

/* The handlers are made at the start, so that parts and init() may add theirs before and
 * run first: a reconcile never sees less than they do. */
static void
add_watches(struct running *r)
{
    for (const struct watch_spec *spec = r->c->watches; spec->resource != NULL; spec++) {
        struct watch *w = xnew(struct watch);
        struct informer_handler h = {watch_set, watch_delete, NULL, w};
        *w = (struct watch){r, spec};
        bug_if(r->n_watches == ARRAY_LEN(r->watches));
        r->watches[r->n_watches++] = w;
        informer_add_handler(manager_informer(r->m, spec->resource), &h);
    }
}

/* --- parts ------------------------------------------------------------------------- */

struct manager_part_ref *
manager_add_part(struct manager *m, const struct manager_part *p)
{
    bug_if(m->started || m->n_parts == MANAGER_PARTS_MAX);
    struct manager_part_ref *ref = &m->parts[m->n_parts++];

    *ref = (struct manager_part_ref){.m = m, .part = *p, .due = -1};
    return ref;
}

void
manager_wake(struct manager_part_ref *p)
{
    p->woken = true;
}

static bool
part_step(struct manager_part_ref *p, int64_t now)
{
    if (!p->woken && (p->due < 0 || p->due > now))
        return false;
    p->woken = false;
    p->due = p->part.step(p->part.arg, now);
    return true;
}

/* Before the loop sleeps: everything that this turn's events woke. */
static void
run_parts(void *arg)
{
    struct manager *m = arg;
    int64_t due = -1;

    if (!m->running || atomic_load(&m->stopping))
        return;
    for (size_t i = 0; i < m->n_parts; i++) {
        part_step(&m->parts[i], m->opts.now_ms());
        if (m->parts[i].woken)
            due = 0;
        else if (m->parts[i].due >= 0 && (due < 0 || m->parts[i].due < due))
            due = m->parts[i].due;
    }
    if (due >= 0)
        loop_timer_at(m->timer, due);
}

static void
timer_fired(void *arg)
{
    UNUSED(arg); /* it only ends the sleep; run_parts follows */
}

/* --- life -------------------------------------------------------------------------- */

void
manager_start(struct manager *m)
{
    bug_if(m->started);
    for (size_t i = 0; i < m->n_controllers; i++)
        add_watches(&m->controllers[i]);
    m->started = true;
    if (m->opts.loop != NULL) {
        m->hook = loop_before_sleep(m->opts.loop, "manager", run_parts, m);
        m->timer = loop_timer_new(m->opts.loop, "manager", timer_fired, m);
    }
    for (size_t i = 0; i < m->lister.n; i++)
        m->watches[i] =
            m->opts.source.ops->start(m->opts.source.self, m->lister.informers[i]);
}

void
manager_stop(struct manager *m)
{
    if (!m->started || atomic_exchange(&m->stopping, true))
        return;
    for (size_t i = 0; i < m->n_controllers; i++)
        running_join(&m->controllers[i]);
    for (size_t i = 0; i < m->lister.n; i++)
        m->opts.source.ops->stop(m->opts.source.self, m->watches[i]);
    loop_hook_free(m->hook);
    loop_timer_free(m->timer);
    m->hook = NULL;
    m->timer = NULL;
}

static struct running *
find_running(const struct manager *m, const char *controller)
{
    for (size_t i = 0; i < m->n_controllers; i++)
        if (streq(m->controllers[i].c->name, controller))
            return m->controllers[i].self;
    return NULL;
}

void
manager_enqueue(struct manager *m, const char *controller, const char *ns,
                const char *name)
{
    struct running *r = find_running(m, controller);

    if (r != NULL)
        running_add(r, ns, name, WORKQUEUE_LIVE);
}

const struct lister *
manager_lister(const struct manager *m)
{
    return &m->lister;
}

struct recorder *
manager_recorder(const struct manager *m)
{
    return m->recorder;
}

struct async_client *
manager_async(const struct manager *m)
{
    return m->opts.async;
}

int64_t
manager_now_ms(const struct manager *m)
{
    return m->opts.now_ms();
}

int64_t
manager_wall_ns(const struct manager *m)
{
    return m->opts.wall_ns();
}

void
manager_set_shared(struct manager *m, void *shared)
{
    m->shared = shared;
}

void *
manager_shared(const struct manager *m)
{
    return m->shared;
}

/* --- stepping ---------------------------------------------------------------------- */

static size_t
random_below(struct manager *m, size_t n)
{
    m->random ^= m->random >> 12;
    m->random ^= m->random << 25;
    m->random ^= m->random >> 27;
    return (size_t)(m->random * UINT64_C(0x2545F4914F6CDD1D) >> 33) % n;
}

/* The kinds of work: controllers, parts, recorder, answers. Any may come first. */
static bool
step_one(struct manager *m, size_t which)
{
    if (which < m->n_controllers)
        return running_step(&m->controllers[which]);
    which -= m->n_controllers;
    if (which < m->n_parts)
        return part_step(&m->parts[which], m->opts.now_ms());
    which -= m->n_parts;
    return which == 0 ? recorder_step(m->recorder) : async_step(m->opts.async);
}

bool
manager_step(struct manager *m)
{
    size_t n = m->n_controllers + m->n_parts + 2;
    size_t first = random_below(m, n);

    bug_if(m->opts.loop != NULL);
    if (!m->running || atomic_load(&m->stopping))
        return false;
    for (size_t i = 0; i < n; i++)
        if (step_one(m, (first + i) % n))
            return true;
    return false;
}

static int64_t
earlier(int64_t a, int64_t b)
{
    if (a < 0)
        return b;
    return b >= 0 && b < a ? b : a;
}

int64_t
manager_next_due(const struct manager *m)
{
    int64_t due = -1;

    for (size_t i = 0; i < m->n_controllers; i++)
        due = earlier(due, workqueue_next_due(m->controllers[i].queue));
    for (size_t i = 0; i < m->n_parts; i++)
        due = earlier(due, m->parts[i].due);
    return due;
}

void
manager_dump(const struct manager *m, struct str *out)
{
    for (size_t i = 0; i < m->lister.n; i++) {
        const struct informer *inf = m->lister.informers[i];
        str_addf(out, "informer %s objects=%zu revision=%llu synced=%d connected=%d\n",
                 informer_resource(inf)->plural, informer_len(inf),
                 (unsigned long long)informer_revision(inf), informer_synced(inf),
                 informer_connected(inf));
    }
    for (size_t i = 0; i < m->n_controllers; i++) {
        struct running *r = find_running(m, m->controllers[i].c->name);
        pthread_mutex_lock(&r->lock);
        str_addf(out,
                 "controller %s ready=%zu known=%zu ok=%llu retried=%llu conflicts=%llu "
                 "terminal=%llu parked=%llu\n",
                 r->c->name, workqueue_ready(r->queue), workqueue_size(r->queue),
                 (unsigned long long)r->n_ok, (unsigned long long)r->n_retried,
                 (unsigned long long)r->n_conflicts, (unsigned long long)r->n_terminal,
                 (unsigned long long)r->n_parked);
        pthread_mutex_unlock(&r->lock);
    }
}
