/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting jobs. Equal requirements form a shape; a shape is open (may fit; in a heap by
 * its first job) or unfit (asked in vain). The reason codes that jobs should show follow
 * their shape's; jobs that show another are in its stale list.
 */
#include "controllers/job/scheduler/sched_internal.h"

static bool
job_before(const struct pq_node *na, const struct pq_node *nb)
{
    const struct job *a = CONTAINER_OF((uintptr_t)na, struct job, order);
    const struct job *b = CONTAINER_OF((uintptr_t)nb, struct job, order);

    if (a->priority != b->priority)
        return a->priority > b->priority;
    if (a->queued_ns != b->queued_ns)
        return a->queued_ns < b->queued_ns;
    int d = strcmp(a->name, b->name);
    return d != 0 ? d < 0 : strcmp(a->uid, b->uid) < 0;
}

static bool
shape_before(const struct pq_node *na, const struct pq_node *nb)
{
    const struct shape *a = CONTAINER_OF((uintptr_t)na, struct shape, order);
    const struct shape *b = CONTAINER_OF((uintptr_t)nb, struct shape, order);

    return job_before(pq_min(&a->jobs), pq_min(&b->jobs));
}

static void
free_words(char **words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(words[i]);
    free(words);
}

void
sched_shape_free(void *arg)
{
    struct shape *sh = arg;

    pq_done(&sh->jobs);
    free_words(sh->fleets, sh->n_fleets);
    free(sh->ns);
    free(sh->key);
    free(sh);
}

/* Requirements as text: equal ones read equal, whatever padding the structs have. */
static void
shape_key(const struct sched_job *j, struct str *key)
{
    str_addf(key, "%s/%d/", j->ns, j->has_image);
    for (size_t i = 0; i < j->n_fleets; i++)
        str_addf(key, "%s,", j->fleets[i]);
    str_addc(key, '/');
    resources_text(j->req, key);
}

static struct shape *
shape_of(struct scheduler *s, const struct sched_job *j)
{
    auto_str key = STR_INIT(64 * 1024);

    shape_key(j, &key);
    bug_if(key.toobig);
    struct shape *sh = map_getn(s->shapes, key.ptr, key.len);
    if (sh != NULL)
        return sh;
    sh = xnew(struct shape);
    sh->key_len = key.len;
    sh->ns = xstrdup(j->ns);
    sh->req = *j->req;
    sh->engine = j->has_image ? SCHED_DOCKER : SCHED_PROCESS;
    sh->n_fleets = j->n_fleets;
    sh->fleets = xcalloc(j->n_fleets + 1, sizeof(*sh->fleets));
    for (size_t i = 0; i < j->n_fleets; i++)
        sh->fleets[i] = xstrdup(j->fleets[i]);
    sh->jobs.before = job_before;
    sh->order.index = SIZE_MAX;
    TAILQ_INIT(&sh->stale);
    map_putn(s->shapes, key.ptr, key.len, sh);
    sh->key = str_detach(&key);
    return sh;
}

static void
unfit_remove(struct scheduler *s, struct shape *sh)
{
    struct shape *last = s->unfit.items[--s->unfit.len];

    s->unfit.items[sh->unfit_index] = last;
    last->unfit_index = sh->unfit_index;
    sh->unfit = false;
}

static void
open_shape(struct scheduler *s, struct shape *sh)
{
    s->open.before = shape_before;
    pq_push(&s->open, &sh->order);
}

/* --- reasons ----------------------------------------------------------------------- */

static void
stale_add(struct scheduler *s, struct shape *sh, struct job *j)
{
    if (j->stale)
        return;
    j->stale = true;
    TAILQ_INSERT_TAIL(&sh->stale, j, stale_link);
    if (!sh->in_stale) {
        sh->in_stale = true;
        TAILQ_INSERT_TAIL(&s->stale, sh, stale_link);
    }
}

static void
stale_remove(struct scheduler *s, struct shape *sh, struct job *j)
{
    if (!j->stale)
        return;
    j->stale = false;
    TAILQ_REMOVE(&sh->stale, j, stale_link);
    if (TAILQ_EMPTY(&sh->stale)) {
        sh->in_stale = false;
        TAILQ_REMOVE(&s->stale, sh, stale_link);
    }
}

