/* SPDX-License-Identifier: Apache-2.0 */
/* By which addresses the nodes of an attempt reach each other. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "controllers/run/run_derive.h"

enum { ADDRESS_BYTES = 16, TEXT_MAX = 64 };

struct address {
    int family; /* 0: none */
    unsigned prefix;
    unsigned char bytes[ADDRESS_BYTES];
    char text[TEXT_MAX];
};

static bool
usable(const struct address *a)
{
    const unsigned char *b = a->bytes;

    if (a->family == AF_INET)
        return b[0] != 127 && b[0] != 0 && !(b[0] == 169 && b[1] == 254);
    bool link_local = b[0] == 0xfe && (b[1] & 0xc0) == 0x80;
    static const unsigned char loopback[ADDRESS_BYTES] = {[15] = 1};
    return !link_local && memcmp(b, loopback, sizeof(loopback)) != 0;
}

static bool
parse(const char *text, struct address *ret)
{
    struct address a = {0};
    size_t n = strcspn(text, "/");

    if (n >= sizeof(a.text))
        return false;
    memcpy(a.text, text, n);
    a.family = strchr(a.text, ':') != NULL ? AF_INET6 : AF_INET;
    unsigned bits = a.family == AF_INET ? 32 : 128;
    a.prefix = text[n] == '/' ? (unsigned)strtoul(text + n + 1, NULL, 10) : bits;
    if (a.prefix > bits || inet_pton(a.family, a.text, a.bytes) != 1 || !usable(&a))
        return false;
    *ret = a;
    return true;
}

static bool
same_network(const struct address *a, const struct address *b)
{
    unsigned whole = a->prefix / 8, rest = a->prefix % 8;

    if (a->family != b->family || a->prefix != b->prefix ||
        memcmp(a->bytes, b->bytes, whole) != 0)
        return false;
    unsigned char mask = (unsigned char)(0xff << (8 - rest));
    return rest == 0 || ((a->bytes[whole] ^ b->bytes[whole]) & mask) == 0;
}

/* The node's address in the network of `in`; NULL family: none. */
static struct address
address_in(char *const *list, const struct address *in)
{
    struct address a;

    for (; list != NULL && *list != NULL; list++)
        if (parse(*list, &a) && same_network(&a, in))
            return a;
    return (struct address){0};
}

/* IPv4 before IPv6. */
static struct address
first_of(char *const *list)
{
    struct address a, six = {0};

    for (; list != NULL && *list != NULL; list++) {
        if (!parse(*list, &a))
            continue;
        if (a.family == AF_INET)
            return a;
        if (six.family == 0)
            six = a;
    }
    return six;
}

static bool
all_in(char *const *const *lists, size_t n, const struct address *in, char **ret)
{
    bool ok = true;

    for (size_t i = 0; i < n && ok; i++) {
        struct address a = address_in(lists[i], in);
        ok = a.family != 0;
        for (size_t k = 0; k < i && ok; k++) /* such as the bridge that every host has */
            ok = !streq(ret[k], a.text);
        ret[i] = ok ? xstrdup(a.text) : NULL;
    }
    for (size_t i = 0; i < n && !ok; i++) {
        free(ret[i]);
        ret[i] = NULL;
    }
    return ok;
}

void
run_choose_addresses(char *const *const *lists, size_t n, char **ret)
{
    struct address a;

    memset(ret, 0, n * sizeof(*ret));
    for (int pass = 0; pass < 2; pass++) {
        for (char *const *p = n > 0 ? lists[0] : NULL; p != NULL && *p != NULL; p++)
            if (parse(*p, &a) && (a.family == AF_INET) == (pass == 0) &&
                all_in(lists, n, &a, ret))
                return;
    }
    for (size_t i = 0; i < n; i++)
        ret[i] = xstrdup(first_of(lists[i]).text);
}
