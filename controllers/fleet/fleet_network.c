/* SPDX-License-Identifier: Apache-2.0 */
/* Counting who is in which network. */
#include "controllers/fleet/fleet_network.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/fleet.h"
#include "base/str.h"

enum { CANDIDATES_MAX = 64 };

struct candidate {
    char text[FLEET_NETWORK_LEN];
    size_t members;
    int rank; /* smaller is better */
};

static const char *
address_in(const json_t *addresses, const char *network)
{
    const json_t *a;
    size_t i;

    json_array_foreach (addresses, i, a) {
        const char *text = json_string_value(a);
        if (text != NULL && fleet_in_network(text, network))
            return text;
    }
    return NULL;
}

bool
fleet_network_has(const json_t *addresses, const char *network)
{
    return network[0] != '\0' && address_in(addresses, network) != NULL;
}

static bool
counts(const struct fleet_net_member *m)
{
    return m->addresses != NULL && !m->given;
}

static bool
in_any(const char *address, const char *const *networks, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (fleet_in_network(address, networks[i]))
            return true;
    return false;
}

/* Private before public, IPv4 before IPv6, then by size. */
static int
rank_of(const char *address, long bits)
{
    static const char *const inner[] = {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",
                                        "100.64.0.0/10", "fc00::/7"};

    return (in_any(address, inner, ARRAY_LEN(inner)) ? 0 : 1000) +
           (strchr(address, ':') != NULL ? 500 : 0) + (int)(128 - bits);
}

/* One that other machines may be in, too. */
static bool
shareable(const char *address, long bits)
{
    static const char *const own[] = {"127.0.0.0/8", "::1/128", "169.254.0.0/16",
                                      "fe80::/10"};

    return bits > 0 && bits < (strchr(address, ':') != NULL ? 128 : 32) &&
           !in_any(address, own, ARRAY_LEN(own));
}

static void
count_members(const struct fleet_net_member *m, size_t n, struct candidate *c)
{
    const char *first = NULL;

    for (size_t i = 0; i < n; i++) {
        const char *a = counts(&m[i]) ? address_in(m[i].addresses, c->text) : NULL;
        if (a == NULL)
            continue;
        size_t len = strcspn(a, "/");
        if (first != NULL && strncmp(a, first, len) == 0 && strcspn(first, "/") == len) {
            c->members = 0; /* a bridge of its own on each of them */
            return;
        }
        first = first == NULL ? a : first;
        c->members++;
    }
}

static bool
better(const struct candidate *a, const struct candidate *b)
{
    if (a->members != b->members)
        return a->members > b->members;
    return a->rank != b->rank ? a->rank < b->rank : strcmp(a->text, b->text) < 0;
}

static bool
listed(const struct candidate *c, size_t n, const char *address, long bits)
{
    for (size_t i = 0; i < n; i++) {
        const char *slash = strchr(c[i].text, '/');
        if (strtol(slash + 1, NULL, 10) == bits && fleet_in_network(address, c[i].text))
            return true;
    }
    return false;
}

static void
find_best(const struct fleet_net_member *m, size_t n, struct candidate *best)
{
    struct candidate c[CANDIDATES_MAX];
    size_t n_c = 0, k;
    const json_t *item;

    for (size_t i = 0; i < n; i++) {
        if (!counts(&m[i]))
            continue;
        json_array_foreach (m[i].addresses, k, item) {
            const char *a = json_string_value(item);
            const char *slash = a == NULL ? NULL : strchr(a, '/');
            long bits = slash == NULL ? 0 : strtol(slash + 1, NULL, 10);
            if (n_c == CANDIDATES_MAX || !shareable(a == NULL ? "" : a, bits) ||
                listed(c, n_c, a, bits))
                continue;
            c[n_c] = (struct candidate){.rank = rank_of(a, bits)};
            if (!fleet_network_of(a, c[n_c].text, sizeof(c[n_c].text)))
                continue;
            count_members(m, n, &c[n_c]);
            if (better(&c[n_c], best))
                *best = c[n_c];
            n_c++;
        }
    }
}

static void
tell(const struct fleet_net_member *m, size_t n, struct fleet_network *ret)
{
    auto_str text = STR_INIT(sizeof(ret->message) - 1);

    for (size_t i = 0; i < n; i++) {
        if (!counts(&m[i]) || fleet_network_has(m[i].addresses, ret->network))
            continue;
        const char *has = json_string_value(json_array_get(m[i].addresses, 0));
        str_addf(&text, "%s%s (%s)", text.len > 0 ? ", " : "", m[i].name,
                 has == NULL ? "no address" : has);
    }
    if (ret->network[0] == '\0')
        snprintf(ret->message, sizeof(ret->message),
                 "no two machines have an address in one network: %.340s", text.ptr);
    else
        snprintf(ret->message, sizeof(ret->message), "not in the network %s: %.300s",
                 ret->network, text.ptr);
}

void
fleet_network_choose(const struct fleet_net_member *m, size_t n, const char *wanted,
                     struct fleet_network *ret)
{
    struct candidate best = {.rank = 10000};
    size_t known = 0;

    *ret = (struct fleet_network){.common = true};
    for (size_t i = 0; i < n; i++)
        known += counts(&m[i]);
    if (wanted != NULL) {
        snprintf(best.text, sizeof(best.text), "%s", wanted);
        count_members(m, n, &best);
    } else {
        find_best(m, n, &best);
        if (best.members < 2 && known > 1)
            best.text[0] = '\0';
    }
    snprintf(ret->network, sizeof(ret->network), "%s", best.text);
    ret->common = best.members == known;
    if (!ret->common)
        tell(m, n, ret);
}
