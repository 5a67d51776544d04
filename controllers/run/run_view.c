/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a Run's bytes. */
#include "api/jtok.h"
#include "api/values.h"
#include "base/mem.h"
#include "controllers/run/run_plan.h"

enum { RETRY_DURATION_S = 3600, JOB_HISTORY = 10, NS_PER_S = 1000000000 };

static int
read_duration(const struct object *o, const char *path, bool allow_off, int64_t *ret,
              struct error *e)
{
    struct span raw;

    if (!object_path(o, path, &raw))
        return 0;
    json_t *value = json_loadb(raw.ptr, raw.len, JSON_DECODE_ANY, NULL);
    int rc = value_duration(value, allow_off, ret, e);
    json_decref(value);
    return rc < 0 ? error_prepend(e, "%s", path) : 0;
}

static int
read_retry(const struct object *o, struct run_view *ret, struct error *e)
{
    struct span raw, item;
    const char *cursor = NULL;

    if (!object_path(o, "spec.retry", &raw) || raw.len < 2 || raw.ptr[0] != '{')
        return 0;
    if (!object_path(o, "spec.retry.onEvents", &raw)) { /* every event */
        ret->retry_error = ret->retry_interruption = ret->retry_no_capacity = true;
    } else {
        while (jscan_next_item(raw, &cursor, &item)) {
            ret->retry_error |= jscan_is(item, "error");
            ret->retry_interruption |= jscan_is(item, "interruption");
            ret->retry_no_capacity |= jscan_is(item, "no-capacity");
        }
    }
    return read_duration(o, "spec.retry.duration", false, &ret->retry_duration_s, e);
}

static bool
path_is(const struct object *o, const char *path, const char *value)
{
    struct span raw;

    return object_path(o, path, &raw) && jscan_is(raw, value);
}

static int
read_nodes(const struct object *o, struct run_view *ret, struct error *e)
{
    struct span raw, item, nodes;
    const char *cursor = NULL;

    ret->nodes = object_get_int(o, "spec.nodes", 1);
    if (object_path(o, "spec.groups", &raw) && raw.len > 2 && raw.ptr[0] == '[') {
        ret->nodes = 0;
        while (jscan_next_item(raw, &cursor, &item)) {
            int64_t n = 1;
            if (jscan_member(item, "nodes", &nodes) && !jscan_int64(nodes, &n))
                n = 0;
            if (n < 1 || n > RUN_NODES_MAX)
                return error_set(e, ERR_INVALID, "spec.groups: nodes must be from 1 on");
            ret->nodes += n;
        }
    }
    if (ret->nodes < 1 || ret->nodes > RUN_NODES_MAX)
        return error_set(e, ERR_INVALID, "spec.nodes: must be between 1 and %d together",
                         RUN_NODES_MAX);
    if (path_is(o, "spec.startupOrder", "master-first"))
        ret->startup = STARTUP_MASTER_FIRST;
    else if (path_is(o, "spec.startupOrder", "workers-first"))
        ret->startup = STARTUP_WORKERS_FIRST;
    ret->master_done = path_is(o, "spec.stopCriteria", "master-done");
    return 0;
}

static int
read_array(const struct object *o, struct run_view *ret, struct error *e)
{
    char text[64];

    ret->array = (struct run_array){0, 0, 1};
    ret->has_array = object_get_string(o, "spec.array", text, sizeof(text));
    if (!ret->has_array)
        return 0;
    int rc = value_array(text, &ret->array, e);
    return rc < 0 ? error_prepend(e, "spec.array") : 0;
}

static int
read_schedule(const struct object *o, struct run_view *ret, struct error *e)
{
    struct span raw, item;
    const char *cursor = NULL;

    if (!object_path(o, "spec.schedule.cron", &raw) || raw.len == 0 || raw.ptr[0] != '[')
        return 0;
    if (ret->has_array)
        return error_set(e, ERR_INVALID, "spec.schedule: not together with spec.array");
    while (jscan_next_item(raw, &cursor, &item)) {
        auto_str text = STR_INIT(512);
        if (!jscan_string(item, &text) || ret->n_crons == RUN_CRONS_MAX)
            return error_set(e, ERR_INVALID, "spec.schedule.cron: up to %d strings",
                             RUN_CRONS_MAX);
        int rc = cron_parse(text.ptr, &ret->crons[ret->n_crons++], e);
        if (rc < 0)
            return error_prepend(e, "spec.schedule.cron");
    }
    return 0;
}

static void
read_status(const struct object *o, struct run_view *ret)
{
    char text[32];

    object_get_string(o, "status.phase", text, sizeof(text));
    ret->phase = phase_parse(text);
    object_get_string(o, "status.reason", ret->reason, sizeof(ret->reason));
    ret->started_ns = object_get_time(o, "status.startedAt");
    ret->finished_ns = object_get_time(o, "status.finishedAt");
    ret->next_start_ns = object_get_time(o, "status.nextStartAt");
    ret->last_start_ns = object_get_time(o, "status.lastStartAt");
    object_get_string(o, "status.jobUID", ret->job_uid, sizeof(ret->job_uid));
    ret->attempt = object_get_int(o, "status.attempt", -1);
    ret->elements_started = object_get_int(o, "status.replicas.started", 0);
}

int
run_view_read(const struct object *o, struct run_view *ret, struct error *e)
{
    char text[32];

    *ret = (struct run_view){.o = o,
                             .max_duration_s = DURATION_OFF,
                             .retry_duration_s = RETRY_DURATION_S,
                             .ttl_s = DURATION_OFF,
                             .nodes = 1,
                             .array = {0, 0, 1}};
    ret->deleting = o->facts.deleting_s != 0;
    ret->has_finalizer = object_has_finalizer(o, FINALIZER_RUN);
    ret->created_ns = o->facts.created_s * NS_PER_S;
    object_get_string(o, "spec.desiredState", text, sizeof(text));
    ret->desired = desired_parse(text);
    ret->priority = object_get_int(o, "spec.priority", 0);
    ret->history = object_get_int(o, "spec.jobHistoryLimit", JOB_HISTORY);
    ret->fail_without_capacity = path_is(o, "spec.whenNoCapacity", "fail");
    read_status(o, ret);
    int rc = read_nodes(o, ret, e);
    if (rc == 0)
        rc = read_array(o, ret, e);
    if (rc == 0)
        rc = read_schedule(o, ret, e);
    if (rc == 0)
        rc = read_duration(o, "spec.maxDuration", true, &ret->max_duration_s, e);
    if (rc == 0)
        rc = read_duration(o, "spec.ttlAfterFinished", true, &ret->ttl_s, e);
    return rc < 0 ? rc : read_retry(o, ret, e);
}
