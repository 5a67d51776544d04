/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When each instance's Lease was last seen to change, by our own monotonic clock. Shared
 * by the instance controller (Ready or not) and the job controller (when a job of a
 * silent machine may be replaced). Counting starts when the caches have synced, and
 * starts anew when the API server was out of reach: agents could not renew then.
 *
 * Threading: fed on the manager's thread; asked from any.
 */
#ifndef CONTROLLERS_INSTANCE_LEASE_TRACKER_H
#define CONTROLLERS_INSTANCE_LEASE_TRACKER_H

#include "control/manager.h"

#define INDEX_INSTANCES_BY_FLEET "fleet"

struct lease_tracker;

/* Adds its handlers to the manager's leases; before manager_start, and before the
 * controllers that ask it, so that it is never behind them. Freed after the manager. */
struct lease_tracker *lease_tracker_new(struct manager *m);
void lease_tracker_free(struct lease_tracker *t); /* NULL ok */

struct lease_seen {
    bool known;         /* there is a Lease for the instance */
    bool live;          /* it changed under our eyes */
    int64_t changed_ms; /* last change seen */
    int64_t duration_ms;
    int64_t renewed_wall_ns; /* what the holder wrote */
};
void lease_tracker_ask(struct lease_tracker *t, const char *instance_uid,
                       struct lease_seen *ret);
bool lease_seen_expired(const struct lease_seen *s, int64_t now_ms);

/* More than half of the fleet, at least three, went silent within one lease period of
 * this instance, or renewals cannot be seen now: something else than machines is broken.
 */
struct fleet_ref {
    const char *ns, *name;
};
bool lease_tracker_mass_silence(struct lease_tracker *t, const struct lister *l,
                                const struct fleet_ref *fleet,
                                const struct lease_seen *of, int64_t now_ms);

/* For controllers' index tables. */
bool instance_fleet_key(const struct object *o, struct str *key);

#endif
