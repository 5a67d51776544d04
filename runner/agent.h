/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of the agent, shared by its own files only. One loop thread; nothing here is
 * thread-safe.
 *
 *   main.c      flags               agent.c    start and stop, engines, the set of jobs
 *   enrol.c     token, renewal      watch.c    list and watch of the Jobs bound here
 *   machine.c   inventory, kept true
 *   usage.c     how busy the GPUs of jobs are
 *   lease.c     heartbeat, dead man status.c   Instance.status.agent
 *   job.c       one job: carries out job_plan.c   job_report.c  its status.agent
 *   job_place.c    files and repos, by a child (place/)
 *   roots_keep.c   root file systems that no job uses any more
 *   job_secrets.c  envFrom          ship.c     its log to drover-streams
 *   journal.c, identity.c, server.c            what lasts, and whom we talk to
 */
#ifndef RUNNER_AGENT_H
#define RUNNER_AGENT_H

#include "base/map.h"
#include "runner/diskroom.h"
#include "runner/engines/engine.h"
#include "runner/identity.h"
#include "runner/inventory.h"
#include "runner/job_view.h"
#include "runner/journal.h"
#include "runner/server.h"

#define LABEL_INSTANCE "drover.dev/instance"
#define AGENT_ENGINES 2
#define AGENT_MASKS 8

struct agent_opts { /* borrowed for the agent's life */
    const char *url, *token, *token_file, *ca_hash, *ca_file;
    const char *dir, *name; /* name NULL: host name */
    const char *fake_gpus, *docker_socket;
    const char *job_env; /* file with variables of every job here, a JSON object */
    const char *masks[AGENT_MASKS]; /* directories no job may see, besides dir */
    size_t n_masks;
    int64_t min_free_mib;   /* of the disk, below which no job is taken; -1: default */
    int64_t spool_bytes;    /* of a job's log on this machine; 0: default */
    const char *program;    /* path by which children of this program are started */
    const char *supervisor; /* the same for supervisors; NULL: program */
    /* AGENT_ENGINES tables instead of our own, for tests; NULL: our own. */
    const struct engine_ops *const *engines;
};

struct agent;
struct agent_engine {
    struct agent *a;
    const struct engine_ops *ops;
    struct engine *en; /* NULL: could not be opened; status says why */
    struct engine_status status;
    bool probed;
    bool down, missing;      /* not available; for so long that no job waits for it */
    struct loop_timer *wait; /* from down to missing */
};

struct enrol;
struct machine;
struct diskroom;
struct roots_keep;
struct usage;
struct lease;
struct watch;
struct status;
struct streams;
struct diag;

struct agent {
    struct loop *loop;
    struct http_multi *http;
    struct server *server;
    struct loop_pool *pool; /* blocking probes */
    struct trash *trash;
    struct events *events;
    const struct agent_opts *opts;
    struct identity identity; /* uid NULL until enrolled */
    json_t *job_env;          /* opts->job_env as read; NULL: none */
    struct journal *journal;
    char agent_id[65], boot_id[64];
    int lock_fd;
    struct agent_engine engines[AGENT_ENGINES];
    const char *masks[AGENT_MASKS + 2];
    struct machine *machine;
    struct diskroom *room;
    struct roots_keep *roots;
    struct usage *usage;
    struct inventory *inventory; /* NULL until probed; replaced when it changes */
    struct map *jobs;            /* uid -> struct job */
    struct map *over; /* uids of jobs that are done with, still at the server */
    bool listed;      /* all jobs bound here were seen once */
    bool dead_man;    /* interruptible jobs must stop, and none may start */
    bool healed;      /* the lease is renewed again; the next whole list ends dead_man */
    struct enrol *enrol;
    struct lease *lease;
    struct watch *watch;
    struct status *status;
    struct streams *streams;
    struct diag *diag;
};

int agent_start(struct loop *l, const struct agent_opts *o, struct agent **ret,
                struct error *e) WARN_UNUSED;
/* Jobs go on running. */
void agent_stop(struct agent *a);
struct agent_engine *agent_engine_by_name(struct agent *a, const char *name);
/* Also for taking an agent apart that never ran (uninstall.c): needs loop and opts. */
void agent_engines_open(struct agent *a);
void agent_engines_close(struct agent *a);
/* The inventory is another one. */
void agent_look_at_devices(struct agent *a);
/* Something that all jobs look at has changed. */
void agent_step_all(struct agent *a);
/* The server answers again: what waits for it goes now. */
void agent_kick_all(struct agent *a);

/* --- enrol.c: from nothing to an identity whose token is good --------------------------
 */
/* ready() once, when there is an identity (at once after a restart). */
struct enrol *enrol_start(struct agent *a, void (*ready)(struct agent *a));
void enrol_free(struct enrol *en);

/* --- watch.c ---------------------------------------------------------------------------
 */
struct watch *watch_start(struct agent *a);
/* Lists anew from now on, whatever is under way. NULL ok. */
void watch_relist(struct watch *w);
void watch_free(struct watch *w);

/* --- machine.c -------------------------------------------------------------------------
 */
struct machine *machine_start(struct agent *a); /* fills a->inventory, keeps it true */
void machine_stop(struct machine *m);           /* before a->pool is freed; NULL ok */
void machine_free(struct machine *m);           /* after it; NULL ok */

/* --- usage.c ---------------------------------------------------------------------------
 */
struct usage *usage_start(struct agent *a);
void usage_stop(struct usage *u); /* before a->pool is freed; NULL ok */
void usage_free(struct usage *u); /* after it; NULL ok */
struct job;
/* The job has started, or what is known of it is new: its GPUs may be to be watched. */
void usage_look(struct usage *u, struct job *j);

/* --- lease.c ---------------------------------------------------------------------------
 */
struct lease *lease_start(struct agent *a);
void lease_free(struct lease *l);

/* --- status.c --------------------------------------------------------------------------
 */
struct status *status_start(struct agent *a);
void status_changed(struct status *s); /* NULL ok */
void status_free(struct status *s);

/* --- ship.c ----------------------------------------------------------------------------
 */
struct streams *streams_new(struct agent *a);
void streams_free(struct streams *s);
/* Where drover-streams is, borrowed; NULL (and asked for) while that is not known: the
 * API server passes its requests on. */
const char *streams_url(struct streams *s);
struct shipper;
struct shipped_log { /* all borrowed for the call */
    const char *dir;
    const char *kind; /* NULL: the job's output; "diagnostics" */
    const char *ns, *name, *uid;
};
/* acked() is called when more is acknowledged, or when nothing more can be (gone). */
struct shipper *shipper_start(struct streams *s, const struct shipped_log *what,
                              void (*acked)(void *arg), void *arg);
/* Output per clock hour, counted as it is stored; past it acked() is called and
 * shipper_over_quota stays true. 0: no limit. Kept over restarts, beside the log. */
void shipper_set_quota(struct shipper *s, int64_t bytes);
bool shipper_over_quota(const struct shipper *s);
uint64_t shipper_acked(const struct shipper *s);
bool shipper_gone(const struct shipper *s); /* the server has no such job */
void shipper_kick(struct shipper *s);       /* do not wait for the back-off */
/* The last bytes of output as UTF-8 text, at most max. */
void shipper_tail(const struct shipper *s, uint64_t length, size_t max, struct str *out);
void shipper_free(struct shipper *s);

/* --- diag.c ----------------------------------------------------------------------------
 */
struct diag *diag_start(struct agent *a);
void diag_free(struct diag *dg); /* NULL ok */

#endif
