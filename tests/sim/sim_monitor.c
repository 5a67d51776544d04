/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A watcher of the whole store that keeps its own copy of everything and judges each
 * change against the state before it. The copy outlives the server: after a crash, what
 * is in the store must be what was visible before, but for one write that was under way.
 */
#include "api/jtok.h"
#include "base/mem.h"
#include "sim/sim.h"

/* --- the copy -----------------------------------------------------------------------
 */

static char *
shadow_key(const char *resource, const char *ns, const char *name)
{
    return xasprintf("%s/%s/%s", resource, ns, name);
}

struct object *
sim_shadow(const struct sim *s, const char *resource, const char *name)
{
    autofree char *key = shadow_key(resource, SIM_NS, name);
    struct object *o = map_get(s->shadow, key);

    return o == NULL ? NULL : object_ref(o);
}

struct object *
sim_pick(struct sim *s, const char *resource)
{
    struct map_cursor c = map_begin(s->shadow);
    vec(struct object *) found = {0};
    size_t n = strlen(resource);
    struct object *ret = NULL;
    const char *key;
    void *value;

    while (map_next(&c, &key, &value))
        if (strncmp(key, resource, n) == 0 && key[n] == '/')
            vec_push(&found, value);
    if (found.len > 0)
        ret = object_ref(found.items[sim_below(s, (uint32_t)found.len)]);
    vec_done(&found);
    return ret;
}

/* --- rules of one change ------------------------------------------------------------
 */

static struct span
raw_of(const struct object *o, const char *path)
{
    struct span raw = {NULL, 0};

    if (!object_path(o, path, &raw))
        raw = (struct span){NULL, 0};
    return raw;
}

static bool
same(const struct object *a, const struct object *b, const char *path)
{
    struct span x = raw_of(a, path), y = raw_of(b, path);

    return x.len == y.len && (x.len == 0 || memcmp(x.ptr, y.ptr, x.len) == 0);
}

static bool
is_final(const struct object *o)
{
    struct span raw = raw_of(o, "status.phase");

    return raw.len > 0 && (jscan_is(raw, "Done") || jscan_is(raw, "Failed") ||
                           jscan_is(raw, "Terminated"));
}

static void
rule_generation(struct sim *s, const struct object *old, const struct object *now)
{
    int64_t before = old->facts.generation, after = now->facts.generation;
    bool moved = !same(old, now, "spec");
    bool deleted = old->facts.deleting_s == 0 && now->facts.deleting_s != 0;

    if (after < before || (moved && after <= before) ||
        (!moved && !deleted && after != before))
        sim_violate(s, "generation_follows_spec", "%s: %lld -> %lld", now->name,
                    (long long)before, (long long)after);
}

static void
rule_observed(struct sim *s, const struct object *old, const struct object *now)
{
    int64_t before = object_get_int(old, "status.observedGeneration", 0);
    int64_t after = object_get_int(now, "status.observedGeneration", 0);

    if (after < before || after > now->facts.generation)
        sim_violate(s, "observed_generation_is_sane",
                    "%s: observed %lld -> %lld, generation %lld", now->name,
                    (long long)before, (long long)after,
                    (long long)now->facts.generation);
}

static void
rule_deletion_sticks(struct sim *s, const struct object *old, const struct object *now)
{
    if (!streq(old->uid, now->uid))
        sim_violate(s, "uid_is_for_life", "%s: %s -> %s", now->name, old->uid, now->uid);
    if (old->facts.deleting_s != 0 && now->facts.deleting_s == 0)
        sim_violate(s, "deletion_sticks", "%s", now->name);
}

static void
rule_final_phase(struct sim *s, const struct object *old, const struct object *now)
{
    if (is_final(old) &&
        (!same(old, now, "status.phase") || !same(old, now, "status.reason")))
        sim_violate(s, "final_phase_stays", "%s: " SPAN_FMT " -> " SPAN_FMT, now->name,
                    SPAN_ARG(raw_of(old, "status.phase")),
                    SPAN_ARG(raw_of(now, "status.phase")));
}

static void
rule_binding(struct sim *s, const struct object *old, const struct object *now)
{
    static const char *const frozen[] = {"spec.instanceUID", "spec.instanceName",
                                         "spec.engine", "spec.reservation",
                                         "spec.boundAt"};

    if (raw_of(old, "spec.instanceUID").len <= 2)
        return;
    for (size_t i = 0; i < ARRAY_LEN(frozen); i++)
        if (!same(old, now, frozen[i]))
            sim_violate(s, "binding_never_changes", "%s: %s", now->name, frozen[i]);
}

