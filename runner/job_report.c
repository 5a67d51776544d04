/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a job's status.agent shall be, and getting it there. Changes are coalesced: one
 * request per job is in flight, and what is sent is always the newest, so a slow server
 * never delays a job. A terminal report is complete in one request and is repeated until
 * it is acknowledged or the job is gone.
 */
#include <inttypes.h>
#include <signal.h>
#include <string.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "client/client.h"
#include "io/segment.h"
#include "runner/event.h"
#include "runner/job.h"

LOG_MODULE(report);

#define RETRY_MIN_MS 250
#define RETRY_MAX_MS 30000
#define PULL_INTERVAL_MS 1000
/* A state that passes within this is told with the one that follows: of a short job that
 * spares writes of the agent and of all who follow the Job. */
#define CREATING_BRIEF_MS 1000
#define RUNNING_BRIEF_MS 10
#define USAGE_UNKNOWN "UtilizationUnknown"

static void report_send(struct job *j);

/* --- composing -----------------------------------------------------------------------
 */

static void
put_text(json_t *o, const char *key, const char *text)
{
    json_object_set_new(o, key, *text != '\0' ? json_string(text) : json_null());
}

static void
put_time(json_t *o, const char *key, int64_t ns)
{
    char text[CLOCK_RFC3339_US_LEN];
    clock_format_us(ns, text);
    json_object_set_new(o, key, ns > 0 ? json_string(text) : json_null());
}

static void
put_int(json_t *o, const char *key, bool given, int64_t v)
{
    json_object_set_new(o, key, given ? json_integer(v) : json_null());
}

static json_t *
pull_json(const struct job_report *r)
{
    if (!r->has_pull)
        return json_null();
    json_t *o = json_object();
    put_int(o, "downloadedBytes", r->pull.downloaded_bytes >= 0,
            r->pull.downloaded_bytes);
    put_int(o, "totalBytes", r->pull.total_bytes >= 0, r->pull.total_bytes);
    put_int(o, "layersDone", true, r->pull.layers_done);
    put_int(o, "layersTotal", true, r->pull.layers_total);
    return o;
}

/* How the running job came out; its own pid is no business of anybody after its end. */
static void
put_facts(json_t *o, const struct job_report *r)
{
    const struct engine_facts *f = r->facts;
    if (f == NULL)
        return;
    json_t *ports = f->n_ports > 0 ? json_array() : json_null();
    for (size_t i = 0; i < f->n_ports; i++)
        json_array_append_new(ports, json_pack("{s:i, s:i}", "containerPort",
                                               f->ports[i].container, "hostPort",
                                               f->ports[i].host));
    json_object_set_new(o, "ports", ports);
    put_text(o, "user", f->user);
    put_text(o, "workingDir", f->working_dir);
    put_int(o, "pid", f->pid > 0 && r->end_seq == 0, f->pid);
}

/* Once told it stays: what an earlier life said of it is not taken back. */
static void
put_idle(json_t *o, const struct job_idle *idle)
{
    if (!idle->told)
        return;
    json_t *v = json_pack("{s:i, s:s, s:i}", "index", (int)idle->index, "uuid",
                          idle->uuid, "max", idle->max);
    put_time(v, "since", idle->since_ns);
    json_object_set_new(o, "idleGPU", v);
}

/* A null takes the member away; so the whole subtree is always as it is here. */
static json_t *
report_json(const struct job_report *r)
{
    json_t *o = json_object();
    if (r->state == NULL) {
        /* It ended in an earlier life, which reported everything else; maybe it had not
         * got to the end of the log. */
        json_object_set_new(o, "released", json_true());
        if (r->log_length >= 0)
            json_object_set_new(o, "logLength", json_integer(r->log_length));
        return o;
    }
    const char *sig = r->signal != 0 ? sigabbrev_np(r->signal) : NULL;
    char sig_text[16] = "";
    if (sig != NULL)
        snprintf(sig_text, sizeof(sig_text), "SIG%s", sig);
    put_text(o, "state", r->state);
    put_time(o, "since", r->since_ns);
    put_text(o, "reason", r->reason);
    put_text(o, "message", r->message);
    json_object_set_new(o, "pull", pull_json(r));
    put_int(o, "exitCode", r->has_exit && r->exit_code >= 0, r->exit_code);
    put_text(o, "signal", sig_text);
    json_object_set_new(o, "oomKilled", r->oom ? json_true() : json_null());
    put_time(o, "startedAt", r->started_ns);
    put_time(o, "finishedAt", r->finished_ns);
    put_int(o, "logLength", r->log_length >= 0, r->log_length);
    put_text(o, "lastOutput", r->last_output);
    put_text(o, "oomCgroup", r->oom_cgroup);
    put_int(o, "memoryPeakBytes", r->memory_peak > 0, r->memory_peak);
    put_facts(o, r);
    put_idle(o, &r->idle);
    if (r->released)
        json_object_set_new(o, "released", json_true());
    return o;
}

