/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plan of one job: a table of situations, each with the one right action, and a walk
 * over all combinations for what must never happen.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "runner/diskroom.h"
#include "runner/job_plan.h"

#define SEEN .seen = true, .fits = true, .engine_use = JOB_ENGINE_USABLE
#define NEW SEEN, .engine = JOB_ENGINE_CLEAN
#define OURS .claim = JOB_CLAIM_OURS
#define HELD SEEN, OURS, .entry = true

static const struct {
    const char *what;
    struct job_facts f;
    enum job_action want;
} cases[] = {
    /* the straight way */
    {"new", {NEW}, JOB_CLAIM},
    {"claim in flight", {NEW, .claiming = true}, JOB_WAIT},
    {"claimed", {NEW, OURS}, JOB_WRITE_ENTRY},
    {"not released", {HELD, .engine = JOB_ENGINE_CLEAN}, JOB_WAIT},
    {"released", {HELD, .engine = JOB_ENGINE_CLEAN, .go = true}, JOB_LAUNCH},
    {"needs secrets",
     {HELD, .engine = JOB_ENGINE_CLEAN, .go = true, .needs_secrets = true},
     JOB_FETCH_SECRETS},
    {"has secrets",
     {HELD, .engine = JOB_ENGINE_CLEAN, .go = true, .needs_secrets = true,
      .secrets = true},
     JOB_LAUNCH},
    {"has files",
     {HELD, .engine = JOB_ENGINE_CLEAN, .go = true, .needs_place = true},
     JOB_PLACE},
    {"files wait for secrets",
     {HELD, .engine = JOB_ENGINE_CLEAN, .go = true, .needs_place = true,
      .needs_secrets = true},
     JOB_FETCH_SECRETS},
    {"files are placed",
     {HELD, .engine = JOB_ENGINE_CLEAN, .go = true, .needs_place = true, .placed = true},
     JOB_LAUNCH},
    {"files cannot be placed",
     {HELD, .engine = JOB_ENGINE_CLEAN, .go = true, .needs_place = true,
      .place_failed = true},
     JOB_SAY_NOT_PLACED},
    {"stopped while files are placed",
     {HELD, .engine = JOB_ENGINE_CLEAN, .go = true, .needs_place = true,
      .desired = JOB_STOP},
     JOB_SAY_CANCELLED},
    {"running", {HELD, .engine = JOB_ENGINE_BUSY, .go = true}, JOB_WAIT},
    {"ended, not told", {HELD, .engine = JOB_ENGINE_ENDED, .verdict = true}, JOB_WAIT},
    {"ended, told",
     {HELD, .engine = JOB_ENGINE_ENDED, .verdict = true, .end_acked = true},
     JOB_REMOVE},
    {"ended, told, log not whole",
     {HELD, .engine = JOB_ENGINE_ENDED, .verdict = true, .end_acked = true,
      .log_open = true},
     JOB_WAIT},
    {"ended, log not whole, object gone",
     {HELD, .engine = JOB_ENGINE_ENDED, .absent = true, .log_open = true},
     JOB_REMOVE},
    {"removing",
     {HELD, .engine = JOB_ENGINE_REMOVING, .verdict = true, .end_acked = true},
     JOB_WAIT},
    {"removed",
     {HELD, .engine = JOB_ENGINE_REMOVED, .verdict = true, .end_acked = true},
     JOB_SAY_FREED},
    {"freed told, log open",
     {HELD, .engine = JOB_ENGINE_REMOVED, .end_acked = true, .freed_acked = true},
     JOB_WAIT},
    {"all told",
     {HELD, .engine = JOB_ENGINE_REMOVED, .end_acked = true, .freed_acked = true,
      .logs_acked = true},
     JOB_FINISH},
    {"finished, late event", {NEW, OURS, .verdict = true, .end_acked = true}, JOB_FORGET},

    /* refusals */
    {"engine restarts",
     {.seen = true,
      .fits = true,
      .engine_use = JOB_ENGINE_MISSING,
      .engine_coming = true,
      .engine = JOB_ENGINE_CLEAN},
     JOB_WAIT},
    {"engine restarts, held",
     {.seen = true,
      .fits = true,
      .engine_use = JOB_ENGINE_MISSING,
      .engine_coming = true,
      OURS,
      .entry = true,
      .go = true,
      .engine = JOB_ENGINE_CLEAN},
     JOB_WAIT},
    {"does not fit",
     {.seen = true, .engine_use = JOB_ENGINE_USABLE, .engine = JOB_ENGINE_CLEAN},
     JOB_SAY_MISFIT},
    {"no such engine",
     {.seen = true,
      .fits = true,
      .engine_use = JOB_ENGINE_MISSING,
      .engine = JOB_ENGINE_CLEAN},
     JOB_SAY_NO_ENGINE},
    {"engine not probed",
     {.seen = true,
      .fits = true,
      .engine_use = JOB_ENGINE_UNKNOWN,
      .engine = JOB_ENGINE_CLEAN},
     JOB_WAIT},
    {"refusal being told", {NEW, .verdict = true}, JOB_WAIT},
    {"refusal told", {NEW, .verdict = true, .end_acked = true}, JOB_FORGET},
    {"over before we saw it", {NEW, .server_terminal = true}, JOB_FORGET},
    {"secret missing",
     {HELD, .engine = JOB_ENGINE_CLEAN, .go = true, .needs_secrets = true,
      .secrets_failed = true},
     JOB_SAY_NO_SECRET},

    /* another journal's claim */
    {"claimed by a lost journal", {NEW, .claim = JOB_CLAIM_OTHER}, JOB_SAY_LOST},
    {"and over", {NEW, .claim = JOB_CLAIM_OTHER, .server_terminal = true}, JOB_SAY_FREED},
    {"and over, its release told",
     {NEW, .claim = JOB_CLAIM_OTHER, .server_terminal = true, .server_freed = true},
     JOB_FORGET},

    /* stop, abort, deletion */
    {"stopped before the claim", {NEW, .desired = JOB_STOP}, JOB_SAY_CANCELLED},
    {"deleted before the claim", {NEW, .deleting = true}, JOB_SAY_CANCELLED},
    {"stopped before the launch",
     {HELD, .engine = JOB_ENGINE_CLEAN, .go = true, .desired = JOB_STOP},
     JOB_SAY_CANCELLED},
    {"stop", {HELD, .engine = JOB_ENGINE_BUSY, .desired = JOB_STOP}, JOB_STOP_ENGINE},
    {"stopping",
     {HELD, .engine = JOB_ENGINE_BUSY, .desired = JOB_STOP, .stop_sent = JOB_STOP},
     JOB_WAIT},
    {"abort", {HELD, .engine = JOB_ENGINE_BUSY, .desired = JOB_ABORT}, JOB_KILL_ENGINE},
    {"abort while stopping",
     {HELD, .engine = JOB_ENGINE_BUSY, .desired = JOB_ABORT, .stop_sent = JOB_STOP},
     JOB_KILL_ENGINE},
    {"aborting",
     {HELD, .engine = JOB_ENGINE_BUSY, .desired = JOB_ABORT, .stop_sent = JOB_ABORT},
     JOB_WAIT},
    {"deleted while running",
     {HELD, .engine = JOB_ENGINE_BUSY, .deleting = true},
     JOB_STOP_ENGINE},
    {"gone while running",
     {HELD, .engine = JOB_ENGINE_BUSY, .absent = true},
     JOB_STOP_ENGINE},
    {"gone, ended", {HELD, .engine = JOB_ENGINE_ENDED, .absent = true}, JOB_REMOVE},
    {"gone, removed", {HELD, .engine = JOB_ENGINE_REMOVED, .absent = true}, JOB_FINISH},
    {"gone, never launched",
     {HELD, .engine = JOB_ENGINE_CLEAN, .absent = true},
     JOB_REMOVE},
    {"gone, nothing held", {NEW, .absent = true}, JOB_FORGET},
    {"silent server",
     {HELD, .engine = JOB_ENGINE_BUSY, .dead_man = true},
     JOB_STOP_ENGINE},
    {"silent server, not launched",
     {HELD, .engine = JOB_ENGINE_CLEAN, .go = true, .dead_man = true},
     JOB_WAIT},

    /* after a restart of the agent */
    {"entry, engine not probed",
     {.entry = true, .engine = JOB_ENGINE_UNASKED, .engine_use = JOB_ENGINE_UNKNOWN},
     JOB_WAIT},
    {"entry, no server",
     {.entry = true, .engine = JOB_ENGINE_UNASKED, .engine_use = JOB_ENGINE_USABLE},
     JOB_ADOPT},
    {"entry, daemon away",
     {.entry = true, .engine = JOB_ENGINE_UNASKED, .engine_use = JOB_ENGINE_MISSING},
     JOB_ADOPT},
    {"never started, no server",
     {.entry = true, .engine = JOB_ENGINE_CLEAN, .engine_use = JOB_ENGINE_USABLE},
     JOB_WAIT},
    {"never started, claim not at the server",
     {SEEN, .entry = true, .engine = JOB_ENGINE_CLEAN, .go = true},
     JOB_CLAIM},
    {"never started, claimed by another journal",
     {SEEN, .entry = true, .engine = JOB_ENGINE_CLEAN, .go = true,
      .claim = JOB_CLAIM_OTHER},
     JOB_SAY_LOST},
    {"end told in an earlier life",
     {HELD, .engine = JOB_ENGINE_ENDED, .server_terminal = true},
     JOB_REMOVE},
    {"freed told in an earlier life",
     {HELD, .engine = JOB_ENGINE_REMOVED, .server_terminal = true, .server_freed = true,
      .logs_acked = true},
     JOB_FINISH},
    {"end told, container gone",
     {HELD, .engine = JOB_ENGINE_CLEAN, .server_terminal = true},
     JOB_REMOVE},
};

