/* SPDX-License-Identifier: Apache-2.0 */
/* Nearest instance and what it lacks. */
#include "cli/placement.h"

#include <stdlib.h>
#include <string.h>

#include "api/object.h"
#include "api/resources.h"
#include "base/mem.h"
#include "cli/session.h"

enum { SEATS_SHOWN = 8 };

struct candidate {
    const json_t *instance;
    struct resource_have capacity, free;
    enum resource_lack lack;
    const char *why_not;    /* other than resources; NULL */
    const char *why_detail; /* the agent's words for it; "" */
    int distance;           /* smaller is nearer */
};

bool
placement_waits(const json_t *job)
{
    return js(job, "spec.instanceUID")[0] == '\0' &&
           !cli_final_phase(js(job, "status.phase"));
}

const json_t *
placement_unscheduled(const json_t *o)
{
    size_t i;
    const json_t *c;

    json_array_foreach (js_get(o, "status.conditions"), i, c) {
        if (streq(js(c, "type"), "Scheduled") && streq(js(c, "status"), "False"))
            return c;
    }
    return NULL;
}

int
placement_order(const json_t *a, const json_t *b)
{
    int64_t pa = js_int(a, "spec.priority", 0);
    int64_t pb = js_int(b, "spec.priority", 0);
    int c = strcmp(js(a, "spec.queuedAt"), js(b, "spec.queuedAt"));

    if (pa != pb)
        return pa > pb ? -1 : 1;
    return c != 0 ? c : strcmp(js(a, "metadata.name"), js(b, "metadata.name"));
}

void
placement_capacity(const json_t *instance, struct resource_have *ret)
{
    autofree char *json = json_dumps(instance, JSON_COMPACT);
    auto_object *o = NULL;
    struct error e = ERROR_INIT;

    *ret = (struct resource_have){0};
    if (json != NULL && object_from_json(NULL, json, strlen(json), &o, &e) == 0)
        resources_of_instance(o, ret);
}

static void
take_gpu(struct resource_have *have, const json_t *inventory, const char *uuid)
{
    const json_t *gpus = json_object_get(inventory, "gpus");

    for (size_t i = 0; i < have->n_gpus; i++) {
        if (streq(js(json_array_get(gpus, i), "uuid"), uuid))
            have->gpu_free &= ~(1ull << i);
    }
}

bool
placement_holds(const json_t *j)
{
    return !cli_final_phase(js(j, "status.phase")) ||
           (js(j, "status.agent.claim.journalID")[0] != '\0' &&
            !json_is_true(js_get(j, "status.agent.released")));
}

/* Inventory minus what the jobs bound to it hold. */
static void
subtract_jobs(struct candidate *c, const json_t *jobs)
{
    const char *uid = js(c->instance, "metadata.uid");
    size_t i;
    const json_t *j;

    json_array_foreach (json_object_get(jobs, "items"), i, j) {
        size_t g;
        const json_t *gpu;
        if (!streq(js(j, "spec.instanceUID"), uid) || !placement_holds(j))
            continue;
        c->free.cpu_milli -= js_int(j, "spec.reservation.cpuMilli", 0);
        c->free.memory_mib -= js_int(j, "spec.reservation.memoryMiB", 0);
        c->free.disk_mib -= js_int(j, "spec.reservation.diskMiB", 0);
        json_array_foreach (js_get(j, "spec.reservation.gpus"), g, gpu)
            take_gpu(&c->free, js_get(c->instance, "status.agent.inventory"),
                     json_string_value(gpu));
    }
}

/* NULL: the agent reported no such engine. */
static const json_t *
find_engine(const json_t *instance, const char *name)
{
    size_t i;
    const json_t *en;

    json_array_foreach (js_get(instance, "status.agent.engines"), i, en) {
        if (streq(js(en, "name"), name))
            return en;
    }
    return NULL;
}

static bool
is_limited(const json_t *engine, const char *code)
{
    size_t i;
    const json_t *x;

    json_array_foreach (json_object_get(engine, "limitations"), i, x)
        if (json_is_string(x) && str_starts(json_string_value(x), code))
            return true;
    return false;
}

/* The list has the word, or is empty. */
static bool
allows(const json_t *list, const char *word)
{
    size_t i;
    const json_t *x;

    json_array_foreach (list, i, x) {
        const char *text = json_string_value(x);
        if (text != NULL && streq(text, word))
            return true;
    }
    return json_array_size(list) == 0;
}

/* Of the fleets and instances that the job names, when it names any. */
static bool
is_wanted(const json_t *instance, const json_t *job)
{
    return allows(js_get(job, "spec.fleets"), js(instance, "spec.fleetName")) &&
           allows(js_get(job, "spec.instances"), js(instance, "metadata.name"));
}

