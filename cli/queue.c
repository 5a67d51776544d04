/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drover queue: jobs that wait for a place, in the order in which they leave.
 * drover explain run/NAME: why one run waits: what is ahead of it, what it needs, and
 * what each instance lacks. Both are computed here from the jobs and instances as they
 * are.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/resources.h"
#include "base/clock.h"
#include "base/mem.h"
#include "cli/estimate.h"
#include "cli/placement.h"
#include "cli/session.h"
#include "cli/table.h"

static int
list(struct session *s, const struct resource *r, bool all, json_t **ret, struct error *e)
{
    auto_str path = STR_INIT(2048);

    client_path(&path, r, all ? NULL : s->ns, NULL, NULL);
    return session_get_json(s, path.ptr, NULL, ret, e);
}

/* Why it waits, as a code; "" before the scheduler looked at the job. */
static const char *
waits_for(const json_t *job)
{
    return js(placement_unscheduled(job), "reason");
}

static void
add_row(struct table *t, size_t position, const struct estimate *when, bool namespaces)
{
    const json_t *job = when->job;
    char at[CLOCK_RFC3339_LEN] = "unknown";
    char number[32];
    char priority[32];
    char age[32];
    auto_str need = STR_INIT(4096);
    auto_violations v = {0};
    struct resource_req req;
    struct error e = ERROR_INIT;

    snprintf(number, sizeof(number), "%zu", position);
    snprintf(priority, sizeof(priority), "%lld",
             (long long)js_int(job, "spec.priority", 0));
    cli_age(js(job, "spec.queuedAt"), age, sizeof(age));
    if (resources_parse(js_get(job, "spec.resources"), "", &req, &v, &e) == 0)
        resources_text(&req, &need);
    table_cell(t, number);
    if (namespaces)
        table_cell(t, js(job, "metadata.namespace"));
    table_cell(t, js(job, "spec.runName"));
    table_cell(t, js(job, "metadata.name"));
    table_cell(t, priority);
    table_cell(t, age);
    table_cell(t, waits_for(job));
    if (when->start_ns > 0)
        clock_format(when->start_ns, at);
    table_cell(t, at);
    table_cell(t, need.len > 0 ? need.ptr : e.msg);
}

static void
print_queue(const struct estimates *queue, bool namespaces)
{
    static const char *const header[] = {"POSITION", "NAMESPACE", "RUN",
                                         "JOB",      "PRIORITY",  "AGE",
                                         "WHY",      "STARTS",    "NEEDS"};
    const struct estimate *when;
    struct table t;
    size_t i;

    if (estimates_at(queue, 0) == NULL) {
        puts("no job waits for a place");
        return;
    }
    table_init(&t, ARRAY_LEN(header) - !namespaces);
    for (i = 0; i < ARRAY_LEN(header); i++)
        if (namespaces || i != 1)
            table_cell(&t, header[i]);
    for (i = 0; (when = estimates_at(queue, i)) != NULL; i++)
        add_row(&t, i + 1, when, namespaces);
    table_print(&t, stdout, true);
    table_done(&t);
}

static int
queue(struct session *s, struct error *e)
{
    json_t *jobs = NULL, *instances = NULL;
    int rc = list(s, &resource_jobs, s->all_namespaces, &jobs, e);

    if (rc == 0)
        rc = list(s, &resource_instances, s->all_namespaces, &instances, e);
    if (rc == 0) {
        struct estimates *all = estimates_make(jobs, instances, clock_wall_ns());
        print_queue(all, s->all_namespaces);
        estimates_free(all);
    }
    json_decref(jobs);
    json_decref(instances);
    return rc;
}

/* --- the scheduler's own view ------------------------------------------------------ */

/* The QueueState of the namespace; NULL: there is none. */
static json_t *
queue_state(struct session *s, const char *ns)
{
    auto_str path = STR_INIT(2048);
    struct error ignored = ERROR_INIT;
    json_t *state = NULL;

    client_path(&path, &resource_queuestates, ns, "queue", NULL);
    return session_get_json(s, path.ptr, NULL, &state, &ignored) < 0 ? NULL : state;
}

