/* SPDX-License-Identifier: Apache-2.0 */
/* drover stop: declare that a run shall end. The run controller and the agent do the
 * rest. */
#include <getopt.h>
#include <stdio.h>

#include "cli/follow.h"

static bool
on_object(void *arg, const json_t *o)
{
    char *phase = arg;

    if (o == NULL)
        return true;
    snprintf(phase, 32, "%s", js(o, "status.phase"));
    return cli_final_phase(phase);
}

static int
stop_one(struct session *s, const char *name, bool abort_it, bool wait, struct error *e)
{
    const char *state = abort_it ? "Aborted" : "Stopped";
    struct client_patch_opts o = {.type = CLIENT_PATCH_MERGE, .manager = "drover-stop"};
    json_t *patch = json_pack("{s:{s:s}}", "spec", "desiredState", state);
    char phase[32] = "";
    const struct named_resource *r;
    const char *run_name = name;

    /* run/hello is as good as hello */
    if (cli_target(name, &r, &run_name, e) < 0 || run_name == NULL) {
        *e = ERROR_INIT;
        run_name = name;
    }
    int rc = client_patch(s->client, &resource_runs, s->ns, run_name, &o, patch, NULL, e);
    json_decref(patch);
    if (rc < 0)
        return rc;
    if (!wait) {
        printf("run/%s %s\n", run_name,
               abort_it ? "is being aborted" : "is being stopped");
        return 0;
    }
    rc = follow_object(s, &resource_runs, run_name, -1, on_object, phase, e);
    if (rc == 0)
        printf("run/%s %s\n", run_name, phase[0] != '\0' ? phase : "is gone");
    return rc;
}

static int
run(int argc, char **argv)
{
    static const struct option longs[] = {
        SESSION_OPTIONS,
        {"abort", no_argument, NULL, 'x'},
        {"wait", no_argument, NULL, 'w'},
        {0},
    };
    struct session s = {.verb = &verb_stop};
    struct error e = ERROR_INIT;
    bool abort_it = false;
    bool wait = false;
    int c;

    while ((c = getopt_long(argc, argv, SESSION_SHORT "xw", longs, NULL)) != -1) {
        if (session_option(&s, c, optarg))
            continue;
        if (c == 'x') {
            abort_it = true;
        } else if (c == 'w') {
            wait = true;
        } else if (c == 'h') {
            cli_usage(&verb_stop);
            return 0;
        } else {
            return cli_misuse(&verb_stop, "see drover stop --help");
        }
    }
    if (optind == argc)
        return cli_misuse(&verb_stop, "name a run");
    int rc = session_open(&s, &e);
    for (int i = optind; rc == 0 && i < argc; i++)
        rc = stop_one(&s, argv[i], abort_it, wait, &e);
    session_close(&s);
    return rc < 0 ? cli_fail(&verb_stop, &e) : 0;
}

const struct cli_verb verb_stop = {
    .name = "stop",
    .args = "RUN... [--abort] [--wait]",
    .summary = "end runs: SIGTERM, then SIGKILL after their stopDuration",
    .help = "  -x, --abort               SIGKILL at once\n"
            "  -w, --wait                until they have ended\n" SESSION_HELP,
    .run = run,
};
