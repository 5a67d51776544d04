/* SPDX-License-Identifier: Apache-2.0 */
/* Discovery in its three forms, OpenAPI v3 and v2, unknown paths. */
#include "integration/api_fixture.h"

#include <stdlib.h>

#define AGGREGATED                                                                       \
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"              \
    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,"         \
    "application/json"
#define V2BETA1                                                                          \
    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,"         \
    "application/json"

/* The member of the array whose "name" (or other key) has the value. */
static const json_t *
find(const json_t *array, const char *key, const char *value)
{
    for (size_t i = 0; i < json_array_size(array); i++) {
        const json_t *item = json_array_get(array, i);
        const char *text = json_string_value(json_object_get(item, key));
        if (text != NULL && streq(text, value))
            return item;
    }
    fail_msg("no %s \"%s\"", key, value);
    return NULL;
}

static void
legacy(void **state)
{
    struct api_fixture *f = *state;

    api_ok(f, 200, "GET", "/api", NULL, NULL);
    assert_string_equal(api_text(f, "versions.0"), "v1");
    api_ok(f, 200, "GET", "/apis/", NULL, NULL);
    find(api_at(f, "groups"), "name", "drover.dev");
    const json_t *streams = find(api_at(f, "groups"), "name", "streams.drover.dev");
    assert_non_null(json_object_get(streams, "serverAddressByClientCIDRs"));
    api_ok(f, 200, "GET", "/apis/streams.drover.dev", NULL, NULL);
    assert_string_equal(api_text(f, "kind"), "APIGroup");
    assert_string_equal(api_text(f, "serverAddressByClientCIDRs.0.serverAddress"),
                        "127.0.0.1:2");
    api_ok(f, 200, "GET", "/apis/drover.dev/v1", NULL, NULL);
    const json_t *instances = find(api_at(f, "resources"), "name", "instances");
    assert_string_equal(
        json_string_value(json_array_get(json_object_get(instances, "shortNames"), 0)),
        "inst");
    find(api_at(f, "resources"), "name", "runs/status");
    api_ok(f, 200, "GET", "/api/v1", NULL, NULL);
    find(api_at(f, "resources"), "name", "namespaces");
    api_ok(f, 200, "GET", "/version", NULL, NULL);
    assert_string_equal(api_text(f, "major"), "1");
}

static void
aggregated(void **state)
{
    struct api_fixture *f = *state;

    f->accept = AGGREGATED;
    api_ok(f, 200, "GET", "/apis", NULL, NULL);
    assert_string_equal(f->reply.content_type,
                        "application/json;g=apidiscovery.k8s.io;v=v2;as="
                        "APIGroupDiscoveryList");
    assert_string_equal(api_text(f, "apiVersion"), "apidiscovery.k8s.io/v2");
    assert_string_equal(api_text(f, "items.0.metadata.name"), "drover.dev");
    const json_t *resources = api_at(f, "items.0.versions.0.resources");
    const json_t *runs = find(resources, "resource", "runs");
    assert_string_equal(json_string_value(json_object_get(runs, "scope")), "Namespaced");
    api_ok(f, 200, "GET", "/api", NULL, NULL);
    find(api_at(f, "items.0.versions.0.resources"), "resource", "secrets");
    f->accept = V2BETA1;
    api_ok(f, 200, "GET", "/apis", NULL, NULL);
    assert_string_equal(api_text(f, "apiVersion"), "apidiscovery.k8s.io/v2beta1");
}

/* kubectl caches no version that is empty, and then asks again before each command. */
static void
no_version_is_empty(void **state)
{
    struct api_fixture *f = *state;

    f->accept = AGGREGATED;
    api_ok(f, 200, "GET", "/apis", NULL, NULL);
    const json_t *groups = api_at(f, "items");
    for (size_t i = 0; i < json_array_size(groups); i++) {
        const json_t *versions = json_object_get(json_array_get(groups, i), "versions");
        assert_true(json_array_size(versions) > 0);
        for (size_t j = 0; j < json_array_size(versions); j++)
            assert_true(json_array_size(json_object_get(json_array_get(versions, j),
                                                        "resources")) > 0);
    }
    const json_t *fleets =
        find(api_at(f, "items.0.versions.0.resources"), "resource", "fleets");
    find(json_object_get(fleets, "subresources"), "subresource", "status");
    find(json_object_get(fleets, "subresources"), "subresource", "jointoken");
}

/* Every kind in discovery really lists. */
static void
what_is_listed_lists(void **state)
{
    struct api_fixture *f = *state;
    const struct kinds *kinds = f->kinds;

    for (size_t i = 0; i < kinds_len(kinds); i++) {
        const struct kind *k = kinds_at(kinds, i)->kind;
        autofree char *path =
            xasprintf("/%s%s/%s", *k->group == '\0' ? "api" : "apis/",
                      *k->group == '\0' ? "/v1" : k->api_version, k->plural);
        api_ok(f, 200, "GET", path, NULL, NULL);
        assert_string_equal(api_text(f, "kind"), k->list_kind);
    }
    api_ok(f, 200, "GET",
           "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/runs.drover.dev",
           NULL, NULL);
    assert_string_equal(api_text(f, "spec.names.kind"), "Run");
    assert_string_equal(api_text(f, "status.conditions.1.type"), "Established");
}

