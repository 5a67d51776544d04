/* SPDX-License-Identifier: Apache-2.0 */
/*
 * File operations that fail: every kind at every call. Whatever fails, an acknowledged
 * commit is there after a restart, one refused for lack of space is not, and after
 * anything worse nothing more is acknowledged.
 */
#include "unit/store_fixture.h"

#include <inttypes.h>

#include "apiserver/store/store_log.h"
#include "base/fs.h"
#include "base/mem.h"

#define COMMITS 12

static void
arm(struct fx_fault *x, enum fx_op op, unsigned from, unsigned count, int error)
{
    *x = (struct fx_fault){.no_sync = true};
    x->fail_from[op] = from;
    x->fail_count[op] = count;
    x->error[op] = error;
}

struct outcome {
    struct fx_result r[COMMITS];
    int rc[COMMITS];
};

/* Commit i puts "n<i>"; every fourth deletes n<i-1> instead. */
static void
name_of(int i, char out[8])
{
    snprintf(out, 8, "n%d", i);
}

static void
run_script(struct fixture *f, struct outcome *o)
{
    for (int i = 0; i < COMMITS; i++) {
        char name[8];
        if (i % 4 == 3) {
            name_of(i - 1, name);
            o->rc[i] = fx_start_delete(f, "default", name, &o->r[i]);
        } else {
            name_of(i, name);
            o->rc[i] = fx_start_put(f, "default", name, i, STORE_DURABLE, &o->r[i]);
        }
        if (o->rc[i] == 0 && i % 3 != 1) /* now and then two in a group */
            fx_wait(f, &o->r[i]);
    }
    for (int i = 0; i < COMMITS; i++) {
        if (o->rc[i] == 0)
            fx_wait(f, &o->r[i]);
    }
}

/* Is the object there that commit i put? */
static bool
expect_present(const struct outcome *o, int i)
{
    return o->rc[i] == 0 && o->r[i].e.code == ERR_OK;
}

static void
check_state(struct fixture *f, const struct outcome *o, bool exact)
{
    for (int i = 0; i < COMMITS; i++) {
        char name[8];
        if (i % 4 == 3)
            continue;
        name_of(i, name);
        const struct object *have = fx_get(f, "default", name);
        bool put = expect_present(o, i);
        bool deleted = i % 4 == 2 && expect_present(o, i + 1);
        bool unknown_delete =
            i % 4 == 2 && !exact && o->rc[i + 1] == 0 && o->r[i + 1].e.code != ERR_OK;
        if (deleted)
            assert_null(have);
        else if (put && !unknown_delete)
            assert_non_null(have);
        else if (exact && !put)
            assert_null(have);
    }
}

/* One fault at the nth call. False: the script has fewer calls. */
static bool
one_fault(enum fx_op op, unsigned n, int error, bool short_write)
{
    struct fixture f;
    struct fx_fault fault = {.no_sync = true};
    struct store_fs_ops fs = fx_fault_ops(&fault);
    struct outcome o = {0};

    fx_init(&f, true);
    f.opts.fs = &fs;
    fx_open(&f);
    arm(&fault, op, n, 1, error);
    fault.short_write = short_write;
    run_script(&f, &o);
    bool hit = fault.hits > 0;
    bool failed = hit && error != 0 && error != EINTR;
    bool fatal = failed && (error != ENOSPC || op == FX_SYNC);
    assert_int_equal(f.fatal, fatal);
    if (fatal) {
        struct error e = ERROR_INIT;
        auto_object *obj = fx_object("default", "late", NULL, 1, 0);
        struct store_op late = {STORE_PUT, {RUNS, "default", "late"}, 0, obj};
        assert_int_equal(
            store_commit(f.store, &late, 1, STORE_DURABLE, NULL, NULL, NULL, &e),
            -ERR_IO);
    }
    check_state(&f, &o, true);
    for (int i = 0; i < COMMITS; i++) {
        if (o.rc[i] == 0 && o.r[i].e.code != ERR_OK)
            assert_int_equal(o.r[i].e.code, fatal ? ERR_IO : ERR_FULL);
    }
    fx_close(&f);
    f.opts.fs = &fx_no_sync;
    fx_open(&f);
    check_state(&f, &o, !fatal);
    fx_put(&f, RUNS, "default", "after", NULL, 1);
    fx_done(&f);
    return hit;
}

static void
every_call(enum fx_op op, int error, bool short_write)
{
    unsigned n = 1;

    while (one_fault(op, n, error, short_write))
        n++;
    assert_true(n > 5); /* it was really reached */
}

static void
test_write_enospc(void **state)
{
    UNUSED(state);
    every_call(FX_WRITE, ENOSPC, false);
    every_call(FX_WRITE, ENOSPC, true);
}

