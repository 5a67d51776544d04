/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drover apply: server-side apply of files. With several objects everything is tried with
 * dryRun first, so that wrong input changes nothing; one object is checked and written by
 * one request, which is all or nothing by itself.
 */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cli/code.h"
#include "cli/manifest.h"
#include "cli/session.h"

struct apply {
    struct session s;
    struct manifests files;
    bool force, dry_run;
    const char *manager;
};

/* Names under which people keep secrets; a literal value there ends up readable in Git.
 */
static bool
looks_secret(const char *name)
{
    return str_ends(name, "TOKEN") || str_ends(name, "KEY") ||
           str_ends(name, "PASSWORD") || str_ends(name, "SECRET");
}

static void
warn_secrets(const struct manifest *m)
{
    json_t *spec = json_object_get(m->object, "spec");
    const char *key;
    json_t *value;

    json_object_foreach (json_object_get(spec, "env"), key, value) {
        if (looks_secret(key) && json_is_string(value)) {
            autofree char *path = xasprintf("spec.env.%s", key);
            manifest_problem(m, path,
                             "warning: a literal secret; put it into a Secret and "
                             "name that in spec.envFrom");
        }
    }
}

/* The uid and resourceVersion that there is now, to tell created, configured, unchanged.
 */
static char *
version_of(struct apply *a, const struct manifest *m, const char *ns)
{
    struct object *o = NULL;
    struct error e = ERROR_INIT;
    char *version = NULL;

    if (client_get(a->s.client, m->resource->resource, ns, m->name, &o, &e) == 0) {
        version = xasprintf("%s/%llu", o->uid, (unsigned long long)o->revision);
        object_unref(o);
    }
    return version;
}

static int
apply_one(struct apply *a, const struct manifest *m, bool dry, struct object **ret,
          struct error *e)
{
    const char *ns = m->ns != NULL ? m->ns : a->s.ns;
    struct client_patch_opts o = {.type = CLIENT_PATCH_APPLY,
                                  .manager = a->manager,
                                  .force = a->force,
                                  .dry_run = dry,
                                  .strict = true};

    return client_patch(a->s.client, m->resource->resource, ns, m->name, &o, m->object,
                        ret, e);
}

/* Prints why; an unreachable server ends everything, wrong input goes on to the next. */
static int
report(struct apply *a, const struct manifest *m, const struct error *e)
{
    const json_t *status = client_last_status(a->s.client);
    size_t n = status == NULL ? 0 : manifest_status_problems(m, status);

    if (n == 0)
        manifest_problem(m, NULL, "%s/%s: %s", m->resource->singular, m->name, e->msg);
    return error_exit_status(e->code);
}

static int
check_all(struct apply *a)
{
    int worst = 0;

    vec_foreach (m, &a->files.list) {
        struct object *o = NULL;
        struct error e = ERROR_INIT;
        if (apply_one(a, m, true, &o, &e) == 0) {
            object_unref(o);
            continue;
        }
        /* Something that an earlier document of the same apply will make is fine. */
        if (e.code == ERR_NOT_FOUND && a->files.list.len > 1 && m->ns != NULL)
            continue;
        int code = report(a, m, &e);
        if (worst == 0 || code == 2)
            worst = code;
        if (e.code == ERR_UNAVAILABLE || e.code == ERR_UNAUTHORIZED)
            break;
    }
    return worst;
}

static int
write_one(struct apply *a, const struct manifest *m)
{
    const char *ns = m->ns != NULL ? m->ns : a->s.ns;
    autofree char *before = version_of(a, m, ns);
    struct error e = ERROR_INIT;
    struct object *o = NULL;
    const char *what = "created";

    if (apply_one(a, m, a->dry_run, &o, &e) < 0)
        return report(a, m, &e);
    if (before != NULL) {
        autofree char *after =
            xasprintf("%s/%llu", o->uid, (unsigned long long)o->revision);
        what = streq(before, after) ? "unchanged" : "configured";
    }
    printf("%s/%s %s%s\n", m->resource->singular, m->name, what,
           a->dry_run ? " (dry run)" : "");
    warn_secrets(m);
    object_unref(o);
    return 0;
}

/* Files and code that are here go to the server first. */
static int
prepare_code(struct apply *a)
{
    vec_foreach (m, &a->files.list) {
        struct error e = ERROR_INIT;
        if (code_prepare(&a->s, m, a->dry_run, &e) < 0) {
            manifest_problem(m, NULL, "%s/%s: %s", m->resource->singular, m->name, e.msg);
            fprintf(stderr, "drover apply: nothing was changed\n");
            return error_exit_status(e.code);
        }
    }
    return 0;
}

static int
apply_all(struct apply *a)
{
    struct error e = ERROR_INIT;

    if (a->files.problems > 0) {
        fprintf(stderr, "drover apply: nothing was changed\n");
        return 2;
    }
    if (session_open(&a->s, &e) < 0)
        return cli_fail(&verb_apply, &e);
    int code_rc = prepare_code(a);
    if (code_rc != 0)
        return code_rc;
    if (a->files.list.len > 1) {
        int worst = check_all(a);
        if (worst != 0) {
            fprintf(stderr, "drover apply: nothing was changed\n");
            return worst;
        }
    }
    vec_foreach (m, &a->files.list) {
        int code = write_one(a, m);
        if (code != 0) {
            if (a->files.list.len == 1)
                fprintf(stderr, "drover apply: nothing was changed\n");
            return code;
        }
    }
    return 0;
}

static int
run(int argc, char **argv)
{
    static const struct option longs[] = {
        SESSION_OPTIONS,
        {"filename", required_argument, NULL, 'f'},
        {"force-conflicts", no_argument, NULL, 'F'},
        {"dry-run", no_argument, NULL, 'D'},
        {"field-manager", required_argument, NULL, 'm'},
        {0},
    };
    struct apply a = {.s.verb = &verb_apply, .manager = "drover"};
    bool given = false;
    int c;
    int code = 2;

    while ((c = getopt_long(argc, argv, SESSION_SHORT "f:", longs, NULL)) != -1) {
        if (session_option(&a.s, c, optarg))
            continue;
        if (c == 'f') {
            manifests_read(&a.files, optarg);
            given = true;
        } else if (c == 'F') {
            a.force = true;
        } else if (c == 'D') {
            a.dry_run = true;
        } else if (c == 'm') {
            a.manager = optarg;
        } else if (c == 'h') {
            cli_usage(&verb_apply);
            manifests_done(&a.files);
            return 0;
        } else {
            manifests_done(&a.files);
            return cli_misuse(&verb_apply, "see drover apply --help");
        }
    }
    for (; optind < argc; optind++) {
        manifests_read(&a.files, argv[optind]);
        given = true;
    }
    if (!given)
        code =
            cli_misuse(&verb_apply, "say what to apply: -f FILE, -f DIRECTORY or -f -");
    else
        code = apply_all(&a);
    manifests_done(&a.files);
    session_close(&a.s);
    return code;
}

const struct cli_verb verb_apply = {
    .name = "apply",
    .args = "-f FILE|DIRECTORY|- ...",
    .summary = "make the server's objects what the files say",
    .help =
        "  -f, --filename PATH       file, directory, or - for stdin; may be repeated\n"
        "      --dry-run             check only\n"
        "      --force-conflicts     take over fields that others manage\n"
        "      --field-manager NAME  (default drover)\n" SESSION_HELP
        "\nWrong input changes nothing; every problem is printed with file and line.\n",
    .run = run,
};
