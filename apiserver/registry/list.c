/* SPDX-License-Identifier: Apache-2.0 */
/*
 * list: one consistent snapshot, collected in slices (references only), then written by
 * the content reader: JSON with its exact length, Tables and metadata lists as a stream.
 */
#include <stdlib.h>

#include "api/jtok.h"
#include "api/selector.h"
#include "apiserver/registry/list_token.h"
#include "apiserver/registry/server_internal.h"
#include "base/clock.h"

enum { SLICE = 2000 };

/* The items of one answer and how far they have been written. */
struct list_body {
    vec(struct object *) items; /* references; up to `next` they are given back */
    size_t next;
    uint64_t length;              /* of the items as JSON, with a comma each */
    struct str head, tail, piece; /* piece: what is being sent; off: how much of it was */
    size_t off;
    bool head_done, tail_done;
    enum accept_form form;
    const char *version;
    struct table_opts table;
    struct kind *kind; /* held for the table */
};

struct list_op {
    struct api_call *call;
    struct list_options o;
    struct accept accept;
    enum include_object include;
    struct selector *labels, *fields;
    struct store_list *whole; /* with a limit: the list at its beginning */
    struct store_list *list;
    const struct object *last;        /* seen; lives as long as list */
    char *cont;                       /* the token of the page before; NULL: first page */
    char *scope;                      /* for snapshots: resource and namespace */
    char position[LIST_POSITION_MAX]; /* "ns/name" of the last object seen */
    uint64_t revision;
    struct list_body *body;
};

static void
body_free(void *arg)
{
    struct list_body *b = arg;

    for (size_t i = b->next; i < b->items.len; i++)
        object_unref(b->items.items[i]);
    vec_done(&b->items);
    str_done(&b->head);
    str_done(&b->tail);
    str_done(&b->piece);
    kind_unref(b->kind);
    free(b);
}

static void
op_free(struct list_op *op)
{
    selector_free(op->labels);
    selector_free(op->fields);
    store_list_free(op->whole);
    store_list_free(op->list);
    if (op->body != NULL)
        body_free(op->body);
    free(op->cont);
    free(op->scope);
    free(op);
}

/* --- writing
 * ----------------------------------------------------------------------------- */

static void
next_piece(struct list_body *b)
{
    str_reset(&b->piece);
    b->off = 0;
    if (!b->head_done) {
        b->head_done = true;
        str_add(&b->piece, b->head.ptr, b->head.len);
    } else if (b->next < b->items.len) {
        auto_object *o = b->items.items[b->next];
        bool first = b->next++ == 0;
        if (b->form == ACCEPT_TABLE) {
            /* table_row puts its comma by the byte before, which is not sent. */
            str_addc(&b->piece, first ? '[' : ']');
            b->off = 1;
            table_row(&b->table, o, &b->piece);
        } else {
            if (!first)
                str_addc(&b->piece, ',');
            represent_object(o, b->form, b->version, &b->piece);
        }
    } else if (!b->tail_done) {
        b->tail_done = true;
        str_add(&b->piece, b->tail.ptr, b->tail.len);
    }
}

/* http_fill_fn and, as the end never comes early, http_read_fn. */
static ssize_t
body_fill(void *arg, char *buf, size_t max)
{
    struct list_body *b = arg;
    size_t n = 0;

    while (n < max) {
        if (b->off == b->piece.len) {
            next_piece(b);
            if (b->piece.len == 0)
                break;
        }
        size_t part = b->piece.len - b->off < max - n ? b->piece.len - b->off : max - n;
        memcpy(buf + n, b->piece.ptr + b->off, part);
        b->off += part;
        n += part;
    }
    return n > 0 ? (ssize_t)n : -1;
}

/* "resourceVersion":"N"[,"continue":"..."][,"remainingItemCount":n] */
static void
metadata_of(struct list_op *op, struct str *out)
{
    size_t remaining = op->list == NULL ? 0 : store_list_remaining(op->list);
    struct api_server *s = op->call->server;

    str_addf(out, "\"resourceVersion\":\"%llu\"", (unsigned long long)op->revision);
    if (op->whole != NULL)
        snapshots_keep(s->snapshots, op->whole, op->scope, remaining == 0,
                       loop_now_ms(s->loop));
    if (op->o.limit == 0 || remaining == 0)
        return;
    str_adds(out, ",\"continue\":\"");
    list_token_write((int64_t)op->revision, op->position, out);
    str_addc(out, '"');
    if (op->labels == NULL && op->fields == NULL)
        str_addf(out, ",\"remainingItemCount\":%zu", remaining);
}

