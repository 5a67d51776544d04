/* SPDX-License-Identifier: Apache-2.0 */
/* Bookings, gangs, quotas and preemption, for the scheduler's own files. */
#ifndef CONTROLLERS_JOB_SCHED_POLICY_H
#define CONTROLLERS_JOB_SCHED_POLICY_H

#include "controllers/job/scheduler/sched_internal.h"

enum { SCHED_BATCH = 64 }; /* jobs of a shape that room is made for at once */

/* Who asks for a place: what it needs, and its turn. */
struct ask {
    const struct shape *need;
    const struct shape *shape; /* in the queue */
    const struct job *head;
    const struct pool *pool; /* only this one; NULL: any that is allowed */
    bool over_quota;         /* out: something fit but for a quota */
};

/* sched_book.c */
struct amounts {
    int64_t cpu_milli, memory_mib, disk_mib;
    uint64_t gpus;
};
struct amounts sched_free(const struct node *n);
void sched_amounts_add(struct amounts *a, const struct node *n, const struct job *j);
bool sched_amounts_fit(const struct shape *need, const struct node *n,
                       const struct amounts *a, struct reservation *ret);
void sched_amounts_take(struct amounts *a, const struct reservation *r);
/* When need would fit on n, as holds end, and what is free then; INT64_MAX: not known.
 * False: never. */
bool sched_start_on(const struct scheduler *s, const struct shape *need,
                    const struct node *n, int64_t *ret, struct amounts *ret_free);
/* A later job with this reservation would delay the one that booked n. */
bool sched_withheld(const struct scheduler *s, const struct ask *a, const struct node *n,
                    const struct reservation *r);
/* How well need is served by n, lowest first; false: not at all. */
struct score {
    int64_t first, second;
};
typedef bool sched_score_fn(struct scheduler *s, const struct shape *sh,
                            const struct shape *need, struct node *n, struct score *ret);
/* Books the best nodes, one each for the first jobs of sh, which is no gang; at most max,
 * that are as urgent as the first. The first `keep` of its bookings stay and count.
 * False: there are none. */
bool sched_pick(struct scheduler *s, struct shape *sh, size_t keep, size_t max,
                sched_score_fn *score);
/* In one fleet, an instance for each member that waits; nothing is booked. */
struct spot {
    struct node *node;
    const struct shape *need;
};
typedef vec(struct spot) spot_vec;
bool sched_pick_for_gang(struct scheduler *s, const struct shape *sh,
                         sched_score_fn *score, spot_vec *ret);
void sched_book_for_gang(struct scheduler *s, struct shape *sh, const spot_vec *spots);
void sched_book(struct scheduler *s, struct shape *sh);
/* What an earlier job booked is not for sh, nor what others leave for a booking. */
bool sched_may_book(const struct shape *sh, const struct node *n);
/* For one job; a later shape loses it. */
void sched_book_node(struct scheduler *s, struct shape *sh, const struct shape *need,
                     struct node *n);
void sched_rebook(struct scheduler *s); /* whoever waits first and has none */
void sched_unbook(struct scheduler *s, struct shape *sh); /* reopens what it withheld */
void sched_unbook_beyond(struct scheduler *s, struct shape *sh, size_t left);
/* Of a booked node; a gang has all of its own or none. */
void sched_unbook_node(struct scheduler *s, struct node *n);

/* sched_gang.c */
struct map *sched_gangs_new(void);
void sched_gang_join(struct scheduler *s, struct job *j, const char *key, size_t size);
void sched_gang_leave(struct scheduler *s, struct job *j);
/* Where all waiting members go; ret_* in the order of their turn. False: not now. */
struct placed {
    struct job *job;
    struct node *node;
    struct reservation reserve;
};
typedef vec(struct placed) placed_vec;
/* Members that wait, largest first, then by turn. The caller frees ret->items. */
void sched_gang_members(const struct shape *sh, job_vec *ret);
bool sched_gang_complete(const struct shape *sh);
bool sched_gang_place(struct scheduler *s, struct ask *a, placed_vec *ret);

/* sched_quota.c */
bool sched_quota_allows(const struct scheduler *s, const struct ask *a,
                        const struct node *n, const struct reservation *r);
/* Counts what an occupying job takes, or gives back (sign -1). */
void sched_quota_charge(struct scheduler *s, const struct job *j, int sign);
void sched_quota_try(struct scheduler *s, const char *ns, const struct node *n,
                     const struct reservation *r, int sign);
