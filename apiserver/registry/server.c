/* SPDX-License-Identifier: Apache-2.0 */
/* Life of the registry, and what every server has from its first start. */
#include "apiserver/registry/server.h"

#include <jansson.h>
#include <stdlib.h>

#include "apiserver/registry/loops.h"
#include "apiserver/registry/server_internal.h"
#include "apiserver/registry/watch_piece.h"

#define SERVER_MAGIC 0x61706973u

int
api_server_new(const struct api_server_opts *o, struct api_server **ret, struct error *e)
{
    struct api_server *s = xnew(struct api_server);

    s->magic = SERVER_MAGIC;
    s->loop = o->loop;
    s->store = o->store;
    s->kinds = o->kinds;
    s->pool = o->pool;
    s->advertise_address =
        xstrdup(o->advertise_address == NULL ? "" : o->advertise_address);
    s->streams_address = xstrdup(o->streams_address == NULL ? "" : o->streams_address);
    TAILQ_INIT(&s->watches);
    s->lines = map_new(free);
    s->snapshots = snapshots_new();
    s->metrics = metrics_new();
    s->pieces = watch_pieces_new();
    s->crds = crds_new(s);
    s->openapi = openapi_new(s);
    if (history_new(s, &o->history, o->keys, &s->history, e) < 0) {
        int rc = -(int)e->code;
        api_server_free(s);
        return rc;
    }
    *ret = s;
    return 0;
}

struct loop_pool *
api_server_pool(const struct api_server *s)
{
    return s->pool;
}

void
api_server_leave_pool(struct api_server *s)
{
    if (s != NULL)
        s->pool = NULL;
}

void
api_server_prepare_close(struct api_server *s)
{
    if (s == NULL)
        return;
    if (s->hooks.stop != NULL)
        s->hooks.stop(s->hooks.arg);
    s->hooks.stop = NULL;
    loops_stop(s);
    history_free(s->history);
    s->history = NULL;
    crds_free(s->crds);
    s->crds = NULL;
    snapshots_free(s->snapshots);
    s->snapshots = NULL;
}

void
api_server_free(struct api_server *s)
{
    if (s == NULL)
        return;
    bug_if(s->magic != SERVER_MAGIC);
    api_server_prepare_close(s);
    openapi_free(s->openapi);
    discovery_free(s->discovery);
    metrics_free(s->metrics);
    watch_pieces_free(s->pieces);
    map_free(s->lines);
    free(s->advertise_address);
    free(s->streams_address);
    free(s);
}

void
api_server_set_hooks(struct api_server *s, const struct api_hooks *h)
{
    if (s->hooks.stop != NULL)
        s->hooks.stop(s->hooks.arg);
    s->hooks = *h;
}

struct store *
api_server_store(const struct api_server *s)
{
    return s->store;
}

const struct kinds *
api_server_kinds(const struct api_server *s)
{
    return s->kinds;
}

struct loop *
api_server_loop(const struct api_server *s)
{
    return s->loop;
}

/* --- bootstrap
 * --------------------------------------------------------------------------- */

struct bootstrap {
    struct api_server *s;
    size_t open;
    bool statuses; /* the second round */
    struct error e;
    void (*done)(void *arg, const struct error *e);
    void *arg;
};

static void put_statuses(struct bootstrap *b);

/* The statuses come when the objects are there: a store that others share does not show
 * what is still on its way. */
static void
step_done(struct bootstrap *b)
{
    if (--b->open > 0)
        return;
    if (!b->statuses && b->e.code == ERR_OK) {
        b->statuses = true;
        b->open = 1;
        put_statuses(b);
        step_done(b);
        return;
    }
    b->done(b->arg, b->e.code == ERR_OK ? NULL : &b->e);
    free(b);
}

static void
on_step(void *arg, const struct write_result *r)
{
    struct bootstrap *b = arg;

    if (r->obj == NULL && r->problem->e.code != ERR_EXISTS && b->e.code == ERR_OK) {
        b->e = r->problem->e;
        if (r->problem->v.list.len > 0)
            error_prepend(&b->e, "%s: %s", r->problem->v.list.items[0].path,
                          r->problem->v.list.items[0].message);
        error_prepend(&b->e, "create %s \"%s\"",
                      r->problem->kind == NULL ? "object" : r->problem->kind->resource,
                      r->problem->name);
    }
    step_done(b);
}

