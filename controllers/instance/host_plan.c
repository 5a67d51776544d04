/* SPDX-License-Identifier: Apache-2.0 */
/* The decisions of an installation, a repair and a removal. */
#include "controllers/instance/host_plan.h"

#include <stdarg.h>
#include <string.h>

#include "controllers/instance/host_bundle.h"

enum {
    REPORT_MS = 30000, /* an agent that was started reports by then */
    RETRY_MIN_MS = 5000,
    RETRY_MAX_MS = 60000,
    NEEDED_KIB = 40 * 1024 /* beside the program: its logs and journal */
};

static void say(struct host_words *w, bool value, const char *reason, const char *fmt,
                ...) PRINTF_LIKE(4, 5);

static void
say(struct host_words *w, bool value, const char *reason, const char *fmt, ...)
{
    va_list ap;

    w->value = value;
    snprintf(w->reason_buf, sizeof(w->reason_buf), "%s", reason);
    w->reason = w->reason_buf;
    va_start(ap, fmt);
    vsnprintf(w->message, sizeof(w->message), fmt, ap);
    va_end(ap);
}

/* --- time -------------------------------------------------------------------------- */

static int64_t
retry_at(const struct host_observed *o)
{
    int64_t delay = RETRY_MIN_MS;

    for (unsigned i = 1; i < o->seen.failures && delay < RETRY_MAX_MS; i++)
        delay *= 2;
    return o->seen.result.ended_ms + (delay < RETRY_MAX_MS ? delay : RETRY_MAX_MS);
}

/* Starts the step when the time of the back-off has come. */
static void
again(const struct host_observed *o, struct host_plan *p, enum host_step step)
{
    int64_t at = retry_at(o);

    if (o->now_ms >= at)
        p->start = step;
    else
        p->requeue_ms = at - o->now_ms;
}

/* --- removal ----------------------------------------------------------------------- */

static void
removal(const struct host_observed *o, struct host_plan *p)
{
    const struct host_result *r = &o->seen.result;

    if (o->forgotten) {
        p->drop_finalizer = true;
        return;
    }
    if (o->seen.running != HOST_STEP_NONE) {
        say(&p->removed, false, "Removing", "the agent is taken off the machine");
        return; /* its end wakes us */
    }
    if (o->jobs > 0) {
        say(&p->removed, false, "JobsRunning",
            "%zu job%s still run%s there; the agent is removed after them", o->jobs,
            o->jobs == 1 ? "" : "s", o->jobs == 1 ? "s" : "");
        return;
    }
    if (!o->pinned) {
        p->drop_finalizer = true; /* we never were there */
        return;
    }
    if (!o->seen.has_result || r->step != HOST_REMOVE) {
        p->start = HOST_REMOVE;
        say(&p->removed, false, "Removing", "the agent is taken off the machine");
        return;
    }
    if (r->ok) {
        p->drop_finalizer = true;
        return;
    }
    say(&p->removed, false, r->reason,
        "the agent is still on the machine: %s; to let go of it, `drover instance "
        "forget`",
        r->message);
    again(o, p, HOST_REMOVE);
}

/* --- installation ------------------------------------------------------------------ */

static void
failed(const struct host_observed *o, struct host_plan *p)
{
    const struct host_result *r = &o->seen.result;

    if (r->reached)
        say(&p->connected, true, "Connected", "the machine can be logged in to");
    say(r->reached ? &p->installed : &p->connected, false, r->reason, "%s", r->message);
    again(o, p, HOST_PROBE);
}

/* Another agent than ours is there and stays. */
static bool
taken(const struct host_observed *o, struct host_plan *p)
{
    const struct host_facts *f = &o->seen.result.facts;

    if (o->owner_lives) {
        say(&p->installed, false, "HostTaken",
            "the machine already runs the agent of the instance %s", o->owner_name);
        return true;
    }
    if (f->owner[0] == '\0' || f->owner_server[0] == '\0' ||
        streq(f->owner_server, o->server_id) || streq(f->owner_server, o->take_over))
        return false;
    say(&p->installed, false, "HostTaken",
        "the machine belongs to %.200s, another drover server; take it out of that fleet "
        "or, to take it over with whatever runs there, annotate this fleet with "
        "drover.dev/take-over=%s",
        f->owner_words, f->owner_server);
    return true;
}

