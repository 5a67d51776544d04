/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hosts of an SSH fleet as its spec means them: defaults filled in, names given,
 * every problem told. The API server asks at admission, the fleet controller before it
 * makes Instances of them. Also the small rules on blocks and addresses that both need.
 * Pure.
 */
#ifndef API_FLEET_H
#define API_FLEET_H

#include <jansson.h>

#include "api/violations.h"

enum { FLEET_NAME_MAX = 64 };

struct fleet_host {
    char name[FLEET_NAME_MAX]; /* of its Instance: <fleet>-<host>[-p<port>] */
    json_t *spec; /* what the Instance's spec has beside fleetName: ssh, blocks, ... */
};
struct fleet_hosts {
    bool is_ssh; /* spec.ssh is there */
    vec(struct fleet_host) list;
};
void fleet_hosts_done(struct fleet_hosts *h);
static inline void
fleet_hosts_done_ptr(struct fleet_hosts *h)
{
    fleet_hosts_done(h);
}
#define auto_fleet_hosts CLEANUP(fleet_hosts_done_ptr) struct fleet_hosts

/* spec: the Fleet's. Hosts with a problem are left out and named in v. */
void fleet_read_hosts(const char *fleet, const json_t *spec, struct fleet_hosts *ret,
                      struct violations *v);
/* All rules of a Fleet's spec but lostAfter. */
void fleet_check(const char *fleet, const json_t *spec, struct violations *v);

/* Blocks of a machine with so many processors and accelerators: an integer, "auto" (the
 * largest number that divides both), NULL is 1. ERR_INVALID, in words, when it cannot be
 * divided so; 1 is what to go on with then. */
int fleet_blocks(const json_t *wanted, int64_t cpus, int64_t gpus, int64_t *ret,
                 struct error *e) WARN_UNUSED;

/* Of a Fleet's spec, or NULL: its machines are to work together. */
bool fleet_is_cluster(const json_t *spec);

/* 10.0.0.5 or fd00::5 */
bool fleet_is_address(const char *text);
/* address, perhaps with a prefix length behind it, lies in the network. False also when
 * one of them is none. */
bool fleet_in_network(const char *address, const char *network);
/* 10.0.0.0/24 of 10.0.0.5/24. */
bool fleet_network_of(const char *address, char *out, size_t size);

#endif
