/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Secrets that a job's envFrom and registryAuth name, fetched one after the other.
 * Their values live in this process' memory only, are wiped when the job lets go of them,
 * and are never logged. The server hands them out only for a job that this agent has
 * claimed. A job that asks for more than any job may have (job_denied) first has its
 * Fleet asked, anew each time: a grant that was taken back does not live on here.
 */
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/vec.h"
#include "client/client.h"
#include "runner/job.h"
#include "runner/job_nodes.h"

LOG_MODULE(secrets);

#define RETRY_MIN_MS 250
#define RETRY_MAX_MS 15000
#define FORBIDDEN_MAX 4 /* the claim may not have reached every cache yet */

struct wanted {
    char *name, *key, *variable; /* as struct job_secret_ref */
    bool optional, registry, nodes;
};
struct job_secrets {
    struct job *job;
    vec(struct wanted) names;
    size_t next, n_env;
    char **env;
    unsigned forbidden;
    bool ask_fleet;
    struct server_call *call;
    struct loop_timer *retry;
    struct backoff backoff;
};

static void fetch_next(struct job_secrets *s);
static void ask_instance(struct job_secrets *s);

static void
on_retry(void *arg)
{
    struct job_secrets *s = arg;
    if (s->ask_fleet)
        ask_instance(s);
    else
        fetch_next(s);
}

void
secrets_cancel(struct job *j)
{
    struct job_secrets *s = j->fetch;
    if (s == NULL)
        return;
    server_call_cancel(&s->call);
    loop_timer_free(s->retry);
    job_env_free(s->env);
    vec_foreach (w, &s->names) {
        free(w->name);
        free(w->key);
        free(w->variable);
    }
    vec_done(&s->names);
    free(s);
    j->fetch = NULL;
}

static void
end(struct job_secrets *s, const char *problem)
{
    struct job *j = s->job;
    if (problem != NULL) {
        j->secrets_failed = true;
        snprintf(j->secrets_message, sizeof(j->secrets_message), "%s", problem);
    } else {
        job_env_free(j->secret_env);
        j->secret_env = move_ptr(s->env);
        j->secrets = true;
    }
    secrets_cancel(j);
    job_step(j);
}

static void
fail(struct job_secrets *s, const char *what)
{
    char text[300];
    snprintf(text, sizeof(text), "secret %.100s: %.180s", s->names.items[s->next].name,
             what);
    end(s, text);
}

/* The key pair goes to the prologue by its environment, which does not pass it on. */
static void
take_key(struct job_secrets *s, const json_t *secret)
{
    char *pair[2];

    if (!job_nodes_key(secret, pair)) {
        fail(s, "has no private-key and public-key");
        return;
    }
    s->env = xreallocarray(s->env, s->n_env + 3, sizeof(*s->env));
    s->env[s->n_env++] = pair[0];
    s->env[s->n_env++] = pair[1];
    s->env[s->n_env] = NULL;
    s->next++;
    fetch_next(s);
}

static void
on_secret(void *arg, const struct server_reply *r)
{
    struct job_secrets *s = arg;
    struct error e = ERROR_INIT;

    if (server_ok(r) && s->names.items[s->next].registry) {
        const char *image = json_string_value(
            json_object_get(json_object_get(s->job->object, "spec"), "image"));
        registry_auth_done(&s->job->registry);
        if (registry_auth_read(r->doc, image != NULL ? image : "", &s->job->registry,
                               &e) < 0) {
            fail(s, e.msg);
            return;
        }
        s->next++;
        fetch_next(s);
        return;
    }
    if (server_ok(r) && s->names.items[s->next].nodes) {
        take_key(s, r->doc);
        return;
    }
    if (server_ok(r)) {
        const struct wanted *w = &s->names.items[s->next];
        struct job_secret_ref ref = {w->name, w->key, w->variable, w->optional};
        if (job_secret_env(r->doc, &ref, &s->env, &s->n_env, &e) < 0) {
            fail(s, e.msg);
            return;
        }
        s->next++;
        fetch_next(s);
        return;
    }
    if (r->error.code == ERR_NOT_FOUND) {
        if (!s->names.items[s->next].optional) {
            fail(s, "not found");
            return;
        }
        s->next++;
        fetch_next(s);
        return;
    }
    if (r->error.code == ERR_FORBIDDEN && ++s->forbidden >= FORBIDDEN_MAX) {
        fail(s, r->error.msg);
        return;
    }
    log_warn_rl("secret not read", "job=%s error=\"%s\"", s->job->view.name,
                r->error.msg);
    loop_timer_in(s->retry, backoff_next_ms(&s->backoff, RETRY_MIN_MS, RETRY_MAX_MS));
}

