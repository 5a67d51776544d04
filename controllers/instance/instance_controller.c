/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Phase and conditions of an Instance: from its Lease, from its inventory, and, for a
 * machine of an SSH fleet, from the work on it (instance_host.h). A renewal of a ready
 * instance wakes nothing: the reconcile of an instance looks again when its lease should
 * have expired.
 */
#include "api/jtok.h"
#include "base/mem.h"
#include "control/controller.h"
#include "controllers/common/job_view.h"
#include "controllers/common/status.h"
#include "controllers/instance/instance_facts.h"
#include "controllers/instance/instance_host.h"
#include "controllers/instance/instance_plan.h"
#include "controllers/shared.h"

struct seen {
    struct object *o;
    enum instance_phase was;
    struct instance_plan plan; /* by the Lease */
    bool is_host, cordoned;
    bool fleet_leaves;  /* its fleet is being deleted */
    char pressure[256]; /* the agent's words; "": none */
    struct instance_host host;
    struct instance_facts facts;
    size_t jobs; /* bound here and not over; counted only where it matters */
};

/* --- observe ----------------------------------------------------------------------- */

static bool
is_true(const struct object *o, const char *path)
{
    struct span raw;

    return object_path(o, path, &raw) && jscan_bool(raw);
}

static size_t
count_jobs(const struct reconcile_env *env, const struct object *o)
{
    auto_object_list jobs = {0};
    size_t n = 0;

    lister_index(env->lister, &resource_jobs, INDEX_JOBS_BY_INSTANCE, o->uid, &jobs);
    vec_foreach (j, &jobs.list) {
        char phase[32];
        object_get_string(*j, "status.phase", phase, sizeof(phase));
        if (!phase_is_final(phase_parse(phase)))
            n++;
    }
    return n;
}

static void
find_facts(const struct reconcile_env *env, struct seen *s)
{
    char fleet[NAME_MAX_LEN];
    auto_object *f = NULL;

    if (object_get_string(s->o, "spec.fleetName", fleet, sizeof(fleet)))
        f = lister_find(env->lister, &resource_fleets, s->o->ns, fleet);
    json_t *instance = object_json(s->o);
    json_t *of_fleet = f == NULL ? NULL : object_json(f);
    s->fleet_leaves = f != NULL && f->facts.deleting_s != 0;
    json_t *status = json_object_get(of_fleet, "status");
    instance_facts_make(instance, json_object_get(of_fleet, "spec"),
                        json_string_value(json_object_get(status, "network")), &s->facts);
    json_decref(instance);
    json_decref(of_fleet);
}

static void
observe(const struct reconcile_env *env, struct seen *s)
{
    const struct controller_set *set = env->state;
    struct instance_observed o = {.now_ms = env->now_ms};
    bool deleting = s->o->facts.deleting_s != 0;
    char phase[32];

    object_get_string(s->o, "status.phase", phase, sizeof(phase));
    s->was = o.phase = instance_phase_parse(phase);
    lease_tracker_ask(set->leases, s->o->uid, &o.lease);
    instance_plan_make(&o, &s->plan);
    s->cordoned = is_true(s->o, "spec.unschedulable");
    if (s->cordoned || deleting)
        s->jobs = count_jobs(env, s->o);
    object_get_string(s->o, "status.agent.diskPressure", s->pressure,
                      sizeof(s->pressure));
    find_facts(env, s);
    s->is_host = host_view_read(s->o, &s->host.view);
    if (s->is_host)
        instance_host_observe(&s->host, set->hosts, env, s->o, s->plan.phase, s->jobs);
}

/* --- report ------------------------------------------------------------------------ */

static void
say(const struct reconcile_env *env, const struct seen *s)
{
    if (s->plan.phase == s->was)
        return;
    if (s->plan.phase == INSTANCE_PHASE_READY)
        recorder_event(env->recorder, &resource_instances, s->o, RECORDER_NORMAL, "Ready",
                       "the agent reports");
    else if (s->plan.phase == INSTANCE_PHASE_NOT_READY)
        recorder_event(env->recorder, &resource_instances, s->o, RECORDER_WARNING,
                       "NotReady", "%s: %s", s->plan.reason, s->plan.message);
}

