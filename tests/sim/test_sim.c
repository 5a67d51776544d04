/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs the simulation. Without arguments: some seeds, and twice one seed (same seed, same
 * run). DROVER_LONG in the environment: many seeds. `mutations`: each of them, which must
 * be found. To look at one:  test_sim --seed N --steps M -v
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>

#include "base/log.h"
#include "sim/sim.h"

enum { SEEDS = 40, SEEDS_LONG = 2000, STEPS = 2500, MUTATION_SEEDS = 60 };

static struct kinds *kinds;

struct outcome {
    bool failed;
    char invariant[64];
    uint64_t digest;
    unsigned submitted, binds, done, replaced, agent_lost, gangs, preempted, reclaimed;
};

static void
print_failure(const struct sim *s)
{
    size_t from = s->n_trace > SIM_TRACE ? s->n_trace - SIM_TRACE : 0;

    fprintf(stderr, "\n--- the last events\n");
    for (size_t i = from; i < s->n_trace; i++)
        fprintf(stderr, "%s\n", s->trace[i % SIM_TRACE]);
    fprintf(stderr,
            "--- seed %llu, step %u: invariant %s does not hold: %s\n"
            "    again: test_sim --seed %llu --steps %u%s -v\n",
            (unsigned long long)s->opts.seed, s->step, s->invariant, s->detail,
            (unsigned long long)s->opts.seed, s->opts.steps,
            s->opts.mutation != SIM_NO_MUTATION ? " (with its mutation)" : "");
}

static void
print_summary(const struct sim *s, const struct timespec *start)
{
    struct timespec end;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    printf("seed %llu: %u steps, %u agents, %u runs, %u binds, %u jobs over, %u "
           "retried, %u lost with their agent, %u server starts, %u controller ends, %u "
           "agent crashes, %u reboots, "
           "%u lost answers, %u relists, %u torn, %u full, %u unsynced lost, %.2f s\n",
           (unsigned long long)s->opts.seed, s->step, s->n_agents, s->n_submitted,
           s->n_binds, s->n_done, s->n_replaced, s->n_agent_lost, s->n_crashes,
           s->n_restarts, s->n_agent_crashes, s->n_reboots, s->n_lost_answers,
           s->n_expired, s->disk.n_torn, s->disk.n_full, s->disk.n_lost,
           (double)(end.tv_sec - start->tv_sec) +
               (double)(end.tv_nsec - start->tv_nsec) / 1e9);
}

static void
run_with(const struct sim_opts *o, void (*run)(struct sim *s), bool loud,
         struct outcome *ret)
{
    struct timespec start;
    struct sim *s = NULL;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
    if (sim_new(o, kinds, &s) == 0)
        run(s);
    if (s->failed && (loud || o->verbose))
        print_failure(s);
    if (loud)
        print_summary(s, &start);
    *ret = (struct outcome){.failed = s->failed,
                            .digest = s->digest,
                            .submitted = s->n_submitted,
                            .binds = s->n_binds,
                            .done = s->n_done,
                            .replaced = s->n_replaced,
                            .agent_lost = s->n_agent_lost,
                            .gangs = s->n_gangs,
                            .preempted = s->n_preempted,
                            .reclaimed = s->n_reclaimed};
    snprintf(ret->invariant, sizeof(ret->invariant), "%s", s->invariant);
    sim_free(s);
}

static void
run_seed(const struct sim_opts *o, bool loud, struct outcome *ret)
{
    run_with(o, sim_run, loud, ret);
}

/* --- tests --------------------------------------------------------------------------
 */

