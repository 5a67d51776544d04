/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OpenAPI v3: an index and one document per group and version, from the CRD schemas, with
 * what clients look for and nothing else. v2 is in openapi_v2*.c. All
 * are written on the pool when first asked for after a change of the kinds, and kept; who
 * asks meanwhile waits.
 */
#include <stdlib.h>

#include "apiserver/registry/openapi_internal.h"
#include "apiserver/registry/server_internal.h"
#include "base/clock.h"
#include "base/id.h"

enum {
    DOCUMENT_MAX = 16 << 20,
    COPIED_MAX = 64 << 10, /* larger ones are read from where they are */
};

/* Refcounted: who reads a large one may be slower than the next change of the kinds. */
struct openapi_doc {
    _Atomic unsigned refs;
    struct str body;
    char hash[65];
};
/* All documents of one state of the kinds. */
struct documents {
    struct openapi_kinds kinds;
    struct map *v3; /* "apis/drover.dev/v1" -> struct openapi_doc; "" is the index */
    struct openapi_doc *v2, *v2_json;
};

struct waiting {
    STAILQ_ENTRY(waiting) entry;
    struct api_call *call;
};
STAILQ_HEAD(waiting_list, waiting);

struct openapi {
    struct api_server *s;
    struct documents *docs; /* NULL: to be written */
    bool writing, stale;    /* stale: the kinds changed since writing began */
    struct waiting_list waiting;
};

static const char object_meta_json[] =
    "{\"type\":\"object\",\"description\":\"What all objects have.\",\"properties\":{"
    "\"annotations\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"string\"},"
    "\"description\":\"Notes for tools, not for selecting.\"},"
    "\"creationTimestamp\":{\"type\":\"string\",\"format\":\"date-time\",\"description\":"
    "\"When it was created. Set by the server.\"},"
    "\"deletionGracePeriodSeconds\":{\"type\":\"integer\",\"format\":\"int64\"},"
    "\"deletionTimestamp\":{\"type\":\"string\",\"format\":\"date-time\",\"description\":"
    "\"When its deletion was asked for.\"},"
    "\"finalizers\":{\"type\":\"array\",\"items\":{\"type\":\"string\"},"
    "\"x-kubernetes-list-type\":\"set\",\"description\":\"Who must agree before it goes "
    "away.\"},"
    "\"generateName\":{\"type\":\"string\",\"description\":\"Start of a name that the "
    "server completes.\"},"
    "\"generation\":{\"type\":\"integer\",\"format\":\"int64\",\"description\":\"Counts "
    "changes of the spec.\"},"
    "\"labels\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"string\"},"
    "\"description\":\"For grouping and selecting.\"},"
    "\"managedFields\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"properties\":"
    "{"
    "\"apiVersion\":{\"type\":\"string\"},\"fieldsType\":{\"type\":\"string\"},"
    "\"fieldsV1\":{\"type\":\"object\"},\"manager\":{\"type\":\"string\"},"
    "\"operation\":{\"type\":\"string\"},\"subresource\":{\"type\":\"string\"},"
    "\"time\":{\"type\":\"string\",\"format\":\"date-time\"}}},\"description\":\"Who "
    "manages which field.\"},"
    "\"name\":{\"type\":\"string\",\"description\":\"Unique within a namespace. It "
    "cannot "
    "change.\"},"
    "\"namespace\":{\"type\":\"string\",\"description\":\"The project it belongs to.\"},"
    "\"ownerReferences\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"required\":"
    "["
    "\"apiVersion\",\"kind\",\"name\",\"uid\"],\"properties\":{"
    "\"apiVersion\":{\"type\":\"string\"},\"blockOwnerDeletion\":{\"type\":\"boolean\"},"
    "\"controller\":{\"type\":\"boolean\"},\"kind\":{\"type\":\"string\"},"
    "\"name\":{\"type\":\"string\"},\"uid\":{\"type\":\"string\"}}},\"description\":"
    "\"When "
    "all of them are gone, it goes too.\"},"
    "\"resourceVersion\":{\"type\":\"string\",\"description\":\"Changes with every "
    "write.\"},"
    "\"selfLink\":{\"type\":\"string\"},"
    "\"uid\":{\"type\":\"string\",\"description\":\"Unique for all time. Set by the "
    "server.\"}}}";

json_t *
openapi_object_meta(void)
{
    json_t *meta = json_loads(object_meta_json, 0, NULL);

    bug_if(meta == NULL);
    return meta;
}

