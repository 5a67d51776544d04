/* SPDX-License-Identifier: Apache-2.0 */
/* Controllers and the scheduler, stepped over a server in memory with a fake clock. */
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
#define START_NS INT64_C(1767225600000000000) /* 2026-01-01 */

/* Monotonic, of everything. */
extern int64_t fake_ms;

struct world {
    struct fake_api *api;
    struct client *client;
    struct async_client *async;
    struct manager *m;
    struct controller_set *set;
    const char *only; /* which controllers, as of controllers_add */
};

int64_t now_ms(void);
int64_t wall_ns(void);
void start_controllers(struct world *w, uint64_t seed);
void stop_controllers(struct world *w);
/* All controllers, or those of `only`. */
void world_init(struct world *w, uint64_t seed);
void world_init_only(struct world *w, uint64_t seed, const char *only);
void world_done(struct world *w);
void settle(struct world *w);
void advance_to(struct world *w, int64_t ms);
/* In the namespace default, or the one given; "": in none. They take o and body. */
void create(struct world *w, const struct resource *r, json_t *o);
void create_in(struct world *w, const struct resource *r, const char *ns, json_t *o);
/* Of an Instance that is there, as its agent takes it; renewed at START_NS. */
void create_lease(struct world *w, const char *instance, int seconds);
void patch(struct world *w, const struct resource *r, const char *name, json_t *body);
void patch_in(struct world *w, const struct resource *r, const char *ns, const char *name,
              json_t *body);

#endif
