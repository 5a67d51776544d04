/* SPDX-License-Identifier: Apache-2.0 */
/* The files driver: opening and closing the log, and its table of functions. */
#include <unistd.h>

#include "apiserver/store/store_internal.h"
#include "apiserver/store/store_writer.h"
#include "base/fs.h"
#include "base/mem.h"

void
store_overlay_free(void *arg)
{
    struct store_overlay *o = arg;

    object_unref(o->obj);
    free(o);
}

static int
make_dirs(struct store *s, struct error *e)
{
    const struct store_files *f = s->files;
    autofree char *parent = fs_join(f->dir, "..");
    int rc = fs_mkdirs(f->log_dir, 0700, e);

    if (rc == 0)
        rc = fs_mkdirs(f->snapshot_dir, 0700, e);
    /* The directories must be as durable as what will be acknowledged in them. */
    if (rc == 0)
        rc = store_files_sync_dir(f->dir, s->opts.fs, e);
    if (rc == 0)
        rc = store_files_sync_dir(parent, s->opts.fs, e);
    return rc;
}

static int
lock_and_replay(struct store *s, struct log_head *ret_start, struct error *e)
{
    struct store_files *f = s->files;
    autofree char *lock = fs_join(f->log_dir, "lock");
    int rc = s->opts.read_only ? 0 : make_dirs(s, e);

    if (rc == 0)
        rc = fs_lock(lock, &f->lock_fd, e);
    if (rc == 0)
        rc = store_replay(s, ret_start, e);
    return rc;
}

static int
files_open(struct store *s, struct error *e)
{
    struct store_files *f = s->files = xnew(struct store_files);
    struct log_head at = {0};
    struct store_log *log = NULL;

    store_fs_fill(s->opts.fs, &f->fs);
    s->opts.fs = &f->fs;
    if (s->opts.segment_bytes == 0 || s->opts.segment_bytes > LOG_SEGMENT_BYTES)
        s->opts.segment_bytes = LOG_SEGMENT_BYTES;
    f->snapshot_by_size = s->opts.snapshot_after == 0;
    if (s->opts.snapshot_after == 0)
        s->opts.snapshot_after = 64u << 20;
    if (s->opts.retain_s == 0)
        s->opts.retain_s = STORE_RETAIN_S;
    if (s->opts.retain_bytes == 0)
        s->opts.retain_bytes = STORE_RETAIN_BYTES;
    f->dir = xstrdup(s->opts.dir);
    s->opts.dir = f->dir;
    f->log_dir = fs_join(f->dir, "log");
    f->snapshot_dir = fs_join(f->dir, "snapshot");
    f->lock_fd = -1;
    f->overlay = map_new(store_overlay_free);
    TAILQ_INIT(&f->waiting);
    STAILQ_INIT(&f->collected);
    int rc = lock_and_replay(s, &at, e);
    if (rc == 0 && s->opts.read_only) {
        f->floor = at.first - 1;
        store_set_visible(s, f->last);
        return 0;
    }
    if (rc == 0)
        rc = store_log_open(f->log_dir, s->opts.fs, s->opts.segment_bytes, &at, &log, e);
    if (rc < 0)
        return rc;
    f->last = s->start_floor = at.first - 1;
    store_set_visible(s, f->last);
    f->floor = f->floor_asked = at.floor;
    f->writer = writer_new(log, s->kick_fd, !s->opts.inline_sync);
    return 0;
}

static void
files_drain(struct store *s)
{
    while (store_has_unwritten(s) || s->files->n_with_writer > 0) {
        store_submit(s);
        writer_wait(s->files->writer);
        store_collect(s);
    }
    store_run_finished(s, SIZE_MAX);
    store_snapshot_stop(s);
    loop_pool_free(s->files->back_pool);
    s->files->back_pool = NULL;
}

static void
files_close(struct store *s)
{
    struct store_files *f = s->files;

    if (f == NULL)
        return;
    writer_free(f->writer);
    map_free(f->overlay);
    if (f->lock_fd >= 0)
        close(f->lock_fd);
    free(f->dir);
    free(f->log_dir);
    free(f->snapshot_dir);
    free(f);
    s->files = NULL;
}

static void
files_end_of_turn(struct store *s)
{
    if (!s->opts.inline_sync)
        store_submit(s);
}

static void
files_collect(struct store *s)
{
    store_collect(s);
    store_snapshot_maybe(s);
}

static void
files_flush(struct store *s)
{
    bug_if(!s->opts.inline_sync);
    do {
        store_submit(s);
        store_collect(s);
    } while (store_has_unwritten(s));
    store_run_finished(s, SIZE_MAX);
    store_snapshot_maybe(s);
}

static void
files_stats(const struct store *s, struct store_stats *ret)
{
    const struct store_files *f = s->files;
    struct log_counters c = {0};

    if (f->writer != NULL)
        writer_counters(f->writer, &c);
    ret->floor = f->floor;
    ret->fsyncs = c.fsyncs;
    ret->fsync_us_max = c.fsync_us_max;
    ret->log_bytes = c.bytes;
    ret->snapshot_revision = f->snapshot_revision;
    ret->pending = f->n_waiting;
    ret->full = f->full;
}

const struct store_driver store_driver_files = {
    .name = "files",
    .open = files_open,
    .drain = files_drain,
    .close = files_close,
    .commit = store_files_commit,
    .peek = store_files_peek,
    .end_of_turn = files_end_of_turn,
    .collect = files_collect,
    .flush = files_flush,
    .snapshot = store_files_snapshot,
    .compact = store_files_compact,
    .stats = files_stats,
};
