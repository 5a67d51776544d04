/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fleet of simulated machines for hack/bench: makes Instances, keeps their Leases,
 * claims the jobs that are bound to them and reports them running; nothing is executed.
 * Driven by words on stdin, one a line; answers each with a line of JSON on stdout:
 *
 *   instances N GPUS      N ready Instances of 64 cores
 *   jobs N SHAPES         N queued one-GPU Jobs of so many shapes
 *   runs N NODES          N Runs of one node, or of a gang of NODES
 *   agents                from now on, bound jobs are claimed and run
 *   leases                from now on, Leases are renewed every 10 s
 *   bound N               waits until N jobs are bound: seconds from the first to the
 * last running N             waits until N jobs are reported running sleep S
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/jtok.h"
#include "base/clock.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/vec.h"
#include "control/async.h"
#include "control/informer.h"
#include "io/loop.h"

enum { WINDOW = 256, LEASE_S = 40, RENEW_MS = 10000, WAIT_MS = 300000, LINE = 128 };

struct machine {
    char name[32], uid[64];
    int64_t renew_ms; /* 0: never */
};

struct fleet {
    struct loop *loop;
    struct http_multi *multi;
    struct async_client *async;
    struct informer *jobs;
    struct map *seen; /* job uid -> (void *) of enum progress */
    vec(struct machine) machines;
    size_t in_flight, n_failed;
    bool agents, leases;
    size_t n_bound, n_running, n_renewals, n_reports;
    int64_t first_bound_ns, last_bound_ns, last_running_ns;
    int gpus;
};

enum progress {
    PROGRESS_NONE,
    PROGRESS_BOUND,
    PROGRESS_CLAIMING,
    PROGRESS_CLAIMED,
    PROGRESS_STARTING,
    PROGRESS_RUNNING
};

static void
die(const char *what, const struct error *e)
{
    fprintf(stderr, "sim_fleet: %s: %s\n", what, e->msg);
    exit(1);
}

static void
turn(struct fleet *f)
{
    loop_turn(f->loop, 50);
}

/* --- requests ---------------------------------------------------------------------- */

static void
answered(void *arg, struct span body, const struct error *e)
{
    struct fleet *f = arg;

    UNUSED(body);
    f->in_flight--;
    if (e->code != ERR_OK && f->n_failed++ == 0)
        fprintf(stderr, "sim_fleet: %s\n", e->msg);
}

/* Takes body. */
static void
ask(struct fleet *f, const char *method, const struct resource *r, const char *name,
    const char *sub, json_t *body, async_done_fn *done, void *arg)
{
    auto_str path = STR_INIT(1024);
    bool post = streq(method, "POST");

    client_path(&path, r, "default", post ? NULL : name, sub);
    struct client_request q = {.method = method,
                               .path = path.ptr,
                               .content_type = post ? "application/json"
                                                    : "application/merge-patch+json"};
    while (f->in_flight >= WINDOW)
        turn(f);
    f->in_flight++;
    async_json(f->async, &q, body, done == NULL ? answered : done, arg == NULL ? f : arg);
    json_decref(body);
}

static void
drain(struct fleet *f)
{
    while (f->in_flight > 0)
        turn(f);
    if (f->n_failed > 0)
        exit(1);
}

/* --- machines ---------------------------------------------------------------------- */

struct made {
    struct fleet *f;
    size_t i;
};

static void
made_instance(void *arg, struct span body, const struct error *e)
{
    struct made *m = arg;
    auto_object *o = NULL;
    struct error bad = ERROR_INIT;

    m->f->in_flight--;
    if (e->code != ERR_OK)
        die("instance", e);
    if (object_from_json(NULL, body.ptr, body.len, &o, &bad) < 0)
        die("instance", &bad);
    snprintf(m->f->machines.items[m->i].uid, sizeof(m->f->machines.items[m->i].uid), "%s",
             o->uid);
    free(m);
}

static json_t *
inventory(size_t i, int gpus)
{
    json_t *list = json_array();

    for (int g = 0; g < gpus; g++) {
        autofree char *uuid = xasprintf("GPU-%zu-%d", i, g);
        json_array_append_new(list,
                              json_pack("{s:s, s:i, s:s, s:s, s:i, s:b}", "uuid", uuid,
                                        "index", g, "vendor", "nvidia", "name", "A100",
                                        "memoryMiB", 81920, "healthy", 1));
    }
    return json_pack("{s:s, s:i, s:i, s:i, s:i, s:o}", "arch", "x86_64", "cpus", 64,
                     "memoryMiB", 524288, "diskMiB", 1000000, "gpuCount", gpus, "gpus",
                     list);
}

