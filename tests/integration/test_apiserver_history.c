/* SPDX-License-Identifier: Apache-2.0 */
/* Earlier generations: what is kept, for how long, who may read it, restoring. */
#include <stdio.h>
#include <stdlib.h>

#include <unistd.h>

#include "apiserver/store/keyring.h"
#include "base/clock.h"
#include "base/fs.h"
#include "integration/api_fixture.h"

#define REVISIONS "/apis/history.drover.dev/v1/namespaces/default/revisions"
#define OF_RUNS REVISIONS "?fieldSelector=of.resource%3Druns.drover.dev"
#define CONFIGMAPS "/api/v1/namespaces/default/configmaps"

static void
patch_priority(struct api_fixture *f, const char *run, int priority)
{
    autofree char *path = xasprintf("%s/%s?fieldManager=tester", RUNS, run);
    autofree char *body = xasprintf("{\"spec\":{\"priority\":%d}}", priority);

    api_ok(f, 200, "PATCH", path, MERGE, body);
}

static size_t
count(struct api_fixture *f, const char *path)
{
    api_ok(f, 200, "GET", path, NULL, NULL);
    return json_array_size(api_at(f, "items"));
}

static void
each_replaced_generation_is_kept(void **state)
{
    struct api_fixture *f = *state;

    api_ok(f, 201, "POST", RUNS "?fieldManager=creator", NULL, api_run("ra", ""));
    autofree char *uid = xstrdup(api_text(f, "metadata.uid"));
    assert_int_equal(count(f, OF_RUNS), 0);
    patch_priority(f, "ra", 7);
    autofree char *second = xstrdup(api_text(f, "metadata.resourceVersion"));
    /* neither of these is a generation */
    api_ok(f, 200, "PATCH", RUNS "/ra", MERGE,
           "{\"metadata\":{\"labels\":{\"a\":\"b\"}}}");
    api_ok(f, 200, "PATCH", RUNS "/ra/status", MERGE,
           "{\"status\":{\"message\":\"on its way\"}}");
    patch_priority(f, "ra", 7);
    api_ok(f, 200, "PATCH", RUNS "/ra?dryRun=All", MERGE, "{\"spec\":{\"priority\":1}}");
    assert_int_equal(count(f, OF_RUNS), 1);
    api_ok(f, 200, "PATCH", RUNS "/ra", MERGE,
           "{\"spec\":{\"priority\":8,\"env\":{\"A\":\"1\"},\"commands\":[\"false\"]}}");
    assert_int_equal(api_int(f, "metadata.generation"), 3);

    assert_int_equal(count(f, OF_RUNS), 2);
    assert_int_equal(api_int(f, "items.0.generation"), 1);
    assert_string_equal(api_text(f, "items.0.changed"), "created");
    assert_string_equal(api_text(f, "items.0.changedBy.manager"), "creator");
    assert_string_equal(api_text(f, "items.0.replacedBy.user"), "admin");
    assert_string_equal(api_text(f, "items.0.replacedBy.manager"), "tester");
    assert_string_equal(api_text(f, "items.0.replacedBy.changed"), "spec.priority");
    assert_string_equal(api_text(f, "items.0.metadata.resourceVersion"), second);
    assert_int_equal(api_int(f, "items.0.object.spec.priority"), -1);
    assert_int_equal(api_int(f, "items.1.generation"), 2);
    assert_string_equal(api_text(f, "items.1.changed"), "spec.priority");
    assert_string_equal(api_text(f, "items.1.changedBy.user"), "admin");
    assert_string_equal(api_text(f, "items.1.changedBy.manager"), "tester");
    assert_string_equal(api_text(f, "items.1.changedBy.resourceVersion"), second);
    assert_string_equal(api_text(f, "items.1.replacedBy.changed"),
                        "spec.commands[0], spec.env, spec.priority");
    assert_string_equal(api_text(f, "items.1.reason"), "Replaced");
    assert_string_equal(api_text(f, "items.1.of.uid"), uid);
    assert_int_equal(api_int(f, "items.1.object.spec.priority"), 7);
    assert_string_equal(api_text(f, "items.1.object.metadata.labels.a"), "b");
    assert_null(api_at(f, "items.1.object.status"));
    assert_null(api_at(f, "items.1.object.metadata.managedFields"));
    autofree char *name = xasprintf("%s.0000000002", uid);
    assert_string_equal(api_text(f, "items.1.metadata.name"), name);
}

