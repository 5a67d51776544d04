/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Table tests of every plan(): one JSON file per kind in tests/unit/cases/<kind>/, a list
 * of {name, desired, observed, now, expect}. The plan is pure, so a case is data only.
 * Times are RFC 3339; "now" is both clocks, observed.*Ms are monotonic milliseconds.
 */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/vec.h"
#include "controllers/fleet/fleet_plan.h"
#include "controllers/instance/instance_plan.h"
#include "controllers/job/job_plan.h"
#include "controllers/run/run_plan.h"

enum { CASES_MAX = 4 << 20 };

/* The case's object with what every stored object has. */
static struct object *
object_of(const json_t *part, const char *kind, const char *name)
{
    json_t *o = json_deep_copy(part);
    json_t *meta = json_object_get(o, "metadata");
    struct object *ret = NULL;
    struct error e = ERROR_INIT;
    json_t *defaults =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:i}", "name", name, "namespace", "default",
                  "uid", "uid-1", "resourceVersion", "7", "creationTimestamp",
                  "2026-01-01T00:00:00Z", "generation", 1);

    json_object_set_new(o, "apiVersion", json_string("drover.dev/v1"));
    json_object_set_new(o, "kind", json_string(kind));
    if (meta == NULL) {
        meta = json_object();
        json_object_set_new(o, "metadata", meta);
    }
    json_object_update_missing(meta, defaults);
    json_decref(defaults);
    autofree char *text = json_dumps(o, JSON_COMPACT);
    json_decref(o);
    if (object_from_json(NULL, text, strlen(text), &ret, &e) < 0)
        fail_msg("%s: %s", text, e.msg);
    return ret;
}

static int64_t
time_of(const json_t *c, const char *key)
{
    const char *text = json_string_value(json_object_get(c, key));
    int64_t ns = 0;

    if (text != NULL && !clock_parse(text, strlen(text), &ns))
        fail_msg("%s is not a time", text);
    return ns;
}

static void
put(json_t *o, const char *key, const char *value)
{
    if (value != NULL && value[0] != '\0')
        json_object_set_new(o, key, json_string(value));
}

static void
put_true(json_t *o, const char *key, bool value)
{
    if (value)
        json_object_set_new(o, key, json_true());
}

static void
put_int(json_t *o, const char *key, int64_t value)
{
    if (value != 0)
        json_object_set_new(o, key, json_integer(value));
}

static void
put_time(json_t *o, const char *key, int64_t ns)
{
    char text[CLOCK_RFC3339_LEN];

    clock_format(ns, text);
    if (ns != 0)
        json_object_set_new(o, key, json_string(text));
}

/* --- run --------------------------------------------------------------------------- */

/* The only one of "r-0-0-<attempt>" as its attempt, else names. */
static void
put_created(json_t *out, const struct run_plan *p)
{
    json_t *list = json_array();

    if (p->create.len == 1 && p->create.items[0].replica == 0 &&
        p->create.items[0].node == 0) {
        json_object_set_new(out, "createJob", json_integer(p->create.items[0].attempt));
        json_decref(list);
        return;
    }
    vec_foreach (n, &p->create) {
        autofree char *name = xasprintf("%lld-%lld-%lld", (long long)n->replica,
                                        (long long)n->node, (long long)n->attempt);
        json_array_append_new(list, json_string(name));
    }
    if (json_array_size(list) > 0)
        json_object_set(out, "createJobs", list);
    json_decref(list);
}

static void
put_stopped(json_t *out, const struct run_plan *p)
{
    json_t *list = json_array();

    vec_foreach (s, &p->stop)
        json_array_append_new(list, json_pack("[s, s, s]", s->job->o->name,
                                              desired_name(s->to), s->reason));
    if (p->stop.len == 1)
        json_object_set(out, "stop", json_array_get(list, 0));
    else if (p->stop.len > 1)
        json_object_set(out, "stopAll", list);
    json_decref(list);
}

