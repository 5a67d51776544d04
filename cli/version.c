/* SPDX-License-Identifier: Apache-2.0 */
/* drover version */
#include <stdio.h>

#include "cli/cli.h"

static int
run(int argc, char **argv)
{
    UNUSED(argc);
    UNUSED(argv);
    puts("drover " DROVER_VERSION);
    return 0;
}

const struct cli_verb verb_version = {
    .name = "version",
    .args = "",
    .summary = "print the version",
    .help = "",
    .run = run,
};