static void
kinds_without_generations_are_counted(void **state)
{
    struct api_fixture *f = *state;

    api_ok(f, 201, "POST", CONFIGMAPS, NULL,
           "{\"metadata\":{\"name\":\"ca\"},\"data\":{\"a.b\":\"1\"}}");
    for (int i = 2; i < 6; i++) {
        autofree char *body = xasprintf("{\"data\":{\"a.b\":\"%d\"}}", i);
        api_ok(f, 200, "PATCH", CONFIGMAPS "/ca", MERGE, body);
    }
    assert_int_equal(count(f, REVISIONS "?labelSelector=history.drover.dev/name%3Dca"),
                     4);
    assert_int_equal(api_int(f, "items.3.generation"), 4);
    assert_string_equal(api_text(f, "items.3.changed"), "data['a.b']");
    assert_string_equal(api_text(f, "items/3/object/data/a.b"), "4");
}

static void
not_for_what_controllers_make(void **state)
{
    struct api_fixture *f = *state;

    api_ok(f, 201, "POST", RUNS, NULL, api_run("owner", ""));
    autofree char *body =
        xasprintf("{\"metadata\":{\"name\":\"ca\",\"ownerReferences\":[{\"apiVersion\":"
                  "\"drover.dev/v1\",\"kind\":\"Run\",\"name\":\"owner\",\"uid\":\"%s\","
                  "\"controller\":true}]},\"data\":{\"a\":\"1\"}}",
                  api_text(f, "metadata.uid"));
    api_ok(f, 201, "POST", CONFIGMAPS, NULL, body);
    api_ok(f, 200, "PATCH", CONFIGMAPS "/ca", MERGE, "{\"data\":{\"a\":\"2\"}}");
    api_ok(f, 200, "DELETE", CONFIGMAPS "/ca", NULL, NULL);
    assert_int_equal(count(f, REVISIONS), 0);
}

static char *
restore_path(const struct api_fixture *f, const char *item)
{
    autofree char *at = xasprintf("%s.metadata.name", item);

    return xasprintf("%s/%s/restore?fieldManager=restorer", REVISIONS, api_text(f, at));
}

static void
deleted_objects_are_restored(void **state)
{
    struct api_fixture *f = *state;

    api_ok(f, 201, "POST", RUNS, NULL, api_run("ra", ",\"priority\":5"));
    autofree char *uid = xstrdup(api_text(f, "metadata.uid"));
    api_ok(f, 200, "PATCH", RUNS "/ra", MERGE,
           "{\"metadata\":{\"labels\":{\"a\":\"b\"},\"annotations\":{\"c\":\"d\"},"
           "\"finalizers\":[\"x.dev/y\"]}}");
    api_ok(f, 200, "DELETE", RUNS "/ra", NULL, NULL);
    assert_int_equal(count(f, OF_RUNS), 0);
    api_ok(f, 200, "PATCH", RUNS "/ra", MERGE, "{\"metadata\":{\"finalizers\":null}}");
    api_ok(f, 404, "GET", RUNS "/ra", NULL, NULL);
    assert_int_equal(count(f, OF_RUNS ",reason%3DDeleted"), 1);
    assert_null(api_at(f, "items.0.object.metadata.finalizers"));
    autofree char *path = restore_path(f, "items.0");
    api_ok(f, 201, "POST", path, NULL, NULL);
    assert_string_not_equal(api_text(f, "metadata.uid"), uid);
    assert_int_equal(api_int(f, "metadata.generation"), 1);
    assert_string_equal(api_text(f, "metadata.labels.a"), "b");
    assert_string_equal(api_text(f, "metadata.annotations.c"), "d");
    assert_string_equal(api_text(f, "metadata.managedFields.0.manager"), "restorer");
    assert_int_equal(api_int(f, "spec.priority"), 5);
    autofree char *own = xstrdup(api_text(f, "metadata.uid"));
    api_ok(f, 409, "POST", path, NULL, NULL);
    assert_string_equal(api_text(f, "reason"), "AlreadyExists");
    api_ok(f, 405, "PUT", path, NULL, "{}");
    api_ok(f, 404, "POST", REVISIONS "/nope/restore", NULL, NULL);

    /* The name is used again: each uid has its own history. */
    patch_priority(f, "ra", 6);
    autofree char *mine = xasprintf("%s,of.uid%%3D%s", OF_RUNS, own);
    assert_int_equal(count(f, mine), 1);
    assert_int_equal(api_int(f, "items.0.generation"), 1);
    autofree char *old = xasprintf("%s,of.uid%%3D%s", OF_RUNS, uid);
    assert_int_equal(count(f, old), 1);
    assert_int_equal(api_int(f, "items.0.generation"), 2);
}

