/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drover instance: taking machines out of use and back. Each is a declaration on the
 * Instance; the controllers do the rest.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/follow.h"

struct call {
    struct session s;
    bool stop, force, no_wait;
    int timeout_ms;
};

static int
patch_instance(struct call *c, const char *name, json_t *patch, struct error *e)
{
    struct client_patch_opts o = {.type = CLIENT_PATCH_MERGE,
                                  .manager = "drover-instance"};
    int rc =
        client_patch(c->s.client, &resource_instances, c->s.ns, name, &o, patch, NULL, e);

    json_decref(patch);
    return rc;
}

static int
cordon(struct call *c, const char *name, struct error *e)
{
    int rc =
        patch_instance(c, name, json_pack("{s:{s:b}}", "spec", "unschedulable", 1), e);

    if (rc == 0)
        printf("instance/%s cordoned: nothing new is placed there\n", name);
    return rc;
}

static int
uncordon(struct call *c, const char *name, struct error *e)
{
    int rc = patch_instance(
        c, name, json_pack("{s:{s:b, s:n}}", "spec", "unschedulable", 0, "drain"), e);

    if (rc == 0)
        printf("instance/%s uncordoned\n", name);
    return rc;
}

/* --- drain ------------------------------------------------------------------------- */

struct draining {
    const char *name;
    bool gone, drained;
    char said[256];
    int64_t generation; /* that our patch made: an older verdict counts not */
};

static bool
on_instance(void *arg, const json_t *o)
{
    struct draining *d = arg;
    size_t i;
    const json_t *c;

    if (o == NULL) {
        d->gone = true;
        return true;
    }
    json_array_foreach (js_get(o, "status.conditions"), i, c) {
        if (!streq(js(c, "type"), "Drained") ||
            js_int(o, "status.observedGeneration", 0) < d->generation)
            continue;
        d->drained = streq(js(c, "status"), "True");
        if (!d->drained && !streq(js(c, "message"), d->said)) {
            snprintf(d->said, sizeof(d->said), "%s", js(c, "message"));
            printf("instance/%s: %s\n", d->name, d->said);
            fflush(stdout);
        }
    }
    return d->drained;
}

static int
drain(struct call *c, const char *name, struct error *e)
{
    struct draining d = {.name = name};
    auto_object *o = NULL;
    json_t *spec = json_pack("{s:b}", "unschedulable", 1);

    if (c->stop)
        json_object_set_new(spec, "drain", json_true());
    int rc = patch_instance(c, name, json_pack("{s:o}", "spec", spec), e);
    if (rc == 0)
        rc = client_get(c->s.client, &resource_instances, c->s.ns, name, &o, e);
    if (rc < 0)
        return rc;
    d.generation = o->facts.generation;
    printf("instance/%s cordoned; waiting for its jobs to %s\n", name,
           c->stop ? "stop" : "end");
    fflush(stdout);
    if (c->no_wait)
        return 0;
    rc = follow_object(&c->s, &resource_instances, name, c->timeout_ms, on_instance, &d,
                       e);
    if (rc < 0)
        return error_prepend(e, "instance/%s is not drained yet", name);
    printf("instance/%s %s\n", name, d.gone ? "is gone" : "drained: nothing runs there");
    return 0;
}

/* --- forget ------------------------------------------------------------------------ */

static int
forget(struct call *c, const char *name, struct error *e)
{
    auto_object *o = NULL;
    char phase[32];

    int rc = client_get(c->s.client, &resource_instances, c->s.ns, name, &o, e);
    if (rc < 0)
        return rc;
    object_get_string(o, "status.phase", phase, sizeof(phase));
    if (streq(phase, "Ready") && !c->force)
        return error_set(e, ERR_CONFLICT,
                         "instance/%s is Ready: its agent lives and may run jobs. Stop "
                         "it first, or delete the instance; --force forgets it as it is",
                         name);
    rc = patch_instance(c, name,
                        json_pack("{s:{s:s, s:{s:s}}}", "metadata", "uid", o->uid,
                                  "annotations", "drover.dev/forget", "true"),
                        e);
    if (rc == 0)
        rc = client_delete(c->s.client, &resource_instances, c->s.ns, name, o->uid, NULL,
                           e);
    if (rc == -ERR_NOT_FOUND) /* it was being deleted, and waited for nothing else */
        rc = 0;
    if (rc == 0)
        printf("instance/%s forgotten: its jobs count as lost, its agent is not let in "
               "again\n",
               name);
    return rc;
}

