/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Discovery documents, built once at start: the legacy lists, the aggregated form (v2 and
 * v2beta1 differ in one word), /version. Served with ETags (reference F §2).
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
struct discovery {
    struct map *documents; /* path, or "v2 /apis" -> struct document */
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
/* Groups in discovery order; the core group is served under /api. */
static const char *const groups[] = {"drover.dev",           "streams.drover.dev",
                                     "apiextensions.k8s.io", "authentication.k8s.io",
                                     "authorization.k8s.io", "coordination.k8s.io",
                                     "history.drover.dev",   "rbac.authorization.k8s.io"};

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
    bool services = *k->group == '\0' && streq(k->plural, "services");

    if (streq(k->resource, HISTORY_RESOURCE))
        return VERBS_PAST;
    return services || streq(k->group, "apiextensions.k8s.io") ? VERBS_READ : VERBS_ALL;
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
}

/* Subresources with verbs of their own. */
static void
legacy_extras(const char *group, struct str *out)
{
    if (*group == '\0')
        str_adds(out,
                 ",{\"name\":\"serviceaccounts/token\",\"singularName\":\"\","
                 "\"namespaced\":true,\"group\":\"authentication.k8s.io\","
                 "\"version\":\"v1\",\"kind\":\"TokenRequest\",\"verbs\":" VERBS_CREATE
                 "}");
    if (streq(group, "drover.dev"))
        str_adds(
            out,
            ",{\"name\":\"fleets/jointoken\",\"singularName\":\"\",\"namespaced\":"
            "true,\"kind\":\"JoinToken\",\"verbs\":" VERBS_CREATE "}"
            ",{\"name\":\"fleets/enroll\",\"singularName\":\"\",\"namespaced\":true,"
            "\"kind\":\"Enrolment\",\"verbs\":" VERBS_CREATE "}"
            ",{\"name\":\"instances/token\",\"singularName\":\"\",\"namespaced\":true,"
            "\"kind\":\"InstanceToken\",\"verbs\":" VERBS_CREATE "}");
    if (streq(group, "streams.drover.dev"))
        str_adds(out, "{\"name\":\"jobs/log\",\"singularName\":\"\",\"namespaced\":true,"
                      "\"kind\":\"JobLog\",\"verbs\":[\"create\",\"get\"]}");
    if (streq(group, "history.drover.dev"))
        str_adds(out,
                 ",{\"name\":\"revisions/object\",\"singularName\":\"\","
                 "\"namespaced\":true,\"kind\":\"Revision\",\"verbs\":[\"get\"]}"
                 ",{\"name\":\"revisions/restore\",\"singularName\":\"\","
                 "\"namespaced\":true,\"kind\":\"Revision\",\"verbs\":" VERBS_CREATE "}");
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
resource_list(struct discovery *d, const struct api_server *s, const char *group)
{
    struct str out = STR_INIT(DOCUMENT_MAX);
    bool core = *group == '\0';
    autofree char *path = core ? xstrdup("/api/v1") : xasprintf("/apis/%s/v1", group);

    str_addf(&out,
             "{\"kind\":\"APIResourceList\",\"apiVersion\":\"v1\",\"groupVersion\":"
             "\"%s%sv1\",\"resources\":[",
             group, core ? "" : "/");
    for (size_t i = 0; i < kinds_len(s->kinds); i++) {
        const struct kind *k = kinds_at(s->kinds, i)->kind;
        if (streq(k->group, group))
            legacy_resource(k, &out);
    }
    legacy_extras(group, &out);
    str_adds(&out, "]}");
    publish(d, path, &out);
}

static void
group_members(const struct api_server *s, const char *group, struct str *out)
{
    jput_member(out, "name", group);
    str_addf(out,
             ",\"versions\":[{\"groupVersion\":\"%s/v1\",\"version\":\"v1\"}],"
             "\"preferredVersion\":{\"groupVersion\":\"%s/v1\",\"version\":\"v1\"}",
             group, group);
    if (streq(group, "streams.drover.dev") && *s->streams_address != '\0') {
        str_adds(out, ",\"serverAddressByClientCIDRs\":[{\"clientCIDR\":\"0.0.0.0/0\"");
        jput_member(out, "serverAddress", s->streams_address);
        str_adds(out, "}]");
    }
}

static void
group_lists(struct discovery *d, const struct api_server *s)
{
    struct str all = STR_INIT(DOCUMENT_MAX), one = STR_INIT(DOCUMENT_MAX);

    str_adds(&all, "{\"kind\":\"APIGroupList\",\"apiVersion\":\"v1\",\"groups\":[");
    for (size_t i = 0; i < ARRAY_LEN(groups); i++) {
        autofree char *path = xasprintf("/apis/%s", groups[i]);
        jput_item(&all);
        str_addc(&all, '{');
        group_members(s, groups[i], &all);
        str_addc(&all, '}');
        str_adds(&one, "{\"kind\":\"APIGroup\",\"apiVersion\":\"v1\"");
        group_members(s, groups[i], &one);
        str_addc(&one, '}');
        publish(d, path, &one);
    }
    str_adds(&all, "]}");
    publish(d, "/apis", &all);
    str_addf(&one,
             "{\"kind\":\"APIVersions\",\"versions\":[\"v1\"],"
             "\"serverAddressByClientCIDRs\":[{\"clientCIDR\":\"0.0.0.0/0\","
             "\"serverAddress\":\"%s\"}]}",
             s->advertise_address);
    publish(d, "/api", &one);
}

/* --- aggregated
 * -------------------------------------------------------------------------- */

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
    if (k->has_status)
        str_addf(
            out,
            ",\"subresources\":[{\"subresource\":\"status\",\"responseKind\":{"
            "\"group\":\"%s\",\"version\":\"%s\",\"kind\":\"%s\"},\"verbs\":" VERBS_STATUS
            "}]",
            k->group, k->version, k->kind);
    str_addc(out, '}');
}

