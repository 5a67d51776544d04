/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading changes back out of the log: every revision once and in order from any retained
 * one, with the version before; while segments are begun and removed; what compaction and
 * retention take away is refused, never skipped.
 */
#include "unit/store_fixture.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "apiserver/store/store_log_reader.h"
#include "base/fs.h"
#include "base/mem.h"

struct entry {
    uint64_t revision, prev;
    bool del;
    int64_t n; /* spec.n; of a delete that of the last state */
    char name[16];
};

struct history {
    struct entry e[4000];
    size_t len;
};

static int
setup(void **state)
{
    int rc = fx_setup(state, "readback");
    struct fixture *f = *state;

    f->opts.retain_s = 0; /* the usual hour */
    fx_reopen(f);
    return rc;
}

static void
note_put(struct fixture *f, struct history *h, const char *name, int64_t n)
{
    const struct object *have = fx_get(f, "default", name);
    struct entry e = {.n = n, .prev = have == NULL ? 0 : have->revision};

    snprintf(e.name, sizeof(e.name), "%s", name);
    e.revision = fx_put(f, RUNS, "default", name, NULL, n);
    h->e[h->len++] = e;
}

static void
note_delete(struct fixture *f, struct history *h, const char *name)
{
    const struct object *have = fx_get(f, "default", name);
    struct entry e = {.del = true, .n = fx_value(have), .prev = have->revision};

    snprintf(e.name, sizeof(e.name), "%s", name);
    e.revision = fx_delete(f, RUNS, "default", name);
    h->e[h->len++] = e;
}

static void
write_history(struct fixture *f, struct history *h, int n)
{
    for (int i = 0; i < n; i++) {
        char name[16];
        snprintf(name, sizeof(name), "n%d", i % 7);
        if (i % 5 == 4 && fx_get(f, "default", name) != NULL)
            note_delete(f, h, name);
        else
            note_put(f, h, name, i);
    }
}

static int64_t
value_of(const char *bytes, size_t n)
{
    auto_object *o = NULL;
    struct error e = ERROR_INIT;

    assert_int_equal(object_new(NULL, bytes, n, 1, &o, &e), 0);
    return fx_value(o);
}

static char *
log_dir(struct fixture *f)
{
    return fs_join(f->dir, "log");
}

/* Everything in (from, to] comes, and nothing else. */
static void
expect_history(struct fixture *f, const struct history *h, uint64_t from, uint64_t to)
{
    autofree char *dir = log_dir(f);
    struct error e = ERROR_INIT;
    struct log_back *b = NULL;
    struct log_change c;
    size_t i = 0;
    int rc = log_back_open(dir, from, to, &b, &e);

    if (rc != 0)
        fail_msg("open: %s", e.msg);
    while (i < h->len && h->e[i].revision <= from)
        i++;
    while ((rc = log_back_next(b, &c, &e)) == 1) {
        assert_true(i < h->len);
        assert_true(c.revision == h->e[i].revision);
        assert_true(c.prev == h->e[i].prev);
        assert_int_equal(c.del, h->e[i].del);
        assert_true(span_eq(c.name, h->e[i].name));
        assert_int_equal(value_of(c.object.ptr, c.object.len), h->e[i].n);
        if (c.prev != 0 && c.prev > store_retained(f->store)) {
            auto_str old = STR_INIT(OBJECT_MAX_BYTES);
            assert_int_equal(log_back_version(b, &c, c.prev, &old, &e), 1);
            size_t k = 0;
            while (h->e[k].revision != c.prev)
                k++;
            assert_int_equal(value_of(old.ptr, old.len), h->e[k].n);
        }
        i++;
    }
    if (rc < 0)
        fail_msg("next: %s", e.msg);
    assert_true(i == h->len || h->e[i].revision > to);
    assert_true(log_back_position(b) <= to);
    log_back_close(b);
}

