/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What follows from an Instance's inventory and its fleet's spec: blocks, and the address
 * by which the machines of the fleet know each other. Pure.
 */
#ifndef CONTROLLERS_INSTANCE_FACTS_H
#define CONTROLLERS_INSTANCE_FACTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum { FACTS_TEXT_MAX = 256, FACTS_ADDRESS_MAX = 64 };

struct instance_facts {
    bool known;                          /* the agent has told its inventory */
    int64_t blocks;                      /* 1 when they cannot be as wanted */
    char blocks_problem[FACTS_TEXT_MAX]; /* "": none */
    char ip[FACTS_ADDRESS_MAX];          /* "": none */
    char ip_problem[FACTS_TEXT_MAX];
    bool apart; /* not in the network of its cluster fleet, or that is not known yet */
};

/* fleet: the Fleet's spec, or NULL; common: its status.network, or NULL. */
void instance_facts_make(const json_t *instance, const json_t *fleet, const char *common,
                         struct instance_facts *ret);

#endif
