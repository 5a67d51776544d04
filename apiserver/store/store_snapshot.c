/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots: what is visible at one revision, written by a pool thread from references to
 * immutable leaves while commits go on. The file appears under its name only when it is
 * durable; only then go the older snapshots and the segments that it replaces.
 *
 * A snapshot that fails costs nothing but a longer log: it is reported, logged, and tried
 * again when the log has grown by a quarter of the usual amount.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

#include "apiserver/store/store_internal.h"
#include "apiserver/store/store_seal.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

LOG_MODULE(store);

#define ITEMS_BYTES (256u << 10)
#define WRITE_BYTES (1u << 20)

struct part {
    const char *resource; /* interned */
    uint64_t facts_id;
    struct store_range range;
};

struct snapshot_job {
    struct store *s; /* for the loop thread only */
    const struct store_fs_ops *fs;
    const char *dir, *log_dir; /* borrowed from the store */
    const struct keyring *seal;
    struct log_head head;
    bool only_clean; /* no snapshot: removes what the last one has replaced */
    int64_t retain_s;
    uint64_t retain_bytes, compacted;
    uint64_t retained; /* result: see struct store; 0: unknown */
    vec(struct part) parts;
    vec(struct store_finish) waiters;
    struct error e;
};

/* --- on the pool thread --- */

struct out {
    const struct snapshot_job *job;
    int fd;
    struct str buf, extra; /* extra: facts, or a sealed object */
    uint64_t at;           /* file offset of buf's first byte */
    uint64_t n;
};

static int
flush_out(struct out *o, struct error *e)
{
    int rc = store_files_write(o->job->fs, o->fd, o->buf.ptr, o->buf.len, e);

    /* Starts its way to the disk now: at the end, all at once, it would stand before
     * every sync of the log. A hint only. */
    sync_file_range(o->fd, (off_t)o->at, (off_t)o->buf.len, SYNC_FILE_RANGE_WRITE);
    o->at += o->buf.len;
    str_reset(&o->buf);
    return rc;
}

static void
add_facts(struct out *o, const struct part *part, const struct object *obj,
          struct log_op *op)
{
    size_t n = object_facts_size(obj);

    str_reset(&o->extra);
    str_reserve(&o->extra, n);
    object_facts_write(obj, part->facts_id, o->extra.ptr);
    op->facts = (struct span){o->extra.ptr, n};
}

/* Facts would be of the bytes before; the few objects that are sealed do without. */
static void
seal_object(struct out *o, struct log_op *op)
{
    str_reset(&o->extra);
    store_seal(o->job->seal, op->object, &o->extra);
    /* What cannot be read back must not be written, least of all instead of the log. */
    if (o->extra.len <= OBJECT_MAX_BYTES)
        op->object = (struct span){o->extra.ptr, o->extra.len};
}

/* One record of at most ITEMS_BYTES, or of one object. False: nothing is left. */
static bool
add_items(struct out *o, struct part *part)
{
    struct object *obj = store_range_next(&part->range);
    unsigned n_ops = 0;

    if (obj == NULL)
        return false;
    size_t begin = log_record_begin(&o->buf, LOG_ITEMS, 0, o->job->head.first);
    for (;;) {
        struct log_op op = {
            .resource = span_of(part->resource),
            .ns = span_of(obj->ns),
            .name = span_of(obj->name),
            .object = {obj->bytes, obj->len},
            .revision = obj->revision,
        };
        if (store_seal_wants(o->job->seal, part->resource))
            seal_object(o, &op);
        else
            add_facts(o, part, obj, &op);
        log_record_op(&o->buf, &op);
        n_ops++;
        if (o->buf.len - begin >= ITEMS_BYTES ||
            (obj = store_range_next(&part->range)) == NULL)
            break;
    }
    log_record_end(&o->buf, begin, n_ops, 0, &o->job->head, o->at);
    o->n += n_ops;
    return true;
}

static int
write_records(const struct snapshot_job *job, int fd, struct error *e)
{
    struct out o = {.job = job,
                    .fd = fd,
                    .buf = STR_INIT(2 * LOG_BODY_MAX),
                    .extra = STR_INIT(OBJECT_MAX_BYTES * 4)};
    int rc = 0;

    str_reserve(&o.buf, LOG_HEAD_BYTES);
    log_head_write(&job->head, LOG_SNAP_MAGIC, o.buf.ptr);
    o.buf.len = LOG_HEAD_BYTES;
    vec_foreach (part, &job->parts) {
        while (rc == 0 && add_items(&o, part)) {
            if (o.buf.len >= WRITE_BYTES)
                rc = flush_out(&o, e);
        }
    }
    size_t begin = log_record_begin(&o.buf, LOG_END, 0, job->head.first);
    log_add64(&o.buf, o.n);
    log_record_end(&o.buf, begin, 0, 0, &job->head, o.at);
    if (rc == 0)
        rc = flush_out(&o, e);
    str_done(&o.buf);
    str_done(&o.extra);
    return rc;
}

