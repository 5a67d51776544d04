/* SPDX-License-Identifier: Apache-2.0 */
/* The history with two API servers on one etcd: both end generations of one object. */
#include "integration/etcd_pair.h"

#include <stdlib.h>

#include "base/mem.h"

enum { WRITES = 24, KEPT = 4 };

static void
update_from_both(struct pair *w)
{
    for (int n = 0; n < WRITES; n++) {
        autofree char *json = xasprintf("{\"spec\":{\"env\":{\"N\":\"%d\"}}}", n);
        pair_write(w, (size_t)n % 2, WRITE_MERGE, RUNS, "default", "ra", json);
    }
    pair_wait(w);
}

static void
create(struct pair *w)
{
    pair_write(w, 0, WRITE_CREATE, "namespaces", "", "default",
               "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":"
               "\"default\"}}");
    pair_wait(w);
    pair_write(
        w, 0, WRITE_CREATE, RUNS, "default", "ra",
        "{\"apiVersion\":\"drover.dev/v1\",\"kind\":\"Run\",\"metadata\":{\"name\":"
        "\"ra\"},\"spec\":{\"type\":\"task\",\"commands\":[\"true\"]}}");
    pair_wait(w);
    assert_int_equal(w->ok, 2);
    w->ok = 0;
}

/* Revisions in a store's view; checks that they follow each other up to `last`. */
static size_t
count_revisions(struct store *s, int64_t last)
{
    struct store_list *l = store_list(s, HISTORY_RESOURCE, "default", NULL);
    const struct object *o;
    int64_t before = 0;
    size_t n = 0;

    while ((o = store_list_next(l)) != NULL) {
        int64_t generation = revision_generation(o);
        if (before != 0 && last != 0)
            assert_int_equal(generation, before + 1);
        before = generation;
        n++;
    }
    store_list_free(l);
    if (last != 0)
        assert_int_equal(before, last);
    return n;
}

static bool
few_enough(void *arg)
{
    struct pair *w = arg;

    return count_revisions(w->side[0].store, 0) <= KEPT &&
           count_revisions(w->side[1].store, 0) <= KEPT;
}

static void
both_servers_keep_one_history(void **state)
{
    struct history_limits limits = {0};
    struct store_key key = {RUNS, "default", "ra"};
    struct pair w = {0};

    pair_start(&w, *state, "one", &limits);
    create(&w);
    update_from_both(&w);
    assert_int_equal(w.ok + w.refused, WRITES);
    assert_true(w.ok >= WRITES / 2);
    cf_sync(&w.c, w.side[0].store);
    cf_sync(&w.c, w.side[1].store);
    /* each write that was acknowledged ended exactly one generation */
    for (size_t i = 0; i < ARRAY_LEN(w.side); i++) {
        assert_int_equal(store_get(w.side[i].store, &key)->facts.generation, 1 + w.ok);
        assert_int_equal(count_revisions(w.side[i].store, (int64_t)w.ok), w.ok);
    }
    pair_stop(&w);
}

static void
both_servers_bound_it(void **state)
{
    struct history_limits limits = {.per_object = KEPT};
    struct pair w = {0};

    pair_start(&w, *state, "two", &limits);
    create(&w);
    update_from_both(&w);
    cf_until(&w.c, few_enough, &w, PAIR_WAIT_MS);
    cf_sync(&w.c, w.side[0].store);
    assert_int_equal(count_revisions(w.side[0].store, (int64_t)w.ok), KEPT);
    pair_stop(&w);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_servers_keep_one_history),
        cmocka_unit_test(both_servers_bound_it),
    };
    return cmocka_run_group_tests(tests, pair_group_setup, pair_group_teardown);
}
