/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this machine has to give to jobs, as reported in Instance.status.agent. Processors
 * and memory are what jobs can really get: an affinity mask, and a limit on the cgroup
 * below which jobs are put (an agent inside a container), count.
 */
#ifndef RUNNER_INVENTORY_H
#define RUNNER_INVENTORY_H

#include <jansson.h>
#include <stdint.h>

#include "base/error.h"
#include "runner/gpu/gpu.h"

#define ADDRESSES_MAX 32
#define ADDRESS_LEN 64

struct inventory { /* plain data; about 50 KB */
    char hostname[256], kernel[80], os[128], boot_id[40];
    char arch[32], cpu_model[128];
    int64_t cpus, memory_mib;
    int64_t disk_mib; /* free for jobs where the agent keeps them */
    struct gpu_list gpus;
    char addresses[ADDRESSES_MAX][ADDRESS_LEN]; /* "10.0.0.5/24"; IPv4 first */
    size_t n_addresses;
};

/* Blocks (GPU tools); call it from a pool thread. Fails only for a fake GPU file that
 * cannot be read and for an agent directory that does not exist. Thread-safe. */
int inventory_probe(const char *agent_dir, const struct gpu_config *gpus,
                    struct inventory *ret, struct error *e) WARN_UNUSED;
/* The value of status.agent.inventory; new reference. */
json_t *inventory_json(const struct inventory *i);
/* Addresses of the networks that others may reach: no loopback, link-local or container
 * bridge. */
void inventory_read_addresses(struct inventory *i);
/* Sets hostname, addresses, kernel, os and bootID in the object of status.agent. */
void inventory_put_host(const struct inventory *i, json_t *agent);

#endif
