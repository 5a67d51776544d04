/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The manager with one test controller: every Run gets one Job, and its status says so.
 * Stepped (fake clock, chosen interleavings) and with worker threads.
 */
#include "control/manager.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/mem.h"
#include "tests/unit/fake_api.h"

enum { RUNS = 40 };
#define RUNS_PATH "/apis/drover.dev/v1/namespaces/default/runs"
#define JOBS_PATH "/apis/drover.dev/v1/namespaces/default/jobs"

static _Atomic int64_t fake_ms;
static atomic_uint reconciles, exists_errors;
static atomic_int inside[RUNS];
static atomic_bool never_two;

static int64_t
now_ms(void)
{
    return atomic_load(&fake_ms);
}

static int
make_child(const struct reconcile_env *env, const struct object_key *key, struct error *e)
{
    autofree char *name = xasprintf("%s-job", key->name);
    auto_object *have = lister_find(env->lister, &resource_jobs, key->ns, name);

    if (have != NULL)
        return 0;
    json_t *job =
        json_pack("{s:s, s:s, s:{s:s, s:s, s:[{s:s, s:s, s:s, s:s, s:b}]}}", "apiVersion",
                  "drover.dev/v1", "kind", "Job", "metadata", "name", name, "namespace",
                  key->ns, "ownerReferences", "apiVersion", "drover.dev/v1", "kind",
                  "Run", "name", key->name, "uid", "x", "controller", 1);
    int rc = reconcile_create(env, &resource_jobs, key->ns, job, NULL, e);
    json_decref(job);
    if (rc == -ERR_EXISTS)
        atomic_fetch_add(&exists_errors, 1);
    return rc;
}

static int
reconcile(const struct reconcile_env *env, const struct object_key *key,
          struct reconcile_result *result, struct error *e)
{
    auto_object *run = lister_find(env->lister, &resource_runs, key->ns, key->name);
    long n = strtol(key->name + 1, NULL, 10) % RUNS;

    UNUSED(result);
    atomic_fetch_add(&reconciles, 1);
    if (atomic_fetch_add(&inside[n], 1) != 0)
        atomic_store(&never_two, false);
    int rc = run == NULL ? 0 : make_child(env, key, e);
    if (rc == 0 && run != NULL && object_get_int(run, "status.seen", 0) == 0) {
        json_t *patch = json_pack("{s:{s:i}}", "status", "seen", 1);
        rc = reconcile_patch(env, &resource_runs, key, "status", patch, e);
        json_decref(patch);
    }
    atomic_fetch_sub(&inside[n], 1);
    return rc;
}

static const struct watch_spec watches[] = {
    {.resource = &resource_runs, .how = WATCH_SELF},
    {.resource = &resource_jobs, .how = WATCH_OWNED},
    {.resource = NULL},
};
static const struct controller test_controller = {
    .name = "test",
    .resource = &resource_runs,
    .watches = watches,
    .workers = 4,
    .deadline_ms = 10000,
    .backoff_min_ms = 100,
    .backoff_max_ms = 1000,
    .reconcile = reconcile,
};

struct world {
    struct fake_api *api;
    struct client *client;
    struct async_client *async;
    struct manager *m;
};

static void
world_init(struct world *w, struct loop *l)
{
    struct error e = ERROR_INIT;

    atomic_store(&reconciles, 0);
    atomic_store(&exists_errors, 0);
    atomic_store(&never_two, true);
    w->api = fake_api_new();
    w->client = fake_api_client(w->api);
    w->async = async_local_new(w->client);
    struct manager_opts o = {.loop = l,
                             .client = w->client,
                             .async = w->async,
                             .source = fake_api_source(w->api),
                             .now_ms = l == NULL ? now_ms : NULL,
                             .component = "test",
                             .instance = "host",
                             .seed = 3};
    manager_new(&o, &w->m);
    assert_int_equal(manager_add(w->m, &test_controller, &e), 0);
    manager_start(w->m);
}

static void
world_done(struct world *w)
{
    manager_stop(w->m);
    async_free(w->async);
    manager_free(w->m);
    client_free(w->client);
    fake_api_free(w->api);
}

static void
create_run(struct world *w, int n)
{
    struct error e = ERROR_INIT;
    char name[16];

    snprintf(name, sizeof(name), "r%d", n);
    json_t *run =
        json_pack("{s:s, s:s, s:{s:s, s:s}, s:{}}", "apiVersion", "drover.dev/v1", "kind",
                  "Run", "metadata", "name", name, "namespace", "default", "spec");
    if (client_create(w->client, &resource_runs, "default", run, NULL, &e) < 0)
        fail_msg("%s", e.msg);
    json_decref(run);
}

static void
step_all(struct world *w)
{
    while (manager_step(w->m))
        ;
}

static void
settle(struct world *w)
{
    do {
        step_all(w);
    } while (fake_api_deliver(w->api));
}

/* Nothing runs before all caches have had their list. */
static void
waits_for_caches(void **state)
{
    struct world w;

    UNUSED(state);
    world_init(&w, NULL);
    create_run(&w, 0);
    assert_false(manager_step(w.m));
    assert_false(manager_synced(w.m));
    settle(&w);
    assert_true(manager_synced(w.m));
    assert_int_equal(fake_api_count(w.api, "POST", JOBS_PATH), 1);
    world_done(&w);
}

