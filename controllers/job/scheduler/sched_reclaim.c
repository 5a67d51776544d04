/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Room within quotas: who borrows gives way to jobs within their namespace's own share;
 * where there is no cohort, who is less urgent gives way in its own namespace. Jobs that
 * run are kept in a heap per namespace with a quota, so that a victim costs the logarithm
 * of their number. Room is made for many waiting jobs at once: what victims take to stop
 * is waited for together.
 */
#include "controllers/job/scheduler/sched_policy.h"

enum {
    ON_ONE = 256, /* victims for one of them */
    PASSED = 4096 /* looked at in vain, when the machine matters */
};

/* --- who could be told to go ---------------------------------------------------------
 */

static bool
goes_before(const struct pq_node *na, const struct pq_node *nb)
{
    const struct job *a = CONTAINER_OF((uintptr_t)na, struct job, go_order);
    const struct job *b = CONTAINER_OF((uintptr_t)nb, struct job, go_order);

    return a->priority != b->priority ? a->priority < b->priority
                                      : strcmp(a->uid, b->uid) < 0;
}

void
sched_holder_add(struct scheduler *s, struct job *j)
{
    struct quota *q;

    if (s->quotas_dirty || j->ns == NULL || j->where != JOB_HOLDING ||
        (j->over && !j->evicting) || j->go_in != NULL ||
        (q = sched_quota_of(s, j->ns)) == NULL)
        return;
    j->go_in = j->evicting ? &q->leavers : &q->holders;
    j->go_in->before = goes_before;
    pq_push(j->go_in, &j->go_order);
}

void
sched_holder_remove(struct scheduler *s, struct job *j)
{
    if (s->quotas_dirty || j->go_in == NULL) /* all are added anew */
        return;
    pq_remove(j->go_in, &j->go_order);
    j->go_in = NULL;
}

/* --- shapes for which shares are being taken back ------------------------------------
 */

static struct reclaim *
reclaim_of(const struct scheduler *s, const struct shape *sh)
{
    for (size_t i = 0; i < s->reclaiming.len; i++)
        if (s->reclaiming.items[i].shape == sh)
            return &s->reclaiming.items[i];
    return NULL;
}

void
sched_reclaim_begins(struct scheduler *s, struct shape *sh, size_t n_jobs)
{
    struct reclaim *r = reclaim_of(s, sh);

    if (r == NULL)
        vec_push(&s->reclaiming,
                 ((struct reclaim){.shape = sh, .id = ++s->n_reclaims, .left = n_jobs}));
    else
        r->left = n_jobs;
}

void
sched_reclaim_told(struct scheduler *s, const struct shape *sh, struct job *victim)
{
    struct reclaim *r = reclaim_of(s, sh);

    victim->reclaim = r == NULL ? 0 : r->id;
    if (r != NULL)
        r->going++;
}

void
sched_reclaim_left(struct scheduler *s, struct job *victim)
{
    for (size_t i = 0; victim->reclaim != 0 && i < s->reclaiming.len; i++) {
        struct reclaim *r = &s->reclaiming.items[i];
        if (r->id == victim->reclaim && --r->going == 0)
            r->shape->look_again = true; /* unless it gets its places now */
    }
    victim->reclaim = 0;
}

bool
sched_has_enough(const struct shape *sh, size_t coming)
{
    return !sh->look_again && coming > sh->made / 2;
}

bool
sched_is_reclaiming(const struct scheduler *s, const struct shape *sh)
{
    return reclaim_of(s, sh) != NULL;
}

void
sched_reclaim_done(struct scheduler *s, const struct shape *sh)
{
    struct reclaim *r = reclaim_of(s, sh);

    if (r == NULL)
        return;
    vec_remove(&s->reclaiming, (size_t)(r - s->reclaiming.items));
    sched_quota_reopen(s, sh->ns);
}

void
sched_reclaim_served(struct scheduler *s, const struct shape *sh)
{
    struct reclaim *r = reclaim_of(s, sh);

    if (r != NULL && (--r->left == 0 || sched_head(sh) == NULL))
        sched_reclaim_done(s, sh);
}

/* --- one look ------------------------------------------------------------------------
 */

