/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens, enrolment, what agents and parts may do, the review kinds. */
#include "integration/api_fixture.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/id.h"

static struct api_user *
login(struct api_fixture *f, const char *token)
{
    struct error e = ERROR_INIT;
    autofree char *header = xasprintf("Bearer %s", token);

    return auth_bearer(f->auth, header, &e);
}

static char *
join_token(struct api_fixture *f, const char *body)
{
    if (api_do(f, "GET", FLEETS "/local", NULL, NULL) == 404)
        api_ok(f, 201, "POST", FLEETS, NULL,
               "{\"apiVersion\":\"drover.dev/v1\",\"kind\":\"Fleet\",\"metadata\":{"
               "\"name\":\"local\"},\"spec\":{}}");
    api_ok(f, 201, "POST", FLEETS "/local/jointoken", NULL, body);
    assert_string_equal(api_text(f, "caHash"), "sha256:00");
    return xstrdup(api_text(f, "token"));
}

/* Enrols a machine; the instance is in the last reply. */
static struct api_user *
enrolled(struct api_fixture *f, const char *host, const char *machine,
         const char *journal)
{
    autofree char *join = join_token(f, "{}");
    struct api_user *joining = login(f, join);
    autofree char *body =
        xasprintf("{\"hostname\":\"%s\",\"machineID\":\"%s\",\"journalID\":\"%s\"}", host,
                  machine, journal);

    assert_non_null(joining);
    assert_int_equal(api_do_as(f, joining, "POST", "/enroll", NULL, body), 201);
    user_unref(joining);
    struct api_user *agent = login(f, api_text(f, "token"));
    assert_non_null(agent);
    return agent;
}

static void
enrolment_is_idempotent(void **state)
{
    struct api_fixture *f = *state;
    struct api_user *one = enrolled(f, "Node.Example.ORG", "m1", "j1");

    assert_string_equal(api_text(f, "instance.name"), "node");
    autofree char *uid = xstrdup(api_text(f, "instance.uid"));
    assert_string_equal(one->instance_uid, uid);
    assert_true(user_in_group(one, "system:agents"));
    struct api_user *again = enrolled(f, "Node.Example.ORG", "m1", "j9");
    assert_string_equal(api_text(f, "instance.uid"), uid);
    struct api_user *journal = enrolled(f, "renamed", "m9", "j1");
    assert_string_equal(api_text(f, "instance.uid"), uid);
    struct api_user *second = enrolled(f, "second", "m1", "j3"); /* on the same machine */
    assert_string_equal(api_text(f, "instance.name"), "second");
    struct api_user *other = enrolled(f, "node", "m2", "j2");
    assert_string_equal(api_text(f, "instance.name"), "node-2");
    api_ok(f, 200, "GET", INSTANCES "/node-2", NULL, NULL);
    assert_string_equal(api_text(f, "metadata.ownerReferences.0.kind"), "Fleet");
    assert_string_equal(api_text(f, "spec.fleetName"), "local");
    user_unref(one);
    user_unref(again);
    user_unref(journal);
    user_unref(second);
    user_unref(other);
}

static void
join_tokens_are_hashed_and_expire(void **state)
{
    struct api_fixture *f = *state;
    autofree char *token = join_token(f, "{\"ttlSeconds\":60}");

    api_ok(f, 200, "GET", SECRETS, NULL, NULL);
    assert_int_equal(json_array_size(api_at(f, "items")), 1);
    assert_string_equal(api_text(f, "items.0.type"), "drover.dev/join-token");
    assert_null(strstr(f->reply.body.ptr, token + 4));
    struct api_user *u = login(f, token);
    assert_non_null(u);
    assert_int_equal(api_do_as(f, u, "GET", RUNS, NULL, NULL), 403);
    assert_int_equal(api_do_as(f, u, "POST", "/enroll", NULL, "{\"hostname\":\"x\"}"),
                     400);
    assert_int_equal(
        api_do_as(f, u, "POST", FLEETS "/other/enroll", NULL,
                  "{\"hostname\":\"x\",\"machineID\":\"m\",\"journalID\":\"j\"}"),
        403);
    user_unref(u);
    clock_fake_advance(INT64_C(61) * 1000000000);
    assert_null(login(f, token));
    assert_null(login(f, "drj_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"));
    autofree char *next = join_token(f, "{}"); /* sweeps the old one out */
    api_ok(f, 200, "GET", SECRETS, NULL, NULL);
    assert_int_equal(json_array_size(api_at(f, "items")), 1);
    api_ok(f, 400, "POST", FLEETS "/local/jointoken", NULL, "{\"ttlSeconds\":0}");
    api_ok(f, 404, "POST", FLEETS "/none/jointoken", NULL, "{}");
    assert_string_not_equal(next, token);
}

