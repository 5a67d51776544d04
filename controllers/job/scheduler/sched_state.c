/* SPDX-License-Identifier: Apache-2.0 */
/* The queue by shapes, for people: what each needs and what each fleet lacks. */
#include "controllers/job/scheduler/sched_policy.h"

static int
by_turn(const void *pa, const void *pb)
{
    const struct shape *a = *(struct shape *const *)pa, *b = *(struct shape *const *)pb;

    return sched_before(sched_head(a), sched_head(b)) ? -1 : 1;
}

/* The instance that comes nearest: lacks are checked in a fixed order, and the later one
 * is the smaller; of equal ones the one with most free GPUs. */
static void
judge(const struct shape *need, const struct pool *p, size_t sample,
      struct sched_candidate *ret)
{
    struct reservation ignored;
    int most_gpus = -1;

    *ret = (struct sched_candidate){.fleet = p->key};
    for (size_t i = 0; i < p->nodes.len && i < sample; i++) {
        const struct node *n = p->nodes.items[i];
        if (!n->usable || !n->known || (n->engines & need->engine) == 0 ||
            !sched_allows_node(need, n))
            continue;
        enum resource_lack l = sched_fit(need, n, &n->free, &ignored);
        int gpus = __builtin_popcountll(n->free.gpu_free);
        ret->instances++;
        ret->fits += l == RESOURCE_FITS;
        bool nearer = ret->nearest == NULL || (ret->lack != RESOURCE_FITS &&
                                               (l == RESOURCE_FITS || l > ret->lack ||
                                                (l == ret->lack && gpus > most_gpus)));
        if (!nearer)
            continue;
        ret->nearest = n->name;
        ret->nearest_uid = n->uid;
        ret->lack = l;
        ret->capacity = n->capacity;
        ret->free = &n->free;
        most_gpus = gpus;
    }
}

/* When the last of its booked instances is expected to be free; 0: not known. */
static int64_t
expected(const struct scheduler *s, const struct job *head)
{
    const char *on;
    int64_t start, last = 0;

    for (size_t i = 0; scheduler_booking_of(s, head->uid, i, &on, &start); i++)
        if (start > last)
            last = start;
    return last == INT64_MAX || last <= s->now_ns ? 0 : last;
}

static void
show(struct scheduler *s, struct shape *sh, size_t sample, sched_shape_fn *fn, void *arg)
{
    struct sched_candidate candidates[SCHED_CANDIDATES_MAX];
    const struct job *head = sched_head(sh);
    const struct shape *need = head->need;
    struct sched_shape out = {.ns = sh->ns,
                              .req = &need->req,
                              .engine = need->engine,
                              .jobs = sh->jobs.nodes.len,
                              .nodes = sh->gang == NULL ? 0 : sh->gang->size,
                              .uid = head->uid,
                              .name = head->name,
                              .reason = sh->unfit ? sh->reason : NULL,
                              .starts_ns = expected(s, head),
                              .candidates = candidates};

    for (size_t i = 0; i < s->pool_order.len && out.n_candidates < SCHED_CANDIDATES_MAX;
         i++) {
        const struct pool *p = s->pool_order.items[i];
        if (p->nodes.len > 0 && sched_allows(need, p))
            judge(need, p, sample, &candidates[out.n_candidates++]);
    }
    fn(arg, &out);
}

void
scheduler_each_shape(struct scheduler *s, size_t max, size_t effort, sched_shape_fn *fn,
                     void *arg)
{
    struct map_cursor c = map_begin(s->shapes);
    vec(struct shape *) list = {0};
    void *value;

    while (map_next(&c, NULL, &value))
        vec_push(&list, (struct shape *)value);
    if (list.len > 1)
        qsort(list.items, list.len, sizeof(list.items[0]), by_turn);
    size_t n = list.len < max ? list.len : max;
    size_t looks = n * (s->pool_order.len > 0 ? s->pool_order.len : 1);
    for (size_t i = 0; i < n; i++)
        show(s, list.items[i], effort / looks + 16, fn, arg);
    vec_done(&list);
}
