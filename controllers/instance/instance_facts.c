/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks and internal address. */
#include "controllers/instance/instance_facts.h"

#include <string.h>

#include "api/fleet.h"
#include "controllers/fleet/fleet_network.h"

static json_t *
at(const json_t *o, const char *a, const char *b)
{
    json_t *first = json_object_get(o, a);

    return b == NULL ? first : json_object_get(first, b);
}

static void
find_blocks(const json_t *spec, const json_t *fleet, const json_t *inventory,
            struct instance_facts *f)
{
    const json_t *wanted = json_object_get(spec, "blocks");
    struct error e = ERROR_INIT;

    if (wanted == NULL)
        wanted = json_object_get(fleet, "blocks");
    f->blocks = 1;
    if (fleet_blocks(wanted, json_integer_value(json_object_get(inventory, "cpus")),
                     json_integer_value(json_object_get(inventory, "gpuCount")),
                     &f->blocks, &e) < 0)
        snprintf(f->blocks_problem, sizeof(f->blocks_problem), "%.200s; it is one block",
                 e.msg);
}

static void
set_ip(struct instance_facts *f, const char *address)
{
    snprintf(f->ip, sizeof(f->ip), "%.*s", (int)strcspn(address, "/"), address);
}

/* One that other machines can use; loopback and link-local ones are no use to them. */
static bool
usable(const char *address)
{
    return !fleet_in_network(address, "127.0.0.0/8") &&
           !fleet_in_network(address, "::1") &&
           !fleet_in_network(address, "169.254.0.0/16") &&
           !fleet_in_network(address, "fe80::/10");
}

static void
find_ip(const json_t *spec, const json_t *fleet, const char *common,
        const json_t *addresses, struct instance_facts *f)
{
    const char *given = json_string_value(json_object_get(spec, "internalIP"));
    const char *network = json_string_value(at(fleet, "ssh", "network"));
    const char *host = json_string_value(at(spec, "ssh", "hostname"));
    bool cluster = fleet_is_cluster(fleet);
    if (network == NULL && cluster && common != NULL && common[0] != '\0')
        network = common;
    const char *want = given != NULL ? given : network;
    const json_t *a;
    size_t i;

    json_array_foreach (addresses, i, a) {
        const char *text = json_string_value(a);
        if (text == NULL || (want == NULL && !usable(text)))
            continue;
        /* The address that we know the host by is the best guess, else the first. */
        bool fits = want != NULL
                        ? fleet_in_network(text, want)
                        : f->ip[0] == '\0' || (host != NULL && fleet_is_address(host) &&
                                               fleet_in_network(text, host));
        if (fits)
            set_ip(f, text);
        if (fits && want != NULL)
            break;
    }
    f->apart = cluster && given == NULL &&
               (common == NULL || !fleet_network_has(addresses, common));
    if (want != NULL && f->ip[0] == '\0')
        snprintf(f->ip_problem, sizeof(f->ip_problem), "the machine has no address %s%s",
                 given != NULL ? "" : "in ", want);
}

void
instance_facts_make(const json_t *instance, const json_t *fleet, const char *common,
                    struct instance_facts *ret)
{
    const json_t *spec = json_object_get(instance, "spec");
    const json_t *agent = at(instance, "status", "agent");
    const json_t *inventory = json_object_get(agent, "inventory");

    *ret = (struct instance_facts){.known = inventory != NULL};
    if (!ret->known)
        return;
    find_blocks(spec, fleet, inventory, ret);
    find_ip(spec, fleet, common, json_object_get(agent, "addresses"), ret);
}
