/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One job on this machine, from the first sight of its object or its journal entry to the
 * last acknowledgement. job_step() asks the plan and carries out its actions until it
 * says wait; every callback ends in job_step().
 */
#ifndef RUNNER_JOB_H
#define RUNNER_JOB_H

#include "runner/agent.h"
#include "runner/job_container.h"

struct job_idle { /* a GPU of it that the policy says is idle */
    bool told;
    unsigned index;
    char uuid[64];
    int64_t since_ns;
    int max; /* percent */
};

struct job_report {    /* what status.agent shall be */
    const char *state; /* static text; NULL: nothing to say yet */
    char reason[48], message[512];
    int64_t since_ns;
    bool has_pull, oom, released, has_exit;
    bool failed; /* the last words are told with it */
    struct engine_progress pull;
    int exit_code; /* -1: none */
    int signal;
    int64_t started_ns, finished_ns, log_length; /* log_length -1: none */
    char last_output[1100];
    const struct engine_facts *facts; /* of the running job, once it does; NULL: none */
    char oom_cgroup[200];
    int64_t memory_peak;
    char lost_device[64]; /* "": none */
    struct job_idle idle;

    uint64_t seq, sent, acked;   /* versions of the above */
    uint64_t end_seq, freed_seq; /* 0: not yet */
    uint64_t brief_seq;          /* of a state that is told only if it lasts */
    int64_t next_pull_ms;        /* progress is told once a second */
    struct server_call *call;
    struct loop_timer *retry, *brief;
    struct backoff backoff;
};

struct job_secrets;
struct job {
    struct agent *a;
    char uid[64];
    json_t *object; /* newest known; NULL: none */
    struct job_view view;
    char *dir;
    bool stepping, again, dead, absent;
    bool log_open; /* it has ended, its log is not whole yet */

    enum job_engine engine;
    struct agent_engine *on;
    enum job_desired stop_sent;
    bool silenced; /* stopped by the dead-man switch, not because anybody wanted it */
    struct engine_job ej;
    struct job_run run;
    struct engine_device *devices;
    struct gpu_device *gpus; /* what devices point into */
    const char **device_paths;
    struct loop_timer *remove_retry;
    struct backoff remove_backoff;

    struct server_call *claim_call;
    struct loop_timer *claim_retry;
    struct backoff claim_backoff;
    bool claiming;

    struct job_secrets *fetch;
    char **secret_env;
    bool secrets, secrets_failed;
    char secrets_message[300];
    bool denied; /* secrets_failed because the fleet does not allow what it asks for */
    struct registry_auth registry;
    struct engine_registry_auth registry_view;
    char misfit[200]; /* why it does not fit, when it does not */

    struct idle_window *idle; /* one for each GPU held; NULL: not watched */
    unsigned n_idle;
    bool no_gpu_said;

    struct job_place *place; /* files and code being put in their place */
    char *root; /* its root file system, a directory of the machine; NULL: none */
    bool placed, place_failed;
    char place_message[1024];
    char **binds; /* "<host path>:<job's path>", NULL-terminated; containers */
    size_t n_binds;

    struct job_report report;
    struct shipper *shipper;
    struct job_diag *diag; /* NULL: nothing was said of it yet */
};

/* From the watch. object is referenced; older revisions than the known one are ignored.
 */
void job_seen(struct agent *a, json_t *object, const struct job_view *v);
/* The server has no such object. */
void job_gone(struct agent *a, const char *uid);
/* From the journal at start. */
void job_from_entry(struct agent *a, const struct journal_entry *en);
void job_step(struct job *j);
void job_kick(struct job *j);
void job_look_at_devices(struct job *j);
void job_free(void *job);

/* job.c, for its other files */
void job_take_object(struct job *j, const json_t *object);
void job_set_absent(struct job *j);

/* job_report.c */
void report_init(struct job *j);
void report_done(struct job *j);
/* A passing state. */
void report_state(struct job *j, const char *state);
void report_pull(struct job *j, const struct engine_progress *p);
void report_started(struct job *j, int64_t started_ns);
/* A terminal state; the first one stays. */
void report_end(struct job *j, const char *state, const char *reason,
                const char *message);
void report_result(struct job *j, const struct engine_result *r);
/* The engine has written the last frame: what must be acknowledged before the end. */
void report_log_length(struct job *j);
/* The same, after the end was reported without it. */
void report_log_end(struct job *j);
/* A device of the running job is gone from the machine. */
void report_device_lost(struct job *j, const char *uuid);
/* The policy's window is full of a GPU that does nothing: told once. */
void report_idle(struct job *j, const struct job_idle *idle);
/* The policy cannot act; it can (again). Told when that changes. */
void report_usage_unknown(struct job *j, const char *message);
void report_usage_known(struct job *j);
/* It was killed and does not end. */
void report_stuck(struct job *j, const char *message);
void report_freed(struct job *j);
/* Before report_end: the same report says that nothing is held. */
void report_nothing_held(struct job *j);
void report_kick(struct job *j);
/* The server's view came for the first time in this life. */
void report_first_view(struct job *j);
bool report_end_acked(const struct job *j);
bool report_freed_acked(const struct job *j);
/* The claim: with the revision, so that two agents cannot both have it. */
void report_claim(struct job *j);

/* diag.c */
void job_diag_open(struct job *j, void (*acked)(void *arg)); /* its directory is there */
bool job_diag_acked(const struct job *j); /* all of it is at the server */
void job_diag_kick(struct job *j);
/* The job is over and removed. keep: also when nothing is written yet. */
void job_diag_end(struct job *j, bool keep);
void job_diag_close(struct job *j); /* its directory goes */
void job_diag_free(struct job *j);

/* job_place.c */
bool place_needed(const struct job *j);
/* Fills in j->root. */
void place_find_root(struct job *j);
void place_start(struct job *j); /* ends in job_step */
void place_cancel(struct job *j);
void place_fill(struct job *j); /* what the engine has to know of it */
void place_free_binds(struct job *j);

/* job_secrets.c: also asks the fleet whether what the job wants is allowed */
bool secrets_needed(const json_t *job);
void secrets_fetch(struct job *j); /* ends in job_step */
void secrets_cancel(struct job *j);

#endif
