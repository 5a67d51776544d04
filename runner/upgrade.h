/* SPDX-License-Identifier: Apache-2.0 */
/* SIGHUP: the agent executes its program file anew, under running jobs. */
#ifndef RUNNER_UPGRADE_H
#define RUNNER_UPGRADE_H

#include "io/loop.h"

struct upgrade;
/* program: path of the file, also after it was replaced; argv: as given to main(). Both
 * are borrowed for good. */
int upgrade_new(struct loop *l, const char *program, char **argv, struct upgrade **ret,
                struct error *e) WARN_UNUSED;
void upgrade_free(struct upgrade *u); /* NULL ok */

#endif