/* A token that was made for one Instance gives that one, whatever the machine is called.
 */
static void
a_token_for_one_instance(void **state)
{
    static const char body[] =
        "{\"hostname\":\"other\",\"machineID\":\"m9\",\"journalID\":\"j9\"}";
    struct api_fixture *f = *state;
    autofree char *plain = join_token(f, "{}");

    api_ok(f, 201, "POST", INSTANCES, NULL,
           "{\"apiVersion\":\"drover.dev/v1\",\"kind\":\"Instance\",\"metadata\":{"
           "\"name\":\"local-host\"},\"spec\":{\"fleetName\":\"local\"}}");
    autofree char *uid = xstrdup(api_text(f, "metadata.uid"));
    api_ok(f, 404, "POST", FLEETS "/local/jointoken", NULL, "{\"instance\":\"none\"}");
    autofree char *token = join_token(f, "{\"instance\":\"local-host\"}");
    struct api_user *joining = login(f, token);
    assert_non_null(joining);
    for (int i = 0; i < 2; i++) { /* and again: the same */
        assert_int_equal(api_do_as(f, joining, "POST", "/enroll", NULL, body), 201);
        assert_string_equal(api_text(f, "instance.name"), "local-host");
        assert_string_equal(api_text(f, "instance.uid"), uid);
    }
    struct api_user *agent = login(f, api_text(f, "token"));
    assert_string_equal(agent->instance_uid, uid);
    user_unref(agent);
    api_ok(f, 200, "DELETE", INSTANCES "/local-host", NULL, NULL);
    assert_int_equal(api_do_as(f, joining, "POST", "/enroll", NULL, body), 404);
    user_unref(joining);
    assert_string_not_equal(plain, token);
}

static void
agent_tokens_end_with_the_instance(void **state)
{
    struct api_fixture *f = *state;
    struct api_user *agent = enrolled(f, "box", "m1", "j1");
    autofree char *token = xstrdup(api_text(f, "token"));

    assert_int_equal(api_do_as(f, agent, "POST", INSTANCES "/box/token", NULL, "{}"),
                     201);
    autofree char *renewed = xstrdup(api_text(f, "token"));
    struct api_user *same = login(f, renewed);
    assert_string_equal(same->instance_uid, agent->instance_uid);
    user_unref(same);
    /* one changed character anywhere is another token */
    for (size_t i = 0; i < strlen(token) - 1; i += 7) {
        autofree char *bad = xstrdup(token);
        bad[i] = bad[i] == 'A' ? 'B' : 'A';
        struct api_user *u = login(f, bad);
        assert_null(u);
    }
    api_ok(f, 200, "DELETE", INSTANCES "/box", NULL, NULL);
    assert_null(login(f, token));
    assert_null(login(f, renewed));
    user_unref(agent);
}

static void
agent_tokens_expire(void **state)
{
    struct api_fixture *f = *state;
    struct api_user *agent = enrolled(f, "box", "m1", "j1");
    autofree char *token = xstrdup(api_text(f, "token"));

    clock_fake_advance(INT64_C(23) * 3600 * 1000000000);
    struct api_user *still = login(f, token);
    assert_non_null(still);
    user_unref(still);
    clock_fake_advance(INT64_C(2) * 3600 * 1000000000);
    assert_null(login(f, token));
    user_unref(agent);
}

struct access {
    int status;
    const char *method, *path, *type, *body;
};

static void
check(struct api_fixture *f, struct api_user *u, const struct access *a)
{
    int got = api_do_as(f, u, a->method, a->path, a->type, a->body);

    if (got != a->status)
        fail_msg("%s %s: %d instead of %d: %.600s", a->method, a->path, got, a->status,
                 f->reply.body.ptr);
}

static void
make_job(struct api_fixture *f, const char *name, const char *instance_uid)
{
    autofree char *job = xasprintf(
        "{\"apiVersion\":\"drover.dev/"
        "v1\",\"kind\":\"Job\",\"metadata\":{\"name\":\"%s\","
        "\"labels\":{\"drover.dev/instance\":\"%s\"}},\"spec\":{\"runName\":\"one\","
        "\"runUID\":\"u\",\"envFrom\":[{\"secretRef\":{\"name\":\"needed\"}}]}}",
        name, instance_uid);

    api_ok(f, 201, "POST", JOBS, NULL, job);
}

