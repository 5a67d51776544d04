/* SPDX-License-Identifier: Apache-2.0 */
/* Counting. */
#include "controllers/fleet/fleet_plan.h"

void
fleet_plan_make(bool deleting, const struct fleet_member *members, size_t n,
                struct fleet_plan *ret)
{
    *ret = (struct fleet_plan){.phase = deleting ? "Terminating" : "Active"};
    for (size_t i = 0; i < n; i++) {
        ret->instances++;
        if (members[i].ready && !members[i].deleting)
            ret->ready++;
    }
}
