/* SPDX-License-Identifier: Apache-2.0 */
/* Choosing a profile and merging it: whole fields, never parts of them. */
#include "api/profile.h"

#include <string.h>

#include "base/str.h"

const char *const profile_fields[] = {
    "backends",     "regions",        "availabilityZones", "instanceTypes",
    "spotPolicy",   "retry",          "maxDuration",       "stopDuration",
    "maxPrice",     "creationPolicy", "idleDuration",      "utilizationPolicy",
    "startupOrder", "stopCriteria",   "schedule",          "fleets",
    "instances",    "tags",           "whenNoCapacity",    "ttlAfterFinished",
    NULL,
};

static const char *
name_of(const json_t *profile)
{
    const json_t *meta = json_object_get(profile, "metadata");
    const char *name = json_string_value(json_object_get(meta, "name"));

    return name == NULL ? "" : name;
}

static bool
is_default(const json_t *profile)
{
    return json_is_true(json_object_get(json_object_get(profile, "spec"), "default"));
}

int
profile_choose(const json_t *run_spec, const json_t *profiles, const json_t **ret,
               struct error *e)
{
    const char *wanted = json_string_value(json_object_get(run_spec, "profile"));
    const json_t *found = NULL;
    size_t i;
    const json_t *p;

    if (wanted != NULL && streq(wanted, PROFILE_NONE)) {
        *ret = NULL;
        return 0;
    }
    json_array_foreach (profiles, i, p) {
        if (wanted != NULL && streq(name_of(p), wanted))
            found = p;
        if (wanted == NULL && is_default(p) &&
            (found == NULL || strcmp(name_of(p), name_of(found)) < 0))
            found = p;
    }
    if (wanted != NULL && found == NULL)
        return error_set(e, ERR_NOT_FOUND, "there is no profile \"%.64s\"", wanted);
    *ret = found;
    return 0;
}

json_t *
profile_values(const json_t *profile_spec)
{
    json_t *values = json_object();

    for (const char *const *f = profile_fields; *f != NULL; f++) {
        json_t *value = json_object_get(profile_spec, *f);
        if (value != NULL && !json_is_null(value))
            json_object_set(values, *f, value);
    }
    return values;
}

json_t *
profile_merge(const json_t *run_spec, const json_t *profile_spec)
{
    json_t *spec = json_deep_copy(run_spec);

    for (const char *const *f = profile_fields; *f != NULL; f++) {
        const json_t *have = json_object_get(spec, *f);
        const json_t *fill = json_object_get(profile_spec, *f);
        if (fill == NULL || json_is_null(fill) || (have != NULL && !json_is_null(have)))
            continue;
        json_object_set_new(spec, *f, json_deep_copy(fill));
    }
    return spec;
}
