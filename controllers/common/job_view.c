/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a Job's bytes. */
#include "controllers/common/job_view.h"

#include "api/jtok.h"
#include "base/clock.h"

int64_t
object_get_time(const struct object *o, const char *path)
{
    char text[64];
    int64_t ns;

    if (!object_get_string(o, path, text, sizeof(text)) ||
        !clock_parse(text, strlen(text), &ns))
        return 0;
    return ns;
}

bool
object_get_bool(const struct object *o, const char *path)
{
    struct span raw;

    return object_path(o, path, &raw) && jscan_bool(raw);
}

char *
object_dup_string(const struct object *o, const char *path)
{
    auto_str text = STR_INIT(OBJECT_MAX_BYTES);
    struct span raw;

    if (!object_path(o, path, &raw) || !jscan_string(raw, &text))
        return NULL;
    return str_detach(&text);
}

static enum agent_state
agent_state(const char *name)
{
    static const struct {
        const char *name;
        enum agent_state state;
    } states[] = {
        {"Claimed", AGENT_CLAIMED},     {"Preparing", AGENT_PREPARING},
        {"Pulling", AGENT_PULLING},     {"Creating", AGENT_CREATING},
        {"Running", AGENT_RUNNING},     {"Stopping", AGENT_STOPPING},
        {"Exited", AGENT_EXITED},       {"Failed", AGENT_FAILED},
        {"Rejected", AGENT_REJECTED},   {"Lost", AGENT_LOST},
        {"Cancelled", AGENT_CANCELLED},
    };

    for (size_t i = 0; i < ARRAY_LEN(states); i++)
        if (streq(states[i].name, name))
            return states[i].state;
    return AGENT_NONE;
}

enum phase
phase_of_agent(enum agent_state s)
{
    switch (s) {
    case AGENT_PULLING:
        return PHASE_PULLING;
    case AGENT_RUNNING:
        return PHASE_RUNNING;
    case AGENT_STOPPING:
        return PHASE_TERMINATING;
    case AGENT_NONE:
    case AGENT_CLAIMED:
    case AGENT_PREPARING:
    case AGENT_CREATING:
    case AGENT_EXITED:
    case AGENT_FAILED:
    case AGENT_REJECTED:
    case AGENT_LOST:
    case AGENT_CANCELLED:
        break;
    }
    return PHASE_PROVISIONING;
}

/* A long text is cut, not dropped. */
static void
get_text(const struct object *o, const char *path, char *buf, size_t size)
{
    autofree char *text = object_dup_string(o, path);
    size_t n = text == NULL ? 0 : strlen(text);

    if (n >= size) {
        n = size - 1;
        while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
            n--; /* not in the middle of a character */
    }
    if (n > 0)
        memcpy(buf, text, n);
    buf[n] = '\0';
}

static void
read_exit(const struct object *o, const char *prefix, struct exit_facts *ret)
{
    char path[64];

    snprintf(path, sizeof(path), "%s.exitCode", prefix);
    ret->code = object_get_int(o, path, INT64_MIN);
    ret->has_code = ret->code != INT64_MIN;
    snprintf(path, sizeof(path), "%s.signal", prefix);
    object_get_string(o, path, ret->signal, sizeof(ret->signal));
    snprintf(path, sizeof(path), "%s.oomKilled", prefix);
    ret->oom = object_get_bool(o, path);
}

