/* SPDX-License-Identifier: Apache-2.0 */
/* The fake API server of the agent's tests. */
#include "integration/runner_fake_api.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/id.h"
#include "base/mem.h"
#include "io/segment.h"

#define JOBS "/apis/drover.dev/v1/namespaces/default/jobs"
#define INSTANCE "/apis/drover.dev/v1/namespaces/default/instances/m1"
#define LEASES "/apis/coordination.k8s.io/v1/namespaces/default/leases"
#define SECRETS "/api/v1/namespaces/default/secrets/"
#define EVENTS "/api/v1/namespaces/default/events"
#define LOGS "/apis/streams.drover.dev/v1/namespaces/default/jobs/"

static void
merge(json_t *into, json_t *patch)
{
    const char *key;
    json_t *v;
    json_object_foreach (patch, key, v) {
        json_t *old = json_object_get(into, key);
        if (json_is_null(v)) {
            json_object_del(into, key);
        } else if (json_is_object(v)) {
            if (!json_is_object(old)) {
                old = json_object();
                json_object_set_new(into, key, old);
            }
            merge(old, v);
        } else {
            json_object_set(into, key, v);
        }
    }
}

static void
reply(struct http_request *r, int status, const json_t *doc)
{
    char *text = json_dumps(doc, JSON_COMPACT);
    http_respond(r, status, "application/json", text, strlen(text));
    free(text);
}

static void
refuse(struct http_request *r, int status, const char *reason)
{
    json_t *doc = json_pack("{s:s, s:s, s:s, s:i}", "kind", "Status", "reason", reason,
                            "message", reason, "code", status);
    reply(r, status, doc);
    json_decref(doc);
}

static json_t *
meta_of(json_t *object)
{
    return json_object_get(object, "metadata");
}

static const char *
meta_text(json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(meta_of(object), key));
    return s != NULL ? s : "";
}

static void
stamp(struct fake_api *api, json_t *object)
{
    char rv[24];
    snprintf(rv, sizeof(rv), "%" PRIu64, ++api->revision);
    json_object_set_new(meta_of(object), "resourceVersion", json_string(rv));
}

static void
tell(struct fake_api *api, const char *type, json_t *object)
{
    json_t *event = json_pack("{s:s, s:O}", "type", type, "object", object);
    char *text = json_dumps(event, JSON_COMPACT);
    json_decref(event);
    if (api->watch != NULL) {
        str_adds(&api->events, text);
        str_addc(&api->events, '\n');
        http_stream_wake(api->watch);
    }
    free(text);
}

static void
changed(struct fake_api *api, json_t *object)
{
    stamp(api, object);
    tell(api, "MODIFIED", object);
}

/* --- watch ---------------------------------------------------------------------------
 */

static ssize_t
fill(void *arg, char *buf, size_t max)
{
    struct fake_api *api = arg;
    size_t n = api->events.len < max ? api->events.len : max;
    if (n == 0)
        return api->watch_end ? -1 : 0;
    memcpy(buf, api->events.ptr, n);
    memmove(api->events.ptr, api->events.ptr + n, api->events.len - n);
    str_truncate(&api->events, api->events.len - n);
    return (ssize_t)n;
}

static void
watch_gone(void *arg)
{
    struct fake_api *api = arg;
    api->watch = NULL;
}

static void
list_or_watch(struct fake_api *api, struct http_request *r)
{
    const char *rv = http_query(r, "resourceVersion");
    if (http_query(r, "watch") != NULL) {
        if (rv == NULL || strtoull(rv, NULL, 10) != api->revision) {
            /* It has missed something, and this server keeps no history. */
            refuse(r, 410, "Expired");
            return;
        }
        str_reset(&api->events);
        api->watch_end = false;
        api->watch =
            http_respond_stream(r, 200, "application/json", fill, watch_gone, api);
        return;
    }
    api->n_lists++;
    json_t *items = json_array();
    const char *name;
    json_t *job;
    json_object_foreach (api->jobs, name, job)
        json_array_append(items, job);
    char text[24];
    snprintf(text, sizeof(text), "%" PRIu64, api->revision);
    json_t *list =
        json_pack("{s:{s:s}, s:o}", "metadata", "resourceVersion", text, "items", items);
    reply(r, 200, list);
    json_decref(list);
}

