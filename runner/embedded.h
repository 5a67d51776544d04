/* SPDX-License-Identifier: Apache-2.0 */
/* The supervisor program that is part of drover-runner's file. */
#ifndef RUNNER_EMBEDDED_H
#define RUNNER_EMBEDDED_H

#include <stddef.h>

/* Puts it into memory, sealed, and gives a path by which children can execute it as long
 * as this process lives: always of this very version, also when our own file has been
 * replaced meanwhile. Where memory may not be executed (vm.memfd_noexec) the path is our
 * own program's, which does the same with more libraries. Never fails. */
void embedded_supervisor(char *path, size_t size);

#endif
