/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a Fleet's status should say, and which Instances an SSH fleet should have: a pure
 * function of its spec and its instances. One host is one Instance, by name; a host that
 * left the spec is deleted, and its Instance stays until the agent is off the machine.
 */
#ifndef CONTROLLERS_FLEET_PLAN_H
#define CONTROLLERS_FLEET_PLAN_H

#include "api/fleet.h"

struct fleet_member {
    const char *name, *uid;
    bool ready, deleting;
    bool is_host; /* an SSH host: made by this controller */
    bool foreign; /* of the name, but not this fleet's: of an older one, of nobody */
    const json_t *spec; /* whole; NULL unless is_host */
    const char *reason, *message;
};

struct fleet_observed {
    bool deleting, has_finalizer;
    const struct fleet_hosts *hosts; /* as the spec says */
    const char *invalid;             /* why the spec cannot be followed; NULL: it can */
    const struct fleet_member *members;
    size_t n;
};

enum fleet_do { FLEET_CREATE, FLEET_UPDATE, FLEET_DELETE };
struct fleet_action {
    enum fleet_do what;
    const struct fleet_host *host;     /* CREATE, UPDATE */
    const struct fleet_member *member; /* UPDATE, DELETE */
};

struct fleet_plan {
    const char *phase; /* static */
    int64_t instances, ready;
    bool add_finalizer, drop_finalizer; /* before anything else; nothing beside it */
    vec(struct fleet_action) actions;
    char message[512];
    /* Condition Ready of an SSH fleet; reason NULL: none. */
    bool all_ready;
    const char *reason;
};
void fleet_plan_make(const struct fleet_observed *o, struct fleet_plan *ret);
void fleet_plan_done(struct fleet_plan *p);

/* A merge patch that makes `to` of the spec's members that a host has; NULL: nothing
 * differs. The caller decrefs. */
json_t *fleet_host_patch(const json_t *spec, const struct fleet_host *to);

#endif