/* --- jobs ----------------------------------------------------------------------------
 */

static void
note_state(struct fake_api *api, json_t *job)
{
    const char *name = meta_text(job, "name");
    const char *now = fake_api_agent(api, name, "state");
    const char *before = json_string_value(json_object_get(api->told, name));
    const char *last = before != NULL ? strrchr(before, ' ') : NULL;
    if (before == NULL)
        json_object_set_new(api->told, name, json_string(now));
    else if (strcmp(last != NULL ? last + 1 : before, now) != 0)
        json_object_set_new(api->told, name, json_sprintf("%s %s", before, now));
}

static void
patch_status(struct fake_api *api, struct http_request *r, json_t *job)
{
    struct span body = http_body(r);
    json_t *patch = json_loadb(body.ptr, body.len, 0, NULL);
    json_t *meta = json_object_get(patch, "metadata");
    const char *rv = json_string_value(json_object_get(meta, "resourceVersion"));
    const char *uid = json_string_value(json_object_get(meta, "uid"));

    api->n_patches++;
    if (rv != NULL && api->conflict > 0) {
        api->conflict--;
        changed(api, job);
    }
    if ((uid != NULL && strcmp(uid, meta_text(job, "uid")) != 0) ||
        (rv != NULL && strcmp(rv, meta_text(job, "resourceVersion")) != 0)) {
        refuse(r, 409, "Conflict");
        json_decref(patch);
        return;
    }
    json_t *own = json_pack("{s:O}", "status", json_object_get(patch, "status"));
    merge(job, own);
    json_decref(own);
    json_decref(patch);
    note_state(api, job);
    changed(api, job);
    if (api->lose > 0) {
        api->lose--;
        refuse(r, 500, "InternalError");
        return;
    }
    reply(r, 200, job);
}

static void
one_job(struct fake_api *api, struct http_request *r, const char *rest)
{
    char name[128];
    size_t n = strcspn(rest, "/");
    snprintf(name, sizeof(name), "%.*s", (int)n, rest);
    json_t *job = json_object_get(api->jobs, name);
    if (job == NULL)
        refuse(r, 404, "NotFound");
    else if (strcmp(http_method(r), "PATCH") == 0)
        patch_status(api, r, job);
    else
        reply(r, 200, job);
}

/* --- the rest ------------------------------------------------------------------------
 */

static void
lease(struct fake_api *api, struct http_request *r)
{
    struct span body = http_body(r);
    const char *method = http_method(r);
    if (strcmp(method, "GET") == 0 && api->lease != NULL) {
        reply(r, 200, api->lease);
    } else if (strcmp(method, "GET") == 0 ||
               (strcmp(method, "PUT") == 0 && api->lease == NULL)) {
        refuse(r, 404, "NotFound");
    } else if (strcmp(method, "POST") == 0 && api->lease != NULL) {
        refuse(r, 409, "AlreadyExists");
    } else {
        json_t *o = json_loadb(body.ptr, body.len, 0, NULL);
        if (strcmp(method, "PUT") == 0 &&
            strcmp(meta_text(o, "resourceVersion"),
                   meta_text(api->lease, "resourceVersion"))) {
            refuse(r, 409, "Conflict");
            json_decref(o);
            return;
        }
        api->n_lease++;
        json_decref(api->lease);
        api->lease = o;
        char rv[24];
        snprintf(rv, sizeof(rv), "%u", api->n_lease);
        json_object_set_new(meta_of(o), "resourceVersion", json_string(rv));
        reply(r, 200, o);
    }
}

