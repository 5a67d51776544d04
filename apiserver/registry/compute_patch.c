/* SPDX-License-Identifier: Apache-2.0 */
/* The next JSON of a write, before decoding: body, merge patch, JSON patch or apply. */
#include <ctype.h>
#include <stdlib.h>

#include "api/jtok.h"
#include "api/yaml.h"
#include "apiserver/registry/compute_internal.h"
#include "apiserver/registry/strategic.h"

static bool
is_json(struct span body)
{
    struct error e = ERROR_INIT;
    struct jtok_reader r;
    struct jtok t;

    jtok_init(&r, body.ptr, body.len);
    if (jtok_next(&r, &t, &e) < 0 || (t.type != JTOK_OBJECT && t.type != JTOK_ARRAY))
        return false;
    return jtok_skip(&r, &e) == 0;
}

int
body_one_document(struct yaml_docs *docs, struct str *out, struct error *e)
{
    int rc = 0;

    if (docs->list.len == 1)
        str_add(out, docs->list.items[0].json.ptr, docs->list.items[0].json.len);
    else
        rc = error_set(e, ERR_BAD_REQUEST, "the body has %zu documents; one is expected",
                       docs->list.len);
    yaml_docs_done(docs);
    return rc;
}

/* A body is JSON when it starts like it; YAML otherwise. YAML in flow style starts like
 * it too; what is neither stays as it is, for the message of the JSON reader. Appends
 * JSON to out. */
static int
body_json(struct span body, struct str *out, struct error *e)
{
    struct yaml_docs docs = {0};
    struct error ignored = ERROR_INIT;
    bool flow = false;
    size_t i = 0;

    while (i < body.len && isspace((unsigned char)body.ptr[i]))
        i++;
    if (i == body.len)
        return error_set(e, ERR_BAD_REQUEST, "the request has no body");
    if (body.ptr[i] == '{' || body.ptr[i] == '[') {
        flow = !is_json((struct span){body.ptr + i, body.len - i});
        if (!flow) {
            str_add(out, body.ptr, body.len);
            return 0;
        }
    }
    int rc = yaml_read(body.ptr, body.len, false, &docs, flow ? &ignored : e);
    if (rc < 0 && flow) {
        str_add(out, body.ptr, body.len);
        return 0;
    }
    if (rc < 0) {
        e->code = ERR_BAD_REQUEST;
        return -ERR_BAD_REQUEST;
    }
    return body_one_document(&docs, out, e);
}

/* Which of apiVersion and kind the top level has; *ret_empty when it has no members. */
static int
scan_top(struct span json, bool *has_version, bool *has_kind, bool *empty)
{
    struct error e = ERROR_INIT;
    struct jtok_reader r;
    struct jtok t;

    *has_version = *has_kind = false;
    *empty = true;
    jtok_init(&r, json.ptr, json.len);
    if (jtok_next(&r, &t, &e) < 0 || t.type != JTOK_OBJECT)
        return -1;
    while (jtok_next(&r, &t, &e) == 0 && t.type == JTOK_KEY) {
        *empty = false;
        *has_version = *has_version || jtok_eq(&t, "apiVersion");
        *has_kind = *has_kind || jtok_eq(&t, "kind");
        if (jtok_next(&r, &t, &e) < 0)
            return -1;
        if ((t.type == JTOK_OBJECT || t.type == JTOK_ARRAY) && jtok_skip(&r, &e) < 0)
            return -1;
    }
    return 0;
}

/* Typed clients leave out apiVersion and kind of built-in kinds: the URL says them. */
static void
add_gvk(const struct kind *k, struct str *json)
{
    bool version, kind, empty;
    auto_str out = STR_INIT(json->max);

    if (!k->builtin ||
        scan_top((struct span){json->ptr, json->len}, &version, &kind, &empty) < 0 ||
        (version && kind))
        return;
    const char *brace = memchr(json->ptr, '{', json->len);
    size_t at = (size_t)(brace - json->ptr) + 1;
    str_addc(&out, '{');
    if (!version)
        jput_member(&out, "apiVersion", k->api_version);
    if (!kind)
        jput_member(&out, "kind", k->kind);
    if (!empty)
        str_addc(&out, ',');
    str_add(&out, json->ptr + at, json->len - at);
    str_done(json);
    *json = out;
    out = STR_INIT(0);
}

static int
next_body(struct compute *c)
{
    struct problem *p = compute_problem(c);

    int rc = body_json(c->in->body, &c->next, &p->e);
    if (rc == 0)
        add_gvk(c->in->kind, &c->next);
    return rc;
}

static int
next_merge(struct compute *c)
{
    struct problem *p = compute_problem(c);
    const struct object *live = c->in->live;
    auto_str body = STR_INIT(OBJECT_MAX_BYTES);
    auto_str patch = STR_INIT(OBJECT_MAX_BYTES);
    int rc;

    if ((rc = body_json(c->in->body, &body, &p->e)) < 0 ||
        (rc = jcanon(body.ptr, body.len, &patch, &p->e)) < 0)
        return rc;
    if (patch.toobig)
        return problem_set(p, ERR_TOO_LARGE, "the patch is too large");
    if (patch.ptr[0] != '{')
        return problem_set(p, ERR_BAD_REQUEST, "a merge patch is a JSON object");
    return jmerge((struct span){live->bytes, live->len},
                  (struct span){patch.ptr, patch.len}, &c->next, &p->e);
}

