/* SPDX-License-Identifier: Apache-2.0 */
/* Field errors in the words of Kubernetes' API machinery. */
#include "api/violations.h"

#include <stdarg.h>

#define VALUE_MAX 120
#define TEXT_MAX 1024
#define JOINED_MAX (32u << 10)

static const struct {
    const char *name;   /* Status cause */
    const char *prefix; /* of the message */
    bool value;         /* the message shows the value */
    bool strict;        /* strict decoding, not a 422 cause */
} reasons[] = {
    [VIOLATION_REQUIRED] = {"FieldValueRequired", "Required value", false, false},
    [VIOLATION_INVALID] = {"FieldValueInvalid", "Invalid value", true, false},
    [VIOLATION_NOT_SUPPORTED] = {"FieldValueNotSupported", "Unsupported value", true,
                                 false},
    [VIOLATION_DUPLICATE] = {"FieldValueDuplicate", "Duplicate value", true, false},
    [VIOLATION_FORBIDDEN] = {"FieldValueForbidden", "Forbidden", false, false},
    [VIOLATION_TOO_LONG] = {"FieldValueTooLong", "Too long", false, false},
    [VIOLATION_TOO_MANY] = {"FieldValueTooMany", "Too many", true, false},
    [VIOLATION_TYPE] = {"FieldValueTypeInvalid", "Invalid value", true, false},
    [VIOLATION_NOT_FOUND] = {"FieldValueNotFound", "Not found", true, false},
    [VIOLATION_UNKNOWN] = {"FieldUnknown", "unknown field", false, true},
    [VIOLATION_DUPLICATE_KEY] = {"FieldDuplicate", "duplicate field", false, true},
};

void
violations_done(struct violations *v)
{
    vec_foreach (x, &v->list) {
        free(x->path);
        free(x->message);
    }
    vec_done(&v->list);
    v->dropped = 0;
}

const char *
violation_reason_name(enum violation_reason r)
{
    return reasons[r].name;
}

/* The first bytes of text, cut before a UTF-8 sequence rather than inside it. */
static void
add_cut(struct str *out, const char *text, size_t max)
{
    size_t n = strlen(text);

    if (n <= max) {
        str_add(out, text, n);
        return;
    }
    while (max > 0 && ((unsigned char)text[max] & 0xc0) == 0x80)
        max--;
    str_add(out, text, max);
    str_adds(out, "...");
}

/* An error must not be lost to a crowd of unknown fields. */
static bool
drop_strict(struct violations *v)
{
    for (size_t i = v->list.len; i > 0; i--) {
        struct violation *x = &v->list.items[i - 1];
        if (!reasons[x->reason].strict)
            continue;
        free(x->path);
        free(x->message);
        vec_remove(&v->list, i - 1);
        return true;
    }
    return false;
}

void
violations_take(struct violations *v, const struct violation *x)
{
    struct violation copy = {.reason = x->reason};

    if (v->list.len == VIOLATIONS_MAX) {
        v->dropped++;
        if (reasons[x->reason].strict || !drop_strict(v))
            return;
    }
    copy.path = xstrdup(x->path);
    copy.message = xstrdup(x->message);
    vec_push(&v->list, copy);
}

void
violations_add(struct violations *v, enum violation_reason reason, const char *path,
               const char *value_json, const char *fmt, ...)
{
    auto_str m = STR_INIT(TEXT_MAX * 2);
    char text[TEXT_MAX];
    struct violation x = {.reason = reason};
    va_list ap;

    if (v->list.len == VIOLATIONS_MAX) {
        v->dropped++;
        if (reasons[reason].strict || !drop_strict(v))
            return;
    }
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    str_adds(&m, reasons[reason].prefix);
    if (reasons[reason].strict) {
        str_adds(&m, " \"");
        add_cut(&m, path, TEXT_MAX);
        str_adds(&m, "\"");
    }
    if (reasons[reason].value && value_json != NULL) {
        str_adds(&m, ": ");
        add_cut(&m, value_json, VALUE_MAX);
    }
    if (text[0] != '\0') {
        str_adds(&m, ": ");
        str_adds(&m, text);
    }
    x.path = xstrdup(path);
    x.message = str_detach(&m);
    vec_push(&v->list, x);
}

size_t
violations_errors(const struct violations *v)
{
    size_t n = 0;

    vec_foreach (x, &v->list)
        n += !reasons[x->reason].strict;
    return n;
}

static void
join_one(const struct violation *x, struct str *out)
{
    if (!reasons[x->reason].strict && x->path[0] != '\0')
        str_addf(out, "%s: ", x->path);
    str_adds(out, x->message);
}

void
violations_join(const struct violations *v, bool strict_only, struct str *out)
{
    size_t n = 0, shown = 0, begin = out->len;

    vec_foreach (x, &v->list)
        n += reasons[x->reason].strict == strict_only;
    if (n > 1 && !strict_only)
        str_addc(out, '[');
    vec_foreach (x, &v->list) {
        if (reasons[x->reason].strict != strict_only)
            continue;
        if (out->len - begin > JOINED_MAX)
            break;
        if (shown++ > 0)
            str_adds(out, ", ");
        join_one(x, out);
    }
    if (n - shown + v->dropped > 0)
        str_addf(out, ", and %zu more", n - shown + v->dropped);
    if (n > 1 && !strict_only)
        str_addc(out, ']');
}
