/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Instances by what is free: per fleet, per number of free GPUs, a grid of CPU and memory
 * classes. A search walks from the smallest cell that may suffice; everything beyond the
 * first row and column surely has enough CPU and memory.
 */
#include "controllers/job/scheduler/sched_policy.h"

enum { CPU_UNIT_MILLI = 125, MEMORY_UNIT_MIB = 64, LACK_SAMPLE = 256 };

static unsigned
class_of(int64_t amount, int64_t unit, unsigned classes)
{
    unsigned c = 0;

    for (int64_t v = amount / unit; v > 0 && c < classes - 1; v >>= 1)
        c++;
    return c;
}

struct pool *
sched_pool(struct scheduler *s, const char *ns, const char *fleet)
{
    autofree char *key = xasprintf("%s/%s", ns, fleet);
    struct pool *p = map_get(s->pools, key);
    size_t i = 0;

    if (p != NULL)
        return p;
    p = xnew(struct pool);
    p->key = xstrdup(key);
    p->ns = xstrdup(ns);
    p->fleet = xstrdup(fleet);
    map_put(s->pools, key, p);
    while (i < s->pool_order.len && strcmp(s->pool_order.items[i]->key, key) < 0)
        i++;
    vec_insert(&s->pool_order, i, p);
    return p;
}

void
sched_pool_free(void *arg)
{
    struct pool *p = arg;

    for (size_t l = 0; l < GPU_LEVELS; l++) {
        if (p->levels[l] == NULL)
            continue;
        for (size_t c = 0; c < CPU_CLASSES; c++)
            for (size_t m = 0; m < MEMORY_CLASSES; m++)
                vec_done(&p->levels[l]->cell[c][m].list);
        free(p->levels[l]);
    }
    vec_done(&p->nodes);
    for (size_t i = 0; i < p->n_with; i++)
        free(p->with[i]);
    free(p->with);
    free(p->key);
    free(p->ns);
    free(p->fleet);
    free(p);
}

static int
node_order(const struct node *a, const struct node *b)
{
    int d = strcmp(a->name, b->name);

    return d != 0 ? d : strcmp(a->uid, b->uid);
}

