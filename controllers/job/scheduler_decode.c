/* SPDX-License-Identifier: Apache-2.0 */
/* Decoding for the scheduler, once per change of an object. */
#include "controllers/job/scheduler_decode.h"

#include <string.h>

#include "api/jtok.h"
#include "base/mem.h"
#include "base/vec.h"
#include "controllers/common/job_view.h"
#include "controllers/job/scheduler_placement.h"

enum { WORD_MAX = 256, WORDS_MAX = 64 };
#define NS_PER_S INT64_C(1000000000)
#define DURATION_MAX_S (INT64_C(30) * 365 * 86400) /* longer: as if without limit */

static bool
is_over(const struct job_view *j)
{
    return phase_is_final(j->phase) || agent_is_over(j->agent);
}

enum sched_standing
scheduler_standing(const struct object *job)
{
    struct job_view j;

    job_view_read(job, &j);
    bool over = is_over(&j);
    if (!j.bound)
        return over || j.deleting || j.desired != DESIRED_RUNNING ? SCHED_OUT
                                                                  : SCHED_WAITS;
    if (!over)
        return SCHED_OCCUPIES;
    /* It is over, but what it held is free only when its agent says so. */
    return j.claimed && !j.released ? SCHED_OCCUPIES : SCHED_OUT;
}

bool
scheduler_gang_key(const struct object *job, struct str *key)
{
    char run[UID_MAX];

    if (object_get_int(job, "spec.nodes", 1) < 2 ||
        !object_get_string(job, "spec.runUID", run, sizeof(run)))
        return false;
    str_addf(key, "%s/%lld/%lld", run, (long long)object_get_int(job, "spec.replica", 0),
             (long long)object_get_int(job, "spec.attempt", 0));
    return true;
}

/* NULL: alone. The text lives in key. */
static const char *
gang_of(const struct object *job, struct str *key)
{
    return scheduler_gang_key(job, key) ? key->ptr : NULL;
}

/* A retry is another Job of the same replica and node. NULL: no Run's. */
static const char *
origin_of(const struct object *job, struct str *text)
{
    char run[UID_MAX];

    if (!object_get_string(job, "spec.runUID", run, sizeof(run)))
        return NULL;
    str_addf(text, "%s/%lld/%lld", run, (long long)object_get_int(job, "spec.replica", 0),
             (long long)object_get_int(job, "spec.node", 0));
    return text->ptr;
}

static bool
preempts(const struct object *job)
{
    struct span raw;

    return object_path(job, "spec.preemptionPolicy", &raw) &&
           jscan_is(raw, "PreemptLowerPriority");
}

struct words {
    vec(char *) list;
};

static void
words_done(struct words *w)
{
    vec_foreach (p, &w->list)
        free(*p);
    vec_done(&w->list);
}

/* The longest that the job can take: maxDuration and the time to stop. 0: no limit. */
static int64_t
longest(const struct object *job)
{
    int64_t run = object_get_int(job, "spec.maxDurationSeconds", 0);
    int64_t stop = object_get_int(job, "spec.stopDurationSeconds", 0);

    if (run <= 0 || run > DURATION_MAX_S || stop < 0 || stop > DURATION_MAX_S)
        return 0;
    return (run + stop) * NS_PER_S;
}

/* maxDuration counts from the start of the process. */
static int64_t
ends_at(const struct object *job)
{
    int64_t most = longest(job);
    int64_t from = object_get_time(job, "status.agent.startedAt");

    if (from == 0)
        from = object_get_time(job, "spec.boundAt");
    return most == 0 || from <= 0 ? 0 : from + most;
}

/* Strings of a JSON array; member: of this member of each item, "" where it is absent. */
static void
read_words(const struct object *o, const char *path, const char *member,
           struct words *ret)
{
    struct span array, item, raw;
    const char *cursor = NULL;

    if (!object_path(o, path, &array) || array.len == 0 || array.ptr[0] != '[')
        return;
    while (ret->list.len < WORDS_MAX && jscan_next_item(array, &cursor, &item)) {
        auto_str text = STR_INIT(WORD_MAX);
        raw = item;
        if (member != NULL && !jscan_member(item, member, &raw))
            raw = (struct span){"\"\"", 2};
        if (!jscan_string(raw, &text) || text.toobig)
            str_reset(&text);
        vec_push(&ret->list, xstrdup(text.ptr));
    }
}

int
scheduler_tell_waiting(struct scheduler *s, const struct object *job, struct error *e)
{
    struct resource_req req;
    struct violations violations = {0};
    struct words fleets = {0}, instances = {0};
    auto_str key = STR_INIT(GANG_KEY_MAX), origin = STR_INIT(GANG_KEY_MAX);
    struct job_view j;
    struct span raw;
    json_t *resources = NULL;

    if (object_path(job, "spec.resources", &raw))
        resources = json_loadb(raw.ptr, raw.len, 0, NULL);
    int rc = resources_parse(resources, "spec.resources", &req, &violations, e);
    json_decref(resources);
    violations_done(&violations);
    if (rc < 0) {
        scheduler_remove_job(s, job->uid);
        return rc;
    }
    job_view_read(job, &j);
    read_words(job, "spec.fleets", NULL, &fleets);
    read_words(job, "spec.instances", NULL, &instances);
    autofree char *image = object_dup_string(job, "spec.image");
    int64_t queued = object_get_time(job, "spec.queuedAt");
    struct sched_job w = {
        .uid = job->uid,
        .ns = job->ns,
        .name = job->name,
        .priority = object_get_int(job, "spec.priority", 0),
        .queued_ns = queued != 0 ? queued : job->facts.created_s * NS_PER_S,
        .req = &req,
        .has_image = image != NULL && image[0] != '\0',
        .has_rootfs = object_path(job, "spec.rootfs", &raw),
        .fleets = (const char *const *)fleets.list.items,
        .n_fleets = fleets.list.len,
        .instances = (const char *const *)instances.list.items,
        .n_instances = instances.list.len,
        .reason = j.wait_reason,
        .max_duration_ns = longest(job),
        .preempts = preempts(job),
        .preemptible = object_get_bool(job, "spec.preemptible"),
        .origin = origin_of(job, &origin),
        .gang = gang_of(job, &key),
        .gang_size = (size_t)object_get_int(job, "spec.nodes", 1),
    };
    scheduler_queue(s, &w);
    words_done(&fleets);
    words_done(&instances);
    return 0;
}