static void
put_jobs(json_t *out, const char *key, const struct job_list *jobs)
{
    json_t *list = json_array();

    vec_foreach (j, &jobs->list)
        json_array_append_new(list, json_string((*j)->o->name));
    if (json_array_size(list) > 0)
        json_object_set(out, key, list);
    json_decref(list);
}

static void
put_counts(json_t *out, const struct run_plan *p)
{
    const struct run_counts *c = &p->counts;

    if (c->waiting + c->active + c->done + c->failed > 0)
        json_object_set_new(out, "elements",
                            json_pack("[I, I, I, I]", (json_int_t)c->waiting,
                                      (json_int_t)c->active, (json_int_t)c->done,
                                      (json_int_t)c->failed));
}

enum { JOBS_MAX = 16 };

static json_t *
run_outcome(struct run_plan *p)
{
    json_t *out = json_object();

    put_created(out, p);
    put_stopped(out, p);
    put_jobs(out, "release", &p->release);
    put_jobs(out, "requeue", &p->requeue);
    put_jobs(out, "forget", &p->forget);
    put_counts(out, p);
    put_true(out, "addFinalizer", p->add_finalizer);
    put_true(out, "dropFinalizer", p->drop_finalizer);
    put_true(out, "deleteRun", p->delete_run);
    put_true(out, "began", p->began);
    if (p->write) {
        put(out, "phase", phase_name(p->phase));
        put(out, "reason", p->reason);
        put(out, "message", p->message);
        put(out, "waits", p->wait_reason);
        put_true(out, "rejected", !p->accepted);
        put_time(out, "startedAt", p->started_ns);
        put_time(out, "finishedAt", p->finished_ns);
        put_time(out, "nextStartAt", p->next_start_ns);
    }
    put_int(out, "requeueMs", p->requeue_ms);
    run_plan_done(p);
    return out;
}

static enum depends
depends_of(const json_t *observed)
{
    const char *text = json_string_value(json_object_get(observed, "depends"));

    if (text == NULL)
        return DEPENDS_MET;
    return streq(text, "waits") ? DEPENDS_WAITS : DEPENDS_FAILED;
}

static json_t *
run_case(const json_t *c)
{
    const json_t *observed = json_object_get(c, "observed");
    const json_t *jobs = json_object_get(observed, "jobs");
    struct job_view views[JOBS_MAX];
    struct object *objects[JOBS_MAX];
    struct run_observed o = {.jobs = views, .n_jobs = json_array_size(jobs)};
    struct run_plan p;
    struct error e = ERROR_INIT;
    char next[32];
    const char *taken[] = {next};

    assert_true(o.n_jobs <= ARRAY_LEN(views));
    json_t *desired = json_deep_copy(json_object_get(c, "desired"));
    json_t *status = json_object_get(observed, "status");
    if (status != NULL)
        json_object_set(desired, "status", status);
    struct object *run = object_of(desired, "Run", "r");
    json_decref(desired);
    assert_int_equal(run_view_read(run, &o.run, &e), 0);
    for (size_t i = 0; i < o.n_jobs; i++) {
        const json_t *j = json_array_get(jobs, i);
        const char *given = json_string_value(json_object_get(j, "name"));
        char name[32];
        snprintf(name, sizeof(name), "r-0-0-%zu", i);
        json_t *object = json_deep_copy(j);
        json_object_del(object, "name");
        json_t *spec = json_object_get(object, "spec");
        if (json_object_get(spec, "released") == NULL)
            json_object_set_new(spec, "released", json_true());
        objects[i] = object_of(object, "Job", given != NULL ? given : name);
        json_decref(object);
        job_view_read(objects[i], &views[i]);
    }
    snprintf(next, sizeof(next), "r-0-0-%zu", o.n_jobs);
    o.taken = taken;
    o.n_taken = json_is_true(json_object_get(observed, "nameTaken"));
    o.invalid = json_string_value(json_object_get(observed, "invalid"));
    o.depends = depends_of(observed);
    o.depends_message = "run other";
    o.wall_ns = time_of(c, "now");
    run_plan_make(&o, &p);
    json_t *out = run_outcome(&p);
    for (size_t i = 0; i < o.n_jobs; i++)
        object_unref(objects[i]);
    object_unref(run);
    return out;
}

