/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log: its format, and the one place that appends to it.
 *
 * Files
 *   <data>/log/<first>.log          segments; <first> is 20 decimal digits. No commit in
 * a segment has a revision below <first>. <data>/snapshot/<revision>.snap snapshots: the
 * same head and records, see LOG_ITEMS.
 *   *.tmp                           being made; removed at the next start.
 * Both kinds are made under a .tmp name, synced, renamed, and the directory synced: a
 * file under its own name has a whole head. All numbers are little-endian.
 *
 * Head, 80 bytes
 *    0  8  "DROVLOG1" or "DROVSNP1"
 *    8  4  format version, 3
 *   12  4  0
 *   16 16  file id: random; the key of every checksum in this file
 *   32  8  first revision; of a snapshot, the revision that it shows
 *   40  8  floor: revisions up to here may have been used
 *   48  8  first revision of the segment before; 0: none, or a snapshot
 *   56  8  size of the records and head of the segment before, in bytes
 *   64 16  checksum of bytes 0-63
 *
 * Record, a multiple of 8 bytes, zero-padded
 *    0  4  length of the body
 *    4  1  type
 *    5  1  flags: bit 0 the commit was lazy
 *    6  2  number of operations
 *    8  8  revision
 *   16  8  group: everything in this file before this offset was durable before this
 * record was written; 0 in a snapshot 24 16  checksum of bytes 0-23, the record's offset
 * in the file (8 bytes), the body and the padding 40     body Types 1 COMMIT  operations,
 * all at the record's revision 2 FLOOR   8 bytes: the new floor 3 SEAL    empty; says
 * only what its group says 4 ITEMS   operations of a snapshot, each with the revision of
 * its object 5 END     8 bytes: number of objects in the snapshot; the last record
 * Operation
 *    0  1  1 put, 2 delete        1  1  0
 *    2  2  length of the resource 4  2  of the namespace      6  2  of the name
 *    8  4  of the object          12 4  of the facts, in a snapshot; else 0
 *   16  8  in a snapshot the revision of the object; in a commit the revision of the
 *          version that it replaces, 0: none
 *   24     these four strings, without NULs, and the facts (lib/api/object_facts.c).
 *          A delete has the last state of the object as
 *          watchers shall see it, or nothing when that is larger than 16 KiB or the disk
 *          was full
 *
 * Versions 1 and 2 differ in the checksum of records, and 1 in the operations of commits:
 * their revision is the commit's own, and deletes have no object. It is read, and no
 * longer written.
 *
 * The checksum of a head is BLAKE2b-128 keyed with the file's id (libsodium generichash).
 * That of a record is SipHash-2-4 with 128 bits (libsodium siphashx24): its first 24
 * bytes and its offset are hashed under the file's id, and under the result the body and
 * its padding. Keyed, not CRC32C: that makes "a valid record at this offset of this file"
 * a statement that neither a stale block, nor a record of another segment, nor a record
 * quoted inside an object's bytes can fake, and on that rests the rule below. It costs
 * 0.6 us per 2 KB. Up to version 2 it was BLAKE2b, five times slower: a quarter of the
 * server's CPU time under a load of creates, snapshots included.
 *
 * Where a log ends. A segment is preallocated, so zeros follow its last record. Blocks of
 * one write reach the disk in any order, so a crash may leave holes of zeros or garbage
 * in the records that were being written, but never in those that were durable. Reading
 * stops at the first offset without a valid record. If only zeros follow, that is the
 * end. If not, and it is the last segment, and no valid record further on has a group
 * greater than that offset, then nothing shows that the bytes there were ever durable,
 * nobody was told that they are, and the tail is cut. Otherwise something that was
 * durable is damaged and the store refuses to start. So that the newest acknowledged
 * records are protected too, the writer appends a SEAL when it has nothing else to do.
 *
 * Revisions rise strictly from commit to commit and never exceed the floor that is
 * durable before or together with them. A start continues above the last floor, so
 * revisions that were handed out and lost are not used again.
 */
#include "apiserver/store/store_log.h"

#include <endian.h>
#include <fcntl.h>
#include <sodium.h>
#include <unistd.h>

#include "apiserver/store/store_internal.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"

LOG_MODULE(store);

/*
 * States of a log
 *
 *   CLEAN   all that was written is durable.
 *             append of batches that somebody waits for  -> CLEAN
 *             append of lazy batches only, a seal        -> DIRTY
 *   DIRTY   bytes after `synced` are written and not yet synced.
 *             append that syncs, new segment, close      -> CLEAN
 *   From both:
 *             no space, undone (truncated back, synced)  -> unchanged
 *             any other failed write, any failed sync,
 *             a failed undo                              -> BROKEN
 *   BROKEN  the page cache can no longer be trusted to be what is on the disk. Every call
 *           fails; only closing is left. The next start reads what is really there.
 */
