/* SPDX-License-Identifier: Apache-2.0 */
/* The pipeline from a request to the next object. */
#include "apiserver/registry/compute.h"

#include <stdlib.h>

#include "api/admit.h"
#include "api/jtok.h"
#include "apiserver/registry/compute_internal.h"

static bool
spans_equal(struct span a, struct span b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static size_t
strict_violations(const struct violations *v)
{
    size_t n = 0;

    vec_foreach (p, &v->list) {
        if (p->reason == VIOLATION_UNKNOWN || p->reason == VIOLATION_DUPLICATE_KEY)
            n++;
    }
    return n;
}

/* On a write of the whole object, where the status is a subresource. */
static bool
status_is_wrong(const struct compute *c, const struct violations *v)
{
    if (*c->in->sub != '\0' || !c->in->kind->has_status)
        return false;
    vec_foreach (x, &v->list) {
        if (str_starts(x->path, "status.") || streq(x->path, "status"))
            return true;
    }
    return false;
}

/* Copies a canonical object without its member status. */
static void
copy_without_status(const struct str *in, struct str *out)
{
    struct span object = {in->ptr, in->len}, value;
    const char *end = in->ptr + in->len;

    str_reset(out);
    if (!jscan_member(object, "status", &value)) {
        str_add(out, in->ptr, in->len);
        return;
    }
    const char *start = value.ptr - strlen("\"status\":");
    const char *rest = value.ptr + value.len;
    if (start[-1] == ',')
        start--;
    else if (*rest == ',')
        rest++;
    str_add(out, in->ptr, (size_t)(start - in->ptr));
    str_add(out, rest, (size_t)(end - rest));
}

/* What such a write says of the status does not count, so it may be wrong. */
static int
drop_status(struct compute *c, const struct violations *v, struct error *e)
{
    auto_str full = STR_INIT(2 * OBJECT_MAX_BYTES);
    int rc =
        kind_normalize(c->in->kind, (struct span){c->next.ptr, c->next.len}, &full, e);

    if (rc < 0)
        return rc;
    copy_without_status(&full, &c->next);
    vec_foreach (x, &v->list) { /* what was pruned cannot be seen any more */
        if (x->reason == VIOLATION_UNKNOWN || x->reason == VIOLATION_DUPLICATE_KEY)
            violations_add(&compute_problem(c)->v, x->reason, x->path, NULL, "%s", "");
    }
    return 0;
}

/* What is wrong may not matter, or have been so before. */
static int
decode_again(struct compute *c, struct error *e)
{
    const struct compute_in *in = c->in;
    struct violations *v = &compute_problem(c)->v;
    auto_violations first = *v;
    int rc = 0;

    *v = (struct violations){0};
    *e = (struct error)ERROR_INIT;
    if (status_is_wrong(c, &first))
        rc = drop_status(c, &first, e);
    struct span next = {c->next.ptr, c->next.len};
    if (rc < 0)
        return rc;
    if (in->live == NULL)
        return kind_decode(in->kind, next, &c->decoded, v, e);
    return kind_decode_changed(
        in->kind, next, (struct span){in->live->bytes, in->live->len}, &c->decoded, v, e);
}

static int
decode(struct compute *c)
{
    struct problem *p = compute_problem(c);
    const struct compute_in *in = c->in;
    struct error e = ERROR_INIT;

    int rc = kind_decode(in->kind, (struct span){c->next.ptr, c->next.len}, &c->decoded,
                         &p->v, &e);
    if (rc < 0 && e.code == ERR_INVALID &&
        (in->live != NULL || status_is_wrong(c, &p->v)))
        rc = decode_again(c, &e);
    if (rc < 0 && e.code != ERR_INVALID) {
        p->e = e;
        return rc;
    }
    if (in->opt.validation == FIELD_STRICT && strict_violations(&p->v) > 0) {
        problem_set(p, ERR_BAD_REQUEST, "unknown fields");
        p->form = PROBLEM_STRICT;
        return -ERR_BAD_REQUEST;
    }
    if (rc < 0 || violations_errors(&p->v) > 0)
        return problem_invalid(p);
    if (c->decoded.toobig)
        return problem_set(p, ERR_TOO_LARGE, "Request entity too large: limit is %u",
                           OBJECT_MAX_BYTES);
    return doc_parse(c->decoded.ptr, c->decoded.len, &c->doc, &p->e);
}

/* True when everything but metadata.managedFields is as it was. */
static bool
same_but_managed(const struct compute *c)
{
    struct doc a = c->doc, b = c->live_doc;
    auto_str next = STR_INIT(OBJECT_MAX_BYTES);
    auto_str live = STR_INIT(OBJECT_MAX_BYTES);

    a.meta.managed_fields = b.meta.managed_fields = (struct span){0};
    doc_write(&a, &next);
    doc_write(&b, &live);
    return spans_equal((struct span){next.ptr, next.len},
                       (struct span){live.ptr, live.len});
}

static int
dump_canonical(const json_t *tree, struct str *out, struct error *e)
{
    auto_str text = STR_INIT(2 * OBJECT_MAX_BYTES);

    jtree_write(tree, &text);
    if (text.toobig)
        return error_set(e, ERR_TOO_LARGE, "the object is too large");
    return jcanon(text.ptr, text.len, out, e);
}

/* Whether this write keeps track of who manages which field. */
static bool
tracks_managers(const struct compute *c)
{
    const struct compute_in *in = c->in;

    if (in->type == WRITE_APPLY || streq(in->sub, "finalize"))
        return false; /* managed_apply has done it; the other says nothing of wishes */
    if (!in->kind->managed_on_apply)
        return true;
    return in->live != NULL && (c->live_doc.meta.managed_fields.len > 0 ||
                                c->doc.meta.managed_fields.len > 0);
}

static int
track_by_tree(struct compute *c, const struct managed_opts *o, struct str *bytes)
{
    const struct compute_in *in = c->in;
    struct error *e = &compute_problem(c)->e;
    json_t *result = NULL;

    json_t *live = in->live == NULL ? NULL : object_json(in->live);
    json_t *next = jtree((struct span){bytes->ptr, bytes->len});
    bug_if(next == NULL);
    if (span_eq(c->doc.meta.managed_fields, "[]")) /* empty lists are not written */
        json_object_set_new(json_object_get(next, "metadata"), "managedFields",
                            json_array());
    int rc = managed_update(o, live, next, &result, e);
    if (rc == 0) {
        str_reset(bytes);
        rc = dump_canonical(result, bytes, e);
    }
    json_decref(result);
    json_decref(next);
    json_decref(live);
    if (rc < 0)
        return rc;
    /* The round trip may have brought members that stored bytes do not carry. */
    str_reset(&c->decoded);
    str_add(&c->decoded, bytes->ptr, bytes->len);
    rc = doc_parse(c->decoded.ptr, c->decoded.len, &c->doc, e);
    if (rc == 0) {
        str_reset(bytes);
        doc_write(&c->doc, bytes);
    }
    return rc;
}

static int
track_managers(struct compute *c, struct str *bytes)
{
    const struct compute_in *in = c->in;
    char now[CLOCK_RFC3339_LEN];
    struct managed_opts o = {.kind = in->kind,
                             .manager = in->opt.manager,
                             .subresource = in->sub,
                             .now = now,
                             .versions = in->versions,
                             .n_versions = in->n_versions};
    struct managed_bytes b = {.next = {bytes->ptr, bytes->len},
                              .live_fields = c->live_doc.meta.managed_fields,
                              .next_fields = c->doc.meta.managed_fields};

    clock_format(in->now_ns, now);
    if (in->live != NULL)
        b.live = (struct span){in->live->bytes, in->live->len};
    if (!managed_update_fast(&o, &b, &c->managed))
        return track_by_tree(c, &o, bytes);
    c->doc.meta.managed_fields = (struct span){c->managed.ptr, c->managed.len};
    str_reset(bytes);
    doc_write(&c->doc, bytes);
    return 0;
}

/* A deleted object that nothing holds any more. A Namespace is held by its spec too. */
static bool
is_released(const struct compute *c)
{
    struct span spec = doc_get(&c->doc, "spec"), held;

    if (c->doc.meta.deleted.len == 0 || c->doc.meta.finalizers.len > 2)
        return false;
    return !streq(c->in->kind->resource, "namespaces") || spec.len == 0 ||
           !jscan_member(spec, "finalizers", &held) || held.len <= 2;
}

static bool
is_noop(const struct compute *c)
{
    if (c->in->live == NULL || !same_but_managed(c) || is_released(c))
        return false;
    if (c->in->type == WRITE_APPLY)
        return !c->apply_changed ||
               spans_equal(c->doc.meta.managed_fields, c->live_doc.meta.managed_fields);
    return c->doc.meta.managed_fields.len == 0 ||
           spans_equal(c->doc.meta.managed_fields, c->live_doc.meta.managed_fields);
}

static int
admit(struct compute *c, const struct str *bytes)
{
    struct problem *p = compute_problem(c);
    struct error e = ERROR_INIT;

    /* A status says what is; only what is asked for needs permission. */
    if (*c->in->sub != '\0')
        return 0;
    const struct object *live = c->in->live;
    struct span after = {bytes->ptr, bytes->len};
    int rc = admit_object(c->in->kind, after, &p->v, &e);
    if (rc == 0 && live != NULL)
        rc = admit_update(c->in->kind, (struct span){live->bytes, live->len}, after,
                          &p->v, &e);
    if (rc == 0)
        return 0;
    if (e.code == ERR_INVALID)
        return problem_invalid(p);
    p->e = e;
    return rc;
}

static int
finish(struct compute *c)
{
    struct problem *p = compute_problem(c);
    auto_str bytes = STR_INIT(OBJECT_MAX_BYTES);
    int rc;

    if (is_noop(c)) {
        c->out->obj = object_ref(c->in->live);
        return 0;
    }
    doc_write(&c->doc, &bytes);
    if ((rc = admit(c, &bytes)) < 0)
        return rc;
    if (tracks_managers(c) && (rc = track_managers(c, &bytes)) < 0)
        return rc;
    if (bytes.toobig)
        return problem_set(p, ERR_TOO_LARGE, "Request entity too large: limit is %u",
                           OBJECT_MAX_BYTES);
    rc = object_new(c->in->kind, bytes.ptr, bytes.len, 0, &c->out->obj, &p->e);
    if (rc < 0)
        return rc;
    c->out->changed = true;
    c->out->created = c->in->live == NULL;
    c->out->gone = is_released(c);
    return 0;
}

static int
run(struct compute *c)
{
    struct problem *p = compute_problem(c);
    const struct object *live = c->in->live;
    int rc;

    if (live != NULL && (rc = doc_parse(live->bytes, live->len, &c->live_doc, &p->e)) < 0)
        return rc;
    if ((rc = compute_next(c)) < 0 || (rc = decode(c)) < 0)
        return rc;
    rc = live == NULL ? compute_meta_create(c) : compute_meta_update(c);
    if (rc < 0 || (rc = kind_rules_apply(c)) < 0 || (rc = compute_meta_check(c)) < 0)
        return rc;
    return finish(c);
}

int
compute_write(const struct compute_in *in, struct compute_out *out)
{
    struct compute c = {.in = in, .out = out};

    str_init(&c.next, 2 * OBJECT_MAX_BYTES);
    str_init(&c.decoded, 2 * OBJECT_MAX_BYTES);
    str_init(&c.managed, OBJECT_MAX_BYTES);
    for (size_t i = 0; i < ARRAY_LEN(c.scratch); i++)
        str_init(&c.scratch[i], OBJECT_MAX_BYTES);
    int rc = run(&c);
    str_done(&c.next);
    str_done(&c.decoded);
    str_done(&c.managed);
    for (size_t i = 0; i < ARRAY_LEN(c.scratch); i++)
        str_done(&c.scratch[i]);
    bug_if(rc < 0 && out->problem.e.code == ERR_OK);
    return rc;
}