static void
append_log(struct fake_api *api, struct http_request *r)
{
    const char *kind = http_query(r, "log");
    autofree char *uid = xasprintf("%s%s%s", http_query(r, "uid"),
                                   kind != NULL ? "/" : "", kind != NULL ? kind : "");
    const char *offset_text = http_query(r, "offset");
    struct span body = http_body(r);
    struct error e = ERROR_INIT;
    auto_str have = STR_INIT(16 << 20);
    const char *stored = json_string_value(json_object_get(api->logs, uid));
    if (stored != NULL && id_base64_decode(stored, strlen(stored), false, &have, &e) < 0)
        refuse(r, 500, "InternalError");
    uint64_t offset = strtoull(offset_text, NULL, 10);
    int status = 200;
    if (offset > have.len)
        status = 409;
    else if (offset + body.len > have.len)
        str_add(&have, body.ptr + (have.len - offset), body.len - (have.len - offset));
    auto_str text = STR_INIT(32 << 20);
    id_base64(have.ptr, have.len, &text);
    json_object_set_new(api->logs, uid, json_string(text.ptr));
    json_t *doc = json_pack("{s:I}", "length", (json_int_t)have.len);
    reply(r, status, doc);
    json_decref(doc);
}

static void
enrol(struct fake_api *api, struct http_request *r)
{
    api->n_enrol++;
    json_t *doc = json_pack("{s:{s:s, s:s, s:s}, s:s, s:s}", "instance", "name", "m1",
                            "namespace", "default", "uid", FAKE_INSTANCE_UID, "token",
                            "agent-token", "expiresAt", "2100-01-01T00:00:00Z");
    reply(r, 201, doc);
    json_decref(doc);
}

static void
instance(struct fake_api *api, struct http_request *r)
{
    struct span body = http_body(r);
    if (strcmp(http_method(r), "PATCH") == 0) {
        json_decref(api->instance_status);
        api->instance_status = json_loadb(body.ptr, body.len, 0, NULL);
    }
    json_t *doc = json_pack("{s:{s:s}}", "spec", "fleetName", "local");
    reply(r, 200, doc);
    json_decref(doc);
}

static void
streams_group(struct fake_api *api, struct http_request *r)
{
    char address[32];
    snprintf(address, sizeof(address), "0.0.0.0:%u", http_server_port(api->server));
    json_t *doc =
        json_pack("{s:[{s:s}]}", "serverAddressByClientCIDRs", "serverAddress", address);
    reply(r, 200, doc);
    json_decref(doc);
}

static bool
starts(const char *path, const char *prefix)
{
    return strncmp(path, prefix, strlen(prefix)) == 0;
}

static void
handle(void *arg, struct http_request *r)
{
    struct fake_api *api = arg;
    const char *path = http_path(r);
    if (api->down) {
        refuse(r, 503, "ServiceUnavailable");
    } else if (api->fail > 0) {
        api->fail--;
        refuse(r, 500, "InternalError");
    } else if (strcmp(path, "/enroll") == 0) {
        enrol(api, r);
    } else if (strcmp(path, JOBS) == 0) {
        list_or_watch(api, r);
    } else if (starts(path, JOBS "/")) {
        one_job(api, r, path + sizeof(JOBS));
    } else if (starts(path, LEASES)) {
        lease(api, r);
    } else if (starts(path, INSTANCE)) {
        instance(api, r);
    } else if (starts(path, LOGS)) {
        append_log(api, r);
    } else if (strcmp(path, "/apis/streams.drover.dev") == 0) {
        streams_group(api, r);
    } else if (strcmp(path, EVENTS) == 0) {
        struct span body = http_body(r);
        json_t *o = json_loadb(body.ptr, body.len, 0, NULL);
        json_array_append(api->posted, o);
        reply(r, 201, o);
        json_decref(o);
    } else if (starts(path, SECRETS)) {
        json_t *s = json_object_get(api->secrets, path + sizeof(SECRETS) - 1);
        if (s != NULL)
            reply(r, 200, s);
        else
            refuse(r, 404, "NotFound");
    } else if (strstr(path, "/fleets/") != NULL) {
        json_t *security =
            api->security != NULL ? json_loads(api->security, 0, NULL) : NULL;
        json_t *doc = json_pack("{s:{s:s*, s:o*}}", "spec", "lostAfter", api->lost_after,
                                "security", security);
        reply(r, 200, doc);
        json_decref(doc);
    } else {
        refuse(r, 404, "NotFound");
    }
}