enum log_state { LOG_CLEAN, LOG_DIRTY, LOG_BROKEN };

struct store_log {
    enum log_state state;
    const struct store_fs_ops *fs;
    uint32_t segment_bytes, reserve; /* size of a segment; what is kept for deletes */
    char *dir;
    int fd;
    struct log_head head;
    uint64_t end;    /* where the next record goes; the descriptor's position */
    uint64_t synced; /* everything before is durable */
    uint64_t last;   /* greatest revision in the log */
    uint64_t floor;  /* in the log; durable when state is CLEAN */
    bool unsealed;   /* durable records that no later record attests */
    struct str buf;  /* records of the group that is being made */
    uint64_t buf_last, buf_floor;
    struct log_counters counters;
};

/* --- numbers and heads --- */

void
log_put32(char *p, uint32_t v)
{
    v = htole32(v);
    memcpy(p, &v, sizeof(v));
}

void
log_put64(char *p, uint64_t v)
{
    v = htole64(v);
    memcpy(p, &v, sizeof(v));
}

uint32_t
log_get32(const char *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof(v));
    return le32toh(v);
}

uint64_t
log_get64(const char *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
    return le64toh(v);
}

void
log_add64(struct str *out, uint64_t v)
{
    char b[8];

    log_put64(b, v);
    str_add(out, b, sizeof(b));
}

static void
put16(char *p, size_t v)
{
    uint16_t le = htole16((uint16_t)v);

    memcpy(p, &le, sizeof(le));
}

void
log_head_write(const struct log_head *h, const char magic[8], char out[LOG_HEAD_BYTES])
{
    memset(out, 0, LOG_HEAD_BYTES);
    memcpy(out, magic, 8);
    log_put32(out + 8, h->version == 0 ? LOG_VERSION : h->version);
    memcpy(out + 16, h->id, LOG_ID_BYTES);
    log_put64(out + 32, h->first);
    log_put64(out + 40, h->floor);
    log_put64(out + 48, h->prev_first);
    log_put64(out + 56, h->prev_end);
    crypto_generichash((unsigned char *)out + 64, LOG_SUM_BYTES,
                       (const unsigned char *)out, 64, h->id, LOG_ID_BYTES);
}

/* --- records --- */

size_t
log_op_size(size_t resource, size_t ns, size_t name, size_t object)
{
    return LOG_OP_HEAD + resource + ns + name + object;
}

size_t
log_record_size(size_t body)
{
    return (LOG_RECORD_HEAD + body + LOG_ALIGN - 1) & ~(size_t)(LOG_ALIGN - 1);
}

static void
old_record_sum(const struct log_head *h, const char *rec, size_t size, uint64_t off,
               unsigned char out[LOG_SUM_BYTES])
{
    crypto_generichash_state st;
    char at[8];

    log_put64(at, off);
    crypto_generichash_init(&st, h->id, LOG_ID_BYTES, LOG_SUM_BYTES);
    crypto_generichash_update(&st, (const unsigned char *)rec, 24);
    crypto_generichash_update(&st, (const unsigned char *)at, sizeof(at));
    crypto_generichash_update(&st, (const unsigned char *)rec + LOG_RECORD_HEAD,
                              size - LOG_RECORD_HEAD);
    crypto_generichash_final(&st, out, LOG_SUM_BYTES);
}

void
log_record_sum(const struct log_head *h, const char *rec, size_t size, uint64_t off,
               unsigned char out[LOG_SUM_BYTES])
{
    unsigned char key[LOG_SUM_BYTES];
    char head[32];

    _Static_assert(LOG_SUM_BYTES == crypto_shorthash_siphashx24_BYTES &&
                       LOG_SUM_BYTES == crypto_shorthash_siphashx24_KEYBYTES &&
                       LOG_ID_BYTES == crypto_shorthash_siphashx24_KEYBYTES,
                   "one hash is the key of the next");
    if (h->version == 1 || h->version == 2) {
        old_record_sum(h, rec, size, off, out);
        return;
    }
    memcpy(head, rec, 24);
    log_put64(head + 24, off);
    crypto_shorthash_siphashx24(key, (const unsigned char *)head, sizeof(head), h->id);
    crypto_shorthash_siphashx24(out, (const unsigned char *)rec + LOG_RECORD_HEAD,
                                size - LOG_RECORD_HEAD, key);
}

