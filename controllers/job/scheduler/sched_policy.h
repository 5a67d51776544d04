/* SPDX-License-Identifier: Apache-2.0 */
/* Bookings, gangs, quotas and preemption, for the scheduler's own files. */
#ifndef CONTROLLERS_JOB_SCHED_POLICY_H
#define CONTROLLERS_JOB_SCHED_POLICY_H

#include "controllers/job/scheduler/sched_internal.h"

/* sched_book.c */
struct amounts {
    int64_t cpu_milli, memory_mib, disk_mib;
    uint64_t gpus;
};
struct amounts sched_free(const struct node *n);
void sched_amounts_add(struct amounts *a, const struct node *n, const struct job *j);
bool sched_amounts_fit(const struct shape *need, const struct node *n,
                       const struct amounts *a, struct reservation *ret);
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
/* Books the best nodes for the first job of sh, or its gang. False: there are none. */
bool sched_pick(struct scheduler *s, struct shape *sh, sched_score_fn *score);
void sched_book(struct scheduler *s, struct shape *sh);
void sched_rebook(struct scheduler *s); /* whoever waits first and has none */
void sched_unbook(struct scheduler *s, struct shape *sh); /* reopens what it withheld */

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
/* Its namespace uses more than its own share of something that j takes; idle: and gives
 * no job back just now. */
bool sched_quota_borrows(const struct scheduler *s, const struct job *j, bool idle);
bool sched_quota_same_cohort(const struct scheduler *s, const char *a, const char *b);
void sched_quota_evicting(struct scheduler *s, const struct job *j, int sign);
/* Whether the first job of sh, or its gang, stays within its namespace's own share of a
 * cohort, or within all quotas, as far as can be told before there is an instance. */
bool sched_quota_is_own(const struct scheduler *s, const struct shape *sh);
bool sched_quota_has_room(const struct scheduler *s, const struct shape *sh);
/* Jobs of the cohort are giving way just now. */
bool sched_quota_busy(const struct scheduler *s, const char *ns);
void sched_reclaim_done(struct scheduler *s, const struct shape *sh);
/* Of the open shapes the one whose turn it is. */
struct shape *sched_quota_turn(struct scheduler *s);
void sched_quota_free(struct quota *q);

/* sched_preempt.c */
void sched_preempt(struct scheduler *s, struct shape *sh);
void sched_preempt_review(struct scheduler *s);
void sched_preempt_forget(struct scheduler *s, struct job *j);

#endif
