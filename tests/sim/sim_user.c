/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Users: they submit, stop, abort and delete runs, cordon machines, and use the name of a
 * run again as soon as it is free. A foreign writer touches labels, so that others'
 * writes conflict.
 */
#include "base/mem.h"
#include "sim/sim.h"

enum { NAMES = 24 };

static json_t *
resources(struct sim *s, bool too_big)
{
    json_t *r = json_object();
    char text[32];

    snprintf(text, sizeof(text), "%u..", 1 + sim_below(s, 3));
    json_object_set_new(r, "cpu", json_string(too_big ? "500.." : text));
    snprintf(text, sizeof(text), "%uMB..", 256u << sim_below(s, 4));
    json_object_set_new(r, "memory", json_string(text));
    if (sim_permille(s, 250))
        json_object_set_new(r, "gpu", json_integer(1 + (int)sim_below(s, 2)));
    return r;
}

static json_t *
retry(struct sim *s)
{
    static const char *const events[] = {"interruption", "error", "no-capacity"};
    json_t *list = json_array();

    for (size_t i = 0; i < ARRAY_LEN(events); i++)
        if (sim_permille(s, i == 0 ? 800 : 400) ||
            (i == ARRAY_LEN(events) - 1 && json_array_size(list) == 0))
            json_array_append_new(list, json_string(events[i]));
    if (json_array_size(list) == 0) /* an empty list is refused */
        json_array_append_new(list, json_string(events[1]));
    return json_pack("{s:o, s:s}", "onEvents", list, "duration",
                     sim_permille(s, 500) ? "10m" : "1h");
}

static json_t *
new_spec(struct sim *s)
{
    json_t *spec = json_pack("{s:s, s:[s], s:i, s:o}", "type", "task", "commands",
                             "exit 0", "priority", (int)(25 * sim_below(s, 5)),
                             "resources", resources(s, sim_permille(s, 30)));
    char text[16];

    snprintf(text, sizeof(text), "%us", 1 + sim_below(s, 40));
    json_object_set_new(spec, "stopDuration", json_string(text));
    if (sim_permille(s, 700))
        json_object_set_new(spec, "retry", retry(s));
    if (sim_permille(s, 200)) {
        snprintf(text, sizeof(text), "%us", 5 + sim_below(s, 100));
        json_object_set_new(spec, "maxDuration", json_string(text));
    }
    if (sim_permille(s, 200))
        json_object_set_new(spec, "image", json_string("busybox"));
    if (sim_permille(s, 150))
        json_object_set_new(spec, "nodes", json_integer(2 + (int)sim_below(s, 2)));
    if (sim_permille(s, 600))
        json_object_set_new(spec, "preemptible", json_true());
    if (sim_permille(s, 500))
        json_object_set_new(spec, "preemptionPolicy",
                            json_string("PreemptLowerPriority"));
    return spec;
}

static void
submit(struct sim *s, json_t *spec)
{
    char name[16];
    struct error e = ERROR_INIT;
    auto_object *o = NULL;

    snprintf(name, sizeof(name), "r%u", sim_below(s, NAMES));
    json_t *body = json_pack("{s:s, s:s, s:{s:s}, s:o}", "apiVersion", "drover.dev/v1",
                             "kind", "Run", "metadata", "name", name, "spec", spec);
    int rc = client_create(s->user_client, &resource_runs, SIM_NS, body, &o, &e);
    json_decref(body);
    if (rc == 0) {
        s->n_submitted++;
        sim_log(s, "user: submits %s (%.8s)", name, o->uid);
    } else if (e.code == ERR_INVALID || e.code == ERR_BAD_REQUEST) {
        sim_violate(s, "run_is_valid", "%s", e.msg);
    }
}

void
sim_user_submit_interruptible(struct sim *s)
{
    submit(s, json_pack("{s:s, s:[s], s:{s:s, s:s}, s:s, s:{s:[s]}}", "type", "task",
                        "commands", "sleep 1000", "resources", "cpu", "1..", "memory",
                        "256MB..", "stopDuration", "5s", "retry", "onEvents",
                        "interruption"));
}

static void
set_spec(struct sim *s, const struct resource *r, const char *name, json_t *spec)
{
    struct client_patch_opts o = {.type = CLIENT_PATCH_MERGE};
    struct error e = ERROR_INIT;
    json_t *body = json_pack("{s:o}", "spec", spec);
    int rc = client_patch(s->user_client, r, SIM_NS, name, &o, body, NULL, &e);

    json_decref(body);
    UNUSED(rc); /* a user whose request failed goes away */
}

static void
stop(struct sim *s)
{
    auto_object *o = sim_pick(s, RES_RUNS);
    const char *how = sim_permille(s, 500) ? "Stopped" : "Aborted";

    if (o == NULL)
        return;
    sim_log(s, "user: %s %s", how, o->name);
    set_spec(s, &resource_runs, o->name, json_pack("{s:s}", "desiredState", how));
}

