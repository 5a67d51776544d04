/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Instance.status.agent: what this machine is and which engines it has, and why not the
 * others. Sent at the start and after every change, newest only.
 */
#include "base/log.h"
#include "base/mem.h"
#include "client/client.h"
#include "runner/agent.h"

LOG_MODULE(status);

#define RETRY_MIN_MS 250
#define RETRY_MAX_MS 30000

struct status {
    struct agent *a;
    struct server_call *call;
    struct loop_timer *retry;
    struct backoff backoff;
    bool dirty;
};

/* One element per line. */
static void
put_limitations(json_t *engine, const char *lines)
{
    json_t *list = json_array();

    for (const char *p = lines; *p != '\0'; p += strcspn(p, "\n"), p += *p == '\n')
        json_array_append_new(list, json_stringn(p, strcspn(p, "\n")));
    if (json_array_size(list) > 0)
        json_object_set(engine, "limitations", list);
    json_decref(list);
}

static json_t *
engines_json(const struct agent *a, struct str *names)
{
    json_t *list = json_array();
    for (size_t i = 0; i < AGENT_ENGINES; i++) {
        const struct agent_engine *en = &a->engines[i];
        const struct engine_status *s = &en->status;
        if (!en->probed)
            continue;
        json_t *o = json_pack("{s:s, s:b}", "name", en->ops->name, "available",
                              (int)s->available);
        if (s->version[0] != '\0')
            json_object_set_new(o, "version", json_string(s->version));
        if (s->reason[0] != '\0')
            json_object_set_new(o, "reason", json_string(s->reason));
        if (s->message[0] != '\0')
            json_object_set_new(o, "message", json_string(s->message));
        put_limitations(o, s->limitations);
        json_array_append_new(list, o);
        if (s->available)
            str_addf(names, "%s%s", names->len > 0 ? "," : "", en->ops->name);
    }
    return list;
}

static json_t *
status_json(const struct agent *a)
{
    auto_str names = STR_INIT(256);
    json_t *engines = engines_json(a, &names);
    json_t *agent =
        json_pack("{s:s, s:s, s:o, s:s}", "version", DROVER_VERSION, "journalID",
                  journal_id(a->journal), "engines", engines, "engineNames", names.ptr);
    const char *low = diskroom_last(a->room);
    json_object_set_new(agent, "diskPressure",
                        low != NULL ? json_string(low) : json_null());
    if (a->inventory != NULL) {
        inventory_put_host(a->inventory, agent);
        json_object_set_new(agent, "inventory", inventory_json(a->inventory));
    }
    return json_pack("{s:{s:o}}", "status", "agent", agent);
}

static void
on_reply(void *arg, const struct server_reply *r)
{
    struct status *s = arg;
    if (server_ok(r)) {
        s->backoff.failures = 0;
        if (s->dirty)
            status_changed(s);
        return;
    }
    log_warn_rl("instance status not taken", "error=\"%s\"", r->error.msg);
    s->dirty = true;
    loop_timer_in(s->retry, backoff_next_ms(&s->backoff, RETRY_MIN_MS, RETRY_MAX_MS));
}

void
status_changed(struct status *s)
{
    auto_str path = STR_INIT(2048);
    if (s == NULL)
        return;
    s->dirty = true;
    /* Complete from the first time on: an engine without an inventory has no room. */
    if (s->call != NULL || s->a->inventory == NULL)
        return;
    for (size_t i = 0; i < AGENT_ENGINES; i++) {
        if (!s->a->engines[i].probed)
            return;
    }
    s->dirty = false;
    loop_timer_cancel(s->retry);
    json_t *body = status_json(s->a);
    server_path(&path, &resource_instances, s->a->identity.ns, s->a->identity.name,
                "status");
    struct server_request r = {.method = "PATCH",
                               .path = path.ptr,
                               .content_type = SERVER_MERGE_PATCH,
                               .body = body,
                               .on_reply = on_reply,
                               .arg = s};
    server_call(s->a->server, &s->call, &r);
    json_decref(body);
}

static void
on_retry(void *arg)
{
    status_changed(arg);
}

struct status *
status_start(struct agent *a)
{
    struct status *s = xnew(struct status);
    s->a = a;
    s->retry = loop_timer_new(a->loop, "instance status", on_retry, s);
    status_changed(s);
    return s;
}

void
status_free(struct status *s)
{
    if (s == NULL)
        return;
    server_call_cancel(&s->call);
    loop_timer_free(s->retry);
    free(s);
}
