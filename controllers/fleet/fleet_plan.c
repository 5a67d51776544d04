/* SPDX-License-Identifier: Apache-2.0 */
/* Counting, and the difference between hosts and Instances. */
#include "controllers/fleet/fleet_plan.h"

#include <stdarg.h>

#include "base/str.h"

/* --- differences of a host --------------------------------------------------------- */

/* What makes `to` of `from` as a merge patch; NULL when they are the same. */
static json_t *
merge_patch(const json_t *from, const json_t *to)
{
    json_t *out, *value;
    const char *key;

    if (!json_is_object(from) || !json_is_object(to))
        return json_equal(from, to) ? NULL : json_deep_copy(to);
    out = json_object();
    json_object_foreach ((json_t *)(uintptr_t)to, key, value) {
        json_t *old = json_object_get(from, key);
        json_t *change = old == NULL ? json_deep_copy(value) : merge_patch(old, value);
        if (change != NULL)
            json_object_set_new(out, key, change);
    }
    json_object_foreach ((json_t *)(uintptr_t)from, key, value) {
        if (json_object_get(to, key) == NULL)
            json_object_set_new(out, key, json_null());
    }
    if (json_object_size(out) > 0)
        return out;
    json_decref(out);
    return NULL;
}

json_t *
fleet_host_patch(const json_t *spec, const struct fleet_host *to)
{
    static const char *const ours[] = {"ssh", "blocks", "internalIP"};
    json_t *now = json_object();

    for (size_t i = 0; i < ARRAY_LEN(ours); i++) {
        json_t *value = json_object_get(spec, ours[i]);
        if (value != NULL)
            json_object_set(now, ours[i], value);
    }
    json_t *patch = merge_patch(now, to->spec);
    json_decref(now);
    return patch;
}

/* --- plan -------------------------------------------------------------------------- */

static const struct fleet_member *
member_named(const struct fleet_observed *o, const char *name)
{
    for (size_t i = 0; i < o->n; i++)
        if (streq(o->members[i].name, name))
            return &o->members[i];
    return NULL;
}

static bool
wanted(const struct fleet_observed *o, const char *name)
{
    vec_foreach (h, &o->hosts->list)
        if (streq(h->name, name))
            return true;
    return false;
}

static void
act(struct fleet_plan *p, enum fleet_do what, const struct fleet_host *h,
    const struct fleet_member *m)
{
    struct fleet_action a = {what, h, m};

    vec_push(&p->actions, a);
}

static void
add_hosts(const struct fleet_observed *o, struct fleet_plan *p)
{
    vec_foreach (h, &o->hosts->list) {
        const struct fleet_member *m = member_named(o, h->name);
        json_t *patch;
        if (m == NULL) {
            act(p, FLEET_CREATE, h, NULL);
            continue;
        }
        if (!m->is_host || m->foreign || m->deleting)
            continue; /* until it is gone */
        patch = fleet_host_patch(m->spec, h);
        if (patch != NULL)
            act(p, FLEET_UPDATE, h, m);
        json_decref(patch);
    }
}

static void
remove_hosts(const struct fleet_observed *o, struct fleet_plan *p, bool all)
{
    for (size_t i = 0; i < o->n; i++) {
        const struct fleet_member *m = &o->members[i];
        if (m->is_host && !m->foreign && !m->deleting && (all || !wanted(o, m->name)))
            act(p, FLEET_DELETE, NULL, m);
    }
}

/* The first few members that are not ready, in words. */
static void
tell(const struct fleet_observed *o, struct fleet_plan *p)
{
    auto_str text = STR_INIT(sizeof(p->message) - 1);
    size_t n_hosts = 0, ready = 0;

    for (size_t i = 0; i < o->n; i++) {
        const struct fleet_member *m = &o->members[i];
        if (m->foreign && wanted(o, m->name))
            str_addf(&text, "%s%s: NameTaken: an Instance of that name is there already",
                     text.len > 0 ? "; " : "", m->name);
        if (!m->is_host || m->foreign)
            continue;
        n_hosts++;
        ready += m->ready && !m->deleting;
        if (m->ready && !m->deleting)
            continue;
        str_addf(&text, "%s%s: %s%s%.120s", text.len > 0 ? "; " : "", m->name,
                 m->reason[0] != '\0' ? m->reason : "Pending",
                 m->message[0] != '\0' ? ": " : "", m->message);
    }
    snprintf(p->message, sizeof(p->message), "%s", text.ptr);
    if (!o->hosts->is_ssh && n_hosts == 0)
        return;
    p->all_ready = ready == o->hosts->list.len && n_hosts == ready;
    p->reason = p->all_ready ? "HostsReady" : "HostsNotReady";
    if (o->invalid != NULL) {
        p->all_ready = false;
        p->reason = "InvalidSpec";
        snprintf(p->message, sizeof(p->message), "%s", o->invalid);
    }
}

void
fleet_plan_make(const struct fleet_observed *o, struct fleet_plan *ret)
{
    bool any_host = false;

    *ret = (struct fleet_plan){.phase = o->deleting ? "Terminating" : "Active"};
    for (size_t i = 0; i < o->n; i++) {
        if (o->members[i].foreign)
            continue;
        ret->instances++;
        any_host |= o->members[i].is_host;
        if (o->members[i].ready && !o->members[i].deleting)
            ret->ready++;
    }
    tell(o, ret);
    if (o->deleting) {
        remove_hosts(o, ret, true);
        ret->drop_finalizer = o->has_finalizer && !any_host;
        return;
    }
    if (o->hosts->is_ssh && !o->has_finalizer) {
        ret->add_finalizer = true;
        return;
    }
    if (!o->hosts->is_ssh && !any_host) {
        ret->drop_finalizer = o->has_finalizer;
        return;
    }
    if (o->invalid != NULL)
        return; /* a host that cannot be read is not one that was removed */
    add_hosts(o, ret);
    remove_hosts(o, ret, false);
}

void
fleet_plan_done(struct fleet_plan *p)
{
    vec_done(&p->actions);
}
