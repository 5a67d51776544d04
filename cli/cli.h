/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The `drover` command: one file per verb, one row per verb in main.c. A verb blocks;
 * only `server` has a loop. Exit codes are those of the error table: 0 ok, 2 wrong input,
 * 3 not found, 4 conflict, 5 not allowed, 6 try again, 70 bug.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stdbool.h>

#include "base/error.h"

struct cli_verb {
    const char *name;
    const char *args;    /* after the name in the usage line */
    const char *summary; /* one line */
    const char *help;    /* options and examples, newline-terminated */
    /* argv[0] is the verb's name. Returns the process' exit status. */
    int (*run)(int argc, char **argv);
};

extern const struct cli_verb verb_server, verb_apply, verb_get, verb_describe, verb_ps,
    verb_logs, verb_wait, verb_stop, verb_delete, verb_events, verb_store, verb_token,
    verb_completion, verb_version, verb_mirror, verb_keys, verb_history, verb_diff,
    verb_rollback, verb_restore, verb_queue, verb_explain, verb_instance, verb_fleet;

/* All verbs, ended by a NULL. */
extern const struct cli_verb *const cli_verbs[];

/* Prints usage of the verb to stdout. */
void cli_usage(const struct cli_verb *v);
/* "drover <verb>: message" to stderr; returns the exit status for the code. */
int cli_fail(const struct cli_verb *v, const struct error *e);
/* The same for a wrong command line; exit status 2. */
int cli_misuse(const struct cli_verb *v, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