static void
the_past_cannot_be_written(void **state)
{
    struct api_fixture *f = *state;

    api_ok(f, 201, "POST", RUNS, NULL, api_run("ra", ""));
    patch_priority(f, "ra", 1);
    assert_int_equal(count(f, OF_RUNS), 1);
    autofree char *path =
        xasprintf("%s/%s", REVISIONS, api_text(f, "items.0.metadata.name"));
    api_ok(f, 405, "PATCH", path, MERGE, "{\"generation\":9}");
    api_ok(f, 405, "PUT", path, NULL, "{}");
    api_ok(f, 405, "POST", REVISIONS, NULL, "{}");
    f->accept = "application/json;as=Table;g=meta.k8s.io;v=v1";
    api_ok(f, 200, "GET", path, NULL, NULL);
    f->accept = NULL;
    assert_string_equal(api_text(f, "columnDefinitions.3.name"), "Generation");
    assert_string_equal(api_text(f, "rows.0.cells.1"), "Run");
    assert_string_equal(api_text(f, "rows.0.cells.2"), "ra");
    assert_int_equal(api_int(f, "rows.0.cells.3"), 1);
    /* but forgotten, say when it holds what should never have been written */
    api_ok(f, 200, "DELETE", path, NULL, NULL);
    assert_int_equal(count(f, OF_RUNS), 0);
    patch_priority(f, "ra", 2);
    assert_int_equal(count(f, OF_RUNS), 1);
    assert_int_equal(api_int(f, "items.0.generation"), 2);
}

static void
it_survives_a_restart(void **state)
{
    struct api_fixture *f = *state;

    api_ok(f, 201, "POST", RUNS, NULL, api_run("ra", ""));
    patch_priority(f, "ra", 1);
    patch_priority(f, "ra", 2);
    api_restart(f);
    patch_priority(f, "ra", 3);
    assert_int_equal(count(f, OF_RUNS), 3);
    assert_int_equal(api_int(f, "items.2.generation"), 3);
    assert_string_equal(api_text(f, "items.2.changed"), "spec.priority");
    assert_int_equal(api_int(f, "items.2.object.spec.priority"), 2);
}

