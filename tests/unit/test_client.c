/* SPDX-License-Identifier: Apache-2.0 */
/* The typed client over a scripted transport: paths, paging, patches, errors. */
#include "client/client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/vec.h"

struct answer {
    int status;
    const char *body;
};

/* Answers in order; remembers the requests as "METHOD path type body". */
struct script {
    const struct answer *answers;
    size_t n, used;
    vec(char *) seen;
};

static int
script_request(void *self, const struct client_request *r, struct http_reply *reply,
               struct error *e)
{
    struct script *s = self;

    vec_push(&s->seen,
             xasprintf("%s %s|%s|%.*s", r->method, r->path,
                       r->content_type != NULL ? r->content_type : "", (int)r->body_len,
                       r->body != NULL ? (const char *)r->body : ""));
    if (s->used == s->n)
        return error_set(e, ERR_UNAVAILABLE, "no more answers");
    reply->status = s->answers[s->used].status;
    str_adds(&reply->body, s->answers[s->used++].body);
    return 0;
}

static void
script_free(void *self)
{
    UNUSED(self);
}

static const struct client_ops script_ops = {
    .request = script_request,
    .free = script_free,
};

static void
script_done(struct script *s)
{
    vec_foreach (line, &s->seen)
        free(*line);
    vec_done(&s->seen);
}

static void
paths(void **state)
{
    auto_str p = STR_INIT(1000);

    UNUSED(state);
    client_path(&p, &resource_runs, "default", "a b/c", "status");
    assert_string_equal(p.ptr,
                        "/apis/drover.dev/v1/namespaces/default/runs/a%20b%2Fc/status");
    str_reset(&p);
    client_path(&p, &resource_secrets, NULL, NULL, NULL);
    assert_string_equal(p.ptr, "/api/v1/secrets");
    str_reset(&p);
    client_path(&p, &resource_namespaces, "ignored", "x", NULL);
    assert_string_equal(p.ptr, "/api/v1/namespaces/x");
}

#define RUN(name)                                                                        \
    "{\"apiVersion\":\"drover.dev/v1\",\"kind\":\"Run\",\"metadata\":{\"name\":\"" name  \
    "\",\"namespace\":\"default\",\"uid\":\"u-" name                                     \
    "\",\"resourceVersion\":\"7\"},\"spec\":{\"type\":\"task\"}}"

struct names {
    struct str text;
};

static void
collect(void *arg, struct object *o)
{
    struct names *n = arg;

    str_addf(&n->text, "%s,", o->name);
}

static void
list_follows_pages(void **state)
{
    static const struct answer answers[] = {
        {200,
         "{\"kind\":\"RunList\",\"items\":[" RUN("a") "," RUN(
             "b") "],\"metadata\":{\"continue\":\"x/y\",\"resourceVersion\":\"9\"}}"},
        {200, "{\"metadata\":{\"resourceVersion\":\"9\"},\"items\":[" RUN("c") "]}"},
    };
    struct script s = {.answers = answers, .n = 2};
    auto_client *c = client_new(&script_ops, &s);
    struct names n = {STR_INIT(100)};
    struct error e = ERROR_INIT;
    uint64_t revision = 0;

    UNUSED(state);
    assert_int_equal(client_list(c, &resource_runs, NULL, "labelSelector=a%3Db", collect,
                                 &n, &revision, &e),
                     0);
    assert_string_equal(n.text.ptr, "a,b,c,");
    assert_int_equal(revision, 9);
    assert_string_equal(s.seen.items[0],
                        "GET /apis/drover.dev/v1/runs?limit=500&labelSelector=a%3Db||");
    assert_string_equal(
        s.seen.items[1],
        "GET /apis/drover.dev/v1/runs?limit=500&labelSelector=a%3Db&continue=x%2Fy||");
    str_done(&n.text);
    script_done(&s);
}

/* A token that expires between pages restarts the list; nothing is delivered twice. */
static void
list_restarts_when_expired(void **state)
{
    static const struct answer answers[] = {
        {200,
         "{\"metadata\":{\"continue\":\"x\",\"resourceVersion\":\"9\"},\"items\":[" RUN(
             "a") "]}"},
        {410, "{\"kind\":\"Status\",\"code\":410,\"reason\":\"Expired\","
              "\"message\":\"too old\"}"},
        {200, "{\"metadata\":{\"resourceVersion\":\"12\"},\"items\":[" RUN("a") "]}"},
    };
    struct script s = {.answers = answers, .n = 3};
    auto_client *c = client_new(&script_ops, &s);
    struct names n = {STR_INIT(100)};
    struct error e = ERROR_INIT;
    uint64_t revision = 0;

    UNUSED(state);
    assert_int_equal(
        client_list(c, &resource_runs, "default", NULL, collect, &n, &revision, &e), 0);
    assert_string_equal(n.text.ptr, "a,");
    assert_int_equal(revision, 12);
    str_done(&n.text);
    script_done(&s);
}

