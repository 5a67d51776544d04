/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting jobs. Equal requirements form a shape; a shape is open (may fit; in a heap by
 * its first job) or unfit (asked in vain). The reason codes that jobs should show follow
 * their shape's; jobs that show another are in its stale list.
 */
#include "controllers/job/scheduler/sched_policy.h"

bool
sched_before(const struct job *a, const struct job *b)
{
    if (a->priority != b->priority)
        return a->priority > b->priority;
    if (a->queued_ns != b->queued_ns)
        return a->queued_ns < b->queued_ns;
    int d = strcmp(a->name, b->name);
    return d != 0 ? d < 0 : strcmp(a->uid, b->uid) < 0;
}

static bool
job_before(const struct pq_node *na, const struct pq_node *nb)
{
    return sched_before(CONTAINER_OF((uintptr_t)na, struct job, order),
                        CONTAINER_OF((uintptr_t)nb, struct job, order));
}

struct job *
sched_head(const struct shape *sh)
{
    struct pq_node *first = pq_min(&sh->jobs);

    return first == NULL ? NULL : CONTAINER_OF(first, struct job, order);
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
    vec_done(&sh->booked);
    free_words(sh->fleets, sh->n_fleets);
    free_words(sh->instances, sh->n_instances);
    free(sh->ns);
    free(sh->key);
    free(sh);
}

static char **
copy_words(const char *const *words, size_t n)
{
    char **copy = xcalloc(n + 1, sizeof(*copy));

    for (size_t i = 0; i < n; i++)
        copy[i] = xstrdup(words[i]);
    return copy;
}

static void
add_words(struct str *key, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        str_addf(key, "%s,", words[i]);
    str_addc(key, '/');
}

/* Requirements as text: equal ones read equal, whatever padding the structs have. */
static void
need_key(const struct sched_job *j, struct str *key)
{
    str_addf(key, "%s/%d%d%d/%lld/", j->ns, j->has_image, j->has_rootfs, j->preempts,
             (long long)j->max_duration_ns);
    add_words(key, j->fleets, j->n_fleets);
    add_words(key, j->instances, j->n_instances);
    resources_text(j->req, key);
}

static struct shape *
shape_new(const struct sched_job *j, struct str *key)
{
    struct shape *sh = xnew(struct shape);

    sh->ns = xstrdup(j->ns);
    sh->req = *j->req;
    sh->engine = j->has_image ? SCHED_DOCKER : j->has_rootfs ? SCHED_ROOT : SCHED_PROCESS;
    sh->n_fleets = j->n_fleets;
    sh->fleets = copy_words(j->fleets, j->n_fleets);
    sh->n_instances = j->n_instances;
    sh->instances = copy_words(j->instances, j->n_instances);
    sh->max_duration_ns = j->max_duration_ns > 0 ? j->max_duration_ns : INT64_MAX;
    sh->preempts = j->preempts;
    sh->jobs.before = job_before;
    sh->order.index = SIZE_MAX;
    TAILQ_INIT(&sh->stale);
    sh->key_len = key->len;
    sh->key = str_detach(key);
    return sh;
}

