/* SPDX-License-Identifier: Apache-2.0 */
/* What its header says, in the order of a test. */
#include "tests/unit/world_agents.h"

void
renew(struct world *w, int n)
{
    char name[16], now[CLOCK_RFC3339_US_LEN];

    snprintf(name, sizeof(name), "m%d", n);
    clock_format_us(wall_ns(), now);
    patch(w, &resource_leases, name, json_pack("{s:{s:s}}", "spec", "renewTime", now));
}

void
add_machine_of(struct world *w, const char *fleet, int n, int cpus)
{
    char name[16];

    snprintf(name, sizeof(name), "m%d", n);
    create(w, &resource_instances,
           json_pack("{s:s, s:s, s:{s:s}, s:{s:s}, s:{s:{s:[{s:s, s:b}], s:{s:i, s:i, "
                     "s:i}}}}",
                     "apiVersion", "drover.dev/v1", "kind", "Instance", "metadata",
                     "name", name, "spec", "fleetName", fleet, "status", "agent",
                     "engines", "name", "process", "available", 1, "inventory", "cpus",
                     cpus, "memoryMiB", 65536, "diskMiB", 100000));
    create_lease(w, name, 40);
}

void
add_machine(struct world *w, int n, int cpus)
{
    add_machine_of(w, "local", n, cpus);
}

void
add_run(struct world *w, const char *name, json_t *more)
{
    json_t *spec = json_pack("{s:s, s:s, s:[s], s:{s:i}}", "type", "task", "desiredState",
                             "Running", "commands", "true", "resources", "cpu", 1);

    if (more != NULL)
        json_object_update(spec, more);
    json_decref(more);
    create(w, &resource_runs,
           json_pack("{s:s, s:s, s:{s:s}, s:o}", "apiVersion", "drover.dev/v1", "kind",
                     "Run", "metadata", "name", name, "spec", spec));
}

char *
get_text(struct world *w, const char *path, const char *a, const char *b)
{
    autofree char *whole = xasprintf(NS "%s", path);
    json_t *o = fake_api_get(w->api, whole);
    const json_t *v = json_object_get(json_object_get(o, a), b);
    char *copy = json_is_string(v) ? xstrdup(json_string_value(v))
                 : v != NULL       ? json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY)
                                   : xstrdup("");

    json_decref(o);
    return copy;
}

void
phase_is(struct world *w, const char *path, const char *phase, const char *reason)
{
    autofree char *p = get_text(w, path, "status", "phase");
    autofree char *r = get_text(w, path, "status", "reason");

    assert_string_equal(p, phase);
    if (reason != NULL)
        assert_string_equal(r, reason);
}

void
agent_says(struct world *w, const char *job, json_t *agent)
{
    json_object_set_new(agent, "claim",
                        json_pack("{s:s, s:s}", "journalID", "j", "instanceUID", "i"));
    patch(w, &resource_jobs, job, json_pack("{s:{s:o}}", "status", "agent", agent));
}
