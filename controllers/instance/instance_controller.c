/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Phase and condition of an Instance from its Lease. A renewal of a ready instance wakes
 * nothing: the reconcile of an instance looks again when its lease should have expired.
 */
#include "base/mem.h"
#include "control/controller.h"
#include "controllers/common/job_view.h"
#include "controllers/common/status.h"
#include "controllers/instance/instance_plan.h"
#include "controllers/shared.h"

static void
say(const struct reconcile_env *env, const struct object *o,
    const struct instance_plan *p)
{
    switch (p->phase) {
    case INSTANCE_PHASE_READY:
        recorder_event(env->recorder, &resource_instances, o, RECORDER_NORMAL, "Ready",
                       "the agent reports");
        break;
    case INSTANCE_PHASE_NOT_READY:
        recorder_event(env->recorder, &resource_instances, o, RECORDER_WARNING,
                       "NotReady", "%s: %s", p->reason, p->message);
        break;
    case INSTANCE_PHASE_NONE:
    case INSTANCE_PHASE_PENDING:
        break;
    }
}

static int
reconcile(const struct reconcile_env *env, const struct object_key *key,
          struct reconcile_result *result, struct error *e)
{
    const struct controller_set *set = env->state;
    auto_object *o = lister_find(env->lister, &resource_instances, key->ns, key->name);
    struct instance_observed seen = {.now_ms = env->now_ms};
    struct instance_plan p;
    auto_status_edit s = {0};
    char phase[32];

    if (o == NULL || o->facts.deleting_s != 0)
        return 0;
    object_get_string(o, "status.phase", phase, sizeof(phase));
    seen.phase = instance_phase_parse(phase);
    lease_tracker_ask(set->leases, o->uid, &seen.lease);
    instance_plan_make(&seen, &p);
    result->requeue_after_ms = p.requeue_ms;

    bool ready = p.phase == INSTANCE_PHASE_READY;
    status_edit_init(&s, o, env->wall_ns);
    status_set(&s, "phase", instance_phase_name(p.phase));
    status_set(&s, "reason", p.reason);
    status_set(&s, "message", p.message);
    status_set_condition(&s,
                         &(struct condition){"Ready", ready ? "AgentReports" : p.reason,
                                             p.message, ready});
    json_t *patch = status_edit_patch(&s, 0);
    if (patch == NULL)
        return 0;
    int rc = reconcile_patch(env, &resource_instances, key, "status", patch, e);
    json_decref(patch);
    if (rc == 0 && p.phase != seen.phase)
        say(env, o, &p);
    return rc;
}

static void
map_lease(const struct lister *l, const struct object *before, const struct object *now,
          void *state, struct key_sink *keys)
{
    const struct object *o = now != NULL ? now : before;
    struct span uid;
    char text[UID_MAX], phase[32];

    UNUSED(state);
    if (!object_label(o, LABEL_INSTANCE, &uid) || uid.len >= sizeof(text))
        return;
    snprintf(text, sizeof(text), SPAN_FMT, SPAN_ARG(uid));
    auto_object *inst = lister_find_uid(l, &resource_instances, text);
    if (inst == NULL)
        return;
    object_get_string(inst, "status.phase", phase, sizeof(phase));
    if (now == NULL || !streq(phase, "Ready"))
        keys->add(keys, inst->ns, inst->name);
}

static int
init(struct manager *m, void **state, struct error *e)
{
    UNUSED(e);
    *state = manager_shared(m);
    return 0;
}

static const struct watch_spec watches[] = {
    {.resource = &resource_instances, .how = WATCH_SELF},
    {.resource = &resource_leases, .how = WATCH_MAPPED, .map = map_lease},
    {.resource = NULL},
};

static const struct informer_index_of indexes[] = {
    {&resource_instances, {INDEX_INSTANCES_BY_FLEET, instance_fleet_key}},
    {NULL, {NULL, NULL}},
};

const struct controller instance_controller = {
    .name = "instance",
    .resource = &resource_instances,
    .watches = watches,
    .indexes = indexes,
    .workers = 1,
    .deadline_ms = 60000,
    .backoff_min_ms = 20,
    .backoff_max_ms = 60000,
    .init = init,
    .reconcile = reconcile,
};
