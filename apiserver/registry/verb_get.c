/* SPDX-License-Identifier: Apache-2.0 */
/* get: one object in the representation asked for. */
#include <stdlib.h>

#include "apiserver/registry/server_internal.h"
#include "base/clock.h"

/* A get that waits for its view. */
struct get_op {
    struct api_call *call;
    struct list_options o;
    struct accept accept;
    struct table_opts table;
};

static void
answer(struct get_op *op)
{
    struct api_call *c = op->call;
    const struct route *r = &c->route;
    struct store_key key = {r->kind->resource, r->ns, r->name};
    const struct object *stored = store_get(c->server->store, &key);
    struct str body = STR_INIT(2 * OBJECT_MAX_BYTES);
    char meta[64];

    if (stored == NULL) {
        auto_problem p;
        problem_init(&p, r->kind, r->name);
        problem_not_found(&p);
        call_problem(c, &p);
        return;
    }
    auto_object *o = view_object(r->kind, stored);
    if (op->accept.form == ACCEPT_TABLE) {
        snprintf(meta, sizeof(meta), "\"resourceVersion\":\"%llu\"",
                 (unsigned long long)o->revision);
        table_head(&op->table, meta, true, &body);
        table_row(&op->table, o, &body);
        str_adds(&body, "]}");
    } else {
        represent_object(o, op->accept.form, op->accept.version, &body);
    }
    call_json(c, 200, &body);
}

static void
on_ready(void *arg, uint64_t revision, const struct error *e)
{
    struct get_op *op = arg;
    auto_problem p;

    UNUSED(revision);
    problem_init(&p, op->call->route.kind, op->call->route.name);
    if (e == NULL) {
        answer(op);
    } else {
        read_problem(op->call->server, &op->o, e, &p);
        call_problem(op->call, &p);
    }
    free(op);
}

static int
prepare(struct get_op *op, struct problem *p)
{
    struct api_call *c = op->call;
    int rc = accept_parse(call_header_in(c, "Accept"), &op->accept, p);

    if (rc == 0)
        rc = list_options_parse(c, &op->o, p);
    if (rc < 0 || op->accept.form != ACCEPT_TABLE)
        return rc;
    op->table = (struct table_opts){
        .kind = c->route.kind, .version = op->accept.version, .now_ns = clock_wall_ns()};
    return include_parse(c, &op->table.include, p);
}

void
verb_get(struct api_call *c)
{
    struct get_op op = {.call = c};
    auto_problem p;

    problem_init(&p, c->route.kind, c->route.name);
    if (prepare(&op, &p) < 0) {
        call_problem(c, &p);
        return;
    }
    op.o.cont = NULL;
    if (read_may_wait(c->server, &op.o)) {
        struct get_op *later = xmemdup(&op, sizeof(op));
        if (!read_ready(c->server, &op.o, on_ready, later))
            return;
        free(later);
    }
    answer(&op);
}
