/* SPDX-License-Identifier: Apache-2.0 */
/* drover diff: two generations of an object, or what apply would change. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "cli/jdiff.h"
#include "cli/manifest.h"
#include "cli/past.h"
#include "cli/table.h"
#include "cli/values.h"

struct diff {
    struct session s;
    struct manifests files;
    const char *from, *to, *uid, *manager;
    bool given, show_secrets, force;
    size_t found;
};

static void
print_diff(struct diff *d, const json_t *before, const json_t *after, bool secret,
           const char *from, const char *to)
{
    struct jdiff_opts o = {.colour = term_colours(),
                           .hide_data = secret && !d->show_secrets};
    auto_str out = STR_INIT(64u << 20);
    size_t n = jdiff_print(before, after, &o, &out);

    d->found += n;
    if (n > 0)
        printf("--- %s\n+++ %s\n%s", from, to, out.ptr);
}

static bool
is_secret(const struct named_resource *r)
{
    return r->resource == &resource_secrets;
}

/* --- generations --- */

static char *
title(const struct named_resource *r, const char *name, const struct generation *g)
{
    char who[256];

    generation_who(g, who, sizeof(who));
    return xasprintf("%s/%s generation %lld  %s  %s", r->singular, name,
                     (long long)g->number, g->time, who);
}

/* Default: the last two; with one of them given, the other is its neighbour. */
static int
choose(struct diff *d, const struct past *p, const struct generation **ret_from,
       const struct generation **ret_to, struct error *e)
{
    const struct generation *all = p->all.items;
    size_t n = p->all.len;
    int64_t from = 0, to = 0;

    if ((d->from != NULL && past_number("from", d->from, &from, e) < 0) ||
        (d->to != NULL && past_number("to", d->to, &to, e) < 0))
        return -ERR_BAD_REQUEST;
    *ret_to = &all[n - 1];
    if (to > 0 && (*ret_to = past_find(p, to, e)) == NULL)
        return -ERR_NOT_FOUND;
    if (from > 0) {
        *ret_from = past_find(p, from, e);
        return *ret_from == NULL ? -ERR_NOT_FOUND : 0;
    }
    if (*ret_to == all)
        return error_set(e, ERR_NOT_FOUND, "no generation before %lld is kept",
                         (long long)all->number);
    *ret_from = *ret_to - 1;
    return 0;
}

static int
diff_generations(struct diff *d, const struct named_resource *r, const char *name,
                 struct error *e)
{
    const struct generation *from = NULL, *to = NULL;
    struct past p = {0};

    if (past_load(&d->s, r, name, d->uid, &p, e) < 0)
        return -(int)e->code;
    const json_t *before = NULL, *after = NULL;
    int rc = choose(d, &p, &from, &to, e);
    if (rc == 0 && from != NULL)
        rc = past_open(&d->s, r, &p, from, &before, e);
    if (rc == 0 && to != NULL)
        rc = past_open(&d->s, r, &p, to, &after, e);
    if (rc == 0 && from != NULL && to != NULL) {
        autofree char *a = title(r, name, from);
        autofree char *b = title(r, name, to);
        print_diff(d, before, after, is_secret(r), a, b);
    }
    past_done(&p);
    return rc;
}

/* --- what apply would change --- */

/* {} for none. Takes the object. */
static json_t *
declared(struct object *o)
{
    if (o == NULL)
        return json_object();
    json_t *tree = object_json(o);
    json_t *few = past_declared(tree);
    json_decref(tree);
    object_unref(o);
    return few;
}

