/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may read or write a log. The API server decides: a bearer token is turned into a
 * user by TokenReview, a reader is checked by SubjectAccessReview, and the Job says which
 * instance may write. Answers are kept for a short time; what a Job is bound to never
 * changes, so a positive binding is kept longer. Every step is asynchronous.
 */
#include "apiserver/streams/streams.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "api/jtok.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/mem.h"

enum { KEEP_IDENTITY_MS = 10000, KEEP_MAX = 20000, REPLY_MAX = 4 << 20 };

struct identity {
    char user[256];
    char groups[1024]; /* JSON array */
    int64_t until_ms;
};

/* A Job's unchanging half: which uid the name stands for, and who may write. */
struct job_binding {
    char uid[64], instance_uid[64];
};

enum access_step { STEP_TOKEN, STEP_ALLOWED, STEP_JOB };

struct access_check {
    struct streams *s;
    struct route route;
    char token_hash[65];
    char *token;
    char uid[64];    /* agent: the Job uid it writes for; "" for a reader */
    char source[64]; /* who came to our own port; "" by the API server's proxy */
    char user_agent[128];
    const char *blob_verb; /* NULL: it is about a log; else route.job is "sha256:<hex>" */
    struct identity who;
    enum access_step step;
    struct http_transfer *transfer;
    struct loop_timer *later; /* answers from the cache, never inside the call */
    struct job_facts facts;
    struct error error;
    access_fn *fn;
    void *arg;
};

void
access_free_identity(void *identity)
{
    free(identity);
}

void
access_free_job(void *job)
{
    free(job);
}

static void
release(struct access_check *a)
{
    loop_timer_free(a->later);
    if (a->token != NULL)
        sodium_memzero(a->token, strlen(a->token));
    free(a->token);
    free(a);
}

void
access_cancel(struct access_check *a)
{
    if (a == NULL)
        return;
    http_transfer_cancel(a->transfer);
    release(a);
}

static void
finish(struct access_check *a)
{
    access_fn *fn = a->fn;
    void *arg = a->arg;
    struct job_facts facts = a->facts;
    struct error e = a->error;

    release(a);
    fn(arg, e.code == ERR_OK ? &facts : NULL, &e);
}

static void
copy_string(struct span object, const char *path, char *out, size_t size)
{
    struct span raw;
    auto_str text = STR_INIT(4096);

    out[0] = '\0';
    if (jscan_path(object, path, &raw) && jscan_string(raw, &text) && text.len < size)
        memcpy(out, text.ptr, text.len + 1);
}

bool
job_facts_read(struct span json, struct job_facts *ret)
{
    char phase[32];
    char state[32];
    struct span raw;

    *ret = (struct job_facts){.log_length = -1};
    copy_string(json, "metadata.uid", ret->uid, sizeof(ret->uid));
    copy_string(json, "spec.instanceUID", ret->instance_uid, sizeof(ret->instance_uid));
    copy_string(json, "status.phase", phase, sizeof(phase));
    copy_string(json, "status.agent.state", state, sizeof(state));
    ret->finished =
        streq(phase, "Done") || streq(phase, "Failed") || streq(phase, "Terminated");
    bool ended = streq(state, "Exited");
    ret->lost =
        ret->finished && ret->instance_uid[0] != '\0' && !ended &&
        (streq(state, "Lost") || streq(state, "Running") || streq(state, "Stopping"));
    if (jscan_path(json, "status.agent.logLength", &raw) &&
        !jscan_int64(raw, &ret->log_length))
        ret->log_length = -1;
    bool released = jscan_path(json, "status.agent.released", &raw) && jscan_bool(raw);
    ret->log_open = ret->finished && ended && ret->log_length < 0 && !released;
    return ret->uid[0] != '\0';
}

static void next_step(struct access_check *a);

