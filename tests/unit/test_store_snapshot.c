/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots: while commits go on, what they replace, damaged ones, failing ones. */
#include "unit/store_fixture.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "apiserver/store/store_log.h"
#include "base/fs.h"
#include "base/id.h"
#include "base/mem.h"

static int
setup(void **state)
{
    return fx_setup(state, "snapshot");
}

static int
setup_threaded(void **state)
{
    setup(state);
    return fx_go_threaded(state);
}

static void
fill(struct fixture *f, int n, int64_t value)
{
    struct fx_result *r = xcalloc((size_t)n, sizeof(*r));

    for (int i = 0; i < n; i++) {
        char name[16];
        snprintf(name, sizeof(name), "n%d", i);
        assert_int_equal(fx_start_put(f, "default", name, value, STORE_DURABLE, &r[i]),
                         0);
    }
    fx_wait(f, &r[n - 1]);
    free(r);
}

static uint64_t
snapshot(struct fixture *f)
{
    struct fx_result r = {0};

    store_snapshot(f->store, fx_on_done, &r);
    assert_false(r.done);
    fx_wait(f, &r);
    assert_int_equal(r.e.code, ERR_OK);
    return r.revision;
}

static void
assert_same_after_reopen(struct fixture *f)
{
    autofree char *before = fx_dump(f->store);
    fx_reopen(f);
    autofree char *after = fx_dump(f->store);
    assert_string_equal(before, after);
}

static void
test_replaces_the_log(void **state)
{
    struct fixture *f = *state;
    struct store_stats st;

    for (int i = 0; i < 4; i++) {
        fill(f, 20, i);
        fx_delete(f, RUNS, "default", "n3");
        fx_reopen(f); /* a segment each */
    }
    fill(f, 20, 9);
    assert_true(fx_count_files(f->dir, "log", ".log") >= 5);
    uint64_t rev = snapshot(f);
    assert_int_equal(rev, store_revision(f->store));
    assert_int_equal(fx_count_files(f->dir, "log", ".log"), 1);
    assert_int_equal(fx_count_files(f->dir, "snapshot", ".snap"), 1);
    assert_same_after_reopen(f);
    assert_true(store_oldest(f->store) == rev);
    fx_put(f, RUNS, "default", "n1", NULL, 77);
    snapshot(f);
    assert_int_equal(fx_count_files(f->dir, "snapshot", ".snap"), 1);
    store_stats(f->store, &st);
    assert_true(st.snapshot_revision > rev);
    assert_same_after_reopen(f);
    store_stats(f->store, &st);
    assert_int_equal(st.objects, 20);
}

/* The snapshot shows one moment, also of what is visible but not in the log. */
static void
test_has_memory_commits(void **state)
{
    struct fixture *f = *state;

    fx_put(f, RUNS, "default", "a", NULL, 1);
    fx_start_put(f, "default", "m", 5, STORE_MEMORY, NULL);
    fx_start_put(f, "default", "w", 6, STORE_DURABLE, NULL); /* waits */
    snapshot(f);
    assert_same_after_reopen(f);
    assert_int_equal(fx_value(fx_get(f, "default", "m")), 5);
    assert_int_equal(fx_value(fx_get(f, "default", "w")), 6);
}

static void
test_empty(void **state)
{
    struct fixture *f = *state;

    snapshot(f);
    assert_same_after_reopen(f);
    fx_put(f, RUNS, "default", "a", NULL, 1);
    assert_same_after_reopen(f);
}

/* Commits go on while it is written, several are asked for, some start by themselves. */
static void
test_during_writes(void **state)
{
    struct fixture *f = *state;
    struct fx_result r[6] = {0};

    fx_close(f);
    f->opts.snapshot_after = 200000;
    fx_open(f);
    fill(f, 2000, 0);
    for (int i = 0; i < 6; i++) {
        store_snapshot(f->store, fx_on_done, &r[i]);
        fill(f, 300, i + 1);
        fx_put(f, "jobs.drover.dev", "default", "j", NULL, i);
    }
    for (int i = 0; i < 6; i++) {
        fx_wait(f, &r[i]);
        assert_int_equal(r[i].e.code, ERR_OK);
        assert_true(i == 0 || r[i].revision >= r[i - 1].revision);
    }
    assert_int_equal(fx_count_files(f->dir, "snapshot", ".snap"), 1);
    assert_same_after_reopen(f);
}

static void
test_by_itself(void **state)
{
    struct fixture *f = *state;
    struct store_stats st = {0};

    fx_close(f);
    f->opts.snapshot_after = 50000;
    fx_open(f);
    for (int64_t i = 0; st.snapshot_revision == 0; i++) {
        fx_put(f, RUNS, "default", "a", NULL, i);
        loop_turn(f->loop, 0);
        store_stats(f->store, &st);
        assert_true(i < 100000);
    }
    assert_same_after_reopen(f);
}

