/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every file operation of a whole life fails once, at every call: starts, commits, new
 * segments, snapshots, clean-up, compaction. Whatever fails, what was acknowledged is
 * there afterwards, what was refused for lack of space is not, and a start that is
 * refused says which file and why.
 */
#include "unit/store_fixture.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/fs.h"
#include "base/mem.h"

#define KEYS 6
#define STEPS 36

struct life {
    struct fixture f;
    struct fx_fault fault;
    struct store_fs_ops fs;
    int64_t acked[KEYS]; /* spec.n; -1 absent */
    int64_t maybe[KEYS]; /* what was under way when the store broke; -2: nothing */
    uint64_t seen;
    bool ended; /* the process would have exited */
};

static void
name_of(int key, char out[8])
{
    snprintf(out, 8, "k%d", key);
}

/* False: refused, with the file's name. */
static bool
start(struct life *l)
{
    struct error e = ERROR_INIT;

    if (fx_try_open(&l->f, &e) == 0)
        return true;
    if (strstr(e.msg, "/log") == NULL && strstr(e.msg, "/snapshot") == NULL &&
        strstr(e.msg, l->f.dir) == NULL)
        fail_msg("a refusal that names no file: %s", e.msg);
    assert_true(e.code == ERR_IO || e.code == ERR_FULL || e.code == ERR_NOT_FOUND);
    l->ended = true;
    return false;
}

static void
finish(struct life *l, int key, int64_t value, const struct fx_result *r)
{
    fx_wait(&l->f, r);
    if (r->e.code == ERR_OK) {
        l->acked[key] = value;
        l->seen = r->revision;
        return;
    }
    assert_true(r->e.code == ERR_FULL || r->e.code == ERR_IO);
    if (r->e.code == ERR_IO) {
        assert_int_equal(l->f.fatal, 1);
        l->maybe[key] = value;
        l->ended = true;
    }
}

/* Some 3 KB each: a new segment every few steps. */
static void
step(struct life *l, int i)
{
    int key = (i * 5 + i / KEYS) % KEYS;
    struct fx_result r = {0};
    struct error e = ERROR_INIT;
    char name[8];

    name_of(key, name);
    struct store_key k = {RUNS, "default", name};
    const struct object *have = store_peek(l->f.store, &k);
    bool del = i % 7 == 6 && have != NULL;
    auto_object *o = fx_object("default", name, NULL, i, 3000);
    struct store_op op = {del ? STORE_DELETE : STORE_PUT, k,
                          have == NULL ? 0 : have->revision, del ? NULL : o};
    int rc = store_commit(l->f.store, &op, 1, STORE_DURABLE, fx_on_done, &r, NULL, &e);
    if (rc < 0) {
        assert_int_equal(rc, -ERR_IO);
        l->ended = true;
        return;
    }
    finish(l, key, del ? -1 : i, &r);
    if (i % 10 == 9 && !l->ended)
        store_snapshot(l->f.store, NULL, NULL);
    if (i % 12 == 11 && !l->ended) {
        struct fx_result c = {0};
        if (store_compact(l->f.store, store_revision(l->f.store), fx_on_done, &c, &e) ==
            0)
            fx_wait(&l->f, &c);
    }
}

static void
live(struct life *l)
{
    for (int i = 0; i < STEPS && !l->ended; i++) {
        if (l->f.store == NULL && !start(l))
            break;
        step(l, i);
        if (i % 13 == 12)
            fx_close(&l->f);
    }
    fx_close(&l->f);
}

static void
compare(struct life *l)
{
    for (int key = 0; key < KEYS; key++) {
        char name[8];
        name_of(key, name);
        const struct object *o = fx_get(&l->f, "default", name);
        int64_t have = o == NULL ? -1 : fx_value(o);
        if (have != l->acked[key] && have != l->maybe[key])
            fail_msg("%s: %" PRId64 " is there, %" PRId64 " was acknowledged", name, have,
                     l->acked[key]);
    }
    assert_true(store_revision(l->f.store) >= l->seen);
}

/* The calls of the kind that the life has made; 0 hits: n is past the last. */
static bool
one_life(enum fx_op op, unsigned n, unsigned count, int error, bool short_write)
{
    struct life l = {.fault = {.no_sync = true, .short_write = short_write}};

    for (int k = 0; k < KEYS; k++) {
        l.acked[k] = -1;
        l.maybe[k] = -2;
    }
    l.fault.fail_from[op] = n;
    l.fault.fail_count[op] = count;
    l.fault.error[op] = error;
    l.fs = fx_fault_ops(&l.fault);
    fx_init(&l.f, true);
    l.f.opts.fs = &l.fs;
    l.f.opts.segment_bytes = 32 << 10;
    l.f.opts.retain_s = 0;
    live(&l);
    bool hit = l.fault.hits > 0;
    /* The disk is well again. Twice: recovery must not damage what it found. */
    l.f.opts.fs = &fx_no_sync;
    for (int i = 0; i < 2; i++) {
        fx_open(&l.f);
        compare(&l);
        fx_close(&l.f);
    }
    fx_open(&l.f);
    uint64_t rev = fx_put(&l.f, RUNS, "default", "after", NULL, 1);
    assert_true(rev > l.seen);
    fx_done(&l.f);
    return hit;
}

static void
every_call(enum fx_op op, unsigned count, int error, bool short_write, unsigned at_least)
{
    unsigned n = 1;

    while (one_life(op, n, count, error, short_write))
        n++;
    if (n <= at_least)
        fail_msg("only %u calls of operation %d", n - 1, (int)op);
}

#define SWEEP(name, op, at_least)                                                        \
    static void test_##name(void **state)                                                \
    {                                                                                    \
        UNUSED(state);                                                                   \
        every_call(op, 1, EIO, false, at_least);                                         \
        every_call(op, 1, ENOSPC, false, at_least);                                      \
    }

SWEEP(write, FX_WRITE, 40)
SWEEP(sync, FX_SYNC, 40)
SWEEP(rename, FX_RENAME, 6)
SWEEP(allocate, FX_ALLOC, 5)
SWEEP(truncate, FX_TRUNCATE, 2)
SWEEP(unlink, FX_UNLINK, 2)
SWEEP(open, FX_OPEN, 10)
SWEEP(read, FX_READ, 3)

static void
test_short(void **state)
{
    UNUSED(state);
    every_call(FX_WRITE, 1, 0, true, 40);
    every_call(FX_WRITE, 1, EIO, true, 40);
    every_call(FX_WRITE, 1, ENOSPC, true, 40);
    every_call(FX_WRITE, 1, EINTR, false, 40);
    every_call(FX_READ, 1, 0, false, 3);
    every_call(FX_READ, 1, EINTR, false, 3);
}

/* From the Nth call on nothing works any more. */
static void
test_lasting(void **state)
{
    UNUSED(state);
    every_call(FX_WRITE, 100000, ENOSPC, true, 40);
    every_call(FX_WRITE, 100000, EIO, false, 40);
    every_call(FX_SYNC, 100000, EIO, false, 40);
    every_call(FX_ALLOC, 100000, ENOSPC, false, 5);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write),    cmocka_unit_test(test_sync),
        cmocka_unit_test(test_rename),   cmocka_unit_test(test_allocate),
        cmocka_unit_test(test_truncate), cmocka_unit_test(test_unlink),
        cmocka_unit_test(test_open),     cmocka_unit_test(test_read),
        cmocka_unit_test(test_short),    cmocka_unit_test(test_lasting),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
