/* SPDX-License-Identifier: Apache-2.0 */
/* Nearest instance and what it lacks. */
#include "cli/placement.h"

#include <stdlib.h>
#include <string.h>

#include "api/object.h"
#include "api/resources.h"
#include "base/mem.h"
#include "cli/session.h"

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

/* The same reading as the scheduler's. */
static void
read_capacity(const json_t *instance, struct resource_have *h)
{
    autofree char *json = json_dumps(instance, JSON_COMPACT);
    auto_object *o = NULL;
    struct error e = ERROR_INIT;

    *h = (struct resource_have){0};
    if (json != NULL && object_from_json(NULL, json, strlen(json), &o, &e) == 0)
        resources_of_instance(o, h);
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

/* Inventory minus what non-terminal jobs bound to it hold. */
static void
subtract_jobs(struct candidate *c, const json_t *jobs)
{
    const char *uid = js(c->instance, "metadata.uid");
    size_t i;
    const json_t *j;

    json_array_foreach (json_object_get(jobs, "items"), i, j) {
        size_t g;
        const json_t *gpu;
        if (!streq(js(j, "spec.instanceUID"), uid) ||
            cli_final_phase(js(j, "status.phase")))
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

/* Of the fleets that the job names, when it names any. */
static bool
is_wanted(const json_t *instance, const json_t *job)
{
    const json_t *fleets = js_get(job, "spec.fleets");
    size_t i;
    const json_t *f;

    json_array_foreach (fleets, i, f) {
        const char *name = json_string_value(f);
        if (name != NULL && streq(name, js(instance, "spec.fleetName")))
            return true;
    }
    return json_array_size(fleets) == 0;
}

static void
judge(struct candidate *c, const json_t *job, const struct resource_req *req,
      const json_t *jobs)
{
    const char *engine = js(job, "spec.image")[0] != '\0' ? "docker" : "process";
    const json_t *have = find_engine(c->instance, engine);
    struct reservation r;

    c->why_detail = "";
    read_capacity(c->instance, &c->capacity);
    c->free = c->capacity;
    subtract_jobs(c, jobs);
    c->lack = resources_fit(req, &c->capacity, &c->free, &r);
    c->distance = c->lack == RESOURCE_FITS ? 0 : 100 - (int)c->lack;
    if (!streq(js(c->instance, "status.phase"), "Ready")) {
        c->why_not = "is not Ready";
        c->distance += 2000;
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
    } else if (!json_is_true(json_object_get(have, "available"))) {
        c->why_detail = js(have, "message");
        c->why_not = streq(engine, "docker")
                         ? "has no usable docker engine, which the image needs"
                         : "has no usable process engine";
        c->distance += 1000;
    }
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
