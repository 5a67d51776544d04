/* SPDX-License-Identifier: Apache-2.0 */
/* Instances and holds: what is free is always recomputed from capacity and holds. */
#include "controllers/job/scheduler/scheduler.h"

#include "controllers/job/scheduler/sched_policy.h"

static void
free_words(char **words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(words[i]);
    free(words);
}

static char **
copy_words(const char *const *words, size_t n)
{
    char **copy = xcalloc(n + 1, sizeof(*copy));

    for (size_t i = 0; i < n; i++)
        copy[i] = xstrdup(words[i]);
    return copy;
}

static void
job_free(void *arg)
{
    struct job *j = arg;

    if (j->gang != NULL && j->need != NULL)
        sched_shape_free(j->need);
    free_words(j->gpu_uuids, j->n_gpus);
    free(j->uid);
    free(j->ns);
    free(j->name);
    free(j->origin);
    free(j);
}

static void
node_free(void *arg)
{
    struct node *n = arg;

    if (n->gpu_uuids != NULL)
        free_words(n->gpu_uuids, n->capacity->n_gpus);
    free(n->capacity);
    free(n->uid);
    free(n->name);
    free(n);
}

struct scheduler *
scheduler_new(void)
{
    struct scheduler *s = xnew(struct scheduler);

    s->jobs = map_new(job_free);
    s->nodes = map_new(node_free);
    s->pools = map_new(sched_pool_free);
    s->shapes = map_new(sched_shape_free);
    s->gangs = sched_gangs_new();
    s->looks = sched_looks_new();
    s->mark = 1;
    TAILQ_INIT(&s->stale);
    return s;
}

void
scheduler_free(struct scheduler *s)
{
    if (s == NULL)
        return;
    pq_done(&s->open);
    vec_done(&s->unfit);
    vec_done(&s->pool_order);
    vec_foreach (q, &s->quotas)
        sched_quota_free(*q);
    vec_done(&s->quotas);
    vec_done(&s->unannounced);
    vec_done(&s->evictions);
    vec_done(&s->reclaiming);
    map_free(s->shapes);
    map_free(s->jobs);
    map_free(s->gangs);
    map_free(s->looks);
    map_free(s->nodes);
    map_free(s->pools);
    free(s);
}

/* --- what is free ------------------------------------------------------------------ */

uint64_t
sched_gpu_bits(const struct node *n, const struct job *j)
{
    uint64_t bits = 0;

    for (size_t g = 0; g < j->n_gpus; g++)
        for (size_t i = 0; i < n->capacity->n_gpus; i++)
            if (streq(n->gpu_uuids[i], j->gpu_uuids[g]))
                bits |= UINT64_C(1) << i;
    return bits;
}

static void
recount(struct node *n)
{
    struct job *j;

    if (!n->known)
        return;
    n->free.cpu_milli = n->capacity->cpu_milli;
    n->free.memory_mib = n->capacity->memory_mib;
    n->free.disk_mib = n->capacity->disk_mib;
    n->free.gpu_free = n->capacity->gpu_free;
    TAILQ_FOREACH (j, &n->holds, hold_link) {
        n->free.cpu_milli -= j->cpu_milli;
        n->free.memory_mib -= j->memory_mib;
        n->free.disk_mib -= j->disk_mib;
        n->free.gpu_free &= ~sched_gpu_bits(n, j);
    }
}

/* One hold more or less, without walking the others. */
static void
shift(struct node *n, const struct job *j, int sign)
{
    if (!n->known)
        return;
    n->free.cpu_milli -= sign * j->cpu_milli;
    n->free.memory_mib -= sign * j->memory_mib;
    n->free.disk_mib -= sign * j->disk_mib;
    if (sign > 0)
        n->free.gpu_free &= ~sched_gpu_bits(n, j);
    else /* two holds may name one device: after a wrong bind by somebody else */
        recount(n);
}

