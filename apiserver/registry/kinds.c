/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compiles the embedded CRD documents and finds kinds by path, resource or GVK. A change
 * sorts and indexes the whole table again: it is small and changes are rare.
 */
#include "apiserver/registry/kinds.h"

#include <stdlib.h>
#include <string.h>

#include "api/yaml.h"
#include "base/map.h"
#include "crds/crds.h"

struct kinds {
    vec(struct kind_entry) entries;
    struct map *by_path;     /* "group/version/plural" */
    struct map *by_resource; /* "runs.drover.dev" */
    struct map *by_gvk;      /* "drover.dev/v1/Run" */
};

enum { KEY_MAX = 512 };

static int
group_rank(const char *group)
{
    if (*group == '\0')
        return 0;
    return str_ends(group, "drover.dev") ? 1 : 2;
}

/* v2 before v1 before v1beta2 before v1alpha1 before anything else: a number to sort by,
 * larger first. */
static long
version_rank(const char *version)
{
    char *end;
    long major, minor, level = 3;

    if (*version != 'v' || version[1] < '1' || version[1] > '9')
        return 0;
    major = strtol(version + 1, &end, 10);
    if (str_starts(end, "alpha"))
        level = 1, end += 5;
    else if (str_starts(end, "beta"))
        level = 2, end += 4;
    if (level == 3)
        return *end == '\0' && major < 1000 ? level * 1000000 + major * 1000 : 0;
    minor = strtol(end, &end, 10);
    if (*end != '\0' || minor <= 0 || minor >= 1000 || major >= 1000)
        return 0;
    return level * 1000000 + major * 1000 + minor;
}

static int
compare_versions(const char *a, const char *b)
{
    long x = version_rank(a), y = version_rank(b);

    if (x != y)
        return x > y ? -1 : 1;
    return strcmp(a, b);
}

static int
compare_entries(const void *left, const void *right)
{
    const struct kind *a = ((const struct kind_entry *)left)->kind;
    const struct kind *b = ((const struct kind_entry *)right)->kind;
    int d = group_rank(a->group) - group_rank(b->group);

    if (d == 0)
        d = strcmp(a->group, b->group);
    if (d == 0)
        d = compare_versions(a->version, b->version);
    return d != 0 ? d : strcmp(a->plural, b->plural);
}

/* Events of both groups are the same objects (api/object.h: object_as). */
static void
share_storage(struct kind *k)
{
    if (!streq(k->resource, "events.events.k8s.io"))
        return;
    free(k->resource);
    k->resource = xstrdup("events");
    k->storage = false;
}

static int
load_crd(struct kinds *k, const struct yaml_doc *doc, const char *name, struct error *e)
{
    struct kind_entry entry = {0};
    auto_violations v = {0};

    entry.crd = json_loadb(doc->json.ptr, doc->json.len, 0, NULL);
    if (entry.crd == NULL)
        return error_set(e, ERR_INTERNAL, "document %s: not JSON", name);
    if (kind_compile(entry.crd, NULL, &entry.kind, &v, e) < 0) {
        json_decref(entry.crd);
        if (v.list.len > 0)
            error_prepend(e, "%s", v.list.items[0].message);
        return error_prepend(e, "document %s", name);
    }
    share_storage(entry.kind);
    vec_push(&k->entries, entry);
    return 0;
}

static int
load_document(struct kinds *k, const struct crd_document *d, struct error *e)
{
    struct yaml_docs docs = {0};

    if (yaml_read((const char *)d->bytes, d->len, false, &docs, e) < 0)
        return error_prepend(e, "document %s", d->name);
    int rc = 0;
    for (size_t i = 0; i < docs.list.len && rc == 0; i++)
        rc = load_crd(k, &docs.list.items[i], d->name, e);
    yaml_docs_done(&docs);
    return rc;
}