size_t
log_record_begin(struct str *out, enum log_type type, unsigned flags, uint64_t revision)
{
    size_t begin = out->len;
    char head[LOG_RECORD_HEAD] = {0};

    head[4] = (char)type;
    head[5] = (char)flags;
    log_put64(head + 8, revision);
    str_add(out, head, sizeof(head));
    return begin;
}

void
log_record_op(struct str *out, const struct log_op *op)
{
    char head[LOG_OP_HEAD] = {0};

    head[0] = op->del ? 2 : 1;
    put16(head + 2, op->resource.len);
    put16(head + 4, op->ns.len);
    put16(head + 6, op->name.len);
    log_put32(head + 8, (uint32_t)op->object.len);
    log_put32(head + 12, (uint32_t)op->facts.len);
    log_put64(head + 16, op->revision);
    str_add(out, head, sizeof(head));
    str_add(out, op->resource.ptr, op->resource.len);
    str_add(out, op->ns.ptr, op->ns.len);
    str_add(out, op->name.ptr, op->name.len);
    if (op->object.len > 0)
        str_add(out, op->object.ptr, op->object.len);
    if (op->facts.len > 0)
        str_add(out, op->facts.ptr, op->facts.len);
}

void
log_record_end(struct str *out, size_t begin, unsigned n_ops, uint64_t group,
               const struct log_head *h, uint64_t at)
{
    static const char zeros[LOG_ALIGN];
    size_t body = out->len - begin - LOG_RECORD_HEAD;

    str_add(out, zeros, log_record_size(body) - (out->len - begin));
    char *rec = out->ptr + begin;
    log_put32(rec, (uint32_t)body);
    put16(rec + 6, n_ops);
    log_put64(rec + 16, group);
    log_record_sum(h, rec, out->len - begin, at + begin, (unsigned char *)rec + 24);
}

/* --- segments --- */

static int
broken(struct store_log *log, struct error *e, const char *what)
{
    log->state = LOG_BROKEN;
    e->code = ERR_IO;
    e->terminal = true;
    return error_prepend(e, "%s log segment %llu", what,
                         (unsigned long long)log->head.first);
}

static int
sync_fd(struct store_log *log, int fd, struct error *e)
{
    int64_t start = clock_now_ns();

    log->counters.fsyncs++;
    if (log->fs->fdatasync(log->fs->arg, fd) < 0)
        return error_errno(e, errno, "sync");
    uint64_t us = (uint64_t)(clock_now_ns() - start) / 1000;
    if (us > log->counters.fsync_us_max)
        log->counters.fsync_us_max = us;
    return 0;
}

/* File systems without fallocate do without. */
static int
preallocate(const struct store_log *log, int fd, off_t from, struct error *e)
{
    int rc;

    do
        rc = log->fs->fallocate(log->fs->arg, fd, from, log->segment_bytes - from);
    while (rc < 0 && errno == EINTR);
    if (rc == 0 || errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL)
        return 0;
    return error_errno(e, errno, "preallocate");
}

/* Fills the file and gives it its name. A failed sync is ERR_IO whatever its errno. */
static int
make_segment(struct store_log *log, const struct log_head *h, int fd, const char *tmp,
             const char *path, struct error *e)
{
    char head[LOG_HEAD_BYTES];
    int rc;

    log_head_write(h, LOG_MAGIC, head);
    if ((rc = store_files_write(log->fs, fd, head, sizeof(head), e)) < 0)
        return rc;
    if (sync_fd(log, fd, e) < 0) {
        e->code = ERR_IO; /* also if it was for lack of space: never retried */
        return -ERR_IO;
    }
    if (log->fs->rename(log->fs->arg, tmp, path) < 0)
        return error_errno(e, errno, "rename to %s", path);
    if (store_files_sync_dir(log->dir, log->fs, e) < 0) {
        e->code = ERR_IO;
        return -ERR_IO;
    }
    return 0;
}

/* Leaves the log as it was unless it succeeds. ERR_FULL leaves no trace. */
static int
new_segment(struct store_log *log, struct log_head h, bool must_preallocate,
            struct error *e)
{
    autofree char *tmp = xasprintf("%s/segment.tmp", log->dir);
    autofree char *path = store_files_path(log->dir, h.first, ".log");
    autoclose int fd = log->fs->open(log->fs->arg, tmp, O_RDWR | O_CREAT | O_TRUNC, 0600);