void
openapi_name(const struct kind *k, struct str *out)
{
    const char *end = k->group + strlen(k->group);

    if (*k->group == '\0')
        str_adds(out, "io.k8s.api.core.");
    while (end > k->group) { /* the labels of the group, last first */
        const char *start = end;
        while (start > k->group && start[-1] != '.')
            start--;
        str_add(out, start, (size_t)(end - start));
        str_addc(out, '.');
        end = start > k->group ? start - 1 : start;
    }
    str_addf(out, "%s.%s", k->version, k->kind);
}

static void
root_of(const struct kind *k, struct str *out)
{
    if (*k->group == '\0')
        str_addf(out, "api/%s", k->version);
    else
        str_addf(out, "apis/%s/%s", k->group, k->version);
}

void
openapi_path(const struct kind *k, struct str *out)
{
    str_addc(out, '/');
    root_of(k, out);
    if (k->namespaced)
        str_adds(out, "/namespaces/{namespace}");
    str_addf(out, "/%s/{name}", k->plural);
}

json_t *
openapi_gvk(const struct kind *k)
{
    return json_pack("{s:s,s:s,s:s}", "group", k->group, "kind", k->kind, "version",
                     k->version);
}

json_t *
openapi_schema(const struct kind *k, const char *ref_prefix)
{
    json_t *schema = k->openapi == NULL ? json_object() : json_deep_copy(k->openapi);
    json_t *properties = json_object_get(schema, "properties");
    autofree char *ref = xasprintf("%s" OBJECT_META_NAME, ref_prefix);

    if (properties == NULL) {
        properties = json_object();
        json_object_set_new(schema, "properties", properties);
    }
    json_object_set_new(
        properties, "apiVersion",
        json_pack("{s:s,s:s}", "type", "string", "description",
                  "Group and version of the schema, as in drover.dev/v1."));
    json_object_set_new(
        properties, "kind",
        json_pack("{s:s,s:s}", "type", "string", "description", "What this object is."));
    json_object_set_new(
        properties, "metadata",
        json_pack("{s:[{s:s}],s:s,s:{}}", "allOf", "$ref", ref, "description",
                  "Name, labels and what else all objects have.", "default"));
    json_object_set_new(schema, "x-kubernetes-group-version-kind",
                        json_pack("[o]", openapi_gvk(k)));
    return schema;
}

static json_t *
query_parameter(const char *name)
{
    return json_pack("{s:s,s:s,s:{s:s}}", "name", name, "in", "query", "schema", "type",
                     "string");
}

static json_t *
operations(const struct kind *k)
{
    json_t *patch =
        json_pack("{s:o,s:[o,o,o]}", "x-kubernetes-group-version-kind", openapi_gvk(k),
                  "parameters", query_parameter("fieldValidation"),
                  query_parameter("dryRun"), query_parameter("fieldManager"));
    json_t *get = json_pack("{s:o}", "x-kubernetes-group-version-kind", openapi_gvk(k));

    return json_pack("{s:o,s:o}", "get", get, "patch", patch);
}

static struct openapi_doc *
doc_new(void)
{
    struct openapi_doc *d = xnew(struct openapi_doc);

    d->refs = 1;
    return d;
}

static void
doc_unref(void *p)
{
    struct openapi_doc *d = p;

    if (d == NULL || --d->refs > 0)
        return;
    str_done(&d->body);
    free(d);
}

/* Takes the tree. */
static struct openapi_doc *
document_of(json_t *tree)
{
    autofree char *text = json_dumps(tree, JSON_COMPACT | JSON_SORT_KEYS);
    struct openapi_doc *d = doc_new();

    bug_if(text == NULL);
    str_init(&d->body, DOCUMENT_MAX);
    str_adds(&d->body, text);
    id_hash_hex(text, strlen(text), d->hash);
    json_decref(tree);
    return d;
}

static void
publish(struct map *docs, const char *key, json_t *tree)
{
    map_put(docs, key, document_of(tree));
}

static void
add_kind(json_t *doc, const struct kind *k)
{
    auto_str name = STR_INIT(1024), path = STR_INIT(1024);

    openapi_name(k, &name);
    openapi_path(k, &path);
    json_object_set_new(json_object_get(doc, "paths"), path.ptr, operations(k));
    json_object_set_new(json_object_get(json_object_get(doc, "components"), "schemas"),
                        name.ptr, openapi_schema(k, "#/components/schemas/"));
}

