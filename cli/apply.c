/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drover apply: server-side apply of files. With several objects everything is tried with
 * dryRun first, so that wrong input changes nothing; one object is checked and written by
 * one request, which is all or nothing by itself.
 */
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/apply.h"
#include "cli/attach.h"
#include "cli/code.h"
#include "cli/name.h"
#include "cli/past.h"
#include "cli/settings.h"

static void
items_done(struct apply *a)
{
    vec_foreach (i, &a->items) {
        run_secrets_done(&i->secrets);
        json_decref(i->live);
        json_decref(i->next);
        fleet_keys_done(&i->keys);
        free(i->ns);
    }
    vec_done(&a->items);
}

int
apply_send(struct apply *a, const struct apply_item *i, bool dry, struct object **ret,
           struct error *e)
{
    struct client_patch_opts o = {.type = CLIENT_PATCH_APPLY,
                                  .manager = a->manager,
                                  .force = a->force,
                                  .dry_run = dry,
                                  .strict = true};

    return client_patch(a->s.client, i->m->resource->resource, i->ns, i->m->name, &o,
                        i->m->object, ret, e);
}

int
apply_report(struct apply *a, const struct apply_item *i, const struct error *e)
{
    const struct manifest *m = i->m;
    const json_t *status = client_last_status(a->s.client);
    size_t n = status == NULL ? 0 : manifest_status_problems(m, status);

    if (n == 0)
        manifest_problem(m, NULL, "%s/%s: %s", m->resource->singular, m->name, e->msg);
    return error_exit_status(e->code);
}

/* Everything is right and possible, or nothing is done. */
static int
check_all(struct apply *a)
{
    int worst = 0;

    vec_foreach (i, &a->items) {
        int code = plan_make(a, i);
        if (worst == 0 || code == 2)
            worst = code != 0 ? code : worst;
        if (code == error_exit_status(ERR_UNAVAILABLE) ||
            code == error_exit_status(ERR_UNAUTHORIZED))
            break;
    }
    return worst;
}

/* Secrets come before the object that names them and become its own after it. */
static int
send_with_secrets(struct apply *a, struct apply_item *i, struct object **ret,
                  struct error *e)
{
    const char *name = i->m->name;
    int rc = run_secrets_write(&a->s, i->ns, name, &i->secrets, NULL, false, e);

    if (rc == 0)
        rc = fleet_keys_write(&a->s, i->ns, name, &i->keys, NULL, false, e);
    if (rc == 0)
        rc = apply_send(a, i, false, ret, e);
    if (rc == 0)
        rc = run_secrets_write(&a->s, i->ns, name, &i->secrets, (*ret)->uid, false, e);
    if (rc == 0)
        rc = fleet_keys_write(&a->s, i->ns, name, &i->keys, (*ret)->uid, false, e);
    return rc;
}

/* Controllers write to the object meanwhile: its version alone says nothing. */
static const char *
outcome(const struct apply_item *i, const struct object *o)
{
    if (i->action == APPLY_REPLACE)
        return "replaced";
    if (i->live == NULL || !streq(js(i->live, "metadata.uid"), o->uid))
        return "created";
    json_t *tree = object_json(o);
    json_t *before = past_declared(i->live), *after = past_declared(tree);
    bool same = json_equal(before, after);
    json_decref(tree);
    json_decref(before);
    json_decref(after);
    return same ? "unchanged" : "configured";
}

static int
write_one(struct apply *a, struct apply_item *i)
{
    const struct manifest *m = i->m;
    struct error e = ERROR_INIT;
    auto_object *o = NULL;

    if (i->action == APPLY_REPLACE && replace_old(a, i, &e) < 0)
        return cli_fail(&verb_apply, &e);
    if (send_with_secrets(a, i, &o, &e) < 0)
        return apply_report(a, i, &e);
    bug_if(o == NULL);
    printf("%s/%s %s\n", m->resource->singular, m->name, outcome(i, o));
    return 0;
}

/* What a dry run says at its end. */
static int
print_outcome(const struct apply_item *i)
{
    static const char *const words[] = {
        [APPLY_SEND] = "created",      [APPLY_CREATE] = "created",
        [APPLY_CHANGE] = "configured", [APPLY_NOTHING] = "unchanged",
        [APPLY_REPLACE] = "replaced",  [APPLY_REFUSED] = "refused",
    };

    printf("%s/%s %s (dry run)\n", i->m->resource->singular, i->m->name,
           words[i->action]);
    return i->action == APPLY_REFUSED ? plan_refuse(i) : 0;
}

/* --- before anything is sent -------------------------------------------------------- */

static int
give_name(struct apply *a, struct apply_item *i, struct error *e)
{
    struct manifest *m = i->m;
    const struct resource *r = m->resource->resource;
    json_t *meta = json_object_get(m->object, "metadata");
    char *made = NULL;

    if (a->name == NULL && m->name[0] != '\0')
        return 0;
    if (a->name == NULL &&
        cli_new_name(&a->s, r, i->ns, r == &resource_runs, &made, e) < 0)
        return -(int)e->code;
    json_object_set_new(meta, "name", json_string(made != NULL ? made : a->name));
    m->name = js(m->object, "metadata.name");
    free(made);
    return 0;
}