static size_t
position(const struct node_list *l, const struct node *n)
{
    size_t lo = 0, hi = l->list.len;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (node_order(l->list.items[mid], n) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

void
sched_node_leave(struct node *n)
{
    if (!n->placed)
        return;
    struct level *lv = n->pool->levels[n->level];
    struct node_list *cell = &lv->cell[n->cpu_class][n->memory_class];
    size_t i = position(cell, n);

    bug_if(i >= cell->list.len || cell->list.items[i] != n);
    vec_remove(&cell->list, i);
    n->placed = false;
    if (cell->list.len > 0)
        return;
    lv->memory_mask[n->cpu_class] &= ~(UINT32_C(1) << n->memory_class);
    if (lv->memory_mask[n->cpu_class] == 0)
        lv->cpu_mask &= ~(UINT32_C(1) << n->cpu_class);
    if (lv->cpu_mask == 0)
        n->pool->level_mask[n->level / 64] &= ~(UINT64_C(1) << n->level % 64);
}

void
sched_node_enter(struct node *n)
{
    bug_if(n->placed);
    if (!n->usable || !n->known)
        return;
    n->level = (unsigned)__builtin_popcountll(n->free.gpu_free);
    n->cpu_class = class_of(n->free.cpu_milli, CPU_UNIT_MILLI, CPU_CLASSES);
    n->memory_class = class_of(n->free.memory_mib, MEMORY_UNIT_MIB, MEMORY_CLASSES);
    struct pool *p = n->pool;
    if (p->levels[n->level] == NULL)
        p->levels[n->level] = xnew(struct level);
    struct level *lv = p->levels[n->level];
    struct node_list *cell = &lv->cell[n->cpu_class][n->memory_class];
    vec_insert(&cell->list, position(cell, n), n);
    lv->memory_mask[n->cpu_class] |= UINT32_C(1) << n->memory_class;
    lv->cpu_mask |= UINT32_C(1) << n->cpu_class;
    p->level_mask[n->level / 64] |= UINT64_C(1) << n->level % 64;
    n->placed = true;
}

static bool
has_word(char *const *words, size_t n, const char *word)
{
    for (size_t i = 0; i < n; i++)
        if (streq(words[i], word))
            return true;
    return false;
}

enum resource_lack
sched_fit(const struct shape *need, const struct node *n,
          const struct resource_have *free, struct reservation *ret)
{
    enum resource_lack l = resources_fit(&need->req, n->capacity, free, ret);

    return l != RESOURCE_FITS ? l
                              : resources_whole_blocks(n->blocks, n->capacity, free, ret);
}

bool
sched_allows_node(const struct shape *sh, const struct node *n)
{
    if (sh->of_member && n->apart)
        return false;
    return sh->n_instances == 0 || has_word(sh->instances, sh->n_instances, n->name);
}

bool
sched_serves(const struct shape *need, const struct node *n)
{
    struct reservation ignored;

    return n->known && n->usable && (n->engines & need->engine) != 0 &&
           sched_allows_node(need, n) &&
           sched_fit(need, n, n->capacity, &ignored) == RESOURCE_FITS;
}

bool
sched_fits(const struct scheduler *s, struct ask *a, const struct node *n,
           struct reservation *ret)
{
    const struct shape *need = a->need;

    if (!n->usable || !n->known || (n->engines & need->engine) == 0 ||
        n->mark == s->mark || !sched_allows_node(need, n))
        return false;
    if (sched_fit(need, n, &n->free, ret) != RESOURCE_FITS)
        return false;
    if (n->booked != NULL && sched_withheld(s, a, n, ret))
        return false;
    if (sched_quota_allows(s, a, n, ret))
        return true;
    a->over_quota = true;
    return false;
}

bool
sched_allows(const struct shape *sh, const struct pool *p)
{
    bool own = streq(p->ns, sh->ns);

    if (!own && !has_word(p->with, p->n_with, sh->ns) &&
        !has_word(p->with, p->n_with, "*"))
        return false;
    if (sh->n_fleets == 0)
        return true;
    return (own && has_word(sh->fleets, sh->n_fleets, p->fleet)) ||
           has_word(sh->fleets, sh->n_fleets, p->key);
}

static struct node *
search_level(const struct scheduler *s, const struct level *lv, struct ask *a,
             struct reservation *ret)
{
    const struct resource_req *req = &a->need->req;
    unsigned c0 = class_of(req->cpu.min * 1000, CPU_UNIT_MILLI, CPU_CLASSES);
    unsigned m0 = class_of(req->memory_mib.min, MEMORY_UNIT_MIB, MEMORY_CLASSES);
    uint32_t cpus = lv->cpu_mask >> c0 << c0;

    for (; cpus != 0; cpus &= cpus - 1) {
        unsigned c = (unsigned)__builtin_ctz(cpus);
        uint32_t memories = lv->memory_mask[c] >> m0 << m0;
        for (; memories != 0; memories &= memories - 1) {
            const struct node_list *cell = &lv->cell[c][__builtin_ctz(memories)];
            for (size_t i = 0; i < cell->list.len; i++)
                if (sched_fits(s, a, cell->list.items[i], ret))
                    return cell->list.items[i];
        }
    }
    return NULL;
}

static unsigned
least_gpus(const struct gpu_req *q)
{
    if (!q->given || q->count.max == 0)
        return 0;
    if (q->count.min > RESOURCE_GPUS_MAX)
        return GPU_LEVELS;
    if (q->count.min == 0 && q->total_memory_mib.min > 0)
        return 1;
    return (unsigned)q->count.min;
}

struct node *
sched_search(const struct scheduler *s, struct ask *a, struct reservation *ret)
{
    for (unsigned l = least_gpus(&a->need->req.gpu); l < GPU_LEVELS; l++) {
        for (size_t i = 0; i < s->pool_order.len; i++) {
            const struct pool *p = s->pool_order.items[i];
            if ((p->level_mask[l / 64] >> l % 64 & 1) == 0 ||
                (a->pool != NULL && a->pool != p) || !sched_allows(a->need, p))
                continue;
            struct node *n = search_level(s, p->levels[l], a, ret);
            if (n != NULL)
                return n;
        }
    }
    return NULL;
}

static const char *
lack_name(const struct shape *sh, enum resource_lack nearest, bool fits, bool apart)
{
    if (sh->over_quota)
        return "QuotaExceeded";
    if (!fits)
        return resource_lack_name(nearest);
    if (sh->gang == NULL)
        return "HeldForEarlierJob";
    if (!sched_gang_complete(sh))
        return "WaitingForMembers";
    return apart ? "NoCommonNetwork" : "InsufficientInstances";
}

static bool
is_member_apart(const struct shape *need, const struct node *n)
{
    return need->of_member && n->apart && n->usable;
}

static bool
is_candidate(const struct shape *need, const struct node *n)
{
    return n->usable && n->known && sched_allows_node(need, n);
}

static const char *
lacking_engine(const struct shape *need, unsigned others)
{
    return need->engine == SCHED_ROOT && (others & SCHED_PROCESS) != 0
               ? "NoRootFileSystem"
               : "NoEngine";
}

/* The lack of the instance that comes nearest: lacks are checked in a fixed order, and
 * the later one is the smaller. Looks at a bounded number of instances. */
const char *
sched_lack(const struct scheduler *s, const struct shape *sh)
{
    const struct shape *need = sched_head(sh)->need;
    enum resource_lack nearest = RESOURCE_FITS;
    struct reservation ignored;
    size_t seen = 0, apart = 0;
    bool any = false, fits = false;
    unsigned engines = 0;

    for (size_t i = 0; i < s->pool_order.len; i++) {
        const struct pool *p = s->pool_order.items[i];
        if (!sched_allows(need, p))
            continue;
        for (size_t k = 0; k < p->nodes.len && seen < LACK_SAMPLE; k++) {
            const struct node *n = p->nodes.items[k];
            apart += is_member_apart(need, n);
            if (!is_candidate(need, n))
                continue;
            any = true;
            engines |= n->engines;
            if ((n->engines & need->engine) == 0)
                continue;
            seen++;
            enum resource_lack l = sched_fit(need, n, &n->free, &ignored);
            fits = fits || l == RESOURCE_FITS;
            if (fits && sh->gang == NULL) /* nothing comes nearer */
                return lack_name(sh, nearest, true, false);
            if (l > nearest)
                nearest = l;
        }
    }
    if (!any)
        return apart > 0 ? "NoCommonNetwork" : "NoInstances";
    return seen == 0 ? lacking_engine(need, engines)
                     : lack_name(sh, nearest, fits, apart > 0);
}
