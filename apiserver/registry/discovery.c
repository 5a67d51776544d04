/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Discovery documents, each built when first asked for after a change of the kinds: the
 * legacy lists, the aggregated form (v2 and v2beta1 differ in one word), /version. Served
 * with ETags. One at a time, and each from an index of the kinds by
 * group and version, so that hundreds of kinds do not hold up the loop.
 */
#include <stdlib.h>

#include "api/jtok.h"
#include "apiserver/registry/server_internal.h"
#include "base/id.h"

enum { DOCUMENT_MAX = 4 << 20 };
#define VERBS_ALL                                                                        \
    "[\"create\",\"delete\",\"deletecollection\",\"get\",\"list\",\"patch\",\"update\"," \
    "\"watch\"]"
#define VERBS_READ "[\"get\",\"list\",\"watch\"]"
#define VERBS_PAST "[\"delete\",\"deletecollection\",\"get\",\"list\",\"watch\"]"
#define VERBS_STATUS "[\"get\",\"patch\",\"update\"]"
#define VERBS_CREATE "[\"create\"]"

struct document {
    struct str body;
    char etag[68]; /* quoted */
};

/* Kinds that are only ever created: questions with an answer in the status. */
static const struct review {
    const char *group, *plural, *singular, *kind;
    bool namespaced;
} reviews[] = {
    {"authentication.k8s.io", "selfsubjectreviews", "selfsubjectreview",
     "SelfSubjectReview", false},
    {"authentication.k8s.io", "tokenreviews", "tokenreview", "TokenReview", false},
    {"authorization.k8s.io", "selfsubjectaccessreviews", "selfsubjectaccessreview",
     "SelfSubjectAccessReview", false},
    {"authorization.k8s.io", "subjectaccessreviews", "subjectaccessreview",
     "SubjectAccessReview", false},
    {"authorization.k8s.io", "localsubjectaccessreviews", "localsubjectaccessreview",
     "LocalSubjectAccessReview", true},
    {"authorization.k8s.io", "selfsubjectrulesreviews", "selfsubjectrulesreview",
     "SelfSubjectRulesReview", false},
};
/* Subresources with verbs of their own. Those of streams.drover.dev hang from a resource
 * that is not served there itself. */
static const struct subresource {
    const char *group, *plural, *name, *kind_group, *kind, *verbs;
} subresources[] = {
    {"", "serviceaccounts", "token", "authentication.k8s.io", "TokenRequest",
     VERBS_CREATE},
    {"drover.dev", "fleets", "jointoken", "drover.dev", "JoinToken", VERBS_CREATE},
    {"drover.dev", "fleets", "enroll", "drover.dev", "Enrolment", VERBS_CREATE},
    {"drover.dev", "instances", "token", "drover.dev", "InstanceToken", VERBS_CREATE},
    {"streams.drover.dev", "jobs", "log", "streams.drover.dev", "JobLog",
     "[\"create\",\"get\"]"},
    {"history.drover.dev", "revisions", "object", "history.drover.dev", "Revision",
     "[\"get\"]"},
    {"history.drover.dev", "revisions", "restore", "history.drover.dev", "Revision",
     VERBS_CREATE},
};
/* Groups that have no stored kinds. */
static const char *const extra_groups[] = {"streams.drover.dev", "authentication.k8s.io",
                                           "authorization.k8s.io"};

#define NO_VERSION SIZE_MAX
/* What is served, in discovery order: the first version of a group is preferred. */
struct group_version {
    const char *group, *version; /* of a kind, or static */
    bool first;                  /* of its group */
    size_t next;                 /* version of the same group, or NO_VERSION */
    vec(struct kind *) kinds;    /* references */
};
struct groups {
    vec(struct group_version) list;
    struct map *versions; /* "group/version" -> index + 1 */
    struct map *last;     /* group -> index + 1 of its last version */
};
struct discovery {
    const struct api_server *s;
    struct groups groups;
    struct map *documents; /* path, or "v2 /apis" -> struct document; as asked for */
};

static struct group_version *
group_get(const struct groups *g, const char *group, const char *version)
{
    autofree char *key = xasprintf("%s/%s", group, version);
    uintptr_t i = (uintptr_t)map_get(g->versions, key);

    return i == 0 ? NULL : &g->list.items[i - 1];
}

