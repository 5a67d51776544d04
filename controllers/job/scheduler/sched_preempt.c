/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who gives way. A job takes the place of others by one of two rules, and neither can be
 * turned against it: by priority (strictly lower, same namespace, victim preemptible), or
 * by right (it stays within its namespace's own share, the victim's namespace borrows in
 * the same cohort). Who would borrow preempts nobody. That a chain of
 * preemptions ends does not rest on these rules: sched_looks.c.
 */
#include "controllers/job/scheduler/sched_policy.h"

#define PAUSE_NS INT64_C(1000000000)
#define PAUSE_MAX_NS (16 * PAUSE_NS)

static bool
by_right(struct scheduler *s, const struct shape *sh, const struct job *victim)
{
    return sh->own && victim->ns != NULL && !streq(victim->ns, sh->ns) &&
           sched_quota_same_cohort(s, sh->ns, victim->ns) &&
           sched_quota_borrows(s, victim);
}

static bool
gives_way(struct scheduler *s, const struct shape *sh, const struct job *victim)
{
    const struct job *head = sched_head(sh);

    if (victim->evicting || victim->over || victim->ns == NULL)
        return false;
    if (head->need->preempts && victim->preemptible &&
        victim->priority < head->priority && streq(victim->ns, head->ns))
        return true;
    return by_right(s, sh, victim);
}

/* The next victim on n: lowest priority, then the one that came last. */
static struct job *
next_victim(struct scheduler *s, const struct shape *sh, const struct node *n)
{
    struct job *j, *best = NULL;

    TAILQ_FOREACH (j, &n->holds, hold_link)
        if (!j->chosen && gives_way(s, sh, j) &&
            (best == NULL || j->priority <= best->priority))
            best = j;
    return best;
}

void
sched_spare(struct scheduler *s, struct job *j)
{
    sched_quota_charge(s, j, 1);
    j->chosen = false;
}

static void
spare_from(struct scheduler *s, job_vec *victims, size_t left)
{
    while (victims->len > left)
        sched_spare(s, victims->items[--victims->len]);
}

/* With its whole gang, which is going to be told. */
static void
choose(struct scheduler *s, struct job *j, job_vec *ret)
{
    j->chosen = true;
    sched_quota_charge(s, j, -1);
    vec_push(ret, j);
    for (size_t i = 0; j->gang != NULL && i < j->gang->holders.len; i++) {
        struct job *member = j->gang->holders.items[i];
        if (member->chosen || member->evicting)
            continue;
        member->chosen = true;
        sched_quota_charge(s, member, -1);
        vec_push(ret, member);
    }
}

static bool
stay_out(const struct scheduler *s, const struct job *head, const job_vec *victims)
{
    for (size_t i = 0; i < victims->len; i++)
        if (!sched_quota_stays_out(s, head, victims->items[i]))
            return false;
    return true;
}

/* Once those that are chosen, or were told, are gone. */
static bool
fits_then(const struct scheduler *s, const struct shape *sh, const struct shape *need,
          const struct node *n)
{
    struct ask a = {.need = need, .shape = sh, .head = sched_head(sh)};
    struct amounts then = sched_free(n);
    struct reservation r;
    const struct job *j;

    TAILQ_FOREACH (j, &n->holds, hold_link)
        if (j->chosen || j->evicting)
            sched_amounts_add(&then, n, j);
    return sched_amounts_fit(need, n, &then, &r) && sched_quota_allows(s, &a, n, &r);
}

/* Victims that make need fit on n, no more than needed: added to ret, and chosen, which
 * is for the caller to undo. False: there are none. */
static bool
choose_victims(struct scheduler *s, const struct shape *sh, const struct shape *need,
               const struct node *n, job_vec *ret)
{
    size_t had = ret->len;
    struct job *j;

    while (!fits_then(s, sh, need, n)) {
        j = next_victim(s, sh, n);
        if (j == NULL) {
            spare_from(s, ret, had);
            return false;
        }
        choose(s, j, ret);
    }
    for (size_t i = ret->len; i-- > had;) { /* highest first, if it can be */
        j = ret->items[i];
        if (j->gang != NULL)
            continue;
        sched_spare(s, j);
        if (fits_then(s, sh, need, n)) {
            vec_remove(ret, i);
            continue;
        }
        j->chosen = true;
        sched_quota_charge(s, j, -1);
    }
    if (stay_out(s, sched_head(sh), ret))
        return true;
    spare_from(s, ret, had);
    return false;
}

