/* SPDX-License-Identifier: Apache-2.0 */
/* The machine's addresses by which others may reach it. */
#include "runner/inventory.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

/* Networks that containers of this machine have among themselves. */
static bool
is_inner(const char *interface)
{
    static const char *const prefixes[] = {"docker", "br-",    "veth",   "cni",
                                           "virbr",  "podman", "flannel"};

    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
        if (str_starts(interface, prefixes[i]))
            return true;
    }
    return false;
}

static unsigned
prefix_length(const unsigned char *mask, size_t n)
{
    unsigned bits = 0;

    for (size_t i = 0; i < n; i++)
        bits += (unsigned)__builtin_popcount(mask[i]);
    return bits;
}

static bool
format_v4(const struct ifaddrs *a, char out[ADDRESS_LEN])
{
    struct sockaddr_in at;
    struct sockaddr_in mask;
    char text[INET_ADDRSTRLEN];

    memcpy(&at, a->ifa_addr, sizeof(at));
    memcpy(&mask, a->ifa_netmask, sizeof(mask));
    if ((ntohl(at.sin_addr.s_addr) >> 16) == 0xa9fe) /* link-local */
        return false;
    inet_ntop(AF_INET, &at.sin_addr, text, sizeof(text));
    snprintf(out, ADDRESS_LEN, "%s/%u", text,
             prefix_length((const unsigned char *)&mask.sin_addr, 4));
    return true;
}

static bool
format_v6(const struct ifaddrs *a, char out[ADDRESS_LEN])
{
    struct sockaddr_in6 at;
    struct sockaddr_in6 mask;
    char text[INET6_ADDRSTRLEN];

    memcpy(&at, a->ifa_addr, sizeof(at));
    memcpy(&mask, a->ifa_netmask, sizeof(mask));
    if (IN6_IS_ADDR_LINKLOCAL(&at.sin6_addr))
        return false;
    inet_ntop(AF_INET6, &at.sin6_addr, text, sizeof(text));
    snprintf(out, ADDRESS_LEN, "%s/%u", text, prefix_length(mask.sin6_addr.s6_addr, 16));
    return true;
}

static void
collect(const struct ifaddrs *list, int family, struct inventory *i)
{
    for (const struct ifaddrs *a = list; a != NULL; a = a->ifa_next) {
        char text[ADDRESS_LEN];
        if (a->ifa_addr == NULL || a->ifa_netmask == NULL ||
            a->ifa_addr->sa_family != family || (a->ifa_flags & IFF_UP) == 0 ||
            (a->ifa_flags & IFF_LOOPBACK) != 0 || is_inner(a->ifa_name) ||
            i->n_addresses == ADDRESSES_MAX)
            continue;
        if (family == AF_INET ? format_v4(a, text) : format_v6(a, text))
            memcpy(i->addresses[i->n_addresses++], text, sizeof(text));
    }
}

void
inventory_read_addresses(struct inventory *i)
{
    struct ifaddrs *list;

    i->n_addresses = 0;
    if (getifaddrs(&list) < 0)
        return;
    collect(list, AF_INET, i);
    collect(list, AF_INET6, i);
    freeifaddrs(list);
}