static struct group_version *
group_add(struct groups *g, const char *group, const char *version)
{
    struct group_version *have = group_get(g, group, version);
    size_t at = g->list.len;

    if (have != NULL)
        return have;
    uintptr_t last = (uintptr_t)map_get(g->last, group);
    vec_push(
        &g->list,
        ((struct group_version){
            .group = group, .version = version, .first = last == 0, .next = NO_VERSION}));
    if (last != 0)
        g->list.items[last - 1].next = at;
    autofree char *key = xasprintf("%s/%s", group, version);
    map_put(g->versions, key, (void *)(at + 1));
    map_put(g->last, group, (void *)(at + 1));
    return &g->list.items[at];
}

static void
groups_init(const struct api_server *s, struct groups *g)
{
    g->versions = map_new(NULL);
    g->last = map_new(NULL);
    for (size_t i = 0; i < kinds_len(s->kinds); i++) {
        struct kind *k = kinds_at(s->kinds, i)->kind;
        if (!k->served)
            continue;
        struct group_version *gv = group_add(g, k->group, k->version);
        vec_push(&gv->kinds, kind_ref(k));
    }
    for (size_t i = 0; i < ARRAY_LEN(extra_groups); i++) {
        if (map_get(g->last, extra_groups[i]) == NULL)
            group_add(g, extra_groups[i], "v1");
    }
}

static void
groups_done(struct groups *g)
{
    vec_foreach (gv, &g->list) {
        vec_foreach (k, &gv->kinds)
            kind_unref(*k);
        vec_done(&gv->kinds);
    }
    vec_done(&g->list);
    map_free(g->versions);
    map_free(g->last);
}

static void
document_free(void *p)
{
    struct document *d = p;

    str_done(&d->body);
    free(d);
}

/* Takes the text. */
static void
publish(struct discovery *d, const char *key, struct str *text)
{
    struct document *doc = xnew(struct document);
    char hash[65];

    id_hash_hex(text->ptr, text->len, hash);
    snprintf(doc->etag, sizeof(doc->etag), "\"%s\"", hash);
    doc->body = *text;
    *text = STR_INIT(DOCUMENT_MAX);
    map_put(d->documents, key, doc);
}

static void
string_array(struct str *out, const char *key, char *const *list)
{
    if (list == NULL || *list == NULL)
        return;
    jput_key(out, key);
    str_addc(out, '[');
    for (; *list != NULL; list++) {
        jput_item(out);
        jput_stringz(out, *list);
    }
    str_addc(out, ']');
}

static const char *
verbs_of(const struct kind *k)
{
    if (*k->group == '\0' && streq(k->plural, "services"))
        return VERBS_READ;
    return streq(k->resource, HISTORY_RESOURCE) ? VERBS_PAST : VERBS_ALL;
}

static void
legacy_resource(const struct kind *k, struct str *out)
{
    char hash[65];

    jput_item(out);
    str_addc(out, '{');
    jput_member(out, "name", k->plural);
    jput_member(out, "singularName", k->singular);
    str_addf(out, ",\"namespaced\":%s", k->namespaced ? "true" : "false");
    jput_member(out, "kind", k->kind);
    str_addf(out, ",\"verbs\":%s", verbs_of(k));
    string_array(out, "shortNames", k->short_names);
    string_array(out, "categories", k->categories);
    id_hash_hex(k->resource, strlen(k->resource), hash);
    hash[11] = '\0';
    str_addf(out, ",\"storageVersionHash\":\"%s=\"}", hash);
    if (k->has_status)
        str_addf(out,
                 ",{\"name\":\"%s/status\",\"singularName\":\"\",\"namespaced\":%s,"
                 "\"kind\":\"%s\",\"verbs\":" VERBS_STATUS "}",
                 k->plural, k->namespaced ? "true" : "false", k->kind);
    if (k->scale_spec != NULL)
        str_addf(out,
                 ",{\"name\":\"%s/scale\",\"singularName\":\"\",\"namespaced\":%s,"
                 "\"group\":\"autoscaling\",\"version\":\"v1\",\"kind\":\"Scale\","
                 "\"verbs\":" VERBS_STATUS "}",
                 k->plural, k->namespaced ? "true" : "false");
}