void
registry_write_own(struct api_server *s, const struct kind *kind, enum write_type type,
                   const char *name, const char *json, write_done_fn *done, void *arg)
{
    struct write_req w = {.kind = kind,
                          .type = type,
                          .ns = "",
                          .name = name,
                          .sub = "",
                          .body = span_of(json),
                          .internal = true};

    snprintf(w.opt.manager, sizeof(w.opt.manager), "drover-apiserver");
    w.opt.manager_given = true;
    registry_write(s, &w, done, arg);
}

static void
put(struct bootstrap *b, const struct kind *kind, enum write_type type, const char *name,
    const char *json)
{
    b->open++;
    registry_write_own(b->s, kind, type, name, json, on_step, b);
}

static void
put_namespace(struct bootstrap *b, const char *name)
{
    autofree char *json = xasprintf(
        "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"%s\"}}",
        name);
    struct store_key key = {"namespaces", "", name};

    if (store_peek(b->s->store, &key) == NULL)
        put(b, kinds_by_resource(b->s->kinds, "namespaces"), WRITE_CREATE, name, json);
}

/* The object for a served kind: its document. An update keeps uid and status. */
static void
put_crd(struct bootstrap *b, const struct kind_entry *entry)
{
    const struct kind *crds =
        kinds_by_resource(b->s->kinds, "customresourcedefinitions.apiextensions.k8s.io");
    const char *name = entry->kind->resource;
    struct store_key key = {crds->resource, "", name};
    bool there = store_peek(b->s->store, &key) != NULL;
    autofree char *json = json_dumps(entry->crd, JSON_COMPACT);

    put(b, crds, there ? WRITE_UPDATE : WRITE_CREATE, name, json);
}

static void
put_crd_status(struct bootstrap *b, const struct kind_entry *entry)
{
    const struct kind *k = entry->kind;
    const struct kind *crds =
        kinds_by_resource(b->s->kinds, "customresourcedefinitions.apiextensions.k8s.io");
    autofree char *names = json_dumps(
        json_object_get(json_object_get(entry->crd, "spec"), "names"), JSON_COMPACT);
    autofree char *json = xasprintf(
        "{\"status\":{\"acceptedNames\":%s,\"storedVersions\":[\"%s\"],\"conditions\":["
        "{\"type\":\"NamesAccepted\",\"status\":\"True\",\"reason\":\"NoConflicts\","
        "\"message\":\"no conflicts found\"},"
        "{\"type\":\"Established\",\"status\":\"True\",\"reason\":"
        "\"InitialNamesAccepted\","
        "\"message\":\"the initial names have been accepted\"}]}}",
        names, k->version);
    struct write_req w = {.kind = crds,
                          .type = WRITE_MERGE,
                          .ns = "",
                          .name = k->resource,
                          .sub = "status",
                          .body = span_of(json),
                          .internal = true};

    b->open++;
    registry_write(b->s, &w, on_step, b);
}

static void
put_statuses(struct bootstrap *b)
{
    for (size_t i = 0; i < kinds_len(b->s->kinds); i++) {
        const struct kind_entry *entry = kinds_at(b->s->kinds, i);
        if (entry->kind->builtin || entry->crd == NULL)
            continue;
        put_crd_status(b, entry);
    }
}

void
api_server_bootstrap(struct api_server *s, void (*done)(void *arg, const struct error *e),
                     void *arg)
{
    struct bootstrap *b = xnew(struct bootstrap);

    b->s = s;
    b->e = ERROR_INIT;
    b->done = done;
    b->arg = arg;
    b->open = 1;
    put_namespace(b, "default");
    put_namespace(b, "drover-system");
    for (size_t i = 0; i < kinds_len(s->kinds); i++) {
        const struct kind_entry *entry = kinds_at(s->kinds, i);
        if (entry->kind->builtin || entry->crd == NULL)
            continue;
        put_crd(b, entry);
    }
    step_done(b);
}