/* The shape that the job is of: it is the first, or needs the same. */
static const json_t *
shape_of(const json_t *state, const json_t *job)
{
    const char *uid = js(job, "metadata.uid");
    const char *engine = js(job, "spec.image")[0] != '\0' ? "docker" : "process";
    bool gang = js_int(job, "spec.nodes", 1) > 1;
    auto_str need = STR_INIT(4096);
    auto_violations v = {0};
    struct resource_req req;
    struct error e = ERROR_INIT;
    const json_t *same = NULL, *sh;
    size_t i;

    if (resources_parse(js_get(job, "spec.resources"), "", &req, &v, &e) == 0)
        resources_text(&req, &need);
    json_array_foreach (js_get(state, "status.shapes"), i, sh) {
        if (streq(js(sh, "uid"), uid))
            return sh;
        if (same == NULL && !gang && js_int(sh, "nodes", 0) == 0 &&
            streq(js(sh, "needs"), need.ptr) && streq(js(sh, "engine"), engine))
            same = sh;
    }
    return same;
}

static void
explain_fleet(const json_t *c)
{
    int64_t looked = js_int(c, "instances", 0), fits = js_int(c, "free", 0);

    printf("  fleet %s: ", js(c, "fleet"));
    if (looked == 0)
        puts("no usable instance");
    else if (fits > 0)
        printf("%lld of %lld instances have room\n", (long long)fits, (long long)looked);
    else
        printf("none of %lld instances has room; nearest is %s: %s\n", (long long)looked,
               js(c, "nearest"), js(c, "lacks"));
}

/* What the scheduler has booked for it, or what playing the queue through comes to. */
static void
explain_start(const json_t *shape, const struct estimate *when)
{
    const char *booked = js(shape, "startsAt");
    char at[CLOCK_RFC3339_LEN] = "";

    if (when->start_ns > 0)
        clock_format(when->start_ns, at);
    if (booked[0] != '\0' && streq(js(shape, "uid"), js(when->job, "metadata.uid")))
        snprintf(at, sizeof(at), "%s", booked);
    if (at[0] == '\0')
        printf("  its start is not known: %s\n", when->why);
    else
        printf("  expected to start by %s (maxDuration of what runs and is ahead)\n", at);
}

static void
explain_shape(const json_t *state, const struct estimate *when)
{
    const json_t *sh = shape_of(state, when->job), *c;
    const char *first = js(sh, "first");
    size_t i;

    explain_start(sh, when);
    if (sh == NULL)
        return;
    if (js_int(sh, "jobs", 0) > 1)
        printf("  one of %lld jobs %s; the first is %s\n",
               (long long)js_int(sh, "jobs", 0),
               js_int(sh, "nodes", 0) > 0 ? "that start together" : "that need the same",
               first);
    json_array_foreach (js_get(sh, "candidates"), i, c)
        explain_fleet(c);
}

/* --- explain ----------------------------------------------------------------------- */

static void
explain_job(const json_t *job, const json_t *jobs, const json_t *instances,
            const json_t *state, const struct estimates *all)
{
    const char *why = waits_for(job);

    printf("Job %s: %s%s\n", js(job, "metadata.name"),
           placement_waits(job) ? "waits" : js(job, "status.phase"),
           placement_waits(job) && why[0] == '\0' ? ", not looked at yet" : "");
    if (!placement_waits(job)) {
        const char *message = js(job, "status.message");
        if (js(job, "status.reason")[0] != '\0')
            printf("  %s%s%s\n", js(job, "status.reason"), message[0] == '\0' ? "" : ": ",
                   message);
        if (js(job, "spec.instanceName")[0] != '\0')
            printf("  on instance %s\n", js(job, "spec.instanceName"));
        return;
    }
    if (why[0] != '\0')
        printf("  %s: %s\n", why, js(job, "status.message"));
    explain_shape(state, estimates_of(all, job));
    placement_explain(job, jobs, instances, stdout);
}

/* A run that waits for something else than a place, or is over. */
static void
explain_without_job(const char *kind, const json_t *o)
{
    const json_t *c =
        cli_final_phase(js(o, "status.phase")) ? NULL : placement_unscheduled(o);
    const char *reason = js(c == NULL ? o : c, c == NULL ? "status.reason" : "reason");
    const char *message = js(c == NULL ? o : c, c == NULL ? "status.message" : "message");

    printf("%s %s has no job: %s\n", kind, js(o, "metadata.name"), js(o, "status.phase"));
    if (reason[0] != '\0')
        printf("  %s%s%s\n", reason, message[0] == '\0' ? "" : ": ", message);
}