/* --- sending -------------------------------------------------------------------------
 */

static void
patch_status(struct job *j, struct server_call **slot, json_t *metadata, json_t *agent,
             server_reply_fn *fn)
{
    auto_str path = STR_INIT(2048);
    json_t *body =
        json_pack("{s:o, s:{s:o}}", "metadata", metadata, "status", "agent", agent);
    server_path(&path, &resource_jobs, j->view.ns, j->view.name, "status");
    struct server_request r = {.method = "PATCH",
                               .path = path.ptr,
                               .content_type = SERVER_MERGE_PATCH,
                               .body = body,
                               .on_reply = fn,
                               .arg = j};
    server_call(j->a->server, slot, &r);
    json_decref(body);
}

static void
on_looked(void *arg, const struct server_reply *r)
{
    struct job *j = arg;
    const char *uid =
        json_string_value(json_object_get(json_object_get(r->doc, "metadata"), "uid"));
    if (server_ok(r) && uid != NULL && streq(uid, j->uid))
        job_take_object(j, r->doc);
    else if (r->error.code == ERR_NOT_FOUND || (server_ok(r) && uid != NULL))
        job_set_absent(j); /* gone, or its name belongs to another job now */
    if (j->claiming) {
        j->claiming = false;
        job_step(j);
        return;
    }
    job_step(j);
    if (!j->dead && !j->absent)
        loop_timer_in(j->report.retry,
                      backoff_next_ms(&j->report.backoff, RETRY_MIN_MS, RETRY_MAX_MS));
}

/* A conflict: whose object is it, and at which revision? */
static void
look(struct job *j, struct server_call **slot)
{
    auto_str path = STR_INIT(2048);
    server_path(&path, &resource_jobs, j->view.ns, j->view.name, NULL);
    struct server_request r = {
        .method = "GET", .path = path.ptr, .on_reply = on_looked, .arg = j};
    server_call(j->a->server, slot, &r);
}

static void
on_reported(void *arg, const struct server_reply *r)
{
    struct job *j = arg;
    struct job_report *rep = &j->report;

    if (server_ok(r)) {
        rep->backoff.failures = 0;
        rep->acked = rep->sent;
        job_take_object(j, r->doc);
        job_step(j);
        if (!j->dead)
            report_send(j);
        return;
    }
    if (r->error.code == ERR_NOT_FOUND) {
        job_set_absent(j);
        job_step(j);
        return;
    }
    log_warn_rl("report not taken", "job=%s uid=%s state=%s error=\"%s\"", j->view.name,
                j->uid, rep->state, r->error.msg);
    if (r->error.code == ERR_CONFLICT) {
        look(j, &rep->call);
        return;
    }
    int64_t delay = backoff_next_ms(&rep->backoff, RETRY_MIN_MS, RETRY_MAX_MS);
    if (r->error.retry_after_ms > delay)
        delay = r->error.retry_after_ms;
    loop_timer_in(rep->retry, delay);
}

static void
report_send(struct job *j)
{
    struct job_report *r = &j->report;
    /* Not before the server's view is known: what an earlier life reported as the end
     * must not be reported over. */
    if (r->call != NULL || r->acked == r->seq || j->absent || j->view.revision == 0 ||
        j->claiming || loop_timer_armed(r->retry) ||
        (r->seq == r->brief_seq && loop_timer_armed(r->brief)))
        return;
    r->sent = r->seq;
    patch_status(j, &r->call, json_pack("{s:s}", "uid", j->uid), report_json(r),
                 on_reported);
}

static void
on_retry(void *arg)
{
    report_send(arg);
}

static void
changed(struct job *j)
{
    j->report.seq++;
    report_send(j);
}

static void
changed_for(struct job *j, int64_t ms)
{
    j->report.brief_seq = ++j->report.seq;
    loop_timer_in(j->report.brief, ms);
}

