/* SPDX-License-Identifier: Apache-2.0 */
/* Staying with a run that was just applied: its output until it ends. */
#ifndef CLI_ATTACH_H
#define CLI_ATTACH_H

#include "cli/session.h"

/* Prints what the run waits for and its output. Ctrl-C asks whether to stop the run or to
 * leave it alone; a second one leaves at once. Returns the exit status: that of the job,
 * 0 when it is left. Blocking. */
int attach_run(struct session *s, const char *ns, const char *name);

#endif
