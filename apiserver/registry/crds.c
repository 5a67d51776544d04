/* SPDX-License-Identifier: Apache-2.0 */
/*
 * User-made kinds. Every change of a CustomResourceDefinition is looked at once it is
 * durable: its versions are compiled on the pool, one CRD at a time, its names are
 * checked against those in use, the table of kinds is replaced, and the status says what
 * came of it. A CRD that is being deleted takes its instances along first (finalizer
 * customresourcecleanup); with the object goes the kind, and with the kind its watches.
 *
 * Level-triggered: a look compares what is stored with what is served and does what is
 * missing, so losing a race means looking again.
 */
#include <stdlib.h>

#include "apiserver/registry/crds_internal.h"
#include "base/log.h"

LOG_MODULE(crds);

enum { DELETE_SLICE = 200, RETRY_MS = 1000 };

/* What is known of a CRD that was looked at. */
struct known {
    char uid[37];
    int64_t generation; /* of the versions in the table */
    bool served, rejected, terminating;
};

struct crds {
    struct api_server *s;
    struct map *known; /* by name */
    struct map *dirty; /* names to look at; the value is nothing */
    struct loop_timer *timer;
    struct refresher *refresher;
    bool busy;  /* a job is on the pool */
    bool *gone; /* set when the struct is freed while a job is there */
};

static void
look_soon(struct crds *c, const char *name, int64_t in_ms)
{
    map_put(c->dirty, name, c);
    if (!loop_timer_armed(c->timer) || in_ms == 0)
        loop_timer_in(c->timer, in_ms);
}

static struct known *
known_of(struct crds *c, const char *name)
{
    struct known *k = map_get(c->known, name);

    if (k == NULL) {
        k = xnew(struct known);
        map_put(c->known, name, k);
    }
    return k;
}

/* Whoever was rejected for its names may have a chance now. */
static void
look_at_rejected(struct crds *c)
{
    struct map_cursor cursor = map_begin(c->known);
    const char *name;
    void *value;

    while (map_next(&cursor, &name, &value)) {
        const struct known *k = value;
        if (k->rejected)
            look_soon(c, name, 0);
    }
}

static void
table_changed(struct crds *c, const char *resource)
{
    watches_end_stale(c->s);
    discovery_forget(c->s);
    openapi_forget(c->s);
    if (kinds_by_resource(c->s->kinds, resource) != NULL)
        refresher_start(c->refresher, resource);
}

static void
forget(struct crds *c, const char *name)
{
    const struct known *k = map_get(c->known, name);

    if (k == NULL)
        return;
    bool served = k->served;
    map_del(c->known, name);
    if (!served)
        return;
    kinds_drop(c->s->kinds, name);
    table_changed(c, name);
    log_info("kind is gone", "resource=%s", name);
    look_at_rejected(c);
}

/* --- status ------------------------------------------------------------------------- */

struct status_write {
    struct crds *c;
    char *name;
};

static void
on_status(void *arg, const struct write_result *r)
{
    struct status_write *w = arg;

    if (r->obj == NULL && r->problem->e.code != ERR_NOT_FOUND) {
        log_warn_rl("cannot write a status", "crd=%s error=\"%s\"", w->name,
                    r->problem->e.msg);
        look_soon(w->c, w->name, RETRY_MS);
    }
    free(w->name);
    free(w);
}

static void
write_status(struct crds *c, const struct object *o, const struct crd_verdict *v)
{
    auto_str patch = STR_INIT(OBJECT_MAX_BYTES);

    if (!crd_status_patch(o, v, &patch))
        return;
    struct status_write *w = xnew(struct status_write);
    w->c = c;
    w->name = xstrdup(o->name);
    struct write_req r = {.kind = kinds_by_resource(c->s->kinds, CRD_RESOURCE),
                          .type = WRITE_MERGE,
                          .ns = "",
                          .name = o->name,
                          .sub = "status",
                          .body = {patch.ptr, patch.len},
                          .internal = true};
    registry_write(c->s, &r, on_status, w);
}

/* --- serving ------------------------------------------------------------------------ */

static bool
is_current(struct crds *c, const struct object *o)
{
    struct store_key key = {CRD_RESOURCE, "", o->name};
    const struct object *now = store_get(c->s->store, &key);

    return now != NULL && streq(now->uid, o->uid) &&
           now->facts.generation == o->facts.generation &&
           now->facts.deleting_s == o->facts.deleting_s;
}

