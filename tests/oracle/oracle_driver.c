/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our side of the comparisons with other implementations: reads a case per line, writes
 * what lib/api makes of it per line, in the shape that ssa/main.go and jsonpatch/main.go
 * write. `oracle_driver ssa`: {"crds": {"v1": {...}}, "ops": [...]}; `oracle_driver
 * patch`:
 * {"type": "json"|"merge", "target": ..., "patch": ...}.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/managed.h"
#include "base/mem.h"

static const char *
text_of(const json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));

    return s == NULL ? "" : s;
}

enum { VERSIONS_MAX = 4 };

struct versions {
    struct kind *kinds[VERSIONS_MAX];
    size_t n;
};

static void
versions_done(struct versions *vs)
{
    for (size_t i = 0; i < vs->n; i++)
        kind_unref(vs->kinds[i]);
    vs->n = 0;
}

/* crds: a CustomResourceDefinition for each version. */
static void
compile(const json_t *crds, struct versions *ret)
{
    auto_violations v = {0};
    struct error e = ERROR_INIT;
    const char *name;
    json_t *crd;

    versions_done(ret);
    json_object_foreach ((json_t *)(uintptr_t)crds, name, crd) {
        if (ret->n == VERSIONS_MAX ||
            kind_compile(crd, NULL, &ret->kinds[ret->n], &v, &e) < 0) {
            fprintf(stderr, "the case's schema %s: %s\n", name, e.msg);
            exit(1);
        }
        ret->n++;
    }
}

static const struct kind *
version_named(const struct versions *vs, const char *name)
{
    for (size_t i = 0; i < vs->n; i++) {
        if (streq(vs->kinds[i]->version, name))
            return vs->kinds[i];
    }
    fprintf(stderr, "the case has no version %s\n", name);
    exit(1);
}

/* An object as clients send it: with apiVersion, kind and a name. */
static json_t *
with_head(const struct kind *k, const json_t *object)
{
    json_t *out = json_deep_copy(object), *meta = json_object_get(out, "metadata");

    if (meta == NULL) {
        meta = json_object();
        json_object_set_new(out, "metadata", meta);
    }
    json_object_set_new(out, "apiVersion", json_string(k->api_version));
    json_object_set_new(out, "kind", json_string(k->kind));
    json_object_set_new(meta, "name", json_string("w"));
    return out;
}

static json_t *
without_head(const json_t *object)
{
    json_t *out = json_deep_copy(object), *meta = json_object_get(out, "metadata");

    json_object_del(out, "apiVersion");
    json_object_del(out, "kind");
    json_object_del(meta, "name");
    json_object_del(meta, "managedFields");
    if (json_object_size(meta) == 0)
        json_object_del(out, "metadata");
    return out;
}

static json_t *
owners_of(const json_t *live)
{
    const json_t *fields =
        json_object_get(json_object_get(live, "metadata"), "managedFields");
    json_t *out = json_object();

    for (size_t i = 0; i < json_array_size(fields); i++) {
        const json_t *m = json_array_get(fields, i);
        bool apply = streq(text_of(m, "operation"), "Apply");
        const char *version = strchr(text_of(m, "apiVersion"), '/');
        autofree char *key =
            xasprintf("%s %s%s%s", text_of(m, "manager"), apply ? "apply" : "update",
                      apply ? "" : " ", apply || version == NULL ? "" : version + 1);
        json_object_set(out, key, json_object_get(m, "fieldsV1"));
    }
    return out;
}

/* 'conflict with "a"[ using group/v at t]' -> "a apply" or "a update v". */
static char *
conflict_name(const struct managed_conflict *c)
{
    const char *start = strchr(c->manager, '"');
    const char *end = start == NULL ? NULL : strchr(start + 1, '"');

    if (end == NULL)
        return xasprintf("%s %s", c->manager, c->field);
    const char *version = strchr(end, '/');
    bool update = strstr(end, " using ") != NULL && version != NULL;
    return xasprintf(
        "%.*s %s%.*s %s", (int)(end - start - 1), start + 1, update ? "update " : "apply",
        update ? (int)strcspn(version + 1, " ") : 0, update ? version + 1 : "", c->field);
}

