/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Patches and field ownership on any JSON. Input: [live, config, patch]. Whatever applies
 * must apply again without a change, and its owners must read back.
 */
#include <string.h>

#include "api/managed_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char crd_text[] =
    "{\"apiVersion\":\"apiextensions.k8s.io/v1\",\"kind\":\"CustomResourceDefinition\","
    "\"metadata\":{\"name\":\"ws.e.dev\"},\"spec\":{\"group\":\"e.dev\",\"scope\":"
    "\"Namespaced\",\"names\":{\"plural\":\"ws\",\"singular\":\"w\",\"kind\":\"W\","
    "\"listKind\":\"WList\"},\"versions\":[{\"name\":\"v1\",\"served\":true,\"storage\":"
    "true,\"subresources\":{\"status\":{}},\"schema\":{\"openAPIV3Schema\":{\"type\":"
    "\"object\",\"properties\":{\"spec\":{\"type\":\"object\",\"properties\":{"
    "\"l\":{\"type\":\"array\",\"x-kubernetes-list-type\":\"map\","
    "\"x-kubernetes-list-map-keys\":[\"n\"],\"items\":{\"type\":\"object\",\"required\":"
    "[\"n\"],\"properties\":{\"n\":{\"type\":\"string\"},\"q\":{\"type\":\"integer\"}}}},"
    "\"s\":{\"type\":\"array\",\"x-kubernetes-list-type\":\"set\",\"items\":{\"type\":"
    "\"string\"}},\"a\":{\"type\":\"object\",\"x-kubernetes-map-type\":\"atomic\","
    "\"additionalProperties\":{\"type\":\"string\"}},\"m\":{\"type\":\"object\","
    "\"additionalProperties\":{\"type\":\"string\"}}}}}}}}]}}";

static const struct kind *
the_kind(void)
{
    static struct kind *k;
    auto_violations v = {0};
    struct error e = ERROR_INIT;

    if (k != NULL)
        return k;
    json_t *crd = json_loads(crd_text, 0, NULL);
    bug_if(kind_compile(crd, NULL, &k, &v, &e) < 0);
    json_decref(crd);
    return k;
}

static void
check_owners(const json_t *object)
{
    const json_t *fields =
        json_object_get(json_object_get(object, "metadata"), "managedFields");
    auto_managed_entries m = {0};
    struct error e = ERROR_INIT;

    bug_if(managed_entries_read(fields, &m, &e) < 0);
    json_t *again = managed_entries_write(&m);
    bug_if(fields != NULL && !json_equal(fields, again));
    json_decref(again);
}

static void
check_apply(const json_t *live, const json_t *config, bool force)
{
    struct managed_opts o = {.kind = the_kind(),
                             .manager = "kubectl",
                             .subresource = "",
                             .now = "2026-01-01T00:00:00Z",
                             .force = force};
    struct managed_conflicts c = {0};
    struct error e = ERROR_INIT;
    json_t *once = NULL, *twice = NULL;
    bool changed = false;

    int r = managed_apply(&o, live, config, &once, &changed, &c, &e);
    if (r == 0) {
        check_owners(once);
        bug_if(managed_apply(&o, once, config, &twice, &changed, &c, &e) < 0);
        bug_if(changed);
    }
    bug_if((r == -ERR_CONFLICT) != (c.list.len > 0));
    managed_conflicts_done(&c);
    json_decref(once);
    json_decref(twice);
}

static void
check_update(const json_t *live, const json_t *next, const char *subresource)
{
    struct managed_opts o = {.kind = the_kind(),
                             .manager = "u",
                             .subresource = subresource,
                             .now = "2026-01-01T00:00:00Z"};
    struct error e = ERROR_INIT;
    json_t *ret = NULL;

    if (managed_update(&o, live, next, &ret, &e) < 0)
        return;
    check_owners(ret);
    json_decref(ret);
}

static void
check_patches(const json_t *target, const json_t *patch)
{
    struct error e = ERROR_INIT;
    json_t *ret = NULL;

    if (patch_json(target, patch, &ret, &e) == 0)
        json_decref(ret);
    ret = NULL;
    if (patch_merge(target, patch, &ret, &e) == 0)
        json_decref(ret);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *v = json_loadb((const char *)data, size, JSON_ALLOW_NUL, NULL);

    if (json_array_size(v) == 3) {
        const json_t *live = json_array_get(v, 0), *config = json_array_get(v, 1);
        check_patches(live, json_array_get(v, 2));
        if (json_is_object(live)) {
            check_apply(live, config, false);
            check_apply(live, config, true);
            check_update(live, config, "");
            check_update(live, config, "status");
        }
        check_apply(NULL, config, false);
        check_update(NULL, config, "");
    }
    json_decref(v);
    return 0;
}