static void
legacy_extras(const char *group, struct str *out)
{
    for (size_t i = 0; i < ARRAY_LEN(subresources); i++) {
        const struct subresource *r = &subresources[i];
        if (!streq(r->group, group))
            continue;
        jput_item(out);
        str_addf(out, "{\"name\":\"%s/%s\",\"singularName\":\"\",\"namespaced\":true,",
                 r->plural, r->name);
        if (!streq(r->kind_group, group))
            str_addf(out, "\"group\":\"%s\",\"version\":\"v1\",", r->kind_group);
        str_addf(out, "\"kind\":\"%s\",\"verbs\":%s}", r->kind, r->verbs);
    }
    for (size_t i = 0; i < ARRAY_LEN(reviews); i++) {
        const struct review *r = &reviews[i];
        if (!streq(r->group, group))
            continue;
        jput_item(out);
        str_addf(out,
                 "{\"name\":\"%s\",\"singularName\":\"%s\",\"namespaced\":%s,\"kind\":"
                 "\"%s\",\"verbs\":" VERBS_CREATE "}",
                 r->plural, r->singular, r->namespaced ? "true" : "false", r->kind);
    }
}

static void
resource_list(struct discovery *d, const struct group_version *gv)
{
    struct str out = STR_INIT(DOCUMENT_MAX);
    bool core = *gv->group == '\0';
    autofree char *path = core ? xasprintf("/api/%s", gv->version)
                               : xasprintf("/apis/%s/%s", gv->group, gv->version);

    str_addf(&out,
             "{\"kind\":\"APIResourceList\",\"apiVersion\":\"v1\",\"groupVersion\":"
             "\"%s%s%s\",\"resources\":[",
             gv->group, core ? "" : "/", gv->version);
    vec_foreach (k, &gv->kinds)
        legacy_resource(*k, &out);
    if (streq(gv->version, "v1"))
        legacy_extras(gv->group, &out);
    str_adds(&out, "]}");
    publish(d, path, &out);
}

static void
version_member(const struct group_version *gv, struct str *out)
{
    str_addf(out, "{\"groupVersion\":\"%s/%s\",\"version\":\"%s\"}", gv->group,
             gv->version, gv->version);
}

static void
group_members(const struct api_server *s, const struct groups *g, size_t first,
              struct str *out)
{
    const char *group = g->list.items[first].group;

    jput_member(out, "name", group);
    str_adds(out, ",\"versions\":[");
    for (size_t i = first; i != NO_VERSION; i = g->list.items[i].next) {
        jput_item(out);
        version_member(&g->list.items[i], out);
    }
    str_adds(out, "],\"preferredVersion\":");
    version_member(&g->list.items[first], out);
    if (streq(group, "streams.drover.dev") && *s->streams_address != '\0') {
        str_adds(out, ",\"serverAddressByClientCIDRs\":[{\"clientCIDR\":\"0.0.0.0/0\"");
        jput_member(out, "serverAddress", s->streams_address);
        str_adds(out, "}]");
    }
}

static void
group_document(struct discovery *d, const char *path, size_t first)
{
    struct str one = STR_INIT(DOCUMENT_MAX);

    str_adds(&one, "{\"kind\":\"APIGroup\",\"apiVersion\":\"v1\"");
    group_members(d->s, &d->groups, first, &one);
    str_addc(&one, '}');
    publish(d, path, &one);
}

/* Of the core there is no group, only versions. */
static bool
is_listed(const struct group_version *gv)
{
    return gv->first && *gv->group != '\0';
}

static void
group_list(struct discovery *d)
{
    struct str all = STR_INIT(DOCUMENT_MAX);

    str_adds(&all, "{\"kind\":\"APIGroupList\",\"apiVersion\":\"v1\",\"groups\":[");
    for (size_t i = 0; i < d->groups.list.len; i++) {
        if (!is_listed(&d->groups.list.items[i]))
            continue;
        jput_item(&all);
        str_addc(&all, '{');
        group_members(d->s, &d->groups, i, &all);
        str_addc(&all, '}');
    }
    str_adds(&all, "]}");
    publish(d, "/apis", &all);
}

static void
core_versions(struct discovery *d)
{
    struct str out = STR_INIT(DOCUMENT_MAX);

    str_addf(&out,
             "{\"kind\":\"APIVersions\",\"versions\":[\"v1\"],"
             "\"serverAddressByClientCIDRs\":[{\"clientCIDR\":\"0.0.0.0/0\","
             "\"serverAddress\":\"%s\"}]}",
             d->s->advertise_address);
    publish(d, "/api", &out);
}

/* --- aggregated
 * -------------------------------------------------------------------------- */

static void
subresource_item(const char *name, const char *group, const char *version,
                 const char *kind, const char *verbs, struct str *out)
{
    jput_item(out);
    str_addf(out,
             "{\"subresource\":\"%s\",\"responseKind\":{\"group\":\"%s\",\"version\":"
             "\"%s\",\"kind\":\"%s\"},\"verbs\":%s}",
             name, group, version, kind, verbs);
}

