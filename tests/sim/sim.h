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

#define SIM_NS "default"
#define RES_JOBS "jobs.drover.dev"
#define RES_RUNS "runs.drover.dev"
#define RES_INSTANCES "instances.drover.dev"
#define RES_LEASES "leases.coordination.k8s.io"

enum { SIM_AGENTS_MAX = 6, SIM_TRACE = 50, SIM_TRACE_LEN = 200, SIM_UID = 40 };

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
    SIM_MUTATIONS
};

struct sim_opts {
    uint64_t seed;
    unsigned steps;
    bool verbose;
    enum sim_mutation mutation;
};

/* --- disk (sim_disk.c): file operations that fail and forget --------------------------
 */
struct sim_disk {
    bool dead;        /* the process is gone: nothing is written any more */
    unsigned torn_in; /* the n-th write from now is cut in half and then dead; 0: no */
    unsigned sync_dies_in; /* the n-th fdatasync from now is never reached */
    unsigned full;         /* so many writes say ENOSPC */
    bool lying;
    struct {
        int fd;
        uint64_t inode;
        int64_t off;
        size_t len;
    } unsynced[32];
    size_t n_unsynced;
    unsigned n_torn, n_full, n_lost;
};
void sim_disk_ops(struct sim_disk *d, struct store_fs_ops *ret);
/* The power fails: what was not synced is not there any more. */
void sim_disk_power_off(struct sim_disk *d);

/* --- network (sim_net.c) --------------------------------------------------------------
 */
struct sim;
struct sim_link {
    struct sim *s;
    char name[24];
    struct api_user *user;
    bool cut;
    int64_t cut_until_ms;
    unsigned lose_permille; /* requests, and as many answers */
    bool controllers;       /* requests of the controllers: binds are looked at */
    uint64_t writes;        /* acknowledged, Leases and Events not counted */
};
void sim_link_init(struct sim *s, struct sim_link *l, const char *name);
void sim_link_done(struct sim_link *l);
struct client *sim_client_new(struct sim_link *l); /* caller frees */

/* --- watches (sim_watch.c) ------------------------------------------------------------
 */
struct sim_reader {
    struct sim_link *link;
    struct informer *inf;
    char *query; /* "labelSelector=...", or "" */
    struct local_watch *watch;
    bool listed;
    uint64_t from;
};
struct sim_reader *sim_reader_new(struct sim_link *l, struct informer *inf,
                                  const char *query);
void sim_reader_free(struct sim_reader *r);
/* One list, one open, or a few events. False: nothing to do now. */
bool sim_reader_step(struct sim_reader *r);
void sim_reader_cut(struct sim_reader *r);    /* resumes from its revision */
void sim_reader_expire(struct sim_reader *r); /* as if told 410: lists again */
struct watch_source sim_source(struct sim *s);

/* --- machines and agents (sim_machine.c, sim_agent.c) ---------------------------------
 */
enum sim_proc_state { PROC_CREATED, PROC_RUNNING, PROC_EXITED };
/* What a container or process leaves behind; never freed before the end of the world, so
 * that starts are counted whatever is lost. */
struct sim_proc {
    char uid[SIM_UID], run_uid[SIM_UID];
    unsigned machine;
    enum sim_proc_state state;
    bool removed, rebooted;
    unsigned starts;
    int64_t started_ns, finished_ns;
    int64_t exit_at_ms; /* RUNNING: when it ends by itself */
    int64_t term_ms;    /* how long it takes to obey SIGTERM */
    int64_t kill_at_ms; /* 0: no stop was asked */
    int code, signal;
};
void sim_machine_start(struct sim *s, struct sim_proc *p);
void sim_machine_kill(struct sim *s, struct sim_proc *p, int64_t grace_ms);
/* Processes that are due end. */
void sim_machines_tick(struct sim *s);
struct sim_proc *sim_proc_find(const struct sim *s, const char *uid);

struct sim_agent;
struct sim_agent *sim_agent_new(struct sim *s, unsigned index);
void sim_agent_free(struct sim_agent *a);
bool sim_agent_step(struct sim_agent *a);
/* What does not wait for its turn: restart, dead-man switch. */
void sim_agent_tick(struct sim_agent *a);
void sim_agent_crash(struct sim_agent *a, bool lose_journal);
void sim_agent_reboot(struct sim_agent *a);
int64_t sim_agent_due(const struct sim_agent *a);
struct sim_link *sim_agent_link(struct sim_agent *a);
const char *sim_agent_instance(const struct sim_agent *a); /* uid */
/* Its journal has resources of the job and it has not said that they are free. */
bool sim_agent_holds(const struct sim_agent *a, const char *job_uid);
size_t sim_agent_entries(const struct sim_agent *a);
void sim_agent_hurry(struct sim_agent *a); /* back at once */
void sim_agent_shrink(struct sim_agent *a);
/* When nothing else runs there. */
bool sim_agent_could_take(const struct sim_agent *a, const struct resource_req *req,
                          bool image);

/* --- users (sim_user.c) ---------------------------------------------------------------
 */
void sim_user_step(struct sim *s);
void sim_user_touch(struct sim *s); /* a foreign writer */
void sim_user_submit_interruptible(struct sim *s);
void sim_user_calm(struct sim *s); /* uncordons */
void sim_user_delete_all(struct sim *s);

/* A reference to some object of the resource, or NULL. */
struct object *sim_pick(struct sim *s, const char *resource);
struct object *sim_shadow(const struct sim *s, const char *resource, const char *name);

/* No machine of this world could ever take it. */
bool sim_too_big(const struct sim *s, const struct object *run);

/* --- what must hold (sim_monitor.c, sim_check.c) --------------------------------------
 */
void sim_monitor_attach(struct sim *s); /* after a start of the server */
void sim_monitor_drain(struct sim *s);
void sim_monitor_ack(struct sim *s, const char *method, const struct object *o);
void sim_check_step(struct sim *s);
void sim_check_start(struct sim *s, const struct sim_proc *p);
void sim_check_new_job(struct sim *s, const struct object *job);
void sim_check_job_gone(struct sim *s, const struct object *job);
void sim_check_run_gone(struct sim *s, const struct object *run);
void sim_check_caches(struct sim *s);
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

    struct store_watch *monitor;
    struct map *shadow; /* "resource/ns/name" -> struct object */
    struct map *gone;   /* uids that were deleted */
    uint64_t last_revision;
    bool jobs_changed;
    uint64_t n_events;
    struct sim_queue *queue; /* sim_bind.c */

    unsigned n_crashes, n_restarts, n_agent_crashes, n_reboots, n_binds, n_done,
        n_lost_answers, n_expired, n_replaced, n_agent_lost;
};

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
/* From here on nothing fails; runs until nothing changes, then checks liveness. */
void sim_quiesce(struct sim *s);

#endif