static void
rule_agent(struct sim *s, const struct object *old, const struct object *now)
{
    static const char *const over[] = {"Exited", "Failed", "Rejected", "Lost",
                                       "Cancelled"};
    struct span state = raw_of(old, "status.agent.state");

    if (raw_of(old, "status.agent.claim").len > 2 &&
        !same(old, now, "status.agent.claim"))
        sim_violate(s, "claim_never_changes", "%s", now->name);
    for (size_t i = 0; state.len > 0 && i < ARRAY_LEN(over); i++)
        if (jscan_is(state, over[i]) && (!same(old, now, "status.agent.state") ||
                                         !same(old, now, "status.agent.exitCode")))
            sim_violate(s, "agents_end_stays", "%s: " SPAN_FMT " -> " SPAN_FMT, now->name,
                        SPAN_ARG(state), SPAN_ARG(raw_of(now, "status.agent.state")));
    if (jscan_is(raw_of(old, "status.agent.released"), "true") &&
        !same(old, now, "status.agent.released"))
        sim_violate(s, "released_stays", "%s", now->name);
}

static void
judge_change(struct sim *s, const char *resource, const struct object *old,
             const struct object *now)
{
    bool job = streq(resource, RES_JOBS), run = streq(resource, RES_RUNS);

    rule_deletion_sticks(s, old, now);
    if (!job && !run && !streq(resource, RES_INSTANCES))
        return;
    rule_generation(s, old, now);
    rule_observed(s, old, now);
    if (job || run)
        rule_final_phase(s, old, now);
    if (job) {
        rule_binding(s, old, now);
        rule_agent(s, old, now);
    }
}

static void
judge_end(struct sim *s, const char *resource, const struct object *last)
{
    /* The write under way when the server died may have taken them off. */
    bool unseen = s->in_doubt && last->facts.deleting_s != 0;

    if (last->facts.n_finalizers > 0 && !unseen)
        sim_violate(s, "finalizers_are_honoured", "%s %s vanished with a finalizer",
                    resource, last->name);
    if (streq(resource, RES_JOBS))
        sim_check_job_gone(s, last);
    else if (streq(resource, RES_RUNS))
        sim_check_run_gone(s, last);
}

/* --- following ----------------------------------------------------------------------
 */

static void
count(struct sim *s, const char *resource, const struct object *old,
      const struct object *now)
{
    s->jobs_changed |= streq(resource, RES_JOBS) || streq(resource, RES_INSTANCES);
    if (streq(resource, RES_JOBS) && old != NULL) {
        bool binds = raw_of(old, "spec.instanceUID").len <= 2 &&
                     raw_of(now, "spec.instanceUID").len > 2;
        s->n_binds += binds;
        if (binds)
            sim_check_bound(s, now);
        s->n_preempted += !is_final(old) && is_final(now) &&
                          jscan_is(raw_of(now, "status.reason"), "Preempted");
        s->n_done += !is_final(old) && is_final(now);
        s->n_agent_lost +=
            !is_final(old) && jscan_is(raw_of(now, "status.reason"), "AgentLost");
    }
    if (s->opts.verbose && !streq(resource, RES_LEASES))
        sim_log(
            s, "store: %llu %s %s phase " SPAN_FMT " reason " SPAN_FMT " agent " SPAN_FMT,
            (unsigned long long)now->revision, resource, now->name,
            SPAN_ARG(raw_of(now, "status.phase")), SPAN_ARG(raw_of(now, "status.reason")),
            SPAN_ARG(raw_of(now, "status.agent.state")));
}

static void
put(struct sim *s, const char *resource, struct object *now)
{
    autofree char *key = shadow_key(resource, now->ns, now->name);
    auto_object *old = map_get(s->shadow, key);

    if (old != NULL)
        object_ref(old);
    count(s, resource, old, now);
    if (old != NULL) {
        judge_change(s, resource, old, now);
    } else if (map_get(s->gone, now->uid) != NULL) {
        sim_violate(s, "uid_is_never_reused", "%s %s", resource, now->name);
    } else if (streq(resource, RES_JOBS)) {
        sim_check_new_job(s, now);
    }
    map_put(s->shadow, key, object_ref(now));
}

static void
drop(struct sim *s, const char *resource, const struct object *last)
{
    autofree char *key = shadow_key(resource, last->ns, last->name);

    judge_end(s, resource, last);
    map_del(s->shadow, key);
    map_put(s->gone, last->uid, s);
    s->jobs_changed = true;
    if (s->opts.verbose)
        sim_log(s, "store: %llu %s %s is gone", (unsigned long long)last->revision,
                resource, last->name);
}

static void
on_event(struct sim *s, const struct store_event *ev)
{
    autofree char *key = shadow_key(ev->resource, ev->obj->ns, ev->obj->name);
    const struct object *have = map_get(s->shadow, key);

    if (ev->revision < s->last_revision)
        sim_violate(s, "revisions_rise", "%s %s: %llu after %llu", ev->resource,
                    ev->obj->name, (unsigned long long)ev->revision,
                    (unsigned long long)s->last_revision);
    s->last_revision = ev->revision;
    s->n_events++;
    if (streq(ev->resource, "events"))
        return;
    if ((have == NULL) != (ev->type == STORE_ADDED) ||
        (have != NULL && have->revision != ev->prev->revision))
        sim_violate(s, "watch_tells_all", "%s: event %d at %llu, known is %llu", key,
                    ev->type, (unsigned long long)ev->revision,
                    have == NULL ? 0ULL : (unsigned long long)have->revision);
    auto_object *o = object_with_revision(ev->obj, ev->revision);
    if (ev->type == STORE_DELETED)
        drop(s, ev->resource, o);
    else
        put(s, ev->resource, o);
}

