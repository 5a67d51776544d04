/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a Run's bytes. */
#include "api/jtok.h"
#include "api/values.h"
#include "base/mem.h"
#include "controllers/run/run_plan.h"

enum { RETRY_DURATION_S = 3600, NS_PER_S = 1000000000 };

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
        ret->retry_error = ret->retry_interruption = true;
    } else {
        while (jscan_next_item(raw, &cursor, &item)) {
            ret->retry_error |= jscan_is(item, "error");
            ret->retry_interruption |= jscan_is(item, "interruption");
        }
    }
    return read_duration(o, "spec.retry.duration", false, &ret->retry_duration_s, e);
}

int
run_view_read(const struct object *o, struct run_view *ret, struct error *e)
{
    char text[32];

    *ret = (struct run_view){
        .o = o, .max_duration_s = DURATION_OFF, .retry_duration_s = RETRY_DURATION_S};
    ret->deleting = o->facts.deleting_s != 0;
    ret->has_finalizer = object_has_finalizer(o, FINALIZER_RUN);
    ret->created_ns = o->facts.created_s * NS_PER_S;
    object_get_string(o, "spec.desiredState", text, sizeof(text));
    ret->desired = desired_parse(text);
    object_get_string(o, "status.phase", text, sizeof(text));
    ret->phase = phase_parse(text);
    object_get_string(o, "status.reason", ret->reason, sizeof(ret->reason));
    ret->started_ns = object_get_time(o, "status.startedAt");
    ret->finished_ns = object_get_time(o, "status.finishedAt");
    object_get_string(o, "status.jobUID", ret->job_uid, sizeof(ret->job_uid));
    ret->attempt = object_get_int(o, "status.attempt", -1);
    int rc = read_duration(o, "spec.maxDuration", true, &ret->max_duration_s, e);
    return rc < 0 ? rc : read_retry(o, ret, e);
}