static int
dump(struct compute *c, const json_t *tree)
{
    jtree_write(tree, &c->next);
    return !c->next.toobig ? 0
                           : problem_set(compute_problem(c), ERR_TOO_LARGE,
                                         "the patched object is too large");
}

static int
parse_tree(struct compute *c, struct span text, json_t **ret)
{
    auto_str clean = STR_INIT(2 * OBJECT_MAX_BYTES);
    struct error *e = &compute_problem(c)->e;

    /* jcanon is the reader that checks depth and UTF-8. */
    int rc = jcanon(text.ptr, text.len, &clean, e);
    if (rc < 0)
        return rc;
    *ret = jtree((struct span){clean.ptr, clean.len});
    return *ret != NULL ? 0 : error_set(e, ERR_BAD_REQUEST, "the body is not JSON");
}

/* Patches that work on trees: JSON patch and strategic merge patch. */
static int
next_tree_patch(struct compute *c, int (*patch)(const json_t *target, const json_t *patch,
                                                json_t **ret, struct error *e))
{
    struct problem *p = compute_problem(c);
    auto_str body = STR_INIT(OBJECT_MAX_BYTES);
    struct error e = ERROR_INIT;
    json_t *ops = NULL, *result = NULL;
    int rc;

    if ((rc = body_json(c->in->body, &body, &p->e)) < 0 ||
        (rc = parse_tree(c, (struct span){body.ptr, body.len}, &ops)) < 0)
        return rc;
    json_t *target = object_json(c->in->live);
    rc = patch(target, ops, &result, &e);
    if (rc == 0)
        rc = dump(c, result);
    else
        p->e = e;
    json_decref(result);
    json_decref(target);
    json_decref(ops);
    return rc;
}

/* --- server-side apply
 * ------------------------------------------------------------------- */

static const char *
member_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text == NULL ? "" : text;
}

/* Removes "a.b[3].c" from the tree; a path that leads nowhere is ignored. */
static void
remove_path(json_t *at, const char *path)
{
    while (*path != '\0') {
        size_t n = strcspn(path, ".[");
        if (n > 0) {
            autofree char *key = xstrndup(path, n);
            path += n;
            if (*path == '\0') {
                json_object_del(at, key);
                return;
            }
            at = json_object_get(at, key);
        }
        if (*path == '.') {
            path++;
        } else if (*path == '[') {
            char *end = NULL;
            unsigned long i = strtoul(path + 1, &end, 10);
            if (*end != ']')
                return;
            at = json_array_get(at, i);
            path = end + 1;
        }
    }
}

static void
keep_only_status(json_t *config)
{
    static const char *const kept[] = {"apiVersion", "kind", "metadata", "status"};
    const char *key;
    json_t *value;
    void *tmp;

    json_object_foreach_safe(config, tmp, key, value)
    {
        bool keep = false;
        for (size_t i = 0; i < ARRAY_LEN(kept); i++)
            keep = keep || streq(key, kept[i]);
        if (!keep)
            json_object_del(config, key);
    }
}

static int
check_config(struct compute *c, json_t *config)
{
    struct problem *p = compute_problem(c);
    const struct compute_in *in = c->in;
    const struct kind *k = in->kind;

    if (!json_is_object(config))
        return problem_set(p, ERR_BAD_REQUEST, "an apply patch is an object");
    if (!streq(member_text(config, "apiVersion"), k->api_version))
        return problem_set(
            p, ERR_BAD_REQUEST,
            "Incorrect version specified in apply patch. Specified patch version: %.80s, "
            "expected: %s",
            member_text(config, "apiVersion"), k->api_version);
    if (!streq(member_text(config, "kind"), k->kind))
        return problem_set(p, ERR_BAD_REQUEST,
                           "the kind of the object (%.80s) does not match the kind of "
                           "the URL (%s)",
                           member_text(config, "kind"), k->kind);
    json_t *meta = json_object_get(config, "metadata");
    if (meta == NULL) {
        meta = json_object();
        json_object_set_new(config, "metadata", meta);
    }
    if (!json_is_object(meta))
        return problem_set(p, ERR_BAD_REQUEST, "metadata must be an object");
    if (json_array_size(json_object_get(meta, "managedFields")) > 0)
        return problem_set(p, ERR_BAD_REQUEST, "metadata.managedFields must be nil");
    json_object_del(meta, "managedFields");
    const char *name = member_text(meta, "name"), *ns = member_text(meta, "namespace");
    if (*name != '\0' && !streq(name, in->name))
        return problem_set(p, ERR_BAD_REQUEST,
                           "the name of the object (%.253s) does not match the name on "
                           "the URL (%s)",
                           name, in->name);
    if (*ns != '\0' && !streq(ns, in->ns))
        return problem_set(p, ERR_BAD_REQUEST,
                           "the namespace of the object (%.253s) does not match the "
                           "namespace on the request (%s)",
                           ns, in->ns);
    if (*name == '\0')
        json_object_set_new(meta, "name", json_string(in->name));
    if (k->namespaced && *ns == '\0')
        json_object_set_new(meta, "namespace", json_string(in->ns));
    return 0;
}