static void
test_close_while_running(void **state)
{
    struct fixture *f = *state;
    struct fx_result r[3] = {0};

    fill(f, 2000, 1);
    for (int i = 0; i < 3; i++)
        store_snapshot(f->store, fx_on_done, &r[i]);
    autofree char *before = fx_dump(f->store);
    fx_close(f);
    for (int i = 0; i < 3; i++)
        assert_true(r[i].done);
    assert_int_equal(r[0].e.code, ERR_OK);
    fx_open(f);
    autofree char *after = fx_dump(f->store);
    assert_string_equal(before, after);
}

/* --- damage --- */

static void
flip(const char *path, uint64_t at)
{
    unsigned char c;
    autoclose int fd = open(path, O_RDWR | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &c, 1, (off_t)at), 1);
    c ^= (unsigned char)(1u << (at * 5 % 8));
    assert_int_equal(pwrite(fd, &c, 1, (off_t)at), 1);
}

static void
test_bit_flip(void **state)
{
    struct fixture *f = *state;
    struct stat st;

    fill(f, 3, 1);
    fx_reopen(f); /* a segment that goes: the log alone is not enough then */
    snapshot(f);
    fx_close(f);
    autofree char *snap = fx_newest(f->dir, "snapshot", ".snap");
    assert_int_equal(stat(snap, &st), 0);
    for (uint64_t at = 0; at < (uint64_t)st.st_size; at++) {
        struct error e = ERROR_INIT;
        flip(snap, at);
        if (fx_try_open(f, &e) != -ERR_CORRUPT)
            fail_msg("byte %" PRIu64 ": %s", at, e.msg);
        assert_non_null(strstr(e.msg, ".snap"));
        flip(snap, at);
    }
    for (off_t n = 0; n < st.st_size; n += 8) { /* cut off anywhere */
        struct error e = ERROR_INIT;
        autofree char *copy = fx_copy(f);
        autofree char *cut = fx_newest(copy, "snapshot", ".snap");
        struct fixture g = *f;
        g.opts.dir = copy;
        assert_int_equal(truncate(cut, n), 0);
        assert_int_equal(fx_try_open(&g, &e), -ERR_CORRUPT);
    }
    fx_open(f);
}

/* An older snapshot, or none, and all segments since: nothing is lost. */
static void
test_older_one_helps(void **state)
{
    struct fixture *f = *state;

    for (int older = 0; older < 2; older++) {
        fill(f, 3, older);
        if (older)
            snapshot(f);
        fill(f, 3, 5);
        autofree char *copy = fx_copy(f); /* before the clean-up */
        snapshot(f);
        autofree char *want = fx_dump(f->store);
        autofree char *snap = fx_newest(f->dir, "snapshot", ".snap");
        autofree char *to = xasprintf("%s/snapshot%s", copy, strrchr(snap, '/'));
        auto_str bytes = STR_INIT(1u << 20);
        struct error e = ERROR_INIT;
        assert_int_equal(fs_read(snap, &bytes, &e), 0);
        bytes.ptr[bytes.len / 2] ^= 1;
        assert_int_equal(fs_write_atomic(to, bytes.ptr, bytes.len, 0600, &e), 0);
        autofree char *text = fx_dump_dir(f, copy, NULL);
        assert_string_equal(text, want);
    }
}

static void
test_log_missing(void **state)
{
    struct fixture *f = *state;
    struct error e = ERROR_INIT;

    fill(f, 3, 1);
    snapshot(f);
    fx_close(f);
    autofree char *log = fx_newest(f->dir, "log", ".log");
    assert_int_equal(unlink(log), 0);
    assert_int_equal(fx_try_open(f, &e), -ERR_CORRUPT);
}

/* --- facts --- */

static struct kind *
make_kind(const char *column)
{
    auto_violations v = {0};
    struct error e = ERROR_INIT;
    json_error_t je;
    struct kind *k = NULL;
    autofree char *text = xasprintf(
        "{\"spec\":{\"group\":\"drover.dev\",\"scope\":\"Namespaced\",\"names\":{"
        "\"plural\":"
        "\"runs\",\"kind\":\"Run\"},\"versions\":[{\"name\":\"v1\",\"storage\":true,"
        "\"selectableFields\":[{\"jsonPath\":\".spec.n\"}],\"additionalPrinterColumns\":["
        "{"
        "\"name\":\"A\",\"type\":\"string\",\"jsonPath\":\"%s\"}],\"schema\":{"
        "\"openAPIV3Schema\":{\"type\":\"object\",\"properties\":{\"spec\":{\"type\":"
        "\"object\",\"properties\":{\"n\":{\"type\":\"integer\"},\"pad\":{\"type\":"
        "\"string\"}}}}}}}]}}",
        column);
    json_t *crd = json_loads(text, 0, &je);

    assert_non_null(crd);
    if (kind_compile(crd, NULL, &k, &v, &e) < 0)
        fail_msg("kind: %s", e.msg);
    json_decref(crd);
    return k;
}

static const struct kind *
the_kind(void *arg, const char *resource)
{
    UNUSED(resource);
    return *(struct kind **)arg;
}

