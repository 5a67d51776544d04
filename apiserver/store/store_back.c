/* SPDX-License-Identifier: Apache-2.0 */
/* A batch is whole commits; a batch that is read to its end starts the next. */
#include "apiserver/store/store_back.h"

#include "apiserver/store/store_internal.h"
#include "apiserver/store/store_log_reader.h"
#include "apiserver/store/store_seal.h"
#include "base/mem.h"

enum { BATCH_EVENTS = 64, BATCH_BYTES = 1 << 20 };

struct back_event {
    uint64_t revision;
    enum store_event_type type;
    struct object *obj, *prev;
};

/* What the pool thread works on; its own while it runs. */
struct back_job {
    struct store_back *b; /* NULL: nobody waits any more */
    const char *log_dir;
    const struct keyring *seal;
    struct kind *kind;
    const char *resource;
    char *ns, *name;
    uint64_t from, to;
    size_t skip;
    vec(struct back_event) events;
    uint64_t position;
    bool whole; /* the log had no more */
    struct error e;
};

struct store_back {
    struct store *s;
    struct store_back_opts o;
    char *ns, *name;
    struct back_job *running, *job; /* job: being returned */
    size_t at;
    uint64_t position;
    size_t skip;
    bool whole;
};

/* --- on the pool thread --- */

static int
make_object(const struct back_job *j, struct span bytes, uint64_t revision,
            struct object **ret, struct error *e)
{
    auto_str opened = STR_INIT(2 * OBJECT_MAX_BYTES);

    if (store_seal_wants(j->seal, j->resource)) {
        int rc = store_unseal(j->seal, bytes, &opened, e);
        if (rc < 0)
            return rc;
        bytes = (struct span){opened.ptr, opened.len};
    }
    return object_new(j->kind, bytes.ptr, bytes.len, revision, ret, e);
}

static int
make_event(const struct back_job *j, struct log_back *log, const struct log_change *c,
           struct back_event *ret, struct error *e)
{
    auto_str before = STR_INIT(2 * OBJECT_MAX_BYTES);
    auto_object *prev = NULL;
    auto_object *obj = NULL;
    int rc = 0;

    if (c->prev != 0) {
        rc = log_back_version(log, c, c->prev, &before, e);
        if (rc == 1)
            rc = make_object(j, (struct span){before.ptr, before.len}, c->prev, &prev, e);
    }
    if (rc >= 0 && c->object.len > 0)
        rc = make_object(j, c->object, c->revision, &obj, e);
    else if (rc >= 0 && prev != NULL)
        obj = object_with_revision(prev, c->revision);
    if (rc < 0)
        return rc;
    /* Without the version before, nobody can tell who saw it: what a watcher has missed
     * is not made up. It lists again. */
    if (obj == NULL || (c->prev != 0 && prev == NULL))
        return error_set(e, ERR_EXPIRED,
                         "too old resource version: the log no longer has "
                         "a version that is needed");
    *ret = (struct back_event){.revision = c->revision,
                               .type = c->del         ? STORE_DELETED
                                       : c->prev == 0 ? STORE_ADDED
                                                      : STORE_MODIFIED,
                               .obj = move_ptr(obj),
                               .prev = move_ptr(prev)};
    return 0;
}

static bool
is_wanted(const struct back_job *j, const struct log_change *c)
{
    return span_eq(c->resource, j->resource) &&
           (j->ns == NULL || span_eq(c->ns, j->ns)) &&
           (j->name == NULL || span_eq(c->name, j->name));
}

static int
read_changes(struct back_job *j, struct log_back *log, struct error *e)
{
    struct log_change c;
    size_t bytes = 0, skipped = 0;
    int rc;

    while ((rc = log_back_next(log, &c, e)) == 1) {
        if (c.revision != j->position &&
            (j->events.len >= BATCH_EVENTS || bytes >= BATCH_BYTES))
            return 0;
        j->position = c.revision;
        if (c.revision == j->from + 1 && skipped++ < j->skip)
            continue;
        if (!is_wanted(j, &c))
            continue;
        struct back_event ev = {0};
        if ((rc = make_event(j, log, &c, &ev, e)) < 0)
            return rc;
        bug_if(ev.obj == NULL);
        bytes += ev.obj->len;
        vec_push(&j->events, ev);
    }
    if (rc < 0)
        return rc;
    j->whole = true;
    if (log_back_position(log) > j->position)
        j->position = log_back_position(log);
    return 0;
}

