/* SPDX-License-Identifier: Apache-2.0 */
/* drover describe: one object for people, with its conditions, jobs and events. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/yaml.h"
#include "base/mem.h"
#include "cli/placement.h"
#include "cli/session.h"
#include "cli/table.h"

static void
field(const char *label, const char *value)
{
    if (value[0] != '\0')
        printf("%-12s %s\n", label, value);
}

static void
field_time(const char *label, const char *value)
{
    char age[32];

    if (value[0] == '\0')
        return;
    cli_age(value, age, sizeof(age));
    printf("%-12s %s (%s ago)\n", label, value, age);
}

static void
print_yaml(const char *label, const json_t *value)
{
    auto_str yaml = STR_INIT(8 << 20);
    struct error e = ERROR_INIT;

    if (value == NULL)
        return;
    autofree char *json = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    if (yaml_write(span_of(json), &yaml, &e) < 0)
        return;
    printf("%s:\n", label);
    char *rest = yaml.ptr;
    char *line;
    while ((line = strsep(&rest, "\n")) != NULL) {
        if (*line != '\0')
            printf("  %s\n", line);
    }
}

static void
print_conditions(const json_t *o)
{
    const json_t *list = js_get(o, "status.conditions");
    static const char *const header[] = {"  CONDITION", "STATUS", "REASON", "SINCE",
                                         "MESSAGE"};
    struct table t;
    size_t i;
    const json_t *c;

    if (json_array_size(list) == 0)
        return;
    table_init(&t, ARRAY_LEN(header));
    for (size_t h = 0; h < ARRAY_LEN(header); h++)
        table_cell(&t, header[h]);
    json_array_foreach (list, i, c) {
        autofree char *type = xasprintf("  %s", js(c, "type"));
        table_cell(&t, type);
        table_cell(&t, js(c, "status"));
        table_cell(&t, js(c, "reason"));
        table_cell(&t, js(c, "lastTransitionTime"));
        table_cell(&t, js(c, "message"));
    }
    puts("Conditions:");
    table_print(&t, stdout, true);
    table_done(&t);
}

static int
print_events(struct session *s, const struct named_resource *r, const json_t *o,
             struct error *e)
{
    auto_str path = STR_INIT(4096);
    json_t *list = NULL;
    size_t i;
    const json_t *ev;

    client_path(&path, &resource_events, s->ns, NULL, NULL);
    str_addf(&path, "?fieldSelector=involvedObject.uid%%3D%s", js(o, "metadata.uid"));
    UNUSED(r);
    if (session_get_json(s, path.ptr, NULL, &list, e) < 0)
        return -(int)e->code;
    if (json_array_size(json_object_get(list, "items")) > 0)
        puts("Events:");
    json_array_foreach (json_object_get(list, "items"), i, ev) {
        char age[32];
        cli_age(js(ev, "lastTimestamp"), age, sizeof(age));
        printf("  %-6s %-8s %-18s %s\n", age, js(ev, "type"), js(ev, "reason"),
               js(ev, "message"));
    }
    json_decref(list);
    return 0;
}

static int
list_in(struct session *s, const struct resource *r, const char *query, json_t **ret,
        struct error *e)
{
    auto_str path = STR_INIT(4096);

    client_path(&path, r, s->ns, NULL, NULL);
    str_adds(&path, query);
    return session_get_json(s, path.ptr, NULL, ret, e);
}

/* How the process ended, in one line. */
static void
print_end(const json_t *status)
{
    int64_t code = js_int(status, "exitCode", -1);
    const char *signal = js(status, "signal");
    const char *reason = js(status, "reason");

    if (signal[0] != '\0')
        printf("%-12s killed by %s%s\n", "Ended", signal,
               streq(reason, "OutOfMemory") ? ": it used more memory than its limit"
               : streq(reason, "DiskQuotaExceeded")
                   ? ": it kept more on the disk than its limit"
                   : "");
    else if (code >= 0)
        printf("%-12s exit code %lld\n", "Ended", (long long)code);
}

static void
print_job_line(const json_t *j)
{
    printf("  %s  %s%s%s  %s\n", js(j, "metadata.name"),
           js(j, "status.phase")[0] != '\0' ? js(j, "status.phase") : "Submitted",
           js(j, "status.reason")[0] != '\0' ? " " : "", js(j, "status.reason"),
           js(j, "spec.instanceName"));
    const char *last = js(j, "status.agent.lastOutput");
    if (last[0] != '\0' && streq(js(j, "status.phase"), "Failed"))
        printf("    last output: %s\n", last);
}