    if (fd < 0)
        return error_errno(e, errno, "create %s", tmp);
    randombytes_buf(h.id, sizeof(h.id));
    struct error ignored = ERROR_INIT;
    int rc = preallocate(log, fd, 0, must_preallocate ? e : &ignored);
    if (rc == 0 || !must_preallocate)
        rc = make_segment(log, &h, fd, tmp, path, e);
    if (rc < 0) {
        log->fs->unlink(log->fs->arg, tmp);
        return error_prepend(e, "new log segment %s", path);
    }
    if (log->fd >= 0) {
        /* Only to give room back: zeros after the last record are legal. */
        if (log->fs->ftruncate(log->fs->arg, log->fd, (off_t)log->end) < 0)
            log_debug("cannot trim segment", "first=%llu",
                      (unsigned long long)log->head.first);
        close(log->fd);
    }
    log->fd = move_fd(fd);
    log->head = h;
    log->end = log->synced = LOG_HEAD_BYTES;
    log->state = LOG_CLEAN;
    log->unsealed = false;
    return 0;
}

int
store_log_open(const char *dir, const struct store_fs_ops *fs, uint32_t segment_bytes,
               const struct log_head *start, struct store_log **ret, struct error *e)
{
    struct store_log *log = xnew(struct store_log);

    log->fs = fs;
    log->segment_bytes = segment_bytes;
    log->reserve =
        segment_bytes == LOG_SEGMENT_BYTES ? LOG_RESERVE_BYTES : segment_bytes / 8;
    log->dir = xstrdup(dir);
    log->fd = -1;
    log->floor = start->floor;
    log->last = start->first - 1;
    log->buf = STR_INIT(LOG_SEGMENT_BYTES);
    int rc = new_segment(log, *start, false, e);
    if (rc < 0) {
        store_log_close(log);
        return rc;
    }
    *ret = log;
    return 0;
}

void
store_log_close(struct store_log *log)
{
    if (log == NULL)
        return;
    if (log->fd >= 0) {
        struct error e = ERROR_INIT;
        if (log->state == LOG_DIRTY && sync_fd(log, log->fd, &e) < 0)
            log_err("sync at close failed", "error=\"%s\"", e.msg);
        close(log->fd);
    }
    str_done(&log->buf);
    free(log->dir);
    free(log);
}

/* --- appending --- */

static void
encode_commit(struct store_log *log, const struct store_pending *p)
{
    unsigned flags = p->durability == STORE_LAZY ? LOG_FLAG_LAZY : 0;
    size_t begin = log_record_begin(&log->buf, LOG_COMMIT, flags, p->revision);

    for (size_t i = 0; i < p->n; i++) {
        const struct store_change *ch = &p->changes[i];
        struct log_op op = {
            .del = ch->type == STORE_DELETE,
            .resource = span_of(ch->resource->name),
            .ns = span_of(ch->obj->ns),
            .name = span_of(ch->obj->name),
            .revision = ch->expect,
        };
        if (!op.del || !ch->bare)
            op.object = ch->sealed != NULL ? (struct span){ch->sealed, ch->sealed_len}
                                           : (struct span){ch->obj->bytes, ch->obj->len};
        log_record_op(&log->buf, &op);
    }
    log_record_end(&log->buf, begin, (unsigned)p->n, log->synced, &log->head, log->end);
    bug_if(log->buf.len - begin != p->size);
    log->buf_last = p->revision;
}

static void
encode_batch(struct store_log *log, const struct log_batch *b)
{
    const struct store_pending *p;

    if (b->floor != 0) {
        size_t begin = log_record_begin(&log->buf, LOG_FLOOR, 0, b->last);
        log_add64(&log->buf, b->floor);
        log_record_end(&log->buf, begin, 0, log->synced, &log->head, log->end);
        log->buf_floor = b->floor;
    }
    STAILQ_FOREACH(p, &b->commits, link)
    {
        if (p->size != 0)
            encode_commit(log, p);
    }
}

/* Takes a half-written group off the file again, so that a crash cannot bring it back. */
static int
undo(struct store_log *log, struct error *e)
{
    struct error why = *e;
    struct error ignored = ERROR_INIT;

    if (log->fs->ftruncate(log->fs->arg, log->fd, (off_t)log->end) < 0 ||
        lseek(log->fd, (off_t)log->end, SEEK_SET) < 0) {
        error_errno(e, errno, "undo");
        return broken(log, e, "truncate");
    }
    (void)preallocate(log, log->fd, (off_t)log->end, &ignored);
    if (sync_fd(log, log->fd, e) < 0)
        return broken(log, e, "undo in");
    log->synced = log->end;
    log->state = LOG_CLEAN;
    *e = why;
    return -(int)why.code;
}

