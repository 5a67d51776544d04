/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Quotas. Usage is what occupying jobs take, counted as they come and go, and anew when
 * instances or quotas change. A cohort never uses more than its namespaces' shares
 * together; who uses more than its own borrows.
 */
#include "controllers/job/scheduler/sched_policy.h"

#include <strings.h>

struct amount {
    const struct node *node; /* NULL: not known; then kinds of GPUs cannot be told */
    int64_t cpu_milli, memory_mib;
    uint64_t gpus;
    int64_t n_gpus, n_jobs;
    bool any_kind; /* without node: its GPUs may be of any */
};

static int64_t
gpus_of_kind(const struct sched_limit *l, const struct amount *a)
{
    int64_t n = 0;

    if (l->vendor == GPU_VENDOR_ANY && l->gpu_name[0] == '\0')
        return a->n_gpus;
    if (a->node == NULL)
        return a->any_kind ? a->n_gpus : 0;
    for (uint64_t left = a->gpus; left != 0; left &= left - 1) {
        const struct gpu_have *g = &a->node->capacity->gpus[__builtin_ctzll(left)];
        if (l->vendor != GPU_VENDOR_ANY && l->vendor != g->vendor)
            continue;
        n += l->gpu_name[0] == '\0' || strcasecmp(l->gpu_name, g->name) == 0;
    }
    return n;
}

static int64_t
amount_of(const struct sched_limit *l, const struct amount *a)
{
    switch (l->kind) {
    case SCHED_LIMIT_CPU_MILLI:
        return a->cpu_milli;
    case SCHED_LIMIT_MEMORY_MIB:
        return a->memory_mib;
    case SCHED_LIMIT_GPUS:
        return gpus_of_kind(l, a);
    case SCHED_LIMIT_JOBS:
        return a->n_jobs;
    }
    return 0;
}

static struct amount
of_reservation(const struct node *n, const struct reservation *r)
{
    return (struct amount){
        n, r->cpu_milli, r->memory_mib, r->gpu_mask, __builtin_popcountll(r->gpu_mask),
        1, false};
}

static struct amount
of_need(const struct resource_req *q)
{
    bool gpus = q->gpu.given && q->gpu.count.max > 0;

    return (struct amount){.cpu_milli = q->cpu.min * 1000,
                           .memory_mib = q->memory_mib.min,
                           .n_gpus = gpus ? q->gpu.count.min : 0,
                           .n_jobs = 1};
}

static void
add(struct amount *sum, const struct amount *one)
{
    sum->cpu_milli += one->cpu_milli;
    sum->memory_mib += one->memory_mib;
    sum->n_gpus += one->n_gpus;
    sum->n_jobs += one->n_jobs;
}

/* Of the first job, or of all members; kinds of a gang's GPUs count as the worst. */
static struct amount
of_shape(const struct shape *sh)
{
    struct amount sum = of_need(&sched_head(sh)->need->req);

    if (sh->gang == NULL)
        return sum;
    sum = (struct amount){.any_kind = true};
    for (size_t i = 0; i < sh->jobs.nodes.len; i++) {
        struct job *j = CONTAINER_OF(sh->jobs.nodes.items[i], struct job, order);
        struct amount one = of_need(&j->need->req);
        add(&sum, &one);
    }
    return sum;
}

static struct amount
of_hold(const struct job *j)
{
    const struct node *n = j->node->known ? j->node : NULL;

    return (struct amount){n,
                           j->cpu_milli,
                           j->memory_mib,
                           n == NULL ? 0 : sched_gpu_bits(n, j),
                           (int64_t)j->n_gpus,
                           1,
                           false};
}

static void
count(struct scheduler *s, const char *ns, const struct amount *a, int sign)
{
    for (size_t i = 0; i < s->quotas.len; i++) {
        struct quota *q = s->quotas.items[i];
        if (!streq(q->ns, ns))
            continue;
        for (size_t k = 0; k < q->n_limits; k++)
            q->used[k] += sign * amount_of(&q->limits[k], a);
    }
}

void
sched_quota_try(struct scheduler *s, const char *ns, const struct node *n,
                const struct reservation *r, int sign)
{
    struct amount a = of_reservation(n, r);

    count(s, ns, &a, sign);
}

/* What is over on a machine that is gone uses nothing, and nobody will say so. When
 * machines come and go all is counted anew. */
static bool
is_gone(const struct job *j)
{
    return j->over && !j->node->known;
}

void
sched_quota_charge(struct scheduler *s, const struct job *j, int sign)
{
    if (s->quotas.len == 0 || s->quotas_dirty || j->ns == NULL || is_gone(j))
        return;
    struct amount a = of_hold(j);
    count(s, j->ns, &a, sign);
}

