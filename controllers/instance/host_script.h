/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is executed on a machine of an SSH fleet, and what its answers mean. Everything of
 * ours there is below HOST_DIR, beside the unit file. The scripts are POSIX sh with
 * coreutils or busybox; they say facts as "drover:key=value" and failures as
 * "drover:fail=Reason words", and can be repeated after any interruption. Pure.
 */
#ifndef CONTROLLERS_HOST_SCRIPT_H
#define CONTROLLERS_HOST_SCRIPT_H

#include "controllers/instance/host_task.h"

#define HOST_DIR "/var/lib/drover"

/* The command of ssh's command line; it becomes root if it has to. */
void host_script_command(const struct host_task *t, int64_t program_size,
                         struct str *out);
/* Its standard input, except for COPY, where that is the program. Holds the token. */
void host_script_input(const struct host_task *t, struct str *out);

/* Reads what ssh and the script said, with ssh's exit code (-1: killed after its time).
 * Fills r but for the keys. */
void host_script_read(const struct host_task *t, const char *output, int exit_code,
                      struct host_result *r);

/* What the ssh to the jump host said, when the whole failed before the host was reached.
 */
void host_script_read_jump(const char *output, struct host_result *r);

#endif