static void
table(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        enum job_action got = job_plan(&cases[i].f);
        if (got != cases[i].want)
            fail_msg("%s: %s, want %s", cases[i].what, job_action_name(got),
                     job_action_name(cases[i].want));
    }
}

/* Every combination of the facts that a start depends on. */
static struct job_facts
nth(unsigned n)
{
    struct job_facts f = {0};
#define BIT(field)                                                                       \
    f.field = n & 1;                                                                     \
    n >>= 1
#define ENUM(field, type, bits)                                                          \
    f.field = (type)(n & ((1u << (bits)) - 1));                                          \
    n >>= (bits)
    BIT(seen);
    BIT(absent);
    BIT(deleting);
    BIT(go);
    BIT(server_terminal);
    BIT(entry);
    BIT(fits);
    BIT(claiming);
    BIT(needs_secrets);
    BIT(secrets);
    BIT(verdict);
    BIT(end_acked);
    BIT(logs_acked);
    BIT(dead_man);
    ENUM(desired, enum job_desired, 2);
    ENUM(claim, enum job_claim, 2);
    ENUM(engine_use, enum job_engine_use, 2);
    ENUM(engine, enum job_engine, 3);
#undef BIT
#undef ENUM
    return f;
}

static bool
valid(const struct job_facts *f)
{
    return f->desired <= JOB_ABORT && f->claim <= JOB_CLAIM_OTHER &&
           f->engine_use <= JOB_ENGINE_MISSING && f->engine <= JOB_ENGINE_REMOVED &&
           (!f->end_acked || f->verdict);
}