static void
test_every_from(void **state)
{
    struct fixture *f = *state;
    struct history *h = xnew(struct history);

    write_history(f, h, 60);
    uint64_t oldest = store_retained(f->store);
    for (size_t i = 0; i < h->len; i++) {
        expect_history(f, h, h->e[i].revision, store_revision(f->store));
        expect_history(f, h, oldest, h->e[i].revision);
    }
    expect_history(f, h, oldest, store_revision(f->store));
    free(h);
}

/* Restarts begin segments; snapshots keep those within the retention. */
static void
test_over_segments(void **state)
{
    struct fixture *f = *state;
    struct history *h = xnew(struct history);
    struct fx_result r;

    for (int i = 0; i < 6; i++) {
        write_history(f, h, 20);
        r = (struct fx_result){0};
        store_snapshot(f->store, fx_on_done, &r);
        fx_wait(f, &r);
        assert_int_equal(r.e.code, ERR_OK);
        fx_reopen(f);
    }
    assert_int_equal(fx_count_files(f->dir, "log", ".log"), 8);
    expect_history(f, h, store_retained(f->store), store_revision(f->store));
    expect_history(f, h, h->e[50].revision, h->e[70].revision);

    /* Nothing retained: only what the newest snapshot needs. */
    f->opts.retain_s = -1;
    fx_reopen(f);
    r = (struct fx_result){0};
    store_snapshot(f->store, fx_on_done, &r);
    fx_wait(f, &r);
    assert_int_equal(fx_count_files(f->dir, "log", ".log"), 1);
    struct error e = ERROR_INIT;
    struct log_back *b = NULL;
    autofree char *dir = log_dir(f);
    assert_int_equal(log_back_open(dir, h->e[50].revision, h->e[70].revision, &b, &e),
                     -ERR_EXPIRED);
    assert_non_null(strstr(e.msg, "too old resource version"));
    uint64_t oldest = 0;
    assert_int_equal(log_back_oldest(dir, &oldest, &e), 0);
    assert_true(oldest == store_retained(f->store));
    free(h);
}

/* The same reader goes on while the writer fills and begins segments. */
static void
test_while_written(void **state)
{
    struct fixture *f = *state;
    struct error e = ERROR_INIT;
    struct log_back *b = NULL;
    struct log_change c;
    autofree char *dir = log_dir(f);
    uint64_t last = store_revision(f->store);
    size_t seen = 0;

    assert_int_equal(log_back_open(dir, last, UINT64_MAX / 2, &b, &e), 0);
    for (int i = 0; i < 40; i++) {
        auto_object *o = fx_object("default", "big", NULL, i, 1u << 20);
        struct store_key k = {RUNS, "default", "big"};
        const struct object *have = fx_get(f, "default", "big");
        struct store_op op = {STORE_PUT, k, have == NULL ? 0 : have->revision, o};
        struct fx_result r = {0};
        assert_int_equal(
            store_commit(f->store, &op, 1, STORE_DURABLE, fx_on_done, &r, NULL, &e), 0);
        fx_wait(f, &r);
        assert_int_equal(r.e.code, ERR_OK);
        if (i % 3 == 0) {
            /* A reader that met the end is at its end; a new one reads on from there. */
            int rc;
            while ((rc = log_back_next(b, &c, &e)) == 1) {
                assert_true(c.revision > last);
                last = c.revision;
                seen++;
            }
            assert_int_equal(rc, 0);
            assert_true(log_back_position(b) == r.revision);
            log_back_close(b);
            b = NULL;
            assert_int_equal(log_back_open(dir, last, UINT64_MAX / 2, &b, &e), 0);
        }
    }
    log_back_close(b);
    assert_int_equal(seen, 40);
    assert_true(fx_count_files(f->dir, "log", ".log") >= 3);
}

static void
never(void *arg)
{
    UNUSED(arg);
}

/* At every revision, deletions among them: from just before it is refused, from it on
 * nothing is missing. */