static void
it_outlives_its_namespace(void **state)
{
    struct api_fixture *f = *state;

    api_ok(f, 201, "POST", "/api/v1/namespaces", NULL,
           "{\"metadata\":{\"name\":\"na\"}}");
    api_ok(f, 201, "POST", "/apis/drover.dev/v1/namespaces/na/runs", NULL,
           api_run("ra", ""));
    api_ok(f, 200, "DELETE", "/api/v1/namespaces/na", NULL, NULL);
    for (int i = 0;
         i < 200 && api_do(f, "GET", "/api/v1/namespaces/na", NULL, NULL) == 200; i++)
        api_settle(f, 10);
    api_ok(f, 404, "GET", "/api/v1/namespaces/na", NULL, NULL);
    assert_int_equal(count(f, "/apis/history.drover.dev/v1/namespaces/na/revisions"), 1);
    autofree char *path =
        xasprintf("/apis/history.drover.dev/v1/namespaces/na/revisions/%s/restore",
                  api_text(f, "items.0.metadata.name"));
    api_ok(f, 404, "POST", path, NULL, NULL);
    /* the Revisions of what has no namespace are in drover-system */
    assert_int_equal(
        count(f, "/apis/history.drover.dev/v1/namespaces/drover-system/revisions"), 1);
    assert_string_equal(api_text(f, "items.0.of.name"), "na");
    autofree char *ns = xasprintf(
        "/apis/history.drover.dev/v1/namespaces/drover-system/revisions/%s/restore",
        api_text(f, "items.0.metadata.name"));
    api_ok(f, 201, "POST", ns, NULL, NULL);
    assert_string_equal(api_text(f, "kind"), "Namespace");
    assert_null(api_at(f, "metadata.deletionTimestamp"));
    api_ok(f, 201, "POST", path, NULL, NULL);
    assert_string_equal(api_text(f, "metadata.name"), "ra");
}

/* --- who may --- */

/* May do with Runs and Revisions what the table says, with Secrets nothing. */
static bool
runs_only(void *arg, const struct authz_attributes *a, struct str *reason)
{
    UNUSED(reason);
    return a->path == NULL && streq(a->resource, "runs") &&
           streq(a->group, "drover.dev") && strstr(arg, a->verb) != NULL;
}

static void
reading_needs_the_right_on_the_object(void **state)
{
    struct api_fixture *f = *state;
    char verbs[] = "get list watch";
    struct api_hooks hooks = {.authorize = runs_only, .arg = verbs};

    api_ok(f, 201, "POST", RUNS, NULL, api_run("ra", ""));
    patch_priority(f, "ra", 1);
    api_ok(f, 201, "POST", SECRETS, NULL,
           "{\"metadata\":{\"name\":\"sa\"},\"data\":{\"k\":\"b2xk\"}}");
    api_ok(f, 200, "DELETE", SECRETS "/sa", NULL, NULL);
    assert_int_equal(count(f, REVISIONS "?fieldSelector=of.resource%3Dsecrets"), 1);
    autofree char *secret =
        xasprintf("%s/%s", REVISIONS, api_text(f, "items.0.metadata.name"));
    assert_int_equal(count(f, OF_RUNS), 1);
    autofree char *run =
        xasprintf("%s/%s", REVISIONS, api_text(f, "items.0.metadata.name"));
    autofree char *restore = xasprintf("%s/restore", run);
    autofree char *opened = xasprintf("%s/object", secret);

    api_server_set_hooks(f->server, &hooks);
    assert_int_equal(count(f, OF_RUNS), 1);
    api_ok(f, 200, "GET", run, NULL, NULL);
    api_ok(f, 403, "GET", secret, NULL, NULL);
    api_ok(f, 403, "GET", opened, NULL, NULL);
    assert_null(strstr(f->reply.body.ptr, "b2xk"));
    api_ok(f, 403, "GET", REVISIONS "?fieldSelector=of.resource%3Dsecrets", NULL, NULL);
    api_ok(f, 403, "GET", REVISIONS, NULL, NULL);
    api_ok(f, 403, "GET", REVISIONS "?watch=1", NULL, NULL);
    api_ok(f, 403, "GET", REVISIONS "?labelSelector=history.drover.dev/kind%3DRun", NULL,
           NULL);
    api_ok(f, 403, "GET", REVISIONS "?fieldSelector=of.resource%21%3Dsecrets", NULL,
           NULL);
    api_ok(f, 403, "DELETE", run, NULL, NULL);
    api_ok(f, 403, "POST", restore, NULL, NULL);
}