void
sched_quota_refresh(struct scheduler *s)
{
    struct map_cursor c = map_begin(s->jobs);
    void *value;

    if (!s->quotas_dirty)
        return;
    s->quotas_dirty = false;
    for (size_t i = 0; i < s->quotas.len; i++) {
        memset(s->quotas.items[i]->used, 0, sizeof(s->quotas.items[i]->used));
        s->quotas.items[i]->n_evicting = 0;
        s->quotas.items[i]->holders.nodes.len = 0;
        s->quotas.items[i]->leavers.nodes.len = 0;
    }
    while (map_next(&c, NULL, &value)) {
        struct job *j = value;
        j->go_in = NULL;
        if (j->where != JOB_HOLDING || is_gone(j))
            continue;
        sched_holder_add(s, j);
        sched_quota_charge(s, j, 1);
        if (j->evicting)
            sched_quota_evicting(s, j, 1);
    }
    sched_quota_reopen(s, NULL);
}

void
sched_quota_evicting(struct scheduler *s, struct job *j, int sign)
{
    if (s->quotas_dirty || j->ns == NULL || is_gone(j))
        return;
    for (size_t i = 0; i < s->quotas.len; i++)
        if (streq(s->quotas.items[i]->ns, j->ns))
            s->quotas.items[i]->n_evicting += (size_t)sign;
    sched_holder_remove(s, j);
    sched_holder_add(s, j);
}

/* --- admitting --------------------------------------------------------------------- */

static bool
same_limit(const struct sched_limit *a, const struct sched_limit *b)
{
    return a->kind == b->kind && a->vendor == b->vendor &&
           strcasecmp(a->gpu_name, b->gpu_name) == 0;
}

/* What the cohort has left of one limit, with all that its namespaces do not use. */
static int64_t
cohort_left(const struct scheduler *s, const char *cohort, const struct sched_limit *l)
{
    int64_t left = 0;

    for (size_t i = 0; i < s->quotas.len; i++) {
        const struct quota *q = s->quotas.items[i];
        if (q->cohort == NULL || !streq(q->cohort, cohort))
            continue;
        for (size_t k = 0; k < q->n_limits; k++)
            if (same_limit(&q->limits[k], l))
                left += q->limits[k].own - q->used[k];
    }
    return left;
}

/* A share is being taken back for somebody else of the cohort: no borrowing meanwhile. */
static bool
reclaimed_from(const struct scheduler *s, const struct shape *sh)
{
    for (size_t i = 0; i < s->reclaiming.len; i++)
        if (s->reclaiming.items[i].shape != sh &&
            sched_quota_same_cohort(s, s->reclaiming.items[i].shape->ns, sh->ns))
            return true;
    return false;
}

/* Of one limit of the namespace: what is being made room for, for jobs before those of
 * sh; a GPU of any kind may become one of the limit's. */
static int64_t
made_for_earlier(const struct scheduler *s, const struct sched_limit *l,
                 const struct shape *sh)
{
    int64_t sum = 0;

    for (size_t i = 0; i < s->reclaiming.len; i++) {
        const struct reclaim *r = &s->reclaiming.items[i];
        const struct job *head = sched_head(r->shape);
        if (r->shape == sh || head == NULL || !streq(r->shape->ns, sh->ns) ||
            !sched_before(head, sched_head(sh)))
            continue;
        struct amount a = of_shape(r->shape);
        a.any_kind = true;
        sum += amount_of(l, &a) * (int64_t)(r->left - r->counted);
    }
    return sum;
}

static bool
limit_allows(const struct scheduler *s, const struct quota *q, size_t k, int64_t more,
             const struct shape *sh)
{
    const struct sched_limit *l = &q->limits[k];
    int64_t most = l->own;

    if (more == 0)
        return true;
    more += made_for_earlier(s, l, sh);
    if (q->cohort == NULL)
        return q->used[k] + more <= most;
    most = l->borrow > INT64_MAX - l->own ? INT64_MAX : l->own + l->borrow;
    if (q->used[k] + more > most || more > cohort_left(s, q->cohort, l))
        return false;
    return q->used[k] + more <= l->own || !reclaimed_from(s, sh);
}

static bool
allows(const struct scheduler *s, const struct shape *sh, const struct amount *more)
{
    for (size_t i = 0; i < s->quotas.len; i++) {
        const struct quota *q = s->quotas.items[i];
        if (!streq(q->ns, sh->ns))
            continue;
        for (size_t k = 0; k < q->n_limits; k++)
            if (!limit_allows(s, q, k, amount_of(&q->limits[k], more), sh))
                return false;
    }
    return true;
}

