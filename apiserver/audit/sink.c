/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines wait in a list; one batch at a time is with the writer's thread, which owns the
 * file. A file that is full is renamed to <name>-<time>.<ext> (as the field's log files
 * are) and the oldest of those go.
 */
#include "apiserver/audit/sink.h"

#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/jtok.h"
#include "api/yaml.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/vec.h"

LOG_MODULE(audit);

enum { BUFFER_DEFAULT = 16 << 20, LINE_MAX_BYTES = 16 << 20, LINE_COST = 256 };

STAILQ_HEAD(lines, audit_line);

struct audit_sink {
    struct loop *loop;
    struct loop_pool *pool;
    struct loop_hook *hook;
    struct lines waiting;
    size_t n_waiting, buffer; /* bytes; those with the writer too */
    bool busy, closing;
    struct {
        void (*fn)(void *arg);
        void *arg;
    } flush;
    struct audit_stats stats;
    /* --- the writer's while busy */
    struct lines batch;
    size_t n_batch;
    uint64_t batch_errors, batch_rotations;
    int fd;
    int64_t size, max_bytes, backups, max_age_s;
    char *path;
};

void
audit_line_free(struct audit_line *line)
{
    str_done(&line->head);
    free(line->request);
    free(line->response);
    free(line);
}

static size_t
cost(const struct audit_line *l)
{
    return LINE_COST + l->head.len + l->n_request + l->n_response;
}

/* --- the writer: lines
 * --------------------------------------------------------------------- */

static void
drop_managed(json_t *object)
{
    json_t *items = json_object_get(object, "items");
    json_t *item;
    size_t i;

    json_object_del(json_object_get(object, "metadata"), "managedFields");
    json_array_foreach (items, i, item) {
        json_object_del(json_object_get(item, "metadata"), "managedFields");
    }
}

static json_t *
parse(const char *body, size_t n)
{
    json_t *doc = json_loadb(body, n, 0, NULL);
    struct yaml_docs docs = {0};
    struct error e = ERROR_INIT;

    if (doc != NULL || yaml_read(body, n, false, &docs, &e) < 0)
        return doc;
    if (docs.list.len == 1)
        doc =
            json_loadb(docs.list.items[0].json.ptr, docs.list.items[0].json.len, 0, NULL);
    yaml_docs_done(&docs);
    return doc;
}

/* What is not JSON or YAML (protobuf) is left out. A Secret in a body (as in a patch of a
 * mixed kind) cannot be: those requests have no bodies here. */
static void
put_body(struct str *line, const char *key, const char *body, size_t n, bool omit)
{
    json_t *doc = body == NULL || n == 0 ? NULL : parse(body, n);

    if (!json_is_object(doc) && !json_is_array(doc)) {
        json_decref(doc);
        return;
    }
    if (omit)
        drop_managed(doc);
    char *text = json_dumps(doc, JSON_COMPACT);
    json_decref(doc);
    if (text == NULL)
        return;
    jput_key(line, key);
    str_adds(line, text);
    free(text);
}

static void
put_line(struct str *out, const struct audit_line *l)
{
    auto_str line = STR_INIT(LINE_MAX_BYTES);

    str_add(&line, l->head.ptr, l->head.len);
    put_body(&line, "requestObject", l->request, l->n_request, l->omit_managed_fields);
    put_body(&line, "responseObject", l->response, l->n_response, l->omit_managed_fields);
    if (line.toobig) { /* better the fact than nothing */
        str_reset(&line);
        str_add(&line, l->head.ptr, l->head.len);
    }
    str_adds(&line, "}\n");
    str_add(out, line.ptr, line.len);
}

/* --- the writer: files
 * --------------------------------------------------------------------- */

