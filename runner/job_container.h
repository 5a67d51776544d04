/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of a Job only containers have: see job_view.h for struct job_run. Pure; nothing
 * here keeps a reference to its input, but the strings of mounts and ulimits are borrowed
 * from the Job.
 */
#ifndef RUNNER_JOB_CONTAINER_H
#define RUNNER_JOB_CONTAINER_H

#include "runner/job_view.h"

void job_container_read(const json_t *job, struct job_run *r);
void job_container_done(struct job_run *r);
/* What of it the process engine cannot give: the field's name, or NULL. */
const char *job_container_only(const struct job_run *r);

struct registry_auth { /* owned */
    char *username, *password, *identity_token;
};
void registry_auth_done(struct registry_auth *a); /* wipes */
/* Out of a Secret with username and password, or with .dockerconfigjson, where the entry
 * for the image's registry is taken. ERR_NOT_FOUND, ERR_INVALID. */
int registry_auth_read(const json_t *secret, const char *image, struct registry_auth *ret,
                       struct error *e) WARN_UNUSED;

#endif