static int
explain(struct session *s, const struct named_resource *r, const char *name,
        struct error *e)
{
    auto_str path = STR_INIT(4096);
    json_t *run = NULL, *jobs = NULL, *instances = NULL;
    json_t *state = queue_state(s, s->ns);
    size_t i, n = 0;
    const json_t *j;

    client_path(&path, r->resource, s->ns, name, NULL);
    int rc = session_get_json(s, path.ptr, NULL, &run, e);
    if (rc == 0)
        rc = list(s, &resource_jobs, false, &jobs, e);
    if (rc == 0)
        rc = list(s, &resource_instances, false, &instances, e);
    struct estimates *all =
        rc < 0 ? NULL : estimates_make(jobs, instances, clock_wall_ns());
    const char *uid = js(run, "metadata.uid");
    bool of_run = r->resource == &resource_runs;
    json_array_foreach (json_object_get(jobs, "items"), i, j) {
        if (rc < 0 || !streq(js(j, of_run ? "spec.runUID" : "metadata.uid"), uid))
            continue;
        explain_job(j, jobs, instances, state, all);
        n++;
    }
    if (rc == 0 && n == 0)
        explain_without_job(r->singular, run);
    estimates_free(all);
    json_decref(run);
    json_decref(jobs);
    json_decref(instances);
    json_decref(state);
    return rc;
}

/* --- verbs ------------------------------------------------------------------------- */

/* Common options. 0: go on; else the process' status plus 1. */
static int
options(struct session *s, int argc, char **argv)
{
    static const struct option longs[] = {SESSION_OPTIONS, {0}};
    int c;

    while ((c = getopt_long(argc, argv, SESSION_SHORT, longs, NULL)) != -1) {
        if (session_option(s, c, optarg))
            continue;
        if (c != 'h')
            return cli_misuse(s->verb, "see drover %s --help", s->verb->name) + 1;
        cli_usage(s->verb);
        return 1;
    }
    return 0;
}

static int
run_queue(int argc, char **argv)
{
    struct session s = {.verb = &verb_queue};
    struct error e = ERROR_INIT;
    int rc = options(&s, argc, argv);

    if (rc != 0)
        return rc - 1;
    if (optind != argc)
        return cli_misuse(&verb_queue, "takes no arguments");
    rc = session_open(&s, &e);
    if (rc == 0) {
        session_warn_idle(&s);
        rc = queue(&s, &e);
    }
    session_close(&s);
    return rc < 0 ? cli_fail(&verb_queue, &e) : 0;
}

static int
run_explain(int argc, char **argv)
{
    struct session s = {.verb = &verb_explain};
    const struct named_resource *r = NULL;
    const char *name = NULL;
    struct error e = ERROR_INIT;
    int rc = options(&s, argc, argv);

    if (rc != 0)
        return rc - 1;
    if (optind == argc)
        return cli_misuse(&verb_explain, "name a run or a job, e.g. run/hello");
    rc = cli_target(argv[optind], &r, &name, &e);
    if (rc == 0 && name == NULL && argc - optind == 2)
        name = argv[optind + 1];
    if (rc == 0 && (name == NULL ||
                    (r->resource != &resource_runs && r->resource != &resource_jobs)))
        return cli_misuse(&verb_explain, "name a run or a job, e.g. run/hello");
    if (rc == 0)
        rc = session_open(&s, &e);
    if (rc == 0) {
        session_warn_idle(&s);
        rc = explain(&s, r, name, &e);
    }
    session_close(&s);
    return rc < 0 ? cli_fail(&verb_explain, &e) : 0;
}

const struct cli_verb verb_queue = {
    "queue", "[-A]", "list the jobs that wait for a place, first one first",
    SESSION_HELP "  -A, --all-namespaces\n", run_queue};

const struct cli_verb verb_explain = {"explain", "run/NAME | job/NAME",
                                      "say why a run waits and what each machine lacks",
                                      SESSION_HELP, run_explain};
