/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by sim_agent.c (life, lease, inventory) and sim_agent_job.c (one job). */
#ifndef TESTS_SIM_SIM_AGENT_INTERNAL_H
#define TESTS_SIM_SIM_AGENT_INTERNAL_H

#include "base/id.h"
#include "runner/job_plan.h"
#include "sim/sim.h"

enum { GPUS_MAX = 4, GPU_UUID = 32, LOST_AFTER_MS = 120000, REPORT_RETRY_MS = 250 };

/* A line of the journal: survives the agent. */
struct sim_entry {
    char uid[SIM_UID], run_uid[SIM_UID], name[128];
    unsigned node, nodes;
    int64_t cpu_milli, memory_mib, stop_s;
    char gpus[GPUS_MAX][GPU_UUID];
    size_t n_gpus;
    bool interruptible, hold;
};

struct sim_report {
    const char *state; /* static; NULL: it ended in an earlier life */
    char reason[64];
    int64_t since_ns, started_ns, finished_ns;
    bool has_exit, released;
    int code, signal;
    unsigned seq, acked, end_seq, freed_seq;
    int64_t retry_ms;
};

enum sim_stage { STAGE_PULL, STAGE_CREATE, STAGE_START, STAGE_RUN, STAGE_ADOPT };

/* A job as this life of the agent knows it. */
struct sim_job {
    struct sim_agent *a;
    char uid[SIM_UID], name[128];
    struct object *o; /* NULL: not seen in this life */
    bool absent, stub;
    enum job_engine engine;
    enum sim_stage stage;
    enum job_desired stop_sent;
    bool silenced; /* stopped by the dead-man switch */
    struct sim_report report;
};

struct sim_agent {
    struct sim *s;
    unsigned index;
    char name[32], uid[SIM_UID]; /* of the Instance; uid "": not enrolled */
    struct sim_link link;
    struct client *client;

    /* the machine */
    int64_t cpus, memory_mib;
    unsigned n_gpus;
    bool docker;

    /* durable */
    char journal_id[ID_UUID_LEN];
    struct map *journal;   /* uid -> struct sim_entry */
    int64_t acked_sent_ms; /* send time of the last acknowledged renewal */

    int64_t reclaim_ms; /* when the machine is taken away; 0: it is not */
    bool gone;          /* it was */
    bool forgotten;     /* its Instance was deleted */

    /* this life */
    bool alive;
    int64_t restart_ms;
    struct informer *inf;
    struct sim_reader *reader;
    struct map *jobs; /* uid -> struct sim_job */
    bool synced, said_inventory;
    int64_t renew_ms;
};

static inline bool
sim_agent_dead_man(const struct sim_agent *a)
{
    return a->s->opts.mutation != SIM_NO_DEADMAN &&
           sim_now_ms() - a->acked_sent_ms > LOST_AFTER_MS;
}

struct sim_job *sim_job_new(struct sim_agent *a, const char *uid, const char *name);
void sim_job_free(void *job);
void sim_job_take(struct sim_job *j, const struct object *o);
/* One action or request. False: nothing to do now. */
bool sim_job_step(struct sim_job *j);
/* Only what the dead-man switch asks for. */
void sim_job_urgent(struct sim_job *j);

#endif
