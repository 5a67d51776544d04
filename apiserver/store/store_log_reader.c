/* SPDX-License-Identifier: Apache-2.0 */
/* Reading back: segment after segment, checked as store_reader.c checks them. */
#include "apiserver/store/store_log_reader.h"

#include <inttypes.h>
#include <sys/stat.h>

#include "apiserver/store/store_internal.h"
#include "apiserver/store/store_reader.h"
#include "base/mem.h"

struct offset {
    uint64_t revision, at;
};

/* Where the commits of a segment lie. */
struct offsets {
    uint64_t first; /* of the segment */
    vec(struct offset) commits;
};

struct log_back {
    char *dir;
    uint64_t from, to;
    uint64_t position;
    uint64_t segment; /* first revision of the one that is open; 0: none */
    struct log_reader r;
    bool open, ended;
    struct log_record rec;
    struct log_ops ops;
    bool in_record;
    vec(struct offsets) index;
};

static int
expired(uint64_t from, uint64_t oldest, struct error *e)
{
    return error_set(e, ERR_EXPIRED,
                     "too old resource version: %" PRIu64 " (%" PRIu64 ")", from, oldest);
}

/* The last segment whose name is at most `revision`; 0: none. *ret_next: the one after.
 */
static uint64_t
segment_of(const store_revisions *segs, uint64_t revision, uint64_t *ret_next)
{
    uint64_t found = 0;

    *ret_next = 0;
    for (size_t i = 0; i < segs->len; i++) {
        if (segs->items[i] > revision) {
            *ret_next = segs->items[i];
            break;
        }
        found = segs->items[i];
    }
    return found;
}

static void
close_segment(struct log_back *b)
{
    if (b->open)
        log_reader_done(&b->r);
    b->open = false;
}

static int
open_reader(const struct log_back *b, uint64_t first, struct log_reader *r,
            struct error *e)
{
    autofree char *path = store_files_path(b->dir, first, ".log");
    int rc = log_reader_open(r, &store_fs_real, path, LOG_MAGIC, e);

    if (rc == -ERR_NOT_FOUND)
        return expired(b->from, first, e);
    if (rc == 0 && r->head.first != first) {
        rc = error_set(e, ERR_CORRUPT, "%s: its head says revision %" PRIu64, path,
                       r->head.first);
        log_reader_done(r);
    }
    return rc;
}

int
log_back_open(const char *log_dir, uint64_t from, uint64_t to, struct log_back **ret,
              struct error *e)
{
    store_revisions segs = {0};
    uint64_t next;
    int rc = store_files_list(log_dir, ".log", &segs, e);

    if (rc < 0)
        return rc;
    struct log_back *b = xnew(struct log_back);
    b->dir = xstrdup(log_dir);
    b->from = b->position = from;
    b->to = to;
    b->segment = segment_of(&segs, from + 1, &next);
    if (b->segment == 0)
        rc = expired(from, segs.len == 0 ? from + 1 : segs.items[0] - 1, e);
    else
        rc = open_reader(b, b->segment, &b->r, e);
    b->open = rc == 0;
    vec_done(&segs);
    if (rc < 0) {
        log_back_close(b);
        return rc;
    }
    *ret = b;
    return 0;
}

enum more { MORE_NONE, MORE_HERE, MORE_NEXT };

/* No record was found at the end of what is known of a segment: is there more by now?
 * MORE_NEXT: the next segment is open. */
static int
look_for_more(struct log_back *b, enum more *ret, struct error *e)
{
    store_revisions segs = {0};
    uint64_t next = 0;
    int rc = store_files_list(b->dir, ".log", &segs, e);

    *ret = MORE_NONE;
    if (rc == 0)
        (void)segment_of(&segs, b->segment, &next);
    vec_done(&segs);
    if (rc < 0 || next == 0 || next > b->to)
        return rc;
    struct log_reader r;
    if ((rc = open_reader(b, next, &r, e)) < 0)
        return rc;
    if (r.head.prev_first == b->segment && r.head.prev_end > b->r.pos) {
        log_reader_done(&r); /* written while we were there */
        *ret = MORE_HERE;
        return 0;
    }
    if (r.head.prev_first != b->segment) {
        log_reader_done(&r);
        return expired(b->from, next - 1, e);
    }
    close_segment(b);
    b->r = r;
    b->open = true;
    b->segment = next;
    *ret = MORE_NEXT;
    return 0;
}

