/* SPDX-License-Identifier: Apache-2.0 */
/* Events: from requests to lines. */
#include "apiserver/audit/audit.h"

#include <libgen.h>
#include <stdlib.h>
#include <sys/inotify.h>

#include "api/jtok.h"
#include "apiserver/audit/sink.h"
#include "apiserver/registry/answer.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"

LOG_MODULE(audit);

enum { SETTLE_MS = 100 };
enum { POLICY_FILE_MAX = 1 << 20, COMMON_MAX = 256 << 10, NAME_BODY_MAX = 64 << 10 };

struct audit {
    struct audit_policy *policy;
    struct audit_sink *sink;
    char *policy_file;
    struct str policy_text; /* as it was read last */
    struct loop_watch *watch;
    struct loop_timer *settle;
    uint64_t reloads;
};

struct audit_event {
    struct audit *audit;
    struct audit_decision decision;
    struct str common; /* members that every stage has */
    struct str annotations;
    char *request, *response;
    size_t n_request, n_response;
    int64_t received_ns;
};

/* Takes the file's policy; what was there stays when it is damaged. */
static int
read_policy(struct audit *a, bool *ret_new, struct error *e)
{
    auto_str text = STR_INIT(POLICY_FILE_MAX);
    struct audit_policy *p = NULL;

    *ret_new = false;
    if (fs_read(a->policy_file, &text, e) < 0)
        return -(int)e->code;
    if (a->policy != NULL && text.len == a->policy_text.len &&
        memcmp(text.ptr, a->policy_text.ptr, text.len) == 0)
        return 0;
    if (audit_policy_read(text.ptr, text.len, &p, e) < 0)
        return error_prepend(e, "%s", a->policy_file);
    audit_policy_free(a->policy);
    a->policy = p;
    str_reset(&a->policy_text);
    str_add(&a->policy_text, text.ptr, text.len);
    *ret_new = true;
    return 0;
}

static void
on_settled(void *arg)
{
    struct audit *a = arg;
    struct error e = ERROR_INIT;
    bool is_new;

    if (read_policy(a, &is_new, &e) < 0) {
        log_warn("a changed audit policy is not used", "error=\"%s\"", e.msg);
    } else if (is_new) {
        a->reloads++;
        log_info("audit policy reloaded", "policy=%s", a->policy_file);
    }
}

static void
on_change(void *arg, uint32_t mask, const char *name)
{
    struct audit *a = arg;

    UNUSED(mask);
    UNUSED(name);
    loop_timer_in(a->settle, SETTLE_MS);
}

static int
follow_policy(struct audit *a, struct loop *l, struct error *e)
{
    autofree char *copy = xstrdup(a->policy_file);
    bool is_new;

    a->settle = loop_timer_new(l, "audit-policy", on_settled, a);
    if (loop_watch_add(l, dirname(copy), IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE,
                       on_change, a, &a->watch, e) < 0)
        return error_prepend(e, "%s", a->policy_file);
    return read_policy(a, &is_new, e);
}

int
audit_open(const struct audit_opts *o, struct audit **ret, struct error *e)
{
    struct audit *a = xnew(struct audit);

    a->policy_file = xstrdup(o->policy_file);
    str_init(&a->policy_text, POLICY_FILE_MAX);
    if (follow_policy(a, o->loop, e) < 0) {
        audit_close(a);
        return -(int)e->code;
    }
    if (audit_sink_open(o, &a->sink, e) < 0) {
        audit_close(a);
        return error_prepend(e, "audit log");
    }
    log_info("audit log", "path=%s policy=%s", o->log_file, o->policy_file);
    *ret = a;
    return 0;
}

void
audit_close(struct audit *a)
{
    if (a == NULL)
        return;
    audit_sink_close(a->sink);
    audit_policy_free(a->policy);
    if (a->watch != NULL)
        loop_watch_free(a->watch);
    loop_timer_free(a->settle);
    str_done(&a->policy_text);
    free(a->policy_file);
    free(a);
}

/* --- the parts of an event
 * ---------------------------------------------------------------- */

static void
put_list(struct str *out, const char *key, char *const *list)
{
    jput_key(out, key);
    str_addc(out, '[');
    for (; *list != NULL; list++) {
        jput_item(out);
        jput_stringz(out, *list);
    }
    str_addc(out, ']');
}

