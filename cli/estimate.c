/* SPDX-License-Identifier: Apache-2.0 */
/* The queue played through, with one reservation per job (conservative backfill). */
#include "cli/estimate.h"

#include <stdlib.h>
#include <string.h>

#include "api/resources.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/vec.h"
#include "cli/placement.h"
#include "cli/session.h"

enum { NAME_SHOWN = 100, LOOK_AT_MACHINE = 10 };
#define NEVER INT64_MAX
#define SECOND_NS INT64_C(1000000000)
#define EFFORT_MAX (20 * 1000 * 1000) /* looks at a span */

/* What a job takes of a machine, from start until end. */
struct span_of_job {
    const json_t *job;
    int64_t start, end; /* NEVER: not known */
    struct reservation takes;
    bool overdue; /* it should have ended */
};

struct machine {
    const json_t *instance;
    struct resource_have capacity;
    int64_t blocks;
    vec(struct span_of_job) spans;
    const json_t *expected; /* who may come at any time, ahead of the others; NULL */
};

/* Jobs that are placed together; of most there is one. */
struct batch {
    vec(const json_t *) jobs;
    int64_t lasts; /* NEVER: not known */
    size_t first;  /* their estimates */
};

struct estimates {
    struct estimate *list; /* in the order of the queue */
    size_t n;
    struct machine *machines; /* those with few GPUs first */
    size_t n_machines;
    int64_t now;
    int64_t effort;
};

static int64_t
time_of(const json_t *o, const char *path)
{
    const char *text = js(o, path);
    int64_t ns = 0;

    return clock_parse(text, strlen(text), &ns) ? ns : 0;
}

/* As the scheduler counts: with the time to stop. */
static int64_t
longest(const json_t *job)
{
    int64_t run = js_int(job, "spec.maxDurationSeconds", 0);
    int64_t stop = js_int(job, "spec.stopDurationSeconds", 0);

    return run <= 0 || run > INT32_MAX || stop < 0 || stop > INT32_MAX
               ? NEVER
               : (run + stop) * SECOND_NS;
}

static int64_t
later(int64_t at, int64_t by)
{
    return at == NEVER || by == NEVER ? NEVER : at + by;
}

/* --- machines ------------------------------------------------------------------------
 */

static uint64_t
gpu_bits(const struct machine *m, const json_t *job)
{
    const json_t *gpus = js_get(m->instance, "status.agent.inventory.gpus");
    uint64_t bits = 0;
    size_t i, k;
    const json_t *uuid, *gpu;

    json_array_foreach (js_get(job, "spec.reservation.gpus"), i, uuid) {
        json_array_foreach (gpus, k, gpu) {
            if (k < RESOURCE_GPUS_MAX && streq(js(gpu, "uuid"), json_string_value(uuid)))
                bits |= (uint64_t)1 << k;
        }
    }
    return bits;
}

static void
add_hold(struct estimates *e, struct machine *m, const json_t *job)
{
    int64_t from = time_of(job, "status.agent.startedAt");
    struct span_of_job s = {.job = job, .start = e->now};

    if (from == 0)
        from = time_of(job, "spec.boundAt");
    s.end = from == 0 ? NEVER : later(from, longest(job));
    if (s.end <= e->now) {
        s.overdue = true;
        s.end = NEVER;
    }
    s.takes.cpu_milli = js_int(job, "spec.reservation.cpuMilli", 0);
    s.takes.memory_mib = js_int(job, "spec.reservation.memoryMiB", 0);
    s.takes.disk_mib = js_int(job, "spec.reservation.diskMiB", 0);
    s.takes.gpu_mask = gpu_bits(m, job);
    vec_push(&m->spans, s);
}

static int
by_worth(const void *a, const void *b)
{
    const struct machine *x = a, *y = b;

    if (x->capacity.n_gpus != y->capacity.n_gpus)
        return x->capacity.n_gpus < y->capacity.n_gpus ? -1 : 1;
    return strcmp(js(x->instance, "metadata.name"), js(y->instance, "metadata.name"));
}

static void
read_machines(struct estimates *e, const json_t *jobs, const json_t *instances)
{
    const json_t *items = json_object_get(instances, "items");
    size_t i, k;
    const json_t *o, *j;

    e->machines = xcalloc(json_array_size(items) + 1, sizeof(*e->machines));
    json_array_foreach (items, i, o) {
        struct machine *m = &e->machines[e->n_machines++];
        m->instance = o;
        m->blocks = js_int(o, "status.blocks", 0);
        placement_capacity(o, &m->capacity);
    }
    qsort(e->machines, e->n_machines, sizeof(*e->machines), by_worth);
    json_array_foreach (json_object_get(jobs, "items"), i, j) {
        const char *on = js(j, "spec.instanceUID");
        if (on[0] == '\0' || !placement_holds(j))
            continue;
        for (k = 0; k < e->n_machines; k++) {
            if (streq(js(e->machines[k].instance, "metadata.uid"), on))
                add_hold(e, &e->machines[k], j);
        }
    }
}

