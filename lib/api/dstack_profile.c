/* SPDX-License-Identifier: Apache-2.0 */
/* Profile parameters, in a profiles file and inline, and choosing an entry of the file.
 */
#include "api/dstack_internal.h"

static const char no_clouds[] = "belongs to clouds, which are not served yet";

static const struct dstack_field params[] = {
    {.key = "backends", .put = dstack_put_texts, .to = "backends"},
    {.key = "regions", .put = dstack_put_texts, .to = "regions"},
    {.key = "availability_zones", .put = dstack_put_texts, .to = "availabilityZones"},
    {.key = "instance_types", .put = dstack_put_texts, .to = "instanceTypes"},
    {.key = "reservation", .put = dstack_put_refused, .text = no_clouds},
    {.key = "spot_policy",
     .put = dstack_put_word,
     .to = "spotPolicy",
     .text = "spot|on-demand|auto"},
    {.key = "retry", .put = dstack_put_retry, .to = "retry"},
    {.key = "max_duration", .put = dstack_put_duration, .to = "maxDuration"},
    {.key = "stop_duration", .put = dstack_put_duration, .to = "stopDuration"},
    {.key = "max_price", .put = dstack_put_price, .to = "maxPrice"},
    {.key = "creation_policy",
     .put = dstack_put_word,
     .to = "creationPolicy",
     .text = "reuse|reuse-or-create"},
    {.key = "idle_duration", .put = dstack_put_idle_duration, .to = "idleDuration"},
    {.key = "utilization_policy",
     .put = dstack_put_utilization,
     .to = "utilizationPolicy"},
    {.key = "startup_order",
     .put = dstack_put_word,
     .to = "startupOrder",
     .text = "any|master-first|workers-first"},
    {.key = "stop_criteria",
     .put = dstack_put_word,
     .to = "stopCriteria",
     .text = "all-done|master-done"},
    {.key = "schedule", .put = dstack_put_schedule, .to = "schedule"},
    {.key = "fleets", .put = dstack_put_fleets, .to = "fleets"},
    {.key = "instances", .put = dstack_put_instances, .to = "instances"},
    {.key = "tags", .put = dstack_put_tags, .to = "tags"},
    {.key = "backend_options",
     .put = dstack_put_ignored,
     .text = "has no effect: it belongs to clouds, which are not served yet"},
};
const struct dstack_table dstack_profile_params = {"a profile", params, ARRAY_LEN(params),
                                                   NULL};

static const struct dstack_field own[] = {
    {.key = "name", .put = dstack_put_text, .to = "name"},
    {.key = "default", .put = dstack_put_flag, .to = "default"},
};
static const struct dstack_table entry_table = {"a profile", own, ARRAY_LEN(own),
                                                &dstack_profile_params};

/* Its name is the empty one when it is not given. */
static const char *
name_of(const json_t *entry)
{
    const char *name = json_string_value(json_object_get(entry, "name"));

    return name == NULL ? "" : name;
}

void
dstack_profile_find(const json_t *doc, const char *name, const json_t **ret_entry,
                    struct dstack_result *ret)
{
    const json_t *list = json_object_get(doc, "profiles");
    char at[DSTACK_PATH_MAX];
    const json_t *found = NULL;
    const json_t *entry;
    size_t i;

    *ret_entry = NULL;
    if (!json_is_array(list) || json_object_size(doc) != 1) {
        dstack_problem(ret, "", "must be a mapping with profiles: and a list of them");
        return;
    }
    json_array_foreach (list, i, entry) {
        json_t *to = json_object();
        dstack_at(at, "profiles", i);
        dstack_walk(ret, &entry_table, at, entry, to);
        json_decref(to);
        if (found == NULL &&
            (name != NULL ? streq(name_of(entry), name)
                          : json_is_true(json_object_get(entry, "default"))))
            found = entry;
    }
    *ret_entry = found;
}