static void
index_entries(struct kinds *k)
{
    map_free(k->by_path);
    map_free(k->by_resource);
    map_free(k->by_gvk);
    k->by_path = map_new(NULL);
    k->by_resource = map_new(NULL);
    k->by_gvk = map_new(NULL);
    qsort(k->entries.items, k->entries.len, sizeof(k->entries.items[0]), compare_entries);
    vec_foreach (entry, &k->entries) {
        struct kind *kind = entry->kind;
        autofree char *path =
            xasprintf("%s/%s/%s", kind->group, kind->version, kind->plural);
        autofree char *gvk = xasprintf("%s/%s", kind->api_version, kind->kind);
        if (kind->storage)
            map_put(k->by_resource, kind->resource, kind);
        if (!kind->served)
            continue;
        map_put(k->by_path, path, kind);
        map_put(k->by_gvk, gvk, kind);
    }
}

int
kinds_load(struct kinds **ret, struct error *e)
{
    struct kinds *k = xnew(struct kinds);

    for (const struct crd_document *d = crd_documents; d->name != NULL; d++) {
        if (load_document(k, d, e) < 0) {
            int rc = -(int)e->code;
            kinds_free(k);
            return rc;
        }
    }
    index_entries(k);
    *ret = k;
    return 0;
}

void
kinds_free(struct kinds *k)
{
    if (k == NULL)
        return;
    vec_foreach (entry, &k->entries) {
        kind_unref(entry->kind);
        json_decref(entry->crd);
    }
    vec_done(&k->entries);
    map_free(k->by_path);
    map_free(k->by_resource);
    map_free(k->by_gvk);
    free(k);
}

const struct kind_entry *
kinds_entry(const struct kinds *k, const struct kind *kind)
{
    vec_foreach (entry, &k->entries) {
        if (entry->kind == kind)
            return entry;
    }
    return NULL;
}

bool
kinds_is_embedded(const struct kinds *k, const char *resource)
{
    vec_foreach (entry, &k->entries) {
        const json_t *meta = json_object_get(entry->crd, "metadata");
        const char *name = json_string_value(json_object_get(meta, "name"));
        if (name != NULL && streq(name, resource))
            return true;
    }
    return false;
}

size_t
kinds_versions(const struct kinds *k, const char *resource)
{
    size_t n = 0;

    vec_foreach (entry, &k->entries)
        n += streq(entry->kind->resource, resource);
    return n;
}

static void
remove_entries(struct kinds *k, const char *resource)
{
    size_t kept = 0;

    for (size_t i = 0; i < k->entries.len; i++) {
        struct kind_entry *entry = &k->entries.items[i];
        if (entry->crd == NULL && streq(entry->kind->resource, resource))
            kind_unref(entry->kind);
        else
            k->entries.items[kept++] = *entry;
    }
    k->entries.len = kept;
}

void
kinds_put(struct kinds *k, struct kind *const *versions, size_t n)
{
    if (n > 0)
        remove_entries(k, versions[0]->resource);
    for (size_t i = 0; i < n; i++) {
        struct kind_entry entry = {.kind = versions[i]};
        vec_push(&k->entries, entry);
    }
    index_entries(k);
}

void
kinds_drop(struct kinds *k, const char *resource)
{
    remove_entries(k, resource);
    index_entries(k);
}

void
kinds_set_terminating(struct kinds *k, const char *resource)
{
    vec_foreach (entry, &k->entries) {
        if (entry->crd == NULL && streq(entry->kind->resource, resource))
            entry->terminating = true;
    }
}

size_t
kinds_len(const struct kinds *k)
{
    return k->entries.len;
}

const struct kind_entry *
kinds_at(const struct kinds *k, size_t i)
{
    return &k->entries.items[i];
}

const struct kind *
kinds_find(const struct kinds *k, const char *group, const char *version,
           const char *plural)
{
    char key[KEY_MAX];

    int n = snprintf(key, sizeof(key), "%s/%s/%s", group, version, plural);
    return n < KEY_MAX ? map_get(k->by_path, key) : NULL;
}

const struct kind *
kinds_by_resource(const struct kinds *k, const char *resource)
{
    return map_get(k->by_resource, resource);
}

const struct kind *
kinds_by_gvk(const struct kinds *k, const char *api_version, const char *kind)
{
    char key[KEY_MAX];

    int n = snprintf(key, sizeof(key), "%s/%s", api_version, kind);
    return n < KEY_MAX ? map_get(k->by_gvk, key) : NULL;
}

const struct kind *
kinds_kind_of(void *kinds, const char *resource)
{
    return kinds_by_resource(kinds, resource);
}