struct given {
    struct node *node;
    struct reservation r;
};
struct victim {
    struct job *job, *whom_for;
};
struct look {
    struct shape *shape;
    struct job *job; /* whose turn it is; a.head */
    struct ask a;
    bool lends;                 /* its namespace is in a cohort */
    bool near;                  /* only victims on instances that would serve the job */
    vec(struct victim) victims; /* chosen: not counted by quotas, out of their heaps */
    job_vec going;              /* told before; chosen too */
    size_t next_going;          /* the first where there may be a place */
    job_vec passed;             /* out of their heaps, not chosen */
    vec(struct given) given;
};

/* All but the first ones. */
static void
spare_from(struct scheduler *s, struct look *l, size_t left)
{
    while (l->victims.len > left) {
        struct job *j = l->victims.items[--l->victims.len].job;
        sched_spare(s, j);
        sched_holder_add(s, j);
    }
}

static bool
serves(const struct look *l, const struct node *n)
{
    return sched_serves(l->a.need, n) && sched_allows(l->a.need, n->pool);
}

/* In its own namespace by priority, elsewhere by right. */
static bool
may_go(const struct scheduler *s, const struct look *l, const struct job *j)
{
    if (streq(j->ns, l->shape->ns) ? !j->preemptible : !sched_quota_borrows(s, j))
        return false;
    return !l->near || serves(l, j->node);
}

/* The first of the heap that may be told to go; those before it are passed over. */
static struct job *
first_of(struct scheduler *s, struct look *l, struct quota *q)
{
    bool own = streq(q->ns, l->shape->ns);
    struct pq_node *first;

    while ((first = pq_min(&q->holders)) != NULL) {
        struct job *j = CONTAINER_OF(first, struct job, go_order);
        if (own && j->priority >= l->a.head->priority)
            return NULL;
        if (may_go(s, l, j))
            return j;
        if (l->near && l->passed.len >= PASSED)
            return NULL;
        sched_holder_remove(s, j);
        vec_push(&l->passed, j);
    }
    return NULL;
}

static bool
has_victims(const struct scheduler *s, const struct look *l, const struct quota *q)
{
    if (l->lends)
        return !streq(q->ns, l->shape->ns) && sched_quota_exceeded(s, q->ns) &&
               sched_quota_same_cohort(s, q->ns, l->shape->ns);
    return streq(q->ns, l->shape->ns);
}

static void
choose(struct scheduler *s, struct look *l, struct job *victim)
{
    sched_holder_remove(s, victim);
    victim->chosen = true;
    sched_quota_charge(s, victim, -1);
    vec_push(&l->victims, ((struct victim){victim, l->job}));
}

/* With its whole gang, which is going to be told. */
static struct job *
choose_next(struct scheduler *s, struct look *l)
{
    struct job *best = NULL;

    for (size_t i = 0; i < s->quotas.len; i++) {
        struct quota *q = s->quotas.items[i];
        struct job *j = has_victims(s, l, q) ? first_of(s, l, q) : NULL;
        if (j != NULL && (best == NULL || goes_before(&j->go_order, &best->go_order)))
            best = j;
    }
    if (best == NULL)
        return NULL;
    choose(s, l, best);
    for (size_t i = 0; best->gang != NULL && i < best->gang->holders.len; i++) {
        struct job *member = best->gang->holders.items[i];
        if (!member->chosen && !member->evicting)
            choose(s, l, member);
    }
    return best;
}

/* What others are told to leave for somebody else's booking stays for that one, also when
 * the job here is more urgent. */
static bool
is_for_others(const struct scheduler *s, const struct look *l, const struct node *n,
              const struct reservation *r, struct amounts left)
{
    struct reservation ignored;

    if (n->booked == NULL || n->booked == l->shape)
        return false;
    if (!n->vacated)
        return sched_withheld(s, &l->a, n, r);
    sched_amounts_take(&left, r);
    return !sched_amounts_fit(n->booked_need, n, &left, &ignored);
}

/* The job fits on n when the victims are gone, beside what was given to earlier ones. */
static bool
fits_then(const struct scheduler *s, const struct look *l, const struct node *n,
          struct reservation *ret)
{
    struct amounts then = sched_free(n);
    const struct job *j;

