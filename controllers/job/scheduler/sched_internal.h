/* SPDX-License-Identifier: Apache-2.0 */
/* Structures of the scheduler, for its own files. */
#ifndef CONTROLLERS_JOB_SCHED_INTERNAL_H
#define CONTROLLERS_JOB_SCHED_INTERNAL_H

#include <sys/queue.h>

#include "base/map.h"
#include "base/vec.h"
#include "controllers/job/scheduler/scheduler.h"

/* --- indexed heap with a comparison --------------------------------------------------
 */
struct pq_node {
    size_t index; /* SIZE_MAX: outside */
};
typedef bool pq_before_fn(const struct pq_node *a, const struct pq_node *b);
struct pq {
    vec(struct pq_node *) nodes;
    pq_before_fn *before;
};
void pq_push(struct pq *q, struct pq_node *n);
void pq_remove(struct pq *q, struct pq_node *n);
void pq_fix(struct pq *q, struct pq_node *n); /* its order changed */
void pq_done(struct pq *q);
static inline struct pq_node *
pq_min(const struct pq *q)
{
    return q->nodes.len == 0 ? NULL : q->nodes.items[0];
}
static inline bool
pq_contains(const struct pq_node *n)
{
    return n->index != SIZE_MAX;
}

/* --- instances ------------------------------------------------------------------------
 */
/* Classes of free CPU and memory: powers of two. */
enum { CPU_CLASSES = 20, MEMORY_CLASSES = 24, GPU_LEVELS = RESOURCE_GPUS_MAX + 1 };

struct node_list {
    vec(struct node *) list; /* by name, then uid */
};
struct level { /* the usable nodes of a pool with one number of free GPUs */
    uint32_t cpu_mask;
    uint32_t memory_mask[CPU_CLASSES];
    struct node_list cell[CPU_CLASSES][MEMORY_CLASSES];
};

/* Instances of one fleet. */
struct pool {
    char *key; /* "ns/fleet" */
    char *ns, *fleet;
    char **with; /* namespaces that may use it too */
    size_t n_with;
    struct level *levels[GPU_LEVELS]; /* NULL: never used */
    uint64_t level_mask[2];
    vec(struct node *) nodes; /* all, no order */
};

/* Capacity and device names, shared by equal machines only as far as bytes go: none. */
struct node {
    char *uid, *name;
    struct pool *pool;
    bool usable, apart, placed; /* placed: in a cell */
    bool known;                 /* false: only held by jobs, not seen yet */
    unsigned engines;
    int64_t blocks;
    struct resource_have *capacity;
    char **gpu_uuids;
    struct resource_have free; /* only the amounts and gpu_free are kept */
    unsigned level, cpu_class, memory_class;
    TAILQ_HEAD(, job) holds;
    size_t pool_index;
    uint64_t mark;        /* == scheduler.mark: taken by the gang that is being placed */
    struct shape *booked; /* for its first job; NULL: not */
    bool vacated;         /* others were told to go for that */
    const struct shape *booked_need; /* what is to fit */
};

/* --- jobs -----------------------------------------------------------------------------
 */
enum job_where { JOB_NOWHERE, JOB_WAITING, JOB_HOLDING };

struct job {
    char *uid, *ns, *name;
    char *origin; /* as told, or the uid */
    enum job_where where;
    /* waiting */
    int64_t priority, queued_ns;
    struct shape *shape;
    struct pq_node order; /* in shape->jobs */
    const char *reason;   /* shown code; a static string */
    bool stale;           /* in shape->stale: another code than the shape's */
    TAILQ_ENTRY(job) stale_link;
    struct shape *need; /* requirements; its own when in a gang, else the shape */
    struct gang *gang;  /* NULL: alone */
    bool may_be_preempted;
    unsigned engine; /* decided */
    /* holding */
    struct node *node;
    TAILQ_ENTRY(job) hold_link;
    int64_t cpu_milli, memory_mib, disk_mib;
    char **gpu_uuids;
    size_t n_gpus;
    int64_t ends_ns; /* INT64_MAX: unknown */
    bool preemptible, over;
    bool evicting;           /* told as a victim */
    struct job *evicted_for; /* while in scheduler->evictions */
    uint64_t reclaim;        /* that it was told for; 0: none */
    bool reclaimed;
    struct pq *go_in; /* its quota's holders or leavers; NULL: neither */
    struct pq_node go_order;
    bool chosen;      /* while victims are being weighed */
    bool unannounced; /* a gang's decision that scheduler_next has yet to return */
    struct reservation reserve; /* of that */
};

typedef vec(struct job *) job_vec;

/* Jobs that are placed together. Lives while it has jobs. */
struct gang {
    char *key;
    size_t size, n_jobs;       /* as told; known to the scheduler, in any state */
    vec(struct job *) holders; /* members that occupy */
};

