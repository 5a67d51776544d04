/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drover store check. First every file by itself, also those that a start would not look
 * at: heads, records, checksums, operations, objects. Then all together, as a start would
 * read them.
 */
#include <inttypes.h>
#include <stdio.h>

#include "api/jtok.h"
#include "apiserver/registry/kinds.h"
#include "apiserver/store/store_internal.h"
#include "apiserver/store/store_reader.h"
#include "apiserver/tools/tool.h"
#include "base/fs.h"
#include "base/mem.h"

struct totals {
    uint64_t files, bytes, records, commits, first, last;
    struct str scratch;
};

static int
check_object(struct totals *t, const struct log_op *op, struct error *e)
{
    str_reset(&t->scratch);
    int rc = jcanon(op->object.ptr, op->object.len, &t->scratch, e);

    if (rc < 0 || t->scratch.len != op->object.len ||
        memcmp(t->scratch.ptr, op->object.ptr, op->object.len) != 0)
        return error_set(e, ERR_CORRUPT, SPAN_FMT " \"" SPAN_FMT "\": not canonical JSON",
                         SPAN_ARG(op->resource), SPAN_ARG(op->name));
    return 0;
}

static int
check_ops(struct totals *t, const struct log_record *rec, struct error *e)
{
    struct log_ops ops;
    struct log_op op;
    int rc;

    log_ops_init(&ops, rec);
    while ((rc = log_ops_next(&ops, &op, e)) == 1) {
        if (op.object.len > 0 && (rc = check_object(t, &op, e)) < 0)
            return rc;
    }
    return rc;
}

static int
check_record(struct totals *t, const struct log_reader *r, const struct log_record *rec,
             struct error *e)
{
    t->records++;
    if (rec->type == LOG_COMMIT) {
        t->commits++;
        t->first = t->first == 0 ? rec->revision : t->first;
        t->last = rec->revision;
    }
    if ((rec->type == LOG_COMMIT || rec->type == LOG_ITEMS) && check_ops(t, rec, e) < 0)
        return error_prepend(e, "%s: record at offset %" PRIu64, r->path, rec->offset);
    return 0;
}

/* *ret_end: behind the last record. */
static int
check_records(struct totals *t, struct log_reader *r, enum log_read *ret_what,
              struct error *e)
{
    struct log_record rec;
    int rc;

    while ((rc = log_reader_next(r, &rec, ret_what, e)) == 0 &&
           *ret_what == LOG_READ_RECORD) {
        if ((rc = check_record(t, r, &rec, e)) < 0 || rec.type == LOG_END)
            break;
    }
    t->files++;
    t->bytes += r->pos;
    return rc;
}

static int
check_segment(struct totals *t, const char *path, bool last, struct error *e)
{
    struct log_reader r;
    enum log_read what = LOG_READ_END;
    bool attested = true;
    int rc = log_reader_open(&r, &store_fs_real, path, LOG_MAGIC, e);

    if (rc < 0)
        return rc;
    rc = check_records(t, &r, &what, e);
    if (rc == 0 && what == LOG_READ_BAD && last)
        rc = log_reader_attested(&r, &attested, e);
    if (rc == 0 && what == LOG_READ_BAD && attested)
        rc = error_set(e, ERR_CORRUPT, "%s: damaged record at offset %" PRIu64, path,
                       r.pos);
    else if (rc == 0 && what == LOG_READ_BAD)
        printf("log: %s: a torn write at offset %" PRIu64
               ", never acknowledged; a start cuts it\n",
               path, r.pos);
    log_reader_done(&r);
    return rc;
}

int
tool_verify_snapshot(const char *path, struct snapshot_facts *ret, struct error *e)
{
    struct totals t = {.scratch = STR_INIT(OBJECT_MAX_BYTES + 1)};
    struct log_reader r;
    enum log_read what = LOG_READ_END;
    int rc = log_reader_open(&r, &store_fs_real, path, LOG_SNAP_MAGIC, e);

    if (rc < 0)
        return rc;
    rc = check_records(&t, &r, &what, e);
    if (rc == 0 && (what != LOG_READ_RECORD || r.pos != r.size))
        rc = error_set(e, ERR_CORRUPT, "%s: damaged record at offset %" PRIu64, path,
                       r.pos);
    *ret = (struct snapshot_facts){
        .revision = r.head.first, .floor = r.head.floor, .bytes = r.size};
    if (rc == 0)
        ret->objects = log_get64(r.window + (r.pos - log_record_size(8) - r.window_at) +
                                 LOG_RECORD_HEAD);
    log_reader_done(&r);
    str_done(&t.scratch);
    return rc;
}

