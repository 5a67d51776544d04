/* SPDX-License-Identifier: Apache-2.0 */
/* The informer's core: what handlers are told, what relists replace, indexes, lines. */
#include "control/informer.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/id.h"
#include "base/mem.h"

static struct object *
make(const char *name, const char *uid, uint64_t revision, const char *run)
{
    struct object *o = NULL;
    struct error e = ERROR_INIT;
    autofree char *json = xasprintf(
        "{\"apiVersion\":\"drover.dev/"
        "v1\",\"kind\":\"Job\",\"metadata\":{\"name\":\"%s\","
        "\"namespace\":\"default\",\"uid\":\"%s\",\"resourceVersion\":\"%llu\"},"
        "\"spec\":{\"runName\":\"%s\"}}",
        name, uid, (unsigned long long)revision, run);

    if (object_from_json(NULL, json, strlen(json), &o, &e) < 0)
        fail_msg("%s", e.msg);
    return o;
}

struct log {
    struct str text;
    unsigned progress;
};

static void
on_set(void *arg, const struct object *before, const struct object *now, bool initial)
{
    struct log *l = arg;

    str_addf(&l->text, "%s%s %s;", before == NULL ? "add" : "update", initial ? "!" : "",
             now->name);
}

static void
on_delete(void *arg, const struct object *last)
{
    struct log *l = arg;

    str_addf(&l->text, "delete %s;", last->name);
}

static void
on_progress(void *arg)
{
    struct log *l = arg;

    l->progress++;
}

static bool
by_run(const struct object *o, struct str *key)
{
    char run[64];

    if (!object_get_string(o, "spec.runName", run, sizeof(run)) || run[0] == '\0')
        return false;
    str_adds(key, run);
    return true;
}

static const struct informer_index run_index = {"run", by_run};

static struct informer *
informer(struct log *l)
{
    struct informer *inf = informer_new(&resource_jobs);
    struct informer_handler h = {on_set, on_delete, on_progress, l};

    *l = (struct log){STR_INIT(10000), 0};
    informer_add_index(inf, &run_index);
    informer_add_handler(inf, &h);
    return inf;
}

static void
feed(struct informer *inf, enum informer_event_type type, const char *name,
     const char *uid, uint64_t revision)
{
    auto_object *o = make(name, uid, revision, "r");

    informer_event(inf, type, o, revision);
}

static void
item(struct informer *inf, const char *name, const char *uid, uint64_t revision)
{
    auto_object *o = make(name, uid, revision, "r");

    informer_list_item(inf, o);
}

static void
expect(struct log *l, const char *text)
{
    assert_string_equal(l->text.ptr, text);
    str_reset(&l->text);
}

static void
list_then_watch(void **state)
{
    struct log l;
    struct informer *inf = informer(&l);

    UNUSED(state);
    informer_list_begin(inf);
    item(inf, "a", "ua", 3);
    item(inf, "b", "ub", 4);
    assert_false(informer_synced(inf));
    informer_list_end(inf, 7);
    assert_true(informer_synced(inf));
    assert_int_equal(informer_revision(inf), 7);
    expect(&l, "add! a;add! b;");
    feed(inf, INFORMER_MODIFIED, "a", "ua", 8);
    feed(inf, INFORMER_ADDED, "c", "uc", 9);
    feed(inf, INFORMER_DELETED, "b", "ub", 10);
    feed(inf, INFORMER_DELETED, "b", "ub", 10); /* again: nothing */
    expect(&l, "update a;add c;delete b;");
    assert_int_equal(informer_revision(inf), 10);
    informer_event(inf, INFORMER_BOOKMARK, NULL, 20);
    assert_int_equal(informer_revision(inf), 20);
    assert_int_equal(informer_len(inf), 2);
    str_done(&l.text);
    informer_free(inf);
}

/* What happened while nobody watched: gone, new, changed, replaced by another uid. */
static void
relist_replaces(void **state)
{
    struct log l;
    struct informer *inf = informer(&l);

    UNUSED(state);
    informer_list_begin(inf);
    item(inf, "same", "u1", 1);
    item(inf, "changed", "u2", 2);
    item(inf, "gone", "u3", 3);
    item(inf, "reborn", "u4", 4);
    informer_list_end(inf, 5);
    str_reset(&l.text);
    informer_list_begin(inf);
    item(inf, "same", "u1", 1);
    informer_list_abort(inf); /* a list that fails deletes nothing */
    expect(&l, "");
    informer_list_begin(inf);
    item(inf, "same", "u1", 1);
    item(inf, "changed", "u2", 12);
    item(inf, "reborn", "u5", 13);
    item(inf, "new", "u6", 14);
    informer_list_end(inf, 15);
    expect(&l, "update changed;delete reborn;add reborn;add new;delete gone;");
    auto_object *o = informer_find_uid(inf, "u4");
    assert_null(o);
    o = informer_find_uid(inf, "u5");
    assert_string_equal(o->name, "reborn");
    assert_int_equal(informer_epoch(inf), 0);
    informer_list_begin(inf);
    informer_list_end(inf, 2); /* the server was restored from a backup */
    assert_int_equal(informer_epoch(inf), 1);
    assert_int_equal(informer_len(inf), 0);
    str_done(&l.text);
    informer_free(inf);
}

