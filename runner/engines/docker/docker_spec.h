/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pure parts around one container: the create request built from a job, the facts
 * read from an inspect reply, and what they mean for the job. No I/O.
 */
#ifndef DOCKER_SPEC_H
#define DOCKER_SPEC_H

#include <jansson.h>

#include "runner/engines/engine.h"

#define DOCKER_LABEL_AGENT "drover.dev/agent"
#define DOCKER_LABEL_JOB "drover.dev/job-uid"
#define DOCKER_LABEL_RUN "drover.dev/run"

struct docker_spec_env { /* what the machine and the daemon are like */
    const char *agent_id;
    bool podman;
    bool nvidia;                /* the machine has NVIDIA devices */
    bool infiniband;            /* it has /dev/infiniband */
    bool hugepages_1g;          /* it has /dev/hugepages-1G */
    const char *const *proxies; /* "http_proxy=...", of our own environment; or NULL */
    const unsigned *groups;     /* owners of the job's device nodes */
    size_t n_groups;
    /* Left out after the daemon has refused them once. */
    bool no_display, no_memlock;
};
/* Body of POST /containers/create; the caller decrefs. */
json_t *docker_spec_create(const struct engine_job *j, const struct docker_spec_env *env);

/* docker_accel.c: what the job's accelerators and the machine's fabric add. */
void docker_accel_apply(json_t *config, const struct engine_job *j,
                        const struct docker_spec_env *env);
bool docker_accel_has(const struct engine_job *j, const char *vendor);
/* Appends to an array member of o, which is made when missing. */
void docker_append(json_t *o, const char *key, json_t *item);
/* Must a start that failed with this text be tried again without something? Sets what. */
bool docker_accel_retry(const char *error, const struct engine_job *j,
                        struct docker_spec_env *env);

struct docker_facts {
    char job_uid[64], agent[80]; /* labels; "" when absent */
    char status[24];             /* "created", "running", "exited", "dead", ... */
    bool running;
    bool started; /* some process of it was started once */
    bool oom;
    int exit_code;
    int64_t pid;                     /* of its init; 0 when not running */
    int64_t started_ns, finished_ns; /* 0: never */
    char error[400];                 /* of a start that failed */
    char id[80];
    struct engine_facts job; /* pid, user, directory, published ports */
};
/* ERR_PROVIDER when the reply does not look like a container. */
int docker_facts_parse(const json_t *inspect, struct docker_facts *ret,
                       struct error *e) WARN_UNUSED;

/* For a container that does not run any more. boot_wall_ns: when this machine came up. */
void docker_facts_result(const struct docker_facts *f, int64_t boot_wall_ns,
                         struct engine_result *ret);

#endif
