/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Constraints of a schema on one value that was just written, in the words of Kubernetes'
 * validation. Patterns run under PCRE2's match, depth and heap limits, and all of one
 * object share a bound in time, so that no pattern can hold the loop.
 */
#include <float.h>
#include <math.h>

#include "api/kind_internal.h"
#include "base/clock.h"

#define VALUE_SHOWN 200
#define DUPLICATES_SHOWN 16
#define MATCH_LIMIT 20000
#define PATTERNS_MAX_NS 100000000 /* all patterns of one object together */
#define MATCH_HEAP_KIB 4096

/* The value as JSON, long ones cut; for messages. */
static const char *
shown(const struct decode *d, size_t start, char buf[VALUE_SHOWN])
{
    size_t n = d->out->len - start;

    if (n >= VALUE_SHOWN)
        n = VALUE_SHOWN - 1;
    memcpy(buf, d->out->ptr + start, n);
    buf[n] = '\0';
    return buf;
}

static void
complain(struct decode *d, const struct decode_frame *f, size_t start, const char *what,
         const char *limit)
{
    auto_str path = STR_INIT(512);
    char value[VALUE_SHOWN];

    decode_path(d, f, &path);
    decode_violation(d, f, VIOLATION_INVALID, shown(d, start, value), "%s in body %s%s",
                     path.ptr, what, limit);
}

void
decode_check_enum(struct decode *d, const struct schema *s, const struct decode_frame *f,
                  size_t start)
{
    struct span v = {d->out->ptr + start, d->out->len - start};
    auto_str list = STR_INIT(600);
    char value[VALUE_SHOWN];

    for (size_t i = 0; i < s->n_enums; i++)
        if (span_eq(v, s->enums[i]))
            return;
    for (size_t i = 0; i < s->n_enums; i++)
        str_addf(&list, "%s%s", i == 0 ? "" : ", ", s->enums[i]);
    decode_violation(d, f, VIOLATION_NOT_SUPPORTED, shown(d, start, value),
                     "supported values: %s", list.ptr);
}

/* --- numbers
 * ------------------------------------------------------------------------------ */

/* <0, 0, >0 as v is below, at, above the bound. */
static int
compare(const struct schema_bound *b, bool whole, int64_t i, double v)
{
    if (whole && b->whole)
        return (i > b->i) - (i < b->i);
    return (v > b->d) - (v < b->d);
}

static void
check_multiple(struct decode *d, const struct schema *s, const struct decode_frame *f,
               size_t start, double v)
{
    struct span raw = {d->out->ptr + start, d->out->len - start};
    double q = v / s->multiple.d;
    char limit[40];
    int64_t i;
    bool exact = s->multiple.whole && jscan_int64(raw, &i);

    if (exact ? i % s->multiple.i == 0 : fabs(q - nearbyint(q)) <= 1e-9)
        return;
    snprintf(limit, sizeof(limit), "%.17g", s->multiple.d);
    complain(d, f, start, "should be a multiple of ", limit);
}

static void
complain_range(struct decode *d, const struct schema *s, const struct decode_frame *f,
               size_t start)
{
    auto_str path = STR_INIT(512);
    char value[VALUE_SHOWN];

    decode_path(d, f, &path);
    decode_violation(d, f, VIOLATION_INVALID, shown(d, start, value),
                     "Checked value must be of type %s with format %s in %s",
                     s->type == SCHEMA_INTEGER ? "integer" : "number", s->format_text,
                     path.ptr);
}