/* Random puts and deletes: the index and the uids always agree with a plain scan. */
static void
index_agrees_with_scan(void **state)
{
    enum { NAMES = 30, RUNS = 5 };
    struct log l;
    struct informer *inf = informer(&l);

    UNUSED(state);
    informer_list_begin(inf);
    informer_list_end(inf, 1);
    for (uint64_t step = 2; step < 3000; step++) {
        char name[16], uid[16], run[16];
        uint32_t n = id_uniform(NAMES);
        snprintf(name, sizeof(name), "n%u", n);
        snprintf(uid, sizeof(uid), "u%u-%u", n, id_uniform(3));
        snprintf(run, sizeof(run), "%s%u", "run", id_uniform(RUNS));
        auto_object *o = make(name, uid, step, id_uniform(4) == 0 ? "" : run);
        informer_event(inf, id_uniform(3) == 0 ? INFORMER_DELETED : INFORMER_MODIFIED, o,
                       step);
        if (step % 50 != 0)
            continue;
        auto_object_list all = {0};
        informer_all(inf, &all);
        for (uint32_t r = 0; r < RUNS; r++) {
            auto_object_list indexed = {0};
            size_t expected = 0;
            snprintf(run, sizeof(run), "run%u", r);
            informer_index(inf, "run", run, &indexed);
            vec_foreach (p, &all.list) {
                char have[64];
                object_get_string(*p, "spec.runName", have, sizeof(have));
                expected += streq(have, run);
            }
            assert_int_equal(indexed.list.len, expected);
            for (size_t i = 1; i < indexed.list.len; i++)
                assert_true(strcmp(indexed.list.items[i - 1]->name,
                                   indexed.list.items[i]->name) < 0);
        }
        vec_foreach (p, &all.list) {
            auto_object *found = informer_find_uid(inf, (*p)->uid);
            assert_ptr_equal(found, *p);
        }
        str_reset(&l.text);
    }
    str_done(&l.text);
    informer_free(inf);
}

static void
lines(void **state)
{
    static const char added[] =
        "{\"type\":\"ADDED\",\"object\":{\"kind\":\"Job\",\"apiVersion\":\"drover.dev/"
        "v1\","
        "\"metadata\":{\"name\":\"a\",\"namespace\":\"default\",\"uid\":\"u\","
        "\"resourceVersion\":\"5\"},\"spec\":{\"runName\":\"r\"}}}";
    static const char bookmark[] =
        "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"9\"}}}";
    static const char gone[] =
        "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":410,"
        "\"reason\":\"Expired\",\"message\":\"too old\"}}";
    static const char *const bad[] = {"",
                                      "[]",
                                      "{}",
                                      "{\"type\":\"ADDED\"}",
                                      "{\"type\":\"WHAT\",\"object\":{}}",
                                      "{\"type\":\"ADDED\",\"object\":{\"metadata\":{}}}",
                                      "{\"type\":\"BOOKMARK\",\"object\":{}}",
                                      "{\"type\":\"ADDED\",\"object\":{\"a\":"};
    struct log l;
    struct informer *inf = informer(&l);
    struct error e = ERROR_INIT;

    UNUSED(state);
    informer_list_begin(inf);
    informer_list_end(inf, 1);
    assert_int_equal(informer_apply_line(inf, span_of(added), &e), 0);
    assert_int_equal(informer_revision(inf), 5);
    assert_int_equal(informer_apply_line(inf, span_of(bookmark), &e), 0);
    assert_int_equal(informer_revision(inf), 9);
    assert_int_equal(informer_apply_line(inf, span_of(gone), &e), -ERR_EXPIRED);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_true(informer_apply_line(inf, span_of(bad[i]), &e) < 0);
    expect(&l, "add a;");
    str_done(&l.text);
    informer_free(inf);
}

/* Readers on other threads while the owner feeds; for the thread sanitizer. */
struct reader {
    struct informer *inf;
    atomic_bool stop;
    atomic_uint reads;
};

static void *
read_all_the_time(void *arg)
{
    struct reader *r = arg;

    while (!atomic_load(&r->stop)) {
        auto_object_list list = {0};
        auto_object *o = informer_find(r->inf, "default", "n1");
        UNUSED(o);
        informer_index(r->inf, "run", "r", &list);
        vec_foreach (p, &list.list)
            if ((*p)->len == 0)
                abort();
        atomic_fetch_add(&r->reads, 1);
    }
    return NULL;
}

static void
readers_and_a_writer(void **state)
{
    struct log l;
    struct reader r = {.inf = informer(&l)};
    pthread_t threads[3];

    UNUSED(state);
    informer_list_begin(r.inf);
    informer_list_end(r.inf, 1);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_create(&threads[i], NULL, read_all_the_time, &r);
    for (uint64_t step = 2; step < 2000 || atomic_load(&r.reads) < 50; step++) {
        char name[16], uid[16];
        snprintf(name, sizeof(name), "n%llu", (unsigned long long)step % 7);
        snprintf(uid, sizeof(uid), "u%llu", (unsigned long long)step % 14);
        feed(r.inf, step % 5 == 0 ? INFORMER_DELETED : INFORMER_MODIFIED, name, uid,
             step);
        str_reset(&l.text);
    }
    atomic_store(&r.stop, true);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    str_done(&l.text);
    informer_free(r.inf);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(list_then_watch),        cmocka_unit_test(relist_replaces),
        cmocka_unit_test(index_agrees_with_scan), cmocka_unit_test(lines),
        cmocka_unit_test(readers_and_a_writer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
