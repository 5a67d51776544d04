/* SPDX-License-Identifier: Apache-2.0 */
/* drover restore: a new object with what a deleted one declared. */
#include <getopt.h>
#include <stdio.h>

#include "base/mem.h"
#include "cli/past.h"

struct restore {
    struct session s;
    const char *uid, *to;
    bool dry_run;
};

static int
choose(struct restore *x, const struct named_resource *r, const char *name,
       const struct past *p, const struct generation **ret, struct error *e)
{
    int64_t to = 0;

    if (p->live != NULL)
        return error_set(e, ERR_EXISTS,
                         "%s/%s exists; drover rollback takes it back to an earlier "
                         "generation",
                         r->singular, name);
    *ret = &p->all.items[p->all.len - 1];
    if (x->to == NULL)
        return 0;
    if (past_number("to", x->to, &to, e) < 0)
        return -ERR_BAD_REQUEST;
    *ret = past_find(p, to, e);
    return *ret == NULL ? -ERR_NOT_FOUND : 0;
}

static int
post(struct restore *x, const struct named_resource *r, const struct generation *g,
     struct str *body, struct error *e)
{
    auto_str path = STR_INIT(8192);
    struct client_request req = {.method = "POST"};

    client_path(&path, &resource_revisions, past_ns(&x->s, r), g->name, "restore");
    str_addf(&path, "?fieldManager=drover-restore%s", x->dry_run ? "&dryRun=All" : "");
    req.path = path.ptr;
    return client_do(x->s.client, &req, body, e);
}

static int
restore(struct restore *x, const struct named_resource *r, const char *name,
        struct error *e)
{
    const struct generation *g = NULL;
    auto_str body = STR_INIT(8 << 20);
    struct past p = {0};

    if (past_load(&x->s, r, name, x->uid, &p, e) < 0)
        return -(int)e->code;
    int rc = choose(x, r, name, &p, &g, e);
    if (rc == 0 && g != NULL)
        rc = post(x, r, g, &body, e);
    if (rc == 0 && g != NULL) {
        json_t *made = json_loadb(body.ptr, body.len, 0, NULL);
        printf("%s/%s restored from generation %lld of %s%s; its uid is %s\n",
               r->singular, name, (long long)g->number, p.uid,
               x->dry_run ? " (dry run)" : "", js(made, "metadata.uid"));
        json_decref(made);
    }
    past_done(&p);
    return rc;
}

static int
run(int argc, char **argv)
{
    static const struct option longs[] = {
        SESSION_OPTIONS,
        {"uid", required_argument, NULL, 'u'},
        {"to", required_argument, NULL, 't'},
        {"dry-run", no_argument, NULL, 'D'},
        {0},
    };
    struct restore x = {.s.verb = &verb_restore};
    const struct named_resource *r = NULL;
    const char *name = NULL;
    struct error e = ERROR_INIT;
    int c;

    while ((c = getopt_long(argc, argv, SESSION_SHORT, longs, NULL)) != -1) {
        if (session_option(&x.s, c, optarg))
            continue;
        if (c == 'u') {
            x.uid = optarg;
        } else if (c == 't') {
            x.to = optarg;
        } else if (c == 'D') {
            x.dry_run = true;
        } else if (c == 'h') {
            cli_usage(&verb_restore);
            return 0;
        } else {
            return cli_misuse(&verb_restore, "see drover restore --help");
        }
    }
    int rc = past_target(argc - optind, argv + optind, &r, &name, &e);
    if (rc == 0)
        rc = session_open(&x.s, &e);
    if (rc == 0)
        rc = restore(&x, r, name, &e);
    session_close(&x.s);
    return rc < 0 ? cli_fail(&verb_restore, &e) : 0;
}

const struct cli_verb verb_restore = {
    .name = "restore",
    .args = "KIND/NAME [--uid UID] [--to N] [--dry-run]",
    .summary = "make a deleted object again, as it was declared",
    .help =
        "      --uid UID             which, when several had the name (default: the\n"
        "                            one that was deleted last)\n"
        "      --to N                generation (default: its last)\n"
        "      --dry-run             check only\n" SESSION_HELP
        "\nIt is a new object, with a new uid. drover history --deleted lists what can\n"
        "be restored.\n",
    .run = run,
};
