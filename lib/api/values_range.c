/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory sizes and ranges. Every form (number, text, {min, max}) of one type comes down
 * to one parser of a single bound, so the forms cannot disagree.
 */
#include "api/values_internal.h"

#include <math.h>
#include <string.h>
#include <strings.h>

typedef int (*bound_text_fn)(struct span s, int64_t *ret, struct error *e);
typedef int (*bound_json_fn)(const json_t *v, int64_t *ret, struct error *e);

struct bound_type {
    bound_text_fn text;
    bound_json_fn json;
    const char *example; /* of a range, for messages */
};

/* Removes blanks, as "8 GB .. 16 GB" is read like "8GB..16GB". False: does not fit. */
static bool
squeeze(struct span s, char *buf, size_t size, struct span *ret)
{
    size_t n = 0;

    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == ' ')
            continue;
        if (n + 1 >= size)
            return false;
        buf[n++] = s.ptr[i];
    }
    buf[n] = '\0';
    *ret = (struct span){buf, n};
    return true;
}

static int
bad_int(struct error *e)
{
    return error_set(
        e, ERR_INVALID,
        "must be a whole number or a range of whole numbers up to %d, e.g. 4, "
        "\"4..\" or \"2..8\"",
        VALUE_INT_MAX);
}

static int
int_text(struct span s, int64_t *ret, struct error *e)
{
    int64_t n = 0;

    if (s.len == 0)
        return bad_int(e);
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return bad_int(e);
        n = n * 10 + (s.ptr[i] - '0');
        if (n > VALUE_INT_MAX)
            return bad_int(e);
    }
    *ret = n;
    return 0;
}

static int
int_json(const json_t *v, int64_t *ret, struct error *e)
{
    if (json_is_string(v))
        return int_text((struct span){json_string_value(v), json_string_length(v)}, ret,
                        e);
    if (!json_is_integer(v) || json_integer_value(v) < 0 ||
        json_integer_value(v) > VALUE_INT_MAX)
        return bad_int(e);
    *ret = json_integer_value(v);
    return 0;
}

static int
bad_memory(struct error *e)
{
    return error_set(e, ERR_INVALID,
                     "must be a size in MB, GB or TB (a bare number means GB), e.g. "
                     "\"16GB\", \"512MB\" or \"16GB..\"");
}

static int
memory_from_mib(double mib, int64_t *ret, struct error *e)
{
    if (!(mib >= 0))
        return bad_memory(e);
    if (mib > (double)VALUE_MEMORY_MIB_MAX)
        return error_set(e, ERR_INVALID, "must not be more than %lldTB",
                         (long long)(VALUE_MEMORY_MIB_MAX >> 20));
    int64_t n = llround(mib);
    *ret = n == 0 && mib > 0 ? 1 : n;
    return 0;
}

/* digits[.digits] at the start of s; 0 when there are none. */
static size_t
decimal_len(struct span s)
{
    size_t i = 0;

    while (i < s.len && s.ptr[i] >= '0' && s.ptr[i] <= '9')
        i++;
    if (i == 0 || i + 1 >= s.len || s.ptr[i] != '.' || s.ptr[i + 1] < '0' ||
        s.ptr[i + 1] > '9')
        return i;
    i++;
    while (i < s.len && s.ptr[i] >= '0' && s.ptr[i] <= '9')
        i++;
    return i;
}

int
value_memory_text(struct span in, int64_t *ret_mib, struct error *e)
{
    static const struct {
        const char *name;
        double mib;
    } units[] = {{"MB", 1}, {"GB", 1024}, {"TB", 1024.0 * 1024}, {"", 1024}};
    char buf[64];
    struct span s;

    if (!squeeze(in, buf, sizeof(buf), &s))
        return bad_memory(e);
    size_t n = decimal_len(s);
    if (n == 0 || memchr(s.ptr, '\0', s.len) != NULL)
        return bad_memory(e);
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (strcasecmp(s.ptr + n, units[i].name) == 0) {
            buf[n] = '\0';
            return memory_from_mib(strtod(buf, NULL) * units[i].mib, ret_mib, e);
        }
    }
    return bad_memory(e);
}

int
value_memory(const json_t *v, int64_t *ret_mib, struct error *e)
{
    if (json_is_string(v))
        return value_memory_text(
            (struct span){json_string_value(v), json_string_length(v)}, ret_mib, e);
    if (!json_is_number(v))
        return bad_memory(e);
    return memory_from_mib(json_number_value(v) * 1024, ret_mib, e);
}

static const struct bound_type type_int = {int_text, int_json, "\"2..8\""};
static const struct bound_type type_memory = {value_memory_text, value_memory,
                                              "\"16GB..64GB\""};

static int
check_order(const struct bound_type *t, const struct range *r, struct error *e)
{
    if (r->min <= r->max)
        return 0;
    return error_set(e, ERR_INVALID,
                     "the lower end is above the upper end; write the smaller one first, "
                     "e.g. %s",
                     t->example);
}