static void
put_user(struct str *out, const char *key, const struct api_user *u)
{
    static char *const nobody[] = {NULL};

    jput_key(out, key);
    str_addc(out, '{');
    if (u == NULL) {
        put_list(out, "groups", nobody);
        str_addc(out, '}');
        return;
    }
    jput_member(out, "username", u->name);
    if (*u->uid != '\0')
        jput_member(out, "uid", u->uid);
    put_list(out, "groups", u->groups);
    if (u->n_extra > 0) {
        jput_key(out, "extra");
        str_addc(out, '{');
        for (size_t i = 0; i < u->n_extra; i++)
            put_list(out, u->extra[i].key, u->extra[i].values);
        str_addc(out, '}');
    }
    str_addc(out, '}');
}

static void
put_if(struct str *out, const char *key, const char *value)
{
    if (value != NULL && *value != '\0')
        jput_member(out, key, value);
}

static void
put_object(struct str *out, const struct audit_request *r)
{
    const struct route *o = r->route;
    autofree char *name = NULL;

    if (o == NULL || !o->resource)
        return;
    if (*o->name == '\0' && streq(r->verb, "create") && r->body.len < NAME_BODY_MAX)
        name = body_name(r->body, NULL);
    jput_key(out, "objectRef");
    str_addc(out, '{');
    put_if(out, "resource", o->plural);
    put_if(out, "namespace", o->ns);
    put_if(out, "name", name != NULL ? name : o->name);
    put_if(out, "apiGroup", o->group);
    put_if(out, "apiVersion", o->version);
    put_if(out, "subresource", o->sub);
    str_addc(out, '}');
}

static void
put_common(struct str *out, enum audit_level level, const struct audit_request *r)
{
    jput_member(out, "kind", "Event");
    jput_member(out, "apiVersion", "audit.k8s.io/v1");
    jput_member(out, "level", audit_level_name(level));
    jput_member(out, "auditID", r->id);
    jput_member(out, "requestURI", r->uri);
    jput_member(out, "verb", r->verb);
    put_user(out, "user", r->user);
    if (r->as != NULL)
        put_user(out, "impersonatedUser", r->as);
    jput_key(out, "sourceIPs");
    str_addc(out, '[');
    if (r->source != NULL)
        jput_stringz(out, r->source);
    str_addc(out, ']');
    put_if(out, "userAgent", r->user_agent);
    put_object(out, r);
}

static void
put_time(struct str *out, const char *key, int64_t ns)
{
    char text[CLOCK_RFC3339_US_LEN];

    clock_format_us(ns, text);
    jput_member(out, key, text);
}

static void
put_status(struct str *out, int status, const char *reason)
{
    jput_key(out, "responseStatus");
    str_adds(out, "{\"metadata\":{}");
    if (status >= 400)
        jput_member(out, "status", "Failure");
    put_if(out, "reason", reason);
    jput_member_int(out, "code", status);
    str_addc(out, '}');
}

static void
emit(struct audit_event *ev, enum audit_stage stage, const char *name, int status,
     const char *reason)
{
    struct audit_line *l;

    if ((ev->decision.omit & stage) != 0)
        return;
    l = xnew(struct audit_line);
    l->omit_managed_fields = ev->decision.omit_managed_fields;
    str_init(&l->head, 2 * COMMON_MAX);
    str_addc(&l->head, '{');
    jput_member(&l->head, "stage", name);
    str_addc(&l->head, ',');
    str_add(&l->head, ev->common.ptr + 1, ev->common.len - 1);
    if (stage != AUDIT_RECEIVED && status > 0)
        put_status(&l->head, status, reason);
    put_time(&l->head, "requestReceivedTimestamp", ev->received_ns);
    put_time(&l->head, "stageTimestamp", clock_wall_ns());
    if (ev->annotations.len > 1) {
        jput_key(&l->head, "annotations");
        str_add(&l->head, ev->annotations.ptr, ev->annotations.len);
        str_addc(&l->head, '}');
    }
    if (stage == AUDIT_COMPLETE) {
        l->request = ev->request;
        l->response = ev->response;
        l->n_request = ev->n_request;
        l->n_response = ev->n_response;
        ev->request = ev->response = NULL;
    }
    audit_sink_put(ev->audit->sink, l);
}