bool
sched_quota_allows(const struct scheduler *s, const struct ask *a, const struct node *n,
                   const struct reservation *r)
{
    if (s->quotas.len == 0)
        return true;
    struct amount more = n != NULL ? of_reservation(n, r) : of_need(&a->need->req);
    return allows(s, a->shape, &more);
}

static bool
is_own(const struct scheduler *s, const char *ns, const struct amount *more)
{
    bool any = false;

    for (size_t i = 0; i < s->quotas.len; i++) {
        const struct quota *q = s->quotas.items[i];
        if (!streq(q->ns, ns) || q->cohort == NULL)
            continue;
        any = true;
        for (size_t k = 0; k < q->n_limits; k++) {
            int64_t m = amount_of(&q->limits[k], more);
            if (m > 0 && q->used[k] + m > q->limits[k].own)
                return false;
        }
    }
    return any;
}

void
sched_quota_pending(struct scheduler *s, const struct shape *sh, bool count_them)
{
    for (size_t i = 0; i < s->reclaiming.len; i++) {
        struct reclaim *r = &s->reclaiming.items[i];
        if (r->shape == sh || sched_head(r->shape) == NULL ||
            !sched_quota_same_cohort(s, r->shape->ns, sh->ns))
            continue;
        struct amount a = of_shape(r->shape);
        for (; !count_them && r->counted > 0; r->counted--)
            count(s, r->shape->ns, &a, -1);
        for (; count_them && r->counted < r->left && is_own(s, r->shape->ns, &a);
             r->counted++)
            count(s, r->shape->ns, &a, 1);
    }
}

bool
sched_quota_is_own(const struct scheduler *s, const struct shape *sh)
{
    if (s->quotas.len == 0)
        return false;
    struct amount a = of_shape(sh);
    return is_own(s, sh->ns, &a);
}

bool
sched_quota_has_room(const struct scheduler *s, const struct shape *sh)
{
    if (s->quotas.len == 0)
        return true;
    struct amount a = of_shape(sh);
    return allows(s, sh, &a);
}

size_t
sched_quota_room_for(const struct scheduler *s, const struct shape *sh, size_t n_jobs)
{
    const struct amount one = of_need(&sched_head(sh)->need->req);
    bool lends = sched_quota_same_cohort(s, sh->ns, sh->ns);
    struct amount sum = one;
    size_t n = 1;

    if (s->quotas.len == 0)
        return n_jobs;
    for (; n < n_jobs; n++) {
        add(&sum, &one);
        if (!allows(s, sh, &sum) || (lends && !is_own(s, sh->ns, &sum)))
            break;
    }
    return n;
}

bool
sched_quota_busy(const struct scheduler *s, const char *ns)
{
    for (size_t i = 0; i < s->quotas.len; i++)
        if (s->quotas.items[i]->n_evicting > 0 &&
            (streq(s->quotas.items[i]->ns, ns) ||
             sched_quota_same_cohort(s, s->quotas.items[i]->ns, ns)))
            return true;
    return false;
}

bool
sched_quota_borrows(const struct scheduler *s, const struct job *j)
{
    struct amount a = of_hold(j);

    if (j->ns == NULL)
        return false;
    for (size_t i = 0; i < s->quotas.len; i++) {
        const struct quota *q = s->quotas.items[i];
        if (!streq(q->ns, j->ns) || q->cohort == NULL)
            continue;
        for (size_t k = 0; k < q->n_limits; k++)
            if (q->used[k] > q->limits[k].own && amount_of(&q->limits[k], &a) > 0)
                return true;
    }
    return false;
}

bool
sched_quota_stays_out(const struct scheduler *s, const struct job *head,
                      const struct job *j)
{
    struct amount a = of_hold(j);

    return streq(head->ns, j->ns) || sched_before(head, j) || !is_own(s, j->ns, &a);
}

bool
sched_quota_exceeded(const struct scheduler *s, const char *ns)
{
    for (size_t i = 0; i < s->quotas.len; i++) {
        const struct quota *q = s->quotas.items[i];
        if (!streq(q->ns, ns) || q->cohort == NULL)
            continue;
        for (size_t k = 0; k < q->n_limits; k++)
            if (q->used[k] > q->limits[k].own)
                return true;
    }
    return false;
}

struct quota *
sched_quota_of(const struct scheduler *s, const char *ns)
{
    for (size_t i = 0; i < s->quotas.len; i++)
        if (streq(s->quotas.items[i]->ns, ns))
            return s->quotas.items[i];
    return NULL;
}

