/* SPDX-License-Identifier: Apache-2.0 */
/* drover get: list or show objects as a table, YAML, JSON or names; -w follows changes.
 */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "api/yaml.h"
#include "base/mem.h"
#include "cli/session.h"
#include "cli/table.h"

#define TABLE_ACCEPT "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"

struct get {
    struct session s;
    const char *output, *labels, *fields;
    bool watch, no_headers;
    struct k8s_table table;
    bool printed;
};

static void
put_query(struct str *path, const char *key, const char *value)
{
    str_addc(path, strchr(path->ptr, '?') == NULL ? '?' : '&');
    str_adds(path, key);
    str_addc(path, '=');
    client_escape(path, value);
}

static void
collection_path(const struct get *g, const struct named_resource *r, const char *name,
                struct str *path)
{
    client_path(path, r->resource, g->s.all_namespaces ? NULL : g->s.ns, NULL, NULL);
    if (name != NULL) {
        autofree char *selector = xasprintf("metadata.name=%s", name);
        put_query(path, "fieldSelector", selector);
    } else if (g->fields != NULL) {
        put_query(path, "fieldSelector", g->fields);
    }
    if (g->labels != NULL)
        put_query(path, "labelSelector", g->labels);
}

static void
print_table(struct get *g)
{
    table_print(&g->table.t, stdout, !g->printed && !g->no_headers);
    g->printed = true;
}

static bool
on_event(void *arg, struct span line)
{
    struct get *g = arg;
    json_t *event = json_loadb(line.ptr, line.len, 0, NULL);
    const json_t *object = json_object_get(event, "object");

    if (streq(js(event, "type"), "ERROR")) {
        fprintf(stderr, "drover get: %s\n", js(object, "message"));
    } else if (!streq(js(event, "type"), "BOOKMARK")) {
        k8s_table_add(&g->table, object, "");
        print_table(g);
    }
    json_decref(event);
    return true;
}

static int
watch(struct get *g, const struct named_resource *r, const char *name,
      const char *version, struct error *e)
{
    auto_str path = STR_INIT(8192);

    collection_path(g, r, name, &path);
    put_query(&path, "watch", "true");
    put_query(&path, "resourceVersion", version);
    return session_stream_lines(&g->s, path.ptr, TABLE_ACCEPT, -1, on_event, g, e);
}

static int
get_table(struct get *g, const struct named_resource *r, const char *name, bool many,
          struct error *e)
{
    auto_str path = STR_INIT(8192);
    json_t *doc = NULL;
    autofree char *prefix = many ? xasprintf("%s/", r->singular) : xstrdup("");

    if (name != NULL)
        client_path(&path, r->resource, g->s.ns, name, NULL);
    else
        collection_path(g, r, NULL, &path);
    if (session_get_json(&g->s, path.ptr, TABLE_ACCEPT, &doc, e) < 0)
        return -(int)e->code;
    autofree char *version = xstrdup(js(doc, "metadata.resourceVersion"));
    size_t rows = json_array_size(json_object_get(doc, "rows"));
    g->table.with_ns = g->s.all_namespaces && r->resource->namespaced;
    g->table.wide = g->output != NULL;
    k8s_table_add(&g->table, doc, prefix);
    json_decref(doc);
    if (rows == 0 && !g->watch)
        fprintf(stderr, "no %s%s%s\n", r->resource->plural,
                r->resource->namespaced && !g->s.all_namespaces ? " in namespace " : "",
                r->resource->namespaced && !g->s.all_namespaces ? g->s.ns : "");
    else if (rows > 0)
        print_table(g);
    return g->watch ? watch(g, r, name, version, e) : 0;
}

static void
print_names(const struct named_resource *r, const json_t *doc)
{
    const json_t *items = json_object_get(doc, "items");
    size_t i;
    const json_t *o;

    if (items == NULL)
        printf("%s/%s\n", r->singular, js(doc, "metadata.name"));
    json_array_foreach (items, i, o)
        printf("%s/%s\n", r->singular, js(o, "metadata.name"));
}

static int
print_document(const struct get *g, const struct named_resource *r, const json_t *doc,
               struct error *e)
{
    if (streq(g->output, "name")) {
        print_names(r, doc);
        return 0;
    }
    autofree char *json =
        json_dumps(doc, streq(g->output, "json") ? JSON_INDENT(4) : JSON_COMPACT);
    if (streq(g->output, "json")) {
        puts(json);
        return 0;
    }
    auto_str yaml = STR_INIT(512u << 20);
    if (yaml_write(span_of(json), &yaml, e) < 0)
        return -(int)e->code;
    fputs(yaml.ptr, stdout);
    return 0;
}

static int
get_document(struct get *g, const struct named_resource *r, const char *name,
             struct error *e)
{
    auto_str path = STR_INIT(8192);
    json_t *doc = NULL;

