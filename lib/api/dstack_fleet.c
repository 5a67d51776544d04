/* SPDX-License-Identifier: Apache-2.0 */
/* Fleets of machines by SSH. Those of clouds are not served. */
#include "api/dstack_internal.h"

void
dstack_fleet(struct dstack_result *r, const json_t *doc)
{
    UNUSED(doc);
    dstack_problem(r, "type", "fleets are not served from dstack's files yet");
}