static bool
may_use(struct estimates *e, const struct machine *m, const json_t *job)
{
    e->effort += LOOK_AT_MACHINE;
    return streq(js(m->instance, "metadata.namespace"), js(job, "metadata.namespace")) &&
           placement_usable(m->instance, job);
}

/* It fits all the while from start to end; at NEVER: were the machine empty. */
static bool
fits(struct estimates *e, const struct machine *m, const struct resource_req *req,
     int64_t start, int64_t end, struct reservation *ret)
{
    struct resource_have left = m->capacity;

    for (size_t i = 0; i < m->spans.len && start != NEVER; i++) {
        const struct span_of_job *s = &m->spans.items[i];
        e->effort++;
        if (s->start >= end || s->end <= start)
            continue;
        left.cpu_milli -= s->takes.cpu_milli;
        left.memory_mib -= s->takes.memory_mib;
        left.disk_mib -= s->takes.disk_mib;
        left.gpu_free &= ~s->takes.gpu_mask;
    }
    e->effort++;
    return resources_fit(req, &m->capacity, &left, ret) == RESOURCE_FITS &&
           resources_whole_blocks(m->blocks, &m->capacity, &left, ret) == RESOURCE_FITS;
}

/* --- one batch -----------------------------------------------------------------------
 */

struct place {
    struct machine *m;
    struct reservation takes;
};
struct plan {
    const struct batch *b;
    struct resource_req *reqs; /* of each job */
    struct place *places;
    vec(struct machine *) usable;
    vec(int64_t) times;
};

static bool
is_taken(const struct plan *p, size_t n, const struct machine *m)
{
    for (size_t i = 0; i < n; i++)
        if (p->places[i].m == m)
            return true;
    return false;
}

/* A machine of the fleet for each job, from then on. */
static bool
seat(struct estimates *e, struct plan *p, const char *fleet, int64_t at)
{
    int64_t end = later(at, p->b->lasts);
    size_t n = 0;

    for (; n < p->b->jobs.len; n++) {
        bool found = false;
        for (size_t i = 0; i < p->usable.len && !found; i++) {
            struct machine *m = p->usable.items[i];
            if (!streq(js(m->instance, "spec.fleetName"), fleet) || is_taken(p, n, m) ||
                !may_use(e, m, p->b->jobs.items[n]) ||
                (m->expected != NULL && end == NEVER))
                continue;
            found = fits(e, m, &p->reqs[n], at, end, &p->places[n].takes);
            p->places[n].m = found ? m : NULL;
        }
        if (!found)
            return false;
    }
    return true;
}

static bool
seat_anywhere(struct estimates *e, struct plan *p, int64_t at)
{
    const char *last = NULL;

    for (size_t i = 0; i < p->usable.len; i++) {
        const char *fleet = js(p->usable.items[i]->instance, "spec.fleetName");
        if (last != NULL && streq(last, fleet))
            continue;
        last = fleet;
        if (seat(e, p, fleet, at))
            return true;
    }
    return false;
}

