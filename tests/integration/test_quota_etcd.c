/* SPDX-License-Identifier: Apache-2.0 */
/* A quota with two API servers on one etcd: the last place is taken once. */
#include "integration/etcd_pair.h"

#include <stdio.h>
#include <stdlib.h>

#include "api/jtok.h"

enum { CREATES = 40, PLACES = 7 };

struct waiting {
    const struct pair *pair;
    const char *used;
};

static bool
used_is(const struct pair_side *s, const char *want)
{
    struct store_key key = {"resourcequotas", "default", "q"};
    const struct object *o = store_get(s->store, &key);
    struct span used;

    return o != NULL && object_path(o, "status.used.configmaps", &used) &&
           jscan_is(used, want);
}

static bool
both_say(void *arg)
{
    const struct waiting *w = arg;

    return used_is(&w->pair->side[0], w->used) && used_is(&w->pair->side[1], w->used);
}

static size_t
count(struct store *s)
{
    struct store_list *l = store_list(s, "configmaps", "default", NULL);
    size_t n = 0;

    while (store_list_next(l) != NULL)
        n++;
    store_list_free(l);
    return n;
}

static void
the_last_place_is_taken_once(void **state)
{
    const struct history_limits limits = {0};
    struct pair p = {0};
    struct waiting used = {&p, "0"};

    pair_start(&p, *state, "quota", &limits);
    pair_write(&p, 0, WRITE_CREATE, "namespaces", "", "",
               "{\"metadata\":{\"name\":\"default\"}}");
    pair_wait(&p);
    pair_write(
        &p, 0, WRITE_CREATE, "resourcequotas", "default", "",
        "{\"metadata\":{\"name\":\"q\"},\"spec\":{\"hard\":{\"configmaps\":\"7\"}}}");
    cf_until(&p.c, both_say, &used, PAIR_WAIT_MS);
    assert_int_equal(p.ok, 2);
    p.ok = 0;
    for (size_t i = 0; i < CREATES; i++) {
        char json[128];
        snprintf(json, sizeof(json), "{\"metadata\":{\"name\":\"c%zu\"}}", i);
        pair_write(&p, i % 2, WRITE_CREATE, "configmaps", "default", "", json);
    }
    pair_wait(&p);
    assert_int_equal(p.ok, PLACES);
    assert_int_equal(p.refused, CREATES - PLACES);
    used.used = "7";
    cf_until(&p.c, both_say, &used, PAIR_WAIT_MS);
    for (size_t i = 0; i < ARRAY_LEN(p.side); i++) {
        cf_sync(&p.c, p.side[i].store);
        assert_int_equal(count(p.side[i].store), PLACES);
    }
    pair_stop(&p);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_place_is_taken_once),
    };
    return cmocka_run_group_tests(tests, pair_group_setup, pair_group_teardown);
}
