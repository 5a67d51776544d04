/* SPDX-License-Identifier: Apache-2.0 */
/* Formats of addresses and names of the network. */
#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>

#include "api/schema_format.h"

static bool
is_alnum(char c)
{
    return isalnum((unsigned char)c) || (unsigned char)c >= 0x80;
}

/* --- addresses --- */

static bool
is_address(const char *text)
{
    unsigned char addr[16];

    return inet_pton(strchr(text, ':') != NULL ? AF_INET6 : AF_INET, text, addr) == 1;
}

bool
format_is_ipv4(const char *text)
{
    return is_address(text) && strchr(text, '.') != NULL;
}

bool
format_is_ipv6(const char *text)
{
    return is_address(text) && strchr(text, ':') != NULL;
}

bool
format_is_cidr(const char *text)
{
    const char *slash = strchr(text, '/');
    char addr[INET6_ADDRSTRLEN + 1];

    if (slash == NULL || slash - text >= (ptrdiff_t)sizeof(addr))
        return false;
    memcpy(addr, text, (size_t)(slash - text));
    addr[slash - text] = '\0';
    size_t n = strspn(slash + 1, "0123456789");
    return n >= 1 && n <= 3 && slash[1 + n] == '\0' && is_address(addr) &&
           strtol(slash + 1, NULL, 10) <= (strchr(addr, ':') != NULL ? 128 : 32);
}

bool
format_is_mac(const char *text)
{
    size_t n = strlen(text), group = strchr(text, '.') != NULL ? 4 : 2;
    char sep = n > group ? text[group] : '\0';
    size_t groups = (n + 1) / (group + 1), bytes = groups * group / 2;

    if ((n + 1) % (group + 1) != 0 || (bytes != 6 && bytes != 8 && bytes != 20) ||
        (group == 4 ? sep != '.' : sep != ':' && sep != '-'))
        return false;
    for (size_t i = 0; i < n; i++) {
        bool at_sep = i % (group + 1) == group;
        if (at_sep ? text[i] != sep : !isxdigit((unsigned char)text[i]))
            return false;
    }
    return true;
}

/* --- names --- */

/* Of a host name with several labels, one that others follow. */
static bool
is_inner_label(const char *p, size_t n)
{
    if (n == 0 || n > 63 || !is_alnum(p[0]) || !is_alnum(p[n - 1]))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!is_alnum(p[i]) && p[i] != '-')
            return false;
    return true;
}

/* The last one: two characters at least, each dash followed by something else. */
static bool
is_last_label(const char *p, size_t n)
{
    if (n < 2 || n > 63 || !is_alnum(p[0]) || !is_alnum(p[n - 1]))
        return false;
    for (size_t i = 1; i < n; i++)
        if (!is_alnum(p[i]) && (p[i] != '-' || p[i - 1] == '-'))
            return false;
    return true;
}

/* A name of one label: one dash at most. */
static bool
is_only_label(const char *p, size_t n)
{
    size_t dashes = 0;

    if (n == 0 || n > 63 || !is_alnum(p[0]))
        return false;
    for (size_t i = 1; i < n; i++) {
        if (p[i] == '-' && i == 1)
            dashes++;
        else if (!is_alnum(p[i]))
            return false;
    }
    return dashes <= 1;
}

bool
format_is_hostname(const char *text)
{
    const char *dot = strchr(text, '.');

    if (strlen(text) > 255)
        return false;
    if (dot == NULL)
        return is_only_label(text, strlen(text)) || is_last_label(text, strlen(text));
    for (; dot != NULL; text = dot + 1, dot = strchr(text, '.'))
        if (!is_inner_label(text, (size_t)(dot - text)))
            return false;
    return is_last_label(text, strlen(text));
}

static bool
has_control(const char *text)
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            return true;
    return false;
}

/* %XX wherever there is a %. */
static bool
is_escaped(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (text[i] != '%')
            continue;
        if (n - i < 3 || !isxdigit((unsigned char)text[i + 1]) ||
            !isxdigit((unsigned char)text[i + 2]))
            return false;
        i += 2;
    }
    return true;
}

/* Host and port, after the user part. */
static bool
is_authority(const char *p, size_t n)
{
    const char *at = memrchr(p, '@', n), *end = p + n, *port;

    if (at != NULL)
        p = at + 1;
    if (p < end && *p == '[') {
        const char *close = memchr(p, ']', (size_t)(end - p));
        if (close == NULL)
            return false;
        port = close + 1;
    } else {
        port = memchr(p, ':', (size_t)(end - p));
        if (port == NULL)
            port = end;
        for (const char *c = p; c < port; c++)
            if (strchr(" <>\"\\^`{|}", *c) != NULL)
                return false;
    }
    if (port < end && *port++ != ':')
        return false;
    for (; port < end; port++)
        if (!isdigit((unsigned char)*port))
            return false;
    return true;
}

bool
format_is_uri(const char *text)
{
    size_t scheme = strcspn(text, ":/?#");

    if (*text == '\0' || has_control(text) || !is_escaped(text, strcspn(text, "?")))
        return false;
    if (*text == '/')
        return true;
    if (streq(text, "*"))
        return true;
    if (scheme == 0 || text[scheme] != ':' || !isalpha((unsigned char)*text))
        return false;
    for (size_t i = 0; i < scheme; i++)
        if (!isalnum((unsigned char)text[i]) && strchr("+-.", text[i]) == NULL)
            return false;
    text += scheme + 1;
    if (text[0] != '/')
        return false; /* a request cannot ask for mailto:x */
    if (text[1] != '/')
        return true;
    text += 2;
    return is_authority(text, strcspn(text, "/?"));
}

static bool
is_atom(char c)
{
    return is_alnum(c) || (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

/* Atoms with single dots between them; returns behind it, NULL when there is none. */
static const char *
skip_atoms(const char *p)
{
    for (;;) {
        const char *begin = p;
        while (is_atom(*p))
            p++;
        if (p == begin)
            return NULL;
        if (*p != '.')
            return p;
        p++;
    }
}

static const char *
skip_quoted(const char *p)
{
    for (p++; *p != '"'; p++) {
        if (*p == '\\')
            p++;
        if (*p == '\0' || (unsigned char)*p < 0x20)
            return NULL;
    }
    return p + 1;
}

static const char *
skip_address(const char *p)
{
    p = *p == '"' ? skip_quoted(p) : skip_atoms(p);
    if (p == NULL || *p != '@')
        return NULL;
    if (p[1] != '[')
        return skip_atoms(p + 1);
    p = strchr(p, ']');
    return p == NULL ? NULL : p + 1;
}

/* a@b, <a@b>, A Name <a@b>, "A. Name" <a@b> */
bool
format_is_email(const char *text)
{
    const char *end;

    text += strspn(text, " \t");
    end = skip_address(text);
    if (end != NULL)
        return end[strspn(end, " \t")] == '\0';
    while (*text != '<') {
        text = *text == '"' ? skip_quoted(text) : skip_atoms(text);
        if (text == NULL)
            return false;
        text += strspn(text, " \t");
    }
    end = skip_address(text + 1);
    return end != NULL && *end == '>' && end[1 + strspn(end + 1, " \t")] == '\0';
}