/* --- job --------------------------------------------------------------------------- */

static int64_t
number(const json_t *o, const char *key)
{
    return json_integer_value(json_object_get(o, key));
}

static json_t *
job_case(const json_t *c)
{
    const json_t *observed = json_object_get(c, "observed");
    const char *instance = json_string_value(json_object_get(observed, "instance"));
    struct job_observed o = {.lost_after_ms = 120000};
    struct job_plan p;
    json_t *out = json_object();
    json_t *job = json_deep_copy(json_object_get(c, "desired"));

    json_object_update_missing(job, json_object_get(observed, "job") == NULL
                                        ? job
                                        : json_object_get(observed, "job"));
    struct object *object = object_of(job, "Job", "r-0-0-0");
    json_decref(job);
    job_view_read(object, &o.job);
    if (instance != NULL && streq(instance, "gone"))
        o.instance = INSTANCE_GONE;
    else if (instance != NULL && streq(instance, "silent"))
        o.instance = INSTANCE_SILENT;
    o.last_renewal_ms = number(observed, "lastRenewalMs");
    o.now_ms = number(observed, "nowMs");
    o.mass_silence = json_is_true(json_object_get(observed, "massSilence"));
    o.draining = json_is_true(json_object_get(observed, "draining"));
    o.wall_ns = time_of(c, "now");
    job_plan_make(&o, &p);

    put(out, "askStop", p.ask_stop);
    put_true(out, "dropFinalizer", p.drop_finalizer);
    if (p.write) {
        put(out, "phase", phase_name(p.phase));
        put(out, "reason", p.reason);
        put(out, "message", p.message);
        put_time(out, "startedAt", p.started_ns);
        put_time(out, "finishedAt", p.finished_ns);
        if (p.exit.has_code)
            json_object_set_new(out, "exitCode", json_integer(p.exit.code));
        put(out, "signal", p.exit.signal);
        put_true(out, "guard", p.guard);
    }
    put_int(out, "requeueMs", p.requeue_ms);
    object_unref(object);
    return out;
}

/* --- instance, fleet --------------------------------------------------------------- */

static json_t *
instance_case(const json_t *c)
{
    const json_t *observed = json_object_get(c, "observed");
    const json_t *lease = json_object_get(observed, "lease");
    const char *phase = json_string_value(json_object_get(observed, "phase"));
    struct instance_observed o = {.phase =
                                      instance_phase_parse(phase == NULL ? "" : phase),
                                  .now_ms = number(observed, "nowMs")};
    struct instance_plan p;
    json_t *out = json_object();

    if (lease != NULL)
        o.lease = (struct lease_seen){
            .known = true,
            .live = json_is_true(json_object_get(lease, "live")),
            .changed_ms = number(lease, "changedMs"),
            .duration_ms = 40000,
        };
    instance_plan_make(&o, &p);
    put(out, "phase", instance_phase_name(p.phase));
    put(out, "reason", p.reason);
    put_int(out, "requeueMs", p.requeue_ms);
    return out;
}