/* Waiting jobs with the same requirements. */
struct shape {
    char *key;
    size_t key_len;
    char *ns;
    struct resource_req req;
    unsigned engine;
    char **fleets;
    size_t n_fleets;
    char **instances;
    size_t n_instances;
    int64_t max_duration_ns; /* INT64_MAX: unknown */
    bool preempts;
    struct gang *gang; /* its jobs are the members; NULL: jobs are alone */
    bool of_member;    /* the requirements of one member of a gang */
    vec(struct node *) booked;
    bool over_quota; /* unfit because of a quota */
    bool own;        /* during a look: within its namespace's share of the cohort */
    bool served;     /* unfit, and for each of its jobs others were told to go */
    size_t made;     /* jobs that the last look made room for */
    bool look_again; /* it need not have been enough */
    int64_t not_before_ns, pause_ns; /* a gang that found no victims looks again */
    uint64_t hopeless;               /* topology in which it could run nowhere, plus 1 */
    struct pq jobs;
    struct pq_node order; /* in scheduler->open while it may fit */
    bool unfit;           /* asked, fits nowhere; in scheduler->unfit */
    size_t unfit_index;
    const char *reason; /* why, static; NULL while not unfit */
    uint64_t topology;  /* for which the reason was computed */
    TAILQ_HEAD(, job) stale;
    TAILQ_ENTRY(shape) stale_link;
    bool in_stale;
};

struct quota {
    char *uid, *ns, *cohort;
    int64_t weight;
    struct sched_limit limits[SCHED_LIMITS_MAX];
    int64_t used[SCHED_LIMITS_MAX];
    size_t n_limits;
    size_t n_evicting; /* jobs of the namespace that were told to give way */
    /* Jobs of the namespace that occupy, the first to go first: those that stay, those
     * that were told. Only the first quota of a namespace has them. */
    struct pq holders, leavers;
};

/* Shares are being taken back for the first jobs of a shape. */
struct reclaim {
    struct shape *shape;
    uint64_t id;
    size_t going;   /* those that were told for it */
    size_t left;    /* how many */
    size_t counted; /* of these, as if they occupied */
};

struct scheduler {
    int64_t now_ns;
    uint64_t mark;
    struct map *gangs;              /* key -> struct gang */
    vec(struct quota *) quotas;     /* few; by uid */
    bool quotas_dirty;              /* used is to be counted anew */
    vec(struct job *) unannounced;  /* of a gang, in order of rank */
    vec(struct reclaim) reclaiming; /* few */
    uint64_t n_reclaims;
    int64_t due_ns;     /* when the first of such gangs does; 0: none */
    struct map *looks;  /* origin -> struct looks */
    bool looks_refused; /* to somebody, since they were renewed */
    bool rebook;        /* bookings went; others may want the instances */
    bool skipped;       /* the last look passed over what an earlier job booked */
    vec(struct job *) evictions;   /* victims to be told */
    struct map *jobs;              /* uid -> struct job */
    struct map *nodes;             /* uid -> struct node */
    struct map *pools;             /* key -> struct pool */
    struct map *shapes;            /* key -> struct shape */
    vec(struct pool *) pool_order; /* by key */
    struct pq open;                /* shapes by their first job */
    vec(struct shape *) unfit;
    TAILQ_HEAD(, shape) stale;
    uint64_t topology; /* moves when instances come, go or change */
    size_t n_waiting;
};

struct ask;

/* sched_pool.c */
/* What need would take of n if so much were free. */
enum resource_lack sched_fit(const struct shape *need, const struct node *n,
                             const struct resource_have *free, struct reservation *ret);
struct pool *sched_pool(struct scheduler *s, const char *ns, const char *fleet);
void sched_pool_free(void *arg);       /* struct pool */
void sched_node_leave(struct node *n); /* out of its cell */
void sched_node_enter(struct node *n); /* into the cell of what is free now */
/* Were n empty; whether its pool is allowed is another question. */
bool sched_serves(const struct shape *need, const struct node *n);
bool sched_fits(const struct scheduler *s, struct ask *a, const struct node *n,
                struct reservation *ret);
bool sched_allows(const struct shape *sh, const struct pool *p);
bool sched_allows_node(const struct shape *sh, const struct node *n);
struct node *sched_search(const struct scheduler *s, struct ask *a,
                          struct reservation *ret);
const char *sched_lack(const struct scheduler *s, const struct shape *sh);

/* sched_queue.c */
void sched_enqueue(struct scheduler *s, struct job *j, const struct sched_job *from);
/* It waits, and nothing is new but the reason that it shows. */
bool sched_waits_already(struct scheduler *s, struct job *j,
                         const struct sched_job *from);
void sched_dequeue(struct scheduler *s, struct job *j);
void sched_mark_unfit(struct scheduler *s, struct shape *sh, bool over_quota);
bool sched_before(const struct job *a, const struct job *b); /* order of the queue */
void sched_open(struct scheduler *s, struct shape *sh);      /* an unfit one, again */
/* Something became free on n: shapes that fit it now are open again. */
void sched_reopen(struct scheduler *s, const struct node *n);
void sched_shape_free(void *arg);               /* struct shape */
struct job *sched_head(const struct shape *sh); /* NULL: none */

/* scheduler.c */
uint64_t sched_gpu_bits(const struct node *n, const struct job *j);

#endif