static struct node *
node_of(struct scheduler *s, const char *uid)
{
    struct node *n = map_get(s->nodes, uid);

    if (n != NULL)
        return n;
    n = xnew(struct node);
    n->uid = xstrdup(uid);
    TAILQ_INIT(&n->holds);
    map_put(s->nodes, uid, n);
    return n;
}

static void
reap_node(struct scheduler *s, struct node *n)
{
    if (!n->known && TAILQ_EMPTY(&n->holds))
        map_del(s->nodes, n->uid);
}

static void
attach(struct scheduler *s, struct job *j, struct node *n)
{
    sched_node_leave(n);
    j->where = JOB_HOLDING;
    j->node = n;
    TAILQ_INSERT_TAIL(&n->holds, j, hold_link);
    shift(n, j, 1);
    sched_node_enter(n);
    sched_quota_charge(s, j, 1);
    sched_holder_add(s, j);
    if (j->gang != NULL)
        vec_push(&j->gang->holders, j);
}

static void
leave_holders(struct job *j)
{
    struct gang *g = j->gang;

    for (size_t i = 0; g != NULL && i < g->holders.len; i++) {
        if (g->holders.items[i] != j)
            continue;
        vec_remove(&g->holders, i);
        return;
    }
}

static void
detach(struct scheduler *s, struct job *j)
{
    struct node *n = j->node;

    sched_node_leave(n);
    sched_quota_charge(s, j, -1);
    sched_holder_remove(s, j);
    sched_reclaim_left(s, j);
    leave_holders(j);
    TAILQ_REMOVE(&n->holds, j, hold_link);
    shift(n, j, -1);
    j->node = NULL;
    j->where = JOB_NOWHERE;
    sched_node_enter(n);
    if (n->known)
        sched_reopen(s, n);
    if (s->quotas.len > 0 && j->ns != NULL)
        sched_quota_reopen(s, j->ns);
    reap_node(s, n);
}

/* --- instances --------------------------------------------------------------------- */

static void
pool_add(struct pool *p, struct node *n)
{
    n->pool = p;
    n->pool_index = p->nodes.len;
    vec_push(&p->nodes, n);
}

static void
pool_remove(struct node *n)
{
    struct pool *p = n->pool;
    struct node *last = p->nodes.items[--p->nodes.len];

    p->nodes.items[n->pool_index] = last;
    last->pool_index = n->pool_index;
    n->pool = NULL;
}

static void
clear_facts(struct scheduler *s, struct node *n)
{
    if (n->booked != NULL) {
        struct shape *owner = n->booked;
        n->usable = false; /* nobody is to look at it again */
        sched_unbook_node(s, n);
        if (owner->unfit)
            sched_open(s, owner);
    }
    s->quotas_dirty = s->quotas.len > 0;
    sched_node_leave(n);
    if (n->pool != NULL)
        pool_remove(n);
    if (n->gpu_uuids != NULL)
        free_words(n->gpu_uuids, n->capacity->n_gpus);
    n->gpu_uuids = NULL;
    free(n->capacity);
    n->capacity = NULL;
    free(n->name);
    n->name = NULL;
    n->known = false;
    n->usable = false;
}

static bool
same_capacity(const struct resource_have *a, const struct resource_have *b)
{
    if (a->cpu_milli != b->cpu_milli || a->arch != b->arch ||
        a->memory_mib != b->memory_mib || a->disk_mib != b->disk_mib ||
        a->gpu_free != b->gpu_free || a->n_gpus != b->n_gpus)
        return false;
    for (size_t i = 0; i < a->n_gpus; i++) {
        const struct gpu_have *x = &a->gpus[i], *y = &b->gpus[i];
        if (x->vendor != y->vendor || !streq(x->name, y->name) ||
            x->memory_mib != y->memory_mib || x->compute_major != y->compute_major ||
            x->compute_minor != y->compute_minor)
            return false;
    }
    return true;
}