/* Names, values of the caller, files and code that are here. */
static int
prepare_one(struct apply *a, struct apply_item *i)
{
    struct error e = ERROR_INIT;
    int rc = give_name(a, i, &e);

    if (rc == 0 && run_values_fill(&a->s, i->m, &a->values, &i->secrets) > 0)
        return 2;
    if (rc == 0 && fleet_keys_fill(i->m, &i->keys) > 0)
        return 2;
    if (rc == 0)
        rc = code_prepare(&a->s, i->m, a->dry_run, &e);
    if (rc == 0)
        return 0;
    manifest_problem(i->m, NULL, "%s/%s: %s", i->m->resource->singular, i->m->name,
                     e.msg);
    return error_exit_status(e.code);
}

static int
prepare(struct apply *a)
{
    vec_foreach (m, &a->files.list) {
        struct apply_item i = {.m = m};
        i.ns = xstrdup(m->ns != NULL ? m->ns : a->s.ns);
        vec_push(&a->items, i);
    }
    if (a->name != NULL && a->items.len != 1)
        return cli_misuse(&verb_apply, "--name is for one object, there are %zu",
                          a->items.len);
    vec_foreach (i, &a->items) {
        int code = prepare_one(a, i);
        if (code != 0)
            return code;
    }
    return 0;
}

/* A person is asked; a script is not, and goes the short way. */
static bool
is_interactive(const struct apply *a)
{
    return !a->yes && !a->dry_run && isatty(0) == 1 && isatty(1) == 1;
}

/* What is there, what would come of it, whether to go on. */
static int
plan(struct apply *a)
{
    bool ask = is_interactive(a);
    struct error e = ERROR_INIT;
    int code = 0;

    vec_foreach (i, &a->items) {
        if (plan_look(a, i, &e) < 0)
            return cli_fail(&verb_apply, &e);
    }
    if (ask || a->dry_run || a->replace || a->items.len > 1 ||
        a->items.items[0].action == APPLY_REPLACE)
        code = check_all(a);
    vec_foreach (i, &a->items) {
        if (code == 0 && (ask || a->dry_run))
            plan_print(a, i);
        if (code == 0 && !ask && !a->dry_run && i->action == APPLY_REFUSED)
            code = plan_refuse(i);
    }
    if (code == 0 && ask && !plan_confirm(a))
        return 1;
    return code;
}

/* On a terminal one stays with the one run that was made, elsewhere only with --attach.
 */
static bool
wants_attach(const struct apply *a)
{
    const struct apply_item *i = a->items.items;
    bool made = a->items.len == 1 && i->m->resource->resource == &resource_runs &&
                (i->action == APPLY_CREATE || i->action == APPLY_REPLACE);
    const json_t *schedule = js_get(i->m->object, "spec.schedule");

    if (!made || a->dry_run || a->detach)
        return false;
    return a->attach || (isatty(0) == 1 && isatty(1) == 1 && schedule == NULL);
}

static int
apply_all(struct apply *a)
{
    struct error e = ERROR_INIT;
    bool changed = false;

    if (session_open(&a->s, &e) < 0)
        return cli_fail(&verb_apply, &e);
    int code = prepare(a);
    if (code == 0)
        code = plan(a);
    for (size_t i = 0; code == 0 && i < a->items.len; i++) {
        struct apply_item *item = &a->items.items[i];
        code = a->dry_run ? print_outcome(item) : write_one(a, item);
        changed = changed || code == 0;
    }
    if (code != 0 && !changed)
        fprintf(stderr, "drover apply: nothing was changed\n");
    if (code == 0 && wants_attach(a))
        code = attach_run(&a->s, a->items.items[0].ns, a->items.items[0].m->name);
    return code;
}

/* --- the command line --------------------------------------------------------------- */

enum {
    OPT_NAME = 2000,
    OPT_DRY_RUN,
    OPT_FORCE,
    OPT_REPLACE,
    OPT_MANAGER,
    OPT_PROFILE,
    OPT_NO_PROFILE,
};

static bool
text_option(struct apply *a, int c, const char *value)
{
    if (c == OPT_NAME)
        a->name = value;
    else if (c == OPT_MANAGER)
        a->manager = value;
    else if (c == OPT_PROFILE)
        a->files.profile = value;
    else if (c == OPT_NO_PROFILE)
        a->files.no_profile = true;
    else if (c == OPT_FORCE)
        a->force = true;
    else if (c == OPT_DRY_RUN)
        a->dry_run = true;
    else if (c == OPT_REPLACE)
        a->replace = true;
    else if (c == 'y')
        a->yes = true;
    else if (c == 'd')
        a->detach = true;
    else if (c == 'a')
        a->attach = true;
    else
        return false;
    return true;
}

