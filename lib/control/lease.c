/* SPDX-License-Identifier: Apache-2.0 */
/* The election's state machine. */
#include "control/lease.h"

#include <string.h>

#include "base/clock.h"

bool
lease_held(const struct lease *l, int64_t now)
{
    return l->held && now < l->sent_ms + l->opts.give_up_ms;
}

static bool
mine(const struct lease *l)
{
    return streq(l->holder, l->opts.identity);
}

/* When the known holder has no right any more. */
static int64_t
holder_until(const struct lease *l)
{
    if (l->holder[0] == '\0' || mine(l))
        return 0;
    return l->seen_ms + l->holder_ms;
}

enum lease_do
lease_next(struct lease *l, int64_t now, int64_t *ret_wake_ms)
{
    if (l->held && !lease_held(l, now)) {
        l->held = false;
        l->known = false; /* somebody else may have it: look first */
    }
    *ret_wake_ms = l->not_before_ms;
    if (now < l->not_before_ms)
        return LEASE_WAIT;
    if (!l->known)
        return LEASE_GET;
    if (l->absent)
        return LEASE_CREATE;
    if (l->held) {
        *ret_wake_ms = l->sent_ms + l->opts.renew_ms;
        return now < *ret_wake_ms ? LEASE_WAIT : LEASE_UPDATE;
    }
    if (now >= holder_until(l))
        return LEASE_UPDATE;
    if (l->opts.holder_gone != NULL && l->opts.holder_gone(l->holder))
        return LEASE_UPDATE;
    /* Then an update with the revision known now: when the holder has renewed since, it
     * is a conflict, and a look follows. */
    *ret_wake_ms = holder_until(l);
    return LEASE_WAIT;
}

/* A renewal keeps when the lease was acquired; everything else acquires it now. */
static json_t *
body(const struct lease *l, const char *holder, int64_t seconds, int64_t wall_ns)
{
    char now[CLOCK_RFC3339_US_LEN], revision[24];
    bool same = streq(holder, l->holder) || holder[0] == '\0';
    int64_t transitions = l->transitions + (same ? 0 : 1);

    clock_format_us(wall_ns, now);
    snprintf(revision, sizeof(revision), "%llu", (unsigned long long)l->revision);
    json_t *meta = json_pack("{s:s, s:s}", "name", l->opts.name, "namespace", l->opts.ns);
    if (!l->absent)
        json_object_set_new(meta, "resourceVersion", json_string(revision));
    return json_pack("{s:s, s:s, s:o, s:{s:s, s:I, s:s, s:s, s:I}}", "apiVersion",
                     "coordination.k8s.io/v1", "kind", "Lease", "metadata", meta, "spec",
                     "holderIdentity", holder, "leaseDurationSeconds",
                     (json_int_t)seconds, "renewTime", now, "acquireTime",
                     same && l->acquired[0] != '\0' ? l->acquired : now,
                     "leaseTransitions", (json_int_t)transitions);
}

json_t *
lease_body(struct lease *l, int64_t now, int64_t wall_ns)
{
    l->pending_ms = now;
    return body(l, l->opts.identity, l->opts.duration_ms / 1000, wall_ns);
}

json_t *
lease_release_body(const struct lease *l, int64_t wall_ns)
{
    return body(l, "", 1, wall_ns);
}

static void
take(struct lease *l, const struct object *o, int64_t now)
{
    if (!l->known || l->absent || l->revision != o->revision)
        l->seen_ms = now;
    l->known = true;
    l->absent = false;
    l->revision = o->revision;
    object_get_string(o, "spec.holderIdentity", l->holder, sizeof(l->holder));
    object_get_string(o, "spec.acquireTime", l->acquired, sizeof(l->acquired));
    l->holder_ms =
        object_get_int(o, "spec.leaseDurationSeconds", l->opts.duration_ms / 1000) * 1000;
    l->transitions = object_get_int(o, "spec.leaseTransitions", 0);
}

void
lease_got(struct lease *l, const struct object *o, int64_t now)
{
    l->not_before_ms = now;
    if (o != NULL) {
        take(l, o, now);
        return;
    }
    l->known = true;
    l->absent = true;
    l->revision = 0;
    l->holder[0] = '\0';
    l->acquired[0] = '\0';
}

void
lease_wrote(struct lease *l, const struct object *o, int64_t now)
{
    take(l, o, now);
    l->held = mine(l);
    l->sent_ms = l->pending_ms;
    l->not_before_ms = now;
}

void
lease_failed(struct lease *l, const struct error *e, int64_t now)
{
    bool changed = e->code == ERR_CONFLICT || e->code == ERR_EXISTS ||
                   (e->code == ERR_NOT_FOUND && l->known && !l->absent);

    if (changed)
        l->known = false; /* somebody else wrote: look */
    l->not_before_ms = now + (changed ? 50 : l->opts.retry_ms);
    if (!changed && e->retry_after_ms > l->opts.retry_ms && !l->held)
        l->not_before_ms = now + e->retry_after_ms;
}