/* What the window has may be older than what the writer has written since, and the writer
 * trims a segment when it is done with it. */
static int
read_again(struct log_back *b, enum log_read *ret, struct error *e)
{
    struct stat st;

    if (fstat(b->r.fd, &st) < 0)
        return error_errno(e, errno, "stat %s", b->r.path);
    b->r.size = (uint64_t)st.st_size;
    b->r.window_len = 0;
    *ret = LOG_READ_END;
    return b->r.size <= b->r.pos ? 0 : log_reader_next(&b->r, &b->rec, ret, e);
}

static int
read_record(struct log_back *b, enum log_read *ret, struct error *e)
{
    struct error first = ERROR_INIT;
    enum more more = MORE_NONE;
    int rc = log_reader_next(&b->r, &b->rec, ret, &first);

    if (rc < 0 || *ret != LOG_READ_RECORD)
        rc = read_again(b, ret, e);
    if (rc < 0 || *ret == LOG_READ_RECORD)
        return rc;
    rc = look_for_more(b, &more, e);
    if (rc < 0 || more == MORE_NONE)
        return rc;
    rc = read_again(b, ret, e);
    if (rc == 0 && *ret != LOG_READ_RECORD && more == MORE_HERE)
        return error_set(e, ERR_CORRUPT, "%s: damaged record at offset %" PRIu64,
                         b->r.path, b->r.pos);
    if (rc == 0 && *ret != LOG_READ_RECORD)
        return read_record(b, ret, e); /* an empty segment; there are finitely many */
    return rc;
}

/* 1: a commit within the range is in b->rec. */
static int
next_record(struct log_back *b, struct error *e)
{
    while (!b->ended) {
        enum log_read what;
        int rc = read_record(b, &what, e);
        if (rc < 0)
            return rc;
        if (what != LOG_READ_RECORD) {
            b->ended = true;
        } else if (b->rec.type == LOG_COMMIT && b->rec.revision > b->to) {
            b->position = b->to;
            b->ended = true;
        } else if (b->rec.type == LOG_COMMIT && b->rec.revision > b->from) {
            return 1;
        }
    }
    return 0;
}

static int
fill(struct log_back *b, const struct log_op *op, struct log_change *ret)
{
    *ret = (struct log_change){
        .revision = b->rec.revision,
        .prev = b->r.version < 2 ? 0 : op->revision,
        .del = op->del,
        .lazy = (b->rec.flags & LOG_FLAG_LAZY) != 0,
        .resource = op->resource,
        .ns = op->ns,
        .name = op->name,
        .object = op->object,
    };
    return 1;
}

int
log_back_next(struct log_back *b, struct log_change *ret, struct error *e)
{
    struct log_op op;
    int rc;

    for (;;) {
        if (b->in_record) {
            rc = log_ops_next(&b->ops, &op, e);
            if (rc == 1)
                return fill(b, &op, ret);
            if (rc < 0)
                return error_prepend(e, "%s: record at offset %" PRIu64, b->r.path,
                                     b->rec.offset);
            b->in_record = false;
            b->position = b->rec.revision;
        }
        rc = next_record(b, e);
        if (rc != 1)
            return rc;
        log_ops_init(&b->ops, &b->rec);
        b->in_record = true;
    }
}

uint64_t
log_back_position(const struct log_back *b)
{
    return b->position;
}

/* --- versions --- */