/* Body of one reply -> the next step, or the end. */
static void
on_token(struct access_check *a, struct span json)
{
    struct span raw;
    struct span groups;

    if (!jscan_path(json, "status.authenticated", &raw) || !jscan_bool(raw)) {
        error_set(&a->error, ERR_UNAUTHORIZED, "Unauthorized");
        finish(a);
        return;
    }
    copy_string(json, "status.user.username", a->who.user, sizeof(a->who.user));
    memcpy(a->who.groups, "[]", 3);
    if (jscan_path(json, "status.user.groups", &groups) &&
        groups.len < sizeof(a->who.groups)) {
        memcpy(a->who.groups, groups.ptr, groups.len);
        a->who.groups[groups.len] = '\0';
    }
    a->who.until_ms = loop_now_ms(a->s->loop) + KEEP_IDENTITY_MS;
    if (map_len(a->s->tokens) >= KEEP_MAX)
        map_clear(a->s->tokens);
    map_put(a->s->tokens, a->token_hash, xmemdup(&a->who, sizeof(a->who)));
    a->step = a->uid[0] != '\0' ? STEP_JOB : STEP_ALLOWED;
    next_step(a);
}

static void
on_allowed(struct access_check *a, struct span json)
{
    struct span raw;

    bool allowed = jscan_path(json, "status.allowed", &raw) && jscan_bool(raw);
    if (a->blob_verb != NULL) {
        if (!allowed)
            error_set(&a->error, ERR_FORBIDDEN,
                      "User \"%s\" cannot %s resource \"blobs\" in API group "
                      "\"streams.drover.dev\" in the namespace \"%s\"",
                      a->who.user, a->blob_verb, a->route.ns);
        finish(a);
        return;
    }
    if (!allowed) {
        error_set(
            &a->error, ERR_FORBIDDEN,
            "jobs.drover.dev \"%s\" is forbidden: User \"%s\" cannot get resource "
            "\"jobs/log\" in API group \"streams.drover.dev\" in the namespace \"%s\"",
            a->route.job, a->who.user, a->route.ns);
        finish(a);
        return;
    }
    a->step = STEP_JOB;
    next_step(a);
}

/* An agent may write for a Job bound to its instance and to no other. */
static void
check_binding(struct access_check *a, const char *uid, const char *instance_uid)
{
    char expected[96];

    snprintf(expected, sizeof(expected), "system:agent:%s", instance_uid);
    if (!streq(uid, a->uid))
        error_set(&a->error, ERR_NOT_FOUND, "job \"%s\" with uid %s not found",
                  a->route.job, a->uid);
    else if (instance_uid[0] == '\0' || !streq(expected, a->who.user))
        error_set(
            &a->error, ERR_FORBIDDEN,
            "User \"%s\" may not write the log of job \"%s\": it is not bound to it",
            a->who.user, a->route.job);
}

static void
on_job(struct access_check *a, struct span json)
{
    struct job_binding b = {0};

    if (!job_facts_read(json, &a->facts)) {
        error_set(&a->error, ERR_PROVIDER, "the API server sent no Job");
        finish(a);
        return;
    }
    if (a->uid[0] != '\0') {
        check_binding(a, a->facts.uid, a->facts.instance_uid);
        if (a->error.code == ERR_OK) {
            memcpy(b.uid, a->facts.uid, sizeof(b.uid));
            memcpy(b.instance_uid, a->facts.instance_uid, sizeof(b.instance_uid));
            if (map_len(a->s->jobs) >= KEEP_MAX)
                map_clear(a->s->jobs);
            map_put(a->s->jobs, b.uid, xmemdup(&b, sizeof(b)));
        }
    }
    finish(a);
}

