/* SPDX-License-Identifier: Apache-2.0 */
/* drover wait: block until an object is in a phase, has a condition, or is gone. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/follow.h"

struct waiting {
    const char *name;
    const char *phase;                       /* --for=phase=X */
    const char *condition, *condition_value; /* --for=condition=X[=V] */
    bool deletion;                           /* --for=delete */
    char seen[64];                           /* last phase */
    bool final_elsewhere, absent;
};

static bool
has_condition(const struct waiting *w, const json_t *o)
{
    size_t i;
    const json_t *c;

    json_array_foreach (js_get(o, "status.conditions"), i, c) {
        if (streq(js(c, "type"), w->condition))
            return streq(js(c, "status"), w->condition_value);
    }
    return false;
}

static bool
on_object(void *arg, const json_t *o)
{
    struct waiting *w = arg;

    if (o == NULL) {
        w->absent = true;
        return true;
    }
    const char *phase = js(o, "status.phase");
    snprintf(w->seen, sizeof(w->seen), "%s", phase);
    if (w->deletion)
        return false;
    if (w->condition != NULL)
        return has_condition(w, o);
    if (streq(phase, w->phase))
        return true;
    /* A final phase never changes: waiting on would be for ever. */
    w->final_elsewhere = cli_final_phase(phase);
    return w->final_elsewhere;
}

static int
parse_for(struct waiting *w, char *text, struct error *e)
{
    if (text == NULL)
        return error_set(e, ERR_BAD_REQUEST, "--for is required, e.g. --for=phase=Done");
    if (streq(text, "delete")) {
        w->deletion = true;
    } else if (str_starts(text, "phase=") && text[6] != '\0') {
        w->phase = text + 6;
    } else if (str_starts(text, "condition=") && text[10] != '\0') {
        char *eq = strchr(text + 10, '=');
        w->condition = text + 10;
        w->condition_value = eq == NULL ? "True" : eq + 1;
        if (eq != NULL)
            *eq = '\0';
    } else {
        return error_set(
            e, ERR_BAD_REQUEST,
            "--for \"%s\": use phase=PHASE, condition=TYPE[=STATUS] or delete", text);
    }
    return 0;
}

/* "90", "90s", "5m", "1h"; -1: bad. */
static int64_t
parse_timeout(const char *text)
{
    char *end;
    long n = strtol(text, &end, 10);
    long unit = *end == '\0' || streq(end, "s") ? 1
                : streq(end, "m")               ? 60
                : streq(end, "h")               ? 3600
                                                : 0;

    return end == text || n < 0 || unit == 0 ? -1 : (int64_t)n * unit * 1000;
}

static int
outcome(const struct waiting *w, const struct named_resource *r, struct error *e)
{
    if (w->deletion || !w->absent) {
        if (w->final_elsewhere)
            return error_set(e, ERR_CONFLICT, "%s/%s is %s and will not become %s",
                             r->singular, w->name, w->seen, w->phase);
        printf("%s/%s %s\n", r->singular, w->name,
               w->deletion ? "is gone" : "condition met");
        return 0;
    }
    return error_set(e, ERR_NOT_FOUND, "%s \"%s\" not found", r->resource->plural,
                     w->name);
}

static int
wait_for(struct session *s, struct waiting *w, const char *target, int64_t timeout_ms,
         struct error *e)
{
    const struct named_resource *r;

    if (cli_target(target, &r, &w->name, e) < 0)
        return -(int)e->code;
    if (w->name == NULL)
        return error_set(e, ERR_BAD_REQUEST, "\"%s\" names no object; use %s/NAME",
                         target, r->singular);
    if (session_open(s, e) < 0)
        return -(int)e->code;
    if (follow_object(s, r->resource, w->name, timeout_ms, on_object, w, e) < 0) {
        if (e->code == ERR_TIMEOUT) {
            session_warn_idle(s);
            error_set(e, ERR_TIMEOUT, "timed out; %s/%s is %s", r->singular, w->name,
                      w->seen[0] != '\0' ? w->seen : "without a phase");
        }
        return -(int)e->code;
    }
    return outcome(w, r, e);
}

static int
run(int argc, char **argv)
{
    static const struct option longs[] = {
        SESSION_OPTIONS,
        {"for", required_argument, NULL, 'f'},
        {"timeout", required_argument, NULL, 't'},
        {0},
    };
    struct session s = {.verb = &verb_wait};
    struct waiting w = {0};
    struct error e = ERROR_INIT;
    char *what = NULL;
    int64_t timeout_ms = -1;
    int c;

    while ((c = getopt_long(argc, argv, SESSION_SHORT, longs, NULL)) != -1) {
        if (session_option(&s, c, optarg))
            continue;
        if (c == 'f') {
            what = optarg;
        } else if (c == 't') {
            timeout_ms = parse_timeout(optarg);
            if (timeout_ms < 0)
                return cli_misuse(&verb_wait, "--timeout \"%s\": use 30s, 5m or 1h",
                                  optarg);
        } else if (c == 'h') {
            cli_usage(&verb_wait);
            return 0;
        } else {
            return cli_misuse(&verb_wait, "see drover wait --help");
        }
    }
    if (argc - optind != 1)
        return cli_misuse(&verb_wait, "name one object, e.g. run/hello");
    int rc = parse_for(&w, what, &e);
    if (rc == 0)
        rc = wait_for(&s, &w, argv[optind], timeout_ms, &e);
    session_close(&s);
    return rc < 0 ? cli_fail(&verb_wait, &e) : 0;
}

const struct cli_verb verb_wait = {
    .name = "wait",
    .args = "KIND/NAME --for=phase=PHASE|condition=TYPE|delete [--timeout 5m]",
    .summary = "block until an object is in a phase, has a condition, or is gone",
    .help = "      --for WHAT            phase=Done, condition=Scheduled[=True], delete\n"
            "      --timeout TIME        30s, 5m, 1h (default: none)\n" SESSION_HELP
            "\nEnds with status 4 when the object reached another final phase.\n",
    .run = run,
};
