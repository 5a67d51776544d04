/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cgroup of a job, on version 1 (one hierarchy per controller), version 2, or a mix:
 * <mount>/drover-<agent id>/<job uid> in every hierarchy that has a controller we use.
 * The names are all that is needed to find a job's cgroups again after any restart.
 *
 * Only the job's own processes are inside: neither its supervisor nor the init of its pid
 * namespace, so a memory limit can never kill the process that reports it.
 */
#ifndef SUPERVISOR_CGROUP_H
#define SUPERVISOR_CGROUP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

enum cgroup_ctl {
    CGROUP_CPU,
    CGROUP_MEMORY,
    CGROUP_PIDS,
    CGROUP_FREEZER,
    CGROUP_DEVICES,
    CGROUP_CPUACCT,
    CGROUP_N
};

#define CGROUP_PATH 384

/* Where the machine has its controllers. */
struct cgroup_host {
    char mount[CGROUP_N][256]; /* "" when absent */
    bool v2[CGROUP_N];
};
/* ERR_UNSUPPORTED naming the controller when cpu, memory or pids is missing. A caller
 * that is not root gets those controllers only, perhaps none, that its own cgroup was
 * given for cgroups below it; "mount" is that cgroup then. */
int cgroup_host_find(struct cgroup_host *ret, struct error *e) WARN_UNUSED;
/* The same from the text of a mountinfo file, which is cut up. */
int cgroup_host_parse(char *mountinfo, struct cgroup_host *ret,
                      struct error *e) WARN_UNUSED;

/* For an agent that is not root and whose cgroup on version 2 was handed to it (systemd's
 * Delegate=): moves the processes of that cgroup into one below it, and switches the
 * controllers on. Once, before cgroup_host_find(), which knows that place. Best effort.
 */
void cgroup_host_prepare(void);

/* Paths of one job's cgroups; plain data. */
struct cgroup {
    char dir[CGROUP_N][CGROUP_PATH]; /* distinct directories first... */
    size_t n;
    size_t of[CGROUP_N]; /* ...index into dir by controller; SIZE_MAX: none */
    bool v2[CGROUP_N];
    struct cgroup_host host;
    char parent[64]; /* "drover-<agent id>" */
};
/* Computes; touches nothing. */
int cgroup_paths(const struct cgroup_host *h, const char *agent_id, const char *uid,
                 struct cgroup *ret, struct error *e) WARN_UNUSED;

bool cgroup_has(const struct cgroup *c, enum cgroup_ctl ctl);
/* The paths of an agent that is not root depend on where it was started, so each job
 * keeps its own (<job dir>/sup/cgroup). */
int cgroup_save(const struct cgroup *c, const char *job_dir, struct error *e) WARN_UNUSED;
/* What was saved, for cgroup_signal, _wait and _remove only; false: nothing was. */
bool cgroup_load(const char *job_dir, struct cgroup *ret);

struct cgroup_limits {
    int64_t cpu_request_milli, cpu_limit_milli; /* 0: none */
    int64_t memory_limit_mib;                   /* 0: none; never any swap on top */
    int64_t pids_max;
    const dev_t *devices; /* character devices allowed beside the basic ones */
    size_t n_devices;
};
/* Existing directories are taken over. */
int cgroup_create(const struct cgroup *c, const struct cgroup_limits *l,
                  struct error *e) WARN_UNUSED;
/* Opens cgroup.procs of every directory, for a child that moves itself in by writing "0".
 * Returns the number of descriptors (at most CGROUP_N). */
int cgroup_open_procs(const struct cgroup *c, int fds[CGROUP_N],
                      struct error *e) WARN_UNUSED;
/* Sends the signal to every process inside, as one cut where there is a freezer. */
void cgroup_signal(const struct cgroup *c, int signo);
/* Waits until a process that is inside now has ended, at most max_ms. Blocking. */
void cgroup_wait(const struct cgroup *c, int max_ms);
/* Processes killed by the memory limit so far. */
int64_t cgroup_oom_kills(const struct cgroup *c);
/* True when the job reached its own memory limit, false when only one above it. */
bool cgroup_hit_own_limit(const struct cgroup *c);
/* Most bytes in use at once; 0 where the kernel does not keep it (version 2 < 5.19). */
int64_t cgroup_memory_peak(const struct cgroup *c);
/* Absent is success; ERR_BUSY while a process is left inside. */
int cgroup_remove(const struct cgroup *c, struct error *e) WARN_UNUSED;
/* Calls fn for each job uid that has a cgroup of this agent, possibly more than once. */
void cgroup_each(const struct cgroup_host *h, const char *agent_id,
                 void (*fn)(void *arg, const char *uid), void *arg);

/* As the kernel's files write them. */
extern const char *const cgroup_ctl_names[CGROUP_N];
/* Is word one of the len bytes of list, which have commas, blanks or newlines between? */
bool cgroup_lists(const char *list, size_t len, const char *word);

/* cgroup_own.c: turns the machine's hierarchies into what the caller's own cgroup may use
 * of them. self: the text of its /proc/self/cgroup. move: first makes room in it on
 * version 2, see cgroup_host_prepare(). */
void cgroup_own(struct cgroup_host *h, const char *self, bool move);
/* Of a text like /proc/self/cgroup the path in the hierarchy of a controller, or, with
 * NULL, in that of version 2. False: none. */
bool cgroup_own_path(const char *text, const char *controller, char *out, size_t size);

#endif