static void
read_spec(const struct object *o, struct job_view *v)
{
    char text[32];

    v->replica = object_get_int(o, "spec.replica", 0);
    v->node = object_get_int(o, "spec.node", 0);
    v->attempt = object_get_int(o, "spec.attempt", 0);
    v->priority = object_get_int(o, "spec.priority", 0);
    v->created_ns = o->facts.created_s * INT64_C(1000000000);
    v->go = object_get_bool(o, "spec.released");
    object_get_string(o, "spec.runUID", v->run_uid, sizeof(v->run_uid));
    object_get_string(o, "spec.desiredState", text, sizeof(text));
    v->desired = desired_parse(text);
    object_get_string(o, "spec.stopReason", v->stop_reason, sizeof(v->stop_reason));
    v->interruptible = object_get_bool(o, "spec.interruptible");
    v->stop_duration_s = object_get_int(o, "spec.stopDurationSeconds", 300);
    object_get_string(o, "spec.instanceUID", v->instance_uid, sizeof(v->instance_uid));
    object_get_string(o, "spec.instanceName", v->instance_name, sizeof(v->instance_name));
    object_get_string(o, "spec.engine", v->engine, sizeof(v->engine));
    v->bound = v->instance_uid[0] != '\0';
    v->bound_ns = object_get_time(o, "spec.boundAt");
}

static void
read_waiting(const struct object *o, struct job_view *v)
{
    struct span list, item, raw;
    const char *cursor = NULL;
    auto_str reason = STR_INIT(CODE_MAX - 1);
    auto_str message = STR_INIT(MESSAGE_MAX_LEN - 1);

    if (!object_path(o, "status.conditions", &list) || list.len == 0 ||
        list.ptr[0] != '[')
        return;
    while (jscan_next_item(list, &cursor, &item)) {
        if (!jscan_member(item, "type", &raw) || !jscan_is(raw, "Scheduled") ||
            !jscan_member(item, "status", &raw) || !jscan_is(raw, "False"))
            continue;
        if (jscan_member(item, "reason", &raw) && jscan_string(raw, &reason))
            snprintf(v->wait_reason, sizeof(v->wait_reason), "%s", reason.ptr);
        if (jscan_member(item, "message", &raw) && jscan_string(raw, &message))
            snprintf(v->wait_message, sizeof(v->wait_message), "%s", message.ptr);
    }
}

static void
read_status(const struct object *o, struct job_view *v)
{
    char text[32];

    object_get_string(o, "status.phase", text, sizeof(text));
    v->phase = phase_parse(text);
    get_text(o, "status.reason", v->reason, sizeof(v->reason));
    get_text(o, "status.message", v->message, sizeof(v->message));
    v->started_ns = object_get_time(o, "status.startedAt");
    v->finished_ns = object_get_time(o, "status.finishedAt");
    read_exit(o, "status", &v->exit);
    read_waiting(o, v);
}

static void
read_idle(const struct object *o, struct idle_gpu *ret)
{
    ret->since_ns = object_get_time(o, "status.agent.idleGPU.since");
    ret->index = object_get_int(o, "status.agent.idleGPU.index", -1);
    ret->max = object_get_int(o, "status.agent.idleGPU.max", -1);
    ret->told = ret->index >= 0;
}

static void
read_agent(const struct object *o, struct job_view *v)
{
    char text[64];

    object_get_string(o, "status.agent.state", text, sizeof(text));
    v->agent = agent_state(text);
    v->claimed =
        object_get_string(o, "status.agent.claim.journalID", text, sizeof(text)) &&
        text[0] != '\0';
    v->released = object_get_bool(o, "status.agent.released");
    get_text(o, "status.agent.reason", v->agent_reason, sizeof(v->agent_reason));
    get_text(o, "status.agent.message", v->agent_message, sizeof(v->agent_message));
    v->agent_started_ns = object_get_time(o, "status.agent.startedAt");
    v->agent_finished_ns = object_get_time(o, "status.agent.finishedAt");
    v->log_length = object_get_int(o, "status.agent.logLength", -1);
    read_exit(o, "status.agent", &v->agent_exit);
    read_idle(o, &v->idle);
}

void
job_view_read(const struct object *o, struct job_view *ret)
{
    *ret = (struct job_view){.o = o};
    ret->deleting = o->facts.deleting_s != 0;
    ret->has_finalizer = object_has_finalizer(o, FINALIZER_AGENT);
    read_spec(o, ret);
    read_status(o, ret);
    read_agent(o, ret);
}
