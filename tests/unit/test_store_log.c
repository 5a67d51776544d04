/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log: replay gives back what was there; a torn tail is cut at every byte, damage
 * anywhere else is refused with its offset; a copy of the directory taken at any moment
 * opens, has every acknowledged commit, and continues above every revision handed out.
 */
#include "unit/store_fixture.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "apiserver/store/store_reader.h"
#include "base/fs.h"
#include "base/id.h"
#include "base/mem.h"
#include "base/vec.h"

static int
setup(void **state)
{
    return fx_setup(state, "log");
}

static int
setup_threaded(void **state)
{
    setup(state);
    return fx_go_threaded(state);
}

static void
random_change(struct fixture *f, int64_t n)
{
    static const char *const resources[] = {RUNS, "jobs.drover.dev", "fleets.drover.dev"};
    char name[8];
    struct store_key k = {resources[id_uniform(3)], id_uniform(2) ? "default" : "other",
                          name};

    snprintf(name, sizeof(name), "n%u", id_uniform(30));
    if (store_peek(f->store, &k) != NULL && id_uniform(3) == 0)
        fx_delete(f, k.resource, k.ns, name);
    else
        fx_put(f, k.resource, k.ns, name, NULL, n);
}

static void
test_random_history(void **state)
{
    struct fixture *f = *state;
    uint64_t revision = 0;

    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < 60; i++)
            random_change(f, i);
        if (round % 3 == 1)
            store_snapshot(f->store, NULL, NULL);
        autofree char *before = fx_dump(f->store);
        assert_true(store_revision(f->store) > revision);
        revision = store_revision(f->store);
        fx_reopen(f);
        autofree char *after = fx_dump(f->store);
        assert_string_equal(before, after);
        assert_true(store_revision(f->store) >= revision);
    }
}

/* --- damage --- */

struct place {
    uint64_t offset, end;
    enum log_type type;
};
typedef vec(struct place) place_vec;

static uint64_t
places(const char *path, place_vec *ret)
{
    struct log_reader r;
    struct log_record rec;
    enum log_read what;
    struct error e = ERROR_INIT;

    assert_int_equal(log_reader_open(&r, &store_fs_real, path, LOG_MAGIC, &e), 0);
    for (;;) {
        assert_int_equal(log_reader_next(&r, &rec, &what, &e), 0);
        if (what != LOG_READ_RECORD)
            break;
        vec_push(ret, ((struct place){rec.offset, r.pos, rec.type}));
    }
    assert_int_equal(what, LOG_READ_END);
    uint64_t end = r.pos;
    log_reader_done(&r);
    return end;
}

enum tear { TEAR_TRUNCATE, TEAR_ZERO, TEAR_GARBAGE, TEAR_KINDS };

static void
tear(const char *path, uint64_t at, uint64_t end, enum tear kind)
{
    char fill[4096];

    assert_true(end - at <= sizeof(fill));
    memset(fill, kind == TEAR_ZERO ? 0 : 0xa5, sizeof(fill));
    if (kind == TEAR_TRUNCATE) {
        assert_int_equal(truncate(path, (off_t)at), 0);
        return;
    }
    autoclose int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_true(pwrite(fd, fill, end - at, (off_t)at) == (ssize_t)(end - at));
}

/* Three commits; what the directory holds then without the preallocated room. */
static char *
three_commits(struct fixture *f, place_vec *ret, char **ret_two, char **ret_three)
{
    fx_put(f, RUNS, "default", "a", NULL, 1);
    fx_put(f, RUNS, "default", "b", NULL, 2);
    *ret_two = fx_dump(f->store);
    fx_put(f, RUNS, "default", "c", NULL, 3);
    *ret_three = fx_dump(f->store);
    fx_close(f);
    char *path = fx_newest(f->dir, "log", ".log");
    uint64_t end = places(path, ret);
    assert_int_equal(truncate(path, (off_t)end + 64), 0);
    return path;
}

static unsigned char
byte_at(const char *path, uint64_t at)
{
    unsigned char c;
    autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &c, 1, (off_t)at), 1);
    return c;
}

static void
test_torn_tail(void **state)
{
    struct fixture *f = *state;
    place_vec p = {0};
    autofree char *two = NULL;
    autofree char *three = NULL;
    autofree char *path = three_commits(f, &p, &two, &three);
    const struct place *seal = &p.items[p.len - 1];
    const struct place *last = seal - 1;

    assert_int_equal(seal->type, LOG_SEAL);
    assert_int_equal(last->type, LOG_COMMIT);
    uint64_t padding = last->end; /* zeros that belong to the record */
    while (byte_at(path, padding - 1) == 0)
        padding--;
    for (uint64_t at = last->offset; at <= seal->end; at++) {
        for (enum tear kind = 0; kind < TEAR_KINDS; kind++) {
            autofree char *copy = fx_copy(f);
            autofree char *log = fx_newest(copy, "log", ".log");
            struct error e = ERROR_INIT;
            tear(log, at, seal->end, kind);
            autofree char *text = fx_dump_dir(f, copy, NULL);
            bool whole = at >= (kind == TEAR_ZERO ? padding : last->end);
            assert_string_equal(text, whole ? three : two);
            autofree char *again = fx_dump_dir(f, copy, NULL);
            assert_string_equal(again, text);
            assert_int_equal(fs_remove_tree(copy, &e), 0);
        }
    }
    vec_done(&p);
}