/* A gang has a shape for itself in the queue. */
static struct shape *
shape_of(struct scheduler *s, const struct sched_job *j, struct gang *gang)
{
    auto_str key = STR_INIT(64 * 1024);

    if (gang != NULL)
        str_addf(&key, "gang/%s", gang->key);
    else
        need_key(j, &key);
    bug_if(key.toobig);
    struct shape *sh = map_getn(s->shapes, key.ptr, key.len);
    if (sh != NULL)
        return sh;
    sh = shape_new(j, &key);
    sh->gang = gang;
    map_putn(s->shapes, sh->key, sh->key_len, sh);
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
sched_mark_unfit(struct scheduler *s, struct shape *sh, bool over_quota)
{
    pq_remove(&s->open, &sh->order);
    sh->unfit = true;
    sh->unfit_index = s->unfit.len;
    sh->over_quota = over_quota;
    sh->served = false;
    vec_push(&s->unfit, sh);
    set_reason(s, sh);
    if (!over_quota)
        sched_book(s, sh);
    else if (!sched_is_reclaiming(s, sh))
        sched_unbook(s, sh);
    sched_preempt(s, sh);
}

void
sched_open(struct scheduler *s, struct shape *sh)
{
    unfit_remove(s, sh);
    open_shape(s, sh);
}

/* A quota may be in the way, but then it has to be known that it is. */
static bool
fits_on(const struct scheduler *s, const struct shape *sh, const struct node *n)
{
    struct reservation ignored;
    struct ask a = {.need = sh, .shape = sh, .head = sched_head(sh)};

    for (size_t i = 0; i < sh->jobs.nodes.len; i++) {
        a.need = CONTAINER_OF(sh->jobs.nodes.items[i], struct job, order)->need;
        if (sched_allows(a.need, n->pool) &&
            (sched_fits(s, &a, n, &ignored) || (a.over_quota && !sh->over_quota)))
            return true;
        if (sh->gang == NULL)
            break; /* all need the same */
    }
    return false;
}

void
sched_reopen(struct scheduler *s, const struct node *n)
{
    for (size_t i = 0; i < s->unfit.len;) {
        struct shape *sh = s->unfit.items[i];
        if (fits_on(s, sh, n))
            sched_open(s, sh); /* another one is at i now */
        else
            i++;
    }
}

/* --- jobs -------------------------------------------------------------------------- */

/* The code as a string that lives forever; codes the library does not know never equal
 * one of its own. */
static const char *
known_code(const char *code)
{
    static const char *const own[] = {
        "NoInstances",           "NoEngine",          "NoRootFileSystem",
        "QuotaExceeded",         "HeldForEarlierJob", "WaitingForMembers",
        "InsufficientInstances", "NoCommonNetwork",
    };

    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        if (streq(code, own[i]))
            return own[i];
    for (int l = RESOURCE_LACKS_ARCH; l <= RESOURCE_LACKS_DISK; l++)
        if (streq(code, resource_lack_name((enum resource_lack)l)))
            return resource_lack_name((enum resource_lack)l);
    return "";
}

/* Members of a gang differ in what they need. */
static void
set_need(struct job *j, struct shape *sh, const struct sched_job *from)
{
    auto_str key = STR_INIT(64 * 1024);

    j->need = sh;
    if (j->gang == NULL)
        return;
    need_key(from, &key);
    bug_if(key.toobig);
    j->need = shape_new(from, &key);
    j->need->of_member = true;
}

void
sched_enqueue(struct scheduler *s, struct job *j, const struct sched_job *from)
{
    struct shape *sh = shape_of(s, from, j->gang);

    j->where = JOB_WAITING;
    j->priority = from->priority;
    j->queued_ns = from->queued_ns;
    j->may_be_preempted = from->preemptible;
    j->reason = known_code(from->reason);
    j->shape = sh;
    set_need(j, sh, from);
    pq_push(&sh->jobs, &j->order);
    sh->look_again = true;
    s->n_waiting++;
    check_stale(s, sh, j);
    if (pq_contains(&sh->order))
        pq_fix(&s->open, &sh->order);
    else if (!sh->unfit)
        open_shape(s, sh);
    else if (sh->gang != NULL || sched_head(sh) == j || sh->served)
        sched_open(s, sh); /* complete perhaps; or its turn is earlier now */
}

static bool
same_need(const struct job *j, const struct sched_job *from)
{
    auto_str key = STR_INIT(64 * 1024);

    need_key(from, &key);
    return key.len == j->need->key_len && memcmp(key.ptr, j->need->key, key.len) == 0;
}

static bool
same_gang(const struct gang *g, const struct sched_job *from)
{
    if (g == NULL || from->gang == NULL)
        return g == NULL && from->gang == NULL;
    return streq(g->key, from->gang) && g->size == from->gang_size;
}

bool
sched_waits_already(struct scheduler *s, struct job *j, const struct sched_job *from)
{
    if (j->where != JOB_WAITING || j->priority != from->priority ||
        j->queued_ns != from->queued_ns || j->may_be_preempted != from->preemptible ||
        !same_gang(j->gang, from) || !same_need(j, from))
        return false;
    j->reason = known_code(from->reason);
    check_stale(s, j->shape, j);
    return true;
}

/* Jobs that gave way to the first of sh may go, now that it is another one. */
static void
head_changed(struct scheduler *s, struct shape *sh)
{
    vec(struct node *) nodes = {0};

    for (size_t i = 0; i < sh->booked.len; i++)
        vec_push(&nodes, sh->booked.items[i]);
    for (size_t i = 0; i < nodes.len; i++)
        sched_reopen(s, nodes.items[i]);
    vec_done(&nodes);
}

static void
drop_need(struct job *j)
{
    if (j->gang != NULL)
        sched_shape_free(j->need);
    j->need = NULL;
}

void
sched_dequeue(struct scheduler *s, struct job *j)
{
    struct shape *sh = j->shape;
    bool in_open = pq_contains(&sh->order), first = sched_head(sh) == j;

    stale_remove(s, sh, j);
    if (in_open) /* its place depends on its first job: out while that changes */
        pq_remove(&s->open, &sh->order);
    pq_remove(&sh->jobs, &j->order);
    j->shape = NULL;
    j->where = JOB_NOWHERE;
    s->n_waiting--;
    bool last = sched_head(sh) == NULL;
    if (in_open && !last)
        open_shape(s, sh);
    if (last && sh->unfit)
        unfit_remove(s, sh);
    if (last || sh->gang != NULL)
        sched_unbook(s, sh);
    else if (first)
        head_changed(s, sh);
    if (!last && sh->gang == NULL)
        sched_unbook_beyond(s, sh, sh->jobs.nodes.len);
    if (first)
        sched_reclaim_served(s, sh);
    drop_need(j);
    if (last)
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