static void
test_write_eio(void **state)
{
    UNUSED(state);
    every_call(FX_WRITE, EIO, false);
    every_call(FX_WRITE, EIO, true);
}

/* Half a write that reports its length is no failure; EINTR is none either. */
static void
test_short_write(void **state)
{
    UNUSED(state);
    every_call(FX_WRITE, 0, true);
    every_call(FX_WRITE, EINTR, false);
}

static void
test_sync(void **state)
{
    UNUSED(state);
    every_call(FX_SYNC, EIO, false);
    every_call(FX_SYNC, ENOSPC, false);
}

/* --- no room for a new segment --- */

static int
put_big(struct fixture *f, const char *name, size_t size, struct fx_result *r)
{
    struct error e = ERROR_INIT;
    auto_object *o = fx_object("default", name, NULL, 1, size);
    struct store_key k = {RUNS, "default", name};
    const struct object *have = store_peek(f->store, &k);
    struct store_op op = {STORE_PUT, k, have == NULL ? 0 : have->revision, o};

    *r = (struct fx_result){0};
    int rc = store_commit(f->store, &op, 1, STORE_DURABLE, fx_on_done, r, NULL, &e);
    if (rc == 0)
        fx_wait(f, r);
    return rc;
}

/* Fills the segment until the next one cannot be made. */
static void
fill_disk(struct fixture *f, struct fx_fault *fault)
{
    struct fx_result r;
    int n = 0;

    arm(fault, FX_ALLOC, 1, 1000000, ENOSPC);
    do {
        assert_int_equal(put_big(f, "big", 1u << 20, &r), 0);
        assert_true(++n < 40);
    } while (r.e.code == ERR_OK);
    assert_int_equal(r.e.code, ERR_FULL);
}

static void
full_disk(bool inline_sync)
{
    struct fixture f;
    struct fx_fault fault = {.no_sync = true};
    struct store_fs_ops fs = fx_fault_ops(&fault);
    struct fx_result r = {0};

    fx_init(&f, inline_sync);
    f.opts.fs = &fs;
    fx_open(&f);
    fx_put(&f, RUNS, "default", "victim", NULL, 1);
    fx_put(&f, RUNS, "default", "lease", NULL, 1);
    fill_disk(&f, &fault);
    uint64_t rev = fx_get(&f, "default", "big")->revision;

    /* Renewals and lazy commits go on, */
    assert_int_equal(fx_start_put(&f, "default", "lease", 2, STORE_MEMORY, &r), 0);
    fx_wait(&f, &r);
    assert_int_equal(r.e.code, ERR_OK);
    r = (struct fx_result){0};
    assert_int_equal(fx_start_put(&f, "default", "event", 2, STORE_LAZY, &r), 0);
    fx_wait(&f, &r);
    assert_int_equal(r.e.code, ERR_OK);
    /* deletes find room in the reserve, */
    fx_delete(&f, RUNS, "default", "victim");
    /* also next to puts, which do not, nor do those that rest on them. */
    assert_int_equal(put_big(&f, "big", 1u << 20, &r), 0);
    assert_int_equal(r.e.code, ERR_FULL);
    assert_int_equal(fx_get(&f, "default", "big")->revision, rev);
    struct fx_result three[3] = {0};
    fx_put(&f, RUNS, "default", "small", NULL, 1); /* there is room for a small one */
    fx_start_delete(&f, "default", "small", &three[0]);
    fx_wait(&f, &three[0]);
    assert_int_equal(three[0].e.code, ERR_OK);
    assert_int_equal(f.fatal, 0);

    autofree char *copy = fx_copy(&f);
    autofree char *there = fx_dump_dir(&f, copy, NULL);
    assert_null(strstr(there, "victim"));
    assert_non_null(strstr(there, "big"));

    /* Room again. */
    arm(&fault, FX_ALLOC, 0, 0, 0);
    assert_int_equal(put_big(&f, "big", 1u << 20, &r), 0);
    assert_int_equal(r.e.code, ERR_OK);
    assert_true(r.revision > rev);
    fx_close(&f);
    f.opts.fs = &fx_no_sync;
    fx_open(&f);
    assert_int_equal(fx_get(&f, "default", "big")->revision, r.revision);
    fx_done(&f);
}

static void
test_full_disk(void **state)
{
    UNUSED(state);
    full_disk(true);
    full_disk(false);
}

/* A group with a put for which there is no room: its neighbours fail with it, what rests
 * on them too, and what waits behind goes on. */
