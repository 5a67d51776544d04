/* SPDX-License-Identifier: Apache-2.0 */
/* What its header says, in the order of a test. */
#include "tests/unit/world.h"

int64_t fake_ms;

int64_t
now_ms(void)
{
    return fake_ms;
}

int64_t
wall_ns(void)
{
    return START_NS + fake_ms * 1000000;
}

void
start_controllers(struct world *w, uint64_t seed)
{
    struct error e = ERROR_INIT;

    w->async = async_local_new(w->client);
    struct manager_opts o = {.client = w->client,
                             .async = w->async,
                             .source = fake_api_source(w->api),
                             .now_ms = now_ms,
                             .wall_ns = wall_ns,
                             .component = "test",
                             .instance = "host",
                             .seed = seed};
    manager_new(&o, &w->m);
    assert_int_equal(controllers_add(w->m, NULL, &w->set, &e), 0);
    manager_start(w->m);
}

/* As kill -9 does: nothing in flight is answered, no memory is kept. */
void
stop_controllers(struct world *w)
{
    manager_stop(w->m);
    async_free(w->async);
    manager_free(w->m);
    controllers_free(w->set);
}

void
world_init(struct world *w, uint64_t seed)
{
    w->api = fake_api_new();
    w->client = fake_api_client(w->api);
    fake_ms = 1000;
    start_controllers(w, seed);
}

void
world_done(struct world *w)
{
    stop_controllers(w);
    client_free(w->client);
    fake_api_free(w->api);
}

void
settle(struct world *w)
{
    do {
        while (manager_step(w->m))
            ;
    } while (fake_api_deliver(w->api));
}

/* Runs everything that is due until then. */
void
advance_to(struct world *w, int64_t ms)
{
    settle(w);
    for (;;) {
        int64_t due = manager_next_due(w->m);
        if (due < 0 || due > ms)
            break;
        if (due > fake_ms)
            fake_ms = due;
        settle(w);
    }
    fake_ms = ms;
    settle(w);
}

void
create(struct world *w, const struct resource *r, json_t *o)
{
    struct error e = ERROR_INIT;
    json_t *meta = json_object_get(o, "metadata");
    char now[CLOCK_RFC3339_LEN];

    clock_format(wall_ns(), now);
    json_object_set_new(meta, "creationTimestamp", json_string(now));
    json_object_set_new(meta, "namespace", json_string("default"));
    if (client_create(w->client, r, "default", o, NULL, &e) < 0)
        fail_msg("%s", e.msg);
    json_decref(o);
}

void
patch(struct world *w, const struct resource *r, const char *name, json_t *body)
{
    struct client_patch_opts o = {.type = CLIENT_PATCH_MERGE};
    struct error e = ERROR_INIT;

    if (client_patch(w->client, r, "default", name, &o, body, NULL, &e) < 0)
        fail_msg("%s", e.msg);
    json_decref(body);
}

void
renew(struct world *w, int n)
{
    char name[16], now[CLOCK_RFC3339_US_LEN];

    snprintf(name, sizeof(name), "m%d", n);
    clock_format_us(wall_ns(), now);
    patch(w, &resource_leases, name, json_pack("{s:{s:s}}", "spec", "renewTime", now));
}

void
add_machine(struct world *w, int n, int cpus)
{
    char name[16];
    struct error e = ERROR_INIT;
    auto_object *o = NULL;

    snprintf(name, sizeof(name), "m%d", n);
    create(w, &resource_instances,
           json_pack("{s:s, s:s, s:{s:s}, s:{s:s}, s:{s:{s:[{s:s, s:b}], s:{s:i, s:i, "
                     "s:i}}}}",
                     "apiVersion", "drover.dev/v1", "kind", "Instance", "metadata",
                     "name", name, "spec", "fleetName", "local", "status", "agent",
                     "engines", "name", "process", "available", 1, "inventory", "cpus",
                     cpus, "memoryMiB", 65536, "diskMiB", 100000));
    assert_int_equal(client_get(w->client, &resource_instances, "default", name, &o, &e),
                     0);
    create(w, &resource_leases,
           json_pack("{s:s, s:s, s:{s:s, s:{s:s}}, s:{s:i, s:s}}", "apiVersion",
                     "coordination.k8s.io/v1", "kind", "Lease", "metadata", "name", name,
                     "labels", "drover.dev/instance", o->uid, "spec",
                     "leaseDurationSeconds", 40, "renewTime", "2026-01-01T00:00:00Z"));
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
    const char *t = json_string_value(json_object_get(json_object_get(o, a), b));
    char *copy = xstrdup(t == NULL ? "" : t);

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
