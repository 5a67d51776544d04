/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drover store VERB: tools for the store's files. One row per verb; it is in a file of
 * its own, or done by drover-apiserver (store_exec.c): this program links no code of the
 * store.
 */
#include "cli/store.h"

#include <stdio.h>

#include "base/str.h"

static const struct store_verb *const verbs[] = {
    &store_verb_check,   &store_verb_dump,    &store_verb_compact, &store_verb_backup,
    &store_verb_restore, &store_verb_rebuild, &store_verb_rekey,   NULL,
};

static void
print_verbs(FILE *out)
{
    fputs("usage: drover store VERB [options]\n\n", out);
    for (const struct store_verb *const *v = verbs; *v != NULL; v++)
        fprintf(out, "  %-10s %s\n", (*v)->name, (*v)->summary);
    fputs("\nEach verb has --help.\n", out);
}

static int
store_run(int argc, char **argv)
{
    if (argc < 2) {
        print_verbs(stderr);
        return 2;
    }
    if (streq(argv[1], "--help") || streq(argv[1], "-h") || streq(argv[1], "help")) {
        print_verbs(stdout);
        return 0;
    }
    for (const struct store_verb *const *v = verbs; *v != NULL; v++) {
        if (streq(argv[1], (*v)->name))
            return (*v)->run(*v, argc - 1, argv + 1);
    }
    return cli_misuse(&verb_store, "there is no verb \"%s\"; see drover store --help",
                      argv[1]);
}

const struct cli_verb verb_store = {
    .name = "store",
    .args = "check|dump|compact|backup|restore|rekey|rebuild [options]",
    .summary = "check, look into, save and repair the store's files",
    .help = "",
    .run = store_run,
};
