/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The impure half of a write: read what is there (commits waiting for the disk included),
 * compute the next state, commit with compare-and-swap, start over when the object moved
 * in between, and tell the caller when it is durable.
 */
#include <stdlib.h>

#include "apiserver/registry/history.h"
#include "apiserver/registry/loops.h"
#include "apiserver/registry/priority.h"
#include "apiserver/registry/server_internal.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"

LOG_MODULE(api);

enum {
    POOL_BYTES = 64 * 1024, /* larger inputs are computed on the pool */
    RETRIES_MAX = 5,
    LATE_RETRIES_MAX = 200, /* each of them because another write got through */
    NAME_TRIES_MAX = 8,
    GENERATE_SUFFIX = 5,
};

TAILQ_HEAD(writes, write);

/* Computations of one object on the pool stand in line: otherwise all but one would have
 * worked on a state that is gone when they are done. */
struct line {
    struct writes waiting;
};

struct write {
    TAILQ_ENTRY(write) entry; /* while it waits in a line */
    struct api_server *s;
    struct kind *kind;
    enum write_type type;
    bool internal, is_delete;
    bool converted; /* what is stored is another object than out.obj */
    char *ns, *name, *sub, *author;
    struct str body;
    struct write_options opt;
    struct delete_options del;
    struct api_user *user; /* a reference, or NULL */
    char *generate_base;   /* metadata.generateName when there is no name */
    unsigned tries, late_tries;
    bool fresh;                               /* the view is newer than this request */
    struct kind *versions[KIND_VERSIONS_MAX]; /* of the kind, when it has several */
    size_t n_versions;
    struct object *live; /* a reference; NULL: absent */
    struct compute_in in;
    struct compute_out out;
    /* History: the latest Revision of live, and the one that this write makes; or NULL.
     */
    bool keeps_history;
    const struct kind *revisions;
    const struct keyring *keys;
    struct object *previous, *revision;
    struct quota_use quota; /* what a create takes */
    write_done_fn *done;
    void *arg;
};

static void attempt(struct write *w);
static void commit(struct write *w);

static void
drop_versions(struct write *w)
{
    for (size_t i = 0; i < w->n_versions; i++)
        kind_unref(w->versions[i]);
    w->n_versions = 0;
}

/* Owners of fields may have written them in any version of the kind. */
static void
take_versions(struct write *w)
{
    const struct kinds *k = w->s->kinds;

    drop_versions(w);
    if (kinds_versions(k, w->kind->resource) < 2)
        return;
    for (size_t i = 0; i < kinds_len(k) && w->n_versions < KIND_VERSIONS_MAX; i++) {
        const struct kind *version = kinds_at(k, i)->kind;
        if (streq(version->resource, w->kind->resource))
            w->versions[w->n_versions++] = kind_ref(version);
    }
}

static void
write_free(struct write *w)
{
    object_unref(w->live);
    object_unref(w->out.obj);
    object_unref(w->previous);
    object_unref(w->revision);
    quota_use_done(&w->quota);
    problem_done(&w->out.problem);
    drop_versions(w);
    kind_unref(w->kind);
    str_done(&w->body);
    free(w->author);
    user_unref(w->user);
    free(w->generate_base);
    free(w->ns);
    free(w->name);
    free(w->sub);
    free(w);
}

/* Ends the write: with an object on success, with out.problem otherwise. */
static void
finish(struct write *w, struct object *obj)
{
    struct write_result r = {.obj = obj, .problem = &w->out.problem};

    if (obj != NULL) {
        r.created = w->out.created;
        r.gone = w->out.gone;
    }
    if (w->internal && w->user == NULL)
        observe_own(w->s, w->kind,
                    w->is_delete              ? "delete"
                    : w->type == WRITE_CREATE ? "create"
                    : w->type == WRITE_UPDATE ? "update"
                                              : "patch",
                    w->ns, w->name,
                    obj == NULL ? error_http_status(w->out.problem.e.code)
                    : r.created ? 201
                                : 200);
    w->done(w->arg, &r);
    write_free(w);
}

static void
reset_out(struct write *w)
{
    quota_use_done(&w->quota);
    object_unref(w->out.obj);
    object_unref(w->previous);
    object_unref(w->revision);
    w->previous = w->revision = NULL;
    problem_done(&w->out.problem);
    w->out = (struct compute_out){0};
    problem_init(&w->out.problem, w->kind, w->name);
}

static struct store_key
key_of(const struct write *w)
{
    return (struct store_key){w->kind->resource, w->ns, w->name};
}

static void lost_race(struct write *w, const struct error *e);