    if (!serves(l, n))
        return false;
    TAILQ_FOREACH (j, &n->holds, hold_link)
        if (j->chosen)
            sched_amounts_add(&then, n, j);
    for (size_t i = 0; i < l->given.len; i++)
        if (l->given.items[i].node == n)
            sched_amounts_take(&then, &l->given.items[i].r);
    return sched_amounts_fit(l->a.need, n, &then, ret) &&
           !is_for_others(s, l, n, ret, then) && sched_quota_allows(s, &l->a, n, ret);
}

static bool
find_place(struct scheduler *s, struct look *l, struct given *ret)
{
    for (; l->next_going < l->going.len; l->next_going++) {
        ret->node = l->going.items[l->next_going]->node;
        if (fits_then(s, l, ret->node, &ret->r))
            return true;
    }
    for (size_t i = l->victims.len; i-- > 0;) {
        ret->node = l->victims.items[i].job->node;
        if (fits_then(s, l, ret->node, &ret->r))
            return true;
    }
    ret->node = sched_search(s, &l->a, &ret->r);
    return ret->node != NULL;
}

/* Who was chosen for the machine's sake, elsewhere, is spared: highest priority first;
 * returning: only those who would come back at once. */
static void
spare_needless(struct scheduler *s, struct look *l, size_t had, bool returning,
               struct given *place)
{
    struct reservation r;

    for (size_t i = l->victims.len; i-- > had;) {
        struct job *j = l->victims.items[i].job;
        if (j->gang != NULL || (returning && sched_quota_stays_out(s, l->job, j)))
            continue;
        sched_spare(s, j);
        if (fits_then(s, l, place->node, &r)) {
            place->r = r;
            vec_remove(&l->victims, i);
            vec_push(&l->passed, j);
            continue;
        }
        j->chosen = true;
        sched_quota_charge(s, j, -1);
    }
}

static bool
stay_out(const struct scheduler *s, const struct look *l)
{
    for (size_t i = 0; i < l->victims.len; i++)
        if (!sched_quota_stays_out(s, l->job, l->victims.items[i].job))
            return false;
    return true;
}

/* First anybody's share, as far as the quotas go. Where that leaves no machine, the
 * shares of those who are in the way on one. */
static bool
make_room(struct scheduler *s, struct look *l, struct job *j)
{
    size_t had = l->victims.len;
    struct given place = {0};

    l->a.head = l->job = j;
    while (!l->near && !sched_quota_allows(s, &l->a, NULL, NULL) &&
           choose_next(s, l) != NULL)
        ;
    bool found = sched_quota_allows(s, &l->a, NULL, NULL) && find_place(s, l, &place);
    if (!found) {
        spare_from(s, l, had);
        l->near = true;
    }
    while (!found && l->victims.len - had < ON_ONE) {
        const struct job *victim = choose_next(s, l);
        if (victim == NULL)
            break;
        place.node = victim->node;
        found = fits_then(s, l, place.node, &place.r);
    }
    if (found) {
        spare_needless(s, l, had, true, &place);
        spare_needless(s, l, had, false, &place);
        found = stay_out(s, l);
    }
    if (!found) {
        spare_from(s, l, had);
        return false;
    }
    place.node->mark = s->mark;
    sched_quota_try(s, l->shape->ns, place.node, &place.r, 1);
    vec_push(&l->given, place);
    return true;
}

void
sched_future_begin(struct scheduler *s, const struct shape *sh, job_vec *ret_going)
{
    for (size_t i = 0; i < s->quotas.len; i++) {
        const struct quota *q = s->quotas.items[i];
        if (!streq(q->ns, sh->ns) && !sched_quota_same_cohort(s, q->ns, sh->ns))
            continue;
        for (size_t k = 0; k < q->leavers.nodes.len; k++) {
            struct job *j = CONTAINER_OF(q->leavers.nodes.items[k], struct job, go_order);
            j->chosen = true;
            sched_quota_charge(s, j, -1);
            vec_push(ret_going, j);
        }
    }
    sched_quota_pending(s, sh, true);
}

