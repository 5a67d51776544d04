/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Job as the agent reads it: the few fields it acts on, out of the server's JSON, and
 * what the job is to be given (limits, argv, environment). Pure.
 */
#ifndef RUNNER_JOB_VIEW_H
#define RUNNER_JOB_VIEW_H

#include <jansson.h>

#include "runner/engines/engine.h"
#include "runner/idle_window.h"
#include "runner/job_plan.h"
#include "runner/journal.h"

struct job_view {
    uint64_t revision;
    char uid[64], ns[64], name[256], run[256], engine[16];
    bool deleting; /* or in a final phase that the agent did not report */
    bool released;
    enum job_desired desired;
    char stop_reason[64];
    int64_t stop_seconds;
    bool interruptible;
    struct idle_rule idle; /* spec.utilizationPolicy */
    int64_t log_quota;     /* bytes of output per clock hour; 0: no limit */
    char instance_uid[64];
    struct journal_hold hold;
    char claim_journal[64]; /* "" : none */
    char agent_state[24];   /* "" : none */
    int64_t agent_since_ns;
    bool agent_terminal, agent_freed;
    bool idle_told; /* status.agent.idleGPU is there */
};
/* ERR_INVALID when it is no Job bound to an instance. */
int job_view_parse(const json_t *job, struct job_view *ret, struct error *e) WARN_UNUSED;

/* Terminal states of status.agent.state. */
bool job_state_terminal(const char *state);

/* What the container or process gets, from the Job's spec. Owned, NULL-terminated arrays.
 */
struct job_run {
    char *image, *working_dir, *user; /* NULL: not given */
    bool rootfs, rootfs_kept;         /* it has one; out of an archive */
    char **argv, **env;               /* env: "K=V"; later ones win */
    int64_t cpu_limit_milli, memory_limit_mib, disk_limit_mib, shm_mib; /* 0: none */
    size_t n_env;
    bool whole_instance, privileged, bridge;
    uint16_t tty_columns, tty_rows; /* columns 0: no terminal */
    struct engine_mount *mounts;    /* strings borrowed from the Job */
    struct engine_ulimit *ulimits;
    struct engine_port *ports;
    size_t n_mounts, n_ulimits, n_ports;
};
/* secrets: "K=V" strings that come first (spec.env wins); may be NULL. */
/* Puts the variables of the machine below the job's own. NULL ok. */
void job_run_add_env(struct job_run *r, const json_t *env);
int job_run_build(const json_t *job, const char *const *secrets, struct job_run *ret,
                  struct error *e) WARN_UNUSED;
void job_run_done(struct job_run *r); /* wipes the environment */

/* What the Job asks for that only spec.security of its Fleet can grant: the name of the
 * grant ("privileged", "hostPaths"), or NULL. fleet NULL: no grants are known. */
const char *job_denied(const json_t *job, const json_t *fleet);
/* Name of the Secret with the registry's credentials, or NULL. */
const char *job_registry_secret(const json_t *job);

/* An item of spec.envFrom; texts are the Job's. */
struct job_secret_ref {
    const char *name;     /* of the Secret */
    const char *key;      /* of its data; NULL: all of them */
    const char *variable; /* that takes the value of key; NULL: its own name */
    bool optional;
};
/* Calls fn for each Secret that spec.envFrom names; returns how many. */
size_t job_each_secret(const json_t *job,
                       void (*fn)(void *arg, const struct job_secret_ref *ref),
                       void *arg);
/* Appends what ref wants of the data of a Secret object as "K=V" strings to *list
 * (NULL-terminated array, grown; *n entries). ERR_INVALID names a key whose value cannot
 * be an environment variable. */
int job_secret_env(const json_t *secret, const struct job_secret_ref *ref, char ***list,
                   size_t *n, struct error *e) WARN_UNUSED;
void job_env_free(char **list); /* wipes */

#endif