static bool
victim_score(struct scheduler *s, const struct shape *sh, const struct shape *need,
             struct node *n, struct score *ret)
{
    job_vec victims = {0};
    int64_t start;
    struct amounts ignored;

    if (!sched_start_on(s, need, n, &start, &ignored))
        return false;
    bool fits = choose_victims(s, sh, need, n, &victims);
    ret->first = INT64_MIN;
    ret->second = (int64_t)victims.len;
    for (size_t i = 0; i < victims.len; i++)
        if (victims.items[i]->priority > ret->first)
            ret->first = victims.items[i]->priority;
    spare_from(s, &victims, 0);
    vec_done(&victims);
    return fits;
}

void
sched_evict(struct scheduler *s, struct job *whom_for, struct job *victim)
{
    victim->reclaimed = !streq(victim->ns, whom_for->ns);
    victim->evicting = true;
    victim->evicted_for = whom_for;
    if (victim->ends_ns > s->now_ns)
        victim->ends_ns = s->now_ns;
    sched_quota_evicting(s, victim, 1);
    sched_looks_goes(s, victim, true);
    sched_reclaim_told(s, whom_for->shape, victim);
    vec_push(&s->evictions, victim);
}

static bool
under_way(const struct shape *sh)
{
    const struct job *j;

    for (size_t i = 0; i < sh->booked.len; i++)
        TAILQ_FOREACH (j, &sh->booked.items[i]->holds, hold_link)
            if (j->evicting)
                return true;
    return false;
}

/* Those who left made no place for sh: its bookings are like any others. */
static void
claim_no_more(struct scheduler *s, struct shape *sh)
{
    if (sh->over_quota)
        sched_unbook(s, sh);
    for (size_t i = 0; i < sh->booked.len; i++)
        sh->booked.items[i]->vacated = false;
}

/* Puts the bookings that need no more victims first; how many. */
static size_t
sort_coming(const struct scheduler *s, struct shape *sh)
{
    size_t n = 0;

    for (size_t i = 0; i < sh->booked.len; i++) {
        struct node *node = sh->booked.items[i];
        if (!node->vacated || !fits_then(s, sh, node->booked_need, node))
            continue;
        sh->booked.items[i] = sh->booked.items[n];
        sh->booked.items[n++] = node;
    }
    return n;
}

/* For each of the first instances that sh has booked; how many. */
static size_t
choose_on_booked(struct scheduler *s, const struct shape *sh, size_t from,
                 job_vec *victims)
{
    size_t n = from;

    for (; n < sh->booked.len; n++) {
        size_t had = victims->len;
        struct node *node = sh->booked.items[n];
        if (!choose_victims(s, sh, node->booked_need, node, victims))
            break;
        node->vacated = victims->len > had;
    }
    return n;
}

static void
evict_all(struct scheduler *s, const struct shape *sh, const job_vec *victims)
{
    if (victims->len > 0)
        sched_looks_count(s, sched_head(sh));
    for (size_t i = 0; i < victims->len; i++)
        sched_evict(s, sched_head(sh), victims->items[i]);
}

/* Who is in the way on instances goes; what is on its way to be free counts. */
static void
clear_instances(struct scheduler *s, struct shape *sh)
{
    size_t n = sort_coming(s, sh);
    job_vec victims = {0};
    bool shares = false;

    if (n > 0 && sched_has_enough(sh, n))
        return;
    bool more =
        sched_pick(s, sh, n, sched_quota_room_for(s, sh, SCHED_BATCH), victim_score);
    if (more)
        n = choose_on_booked(s, sh, n, &victims);
    for (size_t i = 0; i < victims.len; i++) {
        sched_spare(s, victims.items[i]);
        shares = shares || !streq(victims.items[i]->ns, sh->ns);
    }
    if (shares)
        sched_reclaim_begins(s, sh, n);
    evict_all(s, sh, &victims);
    vec_done(&victims);
    if (more)
        sched_unbook_beyond(s, sh, n);
    sh->served = n == sh->jobs.nodes.len;
    sh->made = n;
    sh->look_again = false;
}

