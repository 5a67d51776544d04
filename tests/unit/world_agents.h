/* SPDX-License-Identifier: Apache-2.0 */
/* Machines and agents of a world: they are what the test says they say. */
#ifndef TESTS_WORLD_AGENTS_H
#define TESTS_WORLD_AGENTS_H

#include "tests/unit/world.h"

#define LEASES "/apis/coordination.k8s.io/v1/namespaces/default/leases"

void renew(struct world *w, int n);
void add_machine_of(struct world *w, const char *fleet, int n, int cpus);
void add_machine(struct world *w, int n, int cpus);
void add_run(struct world *w, const char *name, json_t *more);
/* "" when absent; what is no string as JSON. */
char *get_text(struct world *w, const char *path, const char *a, const char *b);
void phase_is(struct world *w, const char *path, const char *phase, const char *reason);
void agent_says(struct world *w, const char *job, json_t *agent);

#endif