static json_t *
fleet_case(const json_t *c)
{
    static const char *const verbs[] = {"create", "update", "delete"};
    const json_t *observed = json_object_get(c, "observed");
    struct fleet_member members[8] = {0};
    auto_fleet_hosts hosts = {0};
    auto_violations problems = {0};
    struct fleet_observed o = {
        .deleting = json_is_true(json_object_get(observed, "deleting")),
        .has_finalizer = json_is_true(json_object_get(observed, "finalizer")),
        .hosts = &hosts,
        .members = members};
    struct fleet_plan p;
    const json_t *m;
    json_t *out = json_object();

    json_array_foreach (json_object_get(observed, "instances"), o.n, m) {
        const char *name = json_string_value(json_object_get(m, "name"));
        const char *reason = json_string_value(json_object_get(m, "reason"));
        members[o.n] = (struct fleet_member){
            .name = name == NULL ? "agent" : name,
            .ready = json_is_true(json_object_get(m, "ready")),
            .deleting = json_is_true(json_object_get(m, "deleting")),
            .foreign = json_is_true(json_object_get(m, "foreign")),
            .is_host = json_object_get(m, "spec") != NULL,
            .spec = json_object_get(m, "spec"),
            .reason = reason == NULL ? "" : reason,
            .message = "",
        };
    }
    fleet_read_hosts("f", json_object_get(json_object_get(c, "desired"), "spec"), &hosts,
                     &problems);
    o.invalid = violations_errors(&problems) > 0 ? "invalid" : NULL;
    fleet_plan_make(&o, &p);
    put(out, "phase", p.phase);
    put(out, "message", p.message);
    put(out, "reason", p.reason);
    json_object_set_new(out, "instances", json_integer(p.instances));
    json_object_set_new(out, "ready", json_integer(p.ready));
    put_true(out, "addFinalizer", p.add_finalizer);
    put_true(out, "dropFinalizer", p.drop_finalizer);
    vec_foreach (a, &p.actions) {
        json_t *list = json_object_get(out, "actions");
        if (list == NULL) {
            list = json_array();
            json_object_set_new(out, "actions", list);
        }
        json_array_append_new(
            list, json_sprintf("%s %s", verbs[a->what],
                               a->host != NULL ? a->host->name : a->member->name));
    }
    fleet_plan_done(&p);
    return out;
}

/* --- the tables -------------------------------------------------------------------- */

static void
check_file(const char *path, json_t *(*plan)(const json_t *c), unsigned *failures)
{
    auto_str text = STR_INIT(CASES_MAX);
    struct error e = ERROR_INIT;
    json_error_t je;
    size_t i;
    const json_t *c;

    if (fs_read(path, &text, &e) < 0)
        fail_msg("%s", e.msg);
    json_t *cases = json_loadb(text.ptr, text.len, 0, &je);
    if (cases == NULL)
        fail_msg("%s:%d: %s", path, je.line, je.text);
    json_array_foreach (cases, i, c) {
        const json_t *expect = json_object_get(c, "expect");
        json_t *got = plan(c);
        if (!json_equal(got, expect)) {
            autofree char *want = json_dumps(expect, JSON_SORT_KEYS);
            autofree char *have = json_dumps(got, JSON_SORT_KEYS);
            print_error("%s\n  expected %s\n  got      %s\n",
                        json_string_value(json_object_get(c, "name")), want, have);
            (*failures)++;
        }
        json_decref(got);
    }
    print_message("%zu cases in %s\n", json_array_size(cases), strrchr(path, '/') + 1);
    assert_true(json_array_size(cases) > 0);
    json_decref(cases);
}

static void
check_kind(const char *kind, json_t *(*plan)(const json_t *c))
{
    autofree char *dir = xasprintf("%s/tests/unit/cases/%s", DROVER_SOURCE_DIR, kind);
    DIR *d = opendir(dir);
    unsigned failures = 0, files = 0;
    struct dirent *entry;

    if (d == NULL)
        fail_msg("%s cannot be read", dir);
    while ((entry = readdir(d)) != NULL) {
        autofree char *path = fs_join(dir, entry->d_name);
        if (!str_ends(path, ".json"))
            continue;
        check_file(path, plan, &failures);
        files++;
    }
    closedir(d);
    assert_true(files > 0);
    assert_int_equal(failures, 0);
}

static void
runs(void **state)
{
    UNUSED(state);
    check_kind("run", run_case);
}

static void
jobs(void **state)
{
    UNUSED(state);
    check_kind("job", job_case);
}

static void
instances(void **state)
{
    UNUSED(state);
    check_kind("instance", instance_case);
}

static void
fleets(void **state)
{
    UNUSED(state);
    check_kind("fleet", fleet_case);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs),
        cmocka_unit_test(jobs),
        cmocka_unit_test(instances),
        cmocka_unit_test(fleets),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