static void
on_fresh(void *arg, uint64_t revision, const struct error *e)
{
    struct write *w = arg;

    UNUSED(revision);
    if (e == NULL) {
        w->fresh = true;
        attempt(w);
        return;
    }
    w->out.problem.e = *e;
    w->out.problem.form = PROBLEM_PLAIN;
    finish(w, NULL);
}

/* Ends the write as the view has it, unless another server may know better: then it is
 * looked at again in a view that is new enough. */
static void
conclude(struct write *w, struct object *obj)
{
    if (w->fresh || store_sync(w->s->store, on_fresh, w))
        finish(w, obj);
}

static bool
is_race(const struct error *e)
{
    return e->code == ERR_CONFLICT || e->code == ERR_EXISTS || e->code == ERR_NOT_FOUND;
}

/* A deletion makes room on a full disk, and an object may be too large to be written
 * twice in one commit: then it goes without its history rather than not at all. */
static bool
without_history(struct write *w, const struct error *e)
{
    if (w->revision == NULL ||
        !(e->code == ERR_TOO_LARGE || (e->code == ERR_FULL && w->out.gone)))
        return false;
    if (w->s->history != NULL)
        history_not_kept(w->s->history, w->kind, w->live, e);
    object_unref(w->revision);
    w->revision = NULL;
    commit(w);
    return true;
}

/* A create starts over only when it was a quota that moved. */
static bool
may_retry(const struct write *w, const struct error *e)
{
    return w->type != WRITE_CREATE || (w->quota.n > 0 && e->code == ERR_CONFLICT);
}

static void
on_commit(void *arg, uint64_t revision, const struct error *e)
{
    struct write *w = arg;

    if (e == NULL && w->converted) {
        struct object *o = object_with_revision(w->out.obj, revision);
        object_unref(w->out.obj);
        w->out.obj = o;
    }
    if (e == NULL) {
        finish(w, w->out.obj);
        return;
    }
    if (without_history(w, e))
        return;
    if (is_race(e)) { /* lost to another server; the view has what won */
        w->fresh = true;
        if (may_retry(w, e) && ++w->late_tries < LATE_RETRIES_MAX)
            attempt(w);
        else
            lost_race(w, e);
        return;
    }
    w->out.problem.e = *e;
    w->out.problem.form = PROBLEM_PLAIN;
    finish(w, NULL);
}

/* Whether a Lease is only renewed by who holds it. */
static bool
is_renewal(const struct write *w)
{
    struct span a, b;

    if (!w->kind->lazy_lease || w->live == NULL || w->out.gone)
        return false;
    return object_path(w->live, "spec.holderIdentity", &a) &&
           object_path(w->out.obj, "spec.holderIdentity", &b) && a.len == b.len &&
           memcmp(a.ptr, b.ptr, a.len) == 0;
}

static enum store_durability
durability(const struct write *w)
{
    if (w->kind->lazy)
        return STORE_LAZY;
    return is_renewal(w) ? STORE_MEMORY : STORE_DURABLE;
}

/* The object moved or appeared since it was read. */
static void
lost_race(struct write *w, const struct error *e)
{
    struct problem *p = &w->out.problem;

    if (w->generate_base != NULL && e->code == ERR_EXISTS) {
        if (++w->tries < NAME_TRIES_MAX) {
            attempt(w);
            return;
        }
        problem_set(p, ERR_EXISTS,
                    "%s \"%s\" already exists, the server was not able to generate a "
                    "unique name for the object",
                    w->kind->resource, w->name);
        p->e.retry_after_ms = 1000;
    } else if (++w->tries < RETRIES_MAX && may_retry(w, e)) {
        attempt(w);
        return;
    } else if (e->code == ERR_EXISTS) {
        problem_exists(p);
    } else if (e->code == ERR_NOT_FOUND) {
        problem_not_found(p);
    } else {
        problem_modified(p);
    }
    finish(w, NULL);
}

/* The form in which it is stored: that of the storage version as it is now. */
static int
stored_form(struct write *w, struct object **ret)
{
    const struct kind *storage = kinds_by_resource(w->s->kinds, w->kind->resource);
    struct problem *p = &w->out.problem;

    if (storage == NULL)
        return problem_set(p, ERR_NOT_FOUND,
                           "the server could not find the requested resource");
    if (storage == w->kind) {
        *ret = object_ref(w->out.obj);
        return 0;
    }
    return object_as(storage, w->out.obj, ret, &p->e);
}