static json_t *
run_step(const struct versions *vs, const json_t *op, int n, json_t **live)
{
    const struct kind *k = version_named(vs, text_of(op, "version"));
    struct managed_conflicts conflicts = {0};
    struct error e = ERROR_INIT;
    json_t *object = with_head(k, json_object_get(op, "object")), *ret = NULL;
    json_t *list = json_array(), *report = json_object();
    bool changed;
    char now[32];

    snprintf(now, sizeof(now), "2026-01-01T00:%02d:%02dZ", n / 60 % 60, n % 60);
    struct managed_opts o = {.kind = k,
                             .manager = text_of(op, "manager"),
                             .subresource = "",
                             .now = now,
                             .force = json_is_true(json_object_get(op, "force")),
                             .versions = (const struct kind *const *)vs->kinds,
                             .n_versions = vs->n};
    int rc = streq(text_of(op, "op"), "update")
                 ? managed_update(&o, *live, object, &ret, &e)
                 : managed_apply(&o, *live, object, &ret, &changed, &conflicts, &e);
    if (rc == 0) {
        json_decref(*live);
        *live = ret;
    }
    vec_foreach (c, &conflicts.list) {
        autofree char *name = conflict_name(c);
        json_array_append_new(list, json_string(name));
    }
    bool failed = rc < 0 && conflicts.list.len == 0;
    json_object_set_new(report, "live",
                        *live == NULL ? json_object() : without_head(*live));
    json_object_set_new(report, "owners", owners_of(*live));
    json_object_set_new(report, "conflicts", list);
    json_object_set_new(report, "error", json_string(failed ? e.msg : ""));
    managed_conflicts_done(&conflicts);
    json_decref(object);
    return report;
}

static json_t *
run_ssa(const json_t *c)
{
    struct versions vs = {.n = 0};
    const json_t *ops = json_object_get(c, "ops");
    json_t *live = NULL, *out = json_array();

    compile(json_object_get(c, "crds"), &vs);
    for (size_t i = 0; i < json_array_size(ops); i++) {
        const json_t *op = json_array_get(ops, i);
        const json_t *crds = json_object_get(op, "crds");
        if (crds != NULL) { /* the schema is another from here on */
            compile(crds, &vs);
            json_array_append_new(out, json_null());
        } else {
            json_array_append_new(out, run_step(&vs, op, (int)i, &live));
        }
    }
    json_decref(live);
    versions_done(&vs);
    return out;
}

static json_t *
run_patch(const json_t *c)
{
    const json_t *target = json_object_get(c, "target");
    const json_t *patch = json_object_get(c, "patch");
    struct error e = ERROR_INIT;
    json_t *ret = NULL, *out = json_object();
    int rc = streq(text_of(c, "type"), "merge") ? patch_merge(target, patch, &ret, &e)
                                                : patch_json(target, patch, &ret, &e);

    if (rc == 0)
        json_object_set_new(out, "result", ret);
    else
        json_object_set_new(out, "error", json_string(e.msg));
    return out;
}

int
main(int argc, char **argv)
{
    bool ssa = argc == 2 && streq(argv[1], "ssa");
    autofree char *line = NULL;
    size_t size = 0;

    if (!ssa && (argc != 2 || !streq(argv[1], "patch"))) {
        fprintf(stderr, "usage: oracle_driver ssa|patch\n");
        return 2;
    }
    while (getline(&line, &size, stdin) > 0) {
        json_t *c = json_loads(line, 0, NULL);
        if (c == NULL) {
            fprintf(stderr, "a line that is not JSON\n");
            return 1;
        }
        json_t *out = ssa ? run_ssa(c) : run_patch(c);
        json_dumpf(out, stdout, JSON_COMPACT);
        putchar('\n');
        json_decref(out);
        json_decref(c);
    }
    return 0;
}
