/* SPDX-License-Identifier: Apache-2.0 */
/* The audit policy, and the log that comes of it. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <jansson.h>

#include "apiserver/audit/audit.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"

static struct error err;
#define OK(call)                                                                         \
    do {                                                                                 \
        if ((call) != 0)                                                                 \
            fail_msg("%s", err.msg);                                                     \
    } while (0)
#define HEAD "apiVersion: audit.k8s.io/v1\nkind: Policy\n"

static char *groups[] = {(char[]){"dev"}, (char[]){"system:authenticated"}, NULL};

/* --- policy
 * -------------------------------------------------------------------------------- */

static const char rules[] = HEAD
    "omitStages: [RequestReceived]\n"
    "rules:\n"
    "- {level: None, users: [watcher], verbs: [watch]}\n"
    "- {level: None, nonResourceURLs: [/version, '/openapi/*']}\n"
    "- {level: Request, resources: [{group: '', resources: [configmaps]}], namespaces: "
    "[prod]}\n"
    "- {level: RequestResponse, resources: [{group: drover.dev, resources: [runs/status, "
    "'jobs/*']}]}\n"
    "- {level: RequestResponse, resources: [{group: drover.dev, resources: [runs], "
    "resourceNames: [one]}], omitManagedFields: true}\n"
    "- {level: RequestResponse, userGroups: [dev], resources: [{group: '', resources: "
    "[secrets, serviceaccounts/token]}]}\n"
    "- {level: Metadata, omitStages: [ResponseStarted]}\n";

static void
test_first_rule_that_fits(void **state)
{
    static const struct {
        struct audit_subject s;
        enum audit_level level;
    } cases[] = {
#define S(u, v, g, p, sb, n, nm) {u, groups, v, true, g, p, sb, n, nm, "/x"}
        {S("watcher", "watch", "", "pods", "", "prod", ""), AUDIT_NONE},
        {S("watcher", "list", "", "pods", "", "prod", ""), AUDIT_METADATA},
        {S("u", "create", "", "configmaps", "", "prod", ""), AUDIT_REQUEST},
        {S("u", "create", "", "configmaps", "", "test", ""), AUDIT_METADATA},
        {S("u", "update", "drover.dev", "runs", "status", "a", "x"),
         AUDIT_REQUEST_RESPONSE},
        {S("u", "update", "drover.dev", "runs", "", "a", "x"), AUDIT_METADATA},
        {S("u", "update", "drover.dev", "runs", "", "a", "one"), AUDIT_REQUEST_RESPONSE},
        {S("u", "get", "drover.dev", "jobs", "log", "a", "x"), AUDIT_REQUEST_RESPONSE},
        {S("u", "get", "drover.dev", "jobs", "", "a", "x"), AUDIT_METADATA},
        {S("u", "get", "other", "configmaps", "", "prod", "x"), AUDIT_METADATA},
        /* Whatever the rules say. */
        {S("u", "create", "", "secrets", "", "a", ""), AUDIT_METADATA},
        {S("u", "create", "", "serviceaccounts", "token", "a", "x"), AUDIT_METADATA},
        {{"u", groups, "get", false, "", "", "", "", "", "/version"}, AUDIT_NONE},
        {{"u", groups, "get", false, "", "", "", "", "", "/openapi/v3"}, AUDIT_NONE},
        {{"u", groups, "get", false, "", "", "", "", "", "/metrics"}, AUDIT_METADATA},
    };
    struct audit_policy *p = NULL;

    UNUSED(state);
    OK(audit_policy_read(rules, strlen(rules), &p, &err));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct audit_decision d = audit_policy_decide(p, &cases[i].s);
        if (d.level != cases[i].level)
            fail_msg("case %zu: %s", i, audit_level_name(d.level));
        if (d.level != AUDIT_NONE)
            assert_true((d.omit & AUDIT_RECEIVED) != 0);
    }
    assert_true(audit_policy_decide(p, &cases[6].s).omit_managed_fields);
    assert_true((audit_policy_decide(p, &cases[1].s).omit & AUDIT_STARTED) != 0);
    audit_policy_free(p);
}

