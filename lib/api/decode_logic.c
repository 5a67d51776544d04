/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The slow ways, for schemas and requests that need them: allOf, anyOf, oneOf and not run
 * the written value through further schemas; ratcheting finds what stood at a place
 * before. Work is bounded: what is looked at again in one object adds up to LOGIC_MAX.
 */
#include "api/kind_internal.h"

#define LOGIC_MAX (64u << 20)
#define COMPARED_MAX                                                                     \
    2000000u /* items of list maps in one object; then nothing is old                    \
              */

struct trial {
    struct violations v;
    size_t errors;
};

static void
trial_done(struct trial *t)
{
    violations_done(&t->v);
}
#define auto_trial CLEANUP(trial_done) struct trial

/* The value against one more schema; 0 also when it does not fit. */
static int
try_schema(struct decode *d, const struct schema *s, const struct decode_frame *f,
           struct span value, struct trial *ret)
{
    auto_str scratch = STR_INIT(value.len + 1024);
    struct decode sub = {.c = d->c,
                         .out = &scratch,
                         .v = &ret->v,
                         .e = d->e,
                         .base = d->base,
                         .pattern_ns = d->pattern_ns};
    struct jtok t;

    d->logic_bytes += value.len;
    if (d->logic_bytes > LOGIC_MAX)
        return error_set(d->e, ERR_BAD_REQUEST,
                         "the object takes too much work to check against allOf, anyOf, "
                         "oneOf and not");
    sub.logic_bytes = d->logic_bytes;
    jtok_init(&sub.r, value.ptr, value.len);
    int rc = jtok_next(&sub.r, &t, d->e);
    if (rc == 0)
        rc = decode_value(&sub, s, f, &t);
    d->pattern_ns = sub.pattern_ns;
    d->logic_bytes = sub.logic_bytes;
    ret->errors = sub.errors;
    return rc;
}

static void
take_over(struct decode *d, const struct trial *t)
{
    vec_foreach (x, &t->v.list)
        violations_take(d->v, x);
    d->errors += t->errors;
}

static void
complain(struct decode *d, const struct decode_frame *f, const char *why)
{
    auto_str path = STR_INIT(2048);
    bool quiet = d->quiet;

    decode_path(d, f, &path);
    d->quiet = false; /* never ratcheted */
    decode_violation(d, f, VIOLATION_INVALID, NULL, "\"%s\" %s", path.ptr, why);
    d->quiet = quiet;
}

static int
check_all(struct decode *d, const struct schema_group *g, const struct decode_frame *f,
          struct span value)
{
    bool wrong = false;

    for (size_t i = 0; i < g->n; i++) {
        auto_trial t = {0};
        int rc = try_schema(d, g->items[i], f, value, &t);
        if (rc < 0)
            return rc;
        wrong = wrong || t.errors > 0;
        take_over(d, &t);
    }
    if (wrong)
        complain(d, f, "must validate all the schemas (allOf)");
    return 0;
}

/* How many fit; *ret_nearest: what the one with the fewest problems lacks. */
static int
count_fits(struct decode *d, const struct schema_group *g, const struct decode_frame *f,
           struct span value, size_t *ret_fits, struct trial *ret_nearest)
{
    *ret_fits = 0;
    for (size_t i = 0; i < g->n; i++) {
        auto_trial t = {0};
        int rc = try_schema(d, g->items[i], f, value, &t);
        if (rc < 0)
            return rc;
        *ret_fits += t.errors == 0;
        if (t.errors > 0 &&
            (ret_nearest->errors == 0 || t.errors < ret_nearest->errors)) {
            struct trial other = *ret_nearest;
            *ret_nearest = t;
            t = other;
        }
    }
    return 0;
}

static int
check_any(struct decode *d, const struct schema_group *g, const struct decode_frame *f,
          struct span value)
{
    auto_trial nearest = {0};
    size_t fits;
    int rc = count_fits(d, g, f, value, &fits, &nearest);

    if (rc == 0 && fits == 0) {
        take_over(d, &nearest);
        complain(d, f, "must validate at least one schema (anyOf)");
    }
    return rc;
}

static int
check_one(struct decode *d, const struct schema_group *g, const struct decode_frame *f,
          struct span value)
{
    auto_trial nearest = {0};
    char why[100];
    size_t fits;
    int rc = count_fits(d, g, f, value, &fits, &nearest);

    if (rc < 0 || fits == 1)
        return rc;
    if (fits == 0) {
        take_over(d, &nearest);
        complain(d, f, "must validate one and only one schema (oneOf). Found none valid");
        return 0;
    }
    snprintf(
        why, sizeof(why),
        "must validate one and only one schema (oneOf). Found %zu valid alternatives",
        fits);
    complain(d, f, why);
    return 0;
}

int
decode_check_logic(struct decode *d, const struct schema *s, const struct decode_frame *f,
                   size_t start)
{
    const struct schema_logic *l = s->logic;
    struct span value = {d->out->ptr + start, d->out->len - start};
    int rc = check_all(d, &l->all, f, value);

    if (rc == 0 && l->any.n > 0)
        rc = check_any(d, &l->any, f, value);
    if (rc == 0 && l->one.n > 0)
        rc = check_one(d, &l->one, f, value);
    if (rc == 0 && l->not != NULL) {
        auto_trial t = {0};
        rc = try_schema(d, l->not, f, value, &t);
        if (rc == 0 && t.errors == 0)
            complain(d, f, "must not validate the schema (not)");
    }
    return rc;
}

/* --- ratcheting --------------------------------------------------------------------- */

/* Both sides are sorted, so one walk serves all members. */
struct span
ratchet_member(struct span old, struct ratchet_walk *w, struct span key)
{
    if (old.len == 0 || old.ptr[0] != '{')
        return (struct span){0};
    for (;;) {
        int c = w->have ? span_cmp(w->key, key) : -1;
        if (c == 0)
            return w->value;
        if (c > 0)
            return (struct span){0};
        w->have = jscan_next_member(old, &w->cursor, &w->key, &w->value);
        if (!w->have)
            return (struct span){0};
    }
}

static bool
same_keys(const struct schema *s, struct span a, struct span b)
{
    for (char **key = s->map_keys; *key != NULL; key++) {
        struct span x = {0}, y = {0};
        if (!jscan_member(a, *key, &x) || !jscan_member(b, *key, &y) || !span_same(x, y))
            return false;
    }
    return true;
}

/* Only items of list maps have an identity. */
struct span
ratchet_item(struct decode *d, const struct schema *s, struct span old, struct span item)
{
    struct span v;
    const char *c = NULL;

    if (s->list_type != SCHEMA_LIST_MAP || s->map_keys == NULL || old.len == 0 ||
        old.ptr[0] != '[' || item.ptr[0] != '{')
        return (struct span){0};
    while (d->compared < COMPARED_MAX && jscan_next_item(old, &c, &v)) {
        d->compared++;
        if (v.ptr[0] == '{' && same_keys(s, v, item))
            return v;
    }
    return (struct span){0};
}