static void
commit(struct write *w)
{
    struct error e = ERROR_INIT;
    uint64_t revision = 0;
    auto_object *form = NULL;

    if (stored_form(w, &form) < 0) {
        conclude(w, NULL);
        return;
    }
    w->converted = form != w->out.obj;
    struct store_op ops[2 + QUOTAS_MAX] = {
        {.type = w->out.gone ? STORE_DELETE : STORE_PUT,
         .key = key_of(w),
         .expect = w->live == NULL ? 0 : w->live->revision,
         .obj = form}};
    size_t n = 1;

    if (w->out.gone && w->out.obj == w->live)
        ops[0].obj = NULL;
    if (w->revision != NULL)
        ops[n++] = history_op(w->revision);
    for (size_t i = 0; i < w->quota.n; i++)
        ops[n++] = quota_op(&w->quota, i);
    int rc =
        store_commit(w->s->store, ops, n, durability(w), on_commit, w, &revision, &e);
    if (rc == 0 || without_history(w, &e))
        return;
    if (is_race(&e)) {
        lost_race(w, &e);
        return;
    }
    w->out.problem.e = e;
    finish(w, NULL);
}

/* A dry run answers with what would be there: the stored revision, or none. */
static void
finish_dry(struct write *w)
{
    if (w->live != NULL && w->out.obj != w->live) {
        struct object *o = object_with_revision(w->out.obj, w->live->revision);
        object_unref(w->out.obj);
        w->out.obj = o;
    }
    conclude(w, w->out.obj);
}

/* What only the loop can judge: the user's own rights, and quotas. */
static int
admit(struct write *w)
{
    const struct api_hooks *h = &w->s->hooks;
    struct admit_request r = {.user = w->user,
                              .kind = w->kind,
                              .type = w->type,
                              .sub = w->sub,
                              .live = w->live,
                              .next = w->out.obj};

    if (w->internal || w->is_delete || !w->out.changed)
        return 0;
    if (h->admit != NULL && h->admit(h->arg, &r, &w->out.problem) < 0)
        return -(int)w->out.problem.e.code;
    if (priority_admit(w->s, w->kind, w->live, w->out.obj, &w->out.problem) < 0)
        return -(int)w->out.problem.e.code;
    return w->out.created
               ? quota_admit(w->s, w->kind, w->out.obj, &w->quota, &w->out.problem)
               : 0;
}

/* A write that changes nothing still moves an object to the storage version. */
static bool
must_migrate(const struct write *w)
{
    const struct kind *storage = kinds_by_resource(w->s->kinds, w->kind->resource);
    struct store_key key = key_of(w);
    const struct object *stored = store_peek(w->s->store, &key);

    return storage != NULL && stored != NULL && stored->revision == w->live->revision &&
           !object_has_version(stored, storage);
}

/* The computation is over (on the loop). */
static void
computed(void *arg)
{
    struct write *w = arg;

    if (w->out.problem.e.code != ERR_OK || admit(w) < 0) {
        conclude(w, NULL);
        return;
    }
    bool stale = w->live != NULL && !w->is_delete && must_migrate(w);
    bool dry = w->is_delete ? w->del.dry_run : w->opt.dry_run;
    if (dry)
        finish_dry(w);
    else if (!w->out.changed && !w->out.gone && !stale)
        conclude(w, w->out.obj);
    else
        commit(w);
}

/* The generation that this write ends. */
static void
keep_history(struct write *w)
{
    struct error e = ERROR_INIT;

    if (!w->keeps_history || w->out.problem.e.code != ERR_OK ||
        (!w->out.changed && !w->out.gone))
        return;
    struct revision_in in = {.kind = w->kind,
                             .revisions = w->revisions,
                             .live = w->live,
                             .next = w->out.gone ? NULL : w->out.obj,
                             .previous = w->previous,
                             .keys = w->keys,
                             .user = w->author,
                             .manager = w->opt.manager,
                             .now_ns = w->in.now_ns};
    if (revision_make(&in, &w->revision, &e) < 0)
        history_not_kept(w->s->history, w->kind, w->live, &e);
}

static void
compute(void *arg)
{
    struct write *w = arg;

    if (w->is_delete)
        compute_delete(w->kind, w->live, &w->del, w->in.now_ns, &w->out);
    else
        compute_write(&w->in, &w->out);
    keep_history(w);
}

static bool
wants_pool(const struct write *w)
{
    if (w->s->pool == NULL)
        return false;
    if (streq(w->kind->resource, CRD_RESOURCE) && !w->is_delete && !w->internal)
        return true; /* its schemas are compiled */
    if (w->is_delete)
        return w->keeps_history && w->live->len > POOL_BYTES;
    return w->type == WRITE_APPLY || w->body.len > POOL_BYTES ||
           (w->live != NULL && w->live->len > POOL_BYTES);
}