static void
grant(struct api_fixture *f, const char *name, const char *kind, const char *role)
{
    autofree char *body = xasprintf(
        "{\"metadata\":{\"name\":\"%s\"},\"roleRef\":{\"apiGroup\":"
        "\"rbac.authorization.k8s.io\",\"kind\":\"%s\",\"name\":\"%s\"},\"subjects\":["
        "{\"kind\":\"User\",\"name\":\"bob\"}]}",
        name, kind, role);

    api_ok(f, 201, "POST",
           "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings", NULL,
           body);
    api_settle(f, 10);
}

static void
roles_decide(void **state)
{
    struct api_fixture *f = *state;
    struct api_user *bob = user_new("bob", "system:authenticated");
    const char *secrets = REVISIONS "?fieldSelector=of.resource%3Dsecrets";

    api_ok(f, 201, "POST", RUNS, NULL, api_run("ra", ""));
    patch_priority(f, "ra", 1);
    api_ok(f, 201, "POST", SECRETS, NULL,
           "{\"metadata\":{\"name\":\"sa\"},\"data\":{\"k\":\"b2xk\"}}");
    api_ok(f, 200, "DELETE", SECRETS "/sa", NULL, NULL);
    assert_int_equal(count(f, secrets), 1);
    autofree char *object =
        xasprintf("%s/%s/object", REVISIONS, api_text(f, "items.0.metadata.name"));
    assert_int_equal(api_do_as(f, bob, "GET", OF_RUNS, NULL, NULL), 403);
    /* view: everything but Secrets */
    grant(f, "viewer", "ClusterRole", "view");
    assert_int_equal(api_do_as(f, bob, "GET", OF_RUNS, NULL, NULL), 200);
    assert_int_equal(json_array_size(api_at(f, "items")), 1);
    assert_int_equal(api_do_as(f, bob, "GET", secrets, NULL, NULL), 403);
    assert_int_equal(api_do_as(f, bob, "GET", REVISIONS, NULL, NULL), 403);
    assert_int_equal(api_do_as(f, bob, "GET", object, NULL, NULL), 403);
    api_ok(f, 201, "POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles",
           NULL,
           "{\"metadata\":{\"name\":\"secrets\"},\"rules\":[{\"verbs\":[\"get\"],"
           "\"apiGroups\":[\"\"],\"resources\":[\"secrets\"]}]}");
    grant(f, "reader", "Role", "secrets");
    assert_int_equal(api_do_as(f, bob, "GET", object, NULL, NULL), 200);
    assert_string_equal(api_text(f, "data.k"), "b2xk");
    assert_int_equal(api_do_as(f, bob, "GET", secrets, NULL, NULL), 403);
    user_unref(bob);
}

static void
agents_do_not_read_the_past(void **state)
{
    struct api_fixture *f = *state;
    struct api_user *agent = user_new("system:agent:u1", "system:masters");

    free(agent->instance_uid);
    agent->instance_uid = xstrdup("u1");
    assert_int_equal(api_do_as(f, agent, "GET", OF_RUNS, NULL, NULL), 403);
    user_unref(agent);
}

/* --- Secrets --- */

