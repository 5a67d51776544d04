/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One job of the docker engine: its steps, what is known of its container, and the parts
 * that look after it. Inside of the engine only, on its loop.
 */
#ifndef DOCKER_JOB_H
#define DOCKER_JOB_H

#include "runner/engines/docker/docker.h"

/* --- job -----------------------------------------------------------------------------
 */
enum docker_step {
    DOCKER_QUEUED,   /* waits for a slot, then creates */
    DOCKER_LOOKING,  /* is the image one that a registry can refresh? */
    DOCKER_CREATING, /* create request in flight */
    DOCKER_PULLING,
    DOCKER_STARTING,   /* start request in flight */
    DOCKER_REDOING,    /* refused at the start: removed to be created otherwise */
    DOCKER_INSPECTING, /* adopting, or finding out after a broken call */
    DOCKER_SETTLING,   /* an earlier request may still be in the daemon */
    DOCKER_RUNNING,    /* wait request in flight */
    DOCKER_ENDING,     /* ended; exit facts and the rest of the log are fetched */
    DOCKER_AWAY,       /* the daemon does not answer; `back` says what to do then */
    DOCKER_ENDED,      /* on_exit was told */
    DOCKER_REMOVING,
};

struct docker_job {
    struct engine *en;
    struct engine_job *j;
    TAILQ_ENTRY(docker_job) link, wait_link;
    enum docker_step step;
    void (*back)(struct docker_job *dj);
    struct docker_call *call; /* of the step */
    struct docker_call *wait_call, *inspect_call, *kill_call;
    struct loop_timer *timer; /* of the step: stall, settle, patience */
    struct loop_timer *kill_timer;
    struct docker_image image;
    struct docker_fetch *fetch; /* the pull it waits for, maybe with others */
    TAILQ_ENTRY(docker_job) fetch_link;
    bool no_display, no_memlock; /* see struct docker_spec_env */
    struct docker_log *log;
    bool slot_held, slot_waiting, pulled;
    bool stop_wanted, kill_now, term_sent;
    bool started_told, facts_known, log_complete, log_late;
    bool log_owed;        /* the exit was told before the log was whole */
    bool conflict;        /* the name is taken; by what is being looked at */
    unsigned n_conflicts; /* by something that is not there */
    int64_t kill_at_ms;
    unsigned n_kills;
    bool lost; /* the daemon went while it ran */
    struct docker_facts facts;
    struct docker_witness *witness; /* the question under way, or NULL */
    bool seen_known;                /* of an end: it was answered */
    const char *fell;               /* why the end is not the job's own, or NULL */
    struct docker_memory *memory;   /* NULL: not known */
};
void docker_job_launch(struct engine *en, struct engine_job *j);
void docker_job_adopt(struct engine *en, struct engine_job *j);
void docker_job_stop(struct engine *en, struct engine_job *j, int64_t grace_ms);
void docker_job_remove(struct engine *en, struct engine_job *j);
void docker_job_slot_granted(struct docker_job *dj);
/* The daemon answers again. */
void docker_job_engine_back(struct docker_job *dj);
void docker_job_free(struct docker_job *dj);
/* From docker_pull.c: fetches the image, then goes on with the creation or fails. One
 * pull serves all jobs that want the same with the same credentials. */
void docker_job_pull(struct docker_job *dj);
void docker_job_pull_leave(struct docker_job *dj); /* the last one out ends the pull */
void docker_fetches_free(struct engine *en);
void docker_job_create(struct docker_job *dj);
void docker_job_fail(struct docker_job *dj, enum engine_reason reason,
                     const char *message);
void docker_job_away(struct docker_job *dj, void (*back)(struct docker_job *dj),
                     int64_t patience_ms);

/* Within the engine. */
struct docker_job *docker_job_new(struct engine *en, struct engine_job *j);
/* A request on the job's container: "/start". The slot's earlier one is cancelled. */
void docker_job_request(struct docker_job *dj, struct docker_call **slot,
                        const char *method, const char *action, docker_reply_fn *fn);
/* Reads the facts of an inspect reply; false when it was dealt with otherwise. */
bool docker_job_facts(struct docker_job *dj, const struct docker_reply *r);
void docker_job_inspect(struct docker_job *dj); /* and goes on by what is found */
void docker_job_running(struct docker_job *dj);
void docker_job_ending(struct docker_job *dj);
void docker_job_log_late(struct docker_job *dj); /* it is not waited for any longer */
void docker_job_tell_started(struct docker_job *dj);
void docker_job_tell_exit(struct docker_job *dj, const struct engine_result *r);

/* --- memory --------------------------------------------------------------------------
 */
struct docker_memory;
struct docker_memory_end { /* all 0 when not known */
    int64_t peak, kills;   /* bytes; processes that the kernel killed */
    bool own_limit;        /* it was the container's limit that they met */
    char cgroup[200];
};
/* NULL when that cannot be seen from here. */
struct docker_memory *docker_memory_watch(struct loop *l, int64_t init_pid);
void docker_memory_free(struct docker_memory *m); /* NULL ok */
const struct docker_memory_end *docker_memory_end(const struct docker_memory *m);
/* Fills in the peak, and of an end for lack of memory whose it was and how much. */
void docker_memory_tell(const struct docker_memory_end *m, int64_t limit_mib,
                        struct engine_result *r);

/* --- witness -------------------------------------------------------------------------
 */
struct docker_seen { /* events of the container in this daemon's own life */
    bool reached;
    bool whole; /* all of its life is known, not only the end of it */
    bool created, started, died;
};
/* When the daemon was started, wall clock; 0: cannot be seen from here. */
int64_t docker_daemon_since(const struct engine *en);
/* Needs facts.id. done comes once unless the witness is freed before. */
void docker_witness_ask(struct docker_job *dj,
                        void (*done)(struct docker_job *dj, const struct docker_seen *s));
void docker_witness_free(struct docker_job *dj); /* none is fine */
/* Kills the processes of a container that the daemon does not know to run, and its shim,
 * so that containerd forgets it too. True when the job's program certainly never ran: the
 * runtime's process still waited for the word. */
bool docker_stray_kill(const char *container_id);

#endif
