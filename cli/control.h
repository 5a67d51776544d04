/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket of the API server of a data directory on this machine. */
#ifndef CLI_CONTROL_H
#define CLI_CONTROL_H

#include "base/str.h"
#include "cli/cli.h"

/* One command, without the line's end; the answer is appended. "error: ..." is an error.
 */
int control_ask(const char *dir, const char *command, struct str *out,
                struct error *e) WARN_UNUSED;

#endif
