/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All controllers and the scheduler, stepped over a server in memory with a fake clock;
 * machines and agents are what the test says they say.
 */
#ifndef TESTS_WORLD_H
#define TESTS_WORLD_H

#include "controllers/controllers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"
#include "tests/unit/fake_api.h"

#define NS "/apis/drover.dev/v1/namespaces/default/"
#define LEASES "/apis/coordination.k8s.io/v1/namespaces/default/leases"
#define START_NS INT64_C(1767225600000000000) /* 2026-01-01 */

/* Monotonic, of everything. */
extern int64_t fake_ms;

struct world {
    struct fake_api *api;
    struct client *client;
    struct async_client *async;
    struct manager *m;
    struct controller_set *set;
};

int64_t now_ms(void);
int64_t wall_ns(void);
void start_controllers(struct world *w, uint64_t seed);
void stop_controllers(struct world *w);
void world_init(struct world *w, uint64_t seed);
void world_done(struct world *w);
void settle(struct world *w);
void advance_to(struct world *w, int64_t ms);
void create(struct world *w, const struct resource *r, json_t *o);
void patch(struct world *w, const struct resource *r, const char *name, json_t *body);
void renew(struct world *w, int n);
void add_machine(struct world *w, int n, int cpus);
void add_run(struct world *w, const char *name, json_t *more);
char *get_text(struct world *w, const char *path, const char *a, const char *b);
void phase_is(struct world *w, const char *path, const char *phase, const char *reason);
void agent_says(struct world *w, const char *job, json_t *agent);

#endif
