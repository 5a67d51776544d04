/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of the simulated world around the real ones: disk, network, watches,
 * machines, agents and users. Used through sim.h.
 */
#ifndef TESTS_SIM_SIM_PARTS_H
#define TESTS_SIM_SIM_PARTS_H

#include "api/resources.h"
#include "apiserver/local_client.h"
#include "control/informer.h"

#define SIM_NS "default"
#define RES_JOBS "jobs.drover.dev"
#define RES_RUNS "runs.drover.dev"
#define RES_INSTANCES "instances.drover.dev"
#define RES_LEASES "leases.coordination.k8s.io"

/* Machines of a world, those that were taken away included. */
enum { SIM_AGENTS_MAX = 12, SIM_TRACE = 50, SIM_TRACE_LEN = 200, SIM_UID = 40 };

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
    unsigned node, nodes; /* its rank, and how many there are */
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
/* As a cloud takes a spot machine back: its Instance is drained now, the machine gone in
 * a while, the Instance deleted, and another machine joins later. */
void sim_agent_reclaim(struct sim_agent *a, int64_t notice_ms);
void sim_agent_reclaim_now(struct sim_agent *a); /* if it was told; no other joins */
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
void sim_user_quota(struct sim *s);
void sim_user_delete_all(struct sim *s);

/* A reference to some object of the resource, or NULL. */
struct object *sim_pick(struct sim *s, const char *resource);
struct object *sim_shadow(const struct sim *s, const char *resource, const char *name);

/* No machine of this world could ever take it. */
bool sim_too_big(const struct sim *s, const struct object *run);

#endif