static char *
line_key(const struct write *w)
{
    return xasprintf("%s|%s|%s", w->kind->resource, w->ns, w->name);
}

static void
computed_on_pool(void *arg)
{
    struct write *w = arg;
    struct api_server *s = w->s;
    autofree char *key = line_key(w);
    struct line *line = map_get(s->lines, key);
    struct writes waiting = TAILQ_HEAD_INITIALIZER(waiting);

    TAILQ_CONCAT(&waiting, &line->waiting, entry);
    map_del(s->lines, key);
    computed(w); /* it may be gone now, or have entered the line again */
    for (;;) {
        struct write *next = TAILQ_FIRST(&waiting);
        line = map_get(s->lines, key);
        if (line != NULL)
            TAILQ_CONCAT(&line->waiting, &waiting, entry);
        if (line != NULL || next == NULL)
            return;
        TAILQ_REMOVE(&waiting, next, entry);
        attempt(next);
    }
}

static void
compute_on_pool(struct write *w)
{
    autofree char *key = line_key(w);
    struct line *line = map_get(w->s->lines, key);

    if (line != NULL) {
        TAILQ_INSERT_TAIL(&line->waiting, w, entry);
        return;
    }
    line = xnew(struct line);
    TAILQ_INIT(&line->waiting);
    map_put(w->s->lines, key, line);
    loop_pool_run(w->s->pool, compute, computed_on_pool, w);
}

static void
generate_name(struct write *w)
{
    char suffix[GENERATE_SUFFIX + 1];

    if (w->generate_base == NULL)
        return;
    id_suffix(suffix, GENERATE_SUFFIX);
    free(w->name);
    w->name = xasprintf("%s%s", w->generate_base, suffix);
}

static int
check_existence(struct write *w)
{
    struct problem *p = &w->out.problem;
    bool may_create =
        w->type == WRITE_CREATE || (w->type == WRITE_APPLY && *w->sub == '\0');

    if (w->live != NULL && w->type == WRITE_CREATE && w->generate_base == NULL &&
        !w->is_delete)
        return problem_exists(p);
    if (w->live == NULL && (!may_create || w->is_delete))
        return problem_not_found(p);
    const struct kind_entry *entry = kinds_entry(w->s->kinds, w->kind);
    if (w->live == NULL && entry != NULL && entry->terminating)
        return problem_set(p, ERR_UNSUPPORTED,
                           "create not allowed while custom resource definition is "
                           "terminating");
    if (w->live == NULL && w->kind->namespaced && !w->internal)
        return namespace_check(w->s, w->ns, p);
    return 0;
}

static void
attempt(struct write *w)
{
    generate_name(w);
    reset_out(w);
    object_unref(w->live);
    struct store_key key = key_of(w);
    const struct object *live = store_peek(w->s->store, &key);
    w->live = live == NULL ? NULL : view_object(w->kind, live);
    if (check_existence(w) < 0) {
        conclude(w, NULL);
        return;
    }
    if (w->live != NULL && w->type == WRITE_CREATE && !w->is_delete) {
        struct error exists = {.code = ERR_EXISTS}; /* a generated name is taken */
        lost_race(w, &exists);
        return;
    }
    take_versions(w);
    w->in = (struct compute_in){.kind = w->kind,
                                .type = w->type,
                                .ns = w->ns,
                                .name = w->name,
                                .sub = w->sub,
                                .body = {w->body.ptr, w->body.len},
                                .live = w->live,
                                .opt = w->opt,
                                .now_ns = clock_wall_ns(),
                                .versions = (const struct kind *const *)w->versions,
                                .n_versions = w->n_versions,
                                .internal = w->internal};
    id_uuid4(w->in.uid);
    /* A status ends no generation; only of what is being deleted it may be the last. */
    w->keeps_history = history_wants(w->s->history, w->kind, w->live) &&
                       (*w->sub == '\0' || w->live->facts.deleting_s != 0);
    if (w->keeps_history) {
        w->previous = history_previous(w->s->history, w->live);
        w->revisions = kinds_by_resource(w->s->kinds, HISTORY_RESOURCE);
        w->keys = history_keys(w->s->history);
    }
    if (wants_pool(w)) {
        compute_on_pool(w);
        return;
    }
    compute(w);
    computed(w);
}

