/* SPDX-License-Identifier: Apache-2.0 */
/* Deletion: preconditions, propagation policy and finalizers. */
#include <jansson.h>
#include <stdlib.h>

#include "api/jtok.h"
#include "apiserver/registry/compute_internal.h"
#include "apiserver/registry/kinds.h"

static const char *const gc_finalizers[] = {"\"foregroundDeletion\"", "\"orphan\""};

static int
parse_policy(const char *text, struct delete_options *o, struct problem *p)
{
    if (text == NULL || *text == '\0')
        o->policy = DELETE_DEFAULT;
    else if (streq(text, "Background"))
        o->policy = DELETE_BACKGROUND;
    else if (streq(text, "Foreground"))
        o->policy = DELETE_FOREGROUND;
    else if (streq(text, "Orphan"))
        o->policy = DELETE_ORPHAN;
    else
        return problem_set(
            p, ERR_INVALID,
            "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: "
            "Unsupported value: \"%.40s\": supported values: "
            "\"Background\", \"Foreground\", \"Orphan\"",
            text);
    return 0;
}

static int
parse_dry_run(const json_t *list, struct delete_options *o, struct problem *p)
{
    if (json_array_size(list) == 0)
        return 0;
    const char *text = json_string_value(json_array_get(list, 0));
    if (json_array_size(list) > 1 || text == NULL || !streq(text, "All"))
        return problem_set(p, ERR_INVALID,
                           "DeleteOptions.meta.k8s.io \"\" is invalid: dryRun: "
                           "Unsupported value: supported values: \"All\"");
    o->dry_run = true;
    return 0;
}

/* The types of the members that are read, and of those that are not. */
static int
check_types(const json_t *options, struct problem *p)
{
    static const struct {
        const char *key;
        json_type type;
    } members[] = {
        {"kind", JSON_STRING},          {"apiVersion", JSON_STRING},
        {"preconditions", JSON_OBJECT}, {"propagationPolicy", JSON_STRING},
        {"dryRun", JSON_ARRAY},         {"gracePeriodSeconds", JSON_INTEGER},
    };

    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        const json_t *v = json_object_get(options, members[i].key);
        if (v != NULL && !json_is_null(v) && json_typeof(v) != members[i].type)
            return problem_set(p, ERR_BAD_REQUEST, "DeleteOptions: %s has the wrong type",
                               members[i].key);
    }
    const char *kind = json_string_value(json_object_get(options, "kind"));
    if (kind != NULL && *kind != '\0' && !streq(kind, "DeleteOptions"))
        return problem_set(p, ERR_BAD_REQUEST,
                           "the body must be DeleteOptions, not \"%.60s\"", kind);
    return 0;
}

static int
parse_body(struct span body, struct delete_options *o, struct problem *p)
{
    auto_str clean = STR_INIT(64 * 1024);
    const char *uid = NULL, *rv = NULL, *policy;

    int rc = jcanon(body.ptr, body.len, &clean, &p->e);
    if (rc < 0)
        return rc;
    json_t *options = json_loadb(clean.ptr, clean.len, 0, NULL);
    if (!json_is_object(options)) {
        json_decref(options);
        return problem_set(p, ERR_BAD_REQUEST, "DeleteOptions must be an object");
    }
    if ((rc = check_types(options, p)) < 0) {
        json_decref(options);
        return rc;
    }
    const json_t *pre = json_object_get(options, "preconditions");
    uid = json_string_value(json_object_get(pre, "uid"));
    rv = json_string_value(json_object_get(pre, "resourceVersion"));
    policy = json_string_value(json_object_get(options, "propagationPolicy"));
    snprintf(o->uid, sizeof(o->uid), "%s", uid == NULL ? "" : uid);
    snprintf(o->rv, sizeof(o->rv), "%s", rv == NULL ? "" : rv);
    const json_t *orphan = json_object_get(options, "orphanDependents");
    if (json_is_boolean(orphan) && policy != NULL)
        rc = problem_set(p, ERR_INVALID,
                         "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: "
                         "Invalid value: orphanDependents and deletionPropagation cannot "
                         "be both set");
    else
        rc = parse_policy(json_is_true(orphan) ? "Orphan" : policy, o, p);
    if (rc == 0)
        rc = parse_dry_run(json_object_get(options, "dryRun"), o, p);
    json_decref(options);
    return rc;
}

int
delete_options_parse(const struct api_call *c, struct delete_options *ret,
                     struct problem *p)
{
    struct delete_options o = {0};
    const char *dry = call_query(c, "dryRun");
    int rc = parse_policy(call_query(c, "propagationPolicy"), &o, p);

    if (rc < 0)
        return rc;
    if (dry != NULL && *dry != '\0') {
        if (!streq(dry, "All"))
            return problem_set(p, ERR_INVALID,
                               "DeleteOptions.meta.k8s.io \"\" is invalid: dryRun: "
                               "Unsupported value: supported values: \"All\"");
        o.dry_run = true;
    }
    if (c->req.body.len > 0) {
        bool query_dry = o.dry_run;
        if ((rc = parse_body(c->req.body, &o, p)) < 0)
            return rc;
        o.dry_run = o.dry_run || query_dry;
    }
    *ret = o;
    return 0;
}

