/* SPDX-License-Identifier: Apache-2.0 */
/* drover mirror: what the files in <data-dir>/desired wait for. Asks the API server of
 * the data directory by its control socket: files and commands are of the same machine.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "cli/control.h"

enum { ANSWER_MAX = 1 << 20 };

/* A file as the shell names it -> its path in the tree; a path in the tree stays. */
static char *
path_in_tree(const char *dir, const char *file)
{
    autofree char *desired = fs_join(dir, "desired");
    autofree char *root = realpath(desired, NULL);
    autofree char *real = realpath(file, NULL);
    size_t n = root == NULL ? 0 : strlen(root);

    if (root != NULL && real != NULL && strncmp(real, root, n) == 0 && real[n] == '/')
        return xstrdup(real + n + 1);
    return xstrdup(file);
}

static int
run(int argc, char **argv)
{
    static const struct option longs[] = {{"data-dir", required_argument, NULL, 'd'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    static const char *const known[] = {"status", "confirm", "discard", "rescan"};
    const char *dir = "./state", *verb;
    auto_str command = STR_INIT(8192), answer = STR_INIT(ANSWER_MAX);
    struct error e = ERROR_INIT;
    int c;

    while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
        if (c == 'h') {
            cli_usage(&verb_mirror);
            return 0;
        }
        if (c != 'd')
            return cli_misuse(&verb_mirror, "see drover mirror --help");
        dir = optarg;
    }
    verb = optind < argc ? argv[optind++] : "status";
    bool ok = false;
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        ok = ok || streq(verb, known[i]);
    if (!ok || (optind < argc && (!streq(verb, "discard") || argc - optind > 1)))
        return cli_misuse(&verb_mirror, "\"%s\" is not understood",
                          ok ? argv[optind] : verb);
    str_adds(&command, verb);
    if (optind < argc) {
        autofree char *path = path_in_tree(dir, argv[optind]);
        str_addf(&command, " %s", path);
    }
    if (strpbrk(command.ptr, "\r\n") != NULL)
        return cli_misuse(&verb_mirror, "a file name with line breaks is no object's");
    autofree char *line = xasprintf("mirror %s", command.ptr);
    if (control_ask(dir, line, &answer, &e) < 0)
        return cli_fail(&verb_mirror, &e);
    fwrite(answer.ptr, 1, answer.len, stdout);
    return 0;
}

const struct cli_verb verb_mirror = {
    .name = "mirror",
    .args = "[status | confirm | discard [FILE] | rescan] [--data-dir DIR]",
    .summary = "what the files in desired/ wait for, and what to do about it",
    .help = "  status          files, those not applied, deletions that are held\n"
            "  confirm         delete the objects whose files were deleted\n"
            "  discard         write the deleted files again\n"
            "  discard FILE    replace this file by the stored object\n"
            "  rescan          look at all files now\n"
            "  --data-dir DIR  that of `drover server` (default ./state)\n",
    .run = run,
};