static void
frame(struct list_op *op, struct list_body *b)
{
    const struct kind *k = op->call->route.kind;
    auto_str metadata = STR_INIT(LIST_TOKEN_MAX * 2);

    metadata_of(op, &metadata);
    b->form = op->accept.form == ACCEPT_PARTIAL_LIST ? ACCEPT_PARTIAL : op->accept.form;
    b->version = op->accept.version;
    if (b->form == ACCEPT_TABLE) {
        b->table = (struct table_opts){.kind = k,
                                       .version = b->version,
                                       .include = op->include,
                                       .now_ns = clock_wall_ns()};
        table_head(&b->table, metadata.ptr, true, &b->head);
        str_adds(&b->tail, "]}\n");
        return;
    }
    if (b->form == ACCEPT_PARTIAL)
        str_addf(&b->head,
                 "{\"kind\":\"PartialObjectMetadataList\",\"apiVersion\":\"meta.k8s.io/"
                 "%s\",\"metadata\":{%s},\"items\":[",
                 b->version, metadata.ptr);
    else
        str_addf(&b->head,
                 "{\"kind\":\"%s\",\"apiVersion\":\"%s\",\"metadata\":{%s},\"items\":[",
                 k->list_kind, k->api_version, metadata.ptr);
    str_adds(&b->tail, "]}\n");
}

static void
answer(struct list_op *op)
{
    struct list_body *b = move_ptr(op->body);
    struct api_call *c = op->call;

    frame(op, b);
    op_free(op);
    if (b->form != ACCEPT_JSON) {
        const struct api_responder_ops *ops = NULL;
        struct api_filler f = {body_fill, body_free, b};
        call_respond_stream(c, 200, "application/json", &f, &ops);
        return;
    }
    uint64_t length = b->head.len + b->tail.len + b->length;
    if (b->items.len > 0)
        length--; /* the first has no comma */
    struct api_reader r = {body_fill, body_free, b};
    call_respond_reader(c, 200, "application/json", length, &r);
}

/* --- collecting
 * --------------------------------------------------------------------------- */

static void
take(struct list_op *op, struct object *o)
{
    auto_object *view = NULL;

    if (!selector_match(op->labels, o))
        return;
    view = view_object(op->body->kind, o);
    if (!selector_match(op->fields, view))
        return;
    op->body->length += object_written_len(view) + 1;
    vec_push(&op->body->items, move_ptr(view));
}

static bool
page_full(const struct list_op *op)
{
    return op->o.limit > 0 && op->body->items.len >= (size_t)op->o.limit;
}

static void
collect(void *arg)
{
    struct list_op *op = arg;

    for (size_t n = 0; !page_full(op); n++) {
        if (n == SLICE && op->call->server->pool != NULL) {
            loop_post(op->call->server->loop, collect, op);
            return;
        }
        struct object *o = store_list_next(op->list);
        if (o == NULL)
            break;
        op->last = o;
        take(op, o);
    }
    if (op->last != NULL)
        snprintf(op->position, sizeof(op->position), "%s/%s", op->last->ns,
                 op->last->name);
    answer(op);
}

static int
expired(struct list_op *op, struct problem *p)
{
    auto_str token = STR_INIT(LIST_TOKEN_MAX);

    list_token_write(-1, op->position, &token);
    p->cont = str_detach(&token);
    return problem_set(
        p, ERR_EXPIRED,
        "The provided continue parameter is too old to display a consistent list result. "
        "You can start a new list without the continue parameter, or use the continue "
        "token in this response to retrieve the remainder of the results.");
}

/* Opens the list at its beginning: of `revision`, or the latest when that is 0. False
 * when there is none. */
static bool
open_list(struct list_op *op, uint64_t revision)
{
    struct api_server *s = op->call->server;
    const struct route *r = &op->call->route;

    if (revision == 0 || revision == store_revision(s->store))
        op->list =
            store_list(s->store, r->kind->resource, *r->ns == '\0' ? NULL : r->ns, NULL);
    else
        op->list =
            snapshots_find(s->snapshots, revision, op->scope, loop_now_ms(s->loop));
    if (op->list == NULL)
        return false;
    op->revision = store_list_revision(op->list);
    if (op->o.limit > 0)
        op->whole = store_list_copy(op->list);
    return true;
}