/* --- command line ------------------------------------------------------------------ */

static const struct {
    const char *word;
    int (*run)(struct call *c, const char *name, struct error *e);
} words[] = {
    {"cordon", cordon}, {"uncordon", uncordon}, {"drain", drain}, {"forget", forget}};

static bool
timeout_of(const char *text, int *ret_ms)
{
    char *end;
    long seconds = strtol(text, &end, 10);

    if (streq(end, "m"))
        seconds *= 60;
    else if (streq(end, "h"))
        seconds *= 3600;
    else if (*end != '\0' && !streq(end, "s"))
        return false;
    if (end == text || seconds < 1 || seconds > INT32_MAX / 1000)
        return false;
    *ret_ms = (int)seconds * 1000;
    return true;
}

static int
run_words(struct call *c, int argc, char **argv)
{
    struct error e = ERROR_INIT;
    size_t which = 0;

    while (which < ARRAY_LEN(words) && !streq(words[which].word, argv[0]))
        which++;
    if (which == ARRAY_LEN(words))
        return cli_misuse(&verb_instance, "there is no \"%s\"", argv[0]);
    if (argc < 2)
        return cli_misuse(&verb_instance, "name an instance to %s", argv[0]);
    int rc = session_open(&c->s, &e);
    for (int i = 1; rc == 0 && i < argc; i++) {
        const char *slash = strchr(argv[i], '/');
        rc = words[which].run(c, slash != NULL ? slash + 1 : argv[i], &e);
    }
    session_close(&c->s);
    return rc < 0 ? cli_fail(&verb_instance, &e) : 0;
}

static int
run(int argc, char **argv)
{
    static const struct option longs[] = {
        SESSION_OPTIONS,
        {"stop", no_argument, NULL, 's'},
        {"force", no_argument, NULL, 'f'},
        {"no-wait", no_argument, NULL, 'w'},
        {"timeout", required_argument, NULL, 't'},
        {0},
    };
    struct call call = {.s.verb = &verb_instance, .timeout_ms = -1};
    int c;

    while ((c = getopt_long(argc, argv, SESSION_SHORT, longs, NULL)) != -1) {
        if (session_option(&call.s, c, optarg))
            continue;
        if (c == 's') {
            call.stop = true;
        } else if (c == 'f') {
            call.force = true;
        } else if (c == 'w') {
            call.no_wait = true;
        } else if (c == 't') {
            if (!timeout_of(optarg, &call.timeout_ms))
                return cli_misuse(&verb_instance, "--timeout \"%s\": e.g. 90s, 5m",
                                  optarg);
        } else if (c == 'h') {
            cli_usage(&verb_instance);
            return 0;
        } else {
            return cli_misuse(&verb_instance, "see drover instance --help");
        }
    }
    if (optind == argc)
        return cli_misuse(&verb_instance, "say what to do");
    return run_words(&call, argc - optind, argv + optind);
}

const struct cli_verb verb_instance = {
    .name = "instance",
    .args = "cordon|uncordon|drain|forget NAME...",
    .summary = "take machines out of use and back",
    .help =
        "  cordon      place nothing new there\n"
        "  uncordon    use it again\n"
        "  drain       cordon, and wait until nothing runs there\n"
        "  forget      a machine that is lost for good: its jobs count as lost; a host "
        "of\n"
        "              an SSH fleet is set up anew\n"
        "\n"
        "      --stop                drain: stop the jobs; a retry that covers\n"
        "                            interruption starts them elsewhere\n"
        "      --timeout DURATION    drain: for how long to wait (90s, 5m)\n"
        "      --no-wait             drain: do not wait\n"
        "      --force               forget: although its agent reports\n" SESSION_HELP,
    .run = run,
};
