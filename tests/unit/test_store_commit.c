/* SPDX-License-Identifier: Apache-2.0 */
/* Commits: expectations, visibility, order, classes, reading and listing. */
#include "unit/store_fixture.h"

#include <inttypes.h>

#include "base/mem.h"
#include "base/vec.h"

static int
setup(void **state)
{
    struct fixture *f = xnew(struct fixture);

    fx_init(f, true);
    fx_open(f);
    *state = f;
    return 0;
}

static int
setup_threaded(void **state)
{
    struct fixture *f = xnew(struct fixture);

    fx_init(f, false);
    fx_open(f);
    *state = f;
    return 0;
}

static int
commit_one(struct fixture *f, enum store_op_type type, const char *name, uint64_t expect,
           struct error *e)
{
    auto_object *o = fx_object("default", name, NULL, 1, 0);
    struct store_op op = {.type = type,
                          .key = {RUNS, "default", name},
                          .expect = expect,
                          .obj = type == STORE_PUT ? o : NULL};

    *e = ERROR_INIT;
    return store_commit(f->store, &op, 1, STORE_DURABLE, NULL, NULL, NULL, e);
}

static void
test_expectations(void **state)
{
    struct fixture *f = *state;
    struct error e;

    assert_int_equal(commit_one(f, STORE_PUT, "a", 7, &e), -ERR_NOT_FOUND);
    assert_int_equal(commit_one(f, STORE_DELETE, "a", 7, &e), -ERR_NOT_FOUND);
    assert_int_equal(commit_one(f, STORE_DELETE, "a", 0, &e), -ERR_NOT_FOUND);
    uint64_t rev = fx_put(f, RUNS, "default", "a", NULL, 1);
    assert_int_equal(commit_one(f, STORE_PUT, "a", 0, &e), -ERR_EXISTS);
    assert_int_equal(commit_one(f, STORE_PUT, "a", rev + 1, &e), -ERR_CONFLICT);
    assert_int_equal(commit_one(f, STORE_PUT, "a", rev - 1, &e), -ERR_CONFLICT);
    assert_int_equal(commit_one(f, STORE_DELETE, "a", rev + 1, &e), -ERR_CONFLICT);
    assert_int_equal(commit_one(f, STORE_PUT, "a", rev, &e), 0);
    assert_int_equal(commit_one(f, STORE_PUT, "a", rev, &e), -ERR_CONFLICT);
    store_flush(f->store);
    const struct object *o = fx_get(f, "default", "a");
    assert_true(o->revision > rev);
    assert_int_equal(commit_one(f, STORE_DELETE, "a", o->revision, &e), 0);
    assert_int_equal(commit_one(f, STORE_DELETE, "a", o->revision, &e), -ERR_NOT_FOUND);
    assert_int_equal(commit_one(f, STORE_PUT, "a", 0, &e), 0);
}

static void
test_durable_only_visibility(void **state)
{
    struct fixture *f = *state;
    struct store_key k = {RUNS, "default", "a"};
    struct fx_result r = {0};
    uint64_t before = store_revision(f->store);

    assert_int_equal(fx_start_put(f, "default", "a", 1, STORE_DURABLE, &r), 0);
    assert_null(store_get(f->store, &k));
    assert_non_null(store_peek(f->store, &k));
    assert_int_equal(store_count(f->store, RUNS), 0);
    assert_int_equal(store_revision(f->store), before);
    assert_false(r.done);
    struct store_list *l = store_list(f->store, RUNS, NULL, NULL);
    assert_null(store_list_next(l));
    assert_int_equal(store_list_revision(l), before);
    store_flush(f->store);
    assert_true(r.done);
    assert_null(store_list_next(l)); /* still that moment */
    store_list_free(l);
    assert_int_equal(store_get(f->store, &k)->revision, r.revision);
    assert_ptr_equal(store_get(f->store, &k), store_peek(f->store, &k));
    assert_int_equal(store_revision(f->store), r.revision);

    assert_int_equal(fx_start_delete(f, "default", "a", NULL), 0);
    assert_non_null(store_get(f->store, &k));
    assert_null(store_peek(f->store, &k));
    store_flush(f->store);
    assert_null(store_get(f->store, &k));
}

