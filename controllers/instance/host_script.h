/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is executed on a machine of an SSH fleet, and what its answers mean. Everything of
 * ours there is below HOST_DIR, beside the unit file:
 *   owner             whose the machine is: uid of the Instance, server=, fleet=, who=;
 *                     written first, removed last; who is named otherwise keeps away
 *   agent.owner       uid of the Instance whose identity and journal are in agent/
 *   programs/<id>/    what was copied (host_bundle.h); program links to the one in use
 *   settings.id, join.token, job-env.json, loop, agent.log
 * The scripts are POSIX sh with
 * coreutils or busybox; they say facts as "drover:key=value" and failures as
 * "drover:fail=Reason words", and can be repeated after any interruption. Pure.
 */
#ifndef CONTROLLERS_HOST_SCRIPT_H
#define CONTROLLERS_HOST_SCRIPT_H

#include "controllers/instance/host_task.h"

#define HOST_DIR "/var/lib/drover"

/* The command of ssh's command line; it becomes root if it has to. */
void host_script_command(const struct host_task *t, struct str *out);
/* Its standard input, except for COPY, where that is the archive. Holds the token. */
void host_script_input(const struct host_task *t, struct str *out);

/* Reads what ssh and the script said, with ssh's exit code (-1: killed after its time).
 * Fills r but for the keys. */
void host_script_read(const struct host_task *t, const char *output, int exit_code,
                      struct host_result *r);

/* What the ssh to the jump host said, when the whole failed before the host was reached.
 */
void host_script_read_jump(const char *output, struct host_result *r);

#endif