static void
test_seeds(void **state)
{
    /* The environment is read before any thread is. */
    bool many = getenv("DROVER_LONG") != NULL; /* NOLINT(concurrency-mt-unsafe) */
    unsigned n = many ? SEEDS_LONG : SEEDS, failed = 0;
    struct outcome sum = {0};

    UNUSED(state);
    for (unsigned i = 0; i < n; i++) {
        struct sim_opts o = {.seed = i, .steps = STEPS};
        struct outcome r;
        run_seed(&o, false, &r);
        if (r.failed) {
            run_seed(&o, true, &r);
            failed++;
        }
        sum.submitted += r.submitted;
        sum.binds += r.binds;
        sum.done += r.done;
        sum.replaced += r.replaced;
        sum.agent_lost += r.agent_lost;
        sum.gangs += r.gangs;
        sum.preempted += r.preempted;
        sum.reclaimed += r.reclaimed;
    }
    printf("%u seeds of %u steps: %u runs, %u binds, %u jobs over, %u retries, "
           "%u lost with their agent, %u gangs, %u preempted, %u machines taken away\n",
           n, STEPS, sum.submitted, sum.binds, sum.done, sum.replaced, sum.agent_lost,
           sum.gangs, sum.preempted, sum.reclaimed);
    assert_int_equal(failed, 0);
    assert_true(sum.done > n * 5); /* that something happened at all */
    assert_true(sum.replaced > n);
    assert_true(sum.agent_lost > 0);
    assert_true(sum.gangs > 0);
    assert_true(sum.reclaimed > 0);
}

static void
test_same_seed_same_run(void **state)
{
    struct sim_opts o = {.seed = 7, .steps = STEPS};
    struct outcome a, b;

    UNUSED(state);
    run_seed(&o, false, &a);
    run_seed(&o, false, &b);
    assert_true(a.digest == b.digest);
}

/* Some seed must find it, by one of the invariants that are there for it. */
static void
expect(enum sim_mutation m, const char *const *invariants)
{
    for (unsigned seed = 0; seed < MUTATION_SEEDS; seed++) {
        struct sim_opts o = {.seed = seed, .steps = STEPS, .mutation = m};
        struct outcome r;
        run_seed(&o, false, &r);
        if (!r.failed)
            continue;
        for (const char *const *i = invariants; *i != NULL; i++) {
            if (streq(*i, r.invariant))
                return;
        }
        fail_msg("mutation %d: seed %u found %s", m, seed, r.invariant);
    }
    fail_msg("mutation %d was not found", m);
}

static void
test_finds_second_start(void **state)
{
    static const char *const by[] = {"one_start_per_job", NULL};

    UNUSED(state);
    expect(SIM_START_TWICE, by);
}

static void
test_finds_ignored_claim(void **state)
{
    static const char *const by[] = {"one_start_per_job", "one_process_per_run",
                                     "no_job_vanishes_running", NULL};

    UNUSED(state);
    expect(SIM_IGNORE_CLAIM, by);
}

enum { STORY_SEED = 4 }; /* a world of several machines */

static void
test_partition(void **state)
{
    struct sim_opts o = {.seed = STORY_SEED};
    struct outcome r;

    UNUSED(state);
    run_with(&o, sim_partition_story, false, &r);
    assert_string_equal(r.invariant, "");
}

static void
test_outage(void **state)
{
    struct sim_opts o = {.seed = STORY_SEED};
    struct outcome r;

    UNUSED(state);
    run_with(&o, sim_outage_story, false, &r);
    assert_string_equal(r.invariant, "");
}

static void
expect_in_story(enum sim_mutation m)
{
    struct sim_opts o = {.seed = STORY_SEED, .mutation = m};
    struct outcome r;

    run_with(&o, sim_partition_story, false, &r);
    assert_string_equal(r.invariant, "partition_rule");
}

static void
test_finds_missing_dead_man(void **state)
{
    UNUSED(state);
    expect_in_story(SIM_NO_DEADMAN);
}

static void
test_finds_forgetful_dead_man(void **state)
{
    UNUSED(state);
    expect_in_story(SIM_DEADMAN_FORGETS);
}

static void
test_finds_lying_disk(void **state)
{
    static const char *const by[] = {"acknowledged_is_durable", "revisions_rise",
                                     "store_reopens", NULL};

    UNUSED(state);
    expect(SIM_LYING_DISK, by);
}

static void
test_finds_overcommit(void **state)
{
    static const char *const by[] = {"capacity_is_kept", NULL};

    UNUSED(state);
    expect(SIM_OVERCOMMIT, by);
}

