/* SPDX-License-Identifier: Apache-2.0 */
/* Removing a directory that a job filled: any depth, any names, no links followed. */
#ifndef SUPERVISOR_TREE_H
#define SUPERVISOR_TREE_H

#include "base/error.h"

/* Absent is success. Thread-safe for distinct paths; nobody may write below meanwhile. */
int tree_remove(const char *path, struct error *e) WARN_UNUSED;
/* The same for what a job itself filled: work, tmp, root and code in
 * its directory. */
int tree_remove_job(const char *job_dir, struct error *e) WARN_UNUSED;

#endif
