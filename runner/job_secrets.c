/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Secrets that a job's envFrom names, fetched one after the other. Their values live
 * in this process' memory only, are wiped when the job lets go of them, and are never
 * logged. The server hands them out only for a job that this agent has claimed.
 */
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/vec.h"
#include "client/client.h"
#include "runner/job.h"

LOG_MODULE(secrets);

#define RETRY_MIN_MS 250
#define RETRY_MAX_MS 15000
#define FORBIDDEN_MAX 4 /* the claim may not have reached every cache yet */

struct wanted {
    char *name;
    bool optional;
};
struct job_secrets {
    struct job *job;
    vec(struct wanted) names;
    size_t next, n_env;
    char **env;
    unsigned forbidden;
    struct server_call *call;
    struct loop_timer *retry;
    struct backoff backoff;
};

static void fetch_next(struct job_secrets *s);

static void
on_retry(void *arg)
{
    fetch_next(arg);
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
    vec_foreach (w, &s->names)
        free(w->name);
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

static void
on_secret(void *arg, const struct server_reply *r)
{
    struct job_secrets *s = arg;
    struct error e = ERROR_INIT;

    if (server_ok(r)) {
        if (job_secret_env(r->doc, &s->env, &s->n_env, &e) < 0) {
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

static void
add_name(void *arg, const char *name, bool optional)
{
    struct job_secrets *s = arg;
    struct wanted w = {xstrdup(name), optional};
    vec_push(&s->names, w);
}

void
secrets_fetch(struct job *j)
{
    struct job_secrets *s = xnew(struct job_secrets);
    s->job = j;
    s->retry = loop_timer_new(j->a->loop, "job secrets", on_retry, s);
    j->fetch = s;
    job_each_secret(j->object, add_name, s);
    fetch_next(s);
}
