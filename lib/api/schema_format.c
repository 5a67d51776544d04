/* SPDX-License-Identifier: Apache-2.0 */
/* The `format` keyword. Formats that are not in the table are ignored, as in Kubernetes.
 */
#include <arpa/inet.h>

#include "api/kind_internal.h"
#include "base/clock.h"
#include "base/id.h"

static const struct {
    const char *name;
    enum schema_format format;
} names[] = {
    {"int32", FORMAT_INT32},       {"date-time", FORMAT_DATE_TIME},
    {"date", FORMAT_DATE},         {"byte", FORMAT_BYTE},
    {"ipv4", FORMAT_IPV4},         {"ipv6", FORMAT_IPV6},
    {"cidr", FORMAT_CIDR},         {"uuid", FORMAT_UUID},
    {"duration", FORMAT_DURATION},
};

enum schema_format
format_named(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (streq(names[i].name, name))
            return names[i].format;
    return FORMAT_NONE;
}

const char *
format_name(enum schema_format f)
{
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (names[i].format == f)
            return names[i].name;
    return "";
}

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* 1h30m, 1.5s, 300ms: Go's durations. */
static bool
is_duration(const char *p)
{
    static const char *const units[] = {"ns", "us", "\xc2\xb5s", "ms", "s", "m", "h"};

    if (*p == '-' || *p == '+')
        p++;
    if (streq(p, "0"))
        return true;
    if (*p == '\0')
        return false;
    while (*p != '\0') {
        const char *begin = p;
        size_t i;
        while (is_digit(*p) || *p == '.')
            p++;
        if (p == begin || (p == begin + 1 && *begin == '.'))
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

static bool
is_cidr(char *text)
{
    unsigned char addr[16];
    char *slash = strchr(text, '/'), *end;
    int family = strchr(text, ':') != NULL ? AF_INET6 : AF_INET;
    long bits;

    if (slash == NULL || !is_digit(slash[1]))
        return false;
    *slash = '\0';
    bits = strtol(slash + 1, &end, 10);
    return *end == '\0' && bits <= (family == AF_INET ? 32 : 128) &&
           inet_pton(family, text, addr) == 1;
}

static bool
is_base64(const char *p, size_t n)
{
    struct error ignored = ERROR_INIT;
    auto_str out = STR_INIT(n + 3);

    return id_base64_decode(p, n, false, &out, &ignored) == 0;
}

static bool
is_date(const char *text)
{
    char full[40];
    int64_t ns;

    if (strlen(text) != 10)
        return false;
    snprintf(full, sizeof(full), "%sT00:00:00Z", text);
    return clock_parse(full, strlen(full), &ns);
}

/* p: the unescaped string. */
bool
format_check(enum schema_format f, const char *p, size_t n)
{
    unsigned char addr[16];
    char text[128];
    int64_t ns;

    if (f == FORMAT_BYTE)
        return is_base64(p, n);
    if (f == FORMAT_NONE || f == FORMAT_INT32)
        return true;
    if (n >= sizeof(text))
        return false;
    memcpy(text, p, n);
    text[n] = '\0';
    switch (f) {
    case FORMAT_DATE_TIME:
        return clock_parse(text, n, &ns);
    case FORMAT_DATE:
        return is_date(text);
    case FORMAT_IPV4:
        return inet_pton(AF_INET, text, addr) == 1;
    case FORMAT_IPV6:
        return inet_pton(AF_INET6, text, addr) == 1;
    case FORMAT_CIDR:
        return is_cidr(text);
    case FORMAT_UUID:
        return id_is_uuid(text, n);
    case FORMAT_DURATION:
        return is_duration(text);
    case FORMAT_NONE:
    case FORMAT_INT32:
    case FORMAT_BYTE:
        break;
    }
    return true;
}
