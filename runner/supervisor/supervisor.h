/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The per-job supervisor: what drover-runner becomes as `drover-runner --supervise`.
 * One process per job of the process engine; it outlives the agent. It owns the job's
 * pipes, writes its output to the log, reaps it, carries out a stop, and leaves an exit
 * record (supervisor/record.h).
 *
 *   drover-runner --supervise <job dir>    descriptor 3: the spec (supervisor/spec.h)
 *   drover-runner --supervise --probe      can this machine run such jobs, and with what
 *                                          limitations (a line each)?
 *   drover-runner --supervise --remove <job dir>   what the job left in its directories,
 *                                          which belongs to ids that only a user
 * namespace has (an agent without root)
 *
 * At most one start per job, whoever dies whenever:
 *   1. The whole spec is in hand (sealed memory) before anything else happens.
 *   2. The claim is made by link(2): of several supervisors for one job exactly one goes
 *      on, and an agent that gave the job up can make the claim itself instead.
 *   3. Everything is prepared; the job's first process waits, confined, for a byte.
 *   4. state `starting` is forced to disk; only then the byte is sent.
 * Died before 4: provably not started, reported so, never started again. Died after:
 * reported as lost. Dying takes the job along (launch.h).
 *
 * The first process only forks the real supervisor (own session, not a child of the
 * agent) and exits: 0 when the claim was made, SUPERVISOR_CLAIMED when somebody else has
 * it, 1 with a sentence on stderr otherwise.
 *
 * Stop: signal SUPERVISOR_STOP with the grace in milliseconds as value (sigqueue(3)). A
 * plain SIGTERM is a stop with SUPERVISOR_GRACE_MS.
 */
#ifndef SUPERVISOR_SUPERVISOR_H
#define SUPERVISOR_SUPERVISOR_H

#include <signal.h>

#define SUPERVISOR_FLAG "--supervise"
#define SUPERVISOR_REMOVE "--remove"
#define SUPERVISOR_STOP SIGRTMIN
#define SUPERVISOR_GRACE_MS 10000
#define SUPERVISOR_CLAIMED 17
/* Exit status of --probe, with a sentence on stdout. */
enum supervisor_probe {
    SUPERVISOR_PROBE_OK = 0,
    SUPERVISOR_PROBE_NAMESPACES = 11,
    SUPERVISOR_PROBE_CGROUPS = 12,
    SUPERVISOR_PROBE_TRIAL = 13, /* something else on the way to a contained process */
};

/* argv[1] is SUPERVISOR_FLAG. To be called first thing in main(), before any library is
 * set up and any thread exists. Returns the exit status of the process. */
int supervisor_main(int argc, char **argv);

#endif