static void
agents_write_only_what_they_see(void **state)
{
    struct api_fixture *f = *state;
    struct api_user *agent = enrolled(f, "box", "m1", "j1");
    autofree char *claim =
        xasprintf("{\"status\":{\"agent\":{\"state\":\"Claimed\",\"claim\":{"
                  "\"instanceUID\":\"%s\",\"journalID\":\"j1\"}}}}",
                  agent->instance_uid);
    const struct access mine = {200, "PATCH", JOBS "/mine/status", MERGE, claim};
    const struct access others[] = {
        {403, "PATCH", INSTANCES "/box/status", MERGE, "{\"status\":{\"phase\":\"x\"}}"},
        {403, "PATCH", INSTANCES "/box", MERGE, "{\"spec\":{\"unschedulable\":true}}"},
        {403, "PATCH", INSTANCES "/box", MERGE, "{\"metadata\":{\"labels\":null}}"},
        {403, "PUT", INSTANCES "/box", NULL, "{}"},
        {403, "PATCH", JOBS "/mine/status", MERGE, "{\"status\":{\"phase\":\"Done\"}}"},
        {403, "PATCH", JOBS "/mine/status", MERGE,
         "{\"status\":{\"agent\":{\"claim\":{\"instanceUID\":\"another\"}}}}"},
    };
    const struct access dry = {403, "PATCH", JOBS "/mine/status?dryRun=All", MERGE,
                               "{\"status\":{\"phase\":\"Done\"}}"};

    make_job(f, "mine", agent->instance_uid);
    api_ok(f, 200, "PATCH", JOBS "/mine/status", MERGE,
           "{\"status\":{\"phase\":\"Provisioning\"}}");
    check(f, agent, &mine); /* beside what others have written */
    api_ok(f, 200, "GET", JOBS "/mine", NULL, NULL);
    assert_string_equal(api_text(f, "status.phase"), "Provisioning");
    assert_string_equal(api_text(f, "status.agent.state"), "Claimed");
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        check(f, agent, &others[i]);
    check(f, agent, &dry);
    assert_string_equal(api_text(f, "message"),
                        "jobs.drover.dev \"mine\" is forbidden: an agent may only change "
                        "status.agent, not status.phase");
    assert_string_equal(api_text(f, "reason"), "Forbidden");
    user_unref(agent);
}

static void
reviews_say_what_is_wrong(void **state)
{
    struct api_fixture *f = *state;
    const char *reviews = "/apis/authorization.k8s.io/v1/subjectaccessreviews";

    api_ok(f, 422, "POST", reviews, NULL,
           "{\"spec\":{\"resourceAttributes\":{\"verb\":\"get\"}}}");
    assert_string_equal(api_text(f, "message"),
                        "SubjectAccessReview.authorization.k8s.io \"\" is invalid: "
                        "spec.user: Invalid value: \"\": at least one of user or group "
                        "must be specified");
    assert_non_null(
        strstr(f->reply.body.ptr,
               "\"causes\":[{\"reason\":\"FieldValueInvalid\",\"message\":"
               "\"Invalid value: \\\"\\\": at least one of user or group must "
               "be specified\",\"field\":\"spec.user\"}]"));
    api_ok(f, 422, "POST", reviews, NULL, "{\"spec\":{\"user\":\"u\"}}");
    assert_non_null(strstr(f->reply.body.ptr, "\"field\":\"spec.resourceAttributes\""));
    api_ok(f, 422, "POST", reviews, NULL,
           "{\"spec\":{\"user\":\"u\",\"resourceAttributes\":{},"
           "\"nonResourceAttributes\":{}}}");
    assert_non_null(
        strstr(f->reply.body.ptr, "\"field\":\"spec.nonResourceAttributes\""));
}