static int
write_buf(struct store_log *log, struct error *e)
{
    if (log->buf.len == 0)
        return 0;
    bug_if(log->buf.toobig);
    if (store_files_write(log->fs, log->fd, log->buf.ptr, log->buf.len, e) < 0)
        return e->code == ERR_FULL ? undo(log, e) : broken(log, e, "append to");
    log->end += log->buf.len;
    log->counters.bytes += log->buf.len;
    log->state = LOG_DIRTY;
    if (log->buf_last > log->last)
        log->last = log->buf_last;
    if (log->buf_floor > log->floor)
        log->floor = log->buf_floor;
    return 0;
}

static int
sync_log(struct store_log *log, struct error *e)
{
    if (log->state == LOG_CLEAN)
        return 0;
    if (sync_fd(log, log->fd, e) < 0)
        return broken(log, e, "sync");
    log->synced = log->end;
    log->state = LOG_CLEAN;
    log->unsealed = true;
    return 0;
}

/* Writes out the group [from, until) and marks what became of its batches. */
static int
finish_group(struct store_log *log, struct log_batch *from, const struct log_batch *until,
             bool sync, struct error *e)
{
    for (struct log_batch *b = from; b != until; b = STAILQ_NEXT(b, link))
        sync = sync || b->sync;
    int rc = write_buf(log, e);
    if (rc == 0 && sync)
        rc = sync_log(log, e);
    for (struct log_batch *b = from; b != until; b = STAILQ_NEXT(b, link))
        b->outcome = rc < 0 ? LOG_FAILED : sync ? LOG_SYNCED : LOG_WRITTEN;
    if (log->buf.cap > STORE_BATCH_BYTES)
        str_done(&log->buf);
    else
        str_reset(&log->buf);
    log->buf_last = log->buf_floor = 0;
    return rc;
}

static bool
fits(const struct store_log *log, const struct log_batch *b, bool use_reserve)
{
    uint64_t limit = log->segment_bytes - (use_reserve ? 0 : log->reserve);

    return log->end + log->buf.len + b->size <= limit;
}

static int
roll(struct store_log *log, const struct log_batch *b, struct error *e)
{
    struct log_head h = {
        .first = log->last + 1,
        .floor = log->floor,
        .prev_first = log->head.first,
        .prev_end = log->end,
    };

    if (log->last < log->head.first)
        return 0; /* it has no commit yet, so another one would not be larger */
    int rc = new_segment(log, h, true, e);
    if (rc == 0 || (e->code == ERR_FULL && b->reclaim && fits(log, b, true)))
        return 0;
    return e->code == ERR_FULL ? rc : broken(log, e, "continue");
}

int
store_log_append(struct store_log *log, struct log_batch_list *batches, struct error *e)
{
    struct log_batch *group = STAILQ_FIRST(batches);
    struct log_batch *b;
    int rc = 0;

    if (log->state == LOG_BROKEN) {
        STAILQ_FOREACH(b, batches, link)
        b->outcome = LOG_FAILED;
        return error_set(e, ERR_IO, "the log is broken");
    }
    STAILQ_FOREACH(b, batches, link)
    {
        if (!fits(log, b, false)) {
            rc = finish_group(log, group, b, true, e);
            if (rc < 0)
                return rc;
            group = b;
            rc = roll(log, b, e);
            if (rc < 0) {
                b->outcome = LOG_FAILED;
                return rc;
            }
        }
        encode_batch(log, b);
    }
    return finish_group(log, group, NULL, false, e);
}

bool
store_log_wants_seal(const struct store_log *log)
{
    return log->unsealed && log->state == LOG_CLEAN &&
           log->end + LOG_RECORD_HEAD <= log->segment_bytes - log->reserve;
}

int
store_log_seal(struct store_log *log, struct error *e)
{
    if (!store_log_wants_seal(log))
        return 0;
    log->unsealed = false;
    size_t begin = log_record_begin(&log->buf, LOG_SEAL, 0, log->last);
    log_record_end(&log->buf, begin, 0, log->synced, &log->head, log->end);
    int rc = write_buf(log, e);
    str_reset(&log->buf);
    /* No room for it even so: what it would have attested is durable all the same. */
    return rc < 0 && log->state != LOG_BROKEN ? 0 : rc;
}

void
store_log_counters(const struct store_log *log, struct log_counters *ret)
{
    *ret = log->counters;
}