static int
by_time(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

/* Machines that any of the jobs could run on were they empty, and when room comes. */
static void
look_around(struct estimates *e, struct plan *p)
{
    struct reservation ignored;

    vec_push(&p->times, e->now);
    for (size_t i = 0; i < e->n_machines; i++) {
        struct machine *m = &e->machines[i];
        bool use = false;
        for (size_t k = 0; k < p->b->jobs.len && !use; k++)
            use = may_use(e, m, p->b->jobs.items[k]) &&
                  fits(e, m, &p->reqs[k], NEVER, NEVER, &ignored);
        if (!use)
            continue;
        vec_push(&p->usable, m);
        vec_foreach (s, &m->spans)
            if (s->end != NEVER)
                vec_push(&p->times, s->end);
    }
    qsort(p->times.items, p->times.len, sizeof(p->times.items[0]), by_time);
}

static void
say(struct estimates *e, const struct batch *b, const char *text)
{
    for (size_t i = 0; i < b->jobs.len; i++)
        snprintf(e->list[b->first + i].why, sizeof(e->list[0].why), "%s", text);
}

/* Who has no known end, where it could run. */
static void
say_why(struct estimates *e, const struct plan *p)
{
    char text[256] = "no usable machine is large enough, or there are too few of them";

    for (size_t i = 0; i < p->usable.len; i++) {
        const struct machine *m = p->usable.items[i];
        vec_foreach (s, &m->spans) {
            if (s->end != NEVER)
                continue;
            snprintf(text, sizeof(text), "job %.*s, which %s, %s", NAME_SHOWN,
                     js(s->job, "metadata.name"),
                     placement_waits(s->job) ? "is ahead of it" : "runs",
                     s->overdue ? "is past its maxDuration" : "has no maxDuration");
            say(e, p->b, text);
            return;
        }
        if (m->expected != NULL)
            snprintf(text, sizeof(text),
                     "job %.*s is ahead of it, and its start is not known", NAME_SHOWN,
                     js(m->expected, "metadata.name"));
    }
    say(e, p->b, text);
}

static void
reserve(struct estimates *e, const struct plan *p, int64_t at)
{
    for (size_t i = 0; i < p->b->jobs.len; i++) {
        struct span_of_job s = {.job = p->b->jobs.items[i],
                                .start = at,
                                .end = later(at, p->b->lasts),
                                .takes = p->places[i].takes};
        vec_push(&p->places[i].m->spans, s);
        e->list[p->b->first + i].start_ns = at;
    }
}

static bool
read_needs(const struct batch *b, struct resource_req *ret)
{
    struct error ignored = ERROR_INIT;

    for (size_t i = 0; i < b->jobs.len; i++) {
        auto_violations v = {0};
        if (resources_parse(js_get(b->jobs.items[i], "spec.resources"), "", &ret[i], &v,
                            &ignored) < 0)
            return false;
    }
    return true;
}

static void
place(struct estimates *e, const struct batch *b)
{
    size_t n = b->jobs.len;
    struct plan p = {.b = b,
                     .reqs = xcalloc(n, sizeof(*p.reqs)),
                     .places = xcalloc(n, sizeof(*p.places))};
    bool done = false;

    if (streq(js(placement_unscheduled(b->jobs.items[0]), "reason"), "QuotaExceeded")) {
        say(e, b, "a quota decides");
    } else if ((int64_t)n < js_int(b->jobs.items[0], "spec.nodes", 1)) {
        say(e, b, "it waits for its other nodes");
    } else if (e->effort > EFFORT_MAX) {
        say(e, b, "too much is ahead of it to be looked at");
    } else if (read_needs(b, p.reqs)) {
        look_around(e, &p);
        for (size_t i = 0; i < p.times.len && !done && e->effort <= EFFORT_MAX; i++) {
            if (i > 0 && p.times.items[i] == p.times.items[i - 1])
                continue;
            done = seat_anywhere(e, &p, p.times.items[i]);
            if (done)
                reserve(e, &p, p.times.items[i]);
        }
        if (!done)
            say_why(e, &p);
        for (size_t i = 0; i < p.usable.len && !done; i++)
            if (p.usable.items[i]->expected == NULL)
                p.usable.items[i]->expected = b->jobs.items[0];
    }
    vec_done(&p.usable);
    vec_done(&p.times);
    free(p.places);
    free(p.reqs);
}

/* --- the queue -----------------------------------------------------------------------
 */

static int
by_turn(const void *a, const void *b)
{
    const struct estimate *x = a, *y = b;

    return placement_order(x->job, y->job);
}

static bool
is_sibling(const json_t *a, const json_t *b)
{
    return js_int(a, "spec.nodes", 1) > 1 &&
           streq(js(a, "spec.runUID"), js(b, "spec.runUID")) &&
           js_int(a, "spec.replica", 0) == js_int(b, "spec.replica", 0) &&
           js_int(a, "spec.attempt", 0) == js_int(b, "spec.attempt", 0);
}

/* Siblings have the same priority and time, and names that begin alike. */
static void
next_batch(const struct estimates *e, size_t first, struct batch *ret)
{
    ret->jobs.len = 0;
    ret->first = first;
    ret->lasts = 0;
    for (size_t i = first; i < e->n; i++) {
        const json_t *job = e->list[i].job;
        if (i > first && !is_sibling(e->list[first].job, job))
            break;
        int64_t lasts = longest(job);
        ret->lasts = lasts > ret->lasts ? lasts : ret->lasts;
        vec_push(&ret->jobs, job);
    }
}

struct estimates *
estimates_make(const json_t *jobs, const json_t *instances, int64_t wall_ns)
{
    struct estimates *e = xnew(struct estimates);
    const json_t *items = json_object_get(jobs, "items");
    struct batch b = {0};
    size_t i;
    const json_t *j;

    e->now = wall_ns;
    e->list = xcalloc(json_array_size(items) + 1, sizeof(*e->list));
    json_array_foreach (items, i, j)
        if (placement_waits(j))
            e->list[e->n++].job = j;
    if (e->n > 1)
        qsort(e->list, e->n, sizeof(*e->list), by_turn);
    read_machines(e, jobs, instances);
    for (i = 0; i < e->n; i += b.jobs.len) {
        next_batch(e, i, &b);
        place(e, &b);
    }
    vec_done(&b.jobs);
    return e;
}

const struct estimate *
estimates_at(const struct estimates *e, size_t i)
{
    return i < e->n ? &e->list[i] : NULL;
}

const struct estimate *
estimates_of(const struct estimates *e, const json_t *job)
{
    for (size_t i = 0; i < e->n; i++)
        if (e->list[i].job == job)
            return &e->list[i];
    return NULL;
}

void
estimates_free(struct estimates *e)
{
    if (e == NULL)
        return;
    for (size_t i = 0; i < e->n_machines; i++)
        vec_done(&e->machines[i].spans);
    free(e->machines);
    free(e->list);
    free(e);
}
