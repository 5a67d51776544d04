/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plain scalars, resolved as kubectl's YAML library does: YAML 1.1 booleans, octal with a
 * leading zero or 0o, hex, binary, underscores in numbers; sexagesimals and timestamps
 * stay text. A number that does not fit is text as well.
 */
#include <errno.h>
#include <math.h>

#include "api/jtok_internal.h"
#include "api/yaml_internal.h"

static const struct {
    const char *text;
    enum scalar_kind kind;
    const char *json;
} words[] = {
    {"", SCALAR_NULL, "null"},       {"~", SCALAR_NULL, "null"},
    {"null", SCALAR_NULL, "null"},   {"Null", SCALAR_NULL, "null"},
    {"NULL", SCALAR_NULL, "null"},   {"y", SCALAR_BOOL, "true"},
    {"Y", SCALAR_BOOL, "true"},      {"yes", SCALAR_BOOL, "true"},
    {"Yes", SCALAR_BOOL, "true"},    {"YES", SCALAR_BOOL, "true"},
    {"true", SCALAR_BOOL, "true"},   {"True", SCALAR_BOOL, "true"},
    {"TRUE", SCALAR_BOOL, "true"},   {"on", SCALAR_BOOL, "true"},
    {"On", SCALAR_BOOL, "true"},     {"ON", SCALAR_BOOL, "true"},
    {"n", SCALAR_BOOL, "false"},     {"N", SCALAR_BOOL, "false"},
    {"no", SCALAR_BOOL, "false"},    {"No", SCALAR_BOOL, "false"},
    {"NO", SCALAR_BOOL, "false"},    {"false", SCALAR_BOOL, "false"},
    {"False", SCALAR_BOOL, "false"}, {"FALSE", SCALAR_BOOL, "false"},
    {"off", SCALAR_BOOL, "false"},   {"Off", SCALAR_BOOL, "false"},
    {"OFF", SCALAR_BOOL, "false"},   {".nan", SCALAR_NOT_JSON, ""},
    {".NaN", SCALAR_NOT_JSON, ""},   {".NAN", SCALAR_NOT_JSON, ""},
    {".inf", SCALAR_NOT_JSON, ""},   {".Inf", SCALAR_NOT_JSON, ""},
    {".INF", SCALAR_NOT_JSON, ""},   {"+.inf", SCALAR_NOT_JSON, ""},
    {"+.Inf", SCALAR_NOT_JSON, ""},  {"+.INF", SCALAR_NOT_JSON, ""},
    {"-.inf", SCALAR_NOT_JSON, ""},  {"-.Inf", SCALAR_NOT_JSON, ""},
    {"-.INF", SCALAR_NOT_JSON, ""},
};

static unsigned
digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return (unsigned)(c - '0');
    if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
        return (unsigned)((c | 0x20) - 'a') + 10;
    return 99;
}

/* z: without underscores. Go's ParseInt/ParseUint with base 0. */
static bool
integer(const char *z, struct str *out)
{
    bool neg = *z == '-';
    unsigned base = 10;
    uint64_t v = 0;

    if (*z == '-' || *z == '+')
        z++;
    if (*z == '0' && z[1] != '\0') {
        char c = (char)(z[1] | 0x20);
        base = c == 'x' ? 16 : c == 'b' ? 2 : 8;
        z += c == 'x' || c == 'b' || c == 'o' ? 2 : 1;
    }
    if (*z == '\0')
        return false;
    for (; *z != '\0'; z++) {
        unsigned d = digit_value(*z);
        if (d >= base || v > (UINT64_MAX - d) / base)
            return false;
        v = v * base + d;
    }
    if (neg && v > (uint64_t)INT64_MAX + 1)
        return false;
    if (neg)
        jput_int(out, (int64_t)(0 - v));
    else if (v <= INT64_MAX)
        jput_int(out, (int64_t)v);
    else
        str_addf(out, "%llu", (unsigned long long)v);
    return true;
}

/* [-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)? */
static bool
is_float(const char *z)
{
    size_t n;

    if (*z == '-' || *z == '+')
        z++;
    n = strspn(z, "0123456789");
    z += n;
    if (*z == '.') {
        size_t m = strspn(z + 1, "0123456789");
        if (n == 0 && m == 0)
            return false;
        z += m + 1;
    } else if (n == 0) {
        return false;
    }
    if ((*z | 0x20) == 'e') {
        z++;
        if (*z == '-' || *z == '+')
            z++;
        n = strspn(z, "0123456789");
        if (n == 0)
            return false;
        z += n;
    }
    return *z == '\0';
}

#define NUMBER_MAX 400

enum scalar_kind
scalar_resolve(const char *p, size_t n, struct str *out)
{
    char z[NUMBER_MAX];
    size_t len = 0;

    for (size_t i = 0; n <= 5 && i < ARRAY_LEN(words); i++) {
        if (strlen(words[i].text) == n && memcmp(words[i].text, p, n) == 0) {
            str_adds(out, words[i].json);
            return words[i].kind;
        }
    }
    if (n == 0 || n >= NUMBER_MAX || strchr("+-.0123456789", p[0]) == NULL ||
        p[0] == '\0')
        return SCALAR_STRING;
    for (size_t i = 0; i < n; i++) {
        if (p[i] == '\0')
            return SCALAR_STRING;
        if (p[i] != '_' || p[0] == '.')
            z[len++] = p[i];
    }
    z[len] = '\0';
    if (p[0] != '.' && integer(z, out))
        return SCALAR_INT;
    if (is_float(z) && canon_double(out, strtod(z, NULL)))
        return SCALAR_FLOAT;
    return SCALAR_STRING;
}