/* Something about the machine, or about us, is in the way of a copy. */
static bool
obstructed(const struct host_observed *o, struct host_plan *p)
{
    const struct host_facts *f = &o->seen.result.facts;
    int minor = host_libc_minor(f->libc);
    int64_t needed = NEEDED_KIB + o->program_kib;

    if (o->blocked == NULL && streq(f->program_id, o->want_program))
        return false;
    if (o->blocked != NULL) {
        size_t n = strcspn(o->blocked, " ");
        char reason[HOST_REASON_MAX];
        snprintf(reason, sizeof(reason), "%.*s", (int)n, o->blocked);
        say(&p->installed, false, reason, "%s", o->blocked + n + 1);
    } else if (o->libc_minor > 0 && minor < 0) {
        say(&p->installed, false, "NoGlibc",
            "the agent needs glibc, the machine has another C library (%.100s)", f->libc);
    } else if (minor > 0 && minor < o->libc_minor) {
        say(&p->installed, false, "GlibcTooOld",
            "the agent needs glibc 2.%d or newer, the machine has 2.%d; give a "
            "drover-runner-%s that was built for it (see --agent-programs)",
            o->libc_minor, minor, f->arch);
    } else if (f->free_kib >= 0 && f->free_kib < needed) {
        say(&p->installed, false, "DiskFull",
            "the disk of the host is full: %lld MB are free below /var/lib, %lld are "
            "needed",
            (long long)f->free_kib / 1024, (long long)needed / 1024);
    } else {
        return false;
    }
    return true;
}

/* After a Probe: the next step, or the reason against it. */
static void
probed(const struct host_observed *o, struct host_plan *p)
{
    const struct host_facts *f = &o->seen.result.facts;
    bool other_boot =
        o->boot_known && f->boot_id[0] != '\0' && !streq(f->boot_id, o->boot_id);

    p->take_facts = true;
    p->rebooted = other_boot;
    say(&p->connected, true, "Connected", "the machine can be logged in to");
    if (taken(o, p) || obstructed(o, p)) {
        again(o, p, HOST_PROBE);
    } else if (!streq(f->program_id, o->want_program)) {
        p->start = HOST_COPY;
        p->takes_over = true;
        say(&p->installed, false, "Copying", "the agent's program is copied");
    } else if (!streq(f->settings_id, o->want_settings) || !f->active) {
        p->start = HOST_START;
        p->takes_over = true;
        say(&p->installed, false, "Starting", "%s",
            other_boot ? "the machine was rebooted; the agent is started again"
                       : "the agent is set up and started");
    } else if (o->now_ms >= o->seen.result.ended_ms + REPORT_MS) {
        p->start = HOST_DIAGNOSE;
    } else {
        say(&p->installed, false, "WaitingForAgent",
            "the agent runs on the machine%s; it has not reported yet",
            other_boot ? ", which was rebooted" : "");
        p->requeue_ms = o->seen.result.ended_ms + REPORT_MS - o->now_ms;
        p->mark_installed = true;
    }
}

static void
started(const struct host_observed *o, struct host_plan *p)
{
    int64_t until = o->seen.result.ended_ms + REPORT_MS;

    p->mark_installed = true;
    if (o->phase == INSTANCE_PHASE_READY)
        return; /* an upgrade under a live lease */
    if (o->now_ms >= until) {
        p->start = HOST_DIAGNOSE;
        return;
    }
    say(&p->installed, false, "WaitingForAgent",
        "the agent is started; it has not reported yet");
    p->requeue_ms = until - o->now_ms;
}

static void
diagnosed(const struct host_observed *o, struct host_plan *p)
{
    const char *last = o->seen.result.last;

    say(&p->installed, false, "AgentSilent",
        "the agent is installed but does not report; it says: %s",
        last[0] != '\0' ? last : "nothing");
    again(o, p, HOST_PROBE);
}

static void
installation(const struct host_observed *o, struct host_plan *p)
{
    const struct host_result *r = &o->seen.result;
    bool current = o->want_settings[0] != '\0' && streq(o->installed, o->want_settings);

    if (current && o->phase == INSTANCE_PHASE_READY) {
        p->well = true;
        say(&p->connected, true, "AgentReports", "the agent reports");
        say(&p->installed, true, "Installed", "the agent is installed");
        return;
    }
    if (o->seen.running != HOST_STEP_NONE) {
        if (o->seen.running == HOST_PROBE && !o->pinned)
            say(&p->installed, false, "Connecting", "the machine is being logged in to");
        return; /* its end wakes us */
    }
    if (!o->seen.has_result || r->step == HOST_REMOVE) {
        p->start = HOST_PROBE;
        if (!o->pinned)
            say(&p->installed, false, "Connecting", "the machine is being logged in to");
    } else if (!r->ok) {
        failed(o, p);
    } else if (r->step == HOST_PROBE) {
        probed(o, p);
    } else if (r->step == HOST_COPY) {
        p->start = HOST_START;
        say(&p->installed, false, "Starting", "the agent is set up and started");
    } else if (r->step == HOST_START) {
        started(o, p);
    } else {
        diagnosed(o, p);
    }
}

void
host_plan_make(const struct host_observed *o, struct host_plan *ret)
{
    *ret = (struct host_plan){.start = HOST_STEP_NONE};
    if (o->deleting)
        removal(o, ret);
    else
        installation(o, ret);
}
