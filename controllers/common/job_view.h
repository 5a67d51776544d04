/* SPDX-License-Identifier: Apache-2.0 */
/* What controllers need of a Job, decoded once from its bytes into plain data. */
#ifndef CONTROLLERS_COMMON_JOB_VIEW_H
#define CONTROLLERS_COMMON_JOB_VIEW_H

#include "api/object.h"
#include "controllers/common/phase.h"

#define LABEL_RUN "drover.dev/run"
#define LABEL_RUN_UID "drover.dev/run-uid"
#define LABEL_INSTANCE "drover.dev/instance"
#define FINALIZER_AGENT "drover.dev/agent"
#define FINALIZER_RUN "drover.dev/run"

enum { CODE_MAX = 64, UID_MAX = 64, NAME_MAX_LEN = 254, MESSAGE_MAX_LEN = 512 };

enum agent_state {
    AGENT_NONE,
    AGENT_CLAIMED,
    AGENT_PREPARING,
    AGENT_PULLING,
    AGENT_CREATING,
    AGENT_RUNNING,
    AGENT_STOPPING,
    /* terminal from here on */
    AGENT_EXITED,
    AGENT_FAILED,
    AGENT_REJECTED,
    AGENT_LOST,
    AGENT_CANCELLED,
};
static inline bool
agent_is_over(enum agent_state s)
{
    return s >= AGENT_EXITED;
}

struct exit_facts {
    bool has_code;
    int64_t code;
    char signal[16];
    bool oom;
};

/* Why a job is stopped that does nothing with a GPU (spec.utilizationPolicy). */
#define UTILIZATION_TOO_LOW "UtilizationTooLow"
struct idle_gpu { /* as its agent tells it */
    bool told;
    int64_t index, max; /* percent */
    int64_t since_ns;
};

struct job_view {
    const struct object *o; /* borrowed */
    int64_t replica, node, attempt, priority, created_ns;
    bool go; /* spec.released */
    char run_uid[UID_MAX];
    bool deleting, has_finalizer;
    enum desired desired;
    char stop_reason[CODE_MAX];
    bool interruptible;
    int64_t stop_duration_s;

    bool bound;
    char instance_name[NAME_MAX_LEN], instance_uid[UID_MAX], engine[16];
    int64_t bound_ns;

    enum phase phase; /* as written */
    char reason[CODE_MAX], message[MESSAGE_MAX_LEN];
    int64_t started_ns, finished_ns; /* as written */
    struct exit_facts exit;          /* as written */
    char wait_reason[CODE_MAX];      /* of condition Scheduled=False */
    char wait_message[MESSAGE_MAX_LEN];

    enum agent_state agent;
    bool claimed, released;
    char agent_reason[CODE_MAX], agent_message[MESSAGE_MAX_LEN];
    int64_t agent_started_ns, agent_finished_ns;
    struct exit_facts agent_exit;
    int64_t log_length; /* -1: not reported */
    struct idle_gpu idle;
};

/* Of a bound job, from what its agent says. */
enum phase phase_of_agent(enum agent_state s);

void job_view_read(const struct object *o, struct job_view *ret);

/* Helpers for other views. 0 when absent or not a time. */
int64_t object_get_time(const struct object *o, const char *path);
bool object_get_bool(const struct object *o, const char *path);
/* Any length; malloc'd, NULL when absent. */
char *object_dup_string(const struct object *o, const char *path);

#endif
