/* SPDX-License-Identifier: Apache-2.0 */
/* Observes for host_plan, and carries out what it says. */
#include "controllers/instance/instance_host.h"

#include "api/jtok.h"
#include "base/clock.h"
#include "base/mem.h"

/* --- observe ----------------------------------------------------------------------- */

/* The plan of a program without --agent-url and the like (a simulation, a test). */
static void
plan_without_service(struct instance_host *h, const struct object *o, size_t jobs)
{
    struct host_words *w = &h->plan.installed;

    h->plan = (struct host_plan){
        .drop_finalizer =
            o->facts.deleting_s != 0 &&
            (host_is_forgotten(o) || (h->view.keys[0] == '\0' && jobs == 0)),
    };
    w->reason = "NotConfigured";
    snprintf(w->message, sizeof(w->message),
             "these controllers do not work on machines over SSH");
}

/* A reference; NULL: the agent there is of nobody, or of this Instance. */
static struct object *
other_owner(const struct reconcile_env *env, const struct object *o,
            const struct host_facts *f)
{
    if (f->owner[0] == '\0' || streq(f->owner, o->uid))
        return NULL;
    return lister_find_uid(env->lister, &resource_instances, f->owner);
}

/* The annotation of its fleet; "". */
static void
read_take_over(const struct reconcile_env *env, const struct object *o, char *out,
               size_t size)
{
    char fleet[HOST_TEXT_MAX];
    struct span annotations, raw;
    auto_str text = STR_INIT(size - 1);

    out[0] = '\0';
    if (!object_get_string(o, "spec.fleetName", fleet, sizeof(fleet)))
        return;
    auto_object *f = lister_find(env->lister, &resource_fleets, o->ns, fleet);
    if (f != NULL &&
        jscan_member(object_fact(f, f->facts.metadata), "annotations", &annotations) &&
        jscan_member(annotations, ANNOTATION_TAKE_OVER, &raw) && jscan_string(raw, &text))
        snprintf(out, size, "%s", text.ptr);
}

void
instance_host_observe(struct instance_host *h, struct host_service *s,
                      const struct reconcile_env *env, const struct object *o,
                      enum instance_phase phase, size_t jobs)
{
    struct host_want want;
    char take_over[HOST_ID_MAX];

    if (s == NULL) {
        plan_without_service(h, o, jobs);
        return;
    }
    host_service_ask(s, o, &h->seen);
    const struct host_result *r = &h->seen.result;
    bool fresh = h->seen.has_result && r->ok && r->step == HOST_PROBE;
    snprintf(h->arch, sizeof(h->arch), "%s", fresh ? r->facts.arch : h->view.arch);
    host_service_want(s, env, o, &h->view, h->arch, &want);
    read_take_over(env, o, take_over, sizeof(take_over));
    snprintf(h->settings_id, sizeof(h->settings_id), "%s", want.settings_id);
    auto_object *owner = fresh ? other_owner(env, o, &r->facts) : NULL;
    struct host_observed seen = {
        .deleting = o->facts.deleting_s != 0,
        .forgotten = host_is_forgotten(o),
        .jobs = jobs,
        .pinned = h->view.keys[0] != '\0',
        .boot_known = h->view.boot_id[0] != '\0',
        .boot_id = h->view.boot_id,
        .phase = phase,
        .seen = h->seen,
        .want_program = want.program_id,
        .want_settings = want.settings_id,
        .installed = h->view.installed,
        .blocked = want.blocked[0] != '\0' ? want.blocked : NULL,
        .owner_lives = owner != NULL,
        .owner_name = owner != NULL ? owner->name : "",
        .server_id = want.server_id,
        .take_over = take_over,
        .libc_minor = want.libc_minor,
        .program_kib = want.program_kib,
        .now_ms = env->now_ms,
    };
    host_plan_make(&seen, &h->plan);
}

void
instance_host_done(struct instance_host *h)
{
    host_view_done(&h->view);
}

/* --- report ------------------------------------------------------------------------ */

static const char *
text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s == NULL ? "" : s;
}

static bool
was_so(const struct status_edit *edit, const char *type, const struct host_words *w)
{
    size_t i;
    const json_t *c;

    json_array_foreach (edit->conditions, i, c) {
        if (streq(text_of(c, "type"), type))
            return streq(text_of(c, "reason"), w->reason);
    }
    return false;
}

