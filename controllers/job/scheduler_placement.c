/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and writing of placements. */
#include "controllers/job/scheduler_placement.h"

#include "base/clock.h"
#include "base/mem.h"
#include "controllers/common/job_view.h"

enum { MEMBERS_MAX = 4096 };

void
members_done(member_vec *v)
{
    vec_foreach (m, v) {
        free(m->uid);
        free(m->job);
        free(m->instance_uid);
        free(m->instance_name);
        for (size_t i = 0; i < m->n_gpus; i++)
            free(m->gpus[i]);
        free(m->gpus);
    }
    vec_done(v);
}

void
placement_done(struct placement *p)
{
    members_done(&p->members);
}

/* --- reading ----------------------------------------------------------------------- */

static char *
text(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return xstrdup(s == NULL ? "" : s);
}

static int64_t
number(const json_t *o, const char *key)
{
    return json_integer_value(json_object_get(o, key));
}

static void
read_member(const json_t *o, int64_t rank, member_vec *ret)
{
    const json_t *devices = json_object_get(o, "devices"), *d;
    const char *engine = json_string_value(json_object_get(o, "engine"));
    size_t i, n = json_array_size(devices);
    struct member m = {.uid = text(o, "uid"),
                       .job = text(o, "job"),
                       .node = rank,
                       .instance_uid = text(o, "instanceUID"),
                       .instance_name = text(o, "instanceName"),
                       .engine = engine != NULL && streq(engine, "docker")
                                     ? SCHED_DOCKER
                                     : SCHED_PROCESS,
                       .reserve = {.cpu_milli = number(o, "cpuMilli"),
                                   .memory_mib = number(o, "memoryMiB"),
                                   .disk_mib = number(o, "diskMiB"),
                                   .blocks = number(o, "blocks")}};

    m.gpus = xcalloc(n + 1, sizeof(*m.gpus));
    json_array_foreach (devices, i, d) {
        const char *uuid = json_string_value(d);
        if (uuid != NULL && m.n_gpus < RESOURCE_GPUS_MAX)
            m.gpus[m.n_gpus++] = xstrdup(uuid);
    }
    vec_push(ret, m);
}

bool
placement_read(const struct object *run, struct placement *ret)
{
    const json_t *members, *m;
    struct span raw;
    size_t i;

    *ret = (struct placement){0};
    if (!object_path(run, "status.placement", &raw) || raw.len == 0 || raw.ptr[0] != '{')
        return false;
    json_t *tree = json_loadb(raw.ptr, raw.len, 0, NULL);
    if (tree == NULL)
        return false;
    ret->attempt = number(tree, "attempt");
    ret->replica = number(tree, "replica");
    ret->deadline_ns = object_get_time(run, "status.placement.deadline");
    ret->revoked = json_is_string(json_object_get(tree, "revoked"));
    members = json_object_get(tree, "members");
    json_array_foreach (members, i, m)
        if (i < MEMBERS_MAX)
            read_member(m, (int64_t)i, &ret->members);
    bool none = ret->members.len == 0 && !ret->revoked;
    json_decref(tree);
    return !none;
}

/* --- writing ----------------------------------------------------------------------- */

static int
by_rank(const void *a, const void *b)
{
    const struct member *x = a, *y = b;

    return (x->node > y->node) - (x->node < y->node);
}

static json_t *
member_json(const struct member *m)
{
    json_t *devices = json_array();

    for (size_t i = 0; i < m->n_gpus; i++)
        json_array_append_new(devices, json_string(m->gpus[i]));
    json_t *o = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:o, s:I, s:I, s:I}", "job", m->job, "uid", m->uid,
        "instanceName", m->instance_name, "instanceUID", m->instance_uid, "engine",
        m->engine == SCHED_DOCKER ? "docker" : "process", "devices", devices, "cpuMilli",
        (json_int_t)m->reserve.cpu_milli, "memoryMiB", (json_int_t)m->reserve.memory_mib,
        "diskMiB", (json_int_t)m->reserve.disk_mib);
    if (m->reserve.blocks > 0)
        json_object_set_new(o, "blocks", json_integer((json_int_t)m->reserve.blocks));
    return o;
}

json_t *
placement_patch(struct placement *p, const char *revoked, const struct object *run)
{
    json_t *members = json_array(), *placement;
    char revision[24], deadline[CLOCK_RFC3339_US_LEN];

    if (p->members.len > 1)
        qsort(p->members.items, p->members.len, sizeof(p->members.items[0]), by_rank);
    if (revoked == NULL)
        vec_foreach (m, &p->members)
            json_array_append_new(members, member_json(m));
    clock_format_us(p->deadline_ns, deadline);
    placement = json_pack("{s:I, s:I, s:o}", "attempt", (json_int_t)p->attempt, "replica",
                          (json_int_t)p->replica, "members", members);
    json_object_set_new(placement, "deadline",
                        revoked == NULL ? json_string(deadline) : json_null());
    json_object_set_new(placement, "revoked",
                        revoked == NULL ? json_null() : json_string(revoked));
    snprintf(revision, sizeof(revision), "%llu", (unsigned long long)run->revision);
    return json_pack("{s:{s:s, s:s}, s:{s:o}}", "metadata", "uid", run->uid,
                     "resourceVersion", revision, "status", "placement", placement);
}