static void
tell_facts(const struct seen *s, struct status_edit *edit)
{
    const struct instance_facts *f = &s->facts;

    if (!f->known)
        return;
    status_set_int(edit, "blocks", f->blocks);
    status_set(edit, "internalIP", f->ip);
    if (json_is_true(json_object_get(edit->current, "apart")) != f->apart)
        json_object_set_new(edit->patch, "apart", json_boolean(f->apart));
    if (f->blocks_problem[0] != '\0')
        status_set_condition(edit, &(struct condition){"Divided", "NotDivisible",
                                                       f->blocks_problem, false});
    else if (status_condition_there(edit, "Divided"))
        status_set_condition(edit, &(struct condition){"Divided", "Divided", NULL, true});
    if (f->ip_problem[0] != '\0')
        status_set_condition(edit, &(struct condition){"Addressed", "NoSuchAddress",
                                                       f->ip_problem, false});
    else if (status_condition_there(edit, "Addressed"))
        status_set_condition(edit,
                             &(struct condition){"Addressed", "Addressed", NULL, true});
}

/* Cordoned: whether anything runs there still. */
static void
tell_drained(const struct seen *s, struct status_edit *edit)
{
    char text[64];

    if (!s->cordoned) {
        if (status_condition_there(edit, "Drained"))
            status_set_condition(
                edit, &(struct condition){"Drained", "NotCordoned", NULL, false});
        return;
    }
    snprintf(text, sizeof(text), "%zu job%s not over there", s->jobs,
             s->jobs == 1 ? " is" : "s are");
    status_set_condition(
        edit, &(struct condition){"Drained", s->jobs == 0 ? "NothingRuns" : "JobsRunning",
                                  s->jobs == 0 ? NULL : text, s->jobs == 0});
}

static void
tell_pressure(const struct seen *s, struct status_edit *edit)
{
    if (s->pressure[0] != '\0')
        status_set_condition(
            edit, &(struct condition){"DiskPressure", "LowDiskSpace", s->pressure, true});
    else if (status_condition_there(edit, "DiskPressure"))
        status_set_condition(
            edit, &(struct condition){"DiskPressure", "EnoughDiskSpace", NULL, false});
}

/* The phase as people read it: work on the machine goes before the lease's "Pending". */
static void
tell_phase(const struct seen *s, struct status_edit *edit)
{
    const struct host_words *trouble =
        s->is_host ? instance_host_trouble(&s->host) : NULL;
    enum instance_phase phase = s->plan.phase;
    bool ready = phase == INSTANCE_PHASE_READY;
    const char *reason = s->plan.reason, *message = s->plan.message;

    bool leaves = s->o->facts.deleting_s != 0 || s->fleet_leaves;
    if (leaves && phase != INSTANCE_PHASE_NOT_READY)
        phase = INSTANCE_PHASE_TERMINATING;
    else if (s->is_host && phase == INSTANCE_PHASE_PENDING)
        phase = INSTANCE_PHASE_PROVISIONING;
    if (ready && s->pressure[0] != '\0') {
        reason = "DiskPressure";
        message = s->pressure;
    }
    if (trouble != NULL && phase != INSTANCE_PHASE_READY) {
        reason = trouble->reason;
        message = trouble->message;
    } else if (s->fleet_leaves && phase == INSTANCE_PHASE_TERMINATING) {
        reason = "FleetDeleted"; /* nothing new is placed here */
        message = "its fleet is being deleted";
    }
    status_set(edit, "phase", instance_phase_name(phase));
    status_set(edit, "reason", reason);
    status_set(edit, "message", message);
    status_set_condition(
        edit, &(struct condition){"Ready", ready ? "AgentReports" : s->plan.reason,
                                  s->plan.message, ready});
}

static int
write_status(const struct reconcile_env *env, const struct object_key *key,
             const struct seen *s, bool *ret_wrote, struct error *e)
{
    auto_status_edit edit = {0};

    status_edit_init(&edit, s->o, env->wall_ns);
    tell_phase(s, &edit);
    tell_facts(s, &edit);
    tell_drained(s, &edit);
    tell_pressure(s, &edit);
    if (s->is_host)
        instance_host_tell(&s->host, env, s->o, &edit);
    json_t *patch = status_edit_patch(&edit, 0);
    *ret_wrote = patch != NULL;
    if (patch == NULL)
        return 0;
    int rc = reconcile_patch(env, &resource_instances, key, "status", patch, e);
    json_decref(patch);
    if (rc == 0)
        say(env, s);
    return rc;
}