static void
fetch_next(struct job_secrets *s)
{
    auto_str path = STR_INIT(2048);
    if (s->next == s->names.len) {
        end(s, NULL);
        return;
    }
    server_path(&path, &resource_secrets, s->job->view.ns, s->names.items[s->next].name,
                NULL);
    struct server_request r = {
        .method = "GET", .path = path.ptr, .on_reply = on_secret, .arg = s};
    server_call(s->job->a->server, &s->call, &r);
}

static char *
copy(const char *text)
{
    return text == NULL ? NULL : xstrdup(text);
}

static void
add_name(void *arg, const struct job_secret_ref *ref)
{
    struct job_secrets *s = arg;
    struct wanted w = {.name = xstrdup(ref->name),
                       .key = copy(ref->key),
                       .variable = copy(ref->variable),
                       .optional = ref->optional};
    vec_push(&s->names, w);
}

/* --- what the fleet allows -----------------------------------------------------------
 */

static void
on_fleet(void *arg, const struct server_reply *r)
{
    struct job_secrets *s = arg;
    struct job *j = s->job;
    char text[200];
    if (!server_ok(r) && r->error.code != ERR_NOT_FOUND) {
        loop_timer_in(s->retry, backoff_next_ms(&s->backoff, RETRY_MIN_MS, RETRY_MAX_MS));
        return;
    }
    const char *denied = job_denied(j->object, server_ok(r) ? r->doc : NULL);
    s->ask_fleet = false;
    if (denied != NULL) {
        j->denied = true;
        snprintf(text, sizeof(text),
                 "the fleet does not allow this: spec.security.%s is not set", denied);
        end(s, text);
        return;
    }
    fetch_next(s);
}

static void
on_instance(void *arg, const struct server_reply *r)
{
    struct job_secrets *s = arg;
    auto_str path = STR_INIT(2048);
    const char *fleet =
        json_string_value(json_object_get(json_object_get(r->doc, "spec"), "fleetName"));
    if (!server_ok(r)) {
        loop_timer_in(s->retry, backoff_next_ms(&s->backoff, RETRY_MIN_MS, RETRY_MAX_MS));
        return;
    }
    server_path(&path, &resource_fleets, s->job->a->identity.ns,
                fleet != NULL ? fleet : "-", NULL);
    struct server_request req = {
        .method = "GET", .path = path.ptr, .on_reply = on_fleet, .arg = s};
    server_call(s->job->a->server, &s->call, &req);
}

static void
ask_instance(struct job_secrets *s)
{
    auto_str path = STR_INIT(2048);
    const struct identity *id = &s->job->a->identity;
    server_path(&path, &resource_instances, id->ns, id->name, NULL);
    struct server_request r = {
        .method = "GET", .path = path.ptr, .on_reply = on_instance, .arg = s};
    server_call(s->job->a->server, &s->call, &r);
}

bool
secrets_needed(const json_t *job)
{
    return job_each_secret(job, NULL, NULL) > 0 || job_registry_secret(job) != NULL ||
           job_nodes_secret(job) != NULL || job_denied(job, NULL) != NULL;
}

void
secrets_fetch(struct job *j)
{
    struct job_secrets *s = xnew(struct job_secrets);
    const char *registry = job_registry_secret(j->object);
    const char *nodes = job_nodes_secret(j->object);
    s->job = j;
    s->retry = loop_timer_new(j->a->loop, "job secrets", on_retry, s);
    j->fetch = s;
    job_each_secret(j->object, add_name, s);
    if (registry != NULL) {
        struct wanted w = {.name = xstrdup(registry), .registry = true};
        vec_push(&s->names, w);
    }
    if (nodes != NULL) {
        struct wanted w = {.name = xstrdup(nodes), .nodes = true};
        vec_push(&s->names, w);
    }
    s->ask_fleet = job_denied(j->object, NULL) != NULL;
    if (s->ask_fleet)
        ask_instance(s);
    else
        fetch_next(s);
}