static int
open_file(struct audit_sink *s, struct error *e)
{
    struct stat st;

    s->fd = open(s->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (s->fd < 0 || fstat(s->fd, &st) < 0)
        return error_errno(e, errno, "open %s", s->path);
    s->size = st.st_size;
    return 0;
}

struct backup {
    char *path;
    int64_t at_s;
};

static int
by_name(const void *a, const void *b)
{
    /* Names hold the time: the newest first. */
    return -strcmp(((const struct backup *)a)->path, ((const struct backup *)b)->path);
}

/* "dir/audit.log" -> "dir/", "audit-", ".log". */
struct parts {
    char *dir, *stem, *ext;
};

static struct parts
split(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash == NULL ? path : slash + 1;
    const char *dot = strrchr(name, '.');

    if (dot == NULL)
        dot = name + strlen(name);
    return (struct parts){slash == NULL ? xstrdup(".")
                                        : xstrndup(path, (size_t)(slash - path)),
                          xasprintf("%.*s-", (int)(dot - name), name), xstrdup(dot)};
}

static void
parts_done(struct parts *p)
{
    free(p->dir);
    free(p->stem);
    free(p->ext);
}

static void
remove_old(const struct audit_sink *s)
{
    struct parts p = split(s->path);
    DIR *d = opendir(p.dir);
    const struct dirent *de;
    vec(struct backup) found = {0};

    while (d != NULL && (de = readdir(d)) != NULL) {
        struct stat st;
        if (!str_starts(de->d_name, p.stem) || !str_ends(de->d_name, p.ext))
            continue;
        char *path = fs_join(p.dir, de->d_name);
        int64_t at = stat(path, &st) == 0 ? st.st_mtime : 0;
        vec_push(&found, ((struct backup){path, at}));
    }
    if (d != NULL)
        closedir(d);
    if (found.len > 1)
        qsort(found.items, found.len, sizeof(found.items[0]), by_name);
    int64_t now = clock_wall_ns() / 1000000000;
    for (size_t i = 0; i < found.len; i++) {
        bool old = s->max_age_s > 0 && now - found.items[i].at_s > s->max_age_s;
        if ((int64_t)i >= s->backups || old)
            unlink(found.items[i].path);
        free(found.items[i].path);
    }
    vec_done(&found);
    parts_done(&p);
}

static void
rotate(struct audit_sink *s)
{
    struct error e = ERROR_INIT;
    struct parts p = split(s->path);
    char ts[CLOCK_RFC3339_US_LEN];

    clock_format_us(clock_wall_ns(), ts);
    for (char *c = ts; *c != '\0'; c++)
        *c = *c == ':' ? '-' : *c;
    autofree char *to = xasprintf("%s/%s%s%s", p.dir, p.stem, ts, p.ext);
    parts_done(&p);
    if (rename(s->path, to) < 0) {
        log_warn_rl("audit log not rotated", "path=%s error=\"%s\"", s->path,
                    strerrordesc_np(errno));
        return;
    }
    close(s->fd);
    s->batch_rotations++;
    if (open_file(s, &e) < 0)
        log_warn_rl("audit log not opened", "error=\"%s\"", e.msg);
    remove_old(s);
}

static void
write_out(struct audit_sink *s, struct str *out, uint64_t n)
{
    struct error e = ERROR_INIT;

    if (out->len == 0)
        return;
    if (s->fd < 0 && open_file(s, &e) < 0) {
        s->batch_errors += n;
        return;
    }
    if (s->max_bytes > 0 && s->size > 0 && s->size + (int64_t)out->len > s->max_bytes)
        rotate(s);
    if (s->fd < 0 || fs_write_all(s->fd, out->ptr, out->len, &e) < 0) {
        s->batch_errors += n;
        log_warn_rl("audit log not written", "path=%s error=\"%s\"", s->path, e.msg);
    }
    s->size += (int64_t)out->len;
    str_reset(out);
}

static void
work(void *arg)
{
    struct audit_sink *s = arg;
    auto_str out = STR_INIT(2 * LINE_MAX_BYTES);
    struct audit_line *l;
    uint64_t n = 0;
    int64_t piece = s->max_bytes > 0 && s->max_bytes < LINE_MAX_BYTES / 4
                        ? s->max_bytes / 4
                        : LINE_MAX_BYTES / 4;

    while ((l = STAILQ_FIRST(&s->batch)) != NULL) {
        STAILQ_REMOVE_HEAD(&s->batch, link);
        put_line(&out, l);
        audit_line_free(l);
        n++;
        if ((int64_t)out.len >= piece) {
            write_out(s, &out, n);
            n = 0;
        }
    }
    write_out(s, &out, n);
}

/* --- the loop
 * ------------------------------------------------------------------------------ */

static void start(void *arg);

static void
done(void *arg)
{
    struct audit_sink *s = arg;

    s->busy = false;
    s->n_waiting -= s->n_batch;
    s->stats.errors += s->batch_errors;
    s->stats.rotations += s->batch_rotations;
    s->batch_errors = s->batch_rotations = 0;
    start(s);
}

/* At the end of a turn: what came in it goes together. */
static void
start(void *arg)
{
    struct audit_sink *s = arg;

    if (s->busy || s->closing)
        return;
    if (STAILQ_EMPTY(&s->waiting)) {
        void (*fn)(void *) = s->flush.fn;
        s->flush.fn = NULL;
        if (fn != NULL)
            fn(s->flush.arg);
        return;
    }
    s->busy = true;
    s->n_batch = s->n_waiting;
    STAILQ_CONCAT(&s->batch, &s->waiting);
    loop_pool_run(s->pool, work, done, s);
}

void
audit_sink_put(struct audit_sink *s, struct audit_line *line)
{
    size_t n = cost(line);

    if (s->n_waiting + n > s->buffer) {
        s->stats.dropped++;
        audit_line_free(line);
        return;
    }
    s->stats.events++;
    s->n_waiting += n;
    STAILQ_INSERT_TAIL(&s->waiting, line, link);
}

void
audit_sink_flush(struct audit_sink *s, void (*fn)(void *arg), void *arg)
{
    s->flush.fn = fn;
    s->flush.arg = arg;
}

struct audit_stats
audit_sink_stats(const struct audit_sink *s)
{
    struct audit_stats st = s->stats;

    st.waiting = s->n_waiting;
    return st;
}

int
audit_sink_open(const struct audit_opts *o, struct audit_sink **ret, struct error *e)
{
    struct audit_sink *s = xnew(struct audit_sink);
    autofree char *copy = xstrdup(o->log_file);

    s->loop = o->loop;
    s->path = xstrdup(o->log_file);
    s->max_bytes = o->max_bytes;
    s->backups = o->backups;
    s->max_age_s = o->max_age_s;
    s->buffer = o->buffer_bytes == 0 ? BUFFER_DEFAULT : o->buffer_bytes;
    s->fd = -1;
    STAILQ_INIT(&s->waiting);
    STAILQ_INIT(&s->batch);
    if (fs_mkdirs(dirname(copy), 0700, e) < 0 || open_file(s, e) < 0) {
        audit_sink_close(s);
        return -(int)e->code;
    }
    s->pool = loop_pool_new(o->loop, "audit", 1);
    s->hook = loop_before_sleep(o->loop, "audit", start, s);
    *ret = s;
    return 0;
}

void
audit_sink_close(struct audit_sink *s)
{
    if (s == NULL)
        return;
    loop_hook_free(s->hook);
    s->closing = true;
    loop_pool_free(s->pool); /* waits for the batch that is out */
    STAILQ_CONCAT(&s->batch, &s->waiting);
    work(s);
    if (s->fd >= 0)
        close(s->fd);
    free(s->path);
    free(s);
}