static void
cordon(struct sim *s)
{
    auto_object *o = sim_pick(s, RES_INSTANCES);
    bool on = sim_permille(s, 300);

    if (o == NULL || !(s->faults & FAULT_CORDON))
        return;
    sim_log(s, "user: %s %s", on ? "cordons" : "uncordons", o->name);
    set_spec(s, &resource_instances, o->name, json_pack("{s:b}", "unschedulable", on));
}

static void delete (struct sim *s, const struct resource *r, const char *name)
{
    struct error e = ERROR_INIT;
    int rc = client_delete(s->user_client, r, SIM_NS, name, NULL, NULL, &e);

    sim_log(s, "user: deletes %s %s (%d)", r->kind, name, rc);
}

static void
delete_one(struct sim *s)
{
    bool job = sim_permille(s, 100);
    auto_object *o = sim_pick(s, job ? RES_JOBS : RES_RUNS);

    if (o != NULL)
        delete (s, job ? &resource_jobs : &resource_runs, o->name);
}

void
sim_user_step(struct sim *s)
{
    uint32_t what = sim_below(s, 100);

    if (what < 10)
        submit(s, json_pack("{s:s, s:[s], s:{s:s, s:s}, s:i, s:s}", "type", "task",
                            "commands", "exit 0", "resources", "cpu", "2..", "memory",
                            "1GB..", "priority", 100, "preemptionPolicy",
                            "PreemptLowerPriority"));
    else if (what < 55)
        submit(s, new_spec(s));
    else if (what < 70)
        stop(s);
    else if (what < 85)
        delete_one(s);
    else
        cordon(s);
}

void
sim_user_touch(struct sim *s)
{
    static const char *const kinds[] = {RES_JOBS, RES_RUNS, RES_JOBS, RES_INSTANCES};
    static const struct resource *const resources_of[] = {
        &resource_jobs, &resource_runs, &resource_jobs, &resource_instances};
    uint32_t k = sim_below(s, ARRAY_LEN(kinds));
    auto_object *o = sim_pick(s, kinds[k]);
    struct client_patch_opts opts = {.type = CLIENT_PATCH_MERGE};
    struct error e = ERROR_INIT;
    char text[16];

    if (o == NULL)
        return;
    snprintf(text, sizeof(text), "%u", s->step);
    json_t *body = json_pack("{s:{s:{s:s}}}", "metadata", "labels", "touched", text);
    int rc = client_patch(s->user_client, resources_of[k], SIM_NS, o->name, &opts, body,
                          NULL, &e);
    json_decref(body);
    sim_log(s, "foreign: touches %s (%d)", o->name, rc);
}

void
sim_user_calm(struct sim *s)
{
    for (unsigned i = 0; i < s->n_agents; i++) {
        char name[16];
        snprintf(name, sizeof(name), "node-%u", i);
        set_spec(s, &resource_instances, name, json_pack("{s:b}", "unschedulable", 0));
    }
}

void
sim_user_delete_all(struct sim *s)
{
    for (unsigned i = 0; i < NAMES; i++) {
        char name[16];
        snprintf(name, sizeof(name), "r%u", i);
        auto_object *o = sim_shadow(s, RES_RUNS, name);
        if (o != NULL)
            delete (s, &resource_runs, name);
    }
}

/* Declared once, before anything runs: so it holds at any time. */
void
sim_user_quota(struct sim *s)
{
    struct error e = ERROR_INIT;
    unsigned most = 3 + (unsigned)(s->opts.seed / 2 % 3);
    json_t *body = json_pack("{s:s, s:s, s:{s:s}, s:{s:[{s:s, s:i}]}}", "apiVersion",
                             "drover.dev/v1", "kind", "Quota", "metadata", "name", "q",
                             "spec", "limits", "resource", "jobs", "hard", (int)most);

    if (client_create(s->user_client, &resource_quotas, SIM_NS, body, NULL, &e) < 0)
        sim_violate(s, "set_up", "quota: %s", e.msg);
    json_decref(body);
    s->quota_jobs = most;
}

bool
sim_too_big(const struct sim *s, const struct object *run)
{
    struct violations v = {0};
    struct resource_req req = {0};
    struct error e = ERROR_INIT;
    struct span raw;
    json_t *tree = NULL;
    bool image = object_path(run, "spec.image", &raw);

    if (object_path(run, "spec.resources", &raw))
        tree = json_loadb(raw.ptr, raw.len, 0, NULL);
    int rc = resources_parse(tree, "", &req, &v, &e);
    json_decref(tree);
    violations_done(&v);
    int64_t nodes = object_get_int(run, "spec.nodes", 1);
    for (unsigned i = 0; rc == 0 && i < s->n_agents; i++)
        nodes -= sim_agent_could_take(s->agents[i], &req, image);
    return rc == 0 && nodes > 0;
}
