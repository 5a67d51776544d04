/* SPDX-License-Identifier: Apache-2.0 */
/* Phases of runs and jobs. Derived from observation, never from memory. */
#ifndef CONTROLLERS_COMMON_PHASE_H
#define CONTROLLERS_COMMON_PHASE_H

#include <stdbool.h>

enum phase {
    PHASE_NONE, /* not written yet */
    PHASE_SUBMITTED,
    PHASE_PROVISIONING,
    PHASE_PULLING,
    PHASE_RUNNING,
    PHASE_TERMINATING,
    PHASE_UNKNOWN,
    PHASE_DONE,
    PHASE_FAILED,
    PHASE_TERMINATED,
};

const char *phase_name(enum phase p); /* "" for NONE */
enum phase phase_parse(const char *name);
static inline bool
phase_is_final(enum phase p)
{
    return p >= PHASE_DONE;
}

/* Reasons for which our own side ends a job (spec.stopReason, then status.reason), and
 * which another part has to know. */
#define REASON_PREEMPTED "Preempted"
#define REASON_PLACEMENT_REVOKED "PlacementRevoked"
#define REASON_SIBLING_FAILED "SiblingFailed" /* another node of the attempt */

/* spec.desiredState; a later one is stronger. */
enum desired { DESIRED_RUNNING, DESIRED_STOPPED, DESIRED_ABORTED };
const char *desired_name(enum desired d);
enum desired desired_parse(const char *name);

#endif
