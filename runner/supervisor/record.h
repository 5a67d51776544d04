/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files by which a supervisor and the agent agree, all in <job dir>/sup/:
 *
 *   claim       made by link(2), so exactly one process ever makes it. Names the
 *               supervisor (pid, start time, boot), or says that the agent cancelled the
 *               job before any supervisor came. No claim: nothing was started.
 *   state.json  the supervisor's progress and the pids to look after. `starting` is on
 *               disk before the job's program may be executed, `running` follows once it
 *               was.
 *   reserve     room on the disk that the exit record may need: a job that fills the disk
 *               cannot keep its own end from being told. Gone with the record.
 *   exit.json   how it ended; the last thing that a supervisor does.
 *
 * Every file appears whole or not at all. What a reader concludes:
 *
 *   exit.json                           ended, as written there
 *   claim of this boot, pid alive       in progress
 *   claim, pid gone, no or `preparing`  died before the start: it was never started
 *   claim, pid gone, `starting` or more was (or may have been) started: lost
 *   claim or state of another boot      the machine went down meanwhile
 *   none of them                        not started; starting it is safe
 */
#ifndef SUPERVISOR_RECORD_H
#define SUPERVISOR_RECORD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

#define RECORD_DIR "sup"
#define RECORD_CLAIM "claim"
#define RECORD_STATE "state.json"
#define RECORD_EXIT "exit.json"
#define RECORD_RESERVE "reserve"
#define RECORD_BOOT_ID 40

/* A process, safe against reuse of its pid. */
struct record_proc {
    pid_t pid;
    uint64_t ticks; /* start time in clock ticks since boot */
};

struct record_claim {
    char boot_id[RECORD_BOOT_ID];
    struct record_proc supervisor; /* pid 0: cancelled by the agent */
};

enum record_phase {
    RECORD_PREPARING, /* the program cannot have been executed */
    RECORD_STARTING,  /* it may have been */
    RECORD_RUNNING,   /* it was */
};

struct record_state {
    char boot_id[RECORD_BOOT_ID];
    struct record_proc supervisor;
    struct record_proc init; /* first process of the job's pid namespace */
    enum record_phase phase;
    int64_t started_ns; /* wall */
};

enum record_end { /* how the job ended */
                  RECORD_EXITED,
                  RECORD_SIGNALED,
                  RECORD_OOM,
                  RECORD_DISK_QUOTA, /* stopped for it; exit_code and signal too */
                  RECORD_CREATE_FAILED,
                  RECORD_START_FAILED,
                  RECORD_N_ENDS,
};

struct record_exit {
    enum record_end end;
    bool started;
    int exit_code; /* -1: none */
    int signal;    /* 0: none */
    int64_t started_ns, finished_ns;
    int64_t oom_kills;
    int64_t memory_peak;  /* bytes; 0: the kernel does not say */
    char oom_cgroup[200]; /* of an OOM: whose limit it was; "/": the machine's */
    int64_t log_length;
    int64_t dropped_bytes;
    char message[400];
};

/* dir is the job's directory throughout. */
int record_prepare(const char *dir, struct error *e) WARN_UNUSED; /* makes sup/ */
void record_reserve(const char *dir);                             /* best effort */
/* ERR_EXISTS when somebody has the claim already. */
int record_claim_make(const char *dir, const struct record_claim *c,
                      struct error *e) WARN_UNUSED;
/* Readers: ERR_NOT_FOUND when absent, ERR_CORRUPT when it is not ours. */
int record_claim_read(const char *dir, struct record_claim *ret,
                      struct error *e) WARN_UNUSED;
int record_state_read(const char *dir, struct record_state *ret,
                      struct error *e) WARN_UNUSED;
int record_exit_read(const char *dir, struct record_exit *ret,
                     struct error *e) WARN_UNUSED;
/* durable: on disk (file and directory) when it returns. */
int record_state_write(const char *dir, const struct record_state *s, bool durable,
                       struct error *e) WARN_UNUSED;
int record_exit_write(const char *dir, const struct record_exit *x,
                      struct error *e) WARN_UNUSED;

/* "" when it cannot be read. */
void record_boot_id(char out[RECORD_BOOT_ID]);
/* Start time of a process; 0 when it does not exist. */
uint64_t record_proc_ticks(pid_t pid);
/* A pidfd of exactly this process; -1 when it is gone. */
int record_proc_open(const struct record_proc *p);

#endif
