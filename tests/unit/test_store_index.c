/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index against a sorted array that does the same in the obvious way: random puts and
 * removals, in random, rising and falling order; ranges taken at any moment must show
 * that moment to the end.
 */
#include "unit/store_fixture.h"

#include <pthread.h>

#include "apiserver/store/store_index.h"
#include "base/id.h"
#include "base/mem.h"
#include "base/vec.h"

struct model {
    vec(struct object *) items; /* sorted; each with a reference */
};

static int
compare(const struct object *o, const char *ns, const char *name)
{
    int c = strcmp(o->ns, ns);

    return c != 0 ? c : strcmp(o->name, name);
}

static size_t
model_find(const struct model *m, const char *ns, const char *name, bool *found)
{
    size_t i = 0;

    while (i < m->items.len && compare(m->items.items[i], ns, name) < 0)
        i++;
    *found = i < m->items.len && compare(m->items.items[i], ns, name) == 0;
    return i;
}

static void
model_put(struct model *m, struct object *o)
{
    bool found;
    size_t i = model_find(m, o->ns, o->name, &found);

    if (found) {
        object_unref(m->items.items[i]);
        m->items.items[i] = object_ref(o);
    } else {
        vec_insert(&m->items, i, object_ref(o));
    }
}

static void
model_done(struct model *m)
{
    vec_foreach (o, &m->items)
        object_unref(*o);
    vec_done(&m->items);
}

/* A range that is held, and what it must show. */
struct held {
    struct store_range range;
    struct model want;
    size_t next;
};

static void
held_take(struct held *h, const struct store_index *x, const struct model *m,
          const char *ns, const char *after_ns, const char *after_name)
{
    *h = (struct held){0};
    store_range_init(x, ns, after_ns, after_name, &h->range);
    vec_foreach (o, &m->items) {
        if (ns != NULL && !streq((*o)->ns, ns))
            continue;
        if (after_name != NULL && compare(*o, after_ns, after_name) <= 0)
            continue;
        vec_push(&h->want.items, object_ref(*o));
    }
}

/* Walks at most n objects. */
static void
held_walk(struct held *h, size_t n)
{
    for (; n > 0; n--) {
        assert_int_equal(h->range.left, h->want.items.len - h->next);
        const struct object *o = store_range_next(&h->range);
        if (h->next == h->want.items.len) {
            assert_null(o);
            return;
        }
        assert_ptr_equal(o, h->want.items.items[h->next++]);
    }
}

static void
held_drop(struct held *h)
{
    held_walk(h, SIZE_MAX);
    store_range_done(&h->range);
    model_done(&h->want);
}

static void
check_all(const struct store_index *x, const struct model *m)
{
    struct held h;

    assert_int_equal(x->len, m->items.len);
    held_take(&h, x, m, NULL, NULL, NULL);
    held_drop(&h);
    vec_foreach (o, &m->items)
        assert_ptr_equal(store_index_get(x, (*o)->ns, (*o)->name), *o);
}

enum order { RANDOM, RISING, FALLING };

static void
pick_key(enum order order, unsigned step, unsigned space, char ns[16], char name[32])
{
    unsigned k = id_uniform(space);

    if (order == RISING)
        k = step % space;
    else if (order == FALLING)
        k = space - 1 - step % space;
    snprintf(ns, 16, "ns%u", k * 5 / space);
    snprintf(name, 32, "name-%06u", k);
}

static void
step(struct store_index *x, struct model *m, const char *ns, const char *name,
     unsigned percent_put)
{
    bool found;
    size_t i = model_find(m, ns, name, &found);
    const struct object *have = found ? m->items.items[i] : NULL;

    if (id_uniform(100) < percent_put) {
        auto_object *o = fx_object(ns, name, NULL, 0, 0);
        struct object *old = store_index_put(x, o);
        assert_ptr_equal(old, have);
        object_unref(old);
        model_put(m, o);
        return;
    }
    struct object *old = store_index_remove(x, ns, name);
    assert_ptr_equal(old, have);
    object_unref(old);
    if (found) {
        object_unref(m->items.items[i]);
        vec_remove(&m->items, i);
    }
}

static void
run(enum order order, unsigned space, unsigned steps)
{
    struct store_index x = {0};
    struct model m = {0};
    struct held held[8] = {0};
    char ns[16];
    char name[32];

    for (unsigned n = 0; n < steps; n++) {
        pick_key(order, n, space, ns, name);
        /* Grow, then shrink, then grow: leaves split and merge. */
        step(&x, &m, ns, name, n / (steps / 3 + 1) == 1 ? 20 : 85);
        if (n % 37 == 0) {
            struct held *h = &held[id_uniform(8)];
            held_drop(h);
            bool all = id_uniform(2) == 0;
            bool after = id_uniform(2) == 0;
            pick_key(RANDOM, 0, space, ns, name);
            held_take(h, &x, &m, all ? NULL : ns, ns, after ? name : NULL);
        }
        held_walk(&held[id_uniform(8)], id_uniform(20));
        if (n % 1009 == 0)
            check_all(&x, &m);
    }
    check_all(&x, &m);
    for (size_t i = 0; i < 8; i++)
        held_drop(&held[i]);
    store_index_done(&x);
    model_done(&m);
}

static void
test_random(void **state)
{
    UNUSED(state);
    run(RANDOM, 2000, 9000);
    run(RANDOM, 40, 3000);
}

static void
test_rising(void **state)
{
    UNUSED(state);
    run(RISING, 3000, 9000);
}

static void
test_falling(void **state)
{
    UNUSED(state);
    run(FALLING, 3000, 9000);
}

/* Keys that come in order fill their leaves. */
static void
test_fill(void **state)
{
    struct store_index x = {0};

    UNUSED(state);
    for (int i = 0; i < 10 * STORE_LEAF_MAX; i++) {
        char name[16];
        snprintf(name, sizeof(name), "%06d", i);
        auto_object *o = fx_object("a", name, NULL, 0, 0);
        assert_null(store_index_put(&x, o));
    }
    assert_int_equal(x.n, 10);
    store_index_done(&x);
}

static void *
walk(void *arg)
{
    struct held *h = arg;

    held_walk(h, SIZE_MAX);
    store_range_done(&h->range);
    return NULL;
}

/* A range is walked and released on another thread while the index changes. */
static void
test_other_thread(void **state)
{
    struct store_index x = {0};
    struct model m = {0};
    char ns[16];
    char name[32];

    UNUSED(state);
    for (unsigned i = 0; i < 3000; i++) {
        pick_key(RISING, i, 3000, ns, name);
        step(&x, &m, ns, name, 100);
    }
    for (int round = 0; round < 10; round++) {
        struct held h;
        pthread_t t;
        held_take(&h, &x, &m, NULL, NULL, NULL);
        assert_int_equal(pthread_create(&t, NULL, walk, &h), 0);
        for (unsigned i = 0; i < 500; i++) {
            pick_key(RANDOM, i, 3000, ns, name);
            step(&x, &m, ns, name, 50);
        }
        assert_int_equal(pthread_join(t, NULL), 0);
        model_done(&h.want);
    }
    check_all(&x, &m);
    store_index_done(&x);
    model_done(&m);
}

static int
seed(void **state)
{
    static const unsigned char fixed[32] = "index";

    UNUSED(state);
    id_seed(fixed);
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),       cmocka_unit_test(test_rising),
        cmocka_unit_test(test_falling),      cmocka_unit_test(test_fill),
        cmocka_unit_test(test_other_thread),
    };

    return cmocka_run_group_tests(tests, seed, NULL);
}
