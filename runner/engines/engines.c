/* SPDX-License-Identifier: Apache-2.0 */
/* Names of what an engine can answer, as in Job.status.agent.reason. */
#include "runner/engines/engine.h"

const char *
engine_reason_name(enum engine_reason r)
{
    switch (r) {
    case ENGINE_EXITED:
        return "Exited";
    case ENGINE_SIGNALED:
        return "Signaled";
    case ENGINE_OOM:
        return "OutOfMemory";
    case ENGINE_DISK_QUOTA:
        return "DiskQuotaExceeded";
    case ENGINE_IMAGE_PULL:
        return "ImagePullFailed";
    case ENGINE_CREATE_FAILED:
        return "CreateFailed";
    case ENGINE_START_FAILED:
        return "StartFailed";
    case ENGINE_UNAVAILABLE:
        return "EngineUnavailable";
    case ENGINE_LOST:
        return "ProcessLost";
    case ENGINE_REBOOTED:
        return "Rebooted";
    case ENGINE_RESTARTED:
        return "EngineRestarted";
    }
    return "ProcessLost";
}
