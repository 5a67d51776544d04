/* SPDX-License-Identifier: Apache-2.0 */
/* Compiles the embedded CRD documents and finds kinds by path, resource or GVK. */
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

static int
compare_entries(const void *left, const void *right)
{
    const struct kind *a = ((const struct kind_entry *)left)->kind;
    const struct kind *b = ((const struct kind_entry *)right)->kind;
    int d = group_rank(a->group) - group_rank(b->group);

    if (d == 0)
        d = strcmp(a->group, b->group);
    return d != 0 ? d : strcmp(a->plural, b->plural);
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
    qsort(k->entries.items, k->entries.len, sizeof(k->entries.items[0]), compare_entries);
    vec_foreach (entry, &k->entries) {
        struct kind *kind = entry->kind;
        autofree char *path =
            xasprintf("%s/%s/%s", kind->group, kind->version, kind->plural);
        autofree char *gvk = xasprintf("%s/%s", kind->api_version, kind->kind);
        map_put(k->by_path, path, kind);
        map_put(k->by_resource, kind->resource, kind);
        map_put(k->by_gvk, gvk, kind);
    }
}

int
kinds_load(struct kinds **ret, struct error *e)
{
    struct kinds *k = xnew(struct kinds);

    k->by_path = map_new(NULL);
    k->by_resource = map_new(NULL);
    k->by_gvk = map_new(NULL);
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