static void
test_several_operations(void **state)
{
    struct fixture *f = *state;
    struct error e = ERROR_INIT;
    auto_object *a = fx_object("default", "a", NULL, 1, 0);
    auto_object *b = fx_object("default", "b", NULL, 2, 0);
    auto_object *c = fx_object("default", "a", NULL, 3, 0);
    struct store_op ops[] = {
        {STORE_PUT, {RUNS, "default", "a"}, 0, a},
        {STORE_PUT, {"jobs.drover.dev", "default", "b"}, 0, b},
        {STORE_PUT, {RUNS, "default", "a"}, 0, c},
    };
    uint64_t rev = 0;

    /* The same key twice; an expectation that fails: nothing of the commit is done. */
    assert_int_equal(store_commit(f->store, ops, 3, STORE_DURABLE, NULL, NULL, &rev, &e),
                     -ERR_BAD_REQUEST);
    ops[1].expect = 9;
    assert_int_equal(store_commit(f->store, ops, 2, STORE_DURABLE, NULL, NULL, &rev, &e),
                     -ERR_NOT_FOUND);
    assert_null(store_peek(f->store, &ops[0].key));
    ops[1].expect = 0;
    assert_int_equal(store_commit(f->store, ops, 2, STORE_DURABLE, NULL, NULL, &rev, &e),
                     0);
    store_flush(f->store);
    assert_int_equal(store_get(f->store, &ops[0].key)->revision, rev);
    assert_int_equal(store_get(f->store, &ops[1].key)->revision, rev);
    assert_int_equal(store_commit(f->store, ops, 0, STORE_DURABLE, NULL, NULL, &rev, &e),
                     -ERR_BAD_REQUEST);
}

static void
test_too_large(void **state)
{
    struct fixture *f = *state;
    struct error e = ERROR_INIT;
    struct store_op ops[4];
    char name[4][8];

    /* Three objects of nearly 3 MiB exceed a record, two do not. */
    for (int i = 0; i < 4; i++) {
        snprintf(name[i], sizeof(name[i]), "big%d", i);
        ops[i] = (struct store_op){
            STORE_PUT,
            {RUNS, "default", name[i]},
            0,
            fx_object("default", name[i], NULL, i, OBJECT_MAX_BYTES - 1000)};
    }
    assert_int_equal(store_commit(f->store, ops, 3, STORE_DURABLE, NULL, NULL, NULL, &e),
                     -ERR_TOO_LARGE);
    for (int i = 0; i < 4; i += 2)
        assert_int_equal(
            store_commit(f->store, &ops[i], 2, STORE_DURABLE, NULL, NULL, NULL, &e), 0);
    store_flush(f->store);
    assert_int_equal(store_count(f->store, RUNS), 4);
    for (int i = 0; i < 4; i++)
        object_unref(ops[i].obj);
    char *before = fx_dump(f->store);
    fx_reopen(f);
    char *after = fx_dump(f->store);
    assert_string_equal(before, after);
    free(before);
    free(after);
}

/* Lazy and memory commits are visible at once, their done() is not called from inside. */
static void
test_classes(void **state)
{
    struct fixture *f = *state;
    struct fx_result lazy = {0};
    struct fx_result memory = {0};

    assert_int_equal(fx_start_put(f, "default", "l", 1, STORE_LAZY, &lazy), 0);
    assert_int_equal(fx_start_put(f, "default", "m", 2, STORE_MEMORY, &memory), 0);
    assert_false(lazy.done);
    assert_false(memory.done);
    assert_non_null(fx_get(f, "default", "l"));
    assert_non_null(fx_get(f, "default", "m"));
    loop_turn(f->loop, -1);
    assert_true(lazy.done);
    assert_true(memory.done);
    assert_true(lazy.revision < memory.revision);
    assert_int_equal(store_revision(f->store), memory.revision);
    store_flush(f->store);
    fx_reopen(f);
    assert_non_null(fx_get(f, "default", "l")); /* a clean stop keeps it */
    assert_null(fx_get(f, "default", "m"));     /* never logged */
}