void sched_quota_refresh(struct scheduler *s);
void sched_quota_reopen(struct scheduler *s, const char *ns);
/* Its namespace uses more than its own share of something that j takes. */
bool sched_quota_borrows(const struct scheduler *s, const struct job *j);
bool sched_quota_same_cohort(const struct scheduler *s, const char *a, const char *b);
void sched_quota_evicting(struct scheduler *s, struct job *j, int sign);
/* A victim j of head, which is not counted any more, could come back before head only on
 * a share that it borrows, or not at all: else the two would push each other out for
 * ever. */
bool sched_quota_stays_out(const struct scheduler *s, const struct job *head,
                           const struct job *j);
/* The namespace uses more than its own share of something. */
bool sched_quota_exceeded(const struct scheduler *s, const char *ns);
/* The first one of the namespace; NULL: none. */
struct quota *sched_quota_of(const struct scheduler *s, const char *ns);
/* Whether the first job of sh, or its gang, stays within its namespace's own share of a
 * cohort, or within all quotas, as far as can be told before there is an instance. */
bool sched_quota_is_own(const struct scheduler *s, const struct shape *sh);
bool sched_quota_has_room(const struct scheduler *s, const struct shape *sh);
/* Of so many jobs like the first, how many. */
size_t sched_quota_room_for(const struct scheduler *s, const struct shape *sh,
                            size_t n_jobs);
/* Jobs of the namespace, or of its cohort, are giving way just now. */
bool sched_quota_busy(const struct scheduler *s, const char *ns);
/* Of the open shapes the one whose turn it is. */
struct shape *sched_quota_turn(struct scheduler *s);
void sched_quota_free(struct quota *q);

/* sched_reclaim.c */
/* j occupies, or does so no more, or was told to go; nothing happens without a quota.
 * O(log n). */
void sched_holder_add(struct scheduler *s, struct job *j);
void sched_holder_remove(struct scheduler *s, struct job *j);
/* Makes room within the quotas for as many of the first jobs of sh as there would be
 * places. */
void sched_reclaim(struct scheduler *s, struct shape *sh);
/* From here on quotas and instances count as they will be when those that were told are
 * gone (chosen, in ret_going), and others have what they wait for. */
void sched_future_begin(struct scheduler *s, const struct shape *sh, job_vec *ret_going);
void sched_future_end(struct scheduler *s, const struct shape *sh, job_vec *going);
/* Chooses victims, the first to go first, until the quotas have room for the gang of sh.
 * False: there are not enough; what was chosen is added to ret all the same, out of its
 * heap. */
bool sched_reclaim_for_gang(struct scheduler *s, struct shape *sh, job_vec *ret);
/* Counts what is being made room for, for other shapes of the cohort and within their own
 * shares; or no more. */
void sched_quota_pending(struct scheduler *s, const struct shape *sh, bool count_them);
/* Nobody else of the cohort borrows until so many jobs of sh are placed. */
void sched_reclaim_begins(struct scheduler *s, struct shape *sh, size_t n_jobs);
/* The victim was told for what is being taken back for sh, or goes or stays. */
void sched_reclaim_told(struct scheduler *s, const struct shape *sh, struct job *victim);
void sched_reclaim_left(struct scheduler *s, struct job *victim);
/* Room is on its way, for so many that there need be no look yet. */
bool sched_has_enough(const struct shape *sh, size_t coming);
bool sched_is_reclaiming(const struct scheduler *s, const struct shape *sh);
void sched_reclaim_served(struct scheduler *s, const struct shape *sh); /* one of them */
void sched_reclaim_done(struct scheduler *s, const struct shape *sh);

/* sched_looks.c */
struct map *sched_looks_new(void);
/* It may make others go; if not, it is asked again when they are renewed. */
bool sched_looks_left(struct scheduler *s, const struct job *head);
void sched_looks_count(struct scheduler *s, const struct job *head);
/* The victim goes for another one, or is to stay after all. */
void sched_looks_goes(struct scheduler *s, const struct job *victim, bool goes);
/* A job waits that did not, or is out. */
void sched_looks_arrives(struct scheduler *s, const char *origin);
void sched_looks_leaves(struct scheduler *s, const struct job *j);
/* Something happened that is no consequence of a look. */
void sched_looks_renew(struct scheduler *s);

/* sched_preempt.c */
void sched_spare(struct scheduler *s, struct job *j); /* chosen no more */
void sched_evict(struct scheduler *s, struct job *whom_for, struct job *victim);
void sched_preempt(struct scheduler *s, struct shape *sh);
void sched_preempt_review(struct scheduler *s);
void sched_preempt_wake(struct scheduler *s); /* time has passed */
void sched_preempt_forget(struct scheduler *s, struct job *j);

#endif