static int
check_preconditions(const struct object *live, const struct delete_options *o,
                    struct problem *p)
{
    if (o->uid[0] != '\0' && !streq(o->uid, live->uid))
        return problem_set(
            p, ERR_CONFLICT,
            "Operation cannot be fulfilled on %s \"%s\": the UID in the precondition "
            "(%s) "
            "does not match the UID in record (%s). The object might have been deleted "
            "and then recreated",
            p->kind->resource, live->name, o->uid, live->uid);
    if (o->rv[0] != '\0' && strtoull(o->rv, NULL, 10) != live->revision)
        return problem_set(p, ERR_CONFLICT,
                           "Operation cannot be fulfilled on %s \"%s\": the "
                           "ResourceVersion in the precondition (%s) does not match the "
                           "ResourceVersion in record (%llu). The object might have been "
                           "modified",
                           p->kind->resource, live->name, o->rv,
                           (unsigned long long)live->revision);
    return 0;
}

/* The finalizers that stay, the kind's own and the policy's. False when none is left. */
static bool
final_list(struct span old, enum delete_policy policy, const char *own, struct str *out)
{
    const char *cursor = NULL;
    struct span item;
    bool there = false;

    str_addc(out, '[');
    while (old.len > 0 && jscan_next_item(old, &cursor, &item)) {
        there = there || (own != NULL && jscan_is(item, own));
        if (policy != DELETE_DEFAULT &&
            (span_eq(item, gc_finalizers[0]) || span_eq(item, gc_finalizers[1])))
            continue;
        jput_item(out);
        str_add(out, item.ptr, item.len);
    }
    if (own != NULL && !there) {
        jput_item(out);
        jput_stringz(out, own);
    }
    if (policy == DELETE_FOREGROUND || policy == DELETE_ORPHAN) {
        jput_item(out);
        str_adds(out, gc_finalizers[policy == DELETE_ORPHAN ? 1 : 0]);
    }
    str_addc(out, ']');
    return out->len > 2;
}

static int
write_object(const struct kind *kind, const struct doc *d, struct object **ret,
             struct error *e)
{
    auto_str bytes = STR_INIT(OBJECT_MAX_BYTES);

    doc_write(d, &bytes);
    if (bytes.toobig)
        return error_set(e, ERR_TOO_LARGE, "the object is too large");
    return object_new(kind, bytes.ptr, bytes.len, 0, ret, e);
}

static int
set_terminating(struct doc *d, struct str *status, struct error *e)
{
    struct span old = doc_get(d, "status");
    int rc = jmerge(old.len > 0 ? old : span_of("{}"),
                    span_of("{\"phase\":\"Terminating\"}"), status, e);

    return rc < 0 ? rc : doc_set(d, "status", (struct span){status->ptr, status->len}, e);
}

int
compute_delete(const struct kind *kind, const struct object *live,
               const struct delete_options *o, int64_t now_ns, struct compute_out *out)
{
    struct problem *p = &out->problem;
    bool is_namespace = streq(kind->resource, "namespaces");
    auto_str finalizers = STR_INIT(64 * 1024);
    auto_str status = STR_INIT(64 * 1024);
    char now[CLOCK_RFC3339_LEN];
    struct doc d;

    int rc = check_preconditions(live, o, p);
    if (rc < 0 || (rc = doc_parse(live->bytes, live->len, &d, &p->e)) < 0)
        return rc;
    bool is_crd = streq(kind->resource, CRD_RESOURCE) && d.meta.deleted.len == 0;
    bool left = final_list(d.meta.finalizers, o->policy, is_crd ? CRD_FINALIZER : NULL,
                           &finalizers);
    if (!left && !is_namespace) {
        out->obj = object_ref(live);
        out->gone = true;
        return 0;
    }
    struct span list =
        left ? (struct span){finalizers.ptr, finalizers.len} : (struct span){0};
    bool same = list.len == d.meta.finalizers.len &&
                (list.len == 0 || memcmp(list.ptr, d.meta.finalizers.ptr, list.len) == 0);
    if (d.meta.deleted.len > 0 && same) {
        out->obj = object_ref(live);
        return 0;
    }
    d.meta.finalizers = list;
    if (d.meta.deleted.len == 0) {
        clock_format(now_ns, now);
        d.meta.deleted = span_of(now);
        d.meta.grace_s = 0;
        if (kind->has_generation)
            d.meta.generation++;
    }
    if (is_namespace && (rc = set_terminating(&d, &status, &p->e)) < 0)
        return rc;
    rc = write_object(kind, &d, &out->obj, &p->e);
    out->changed = rc == 0;
    return rc;
}

int
compute_replace_meta(const struct kind *kind, const struct object *live,
                     const struct span *finalizers, const struct span *owners,
                     struct object **ret, struct error *e)
{
    struct doc d;

    int rc = doc_parse(live->bytes, live->len, &d, e);
    if (rc < 0)
        return rc;
    if (finalizers != NULL)
        d.meta.finalizers = *finalizers;
    if (owners != NULL)
        d.meta.owners = *owners;
    return write_object(kind, &d, ret, e);
}