static void
check_number(struct decode *d, const struct schema *s, const struct decode_frame *f,
             size_t start)
{
    struct span raw = {d->out->ptr + start, d->out->len - start};
    struct jtok t = {.type = JTOK_NUMBER, .text = raw};
    struct error ignored = ERROR_INIT;
    char limit[40];
    int64_t i = 0;
    bool whole = jscan_int64(raw, &i);
    double v = (double)i;
    int c;

    if (!whole && jtok_double(&t, &v, &ignored) < 0)
        return;
    if ((s->format == FORMAT_INT32 && (!whole || i < INT32_MIN || i > INT32_MAX)) ||
        (s->format == FORMAT_FLOAT && fabs(v) > FLT_MAX))
        complain_range(d, s, f, start);
    if (s->minimum.set) {
        c = compare(&s->minimum, whole, i, v);
        snprintf(limit, sizeof(limit), "%.17g", s->minimum.d);
        if (c < 0 || (c == 0 && s->minimum.exclusive))
            complain(d, f, start,
                     s->minimum.exclusive ? "should be greater than "
                                          : "should be greater than or equal to ",
                     limit);
    }
    if (s->maximum.set) {
        c = compare(&s->maximum, whole, i, v);
        snprintf(limit, sizeof(limit), "%.17g", s->maximum.d);
        if (c > 0 || (c == 0 && s->maximum.exclusive))
            complain(d, f, start,
                     s->maximum.exclusive ? "should be less than "
                                          : "should be less than or equal to ",
                     limit);
    }
    if (s->multiple.set)
        check_multiple(d, s, f, start, v);
}

/* --- strings
 * ------------------------------------------------------------------------------ */

struct match {
    pcre2_match_data *data;
    pcre2_match_context *context;
};

static void
match_free(void *p)
{
    struct match *m = p;

    pcre2_match_data_free(m->data);
    pcre2_match_context_free(m->context);
    free(m);
}

static struct match *
match_of(struct canon *c)
{
    struct match *m = c->match;

    if (m != NULL)
        return m;
    m = xnew(struct match);
    m->data = pcre2_match_data_create(1, NULL);
    m->context = pcre2_match_context_create(NULL);
    bug_if(m->data == NULL || m->context == NULL);
    pcre2_set_match_limit(m->context, MATCH_LIMIT);
    pcre2_set_depth_limit(m->context, MATCH_LIMIT);
    pcre2_set_heap_limit(m->context, MATCH_HEAP_KIB);
    c->match = m;
    c->free_match = match_free;
    return m;
}

static void
check_pattern(struct decode *d, const struct schema *s, const struct decode_frame *f,
              struct span text, size_t start)
{
    const struct match *m = match_of(d->c);
    int64_t begin = clock_now_ns();
    int rc;

    if (d->pattern_ns > PATTERNS_MAX_NS && d->errors > 0)
        return; /* refused already; the rest would only cost time */
    rc = d->pattern_ns > PATTERNS_MAX_NS
             ? PCRE2_ERROR_MATCHLIMIT
             : pcre2_match(s->pattern, (PCRE2_SPTR)text.ptr, text.len, 0,
                           PCRE2_NO_UTF_CHECK, m->data, m->context);
    d->pattern_ns += clock_now_ns() - begin;
    if (rc >= 0)
        return;
    if (rc == PCRE2_ERROR_NOMATCH) {
        auto_str limit = STR_INIT(400);
        str_addf(&limit, "'%.300s'", s->pattern_text);
        complain(d, f, start, "should match ", limit.ptr);
    } else {
        complain(d, f, start, "takes too long to match against ", s->pattern_text);
    }
}

static void
check_string(struct decode *d, const struct schema *s, const struct decode_frame *f,
             size_t start)
{
    struct span raw = {d->out->ptr + start + 1, d->out->len - start - 2};
    struct jtok t = {.type = JTOK_STRING, .text = raw};
    struct span text = raw;
    char limit[40];
    size_t runes = raw.len;

    if (raw.len > s->max_len || s->min_len > 0)
        runes = jscan_runes(raw.ptr, raw.len);
    if (s->max_len != SCHEMA_NO_LIMIT && runes > s->max_len)
        decode_violation(d, f, VIOLATION_TOO_LONG, NULL,
                         "may not be more than %zu characters", s->max_len);
    if (runes < s->min_len) {
        snprintf(limit, sizeof(limit), "%zu chars long", s->min_len);
        complain(d, f, start, "should be at least ", limit);
    }
    if (s->pattern == NULL && s->format < FORMAT_STRING)
        return;
    if (raw.len > 0 && memchr(raw.ptr, '\\', raw.len) != NULL) {
        str_reset(&d->c->text);
        t.escaped = true;
        jtok_unescape(&t, &d->c->text);
        text = (struct span){d->c->text.ptr, d->c->text.len};
    }
    if (s->pattern != NULL)
        check_pattern(d, s, f, text, start);
    if (!(text.len == 0 && s->empty_ok) && !format_check(s->format, text.ptr, text.len)) {
        char value[VALUE_SHOWN];
        auto_str why = STR_INIT(VALUE_SHOWN + 40);
        str_addf(&why, "%s: %s", s->format_text, shown(d, start, value));
        complain(d, f, start, "must be of type ", why.ptr);
    }
}