static void
agents_see_only_their_own(void **state)
{
    struct api_fixture *f = *state;
    struct api_user *agent = enrolled(f, "box", "m1", "j1");
    struct api_user *other = enrolled(f, "wall", "m2", "j2");
    const char *leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    const char *events = "/api/v1/namespaces/default/events";

    make_job(f, "mine", agent->instance_uid);
    make_job(f, "theirs", other->instance_uid);
    api_ok(f, 201, "POST", "/api/v1/namespaces", NULL,
           "{\"metadata\":{\"name\":\"n2\"}}");
    autofree char *own_jobs =
        xasprintf(JOBS "?labelSelector=drover.dev/instance%%3D%s", agent->instance_uid);
    autofree char *other_jobs =
        xasprintf(JOBS "?labelSelector=drover.dev/instance%%3D%s", other->instance_uid);
    autofree char *either =
        xasprintf(JOBS "?labelSelector=drover.dev/instance+in+(%s,%s)",
                  agent->instance_uid, other->instance_uid);
    autofree char *elsewhere =
        xasprintf("/apis/drover.dev/v1/jobs?labelSelector=drover.dev/instance%%3D%s",
                  agent->instance_uid);
    const struct access table[] = {
        {200, "GET", INSTANCES "/box", NULL, NULL},
        {200, "PATCH", INSTANCES "/box/status", MERGE,
         "{\"status\":{\"agent\":{\"version\":\"1\"}}}"},
        {403, "GET", INSTANCES "/wall", NULL, NULL},
        {403, "PATCH", INSTANCES "/wall/status", MERGE, "{}"},
        {403, "PATCH", INSTANCES "/wall", MERGE, "{}"},
        {403, "PUT", INSTANCES "/wall", NULL, "{}"},
        {403, "DELETE", INSTANCES "/wall", NULL, NULL},
        {403, "POST", INSTANCES, NULL, "{\"metadata\":{\"name\":\"new\"}}"},
        {403, "GET", INSTANCES "?watch=true", NULL, NULL},
        {403, "GET", INSTANCES "?fieldSelector=metadata.name%3Dwall", NULL, NULL},
        {200, "GET", INSTANCES "?fieldSelector=metadata.name%3Dbox", NULL, NULL},
        {403, "DELETE", INSTANCES "/box", NULL, NULL},
        {403, "GET", INSTANCES, NULL, NULL},
        {403, "POST", INSTANCES "/wall/token", NULL, "{}"},
        {201, "POST", leases, NULL, "{\"metadata\":{\"name\":\"box\"},\"spec\":{}}"},
        {403, "POST", leases, NULL, "{\"metadata\":{\"name\":\"wall\"},\"spec\":{}}"},
        {403, "POST", leases, NULL, "{\"metadata\":{\"generateName\":\"box\"}}"},
        {403, "GET", "/apis/coordination.k8s.io/v1/namespaces/default/leases/wall", NULL,
         NULL},
        {403, "PATCH", "/apis/coordination.k8s.io/v1/namespaces/default/leases/wall",
         MERGE, "{\"spec\":{\"holderIdentity\":\"me\"}}"},
        {403, "PATCH",
         "/apis/coordination.k8s.io/v1/namespaces/default/leases/wall?fieldManager=x",
         APPLY,
         "{\"apiVersion\":\"coordination.k8s.io/v1\",\"kind\":\"Lease\",\"metadata\":{"
         "\"name\":\"wall\"}}"},
        {403, "DELETE", "/apis/coordination.k8s.io/v1/namespaces/default/leases/box",
         NULL, NULL},
        {403, "GET", leases, NULL, NULL},
        {200, "GET", own_jobs, NULL, NULL},
        {403, "GET", other_jobs, NULL, NULL},
        {403, "GET", either, NULL, NULL},
        {403, "GET", elsewhere, NULL, NULL},
        {403, "GET", JOBS, NULL, NULL},
        {200, "GET", JOBS "/mine", NULL, NULL},
        {403, "GET", JOBS "/theirs", NULL, NULL},
        {403, "GET", JOBS "/none", NULL, NULL},
        {200, "PATCH", JOBS "/mine/status", MERGE, "{\"status\":{\"agent\":{}}}"},
        {403, "PATCH", JOBS "/theirs/status", MERGE, "{}"},
        {403, "PATCH", JOBS "/mine", MERGE, "{\"spec\":{\"priority\":1}}"},
        {403, "POST", JOBS, NULL, "{}"},
        {403, "DELETE", JOBS "/mine", NULL, NULL},
        {403, "DELETE", own_jobs, NULL, NULL},
        {403, "PUT", JOBS "/theirs/status", NULL, "{}"},
        {403, "PATCH", JOBS "/none/status", MERGE, "{}"},
        {403, "GET", "/api/v1/namespaces/default/configmaps/any", NULL, NULL},
        {403, "GET", "/api/v1/namespaces/default/configmaps", NULL, NULL},
        {403, "GET", SECRETS "/any", NULL, NULL},
        {403, "POST", SECRETS, NULL, "{\"metadata\":{\"name\":\"any\"}}"},
        {403, "PATCH", SECRETS "/any", MERGE, "{}"},
        {403, "GET", "/api/v1/namespaces/default/serviceaccounts", NULL, NULL},
        {403, "POST", "/api/v1/namespaces/default/serviceaccounts/default/token", NULL,
         "{}"},
        {403, "GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles", NULL, NULL},
        {403, "PATCH", FLEETS "/local", MERGE, "{}"},
        {200, "GET", FLEETS "/local", NULL, NULL},
        {403, "GET", RUNS, NULL, NULL},
        {403, "GET", SECRETS, NULL, NULL},
        {201, "POST", events, NULL,
         "{\"metadata\":{\"name\":\"e1\"},\"involvedObject\":{\"kind\":\"Job\"}}"},
        {403, "POST", "/api/v1/namespaces/n2/events", NULL,
         "{\"metadata\":{\"name\":\"e1\"},\"involvedObject\":{\"kind\":\"Job\"}}"},
        {403, "POST", FLEETS "/local/jointoken", NULL, "{}"},
        {403, "GET", "/metrics", NULL, NULL},
        {200, "GET", "/version", NULL, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        check(f, agent, &table[i]);
    user_unref(agent);
    user_unref(other);
}

static void
secrets_only_for_claimed_jobs(void **state)
{
    struct api_fixture *f = *state;
    struct api_user *agent = enrolled(f, "box", "m1", "j1");
    const struct access no = {403, "GET", SECRETS "/needed", NULL, NULL};
    const struct access yes = {200, "GET", SECRETS "/needed", NULL, NULL};

    api_ok(f, 201, "POST", SECRETS, NULL, "{\"metadata\":{\"name\":\"needed\"}}");
    api_ok(f, 201, "POST", SECRETS, NULL, "{\"metadata\":{\"name\":\"other\"}}");
    check(f, agent, &no);
    make_job(f, "mine", agent->instance_uid);
    check(f, agent, &no); /* bound, not claimed */
    autofree char *claim = xasprintf("{\"status\":{\"agent\":{\"claim\":{\"instanceUID\":"
                                     "\"%s\",\"journalID\":\"j\"}}}}",
                                     agent->instance_uid);
    api_ok(f, 200, "PATCH", JOBS "/mine/status", MERGE, claim);
    check(f, agent, &yes);
    const struct access other = {403, "GET", SECRETS "/other", NULL, NULL};
    check(f, agent, &other);
    api_ok(f, 200, "PATCH", JOBS "/mine/status", MERGE,
           "{\"status\":{\"phase\":\"Done\"}}");
    check(f, agent, &no); /* it is over */
    user_unref(agent);
}

static void
parts_by_their_table(void **state)
{
    struct api_fixture *f = *state;
    struct api_user *controllers =
        user_new("c", "system:drover:controllers,system:authenticated");
    struct api_user *streams =
        user_new("s", "system:drover:streams,system:authenticated");
    const char *reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    const struct access for_controllers[] = {
        {201, "POST", RUNS, NULL, api_run("one", "")},
        {200, "PATCH", RUNS "/one/status", MERGE, "{\"status\":{\"phase\":\"x\"}}"},
        {200, "GET", "/api/v1/namespaces", NULL, NULL},
        {403, "DELETE", "/api/v1/namespaces/default", NULL, NULL},
        {403, "GET", SECRETS, NULL, NULL},
        {403, "POST", reviews, NULL, "{}"},
    };
    const struct access for_streams[] = {
        {200, "GET", JOBS, NULL, NULL},
        {403, "PATCH", RUNS "/one/status", MERGE, "{}"},
        {403, "GET", SECRETS, NULL, NULL},
        {201, "POST", reviews, NULL, "{\"spec\":{\"token\":\"x\"}}"},
    };

    for (size_t i = 0; i < ARRAY_LEN(for_controllers); i++)
        check(f, controllers, &for_controllers[i]);
    for (size_t i = 0; i < ARRAY_LEN(for_streams); i++)
        check(f, streams, &for_streams[i]);
    user_unref(controllers);
    user_unref(streams);
}

static void
reviews_answer(void **state)
{
    struct api_fixture *f = *state;
    struct api_user *agent = enrolled(f, "box", "m1", "j1");
    autofree char *token = xstrdup(api_text(f, "token"));
    const char *token_reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    const char *access_reviews = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    const char *own = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    autofree char *ask = xasprintf("{\"spec\":{\"token\":\"%s\"}}", token);

    make_job(f, "mine", agent->instance_uid);
    f->accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
    api_ok(f, 406, "POST", token_reviews, NULL, ask);
    f->accept = NULL;
    api_ok(f, 201, "POST", token_reviews, NULL, ask);
    assert_true(json_is_true(api_at(f, "status.authenticated")));
    assert_string_equal(api_text(f, "status.user.username"), agent->name);
    assert_string_equal(api_text(f, "spec.token"), "");
    api_ok(f, 201, "POST", token_reviews, NULL, "{\"spec\":{\"token\":\"nonsense\"}}");
    assert_true(json_is_false(api_at(f, "status.authenticated")));
    for (int mine = 0; mine < 2; mine++) {
        autofree char *body = xasprintf(
            "{\"spec\":{\"user\":\"%s\",\"groups\":[\"system:agents\"],"
            "\"resourceAttributes\":{\"verb\":\"create\",\"group\":\"streams.drover."
            "dev\","
            "\"resource\":\"jobs\",\"subresource\":\"log\",\"namespace\":\"default\","
            "\"name\":\"%s\"}}}",
            agent->name, mine ? "mine" : "other");
        api_ok(f, 201, "POST", access_reviews, NULL, body);
        assert_int_equal(json_is_true(api_at(f, "status.allowed")), mine);
    }
    assert_int_equal(api_do_as(f, agent, "POST", own, NULL,
                               "{\"spec\":{\"resourceAttributes\":{\"verb\":\"delete\","
                               "\"group\":\"drover.dev\",\"resource\":\"runs\"}}}"),
                     201);
    assert_true(json_is_false(api_at(f, "status.allowed")));
    api_ok(f, 201, "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", NULL,
           "{}");
    assert_string_equal(api_text(f, "status.userInfo.username"), "admin");
    user_unref(agent);
}

static void
static_tokens(void **state)
{
    struct api_fixture *f = *state;
    struct error e = ERROR_INIT;
    struct auth *a = NULL;
    autofree char *file = xasprintf("%s/parts.tokens", f->dir);
    auto_str text = STR_INIT(4096);
    char hash[65];

    id_hash_hex("secret-of-streams", strlen("secret-of-streams"), hash);
    str_addf(&text, "# parts\n%s drover-streams system:drover:streams\n", hash);
    assert_int_equal(fs_write_atomic(file, text.ptr, text.len, 0600, &e), 0);
    struct auth_opts o = {.server = f->server, .data_dir = f->dir, .parts_tokens = file};
    assert_int_equal(auth_new(&o, &a, &e), 0);
    autofree char *admin = xstrdup(auth_admin_token(a));
    struct api_user *u = auth_token(a, admin, &e);
    assert_true(user_in_group(u, "system:masters"));
    user_unref(u);
    u = auth_token(a, "secret-of-streams", &e);
    assert_string_equal(u->name, "drover-streams");
    assert_true(user_in_group(u, "system:drover:streams"));
    assert_false(user_in_group(u, "system:masters"));
    user_unref(u);
    assert_null(auth_bearer(a, NULL, &e));
    assert_int_equal(e.code, ERR_UNAUTHORIZED);
    assert_null(auth_bearer(a, "Basic abc", &e));
    assert_null(auth_token(a, "", &e));
    auth_free(a);
    assert_int_equal(auth_new(&o, &a, &e), 0); /* the next start: the same token */
    u = auth_token(a, admin, &e);
    assert_non_null(u);
    user_unref(u);
    auth_free(a);
    assert_int_equal(fs_write_atomic(file, "zz x y\n", 7, 0600, &e), 0);
    assert_true(auth_new(&o, &a, &e) < 0);
}

static int
fake_setup(void **state)
{
    clock_fake_set(INT64_C(1000) * 1000000000, INT64_C(1800000000) * 1000000000);
    return api_setup(state);
}

static int
fake_teardown(void **state)
{
    int rc = api_teardown(state);

    clock_fake_stop();
    return rc;
}

int
main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, fake_setup, fake_teardown)
    const struct CMUnitTest tests[] = {
        CASE(enrolment_is_idempotent),
        CASE(join_tokens_are_hashed_and_expire),
        CASE(a_token_for_one_instance),
        CASE(agent_tokens_end_with_the_instance),
        CASE(agent_tokens_expire),
        CASE(agents_see_only_their_own),
        CASE(agents_write_only_what_they_see),
        CASE(reviews_say_what_is_wrong),
        CASE(secrets_only_for_claimed_jobs),
        CASE(parts_by_their_table),
        CASE(reviews_answer),
        CASE(static_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
