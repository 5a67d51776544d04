/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ownership without trees against ownership by trees: random objects of the kind with
 * every sort of list and map are created and changed by several managers; whenever the
 * fast way gives an answer, it must be the other's answer to the byte, and it must give
 * one for creations and repeated updates. A failing round prints its seed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "api/jtok.h"
#include "api/object.h"
#include "tests/unit/managed_script.h"

static unsigned rng;

static unsigned
roll(unsigned n)
{
    rng = rng * 1664525u + 1013904223u;
    return (rng >> 8) % n;
}

static json_t *
some_map(void)
{
    json_t *m = json_object();

    for (unsigned n = roll(4); n > 0; n--)
        json_object_set_new(m, roll(8) == 0 ? "k\"ey" : (char[]){'a' + (char)roll(4), 0},
                            json_sprintf("v%u", roll(3)));
    return m;
}

static json_t *
some_list(const char *form)
{
    json_t *list = json_array();

    for (unsigned i = 0, n = roll(3); i < n; i++) {
        if (*form == 's')
            json_array_append_new(list, json_sprintf("t%u", i));
        else
            json_array_append_new(list,
                                  json_pack("{s:o,s:i}", "name", json_sprintf("p%u", i),
                                            "qty", (int)roll(3)));
    }
    return list;
}

/* Changes one thing of spec. Lists owned by item are rare: they end the fast way. */
static void
mutate(json_t *spec)
{
    switch (roll(12)) {
    case 0:
        json_object_set_new(spec, "m", some_map());
        break;
    case 1:
        json_object_set_new(spec, "at", some_map());
        break;
    case 2:
        json_object_set_new(
            spec, "free",
            json_pack("{s:o,s:{s:i}}", "x", some_map(), "deep", "n", (int)roll(3)));
        break;
    case 3:
        json_object_set_new(spec, "words", some_list("s"));
        break;
    case 4:
        if (roll(4) == 0)
            json_object_set_new(spec, "tags", some_list("s"));
        break;
    case 5:
        if (roll(4) == 0)
            json_object_set_new(spec, "parts", some_list("o"));
        break;
    case 6:
        json_object_del(spec, roll(2) == 0 ? "color" : "m");
        break;
    case 7:
        json_object_set_new(spec, "replicas", json_integer(roll(3)));
        break;
    default:
        json_object_set_new(spec, "color", json_sprintf("c%u", roll(5)));
    }
}

static void
to_bytes(const json_t *v, struct str *out, struct doc *d)
{
    struct error e = ERROR_INIT;
    autofree char *text = json_dumps(v, JSON_COMPACT);
    auto_str canon = STR_INIT(1 << 20);

    str_reset(out);
    assert_int_equal(jcanon(text, strlen(text), &canon, &e), 0);
    str_add(out, canon.ptr, canon.len);
    assert_int_equal(doc_parse(out->ptr, out->len, d, &e), 0);
}

struct world {
    struct kind *kind;
    json_t *live; /* NULL: not created */
    unsigned fast, slow;
};

static void
step(struct world *w, const struct managed_opts *o, json_t *next)
{
    auto_str live = STR_INIT(1 << 20), bytes = STR_INIT(1 << 20), got = STR_INIT(1 << 20),
             want = STR_INIT(1 << 20);
    struct doc dl = {0}, dn = {0}, dw;
    struct error e = ERROR_INIT;
    json_t *result = NULL;

    to_bytes(next, &bytes, &dn);
    if (w->live != NULL)
        to_bytes(w->live, &live, &dl);
    struct managed_bytes b = {.live = {live.ptr, live.len},
                              .next = {bytes.ptr, bytes.len},
                              .live_fields = dl.meta.managed_fields,
                              .next_fields = dn.meta.managed_fields};
    bool fast = managed_update_fast(o, &b, &got);
    assert_int_equal(managed_update(o, w->live, next, &result, &e), 0);
    to_bytes(result, &want, &dw);
    if (fast) {
        if (got.len != dw.meta.managed_fields.len ||
            memcmp(got.ptr, dw.meta.managed_fields.ptr, got.len) != 0)
            fail_msg("fast: %s\ntree: %.*s\nlive: %s\nnext: %s", got.ptr,
                     SPAN_ARG(dw.meta.managed_fields), live.ptr, bytes.ptr);
        w->fast++;
    } else {
        w->slow++;
    }
    json_decref(w->live);
    w->live = result;
}

static void
round_of(struct world *w, unsigned seed)
{
    static const char *const managers[] = {"one", "two", "\"odd\" one"};
    char now[24];

    rng = seed;
    w->live = NULL;
    for (unsigned i = 0; i < 12; i++) {
        bool status = w->live != NULL && roll(4) == 0;
        snprintf(now, sizeof(now), "2026-01-01T00:00:%02uZ", i);
        struct managed_opts o = {.kind = w->kind,
                                 .manager = managers[roll(8) < 6 ? 0 : 1 + roll(2)],
                                 .subresource = status ? "status" : "",
                                 .now = now};
        json_t *next =
            w->live != NULL ? json_deep_copy(w->live) : script_head(json_object());
        if (json_object_get(next, "spec") == NULL)
            json_object_set_new(next, "spec", json_object());
        if (w->live == NULL && roll(2) == 0)
            json_object_set_new(json_object_get(next, "metadata"), "labels", some_map());
        if (status)
            json_object_set_new(next, "status", json_pack("{s:i}", "n", (int)roll(3)));
        for (unsigned n = i == 0 ? 6 : 1; n > 0 && !status; n--)
            mutate(json_object_get(next, "spec"));
        if (roll(3) == 0 && w->live != NULL) /* a client that left the owners out */
            json_object_del(json_object_get(next, "metadata"), "managedFields");
        step(w, &o, next);
        json_decref(next);
    }
    json_decref(w->live);
}

static void
test_same_as_by_tree(void **state)
{
    UNUSED(state);
    unsigned rounds = getenv("DROVER_LONG") != NULL ? 100000 : 300;

    for (unsigned seed = 1; seed <= rounds; seed++) {
        struct world w = {.kind = script_kind(seed % 4 != 0)};
        round_of(&w, seed);
        if (w.fast == 0 && w.slow == 0)
            fail_msg("seed %u did nothing", seed);
        kind_unref(w.kind);
    }
}

/* What the fast way is there for is not left to the slow one. */
static void
test_is_taken(void **state)
{
    struct world w = {.kind = script_kind(true)};
    struct managed_opts o = {
        .kind = w.kind, .manager = "m", .subresource = "", .now = "2026-01-01T00:00:00Z"};
    json_t *next = script_head(script_parse("{'spec':{'color':'red','m':{'k':'v'}}}"));

    UNUSED(state);
    step(&w, &o, next);
    json_object_set_new(json_object_get(next, "spec"), "color", json_string("blue"));
    step(&w, &o, next);
    assert_int_equal(w.fast, 2);
    json_object_set_new(json_object_get(next, "spec"), "replicas", json_integer(1));
    step(&w, &o, next); /* a new path: the sets change */
    assert_int_equal(w.slow, 1);
    json_decref(next);
    json_decref(w.live);
    kind_unref(w.kind);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_as_by_tree),
        cmocka_unit_test(test_is_taken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
