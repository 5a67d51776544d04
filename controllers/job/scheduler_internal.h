/* SPDX-License-Identifier: Apache-2.0 */
/* Structures of the scheduler's loop, for its own files. Owner's thread only. */
#ifndef CONTROLLERS_JOB_SCHEDULER_INTERNAL_H
#define CONTROLLERS_JOB_SCHEDULER_INTERNAL_H

#include <sys/queue.h>

#include "base/map.h"
#include "base/vec.h"
#include "control/manager.h"
#include "controllers/job/scheduler_placement.h"

enum { BINDS_MAX = 64, REASONS_MAX = 32, RETRY_MS = 1000, RETRY_HOPELESS_MS = 30000 };

enum write_kind { WRITE_BIND, WRITE_REASON, WRITE_STOP };

struct scheduler_loop;

/* One patch of a Job, from its decision until the cache shows what came of it. */
struct write {
    TAILQ_ENTRY(write) link;
    struct scheduler_loop *l;
    enum write_kind kind;
    char *uid, *ns, *name;
    char *instance;    /* BIND */
    const char *state; /* STOP: desiredState; static */
    const char *why;   /* STOP: stopReason; static */
    json_t *body;
    uint64_t revision; /* that the patch names */
    bool in_flight;
    bool uncertain;      /* an answer was lost: it may have been carried out */
    bool refused;        /* the last answer says that it was not */
    bool conflict;       /* answered so; an event with a later revision decides */
    bool seen, gone;     /* the cache showed the bind / the deletion before the answer */
    int64_t retry_at_ms; /* 0: no */
};
TAILQ_HEAD(write_list, write);

enum gang_state {
    GANG_DECIDED,  /* the placement is to be written */
    GANG_PLACED,   /* it is in the store; binds are under way */
    GANG_BREAKING, /* to be revoked, once every bind has a definite answer */
    GANG_BROKEN,   /* revoked; its jobs are to end if one of them is bound */
    GANG_STATES
};
/* A gang from its decision until all are bound. Others have none. */
struct gang_work {
    TAILQ_ENTRY(gang_work) link;
    struct scheduler_loop *l;
    char *key; /* as scheduler_gang_key */
    char *run_uid;
    enum gang_state state;
    struct placement p;
    const char *why; /* it is to be revoked; static */
    bool dirty;      /* something happened since it was looked at */
    bool starved;    /* there were enough binds under way */
    bool writing, dropped;
    bool conflict;
    uint64_t wrote_on;   /* revision of the Run that the write named */
    int64_t retry_at_ms; /* 0: no */
};
TAILQ_HEAD(gang_list, gang_work);

struct scheduler_loop {
    struct manager *m;
    struct manager_part_ref *part;
    struct scheduler *s;
    const struct informer *jobs, *runs, *instances, *quotas, *states;
    struct map *binds; /* job uid -> struct write */
    struct map *stops; /* likewise */
    struct write_list writes;
    size_t n_binds, n_reasons; /* in flight */
    struct map *gangs;         /* key -> struct gang_work */
    struct gang_list gang_list;
    struct map *dirty_runs; /* uid -> any: their placement is to be looked at */
    bool quotas_changed, queue_changed; /* since they were reported */
    int64_t report_at_ms;               /* not before */
    struct map *reports;                /* "resource/ns/name" -> struct report */
};

/* scheduler_loop.c */
void scheduler_loop_tell(struct scheduler_loop *l, const struct object *o);
/* What the cache knows now, after a write came to nothing. */
void scheduler_loop_tell_cached(struct scheduler_loop *l, const char *uid);

/* scheduler_write.c */
struct bind_target {
    const char *instance_uid, *instance_name;
    unsigned engine;
    const struct reservation *reserve;
    const char *const *gpus;
    size_t n_gpus;
};
void scheduler_bind(struct scheduler_loop *l, const struct object *job,
                    const struct bind_target *t);
void scheduler_write_reason(struct scheduler_loop *l, const struct sched_reason *r);
/* Tells a live Job desiredState, until that is so or somebody else ended it. */
void scheduler_stop_job(struct scheduler_loop *l, const struct object *job,
                        const char *state, const char *why);
/* An event of a job with writes under way. False: the event is to be told as usual. */
bool scheduler_write_event(struct scheduler_loop *l, const struct object *job);
void scheduler_write_gone(struct scheduler_loop *l, const char *uid);
/* Forgets a bind that was refused for good; false: it may still come about. */
bool scheduler_bind_forget(struct scheduler_loop *l, const char *uid);
/* Writes whose time has come again. Returns when the next one is due; -1: none. */
int64_t scheduler_retry_writes(struct scheduler_loop *l, int64_t now);
void scheduler_writes_free(struct scheduler_loop *l);
/* When to try again after this failure. */
int64_t scheduler_retry_at(struct scheduler_loop *l, const struct error *e);

/* scheduler_report.c */
struct map *scheduler_reports_new(void);
void scheduler_quota_set(struct scheduler_loop *l, const struct object *o);
/* Returns when something is due; -1: nothing. */
int64_t scheduler_reports_step(struct scheduler_loop *l, int64_t now);

/* scheduler_gang.c */
#define INDEX_JOBS_BY_GANG "gang"
bool scheduler_gang_index(const struct object *o, struct str *key);
/* A decision for a member; the last one of the gang sets the work off. */
void scheduler_gang_decided(struct scheduler_loop *l, const struct object *job,
                            const struct sched_decision *d);
/* False: the job is of no gang that is being worked on. */
bool scheduler_gang_event(struct scheduler_loop *l, const struct object *job);
void scheduler_gang_job_gone(struct scheduler_loop *l, const struct object *last);
void scheduler_gang_instance_gone(struct scheduler_loop *l, const char *uid);
void scheduler_gang_run_gone(struct scheduler_loop *l, const char *run_uid);
/* Everything that can be done now; returns when something is due; -1: nothing. */
int64_t scheduler_gangs_step(struct scheduler_loop *l, int64_t now);
void scheduler_gangs_free(struct scheduler_loop *l);
/* All live jobs of the gang of this one, or itself when it is alone. */
void scheduler_stop_gang(struct scheduler_loop *l, const struct object *job,
                         const char *state, const char *why);

#endif
