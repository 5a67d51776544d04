/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drover rollback: writes what an earlier generation declared, as a new generation and a
 * write like any other: the server admits it or says why not, and nobody's newer change
 * is overwritten (resourceVersion).
 */
#include <getopt.h>
#include <stdio.h>

#include "base/mem.h"
#include "cli/jdiff.h"
#include "cli/past.h"

enum { TRIES = 10 };

struct rollback {
    struct session s;
    const char *to;
    bool dry_run;
};

/* Everything but metadata. */
static json_t *
content(const json_t *object)
{
    json_t *o = json_copy((json_t *)(uintptr_t)object);

    json_object_del(o, "metadata");
    return o;
}

/* Where the server says which field is wrong, that, else its sentence. */
static int
explain(struct rollback *b, const struct named_resource *r, const char *name,
        struct error *e)
{
    const json_t *causes = js_get(client_last_status(b->s.client), "details.causes");
    size_t i;
    const json_t *c;

    json_array_foreach (causes, i, c)
        if (js(c, "field")[0] != '\0')
            fprintf(stderr, "drover rollback: %s: %s\n", js(c, "field"),
                    js(c, "message"));
    if (e->code == ERR_CONFLICT)
        return error_prepend(e, "%s/%s was changed meanwhile, nothing was written",
                             r->singular, name);
    return error_prepend(e, "%s/%s stays as it is", r->singular, name);
}

/* A status that moved is no reason to give up; what was declared meanwhile is. */
static bool
still_declared(struct rollback *b, const struct named_resource *r, const char *name,
               struct past *p)
{
    struct past now = {0};
    struct error e = ERROR_INIT;
    auto_str fields = STR_INIT(64 * 1024);

    if (past_load(&b->s, r, name, NULL, &now, &e) < 0)
        return false;
    bool same = now.live != NULL && streq(now.uid, p->uid) &&
                jdiff_paths(p->declared, now.declared, &fields) == 0;
    if (same) {
        json_decref(p->live);
        p->live = json_incref(now.live);
        p->uid = js(p->live, "metadata.uid");
    }
    past_done(&now);
    return same;
}

static int
patch_once(struct rollback *b, const struct named_resource *r, const char *name,
           const struct past *p, json_t *patch, struct error *e)
{
    struct client_patch_opts o = {
        .type = CLIENT_PATCH_MERGE, .manager = "drover-rollback", .dry_run = b->dry_run};

    json_object_set_new(patch, "metadata",
                        json_pack("{s:s,s:s}", "resourceVersion",
                                  js(p->live, "metadata.resourceVersion"), "uid",
                                  p->uid));
    return client_patch(b->s.client, r->resource, b->s.ns, name, &o, patch, NULL, e);
}

static int
write_back(struct rollback *b, const struct named_resource *r, const char *name,
           struct past *p, const struct generation *g, struct error *e)
{
    const json_t *object = NULL;
    if (past_open(&b->s, r, p, g, &object, e) < 0)
        return -(int)e->code;
    json_t *now = content(p->declared), *then = content(object);
    json_t *patch = jdiff_merge_patch(now, then);
    auto_str fields = STR_INIT(64 * 1024);
    size_t n = jdiff_paths(now, then, &fields);
    int rc = 0;

    for (int i = 0; n > 0 && i < TRIES; i++) {
        *e = ERROR_INIT;
        rc = patch_once(b, r, name, p, patch, e);
        if (rc == 0 || e->code != ERR_CONFLICT || !still_declared(b, r, name, p))
            break;
    }
    if (rc < 0)
        rc = explain(b, r, name, e);
    else if (n == 0)
        printf("%s/%s is as it was at generation %lld already\n", r->singular, name,
               (long long)g->number);
    else
        printf("%s/%s rolled back to generation %lld%s: %s\n", r->singular, name,
               (long long)g->number, b->dry_run ? " (dry run)" : "", fields.ptr);
    json_decref(patch);
    json_decref(now);
    json_decref(then);
    return rc;
}

static int
roll_back(struct rollback *b, const struct named_resource *r, const char *name,
          struct error *e)
{
    const struct generation *g = NULL;
    struct past p = {0};
    int64_t to = 0;
    int rc = 0;

    if (b->to != NULL && past_number("to", b->to, &to, e) < 0)
        return -ERR_BAD_REQUEST;
    if (past_load(&b->s, r, name, NULL, &p, e) < 0)
        return -(int)e->code;
    if (p.live == NULL)
        rc = error_set(e, ERR_NOT_FOUND,
                       "%s/%s was deleted; drover restore brings it back", r->singular,
                       name);
    else if (to > 0)
        rc = (g = past_find(&p, to, e)) == NULL ? -ERR_NOT_FOUND : 0;
    else if (p.all.len < 2)
        rc = error_set(e, ERR_NOT_FOUND, "%s/%s has no earlier generation", r->singular,
                       name);
    else
        g = &p.all.items[p.all.len - 2];
    if (rc == 0 && g != NULL)
        rc = write_back(b, r, name, &p, g, e);
    past_done(&p);
    return rc;
}

static int
run(int argc, char **argv)
{
    static const struct option longs[] = {
        SESSION_OPTIONS,
        {"to", required_argument, NULL, 't'},
        {"dry-run", no_argument, NULL, 'D'},
        {0},
    };
    struct rollback b = {.s.verb = &verb_rollback};
    const struct named_resource *r = NULL;
    const char *name = NULL;
    struct error e = ERROR_INIT;
    int c;

    while ((c = getopt_long(argc, argv, SESSION_SHORT, longs, NULL)) != -1) {
        if (session_option(&b.s, c, optarg))
            continue;
        if (c == 't') {
            b.to = optarg;
        } else if (c == 'D') {
            b.dry_run = true;
        } else if (c == 'h') {
            cli_usage(&verb_rollback);
            return 0;
        } else {
            return cli_misuse(&verb_rollback, "see drover rollback --help");
        }
    }
    int rc = past_target(argc - optind, argv + optind, &r, &name, &e);
    if (rc == 0)
        rc = session_open(&b.s, &e);
    if (rc == 0)
        rc = roll_back(&b, r, name, &e);
    session_close(&b.s);
    return rc < 0 ? cli_fail(&verb_rollback, &e) : 0;
}

const struct cli_verb verb_rollback = {
    .name = "rollback",
    .args = "KIND/NAME [--to N] [--dry-run]",
    .summary = "write what an earlier generation declared, as a new generation",
    .help = "      --to N                generation (default: the one before the last)\n"
            "      --dry-run             check only\n" SESSION_HELP
            "\nLabels and annotations stay. drover history lists the generations.\n",
    .run = run,
};