static void
write_v3(struct documents *d)
{
    json_t *trees = json_object(), *index = json_object(), *doc;
    const char *root;

    for (size_t i = 0; i < d->kinds.list.len; i++) {
        const struct kind *k = d->kinds.list.items[i];
        auto_str key = STR_INIT(512);
        root_of(k, &key);
        doc = json_object_get(trees, key.ptr);
        if (doc == NULL) {
            doc = json_pack("{s:s,s:{s:s,s:s},s:{},s:{s:{s:o}}}", "openapi", "3.0.0",
                            "info", "title", "drover", "version", "v1", "paths",
                            "components", "schemas", OBJECT_META_NAME,
                            openapi_object_meta());
            json_object_set_new(trees, key.ptr, doc);
        }
        add_kind(doc, k);
    }
    json_object_foreach (trees, root, doc) {
        publish(d->v3, root, json_incref(doc));
        const struct openapi_doc *one = map_get(d->v3, root);
        autofree char *url = xasprintf("/openapi/v3/%s?hash=%.32s", root, one->hash);
        json_object_set_new(index, root, json_pack("{s:s}", "serverRelativeURL", url));
    }
    json_decref(trees);
    publish(d->v3, "", json_pack("{s:o}", "paths", index));
}

static void
documents_free(struct documents *d)
{
    if (d == NULL)
        return;
    vec_foreach (k, &d->kinds.list)
        kind_unref(*k);
    vec_done(&d->kinds.list);
    map_free(d->v3);
    doc_unref(d->v2);
    doc_unref(d->v2_json);
    free(d);
}

static struct documents *
documents_new(const struct api_server *s)
{
    struct documents *d = xnew(struct documents);

    d->v3 = map_new(doc_unref);
    for (size_t i = 0; i < kinds_len(s->kinds); i++) {
        struct kind *k = kinds_at(s->kinds, i)->kind;
        if (k->served)
            vec_push(&d->kinds.list, kind_ref(k));
    }
    return d;
}

static void
write_all(struct documents *d)
{
    write_v3(d);
    d->v2 = doc_new();
    str_init(&d->v2->body, DOCUMENT_MAX);
    openapi_v2_write(&d->kinds, &d->v2->body);
    id_hash_hex(d->v2->body.ptr, d->v2->body.len, d->v2->hash);
    d->v2_json = document_of(openapi_v2_tree(&d->kinds));
}

struct openapi *
openapi_new(struct api_server *s)
{
    struct openapi *o = xnew(struct openapi);

    o->s = s;
    STAILQ_INIT(&o->waiting);
    return o;
}

static void
free_docs(void *arg)
{
    documents_free(arg);
}

static void
freed(void *arg)
{
    UNUSED(arg);
}

/* Thousands of blocks, where there are many kinds: not on the loop. */
static void
drop(struct openapi *o, struct documents *d)
{
    if (d != NULL && o->s->pool != NULL)
        loop_pool_run(o->s->pool, free_docs, freed, d);
    else
        documents_free(d);
}

void
openapi_forget(struct api_server *s)
{
    struct openapi *o = s->openapi;

    if (o == NULL)
        return;
    drop(o, move_ptr(o->docs));
    o->stale = true;
}

void
openapi_free(struct openapi *o)
{
    if (o == NULL)
        return;
    bug_if(o->writing); /* the pool is gone before */
    documents_free(o->docs);
    free(o);
}

struct doc_reader {
    struct openapi_doc *doc;
    size_t at;
};

static ssize_t
doc_read(void *arg, char *buf, size_t max)
{
    struct doc_reader *r = arg;
    size_t n = r->doc->body.len - r->at;

    if (n > max)
        n = max;
    memcpy(buf, r->doc->body.ptr + r->at, n);
    r->at += n;
    return (ssize_t)n;
}

static void
doc_read_end(void *arg)
{
    struct doc_reader *r = arg;

    doc_unref(r->doc);
    free(r);
}

static void
answer_body(struct api_call *c, struct openapi_doc *d, const char *type)
{
    struct str body = STR_INIT(COPIED_MAX);

    if (d->body.len <= COPIED_MAX) {
        str_add(&body, d->body.ptr, d->body.len);
        call_respond(c, 200, type, &body);
        return;
    }
    struct doc_reader *r = xnew(struct doc_reader);
    r->doc = d;
    d->refs++;
    struct api_reader reader = {doc_read, doc_read_end, r};
    call_respond_reader(c, 200, type, d->body.len, &reader);
}

static void
answer(struct api_call *c, struct openapi_doc *d, const char *type)
{
    struct str body = STR_INIT(0);
    const char *match = call_header_in(c, "If-None-Match");
    char etag[68];

    snprintf(etag, sizeof(etag), "\"%.32s\"", d->hash);
    call_header(c, "ETag", etag);
    call_header(c, "Vary", "Accept");
    if (match != NULL && streq(match, etag)) {
        call_respond(c, 304, type, &body);
        return;
    }
    answer_body(c, d, type);
}