/* A key that has written does not run before its caches show it, whatever wakes it. */
static void
reads_its_own_writes(void **state)
{
    struct world w;

    UNUSED(state);
    world_init(&w, NULL);
    settle(&w);
    create_run(&w, 0);
    fake_api_deliver(w.api);
    step_all(&w);
    unsigned before = atomic_load(&reconciles);
    assert_int_equal(before, 1);
    manager_enqueue(w.m, "test", "default", "r0");
    step_all(&w);
    assert_int_equal(atomic_load(&reconciles), before); /* parked */
    settle(&w);
    assert_true(atomic_load(&reconciles) > before);
    assert_int_equal(atomic_load(&exists_errors), 0);
    assert_int_equal(fake_api_count(w.api, "POST", JOBS_PATH), 1);
    world_done(&w);
}

static void
backs_off(void **state)
{
    struct world w;

    UNUSED(state);
    world_init(&w, NULL);
    settle(&w);
    fake_api_fail(w.api, "POST", JOBS_PATH, 503, 3);
    create_run(&w, 0);
    settle(&w);
    for (int i = 0; i < 3; i++) {
        int64_t due = manager_next_due(w.m);
        assert_true(due > atomic_load(&fake_ms));
        atomic_store(&fake_ms, due - 1);
        assert_false(manager_step(w.m));
        atomic_store(&fake_ms, due);
        settle(&w);
    }
    assert_int_equal(manager_next_due(w.m), -1);
    assert_int_equal(fake_api_count(w.api, "POST", JOBS_PATH), 4);
    world_done(&w);
}

/* An error that a retry cannot help is told once, with an Event, and not repeated. */
static void
terminal_errors(void **state)
{
    struct world w;

    UNUSED(state);
    world_init(&w, NULL);
    settle(&w);
    fake_api_fail(w.api, "POST", JOBS_PATH, 422, 1);
    create_run(&w, 0);
    settle(&w);
    assert_int_equal(manager_next_due(w.m), -1);
    assert_int_equal(fake_api_count(w.api, "POST", JOBS_PATH), 1);
    assert_int_equal(fake_api_count(w.api, "POST", "/api/v1/namespaces/default/events"),
                     1);
    world_done(&w);
}

static bool
all_seen(struct world *w)
{
    for (int n = 0; n < RUNS; n++) {
        autofree char *path = xasprintf(RUNS_PATH "/r%d", n);
        json_t *run = fake_api_get(w->api, path);
        bool seen = json_object_get(json_object_get(run, "status"), "seen") != NULL;
        json_decref(run);
        if (!seen)
            return false;
    }
    return true;
}

/* Real threads: one Job per Run, never two reconciles of a key at once, no EXISTS. */
static void
workers(void **state)
{
    struct world w;
    struct loop *l = NULL;
    struct error e = ERROR_INIT;
    int created = 0;

    UNUSED(state);
    assert_int_equal(loop_new(&l, &e), 0);
    world_init(&w, l);
    fake_api_fail(w.api, "PATCH", RUNS_PATH, 503, 5);
    while (!all_seen(&w)) {
        if (created < RUNS)
            create_run(&w, created++);
        fake_api_deliver(w.api);
        loop_turn(l, 1);
        manager_enqueue(w.m, "test", "default", "r1"); /* noise */
    }
    assert_true(atomic_load(&never_two));
    assert_int_equal(atomic_load(&exists_errors), 0);
    assert_int_equal(fake_api_count(w.api, "POST", JOBS_PATH), RUNS);
    auto_str dump = STR_INIT(10000);
    manager_dump(w.m, &dump);
    assert_non_null(strstr(dump.ptr, "controller test "));
    world_done(&w);
    loop_free(l);
}

/* A part runs when woken and when due, only after the caches have synced. */
static int part_runs;

static int64_t
part_step(void *arg, int64_t now)
{
    UNUSED(arg);
    part_runs++;
    return part_runs == 1 ? now + 500 : -1;
}

static void
parts(void **state)
{
    struct fake_api *api = fake_api_new();
    struct client *client = fake_api_client(api);
    struct async_client *async = async_local_new(client);
    struct manager_opts o = {.client = client,
                             .async = async,
                             .source = fake_api_source(api),
                             .now_ms = now_ms,
                             .component = "test",
                             .instance = "host",
                             .seed = 3};
    struct manager_part part = {"part", part_step, NULL};
    struct world w = {api, client, async, NULL};

    UNUSED(state);
    atomic_store(&fake_ms, 1000);
    manager_new(&o, &w.m);
    manager_informer(w.m, &resource_jobs);
    struct manager_part_ref *ref = manager_add_part(w.m, &part);
    manager_start(w.m);
    manager_wake(ref);
    assert_false(manager_step(w.m));
    settle(&w);
    assert_int_equal(part_runs, 1);
    assert_int_equal(manager_next_due(w.m), 1500);
    atomic_store(&fake_ms, 1500);
    settle(&w);
    assert_int_equal(part_runs, 2);
    assert_int_equal(manager_next_due(w.m), -1);
    manager_wake(ref);
    settle(&w);
    assert_int_equal(part_runs, 3);
    world_done(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waits_for_caches), cmocka_unit_test(reads_its_own_writes),
        cmocka_unit_test(backs_off),        cmocka_unit_test(terminal_errors),
        cmocka_unit_test(workers),          cmocka_unit_test(parts),
    };

    json_object_seed(0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
