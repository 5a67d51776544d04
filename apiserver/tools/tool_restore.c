/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drover store restore: a data directory from a backup. The log is written last: until
 * then a start refuses the directory, so an interrupted restore cannot pass for a whole
 * one.
 */
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

#include "apiserver/store/store_internal.h"
#include "apiserver/tools/tool.h"
#include "base/fs.h"

/* Nobody writes so much after a backup and loses it: revisions that clients have seen are
 * not used again. */
#define RESTORE_BUMP (UINT64_C(1) << 32)

static int
find_snapshot(const struct tool *t, uint64_t *ret, struct error *e)
{
    autofree char *about = fs_join(t->target, "backup.json");
    store_revisions snaps = {0};
    struct stat st;

    if (stat(about, &st) != 0)
        return error_set(e, ERR_NOT_FOUND, "%s is not a backup: no backup.json",
                         t->target);
    int rc = store_files_list(t->target, ".snap", &snaps, e);
    if (rc == 0 && snaps.len != 1)
        rc = error_set(e, ERR_CORRUPT, "%s: %zu snapshots instead of one", t->target,
                       snaps.len);
    if (rc == 0)
        *ret = snaps.items[0];
    vec_done(&snaps);
    return rc;
}

static int
demand_empty(const char *dir, struct error *e)
{
    DIR *d = opendir(dir);
    const struct dirent *de;
    bool empty = true;

    if (d == NULL && errno == ENOENT)
        return 0;
    if (d == NULL)
        return error_errno(e, errno, "open %s", dir);
    while ((de = readdir(d)) != NULL) /* NOLINT(concurrency-mt-unsafe) */
        empty = empty && (streq(de->d_name, ".") || streq(de->d_name, ".."));
    closedir(d);
    return empty ? 0 : error_set(e, ERR_EXISTS, "%s is not empty", dir);
}

static int
write_log(const char *log_dir, const struct snapshot_facts *f, struct error *e)
{
    struct log_head h = {.first = f->revision + 1, .floor = f->floor + RESTORE_BUMP};
    struct store_log *log = NULL;
    int rc = store_log_open(log_dir, &store_fs_real, LOG_SEGMENT_BYTES, &h, &log, e);

    if (rc == 0)
        store_log_close(log);
    return rc;
}

int
tool_restore(struct tool *t, struct error *e)
{
    autofree char *log_dir = tool_path(t, "log");
    autofree char *snap_dir = tool_path(t, "snapshot");
    autofree char *keys = fs_join(t->target, "keys");
    autofree char *keys_to = tool_path(t, "keys");
    struct snapshot_facts f = {0};
    struct stat st;
    uint64_t revision = 0;
    int rc = find_snapshot(t, &revision, e);

    if (rc < 0 || (rc = demand_empty(t->data_dir, e)) < 0)
        return rc;
    autofree char *from = store_files_path(t->target, revision, ".snap");
    autofree char *to = store_files_path(snap_dir, revision, ".snap");
    if ((rc = tool_verify_snapshot(from, &f, e)) < 0 ||
        (rc = fs_mkdirs(snap_dir, 0700, e)) < 0 ||
        (rc = fs_mkdirs(log_dir, 0700, e)) < 0 || (rc = tool_copy(from, to, e)) < 0 ||
        (rc = tool_sync_dir(snap_dir, e)) < 0 ||
        (rc = tool_copy_dir(keys, keys_to, e)) < 0 ||
        (rc = write_log(log_dir, &f, e)) < 0 ||
        (rc = tool_sync_dir(t->data_dir, e)) < 0 || (rc = tool_open(t, TOOL_RAW, e)) < 0)
        return rc;
    printf("%" PRIu64 " objects of revision %" PRIu64 " in %s%s\n", f.objects, f.revision,
           t->data_dir,
           stat(keys_to, &st) == 0
               ? ""
               : "; the backup has no keys: put keys/ there if Secrets must be read");
    return 0;
}