static void
test_compact_everywhere(void **state)
{
    struct fixture *f = *state;
    struct history *h = xnew(struct history);
    struct error e = ERROR_INIT;

    write_history(f, h, 40);
    for (size_t i = 0; i < h->len; i++) {
        struct fx_result r = {0};
        struct store_watch *w = NULL;
        struct store_event ev;
        struct store_watch_opts o = {
            .resource = RUNS, .from = h->e[i].revision - 1, .wake = never};
        assert_int_equal(store_compact(f->store, h->e[i].revision, fx_on_done, &r, &e),
                         0);
        fx_wait(f, &r);
        assert_int_equal(store_watch(f->store, &o, &w, &e), -ERR_EXPIRED);
        o.from = h->e[i].revision;
        assert_int_equal(store_watch(f->store, &o, &w, &e), 0);
        for (size_t k = i + 1; k < h->len; k++) {
            assert_int_equal(store_watch_next(w, &ev, &e), 1);
            assert_true(ev.revision == h->e[k].revision);
            assert_int_equal(ev.type == STORE_DELETED, h->e[k].del);
            assert_int_equal(fx_value(ev.obj), h->e[k].n);
        }
        assert_int_equal(store_watch_next(w, &ev, &e), 0);
        store_watch_free(w);
        expect_history(f, h, h->e[i].revision, store_revision(f->store));
    }
    free(h);
}

/* Deleted, then compacted: from before is refused, from after has everything. */
static void
test_compact(void **state)
{
    struct fixture *f = *state;
    struct history *h = xnew(struct history);
    struct fx_result r = {0};
    struct error e = ERROR_INIT;
    struct store_watch *w = NULL;

    write_history(f, h, 30);
    fx_reopen(f);
    write_history(f, h, 30);
    uint64_t at = h->e[44].revision;
    assert_int_equal(
        store_compact(f->store, store_revision(f->store) + 1, fx_on_done, &r, &e),
        -ERR_BAD_REQUEST);
    assert_int_equal(store_compact(f->store, at, fx_on_done, &r, &e), 0);
    fx_wait(f, &r);
    assert_int_equal(r.e.code, ERR_OK);
    assert_int_equal(store_compact(f->store, at - 1, NULL, NULL, &e), -ERR_EXPIRED);
    assert_true(store_retained(f->store) == at);
    assert_true(store_oldest(f->store) >= at);
    assert_int_equal(fx_count_files(f->dir, "log", ".log"), 1);
    struct store_watch_opts o = {.resource = RUNS, .from = at - 1, .wake = never};
    assert_int_equal(store_watch(f->store, &o, &w, &e), -ERR_EXPIRED);
    o.from = at;
    assert_int_equal(store_watch(f->store, &o, &w, &e), 0);
    for (size_t i = 45; i < h->len; i++) {
        struct store_event ev;
        assert_int_equal(store_watch_next(w, &ev, &e), 1);
        assert_true(ev.revision == h->e[i].revision);
        assert_int_equal(ev.type == STORE_DELETED, h->e[i].del);
    }
    store_watch_free(w);
    expect_history(f, h, at, store_revision(f->store));
    free(h);
}

/* A damaged record is named, not skipped. */
static void
test_damage(void **state)
{
    struct fixture *f = *state;
    struct history *h = xnew(struct history);
    autofree char *dir = log_dir(f);
    struct error e = ERROR_INIT;
    struct log_back *b = NULL;
    struct log_change c;
    int rc;

    write_history(f, h, 20);
    autofree char *file = fx_newest(f->dir, "log", ".log");
    uint64_t from = store_retained(f->store);
    fx_reopen(f);
    write_history(f, h, 5);
    FILE *out = fopen(file, "r+e");
    assert_non_null(out);
    assert_int_equal(fseek(out, 3000, SEEK_SET), 0);
    assert_int_equal(fputc('#', out), '#');
    assert_int_equal(fclose(out), 0);
    assert_int_equal(log_back_open(dir, from, store_revision(f->store), &b, &e), 0);
    while ((rc = log_back_next(b, &c, &e)) == 1)
        ;
    assert_int_equal(rc, -ERR_CORRUPT);
    assert_non_null(strstr(e.msg, "offset"));
    log_back_close(b);
    free(h);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_from, setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_over_segments, setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_while_written, setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_compact, setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_compact_everywhere, setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_damage, setup, fx_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