/* Whether the instance takes the job at all, were it empty. */
static void
judge_use(struct candidate *c, const json_t *job)
{
    const char *engine = js(job, "spec.image")[0] != '\0' ? "docker" : "process";
    const json_t *have = find_engine(c->instance, engine);

    c->why_detail = "";
    if (!streq(js(c->instance, "status.phase"), "Ready")) {
        c->why_not = "is not Ready";
        c->distance += 2000;
    } else if (js(c->instance, "metadata.deletionTimestamp")[0] != '\0') {
        c->why_not = "is being deleted";
        c->distance += 1500;
    } else if (json_is_true(js_get(c->instance, "spec.unschedulable"))) {
        c->why_not = "is cordoned";
        c->distance += 500;
    } else if (js(c->instance, "status.agent.diskPressure")[0] != '\0') {
        c->why_not = "is short of disk space";
        c->why_detail = js(c->instance, "status.agent.diskPressure");
        c->distance += 500;
    } else if (!is_wanted(c->instance, job)) {
        c->why_not = "is not one that the run may use";
        c->distance += 1500;
    } else if (js_int(job, "spec.nodes", 1) > 1 &&
               json_is_true(js_get(c->instance, "status.apart"))) {
        c->why_not = "is not in one network with the other machines of its fleet";
        c->distance += 1500;
    } else if (!json_is_true(json_object_get(have, "available"))) {
        c->why_detail = js(have, "message");
        c->why_not = streq(engine, "docker")
                         ? "has no usable docker engine, which the image needs"
                         : "has no usable process engine";
        c->distance += 1000;
    } else if (json_is_object(js_get(job, "spec.rootfs")) &&
               is_limited(have, "RootFileSystem: ")) {
        c->why_not = "gives jobs no root file system of their own: its agent is not root";
        c->distance += 1000;
    }
}

bool
placement_usable(const json_t *instance, const json_t *job)
{
    struct candidate c = {.instance = instance};

    judge_use(&c, job);
    return c.why_not == NULL;
}

static void
judge(struct candidate *c, const json_t *job, const struct resource_req *req,
      const json_t *jobs)
{
    struct reservation r;

    placement_capacity(c->instance, &c->capacity);
    c->free = c->capacity;
    subtract_jobs(c, jobs);
    c->lack = resources_fit(req, &c->capacity, &c->free, &r);
    if (c->lack == RESOURCE_FITS)
        c->lack = resources_whole_blocks(js_int(c->instance, "status.blocks", 0),
                                         &c->capacity, &c->free, &r);
    c->distance = c->lack == RESOURCE_FITS ? 0 : 100 - (int)c->lack;
    judge_use(c, job);
}

static int
nearer(const void *a, const void *b)
{
    const struct candidate *x = a;
    const struct candidate *y = b;

    return x->distance - y->distance;
}

static void
print_candidate(const struct candidate *c, const struct resource_req *req, FILE *out)
{
    auto_str text = STR_INIT(4096);

    if (c->lack != RESOURCE_FITS)
        resources_lack_text(c->lack, req, &c->capacity, &c->free, &text);
    fprintf(out, "  %s: ", js(c->instance, "metadata.name"));
    if (c->why_not != NULL)
        fputs(c->why_not, out);
    if (c->why_detail[0] != '\0')
        fprintf(out, " (%s)", c->why_detail);
    if (text.len > 0)
        fprintf(out, "%s%s", c->why_not != NULL ? "; " : "", text.ptr);
    else if (c->why_not == NULL)
        fputs("has room now", out);
    fputc('\n', out);
}

void
placement_explain(const json_t *job, const json_t *jobs, const json_t *instances,
                  FILE *out)
{
    struct placement_verdict ignored;

    placement_judge(job, jobs, instances, out, &ignored);
}

void
placement_judge(const json_t *job, const json_t *jobs, const json_t *instances, FILE *out,
                struct placement_verdict *ret)
{
    const json_t *items = json_object_get(instances, "items");
    size_t n = json_array_size(items);
    struct resource_req req;
    auto_violations v = {0};
    auto_str need = STR_INIT(4096);
    struct error e = ERROR_INIT;
    size_t ahead = 0;
    size_t i;
    const json_t *j;

    *ret = (struct placement_verdict){0};
    if (resources_parse(js_get(job, "spec.resources"), "spec.resources", &req, &v, &e) <
        0) {
        fprintf(out, "Placement: %s\n", e.msg);
        return;
    }
    json_array_foreach (json_object_get(jobs, "items"), i, j)
        ahead += j != job && placement_waits(j) && placement_order(j, job) < 0;
    resources_text(&req, &need);
    ret->ahead = ahead;
    fprintf(out, "Placement: %zu jobs ahead in the queue; needs %s\n", ahead, need.ptr);
    if (n == 0) {
        fputs("  There is no instance in this namespace. A machine joins with:\n"
              "  drover token create --join FLEET\n",
              out);
        return;
    }
    struct candidate *all = xcalloc(n, sizeof(*all));
    for (i = 0; i < n; i++) {
        all[i].instance = json_array_get(items, i);
        judge(&all[i], job, &req, jobs);
        ret->room += all[i].distance == 0;
    }
    qsort(all, n, sizeof(*all), nearer);
    for (i = 0; i < n && i < 5; i++)
        print_candidate(&all[i], &req, out);
    if (n > 5)
        fprintf(out, "  ... and %zu more instances, all farther\n", n - 5);
    free(all);
}

