/* SPDX-License-Identifier: Apache-2.0 */
/* drover delete: remove objects and wait until they are gone. */
#include <getopt.h>
#include <stdio.h>

#include "cli/follow.h"
#include "cli/manifest.h"

struct deletion {
    struct session s;
    bool wait, ignore_missing;
};

struct gone {
    char uid[64];
};

static bool
on_object(void *arg, const json_t *o)
{
    const struct gone *g = arg;

    return o == NULL || !streq(js(o, "metadata.uid"), g->uid);
}

static int
delete_one(struct deletion *d, const struct named_resource *r, const char *name,
           struct error *e)
{
    struct object *o = NULL;
    struct gone g;

    int rc = client_get(d->s.client, r->resource, d->s.ns, name, &o, e);
    if (rc < 0 && e->code == ERR_NOT_FOUND && d->ignore_missing)
        return 0;
    if (rc < 0)
        return rc;
    snprintf(g.uid, sizeof(g.uid), "%s", o->uid);
    object_unref(o);
    rc = client_delete(d->s.client, r->resource, d->s.ns, name, g.uid, NULL, e);
    if (rc < 0)
        return rc;
    if (d->wait)
        rc = follow_object(&d->s, r->resource, name, -1, on_object, &g, e);
    if (rc == 0)
        printf("%s/%s %s\n", r->singular, name, d->wait ? "deleted" : "is being deleted");
    return rc;
}

static int
delete_words(struct deletion *d, int argc, char **argv, struct error *e)
{
    const struct named_resource *r;
    const char *name;
    int rc = 0;

    if (argc > 0 && cli_target(argv[0], &r, &name, e) < 0)
        return -(int)e->code;
    if (argc > 0 && name == NULL) {
        for (int i = 1; rc == 0 && i < argc; i++)
            rc = delete_one(d, r, argv[i], e);
        if (argc == 1)
            return error_set(e, ERR_BAD_REQUEST, "which %s? Give names", r->singular);
        return rc;
    }
    for (int i = 0; rc == 0 && i < argc; i++) {
        rc = cli_target(argv[i], &r, &name, e);
        if (rc == 0 && name == NULL)
            return error_set(e, ERR_BAD_REQUEST, "which %s? Give a name", r->singular);
        if (rc == 0)
            rc = delete_one(d, r, name, e);
    }
    return rc;
}

/* Last first: what was applied later may depend on what came before. */
static int
delete_files(struct deletion *d, const struct manifests *files, struct error *e)
{
    int rc = 0;

    for (size_t i = files->list.len; rc == 0 && i-- > 0;) {
        const struct manifest *m = &files->list.items[i];
        const char *ns = d->s.ns;
        if (m->ns != NULL)
            d->s.ns = m->ns;
        rc = delete_one(d, m->resource, m->name, e);
        d->s.ns = ns;
    }
    return rc;
}

static int
run(int argc, char **argv)
{
    static const struct option longs[] = {
        SESSION_OPTIONS,
        {"filename", required_argument, NULL, 'f'},
        {"no-wait", no_argument, NULL, 'W'},
        {"ignore-not-found", no_argument, NULL, 'i'},
        {0},
    };
    struct deletion d = {.s.verb = &verb_delete, .wait = true};
    struct manifests files = {0};
    struct error e = ERROR_INIT;
    bool given = false;
    int code = 0;
    int c;

    while (code == 0 &&
           (c = getopt_long(argc, argv, SESSION_SHORT "f:", longs, NULL)) != -1) {
        if (session_option(&d.s, c, optarg))
            continue;
        if (c == 'f') {
            manifests_read(&files, optarg);
            given = true;
        } else if (c == 'W') {
            d.wait = false;
        } else if (c == 'i') {
            d.ignore_missing = true;
        } else if (c == 'h') {
            cli_usage(&verb_delete);
            manifests_done(&files);
            return 0;
        } else {
            code = cli_misuse(&verb_delete, "see drover delete --help");
        }
    }
    if (code == 0 && !given && optind == argc)
        code = cli_misuse(&verb_delete, "say what to delete, e.g. run hello");
    if (code == 0 && files.problems > 0) {
        fprintf(stderr, "drover delete: nothing was deleted\n");
        code = 2;
    }
    if (code == 0) {
        int rc = session_open(&d.s, &e);
        if (rc == 0)
            rc = delete_words(&d, argc - optind, argv + optind, &e);
        if (rc == 0)
            rc = delete_files(&d, &files, &e);
        code = rc < 0 ? cli_fail(&verb_delete, &e) : 0;
    }
    session_close(&d.s);
    manifests_done(&files);
    return code;
}

const struct cli_verb verb_delete = {
    .name = "delete",
    .args = "KIND NAME... | KIND/NAME... | -f FILE",
    .summary = "delete objects and wait until they are gone",
    .help = "  -f, --filename PATH       the objects in the file, directory or stdin\n"
            "      --no-wait             return at once\n"
            "      --ignore-not-found\n" SESSION_HELP
            "\nDeleting a run stops its jobs first.\n",
    .run = run,
};