/* --- the life of one
 * ---------------------------------------------------------------------- */

struct audit_event *
audit_begin(struct audit *a, const struct audit_request *r)
{
    static char *const nobody[] = {NULL};
    static const struct route path = {0};

    if (a == NULL)
        return NULL;
    const struct route *o = r->route == NULL ? &path : r->route;
    struct audit_subject s = {.user = r->user == NULL ? "" : r->user->name,
                              .groups = r->user == NULL ? nobody : r->user->groups,
                              .verb = r->verb,
                              .resource = o->resource,
                              .group = o->group,
                              .plural = o->plural,
                              .sub = o->sub,
                              .ns = o->ns,
                              .name = o->name,
                              .path = r->path};
    struct audit_decision d = audit_policy_decide(a->policy, &s);
    if (d.level == AUDIT_NONE)
        return NULL;
    struct audit_event *ev = xnew(struct audit_event);
    ev->audit = a;
    ev->decision = d;
    ev->received_ns = clock_wall_ns();
    str_init(&ev->common, COMMON_MAX);
    str_init(&ev->annotations, COMMON_MAX);
    str_addc(&ev->common, '{');
    str_addc(&ev->annotations, '{');
    put_common(&ev->common, d.level, r);
    if (d.level >= AUDIT_REQUEST && r->body.len > 0) {
        ev->request = xmemdup(r->body.ptr, r->body.len);
        ev->n_request = r->body.len;
    }
    emit(ev, AUDIT_RECEIVED, "RequestReceived", 0, NULL);
    return ev;
}

bool
audit_wants_response(const struct audit_event *ev)
{
    return ev != NULL && ev->decision.level == AUDIT_REQUEST_RESPONSE;
}

void
audit_response(struct audit_event *ev, const char *body, size_t n)
{
    if (!audit_wants_response(ev) || ev->response != NULL || n == 0)
        return;
    ev->response = xmemdup(body, n);
    ev->n_response = n;
}

void
audit_annotate(struct audit_event *ev, const char *key, const char *value)
{
    if (ev != NULL)
        jput_member(&ev->annotations, key, value);
}

void
audit_started(struct audit_event *ev, int status)
{
    if (ev != NULL)
        emit(ev, AUDIT_STARTED, "ResponseStarted", status, NULL);
}

void
audit_complete(struct audit_event *ev, int status, const char *reason)
{
    if (ev == NULL)
        return;
    emit(ev, AUDIT_COMPLETE, "ResponseComplete", status, reason);
    str_done(&ev->common);
    str_done(&ev->annotations);
    free(ev->request);
    free(ev->response);
    free(ev);
}

/* --- looking at it
 * ------------------------------------------------------------------------ */

struct audit_stats
audit_stats(const struct audit *a)
{
    return audit_sink_stats(a->sink);
}

void
audit_flush(struct audit *a, void (*fn)(void *arg), void *arg)
{
    audit_sink_flush(a->sink, fn, arg);
}

void
audit_metrics(const struct audit *a, struct str *out)
{
    struct audit_stats st = {0};

    if (a != NULL)
        st = audit_stats(a);
    str_addf(out,
             "# TYPE apiserver_audit_event_total counter\n"
             "apiserver_audit_event_total %llu\n"
             "# TYPE apiserver_audit_error_total counter\n"
             "apiserver_audit_error_total %llu\n"
             "# TYPE drover_audit_dropped_total counter\n"
             "drover_audit_dropped_total %llu\n"
             "# TYPE drover_audit_rotations_total counter\n"
             "drover_audit_rotations_total %llu\n"
             "# TYPE drover_audit_policy_reloads_total counter\n"
             "drover_audit_policy_reloads_total %llu\n"
             "# TYPE drover_audit_waiting_bytes gauge\n"
             "drover_audit_waiting_bytes %zu\n",
             (unsigned long long)st.events, (unsigned long long)st.errors,
             (unsigned long long)st.dropped, (unsigned long long)st.rotations,
             (unsigned long long)(a == NULL ? 0 : a->reloads), st.waiting);
}