static void
test_bad_policies(void **state)
{
    static const char *const bad[] = {
        "",
        "[]",
        "apiVersion: v1\nkind: Policy\nrules: [{level: None}]\n",
        HEAD,
        HEAD "rules: []\n",
        HEAD "rules: [{}]\n",
        HEAD "rules: [{level: All}]\n",
        HEAD "rules: [{level: None, user: [x]}]\n",
        HEAD "rules: [{level: None, users: x}]\n",
        HEAD "rules: [{level: None, users: [1]}]\n",
        HEAD "rules: [{level: None, omitStages: [Received]}]\n",
        HEAD "rules: [{level: None, resources: [{groups: x}]}]\n",
        HEAD "rules: [{level: None, nonResourceURLs: [/a], namespaces: [b]}]\n",
        HEAD "rules: [{level: None}]\n---\n" HEAD "rules: [{level: None}]\n",
    };

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct audit_policy *p = NULL;
        struct error e = ERROR_INIT;
        if (audit_policy_read(bad[i], strlen(bad[i]), &p, &e) == 0)
            fail_msg("taken: %s", bad[i]);
        assert_non_null(strstr(e.msg, "audit policy"));
    }
}

/* --- the log
 * ------------------------------------------------------------------------------- */

static struct loop *l;
static char dir[64];
static char *policy_file, *log_file;

static int
setup(void **state)
{
    UNUSED(state);
    err = ERROR_INIT;
    snprintf(dir, sizeof(dir), "/tmp/drover-audit-XXXXXX");
    assert_non_null(mkdtemp(dir));
    policy_file = fs_join(dir, "policy.yaml");
    log_file = fs_join(dir, "log/audit.log");
    OK(loop_new(&l, &err));
    return 0;
}

static int
teardown(void **state)
{
    UNUSED(state);
    loop_free(l);
    OK(fs_remove_tree(dir, &err));
    free(policy_file);
    free(log_file);
    return 0;
}

static struct audit *
open_log(const char *policy, struct audit_opts o)
{
    struct audit *a = NULL;

    OK(fs_write_atomic(policy_file, policy, strlen(policy), 0600, &err));
    o.loop = l;
    o.policy_file = policy_file;
    o.log_file = log_file;
    OK(audit_open(&o, &a, &err));
    return a;
}

static struct audit_event *
begin(struct audit *a, const char *path, const char *verb, const char *body)
{
    static struct route route;
    struct api_user *u = user_new("jane", "dev,system:authenticated");

    route = (struct route){0};
    route.resource = str_starts(path, "/api/");
    snprintf(route.version, sizeof(route.version), "v1");
    snprintf(route.plural, sizeof(route.plural), "%s",
             strstr(path, "secrets") != NULL ? "secrets" : "configmaps");
    snprintf(route.ns, sizeof(route.ns), "prod");
    struct audit_request r = {.id = "id-1",
                              .verb = verb,
                              .route = &route,
                              .path = path,
                              .uri = path,
                              .user_agent = "test\"agent",
                              .source = "10.0.0.1",
                              .user = u,
                              .body = span_of(body)};
    struct audit_event *ev = audit_begin(a, &r);
    user_unref(u);
    return ev;
}

static void
read_log(struct str *out)
{
    OK(fs_read(log_file, out, &err));
}

static json_t *
line(const struct str *text, int n)
{
    const char *p = text->ptr;

    for (; n > 0 && p != NULL; n--)
        p = strchr(p, '\n') == NULL ? NULL : strchr(p, '\n') + 1;
    assert_non_null(p);
    json_t *doc = json_loadb(p, strcspn(p, "\n"), 0, NULL);
    if (doc == NULL)
        fail_msg("not JSON: %s", p);
    return doc;
}

static const char *
text_of(const json_t *doc, const char *a, const char *b)
{
    const json_t *v = json_object_get(doc, a);

    return json_string_value(b == NULL ? v : json_object_get(v, b));
}