/* 0: go on; else the process' status plus 1. */
static int
options(struct apply *a, int argc, char **argv)
{
    static const struct option longs[] = {
        SESSION_OPTIONS,
        SETTINGS_OPTIONS,
        {"filename", required_argument, NULL, 'f'},
        {"env", required_argument, NULL, 'e'},
        {"name", required_argument, NULL, OPT_NAME},
        {"profile", required_argument, NULL, OPT_PROFILE},
        {"no-profile", no_argument, NULL, OPT_NO_PROFILE},
        {"force-conflicts", no_argument, NULL, OPT_FORCE},
        {"dry-run", no_argument, NULL, OPT_DRY_RUN},
        {"replace", no_argument, NULL, OPT_REPLACE},
        {"yes", no_argument, NULL, 'y'},
        {"detach", no_argument, NULL, 'd'},
        {"attach", no_argument, NULL, 'a'},
        {"field-manager", required_argument, NULL, OPT_MANAGER},
        {0},
    };
    struct error e = ERROR_INIT;
    int c;

    while ((c = getopt_long(argc, argv, SESSION_SHORT "f:e:yda", longs, NULL)) != -1) {
        if (session_option(&a->s, c, optarg) || text_option(a, c, optarg) ||
            settings_option(&a->values.settings, c, optarg, &e)) {
            if (e.code != ERR_OK)
                return cli_fail(&verb_apply, &e) + 1;
            continue;
        }
        if (c == 'f') {
            vec_push(&a->paths, optarg);
        } else if (c == 'e') {
            if (run_values_env(&a->values, optarg, &e) < 0)
                return cli_fail(&verb_apply, &e) + 1;
        } else if (c == 'h') {
            cli_usage(&verb_apply);
            return 1;
        } else {
            return cli_misuse(&verb_apply, "see drover apply --help") + 1;
        }
    }
    for (; optind < argc; optind++)
        vec_push(&a->paths, argv[optind]);
    return 0;
}

/* What is behind -- is the run's. */
static int
cut_arguments(struct apply *a, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (!streq(argv[i], "--"))
            continue;
        run_values_args(&a->values, argv + i + 1, argc - i - 1);
        argv[i] = NULL;
        return i;
    }
    return argc;
}

static int
read_files(struct apply *a)
{
    static const char *const defaults[] = {".dstack.yml", ".dstack.yaml"};

    for (size_t i = 0; a->paths.len == 0 && i < ARRAY_LEN(defaults); i++) {
        if (access(defaults[i], F_OK) == 0)
            vec_push(&a->paths, defaults[i]);
    }
    if (a->paths.len == 0)
        return cli_misuse(&verb_apply,
                          "say what to apply: -f FILE, -f DIRECTORY or -f - (there is no "
                          ".dstack.yml here)");
    vec_foreach (p, &a->paths)
        manifests_read(&a->files, *p);
    if (a->files.problems == 0)
        return 0;
    fprintf(stderr, "drover apply: nothing was changed\n");
    return 2;
}

static int
run(int argc, char **argv)
{
    struct apply a = {
        .s.verb = &verb_apply, .manager = "drover", .files.may_lack_name = true};
    int code = options(&a, cut_arguments(&a, argc, argv), argv);

    if (code != 0) {
        code--;
    } else {
        code = read_files(&a);
        if (code == 0)
            code = apply_all(&a);
    }
    items_done(&a);
    vec_done(&a.paths);
    manifests_done(&a.files);
    run_values_done(&a.values);
    session_close(&a.s);
    return code;
}

const struct cli_verb verb_apply = {
    .name = "apply",
    .args = "[-f FILE|DIRECTORY|-]... [-- ARGUMENTS]",
    .summary = "make the server's objects what the files say",
    .help =
        "  -f, --filename PATH       file, directory, or - for stdin; may be repeated\n"
        "                            (default .dstack.yml of this directory)\n"
        "      --dry-run             check, and show what would change and where it "
        "would run\n"
        "  -y, --yes                 do not ask (on a terminal, apply shows its plan "
        "first)\n"
        "  -d, --detach              do not stay with the run (on a terminal, apply of "
        "one\n"
        "                            run prints its output until it ends; the exit "
        "status\n"
        "                            is that of the job; Ctrl-C asks: stop it or leave "
        "it)\n"
        "  -a, --attach              stay with it, terminal or not\n"
        "      --replace             a run that cannot be changed in place is stopped, "
        "and a\n                            new one takes its place\n"
        "      --name NAME           of the one object, instead of the file's\n"
        "  -e, --env NAME[=VALUE]    a variable of the run; without a value, yours\n"
        "      --profile NAME        of .dstack/profiles.yml, here or at home, or of "
        "the\n"
        "                            server; --no-profile: none\n" SETTINGS_HELP
        "      --force-conflicts     take over fields that others manage\n"
        "      --field-manager NAME  (default drover)\n" SESSION_HELP
        "\nFiles hold objects with apiVersion and kind, or one task or fleet in dstack's "
        "format.\nWhat is behind -- stands for ${{ run.args }} in commands. Wrong input "
        "changes nothing;\nevery problem is printed with file and line.\n",
    .run = run,
};
