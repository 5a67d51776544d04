/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What to do next for one job: a pure function of what the server says, what the journal
 * holds, what the engine has answered in this life of the agent, and what was
 * acknowledged. Called after every change of any of them; does one thing at a time.
 *
 * Why kill -9 at any moment is safe, in the order of a job's life:
 *   before the claim is acknowledged     nothing is held; the next life claims (again)
 *   claimed, no journal entry            ours by journalID, nothing held: write the entry
 *   entry, engine not asked              adopt says "never started": launch
 *   launch under way, running            adopt finds the container or process, or its end
 *   ended, end not acknowledged          the engine keeps the facts until it is: adopt
 *                                        tells them again, the same report goes out
 *   end acknowledged, not removed        the server's state is terminal: never reported
 *                                        over, only removed
 *   removed, entry left                  adopt finds nothing; the server's state is
 *                                        terminal or the job is gone: finish
 * A claim of another journal never leads to a start. An entry whose claim at the server
 * is not ours leads to removal, never to a start.
 */
#ifndef RUNNER_JOB_PLAN_H
#define RUNNER_JOB_PLAN_H

#include <stdbool.h>

enum job_desired { JOB_RUN, JOB_STOP, JOB_ABORT };
enum job_claim { JOB_CLAIM_NONE, JOB_CLAIM_OURS, JOB_CLAIM_OTHER };
enum job_engine {
    JOB_ENGINE_UNASKED, /* entry of an earlier life: nothing is known */
    JOB_ENGINE_CLEAN,   /* surely nothing of it was ever started */
    JOB_ENGINE_BUSY,    /* adopting, launching or running */
    JOB_ENGINE_ENDED,   /* on_exit came */
    JOB_ENGINE_REMOVING,
    JOB_ENGINE_REMOVED,
};
enum job_engine_use { JOB_ENGINE_UNKNOWN, JOB_ENGINE_USABLE, JOB_ENGINE_MISSING };

struct job_facts {
    /* server */
    bool seen;     /* its object is known in this life */
    bool absent;   /* the server has no such object (any more) */
    bool deleting; /* or given up by the controllers */
    bool go;       /* spec.released */
    enum job_desired desired;
    enum job_claim claim;
    bool server_terminal, server_freed; /* status.agent as the server has it */
    /* journal and machine */
    bool entry, fits;
    enum job_engine_use engine_use;
    bool engine_coming; /* it is missing, but perhaps only for a moment */
    /* this life */
    enum job_engine engine;
    bool claiming;               /* claim request in flight */
    bool needs_secrets, secrets; /* secrets: fetched */
    bool secrets_failed;
    bool needs_place, placed; /* files and code; placed: they are where they belong */
    bool place_failed;
    bool verdict;     /* a terminal state is decided and being reported */
    bool end_acked;   /* ... and acknowledged */
    bool freed_acked; /* released: true was acknowledged */
    bool log_open;    /* it has ended, and its log is still being read */
    bool logs_acked;  /* everything the job wrote is at the server, or cannot get there */
    bool over_quota;  /* it has written more than it may */
    bool dead_man;    /* the server has been silent for too long for this job */
    enum job_desired stop_sent; /* to the engine, in this life */
};

enum job_action {
    JOB_WAIT,
    JOB_FORGET,      /* no business of ours */
    JOB_CLAIM,       /* claim request */
    JOB_WRITE_ENTRY, /* journal entry, directory */
    JOB_ADOPT,
    JOB_FETCH_SECRETS,
    JOB_PLACE, /* files and code */
    JOB_LAUNCH,
    JOB_STOP_ENGINE,   /* SIGTERM, grace */
    JOB_KILL_ENGINE,   /* SIGKILL */
    JOB_SAY_LOST,      /* Lost/JournalLost */
    JOB_SAY_MISFIT,    /* Rejected/OutOfCapacity */
    JOB_SAY_NO_ENGINE, /* Rejected/EngineMissing */
    JOB_SAY_CANCELLED,
    JOB_SAY_NO_SECRET,  /* Failed/SecretMissing */
    JOB_SAY_NOT_PLACED, /* Failed/FilesNotPlaced */
    JOB_REMOVE,         /* what the engine has of it; then its resources are free */
    JOB_SAY_FREED,      /* released: true */
    JOB_FINISH,         /* delete directory and entry */
    JOB_N_ACTIONS,
};
enum job_action job_plan(const struct job_facts *f);
const char *job_action_name(enum job_action a);

#endif
