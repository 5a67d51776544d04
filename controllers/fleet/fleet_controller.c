/* SPDX-License-Identifier: Apache-2.0 */
/* Keeps the counts of a Fleet's status. */
#include "base/mem.h"
#include "control/controller.h"
#include "controllers/common/job_view.h"
#include "controllers/common/status.h"
#include "controllers/fleet/fleet_plan.h"
#include "controllers/shared.h"

struct members {
    vec(struct fleet_member) list;
};

static void
observe(const struct reconcile_env *env, const struct object_key *key,
        struct members *ret)
{
    autofree char *fleet = xasprintf("%s/%s", key->ns, key->name);
    auto_object_list instances = {0};
    char phase[32];

    lister_index(env->lister, &resource_instances, INDEX_INSTANCES_BY_FLEET, fleet,
                 &instances);
    vec_foreach (o, &instances.list) {
        object_get_string(*o, "status.phase", phase, sizeof(phase));
        struct fleet_member m = {.ready = streq(phase, "Ready"),
                                 .deleting = (*o)->facts.deleting_s != 0};
        vec_push(&ret->list, m);
    }
}

static int
reconcile(const struct reconcile_env *env, const struct object_key *key,
          struct reconcile_result *result, struct error *e)
{
    auto_object *o = lister_find(env->lister, &resource_fleets, key->ns, key->name);
    auto_status_edit s = {0};
    struct members members = {0};
    struct fleet_plan p;

    UNUSED(result);
    if (o == NULL)
        return 0;
    observe(env, key, &members);
    fleet_plan_make(o->facts.deleting_s != 0, members.list.items, members.list.len, &p);
    vec_done(&members.list);
    status_edit_init(&s, o, env->wall_ns);
    status_set(&s, "phase", p.phase);
    status_set_int(&s, "instances", p.instances);
    status_set_int(&s, "readyInstances", p.ready);
    json_t *patch = status_edit_patch(&s, 0);
    if (patch == NULL)
        return 0;
    int rc = reconcile_patch(env, &resource_fleets, key, "status", patch, e);
    json_decref(patch);
    return rc;
}

static void
add_fleet(const struct object *o, struct key_sink *keys)
{
    char fleet[NAME_MAX_LEN];

    if (o != NULL && object_get_string(o, "spec.fleetName", fleet, sizeof(fleet)))
        keys->add(keys, o->ns, fleet);
}

static void
map_instance(const struct lister *l, const struct object *before,
             const struct object *now, void *state, struct key_sink *keys)
{
    UNUSED(l);
    UNUSED(state);
    add_fleet(before, keys);
    add_fleet(now, keys);
}

static const struct watch_spec watches[] = {
    {.resource = &resource_fleets, .how = WATCH_SELF},
    {.resource = &resource_instances, .how = WATCH_MAPPED, .map = map_instance},
    {.resource = NULL},
};

static const struct informer_index_of indexes[] = {
    {&resource_instances, {INDEX_INSTANCES_BY_FLEET, instance_fleet_key}},
    {NULL, {NULL, NULL}},
};

const struct controller fleet_controller = {
    .name = "fleet",
    .resource = &resource_fleets,
    .watches = watches,
    .indexes = indexes,
    .workers = 1,
    .deadline_ms = 60000,
    .backoff_min_ms = 20,
    .backoff_max_ms = 60000,
    .reconcile = reconcile,
};