void
registry_write(struct api_server *s, const struct write_req *r, write_done_fn *done,
               void *arg)
{
    struct write *w = xnew(struct write);

    w->s = s;
    w->kind = kind_ref(r->kind);
    w->type = r->type;
    w->internal = r->internal;
    w->ns = xstrdup(r->ns);
    w->name = xstrdup(r->name);
    w->sub = xstrdup(r->sub);
    w->author = xstrdup(r->user == NULL ? HISTORY_USER_INTERNAL : r->user->name);
    w->opt = r->opt;
    w->user = r->user == NULL ? NULL : user_ref(r->user);
    w->done = done;
    w->arg = arg;
    str_init(&w->body, 2 * OBJECT_MAX_BYTES);
    str_add(&w->body, r->body.ptr, r->body.len);
    if (w->type == WRITE_CREATE) {
        free(w->name);
        w->name = body_name(r->body, &w->generate_base);
    }
    attempt(w);
}

void
registry_delete(struct api_server *s, const struct delete_req *r, write_done_fn *done,
                void *arg)
{
    struct write *w = xnew(struct write);

    w->s = s;
    w->kind = kind_ref(r->kind);
    w->type = WRITE_UPDATE;
    w->is_delete = true;
    w->internal = r->internal;
    w->ns = xstrdup(r->ns);
    w->name = xstrdup(r->name);
    w->sub = xstrdup("");
    w->author = xstrdup(r->user == NULL ? HISTORY_USER_INTERNAL : r->user);
    w->del = r->opt;
    w->done = done;
    w->arg = arg;
    str_init(&w->body, 0);
    attempt(w);
}

/* A replacement that the server itself asked for. */
struct replacement {
    struct api_server *s;
    struct kind *kind;
    char *ns, *name;
    bool gone;
};

static void
replacement_free(struct replacement *r)
{
    kind_unref(r->kind);
    free(r->ns);
    free(r->name);
    free(r);
}

/* Whoever asked decided by a state; it is asked to look at what is there now. */
static void
on_replaced(void *arg, uint64_t revision, const struct error *e)
{
    struct replacement *r = arg;
    struct store_key key = {r->kind->resource, r->ns, r->name};

    UNUSED(revision);
    observe_own(r->s, r->kind, r->gone ? "delete" : "update", r->ns, r->name,
                e == NULL ? 200 : error_http_status(e->code));
    if (e != NULL) {
        const struct object *o = store_get(r->s->store, &key);
        log_debug("not replaced", "resource=%s name=%s error=\"%s\"", r->kind->resource,
                  r->name, e->msg);
        if (o != NULL)
            loops_look(r->s, r->kind->resource, o);
    }
    replacement_free(r);
}

/* The Revision of an object that goes away without a request. */
static struct object *
last_revision(struct api_server *s, const struct kind *kind, const struct object *live)
{
    struct object *kept = NULL;
    struct error e = ERROR_INIT;

    if (!history_wants(s->history, kind, live))
        return NULL;
    auto_object *previous = history_previous(s->history, live);
    struct revision_in in = {.kind = kind,
                             .revisions = kinds_by_resource(s->kinds, HISTORY_RESOURCE),
                             .live = live,
                             .previous = previous,
                             .keys = history_keys(s->history),
                             .user = HISTORY_USER_INTERNAL,
                             .manager = "",
                             .now_ns = clock_wall_ns()};
    if (revision_make(&in, &kept, &e) < 0)
        history_not_kept(s->history, kind, live, &e);
    return kept;
}

int
registry_replace(struct api_server *s, const struct kind *kind, const struct object *live,
                 struct object *obj, bool gone, struct error *e)
{
    const struct kind *storage = kinds_by_resource(s->kinds, kind->resource);
    auto_object *form = NULL;
    uint64_t revision = 0;
    auto_object *kept = NULL;
    struct store_op ops[2] = {{.type = gone ? STORE_DELETE : STORE_PUT,
                               .key = {kind->resource, live->ns, live->name},
                               .expect = live->revision,
                               .obj = obj}};
    size_t n = 1;

    if (obj != NULL && storage != NULL && storage != kind) {
        if (object_as(storage, obj, &form, e) < 0)
            return -(int)e->code;
        ops[0].obj = form;
    }
    /* Only finalizers and owners change here: no generation ends but by deletion. */
    if (gone && (kept = last_revision(s, kind, live)) != NULL)
        ops[n++] = history_op(kept);
    struct replacement *r = xnew(struct replacement);
    *r = (struct replacement){s, kind_ref(kind), xstrdup(live->ns), xstrdup(live->name),
                              gone};
    int rc = store_commit(s->store, ops, n, kind->lazy ? STORE_LAZY : STORE_DURABLE,
                          on_replaced, r, &revision, e);
    if (rc < 0)
        replacement_free(r);
    return rc;
}