static int
check_log(const struct tool *tool, struct error *e)
{
    struct totals t = {.scratch = STR_INIT(OBJECT_MAX_BYTES + 1)};
    autofree char *dir = tool_path(tool, "log");
    store_revisions segs = {0};
    int rc = store_files_list(dir, ".log", &segs, e);

    for (size_t i = 0; rc == 0 && i < segs.len; i++) {
        autofree char *path = store_files_path(dir, segs.items[i], ".log");
        rc = check_segment(&t, path, i + 1 == segs.len, e);
    }
    if (rc == 0)
        printf("log: %" PRIu64 " segments, %" PRIu64 " records of %" PRIu64
               " bytes, %" PRIu64 " commits from revision %" PRIu64 " to %" PRIu64 "\n",
               t.files, t.records, t.bytes, t.commits, t.first, t.last);
    vec_done(&segs);
    str_done(&t.scratch);
    return rc;
}

static int
check_snapshots(const struct tool *tool, struct error *e)
{
    autofree char *dir = tool_path(tool, "snapshot");
    store_revisions snaps = {0};
    int rc = store_files_list(dir, ".snap", &snaps, e);

    if (rc == 0 && snaps.len == 0)
        printf("snapshots: none\n");
    for (size_t i = 0; rc == 0 && i < snaps.len; i++) {
        autofree char *path = store_files_path(dir, snaps.items[i], ".snap");
        struct snapshot_facts f;
        rc = tool_verify_snapshot(path, &f, e);
        if (rc == 0)
            printf("snapshot: revision %" PRIu64 ", %" PRIu64 " objects, %" PRIu64
                   " bytes\n",
                   f.revision, f.objects, f.bytes);
    }
    vec_done(&snaps);
    return rc;
}

/* The facts that came from a snapshot are those that the object has. */
static int
check_facts(const struct kind *k, const struct object *o, struct error *e)
{
    size_t n = object_facts_size(o);
    auto_object *again = NULL;
    int rc = object_new(k, o->bytes, o->len, o->revision, &again, e);

    if (rc < 0)
        return rc;
    autofree char *a = xmalloc(n);
    autofree char *b = xmalloc(n);
    object_facts_write(o, 0, a);
    if (object_facts_size(again) == n)
        object_facts_write(again, 0, b);
    if (object_facts_size(again) != n || memcmp(a, b, n) != 0)
        return error_set(e, ERR_CORRUPT, "%s/%s: its facts are not those of its bytes",
                         o->ns, o->name);
    return 0;
}

struct facts_check {
    struct tool *t;
    struct error *e;
    size_t resources;
    int rc;
};

static void
check_resource(void *arg, const char *resource)
{
    struct facts_check *c = arg;
    const struct kind *k = kinds_kind_of(c->t->kinds, resource);
    struct store_list *l = store_list(c->t->store, resource, NULL, NULL);
    const struct object *o;

    c->resources++;
    while (c->rc == 0 && (o = store_list_next(l)) != NULL) {
        c->rc = check_facts(k, o, c->e);
        if (c->rc < 0)
            error_prepend(c->e, "%s", resource);
    }
    store_list_free(l);
}

int
tool_check(struct tool *t, struct error *e)
{
    autofree char *lock = tool_path(t, "log/lock");
    autofree char *dir = tool_path(t, "log");
    autoclose int fd = -1;
    struct store_stats st;

    if (access(dir, F_OK) != 0)
        return error_set(e, ERR_NOT_FOUND, "%s: there is no store", t->data_dir);
    int rc = fs_lock(lock, &fd, e);
    if (rc < 0)
        return error_prepend(e, "%s is in use; stop the server first", t->data_dir);
    if ((rc = check_log(t, e)) < 0 || (rc = check_snapshots(t, e)) < 0)
        return rc;
    close(move_fd(fd)); /* the store takes it */
    if ((rc = tool_open(t, TOOL_READ, e)) < 0)
        return rc;
    struct facts_check facts = {.t = t, .e = e};
    store_resources(t->store, check_resource, &facts);
    if (facts.rc < 0)
        return facts.rc;
    store_stats(t->store, &st);
    printf("objects: %zu in %zu resources, %zu bytes, at revision %" PRIu64
           "; watches from %" PRIu64 "\nok\n",
           st.objects, facts.resources, st.object_bytes, st.revision,
           store_retained(t->store));
    return 0;
}
