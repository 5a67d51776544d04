/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much one user may ask for, and all together: a token bucket per user, requests in
 * flight, watches. There are three lanes. Members of system:masters and our own programs
 * are counted, never refused. Agents have places of their own, as many as users have: no
 * tenant keeps a machine from renewing its Lease. And of the places of a lane the last
 * eighth is for who has few requests in flight: a user or two that fill the rest do not
 * shut the others out. Nobody waits in a queue; who is refused is told when to come
 * again. Pure over `now_ms`. Loop thread only; entering costs one lookup.
 */
#ifndef HTTP_LIMITS_H
#define HTTP_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

struct limits;
enum limits_class { LIMITS_READ, LIMITS_WRITE, LIMITS_LONG, LIMITS_N_CLASSES };

struct limits_opts {           /* 0: no limit */
    double rate, burst;        /* requests per second of one user */
    int64_t inflight, watches; /* of one user */
    int64_t reads, writes;     /* in flight, of all in a lane */
};
#define LIMITS_DEFAULT                                                                   \
    ((struct limits_opts){.rate = 500,                                                   \
                          .burst = 1000,                                                 \
                          .inflight = 256,                                               \
                          .watches = 2000,                                               \
                          .reads = 1000,                                                 \
                          .writes = 1000})

enum limits_lane { LANE_USERS, LANE_AGENTS, LANE_EXEMPT, LIMITS_N_LANES };
struct limits_user;
struct limits_slot { /* plain data of the caller's; zero: none */
    struct limits_user *user;
    enum limits_class class;
    enum limits_lane lane;
    bool entered;
};

struct limits *limits_new(const struct limits_opts *o);
void limits_free(struct limits *l); /* NULL ok; nobody may be inside */
/* NULL: come in, and call limits_leave later. Otherwise why not (static text), with the
 * seconds after which it may do. */
const char *limits_enter(struct limits *l, const char *user, enum limits_lane lane,
                         enum limits_class class, int64_t now_ms,
                         struct limits_slot *slot, unsigned *ret_retry_s);
void limits_leave(struct limits *l, struct limits_slot *slot);
/* Prometheus text. */
void limits_metrics(const struct limits *l, struct str *out);
/* Users that are remembered at the moment. */
size_t limits_users(const struct limits *l);

#endif