static void
on_reply(void *arg, const struct http_reply *r, const struct error *e)
{
    struct access_check *a = arg;
    auto_str canonical = STR_INIT(REPLY_MAX);
    struct error why = ERROR_INIT;

    a->transfer = NULL;
    if (e->code != ERR_OK) {
        a->error = *e;
        a->error.code = ERR_UNAVAILABLE;
        error_prepend(&a->error, "ask the API server");
        finish(a);
        return;
    }
    if (r->status == 404 && a->step == STEP_JOB) {
        error_set(&a->error, ERR_NOT_FOUND, "jobs.drover.dev \"%s\" not found",
                  a->route.job);
        finish(a);
        return;
    }
    if (r->status / 100 != 2 || jcanon(r->body.ptr, r->body.len, &canonical, &why) < 0) {
        error_set(&a->error, ERR_UNAVAILABLE, "the API server answered %d", r->status);
        finish(a);
        return;
    }
    struct span json = {canonical.ptr, canonical.len};
    if (a->step == STEP_TOKEN)
        on_token(a, json);
    else if (a->step == STEP_ALLOWED)
        on_allowed(a, json);
    else
        on_job(a, json);
}

static void
ask(struct access_check *a, const char *method, const char *path, const struct str *body)
{
    static const struct http_transfer_cbs cbs = {.on_done = on_reply};
    struct http_call call = {
        .method = method,
        .path = path,
        .accept = "application/json",
        .content_type = body == NULL ? NULL : "application/json",
        .body = body == NULL ? NULL : body->ptr,
        .body_len = body == NULL ? 0 : body->len,
        .timeout_ms = 10000,
    };

    a->transfer = http_multi_start(a->s->multi, &a->s->api, &call, REPLY_MAX, &cbs, a);
}

static void
ask_token(struct access_check *a)
{
    auto_str body = STR_INIT(16384);

    str_adds(&body,
             "{\"apiVersion\":\"authentication.k8s.io/v1\",\"kind\":\"TokenReview\","
             "\"spec\":{");
    jput_member(&body, "token", a->token);
    str_adds(&body, "}}");
    ask(a, "POST", "/apis/authentication.k8s.io/v1/tokenreviews", &body);
    sodium_memzero(body.ptr, body.len);
}

static void
ask_allowed(struct access_check *a)
{
    auto_str body = STR_INIT(16384);

    str_adds(&body, "{\"apiVersion\":\"authorization.k8s.io/v1\","
                    "\"kind\":\"SubjectAccessReview\",\"spec\":{");
    jput_member(&body, "user", a->who.user);
    str_addf(&body,
             ",\"groups\":%s,\"resourceAttributes\":{\"verb\":\"%s\","
             "\"group\":\"streams.drover.dev\",\"version\":\"v1\",%s",
             a->who.groups, a->blob_verb != NULL ? a->blob_verb : "get",
             a->blob_verb != NULL ? "\"resource\":\"blobs\""
                                  : "\"resource\":\"jobs\",\"subresource\":\"log\"");
    jput_member(&body, "namespace", a->route.ns);
    jput_member(&body, "name", a->route.job);
    str_addc(&body, '}');
    if (*a->source != '\0') { /* the API server writes it into its audit log */
        str_adds(&body, ",\"extra\":{\"streams.drover.dev/source\":[");
        jput_stringz(&body, a->source);
        str_adds(&body, "],\"streams.drover.dev/user-agent\":[");
        jput_stringz(&body, a->user_agent);
        str_adds(&body, "]}");
    }
    str_adds(&body, "}}");
    ask(a, "POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", &body);
}

static void
next_step(struct access_check *a)
{
    if (a->step == STEP_TOKEN) {
        ask_token(a);
        return;
    }
    if (a->step == STEP_ALLOWED) {
        ask_allowed(a);
        return;
    }
    const struct job_binding *known =
        a->uid[0] != '\0' ? map_get(a->s->jobs, a->uid) : NULL;
    if (known != NULL) {
        check_binding(a, known->uid, known->instance_uid);
        memcpy(a->facts.uid, known->uid, sizeof(a->facts.uid));
        finish(a);
        return;
    }
    auto_str path = STR_INIT(2048);
    str_addf(&path, "/apis/drover.dev/v1/namespaces/%s/jobs/%s", a->route.ns,
             a->route.job);
    ask(a, "GET", path.ptr, NULL);
}

static void
on_later(void *arg)
{
    struct access_check *a = arg;

    if (a->error.code != ERR_OK)
        finish(a);
    else
        next_step(a);
}