static int
range_text(const struct bound_type *t, struct span in, struct range *ret, struct error *e)
{
    struct range got = RANGE_ANY;
    char buf[128];
    struct span s;
    int r;

    if (!squeeze(in, buf, sizeof(buf), &s))
        return error_set(e, ERR_INVALID, "is too long; write a range, e.g. %s",
                         t->example);
    const char *dots = memmem(s.ptr, s.len, "..", 2);
    if (dots == NULL) {
        r = t->text(s, &got.min, e);
        if (r < 0)
            return r;
        *ret = (struct range){got.min, got.min};
        return 0;
    }
    struct span lo = {s.ptr, (size_t)(dots - s.ptr)};
    struct span hi = {dots + 2, s.len - lo.len - 2};
    if (lo.len == 0 && hi.len == 0)
        return error_set(e, ERR_INVALID, "a range needs at least one end, e.g. %s",
                         t->example);
    if (lo.len > 0 && (r = t->text(lo, &got.min, e)) < 0)
        return r;
    if (hi.len > 0 && (r = t->text(hi, &got.max, e)) < 0)
        return r;
    r = check_order(t, &got, e);
    if (r == 0)
        *ret = got;
    return r;
}

/* {min, max}, either may be absent or null, not both. */
static int
range_object(const struct bound_type *t, const json_t *v, struct range *ret,
             struct error *e)
{
    struct range got = RANGE_ANY;
    const char *key;
    json_t *item;
    int ends = 0;

    json_object_foreach ((json_t *)(uintptr_t)v, key, item) {
        int64_t *end = streq(key, "min") ? &got.min : streq(key, "max") ? &got.max : NULL;
        if (end == NULL)
            return error_set(e, ERR_INVALID,
                             "unknown key \"%.40s\"; a range has min and max", key);
        if (json_is_null(item))
            continue;
        int r = t->json(item, end, e);
        if (r < 0)
            return error_prepend(e, "%s", key);
        ends++;
    }
    if (ends == 0)
        return error_set(e, ERR_INVALID, "a range needs min or max, or write %s",
                         t->example);
    int r = check_order(t, &got, e);
    if (r == 0)
        *ret = got;
    return r;
}

static int
range_json(const struct bound_type *t, const json_t *v, struct range *ret,
           struct error *e)
{
    int64_t one;

    if (json_is_object(v))
        return range_object(t, v, ret, e);
    if (json_is_string(v))
        return range_text(t, (struct span){json_string_value(v), json_string_length(v)},
                          ret, e);
    int r = t->json(v, &one, e);
    if (r == 0)
        *ret = (struct range){one, one};
    return r;
}

int
value_int_range(const json_t *v, struct range *ret, struct error *e)
{
    return range_json(&type_int, v, ret, e);
}

int
value_memory_range(const json_t *v, struct range *ret_mib, struct error *e)
{
    return range_json(&type_memory, v, ret_mib, e);
}

int
value_int_range_text(struct span s, struct range *ret, struct error *e)
{
    return range_text(&type_int, s, ret, e);
}

int
value_memory_range_text(struct span s, struct range *ret_mib, struct error *e)
{
    return range_text(&type_memory, s, ret_mib, e);
}

static bool
array_number(const char **p, int64_t *ret)
{
    const char *s = *p;
    int64_t value = 0;

    for (; *s >= '0' && *s <= '9' && value <= ARRAY_INDEX_MAX; s++)
        value = value * 10 + (*s - '0');
    if (s == *p || value > ARRAY_INDEX_MAX)
        return false;
    *p = s;
    *ret = value;
    return true;
}

int
value_array(const char *s, struct run_array *ret, struct error *e)
{
    struct run_array a = {0};
    const char *p = s;
    bool ok = array_number(&p, &a.first) && *p == '-';

    p += ok;
    ok = ok && array_number(&p, &a.last);
    a.at_once = a.last - a.first + 1;
    if (ok && *p == '%') {
        p++;
        ok = array_number(&p, &a.at_once);
    }
    if (!ok || *p != '\0')
        return error_set(
            e, ERR_INVALID,
            "must be first-last or first-last%%atOnce with numbers up to %d, "
            "e.g. 0-99%%10",
            ARRAY_INDEX_MAX);
    if (a.last < a.first)
        return error_set(e, ERR_INVALID, "the last element comes before the first");
    if (a.last - a.first >= ARRAY_ELEMENTS_MAX)
        return error_set(e, ERR_INVALID, "more than %d elements", ARRAY_ELEMENTS_MAX);
    if (a.at_once < 1)
        return error_set(e, ERR_INVALID, "at least one element has to run at a time");
    if (a.at_once > a.last - a.first + 1)
        a.at_once = a.last - a.first + 1;
    *ret = a;
    return 0;
}
