/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking an agent off its machine: everything that it made there goes, the directory
 * last. Refused while an agent runs in the directory, and, without force, while its
 * journal has jobs (running, or ended and not yet reported).
 */
#ifndef RUNNER_UNINSTALL_H
#define RUNNER_UNINSTALL_H

#include "runner/agent.h"

/* Runs the loop. Prints what it did to stdout. ERR_NOT_FOUND: no agent lives there;
 * ERR_BUSY: an agent runs, or there are jobs. */
int uninstall_run(struct loop *l, const struct agent_opts *o, bool force,
                  struct error *e) WARN_UNUSED;

#endif
