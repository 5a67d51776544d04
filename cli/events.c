/* SPDX-License-Identifier: Apache-2.0 */
/* drover events: what happened, oldest first; -w goes on. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/session.h"
#include "cli/table.h"

struct events {
    struct session s;
    bool watch, printed;
    const struct named_resource *about;
    const char *about_name;
    struct table table;
};

static const char *
event_time(const json_t *o)
{
    const char *last = js(o, "lastTimestamp");
    const char *first = last[0] != '\0' ? last : js(o, "eventTime");

    return first[0] != '\0' ? first : js(o, "metadata.creationTimestamp");
}

static void
add_row(struct events *v, const json_t *o)
{
    char age[32];
    char count[32] = "";
    autofree char *about =
        xasprintf("%s/%s", js(o, "involvedObject.kind"), js(o, "involvedObject.name"));

    for (char *p = about; *p != '/'; p++)
        *p = (*p >= 'A' && *p <= 'Z') ? (char)(*p + 32) : *p;
    cli_age(event_time(o), age, sizeof(age));
    if (js_int(o, "count", 1) > 1)
        snprintf(count, sizeof(count), " (x%lld)", (long long)js_int(o, "count", 1));
    autofree char *message = xasprintf("%s%s", js(o, "message"), count);
    table_cell(&v->table, age);
    table_cell(&v->table, js(o, "type"));
    table_cell(&v->table, js(o, "reason"));
    table_cell(&v->table, about);
    table_cell(&v->table, message);
}

static bool
on_event(void *arg, struct span line)
{
    struct events *v = arg;
    json_t *event = json_loadb(line.ptr, line.len, 0, NULL);
    const char *type = js(event, "type");

    if (streq(type, "ADDED") || streq(type, "MODIFIED")) {
        add_row(v, json_object_get(event, "object"));
        table_print(&v->table, stdout, !v->printed);
        v->printed = true;
    }
    json_decref(event);
    return true;
}

static int
by_time(const void *a, const void *b)
{
    const json_t *const *x = a;
    const json_t *const *y = b;
    int c = strcmp(event_time(*x), event_time(*y));

    /* Same second: in order of creation. */
    return c != 0 ? c
                  : strcmp(js(*x, "metadata.resourceVersion"),
                           js(*y, "metadata.resourceVersion"));
}

static void
print_list(struct events *v, const json_t *list)
{
    const json_t *items = json_object_get(list, "items");
    size_t n = json_array_size(items);
    const json_t **sorted = xcalloc(n + 1, sizeof(*sorted));

    for (size_t i = 0; i < n; i++)
        sorted[i] = json_array_get(items, i);
    qsort(sorted, n, sizeof(*sorted), by_time);
    for (size_t i = 0; i < n; i++)
        add_row(v, sorted[i]);
    if (n > 0) {
        table_print(&v->table, stdout, true);
        v->printed = true;
    } else if (!v->watch) {
        fputs("no events\n", stderr);
    }
    free(sorted);
}

static int
show(struct events *v, struct error *e)
{
    static const char *const header[] = {"AGE", "TYPE", "REASON", "OBJECT", "MESSAGE"};
    auto_str path = STR_INIT(4096);
    json_t *list = NULL;

    client_path(&path, &resource_events, v->s.all_namespaces ? NULL : v->s.ns, NULL,
                NULL);
    if (v->about != NULL)
        str_addf(&path,
                 "?fieldSelector=involvedObject.kind%%3D%s%%2CinvolvedObject.name%%3D%s",
                 v->about->resource->kind, v->about_name);
    if (session_get_json(&v->s, path.ptr, NULL, &list, e) < 0)
        return -(int)e->code;
    table_init(&v->table, ARRAY_LEN(header));
    for (size_t i = 0; i < ARRAY_LEN(header); i++)
        table_cell(&v->table, header[i]);
    print_list(v, list);
    str_addf(&path, "%cwatch=true&resourceVersion=%s", v->about != NULL ? '&' : '?',
             js(list, "metadata.resourceVersion"));
    json_decref(list);
    int rc = 0;
    if (v->watch)
        rc = session_stream_lines(&v->s, path.ptr, NULL, -1, on_event, v, e);
    table_done(&v->table);
    return rc;
}

static int
run(int argc, char **argv)
{
    static const struct option longs[] = {
        SESSION_OPTIONS,
        {"watch", no_argument, NULL, 'w'},
        {0},
    };
    struct events v = {.s.verb = &verb_events};
    struct error e = ERROR_INIT;
    int rc = 0;
    int c;

    while ((c = getopt_long(argc, argv, SESSION_SHORT "w", longs, NULL)) != -1) {
        if (session_option(&v.s, c, optarg))
            continue;
        if (c == 'w') {
            v.watch = true;
        } else if (c == 'h') {
            cli_usage(&verb_events);
            return 0;
        } else {
            return cli_misuse(&verb_events, "see drover events --help");
        }
    }
    if (argc - optind > 1)
        return cli_misuse(&verb_events, "name one object at most, e.g. run/hello");
    if (optind < argc) {
        rc = cli_target(argv[optind], &v.about, &v.about_name, &e);
        if (rc == 0 && v.about_name == NULL)
            return cli_misuse(&verb_events, "name an object, e.g. run/hello");
    }
    if (rc == 0)
        rc = session_open(&v.s, &e);
    if (rc == 0)
        rc = show(&v, &e);
    session_close(&v.s);
    return rc < 0 ? cli_fail(&verb_events, &e) : 0;
}

const struct cli_verb verb_events = {
    .name = "events",
    .args = "[KIND/NAME] [-w] [-A]",
    .summary = "what happened, oldest first",
    .help = "  -w, --watch               go on with what happens\n"
            "  -A, --all-namespaces\n" SESSION_HELP,
    .run = run,
};
