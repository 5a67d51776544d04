/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drover store rekey: a new key seals, everything is written anew under it, the old keys
 * go. In this order, so that at any moment the file has every key that is in use:
 * interrupted, it is simply done again.
 */
#include <inttypes.h>
#include <stdio.h>

#include "apiserver/store/store_seal.h"
#include "apiserver/tools/tool.h"
#include "base/cleanup.h"

static int
verify(struct tool *t, struct error *e)
{
    int rc;

    tool_close(t);
    rc = tool_open(t, TOOL_READ, e);
    return rc < 0 ? error_prepend(e, "with the new key only") : rc;
}

int
tool_rekey(struct tool *t, struct error *e)
{
    autofree char *keys = tool_path(t, "keys/" SEAL_FILE);
    int rc = tool_open(t, TOOL_WRITE, e); /* nobody else has it, and all can be read */

    if (rc < 0)
        return rc;
    tool_close(t);
    if ((rc = store_seal_add_key(keys, e)) < 0 || (rc = tool_open(t, TOOL_WRITE, e)) < 0)
        return rc;
    uint64_t at = store_revision(t->store);
    if ((rc = tool_compact_now(t, at, e)) < 0)
        return rc;
    tool_close(t);
    if ((rc = store_seal_drop_old(keys, e)) < 0 || (rc = verify(t, e)) < 0)
        return rc;
    printf("sealed anew at revision %" PRIu64 "; backups made before need the old keys\n",
           at);
    return 0;
}
