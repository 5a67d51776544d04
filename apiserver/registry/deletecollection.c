/* SPDX-License-Identifier: Apache-2.0 */
/* deletecollection: the selected objects are deleted one after the other, in slices. */
#include <stdlib.h>
#include <string.h>

#include "api/selector.h"
#include "apiserver/registry/server_internal.h"

enum { IN_FLIGHT_MAX = 64, SCAN_SLICE = 2000 };

struct collection_delete {
    struct api_call *call;
    const struct kind *kind;
    struct delete_options opt;
    struct selector *labels, *fields;
    struct store_list *list;
    vec(struct object *) deleted;
    size_t in_flight;
    bool at_end, pumping;
    struct problem problem; /* the first failure; not found is none */
};

static int
by_name(const void *a, const void *b)
{
    const struct object *x = *(struct object *const *)a, *y = *(struct object *const *)b;
    int order = strcmp(x->ns, y->ns);

    return order != 0 ? order : strcmp(x->name, y->name);
}

static void
finish(struct collection_delete *d)
{
    struct api_call *c = d->call;
    struct str body = STR_INIT(64u << 20);

    /* A store may complete them in any order; the reply is in that of a list. */
    if (d->deleted.len > 1)
        qsort(d->deleted.items, d->deleted.len, sizeof(struct object *), by_name);
    if (d->problem.e.code != ERR_OK) {
        call_problem(c, &d->problem);
    } else {
        str_addf(&body,
                 "{\"kind\":\"%s\",\"apiVersion\":\"%s\",\"metadata\":{"
                 "\"resourceVersion\":\"%llu\"},\"items\":[",
                 d->kind->list_kind, d->kind->api_version,
                 (unsigned long long)store_revision(c->server->store));
        vec_foreach (o, &d->deleted) {
            if (o != d->deleted.items)
                str_addc(&body, ',');
            object_write(*o, &body);
        }
        str_adds(&body, "]}");
        call_json(c, 200, &body);
    }
    vec_foreach (o, &d->deleted)
        object_unref(*o);
    vec_done(&d->deleted);
    selector_free(d->labels);
    selector_free(d->fields);
    store_list_free(d->list);
    problem_done(&d->problem);
    free(d);
}

static void pump(void *arg);

static void
on_deleted(void *arg, const struct write_result *r)
{
    struct collection_delete *d = arg;

    d->in_flight--;
    if (r->obj != NULL) {
        vec_push(&d->deleted, object_ref(r->obj));
    } else if (r->problem->e.code != ERR_NOT_FOUND && d->problem.e.code == ERR_OK) {
        d->problem.e = r->problem->e;
        d->at_end = true;
    }
    if (!d->pumping)
        pump(d);
}

static void
delete_one(struct collection_delete *d, const struct object *o)
{
    struct delete_req r = {.kind = d->kind,
                           .ns = o->ns,
                           .name = o->name,
                           .opt = d->opt,
                           .user = d->call->user->name};

    d->in_flight++;
    registry_delete(d->call->server, &r, on_deleted, d);
}

/* Fields are those of the version that was asked for. */
static bool
selected(const struct collection_delete *d, const struct object *o)
{
    if (!selector_match(d->labels, o))
        return false;
    auto_object *view = view_object(d->kind, o);
    return selector_match(d->fields, view);
}

static void
pump(void *arg)
{
    struct collection_delete *d = arg;
    size_t seen = 0;

    d->pumping = true;
    while (!d->at_end && d->in_flight < IN_FLIGHT_MAX && seen++ < SCAN_SLICE) {
        const struct object *o = store_list_next(d->list);
        if (o == NULL)
            d->at_end = true;
        else if (selected(d, o))
            delete_one(d, o);
    }
    d->pumping = false;
    if (d->at_end && d->in_flight == 0)
        finish(d);
    else if (!d->at_end && d->in_flight == 0)
        loop_post(d->call->server->loop, pump, d);
}

void
verb_deletecollection(struct api_call *c)
{
    const struct route *r = &c->route;
    struct collection_delete *d = xnew(struct collection_delete);
    struct list_options o;

    d->call = c;
    d->kind = r->kind;
    problem_init(&d->problem, r->kind, NULL);
    if (streq(r->kind->resource, "namespaces"))
        problem_set(&d->problem, ERR_UNSUPPORTED,
                    "deletecollection is not supported on resources of kind "
                    "\"namespaces\"");
    else if (list_options_parse(c, &o, &d->problem) == 0 &&
             delete_options_parse(c, &d->opt, &d->problem) == 0 &&
             selector_parse_labels(o.label, &d->labels, &d->problem.e) == 0 &&
             selector_parse_fields(r->kind, o.field, &d->fields, &d->problem.e) == 0) {
        d->list = store_list(c->server->store, r->kind->resource,
                             *r->ns == '\0' ? NULL : r->ns, NULL);
        pump(d);
        return;
    }
    call_problem(c, &d->problem);
    problem_done(&d->problem);
    selector_free(d->labels);
    selector_free(d->fields);
    free(d);
}