void
report_kick(struct job *j)
{
    j->report.backoff.failures = 0;
    if (loop_timer_armed(j->report.retry)) {
        loop_timer_cancel(j->report.retry);
        report_send(j);
    }
    if (loop_timer_armed(j->claim_retry))
        loop_timer_in(j->claim_retry, 0);
}

/* --- claim ---------------------------------------------------------------------------
 */

static void
on_claim_retry(void *arg)
{
    struct job *j = arg;
    if (j->claiming && j->claim_call == NULL) {
        j->claiming = false;
        job_step(j);
    }
}

static void
on_claimed(void *arg, const struct server_reply *r)
{
    struct job *j = arg;
    if (server_ok(r)) {
        log_info("claimed", "job=%s uid=%s", j->view.name, j->uid);
        j->claim_backoff.failures = 0;
        j->claiming = false;
        job_take_object(j, r->doc);
        job_step(j);
        report_send(j);
        return;
    }
    if (r->error.code == ERR_NOT_FOUND) {
        j->claiming = false;
        job_set_absent(j);
        job_step(j);
        return;
    }
    if (r->error.code == ERR_CONFLICT) {
        look(j, &j->claim_call); /* stays "claiming" until the answer */
        return;
    }
    log_warn_rl("claim not taken", "job=%s uid=%s error=\"%s\"", j->view.name, j->uid,
                r->error.msg);
    loop_timer_in(j->claim_retry,
                  backoff_next_ms(&j->claim_backoff, RETRY_MIN_MS, RETRY_MAX_MS));
}

void
report_claim(struct job *j)
{
    char rv[24];
    struct job_report *rep = &j->report;

    j->claiming = true;
    rep->state = "Claimed";
    rep->since_ns = clock_wall_ns();
    snprintf(rv, sizeof(rv), "%" PRIu64, j->view.revision);
    json_t *agent =
        json_pack("{s:s, s:{s:s, s:s}}", "state", rep->state, "claim", "instanceUID",
                  j->a->identity.uid, "journalID", journal_id(j->a->journal));
    put_time(agent, "since", rep->since_ns);
    patch_status(j, &j->claim_call,
                 json_pack("{s:s, s:s}", "uid", j->uid, "resourceVersion", rv), agent,
                 on_claimed);
}

/* --- what the rest of the agent says -------------------------------------------------
 */

void
report_init(struct job *j)
{
    j->report.exit_code = -1;
    j->report.log_length = -1;
    j->report.retry = loop_timer_new(j->a->loop, "job report", on_retry, j);
    j->report.brief = loop_timer_new(j->a->loop, "job report, brief", on_retry, j);
    j->claim_retry = loop_timer_new(j->a->loop, "job claim", on_claim_retry, j);
}

void
report_done(struct job *j)
{
    server_call_cancel(&j->report.call);
    server_call_cancel(&j->claim_call);
    loop_timer_free(j->report.retry);
    loop_timer_free(j->report.brief);
    loop_timer_free(j->claim_retry);
}

/* Nothing is said after the end, be it told in this life or in an earlier one (whose
 * engine may not have answered yet). */
static bool
over(const struct job *j)
{
    return j->report.end_seq != 0 || j->view.agent_terminal;
}

/* Called before the state becomes another one. */
static void
say_pulled(struct job *j)
{
    const struct job_report *r = &j->report;
    if (r->state == NULL || !streq(r->state, "Pulling"))
        return;
    event_say(j, false, "Pulled", "image %s in %" PRId64 " ms, %" PRId64 " bytes",
              j->ej.image, (clock_wall_ns() - r->since_ns) / 1000000,
              r->pull.downloaded_bytes > 0 ? r->pull.downloaded_bytes : 0);
}

void
report_state(struct job *j, const char *state)
{
    struct job_report *r = &j->report;
    if (over(j) || (r->state != NULL && streq(r->state, state)))
        return;
    bool creating = streq(state, "Creating");
    bool pulled = r->has_pull;
    if (creating)
        say_pulled(j);
    r->state = state;
    r->since_ns = clock_wall_ns();
    r->has_pull = false;
    if (creating && !pulled)
        changed_for(j, CREATING_BRIEF_MS);
    else
        changed(j);
}

void
report_pull(struct job *j, const struct engine_progress *p)
{
    struct job_report *r = &j->report;
    if (over(j))
        return;
    bool first = r->state == NULL || !streq(r->state, "Pulling");
    if (first) {
        r->state = "Pulling";
        r->since_ns = clock_wall_ns();
        event_say(j, false, "Pulling", "image %s", j->ej.image);
    }
    r->pull = *p;
    r->has_pull = true;
    if (!first && loop_now_ms(j->a->loop) < r->next_pull_ms)
        return;
    r->next_pull_ms = loop_now_ms(j->a->loop) + PULL_INTERVAL_MS;
    changed(j);
}

