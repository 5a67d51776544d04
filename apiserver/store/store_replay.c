/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The start: the newest valid snapshot, then every later record of the log. What the
 * records change also goes into the ring, so that watchers can resume across a restart.
 *
 * Refused (ERR_CORRUPT, naming file and offset): a damaged record anywhere but in a torn
 * tail (store_log.c says how the two are told apart), a segment that is missing or
 * shorter than its successor knows, revisions that do not rise or exceed the floor, an
 * object that is not the one its key says. A damaged snapshot is passed over with a
 * warning only when an older one, or the beginning, and all segments since are there.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

#include "api/jtok.h"
#include "apiserver/store/store_internal.h"
#include "apiserver/store/store_log_reader.h"
#include "apiserver/store/store_reader.h"
#include "apiserver/store/store_seal.h"
#include "base/log.h"
#include "base/mem.h"

LOG_MODULE(store);

#define KEY_PART_MAX 1024
/* More segments than this after a start, and a snapshot is made soon. */
#define SEGMENTS_MANY 8
/* Nothing that counts up gets there. */
#define FLOOR_LIMIT (UINT64_MAX / 2)

struct replay {
    struct store *s;
    uint64_t base;  /* of the snapshot; 0: none */
    uint64_t floor; /* seen up to here */
    uint64_t last;  /* revision of the newest commit in the log */
    uint64_t prev_first, prev_end;
    bool from_snapshot;
    /* the last resource that was looked up */
    struct store_resource *resource;
    const struct kind *kind;
    uint64_t facts_id;
    struct str scratch, opened;
};

static int
at(struct error *e, const struct log_reader *r, const struct log_record *rec)
{
    return error_prepend(e, "%s: record at offset %" PRIu64, r->path, rec->offset);
}

static bool
copy_part(struct span s, char out[KEY_PART_MAX + 1])
{
    if (s.len > KEY_PART_MAX)
        return false;
    memcpy(out, s.ptr, s.len);
    out[s.len] = '\0';
    return true;
}

static int
find_resource(struct replay *rp, struct span name, struct error *e)
{
    char buf[KEY_PART_MAX + 1];

    if (rp->resource != NULL && span_eq(name, rp->resource->name))
        return 0;
    if (!copy_part(name, buf))
        return error_set(e, ERR_CORRUPT, "resource name of %zu bytes", name.len);
    rp->resource = store_resource_get(rp->s, buf);
    rp->kind = store_kind(rp->s, buf);
    rp->facts_id = object_facts_id(rp->kind);
    return 0;
}

/* object_new relies on canonical bytes; a checksum only says that they are the ones that
 * were written. */
static int
check_canonical(struct replay *rp, struct span bytes, struct error *e)
{
    str_reset(&rp->scratch);
    int rc = jcanon(bytes.ptr, bytes.len, &rp->scratch, e);

    if (rc < 0)
        return rc;
    if (rp->scratch.len != bytes.len ||
        memcmp(rp->scratch.ptr, bytes.ptr, bytes.len) != 0)
        return error_set(e, ERR_CORRUPT, "not canonical JSON");
    return 0;
}

/* A new reference; NULL: e says what is wrong with it. */
static struct object *
read_object(struct replay *rp, const struct log_op *op, struct error *e)
{
    struct object *o = NULL;
    const struct object_source src = {op->object, op->facts, op->ns, op->name,
                                      op->revision};

    if (op->facts.len > 0 && object_from_facts(rp->kind, rp->facts_id, &src, &o))
        return o;
    int rc = check_canonical(rp, op->object, e);

    struct span bytes = op->object;
    if (rc == 0 && store_seal_wants(rp->s->opts.seal, rp->resource->name)) {
        str_reset(&rp->opened);
        rc = store_unseal(rp->s->opts.seal, bytes, &rp->opened, e);
        bytes = (struct span){rp->opened.ptr, rp->opened.len};
    }
    if (rc == 0)
        rc = object_new(rp->kind, bytes.ptr, bytes.len, op->revision, &o, e);
    if (rc < 0 || o == NULL) {
        e->code = ERR_CORRUPT;
        error_prepend(e, "%s \"" SPAN_FMT "\"", rp->resource->name, SPAN_ARG(op->name));
        return NULL;
    }
    if (!span_eq(op->ns, o->ns) || !span_eq(op->name, o->name)) {
        error_set(e, ERR_CORRUPT, "object %s/%s under the key " SPAN_FMT "/" SPAN_FMT,
                  o->ns, o->name, SPAN_ARG(op->ns), SPAN_ARG(op->name));
        object_unref(o);
        return NULL;
    }
    return o;
}

/* --- snapshots --- */

