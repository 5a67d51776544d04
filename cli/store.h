/* SPDX-License-Identifier: Apache-2.0 */
/* What the verbs of `drover store` share. */
#ifndef CLI_STORE_H
#define CLI_STORE_H

#include "cli/cli.h"

struct store_verb {
    const char *name, *summary;
    /* argv[0] is the verb's name. Returns the process' exit status. */
    int (*run)(const struct store_verb *v, int argc, char **argv);
};

extern const struct store_verb store_verb_check, store_verb_dump, store_verb_compact,
    store_verb_backup, store_verb_restore, store_verb_rekey, store_verb_rebuild;

/* Becomes `drover-apiserver <tool> <argv...>`. Returns only on failure, with the exit
 * status. */
int apiserver_exec(const char *tool, int argc, char **argv);
/* Becomes `drover-apiserver store <argv...>`, which has the options and their help.
 * Returns only on failure, with the exit status. */
int store_exec(const struct store_verb *v, int argc, char **argv);

#endif