static void
own_subresources(const char *group, const char *plural, struct str *out)
{
    for (size_t i = 0; i < ARRAY_LEN(subresources); i++) {
        const struct subresource *r = &subresources[i];
        if (streq(r->group, group) && streq(r->plural, plural))
            subresource_item(r->name, r->kind_group, "v1", r->kind, r->verbs, out);
    }
}

static void
aggregated_subresources(const struct kind *k, struct str *out)
{
    auto_str list = STR_INIT(DOCUMENT_MAX);

    if (k->has_status)
        subresource_item("status", k->group, k->version, k->kind, VERBS_STATUS, &list);
    if (k->scale_spec != NULL)
        subresource_item("scale", "autoscaling", "v1", "Scale", VERBS_STATUS, &list);
    if (streq(k->version, "v1"))
        own_subresources(k->group, k->plural, &list);
    if (list.len > 0)
        str_addf(out, ",\"subresources\":[%s]", list.ptr);
}

/* A group whose version has no resource at all would not be cached by kubectl, which then
 * asks for discovery before each command. The parent has no responseKind: clients take
 * the subresources and leave it out, so it does not compete with drover.dev's jobs. */
static void
aggregated_streams(struct str *out)
{
    jput_item(out);
    str_adds(out, "{\"resource\":\"jobs\",\"scope\":\"Namespaced\",\"singularResource\":"
                  "\"job\",\"verbs\":[],\"subresources\":[");
    own_subresources("streams.drover.dev", "jobs", out);
    str_adds(out, "]}");
}

static void
aggregated_resource(const struct kind *k, struct str *out)
{
    jput_item(out);
    str_addf(out,
             "{\"resource\":\"%s\",\"responseKind\":{\"group\":\"%s\",\"version\":\"%s\","
             "\"kind\":\"%s\"},\"scope\":\"%s\",\"singularResource\":\"%s\",\"verbs\":%s",
             k->plural, k->group, k->version, k->kind,
             k->namespaced ? "Namespaced" : "Cluster", k->singular, verbs_of(k));
    string_array(out, "shortNames", k->short_names);
    string_array(out, "categories", k->categories);
    aggregated_subresources(k, out);
    str_addc(out, '}');
}

static void
aggregated_reviews(const char *group, struct str *out)
{
    for (size_t i = 0; i < ARRAY_LEN(reviews); i++) {
        const struct review *r = &reviews[i];
        if (!streq(r->group, group))
            continue;
        jput_item(out);
        str_addf(out,
                 "{\"resource\":\"%s\",\"responseKind\":{\"group\":\"%s\",\"version\":"
                 "\"v1\",\"kind\":\"%s\"},\"scope\":\"%s\",\"singularResource\":\"%s\","
                 "\"verbs\":" VERBS_CREATE "}",
                 r->plural, r->group, r->kind, r->namespaced ? "Namespaced" : "Cluster",
                 r->singular);
    }
}

static void
aggregated_version(const struct group_version *gv, struct str *out)
{
    jput_item(out);
    str_addf(out, "{\"version\":\"%s\",\"freshness\":\"Current\",\"resources\":[",
             gv->version);
    vec_foreach (k, &gv->kinds)
        aggregated_resource(*k, out);
    if (streq(gv->version, "v1"))
        aggregated_reviews(gv->group, out);
    if (streq(gv->group, "streams.drover.dev"))
        aggregated_streams(out);
    str_adds(out, "]}");
}

static void
aggregated_group(const struct groups *g, size_t first, struct str *out)
{
    const char *group = g->list.items[first].group;

    jput_item(out);
    str_adds(out, "{\"metadata\":{");
    if (*group != '\0')
        jput_member(out, "name", group);
    jput_key(out, "creationTimestamp");
    str_adds(out, "null},\"versions\":[");
    for (size_t i = first; i != NO_VERSION; i = g->list.items[i].next)
        aggregated_version(&g->list.items[i], out);
    str_adds(out, "]}");
}

/* path: /api or /apis */
static void
aggregated(struct discovery *d, const char *version, const char *path)
{
    const struct groups *g = &d->groups;
    struct str out = STR_INIT(DOCUMENT_MAX);
    autofree char *key = xasprintf("%s %s", version, path);
    bool core = streq(path, "/api");

    str_addf(&out,
             "{\"kind\":\"APIGroupDiscoveryList\",\"apiVersion\":"
             "\"apidiscovery.k8s.io/%s\",\"metadata\":{},\"items\":[",
             version);
    for (size_t i = 0; i < g->list.len; i++) {
        const struct group_version *gv = &g->list.items[i];
        if (core ? gv->first && *gv->group == '\0' : is_listed(gv))
            aggregated_group(g, i, &out);
    }
    str_adds(&out, "]}");
    publish(d, key, &out);
}