static void
flip(const char *path, uint64_t at, unsigned bit)
{
    unsigned char c;
    autoclose int fd = open(path, O_RDWR | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &c, 1, (off_t)at), 1);
    c ^= (unsigned char)(1u << bit);
    assert_int_equal(pwrite(fd, &c, 1, (off_t)at), 1);
}

/* One bit, anywhere in the head or in a record that was acknowledged. */
static void
test_bit_flip(void **state)
{
    struct fixture *f = *state;
    place_vec p = {0};
    autofree char *two = NULL;
    autofree char *three = NULL;
    free(three_commits(f, &p, &two, &three));
    uint64_t sealed = p.items[p.len - 1].offset;
    autofree char *copy = fx_copy(f);
    autofree char *log = fx_newest(copy, "log", ".log");

    for (uint64_t at = 0; at < sealed; at++) {
        struct fixture g = *f;
        struct error e = ERROR_INIT;
        unsigned bit = (unsigned)(at * 5 % 8);
        g.opts.dir = copy;
        flip(log, at, bit);
        if (fx_try_open(&g, &e) != -ERR_CORRUPT)
            fail_msg("byte %" PRIu64 ": %s", at, e.msg);
        assert_non_null(strstr(e.msg, ".log"));
        if (at >= LOG_HEAD_BYTES)
            assert_non_null(strstr(e.msg, "offset"));
        flip(log, at, bit);
    }
    autofree char *text = fx_dump_dir(f, copy, NULL);
    assert_string_equal(text, three);
    vec_done(&p);
}

/* Two commits of one write, and the first one damaged. As long as nothing shows that the
 * write was ever durable, it is a torn one, though its second half is whole. */
static void
test_hole_in_group(void **state)
{
    struct fixture *f = *state;
    place_vec p = {0};
    struct error e = ERROR_INIT;

    fx_put(f, RUNS, "default", "a", NULL, 1);
    autofree char *before = fx_dump(f->store);
    assert_int_equal(fx_start_put(f, "default", "b", 2, STORE_DURABLE, NULL), 0);
    assert_int_equal(fx_start_put(f, "default", "c", 3, STORE_DURABLE, NULL), 0);
    store_flush(f->store);
    fx_close(f);
    autofree char *log = fx_newest(f->dir, "log", ".log");
    uint64_t end = places(log, &p);
    const struct place *seal = &p.items[p.len - 1];
    flip(log, seal[-2].offset + 50, 1);
    assert_int_equal(fx_try_open(f, &e), -ERR_CORRUPT);
    tear(log, seal->offset, end, TEAR_ZERO);
    autofree char *text = fx_dump_dir(f, f->dir, NULL);
    assert_string_equal(text, before);
    vec_done(&p);
}

/* The same in a segment that is not the last: even garbage after its end is refused. */
static void
test_damage_in_old_segment(void **state)
{
    struct fixture *f = *state;

    fx_put(f, RUNS, "default", "a", NULL, 1);
    autofree char *old = fx_newest(f->dir, "log", ".log");
    fx_reopen(f);
    fx_put(f, RUNS, "default", "b", NULL, 2);
    fx_close(f);
    struct stat st;
    struct error e = ERROR_INIT;
    assert_int_equal(stat(old, &st), 0);
    assert_int_equal(truncate(old, st.st_size + 100), 0);
    fx_open(f); /* zeros are legal */
    fx_close(f);
    flip(old, (uint64_t)st.st_size + 50, 3);
    assert_int_equal(fx_try_open(f, &e), -ERR_CORRUPT);
    flip(old, (uint64_t)st.st_size + 50, 3);
    assert_int_equal(truncate(old, st.st_size - 8), 0); /* a seal less than was known */
    assert_int_equal(fx_try_open(f, &e), -ERR_CORRUPT);
    assert_int_equal(unlink(old), 0);
    e = ERROR_INIT;
    assert_int_equal(fx_try_open(f, &e), -ERR_CORRUPT);
    assert_non_null(strstr(e.msg, "missing"));
}

/* --- any moment --- */

struct moment {
    struct fixture *f;
    char *before, *after; /* what a crash now may leave; after NULL: not known yet */
    uint64_t handed_out;
    vec(char *) copies;
    vec(char *) befores;
    vec(uint64_t) revisions;
};

