/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bookings: where the first job of a shape that does not fit now will run. They keep
 * later jobs from taking, again and again, what it waits for (conservative backfill,
 * Mu'alem and Feitelson 2001, with one booking per instance).
 */
#include "controllers/job/scheduler/sched_policy.h"

enum { SAMPLE = 1024 };

struct amounts
sched_free(const struct node *n)
{
    return (struct amounts){n->free.cpu_milli, n->free.memory_mib, n->free.disk_mib,
                            n->free.gpu_free};
}

void
sched_amounts_add(struct amounts *a, const struct node *n, const struct job *j)
{
    a->cpu_milli += j->cpu_milli;
    a->memory_mib += j->memory_mib;
    a->disk_mib += j->disk_mib;
    a->gpus |= sched_gpu_bits(n, j) & n->capacity->gpu_free;
}

void
sched_amounts_take(struct amounts *a, const struct reservation *r)
{
    a->cpu_milli -= r->cpu_milli;
    a->memory_mib -= r->memory_mib;
    a->disk_mib -= r->disk_mib;
    a->gpus &= ~r->gpu_mask;
}

bool
sched_amounts_fit(const struct shape *need, const struct node *n, const struct amounts *a,
                  struct reservation *ret)
{
    struct resource_have f; /* its list of devices is not read */

    f.cpu_milli = a->cpu_milli;
    f.memory_mib = a->memory_mib;
    f.disk_mib = a->disk_mib;
    f.gpu_free = a->gpus;
    return sched_fit(need, n, &f, ret) == RESOURCE_FITS;
}

/* Who is chosen as a victim is as good as gone. */
static int64_t
end_of_hold(const struct job *j)
{
    return j->chosen ? INT64_MIN : j->ends_ns;
}

/* Stable: of equal ends the one that was there first is released first. */
static void
sort_by_end(job_vec *jobs)
{
    for (size_t i = 1; i < jobs->len; i++) {
        struct job *j = jobs->items[i];
        size_t k = i;
        for (; k > 0 && end_of_hold(jobs->items[k - 1]) > end_of_hold(j); k--)
            jobs->items[k] = jobs->items[k - 1];
        jobs->items[k] = j;
    }
}

bool
sched_start_on(const struct scheduler *s, const struct shape *need, const struct node *n,
               int64_t *ret, struct amounts *ret_free)
{
    struct reservation ignored;
    struct amounts then = sched_free(n);
    job_vec holds = {0};
    struct job *j;

    if (!sched_serves(need, n))
        return false;
    int64_t start = s->now_ns;
    bool fits = sched_amounts_fit(need, n, &then, &ignored);
    if (!fits) {
        TAILQ_FOREACH (j, &n->holds, hold_link)
            vec_push(&holds, j);
        sort_by_end(&holds);
    }
    for (size_t i = 0; i < holds.len && !fits; i++) {
        sched_amounts_add(&then, n, holds.items[i]);
        if (end_of_hold(holds.items[i]) > start)
            start = end_of_hold(holds.items[i]);
        fits = sched_amounts_fit(need, n, &then, &ignored);
    }
    vec_done(&holds);
    *ret = start;
    *ret_free = then;
    return fits;
}

static int64_t
end_of(const struct scheduler *s, const struct shape *need)
{
    return need->max_duration_ns > INT64_MAX - s->now_ns
               ? INT64_MAX
               : s->now_ns + need->max_duration_ns;
}

/* A gang starts when the last of its instances is free. */
static bool
starts_before(const struct scheduler *s, const struct node *booked, int64_t end)
{
    const struct shape *owner = booked->booked;
    struct amounts ignored;
    int64_t start;

    for (size_t i = 0; i < owner->booked.len; i++) {
        const struct node *n = owner->booked.items[i];
        if (owner->gang == NULL && n != booked)
            continue;
        if (!sched_start_on(s, n->booked_need, n, &start, &ignored) || start >= end)
            return end == INT64_MAX; /* who never ends is in the way of any start */
    }
    return true;
}

bool
sched_withheld(const struct scheduler *s, const struct ask *a, const struct node *n,
               const struct reservation *r)
{
    const struct shape *owner = n->booked;
    const struct job *head = sched_head(owner);
    struct reservation ignored;
    struct amounts then;
    int64_t start;

    if (owner == a->shape || head == NULL || !sched_before(head, a->head))
        return false;
    if (!starts_before(s, n, end_of(s, a->need)))
        return false;
    if (!sched_start_on(s, n->booked_need, n, &start, &then))
        return false;
    sched_amounts_take(&then, r);
    return !sched_amounts_fit(n->booked_need, n, &then, &ignored);
}

/* --- choosing ---------------------------------------------------------------------- */

struct candidate {
    struct score score;
    struct node *node;
};
typedef vec(struct candidate) candidate_vec;

static int
by_score(const void *pa, const void *pb)
{
    const struct candidate *a = pa, *b = pb;

    if (a->score.first != b->score.first)
        return a->score.first < b->score.first ? -1 : 1;
    if (a->score.second != b->score.second)
        return a->score.second < b->score.second ? -1 : 1;
    int d = strcmp(a->node->name, b->node->name);
    return d != 0 ? d : strcmp(a->node->uid, b->node->uid);
}

bool
sched_may_book(const struct shape *sh, const struct node *n)
{
    const struct shape *owner = n->booked;

    if (owner == NULL || owner == sh || sched_head(owner) == NULL)
        return true;
    return !n->vacated && !sched_before(sched_head(owner), sched_head(sh));
}

/* Adds the instances of the pool that serve need, and sorts them all, best first. */
static void
find_candidates(struct scheduler *s, const struct shape *sh, const struct shape *need,
                const struct pool *p, sched_score_fn *score, candidate_vec *ret)
{
    size_t most = ret->len + SAMPLE;
    struct candidate c;

    for (size_t i = 0; i < p->nodes.len && ret->len < most; i++) {
        c.node = p->nodes.items[i];
        if (c.node->mark == s->mark || !sched_may_book(sh, c.node)) {
            s->skipped = true;
            continue;
        }
        if (score(s, sh, need, c.node, &c.score))
            vec_push(ret, c);
    }
    if (ret->len > 0)
        qsort(ret->items, ret->len, sizeof(c), by_score);
}

struct choice {
    job_vec jobs; /* whom the nodes are for, in the same order */
    candidate_vec nodes;
};

/* One instance of the pool for each member; those with equal needs share one search. */
static bool
choose_in(struct scheduler *s, const struct shape *sh, const struct pool *p,
          sched_score_fn *score, struct choice *c)
{
    candidate_vec found = {0};
    const struct shape *need = NULL;
    size_t next = 0, i;

    s->mark++;
    for (i = 0; i < sh->gang->holders.len; i++)
        sh->gang->holders.items[i]->node->mark = s->mark;
    c->nodes.len = 0;
    for (i = 0; i < c->jobs.len; i++) {
        const struct shape *wants = c->jobs.items[i]->need;
        if (need == NULL || !streq(need->key, wants->key)) {
            need = wants;
            next = 0;
            found.len = 0;
            find_candidates(s, sh, need, p, score, &found);
        }
        if (next == found.len)
            break;
        found.items[next].node->mark = s->mark;
        vec_push(&c->nodes, found.items[next]);
        next++;
    }
    vec_done(&found);
    s->mark++;
    return i == c->jobs.len;
}

static struct score
worst(const candidate_vec *nodes)
{
    bug_if(nodes->len == 0);
    struct score w = nodes->items[0].score;

    for (size_t i = 1; i < nodes->len; i++)
        if (nodes->items[i].score.first > w.first)
            w = nodes->items[i].score;
    return w;
}

void
sched_unbook_beyond(struct scheduler *s, struct shape *sh, size_t left)
{
    vec(struct node *) nodes = {0};

    while (sh->booked.len > left) {
        struct node *n = sh->booked.items[--sh->booked.len];
        n->booked = NULL;
        n->booked_need = NULL;
        n->vacated = false;
        vec_push(&nodes, n);
    }
    s->rebook = s->rebook || nodes.len > 0;
    for (size_t i = 0; i < nodes.len; i++)
        if (nodes.items[i]->known)
            sched_reopen(s, nodes.items[i]);
    vec_done(&nodes);
}

void
sched_unbook(struct scheduler *s, struct shape *sh)
{
    sched_unbook_beyond(s, sh, 0);
}

void
sched_unbook_node(struct scheduler *s, struct node *n)
{
    struct shape *sh = n->booked;
    size_t i = 0;

    if (sh->gang != NULL) {
        sched_unbook(s, sh);
        return;
    }
    while (sh->booked.items[i] != n)
        i++;
    sh->booked.items[i] = sh->booked.items[sh->booked.len - 1];
    sh->booked.items[sh->booked.len - 1] = n;
    sched_unbook_beyond(s, sh, sh->booked.len - 1);
}

void
sched_book_node(struct scheduler *s, struct shape *sh, const struct shape *need,
                struct node *n)
{
    struct shape *loser = n->booked;

    if (loser != NULL)
        sched_unbook_node(s, n);
    if (loser != NULL && loser->unfit)
        sched_open(s, loser); /* chooses anew */
    n->booked = sh;
    n->booked_need = need;
    vec_push(&sh->booked, n);
}

/* Its bookings beyond the first ones go. */
static void
book_also(struct scheduler *s, struct shape *sh, size_t keep, const struct choice *c)
{
    sched_unbook_beyond(s, sh, keep);
    for (size_t i = 0; i < c->nodes.len; i++)
        sched_book_node(s, sh, c->jobs.items[i]->need, c->nodes.items[i].node);
}

static bool
pool_serves(const struct shape *sh, const struct shape *need, const struct pool *p)
{
    if (sh->gang->holders.len > 0 && sh->gang->holders.items[0]->node->pool != p)
        return false;
    return sched_allows(need, p);
}

bool
sched_pick_for_gang(struct scheduler *s, const struct shape *sh, sched_score_fn *score,
                    spot_vec *ret)
{
    struct choice best = {0}, c = {0};
    bool any = false;

    sched_gang_members(sh, &c.jobs);
    for (size_t i = 0; i < s->pool_order.len; i++) {
        const struct pool *p = s->pool_order.items[i];
        if (!pool_serves(sh, sched_head(sh)->need, p) || !choose_in(s, sh, p, score, &c))
            continue;
        if (!any || worst(&c.nodes).first < worst(&best.nodes).first) {
            candidate_vec swap = best.nodes;
            best.nodes = c.nodes;
            c.nodes = swap;
            any = true;
        }
    }
    ret->len = 0;
    for (size_t i = 0; any && i < best.nodes.len; i++)
        vec_push(ret, ((struct spot){best.nodes.items[i].node, c.jobs.items[i]->need}));
    vec_done(&c.jobs);
    vec_done(&c.nodes);
    vec_done(&best.nodes);
    return any;
}

static bool
is_booked_as(const struct shape *sh, const spot_vec *spots)
{
    size_t same = 0;

    for (size_t i = 0; i < spots->len; i++)
        same += spots->items[i].node->booked == sh &&
                spots->items[i].node->booked_need == spots->items[i].need;
    return same == spots->len && same == sh->booked.len;
}

void
sched_book_for_gang(struct scheduler *s, struct shape *sh, const spot_vec *spots)
{
    if (is_booked_as(sh, spots))
        return;
    sched_unbook(s, sh);
    for (size_t i = 0; i < spots->len; i++)
        sched_book_node(s, sh, spots->items[i].need, spots->items[i].node);
}

/* At most max, as urgent as the first. */
static void
first_jobs(struct shape *sh, size_t max, job_vec *ret)
{
    int64_t priority = sched_head(sh)->priority;
    struct job *j;

    while (ret->len < max && (j = sched_head(sh)) != NULL && j->priority == priority) {
        pq_remove(&sh->jobs, &j->order);
        vec_push(ret, j);
    }
    for (size_t i = 0; i < ret->len; i++)
        pq_push(&sh->jobs, &ret->items[i]->order);
}

bool
sched_pick(struct scheduler *s, struct shape *sh, size_t keep, size_t max,
           sched_score_fn *score)
{
    struct choice c = {0};

    first_jobs(sh, max, &c.jobs);
    s->mark++;
    for (size_t i = 0; i < keep; i++)
        sh->booked.items[i]->mark = s->mark;
    for (size_t i = 0; i < s->pool_order.len && keep < c.jobs.len; i++)
        if (sched_allows(sh, s->pool_order.items[i]))
            find_candidates(s, sh, sh, s->pool_order.items[i], score, &c.nodes);
    s->mark++;
    if (c.nodes.len + keep > c.jobs.len)
        c.nodes.len = c.jobs.len > keep ? c.jobs.len - keep : 0;
    bool any = c.nodes.len > 0;
    if (any)
        book_also(s, sh, keep, &c);
    vec_done(&c.jobs);
    vec_done(&c.nodes);
    return any;
}

static bool
start_score(struct scheduler *s, const struct shape *sh, const struct shape *need,
            struct node *n, struct score *ret)
{
    struct amounts ignored;

    if (!sched_start_on(s, need, n, &ret->first, &ignored))
        return false;
    ret->second = (n->booked != NULL && n->booked != sh) * 1000 -
                  __builtin_popcountll(n->free.gpu_free);
    return true;
}

static bool
book_first(struct scheduler *s, struct shape *sh)
{
    spot_vec spots = {0};

    if (sh->gang == NULL)
        return sched_pick(s, sh, 0, 1, start_score);
    bool any = sched_pick_for_gang(s, sh, start_score, &spots);
    if (any)
        sched_book_for_gang(s, sh, &spots);
    vec_done(&spots);
    return any;
}

void
sched_book(struct scheduler *s, struct shape *sh)
{
    if (sh->booked.len > 0 || (sh->gang != NULL && !sched_gang_complete(sh)))
        return;
    s->skipped = false;
    if (!book_first(s, sh) && !s->skipped)
        sh->hopeless = s->topology + 1;
}

/* Shapes that found all instances booked, the one that waits first: it must not be
 * passed over for ever. */
void
sched_rebook(struct scheduler *s)
{
    struct shape *first = NULL;

    for (size_t i = 0; i < s->unfit.len; i++) {
        struct shape *sh = s->unfit.items[i];
        if (sh->booked.len == 0 && !sh->over_quota && sh->hopeless != s->topology + 1 &&
            (sh->gang == NULL || sched_gang_complete(sh)) &&
            (first == NULL || sched_before(sched_head(sh), sched_head(first))))
            first = sh;
    }
    s->rebook = false;
    if (first != NULL)
        sched_book(s, first);
}

bool
scheduler_booking_of(const struct scheduler *s, const char *job_uid, size_t i,
                     const char **ret_instance_uid, int64_t *ret_start_ns)
{
    const struct job *j = map_get(s->jobs, job_uid);
    struct amounts ignored;

    if (j == NULL || j->where != JOB_WAITING || i >= j->shape->booked.len ||
        (j->shape->gang == NULL && (i > 0 || sched_head(j->shape) != j)))
        return false;
    const struct node *n = j->shape->booked.items[i];
    *ret_instance_uid = n->uid;
    return sched_start_on(s, n->booked_need, n, ret_start_ns, &ignored);
}
