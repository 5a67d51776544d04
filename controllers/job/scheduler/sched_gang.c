/* SPDX-License-Identifier: Apache-2.0 */
/* Gangs: jobs that are placed together, each on an instance of its own, in one fleet. */
#include "controllers/job/scheduler/sched_policy.h"

static void
gang_free(void *arg)
{
    struct gang *g = arg;

    vec_done(&g->holders);
    free(g->key);
    free(g);
}

struct map *
sched_gangs_new(void)
{
    return map_new(gang_free);
}

void
sched_gang_join(struct scheduler *s, struct job *j, const char *key, size_t size)
{
    if (j->gang == NULL) {
        struct gang *g = map_get(s->gangs, key);
        if (g == NULL) {
            g = xnew(struct gang);
            g->key = xstrdup(key);
            map_put(s->gangs, key, g);
        }
        g->n_jobs++;
        j->gang = g;
    }
    if (size > 0)
        j->gang->size = size;
}

void
sched_gang_leave(struct scheduler *s, struct job *j)
{
    struct gang *g = j->gang;

    j->gang = NULL;
    if (g != NULL && --g->n_jobs == 0)
        map_del(s->gangs, g->key);
}

bool
sched_gang_complete(const struct shape *sh)
{
    return sh->jobs.nodes.len + sh->gang->holders.len >= sh->gang->size;
}

static int
by_need(const void *pa, const void *pb)
{
    const struct job *a = *(struct job *const *)pa, *b = *(struct job *const *)pb;
    const struct resource_req *x = &a->need->req, *y = &b->need->req;

    if (x->gpu.given != y->gpu.given)
        return x->gpu.given ? -1 : 1;
    if (x->gpu.given && x->gpu.count.min != y->gpu.count.min)
        return x->gpu.count.min > y->gpu.count.min ? -1 : 1;
    if (x->cpu.min != y->cpu.min)
        return x->cpu.min > y->cpu.min ? -1 : 1;
    if (x->memory_mib.min != y->memory_mib.min)
        return x->memory_mib.min > y->memory_mib.min ? -1 : 1;
    int d = strcmp(a->need->key, b->need->key);
    if (d != 0)
        return d;
    return sched_before(a, b) ? -1 : sched_before(b, a);
}

void
sched_gang_members(const struct shape *sh, job_vec *ret)
{
    for (size_t i = 0; i < sh->jobs.nodes.len; i++)
        vec_push(ret, CONTAINER_OF(sh->jobs.nodes.items[i], struct job, order));
    if (ret->len > 1)
        qsort(ret->items, ret->len, sizeof(ret->items[0]), by_need);
}

/* Nothing is taken while looking: the members' instances differ. Quotas count along. */
static bool
place_in(struct scheduler *s, struct ask *a, const job_vec *jobs, placed_vec *ret)
{
    const struct gang *g = a->shape->gang;
    size_t i;

    s->mark++;
    for (i = 0; i < g->holders.len; i++)
        g->holders.items[i]->node->mark = s->mark;
    ret->len = 0;
    for (i = 0; i < jobs->len; i++) {
        struct placed p = {.job = jobs->items[i]};
        a->need = p.job->need;
        p.node = sched_search(s, a, &p.reserve);
        if (p.node == NULL)
            break;
        p.node->mark = s->mark;
        sched_quota_try(s, a->shape->ns, p.node, &p.reserve, 1);
        vec_push(ret, p);
    }
    for (size_t k = 0; k < ret->len; k++)
        sched_quota_try(s, a->shape->ns, ret->items[k].node, &ret->items[k].reserve, -1);
    s->mark++;
    return i == jobs->len;
}

bool
sched_gang_place(struct scheduler *s, struct ask *a, placed_vec *ret)
{
    const struct gang *g = a->shape->gang;
    job_vec jobs = {0};
    bool done = false;

    ret->len = 0;
    if (!sched_gang_complete(a->shape))
        return false;
    sched_gang_members(a->shape, &jobs);
    for (size_t i = 0; i < s->pool_order.len && jobs.len > 0 && !done; i++) {
        a->pool = s->pool_order.items[i];
        if (g->holders.len > 0 && g->holders.items[0]->node->pool != a->pool)
            continue;
        done = sched_allows(jobs.items[0]->need, a->pool) && place_in(s, a, &jobs, ret);
    }
    vec_done(&jobs);
    return done;
}