    if (name != NULL)
        client_path(&path, r->resource, g->s.ns, name, NULL);
    else
        collection_path(g, r, NULL, &path);
    if (session_get_json(&g->s, path.ptr, NULL, &doc, e) < 0)
        return -(int)e->code;
    int rc = print_document(g, r, doc, e);
    json_decref(doc);
    return rc;
}

static bool
is_table(const struct get *g)
{
    return g->output == NULL || streq(g->output, "wide");
}

static int
get_one(struct get *g, const struct named_resource *r, const char *name, bool many,
        struct error *e)
{
    return is_table(g) ? get_table(g, r, name, many, e) : get_document(g, r, name, e);
}

/* "run hello other": one kind, several names in one table. */
static int
get_names(struct get *g, int argc, char **argv, struct error *e)
{
    const struct named_resource *r;
    const char *none;
    int rc = cli_target(argv[0], &r, &none, e);

    for (int i = 1; rc == 0 && i < argc; i++)
        rc = get_one(g, r, argv[i], false, e);
    return rc;
}

/* "runs,jobs/x": each kind with a table of its own. */
static int
get_list(struct get *g, const char *list, bool many, struct error *e)
{
    autofree char *words = xstrdup(list);
    char *rest = words;
    char *word;
    int rc = 0;

    while (rc == 0 && (word = strsep(&rest, ",")) != NULL) {
        const struct named_resource *r;
        const char *name;
        rc = cli_target(word, &r, &name, e);
        if (rc == 0)
            rc = get_one(g, r, name, many, e);
        if (many) {
            k8s_table_done(&g->table);
            g->table = (struct k8s_table){0};
            g->printed = false;
        }
    }
    return rc;
}

/* "runs", "runs,jobs", "run hello", "run/hello job/x" */
static int
get_words(struct get *g, int argc, char **argv, struct error *e)
{
    int rc = 0;

    if (argc > 1 && strchr(argv[0], '/') == NULL)
        return get_names(g, argc, argv, e);
    for (int i = 0; rc == 0 && i < argc; i++)
        rc = get_list(g, argv[i], argc > 1 || strchr(argv[i], ',') != NULL, e);
    return rc;
}

static int
check_options(const struct get *g, int words)
{
    static const char *const outputs[] = {"wide", "json", "yaml", "name"};
    bool known = g->output == NULL;

    for (size_t i = 0; i < ARRAY_LEN(outputs); i++)
        known = known || streq(g->output, outputs[i]);
    if (!known)
        return cli_misuse(&verb_get, "-o \"%s\": there are wide, json, yaml, name",
                          g->output);
    if (words == 0) {
        auto_str names = STR_INIT(4096);
        cli_resource_names(&names);
        return cli_misuse(&verb_get, "say what to get: %s", names.ptr);
    }
    if (g->watch && g->output != NULL && !streq(g->output, "wide"))
        return cli_misuse(&verb_get, "-w shows tables only, not -o %s", g->output);
    return 0;
}

static int
run(int argc, char **argv)
{
    static const struct option longs[] = {
        SESSION_OPTIONS,
        {"output", required_argument, NULL, 'o'},
        {"watch", no_argument, NULL, 'w'},
        {"selector", required_argument, NULL, 'l'},
        {"field-selector", required_argument, NULL, 'F'},
        {"no-headers", no_argument, NULL, 'H'},
        {0},
    };
    struct get g = {.s.verb = &verb_get};
    struct error e = ERROR_INIT;
    int c;

    while ((c = getopt_long(argc, argv, SESSION_SHORT "o:wl:", longs, NULL)) != -1) {
        if (session_option(&g.s, c, optarg))
            continue;
        switch (c) {
        case 'o':
            g.output = optarg;
            break;
        case 'w':
            g.watch = true;
            break;
        case 'l':
            g.labels = optarg;
            break;
        case 'F':
            g.fields = optarg;
            break;
        case 'H':
            g.no_headers = true;
            break;
        case 'h':
            cli_usage(&verb_get);
            return 0;
        default:
            return cli_misuse(&verb_get, "see drover get --help");
        }
    }
    int code = check_options(&g, argc - optind);
    if (code != 0)
        return code;
    int rc = session_open(&g.s, &e);
    if (rc == 0)
        rc = get_words(&g, argc - optind, argv + optind, &e);
    k8s_table_done(&g.table);
    session_close(&g.s);
    return rc < 0 ? cli_fail(&verb_get, &e) : 0;
}

const struct cli_verb verb_get = {
    .name = "get",
    .args = "KIND[/NAME] [NAME...] [-o wide|json|yaml|name] [-w]",
    .summary = "list or show objects",
    .help =
        "  -o, --output FORMAT       wide, json, yaml or name\n"
        "  -w, --watch               go on with every change\n"
        "  -l, --selector LABELS     e.g. team=a,tier in (x,y)\n"
        "      --field-selector F    e.g. status.phase=Running\n"
        "  -A, --all-namespaces\n"
        "      --no-headers\n" SESSION_HELP
        "\nKinds: runs, jobs, fleets, instances, profiles, quotas, namespaces, secrets, "
        "events, leases, "
        "crds.\n",
    .run = run,
};
