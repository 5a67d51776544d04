/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why preemption ends. A look makes others go for the first job of a shape; a job has
 * LOOKS of them, and gets them back only when something happens that does not follow from
 * a look: a job that is new, ends or changes, an instance or a quota that changes. A
 * victim that stops and waits again is none of these. So between two such events there
 * are at most LOOKS times as many looks as jobs, each with fewer victims than there are
 * jobs, whatever the rules about who gives way to whom say. Those keep it from being
 * needed: they are what makes sense of each look, this is what bounds their sum.
 * Jobs are told apart by origin, which the attempts of one job share.
 */
#include "controllers/job/scheduler/sched_policy.h"

/* Not one: what becomes free may go to earlier jobs that waited for it too. */
enum { LOOKS = 8 };

struct looks {
    unsigned n; /* in which others went for it */
    bool goes;  /* for another one; until it waits again */
};

struct map *
sched_looks_new(void)
{
    return map_new(free);
}

static struct looks *
looks_of(struct scheduler *s, const struct job *j)
{
    struct looks *l = map_get(s->looks, j->origin);

    if (l == NULL) {
        l = xnew(struct looks);
        map_put(s->looks, j->origin, l);
    }
    return l;
}

static bool
has_left(const struct scheduler *s, const struct job *head)
{
    const struct looks *l = map_get(s->looks, head->origin);

    return l == NULL || l->n < LOOKS;
}

bool
sched_looks_left(struct scheduler *s, const struct job *head)
{
    bool left = has_left(s, head);

    s->looks_refused = s->looks_refused || !left;
    return left;
}

void
sched_looks_count(struct scheduler *s, const struct job *head)
{
    looks_of(s, head)->n++;
}

void
sched_looks_goes(struct scheduler *s, const struct job *victim, bool goes)
{
    looks_of(s, victim)->goes = goes;
}

void
sched_looks_arrives(struct scheduler *s, const char *origin)
{
    struct looks *l = map_get(s->looks, origin);

    if (l != NULL && l->goes)
        l->goes = false;
    else
        sched_looks_renew(s);
}

void
sched_looks_leaves(struct scheduler *s, const struct job *j)
{
    const struct looks *l = map_get(s->looks, j->origin);

    if (l == NULL || !l->goes)
        sched_looks_renew(s);
}

void
sched_looks_renew(struct scheduler *s)
{
    for (size_t i = 0; s->looks_refused && i < s->unfit.len;) {
        struct shape *sh = s->unfit.items[i];
        if (has_left(s, sched_head(sh)))
            i++;
        else
            sched_open(s, sh); /* another one is at i now */
    }
    s->looks_refused = false;
    if (map_len(s->looks) > 0)
        map_clear(s->looks);
}