static int
write_snapshot(const struct snapshot_job *job, struct error *e)
{
    autofree char *tmp = xasprintf("%s/snapshot.tmp", job->dir);
    autofree char *path = store_files_path(job->dir, job->head.first, ".snap");
    autoclose int fd =
        job->fs->open(job->fs->arg, tmp, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    if (fd < 0)
        return error_errno(e, errno, "create %s", tmp);
    int rc = write_records(job, fd, e);
    if (rc == 0 && job->fs->fdatasync(job->fs->arg, fd) < 0)
        rc = error_errno(e, errno, "sync");
    if (rc == 0 && job->fs->rename(job->fs->arg, tmp, path) < 0)
        rc = error_errno(e, errno, "rename");
    if (rc < 0) {
        job->fs->unlink(job->fs->arg, tmp);
        return error_prepend(e, "write %s", path);
    }
    return store_files_sync_dir(job->dir, job->fs, e);
}

static void
remove_file(const struct store_fs_ops *fs, const char *dir, uint64_t revision,
            const char *suffix)
{
    autofree char *path = store_files_path(dir, revision, suffix);

    if (fs->unlink(fs->arg, path) < 0)
        log_warn("cannot remove", "file=%s errno=%d", path, errno);
}

struct old_segment {
    uint64_t bytes;
    int64_t written_s; /* unix seconds */
};

static struct old_segment
look_at(const char *dir, uint64_t first)
{
    autofree char *path = store_files_path(dir, first, ".log");
    struct stat st;

    if (stat(path, &st) < 0)
        return (struct old_segment){0};
    return (struct old_segment){(uint64_t)st.st_blocks * 512, st.st_mtim.tv_sec};
}

/* How many of the n oldest segments, all replaced by the snapshot, nobody needs. The rest
 * must stay without a gap. */
static size_t
count_useless(const struct snapshot_job *job, const store_revisions *segs, size_t n)
{
    int64_t old = clock_wall_ns() / 1000000000 - job->retain_s;
    uint64_t bytes = 0;
    size_t i = n;

    for (; i > 0 && n - i < STORE_RETAIN_FILES; i--) {
        struct old_segment seg = look_at(job->log_dir, segs->items[i - 1]);
        bytes += seg.bytes;
        if (bytes > job->retain_bytes || seg.written_s <= old ||
            segs->items[i] <= job->compacted + 1)
            break;
    }
    return i;
}

static int
remove_segments(struct snapshot_job *job, struct error *e)
{
    store_revisions segs = {0};
    size_t replaced = 0;
    int rc = store_files_list(job->log_dir, ".log", &segs, e);

    while (rc == 0 && replaced + 1 < segs.len &&
           segs.items[replaced + 1] <= job->head.first + 1)
        replaced++;
    size_t n = rc < 0 ? 0 : count_useless(job, &segs, replaced);
    for (size_t i = 0; i < n; i++)
        remove_file(job->fs, job->log_dir, segs.items[i], ".log");
    if (rc == 0 && segs.len > 0)
        job->retained = segs.items[n] - 1;
    vec_done(&segs);
    return rc;
}

/* What the snapshot has replaced, oldest first. What cannot be removed now is looked at
 * again with the next snapshot; a start ignores it. */
static void
remove_replaced(struct snapshot_job *job)
{
    struct error e = ERROR_INIT;
    store_revisions files = {0};

    if (store_files_list(job->dir, ".snap", &files, &e) == 0) {
        for (size_t i = 0; i < files.len && files.items[i] < job->head.first; i++)
            remove_file(job->fs, job->dir, files.items[i], ".snap");
    }
    vec_done(&files);
    if (e.code != ERR_OK || remove_segments(job, &e) < 0)
        log_warn("cannot clean up", "error=\"%s\"", e.msg);
}

static void
work(void *arg)
{
    struct snapshot_job *job = arg;

    if (job->only_clean || write_snapshot(job, &job->e) == 0)
        remove_replaced(job);
    vec_foreach (part, &job->parts)
        store_range_done(&part->range);
    vec_done(&job->parts);
}

/* --- on the loop --- */

static void start_job(struct store *s);

static void
written(void *arg)
{
    struct snapshot_job *job = arg;
    struct store *s = job->s;
    bool ok = job->e.code == ERR_OK;

    s->files->job = NULL;
    if (job->retained > s->files->retained)
        s->files->retained = job->retained;
    if (job->only_clean) {
        log_debug("released", "retained=%" PRIu64, s->files->retained);
    } else if (ok) {
        s->files->snapshot_revision = job->head.first;
        log_debug("snapshot", "revision=%" PRIu64, job->head.first);
    } else {
        s->files->snapshot_retry_at =
            s->files->log_since_snapshot + s->opts.snapshot_after / 4;
        log_warn("snapshot failed", "error=\"%s\"", job->e.msg);
    }
    vec_foreach (f, &job->waiters)
        store_finish_later(s, f->done, f->arg, job->head.first, ok ? NULL : &job->e);
    if (job->waiters.len > 0)
        store_kick(s);
    vec_done(&job->waiters);
    free(job);
    if (s->files->snapshot_next.len > 0)
        start_job(s);
}

static void
add_parts(struct store *s, struct snapshot_job *job)
{
    struct map_cursor c = map_begin(s->resources);
    void *value;

    while (map_next(&c, NULL, &value)) {
        const struct store_resource *r = value;
        struct part part = {.resource = r->name,
                            .facts_id = object_facts_id(store_kind(s, r->name))};
        store_range_init(&r->index, NULL, NULL, NULL, &part.range);
        vec_push(&job->parts, part);
    }
}

static struct snapshot_job *
new_job(struct store *s, uint64_t revision)
{
    struct snapshot_job *job = xnew(struct snapshot_job);

    job->s = s;
    job->fs = s->opts.fs;
    job->seal = s->opts.seal;
    job->dir = s->files->snapshot_dir;
    job->log_dir = s->files->log_dir;
    job->head.first = revision;
    job->head.floor = s->files->floor;
    job->retain_s = s->opts.retain_s;
    job->retain_bytes = s->files->release ? 0 : s->opts.retain_bytes;
    job->compacted = s->files->compacted;
    s->files->release = false;
    return job;
}

static void
run_job(struct store *s, struct snapshot_job *job)
{
    s->files->job = job;
    if (s->opts.inline_sync) {
        work(job);
        written(job);
        return;
    }
    if (s->files->pool == NULL)
        s->files->pool = loop_pool_new(s->loop, "snapshot", 1);
    loop_pool_run(s->files->pool, work, written, job);
}

static void
start_job(struct store *s)
{
    struct snapshot_job *job = new_job(s, s->visible);

    randombytes_buf(job->head.id, sizeof(job->head.id));
    memcpy(&job->waiters, &s->files->snapshot_next, sizeof(job->waiters));
    memset(&s->files->snapshot_next, 0, sizeof(s->files->snapshot_next));
    add_parts(s, job);
    s->files->log_since_snapshot = 0;
    s->files->snapshot_retry_at = 0;
    run_job(s, job);
}

int
store_snapshot_export(struct store *s, const char *dir, struct error *e)
{
    struct snapshot_job *job = new_job(s, s->visible);

    job->dir = dir;
    randombytes_buf(job->head.id, sizeof(job->head.id));
    add_parts(s, job);
    int rc = write_snapshot(job, e);
    vec_foreach (part, &job->parts)
        store_range_done(&part->range);
    vec_done(&job->parts);
    free(job);
    return rc;
}

void
store_snapshot_release(struct store *s)
{
    s->files->release = true;
    if (s->files->job != NULL || s->files->snapshot_revision == 0)
        return; /* the one that runs, or the first, is as good */
    struct snapshot_job *job = new_job(s, s->files->snapshot_revision);
    job->only_clean = true;
    run_job(s, job);
}

int
store_files_compact(struct store *s, uint64_t revision, store_done_fn *done, void *arg,
                    struct error *e)
{
    if (revision < s->files->compacted)
        return error_set(e, ERR_EXPIRED,
                         "revision %" PRIu64 " has been compacted already; the oldest is "
                         "%" PRIu64,
                         revision, s->files->compacted);
    s->files->compacted = revision;
    hub_compact(&s->hub, revision);
    store_files_snapshot(s, done, arg);
    return 0;
}

void
store_files_snapshot(struct store *s, store_done_fn *done, void *arg)
{
    vec_push(&s->files->snapshot_next, ((struct store_finish){.done = done, .arg = arg}));
    if (s->files->job == NULL)
        start_job(s);
}

void
store_snapshot_maybe(struct store *s)
{
    uint64_t due = s->opts.snapshot_after;

    if (s->files->snapshot_by_size && s->object_bytes / 2 > due)
        due = s->object_bytes / 2;
    if (s->files->snapshot_retry_at > due)
        due = s->files->snapshot_retry_at;
    if (s->files->job == NULL && !s->files->poisoned &&
        s->files->log_since_snapshot >= due)
        start_job(s);
}

/* Waits for the one that runs; those asked for after it are told that nothing came. */
void
store_snapshot_stop(struct store *s)
{
    struct error e = ERROR_INIT;
    __typeof__(s->files->snapshot_next) never = s->files->snapshot_next;

    memset(&s->files->snapshot_next, 0, sizeof(s->files->snapshot_next));
    loop_pool_free(s->files->pool);
    s->files->pool = NULL;
    error_set(&e, ERR_UNAVAILABLE, "the store is closing");
    vec_foreach (f, &never)
        store_finish_later(s, f->done, f->arg, 0, &e);
    vec_done(&never);
    store_run_finished(s, SIZE_MAX);
}