static void
aggregated_group(const struct api_server *s, const char *group, struct str *out)
{
    jput_item(out);
    str_adds(out, "{\"metadata\":{");
    if (*group != '\0')
        jput_member(out, "name", group);
    jput_key(out, "creationTimestamp");
    str_adds(out, "null},\"versions\":[{\"version\":\"v1\",\"freshness\":\"Current\","
                  "\"resources\":[");
    for (size_t i = 0; i < kinds_len(s->kinds); i++) {
        const struct kind *k = kinds_at(s->kinds, i)->kind;
        if (streq(k->group, group))
            aggregated_resource(k, out);
    }
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
    str_adds(out, "]}]}");
}

static void
aggregated(struct discovery *d, const struct api_server *s, const char *version)
{
    struct str core = STR_INIT(DOCUMENT_MAX), named = STR_INIT(DOCUMENT_MAX);
    autofree char *core_key = xasprintf("%s /api", version);
    autofree char *named_key = xasprintf("%s /apis", version);
    autofree char *head =
        xasprintf("{\"kind\":\"APIGroupDiscoveryList\",\"apiVersion\":"
                  "\"apidiscovery.k8s.io/%s\",\"metadata\":{},\"items\":[",
                  version);

    str_adds(&core, head);
    aggregated_group(s, "", &core);
    str_adds(&core, "]}");
    publish(d, core_key, &core);
    str_adds(&named, head);
    for (size_t i = 0; i < ARRAY_LEN(groups); i++)
        aggregated_group(s, groups[i], &named);
    str_adds(&named, "]}");
    publish(d, named_key, &named);
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

int
discovery_new(const struct api_server *s, struct discovery **ret, struct error *e)
{
    struct discovery *d = xnew(struct discovery);

    UNUSED(e);
    d->documents = map_new(document_free);
    resource_list(d, s, "");
    for (size_t i = 0; i < ARRAY_LEN(groups); i++)
        resource_list(d, s, groups[i]);
    group_lists(d, s);
    aggregated(d, s, "v2");
    aggregated(d, s, "v2beta1");
    version_document(d);
    *ret = d;
    return 0;
}

void
discovery_free(struct discovery *d)
{
    if (d == NULL)
        return;
    map_free(d->documents);
    free(d);
}

static const struct document *
find(const struct discovery *d, const char *path, const char *aggregation)
{
    autofree char *key =
        aggregation == NULL ? xstrdup(path) : xasprintf("%s %s", aggregation, path);
    size_t n = strlen(key);

    while (n > 1 && key[n - 1] == '/')
        key[--n] = '\0';
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
    if (match != NULL && streq(match, doc->etag)) {
        call_respond(c, 304, type, &body);
        return true;
    }
    str_add(&body, doc->body.ptr, doc->body.len);
    call_respond(c, 200, type, &body);
    return true;
}
