/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kubernetes quantities in milli-units: sign, decimal number, and a decimal suffix (n u m
 * k M G T P E), a binary one (Ki ... Ei) or an exponent. What is finer than a milli-unit
 * is rounded away from zero, so that a request is never understated. Exact: integers
 * only.
 */
#include "api/values.h"

#include <string.h>

#include "base/cleanup.h"

__extension__ typedef unsigned __int128 u128;

#define FRACTION_DIGITS 15
#define FRACTION_SCALE UINT64_C(1000000000000000)
#define EXPONENT_MAX 18

/* whole + frac / FRACTION_SCALE, plus something smaller when `sticky`. */
struct decimal {
    uint64_t whole, frac;
    bool sticky;
};

static int
bad_quantity(struct error *e)
{
    return error_set(
        e, ERR_INVALID,
        "must be a quantity: a number with an optional suffix m, k, M, G, T, "
        "Ki, Mi, Gi or Ti, e.g. \"500m\" or \"2Gi\"");
}

static int
too_large(struct error *e)
{
    return error_set(e, ERR_INVALID, "the quantity is too large");
}

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Advances *p over digits[.digits]; ".5" and "5." are numbers, "." is not. */
static int
parse_decimal(const char **p, struct decimal *d, struct error *e)
{
    const char *s = *p;
    bool any = false;
    int kept = 0;

    for (; is_digit(*s); s++, any = true) {
        if (__builtin_mul_overflow(d->whole, 10, &d->whole) ||
            __builtin_add_overflow(d->whole, (uint64_t)(*s - '0'), &d->whole))
            return too_large(e);
    }
    if (*s == '.') {
        for (s++; is_digit(*s); s++, any = true) {
            if (kept < FRACTION_DIGITS) {
                d->frac = d->frac * 10 + (uint64_t)(*s - '0');
                kept++;
            } else if (*s != '0') {
                d->sticky = true;
            }
        }
        for (; kept < FRACTION_DIGITS; kept++)
            d->frac *= 10;
    }
    if (!any)
        return bad_quantity(e);
    *p = s;
    return 0;
}

static uint64_t
power10(int n)
{
    uint64_t v = 1;

    while (n-- > 0)
        v *= 10;
    return v;
}

/* Sets multiplier and divisor; one of them is 1. */
static bool
parse_suffix(const char *s, uint64_t *mul, uint64_t *div)
{
    static const struct {
        const char *text;
        int exponent;
    } decimal[] = {{"n", -9}, {"u", -6}, {"m", -3}, {"", 0},   {"k", 3},
                   {"M", 6},  {"G", 9},  {"T", 12}, {"P", 15}, {"E", 18}};
    static const char binary[] = "KMGTPE";
    const char *b;
    int exponent = 0;

    *mul = *div = 1;
    for (size_t i = 0; i < ARRAY_LEN(decimal); i++) {
        if (strcmp(s, decimal[i].text) == 0) {
            exponent = decimal[i].exponent;
            *(exponent < 0 ? div : mul) = power10(abs(exponent));
            return true;
        }
    }
    b = strchr(binary, s[0]);
    if (b != NULL && s[1] == 'i' && s[2] == '\0') {
        *mul = UINT64_C(1) << (10 * (b - binary + 1));
        return true;
    }
    if (s[0] != 'e' && s[0] != 'E')
        return false;
    s++;
    bool negative = *s == '-';
    if (*s == '-' || *s == '+')
        s++;
    if (!is_digit(*s))
        return false;
    for (; is_digit(*s); s++) {
        exponent = exponent * 10 + (*s - '0');
        if (exponent > EXPONENT_MAX)
            return false;
    }
    *(negative ? div : mul) = power10(exponent);
    return *s == '\0';
}

int
value_quantity(const char *s, int64_t *ret_milli, struct error *e)
{
    struct decimal d = {0};
    uint64_t mul, div, whole;
    bool negative = *s == '-';

    if (*s == '-' || *s == '+')
        s++;
    int r = parse_decimal(&s, &d, e);
    if (r < 0)
        return r;
    if (!parse_suffix(s, &mul, &div))
        return bad_quantity(e);
    if (d.sticky && mul > 1)
        return error_set(e, ERR_INVALID, "at most %d digits after the point",
                         FRACTION_DIGITS);
    /* Bounds the products below: 2^64 * 10^18 and 10^18 * 2^60 are under 2^127. */
    if (__builtin_mul_overflow(d.whole, mul, &whole) || whole / div > INT64_MAX / 1000)
        return too_large(e);
    u128 scale = (u128)FRACTION_SCALE * div;
    u128 v = ((u128)d.whole * FRACTION_SCALE + d.frac) * 1000 * mul;
    u128 milli = v / scale;
    if (v % scale != 0 || d.sticky)
        milli++;
    if (milli > INT64_MAX)
        return too_large(e);
    *ret_milli = negative ? -(int64_t)milli : (int64_t)milli;
    return 0;
}