static void
secrets_stay_sealed(void **state)
{
    struct api_fixture *f = *state;

    api_ok(f, 201, "POST", SECRETS, NULL,
           "{\"metadata\":{\"name\":\"sa\",\"annotations\":{\"last\":\"b2xkb2xk\"},"
           "\"labels\":{\"l\":\"m\"}},\"data\":{\"k\":\"b2xkb2xk\"}}");
    api_ok(f, 200, "PATCH", SECRETS "/sa", MERGE, "{\"data\":{\"k\":\"bmV3\"}}");
    api_ok(f, 200, "GET", REVISIONS "?fieldSelector=of.resource%3Dsecrets", NULL, NULL);
    assert_null(strstr(f->reply.body.ptr, "b2xkb2xk"));
    assert_string_equal(api_text(f, "items.0.replacedBy.changed"), "data.k");
    assert_string_equal(api_text(f, "items.0.object.metadata.name"), "sa");
    assert_null(api_at(f, "items.0.object.metadata.labels"));
    autofree char *name = xstrdup(api_text(f, "items.0.metadata.name"));
    autofree char *object = xasprintf("%s/%s/object", REVISIONS, name);
    autofree char *again = xasprintf("%s/%s/restore", REVISIONS, name);

    api_restart(f);
    api_ok(f, 200, "GET", object, NULL, NULL);
    assert_string_equal(api_text(f, "data.k"), "b2xkb2xk");
    assert_string_equal(api_text(f, "metadata.annotations.last"), "b2xkb2xk");
    api_ok(f, 405, "POST", object, NULL, "{}");
    api_ok(f, 200, "DELETE", SECRETS "/sa", NULL, NULL);
    api_ok(f, 201, "POST", again, NULL, NULL);
    assert_string_equal(api_text(f, "data.k"), "b2xkb2xk");
    assert_string_equal(api_text(f, "metadata.labels.l"), "m");
}

static void
without_its_key_a_secret_stays_shut(void **state)
{
    struct api_fixture *f = *state;
    struct error e = ERROR_INIT;
    autofree char *key = fs_join(f->dir, KEYRING_FILE);
    auto_str old = STR_INIT(4096), both = STR_INIT(4096);

    api_ok(f, 201, "POST", SECRETS, NULL,
           "{\"metadata\":{\"name\":\"sa\"},\"data\":{\"k\":\"b2xk\"}}");
    api_ok(f, 200, "DELETE", SECRETS "/sa", NULL, NULL);
    api_ok(f, 200, "GET", REVISIONS "?fieldSelector=of.resource%3Dsecrets", NULL, NULL);
    autofree char *object =
        xasprintf("%s/%s/object", REVISIONS, api_text(f, "items.0.metadata.name"));
    assert_int_equal(fs_read(key, &old, &e), 0);
    assert_int_equal(unlink(key), 0);
    api_restart(f); /* makes another key */
    api_ok(f, 404, "GET", object, NULL, NULL);
    assert_non_null(strstr(api_text(f, "message"), "which is not in secrets.keys"));
    /* a ring of both opens it: the first line seals */
    assert_int_equal(fs_read(key, &both, &e), 0);
    assert_string_not_equal(both.ptr, old.ptr);
    str_add(&both, old.ptr, old.len);
    assert_int_equal(fs_write_atomic(key, both.ptr, both.len, 0600, &e), 0);
    api_restart(f);
    api_ok(f, 200, "GET", object, NULL, NULL);
    assert_string_equal(api_text(f, "data.k"), "b2xk");
}

/* --- how long --- */

static int
setup_bounded(void **state)
{
    struct history_limits l = {.per_object = 3, .age_s = 100, .bytes = 20000};

    return api_setup_history(state, &l);
}

static void
bounded_by_count(void **state)
{
    struct api_fixture *f = *state;

    api_ok(f, 201, "POST", RUNS, NULL, api_run("ra", ""));
    for (int i = 1; i <= 8; i++)
        patch_priority(f, "ra", i);
    api_settle(f, 50);
    for (int i = 0; i < 200 && count(f, OF_RUNS) > 3; i++)
        api_settle(f, 10);
    assert_int_equal(count(f, OF_RUNS), 3);
    assert_int_equal(api_int(f, "items.0.generation"), 6);
    assert_int_equal(api_int(f, "items.2.generation"), 8);
    /* and it goes on where it was, also when all is gone from memory */
    api_restart(f);
    patch_priority(f, "ra", 9);
    for (int i = 0; i < 200 && count(f, OF_RUNS) > 3; i++)
        api_settle(f, 10);
    assert_int_equal(count(f, OF_RUNS), 3);
    assert_int_equal(api_int(f, "items.2.generation"), 9);
}