static int
index_segment(struct log_back *b, uint64_t first, struct offsets **ret, struct error *e)
{
    struct offsets x = {.first = first};
    struct log_record rec;
    struct log_reader r;
    enum log_read what = LOG_READ_RECORD;

    vec_foreach (known, &b->index) {
        if (known->first == first) {
            *ret = known;
            return 0;
        }
    }
    int rc = open_reader(b, first, &r, e);
    if (rc < 0)
        return rc;
    while ((rc = log_reader_peek(&r, &rec, &what, e)) == 0 && what == LOG_READ_RECORD) {
        if (rec.type == LOG_COMMIT)
            vec_push(&x.commits, ((struct offset){rec.revision, rec.offset}));
    }
    log_reader_done(&r);
    if (rc < 0) {
        vec_done(&x.commits);
        return rc;
    }
    vec_push(&b->index, x);
    *ret = &b->index.items[b->index.len - 1];
    return 0;
}

static const struct offset *
find_offset(const struct offsets *x, uint64_t revision)
{
    size_t lo = 0;
    size_t hi = x->commits.len;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (x->commits.items[mid].revision < revision)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < x->commits.len && x->commits.items[lo].revision == revision
               ? &x->commits.items[lo]
               : NULL;
}

static bool
same(struct span a, struct span b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* The put of the key in the record at r->pos. */
static int
find_put(struct log_reader *r, const struct log_change *key, struct str *out,
         struct error *e)
{
    struct log_record rec;
    struct log_ops ops;
    struct log_op op;
    enum log_read what;
    int rc = log_reader_next(r, &rec, &what, e);

    if (rc == 0 && what != LOG_READ_RECORD)
        return error_set(e, ERR_CORRUPT, "%s: damaged record at offset %" PRIu64, r->path,
                         r->pos);
    if (rc < 0)
        return rc;
    log_ops_init(&ops, &rec);
    while ((rc = log_ops_next(&ops, &op, e)) == 1) {
        if (op.del || !same(op.name, key->name) || !same(op.ns, key->ns) ||
            !same(op.resource, key->resource))
            continue;
        str_add(out, op.object.ptr, op.object.len);
        return 1;
    }
    return rc;
}

int
log_back_version(struct log_back *b, const struct log_change *key, uint64_t revision,
                 struct str *out, struct error *e)
{
    store_revisions segs = {0};
    struct offsets *x = NULL;
    struct log_reader r;
    uint64_t next;
    int rc = store_files_list(b->dir, ".log", &segs, e);
    uint64_t first = rc < 0 ? 0 : segment_of(&segs, revision, &next);

    vec_done(&segs);
    if (rc < 0 || first == 0 || revision == 0)
        return rc;
    if ((rc = index_segment(b, first, &x, e)) < 0)
        return rc == -ERR_EXPIRED ? 0 : rc;
    const struct offset *at = find_offset(x, revision);
    if (at == NULL)
        return 0;
    if ((rc = open_reader(b, first, &r, e)) < 0)
        return rc == -ERR_EXPIRED ? 0 : rc;
    r.pos = at->at;
    rc = find_put(&r, key, out, e);
    log_reader_done(&r);
    return rc;
}

void
log_back_close(struct log_back *b)
{
    if (b == NULL)
        return;
    close_segment(b);
    vec_foreach (x, &b->index)
        vec_done(&x->commits);
    vec_done(&b->index);
    free(b->dir);
    free(b);
}

int
log_back_oldest(const char *log_dir, uint64_t *ret, struct error *e)
{
    store_revisions segs = {0};
    struct log_back b = {0};
    uint64_t oldest = 0;
    int rc = store_files_list(log_dir, ".log", &segs, e);

    b.dir = xstrdup(log_dir);
    for (size_t i = segs.len; rc == 0 && i-- > 0;) {
        struct log_reader r;
        if ((rc = open_reader(&b, segs.items[i], &r, e)) < 0)
            break;
        oldest = r.head.first - 1;
        bool linked = i > 0 && r.head.prev_first == segs.items[i - 1];
        log_reader_done(&r);
        if (!linked)
            break;
    }
    /* An older one that cannot be read is simply not part of what is retained. */
    if (rc < 0 && oldest != 0)
        rc = 0;
    vec_done(&segs);
    free(b.dir);
    if (rc == 0)
        *ret = oldest;
    return rc;
}
