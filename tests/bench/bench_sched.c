/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Placements per second of the scheduler library: INSTANCES instances of 8 GPUs in ten
 * fleets, JOBS one-GPU jobs of ten shapes; first until the instances are full, then one
 * job ends and its place is given to the next, CHURN times; then a gang of 200. Then the
 * same instances for three namespaces of one cohort: the first fills them all, the others
 * take their shares back.
 */
#include <stdio.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/vec.h"
#include "controllers/job/scheduler/scheduler.h"

enum { INSTANCES = 10000, JOBS = 100000, GPUS = 8, CHURN = 20000, GANG = 200 };
enum { SPACES = 3, SHARE = INSTANCES * GPUS / SPACES };
static const char *const spaces[SPACES] = {"default", "vision", "speech"};

static void
add_instances(struct scheduler *s)
{
    struct resource_have *have = xnew(struct resource_have);
    char uuids[GPUS][32], name[32], fleet[32];
    const char *gpus[GPUS];

    have->cpu_milli = 64000;
    have->memory_mib = 512 * 1024;
    have->disk_mib = 1024 * 1024;
    have->n_gpus = GPUS;
    have->gpu_free = (1u << GPUS) - 1;
    for (int g = 0; g < GPUS; g++) {
        have->gpus[g] =
            (struct gpu_have){.vendor = GPU_VENDOR_NVIDIA, .memory_mib = 81920};
        snprintf(have->gpus[g].name, sizeof(have->gpus[g].name), "A100");
        gpus[g] = uuids[g];
    }
    for (int i = 0; i < INSTANCES; i++) {
        snprintf(name, sizeof(name), "gpu-%05d", i);
        snprintf(fleet, sizeof(fleet), "fleet-%d", i % 10);
        for (int g = 0; g < GPUS; g++)
            snprintf(uuids[g], sizeof(uuids[g]), "GPU-%d-%d", i, g);
        struct sched_instance in = {.uid = name,
                                    .ns = "default",
                                    .name = name,
                                    .fleet = fleet,
                                    .usable = true,
                                    .engines = SCHED_DOCKER,
                                    .capacity = have,
                                    .gpu_uuids = gpus};
        scheduler_set_instance(s, &in);
    }
    free(have);
}

static void
add_job(struct scheduler *s, int n, const char *ns, const char *gang)
{
    struct resource_req req = {.cpu = {1 + n % 10, INT64_MAX},
                               .memory_mib = {8192, INT64_MAX},
                               .disk_mib = RANGE_ANY};
    char uid[32];

    req.gpu = (struct gpu_req){.given = true,
                               .count = {1, 1},
                               .memory_mib = RANGE_ANY,
                               .total_memory_mib = RANGE_ANY};
    snprintf(uid, sizeof(uid), "job-%06d", n);
    struct sched_job j = {.uid = uid,
                          .ns = ns,
                          .name = uid,
                          .queued_ns = n,
                          .req = &req,
                          .has_image = true,
                          .gang = gang,
                          .gang_size = GANG,
                          .reason = ""};
    if (gang != NULL) {
        j.priority = 1;
        req.cpu.min = 1;
    }
    scheduler_queue(s, &j);
}

static void
report(const char *what, size_t n, int64_t since)
{
    int64_t ns = clock_now_ns() - since;

    printf("%-24s %8zu in %8.1f ms  %10.0f/s\n", what, n, (double)ns / 1e6,
           (double)n * 1e9 / (double)ns);
}

static void
add_quotas(struct scheduler *s)
{
    char fleet[32];

    for (int i = 0; i < 10; i++) {
        const char *const all = "*";
        snprintf(fleet, sizeof(fleet), "fleet-%d", i);
        scheduler_share_fleet(s, "default", fleet, &all, 1);
    }
    for (int i = 0; i < SPACES; i++) {
        struct sched_limit gpus = {
            .kind = SCHED_LIMIT_GPUS, .own = SHARE, .borrow = INT64_MAX};
        scheduler_set_quota(s, &(struct sched_quota){.uid = spaces[i],
                                                     .ns = spaces[i],
                                                     .cohort = "all",
                                                     .weight = 1,
                                                     .limits = &gpus,
                                                     .n_limits = 1});
    }
}

/* Victims wait no more. They end at once, or slowly: one by one, and others come to be
 * told meanwhile. */
static size_t
take_back(struct scheduler *s, bool slowly)
{
    struct sched_decision d;
    struct sched_preemption p;
    vec(char *) told = {0};
    size_t placed = 0, gone = 0;

    do {
        while (scheduler_next(s, &d))
            placed++;
        while (scheduler_next_preemption(s, &p))
            vec_push(&told, xstrdup(p.uid));
        for (size_t n = 0; gone < told.len && (n == 0 || !slowly); n++) {
            scheduler_remove_job(s, told.items[gone]);
            free(told.items[gone++]);
        }
    } while (scheduler_next(s, &d) ? ++placed > 0 : gone < told.len);
    vec_done(&told);
    return placed;
}

static size_t
bench_shares(bool slowly)
{
    struct scheduler *s = scheduler_new();
    struct sched_decision d;
    size_t lent = 0, back;

    add_instances(s);
    add_quotas(s);
    for (int i = 0; i < JOBS; i++)
        add_job(s, i, spaces[0], NULL);
    int64_t t = clock_now_ns();
    while (scheduler_next(s, &d))
        lent++;
    if (!slowly)
        report("placed, lent shares", lent, t);
    for (int i = 0; i < JOBS / 2; i++)
        add_job(s, JOBS + i, spaces[1 + i % 2], NULL);
    t = clock_now_ns();
    back = take_back(s, slowly);
    report(slowly ? "the same, one at a time" : "placed, shares taken back", back, t);
    scheduler_free(s);
    return back;
}

int
main(void)
{
    struct scheduler *s = scheduler_new();
    struct sched_decision d;
    size_t placed = 0, again = 0, gang = 0;
    char uid[32];

    add_instances(s);
    int64_t t = clock_now_ns();
    for (int i = 0; i < JOBS; i++)
        add_job(s, i, "default", NULL);
    report("queued", JOBS, t);
    t = clock_now_ns();
    while (scheduler_next(s, &d))
        placed++;
    report("placed until full", placed, t);
    t = clock_now_ns();
    for (int i = 0; i < CHURN; i++) {
        snprintf(uid, sizeof(uid), "job-%06d", (int)((int64_t)i * 7919 % (int)placed));
        scheduler_remove_job(s, uid);
        while (scheduler_next(s, &d))
            again++;
    }
    report("one ends, one placed", again, t);
    for (int i = 0; i < JOBS; i++) {
        snprintf(uid, sizeof(uid), "job-%06d", i);
        scheduler_remove_job(s, uid);
    }
    for (int i = 0; i < GANG; i++)
        add_job(s, i, "default", "gang");
    t = clock_now_ns();
    while (scheduler_next(s, &d))
        gang++;
    report("members of one gang", gang, t);
    for (int i = 0; i < GANG; i++) {
        snprintf(uid, sizeof(uid), "job-%06d", i);
        scheduler_remove_job(s, uid);
    }
    scheduler_free(s);
    size_t back = bench_shares(false), slowly = bench_shares(true);
    return gang == GANG && again > 0 && back > 0 && slowly > 0 ? 0 : 1;
}
