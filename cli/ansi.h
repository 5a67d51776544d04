/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a job may do to a terminal: colours, carriage returns, tabs and backspaces pass;
 * everything else that a terminal would obey (titles, clipboard, cursor, screen,
 * charsets) is left out. For display only: logs are stored and copied as bytes.
 */
#ifndef CLI_ANSI_H
#define CLI_ANSI_H

#include "base/str.h"

struct ansi {
    enum ansi_state {
        ANSI_TEXT,
        ANSI_ESCAPE,
        ANSI_CSI,
        ANSI_STRING,
        ANSI_STRING_ESC
    } state;
    char seq[64]; /* of the control sequence under way */
    size_t n;
};

/* Appends what may be shown. A sequence may come in pieces. Start with {0}. */
void ansi_filter(struct ansi *a, const char *bytes, size_t n, struct str *out);

#endif
