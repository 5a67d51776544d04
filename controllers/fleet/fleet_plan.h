/* SPDX-License-Identifier: Apache-2.0 */
/* What a Fleet's status should say: a pure function of its instances. */
#ifndef CONTROLLERS_FLEET_PLAN_H
#define CONTROLLERS_FLEET_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fleet_member {
    bool ready, deleting;
};
struct fleet_plan {
    const char *phase; /* static */
    int64_t instances, ready;
};
void fleet_plan_make(bool deleting, const struct fleet_member *members, size_t n,
                     struct fleet_plan *ret);

#endif
