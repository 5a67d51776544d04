/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names and label syntax: the Kubernetes rules for object names, label keys and values,
 * and the narrower rule for names of runs, which also become host names and parts of
 * names of jobs.
 */
#include "api/values.h"

#include <string.h>

#define SUBDOMAIN_MAX 253
#define LABEL_MAX 63
#define RUN_NAME_MAX 41

static bool
is_lower_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool
is_alnum(char c)
{
    return is_lower_alnum(c) || (c >= 'A' && c <= 'Z');
}

/* [a-z0-9]([-a-z0-9]*[a-z0-9])? without a length limit. */
static bool
is_dns_part(const char *s, size_t n)
{
    if (n == 0 || !is_lower_alnum(s[0]) || !is_lower_alnum(s[n - 1]))
        return false;
    for (size_t i = 1; i + 1 < n; i++) {
        if (!is_lower_alnum(s[i]) && s[i] != '-')
            return false;
    }
    return true;
}

bool
value_is_dns_label(const char *s, size_t n)
{
    return n <= LABEL_MAX && is_dns_part(s, n);
}

bool
value_is_dns_subdomain(const char *s, size_t n)
{
    if (n == 0 || n > SUBDOMAIN_MAX)
        return false;
    for (;;) {
        const char *dot = memchr(s, '.', n);
        size_t part = dot == NULL ? n : (size_t)(dot - s);
        if (!is_dns_part(s, part))
            return false;
        if (dot == NULL)
            return true;
        s += part + 1;
        n -= part + 1;
    }
}

/* ([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?), 1 to 63 characters. */
static bool
is_label_part(const char *s, size_t n)
{
    if (n == 0 || n > LABEL_MAX || !is_alnum(s[0]) || !is_alnum(s[n - 1]))
        return false;
    for (size_t i = 1; i + 1 < n; i++) {
        if (!is_alnum(s[i]) && s[i] != '-' && s[i] != '_' && s[i] != '.')
            return false;
    }
    return true;
}

bool
value_is_label_value(const char *s, size_t n)
{
    return n == 0 || is_label_part(s, n);
}

bool
value_is_qualified_name(const char *s, size_t n)
{
    const char *slash = n == 0 ? NULL : memchr(s, '/', n);

    if (slash == NULL)
        return is_label_part(s, n);
    size_t prefix = (size_t)(slash - s);
    return value_is_dns_subdomain(s, prefix) && is_label_part(slash + 1, n - prefix - 1);
}

bool
value_is_label_key(const char *s, size_t n)
{
    return value_is_qualified_name(s, n);
}

bool
value_is_run_name(const char *s, size_t n)
{
    return n >= 2 && n <= RUN_NAME_MAX && s[0] >= 'a' && s[0] <= 'z' && is_dns_part(s, n);
}
