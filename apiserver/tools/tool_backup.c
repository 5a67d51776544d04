/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drover store backup: a snapshot file, which shows one revision, checked after it was
 * copied. It is made by the server that runs, or from the files when none does. The
 * directory appears under its name when it is whole and durable:
 *
 *     <revision>.snap   docs/formats/store.md
 *     backup.json       {"format":1,"revision":...,"floor":...,"objects":...,"keys":...}
 *     keys/             with --with-keys
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "apiserver/store/store_internal.h"
#include "apiserver/tools/tool.h"
#include "base/fs.h"
#include "base/mem.h"

enum { TRIES = 5 };

/* Asks for a snapshot and copies it. A newer one may take its place in between. */
static int
from_server(const struct tool *t, const char *dir, char **ret, struct error *e)
{
    autofree char *snaps = tool_path(t, "snapshot");
    int rc = 0;

    for (int i = 0; i < TRIES; i++) {
        auto_str answer = STR_INIT(4096);
        rc = tool_ask(t, "snapshot\n", &answer, e);
        if (rc < 0)
            return rc;
        uint64_t revision = strtoull(answer.ptr, NULL, 10);
        autofree char *from = store_files_path(snaps, revision, ".snap");
        char *to = store_files_path(dir, revision, ".snap");
        rc = tool_copy(from, to, e);
        if (rc == 0) {
            *ret = to;
            return 0;
        }
        free(to);
        if (rc != -ERR_NOT_FOUND)
            return rc;
    }
    return rc;
}

static int
from_files(const struct tool *t, const char *dir, char **ret, struct error *e)
{
    uint64_t revision = store_revision(t->store);
    int rc = store_snapshot_export(t->store, dir, e);

    if (rc == 0)
        *ret = store_files_path(dir, revision, ".snap");
    return rc;
}

static int
fill(struct tool *t, const char *dir, bool online, struct error *e)
{
    autofree char *snap = NULL;
    autofree char *keys = tool_path(t, "keys");
    autofree char *keys_to = fs_join(dir, "keys");
    autofree char *about = fs_join(dir, "backup.json");
    struct snapshot_facts f = {0};
    char json[256];
    int rc = online ? from_server(t, dir, &snap, e) : from_files(t, dir, &snap, e);

    if (rc == 0)
        rc = tool_verify_snapshot(snap, &f, e);
    if (rc == 0 && t->with_keys)
        rc = tool_copy_dir(keys, keys_to, e);
    if (rc < 0)
        return rc;
    snprintf(json, sizeof(json),
             "{\"format\":1,\"revision\":%" PRIu64 ",\"floor\":%" PRIu64
             ",\"objects\":%" PRIu64 ",\"keys\":%s}\n",
             f.revision, f.floor, f.objects, t->with_keys ? "true" : "false");
    rc = fs_write_atomic(about, json, strlen(json), 0600, e);
    if (rc == 0)
        rc = tool_sync_dir(dir, e);
    if (rc == 0)
        printf("%" PRIu64 " objects at revision %" PRIu64 " in %s%s\n", f.objects,
               f.revision, t->target,
               t->with_keys ? ", with the keys" : "; the keys are not in it");
    return rc;
}

int
tool_backup(struct tool *t, struct error *e)
{
    autofree char *tmp = xasprintf("%s.tmp", t->target);
    struct error busy = ERROR_INIT;
    struct error ignored = ERROR_INIT;
    struct stat st;

    if (lstat(t->target, &st) == 0)
        return error_set(e, ERR_EXISTS, "%s exists already", t->target);
    int rc = tool_open(t, TOOL_RAW, &busy);
    bool online = rc == -ERR_BUSY;
    if (rc < 0 && !online) {
        *e = busy;
        return rc;
    }
    if (fs_remove_tree(tmp, e) < 0)
        return -(int)e->code;
    if (mkdir(tmp, 0700) != 0)
        return error_errno(e, errno, "create %s", tmp);
    rc = fill(t, tmp, online, e);
    if (rc == -ERR_UNAVAILABLE && online)
        rc = error_prepend(e, "%s", busy.msg);
    if (rc == 0 && rename(tmp, t->target) != 0)
        rc = error_errno(e, errno, "rename %s", tmp);
    if (rc < 0) {
        if (fs_remove_tree(tmp, &ignored) < 0)
            fprintf(stderr, "drover store backup: %s\n", ignored.msg);
        return -(int)e->code;
    }
    autofree char *parent = fs_join(t->target, "..");
    return tool_sync_dir(parent, e);
}