static bool
is_in_the_way(const spot_vec *spots, const struct job *j)
{
    for (size_t i = 0; i < spots->len; i++)
        if (spots->items[i].node == j->node)
            return true;
    return false;
}

/* Of the first ones, who were chosen for the quotas' sake, where others go for the
 * instances': highest first. */
static void
spare_needless(struct scheduler *s, const struct shape *sh, const spot_vec *spots,
               size_t first, job_vec *victims)
{
    for (size_t i = first; i-- > 0;) {
        struct job *j = victims->items[i];
        if (j->gang != NULL || is_in_the_way(spots, j))
            continue;
        sched_spare(s, j);
        if (sched_quota_has_room(s, sh)) {
            sched_holder_add(s, j);
            vec_remove(victims, i);
            continue;
        }
        j->chosen = true;
        sched_quota_charge(s, j, -1);
    }
}

/* Chosen are victims for all members, or it is false: for the quotas anywhere, then on
 * the instances where they are cheapest. */
static bool
choose_for_gang(struct scheduler *s, struct shape *sh, spot_vec *spots, job_vec *victims)
{
    if (!sched_reclaim_for_gang(s, sh, victims) ||
        !sched_pick_for_gang(s, sh, victim_score, spots))
        return false;
    size_t first = victims->len;
    for (size_t i = 0; i < spots->len; i++)
        if (!choose_victims(s, sh, spots->items[i].need, spots->items[i].node, victims))
            return false;
    spare_needless(s, sh, spots, first, victims);
    return stay_out(s, sched_head(sh), victims);
}

/* A look in vain costs a search of all instances, and much could ask for it: each job
 * that ends. */
static void
look_later(struct scheduler *s, struct shape *sh)
{
    sh->pause_ns = sh->pause_ns == 0                 ? PAUSE_NS
                   : sh->pause_ns * 2 < PAUSE_MAX_NS ? sh->pause_ns * 2
                                                     : PAUSE_MAX_NS;
    sh->not_before_ns = s->now_ns + sh->pause_ns;
    if (s->due_ns == 0 || sh->not_before_ns < s->due_ns)
        s->due_ns = sh->not_before_ns;
    sh->look_again = false;
}

static bool
may_find(const struct scheduler *s, const struct shape *sh)
{
    if (sched_head(sh)->need->preempts)
        return true;
    for (size_t i = 0; i < s->quotas.len; i++)
        if (sched_quota_same_cohort(s, s->quotas.items[i]->ns, sh->ns) &&
            (s->quotas.items[i]->n_evicting > 0 ||
             sched_quota_exceeded(s, s->quotas.items[i]->ns)))
            return true;
    return false;
}

void
sched_preempt_wake(struct scheduler *s)
{
    if (s->due_ns == 0 || s->now_ns < s->due_ns)
        return;
    s->due_ns = 0;
    for (size_t i = 0; i < s->unfit.len;) {
        struct shape *sh = s->unfit.items[i];
        int64_t at = sh->not_before_ns;
        if (at != 0 && at <= s->now_ns) {
            sh->not_before_ns = 0;
            sched_open(s, sh); /* another one is at i now */
            continue;
        }
        if (at != 0 && (s->due_ns == 0 || at < s->due_ns))
            s->due_ns = at;
        i++;
    }
}

