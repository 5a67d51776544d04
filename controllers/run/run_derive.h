/* SPDX-License-Identifier: Apache-2.0 */
/* From a Run to the Job of one attempt. Pure. */
#ifndef CONTROLLERS_RUN_DERIVE_H
#define CONTROLLERS_RUN_DERIVE_H

#include "controllers/run/run_plan.h"

/* The whole Job object; the caller decrefs. ERR_INVALID: the Run cannot be carried out,
 * with the field in the message. */
int run_derive_job(const struct run_view *run, int64_t attempt, int64_t wall_ns,
                   json_t **ret, struct error *e) WARN_UNUSED;
/* "<run>-<replica>-<node>-<attempt>"; malloc'd. */
char *run_job_name(const char *run, int64_t attempt);

#endif