static void
tell_words(const struct reconcile_env *env, const struct object *o,
           struct status_edit *edit, const char *type, const struct host_words *w)
{
    static const char *const steps[] = {"Connecting", "Copying", "Starting",
                                        "WaitingForAgent", "Removing"};
    bool progress = w->value;

    if (w->reason == NULL)
        return;
    for (size_t i = 0; i < ARRAY_LEN(steps); i++)
        progress |= streq(w->reason, steps[i]);
    if (!was_so(edit, type, w))
        recorder_event(env->recorder, &resource_instances, o,
                       progress ? RECORDER_NORMAL : RECORDER_WARNING, w->reason, "%s",
                       w->message);
    status_set_condition(edit,
                         &(struct condition){type, w->reason, w->message, w->value});
}

/* Members of status.host that are to be. */
static json_t *
host_members(const struct instance_host *h, const struct reconcile_env *env)
{
    const struct host_result *r = &h->seen.result;
    const struct host_facts *f = &r->facts;
    json_t *out = json_object();
    char now[CLOCK_RFC3339_LEN];

    if (h->seen.has_result && r->reached && h->view.keys[0] == '\0' && r->key[0] != '\0')
        json_object_set_new(out, "hostKeys", json_pack("[s]", r->key));
    if (h->seen.has_result && r->reached && h->view.jump_keys[0] == '\0' &&
        r->jump_key[0] != '\0')
        json_object_set_new(out, "proxyKeys", json_pack("[s]", r->jump_key));
    if (h->plan.take_facts) {
        json_object_set_new(out, "arch", json_string(f->arch));
        json_object_set_new(out, "bootID", json_string(f->boot_id));
        json_object_set_new(out, "supervisor",
                            json_string(f->systemd ? "systemd" : "loop"));
    }
    if (h->plan.mark_installed && !streq(h->view.installed, h->settings_id)) {
        clock_format(env->wall_ns, now);
        json_object_set_new(out, "installed", json_string(h->settings_id));
        json_object_set_new(out, "installedAt", json_string(now));
    }
    return out;
}

static void
tell_members(const struct instance_host *h, const struct reconcile_env *env,
             struct status_edit *edit)
{
    json_t *members = host_members(h, env);
    const json_t *have = json_object_get(edit->current, "host");
    const char *key;
    json_t *value;
    void *next;

    json_object_foreach_safe(members, next, key, value)
    {
        if (json_equal(json_object_get(have, key), value))
            json_object_del(members, key);
    }
    if (json_object_size(members) > 0)
        json_object_set(edit->patch, "host", members);
    json_decref(members);
}

void
instance_host_tell(const struct instance_host *h, const struct reconcile_env *env,
                   const struct object *o, struct status_edit *edit)
{
    if (h->plan.rebooted && h->plan.take_facts)
        recorder_event(env->recorder, &resource_instances, o, RECORDER_WARNING,
                       "Rebooted", "the machine was rebooted");
    tell_members(h, env, edit);
    tell_words(env, o, edit, "Connected", &h->plan.connected);
    tell_words(env, o, edit, "Installed", &h->plan.installed);
    tell_words(env, o, edit, "Removed", &h->plan.removed);
}

const struct host_words *
instance_host_trouble(const struct instance_host *h)
{
    const struct host_words *all[] = {&h->plan.removed, &h->plan.connected,
                                      &h->plan.installed};

    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (all[i]->reason != NULL && !all[i]->value)
            return all[i];
    return NULL;
}

/* --- act --------------------------------------------------------------------------- */

void
instance_host_act(const struct instance_host *h, struct host_service *s,
                  const struct reconcile_env *env, const struct object *o, bool told)
{
    const struct host_result *r = &h->seen.result;
    bool first = h->seen.has_result && r->reached && h->view.keys[0] == '\0';

    if (s == NULL)
        return;
    if (h->plan.well)
        host_service_clear(s, o->uid);
    if (h->plan.start == HOST_STEP_NONE)
        return;
    if (told && first)
        return; /* with the key in the Instance; its event brings us back */
    host_service_start(s, env, o, &h->view, h->plan.start, h->arch,
                       h->plan.takes_over ? r->facts.owner : "");
}