static void
bounded_by_bytes(void **state)
{
    struct api_fixture *f = *state;
    size_t n, total = 0;

    for (int i = 0; i < 40; i++) {
        autofree char *name = xasprintf("r%d", i);
        autofree char *path = xasprintf("%s/%s", RUNS, name);
        api_ok(f, 201, "POST", RUNS, NULL, api_run(name, ""));
        api_ok(f, 200, "DELETE", path, NULL, NULL);
    }
    for (int i = 0; i < 200 && count(f, OF_RUNS) > 39; i++)
        api_settle(f, 10);
    n = count(f, OF_RUNS);
    assert_in_range(n, 5, 39);
    for (size_t i = 0; i < n; i++) {
        autofree char *text =
            json_dumps(json_array_get(api_at(f, "items"), i), JSON_COMPACT);
        total += strlen(text);
    }
    assert_true(total <= 20000 + 64 * n); /* resourceVersion is not stored */
}

static void
bounded_by_age(void **state)
{
    struct api_fixture *f = *state;
    const int64_t second = 1000000000;

    clock_fake_set(clock_now_ns(), clock_wall_ns());
    api_ok(f, 201, "POST", RUNS, NULL, api_run("ra", ""));
    patch_priority(f, "ra", 1);
    api_settle(f, 5);
    clock_fake_advance(50 * second);
    patch_priority(f, "ra", 2);
    api_settle(f, 5);
    clock_fake_advance(49 * second);
    api_settle(f, 5);
    assert_int_equal(count(f, OF_RUNS), 2);
    clock_fake_advance(2 * second);
    api_settle(f, 5);
    assert_int_equal(count(f, OF_RUNS), 1);
    assert_int_equal(api_int(f, "items.0.generation"), 2);
    clock_fake_advance(50 * second);
    api_settle(f, 5);
    assert_int_equal(count(f, OF_RUNS), 0);
    clock_fake_stop();
}

static void
limits_from_options(void **state)
{
    struct history_limits l;
    struct error e = ERROR_INIT;

    UNUSED(state);
    assert_int_equal(history_limits_parse("7", "2h", "3GB", &l, &e), 0);
    assert_false(l.off);
    assert_int_equal(l.per_object, 7);
    assert_int_equal(l.age_s, 7200);
    assert_int_equal(l.bytes, 3ull << 30);
    assert_int_equal(history_limits_parse("0", NULL, NULL, &l, &e), 0);
    assert_true(l.off);
    assert_int_equal(history_limits_parse("-1", NULL, NULL, &l, &e), -ERR_BAD_REQUEST);
    assert_int_equal(history_limits_parse("7x", NULL, NULL, &l, &e), -ERR_BAD_REQUEST);
    assert_true(history_limits_parse(NULL, "soon", NULL, &l, &e) < 0);
    assert_true(history_limits_parse(NULL, NULL, "big", &l, &e) < 0);
}

int
main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, api_setup, api_teardown)
#define BOUNDED(t) cmocka_unit_test_setup_teardown(t, setup_bounded, api_teardown)
    static const struct CMUnitTest tests[] = {
        TEST(each_replaced_generation_is_kept),
        TEST(kinds_without_generations_are_counted),
        TEST(not_for_what_controllers_make),
        TEST(deleted_objects_are_restored),
        TEST(the_past_cannot_be_written),
        TEST(it_survives_a_restart),
        TEST(it_outlives_its_namespace),
        TEST(reading_needs_the_right_on_the_object),
        TEST(roles_decide),
        TEST(agents_do_not_read_the_past),
        TEST(secrets_stay_sealed),
        TEST(without_its_key_a_secret_stays_shut),
        BOUNDED(bounded_by_count),
        BOUNDED(bounded_by_bytes),
        BOUNDED(bounded_by_age),
        cmocka_unit_test(limits_from_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