void
sim_monitor_drain(struct sim *s)
{
    struct store_event ev;
    struct error e = ERROR_INIT;
    int rc;

    if (s->monitor == NULL)
        return;
    while ((rc = store_watch_next(s->monitor, &ev, &e)) > 0)
        on_event(s, &ev);
    if (rc < 0)
        sim_violate(s, "monitor_keeps_up", "%s", e.msg);
}

static const char *
resource_of(const struct object *o)
{
    char kind[32];

    object_get_string(o, "kind", kind, sizeof(kind));
    if (streq(kind, "Run"))
        return RES_RUNS;
    if (streq(kind, "Job"))
        return RES_JOBS;
    return streq(kind, "Instance") ? RES_INSTANCES : NULL;
}

/* Acknowledged is durable is visible. */
void
sim_monitor_ack(struct sim *s, const char *method, const struct object *o)
{
    const char *resource = resource_of(o);

    if (resource == NULL)
        return;
    sim_monitor_drain(s);
    autofree char *key = shadow_key(resource, o->ns, o->name);
    const struct object *have = map_get(s->shadow, key);
    bool there = have != NULL && streq(have->uid, o->uid);
    if (!there && map_get(s->gone, o->uid) != NULL)
        return;
    if (!there || have->revision < o->revision)
        sim_violate(s, "acknowledged_is_visible", "%s of %s at %llu, visible is %llu",
                    method, o->name, (unsigned long long)o->revision,
                    have == NULL ? 0ULL : (unsigned long long)have->revision);
}

/* --- after a start ------------------------------------------------------------------
 */

struct compare {
    struct sim *s;
    struct map *seen;
    uint64_t new_revision; /* of the one write that may have got through */
};

static bool
is_lazy(const char *resource)
{
    return streq(resource, "events") || streq(resource, RES_LEASES);
}

static void
compare_object(struct compare *c, const char *resource, struct object *o)
{
    struct sim *s = c->s;
    autofree char *key = shadow_key(resource, o->ns, o->name);
    const struct object *have = map_get(s->shadow, key);

    map_put(c->seen, key, o);
    if (have != NULL && have->revision == o->revision) {
        if (have->len != o->len || memcmp(have->bytes, o->bytes, o->len) != 0)
            sim_violate(s, "acknowledged_is_durable", "%s has other bytes", key);
        return;
    }
    if (is_lazy(resource)) {
        map_put(s->shadow, key, object_ref(o));
        return;
    }
    if (c->new_revision == 0)
        c->new_revision = o->revision;
    if (!s->in_doubt || o->revision <= s->last_revision || o->revision != c->new_revision)
        sim_violate(s, "acknowledged_is_durable",
                    "%s: stored at %llu, known at %llu, last visible %llu", key,
                    (unsigned long long)o->revision,
                    have == NULL ? 0ULL : (unsigned long long)have->revision,
                    (unsigned long long)s->last_revision);
    put(s, resource, o);
}

static void
compare_resource(void *arg, const char *resource)
{
    struct compare *c = arg;
    struct store_list *l = store_list(c->s->store, resource, NULL, NULL);
    struct object *o;

    while (!streq(resource, "events") && (o = store_list_next(l)) != NULL)
        compare_object(c, resource, o);
    store_list_free(l);
}

static void
drop_missing(struct compare *c)
{
    struct sim *s = c->s;
    struct map_cursor cursor = map_begin(s->shadow);
    const char *key;
    void *value;

    while (map_next(&cursor, &key, &value)) {
        auto_object *o = object_ref(value);
        autofree char *resource = xstrndup(key, strcspn(key, "/"));
        if (map_get(c->seen, key) != NULL)
            continue;
        if (!s->in_doubt && !is_lazy(resource))
            sim_violate(s, "acknowledged_is_durable", "%s is not there any more", key);
        drop(s, resource, o);
    }
}

/* It is drained after each step anyway. */
static void
on_wake(void *arg)
{
    UNUSED(arg);
}

void
sim_monitor_attach(struct sim *s)
{
    struct compare c = {.s = s, .seen = map_new(NULL)};
    struct store_watch_opts o = {.from = store_revision(s->store), .wake = on_wake};
    struct error e = ERROR_INIT;
    bool first = map_len(s->shadow) == 0;

    if (first)
        s->in_doubt = true;
    store_resources(s->store, compare_resource, &c);
    drop_missing(&c);
    s->in_doubt = false;
    map_free(c.seen);
    if (store_revision(s->store) > s->last_revision)
        s->last_revision = store_revision(s->store);
    if (store_watch(s->store, &o, &s->monitor, &e) < 0)
        sim_violate(s, "monitor_attaches", "%s", e.msg);
}