/* Takes the compiled versions. */
static void
serve(struct crds *c, struct crd_compiled *x)
{
    struct known *k = known_of(c, x->o->name);

    kinds_put(c->s->kinds, x->kinds, x->n);
    x->n = 0;
    snprintf(k->uid, sizeof(k->uid), "%s", x->o->uid);
    k->generation = x->o->facts.generation;
    k->served = true;
    k->rejected = false;
}

static void
withdraw(struct crds *c, const char *name)
{
    struct known *k = known_of(c, name);

    if (k->served) {
        k->served = false;
        kinds_drop(c->s->kinds, name);
        table_changed(c, name);
    }
}

static void
conclude(struct crds *c, struct crd_compiled *x)
{
    struct crd_verdict v = {.names = x->n > 0 ? x->kinds[0] : NULL};

    if (!is_current(c, x->o))
        return; /* its own event brings us back */
    if (x->n == 0) {
        snprintf(v.broken, sizeof(v.broken), "%s", x->e.msg);
        withdraw(c, x->o->name);
        write_status(c, x->o, &v);
        return;
    }
    struct kind *names = kind_ref(x->kinds[0]);
    v.names = names;
    if (crd_names_conflict(c->s->kinds, names, &v)) {
        known_of(c, x->o->name)->rejected = true;
        withdraw(c, x->o->name);
    } else {
        serve(c, x);
        table_changed(c, x->o->name);
        log_info("kind is served", "resource=%s versions=%zu", x->o->name,
                 kinds_versions(c->s->kinds, x->o->name));
        look_at_rejected(c);
    }
    if (x->o->facts.deleting_s != 0)
        look_soon(c, x->o->name, known_of(c, x->o->name)->served ? 0 : RETRY_MS);
    else
        write_status(c, x->o, &v);
    kind_unref(names);
}

struct job {
    struct crds *c;
    struct crd_compiled x;
    bool gone;
};

static void
work(void *arg)
{
    struct job *j = arg;

    crd_compile(&j->x);
}

static void
on_worked(void *arg)
{
    struct job *j = arg;
    struct crds *c = j->c;

    if (!j->gone) {
        c->busy = false;
        c->gone = NULL;
        conclude(c, &j->x);
        if (map_len(c->dirty) > 0)
            loop_timer_in(c->timer, 0);
    }
    crd_compiled_done(&j->x);
    free(j);
}

static void
compile(struct crds *c, const struct object *o)
{
    struct job *j = xnew(struct job);

    j->c = c;
    j->x.o = object_ref(o);
    j->x.e = ERROR_INIT;
    c->busy = true;
    c->gone = &j->gone;
    if (c->s->pool != NULL) {
        loop_pool_run(c->s->pool, work, on_worked, j);
        return;
    }
    work(j);
    on_worked(j);
}

/* --- deletion ----------------------------------------------------------------------- */

static void
on_instance(void *arg, const struct write_result *r)
{
    UNUSED(arg);
    if (r->obj == NULL && r->problem->e.code != ERR_NOT_FOUND)
        log_warn_rl("cannot delete an instance", "error=\"%s\"", r->problem->e.msg);
}

/* Asks for the deletion of up to DELETE_SLICE instances; true when there are any. */
static bool
delete_instances(struct crds *c, const struct kind *kind)
{
    struct store_list *list = store_list(c->s->store, kind->resource, NULL, NULL);
    const struct object *o;
    size_t asked = 0;
    bool any = false;

    while (asked < DELETE_SLICE && (o = store_list_next(list)) != NULL) {
        any = true;
        if (o->facts.deleting_s != 0)
            continue;
        struct delete_req d = {
            .kind = kind, .ns = o->ns, .name = o->name, .internal = true};
        registry_delete(c->s, &d, on_instance, NULL);
        asked++;
    }
    store_list_free(list);
    return any;
}

static void
let_go(struct crds *c, const struct object *o)
{
    const struct kind *crds = kinds_by_resource(c->s->kinds, CRD_RESOURCE);
    auto_str rest = STR_INIT(64 * 1024);
    auto_object *next = NULL;
    struct error e = ERROR_INIT;

    str_addc(&rest, '[');
    for (size_t i = 0; i < o->facts.n_finalizers; i++) {
        struct span f = object_fact(o, o->facts.finalizers[i]);
        if (span_eq(f, CRD_FINALIZER))
            continue;
        jput_item(&rest);
        str_addf(&rest, "\"%.*s\"", SPAN_ARG(f));
    }
    str_addc(&rest, ']');
    struct span list = {rest.ptr, rest.len};
    if (rest.len == 2)
        list = (struct span){0};
    if (compute_replace_meta(crds, o, &list, NULL, &next, &e) < 0 ||
        registry_replace(c->s, crds, o, next, rest.len == 2, &e) < 0) {
        log_warn_rl("cannot let go of a CRD", "name=%s error=\"%s\"", o->name, e.msg);
        look_soon(c, o->name, RETRY_MS);
    }
}