/* Strict: unknown fields are the client's mistake. Otherwise they are dropped here, so
 * that nobody comes to own what is not kept. */
static int
drop_unknown(struct compute *c, struct span text, json_t *config)
{
    struct problem *p = compute_problem(c);
    auto_violations found = {0};
    auto_str ignored = STR_INIT(2 * OBJECT_MAX_BYTES);
    struct error e = ERROR_INIT;

    int rc = kind_decode(c->in->kind, text, &ignored, &found, &e);
    if (rc < 0 && e.code != ERR_INVALID) {
        p->e = e;
        return rc;
    }
    vec_foreach (v, &found.list) {
        if (v->reason != VIOLATION_UNKNOWN && v->reason != VIOLATION_DUPLICATE_KEY)
            continue;
        violations_add(&p->v, v->reason, v->path, NULL, "%s", "");
        if (v->reason == VIOLATION_UNKNOWN)
            remove_path(config, v->path);
    }
    if (p->v.list.len == 0 || c->in->opt.validation != FIELD_STRICT)
        return 0;
    problem_set(p, ERR_BAD_REQUEST, "unknown fields");
    p->form = PROBLEM_STRICT;
    return -ERR_BAD_REQUEST;
}

static int
merge_config(struct compute *c, json_t *config)
{
    struct problem *p = compute_problem(c);
    const struct compute_in *in = c->in;
    char now[CLOCK_RFC3339_LEN];
    struct error e = ERROR_INIT;
    json_t *result = NULL;

    clock_format(in->now_ns, now);
    struct managed_opts o = {.kind = in->kind,
                             .manager = in->opt.manager,
                             .subresource = in->sub,
                             .now = now,
                             .force = in->opt.force,
                             .versions = in->versions,
                             .n_versions = in->n_versions};
    json_t *live = in->live == NULL ? NULL : object_json(in->live);
    int rc =
        managed_apply(&o, live, config, &result, &c->apply_changed, &p->conflicts, &e);
    if (rc == 0)
        rc = dump(c, result);
    else {
        p->e = e;
        p->form = e.code == ERR_CONFLICT ? PROBLEM_APPLY : PROBLEM_PLAIN;
    }
    json_decref(result);
    json_decref(live);
    return rc;
}

/* A resourceVersion or uid in the config is a precondition; it is not applied. */
static int
config_preconditions(struct compute *c, const json_t *config)
{
    struct problem *p = compute_problem(c);
    const json_t *meta = json_object_get(config, "metadata");
    const char *rv = member_text(meta, "resourceVersion");
    const char *uid = member_text(meta, "uid");
    const struct object *live = c->in->live;

    if (live == NULL) {
        if (*uid != '\0' || *rv != '\0')
            return problem_not_found(p);
        return 0;
    }
    if (*uid != '\0' && !streq(uid, live->uid))
        return problem_set(p, ERR_CONFLICT,
                           "Operation cannot be fulfilled on %s \"%s\": Precondition "
                           "failed: UID in precondition: %.60s, UID in object meta: %s",
                           c->in->kind->resource, p->name, uid, live->uid);
    if (*rv != '\0' && strtoull(rv, NULL, 10) != live->revision)
        return problem_modified(p);
    return 0;
}

static int
next_apply(struct compute *c)
{
    struct error *e = &compute_problem(c)->e;
    auto_str text = STR_INIT(OBJECT_MAX_BYTES);
    json_t *config = NULL;
    int rc;

    if ((rc = body_json(c->in->body, &text, e)) < 0)
        return rc;
    if (text.toobig)
        return error_set(e, ERR_TOO_LARGE, "the apply patch is too large");
    struct span span = {text.ptr, text.len};
    if ((rc = parse_tree(c, span, &config)) < 0)
        return rc;
    if ((rc = check_config(c, config)) == 0 &&
        (rc = config_preconditions(c, config)) == 0 &&
        (rc = drop_unknown(c, span, config)) == 0) {
        if (*c->in->sub != '\0')
            keep_only_status(config);
        else if (c->in->kind->has_status)
            json_object_del(config, "status");
        rc = merge_config(c, config);
    }
    json_decref(config);
    return rc;
}

int
compute_next(struct compute *c)
{
    switch (c->in->type) {
    case WRITE_CREATE:
    case WRITE_UPDATE:
        return next_body(c);
    case WRITE_MERGE:
        return next_merge(c);
    case WRITE_JSON_PATCH:
        return next_tree_patch(c, patch_json);
    case WRITE_STRATEGIC:
        return next_tree_patch(c, strategic_merge);
    case WRITE_APPLY:
        return next_apply(c);
    }
    bug_if(true);
    return -ERR_INTERNAL;
}