static void
test_full_disk_dependents(void **state)
{
    struct fixture f;
    struct fx_fault fault = {.no_sync = true};
    struct store_fs_ops fs = fx_fault_ops(&fault);
    struct fx_result r[200] = {0};
    size_t ok = 0;

    UNUSED(state);
    fx_init(&f, false);
    f.opts.fs = &fs;
    fx_open(&f);
    fill_disk(&f, &fault);
    for (int round = 0; round < 5; round++) {
        struct error e = ERROR_INIT;
        for (int i = 0; i < 40; i++) {
            char name[16];
            snprintf(name, sizeof(name), "r%d-%d", round, i / 4);
            struct fx_result *res = &r[round * 40 + i];
            struct store_key k = {RUNS, "default", name};
            auto_object *o = fx_object("default", name, NULL, i, i == 3 ? 1u << 20 : 10);
            const struct object *have = store_peek(f.store, &k);
            struct store_op op = {i % 4 == 2 ? STORE_DELETE : STORE_PUT, k,
                                  have == NULL ? 0 : have->revision,
                                  i % 4 == 2 ? NULL : o};
            assert_int_equal(
                store_commit(f.store, &op, 1, STORE_DURABLE, fx_on_done, res, NULL, &e),
                0);
        }
        loop_turn(f.loop, 0);
    }
    for (int i = 0; i < 200; i++) {
        fx_wait(&f, &r[i]);
        assert_true(r[i].e.code == ERR_OK || r[i].e.code == ERR_FULL);
        ok += r[i].e.code == ERR_OK;
    }
    assert_true(ok < 200);
    struct store_stats st;
    store_stats(f.store, &st);
    assert_int_equal(st.pending, 0);
    autofree char *before = fx_dump(f.store);
    arm(&fault, FX_ALLOC, 0, 0, 0);
    fx_reopen(&f);
    autofree char *after = fx_dump(f.store);
    assert_string_equal(before, after);
    fx_close(&f);
    f.opts.fs = &fx_no_sync;
    fx_open(&f);
    fx_done(&f);
}

/* Making the next segment fails at each of its steps. */
static void
test_roll_faults(void **state)
{
    static const struct {
        enum fx_op op;
        int error;
        bool fatal;
    } cases[] = {
        {FX_ALLOC, ENOSPC, false},     {FX_ALLOC, EIO, true},
        {FX_RENAME, ENOSPC, false},    {FX_RENAME, EIO, true},
        {FX_ALLOC, EOPNOTSUPP, false},
    };

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fixture f;
        struct fx_fault fault = {.no_sync = true};
        struct store_fs_ops fs = fx_fault_ops(&fault);
        struct fx_result r = {0};
        struct error e = ERROR_INIT;
        uint64_t acked = 0;
        fx_init(&f, true);
        f.opts.fs = &fs;
        fx_open(&f);
        arm(&fault, cases[i].op, 1, 1, cases[i].error);
        for (int n = 0; n < 20 && r.e.code == ERR_OK && fault.hits == 0; n++) {
            assert_int_equal(put_big(&f, "big", 1u << 20, &r), 0);
            acked = r.e.code == ERR_OK ? r.revision : acked;
        }
        assert_int_equal(fault.hits, 1);
        assert_int_equal(f.fatal, cases[i].fatal);
        if (!cases[i].fatal) {
            assert_int_equal(put_big(&f, "big", 1u << 20, &r), 0);
            assert_int_equal(r.e.code, ERR_OK);
            acked = r.revision;
        }
        assert_int_equal(fx_count_files(f.dir, "log", ".tmp"), 0);
        fx_close(&f);
        f.opts.fs = &fx_no_sync;
        if (fx_try_open(&f, &e) != 0)
            fail_msg("case %zu: %s", i, e.msg);
        assert_int_equal(fx_get(&f, "default", "big")->revision, acked);
        fx_done(&f);
    }
}

/* Opening with no room at all says so; with too little for a whole segment it opens. */
static void
test_open_without_room(void **state)
{
    struct fixture f;
    struct fx_fault fault = {.no_sync = true};
    struct store_fs_ops fs = fx_fault_ops(&fault);
    struct error e = ERROR_INIT;

    UNUSED(state);
    fx_init(&f, true);
    f.opts.fs = &fs;
    arm(&fault, FX_WRITE, 1, 1, ENOSPC);
    assert_int_equal(fx_try_open(&f, &e), -ERR_FULL);
    assert_non_null(strstr(e.msg, "No space left"));
    arm(&fault, FX_ALLOC, 1, 1, ENOSPC);
    fx_open(&f);
    fx_put(&f, RUNS, "default", "a", NULL, 1);
    fx_close(&f);
    f.opts.fs = &fx_no_sync;
    fx_open(&f);
    assert_non_null(fx_get(&f, "default", "a"));
    fx_done(&f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write_enospc), cmocka_unit_test(test_write_eio),
        cmocka_unit_test(test_short_write),  cmocka_unit_test(test_sync),
        cmocka_unit_test(test_full_disk),    cmocka_unit_test(test_full_disk_dependents),
        cmocka_unit_test(test_roll_faults),  cmocka_unit_test(test_open_without_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
