/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The heartbeat: a Lease renewed every 10 s, and the dead-man switch. When L has passed
 * since the last renewal that was acknowledged, counted from when it was *sent* and by a
 * clock that also runs while the machine sleeps, the control plane may replace jobs that
 * allow it; so they are stopped here.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "api/values.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "client/client.h"
#include "runner/agent.h"
#include "runner/supervisor/renewed.h"

LOG_MODULE(lease);

#define RENEW_MS 10000
#define LEASE_SECONDS 40
#define CALL_TIMEOUT_MS 8000
#define RETRY_MIN_MS 500
#define RETRY_MAX_MS 5000

struct lease {
    struct agent *a;
    struct loop_timer *timer, *dead_man;
    struct server_call *call, *fleet_call;
    struct backoff backoff;
    char revision[24]; /* "": not known, make or read it */
    int64_t sent_boot_ms, acked_boot_ms, lost_after_ms;
};

static void renew(struct lease *l);

static json_t *
lease_json(const struct lease *l)
{
    const struct identity *id = &l->a->identity;
    char now[CLOCK_RFC3339_US_LEN];
    clock_format_us(clock_wall_ns(), now);
    json_t *o = json_pack(
        "{s:s, s:s, s:{s:s, s:s, s:{s:s}, s:[{s:s, s:s, s:s, s:s}]}, s:{s:s, s:i, s:s}}",
        "apiVersion", "coordination.k8s.io/v1", "kind", "Lease", "metadata", "name",
        id->name, "namespace", id->ns, "labels", LABEL_INSTANCE, id->uid,
        "ownerReferences", "apiVersion", "drover.dev/v1", "kind", "Instance", "name",
        id->name, "uid", id->uid, "spec", "holderIdentity", journal_id(l->a->journal),
        "leaseDurationSeconds", LEASE_SECONDS, "renewTime", now);
    if (l->revision[0] != '\0')
        json_object_set_new(json_object_get(o, "metadata"), "resourceVersion",
                            json_string(l->revision));
    return o;
}

static void
note_revision(struct lease *l, const json_t *doc)
{
    const char *rv = json_string_value(
        json_object_get(json_object_get(doc, "metadata"), "resourceVersion"));
    snprintf(l->revision, sizeof(l->revision), "%s", rv != NULL ? rv : "");
}

/* --- dead man ------------------------------------------------------------------------
 */

static void
check_dead_man(struct lease *l)
{
    int64_t left = l->acked_boot_ms + l->lost_after_ms - clock_boot_ms();
    if (left > 0) {
        loop_timer_in(l->dead_man, left);
        return;
    }
    l->a->healed = false;
    if (l->a->dead_man)
        return;
    log_err("the server is silent: interruptible jobs are stopped", "since_ms=%" PRId64,
            clock_boot_ms() - l->acked_boot_ms);
    l->a->dead_man = true;
    agent_step_all(l->a);
}

static void
on_dead_man(void *arg)
{
    check_dead_man(arg);
}

/*
 * The time of the last renewal outlives the agent: an agent that counted anew after its
 * restart would let a job live on that the control plane has replaced. The supervisors of
 * the process engine read it too, for the time when there is no agent.
 */
static void
remember(const struct lease *l)
{
    autofree char *path = fs_join(l->a->opts->dir, RENEWED_FILE);
    struct renewed r = {.sent_boot_ms = l->acked_boot_ms > 0 ? l->acked_boot_ms : 0,
                        .lost_after_ms = l->lost_after_ms};
    struct error e = ERROR_INIT;

    if (renewed_write(path, l->a->boot_id, &r, &e) != 0)
        log_warn_rl("time of renewal not kept", "error=\"%s\"", e.msg);
}

/* When nothing is known and there are jobs, the time is over. */
static void
recall(struct lease *l)
{
    autofree char *path = fs_join(l->a->opts->dir, RENEWED_FILE);
    struct error e = ERROR_INIT;
    int64_t now = clock_boot_ms();
    struct renewed r;

    l->acked_boot_ms = now;
    if (journal_len(l->a->journal) == 0)
        return;
    l->acked_boot_ms = now - l->lost_after_ms;
    if (renewed_read(path, l->a->boot_id, &r, &e) != 0)
        return;
    l->acked_boot_ms = r.sent_boot_ms < now ? r.sent_boot_ms : now;
    l->lost_after_ms = r.lost_after_ms;
}

static void
acknowledged(struct lease *l)
{
    l->acked_boot_ms = l->sent_boot_ms;
    remember(l);
    l->backoff.failures = 0;
    /* While the server was silent a job that we claimed may have been replaced. Only a
     * list that began after the silence can say what may still start here. */
    if (l->a->dead_man && !l->a->healed) {
        l->a->healed = true;
        watch_relist(l->a->watch);
    }
    check_dead_man(l);
}

/* --- renewal -------------------------------------------------------------------------
 */