static void
version_document(struct discovery *d)
{
    struct str out = STR_INIT(DOCUMENT_MAX);

    /* The API level that clients compare themselves with; ours is the build metadata. */
    str_adds(&out,
             "{\"major\":\"1\",\"minor\":\"33\",\"gitVersion\":\"v1.33.0+"
             "drover." DROVER_VERSION "\",\"gitCommit\":\"\",\"gitTreeState\":\"clean\","
             "\"buildDate\":\"1970-01-01T00:00:00Z\",\"goVersion\":\"none\","
             "\"compiler\":\"gcc\",\"platform\":\"linux/amd64\"}");
    publish(d, "/version", &out);
}

struct discovery *
discovery_new(const struct api_server *s)
{
    struct discovery *d = xnew(struct discovery);

    d->s = s;
    d->documents = map_new(document_free);
    groups_init(s, &d->groups);
    return d;
}

void
discovery_forget(struct api_server *s)
{
    discovery_free(s->discovery);
    s->discovery = NULL;
}

void
discovery_free(struct discovery *d)
{
    if (d == NULL)
        return;
    map_free(d->documents);
    groups_done(&d->groups);
    free(d);
}

/* /apis/GROUP or /apis/GROUP/VERSION, or the core's. */
static void
make_of_group(struct discovery *d, const char *path)
{
    bool core = str_starts(path, "/api/");
    const char *group = path + strlen(core ? "/api" : "/apis/");
    const char *slash = strchr(group, '/');

    if (slash != NULL) {
        autofree char *name = xstrndup(group, (size_t)(slash - group));
        const struct group_version *gv = group_get(&d->groups, name, slash + 1);
        if (gv != NULL && (*name == '\0') == core)
            resource_list(d, gv);
        return;
    }
    for (size_t i = 0; i < d->groups.list.len; i++) {
        const struct group_version *gv = &d->groups.list.items[i];
        if (is_listed(gv) && streq(gv->group, group))
            group_document(d, path, i);
    }
}

static void
make(struct discovery *d, const char *path, const char *aggregation)
{
    bool root = streq(path, "/api") || streq(path, "/apis");

    if (aggregation != NULL && root)
        aggregated(d, aggregation, path);
    else if (aggregation != NULL)
        return;
    else if (streq(path, "/apis"))
        group_list(d);
    else if (root)
        core_versions(d);
    else if (streq(path, "/version"))
        version_document(d);
    else if (str_starts(path, "/api/") || str_starts(path, "/apis/"))
        make_of_group(d, path);
}

static const struct document *
find(struct discovery *d, const char *asked, const char *aggregation)
{
    autofree char *path = xstrdup(asked);
    size_t n = strlen(path);

    while (n > 1 && path[n - 1] == '/')
        path[--n] = '\0';
    autofree char *key =
        aggregation == NULL ? xstrdup(path) : xasprintf("%s %s", aggregation, path);
    const struct document *have = map_get(d->documents, key);
    if (have != NULL)
        return have;
    make(d, path, aggregation);
    return map_get(d->documents, key);
}

bool
discovery_serve(struct api_call *c)
{
    const char *accept = call_header_in(c, "Accept");
    const char *version = accept_discovery(accept);
    const struct document *doc = NULL;
    char type[128] = "application/json";
    struct str body = STR_INIT(DOCUMENT_MAX);

    if (c->server->discovery == NULL)
        c->server->discovery = discovery_new(c->server);
    if (version != NULL)
        doc = find(c->server->discovery, c->req.path, version);
    if (doc != NULL)
        snprintf(type, sizeof(type),
                 "application/json;g=apidiscovery.k8s.io;v=%s;as=APIGroupDiscoveryList",
                 version);
    else
        doc = find(c->server->discovery, c->req.path, NULL);
    if (doc == NULL)
        return false;
    const char *match = call_header_in(c, "If-None-Match");
    call_header(c, "ETag", doc->etag);
    call_header(c, "Vary", "Accept");
    call_header(c, "Cache-Control", "public");
    if (match != NULL && streq(match, doc->etag)) {
        call_respond(c, 304, type, &body);
        return true;
    }
    str_add(&body, doc->body.ptr, doc->body.len);
    call_respond(c, 200, type, &body);
    return true;
}
