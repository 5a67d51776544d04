/* SPDX-License-Identifier: Apache-2.0 */
/* Formats of numbers, colors, durations and other short texts. */
#include <ctype.h>
#include <stdlib.h>
#include <strings.h>

#include "api/schema_format.h"
#include "base/id.h"

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool
all_hex(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isxdigit((unsigned char)text[i]))
            return false;
    return text[n] == '\0';
}

bool
format_is_object_id(const char *text)
{
    return strlen(text) == 24 && all_hex(text, 24);
}

/* version '\0': any; else variant bits too, but for 3. */
static bool
is_uuid(const char *text, char version)
{
    static const unsigned char groups[] = {8, 4, 4, 4, 12};
    char digits[33];
    size_t n = 0;

    for (size_t g = 0; g < ARRAY_LEN(groups); g++) {
        for (size_t i = 0; i < groups[g]; i++) {
            if (!isxdigit((unsigned char)*text))
                return false;
            digits[n++] = *text++;
        }
        if (*text == '-' && g + 1 < ARRAY_LEN(groups))
            text++;
    }
    if (*text != '\0' || version == '\0')
        return *text == '\0';
    return digits[12] == version &&
           (version == '3' || strchr("89abAB", digits[16]) != NULL);
}

bool
format_is_uuid(const char *text)
{
    return is_uuid(text, '\0');
}

bool
format_is_uuid3(const char *text)
{
    return is_uuid(text, '3');
}

bool
format_is_uuid4(const char *text)
{
    return is_uuid(text, '4');
}

bool
format_is_uuid5(const char *text)
{
    return is_uuid(text, '5');
}

/* --- check digits --- */

/* What is left without dashes and white space; false when that is not n characters. */
static bool
squeeze(const char *text, char *out, size_t n)
{
    size_t got = 0;

    for (; *text != '\0'; text++) {
        if (*text == '-' || isspace((unsigned char)*text))
            continue;
        if (got == n)
            return false;
        out[got++] = *text;
    }
    out[got] = '\0';
    return got == n;
}

bool
format_is_isbn10(const char *text)
{
    char d[11];
    int sum = 0;

    if (!squeeze(text, d, 10))
        return false;
    for (int i = 0; i < 10; i++) {
        if (!is_digit(d[i]) && (i < 9 || d[i] != 'X'))
            return false;
        sum += (i + 1) * (d[i] == 'X' ? 10 : d[i] - '0');
    }
    return sum % 11 == 0;
}

bool
format_is_isbn13(const char *text)
{
    char d[14];
    int sum = 0;

    if (!squeeze(text, d, 13))
        return false;
    for (int i = 0; i < 13; i++) {
        if (!is_digit(d[i]))
            return false;
        sum += (i % 2 == 0 ? 1 : 3) * (d[i] - '0');
    }
    return sum % 10 == 0;
}

bool
format_is_isbn(const char *text)
{
    return format_is_isbn10(text) || format_is_isbn13(text);
}

static bool
is_issuer(const char *d, size_t n)
{
    static const struct {
        const char *low, *high; /* of the first digits */
        size_t len, other;
    } issuers[] = {
        {"4", "4", 13, 16},       {"51", "55", 16, 16},     {"6011", "6011", 16, 16},
        {"65", "65", 16, 16},     {"34", "34", 15, 15},     {"37", "37", 15, 15},
        {"300", "305", 14, 14},   {"36", "36", 14, 14},     {"38", "38", 14, 14},
        {"2131", "2131", 15, 15}, {"1800", "1800", 15, 15}, {"35", "35", 16, 16},
    };

    for (size_t i = 0; i < ARRAY_LEN(issuers); i++) {
        size_t k = strlen(issuers[i].low);
        if ((n == issuers[i].len || n == issuers[i].other) &&
            strncmp(d, issuers[i].low, k) >= 0 && strncmp(d, issuers[i].high, k) <= 0)
            return true;
    }
    return false;
}

bool
format_is_creditcard(const char *text)
{
    char d[20];
    size_t n = 0;
    int sum = 0;

    for (; *text != '\0'; text++) {
        if (!is_digit(*text))
            continue;
        if (n == sizeof(d) - 1)
            return false;
        d[n++] = *text;
    }
    d[n] = '\0';
    if (!is_issuer(d, n))
        return false;
    for (size_t i = 0; i < n; i++) { /* Luhn */
        int v = d[n - 1 - i] - '0';
        if (i % 2 == 1)
            v = v > 4 ? 2 * v - 9 : 2 * v;
        sum += v;
    }
    return sum % 10 == 0;
}