static json_t *
lease_spec(void)
{
    char now[CLOCK_RFC3339_US_LEN];

    clock_format_us(clock_wall_ns(), now);
    return json_pack("{s:s, s:i, s:s}", "holderIdentity", "sim", "leaseDurationSeconds",
                     LEASE_S, "renewTime", now);
}

static void
make_instances(struct fleet *f, size_t n, int gpus)
{
    f->gpus = gpus;
    for (size_t i = 0; i < n; i++) {
        struct machine m = {0};
        struct made *made = xnew(struct made);
        snprintf(m.name, sizeof(m.name), "sim-%05zu", i);
        vec_push(&f->machines, m);
        *made = (struct made){f, i};
        ask(f, "POST", &resource_instances, NULL, NULL,
            json_pack("{s:s, s:s, s:{s:s}, s:{s:s}}", "apiVersion", "drover.dev/v1",
                      "kind", "Instance", "metadata", "name", m.name, "spec", "fleetName",
                      "sim"),
            made_instance, made);
    }
    drain(f);
    for (size_t i = 0; i < n; i++)
        ask(f, "PATCH", &resource_instances, f->machines.items[i].name, "status",
            json_pack("{s:{s:s, s:{s:s, s:[{s:s, s:b}], s:o}}}", "status", "phase",
                      "Ready", "agent", "journalID", "sim", "engines", "name", "process",
                      "available", 1, "inventory", inventory(i, gpus)),
            NULL, NULL);
    drain(f);
}

static void
make_leases(struct fleet *f)
{
    for (size_t i = 0; i < f->machines.len; i++) {
        struct machine *m = &f->machines.items[i];
        ask(f, "POST", &resource_leases, NULL, NULL,
            json_pack("{s:s, s:s, s:{s:s, s:{s:s}, s:[{s:s, s:s, s:s, s:s}]}, s:o}",
                      "apiVersion", "coordination.k8s.io/v1", "kind", "Lease", "metadata",
                      "name", m->name, "labels", "drover.dev/instance", m->uid,
                      "ownerReferences", "apiVersion", "drover.dev/v1", "kind",
                      "Instance", "name", m->name, "uid", m->uid, "spec", lease_spec()),
            NULL, NULL);
        m->renew_ms = clock_now_ms() + (int64_t)i * RENEW_MS / (int64_t)f->machines.len;
    }
    drain(f);
    f->leases = true;
}

static void
renew(struct fleet *f)
{
    int64_t now = clock_now_ms();

    for (size_t i = 0; f->leases && i < f->machines.len && f->in_flight < WINDOW; i++) {
        struct machine *m = &f->machines.items[i];
        if (m->renew_ms > now)
            continue;
        m->renew_ms = now + RENEW_MS;
        f->n_renewals++;
        ask(f, "PATCH", &resource_leases, m->name, NULL,
            json_pack("{s:o}", "spec", lease_spec()), NULL, NULL);
    }
}

/* --- jobs -------------------------------------------------------------------------- */

static json_t *
needs(size_t shape, bool gpu)
{
    autofree char *cpu = xasprintf("%zu..", 1 + shape);
    json_t *o = json_pack("{s:s, s:s}", "cpu", cpu, "memory", "8GB..");

    if (gpu)
        json_object_set_new(o, "gpu", json_integer(1));
    return o;
}

static void
make_jobs(struct fleet *f, size_t n, size_t shapes)
{
    for (size_t i = 0; i < n; i++) {
        char name[32], queued[CLOCK_RFC3339_US_LEN];
        snprintf(name, sizeof(name), "job-%06zu-0-0-0", i);
        clock_format_us(clock_wall_ns(), queued);
        ask(f, "POST", &resource_jobs, NULL, NULL,
            json_pack("{s:s, s:s, s:{s:s, s:{s:s}}, s:{s:s, s:s, s:[s, s, s], s:{s:s, "
                      "s:s}, s:o, s:s, s:b}}",
                      "apiVersion", "drover.dev/v1", "kind", "Job", "metadata", "name",
                      name, "labels", "drover.dev/run", name, "spec", "runName", name,
                      "runUID", name, "argv", "/bin/sh", "-c", "true", "env",
                      "DROVER_RUN_NAME", name, "DROVER_NODE_RANK", "0", "resources",
                      needs(i % shapes, true), "queuedAt", queued, "released", 1),
            NULL, NULL);
    }
    drain(f);
}

