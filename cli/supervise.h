/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeps a few child processes running: starts them, restarts the ones that end (after
 * 100 ms, doubling to 5 s, back to 100 ms once it ran for 10 s), ends them in reverse
 * order. Children get SIGTERM when this process dies. Loop thread only.
 */
#ifndef CLI_SUPERVISE_H
#define CLI_SUPERVISE_H

#include "base/error.h"
#include "io/loop.h"

struct supervisor;
struct part;

struct part_opts {
    const char *name;        /* for messages; borrowed */
    const char *const *argv; /* NULL-terminated; copied */
};

/* on_exit (may be NULL) is told of every end of a part and says whether to restart it. */
typedef bool part_exit_fn(void *arg, struct part *p, int wait_status);

struct supervisor *supervisor_new(struct loop *l, part_exit_fn *on_exit, void *arg);
struct part *supervisor_add(struct supervisor *s, const struct part_opts *o);
int supervisor_start(struct part *p, struct error *e) WARN_UNUSED;
const char *part_name(const struct part *p);
pid_t part_pid(const struct part *p); /* 0: not running */
/* SIGTERM to the last part, then the one before when it has ended, ...; done() when all
 * have. Calling it again sends SIGKILL to all. */
void supervisor_stop(struct supervisor *s, void (*done)(void *arg), void *arg);
void supervisor_free(struct supervisor *s);

#endif
