/* SPDX-License-Identifier: Apache-2.0 */
/* Names for what was declared without one: "brave-otter-1". */
#ifndef CLI_NAME_H
#define CLI_NAME_H

#include "cli/session.h"

/* A name that no object of r in ns has now; malloc'd in *ret. numbered: with -1, -2, ...
 * behind it. Takes one request. */
int cli_new_name(struct session *s, const struct resource *r, const char *ns,
                 bool numbered, char **ret, struct error *e) WARN_UNUSED;

#endif