/* While a durable commit waits, a renewal goes ahead of it below its revision, and a lazy
 * commit or one on the same key keeps its place behind it. */
static void
test_order_of_classes(void **state)
{
    struct fixture *f = *state;
    struct fx_result first = {0};
    struct fx_result lazy = {0};
    struct fx_result renewal = {0};
    struct fx_result same = {0};

    assert_int_equal(fx_start_put(f, "default", "d", 1, STORE_DURABLE, &first), 0);
    assert_int_equal(fx_start_put(f, "default", "l", 2, STORE_LAZY, &lazy), 0);
    assert_int_equal(fx_start_put(f, "default", "m", 3, STORE_MEMORY, &renewal), 0);
    assert_int_equal(fx_start_put(f, "default", "d", 4, STORE_MEMORY, &same), 0);
    assert_null(fx_get(f, "default", "d"));
    assert_null(fx_get(f, "default", "l"));
    assert_non_null(fx_get(f, "default", "m"));
    loop_turn(f->loop, -1);
    assert_true(renewal.done);
    assert_false(first.done || lazy.done || same.done);
    store_flush(f->store);
    assert_true(first.done && lazy.done && same.done);
    assert_true(renewal.revision < first.revision);
    assert_true(first.revision < lazy.revision);
    assert_true(lazy.revision < same.revision);
    assert_int_equal(fx_value(fx_get(f, "default", "d")), 4);
    assert_int_equal(store_revision(f->store), same.revision);
}

static void
test_gap_runs_out(void **state)
{
    struct fixture *f = *state;
    struct fx_result r[201] = {0};

    assert_int_equal(fx_start_put(f, "default", "d", 1, STORE_DURABLE, &r[200]), 0);
    for (int i = 0; i < 200; i++)
        assert_int_equal(fx_start_put(f, "default", "m", i, STORE_MEMORY, &r[i]), 0);
    store_flush(f->store);
    for (int i = 0; i < 200; i++) {
        assert_true(r[i].done);
        if (i > 0)
            assert_true(r[i].revision > r[i - 1].revision);
    }
    assert_int_equal(fx_value(fx_get(f, "default", "m")), 199);
    assert_true(r[0].revision < r[200].revision && r[199].revision > r[200].revision);
}

static void
test_list(void **state)
{
    struct fixture *f = *state;
    static const char *const keys[][2] = {{"", "c"},    {"a", "x"}, {"a", "y"},
                                          {"a-b", "x"}, {"b", "a"}, {"b", "z"}};
    static const struct {
        const char *ns, *after;
        size_t from, n;
    } cases[] = {
        {NULL, NULL, 0, 6},  {"a", NULL, 1, 2},   {"a-b", NULL, 3, 1},
        {"zz", NULL, 0, 0},  {NULL, "a/x", 2, 4}, {NULL, "a/xx", 2, 4},
        {NULL, "b/z", 0, 0}, {NULL, "/c", 1, 5},  {"a", "a/x", 2, 1},
        {"b", "a/x", 4, 2},  {"a", "b/a", 0, 0},  {"", NULL, 0, 1},
    };

    for (size_t i = 0; i < ARRAY_LEN(keys); i++) /* in another order than the keys' */
        fx_put(f, RUNS, keys[(i * 5) % 6][0], keys[(i * 5) % 6][1], NULL, 0);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct store_list *l = store_list(f->store, RUNS, cases[i].ns, cases[i].after);
        assert_int_equal(store_list_remaining(l), cases[i].n);
        for (size_t k = 0; k < cases[i].n; k++) {
            const struct object *o = store_list_next(l);
            assert_non_null(o);
            assert_string_equal(o->ns, keys[cases[i].from + k][0]);
            assert_string_equal(o->name, keys[cases[i].from + k][1]);
        }
        assert_null(store_list_next(l));
        store_list_free(l);
    }
    struct store_list *l = store_list(f->store, "nothing", NULL, NULL);
    assert_null(store_list_next(l));
    store_list_free(l);
}