void
report_started(struct job *j, int64_t started_ns)
{
    struct job_report *r = &j->report;
    if (over(j))
        return;
    r->started_ns = started_ns;
    r->facts = &j->ej.facts;
    if (r->state != NULL && streq(r->state, "Stopping")) {
        changed(j);
        return;
    }
    say_pulled(j);
    r->state = "Running";
    r->since_ns = started_ns;
    r->has_pull = false;
    changed_for(j, RUNNING_BRIEF_MS);
}

void
report_device_lost(struct job *j, const char *uuid)
{
    struct job_report *r = &j->report;
    if (over(j) || r->lost_device[0] != '\0')
        return;
    snprintf(r->lost_device, sizeof(r->lost_device), "%s", uuid);
    snprintf(r->reason, sizeof(r->reason), "DeviceLost");
    snprintf(r->message, sizeof(r->message), "device %s is gone from the machine", uuid);
    event_say(j, true, "DeviceLost", "%s", r->message);
    changed(j);
}

void
report_idle(struct job *j, const struct job_idle *idle)
{
    struct job_report *r = &j->report;
    if (over(j) || r->idle.told)
        return;
    r->idle = *idle;
    event_say(j, true, "UtilizationTooLow",
              "GPU %u (%s) was at most %d%% busy in %lld s; utilizationPolicy wants %d%%",
              idle->index, idle->uuid, idle->max,
              (long long)j->view.idle.window_ms / 1000, j->view.idle.min_busy);
    changed(j);
}

void
report_usage_unknown(struct job *j, const char *message)
{
    struct job_report *r = &j->report;
    if (over(j) || r->reason[0] != '\0')
        return;
    snprintf(r->reason, sizeof(r->reason), "%s", USAGE_UNKNOWN);
    snprintf(r->message, sizeof(r->message), "%s", message);
    event_say(j, true, USAGE_UNKNOWN, "%s", message);
    changed(j);
}

void
report_usage_known(struct job *j)
{
    struct job_report *r = &j->report;
    if (over(j) || !streq(r->reason, USAGE_UNKNOWN))
        return;
    r->reason[0] = r->message[0] = '\0';
    changed(j);
}

void
report_stuck(struct job *j, const char *message)
{
    struct job_report *r = &j->report;
    if (over(j))
        return;
    snprintf(r->reason, sizeof(r->reason), "KillFailed");
    snprintf(r->message, sizeof(r->message), "%s", message);
    event_say(j, true, "KillFailed", "%s", message);
    changed(j);
}

void
report_end(struct job *j, const char *state, const char *reason, const char *message)
{
    struct job_report *r = &j->report;
    if (r->end_seq != 0)
        return;
    r->state = state;
    snprintf(r->reason, sizeof(r->reason), "%s", reason);
    snprintf(r->message, sizeof(r->message), "%s", message);
    r->since_ns = clock_wall_ns();
    r->has_pull = false;
    if (r->finished_ns == 0)
        r->finished_ns = r->since_ns;
    if (r->log_length < 0 && !j->log_open)
        r->log_length = 0;
    r->end_seq = r->seq + 1;
    loop_timer_cancel(r->retry); /* news: try at once */
    changed(j);
    job_step(j);
}

/* What the Job's phase does not tell by itself. */
static void
say_end(struct job *j, const struct engine_result *er)
{
    bool warn = er->reason == ENGINE_OOM || er->reason == ENGINE_DISK_QUOTA ||
                er->reason == ENGINE_RESTARTED || er->reason == ENGINE_LOST ||
                er->reason == ENGINE_REBOOTED || er->reason == ENGINE_IMAGE_PULL;
    if (warn && j->stop_sent == JOB_RUN)
        event_say(j, true, engine_reason_name(er->reason), "%s", er->message);
}

static const char *
state_of(const struct job *j, const struct engine_result *r)
{
    switch (r->reason) {
    case ENGINE_EXITED:
    case ENGINE_SIGNALED:
    case ENGINE_OOM:
    case ENGINE_DISK_QUOTA:
        return "Exited";
    case ENGINE_IMAGE_PULL:
    case ENGINE_CREATE_FAILED:
    case ENGINE_START_FAILED:
    case ENGINE_UNAVAILABLE:
        return j->stop_sent != JOB_RUN && !r->started ? "Cancelled" : "Failed";
    case ENGINE_LOST:
    case ENGINE_REBOOTED:
    case ENGINE_RESTARTED:
        break;
    }
    return "Lost";
}