void
decode_check_scalar(struct decode *d, const struct schema *s,
                    const struct decode_frame *f, size_t start, enum jtok_type type)
{
    if (type == JTOK_STRING)
        check_string(d, s, f, start);
    else if (type == JTOK_NUMBER)
        check_number(d, s, f, start);
}

/* --- objects and arrays
 * --------------------------------------------------------------------- */

void
decode_check_count(struct decode *d, const struct schema *s, const struct decode_frame *f,
                   bool array, size_t n)
{
    size_t min = array ? s->min_items : s->min_members;
    size_t max = array ? s->max_items : s->max_members;
    auto_str path = STR_INIT(512);
    char count[24];

    snprintf(count, sizeof(count), "%zu", n);
    if (max != SCHEMA_NO_LIMIT && n > max)
        decode_violation(d, f, VIOLATION_TOO_MANY, count, "must have at most %zu %s", max,
                         array ? "items" : "properties");
    if (n >= min)
        return;
    decode_path(d, f, &path);
    decode_violation(d, f, VIOLATION_INVALID, count,
                     "%s in body should have at least %zu %s", path.ptr, min,
                     array ? "items" : "properties");
}

/* The keys of a list map's item, one behind the other, as text to compare. */
static void
put_map_key(struct str *out, const struct schema *s, struct span item)
{
    for (char **key = s->map_keys; *key != NULL; key++) {
        struct span v;
        if (item.ptr[0] == '{' && jscan_member(item, *key, &v))
            put(out, v.ptr, v.len);
        put_char(out, '\0');
    }
}

/* {"type":"Ready"} of an item, for the message. */
static void
show_map_key(struct str *out, const struct schema *s, struct span item)
{
    str_addc(out, '{');
    for (char **key = s->map_keys; *key != NULL; key++) {
        struct span v;
        if (item.ptr[0] != '{' || !jscan_member(item, *key, &v))
            continue;
        jput_key(out, *key);
        str_add(out, v.ptr, v.len);
    }
    str_addc(out, '}');
}

static void
report_same(struct decode *d, const struct schema *s, const struct decode_frame *f,
            size_t index, struct span item)
{
    struct decode_frame at = {.up = f, .index = index};
    auto_str value = STR_INIT(1024);

    if (s->list_type == SCHEMA_LIST_MAP && s->map_keys != NULL)
        show_map_key(&value, s, item);
    else
        str_add(&value, item.ptr, item.len < 1000 ? item.len : 1000);
    decode_violation(d, &at, VIOLATION_DUPLICATE, value.ptr, "%s", "");
}

static struct span
nth_item(const struct str *out, size_t array, size_t index)
{
    struct span all = {out->ptr + array, out->len - array}, item = {0};
    const char *c = NULL;

    for (size_t i = 0; i <= index; i++)
        jscan_next_item(all, &c, &item);
    return item;
}

void
decode_check_unique(struct decode *d, const struct schema *s,
                    const struct decode_frame *f, size_t first)
{
    struct canon_member *m = d->c->members.items + first;
    size_t n = d->c->members.len - first, array;
    struct str *text = &d->c->text;

    if (n < 2)
        return;
    array = m[0].off - 1; /* the '[' */
    str_reset(text);
    for (size_t i = 0; i < n; i++) {
        struct span item = {d->out->ptr + m[i].off, m[i].len};
        m[i].off = text->len; /* canon_key looks one byte behind */
        put_char(text, '"');
        if (s->list_type == SCHEMA_LIST_MAP && s->map_keys != NULL)
            put_map_key(text, s, item);
        else
            put(text, item.ptr, item.len);
        m[i].key_len = text->len - m[i].off - 1;
    }
    canon_sort(d->c, text, first);
    for (size_t i = 1, reported = 0; i < n && reported < DUPLICATES_SHOWN; i++)
        if (span_same(canon_key(text, &m[i - 1]), canon_key(text, &m[i])) && ++reported)
            report_same(d, s, f, m[i].seq, nth_item(d->out, array, m[i].seq));
}