static int
describe_run(struct session *s, const json_t *o, struct error *e)
{
    json_t *jobs = NULL;
    json_t *instances = NULL;
    size_t i;
    const json_t *j;

    field("Type", js(o, "spec.type"));
    field("Image", js(o, "spec.image"));
    field("Phase", js(o, "status.phase"));
    field("Reason", js(o, "status.reason"));
    field("Message", js(o, "status.message"));
    print_end(json_object_get(o, "status"));
    field("Instance", js(o, "status.instanceName"));
    field_time("Submitted", js(o, "metadata.creationTimestamp"));
    field_time("Started", js(o, "status.startedAt"));
    field_time("Finished", js(o, "status.finishedAt"));
    if (list_in(s, &resource_jobs, "", &jobs, e) < 0)
        return -(int)e->code;
    puts("Jobs:");
    json_array_foreach (json_object_get(jobs, "items"), i, j) {
        if (!streq(js(j, "spec.runUID"), js(o, "metadata.uid")))
            continue;
        print_job_line(j);
        if (js(j, "spec.instanceUID")[0] != '\0' ||
            cli_final_phase(js(j, "status.phase")))
            continue;
        if (instances == NULL && list_in(s, &resource_instances, "", &instances, e) < 0)
            break;
        placement_explain(j, jobs, instances, stdout);
    }
    json_decref(instances);
    json_decref(jobs);
    return e->code == ERR_OK ? 0 : -(int)e->code;
}

static int
describe(struct session *s, const struct named_resource *r, const char *name,
         struct error *e)
{
    auto_str path = STR_INIT(4096);
    json_t *o = NULL;

    client_path(&path, r->resource, s->ns, name, NULL);
    if (session_get_json(s, path.ptr, NULL, &o, e) < 0)
        return -(int)e->code;
    field("Name", js(o, "metadata.name"));
    field("Namespace", js(o, "metadata.namespace"));
    field("Kind", js(o, "kind"));
    field_time("Deleting", js(o, "metadata.deletionTimestamp"));
    int rc = 0;
    if (r->resource == &resource_runs) {
        rc = describe_run(s, o, e);
    } else {
        field_time("Created", js(o, "metadata.creationTimestamp"));
        field("Phase", js(o, "status.phase"));
        field("Reason", js(o, "status.reason"));
        field("Message", js(o, "status.message"));
        print_yaml("Labels", js_get(o, "metadata.labels"));
        print_yaml("Spec", json_object_get(o, "spec"));
        print_yaml("Host", js_get(o, "status.host"));
        print_yaml("Agent", js_get(o, "status.agent"));
    }
    print_conditions(o);
    if (rc == 0)
        rc = print_events(s, r, o, e);
    json_decref(o);
    return rc;
}

static int
run(int argc, char **argv)
{
    static const struct option longs[] = {SESSION_OPTIONS, {0}};
    struct session s = {.verb = &verb_describe};
    const struct named_resource *r = NULL;
    const char *name = NULL;
    struct error e = ERROR_INIT;
    int c;

    while ((c = getopt_long(argc, argv, SESSION_SHORT, longs, NULL)) != -1) {
        if (session_option(&s, c, optarg))
            continue;
        if (c == 'h') {
            cli_usage(&verb_describe);
            return 0;
        }
        return cli_misuse(&verb_describe, "see drover describe --help");
    }
    if (optind == argc)
        return cli_misuse(&verb_describe, "name an object, e.g. run hello");
    int rc = cli_target(argv[optind], &r, &name, &e);
    if (rc == 0 && name == NULL && argc - optind == 2)
        name = argv[optind + 1];
    if (rc == 0 && name == NULL)
        return cli_misuse(&verb_describe, "name one %s", r->singular);
    if (rc == 0)
        rc = session_open(&s, &e);
    if (rc == 0)
        rc = describe(&s, r, name, &e);
    session_close(&s);
    return rc < 0 ? cli_fail(&verb_describe, &e) : 0;
}

const struct cli_verb verb_describe = {
    .name = "describe",
    .args = "KIND NAME | KIND/NAME",
    .summary = "show one object with its conditions and events, and why it waits",
    .help = SESSION_HELP,
    .run = run,
};
