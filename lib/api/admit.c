/* SPDX-License-Identifier: Apache-2.0 */
/* Rules of our kinds beyond their schemas. One table: resource -> function. */
#include "api/admit.h"

#include <string.h>

#include "api/admit_internal.h"
#include "api/fleet.h"
#include "api/priority.h"
#include "api/quota.h"
#include "api/resources.h"
#include "api/values.h"
#include "base/mem.h"

void
admit_shown(struct span raw, char out[SHOWN_VALUE_MAX])
{
    size_t n = raw.len < SHOWN_VALUE_MAX - 1 ? raw.len : SHOWN_VALUE_MAX - 1;

    memcpy(out, raw.ptr, n);
    out[n] = '\0';
}

json_t *
admit_field(const struct admission *a, const char *path)
{
    struct span raw;

    if (!jscan_path(a->spec, path, &raw))
        return NULL;
    return json_loadb(raw.ptr, raw.len, JSON_DECODE_ANY, NULL);
}

void
admit_refuse(const struct admission *a, const char *path, const char *why)
{
    autofree char *full = xasprintf("spec.%s", path);
    struct span raw;
    char text[SHOWN_VALUE_MAX];
    bool there = jscan_path(a->spec, path, &raw);

    if (there)
        admit_shown(raw, text);
    violations_add(a->v, VIOLATION_INVALID, full, there ? text : NULL, "%s", why);
}

void
admit_duration(const struct admission *a, const char *path, bool allow_off, int64_t *ret)
{
    json_t *value = admit_field(a, path);
    struct error e = ERROR_INIT;
    int64_t seconds;

    if (value == NULL)
        return;
    if (value_duration(value, allow_off, &seconds, &e) < 0)
        admit_refuse(a, path, e.msg);
    else
        *ret = seconds;
    json_decref(value);
}

void
admit_string(const struct admission *a, const char *path,
             int (*check)(const char *text, struct error *e))
{
    struct span raw;
    auto_str text = STR_INIT(FIELD_TEXT_MAX);
    struct error e = ERROR_INIT;

    if (!jscan_path(a->spec, path, &raw) || !jscan_string(raw, &text))
        return;
    if (check(text.ptr, &e) < 0)
        admit_refuse(a, path, e.msg);
}

bool
admit_given(const struct admission *a, const char *path)
{
    struct span raw;

    return jscan_path(a->spec, path, &raw) && raw.len > 2;
}

void
admit_resources(const struct admission *a, const json_t *value, const char *path)
{
    struct resource_req req;
    struct error e = ERROR_INIT;

    if (value == NULL)
        return;
    int rc = resources_parse(value, path, &req, a->v, &e);
    UNUSED(rc); /* its violations are in the list */
}

static void
admit_fleet(const struct admission *a)
{
    int64_t ignored = 0;
    auto_str name = STR_INIT(512);
    struct span raw;

    admit_duration(a, "lostAfter", false, &ignored);
    if (jscan_path(a->object, "metadata.name", &raw))
        jscan_string(raw, &name);
    json_t *spec = json_loadb(a->spec.ptr, a->spec.len, 0, NULL);
    fleet_check(name.ptr, spec, a->v);
    json_decref(spec);
}

static void
admit_quota(const struct admission *a)
{
    struct quota_limit limits[QUOTA_LIMITS_MAX];
    struct error e = ERROR_INIT;
    size_t n;
    json_t *value = admit_field(a, "limits");
    int rc = quota_parse(value, "spec.limits", limits, &n, a->v, &e);

    UNUSED(rc); /* its violations are in the list */
    json_decref(value);
}

static void
admit_priority_class(const struct admission *a)
{
    priority_class_admit(a->object, a->v);
}

static const struct {
    const char *resource;
    void (*admit)(const struct admission *a);
} rules[] = {
    {"runs.drover.dev", admit_run},
    {"profiles.drover.dev", admit_profile},
    {"fleets.drover.dev", admit_fleet},
    {"quotas.drover.dev", admit_quota},
    {"priorityclasses.scheduling.k8s.io", admit_priority_class},
};

int
admit_object(const struct kind *k, struct span canonical, struct violations *v,
             struct error *e)
{
    size_t before = violations_errors(v);

    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        struct admission a = {.object = canonical, .v = v};
        if (!streq(rules[i].resource, k->resource))
            continue;
        if (!jscan_member(canonical, "spec", &a.spec))
            a.spec = span_of("{}");
        rules[i].admit(&a);
    }
    if (violations_errors(v) > before)
        return error_set(e, ERR_INVALID, "the object is invalid");
    return 0;
}