static void
take_moment(void *arg)
{
    struct moment *m = arg;

    vec_push(&m->copies, fx_copy(m->f));
    vec_push(&m->befores, xstrdup(m->before));
    vec_push(&m->revisions, m->handed_out);
}

/* Opens every copy; each must show what was acknowledged, or that and the change under
 * way (after), and start above the revisions that had been handed out. */
static void
check_moments(struct moment *m, const char *after)
{
    for (size_t i = 0; i < m->copies.len; i++) {
        struct error e = ERROR_INIT;
        uint64_t revision;
        autofree char *text = fx_dump_dir(m->f, m->copies.items[i], &revision);
        if (!streq(text, m->befores.items[i]))
            assert_string_equal(text, after);
        assert_true(revision >= m->revisions.items[i]);
        assert_int_equal(fs_remove_tree(m->copies.items[i], &e), 0);
        free(m->copies.items[i]);
        free(m->befores.items[i]);
    }
    m->copies.len = m->befores.len = m->revisions.len = 0;
}

static void
test_crash_at_every_operation(void **state)
{
    struct fixture *f = *state;
    struct moment m = {.f = f};
    struct fx_fault fault = {.before = take_moment, .arg = &m, .no_sync = true};
    struct store_fs_ops fs = fx_fault_ops(&fault);

    fx_put(f, RUNS, "default", "n0", NULL, 0);
    fx_close(f);
    f->opts.fs = &fs;
    m.before = fx_dump_dir(f, f->dir, &m.handed_out);
    for (int64_t i = 0; i < 12; i++) {
        if (f->store == NULL) {
            fx_open(f); /* an open is under way: nothing changes */
            check_moments(&m, m.before);
        }
        struct fx_result r = {0};
        char name[8];
        snprintf(name, sizeof(name), "n%" PRId64, i % 4);
        assert_int_equal(fx_start_put(f, "default", name, i, STORE_DURABLE, &r), 0);
        /* Known to the writer, not acknowledged: may be handed out again only if nobody
         * saw it, which nobody did. */
        if (i % 5 == 4)
            store_snapshot(f->store, NULL, NULL);
        fx_wait(f, &r);
        char *after = fx_dump(f->store);
        check_moments(&m, after);
        free(m.before);
        m.before = after;
        m.handed_out = r.revision;
        /* A renewal is never in the log, but its revision was seen. */
        fx_start_put(f, "default", "lease", i, STORE_MEMORY, NULL);
        fx_start_delete(f, "default", "lease", NULL);
        m.handed_out = store_revision(f->store);
        store_flush(f->store);
        check_moments(&m, m.before);
        m.handed_out = store_revision(f->store);
        if (i % 4 == 3)
            fx_close(f);
    }
    fx_close(f);
    assert_true(fault.calls[FX_SYNC] > 20);
    check_moments(&m, m.before);
    free(m.before);
    vec_done(&m.copies);
    vec_done(&m.befores);
    vec_done(&m.revisions);
    f->opts.fs = &fx_no_sync;
}

/* Revisions of several starts never meet, whatever was or was not written. */
static void
test_floor(void **state)
{
    struct fixture *f = *state;
    uint64_t last = 0;

    for (int i = 0; i < 5; i++) {
        assert_true(store_revision(f->store) >= last);
        uint64_t rev = 0;
        if (i % 2 == 0)
            rev = fx_put(f, RUNS, "default", "a", NULL, i);
        struct fx_result r = {0};
        fx_start_put(f, "default", "m", i, STORE_MEMORY, &r);
        loop_turn(f->loop, -1);
        assert_true(r.done && r.revision > rev && r.revision > last);
        last = r.revision;
        struct store_stats st;
        store_stats(f->store, &st);
        assert_true(st.floor >= last);
        fx_reopen(f);
    }
}

/* A commit that many revisions later: the floor is raised in time, also by renewals. */
static void
test_floor_is_raised(void **state)
{
    struct fixture *f = *state;
    struct store_stats st;
    struct fx_fault fault = {.no_sync = true};
    struct store_fs_ops fs = fx_fault_ops(&fault);

    fx_close(f);
    f->opts.fs = &fs;
    fx_open(f);
    store_stats(f->store, &st);
    uint64_t first = st.floor;
    for (int64_t i = 0; i < 20000; i++) {
        struct error e = ERROR_INIT;
        auto_object *o = fx_object("default", "m", NULL, i, 0);
        const struct object *have = fx_get(f, "default", "m");
        struct store_op op = {
            STORE_PUT, {RUNS, "default", "m"}, have == NULL ? 0 : have->revision, o};
        assert_int_equal(
            store_commit(f->store, &op, 1, STORE_DURABLE, NULL, NULL, NULL, &e), 0);
        store_flush(f->store);
        store_stats(f->store, &st);
        assert_true(st.floor >= st.revision);
        if (st.floor > first)
            break;
        loop_turn(f->loop, 0);
    }
    assert_true(st.floor > first);
    fx_close(f);
    f->opts.fs = &fx_no_sync;
    fx_open(f);
    assert_true(store_revision(f->store) >= st.floor);
}