static void
list_of_garbage_is_refused(void **state)
{
    static const char *const bodies[] = {"", "[]", "{\"items\":[1]}", "{\"items\":[{}]}",
                                         "{\"items\":["};
    auto_str cont = STR_INIT(100);

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        struct names n = {STR_INIT(100)};
        struct error e = ERROR_INIT;
        assert_true(client_parse_list(span_of(bodies[i]), collect, &n, &cont, NULL, &e) <
                    0);
        assert_int_not_equal(e.code, ERR_OK);
    }
}

static void
status_becomes_error(void **state)
{
    static const struct answer answers[] = {
        {409, "{\"kind\":\"Status\",\"reason\":\"AlreadyExists\",\"message\":\"runs "
              "\\\"a\\\" already exists\",\"details\":{\"causes\":[{\"field\":\"x\"}]}}"},
        {429, "{\"kind\":\"Status\",\"reason\":\"TooManyRequests\",\"message\":\"slow\","
              "\"details\":{\"retryAfterSeconds\":3}}"},
        {502, "bad gateway\n"},
    };
    struct script s = {.answers = answers, .n = 3};
    auto_client *c = client_new(&script_ops, &s);
    struct error e = ERROR_INIT;
    json_t *body = json_pack("{s:s}", "kind", "Run");

    UNUSED(state);
    assert_int_equal(client_create(c, &resource_runs, "default", body, NULL, &e),
                     -ERR_EXISTS);
    assert_string_equal(e.msg, "runs \"a\" already exists");
    const json_t *details = json_object_get(client_last_status(c), "details");
    assert_int_equal(json_array_size(json_object_get(details, "causes")), 1);
    assert_int_equal(client_create(c, &resource_runs, "default", body, NULL, &e),
                     -ERR_BUSY);
    assert_int_equal(e.retry_after_ms, 3000);
    assert_true(client_create(c, &resource_runs, "default", body, NULL, &e) < 0);
    assert_string_equal(e.msg, "the server answered 502: bad gateway");
    assert_null(client_last_status(c));
    assert_int_equal(client_create(c, &resource_runs, "default", body, NULL, &e),
                     -ERR_UNAVAILABLE);
    json_decref(body);
    script_done(&s);
}

static void
writes(void **state)
{
    static const struct answer answers[] = {
        {200, RUN("a")}, {200, RUN("a")}, {200, RUN("a")}, {200, "{}"}, {201, RUN("a")}};
    struct script s = {.answers = answers, .n = ARRAY_LEN(answers)};
    auto_client *c = client_new(&script_ops, &s);
    struct error e = ERROR_INIT;
    json_t *patch = json_pack("{s:{s:s}}", "status", "phase", "Done");
    auto_object *o = NULL;

    UNUSED(state);
    struct client_patch_opts apply = {
        .type = CLIENT_PATCH_APPLY, .manager = "my mgr", .force = true, .dry_run = true};
    assert_int_equal(client_patch(c, &resource_runs, "ns", "a", &apply, patch, NULL, &e),
                     0);
    assert_string_equal(s.seen.items[0],
                        "PATCH /apis/drover.dev/v1/namespaces/ns/runs/"
                        "a?fieldManager=my%20mgr&force=true&dryRun=All|application/"
                        "apply-patch+yaml|{\"status\":{\"phase\":\"Done\"}}");
    assert_int_equal(client_patch_status(c, &resource_runs, "ns", "a", patch, &o, &e), 0);
    assert_string_equal(o->name, "a");
    assert_int_equal(o->revision, 7);
    assert_string_equal(s.seen.items[1],
                        "PATCH /apis/drover.dev/v1/namespaces/ns/runs/a/status|"
                        "application/merge-patch+json|{\"status\":{\"phase\":\"Done\"}}");
    struct client_patch_opts json = {.type = CLIENT_PATCH_JSON, .dry_run = true};
    assert_int_equal(client_patch(c, &resource_runs, "ns", "a", &json, patch, NULL, &e),
                     0);
    assert_non_null(strstr(s.seen.items[2], "a?dryRun=All|application/json-patch+json"));
    assert_int_equal(client_delete(c, &resource_runs, "ns", "a", "u-a", NULL, &e), 0);
    assert_string_equal(
        s.seen.items[3],
        "DELETE /apis/drover.dev/v1/namespaces/ns/runs/a|application/json|"
        "{\"apiVersion\":\"v1\",\"kind\":\"DeleteOptions\",\"propagationPolicy\":"
        "\"Background\",\"preconditions\":{\"uid\":\"u-a\"}}");
    assert_int_equal(client_update(c, &resource_runs, "ns", "a", patch, NULL, &e), 0);
    assert_non_null(strstr(s.seen.items[4], "PUT /apis"));
    json_decref(patch);
    script_done(&s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths),
        cmocka_unit_test(list_follows_pages),
        cmocka_unit_test(list_restarts_when_expired),
        cmocka_unit_test(list_of_garbage_is_refused),
        cmocka_unit_test(status_becomes_error),
        cmocka_unit_test(writes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