/* The subject of a certificate that --client-ca-file vouches for: as for the API server.
 */
static bool
by_certificate(struct access_check *a, const struct http_request *r)
{
    const char *name = http_client_name(r);
    const char *groups = name == NULL ? NULL : http_client_groups(r);
    auto_str list = STR_INIT(sizeof(a->who.groups) - 64);

    if (groups == NULL)
        return false;
    str_addc(&list, '[');
    for (size_t n; *groups != '\0'; groups += n + (groups[n] == '\n')) {
        n = strcspn(groups, "\n");
        jput_item(&list);
        jput_string(&list, groups, n);
    }
    jput_item(&list);
    jput_stringz(&list, "system:authenticated");
    str_addc(&list, ']');
    if (list.toobig || strlen(name) >= sizeof(a->who.user)) {
        error_set(&a->error, ERR_UNAUTHORIZED, "Unauthorized");
        return true;
    }
    snprintf(a->who.user, sizeof(a->who.user), "%s", name);
    snprintf(a->who.groups, sizeof(a->who.groups), "%s", list.ptr);
    a->step = STEP_ALLOWED;
    return true;
}

static struct access_check *
start(struct streams *s, const struct http_request *r, const struct route *route,
      access_fn *fn, void *arg)
{
    struct access_check *a = xnew(struct access_check);
    const char *auth = http_header(r, "Authorization");
    const char *agent = http_header(r, "User-Agent");

    a->s = s;
    a->route = *route;
    a->fn = fn;
    a->arg = arg;
    a->facts.log_length = -1;
    a->later = loop_timer_new(s->loop, "access", on_later, a);
    loop_timer_in(a->later, 0);
    http_peer_address(r, a->source, sizeof(a->source));
    if (agent != NULL)
        snprintf(a->user_agent, sizeof(a->user_agent), "%.100s", agent);
    if (http_header(r, "Impersonate-User") != NULL) {
        error_set(&a->error, ERR_FORBIDDEN,
                  "to act as somebody else, ask through the API server");
        return a;
    }
    if (by_certificate(a, r))
        return a;
    if (auth == NULL || strncasecmp(auth, "Bearer ", 7) != 0 || strlen(auth) > 8192) {
        error_set(&a->error, ERR_UNAUTHORIZED, "Unauthorized");
        return a;
    }
    a->token = xstrdup(auth + 7);
    id_hash_hex(a->token, strlen(a->token), a->token_hash);
    return a;
}

/* Starts behind TokenReview when its answer is still fresh. */
static void
use_known_identity(struct access_check *a)
{
    const struct identity *known =
        a->token == NULL ? NULL : map_get(a->s->tokens, a->token_hash);

    if (known == NULL || known->until_ms < loop_now_ms(a->s->loop))
        return;
    a->who = *known;
    a->step = a->uid[0] != '\0' ? STEP_JOB : STEP_ALLOWED;
}

struct access_check *
access_reader(struct streams *s, const struct http_request *r, const struct route *route,
              access_fn *fn, void *arg)
{
    struct access_check *a = start(s, r, route, fn, arg);

    use_known_identity(a);
    return a;
}

struct access_check *
access_agent(struct streams *s, const struct http_request *r, const struct route *route,
             const char *uid, access_fn *fn, void *arg)
{
    struct access_check *a = start(s, r, route, fn, arg);

    snprintf(a->uid, sizeof(a->uid), "%s", uid);
    if (a->step == STEP_ALLOWED)
        a->step = STEP_JOB;
    use_known_identity(a);
    return a;
}

struct access_check *
access_blob(struct streams *s, const struct http_request *r, const char *ns,
            const char *hex, const char *verb, access_fn *fn, void *arg)
{
    struct route route = {0};

    snprintf(route.ns, sizeof(route.ns), "%s", ns);
    snprintf(route.job, sizeof(route.job), "sha256:%s", hex);
    struct access_check *a = start(s, r, &route, fn, arg);
    a->blob_verb = verb;
    use_known_identity(a);
    return a;
}
