/* SPDX-License-Identifier: Apache-2.0 */
/* drover: the table of verbs. */
#include <jansson.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "cli/cli.h"

const struct cli_verb *const cli_verbs[] = {
    &verb_server,     &verb_apply,   &verb_get,      &verb_ps,      &verb_describe,
    &verb_queue,      &verb_explain, &verb_logs,     &verb_wait,    &verb_stop,
    &verb_delete,     &verb_events,  &verb_history,  &verb_diff,    &verb_rollback,
    &verb_restore,    &verb_store,   &verb_mirror,   &verb_keys,    &verb_token,
    &verb_completion, &verb_fleet,   &verb_instance, &verb_version, NULL,
};

void
cli_usage(const struct cli_verb *v)
{
    printf("usage: drover %s%s%s\n\n%c%s.\n", v->name, v->args[0] != '\0' ? " " : "",
           v->args, v->summary[0] & ~32, v->summary + 1);
    if (v->help[0] != '\0')
        printf("\n%s", v->help);
}

int
cli_fail(const struct cli_verb *v, const struct error *e)
{
    fflush(stdout);
    fprintf(stderr, "drover %s: %s\n", v->name, e->msg);
    return error_exit_status(e->code);
}

int
cli_misuse(const struct cli_verb *v, const char *fmt, ...)
{
    va_list ap;

    fprintf(stderr, "drover %s: ", v->name);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "\nusage: drover %s %s\n", v->name, v->args);
    return 2;
}

static void
print_help(FILE *out)
{
    fputs("drover: a control plane for AI and batch workloads\n\n"
          "usage: drover VERB [options]\n\n",
          out);
    for (const struct cli_verb *const *v = cli_verbs; *v != NULL; v++)
        fprintf(out, "  %-12s %s\n", (*v)->name, (*v)->summary);
    fputs("\nEach verb has --help. Start with: drover server\n", out);
}

int
main(int argc, char **argv)
{
    json_object_seed(0);
    signal(SIGPIPE, SIG_DFL);
    if (argc < 2) {
        print_help(stderr);
        return 2;
    }
    if (streq(argv[1], "--help") || streq(argv[1], "-h") || streq(argv[1], "help")) {
        print_help(stdout);
        return 0;
    }
    if (streq(argv[1], "--version"))
        return verb_version.run(1, argv + 1);
    for (const struct cli_verb *const *v = cli_verbs; *v != NULL; v++) {
        if (streq(argv[1], (*v)->name))
            return (*v)->run(argc - 1, argv + 1);
    }
    fprintf(stderr, "drover: there is no verb \"%s\"; see drover --help\n", argv[1]);
    return 2;
}
