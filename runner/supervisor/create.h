/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything that a job needs on the machine (id range, private directories, cgroups),
 * then its confined first process, which waits for the release. What was taken before a
 * failure stays; the engine's remove gives it back by the job's names.
 */
#ifndef SUPERVISOR_CREATE_H
#define SUPERVISOR_CREATE_H

#include "base/error.h"
#include "runner/supervisor/cgroup.h"
#include "runner/supervisor/launch.h"
#include "runner/supervisor/spec.h"

int create_job(const struct spec *s, struct cgroup *cg, struct launch *ret,
               struct error *e) WARN_UNUSED;

#endif