void
sched_future_end(struct scheduler *s, const struct shape *sh, job_vec *going)
{
    sched_quota_pending(s, sh, false);
    while (going->len > 0)
        sched_spare(s, going->items[--going->len]);
}

bool
sched_reclaim_for_gang(struct scheduler *s, struct shape *sh, job_vec *ret)
{
    struct job *head = sched_head(sh);
    struct look l = {.shape = sh,
                     .job = head,
                     .a = {.need = head->need, .shape = sh, .head = head},
                     .lends = sched_quota_same_cohort(s, sh->ns, sh->ns)};
    bool room;

    while (!(room = sched_quota_has_room(s, sh)) && choose_next(s, &l) != NULL)
        ;
    for (size_t i = 0; i < l.passed.len; i++)
        sched_holder_add(s, l.passed.items[i]);
    for (size_t i = 0; i < l.victims.len; i++)
        vec_push(ret, l.victims.items[i].job);
    vec_done(&l.passed);
    vec_done(&l.victims);
    return room;
}

static void
look_end(struct scheduler *s, struct look *l)
{
    for (size_t i = 0; i < l->given.len; i++)
        sched_quota_try(s, l->shape->ns, l->given.items[i].node, &l->given.items[i].r,
                        -1);
    for (size_t i = 0; i < l->victims.len; i++)
        sched_spare(s, l->victims.items[i].job);
    sched_future_end(s, l->shape, &l->going);
    for (size_t i = 0; i < l->passed.len; i++)
        sched_holder_add(s, l->passed.items[i]);
    s->mark++;
}

static bool
is_given(const struct look *l, const struct node *n)
{
    for (size_t i = 0; i < l->given.len; i++)
        if (l->given.items[i].node == n)
            return true;
    return false;
}

/* No earlier gang is to wait for other instances with what is made free on these. What
 * was booked stays as it is: a look that changes nothing is to open no other shape. */
static void
keep_places(struct scheduler *s, const struct look *l)
{
    for (size_t i = l->shape->booked.len; i-- > 0;)
        if (!is_given(l, l->shape->booked.items[i]))
            sched_unbook_node(s, l->shape->booked.items[i]);
    for (size_t i = 0; i < l->given.len; i++) {
        struct node *n = l->given.items[i].node;
        if (n->booked != l->shape && sched_may_book(l->shape, n))
            sched_book_node(s, l->shape, l->a.need, n);
        n->vacated = n->vacated || n->booked == l->shape;
    }
}

void
sched_reclaim(struct scheduler *s, struct shape *sh)
{
    const struct reclaim *r = reclaim_of(s, sh);
    struct look l = {.shape = sh,
                     .a = {.need = sched_head(sh)->need, .shape = sh},
                     .lends = sched_quota_same_cohort(s, sh->ns, sh->ns)};
    job_vec served = {0};
    struct job *j;

    if (r != NULL && sched_has_enough(sh, r->left))
        return;
    sched_future_begin(s, sh, &l.going);
    bool any_going = l.going.len > 0;
    s->mark++;
    while (served.len < SCHED_BATCH && (j = sched_head(sh)) != NULL &&
           (!l.lends || sched_quota_is_own(s, sh)) && make_room(s, &l, j)) {
        pq_remove(&sh->jobs, &j->order);
        vec_push(&served, j);
    }
    for (size_t i = 0; i < served.len; i++)
        pq_push(&sh->jobs, &served.items[i]->order);
    look_end(s, &l);
    sh->served = served.len == sh->jobs.nodes.len;
    sh->made = served.len;
    sh->look_again = false;
    if (served.len > 0 && (any_going || l.victims.len > 0)) {
        keep_places(s, &l);
        sched_reclaim_begins(s, sh, served.len);
    } else if (!any_going) { /* else nobody borrows before they are gone */
        sched_reclaim_done(s, sh);
    }
    if (l.victims.len > 0)
        sched_looks_count(s, sched_head(sh));
    for (size_t i = 0; i < l.victims.len; i++)
        sched_evict(s, l.victims.items[i].whom_for, l.victims.items[i].job);
    vec_done(&served);
    vec_done(&l.given);
    vec_done(&l.passed);
    vec_done(&l.going);
    vec_done(&l.victims);
}
