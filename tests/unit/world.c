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
    assert_int_equal(controllers_add(w->m, w->only, &w->set, &e), 0);
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
world_init_only(struct world *w, uint64_t seed, const char *only)
{
    w->only = only;
    w->api = fake_api_new();
    w->client = fake_api_client(w->api);
    fake_ms = 1000;
    start_controllers(w, seed);
}

void
world_init(struct world *w, uint64_t seed)
{
    world_init_only(w, seed, NULL);
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
create_in(struct world *w, const struct resource *r, const char *ns, json_t *o)
{
    struct error e = ERROR_INIT;
    json_t *meta = json_object_get(o, "metadata");
    char now[CLOCK_RFC3339_LEN];

    clock_format(wall_ns(), now);
    json_object_set_new(meta, "creationTimestamp", json_string(now));
    if (ns[0] != '\0')
        json_object_set_new(meta, "namespace", json_string(ns));
    if (client_create(w->client, r, ns, o, NULL, &e) < 0)
        fail_msg("%s", e.msg);
    json_decref(o);
}

void
create(struct world *w, const struct resource *r, json_t *o)
{
    create_in(w, r, "default", o);
}

void
patch_in(struct world *w, const struct resource *r, const char *ns, const char *name,
         json_t *body)
{
    struct client_patch_opts o = {.type = CLIENT_PATCH_MERGE};
    struct error e = ERROR_INIT;

    if (client_patch(w->client, r, ns, name, &o, body, NULL, &e) < 0)
        fail_msg("%s", e.msg);
    json_decref(body);
}

void
patch(struct world *w, const struct resource *r, const char *name, json_t *body)
{
    patch_in(w, r, "default", name, body);
}

void
create_lease(struct world *w, const char *instance, int seconds)
{
    struct error e = ERROR_INIT;
    auto_object *o = NULL;

    assert_int_equal(
        client_get(w->client, &resource_instances, "default", instance, &o, &e), 0);
    create(w, &resource_leases,
           json_pack("{s:s, s:s, s:{s:s, s:{s:s}}, s:{s:i, s:s}}", "apiVersion",
                     "coordination.k8s.io/v1", "kind", "Lease", "metadata", "name",
                     instance, "labels", "drover.dev/instance", o->uid, "spec",
                     "leaseDurationSeconds", seconds, "renewTime",
                     "2026-01-01T00:00:00Z"));
}