static void
check_stale(struct scheduler *s, struct shape *sh, struct job *j)
{
    if (sh->reason != NULL && !streq(j->reason, sh->reason))
        stale_add(s, sh, j);
    else
        stale_remove(s, sh, j);
}

static void
set_reason(struct scheduler *s, struct shape *sh)
{
    const char *reason = sched_lack(s, sh);

    sh->topology = s->topology;
    if (sh->reason != NULL && streq(sh->reason, reason))
        return;
    sh->reason = reason;
    for (size_t i = 0; i < sh->jobs.nodes.len; i++)
        check_stale(s, sh, CONTAINER_OF(sh->jobs.nodes.items[i], struct job, order));
}

void
sched_mark_unfit(struct scheduler *s, struct shape *sh)
{
    pq_remove(&s->open, &sh->order);
    sh->unfit = true;
    sh->unfit_index = s->unfit.len;
    vec_push(&s->unfit, sh);
    set_reason(s, sh);
}

void
sched_reopen(struct scheduler *s, const struct node *n)
{
    struct reservation ignored;

    for (size_t i = 0; i < s->unfit.len;) {
        struct shape *sh = s->unfit.items[i];
        if (!sched_allows(sh, n->pool) || !sched_fits(sh, n, &ignored)) {
            i++;
            continue;
        }
        unfit_remove(s, sh); /* another one is at i now */
        open_shape(s, sh);
    }
}

/* --- jobs -------------------------------------------------------------------------- */

/* The code as a string that lives forever; codes the library does not know never equal
 * one of its own. */
static const char *
known_code(const char *code)
{
    if (streq(code, "NoInstances"))
        return "NoInstances";
    if (streq(code, "NoEngine"))
        return "NoEngine";
    for (int l = RESOURCE_LACKS_ARCH; l <= RESOURCE_LACKS_DISK; l++)
        if (streq(code, resource_lack_name((enum resource_lack)l)))
            return resource_lack_name((enum resource_lack)l);
    return "";
}

void
sched_enqueue(struct scheduler *s, struct job *j, const struct sched_job *from)
{
    struct shape *sh = shape_of(s, from);

    j->where = JOB_WAITING;
    j->priority = from->priority;
    j->queued_ns = from->queued_ns;
    j->reason = known_code(from->reason);
    j->shape = sh;
    pq_push(&sh->jobs, &j->order);
    s->n_waiting++;
    if (pq_contains(&sh->order))
        pq_fix(&s->open, &sh->order);
    else if (!sh->unfit)
        open_shape(s, sh);
    check_stale(s, sh, j);
}

void
sched_dequeue(struct scheduler *s, struct job *j)
{
    struct shape *sh = j->shape;
    bool in_open = pq_contains(&sh->order);

    stale_remove(s, sh, j);
    if (in_open) /* its place depends on its first job: out while that changes */
        pq_remove(&s->open, &sh->order);
    pq_remove(&sh->jobs, &j->order);
    j->shape = NULL;
    j->where = JOB_NOWHERE;
    s->n_waiting--;
    if (pq_min(&sh->jobs) != NULL) {
        if (in_open)
            open_shape(s, sh);
        return;
    }
    if (sh->unfit)
        unfit_remove(s, sh);
    map_deln(s->shapes, sh->key, sh->key_len);
}

bool
scheduler_next_reason(struct scheduler *s, struct sched_reason *ret)
{
    for (size_t i = 0; i < s->unfit.len; i++)
        if (s->unfit.items[i]->topology != s->topology)
            set_reason(s, s->unfit.items[i]);
    struct shape *sh = TAILQ_FIRST(&s->stale);
    if (sh == NULL)
        return false;
    struct job *j = TAILQ_FIRST(&sh->stale);
    j->reason = sh->reason;
    stale_remove(s, sh, j);
    *ret = (struct sched_reason){j->uid, j->ns, j->name, sh->reason};
    return true;
}