static int
diff_one(struct diff *d, const struct manifest *m)
{
    const char *ns = m->ns != NULL ? m->ns : d->s.ns;
    const struct resource *r = m->resource->resource;
    struct client_patch_opts o = {.type = CLIENT_PATCH_APPLY,
                                  .manager = d->manager,
                                  .force = d->force,
                                  .dry_run = true,
                                  .strict = true};
    struct object *live = NULL, *next = NULL;
    struct error e = ERROR_INIT;
    struct run_values none = {0};
    struct run_secrets secrets = {0};

    size_t problems = run_values_fill(&d->s, m, &none, &secrets);
    run_secrets_done(&secrets);
    if (problems > 0)
        return 2;
    if (client_get(d->s.client, r, ns, m->name, &live, &e) < 0 && e.code != ERR_NOT_FOUND)
        return cli_fail(&verb_diff, &e);
    e = ERROR_INIT;
    if (client_patch(d->s.client, r, ns, m->name, &o, m->object, &next, &e) < 0) {
        const json_t *status = client_last_status(d->s.client);
        size_t n = status == NULL ? 0 : manifest_status_problems(m, status);
        if (n == 0)
            manifest_problem(m, NULL, "%s/%s: %s", m->resource->singular, m->name, e.msg);
        object_unref(live);
        return error_exit_status(e.code);
    }
    autofree char *from =
        xasprintf("%s/%s%s", m->resource->singular, m->name,
                  live == NULL ? " (does not exist)" : " on the server");
    autofree char *to =
        xasprintf("%s/%s from %s", m->resource->singular, m->name, m->file);
    json_t *before = declared(live), *after = declared(next);
    print_diff(d, before, after, is_secret(m->resource), from, to);
    json_decref(before);
    json_decref(after);
    return 0;
}

static int
diff_files(struct diff *d)
{
    if (d->files.problems > 0)
        return 2;
    vec_foreach (m, &d->files.list) {
        int code = diff_one(d, m);
        if (code != 0)
            return code;
    }
    return 0;
}

/* --- the command line --- */

static const char **
text_option(struct diff *d, int c)
{
    switch (c) {
    case 'a':
        return &d->from;
    case 'b':
        return &d->to;
    case 'u':
        return &d->uid;
    case 'm':
        return &d->manager;
    default:
        return NULL;
    }
}

static int
parse(struct diff *d, int argc, char **argv)
{
    static const struct option longs[] = {
        SESSION_OPTIONS,
        {"filename", required_argument, NULL, 'f'},
        {"from", required_argument, NULL, 'a'},
        {"to", required_argument, NULL, 'b'},
        {"uid", required_argument, NULL, 'u'},
        {"show-secrets", no_argument, NULL, 's'},
        {"field-manager", required_argument, NULL, 'm'},
        {"force-conflicts", no_argument, NULL, 'F'},
        {0},
    };
    int c;

    while ((c = getopt_long(argc, argv, SESSION_SHORT "f:", longs, NULL)) != -1) {
        const char **text = text_option(d, c);
        if (session_option(&d->s, c, optarg))
            continue;
        if (text != NULL) {
            *text = optarg;
        } else if (c == 'f') {
            manifests_read(&d->files, optarg);
            d->given = true;
        } else if (c == 's') {
            d->show_secrets = true;
        } else if (c == 'F') {
            d->force = true;
        } else if (c == 'h') {
            cli_usage(&verb_diff);
            exit(0);
        } else {
            return cli_misuse(&verb_diff, "see drover diff --help");
        }
    }
    if (d->given && (optind < argc || d->from != NULL || d->to != NULL))
        return cli_misuse(&verb_diff, "either -f, or an object and generations");
    return 0;
}

static int
run(int argc, char **argv)
{
    struct diff d = {.s.verb = &verb_diff, .manager = "drover"};
    const struct named_resource *r = NULL;
    const char *name = NULL;
    struct error e = ERROR_INIT;
    int rc = 0, code = parse(&d, argc, argv);

    if (code == 0 && !d.given)
        rc = past_target(argc - optind, argv + optind, &r, &name, &e);
    if (code == 0 && rc == 0)
        rc = session_open(&d.s, &e);
    if (code == 0 && rc == 0 && d.given)
        code = diff_files(&d);
    else if (code == 0 && rc == 0 && r != NULL)
        rc = diff_generations(&d, r, name, &e);
    manifests_done(&d.files);
    session_close(&d.s);
    if (rc < 0)
        return cli_fail(&verb_diff, &e);
    return code != 0 ? code : d.found > 0;
}

const struct cli_verb verb_diff = {
    .name = "diff",
    .args = "KIND/NAME [--from N] [--to N] | -f FILE|DIRECTORY|-",
    .summary = "show what changed between generations, or what apply would change",
    .help = "      --from N, --to N      generations (default: the last two)\n"
            "      --uid UID             of an earlier object of that name\n"
            "  -f, --filename PATH       compare files with the server, as apply would\n"
            "      --force-conflicts     as apply --force-conflicts would\n"
            "      --field-manager NAME  (default drover)\n"
            "      --show-secrets        print values of Secrets\n" SESSION_HELP
            "\nExit status: 0 no difference, 1 differences, 2 and above: an error.\n",
    .run = run,
};