static void
terminate(struct crds *c, const struct object *o)
{
    struct known *k = known_of(c, o->name);
    const struct kind *kind = kinds_by_resource(c->s->kinds, o->name);
    struct crd_verdict v = {.terminating = true};

    k->terminating = true;
    kinds_set_terminating(c->s->kinds, o->name);
    if (!object_has_finalizer(o, CRD_FINALIZER))
        return;
    if (kind == NULL && store_count(c->s->store, o->name) > 0) {
        compile(c, o); /* its schema is needed to delete what is there */
        return;
    }
    if (kind != NULL && delete_instances(c, kind))
        write_status(c, o, &v);
    else
        let_go(c, o);
}

/* --- looking ------------------------------------------------------------------------ */

static void
look(struct crds *c, const char *name)
{
    struct store_key key = {CRD_RESOURCE, "", name};
    struct object *o = store_get(c->s->store, &key);

    if (o == NULL) {
        forget(c, name);
        return;
    }
    const struct known *k = map_get(c->known, name);
    if (o->facts.deleting_s != 0) {
        terminate(c, o);
    } else if (k == NULL || !k->served || !streq(k->uid, o->uid) ||
               k->generation != o->facts.generation) {
        compile(c, o);
    }
}

static void
on_timer(void *arg)
{
    struct crds *c = arg;

    if (c->busy) /* its end looks again */
        return;
    struct map_cursor cursor = map_begin(c->dirty);
    const char *name;
    void *value;
    if (!map_next(&cursor, &name, &value))
        return;
    autofree char *copy = xstrdup(name);
    map_del(c->dirty, copy);
    look(c, copy);
    if (map_len(c->dirty) > 0 && !c->busy && !loop_timer_armed(c->timer))
        loop_timer_in(c->timer, 0);
}

void
crds_object(struct crds *c, const char *resource, const struct object *o, bool deleted)
{
    if (streq(resource, CRD_RESOURCE)) {
        if (!kinds_is_embedded(c->s->kinds, o->name))
            look_soon(c, o->name, 0);
        return;
    }
    if (!deleted)
        return;
    const struct known *k = map_get(c->known, resource);
    if (k != NULL && k->terminating)
        look_soon(c, resource, 0);
}

/* --- life --------------------------------------------------------------------------- */

/* At a start: what was accepted before is served before anybody asks. */
static void
load_one(struct crds *c, const struct object *o)
{
    struct crd_compiled x = {.o = object_ref(o), .e = ERROR_INIT};
    struct crd_verdict v = {0};

    if (!kinds_is_embedded(c->s->kinds, o->name) && crd_was_established(o)) {
        crd_compile(&x);
        if (x.n == 0)
            log_warn("cannot serve a kind", "crd=%s error=\"%s\"", o->name, x.e.msg);
        else if (!crd_names_conflict(c->s->kinds, x.kinds[0], &v))
            serve(c, &x);
    }
    crd_compiled_done(&x);
}

struct crds *
crds_new(struct api_server *s)
{
    struct crds *c = xnew(struct crds);
    struct store_list *list = store_list(s->store, CRD_RESOURCE, NULL, NULL);
    struct error e = ERROR_INIT;
    const struct object *o;

    c->s = s;
    c->known = map_new(free);
    c->dirty = map_new(NULL);
    c->timer = loop_timer_new(s->loop, "crds", on_timer, c);
    c->refresher = refresher_new(s);
    while ((o = store_list_next(list)) != NULL)
        load_one(c, o);
    store_list_free(list);
    for (size_t i = 0; i < kinds_len(s->kinds); i++) {
        const struct kind_entry *entry = kinds_at(s->kinds, i);
        if (entry->crd == NULL && entry->kind->storage &&
            store_refresh(s->store, entry->kind->resource, &e) < 0)
            log_warn("cannot refresh facts", "error=\"%s\"", e.msg);
    }
    return c;
}

void
crds_free(struct crds *c)
{
    if (c == NULL)
        return;
    if (c->gone != NULL)
        *c->gone = true;
    loop_timer_free(c->timer);
    refresher_free(c->refresher);
    map_free(c->known);
    map_free(c->dirty);
    free(c);
}
