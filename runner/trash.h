/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories of jobs on their way out. Taking a tree away costs the file system
 * milliseconds for each few files, which the loop must not wait for: a tree is renamed
 * into <agent dir>/trash at once and removed on a thread. What a dead agent left there
 * goes at the next start.
 */
#ifndef RUNNER_TRASH_H
#define RUNNER_TRASH_H

#include <stdbool.h>

#include "io/loop.h"

struct trash;
struct trash *trash_new(struct loop *l, const char *agent_dir);
/* Waits for what is being removed; the rest stays for the next start. NULL ok. */
void trash_free(struct trash *t);
/* The tree is out of its place when this returns; absent is fine. name: unique. */
void trash_put(struct trash *t, const char *path, const char *name);
/* Other work for the same thread: work() there, then done() on the loop. False, and
 * nothing happens, once it is being freed, or when t is NULL. */
bool trash_run(struct trash *t, loop_post_fn *work, loop_post_fn *done, void *arg);

#endif
