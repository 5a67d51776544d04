/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeps the counts of a Fleet's status, and one Instance for each host of an SSH fleet.
 * What is installed on the hosts is the instance controller's affair; a Fleet with hosts
 * has a finalizer, so that their keys (a Secret that it owns) last until they are clean.
 */
#include "base/mem.h"
#include "control/controller.h"
#include "controllers/common/job_view.h"
#include "controllers/common/status.h"
#include "controllers/fleet/fleet_network.h"
#include "controllers/fleet/fleet_plan.h"
#include "controllers/instance/host_view.h"
#include "controllers/shared.h"

#define FINALIZER_FLEET "drover.dev/fleet"
enum { REASON_MAX = 64, INVALID_MAX = 400 };

struct seen_member {
    struct object *o;
    json_t *json;
    char reason[REASON_MAX], message[256];
};

struct seen {
    struct object *fleet;
    json_t *json;
    struct fleet_hosts hosts;
    struct violations problems;
    char invalid[INVALID_MAX];
    vec(struct seen_member *) kept; /* what the members borrow */
    vec(struct fleet_member) members;
    bool cluster;
    vec(struct fleet_net_member) addressed; /* of a cluster */
    struct fleet_network net;
};

/* --- observe ----------------------------------------------------------------------- */

static void
add_member(struct seen *s, struct object *o, bool foreign)
{
    const struct fact_owner *owner = object_controller(o);
    struct seen_member *k = xnew(struct seen_member);
    struct span raw;
    char phase[32];

    k->o = object_ref(o);
    object_get_string(o, "status.phase", phase, sizeof(phase));
    object_get_string(o, "status.reason", k->reason, sizeof(k->reason));
    object_get_string(o, "status.message", k->message, sizeof(k->message));
    struct fleet_member m = {
        .name = o->name,
        .uid = o->uid,
        .ready = streq(phase, "Ready"),
        .deleting = o->facts.deleting_s != 0,
        .is_host =
            object_has_finalizer(o, FINALIZER_HOST) && object_path(o, "spec.ssh", &raw),
        .foreign = foreign ||
                   (owner != NULL && !span_eq(object_fact(o, owner->uid), s->fleet->uid)),
        .reason = k->reason,
        .message = k->message,
    };
    if (m.is_host || s->cluster)
        k->json = object_json(o);
    if (m.is_host)
        m.spec = json_object_get(k->json, "spec");
    if (s->cluster && !m.foreign && !m.deleting) {
        json_t *agent = json_object_get(json_object_get(k->json, "status"), "agent");
        json_t *spec = json_object_get(k->json, "spec");
        vec_push(&s->addressed, ((struct fleet_net_member){
                                    o->name, json_object_get(agent, "addresses"),
                                    json_object_get(spec, "internalIP") != NULL}));
    }
    vec_push(&s->kept, k);
    vec_push(&s->members, m);
}

/* Instances of another fleet, or of none, that have the name of a host. */
static void
add_taken_names(const struct reconcile_env *env, struct seen *s)
{
    vec_foreach (h, &s->hosts.list) {
        auto_object *o =
            lister_find(env->lister, &resource_instances, s->fleet->ns, h->name);
        char fleet[NAME_MAX_LEN];
        if (o != NULL && !(object_get_string(o, "spec.fleetName", fleet, sizeof(fleet)) &&
                           streq(fleet, s->fleet->name)))
            add_member(s, o, true);
    }
}

static void
observe(const struct reconcile_env *env, struct seen *s)
{
    autofree char *key = xasprintf("%s/%s", s->fleet->ns, s->fleet->name);
    auto_object_list instances = {0};
    auto_str problems = STR_INIT(sizeof(s->invalid) - 1);

    s->json = object_json(s->fleet);
    json_t *spec = json_object_get(s->json, "spec");
    s->cluster = fleet_is_cluster(spec);
    fleet_read_hosts(s->fleet->name, spec, &s->hosts, &s->problems);
    if (violations_errors(&s->problems) > 0)
        violations_join(&s->problems, false, &problems);
    snprintf(s->invalid, sizeof(s->invalid), "%s", problems.ptr);
    lister_index(env->lister, &resource_instances, INDEX_INSTANCES_BY_FLEET, key,
                 &instances);
    vec_foreach (o, &instances.list)
        add_member(s, *o, false);
    add_taken_names(env, s);
    if (s->cluster)
        fleet_network_choose(
            s->addressed.items, s->addressed.len,
            json_string_value(json_object_get(json_object_get(spec, "ssh"), "network")),
            &s->net);
}

static void
seen_done(struct seen *s)
{
    vec_foreach (k, &s->kept) {
        object_unref((*k)->o);
        json_decref((*k)->json);
        free(*k);
    }
    vec_done(&s->kept);
    vec_done(&s->members);
    vec_done(&s->addressed);
    fleet_hosts_done(&s->hosts);
    violations_done(&s->problems);
    json_decref(s->json);
    object_unref(s->fleet);
}

/* --- act --------------------------------------------------------------------------- */