static void
test_events(void **state)
{
    struct audit *a = open_log(HEAD "rules: [{level: RequestResponse, omitManagedFields: "
                                    "true}]\n",
                               (struct audit_opts){.backups = 3});
    auto_str text = STR_INIT(1 << 20);

    UNUSED(state);
    struct audit_event *ev =
        begin(a, "/api/v1/namespaces/prod/configmaps", "create",
              "{\"metadata\": {\"name\":\"cm\", \"managedFields\": [1]}, \"data\":{}}");
    static const char yaml[] =
        "kind: ConfigMap\nmetadata: {managedFields: [2], uid: x}\n";
    audit_response(ev, yaml, sizeof(yaml) - 1);
    audit_complete(ev, 201, NULL);
    ev = begin(a, "/api/v1/namespaces/prod/secrets", "create",
               "{\"metadata\":{\"name\":\"s\"},\"data\":{\"k\":\"aHVudGVyMg==\"}}");
    audit_response(ev, "{\"data\":{\"k\":\"aHVudGVyMg==\"}}", 28);
    audit_complete(ev, 403, "Forbidden");
    ev = begin(a, "/api/v1/namespaces/prod/configmaps", "watch", "");
    audit_started(ev, 200);
    audit_complete(ev, 200, NULL);
    ev = begin(a, "/api/v1/namespaces/prod/configmaps", "create", "k8s\0protobuf");
    audit_complete(ev, 0, NULL);
    audit_close(a);
    read_log(&text);
    assert_null(strstr(text.ptr, "aHVudGVyMg"));
    assert_null(strstr(text.ptr, "managedFields"));

    json_t *doc = line(&text, 0);
    assert_string_equal(text_of(doc, "stage", NULL), "RequestReceived");
    assert_string_equal(text_of(doc, "kind", NULL), "Event");
    assert_null(json_object_get(doc, "responseStatus"));
    json_decref(doc);
    doc = line(&text, 1);
    assert_string_equal(text_of(doc, "stage", NULL), "ResponseComplete");
    assert_string_equal(text_of(doc, "level", NULL), "RequestResponse");
    assert_string_equal(text_of(doc, "auditID", NULL), "id-1");
    assert_string_equal(text_of(doc, "userAgent", NULL), "test\"agent");
    assert_string_equal(text_of(doc, "user", "username"), "jane");
    assert_string_equal(text_of(doc, "objectRef", "name"), "cm");
    assert_string_equal(text_of(doc, "objectRef", "namespace"), "prod");
    assert_int_equal(json_integer_value(
                         json_object_get(json_object_get(doc, "responseStatus"), "code")),
                     201);
    assert_non_null(json_object_get(json_object_get(doc, "requestObject"), "data"));
    assert_string_equal(text_of(doc, "responseObject", "kind"), "ConfigMap");
    json_decref(doc);
    doc = line(&text, 3);
    assert_string_equal(text_of(doc, "level", NULL), "Metadata");
    assert_string_equal(text_of(doc, "responseStatus", "reason"), "Forbidden");
    json_decref(doc);
    doc = line(&text, 5);
    assert_string_equal(text_of(doc, "stage", NULL), "ResponseStarted");
    json_decref(doc);
    doc = line(&text, 8);
    assert_null(json_object_get(doc, "requestObject"));
    assert_null(json_object_get(doc, "responseStatus"));
    json_decref(doc);
}

/* Names of the files beside the log, how many. */
static size_t
backups(void)
{
    autofree char *where = fs_join(dir, "log");
    DIR *d = opendir(where);
    const struct dirent *de;
    size_t n = 0;

    while ((de = readdir(d)) != NULL)
        n += str_starts(de->d_name, "audit-");
    closedir(d);
    return n;
}

static void
mark(void *arg)
{
    *(bool *)arg = true;
}

static void
test_rotation(void **state)
{
    struct audit *a = open_log(HEAD "rules: [{level: Metadata}]\n",
                               (struct audit_opts){.max_bytes = 4096, .backups = 2});
    auto_str text = STR_INIT(1 << 20);

    UNUSED(state);
    for (int i = 0; i < 100; i++) {
        audit_complete(begin(a, "/api/v1/x", "get", ""), 200, NULL);
        bool flushed = false;
        audit_flush(a, mark, &flushed);
        while (!flushed)
            loop_turn(l, 100);
    }
    struct audit_stats st = audit_stats(a);
    assert_int_equal(st.events, 200);
    assert_int_equal(st.waiting, 0);
    assert_int_equal(st.errors, 0);
    assert_true(st.rotations > 5);
    audit_close(a);
    assert_int_equal(backups(), 2);
    read_log(&text);
    assert_true(text.len <= 4096);
    assert_int_equal(text.ptr[text.len - 1], '\n');
}

/* More than fits is dropped and counted; what was taken is whole. */
static void
test_bounded(void **state)
{
    struct audit *a = open_log(HEAD "omitStages: [RequestReceived]\nrules: [{level: "
                                    "Metadata}]\n",
                               (struct audit_opts){.buffer_bytes = 20000});
    auto_str text = STR_INIT(1 << 20);
    size_t lines = 0;

    UNUSED(state);
    for (int i = 0; i < 100; i++) /* the loop does not turn: nothing is written */
        audit_complete(begin(a, "/api/v1/x", "get", ""), 200, NULL);
    struct audit_stats st = audit_stats(a);
    assert_true(st.dropped > 0);
    assert_int_equal(st.dropped + st.events, 100);
    assert_true(st.waiting <= 20000);
    audit_close(a);
    read_log(&text);
    for (size_t i = 0; i < text.len; i++)
        lines += text.ptr[i] == '\n';
    assert_int_equal(lines, st.events);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_rule_that_fits),
        cmocka_unit_test(test_bad_policies),
        cmocka_unit_test_setup_teardown(test_events, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rotation, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bounded, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