static int
load_items(struct replay *rp, const struct log_record *rec, struct error *e)
{
    struct store *s = rp->s;
    struct log_ops ops;
    struct log_op op;
    int rc;

    log_ops_init(&ops, rec);
    while ((rc = log_ops_next(&ops, &op, e)) == 1) {
        if (op.del || op.revision == 0 || op.revision > rp->base)
            return error_set(e, ERR_CORRUPT, "not an object of this snapshot");
        if ((rc = find_resource(rp, op.resource, e)) < 0)
            return rc;
        auto_object *o = read_object(rp, &op, e);
        if (o == NULL)
            return -(int)e->code;
        struct object *old = store_index_put(&rp->resource->index, o);
        if (old != NULL) {
            object_unref(old);
            return error_set(e, ERR_CORRUPT, "%s \"%s\" twice", rp->resource->name,
                             o->name);
        }
        s->n_objects++;
        s->object_bytes += o->len;
    }
    return rc;
}

static int
load_records(struct replay *rp, struct log_reader *r, struct error *e)
{
    struct log_record rec;
    enum log_read what;
    int rc;

    for (;;) {
        rc = log_reader_next(r, &rec, &what, e);
        if (rc < 0)
            return rc;
        if (what != LOG_READ_RECORD || (rec.type != LOG_ITEMS && rec.type != LOG_END))
            return error_set(e, ERR_CORRUPT, "%s: damaged record at offset %" PRIu64,
                             r->path, r->pos);
        if (rec.type == LOG_END)
            break;
        if (load_items(rp, &rec, e) < 0)
            return at(e, r, &rec);
    }
    if (rec.body_len != 8 || log_get64(rec.body) != rp->s->n_objects || r->pos != r->size)
        return error_set(e, ERR_CORRUPT, "%s: the snapshot is not complete", r->path);
    return 0;
}

static int
load_snapshot(struct replay *rp, uint64_t revision, struct error *e)
{
    autofree char *path = store_files_path(rp->s->files->snapshot_dir, revision, ".snap");
    struct log_reader r;
    int rc = log_reader_open(&r, rp->s->opts.fs, path, LOG_SNAP_MAGIC, e);

    if (rc < 0)
        return rc;
    rp->base = revision;
    rp->floor = r.head.floor;
    if (r.head.first != revision || r.head.floor < revision || r.head.floor > FLOOR_LIMIT)
        rc = error_set(e, ERR_CORRUPT, "%s: its head says revision %" PRIu64, path,
                       r.head.first);
    if (rc == 0)
        rc = load_records(rp, &r, e);
    log_reader_done(&r);
    return rc;
}

static void
forget(struct replay *rp)
{
    struct store *s = rp->s;

    map_clear(s->resources);
    s->n_objects = s->object_bytes = 0;
    *rp = (struct replay){.s = s, .scratch = rp->scratch, .opened = rp->opened};
}

/* *ret_worst: why a snapshot had to be passed over. */
static int
load_newest(struct replay *rp, const store_revisions *snaps, struct error *ret_worst,
            struct error *e)
{
    for (size_t i = snaps->len; i-- > 0;) {
        struct error why = ERROR_INIT;
        int rc = load_snapshot(rp, snaps->items[i], &why);
        if (rc == 0) {
            rp->from_snapshot = true;
            rp->s->files->snapshot_revision = rp->base;
            return 0;
        }
        if (why.code != ERR_CORRUPT) {
            *e = why;
            return rc;
        }
        log_warn("passing over a damaged snapshot", "error=\"%s\"", why.msg);
        *ret_worst = why;
        forget(rp);
    }
    return 0;
}

/* --- segments --- */

static int
apply_op(struct replay *rp, const struct log_record *rec, struct log_op *op,
         struct error *e)
{
    struct store_change ch = {.type = op->del ? STORE_DELETE : STORE_PUT};
    int rc = find_resource(rp, op->resource, e);

    if (rc < 0)
        return rc;
    ch.resource = rp->resource;
    rp->resource->lazy = rp->resource->lazy || (rec->flags & LOG_FLAG_LAZY) != 0;
    op->revision = rec->revision;
    if (!op->del) {
        auto_object *o = read_object(rp, op, e);
        if (o == NULL)
            return -(int)e->code;
        ch.obj = o;
        store_apply(rp->s, rec->revision, &ch);
        return 0;
    }
    char ns[KEY_PART_MAX + 1];
    char name[KEY_PART_MAX + 1];
    if (!copy_part(op->ns, ns) || !copy_part(op->name, name))
        return error_set(e, ERR_CORRUPT, "name longer than %d bytes", KEY_PART_MAX);
    const struct object *old = store_index_get(&rp->resource->index, ns, name);
    if (old == NULL)
        return 0; /* a lazy commit made it and was lost */
    auto_object *last = op->object.len > 0 ? read_object(rp, op, e)
                                           : object_with_revision(old, rec->revision);
    if (last == NULL)
        return -(int)e->code;
    ch.obj = last;
    store_apply(rp->s, rec->revision, &ch);
    return 0;
}