/* --- act --------------------------------------------------------------------------- */

static int
let_go(const struct reconcile_env *env, const struct object_key *key,
       const struct seen *s, struct error *e)
{
    json_t *patch;
    int rc;

    if (!object_has_finalizer(s->o, FINALIZER_HOST))
        return 0;
    patch = finalizers_without(s->o, FINALIZER_HOST);
    rc = reconcile_patch(env, &resource_instances, key, NULL, patch, e);
    json_decref(patch);
    return rc == -ERR_NOT_FOUND ? 0 : rc;
}

static void
look_again(struct reconcile_result *result, int64_t ms)
{
    if (ms > 0 && (result->requeue_after_ms == 0 || ms < result->requeue_after_ms))
        result->requeue_after_ms = ms;
}

static int
reconcile(const struct reconcile_env *env, const struct object_key *key,
          struct reconcile_result *result, struct error *e)
{
    const struct controller_set *set = env->state;
    struct seen s = {
        .o = lister_find(env->lister, &resource_instances, key->ns, key->name)};
    bool wrote;

    if (s.o == NULL)
        return 0;
    observe(env, &s);
    look_again(result, s.plan.requeue_ms);
    int rc = 0;
    if (s.is_host && s.host.plan.drop_finalizer) {
        rc = let_go(env, key, &s, e);
    } else {
        rc = write_status(env, key, &s, &wrote, e);
        if (rc == 0 && s.is_host) {
            look_again(result, s.host.plan.requeue_ms);
            instance_host_act(&s.host, set->hosts, env, s.o, wrote);
        }
    }
    if (s.is_host)
        instance_host_done(&s.host);
    object_unref(s.o);
    return rc;
}

/* --- watches ----------------------------------------------------------------------- */

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

/* Jobs matter to those who wait for their end. */
static void
map_job(const struct lister *l, const struct object *before, const struct object *now,
        void *state, struct key_sink *keys)
{
    const struct object *o = now != NULL ? now : before;
    char uid[UID_MAX];

    UNUSED(state);
    if (!object_get_string(o, "spec.instanceUID", uid, sizeof(uid)))
        return;
    auto_object *inst = lister_find_uid(l, &resource_instances, uid);
    if (inst != NULL &&
        (inst->facts.deleting_s != 0 || is_true(inst, "spec.unschedulable")))
        keys->add(keys, inst->ns, inst->name);
}

static bool
same_network(const struct object *a, const struct object *b)
{
    char x[FACTS_ADDRESS_MAX] = "", y[FACTS_ADDRESS_MAX] = "";
    bool there = object_get_string(a, "status.network", x, sizeof(x));

    return there == object_get_string(b, "status.network", y, sizeof(y)) && streq(x, y);
}

/* Blocks and network are the fleet's, and its end is that of its machines. */
static void
map_fleet(const struct lister *l, const struct object *before, const struct object *now,
          void *state, struct key_sink *keys)
{
    auto_object_list members = {0};

    UNUSED(state);
    if (now == NULL ||
        (before != NULL && before->facts.generation == now->facts.generation &&
         before->facts.deleting_s == now->facts.deleting_s && same_network(before, now)))
        return;
    autofree char *key = xasprintf("%s/%s", now->ns, now->name);
    lister_index(l, &resource_instances, INDEX_INSTANCES_BY_FLEET, key, &members);
    vec_foreach (m, &members.list)
        keys->add(keys, (*m)->ns, (*m)->name);
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
    {.resource = &resource_jobs, .how = WATCH_MAPPED, .map = map_job},
    {.resource = &resource_fleets, .how = WATCH_MAPPED, .map = map_fleet},
    {.resource = NULL},
};

static const struct informer_index_of indexes[] = {
    {&resource_instances, {INDEX_INSTANCES_BY_FLEET, instance_fleet_key}},
    {&resource_jobs, {INDEX_JOBS_BY_INSTANCE, job_instance_key}},
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
