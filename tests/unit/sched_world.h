/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A model of machines, jobs and quotas beside the scheduler library: it does what the
 * scheduler decides, and checks at each step that nothing is overcommitted, gangs are
 * whole on instances of their own in one fleet, quotas kept, victims only by the rules.
 */
#ifndef TESTS_UNIT_SCHED_WORLD_H
#define TESTS_UNIT_SCHED_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "controllers/job/scheduler/scheduler.h"

enum { INSTANCES = 10, JOBS = 48, GPUS = 4, SPACES = 4, ROUNDS_MAX = 400 };

struct m_instance {
    bool usable;
    int fleet;
    struct resource_have cap;
    char uid[16];
    char gpu_names[GPUS][24];
    const char *gpus[GPUS];
};
struct m_job {
    enum { ABSENT, WAITING, HELD } where;
    int space, gang; /* gang -1: alone */
    size_t gang_size;
    int64_t priority, queued, duration, started;
    bool preempts, preemptible;
    int64_t gpus, cpus;
    struct resource_req req;
    char uid[16], origin[16], key[16];
    int attempt;
    int on;
    struct reservation r;
    bool told; /* to give way, and does so later */
};
struct world {
    struct scheduler *s;
    struct m_instance i[INSTANCES];
    struct m_job j[JOBS];
    int64_t now;
    int next_gang;
    bool quotas;
    bool slow;   /* victims take their time */
    bool anew;   /* another attempt has another uid */
    bool shared; /* all fleets with all, and nobody goes slowly */
};

/* a and b lend each other; c has a hard limit; d has none. */
extern const char *const spaces[SPACES];
extern const struct sched_limit limits_a[2], limits_b[2], limits_c[2];

void seed(uint64_t value);
uint32_t rnd(uint32_t n); /* below n */

struct world *world_new(void);
void world_free(struct world *w);
void add_quotas(struct world *w);
/* fleet: 0 "alpha" with A100s, 1 "beta" with H100s. */
void add_instance(struct world *w, int n, int fleet, int64_t cpus, size_t gpus);
void tell_instance(struct world *w, int n); /* it changed */
/* Of namespace d, alone; not told to the scheduler yet. */
struct m_job *add_job(struct world *w, int n, int64_t cpus, int64_t gpus);
void queue(struct world *w, struct m_job *j);
void queue_again(struct world *w, struct m_job *j); /* after it was told to go */
void finish(struct world *w, struct m_job *j);      /* with its gang */
int64_t used(const struct world *w, int space, const struct sched_limit *l);

void take(struct world *w, const struct sched_decision *d);
/* The victim, with its gang, waits again: at once, or in a slow world when it is queued.
 */
void evict(struct world *w, const struct sched_preemption *p);
/* All that are to give way now, when nothing can be placed; how many. */
size_t tell_all(struct world *w);
void goes(struct world *w, int n); /* who was told, and took its time */
void all_go(struct world *w);
/* All jobs are told once more as they are. */
void events(struct world *w);
/* Another scheduler, which knows what was stored; fleets are shared with all. */
void restart(struct world *w);
/* Decisions and evictions until there are no more; how many evictions. */
int settle(struct world *w);

#endif