bool
format_is_ssn(const char *text)
{
    if (strlen(text) != 11)
        return false;
    for (size_t i = 0; i < 11; i++) {
        bool sep = i == 3 || i == 6;
        if (sep ? text[i] != '-' && text[i] != ' ' : !is_digit(text[i]))
            return false;
    }
    return true;
}

/* --- colors --- */

bool
format_is_hexcolor(const char *text)
{
    if (*text == '#')
        text++;
    size_t n = strlen(text);
    return (n == 3 || n == 6) && all_hex(text, n);
}

/* A number up to 255 without leading zeros; returns behind it or NULL. */
static const char *
skip_byte(const char *p)
{
    size_t n = strspn(p, "0123456789");

    if (n == 0 || n > 3 || (n > 1 && *p == '0') || strtol(p, NULL, 10) > 255)
        return NULL;
    return p + n;
}

bool
format_is_rgbcolor(const char *text)
{
    if (strncmp(text, "rgb(", 4) != 0)
        return false;
    text += 4;
    for (int i = 0; i < 3; i++) {
        text += strspn(text, " \t\n\f\r");
        if ((text = skip_byte(text)) == NULL)
            return false;
        text += strspn(text, " \t\n\f\r");
        if (*text++ != (i < 2 ? ',' : ')'))
            return false;
    }
    return *text == '\0';
}

/* --- others --- */

bool
format_is_byte(const char *text)
{
    struct error ignored = ERROR_INIT;
    size_t n = strlen(text);
    auto_str out = STR_INIT(n + 3);

    return n > 0 && strpbrk(text, " \t\r\n") == NULL &&
           id_base64_decode(text, n, false, &out, &ignored) == 0;
}

/* 1h30m, 1.5s, 300ms: Go's. */
static bool
is_go_duration(const char *p)
{
    static const char *const units[] = {"ns", "us", "\xc2\xb5s", "\xce\xbcs",
                                        "ms", "s",  "m",         "h"};

    if (*p == '-' || *p == '+')
        p++;
    if (streq(p, "0"))
        return true;
    if (*p == '\0')
        return false;
    while (*p != '\0') {
        size_t digits = strspn(p, "0123456789"), fraction = 0, i;
        p += digits;
        if (*p == '.') {
            fraction = strspn(p + 1, "0123456789");
            p += 1 + fraction;
        }
        if (digits + fraction == 0)
            return false;
        for (i = 0; i < ARRAY_LEN(units); i++)
            if (str_starts(p, units[i]))
                break;
        if (i == ARRAY_LEN(units))
            return false;
        p += strlen(units[i]);
    }
    return true;
}

/* "day" also as the start of a word: days. The short ones only as they are. */
static bool
is_unit(const char *p, size_t n)
{
    static const char *const exact[] = {"ns", "us", "\xc2\xb5s", "ms", "s", "m",
                                        "h",  "hr", "d",         "w",  "wk"};
    static const char *const starts[] = {"nano", "micro", "milli", "sec",
                                         "min",  "hour",  "day",   "week"};

    for (size_t i = 0; i < ARRAY_LEN(exact); i++)
        if (n == strlen(exact[i]) && strncasecmp(p, exact[i], n) == 0)
            return true;
    for (size_t i = 0; i < ARRAY_LEN(starts); i++)
        if (n >= strlen(starts[i]) && strncasecmp(p, starts[i], strlen(starts[i])) == 0)
            return true;
    return false;
}

/* Pairs of number and word; one of the words must be a unit. */
static bool
is_long_duration(const char *p)
{
    bool known = false;

    p += strspn(p, " \t\n\f\r");
    if (*p == '\0')
        return false;
    while (*p != '\0') {
        size_t digits = strspn(p, "0123456789"), n = 0;
        if (digits == 0 || digits > 18)
            return false;
        p += digits;
        p += strspn(p, " \t\n\f\r");
        while (isalpha((unsigned char)p[n]) || (p[n] == '\xc2' && p[n + 1] == '\xb5') ||
               (n > 0 && p[n] == '\xb5' && p[n - 1] == '\xc2'))
            n++;
        if (n == 0)
            return false;
        known = known || is_unit(p, n);
        p += n;
        p += strspn(p, " \t\n\f\r");
    }
    return known;
}

bool
format_is_duration(const char *text)
{
    return is_go_duration(text) || is_long_duration(text);
}