static const char *
cohort_of(const struct scheduler *s, const char *ns)
{
    for (size_t i = 0; i < s->quotas.len; i++)
        if (streq(s->quotas.items[i]->ns, ns) && s->quotas.items[i]->cohort != NULL)
            return s->quotas.items[i]->cohort;
    return NULL;
}

bool
sched_quota_same_cohort(const struct scheduler *s, const char *a, const char *b)
{
    const char *x = cohort_of(s, a), *y = cohort_of(s, b);

    return x != NULL && y != NULL && streq(x, y);
}

void
sched_quota_reopen(struct scheduler *s, const char *ns)
{
    for (size_t i = 0; i < s->unfit.len;) {
        struct shape *sh = s->unfit.items[i];
        if (sh->over_quota &&
            (ns == NULL || streq(sh->ns, ns) || sched_quota_same_cohort(s, sh->ns, ns)))
            sched_open(s, sh); /* another one is at i now */
        else
            i++;
    }
}

/* --- whose turn -------------------------------------------------------------------- */

/* The largest share of what it owns that the namespace uses, by weight; in 1/1000. */
static int64_t
share_of(const struct scheduler *s, const char *ns)
{
    double most = 0;

    for (size_t i = 0; i < s->quotas.len; i++) {
        const struct quota *q = s->quotas.items[i];
        if (!streq(q->ns, ns) || q->cohort == NULL)
            continue;
        for (size_t k = 0; k < q->n_limits; k++) {
            double own = q->limits[k].own > 0 ? (double)q->limits[k].own : 1;
            double share = (double)q->used[k] / own / (double)q->weight;
            if (share > most)
                most = share;
        }
    }
    return most > 1e12 ? INT64_MAX : (int64_t)(most * 1000);
}

/* Among equal priorities of a cohort: jobs within their own share first, then the
 * borrower with the smallest share. */
struct shape *
sched_quota_turn(struct scheduler *s)
{
    struct pq_node *first = pq_min(&s->open);
    struct shape *best = first == NULL ? NULL : CONTAINER_OF(first, struct shape, order);

    if (best == NULL || s->quotas.len == 0 || cohort_of(s, best->ns) == NULL)
        return best;
    const char *ns = best->ns;
    int64_t priority = sched_head(best)->priority, least = INT64_MAX;
    if (sched_quota_is_own(s, best))
        return best;
    for (size_t i = 0; i < s->open.nodes.len; i++) {
        struct shape *sh = CONTAINER_OF(s->open.nodes.items[i], struct shape, order);
        const struct job *head = sched_head(sh);
        if (head->priority != priority || !sched_quota_same_cohort(s, sh->ns, ns))
            continue;
        int64_t share = sched_quota_is_own(s, sh) ? -1 : share_of(s, sh->ns);
        if (share < least || (share == least && sched_before(head, sched_head(best)))) {
            least = share;
            best = sh;
        }
    }
    return best;
}

/* --- quotas ------------------------------------------------------------------------ */

void
sched_quota_free(struct quota *q)
{
    free(q->uid);
    free(q->ns);
    free(q->cohort);
    pq_done(&q->holders);
    pq_done(&q->leavers);
    free(q);
}

void
scheduler_remove_quota(struct scheduler *s, const char *uid)
{
    for (size_t i = 0; i < s->quotas.len; i++) {
        if (!streq(s->quotas.items[i]->uid, uid))
            continue;
        sched_quota_free(s->quotas.items[i]);
        vec_remove(&s->quotas, i);
        s->quotas_dirty = true;
        sched_looks_renew(s);
        return;
    }
}

void
scheduler_set_quota(struct scheduler *s, const struct sched_quota *from)
{
    struct quota *q = xnew(struct quota);

    bug_if(from->n_limits > SCHED_LIMITS_MAX);
    scheduler_remove_quota(s, from->uid);
    q->uid = xstrdup(from->uid);
    q->ns = xstrdup(from->ns);
    q->cohort = from->cohort == NULL ? NULL : xstrdup(from->cohort);
    q->weight = from->weight < 1 ? 1 : from->weight;
    q->n_limits = from->n_limits;
    for (size_t i = 0; i < from->n_limits; i++)
        q->limits[i] = from->limits[i];
    vec_push(&s->quotas, q);
    s->quotas_dirty = true;
    sched_looks_renew(s);
}

bool
scheduler_quota_used(struct scheduler *s, const char *uid, size_t limit, int64_t *ret)
{
    sched_quota_refresh(s);
    for (size_t i = 0; i < s->quotas.len; i++) {
        const struct quota *q = s->quotas.items[i];
        if (!streq(q->uid, uid) || limit >= q->n_limits)
            continue;
        *ret = q->used[limit];
        return true;
    }
    return false;
}