static int
create_host(const struct reconcile_env *env, const struct object *fleet,
            const struct fleet_host *h, struct error *e)
{
    json_t *spec = json_deep_copy(h->spec);

    json_object_set_new(spec, "fleetName", json_string(fleet->name));
    json_t *body = json_pack(
        "{s:s, s:s, s:{s:s, s:{s:s}, s:[s], s:[{s:s, s:s, s:s, s:s, s:b, s:b}]}, s:o}",
        "apiVersion", "drover.dev/v1", "kind", "Instance", "metadata", "name", h->name,
        "labels", LABEL_FLEET, fleet->name, "finalizers", FINALIZER_HOST,
        "ownerReferences", "apiVersion", "drover.dev/v1", "kind", "Fleet", "name",
        fleet->name, "uid", fleet->uid, "controller", 1, "blockOwnerDeletion", 1, "spec",
        spec);
    int rc = reconcile_create(env, &resource_instances, fleet->ns, body, NULL, e);

    json_decref(body);
    if (rc == 0)
        recorder_event(env->recorder, &resource_fleets, fleet, RECORDER_NORMAL,
                       "HostAdded", "%s", h->name);
    return rc;
}

static int
update_host(const struct reconcile_env *env, const struct object *fleet,
            const struct fleet_action *a, struct error *e)
{
    struct object_key key = {fleet->ns, a->host->name};
    json_t *patch = json_pack("{s:{s:s}, s:o}", "metadata", "uid", a->member->uid, "spec",
                              fleet_host_patch(a->member->spec, a->host));
    int rc = reconcile_patch(env, &resource_instances, &key, NULL, patch, e);

    json_decref(patch);
    if (rc == 0)
        recorder_event(env->recorder, &resource_fleets, fleet, RECORDER_NORMAL,
                       "HostChanged", "%s", a->host->name);
    return rc;
}

static int
delete_host(const struct reconcile_env *env, const struct object *fleet,
            const struct fleet_member *m, struct error *e)
{
    struct object_key key = {fleet->ns, m->name};
    int rc = reconcile_delete(env, &resource_instances, &key, m->uid, e);

    if (rc == 0)
        recorder_event(env->recorder, &resource_fleets, fleet, RECORDER_NORMAL,
                       "HostRemoved", "%s: its agent is taken off the machine", m->name);
    return rc;
}

static int
act(const struct reconcile_env *env, const struct object *fleet,
    const struct fleet_plan *p, struct error *e)
{
    int rc = 0;

    vec_foreach (a, &p->actions) {
        switch (a->what) {
        case FLEET_CREATE:
            rc = create_host(env, fleet, a->host, e);
            break;
        case FLEET_UPDATE:
            rc = update_host(env, fleet, a, e);
            break;
        case FLEET_DELETE:
            rc = delete_host(env, fleet, a->member, e);
            break;
        }
        if (rc < 0)
            break;
    }
    return rc;
}

static int
write_status(const struct reconcile_env *env, const struct seen *seen,
             const struct fleet_plan *p, struct error *e)
{
    const struct object *fleet = seen->fleet;
    struct object_key key = {fleet->ns, fleet->name};
    auto_status_edit s = {0};

    status_edit_init(&s, fleet, env->wall_ns);
    status_set(&s, "phase", p->phase);
    status_set_int(&s, "instances", p->instances);
    status_set_int(&s, "readyInstances", p->ready);
    status_set(&s, "message", p->message);
    if (p->reason != NULL)
        status_set_condition(
            &s, &(struct condition){"Ready", p->reason, p->message, p->all_ready});
    if (seen->cluster) {
        status_set(&s, "network", seen->net.network);
        status_set_condition(
            &s, &(struct condition){"Networked",
                                    seen->net.common ? "OneNetwork" : "NoCommonNetwork",
                                    seen->net.message, seen->net.common});
    }
    json_t *patch = status_edit_patch(&s, 0);
    if (patch == NULL)
        return 0;
    int rc = reconcile_patch(env, &resource_fleets, &key, "status", patch, e);
    json_decref(patch);
    return rc;
}

static int
set_finalizer(const struct reconcile_env *env, const struct object *fleet, bool there,
              struct error *e)
{
    struct object_key key = {fleet->ns, fleet->name};
    json_t *patch = there ? finalizers_with(fleet, FINALIZER_FLEET)
                          : finalizers_without(fleet, FINALIZER_FLEET);
    int rc = reconcile_patch(env, &resource_fleets, &key, NULL, patch, e);

    json_decref(patch);
    return rc == -ERR_NOT_FOUND ? 0 : rc;
}

static int
reconcile(const struct reconcile_env *env, const struct object_key *key,
          struct reconcile_result *result, struct error *e)
{
    struct seen s = {.fleet =
                         lister_find(env->lister, &resource_fleets, key->ns, key->name)};
    struct fleet_plan p;
    int rc;

    UNUSED(result);
    if (s.fleet == NULL)
        return 0;
    observe(env, &s);
    struct fleet_observed o = {
        .deleting = s.fleet->facts.deleting_s != 0,
        .has_finalizer = object_has_finalizer(s.fleet, FINALIZER_FLEET),
        .hosts = &s.hosts,
        .invalid = s.invalid[0] != '\0' ? s.invalid : NULL,
        .members = s.members.items,
        .n = s.members.len,
    };
    fleet_plan_make(&o, &p);
    if (p.add_finalizer || p.drop_finalizer) {
        rc = set_finalizer(env, s.fleet, p.add_finalizer, e); /* its event comes back */
    } else {
        rc = write_status(env, &s, &p, e);
        if (rc == 0)
            rc = act(env, s.fleet, &p, e);
    }
    fleet_plan_done(&p);
    seen_done(&s);
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
