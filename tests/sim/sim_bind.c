/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Order of the queue. The queue as the scheduler's cache has it is noted after each step
 * that made decisions; the time of a step is its own (the clock moves with each), so a
 * bind, which carries it as boundAt, names its batch. When a bind passes, no job of
 * strictly higher priority of that queue may be left undecided that needs no more than
 * this bind takes, and for no longer: it would have fitted in its place. Gangs are placed
 * otherwise.
 */
#include "api/jtok.h"
#include "api/resources.h"
#include "base/clock.h"
#include "base/mem.h"
#include "sim/sim.h"

enum { SNAPSHOTS = 64 };

struct waiting {
    char uid[SIM_UID], name[128];
    int64_t priority;
    bool image;
    int64_t longest_s; /* INT64_MAX: no limit */
    struct reservation need;
    int64_t gpus;
};

struct snapshot {
    char at[CLOCK_RFC3339_US_LEN];
    vec(struct waiting) list;
};

struct sim_queue {
    struct snapshot snapshots[SNAPSHOTS];
    size_t next;
    struct map *decided; /* job uid -> any */
};

struct sim_queue *
sim_queue_new(void)
{
    struct sim_queue *q = xnew(struct sim_queue);

    q->decided = map_new(NULL);
    return q;
}

void
sim_queue_free(struct sim_queue *q)
{
    if (q == NULL)
        return;
    for (size_t i = 0; i < SNAPSHOTS; i++)
        vec_done(&q->snapshots[i].list);
    map_free(q->decided);
    free(q);
}

static bool
has_text(const struct object *o, const char *path)
{
    struct span raw;

    return object_path(o, path, &raw) && raw.len > 2;
}

static bool
read_waiting(const struct object *o, struct waiting *ret)
{
    struct violations v = {0};
    struct resource_req req;
    struct error e = ERROR_INIT;
    struct span raw;
    json_t *tree = NULL;

    if (object_get_int(o, "spec.nodes", 1) > 1 || has_text(o, "spec.instanceUID") ||
        o->facts.deleting_s != 0 || has_text(o, "status.agent.state") ||
        !object_path(o, "spec.desiredState", &raw) || !jscan_is(raw, "Running"))
        return false;
    if (object_path(o, "spec.resources", &raw))
        tree = json_loadb(raw.ptr, raw.len, 0, NULL);
    int rc = resources_parse(tree, "", &req, &v, &e);
    json_decref(tree);
    violations_done(&v);
    *ret = (struct waiting){.priority = object_get_int(o, "spec.priority", 0),
                            .longest_s =
                                object_get_int(o, "spec.maxDurationSeconds", INT64_MAX),
                            .image = has_text(o, "spec.image")};
    snprintf(ret->uid, sizeof(ret->uid), "%s", o->uid);
    snprintf(ret->name, sizeof(ret->name), "%s", o->name);
    ret->need.cpu_milli = req.cpu.min * 1000;
    ret->need.memory_mib = req.memory_mib.min;
    ret->gpus = req.gpu.count.min;
    return rc == 0;
}

void
sim_check_snapshot(struct sim *s)
{
    struct sim_queue *q = s->queue;
    struct snapshot *n = &q->snapshots[q->next++ % SNAPSHOTS];
    struct informer *jobs = lister_informer(manager_lister(s->m), &resource_jobs);
    auto_object_list all = {0};

    n->list.len = 0;
    clock_format_us(clock_wall_ns(), n->at);
    informer_all(jobs, &all);
    vec_foreach (o, &all.list) {
        struct waiting w;
        if (read_waiting(*o, &w)) {
            if (s->opts.mutation == SIM_PRIORITY)
                w.priority = 100 - w.priority;
            vec_push(&n->list, w);
        }
    }
}

static const struct snapshot *
find(const struct sim_queue *q, const char *at)
{
    for (size_t i = 0; i < SNAPSHOTS; i++)
        if (streq(q->snapshots[i].at, at))
            return &q->snapshots[i];
    return NULL;
}

static const struct waiting *
find_job(const struct snapshot *n, const char *name)
{
    for (size_t i = 0; i < n->list.len; i++)
        if (streq(n->list.items[i].name, name))
            return &n->list.items[i];
    return NULL;
}

static bool
would_fit(const struct waiting *w, const struct waiting *instead)
{
    return w->image == instead->image && w->longest_s <= instead->longest_s &&
           w->gpus <= instead->gpus && w->need.cpu_milli <= instead->need.cpu_milli &&
           w->need.memory_mib <= instead->need.memory_mib;
}

void
sim_check_bind(struct sim *s, const char *name, const json_t *patch)
{
    const char *at =
        json_string_value(json_object_get(json_object_get(patch, "spec"), "boundAt"));
    const struct snapshot *n = at == NULL ? NULL : find(s->queue, at);
    const struct waiting *job = n == NULL ? NULL : find_job(n, name);

    if (job == NULL)
        return;
    map_put(s->queue->decided, job->uid, s);
    for (size_t i = 0; i < n->list.len; i++) {
        const struct waiting *w = &n->list.items[i];
        if (w->priority > job->priority && would_fit(w, job) &&
            map_get(s->queue->decided, w->uid) == NULL)
            sim_violate(s, "priority_order",
                        "%s (priority %lld) is bound before %s (%lld), which fits",
                        job->name, (long long)job->priority, w->name,
                        (long long)w->priority);
    }
}