/* --- nodes that start together -------------------------------------------------------
 */

struct seat {
    const json_t *instance;
    uint64_t fits;      /* bit k: a node of group k */
    bool taken, looked; /* looked: its fleet was tried */
};

/* Those that few groups can use first. */
static int
pickier(const void *a, const void *b)
{
    const struct seat *x = a;
    const struct seat *y = b;
    int c = __builtin_popcountll(x->fits) - __builtin_popcountll(y->fits);

    return c != 0 ? c
                  : strcmp(js(x->instance, "metadata.name"),
                           js(y->instance, "metadata.name"));
}

static void
find_seats(const struct placement_group *groups, size_t n, const json_t *jobs,
           const json_t *items, struct seat *seats)
{
    struct error e = ERROR_INIT;
    size_t i;
    json_t *instance;

    for (size_t k = 0; k < n; k++) {
        struct resource_req req;
        auto_violations v = {0};
        if (resources_parse(js_get(groups[k].job, "spec.resources"), "", &req, &v, &e) <
            0)
            continue;
        json_array_foreach (items, i, instance) {
            struct candidate c = {.instance = instance};
            judge(&c, groups[k].job, &req, jobs);
            seats[i].instance = instance;
            seats[i].fits |= (uint64_t)(c.distance == 0) << k;
        }
    }
}

static bool
is_free(const struct seat *s, size_t group, const char *fleet)
{
    return !s->taken && (s->fits >> group & 1) != 0 &&
           streq(js(s->instance, "spec.fleetName"), fleet);
}

/* The group that has the fewest seats left. */
static size_t
next_group(size_t n, uint64_t done, const struct seat *seats, size_t n_seats,
           const char *fleet)
{
    size_t next = 0, fewest = SIZE_MAX;

    for (size_t k = 0; k < n; k++) {
        size_t left = 0;
        for (size_t i = 0; i < n_seats; i++)
            left += is_free(&seats[i], k, fleet);
        if ((done >> k & 1) == 0 && left < fewest) {
            fewest = left;
            next = k;
        }
    }
    return next;
}

/* How many nodes have room in the fleet; the names of the first instances. */
static int64_t
seat_in(const char *fleet, const struct placement_group *groups, size_t n,
        struct seat *seats, size_t n_seats, struct str *names)
{
    uint64_t done = 0;
    int64_t seated = 0;

    for (size_t round = 0; round < n; round++) {
        size_t k = next_group(n, done, seats, n_seats, fleet);
        int64_t want = groups[k].nodes;
        done |= (uint64_t)1 << k;
        for (size_t i = 0; i < n_seats && want > 0; i++) {
            if (!is_free(&seats[i], k, fleet))
                continue;
            seats[i].taken = true;
            want--;
            if (++seated <= SEATS_SHOWN)
                str_addf(names, "%s%s", seated == 1 ? "" : ", ",
                         js(seats[i].instance, "metadata.name"));
            else if (seated == SEATS_SHOWN + 1)
                str_adds(names, ", ...");
        }
    }
    for (size_t i = 0; i < n_seats; i++)
        seats[i].looked |= streq(js(seats[i].instance, "spec.fleetName"), fleet);
    return seated;
}

bool
placement_gang(const struct placement_group *groups, size_t n, const json_t *jobs,
               const json_t *instances, FILE *out)
{
    const json_t *items = json_object_get(instances, "items");
    size_t n_seats = json_array_size(items);
    auto_str parts = STR_INIT(1 << 16);
    int64_t nodes = 0;
    bool whole = false;

    bug_if(n > PLACEMENT_GROUPS_MAX);
    struct seat *seats = xcalloc(n_seats + 1, sizeof(*seats));
    for (size_t k = 0; k < n; k++)
        nodes += groups[k].nodes;
    find_seats(groups, n, jobs, items, seats);
    qsort(seats, n_seats, sizeof(*seats), pickier);
    for (size_t i = 0; i < n_seats && !whole; i++) {
        const char *fleet = js(seats[i].instance, "spec.fleetName");
        auto_str names = STR_INIT(4096);
        if (seats[i].looked || seats[i].fits == 0)
            continue;
        int64_t got = seat_in(fleet, groups, n, seats, n_seats, &names);
        whole = got == nodes;
        if (whole)
            fprintf(out, "All %lld nodes have room in fleet %s now: %s\n",
                    (long long)nodes, fleet, names.ptr);
        else
            str_addf(&parts, "%s%s for %lld", parts.len == 0 ? ": fleet " : ", ", fleet,
                     (long long)got);
    }
    if (!whole)
        fprintf(out, "No fleet has room for all %lld nodes at once now%s\n",
                (long long)nodes, parts.len == 0 ? "" : parts.ptr);
    free(seats);
    return whole;
}