static void
make_runs(struct fleet *f, size_t n, int nodes)
{
    for (size_t i = 0; i < n; i++) {
        char name[32];
        snprintf(name, sizeof(name), "run%s%zu", nodes > 1 ? "gang" : "", i);
        json_t *spec = json_pack("{s:s, s:[s], s:o}", "type", "task", "commands",
                                 "sleep 1000", "resources", needs(0, f->gpus > 0));
        if (nodes > 1)
            json_object_set_new(spec, "nodes", json_integer(nodes));
        ask(f, "POST", &resource_runs, NULL, NULL,
            json_pack("{s:s, s:s, s:{s:s}, s:o}", "apiVersion", "drover.dev/v1", "kind",
                      "Run", "metadata", "name", name, "spec", spec),
            NULL, NULL);
    }
    drain(f);
}

/* --- agents ------------------------------------------------------------------------ */

struct report {
    struct fleet *f;
    char *uid;
    enum progress then;
};

static void move_on(struct fleet *f, const struct object *o, bool answer);

static void
reported(void *arg, struct span body, const struct error *e)
{
    struct report *r = arg;
    struct fleet *f = r->f;
    auto_object *o = informer_find_uid(f->jobs, r->uid);

    UNUSED(body);
    f->in_flight--;
    if (e->code != ERR_OK)
        die("report", e);
    map_put(f->seen, r->uid, (void *)(uintptr_t)r->then);
    f->n_reports++;
    if (r->then == PROGRESS_RUNNING) {
        f->n_running++;
        f->last_running_ns = clock_now_ns();
    } else if (o != NULL) {
        move_on(f, o, true);
    }
    free(r->uid);
    free(r);
}

/* Takes agent. */
static void
say(struct fleet *f, const struct object *o, enum progress now, enum progress then,
    json_t *agent)
{
    struct report *r = xnew(struct report);
    auto_str path = STR_INIT(1024);
    json_t *body = json_pack("{s:{s:o}}", "status", "agent", agent);

    *r = (struct report){f, xstrdup(o->uid), then};
    map_put(f->seen, o->uid, (void *)(uintptr_t)now);
    client_path(&path, &resource_jobs, o->ns, o->name, "status");
    struct client_request q = {.method = "PATCH",
                               .path = path.ptr,
                               .content_type = "application/merge-patch+json"};
    f->in_flight++;
    async_json(f->async, &q, body, reported, r);
    json_decref(body);
}

static bool
has(const struct object *o, const char *path)
{
    struct span raw;

    return object_path(o, path, &raw) && raw.len > 2 && !jscan_is(raw, "false");
}

static void
move_on(struct fleet *f, const struct object *o, bool answer)
{
    enum progress p = (enum progress)(uintptr_t)map_get(f->seen, o->uid);
    char uid[64], now[CLOCK_RFC3339_US_LEN];

    if (p == PROGRESS_NONE && has(o, "spec.instanceUID")) {
        if (f->n_bound++ == 0)
            f->first_bound_ns = clock_now_ns();
        f->last_bound_ns = clock_now_ns();
        p = PROGRESS_BOUND;
        map_put(f->seen, o->uid, (void *)(uintptr_t)p);
    }
    UNUSED(answer);
    if (!f->agents)
        return;
    clock_format_us(clock_wall_ns(), now);
    if (p == PROGRESS_BOUND) {
        object_get_string(o, "spec.instanceUID", uid, sizeof(uid));
        say(f, o, PROGRESS_CLAIMING, PROGRESS_CLAIMED,
            json_pack("{s:s, s:s, s:{s:s, s:s}}", "state", "Claimed", "since", now,
                      "claim", "instanceUID", uid, "journalID", "sim"));
    } else if (p == PROGRESS_CLAIMED && has(o, "spec.released")) {
        say(f, o, PROGRESS_STARTING, PROGRESS_RUNNING,
            json_pack("{s:s, s:s, s:s}", "state", "Running", "since", now, "startedAt",
                      now));
    }
}