static bool
same_facts(const struct node *n, const struct sched_instance *i)
{
    if (!n->known || n->usable != i->usable || n->apart != i->apart ||
        n->engines != i->engines || n->blocks != i->blocks || !streq(n->name, i->name) ||
        !streq(n->pool->fleet, i->fleet) || !streq(n->pool->ns, i->ns) ||
        !same_capacity(n->capacity, i->capacity))
        return false;
    for (size_t g = 0; g < n->capacity->n_gpus; g++)
        if (!streq(n->gpu_uuids[g], i->gpu_uuids[g]))
            return false;
    return true;
}

void
scheduler_set_instance(struct scheduler *s, const struct sched_instance *i)
{
    struct node *n = node_of(s, i->uid);

    if (same_facts(n, i))
        return;
    sched_looks_renew(s);
    clear_facts(s, n);
    n->name = xstrdup(i->name);
    n->capacity = xmemdup(i->capacity, sizeof(*i->capacity));
    n->gpu_uuids = copy_words(i->gpu_uuids, i->capacity->n_gpus);
    n->usable = i->usable;
    n->apart = i->apart;
    n->engines = i->engines;
    n->blocks = i->blocks;
    n->known = true;
    pool_add(sched_pool(s, i->ns, i->fleet), n);
    recount(n);
    sched_node_enter(n);
    s->topology++;
    sched_reopen(s, n);
}

void
scheduler_remove_instance(struct scheduler *s, const char *uid)
{
    struct node *n = map_get(s->nodes, uid);

    if (n == NULL || !n->known)
        return;
    sched_looks_renew(s);
    clear_facts(s, n);
    s->topology++;
    reap_node(s, n);
}

/* --- jobs -------------------------------------------------------------------------- */

static void
forget_unannounced(struct scheduler *s, struct job *j)
{
    for (size_t i = 0; j->unannounced && i < s->unannounced.len; i++) {
        if (s->unannounced.items[i] != j)
            continue;
        vec_remove(&s->unannounced, i);
        j->unannounced = false;
    }
}

/* Out of where it is; it stays in the map. */
static void
lift(struct scheduler *s, struct job *j)
{
    forget_unannounced(s, j);
    sched_preempt_forget(s, j);
    if (j->where == JOB_WAITING)
        sched_dequeue(s, j);
    else if (j->where == JOB_HOLDING)
        detach(s, j);
}

static struct job *
job_of(struct scheduler *s, const char *uid)
{
    struct job *j = map_get(s->jobs, uid);

    if (j != NULL)
        return j;
    j = xnew(struct job);
    j->uid = xstrdup(uid);
    j->reason = "";
    j->order.index = SIZE_MAX;
    map_put(s->jobs, uid, j);
    return j;
}

static void
set_names(struct job *j, const char *ns, const char *name, const char *origin)
{
    if (j->origin == NULL)
        j->origin = xstrdup(origin != NULL ? origin : j->uid);
    if (j->ns == NULL && ns != NULL)
        j->ns = xstrdup(ns);
    if (j->name == NULL && name != NULL)
        j->name = xstrdup(name);
}

void
scheduler_queue(struct scheduler *s, const struct sched_job *from)
{
    struct job *j = job_of(s, from->uid);

    if (sched_waits_already(s, j, from))
        return;
    set_names(j, from->ns, from->name, from->origin);
    sched_looks_arrives(s, j->origin);
    lift(s, j);
    if (j->gang != NULL && (from->gang == NULL || !streq(j->gang->key, from->gang)))
        sched_gang_leave(s, j);
    if (from->gang != NULL)
        sched_gang_join(s, j, from->gang, from->gang_size);
    sched_enqueue(s, j, from);
}