static void
work(void *arg)
{
    struct back_job *j = arg;
    struct log_back *log = NULL;

    int rc = log_back_open(j->log_dir, j->from, j->to, &log, &j->e);
    if (rc == 0)
        rc = read_changes(j, log, &j->e);
    log_back_close(log);
    bug_if(rc < 0 && j->e.code == ERR_OK);
}

/* --- on the loop --- */

static void
job_free(struct back_job *j)
{
    for (size_t i = 0; j != NULL && i < j->events.len; i++) {
        object_unref(j->events.items[i].obj);
        object_unref(j->events.items[i].prev);
    }
    if (j == NULL)
        return;
    vec_done(&j->events);
    kind_unref(j->kind);
    free(j->ns);
    free(j->name);
    free(j);
}

static void
done(void *arg)
{
    struct back_job *j = arg;
    struct store_back *b = j->b;

    if (b == NULL) {
        job_free(j);
        return;
    }
    b->running = NULL;
    b->job = j;
    b->at = 0;
    b->o.ready(b->o.arg);
}

static void
start(struct store_back *b)
{
    struct store *s = b->s;
    struct back_job *j = xnew(struct back_job);
    const struct kind *kind = store_kind(s, b->o.resource);

    j->b = b;
    j->log_dir = s->files->log_dir;
    j->seal = s->opts.seal;
    j->kind = kind == NULL ? NULL : kind_ref(kind);
    j->resource = b->o.resource;
    j->ns = b->ns == NULL ? NULL : xstrdup(b->ns);
    j->name = b->name == NULL ? NULL : xstrdup(b->name);
    j->from = j->position = b->position;
    j->to = s->visible;
    j->skip = b->skip;
    b->skip = 0;
    b->running = j;
    if (s->opts.inline_sync) {
        work(j);
        b->running = NULL;
        b->job = j;
        b->at = 0;
        return;
    }
    if (s->files->back_pool == NULL)
        s->files->back_pool = loop_pool_new(s->loop, "read-back", 1);
    loop_pool_run(s->files->back_pool, work, done, j);
}

bool
store_back_can(const struct store *s, const char *resource, uint64_t from)
{
    const struct store_resource *r =
        resource == NULL ? NULL : map_get(s->resources, resource);

    const struct kind *k = r == NULL ? NULL : store_kind(s, resource);

    return s->files != NULL && r != NULL && !r->lazy &&
           (k == NULL || (!k->lazy && !k->lazy_lease)) && from >= store_retained(s);
}

struct store_back *
store_back_new(struct store *s, const struct store_back_opts *o)
{
    struct store_back *b = xnew(struct store_back);

    b->s = s;
    b->o = *o;
    b->ns = o->ns == NULL ? NULL : xstrdup(o->ns);
    b->name = o->name == NULL ? NULL : xstrdup(o->name);
    b->position = o->from;
    b->skip = o->skip;
    return b;
}

void
store_back_free(struct store_back *b)
{
    if (b == NULL)
        return;
    if (b->running != NULL)
        b->running->b = NULL;
    job_free(b->job);
    free(b->ns);
    free(b->name);
    free(b);
}

int
store_back_next(struct store_back *b, struct store_event *ret, uint64_t *ret_position,
                struct error *e)
{
    for (;;) {
        if (b->job == NULL && b->running == NULL)
            start(b);
        struct back_job *j = b->job;
        if (j == NULL)
            return 0;
        if (b->at < j->events.len) {
            struct back_event *ev = &j->events.items[b->at++];
            *ret = (struct store_event){.revision = ev->revision,
                                        .type = ev->type,
                                        .resource = b->o.resource,
                                        .obj = move_ptr(ev->obj),
                                        .prev = move_ptr(ev->prev)};
            return 1;
        }
        if (j->e.code != ERR_OK) {
            *e = j->e;
            return -(int)e->code;
        }
        bool whole = j->whole;
        b->position = *ret_position = j->position;
        job_free(j);
        b->job = NULL;
        if (whole)
            return 2;
    }
}
