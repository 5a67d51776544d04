/* SPDX-License-Identifier: Apache-2.0 */
/* drover store compact: by the server that runs, or on the files. */
#include <inttypes.h>
#include <stdio.h>

#include "apiserver/tools/tool.h"

static int
compact_online(const struct tool *t, struct error *e)
{
    char command[64];
    auto_str answer = STR_INIT(4096);

    snprintf(command, sizeof(command), "compact %" PRIu64 "\n", t->revision);
    int rc = tool_ask(t, command, &answer, e);
    if (rc == 0)
        printf("compacted to revision %s", answer.ptr);
    return rc;
}

int
tool_compact_now(struct tool *t, uint64_t revision, struct error *e)
{
    struct tool_result r = {.e = ERROR_INIT};
    int rc = store_compact(t->store, revision, tool_done, &r, e);

    if (rc < 0)
        return rc;
    return tool_wait(t, &r, e);
}

int
tool_compact(struct tool *t, struct error *e)
{
    struct error busy = ERROR_INIT;
    int rc = tool_open(t, TOOL_WRITE, &busy);

    if (rc == -ERR_BUSY) {
        rc = compact_online(t, e);
        return rc == -ERR_UNAVAILABLE ? error_prepend(e, "%s", busy.msg) : rc;
    }
    if (rc < 0) {
        *e = busy;
        return rc;
    }
    uint64_t at = t->revision != 0 ? t->revision : store_revision(t->store);
    if ((rc = tool_compact_now(t, at, e)) < 0)
        return rc;
    printf("compacted to revision %" PRIu64 "\n", at);
    return 0;
}
