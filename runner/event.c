/* SPDX-License-Identifier: Apache-2.0 */
#include "runner/event.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"
#include "runner/job.h"

LOG_MODULE(event);

#define AT_ONCE 8
#define MESSAGE_MAX 1000

struct events {
    struct agent *a;
    struct server_call *calls[AT_ONCE]; /* NULL: free */
};

struct events *
events_new(struct agent *a)
{
    struct events *ev = xnew(struct events);
    ev->a = a;
    return ev;
}

void
events_free(struct events *ev)
{
    if (ev == NULL)
        return;
    for (size_t i = 0; i < AT_ONCE; i++)
        server_call_cancel(&ev->calls[i]);
    free(ev);
}

static void
on_reply(void *arg, const struct server_reply *r)
{
    UNUSED(arg);
    if (r->status / 100 != 2)
        log_info("event not taken", "status=%d error=\"%s\"", r->status, r->error.msg);
}

static json_t *
event_json(const struct job *j, bool warning, const char *reason, const char *message)
{
    char now[CLOCK_RFC3339_LEN];
    char name[300];
    json_t *text = json_string(message);
    if (text == NULL) /* a daemon's words may be any bytes */
        text = json_string("(the message is not UTF-8)");
    clock_format(clock_wall_ns(), now);
    snprintf(name, sizeof(name), "%.200s.%08" PRIx32 "%08" PRIx32, j->view.name,
             id_uniform(UINT32_MAX), id_uniform(UINT32_MAX));
    return json_pack(
        "{s:s, s:s, s:{s:s, s:s}, s:{s:s, s:s, s:s, s:s, s:s}, s:s, s:o, s:s, s:i, s:s, "
        "s:s, s:{s:s, s:s}, s:s, s:s}",
        "apiVersion", "v1", "kind", "Event", "metadata", "name", name, "namespace",
        j->a->identity.ns, "involvedObject", "apiVersion", "drover.dev/v1", "kind", "Job",
        "name", j->view.name, "namespace", j->a->identity.ns, "uid", j->uid, "reason",
        reason, "message", text, "type", warning ? "Warning" : "Normal", "count", 1,
        "firstTimestamp", now, "lastTimestamp", now, "source", "component",
        "drover-runner", "host", j->a->identity.name, "reportingComponent",
        "drover-runner", "reportingInstance", j->a->identity.name);
}

static void
post(struct events *ev, struct server_call **slot, const json_t *body)
{
    auto_str path = STR_INIT(512);
    str_addf(&path, "/api/v1/namespaces/%s/events", ev->a->identity.ns);
    struct server_request r = {.method = "POST",
                               .path = path.ptr,
                               .body = body,
                               .on_reply = on_reply,
                               .arg = ev};
    server_call(ev->a->server, slot, &r);
}

void
event_say(struct job *j, bool warning, const char *reason, const char *fmt, ...)
{
    struct events *ev = j->a->events;
    char message[MESSAGE_MAX];
    size_t i = 0;
    va_list ap;
    while (i < AT_ONCE && ev->calls[i] != NULL)
        i++;
    if (i == AT_ONCE || j->a->identity.uid == NULL)
        return;
    va_start(ap, fmt);
    vsnprintf(message, sizeof(message), fmt, ap);
    va_end(ap);
    json_t *body = event_json(j, warning, reason, message);
    if (body != NULL)
        post(ev, &ev->calls[i], body);
    json_decref(body);
}
