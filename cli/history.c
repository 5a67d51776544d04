/* SPDX-License-Identifier: Apache-2.0 */
/* drover history: the generations of an object, and objects that are gone. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/yaml.h"
#include "base/mem.h"
#include "cli/past.h"
#include "cli/table.h"

struct history {
    struct session s;
    const char *output, *uid, *generation;
    bool deleted;
};

/* --- one object --- */

static void
print_generations(const struct past *p)
{
    static const char *const header[] = {"GENERATION", "REVISION", "AGE", "WHO",
                                         "CHANGED"};
    struct table t;

    table_init(&t, ARRAY_LEN(header));
    for (size_t i = 0; i < ARRAY_LEN(header); i++)
        table_cell(&t, header[i]);
    vec_foreach (g, &p->all) {
        autofree char *number =
            xasprintf("%lld%s", (long long)g->number, g->deleted ? " (deleted)" : "");
        char age[32], who[256];
        cli_age(g->time, age, sizeof(age));
        generation_who(g, who, sizeof(who));
        table_cell(&t, number);
        table_cell(&t, g->revision);
        table_cell(&t, age);
        table_cell(&t, who);
        table_cell(&t, g->changed);
    }
    table_print(&t, stdout, true);
    table_done(&t);
}

static int
print_value(const char *format, const json_t *value, struct error *e)
{
    bool as_json = streq(format, "json");
    autofree char *json = json_dumps(value, as_json ? JSON_INDENT(4) : JSON_COMPACT);
    auto_str yaml = STR_INIT(512u << 20);

    if (as_json) {
        puts(json);
        return 0;
    }
    if (yaml_write(span_of(json), &yaml, e) < 0)
        return -(int)e->code;
    fputs(yaml.ptr, stdout);
    return 0;
}

static int
print_all(struct history *h, const struct named_resource *r, struct past *p,
          struct error *e)
{
    json_t *items = json_array();
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < p->all.len; i++) {
        const struct generation *g = &p->all.items[i];
        const json_t *object = NULL;
        rc = past_open(&h->s, r, p, g, &object, e);
        if (rc == 0)
            json_array_append_new(
                items, json_pack("{s:I,s:s,s:s,s:s,s:s,s:b,s:O}", "generation",
                                 (json_int_t)g->number, "user", g->user, "manager",
                                 g->manager, "time", g->time, "changed", g->changed,
                                 "deleted", g->deleted, "object", object));
    }
    if (rc == 0)
        rc = print_value(h->output, items, e);
    json_decref(items);
    return rc;
}

static int
print_generation(struct history *h, const struct named_resource *r, struct past *p,
                 int64_t number, struct error *e)
{
    const struct generation *g = past_find(p, number, e);
    const json_t *object = NULL;

    if (g == NULL || past_open(&h->s, r, p, g, &object, e) < 0)
        return -(int)e->code;
    return print_value(h->output == NULL ? "yaml" : h->output, object, e);
}

static int
show_object(struct history *h, const struct named_resource *r, const char *name,
            struct error *e)
{
    struct past p = {0};
    int64_t number = 0;
    int rc = 0;

    if (h->generation != NULL && past_number("generation", h->generation, &number, e) < 0)
        return -(int)e->code;
    if (past_load(&h->s, r, name, h->uid, &p, e) < 0)
        return -(int)e->code;
    if (number > 0) {
        rc = print_generation(h, r, &p, number, e);
    } else if (h->output != NULL) {
        rc = print_all(h, r, &p, e);
    } else {
        print_generations(&p);
        if (p.others > 0)
            fprintf(stderr,
                    "%zu earlier object%s had this name: drover history --deleted\n",
                    p.others, p.others == 1 ? "" : "s");
    }
    past_done(&p);
    return rc;
}

/* --- what is gone --- */

static int
by_end(const void *a, const void *b)
{
    uint64_t x = past_version(*(const json_t *const *)a);
    uint64_t y = past_version(*(const json_t *const *)b);

    return (x > y) - (x < y);
}