static void
openapi_v3(void **state)
{
    struct api_fixture *f = *state;

    api_ok(f, 200, "GET", "/openapi/v3", NULL, NULL);
    const json_t *entry = json_object_get(api_at(f, "paths"), "apis/drover.dev/v1");
    autofree char *url =
        xstrdup(json_string_value(json_object_get(entry, "serverRelativeURL")));
    api_ok(f, 200, "GET", url, NULL, NULL);
    const json_t *path = json_object_get(
        api_at(f, "paths"), "/apis/drover.dev/v1/namespaces/{namespace}/runs/{name}");
    const json_t *patch = json_object_get(path, "patch");
    find(json_object_get(patch, "parameters"), "name", "fieldValidation");
    const json_t *schema =
        json_object_get(api_at(f, "components.schemas"), "dev.drover.v1.Run");
    assert_non_null(json_object_get(json_object_get(schema, "properties"), "spec"));
    api_ok(f, 404, "GET", "/openapi/v3/apis/nope/v1", NULL, NULL);
    /* an earlier document was asked for: there is another one now */
    api_ok(f, 301, "GET", "/openapi/v3/apis/drover.dev/v1?hash=0123", NULL, NULL);
    autofree char *moved = xasprintf("<a href=\"%s\">Moved Permanently</a>.\n\n", url);
    assert_string_equal(f->reply.body.ptr, moved);
    api_ok(f, 200, "GET", "/openapi/v3/apis/drover.dev/v1", NULL, NULL);
}

/* Reads a protobuf message far enough to count fields. */
static size_t
count_fields(const unsigned char *p, size_t n, unsigned field, struct span *ret_last)
{
    size_t at = 0, count = 0;

    while (at < n) {
        uint64_t tag = 0, len = 0;
        for (unsigned shift = 0;; shift += 7) {
            assert_true(at < n && shift < 64);
            tag |= (uint64_t)(p[at] & 0x7f) << shift;
            if (p[at++] < 0x80)
                break;
        }
        assert_int_equal(tag & 7, 2);
        for (unsigned shift = 0;; shift += 7) {
            assert_true(at < n && shift < 64);
            len |= (uint64_t)(p[at] & 0x7f) << shift;
            if (p[at++] < 0x80)
                break;
        }
        assert_true(len <= n - at);
        if (tag >> 3 == field) {
            count++;
            *ret_last = (struct span){(const char *)p + at, len};
        }
        at += len;
    }
    return count;
}

static void
openapi_v2(void **state)
{
    struct api_fixture *f = *state;
    struct span part = {0};

    f->accept = "application/xml";
    api_ok(f, 406, "GET", "/openapi/v2", NULL, NULL);
    f->accept = NULL;
    api_ok(f, 200, "GET", "/openapi/v2", NULL, NULL);
    assert_string_equal(api_text(f, "swagger"), "2.0");
    assert_string_equal(
        api_text(f, "definitions/dev.drover.v1.Run/properties/metadata/$ref"),
        "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
    const json_t *runs = json_object_get(
        api_at(f, "paths"), "/apis/drover.dev/v1/namespaces/{namespace}/runs");
    assert_non_null(json_object_get(runs, "post"));
    f->accept = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    api_ok(f, 200, "GET", "/openapi/v2", NULL, NULL);
    const unsigned char *bytes = (const unsigned char *)f->reply.body.ptr;
    size_t n = f->reply.body.len, kinds = kinds_len(f->kinds);
    assert_int_equal(count_fields(bytes, n, 1, &part), 1);
    assert_true(span_eq(part, "2.0"));
    assert_int_equal(count_fields(bytes, n, 8, &part), 1);
    assert_int_equal(count_fields((const unsigned char *)part.ptr, part.len, 2, &part),
                     kinds);
    assert_int_equal(count_fields(bytes, n, 9, &part), 1);
    assert_int_equal(count_fields((const unsigned char *)part.ptr, part.len, 1, &part),
                     kinds + 1); /* and ObjectMeta */
}

static void
unknown_paths(void **state)
{
    struct api_fixture *f = *state;
    static const char *const paths[] = {"/",
                                        "/nope",
                                        "/api/v2",
                                        "/apis/drover.dev/v2/runs",
                                        "/apis/drover.dev/v1/namespaces/default/nope",
                                        RUNS "/one/nope",
                                        RUNS "/one/status/deep/er/still"};

    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        api_ok(f, 404, "GET", paths[i], NULL, NULL);
        assert_string_equal(api_text(f, "reason"), "NotFound");
    }
    api_ok(f, 405, "POST", RUNS "/one", NULL, "{}");
    api_ok(f, 405, "PUT", RUNS, NULL, "{}");
    api_ok(f, 405, "BREW", RUNS, NULL, NULL);
}

int
main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, api_setup, api_teardown)
    const struct CMUnitTest tests[] = {
        CASE(legacy),
        CASE(aggregated),
        CASE(no_version_is_empty),
        CASE(what_is_listed_lists),
        CASE(openapi_v3),
        CASE(openapi_v2),
        CASE(unknown_paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
