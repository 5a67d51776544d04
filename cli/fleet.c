/* SPDX-License-Identifier: Apache-2.0 */
/* drover fleet: fleets with their machines, what these have and what runs there. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/session.h"
#include "cli/table.h"

static int
list(struct session *s, const struct resource *r, json_t **ret, struct error *e)
{
    auto_str path = STR_INIT(2048);

    client_path(&path, r, s->ns, NULL, NULL);
    return session_get_json(s, path.ptr, NULL, ret, e);
}

static size_t
jobs_on(const json_t *jobs, const char *uid)
{
    size_t i, n = 0;
    const json_t *j;

    json_array_foreach (json_object_get(jobs, "items"), i, j) {
        if (streq(js(j, "spec.instanceUID"), uid) &&
            !cli_final_phase(js(j, "status.phase")))
            n++;
    }
    return n;
}

/* "2x A100 80GB", from the first one: machines with several kinds are rare. */
static void
gpu_text(const json_t *instance, char *out, size_t size)
{
    const json_t *gpus = js_get(instance, "status.agent.inventory.gpus");
    const json_t *first = json_array_get(gpus, 0);
    size_t n = json_array_size(gpus), same = 0, i;
    const json_t *g;

    json_array_foreach (gpus, i, g)
        same += streq(js(g, "name"), js(first, "name"));
    snprintf(out, size, "%s", n == 0 ? "-" : "");
    if (n > 0)
        snprintf(out, size, "%zux %s %lldGB%s", same, js(first, "name"),
                 (long long)((js_int(first, "memoryMiB", 0) + 512) / 1024),
                 same < n ? " +" : "");
}

static void
number_cell(struct table *t, const json_t *o, const char *path, int64_t divisor,
            const char *unit)
{
    int64_t n = js_int(o, path, -1);
    char text[32] = "-";

    if (n >= 0)
        snprintf(text, sizeof(text), "%lld%s", (long long)(n / divisor), unit);
    table_cell(t, text);
}

static void
add_row(struct table *t, const json_t *fleet, const json_t *i, const json_t *jobs)
{
    bool cordoned = json_is_true(js_get(i, "spec.unschedulable"));
    autofree char *phase = xasprintf(
        "%s%s", js(i, "status.phase")[0] != '\0' ? js(i, "status.phase") : "Pending",
        cordoned ? ",Cordoned" : "");
    char gpu[96], age[32], busy[32];

    gpu_text(i, gpu, sizeof(gpu));
    cli_age(js(i, "metadata.creationTimestamp"), age, sizeof(age));
    snprintf(busy, sizeof(busy), "%zu", jobs_on(jobs, js(i, "metadata.uid")));
    table_cell(t, fleet == NULL ? "" : js(fleet, "metadata.name"));
    table_cell(t, js(i, "metadata.name"));
    table_cell(t, phase);
    number_cell(t, i, "status.agent.inventory.cpus", 1, "");
    number_cell(t, i, "status.agent.inventory.memoryMiB", 1024, "GB");
    number_cell(t, i, "status.agent.inventory.diskMiB", 1024, "GB");
    table_cell(t, gpu);
    number_cell(t, i, "status.blocks", 1, "");
    table_cell(t, busy);
    table_cell(t, age);
    table_cell(t, js(i, "status.reason"));
}

static void
add_fleet(struct table *t, const json_t *fleet, const json_t *instances,
          const json_t *jobs)
{
    const char *name = js(fleet, "metadata.name");
    bool first = true;
    size_t i;
    const json_t *inst;

    json_array_foreach (json_object_get(instances, "items"), i, inst) {
        if (!streq(js(inst, "spec.fleetName"), name))
            continue;
        add_row(t, first ? fleet : NULL, inst, jobs);
        first = false;
    }
    if (!first)
        return;
    table_cell(t, name);
    for (size_t c = 1; c < t->columns; c++)
        table_cell(t, c == 1 ? "(no machine)" : "");
}

/* What the machines that are not ready have to say. */
static void
print_trouble(const json_t *fleets)
{
    size_t i;
    const json_t *f;

    json_array_foreach (json_object_get(fleets, "items"), i, f) {
        if (js(f, "status.message")[0] != '\0')
            printf("%s: %s\n", js(f, "metadata.name"), js(f, "status.message"));
    }
}

static int
show(struct session *s, const char *only, struct error *e)
{
    static const char *const header[] = {"FLEET", "INSTANCE", "PHASE", "CPU",
                                         "MEM",   "DISK",     "GPU",   "BLOCKS",
                                         "JOBS",  "AGE",      "REASON"};
    json_t *fleets = NULL, *instances = NULL, *jobs = NULL;
    struct table t;
    bool any = false;
    size_t i;
    const json_t *f;

    int rc = list(s, &resource_fleets, &fleets, e);
    if (rc == 0)
        rc = list(s, &resource_instances, &instances, e);
    if (rc == 0)
        rc = list(s, &resource_jobs, &jobs, e);
    table_init(&t, ARRAY_LEN(header));
    for (size_t h = 0; h < ARRAY_LEN(header); h++)
        table_cell(&t, header[h]);
    json_array_foreach (json_object_get(fleets, "items"), i, f) {
        if (only != NULL && !streq(only, js(f, "metadata.name")))
            continue;
        add_fleet(&t, f, instances, jobs);
        any = true;
    }
    if (rc == 0 && !any && only != NULL)
        rc = error_set(e, ERR_NOT_FOUND, "there is no fleet \"%s\"", only);
    if (rc == 0 && any)
        table_print(&t, stdout, true);
    if (rc == 0 && !any)
        puts("no fleets");
    if (rc == 0)
        print_trouble(fleets);
    table_done(&t);
    json_decref(fleets);
    json_decref(instances);
    json_decref(jobs);
    return rc;
}

static int
run(int argc, char **argv)
{
    static const struct option longs[] = {SESSION_OPTIONS, {0}};
    struct session s = {.verb = &verb_fleet};
    struct error e = ERROR_INIT;
    int c;

    while ((c = getopt_long(argc, argv, SESSION_SHORT, longs, NULL)) != -1) {
        if (session_option(&s, c, optarg))
            continue;
        if (c == 'h') {
            cli_usage(&verb_fleet);
            return 0;
        }
        return cli_misuse(&verb_fleet, "see drover fleet --help");
    }
    if (argc - optind > 0 && streq(argv[optind], "list"))
        optind++;
    if (argc - optind > 1)
        return cli_misuse(&verb_fleet, "name one fleet");
    int rc = session_open(&s, &e);
    if (rc == 0)
        rc = show(&s, argc > optind ? argv[optind] : NULL, &e);
    session_close(&s);
    return rc < 0 ? cli_fail(&verb_fleet, &e) : 0;
}

const struct cli_verb verb_fleet = {
    .name = "fleet",
    .args = "[list] [NAME]",
    .summary = "show fleets with their machines and what these have",
    .help = SESSION_HELP
    "\nFleets are made by `drover apply`, and go with `drover delete fleet/NAME`.\n",
    .run = run,
};