void
scheduler_tell_holding(struct scheduler *s, const struct object *job)
{
    struct words gpus = {0};
    auto_str key = STR_INIT(GANG_KEY_MAX), origin = STR_INIT(GANG_KEY_MAX);
    char instance[UID_MAX], desired[32];
    struct job_view j;

    job_view_read(job, &j);
    object_get_string(job, "spec.instanceUID", instance, sizeof(instance));
    object_get_string(job, "spec.desiredState", desired, sizeof(desired));
    read_words(job, "spec.reservation.gpus", NULL, &gpus);
    struct sched_hold h = {
        .uid = job->uid,
        .instance_uid = instance,
        .cpu_milli = object_get_int(job, "spec.reservation.cpuMilli", 0),
        .memory_mib = object_get_int(job, "spec.reservation.memoryMiB", 0),
        .disk_mib = object_get_int(job, "spec.reservation.diskMiB", 0),
        .gpu_uuids = (const char *const *)gpus.list.items,
        .n_gpus = gpus.list.len,
        .ns = job->ns,
        .name = job->name,
        .priority = object_get_int(job, "spec.priority", 0),
        .ends_ns = ends_at(job),
        .preemptible = object_get_bool(job, "spec.preemptible"),
        .leaving = desired_parse(desired) != DESIRED_RUNNING,
        .over = is_over(&j),
        .origin = origin_of(job, &origin),
        .gang = gang_of(job, &key),
    };
    scheduler_hold(s, &h);
    words_done(&gpus);
}

void
scheduler_tell_assumed(struct scheduler *s, const struct object *job,
                       const struct member *m)
{
    auto_str key = STR_INIT(GANG_KEY_MAX), origin = STR_INIT(GANG_KEY_MAX);
    struct sched_hold h = {
        .uid = job->uid,
        .instance_uid = m->instance_uid,
        .cpu_milli = m->reserve.cpu_milli,
        .memory_mib = m->reserve.memory_mib,
        .disk_mib = m->reserve.disk_mib,
        .gpu_uuids = (const char *const *)m->gpus,
        .n_gpus = m->n_gpus,
        .ns = job->ns,
        .name = job->name,
        .priority = object_get_int(job, "spec.priority", 0),
        .preemptible = object_get_bool(job, "spec.preemptible"),
        .origin = origin_of(job, &origin),
        .gang = gang_of(job, &key),
    };

    scheduler_hold(s, &h);
}

/* --- instances --------------------------------------------------------------------- */

static bool
is_limited(struct span engine, const char *code)
{
    struct span list, item;
    const char *cursor = NULL;

    if (!jscan_member(engine, "limitations", &list) || list.len == 0 ||
        list.ptr[0] != '[')
        return false;
    while (jscan_next_item(list, &cursor, &item)) {
        auto_str text = STR_INIT(4096);
        if (jscan_string(item, &text) && str_starts(text.ptr, code))
            return true;
    }
    return false;
}

static unsigned
read_engines(const struct object *o)
{
    struct span array, item, raw;
    const char *cursor = NULL;
    unsigned engines = 0;

    if (!object_path(o, "status.agent.engines", &array) || array.len == 0 ||
        array.ptr[0] != '[')
        return 0;
    while (jscan_next_item(array, &cursor, &item)) {
        if (!jscan_member(item, "available", &raw) || !jscan_bool(raw) ||
            !jscan_member(item, "name", &raw))
            continue;
        if (jscan_is(raw, "docker"))
            engines |= SCHED_DOCKER;
        else if (jscan_is(raw, "process"))
            engines |= is_limited(item, "RootFileSystem: ") ? SCHED_PROCESS
                                                            : SCHED_PROCESS | SCHED_ROOT;
    }
    return engines;
}

void
scheduler_tell_instance(struct scheduler *s, const struct object *o)
{
    struct resource_have *have = xnew(struct resource_have);
    struct words uuids = {0};
    char phase[32], fleet[NAME_MAX_LEN], pressure[256];

    resources_of_instance(o, have);
    read_words(o, "status.agent.inventory.gpus", "uuid", &uuids);
    object_get_string(o, "status.phase", phase, sizeof(phase));
    object_get_string(o, "spec.fleetName", fleet, sizeof(fleet));
    object_get_string(o, "status.agent.diskPressure", pressure, sizeof(pressure));
    struct sched_instance i = {
        .uid = o->uid,
        .ns = o->ns,
        .name = o->name,
        .fleet = fleet,
        .usable = streq(phase, "Ready") && o->facts.deleting_s == 0 &&
                  !object_get_bool(o, "spec.unschedulable") && pressure[0] == '\0',
        .apart = object_get_bool(o, "status.apart"),
        .engines = read_engines(o),
        .blocks = object_get_int(o, "status.blocks", 0),
        .capacity = have,
        .gpu_uuids = (const char *const *)uuids.list.items,
    };
    scheduler_set_instance(s, &i);
    words_done(&uuids);
    free(have);
}