static int
apply_commit(struct replay *rp, const struct log_record *rec, struct error *e)
{
    struct log_ops ops;
    struct log_op op;
    int rc;

    if (rec->revision <= rp->last)
        return error_set(e, ERR_CORRUPT, "revision %" PRIu64 " after %" PRIu64,
                         rec->revision, rp->last);
    if (rec->revision > rp->floor)
        return error_set(e, ERR_CORRUPT, "revision %" PRIu64 " above the floor %" PRIu64,
                         rec->revision, rp->floor);
    rp->last = rec->revision;
    if (rec->revision <= rp->base)
        return 0;
    log_ops_init(&ops, rec);
    while ((rc = log_ops_next(&ops, &op, e)) == 1) {
        if ((rc = apply_op(rp, rec, &op, e)) < 0)
            return rc;
    }
    return rc;
}

static int
raise_floor(struct replay *rp, uint64_t floor, struct error *e)
{
    if (floor > FLOOR_LIMIT)
        return error_set(e, ERR_CORRUPT, "floor %" PRIu64, floor);
    if (floor > rp->floor)
        rp->floor = floor;
    return 0;
}

static int
apply_record(struct replay *rp, const struct log_record *rec, struct error *e)
{
    switch (rec->type) {
    case LOG_COMMIT:
        return apply_commit(rp, rec, e);
    case LOG_FLOOR:
        if (rec->body_len != 8)
            return error_set(e, ERR_CORRUPT, "floor of %zu bytes", rec->body_len);
        return raise_floor(rp, log_get64(rec->body), e);
    case LOG_SEAL:
        return 0;
    case LOG_ITEMS:
    case LOG_END:
        break;
    }
    return error_set(e, ERR_CORRUPT, "type %d in a log", (int)rec->type);
}

/* The bytes from r->pos on are no records. */
static int
cut_tail(const struct replay *rp, struct log_reader *r, bool last, struct error *e)
{
    bool attested = true;

    if (last) {
        int rc = log_reader_attested(r, &attested, e);
        if (rc < 0)
            return rc;
    }
    if (attested)
        return error_set(e, ERR_CORRUPT,
                         "%s: damaged record at offset %" PRIu64
                         ", before others that are whole",
                         r->path, r->pos);
    if (rp->s->opts.read_only)
        return 0;
    log_warn("cutting a torn tail: a write that was not acknowledged",
             "file=%s offset=%" PRIu64, r->path, r->pos);
    const struct store_fs_ops *fs = rp->s->opts.fs;
    autoclose int fd = fs->open(fs->arg, r->path, O_WRONLY, 0);
    if (fd < 0 || fs->ftruncate(fs->arg, fd, (off_t)r->pos) < 0)
        return error_errno(e, errno, "truncate %s", r->path);
    if (fs->fdatasync(fs->arg, fd) < 0)
        return error_errno(e, errno, "sync %s", r->path);
    return 0;
}

static int
replay_records(struct replay *rp, struct log_reader *r, bool last, struct error *e)
{
    for (;;) {
        struct log_record rec;
        enum log_read what;
        int rc = log_reader_next(r, &rec, &what, e);
        if (rc < 0)
            return rc;
        if (what == LOG_READ_BAD)
            return cut_tail(rp, r, last, e);
        if (what == LOG_READ_END) {
            /* The room that was preallocated; it does not matter whether it goes. */
            if (last && !rp->s->opts.read_only && r->size > r->pos &&
                truncate(r->path, (off_t)r->pos) < 0)
                log_debug("cannot trim", "file=%s", r->path);
            return 0;
        }
        if (apply_record(rp, &rec, e) < 0)
            return at(e, r, &rec);
    }
}

static int
check_chain(const struct replay *rp, const struct log_reader *r, uint64_t name,
            bool is_first, struct error *e)
{
    const struct log_head *h = &r->head;

    if (h->first != name || h->floor < name - 1 || h->floor > FLOOR_LIMIT)
        return error_set(e, ERR_CORRUPT, "%s: its head says revision %" PRIu64, r->path,
                         h->first);
    if (is_first && !rp->from_snapshot && h->prev_first != 0)
        return error_set(e, ERR_CORRUPT,
                         "%s: no snapshot, and the segment %" PRIu64
                         " before it is missing",
                         r->path, h->prev_first);
    if (!is_first && (h->prev_first != rp->prev_first || h->prev_end != rp->prev_end))
        return error_set(e, ERR_CORRUPT,
                         "%s: follows segment %" PRIu64 " of %" PRIu64
                         " bytes; found %" PRIu64 " of %" PRIu64 " bytes",
                         r->path, h->prev_first, h->prev_end, rp->prev_first,
                         rp->prev_end);
    return 0;
}