/* --- segments --- */

static void
put_big(struct fixture *f, const char *name, int64_t n)
{
    struct error e = ERROR_INIT;
    struct fx_result r = {0};
    auto_object *o = fx_object("default", name, NULL, n, 2u << 20);
    struct store_key k = {RUNS, "default", name};
    const struct object *have = store_peek(f->store, &k);
    struct store_op op = {STORE_PUT, k, have == NULL ? 0 : have->revision, o};

    assert_int_equal(
        store_commit(f->store, &op, 1, STORE_DURABLE, fx_on_done, &r, NULL, &e), 0);
    fx_wait(f, &r);
    assert_int_equal(r.e.code, ERR_OK);
}

static void
test_roll_over(void **state)
{
    struct fixture *f = *state;
    char name[8];
    size_t segments = fx_count_files(f->dir, "log", ".log");

    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof(name), "b%d", i % 6);
        put_big(f, name, i);
    }
    assert_int_equal(fx_count_files(f->dir, "log", ".log"), segments + 2);
    autofree char *before = fx_dump(f->store);
    fx_reopen(f);
    autofree char *after = fx_dump(f->store);
    assert_string_equal(before, after);
}

static void
test_not_ours(void **state)
{
    struct fixture *f = *state;
    struct error e = ERROR_INIT;

    fx_put(f, RUNS, "default", "a", NULL, 1);
    fx_close(f);
    autofree char *log = fx_newest(f->dir, "log", ".log");
    autofree char *copy = fx_copy(f);
    /* A file of another store under the right name; a short one; a directory. */
    assert_int_equal(truncate(log, 40), 0);
    assert_int_equal(fx_try_open(f, &e), -ERR_CORRUPT);
    e = ERROR_INIT;
    assert_int_equal(
        fs_write_atomic(log, "hello world, this is not a log\n", 31, 0600, &e), 0);
    assert_int_equal(fx_try_open(f, &e), -ERR_CORRUPT);
    autofree char *text = fx_dump_dir(f, copy, NULL);
    assert_non_null(strstr(text, "a@"));
}

/* A segment of version 2, whose records have another checksum, reads the same. */
static void
test_older_version(void **state)
{
    struct fixture *f = *state;
    struct error e = ERROR_INIT;
    auto_str text = STR_INIT(64u << 20);

    for (int i = 0; i < 20; i++)
        random_change(f, i);
    autofree char *before = fx_dump(f->store);
    fx_close(f);
    autofree char *path = fx_newest(f->dir, "log", ".log");
    assert_int_equal(fs_read(path, &text, &e), 0);
    struct log_head h = {.version = 2,
                         .first = log_get64(text.ptr + 32),
                         .floor = log_get64(text.ptr + 40),
                         .prev_first = log_get64(text.ptr + 48),
                         .prev_end = log_get64(text.ptr + 56)};
    memcpy(h.id, text.ptr + 16, sizeof(h.id));
    log_head_write(&h, LOG_MAGIC, text.ptr);
    size_t n = 0, off = LOG_HEAD_BYTES;
    while (off + LOG_RECORD_HEAD <= text.len && log_get64(text.ptr + off) != 0) {
        size_t size = log_record_size(log_get32(text.ptr + off));
        char *rec = text.ptr + off;
        log_record_sum(&h, rec, size, off, (unsigned char *)rec + 24);
        off += size;
        n++;
    }
    assert_true(n >= 20);
    assert_int_equal(fs_write_atomic(path, text.ptr, text.len, 0600, &e), 0);
    fx_open(f);
    autofree char *after = fx_dump(f->store);
    assert_string_equal(before, after);
}

int
main(void)
{
#define INLINE(t) cmocka_unit_test_setup_teardown(t, setup, fx_teardown)
#define THREADED(t) cmocka_unit_test_setup_teardown(t, setup_threaded, fx_teardown)
    const struct CMUnitTest tests[] = {
        INLINE(test_random_history),
        INLINE(test_torn_tail),
        INLINE(test_bit_flip),
        INLINE(test_hole_in_group),
        INLINE(test_damage_in_old_segment),
        INLINE(test_crash_at_every_operation),
        INLINE(test_floor),
        INLINE(test_floor_is_raised),
        INLINE(test_roll_over),
        THREADED(test_roll_over),
        INLINE(test_not_ours),
        INLINE(test_older_version),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