/* --- for the tests -------------------------------------------------------------------
 */

void
fake_api_start(struct fake_api *api, struct loop *l)
{
    struct error e = ERROR_INIT;
    *api = (struct fake_api){.loop = l, .revision = 100};
    str_init(&api->events, 64 << 20);
    api->jobs = json_object();
    api->told = json_object();
    api->logs = json_object();
    api->secrets = json_object();
    api->posted = json_array();
    struct http_server_opts o = {
        .name = "fake api", .address = "127.0.0.1", .handler = handle, .arg = api};
    if (http_server_start(l, &o, &api->server, &e) < 0) {
        fprintf(stderr, "%s\n", e.msg);
        abort();
    }
    snprintf(api->url, sizeof(api->url), "http://127.0.0.1:%u",
             http_server_port(api->server));
}

void
fake_api_stop(struct fake_api *api)
{
    http_server_free(api->server);
    json_decref(api->jobs);
    json_decref(api->told);
    json_decref(api->logs);
    json_decref(api->secrets);
    json_decref(api->posted);
    json_decref(api->lease);
    json_decref(api->instance_status);
    str_done(&api->events);
}

void
fake_api_bind(struct fake_api *api, const char *name, const char *uid,
              const char *extra_json)
{
    json_t *job = json_pack(
        "{s:{s:s, s:s, s:s}, s:{s:s, s:s, s:s, s:b, s:i, s:[s,s], s:{s:i, s:i}}}",
        "metadata", "name", name, "namespace", "default", "uid", uid, "spec", "runName",
        "r", "engine", "docker", "instanceUID", FAKE_INSTANCE_UID, "released", 1,
        "stopDurationSeconds", 3, "argv", "run", "it", "reservation", "cpuMilli", 10,
        "memoryMiB", 1);
    if (extra_json != NULL) {
        json_t *extra = json_loads(extra_json, 0, NULL);
        merge(job, extra);
        json_decref(extra);
    }
    json_object_set_new(api->jobs, name, job);
    stamp(api, job);
    tell(api, "ADDED", job);
}

void
fake_api_patch(struct fake_api *api, const char *name, const char *patch_json)
{
    json_t *job = json_object_get(api->jobs, name);
    json_t *patch = json_loads(patch_json, 0, NULL);
    merge(job, patch);
    json_decref(patch);
    changed(api, job);
}

void
fake_api_delete(struct fake_api *api, const char *name)
{
    json_t *job = json_incref(json_object_get(api->jobs, name));
    json_object_del(api->jobs, name);
    stamp(api, job);
    tell(api, "DELETED", job);
    json_decref(job);
}

void
fake_api_expire_watch(struct fake_api *api)
{
    if (api->watch == NULL)
        return;
    str_adds(&api->events, "{\"type\":\"ERROR\",\"object\":{\"code\":410}}\n");
    api->watch_end = true;
    http_stream_wake(api->watch);
}

const char *
fake_api_agent(const struct fake_api *api, const char *name, const char *field)
{
    static char number[32];
    json_t *status = json_object_get(json_object_get(api->jobs, name), "status");
    json_t *v = json_object_get(json_object_get(status, "agent"), field);
    if (json_is_string(v))
        return json_string_value(v);
    if (json_is_boolean(v))
        return json_is_true(v) ? "true" : "false";
    if (!json_is_integer(v))
        return "";
    snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(v));
    return number;
}

void
fake_api_log(const struct fake_api *api, const char *uid, struct str *out)
{
    const char *stored = json_string_value(json_object_get(api->logs, uid));
    auto_str raw = STR_INIT(16 << 20);
    struct error e = ERROR_INIT;
    struct segment_frame f;
    if (stored == NULL || id_base64_decode(stored, strlen(stored), false, &raw, &e) < 0)
        return;
    for (size_t at = 0; segment_frame_get(raw.ptr + at, raw.len - at, at, &f, &e) == 1;) {
        str_add(out, f.bytes.ptr, f.bytes.len);
        at += SEGMENT_HEADER + f.bytes.len;
    }
}
