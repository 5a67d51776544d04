/* SPDX-License-Identifier: Apache-2.0 */
/* drover keys: the keys that sign tokens, by the control socket of the server that runs;
 * and its CA, while it does not. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/str.h"
#include "cli/control.h"
#include "cli/store.h"

enum { ANSWER_MAX = 1 << 20 };

/* Becomes the tool. */
static int
change_ca(const char *verb, const char *dir)
{
    autofree char *first = xstrdup(verb), *where = xstrdup(dir);
    char option[] = "--data-dir";
    char *args[] = {first, option, where};

    return apiserver_exec("keys", ARRAY_LEN(args), args);
}

static int
run(int argc, char **argv)
{
    static const struct option longs[] = {{"data-dir", required_argument, NULL, 'd'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    const char *dir = "./state", *command = NULL;
    auto_str answer = STR_INIT(ANSWER_MAX);
    struct error e = ERROR_INIT;
    int c;

    while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
        if (c == 'h') {
            cli_usage(&verb_keys);
            return 0;
        }
        if (c != 'd')
            return cli_misuse(&verb_keys, "see drover keys --help");
        dir = optarg;
    }
    const char *verb = optind < argc ? argv[optind++] : "list";
    if (optind < argc)
        return cli_misuse(&verb_keys, "\"%s\" is not understood", argv[optind]);
    if (streq(verb, "rotate-ca") || streq(verb, "retire-ca"))
        return change_ca(verb, dir);
    if (streq(verb, "list"))
        command = "keys";
    else if (streq(verb, "rotate"))
        command = "keys rotate";
    else if (streq(verb, "reload"))
        command = "keys reload";
    else
        return cli_misuse(&verb_keys, "\"%s\" is not understood", verb);
    if (control_ask(dir, command, &answer, &e) < 0)
        return cli_fail(&verb_keys, &e);
    fwrite(answer.ptr, 1, answer.len, stdout);
    return 0;
}

const struct cli_verb verb_keys = {
    .name = "keys",
    .args = "[list | rotate | reload | rotate-ca | retire-ca] [--data-dir DIR]",
    .summary = "change what signs tokens and certificates",
    .help = "  list            keys of tokens: which signs, which still verify\n"
            "  rotate          sign tokens with a new key; older tokens go on\n"
            "  reload          read keys/tokens.key again, after it was copied here\n"
            "  rotate-ca       make a new CA while the server is stopped; who trusts\n"
            "                  the old one accepts it until retire-ca\n"
            "  retire-ca       trust the old CA no more\n"
            "  --data-dir DIR  that of `drover server` (default ./state)\n",
    .run = run,
};