static void
print_deleted(const struct history *h, const json_t *items)
{
    static const char *const header[] = {"OBJECT", "GENERATION", "DELETED", "BY", "UID"};
    size_t n = json_array_size(items);
    autofree const json_t **sorted = xcalloc(n + 1, sizeof(*sorted));
    struct table t;

    table_init(&t, ARRAY_LEN(header) + h->s.all_namespaces);
    if (h->s.all_namespaces)
        table_cell(&t, "NAMESPACE");
    for (size_t i = 0; i < ARRAY_LEN(header); i++)
        table_cell(&t, header[i]);
    for (size_t i = 0; i < n; i++)
        sorted[i] = json_array_get(items, i);
    qsort(sorted, n, sizeof(*sorted), by_end);
    for (size_t i = 0; i < n; i++) {
        const json_t *o = sorted[i];
        const char *kind = js(o, "of.kind");
        const struct named_resource *r = cli_resource_of_kind(kind);
        autofree char *object =
            xasprintf("%s/%s", r == NULL ? kind : r->singular, js(o, "of.name"));
        autofree char *number = xasprintf("%lld", (long long)js_int(o, "generation", 0));
        char age[32];
        cli_age(js(o, "metadata.creationTimestamp"), age, sizeof(age));
        if (h->s.all_namespaces)
            table_cell(&t, js(o, "metadata.namespace"));
        table_cell(&t, object);
        table_cell(&t, number);
        table_cell(&t, age);
        table_cell(&t, js(o, "replacedBy.user"));
        table_cell(&t, js(o, "of.uid"));
    }
    table_print(&t, stdout, true);
    table_done(&t);
}

static int
show_deleted(struct history *h, const struct named_resource *r, const char *name,
             struct error *e)
{
    auto_str path = STR_INIT(8192);
    json_t *list = NULL;

    client_path(&path, &resource_revisions,
                h->s.all_namespaces ? NULL
                : r == NULL         ? h->s.ns
                                    : past_ns(&h->s, r),
                NULL, NULL);
    past_query(r, name, "reason%3DDeleted", &path);
    if (session_get_json(&h->s, path.ptr, NULL, &list, e) < 0)
        return -(int)e->code;
    const json_t *items = json_object_get(list, "items");
    int rc = 0;
    if (h->output != NULL)
        rc = print_value(h->output, items, e);
    else if (json_array_size(items) == 0)
        fputs("nothing that was deleted is kept\n", stderr);
    else
        print_deleted(h, items);
    json_decref(list);
    return rc;
}

/* --- the command line --- */

static int
parse(struct history *h, int argc, char **argv)
{
    static const struct option longs[] = {
        SESSION_OPTIONS,
        {"output", required_argument, NULL, 'o'},
        {"generation", required_argument, NULL, 'g'},
        {"uid", required_argument, NULL, 'u'},
        {"deleted", no_argument, NULL, 'd'},
        {0},
    };
    int c;

    while ((c = getopt_long(argc, argv, SESSION_SHORT "o:", longs, NULL)) != -1) {
        if (session_option(&h->s, c, optarg))
            continue;
        switch (c) {
        case 'o':
            h->output = optarg;
            break;
        case 'g':
            h->generation = optarg;
            break;
        case 'u':
            h->uid = optarg;
            break;
        case 'd':
            h->deleted = true;
            break;
        case 'h':
            cli_usage(&verb_history);
            exit(0);
        default:
            return cli_misuse(&verb_history, "see drover history --help");
        }
    }
    if (h->output != NULL && !streq(h->output, "yaml") && !streq(h->output, "json"))
        return cli_misuse(&verb_history, "-o: yaml or json");
    return 0;
}

static int
run(int argc, char **argv)
{
    struct history h = {.s.verb = &verb_history};
    const struct named_resource *r = NULL;
    const char *name = NULL;
    struct error e = ERROR_INIT;
    int rc = 0, code = parse(&h, argc, argv);

    if (code != 0)
        return code;
    if (!h.deleted)
        rc = past_target(argc - optind, argv + optind, &r, &name, &e);
    else if (optind < argc)
        rc = cli_target(argv[optind], &r, &name, &e);
    if (rc == 0)
        rc = session_open(&h.s, &e);
    if (rc == 0)
        rc = h.deleted ? show_deleted(&h, r, name, &e) : show_object(&h, r, name, &e);
    session_close(&h.s);
    return rc < 0 ? cli_fail(&verb_history, &e) : 0;
}

const struct cli_verb verb_history = {
    .name = "history",
    .args = "KIND/NAME [--generation N] [-o yaml|json] | --deleted [KIND[/NAME]]",
    .summary = "show the generations of an object: when, by whom, what changed",
    .help = "      --generation N        print the object as it was declared then\n"
            "  -o, --output FORMAT       yaml or json\n"
            "      --uid UID             of an earlier object of that name\n"
            "      --deleted             list what was deleted and can be restored\n"
            "  -A, --all-namespaces      with --deleted\n" SESSION_HELP
            "\nCompare generations with drover diff, go back with drover rollback.\n",
    .run = run,
};
