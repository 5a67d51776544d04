/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of the process engine; not for others. All on the loop's thread. */
#ifndef PROCESS_INTERNAL_H
#define PROCESS_INTERNAL_H

#include <stdbool.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "io/loop.h"
#include "runner/engines/engine.h"
#include "runner/supervisor/cgroup.h"
#include "runner/supervisor/record.h"

/* Everything below belongs to one struct engine. */
struct process_job {
    struct engine *en;
    struct engine_job *job;   /* NULL: nobody's (sweep) */
    char *uid, *dir;          /* own copies: a sweep has no job */
    struct loop_watch *watch; /* of <dir>/sup */
    struct loop_timer *kick;  /* look again, from the loop */

    struct loop_child *spawned; /* the short-lived first supervisor process */
    int spawn_stderr;           /* what it had to say */

    int supervisor_fd; /* pidfds */
    struct loop_io *supervisor_io;
    bool supervisor_gone;
    int init_fd;
    struct loop_io *init_io;
    bool init_gone;

    bool adopting; /* a job without claim is answered "never started" */
    bool started_told, exit_told;
    bool removing, launch_failed, stop_wanted; /* for the next kick */
    int stop_grace_ms;
    char failure[400];
    LIST_ENTRY(process_job) link;
};

struct process_probe;
struct process_removal;

struct engine {
    struct loop *loop;
    struct loop_pool *pool; /* made at the first removal */
    char *agent_dir, *agent_id, *supervisor;
    int64_t spool_bytes;
    char **masks; /* host_dir_mask of the configuration */
    size_t n_masks;
    bool have_cgroups;
    struct cgroup_host cgroups;
    LIST_HEAD(, process_job) jobs;
    LIST_HEAD(, process_removal) removals;
    LIST_HEAD(, process_probe) probes;
};

struct process_job *process_job_get(struct engine *en, struct engine_job *j);
/* For a directory that no agent's job stands for. */
struct process_job *process_job_orphan(struct engine *en, const char *uid);
/* Kills its supervisor if there is one, then removes everything. */
void process_job_orphan_end(struct process_job *p);
void process_job_free(struct process_job *p);

/* process_probe.c */
void process_probe(struct engine *en,
                   void (*done)(void *arg, const struct engine_status *s), void *arg);
void process_probes_cancel(struct engine *en);

/* The job's cgroups by name, existing or not; false: it has none. */
bool process_cgroup(const struct process_job *p, struct cgroup *ret);

/* Soon, from the loop. */
void process_remove(struct process_job *p);

/* process_remove.c. The first consumes p. */
void process_remove_now(struct process_job *p);
void process_sweep(struct engine *en, const char *const *known_uids);
void process_removals_detach(struct engine *en);

#endif
