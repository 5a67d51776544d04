/* SPDX-License-Identifier: Apache-2.0 */
/* The network that the machines of a fleet with placement: cluster have in common. Pure.
 */
#ifndef CONTROLLERS_FLEET_NETWORK_H
#define CONTROLLERS_FLEET_NETWORK_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct fleet_net_member {
    const char *name;
    const json_t *addresses; /* "10.0.0.5/24"; NULL: the agent has not told yet */
    bool given;              /* somebody said which is its address: not looked at */
};

enum { FLEET_NETWORK_LEN = 64, FLEET_NETWORK_TEXT = 400 };
struct fleet_network {
    char network[FLEET_NETWORK_LEN]; /* 10.0.0.0/24; "": none is shared */
    bool common;                     /* all who told their addresses are in it */
    char message[FLEET_NETWORK_TEXT];
};
/* wanted: the network to be, NULL: the one in which most have an address; of equal ones
 * private before public, IPv4 before IPv6, the smaller. One in which two machines have
 * the same address is none that they share. Looks at the first 64 networks. */
void fleet_network_choose(const struct fleet_net_member *m, size_t n, const char *wanted,
                          struct fleet_network *ret);
bool fleet_network_has(const json_t *addresses, const char *network);

#endif