static void
expect_facts(const struct fixture *f, const char *cell)
{
    const struct object *o = fx_get(f, "default", "n1");
    struct span label;

    assert_non_null(o);
    assert_int_equal(o->facts.n_fields, 1);
    assert_int_equal(o->facts.n_cells, 1);
    assert_true(span_eq(object_fact(o, o->facts.fields[0]), "7"));
    assert_true(span_eq(object_fact(o, o->facts.cells[0]), cell));
    assert_true(object_label(o, "app", &label) && span_eq(label, "web"));
    assert_int_equal(fx_value(o), 7);
}

/* Facts of a snapshot are used under the kind that they were made for, and made anew
 * under another one. */
static void
test_facts(void **state)
{
    struct fixture *f = *state;
    struct kind *a = make_kind(".spec.n");
    struct kind *b = make_kind(".metadata.labels.app");
    struct kind *now = a;

    fx_close(f);
    f->opts.kind_of = the_kind;
    f->opts.arg = &now;
    f->opts.on_fatal = NULL;
    fx_open(f);
    fx_put(f, RUNS, "default", "n1", "web", 7);
    assert_int_equal(store_refresh(f->store, RUNS, &(struct error){0}), 0);
    snapshot(f);
    fx_reopen(f);
    expect_facts(f, "7");
    now = b; /* while it runs: in slices, leaving out what was written since */
    fx_put(f, RUNS, "default", "n0", "web", 7);
    struct store_list *l = store_list(f->store, RUNS, NULL, NULL);
    expect_facts(f, "7");
    assert_int_equal(store_refresh_some(f->store, RUNS, l, 1, &(struct error){0}), 1);
    expect_facts(f, "7");
    assert_int_equal(store_refresh_some(f->store, RUNS, l, 1, &(struct error){0}), 1);
    expect_facts(f, "\"web\"");
    assert_int_equal(store_refresh_some(f->store, RUNS, l, 1, &(struct error){0}), 0);
    store_list_free(l);
    const struct object *fresh = fx_get(f, "default", "n1");
    assert_int_equal(store_refresh(f->store, RUNS, &(struct error){0}), 0);
    assert_ptr_equal(fx_get(f, "default", "n1"), fresh); /* it fits: left alone */
    fx_reopen(f);
    expect_facts(f, "\"web\"");
    snapshot(f);
    fx_reopen(f);
    expect_facts(f, "\"web\"");
    assert_true(object_facts_id(a) != object_facts_id(b));
    assert_true(object_facts_id(a) == object_facts_id(a));
    kind_unref(a);
    kind_unref(b);
    fx_close(f);
    f->opts.kind_of = NULL;
    fx_open(f);
    assert_int_equal(fx_get(f, "default", "n1")->facts.n_cells, 0);
}

/* --- failing --- */

static void
test_failing(void **state)
{
    struct fixture *f = *state;
    static const struct {
        enum fx_op op;
        int error;
        enum err_code code;
    } cases[] = {{FX_WRITE, ENOSPC, ERR_FULL},
                 {FX_WRITE, EIO, ERR_IO},
                 {FX_SYNC, EIO, ERR_IO},
                 {FX_RENAME, EIO, ERR_IO}};
    struct fx_fault fault = {0};
    struct store_fs_ops fs = fx_fault_ops(&fault);

    fx_close(f);
    f->opts.fs = &fs;
    fx_open(f);
    fill(f, 3, 1);
    uint64_t first = snapshot(f);
    fill(f, 3, 2);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fx_result r = {0};
        struct store_stats st;
        fault = (struct fx_fault){0};
        fault.fail_from[cases[i].op] = 1;
        fault.fail_count[cases[i].op] = 1;
        fault.error[cases[i].op] = cases[i].error;
        store_snapshot(f->store, fx_on_done, &r);
        fx_wait(f, &r);
        assert_int_equal(fault.hits, 1);
        assert_int_equal(r.e.code, cases[i].code);
        assert_int_equal(fx_count_files(f->dir, "snapshot", ".tmp"), 0);
        assert_int_equal(fx_count_files(f->dir, "snapshot", ".snap"), 1);
        store_stats(f->store, &st);
        assert_int_equal(st.snapshot_revision, first);
        fx_put(f, RUNS, "default", "n0", NULL, (int64_t)i);
    }
    assert_int_equal(f->fatal, 0);
    assert_same_after_reopen(f);
    fault = (struct fx_fault){0};
    assert_true(snapshot(f) > first);
    fx_close(f);
    f->opts.fs = &fx_no_sync;
}

int
main(void)
{
#define INLINE(t) cmocka_unit_test_setup_teardown(t, setup, fx_teardown)
#define THREADED(t) cmocka_unit_test_setup_teardown(t, setup_threaded, fx_teardown)
    const struct CMUnitTest tests[] = {
        INLINE(test_replaces_the_log),
        THREADED(test_replaces_the_log),
        INLINE(test_has_memory_commits),
        INLINE(test_empty),
        INLINE(test_during_writes),
        THREADED(test_during_writes),
        INLINE(test_by_itself),
        THREADED(test_by_itself),
        THREADED(test_close_while_running),
        INLINE(test_bit_flip),
        INLINE(test_older_one_helps),
        INLINE(test_log_missing),
        INLINE(test_failing),
        INLINE(test_facts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
