/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A little agent for tests of the process engine: a loop, an engine over a temporary
 * agent directory, and jobs that remember what they were told. Everything waits by
 * turning the loop until a condition holds; a deadline turns a hang into a failure.
 */
#ifndef TESTS_ENGINE_PROCESS_WORLD_H
#define TESTS_ENGINE_PROCESS_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <sys/types.h>

#include "base/str.h"
#include "runner/engines/engine.h"

#define WORLD_ARGS 16

struct job {
    struct engine_job j;
    const char *argv[WORLD_ARGS];
    const char *env[WORLD_ARGS];
    char uid[40], dir[256];
    int n_started, n_exited, n_removed;
    int64_t started_ns;
    struct engine_result result;
    struct error removed;
};

struct world {
    struct loop *loop;
    struct engine *en;
    char root[128];  /* the "data directory" */
    char agent[160]; /* <root>/agent */
    const char *masks[4];
};

void world_open(struct world *w);
void world_engine_close(struct world *w);
void world_engine_open(struct world *w); /* again, as after a restart of the agent */
/* Checks that nothing of the agent is left on the machine, and removes the directory. */
void world_close(struct world *w);

/* The name by which the machine's cgroups know the engine's agent. */
#define WORLD_AGENT_ID 16
void world_agent_id(const struct world *w, char out[WORLD_AGENT_ID]);

/* A job that runs `sh -c script`; more may be set before launching. env[0] is taken. */
void job_init(struct world *w, struct job *j, const char *script);
void job_argv(struct job *j, const char *const *argv);
/* A fresh struct for the same uid, as an agent has it after a restart. */
void job_again(struct job *to, const struct job *from);
void job_launch(struct world *w, struct job *j);
void job_adopt(struct world *w, struct job *j);
void job_stop(struct world *w, struct job *j, int64_t grace_ms);
void job_wait_started(struct world *w, struct job *j);
void job_wait_exit(struct world *w, struct job *j);
void job_remove(struct world *w, struct job *j); /* and waits */
/* launch, wait for the exit */
void job_run(struct world *w, struct job *j);

/* Turns the loop until cond(arg); fails the test after timeout_ms. */
void world_until(struct world *w, bool (*cond)(void *), void *arg, int timeout_ms);
/* Bytes of one stream of the job's log (free with str_done). */
void job_output(const struct job *j, int stream, struct str *out);
/* Waits until the stdout holds the text. */
void job_wait_output(struct world *w, struct job *j, const char *text);
void job_assert_exit(const struct job *j, int code);
/* pid from the job's records; the supervisor's or init's. */
pid_t job_supervisor_pid(const struct job *j);
pid_t job_init_pid(const struct job *j);
bool pid_exists(pid_t pid); /* and is not just waiting to be reaped */
/* Waits for the end of a process that may be somebody else's child. */
void pid_wait_gone(pid_t pid, int timeout_ms);
/* Number of processes of the machine whose command line contains the word. */
int count_processes(const char *word);
/* The same for "sleep <mark>": scripts say `sleep $MARK`, a number of this test program
 * alone, so that several may run at once. */
int count_sleepers(void);

#endif