void
report_log_length(struct job *j)
{
    struct error e = ERROR_INIT;
    uint64_t first;
    uint64_t length = 0;
    autofree char *dir = fs_join(j->dir, "log");
    if (segment_stat(dir, &first, &length, &e) < 0)
        length = 0;
    j->report.log_length = (int64_t)length;
}

static void
read_last_output(struct job *j)
{
    struct job_report *r = &j->report;
    if (j->shipper == NULL || r->log_length < 0)
        return;
    auto_str tail = STR_INIT(sizeof(r->last_output) - 1);
    shipper_tail(j->shipper, (uint64_t)r->log_length, 1024, &tail);
    snprintf(r->last_output, sizeof(r->last_output), "%s", tail.ptr);
}

void
report_result(struct job *j, const struct engine_result *er)
{
    struct job_report *r = &j->report;
    const char *state = state_of(j, er);
    if (r->end_seq != 0)
        return;
    say_end(j, er);
    bool exited = streq(state, "Exited");
    r->failed = exited ? er->exit_code != 0 || er->signal != 0 : er->started;
    if (r->failed)
        read_last_output(j);
    r->has_exit = exited;
    r->exit_code = er->exit_code;
    if (exited && er->exit_code < 0)
        r->exit_code = er->signal != 0 ? 128 + er->signal : 0;
    r->signal = exited ? er->signal : 0;
    r->oom = er->reason == ENGINE_OOM;
    snprintf(r->oom_cgroup, sizeof(r->oom_cgroup), "%s", er->oom_cgroup);
    r->memory_peak = er->memory_peak_bytes;
    r->started_ns = er->started ? er->started_ns : 0;
    r->finished_ns = er->finished_ns > 0 ? er->finished_ns : clock_wall_ns();
    const char *reason = engine_reason_name(er->reason);
    if (exited && !r->oom && j->shipper != NULL && shipper_over_quota(j->shipper)) {
        char text[160];
        snprintf(text, sizeof(text),
                 "more than %lld bytes of output within one hour (spec.logQuotaBytes)",
                 (long long)j->view.log_quota);
        report_end(j, state, "LogQuotaExceeded", text);
        return;
    }
    /* An agent that was dead meanwhile sees what its supervisor did, and why. */
    bool interrupted = j->silenced || (j->a->dead_man && j->view.interruptible &&
                                       r->failed && j->view.desired == JOB_RUN);
    bool own_fault = r->oom || er->reason == ENGINE_DISK_QUOTA;
    if (exited && !own_fault && interrupted) {
        report_end(
            j, state, "ServerSilent",
            "stopped by its machine, which could not reach the server for too long");
        return;
    }
    if (streq(state, "Cancelled") && j->view.stop_reason[0] != '\0')
        reason = j->view.stop_reason;
    char message[sizeof(er->message) + 120];
    snprintf(message, sizeof(message), "%s", er->message);
    bool failed = !exited || er->exit_code != 0;
    if (failed && r->lost_device[0] != '\0')
        snprintf(message, sizeof(message), "device %s was lost while the job ran%s%s",
                 r->lost_device, er->message[0] != '\0' ? "; " : "", er->message);
    report_end(j, state, reason, message);
}

void
report_log_end(struct job *j)
{
    report_log_length(j);
    if (j->report.failed)
        read_last_output(j);
    if (j->report.state != NULL) /* else: with the word that nothing is held */
        changed(j);
}

void
report_freed(struct job *j)
{
    struct job_report *r = &j->report;
    if (r->freed_seq != 0)
        return;
    r->released = true;
    r->freed_seq = r->seq + 1;
    changed(j);
}

void
report_first_view(struct job *j)
{
    struct job_report *r = &j->report;
    if (j->view.agent_terminal) {
        r->state = NULL;
        r->acked = r->seq;
        return;
    }
    report_send(j);
}

void
report_nothing_held(struct job *j)
{
    j->report.released = true;
    j->report.freed_seq = j->report.seq + 1;
}

bool
report_end_acked(const struct job *j)
{
    return j->report.end_seq != 0 && j->report.acked >= j->report.end_seq;
}

bool
report_freed_acked(const struct job *j)
{
    return j->report.freed_seq != 0 && j->report.acked >= j->report.freed_seq;
}
