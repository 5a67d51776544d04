/* SPDX-License-Identifier: Apache-2.0 */
/* Fields of a Run that can be said on the command line of drover apply. */
#ifndef CLI_SETTINGS_H
#define CLI_SETTINGS_H

#include <getopt.h>
#include <jansson.h>

#include "base/error.h"

/* In the order of the table in settings.c. */
enum { OPT_SETTING = 3000 };
#define SETTINGS_OPTIONS                                                                 \
    {"cpu", required_argument, NULL, OPT_SETTING},                                       \
        {"memory", required_argument, NULL, OPT_SETTING + 1},                            \
        {"gpu", required_argument, NULL, OPT_SETTING + 2},                               \
        {"disk", required_argument, NULL, OPT_SETTING + 3},                              \
        {"fleet", required_argument, NULL, OPT_SETTING + 4},                             \
        {"instance", required_argument, NULL, OPT_SETTING + 5},                          \
        {"priority", required_argument, NULL, OPT_SETTING + 6},                          \
        {"max-duration", required_argument, NULL, OPT_SETTING + 7},                      \
        {"retry", no_argument, NULL, OPT_SETTING + 8},                                   \
        {"no-retry", no_argument, NULL, OPT_SETTING + 9},                                \
        {"retry-duration", required_argument, NULL, OPT_SETTING + 10},                   \
    {                                                                                    \
        "nodes", required_argument, NULL, OPT_SETTING + 11                               \
    }
#define SETTINGS_HELP                                                                    \
    "      --cpu, --memory, --gpu, --disk   what the run needs, e.g. --gpu "             \
    "A100:80GB:2\n"                                                                      \
    "      --fleet NAME, --instance NAME    where it may run; may be repeated\n"         \
    "      --nodes N, --priority N, --max-duration TIME\n"                               \
    "      --retry, --no-retry, --retry-duration TIME\n"

/* Notes the option in *settings (made when NULL), an object of spec fields; a null takes
 * the field away. False: c is none of them. ERR_BAD_REQUEST: not a number. */
bool settings_option(json_t **settings, int c, const char *value, struct error *e);

#endif