static void
set_amounts(struct job *j, const struct sched_hold *h)
{
    free_words(j->gpu_uuids, j->n_gpus);
    j->cpu_milli = h->cpu_milli;
    j->memory_mib = h->memory_mib;
    j->disk_mib = h->disk_mib;
    j->gpu_uuids = copy_words(h->gpu_uuids, h->n_gpus);
    j->n_gpus = h->n_gpus;
    j->ends_ns = h->ends_ns > 0 ? h->ends_ns : INT64_MAX;
    j->preemptible = h->preemptible;
    j->over = h->over;
    j->priority = h->priority;
}

static bool
same_hold(const struct job *j, const struct sched_hold *h)
{
    if (j->where != JOB_HOLDING || !streq(j->node->uid, h->instance_uid) ||
        j->cpu_milli != h->cpu_milli || j->memory_mib != h->memory_mib ||
        j->disk_mib != h->disk_mib || j->n_gpus != h->n_gpus ||
        j->preemptible != h->preemptible || j->over != h->over ||
        j->priority != h->priority)
        return false;
    for (size_t i = 0; i < j->n_gpus; i++)
        if (!streq(j->gpu_uuids[i], h->gpu_uuids[i]))
            return false;
    return true;
}

/* As a victim that was told: nobody chooses it, or another one in its place. */
static void
leaves(struct scheduler *s, struct job *j)
{
    if (j->evicting)
        return;
    j->evicting = true;
    if (j->ends_ns > s->now_ns)
        j->ends_ns = s->now_ns;
    sched_quota_evicting(s, j, 1);
}

static void
hold(struct scheduler *s, struct job *j, const struct sched_hold *h)
{
    lift(s, j);
    if (h->gang != NULL)
        sched_gang_join(s, j, h->gang, 0);
    set_amounts(j, h);
    attach(s, j, node_of(s, h->instance_uid));
    if (h->leaving)
        leaves(s, j);
}

void
scheduler_hold(struct scheduler *s, const struct sched_hold *h)
{
    struct job *j = job_of(s, h->uid);

    set_names(j, h->ns, h->name, h->origin);
    if (!same_hold(j, h)) {
        sched_looks_renew(s);
        hold(s, j, h);
        return;
    }
    if (!j->evicting) /* that one ends as soon as it can */
        j->ends_ns = h->ends_ns > 0 ? h->ends_ns : INT64_MAX;
    if (h->leaving)
        leaves(s, j);
}

void
scheduler_remove_job(struct scheduler *s, const char *uid)
{
    struct job *j = map_get(s->jobs, uid);

    if (j == NULL)
        return;
    sched_looks_leaves(s, j);
    lift(s, j);
    sched_gang_leave(s, j);
    map_del(s->jobs, uid);
}

/* --- decisions --------------------------------------------------------------------- */

static int64_t
end_of(const struct scheduler *s, const struct shape *need)
{
    if (need->max_duration_ns > INT64_MAX - s->now_ns)
        return 0;
    return s->now_ns + need->max_duration_ns;
}

static void
describe(const struct job *j, const struct node *n, const struct reservation *r,
         struct sched_decision *ret)
{
    *ret = (struct sched_decision){
        .uid = j->uid,
        .ns = j->ns,
        .name = j->name,
        .instance_uid = n->uid,
        .instance_name = n->name,
        .engine = j->engine,
        .reserve = *r,
        .gang = j->gang == NULL ? NULL : j->gang->key,
    };
    for (size_t i = 0; i < n->capacity->n_gpus; i++)
        if (r->gpu_mask >> i & 1)
            ret->gpu_uuids[ret->n_gpus++] = n->gpu_uuids[i];
}

/* It holds from now on. */
static void
decide(struct scheduler *s, struct job *j, struct node *n, const struct reservation *r,
       struct sched_decision *ret)
{
    struct sched_hold h = {.uid = j->uid,
                           .instance_uid = n->uid,
                           .priority = j->priority,
                           .preemptible = j->may_be_preempted,
                           .ends_ns = end_of(s, j->need)};
    struct shape *sh = j->shape;

