/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An engine that starts nothing, on the test's loop: a machine whose things, its
 * containers, outlive the agent and count their starts.
 */
#ifndef TESTS_RUNNER_FAKE_ENGINE_H
#define TESTS_RUNNER_FAKE_ENGINE_H

#include "runner/agent.h"

enum thing_state { THING_NONE, THING_RUNNING, THING_EXITED, THING_REMOVED };
struct thing { /* a container */
    char uid[64];
    enum thing_state state;
    unsigned starts, stops, kills;
    int exit_code, signal;
    char secret[64], wants[300];
    struct engine_job *job; /* of this life */
    bool quick;             /* ends by itself at once */
    bool log_late;          /* tells its end before its log is whole */
};
struct machine {
    struct thing things[64];
    size_t n;
    bool available, quick;
    bool creating; /* stays there until thing_start */
};
extern struct machine machine;

/* The thing of a Job's uid, made when there is none. */
struct thing *thing_of(const char *uid);
/* It ends, and the agent is told. */
void thing_exit(struct thing *t, int code, int sig);
/* A job that was left in creation starts. */
void thing_start(struct thing *t);
/* Output of the job, when an agent has it. */
void thing_write(const struct thing *t, const char *text);
/* Whether the engine is there, as the agent is told now. */
void fake_engine_tell(const struct engine_status *s);
extern const struct engine_ops *const fake_engines[AGENT_ENGINES];

#endif