static int
continue_list(struct list_op *op, struct problem *p)
{
    int64_t revision = -1;

    int rc = list_token_read(op->cont, &revision, op->position, p);
    if (rc < 0)
        return rc;
    /* A negative one goes on at the latest state, in the answer to an expired one. */
    if (!open_list(op, revision < 0 ? 0 : (uint64_t)revision))
        return expired(op, p);
    store_list_seek(op->list, op->position);
    return 0;
}

/* The revision that the list must have; 0: whatever is there now (read_ready() has waited
 * for one that is new enough). */
static uint64_t
wanted_revision(const struct list_op *op)
{
    const struct list_options *o = &op->o;
    bool exact =
        o->match == RV_MATCH_EXACT || (o->match == RV_MATCH_UNSET && o->limit > 0);

    return o->rv_given && exact ? o->rv : 0;
}

/* One named object needs no walk. */
static bool
single(struct list_op *op)
{
    struct api_server *s = op->call->server;
    const struct route *r = &op->call->route;
    const char *name =
        op->fields == NULL ? NULL : selector_requires(op->fields, "metadata.name");

    if (name == NULL || (r->kind->namespaced && *r->ns == '\0'))
        return false;
    struct store_key key = {r->kind->resource, r->ns, name};
    struct object *o = store_get(s->store, &key);
    op->revision = store_revision(s->store);
    if (o != NULL)
        take(op, o);
    return true;
}

static int
prepare(struct list_op *op, struct problem *p)
{
    struct api_call *c = op->call;
    const struct route *r = &c->route;
    int rc;

    if ((rc = accept_parse(call_header_in(c, "Accept"), &op->accept, p)) < 0 ||
        (rc = list_options_parse(c, &op->o, p)) < 0 ||
        (rc = include_parse(c, &op->include, p)) < 0 ||
        (rc = selector_parse_labels(op->o.label, &op->labels, &p->e)) < 0 ||
        (rc = selector_parse_fields(r->kind, op->o.field, &op->fields, &p->e)) < 0)
        return rc;
    /* The request may be gone when the view is new enough. */
    if (op->o.cont != NULL && *op->o.cont != '\0')
        op->cont = xstrdup(op->o.cont);
    op->scope = xasprintf("%s|%s", r->kind->resource, r->ns);
    op->body = xnew(struct list_body);
    op->body->kind = kind_ref(r->kind);
    str_init(&op->body->head, 64 * 1024);
    str_init(&op->body->tail, 64);
    str_init(&op->body->piece, 2 * OBJECT_MAX_BYTES);
    return 0;
}

static void
fail(struct list_op *op, const struct problem *p)
{
    struct api_call *c = op->call;

    op_free(op);
    call_problem(c, p);
}

static void
start(struct list_op *op)
{
    bool continued = op->cont != NULL;
    auto_problem p;

    problem_init(&p, NULL, NULL);
    uint64_t revision = continued ? 0 : wanted_revision(op);
    if (continued && continue_list(op, &p) < 0) {
        fail(op, &p);
        return;
    }
    if (!continued && revision == 0 && single(op)) {
        answer(op);
        return;
    }
    if (!continued && !open_list(op, revision)) {
        problem_set(&p, ERR_EXPIRED,
                    "The resourceVersion for the provided list is too old.");
        fail(op, &p);
        return;
    }
    collect(op);
}

static void
on_ready(void *arg, uint64_t revision, const struct error *e)
{
    struct list_op *op = arg;
    auto_problem p;

    UNUSED(revision);
    problem_init(&p, NULL, NULL);
    if (e == NULL) {
        start(op);
        return;
    }
    read_problem(op->call->server, &op->o, e, &p);
    fail(op, &p);
}

void
verb_list(struct api_call *c)
{
    struct list_op *op = xnew(struct list_op);
    auto_problem p;

    op->call = c;
    problem_init(&p, NULL, NULL);
    if (prepare(op, &p) < 0)
        fail(op, &p);
    else if (read_ready(c->server, &op->o, on_ready, op))
        start(op);
}