    j->engine = j->need->engine;
    describe(j, n, r, ret);
    h.cpu_milli = r->cpu_milli;
    h.memory_mib = r->memory_mib;
    h.disk_mib = r->disk_mib;
    h.gpu_uuids = ret->gpu_uuids;
    h.n_gpus = ret->n_gpus;
    if (n->booked == sh) /* it got what it waited for */
        sched_unbook_node(s, n);
    hold(s, j, &h);
}

static void
decide_gang(struct scheduler *s, const placed_vec *where)
{
    struct sched_decision ignored;

    for (size_t i = 0; i < where->len; i++) {
        const struct placed *p = &where->items[i];
        decide(s, p->job, p->node, &p->reserve, &ignored);
        p->job->reserve = p->reserve;
        p->job->unannounced = true;
        vec_push(&s->unannounced, p->job);
    }
}

static bool
next_of_gang(struct scheduler *s, struct sched_decision *ret)
{
    if (s->unannounced.len == 0)
        return false;
    struct job *j = s->unannounced.items[0];
    vec_remove(&s->unannounced, 0);
    j->unannounced = false;
    describe(j, j->node, &j->reserve, ret);
    ret->gang_left = s->unannounced.len;
    return true;
}

/* Places the first of sh. False: it does not fit now. */
static bool
place(struct scheduler *s, struct shape *sh, struct ask *a, struct sched_decision *ret)
{
    struct reservation r;

    if (sh->gang != NULL) {
        placed_vec where = {0};
        bool done = sched_gang_place(s, a, &where);
        if (done)
            decide_gang(s, &where);
        vec_done(&where);
        return done && next_of_gang(s, ret);
    }
    if (!sched_quota_allows(s, a, NULL, NULL)) {
        a->over_quota = true;
        return false;
    }
    struct node *n = sched_search(s, a, &r);
    if (n != NULL)
        decide(s, sched_head(sh), n, &r, ret);
    return n != NULL;
}

bool
scheduler_next(struct scheduler *s, struct sched_decision *ret)
{
    struct shape *sh;

    if (next_of_gang(s, ret))
        return true;
    sched_quota_refresh(s);
    do {
        while ((sh = sched_quota_turn(s)) != NULL) {
            struct job *head = sched_head(sh);
            struct ask a = {.need = head->need, .shape = sh, .head = head};
            if (place(s, sh, &a, ret))
                return true;
            sched_mark_unfit(s, sh, a.over_quota);
        }
        if (s->rebook)
            sched_rebook(s);     /* may open those that lost theirs */
        sched_preempt_review(s); /* likewise */
    } while (pq_min(&s->open) != NULL);
    return false;
}

void
scheduler_set_time(struct scheduler *s, int64_t now_ns)
{
    if (now_ns > s->now_ns)
        s->now_ns = now_ns;
    sched_preempt_wake(s);
}

int64_t
scheduler_due_ns(const struct scheduler *s)
{
    return s->due_ns;
}

void
scheduler_share_fleet(struct scheduler *s, const char *ns, const char *fleet,
                      const char *const *with, size_t n_with)
{
    struct pool *p = sched_pool(s, ns, fleet);

    free_words(p->with, p->n_with);
    p->with = copy_words(with, n_with);
    p->n_with = n_with;
    s->topology++;
    sched_looks_renew(s);
    for (size_t i = 0; i < p->nodes.len; i++)
        sched_reopen(s, p->nodes.items[i]);
}

size_t
scheduler_waiting(const struct scheduler *s)
{
    return s->n_waiting;
}

bool
scheduler_free_of(const struct scheduler *s, const char *instance_uid,
                  int64_t *ret_cpu_milli, int64_t *ret_memory_mib, uint64_t *ret_gpus)
{
    const struct node *n = map_get(s->nodes, instance_uid);

    if (n == NULL || !n->known)
        return false;
    *ret_cpu_milli = n->free.cpu_milli;
    *ret_memory_mib = n->free.memory_mib;
    *ret_gpus = n->free.gpu_free;
    return true;
}
