/* SPDX-License-Identifier: Apache-2.0 */
/* Names of phases and desired states. */
#include "controllers/common/phase.h"

#include "base/str.h"

static const char *const phases[] = {
    [PHASE_NONE] = "",
    [PHASE_SUBMITTED] = "Submitted",
    [PHASE_PROVISIONING] = "Provisioning",
    [PHASE_PULLING] = "Pulling",
    [PHASE_RUNNING] = "Running",
    [PHASE_TERMINATING] = "Terminating",
    [PHASE_UNKNOWN] = "Unknown",
    [PHASE_DONE] = "Done",
    [PHASE_FAILED] = "Failed",
    [PHASE_TERMINATED] = "Terminated",
};

static const char *const desireds[] = {
    [DESIRED_RUNNING] = "Running",
    [DESIRED_STOPPED] = "Stopped",
    [DESIRED_ABORTED] = "Aborted",
};

const char *
phase_name(enum phase p)
{
    return phases[p];
}

enum phase
phase_parse(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(phases); i++)
        if (streq(phases[i], name))
            return (enum phase)i;
    return PHASE_NONE;
}

const char *
desired_name(enum desired d)
{
    return desireds[d];
}

enum desired
desired_parse(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(desireds); i++)
        if (streq(desireds[i], name))
            return (enum desired)i;
    return DESIRED_RUNNING;
}