static void
clear_for_gang(struct scheduler *s, struct shape *sh)
{
    if (!may_find(s, sh) || (!sh->look_again && s->now_ns < sh->not_before_ns))
        return;
    job_vec going = {0}, victims = {0};
    spot_vec spots = {0};
    bool right = sh->own;

    sched_future_begin(s, sh, &going);
    bool any_going = going.len > 0;
    sh->own = sched_quota_is_own(s, sh);
    bool found = sh->own == right && choose_for_gang(s, sh, &spots, &victims);
    for (size_t i = 0; i < victims.len; i++) {
        sched_spare(s, victims.items[i]);
        sched_holder_add(s, victims.items[i]);
    }
    sched_future_end(s, sh, &going);
    if (found && (victims.len > 0 || any_going)) {
        sched_book_for_gang(s, sh, &spots);
        for (size_t i = 0; i < spots.len; i++)
            spots.items[i].node->vacated = true;
        sched_reclaim_begins(s, sh, 1);
        evict_all(s, sh, &victims);
        sh->made = 1;
        sh->look_again = false;
        sh->not_before_ns = sh->pause_ns = 0;
    } else {
        look_later(s, sh);
    }
    vec_done(&spots);
    vec_done(&victims);
    vec_done(&going);
}

void
sched_preempt(struct scheduler *s, struct shape *sh)
{
    struct job *head = sched_head(sh);
    bool busy = sched_quota_busy(s, sh->ns);
    bool lends = sched_quota_same_cohort(s, sh->ns, sh->ns);

    sh->own = sched_quota_is_own(s, sh);
    if (!busy)
        sched_reclaim_done(s, sh); /* it was not enough, or went elsewhere */
    if (!sched_is_reclaiming(s, sh) && !under_way(sh))
        claim_no_more(s, sh);
    if ((!sh->own && (lends || !head->need->preempts)) ||
        (sh->gang != NULL && !sched_gang_complete(sh)) || !sched_looks_left(s, head))
        return;
    if (sh->gang != NULL) {
        bool known = sched_is_reclaiming(s, sh);
        if (known ? !sched_has_enough(sh, 1) : lends || !under_way(sh))
            clear_for_gang(s, sh);
        return;
    }
    bool room = !sh->over_quota && sched_quota_has_room(s, sh);
    if (room && !(lends && busy))
        clear_instances(s, sh);
    else
        sched_reclaim(s, sh);
    if (room && lends && !busy && !sh->served && sched_quota_busy(s, sh->ns)) {
        sh->look_again = true; /* for more than one on an instance */
        sched_reclaim(s, sh);
    }
}

/* It was chosen, and nobody was told. */
static void
stays(struct scheduler *s, struct job *victim)
{
    victim->evicting = false;
    victim->evicted_for = NULL;
    sched_quota_evicting(s, victim, -1);
    sched_looks_goes(s, victim, false);
    sched_reclaim_left(s, victim);
}

void
sched_preempt_forget(struct scheduler *s, struct job *j)
{
    for (size_t i = 0; i < s->evictions.len;) {
        struct job *v = s->evictions.items[i];
        if (v == j || v->evicted_for == j)
            vec_remove(&s->evictions, i);
        else
            i++;
        /* A victim that nobody was told of is none. */
        if (v != j && v->evicted_for == j)
            stays(s, v);
    }
    if (j->evicting && j->where == JOB_HOLDING)
        sched_quota_evicting(s, j, -1);
    j->evicting = false;
    j->evicted_for = NULL;
}

static void
forgive(struct scheduler *s, struct job *victim)
{
    struct shape *sh = victim->evicted_for->shape;

    stays(s, victim);
    if (sh != NULL && sh->unfit)
        sched_open(s, sh);
}

/* When a whole gang went instead of one victim, its namespace may borrow no more. */
void
sched_preempt_review(struct scheduler *s)
{
    for (size_t i = 0; i < s->evictions.len;) {
        struct job *j = s->evictions.items[i];
        if (!j->reclaimed || sched_quota_borrows(s, j)) {
            i++;
            continue;
        }
        vec_remove(&s->evictions, i);
        forgive(s, j);
    }
}

bool
scheduler_next_preemption(struct scheduler *s, struct sched_preemption *ret)
{
    if (s->evictions.len == 0)
        return false;
    struct job *j = s->evictions.items[0];
    vec_remove(&s->evictions, 0);
    *ret = (struct sched_preemption){.uid = j->uid,
                                     .ns = j->ns,
                                     .name = j->name == NULL ? "" : j->name,
                                     .for_uid = j->evicted_for->uid,
                                     .for_name = j->evicted_for->name,
                                     .reclaimed = j->reclaimed};
    j->evicted_for = NULL;
    return true;
}