static void
job_set(void *arg, const struct object *before, const struct object *now, bool initial)
{
    UNUSED(before);
    UNUSED(initial);
    move_on(arg, now, false);
}

/* --- words ------------------------------------------------------------------------- */

static void
wait_for(struct fleet *f, const size_t *count, size_t n)
{
    int64_t until = clock_now_ms() + WAIT_MS;

    while (*count < n && clock_now_ms() < until) {
        renew(f);
        turn(f);
    }
}

static void
start_agents(struct fleet *f)
{
    auto_object_list all = {0};

    f->agents = true;
    informer_all(f->jobs, &all);
    vec_foreach (o, &all.list)
        move_on(f, *o, false);
}

static void
obey(struct fleet *f, const char *line)
{
    char word[32] = "";
    unsigned a = 0, b = 1;
    int64_t start = clock_now_ns();

    sscanf(line, "%31s %u %u", word, &a, &b);
    f->n_reports = f->n_renewals = 0;
    if (streq(word, "instances"))
        make_instances(f, a, (int)b);
    else if (streq(word, "jobs"))
        make_jobs(f, a, b);
    else if (streq(word, "runs"))
        make_runs(f, a, (int)b);
    else if (streq(word, "leases"))
        make_leases(f);
    else if (streq(word, "agents"))
        start_agents(f);
    else if (streq(word, "bound"))
        wait_for(f, &f->n_bound, a);
    else if (streq(word, "running"))
        wait_for(f, &f->n_running, a);
    else if (streq(word, "sleep"))
        for (int64_t end = clock_now_ms() + a * 1000; clock_now_ms() < end;) {
            renew(f);
            turn(f);
        }
    printf("{\"seconds\": %.3f, \"bound\": %zu, \"running\": %zu, \"binding\": %.3f, "
           "\"reports\": %zu, \"renewals\": %zu, \"last\": %lld}\n",
           (double)(clock_now_ns() - start) / 1e9, f->n_bound, f->n_running,
           (double)(f->last_bound_ns - f->first_bound_ns) / 1e9, f->n_reports,
           f->n_renewals, (long long)f->last_running_ns);
    fflush(stdout);
}

static void
input(void *arg, int fd, uint32_t events)
{
    UNUSED(fd);
    UNUSED(events);
    *(bool *)arg = true;
}

int
main(int argc, char **argv)
{
    struct fleet f = {0};
    struct error e = ERROR_INIT;
    struct http_target target = {.url = "http://localhost"};
    struct informer_handler on_job = {job_set, NULL, NULL, &f};
    struct loop_io *in = NULL;
    bool readable = false;
    char line[LINE];

    if (argc != 3)
        return fprintf(stderr, "usage: sim_fleet SOCKET TOKEN-FILE\n"), 2;
    target.unix_socket = argv[1];
    target.bearer_file = argv[2];
    if (loop_new(&f.loop, &e) < 0 || http_multi_new(f.loop, &f.multi, &e) < 0 ||
        loop_io_add(f.loop, "stdin", 0, 1 /* EPOLLIN */, input, &readable, &in, &e) < 0)
        die("start", &e);
    f.async = async_http_new(f.multi, &target);
    struct informer_http *http = informer_http_new(f.loop, f.multi, &target);
    struct watch_source source = informer_http_source(http);
    f.jobs = informer_new(&resource_jobs);
    f.seen = map_new(NULL);
    informer_add_handler(f.jobs, &on_job);
    void *handle = source.ops->start(source.self, f.jobs);
    while (!informer_synced(f.jobs))
        turn(&f);
    for (;;) {
        while (!readable) {
            renew(&f);
            turn(&f);
        }
        readable = false;
        if (fgets(line, sizeof(line), stdin) == NULL)
            break;
        obey(&f, line);
    }
    source.ops->stop(source.self, handle);
    informer_http_free(http);
    async_free(f.async);
    informer_free(f.jobs);
    map_free(f.seen);
    vec_done(&f.machines);
    loop_io_free(in);
    http_multi_free(f.multi);
    loop_free(f.loop);
    return 0;
}
