/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Seeded simulation of the whole control plane in one process and one thread, on a fake
 * clock: the real store on real files, the real registry, the real controllers and
 * scheduler by a stepped manager; simulated agents that decide by the runner's own plan
 * (runner/job_plan.h), simulated machines and users; faults in between. One thing happens
 * per step, chosen by the seed; invariants are checked after each (sim_monitor.c for what
 * changed, sim_check.c for what is). Same seed, same run.
 *
 * The parts see each other only as they do in production: controllers and agents reach
 * the registry through a sim_link, which loses requests and answers; watches are read by
 * a sim_reader, which may be late, cut, or told 410.
 */
#ifndef TESTS_SIM_SIM_H
#define TESTS_SIM_SIM_H

#include "api/resources.h"
#include "apiserver/local_client.h"
#include "base/map.h"
#include "base/vec.h"
#include "control/manager.h"
#include "controllers/controllers.h"
#include "sim/sim_parts.h"

/* What makes an invariant fail on purpose, to show that it can. */
enum sim_mutation {
    SIM_NO_MUTATION,
    SIM_START_TWICE,     /* an agent that adopts by starting again */
    SIM_NO_DEADMAN,      /* an agent that ignores its dead-man switch */
    SIM_DEADMAN_FORGETS, /* ... that counts anew after a restart */
    SIM_IGNORE_CLAIM,    /* an agent that takes jobs another journal has claimed */
    SIM_LYING_DISK,      /* fdatasync does nothing and the power fails */
    SIM_OVERCOMMIT,      /* an agent's inventory shrinks behind the scheduler */
    SIM_FORGET_RELEASE,  /* an agent that never says what it has freed */
    SIM_PRIORITY,        /* the check of the queue reads priorities upside down */
    SIM_EARLY_START,     /* an agent that starts what is not released yet */
    SIM_QUOTA,           /* the quota that is checked is smaller than what is declared */
    SIM_HALF_GONE,       /* a machine that is called gone, and its processes go on */
    SIM_MUTATIONS
};

struct sim_opts {
    uint64_t seed;
    unsigned steps;
    bool verbose;
    enum sim_mutation mutation;
};

/* --- what must hold (sim_monitor.c, sim_check.c) --------------------------------------
 */
void sim_monitor_attach(struct sim *s); /* after a start of the server */
void sim_monitor_drain(struct sim *s);
void sim_monitor_ack(struct sim *s, const char *method, const struct object *o);
void sim_check_step(struct sim *s);
void sim_check_start(struct sim *s, const struct sim_proc *p);
void sim_check_new_job(struct sim *s, const struct object *job);
void sim_check_bound(struct sim *s, const struct object *job);
void sim_check_job_gone(struct sim *s, const struct object *job);
void sim_check_run_gone(struct sim *s, const struct object *run);
void sim_check_caches(struct sim *s);
bool sim_job_occupies(const struct object *job); /* something of its instance */
void sim_check_end(struct sim *s);
/* sim_bind.c: a decision of the scheduler as its request passes. */
void sim_check_bind(struct sim *s, const char *name, const json_t *patch);
void sim_check_snapshot(struct sim *s); /* the queue, right after decisions were made */
void sim_violate(struct sim *s, const char *invariant, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

struct sim_queue *sim_queue_new(void);
void sim_queue_free(struct sim_queue *q);

/* --- the world (sim_world.c) ----------------------------------------------------------
 */
struct sim {
    struct sim_opts opts;
    uint64_t random;
    unsigned step;
    unsigned faults; /* bit set of enum sim_fault: what this seed may do */
    bool patient;    /* jobs run for long and time passes quickly */
    bool calm;       /* no faults any more */
    char *root, *dir;

    bool failed;
    char invariant[64], detail[600];
    char trace[SIM_TRACE][SIM_TRACE_LEN];
    size_t n_trace;
    uint64_t digest; /* of all trace lines */

    struct sim_disk disk;
    struct store_fs_ops fs;
    struct loop *loop;
    struct kinds *kinds; /* borrowed: compiled once for all seeds */
    struct store *store;
    struct api_server *server;
    bool up, fatal, in_doubt; /* in_doubt: a write was under way when it died */
    int64_t up_again_ms;
    size_t ring;
    uint64_t snapshot_after;

    struct manager *m; /* NULL: not running */
    struct controller_set *set;
    struct client *control_client;
    struct async_client *async;
    struct sim_link control, user;
    struct client *user_client;
    vec(struct sim_reader *) readers; /* all that are open */
    vec(struct sim_reader *) control_readers;
    int64_t controllers_again_ms;

    struct sim_agent *agents[SIM_AGENTS_MAX];
    unsigned n_agents;
    struct map *procs; /* job uid -> struct sim_proc */
    unsigned n_names;  /* of runs */
    unsigned n_submitted;
    struct map *bound; /* "run uid/attempt" -> how many of its jobs were ever bound */
    unsigned n_gangs, n_preempted; /* started whole; told to give way */
    unsigned quota_jobs;           /* jobs that may run at once; 0: any number */

    struct store_watch *monitor;
    struct map *shadow; /* "resource/ns/name" -> struct object */
    struct map *gone;   /* uids that were deleted */
    uint64_t last_revision;
    bool jobs_changed;
    uint64_t n_events;
    struct sim_queue *queue; /* sim_bind.c */

    unsigned n_crashes, n_restarts, n_agent_crashes, n_reboots, n_binds, n_done,
        n_lost_answers, n_expired, n_replaced, n_agent_lost, n_reclaimed;
};

enum { SIM_ALL_FAULTS = 4095 };
enum sim_fault {
    FAULT_SERVER = 1,
    FAULT_CONTROLLERS = 2,
    FAULT_WATCH = 4,
    FAULT_NET = 8,
    FAULT_PARTITION = 16,
    FAULT_TOUCH = 32,
    FAULT_FULL = 64,
    FAULT_AGENT = 128,
    FAULT_JOURNAL = 256,
    FAULT_REBOOT = 512,
    FAULT_CORDON = 1024,
    FAULT_RECLAIM = 2048,
};

uint32_t sim_below(struct sim *s, uint32_t n);
bool sim_permille(struct sim *s, unsigned p);
int64_t sim_now_ms(void);
void sim_log(struct sim *s, const char *fmt, ...) PRINTF_LIKE(2, 3);

int sim_new(const struct sim_opts *o, struct kinds *kinds, struct sim **ret);
void sim_free(struct sim *s);
void sim_server_start(struct sim *s);
/* Everything that is not durable is gone. power_off: what was not synced, too. */
void sim_server_crash(struct sim *s, bool power_off);
void sim_controllers_start(struct sim *s);
void sim_controllers_stop(struct sim *s);
/* Moves the clock; what cannot wait happens on the way. */
void sim_advance(struct sim *s, int64_t ms);

/* sim_step.c: the whole run of one seed; s->failed tells. */
void sim_run(struct sim *s);
void sim_partition_story(struct sim *s);
void sim_outage_story(struct sim *s);
void sim_reclaim_story(struct sim *s);
/* From here on nothing fails; runs until nothing changes, then checks liveness. */
void sim_quiesce(struct sim *s);

#endif