static void
again_soon(struct lease *l)
{
    loop_timer_in(l->timer, backoff_next_ms(&l->backoff, RETRY_MIN_MS, RETRY_MAX_MS));
}

static void
on_read(void *arg, const struct server_reply *r)
{
    struct lease *l = arg;
    if (server_ok(r)) {
        note_revision(l, r->doc);
        renew(l);
    } else if (r->error.code == ERR_NOT_FOUND) {
        l->revision[0] = '\0';
        again_soon(l);
    } else {
        log_warn_rl("lease not read", "error=\"%s\"", r->error.msg);
        again_soon(l);
    }
}

static void
read_lease(struct lease *l)
{
    auto_str path = STR_INIT(2048);
    server_path(&path, &resource_leases, l->a->identity.ns, l->a->identity.name, NULL);
    struct server_request r = {.method = "GET",
                               .path = path.ptr,
                               .urgent = true,
                               .timeout_ms = CALL_TIMEOUT_MS,
                               .on_reply = on_read,
                               .arg = l};
    server_call(l->a->server, &l->call, &r);
}

static void
on_renewed(void *arg, const struct server_reply *r)
{
    struct lease *l = arg;
    check_dead_man(l);
    if (server_ok(r)) {
        note_revision(l, r->doc);
        acknowledged(l);
        loop_timer_in(l->timer, RENEW_MS);
        return;
    }
    if (r->error.code == ERR_EXISTS || r->error.code == ERR_CONFLICT) {
        read_lease(l);
        return;
    }
    log_warn_rl("lease not renewed", "error=\"%s\"", r->error.msg);
    if (r->error.code == ERR_NOT_FOUND)
        l->revision[0] = '\0';
    again_soon(l);
}

static void
renew(struct lease *l)
{
    bool make = l->revision[0] == '\0';
    auto_str path = STR_INIT(2048);
    if (l->call != NULL)
        return;
    json_t *body = lease_json(l);
    server_path(&path, &resource_leases, l->a->identity.ns,
                make ? NULL : l->a->identity.name, NULL);
    struct server_request r = {.method = make ? "POST" : "PUT",
                               .path = path.ptr,
                               .body = body,
                               .urgent = true,
                               .timeout_ms = CALL_TIMEOUT_MS,
                               .on_reply = on_renewed,
                               .arg = l};
    l->sent_boot_ms = clock_boot_ms();
    server_call(l->a->server, &l->call, &r);
    json_decref(body);
}

static void
on_timer(void *arg)
{
    struct lease *l = arg;
    check_dead_man(l);
    renew(l);
}

/* --- L of the fleet ------------------------------------------------------------------
 */

static void
on_fleet(void *arg, const struct server_reply *r)
{
    struct lease *l = arg;
    struct error e = ERROR_INIT;
    int64_t seconds;
    const json_t *v = json_object_get(json_object_get(r->doc, "spec"), "lostAfter");
    if (server_ok(r) && v != NULL && value_duration(v, false, &seconds, &e) == 0 &&
        seconds > 0) {
        l->lost_after_ms = seconds * 1000;
        remember(l);
        check_dead_man(l);
    }
}

static void
on_instance(void *arg, const struct server_reply *r)
{
    struct lease *l = arg;
    auto_str path = STR_INIT(2048);
    const char *fleet =
        json_string_value(json_object_get(json_object_get(r->doc, "spec"), "fleetName"));
    if (!server_ok(r) || fleet == NULL)
        return; /* the default stays */
    server_path(&path, &resource_fleets, l->a->identity.ns, fleet, NULL);
    struct server_request req = {
        .method = "GET", .path = path.ptr, .on_reply = on_fleet, .arg = l};
    server_call(l->a->server, &l->fleet_call, &req);
}

static void
ask_fleet(struct lease *l)
{
    auto_str path = STR_INIT(2048);
    server_path(&path, &resource_instances, l->a->identity.ns, l->a->identity.name, NULL);
    struct server_request req = {
        .method = "GET", .path = path.ptr, .on_reply = on_instance, .arg = l};
    server_call(l->a->server, &l->fleet_call, &req);
}

struct lease *
lease_start(struct agent *a)
{
    struct lease *l = xnew(struct lease);
    l->a = a;
    l->lost_after_ms = RENEWED_LOST_AFTER_MS;
    recall(l);
    remember(l);
    l->timer = loop_timer_new(a->loop, "lease renewal", on_timer, l);
    l->dead_man = loop_timer_new(a->loop, "dead man", on_dead_man, l);
    renew(l);
    ask_fleet(l);
    check_dead_man(l);
    return l;
}

void
lease_free(struct lease *l)
{
    if (l == NULL)
        return;
    server_call_cancel(&l->call);
    server_call_cancel(&l->fleet_call);
    loop_timer_free(l->timer);
    loop_timer_free(l->dead_man);
    free(l);
}