static int
replay_segment(struct replay *rp, uint64_t name, bool is_first, bool is_last,
               struct error *e)
{
    autofree char *path = store_files_path(rp->s->files->log_dir, name, ".log");
    struct log_reader r;
    int rc = log_reader_open(&r, rp->s->opts.fs, path, LOG_MAGIC, e);

    if (rc < 0)
        return rc;
    if (r.size > LOG_SEGMENT_BYTES)
        rc = error_set(e, ERR_CORRUPT, "%s: %" PRIu64 " bytes; a segment has at most %u",
                       path, r.size, LOG_SEGMENT_BYTES);
    if (rc == 0)
        rc = check_chain(rp, &r, name, is_first, e);
    if (rc == 0)
        rc = raise_floor(rp, r.head.floor, e);
    if (rc == 0)
        rc = replay_records(rp, &r, is_last, e);
    rp->prev_first = name;
    rp->prev_end = r.pos;
    rp->s->files->log_since_snapshot += r.pos;
    log_reader_done(&r);
    return rc;
}

/* Segments with nothing but what the snapshot has are leftovers of an interrupted
 * clean-up and not looked at. */
static int
replay_segments(struct replay *rp, const store_revisions *segs, struct error *e)
{
    size_t first = 0;

    if (segs->len == 0 && rp->from_snapshot)
        return error_set(e, ERR_CORRUPT, "%s: there is a snapshot but no log",
                         rp->s->files->log_dir);
    while (rp->from_snapshot && first + 1 < segs->len &&
           segs->items[first + 1] <= rp->base + 1)
        first++;
    if (rp->from_snapshot && segs->items[first] > rp->base + 1)
        return error_set(e, ERR_CORRUPT,
                         "%s: the log after revision %" PRIu64
                         " is missing; it starts at %" PRIu64,
                         rp->s->files->log_dir, rp->base, segs->items[first]);
    for (size_t i = first; i < segs->len; i++) {
        int rc = replay_segment(rp, segs->items[i], i == first, i + 1 == segs->len, e);
        if (rc < 0)
            return rc;
    }
    if (segs->len - first > SEGMENTS_MANY)
        rp->s->files->log_since_snapshot += rp->s->opts.snapshot_after;
    return 0;
}

static int
replay(struct replay *rp, const store_revisions *snaps, const store_revisions *segs,
       struct error *e)
{
    struct error damaged = ERROR_INIT;
    int rc = load_newest(rp, snaps, &damaged, e);

    if (rc < 0)
        return rc;
    hub_start_at(&rp->s->hub, rp->base);
    if (segs->len > 0 &&
        (rc = log_back_oldest(rp->s->files->log_dir, &rp->s->files->retained, e)) < 0)
        return rc;
    rc = replay_segments(rp, segs, e);
    /* The damaged snapshot is the cause, the hole in the log only how it shows. */
    if (rc == -ERR_CORRUPT && damaged.code != ERR_OK)
        return error_prepend(e, "%s", damaged.msg);
    return rc;
}

int
store_replay(struct store *s, struct log_head *ret_start, struct error *e)
{
    struct replay rp = {.s = s,
                        .scratch = STR_INIT(OBJECT_MAX_BYTES + 1),
                        .opened = STR_INIT(OBJECT_MAX_BYTES)};
    store_revisions snaps = {0};
    store_revisions segs = {0};
    int rc = s->opts.read_only ? 0 : store_files_clean(s->files->log_dir, s->opts.fs, e);

    if (rc == 0 && !s->opts.read_only)
        rc = store_files_clean(s->files->snapshot_dir, s->opts.fs, e);
    if (rc == 0)
        rc = store_files_list(s->files->snapshot_dir, ".snap", &snaps, e);
    if (rc == 0)
        rc = store_files_list(s->files->log_dir, ".log", &segs, e);
    if (rc == 0)
        rc = replay(&rp, &snaps, &segs, e);
    vec_done(&snaps);
    vec_done(&segs);
    str_done(&rp.scratch);
    str_done(&rp.opened);
    if (rc == 0 && rp.floor > FLOOR_LIMIT - STORE_FLOOR_BLOCK)
        rc = error_set(e, ERR_CORRUPT, "floor %" PRIu64, rp.floor);
    if (rc < 0)
        return rc;
    s->files->last = rp.last > rp.base ? rp.last : rp.base;
    *ret_start = (struct log_head){
        .first = rp.floor + 1,
        .floor = rp.floor + STORE_FLOOR_BLOCK,
        .prev_first = rp.prev_first,
        .prev_end = rp.prev_end,
    };
    return 0;
}
