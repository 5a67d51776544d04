/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ObjectMeta: what the server sets, what a request may not change, and the rules for
 * names, labels, annotations, finalizers and owners.
 */
#include <stdlib.h>

#include "api/jtok.h"
#include "api/values.h"
#include "apiserver/registry/compute_internal.h"
#include "apiserver/registry/kinds.h"

static int
check_scope(struct compute *c)
{
    struct problem *p = compute_problem(c);
    const struct compute_in *in = c->in;
    struct span ns = c->doc.meta.ns;

    if (ns.len > 0 && !span_eq(ns, in->ns)) {
        return problem_set(p, ERR_BAD_REQUEST,
                           "the namespace of the object (%.*s) does not match the "
                           "namespace on the request (%s)",
                           SPAN_ARG(ns), in->ns);
    }
    c->doc.meta.ns = span_of(in->ns);
    return 0;
}

/* The first five digits after a dry run's name do not matter; uid and name do. */
int
compute_meta_create(struct compute *c)
{
    struct problem *p = compute_problem(c);
    const struct compute_in *in = c->in;
    struct meta *m = &c->doc.meta;
    int rc;

    if ((rc = check_scope(c)) < 0)
        return rc;
    if (m->resource_version.len > 0)
        return problem_set(p, ERR_BAD_REQUEST,
                           "resourceVersion should not be set on objects to be created");
    if (m->name.len > 0 && *in->name != '\0' && !span_eq(m->name, in->name))
        return problem_set(p, ERR_BAD_REQUEST,
                           "the name of the object (%.*s) does not match the name on the "
                           "URL (%s)",
                           SPAN_ARG(m->name), in->name);
    if (m->name.len == 0)
        m->name = span_of(in->name);
    if (m->name.len == 0)
        return problem_field(p, VIOLATION_REQUIRED, "metadata.name", NULL,
                             "name or generateName is required");
    clock_format(in->now_ns, c->created);
    m->uid = span_of(in->uid);
    m->created = span_of(c->created);
    m->generation = in->kind->has_generation ? 1 : 0;
    m->deleted = (struct span){0};
    m->grace_s = -1;
    if (in->type != WRITE_APPLY)
        m->managed_fields = (struct span){0};
    if (in->kind->has_status)
        return doc_set(&c->doc, "status", (struct span){0}, &p->e);
    return 0;
}

static bool
equal(struct span a, struct span b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* Anything outside metadata, and outside status where that is a subresource. */
static bool
spec_changed(const struct compute *c)
{
    const struct doc *a = &c->doc, *b = &c->live_doc;
    bool skip_status = c->in->kind->has_status;
    size_t i = 0, j = 0;

    for (;;) {
        while (i < a->n && skip_status && span_eq(a->members[i].key, "status"))
            i++;
        while (j < b->n && skip_status && span_eq(b->members[j].key, "status"))
            j++;
        if (i == a->n || j == b->n)
            return i != a->n || j != b->n;
        if (!equal(a->members[i].key, b->members[j].key) ||
            !equal(a->members[i].value, b->members[j].value))
            return true;
        i++;
        j++;
    }
}

static int
check_preconditions(struct compute *c)
{
    struct problem *p = compute_problem(c);
    const struct compute_in *in = c->in;
    const struct meta *m = &c->doc.meta;
    char rv[24];

    if (m->name.len > 0 && !span_eq(m->name, in->live->name))
        return problem_set(p, ERR_BAD_REQUEST,
                           "the name of the object (%.*s) does not match the name on the "
                           "URL (%s)",
                           SPAN_ARG(m->name), in->live->name);
    if (m->uid.len > 0 && !span_eq(m->uid, in->live->uid))
        return problem_set(
            p, ERR_CONFLICT,
            "Operation cannot be fulfilled on %s \"%s\": Precondition failed: UID in "
            "precondition: %.*s, UID in object meta: %s",
            in->kind->resource, p->name, SPAN_ARG(m->uid), in->live->uid);
    snprintf(rv, sizeof(rv), "%llu", (unsigned long long)in->live->revision);
    if (m->resource_version.len > 0 && !span_eq(m->resource_version, "0")) {
        if (!span_eq(m->resource_version, rv))
            return problem_modified(p);
    } else if (in->type == WRITE_UPDATE && !in->internal &&
               (!in->kind->builtin || streq(in->kind->resource, CRD_RESOURCE))) {
        return problem_field(p, VIOLATION_INVALID, "metadata.resourceVersion", "0x0",
                             "must be specified for an update");
    }
    return 0;
}

static bool
has_item(struct span array, struct span item)
{
    const char *cursor = NULL;
    struct span raw;

    while (array.len > 0 && jscan_next_item(array, &cursor, &raw)) {
        if (equal(raw, item))
            return true;
    }
    return false;
}

static int
check_finalizers_shrink(struct compute *c)
{
    struct problem *p = compute_problem(c);
    const char *cursor = NULL;
    struct span raw;

    if (c->live_doc.meta.deleted.len == 0 || c->doc.meta.finalizers.len == 0)
        return 0;
    while (jscan_next_item(c->doc.meta.finalizers, &cursor, &raw)) {
        if (!has_item(c->live_doc.meta.finalizers, raw)) {
            violations_add(&p->v, VIOLATION_FORBIDDEN, "metadata.finalizers", NULL,
                           "no new finalizers can be added if the object is being "
                           "deleted, found new finalizers []string{%.*s}",
                           SPAN_ARG(raw));
            return problem_invalid(p);
        }
    }
    return 0;
}

int
compute_meta_update(struct compute *c)
{
    struct problem *p = compute_problem(c);
    const struct compute_in *in = c->in;
    struct meta *m = &c->doc.meta;
    const struct meta *old = &c->live_doc.meta;
    int rc;

    if ((rc = check_scope(c)) < 0 || (rc = check_preconditions(c)) < 0)
        return rc;
    if (streq(in->sub, "finalize")) { /* of a Namespace: nothing but its finalizers */
        struct span spec = doc_get(&c->doc, "spec");
        c->doc = c->live_doc;
        return doc_set(&c->doc, "spec", spec, &p->e);
    }
    if (*in->sub != '\0') { /* status: everything else stays */
        struct span status = doc_get(&c->doc, "status");
        struct span managed = m->managed_fields;
        c->doc = c->live_doc;
        if (in->type == WRITE_APPLY)
            m->managed_fields = managed;
        return doc_set(&c->doc, "status", status, &p->e);
    }
    if (in->kind->has_status) {
        rc = doc_set(&c->doc, "status", doc_get(&c->live_doc, "status"), &p->e);
        if (rc < 0)
            return rc;
    }
    m->name = old->name;
    m->uid = old->uid;
    m->created = old->created;
    m->deleted = old->deleted;
    m->grace_s = old->grace_s;
    m->generation = old->generation;
    m->generate_name = old->generate_name;
    if (in->kind->has_generation && spec_changed(c))
        m->generation++;
    return check_finalizers_shrink(c);
}

/* --- rules
 * ------------------------------------------------------------------------------- */

int
compute_meta_check(struct compute *c)
{
    struct problem *p = compute_problem(c);

    if (*c->in->sub != '\0')
        return 0;
    if (c->in->live == NULL)
        meta_check_name(c);
    meta_check_maps(c);
    return violations_errors(&p->v) > 0 ? problem_invalid(p) : 0;
}