static void
test_finds_kept_resources(void **state)
{
    static const char *const by[] = {"everything_is_released", "every_run_ends",
                                     "all_jobs_are_gone", NULL};

    UNUSED(state);
    expect(SIM_FORGET_RELEASE, by);
}

static void
test_finds_wrong_order(void **state)
{
    static const char *const by[] = {"priority_order", NULL};

    UNUSED(state);
    expect(SIM_PRIORITY, by);
}

static void
test_finds_early_start(void **state)
{
    static const char *const by[] = {"gangs_start_whole", NULL};

    UNUSED(state);
    expect(SIM_EARLY_START, by);
}

static void
test_finds_broken_quota(void **state)
{
    static const char *const by[] = {"quotas_are_kept", NULL};

    UNUSED(state);
    expect(SIM_QUOTA, by);
}

static void
test_reclaim(void **state)
{
    struct sim_opts o = {.seed = STORY_SEED};
    struct outcome r;

    UNUSED(state);
    run_with(&o, sim_reclaim_story, false, &r);
    assert_string_equal(r.invariant, "");
}

static void
test_finds_half_gone_machine(void **state)
{
    struct sim_opts o = {.seed = STORY_SEED, .mutation = SIM_HALF_GONE};
    struct outcome r;

    UNUSED(state);
    run_with(&o, sim_reclaim_story, false, &r);
    assert_string_equal(r.invariant, "partition_rule");
}

/* --- command line -------------------------------------------------------------------
 */

static int
run_arguments(int argc, char **argv)
{
    struct sim_opts o = {.steps = STEPS};
    unsigned seeds = 1, failed = 0;
    struct outcome r;

    for (int i = 1; i < argc; i++) {
        bool more = i + 1 < argc;
        if (streq(argv[i], "-v"))
            o.verbose = true;
        else if (streq(argv[i], "--seed") && more)
            o.seed = strtoull(argv[++i], NULL, 10);
        else if (streq(argv[i], "--seeds") && more)
            seeds = (unsigned)strtoul(argv[++i], NULL, 10);
        else if (streq(argv[i], "--steps") && more)
            o.steps = (unsigned)strtoul(argv[++i], NULL, 10);
        else if (streq(argv[i], "--mutation") && more)
            o.mutation = (enum sim_mutation)strtoul(argv[++i], NULL, 10);
        else
            return fprintf(stderr, "usage: test_sim [--seed N] [--seeds N] [--steps M] "
                                   "[--mutation K] [-v]\n"),
                   2;
    }
    for (unsigned i = 0; i < seeds; i++, o.seed++) {
        run_seed(&o, true, &r);
        failed += r.failed;
    }
    return failed > 0;
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_seeds),     cmocka_unit_test(test_same_seed_same_run),
        cmocka_unit_test(test_partition), cmocka_unit_test(test_outage),
        cmocka_unit_test(test_reclaim),
    };
    const struct CMUnitTest mutations[] = {
        cmocka_unit_test(test_finds_second_start),
        cmocka_unit_test(test_finds_ignored_claim),
        cmocka_unit_test(test_finds_missing_dead_man),
        cmocka_unit_test(test_finds_forgetful_dead_man),
        cmocka_unit_test(test_finds_lying_disk),
        cmocka_unit_test(test_finds_overcommit),
        cmocka_unit_test(test_finds_kept_resources),
        cmocka_unit_test(test_finds_wrong_order),
        cmocka_unit_test(test_finds_early_start),
        cmocka_unit_test(test_finds_broken_quota),
        cmocka_unit_test(test_finds_half_gone_machine),
    };
    struct error e = ERROR_INIT;
    int rc;

    /* Disks fail here all the time; nobody needs to read of it. */
    autoclose int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    log_set_fd(null);
    if (kinds_load(&kinds, &e) < 0) {
        fprintf(stderr, "kinds: %s\n", e.msg);
        return 1;
    }
    if (argc == 2 && streq(argv[1], "mutations"))
        rc = cmocka_run_group_tests_name("sim mutations", mutations, NULL, NULL);
    else if (argc > 1)
        rc = run_arguments(argc, argv);
    else
        rc = cmocka_run_group_tests_name("sim", tests, NULL, NULL);
    kinds_free(kinds);
    return rc;
}