/* The document as it is now, where a client has asked for an earlier one by its hash. The
 * one with the right hash never changes. True: answered. */
static bool
redirect(struct api_call *c, const char *root, const struct openapi_doc *d)
{
    const char *hash = call_query(c, "hash");
    struct str body = STR_INIT(4096);
    char now[33], expires[40];

    if (hash == NULL || *hash == '\0')
        return false;
    snprintf(now, sizeof(now), "%.32s", d->hash);
    if (streq(hash, now)) {
        time_t year = (time_t)(clock_wall_ns() / 1000000000) + 365 * 24 * 3600;
        struct tm tm;
        strftime(expires, sizeof(expires), "%a, %d %b %Y %H:%M:%S GMT",
                 gmtime_r(&year, &tm));
        call_header(c, "Cache-Control", "public, immutable");
        call_header(c, "Expires", expires);
        return false;
    }
    autofree char *url = xasprintf("/openapi/v3/%s?hash=%s", root, now);
    call_header(c, "Location", url);
    str_addf(&body, "<a href=\"%s\">Moved Permanently</a>.\n\n", url);
    call_respond(c, 301, "text/html; charset=utf-8", &body);
    return true;
}

static void
serve_v2(struct api_call *c, const struct documents *d)
{
    static const char *const types[] = {
        "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
        "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"};
    const char *accept = call_header_in(c, "Accept");

    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        if (!accept_has(accept, types[i]))
            continue;
        /* The old name has an '@', which clients' own MIME parsers refuse in answers. */
        answer(c, d->v2, types[1]);
        return;
    }
    if (accept == NULL || *accept == '\0' || accept_has(accept, "application/json") ||
        accept_has(accept, "*/*") || accept_has(accept, "application/*"))
        answer(c, d->v2_json, "application/json");
    else
        call_error(c, ERR_NOT_ACCEPTABLE,
                   "only the following media types are accepted: application/json, %s",
                   types[0]);
}

static void
serve(struct api_call *c, const struct documents *d)
{
    const char *path = c->req.path;

    if (c->ops == NULL) { /* left while it waited */
        call_error(c, ERR_UNAVAILABLE, "the client left");
        return;
    }
    if (streq(path, "/openapi/v2")) {
        serve_v2(c, d);
        return;
    }
    path += strlen("/openapi/v3");
    path += strspn(path, "/");
    struct openapi_doc *one = map_get(d->v3, path);
    if (one != NULL && *path != '\0' && redirect(c, path, one))
        return;
    if (one != NULL)
        answer(c, one, "application/json");
    else
        call_error(c, ERR_NOT_FOUND, "the server could not find the requested resource");
}

static void write_soon(struct openapi *o);

struct writing {
    struct openapi *o;
    struct documents *docs;
};

static void
on_pool(void *arg)
{
    struct writing *w = arg;

    write_all(w->docs);
}

static void
on_written(void *arg)
{
    struct writing *w = arg;
    struct openapi *o = w->o;
    struct waiting *x;

    o->writing = false;
    if (o->stale) {
        drop(o, w->docs);
        free(w);
        write_soon(o);
        return;
    }
    o->docs = w->docs;
    free(w);
    while ((x = STAILQ_FIRST(&o->waiting)) != NULL) {
        STAILQ_REMOVE_HEAD(&o->waiting, entry);
        serve(x->call, o->docs);
        free(x);
    }
}

static void
write_soon(struct openapi *o)
{
    struct writing *w = xnew(struct writing);

    w->o = o;
    w->docs = documents_new(o->s);
    o->writing = true;
    o->stale = false;
    if (o->s->pool != NULL) {
        loop_pool_run(o->s->pool, on_pool, on_written, w);
        return;
    }
    on_pool(w);
    on_written(w);
}

bool
openapi_serve(struct api_call *c)
{
    struct openapi *o = c->server->openapi;
    const char *path = c->req.path;

    if (!streq(path, "/openapi/v2") && !streq(path, "/openapi/v3") &&
        !str_starts(path, "/openapi/v3/"))
        return false;
    if (o->docs != NULL) {
        serve(c, o->docs);
        return true;
    }
    struct waiting *x = xnew(struct waiting);
    x->call = c;
    STAILQ_INSERT_TAIL(&o->waiting, x, entry);
    if (!o->writing)
        write_soon(o);
    return true;
}
