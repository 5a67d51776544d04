/* SPDX-License-Identifier: Apache-2.0 */
/* An engine on a daemon, and jobs in it: what the tests of the docker engine share. */
#ifndef TESTS_DOCKER_FIXTURE_H
#define TESTS_DOCKER_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/id.h"
#include "io/segment.h"
#include "runner/engines/engine.h"
#include "tests/turn_until.h"

#define WAIT_MS 60000

struct fixture {
    struct loop *loop;
    struct engine *en;
    char dir[64];
    struct engine_status status;
    unsigned n_status;
};

struct job {
    struct engine_job j;
    char uid[ID_UUID_LEN];
    char *dir;
    const char *argv[4];
    int64_t started_ns, launched_ms, started_ms, exit_ms, log_ended_ms;
    unsigned n_started, n_exits, n_log_ends, n_removed, n_progress, n_pulling, n_stuck;
    char stuck[200];
    struct engine_progress progress; /* the last of the pull */
    struct engine_result result;
    struct error remove_error;
};

#define wait_for(f, cond) TURN_UNTIL((f)->loop, WAIT_MS, cond)

/* c may be NULL; agent_dir and agent_id are filled in. */
void engine_up_with(struct fixture *f, const struct engine_config *c);
void engine_up(struct fixture *f, const char *socket);
/* A directory and a loop, no engine yet. */
struct fixture *fixture_new(void);
void fixture_free(struct fixture *f);
int setup(void **state); /* with the daemon of with-dockerd */
int teardown(void **state);

struct job *job_new(struct fixture *f, const char *script);
void launch(struct fixture *f, struct job *job);
void run(struct fixture *f, struct job *job);
void remove_job(struct fixture *f, struct job *job);
/* It has ended, and its log is whole. */
#define over(job)                                                                        \
    ((job)->n_exits == 1 && (!(job)->result.log_follows || (job)->n_log_ends == 1))
/* All payload bytes of a stream (0: of both), in order. */
typedef void frame_fn(void *arg, const struct segment_frame *fr);
void each_frame(const struct job *job, frame_fn *fn, void *arg);
void read_log(const struct job *job, int stream, struct str *out);
void assert_log(const struct job *job, int stream, const char *want);
uint64_t log_length(const struct job *job);
/* The script beside the private daemon. */
void ctl(struct fixture *f, const char *verb);
bool container_exists(const struct job *job);
/* Runs a program; returns its exit status. */
int run_program(const char *const *argv, struct str *out);
/* Runs this very test under hack/with-dockerd unless it does already; an exit status
 * when the test cannot run, else -1. */
int under_dockerd(char **argv);

#endif