static void
never(void **state)
{
    UNUSED(state);
    for (unsigned n = 0; n < 1u << 23; n++) {
        struct job_facts f = nth(n);
        if (!valid(&f))
            continue;
        enum job_action a = job_plan(&f);
        switch (a) {
        case JOB_LAUNCH: /* only what is ours, wanted, released and surely not started */
            assert_true(f.entry && f.seen && f.claim == JOB_CLAIM_OURS && f.go);
            assert_true(f.engine == JOB_ENGINE_CLEAN &&
                        f.engine_use == JOB_ENGINE_USABLE);
            assert_true(f.desired == JOB_RUN && !f.deleting && !f.absent);
            assert_true(!f.server_terminal && !f.verdict && !f.claiming && !f.dead_man);
            assert_true(!f.needs_secrets || f.secrets);
            break;
        case JOB_WRITE_ENTRY:
            assert_true(!f.entry && f.claim == JOB_CLAIM_OURS && f.fits);
            break;
        case JOB_CLAIM:
            assert_true(f.claim == JOB_CLAIM_NONE && !f.server_terminal && f.seen);
            break;
        case JOB_FORGET: /* never while the journal says that we hold something */
            assert_true(!f.entry);
            break;
        case JOB_FINISH:
            assert_true(f.entry && f.engine == JOB_ENGINE_REMOVED);
            assert_true(f.logs_acked || f.absent);
            break;
        case JOB_REMOVE: /* what the engine knows is kept until the server knows it */
            assert_true(f.end_acked || f.absent || f.server_terminal);
            assert_true(f.engine == JOB_ENGINE_CLEAN || f.engine == JOB_ENGINE_ENDED);
            break;
        case JOB_SAY_LOST:
        case JOB_SAY_MISFIT:
        case JOB_SAY_NO_ENGINE:
        case JOB_SAY_CANCELLED:
        case JOB_SAY_NOT_PLACED:
        case JOB_SAY_NO_SECRET: /* never over a terminal state or a live process */
            assert_true(!f.server_terminal && !f.verdict);
            assert_true(!f.entry || f.engine == JOB_ENGINE_CLEAN);
            break;
        case JOB_ADOPT:
            assert_true(f.entry && f.engine == JOB_ENGINE_UNASKED);
            break;
        case JOB_STOP_ENGINE:
        case JOB_KILL_ENGINE:
            assert_true(f.entry && f.engine == JOB_ENGINE_BUSY);
            break;
        case JOB_WAIT:
        case JOB_FETCH_SECRETS:
        case JOB_PLACE:
        case JOB_SAY_FREED:
        case JOB_N_ACTIONS:
            break;
        }
    }
}

/* The smaller of 5 % and 1 GiB, unless told; left only a quarter above. */
static void
disk_floor(void **state)
{
    UNUSED(state);
    assert_int_equal(diskroom_floor_mib(2000, -1), 100);
    assert_int_equal(diskroom_floor_mib(1000000, -1), 1024);
    assert_int_equal(diskroom_floor_mib(1000000, 7), 7);
    assert_int_equal(diskroom_floor_mib(1000000, 0), 0);
    assert_false(diskroom_is_low(false, 100, 100));
    assert_true(diskroom_is_low(false, 99, 100));
    assert_true(diskroom_is_low(true, 124, 100));
    assert_false(diskroom_is_low(true, 125, 100));
    assert_false(diskroom_is_low(false, 0, 0));
    assert_false(diskroom_is_low(true, 0, 0));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table),
        cmocka_unit_test(never),
        cmocka_unit_test(disk_floor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