/* A borrowed object survives its replacement within the turn. */
static void
test_borrow(void **state)
{
    struct fixture *f = *state;

    fx_put(f, RUNS, "default", "a", NULL, 5);
    loop_turn(f->loop, 0);
    const struct object *o = fx_get(f, "default", "a");
    fx_start_put(f, "default", "a", 6, STORE_LAZY, NULL);
    assert_int_equal(fx_value(o), 5);
}

struct order {
    vec(uint64_t) done;
    size_t failed;
};

static void
note_order(void *arg, uint64_t revision, const struct error *e)
{
    struct order *o = arg;

    o->failed += e != NULL;
    vec_push(&o->done, revision);
}

/* With the writer thread: replies in revision order, everything visible at its reply. */
static void
test_threaded_order(void **state)
{
    struct fixture *f = *state;
    struct order order = {0};
    struct error e = ERROR_INIT;

    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 50; i++) {
            char name[32];
            snprintf(name, sizeof(name), "r%d-%d", round, i);
            auto_object *o = fx_object("default", name, NULL, i, 100);
            struct store_op op = {STORE_PUT, {RUNS, "default", name}, 0, o};
            assert_int_equal(store_commit(f->store, &op, 1, STORE_DURABLE, note_order,
                                          &order, NULL, &e),
                             0);
        }
        loop_turn(f->loop, round % 3 == 0 ? -1 : 0);
    }
    while (order.done.len < 1000)
        loop_turn(f->loop, -1);
    assert_int_equal(order.failed, 0);
    for (size_t i = 1; i < order.done.len; i++)
        assert_true(order.done.items[i] > order.done.items[i - 1]);
    struct store_stats st;
    store_stats(f->store, &st);
    assert_int_equal(st.pending, 0);
    assert_int_equal(st.objects, 1000);
    assert_true(st.fsyncs < 900); /* groups */
    vec_done(&order.done);
    char *before = fx_dump(f->store);
    fx_reopen(f);
    char *after = fx_dump(f->store);
    assert_string_equal(before, after);
    free(before);
    free(after);
}

static void
test_close_waits(void **state)
{
    struct fixture *f = *state;
    struct fx_result r[30] = {0};

    for (int i = 0; i < 30; i++) {
        char name[8];
        snprintf(name, sizeof(name), "n%d", i);
        assert_int_equal(fx_start_put(f, "default", name, i, STORE_DURABLE, &r[i]), 0);
    }
    fx_close(f);
    for (int i = 0; i < 30; i++) {
        assert_true(r[i].done);
        assert_int_equal(r[i].e.code, ERR_OK);
    }
    fx_open(f);
    assert_int_equal(store_count(f->store, RUNS), 30);
}

static void
test_lock(void **state)
{
    struct fixture *f = *state;
    struct fixture other = *f;
    struct error e = ERROR_INIT;

    assert_int_equal(fx_try_open(&other, &e), -ERR_BUSY);
    assert_non_null(strstr(e.msg, "pid"));
}

int
main(void)
{
#define INLINE(t) cmocka_unit_test_setup_teardown(t, setup, fx_teardown)
#define THREADED(t) cmocka_unit_test_setup_teardown(t, setup_threaded, fx_teardown)
    const struct CMUnitTest tests[] = {
        INLINE(test_expectations),
        INLINE(test_durable_only_visibility),
        INLINE(test_several_operations),
        INLINE(test_too_large),
        INLINE(test_classes),
        INLINE(test_order_of_classes),
        INLINE(test_gap_runs_out),
        INLINE(test_list),
        INLINE(test_borrow),
        THREADED(test_threaded_order),
        THREADED(test_close_waits),
        THREADED(test_lock),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
